"""Estimate of the cost of training a config, from its FLOPs and the speed of a GPU."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from lomar.cost.flops import count, image_size
from lomar.datasets.shards import is_shards
from lomar.utils import inner_datasets

# Data paths of the configs: name and number of training images.
DATA = {
    'data/imagenet/train': ('ImageNet-1k', 1281167),
    'data/coco/annotations/instances_train2017.json': ('COCO train2017', 118287),
}
UTILISATION = 0.4  # of a GPU's peak, where none is given


@dataclass(frozen=True)
class Speed:
    """Training speed of a GPU: assumed, measured, or unknown.

    Args:
        tflops: peak TFLOP/s of a GPU for the number format, from its data sheet.
        utilisation: fraction of `tflops` that training is assumed to sustain; None for 0.4.
        images_per_second: measured speed of one GPU, instead of the other two.
    """

    tflops: float | None = None
    utilisation: float | None = None
    images_per_second: float | None = None

    def __post_init__(self):
        if self.utilisation is not None and not (self.tflops and 0 < self.utilisation <= 1):
            raise ValueError(
                f'--utilisation is {self.utilisation}; allowed: more than 0, up to 1 (0.4 = 40 %), '
                'and only with --device-tflops'
            )

    @property
    def source(self) -> str:
        """Return the source of the speed in words; empty if the speed is unknown."""
        if self.tflops:
            utilisation = self.utilisation or UTILISATION
            return f'assumed, {self.tflops:g} TFLOP/s x utilisation {utilisation:g}'
        return 'measured, --images-per-second' if self.images_per_second else ''

    def images(self, flops: float) -> float | None:
        """Return images per second on one GPU for `flops` per image; None if unknown."""
        if self.tflops:
            return self.tflops * 1e12 * (self.utilisation or UTILISATION) / flops
        return self.images_per_second


@dataclass(frozen=True)
class Estimate:
    """Cost of training a config; hours are None without a speed."""

    config: str
    image_size: tuple[int, int]  # height, width
    gflops_forward: float  # per image
    gflops: float  # per image and training step
    images_an_epoch: int | None  # None: unknown, and not needed for a schedule in iterations
    images_source: str
    gpus: int
    batch: int  # per GPU and iteration
    accumulation: int
    recipe_batch: int | None  # effective batch of the recipe's learning rate
    epochs: float | None
    steps: int  # of the optimizer
    images: int  # processed in the whole training
    images_per_second: float | None  # on one GPU
    speed_source: str

    @property
    def effective_batch(self) -> int:
        """Return the images per optimizer step."""
        return self.gpus * self.batch * self.accumulation

    @property
    def eflops(self) -> float:
        """Return the model FLOPs of the whole training, in 1e18."""
        return self.images * self.gflops / 1e9

    @property
    def gpu_hours(self) -> float | None:
        """Return the hours of all training steps on one GPU."""
        return self.images_per_second and self.images / self.images_per_second / 3600

    @property
    def hours(self) -> float | None:
        """Return the hours on all GPUs, assuming linear scaling."""
        return self.gpu_hours and self.gpu_hours / self.gpus

    def record(self) -> dict:
        """Return all values by name, for JSON."""
        derived = ('effective_batch', 'eflops', 'gpu_hours', 'hours')
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def estimate(
    name: str,
    cfg: Config,
    speed: Speed | None = None,
    gpus: int | None = None,
    images: int | None = None,
) -> Estimate:
    """Estimate the cost of training a config.

    Args:
        name: name of the config, for messages.
        gpus: number of GPUs; None for the number that gives the recipe's batch.
        images: number of training images; None to count them.
    """
    _check(name, cfg)
    speed = speed or Speed()
    batch = cfg.train_dataloader.batch_size
    accumulation = cfg.optim_wrapper.get('accumulative_counts', 1)
    recipe_batch = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    gpus = gpus or _recipe_gpus(name, recipe_batch, batch * accumulation)
    per_epoch, source = _training_images(name, cfg, images)
    epochs, iterations, seen = _schedule(name, cfg, gpus, per_epoch)
    flops = count(cfg)
    return Estimate(
        config=name,
        image_size=image_size(cfg),
        gflops_forward=flops.forward / 1e9,
        gflops=flops.step / 1e9,
        images_an_epoch=per_epoch,
        images_source=source,
        gpus=gpus,
        batch=batch,
        accumulation=accumulation,
        recipe_batch=recipe_batch,
        epochs=epochs,
        steps=math.ceil(iterations / accumulation),
        images=seen,
        images_per_second=speed.images(flops.step),
        speed_source=speed.source,
    )


def _check(name: str, cfg: Config) -> None:
    for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'default_scope'):
        if not cfg.get(key):
            raise ValueError(f'{name}: there is no {key}; only what can be trained has a cost')


def _recipe_gpus(name: str, recipe_batch: int | None, per_gpu: int) -> int:
    if not recipe_batch or recipe_batch % per_gpu:
        raise ValueError(
            f'{name}: auto_scale_lr.base_batch_size is {recipe_batch}, which does not say how many '
            f'GPUs with batch x accumulation = {per_gpu} it is for; give --gpus'
        )
    return recipe_batch // per_gpu


def _training_images(name: str, cfg: Config, given: int | None) -> tuple[int | None, str]:
    """Return images per epoch, None if unknown and not needed, and the source of the number."""
    if given:
        return given, '--num-images'
    dataset = cfg.train_dataloader.dataset
    parts = [*inner_datasets(dataset)]
    files = [Path(part.get('data_root') or '', part.get('ann_file') or '') for part in parts]
    paths = ', '.join(file.as_posix() for file in files)
    known = zip(parts, files, strict=True)
    if all(file.exists() or is_shards(part.get('data_root') or '') for part, file in known):
        init_default_scope(cfg.default_scope)
        return len(DATASETS.build(dataset)), f'counted in {paths}'
    if parts == [dataset] and paths in DATA:
        title, number = DATA[paths]
        return number, f'{title}; {paths} was not found'
    if cfg.train_cfg.get('max_iters'):
        return None, f'{paths} was not found'
    raise FileNotFoundError(
        f'{name}: train_dataloader.dataset reads {paths}, which does not exist, so its images '
        'cannot be counted; give their number with --num-images'
    )


def _schedule(
    name: str, cfg: Config, gpus: int, per_epoch: int | None
) -> tuple[float | None, int, int]:
    """Return epochs, iterations and images seen, over all GPUs."""
    batch = cfg.train_dataloader.batch_size * gpus
    loop, drop_last = cfg.train_cfg, cfg.train_dataloader.get('drop_last', False)
    if loop.get('max_iters'):
        # In a loop that counts iterations, more GPUs process more images.
        seen = loop.max_iters * batch
        return per_epoch and seen / per_epoch, loop.max_iters, seen
    if not loop.get('max_epochs'):
        raise ValueError(f'{name}: train_cfg has neither max_epochs nor max_iters; set one')
    # Each GPU gets an equal share of the images, rounded up, and drops its incomplete last batch.
    assert per_epoch is not None  # `_training_images` raises an error first
    share = math.ceil(per_epoch / gpus)
    iterations = share * gpus // batch if drop_last else math.ceil(per_epoch / batch)
    if not iterations:
        raise ValueError(
            f'{name}: {per_epoch} images do not fill a batch of {batch}, and '
            'train_dataloader.drop_last is True: nothing would be trained'
        )
    seen = iterations * batch if drop_last else per_epoch
    return loop.max_epochs, loop.max_epochs * iterations, loop.max_epochs * seen


def to_text(cost: Estimate) -> str:
    """Return an estimate as text, with the source of every factor."""
    height, width = cost.image_size
    recipe = f'that of the recipe is {cost.recipe_batch}'
    if cost.recipe_batch == cost.effective_batch:
        recipe = 'that of the recipe'
    lines = [
        f'model      {cost.gflops:.1f} GFLOP per image and training step (forward '
        f'{cost.gflops_forward:.1f}) at {height} x {width} pixels',
        f'data       {cost.images_an_epoch or "unknown number of"} images ({cost.images_source})',
        f'batch      {cost.gpus} GPU(s) x {cost.batch} x accumulation {cost.accumulation} = '
        f'{cost.effective_batch}; {recipe} (auto_scale_lr.base_batch_size)',
        f'schedule   {"unknown" if cost.epochs is None else f"{cost.epochs:.4g}"} epochs = '
        f'{cost.steps} steps = {cost.images / 1e6:.4g} M images seen',
        f'total      {cost.eflops:.4g} EFLOP',
    ]
    if cost.hours is None or cost.images_per_second is None:
        lines.append('hours      give --device-tflops, or --images-per-second measured on one GPU')
    else:
        sustained = cost.images_per_second * cost.gflops / 1e3
        lines += [
            f'speed      {cost.images_per_second:.0f} images/s on a GPU, {sustained:.4g} TFLOP/s '
            f'({cost.speed_source})',
            f'estimate   {cost.hours:.3g} hours on {cost.gpus} GPU(s) = {cost.gpu_hours:.3g} '
            'GPU-hours of training steps',
        ]
    return '\n'.join([cost.config, *(f'  {line}' for line in lines)])


def to_markdown(costs: Sequence[Estimate]) -> str:
    """Return estimates as a Markdown table, and a line with the assumed speed."""
    head = ('config', 'pixels', 'GFLOP per image', 'epochs', 'M images', 'EFLOP', 'GPU-hours')
    rows = [head, ('---', *['---:'] * (len(head) - 1))]
    for cost in costs:
        height, width = cost.image_size
        row = (
            f'`{Path(cost.config).stem}`',
            f'{height}' if height == width else f'{height} x {width}',
            f'{cost.gflops:.1f}',
            '-' if cost.epochs is None else f'{cost.epochs:.0f}',
            f'{cost.images / 1e6:.1f}',
            f'{cost.eflops:.1f}',
            '-' if cost.gpu_hours is None else f'{cost.gpu_hours:.1f}',
        )
        rows.append(row)
    table = '\n'.join(f'| {" | ".join(row)} |' for row in rows)
    speeds = sorted({cost.speed_source for cost in costs if cost.speed_source})
    return (
        f'{table}\n\nThe hours are computed from FLOPs, and cover training steps only. '
        f'Speed of a GPU: {"; ".join(speeds) or "not given"}.'
    )

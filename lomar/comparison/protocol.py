"""What is compared, and the commands that do it."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lomar.comparison.jobs import Job
from lomar.visualization.curves import read_scalars

CONFIGS = Path(__file__).resolve().parents[2] / 'mmconfigs/shapes'
METHODS = ('lomar', 'mae')
CONTENDERS = (*METHODS, 'scratch')
LOADING = ('train_dataloader.num_workers=0', 'val_dataloader.num_workers=0')


@dataclass(frozen=True)
class Protocol:
    """Every number of the comparison; all training is in mixed precision, as the recipes are.

    Attributes:
        images: unlabelled images, which are also the most labelled ones; `val` to evaluate on.
        seeds: each draws its own initial weights, order of images, and labelled images.
        seconds: of pretraining, on one slot; the last is used for all numbers of labelled images.
        labels: numbers of labelled images, multiples of `batch`.
        middle: the number of labelled images at which shorter pretraining is tried.
        steps: of fine-tuning, a multiple of the steps an epoch of every number of labels.
    """

    images: int = 2048
    val: int = 400
    seeds: tuple[int, ...] = (0, 1, 2)
    seconds: tuple[int, ...] = (120, 480)
    labels: tuple[int, ...] = (128, 512, 2048)
    middle: int = 128
    batch: int = 8
    steps: int = 512

    @property
    def data(self) -> tuple[str, ...]:
        """Flags of tools/make_shapes.py."""
        counts = ('--train', str(self.images), '--val', str(self.val))
        return (*counts, '--categories', 'texture')


def measurements(work: Path) -> list[Job]:
    """One epoch of each method, side by side as the training will be, to measure a step."""
    return [_pretraining(work, work / f'measure-{method}', method, 0, 1) for method in METHODS]


def step_seconds(work: Path, method: str) -> float:
    """Median seconds of a pretraining step, its data included, in the later half of an epoch."""
    records = read_scalars(work / f'measure-{method}')
    return statistics.median(record['time'] for record in records[len(records) // 2 :])


def epochs_in(work: Path, protocol: Protocol, method: str, seconds: int) -> int:
    """Epochs of pretraining nearest to a time, at least two: one is the warm-up's."""
    steps = protocol.images // 32
    return max(round(seconds / (steps * step_seconds(work, method))), 2)


def pretrainings(work: Path, protocol: Protocol) -> list[Job]:
    """Every method, time and seed; needs the results of `measurements`."""
    jobs = []
    for seconds in reversed(protocol.seconds):
        for seed in protocol.seeds:
            for method in METHODS:
                epochs = epochs_in(work, protocol, method, seconds)
                folder = work / f'pretrain-{method}-{seconds}s-seed{seed}'
                jobs.append(_pretraining(work, folder, method, seed, epochs))
    return jobs


def _pretraining(work: Path, folder: Path, method: str, seed: int, epochs: int) -> Job:
    config = CONFIGS / f'{method}_vit-tiny-p4_1xb32-coslr-8e_shapes.py'
    train, val = work / 'shapes/train', work / 'shapes/val'
    options = (
        *LOADING[:1],
        f'train_cfg.max_epochs={epochs}',
        f'param_scheduler.1.end={max(epochs, 2)}',
        f'param_scheduler.1.T_max={max(epochs, 2) - 1}',
        f'randomness.seed={seed}',
        'default_hooks.logger.interval=16',
    )
    command = (
        *('train.py', str(config), '--work-dir', str(folder), '--amp', '--resume'),
        *('--train-images', str(train), '--val-images', str(val), '--cfg-options', *options),
    )
    return Job(folder, (command,), folder / f'epoch_{epochs}.pth')


def fine_tunings(work: Path, protocol: Protocol) -> list[Job]:
    """Every contender, number of labelled images and seed, and shorter pretraining at the middle.

    Interleaved, so that an interrupted comparison has something of everything.
    """
    runs = [(labels, protocol.seconds[-1]) for labels in protocol.labels]
    runs += [(protocol.middle, seconds) for seconds in protocol.seconds[:-1]]
    return [
        _fine_tuning(work, protocol, contender, labels, seconds, seed)
        for seed in protocol.seeds
        for labels, seconds in runs
        for contender in (CONTENDERS if seconds == protocol.seconds[-1] else METHODS)
    ]


def run_name(contender: str, labels: int, seconds: int, seed: int) -> str:
    """Folder of a fine-tuning run."""
    start = contender if contender == 'scratch' else f'{contender}-{seconds}s'
    return f'detect-{start}-{labels}labels-seed{seed}'


def _fine_tuning(
    work: Path, protocol: Protocol, contender: str, labels: int, seconds: int, seed: int
) -> Job:
    folder = work / run_name(contender, labels, seconds, seed)
    config = str(CONFIGS / f'mask-rcnn_vitdet-tiny-{contender}_shapes.py')
    epochs = protocol.steps * protocol.batch // labels
    options = (
        *LOADING,
        f'train_dataloader.batch_size={protocol.batch}',
        f'train_cfg.max_epochs={epochs}',
        f'param_scheduler.1.end={epochs}',
        f'param_scheduler.1.T_max={epochs}',
        f'default_hooks.checkpoint.interval={max(epochs // 4, 1)}',
        f'randomness.seed={seed}',
    )
    if contender in METHODS:
        pretrained = epochs_in(work, protocol, contender, seconds)
        start = work / f'pretrain-{contender}-{seconds}s-seed{seed}' / f'epoch_{pretrained}.pth'
        options += (f'load_from={start}',)
    validation = (
        *('--val-ann', str(work / 'shapes/annotations/val.json')),
        *('--val-images', str(work / 'shapes/val')),
    )
    train = (
        *('train.py', config, '--work-dir', str(folder), '--amp', '--no-validate', '--resume'),
        '--auto-scale-lr',
        *('--train-ann', str(labelled_file(work, labels, seed))),
        *('--train-images', str(work / 'shapes/train'), *validation, '--cfg-options', *options),
    )
    test = (
        *('test.py', config, str(folder / f'epoch_{epochs}.pth'), '--work-dir', str(folder)),
        *(*validation, '--cfg-options', 'test_dataloader.num_workers=0'),
    )
    return Job(folder, (train, test), folder / 'metrics.json')


def labelled_file(work: Path, labels: int, seed: int) -> Path:
    """Annotations of the labelled images of a seed."""
    return work / f'labels/{labels}-seed{seed}.json'


def write_labels(work: Path, protocol: Protocol) -> None:
    """Write annotations of a few images: those of a smaller number are among those of a larger."""
    coco = json.loads((work / 'shapes/annotations/train.json').read_text())
    (work / 'labels').mkdir(exist_ok=True)
    for seed in protocol.seeds:
        order = np.random.default_rng(seed).permutation(len(coco['images']))
        for labels in protocol.labels:
            images = [coco['images'][index] for index in sorted(order[:labels])]
            kept = {image['id'] for image in images}
            part = dict(
                coco,
                images=images,
                annotations=[one for one in coco['annotations'] if one['image_id'] in kept],
            )
            labelled_file(work, labels, seed).write_text(json.dumps(part))

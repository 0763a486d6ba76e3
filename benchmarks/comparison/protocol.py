"""Settings of the comparison, and its jobs."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.comparison.jobs import Job
from lomar.datasets.shapes import main_objects
from lomar.utils import write_json
from lomar.visualization.loss_curve import read_scalars

CONFIGS = Path(__file__).resolve().parents[2] / 'mmconfigs/shapes'
METHODS = ('lomar', 'mae')
CONTENDERS = (*METHODS, 'scratch')
TASKS = dict(
    detect='mask-rcnn_vitdet-tiny-{}_shapes.py',
    classify='vit-tiny_{}_1xb32-coslr-16e_shapes.py',
)
LOADING = ('train_dataloader.num_workers=0', 'val_dataloader.num_workers=0')


@dataclass(frozen=True)
class Protocol:
    """Settings of the comparison; all training is in mixed precision, as in the recipes.

    Attributes:
        images: number of unlabelled images, and highest number of labelled images.
        val: number of validation images.
        seeds: seeds of initial weights, order of images and choice of labelled images.
        seconds: durations of pretraining on one slot; the last is used for all numbers of labels.
        labels: numbers of labelled images, multiples of `batch`.
        classified: numbers of labelled images for the classifier, after the longest pretraining.
        few: number of labelled images for detectors after shorter pretraining.
        batch, rate: images per step and learning rate of every fine-tuning.
        steps: steps of every fine-tuning; a multiple of the steps per epoch for each of `labels`.
    """

    images: int = 2048
    val: int = 400
    seeds: tuple[int, ...] = (0, 1, 2)
    seconds: tuple[int, ...] = (120, 480)
    labels: tuple[int, ...] = (128, 512, 2048)
    classified: tuple[int, ...] = (128,)
    few: int = 128
    batch: int = 16
    rate: float = 1e-3
    steps: int = 512

    @property
    def data(self) -> tuple[str, ...]:
        """Return the flags of `lomar shapes`."""
        counts = ('--train', str(self.images), '--val', str(self.val))
        return (*counts, '--categories', 'texture')


def measurements(work: Path) -> list[Job]:
    """Return jobs of one epoch per method, run in parallel like the training, to time a step."""
    return [_pretraining(work, work / f'measure-{method}', method, 0, 1) for method in METHODS]


def step_seconds(work: Path, method: str) -> float:
    """Return median seconds of a pretraining step with data, in the second half of an epoch."""
    records = read_scalars(work / f'measure-{method}')
    return statistics.median(record['time'] for record in records[len(records) // 2 :])


def epochs_in(work: Path, protocol: Protocol, method: str, seconds: int) -> int:
    """Return the number of epochs nearest to a duration, at least two: the first is warm-up."""
    steps = protocol.images // 32
    return max(round(seconds / (steps * step_seconds(work, method))), 2)


def pretrain_folder(work: Path, method: str, seconds: int, seed: int) -> Path:
    """Return the work dir of a pretraining."""
    return work / f'pretrain-{method}-{seconds}s-seed{seed}'


def pretrainings(work: Path, protocol: Protocol) -> list[Job]:
    """Return jobs for every method, duration and seed; needs the results of `measurements`."""
    jobs = []
    for seconds in reversed(protocol.seconds):
        for seed in protocol.seeds:
            for method in METHODS:
                epochs = epochs_in(work, protocol, method, seconds)
                folder = pretrain_folder(work, method, seconds, seed)
                jobs.append(_pretraining(work, folder, method, seed, epochs))
    return jobs


def _pretraining(work: Path, folder: Path, method: str, seed: int, epochs: int) -> Job:
    config = CONFIGS / f'{method}_vit-tiny-p4_1xb32-coslr-8e_shapes.py'
    train, val = work / 'shapes/train', work / 'shapes/val'
    options = (
        *LOADING[:1],
        f'train_cfg.max_epochs={epochs}',
        f'param_scheduler.0.end=1/{max(epochs, 2)}',  # one epoch of warm-up
        f'param_scheduler.1.begin=1/{max(epochs, 2)}',
        f'randomness.seed={seed}',
        'default_hooks.logger.interval=16',
    )
    command = (
        *('train', str(config), '--work-dir', str(folder), '--amp', '--resume'),
        *('--train-images', str(train), '--val-images', str(val), '--cfg-options', *options),
    )
    return Job(folder, (command,), folder / f'epoch_{epochs}.pth')


@dataclass(frozen=True)
class Run:
    """A fine-tuning run after pretraining of `seconds`."""

    task: str
    contender: str
    seconds: int
    labels: int
    seed: int

    @property
    def folder(self) -> str:
        """Return the name of the run's folder."""
        return f'{self.task}-{self.contender}-{self.seconds}s-{self.labels}labels-seed{self.seed}'


def fine_tuning_runs(protocol: Protocol) -> list[Run]:
    """Return the runs for every task, contender, number of labelled images and seed.

    Shorter pretraining is compared with `protocol.few` labelled images, by the detector only. Runs
    of all kinds alternate, so that an interrupted comparison has results of each kind.
    """
    longest = protocol.seconds[-1]
    settings = dict(
        detect=[(labels, longest) for labels in protocol.labels]
        + [(protocol.few, seconds) for seconds in protocol.seconds[:-1]],
        classify=[(labels, longest) for labels in protocol.classified],
    )
    return [
        Run(task, contender, 0 if contender == 'scratch' else seconds, labels, seed)
        for seed in protocol.seeds
        for task in TASKS
        for labels, seconds in settings[task]
        for contender in (CONTENDERS if seconds == longest else METHODS)
    ]


def fine_tunings(work: Path, protocol: Protocol) -> list[Job]:
    """Return the jobs of `fine_tuning_runs`; needs the results of `pretrainings`."""
    return [_fine_tuning(work, protocol, run) for run in fine_tuning_runs(protocol)]


def _fine_tuning(work: Path, protocol: Protocol, run: Run) -> Job:
    folder = work / run.folder
    config = str(CONFIGS / TASKS[run.task].format(run.contender))
    epochs = protocol.steps * protocol.batch // run.labels
    options = (
        *LOADING,
        f'train_dataloader.batch_size={protocol.batch}',
        f'optim_wrapper.optimizer.lr={protocol.rate}',
        f'train_cfg.max_epochs={epochs}',
        'param_scheduler.0.end=50',  # steps of warm-up
        f'default_hooks.checkpoint.interval={max(epochs // 4, 1)}',
        f'randomness.seed={run.seed}',
    )
    if run.contender in METHODS:
        pretrained = epochs_in(work, protocol, run.contender, run.seconds)
        start = pretrain_folder(work, run.contender, run.seconds, run.seed)
        options += (f'load_from={start / f"epoch_{pretrained}.pth"}',)
    training, validation = _data(work, run)
    train = (
        *('train', config, '--work-dir', str(folder), '--amp', '--no-validate', '--resume'),
        *(*training, *validation, '--cfg-options', *options),
    )
    test = (
        *('test', config, str(folder / f'epoch_{epochs}.pth'), '--work-dir', str(folder)),
        *(*validation, '--cfg-options', 'test_dataloader.num_workers=0'),
    )
    return Job(folder, (train, test), folder / 'metrics.json')


def _data(work: Path, run: Run) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the flags of training data and of validation data."""
    labelled, shapes = labelled_file(work, run.labels, run.seed), work / 'shapes'
    truth = shapes / 'annotations/val.json'
    if run.task == 'classify':
        train = ('--train-images', labelled.with_suffix('.txt'))
        val = ('--val-images', truth.with_suffix('.txt'))
    else:
        train = ('--train-ann', labelled, '--train-images', shapes / 'train')
        val = ('--val-ann', truth, '--val-images', shapes / 'val')
    return tuple(map(str, train)), tuple(map(str, val))


def labelled_file(work: Path, labels: int, seed: int) -> Path:
    """Return the path of a seed's annotations; a list of main objects is beside the file."""
    return work / f'labels/{labels}-seed{seed}.json'


def write_labels(work: Path, protocol: Protocol) -> None:
    """Write annotations of the labelled images; smaller sets are subsets of larger sets."""
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
            file = labelled_file(work, labels, seed)
            write_json(file, part, indent=None)
            lines = [f'../shapes/train/{name}\t{main}\n' for name, main in main_objects(part)]
            file.with_suffix('.txt').write_text(''.join(lines))

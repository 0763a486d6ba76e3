"""Classification: kNN, linear probe and fine-tuning on ten classes of photographs."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

from benchmarks.comparison.pack import balanced
from benchmarks.comparison.protocol import SEARCH_SEED, Scale, arch, encoder
from benchmarks.comparison.runs import CONFIGS, CONTENDERS, METHODS, Run, positions
from benchmarks.comparison.search import Scores, best
from lomar.datasets import list_images

RUNS, TASKS = 'imagenette', ('pretrain', 'classify')  # folder of the runs, tasks of the results
HELD_OUT = 1 / 10  # of the training images, on which the search of the classifier tests


def write_data(data: Path, work: Path, scale: Scale) -> None:
    """Write lists of labelled images, as many of each class as possible."""
    (work / 'labels').mkdir(parents=True, exist_ok=True)
    _write_labelled(work / 'labels/val.txt', balanced(data / 'val', 0))
    order = balanced(data / 'train', SEARCH_SEED)
    (_, few), tested = scale.searched, round(HELD_OUT * len(order))
    _write_labelled(work / 'labels/search-val.txt', order[:tested])
    _write_labelled(_labels(work, few, SEARCH_SEED), order[tested:][:few])
    first = ''.join(f'{path}\n' for path in order[: scale.batch])
    (work / 'one-batch.txt').write_text(first)
    for seed in scale.seeds:
        order = balanced(data / 'train', seed)
        for labels in _counts(scale, len(order)):
            _write_labelled(_labels(work, labels, seed), order[:labels])


def stages(
    scale: Scale, data: Path, work: Path, seconds: dict[str, dict[str, float]]
) -> Generator[list[Run], Scores, None]:
    """Yield the runs that can be started next; takes the scores of all finished ones.

    The search of the fine-tuning's rates begins with the weights of the first seed.

    Args:
        seconds: seconds per pretraining step of each method by side of the image in pixels.
    """
    make = _Runs(scale, data, work, seconds)
    _, few = scale.searched
    grid, first = scale.grids[0], scale.seeds[0]
    tried = {
        (m, r): make.pretraining(m, grid, SEARCH_SEED, r, 'time')
        for m in METHODS
        for r in scale.rates
    }
    scores = yield list(tried.values())
    rate = {m: best({r: tried[m, r] for r in scale.rates}, scores, 'knn') for m in METHODS}
    pretrained = {
        g: {
            (s, m): make.pretraining(m, g, s, rate[m], 'time') for s in scale.seeds for m in METHODS
        }
        for g in scale.grids
    }
    random = {
        g: [make.untrained(m, g, seed) for seed in scale.seeds for m in METHODS]
        for g in scale.grids
    }
    largest, *between = scale.grids[-1], *scale.grids[1:-1]
    yield [*random[grid], *pretrained[grid].values()]
    fine = {
        (c, r): make.classifier(c, SEARCH_SEED, few, r, pretrained[grid].get((first, c)))
        for c in CONTENDERS
        for r in scale.rates
    }
    scores = yield list(fine.values())
    fine_rate = {c: best({r: fine[c, r] for r in scale.rates}, scores, 'top1') for c in CONTENDERS}
    yield [
        make.classifier(c, seed, labels, fine_rate[c], pretrained[grid].get((seed, c)))
        for labels in _counts(scale, make.count)
        for seed in scale.seeds
        for c in CONTENDERS
    ]
    larger = largest, *between
    yield [run for g in larger for run in pretrained[g].values()]
    images = {
        g: [make.pretraining('mae', g, s, rate['mae'], 'images') for s in scale.seeds]
        for g in scale.grids
    }
    yield [*images[grid], *(run for g in larger for run in random[g])]
    yield [run for g in larger for run in images[g]]


class _Runs:
    def __init__(self, scale: Scale, data: Path, work: Path, seconds: dict):
        self.scale, self.data, self.work, self.seconds = scale, data, work, seconds
        self.count = len(list_images(data / 'train'))
        self.per_epoch = self.count // scale.batch

    def epochs(self, method: str, grid: int, budget: str) -> int:
        """Return epochs of pretraining: LoMaR's, or as many as take LoMaR's time."""
        epochs, seconds = self.scale.imagenette_epochs, self.seconds[str(grid * self.scale.patch)]
        return epochs if budget == 'images' else round(epochs * seconds['lomar'] / seconds[method])

    def pretraining(self, method: str, grid: int, seed: int, rate: float, budget: str) -> Run:
        # The search holds a fifth of the training images out of the probe.
        probed = self.data / 'train' if seed == SEARCH_SEED else self.data
        epochs = self.epochs(method, grid, budget)
        if seed == SEARCH_SEED:
            epochs = round(epochs * self.scale.search_share)
        keys = dict(task='pretrain', contender=method, grid=grid, budget=budget)
        interval = max(epochs // self.scale.probes, 1)
        probes = -(-epochs // interval)  # also after the last epoch
        options = {'train_cfg.max_epochs': epochs, 'custom_hooks.4.interval': interval}
        return self._probed(
            keys | dict(seed=seed, rate=rate),
            method,
            grid,
            self.data / 'train',
            probed,
            options,
            epochs * self.per_epoch,
            probes,
        )

    def untrained(self, method: str, grid: int, seed: int) -> Run:
        """Return a run whose learning rate is 0: the probes of random weights."""
        keys = dict(task='pretrain', contender=f'random-{method}', grid=grid, seed=seed, rate=0)
        images = self.work / 'one-batch.txt'
        # A schedule in shares needs more than one step.
        options = {'train_cfg.max_epochs': 1, 'param_scheduler': '[]'}
        return self._probed(keys, method, grid, images, self.data, options, steps=1, probes=1)

    def _probed(
        self,
        keys: dict,
        method: str,
        grid: int,
        images: Path,
        probed: Path,
        options: dict,
        steps: int,
        probes: int,
    ) -> Run:
        side = grid * self.scale.patch
        settings: dict[str, Any] = {
            **encoder(self.scale, method, side),
            'train_dataloader.dataset.pipeline.0.scale': side,
            'train_dataloader.batch_size': self.scale.batch,
            'optim_wrapper.optimizer.lr': keys['rate'],
            'default_hooks.checkpoint.interval': max(options['train_cfg.max_epochs'] // 4, 1),
            'custom_hooks.4.images': str(probed),
            'custom_hooks.4.batch_size': self.scale.probe_batch,
            'randomness.seed': keys['seed'],
            **options,
        }
        flags = ('--train-images', str(images))
        return Run(keys, CONFIGS / f'probe_{method}.py', flags, settings, None, steps, probes)

    def classifier(
        self, contender: str, seed: int, labels: int, rate: float, start: Run | None
    ) -> Run:
        searching = seed == SEARCH_SEED
        truth = self.work / f'labels/{"search-val" if searching else "val"}.txt'
        side, scale = self.scale.grids[0] * self.scale.patch, self.scale
        keys: dict[str, Any] = dict(task='classify', contender=contender)
        keys |= dict(budget=start.keys['budget']) if start else {}
        epochs = max(scale.classifier_steps * scale.classifier_batch // labels, 1)
        return Run(
            keys | dict(labels=labels, seed=seed, rate=rate),
            CONFIGS / f'classify_{positions(contender)}.py',
            (
                *('--train-images', str(_labels(self.work, labels, seed))),
                *('--val-images', str(truth)),
            ),
            {
                **arch(scale),
                'model.backbone.img_size': side,
                'model.backbone.patch_size': scale.patch,
                'model.head.in_channels': scale.width,
                'train_dataloader.dataset.pipeline.0.scale': side,
                'train_dataloader.batch_size': scale.classifier_batch,
                'val_dataloader.dataset.pipeline.1.scale': side,
                'val_dataloader.dataset.pipeline.2.crop_size': side,
                'optim_wrapper.optimizer.lr': rate,
                'train_cfg.max_epochs': epochs,
                'train_cfg.val_interval': epochs,
                'default_hooks.checkpoint.interval': max(epochs // 4, 1),
                'randomness.seed': seed,
            },
            start,
        )


def _counts(scale: Scale, images: int) -> list[int]:
    """Return the numbers of labelled images; a subset of the data has fewer images."""
    return sorted({min(labels, images) for labels in scale.classes})


def _labels(work: Path, labels: int, seed: int) -> Path:
    return work / f'labels/{labels}-seed{seed}.txt'


def _write_labelled(path: Path, images: list[Path]) -> None:
    """Write a list of images, each with its class, the name of its folder."""
    path.write_text(''.join(f'{image}\t{image.parent.name}\n' for image in images))

"""Detection: Mask R-CNN on nuclei from 8 to 530 labelled images, pretrained on all 530."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison.protocol import SEARCH_SEED, Scale, arch, encoder
from benchmarks.comparison.runs import CONFIGS, CONTENDERS, METHODS, Run, positions
from benchmarks.comparison.search import Scores, best
from benchmarks.comparison.variants import VARIANTS, Variant
from lomar.utils import atomic_write, write_json

NONE = Variant('')
RUNS, TASKS = 'nuclei', ('pretrain', 'detect')  # folder of the runs, tasks of the results
HELD_OUT = 1 / 4  # of the training images, on which the search tests


def write_data(data: Path, work: Path, scale: Scale) -> None:
    """Write lists of unlabelled images and annotations of the labelled ones.

    Smaller labelled sets of a seed are subsets of its larger ones. The search has its own split of
    the training images.
    """
    coco = json.loads((data / 'instances_train.json').read_text())
    count = len(coco['images'])
    order = np.random.default_rng(SEARCH_SEED).permutation(count)
    held_out, rest = order[: round(HELD_OUT * count)], order[round(HELD_OUT * count) :]
    _write_list(work / 'search.txt', data, coco, rest)
    _write_list(work / 'unlabelled.txt', data, coco, range(count))
    _write_part(work / 'search-val.json', coco, held_out)
    few, _ = scale.searched
    _write_part(_labels(work, few, SEARCH_SEED), coco, rest[:few])
    for seed in scale.seeds:
        order = np.random.default_rng(seed).permutation(count)
        for labels in scale.labels:
            _write_part(_labels(work, labels, seed), coco, order[:labels])


def stages(
    scale: Scale, data: Path, work: Path, seconds: dict[str, dict[str, float]]
) -> Generator[list[Run], Scores, None]:
    """Yield the runs that can be started next; takes the scores of all finished ones.

    Args:
        seconds: seconds per pretraining step of each method by side of the image in pixels.
    """
    make = Runs(scale, data, work, seconds)
    few, _ = scale.searched
    rate = yield from search_pretraining(make)
    pretrained = {m: make.pretraining(m, SEARCH_SEED, rate[m], 'time') for m in METHODS}
    fine = {
        (c, r): make.detector(c, SEARCH_SEED, few, r, pretrained.get(c))
        for c in CONTENDERS
        for r in scale.rates
    }
    scores = yield list(fine.values())
    fine_rate = {
        c: best({r: fine[c, r] for r in scale.rates}, scores, 'mask_ap') for c in CONTENDERS
    }
    final = []
    for labels in scale.labels:
        for seed in scale.seeds:
            for contender, budget in make.contenders(labels):
                start = None
                if budget:
                    start = make.pretraining(contender, seed, rate[contender], budget)
                final.append(make.detector(contender, seed, labels, fine_rate[contender], start))
    yield final
    yield [
        run for seed in (*scale.seeds, SEARCH_SEED) for run in make.variants(seed, rate, fine_rate)
    ]


def search_pretraining(make: 'Runs') -> Generator[list[Run], Scores, dict[str, float]]:
    """Yield the runs of the search of the pretraining's rates; return the best by method."""
    few, _ = make.scale.searched
    rates = make.scale.rates
    tried = {
        (m, r): make.detector(
            m, SEARCH_SEED, few, rates[0], make.pretraining(m, SEARCH_SEED, r, 'time')
        )
        for m in METHODS
        for r in rates
    }
    scores = yield list(tried.values())
    return {m: best({r: tried[m, r] for r in rates}, scores, 'mask_ap') for m in METHODS}


class Runs:
    """The trainings of the study."""

    def __init__(self, scale: Scale, data: Path, work: Path, seconds: dict):
        self.scale, self.data, self.work = scale, data, work
        self.side = scale.nuclei_grid * scale.patch
        self.seconds = seconds[str(self.side)]

    def contenders(self, labels: int) -> list[tuple[str, str | None]]:
        """Return contenders and budgets; MAE has a second budget for one number of labels."""
        found = [('lomar', 'time'), ('mae', 'time'), ('random-lomar', None), ('random-mae', None)]
        if labels == self.scale.searched[0]:
            found.append(('mae', 'images'))
        return found

    def steps(self, method: str, budget: str) -> int:
        """Return steps of pretraining: LoMaR's, or as many as take LoMaR's time."""
        if budget == 'images':
            return self.scale.nuclei_steps
        return round(self.scale.nuclei_steps * self.seconds['lomar'] / self.seconds[method])

    def pretraining(
        self, method: str, seed: int, rate: float, budget: str, variant: Variant = NONE
    ) -> Run:
        searching = seed == SEARCH_SEED
        images = self.work / ('search.txt' if searching else 'unlabelled.txt')
        per_epoch = len(images.read_text().splitlines()) // self.scale.batch
        share = self.scale.search_share if searching else 1
        epochs = round(share * self.steps(method, budget) / per_epoch) * variant.longer
        keys: dict[str, Any] = dict(task='pretrain', contender=method, budget=budget)
        keys |= _named(variant)
        config = variant.config if method == 'lomar' else 'pretrain_mae'
        return Run(
            keys | dict(seed=seed, rate=rate),
            CONFIGS / f'{config}.py',
            ('--train-images', str(images)),
            {
                **encoder(self.scale, method, self.side),
                'train_dataloader.dataset.pipeline.0.scale': self.side,
                'train_dataloader.batch_size': self.scale.batch,
                'optim_wrapper.optimizer.lr': rate,
                'train_cfg.max_epochs': epochs,
                'default_hooks.checkpoint.interval': max(epochs // 4, 1),
                'randomness.seed': seed,
                **variant.pretraining,
            },
            steps=epochs * per_epoch,
        )

    def detector(
        self,
        contender: str,
        seed: int,
        labels: int,
        rate: float,
        start: Run | None,
        variant: Variant = NONE,
    ) -> Run:
        searching = seed == SEARCH_SEED
        truth = self.work / 'search-val.json' if searching else self.data / 'instances_val.json'
        images = str(self.data / 'images')
        keys: dict[str, Any] = dict(task='detect', contender=contender)
        keys |= dict(budget=start.keys['budget'], pretrain_rate=start.keys['rate']) if start else {}
        keys |= _named(variant)
        side, scale = self.scale.detector_side, self.scale
        steps = scale.detector_steps * variant.tuned
        parts = 4 if self._has_curve(labels, seed, variant) else 1
        options = {
            **arch(scale),
            'model.backbone.img_size': side,
            'model.backbone.patch_size': scale.patch,
            'model.neck.in_channels': scale.width,
            **dict(scale.detector),
            'train_dataloader.dataset.pipeline.3.scale': f'({side},{side})',
            'train_dataloader.dataset.pipeline.3.crop_size': f'({side},{side})',
            'val_dataloader.dataset.pipeline.1.scale': f'({side},{side})',
            'train_dataloader.batch_size': scale.detector_batch,
            'optim_wrapper.optimizer.lr': rate,
            'train_cfg.max_iters': steps,
            'train_cfg.val_interval': steps // parts,
            'default_hooks.checkpoint.interval': steps // 4,
            'randomness.seed': seed,
            **variant.detector,
        }
        if positions(contender) == 'mae':
            options['model.backbone.pretrain_img_size'] = self.side
        return Run(
            keys | dict(labels=labels, seed=seed, rate=rate),
            CONFIGS / f'detect_{positions(contender)}.py',
            (
                *('--train-ann', str(_labels(self.work, labels, seed)), '--train-images', images),
                *('--val-ann', str(truth), '--val-images', images),
            ),
            options,
            start,
        )

    def _has_curve(self, labels: int, seed: int, variant: Variant) -> bool:
        """Return whether AP over steps is drawn: for one number of labels of the protocol."""
        few, _ = self.scale.searched
        return labels == few and seed != SEARCH_SEED and variant is NONE

    def variants(
        self, seed: int, rates: dict[str, float], fine_rates: dict[str, float]
    ) -> list[Run]:
        """Return the detectors of `VARIANTS`; only the seed of the search has all of them."""
        labels, found = self.scale.searched[0], []
        for variant in VARIANTS:
            if seed != SEARCH_SEED and not variant.repeated:
                continue
            start = self.pretraining(
                'lomar', seed, rates['lomar'], 'time', variant if variant.pretrains else NONE
            )
            for contender in ('lomar', *variant.contenders):
                own = start if contender == 'lomar' else None
                rate = fine_rates[contender]
                found.append(self.detector(contender, seed, labels, rate, own, variant))
        return found


def _named(variant: Variant) -> dict[str, str]:
    """Return the variant's name as a key of a run."""
    return dict(variant=variant.name) if variant.name else {}


def _labels(work: Path, labels: int, seed: int) -> Path:
    return work / f'labels/{labels}-seed{seed}.json'


def _write_list(path: Path, data: Path, coco: dict, chosen) -> None:
    names = sorted(coco['images'][index]['file_name'] for index in chosen)
    with atomic_write(path) as part:  # another study may read the list
        part.write_text(''.join(f'{data / "images" / name}\n' for name in names))


def _write_part(path: Path, coco: dict, chosen) -> None:
    images = [coco['images'][index] for index in sorted(chosen)]
    kept = {image['id'] for image in images}
    objects = [one for one in coco['annotations'] if one['image_id'] in kept]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(coco, images=images, annotations=objects), indent=None)

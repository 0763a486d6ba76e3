"""Segmentation: UPerNet on nuclei from few labelled images, pretrained as for the detector."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from benchmarks.comparison import nuclei
from benchmarks.comparison.nuclei_masks import link, name_of, write_masks
from benchmarks.comparison.protocol import SEARCH_SEED, Scale, arch
from benchmarks.comparison.runs import CONFIGS, CONTENDERS, Run, positions
from benchmarks.comparison.search import Scores, best

RUNS, TASKS = 'nuclei', ('segment',)  # folder of the runs, tasks of the results


def write_data(data: Path, work: Path, scale: Scale) -> None:
    """Write images, masks, and folders of the labelled images, which are those of the detector."""
    nuclei.write_data(data, work, scale)
    for split in ('train', 'val'):
        out = work / f'masks/{split}'
        write_masks(data / f'instances_{split}.json', data / 'images', out, scale.segmenter_side)
    lists = {'search-val': work / 'search-val.json'}
    few, _ = scale.searched
    for labels, seed in [
        (few, SEARCH_SEED),
        *((n, seed) for n in scale.segmenter_labels for seed in scale.seeds),
    ]:
        lists[f'{labels}-seed{seed}'] = work / f'labels/{labels}-seed{seed}.json'
    for name, file in lists.items():
        names = [name_of(image) for image in json.loads(file.read_text())['images']]
        link(work / 'masks' / name, work / 'masks/train', names)


def stages(
    scale: Scale, data: Path, work: Path, seconds: dict[str, dict[str, float]]
) -> Generator[list[Run], Scores, None]:
    """Yield the runs that can be started next; takes the scores of all finished ones.

    The weights are those of the detectors of the same seed, and so are the learning rates of the
    pretraining. The search of the fine-tuning's rates begins with the weights of the first seed.

    Args:
        seconds: seconds per pretraining step of each method by side of the image in pixels.
    """
    pretrained = nuclei.Runs(scale, data, work, seconds)
    rate = yield from nuclei.search_pretraining(pretrained)
    few, _ = scale.searched

    def start(contender: str, seed: int, budget: str | None) -> Run | None:
        if budget is None:
            return None
        return pretrained.pretraining(contender, seed, rate[contender], budget)

    budgets = {name: None if name.startswith('random') else 'time' for name in CONTENDERS}
    tried = {
        (name, r): _segmenter(scale, work, name, SEARCH_SEED, few, r, start(name, 0, budget))
        for name, budget in budgets.items()
        for r in scale.rates
    }
    scores = yield list(tried.values())
    fine_rate = {
        name: best({r: tried[name, r] for r in scale.rates}, scores, 'miou') for name in CONTENDERS
    }
    yield [
        _segmenter(scale, work, name, seed, labels, fine_rate[name], start(name, seed, budget))
        for labels in scale.segmenter_labels
        for seed in scale.seeds
        for name, budget in (*budgets.items(), ('mae', 'images'))
    ]


def _segmenter(
    scale: Scale, work: Path, contender: str, seed: int, labels: int, rate: float, start: Run | None
) -> Run:
    truth = work / 'masks' / ('search-val' if seed == SEARCH_SEED else 'val')
    train = work / f'masks/{labels}-seed{seed}'
    keys: dict[str, Any] = dict(task='segment', contender=contender)
    keys |= dict(budget=start.keys['budget'], pretrain_rate=start.keys['rate']) if start else {}
    side, crop, steps = scale.segmenter_side, scale.segmenter_crop, scale.segmenter_steps
    options = {
        **arch(scale),
        'model.backbone.img_size': crop,
        'model.backbone.patch_size': scale.patch,
        'model.backbone.out_indices': f'[{",".join(map(str, _quarters(scale.depth)))}]',
        'model.data_preprocessor.size': f'({crop},{crop})',
        'model.data_preprocessor.test_cfg.size_divisor': scale.patch,
        'model.neck.embed_dim': scale.width,
        'model.decode_head.in_channels': f'[{",".join([str(scale.width)] * 4)}]',
        'model.auxiliary_head.in_channels': scale.width,
        'model.test_cfg.crop_size': f'({crop},{crop})',
        'model.test_cfg.stride': f'({2 * crop // 3},{2 * crop // 3})',
        'train_dataloader.dataset.pipeline.2.scale': f'({4 * side},{side})',
        'train_dataloader.dataset.pipeline.3.crop_size': f'({crop},{crop})',
        'val_dataloader.dataset.pipeline.1.scale': f'({4 * side},{side})',
        'train_dataloader.batch_size': scale.detector_batch,
        'optim_wrapper.optimizer.lr': rate,
        'train_cfg.max_iters': steps,
        'train_cfg.val_interval': steps,
        'default_hooks.checkpoint.interval': steps,
        'randomness.seed': seed,
    }
    if positions(contender) == 'mae':
        options['model.backbone.pretrain_img_size'] = scale.nuclei_grid * scale.patch
    return Run(
        keys | dict(labels=labels, seed=seed, rate=rate),
        CONFIGS / f'segment_{positions(contender)}.py',
        (
            *('--train-images', str(train / 'images'), '--train-masks', str(train / 'masks')),
            *('--val-images', str(truth / 'images'), '--val-masks', str(truth / 'masks')),
        ),
        options,
        start,
    )


def _quarters(depth: int) -> list[int]:
    """Return the last block of each quarter."""
    return [(quarter + 1) * depth // 4 - 1 for quarter in range(4)]

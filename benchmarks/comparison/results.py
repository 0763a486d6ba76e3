"""Figures of a finished run, from its logs."""

import json
from pathlib import Path

from benchmarks.comparison.runs import Run

AP = {
    f'{name}_{figure.lower()}': f'coco/{kind}_m{figure}'
    for kind, name in (('bbox', 'box'), ('segm', 'mask'))
    for figure in ('AP', 'AP50')
}

# Names in the logs of the figures of a task, and of their position in the training.
CURVES = dict(
    detect=(AP, 'step'),
    segment=(dict(miou='iou/mIoU', pixel_acc='iou/aAcc', class_acc='iou/mAcc'), 'step'),
    classify=(dict(top1='accuracy/top1'), 'step'),
    pretrain=(dict(knn='probe/knn', linear='probe/linear'), 'epoch'),
)


def outcome(folder: Path, run: Run) -> dict:
    """Return the last figures of a run, in percent, and the curve of all its evaluations.

    Raises:
        ValueError: the evaluation at the end of the training of a detector is missing.
    """
    records = _records(folder)
    task = run.keys['task']
    names, position = CURVES[task]
    # A resumed run repeats steps after its checkpoint: the later record counts.
    found_at = {
        one[position]: {key: one[name] for key, name in names.items()}
        for one in records
        if all(name in one for name in names.values())
    }
    if task == 'detect':  # fractions
        found_at = {
            at: {key: 100 * value for key, value in one.items()} for at, one in found_at.items()
        }
    end = run.options.get('train_cfg.max_iters')
    if end is not None and end not in found_at:
        raise ValueError(f'{folder} has no evaluation after {end} steps')
    curve = [{position: at, **found_at[at]} for at in sorted(found_at)]
    figures = dict(found_at[max(found_at)]) if found_at else {}
    found: dict = dict(figures=figures, curve=curve)
    if task == 'pretrain':
        # The last logged step may be an earlier one than the last step.
        found |= dict(steps=run.steps, epochs=run.options['train_cfg.max_epochs'])
        figures['loss'] = [one['loss'] for one in records if 'loss' in one][-1]
    return found


def _records(folder: Path) -> list[dict]:
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]

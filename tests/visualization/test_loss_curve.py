"""The log records of a work dir: the last run and the runs that it resumed."""

import json

import pytest

from lomar.visualization.loss_curve import read_scalars

A = [(25, 1.0), (50, 0.8), (75, 0.7)]


@pytest.mark.parametrize(
    ('runs', 'expected'),
    [
        ([A], A),
        # resumed from a checkpoint at step 50
        ([A, [(75, 0.6), (100, 0.5)]], [*A[:2], (75, 0.6), (100, 0.5)]),
        # started again, and shorter
        ([A, [(25, 0.9)]], [(25, 0.9)]),
        # stopped before its first record
        ([A, []], A),
    ],
)
def test_a_later_run_replaces_records(runs, expected, tmp_path):
    for index, records in enumerate(runs):
        folder = tmp_path / f'2026010{index}_000000/vis_data'
        folder.mkdir(parents=True)
        lines = [dict(step=step, loss=loss) for step, loss in records]
        lines.append({'coco/bbox_mAP': 0.1, 'step': 400})  # an evaluation
        (folder / 'scalars.json').write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    assert [(one['step'], one['loss']) for one in read_scalars(tmp_path)] == expected

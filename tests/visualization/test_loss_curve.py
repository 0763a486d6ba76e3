"""The log records of a work dir: the last run and the runs that it resumed."""

import json

import pytest

from lomar.visualization.loss_curve import has_parts, plot_loss, read_scalars

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


@pytest.mark.parametrize(
    ('key', 'parts'), [('loss_cls', True), ('decode.loss_ce', True), ('grad_norm', False)]
)
def test_the_loss_of_detectors_and_segmentors_has_parts(key, parts):
    assert has_parts({'loss': 1.0, key: 0.5, 'step': 25}) is parts


LINE = b'{"loss": 1.0, "lr": 0.1, "step": 25}\n'


@pytest.mark.parametrize(
    ('content', 'steps'),
    [
        (LINE + LINE[:9], [25]),  # the disk was full
        (LINE + bytes(20), [25]),  # the machine was switched off
        (LINE + b'\xff\xfe\n', [25]),
        (LINE + b'{"loss": NaN, "step": 50}\n', [25, 50]),  # without a learning rate
        (LINE + LINE[:9] + b'\n' + LINE, 'scalars.json:2: '),
        (LINE + b'[' * 100_000 + b'\n' + LINE, 'scalars.json:2: '),
        (LINE + b'[]\n', 'scalars.json:2: '),
        (b'{"loss": 1.0}\n', 'scalars.json:1: .*`step`'),
        (b'{"loss": "1", "step": 1}\n', 'scalars.json:1: .*loss'),
    ],
)
def test_a_last_line_that_was_not_written_whole(content, steps, tmp_path):
    file = tmp_path / '1/vis_data/scalars.json'
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    if isinstance(steps, str):
        with pytest.raises(ValueError, match=steps):
            read_scalars(tmp_path)
    else:
        assert [one['step'] for one in read_scalars(tmp_path)] == steps
        assert plot_loss(tmp_path, tmp_path / 'loss.png').is_file()

"""What is only perhaps a mistake in annotations: a note and a count; an error with --strict."""

import logging

import pytest
from mmengine.logging import MMLogger
from test_coco import annotation, changed, dataset, second, valid, write
from test_coco_training import config

from lomar.cli import main
from lomar.detection import check_coco, check_config, stop_on_errors


def boxes(*values):
    """A change to annotations with these boxes, on images of 40 x 30."""

    def change(coco):
        coco['annotations'] = [
            dict(annotation(number, 20, 1, 5, 9), bbox=list(box))
            for number, box in enumerate(values)
        ]

    return change


CORNERS = 'bbox looks like [x, y, x2, y2]'
BEYOND = 'its box reaches out of the image'
# A change, and the notes with their counts.
NOTES = {
    'boxes a little beyond the image': (
        boxes(*[(1, 1, 40.5, 30.5)] * 12),
        {CORNERS: 1, BEYOND: 12},
    ),
    'corners': (boxes(*[(15 + n, 12, 22 + n, 28) for n in range(12)]), {CORNERS: 1, BEYOND: 12}),
    'as many, inside': (boxes(*[(1, 1, 20, 20)] * 12), {}),
    'few': (boxes(*[(1, 1, 40.5, 30.5)] * 9), {BEYOND: 9}),
    'one that cannot be corners': (
        boxes(*[(1, 1, 40.5, 30.5)] * 12, (30, 20, 5, 5)),
        {BEYOND: 12},
    ),
    'crowd': (second(iscrowd=1), {'is a crowd': 1}),
    'no area': (second(area=None), {'has no area': 1}),
    'box outside': (second(bbox=[99, 5, 10, 10]), {'is left out, as its box is outside': 1}),
    'one file twice': (
        lambda coco: coco['images'][1].update(file_name='10.png'),
        {'has the same file as': 1},
    ),
    'no objects': (
        lambda coco: coco['annotations'].pop(2),
        {'a class has no objects': 1, 'has no objects': 1},
    ),
}


@pytest.mark.parametrize('name', NOTES)
@pytest.mark.parametrize('training', [True, False])
def test_a_note_stops_no_run(tmp_path, name, training):
    change, wanted = NOTES[name]
    path = write(tmp_path, changed(change))
    report = check_coco(path, str(tmp_path), masks=True, training=training)
    assert not report.errors.lines()
    for text, count in wanted.items():
        found = {kind: n for kind, (n, _) in report.notes.kinds.items() if kind.startswith(text)}
        assert list(found.values()) == [count], found
    assert (CORNERS in str(report.notes.loud)) == (CORNERS in wanted)
    assert len(dataset(path, tmp_path, test_mode=not training)) == 3
    stop_on_errors([report])
    with pytest.raises(ValueError, match=r'(?s)--strict is given:.*train.json: '):
        stop_on_errors([report], strict=True)


def test_notes_are_logged_once_in_a_line_per_kind(tmp_path):
    write(tmp_path, valid(), 'val.json')
    path = write(tmp_path, changed(NOTES['corners'][0]))
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_instance('notes', logger_name='notes')
    logger.addHandler(handler)
    check_config(config(tmp_path))
    assert not records
    dataset(path, tmp_path)
    lines = [record.getMessage() for record in records]
    lines = [line.removeprefix(f'{path}: ') for line in lines if line.startswith(path)]
    assert len(lines) == 5
    assert CORNERS in lines[0]  # the loud note is first
    assert lines[4] == f'annotations, id 0: {BEYOND}, [15, 12, 22, 28] (and 11 more)'
    loud = [record for record in records if record.levelno == logging.WARNING]
    assert [CORNERS in record.getMessage() for record in loud] == [True]


def test_strict_commands(tmp_path, capsys):
    images = str(tmp_path)
    clean = valid()
    for number, category in enumerate(sorted(clean['categories'], key=lambda one: one['id'])):
        for one in clean['annotations']:
            if one['category_id'] == category['id']:
                one['category_id'] = number + 1
        category['id'] = number + 1
    val = write(tmp_path, clean, 'val.json')
    detector = 'detect/mask-rcnn_vitdet-b_scratch_lsj-12e_coco'

    def run(command, train):
        flags = ['--train-ann', train, '--train-images', images]
        flags += ['--val-ann', val, '--val-images', images, '--strict']
        code = main([command, detector, *flags, *(['--dry-run'] if command == 'train' else [])])
        return code, ''.join(capsys.readouterr())

    assert run('check', val)[0] == 0
    clean['annotations'][1].pop('area')
    train = write(tmp_path, clean)
    for command, message in (
        ('check', 'lomar check: these datasets have notes, and --strict is given'),
        ('train', 'lomar train: The annotations have notes, and --strict is given:'),
    ):
        code, text = run(command, train)
        assert code == 1 and message in text
        assert f'{train}: annotations[1] (id 101): has no area, which is computed' in text
    assert main(['train', 'lomar_pretrain', '--strict', '--dry-run']) == 1
    assert '--strict belong to detection configs' in capsys.readouterr().err

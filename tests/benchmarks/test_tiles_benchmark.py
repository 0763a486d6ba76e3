"""The benchmark of detection in tiles: its AP, and its result file."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from trained import OBJECTS, detector_file, noise

from benchmarks.tiles.__main__ import average_precision, main
from lomar.detection import encode

CLASSES = ('striped', 'checked', 'dotted')


@pytest.fixture
def truth(tmp_path):
    """Two images with an object each, and a third one that is too small to be measured."""
    (tmp_path / 'images').mkdir()
    images, objects = [], []
    for number, height in enumerate((60, 70, 20), 1):
        Image.fromarray(noise(height, 90, seed=number)).save(tmp_path / f'images/{number}.png')
        mask = np.zeros((1, height, 90), bool)
        mask[0, 5:15, 10:40] = True
        images.append(dict(id=number, file_name=f'{number}.png', height=height, width=90))
        box = dict(bbox=[10, 5, 30, 10], area=300, segmentation=encode(mask)[0])
        objects.append(dict(id=number, image_id=number, category_id=7, iscrowd=0, **box))
    categories = [dict(id=7 + i, name=name) for i, name in enumerate(CLASSES)]
    content = dict(images=images, annotations=objects, categories=categories)
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    return tmp_path / 'truth.json'


def test_average_precision(truth):
    """An object that is found, and one that is missing: precision 1 up to a recall of 50 %."""
    coco = COCO(truth)
    found = [{**coco.anns[1], 'score': 0.9}]
    precision = 51 / 101 * 100  # COCO's 101 levels of recall
    names = ('box_ap', 'box_ap50', 'mask_ap', 'mask_ap50')
    assert average_precision(coco, found, [1, 2]) == pytest.approx(dict.fromkeys(names, precision))
    assert average_precision(coco, found, [1]) == pytest.approx(dict.fromkeys(names, 100))
    assert average_precision(coco, [], [1]) == dict.fromkeys(names, 0)


def test_result_file(truth, tmp_path):
    checkpoint = detector_file(tmp_path / 'a.pth')
    main(
        [
            *(str(checkpoint), str(truth), str(truth.parent / 'images'), '--least-side', '50'),
            *('--threshold', '0', '--tile', '40', '--overlaps', '10', '0'),
            *('--json', str(tmp_path / 'out.json')),
        ]
    )
    written = json.loads((tmp_path / 'out.json').read_text())
    assert written['data'] == dict(images=2, objects=2)
    assert written['command'].startswith('python -m benchmarks.tiles ')
    whole, *tiles = written['records']
    assert whole['way'] == 'whole' and whole['objects'] == 2 * OBJECTS
    assert [(one['tile'], one['overlap']) for one in tiles] == [(40, 10), (40, 0)]
    assert all(one['objects'] > whole['objects'] for one in tiles)

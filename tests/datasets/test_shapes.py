"""The embedded dataset: its bytes, its annotations, and what it refuses to do."""

import hashlib
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from processes import run_lomar
from pycocotools.coco import COCO

from lomar.cli import main
from lomar.datasets import shapes

TRAIN, VAL, SIZE, SEED = 60, 8, 64, 5
NAMES = shapes.CATEGORIES['shape+texture']


def files(root):
    return {
        path.relative_to(root).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in root.rglob('*')
        if path.is_file()
    }


def hashes(root):
    return {name: digest for name, (digest, _) in files(root).items()}


def drawn(split, index):
    number = shapes.SPLITS.index(split)
    return shapes.render(np.random.default_rng([SEED, number, index]), SIZE)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp('made') / 'shapes'
    shapes.make_shapes(root, TRAIN, VAL, SIZE, SEED, workers=2)
    return root


def test_bytes_follow_the_seed_and_not_the_workers(made, tmp_path):
    shapes.make_shapes(tmp_path / 'same', TRAIN, VAL, SIZE, SEED, workers=1)
    assert hashes(tmp_path / 'same') == hashes(made)
    shapes.make_shapes(tmp_path / 'other', 2, 1, SIZE, SEED + 1, workers=1)
    digests = set(hashes(made).values())
    assert len(digests) == TRAIN + VAL + 4, 'two files are the same'
    assert not digests & set(hashes(tmp_path / 'other').values())


@pytest.mark.parametrize(('split', 'count'), [('train', TRAIN), ('val', VAL)])
def test_annotations_are_the_visible_pixels(made, split, count):
    coco = COCO(str(made / 'annotations' / f'{split}.json'))
    assert len(coco.imgs) == count
    for index, (key, entry) in enumerate(sorted(coco.imgs.items())):
        pixels, objects = drawn(split, index)
        stored = np.asarray(Image.open(made / split / entry['file_name']))
        assert np.abs(stored.astype(int) - pixels).mean() < 8
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=key))
        assert 1 <= len(annotations) == len(objects) <= 6
        for annotation, (category, mask) in zip(annotations, objects, strict=True):
            ys, xs = np.nonzero(mask)
            assert coco.cats[annotation['category_id']]['name'] == NAMES[category]
            assert annotation['area'] == mask.sum() >= 16
            assert annotation['bbox'] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert np.array_equal(coco.annToMask(annotation), mask)


def test_polygons_of_any_mask_rasterise_to_it():
    rng = np.random.default_rng(0)
    ring = np.zeros((20, 24), bool)
    ring[3:17, 4:20], ring[8:12, 9:15] = True, False
    for mask in [ring, ~ring, np.ones((5, 7), bool), *(rng.random((30, 13, 17)) < 0.6)]:
        coco = COCO()
        coco.imgs = {1: {'height': mask.shape[0], 'width': mask.shape[1]}}
        polygons = shapes.mask_to_polygons(mask)
        assert np.array_equal(coco.annToMask({'image_id': 1, 'segmentation': polygons}), mask)
    assert shapes.mask_to_polygons(np.zeros((4, 4), bool)) == []


def test_categories_need_shape_and_texture(made):
    pairs = {tuple(name.split()) for name in NAMES}
    textures, outlines = ({pair[side] for pair in pairs} for side in (0, 1))
    assert len(NAMES) == len(pairs) == len(textures) * len(outlines) >= 8
    assert min(len(textures), len(outlines)) >= 2
    content = json.loads((made / 'annotations' / 'train.json').read_text())
    assert (
        {one['category_id'] for one in content['annotations']}
        == set(range(1, len(NAMES) + 1))
        == {one['id'] for one in content['categories']}
    )


def test_objects_hide_parts_of_each_other():
    dented = 0
    for index in range(TRAIN):
        objects = drawn('train', index)[1]
        assert sum(mask.astype(int) for _, mask in objects).max() == 1, 'masks overlap'
        for category, mask in objects:
            if not NAMES[category].endswith('star'):
                hull = cv2.convexHull(np.argwhere(mask).astype(np.int32))
                dented += mask.sum() < 0.9 * cv2.contourArea(hull)
    assert dented >= TRAIN // 10, 'a convex shape is dented only where something covers it'


def test_a_made_dataset_is_kept_unless_overwriting_is_asked(tmp_path):
    out = tmp_path / 'shapes'
    assert shapes.make_shapes(out, 3, 1, 32, 0, workers=1)['made']
    before = files(out)
    assert not shapes.make_shapes(out, 3, 1, 32, 0, workers=1)['made']
    with pytest.raises(ValueError, match=r'size=32 seed=0 .* size=48 seed=0.*--overwrite'):
        shapes.make_shapes(out, 3, 1, 48, 0, workers=1)
    assert files(out) == before
    (out / 'train' / '000001.jpg').unlink()
    with pytest.raises(ValueError, match=r'2 \+ 1 images are there'):
        shapes.make_shapes(out, 3, 1, 32, 0, workers=1)
    shapes.make_shapes(out, 3, 1, 32, 0, workers=1, overwrite=True)
    assert hashes(out) == {name: digest for name, (digest, _) in before.items()}
    for name in ('notes.txt', 'annotations/notes.json', 'train/9.png', 'val/000002.jpg'):
        (out / name).write_text('mine')
        with pytest.raises(ValueError, match='never overwritten'):
            shapes.make_shapes(out, 3, 1, 48, 0, workers=1, overwrite=True)
        (out / name).unlink()


def test_a_failed_run_leaves_nothing(tmp_path, monkeypatch):
    def fail(rng, size, categories):
        raise RuntimeError('stopped')

    monkeypatch.setattr(shapes, 'render', fail)
    with pytest.raises(RuntimeError, match='stopped'):
        shapes.make_shapes(tmp_path / 'shapes', 3, 1, 32, 0, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('name', 'value'), [('size', 31), ('train', -1), ('val', -1), ('seed', -1), ('workers', 0)]
)
def test_bad_numbers_are_named(tmp_path, name, value):
    numbers = {'train': 1, 'val': 1, 'size': 32, 'seed': 0, 'workers': 1, name: value}
    with pytest.raises(ValueError, match=f'--{name} must be between .* got {value}'):
        shapes.make_shapes(tmp_path / 'shapes', **numbers)
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path):
    counts = '--train 3 --val 1 --size 32 --workers 1'
    done = run_lomar('shapes', '--out', tmp_path / 'shapes', *counts.split())
    assert done.returncode == 0, done.stderr
    assert '4 images' in done.stdout and '4/4' in done.stderr
    assert all(name in done.stdout for name in NAMES)
    assert len(list((tmp_path / 'shapes' / 'train').glob('*.jpg'))) == 3


def test_command_explains_a_refusal(tmp_path, capsys):
    assert main(['shapes', '--out', str(tmp_path / 'out'), '--size', '8']) == 1
    message = 'lomar shapes: --size must be between 32 and 1024, got 8'
    assert capsys.readouterr().err.startswith(message)


def test_texture_alone_can_be_the_category(tmp_path):
    shapes.make_shapes(tmp_path / 'shapes', 30, 1, 64, SEED, workers=1, categories='texture')
    coco = json.loads((tmp_path / 'shapes/annotations/train.json').read_text())
    assert [category['name'] for category in coco['categories']] == ['striped', 'checked', 'dotted']
    assert {one['category_id'] for one in coco['annotations']} == {1, 2, 3}
    # What was drawn first is the same object either way: its texture is what counts.
    both, alone = (
        shapes.render(np.random.default_rng([SEED, 0, 3]), SIZE, categories)[1]
        for categories in ('shape+texture', 'texture')
    )
    assert len(both) == len(alone) and [kind % 3 for kind, _ in both] == [kind for kind, _ in alone]
    allowed = r'must be one of shape\+texture, texture, object, got colour'
    with pytest.raises(ValueError, match=allowed):
        shapes.make_shapes(tmp_path / 'other', 1, 1, 64, SEED, workers=1, categories='colour')


def test_one_category_of_all_objects_leaves_images_and_masks_unchanged(tmp_path):
    made = []
    for categories in ('texture', 'object'):
        root = tmp_path / categories
        shapes.make_shapes(root, 12, 1, SIZE, SEED, workers=1, categories=categories)
        images = [path.read_bytes() for path in sorted((root / 'train').iterdir())]
        coco = json.loads((root / 'annotations/train.json').read_text())
        masks = [(one['image_id'], one['segmentation']) for one in coco['annotations']]
        made.append((images, masks))
    assert made[0] == made[1] and len(made[0][0]) == 12
    assert [category['name'] for category in coco['categories']] == ['object']
    assert {one['category_id'] for one in coco['annotations']} == {1}

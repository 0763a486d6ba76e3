"""`lomar.Detector` and `lomar.Classifier`: what they refuse; their results; pictures."""

import re
import sys

import numpy as np
import pytest
import torch
from conftest import tiny_lomar
from mmengine.config import ConfigDict
from PIL import Image, ImageDraw
from trained import V01, detector_file, noise

import lomar
from lomar.datasets import UnreadableImage
from lomar.detections import draw_objects, object_texts


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return detector_file(tmp_path_factory.mktemp('detector') / 'a.pth')


@pytest.fixture(scope='module')
def detector(checkpoint):
    return lomar.Detector(checkpoint, device='cpu')


def same(found, expected):
    assert len(found) == len(expected)
    for key in ('boxes', 'scores', 'labels', 'masks', 'names'):
        assert np.array_equal(getattr(found, key), getattr(expected, key)), key


WRONG_KINDS = [
    (lomar.Detector, 'classifier_lomar', 'the model is a classifier; .*: use lomar.Classifier'),
    (lomar.Detector, 'pretrain_lomar', 'model of a pretraining; .*: train a detector or a class'),
    (lomar.Classifier, 'detector_mae', 'the model is a detector; .*: use lomar.Detector'),
    (lomar.Classifier, 'pretrain_mae', 'model of a pretraining; .*or use lomar.Encoder'),
]


@pytest.mark.parametrize(('kind', 'name', 'reason'), WRONG_KINDS)
def test_another_kind_of_model(kind, name, reason):
    with pytest.raises(ValueError, match=reason) as error:
        kind(V01 / f'{name}.pth', device='cpu')
    assert '\n' not in str(error.value) and f'{name}.pth: ' in str(error.value)


@pytest.mark.parametrize('kind', [lomar.Detector, lomar.Classifier])
def test_bare_weights(kind, tmp_path):
    torch.save(tiny_lomar().state_dict(), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a\.pth: the checkpoint stores no config') as error:
        kind(tmp_path / 'a.pth')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('threshold', [0, 0.2, 1])
def test_the_threshold_is_inclusive(detector, threshold):
    (everything,) = detector([noise()], threshold=0)
    assert len(everything) == 6 and (np.diff(everything.scores) <= 0).all()
    threshold = threshold if threshold in (0, 1) else float(everything.scores[2])
    (found,) = detector([noise()], threshold)
    chosen = everything.scores >= threshold
    assert len(found) == chosen.sum() and len(found) == {0: 6, 1: 0}.get(threshold, 3)
    assert np.array_equal(found.boxes, everything.boxes[chosen])
    assert np.array_equal(found.masks, everything.masks[chosen])


def test_without_objects_the_shapes_stay(detector):
    (found,) = detector([noise(50, 80)], threshold=1)
    assert found.boxes.shape == (0, 4) and found.boxes.dtype == np.float32
    assert found.scores.shape == found.labels.shape == (0,) and found.labels.dtype == np.int64
    assert found.masks.shape == (0, 50, 80) and found.masks.dtype == bool and found.names == []
    assert np.array_equal(found.draw(noise(50, 80)), noise(50, 80))


def test_images_of_one_size_in_a_batch(detector):
    images = [noise(seed=seed) for seed in range(5)]
    for one, other in zip(detector(images, 0), detector(images, 0, batch_size=2), strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
        assert one.names == other.names


def test_grey_images(detector, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    grey = noise(channels=1)[..., 0]
    Image.fromarray(grey).save(tmp_path / 'grey.png')
    expected, *others = detector(
        [tmp_path / 'grey.png', '~/grey.png', grey, grey[..., None], torch.from_numpy(grey)[None]],
        threshold=0,
    )
    for found in others:
        same(found, expected)


REFUSED = [
    (lambda: 'a.png', TypeError, 'images is a single str'),
    (lambda: Image.new('RGB', (8, 8)), TypeError, 'images is a single Image'),
    (lambda: noise(), TypeError, 'images is a single ndarray'),
    (lambda: [None], TypeError, 'an image is NoneType; allowed: paths, PIL'),
    (lambda: [np.zeros(4)], TypeError, r'an image is ndarray of shape \(4,\)'),
    (lambda: [noise(dtype=np.float32)], ValueError, 'an array is float32; allowed: uint8'),
    (lambda: [noise(channels=5)], ValueError, r'an array has the shape \(50, 80, 5\)'),
    (lambda: ['gone.png'], UnreadableImage, 'gone.png: FileNotFoundError'),
]


@pytest.mark.parametrize(('images', 'kind', 'reason'), REFUSED)
def test_refused_images(detector, images, kind, reason):
    with pytest.raises(kind, match=reason):
        detector(images())


@pytest.mark.parametrize('threshold', [-0.1, 1.01, float('nan')])
def test_refused_thresholds(detector, threshold):
    with pytest.raises(ValueError, match=r'threshold is .*; allowed: a score from 0 to 1'):
        detector([noise()], threshold)


def test_numbers_of_numpy(detector):
    images = [noise(seed=seed) for seed in range(2)]
    expected = detector(images, 0.25, 2)
    for found, one in zip(detector(images, np.float32(0.25), np.uint8(2)), expected, strict=True):
        same(found, one)
    found = lomar.detect_tiles(detector, noise(), np.uint8(60), np.uint8(4), np.float64(0))
    same_boxes = lomar.detect_tiles(detector, noise(), 60, 4, 0).boxes
    np.testing.assert_array_equal(found.boxes, same_boxes)
    classifier = lomar.Classifier(V01 / 'classifier_lomar.pth', device='cpu')
    (found,) = classifier([noise(64, 64)], np.int64(2), np.int64(1))
    assert len(found.names) == 2


def declare_range(config):
    config.test_dataloader.dataset.pipeline[0].value_range = [0, 4095]


@pytest.mark.parametrize('stored', [True, False])
def test_value_range(checkpoint, stored, tmp_path):
    """16 bits with few used: the range is the caller's or that of the training."""
    deep = noise(dtype=np.uint16, channels=1)[..., 0]
    Image.fromarray(deep).save(tmp_path / 'deep.png')
    np.save(tmp_path / 'deep.npy', deep)
    if stored:
        detector = lomar.Detector(detector_file(tmp_path / 'a.pth', declare_range), device='cpu')
    else:
        detector = lomar.Detector(checkpoint, device='cpu', value_range=(0, 4095))
    assert detector.reads_arrays
    eight = (np.floor(deep * (255 / 4095))).astype(np.uint8)
    expected = lomar.Detector(checkpoint, device='cpu')([eight], 0)[0]
    given = [tmp_path / 'deep.png', tmp_path / 'deep.npy', Image.open(tmp_path / 'deep.png'), deep]
    for found in detector(given, 0):
        same(found, expected)


def use_mmcv(config):
    """Use mmcv's loader, as the configs of mmdet do."""
    config.model.data_preprocessor.bgr_to_rgb = True
    config.test_dataloader.dataset.pipeline[0] = ConfigDict(type='LoadImageFromFile')


def test_a_pipeline_of_mmdet(checkpoint, detector, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    theirs = lomar.Detector(detector_file(tmp_path / 'b.pth', use_mmcv), device='cpu')
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    given = [tmp_path / 'a.png', '~/a.png', pixels, tensor, Image.fromarray(pixels)]
    (expected,) = detector([pixels], 0)
    for found in theirs(given, 0):
        same(found, expected)
    for name in ('broken.jpg', 'gone.jpg'):
        with pytest.raises(UnreadableImage, match=name):
            theirs([tmp_path / name])
    with pytest.raises(ValueError, match=r'an array has the shape \(50, 80, 5\)'):
        theirs([noise(channels=5)])
    with pytest.raises(ValueError, match='value_range has no effect on LoadImageFromFile'):
        lomar.Detector(tmp_path / 'b.pth', value_range=(0, 4095))


def test_a_detector_without_a_pipeline(tmp_path):
    path = detector_file(tmp_path / 'a.pth', lambda config: config.update(test_dataloader=None))
    with pytest.raises(ValueError, match=r'a\.pth: test_dataloader\.dataset .* has no pipeline'):
        lomar.Detector(path)


def test_a_detector_without_names(tmp_path):
    path = detector_file(tmp_path / 'a.pth', dataset_meta={})
    detector = lomar.Detector(path, device='cpu')
    (found,) = detector([noise()], 0)
    assert detector.classes == () and found.names == [str(label) for label in found.labels]


def test_a_detector_without_masks(tmp_path):
    def boxes_only(config):
        config.model.roi_head.pop('mask_head')
        config.model.roi_head.pop('mask_roi_extractor')

    path = detector_file(tmp_path / 'a.pth', boxes_only)
    content = torch.load(path, weights_only=False)
    weights = content['state_dict']
    content['state_dict'] = {key: weights[key] for key in weights if 'mask_head' not in key}
    torch.save(content, path)
    (found,) = lomar.Detector(path, device='cpu')([noise()], 0)
    assert len(found) == 6 and found.masks is None
    assert not np.array_equal(found.draw(noise()), noise())


def planted(masks=True):
    regions = np.zeros((2, 40, 60), bool)
    regions[0, 5:15, 5:25], regions[1, 20:36, 30:50] = True, True
    boxes = np.array([[5, 5, 25, 15], [30, 20, 50, 36]], np.float32)
    return lomar.Detections(
        boxes,
        np.float32([0.9, 0.5]),
        np.array([1, 0]),
        ['Ähre', 'cell'],
        regions if masks else None,
    )


@pytest.mark.parametrize('kind', ['array', 'path', 'PIL', 'tensor', 'float', 'bands'])
def test_pictures(kind, tmp_path):
    black = np.zeros((40, 60, 3), np.uint8)
    Image.fromarray(black).save(tmp_path / 'a.png')
    given = dict(
        array=black,
        path=str(tmp_path / 'a.png'),
        PIL=Image.fromarray(black),
        tensor=torch.zeros(3, 40, 60, dtype=torch.uint8),
        float=np.zeros((40, 60), np.float32),
        bands=np.zeros((40, 60, 5), np.uint16),
    )[kind]
    picture = planted().draw(given)
    assert picture.size == (60, 40) and picture.mode == 'RGB'
    pixels = np.array(picture)
    assert (pixels[30, 48] > 0).any()  # in the mask
    assert (pixels[20, 40] == np.array([0xFF, 0x3B, 0x30])).all()  # on the box of class 0
    assert (pixels[38, 5] == 0).all()  # elsewhere
    without = np.array(planted(masks=False).draw(given))
    assert (without[34, 48] == 0).all() and (without[20, 40] > 0).any()


LABELS = {
    # Boxes, the first of the highest score; and the index of the label that each one has.
    'one object': ([[20, 60, 60, 100]], [0]),
    'far from each other': ([[20, 60, 60, 100], [20, 140, 60, 180]], [0, 0]),
    'at the upper edge': ([[20, 0, 190, 100]], [0]),
    'small at the upper edge': ([[20, 0, 30, 10]], [None]),
    'a neighbour above': ([[20, 60, 40, 80], [20, 40, 40, 58]], [None, 0]),
    'a neighbour at the right': ([[20, 60, 50, 90], [46, 40, 76, 58]], [1, 0]),
    'at one place': ([[20, 60, 60, 100], [20, 60, 60, 100]], [0, None]),
    'in a large one': ([[20, 100, 60, 140], [0, 20, 200, 200]], [0, 0]),
    'degenerate': ([[20, 60, 20, 60]], [0]),
    'none': ([], []),
}


@pytest.mark.parametrize('name', LABELS)
def test_labels_do_not_hide_objects(name, monkeypatch):
    boxes, expected = LABELS[name]
    drawn = {}
    text = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        'text',
        lambda self, place, label, *rest: (
            drawn.update({label: place}),
            text(self, place, label, *rest),
        ),
    )
    scores = [0.9 - number / 10 for number in range(len(boxes))]
    texts = object_texts(['cell'] * len(boxes), scores)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    draw_objects(np.zeros((200, 200, 3), np.uint8), array, texts, ['#ff3b30'] * len(boxes))
    assert len(drawn) == sum(index is not None for index in expected)
    for labels, index in zip(texts, expected, strict=True):
        found = [number for number, label in enumerate(labels) if label in drawn]
        assert found == ([] if index is None else [index])


def test_many_small_objects_stay_visible():
    """Few pixels within the boxes of a grid of 15 x 15 objects have the colour of a label."""
    grid = np.stack(np.meshgrid(range(20, 320, 20), range(20, 320, 20)), -1).reshape(-1, 2)
    boxes = np.concatenate([grid, grid + 14], axis=1).astype(np.float32)
    found = lomar.Detections(
        boxes, np.linspace(1, 0.3, len(boxes)), np.zeros(len(boxes), int), ['nucleus'] * len(boxes)
    )
    pixels = np.array(found.draw(np.zeros((340, 340, 3), np.uint8)))
    inside = [pixels[y + 3 : y + 11, x + 3 : x + 11] for x, y in grid]
    assert np.mean([part.any(axis=2).mean() for part in inside]) < 0.02
    assert pixels.any(axis=2)[:18].any()  # labels above the first row


def test_masks_that_overlap():
    """The object of the highest score is on top; torchvision leaves overlaps without a color."""
    found = planted()
    found.masks[0, 20:30, 30:40] = True
    pixels = np.array(found.draw(np.zeros((40, 60, 3), np.uint8)))
    assert pixels[28, 35].tolist() == [0x0A * 3 // 10, 0x84 * 3 // 10, 0xFF * 3 // 10]


def test_a_degenerate_box():
    found = planted()
    found.boxes[:] = [[30, 20, 30, 20], [50, 30, 40, 20]]
    assert found.draw(np.zeros((40, 60, 3), np.uint8)).size == (60, 40)


@pytest.mark.parametrize(
    ('masks', 'size', 'refused'),
    [
        (True, None, True),
        (True, (40, 60), True),
        (False, (40, 60), True),
        (False, (50, 80), False),
        (False, None, False),  # made by hand
    ],
)
def test_a_picture_of_another_image(masks, size, refused):
    found = planted(masks)
    found.size = size
    if not refused:
        assert found.draw(noise()).size == (80, 50)
        return
    message = '(height, width) (50, 80), and the detections are of an image of (40, 60)'
    with pytest.raises(ValueError, match=re.escape(message)):
        found.draw(noise())


@pytest.mark.parametrize('threshold', [0, 1])
def test_detections_have_the_size_of_the_image(detector, tmp_path, threshold):
    """That of the upright image, with and without objects."""
    turned = Image.fromarray(noise()).transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    turned.save(tmp_path / 'a.jpg', exif=turned.getexif())
    for found in detector([noise(), tmp_path / 'a.jpg'], threshold, batch_size=2):
        assert found.size == (50, 80)
        with pytest.raises(ValueError, match='the detections are of an image of'):
            found.draw(noise(80, 50))


@pytest.mark.parametrize('masks', [True, False])
def test_supervision(masks):
    supervision = pytest.importorskip('supervision')
    found, expected = planted(masks).to_supervision(), planted(masks)
    assert isinstance(found, supervision.Detections) and len(found) == 2
    assert np.array_equal(found.xyxy, expected.boxes) and (found.mask is not None) == masks
    assert np.array_equal(found.confidence, expected.scores)
    assert np.array_equal(found.class_id, expected.labels)
    assert found.data['class_name'].tolist() == expected.names


def test_supervision_without_objects(detector):
    pytest.importorskip('supervision')
    found = detector([noise()], threshold=1)[0].to_supervision()
    assert len(found) == 0 and found.xyxy.shape == (0, 4)


def test_supervision_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'supervision', None)
    with pytest.raises(ImportError, match=re.escape("pip install 'lomar-openmmlab[supervision]'")):
        planted().to_supervision()


@pytest.mark.parametrize(('top_k', 'number'), [(1, 1), (2, 2), (9, 3)])
def test_top_k(top_k, number):
    classifier = lomar.Classifier(V01 / 'classifier_lomar.pth', device='cpu')
    images = [noise(64, 64), noise(64, 64, seed=1)]
    for names, scores, labels in classifier(images, top_k, batch_size=2):
        assert len(names) == len(scores) == len(labels) == min(number, len(classifier.classes))
        assert names == [classifier.classes[label] for label in labels]
        assert (np.diff(scores) <= 0).all() and 0 < scores.sum() <= 1 + 1e-6


def test_images_of_several_sizes_for_a_classifier():
    """Batches of a classifier are not padded; its pipeline here keeps the size."""
    classifier = lomar.Classifier(V01 / 'classifier_lomar.pth', device='cpu')
    samples = [classifier.load(noise(64, 64)), classifier.load(noise(64, 64, seed=1))]
    inputs = samples[1].sample['inputs']
    samples[1].sample['inputs'] = inputs[:, :, :32]
    alone = [classifier.predict([sample])[0].pred_score for sample in samples]
    for one, other in zip(alone, classifier.predict(samples), strict=True):
        assert torch.equal(one, other.pred_score)

"""Objects of large images, detected tile by tile: from files of any kind to predictions."""

import json
import tracemalloc
from contextlib import contextmanager
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from trained import OBJECTS, V01, detector_file, noise

import lomar
from lomar.checkpoints import load_file
from lomar.cli import main, predict
from lomar.datasets.image_io import open_pixels
from lomar.datasets.pixel_file import ArrayFile
from lomar.detection import encode
from lomar.detection.run_lengths import placed_rle
from lomar.detection.tiles import tile_places
from lomar.detections import Detections
from lomar.large_images import LargeDetections, detect_tiles, downscaled
from lomar.prediction.pictures import QUALITY

rasterio = pytest.importorskip('rasterio')

BANDS = 5
HEIGHT, WIDTH, TILE = 100, 150, 64


def many_bands(config):
    config.model.backbone.in_channels = BANDS
    scale = dict(mean=[2048.0] * BANDS, std=[1024.0] * BANDS)
    config.model.data_preprocessor.update(type='ChannelsDetDataPreprocessor', **scale)
    config.test_dataloader.dataset.pipeline[0].channels = BANDS


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Checkpoints of a detector of RGB images, and of one of images with more bands."""
    folder = tmp_path_factory.mktemp('detectors')
    bands = detector_file(folder / 'bands.pth', many_bands)
    content = load_file(bands)
    (name,) = (name for name in content['state_dict'] if name.endswith('patch_embed.proj.weight'))
    weight = content['state_dict'][name]
    content['state_dict'][name] = weight.repeat(1, 2, 1, 1)[:, :BANDS].contiguous()
    torch.save(content, bands)
    return dict(rgb=str(detector_file(folder / 'rgb.pth')), bands=str(bands))


def save(path, pixels):
    """Write pixels (H, W, C) as the suffix of the path says."""
    if path.suffix == '.npy':
        np.save(path, pixels)
    elif path.suffix == '.tif':
        height, width, channels = pixels.shape
        profile = dict(height=height, width=width, count=channels, dtype=pixels.dtype)
        tiles = dict(driver='GTiff', tiled=True, blockxsize=32, blockysize=32, compress='deflate')
        with rasterio.open(path, 'w', crs='EPSG:32632', **tiles, **profile) as file:
            file.write(pixels.transpose(2, 0, 1))
    else:
        Image.fromarray(pixels).save(path)
    return str(path)


RGB, DEEP = noise(HEIGHT, WIDTH), noise(HEIGHT, WIDTH, np.uint16, BANDS)
IMAGES = {
    'GeoTIFF': ('rgb', 'a.tif', RGB),
    'PNG': ('rgb', 'a.png', RGB),
    'array': ('rgb', None, RGB),
    'GeoTIFF of bands': ('bands', 'a.tif', DEEP),
    '.npy of bands': ('bands', 'a.npy', DEEP),
    'array of bands': ('bands', None, DEEP),
}


@pytest.mark.parametrize('kind', IMAGES)
def test_tiles_equal_images_cut_by_hand(kind, checkpoints, tmp_path):
    """Without an overlap in which to merge, all objects of all tiles are there, to the bit."""
    model, name, pixels = IMAGES[kind]
    detector = lomar.Detector(checkpoints[model], device='cpu')
    pixels = pixels[:TILE, : 2 * TILE]
    image = save(tmp_path / name, pixels) if name else pixels
    found = detect_tiles(detector, image, TILE, 0, threshold=0)
    cut = [pixels[:, :TILE].copy(), pixels[:, TILE:].copy()]
    first, second = (detector([one], threshold=0)[0] for one in cut)
    assert len(found) == 2 * OBJECTS == len(first) + len(second)
    boxes = np.concatenate([first.boxes, second.boxes + np.float32([TILE, 0, TILE, 0])])
    scores = np.concatenate([first.scores, second.scores])
    order = np.argsort(-scores, kind='stable')
    assert np.array_equal(found.scores, scores[order]) and found.scores.dtype == np.float32
    assert np.array_equal(found.boxes, boxes[order]) and found.boxes.dtype == np.float32
    assert np.array_equal(found.labels, np.concatenate([first.labels, second.labels])[order])
    assert found.names == [detector.classes[label] for label in found.labels]
    whole = np.zeros((2 * OBJECTS, TILE, 2 * TILE), bool)
    whole[:OBJECTS, :, :TILE], whole[OBJECTS:, :, TILE:] = first.masks, second.masks
    assert found.rles == encode(whole[order])
    assert (found.height, found.width) == pixels.shape[:2]


@pytest.mark.parametrize('kind', IMAGES)
def test_an_image_smaller_than_a_tile(kind, checkpoints, tmp_path):
    """The result is that of the whole image."""
    model, name, pixels = IMAGES[kind]
    detector = lomar.Detector(checkpoints[model], device='cpu')
    image = save(tmp_path / name, pixels) if name else pixels
    found = detect_tiles(detector, image, 1024, 128, threshold=0)
    (expected,) = detector([image], threshold=0)
    for key in ('boxes', 'scores', 'labels'):
        assert np.array_equal(getattr(found, key), getattr(expected, key))
    assert found.rles == encode(expected.masks) and found.names == expected.names


def test_overlapping_tiles(checkpoints):
    """Every tile is predicted once, in batches; the merged objects are of these predictions."""
    detector, seen = lomar.Detector(checkpoints['rgb'], device='cpu'), []
    places = tile_places(HEIGHT, WIDTH, TILE, 16)
    found = detect_tiles(
        *(detector, RGB, TILE, 16, 0),
        batch_size=4,
        progress=lambda tiles: (seen.append(place) or place for place in tiles),
    )
    assert seen == places and len(places) == 6
    assert OBJECTS <= len(found) <= len(places) * OBJECTS
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes >= 0).all() and (found.boxes <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
    assert {tuple(rle['size']) for rle in found.rles} == {(HEIGHT, WIDTH)}
    by_hand = [
        detector([RGB[top : top + height, left : left + width]], 0)[0]
        for top, left, height, width in places
    ]
    scores = np.concatenate([one.scores for one in by_hand])
    assert np.isclose(found.scores[:, None], scores, atol=1e-5).any(axis=1).all()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    ('height', 'width', 'longest'), [(700, 90, 100), (91, 300, 299), (5, 7, 7)]
)
def test_downscaled(height, width, longest, dtype):
    """Pixels are means of squares, of fewer pixels at the right and at the bottom."""
    pixels = noise(height, width, dtype, channels=4)
    small, factor = downscaled(ArrayFile('a', pixels), longest)
    assert max(small.shape[:2]) <= longest and small.dtype == dtype and small.shape[2] == 3
    assert max(height, width) > (factor - 1) * longest
    for row in range(small.shape[0]):
        for column in range(small.shape[1]):
            square = pixels[row * factor :, column * factor :][:factor, :factor, :3]
            mean = square.mean(axis=(0, 1), dtype=float)
            assert np.abs(small[row, column] - mean).max() <= (0.51 if dtype != np.float32 else 0.1)


def test_downscaled_picture():
    """Masks and boxes lie where the objects are."""
    mask = np.zeros((90, 60), bool)
    mask[30:, :] = True
    boxes, grey = np.float32([[300, 60, 360, 150]]), np.full((300, 600, 3), 100, np.uint8)
    small, factor = downscaled(ArrayFile('a', grey), 200)
    assert factor == 3 and small.shape == (100, 200, 3)
    rles = [placed_rle(mask, 60, 300, 300, 600)]
    scores, labels = np.float32([0.5]), np.array([0])
    found = LargeDetections(boxes, scores, labels, ['a'], rles, 300, 600, small, factor)
    drawn = np.asarray(found.draw()).astype(int)
    painted = (drawn != 100).any(axis=2)
    assert painted[32:49, 102:119].all()  # the mask
    assert painted[35, 100] and painted[35, 119]  # sides of the box
    outside = painted.copy()
    outside[:52, 98:] = False
    assert not outside.any()
    with pytest.raises(ValueError, match='there is no preview'):
        LargeDetections(boxes, scores, labels, ['a'], rles, 300, 600).draw()


def test_equal_pictures():
    """A picture that is not downscaled is that of `Detections`, where masks overlap, too."""
    masks = np.random.default_rng(0).random((5, HEIGHT, WIDTH)) < 0.5
    boxes, scores = np.float32([[10, 20, 100, 90]] * 5), np.float32([0.9, 0.8, 0.7, 0.6, 0.5])
    given = boxes, scores, np.arange(5), list('abcde')
    found = LargeDetections(*given, encode(masks), HEIGHT, WIDTH, RGB)
    assert np.array_equal(found.draw(), Detections(*given, masks).draw(RGB))


def test_memory():
    """Masks need memory for their runs, not for bitmaps of the image."""
    side, number = 3000, 20
    image = np.broadcast_to(np.uint8(0), (side, side, 3))

    @contextmanager
    def opened(image):
        yield ArrayFile('a', image)

    def one_tile(tiles, threshold, batch_size):
        masks = np.zeros((number, *tiles[0].shape[:2]), bool)
        for index in range(number):
            masks[index, index * 30 : index * 30 + 20] = True  # as wide as the tile
        boxes = np.float32([[0, i * 30, 1000, i * 30 + 20] for i in range(number)])
        scores, labels = np.linspace(1, 0.5, number, dtype=np.float32), np.zeros(number, int)
        return [Detections(boxes, scores, labels, ['a'] * number, masks)]

    class Fake:
        open, trained = staticmethod(opened), SimpleNamespace(name=str)

        def __call__(self, *given):
            return one_tile(*given)

    tracemalloc.start()
    found = detect_tiles(Fake(), image, 1000, 0, longest=1000)
    found.draw()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 9 * number
    # A tile has 20 MB of bitmaps; a band of the image for the preview takes 9 MB as float32.
    assert peak < 75e6 < len(found) * side * side / 20
    assert {int(coco.area(rle)) for rle in found.rles} == {20_000}


@pytest.fixture
def run(checkpoints, tmp_path, monkeypatch, capsys):
    """Run `lomar predict` in a folder; return its exit code, the results, and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(model, *words):
        code = main(['predict', checkpoints.get(model, model), *words, '--out', 'out'])
        written = [
            json.loads((tmp_path / 'out' / name).read_text())
            if (tmp_path / 'out' / name).exists()
            else None
            for name in ('images.json', 'predictions.json')
        ]
        return code, *written, capsys.readouterr().err

    return run


@pytest.mark.parametrize('kind', ['GeoTIFF', 'PNG', 'GeoTIFF of bands', '.npy of bands'])
def test_command(kind, run, checkpoints, tmp_path, monkeypatch):
    model, name, pixels = IMAGES[kind]
    image = save(tmp_path / name, pixels)
    monkeypatch.setattr(predict, 'LONGEST', 80)
    flags = ('--tile', str(TILE), '--overlap', '16', '--threshold', '0', '--batch', '2')
    code, images, predictions, _ = run(model, image, *flags)
    assert code == 0
    assert images['images'] == [dict(id=1, file_name=name, width=WIDTH, height=HEIGHT)]
    detector = lomar.Detector(checkpoints[model], device='cpu')
    expected = detect_tiles(detector, image, TILE, 16, 0, batch_size=2)
    assert len(predictions) == len(expected) > OBJECTS
    for one, box, score, rle in zip(
        predictions, expected.boxes.tolist(), expected.scores.tolist(), expected.rles, strict=True
    ):
        x1, y1, x2, y2 = box
        assert one['bbox'] == [x1, y1, x2 - x1, y2 - y1] and one['score'] == score
        assert one['segmentation'] == rle and rle['size'] == [HEIGHT, WIDTH]
    with Image.open(tmp_path / 'out/pictures/a.jpg') as picture:
        assert picture.size == (75, 50)  # by a factor of 2


def test_default_overlap(run, checkpoints, tmp_path):
    save(tmp_path / 'a.tif', RGB)
    flags = ('--threshold', '0', '--no-pictures', '--tile', str(TILE))
    _, _, default, _ = run('rgb', 'a.tif', *flags)
    _, _, eighth, _ = run('rgb', 'a.tif', *flags, '--overlap', '8', '--overwrite')
    assert default == eighth and not (tmp_path / 'out/pictures').exists()
    found = lomar.detect_tiles(lomar.Detector(checkpoints['rgb']), RGB, TILE, threshold=0)
    assert found.scores.tolist() == [one['score'] for one in default]


def test_a_video(run, tmp_path):
    """Frames are predicted in tiles as images are."""
    writer = cv2.VideoWriter('a.mp4', cv2.VideoWriter_fourcc(*'mp4v'), 10, (WIDTH, HEIGHT))
    for seed in range(2):
        writer.write(noise(HEIGHT, WIDTH, seed=seed))
    writer.release()
    code, images, predictions, _ = run('rgb', 'a.mp4', '--tile', str(TILE), '--threshold', '0')
    assert code == 0 and (tmp_path / 'out/pictures/a.mp4').stat().st_size > 0
    assert [one['file_name'] for one in images['images']] == ['a.mp4#000000', 'a.mp4#000001']
    assert {tuple(one['segmentation']['size']) for one in predictions} == {(HEIGHT, WIDTH)}


def test_no_objects(run, checkpoints, tmp_path):
    save(tmp_path / 'a.tif', RGB)
    code, images, predictions, _ = run('rgb', 'a.tif', '--tile', str(TILE), '--threshold', '1')
    assert code == 0 and predictions == [] and len(images['images']) == 1
    Image.fromarray(RGB).save(tmp_path / 'a.jpg', quality=QUALITY)
    with Image.open(tmp_path / 'out/pictures/a.jpg') as picture:
        assert np.array_equal(picture, Image.open(tmp_path / 'a.jpg'))
    detector = lomar.Detector(checkpoints['rgb'], device='cpu')
    found = detect_tiles(detector, RGB, TILE, 0, threshold=1)
    assert found.boxes.shape == (0, 4) and found.rles == [] and len(found) == 0


def test_a_damaged_tile(run, tmp_path):
    """The file is named and left out; other files are predicted."""
    save(tmp_path / 'a.tif', RGB)
    save(tmp_path / 'b.tif', RGB)
    content = bytearray((tmp_path / 'a.tif').read_bytes())
    content[-4000:-2000] = bytes(2000)
    (tmp_path / 'a.tif').write_bytes(content)
    code, images, _, said = run('rgb', 'a.tif', 'b.tif', '--tile', str(TILE))
    assert code == 1 and [one['file_name'] for one in images['images']] == ['b.tif']
    assert '1 of 2 images cannot be read' in said and '  a.tif: ' in said


REFUSED = {
    'overlap of a tile': (['--tile', '64', '--overlap', '64'], 'overlap is 64 and the tile 64'),
    'no tile': (['--overlap', '64'], '--overlap belongs to tiles; allowed: with --tile'),
}


@pytest.mark.parametrize('kind', REFUSED)
def test_refused(kind, run, tmp_path):
    flags, reason = REFUSED[kind]
    save(tmp_path / 'a.png', RGB)
    code, images, _, said = run('rgb', 'a.png', *flags)
    assert code == 1 and images is None and said.startswith('lomar predict: ') and reason in said


def test_classifiers_see_whole_images(run, tmp_path):
    save(tmp_path / 'a.png', RGB)
    code, images, _, said = run(str(V01 / 'classifier_lomar.pth'), 'a.png', '--tile', '64')
    assert code == 1 and images is None and '--tile belongs to detectors' in said


def test_wrong_number_of_bands(run, tmp_path):
    save(tmp_path / 'a.tif', RGB)
    code, images, _, said = run('bands', 'a.tif', '--tile', '64')
    assert code == 1 and images is None and '3 channels' in said
    with open_pixels(tmp_path / 'a.tif') as file:
        assert file.channels == 3

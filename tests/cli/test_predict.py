"""`lomar predict`: sources, result files and pictures, from a checkpoint alone."""

import csv
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from weakref import ref

import cv2
import numpy as np
import pytest
import torch
from conftest import tiny_lomar
from PIL import Image
from processes import run_lomar
from pycocotools import mask as rle
from pycocotools.coco import COCO
from trained import OBJECTS, V01, detector_file, noise

import lomar
from lomar.checkpoints import load_file
from lomar.cli import main
from lomar.cli.predict import Steps, _batches
from lomar.datasets.folder_walk import MARK
from lomar.prediction import Masks, Pictures, downloads, find_sources
from lomar.prediction.items import Item
from lomar.prediction.pictures import QUALITY
from lomar.prediction.sources import Source

CLASSES = ('striped', 'checked', 'dotted')
CLASSIFIER = str(V01 / 'classifier_lomar.pth')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return str(detector_file(tmp_path_factory.mktemp('predict') / 'a.pth'))


@pytest.fixture
def predict(checkpoint, tmp_path, monkeypatch, capsys):
    """Run the command in a folder; return its exit code, the results, and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words, model=checkpoint, threshold=('--threshold', '0')):
        flags = threshold if model == checkpoint else ()
        code = main(['predict', model, '--out', 'out', *map(str, words), *flags])
        found = [
            json.loads((tmp_path / 'out' / name).read_text())
            if (tmp_path / 'out' / name).exists()
            else None
            for name in ('images.json', 'predictions.json')
        ]
        return code, *found, capsys.readouterr().err

    return run


def save(path, seed=0, height=50, width=80):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(height, width, seed=seed)).save(path)
    return str(path)


def save_video(path, number=5, codec='mp4v', rate=10, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
    for index in range(number):
        writer.write(noise(size[1], size[0], seed=index))
    writer.release()
    return str(path)


def frames_of(path):
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1])
    return frames, video.get(cv2.CAP_PROP_FPS)


def table_rows(tmp_path):
    with open(tmp_path / 'out/predictions.csv', newline='') as file:
        return list(csv.DictReader(file))


def titles(images):
    return [image['file_name'] for image in images['images']]


def pictures(tmp_path):
    folder = tmp_path / 'out/pictures'
    files = (each.relative_to(folder) for each in folder.rglob('*') if each.is_file())
    return sorted(str(file) for file in files if file.name != MARK)


def test_results_are_those_of_the_detector(predict, checkpoint, tmp_path):
    paths = [save(tmp_path / f'in/{name}', seed) for seed, name in enumerate(('a.png', 'b/c.png'))]
    code, images, predictions, _ = predict('in')
    assert code == 0
    sizes = dict(width=80, height=50)
    assert images == dict(
        info=dict(folder=str(tmp_path / 'in')),
        images=[dict(id=1, file_name='a.png', **sizes), dict(id=2, file_name='b/c.png', **sizes)],
        annotations=[],
        categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)],
    )
    detector = lomar.Detector(checkpoint)
    rows = table_rows(tmp_path)
    assert len(predictions) == len(rows) == 2 * OBJECTS
    for number, (path, found) in enumerate(zip(paths, detector(paths, 0), strict=True)):
        part = slice(number * OBJECTS, (number + 1) * OBJECTS)
        chosen, cells = predictions[part], rows[part]
        assert {one['image_id'] for one in chosen} == {number + 1}
        boxes = np.array([one['bbox'] for one in chosen])
        np.testing.assert_array_equal(boxes[:, :2], found.boxes[:, :2])
        np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], found.boxes[:, 2:], rtol=1e-6)
        assert [one['score'] for one in chosen] == found.scores.tolist()
        assert [one['category_id'] for one in chosen] == (found.labels + 1).tolist()
        for one, mask in zip(chosen, found.masks, strict=True):
            assert isinstance(one['segmentation']['counts'], str)
            assert np.array_equal(rle.decode(one['segmentation']), mask)
        assert [row['name'] for row in cells] == found.names
        assert {row['file_name'] for row in cells} == {('a.png', 'b/c.png')[number]}
        table = np.array([[row[key] for key in ('x1', 'y1', 'x2', 'y2')] for row in cells], float)
        np.testing.assert_array_equal(table, found.boxes)
        picture = Image.open(tmp_path / 'out/pictures' / ('a.jpg', 'b/c.jpg')[number])
        found.draw(path).save(expected := BytesIO(), 'JPEG', quality=QUALITY)
        assert np.array_equal(picture, Image.open(expected))
    coco = COCO(str(tmp_path / 'out/images.json'))
    assert len(coco.loadRes(str(tmp_path / 'out/predictions.json')).anns) == 2 * OBJECTS


def test_results_can_be_browsed(predict, tmp_path):
    save(tmp_path / 'in/a.png')
    predict('in', '--no-pictures')
    line = ['browse', 'shapes/mask-rcnn_vitdet-tiny-lomar_shapes', '--val-images', 'in']
    line += ['--val-ann', 'out/images.json', '--detections', 'out/predictions.json']
    assert main([*line, '--out', 'sheet.png']) == 0 and Image.open('sheet.png').height > 50


def test_a_batch(predict, tmp_path):
    for seed in range(5):
        save(tmp_path / f'in/{seed}.png', seed)
    _, images, one, _ = predict('in', '--no-pictures')
    code, again, batched, _ = predict('in', '--no-pictures', '--batch', '2', '--overwrite')
    assert code == 0 and images == again and len(one) == len(batched) == 5 * OBJECTS
    for key in ('image_id', 'category_id'):
        assert [each[key] for each in one] == [each[key] for each in batched]
    boxes = (np.array([each['bbox'] for each in found]) for found in (one, batched))
    np.testing.assert_allclose(*boxes, atol=1e-3)
    assert pictures(tmp_path) == []


@pytest.mark.parametrize('flags', [(), ('--top-k', '2')])
def test_a_classifier(predict, tmp_path, flags):
    save(tmp_path / 'in/a.png', height=64, width=64)
    code, images, predictions, _ = predict('in', *flags, model=CLASSIFIER)
    ((names, scores, labels),) = lomar.Classifier(CLASSIFIER)(
        [tmp_path / 'in/a.png'], 2 if flags else 5
    )
    assert code == 0 and len(names) == (2 if flags else 3)
    assert predictions == [
        dict(image_id=1, category_id=label + 1, score=score)
        for label, score in zip(labels.tolist(), scores.tolist(), strict=True)
    ]
    rows = table_rows(tmp_path)
    assert [(row['rank'], row['name']) for row in rows] == [
        (str(rank), name) for rank, name in enumerate(names, 1)
    ]
    assert titles(images) == ['a.png'] and pictures(tmp_path) == []


# Words of the command line, and the titles and pictures that they give.
SOURCES = {
    'file': (['in/a.png'], ['a.png'], ['a.jpg']),
    'folder': (['in'], ['a.png', 'a.webp', 'b/a.png'], ['a.png.jpg', 'a.webp.jpg', 'b/a.jpg']),
    'list': (['list.txt'], ['b/a.png', 'a.png'], ['a.jpg', 'b/a.jpg']),
    'glob': (['in/*.png'], ['a.png'], ['a.jpg']),
    'deep glob': (['in/**/*.png'], ['a.png', 'b/a.png'], ['a.jpg', 'b/a.jpg']),
    'glob of folders': (['*n'], ['a.png', 'a.webp', 'b/a.png'], None),
    'brackets': (['[x].png', 'in/a.png'], ['[x].png', 'in/a.png'], ['[x].jpg', 'in/a.jpg']),
    'twice': (['in/a.png', './in/a.png', 'in/*.png'], ['a.png'], ['a.jpg']),
    'several folders': (
        ['in/b', 'other'],
        ['in/b/a.png', 'other/a.png'],
        ['in/b/a.jpg', 'other/a.jpg'],
    ),
}


@pytest.mark.parametrize('name', SOURCES)
def test_sources(name, predict, tmp_path):
    words, expected, drawn = SOURCES[name]
    for path in ('in/a.png', 'in/a.webp', 'in/b/a.png', 'other/a.png', '[x].png'):
        save(tmp_path / path)
    (tmp_path / 'list.txt').write_text('in/b/a.png\n# a comment\nin/a.png\n')
    (tmp_path / 'in/notes.txt').write_text('no list')
    code, images, _, _ = predict(*words)
    assert code == 0 and titles(images) == expected
    assert drawn is None or pictures(tmp_path) == drawn


def test_arrays_in_folders(predict, checkpoint, tmp_path):
    (tmp_path / 'in').mkdir()
    np.save(tmp_path / 'in/a.npy', noise(dtype=np.uint16, channels=1))
    code, images, _, _ = predict('in', '--value-range', '0', '4095')
    assert code == 0 and titles(images) == ['a.npy'] and pictures(tmp_path) == ['a.jpg']
    (found,) = lomar.Detector(checkpoint, value_range=(0, 4095))([tmp_path / 'in/a.npy'])
    assert found.names is not None


def test_names_in_any_encoding(predict, tmp_path):
    name = os.fsdecode(b'\xfc \xe4.png')
    save(tmp_path / 'in' / name)
    code, images, _, _ = predict('in')
    assert code == 0 and titles(images) == [name]
    assert pictures(tmp_path) == [name.replace('.png', '.jpg')]
    table = (tmp_path / 'out/predictions.csv').read_bytes()
    assert os.fsencode(name) in table


def test_a_video(predict, tmp_path):
    save_video(tmp_path / 'clips.mp4', 5)
    save(tmp_path / 'a.png')
    code, images, predictions, _ = predict('a.png', 'clips.mp4', '--batch', '2')
    frames = [f'clips.mp4#00000{number}' for number in range(5)]
    assert code == 0 and titles(images) == ['a.png', *frames]
    assert images['images'][1] == dict(id=2, file_name=frames[0], width=64, height=48)
    assert len(predictions) == 6 * OBJECTS
    assert pictures(tmp_path) == ['a.jpg', 'clips.mp4']
    drawn, rate = frames_of(tmp_path / 'out/pictures/clips.mp4')
    assert len(drawn) == 5 and drawn[0].shape == (48, 64, 3) and rate == 10
    plain, _ = frames_of(tmp_path / 'clips.mp4')
    assert all(np.abs(a.astype(int) - b).mean() > 5 for a, b in zip(plain, drawn, strict=True))


def test_frames_are_rgb(predict, checkpoint, tmp_path):
    path = save_video(tmp_path / 'clip.avi', 2, 'MJPG')
    _, _, predictions, _ = predict(path, '--no-pictures')
    frames, _ = frames_of(path)
    expected = lomar.Detector(checkpoint)([frame[..., ::-1].copy() for frame in frames], 0)
    scores = [score for found in expected for score in found.scores.tolist()]
    assert [one['score'] for one in predictions] == scores


@pytest.mark.parametrize(
    ('error', 'goes_on'),
    [(RuntimeError('a map of no pixels'), True), (torch.OutOfMemoryError('CUDA'), False)],
)
def test_an_error_of_the_model_in_the_tiles_of_an_image(error, goes_on, monkeypatch):
    """Tiles are predicted while an image is loaded."""
    monkeypatch.setattr(sys.modules['lomar.prediction.items'], 'forget', lambda item: None)

    def load(image):
        if image == 'b':
            raise error
        return image

    found = [SimpleNamespace(image=name, source=SimpleNamespace(name=name)) for name in 'abc']
    unreadable = {}
    batches = _batches(found, Steps(load, list, None, 1), unreadable)
    if goes_on:
        assert [loaded for batch in batches for _, loaded in batch] == ['a', 'c']
        assert unreadable == {'b': 'a map of no pixels'}
    else:
        with pytest.raises(torch.OutOfMemoryError):
            list(batches)


def test_two_videos_of_one_name(predict, tmp_path):
    for folder in 'xy':
        (tmp_path / folder).mkdir()
        save_video(tmp_path / folder / 'a.mp4', 3 if folder == 'x' else 2)
    save_video(tmp_path / 'x/a.avi', 1, 'MJPG')
    code, images, _, _ = predict('x/a.mp4', 'x/a.avi', 'y/a.mp4')
    assert code == 0 and len(images['images']) == 6
    assert pictures(tmp_path) == ['x/a.avi.mp4', 'x/a.mp4.mp4', 'y/a.mp4']
    numbers = [len(frames_of(tmp_path / 'out/pictures' / name)[0]) for name in pictures(tmp_path)]
    assert numbers == [1, 3, 2]


def test_unreadable_files_are_named(predict, tmp_path):
    for number in range(3):
        save(tmp_path / f'in/{number}.png', number)
    (tmp_path / 'in/1.png').write_bytes(b'no image')
    (tmp_path / 'clip.mp4').write_bytes(b'no video')
    code, images, predictions, said = predict('in', 'clip.mp4')
    assert code == 1 and titles(images) == ['in/0.png', 'in/2.png']
    assert len(predictions) == 2 * OBJECTS and {one['image_id'] for one in predictions} == {1, 2}
    assert '2 of 4 images cannot be read and were left out:\n  in/1.png: Unidentified' in said
    assert 'clip.mp4: OpenCV cannot decode it as a video' in said


def test_a_file_that_needs_rasterio_is_named(predict, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    cv2.imwrite(str(tmp_path / '0.tif'), np.zeros((64, 64, 3), np.float32))
    save(tmp_path / 'a.png')
    code, images, _, said = predict('0.tif', 'a.png', '--value-range', 0, 1)
    assert code == 1 and titles(images) == ['a.png']
    assert '0.tif is a TIFF file other than 8-bit RGB: pip install' in said


def test_a_cut_off_video(predict, tmp_path):
    path = save_video(tmp_path / 'whole.avi', 30, 'MJPG')
    content = Path(path).read_bytes()
    (tmp_path / 'cut.avi').write_bytes(content[: len(content) // 2])
    code, images, _, said = predict('cut.avi', '--no-pictures')
    number = len(images['images'])
    assert code == 1 and 5 < number < 25
    assert f'cut.avi: only {number} of 30 frames can be decoded' in said


def test_an_image_that_the_model_does_not_support(tmp_path, predict):
    save(tmp_path / 'in/a.png')
    np.save(tmp_path / 'in/b.npy', noise(dtype=np.uint16, channels=5))
    code, images, _, said = predict('in/a.png', 'in/b.npy')
    assert code == 1 and titles(images) == ['a.png'] and '  in/b.npy: ' in said


@pytest.mark.parametrize('batch', ['1', '3'])
def test_a_size_that_the_model_does_not_support(tmp_path, predict, batch):
    """The pipeline of the classifier keeps the size, which is to be whole patches of 4 pixels."""
    for seed, width in enumerate((64, 62, 64)):
        save(tmp_path / f'in/{seed}.png', seed, 64, width)
    code, images, _, said = predict('in', '--batch', batch, model=CLASSIFIER)
    assert code == 1 and titles(images) == ['0.png', '2.png']
    assert "  in/1.png: an image's size is 64 x 62; allowed: multiples of" in said


def test_nothing_readable_writes_nothing(predict, tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no image')
    code, images, predictions, said = predict('a.png')
    assert code == 1 and images is None and predictions is None
    assert '1 of 1 images cannot be read' in said


def test_images_without_objects(predict, tmp_path):
    save(tmp_path / 'a.png')
    code, images, predictions, _ = predict('a.png', threshold=('--threshold', '1'))
    assert code == 0 and predictions == [] and titles(images) == ['a.png']
    assert len((tmp_path / 'out/predictions.csv').read_text().splitlines()) == 1
    assert pictures(tmp_path) == ['a.jpg']


def test_results_before_an_error_are_kept(predict, tmp_path, monkeypatch):
    for number in range(3):
        save(tmp_path / f'in/{number}.png', number)
    detections = lomar.Detector.detections
    seen = []

    def interrupted(self, *given, **options):
        seen.append(given)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return detections(self, *given, **options)

    monkeypatch.setattr(lomar.Detector, 'detections', interrupted)
    code, images, predictions, said = predict('in')
    assert code == 130 and 'interrupted' in said
    assert titles(images) == ['0.png', '1.png'] and len(predictions) == 2 * OBJECTS


OWN = 'a folder of pictures that lomar wrote'
AGAIN = {
    'folder': (['.'], ['a.png', 'b/c.png'], ''),
    'glob': (['**/*.*g'], ['a.png', 'b/c.png'], ''),
    'glob of videos': (['**/*.mp4'], None, f"video (not counted: 1 x {OWN}"),
    'glob of folders': (['*'], ['a.png', 'b/c.png'], ''),
    'another OUT': (['.', '--out', 'more'], ['a.png', 'b/c.png'], ''),
    'the results': (['out'], None, f'1 x {OWN} (out/pictures)'),
    'glob of results': (['ou*'], None, "'ou*' matches no image or video"),
    'the pictures by name': (['out/pictures', '--out', 'more'], ['a.jpg', 'b/c.jpg'], ''),
    'a glob of pictures': (['out/pictures/*.jpg', '--out', 'more'], ['a.jpg'], ''),
}  # fmt: skip


@pytest.mark.parametrize('name', AGAIN)
def test_a_later_run_leaves_out_pictures(name, predict, tmp_path, capsys):
    """The second run has the images of the first one, not its pictures."""
    words, expected, message = AGAIN[name]
    save(tmp_path / 'a.png')
    save(tmp_path / 'b/c.png')
    save_video(tmp_path / 'clip.mp4', 1)
    assert predict('.', 'clip.mp4')[0] == 0 and len(pictures(tmp_path)) == 3
    (tmp_path / 'clip.mp4').unlink()
    code, images, _, said = predict(*words, '--overwrite')
    if '--out' in words:
        images = json.loads((tmp_path / 'more/images.json').read_text())
    assert code == (expected is None) and message in said
    assert expected is None or titles(images) == expected


def test_other_pictures_are_left_out(predict, tmp_path):
    """Those of `encode`, and those that mmengine's visualizer writes in a work dir."""
    save(tmp_path / 'a.png')
    save(tmp_path / 'work/20260101_000000/vis_data/vis_image/a_1.png')
    save(tmp_path / 'vis_image/kept.png')
    line = ['encode', str(V01 / 'pretrain_lomar.pth'), '.', '--out', 'f.npz', '--size', '32']
    for kind in ('pca', 'similarity'):
        assert main([*line, '--overwrite', '--map', kind]) == 0
        assert (tmp_path / f'f_{kind}/a.png').exists()
    code, images, _, _ = predict('.')
    assert code == 0 and titles(images) == ['a.png', 'vis_image/kept.png']


def test_pictures_in_a_folder_of_images(predict, tmp_path):
    save(tmp_path / 'pictures/a.png')
    code, *_, said = predict('pictures', '--out', '.')
    assert code == 1 and '--out: pictures/a.png is one of the images; allowed: another' in said


def test_an_image_is_never_replaced(predict, tmp_path):
    path = save(tmp_path / 'out/pictures/a.jpg')
    before = Path(path).read_bytes()
    code, *_, said = predict('out/pictures')
    assert code == 1 and 'out/pictures/a.jpg is one of the images; allowed: another folder' in said
    assert Path(path).read_bytes() == before and not (tmp_path / 'out/images.json').exists()


@pytest.mark.parametrize('kind', [Masks, Pictures])
def test_files_of_the_user_are_never_replaced(kind, tmp_path):
    sources, common = find_sources([save(tmp_path / 'images/a.png')])
    folder = tmp_path / kind.__name__
    save(folder / 'a.png')
    with pytest.raises(ValueError, match='has files that no earlier command drew; allowed: an'):
        kind(folder, sources, common)
    (folder / MARK).touch()
    kind(folder, sources, common)


def test_masks_of_videos_and_images_share_no_file(tmp_path):
    """The frames of clip.mp4, and clip/000000.jpg, among other names that are nearly equal."""
    names = ('clip.mp4', 'clip/000000.jpg', 'b.png.mp4', 'b.jpg', 'C/000000.jpg', 'c.avi', 'c.mp4')
    places = [str(tmp_path / name) for name in names]
    sources = [Source(place, place, place) for place in places]
    masks = Masks(tmp_path / 'masks', sources, str(tmp_path))
    ids = np.zeros((2, 2), np.uint8)
    made = []
    for source in sources:
        frames = [f'{source.title}#{frame:06d}' for frame in range(1 + source.is_video)]
        made += [
            masks.add(Item(t, ids, source, 25.0 if source.is_video else None), ids) for t in frames
        ]
    assert made[:3] == ['clip.mp4/000000.png', 'clip.mp4/000001.png', 'clip/000000.png']
    assert made[3:6] == ['b.png.mp4/000000.png', 'b.png.mp4/000001.png', 'b.png']
    assert len({name.casefold() for name in made}) == len(made) == 11
    assert all((tmp_path / 'masks' / name).is_file() for name in made)


REFUSED = {
    'missing': (['gone.png'], "1 IMAGES do not exist, such as ['gone.png']; allowed: files, "),
    'glob': (['gone/*.png'], "IMAGES 'gone/*.png' matches no image or video"),
    'scheme': (['ftp://host/a.png'], 'ftp://host/a.png has an unknown scheme; allowed as IMAGES'),
    'file scheme': (['file:///etc/passwd'], 'file:///etc/passwd has an unknown scheme'),
    'address': (['http://[bad/a.png'], 'IMAGES: http://[bad/a.png is no address: Invalid IPv6 URL'),
    'address in a list': (['web.txt'], 'line 2: http://[bad is no address: Invalid IPv6 URL; all'),
    'empty folder': (['empty'], 'there are none in empty'),
    'list': (['list.txt'], 'there is no file'),
    'threshold': (['a.png', '--threshold', '2'], 'threshold is 2.0; allowed: a score from 0 to 1'),
    'top k': (['a.png', '--top-k', '2'], '--top-k belongs to classifiers'),
    'device': (['a.png', '--device', 'gpu'], '--device gpu is not there: '),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refusals(name, predict, tmp_path):
    words, reason = REFUSED[name]
    save(tmp_path / 'a.png')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'list.txt').write_text('gone.png\n')
    (tmp_path / 'web.txt').write_text('http://h/a.png\nhttp://[bad\n')
    code, *_, said = predict(*words, threshold=())
    assert code == 1 and reason in said.splitlines()[-1] + said
    assert said.startswith('lomar predict: ') and not (tmp_path / 'out').exists()


CHECKPOINTS = {
    'pretraining': (V01 / 'pretrain_lomar.pth', 'model of a pretraining; lomar.Detector takes'),
    'bare': (lambda path: tiny_lomar().state_dict(), 'stores no config with a model'),
}


@pytest.mark.parametrize('name', CHECKPOINTS)
def test_refused_checkpoints(name, predict, tmp_path):
    made, reason = CHECKPOINTS[name]
    save(tmp_path / 'a.png')
    if callable(made):
        torch.save(made(tmp_path), tmp_path / 'bare.pth')
        made = tmp_path / 'bare.pth'
    code, *_, said = predict('a.png', model=str(made))
    assert code == 1 and reason in said and len(said.splitlines()) == 1


def test_a_threshold_for_a_classifier(predict, tmp_path):
    save(tmp_path / 'a.png')
    code, *_, said = predict('a.png', '--threshold', '0.5', model=CLASSIFIER)
    assert code == 1 and '--threshold belongs to detectors' in said


def test_moving_average(predict, checkpoint, tmp_path):
    content = load_file(checkpoint)
    weights = content['state_dict']
    content['state_dict_ema'] = {key: value * 0.9 for key, value in weights.items()}
    torch.save(content, tmp_path / 'ema.pth')
    save(tmp_path / 'a.png')
    words = ['predict', str(tmp_path / 'ema.pth'), 'a.png', '--threshold', '0', '--no-pictures']
    for kind in ('plain', 'ema'):
        assert main([*words, '--out', kind, '--weights', kind]) == 0
        written = json.loads((tmp_path / kind / 'predictions.json').read_text())
        (found,) = lomar.Detector(tmp_path / 'ema.pth', weights=kind)(['a.png'], 0)
        assert [one['score'] for one in written] == found.scores.tolist()


class Handler(BaseHTTPRequestHandler):
    """A server of files, redirects and answers that go wrong."""

    def do_GET(self):
        path = self.path.partition('?')[0]
        if path.startswith('/to/'):
            self.send_response(302)
            self.send_header('Location', path.removeprefix('/to/'))
            self.end_headers()
            return
        content = self.server.files.get(path)
        self.send_response(200 if content else 404)
        self.send_header('Content-Length', str(len(content or b'') + (path == '/cut.png')))
        self.end_headers()
        self.wfile.write(content or b'')

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Files on 127.0.0.1; return the address of the server."""
    monkeypatch.setenv('no_proxy', '*')
    content = Path(save(tmp_path / 'web.png')).read_bytes()
    clip = Path(save_video(tmp_path / 'web.mp4', 2)).read_bytes()
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as serving:
        names = ('/a.png', '/b/a.png', '/no_suffix', '/cut.png', '/ü x.png')
        serving.files = dict.fromkeys(names, content) | {'/clip.mp4': clip, '/page.png': b'<html>'}
        serving.files['/%C3%BC%20x.png'] = content
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{serving.server_port}'
        serving.shutdown()
        thread.join()


def test_addresses(predict, server, tmp_path):
    names = ['a.png', 'b/a.png', 'no_suffix?id=1', 'no_suffix?id=2', 'ü x.png', 'clip.mp4']
    words = [f'{server}/{name}' for name in names]
    code, images, predictions, _ = predict(*words, 'web.png')
    assert code == 0
    frames = [f'{words[-1]}#00000{number}' for number in range(2)]
    assert titles(images) == [*words[:-1], *frames, 'web.png']
    scores = np.array([one['score'] for one in predictions]).reshape(-1, OBJECTS)
    assert (scores[:5] == scores[-1]).all()  # the same image
    host = server.removeprefix('http://')
    expected = [
        'a.jpg',
        'b/a.jpg',
        'clip.mp4',
        'no_suffix_id=1.jpg',
        'no_suffix_id=2.jpg',
        'ü x.jpg',
    ]
    assert pictures(tmp_path) == ['web.jpg', *(f'web/{host}/{name}' for name in expected)]


BROKEN = {
    'a.jpg': 'download failed: HTTP 404: Not Found',
    'cut.png': 'bytes',
    'page.png': 'UnidentifiedImageError',
    'to/ftp://127.0.0.1/a.png': 'a redirect to ftp://127.0.0.1/a.png; allowed: http and https',
    'to/file:///etc/passwd': 'not allowed',
}


@pytest.mark.parametrize('name', BROKEN)
def test_broken_downloads(name, predict, server):
    code, images, _, said = predict(f'{server}/a.png', f'{server}/{name}')
    assert code == 1 and titles(images) == [f'{server}/a.png']
    assert f'  {server}/{name}: ' in said and BROKEN[name] in said


@pytest.mark.parametrize(('limit', 'reason'), [('LARGEST', 'bytes'), ('LONGEST', 'seconds')])
def test_limits_of_downloads(limit, reason, predict, server, monkeypatch):
    monkeypatch.setattr(downloads, limit, -1)
    code, images, _, said = predict(f'{server}/a.png')
    assert code == 1 and images is None and f'download failed: more than -1 {reason}' in said


def test_no_server(predict, tmp_path):
    save(tmp_path / 'a.png')
    code, images, _, said = predict('a.png', 'http://127.0.0.1:9/a.png')
    assert code == 1 and titles(images) == ['a.png'] and 'download failed: ' in said


def test_a_list_of_addresses(predict, server, tmp_path):
    save(tmp_path / 'b.png')
    (tmp_path / 'list.txt').write_text(f'{server}/a.png\nb.png\n')
    code, images, _, _ = predict('list.txt', '--no-pictures')
    assert code == 0 and titles(images) == [f'{server}/a.png', 'b.png']


HOSTILE = [
    'http://h/../../../etc/passwd',
    'http://h/%2e%2e/%2e%2e/x.png',
    'https://h/' + 'a' * 500 + '.png?' + 'b' * 500,
    'https://h/' + '%E4%B8%AD' * 300 + '.png',
    'http://user:secret@h/%00.png',
    'http://../x.png',
    'http://h',
    'http://h/?a=../../b',
    'http://h/a.png',
    'https://h/a.png',
]


def test_pictures_of_addresses_stay_in_their_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources, common = find_sources(HOSTILE)
    names = Pictures('out', sources, common).names
    assert len(set(names.values())) == len(HOSTILE)
    for path in names.values():
        assert not path.is_absolute() and '..' not in path.parts
        assert all(len(os.fsencode(part)) <= 255 for part in path.parts)
        assert '\0' not in str(path) and 'secret' not in str(path)


@pytest.mark.slow
def test_a_process(checkpoint, tmp_path):
    save(tmp_path / 'in/a.png')
    done = run_lomar('predict', checkpoint, 'in', '--out', 'out', cwd=tmp_path)
    assert done.returncode == 0 and f' of 1 images in {tmp_path}/out\n' in done.stdout
    assert 'predicting: 100%' in done.stderr and 'Traceback' not in done.stderr


def test_memory_stays_flat(predict, tmp_path, monkeypatch):
    """No result is kept after it is written."""
    for number in range(6):
        save(tmp_path / f'in/{number}.png', number)
    detections, made, alive = lomar.Detector.detections, [], []

    def counted(self, *given, **options):
        found = detections(self, *given, **options)
        made.append(ref(found))
        alive.append(sum(each() is not None for each in made))
        return found

    monkeypatch.setattr(lomar.Detector, 'detections', counted)
    assert predict('in', '--no-pictures')[0] == 0
    assert len(alive) == 6 and max(alive) <= 2

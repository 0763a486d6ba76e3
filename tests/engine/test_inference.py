"""Inference functions of mmdet and mmpretrain give what `lomar test` computes, to the bit."""

import json
from pathlib import Path

import mmdet.apis
import mmpretrain
import numpy as np
import pytest
import torch
from conftest import DEVICE, FIXTURES, ROOT
from mmdet.apis import DetInferencer, init_detector
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmpretrain import (
    FeatureExtractor,
    ImageClassificationInferencer,
    ImageRetrievalInferencer,
    get_model,
)
from old_checkpoints import TINY_DETECTOR, TINY_VIT
from PIL import Image
from pycocotools import mask as rle

import lomar
from lomar import engine
from lomar.checkpoints import load_file, stored_config
from lomar.cli import main, parse_args
from lomar.datasets import read_pixels, read_rgb

SIZES = {'wide.png': (96, 64), 'tall.jpg': (64, 130), 'small.webp': (33, 41)}
MODES = ('L', '1', 'LA', 'P', 'RGBA')
CLASSES = ('striped', 'checked', 'dotted')  # of the fixtures
DETECTOR = str(ROOT / 'mmconfigs/shapes/mask-rcnn_vitdet-tiny-lomar_shapes.py')
CLASSIFIER = str(ROOT / 'mmconfigs/shapes/vit-tiny_lomar_1xb32-coslr-16e_shapes.py')
TINY_CLASSIFIER = [*TINY_VIT, 'model.head.in_channels=16']
# Random weights detect every class everywhere.
MANY = ['model.test_cfg.rcnn.score_thr=0.0', 'model.test_cfg.rcnn.max_per_img=20']
FOUR = ['model.backbone.in_channels=4', 'model.data_preprocessor.mean=[2000,2000,2000,2000]']
FOUR += ['model.data_preprocessor.std=[900,900,900,900]']


def photograph(width, height, seed):
    """Smooth random colors."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


def save_images(folder, size=None):
    """Write images of all kinds that `read_rgb` converts; return the paths."""

    def save(name, convert=lambda image: image, **options):
        image = photograph(*(size or SIZES.get(name, (80, 60))), seed=len(paths))
        convert(image).save(folder / name, **options)
        paths.append(str(folder / name))

    def transparent(image):
        image.putalpha(image.convert('L'))
        return image

    paths = []
    for name in SIZES:
        save(name)
    exif = Image.Exif()
    for orientation in (2, 3, 6, 8):
        exif[0x0112] = orientation
        save(f'turned{orientation}.jpg', exif=exif)
    for mode in MODES:
        save(f'{mode}.png', lambda image, mode=mode: image.convert(mode))
    save('alpha.png', transparent)
    save('index.png', lambda image: image.convert('P'), transparency=7)
    save('deep.png', lambda image: Image.fromarray(np.uint16(image.convert('L')) * 250 + 3))
    save('cmyk.jpg', lambda image: image.convert('CMYK'))
    save('rgb.tif')
    return paths


def save_rasters(folder):
    """Write images of four channels of 16 bits, in which B, G, R has no meaning."""
    rng = np.random.default_rng(0)
    for number, size in enumerate(((40, 64), (64, 64), (90, 30))):
        np.save(folder / f'{number}.npy', rng.integers(0, 4000, (*size, 4), dtype=np.uint16))
    return sorted(map(str, folder.iterdir()))


def array_of(path):
    """The array that a user's own code hands over: decoded by our loader, in B, G, R order."""
    if path.endswith('.npy'):
        return read_pixels(path)
    return np.array(read_rgb(path))[..., ::-1]


def annotate(paths, out):
    images, objects = [], []
    for number, path in enumerate(paths):
        height, width = array_of(path).shape[:2]
        images.append(dict(id=number, file_name=Path(path).name, width=width, height=height))
        square = [4, 4, 24, 4, 24, 24, 4, 24]
        objects += [
            dict(id=len(objects) + label, image_id=number, category_id=label + 1, iscrowd=0)
            | dict(bbox=[4, 4, 20, 20], area=400, segmentation=[square])
            for label in range(len(CLASSES))
        ]
    categories = [dict(id=label + 1, name=name) for label, name in enumerate(CLASSES)]
    out.write_text(json.dumps(dict(images=images, annotations=objects, categories=categories)))


class Case:
    """A checkpoint with the config that it stores, and what `lomar test` makes of images."""

    def __init__(self, root, kind, data, weights=None):
        config, options = kind
        self.root, self.checkpoint = root, str(root / 'epoch_1.pth')
        meta = dict(dataset_meta=dict(classes=CLASSES))
        torch.save(dict(state_dict={}, meta=meta), self.checkpoint)  # its classes are read first
        options = [*options, 'test_dataloader.batch_size=1', 'test_dataloader.num_workers=0']
        line = [config, self.checkpoint, *data, '--work-dir', str(root / 'work'), '--cfg-options']
        self.line = [*line, *options, 'test_dataloader.persistent_workers=False']
        cfg = engine.test_config(parse_args(['test', *self.line]))
        init_default_scope(cfg.default_scope)
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        for parameter in model.parameters():  # tables start at zero
            parameter.data += torch.randn_like(parameter) * 0.05
        self.config = str(root / 'config.py')
        cfg.dump(self.config)
        meta['cfg'] = cfg.pretty_text
        torch.save(dict(state_dict=weights or model.state_dict(), meta=meta), self.checkpoint)
        runner, self.expected = engine.Runner.from_cfg(cfg), {}
        test_step = runner.model.test_step

        def record(batch):
            (sample,) = test_step(batch)
            self.expected[Path(sample.img_path).name] = sample.cpu()
            return [sample]

        runner.model.test_step = record
        runner.test()


@pytest.fixture(scope='module', params=['present', 'v0.1', 'four channels'])
def detection(request, tmp_path_factory):
    root = tmp_path_factory.mktemp('detection')
    (root / 'images').mkdir()
    channels = request.param == 'four channels'
    paths = (save_rasters if channels else save_images)(root / 'images')
    annotate(paths, root / 'a.json')
    data = ['--val-ann', str(root / 'a.json'), '--val-images', str(root / 'images')]
    if request.param == 'present':
        case = Case(root, (DETECTOR, [*TINY_DETECTOR, *MANY]), data)
    elif channels:
        case = Case(root, (DETECTOR, [*TINY_DETECTOR, *MANY, *FOUR]), data)
    else:  # with a loader of the order R, G, B
        old = load_file(FIXTURES / 'v0.1/detector_lomar.pth')
        Config(stored_config(old)).dump(root / 'old.py')
        case = Case(root, (str(root / 'old.py'), MANY), data, old['state_dict'])
    case.paths = paths
    return case


@pytest.fixture(scope='module')
def classification(tmp_path_factory):
    root = tmp_path_factory.mktemp('classification')
    for name in CLASSES:
        (root / 'images' / name).mkdir(parents=True)
    paths = save_images(root / 'images' / CLASSES[0], (64, 64))
    for name in CLASSES[1:]:
        photograph(64, 64, seed=99).save(root / 'images' / name / f'{name}.png')
    case = Case(root, (CLASSIFIER, TINY_CLASSIFIER), ['--val-images', str(root / 'images')])
    case.paths = paths
    return case


def arrays(paths):
    return [array_of(path) for path in paths]


def mixed(paths):
    return [array_of(path) if i % 2 else path for i, path in enumerate(paths)]


def mixed_from_array(paths):
    return [path if i % 2 else array_of(path) for i, path in enumerate(paths)]


INPUTS = dict(paths=list, arrays=arrays, mixed=mixed, mixed_from_array=mixed_from_array)


def same_detections(found, expected):
    found, expected = found.cpu().pred_instances, expected.pred_instances
    assert len(expected) == 20
    assert torch.equal(found.bboxes, expected.bboxes)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.labels, expected.labels)
    assert np.array_equal(np.asarray(found.masks), np.asarray(expected.masks))


def by_config(case):
    return DetInferencer(case.config, case.checkpoint, show_progress=False)


def by_weights(case):
    return DetInferencer(weights=case.checkpoint, show_progress=False)


def by_keywords(case):
    cfg = Config.fromfile(case.config)
    return DetInferencer(model=cfg, weights=case.checkpoint, show_progress=False)


def by_dict(case):
    cfg = Config.fromfile(case.config).to_dict()
    return DetInferencer(model=cfg, weights=case.checkpoint, show_progress=False)


@pytest.mark.parametrize(
    ('make', 'given'),
    [
        *((by_weights, given) for given in INPUTS),
        *((make, 'mixed') for make in (by_config, by_keywords, by_dict)),
    ],
)
def test_inferencer_of_mmdet(detection, make, given):
    inputs = INPUTS[given](detection.paths)
    found = make(detection)(inputs, return_datasamples=True)['predictions']
    for path, sample in zip(detection.paths, found, strict=True):
        same_detections(sample, detection.expected[Path(path).name])


def test_inferencer_of_mmdet_takes_a_folder(detection):
    if detection.paths[0].endswith('.npy'):
        pytest.skip('mmdet lists no .npy files')
    found = by_weights(detection)(str(detection.root / 'images'), return_datasamples=True)
    assert len(found['predictions']) == len(detection.paths)
    for sample in found['predictions']:
        same_detections(sample, detection.expected[Path(sample.img_path).name])


@pytest.mark.parametrize('given', INPUTS)
@pytest.mark.parametrize('at_once', [True, False])
def test_inference_detector(detection, given, at_once):
    model = init_detector(detection.config, detection.checkpoint, device=DEVICE)
    before, inputs = model.cfg.pretty_text, INPUTS[given](detection.paths)
    if at_once:
        found = mmdet.apis.inference_detector(model, inputs)
    else:
        found = [mmdet.apis.inference_detector(model, one) for one in inputs]
    for path, sample in zip(detection.paths, found, strict=True):
        same_detections(sample, detection.expected[Path(path).name])
    assert model.cfg.pretty_text == before


def test_predictions_that_the_command_writes(detection):
    """`lomar test --out` in the COCO format, from the same command line."""
    out = detection.root / 'out'
    assert main(['test', *detection.line, '--out', str(out)]) == 0
    written = json.loads((out / 'bbox.json').read_text())
    found = by_weights(detection)(detection.paths, return_datasamples=True)['predictions']
    assert len(written) == 20 * len(found)
    for number, sample in enumerate(found):
        boxes = torch.tensor([each['bbox'] for each in written if each['image_id'] == number])
        boxes[:, 2:] += boxes[:, :2]
        torch.testing.assert_close(boxes, sample.pred_instances.bboxes)
        scores = [each['score'] for each in written if each['image_id'] == number]
        assert scores == sample.pred_instances.scores.tolist()


def test_model_of_an_inferencer(detection):
    """The first function leaves the config as it was, so that the second reads the same pixels."""
    path = detection.paths[-1]
    model = by_weights(detection).model
    for one in (array_of(path), path, Path(path)):
        found = mmdet.apis.inference_detector(model, one)
        same_detections(found, detection.expected[Path(path).name])


def scores_of(found):
    return [torch.as_tensor(each['pred_scores']) for each in found]


def by_inferencer(case, inputs):
    return scores_of(ImageClassificationInferencer(case.config, case.checkpoint)(inputs))


def by_model(case, inputs):
    model = get_model(case.config, case.checkpoint)
    return scores_of(ImageClassificationInferencer(model)(inputs))


def by_inference_model(case, inputs):
    model = get_model(Config.fromfile(case.config), case.checkpoint, device=DEVICE)
    return scores_of([mmpretrain.inference_model(model, one) for one in inputs])


def by_inference_model_of_config(case, inputs):
    infer = mmpretrain.apis.inference_model
    found = [infer(case.config, one, pretrained=case.checkpoint) for one in inputs]
    assert all(each['pred_class'] in CLASSES for each in found)
    return scores_of(found)


def by_features(case, inputs):
    extract = FeatureExtractor(case.config, case.checkpoint)
    return [
        extract.model.head.predict((feature[-1][None],))[0].pred_score
        for feature in extract(inputs)
    ]


CLASSIFIERS = [
    by_inferencer,
    by_model,
    by_inference_model,
    by_inference_model_of_config,
    by_features,
]


@pytest.mark.parametrize('run', CLASSIFIERS)
@pytest.mark.parametrize('given', INPUTS)
def test_inference_functions_of_mmpretrain(classification, run, given):
    found = run(classification, INPUTS[given](classification.paths))
    for path, scores in zip(classification.paths, found, strict=True):
        assert torch.equal(scores, classification.expected[Path(path).name].pred_score)


def test_inferencer_of_mmpretrain_takes_a_folder(classification):
    infer = ImageClassificationInferencer(classification.config, classification.checkpoint)
    found = infer(str(classification.root / 'images' / CLASSES[0]), return_datasamples=True)
    assert len(found) == len(classification.paths)
    for sample in found:
        expected = classification.expected[Path(sample.img_path).name]
        assert torch.equal(sample.pred_score, expected.pred_score)


@pytest.mark.parametrize('prototype', ['folder', 'list', 'dict'])
def test_image_retrieval(classification, prototype):
    """Every image, as a file or an array, is most similar to itself, with a cosine of 1."""
    cfg = Config.fromfile(classification.config)
    encoder, norm = cfg.model.backbone, cfg.model.data_preprocessor
    norm.pop('num_classes')
    cfg.model = dict(type='ImageToImageRetriever', image_encoder=encoder, prototype='')
    cfg.model.data_preprocessor = norm
    folder, paths = str(classification.root / 'images' / CLASSES[0]), sorted(classification.paths)
    given = dict(
        folder=folder,
        list=paths,
        dict=dict(type='CustomDataset', data_root=folder, with_label=False),
    )
    retrieve = ImageRetrievalInferencer(cfg, given[prototype], prepare_batch_size=1)
    stored = [each['img_path'] for each in map(retrieve.prototype_dataset.get_data_info, range(16))]
    for inputs in (stored, arrays(stored)):
        for path, (best,) in zip(stored, retrieve(inputs, topk=1), strict=True):
            assert best['sample']['img_path'] == path
            assert best['match_score'] == pytest.approx(1, abs=1e-6)


def given_as(kind, path):
    """An image of a file as a user's own code has it, in the order R, G, B."""
    if kind == 'path':
        return Path(path)
    if kind == 'PIL':
        return Image.open(path)
    array = array_of(path) if path.endswith('.npy') else np.array(read_rgb(path))
    return array if kind == 'array' else torch.from_numpy(array).permute(2, 0, 1)


KINDS = ['path', 'PIL', 'array', 'tensor']


@pytest.mark.parametrize('kind', KINDS)
def test_detector(detection, kind):
    """`lomar.Detector` is built from the checkpoint alone; its masks have the image's size."""
    if kind == 'PIL' and detection.paths[0].endswith('.npy'):
        pytest.skip('PIL opens no .npy files')
    detector = lomar.Detector(detection.checkpoint, device=DEVICE)
    assert detector.classes == CLASSES
    inputs = [given_as(kind, path) for path in detection.paths]
    for path, found in zip(detection.paths, detector(inputs, threshold=0), strict=True):
        expected = detection.expected[Path(path).name].pred_instances
        height, width = array_of(path).shape[:2]
        assert found.masks.shape == (20, height, width) and found.masks.dtype == bool
        assert np.array_equal(found.boxes, expected.bboxes) and found.boxes.dtype == np.float32
        assert np.array_equal(found.scores, expected.scores) and found.scores.dtype == np.float32
        assert np.array_equal(found.labels, expected.labels) and found.labels.dtype == np.int64
        assert np.array_equal(found.masks, np.asarray(expected.masks))
        assert found.names == [CLASSES[label] for label in expected.labels]


def test_predict_command(detection, tmp_path):
    """`lomar predict` writes what `lomar test` computes, and draws every kind of image."""
    out, folder = tmp_path / 'out', detection.root / 'images'
    line = ['predict', detection.checkpoint, str(folder), '--out', str(out), '--threshold', '0']
    assert main(line) == 0
    images = json.loads((out / 'images.json').read_text())['images']
    assert sorted(each['file_name'] for each in images) == sorted(detection.expected)
    predictions = json.loads((out / 'predictions.json').read_text())
    for image in images:
        expected = detection.expected[image['file_name']].pred_instances
        found = [each for each in predictions if each['image_id'] == image['id']]
        assert [each['score'] for each in found] == expected.scores.tolist()
        masks = np.array([rle.decode(each['segmentation']) for each in found], bool)
        assert np.array_equal(masks, expected.masks)
        assert masks.shape[1:] == (image['height'], image['width'])
    sizes = {Image.open(path).size for path in (out / 'pictures').glob('*.jpg')}
    assert sizes == {(image['width'], image['height']) for image in images}


@pytest.mark.parametrize('kind', KINDS)
def test_classifier(classification, kind):
    classifier = lomar.Classifier(classification.checkpoint, device=DEVICE)
    inputs = [given_as(kind, path) for path in classification.paths]
    for path, found in zip(classification.paths, classifier(inputs), strict=True):
        scores = classification.expected[Path(path).name].pred_score
        assert torch.equal(torch.from_numpy(found.scores), scores.sort(descending=True).values)
        assert torch.equal(scores[found.labels], torch.from_numpy(found.scores))
        assert found.names == [CLASSES[label] for label in found.labels]

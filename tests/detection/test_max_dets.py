"""One number of detections per image for the detector, AP and test-time augmentation."""

import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from test_coco import square

from lomar.cli import main, parse_args
from lomar.detection import CocoAP, check_config, detector_limit, use_max_dets
from lomar.detection import average_precision as module
from lomar.engine import Runner, train_config
from lomar.engine import test_config as config_of_test
from lomar.utils import dicts_in

CONFIG = ROOT / 'mmconfigs/shapes/mask-rcnn_vitdet-tiny-scratch_shapes.py'
SIDE = 400


def dense(folder, counts, classes=1):
    """Write images of 400 x 400 with `counts` objects each, in turn of each class."""
    images, annotations = [], []
    for number, count in enumerate(counts, 1):
        Image.new('RGB', (SIDE, SIDE), 'grey').save(folder / f'{number}.png')
        images.append(dict(id=number, file_name=f'{number}.png', width=SIDE, height=SIDE))
        for place in range(count):
            left, top = place % 20 * 20 + 2, place // 20 * 20 + 2
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=1 + place % classes,
                    bbox=[left, top, 15, 15],
                    area=225,
                    iscrowd=0,
                    segmentation=[square(left, top, 15)],
                )
            )
    categories = [dict(id=number + 1, name=f'class {number}') for number in range(classes)]
    path = folder / 'dense.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return path


def perfect(path, **settings):
    """Return a CocoAP that got all objects of a file as detections."""
    coco = COCO(str(path))
    metric = CocoAP(str(path), **settings)
    metric.dataset_meta = dict(classes=[one['name'] for one in coco.dataset['categories']])
    for number in coco.imgs:
        objects = coco.imgToAnns[number]
        boxes = torch.tensor([one['bbox'] for one in objects], dtype=torch.float)
        boxes[:, 2:] += boxes[:, :2]
        masks = np.array([coco.annToMask(one) for one in objects], bool)
        found = dict(
            bboxes=boxes,
            scores=torch.linspace(1, 0.5, len(objects)),
            labels=torch.tensor([one['category_id'] - 1 for one in objects]),
            masks=torch.from_numpy(masks),
        )
        metric.process({}, [dict(img_id=number, pred_instances=found)])
    return metric


@pytest.fixture
def logged(monkeypatch):
    """Lines that AP logs."""
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda text, **_: lines.extend(text.splitlines()))
    return lines


@pytest.mark.parametrize(
    ('limit', 'recall', 'ap'),
    [(400, 1, 100), (1000, 1, 100), (100, 0.25, 2600 / 101), (5, 0.0125, 200 / 101)],
)
def test_all_of_400_objects_are_found(tmp_path, logged, limit, recall, ap):
    metric = perfect(dense(tmp_path, [400]), max_dets=limit)
    figures = metric.compute_metrics(metric.results)
    for kind in ('bbox', 'segm'):
        values = metric.summary[kind]
        assert values['max_dets'] == limit
        assert figures[f'{kind}_mAP'] == pytest.approx(ap / 100)
        for name in ('AP', 'AP50', 'AP75', 'APs'):
            assert values[name] == pytest.approx(ap), name
        assert values['APm'] is values['APl'] is None
        assert values['per_class'] == {'class 0': pytest.approx(ap)}
    row = f'Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets={limit:>3d} ] = '
    assert logged.count(f' {row}{recall:.3f}') == 2


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_values_and_table_at_100_are_those_of_pycocotools(tmp_path, capsys, logged, kind):
    rng = np.random.default_rng(0)
    path = dense(tmp_path, [60, 130, 40], classes=3)
    metric = perfect(path, metric=kind, out=str(tmp_path))
    for entry in metric.results:
        order = rng.permutation(len(entry['labels']))
        wrong = rng.random(len(order)) < np.array([0.1, 0.3, 0.6])[entry['labels']]
        entry['scores'] = rng.random(len(order)).tolist()
        entry['labels'] = [(label + w) % 3 for label, w in zip(entry['labels'], wrong, strict=True)]
        entry['bboxes'] = [[x + rng.random() * 4, *rest] for x, *rest in entry['bboxes']]
    metric.compute_metrics(metric.results)
    truth = COCO(str(path))
    evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / f'{kind}.json')), kind)
    evaluation.evaluate(), evaluation.accumulate()
    capsys.readouterr()
    evaluation.summarize()
    assert logged[1:] == capsys.readouterr().out.splitlines()
    values = metric.summary[kind]
    for place, name in enumerate(('AP', 'AP50', 'AP75', 'APs')):
        assert values[name] == 100 * evaluation.stats[place] > 0  # to the last bit
    assert len(set(values['per_class'].values())) == 3


def test_faster_coco_eval_gives_the_same(tmp_path, monkeypatch):
    faster = pytest.importorskip('faster_coco_eval')
    path = dense(tmp_path, [400, 150], classes=2)
    for limit in (100, 400):
        values = []
        for coco, evaluation in ((COCO, COCOeval), (faster.COCO, faster.COCOeval_faster)):
            monkeypatch.setattr(module, 'COCO', coco)
            monkeypatch.setattr(module, 'COCOeval', evaluation)
            metric = perfect(path, max_dets=limit)
            metric.compute_metrics(metric.results)
            values.append(metric.summary)
        assert values[0] == values[1]


def test_a_limit_below_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match='max_dets is 0; allowed: 1 or more'):
        CocoAP('any', max_dets=0)


def model_of(**settings):
    return Config(
        dict(
            model=dict(type='Model', **settings),
            val_evaluator=[dict(type='Other'), dict(type='CocoAP', ann_file='a')],
            test_evaluator=dict(type='CocoAP', ann_file='a'),
        )
    )


TWO_STAGES = dict(
    train_cfg=dict(rpn_proposal=dict(max_per_img=50)),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=50), rcnn=dict(max_per_img=100)),
)
# Settings of a model, a limit, and the settings that it changes.
MODELS = {
    'two stages': (
        TWO_STAGES,
        300,
        {'test_cfg.rpn.max_per_img': 300, 'test_cfg.rcnn.max_per_img': 300},
    ),
    'two stages, more than the candidates of a level': (
        TWO_STAGES,
        2000,
        {
            'test_cfg.rpn.nms_pre': 2000,
            'test_cfg.rpn.max_per_img': 2000,
            'test_cfg.rcnn.max_per_img': 2000,
        },
    ),
    'two stages, fewer': (TWO_STAGES, 20, {'test_cfg.rcnn.max_per_img': 20}),
    'one stage': (
        dict(test_cfg=dict(nms_pre=200, max_per_img=100)),
        300,
        {'test_cfg.nms_pre': 300, 'test_cfg.max_per_img': 300},
    ),
    'one stage, all candidates': (
        dict(test_cfg=dict(nms_pre=-1, max_per_img=100)),
        300,
        {'test_cfg.max_per_img': 300},
    ),
    'settings in the head': (
        dict(bbox_head=dict(test_cfg=dict(max_per_img=100))),
        300,
        {'bbox_head.test_cfg.max_per_img': 300},
    ),
    'key points': (
        dict(test_cfg=dict(topk=100, max_per_img=100)),
        300,
        {'test_cfg.topk': 300, 'test_cfg.max_per_img': 300},
    ),
    'masks of queries': (
        dict(panoptic_head=dict(num_queries=200), test_cfg=dict(max_per_image=100)),
        200,
        {'test_cfg.max_per_image': 200},
    ),
    'queries': (
        dict(num_queries=900, test_cfg=dict(max_per_img=300)),
        500,
        {'test_cfg.max_per_img': 500},
    ),
    'no limit': (dict(test_cfg=dict(score_thr=0.1)), 300, {}),
    'inside of a wrapper': (
        dict(detector=TWO_STAGES),
        200,
        {
            'detector.test_cfg.rpn.max_per_img': 200,
            'detector.test_cfg.rcnn.max_per_img': 200,
        },
    ),
}


@pytest.mark.parametrize('name', MODELS)
def test_one_number_sets_all_limits(name):
    settings, limit, changes = MODELS[name]
    cfg, wanted = model_of(**settings), model_of(**settings)
    cfg.max_dets = wanted.max_dets = limit
    wanted.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    wanted.val_evaluator[1].max_dets = wanted.test_evaluator.max_dets = limit
    use_max_dets(cfg, {})
    assert cfg.to_dict() == wanted.to_dict()
    if changes:
        assert detector_limit(cfg)[1] == limit
    else:
        assert detector_limit(cfg) is None


def test_without_a_number_nothing_changes():
    cfg = model_of(**TWO_STAGES)
    use_max_dets(cfg, {})
    assert cfg.to_dict() == model_of(**TWO_STAGES).to_dict()
    assert detector_limit(cfg) == ('model.test_cfg.rcnn.max_per_img', 100)


WRONG = {
    'zero': (dict(max_dets=0), {}, r'max_dets \(--max-dets\) is 0; allowed: 1 or more'),
    'text': (dict(max_dets='many'), {}, "is 'many'; allowed: 1 or more"),
    'fraction': (dict(max_dets=1.5), {}, 'is 1.5; allowed: 1 or more'),
    'more than queries': (
        dict(max_dets=300, model=dict(num_queries=100)),
        {},
        r'is 300, but the detector has model.num_queries=100; allowed: 100 or less',
    ),
    'another evaluator': (
        dict(max_dets=300, val_evaluator=None, test_evaluator=dict(type='CocoMetric')),
        {},
        'belongs to detection configs with the evaluator CocoAP',
    ),
    'two numbers': (
        dict(max_dets=300),
        {'model.test_cfg.rcnn.max_per_img': 200},
        r'--cfg-options model.test_cfg.rcnn.max_per_img=200, but max_dets .* to 300; allowed: one',
    ),
}


@pytest.mark.parametrize('name', WRONG)
def test_wrong_limits(name):
    changes, options, message = WRONG[name]
    cfg = Config({**model_of(**TWO_STAGES).to_dict(), **changes})
    with pytest.raises(ValueError, match=message):
        use_max_dets(cfg, options)


def words(folder, command, *more):
    path, folder = str(dense(folder, [400, 150, 90], classes=2)), str(folder)
    flags = ['--val-ann', path, '--val-images', folder]
    if command != 'test':
        flags += ['--train-ann', path, '--train-images', folder]
    return [command, str(CONFIG), *(['model.pth'] if command == 'test' else []), *flags, *more]


def notes(cfg, splits):
    reports = check_config(cfg, splits).values()
    return [line for one in reports for line in one.notes.lines() if 'has more objects' in line]


@pytest.mark.parametrize(
    ('flags', 'limit'),
    [
        ((), 100),
        (('--max-dets', '400'), 400),
        (('--cfg-options', 'max_dets=400'), 400),
        (('--max-dets', '400', '--cfg-options', 'max_dets=200'), 400),
        (('--tta',), 100),
        (('--tta', '--max-dets', '400'), 400),
        (('--tta', '--cfg-options', 'model.test_cfg.rcnn.max_per_img=200'), 200),
    ],
)
def test_the_config_of_a_test(tmp_path, monkeypatch, flags, limit):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict={}), tmp_path / 'model.pth')
    cfg = config_of_test(parse_args(words(tmp_path, 'test', *flags)))
    model = cfg.model.module if '--tta' in flags else cfg.model
    assert model.test_cfg.rcnn.max_per_img == limit
    assert cfg.test_evaluator.get('max_dets', 100) == (limit if limit == 400 else 100)
    if '--tta' in flags:
        assert cfg.model.tta_cfg.max_per_img == limit


def test_a_tool_of_another_project(monkeypatch):
    """mmdet's tools build the runner of a config that no command of this package has read."""
    monkeypatch.setattr('mmengine.runner.Runner.from_cfg', classmethod(lambda cls, cfg: cfg))
    cfg = Config.fromfile(CONFIG)
    cfg.update(max_dets=400, value_range=[0, 510])
    before = cfg.pretty_text
    found = Runner.from_cfg(cfg)
    assert cfg.pretty_text == before
    assert found.test_evaluator.max_dets == found.model.test_cfg.rcnn.max_per_img == 400
    loaders = [one for one in dicts_in(found.test_dataloader) if one.get('type') == 'LoadImage']
    assert [one.value_range for one in loaders] == [[0, 510]]
    assert Runner.from_cfg(found).pretty_text == found.pretty_text


def test_the_config_of_a_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ('--cfg-options', 'load_from=None')
    cfg = train_config(parse_args(words(tmp_path, 'train', '--max-dets', '400', *options)))
    assert cfg.val_evaluator.max_dets == cfg.test_evaluator.max_dets == 400
    assert cfg.model.test_cfg.rcnn.max_per_img == cfg.model.test_cfg.rpn.max_per_img == 400
    assert not notes(cfg, ('train', 'val'))
    cfg = train_config(parse_args(words(tmp_path, 'train', *options)))
    train, val = (notes(cfg, (split,)) for split in ('train', 'val'))
    assert len(train) == len(val) == 2  # images with 400 and 150 objects
    assert (
        'images, id 1: has more objects than the limits model.test_cfg.rcnn.max_per_img=100;'
        in train[0]
    )
    assert 'max_per_img=100, val_evaluator.max_dets=100; to find all, --max-dets 400' in val[0]


@pytest.mark.parametrize(
    ('detector', 'evaluator', 'images'),
    [(100, 100, 2), (150, 100, 1), (400, 100, 1), (400, 200, 0), (400, 199, 1), (399, 400, 1)],
)
def test_a_class_may_have_as_many_objects_as_are_evaluated(tmp_path, detector, evaluator, images):
    """The limit of COCO's AP is for the detections of one class; the detector's for all."""
    options = {'model.test_cfg.rcnn.max_per_img': detector, 'test_evaluator.max_dets': evaluator}
    flags = [f'{key}={value}' for key, value in options.items()]
    torch.save(dict(state_dict={}), tmp_path / 'model.pth')
    arguments = words(tmp_path, 'test', '--cfg-options', *flags)
    arguments[2] = str(tmp_path / 'model.pth')
    assert len(notes(config_of_test(parse_args(arguments)), ('test',))) == images


def test_check_shows_the_note(tmp_path, capsys):
    assert main(words(tmp_path, 'check')) == 0
    assert capsys.readouterr().out.count('to find all, --max-dets 400: 400 objects') == 2
    assert main(words(tmp_path, 'check', '--max-dets', '400')) == 0
    assert 'has more objects' not in capsys.readouterr().out
    assert main(['train', 'lomar_pretrain', '--max-dets', '5', '--dry-run']) == 1
    assert 'belongs to detection configs' in capsys.readouterr().err

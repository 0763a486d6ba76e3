"""What is trained and evaluated on: odd files that are put right, and whole configs."""

import math
import re
from copy import deepcopy

import pytest
from mmengine.config import Config
from processes import run_lomar
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from test_coco import (
    CLASSES,
    HEIGHT,
    WIDTH,
    annotation,
    changed,
    dataset,
    rle_of,
    second,
    square,
    valid,
    write,
)

from lomar.cli import main
from lomar.detection import (
    check_coco,
    check_config,
    class_names,
    normalised_coco,
    read_coco,
    stop_on_errors,
    use_files,
)


def runs_of(left, side):
    """The same, uncompressed."""
    skip, column = left * HEIGHT + 5, [side, HEIGHT - side]
    last = HEIGHT * WIDTH - skip - side - (side - 1) * HEIGHT
    return dict(size=[HEIGHT, WIDTH], counts=[skip, *column * (side - 1), side, last])


SECOND = (1, False, 100)  # label, to be ignored, pixels of the mask
FAR = square(1e9, 5, 10)
ODDITIES = {
    'nothing odd': (lambda c: None, None, SECOND),
    'crowd': (second(iscrowd=1, segmentation=rle_of(20, 10)), 'is a crowd', (1, True, 100)),
    'uncompressed crowd': (
        second(iscrowd=1, segmentation=runs_of(20, 10)),
        'is a crowd',
        (1, True, 100),
    ),
    'marked ignore': (second(ignore=1), 'is a crowd', (1, True, 100)),
    'RLE': (second(segmentation=rle_of(20, 10)), None, SECOND),
    'no area': (second(area=None), 'has no area', SECOND),
    'area 0': (second(area=0), 'has no area', SECOND),
    'no iscrowd': (second(iscrowd=None), None, SECOND),
    'box of no width': (second(bbox=[20, 5, 0, 10]), 'is left out, as its box', None),
    'box turned round': (second(bbox=[30, 15, -10, -10]), 'is left out, as its box', None),
    'box outside': (second(bbox=[WIDTH, 5, 10, 10]), 'is left out, as its box', None),
    'box reaches out': (second(bbox=[20, 5, 30, 10]), 'its box reaches out', SECOND),
    'two points': (second(segmentation=[[20, 5, 30, 5]]), 'is left out, as its segm', None),
    'odd polygon': (
        second(segmentation=[[*square(20, 5, 10), 1]]),
        'is left out, as its segm',
        None,
    ),
    'NaN polygon': (
        second(segmentation=[[math.nan, *square(20, 5, 10)[1:]]]),
        'is left out, as its segm',
        None,
    ),
    'polygon that is a line': (
        second(segmentation=[[20, 5, 30, 5, 25, 5]]),
        'is left out, as its segm',
        None,
    ),
    'polygon far outside': (second(segmentation=[FAR]), 'is left out, as its segm', None),
    'one bad polygon of three': (
        second(segmentation=[[1, 2, 3, 4], square(20, 5, 10), FAR]),
        'loses polygons',
        SECOND,
    ),
    'empty mask': (second(segmentation=rle_of(20, 0)), 'is left out, as its segm', None),
}


@pytest.mark.parametrize('name', ODDITIES)
def test_an_oddity_trains(tmp_path, name):
    change, note, expected = ODDITIES[name]
    path = write(tmp_path, changed(change))
    sample = dataset(path, tmp_path)[0]['data_samples']
    notes = check_coco(path, str(tmp_path), masks=True).notes.lines()
    gaps = f'{path}: categories: ids have gaps; labels are their order: 3 classes have ids'
    (line,) = [note for note in notes if note.startswith(gaps)]
    notes.remove(line)
    wanted = {False: [(0, 64, [2, 5, 10, 13])], True: []}
    texts = [note] if note else []
    if expected is None or expected[1]:
        texts.append('a class has no objects: ring')
    assert len(notes) == len(texts)
    assert all(any(text in line for line in notes) for text in texts)
    if expected:
        label, ignored, pixels = expected
        right = 50 if name == 'box reaches out' else 30
        wanted[ignored].append((label, pixels, [20, 5, right, 15]))
    assert all(line.startswith(f'{path}: ') for line in notes)
    for ignored, found in ((False, sample.gt_instances), (True, sample.ignored_instances)):
        masks = found.masks.to_ndarray()
        assert masks.shape[1:] == (HEIGHT, WIDTH)
        boxes = found.bboxes.tensor.tolist()
        labels = found.labels.tolist()
        assert list(zip(labels, masks.sum((1, 2)), boxes, strict=True)) == wanted[ignored]


def test_images_without_objects_are_kept_or_left_out(tmp_path):
    coco = valid()
    coco['annotations'] = coco['annotations'][:3]
    coco['annotations'][2]['iscrowd'] = 1
    path = write(tmp_path, coco)
    kept = dataset(path, tmp_path)
    assert [len(kept[index]['data_samples'].gt_instances) for index in range(3)] == [2, 0, 0]
    left = dataset(path, tmp_path, filter_cfg=dict(filter_empty_gt=True))
    assert [left.get_data_info(index)['img_id'] for index in range(len(left))] == [10]
    notes = check_coco(path, str(tmp_path), masks=True).notes.lines()
    assert f'{path}: images, id 30: has no objects, 30.png' in notes


def test_classes_are_the_files_in_the_order_of_ids(tmp_path):
    path = write(tmp_path, valid())
    assert class_names(read_coco(path)) == CLASSES
    whole = dataset(path, tmp_path)
    assert whole.metainfo == dict(classes=CLASSES)
    labels = [one['bbox_label'] for i in range(3) for one in whole.get_data_info(i)['instances']]
    assert labels == [0, 1, 2, 0]
    some = dataset(path, tmp_path, metainfo=dict(classes=['ring', 'nut']))
    labels = [one['bbox_label'] for i in range(3) for one in some.get_data_info(i)['instances']]
    assert labels == [0, 1]
    other = dataset(path, tmp_path, metainfo=dict(classes=['nut', 'bolt', 'ring']))
    labels = [one['bbox_label'] for i in range(3) for one in other.get_data_info(i)['instances']]
    assert labels == [1, 2, 0, 1]


def test_boxes_only_need_no_segmentation(tmp_path):
    coco = valid()
    for one, segmentation in zip(coco['annotations'], (None, [], 'rubbish', [[1]]), strict=True):
        one.pop('area')
        one['segmentation'] = segmentation
    path = write(tmp_path, coco)
    assert not check_coco(path, str(tmp_path), masks=False).errors.lines()
    evaluated = normalised_coco(read_coco(path), masks=False)['annotations']
    assert [one['area'] for one in evaluated] == [64, 100, 36, 144]
    found = dataset(path, tmp_path, masks=False)[0]['data_samples'].gt_instances
    assert found.bboxes.tensor.tolist() == [[2, 5, 10, 13], [20, 5, 30, 15]]


@pytest.mark.parametrize('masks', [True, False])
def test_a_training_without_a_mask_head_needs_the_masks_that_its_pipeline_loads(tmp_path, masks):
    coco = valid()
    for one in coco['annotations']:
        del one['segmentation']
    write(tmp_path, coco)
    cfg = config(tmp_path, val='train.json')
    del cfg.model.roi_head
    step = dict(type='LoadInstances', with_bbox=True, with_mask=masks)
    cfg.train_dataloader.dataset.dataset.pipeline = [step]
    lines = check_config(cfg)['train'].errors.lines()
    assert len(lines) == masks
    assert all('or with_mask=False in the training pipeline' in line for line in lines)


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_evaluation_gets_what_it_needs(kind):
    coco = valid()
    for number, one in enumerate(coco['annotations']):  # 0 is "no match" to pycocotools
        one.update(id=number)
        del one['area'], one['iscrowd']
    coco['annotations'].append(dict(annotation(4, 10, 1, 2, 8), bbox=[0, 0, 0, 0]))
    if kind == 'bbox':
        coco['annotations'][0]['segmentation'] = None
    before = deepcopy(coco)
    truth = COCO()
    truth.dataset = normalised_coco(coco, masks=kind == 'segm')
    assert coco == before
    truth.createIndex()
    assert truth.getCatIds() == [1, 3, 9]
    key = 'bbox' if kind == 'bbox' else 'segmentation'
    perfect = [
        {'image_id': one['image_id'], 'category_id': one['category_id'], 'score': 1.0}
        | {key: one['bbox'] if kind == 'bbox' else truth.annToRLE(one)}
        for one in truth.dataset['annotations']
    ]
    evaluation = COCOeval(truth, truth.loadRes(perfect), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def config(folder, train='train.json', val='val.json'):
    def loader(name):
        return dict(
            dataset=dict(
                type='CocoFiles',
                data_root=str(folder),
                ann_file=name,
                data_prefix=dict(img=''),
            )
        )

    wrapped = loader(train)
    wrapped['dataset'] = dict(type='RepeatDataset', times=2, dataset=wrapped['dataset'])
    evaluator = dict(type='CocoAP', ann_file=str(folder / val))
    return Config(
        dict(
            model=dict(
                type='MaskRCNN',
                roi_head=dict(
                    bbox_head=dict(type='BoxHead', num_classes=3),
                    mask_head=dict(type='MaskHead', num_classes=3),
                ),
            ),
            train_dataloader=wrapped,
            val_dataloader=loader(val),
            test_dataloader=loader(val),
            val_evaluator=evaluator,
            test_evaluator=evaluator,
        )
    )


def test_a_config_is_checked_as_a_whole(tmp_path):
    write(tmp_path, valid())
    write(tmp_path, valid(), 'val.json')
    cfg = config(tmp_path)
    reports = check_config(cfg)
    assert list(reports) == ['train', 'val']
    assert reports['train'].instances() == dict(bolt=2, ring=1, nut=1)
    stop_on_errors(reports.values())

    cfg.model.roi_head.mask_head.num_classes = 80
    cfg.val_evaluator = [dict(type='CocoAP', ann_file='other.json')]
    write(tmp_path, changed(lambda c: c['categories'][0].update(name='washer')), 'val.json')
    with pytest.raises(ValueError) as raised:
        stop_on_errors(check_config(cfg).values())
    lines = str(raised.value).splitlines()[1:]
    assert 'train.json: categories: the number of classes' in lines[0]
    assert '3, but num_classes=80 in MaskHead' in lines[0]
    assert re.search(r"val.json: categories: 1 classes .* not trained for, .*'washer'", lines[1])
    assert 'val.json: val_evaluator.ann_file: the evaluation reads another file, o' in lines[2]

    write(tmp_path, changed(lambda c: [one.pop('segmentation') for one in c['annotations']]))
    with pytest.raises(ValueError, match='faster-rcnn'):
        stop_on_errors(check_config(config(tmp_path, val='train.json')).values())
    boxes = config(tmp_path, val='train.json')
    del boxes.model.roi_head.mask_head
    stop_on_errors(check_config(boxes).values())


EVALUATIONS = {  # categories of the file, settings, whether mmdet's labels are those of the model
    'CocoAP': ('ring bolt nut', dict(), True),
    'ascending ids': ('bolt ring nut', dict(type='CocoMetric'), True),
    'other ids': ('ring bolt nut', dict(type='CocoMetric'), False),
    'a class with a scope': ('ring bolt nut', dict(type='mmdet.CocoMetric'), False),
    'a subclass': ('ring bolt nut', dict(type='CocoOccludedSeparatedMetric'), False),
    'sorted ids': ('ring bolt nut', dict(type='CocoMetric', sort_categories=True), True),
    'an unknown class': ('gear bolt ring nut', dict(type='CocoMetric'), True),
    'an unknown class in LVIS': ('gear bolt ring nut', dict(type='LVISMetric'), False),
}


@pytest.mark.parametrize('name', EVALUATIONS)
def test_evaluators_of_mmdet_need_the_order_of_the_list(tmp_path, name):
    names, settings, fits = EVALUATIONS[name]
    coco, ids = valid(), dict(gear=0, bolt=1, ring=3, nut=9)
    write(tmp_path, coco)
    coco['categories'] = [dict(id=ids[each], name=each) for each in names.split()]
    write(tmp_path, coco, 'val.json')
    cfg = config(tmp_path)
    cfg.val_evaluator.update(settings)
    lines = check_config(cfg)['val'].errors.lines()
    kind = settings.get('type', '').removeprefix('mmdet.')
    message = f'found {kind} for {names.split()}; the model has {list(CLASSES)}'
    assert not lines if fits else 'val_evaluator.type: ' in lines[0] and message in lines[0]


def test_a_users_files_take_the_place_of_a_configs(tmp_path, tmp_path_factory, monkeypatch):
    cfg = config(tmp_path_factory.mktemp('nothing'))
    coco = changed(lambda c: c['categories'].append(dict(id=2, name='gear')))
    train, val = write(tmp_path, coco), write(tmp_path, coco, 'mine.json')
    monkeypatch.chdir(tmp_path)
    use_files(cfg, 'train.json', '.', 'mine.json', '.')
    stop_on_errors(check_config(cfg).values())
    assert cfg.train_dataloader.dataset.dataset.ann_file == train
    assert cfg.test_dataloader.dataset.ann_file == cfg.test_evaluator.ann_file == val
    assert tuple(cfg.val_dataloader.dataset.model_classes) == ('bolt', 'gear', 'ring', 'nut')
    assert cfg.model.roi_head.bbox_head.num_classes == 4
    assert cfg.model.roi_head.mask_head.num_classes == 4
    testing = config(tmp_path_factory.mktemp('none'))
    testing.train_dataloader = testing.val_dataloader = None
    use_files(testing, val_ann=val, val_images='.')
    assert list(check_config(testing)) == ['test']
    assert testing.model.roi_head.bbox_head.num_classes == 4


def test_the_command(tmp_path, capsys):
    path = tmp_path / 'config.py'
    write(tmp_path, valid())
    write(tmp_path, valid(), 'val.json')
    config(tmp_path).dump(path)
    assert main(['check', str(path)]) == 0
    text = capsys.readouterr().out
    for row in (r'\s+train\s+val', r'images\s+3\s+3', r'annotations\s+4\s+4', r'ring\s+1\s+1'):
        assert re.search(f'^{row}$', text, re.MULTILINE), text
    assert 'can be trained on' in text and 'ids have gaps' in text

    bad = write(tmp_path, changed(second(image_id=99)), 'bad.json')
    done = run_lomar('check', path, '--train-ann', bad)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert f'{bad}: annotations[1] (id 101): is on no image of the file, image_id 99' in done.stdout

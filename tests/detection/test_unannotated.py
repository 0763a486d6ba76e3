"""Testing on files without annotations, and on objects that only training leaves out."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from PIL import Image
from processes import run_lomar
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from test_coco import CLASSES, changed, dataset, square, valid, write
from test_coco_training import config
from test_missing_objects import CAUSES, each

from lomar.detection import (
    CocoAP,
    check_coco,
    check_config,
    check_output,
    read_coco,
    stop_on_errors,
    use_files,
)

UNANNOTATED = {
    'no list of annotations': lambda coco: coco.pop('annotations'),
    'images alone': lambda coco: [coco.pop(name) for name in ('annotations', 'categories')],
    'null': lambda coco: coco.update(annotations=None),
    'empty list': lambda coco: coco.update(annotations=[]),
    'images without sizes': lambda coco: (
        coco.pop('annotations'),
        [image.pop('width') and image.pop('height') for image in coco['images']],
    ),
    'images with wrong sizes': lambda coco: (
        coco.pop('annotations'),
        [image.update(width=0, height=7.5) for image in coco['images']],
    ),
}
NO_OBJECTS = UNANNOTATED | {
    name: CAUSES[name][0]
    for name in ('crowds', 'boxes outside', 'boxes without area', 'boxes in fractions')
}


def one_detection(number, side=8.0, label=0):
    """A sample for CocoAP: a box and mask at (2, 5) of image `number`."""
    masks = torch.zeros(1, 30, 40, dtype=torch.bool)
    masks[0, 5 : 5 + int(side), 2 : 2 + int(side)] = True
    found = dict(
        bboxes=torch.tensor([[2.0, 5, 2 + side, 5 + side]]),
        scores=torch.ones(1),
        labels=torch.tensor([label]),
        masks=masks,
    )
    return dict(img_id=number, pred_instances=found)


def nothing(number):
    """A sample for CocoAP without detections."""
    sample = one_detection(number)
    sample['pred_instances'] = {key: t[:0] for key, t in sample['pred_instances'].items()}
    return sample


@pytest.mark.parametrize('name', NO_OBJECTS)
def test_images_without_objects_are_predicted_on_and_have_no_ap(tmp_path, name):
    path = write(tmp_path, changed(NO_OBJECTS[name]))
    report = check_coco(path, str(tmp_path), True, model_classes=CLASSES, training=False)
    stop_on_errors([report])
    assert any('there is no AP: ' in line for line in report.notes.lines())
    assert 'there is no AP: ' in report.notes.loud
    data = dataset(path, tmp_path, test_mode=True, model_classes=CLASSES)
    assert [data[index]['data_samples'].img_id for index in range(3)] == [10, 20, 30]
    assert [data.get_data_info(index)['width'] for index in range(3)] == [40, 40, 40] or (
        name == 'images with wrong sizes'
    )

    metric = CocoAP(path, out=str(tmp_path / 'out'))
    metric.dataset_meta = data.metainfo
    metric.process({}, [one_detection(20, label=1)])
    assert metric.compute_metrics(metric.results) == {}
    for kind in ('bbox', 'segm'):
        (found,) = json.loads((tmp_path / f'out/{kind}.json').read_text())
        # Label 1 is 'ring' with the id 3. Without categories, ids are 1 to N.
        alone = name == 'images alone'
        assert found['image_id'] == 20 and found['category_id'] == (2 if alone else 3)
        values = metric.summary[kind]
        assert values.pop('max_dets') == 100
        assert values.pop('per_class') == dict.fromkeys(() if alone else CLASSES)
        assert values == dict.fromkeys(('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl'))


@pytest.mark.parametrize('name', UNANNOTATED)
def test_training_needs_annotations(tmp_path, name):
    path = write(tmp_path, changed(UNANNOTATED[name]))
    with pytest.raises(ValueError, match=r"no list 'annotations'|there is nothing to train on"):
        dataset(path, tmp_path)


def test_sizes_are_read_where_the_file_has_none(tmp_path):
    Image.new('RGB', (17, 9)).save(tmp_path / 'other.png')
    images = [dict(id=1, file_name='other.png'), dict(id=2, file_name='none.png')]
    path = write(tmp_path, dict(valid(), images=images, annotations=[]))
    report = check_coco(path, str(tmp_path), masks=True, training=False)
    assert report.images[1] == dict(file_name='other.png', width=17, height=9)
    (line,) = report.errors.lines()
    assert 'images[1] (id 2): there is no file' in line


def test_images_to_predict_on_with_other_classes(tmp_path):
    """Detections have no id in such a file, and no objects can be left out."""
    path = write(tmp_path, dict(valid(), categories=[dict(id=1, name='cell')], annotations=[]))
    report = check_coco(path, str(tmp_path), True, model_classes=CLASSES, training=False)
    (line,) = report.errors.lines()
    assert "not trained for, such as ['cell']" in line
    assert line.endswith("; to predict, leave the list 'categories' empty: the ids are then 1 to N")


def detection_config(folder, change, **test):
    """A config of files in `folder`; those for evaluation are changed."""
    write(folder, valid())
    write(folder, changed(change), 'val.json')
    cfg = config(folder)
    use_files(cfg)  # as every command does
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.update(test)
    return cfg


@pytest.mark.parametrize('name', NO_OBJECTS)
def test_validation_without_ap_is_refused(tmp_path, name):
    cfg = detection_config(tmp_path, NO_OBJECTS[name])
    with pytest.raises(ValueError, match=r'val_evaluator: validation has no AP: .*--no-validate'):
        stop_on_errors(check_config(cfg, ('train', 'val')).values())


@pytest.mark.parametrize(
    ('outputs', 'works'),
    [
        ({}, False),
        ({'test_evaluator.out': 'somewhere'}, True),
        ({'default_hooks.visualization.draw': True}, True),
    ],
)
def test_a_test_without_any_result_is_refused(tmp_path, outputs, works):
    cfg = detection_config(tmp_path, UNANNOTATED['empty list'])
    cfg.default_hooks = dict(visualization=dict(type='DetVisualizationHook'))
    cfg.merge_from_dict(outputs)
    reports = check_config(cfg, ('test',)).values()
    stop_on_errors(reports)
    if works:
        check_output(cfg, reports)
        return
    with pytest.raises(ValueError, match=r'val.json: there is no AP: none of .* with --out DIR'):
        check_output(cfg, reports)


def test_an_annotated_file_needs_no_output(tmp_path):
    cfg = detection_config(tmp_path, lambda coco: None)
    check_output(cfg, check_config(cfg, ('test',)).values())


# Of the first annotation of a file to test on: a change, and how the kinds of truth count it.
OBJECTS = {
    'whole': ({}, dict(bbox=True, segm=True)),
    'narrow box': (dict(bbox=[2, 5, 0.5, 20]), dict(bbox=True, segm=True)),
    'no area': (dict(area=0), dict(bbox=True, segm=True)),
    'box of no width': (dict(bbox=[2, 5, 0, 20]), dict(bbox=False, segm=False)),
    'box outside': (dict(bbox=[90, 5, 8, 8]), dict(bbox=False, segm=False)),
    'empty mask': (dict(segmentation=[[]]), dict(bbox=True, segm=False)),
    'mask of two points': (dict(segmentation=[[1, 2, 3, 4]]), dict(bbox=True, segm=False)),
    'mask of half a pixel': (
        dict(segmentation=[square(2.4, 5.4, 0.7)]),
        dict(bbox=True, segm=True),
    ),
    'mask between pixels': (dict(segmentation=[square(2.6, 5.6, 0.2)]), dict(bbox=True)),
}


@pytest.mark.parametrize('name', OBJECTS)
def test_every_object_counts_that_can_be_found(tmp_path, name):
    change, counts = OBJECTS[name]
    coco = valid()
    coco['annotations'] = coco['annotations'][:1] + coco['annotations'][2:3]
    coco['annotations'][0].update(change)
    path = write(tmp_path, coco)
    report = check_coco(path, str(tmp_path), masks=True, training=False)
    stop_on_errors([report])
    data = dataset(path, tmp_path, test_mode=True)
    assert data[0]['data_samples'].img_id == 10  # with masks for the pictures
    metric = CocoAP(path)
    metric.dataset_meta = data.metainfo
    metric.process({}, [nothing(10), one_detection(20, 6.0, 2)])
    metric.compute_metrics(metric.results)
    for kind in ('bbox', 'segm'):
        missed = metric.summary[kind]['per_class']['bolt']  # 0: an object that is not found
        assert missed == (0 if counts.get(kind, False) else None), kind


def test_small_objects_count_as_in_pycocotools(tmp_path):
    """The AP of the raw file, in which training leaves two objects out."""
    coco = changed(each(category_id=1))
    coco['annotations'][0]['bbox'] = [2, 5, 0.5, 8]
    coco['annotations'][1]['bbox'] = [20, 5, 10, 0.25]
    path = write(tmp_path, coco)
    metric = CocoAP(path, metric='bbox', out=str(tmp_path / 'out'))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [one_detection(10), nothing(20), one_detection(30, 12.0)])
    metric.compute_metrics(metric.results)
    truth = COCO(path)
    evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / 'out/bbox.json')), 'bbox')
    evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    assert metric.summary['bbox']['AP'] == 100 * evaluation.stats[0] < 100


@pytest.mark.parametrize('metric', ['bbox', ['bbox']])
def test_boxes_are_evaluated_without_masks(tmp_path, metric):
    cfg = detection_config(tmp_path, each(segmentation=None))
    with pytest.raises(ValueError, match=r'there are no masks to evaluate: .*metric=bbox'):
        stop_on_errors(check_config(cfg, ('test',)).values())
    load = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
    cfg.test_dataloader.dataset.pipeline = [load]
    cfg.test_evaluator.metric = metric
    use_files(cfg)
    stop_on_errors(check_config(cfg, ('test',)).values())
    assert cfg.test_dataloader.dataset.pipeline[0].with_mask is False


@pytest.mark.parametrize('change', [dict(bbox=None), dict(bbox=[1, 2]), dict(segmentation='?')])
def test_other_classes_are_not_read(change, tmp_path):
    """Annotations of a class that the config leaves out are not checked: keypoints, tags."""
    coco = valid()
    kept = next(one for one in coco['categories'] if one['name'] == 'nut')
    for one in coco['annotations']:
        one.update(change if one['category_id'] != kept['id'] else {})
    path = write(tmp_path, coco)
    assert not check_coco(path, str(tmp_path), True, ['nut'], training=False).errors.lines()
    metric = CocoAP(path)
    metric.dataset_meta = dict(classes=('nut',))
    metric.process({}, [one_detection(image['id']) for image in coco['images']])
    assert metric.compute_metrics(metric.results)['bbox_mAP'] > 0


def test_class_names_come_from_a_file_without_annotations(tmp_path):
    path = write(tmp_path, changed(UNANNOTATED['no list of annotations']))
    cfg = config(tmp_path)
    cfg.train_dataloader = cfg.val_dataloader = None
    use_files(cfg, val_ann=path)
    assert tuple(cfg.test_dataloader.dataset.model_classes) == CLASSES
    with pytest.raises(ValueError, match="no list 'annotations'"):
        read_coco(path)


@pytest.mark.parametrize('name', list(UNANNOTATED)[:3])
def test_detections_are_drawn_without_annotations(tmp_path, name):
    from lomar.visualization.detections import detection_sheet

    path = write(tmp_path, changed(UNANNOTATED[name]))
    results = tmp_path / 'bbox.json'
    results.write_text(
        json.dumps([dict(image_id=10, category_id=3, score=0.9, bbox=[2, 5, 10, 10])])
    )
    sheet = np.array(detection_sheet(path, tmp_path, results, number=1))
    above, below = sheet[: len(sheet) // 2], sheet[len(sheet) // 2 :]
    assert len(np.unique(above.reshape(-1, 3), axis=0)) < len(
        np.unique(below.reshape(-1, 3), axis=0)
    )


def test_the_command(tmp_path):
    """The detections of a file like COCO's test-dev, and the same run without --out."""
    from mmengine.registry import MODELS, init_default_scope

    path = write(tmp_path, changed(UNANNOTATED['no list of annotations']))
    name = ROOT / 'mmconfigs/shapes/mask-rcnn_vitdet-tiny-scratch_shapes.py'
    cfg = Config.fromfile(name)
    init_default_scope('mmdet')
    for head in (cfg.model.roi_head.bbox_head, cfg.model.roi_head.mask_head):
        head.num_classes = 3
    torch.save(MODELS.build(deepcopy(cfg.model)).state_dict(), tmp_path / 'model.pth')
    options = ('--val-ann', path, '--val-images', tmp_path, '--work-dir', tmp_path / 'work')
    options += ('--cfg-options', 'model.test_cfg.rcnn.score_thr=0.0')
    done = run_lomar('test', name, tmp_path / 'model.pth', *options)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert f'lomar test: {path}: there is no AP: none of the 3 images has' in done.stderr
    done = run_lomar('test', name, tmp_path / 'model.pth', '--out', tmp_path / 'out', *options)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert text.index('there is no AP: none of') < text.index('All weights of the model loaded')
    for kind in ('bbox', 'segm'):
        found = json.loads((tmp_path / f'out/{kind}.json').read_text())
        assert {one['image_id'] for one in found} == {10, 20, 30}
        assert {one['category_id'] for one in found} <= {1, 3, 9}
    record = json.loads((tmp_path / 'work/metrics.json').read_text())
    assert record['images'] == 3 and record['metrics']['bbox']['AP'] is None


@pytest.mark.parametrize('given', [True, False])
def test_a_file_without_categories_gets_ids_from_1(tmp_path, given):
    """The classes of the model are known, or the run stops."""
    path = write(tmp_path, changed(lambda coco: coco.update(annotations=[], categories=[])))
    model = ('nut', 'bolt') if given else None
    report = check_coco(path, str(tmp_path), masks=False, training=False, model_classes=model)
    if not given:
        assert 'the model has no class names' in report.errors.lines()[0]
        return
    assert any('detections get category ids: 1 to 2 for' in line for line in report.notes.lines())
    metric = CocoAP(path, metric='bbox', out=str(tmp_path))
    metric.dataset_meta = dict(classes=model, tested_classes=())
    found = dict(bboxes=torch.ones(1, 4), scores=torch.ones(1), labels=torch.ones(1).long())
    metric.process({}, [dict(img_id=10, pred_instances=found)])
    metric.compute_metrics(metric.results)
    (written,) = json.loads((tmp_path / 'bbox.json').read_text())
    assert written['category_id'] == 2

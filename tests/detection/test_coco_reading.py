"""How COCO files are read: entry by entry, once per run, and by the main process alone."""

import json
import math
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from processes import run_ranks
from test_coco import CLASSES, annotation, changed, dataset, second, valid, write
from test_coco_training import config

from lomar.detection import (
    CocoAP,
    check_coco,
    check_config,
    read_coco,
    stop_on_errors,
    use_files,
)
from lomar.detection.coco import LazyEntries

# Text of the last coordinate of a box in the file, and its value for Python.
NUMBERS = {
    '10': 10,
    '10.0': 10.0,
    '1e1': 10.0,
    'NaN': math.nan,
    'Infinity': math.inf,
    '1e999': math.inf,
    '-1e999': -math.inf,
    '10000000000000000000000000': 10**25,
    '12345678901234567890.5': 12345678901234567890.5,
    '0.1e-400': 0.0,
    'true': True,
    '"10"': '10',
    'null': None,
}


@pytest.fixture
def reads(monkeypatch):
    """Paths of the annotation files that are read, in turn."""
    found, read = [], Path.read_bytes

    def read_bytes(path):
        found.append(path.name)
        return read(path)

    monkeypatch.setattr(Path, 'read_bytes', read_bytes)
    return found


@pytest.mark.parametrize('number', NUMBERS)
def test_numbers_are_those_of_python(tmp_path, number):
    text = json.dumps(changed(second(bbox=[20, 5, 10, 'number'])))
    path = write(tmp_path, text.replace('"number"', number))
    coco = read_coco(path)
    assert isinstance(coco['annotations'], LazyEntries) == (number not in ('NaN', 'Infinity'))
    found = coco['annotations'][1]['bbox'][3]
    assert type(found) is type(NUMBERS[number]) and repr(found) == repr(NUMBERS[number])
    lines = check_coco(path, str(tmp_path), masks=True).errors.lines()
    kind = type(NUMBERS[number])
    if kind in (int, float) and math.isfinite(NUMBERS[number]):
        assert not lines
    else:
        detail = f'bbox is not four finite numbers: [20, 5, 10, {NUMBERS[number]!r}]'
        assert lines == [f'{path}: annotations[1] (id 101): {detail}']


def test_a_key_that_comes_twice_has_its_last_value(tmp_path):
    text = json.dumps(valid()).replace('"id": 101', '"id": 7, "id": 101')
    assert read_coco(write(tmp_path, text))['annotations'][1]['id'] == 101
    text = json.dumps(valid()).replace('"annotations":', '"annotations": [], "annotations":')
    assert len(read_coco(write(tmp_path, text))['annotations']) == 4


NESTED = pytest.param('[' * 100_000 + ']' * 100_000, id='nested')
FAULTS = ['"\udcff"', '"\x01"', '"\\x"', '01', '1.', '[1,]', '1' * 5000, NESTED]


@pytest.mark.parametrize('fault', FAULTS)
def test_faults_within_an_entry_are_no_json(tmp_path, fault):
    text = json.dumps(changed(second(note='fault'))).replace('"fault"', fault)
    path = write(tmp_path, valid())
    Path(path).write_bytes(text.encode(errors='surrogateescape'))
    with pytest.raises(ValueError, match=f'{path}: this is no json: '):
        check_coco(path, str(tmp_path), masks=True)


def test_a_run_reads_each_file_once(tmp_path, reads):
    write(tmp_path, valid(), 'val.json')
    path = write(tmp_path, valid())
    check_config(config(tmp_path))
    first = dataset(path, tmp_path)
    assert reads == ['train.json', 'val.json']
    again = dataset(path, tmp_path)  # a second one cannot have the same objects
    assert reads == ['train.json', 'val.json', 'train.json']
    for number in range(3):
        assert first.get_data_info(number) == again.get_data_info(number)


@pytest.mark.parametrize('kind', ['mask', 'faster'])
def test_the_datasets_of_a_config_are_those_that_were_checked(tmp_path, reads, kind):
    name = f'{kind}-rcnn_vitdet-b_lomar_lsj-100e_coco.py'
    cfg = Config.fromfile(ROOT / 'mmconfigs/detect' / name)
    train, val = write(tmp_path, valid()), write(tmp_path, valid(), 'val.json')
    use_files(cfg, train, str(tmp_path), val, str(tmp_path))
    reads.clear()
    stop_on_errors(check_config(cfg, ('train', 'val')).values())
    init_default_scope('mmdet')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert len(DATASETS.build(loader.dataset)) == 3
    assert reads == ['train.json', 'val.json']


@pytest.mark.parametrize(
    'other', [dict(masks=False), dict(metainfo=dict(classes=['bolt', 'nut'])), dict(written=True)]
)
def test_a_check_of_other_data_is_not_taken_over(tmp_path, reads, other):
    write(tmp_path, valid(), 'val.json')
    path = write(tmp_path, valid())
    check_config(config(tmp_path))
    if other.pop('written', False):
        write(tmp_path, changed(second(image_id=99)))
        with pytest.raises(ValueError, match='is on no image of the file'):
            dataset(path, tmp_path)
    else:
        sample = dataset(path, tmp_path, **other).get_data_info(0)['instances']
        assert len(sample) == (2 if 'masks' in other else 1)
    assert reads == ['train.json', 'val.json', 'train.json']


def test_a_check_with_errors_is_not_taken_over(tmp_path):
    write(tmp_path, valid(), 'val.json')
    path = write(tmp_path, valid())
    (tmp_path / '10.png').rename(tmp_path / 'away.png')
    assert check_config(config(tmp_path))['train'].errors.lines()
    (tmp_path / 'away.png').rename(tmp_path / '10.png')
    assert len(dataset(path, tmp_path)) == 3


@pytest.mark.parametrize('serialize', [False, True])
def test_samples_are_those_of_mmdet(tmp_path, serialize):
    """Of a file that is as mmdet expects it."""
    from mmdet.datasets import CocoDataset

    coco = valid()
    coco['categories'].sort(key=lambda one: one['id'])
    coco['annotations'].append(annotation(104, 10, 9, 3, 7))
    path = write(tmp_path, coco)
    own = dataset(path, tmp_path, filter_cfg=dict(filter_empty_gt=True, min_size=8))
    if serialize:
        own.data_bytes, own.data_address = own._serialize_data()
        own.serialize_data = True
    other = CocoDataset(
        ann_file=path,
        data_prefix=dict(img=str(tmp_path)),
        metainfo=dict(classes=CLASSES),
        filter_cfg=dict(filter_empty_gt=True, min_size=8),
        pipeline=[],
    )
    assert len(own) == len(other) == 3
    for number in (0, 1, 2, -1):
        assert own.get_data_info(number) == other.get_data_info(number)
    assert own.get_subset([2]).get_data_info(0) == other.get_subset([2]).get_data_info(0)


def test_evaluations_read_the_file_once(tmp_path, reads):
    metric = CocoAP(write(tmp_path, valid()))
    metric.dataset_meta = dict(classes=CLASSES)
    masks = torch.zeros(1, 30, 40, dtype=torch.bool)
    masks[0, 5:13, 2:10] = True
    found = dict(
        bboxes=torch.tensor([[2.0, 5, 10, 13]]),
        scores=torch.ones(1),
        labels=torch.zeros(1, dtype=torch.long),
        masks=masks,
    )
    metric.process({}, [dict(img_id=10, pred_instances=found)])
    figures = metric.compute_metrics(metric.results)
    assert 0 < figures['segm_mAP'] < 1
    assert metric.compute_metrics(metric.results) == figures
    assert reads == ['train.json']


def test_a_class_that_is_left_out_may_lack_masks(tmp_path):
    coco = changed(second(segmentation=None))
    metric = CocoAP(write(tmp_path, coco), metric='segm')
    metric.dataset_meta = dict(classes=('bolt', 'nut'))
    found = dict(bboxes=torch.zeros(1, 4), scores=torch.ones(1), labels=torch.ones(1).long())
    found['masks'] = torch.ones(1, 30, 40, dtype=torch.bool)
    metric.process({}, [dict(img_id=10, pred_instances=found)])
    assert metric.compute_metrics(metric.results)['segm_mAP'] == 0


TWO_PROCESSES = """
import sys
from pathlib import Path
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.dist import get_rank
from mmengine.registry import DATASETS, init_default_scope
import lomar
from lomar.detection import check_config, stop_on_errors, use_files
from lomar.engine.distributed import start_processes

cfg = Config.fromfile(sys.argv[1])
start_processes(cfg.launcher, cfg.get('env_cfg') or {})
read = Path.read_bytes
if get_rank() == 1:
    Path.read_bytes = lambda path: exit(f'process 1 reads {path}')
init_default_scope('mmdet')
use_files(cfg, train_ann=cfg.train_ann)
stop_on_errors(check_config(cfg).values())
data = DATASETS.build(cfg.train_dataloader.dataset.dataset)
sample = data.get_data_info(0)
print(f'{data.metainfo["classes"]}, {len(data)} images, {sample["instances"][1]["mask"]}')
for bad in (cfg.bad, 'nowhere.json'):
    cfg.train_dataloader.dataset.dataset.ann_file = bad
    try:
        stop_on_errors(check_config(cfg).values())
    except (OSError, ValueError) as error:
        print(f'{type(error).__name__}: {error}')
"""


@pytest.mark.slow
def test_of_two_processes_one_reads_for_both(tmp_path):
    train = write(tmp_path, valid())
    write(tmp_path, valid(), 'val.json')
    bad = write(tmp_path, changed(second(image_id=99)), 'bad.json')
    cfg = config(tmp_path)
    load = [
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs'),
    ]
    cfg.train_dataloader.dataset.dataset.pipeline = load
    cfg.merge_from_dict(
        dict(
            env_cfg=dict(dist_cfg=dict(backend='gloo', timeout=60)),
            launcher='pytorch',
            train_ann=train,
            bad=bad,
        )
    )
    cfg.dump(tmp_path / 'config.py')
    (tmp_path / 'read.py').write_text(TWO_PROCESSES)
    done = run_ranks(tmp_path / 'read.py', tmp_path / 'config.py', count=2)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    mask = valid()['annotations'][1]['segmentation']
    assert done.stdout.count(f'{CLASSES}, 3 images, {mask}') == 2, text
    assert text.count(f'{bad}: annotations[1] (id 101): is on no image of the file') == 2
    assert text.count('FileNotFoundError: Annotations: ') == 2

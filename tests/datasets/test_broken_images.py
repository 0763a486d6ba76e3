"""Broken images: replaced, named and counted in each training; a test stops or leaves them out."""

import json
import os
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import FIXTURES, ROOT
from mmengine.registry import DATASETS, HOOKS, METRICS, TRANSFORMS, init_default_scope
from old_checkpoints import TINY_DETECTOR
from PIL import Image
from processes import run_lomar, run_ranks

from lomar.cli import main
from lomar.compat.dist import main_process
from lomar.datasets.load_image import LoadImage
from lomar.datasets.readable import BATCH
from lomar.datasets.replay import Draw
from lomar.detection import check_coco
from lomar.engine import Runner

COUNT, SIDE = 6, 48
CLASSES = ('striped', 'checked', 'dotted')  # of the stored detector


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


BROKEN = {
    'cut': cut,
    'no byte': lambda path: path.write_bytes(b''),
    'text': lambda path: path.write_text('<html>404</html>'),
    'float': lambda path: Image.new('F', (SIDE, SIDE)).save(path, 'TIFF'),
}


@pytest.fixture
def images(tmp_path):
    """Images in class folders, with annotations of a box each."""
    rng, root = np.random.default_rng(0), tmp_path / 'images'
    names = [f'{"cat" if i % 2 else "dog"}/{i}.png' for i in range(COUNT)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(root / name)
    corners = [10, 10, 30, 10, 30, 30, 10, 30]
    box = dict(category_id=1, bbox=[10, 10, 20, 20], area=400, iscrowd=0, segmentation=[corners])
    coco = dict(
        images=[dict(id=i, file_name=n, width=SIDE, height=SIDE) for i, n in enumerate(names)],
        annotations=[dict(box, id=i + 1, image_id=i) for i in range(COUNT)],
        categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)],
    )
    (tmp_path / 'coco.json').write_text(json.dumps(coco))
    return root


def built(kind, root, **kwargs):
    kwargs['serialize_data'] = False
    if kind == 'CocoFiles':
        init_default_scope('mmdet')
        steps = [
            dict(type='LoadImage', color_type='color'),
            dict(type='LoadInstances', with_bbox=True),
        ]
        files = dict(ann_file=str(root.parent / 'coco.json'), data_prefix=dict(img=str(root)))
        steps.append(dict(type='PackDetInputs'))
        return DATASETS.build(dict(type=kind, pipeline=steps, **files, **kwargs))
    init_default_scope('mmpretrain')
    steps = [dict(type='LoadImage'), dict(type='PackInputs')]
    return DATASETS.build(dict(type=kind, data_root=str(root), pipeline=steps, **kwargs))


KINDS = ('UnlabelledImages', 'LabelledImages', 'CocoFiles')


@pytest.mark.parametrize('how', BROKEN)
@pytest.mark.parametrize('kind', KINDS)
def test_training_replaces_by_the_draw(images, kind, how):
    broken = images / 'cat/3.png'
    BROKEN[how](broken)
    dataset = built(kind, images)
    (index,) = (i for i in range(COUNT) if dataset.get_data_info(i)['img_path'] == str(broken))
    first = dataset[Draw(index, (0, 1, 2))]
    assert list(first['data_samples'].unreadable) == [str(broken)]
    dataset[Draw((index + 1) % COUNT, (5,))]
    again = dataset[Draw(index, (0, 1, 2))]
    assert again['inputs'].equal(first['inputs'])
    assert again['data_samples'].img_path == first['data_samples'].img_path != str(broken)
    chosen = {dataset[Draw(index, (seed,))]['data_samples'].img_path for seed in range(9)}
    assert len(chosen) > 2
    for path in images.rglob('*.png'):
        BROKEN[how](path)
    with pytest.raises(OSError, match=r'10 draws in a row from .* cannot be read'):
        dataset[index]


def test_an_image_of_another_size_than_its_annotations(images, monkeypatch):
    """`check_coco` opens a part of many images only."""
    monkeypatch.setattr('lomar.detection.annotation_checks.OPENED', 1)
    small = images / 'cat/3.png'
    Image.new('RGB', (SIDE, SIDE // 2)).save(small)
    dataset = built('CocoFiles', images)
    (index,) = (i for i in range(COUNT) if dataset.get_data_info(i)['img_path'] == str(small))
    reasons = dataset[Draw(index, (0,))]['data_samples'].unreadable
    assert reasons[str(small)].startswith('width and height are 48 x 48 in the annotations')
    with pytest.raises(OSError, match=r'3\.png: width and height are 48 x 48 .* has 48 x 24'):
        built('CocoFiles', images, test_mode=True)


def mosaic(inner):
    """Return mmdet's wrapper, which packs a main image and three others of an unpacked dataset."""
    inner.pipeline.transforms.pop()
    steps = [dict(type='Mosaic', img_scale=(SIDE, SIDE)), dict(type='PackDetInputs')]
    return DATASETS.build(dict(type='MultiImageMixDataset', dataset=inner, pipeline=steps))


@pytest.mark.parametrize('workers', [0, 2])
def test_a_wrapper_that_packs_names_replaced_images(images, workers):
    broken = images / 'cat/3.png'
    BROKEN['cut'](broken)
    settings = dict(batch_size=2, num_workers=workers, sampler=dict(type='ReplaySampler'))
    dataset = mosaic(built('CocoFiles', images))
    loader = Runner.build_dataloader(dict(settings, dataset=dataset), seed=0)
    found = [sample for batch in loader for sample in batch['data_samples']]
    assert len(found) == COUNT and str(broken) not in {sample.img_path for sample in found}
    named = [list(sample.unreadable) for sample in found if 'unreadable' in sample]
    # As the main image, and as one of the others in some mosaics.
    assert 1 < len(named) < COUNT and all(paths == [str(broken)] for paths in named)


def test_branches_name_replaced_images(images):
    """mmdet's semi-supervised detectors train on batches of several branches."""
    broken = images / 'cat/3.png'
    BROKEN['cut'](broken)
    dataset = built('CocoFiles', images)
    dataset.pipeline.transforms.pop()
    fields, pack = ['sup', 'unsup_teacher', 'unsup_student'], [dict(type='PackDetInputs')]
    branches = dict(type='MultiBranch', branch_field=fields, sup=pack)
    dataset.pipeline.transforms.append(TRANSFORMS.build(branches))
    settings = dict(batch_size=COUNT, num_workers=0, sampler=dict(type='ReplaySampler'))
    settings['collate_fn'] = dict(type='pseudo_collate')
    (batch,) = loader = Runner.build_dataloader(dict(settings, dataset=dataset), seed=0)
    assert set(batch['data_samples']) == {*fields}
    hook = HOOKS.build(dict(type='UnreadableImagesHook', max_share=1))
    logger = SimpleNamespace(warning=print)
    runner = SimpleNamespace(iter=0, logger=logger, train_dataloader=loader)
    hook.before_train_iter(runner, 0, batch)
    assert hook.seen == {str(broken)}


@pytest.mark.parametrize('how', BROKEN)
@pytest.mark.parametrize('kind', KINDS)
def test_a_test_stops_before_it_begins_or_leaves_out(images, kind, how):
    broken = images / 'cat/3.png'
    BROKEN[how](broken)
    with pytest.raises(OSError, match=r'1 of 6 images .* be read:\n  \S+3\.png: [\s\S]*--skip'):
        built(kind, images, test_mode=True)
    dataset = built(kind, images, test_mode=True, skip_unreadable=True)
    assert list(dataset.left_out) == [str(broken)] and len(dataset) == COUNT - 1
    paths = [dataset[i]['data_samples'].img_path for i in range(len(dataset))]
    assert str(broken) not in paths and len(set(paths)) == COUNT - 1
    for path in images.rglob('*.png'):
        BROKEN[how](path)
    with pytest.raises(OSError, match='6 of 6 images'):
        built(kind, images, test_mode=True, skip_unreadable=True)


def test_many_images_are_read_by_several_processes(tmp_path, monkeypatch):
    for i in range(3 * BATCH):
        Image.new('RGB', (8, 8)).save(tmp_path / f'{i:03d}.png')
    broken = [tmp_path / f'{i:03d}.png' for i in (0, BATCH, 3 * BATCH - 1)]
    for path in broken:
        BROKEN['text'](path)
    read = LoadImage.read

    def record(self, path):
        (tmp_path / f'{os.getpid()}.process').touch()
        return read(self, path)

    monkeypatch.setattr(LoadImage, 'read', record)
    monkeypatch.setattr('lomar.datasets.readable.PROCESSES', 2)
    state = torch.get_rng_state()
    init_default_scope('mmpretrain')
    steps = [dict(type='LoadImage', short_side=4), dict(type='PackInputs')]
    folder = dict(type='UnlabelledImages', data_root=str(tmp_path), pipeline=steps)
    dataset = DATASETS.build(dict(folder, test_mode=True, skip_unreadable=True))
    assert sorted(dataset.left_out) == list(map(str, broken)) and len(dataset) == 3 * BATCH - 3
    assert len(list(tmp_path.glob('*.process'))) == 2 and torch.equal(torch.get_rng_state(), state)


def test_a_broken_image_is_a_note_of_the_check(images):
    BROKEN['text'](images / 'cat/3.png')
    report = check_coco(str(images.parent / 'coco.json'), str(images), masks=True)
    assert not report.errors.kinds
    assert any('cat/3.png: UnidentifiedImageError' in line for line in report.notes.lines())


@pytest.mark.parametrize('hooks', [[], None, [dict(type='UnreadableImagesHook', max_share=0.5)]])
def test_every_training_counts(hooks):
    runner = object.__new__(Runner)
    runner.cfg = {}
    runner._hooks, runner._train_dataloader = [], {}
    runner.register_hooks(custom_hooks=hooks)
    found = [hook for hook in runner.hooks if type(hook).__name__ == 'UnreadableImagesHook']
    assert [hook.max_share for hook in found] == [0.5 if hooks else 0.05]
    runner._hooks, runner._train_dataloader = [], None
    runner.register_hooks(custom_hooks=[])
    assert not any(type(hook).__name__ == 'UnreadableImagesHook' for hook in runner.hooks)


@pytest.mark.parametrize('kind', KINDS)
def test_the_hook_names_and_counts(images, kind):
    BROKEN['cut'](images / 'cat/3.png')
    dataset = built(kind, images)
    batch = dict(data_samples=[dataset[i]['data_samples'] for i in range(COUNT)])
    lines = []
    logger = SimpleNamespace(warning=lines.append)
    runner = SimpleNamespace(logger=logger, train_dataloader=SimpleNamespace(dataset=dataset))
    hook = HOOKS.build(dict(type='UnreadableImagesHook', max_share=0.2))
    hook.before_train_iter(runner, 0, batch)
    assert len(lines) == 1 and 'cat/3.png' in lines[0]
    hook = HOOKS.build(dict(type='UnreadableImagesHook', max_share=0.1))
    with pytest.raises(OSError, match=r'1 of 6 images are unreadable, more than the share of 0\.1'):
        hook.before_train_iter(runner, 0, batch)


@pytest.mark.slow
def test_processes_tell_each_other_what_they_cannot_read(images, tmp_path):
    broken = [images / name for name in ('dog/2.png',)]
    for path in broken:
        BROKEN['cut'](path)
    config = ROOT / 'mmconfigs/shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'
    options = ['model.backbone.arch.embed_dim=16', 'model.backbone.arch.depth=2']
    options += ['train_dataloader.batch_size=1', 'train_dataloader.num_workers=0']
    options += ['custom_hooks.3.max_share=1', 'train_cfg.max_epochs=1']
    words = ('train', config, '--launcher', 'pytorch', '--train-images', images)
    words += ('--work-dir', tmp_path / 'run', '--cfg-options', *options)
    done = run_ranks('-m', 'lomar', *words, count=2)
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    named = [line for line in lines if 'Unreadable image replaced' in line]
    assert len(named) == 1 and all(any(str(path) in line for line in named) for path in broken)
    assert any('1 unreadable images were replaced' in line for line in lines)


@pytest.mark.parametrize(('elsewhere', 'stops'), [([], False), (['dog/4.png'], True)])
def test_the_share_is_of_all_processes(images, monkeypatch, elsewhere, stops):
    BROKEN['cut'](images / 'cat/3.png')
    dataset = built('UnlabelledImages', images)
    batch = dict(data_samples=[dataset[i]['data_samples'] for i in range(COUNT)])
    others = dict.fromkeys(elsewhere, 'broken')
    monkeypatch.setattr(main_process, 'gather', lambda found, what: [found, others])
    runner = SimpleNamespace(
        logger=SimpleNamespace(warning=lambda line: None),
        train_dataloader=SimpleNamespace(dataset=dataset),
    )
    hook = HOOKS.build(dict(type='UnreadableImagesHook', max_share=0.2))
    with pytest.raises(OSError, match='2 of 6 images') if stops else nullcontext():
        hook.before_train_iter(runner, 0, batch)


@pytest.mark.parametrize('tested', [range(COUNT), range(COUNT - 1)])
def test_ap_is_of_the_tested_images(images, tested):
    metric = METRICS.build(
        dict(type='CocoAP', ann_file=str(images.parent / 'coco.json'), metric='bbox')
    )
    metric.dataset_meta = dict(classes=CLASSES)
    found = dict(labels=[0], scores=[1.0], bboxes=[[10.0, 10.0, 20.0, 20.0]])
    metric.compute_metrics([dict(image_id=i, **found) for i in tested])
    assert metric.summary['bbox']['AP'] == pytest.approx(100)


def test_the_commands(images, tmp_path, capsys):
    config = ROOT / 'mmconfigs/shapes/mask-rcnn_vitdet-tiny-lomar_shapes.py'
    data = ('--val-ann', tmp_path / 'coco.json', '--val-images', images, '--work-dir', tmp_path)
    line = ('test', config, FIXTURES / 'v0.1/detector_lomar.pth', *data)
    BROKEN['cut'](images / 'cat/3.png')
    options = ('--cfg-options', *TINY_DETECTOR)
    done = run_lomar(*line, *options)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'lomar test: 1 of 6 images of' in done.stderr and 'cat/3.png' in done.stderr
    done = run_lomar(*line, '--skip-unreadable', *options)
    assert done.returncode == 0, done.stderr
    assert 'These metrics cover 5 images; 1 cannot be read.' in done.stdout
    record = json.loads((tmp_path / 'metrics.json').read_text())
    assert record['images'] == COUNT - 1 and list(record['left_out']) == [str(images / 'cat/3.png')]
    train = ['train', 'lomar_pretrain', '--train-images', str(images), '--skip-unreadable']
    assert main(train) == 1
    assert '--skip-unreadable belongs to commands that evaluate' in capsys.readouterr().err

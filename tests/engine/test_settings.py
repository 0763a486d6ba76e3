"""Settings that cannot work are refused before data are read, by a message that names the key."""

import os
from copy import deepcopy

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmpretrain.models import ImageClassifier

from lomar.cli import main, parse_args
from lomar.engine.config import merge_options, train_config
from lomar.engine.config import test_config as config_of_test
from lomar.engine.distributed import LOCAL_RANKS, check_gpu_of_process, set_local_rank
from lomar.engine.kind_checks import check_kinds
from lomar.engine.setting_checks import check_sampler, check_settings, check_val_begin
from lomar.engine.task_data import classifies

PRETRAIN = 'pretrain/lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'
CLASSIFY = 'classify/vit-b_lomar_8xb128-amp-coslr-100e_in1k.py'
MASKS = 'detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'
BOXES = 'detect/faster-rcnn_vitdet-b_lomar_lsj-100e_coco.py'
BEST = 'default_hooks.checkpoint.save_best'
STOPPER = dict(type='EarlyStoppingHook', monitor='coco/segm_mAP')
PLATEAU = dict(type='ReduceOnPlateauLR')
CHECKPOINT = 'default_hooks.checkpoint.'
KINDS = {
    CHECKPOINT + 'interval': ('1/20', "interval is '1/20'; allowed: a whole number"),
    CHECKPOINT + 'interval ': (None, 'checkpoint.interval is None; allowed: a whole number'),
    CHECKPOINT + 'interval  ': (1.5, 'checkpoint.interval is 1.5; allowed: a whole number'),
    CHECKPOINT + 'max_keep_ckpts': ('two', "max_keep_ckpts is 'two'; allowed: a whole number"),
    CHECKPOINT + 'save_begin': (True, 'save_begin is True; allowed: a whole number'),
    'default_hooks.logger.interval': ('5', "logger.interval is '5'; allowed: a whole number"),
    'value_range': (4095, 'value_range is 4095; allowed: a list or None'),
    'resume': ('a.pth', "resume is 'a.pth'; allowed: True or False; --resume FILE names"),
    'resume ': (1, 'resume is 1; allowed: True or False'),
    'custom_hooks': (5, 'custom_hooks is 5; allowed: a list or None'),
    'param_scheduler': ('x', "param_scheduler is 'x'; allowed: a dict or a list or None"),
    'optim_wrapper.optimizer': (None, 'optim_wrapper.optimizer is None; allowed: a dict'),
    'model': (5, 'model is 5; allowed: a dict$'),
    'model ': (None, 'model is None; allowed: a dict$'),
    'model  ': ([], r'model is \[\]; allowed: a dict$'),
    'work_dir': (2024, 'work_dir is 2024; allowed: a name or None'),
    'compile': (1, 'compile is 1; allowed: True or False or a dict or None'),
    'efficient_conv_bn_eval': (5, 'efficient_conv_bn_eval is 5; allowed: a name or a list or None'),
    'efficient_conv_bn_eval ': ([True], 'efficient_conv_bn_eval.0 is True; allowed: a name'),
    'train_dataloader.dataset.metainfo': (['dog'], r"metainfo is \['dog'\]; allowed: a dict"),
}
WRONG = [
    (PRETRAIN, {'train_dataloader.batch_size': 0}, 'train_dataloader.batch_size is 0; allowed: 1'),
    (PRETRAIN, {'train_dataloader.batch_size': 'a'}, "batch_size is 'a'; allowed: a whole number"),
    (PRETRAIN, {'train_dataloader.batch_size': 1.5}, 'batch_size is 1.5; allowed: a whole number'),
    (PRETRAIN, {'train_dataloader.batch_size': True}, 'batch_size is True; allowed: a whole'),
    (PRETRAIN, {'train_dataloader.num_workers': -1}, 'num_workers is -1; allowed: 0 or more'),
    (PRETRAIN, {'train_dataloader.batch_size': None}, 'batch_size is None; allowed: a whole'),
    (CLASSIFY, {'val_dataloader.batch_size': 0}, 'val_dataloader.batch_size is 0'),
    (CLASSIFY, {'test_dataloader.num_workers': -2}, 'test_dataloader.num_workers is -2'),
    (PRETRAIN, {'optim_wrapper.accumulative_counts': 0}, 'optim_wrapper.accumulative_counts is 0'),
    (PRETRAIN, {'optim_wrapper.optimizer.lr': -1}, 'optimizer.lr is -1; allowed: a number, 0'),
    (PRETRAIN, {'optim_wrapper.optimizer.lr': '1e'}, "optimizer.lr is '1e'; allowed: a number"),
    (PRETRAIN, {'optim_wrapper.optimizer.weight_decay': -1}, 'weight_decay is -1; allowed'),
    (PRETRAIN, {'optim_wrapper.optimizer.lr': float('inf')}, 'optimizer.lr is inf; allowed'),
    (PRETRAIN, {'optim_wrapper.optimizer.weight_decay': float('nan')}, 'weight_decay is nan; all'),
    (PRETRAIN, {'optim_wrapper.clip_grad': dict(max_norm=-1)}, 'clip_grad.max_norm is -1; allow'),
    (PRETRAIN, {'optim_wrapper.clip_grad': dict(max_norm='x')}, "clip_grad.max_norm is 'x'; allow"),
    (PRETRAIN, {'optim_wrapper.clip_grad': dict(type='value', clip_value=0)}, 'clip_value is 0'),
    (MASKS, {'optim_wrapper.paramwise_cfg.layer_decay': 0}, 'paramwise_cfg.layer_decay is 0; all'),
    (PRETRAIN, {'randomness.seed': -1}, 'randomness.seed is -1; allowed: 0 or more'),
    (PRETRAIN, {'randomness.seed': 2**32}, 'seed is 4294967296; allowed: 0 to 4294967295$'),
    (PRETRAIN, {'randomness.seed': 'x'}, "randomness.seed is 'x'; allowed: a whole number, 0"),
    (PRETRAIN, {'log_level': 'info'}, "log_level is 'info'; allowed: DEBUG, INFO"),
    (PRETRAIN, {'train_cfg.max_epochs': 0}, 'train_cfg.max_epochs is 0; allowed: 1 or more'),
    (PRETRAIN, {'train_cfg.max_epochs': 2.5}, 'max_epochs is 2.5; allowed: a whole number'),
    (PRETRAIN, {'train_cfg.max_epochs': None}, 'train_cfg.max_epochs is not set, and Epoch'),
    (PRETRAIN, {'train_cfg.type': 'Loop'}, "train_cfg.type is 'Loop'; allowed: EpochBased"),
    (PRETRAIN, {'train_cfg.type': 'IterBasedTrainLoop', 'train_cfg.max_iters': 9},
     'train_cfg.max_epochs is 400, and IterBasedTrainLoop has no such setting'),
    (PRETRAIN, {'train_cfg.type': 'IterBasedTrainLoop', 'train_cfg.max_iters': 9,
                'train_cfg.max_epochs': None}, 'checkpoint.by_epoch is True, and train_cfg counts'),
    (PRETRAIN, {'train_cfg.type': 'ReplayIterLoop', 'train_cfg.max_iters': 9,
                'train_cfg.max_epochs': None, 'default_hooks.checkpoint.by_epoch': False},
     'sampler.type is ReplaySampler, and train_cfg.type is ReplayIterLoop'),
    (MASKS, {'train_cfg.type': 'EpochBasedTrainLoop', 'train_cfg.max_epochs': 9},
     'train_cfg.max_iters is 184375, and EpochBasedTrainLoop has no such setting'),
    (MASKS, {'train_cfg.type': 'EpochBasedTrainLoop', 'train_cfg.max_epochs': 9,
             'train_cfg.max_iters': None}, 'sampler.type is InfiniteReplaySampler, an endless'),
    (MASKS, {'train_cfg.max_iters': -5}, 'train_cfg.max_iters is -5; allowed: 1 or more'),
    (MASKS, {'train_cfg.val_interval': 0}, 'train_cfg.val_interval is 0; allowed: 1 or more'),
    (MASKS, {'train_cfg.val_begin': 200000}, 'train_cfg.val_begin is 200000, and train_cfg.max'),
    (MASKS, {'auto_scale_lr.base_batch_size': 0}, 'auto_scale_lr.base_batch_size is 0'),
    (MASKS, {'val_evaluator.metric': 'segm'}, "save_best is 'coco/bbox_mAP', which val_evaluator "
     'does not compute; allowed: coco/segm_mAP, coco/segm_mAP50'),
    (MASKS, {BEST: ['coco/bbox_mAP', 'coco/mask_mAP']}, "save_best is 'coco/mask_mAP', which"),
    (MASKS, {BEST: 'bbox_mAP'}, "save_best is 'bbox_mAP', which val_evaluator does not compute"),
    (MASKS, {'val_evaluator.prefix': 'own'}, 'allowed: own/bbox_mAP'),
    (MASKS, {'val_evaluator.metric': 'bbox', 'custom_hooks': [STOPPER]},
     "custom_hooks.0.monitor is 'coco/segm_mAP', which val_evaluator does not compute"),
    (BOXES, {'val_evaluator.metric': ['bbox', 'segm']}, 'and the model has no mask head'),
    (BOXES, {'test_evaluator.metric': 'segm'}, 'test_evaluator.metric is segm, and the model has'),
    (MASKS, {'model.type': 'RetinaNet', 'model.roi_head': None},
     r"val_evaluator.metric is \['bbox', 'segm'\], and the model has no mask head \(RetinaNet\)"),
    (CLASSIFY, {BEST: 'accuracy/top2'}, "'accuracy/top2', .* allowed: accuracy/top1, acc"),
    (CLASSIFY, {BEST: 'accuracy/top5', 'model.head.num_classes': 3}, 'allowed: accuracy/top1$'),
    (MASKS, {'param_scheduler': [PLATEAU]}, "param_scheduler.0.monitor is 'loss', which val_eval"),
    (PRETRAIN, {'param_scheduler': [PLATEAU]}, 'and nothing is evaluated during the training'),
    (PRETRAIN, {BEST: 'auto'}, "save_best is 'auto', and nothing is evaluated during the training"),
]  # fmt: skip
RIGHT = [
    (PRETRAIN, {'optim_wrapper.clip_grad': dict(max_norm=float('inf')), 'randomness.seed': None}),
    (PRETRAIN, {'randomness.seed': 2**32 - 1}),
    (MASKS, {BEST: ['coco/bbox_mAP', 'coco/segm_mAPs']}),
    (MASKS, {BEST: 'auto', 'val_evaluator.metric': 'segm'}),
    (MASKS, {BEST: None, 'val_evaluator.metric': 'segm'}),
    (MASKS, {'val_evaluator.type': 'UsersMetric', BEST: 'users/value'}),  # names are not known
    (MASKS, {'train_cfg.val_interval': 10**9}),  # evaluates at the end
    (MASKS, {'custom_hooks': [STOPPER]}),
    (MASKS, {'model.type': 'RetinaNet', 'model.roi_head': None, 'val_evaluator.metric': 'bbox',
             'test_evaluator.metric': 'bbox'}),
    (MASKS, {'model.type': 'SOLO', 'model.roi_head': None, 'model.mask_head.type': 'SOLOHead'}),
    (MASKS, {'model.type': 'RTMDet', 'model.roi_head': None,
             'model.bbox_head.type': 'RTMDetInsHead'}),
    (MASKS, {'model.type': 'UsersDetector', 'model.roi_head': None}),
    (MASKS, {'param_scheduler': [dict(PLATEAU, monitor='coco/bbox_mAP')]}),
    (PRETRAIN, {'custom_hooks': [dict(type='UsersHook', monitor='GPU temperature')]}),
    (MASKS, {'custom_hooks': [dict(type='UsersHook', monitor=True)]}),
    (PRETRAIN, {'train_cfg.max_iters': None}),
    (PRETRAIN, {'compile': True, 'efficient_conv_bn_eval': None}),
    (MASKS, {'compile': dict(mode='default'), 'efficient_conv_bn_eval': ['backbone']}),
    (PRETRAIN, {'optim_wrapper.optimizer.lr': 0}),
    (PRETRAIN, {'train_dataloader.num_workers': 0, 'optim_wrapper.optimizer.weight_decay': 0}),
]  # fmt: skip
CONFIGS = {name: Config.fromfile(ROOT / 'mmconfigs' / name)
           for name in (PRETRAIN, CLASSIFY, MASKS, BOXES)}  # fmt: skip


def changed(name, options):
    cfg = deepcopy(CONFIGS[name])
    cfg.merge_from_dict(options)
    return cfg


@pytest.mark.parametrize(('name', 'options', 'line'), WRONG)
def test_what_cannot_work_is_refused(name, options, line):
    with pytest.raises(ValueError, match=line) as caught:
        cfg = changed(name, options)
        check_settings(cfg)
        check_sampler(cfg.train_dataloader, cfg.train_cfg)
        check_val_begin(cfg)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('key', KINDS)
def test_entries_of_another_kind_are_refused(key):
    value, line = KINDS[key]
    with pytest.raises(ValueError, match=line):
        check_kinds(changed(PRETRAIN, {key.strip(): value}))


@pytest.mark.parametrize(('name', 'options'), RIGHT)
def test_what_works_is_accepted(name, options):
    cfg = changed(name, options)
    check_settings(cfg)
    check_sampler(cfg.train_dataloader, cfg.train_cfg)


def test_a_test_run_has_no_validation_to_check():
    words = ['test', str(ROOT / 'mmconfigs' / BOXES), 'no.pth']
    words += ['--cfg-options', 'val_evaluator.metric=segm', 'val_dataloader.batch_size=0']
    with pytest.raises(FileNotFoundError, match=r'load_from: no\.pth does not exist'):
        config_of_test(parse_args(words))


def test_flags_of_a_test_reach_wrapped_datasets(tmp_path):
    cfg, path = Config.fromfile(ROOT / 'mmconfigs' / MASKS), tmp_path / 'own.py'
    part = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[part, deepcopy(part)])
    cfg.dump(path)
    words = ['test', str(path), 'no.pth', '--skip-unreadable', '--tta', '--print-config']
    dataset = config_of_test(parse_args(words)).test_dataloader.dataset
    assert dataset.keys() == {'type', 'datasets'}
    for part in dataset.datasets:
        assert part.skip_unreadable and part.pipeline[-1].type == 'TestTimeAug'


@pytest.mark.parametrize(
    ('split', 'flags', 'kind', 'message'),
    [
        (
            'train',
            ['--train-ann', 'a.json'],
            'Concat',
            'names the files of one dataset, and train',
        ),
        (
            'val',
            ['--val-images', 'images'],
            'Concat',
            'names the files of one dataset, and val_d',
        ),
        (
            'val',
            ['--val-ann', 'a.json'],
            'CocoDataset',
            'needs a dataset of type CocoFiles in val',
        ),
    ],
)
def test_flags_of_files_belong_to_one_dataset(split, flags, kind, message, tmp_path):
    """Files of one dataset, or annotations of other images, would give wrong AP."""
    cfg, path = Config.fromfile(ROOT / 'mmconfigs' / MASKS), tmp_path / 'own.py'
    part = cfg[f'{split}_dataloader'].dataset
    both = dict(type='ConcatDataset', datasets=[part, deepcopy(part)])
    cfg[f'{split}_dataloader'].dataset = both if kind == 'Concat' else dict(part, type=kind)
    cfg.dump(path)
    with pytest.raises(ValueError, match=f'{flags[0]} {message}'):
        train_config(parse_args(['train', str(path), *flags, '--print-config']))


def test_flags_of_a_test_with_several_metrics_and_without_a_visualization(tmp_path):
    evaluators = "[dict(type='CocoAP', ann_file='a.json'), dict(type='UsersMetric')]"
    path = tmp_path / 'own.py'
    path.write_text(
        f'_base_ = {str(ROOT / "mmconfigs" / MASKS)!r}\ntest_evaluator = {evaluators}\n'
        'default_hooks = dict(visualization=None)\n'
    )
    flags = ['--out', 'out', '--show-dir', 'drawn', '--tta', '--print-config']
    cfg = config_of_test(parse_args(['test', str(path), 'no.pth', *flags]))
    first, second = cfg.test_evaluator
    assert (first.out, first.metric) == ('out', 'bbox') and second == {'type': 'UsersMetric'}
    assert cfg.default_hooks.visualization.type == 'DetectionPicturesHook'
    hosts = path.read_text().replace('CocoAP', 'CocoMetric')
    path.write_text(hosts)
    cfg = config_of_test(parse_args(['test', str(path), 'no.pth', '--tta', '--print-config']))
    assert cfg.test_evaluator[0].metric == 'bbox', 'a metric of mmdet'
    path.write_text(path.read_text().replace("dict(type='CocoMetric', ann_file='a.json'), ", ''))
    with pytest.raises(ValueError, match='--out: no metric of test_evaluator takes out; it has Us'):
        config_of_test(parse_args(['test', str(path), 'no.pth', *flags]))


@pytest.mark.parametrize('path', sorted((ROOT / 'mmconfigs').rglob('*.py')))
def test_packaged_configs_pass(path):
    if '_base_' not in path.parts:
        cfg = Config.fromfile(path)
        check_settings(cfg)
        check_sampler(cfg.train_dataloader, cfg.train_cfg)


def test_an_option_can_remove_the_number_of_another_loop():
    cfg = deepcopy(CONFIGS[MASKS])
    options = {'train_cfg.type': 'EpochBasedTrainLoop', 'train_cfg.max_epochs': 12}
    merge_options(cfg, {**options, 'train_cfg.max_iters': None})
    check_settings(cfg)
    assert 'max_iters' not in cfg.train_cfg


FOUND_BY_HOSTS = {
    'optim_wrapper.optimizer.betas=(0.9,1.9)': 'optim_wrapper: Invalid beta parameter at index 1',
    'train_dataloader.drop_last=x': 'dataloader: drop_last should be a boolean value',
    'train_dataloader.prefetch_factor=3': 'dataloader: prefetch_factor option could only be',
    'default_hooks.logger.interval=0': 'default_hooks and custom_hooks: interval must be greater',
    'train_dataloader.num_workers=x': "train_dataloader.num_workers is 'x'; allowed",
    'optim_wrapper.optimizer.lr=None': 'optim_wrapper.optimizer.lr is not set, and LayerGroups',
    'optim_wrapper.optimizer=None': 'optim_wrapper.optimizer is None; allowed: a dict',
    "custom_hooks=[{'type':'EMAHook','momentum':5}]": (
        'default_hooks and custom_hooks (EMAHook): momentum must be in range (0.0, 1.0)'
    ),
    "custom_hooks=[{'type':'EMAHook','no_such':5}]": 'default_hooks and custom_hooks (EMAHook): ',
    'model=[]': 'model is []; allowed: a dict',
    'load_from=False': 'load_from is False; allowed: a file, a URL, or None',
}


@pytest.mark.parametrize('option', FOUND_BY_HOSTS)
def test_errors_of_host_libraries_are_one_line(option, photographs, tmp_path, capfd):
    options = ['train_dataloader.num_workers=0', 'train_dataloader.batch_size=2', option]
    line = ['--train-images', str(photographs), '--work-dir', str(tmp_path), '--cfg-options']
    config = 'shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes'
    assert main(['train', config, *line, *options]) == 1
    assert f'lomar train: {FOUND_BY_HOSTS[option]}' in capfd.readouterr().err


@pytest.mark.parametrize(
    ('visible', 'words'),
    [(None, '1 are there; allowed'), ('0', '1 are there, by CUDA_VISIBLE_DEVICES=0; allowed')],
)
def test_more_processes_than_gpus(visible, words, photographs, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setenv('LOCAL_RANK', '1')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    line = ['--train-images', str(photographs), '--work-dir', str(tmp_path / 'run')]
    config = 'shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes'
    assert main(['train', config, *line, '--launcher', 'pytorch']) == 1
    assert f'lomar train: process 2 of this machine has no GPU: {words}' in capfd.readouterr().err
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('launcher', 'found', 'gpus', 'expected'),
    [
        ('slurm', {'SLURM_LOCALID': '3'}, 8, '3'),
        ('slurm', {'SLURM_LOCALID': '3'}, 1, '0'),  # each process sees its own GPU only
        ('mpi', {'OMPI_COMM_WORLD_LOCAL_RANK': '2', 'LOCAL_RANK': '0'}, 4, '2'),
        ('mpi', {'OMPI_COMM_WORLD_LOCAL_RANK': '2'}, 1, '0'),
        ('pytorch', {'LOCAL_RANK': '1', 'SLURM_LOCALID': '0'}, 2, '1'),
        ('none', {'SLURM_LOCALID': '3'}, 8, '0'),
    ],
)
def test_each_process_has_the_gpu_that_its_launcher_gives(
    launcher, found, gpus, expected, monkeypatch
):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    monkeypatch.setattr(os, 'environ', dict(found))
    set_local_rank(launcher, 0)
    check_gpu_of_process()
    assert os.environ['LOCAL_RANK'] == expected
    for variable in found.keys() - {'LOCAL_RANK'} if launcher in LOCAL_RANKS else ():
        assert os.environ[variable] == expected  # by which mmengine chooses the GPU


@pytest.mark.parametrize('kind', ['ImageClassifier', 'mmpretrain.ImageClassifier', ImageClassifier])
def test_a_class_and_its_scope_are_the_same_type(kind):
    assert classifies(Config(dict(model=dict(type=kind))))
    assert not classifies(Config(dict(model=dict(type='LoMaR'))))

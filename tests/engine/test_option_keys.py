"""Keys of --cfg-options: those that something reads pass, typing errors stop."""

import sys

import pytest
from mmengine.config import Config

from lomar.cli import main
from lomar.engine import merge_options, read_config
from lomar.engine.option_keys import check_option_keys

DETECT = 'detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco'
CLASSIFY = 'classify/vit-b_mae_8xb128-amp-coslr-100e_in1k'
MAE = 'pretrain/mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k'
# Options separated by a space are given together.
VALID = {
    'lomar_pretrain': [
        'optim_wrapper.clip_grad.max_norm=1',
        'optim_wrapper.clip_grad.type=value optim_wrapper.clip_grad.clip_value=1',
        'optim_wrapper.accumulative_counts=2',
        'optim_wrapper.use_fsdp=True',
        'optim_wrapper.type=AmpOptimWrapper optim_wrapper.dtype=float16',
        'optim_wrapper.optimizer.fused=True',
        'optim_wrapper.optimizer.type=SGD optim_wrapper.optimizer.nesterov=True',
        'optim_wrapper.paramwise_cfg.layer_decay=0.7',
        'model.backbone.drop_path_rate=0.1',
        'model.backbone.with_cp=True',
        'model.backbone.rpe.ratio=1.8',
        'model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=a.pth',
        'model.windows.masking=block',
        'model.init_cfg.type=Xavier model.init_cfg.gain=1',
        'train_dataloader.prefetch_factor=4',
        'train_dataloader.num_batch_per_epoch=9',
        'train_dataloader.sampler.round_up=True',
        'train_dataloader.dataset.pipeline.0.scale=96',
        'train_cfg.val_begin=3',
        'default_hooks.checkpoint.save_optimizer=False',
        'default_hooks.early.type=EarlyStoppingHook default_hooks.early.monitor=loss',
        'custom_hooks.1.priority=HIGH',
        'env_cfg.resource_limit=4096',
        'env_cfg.mp_cfg.mp_start_method=spawn',
        'randomness.deterministic=True',
        'auto_scale_lr.enable=True',
        'log_processor.mean_pattern=loss',
        'param_scheduler.0.convert_to_iter_based=True',
        'transfer.weights=ema',
        'experiment_name=a',
    ],
    DETECT: [
        'model.backbone.frozen_stages=2',
        'model.roi_head.bbox_head.reg_class_agnostic=True',
        'model.roi_head.mask_head.predictor_cfg.type=Conv2d',
        'model.data_preprocessor.bgr_to_rgb=True',
        'model.test_cfg.rcnn.nms.iou_threshold=0.4',
        'test_dataloader.dataset.indices=9',
        'test_evaluator.out=a',
    ],
    CLASSIFY: ['model.pretrained=a', 'model.head.cal_acc=True', 'model.backbone.flex=True'],
    MAE: ['model.backbone.drop_path_rate=0.1', 'model.neck.decoder_depth=4'],
}
WRONG = {
    'lomar_pretrain': {
        'modle.windows.size': 'model',
        'model.windws.size': 'model.windows',
        'model.windows.sise': 'model.windows.size',
        'model.backbone.drop_pathrate': 'model.backbone.drop_path_rate',
        'model.backbone.rpe.metod': 'model.backbone.rpe.method',
        'model.head.norm_px': 'model.head.norm_pix',
        'optim_wrapper.clip_grd.max_norm': 'optim_wrapper.clip_grad',
        'optim_wrapper.clip_grad.max_nrom': 'optim_wrapper.clip_grad.max_norm',
        'optim_wrapper.optimizer.wight_decay': 'optim_wrapper.optimizer.weight_decay',
        'train_dataloader.batchsize': 'train_dataloader.batch_size',
        'train_dataloader.dataset.pipeline.0.scal': 'train_dataloader.dataset.pipeline.0.scale',
        'train_cfg.max_epoch': 'train_cfg.max_epochs',
        'default_hooks.checkpoit.interval': 'default_hooks.checkpoint',
        'custom_hooks.3.max_shar': 'custom_hooks.3.max_share',
        'env_cfg.mp_cfg.start_method': 'env_cfg.mp_cfg.mp_start_method',
        'randomness.sed': 'randomness.seed',
        'auto_scale_lr.base_batch': 'auto_scale_lr.base_batch_size',
        'param_scheduler.0.begn': 'param_scheduler.0.begin',
    },
    DETECT: {
        'model.backbone.frozen_stage': 'model.backbone.frozen_stages',
        'model.nek.scales': 'model.neck',
        'model.roi_head.bbox_head.num_class': 'model.roi_head.bbox_head.num_classes',
        'val_evaluator.annfile': 'val_evaluator.ann_file',
    },
    CLASSIFY: {'model.head.loss.label_smooth': 'model.head.loss.label_smooth_val'},
    MAE: {'model.backbone.mask_rato': 'model.backbone.mask_ratio'},
}


@pytest.fixture(scope='module', params=VALID)
def config(request):
    return request.param, read_config(request.param)


def test_keys_that_are_read_pass_without_a_note(config):
    name, cfg = config
    for line in VALID[name]:
        options = dict(option.split('=') for option in line.split())
        assert check_option_keys(cfg, options) == [], line


def test_typing_errors_stop_with_the_nearest_key(config):
    name, cfg = config
    for key, near in WRONG[name].items():
        with pytest.raises(ValueError, match=rf'^--cfg-options {key}: nothing reads .*: {near}$'):
            check_option_keys(cfg, {key: 1})


def test_options_that_mmengine_cannot_merge():
    cfg = read_config('lomar_pretrain')
    for options, message in (
        ({'custom_hooks.0': None}, r'replaces an entry of a list; .* list, custom_hooks=\[...\]'),
        ({'optim_wrapper': None, 'optim_wrapper.type': 'A'}, 'optim_wrapper=None is given as well'),
    ):
        with pytest.raises(ValueError, match=f'--cfg-options {[*options][-1]}.*{message}'):
            check_option_keys(cfg, options)


def test_modules_of_an_option_are_imported():
    name = 'this'  # the Zen of Python, which nothing else imports
    sys.modules.pop(name, None)
    read_config('lomar_pretrain', {'custom_imports.imports': ['lomar.register', name]})
    assert name in sys.modules
    with pytest.raises(ValueError, match=r'--cfg-options custom_imports: .* absent_module'):
        read_config('lomar_pretrain', {'custom_imports.imports': ['absent_module']})


def test_indices_and_values_have_no_keys():
    cfg = read_config('lomar_pretrain')
    for key, message in {
        'custom_hooks.9.max_share': "custom_hooks is a list, '9' found; allowed: 0 to 4",
        'custom_hooks.last.max_share': "custom_hooks is a list, 'last' found; allowed: 0 to 4",
        'model.backbone.arch.depth': "model.backbone.arch is 'base', which has no keys",
    }.items():
        with pytest.raises(ValueError, match=f'--cfg-options {key}: {message}'):
            check_option_keys(cfg, {key: 1})


def test_what_cannot_be_told_passes_with_a_note():
    (note,) = check_option_keys(read_config(DETECT), {'model.test_cfg.rcnn.score_th': 0.1})
    assert "whether 'score_th' in model.test_cfg.rcnn is read" in note
    assert note.endswith('nearest: model.test_cfg.rcnn.score_thr')
    cfg = Config(dict(model=dict(type='NotRegistered')))
    (note,) = check_option_keys(cfg, {'model.depth': 1})
    assert "whether 'depth' in model is read" in note


def test_options_replace_none():
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', clip_grad=None)))
    merge_options(cfg, {'optim_wrapper.clip_grad.max_norm': 1.0})
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=1.0)


def test_the_command_stops_in_one_line(capsys):
    assert main(['train', 'lomar_pretrain', '--cfg-options', 'model.windws.size=5']) == 1
    printed = capsys.readouterr()
    assert printed.err == (
        "lomar train: --cfg-options model.windws.size: nothing reads 'windws' in model; nearest: "
        'model.windows\n'
    )

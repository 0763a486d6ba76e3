"""Models that cannot run are refused when they are built, by a message that names the key."""

import re

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope

from lomar.engine import Runner
from lomar.engine.config import merge_options

CONFIGS = dict(
    lomar='lomar_vit-tiny-p4_1xb32-coslr-8e_shapes',
    hog='lomar-maskfeat_vit-tiny-p8_1xb32-coslr-8e_shapes',
    mae='mae_vit-tiny-p4_1xb32-coslr-8e_shapes',
    classify='vit-tiny_scratch_1xb32-coslr-16e_shapes',
    detect='mask-rcnn_vitdet-tiny-scratch_shapes',
    fcos='fcos_vitdet-tiny-scratch_shapes',
    dino='dino-3scale_vitdet-tiny-scratch_shapes',
    mask2former='mask2former_vitdet-tiny-scratch_shapes',
)
DETECTORS = 'detect', 'fcos', 'dino', 'mask2former'
ARCH = dict(embed_dim=24, depth=2, num_heads=2)
BN, POOL = dict(type='ClsBatchNormNeck'), dict(type='GlobalAveragePooling')
B, H = 'model.backbone.', 'model.roi_head.'
WRONG = [
    ('lomar', {'model.windows.number': 'a'}, "windows.number is 'a'; allowed: a whole number, 1"),
    ('lomar', {'model.windows.number': 0}, 'windows.number is 0; allowed: 1 or more'),
    ('lomar', {'model.windows.number': 1.5}, 'windows.number is 1.5; allowed: a whole number'),
    ('lomar', {'model.windows.number': True}, 'windows.number is True; allowed: a whole number'),
    ('lomar', {'model.windows.size': [3, 'a']}, "windows.size is 'a'; allowed: a whole number, 2"),
    ('lomar', {'model.windows.size': 17}, 'windows.size is 17 patches, but .* 16 x 16'),
    ('lomar', {'model.windows.mask_ratio': 1}, 'windows.mask_ratio is 1: it masks 49 of the 49'),
    ('lomar', {'model.windows.mask_ratio': 'a'}, "windows.mask_ratio is 'a'; allowed: a number"),
    ('lomar', {B + 'patch_size': 4.0}, 'patch_size is 4.0; allowed: a whole number'),
    ('lomar', {B + 'patch_size': 5}, 'img_size is 64 x 64; allowed: multiples of .*patch_size=5'),
    ('lomar', {B + 'img_size': 62}, 'img_size is 62 x 62; allowed: multiples of'),
    ('lomar', {B + 'in_channels': 4}, 'in_channels is 4, and .*mean has 3 numbers; allowed'),
    ('lomar', {B + 'drop_path_rate': 1.5}, 'drop_path_rate is 1.5; allowed: a number of 0 or'),
    ('lomar', {B + 'drop_path_rate': 'a'}, "drop_path_rate is 'a'; allowed: a number of 0"),
    ('lomar', {B + 'arch': dict(ARCH, num_heads=0)}, 'arch.num_heads is 0; allowed: 1 or more'),
    ('lomar', {B + 'arch': dict(ARCH, num_heads=5)}, 'arch.embed_dim is 24; allowed: multiples of'),
    ('lomar', {B + 'arch': dict(ARCH, depth=2.5)}, 'arch.depth is 2.5; allowed: a whole number'),
    ('lomar', {B + 'arch': dict(ARCH, mlp_ratio=0)}, 'arch.mlp_ratio is 0; allowed: a number of'),
    ('lomar', {B + 'arch': 5}, "backbone.arch is '5'; allowed: tiny"),
    ('lomar', {B + 'rpe': dict(foo=1)}, r"backbone.rpe is \{'foo': 1\}; allowed: a dict of method"),
    ('lomar', {B + 'rpe': 'product'}, "backbone.rpe is 'product'; allowed: a dict of method"),
    ('lomar', {B + 'rpe': dict(ratio='a')}, "rpe.ratio is 'a'; allowed: a number of 1 or more"),
    ('lomar', {B + 'with_cls_token': 'x'}, "with_cls_token is 'x'; allowed: True or False"),
    ('lomar', {B + 'compiled': dict(foo=1)}, 'backbone.compiled is .*foo.*; allowed: True, False'),
    ('lomar', {B + 'type': 'RPEViT'}, 'backbone.type is RPEViT, which cannot encode windows'),
    ('lomar', {'model.head.type': 'WindowHead'}, "model: .*unexpected keyword argument 'norm_pix'"),
    ('lomar', {'model.data_preprocessor.std': [0, 1, 1]}, r'data_preprocessor.mean is .* above 0'),
    ('hog', {'model.head.target.cell': 3}, 'head.target.cell is 3; allowed: divisors of'),
    ('hog', {'model.head.target.orientations': 2.5}, 'orientations is 2.5; allowed: a whole'),
    ('hog', {'model.head.target.type': 'TeacherTarget'}, "model: .*missing .* argument: 'teacher'"),
    ('mae', {B + 'mask_ratio': 0}, 'model.backbone.mask_ratio is 0, .*allowed: more than 0'),
    ('mae', {B + 'drop_path_rate': 1.0}, 'a drop path rate of 1; allowed for .*drop_path_rate'),
    ('mae', {B + 'img_size': 128}, 'model.neck.num_patches is 256, .*allowed: 1024'),
    ('mae', {B + 'img_size': 62}, r'model.backbone.img_size is \(62, 62\), .*multiples of'),
    ('mae', {'model.neck.embed_dim': 25}, 'model.neck.embed_dim is 25, .*allowed: 128'),
    ('mae', {'model.neck.patch_size': 8}, 'model.neck.patch_size is .*allowed: 48 values: 4'),
    ('mae', {'model.neck.decoder_num_heads': 5}, 'model.neck.decoder_embed_dim is 64, .*heads=5'),
    ('mae', {'model.neck.decoder_depth': 0}, 'model.neck.decoder_depth is 0, .*allowed: 1 or more'),
    ('mae', {'model.head': None}, 'model.head is None, .*allowed: a dict such as'),
    ('mae', {'model.head.patch_size': 8}, 'model.head.patch_size is 8, .*allowed: 4'),
    ('mae', {'model.data_preprocessor.std': [0, 1, 1]}, 'data_preprocessor.mean is .* above 0'),
    ('classify', {B + 'out_type': 'raw'}, "model.backbone.out_type is 'raw', .*avg_featmap"),
    ('classify', {B + 'out_type': 'featmap'}, "out_type is 'featmap', which does not fit the rest"),
    ('classify', {B + 'out_type': 'cls_token', B + 'with_cls_token': False}, "='cls_token'"),
    ('classify', {B + 'position': 'absolute', B + 'rpe': dict(method='cross')}, 'has no iRPE'),
    ('classify', {'model.head.in_channels': 25}, 'model.head.in_channels is 25, .*allowed: 24'),
    ('classify', {'model.data_preprocessor.std': [0, 1, 1]}, 'std above 0'),
    ('classify', {'model.data_preprocessor.mean': [1], 'model.data_preprocessor.std': [1]},
     'in_channels is 3, and model.data_preprocessor.mean has 1 numbers'),
    ('classify', {'model.head.loss.label_smooth_val': 1.5}, 'model: LabelSmoothLoss accepts'),
    ('classify', {'model.neck': dict(BN, input_features=768)}, 'input_features is 768, .*wed: 24'),
    ('classify', {'model.neck': dict(BN, input_features=24), B + 'out_type': 'raw'}, "is 'raw'"),
    ('classify', {'model.neck': POOL}, "out_type is 'avg_featmap', .*allowed: featmap"),
    ('classify', {'model.neck': POOL, B + 'out_type': 'featmap', 'model.head.in_channels': 25},
     'model.head.in_channels is 25, .*allowed: 24'),
    ('lomar', {B + 'out_type': 'avg_featmap'}, "out_type is 'avg_featmap', .*allowed: raw"),
    ('detect', {B + 'out_type': 'raw'}, "model.backbone.out_type is 'raw', .*allowed: featmap"),
    ('detect', {B + 'global_blocks': [5]}, r'global_blocks is \[5\]; allowed: 0 to 1'),
    ('detect', {B + 'global_blocks': 5}, r'global_blocks is 5; allowed: 0 to 1'),
    ('detect', {'model.neck.in_channels': 26}, 'model.neck.in_channels is 26, .*allowed: 24'),
    ('detect', {'model.neck.out_channels': 16}, 'model.rpn_head.in_channels is 64, .*allowed: 16'),
    ('detect', {'model.neck.scales': 1}, 'neck.scales is 1; allowed: 4, 2, 1 and 0.5'),
    ('detect', {'model.neck.scales': [4, 2, 1]},
     r'anchor_generator\.strides is \[4, 8, 16\], .*allowed: \[1, 2, 4, 8\]'),
    ('detect', {'model.neck.extra_pool': False}, r'strides is \[4, 8, 16\], .*allowed: \[4, 8\]'),
    ('detect', {B + 'patch_size': 8}, r'strides is \[4, 8, 16\], .*allowed: \[8, 16, 32\]'),
    ('detect', {'model.rpn_head.anchor_generator.strides': [8, 16, 32], B + 'patch_size': 8},
     r'bbox_roi_extractor\.featmap_strides is \[4, 8\], .*allowed: \[8, 16\]'),
    ('detect', {'model.data_preprocessor.pad_size_divisor': 7}, 'pad_size_divisor is 7, .*mult'),
    ('detect', {'model.data_preprocessor.pad_size_divisor': 0}, 'pad_size_divisor is 0, .*mult'),
    ('detect', {H + 'bbox_head.in_channels': 7}, 'bbox_head.in_channels is 7, .*allowed: 64'),
    ('detect', {H + 'bbox_head.roi_feat_size': 5}, 'bbox_head.roi_feat_size is 5, .*allowed: 7'),
    ('detect', {H + 'mask_head.num_classes': 3}, 'mask_head.num_classes is 3, .*allowed: 12'),
    ('detect', {H + 'bbox_roi_extractor.featmap_strides': [4, 8, 16, 32]},
     r'is \[4, 8, 16, 32\], .*allowed: \[4, 8, 16\]'),
    ('detect', {'model.train_cfg.rcnn.mask_size': 28}, 'train_cfg.rcnn.mask_size is 28, .*14'),
    ('detect', {'model.roi_head.bbox_head': None}, "model: .*has no attribute 'bbox_head'"),
    ('detect', {'model.test_cfg': None}, "model: 'NoneType' object has no attribute 'rpn'"),
    ('fcos', {'model.neck.extra_pool': False},
     r'bbox_head strides is \[4, 8, 16\], .*allowed: \[4, 8\]'),
    ('fcos', {B + 'patch_size': 8}, r'bbox_head strides is \[4, 8, 16\], .*allowed: \[8, 16, 32\]'),
    ('fcos', {'model.bbox_head.in_channels': 32}, 'bbox_head.in_channels is 32, .*allowed: 64'),
    ('dino', {'model.num_feature_levels': 4}, 'num_feature_levels is 4, .*allowed: 3'),
    ('dino', {'model.neck.out_channels': 64}, 'neck.out_channels is 64, .*allowed: 256'),
    ('dino', {'model.num_queries': 337}, 'model.num_queries is 337, .*allowed: 336 or less'),
    ('mask2former', {'model.neck.extra_pool': False}, r'strides \(number\) is 4, .*allowed: 3'),
    ('mask2former', {'model.neck.out_channels': 32}, r'in_channels is \{64\}, .*allowed: \{32\}'),
]  # fmt: skip
RIGHT = [
    ('lomar', {'model.windows.size': [3, 5], 'model.windows.number': [2, 1]}),
    ('lomar', {B + 'rpe': dict(method='cross', on='qkv'), B + 'img_size': (64, 32)}),
    ('mae', {B + 'mask_ratio': 0.01, 'model.neck.decoder_embed_dim': 32}),
    ('classify', {B + 'out_type': 'cls_token'}),
    ('classify', {B + 'out_type': 'featmap', 'model.neck': POOL}),
    ('classify', {'model.neck': dict(BN, input_features=24)}),
    ('detect', {B + 'window_size': 40}),  # one padded window
    ('detect', {B + 'position': 'absolute+decomposed'}),
    ('detect', {'model.data_preprocessor.pad_size_divisor': 4}),
    ('fcos', {}),
    ('dino', {'model.num_queries': 336}),
    ('mask2former', {}),
]


def build(kind, options):
    """Build the model of a small config as a run does."""
    cfg = Config.fromfile(ROOT / f'mmconfigs/shapes/{CONFIGS[kind]}.py')
    init_default_scope(cfg.default_scope)
    if kind != 'mae':
        cfg.model.backbone.arch = dict(ARCH)
    if kind == 'classify':
        cfg.model.head.in_channels = 24
    if kind in DETECTORS:
        cfg.model.neck.in_channels, cfg.model.backbone.global_blocks = 24, [1]
    merge_options(cfg, {key: value for key, value in options.items() if key != B + 'arch'})
    cfg.model.backbone.arch = options.get(B + 'arch', cfg.model.backbone.arch)
    return Runner.__new__(Runner).build_model(cfg.model)


@pytest.mark.parametrize(('kind', 'options', 'line'), WRONG)
def test_what_cannot_run_is_refused(kind, options, line):
    with pytest.raises(ValueError) as caught:
        build(kind, options)
    assert re.search(line, str(caught.value)), caught.value


@pytest.mark.parametrize(('kind', 'options'), RIGHT)
def test_what_is_accepted_runs(kind, options):
    model = build(kind, options)
    size = model.backbone.img_size
    (out, *_) = model.backbone(torch.rand(2, 3, *size), **({'mask': None} if kind == 'mae' else {}))
    if getattr(model, 'neck', None) is not None and kind != 'mae':
        (out, *_) = model.neck((out,))
    assert out.isfinite().all()

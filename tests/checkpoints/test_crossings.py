"""`load_from`: files of every project in the trainings of every kind, and models of other sizes.

A cell works and says what it loaded, or is refused in a message that says why.
"""

from copy import deepcopy
from functools import cache
from types import SimpleNamespace

import pytest
import timm
import torch
from conftest import TINY_ARCH, randomised
from mmengine.registry import MODELS, init_default_scope
from torch.nn.functional import interpolate

import lomar.timm  # noqa: F401
from lomar.checkpoints import TransferError, transfer_model, unwrap
from lomar.engine import read_config
from lomar.engine.load_weights import transfer_settings
from lomar.engine.runner import Runner

ARCH = {'model.backbone.arch': dict(_delete_=True, **TINY_ARCH)}
THEIR_ARCH = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=192)
# Settings of the toy configs that make every model small, and its config by a short name.
CLASSIFIER = {**ARCH, 'model.head.in_channels': 48}
DETECTOR = {
    **ARCH,
    'model.backbone.global_blocks': (2,),
    'model.neck.in_channels': 48,
    'model.neck.out_channels': 16,
    'model.rpn_head.in_channels': 16,
    'model.rpn_head.feat_channels': 16,
    'model.roi_head.bbox_roi_extractor.out_channels': 16,
    'model.roi_head.bbox_head.in_channels': 16,
    'model.roi_head.bbox_head.conv_out_channels': 16,
    'model.roi_head.bbox_head.fc_out_channels': 16,
    'model.roi_head.mask_roi_extractor.out_channels': 16,
    'model.roi_head.mask_head.in_channels': 16,
    'model.roi_head.mask_head.conv_out_channels': 16,
}
MAE = {
    'model.backbone.arch': dict(_delete_=True, **THEIR_ARCH),
    'model.neck.embed_dim': 48,
    'model.neck.decoder_embed_dim': 16,
    'model.neck.decoder_num_heads': 2,
}
PROBE = {
    **CLASSIFIER,
    'model.backbone.img_size': 64,
    'model.backbone.patch_size': 4,
    'model.backbone.frozen_stages': 5,
    'model.neck.input_features': 48,
    'model.head.num_classes': 12,
    'model.data_preprocessor.num_classes': 12,
}
CONFIGS = dict(
    lomar=('shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes', ARCH),
    maskfeat=('shapes/lomar-maskfeat_vit-tiny-p8_1xb32-coslr-8e_shapes', ARCH),
    distil=('shapes/lomar-distil_vit-tiny-p8_1xb32-coslr-8e_shapes', ARCH),
    mae=('shapes/mae_vit-tiny-p4_1xb32-coslr-8e_shapes', MAE),
    classify=('shapes/vit-tiny_lomar_1xb32-coslr-16e_shapes', CLASSIFIER),
    classify_mae=('shapes/vit-tiny_mae_1xb32-coslr-16e_shapes', CLASSIFIER),
    probe=('classify/vit-b_lomar_8xb2048-amp-linear-coslr-90e_in1k', PROBE),
    detect=('shapes/mask-rcnn_vitdet-tiny-lomar_shapes', DETECTOR),
    detect_mae=('shapes/mask-rcnn_vitdet-tiny-mae_shapes', DETECTOR),
)


def build(name, seed=0, **options):
    config, settings = CONFIGS[name]
    changed = {f'model.{key.replace("__", ".")}': value for key, value in options.items()}
    cfg = read_config(config, {**settings, **changed})
    init_default_scope(cfg.default_scope)
    return randomised(MODELS.build(cfg.model), seed)


def own(name):
    return dict(state_dict=build(name, 1).state_dict(), meta={})


def official_lomar():
    weights = {
        name.replace('head.pred.', 'encoder_pred.').removeprefix('backbone.'): value
        for name, value in build('lomar', 1).state_dict().items()
    }
    return dict(model={**weights, 'pos_embed': torch.ones(1, 257, 48)}, epoch=1)


def official_lomar_classifier():
    weights = build('classify', 1).state_dict()
    return dict(
        model={k.removeprefix('backbone.').replace('.fc.', '.'): weights[k] for k in weights}
    )


def vit(**options):
    options = dict(num_classes=0, img_size=64, patch_size=4) | options
    model = timm.create_model('vit_tiny_patch16_224', **TINY_ARCH, **options)
    return randomised(model, 1).state_dict()


def official_mae():
    """The encoder, and a decoder of two blocks of width 16."""
    width, blocks = 16, timm.models.vision_transformer.Block(16, 2, qkv_bias=True)
    decoder = {
        f'decoder_blocks.{i}.{name}': torch.full_like(value, i + 1.0)
        for i in range(2)
        for name, value in blocks.state_dict().items()
    }
    shapes = dict(mask_token=(1, 1, width), decoder_pos_embed=(1, 257, width))
    for name, sizes in dict(embed=(width, 48), norm=(width,), pred=(48, width)).items():
        shapes |= {f'decoder_{name}.weight': sizes, f'decoder_{name}.bias': sizes[:1]}
    decoder |= {name: torch.full(shape, 3.0) for name, shape in shapes.items()}
    return dict(model=vit() | decoder, epoch=799)


def mmpretrain_classifier():
    init_default_scope('mmpretrain')
    backbone = dict(type='VisionTransformer', arch=THEIR_ARCH, img_size=64, patch_size=4)
    head = dict(type='VisionTransformerClsHead', num_classes=12, in_channels=48)
    return dict(
        state_dict=randomised(
            MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head)), 1
        ).state_dict()
    )


def resnet_detector():
    weights = MODELS.build(dict(type='mmdet.ResNet', depth=18, base_channels=8)).state_dict()
    return dict(state_dict={f'backbone.{name}': value for name, value in weights.items()})


FILES = dict(
    {name: lambda name=name: own(name) for name in CONFIGS},
    official_lomar=official_lomar,
    official_lomar_classifier=official_lomar_classifier,
    official_mae=official_mae,
    official_mae_encoder=lambda: dict(model=vit()),
    official_mae_classifier=lambda: dict(model=vit(num_classes=12, global_pool='avg')),
    timm=lambda: vit(num_classes=1000),
    timm_lomar=lambda: randomised(
        timm.create_model(
            'lomar_vit_small_patch16_224', num_classes=12, img_size=64, patch_size=4, **TINY_ARCH
        ),
        1,
    ).state_dict(),
    mmpretrain=mmpretrain_classifier,
    detectron2=lambda: dict(model={f'backbone.net.{k}': v for k, v in vit().items()}),
    mmdet=resnet_detector,
)
content = cache(lambda name: FILES[name]())
built = cache(build)


def load(path, model, allow=()):
    """Load as a training does; return the lines of the log."""
    runner, lines = Runner.__new__(Runner), []
    runner.cfg, runner.model = dict(transfer=dict(allow=allow)), model
    runner._resume, runner._train_loop = False, 1
    runner.logger = SimpleNamespace(info=lines.append, warning=lines.append)
    runner.call_hook = lambda *name, **given: None
    runner.load_checkpoint(str(path))
    return '\n'.join(lines)


ALL, BACKBONE = 'All weights of the model loaded', 'Backbone loaded'
HEAD, HEAD_OF_PROBE = (
    'Backbone and 2 of 2 other weights loaded',
    'Backbone and 2 of 5 other weights',
)
DECODER = 'Backbone and 32 of 32 other weights loaded'
IRPE, ABSOLUTE = 'The weights were trained with iRPE', 'The weights were trained with absolute pos'
NORM, CLS = 'missing       [23]  (mask_token, )?norm', 'missing       [34]  cls_token'
GRID = 'have no cls token although the model has one'
PREFIX, OTHER = r'are under backbone\.net\.; allowed', r'weights did not load, 12\d are unexpected'
# What each model, in the order of CONFIGS, gets from a file: the line of the log, or the error.
TABLE = dict(
    lomar=(ALL, BACKBONE, BACKBONE, IRPE, BACKBONE, IRPE, BACKBONE, BACKBONE, IRPE),
    maskfeat=(BACKBONE, ALL, BACKBONE, IRPE, BACKBONE, IRPE, BACKBONE, BACKBONE, IRPE),
    distil=(BACKBONE, BACKBONE, ALL, IRPE, BACKBONE, IRPE, BACKBONE, BACKBONE, IRPE),
    mae=(*[ABSOLUTE] * 3, ALL, ABSOLUTE, BACKBONE, ABSOLUTE, ABSOLUTE, BACKBONE),
    classify=(NORM, NORM, NORM, IRPE, ALL, IRPE, HEAD_OF_PROBE, BACKBONE, IRPE),
    classify_mae=(*[ABSOLUTE] * 3, NORM, ABSOLUTE, ALL, ABSOLUTE, ABSOLUTE, BACKBONE),
    probe=(NORM, NORM, NORM, IRPE, HEAD, IRPE, ALL, BACKBONE, IRPE),
    detect=(CLS, CLS, CLS, IRPE, CLS, IRPE, CLS, ALL, IRPE),
    detect_mae=(*[ABSOLUTE] * 3, GRID, ABSOLUTE, GRID, ABSOLUTE, ABSOLUTE, ALL),
    official_lomar=(HEAD, BACKBONE, BACKBONE, IRPE, BACKBONE, IRPE, BACKBONE, BACKBONE, IRPE),
    official_lomar_classifier=(NORM, NORM, NORM, IRPE, HEAD, IRPE, HEAD_OF_PROBE, BACKBONE, IRPE),
    official_mae=(*[ABSOLUTE] * 3, DECODER, ABSOLUTE, BACKBONE, ABSOLUTE, ABSOLUTE, BACKBONE),
    official_mae_encoder=(*[ABSOLUTE] * 3, BACKBONE, ABSOLUTE, BACKBONE, *[ABSOLUTE] * 2, BACKBONE),
    official_mae_classifier=(*[ABSOLUTE] * 3, NORM, ABSOLUTE, HEAD, *[ABSOLUTE] * 2, BACKBONE),
    timm=(*[ABSOLUTE] * 3, BACKBONE, ABSOLUTE, BACKBONE, *[ABSOLUTE] * 2, BACKBONE),
    timm_lomar=(NORM, NORM, NORM, IRPE, HEAD, IRPE, HEAD_OF_PROBE, BACKBONE, IRPE),
    mmpretrain=(*[ABSOLUTE] * 3, BACKBONE, ABSOLUTE, HEAD, *[ABSOLUTE] * 2, BACKBONE),
    detectron2=[PREFIX] * 9,
    mmdet=[OTHER] * 9,
)
LOADS = (ALL, BACKBONE, HEAD, HEAD_OF_PROBE, DECODER)


def test_the_table_has_all_files():
    assert TABLE.keys() == FILES.keys() and {len(row) for row in TABLE.values()} == {len(CONFIGS)}


@pytest.mark.parametrize('source', FILES)
@pytest.mark.parametrize('target', CONFIGS)
def test_a_file_loads_or_is_refused(source, target, tmp_path):
    path, model = tmp_path / 'in.pth', deepcopy(built(target))
    torch.save(content(source), path)
    expected = TABLE[source][list(CONFIGS).index(target)]
    if expected not in LOADS:
        with pytest.raises(ValueError, match=f'(?s)in\\.pth: .*{expected}'):
            load(path, model)
        return
    before = {name: value.clone() for name, value in model.state_dict().items()}
    text = load(path, model)
    assert text.startswith(expected) and f' loaded from {path}' in text
    kept = {n for n, value in model.state_dict().items() if torch.equal(value, before[n])}
    if expected == ALL:
        assert all(name.startswith('neck.bn.') for name in kept)  # buffers, equal in all files
    else:
        # Nothing keeps its random values without being in the report.
        report = transfer_model(unwrap(content(source)), deepcopy(built(target)))
        new = {name.partition(' ')[0] for name in report.new}
        assert kept == new | {f'backbone.{name}' for name in report.missing}


def test_the_decoder_of_the_original_mae_arrives_under_its_names(tmp_path):
    path, model = tmp_path / 'in.pth', build('mae')
    torch.save(content('official_mae'), path)
    load(path, model)
    found, weights = model.state_dict(), content('official_mae')['model']
    for name, value in {
        'backbone.layers.2.ffn.layers.0.0.weight': weights['blocks.2.mlp.fc1.weight'],
        'backbone.ln1.bias': weights['norm.bias'],
        'neck.decoder_blocks.1.ln2.weight': torch.full((16,), 2.0),
        'neck.decoder_blocks.0.ffn.layers.1.bias': torch.full((16,), 1.0),
        'neck.decoder_pred.weight': torch.full((48, 16), 3.0),
        'neck.mask_token': torch.full((1, 1, 16), 3.0),
        'neck.ln1.weight': torch.full((16,), 3.0),
    }.items():
        assert torch.equal(found[name], value), name


PATCHES, POSITIONS = 'patch_embed.proj.weight', 'pos_embed'
CLASSES = dict(roi_head__bbox_head__num_classes=5, roi_head__mask_head__num_classes=5)
NEW_CLASSES = {
    'roi_head.bbox_head.fc_cls.weight (13, 16) -> (6, 16)',
    'roi_head.bbox_head.fc_cls.bias (13,) -> (6,)',
    'roi_head.bbox_head.fc_reg.weight (48, 16) -> (20, 16)',
    'roi_head.bbox_head.fc_reg.bias (48,) -> (20,)',
    'roi_head.mask_head.conv_logits.weight (12, 16, 1, 1) -> (5, 16, 1, 1)',
    'roi_head.mask_head.conv_logits.bias (12,) -> (5,)',
}
PRED = {f'head.pred.{name}' for name in ('weight (48, 48) -> (192, 48)', 'bias (48,) -> (192,)')}
FC = {f'head.fc.{name}' for name in ('weight (12, 48) -> (7, 48)', 'bias (12,) -> (7,)')}
GREY = dict(backbone__in_channels=1, data_preprocessor__mean=[0.0], data_preprocessor__std=[1.0])
HOG = dict(_delete_=True, type='WindowHead', target=dict(type='HOGTarget'))
LARGE = dict(backbone__img_size=128, neck__num_patches=1024)
# Model, changed settings, names of resized weights, and weights that start new.
CHANGES = (
    ('lomar', dict(backbone__patch_size=8, windows__size=5), {PATCHES}, PRED),
    ('lomar', dict(backbone__patch_size=8, windows__size=5, head=HOG), {PATCHES}, None),
    ('mae', LARGE, {POSITIONS, 'neck.decoder_pos_embed'}, set()),
    ('classify', dict(head__num_classes=7), set(), FC),
    ('classify', dict(backbone__patch_size=8), {PATCHES}, set()),
    ('classify', GREY, {PATCHES}, set()),
    ('classify_mae', dict(backbone__img_size=128), {POSITIONS}, set()),
    ('classify_mae', dict(backbone__img_size=(32, 96)), {POSITIONS}, set()),
    ('detect', CLASSES, set(), NEW_CLASSES),
    ('detect', dict(backbone__patch_size=8), {PATCHES}, set()),
    ('detect', GREY, {PATCHES}, set()),
    ('detect_mae', CLASSES, set(), NEW_CLASSES),
    (
        'detect_mae',
        dict(backbone__pretrain_img_size=96, backbone__img_size=128),
        {POSITIONS},
        set(),
    ),
    ('detect_mae', dict(backbone__img_size=128), {'blocks.2.attn.rpe_k.rel_pos_h'}, set()),
    ('detect_mae', dict(backbone__window_size=4), {'blocks.0.attn.rpe_k.rel_pos_w'}, set()),
)


@pytest.mark.parametrize(('name', 'options', 'resized', 'new'), CHANGES)
def test_the_same_model_with_other_sizes_is_adapted(name, options, resized, new, tmp_path):
    path, model = tmp_path / 'in.pth', build(name, **options)
    torch.save(content(name), path)
    report = transfer_model(unwrap(content(name)), build(name, **options))
    assert resized <= {entry.partition(' ')[0] for entry in report.resized}
    if new is not None:
        assert set(report.new) == new and set(report.misfits) == new
    text = load(path, model)
    assert text.startswith('Backbone') and str(report) in text
    # The layers that start new are also a warning, which --quiet shows.
    assert ('weights of' in text) == bool(report.new)
    others = [n for n in model.state_dict() if not n.startswith('backbone.')]
    assert len(report.others) + len(report.new) + ('neck.dec' in str(report.resized)) == len(others)


@pytest.mark.parametrize(
    ('rpe', 'old', 'buckets'),
    [(dict(method='euclidean'), 50, 8), (dict(ratio=3.0), 50, 170), (dict(method='cross'), 50, 8)],
)
def test_tables_of_other_relative_positions_are_refused(rpe, old, buckets, tmp_path):
    torch.save(content('lomar'), tmp_path / 'in.pth')
    with pytest.raises(TransferError, match=r'backbone\.rpe.* the options of their training'):
        load(tmp_path / 'in.pth', build('lomar', backbone__rpe=rpe))
    if 'cross' not in rpe.values():
        load(tmp_path / 'in.pth', build('lomar', backbone__rpe=rpe), allow=['*lookup_table*'])


def test_decomposed_positions_are_resized_like_detectron2s():
    old = build('detect_mae', seed=1).state_dict()
    model = build('detect_mae', backbone__window_size=4)
    transfer_model(old, model)
    name = 'backbone.blocks.0.attn.rpe_k.rel_pos_h'
    expected = interpolate(old[name].T[None], size=7, mode='linear')[0].T
    assert torch.equal(model.state_dict()[name], expected)


def test_a_backbone_of_detectron2_loads_after_the_renaming_of_the_docs():
    """ViTDet's names are written out: norms, attention, MLP and positions of each block."""
    layers = ('norm1', 'norm2', 'attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2')
    names = ['pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias']
    for block in range(TINY_ARCH['depth']):
        names += [f'blocks.{block}.{one}.{end}' for one in layers for end in ('weight', 'bias')]
        names += [f'blocks.{block}.attn.rel_pos_{axis}' for axis in 'hw']
    ours = build('detect_mae', seed=1).backbone.state_dict()
    renamed = {name: name.replace('attn.rel_pos', 'attn.rpe_k.rel_pos') for name in names}
    assert set(renamed.values()) == ours.keys()
    theirs = {name: ours[new] for name, new in renamed.items()}
    with pytest.raises(TransferError, match='6 are unexpected'):
        transfer_model(theirs, build('detect_mae'))
    model = build('detect_mae')
    report = transfer_model({new: theirs[name] for name, new in renamed.items()}, model)
    assert len(report.matched) == len(names) and not report.missing
    assert all(
        torch.equal(value, ours[name]) for name, value in model.backbone.state_dict().items()
    )


def test_half_a_layer_does_not_load():
    """A bias that fits says nothing beside a weight that does not."""
    model = build('classify')
    weights = build('classify', seed=1).state_dict()
    weights['head.fc.weight'] = torch.ones(12, 96)
    bias = model.head.fc.bias.clone()
    report = transfer_model(weights, model)
    assert torch.equal(model.head.fc.bias, bias)
    assert report.new == ['head.fc.weight (12, 96) -> (12, 48)', 'head.fc.bias']


@pytest.mark.parametrize('where', ['', 'backbone__'])
def test_init_cfg_pretrained_is_a_transfer(where, tmp_path):
    """mmdet's and mmpretrain's way to name pretrained weights, which mmengine loads by name."""
    path = str(tmp_path / 'in.pth')
    torch.save(content('official_lomar'), path)
    settings = {f'{where}init_cfg': dict(type='Pretrained', checkpoint=path)}
    model = build('detect', **settings)
    model.init_weights()
    expected = content('official_lomar')['model']['blocks.1.attn.qkv.weight']
    assert torch.equal(model.backbone.blocks[1].attn.qkv.weight, expected)
    torch.save(content('official_mae'), path)
    with pytest.raises(TransferError, match=rf'(?s)init_cfg\.checkpoint=.*: .*{ABSOLUTE[4:]}'):
        build('detect', **settings).init_weights()


@pytest.mark.parametrize('prefix', ['backbone', 'backbone.'])
def test_init_cfg_pretrained_with_a_prefix(prefix, tmp_path):
    path = str(tmp_path / 'in.pth')
    torch.save(content('detect'), path)
    settings = dict(type='Pretrained', checkpoint=path, prefix=prefix)
    model = build('detect', backbone__init_cfg=settings)
    model.backbone.init_weights()
    expected = content('detect')['state_dict']['backbone.blocks.1.norm1.bias']
    assert torch.equal(model.backbone.blocks[1].norm1.bias, expected)
    other = build('detect', backbone__init_cfg=settings | dict(prefix='encoder.'))
    with pytest.raises(ValueError, match=r"has init_cfg\.prefix='encoder\.' \(found: backbone"):
        other.backbone.init_weights()


def test_other_networks_keep_the_initializer_of_mmengine(tmp_path):
    layer = MODELS.build(dict(type='mmdet.ResNet', depth=18, base_channels=8))
    torch.save(layer.state_dict(), tmp_path / 'in.pth')
    other = MODELS.build(dict(type='mmdet.ResNet', depth=18, base_channels=8))
    other.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'in.pth'))
    other.init_weights()
    assert torch.equal(other.conv1.weight, layer.conv1.weight)


def test_a_pattern_is_no_list_of_characters():
    """Of the string 'norm.*', the character '*' would allow everything."""
    with pytest.raises(
        ValueError, match=r"transfer\.allow is 'norm\.\*'; allowed: .*\['norm\.\*'\]"
    ):
        transfer_model(unwrap(content('detect')), build('lomar'), allow='norm.*')
    with pytest.raises(ValueError, match=r"transfer has \['patterns'\]; allowed: allow, weights"):
        transfer_settings(dict(transfer=dict(patterns=[])))

"""Configs of Mask R-CNN and Faster R-CNN: names, detectron2's recipe, training and test step."""

import re
from unittest import mock

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, TASK_UTILS, init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from lomar.engine.schedule import resolve_schedule
from tests.recipes.resolved import length

CONFIGS = sorted(
    path.relative_to(ROOT / 'mmconfigs').as_posix()
    for path in (ROOT / 'mmconfigs').rglob('*-rcnn_*.py')
    if '_base_' not in path.parts and not path.name.startswith('cascade-')  # test_head_configs.py
)
NAME = re.compile(
    r'(?P<kind>mask|faster)-rcnn_vitdet-(?P<size>[blh])_(?P<init>lomar|mae|scratch)_'
    r'lsj-(?P<epochs>\d+)e(_(?P<gpus>\d)xb2_24gb)?_coco(-(?P<px>\d+)px)?'
)
# detectron2, projects/ViTDet/configs/COCO: architecture, global blocks, drop path, layer decay.
SIZES = dict(
    b=('base', (2, 5, 8, 11), 0.1, 0.7),
    l=('large', (5, 11, 17, 23), 0.4, 0.8),
    h=('huge', (7, 15, 23, 31), 0.5, 0.9),
)


def load(name):
    cfg = Config.fromfile(ROOT / 'mmconfigs' / name)
    init_default_scope(cfg.default_scope)
    return cfg


def test_there_are_configs():
    assert len(CONFIGS) == 32


@pytest.mark.parametrize('name', [name for name in CONFIGS if name.startswith('detect/')])
def test_name_and_content_agree(name):
    cfg = load(name)
    said = NAME.fullmatch(name.removeprefix('detect/').removesuffix('.py'))
    backbone, loader, optim = cfg.model.backbone, cfg.train_dataloader, cfg.optim_wrapper
    arch, global_blocks, drop_path, layer_decay = SIZES[said['size']]
    assert (backbone.arch, backbone.drop_path_rate) == (arch, drop_path)
    assert tuple(backbone.global_blocks) == global_blocks
    assert optim.paramwise_cfg.layer_decay == layer_decay
    assert backbone.get('position', 'irpe') == (
        'absolute+decomposed' if said['init'] == 'mae' else 'irpe'
    )
    assert (cfg.load_from is None) == (said['init'] == 'scratch')
    assert said['init'] == 'scratch' or f'/{said["init"]}_' in cfg.load_from

    accumulation = optim.get('accumulative_counts', 1)
    assert int(said['gpus'] or 8) * loader.batch_size * accumulation == 64
    assert backbone.get('with_cp', False) == bool(said['gpus'])
    warmup, drops = resolve_schedule(cfg.param_scheduler, length(cfg))
    iters = cfg.train_cfg.max_iters / accumulation
    assert iters == pytest.approx(int(said['epochs']) * 118000 / 64, rel=1e-3)
    assert drops['end'] == cfg.train_cfg.max_iters
    assert [m / drops['end'] for m in drops['milestones']] == pytest.approx(
        [8 / 9, 26 / 27], abs=1e-4
    )
    assert warmup['end'] == (187 if said['size'] == 'h' else 250) * accumulation

    side = int(said['px'] or 1024)
    assert backbone.img_size == cfg.model.data_preprocessor.pad_size_divisor == side
    steps = {step.type: step for step in loader.dataset.pipeline}
    jitter = steps['LargeScaleJitter']
    assert jitter.scale == jitter.crop_size == (side, side)
    assert jitter.ratio_range == (0.1, 2.0) and jitter.recompute_bbox
    for split in ('val', 'test'):
        tested = {step.type: step for step in cfg[f'{split}_dataloader'].dataset.pipeline}
        assert tested['AntialiasedResize'].scale == (side, side)
        assert tested['LoadAnnotations'].with_mask == (said['kind'] == 'mask')
    assert steps['LoadInstances'].with_mask == (said['kind'] == 'mask')
    assert ('segm' in cfg.val_evaluator.metric) == (said['kind'] == 'mask')
    assert ('mask_head' in cfg.model.roi_head) == (said['kind'] == 'mask')


def test_only_weights_and_positions_differ():
    """LoMaR, MAE and scratch: the same detector, data and schedule."""
    for schedule in ('100e', '50e', '25e', '12e', '100e_1xb2_24gb', '100e_8xb2_24gb'):
        configs = [
            load(f'detect/mask-rcnn_vitdet-b_{init}_lsj-{schedule}_coco.py').to_dict()
            for init in ('lomar', 'mae', 'scratch')
        ]
        for cfg in configs:
            del cfg['load_from']
            for setting in ('position', 'pretrain_img_size'):
                cfg['model']['backbone'].pop(setting, None)
            assert 'backbone.*norm*' in cfg['optim_wrapper']['paramwise_cfg'].pop('no_decay')
        assert configs[0] == configs[1] == configs[2]


def shrink(cfg):
    """The same detector, narrow and shallow, for images of 64 pixels."""
    model = cfg.model
    patch = model.backbone.patch_size
    model.data_preprocessor.pad_size_divisor = 64
    model.backbone.update(
        arch=dict(embed_dim=24, depth=2, num_heads=2),
        img_size=64,
        global_blocks=(1,),
        window_size=min(model.backbone.window_size, 64 // patch + 1),
    )
    model.neck.update(in_channels=24, out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    parts = {key: part for key, part in model.roi_head.items() if part is not None}
    for key, part in parts.items():
        if key.endswith('extractor'):
            part.out_channels = 16
        if key.endswith('head'):
            part.update(in_channels=16, conv_out_channels=16)
    model.roi_head.bbox_head.fc_out_channels = 16
    model.train_cfg.rcnn.sampler.num = 16
    model.train_cfg.rpn_proposal.max_per_img = model.test_cfg.rpn.max_per_img = 20


def test_metrics_are_logged_at_their_iteration():
    cfg = Config.fromfile(ROOT / 'mmconfigs/detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py')
    hook, runner = HOOKS.build(cfg.default_hooks.logger), mock.MagicMock(iter=5000, epoch=0)
    runner.log_processor.get_log_after_epoch.return_value = ({'coco/bbox_mAP': 0.1}, '')
    hook.after_val_epoch(runner)
    assert runner.visualizer.add_scalars.call_args.kwargs['step'] == 5000


@pytest.mark.parametrize('name', CONFIGS)
def test_takes_a_training_and_a_test_step(name):
    from mmdet.testing import demo_mm_inputs

    cfg = load(name)
    read = {'custom_imports', 'log_level', 'model_wrapper_cfg', 'runner_type'}
    known = set(Runner.__init__.__code__.co_varnames) | read
    assert set(cfg) <= known, 'keys that nothing reads'
    shrink(cfg)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    masks, classes = cfg.model.type == 'MaskRCNN', cfg.model.roi_head.bbox_head.num_classes
    # One image with objects, one without.
    data = demo_mm_inputs(
        2, [[3, 64, 64], [3, 48, 64]], num_items=[3, 0], num_classes=classes + 1, with_mask=masks
    )
    for sample in data['data_samples']:
        sample.gt_instances.labels -= 1  # mmdet draws from 1 to num_classes - 1
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    losses = model.train_step(data, optim_wrapper)
    expected = {'loss', 'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc'}
    assert set(losses) == expected | ({'loss_mask'} if masks else set())
    assert all(torch.isfinite(value).all() for value in losses.values())
    model.eval()
    model.test_cfg.rcnn.score_thr = model.roi_head.test_cfg.score_thr = 0.0
    for sample in model.test_step(data):
        found = sample.pred_instances
        assert len(found) and found.labels.max() < classes
        assert not masks or tuple(found.masks.shape[1:]) == tuple(sample.ori_shape[:2])


def test_layer_groups_exactly():
    """detectron2's rates and decays for ViTDet-B, by layer."""
    cfg = load('detect/mask-rcnn_vitdet-b_mae_lsj-100e_coco.py')
    cfg.model.backbone.update(arch=dict(embed_dim=24, depth=12, num_heads=2), img_size=64)
    cfg.model.data_preprocessor.pad_size_divisor = 64
    cfg.model.neck.in_channels = 24
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    of = {names[id(p)]: (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    assert of.keys() == set(names.values())
    for name, (rate, decay) in of.items():
        layer = 13  # pyramid and heads: the full rate
        if name.startswith('backbone.'):
            layer = int(name.split('.')[2]) + 1 if '.blocks.' in name else 0
        assert rate == pytest.approx(1e-4 * 0.7 ** (13 - layer)), name
        spared = name.startswith('backbone.') and ('norm' in name or 'pos_embed' in name)
        assert decay == (0.0 if spared else 0.1), name
    assert of['backbone.pos_embed'] == (pytest.approx(1e-4 * 0.7**13), 0.0)
    assert of['backbone.blocks.11.attn.qkv.bias'] == (pytest.approx(7e-5), 0.1)
    assert of['neck.levels.0.0.weight'] == (1e-4, 0.1)


def test_the_smallest_object_has_an_anchor():
    """As in detectron2, whose matcher has no least IoU; the smallest anchors are of 32 pixels."""
    cfg = load('detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py')
    assigner = TASK_UTILS.build(cfg.model.train_cfg.rpn.assigner)
    anchors = InstanceData(priors=torch.tensor([[0.0, 0, 32, 32], [32, 0, 64, 32]]))
    small = InstanceData(bboxes=torch.tensor([[8.0, 8, 12, 12]]), labels=torch.tensor([0]))
    assert assigner.assign(anchors, small).gt_inds.tolist() == [1, 0]


@pytest.mark.parametrize(
    ('objects', 'expected'),
    [
        (
            [3, 2],
            dict(rpn_cls=0.693391, rpn_bbox=0.151176, cls=2.550451, bbox=0.425093, mask=0.693156),
        ),
        (
            [3, 0],
            dict(rpn_cls=0.682942, rpn_bbox=0.042992, cls=2.551245, bbox=0.144311, mask=0.693197),
        ),
        ([0, 0], dict(rpn_cls=0.672494, rpn_bbox=0.0, cls=2.545065, bbox=0.0, mask=0.0)),
    ],
)
def test_golden_losses(objects, expected):
    """Losses of a seeded step with full, half-empty and empty ground truth.

    At the start they are near ln 2 for objectness and masks and ln 13 = 2.565 for twelve classes
    and background. Recorded with torch 2.11 on a CPU; sums in another order change the last digits.
    """
    from mmdet.testing import demo_mm_inputs

    cfg = load('shapes/mask-rcnn_vitdet-tiny-lomar_shapes.py')
    shrink(cfg)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = demo_mm_inputs(
        2, [[3, 64, 64], [3, 48, 64]], num_items=objects, num_classes=12, with_mask=True
    )
    data['inputs'] = [image.flip(0) for image in data['inputs']]  # recorded in the order R, G, B
    data = model.data_preprocessor(data, True)
    torch.manual_seed(1)
    _, losses = model.parse_losses(model(**data, mode='loss'))
    for name, value in expected.items():
        assert losses[f'loss_{name}'].item() == pytest.approx(value, rel=1e-3, abs=1e-6), name


def test_heads_start_as_detectron2s():
    """Standard deviations of detectron2's RPN, box and mask heads (projects/ViTDet, 02b5c4e2)."""
    cfg = load('detect/mask-rcnn_vitdet-b_scratch_lsj-100e_coco.py')
    cfg.model.backbone.update(arch=dict(embed_dim=24, depth=12, num_heads=2))
    cfg.model.neck.in_channels = 24
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    expected = {
        r'rpn_head\.rpn_(conv\.\d\.conv|cls|reg)': 0.01,
        r'roi_head\.bbox_head\.shared_convs\.\d\.conv': (2 / (256 * 9)) ** 0.5,  # MSRA, fan out
        r'roi_head\.bbox_head\.shared_fcs\.0': (256 * 7 * 7) ** -0.5,  # Caffe2's Xavier: 0.0089
        r'roi_head\.bbox_head\.fc_cls': 0.01,
        r'roi_head\.bbox_head\.fc_reg': 0.001,
        r'roi_head\.mask_head\.convs\.\d\.conv': (2 / (256 * 9)) ** 0.5,
        r'roi_head\.mask_head\.upsample': (2 / (256 * 4)) ** 0.5,
        r'roi_head\.mask_head\.conv_logits': 0.001,
    }
    layers = {
        name.removesuffix('.weight'): weight
        for name, weight in model.named_parameters()
        if name.endswith('.weight') and '_head' in name and weight.ndim > 1
    }
    for name, weight in layers.items():
        (std,) = [value for pattern, value in expected.items() if re.fullmatch(pattern, name)]
        # The smallest layer has 768 weights: a deviation is known to 1 / sqrt(2 * 768) = 2.6 %.
        assert weight.std().item() == pytest.approx(std, rel=0.1), name
        bias = model.get_submodule(name).bias
        assert bias is None or not bias.any(), name
    assert len(layers) == 17

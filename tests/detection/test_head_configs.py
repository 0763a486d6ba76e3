"""Cascade Mask R-CNN, FCOS, RTMDet, DINO and Mask2Former: configs, steps, rates, operators."""

import contextlib
import re
import sys

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner

from benchmarks.sections import read_section
from lomar.compat import mmcv_ops
from lomar.cost.flops import count, flops_of
from lomar.detection.evaluation_config import evaluates_masks
from lomar.engine.model_checks import check_model
from lomar.engine.schedule import resolve_schedule
from tests.gpu_branch import gpu_branch
from tests.heads import (
    CASES,
    HEADS,
    INITIALISATIONS,
    PAGE,
    batch,
    build,
    load,
    predict,
    small,
    step,
    table,
)
from tests.recipes.resolved import length

SUPPLIED = pytest.mark.skipif(
    not isinstance(sys.modules['mmcv._ext'], mmcv_ops.Operators), reason='mmcv is compiled here'
)
SETS = ('coco', 'shapes')


@pytest.mark.parametrize('init', INITIALISATIONS)
@pytest.mark.parametrize('kind', HEADS)
def test_name_and_content_agree(kind, init):
    head = HEADS[kind]
    cfg, toy = load(head.coco(init, kind)), load(head.shapes(init, kind))
    gpus = 8
    assert gpus * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == head.batch
    epochs = cfg.train_cfg.max_iters * head.batch / 118000
    assert epochs == pytest.approx(head.epochs, rel=0.001)
    assert max(one['end'] for one in resolve_schedule(cfg.param_scheduler, length(cfg))) == (
        cfg.train_cfg.max_iters
    )
    assert cfg.model.backbone.arch == 'base' and cfg.optim_wrapper.paramwise_cfg.layer_decay == 0.7
    for one in (cfg, toy):
        known = set(Runner.__init__.__code__.co_varnames)
        assert set(one) <= known | {
            'custom_imports',
            'log_level',
            'model_wrapper_cfg',
            'runner_type',
        }
        assert one.model.backbone.get('position', 'irpe') == (
            'absolute+decomposed' if init == 'mae' else 'irpe'
        )
        assert (one.load_from is None) == (init == 'scratch')
        with_masks = [
            part.get('with_mask')
            for split in ('train', 'val', 'test')
            for part in one[f'{split}_dataloader'].dataset.pipeline
            if 'with_mask' in part
        ]
        assert with_masks == [head.masks] * 3
        assert ('segm' in one.val_evaluator.metric) == evaluates_masks(one, 'val') == head.masks
    levels = re.search(r'-(\d)scale', kind), re.search(r'-(\d)scale', head.toy)
    for one, said in zip((cfg, toy), levels, strict=True):
        assert said is None or one.model.num_feature_levels == int(said[1])


@pytest.mark.parametrize('data', SETS)
@pytest.mark.parametrize('kind', HEADS)
def test_only_weights_and_positions_differ(kind, data):
    configs = [load(getattr(HEADS[kind], data)(init, kind)).to_dict() for init in INITIALISATIONS]
    for cfg in configs:
        del cfg['load_from']
        for setting in ('position', 'pretrain_img_size'):
            cfg['model']['backbone'].pop(setting, None)
        spared = cfg['optim_wrapper']['paramwise_cfg'].pop('no_decay', [])
        cfg['spared'] = [name for name in spared if name != 'backbone.pos_embed']
    assert configs[0] == configs[1] == configs[2]


@pytest.mark.parametrize(('kind', 'init'), CASES)
def test_loss_gradients_and_prediction(kind, init):
    cfg = small(kind, init)
    model, data = build(cfg), batch(kind)
    check_model(model)
    losses = step(model, data)
    assert all(loss.isfinite() for loss in losses.values()) and losses['loss'] > 0
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, gradient in trained.items() if gradient is None]
    assert not [name for name, gradient in trained.items() if not gradient.isfinite().all()]
    silent = [name for name, gradient in trained.items() if not gradient.any()]
    assert not [name for name in silent if name.startswith('backbone.')]
    for found, shape in zip(predict(model, data), [(64, 64), (48, 64)], strict=True):
        assert len(found) and found.labels.max() < 80
        assert found.bboxes.shape == (len(found), 4) and found.bboxes.isfinite().all()
        assert ('masks' in found) == HEADS[kind].masks
        assert not HEADS[kind].masks or found.masks.shape == (len(found), *shape)


@pytest.mark.parametrize('objects', [(3, 0), (0, 0)])
@pytest.mark.parametrize('kind', HEADS)
def test_images_without_objects(kind, objects):
    model = build(small(kind))
    losses = step(model, batch(kind, objects))
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize('kind', HEADS)
def test_predictions_are_float32_under_mixed_precision(kind):
    model, data = build(small(kind)), batch(kind)
    single = step(model, data)
    with torch.autocast('cpu', torch.bfloat16):
        mixed = step(model, data)
        found = predict(model, data)
    assert mixed['loss'].item() == pytest.approx(single['loss'].item(), rel=0.05)
    for one in found:
        # Of float32 scores none are equal, unless two are of one place.
        assert one.bboxes.dtype == one.scores.dtype == torch.float32
        assert not one.scores.equal(one.scores.bfloat16().float())


@pytest.mark.parametrize('data', SETS)
@pytest.mark.parametrize('kind', HEADS)
def test_layer_groups(kind, data):
    """Layers of the backbone have a rate each; all other parameters have the full rate."""
    head = HEADS[kind]
    cfg = load(getattr(head, data)('mae', kind))
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    of = {names[id(p)]: (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    assert of.keys() == set(names.values()) and sum(len(g['params']) for g in groups) == len(of)
    full, decay = cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay
    factor, depth = cfg.optim_wrapper.paramwise_cfg.layer_decay, len(model.backbone.blocks)
    for name, (rate, _) in of.items():
        layer = depth + 1
        if name.startswith('backbone.'):
            layer = int(name.split('.')[2]) + 1 if '.blocks.' in name else 0
        assert rate == pytest.approx(full * factor ** (depth + 1 - layer)), name
    assert of['backbone.blocks.0.attn.qkv.weight'][1] == decay
    embeddings = [name for name in of if re.search('query_|level_e', name)]
    assert bool(embeddings) == (kind in ('dino-5scale', 'mask2former'))
    spares = kind == 'mask2former' and data == 'coco'
    assert {of[name][1] for name in embeddings} <= {0.0 if spares else decay}


@SUPPLIED
@pytest.mark.parametrize('kind', HEADS)
def test_gpu_branch_equals_cpu_branch(kind):
    """Losses, gradients and predictions with the operators that mmcv and mmdet call on a GPU."""
    model, data = build(small(kind)), batch(kind)
    results = []
    for pretend in (False, True):
        with gpu_branch(everywhere=True) if pretend else contextlib.nullcontext():
            losses = step(model, data)
            gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
            found = predict(model, data)
        results.append((losses, gradients, [one.to_dict() for one in found]))
    for here, there in zip(*results, strict=True):
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('kind', HEADS)
def test_flops_are_those_of_a_step(kind):
    """The count without values equals that of real losses, where all layers are called."""
    cfg = small(kind)
    model, data = build(cfg), batch(kind, (0, 0))
    data = model.data_preprocessor(data, True)
    counted = count(cfg)
    forward, _ = flops_of(lambda: model.parse_losses(model(**data, mode='loss'))[0])
    if kind == 'cascade-mask-rcnn':  # an image without objects has fewer regions, and no masks
        assert counted.forward * 2 > forward
    else:
        assert counted.forward * 2 == forward


@SUPPLIED
@pytest.mark.slow
def test_the_table_is_up_to_date():
    assert read_section(PAGE, 'heads') == table().strip('\n'), 'run python -m tests.heads'

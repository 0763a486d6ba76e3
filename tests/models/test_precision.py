"""Mixed precision: which type is chosen, and what stays in float32."""

from types import SimpleNamespace

import pytest
import timm
import torch
from conftest import ROOT, TINY_ARCH, tiny_lomar
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import LOOPS, MODELS, OPTIM_WRAPPERS, init_default_scope

import lomar.timm  # noqa: F401  (registers)
from lomar import engine
from lomar.cli import parse_args
from lomar.compat import amp
from lomar.models import RPEViT

HALF = [torch.bfloat16, torch.float16]
TASKS = ['raw', 'cls_token', 'avg_featmap', 'featmap']
POSITIONS = [('irpe', True), ('irpe', False), ('absolute', True), ('absolute', False)]
POSITIONS += [('absolute+decomposed', False)]  # with a cls token it is refused


def seen_types(backbone):
    """Collect the types of every block's input and output."""
    types = []
    for block in backbone.blocks:
        block.register_forward_hook(
            lambda _, args, output: types.append((args[0].dtype, output.dtype))
        )
    return types


@pytest.mark.parametrize('dtype', HALF)
@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize(('position', 'with_cls_token'), POSITIONS)
def test_residual_stream_is_float32(position, with_cls_token, task, dtype):
    if task == 'cls_token' and not with_cls_token:
        with pytest.raises(ValueError, match='with_cls_token=True'):
            RPEViT(TINY_ARCH, out_type=task, position=position, with_cls_token=False)
        return
    window = 0 if with_cls_token else 3
    backbone = RPEViT(
        TINY_ARCH, 64, 8, 3, task, position, with_cls_token=with_cls_token, window_size=window
    )
    types = seen_types(backbone)
    with torch.autocast('cpu', dtype):
        backbone(torch.randn(2, 3, 64, 64))
    assert types == [(torch.float32, torch.float32)] * 3


def test_decomposed_positions_refuse_a_cls_token():
    with pytest.raises(ValueError, match='with_cls_token=False'):
        RPEViT(TINY_ARCH, position='absolute+decomposed')


@pytest.mark.parametrize('dtype', HALF)
@pytest.mark.parametrize('with_cls_token', [True, False])
def test_residual_stream_of_windows_is_float32(with_cls_token, dtype):
    model = tiny_lomar(dict(with_cls_token=with_cls_token))
    types = seen_types(model.backbone)
    with torch.autocast('cpu', dtype):
        model.loss(torch.randn(2, 3, 64, 64))
    assert types == [(torch.float32, torch.float32)] * 3


@pytest.mark.parametrize('dtype', HALF)
@pytest.mark.parametrize('class_token', [True, False])
def test_residual_stream_of_timms_models_is_float32(class_token, dtype):
    options = dict(img_size=64, depth=2, embed_dim=64, num_heads=1, class_token=class_token)
    model = timm.create_model('lomar_vit_small_patch16_224', **options)
    types = seen_types(model)
    with torch.autocast('cpu', dtype):
        model(torch.zeros(1, 3, 64, 64))
    assert set(types) == {(torch.float32, torch.float32)} and len(types) == 2


def test_a_model_in_half_precision_stays_in_it():
    backbone = RPEViT(TINY_ARCH, 64, 8).to(torch.bfloat16)
    assert backbone(torch.randn(2, 3, 64, 64, dtype=torch.bfloat16))[0].dtype == torch.bfloat16


@pytest.fixture(scope='module')
def detector():
    """The toy Mask R-CNN, ready to predict."""
    cfg = Config.fromfile(ROOT / 'mmconfigs/shapes/mask-rcnn_vitdet-tiny-scratch_shapes.py')
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.arch = dict(embed_dim=32, depth=2, num_heads=2)
    cfg.model.backbone.global_blocks = (1,)
    cfg.model.neck.in_channels = 32
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.eval()


def metas(count, side):
    return [
        dict(img_shape=(side, side), ori_shape=(side, side), scale_factor=(1.0, 1.0))
        for _ in range(count)
    ]


@torch.no_grad()
def test_proposals_are_ranked_in_float32(detector):
    """Of 1000 scores nearly all differ; bf16 logits of the same layer leave 4."""
    maps = [torch.randn(1, 64, side, side).bfloat16() for side in (64, 32, 16)]
    wanted = Config(dict(nms_pre=8192, max_per_img=1000, nms=dict(type='nms', iou_threshold=1.0)))
    wanted.min_bbox_size = 0
    with torch.autocast('cpu', torch.bfloat16):
        outputs = detector.rpn_head(maps)
        (found,) = detector.rpn_head.predict_by_feat(
            *outputs, batch_img_metas=metas(1, 256), cfg=wanted
        )
    assert {tensor.dtype for level in outputs for tensor in level} == {torch.float32}
    assert len(found) == 1000 and len(found.scores.unique()) > 980
    assert found.bboxes.dtype == torch.float32


@torch.no_grad()
def test_what_is_ranked_or_thresholded_is_float32(detector, monkeypatch):
    """Scores, box deltas and mask logits; and no coordinate of a RoI is rounded to 8 bits."""
    rois = torch.tensor([[0, 3.3, 5.7, 41.1, 60.9], [1, 10.01, 20.02, 30.03, 40.04]])
    seen = []
    roi = detector.roi_head
    for layer in (*roi.bbox_roi_extractor.roi_layers, *roi.mask_roi_extractor.roi_layers):
        layer.register_forward_hook(lambda _, args, output: seen.append(args[1]))
    with torch.autocast('cpu', torch.bfloat16):
        maps = detector.extract_feat(torch.randn(2, 3, 64, 64))
        boxes = roi._bbox_forward(maps, rois)
        masks = roi._mask_forward(maps, rois)
    assert {each.dtype for each in maps} == {torch.float32}
    for each in (boxes['cls_score'], boxes['bbox_pred'], masks['mask_preds']):
        assert each.dtype == torch.float32
    coordinates = torch.cat(seen)
    assert torch.equal(coordinates.unique(dim=0), rois.unique(dim=0))


@torch.no_grad()
def test_classes_are_ranked_in_float32():
    cfg = Config.fromfile(ROOT / 'mmconfigs/shapes/vit-tiny_scratch_1xb32-coslr-16e_shapes.py')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    with torch.autocast('cpu', torch.bfloat16):
        assert model(torch.randn(2, 3, 64, 64)).dtype == torch.float32


def on_gpu(monkeypatch, capability):
    """Pretend to have a GPU; PyTorch asks its properties whether it has bf16."""
    properties = SimpleNamespace(major=capability[0], minor=capability[1])
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 0)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda _: properties)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    # Emulation always works: that is what the answer must not depend on.
    monkeypatch.setattr(torch.cuda, '_check_bf16_tensor_supported', lambda _: True)


@pytest.mark.parametrize(
    ('capability', 'dtype', 'chosen'),
    [
        ((7, 0), None, torch.float16),  # V100
        ((7, 5), None, torch.float16),  # T4, RTX 20xx
        ((8, 0), None, torch.bfloat16),  # A100
        ((9, 0), None, torch.bfloat16),  # H100
        ((7, 5), 'bfloat16', torch.bfloat16),
        ((9, 0), 'float16', torch.float16),
    ],
)
def test_type_for_a_gpu(monkeypatch, capability, dtype, chosen):
    on_gpu(monkeypatch, capability)
    parameter = torch.nn.Parameter(torch.zeros(1))
    config = dict(type='AmpOptimWrapper', optimizer=torch.optim.SGD([parameter], 0.1))
    wrapper = OPTIM_WRAPPERS.build(config | ({} if dtype is None else dict(dtype=dtype)))
    assert isinstance(wrapper, AmpOptimWrapper) == (chosen == torch.float16)
    assert amp.loop_autocast(dtype or True).fast_dtype == chosen
    assert amp.loop_autocast(dtype or True).device == 'cuda'


@pytest.mark.parametrize(
    ('has_bf16', 'dtype', 'chosen'),
    [(True, None, torch.bfloat16), (False, None, None), (False, 'bfloat16', torch.bfloat16)],
)
def test_type_for_a_cpu(monkeypatch, has_bf16, dtype, chosen):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: has_bf16)
    assert amp.mixed_dtype(dtype) == chosen
    with amp.loop_autocast(dtype or True):
        assert torch.is_autocast_enabled('cpu') == (chosen is not None)


@pytest.mark.parametrize(
    ('dtype', 'words'), [('float16', 'allowed: bfloat16'), ('fp8', 'allowed: bfloat16, float16')]
)
def test_types_that_are_refused(monkeypatch, dtype, words):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match=f"optim_wrapper.dtype is '{dtype}'.*{words}"):
        amp.mixed_dtype(dtype)


@pytest.mark.parametrize('fp16', ['fp8', 'float16'])
def test_types_of_loops_are_refused_before_the_first_step(monkeypatch, fp16):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    loop = SimpleNamespace(fp16=fp16)
    monkeypatch.setattr('mmengine.runner.Runner.build_val_loop', lambda *_: loop)
    with pytest.raises(ValueError, match=f"fp16 of val_cfg or test_cfg is '{fp16}'.*allowed"):
        engine.Runner.__new__(engine.Runner).build_val_loop(dict())


@pytest.mark.cpu
@pytest.mark.parametrize('loop', ['val', 'test'])
@pytest.mark.parametrize('fp16', [False, True, 'bfloat16'])
def test_loops_run_in_the_type_of_training(monkeypatch, loop, fp16):
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: True)
    types = []

    def step(_):
        types.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return [SimpleNamespace()]

    ignore = SimpleNamespace(process=lambda **_: None)
    runner = SimpleNamespace(
        model=SimpleNamespace(**{f'{loop}_step': step}), call_hook=lambda *_, **__: None
    )
    kind = LOOPS.get(f'{loop.capitalize()}Loop')
    self = SimpleNamespace(runner=runner, fp16=fp16, evaluator=ignore)
    setattr(self, f'{loop}_loss', {})
    kind.run_iter.__wrapped__(self, 0, [])
    assert types == [torch.bfloat16 if fp16 else torch.float32]


@pytest.mark.parametrize(
    ('options', 'fp16'), [([], False), (['--amp'], True), (['--amp', 'bfloat16'], 'bfloat16')]
)
def test_amp_of_the_test_command(options, fp16, photographs, tmp_path):
    checkpoint = tmp_path / 'any.pth'
    torch.save({}, checkpoint)
    labels = tmp_path / 'val.txt'
    labels.write_text(f'{photographs / "0.jpg"} a\n{photographs / "1.jpg"} b\n')
    config = ROOT / 'mmconfigs/shapes/vit-tiny_scratch_1xb32-coslr-16e_shapes.py'
    line = ['test', str(config), str(checkpoint), '--val-images', str(labels), *options[:1]]
    if options[1:]:
        line += ['--cfg-options', f'optim_wrapper.dtype={options[1]}']
    cfg = engine.test_config(parse_args(line))
    assert cfg.test_cfg.get('fp16', False) == fp16

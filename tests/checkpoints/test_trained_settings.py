"""Settings that the shapes of weights do not show are those of the training, or an error."""

from types import SimpleNamespace

import pytest
import torch
from conftest import randomised
from mmengine.config import Config
from mmengine.registry import MODELS

from lomar import Encoder
from lomar.checkpoints.convert import convert_file
from lomar.checkpoints.trained_settings import config_settings, trained_settings
from lomar.engine.runner import Runner

ARCH = dict(embed_dim=48, depth=2, num_heads=6)
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
THEIRS = dict(embed_dims=48, num_layers=2, num_heads=6, feedforward_channels=192)


def lomar_model(arch=None, rpe=None, **normalisation):
    backbone = dict(type='LoMaRViT', arch=ARCH | (arch or {}), img_size=32, patch_size=8)
    return dict(
        type='LoMaR',
        data_preprocessor=dict(type='PretrainDataPreprocessor', **IMAGENET | normalisation),
        backbone=backbone | dict(rpe=dict(shared_heads=False, mode='bias') | (rpe or {})),
        windows=dict(size=3, number=2),
        head=dict(type='WindowPixelHead'),
    )


def classifier(position='absolute', heads=6, **normalisation):
    arch = ARCH | dict(num_heads=heads)
    settings = dict(img_size=32, patch_size=8, position=position, out_type='avg_featmap')
    return dict(
        type='mmpretrain.ImageClassifier',
        data_preprocessor=dict(type='LabelledDataPreprocessor', **IMAGENET | normalisation),
        backbone=dict(type='RPEViT', arch=arch, **settings),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=4, in_channels=48),
    )


def write(path, model):
    """Write the checkpoint of a model; return its path."""
    weights = randomised(MODELS.build(model)).state_dict()
    meta = dict(cfg=Config(dict(model=model)).pretty_text)
    torch.save(dict(state_dict=weights, meta=meta), path)
    return path


def load(path, model, train=1, allow=()):
    """Load as a run does; return the lines of the log."""
    runner, lines = Runner.__new__(Runner), []
    runner.cfg = Config(dict(model=model, transfer=dict(allow=list(allow))))
    runner.model, runner._resume, runner._train_loop = MODELS.build(model), False, train
    runner._check_classes = lambda *given: None
    runner.logger = SimpleNamespace(info=lines.append, warning=lines.append)
    runner.call_hook = lambda *name, **given: None
    runner.load_checkpoint(str(path))
    return '\n'.join(lines)


# The model of the file, that of the run, and the setting that differs while all shapes are equal.
SILENT = (
    (classifier(), classifier(heads=3), 'backbone.arch.num_heads was 6 and is 3'),
    (
        lomar_model(rpe=dict(method='euclidean')),
        lomar_model(rpe=dict(method='quant')),
        'backbone.rpe.method was euclidean and is quant',
    ),
    (
        lomar_model(rpe=dict(ratio=1.9)),
        lomar_model(rpe=dict(ratio=1.8)),
        'backbone.rpe.ratio was 1.9 and is 1.8',
    ),
)


@pytest.mark.parametrize(('trained', 'now', 'message'), SILENT)
@pytest.mark.parametrize('train', [1, None])
def test_other_heads_and_positions_are_refused(trained, now, message, train, tmp_path):
    path = write(tmp_path / 'in.pth', trained)
    with pytest.raises(ValueError, match=rf'in\.pth: model\.{message}, which the shapes'):
        load(path, now, train)
    key = message.partition(' ')[0]
    assert 'All weights of the model loaded' in load(path, now, train, allow=[key])
    assert load(path, trained, train).count('\n') == 0


def test_another_normalisation_is_a_warning_to_train_and_an_error_to_test(tmp_path):
    path, now = write(tmp_path / 'in.pth', classifier()), classifier(mean=[0.0] * 3)
    assert 'data_preprocessor.mean was [123.675, 116.28, 103.53] and is [0.0' in load(path, now)
    with pytest.raises(ValueError, match=r'in\.pth: model\.data_preprocessor\.mean was \[123\.675'):
        load(path, now, train=None)


def test_heads_and_positions_of_every_model_are_read():
    theirs = dict(type='mmpretrain.MAEViT', arch=THEIRS)
    for backbone, heads in (
        (dict(type='RPEViT', arch='large'), 16),
        (dict(type='LoMaRViT'), 12),
        (theirs, 6),
        (dict(type='MAEViT', arch='b'), 12),
        (dict(type='ResNet', depth=50), None),
    ):
        found = config_settings(dict(model=dict(backbone=backbone)))
        assert found.get('backbone.arch.num_heads') == heads
        wrapped = dict(type='BoxTTAModel', module=dict(backbone=backbone))
        assert config_settings(dict(model=wrapped)) == found
    for nothing in (None, {}, dict(backbone=None), dict(backbone=dict(type='RPEViT', arch='own'))):
        config_settings(dict(model=nothing))
    assert trained_settings(dict(state_dict={})) == {}


def test_a_preprocessor_beside_the_model_is_read():
    """As in mmpretrain's configs; mmengine gives it to the model."""
    own, shared = dict(mean=[1, 2, 3], std=[4, 5, 6]), dict(mean=[7, 8, 9], std=[4, 5, 6])
    for model, expected in (({}, shared), (dict(data_preprocessor=own), own)):
        for nested in (model, dict(type='BoxTTAModel', module=model)):
            found = config_settings(dict(model=nested, data_preprocessor=shared))
            assert found == {f'data_preprocessor.{key}': value for key, value in expected.items()}


def test_encoder_and_converter_read_the_heads_of_the_config(tmp_path):
    path = write(tmp_path / 'in.pth', classifier())
    encoder = Encoder(path, 'cpu')
    assert encoder.backbone.blocks[0].attn.num_heads == 6
    done = convert_file(path, tmp_path / 'out.pth', 'lomar', 'timm')
    assert done.encoder.backbone['arch']['num_heads'] == 6 and done.check.startswith('verified')
    assert Encoder(path, 'cpu', num_heads=3).backbone.blocks[0].attn.num_heads == 3
    rpe = dict(method='euclidean', shared_heads=True, mode='contextual')
    path = write(tmp_path / 'rpe.pth', lomar_model(rpe=rpe))
    assert Encoder(path, 'cpu').backbone.blocks[0].attn.rpe_k.method == 'euclidean'


def test_the_encoder_refuses_to_guess_a_normalisation(tmp_path):
    path = write(tmp_path / 'in.pth', classifier(mean=[127.5] * 3, std=[127.5] * 3))
    with pytest.raises(ValueError, match=r'trained with data_preprocessor\.mean=\[127\.5, 127\.5'):
        Encoder(path, 'cpu')
    assert Encoder(path, 'cpu', mean=[127.5] * 3, std=[127.5] * 3).backbone.depth == 2

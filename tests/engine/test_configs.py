"""Every pretraining config: what its name says, what it builds, and a step of training with it."""

import re

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, FUNCTIONS, MODELS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.models import MAEViT
from PIL import Image

from lomar.cli import demo
from lomar.engine.schedule import resolve_schedule
from tests.recipes.resolved import length

CONFIGS = sorted(
    path.relative_to(ROOT / 'mmconfigs').as_posix()
    for path in (ROOT / 'mmconfigs').rglob('*.py')
    if path.stem == 'lomar_pretrain' or re.match(r'(lomar(-\w+)?|mae)_vit', path.name)
    if '_base_' not in path.parts
)
TRAINED = sorted(
    path.relative_to(ROOT / 'mmconfigs').as_posix()
    for path in (ROOT / 'mmconfigs').rglob('*.py')
    if '_base_' not in path.parts
)
NAME = re.compile(
    r'(?P<method>lomar|mae)(-(?P<target>maskfeat|distil|beit))?_vit-(?P<arch>\w+)-p(?P<patch>\d+)_'
    r'(?P<gpus>\d+)xb(?P<batch>\d+)'
    r'(?P<amp>-amp)?-coslr-(?P<epochs>\d+)e_(?P<data>in1k|shapes|rasters)(-(?P<px>\d+)px)?'
    r'(?P<parts>-regions|-native)?'
)
TARGETS = dict(maskfeat='HOGTarget', distil='TeacherTarget', beit='TokenTarget')
LOADERS = {None: 'LoadRandomResizedCrop', '-regions': 'LoadWindows', '-native': 'LoadNative'}


def load(name):
    cfg = Config.fromfile(ROOT / 'mmconfigs' / name)
    init_default_scope(cfg.default_scope)
    return cfg


def shrink(model):
    """The same model, narrow and shallow."""
    if model.type == 'LoMaR':
        model.backbone.arch = dict(embed_dim=24, depth=2, num_heads=2)
        if 'weights' in model.head.get('target', {}):
            model.head.target.weights = 'random'
        return
    model.backbone.arch = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
    model.neck.update(embed_dim=24, decoder_embed_dim=32, decoder_depth=1, decoder_num_heads=2)


def test_there_are_configs():
    assert len(CONFIGS) >= 15 and 'lomar_pretrain.py' in CONFIGS


@pytest.mark.parametrize('name', CONFIGS)
def test_name_and_content_agree(name):
    cfg = load(name)
    if name == 'lomar_pretrain.py':
        name = 'pretrain/lomar_vit-base-p16_8xb512-amp-coslr-1600e_in1k.py'
    said = NAME.fullmatch(name.split('/')[1].removesuffix('.py'))
    backbone, loader = cfg.model.backbone, cfg.train_dataloader
    assert cfg.model.type == dict(lomar='LoMaR', mae='MAE')[said['method']]
    if said['target']:
        assert cfg.model.head.type == 'WindowHead'
        assert cfg.model.head.target.type == TARGETS[said['target']]
    elif said['method'] == 'lomar':
        assert cfg.model.head.type == 'WindowPixelHead'
    if isinstance(backbone.arch, str):
        assert {'b': 'base'}.get(backbone.arch, backbone.arch) == said['arch']
    assert backbone.patch_size == int(said['patch'])
    assert loader.batch_size == int(said['batch'])
    assert cfg.auto_scale_lr.base_batch_size == int(said['gpus']) * int(said['batch'])
    assert (cfg.optim_wrapper.type == 'AmpOptimWrapper') == bool(said['amp'])
    assert cfg.train_cfg.max_epochs == int(said['epochs'])
    assert {'in1k': 'imagenet'}.get(said['data'], said['data']) in loader.dataset.data_root
    side = int(said['px'] or (64 if said['data'] == 'shapes' else 224))
    first = loader.dataset.pipeline[0]
    assert first.type == ('LoadWindows' if said['data'] == 'rasters' else LOADERS[said['parts']])
    assert backbone.img_size == first.get('scale', side) == side
    assert first.get('patch_size', backbone.patch_size) == backbone.patch_size
    if said['method'] == 'mae':
        neck, arch = cfg.model.neck, backbone.arch
        assert neck.num_patches == (side // backbone.patch_size) ** 2
        assert neck.patch_size == cfg.model.head.patch_size == backbone.patch_size
        width = (MAEViT.arch_zoo[arch] if isinstance(arch, str) else arch)['embed_dims']
        assert neck.embed_dim == width
    schedule = resolve_schedule(cfg.param_scheduler, length(cfg))
    ends = [(step['begin'], step['end']) for step in schedule]
    assert ends[0][0] == 0 and ends[0][1] == ends[1][0] and ends[1][1] == int(said['epochs'])
    # LoMaR's release: 20 of 400 epochs; MAE's: 40 of any number.
    warmup = 1 if said['data'] == 'shapes' else ends[1][1] // 20
    assert ends[0][1] == (40 if said['method'] == 'mae' and said['data'] == 'in1k' else warmup)


@pytest.mark.parametrize('name', CONFIGS)
def test_takes_a_step(name, photographs):
    cfg = load(name)
    read = {'custom_imports', 'log_level', 'model_wrapper_cfg', 'runner_type'}
    known = set(Runner.__init__.__code__.co_varnames) | read
    assert set(cfg) <= known, 'keys that nothing reads'
    shrink(cfg.model)
    for path in photographs.iterdir():  # room for four windows at their own resolution
        Image.open(path).resize((224, 160)).save(path)
    cfg.train_dataloader.dataset.data_root = str(photographs)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    collate = FUNCTIONS.get(cfg.train_dataloader.collate_fn.type)
    batch = collate([dataset[0], dataset[1]])
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    losses = model.train_step(batch, optim_wrapper)
    # Normalised pixels have variance 1; a histogram of 9 bins has a mean square of 1 / 9, and the
    # logarithm of 8192 words is 9.
    least, most = (0.1, 10) if cfg.model.head.type == 'WindowHead' else (0.5, 5)
    assert least < losses['loss'] < most
    changed = [key for key, value in model.state_dict().items() if not value.equal(before[key])]
    assert len(changed) > len(list(model.parameters())) // 2


@pytest.mark.parametrize('name', TRAINED)
def test_batches_and_rates_are_those_of_the_recipes(name):
    """What holds for pretraining, classification and detection alike."""
    cfg = load(name)
    loader = cfg.train_dataloader
    if loader.sampler.type == 'InfiniteReplaySampler':
        assert cfg.train_cfg.type == 'ReplayIterLoop'  # all batches are complete
    else:
        assert loader.drop_last, 'an incomplete batch would be trained on at the full rate'
    for scheduler in cfg.param_scheduler:
        # Layers have rates of their own: one lowest rate for all raises that of the first layers.
        assert not scheduler.get('eta_min'), 'absolute; allowed: eta_min_ratio'


@pytest.mark.parametrize('name', TRAINED)
def test_initial_weights_are_the_last_of_another_config(name):
    cfg = load(name)
    if cfg.load_from is None:
        return
    folder = cfg.load_from.split('/')[-2]
    if folder == 'pretrain':
        assert cfg.load_from == f'work_dirs/demo/pretrain/epoch_{demo.EPOCHS}.pth'
        return
    (source,) = (each for each in CONFIGS if each.endswith(f'{folder}.py'))
    assert cfg.load_from == f'work_dirs/{folder}/epoch_{load(source).train_cfg.max_epochs}.pth'


def test_the_paper_recipe():
    cfg = load('lomar_pretrain.py')
    assert cfg.model.windows == dict(size=7, number=4, mask_ratio=0.8, sampling='image')
    assert cfg.model.head.norm_pix is True
    assert cfg.train_dataloader.batch_size * 8 == 4096
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.betas, optimizer.weight_decay) == (2.4e-3, (0.9, 0.95), 0.05)
    assert cfg.train_cfg.max_epochs == 1600
    model = MODELS.build(cfg.model)
    block = 12 * 768**2 + 13 * 768 + 64 * 50  # matrices, vectors, iRPE table
    ends = 2 * 768**2 + 2 * 768  # patch embedding and prediction: 16 * 16 * 3 = 768
    tokens_and_norm = 2 * 768 + 2 * 768
    assert sum(p.numel() for p in model.parameters()) == 12 * block + ends + tokens_and_norm


def test_weight_decay_groups():
    cfg = load('lomar_pretrain.py')
    shrink(cfg.model)
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    decay = {group['weight_decay']: {names[id(p)] for p in group['params']} for group in groups}
    assert set(decay) == {0.0, 0.05} and sum(map(len, decay.values())) == len(names)
    # As the original code: vectors do not decay; tokens and tables, which are 3-D, do.
    assert decay[0.0] == {n for n in names.values() if n.endswith('bias') or 'norm' in n}
    cfg.optim_wrapper.paramwise_cfg = dict(no_decay=['*.cls_token'])
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    assert 'backbone.cls_token' in {
        names[id(p)] for group in groups if not group['weight_decay'] for p in group['params']
    }
    cfg.optim_wrapper.paramwise_cfg = dict(no_decay=['cls_token'])
    with pytest.raises(ValueError, match=r"no_decay has \['cls_token'\], which match no parameter"):
        build_optim_wrapper(model, cfg.optim_wrapper)
    cfg.optim_wrapper.paramwise_cfg = dict(norm_decay_mult=0)
    with pytest.raises(ValueError, match=r'norm_decay_mult.* allows: layer_decay'):
        build_optim_wrapper(model, cfg.optim_wrapper)

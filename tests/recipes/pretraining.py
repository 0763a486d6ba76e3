"""Official settings of pretraining with LoMaR and MAE."""

from tests.recipes import measure
from tests.recipes.shared import (
    AMP,
    MEAN,
    STD,
    WARM_START,
    arch,
    at,
    base_rate,
    crop,
    norm_eps,
    schedule,
)
from tests.recipes.table import Recipe, Setting

COSINE = ('LinearLR', 'CosineAnnealingLR')


def _optimization(readme: str, main: str, engine: str) -> tuple[Setting, ...]:
    """Return settings that both official codes share, with the given source files."""
    return (
        Setting('effective batch', at('auto_scale_lr.base_batch_size'), 4096, readme),
        Setting('learning rate for 256 images', base_rate, 1.5e-4, readme),
        Setting('optimizer', at('optim_wrapper.optimizer.type'), 'AdamW', main),
        Setting('betas', at('optim_wrapper.optimizer.betas'), (0.9, 0.95), main),
        Setting('weight decay', at('optim_wrapper.optimizer.weight_decay'), 0.05, readme),
        Setting('learning rate schedulers', schedule, COSINE, 'util/lr_sched.py'),
        Setting(
            'lowest learning rate', lambda r: r.value('param_scheduler.1.eta_min') or 0, 0, main
        ),
        Setting(
            'learning rate of the first step / peak',
            at('param_scheduler.0.start_factor'),
            0,
            'util/lr_sched.py',
            WARM_START,
        ),
        Setting('gradient clipping', at('optim_wrapper.clip_grad'), None, engine),
        Setting('mixed precision', at('optim_wrapper.type'), 'fp16 with loss scaling', engine, AMP),
        Setting('incomplete batches are dropped', at('train_dataloader.drop_last'), True, main),
        Setting('image size', at('model.backbone.img_size'), 224, main),
        Setting('crop: fraction of the area', crop('crop_ratio_range'), (0.2, 1), main),
        Setting('crop: aspect ratio', crop('aspect_ratio_range'), (3 / 4, 4 / 3), main),
        Setting('crop: interpolation', measure.crop_filter, 'bicubic', main),
        Setting('flip probability', crop('flip_prob'), 0.5, main),
        Setting('mean', at('model.data_preprocessor.mean'), MEAN, main),
        Setting('standard deviation', at('model.data_preprocessor.std'), STD, main),
        Setting('normalized pixels as target', at('model.head.norm_pix'), True, readme),
    )


def _rpe(r) -> tuple:
    """Return the settings of the relative positions, including the backbone's defaults."""
    from inspect import signature

    from lomar.models.rpe import build_rpe

    defaults = {k: p.default for k, p in signature(build_rpe).parameters.items()}
    given = {**defaults, **(r.value('model.backbone.rpe') or {})}
    return tuple(given[key] for key in ('method', 'mode', 'on', 'ratio', 'shared_heads'))


def _masked(r) -> int:
    (sampler,) = r.model.samplers
    return sampler.num_masked


VIT = 'vision_transformer_irpe.py'
XAVIER = (2 / (768 + 3 * 768)) ** 0.5  # standard deviation for the qkv matrix
LOMAR = Recipe(
    'Pretraining with LoMaR',
    {'B': 'lomar_pretrain.py'},
    'junchen14/LoMaR@d9ca9c8',
    (
        Setting('width, depth, heads', arch, (768, 12, 12), 'models_lomar.py'),
        Setting('patch size', at('model.backbone.patch_size'), 16, 'models_lomar.py'),
        Setting('epsilon of all norms', norm_eps, (1e-6,), 'models_lomar.py'),
        Setting('windows per image', at('model.windows.number'), 4, 'README.md'),
        Setting('window size in patches', at('model.windows.size'), 7, 'README.md'),
        Setting('masked patches per window', _masked, int(49 * 0.8), 'models_lomar.py'),
        Setting(
            'window positions',
            lambda r: f'drawn per {r.value("model.windows.sampling")}',
            'drawn per batch',
            'models_lomar.py',
            'the paper draws windows per image; `model.windows.sampling=batch` repeats the release',
        ),
        Setting(
            'iRPE: method, mode, on, ratio, shared heads',
            _rpe,
            ('product', 'contextual', 'k', 1.9, True),
            VIT,
        ),
        Setting(
            'absolute positions are added',
            lambda r: hasattr(r.model.backbone, 'pos_embed'),
            False,
            'models_lomar.py',
        ),
        Setting(
            'initial std of qkv (Xavier)',
            measure.backbone_std('blocks.0.attn.qkv.weight'),
            XAVIER,
            'models_lomar.py',
            tolerance=0.01,
        ),
        Setting(
            'initial std of the patch embedding (Xavier)',
            measure.backbone_std('patch_embed.proj.weight'),
            (2 / (768 + 768)) ** 0.5,
            'models_lomar.py',
            tolerance=0.01,
        ),
        Setting(
            'parameters without weight decay',
            lambda r: r.spared(),
            ('biases', 'norms of the backbone'),
            'main_pretrain_lomar.py',
        ),
        Setting('epochs', at('train_cfg.max_epochs'), 1600, 'README.md (released weights)'),
        Setting(
            'warm-up epochs / epochs',
            lambda r: r.value('param_scheduler.0.end') / r.value('train_cfg.max_epochs'),
            20 / 400,
            'README.md',
        ),
        *_optimization('README.md', 'main_pretrain_lomar.py', 'engine_pretrain.py'),
    ),
)


def _mae_arch(r) -> tuple[int, int, int]:
    backbone = r.model.backbone
    return backbone.embed_dims, backbone.num_layers, backbone.layers[0].attn.num_heads


MAE = Recipe(
    'Pretraining with MAE',
    {
        '1600e': 'pretrain/mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k.py',
        '800e': 'pretrain/mae_vit-base-p16_8xb512-amp-coslr-800e_in1k.py',
        '400e': 'pretrain/mae_vit-base-p16_8xb512-amp-coslr-400e_in1k.py',
    },
    'facebookresearch/mae@efb2a80',
    (
        Setting('width, depth, heads', _mae_arch, (768, 12, 12), 'models_mae.py'),
        Setting('patch size', at('model.backbone.patch_size'), 16, 'models_mae.py'),
        Setting('epsilon of all norms', norm_eps, (1e-6,), 'models_mae.py'),
        Setting(
            'absolute positions are learned',
            lambda r: r.model.backbone.pos_embed.requires_grad,
            False,
            'models_mae.py',
        ),
        Setting('mask ratio', at('model.backbone.mask_ratio'), 0.75, 'PRETRAIN.md'),
        Setting(
            'decoder: width, depth, heads',
            lambda r: tuple(
                r.value(f'model.neck.decoder_{key}') for key in ('embed_dim', 'depth', 'num_heads')
            ),
            (512, 8, 16),
            'models_mae.py',
        ),
        Setting(
            'initialization of linear layers',
            lambda r: (
                f'{r.value("model.init_cfg.0.type")} {r.value("model.init_cfg.0.distribution")}'
            ),
            'Xavier uniform',
            'models_mae.py',
        ),
        Setting(
            'parameters without weight decay',
            lambda r: r.spared(),
            ('biases', 'norms of the backbone', 'other norms'),
            'main_pretrain.py',
        ),
        Setting('warm-up epochs', at('param_scheduler.0.end'), 40, 'PRETRAIN.md'),
        *_optimization('PRETRAIN.md', 'main_pretrain.py', 'engine_pretrain.py'),
    ),
)

"""Official settings of fine-tuning and linear probing on ImageNet-1k."""

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
    has_step,
    norm_eps,
    schedule,
    step,
)
from tests.recipes.table import PerSize, Recipe, Setting

GUIDE, MAIN, LINEAR = 'FINETUNE.md', 'main_finetune.py', 'main_linprobe.py'
DECAYS, DEPTHS = dict(B=0.65, L=0.75, H=0.75), dict(B=12, L=24, H=32)
EMBEDDING = 'backbone.patch_embed.proj.weight'


def _mixing(r) -> tuple:
    """Return type, alpha and probability per batch of Mixup and CutMix."""
    settings = r.value('model.train_cfg.augments')
    probs = r.value('model.train_cfg.probs')
    shares = probs or [1 / len(settings)] * len(settings)
    return tuple((one.type, one.alpha, share) for one, share in zip(settings, shares, strict=True))


def _schedule(main: str) -> tuple[Setting, ...]:
    return (
        Setting(
            'learning rate schedulers',
            schedule,
            ('LinearLR', 'CosineAnnealingLR'),
            'util/lr_sched.py',
        ),
        Setting(
            'learning rate of the first step / peak',
            at('param_scheduler.0.start_factor'),
            0,
            'util/lr_sched.py',
            WARM_START,
        ),
        Setting('gradient clipping', at('optim_wrapper.clip_grad'), None, main),
        Setting(
            'mixed precision',
            at('optim_wrapper.type'),
            'fp16 with loss scaling',
            'engine_finetune.py',
            AMP,
        ),
        Setting('incomplete batches are dropped', at('train_dataloader.drop_last'), True, main),
        Setting('image size', at('model.backbone.img_size'), 224, main),
        Setting('crop: fraction of the area', crop('crop_ratio_range'), (0.08, 1), main),
        Setting('crop: interpolation', measure.crop_filter, 'bicubic', main),
        Setting('flip probability', crop('flip_prob'), 0.5, main),
        Setting('mean', at('model.data_preprocessor.mean'), MEAN, main),
        Setting('standard deviation', at('model.data_preprocessor.std'), STD, main),
        Setting('test: shorter side', step('ResizeEdge', 'scale', 'val'), 256, main),
        Setting('test: interpolation', step('ResizeEdge', 'interpolation', 'val'), 'bicubic', main),
        Setting('test: crop', step('CenterCrop', 'crop_size', 'val'), 224, main),
    )


FINE_TUNING = Recipe(
    'Fine-tuning',
    {
        'B': 'classify/vit-b_mae_8xb128-amp-coslr-100e_in1k.py',
        'L': 'classify/vit-l_mae_8xb128-amp-coslr-50e_in1k.py',
        'H': 'classify/vit-h-p14_mae_8xb128-amp-coslr-50e_in1k.py',
    },
    'facebookresearch/mae@efb2a80; junchen14/LoMaR@d9ca9c8 has the same values for ViT-B',
    (
        Setting(
            'width, depth, heads',
            arch,
            PerSize(B=(768, 12, 12), L=(1024, 24, 16), H=(1280, 32, 16)),
            'models_vit.py',
        ),
        Setting('patch size', at('model.backbone.patch_size'), PerSize(B=16, L=16, H=14), GUIDE),
        Setting('epsilon of all norms', norm_eps, (1e-6,), 'models_vit.py'),
        Setting('effective batch', at('auto_scale_lr.base_batch_size'), 1024, GUIDE),
        Setting('learning rate for 256 images', base_rate, PerSize(B=5e-4, L=1e-3, H=1e-3), GUIDE),
        Setting('optimizer', at('optim_wrapper.optimizer.type'), 'AdamW', MAIN),
        Setting('betas', at('optim_wrapper.optimizer.betas'), (0.9, 0.999), MAIN),
        Setting('weight decay', at('optim_wrapper.optimizer.weight_decay'), 0.05, GUIDE),
        Setting(
            'parameters without weight decay',
            lambda r: r.spared(),
            ('absolute positions', 'biases', 'cls token', 'norms of the backbone'),
            'util/lr_decay.py',
        ),
        Setting(
            'layer decay', at('optim_wrapper.paramwise_cfg.layer_decay'), PerSize(DECAYS), GUIDE
        ),
        Setting(
            'learning rate of the patch embedding / of the head',
            lambda r: r.groups[EMBEDDING][0] / r.value('optim_wrapper.optimizer.lr'),
            PerSize({size: DECAYS[size] ** (DEPTHS[size] + 1) for size in DECAYS}),
            'util/lr_decay.py',
        ),
        Setting(
            'lowest learning rate of the head',
            lambda r: (
                r.value('optim_wrapper.optimizer.lr') * r.cfg.param_scheduler[1].eta_min_ratio
            ),
            1e-6,
            MAIN,
        ),
        Setting(
            'lowest learning rate of the patch embedding',
            lambda r: r.groups[EMBEDDING][0] * r.cfg.param_scheduler[1].eta_min_ratio,
            PerSize({size: 1e-6 * DECAYS[size] ** (DEPTHS[size] + 1) for size in DECAYS}),
            'util/lr_sched.py',
        ),
        Setting('epochs', at('train_cfg.max_epochs'), PerSize(B=100, L=50, H=50), GUIDE),
        Setting('warm-up epochs', at('param_scheduler.0.end'), 5, MAIN),
        *_schedule(MAIN),
        Setting(
            'drop path', at('model.backbone.drop_path_rate'), PerSize(B=0.1, L=0.2, H=0.3), GUIDE
        ),
        Setting('RandAugment', step('TimmRandAugment', 'policy'), 'rand-m9-mstd0.5-inc1', MAIN),
        Setting('random erasing: probability', step('RandomErasing', 'erase_prob'), 0.25, GUIDE),
        Setting(
            'random erasing: fraction of the area',
            lambda r: (
                r.step('RandomErasing').min_area_ratio,
                r.step('RandomErasing').max_area_ratio,
            ),
            (0.02, 1 / 3),
            f'{MAIN} (timm)',
        ),
        Setting(
            'random erasing: fill',
            lambda r: f'noise per pixel ({r.step("RandomErasing").mode}) of 8 bits',
            'noise per pixel (pixel)',
            MAIN,
            'erasing precedes normalization, so noise outside 0 to 255 (3 %) is clipped',
        ),
        Setting(
            'mixing: type, alpha, probability per batch',
            _mixing,
            (('Mixup', 0.8, 0.5), ('CutMix', 1.0, 0.5)),
            GUIDE,
        ),
        Setting('label smoothing', at('model.head.loss.label_smooth_val'), 0.1, MAIN),
        Setting(
            'pooling',
            at('model.backbone.out_type'),
            'avg_featmap',
            'models_vit.py (global_pool)',
        ),
        Setting('initial std of the head', at('model.head.init_cfg.std'), 2e-5, MAIN),
        Setting(
            'without pretraining: initial std of qkv',
            measure.backbone_std('blocks.0.attn.qkv.weight'),
            0.02,
            'models_vit.py (timm)',
            tolerance=0.01,
        ),
    ),
)


def _lars(name: str):
    """Return a function that reads an option of LARS from the built optimizer."""
    from timm.optim import Lars
    from torch import nn

    def read(r) -> object:
        options = {k: v for k, v in r.cfg.optim_wrapper.optimizer.items() if k != 'type'}
        return Lars([nn.Parameter(nn.Linear(1, 1).weight)], **options).defaults[name]

    return read


LINEAR_PROBING = Recipe(
    'Linear probing',
    {'B': 'classify/vit-b_mae_8xb2048-amp-linear-coslr-90e_in1k.py'},
    'facebookresearch/mae@efb2a80; the release of LoMaR has no linear probing',
    (
        Setting('effective batch', at('auto_scale_lr.base_batch_size'), 16384, GUIDE),
        Setting('learning rate for 256 images', base_rate, 0.1, GUIDE),
        Setting(
            'optimizer', lambda r: r.value('optim_wrapper.optimizer.type').upper(), 'LARS', LINEAR
        ),
        Setting('momentum', _lars('momentum'), 0.9, 'util/lars.py'),
        Setting('trust coefficient', _lars('trust_coeff'), 0.001, 'util/lars.py'),
        Setting('learning rate of weights is adapted', _lars('always_adapt'), True, 'util/lars.py'),
        Setting(
            'learning rate of biases is adapted',
            at('optim_wrapper.paramwise_cfg.vectors.always_adapt'),
            False,
            'util/lars.py',
        ),
        Setting('weight decay', at('optim_wrapper.optimizer.weight_decay'), 0, GUIDE),
        Setting('epochs', at('train_cfg.max_epochs'), 90, GUIDE),
        Setting('warm-up epochs', at('param_scheduler.0.end'), 10, LINEAR),
        Setting(
            'lowest learning rate', lambda r: r.value('param_scheduler.1.eta_min') or 0, 0, LINEAR
        ),
        *_schedule(LINEAR),
        Setting(
            'crop: attempts before a center crop',
            crop('max_attempts'),
            1,
            'util/crop.py',
            'mmpretrain draws a new crop if a crop exceeds the image; MAE clips the crop',
        ),
        Setting('RandAugment is used', has_step('TimmRandAugment'), False, LINEAR),
        Setting('random erasing is used', has_step('RandomErasing'), False, LINEAR),
        Setting(
            'trained parts',
            lambda r: tuple(sorted({n.split('.')[0] for n in r.groups})),
            ('head',),
            LINEAR,
        ),
        Setting('features', at('model.backbone.out_type'), 'cls_token', GUIDE),
        Setting(
            'batch norm before the head: affine, epsilon',
            lambda r: (r.model.neck.bn.affine, r.model.neck.bn.eps),
            (False, 1e-6),
            LINEAR,
        ),
        Setting('initial std of the head', at('model.head.init_cfg.std'), 0.01, LINEAR),
    ),
)

"""Official settings of Mask R-CNN with a plain ViT on COCO."""

from tests.recipes import measure
from tests.recipes.heads import HEADS, INITIAL, MODEL, TRAIN
from tests.recipes.shared import AMP, MEAN, STD, arch, at, norm_eps, step
from tests.recipes.table import PerSize, Recipe, Setting

CONFIG = 'projects/ViTDet/configs/COCO/mask_rcnn_vitdet_*.py'
LOADER = 'projects/ViTDet/configs/common/coco_loader_lsj.py'
OPTIM = 'configs/common/optim.py'
VIT = 'detectron2/modeling/backbone/vit.py'
EMBEDDING = 'backbone.patch_embed.proj.weight'
DECAYS, DEPTHS = dict(B=0.7, L=0.8, H=0.9), dict(B=12, L=24, H=32)


def _in_order(r) -> bool:
    """Return whether the pipeline flips, resizes and crops images in this order."""
    pipeline = list(r.cfg.train_dataloader.dataset.pipeline)
    places = [pipeline.index(r.step(key)) for key in ('RandomFlip', 'ratio_range', 'crop_size')]
    return places == sorted(places)


BACKBONE = (
    Setting(
        'width, depth, heads',
        arch,
        PerSize(B=(768, 12, 12), L=(1024, 24, 16), H=(1280, 32, 16)),
        CONFIG,
    ),
    Setting('patch size', at('model.backbone.patch_size'), 16, MODEL),
    Setting('window size', at('model.backbone.window_size'), 14, MODEL),
    Setting(
        'global blocks',
        at('model.backbone.global_blocks'),
        PerSize(B=(2, 5, 8, 11), L=(5, 11, 17, 23), H=(7, 15, 23, 31)),
        CONFIG,
    ),
    Setting('drop path', at('model.backbone.drop_path_rate'), PerSize(B=0.1, L=0.4, H=0.5), CONFIG),
    Setting('position encoding', at('model.backbone.position'), 'absolute+decomposed', MODEL),
    Setting(
        'learned absolute positions',
        lambda r: r.model.backbone.pos_embed.shape[1],
        14 * 14,
        VIT,
        'ViT-H keeps the 16 x 16 positions of its pretraining with patch size 14; detectron2 '
        'learns 14 x 14 positions, from a file whose patch size was resampled to 16',
    ),
    Setting('norm after the last block', at('model.backbone.final_norm'), False, VIT),
    Setting('epsilon of all norms', norm_eps, (1e-6,), MODEL),
    Setting(
        'without pretraining: initial std of qkv',
        measure.backbone_std('blocks.0.attn.qkv.weight'),
        0.02,
        VIT,
        tolerance=0.03,
    ),
    Setting(
        'without pretraining: initial std of positions',
        measure.backbone_std('pos_embed'),
        0.02,
        VIT,
        tolerance=0.03,
    ),
    Setting('pyramid: channels', at('model.neck.out_channels'), 256, MODEL),
    Setting(
        'pyramid: strides',
        at('model.rpn_head.anchor_generator.strides'),
        (4, 8, 16, 32, 64),
        MODEL,
    ),
)
DATA = (
    Setting('order is flip, resize, crop', _in_order, True, LOADER),
    Setting('flip probability', step('RandomFlip', 'prob'), 0.5, LOADER),
    Setting(
        'large-scale jitter: ratio range', step('ratio_range', 'ratio_range'), (0.1, 2.0), LOADER
    ),
    Setting(
        'large-scale jitter: size, crop',
        lambda r: (*r.step('ratio_range').scale, *r.step('crop_size').crop_size),
        (1024,) * 4,
        LOADER,
    ),
    Setting(
        'standard deviation of white noise after jitter by 0.1',
        measure.noise_after_jitter,
        5.1,
        'detectron2/data/transforms/transform.py (Pillow)',
        tolerance=0.05,
    ),
    Setting(
        'boxes are computed from cropped masks', step('crop_size', 'recompute_bbox'), True, LOADER
    ),
    Setting(
        'format of polygon masks until the targets',
        measure.mask_format,
        'polygons',
        'detectron2/data/detection_utils.py',
    ),
    Setting(
        'crops without objects are trained on',
        lambda r: not r.step('FilterAnnotations').get('keep_empty', True),
        True,
        'detectron2/data/dataset_mapper.py',
    ),
    Setting(
        'images without objects are filtered',
        lambda r: r.cfg.train_dataloader.dataset.filter_cfg.filter_empty_gt,
        True,
        LOADER,
    ),
    Setting('mean', at('model.data_preprocessor.mean'), MEAN, MODEL),
    Setting('standard deviation', at('model.data_preprocessor.std'), STD, MODEL),
    Setting(
        'padding: sides are multiples of',
        at('model.data_preprocessor.pad_size_divisor'),
        1024,
        MODEL,
    ),
    Setting('test: longest side', lambda r: max(r.step('keep_ratio', 'val').scale), 1024, LOADER),
)
SCHEDULE = (
    Setting('images per step', at('auto_scale_lr.base_batch_size'), 64, LOADER),
    Setting('optimizer', at('optim_wrapper.optimizer.type'), 'AdamW', OPTIM),
    Setting('learning rate', at('optim_wrapper.optimizer.lr'), 1e-4, OPTIM),
    Setting('betas', at('optim_wrapper.optimizer.betas'), (0.9, 0.999), OPTIM),
    Setting('weight decay', at('optim_wrapper.optimizer.weight_decay'), 0.1, OPTIM),
    Setting(
        'parameters without weight decay',
        lambda r: r.spared(),
        PerSize(
            B=('absolute positions', 'norms of the backbone'),
            L=('absolute positions', 'norms of the backbone'),
            H=(),
        ),
        CONFIG,
    ),
    Setting('layer decay', at('optim_wrapper.paramwise_cfg.layer_decay'), PerSize(DECAYS), CONFIG),
    Setting(
        'learning rate of the patch embedding / of the head',
        lambda r: r.groups[EMBEDDING][0] / r.value('optim_wrapper.optimizer.lr'),
        PerSize({size: DECAYS[size] ** (DEPTHS[size] + 1) for size in DECAYS}),
        VIT,
    ),
    Setting(
        'steps', at('train_cfg.max_iters'), PerSize(B=184375, L=184375, H=184375 * 3 // 4), CONFIG
    ),
    Setting(
        'steps at which the learning rate drops',
        at('param_scheduler.1.milestones'),
        PerSize(B=(163889, 177546), L=(163889, 177546), H=(122916, 133159)),
        CONFIG,
    ),
    Setting('factor of each drop', at('param_scheduler.1.gamma'), 0.1, CONFIG),
    Setting(
        'warm-up steps',
        at('param_scheduler.0.end'),
        PerSize(B=250, L=250, H=250 * 3 // 4),
        CONFIG,
    ),
    Setting(
        'learning rate of the first step / peak',
        at('param_scheduler.0.start_factor'),
        0.001,
        CONFIG,
    ),
    Setting('gradient clipping', at('optim_wrapper.clip_grad'), None, CONFIG),
    Setting('mixed precision', at('optim_wrapper.type'), 'fp16 with loss scaling', CONFIG, AMP),
    Setting(
        'dtype of all-reduced gradients',
        lambda r: (
            'bf16' if r.value('model_wrapper_cfg.type') == 'BFloat16DataParallel' else 'float32'
        ),
        'fp16',
        CONFIG,
        'exact by default; `model_wrapper_cfg.type=BFloat16DataParallel` selects bf16',
    ),
    Setting('steps between evaluations', at('train_cfg.val_interval'), 5000, TRAIN),
)
DETECTION = Recipe(
    'Detection',
    {
        'B': 'detect/mask-rcnn_vitdet-b_mae_lsj-100e_coco.py',
        'L': 'detect/mask-rcnn_vitdet-l_mae_lsj-100e_coco.py',
        'H': 'detect/mask-rcnn_vitdet-h_mae_lsj-75e_coco.py',
    },
    'facebookresearch/detectron2@02b5c4e2',
    (*BACKBONE, *HEADS, *INITIAL, *DATA, *SCHEDULE),
)

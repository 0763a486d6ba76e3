"""Official settings of Mask R-CNN's RPN, box head and mask head."""

from tests.recipes import measure
from tests.recipes.shared import at
from tests.recipes.table import Setting

MODEL = 'configs/common/models/mask_rcnn_vitdet.py'
BASE = 'configs/common/models/mask_rcnn_fpn.py'
TRAIN = 'configs/common/train.py'
RPN = 'detectron2/modeling/proposal_generator/rpn.py'
BOX = 'detectron2/modeling/roi_heads/box_head.py'
FAST = 'detectron2/modeling/roi_heads/fast_rcnn.py'
MASK = 'detectron2/modeling/roi_heads/mask_head.py'
MATCHER = 'detectron2/modeling/matcher.py'
MSRA = (2 / (256 * 3 * 3)) ** 0.5  # Kaiming initialization (fan-out) of a 3 x 3 convolution


def _initial(name: str, head: str, layer: str, std: float, source: str) -> Setting:
    """Return a setting that compares the standard deviation of a layer's initial weights.

    The smallest layer has 768 weights, whose standard deviation has a standard error of 2.6 %. The
    tolerance is three times the standard error.
    """
    measured = measure.head_std(head, f'{layer}.weight')
    return Setting(f'initial std: {name}', measured, std, source, tolerance=0.08)


def _assigner(stage: str, *keys: str):
    return lambda r: tuple(r.value(f'model.train_cfg.{stage}.assigner.{key}') for key in keys)


def _sampler(stage: str):
    keys = 'num', 'pos_fraction'
    return lambda r: tuple(r.value(f'model.train_cfg.{stage}.sampler.{key}') for key in keys)


HEADS = (
    Setting('RPN: convolutions', at('model.rpn_head.num_convs'), 2, MODEL),
    Setting(
        'anchors: sizes',
        lambda r: tuple(
            scale * stride
            for stride in r.value('model.rpn_head.anchor_generator.strides')
            for scale in r.value('model.rpn_head.anchor_generator.scales')
        ),
        (32, 64, 128, 256, 512),
        BASE,
    ),
    Setting('anchors: ratios', at('model.rpn_head.anchor_generator.ratios'), (0.5, 1.0, 2.0), BASE),
    Setting(
        'RPN: IoU thresholds of negatives, positives',
        _assigner('rpn', 'neg_iou_thr', 'pos_iou_thr'),
        (0.3, 0.7),
        BASE,
    ),
    Setting(
        'RPN: minimum IoU of the best anchor of an object',
        _assigner('rpn', 'min_pos_iou'),
        (0,),
        MATCHER,
    ),
    Setting(
        'RPN: fraction of positive anchors not assigned to the object of highest IoU',
        measure.reassigned_anchors,
        0,
        MATCHER,
        "mmdet's assigner gives an object its best anchor even if that anchor has a higher IoU "
        'with another object',
        tolerance=0.01,
    ),
    Setting(
        'RPN: samples, fraction of positives',
        _sampler('rpn'),
        (256, 0.5),
        BASE,
    ),
    Setting(
        'RPN: proposals before NMS, training and test',
        lambda r: (
            r.value('model.train_cfg.rpn_proposal.nms_pre'),
            r.value('model.test_cfg.rpn.nms_pre'),
        ),
        (2000, 1000),
        BASE,
    ),
    Setting(
        'RPN: proposals after NMS, training and test',
        lambda r: tuple(
            r.value(f'model.{key}.max_per_img')
            for key in ('train_cfg.rpn_proposal', 'test_cfg.rpn')
        ),
        (1000, 1000),
        BASE,
    ),
    Setting('RPN: NMS threshold', at('model.test_cfg.rpn.nms.iou_threshold'), 0.7, BASE),
    Setting(
        'RPN: dtype of the scores under mixed precision',
        measure.rpn_dtype,
        'float16',
        TRAIN,
        'bfloat16 has 8 significant bits: 1000 proposals would have only about 50 distinct scores',
    ),
    Setting(
        'RoI: IoU thresholds of negatives, positives',
        _assigner('rcnn', 'neg_iou_thr', 'pos_iou_thr'),
        (0.5, 0.5),
        BASE,
    ),
    Setting('RoI: low-quality matches', _assigner('rcnn', 'match_low_quality'), (False,), BASE),
    Setting(
        'RoI: samples, fraction of positives',
        _sampler('rcnn'),
        (512, 0.25),
        BASE,
    ),
    Setting(
        'RoI: ground truth is added to the proposals',
        at('model.train_cfg.rcnn.sampler.add_gt_as_proposals'),
        True,
        'detectron2/modeling/roi_heads/roi_heads.py',
    ),
    Setting(
        'RoIAlign: output size for boxes, masks',
        lambda r: tuple(
            r.value(f'model.roi_head.{kind}_roi_extractor.roi_layer.output_size')
            for kind in ('bbox', 'mask')
        ),
        (7, 14),
        BASE,
    ),
    Setting(
        'box head: convolutions, hidden layers, norm',
        lambda r: (
            r.model.roi_head.bbox_head.num_shared_convs,
            r.model.roi_head.bbox_head.num_shared_fcs,
            r.value('model.roi_head.bbox_head.norm_cfg.type'),
        ),
        (4, 1, 'LayerNorm2d'),
        MODEL,
    ),
    Setting(
        'box head: class-specific regression',
        lambda r: not r.model.roi_head.bbox_head.reg_class_agnostic,
        True,
        FAST,
    ),
    Setting(
        'box head: weights of the regression',
        lambda r: tuple(1 / s for s in r.value('model.roi_head.bbox_head.bbox_coder.target_stds')),
        (10, 10, 5, 5),
        BASE,
    ),
    Setting(
        'box losses of RPN, box head',
        lambda r: tuple(
            r.value(f'model.{head}.loss_bbox.type') for head in ('rpn_head', 'roi_head.bbox_head')
        ),
        ('L1Loss', 'L1Loss'),
        RPN,
    ),
    Setting('mask head: convolutions', at('model.roi_head.mask_head.num_convs'), 4, MODEL),
    Setting('mask head: size of the targets', at('model.train_cfg.rcnn.mask_size'), 28, MASK),
    Setting(
        'test: score threshold, NMS threshold, detections per image',
        lambda r: (
            r.value('model.test_cfg.rcnn.score_thr'),
            r.value('model.test_cfg.rcnn.nms.iou_threshold'),
            r.value('model.test_cfg.rcnn.max_per_img'),
        ),
        (0.05, 0.5, 100),
        FAST,
    ),
)
INITIAL = (
    _initial('RPN convolution', 'rpn_head', 'rpn_conv.0.conv', 0.01, RPN),
    _initial('RPN objectness', 'rpn_head', 'rpn_cls', 0.01, RPN),
    _initial('RPN boxes', 'rpn_head', 'rpn_reg', 0.01, RPN),
    _initial('box convolution', 'roi_head.bbox_head', 'shared_convs.0.conv', MSRA, BOX),
    _initial('box hidden layer', 'roi_head.bbox_head', 'shared_fcs.0', (256 * 7 * 7) ** -0.5, BOX),
    _initial('box classes', 'roi_head.bbox_head', 'fc_cls', 0.01, FAST),
    _initial('box regression', 'roi_head.bbox_head', 'fc_reg', 0.001, FAST),
    _initial('mask convolution', 'roi_head.mask_head', 'convs.0.conv', MSRA, MASK),
    _initial('mask deconvolution', 'roi_head.mask_head', 'upsample', (2 / (256 * 4)) ** 0.5, MASK),
    _initial('mask logits', 'roi_head.mask_head', 'conv_logits', 0.001, MASK),
)

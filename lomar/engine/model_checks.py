"""Checks that the parts of a built model fit, so that the forward pass works."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from lomar.models import RPEViT, SimpleFeaturePyramid
from lomar.models.inputs import check_channels

Mismatch = tuple[str, Any, Any]  # config key, value found, value needed


def check_model(model: nn.Module) -> None:
    """Raise a ValueError that names the key if parts of a model do not fit.

    Checked are the preprocessor, an `RPEViT`, the feature pyramid, mmdet's heads on it, and mmseg's
    models with `Feature2Pyramid`.
    """
    check_channels(model)
    for module in model.modules():
        rate = getattr(module, 'drop_prob', 0)
        if isinstance(rate, float) and not 0 <= rate < 1:
            raise ValueError(
                f'a part of the model has a drop path rate of {rate:g}; allowed for '
                'model.backbone.drop_path_rate: 0 or more and less than 1'
            )
    for key, found, needed in _parts(model):
        if found != needed:
            raise ValueError(
                f'model.{key} is {found!r}, which does not fit the rest of the model; allowed: '
                f'{needed}'
            )


def _parts(model: nn.Module) -> Iterator[Mismatch]:
    backbone = getattr(model, 'backbone', None)
    if isinstance(backbone, RPEViT):
        yield from _inputs(model, backbone)
        yield from _outputs(model, backbone)
    elif hasattr(getattr(model, 'neck', None), 'decoder_pos_embed'):
        yield from _mae(model)


def _mae(model: Any) -> Iterator[Mismatch]:
    """Compare mmpretrain's MAE encoder with its decoder and head."""
    backbone, neck, head = model.backbone, model.neck, model.head
    (patch, _), (height, width) = backbone.patch_embed.projection.kernel_size, backbone.img_size
    if height % patch or width % patch:
        yield 'backbone.img_size', backbone.img_size, f'multiples of the patch size {patch}'
    patches, ratio = (height // patch) * (width // patch), backbone.mask_ratio
    if not isinstance(ratio, int | float) or not 0 < int(patches * (1 - ratio)) < patches:
        yield 'backbone.mask_ratio', ratio, 'more than 0 and less than 1'
    yield 'neck.num_patches', neck.num_patches, patches
    yield 'neck.embed_dim', neck.decoder_embed.in_features, backbone.embed_dims
    if not hasattr(head, 'patch_size'):
        yield 'head', head, "a dict such as dict(type='MAEPretrainHead', patch_size=16)"
    yield 'head.patch_size', head.patch_size, patch
    if not neck.decoder_blocks:
        yield 'neck.decoder_depth', 0, '1 or more'
    width, heads = neck.decoder_embed.out_features, neck.decoder_blocks[0].attn.num_heads
    if width % heads:
        yield 'neck.decoder_embed_dim', width, f'multiples of neck.decoder_num_heads={heads}'
    values = patch**2 * backbone.patch_embed.projection.in_channels
    if neck.decoder_pred.out_features != values:
        found = neck.decoder_pred.out_features
        yield 'neck.patch_size', f'{found} values per patch', f'{values} values: {patch}'


def _inputs(model: nn.Module, backbone: RPEViT) -> Iterator[Mismatch]:
    preprocessor: Any = getattr(model, 'data_preprocessor', None)
    divisor = getattr(preprocessor, 'pad_size_divisor', 1)
    if (
        not isinstance(divisor, int)
        or divisor < 1
        or (divisor > 1 and divisor % backbone.patch_size)
    ):
        allowed = f'a multiple of backbone.patch_size={backbone.patch_size}'
        yield 'data_preprocessor.pad_size_divisor', divisor, allowed


def _padded(model: Any, patch: int) -> Iterator[Mismatch]:
    """Check that a segmentor pads images to whole patches, in training and in tests."""
    preprocessor, test = model.data_preprocessor, getattr(model, 'test_cfg', None) or {}
    allowed = f'multiples of backbone.patch_size={patch}'
    places = {
        'data_preprocessor.size': preprocessor.size,
        'data_preprocessor.size_divisor': preprocessor.size_divisor,
        'test_cfg.crop_size': test.get('crop_size'),
    }
    padding = preprocessor.test_cfg or {}
    for key in ('size', 'size_divisor'):
        places[f'data_preprocessor.test_cfg.{key}'] = padding.get(key)
    if not padding:
        yield 'data_preprocessor.test_cfg', None, f'dict(size_divisor={patch})'
    for key, found in places.items():
        sides = found if isinstance(found, list | tuple) else [found]
        if found is not None and any(side % patch for side in sides):
            yield key, found, allowed


def _outputs(model: nn.Module, backbone: RPEViT) -> Iterator[Mismatch]:
    neck: Any = getattr(model, 'neck', None)
    head: Any = getattr(model, 'head', None)
    if type(getattr(model, 'data_preprocessor', None)).__name__ == 'SegDataPreProcessor':
        yield from _padded(model, backbone.patch_size)
    out_type = backbone.out_type
    if isinstance(neck, SimpleFeaturePyramid):
        yield 'backbone.out_type', out_type, 'featmap'
        yield 'neck.in_channels', neck.in_channels, backbone.embed_dim
        strides = neck.strides(backbone.patch_size)
        yield from _rpn(model, neck, strides)
        yield from _rois(model, neck, strides)
        yield from _one_stage(model, neck, strides)
        yield from _queries(model, neck, backbone)
    elif hasattr(neck, 'rescales') and hasattr(neck, 'upsample_2x'):
        yield from _segmentor(model, neck, backbone)
    elif hasattr(head, 'fc') and hasattr(head, 'in_channels'):
        yield from _classifier(neck, head, backbone)
    elif hasattr(model, 'samplers') and out_type == 'avg_featmap':
        yield 'backbone.out_type', out_type, 'raw'  # its norm is of the mean token only


def _classifier(neck: Any, head: Any, backbone: RPEViT) -> Iterator[Mismatch]:
    """Compare a classifier's backbone and head with each other and with mmpretrain's necks."""
    norm, out_type = getattr(neck, 'bn', None), backbone.out_type
    vectors = 'avg_featmap', 'cls_token'
    if hasattr(neck, 'gap'):
        if out_type != 'featmap':
            yield 'backbone.out_type', out_type, 'featmap'
    elif neck is not None and norm is None:
        return  # a neck of another kind
    elif out_type not in vectors:
        yield 'backbone.out_type', out_type, vectors
    if norm is not None:
        yield 'neck.input_features', norm.num_features, backbone.embed_dim
    yield 'head.in_channels', head.in_channels, backbone.embed_dim


def _segmentor(model: Any, neck: Any, backbone: RPEViT) -> Iterator[Mismatch]:
    """Compare the backbone and the heads of a segmentor with mmseg's feature pyramid."""
    yield 'backbone.out_type', backbone.out_type, 'featmap'
    levels = len(neck.rescales)
    yield 'backbone.out_indices (number)', len(backbone.out_indices), levels
    width = neck.upsample_2x[0].in_channels
    yield 'neck.embed_dim', width, backbone.embed_dim
    for name in ('decode_head', 'auxiliary_head'):
        head: Any = getattr(model, name, None)
        found = getattr(head, 'in_channels', None)
        if isinstance(found, list | tuple):
            yield f'{name}.in_channels', list(found), [width] * len(found)
        elif isinstance(found, int):
            yield f'{name}.in_channels', found, width


def _rpn(model: nn.Module, neck: SimpleFeaturePyramid, strides: list[float]) -> Iterator[Mismatch]:
    rpn: Any = getattr(model, 'rpn_head', None)
    if rpn is not None and hasattr(rpn, 'prior_generator'):
        yield 'rpn_head.in_channels', rpn.in_channels, neck.out_channels
        yield 'rpn_head.anchor_generator.strides', _strides(rpn), strides


def _strides(head: Any) -> list[float]:
    """Return the vertical strides of the anchors or points of a head."""
    return [stride for _, stride in head.prior_generator.strides]


def _rois(model: nn.Module, neck: SimpleFeaturePyramid, strides: list[float]) -> Iterator[Mismatch]:
    heads: Any = getattr(model, 'roi_head', None)
    for kind in ('bbox', 'mask'):
        extractor: Any = getattr(heads, f'{kind}_roi_extractor', None)
        head: Any = getattr(heads, f'{kind}_head', None)
        if not hasattr(extractor, 'featmap_strides') or not hasattr(head, 'in_channels'):
            continue
        place = f'roi_head.{kind}'
        yield f'{place}_roi_extractor.out_channels', extractor.out_channels, neck.out_channels
        yield f'{place}_head.in_channels', head.in_channels, neck.out_channels
        found = list(extractor.featmap_strides)
        yield f'{place}_roi_extractor.featmap_strides', found, strides[: len(found)]
        side = extractor.roi_layers[0].output_size[0]
        if kind == 'bbox':
            yield 'roi_head.bbox_head.roi_feat_size', head.roi_feat_size[0], side
            continue
        if not head.class_agnostic:
            yield 'roi_head.mask_head.num_classes', head.num_classes, heads.bbox_head.num_classes
        if size := (heads.train_cfg or {}).get('mask_size'):
            factor = head.scale_factor if head.upsample_method else 1
            yield 'train_cfg.rcnn.mask_size', size, side * factor


def _one_stage(
    model: nn.Module, neck: SimpleFeaturePyramid, strides: list[float]
) -> Iterator[Mismatch]:
    """Compare the levels, of which mmdet's heads would drop the last ones."""
    head: Any = getattr(model, 'bbox_head', None)
    if hasattr(head, 'prior_generator') and hasattr(head, 'in_channels'):
        yield 'bbox_head.in_channels', head.in_channels, neck.out_channels
        yield 'bbox_head strides', _strides(head), strides


def _queries(model: Any, neck: SimpleFeaturePyramid, backbone: RPEViT) -> Iterator[Mismatch]:
    """Compare Deformable DETR, DINO and Mask2Former with the pyramid."""
    decoder: Any = getattr(getattr(model, 'panoptic_head', None), 'pixel_decoder', None)
    if hasattr(decoder, 'num_input_levels'):
        yield 'panoptic_head.strides (number)', decoder.num_input_levels, neck.num_levels
        channels = [layer.conv.in_channels for layer in decoder.input_convs]
        yield 'panoptic_head.in_channels', set(channels), {neck.out_channels}
    if hasattr(model, 'num_feature_levels'):
        yield 'num_feature_levels', model.num_feature_levels, neck.num_levels
        yield 'neck.out_channels', neck.out_channels, model.embed_dims
        sizes = neck.level_sizes(*backbone.grid(backbone.img_size))
        positions = sum(height * width for height, width in sizes)
        if getattr(model, 'as_two_stage', False) and model.num_queries > positions:
            yield 'num_queries', model.num_queries, f'{positions} or less, the positions of images'

"""Batches of OpenMMLab as plain data and tensors, which a weights-only file can hold."""

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from torch import Tensor

# Classes whose objects are saved, by name.
ELEMENTS = dict(
    DataSample='mmpretrain.structures:DataSample',
    DetDataSample='mmdet.structures:DetDataSample',
    InstanceData='mmengine.structures:InstanceData',
    PixelData='mmengine.structures:PixelData',
    LabelData='mmengine.structures:LabelData',
    SegDataSample='mmseg.structures:SegDataSample',
)
BOXES = dict(HorizontalBoxes='mmdet.structures.bbox:HorizontalBoxes')
MASKS = dict(
    BitmapMasks='mmdet.structures.mask:BitmapMasks',
    PolygonMasks='mmdet.structures.mask:PolygonMasks',
    Polygons='lomar.detection.polygon_masks:Polygons',
)
TYPE = 'saved type'  # key of the dicts that stand for objects


def to_plain(value: Any) -> Any:
    """Return a batch, or a part of it, as dicts, lists, numbers, texts, arrays and tensors.

    Raises:
        ValueError: the batch has an object of another type.
    """
    kind = type(value).__name__
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.generic):
        return value.item()
    for base in (int, float, str):  # also of a subclass, such as an index with a seed
        if isinstance(value, base):
            return base(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    if isinstance(value, BaseDataElement) and kind in ELEMENTS:
        parts = dict(metainfo=dict(value.metainfo_items()), fields=dict(value.items()))
        return {TYPE: kind, **to_plain(parts)}
    if kind in BOXES:
        return {TYPE: kind, 'tensor': to_plain(value.tensor)}
    if kind in MASKS:
        return {TYPE: kind, 'masks': to_plain(value.masks), 'size': [value.height, value.width]}
    raise ValueError(f'a batch with an object of type {kind} cannot be saved')


def from_plain(value: Any) -> Any:
    """Return the batch that `to_plain` took apart; tuples are lists.

    Raises:
        ValueError: the type of an object is unknown.
    """
    if isinstance(value, list):
        return [from_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    parts = {key: from_plain(each) for key, each in value.items() if key != TYPE}
    if TYPE not in value:
        return parts
    kind = value[TYPE]
    known = {**ELEMENTS, **BOXES, **MASKS}
    if kind not in known:
        raise ValueError(f'the batch has an object of type {kind!r}; allowed: {", ".join(known)}')
    build = resolve_name(known[kind])
    if kind in BOXES:
        return build(parts['tensor'], clone=False)
    if kind in MASKS:
        return build(parts['masks'], *parts['size'])
    element = build(metainfo=parts['metainfo'])
    for name, each in parts['fields'].items():
        element.set_field(each, name)
    return element

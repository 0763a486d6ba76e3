"""Whether the detector of a config predicts masks."""

import re

from mmdet.registry import MODELS
from mmengine.config import ConfigDict

from lomar.utils import dicts_in

OTHER_PARTS = ('backbone', 'neck', 'data_preprocessor', 'train_cfg')
MASK_TYPES = re.compile('Mask|Ins|Panoptic')  # such as RTMDetInsHead, which predicts boxes, too


def has_mask_head(model: ConfigDict) -> bool:
    """Return whether the config of a detector names a head for masks, which needs masks."""
    parts = (model, *_heads(model))
    return any(part.get('mask_head') or part.get('panoptic_head') for part in parts)


def lacks_masks(model: ConfigDict) -> bool:
    """Return whether a detector predicts boxes only; False where its config does not tell it.

    The config tells it for two stages without a mask head, and for mmdet's one-stage detectors and
    transformers.
    """
    if has_mask_head(model):
        return False
    if model.get('roi_head'):
        return True
    names = [str(part.get('type')) for part in (model, *_heads(model))]
    kind = MODELS.get(model.type) if isinstance(model.type, str) else model.type
    of_mmdet = getattr(kind, '__module__', '').startswith('mmdet.')
    return of_mmdet and not any(map(MASK_TYPES.search, names))


def _heads(model: ConfigDict) -> list[ConfigDict]:
    return list(dicts_in([part for key, part in model.items() if key not in OTHER_PARTS]))

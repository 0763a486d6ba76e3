"""The loaders under the names that they had before version 0.2."""

import logging
from functools import cache, partial

from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS

from lomar.datasets.reading import RENAMED
from lomar.utils import type_name


def loads_whole_images(step: dict) -> bool:
    """Return whether a step of a pipeline is `LoadImage`, by a present or a former name."""
    name = type_name(step)
    return RENAMED.get(name, dict(type=name))['type'] == 'LoadImage'


def _build(name: str, /, **settings) -> BaseTransform:
    """Return the loader that has replaced `name`."""
    _log(name)
    return TRANSFORMS.build(RENAMED[name] | settings)


@cache  # once per process
def _log(name: str) -> None:
    keys = ', '.join(f'{key}={value!r}' for key, value in RENAMED[name].items())
    line = f'{name} is deprecated and will be removed in version 0.3: use dict({keys}, ...)'
    print_log(line, logger='current', level=logging.WARNING)


for _name in RENAMED:
    TRANSFORMS.register_module(_name, module=partial(_build, _name))

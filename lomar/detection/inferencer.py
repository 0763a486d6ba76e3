"""mmdet's inference functions with the pipeline of a test run, for files and arrays.

`DetInferencer` finds the step that loads images by the type `LoadImageFromFile` only. Both it and
`inference_detector` replace the step in the config, so that later calls read images in another way.
"""

from copy import deepcopy
from functools import wraps
from typing import Any

import mmdet.apis.inference
from mmdet.apis import DetInferencer
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose

from lomar.datasets.renamed_loaders import loads_whole_images

init_pipeline = DetInferencer._init_pipeline


class _AnyImage(ConfigDict):
    """Step `LoadImage`, which takes files and arrays; mmdet would change its type for arrays."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != 'type':
            super().__setattr__(name, value)


@wraps(get_test_pipeline_cfg)
def pipeline_steps(cfg: str | Config) -> list[ConfigDict]:
    """Return a copy of the steps of the test pipeline; mmdet's functions change it."""
    steps = deepcopy(get_test_pipeline_cfg(cfg))
    if loads_whole_images(steps[0]):
        steps[0] = _AnyImage(steps[0])
    return steps


@wraps(init_pipeline)
def _init_pipeline(self: DetInferencer, cfg: Config) -> Compose:
    """Return the test pipeline for file names and arrays; leave the config as it is."""
    steps = pipeline_steps(cfg)
    if not loads_whole_images(steps[0]):
        return init_pipeline(self, deepcopy(cfg))
    if 'meta_keys' in steps[-1]:  # images from elsewhere have no id
        steps[-1].meta_keys = tuple(key for key in steps[-1].meta_keys if key != 'img_id')
    return Compose(steps)


DetInferencer._init_pipeline = _init_pipeline
mmdet.apis.inference.get_test_pipeline_cfg = pipeline_steps

"""Make mmdet's `DetInferencer` accept pipelines that load images with `LoadImage`."""

from functools import wraps

from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS

from lomar.datasets.renamed_loaders import RENAMED

LOADERS = {'LoadImage', *(name for name, new in RENAMED.items() if new['type'] == 'LoadImage')}
mmdets = DetInferencer._init_pipeline


@wraps(mmdets)
def _init_pipeline(self: DetInferencer, cfg: Config) -> Compose:
    """Return the test pipeline; `LoadImage` itself takes the file names and arrays of mmdet.

    mmdet searches the pipeline for mmcv's `LoadImageFromFile` and replaces it by a loader that also
    takes arrays. It raises an error if there is none.
    """
    steps = cfg.test_dataloader.dataset.pipeline
    place = next((i for i, step in enumerate(steps) if step['type'] in LOADERS), None)
    if place is None:
        return mmdets(self, cfg)
    step, steps[place] = steps[place], dict(type='LoadImageFromFile')
    pipeline = mmdets(self, cfg)
    pipeline.transforms[place] = TRANSFORMS.build(step)
    return pipeline


DetInferencer._init_pipeline = _init_pipeline

"""mmpretrain's inference functions with the pipeline of a test run, for files and arrays.

mmpretrain's inferencers decode files with OpenCV, whose pixels differ from those of `LoadImage` for
transparent, 16-bit and CMYK images, and leave out the loader of the pipeline by its name only.
`inference_model` takes models of mmpretrain's own list only.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from os import PathLike
from typing import Any

import mmpretrain
import mmpretrain.apis.model
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmpretrain.apis import (
    BaseInferencer,
    FeatureExtractor,
    ImageClassificationInferencer,
    ImageRetrievalInferencer,
    get_model,
)
from mmpretrain.models import ImageClassifier

from lomar.datasets.load_image import LoadImage

inference = mmpretrain.inference_model
prepare_prototype = ImageRetrievalInferencer._prepare_prototype


def loads_images(inferencer: BaseInferencer) -> bool:
    """Return whether the pipeline begins with `LoadImage`, which takes files and arrays."""
    return isinstance(inferencer.pipeline.transforms[0], LoadImage)


def _load_by_pipeline(preprocess: Callable) -> Callable:
    """Return `preprocess` of an inferencer, which leaves decoding to a `LoadImage`."""

    @wraps(preprocess)
    def preprocess_inputs(self: BaseInferencer, inputs: list, batch_size: int = 1) -> Iterator:
        if loads_images(self):
            return BaseInferencer.preprocess(self, inputs, batch_size)
        return preprocess(self, inputs, batch_size)

    return preprocess_inputs


@wraps(prepare_prototype)
def _prepare_prototype(self: ImageRetrievalInferencer, prototype: Any, *args, **kwargs) -> Any:
    """Prepare the images to retrieve; `LoadImage` decodes those of a folder, a list or a dict."""
    if isinstance(prototype, str):
        prototype = dict(type='CustomDataset', with_label=False, data_root=prototype)
    if loads_images(self) and isinstance(prototype, dict):
        prototype = {'pipeline': [self.pipeline], **prototype}
    elif loads_images(self) and isinstance(prototype, list):
        images = [dict(sample_idx=i, img_path=path) for i, path in enumerate(prototype)]
        prototype = BaseDataset(lazy_init=True, serialize_data=False, pipeline=[self.pipeline])
        prototype.data_list, prototype._fully_initialized = images, True
    return prepare_prototype(self, prototype, *args, **kwargs)


@wraps(inference)
def inference_model(model: BaseModel | Config | str | PathLike, *args, **kwargs) -> dict:
    """Return the prediction for one image; `model` may be a classifier of any config."""
    is_file = isinstance(model, str | PathLike) and str(model).endswith('.py')
    if is_file or isinstance(model, Config):
        model = get_model(model, **_taken(kwargs, 'pretrained', 'device'))
    if isinstance(model, ImageClassifier) and getattr(model, '_metainfo', None) is None:
        infer = ImageClassificationInferencer(model, **_taken(kwargs, 'classes', 'device'))
        return infer(*args, **kwargs)[0]
    return inference(model, *args, **kwargs)


def _taken(kwargs: dict, *keys: str) -> dict:
    """Remove keys from `kwargs` and return their items."""
    return {key: kwargs.pop(key) for key in keys if key in kwargs}


for _kind in (ImageClassificationInferencer, FeatureExtractor, ImageRetrievalInferencer):
    _kind.preprocess = _load_by_pipeline(_kind.preprocess)
ImageRetrievalInferencer._prepare_prototype = _prepare_prototype
for _module in (mmpretrain, mmpretrain.apis, mmpretrain.apis.model):
    _module.inference_model = inference_model

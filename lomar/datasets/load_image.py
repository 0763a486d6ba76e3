"""Load whole images, and the channel count of a config."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from lomar.datasets.color import array_to_rgb, check_value_range
from lomar.datasets.image_io import array_pixels, check_channels
from lomar.datasets.pixel_file import PixelFile
from lomar.datasets.pixel_type import PixelType
from lomar.datasets.reading import LOADERS, RENAMED, Reading, converts
from lomar.datasets.resize import resize_pixels
from lomar.utils import check_choice, dicts_in, preprocessor_of, type_name


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Pipeline step that loads the file `img_path` into `img`, an array (H, W, C).

    OpenMMLab's inference functions load images themselves, in the order B, G, R. The step also
    takes such an array, as `img` or in place of the sample, and returns the order of `color_type`.

    Args:
        channels: C; images with another number of channels are refused.
        convert: whether files are converted to 8-bit RGB as by `read_rgb`; False keeps dtype and
            channels of the file, see `open_pixels`. Default: only with 3 channels.
        color_type: 'rgb', or 'color' for B, G, R. Key and value are those of mmcv's
            `LoadImageFromFile`, which mmdet puts in place of this step. Ignored unless C is 3.
        short_side: length in pixels to which the shorter side is resized, with antialiasing;
            None = no resize.
        value_range: values of black and white in images of other than 8 bits that are converted;
            None = such images are refused, unless they have 16 unsigned bits.
    """

    def __init__(
        self,
        channels: int = 3,
        convert: bool | None = None,
        color_type: str = 'rgb',
        short_side: int | None = None,
        value_range: Sequence[float] | None = None,
    ):
        check_choice('LoadImage.color_type', color_type, ('rgb', 'color'))
        self.channels, self.convert = channels, converts(channels, convert)
        check_value_range('LoadImage', value_range, self.convert)
        self.value_range = value_range
        self.reading = Reading(channels, self.convert, value_range)
        self.reads_arrays = self.reading.reads_arrays
        self.bgr, self.short_side = color_type == 'color', short_side
        self.pixel_type = PixelType()

    def transform(self, results: dict | str | np.ndarray) -> dict:
        """Add `img`, `img_shape` and `ori_shape` (height, width)."""
        if not isinstance(results, dict):
            results = {'img' if isinstance(results, np.ndarray) else 'img_path': results}
        given = results.get('img')
        if given is not None and self.convert:
            pixels = array_to_rgb(given, self.value_range)
        elif given is not None:
            pixels = array_pixels(given)
        else:
            pixels = self.read(results['img_path'])
        check_channels(results.get('img_path') or 'an array', pixels.shape, self.channels)
        if self.channels == 3 and self.bgr == (given is None):
            pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_BGR2RGB)  # both ways
        whole = pixels.shape[:2]
        if self.short_side:
            ratio = self.short_side / min(whole)
            pixels = resize_pixels(pixels, (round(whole[0] * ratio), round(whole[1] * ratio)))
        results.setdefault('img_path', None)
        results.update(img=pixels, img_shape=pixels.shape[:2], ori_shape=whole)
        return results

    def read(self, path: str | Path) -> np.ndarray:
        """Return the pixels (H, W, C) of a file, neither reordered nor resized."""
        pixels = self.reading.read(path)
        if not self.convert:
            self.pixel_type.check(path, pixels.dtype)
        return pixels

    @contextmanager
    def open(self, path: str | Path) -> Iterator[PixelFile]:
        """Open a file whose parts are decoded alone, neither reordered nor resized."""
        with self.reading.open(path) as file:
            if not self.convert:
                self.pixel_type.check(path, file.dtype)
            yield file


def use_channels(cfg: Config) -> None:
    """Set `channels` of all loaders to `model.backbone.in_channels`; refuse other values."""
    channels = (cfg.model.get('backbone') or {}).get('in_channels', 3)
    preprocessor = preprocessor_of(cfg)
    order = 'color' if preprocessor.get('bgr_to_rgb') or preprocessor.get('to_rgb') else 'rgb'
    for split in ('train', 'val', 'test'):
        for step in dicts_in(cfg.get(f'{split}_dataloader')):
            where = f'{split}_dataloader: {step.get("type")}'
            if type_name(step) == 'LoadNative' and channels != 3:
                raise ValueError(
                    f'{where} loads 8-bit RGB, and model.backbone.in_channels is {channels}; '
                    'allowed: LoadRandomResizedCrop or LoadWindows'
                )
            if type_name(step) not in (*LOADERS, *RENAMED):
                continue
            if step.get('channels', channels) != channels:
                raise ValueError(
                    f'{where}.channels is {step["channels"]}; allowed: model.backbone.in_channels, '
                    f'{channels}'
                )
            if channels != 3 and type_name(step) in LOADERS:  # former names keep their channels
                step['channels'] = channels
            if channels == 3 and (found := step.get('color_type', 'rgb')) != order:
                raise ValueError(
                    f'{where}.color_type is {found!r}; allowed: {order!r}, as '
                    f'model.data_preprocessor has bgr_to_rgb={order == "color"}'
                )


def use_value_range(cfg: Config) -> None:
    """Set `value_range` of all loaders and of `ProbeHook` to that of the config, if it has one.

    Raises:
        ValueError: a dataloader has no loader that converts files to 8-bit RGB.
    """
    if cfg.get('value_range') is None:
        return
    for hook in cfg.get('custom_hooks') or ():
        if type_name(hook) == 'ProbeHook':
            hook['value_range'] = list(cfg.value_range)
    for split in ('train', 'val', 'test'):
        steps = list(dicts_in(cfg.get(f'{split}_dataloader')))
        loaders = [step for step in steps if type_name(step) in (*LOADERS, *RENAMED, 'LoadNative')]
        for step in loaders:
            step['value_range'] = list(cfg.value_range)
            TRANSFORMS.build(step)  # refuses a range that has no effect
        if steps and not loaders:
            raise ValueError(
                f'value_range is {cfg.value_range}, and no step of {split}_dataloader reads it; '
                f'allowed: with {", ".join(LOADERS)} or LoadNative'
            )

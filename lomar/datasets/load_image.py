"""Load whole images, and the channel count of a config."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from lomar.datasets.image_io import check_channels, read_pixels, read_rgb
from lomar.datasets.renamed_loaders import RENAMED
from lomar.datasets.resize import resize_pixels
from lomar.utils import check_choice, dicts_in

LOADERS = ('LoadImage', 'LoadRandomResizedCrop', 'LoadWindows')


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
    """

    def __init__(
        self,
        channels: int = 3,
        convert: bool | None = None,
        color_type: str = 'rgb',
        short_side: int | None = None,
    ):
        check_choice('LoadImage.color_type', color_type, ('rgb', 'color'))
        self.channels, self.convert = channels, converts(channels, convert)
        self.reads_arrays = not self.convert
        self.bgr, self.short_side = color_type == 'color', short_side

    def transform(self, results: dict | str | np.ndarray) -> dict:
        """Add `img`, `img_shape` and `ori_shape` (height, width)."""
        if not isinstance(results, dict):
            results = {'img' if isinstance(results, np.ndarray) else 'img_path': results}
        given = results.get('img')
        if given is not None:
            pixels = np.atleast_3d(given)
        elif self.convert:
            pixels = np.array(read_rgb(results['img_path']))
        else:
            pixels = read_pixels(results['img_path'], self.channels)
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


def converts(channels: int, convert: bool | None) -> bool:
    """Return whether a loader converts files to 8-bit RGB; its default is `channels == 3`."""
    if convert and channels != 3:
        raise ValueError(f'convert is True and channels {channels}; allowed: 3 for 8-bit RGB')
    return channels == 3 if convert is None else convert


def use_channels(cfg: Config) -> None:
    """Set `channels` of all loaders to `model.backbone.in_channels`; refuse other values."""
    channels = (cfg.model.get('backbone') or {}).get('in_channels', 3)
    preprocessor = cfg.model.get('data_preprocessor') or {}
    order = 'color' if preprocessor.get('bgr_to_rgb') or preprocessor.get('to_rgb') else 'rgb'
    for split in ('train', 'val', 'test'):
        for step in dicts_in(cfg.get(f'{split}_dataloader')):
            if step.get('type') not in (*LOADERS, *RENAMED):
                continue
            where = f'{split}_dataloader: {step["type"]}'
            if step.get('channels', channels) != channels:
                raise ValueError(
                    f'{where}.channels is {step["channels"]}; allowed: model.backbone.in_channels, '
                    f'{channels}'
                )
            if channels != 3 and step['type'] in LOADERS:  # not the array loaders of mmdet
                step['channels'] = channels
            if channels == 3 and (found := step.get('color_type', 'rgb')) != order:
                raise ValueError(
                    f'{where}.color_type is {found!r}; allowed: {order!r}, as '
                    f'model.data_preprocessor has bgr_to_rgb={order == "color"}'
                )

"""Hook that draws the detections of a test run, one picture per image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.structures import DetDataSample
from mmengine.registry import HOOKS

from lomar.datasets.image_io import UnreadableImage, read_pixels, read_rgb
from lomar.visualization.output_paths import check_images_kept, output_paths

LIMITS = (2, 98)  # percentiles that become black and white, of pixels that are not 8-bit RGB


@HOOKS.register_module()
class DetectionPicturesHook(DetVisualizationHook):
    """mmdet's hook for any image that a detector reads; pictures keep the images' sub-folders.

    mmdet's hook names pictures by the last part of the image's path, so that images of equal names
    overwrite each other.
    """

    def before_test(self, runner) -> None:
        """Name the pictures of all images."""
        if self.draw:
            dataset = runner.test_dataloader.dataset
            images = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
            self.names = output_paths(images, '.jpg')
            if folder := self._folder(runner):
                check_images_kept('--show-dir', folder, self.names)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]
    ) -> None:
        """Draw the detections of a batch."""
        if not self.draw:
            return
        folder = self._folder(runner)
        for sample in outputs:
            self._test_index += 1
            name = self.names[sample.img_path]
            self._visualizer.add_datasample(
                str(name) if self.show else 'test_img',
                visible_pixels(sample.img_path),
                data_sample=sample,
                show=self.show,
                wait_time=self.wait_time,
                pred_score_thr=self.score_thr,
                out_file=folder and str(folder / name),
                step=self._test_index,
            )

    def _folder(self, runner) -> Path | None:
        if not self.test_out_dir:
            return None
        return Path(runner.work_dir, runner.timestamp, self.test_out_dir)


def visible_pixels(path: str | Path) -> np.ndarray:
    """Return an image file as (H, W, 3) uint8 RGB, with other pixels stretched to that range.

    Of more than three channels the first three are shown, of two the first.
    """
    try:
        return np.array(read_rgb(path))
    except UnreadableImage:
        pixels = read_pixels(path)  # the detector has read it, so it is an array or a raster
    pixels = pixels[..., : 3 if pixels.shape[2] >= 3 else 1].astype(np.float32)
    low, high = np.percentile(pixels, LIMITS)
    shown = (pixels - low) / max(high - low, np.finfo(np.float32).tiny) * 255
    return np.repeat(shown.clip(0, 255).round().astype(np.uint8), 3 // shown.shape[2], axis=2)

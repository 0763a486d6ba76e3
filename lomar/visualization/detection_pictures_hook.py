"""Hook that draws the detections of a test run, one picture per image."""

from collections.abc import Sequence
from pathlib import Path

from mmdet.engine.hooks import DetVisualizationHook
from mmdet.structures import DetDataSample
from mmengine.dist import is_main_process
from mmengine.registry import HOOKS

from lomar.datasets.any_image import visible_pixels
from lomar.datasets.folder_walk import mark_pictures
from lomar.visualization.output_paths import check_files_kept, output_paths


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
            # Other processes may be slower, and would find pictures of this test.
            if is_main_process() and (folder := self._folder(runner)):
                check_files_kept('--show-dir', folder, self.names)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]
    ) -> None:
        """Draw the detections of a batch."""
        if not self.draw:
            return
        if folder := self._folder(runner):
            mark_pictures(folder)
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

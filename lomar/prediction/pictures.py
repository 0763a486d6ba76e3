"""Pictures of predictions: one JPEG file per image, one MP4 file per video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lomar.datasets.folder_walk import mark_pictures
from lomar.prediction.items import Item
from lomar.prediction.sources import Source
from lomar.prediction.videos import VideoFile
from lomar.visualization.output_paths import (
    check_images_kept,
    check_own_folder,
    output_paths,
)

QUALITY = 95  # of JPEG files


class Pictures:
    """Folder of pictures, in which no two sources have the same picture.

    Args:
        folder: made if need be.
        sources, common: results of `find_sources`, by which pictures are named; sub-folders stay.

    Raises:
        ValueError: a picture would be in a folder of the images or videos, or of other files.
    """

    def __init__(self, folder: str | Path, sources: Sequence[Source], common: str):
        self.folder = Path(folder)
        places = [(one.place, '.mp4' if one.is_video else '.jpg') for one in sources]
        self.names: dict[str, Path] = {}
        for suffix in ('.jpg', '.mp4'):
            chosen = [place for place, own in places if own == suffix]
            self.names |= output_paths(chosen, suffix, common, self.names.values())
        check_images_kept('--out', self.folder, self.names)
        check_own_folder('--out', self.folder)
        self._video: tuple[Source, VideoFile] | None = None

    def add(self, item: Item, picture: Image.Image) -> None:
        """Write a picture; frames of one video must follow each other."""
        path = self.folder / self.names[item.source.place]
        mark_pictures(self.folder)
        if item.rate is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, quality=QUALITY)
            return
        if self._video is None or self._video[0] != item.source:
            self.close()
            self._video = item.source, VideoFile(path, item.rate, *picture.size)
        self._video[1].add(np.asarray(picture))

    def close(self) -> None:
        """End the video to which frames were written last."""
        if self._video is not None:
            self._video[1].close()
        self._video = None

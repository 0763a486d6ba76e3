"""Predicted masks: one PNG file of class ids per image, or per frame of a video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lomar.datasets.folder_walk import mark_pictures
from lomar.prediction.items import Item
from lomar.prediction.sources import Source
from lomar.utils import atomic_write
from lomar.visualization.output_paths import (
    check_images_kept,
    check_own_folder,
    output_paths,
)


class Masks:
    """Folder of masks, in which no two images have the same mask.

    Args:
        folder: made if need be.
        sources, common: results of `find_sources`, by which masks are named; sub-folders stay.

    Raises:
        ValueError: a mask would replace one of the images, or a file that no prediction wrote.
    """

    def __init__(self, folder: str | Path, sources: Sequence[Source], common: str):
        self.folder = Path(folder)
        images, videos = (
            [one.place for one in sources if one.is_video == kind] for kind in (False, True)
        )
        self.names = output_paths(images, '.png', common)
        self.names |= output_paths(videos, '', common, self.names.values())  # folders of frames
        check_images_kept('--out', self.folder, self.names)
        check_own_folder('--out', self.folder)

    def add(self, item: Item, ids: np.ndarray) -> str:
        """Write the ids (H, W) uint8 of an image; return the path below the folder.

        Frame 12 of `video.mp4` is `video/000012.png`, or `video.mp4/000012.png` if the images have
        a folder `video`.
        """
        mark_pictures(self.folder)
        name = self.names[item.source.place]
        if item.rate is not None:
            name /= f'{item.title.rpartition("#")[2]}.png'
        with atomic_write(self.folder / name) as part:
            Image.fromarray(ids).save(part, 'PNG')
        return name.as_posix()

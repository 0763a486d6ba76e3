"""The images to predict one after the other: files, downloads and frames of videos."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lomar.datasets.unreadable import UnreadableImage
from lomar.prediction.downloads import download
from lomar.prediction.sources import Source, suffix_of
from lomar.prediction.videos import frames


class Item(NamedTuple):
    """Image to predict.

    Attributes:
        title: name in the results; frame 12 of a video is `video.mp4#000012`.
        image: path of a file, or pixels (H, W, 3) of a frame in the order R, G, B.
        source: the file or address of the image.
        rate: frames per second of a video; None for an image.
    """

    title: str
    image: str | np.ndarray
    source: Source
    rate: float | None = None


def items(
    sources: Iterable[Source], folder: str | Path, unreadable: dict[str, str]
) -> Iterator[Item]:
    """Yield the images of all sources.

    Args:
        folder: for downloads; `forget` removes a file after its use.
        unreadable: gets the reason for each source that cannot be downloaded or decoded.
    """
    for number, source in enumerate(sources):
        name = source.name
        try:
            if source.is_web:
                name = str(Path(folder, f'{number}{suffix_of(source.name)[:10]}'))
                download(source.name, Path(name))
            if source.is_video:
                for frame in frames(name):
                    title = f'{source.title}#{frame.number:06d}'
                    yield Item(title, frame.pixels, source, frame.rate)
            else:
                yield Item(source.title, name, source)
                continue
        except UnreadableImage as error:
            unreadable[source.name] = error.reason
        if source.is_web:
            Path(name).unlink(missing_ok=True)


def forget(item: Item) -> None:
    """Remove the downloaded file of an image that is predicted."""
    if item.source.is_web and isinstance(item.image, str):
        Path(item.image).unlink()

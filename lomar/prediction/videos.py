"""Frames of video files, and videos of pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lomar.datasets.unreadable import UnreadableImage

CODEC = 'mp4v'  # MPEG-4 part 2, which OpenCV's wheels encode without other libraries
USUAL = 25.0  # frames per second, if a file does not declare them
WHOLE = 0.95  # of the declared number of frames, which is an estimate in some containers


class Frame(NamedTuple):
    """Frame of a video: pixels (H, W, 3) uint8 in the order R, G, B, number from 0, and rate."""

    pixels: np.ndarray
    number: int
    rate: float


def frames(path: str) -> Iterator[Frame]:
    """Yield the frames of a video file, upright.

    Raises:
        UnreadableImage: OpenCV cannot read the file, or only its beginning; in this case after the
            frames that can be read.
    """
    if not Path(path).is_file():
        raise UnreadableImage(path, 'there is no such file')
    video = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG)
    try:
        declared, rate = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
        number = 0
        while video.isOpened():
            there, pixels = video.read()
            if not there:
                break
            yield Frame(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), number, rate or USUAL)
            number += 1
    finally:
        video.release()
    if not number:
        raise UnreadableImage(path, 'OpenCV cannot decode it as a video')
    if number < WHOLE * declared - 1:
        raise UnreadableImage(path, f'only {number} of {declared:.0f} frames can be decoded')


class VideoFile:
    """Video that is written picture by picture.

    Args:
        path: an .mp4 file.
        rate: frames per second.

    Raises:
        OSError: OpenCV cannot write the file.
    """

    def __init__(self, path: Path, rate: float, width: int, height: int):
        self.path, self.size = path, (width, height)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODEC), rate, self.size)
        if not self._writer.isOpened():
            raise OSError(f'{path}: OpenCV cannot write a video of {width} x {height} pixels')

    def add(self, pixels: np.ndarray) -> None:
        """Append a picture (H, W, 3) uint8 in the order R, G, B."""
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        self._writer.write(bgr if bgr.shape[1::-1] == self.size else cv2.resize(bgr, self.size))

    def close(self) -> None:
        """End the file."""
        self._writer.release()

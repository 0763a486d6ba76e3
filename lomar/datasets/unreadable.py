"""Errors of single image files."""

from collections.abc import Iterator
from contextlib import contextmanager

from lomar.datasets.shard_images import ImageFile


class UnreadableImage(OSError):
    """Error for a file that is missing, damaged or not an image."""

    def __init__(self, path: ImageFile, reason: object):
        super().__init__(f'{path}: {reason}')
        self.path, self.reason = str(path), str(reason)

    def __reduce__(self) -> tuple:
        """Keep both arguments in a pickle, which processes send to each other."""
        return type(self), (self.path, self.reason)


# Errors of one image, after which commands continue with the next image. ImportError: a TIFF file
# that needs rasterio.
IMAGE_ERRORS = UnreadableImage, ImportError, ValueError


@contextmanager
def reasons(path: ImageFile) -> Iterator[None]:
    """Turn errors of decoders into `UnreadableImage`."""
    try:
        yield
    except (UnreadableImage, ImportError, MemoryError):
        raise
    except Exception as error:  # decoders of damaged files raise errors of many types
        reason = error.__cause__ or error  # rasterio's own error only refers to its cause
        raise UnreadableImage(path, f'{type(reason).__name__}: {reason}') from error

"""Limit on the number of pixels in images from strangers."""

from PIL import Image


def check_size(height: int, width: int) -> None:
    """Raise an error as Pillow does if an image has more than twice Pillow's limit of pixels.

    A small file may declare a huge image, for which there is no memory.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > 2 * limit:
        raise Image.DecompressionBombError(
            f'Image size ({height * width} pixels) exceeds limit of {2 * limit} pixels'
        )

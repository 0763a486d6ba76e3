"""Size of an image file as it is loaded: upright, without decoding the pixels."""

from PIL import Image, UnidentifiedImageError

from lomar.datasets.image_io import open_pixels
from lomar.datasets.orientation import on_side, orientation, stored_size


def upright_size(path: str) -> tuple[tuple[int, int], bool]:
    """Return (width, height) of the upright image, and whether EXIF swaps the sides."""
    try:
        with Image.open(path) as image:
            turned, (width, height) = on_side(orientation(image)), stored_size(image)
            return ((height, width) if turned else (width, height)), turned
    except UnidentifiedImageError:  # an array, or a TIFF of many channels
        with open_pixels(path) as file:
            return (file.width, file.height), False

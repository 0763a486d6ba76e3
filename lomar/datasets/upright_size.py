"""Size of an image file as it is loaded: upright, without decoding the pixels."""

from PIL import ExifTags, Image, UnidentifiedImageError

from lomar.datasets.image_io import open_pixels


def upright_size(path: str) -> tuple[tuple[int, int], bool]:
    """Return (width, height) of the upright image, and whether EXIF swaps the sides."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return (image.size[::-1] if turned else image.size), turned
    except UnidentifiedImageError:  # an array, or a TIFF of many channels
        with open_pixels(path) as file:
            return (file.width, file.height), False

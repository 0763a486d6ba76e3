"""Orientation of an image in its EXIF or XMP data: the upright image, and its size."""

from PIL import ExifTags, Image

Turn = Image.Transpose
TURNS = {  # what makes an image upright
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}
WIDTH, HEIGHT = 256, 257  # tags of TIFF


def orientation(image: Image.Image) -> int:
    """Return the orientation of an opened image that was not decoded: 1, upright, to 8."""
    value = image.getexif().get(ExifTags.Base.Orientation)
    return value if value in TURNS else 1


def on_side(orientation: int) -> bool:
    """Return whether an orientation swaps width and height."""
    return 5 <= orientation <= 8


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) of an opened image that was not decoded, as the file stores it."""
    if image.format == 'TIFF':  # Pillow from 11 on gives the upright size
        tags = image.tag_v2  # type: ignore[attr-defined]
        return tags[WIDTH], tags[HEIGHT]
    return image.size


def load(image: Image.Image) -> None:
    """Decode an opened image."""
    if image.format == 'TIFF' and orientation(image) > 1:
        # Pillow from 11 on maps the pixels of a turned file into memory with the wrong row length.
        image.filename = ''  # type: ignore[attr-defined]
    image.load()


def upright(image: Image.Image) -> Image.Image:
    """Return an image decoded and upright; Pillow's `exif_transpose` fails on odd EXIF values."""
    load(image)  # turns a TIFF
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)

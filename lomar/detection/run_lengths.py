"""Masks of a large image as COCO's RLE, without a bitmap of the image.

RLE (run-length encoding) counts pixels down the columns. pycocotools unites, intersects and
compares it; the functions here convert it from and to the bitmap of a part of the image.
"""

import numpy as np
from pycocotools import mask as coco

LARGEST = 2**32 - 1  # pycocotools counts with 32 bits


def placed_rle(mask: np.ndarray, top: int, left: int, height: int, width: int) -> dict:
    """Return the RLE of a mask in an image of (height, width), with `counts` as text.

    Args:
        mask: (h, w) bool.
        top, left: row and column of the image at which the mask's first pixel lies.

    Raises:
        ValueError: the image has too many pixels for RLE.
    """
    _check_size(height, width)
    columns = np.flatnonzero(mask.any(axis=0))
    first, stop = (columns[0], columns[-1] + 1) if len(columns) else (0, 0)
    side = len(mask) + 1  # one pixel that is off below each column, and one before all
    pixels = np.zeros(side * (stop - first) + 1, bool)
    pixels[1:].reshape(-1, side)[:, :-1] = mask[:, first:stop].T
    column, row = np.divmod(np.flatnonzero(pixels[1:] != pixels[:-1]), side)
    ends = (left + first + column) * height + top + row
    # A run that goes on at the top of the next column has no end in between.
    joined = np.flatnonzero(ends[1:] == ends[:-1])
    ends = np.delete(ends, [*joined, *joined + 1])
    return rle_of_ends(ends, height, width)


def rle_of_ends(ends: np.ndarray, height: int, width: int) -> dict:
    """Return the RLE of runs that end at increasing numbers of pixels; the first run is off."""
    counts = np.diff(ends, prepend=0).tolist()
    rest = height * width - (int(ends[-1]) if len(ends) else 0)
    counts += [rest] if rest else []
    encoded = coco.frPyObjects(dict(size=[height, width], counts=counts), height, width)
    return as_text(encoded)


def as_text(rle: dict) -> dict:
    """Return an RLE of pycocotools with `counts` as text instead of bytes, as JSON has it."""
    return {**rle, 'counts': rle['counts'].decode()}


def ends_of_rle(rle: dict) -> np.ndarray:
    """Return how many pixels precede the end of each run, int64; the first run is off.

    The format is COCO's: a count is the difference to the count before the last, written in
    digits of 5 bits, the lowest first. A sixth bit means that more digits follow.
    """
    digits = np.frombuffer(rle['counts'].encode(), np.uint8) - 48
    is_last = digits & 0x20 == 0
    number = np.cumsum(is_last) - is_last
    first = np.flatnonzero(np.append(True, is_last[:-1]))
    shift = 5 * (np.arange(len(digits)) - first[number])
    counts = np.zeros(len(first), np.int64)
    np.add.at(counts, number, (digits & 0x1F).astype(np.int64) << shift)
    counts -= np.where(digits[is_last] & 0x10, np.int64(32) << shift[is_last], 0)  # a negative one
    for parity in (1, 2):  # the first three counts are no differences
        counts[parity::2] = np.cumsum(counts[parity::2])
    return np.cumsum(counts)


def sampled(rle: dict, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask at rows x columns of the image, (R, C) bool."""
    places = np.asarray(columns)[None] * rle['size'][0] + np.asarray(rows)[:, None]
    return np.searchsorted(ends_of_rle(rle), places, side='right') % 2 == 1


def clipped(rles: list[dict], top: int, left: int, height: int, width: int) -> list[dict]:
    """Return the parts of masks within a rectangle of the image, in the size of the image."""
    if not rles:
        return []
    whole = rles[0]['size']
    rectangle = placed_rle(np.ones((height, width), bool), top, left, *whole)
    return [as_text(coco.merge([rle, rectangle], intersect=True)) for rle in rles]


def united(rles: list[dict]) -> dict:
    """Return the union of masks of one size."""
    return as_text(coco.merge(rles))


def _check_size(height: int, width: int) -> None:
    """Raise a ValueError if an image is too large for RLE."""
    if height * width > LARGEST:
        raise ValueError(
            f'an image of {height} x {width} pixels; allowed for masks as RLE: at most {LARGEST} '
            'pixels'
        )

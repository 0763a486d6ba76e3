"""Tiles of a large image.

The package sahi also cuts images into tiles and merges their objects, and its pins go with the
tested OpenCV. It is not used: it takes the overlap as a ratio and truncates the product (29 pixels
of a tile of 100 become 28), reads images whole, and turns masks into polygons, which loses parts
one pixel wide. The rest is the ten lines of `tile_places`.
"""

from collections.abc import Iterator, Sequence
from operator import index

from lomar.utils import check_least

Place = tuple[int, int, int, int]  # row and column of the top-left pixel, height, width


def check_tiles(tile: int, overlap: int) -> None:
    """Raise a ValueError unless a side of a tile and an overlap, in pixels, go together."""
    check_least('tiles', tile=tile)
    check_least('tiles', 0, overlap=overlap)
    if overlap >= tile:
        raise ValueError(
            f'the overlap is {overlap} and the tile {tile} pixels; allowed: an overlap smaller '
            'than a tile'
        )


def tile_places(height: int, width: int, tile: int, overlap: int) -> list[Place]:
    """Return tiles that cover an image, row by row.

    Neighbours have `overlap` pixels in common, or more: the last tile of a row or column is moved
    inward, so that all tiles have the full size. An image with a side smaller than a tile has one
    tile of that smaller side.

    Args:
        height, width: size of the image in pixels.
        tile: side of a tile in pixels.
        overlap: pixels that neighbouring tiles have in common at least.

    Raises:
        ValueError: the overlap is not smaller than the tile.
    """
    check_tiles(tile, overlap)
    tile, overlap = index(tile), index(overlap)  # NumPy's integers overflow
    rows, columns = (_starts(side, tile, tile - overlap) for side in (height, width))
    size = min(tile, height), min(tile, width)
    return [(top, left, *size) for top in rows for left in columns]


def _starts(side: int, tile: int, step: int) -> list[int]:
    last = max(0, side - tile)
    return [*range(0, last, step), last]


def shared_place(first: Place, second: Place) -> Place | None:
    """Return the part of an image that two tiles have in common, or None."""
    top, left = max(first[0], second[0]), max(first[1], second[1])
    bottom = min(first[0] + first[2], second[0] + second[2])
    right = min(first[1] + first[3], second[1] + second[3])
    return (top, left, bottom - top, right - left) if top < bottom and left < right else None


def shared_places(places: Sequence[Place]) -> Iterator[tuple[int, int, Place]]:
    """Yield the indices of tiles that overlap, and the part that they have in common.

    Args:
        places: tiles in the order of `tile_places`.
    """
    for first, place in enumerate(places):
        for second in range(first + 1, len(places)):
            if places[second][0] >= place[0] + place[2]:
                break  # so do all later rows
            if shared := shared_place(place, places[second]):
                yield first, second, shared

"""Outlines of objects in the forms that COCO has: polygons, and masks as RLE."""

import math

import numpy as np
from pycocotools import mask as rle


def corners_of_rotated(
    left: float, top: float, right: float, bottom: float, degrees: float
) -> list[float]:
    """Return [x, y, ...] of a box that is rotated clockwise around its centre."""
    x, y, angle = (left + right) / 2, (top + bottom) / 2, math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    offsets = ((corner_x - x, corner_y - y) for corner_x, corner_y in corners)
    return [v for dx, dy in offsets for v in (x + dx * cos - dy * sin, y + dx * sin + dy * cos)]


def circle(x: float, y: float, radius: float, points: int = 64) -> list[float]:
    """Return [x, y, ...] of a regular polygon in a circle."""
    angles = (2 * math.pi * point / points for point in range(points))
    return [v for a in angles for v in (x + radius * math.cos(a), y + radius * math.sin(a))]


def rle_of(mask: np.ndarray) -> dict:
    """Return the compressed RLE, as in JSON, of a mask (H, W)."""
    found = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=[int(side) for side in found['size']], counts=found['counts'].decode())


def rle_of_part(part: np.ndarray, left: int, top: int, size: tuple[int, int]) -> dict:
    """Return the RLE of an image of `size` (width, height) with a mask (h, w) at a place in it."""
    mask = np.zeros(size[::-1], dtype=bool)
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return rle_of(mask)


def bounds(polygons: list[list[float]]) -> tuple[float, float, float, float]:
    """Return the corners (x1, y1, x2, y2) of the box around polygons."""
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)

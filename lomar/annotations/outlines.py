"""Outlines of objects as polygons, [x, y, ...] in pixels."""

import math


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


def bounds(polygons: list[list[float]]) -> tuple[float, float, float, float]:
    """Return the corners (x1, y1, x2, y2) of the box around polygons."""
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)

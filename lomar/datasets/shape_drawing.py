"""Draw images of textured shapes for the embedded dataset.

A category is a shape and a texture; easier to learn, a texture; or, easiest, any textured object.
Every shape is drawn in every texture, colors do not depend on the category, backgrounds have the
same textures, and decoys without annotation have a category's shape in another texture or, where
shapes matter, its texture in another shape.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

SHAPES = ('disc', 'square', 'triangle', 'star')
TEXTURES = ('striped', 'checked', 'dotted')
CATEGORIES = {
    'shape+texture': tuple(f'{texture} {shape}' for shape in SHAPES for texture in TEXTURES),
    'texture': TEXTURES,
    'object': ('object',),  # the same images as 'texture'
}

# Identifies a dataset on disk together with its arguments; raise it with every change here.
RECIPE = 1
MAX_OBJECTS = 6
MAX_DECOYS = 2
MIN_VISIBLE = 0.5  # share of an object's area that other objects and the border leave visible
PLACING_TRIES = 8
SUPERSAMPLING = 4
SENSOR_NOISE = 0.012
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class _Item:
    kind: int | None  # index of shape and texture; None = a decoy, which is not annotated
    texture: str
    centre: np.ndarray
    radius: float  # of the disc with the area of the whole outline, in pixels
    alpha: np.ndarray  # coverage of each pixel by the whole outline, 0..1
    visible: np.ndarray

    def recognisable(self) -> bool:
        enough = MIN_VISIBLE * np.pi * self.radius**2
        return self.kind is None or self.visible.sum() >= enough


def render(
    rng: np.random.Generator, size: int, categories: str = 'shape+texture'
) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """Draw an image, uint8 RGB (size, size, 3); return it with (category index, mask) pairs.

    The bool masks (size, size) of the 1 to 6 objects are disjoint, and at least half of every
    object is visible. The index is that of `CATEGORIES[categories]`.
    """
    items = _layout(rng, size, decoys_with_texture=categories == 'shape+texture')
    image = _background(rng, size)
    for item in items:
        pattern = _pattern(item.texture, rng, size, item.centre, item.radius)
        surface = _coloured(pattern, rng, rng.uniform(0.35, 0.7))
        surface *= 1 + 0.2 * _slope(rng, size, item.centre, item.radius)
        image += item.alpha[..., None] * (surface - image)
    image *= 1 + 0.15 * _slope(rng, size, np.array([size / 2, size / 2]), size / 2)
    image += SENSOR_NOISE * rng.standard_normal(image.shape, np.float32)
    pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    # Kinds count the textures of the first shape, then those of the second, and so on.
    count = len(CATEGORIES[categories])
    return pixels, [(item.kind % count, item.visible) for item in items if item.kind is not None]


def _layout(rng: np.random.Generator, size: int, decoys_with_texture: bool) -> list[_Item]:
    """Return items in painting order; items that would hide others are left out."""
    kinds = len(SHAPES) * len(TEXTURES)
    wanted = rng.integers(kinds, size=rng.integers(1, MAX_OBJECTS + 1)).tolist()
    wanted += [None] * int(rng.integers(MAX_DECOYS + 1))
    items: list[_Item] = []
    for index in rng.permutation(len(wanted)):
        for _ in range(PLACING_TRIES):
            item = _place(wanted[index], rng, size, decoys_with_texture)
            stack = [replace(old, visible=old.visible & ~item.visible) for old in items] + [item]
            if all(one.recognisable() for one in stack):
                items = stack
                break
    return items


def _place(
    kind: int | None, rng: np.random.Generator, size: int, decoys_with_texture: bool
) -> _Item:
    if kind is not None:
        shape, texture = SHAPES[kind // len(TEXTURES)], TEXTURES[kind % len(TEXTURES)]
    elif rng.random() < 0.5 or not decoys_with_texture:
        shape, texture = rng.choice(SHAPES), rng.choice(('plain', 'ringed'))
    else:
        shape, texture = 'blob', rng.choice(TEXTURES)
    # Below 7 pixels textures cannot be distinguished.
    smallest, largest = max(7.0, 0.08 * size), 0.28 * size
    radius = smallest * (largest / smallest) ** rng.random()
    centre = rng.uniform(0.8 * radius, size - 0.8 * radius, 2)
    points = _outline(shape, rng) * radius + centre
    canvas = np.zeros((size * SUPERSAMPLING, size * SUPERSAMPLING), np.uint8)
    # fillPoly takes coordinates of pixel centers in 1/16 pixel; `points` are of pixel edges.
    fixed = ((points * SUPERSAMPLING - 0.5) * 16).round().astype(np.int32)
    cv2.fillPoly(canvas, [fixed], 255, shift=4)
    alpha = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA) / np.float32(255)
    return _Item(kind, texture, centre, radius, alpha, alpha >= 0.5)


def _outline(shape: str, rng: np.random.Generator) -> np.ndarray:
    """Return corners (n, 2) of a rotated, stretched shape with the area of the unit disc."""
    count = {'square': 4, 'triangle': 3, 'star': 10}.get(shape, 72)
    theta = np.arange(count) * 2 * np.pi / count
    reach = np.ones(count)
    if shape == 'star':
        reach[::2] = rng.uniform(0.4, 0.55)
    elif shape == 'blob':
        for lobes in (2, 3, 4):
            reach += rng.uniform(0.1, 0.22) * np.sin(lobes * theta + rng.uniform(0, 2 * np.pi))
    corners = reach * np.exp(1j * theta) * _turn(rng)
    corners = (rng.uniform(0.8, 1.25) * corners.real + 1j * corners.imag) * _turn(rng)
    points = np.stack([corners.real, corners.imag], axis=1)
    return points * np.sqrt(np.pi / cv2.contourArea(points.astype(np.float32)))


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return two textured regions that meet along a wavy line, float32 (size, size, 3)."""
    region = np.clip(_smooth_noise(rng, size, 1) * size / 8 + 0.5, 0, 1)
    image = np.zeros((size, size, 3), np.float32)
    for weight in (region, 1 - region):
        kind = rng.choice((*TEXTURES, 'ringed', 'plain'))
        radius = rng.uniform(0.1, 0.28) * size
        pattern = _pattern(kind, rng, size, rng.uniform(0, size, 2), radius)
        image += weight * _coloured(pattern, rng, rng.uniform(0.05, 0.25))
    return image + 0.07 * _smooth_noise(rng, size, 3)


def _pattern(
    kind: str, rng: np.random.Generator, size: int, centre: np.ndarray, radius: float
) -> np.ndarray:
    """Return a texture for an object of a radius in pixels, float32 (size, size) in 0..1."""
    period = max(4.5, radius * rng.uniform(0.4, 0.75))
    u, v = _turned_grid(rng, size, centre)
    if kind == 'plain':
        return 0.5 + 0.5 * np.sin(u / (2 * period))
    if kind == 'ringed':
        return _bars(np.hypot(u, v), period)
    u += period * (rng.random() + 0.2 * np.sin(v / (period * rng.uniform(0.5, 1.0))))
    v += period * rng.random()
    if kind == 'striped':
        return _bars(u, period)
    across = period * rng.uniform(0.8, 1.25)
    if kind == 'checked':
        return 0.5 + 2 * (_bars(u, period) - 0.5) * (_bars(v, across) - 0.5)
    u += period * rng.integers(2) * 0.5 * (np.floor(v / across) % 2)
    dots = np.hypot(u % period - period / 2, v % across - across / 2)
    return np.clip(rng.uniform(0.28, 0.36) * period - dots + 0.5, 0, 1)


def _bars(distance: np.ndarray, period: float) -> np.ndarray:
    """Return stripes of a period in pixels, 0..1, with edges that are one pixel wide."""
    return np.clip(np.abs(distance % period - period / 2) - period / 4 + 0.5, 0, 1)


def _coloured(pattern: np.ndarray, rng: np.random.Generator, contrast: float) -> np.ndarray:
    """Return the pattern in two random colors whose brightness differs by contrast (0..1)."""
    middle = rng.uniform(0.1 + contrast / 2, 0.9 - contrast / 2)
    tint = rng.uniform(-0.45, 0.45, (2, 3)).astype(np.float32)
    bright = np.array([[middle - contrast / 2], [middle + contrast / 2]], np.float32)
    dark, light = np.clip(bright + tint - (tint * LUMA).sum(axis=1, keepdims=True), 0, 1)
    return dark + pattern[..., None] * (light - dark)


def _slope(rng: np.random.Generator, size: int, centre: np.ndarray, radius: float) -> np.ndarray:
    """Return a ramp of random direction, -1..1 across the radius, float32 (size, size, 1)."""
    return np.clip(_turned_grid(rng, size, centre)[0] / radius, -1, 1)[..., None]


def _smooth_noise(rng: np.random.Generator, size: int, channels: int) -> np.ndarray:
    coarse = rng.normal(size=(4, 4, channels)).astype(np.float32)
    noise = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return noise.reshape(size, size, channels)


def _turned_grid(rng: np.random.Generator, size: int, centre: np.ndarray) -> np.ndarray:
    """Return pixel coordinates about a center along two random orthogonal axes, (2, size, size)."""
    steps = np.arange(size) + 0.5
    turned = (steps - centre[0] + 1j * (steps - centre[1])[:, None]) * _turn(rng)
    return np.stack([turned.real, turned.imag]).astype(np.float32)


def _turn(rng: np.random.Generator) -> complex:
    return np.exp(2j * np.pi * rng.random())

"""Pictures of windows, masks and reconstructions of a LoMaR model."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lomar.datasets.reading import Reading
from lomar.datasets.resize import fit_pixels
from lomar.models.lomar import LoMaR
from lomar.models.patches import paste_patches
from lomar.utils import undisturbed

COLOURS = ('#ff3b30', '#34c759', '#0a84ff', '#ffcc00', '#bf5af2', '#64d2ff', '#ff9f0a', '#ffffff')
AS_RGB = Reading()
MIN_CELL = 160  # pixels; smaller images are enlarged
GAP, HEADING = 6, 22
DARK = 128  # of 255; images whose brightest pixels are darker are stretched
CONTRAST = 2.5  # standard deviations from mean to black or white, for pixels that are not 8-bit


@dataclass
class Row:
    """Pictures of one image and its window boxes.

    Attributes:
        pictures: (3, H, W) uint8 by title. 'input'; 'windows and masks', with masked patches in the
            mean color, where later windows overwrite earlier windows; and, if the target has
            pixels, 'prediction' of the masked patches and 'composite' of prediction and input.
        boxes: (W, 4) in pixels: left, top, right and bottom, inclusive.
        boxed: titles of the pictures with boxes.
    """

    pictures: dict[str, Tensor]
    boxes: Tensor
    boxed: Collection[str] = ('windows and masks',)


def read_image(
    path: str | Path, patch_size: int, side: int | None = None, reading: Reading = AS_RGB
) -> Tensor:
    """Read an image as a batch of one, (1, C, H, W), center-cropped to whole patches.

    Args:
        side: side in pixels of the square to resize and crop to; None = the native size.
        reading: how the file is read; default: as 8-bit RGB.
    """
    pixels = reading.read(path)
    sides = pixels.shape[:2]
    if side:
        fitted = fit_pixels(pixels, (side, side))
    elif min(sides) < patch_size:
        raise ValueError(f'{path} has {sides[1]} x {sides[0]} pixels, less than a patch')
    else:
        height, width = (s // patch_size * patch_size for s in sides)
        top, left = (sides[0] - height) // 2, (sides[1] - width) // 2
        fitted = pixels[top : top + height, left : left + width]
    return torch.from_numpy(fitted).permute(2, 0, 1)[None]


@torch.no_grad()
def reconstruct(
    model: LoMaR, images: Tensor | Sequence[Tensor], seed: int = 0, predict: bool = True
) -> list[Row]:
    """Reconstruct random windows of images, which are not normalized yet.

    Predictions of a `norm_pix` model are denormalized by the mean and standard deviation of the
    true patch. For images that are not 8-bit grey or RGB, the first three channels are shown, or
    the first channel of fewer. The contrast of a dark image is stretched, see `stretch`.

    Args:
        images: (B, C, H, W), or a list if sizes differ. Each region of an image becomes an image.
        seed: seed of windows and masks.
        predict: False = windows and masks only; the model needs no trained weights.
    """
    inputs = model.data_preprocessor({'inputs': images, 'data_samples': None})['inputs']
    plain = images[0].dtype == torch.uint8
    generator = torch.Generator().manual_seed(seed)
    with undisturbed(model):
        return [_row(model, image[None], generator, plain, predict) for image in inputs]


def _row(
    model: LoMaR, image: Tensor, generator: torch.Generator, plain: bool, predict: bool
) -> Row:
    """Return pictures of one normalized image (1, C, H, W)."""
    patch_size, boxes = model.backbone.patch_size, []
    visible, prediction, composite = image, torch.zeros_like(image), image
    drawn = model.draw(image, generator)
    for sampler, (windows, masked) in zip(model.samplers, drawn, strict=True):
        size, corners = sampler.size, windows[0].flip(-1)
        true, mask = model.cut(image, windows, size), masked[..., None]
        boxes.append(torch.cat([corners, corners + size], dim=-1))
        visible = paste_patches(visible, true * ~mask, windows, patch_size)
        pixels = None
        if predict:
            predicted = model.predict(image, windows, masked, size)
            pixels = model.head.target.to_pixels(predicted, true)
        if pixels is None:
            predict = False
            continue
        prediction = paste_patches(prediction, pixels * mask, windows, patch_size)
        composite = paste_patches(composite, pixels.where(mask, true), windows, patch_size)
    pictures = {'input': image, 'windows and masks': visible}
    if predict:
        pictures |= {'prediction': prediction, 'composite': composite}
    levels = {title: _levels(pixels, model, plain) for title, pixels in pictures.items()}
    low, gain = stretch(levels['input'])
    shown = {title: _visible((level - low) * gain) for title, level in levels.items()}
    boxes = torch.cat(boxes) * patch_size - torch.tensor([0, 0, 1, 1], device=image.device)
    return Row(shown, boxes.cpu())


def _levels(image: Tensor, model: LoMaR, plain: bool) -> Tensor:
    """Return a normalized image (1, C, H, W) in gray levels, (1, 1 or 3, H, W), black = 0."""
    if plain and image.shape[1] in (1, 3):
        preprocessor = model.data_preprocessor
        image = image * getattr(preprocessor, 'std', 1) + getattr(preprocessor, 'mean', 0)
    else:
        image = (image[:, : 3 if image.shape[1] >= 3 else 1] / CONTRAST + 1) * 127.5
    return image


def stretch(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (low, gain) of the contrast stretch (level - low) * gain for an image in gray levels.

    An image is dark if its 99th percentile over all pixels and channels is below 128. Its 1st
    percentile becomes black and its 99th percentile white. Other images and images of a single
    level are unchanged: (0, 1).
    """
    ordered = levels.flatten().sort().values
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.01, 0.99))
    dark = (high < DARK) & (high - low >= 1)
    return low.where(dark, 0), (255 / (high - low)).where(dark, 1)


def _visible(levels: Tensor) -> Tensor:
    """Return an image in gray levels as (3, H, W) uint8."""
    return levels[0].clamp(0, 255).round().byte().expand(3, -1, -1).cpu()


def sheet(rows: Iterable[Row], max_cell: int | None = None) -> Image.Image:
    """Arrange pictures in one image: one row per image, one column per title.

    Args:
        max_cell: largest side of a picture in pixels; larger pictures are shrunk.
    """
    lines = [_line(row, max_cell) for row in rows]
    cell = max(line[0].width for line in lines)
    titles = max((row.pictures for row in rows), key=len)
    height = HEADING + sum(line[0].height + GAP for line in lines)
    picture = Image.new('RGB', (len(titles) * (cell + GAP) + GAP, height), 'white')
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(titles):
        draw.text((GAP + column * (cell + GAP), 4), title, 'black', ImageFont.load_default(14))
    top = HEADING
    for line in lines:
        for column, image in enumerate(line):
            picture.paste(image, (GAP + column * (cell + GAP), top))
        top += line[0].height + GAP
    return picture


def _line(row: Row, max_cell: int | None) -> list[Image.Image]:
    """Return the pictures of a row, enlarged or shrunk, with window borders."""
    height, width = next(iter(row.pictures.values())).shape[1:]
    scale: float = max(1, round(MIN_CELL / min(height, width)))
    if max_cell and max(height, width) > max_cell:
        scale = max_cell / max(height, width)
    images = []
    for title, pixels in row.pictures.items():
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        resample = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
        image = image.resize((round(width * scale), round(height * scale)), resample)
        if title in row.boxed:
            draw, line = ImageDraw.Draw(image), max(2, image.width // 120)
            for number, box in enumerate((row.boxes * scale).tolist()):
                draw.rectangle(box, outline=COLOURS[number % len(COLOURS)], width=line)
        images.append(image)
    return images

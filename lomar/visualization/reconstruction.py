"""Pictures of what a LoMaR model sees and what it makes of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from lomar.datasets.loading import read_rgb
from lomar.models.lomar import LoMaR
from lomar.models.windows import paste_patches

COLUMNS = ('input', 'windows and masks', 'prediction', 'composite')
GREY = 128
COLOURS = ('#ff3b30', '#34c759', '#0a84ff', '#ffcc00', '#bf5af2', '#64d2ff', '#ff9f0a', '#ffffff')
MIN_CELL = 160  # pixels; smaller images are enlarged so that one can see something


@dataclass
class Reconstruction:
    """Pictures of a batch, (B, C, H, W) with values 0 to 255, and the windows they show.

    Attributes:
        images: the input.
        hidden: the input with masked patches in grey; of overlapping windows the later is shown.
        prediction: predictions of masked patches, grey elsewhere.
        composite: the input with masked patches predicted.
        windows: (B, W, 2) in pixels, top and left.
        side: window side in pixels.
    """

    images: Tensor
    hidden: Tensor
    prediction: Tensor
    composite: Tensor
    windows: Tensor
    side: int


def read_batch(paths: Iterable[str | Path], size: int | tuple[int, int]) -> Tensor:
    """Read images, resized and cropped to `size` = (height, width): (B, 3, H, W) uint8."""
    height, width = (size, size) if isinstance(size, int) else size
    fitted = [ImageOps.fit(read_rgb(path), (width, height), Image.BICUBIC) for path in paths]
    return torch.from_numpy(np.stack([np.array(image) for image in fitted])).permute(0, 3, 1, 2)


def read_native(path: str | Path, multiple: int) -> Tensor:
    """Read an image at its own size less what exceeds whole patches: (1, 3, H, W) uint8.

    Raises:
        ValueError: the image is smaller than a patch.
    """
    image = read_rgb(path)
    width, height = (side // multiple * multiple for side in image.size)
    if not width or not height:
        raise ValueError(f'{path} has {image.size[0]} x {image.size[1]} pixels, less than a patch')
    left, top = (image.size[0] - width) // 2, (image.size[1] - height) // 2
    image = image.crop((left, top, left + width, top + height))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


@torch.no_grad()
def reconstruct(model: LoMaR, images: Tensor, seed: int = 0) -> Reconstruction:
    """Reconstruct random windows of uint8 images (B, C, H, W); a seed draws the same windows.

    Predictions of a `norm_pix` model get back the mean and deviation of the true patch, without
    which they have no colour.
    """
    training = model.training
    model.eval()
    inputs = model.data_preprocessor({'inputs': images, 'data_samples': None})['inputs']
    windows, masked = model.sample(inputs, torch.Generator().manual_seed(seed))
    true = model.cut(inputs, windows)
    predicted = model.head.pixels(model.predict(inputs, windows, masked), true)
    model.train(training)

    patch_size = model.backbone.patch_size
    mean = getattr(model.data_preprocessor, 'mean', torch.zeros(()))
    std = getattr(model.data_preprocessor, 'std', torch.ones(()))
    grey = ((GREY - mean) / std).expand_as(inputs)
    grey_patches = model.cut(grey, windows)

    def paste(background: Tensor, masked_patches: Tensor, visible_patches: Tensor) -> Tensor:
        content = torch.where(masked[..., None], masked_patches, visible_patches)
        pasted = paste_patches(background, content, windows, patch_size)
        return (pasted * std + mean).clamp(0, 255).cpu()

    return Reconstruction(
        images.cpu(),
        paste(inputs, grey_patches, true),
        paste(grey, predicted, grey_patches),
        paste(inputs, predicted, true),
        (windows * patch_size).cpu(),
        model.windows.size * patch_size,
    )


def sheet(reconstruction: Reconstruction) -> Image.Image:
    """Lay a reconstruction out: a row for each image, the columns of `COLUMNS`."""
    batch, _, height, width = reconstruction.images.shape
    scale = max(1, round(MIN_CELL / min(height, width)))
    cell, gap, heading = (width * scale, height * scale), 6, 22
    picture = Image.new(
        'RGB',
        (len(COLUMNS) * (cell[0] + gap) + gap, batch * (cell[1] + gap) + heading),
        'white',
    )
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(COLUMNS):
        draw.text((gap + column * (cell[0] + gap), 4), title, 'black', ImageFont.load_default(14))
    for row in range(batch):
        for column, images in enumerate(
            (
                reconstruction.images,
                reconstruction.hidden,
                reconstruction.prediction,
                reconstruction.composite,
            )
        ):
            image = _to_pil(images[row]).resize(cell, Image.NEAREST)
            if column == 1:
                _outline(image, reconstruction.windows[row] * scale, reconstruction.side * scale)
            picture.paste(image, (gap + column * (cell[0] + gap), heading + row * (cell[1] + gap)))
    return picture


def _to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.round().byte().permute(1, 2, 0).numpy())


def _outline(image: Image.Image, windows: Tensor, side: int) -> None:
    """Draw window borders into an image."""
    draw = ImageDraw.Draw(image)
    line = max(2, image.width // 120)
    for number, (top, left) in enumerate(windows.tolist()):
        box = (left, top, left + side - 1, top + side - 1)
        draw.rectangle(box, outline=COLOURS[number % len(COLOURS)], width=line)

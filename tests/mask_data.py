"""Small images with masks of three classes, and a config at toy size."""

import numpy as np
from PIL import Image

CONFIG = 'tiny/upernet_vit-tiny-p8_lomar_256px'
CLASSES = ('ground', 'square', 'stripe')
ARCH = 'model.backbone.arch'
TOY = [
    *(f'{ARCH}.embed_dim=32', f'{ARCH}.depth=4', f'{ARCH}.num_heads=2'),
    *('model.backbone.img_size=64', 'model.neck.embed_dim=32', 'model.decode_head.channels=16'),
    *('model.decode_head.in_channels=[32,32,32,32]', 'model.auxiliary_head.in_channels=32'),
    *('model.auxiliary_head.channels=16', 'model.data_preprocessor.size=(64,64)'),
    'train_dataloader.dataset.pipeline.2.scale=(256,64)',
    'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
    'val_dataloader.dataset.pipeline.1.scale=(256,64)',
    'test_dataloader.dataset.pipeline.1.scale=(256,64)',
    *('train_dataloader.num_workers=0', 'val_dataloader.num_workers=0'),
    *('test_dataloader.num_workers=0', 'train_dataloader.batch_size=2'),
    *('load_from=None', 'default_hooks.logger.interval=5', 'optim_wrapper.optimizer.lr=0.01'),
]


def scene(seed):
    """Return an image (H, W, 3) and its mask (H, W): a bright square above a red stripe."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(60, 90, 2)
    image, mask = rng.integers(0, 90, (height, width, 3)), np.zeros((height, width), np.uint8)
    top, left = rng.integers(0, 20, 2)
    mask[top : top + 30, left : left + 35] = 1
    mask[top + 30 : top + 40, left : left + 35] = 2
    image[mask == 1] += 140
    image[mask == 2, 0] += 160
    return image.astype(np.uint8), mask


def write_scenes(root, count=6, first=0, change=lambda mask: mask, suffix=''):
    """Write images and masks below `root`; return both folders."""
    folders = root / 'images', root / 'masks'
    for number in range(first, first + count):
        image, mask = scene(number)
        for folder, pixels, end in zip(folders, (image, change(mask)), ('', suffix), strict=True):
            (folder / 'a').mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f'a/{number}{end}.png')
    return tuple(map(str, folders))


def flags(root, classes=CLASSES, train=True):
    """Return the flags of `lomar train` or `lomar test` for the scenes below `root`."""
    found = []
    for split in ('train', 'val') if train else ('val',):
        folder = root / split
        found += [f'--{split}-images', str(folder / 'images')]
        found += [f'--{split}-masks', str(folder / 'masks')]
    return found + (['--classes', *classes] if classes else [])

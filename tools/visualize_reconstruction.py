#!/usr/bin/env python
"""Draw what a LoMaR checkpoint makes of images: input, windows and masks, prediction, composite."""

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from tqdm import tqdm

from lomar.checkpoints import from_official, load_file, unwrap
from lomar.datasets import list_images
from lomar.models import LoMaR
from lomar.visualization import read_batch, read_native, reconstruct, sheet


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a LoMaR model')
    parser.add_argument('checkpoint', help="a file of this package or of the original code's")
    parser.add_argument('images', nargs='+', help='image files, folders or text lists of images')
    parser.add_argument('--out', default='reconstructions', help='folder for the pictures')
    parser.add_argument(
        '--size', type=int, help="side in pixels to cut to (default: the images' own size)"
    )
    parser.add_argument('--number', type=int, help='windows an image (default: the config)')
    parser.add_argument('--seed', type=int, default=0, help='of the windows and masks')
    return parser.parse_args()


def load_model(config: str, checkpoint: str, number: int | None) -> LoMaR:
    """Build the model of a config and fill it, to the last weight."""
    cfg = Config.fromfile(config)
    if cfg.model.type != 'LoMaR':
        raise ValueError(f'{config}: model.type is {cfg.model.type}; allowed: LoMaR')
    init_default_scope(cfg.default_scope)
    if number:
        cfg.model.windows.number = number
    model = MODELS.build(cfg.model)
    model.load_state_dict(from_official(unwrap(load_file(checkpoint)), 'pretrain'))
    return model.to('cuda' if torch.cuda.is_available() else 'cpu')


def main() -> None:
    args = parse_args()
    try:
        model = load_model(args.config, args.checkpoint, args.number)
        paths = [
            path
            for name in args.images
            for path in (
                list_images(name) if Path(name).is_dir() or Path(name).suffix == '.txt' else [name]
            )
        ]
        as_stored = model.backbone.in_channels != 3
        out = Path(args.out)
        out.mkdir(parents=True, exist_ok=True)
        for path in tqdm(paths, desc='reconstructing', unit='img'):
            if args.size:
                batch = read_batch([path], args.size, as_stored)
            else:
                batch = read_native(path, model.backbone.patch_size, as_stored)
            target = out / f'{Path(path).stem}.png'
            sheet(reconstruct(model, batch, args.seed)).save(target)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f'tools/visualize_reconstruction.py: {error}')
    print(f'{len(paths)} pictures in {out.resolve()}')


if __name__ == '__main__':
    main()

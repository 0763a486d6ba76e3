#!/usr/bin/env python
"""Draw what a LoMaR model will see: augmented training images with windows and masks."""

import argparse
import sys
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, MODELS, init_default_scope
from tqdm import tqdm

import lomar  # noqa: F401  (registers)
from lomar.datasets.replay import Draw
from lomar.engine.launch import check_data, merge_options
from lomar.visualization import reconstruct, sheet

MAX_CELL = 480  # pixels of a picture's side


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='config of a LoMaR model')
    add('--train-images', metavar='PATH', help='folder or text list, in place of the config')
    add('--number', type=int, default=8, help='images, drawn from the training set')
    add('--seed', type=int, default=0, help='of the images, their augmentation, windows and masks')
    add('--out', default='browse.png', metavar='FILE', help='picture to write')
    add(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )
    args = parser.parse_args()
    if args.number < 1:
        parser.error(f'--number is {args.number}; allowed: 1 or more')
    return args


def read_config(args: argparse.Namespace) -> Config:
    """The config with the flags applied; a ValueError unless it is about LoMaR."""
    cfg = Config.fromfile(args.config)
    merge_options(cfg, args.cfg_options or {})
    if cfg.model.type != 'LoMaR':
        raise ValueError(f'{args.config}: model.type is {cfg.model.type}; allowed: LoMaR')
    if args.train_images:
        cfg.train_dataloader.dataset.data_root = args.train_images
    check_data(cfg, ('train',))
    # Windows do not depend on the target, whose network may be large or missing.
    cfg.model.head = dict(type='WindowPixelHead')
    return cfg


def main() -> None:
    """Draw samples as the training would get them."""
    args = parse_args()
    try:
        cfg = read_config(args)
        init_default_scope(cfg.default_scope)
        model = MODELS.build(cfg.model)
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        rows = []
        for i in tqdm(range(min(args.number, len(dataset))), desc='drawing', unit='img'):
            index = i * len(dataset) // args.number
            sample = dataset[Draw(index, (args.seed, i))]
            rows += reconstruct(model, [sample['inputs']], args.seed + i, predict=False)
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet(rows, MAX_CELL).save(out)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f'tools/browse_dataset.py: {error}')
    print(f'{len(rows)} images of {cfg.train_dataloader.dataset.data_root} in {out.resolve()}')


if __name__ == '__main__':
    main()

#!/usr/bin/env python
"""The main job in small: make data, pretrain LoMaR, draw reconstructions and the loss curve.

Every step is a command of this repository; each is printed before it runs.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

from lomar.datasets import list_images
from lomar.visualization.curves import read_scalars

TOOLS = Path(__file__).resolve().parent
CONFIG = TOOLS.parent / 'mmconfigs/shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder for everything')
    parser.add_argument('--images', help='pretrain on these images, a folder or text list')
    parser.add_argument('--epochs', type=int, help="end early, before the config's schedule does")
    parser.add_argument('--train', type=int, default=4000, help='images an epoch')
    return parser.parse_args()


def run(tool: str, *arguments: object) -> None:
    """Run a command of tools/ and stop the demo if it fails."""
    command = [sys.executable, str(TOOLS / tool), *map(str, arguments)]
    print(f'\n$ python tools/{tool} {shlex.join(map(str, arguments))}', flush=True)
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def write_list(images: str, count: int, out: Path) -> None:
    """List `count` of the user's images, evenly spaced, or repeated where there are fewer."""
    paths = [str(Path(path).resolve()) for path in list_images(images)]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text('\n'.join(paths[i * len(paths) // count] for i in range(count)))
    print(f'{len(paths)} images in {images}, {count} draws an epoch')


def write_photographs(folder: Path) -> list[Path]:
    """Save the two photographs that come inside scikit-learn, scaled to a toy model's size."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = load_sample_images()
    paths = [folder / Path(name).with_suffix('.png').name for name in samples.filenames]
    for path, pixels in zip(paths, samples.images, strict=True):
        Image.fromarray(pixels).resize((320, 216), Image.BICUBIC).save(path)
    return paths


def main() -> None:
    args, start = parse_args(), time.time()
    work = Path(args.work_dir)
    if args.images:
        images, shown = work / 'images.txt', args.images
        write_list(args.images, args.train, images)
    else:
        run('make_shapes.py', '--out', work / 'shapes', '--train', args.train, '--val', 200)
        images, shown = work / 'shapes/train', work / 'shapes/val'
    run(
        'train.py',
        CONFIG,
        *('--work-dir', work / 'pretrain', '--train-images', images, '--val-images', shown),
        *(['--cfg-options', f'train_cfg.max_epochs={args.epochs}'] if args.epochs else []),
    )
    checkpoint = (work / 'pretrain/last_checkpoint').read_text()
    run('plot_loss.py', work / 'pretrain', '--out', work / 'loss.png')
    photographs = write_photographs(work / 'photographs')
    run(
        'visualize_reconstruction.py',
        *(CONFIG, checkpoint, *photographs, '--number', 24, '--out', work / 'reconstructions'),
    )
    loss = read_scalars(work / 'pretrain')[-1]['loss']
    picture = max((work / 'pretrain/reconstructions').glob('*.png'))
    minutes = (time.time() - start) / 60
    (work / 'demo.json').write_text(json.dumps({'loss': loss, 'minutes': minutes}) + '\n')
    print(
        f'\nDone in {minutes:.1f} minutes. Loss {loss:.3f}; predicting the mean of each patch '
        'would give 1.0.\n'
        f'  reconstructions of {"your images" if args.images else "the embedded dataset"}: '
        f'{picture.resolve()}\n'
        f'  reconstructions of photographs: {(work / "reconstructions").resolve()}\n'
        f'  loss curve:  {(work / "loss.png").resolve()}\n'
        f'  checkpoint:  {Path(checkpoint).resolve()}'
    )


if __name__ == '__main__':
    main()

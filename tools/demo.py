#!/usr/bin/env python
"""The main job in small: make data, pretrain LoMaR, train Mask R-CNN from it, look at both.

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
from lomar.utils import write_json
from lomar.visualization.curves import read_scalars

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / 'mmconfigs/shapes'
PRETRAIN = CONFIGS / 'lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'
DETECT = CONFIGS / 'mask-rcnn_vitdet-tiny-lomar_shapes.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder for everything')
    parser.add_argument('--images', help='pretrain on these images, a folder or text list')
    parser.add_argument('--epochs', type=int, help="end early, before the configs' schedules do")
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


def pretrain(args: argparse.Namespace, work: Path, options: list[str]) -> Path:
    """Pretrain and draw what the model makes of images; returns the checkpoint."""
    shown = args.images or work / 'shapes/val'
    images = work / 'shapes/train'
    if args.images:
        images = work / 'images.txt'
        write_list(args.images, args.train, images)
    folder = work / 'pretrain'
    data = ('--train-images', images, '--val-images', shown)
    run('train.py', PRETRAIN, '--work-dir', folder, '--amp', *data, *options)
    checkpoint = Path((folder / 'last_checkpoint').read_text())
    run('plot_loss.py', folder, '--out', work / 'loss.png')
    photographs = write_photographs(work / 'photographs')
    drawing = ('--number', 24, '--out', work / 'reconstructions')
    run('visualize_reconstruction.py', PRETRAIN, checkpoint, *photographs, *drawing)
    return checkpoint


def detect(work: Path, pretrained: Path, options: list[str]) -> dict:
    """Train a detector from the checkpoint, test it and draw detections; returns its metrics."""
    images, labels, folder = work / 'shapes', work / 'shapes/annotations', work / 'detect'
    train = ('--train-ann', labels / 'train.json', '--train-images', images / 'train')
    val = ('--val-ann', labels / 'val.json', '--val-images', images / 'val')
    start = [*(options or ['--cfg-options']), f'load_from={pretrained}']
    flags = ('--work-dir', folder, '--amp', '--no-validate')
    run('train.py', DETECT, *flags, *train, *val, *start)
    checkpoint = (folder / 'last_checkpoint').read_text()
    run('test.py', DETECT, checkpoint, '--work-dir', folder, *val, '--out', folder)
    drawn = (labels / 'val.json', images / 'val', folder / 'segm.json', '--threshold', 0.3)
    run('visualize_detections.py', *drawn, '--out', work / 'detections.png')
    return json.loads((folder / 'metrics.json').read_text())['metrics']


def table(metrics: dict) -> str:
    """AP of boxes and masks, in percent."""
    columns = ('AP', 'AP50', 'AP75')
    lines = [f'{"":>8}{"".join(f"{column:>8}" for column in columns)}']
    for kind, name in (('bbox', 'boxes'), ('segm', 'masks')):
        lines.append(f'{name:>8}{"".join(f"{metrics[kind][column]:8.1f}" for column in columns)}')
    return '\n'.join(lines)


def main() -> None:
    args, start = parse_args(), time.time()
    work = Path(args.work_dir).resolve()
    options = ['--cfg-options', f'train_cfg.max_epochs={args.epochs}'] if args.epochs else []
    counts = ('--train', args.train, '--val', 200, '--categories', 'texture')
    run('make_shapes.py', '--out', work / 'shapes', *counts)
    pretrained = pretrain(args, work, options)
    metrics = detect(work, pretrained, options)
    loss = read_scalars(work / 'pretrain')[-1]['loss']
    picture = max((work / 'pretrain/reconstructions').glob('*.png'))
    minutes = (time.time() - start) / 60
    record = {'loss': loss, 'minutes': minutes, 'metrics': metrics}
    write_json(work / 'demo.json', record)
    print(
        f'\nDone in {minutes:.1f} minutes. Loss of the pretraining {loss:.3f}; predicting the mean '
        'of each patch would give 1.0.\n'
        f'Mask R-CNN from these weights, on 200 images of the embedded dataset, in percent:\n\n'
        f'{table(metrics)}\n\n'
        'It shows that the whole path works and is no measurement of the method: see make compare.'
        f'\n  reconstructions of {"your images" if args.images else "the embedded dataset"}: '
        f'{picture}\n'
        f'  reconstructions of photographs: {work / "reconstructions"}\n'
        f'  loss curve:  {work / "loss.png"}\n'
        f'  detections:  {work / "detections.png"}\n'
        f'  checkpoints: {pretrained}, {work / "detect"}'
    )


if __name__ == '__main__':
    main()

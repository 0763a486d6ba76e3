"""Run the full pipeline at a small scale: make data, pretrain LoMaR, train Mask R-CNN, draw both.

Each step is a `lomar` command, which is printed before it runs.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from lomar.cli.config_options import option
from lomar.cli.shared import count

PRETRAIN = 'shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes'
DETECT = 'shapes/mask-rcnn_vitdet-tiny-lomar_shapes-object'
# More steps with fewer windows give a lower loss in less time than the config: see docs/demo.md.
WINDOWS, EPOCHS = 2, 12
LIST = 'images.txt'  # in the work dir: the user's images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--work-dir', metavar='DIR', default='work_dirs/demo', help='folder for all files')
    add('--images', metavar='PATH', help='images to pretrain on: a folder or a text list')
    lengths = f'{EPOCHS}, and those of the config of the detector'
    add('--epochs', type=count, help=f'epochs of both trainings (default: {lengths})')
    add('--num-images', type=count, default=1200, help='training images per epoch')


def run(args: argparse.Namespace) -> None:
    """Run all steps and print the results."""
    from lomar.utils import write_json
    from lomar.visualization.loss_curve import read_scalars

    if find_spec('sklearn') is None:
        raise ImportError('two photographs come with scikit-learn: pip install scikit-learn')
    start = time.time()
    work = Path(args.work_dir).resolve()
    if args.images and Path(args.images).resolve() == work / LIST:
        raise ValueError(f'--images {args.images} is a file that the demo writes; rename it')
    counts = ('--train', args.num_images, '--val', 200, '--categories', 'object')
    call('shapes', '--out', work / 'shapes', *counts, '--overwrite')
    pretrained = pretrain(args, work)
    metrics = detect(args, work, pretrained)
    loss = read_scalars(work / 'pretrain')[-1]['loss']
    minutes = (time.time() - start) / 60
    names = {'bbox': 'box', 'segm': 'mask'}
    found = ', '.join(
        f'{names[kind]} AP50 {metrics[kind]["AP50"]:.1f} % (AP {metrics[kind]["AP"]:.1f} %)'
        for kind in names
    )
    write_json(work / 'demo.json', {'loss': loss, 'minutes': minutes, 'metrics': metrics})
    picture = max((work / 'pretrain/reconstructions').glob('*.png'))
    print(
        f'\nDone in {minutes:.1f} minutes. Pretraining loss {loss:.3f}; predicting the mean of '
        'each patch would give 1.0.\n'
        f'Mask R-CNN from these weights, on 200 images of the embedded dataset: {found}.\n\n'
        'This is a smoke test of the full pipeline, not a benchmark of the method: see make '
        'compare.'
        f'\n  reconstructions of {"your images" if args.images else "the embedded dataset"}: '
        f'{picture}\n'
        f'  reconstructions of photographs: {work / "reconstructions"}\n'
        f'  loss curve:  {work / "loss.png"}\n'
        f'  detections:  {work / "detections.png"}\n'
        f'  checkpoints: {pretrained}, {work / "detect"}'
    )


def call(command: str, *arguments: object) -> None:
    """Run a `lomar` command and end the demo with its exit code if it fails."""
    line = [command, *map(str, arguments)]
    print(f'\n$ lomar {shlex.join(line)}', flush=True)
    # Threads that wait by spinning take the cores from the process that loads images, and from
    # other programs: a step took up to eight times as long on two cores. Threads that never spin
    # wake up late, which slows down the small operations of the detector.
    environment = {'GOMP_SPINCOUNT': '10000', **os.environ}
    program = [sys.executable, '-m', 'lomar']
    done = subprocess.run([*program, *line], check=False, env=environment)
    if done.returncode:
        sys.exit(done.returncode)


def write_list(images: str, number: int, out: Path) -> None:
    """List `number` of the user's images, evenly spaced, or repeated where there are fewer."""
    from lomar.datasets import list_images, text_lists
    from lomar.datasets.unlabelled import FILES

    paths = [str(Path(path).resolve()) for path in list_images(images, shards=False, advice=FILES)]
    out.parent.mkdir(parents=True, exist_ok=True)
    text_lists.write_list(out, (paths[i * len(paths) // number] for i in range(number)))
    print(f'{len(paths)} images in {images}, {number} draws per epoch')


def write_photographs(folder: Path) -> list[Path]:
    """Save the two sample photographs of scikit-learn, scaled to the size of the toy model."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    samples = load_sample_images()
    paths = [folder / Path(name).with_suffix('.png').name for name in samples.filenames]
    for path, pixels in zip(paths, samples.images, strict=True):
        Image.fromarray(pixels).resize((320, 216), Image.Resampling.BICUBIC).save(path)
    return paths


def pretrain(args: argparse.Namespace, work: Path) -> Path:
    """Pretrain, plot the loss, draw reconstructions, and return the checkpoint."""
    shown = args.images or work / 'shapes/val'
    images = work / 'shapes/train'
    if args.images:
        images = work / LIST
        write_list(args.images, args.num_images, images)
    folder = work / 'pretrain'
    data = ('--train-images', images, '--val-images', shown)
    length = ('--epochs', args.epochs or EPOCHS)
    windows = ('--cfg-options', f'model.windows.number={WINDOWS}')
    call('train', PRETRAIN, '--work-dir', folder, '--amp', *data, *length, *windows)
    checkpoint = Path((folder / 'last_checkpoint').read_text())
    call('results', '--loss', folder, '--plot', work / 'loss.png', '--overwrite')
    photographs = write_photographs(work / 'photographs')
    drawing = ('--num-windows', 24, '--out', work / 'reconstructions')
    call('reconstruct', PRETRAIN, checkpoint, *photographs, *drawing)
    return checkpoint


def detect(args: argparse.Namespace, work: Path, pretrained: Path) -> dict:
    """Train a detector from the checkpoint, test it, draw detections, and return its metrics."""
    images, labels, folder = work / 'shapes', work / 'shapes/annotations', work / 'detect'
    train = ('--train-ann', labels / 'train.json', '--train-images', images / 'train')
    val = ('--val-ann', labels / 'val.json', '--val-images', images / 'val')
    length = ('--epochs', args.epochs) if args.epochs else ()
    flags = ('--work-dir', folder, '--amp', '--no-validate', *length)
    weights = option('load_from', str(pretrained))
    call('train', DETECT, *flags, *train, *val, '--cfg-options', weights)
    checkpoint = (folder / 'last_checkpoint').read_text()
    call('test', DETECT, checkpoint, '--work-dir', folder, *val, '--out', folder, '--overwrite')
    drawn = ('--detections', folder / 'segm.json', '--threshold', 0.5, '--num-images', 6)
    call('browse', DETECT, *val, *drawn, '--out', work / 'detections.png', '--overwrite')
    return json.loads((folder / 'metrics.json').read_text())['metrics']

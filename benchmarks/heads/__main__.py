"""Train each kind of detector at toy size on the embedded dataset, and measure its AP.

The table of detectors in docs/detection.md shows the result file. The settings in mmconfigs/shapes
are not tuned per detector: AP shows that a detector learns, and does not rank detectors. A backbone
that starts from LoMaR or MAE needs the checkpoint that the configs name, below the folder; that of
LoMaR is written by `lomar demo --work-dir FOLDER/work_dirs/demo`.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from lomar.provenance import provenance
from lomar.utils import write_json

ROOT = Path(__file__).resolve().parents[2]
PROG = 'python -m benchmarks.heads'
INITIALISATIONS = ('lomar', 'mae', 'scratch')


def configs(init: str) -> dict[str, str]:
    """Return the names of the configs of an initialisation by detector."""
    ending = f'_vitdet-tiny-{init}_shapes'
    found = sorted((ROOT / 'mmconfigs/shapes').glob(f'*{ending}.py'))
    return {path.stem.removesuffix(ending): f'shapes/{path.stem}' for path in found}


def measure(config: str, folder: Path, epochs: int, options: list[str]) -> dict:
    """Train and test a config in a folder with `data/shapes`; return AP in percent and seconds."""
    work_dir = folder / 'work_dirs' / Path(config).name
    tested = ['--val-ann', 'data/shapes/annotations/val.json', '--val-images', 'data/shapes/val']
    data = ['--train-ann', 'data/shapes/annotations/train.json', '--train-images']
    data += ['data/shapes/train', *tested]  # which set the classes
    start = time.monotonic()
    changes = ['--cfg-options', *options] if options else []
    _lomar('train', config, '--epochs', epochs, '--work-dir', work_dir, *data, *changes, cwd=folder)
    seconds = time.monotonic() - start
    # `lomar train` has evaluated this checkpoint; the test writes the figures.
    checkpoint = work_dir / (work_dir / 'last_checkpoint').read_text().strip()
    _lomar('test', config, checkpoint, '--work-dir', work_dir / 'test', *tested, cwd=folder)
    (metrics,) = (work_dir / 'test').rglob('metrics.json')
    found = json.loads(metrics.read_text())['metrics']
    ap = {
        f'{name}_{key.lower()}': round(found[kind][key], 1)
        for kind, name in (('bbox', 'box'), ('segm', 'mask'))
        if kind in found
        for key in ('AP', 'AP50')
    }
    return dict(config=config, **ap, seconds=round(seconds))


def kept_records(path: Path, settings: dict) -> dict[str, dict]:
    """Return the records of an earlier run by detector; {} without a file.

    Raises:
        ValueError: the earlier run had other settings.
    """
    if not path.exists():
        return {}
    earlier = json.loads(path.read_text())
    for key, value in settings.items():
        if earlier[key] != value:
            raise ValueError(f'{path} has {key}={earlier[key]}, found {value}; name a new file')
    return earlier['records']


def _lomar(*words, cwd: Path) -> None:
    command = [sys.executable, '-m', 'lomar', *map(str, words)]
    print(f'$ {shlex.join(command[2:])}', flush=True)
    subprocess.run(command, cwd=cwd, check=True)


def main(argv: list[str] | None = None) -> None:
    """Measure detectors, and add each of them to the result file."""
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add('folder', type=Path, help='folder with data/shapes, made by `lomar shapes`')
    add('--init', choices=INITIALISATIONS, default='scratch', help='initialisation of the backbone')
    add('--detectors', nargs='+', help='names, such as fcos (default: all)')
    add('--epochs', type=int, default=3, help='length of each training')
    add('--cfg-options', nargs='+', default=[], metavar='K=V', help='settings of each training')
    add('--json', type=Path, required=True, metavar='FILE', help='file to add results to')
    args = parser.parse_args(argv)
    names, folder = configs(args.init), args.folder.resolve()
    settings = dict(init=args.init, epochs=args.epochs)
    records = kept_records(args.json, settings)
    for name in args.detectors or names:
        measured = measure(names[name], folder, args.epochs, args.cfg_options)
        command = f'{PROG} FOLDER --init {args.init} --epochs {args.epochs} --detectors {name}'
        if args.cfg_options:
            command += f' --cfg-options {shlex.join(args.cfg_options)}'
        records[name] = dict(measured, cli=f'{command} --json FILE', **provenance())
        write_json(args.json, dict(settings, records=records))


if __name__ == '__main__':
    main()

"""Measure CPU time and memory of reading annotations of the size of COCO train2017.

Every way runs in a process of its own; the ways take turns.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks.coco.generate import generate
from lomar.provenance import provenance
from lomar.utils import write_json

PROG = 'python -m benchmarks.coco'
READERS = Path(__file__).with_name('readers.py')
SIZES = dict(train=(118_287, 860_001), val=(5_000, 36_781))  # images and objects
WAYS = ('json', 'mmdet', 'check', 'dataset', 'run', 'evaluations')


def measure(way: str, folder: Path, checkout: Path | None = None, processes: int = 1) -> dict:
    """Return the figures of a way by process number.

    Args:
        checkout: an older checkout whose `lomar` is imported.
        processes: how many share the work, by torchrun.
    """
    launch = [sys.executable]
    if processes > 1:
        launch += ['-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={processes}']
    paths = [str(checkout or Path.cwd()), os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(
        [*launch, READERS, way, folder],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = sorted(line for line in done.stdout.splitlines() if line[:1].isdigit())
    return {number: json.loads(text) for number, text in (line.split(' ', 1) for line in lines)}


def benchmark(folder: Path, rounds: int, before: Path | None) -> dict:
    """Return the figures of each round by way; `before WAY` are those of the older checkout."""
    found: dict[str, list[dict]] = {}
    for _ in range(rounds):
        for way in WAYS:
            data = folder / ('val' if way == 'evaluations' else 'train')
            found.setdefault(way, []).append(measure(way, data)['0'])
            if before and way not in ('json', 'mmdet'):
                found.setdefault(f'before {way}', []).append(measure(way, data, before)['0'])
        for number, figures in measure('run', folder / 'train', processes=2).items():
            found.setdefault(f'run, process {number} of 2', []).append(figures)
    return found


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout."""
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=12']
    return subprocess.check_output(command, cwd=checkout, text=True).strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        'folder', type=Path, help='folder of the data, which are written if they are missing'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result there')
    parser.add_argument('--rounds', type=int, default=2, help='number of rounds')
    parser.add_argument(
        '--before', type=Path, metavar='DIR', help='checkout of an older version to compare with'
    )
    args = parser.parse_args()
    for split, (images, objects) in SIZES.items():
        if not (args.folder / split / 'annotations.json').exists():
            generate(args.folder / split, images, objects)
    found = benchmark(args.folder.resolve(), args.rounds, args.before and args.before.resolve())
    megabytes = (args.folder / 'train/annotations.json').stat().st_size / 1e6
    record = dict(
        command=shlex.join(['python', '-m', 'benchmarks.coco', *sys.argv[1:]]),
        images_and_objects=SIZES,
        train_megabytes=round(megabytes),
        before=args.before and commit_of(args.before),
        rounds=found,
        **provenance(),
    )
    if args.json:
        write_json(args.json, record)
    print(f'{"":24}user s  wall s  peak GB (least of the rounds)')
    for way, figures in found.items():
        least = (
            min(one[key] for one in figures) for key in ('user_seconds', 'wall_seconds', 'peak_gb')
        )
        print(f'{way:22}' + ''.join(f'{value:8.1f}' for value in least))


if __name__ == '__main__':
    main()

"""Watch memory, open files and processes of trainings at toy size, for an hour.

A training loads, trains, evaluates and writes a checkpoint in every epoch. Memory is that of no
file, and what processes share counts once. The table of docs/verification.md compares the median
of the second quarter of the time with that of the last one.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.sections import write_section
from lomar.provenance import provenance
from lomar.utils import write_json

ROOT = Path(__file__).resolve().parents[2]
RESULT = Path(__file__).with_name('soak_cpu.json')
PAGE = ROOT / 'docs/verification.md'
CONFIGS = dict(
    pretraining='lomar_vit-tiny-p4_1xb32-coslr-8e_shapes',
    detection='mask-rcnn_vitdet-tiny-lomar_shapes',
)
MEASURE = ('Pss_Anon', 'Pss_Shmem')  # lines of smaps_rollup
CACHE = 'ONEDNN_PRIMITIVE_CACHE_CAPACITY'
EVERY_EPOCH = (
    *('default_hooks.checkpoint.interval=1', 'default_hooks.checkpoint.max_keep_ckpts=2'),
    *('train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True'),
)


def command(kind: str, data: Path, folder: Path) -> list[str]:
    """Return a training that does not end by itself."""
    images = {part: str(data / part) for part in ('train', 'val')}
    flags = ['--train-images', images['train'], '--work-dir', str(folder), '--epochs', '100000']
    options = list(EVERY_EPOCH)
    if kind == 'detection':
        flags += [
            '--train-ann',
            str(data / 'annotations/train.json'),
            '--val-images',
            images['val'],
        ]
        flags += ['--val-ann', str(data / 'annotations/val.json')]
        options += ['load_from=None', 'train_cfg.val_interval=1']
    config = str(ROOT / f'mmconfigs/shapes/{CONFIGS[kind]}.py')
    line = [sys.executable, '-m', 'lomar', 'train', config, *flags, '--quiet']
    return [*line, '--cfg-options', *options]


def samples(process: subprocess.Popen, seconds: float, every: float) -> Iterator[dict]:
    """Yield what a running training uses, in megabytes and numbers; it must not end by itself."""
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        if process.poll() is not None:
            raise RuntimeError(f'the training ended after {elapsed:.0f} s: {process.returncode}')
        try:
            family = tree(process.pid)
            main, others = memory(process.pid), [memory(one) for one in family]
            files = len(list(Path(f'/proc/{process.pid}/fd').iterdir()))
        except (FileNotFoundError, ProcessLookupError):  # a worker that just ended
            continue
        yield dict(
            seconds=round(elapsed),
            main_mb=main,
            workers_mb=sum(others),
            files=files,
            workers=len(family),
        )
        time.sleep(every)


def tree(parent: int) -> list[int]:
    """Return the processes that descend from a process."""
    children = Path(f'/proc/{parent}/task/{parent}/children').read_text().split()
    return [one for child in children for one in (int(child), *tree(int(child)))]


def memory(number: int) -> float:
    """Return the memory of a process that is not a part of a file, in megabytes.

    Parts of files, such as libraries, are shared with processes of other programs: their share
    grows when those end.
    """
    text = Path(f'/proc/{number}/smaps_rollup').read_text()
    kilobytes = re.findall(rf'^(?:{"|".join(MEASURE)}):\s+(\d+) kB', text, re.MULTILINE)
    return round(sum(map(int, kilobytes)) / 1024, 1)


def summary(found: list[dict]) -> dict[str, list[float]]:
    """Return the medians of the second and of the last quarter of each figure."""
    quarter = len(found) // 4
    parts = found[quarter : 2 * quarter], found[-quarter:]
    return {
        name: [statistics.median(one[name] for one in part) for part in parts]
        for name in found[0].keys() - {'seconds'}
    }


def watched(kind: str, minutes: float, every: float) -> dict[str, Any]:
    """Return what a training used, and the epochs that it finished."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shapes = [sys.executable, '-m', 'lomar', 'shapes', '--out', str(folder / 'data')]
        subprocess.run([*shapes, '--train', '96', '--val', '32', '--quiet'], check=True)
        line = command(kind, folder / 'data', folder / 'run')
        with open(folder / 'log', 'w') as log, subprocess.Popen(line, stdout=log) as process:
            try:
                found = list(samples(process, 60 * minutes, every))
            finally:
                process.send_signal(signal.SIGKILL)
        epochs = max(int(one.stem.split('_')[-1]) for one in (folder / 'run').glob('*_*.pth'))
    medians = summary(found)
    print(kind, epochs, medians, flush=True)
    kept = found[:: max(1, len(found) // 60)]
    return dict(
        kind=kind,
        minutes=minutes,
        epochs=epochs,
        measure=' + '.join(MEASURE),
        onednn_cache=os.environ.get(CACHE),
        medians=medians,
        samples=kept,
    )


def table(records: list[dict]) -> str:
    """Return the second and the last quarter of each training as rows of a table."""
    lines = [
        '| training | minutes | epochs | main process, MB | workers, MB | open files | memory is |',
        '| --- | --- | --- | --- | --- | --- | --- |',
    ]
    for one in records:
        cache = one['onednn_cache']
        name = one['kind'] + (f', `{CACHE}={cache}`' if cache else '')
        pairs = [
            ' → '.join(f'{value:.0f}' for value in one['medians'][key])
            for key in ('main_mb', 'workers_mb', 'files')
        ]
        row = [name, f'{one["minutes"]:.0f}', str(one['epochs']), *pairs, one['measure']]
        lines.append(f'| {" | ".join(row)} |')
    return '\n'.join(lines)


def saved() -> list[dict]:
    """Return the records of all result files."""
    files = sorted(RESULT.parent.glob('*.json'))
    return [one for file in files for one in json.loads(file.read_text())['records']]


def main() -> None:
    """Run the trainings side by side, and write the result file."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.soak', description=__doc__)
    parser.add_argument('kinds', nargs='*', default=list(CONFIGS), help='pretraining, detection')
    parser.add_argument('--minutes', type=float, default=60, help='of each training (default: 60)')
    parser.add_argument('--every', type=float, default=5, help='seconds between samples')
    parser.add_argument('--json', type=Path, default=RESULT, help='result file')
    args = parser.parse_args()
    with ThreadPoolExecutor() as pool:
        records = list(pool.map(lambda kind: watched(kind, args.minutes, args.every), args.kinds))
    write_json(args.json, dict(records=records, **provenance()))
    write_section(PAGE, 'soak', table(saved()))


if __name__ == '__main__':
    main()

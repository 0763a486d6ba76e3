"""Run GPU tests and benchmarks within a time limit; a second call runs the remaining slices.

The command needs no network and installs nothing. Each slice runs in a separate process, and its
result is written immediately. A failed slice is recorded, and the next slice starts. At the end, a
table compares the results with the goals in benchmarks/gpu/goals.yaml. The exit code is 0, or 1 if
a slice failed.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

START = time.monotonic()
import torch  # noqa: E402

from benchmarks.gpu import goals  # noqa: E402
from benchmarks.gpu.slices import (  # noqa: E402
    Record,
    Slice,
    end_with_parent,
    run_slice,
    run_slices,
    same,
)
from benchmarks.gpu.work import ROOT, describe_machine, work  # noqa: E402
from lomar.utils import atomic_write, write_json  # noqa: E402

PROG = 'python -m benchmarks.gpu'
STUDIES = ('nuclei', 'imagenette')
GOALS = ROOT / 'benchmarks/gpu/goals.yaml'
MACHINE = Slice('machine', 0, 300)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--minutes', type=float, default=9, help='time limit in minutes (default: 9)')
    add(
        '--device',
        choices=('cuda', 'cpu'),
        default='cuda',
        help='device; cpu needs --toy (default: cuda)',
    )
    add('--toy', action='store_true', help='smoke test of all slices at toy size')
    add('--only', nargs='+', metavar='SLICE', help='slices to run (default: all)')
    add('--retry', action='store_true', help='run failed slices again')
    add(
        '--commit',
        help='commit of the code, if the checkout has no .git folder (default: from git)',
    )
    add(
        '--json',
        type=Path,
        metavar='FILE',
        help='file to which results are added (default: benchmarks/gpu/gpu_DEVICE.json; '
        'with --toy: work_dirs/gpu_toy.json)',
    )
    add('--table', type=Path, metavar='FILE', help='file to which the table is also written')
    add(
        '--table-only', action='store_true', help='print the table of earlier results; needs no GPU'
    )
    add(
        '--data',
        type=Path,
        metavar='DIR',
        help='folder with nuclei and imagenette, or nuclei.tar and imagenette.tar; the rest of the '
        'time is used for the comparison on them (docs/comparison.md)',
    )
    add('--slice', help=argparse.SUPPRESS)  # set for the process of a slice
    add('--out', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.minutes > 0:  # nor NaN
        parser.error(f'--minutes is {args.minutes}; allowed: more than 0')
    if args.device == 'cpu' and not args.toy:
        parser.error('--device is cpu, which is allowed only with --toy; use cuda or add --toy')
    known = [one.name for one in work(args.toy)]
    if unknown := set(args.only or ()) - set(known):
        parser.error(f'--only has {", ".join(sorted(unknown))}; allowed: {", ".join(known)}')
    return args


def main() -> None:
    args = parse_args()
    try:
        if args.slice:
            run_here(args)
        elif args.table_only:
            record = Record(args.json or only_record())
            newest: dict = max(record.results, key=lambda result: result['date'], default={})
            show(record, newest, args.table)
        else:
            sys.exit(measure(args))
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f'{PROG}: {error}')


def run_here(args: argparse.Namespace) -> None:
    """Run one slice in this process."""
    end_with_parent()
    if args.slice == MACHINE.name:
        outcome = dict(machine=describe_machine(args.toy))
    else:
        runs = {one.name: run for one, run in work(args.toy).items()}
        outcome = runs[args.slice]()
    write_json(args.out, outcome)


def measure(args: argparse.Namespace) -> int:
    """Run the slices without a result and print the table; return the exit code."""
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise ValueError(
            '--device is cuda, but no GPU was found; without a GPU use --toy --device cpu'
        )
    paths = filter(None, (str(ROOT), os.environ.get('PYTHONPATH')))
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
    if args.device == 'cpu':
        env['CUDA_VISIBLE_DEVICES'] = ''
    words = ['--toy'] if args.toy else []

    def command(name: str, out: Path) -> list[str]:
        return [sys.executable, '-m', 'benchmarks.gpu', '--slice', name, '--out', str(out), *words]

    # In a separate process as well: this process must not allocate GPU memory.
    found = run_slice(MACHINE, command, MACHINE.limit, env)
    if found['status'] != 'done':
        raise ValueError(
            f'the slice that describes the machine failed: {found["error"]}\n{found["tail"]}'
        )
    machine = found['machine']
    machine['commit'] = machine['commit'] or args.commit
    record = Record(args.json or default_record(machine))
    slices = [one for one in work(args.toy) if one.name in (args.only or [one.name])]
    left = 60 * args.minutes - (time.monotonic() - START)
    failed, waiting = run_slices(slices, record, machine, command, left, args.retry, say, env)
    if waiting:
        say(f'not finished: {", ".join(waiting)}; run the same command again')
    show(record, machine, args.table)
    if args.data and not waiting:
        failed += compare(args, machine['commit'], env)
    return int(bool(failed))


def compare(args: argparse.Namespace, commit: str | None, env: dict) -> list[str]:
    """Use the rest of the time for the comparison; return the studies that failed."""
    failed, scale = [], 'smoke' if args.toy else 'gpu'
    for study in STUDIES:
        left = args.minutes - (time.monotonic() - START) / 60
        found = [
            args.data / name for name in (study, f'{study}.tar') if (args.data / name).exists()
        ]
        if left < 1 or not found:
            say(f'comparison on {study}: not run, {left:.1f} minutes left, data: {found or "none"}')
            continue
        words = [study, '--scale', scale, '--data', str(found[0]), '--minutes', f'{left:.2f}']
        words += ['--commit', commit] if commit else []
        command = [sys.executable, str(ROOT / 'benchmarks/comparison/run.py'), *words]
        if subprocess.run(command, env=env, check=False).returncode:
            failed.append(study)
    return failed


def show(record: Record, machine: dict, path: Path | None) -> None:
    """Print the table for a device, code and versions, and write it to `path` if given."""
    results = record.of(machine)
    if not results:
        raise ValueError(f'{record.path} has no results for this device, code and versions')
    others = [result for result in record.results if not same(result, machine)]
    lines = [goals.describe(results), '']
    lines += [f'- {r["slice"]}: {note}' for r in results for note in r.get('notes', ())]
    lines += [f'- {r["slice"]}: {r["status"]}: {r["error"]}' for r in results if 'error' in r]
    if others:
        kinds = dict.fromkeys(f'{r["device"]}, code {r["code"]}' for r in others)
        lines.append(f'- not in the table: {len(others)} results of {"; ".join(kinds)}')
    lines += ['', goals.to_markdown(results, goals.read_goals(GOALS))]
    text = re.sub(r'\n{3,}', '\n\n', '\n'.join(lines))
    say(text)
    if path:
        with atomic_write(path) as part:
            part.write_text(text + '\n', encoding='utf-8')


def default_record(machine: dict) -> Path:
    """Return the default path for the results of a device."""
    if machine['toy']:
        return ROOT / 'work_dirs/gpu_toy.json'
    name = re.sub('[^a-z0-9]+', '-', machine['device'].lower()).strip('-')
    return ROOT / f'benchmarks/gpu/gpu_{name}.json'


def only_record() -> Path:
    """Return the only file with results, benchmarks/gpu/gpu_*.json."""
    found = sorted(ROOT.glob('benchmarks/gpu/gpu_*.json'))
    if len(found) != 1:
        names = ', '.join(path.name for path in found) or 'none'
        raise ValueError(
            '--table-only needs --json FILE unless one benchmarks/gpu/gpu_*.json exists; '
            f'found {names}'
        )
    return found[0]


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == '__main__':
    main()

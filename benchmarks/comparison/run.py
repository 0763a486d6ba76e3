"""Compare LoMaR, MAE and random weights on real images: see docs/comparison.md.

A finished run is not repeated: the same command goes on where it was stopped. The results are
JSON; tables and pictures are drawn from it by `python -m benchmarks.comparison.report`.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # also as a script

import torch  # noqa: E402

from benchmarks.comparison import imagenette, nuclei, timing  # noqa: E402
from benchmarks.comparison.jobs import Jobs, OutOfTime, RunFailed  # noqa: E402
from benchmarks.comparison.protocol import SCALES  # noqa: E402
from lomar.utils import write_json  # noqa: E402

PROG = 'python benchmarks/comparison/run.py'
STUDIES = dict(nuclei=nuclei, imagenette=imagenette)


def parse_args() -> argparse.Namespace:
    cores, gpu = os.cpu_count() or 1, torch.cuda.is_available()
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add('study', choices=STUDIES, help='data set')
    add('--scale', choices=SCALES, default='cpu', help='sizes of models and trainings')
    add('--data', type=Path, help='folder of the data (default: data/STUDY)')
    add('--work-dir', type=Path, help='folder of runs (default: work_dirs/comparison/STUDY_SCALE)')
    add('--out', type=Path, help='results (default: benchmarks/comparison/STUDY_SCALE.json)')
    add('--minutes', type=float, default=float('inf'), help='time limit of this call')
    add('--slots', type=int, default=max(cores - 2, 1) if gpu else cores, help='runs at a time')
    add('--measure', action='store_true', help='only measure seconds per step, on an idle machine')
    add('--plan', action='store_true', help='only list the runs and their estimated hours')
    add('--commit', help='commit of the code, if the checkout has no .git folder')
    args = parser.parse_args()
    name = f'{args.study}_{args.scale}'
    args.data = (args.data or ROOT / 'data' / args.study).resolve()
    args.work_dir = (args.work_dir or ROOT / 'work_dirs/comparison' / name).resolve()
    args.out = args.out or ROOT / f'benchmarks/comparison/{name}.json'
    return args


def main() -> None:
    args, start = parse_args(), time.monotonic()
    study, scale = STUDIES[args.study], SCALES[args.scale]
    args.work_dir.mkdir(parents=True, exist_ok=True)
    study.write_data(args.data, args.work_dir, scale)
    # A terminated comparison stops its runs, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f'{PROG}: terminated'))
    if args.measure:
        timing.measure(args.scale, scale)
        return
    threads = max((os.cpu_count() or 1) // args.slots, 1)
    deadline = start + 60 * args.minutes
    jobs = Jobs(args.work_dir, args.slots, threads, deadline)
    jobs.machine['commit'] = jobs.machine['commit'] or args.commit
    code = 0
    try:
        finish(study, scale, args, jobs)
    except OutOfTime as error:
        print(f'{PROG}: {error}; run the same command again', flush=True)
    except RunFailed as error:
        code = f'{PROG}: {error}'
    collect(args, jobs)
    sys.exit(code)


def finish(study, scale, args: argparse.Namespace, jobs: Jobs) -> None:
    """Run the stages of a study in turn."""
    seconds = timing.step_seconds(args.scale)
    stages = study.stages(scale, args.data, args.work_dir, seconds)
    runs = next(stages)
    while True:
        jobs.finish(runs, lambda line: print(line, flush=True))
        scores = {name: one['figures'] for name, one in jobs.results().items()}
        try:
            runs = stages.send(scores)
        except StopIteration:
            return


def collect(args: argparse.Namespace, jobs: Jobs) -> None:
    """Write the results of all finished runs."""
    command = f'{PROG} {args.study} --scale {args.scale}'
    runs = list(jobs.results().values())
    record = dict(command=command, study=args.study, scale=args.scale, runs=runs)
    write_json(args.out, record)
    print(f'{len(runs)} results in {args.out}')


if __name__ == '__main__':
    main()

"""Compare LoMaR, MAE and random weights on real images: see docs/comparison.md.

A finished run is not repeated: the same command goes on where it was stopped. The results are
JSON; tables and pictures are drawn from it by `python -m benchmarks.results`.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # also as a script

import torch  # noqa: E402

from benchmarks.comparison import imagenette, nuclei, segment, timing  # noqa: E402
from benchmarks.comparison.jobs import Jobs, OutOfTime, RunFailed  # noqa: E402
from benchmarks.comparison.pack import pack, unpack  # noqa: E402
from benchmarks.comparison.plan import plan  # noqa: E402
from benchmarks.comparison.protocol import SCALES  # noqa: E402
from benchmarks.comparison.search import each_stage  # noqa: E402
from lomar.compat import check_segmentation  # noqa: E402
from lomar.utils import write_json  # noqa: E402

PROG = 'python benchmarks/comparison/run.py'
PACKED_MB = 40
STUDIES = dict(nuclei=nuclei, segment=segment, imagenette=imagenette)


def parse_args() -> argparse.Namespace:
    cores, gpu = os.cpu_count() or 1, torch.cuda.is_available()
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add('study', choices=STUDIES, help='data set')
    add('--scale', choices=SCALES, default='cpu', help='sizes of models and trainings')
    add(
        '--data',
        type=Path,
        help='folder or tar file of the data (default: data/nuclei, data/imagenette)',
    )
    add('--pack', type=Path, metavar='FILE', help='only pack data of at most 40 MB into a tar file')
    add(
        '--work-dir',
        type=Path,
        help='folder of runs (default: work_dirs/comparison/DATA_SCALE, with the same pretrained '
        'weights for nuclei and segment)',
    )
    add('--out', type=Path, help='results (default: WORK_DIR/STUDY_SCALE.json)')
    add(
        '--finished',
        type=Path,
        nargs='+',
        default=(),
        metavar='FILE',
        help='results of another work dir, for example the committed ones, that are not repeated',
    )
    add('--minutes', type=float, default=float('inf'), help='time limit of this call')
    add('--slots', type=int, default=4 if gpu else cores, help='runs at a time')
    add('--measure', action='store_true', help='only measure seconds per step, on an idle machine')
    add('--plan', action='store_true', help='only list the runs and their estimated hours')
    add('--commit', help='commit of the code, if the checkout has no .git folder')
    args = parser.parse_args()
    name = f'{args.study}_{args.scale}'
    runs = STUDIES[args.study].RUNS
    args.data = (args.data or ROOT / 'data' / runs).resolve()
    folder = ROOT / f'work_dirs/comparison/{runs}_{args.scale}'
    args.work_dir = (args.work_dir or folder).resolve()
    args.out = args.out or args.work_dir / f'{name}.json'
    return args


def main() -> None:
    args, start = parse_args(), time.monotonic()
    # A terminated comparison stops its runs, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f'{PROG}: terminated'))
    try:
        args.work_dir.mkdir(parents=True, exist_ok=True)
        if args.pack:
            print(f'{pack(args.data, args.pack, PACKED_MB)} files in {args.pack}')
        elif args.measure:
            timing.measure(args.scale, SCALES[args.scale])
        else:
            run(args, start)
    except (FileNotFoundError, ImportError, ValueError, RunFailed) as error:
        sys.exit(f'{PROG}: {error}')


def run(args: argparse.Namespace, start: float) -> None:
    """Run or list the stages of a study, and write the results of all finished runs."""
    if not args.data.exists():
        raise FileNotFoundError(
            f'--data {args.data} does not exist; docs/comparison.md says where the data come from'
        )
    if args.data.is_file():
        args.data = unpack(args.data, args.work_dir / 'data')
    study, scale = STUDIES[args.study], SCALES[args.scale]
    if not args.plan and not timing.is_measured(args.scale):
        timing.measure(args.scale, scale)  # before the first run: nothing else is running
    seconds = timing.step_seconds(args.scale)
    study.write_data(args.data, args.work_dir, scale)
    stages = study.stages(scale, args.data, args.work_dir, seconds)
    if args.plan:
        print(plan(stages, scale, seconds, args.slots))
        return
    if args.study == 'segment':
        check_segmentation()  # before the hours of pretraining
    threads = max((os.cpu_count() or 1) // args.slots, 1)
    jobs = Jobs(args.work_dir, args.slots, threads, start + 60 * args.minutes)
    jobs.machine['commit'] = jobs.machine['commit'] or args.commit
    for file in args.finished:
        jobs.take(finished(file, args.scale, study.RUNS))
    try:
        each_stage(stages, jobs.finish)
    except OutOfTime as error:
        print(f'{PROG}: {error}; run the same command again')
    finally:
        command = f'{PROG} {args.study} --scale {args.scale}'
        runs = [one for one in jobs.results().values() if one['task'] in study.TASKS]
        write_json(args.out, dict(command=command, study=args.study, scale=args.scale, runs=runs))
        print(f'{len(runs)} results in {args.out}', flush=True)


def finished(file: Path, scale: str, runs: str) -> dict:
    """Return the content of a results file.

    Args:
        scale: the allowed scale; the same run has the same name at each scale.
        runs: `RUNS` of the allowed studies.

    Raises:
        ValueError: the file is not one of results, or of another data set or scale.
    """
    try:
        content = json.loads(file.read_text())
        found = STUDIES[content['study']].RUNS, content['scale']
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f'--finished {file} is not a file of results: {error!r}') from None
    if found != (runs, scale):
        raise ValueError(
            f'--finished {file} has results of {" ".join(found)}; allowed: {runs} {scale}'
        )
    return content


if __name__ == '__main__':
    main()

"""Compare LoMaR, MAE and random weights on the embedded dataset.

Pretraining time is equal, and so is the fine-tuning of Mask R-CNN and of a classifier; there are
several seeds. Finished runs are not repeated: the same command resumes an interrupted comparison.
"""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks import comparison
from benchmarks.comparison.jobs import LOMAR
from benchmarks.comparison.protocol import write_labels
from lomar.utils import write_json

PROG = 'python -m benchmarks.comparison'
SMOKE = dict(
    images=64,
    val=8,
    seeds=(0, 1),
    seconds=(1,),
    labels=(16,),
    classified=(16,),
    few=16,
    steps=2,
)


def parse_args() -> argparse.Namespace:
    cores, gpu = os.cpu_count() or 1, torch.cuda.is_available()
    parser = argparse.ArgumentParser(
        prog=PROG,
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--work-dir', default='work_dirs/compare', help='folder for data and runs')
    parser.add_argument(
        '--out',
        default='benchmarks/comparison/shapes_transfer.json',
        help='file to write results to',
    )
    parser.add_argument(
        '--plot', default='docs/images/shapes_transfer.png', help='image file to write'
    )
    parser.add_argument(
        '--slots', type=int, default=1 if gpu else cores, help='number of parallel jobs'
    )
    parser.add_argument(
        '--smoke', action='store_true', help='smoke test in minutes; its numbers mean nothing'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    work = Path(args.work_dir).resolve()
    protocol = comparison.Protocol()
    if args.smoke:
        protocol = comparison.Protocol(**SMOKE)
    # A terminated comparison stops its jobs, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f'{PROG}: terminated'))
    threads = max((os.cpu_count() or 1) // args.slots, 1)
    try:
        shapes = [*LOMAR, 'shapes', '--out', str(work / 'shapes'), *protocol.data]
        subprocess.run(shapes, check=True)
        write_labels(work, protocol)
        jobs = comparison.measurements(work)
        comparison.run_jobs(jobs, 'measuring a step', args.slots, threads)
        jobs = comparison.pretrainings(work, protocol)
        comparison.run_jobs(jobs, 'pretraining', args.slots, threads)
        jobs = comparison.fine_tunings(work, protocol)
        comparison.run_jobs(jobs, 'fine-tuning', args.slots, threads)
    except (comparison.JobFailed, subprocess.CalledProcessError) as error:
        sys.exit(f'{PROG}: {error}')
    command = f'{PROG}{" --smoke" if args.smoke else ""}'
    record = comparison.collect(work, protocol, command, args.slots, threads)
    write_json(args.out, record)
    print(comparison.to_markdown(record))
    print(f'\n{Path(args.out).resolve()}\n{comparison.plot(record, args.plot).resolve()}')


if __name__ == '__main__':
    main()

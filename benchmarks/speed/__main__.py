"""Measure training steps or inference of LoMaR, MAE and other models, in turns."""

import argparse
import itertools
import shlex
import sys

import torch
from mmengine.logging import MMLogger

from benchmarks.speed import report
from benchmarks.speed.contenders import CONTENDERS
from benchmarks.speed.steps import DTYPES, Setting, measure
from benchmarks.speed.timing import matrix_rate
from lomar.provenance import provenance
from lomar.utils import write_json

PROG = 'python -m benchmarks.speed'


def parse_args() -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    add = parser.add_argument
    arch, dtype = ('base', 'bfloat16') if cuda else ('small', 'float32')
    rounds = 20 if cuda else 5
    add('--task', choices=list(CONTENDERS), default='pretrain', help='default: pretrain')
    add(
        '--models',
        nargs='+',
        metavar='NAME',
        help='models to measure; speeds are relative to the first (default: all of the task)',
    )
    add('--archs', nargs='+', default=[arch], help=f'sizes of the ViT (default: {arch})')
    add(
        '--sizes',
        nargs='+',
        type=int,
        metavar='PIXELS',
        help='sides of the square images (default: 224 384 448 1024; detect: 1024)',
    )
    add(
        '--dtypes',
        nargs='+',
        choices=list(DTYPES),
        default=[dtype],
        help=f'float32, or autocast to the dtype (default: {dtype})',
    )
    add(
        '--batch',
        type=int,
        help='images per step, halved until they fit (default: 1; on a GPU: 256, detect: 8)',
    )
    add('--inference', action='store_true', help='measure features of whole images, not training')
    add('--compile', action='store_true', help='compile the transformer blocks of all models')
    add('--repeats', type=int, default=rounds, help=f'measured rounds (default: {rounds})')
    add('--threads', type=int, help="CPU threads (default: PyTorch's)")
    add(
        '--memory',
        type=float,
        metavar='GB',
        help='activation budget (default: 60 %% of free memory)',
    )
    add('--json', metavar='FILE', help='file to write results to')
    add('--plot', metavar='FILE', help='image file to draw images per second over image size to')
    args = parser.parse_args()
    detect = args.task == 'detect'
    args.models = args.models or list(CONTENDERS[args.task])
    args.sizes = args.sizes or ([1024] if detect else [224, 384, 448, 1024])
    args.batch = args.batch or {(True, True): 8, (True, False): 256}.get((cuda, detect), 1)
    for flag, least in (('batch', 1), ('repeats', 1)):
        if getattr(args, flag) < least:
            parser.error(f'--{flag} is {getattr(args, flag)}; allowed: {least} or more')
    return args


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    MMLogger.get_instance('benchmark', log_level='ERROR')  # hide mmpretrain's initialization log
    rows, rates = [], {name: matrix_rate(DTYPES[name]) for name in args.dtypes}
    try:
        for arch, size, dtype in itertools.product(args.archs, args.sizes, args.dtypes):
            setting = Setting(args.task, arch, size, dtype, args.inference, args.compile)
            memory = args.memory and args.memory * 1e9
            new = measure(setting, args.models, args.batch, args.repeats, memory=memory)
            print(report.to_markdown(new, rates), end='\n\n', flush=True)
            rows += new
    except ValueError as error:
        sys.exit(f'{PROG}: {error}')
    for dtype, rate in rates.items():
        print(f'Matrix rate, {dtype}: {rate / 1e12:.3g} TFLOP/s')
    if args.json:
        command = f'{PROG} {shlex.join(sys.argv[1:])}'
        record = dict(command=command, **provenance(), matrix_rates=rates, rows=rows)
        write_json(args.json, record)
    if args.plot:
        report.plot(rows, args.plot)


if __name__ == '__main__':
    main()

"""Slices of `make gpu`, most important first, at full size for a GPU or at toy size."""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import torch

import lomar
from benchmarks.gpu.slices import Slice, code_digest
from lomar.compat.amp import mixed_dtype
from lomar.models.architectures import ARCHS
from lomar.provenance import provenance

ROOT = Path(__file__).resolve().parents[2]
PRETRAIN = ['lomar', 'mae', 'mae-eager']
TOY_ARCH = dict(embed_dim=48, depth=4, num_heads=3)
BATCH = dict(pretrain=256, detect=8)  # images per step; halved if they do not fit
Work = dict[Slice, Callable[[], dict]]


def work(toy: bool) -> Work:
    """Return the slices, most important first, each with the function that it runs."""
    if toy:
        return _toy()
    pretrain, detect = partial(time_steps, 'pretrain'), partial(time_steps, 'detect')
    made: Work = {Slice('tests', 90, 300): run_tests, Slice('guard', 20, 120): time_guard}
    for size in (224, 384, 448):
        name = f'pretrain-{size}'
        made[Slice(name, 50, 200)] = partial(pretrain, size, [*PRETRAIN, 'lomar-plain'])
        made[Slice(f'{name}-compiled', 90, 400)] = partial(pretrain, size, PRETRAIN, compiled=True)
    all_tokens = ['lomar', 'simmim', 'beit']
    made[Slice('pretrain-384-all-tokens', 45, 200)] = partial(pretrain, 384, all_tokens)
    parts = ['irpe', 'decomposed', 'absolute', 'irpe-plain']
    made[Slice('detect-1024', 50, 200)] = partial(detect, 1024, parts)
    # FlexAttention has open bugs, so it has slices of its own, whose crash affects no others.
    flex = ['irpe', 'irpe-flex', 'decomposed']
    made[Slice('detect-1024-flex', 75, 400)] = partial(detect, 1024, flex)
    made[Slice('detect-1024-compiled', 90, 400)] = partial(detect, 1024, parts[:3], compiled=True)
    made[Slice('detect-1024-flex-compiled', 120, 400)] = partial(detect, 1024, flex, compiled=True)
    made[Slice('loading', 60, 300)] = load_files
    made[Slice('loading-regions', 45, 300)] = load_regions
    return made


def _toy() -> Work:
    """Return one slice of each kind, each of a few seconds on one CPU core.

    Images of 528 px are large enough for attention in parts.
    """
    files = dict(images=2, repeats=2)
    pretrain = partial(time_toy_steps, 'pretrain', 128, ['lomar', 'mae'])
    limits = 1, 300
    return {
        Slice('loading', *limits): partial(load_files, **files, short_sides=()),
        Slice('loading-regions', *limits): partial(load_regions, sizes=(128,), **files),
        Slice('tests', *limits): partial(run_tests, [str(ROOT / 'tests/compat/test_mmcv_ops.py')]),
        Slice('guard', *limits): time_toy_guard,
        Slice('pretrain-128', *limits): pretrain,
        Slice('pretrain-128-compiled', *limits): partial(pretrain, compiled=True),
        Slice('detect-528', *limits): partial(
            time_toy_steps, 'detect', 528, ['irpe', 'decomposed']
        ),
    }


def describe_machine(toy: bool) -> dict:
    """Return device, code digest, versions, commit and hardware, which every result includes."""
    found = provenance()
    hardware = found['hardware']
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        hardware |= dict(
            gpu_memory_gb=round(properties.total_memory / 1e9, 1),
            capability=f'{properties.major}.{properties.minor}',
            cuda=torch.version.cuda,
        )
    return dict(
        device=hardware['gpu'] or hardware['cpu'],
        code=code_digest(Path(lomar.__file__).parent, ROOT / 'benchmarks'),
        versions=found['versions'],
        toy=toy,
        commit=found['commit'],
        hardware=hardware,
    )


def precision() -> str:
    """Return the dtype of autocast: bfloat16 if the GPU has bf16 instructions, else float16."""
    return 'float16' if mixed_dtype() == torch.float16 else 'bfloat16'


def time_steps(
    task: str,
    size: int,
    names: list[str],
    compiled: bool = False,
    arch: str = 'base',
    batch: int | None = None,
    repeats: int = 20,
    warmup: int = 5,
    rate_side: int | None = None,
    backend: str = 'inductor',
) -> dict:
    """Time training steps of contenders in turns; return rows, matrix rates and notes.

    Args:
        rate_side: side of the matrices whose product gives the matrix rate; None for the default.
    """
    from mmengine.logging import MMLogger

    from benchmarks.speed.steps import DTYPES, Setting, measure
    from benchmarks.speed.timing import matrix_rate

    MMLogger.get_instance('benchmark', log_level='ERROR')  # hide mmpretrain's initialization log
    torch.backends.cudnn.benchmark = True  # shapes are fixed; may speed up patch embeddings
    dtype = precision()
    notes: list[str] = []
    rates = {dtype: matrix_rate(DTYPES[dtype], rate_side)}
    setting = Setting(task, arch, size, dtype, compiled=compiled)
    batch = batch or BATCH[task]
    rows = measure(setting, names, batch, repeats, warmup, say=notes.append, backend=backend)
    outcome = dict(rows=rows, matrix_rates=rates, notes=notes)
    return outcome if rows else outcome | dict(error='; '.join(notes))


def time_toy_steps(task: str, size: int, names: list[str], compiled: bool = False) -> dict:
    """Return the result of `time_steps` for a tiny model; compiling needs no C++ compiler."""
    with mock.patch.dict(ARCHS, tiny=TOY_ARCH):
        return time_steps(
            task,
            size,
            names,
            compiled,
            arch='tiny',
            batch=1,
            repeats=1,
            warmup=1,
            rate_side=256,
            backend='aot_eager',
        )


def time_guard(
    arch: str = 'base',
    size: int = 224,
    batch: int = BATCH['pretrain'],
    repeats: int = 20,
    warmup: int = 5,
    rate_side: int | None = None,
) -> dict:
    """Time pretraining steps of LoMaR with and without `StepGuard`, in turns; return two rows."""
    from mmengine.optim import OptimWrapper

    from benchmarks.speed.steps import DTYPES, Setting, prepare, to_row
    from benchmarks.speed.timing import interleave, matrix_rate
    from lomar.engine.step_guard import StepGuard

    dtype = precision()
    rates = {dtype: matrix_rate(DTYPES[dtype], rate_side)}
    setting = Setting('pretrain', arch, size, dtype)
    contenders = {name: prepare(setting, 'lomar', batch) for name in ('unguarded', 'guarded')}
    for one in contenders.values():
        one.optimizer = OptimWrapper(one.optimizer)
    StepGuard(contenders['guarded'].optimizer, freezes=True)
    seconds = interleave({name: one.step for name, one in contenders.items()}, repeats, warmup)
    rows = [to_row('lomar', one, seconds[key]) | {'model': key} for key, one in contenders.items()]
    return dict(rows=rows, matrix_rates=rates)


def time_toy_guard() -> dict:
    """Return the result of `time_guard` for a tiny model."""
    with mock.patch.dict(ARCHS, tiny=TOY_ARCH):
        return time_guard('tiny', 128, batch=1, repeats=1, warmup=1, rate_side=256)


def load_files(**settings) -> dict:
    """Return images per second of loading methods on one core, measured in turns."""
    from benchmarks.loading.ways import benchmark_loading

    return benchmark_loading(**settings)


def load_regions(sizes: tuple[int, ...] = (224, 448), **settings) -> dict:
    """Return images per second for loading whole crops and for loading four windows of each."""
    from benchmarks.loading.regions import benchmark_regions

    return benchmark_regions(sizes, **settings)


def run_tests(paths: list[str] | None = None) -> dict:
    """Return counts and failures of the tests that need a GPU, and `error` if not all passed."""
    if find_spec('pytest') is None:
        return dict(error='pytest is not installed: the GPU tests did not run')
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, 'report.xml')
        # -v prints test names, so that the last line of the output names a test that hangs.
        words = ['-m', 'gpu', '-v', '-p', 'no:cacheprovider', '--continue-on-collection-errors']
        command = [sys.executable, '-m', 'pytest', *words, f'--junitxml={report}']
        command += paths or [str(ROOT / 'tests')]
        env = os.environ | dict(TEST_DEVICE='cuda' if torch.cuda.is_available() else 'cpu')
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, env=env, check=False)
        if done.returncode not in (0, 1) or not report.exists():
            return dict(error=f'pytest ended with exit code {done.returncode}')
        return read_report(report)


def read_report(path: Path) -> dict:
    """Return the counts and failures in pytest's JUnit report."""
    suite = ElementTree.parse(path).getroot()[0]
    counts = {key: int(suite.attrib[key]) for key in ('tests', 'failures', 'errors', 'skipped')}
    counts['passed'] = counts['tests'] - sum(counts[key] for key in list(counts)[1:])
    failures = {}
    for case in suite.iter('testcase'):
        for kind in ('failure', 'error'):
            if (found := case.find(kind)) is not None:
                name = f'{case.get("classname")}.{case.get("name")}'
                failures[name] = dict(
                    message=found.get('message', '')[:500], tail=(found.text or '')[-1500:]
                )
    outcome = dict(counts=counts, failures=failures)
    if failures:
        name, first = next(iter(failures.items()))
        message = (first['message'].splitlines() or [''])[0]
        outcome['error'] = f'{len(failures)} of {counts["tests"]} failed; first {name}: {message}'
    elif torch.cuda.is_available() and not counts['passed']:
        outcome['error'] = f'no GPU test passed: {counts}'
    return outcome

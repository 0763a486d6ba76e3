"""Comparison of LoMaR, MAE and random weights on the embedded dataset: `make compare`."""

from benchmarks.comparison.jobs import Job, JobFailed, run_jobs
from benchmarks.comparison.protocol import Protocol, fine_tunings, measurements, pretrainings
from benchmarks.comparison.report import collect, plot, to_markdown

__all__ = [
    'Job',
    'JobFailed',
    'Protocol',
    'collect',
    'fine_tunings',
    'measurements',
    'plot',
    'pretrainings',
    'run_jobs',
    'to_markdown',
]

"""LoMaR, MAE and random weights against each other on the embedded dataset: `make compare`."""

from lomar.comparison.jobs import Job, JobFailed, run_jobs
from lomar.comparison.protocol import Protocol, fine_tunings, measurements, pretrainings
from lomar.comparison.report import collect, plot, to_markdown

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

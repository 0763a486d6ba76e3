"""What was run, with what, and what came out of it."""

import hashlib
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import torch

from lomar.utils import write_json
from lomar.versions import installed


def write_metrics(runner, config: str, checkpoint: str) -> Path:
    """Write the results of `runner.test()` to `metrics.json` in its work dir.

    Figures are percent, None where there is nothing to measure. Beside them stand the config,
    the checkpoint and its SHA-256, versions, and the data.
    """
    dataset = runner.test_dataloader.dataset
    record = dict(
        config=str(config),
        checkpoint=str(checkpoint),
        checkpoint_sha256=hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest(),
        date=_now(),
        versions=installed(),
        dataset=str(dataset.ann_file or dataset.data_root),
        images=len(dataset),
        metrics=runner.test_evaluator.metrics[0].summary,
    )
    path = Path(runner.work_dir) / 'metrics.json'
    write_json(path, record)
    return path


def provenance(**machine: int) -> dict:
    """What a record needs besides its figures: date, commit, versions, hardware.

    Args:
        machine: more about the machine, such as how many jobs share it, or the threads of each.
    """
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(
        date=_now(),
        commit=_commit(),
        versions=installed(),
        hardware=dict(cpu=_cpu(), gpu=gpu, threads=torch.get_num_threads()) | machine,
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def _commit() -> str | None:
    """Return the commit of the package's checkout; None without a checkout or without git."""
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=12']
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def _cpu() -> str:
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    names = (line.split(':')[1].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.processor())

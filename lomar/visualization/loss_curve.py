"""Loss curves from mmengine's scalar logs."""

import json
import math
from pathlib import Path

import msgspec
from matplotlib.figure import Figure

LEVEL = '1: every patch predicted as its mean (pretraining with norm_pix)'


class Scalars(msgspec.Struct):
    """Keys of a record of the training that are read here."""

    step: int
    loss: float
    lr: float | msgspec.UnsetType = msgspec.UNSET  # several optimizers have no common rate


def read_scalars(work_dir: str | Path) -> list[dict]:
    """Return the log records of the last run in a work dir and of the runs that it resumed.

    They are in the order of steps.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(f'{work_dir} has no */vis_data/scalars.json: was anything trained?')
    records: list[dict] = []
    for file in files:
        found = [record for record in _read(file) if 'loss' in record]
        if found:  # a later run replaces what earlier ones logged from its first step on
            records = [one for one in records if one['step'] < found[0]['step']] + found
    return records


def _read(file: Path) -> list[dict]:
    """Return the records of a file; a last line that was not written whole is left out."""
    records: list[dict] = []
    lines = file.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = msgspec.convert(json.loads(line), dict)  # Python's reader accepts NaN
            if 'loss' in record:
                msgspec.convert(record, Scalars)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and not isinstance(error, msgspec.ValidationError):
                break  # the run was killed, or the disk was full
            raise ValueError(
                f'{file}:{number}: {error}; allowed: JSON records of mmengine; remove the line'
            ) from error
        records.append(record)
    return records


def has_parts(record: dict) -> bool:
    """Return whether the loss is that of a detector or segmentor, which has parts."""
    return any('loss_' in key for key in record)


def plot_loss(work_dir: str | Path, out: str | Path) -> Path:
    """Plot loss and learning rate over steps into an image file."""
    records = read_scalars(work_dir)
    steps = [record['step'] for record in records]
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    axes.plot(steps, [record['loss'] for record in records], color='tab:blue')
    axes.set(xlabel='step', ylabel='loss', ylim=(0, None))
    if not has_parts(records[-1]):
        axes.axhline(1, color='grey', linestyle=':', label=LEVEL)
        axes.legend(loc='lower left')
    rate = axes.twinx()
    rates = [record.get('lr', math.nan) for record in records]
    rate.plot(steps, rates, color='tab:orange', alpha=0.5)
    rate.set_ylabel('learning rate', color='tab:orange')
    rate.set_ylim(0, None)
    figure.savefig(out, dpi=120)
    return Path(out)

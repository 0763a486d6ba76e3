"""The checkpoint to resume from, and its settings compared with those of the run."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mmengine.runner import CheckpointLoader

from lomar.checkpoints.files import naming
from lomar.engine.run_record import (
    KEY,
    Difference,
    differences,
    known_record,
    table,
    version_changes,
)
from lomar.utils import dicts_in

PARTS = ('state_dict', 'meta', 'optimizer')
INTERRUPTED = 'interrupted.pth'  # saved after a signal, until the next regular checkpoint
FRESH = 'load_from=FILE without --resume starts a new training from the weights'


class Resumed(NamedTuple):
    """The checkpoint that a run resumes from, without its tensors.

    Attributes:
        known: `known_record` of the checkpoint.
    """

    file: str
    meta: dict
    known: dict

    @property
    def record(self) -> dict | None:
        """Return the record of the run that wrote the checkpoint, or None without a record."""
        record = self.meta.get(KEY)
        return record if isinstance(record, dict) else None


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Return the newest `epoch_N.pth`, `iter_N.pth` or `interrupted.pth` in a folder, or None.

    mmengine's file `last_checkpoint` is not used: it contains the path of the folder at the start
    of the run, and it may be truncated if the run is killed. Checkpoints are written atomically.
    """
    found = checkpoints(work_dir)
    return str(found[0]) if found else None


def checkpoint_to_resume(work_dir: str | Path) -> str | None:
    """Return the newest checkpoint in a folder, or None.

    Raises:
        ValueError: another one was saved later: the times of the files are those of a copy.
    """
    found = checkpoints(work_dir)
    if not found:
        return None
    newest, furthest = found[0], max(found, key=_number)
    # After a new training in the folder of a longer one, the newest file is not the furthest.
    if _number(newest) < _number(furthest):
        saved = _saved(newest), _saved(furthest)
        if all(saved) and saved[0] < saved[1]:
            raise ValueError(
                f'--resume: {newest} is the newest file, and {furthest} was saved later, as in a '
                'copied folder; name the one to continue from: --resume FILE'
            )
    return str(newest)


def _number(file: Path) -> int:
    return int(file.stem.rpartition('_')[2]) if '_' in file.stem else 0


def _saved(file: Path) -> str:
    """Return the time at which mmengine saved a checkpoint, '' if it is not known."""
    with suppress(ValueError):
        content = CheckpointLoader.load_checkpoint(str(file), 'cpu', logger='silent')
        return str(content.get('meta', {}).get('time', ''))
    return ''


def checkpoints(work_dir: str | Path) -> list[Path]:
    """Return the checkpoints of a training in a folder, the newest first."""
    files = Path(work_dir).glob('*.pth')
    found = [file for file in files if re.fullmatch(r'(epoch|iter)_\d+|interrupted', file.stem)]
    return sorted(found, key=lambda file: file.stat().st_mtime_ns, reverse=True)


def make_newest(file: Path) -> None:
    """Set the time of a checkpoint after those of the others, if the clock was set back."""
    others = [each.stat().st_mtime_ns for each in checkpoints(file.parent) if each != file]
    if others and max(others) >= file.stat().st_mtime_ns:
        time = max(others) + 10**9  # file systems may store whole seconds
        os.utime(file, ns=(time, time))


def read_resumed(name: str | None, work_dir: str | Path) -> Resumed | None:
    """Return the checkpoint to resume from; None if there is nothing to resume in `work_dir`.

    Args:
        name: file or URL; None for the newest checkpoint in `work_dir`.

    Raises:
        ValueError: the file is no checkpoint of a training.
    """
    name = name or checkpoint_to_resume(work_dir)
    if name is None:
        return None
    try:
        content = CheckpointLoader.load_checkpoint(name, 'cpu', logger='silent')
    except ValueError as error:
        others = [each for each in checkpoints(work_dir) if each != Path(name)]
        older = f'--resume {others[0]} continues from an older checkpoint' if others else FRESH
        raise ValueError(f'--resume: {error}; {older}') from error
    with naming(f'--resume: {name}'):
        _check_resumable(content)
        known = known_record(content)
    return Resumed(name, content['meta'], known)


def _check_resumable(content: dict) -> None:
    missing = [key for key in PARTS if not isinstance(content.get(key), dict)]
    if 'meta' not in missing:
        missing += [f'meta.{key}' for key in ('epoch', 'iter') if key not in content['meta']]
    if missing:  # such as the optimizer in best_*.pth
        raise ValueError(
            f'cannot be resumed, because it has no {", ".join(missing)}; allowed: a checkpoint of '
            f'a training (epoch_N.pth or iter_N.pth); {FRESH}'
        )


def compare(resumed: Resumed, record: dict, accept: bool) -> list[str]:
    """Compare the run with that of its checkpoint; return notes, none if nothing differs.

    Args:
        record: of this run.
        accept: whether a run with other settings goes on.

    Raises:
        ValueError: settings differ, and `accept` is False or the run cannot go on with them.
    """
    if resumed.record is None:
        rows = differences(resumed.known, record)
        note = (
            f'{resumed.file} has no record of its settings (it was written by an earlier version '
            'or by another program); the training goes on with the settings of the config'
        )
        return [note + (f'. Known differences:\n{table(rows)}' if rows else '')]
    notes = []
    if rows := differences(resumed.record, record):
        what = f'the settings are not those that {resumed.file} was trained with:\n{table(rows)}\n'
        goes_on = 'goes on with the new settings and their schedule'
        if reason := _refusal(resumed.record, record, rows):
            raise ValueError(f'--resume: {what}{reason}; {FRESH}')
        if not accept:
            raise ValueError(f'--resume: {what}--accept-changes {goes_on}; {FRESH}')
        notes.append(f'--accept-changes: {what}The training {goes_on}')
    if versions := version_changes(resumed.record, record):
        notes.append(f'Other versions than in {resumed.file}: {", ".join(versions)}')
    return notes


def _refusal(old: dict, new: dict, rows: Sequence[Difference]) -> str | None:
    """Return why a run cannot go on with changed settings, or None if it can."""
    if any(row.key == 'optim_wrapper.optimizer.type' for row in rows):
        return 'the state of an optimizer cannot be loaded into another type of optimizer'
    if old['by_epoch'] != new['by_epoch']:
        counted = [('epochs' if each['by_epoch'] else 'steps') for each in (old, new)]
        return f'the checkpoint counts {counted[0]}, and train_cfg counts {counted[1]}'
    schedule = new['settings']['param_scheduler']
    if any('Plateau' in str(each.get('type')) for each in dicts_in(schedule)):
        return 'param_scheduler depends on past metrics, and cannot go on with other settings'
    return None

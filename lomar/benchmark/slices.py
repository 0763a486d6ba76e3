"""Long work cut into slices: each a process of its own with a time limit, its result kept at once.

The record is one JSON file, {'results': [...]}. A result holds what its slice measured, and what it
was measured on and with: device, versions, digest of the code, commit, date.
"""

import hashlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from lomar.datasets.resizing import write_json

# Results that differ in any of these are never counted or shown together.
IDENTITY = ('device', 'code', 'versions', 'toy')
TAIL = 4000  # last characters of what a failed slice printed


@dataclass(frozen=True)
class Slice:
    """A piece of work that runs in a process of its own.

    Args:
        expected: seconds that it takes; it is started where that much time is left.
        limit: seconds after which it is stopped and has failed.
    """

    name: str
    expected: float
    limit: float


class Record:
    """The results in a JSON file, which is written whole after every change.

    Raises:
        ValueError: the file is there and is no such record.
    """

    def __init__(self, path: Path):
        self.path, self.results = path, []
        if path.exists():
            try:
                self.results = json.loads(path.read_text(encoding='utf-8'))['results']
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is no JSON with 'results': {error!r}") from error

    def find(self, name: str, machine: dict) -> dict | None:
        """Return the result of a slice on this device, with this code and these versions."""
        return next((r for r in self.of(machine) if r['slice'] == name), None)

    def of(self, machine: dict) -> list[dict]:
        """Return the results on this device, with this code and these versions."""
        return [result for result in self.results if same(result, machine)]

    def put(self, result: dict) -> None:
        """Write a result in place of an earlier one of the same slice, device, code, versions."""
        earlier = self.find(result['slice'], result)
        self.results = [one for one in self.results if one is not earlier] + [result]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, dict(results=self.results))


def same(one: dict, other: dict) -> bool:
    """Whether device, code and versions are the same."""
    return all(one.get(key) == other.get(key) for key in IDENTITY)


def code_digest(package: Path) -> str:
    """Return a digest of a package's Python files, which also tells uncommitted changes."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob('*.py')):
        digest.update(path.relative_to(package).as_posix().encode() + b'\0' + path.read_bytes())
    return digest.hexdigest()[:12]


def run_slices(
    slices: Iterable[Slice],
    record: Record,
    machine: dict,
    command: Callable[[str, Path], list[str]],
    seconds: float,
    retry: bool = False,
    say: Callable[[str], None] = print,
    env: dict | None = None,
) -> tuple[list[str], list[str]]:
    """Run the slices that have no result yet, as long as they fit into the time.

    Args:
        machine: device, code and versions, and whatever else each result is to hold.
        command: a slice's name and the file for its outcome to the command that runs it.
        retry: slices that failed run again, after all others.

    Returns:
        Names of slices that failed now, and of those that are still to be run.
    """
    deadline, failed, waiting = time.monotonic() + seconds, [], []
    states = {one: record.find(one.name, machine) or {} for one in slices}
    finished = ('done',) if retry else ('done', 'failed')
    todo = [one for one, state in states.items() if state.get('status') not in finished]
    for one in sorted(todo, key=lambda one: states[one].get('status') == 'failed'):
        left = deadline - time.monotonic()
        # One that was cut off needs more time than it had.
        cut = states[one].get('status') == 'cut off'
        needed = max(one.expected, states[one]['seconds'] if cut else 0)
        if left < needed:
            say(f'{one.name}: not started, needs {needed:.0f} s of {max(left, 0):.0f} s left')
            waiting.append(one.name)
            continue
        say(f'{one.name}: started, {left:.0f} s left')
        result = dict(slice=one.name, **machine, date=_now())
        result |= run_slice(one, command, min(one.limit, left), env)
        record.put(result)
        say(f'{one.name}: {result["status"]} after {result["seconds"]:.0f} s')
        if result['status'] != 'done':
            say(f'{one.name}: {result["error"]}')
            {'failed': failed, 'cut off': waiting}[result['status']].append(one.name)
    return failed, waiting


def run_slice(
    one: Slice,
    command: Callable[[str, Path], list[str]],
    limit: float,
    env: dict | None = None,
) -> dict:
    """Run a slice for at most `limit` seconds.

    Returns:
        `status`: 'done', 'failed', or 'cut off' where `limit` is less than the slice's own;
        `seconds`; `error` in one line and `tail` of the output where it is not done; and what the
        slice left as its outcome, in which an `error` means that it failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out, log = Path(scratch, 'outcome.json'), Path(scratch, 'log')
        start = time.monotonic()
        code = _wait(command(one.name, out), log, limit, env)
        seconds = round(time.monotonic() - start, 1)
        outcome = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {}
        printed = log.read_bytes().decode(errors='replace')
    if outcome:  # complete, whatever happened to the process while it ended
        result = dict(status='failed' if 'error' in outcome else 'done', seconds=seconds, **outcome)
        return result | (dict(tail=printed[-TAIL:]) if 'error' in outcome else {})
    cut = code is None and limit < one.limit
    if code is None:
        reason = f'stopped after {limit:.0f} s'
    elif code < 0:
        reason = f'killed by {signal.Signals(-code).name}'
    else:
        reason = f'exit code {code}'
    error = f'{reason}; last line: {last_line(printed)}'
    status = 'cut off' if cut else 'failed'
    return dict(status=status, seconds=seconds, error=error, tail=printed[-TAIL:])


def last_line(text: str) -> str:
    """Return the last line with text in it, shortened; progress bars overwrite their lines."""
    lines = [line.strip() for line in text.replace('\r', '\n').splitlines() if line.strip()]
    return lines[-1][:300] if lines else 'none'


def end_with_parent() -> None:
    """End this process and its children when the process that started it ends.

    That process holds the other end of the standard input and never writes to it.
    """

    def watch() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock a process must get before it can end
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _wait(command: list[str], log: Path, limit: float, env: dict | None) -> int | None:
    """Return the exit code of a command, None where it was stopped at its limit."""
    with log.open('wb') as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # Its own children as well, which may outlive it, and would keep the device's memory.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):  # a driver may hold it for good
                process.wait(10)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')

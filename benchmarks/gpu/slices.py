"""Slices: separate processes with time limits, and a record of their results.

The record is one JSON file, {'results': [...]}. A result holds the measurements of its slice, and
device, versions, digest of the code, commit and date.
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
from pathlib import Path

from lomar.provenance import now
from lomar.utils import write_json

# Results that differ in any of these keys are never combined or shown in one table.
IDENTITY = ('device', 'code', 'versions', 'toy')
TAIL = 4000  # number of last characters kept from a failed slice's output


@dataclass(frozen=True)
class Slice:
    """A part of the benchmark that runs in a separate process.

    Args:
        expected: expected seconds; the slice starts only if that much time is left.
        limit: seconds after which the slice is stopped and counts as failed.
    """

    name: str
    expected: float
    limit: float


class Record:
    """Results in a JSON file, which is rewritten after every change.

    Raises:
        ValueError: the file exists but is not a record.
    """

    def __init__(self, path: Path):
        self.path, self.results = path, []
        if path.exists():
            try:
                self.results = json.loads(path.read_text(encoding='utf-8'))['results']
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is no JSON with 'results': {error!r}") from error

    def find(self, name: str, machine: dict) -> dict | None:
        """Return the result of a slice for a machine's device, code and versions, or None."""
        return next((r for r in self.of(machine) if r['slice'] == name), None)

    def of(self, machine: dict) -> list[dict]:
        """Return the results for a machine's device, code and versions."""
        return [result for result in self.results if same(result, machine)]

    def put(self, result: dict) -> None:
        """Add a result; replace an earlier one of the same slice, device, code and versions."""
        earlier = self.find(result['slice'], result)
        self.results = [one for one in self.results if one is not earlier] + [result]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, dict(results=self.results))


def same(one: dict, other: dict) -> bool:
    """Return whether two results have the same device, code, versions and value of `toy`."""
    return all(one.get(key) == other.get(key) for key in IDENTITY)


def code_digest(*packages: Path) -> str:
    """Return a digest of the Python files of packages; uncommitted changes affect it, too."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob('*.py')):
            name = path.relative_to(package).as_posix()
            digest.update(name.encode() + b'\0' + path.read_bytes())
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
    """Run the slices without a result that fit into the remaining time.

    Args:
        machine: device, code, versions and further entries that are stored in every result.
        command: returns the command of a slice, given its name and the file for its outcome.
        seconds: total time limit.
        retry: whether to run failed slices again, after all others.

    Returns:
        Names of the slices that failed in this call, and of the slices that are not finished.
    """
    deadline = time.monotonic() + seconds
    failed: list[str] = []
    waiting: list[str] = []
    states = {one: record.find(one.name, machine) or {} for one in slices}
    finished = ('done',) if retry else ('done', 'failed')
    todo = [one for one, state in states.items() if state.get('status') not in finished]
    for one in sorted(todo, key=lambda one: states[one].get('status') == 'failed'):
        left = deadline - time.monotonic()
        # A slice that was cut off needs more time than it had before.
        cut = states[one].get('status') == 'cut off'
        needed = max(one.expected, states[one]['seconds'] if cut else 0)
        if left < needed:
            say(f'{one.name}: not started, needs {needed:.0f} s of {max(left, 0):.0f} s left')
            waiting.append(one.name)
            continue
        say(f'{one.name}: started, {left:.0f} s left')
        result = dict(slice=one.name, **machine, date=now())
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
        `status`: 'done', 'failed', or 'cut off' if `limit` was reached and is below the slice's
        own limit; `seconds`; the entries of the slice's outcome file. If the slice is not done,
        also `error` in one line and the `tail` of the output. An `error` in the outcome file means
        that the slice failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out, log = Path(scratch, 'outcome.json'), Path(scratch, 'log')
        start = time.monotonic()
        code = _wait(command(one.name, out), log, limit, env)
        seconds = round(time.monotonic() - start, 1)
        outcome = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {}
        printed = log.read_bytes().decode(errors='replace')
    if outcome:  # the outcome is complete, even if the process crashed on exit
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
    """Return the last non-empty line, shortened; carriage returns of progress bars end lines."""
    lines = [line.strip() for line in text.replace('\r', '\n').splitlines() if line.strip()]
    return lines[-1][:300] if lines else 'none'


def end_with_parent() -> None:
    """End this process and its children when the parent process ends.

    The parent holds the other end of this process's standard input and never writes to it.
    """

    def watch() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock would block the exit of this process
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _wait(command: list[str], log: Path, limit: float, env: dict | None) -> int | None:
    """Return the exit code of a command, or None if it was stopped at its time limit."""
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
            # Also kill the children of the process, which may outlive it and keep GPU memory.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stdin.close()  # type: ignore[union-attr]  # a pipe
            with suppress(subprocess.TimeoutExpired):  # the driver may block the exit forever
                process.wait(10)

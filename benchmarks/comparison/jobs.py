"""Trainings as processes: several at a time, each with a result file, finished ones skipped."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path

from benchmarks.comparison.results import outcome
from benchmarks.comparison.runs import Run, checkpoint, name_of
from benchmarks.comparison.search import Scores
from benchmarks.comparison.timing import precision
from lomar.provenance import provenance
from lomar.utils import write_json

LOMAR = (sys.executable, '-m', 'lomar')


def say(line: str) -> None:
    print(line, flush=True)


class RunFailed(RuntimeError):
    """Error of a training that failed; the message names the command and its log."""


class OutOfTime(RuntimeError):
    """The time limit was reached before all runs were finished."""


class Jobs:
    """Runs trainings of a work dir.

    Args:
        work: folder of all runs.
        slots: number of runs at a time.
        threads: threads of each run.
        deadline: value of `time.monotonic` at which running trainings are stopped.
    """

    def __init__(self, work: Path, slots: int, threads: int, deadline: float = float('inf')):
        self.work, self.slots, self.deadline = work, slots, deadline
        # Processes with more threads than cores in total slow each other down.
        self.environment = os.environ | dict(
            OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads)
        )
        self.machine = provenance(slots=slots, threads=threads, precision=precision())
        self.running: set[subprocess.Popen] = set()
        self.stopping = False

    def result(self, run: Run) -> Path:
        """Return the path of the result of a run."""
        return self.work / f'results/{run.name}.json'

    def results(self) -> dict[str, dict]:
        """Return the results of all finished runs by name."""
        files = sorted((self.work / 'results').glob('*.json'))
        return {file.stem: json.loads(file.read_text()) for file in files}

    def take(self, content: dict) -> None:
        """Take over the results of an earlier comparison that this work dir lacks.

        Args:
            content: of a results file.

        Raises:
            KeyError, ValueError: a result is missing or incomplete.
        """
        (self.work / 'results').mkdir(parents=True, exist_ok=True)
        for record in content['runs']:
            keys = dict(islice(record.items(), list(record).index('figures')))  # keys come first
            path = self.work / f'results/{name_of(keys)}.json'
            if not path.exists():
                write_json(path, record)

    def finish(self, runs: Sequence[Run], say: Callable[[str], None] = say) -> Scores:
        """Run the trainings without a result, each after the one it starts from.

        Returns:
            Figures of all finished runs of the work dir, by name.

        Raises:
            RunFailed: a run failed. Running ones are stopped, and no further one starts.
            OutOfTime: the deadline came first.
        """
        left = self._left(runs)
        say(f'{len(runs)} runs, {len(left)} to do')
        futures: dict[Future, Run] = {}
        with ThreadPoolExecutor(self.slots) as pool:
            try:
                while left or futures:
                    free = self.slots - len(futures)
                    ready = [run for run in left if not run.start or self._ready(run.start)]
                    for run in ready[:free]:
                        left.remove(run)
                        futures[pool.submit(self._run, run)] = run
                    if not futures:  # each waits for weights
                        lacking = [checkpoint(self.work, run.start) for run in left if run.start]
                        raise RunFailed(f'{lacking[0]} does not exist after its training')
                    done, _ = wait(futures, self._seconds_left(), FIRST_COMPLETED)
                    if not done:
                        raise OutOfTime(f'{len(left) + len(futures)} runs are not finished')
                    for future in done:
                        del futures[future]
                        say(future.result())
            except BaseException:
                self.stopping = True
                for process in list(self.running):
                    process.terminate()
                raise
        return {name: one['figures'] for name, one in self.results().items()}

    def _seconds_left(self) -> float | None:
        if self.deadline == float('inf'):
            return None
        return max(self.deadline - time.monotonic(), 0)

    def _left(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs without a result, each preceded by the pretraining that it needs."""
        listed: dict[str, Run] = {}
        for run in runs:
            if self.result(run).exists():
                self._check_length(run)
                continue
            if run.start and not self._ready(run.start):
                listed.setdefault(run.start.name, run.start)
            listed.setdefault(run.name, run)
        return list(listed.values())

    def _check_length(self, run: Run) -> None:
        """Raise a ValueError if a finished pretraining has another number of steps."""
        steps = json.loads(self.result(run).read_text()).get('steps', run.steps)
        if steps != run.steps:
            raise ValueError(
                f'{self.result(run)} is the result of {steps} steps, and this run has {run.steps}: '
                'its data, scale or seconds per step were others; use another --work-dir'
            )

    def _ready(self, start: Run) -> bool:
        # The weights of a finished pretraining may be gone.
        return self.result(start).exists() and checkpoint(self.work, start).exists()

    def _run(self, run: Run) -> str:
        """Run a training; return its name, figures and duration as text."""
        start = time.monotonic()
        folder = self.work / run.name
        folder.mkdir(parents=True, exist_ok=True)
        command = [*LOMAR, *run.command(self.work)]
        with (folder / 'log.txt').open('a') as out:
            print(f'$ {shlex.join(command)}', file=out, flush=True)
            process = subprocess.Popen(command, stdout=out, stderr=out, env=self.environment)
            self.running.add(process)
            if self.stopping:  # since before this process was listed
                process.terminate()
            code = process.wait()
            self.running.discard(process)
        if code:
            raise RunFailed(f'{run.name} ended with {code}; its output is in {folder / "log.txt"}')
        seconds = round(time.monotonic() - start, 1)
        found = outcome(folder, run)
        record = dict(run.keys, **found, seconds=seconds, **self.machine)
        self.result(run).parent.mkdir(exist_ok=True)
        write_json(self.result(run), record)
        figures = ', '.join(f'{key} {value:.2f}' for key, value in found['figures'].items())
        return f'{run.name}: {figures}, {seconds:.0f} s'

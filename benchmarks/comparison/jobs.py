"""Trainings as processes: several at a time, each with a result file, finished ones skipped."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from benchmarks.comparison.results import outcome
from benchmarks.comparison.runs import Run, checkpoint
from benchmarks.comparison.search import Scores
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
        self.machine = provenance(slots=slots, threads=threads)
        self.running: set[subprocess.Popen] = set()
        self.stopping = False

    def result(self, run: Run) -> Path:
        """Return the path of the result of a run."""
        return self.work / f'results/{run.name}.json'

    def results(self) -> dict[str, dict]:
        """Return the results of all finished runs by name."""
        files = sorted((self.work / 'results').glob('*.json'))
        return {file.stem: json.loads(file.read_text()) for file in files}

    def finish(self, runs: Sequence[Run], say: Callable[[str], None] = say) -> Scores:
        """Run the trainings without a result, each after the one it starts from.

        Returns:
            Figures of all finished runs of the work dir, by name.

        Raises:
            RunFailed: a run failed. Running ones are stopped, and no further one starts.
            OutOfTime: the deadline came first.
        """
        left = [run for run in self._with_starts(runs) if not self._done(run)]
        say(f'{len(runs)} runs, {len(left)} to do')
        futures: dict[Future, Run] = {}
        with ThreadPoolExecutor(self.slots) as pool:
            try:
                while left or futures:
                    free = self.slots - len(futures)
                    ready = [run for run in left if not run.start or self._done(run.start)]
                    for run in ready[:free]:
                        left.remove(run)
                        futures[pool.submit(self._run, run)] = run
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

    def _with_starts(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs, each preceded by the pretraining that it still needs."""
        listed: dict[str, Run] = {}
        for run in runs:
            if run.start and not self.result(run).exists():
                listed.setdefault(run.start.name, run.start)
            listed.setdefault(run.name, run)
        return list(listed.values())

    def _done(self, run: Run) -> bool:
        # The weights of a pretraining may be gone while runs that need them are not finished.
        kept = run.keys['task'] != 'pretrain' or checkpoint(self.work, run).exists()
        return self.result(run).exists() and kept

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

"""Jobs: commands that write a result file, run in parallel, skipped if the file exists."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

LOMAR = (sys.executable, '-m', 'lomar')


class JobFailed(RuntimeError):
    """Error of a command that failed; the message names the command and its log."""


@dataclass(frozen=True)
class Job:
    """`lomar` commands that write a result file.

    Attributes:
        folder: folder of the log, and work dir of the commands.
        commands: the name of a command and its arguments, for each command.
        result: file that the last command writes.
    """

    folder: Path
    commands: tuple[tuple[str, ...], ...]
    result: Path


def run_jobs(jobs: Sequence[Job], title: str, slots: int, threads: int) -> None:
    """Run the jobs without a result file, `slots` in parallel, with `threads` threads each.

    Raises:
        JobFailed: a job failed. Running jobs are stopped, and no further job starts.
    """
    waiting = [job for job in jobs if not job.result.exists()]
    running: set[subprocess.Popen] = set()
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(waiting), desc=title, unit='job')
    with bar, ThreadPoolExecutor(slots) as pool:
        started = [pool.submit(_run, job, threads, running) for job in waiting]
        try:
            for done in as_completed(started):
                bar.write(done.result())
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.terminate()
            raise


def _run(job: Job, threads: int, running: set) -> str:
    """Run the commands of a job in order; return its name and duration as text."""
    start = time.monotonic()
    job.folder.mkdir(parents=True, exist_ok=True)
    log = job.folder / 'log.txt'
    # Processes with more threads than cores in total slow each other down.
    environment = os.environ | dict(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    for arguments in job.commands:
        command = [*LOMAR, *arguments]
        with log.open('a') as out:
            print(f'$ {shlex.join(command)}', file=out, flush=True)
            process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
            running.add(process)
            code = process.wait()
            running.discard(process)
        if code:
            raise JobFailed(f'lomar {arguments[0]} ended with {code}; its output is in {log}')
    if not job.result.exists():
        raise JobFailed(f'{job.result} was not written; see {log}')
    return f'{job.folder.name}: {time.monotonic() - start:.0f} s'

"""Commands as processes forked from a server that has imported everything.

A fresh Python process spends seconds of CPU on imports, and the tests start many. A forked one
starts with the same modules and an otherwise clean state: the server runs no test. Tests of
start-up, of `torchrun` and of signals use `subprocess`.
"""

import atexit
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
import traceback
from multiprocessing.connection import wait
from pathlib import Path
from subprocess import CompletedProcess

LIMIT = 600  # seconds until processes that hang are killed
ROOT = Path(__file__).resolve().parents[1]
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(['lomar', 'mmdet.apis', 'mmpretrain.models'])


def free_port():
    """Return a TCP port that no process listens on, as text: tests run side by side."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])


def run_script(script, *words, cwd=None, env=None):
    """Run a script of the repository; return what `subprocess.run` returns, output as text."""
    return run_ranks(script, *words, count=None, cwd=cwd, env=env)


def run_ranks(script, *words, count, cwd=None, env=None):
    """Run a script as `torchrun` does, in `count` processes that share their output.

    The first process that fails ends the others. Returns what `subprocess.run` returns.
    """
    env = {**os.environ, **(env or {})}
    ranks = [env]
    if count:
        env |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port(), WORLD_SIZE=str(count))
        ranks = [{**env, 'RANK': str(rank), 'LOCAL_RANK': str(rank)} for rank in range(count)]
    words = [str(ROOT / script), *map(str, words)]
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, 'out'), Path(folder, 'err')
        processes = [SERVER.Process(target=_run, args=(words, files, cwd, one)) for one in ranks]
        for process in processes:
            process.start()
        code, running = 0, list(processes)
        while running:
            if not wait([process.sentinel for process in running], timeout=LIMIT):
                code = code or f'still running after {LIMIT} s'
                for process in running:
                    process.kill()
                continue
            for process in [one for one in running if one.exitcode is not None]:
                running.remove(process)
                if process.exitcode and not code:
                    code = process.exitcode
                    for other in running:
                        other.terminate()
        return CompletedProcess(words, code, *(path.read_text() for path in files))


def _run(words, files, cwd, env):
    for number, path in zip((1, 2), files, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env)
    if cwd:
        os.chdir(cwd)
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).parent))
    try:
        runpy.run_path(words[0], run_name='__main__')
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    atexit._run_exitfuncs()  # which processes of `multiprocessing` skip
    sys.exit(code)

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

import torch

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 600  # seconds until processes that hang are killed
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(['lomar.register'])


def free_port():
    """Return a TCP port that no process listens on, as text: tests run side by side."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])


def run_lomar(*words, cwd=None, env=None):
    """Run `lomar *words`; return what `subprocess.run` returns."""
    return run_python('-m', 'lomar', *words, cwd=cwd, env=env)


def run_python(*words, cwd=None, env=None):
    """Run `python *words`, a script or `-m` and a module; return what `subprocess.run` returns."""
    return _run([{**os.environ, **(env or {})}], words, cwd)


def run_ranks(*words, count, cwd=None):
    """Run `python *words` as `torchrun` does, in `count` processes that share their output.

    The first process that fails ends the others.
    """
    env = dict(
        os.environ,
        **without_gpus(count),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=free_port(),
        WORLD_SIZE=str(count),
    )
    ranks = [dict(env, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(count)]
    return _run(ranks, words, cwd)


def without_gpus(count):
    """Return the variable that hides the GPUs if `count` processes would have too few."""
    return {} if torch.cuda.device_count() >= count else {'CUDA_VISIBLE_DEVICES': ''}


def start(words, out, err, cwd=None, env=None):
    """Start `python *words`; the output is appended to two files. Returns the process."""
    arguments = (list(map(str, words)), (str(out), str(err)), cwd, env or dict(os.environ))
    process = SERVER.Process(target=_python, args=arguments)
    process.start()
    return process


def _run(environments, words, cwd):
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, 'out'), Path(folder, 'err')
        running = [start(words, out, err, cwd, env) for env in environments]
        code = 0
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
        return CompletedProcess(words, code, out.read_text(), err.read_text())


def _python(words, files, cwd, env):
    """Do what `python *words` does, in this process."""
    for number, path in zip((1, 2), files, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env)
    if cwd:
        os.chdir(cwd)
    module, sys.argv = words[0] == '-m', words[words[0] == '-m' :]
    try:
        if module:
            sys.path.insert(0, os.getcwd())
            runpy.run_module(words[1], run_name='__main__', alter_sys=True)
        else:
            script = ROOT / words[0]
            sys.path.insert(0, str(script.parent))
            runpy.run_path(str(script), run_name='__main__')
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

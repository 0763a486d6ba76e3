"""The `lomar` command: one table of commands, one parser, one error handler.

A command is a module of this package. Its docstring is the help text, `add_arguments(parser)`
declares the flags, `run(args)` does the work. Only `run` imports torch or OpenMMLab.
"""

import argparse
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from itertools import dropwhile

from lomar import compat
from lomar.cli.shared import Formatter, PrintCompletion, PrintVersions, given_text

COMMANDS = (
    *('train', 'test', 'predict', 'publish', 'export', 'convert', 'encode', 'reconstruct'),
    *('browse', 'check', 'cost', 'import', 'split', 'shapes', 'tokenizer', 'statistics'),
    *('resize', 'shard', 'replay', 'results', 'demo'),
)
EXIT_CODES = (
    'Exit codes: 0, 1 = the command failed, 2 = wrong usage, 128 + n = ended by signal n. '
    'lomar COMMAND --help lists the flags of a command.'
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Errors in the user's files, flags and config are printed in one line. Anything else is a bug
    and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):  # names of files may be in another encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    name = 'lomar'
    try:
        args = parse_args(argv)
        name = f'lomar {args.command}'
        if args.quiet:
            os.environ['TQDM_DISABLE'] = '1'
        if getattr(args, 'launcher', 'none') == 'none':  # launchers expect workers to die at once
            signal.signal(signal.SIGTERM, partial(_terminate, os.getpid()))
        args.run(args)
        if sys.stdout is not None:  # None: closed by the shell
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _failed(name, 'interrupted', 128 + signal.SIGINT)
    except BrokenPipeError:  # `lomar results | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ImportError, KeyError, MemoryError, OSError, RuntimeError, ValueError) as error:
        message = _message_of_worker(str(error)) or _without_memory(error)
        if not message and (isinstance(error, RuntimeError) or not _is_expected(error)):
            raise
        message = message or _text(error)
        if isinstance(error, ModuleNotFoundError) and error.name in compat.NEEDED:
            message = compat.advice()
        return _failed(name, message, 1)
    return 0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the flags of a command line, and the command's function as `run`."""
    return build_parser().parse_args(argv)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        'lomar', description='LoMaR (Local Masked Reconstruction) for OpenMMLab.', epilog=EXIT_CODES
    )
    add = parser.add_argument
    add('--version', action=PrintVersions, nargs=0, help='print versions and exit')
    add(
        '--print-completion',
        action=PrintCompletion,
        choices=('bash', 'zsh', 'tcsh'),
        help='print the completion script of a shell and exit',
    )
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for name in COMMANDS:
        module = import_module(f'lomar.cli.{name}')
        summary = (module.__doc__ or '').partition('\n')[0]
        command = commands.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=Formatter
        )
        for kind in (None, str):  # the types of arguments that are texts
            command.register('type', kind, given_text)
        module.add_arguments(command)
        command.add_argument('--quiet', action='store_true', help='print warnings and results only')
        command.set_defaults(run=module.run)
    return parser


def _terminate(main_process: int, *_) -> None:
    if os.getpid() != main_process:  # a forked worker, which is to end at once
        os._exit(128 + signal.SIGTERM)
    raise SystemExit(128 + signal.SIGTERM)  # runs `finally` blocks, which remove unfinished files


def _failed(name: str, message: object, code: int) -> int:
    print(f'{name}: {message}', file=sys.stderr)
    return code


def _text(error: Exception) -> str:
    if isinstance(error, IsADirectoryError) and error.filename:
        return f'{error.filename} is a folder; allowed: a file'
    return error.args[0] if isinstance(error, KeyError) else str(error)


def _message_of_worker(text: str) -> str:
    """Return the message of an expected error in a process that loads data; otherwise ''.

    PyTorch raises such an error again, often of another type, with the traceback as its text.
    """
    kinds = 'UnreadableImage|FileNotFoundError|PermissionError|OSError|ValueError'
    if not re.match(f'Caught ({kinds}) in DataLoader worker', text):
        return ''
    path, *lines = text.rpartition('  File "')[2].splitlines()
    if f'{os.sep}lomar{os.sep}' not in path:
        return ''
    return '\n'.join(dropwhile(lambda line: line[:1] == ' ', lines)).partition(': ')[2]


def _without_memory(error: Exception) -> str | None:
    if not isinstance(error, MemoryError | RuntimeError):
        return None
    from lomar.engine.stopped import without_memory

    lacking = without_memory(error)
    return lacking and f'{lacking}; use fewer images at a time, or smaller images'


def _is_expected(error: BaseException | None) -> bool:
    """Whether a file or a `type` is at fault, or this package raised the error or its cause."""
    if isinstance(error, KeyError):  # a bug, unless no registry has the `type`
        return ' is not in the ' in str(error)
    if isinstance(error, OSError):
        return True
    while error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get('__name__', '').partition('.')[0] == 'lomar':
            return True
        error = error.__cause__ or error.__context__
    return False

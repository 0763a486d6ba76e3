"""Errors of OpenMMLab, PyTorch and Python in settings, in one line that names the key."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sysconfig import get_paths
from traceback import walk_tb

INSTALLED = tuple({str(Path(get_paths()[name])) for name in ('stdlib', 'purelib', 'platlib')})
ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError),
    ValueError,
)


@contextmanager
def naming_key(key: str) -> Iterator[None]:
    """Raise an error that an installed library finds in a setting as a ValueError with `key`.

    Errors of this package name their key, and errors in code of users keep their traceback.
    """
    try:
        yield
    except ERRORS as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        is_ours = frame.f_globals.get('__name__', '').partition('.')[0] == 'lomar'
        if is_ours or not frame.f_code.co_filename.startswith((*INSTALLED, '<frozen')):
            raise
        text = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'{key}: {text}') from error

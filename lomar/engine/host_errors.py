"""Errors of OpenMMLab, PyTorch and Python in settings, in one line that names the key."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from traceback import walk_tb

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
        package = frame.f_globals.get('__name__', '').partition('.')[0]
        # By name: packages may also lie in folders of PYTHONPATH, of the user, or in checkouts.
        installed = package in sys.stdlib_module_names or package in packages_distributions()
        if package == 'lomar' or not installed:
            raise
        text = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'{key}: {text}') from error

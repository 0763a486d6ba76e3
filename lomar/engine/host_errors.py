"""Errors of OpenMMLab and PyTorch in settings, in one line that names the key."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

HOSTS = {'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'torch', 'timm'}


@contextmanager
def naming_key(key: str) -> Iterator[None]:
    """Raise an error that a host library finds in a setting as a ValueError with `key`.

    Errors of this package name their key, and errors in code of users keep their traceback.
    """
    try:
        yield
    except (AssertionError, TypeError, ValueError) as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        if frame.f_globals.get('__name__', '').partition('.')[0] not in HOSTS:
            raise
        text = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'{key}: {text}') from error

"""Read parts of files: of this computer, of HTTP servers, and of object stores through fsspec."""

import os
import re
import time
from collections.abc import Callable
from functools import lru_cache
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

T = TypeVar('T')
HANDLES = 64  # files that a process keeps open
TIMEOUT = 60  # seconds until a server that sends nothing has failed
WAITS = (0.5, 2, 8)  # seconds before further attempts
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses after which another attempt helps
LASTING = {401: PermissionError, 403: PermissionError, 404: FileNotFoundError}


def is_url(path: str) -> bool:
    """Return whether a path is an address such as https://... or s3://..."""
    return re.match('[A-Za-z][A-Za-z0-9+.-]*://', path) is not None


def read_range(path: str, start: int, size: int) -> bytes:
    """Return `size` bytes of a file or an address from byte `start` on.

    A server that fails is asked again a few times. An error is an OSError and never an
    `UnreadableImage`: a run stops, so that it can be resumed without a replaced image.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the package for this kind of address is not installed.
        PermissionError: access is denied. Object stores may say so of files that do not exist.
        OSError: the file cannot be read, or is shorter.
    """
    if not size:
        return b''
    if not is_url(path):
        data = _local(path, start, size)
    elif path.lower().startswith(('http://', 'https://')):
        data = _attempt(path, lambda: _http(path, start, size)[0])
    else:
        data = _attempt(path, lambda: _of_store(path, 'cat_file', start=start, end=start + size))
    if len(data) != size:
        raise OSError(
            f'{path} ends at byte {start + len(data)}, and bytes {start} to {start + size - 1} are '
            'needed: the file was truncated or replaced'
        )
    return data


def file_size(path: str) -> int:
    """Return the bytes of a file or an address; errors are those of `read_range`."""
    if not is_url(path):
        return os.stat(path).st_size
    if path.lower().startswith(('http://', 'https://')):
        return _attempt(path, lambda: _http(path, 0, 1)[1])
    return _attempt(path, lambda: _of_store(path, 'size'))


def find_urls(pattern: str) -> list[str]:
    """Return the sorted addresses in an object store that match a pattern with * or ?.

    Raises:
        ValueError: HTTP servers cannot list files.
    """
    if pattern.lower().startswith(('http://', 'https://')):
        raise ValueError(f'{pattern}: an HTTP server cannot list files; write {{000..127}}, not *')
    store, _ = _store_of(pattern)
    found = _attempt(pattern, lambda: _of_store(pattern, 'glob'))
    return sorted(map(store.unstrip_protocol, found))


def forget_handles() -> None:
    """Close the files that are kept open: others may have replaced them."""
    _handle.cache_clear()


class _Handle:
    """Open file, closed when the last reference is dropped."""

    def __init__(self, path: str):
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self):
        if hasattr(self, 'descriptor'):
            os.close(self.descriptor)


# `pread` has no position, so threads and forked processes may share a file.
_handle = lru_cache(maxsize=HANDLES)(_Handle)


def _local(path: str, start: int, size: int) -> bytes:
    """Return bytes of a file on a disk; one call of `pread` returns at most 2 GiB."""
    handle, parts, done = _handle(path), [b''], 0
    while done < size and (part := os.pread(handle.descriptor, size - done, start + done)):
        parts.append(part)
        done += len(part)
    return b''.join(parts)


def _attempt(path: str, read: Callable[[], T]) -> T:
    """Return what `read` returns, after a few attempts if the server fails."""
    waits = iter(WAITS)
    while True:
        try:
            return read()
        except (FileNotFoundError, PermissionError, NoRanges):
            raise
        except HTTPError as error:
            wait = next(waits, None) if error.code in TEMPORARY else None
            if wait is None:
                raise LASTING.get(error.code, OSError)(f'{path}: {error}') from error
        except (HTTPException, OSError) as error:  # of sockets and of object stores
            if (wait := next(waits, None)) is None:
                raise OSError(f'{path}: {str(error) or type(error).__name__}') from error
        time.sleep(wait)


class NoRanges(OSError):
    """Error for a server that sends whole files."""


def _http(path: str, start: int, size: int) -> tuple[bytes, int]:
    """Return a range of bytes and the size of the whole file."""
    headers = {'Range': f'bytes={start}-{start + size - 1}', 'Accept-Encoding': 'identity'}
    try:
        with urlopen(Request(path, headers=headers), timeout=TIMEOUT) as response:
            total = re.fullmatch(
                rf'bytes {start}-\d+/(\d+)', response.headers.get('Content-Range') or ''
            )
            if response.status != 206 or not total:
                raise NoRanges(
                    f'{path}: the server sends no ranges of bytes (HTTP status {response.status}, '
                    f'Content-Range: {response.headers.get("Content-Range")}); copy the shards to '
                    'a disk, or use a server with ranges'
                )
            data = response.read(size)
            if len(data) < min(size, int(total[1]) - start):
                raise ConnectionError(f'the connection ended after {len(data)} bytes')
            return data, int(total[1])
    except HTTPError as error:
        past = re.fullmatch(r'bytes \*/(\d+)', error.headers.get('Content-Range') or '')
        if error.code == 416 and past:  # nothing at `start`
            return b'', int(past[1])
        raise


def _store_of(path: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it; made anew in a forked process."""
    import fsspec  # torch needs it, too

    try:
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        kind = path.partition('://')[0]
        extra = "'lomar-openmmlab[s3]'" if kind in ('s3', 's3a') else f'the package of {error}'
        raise ImportError(f'{kind}:// needs pip install {extra}') from error


def _of_store(path: str, method: str, **kwargs) -> Any:
    """Return the result of a method of an object store for an address."""
    store, name = _store_of(path)
    try:
        return getattr(store, method)(name, **kwargs)
    except OSError:
        raise
    except Exception as error:  # each store has its own classes of errors
        raise OSError(f'{type(error).__name__}: {error}') from error

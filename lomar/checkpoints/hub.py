"""Checkpoints on the Hugging Face Hub, by names such as hf://ORG/NAME or hf://ORG/NAME@REVISION."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lomar.checkpoints.json_values import CONFIG
from lomar.checkpoints.published import WEIGHTS

SCHEME = re.compile('^hf:/{1,2}')  # `Path` joins the two slashes
PART = r'[A-Za-z0-9_](?:[\w.-]{0,94}[\w])?'
NAME = re.compile(rf'({PART}/{PART})(?:@([\w./-]+))?', re.ASCII)
LEVEL = RLock()  # held while the level of a logger is changed
SECONDS = 5  # to wait for an answer of the hub before the files in the cache are used


class Repository(NamedTuple):
    """A model repository on the hub; without a revision, its main branch."""

    name: str
    revision: str | None

    def __str__(self) -> str:
        return f'hf://{self.name}' + (f'@{self.revision}' if self.revision else '')


def is_hub_name(path: str | Path) -> bool:
    """Return whether a checkpoint is named by hf://..."""
    return bool(SCHEME.match(str(path)))


def repository(text: str) -> Repository:
    """Return the repository that ORG/NAME or ORG/NAME@REVISION names, with or without hf://.

    Raises:
        ValueError: the name is malformed.
    """
    found = NAME.fullmatch(SCHEME.sub('', text))
    if not found or '..' in text or '--' in found[1]:
        raise ValueError(
            f'{text!r} names no repository of the Hugging Face Hub; allowed: ORG/NAME, for a '
            'checkpoint hf://ORG/NAME or hf://ORG/NAME@REVISION; letters, digits, ".", "_", "-"'
        )
    return Repository(found[1], found[2])


def download(path: str | Path) -> Path:
    """Return the local folder with config.json and model.safetensors of a repository.

    The files are in the cache of huggingface_hub, and are downloaded if they have changed.

    Raises:
        ImportError: huggingface_hub is not installed.
        ValueError: the name is malformed, or the repository, the revision or a file is missing.
    """
    source = repository(str(path))
    hub = _library(str(source))
    with _one_line(hub, str(source), cause := _unreachable(hub, source)):
        config = _fetch(hub, source.name, CONFIG, source.revision, cause)
        # Both files are of the commit that the first one has.
        _fetch(hub, source.name, WEIGHTS, config.parent.name, cause)
    return config.parent


def optional_file(path: str | Path, name: str) -> Path | None:
    """Return the local copy of another file of a repository, or None if it has no such file.

    Errors are those of `download`.
    """
    source = repository(str(path))
    hub = _library(str(source))
    with _one_line(hub, str(source), cause := _unreachable(hub, source)):
        try:
            return _fetch(hub, source.name, name, source.revision, cause)
        except hub.errors.LocalEntryNotFoundError:
            raise
        except hub.errors.EntryNotFoundError:
            return None


def _fetch(hub: ModuleType, name: str, file: str, revision: str | None, cause: str) -> Path:
    """Return the local copy of a file; with a `cause` not to ask the hub, only from the cache."""
    cached: dict[str, Any] = dict(local_files_only=True) if cause else {}
    return Path(hub.hf_hub_download(name, file, revision=revision, **cached))


def _unreachable(hub: ModuleType, source: Repository) -> str:
    """Return why the hub cannot be asked, or ''.

    Without this request, huggingface_hub repeats its own for 23 seconds, and prints each failure.
    """
    errors = hub.errors  # those that tell what is missing on the hub
    known = errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError
    address = hub.hf_hub_url(source.name, CONFIG, revision=source.revision)
    try:
        with _quiet():
            hub.get_hf_file_metadata(address, timeout=SECONDS)
    except known:
        return ''
    except errors.OfflineModeIsEnabled:
        return 'HF_HUB_OFFLINE is set'
    except errors.HfHubHTTPError as error:
        code = 'an error' if error.response is None else f'HTTP {error.response.status_code}'
        return f'{_host(address)} answers {code}'
    except Exception as error:  # of the HTTP client, which is another one in each major release
        return f'{_host(address)} cannot be reached: {_first_line(error)}'
    return ''


def _host(address: str) -> str:
    parts = urlsplit(address)
    return f'{parts.scheme}://{parts.netloc}'


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the warnings of huggingface_hub; other threads wait."""
    logger = logging.getLogger('huggingface_hub')
    with LEVEL:
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def push(folder: Path, name: str, files: Sequence[str]) -> str:
    """Upload files of a folder to a repository, which is created if it is missing; return its URL.

    Raises:
        ImportError: huggingface_hub is not installed.
        ValueError: the hub refuses the name, the login or the files.
    """
    target = check_push(name)
    hub = _library('--push')
    with _one_line(hub, f'--push {name}'):
        api = hub.HfApi(library_name='lomar')
        url = api.create_repo(target.name, exist_ok=True)
        api.upload_folder(
            repo_id=target.name,
            folder_path=folder,
            allow_patterns=list(files),
            commit_message='lomar publish',
        )
    return str(url)


def check_push(name: str) -> Repository:
    """Return the repository of `--push`; raise a ValueError for a malformed name or a revision."""
    target = repository(name)
    if target.revision:
        raise ValueError(f'--push {name} has a revision; allowed: ORG/NAME')
    _library('--push')
    return target


def _library(what: str) -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        advice = "pip install 'lomar-openmmlab[hub]'"
        raise ImportError(f'{what} needs huggingface_hub: {advice}') from error
    return huggingface_hub


@contextmanager
def _one_line(hub: ModuleType, what: str, cause: str = '') -> Iterator[None]:
    """Turn the errors of huggingface_hub, whose texts are long, into a ValueError of one line.

    Args:
        cause: why the hub cannot be asked.
    """
    errors = hub.errors
    reasons = (
        (errors.GatedRepoError, 'access to the repository is restricted; request it, then log in'),
        (errors.RevisionNotFoundError, 'the repository has no such revision'),
        (
            errors.RepositoryNotFoundError,
            'the hub has no such repository, or it is private: log in with `hf auth login`',
        ),
        (
            errors.LocalEntryNotFoundError,
            f'{cause or "the hub does not answer"}, and the files are not in the cache, '
            f'{hub.constants.HF_HUB_CACHE}; check the network, or set HF_ENDPOINT to a mirror, or '
            'give a folder that `hf download` wrote elsewhere',
        ),
        (errors.OfflineModeIsEnabled, 'HF_HUB_OFFLINE is set'),
        (errors.EntryNotFoundError, f'the repository has no {CONFIG} or no {WEIGHTS}'),
    )
    try:
        with _quiet():
            yield
    except Exception as error:  # of the HTTP client, too
        reason = next((text for kind, text in reasons if isinstance(error, kind)), None)
        raise ValueError(f'{what}: {reason or _first_line(error)}') from error

"""Checkpoints on the Hugging Face Hub, by names such as hf://ORG/NAME or hf://ORG/NAME@REVISION."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from lomar.checkpoints.json_values import CONFIG
from lomar.checkpoints.published import WEIGHTS

SCHEME = re.compile('^hf:/{1,2}')  # `Path` joins the two slashes
PART = r'[A-Za-z0-9_](?:[\w.-]{0,94}[\w])?'
NAME = re.compile(rf'({PART}/{PART})(?:@([\w./-]+))?', re.ASCII)


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
    with _one_line(hub, str(source)):
        config = hub.hf_hub_download(source.name, CONFIG, revision=source.revision)
        # Both files are of the commit that the first one has.
        commit = Path(config).parent.name
        hub.hf_hub_download(source.name, WEIGHTS, revision=commit)
    return Path(config).parent


def optional_file(path: str | Path, name: str) -> Path | None:
    """Return the local copy of another file of a repository, or None if it has no such file.

    Errors are those of `download`.
    """
    source = repository(str(path))
    hub = _library(str(source))
    with _one_line(hub, str(source)):
        try:
            return Path(hub.hf_hub_download(source.name, name, revision=source.revision))
        except hub.errors.LocalEntryNotFoundError:
            raise
        except hub.errors.EntryNotFoundError:
            return None


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
    except ImportError as error:
        advice = "pip install 'lomar-openmmlab[hub]'"
        raise ImportError(f'{what} needs huggingface_hub: {advice}') from error
    return huggingface_hub


@contextmanager
def _one_line(hub: ModuleType, what: str) -> Iterator[None]:
    """Turn the errors of huggingface_hub, whose texts are long, into a ValueError of one line."""
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
            'the hub cannot be reached (or HF_HUB_OFFLINE is set), and the files are not in the '
            'local cache',
        ),
        (errors.OfflineModeIsEnabled, 'HF_HUB_OFFLINE is set'),
        (errors.EntryNotFoundError, f'the repository has no {CONFIG} or no {WEIGHTS}'),
    )
    try:
        yield
    except (OSError, ValueError, errors.EntryNotFoundError) as error:
        reason = next((text for kind, text in reasons if isinstance(error, kind)), None)
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f'{what}: {reason or first}') from error

"""Metrics of a checkpoint to publish: the file of `lomar test`, compared by SHA-256."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lomar.checkpoints import hub
from lomar.checkpoints.published import WEIGHTS, weights_file
from lomar.utils import sha256

METRICS = 'metrics.json'
# In metrics.json: of the tested file. In `meta` of a published folder: of the published checkpoint.
KEY = 'checkpoint_sha256'


def local_file(path: str | Path) -> Path:
    """Return the file with the weights of a checkpoint, for hf:// the one in the cache."""
    return hub.download(path) / WEIGHTS if hub.is_hub_name(path) else weights_file(path)


def checkpoint_digests(path: str | Path, content: Mapping) -> list[str]:
    """Return the SHA-256 values that metrics of a checkpoint may name.

    The first is that of the checkpoint of the training. A published folder records it, and its own
    file follows.
    """
    meta = content.get('meta')
    recorded = meta.get(KEY) if isinstance(meta, Mapping) else None
    known = [recorded] if recorded and isinstance(recorded, str) else []
    return [*known, sha256(local_file(path))]


def metrics_of(
    path: str | Path, digests: Sequence[str], weights: str, given: str | Path | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the metrics of a checkpoint, or None, and notes about metrics that are left out.

    Metrics of a published folder are those of the folder, or of the checkpoint that was published.

    Args:
        digests: result of `checkpoint_digests`.
        weights: 'plain' or 'ema'.
        given: file with metrics; None = metrics.json beside the weights.

    Raises:
        FileNotFoundError: the given file does not exist.
        ValueError: the file has no metrics, or the given file those of another checkpoint.
    """
    try:
        file = Path(given).expanduser() if given else _beside(path)
    except ValueError as error:  # of the hub
        return None, [f'the metrics are left out: {error}']
    if file is None or (given is None and (weights == 'ema' or not file.is_file())):
        return None, []
    found = _read(file)
    if found.get(KEY) in digests:
        return found, []
    tested = found.get('checkpoint')
    other = f'{file} has the metrics of another file, {tested}'
    if not found.get(KEY):
        other = f'{file} has no SHA-256 of the tested file, {tested}'
    if given:
        raise ValueError(
            f'--metrics: {other}; allowed: those that `lomar test CONFIG {path}` writes'
        )
    return None, [f'{other}, and is left out; --metrics FILE names the metrics of this one']


def _beside(path: str | Path) -> Path | None:
    if hub.is_hub_name(path):
        return hub.optional_file(path, METRICS)
    return weights_file(path).parent / METRICS


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{file} is no JSON file: {error}') from error
    if not isinstance(found, dict) or not isinstance(found.get('metrics'), dict):
        raise ValueError(f'{file} has no metrics; allowed: a metrics.json of `lomar test`')
    return found

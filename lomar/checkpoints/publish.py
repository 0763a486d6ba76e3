"""Publication of a checkpoint: a folder with weights, config, metrics and a model card."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lomar.checkpoints import origin
from lomar.checkpoints.config_reader import read_configs
from lomar.checkpoints.files import load_file, naming
from lomar.checkpoints.hub import is_hub_name
from lomar.checkpoints.json_values import CONFIG, encode
from lomar.checkpoints.licenses import checked_license
from lomar.checkpoints.measured import KEY, METRICS, checkpoint_digests, metrics_of
from lomar.checkpoints.model_card import Card, local_paths
from lomar.checkpoints.published import SECTION, WEIGHTS, as_section, weights_file
from lomar.checkpoints.safetensors_file import write_safetensors
from lomar.checkpoints.timm_config import no_timm_config, timm_config
from lomar.checkpoints.trained_model import trained_model
from lomar.checkpoints.unwrap import unwrap
from lomar.utils import atomic_write, check_new, write_json

CARD = 'README.md'
# Entries of `meta` that are published. Others belong to a training that is to be resumed.
META = ('epoch', 'iter', 'seed', 'time', 'experiment_name', 'mmengine_version', 'run_record')
CLASSES = ('classes', 'CLASSES', 'palette', 'PALETTE')


@dataclass
class Publication:
    """A published folder.

    Attributes:
        files: names of its files.
        tensors: number of tensors, all of which were read again and compared.
        license: identifier of the licence, or None if it is unknown.
        notes: what the user should know before others read the folder.
    """

    folder: Path
    files: list[str]
    tensors: int
    license: str | None
    notes: list[str]


def publish(
    path: str | Path,
    folder: str | Path,
    weights: str = 'plain',
    metrics: str | Path | None = None,
    license: str | None = None,
    place: str | None = None,
    overwrite: bool = False,
) -> Publication:
    """Write a checkpoint as a folder for others, read the folder again, and compare all tensors.

    Args:
        path: checkpoint of a training.
        folder: folder to write.
        weights: 'plain', or 'ema' for the moving average in the checkpoint.
        metrics: file of `lomar test`; None = metrics.json beside the checkpoint, if it is of this
            checkpoint, or of the one from which a folder was published.
        license: identifier of the hub, or other:NAME; None = that of a published folder, or else
            of the weights at the start, if known.
        place: hf://ORG/NAME for the examples in the model card; None = the name of the folder.
        overwrite: whether files in the folder are replaced.

    Raises:
        FileNotFoundError: the checkpoint or the file with metrics does not exist.
        ValueError: the checkpoint is not of a training, or has values that cannot be published;
            the metrics are of another checkpoint, or the licence is unknown to the hub.
    """
    folder = Path(folder).expanduser()
    _check_folder(path, folder, overwrite)
    license = checked_license(license) if license else None
    content, trained = load_file(path), trained_model(path, weights, 'cpu')
    digests = checkpoint_digests(path, content)
    measured, notes = metrics_of(path, digests, weights, metrics)
    _check_metrics_kept(folder, measured)
    with naming(path):
        named = unwrap(content, weights)
        starts = origin.starts(content)
        licence = origin.licence(starts)
        if given := origin.stated(content):
            licence = origin.Licence(given, f'{path} was published under {given}')
        chosen = license or licence.license
        config = next(iter(read_configs(content).values())).to_dict()
        meta = _meta(content.get('meta') or {}, starts, chosen)
        meta[KEY] = digests[0]
        written: dict[str, Any] = {SECTION: as_section(config, meta)}
        settings, no_timm = _timm_settings(content, named, trained)
        if trained.kind == 'classifier' and trained.classes:
            settings['label_names'] = list(trained.classes)
    card = Card(
        *(trained.kind, place or folder.resolve().name, config, meta, trained.classes),
        *(chosen, starts, licence, no_timm, measured),
    )
    files = _write(folder, named, {**settings, **written}, card, measured)
    _compare(folder, named, config, meta)
    notes += _notes(license, licence, [config, measured])
    return Publication(folder, files, len(named), chosen, notes)


def _check_folder(path: str | Path, folder: Path, overwrite: bool) -> None:
    if os.path.lexists(folder) and not folder.is_dir():
        raise ValueError(f'DIR {folder} is a file; allowed: a folder, or a new name')
    files = [folder / name for name in (WEIGHTS, CONFIG, CARD, METRICS)]
    source = None if is_hub_name(path) else weights_file(path)
    if source and source.exists() and any(f.exists() and f.samefile(source) for f in files):
        raise ValueError(f'DIR {folder} has the checkpoint itself; name another folder')
    check_new('DIR', *files, overwrite=overwrite)


def _check_metrics_kept(folder: Path, measured: Mapping | None) -> None:
    """Raise a ValueError if metrics that no publication wrote would be removed."""
    if measured is None and (folder / METRICS).exists() and not (folder / CONFIG).exists():
        raise ValueError(
            f'DIR {folder} has a {METRICS} of another checkpoint, which would be lost; allowed: '
            'another folder, or --metrics FILE'
        )


def _timm_settings(content: Any, named: dict[str, Tensor], trained: Any) -> tuple[dict, str]:
    """Return timm's settings of a model, and why timm cannot build it, '' if it can."""
    try:
        return timm_config(content, named, trained.model, trained.kind), ''
    except ValueError as error:
        return no_timm_config(trained.kind), str(error).split('\n')[0]


def _meta(meta: Mapping, starts: list[origin.Start], license: str | None) -> dict[str, Any]:
    """Return the entries of `meta` to publish."""
    kept = {key: meta[key] for key in META if key in meta}
    if isinstance(record := kept.get('run_record'), Mapping):
        # Names of parameters belong to the state of the optimizer.
        kept['run_record'] = {key: each for key, each in record.items() if key != 'parameters'}
    given = meta.get('dataset_meta')
    found = {key: given[key] for key in CLASSES if key in given} if given else {}
    kept |= {key: meta[key] for key in CLASSES if key in meta}  # of mmdet 2
    kept |= {'dataset_meta': found, origin.KEY: [each._asdict() for each in starts]}
    return kept | ({origin.LICENSE: license} if license else {})


def _write(
    folder: Path, weights: dict[str, Tensor], config: dict, card: Card, metrics: Mapping | None
) -> list[str]:
    """Write the files; config.json is the last one, so that an unfinished folder is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (CONFIG, METRICS):
        (folder / old).unlink(missing_ok=True)
    write_safetensors(folder / WEIGHTS, weights)
    if metrics is not None:
        write_json(folder / METRICS, metrics)
    with atomic_write(folder / CARD) as part:
        part.write_text(str(card), encoding='utf-8')
    write_json(folder / CONFIG, config)
    return [WEIGHTS, CONFIG, CARD, *([METRICS] if metrics is not None else [])]


def _compare(folder: Path, weights: dict[str, Tensor], config: dict, meta: dict) -> None:
    """Read the folder again; raise an OSError unless it holds what was to be written."""
    found = load_file(folder)
    read = found['state_dict']
    wrong = [name for name in weights if name not in read or not _equal(weights[name], read[name])]
    wrong += [name for name in read if name not in weights]
    text = read_configs(found)["meta['cfg']"].to_dict()
    stored = {key: value for key, value in found['meta'].items() if key != 'cfg'}
    for what, pair in dict(config=(text, config), meta=(stored, meta)).items():
        if len({json.dumps(encode(each)) for each in pair}) > 1:
            wrong.append(f'the {what}')
    if wrong:
        raise OSError(f'{folder} was not written correctly: {", ".join(wrong[:5])} differ')


def _equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal to the bit."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(each.flatten().view(torch.uint8) for each in (one, other)))


def _notes(license: str | None, found: origin.Licence, published: list) -> list[str]:
    notes = []
    if license is None and found.license is None:
        notes.append(f'the licence is unknown: {found.reason}; --license ID states it')
    elif license and found.license and license != found.license:
        notes.append(f'--license is {license}, but {found.reason}')
    if paths := local_paths(published):
        listed = ', '.join(paths[:3]) + (', ...' if len(paths) > 3 else '')
        notes.append(f'the files name {len(paths)} paths of this machine: {listed}')
    return notes

"""Conversion of checkpoints between the parameter names of projects, with verification."""

import argparse
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lomar.checkpoints import names
from lomar.checkpoints.architecture import LOMAR_RPE, Architecture, read_architecture
from lomar.checkpoints.class_names import stored_classes
from lomar.checkpoints.files import load_file, naming
from lomar.checkpoints.published import weights_file
from lomar.checkpoints.safetensors_file import separate, write_safetensors
from lomar.checkpoints.trained_settings import (
    HEADS,
    MEAN,
    STD,
    is_imagenet,
    trained_rpe,
    trained_settings,
)
from lomar.checkpoints.unwrap import unwrap
from lomar.checkpoints.verify import largest_difference
from lomar.utils import atomic_write, check_new

SHOWN = 5  # class names in a note
SUFFIXES = ('.pth', '.pt', '.bin', '.safetensors')


@dataclass
class Conversion:
    """Result of a conversion: weights under new names, and the new name of every weight.

    Attributes:
        encoder: architecture of the source model.
        becomes: target name by source name; for an omitted weight, the reason in brackets.
        check: largest difference between source and target model, or why it was not computed.
        arguments: arguments of the training run, if the file contains them.
        notes: settings of the training that the new file does not contain.
    """

    weights: dict[str, Tensor]
    encoder: Architecture
    becomes: dict[str, str]
    check: str = ''
    arguments: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = Counter(
            tuple(re.sub(r'\b(blocks|layers)\.\d+', r'\1.*', name) for name in row)
            for row in self.becomes.items()
        )
        width = max(len(old) for old, _ in rows)
        kept = [new == old for old, new in self.becomes.items() if not new.startswith('(')]
        lines = [f'encoder: {self.encoder}']
        if self.arguments:
            text = ', '.join(f'{k}={v!r}' for k, v in sorted(self.arguments.items()))
            lines += textwrap.wrap(f'arguments of the training run: {text}', 100)
        lines += [f'  {count:>4} x  {old:<{width}}  {new}' for (old, new), count in rows.items()]
        lines.append(
            f'{sum(kept)} matched, {len(kept) - sum(kept)} renamed, '
            f'{len(self.becomes) - len(kept)} left out'
        )
        return '\n'.join([*lines, self.check, *self.notes])


def convert(
    weights: dict[str, Tensor], source: str, target: str, num_heads: int | None = None
) -> Conversion:
    """Rename weights for another project, check every weight, and compare the two models.

    Args:
        source: one of `names.SOURCES`.
        target: one of `names.TARGETS`.
        num_heads: number of heads; required for absolute positions and an unusual size.

    Raises:
        ValueError: weights are not from the source, do not form a model, or do not fit the
            target. The message names every such weight.
    """
    own, by_timm = names.without_prefix(weights), names.timm_names(weights)
    names.check_source(own.values(), source)
    left_out = names.unused(by_timm.values())
    read = {old: name for old, name in by_timm.items() if name not in left_out}
    encoder = read_architecture({name: weights[old] for old, name in read.items()}, num_heads)
    _check_weights(weights, read, encoder, source)
    _check_target(encoder, target)
    becomes = names.target_names(weights, target)
    converted = {new: weights[old] for old, new in becomes.items() if not new.startswith('(')}
    before = {own[old]: weights[old] for old in read}
    check = largest_difference(before, converted, source, target, encoder)
    return Conversion(converted, encoder, becomes, check)


def convert_file(
    path: str | Path,
    out: str | Path,
    source: str,
    target: str,
    num_heads: int | None = None,
    weights: str = 'plain',
    overwrite: bool = True,
) -> Conversion:
    """Convert the weights of a file and write a new file; its extension selects the format.

    Args:
        weights: 'plain' or 'ema', see `unwrap`.
        overwrite: whether `out` is replaced if it exists.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: the file is refused or cannot be converted; the message names the file.
    """
    out, read = Path(out), weights_file(path)
    if out.suffix not in SUFFIXES:
        raise ValueError(f"{out} ends in '{out.suffix}'; allowed: {', '.join(SUFFIXES)}")
    check_new('OUT', out, overwrite=overwrite, inputs=[read])
    content = load_file(path)
    with naming(f'{path} (--from {source} --to {target})'):
        trained = trained_settings(content)
        check_rpe(trained)
        heads = trained.get(HEADS) if num_heads is None else num_heads
        conversion = convert(unwrap(content, weights), source, target, heads)
    arguments = content.get('args')
    if isinstance(arguments, argparse.Namespace):
        conversion.arguments = vars(arguments)
    classes = stored_classes(content)
    if not is_imagenet(trained):
        conversion.notes.append(
            f'note: the new file does not contain mean={trained.get(MEAN)} and '
            f'std={trained.get(STD)} of the training: commands assume those of ImageNet, unless '
            '--mean and --std are given'
        )
    keeps = target == 'classifier' and out.suffix != '.safetensors'
    if classes and not keeps and any(name.startswith('head.') for name in conversion.weights):
        conversion.notes.append(
            f'note: the new file does not contain the class names {", ".join(classes[:SHOWN])}'
            f'{", ..." * (len(classes) > SHOWN)}; --to classifier and a .pth file keep them'
        )
    _save(conversion.weights, out, target, classes if keeps else ())
    return conversion


def check_rpe(trained: dict) -> None:
    """Raise a ValueError if the training had iRPE of another method or ratio than LoMaR's."""
    stored = trained_rpe(trained)
    usual = {key: LOMAR_RPE[key] for key in stored}
    if stored != usual:
        raise ValueError(f'the weights were trained with iRPE of {stored}; allowed: {usual}')


def _save(weights: dict[str, Tensor], out: Path, target: str, classes: Sequence[str]) -> None:
    if out.suffix == '.safetensors':
        write_safetensors(out, weights)
        return
    meta = dict(meta=dict(dataset_meta=dict(classes=classes))) if classes else {}
    key = 'model' if target == 'detectron2' else 'state_dict'
    with atomic_write(out) as part:
        # Tensors that share storage would be stored with the whole storage.
        torch.save({**meta, key: separate(weights)}, part)


def _check_weights(
    weights: dict[str, Tensor], read: dict[str, str], encoder: Architecture, source: str
) -> None:
    """Raise a ValueError unless the weights are exactly those of the encoder, by name and shape."""
    expected = encoder.shapes()
    if source in ('official', 'mae'):  # whose models always have one
        expected['cls_token'] = (1, 1, encoder.backbone['arch']['embed_dim'])
    wrong = [f'  missing: {name} {expected[name]}' for name in expected.keys() - read.values()]
    seen = set()
    for old, name in read.items():
        found = tuple(weights[old].shape)
        if name not in expected or name in seen:
            wrong.append(f'  without a place: {old} {found}')
        elif found != expected[name]:
            wrong.append(f'  wrong shape: {old} {found}; allowed: {expected[name]}')
        seen.add(name)
    if wrong:
        raise ValueError(
            f'{len(wrong)} weights do not fit the encoder that the others make up ({encoder}):\n'
            + '\n'.join(sorted(wrong))
            + "\nMissing ones have timm's names. Convert an undamaged file of a plain encoder."
        )


def _check_target(encoder: Architecture, target: str) -> None:
    rpe = encoder.backbone['rpe']
    if target == 'detectron2' and rpe:
        raise ValueError(
            'the weights have iRPE, and detectron2 has no iRPE: its ViTDet knows absolute and '
            'decomposed relative positions only, so that these weights would run without any '
            'position. Allowed: weights of MAE. For LoMaR use this package with mmdet '
            '(docs/detection.md).'
        )
    if target == 'timm' and rpe not in (None, LOMAR_RPE):
        raise ValueError(f'the weights have iRPE with {rpe}; --to timm allows {LOMAR_RPE}')
    needed = {
        'lomar': "LoMaR pretraining model with iRPE, 'mask_token' and prediction head",
        'classifier': 'classification head',
    }
    there = {'lomar': encoder.predicted and rpe, 'classifier': encoder.classes}
    if target in needed and not there[target]:
        allowed = ['backbone', 'timm', *(name for name, found in there.items() if found)]
        raise ValueError(
            f'--to {target} needs a {needed[target]}; found: {encoder}. Allowed here: '
            f'--to {", ".join(allowed)}'
        )

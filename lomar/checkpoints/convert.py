"""Checkpoints from one project's names to another's, with a table and a check of the result."""

import argparse
import io
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.fileio import LocalBackend
from safetensors.torch import save as save_safetensors
from torch import Tensor

from lomar.checkpoints import names
from lomar.checkpoints.architecture import Architecture, read_architecture
from lomar.checkpoints.files import load_file
from lomar.checkpoints.unwrap import strip_wrappers, unwrap
from lomar.checkpoints.verify import largest_difference

SUFFIXES = ('.pth', '.pt', '.bin', '.safetensors')


@dataclass
class Conversion:
    """The weights under their new names, and what became of each.

    Attributes:
        encoder: what the weights belong to.
        becomes: source's name -> target's name, or the reason why it is left out in brackets.
        check: how far source and target model are apart, or why that is not known.
        arguments: of the training run, where the file holds them.
    """

    weights: dict[str, Tensor]
    encoder: Architecture
    becomes: dict[str, str]
    check: str = ''
    arguments: dict = field(default_factory=dict)

    def __str__(self) -> str:
        rows: dict[tuple[str, str], int] = {}
        for row in self.becomes.items():
            row = tuple(re.sub(r'\b(blocks|layers)\.\d+', r'\1.*', name) for name in row)
            rows[row] = rows.get(row, 0) + 1
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
        return '\n'.join([*lines, self.check])


def convert(
    weights: dict[str, Tensor], source: str, target: str, num_heads: int | None = None
) -> Conversion:
    """Give weights another project's names, check them one by one, and compare the two models.

    Args:
        source: one of `names.SOURCES`.
        target: one of `names.TARGETS`.
        num_heads: of an encoder with absolute positions and an unusual size, for the comparison.

    Raises:
        ValueError: weights that are not the source's, do not make up a model, or do not serve the
            target; the message names every one of them.
    """
    weights = strip_wrappers(weights)
    _check_source(weights, source)
    becomes, read = {}, {}
    for name in weights:
        reason = names.why_unread(source, name)
        becomes[name] = f'({reason})' if reason else ''
        if not reason:
            read[name] = names.read_name(source, name)
    by_timm = {new: weights[old] for old, new in read.items()}
    encoder = read_architecture(by_timm, source in ('official', 'mae'), num_heads)
    _check_weights(weights, read, encoder)
    _check_target(encoder, target)
    converted = {}
    for old, name in read.items():
        reason = names.why_unwritten(target, name)
        becomes[old] = f'({reason})' if reason else names.write_name(target, name)
        if not reason:
            converted[becomes[old]] = weights[old]
    check = largest_difference(weights, converted, source, target, encoder)
    return Conversion(converted, encoder, becomes, check)


def convert_file(
    path: str | Path, out: str | Path, source: str, target: str, num_heads: int | None = None
) -> Conversion:
    """`convert` from file to file; names ending in .safetensors are written and read as such.

    Raises:
        FileNotFoundError: there is no file at `path`.
        ValueError: the file is refused or does not convert; the message names it.
    """
    path, out = Path(path), Path(out)
    if out.suffix not in SUFFIXES:
        raise ValueError(f"{out} ends in '{out.suffix}'; allowed: {', '.join(SUFFIXES)}")
    content = load_file(path)
    if out.exists() and out.samefile(path):
        raise ValueError(f'{out} is the source itself; name another file')
    try:
        conversion = convert(unwrap(content), source, target, num_heads)
    except ValueError as error:
        raise ValueError(f'{path} (--from {source} --to {target}): {error}') from error
    arguments = content.get('args')
    if isinstance(arguments, argparse.Namespace):
        conversion.arguments = vars(arguments)
    _save(conversion.weights, out, target)
    return conversion


def _save(weights: dict[str, Tensor], out: Path, target: str) -> None:
    # A copy each: what the file holds must not depend on the storage that tensors happen to share.
    weights = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }
    if out.suffix == '.safetensors':
        data = save_safetensors(weights, metadata={'format': 'pt'})
    else:
        buffer = io.BytesIO()
        torch.save({'model' if target == 'detectron2' else 'state_dict': weights}, buffer)
        data = buffer.getvalue()
    LocalBackend().put(data, str(out))


def _check_source(weights: dict[str, Tensor], source: str) -> None:
    possible = names.sources_of(weights)
    if source not in possible:
        found = ', '.join(list(weights)[:3])
        hint = f'try --from {" or ".join(possible)}' if possible else 'no known source has them'
        raise ValueError(f"the names are not those of '{source}' (found: {found}, ...); {hint}")


def _check_weights(weights: dict[str, Tensor], read: dict[str, str], encoder: Architecture) -> None:
    """Every weight of the encoder has to be there once, in its shape, and nothing else."""
    expected = encoder.shapes()
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
            + "\nMissing ones are given by timm's names. Convert an undamaged file of a plain "
            "encoder; with iRPE, one with LoMaR's default options."
        )


def _check_target(encoder: Architecture, target: str) -> None:
    if target == 'detectron2' and encoder.position == 'irpe':
        raise ValueError(
            'the weights have iRPE, and detectron2 has no iRPE: its ViTDet knows absolute and '
            'decomposed relative positions only, so that these weights would run without any '
            'position. Allowed: weights of MAE. For LoMaR use this package with mmdet '
            '(docs/detection.md).'
        )
    if target == 'lomar' and not (encoder.predicted and encoder.position == 'irpe'):
        raise ValueError(
            f"--to lomar needs a LoMaR pretraining model with iRPE, 'mask_token' and prediction "
            f'head; found: {encoder}. Allowed here: --to backbone, timm'
            f'{", classifier" if encoder.classes else ""}.'
        )
    if target == 'classifier' and not encoder.classes:
        raise ValueError(
            f'--to classifier needs a classification head; found: {encoder}. Use --to backbone and '
            'train a head on it.'
        )

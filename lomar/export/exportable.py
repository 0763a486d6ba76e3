"""The part of a checkpoint that is exported, from the checkpoint alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lomar import __version__
from lomar.checkpoints import load_file, stored_config, trained_model
from lomar.checkpoints.files import naming
from lomar.checkpoints.trained_model import TrainedModel
from lomar.checkpoints.trained_settings import MEAN, STD, trained_settings
from lomar.datasets.reading import LOADERS, RENAMED, training_reading
from lomar.encoder import Encoder
from lomar.export.graphs import ClassifierGraph, EncoderGraph, FeaturesGraph, RawPixels
from lomar.utils import check_choice, dicts_in, preprocessor_of, type_name

PARTS = dict(pretraining='encoder', classifier='classifier', detector='features')
CONVERSIONS = ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')


@dataclass
class Exportable:
    """Module from raw pixels to named tensors, and a description for the file.

    Attributes:
        graph: the module, on the CPU in evaluation mode.
        facts: names and values for the metadata of the file: `part`, `mean`, `std`, `channels`,
            `pixels`, `value_range` if there is one, `patch_size`, `classes`, `version`.
        pad_divisor: the detector pads images to multiples of this number of pixels; 1 = no padding.
    """

    graph: RawPixels
    facts: dict[str, Any]
    pad_divisor: int = 1

    def metadata(self, size: tuple[int, int], outputs: Sequence[str]) -> dict[str, str]:
        """Return the facts with the size in pixels and the names of the outputs, as JSON texts."""
        facts = dict(size=list(size), outputs=list(outputs), **self.facts)
        return {f'lomar.{name}': json.dumps(value) for name, value in facts.items()}


def exportable(
    path: str | Path,
    part: str | None = None,
    weights: str = 'plain',
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    num_heads: int | None = None,
) -> Exportable:
    """Return a part of the model of a checkpoint.

    Args:
        path: for 'encoder', a checkpoint that `lomar.Encoder` reads; else that of a training run.
        part: 'encoder', 'classifier' or 'features' (of a detector); None = by the stored config,
            'encoder' without a config.
        weights: 'plain', or 'ema' for the moving average in the file.
        mean, std: for 'encoder', one number per channel; None = as in the stored config or timm's
            config.json, else ImageNet's.
        num_heads: for 'encoder', as for `lomar.Encoder`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the checkpoint has no such part; see `trained_model` and `lomar.Encoder`.
    """
    found: TrainedModel | None = None
    if part is None:
        content = load_file(path)
        found = trained_model(path, weights, 'cpu') if stored_config(content) else None
        part = _part(path, found) if found else 'encoder'
    check_choice('--what', part, PARTS.values())
    if part == 'encoder':
        return _encoder(path, weights, mean, std, num_heads)
    if given := [name for name, value in (('mean', mean), ('std', std)) if value is not None]:
        raise ValueError(f'--{given[0]} is for --what encoder; --what {part} has its own')
    found = found or trained_model(path, weights, 'cpu')
    if _part(path, found) != part:
        allowed = {PARTS[found.kind], *(['encoder'] if found.kind == 'classifier' else [])}
        raise ValueError(
            f'{path}: --what is {part}, and the checkpoint is of a {found.kind}; allowed: '
            + ', '.join(sorted(allowed))
        )
    with naming(path):
        return _of_training(found, part)


def _part(path: str | Path, found: TrainedModel) -> str:
    if found.kind not in PARTS:
        raise ValueError(f'{path} is of a {found.kind}; allowed: of a {", ".join(PARTS)}')
    return PARTS[found.kind]


def _encoder(path, weights, mean, std, num_heads) -> Exportable:
    trained = trained_settings(load_file(path))
    mean = trained.get(MEAN) if mean is None else mean
    std = trained.get(STD) if std is None else std
    encoder = Encoder(path, 'cpu', num_heads, mean=mean, std=std, weights=weights)
    numbers = encoder.mean.tolist(), encoder.std.tolist()
    patch = encoder.backbone.patch_size
    facts = _facts('encoder', *numbers, encoder.input.reading.value_range, patch_size=patch)
    return Exportable(RawPixels(EncoderGraph(encoder), *numbers).eval(), facts)


def _of_training(found: TrainedModel, part: str) -> Exportable:
    """Return the classifier, or the backbone and the neck of the detector, of a training run."""
    model, preprocessor = found.model, found.model.data_preprocessor
    if not hasattr(model, 'backbone'):
        raise ValueError(f'the model {type(model).__name__} has no backbone to export')
    channels = getattr(model.backbone, 'in_channels', 3)
    if channels == 3:
        _check_order(found)
    numbers = [  # one number may be for all channels, and a preprocessor may have none
        torch.as_tensor(getattr(preprocessor, name, default)).flatten().expand(channels).tolist()
        for name, default in (('mean', 0.0), ('std', 1.0))
    ]
    graph: nn.Module = ClassifierGraph(model) if part == 'classifier' else FeaturesGraph(model)
    patch = getattr(model.backbone, 'patch_size', None)
    reading = training_reading(found.config)
    value_range = reading.value_range if reading else None
    mean, std = numbers
    classes = list(found.classes)
    facts = _facts(part, mean, std, value_range, patch_size=patch, classes=classes)
    divisor = getattr(preprocessor, 'pad_size_divisor', 1)
    return Exportable(RawPixels(graph, mean, std).eval(), facts, divisor)


def _facts(
    part: str,
    mean: Sequence[float],
    std: Sequence[float],
    value_range: Sequence[float] | None,
    **more,
) -> dict[str, Any]:
    rgb = len(mean) == 3
    if value_range is not None:
        more['value_range'] = [float(value) for value in value_range]
    mean, std = ([float(f'{x:.7g}') for x in each] for each in (mean, std))  # of float32
    return dict(
        part=part,
        mean=mean,
        std=std,
        channels='RGB' if rgb else 'in the order of the training',
        pixels='float32, in the unit of the training images: 0 to 255 for 8 bits'
        + ('' if value_range is None else ', to which the training converted value_range'),
        **more,
        version=__version__,
    )


def _check_order(found: TrainedModel) -> None:
    """Raise a ValueError if the model takes B, G, R: the file says that its input is R, G, B."""
    preprocessor = preprocessor_of(found.config)
    converts = any(preprocessor.get(key) for key in CONVERSIONS)
    known = (*LOADERS, *RENAMED, 'LoadImageFromFile')
    for step in dicts_in(found.config.get('test_dataloader')):
        if type_name(step) not in known:
            continue
        default = 'color' if type_name(step) == 'LoadImageFromFile' else 'rgb'  # as of the classes
        if (step.get('color_type', default) == 'color') != converts:
            raise ValueError(
                f'the model takes B, G, R: {step["type"]} loads color_type='
                f'{step.get("color_type", default)!r}, and data_preprocessor '
                f'{"converts" if converts else "does not convert"}; allowed: models of R, G, B'
            )

"""The model of a training run, from its checkpoint alone."""

import sys
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.utils import import_modules_from_strings
from torch import nn

from lomar.checkpoints.class_names import stored_classes
from lomar.checkpoints.config_reader import imported_modules
from lomar.checkpoints.files import load_file, misfit_as_value_error, naming
from lomar.checkpoints.inferencers import buildable_config, registered_types_only
from lomar.checkpoints.unwrap import unwrap
from lomar.compat import check_segmentation
from lomar.utils import dicts_in

BARE = (
    'which has its config beside the weights (lomar.Encoder also takes converted and bare weights)'
)


@dataclass
class TrainedModel:
    """Model with trained weights.

    Attributes:
        model: the module in evaluation mode, with the preprocessor of its inputs.
        config: the config that the checkpoint stores.
        classes: class names in the order of the labels; () for a pretraining, and for a checkpoint
            without names.
        kind: 'detector', 'classifier', 'segmentor' or 'pretraining'.
        path: the checkpoint.
    """

    model: nn.Module
    config: ConfigDict
    classes: tuple[str, ...]
    kind: str
    path: str

    def name(self, label: int) -> str:
        """Return the class name of a label; the label as text if the checkpoint has no name."""
        return self.classes[label] if label < len(self.classes) else str(label)


def trained_model(
    path: str | Path, weights: str = 'plain', device: str | torch.device | None = None
) -> TrainedModel:
    """Return the model of a training run; only the checkpoint is read, and no code in it executed.

    Args:
        path: checkpoint of `lomar train`, or another one of mmengine that stores its config.
        weights: 'plain', or 'ema' for the moving average in the file.
        device: PyTorch device; None = a GPU if there is one.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file stores no config, or one that describes no model of a known kind or is
            unsafe; or the weights are not exactly those of the model.
    """
    import_module('lomar.register')  # which imports this module
    content = load_file(path)
    with naming(path):
        config = buildable_config(content, BARE)
        import_modules_from_strings(imported_modules(config), allow_failed_imports=True)
        model = _build(config)
        with misfit_as_value_error():
            model.load_state_dict(unwrap(content, weights))
        kind = _kind(model)
    classes = () if kind == 'pretraining' else stored_classes(content)
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    return TrainedModel(model.to(device).eval(), config, classes, kind, str(path))


def _build(config: ConfigDict) -> nn.Module:
    """Build the model of a config as the runner does, without weights of other files.

    Raises:
        ValueError: the config describes no model; constructors of OpenMMLab raise all sorts.
    """
    name = config.get('default_scope', 'mmengine')
    if name == 'mmseg':
        check_segmentation()
    try:
        with registered_types_only(name):
            return MODELS.build(_bare(config))
    except Exception as error:
        raise ValueError(f'the model of the stored config cannot be built: {error}') from error


def _bare(config: ConfigDict) -> ConfigDict:
    """Return a copy of the model's config in which nothing names weights of other files."""
    model = deepcopy(config.model)
    if config.get('data_preprocessor'):
        model.setdefault('data_preprocessor', deepcopy(config.data_preprocessor))
    for node in dicts_in(model):
        if node.get('pretrained'):
            node['pretrained'] = None if isinstance(node['pretrained'], str) else False
    target = (model.get('head') or {}).get('target')
    if isinstance(target, dict) and target.get('weights'):
        target['weights'] = 'random'  # of a network that only computes targets
    return model


def _kind(model: nn.Module) -> str:
    from mmdet.models import BaseDetector  # imported late: slow
    from mmpretrain.models import BaseSelfSupervisor, ImageClassifier

    from lomar.models.lomar import LoMaR

    kinds = dict(
        detector=BaseDetector, classifier=ImageClassifier, pretraining=(LoMaR, BaseSelfSupervisor)
    )
    if 'mmseg.models' in sys.modules:  # of an optional package, which a segmentor has imported
        kinds['segmentor'] = sys.modules['mmseg.models'].BaseSegmentor
    for kind, base in kinds.items():
        if isinstance(model, base):
            return kind
    raise ValueError(
        f'the model is a {type(model).__name__}; allowed: detectors of mmdet, classifiers of '
        'mmpretrain, segmentors of mmseg, and pretraining models'
    )

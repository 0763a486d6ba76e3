"""README.md of a published folder: a Hugging Face model card with YAML front matter."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import yaml

from lomar.checkpoints.licenses import license_entries
from lomar.checkpoints.origin import Licence, Start
from lomar.utils import dicts_in

TASKS = dict(
    detector='object-detection',
    classifier='image-classification',
    pretraining='image-feature-extraction',
)
READERS = dict(
    detector="detector = lomar.Detector({place!r})\n[found] = detector(['image.jpg'])",
    classifier="classifier = lomar.Classifier({place!r})\n[found] = classifier(['image.jpg'])",
    pretraining="encoder = lomar.Encoder({place!r})\nfeatures = encoder(['image.jpg']).pooled",
)
TIMM = """
timm loads {part}. It needs `import lomar.timm`, which registers the model.
Without this import, timm stops with `Unknown model (lomar_vit)`.

```python
import timm
import lomar.timm

model = timm.create_model({source!r}, {options})
```
"""
# Arguments in the example, and the part of the model.
TIMM_PARTS = dict(
    detector=(
        'pretrained=True, features_only=True, out_indices=1',
        'the backbone alone, whose last map is the input of the feature pyramid',
    ),
    classifier=('pretrained=True', 'the classifier'),
    pretraining=('pretrained=True', 'the encoder'),
)
MAX_CLASSES = 100  # names that the card lists


@dataclass
class Card:
    """Contents of a model card.

    Attributes:
        kind: 'detector', 'classifier' or 'pretraining'.
        place: name of the folder, or hf://ORG/NAME.
        license: identifier for the front matter, other:NAME, or None if it is not known.
        origin: licence of the weights that the training started from.
        timm: reason why timm cannot load the folder, or ''.
        metrics: content of a metrics.json, or None.
    """

    kind: str
    place: str
    config: Mapping
    meta: Mapping
    classes: Sequence[str]
    license: str | None
    starts: list[Start]
    origin: Licence
    timm: str
    metrics: Mapping | None

    def __str__(self) -> str:
        front = yaml.safe_dump(self.front(), sort_keys=False, allow_unicode=True)
        parts = [
            f'---\n{front}---\n\n# {self.place.removeprefix("hf://")}\n\n{self._summary()}',
            f'## Use\n\n{self._use()}',
            f'## Training data\n\n{_list(self._data())}',
            f'## Schedule\n\n{_list(self._schedule())}',
            f'## Metrics\n\n{self._metrics()}',
            f'## Licence\n\n{self._licence()}',
        ]
        return '\n\n'.join(part.strip() for part in parts) + '\n'

    def front(self) -> dict[str, Any]:
        """Return the front matter, which the Hugging Face Hub reads."""
        base = next((s.file for s in self.starts if s.file.startswith('hf:/')), None)
        tags = ['lomar', 'vision-transformer', 'openmmlab', self.kind]
        return dict(
            **license_entries(self.license or 'unknown'),
            library_name='lomar',
            pipeline_tag=TASKS[self.kind],
            tags=[*tags, *([] if self.timm else ['timm'])],
            **(dict(base_model=re.sub(r'^hf:/+|@.*', '', base)) if base else {}),
        )

    def _summary(self) -> str:
        backbone = (self.config.get('model') or {}).get('backbone') or {}
        return _list(
            {
                'Model': f'{self.config["model"].get("type")} with the backbone '
                f'{backbone.get("type")}, a {self.kind} of '
                '[LoMaR for OpenMMLab](https://arxiv.org/abs/2206.00790)',
                'Architecture': backbone.get('arch', 'base'),
                'Image size in the config': backbone.get('img_size'),
                'Patch size': backbone.get('patch_size'),
                'Classes': _some(self.classes),
            }
        )

    def _use(self) -> str:
        reader = READERS[self.kind].format(place=self.place)
        text = f'```python\nimport lomar\n\n{reader}\n```\n'
        if self.timm:
            return text + f'\ntimm cannot load this folder: {self.timm}'
        hub, (options, part) = self.place.startswith('hf://'), TIMM_PARTS[self.kind]
        source = self.place.replace('hf://', 'hf-hub:') if hub else f'local-dir:{self.place}'
        return text + TIMM.format(source=source, options=options, part=part)

    def _data(self) -> dict[str, object]:
        recorded = _dict(_dict(self.meta.get('run_record')).get('data'))
        found = dict(recorded)
        loader = self.config.get('train_dataloader')
        for node in dicts_in(_dict(loader).get('dataset')):
            for key in ('type', 'ann_file', 'data_root'):
                if node.get(key) and ('ann_file' in node or 'data_root' in node):
                    found.setdefault(key, node[key])
        names = dict(type='Dataset class', ann_file='Annotations', data_root='Folder')
        return {names.get(key, _sentence(key)): value for key, value in found.items()}

    def _schedule(self) -> dict[str, object]:
        config, loop = self.config, _dict(self.config.get('train_cfg'))
        optimizer = dict(_dict(_dict(config.get('optim_wrapper')).get('optimizer')))
        kind = optimizer.pop('type', None)
        settings = ', '.join(f'{key}={value}' for key, value in optimizer.items())
        return {
            'Length in the config': _length(loop),
            'Published after': f'{self.meta.get("epoch")} epochs, {self.meta.get("iter")} steps',
            'Optimizer': f'{kind}, {settings}' if kind else None,
            'Batch per process': _dict(config.get('train_dataloader')).get('batch_size'),
            'Schedule': '; '.join(str(dict(each)) for each in config.get('param_scheduler') or ()),
            'Seed': self.meta.get('seed'),
            'Started from': '; before that '.join(each.file for each in self.starts) or 'not known',
        }

    def _metrics(self) -> str:
        if self.metrics is None:
            return 'Not measured: `lomar test` wrote no metrics of this checkpoint.'
        rows = [
            f'| {name} | {value:.2f} |'
            for name, value in _numbers(self.metrics.get('metrics'))
            if 'per_class' not in name and not name.endswith('max_dets')
        ]
        measured = f'{self.metrics.get("images")} images of `{self.metrics.get("dataset")}`'
        table = '\n'.join(['| Metric | Value |', '|---|---|', *rows])
        return f'On {measured}, in percent ([metrics.json](metrics.json)):\n\n{table}'

    def _licence(self) -> str:
        reason = f'Weights at the start: {self.origin.reason}.'
        if self.license is None:
            return (
                f'The licence of these weights is **unknown**: nobody has stated it '
                f'(`lomar publish --license`). {reason}'
            )
        return f'These weights are published under `{self.license}`. {reason}'


def local_paths(value: object) -> list[str]:
    """Return the absolute paths in a config or in metrics, which readers of the folder see."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return list(dict.fromkeys(path for each in value for path in local_paths(each)))
    absolute = isinstance(value, str) and '\n' not in value and PurePath(value).is_absolute()
    return [str(value)] if absolute or (isinstance(value, str) and value[:1] == '~') else []


def _length(loop: Mapping) -> str | None:
    units = dict(max_epochs='epochs', max_iters='steps')
    return next((f'{loop[key]} {unit}' for key, unit in units.items() if key in loop), None)


def _numbers(node: object, path: str = '') -> list[tuple[str, float]]:
    """Return path and value of the numbers in nested dicts."""
    if isinstance(node, Mapping):
        return [pair for k, v in node.items() for pair in _numbers(v, f'{path} {k}'.strip())]
    number = isinstance(node, int | float) and not isinstance(node, bool)
    return [(path, float(node))] if number else []  # type: ignore[arg-type]


def _list(entries: Mapping[str, object]) -> str:
    """Return a list of Markdown; entries without a value are left out."""
    shown = {key: value for key, value in entries.items() if value not in (None, '', [], ())}
    lines = [f'- **{key}:** {" ".join(str(value).split())}' for key, value in shown.items()]
    return '\n'.join(lines) or 'Not recorded in the checkpoint.'


def _some(names: Sequence[str]) -> str:
    more = f' and {len(names) - MAX_CLASSES} more' if len(names) > MAX_CLASSES else ''
    listed = ', '.join(names[:MAX_CLASSES])
    return f'{len(names)}: {listed}{more}' if names else ''


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _dict(node: object) -> Mapping:
    return node if isinstance(node, Mapping) else {}

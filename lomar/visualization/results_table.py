"""Tables of published and measured results."""

import csv
import io
import re
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import UNSET, UnsetType

PUBLISHED = Path(__file__).with_name('published.yaml')
METRICS = {'detection': ['box_ap', 'mask_ap'], 'imagenet': ['top1']}
DATASETS = {'detection': 'COCO val2017', 'imagenet': 'ImageNet-1K val'}
FURTHER = ['train_s_im', 'infer_s_im', 'train_s_iter', 'memory', 'parameters_m']
# Results are comparable only if all of these values are known and equal.
COMPARABLE = {
    'detection': ['detector', 'recipe', 'model', 'epochs', 'input'],
    'imagenet': ['recipe', 'model', 'input'],
}
SHOWN = [
    *('origin', 'method', 'over', 'task', 'model', 'detector', 'recipe', 'framework'),
    *('pretrain_epochs', 'epochs', 'input', 'box_ap', 'box_ap_gap', 'mask_ap', 'mask_ap_gap'),
    *('top1', 'top1_gap', 'segmentation', 'speed', 'notes', 'source'),
]
COLUMNS = ['table', 'dataset', 'kind', *SHOWN, 'hardware', *FURTHER]
MAX_DETS, COCO_CLASSES = 100, 80  # detections per image, and classes, that COCO's AP counts

# Words in the names of configs.
METHODS = {'lomar': 'LoMaR', 'mae': 'MAE', 'scratch': 'random'}
DETECTORS = {
    'mask-rcnn': 'Mask R-CNN',
    'faster-rcnn': 'Faster R-CNN',
    'cascade-mask-rcnn': 'Cascade Mask R-CNN',
    'fcos': 'FCOS',
    'rtmdet': 'RTMDet',
    'dino-5scale': 'DINO',
    'mask2former': 'Mask2Former',
}
SIZES = {'base': 'b', 'large': 'l', 'huge': 'h', 'small': 's', 'tiny': 't'}


Percent = Annotated[float, msgspec.Meta(ge=0, le=100)] | None


class AveragePrecision(msgspec.Struct):
    """The detection metric of a run that is compared."""

    AP: Percent
    max_dets: int = MAX_DETS


class Accuracy(msgspec.Struct):
    """The classification metric of a run that is compared."""

    top1: Percent


class Metrics(msgspec.Struct, forbid_unknown_fields=True):
    """Metrics of a run by kind."""

    bbox: AveragePrecision | UnsetType = UNSET
    segm: AveragePrecision | UnsetType = UNSET
    accuracy: Accuracy | UnsetType = UNSET


class Run(msgspec.Struct):
    """Keys of a metrics.json that are read here."""

    config: str
    checkpoint: str
    checkpoint_sha256: str
    date: str
    dataset: str
    images: int
    metrics: Metrics
    arch: str | dict | None = None
    epochs: float | None = None


def read_published() -> list[dict]:
    """Return the packaged published numbers, AP and accuracy in percent."""
    return yaml.safe_load(PUBLISHED.read_text(encoding='utf-8'))


def read_metrics(path: str | Path) -> dict:
    """Return the content of a metrics.json of `lomar test`, with its path as `file`."""
    try:
        content = msgspec.json.decode(Path(path).read_bytes())
        msgspec.convert(content, Run)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f'{path}: {error}') from error
    kinds = set(content['metrics'])
    if kinds not in ({'accuracy'}, {'bbox'}, {'bbox', 'segm'}):  # a detector may have no masks
        raise ValueError(
            f'{path}: metrics has {sorted(kinds)}; allowed: bbox, bbox and segm, or accuracy'
        )
    return {**content, 'file': str(path)}


def _dataset(kind: str, path: Path, images: int) -> str:
    """Return the name of the public validation set, or size and path of another dataset."""
    if kind == 'detection':
        public = path.name == 'instances_val2017.json' and images == 5000
    else:
        folders = {part.lower() for part in path.parts}
        public = bool(folders & {'imagenet', 'imagenet-1k', 'ilsvrc2012'}) and images == 50000
    return DATASETS[kind] if public else f'{images} images of {path.as_posix()}'


def _measured_row(run: dict) -> dict:
    """Return a run as a published entry; values are parsed from the config's name, or None.

    Epochs and architecture of the run itself win over the name, because flags change them.
    """
    name = Path(run['config']).stem
    words = re.split('[_-]', name)
    size = re.search(r'vit(?:det)?-([a-z]+)', name)
    arch = run['arch'] if isinstance(run.get('arch'), str) else size and size[1]
    named = re.search(r'[-_](\d+)e(?![a-z0-9])', name)
    side = re.search(r'-(\d+)px', name)
    usual = 1024 if 'lsj' in name and 'coco' in name else 224 if 'in1k' in name else None
    metrics = run['metrics']
    kind = 'imagenet' if 'accuracy' in metrics else 'detection'
    recipe = 'ViTDet' if 'vitdet' in name else None
    if kind == 'imagenet':
        recipe = 'linear probing' if 'linear' in name else 'fine-tuning'
    notes = f'{run["checkpoint"]} ({run["checkpoint_sha256"][:8]}), {run["date"]}'
    dataset = _dataset(kind, Path(run['dataset']), run['images'])
    measure = _other_measure(run, dataset)
    if measure:
        notes += f', {measure}: not comparable'
    return dict(
        kind=kind,
        other_measure=measure,
        dataset=dataset,
        origin='measured',
        method=next((METHODS[word] for word in words if word in METHODS), None),
        model=f'ViT-{SIZES.get(arch, arch).upper()}' if arch else None,
        detector=DETECTORS.get(name.split('_')[0]),
        recipe=recipe,
        framework='this package',
        epochs=_epochs(int(named[1]) if named else None, run.get('epochs')),
        input=int(side[1]) if side else usual,
        box_ap=metrics.get('bbox', {}).get('AP'),
        mask_ap=metrics.get('segm', {}).get('AP'),
        top1=metrics.get('accuracy', {}).get('top1'),
        notes=notes,
        source=run['file'],
    )


def _other_measure(run: dict, dataset: str) -> str:
    """Return in what the AP of a run is measured differently from published AP, or ''."""
    boxes = run['metrics'].get('bbox', {})
    limit, classes = boxes.get('max_dets', MAX_DETS), boxes.get('per_class')
    found = []
    if limit != MAX_DETS:
        found.append(f'AP of {limit} detections per image')
    if run.get('tta'):
        found.append('test-time augmentation')
    if dataset == DATASETS['detection'] and classes and len(classes) != COCO_CLASSES:
        found.append(f'AP of {len(classes)} classes')
    return ', '.join(found)


def _epochs(named: int | None, trained: float | None) -> float | None:
    """Return the epochs of the name unless the training had others; iterations are rounded."""
    if trained is None or (named and abs(trained - named) < 0.02 * named):
        return named
    return trained


def _beside(row: dict, published: list[dict]) -> list[dict]:
    """Return published rows for a run; rows of the same recipe are first and have gaps."""
    entries = [entry for entry in published if entry['kind'] == row['kind']]
    entries = [entry for entry in entries if entry['model'] == row['model']] or [
        entry for entry in entries if entry.get('detector', 'Mask R-CNN') == 'Mask R-CNN'
    ]
    near, far = [], []
    for entry in entries:
        keys = COMPARABLE[row['kind']]
        if row['other_measure'] or any(row[k] is None or row[k] != entry[k] for k in keys):
            far.append(entry)
            continue
        both = [key for key in METRICS[row['kind']] if None not in (row[key], entry[key])]
        near.append({**entry, **{f'{key}_gap': round(row[key] - entry[key], 2) for key in both}})
    return near + far


def comparison(published: list[dict], measured: list[dict], kind: str | None = None) -> list[dict]:
    """Return rows of one table per measured run; without runs, rows of all published results.

    A table contains the published rows of the same model size, otherwise all rows of Mask R-CNN.
    Rows of the same recipe have gaps (measured - published). Runs on other datasets have separate
    tables. Method, recipe and input size of a run are parsed from the config's name.

    Args:
        kind: a key of METRICS; other results are omitted.
    """
    entries = [
        {'dataset': DATASETS.get(e['kind']), 'origin': 'published', **e, **e.get('delta', {})}
        for e in published
        if kind in (None, e['kind'], e.get('task'))
    ]
    if not measured:
        titles = {name: f'Published: {dataset}' for name, dataset in DATASETS.items()}
        titles['delta'] = 'Published differences: points, and ratios of speed'
        entries.sort(key=lambda entry: list(titles).index(entry['kind']))
        return [{'table': titles[entry['kind']], **entry} for entry in entries]
    runs = [row for row in map(_measured_row, measured) if kind in (None, row['kind'])]
    beside, apart = [], []
    for row in runs:
        public = DATASETS[row['kind']]
        if row['dataset'] == public:
            title = f'{row["source"]}: {public}'
            beside += [{'table': title, **one} for one in (row, *_beside(row, entries))]
        else:
            title = (
                f'{row["dataset"]}: not {public}, so there are no published results to compare with'
            )
            apart.append({'table': title, **row})
    return beside + sorted(apart, key=lambda row: row['table'])


def cell(column: str, value: Any) -> str:
    """Return the text of a value in a table."""
    if value is None:
        return '-'
    if column.endswith('_gap'):
        return f'{value + 0.0:+.2f}'  # + 0.0 takes the sign from -0.0
    return str(round(value, 2) if isinstance(value, float) else value).replace('|', '\\|')


def heading(column: str) -> str:
    """Return the heading of a column."""
    return 'gap' if column.endswith('_gap') else column.replace('_ap', ' AP').replace('_', ' ')


def to_markdown(rows: list[dict]) -> str:
    """Return rows as Markdown tables with titles, without empty columns."""
    lines = []
    for title, group in groupby(rows, key=lambda row: row['table']):
        table = list(group)
        used = [key for key in SHOWN if any(row.get(key) is not None for row in table)]
        body = [[cell(key, row.get(key)) for key in used] for row in table]
        cells = [map(heading, used), ['---'] * len(used), *body]
        lines += [f'### {title}', '', *(f'| {" | ".join(line)} |' for line in cells), '']
    return '\n'.join(lines)


def to_csv(rows: list[dict]) -> str:
    """Return rows as CSV with a header, without curves; unknown values are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

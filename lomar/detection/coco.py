"""COCO annotation files: reading, and the objects of an annotation for training and evaluation."""

import codecs
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from lomar.detection.annotation_rules import WrongEntry, evaluation_object

LISTS = ('images', 'annotations', 'categories')
LAYOUT = """\
A dataset is a COCO json file and the folder that its file names are relative to:
    data/mine/annotations/train.json     --train-ann
    data/mine/train/000001.jpg           --train-images
and the same for validation, --val-ann and --val-images. The embedded dataset has this layout:
    lomar shapes --out data/shapes"""
COCO_FILE = 'Allowed: a COCO json file; `lomar import` makes one of other formats.'
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # to msgspec
decode = msgspec.json.Decoder().decode


class CocoLists(msgspec.Struct, kw_only=True):
    """Lists of an annotation file; images and annotations are not decoded."""

    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list


class UnannotatedLists(CocoLists, kw_only=True):
    """Lists of a file that may have images alone."""

    annotations: list[msgspec.Raw] = []
    categories: list = []


class LazyEntries:
    """Entries of a list in a JSON file, decoded one at a time.

    COCO's annotations are 0.4 GB of text, and 2 GB as Python objects.
    """

    def __init__(self, path: str | os.PathLike, texts: list[msgspec.Raw]):
        self.path, self.texts = path, texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> object:
        return self._decoded(self.texts[index])

    def __iter__(self) -> Iterator[object]:
        return map(self._decoded, self.texts)

    def _decoded(self, text: msgspec.Raw) -> object:
        try:
            return decode(text)
        except UNREADABLE:  # perhaps 1e999, which is inf to Python
            return _python_json(self.path, bytes(text))


def read_coco(path: str | os.PathLike, annotated: bool = True, advice: str = LAYOUT) -> dict:
    """Read the three lists of an annotation file; entries may be decoded when they are used.

    Args:
        annotated: whether the file must have annotations and categories. COCO's test-dev, for
            example, has no annotations.
        advice: what the user is to give instead of a path without a file; by default the files of a
            training. `COCO_FILE` is for commands that read one file.

    Raises:
        FileNotFoundError: the file does not exist; the message describes the expected layout.
        ValueError: the file is not json, or lacks one of COCO's three lists.
    """
    if not os.path.isfile(path):
        what = 'is a folder' if os.path.isdir(path) else 'does not exist'
        end = f'\n{advice}' if '\n' in advice else f' {advice}'
        raise FileNotFoundError(f'Annotations: {path} {what}.{end}')
    content = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)  # added by editors on Windows
    try:
        lists = msgspec.json.decode(content, type=CocoLists if annotated else UnannotatedLists)
    except UNREADABLE:  # NaN, which Python reads, or an error
        coco = _python_lists(path, content, annotated)
    else:
        coco = dict(
            images=LazyEntries(path, lists.images),
            annotations=LazyEntries(path, lists.annotations),
            categories=lists.categories,
        )
    for index, category in enumerate(coco['categories']):
        named = isinstance(category, dict) and isinstance(category.get('name'), str)
        if not named or type(category.get('id')) is not int:
            raise ValueError(
                f'{path}: categories[{index}]: needs an integer id and a name, got '
                f'{short(category)}'
            )
    return coco


def class_names(coco: dict) -> tuple[str, ...]:
    """Return the names of the categories in the order of their ids, as in the labels."""
    return tuple(one['name'] for one in sorted(coco['categories'], key=lambda one: one['id']))


def normalised_coco(coco: dict, masks: bool = True, tested: Collection[str] | None = None) -> dict:
    """Return the annotations for the evaluation by pycocotools.

    Categories are in the order of their ids. Objects that no detection can overlap are left out.
    Annotations get new ids from 1, because the id 0 means "no match" in pycocotools. With `masks`,
    objects with a mask have a `segmentation`.

    Args:
        tested: names of the classes that are evaluated. Annotations of others are left out, because
            they are not checked before a training. None = all.
    """
    others = {
        one['id'] for one in coco['categories'] if tested is not None and one['name'] not in tested
    }
    entries = list(coco['images'])
    images = {image['id']: image for image in entries}
    kept: list[dict] = []
    for annotation in coco['annotations']:
        if annotation.get('category_id') in others:
            continue
        image = images[annotation['image_id']]
        try:
            one, _ = evaluation_object(annotation, image, masks)
        except WrongEntry:  # without a mask, if boxes are evaluated, too
            one, _ = evaluation_object(annotation, image, masks=False)
        if one:
            kept.append({**one, 'id': len(kept) + 1})
    categories = sorted(coco['categories'], key=lambda one: one['id'])
    return dict(info={}, images=entries, annotations=kept, categories=categories)


def short(value: object) -> str:
    """Return a value as text, shortened to 300 characters."""
    text = str(value)
    return text if len(text) <= 300 else f'{text[:300]} ...'


def _python_json(path: str | os.PathLike, text: bytes) -> Any:
    """Return JSON decoded by Python, which accepts NaN, infinity and numbers of any size."""
    try:
        return json.loads(text.decode())
    except (RecursionError, ValueError) as error:
        raise ValueError(f'{path}: this is no json: {error}') from error


def _python_lists(path: str | os.PathLike, text: bytes, annotated: bool) -> dict:
    """Return the decoded content of a file; raise a ValueError without the three lists."""
    coco = _python_json(path, text)
    if isinstance(coco, dict) and not annotated:
        coco |= {name: [] for name in LISTS[1:] if coco.get(name) is None}
    found = sorted(coco) if isinstance(coco, dict) else type(coco).__name__
    for name in LISTS:
        if not isinstance(coco, dict) or not isinstance(coco.get(name), list):
            raise ValueError(
                f"{path}: no list '{name}'; expected is an object with the lists "
                f'{", ".join(LISTS)}, found {short(found)}'
            )
    return coco

"""Reader of YOLO: data.yaml, and one text file with a line per object for each image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lomar.annotations.image_folder import ImageFolder, inside
from lomar.annotations.source import (
    ImportReport,
    SourceError,
    SourceImage,
    SourceObject,
    class_name,
    files_in,
    number,
    read_text,
)

SPLITS = ('train', 'val', 'test')
NEEDED = (
    'allowed as IN: a data.yaml with the lines "names: [CLASS, CLASS, ...]", in the order of the '
    'class numbers, and "train: images/train", the folder of the images, or the folder of this file'
)
BEYOND = 0.01  # fractions that rounding may lie out of the image, as in ultralytics
FORM = 'a line is a class number and the fractions x, y, width, height, or x, y of 3 or more points'


def data_file(path: Path) -> Path:
    """Return the data.yaml that a path names, itself or by its folder.

    Raises:
        FileNotFoundError: there is none; the message says what it contains, or names another file.
    """
    if path.is_file():
        return path
    file = path / 'data.yaml'
    if file.is_file():
        return file
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist; {NEEDED}')
    others = sorted(str(one) for one in path.iterdir() if one.suffix in ('.yaml', '.yml'))
    there = f'; is it {others[0]}?' if others else f'; {NEEDED}'
    raise FileNotFoundError(f'{path} has no data.yaml{there}')


class DataYaml:
    """The file data.yaml of a YOLO dataset: its classes, and the image folder of a split.

    Attributes:
        names: class by number.

    Raises:
        SourceError: the file is malformed, or describes another task.
        ValueError: `split` is not given or is not in the file.
    """

    def __init__(self, path: Path):
        self.path, self.content = path, _load(path)
        self.names = _names(path, self.content)

    def image_folder(self, split: str | None) -> Path:
        """Return the folder of a split, which lies in the folder of the file."""
        there = [name for name in SPLITS if self.content.get(name)]
        if split is None and len(there) == 1:
            (split,) = there
        if split not in there:
            found = 'is not given' if split is None else f'{split} is not in {self.path}'
            raise ValueError(f'--split {found}; allowed: {", ".join(there) or "none"}')
        name, base = self.content[split], self.content.get('path') or '.'
        if not isinstance(name, str) or not isinstance(base, str) or name.endswith('.txt'):
            what = f'{split} and path must be folders, got '
            found = f'{_shown(name)} and {_shown(base)}'
            raise SourceError(str(self.path), what, f'{found}; --images names one')
        if 'path' not in self.content and name.startswith('../'):  # of Roboflow
            name = name.removeprefix('../')
        root = self.path.parent
        return inside(root, f'{base}/{name}', f'{self.path}: {split} (or give --images)', root)


def read_yolo(
    names: dict[int, str], folder: ImageFolder, report: ImportReport
) -> Iterator[SourceImage]:
    """Yield the images that have a text file. Lines are boxes or polygons, also in one file.

    The text files are in the folder `labels` that corresponds to the last folder `images` of the
    path, otherwise beside the images.

    Args:
        names: class by number.
    """
    labels = label_folder(folder.root)
    if not labels.is_dir():
        raise FileNotFoundError(f'Labels: {labels}, for the images in {folder.root}, is no folder')
    for path in files_in(labels, '.txt'):
        stem = path.relative_to(labels).with_suffix('').as_posix()
        if path.name in ('classes.txt', 'README.dataset.txt', 'README.roboflow.txt'):
            continue
        with report.collecting():
            inside(labels, path.relative_to(labels).as_posix(), str(path))
            file_name = folder.with_stem(stem, str(path))
            image = SourceImage(file_name, str(path))
            size = folder.size(file_name, str(path))
            for line, text in enumerate(read_text(path).split('\n'), 1):
                with report.collecting():
                    if words := text.split():
                        where = f'{path}:{line}'
                        image.objects.append(_object(words, where, names, size))
            yield image


def label_folder(images: Path) -> Path:
    """Return the folder of the text files for a folder of images."""
    parts = list(images.absolute().parts)
    if 'images' in parts:
        parts[len(parts) - 1 - parts[::-1].index('images')] = 'labels'
    return Path(*parts)


def _object(
    words: Sequence[str], where: str, names: dict[int, str], size: tuple[int, int]
) -> SourceObject:
    key, *values = (number(word, where, 'a value') for word in words)
    if key not in names:
        allowed = ', '.join(map(str, names))
        raise SourceError(where, f'is of no class of data.yaml ({allowed}), got ', words[0])
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise SourceError(where, f'has {len(words)} values; {FORM}')
    if not all(-BEYOND <= value <= 1 + BEYOND for value in values):
        raise SourceError(where, 'values are fractions of the image, 0 to 1, got ', words[1:])
    width, height = size
    name = names[int(key)]
    if len(values) > 4:
        points = [value * size[index % 2] for index, value in enumerate(values)]
        return SourceObject(name, where, polygons=[points])
    x, y, w, h = values
    left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return SourceObject(name, where, (left * width, top * height, right * width, bottom * height))


def _load(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        line = f':{mark.line + 1}' if mark else ''
        raise SourceError(f'{path}{line}', 'is no YAML: ', getattr(error, 'problem', '')) from None
    except (RecursionError, ValueError) as error:  # of nesting, or a date that does not exist
        if isinstance(error, SourceError):
            raise
        raise SourceError(str(path), 'is no YAML: ', error) from None
    if not isinstance(content, dict):
        raise SourceError(
            str(path), 'is no data.yaml with names, it has a ', type(content).__name__
        )
    if content.get('kpt_shape'):
        raise SourceError(str(path), 'describes key points (kpt_shape), which are no objects')
    return content


def _names(path: Path, content: dict) -> dict[int, str]:
    names = content.get('names')
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or any(type(key) is not int for key in names):
        raise SourceError(str(path), 'names must be a list of classes, or classes by number')
    wrong = {type(name).__name__ for name in names.values()} - {'str', 'int'}
    if wrong:  # "no" is False to YAML
        advice = '; write names such as "no" in quotes'
        raise SourceError(str(path), 'names has a ', f'{", ".join(sorted(wrong))}{advice}')
    found = {key: class_name(str(name), str(path)) for key, name in sorted(names.items())}
    if len(set(found.values())) < len(found):
        raise SourceError(str(path), 'names has a class twice: ', list(found.values()))
    count = content.get('nc', len(found))
    if count != len(found):
        raise SourceError(
            str(path), 'nc is not the number of names: ', f'{_shown(count)}, {len(found)}'
        )
    return found


def _shown(value: object) -> str:
    """Return a text or number, or the type of another value; aliases may make it endless."""
    return repr(value) if isinstance(value, str | int | float) else type(value).__name__

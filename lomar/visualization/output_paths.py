"""Names of pictures that are made from images, one per image."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from lomar.datasets.folder_walk import holds_pictures


def output_paths(
    images: Iterable[str | Path],
    suffix: str,
    common: str | None = None,
    others: Iterable[Path] = (),
) -> dict[str, Path]:
    """Return the relative path of one picture per image, all of them different.

    A picture keeps the sub-folders below the folder that all images have in common, and the name,
    with `suffix` instead of the image's own one. Where that would be equal to another picture or to
    a folder, also if the case of letters is ignored, `suffix` is added to the whole name, and a
    number if need be.

    Args:
        images: paths of images; the same path again means the same picture.
        suffix: such as '.png'.
        common: another folder below which all images are.
        others: relative paths of other pictures.
    """
    names = list(dict.fromkeys(map(str, images)))
    places = [Path(os.path.abspath(name)) for name in names]
    if common is None:
        common = os.path.commonpath([place.parent for place in places]) if places else ''
    relative = [place.relative_to(common) for place in places]
    short = [path.with_suffix(suffix) for path in relative]
    others = [*others]
    folders = [parent for path in (*relative, *others) for parent in path.parents]
    used = {_key(path) for path in (*others, *folders)}
    times = Counter(_key(path) for path in short) + Counter(used)
    taken = used | {_key(path) for path in short if times[_key(path)] == 1}
    found = {}
    for name, path, brief in zip(names, relative, short, strict=True):
        if times[_key(brief)] > 1:
            whole, number = path.with_name(path.name + suffix), 1
            brief = whole
            while _key(brief) in taken:
                number += 1
                brief = whole.with_stem(f'{whole.stem}_{number}')
            taken.add(_key(brief))
        found[name] = brief
    return found


def check_images_kept(what: str, folder: str | Path, pictures: Mapping[str, Path]) -> None:
    """Raise a ValueError if a picture would be in a folder of the images, or replace one.

    Args:
        what: the flag that names the folder.
        pictures: `output_paths` of the images.
    """
    images = {os.path.realpath(os.path.dirname(image)): image for image in reversed([*pictures])}
    for parent in dict.fromkeys(Path(folder, picture).parent for picture in pictures.values()):
        if image := images.get(os.path.realpath(parent)):
            raise ValueError(
                f'{what}: {image} is one of the images; allowed: another folder for the pictures'
            )


def check_files_kept(what: str, folder: str | Path, pictures: Mapping[str, Path]) -> None:
    """Raise a ValueError if a picture would replace a file, unless `mark_pictures` marked `folder`.

    Args:
        what, pictures: as in `check_images_kept`, which is called first.
    """
    check_images_kept(what, folder, pictures)
    files = (Path(folder, picture) for picture in pictures.values())
    if not holds_pictures(folder) and (file := next(filter(Path.exists, files), None)):
        raise ValueError(
            f'{what}: {file} exists, and its folder is not one of pictures alone; allowed: another '
            'folder'
        )


def check_own_folder(what: str, folder: str | Path) -> None:
    """Raise a ValueError if a folder has files, and `mark_pictures` did not mark it."""
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not holds_pictures(folder):
        raise ValueError(
            f'{what}: {folder} has files that no earlier command drew; allowed: another folder'
        )
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'{what}: {folder} is a file; allowed: another folder')


def _key(path: Path) -> str:
    """Return the path in lower case, by which disks that ignore case compare names."""
    return str(path).casefold()

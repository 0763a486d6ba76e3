"""The folder of the images that annotations name: paths that cannot leave it, and image sizes."""

import os
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

from lomar.annotations.source import SourceError, one_line
from lomar.datasets.folder_walk import FolderWalk
from lomar.datasets.unreadable import UnreadableImage
from lomar.datasets.upright_size import upright_size

MISSING = 'there is no image '


class ImageFolder:
    """Images at any depth of a folder, by their path below it, with / between folders.

    Attributes:
        names: sorted paths of the images that `FolderWalk` finds.
        used: real paths of images that `named` returned.

    Raises:
        FileNotFoundError: the folder does not exist.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f'Images: {root} is no folder; --images names it')
        walk = FolderWalk(self.root, arrays=False)
        self.names = sorted(Path(path).relative_to(self.root).as_posix() for path in walk)
        self.used: set[str] = set()
        self._sizes: dict[str, tuple[tuple[int, int], bool]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for name in self.names:
            self._by_stem.setdefault(os.path.splitext(name)[0], []).append(name)

    def named(self, name: object, where: str, base: str | Path = '') -> str:
        """Return the path below the folder of an image that annotations name.

        Args:
            base: folder that the name is relative to (default: the folder of images).

        Raises:
            SourceError: the path leaves the folder, also by a link, or there is no such file.
        """
        if not isinstance(name, str) or not name.strip():
            raise SourceError(where, 'names no image, got ', repr(name))
        path = inside(base or self.root, name, where, self.root)
        if not os.path.isfile(path):
            raise SourceError(where, MISSING, f'{path}{self._hint(name)}')
        self.used.add(os.path.realpath(path))
        return Path(os.path.relpath(path, self.root)).as_posix()

    def with_stem(self, stem: str, where: str) -> str:
        """Return the only image with a path without suffix; a SourceError otherwise."""
        found = self._by_stem.get(stem, [])
        if len(found) != 1:
            what = f'belongs to {len(found)} images, ' if found else MISSING
            detail = ', '.join(found) or f'{stem}.* in {self.root}'
            raise SourceError(where, what, detail)
        return self.named(found[0], where)

    def has_stem(self, stem: str) -> bool:
        """Return whether an image has this path without suffix."""
        return stem in self._by_stem

    def unused(self) -> Iterable[str]:
        """Return the images that no annotation named."""
        return (name for name in self.names if os.path.realpath(self.root / name) not in self.used)

    def size(self, name: str, where: str) -> tuple[int, int]:
        """Return (width, height) of an image, upright; a SourceError if it cannot be read."""
        if name not in self._sizes:
            try:
                self._sizes[name] = upright_size(os.fspath(self.root / name))
            except Exception as error:  # decoders of damaged files raise all sorts
                reason = error.reason if isinstance(error, UnreadableImage) else error
                what = f'{self.root / name}: {reason}'
                raise SourceError(where, 'the image cannot be read: ', what) from None
        return self._sizes[name][0]

    def is_turned(self, name: str) -> bool:
        """Return whether EXIF swaps the sides of an image whose size was read."""
        return self._sizes[name][1]

    def _hint(self, name: str) -> str:
        base = os.path.basename(name.replace('\\', '/'))
        others = [one for one in self.names if os.path.basename(one) == base][:1]
        return f'; is it {others[0]}?' if others else ''


def inside(base: str | Path, name: str, where: str, root: str | Path | None = None) -> Path:
    """Return the path of a name relative to `base`, which must not leave `root`.

    Args:
        root: folder to stay in, links included (default: `base`).

    Raises:
        SourceError: the path is absolute, or leaves the folder by `..` or by a link.
    """
    root = base if root is None else root
    if '\0' in name or os.path.isabs(name) or PureWindowsPath(name).drive:
        raise SourceError(where, 'an absolute path is refused: ', one_line(name))
    path = Path(os.path.normpath(os.path.join(base, name)))
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
        raise SourceError(where, f'a path out of {root} is refused: ', one_line(name))
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise SourceError(where, f'a link out of {root} is refused: ', one_line(name))
    return path

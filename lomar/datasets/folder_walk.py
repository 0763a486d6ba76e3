"""The files of a folder that count as images: one rule for all datasets and commands."""

import os
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mmengine.logging import MMLogger

SUFFIXES = frozenset(('.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff', '.bmp'))
ARRAYS = frozenset(('.npy',))  # for loaders that keep the numbers of a file
# Of macOS, Windows and network storage, in lower case. Hidden names, with a dot, are never read.
SYSTEM = frozenset(
    (
        *('__macosx', '@eadir', '#recycle', '#snapshot', '@recycle', '@recently-snapshot', '@tmp'),
        *('$recycle.bin', 'system volume information', 'lost+found', 'thumbs.db', 'ehthumbs.db'),
    )
)
MARK = '.lomar-pictures'  # hidden file in a folder of pictures that a command wrote
OWN = 'a folder of pictures that lomar wrote'


class FolderWalk:
    """Iterator over the paths of the images below a folder.

    A file counts if its suffix, in upper or lower case, is in `SUFFIXES`. Hidden files and folders
    and those named in `SYSTEM` do not count, nor do folders of pictures that this package wrote,
    except for `root`. Links are followed, and every file counts once: in its real place below the
    folder if it has one, otherwise by the first link. Links to a folder above are not followed.

    Args:
        arrays: whether the suffixes in `ARRAYS` count, too.

    Attributes:
        left_out: paths that do not count, by reason; complete at the end of the iteration.

    Raises:
        OSError: a folder cannot be opened.
    """

    def __init__(self, root: str | Path, arrays: bool):
        self.root, self.suffixes = os.fspath(root), SUFFIXES | ARRAYS if arrays else SUFFIXES
        self.left_out: dict[str, list[str]] = {}
        self._opened: set[str] = set()  # real folders
        # Path and target of each link, and the real folders from which the link was reached.
        self._folder_links: deque[tuple[str, str, tuple[str, ...]]] = deque()
        self._real: dict[str, str] = {}  # real path by folder in a link
        self._file_links: list[tuple[str, str]] = []

    def __iter__(self) -> Iterator[str]:
        yield from self._open(self.root, os.path.realpath(self.root), ())
        while self._folder_links:
            path, target, starts = self._folder_links.popleft()
            if any(Path(start).is_relative_to(target) for start in starts):
                self._leave_out('a link to a folder above', path)
            elif target in self._opened:
                self._leave_out('a link to a folder that counts already', path)
            else:
                yield from self._open(path, target, starts)
        yield from self._linked_files()

    def _open(self, path: str, real: str, starts: tuple[str, ...]) -> Iterator[str]:
        """Yield the images below a folder; remember its links."""
        starts, folders = (*starts, real), [(path, real)]
        while folders:
            path, real = folders.pop()
            if real in self._opened:
                continue
            self._opened.add(real)
            if path != self.root and holds_pictures(path):
                self._leave_out(OWN, path)
                continue
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
            for entry in found:
                if is_system(entry.name):
                    self._leave_out('hidden or of a system', entry.path)
                elif entry.is_symlink():
                    self._remember(entry, real, starts)
                elif entry.is_dir():
                    folders.append((entry.path, os.path.join(real, entry.name)))
                elif self._counts(entry.name, entry.path) and self._is_file(entry):
                    yield entry.path

    def _remember(self, link: os.DirEntry, folder: str, starts: tuple[str, ...]) -> None:
        target = self._target(link.path, folder)
        if os.path.isdir(target):
            self._folder_links.append((link.path, target, starts))
        elif self._counts(link.name, link.path):
            self._file_links.append((link.path, target))

    def _target(self, link: str, folder: str) -> str:
        """Return the real path of a link in a real folder; many links lead to the same folders."""
        folder, name = os.path.split(os.path.join(folder, os.readlink(link)))
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        target = os.path.join(self._real[folder], name)
        final = name not in ('', '.', '..') and not os.path.islink(target)
        return target if final else os.path.realpath(target)

    def _linked_files(self) -> Iterator[str]:
        taken = set()
        for path, target in self._file_links:
            folder, name = os.path.split(target)
            if not os.path.isfile(target):
                self._leave_out('a broken link', path)
            elif target in taken or (folder in self._opened and self._is_image(name)):
                self._leave_out('a link to a file that counts already', path)
            else:
                taken.add(target)
                yield path

    def _counts(self, name: str, path: str) -> bool:
        """Return whether a name is that of an image; record it otherwise."""
        if self._is_image(name):
            return True
        self._leave_out(f'a file {os.path.splitext(name)[1] or "without suffix"}', path)
        return False

    def _is_image(self, name: str) -> bool:
        return not is_system(name) and os.path.splitext(name)[1].lower() in self.suffixes

    def _is_file(self, entry: os.DirEntry) -> bool:
        if entry.is_file():
            return True
        self._leave_out('no regular file', entry.path)  # reading a pipe would wait forever
        return False

    def _leave_out(self, reason: str, path: str) -> None:
        self.left_out.setdefault(reason, []).append(path)


def is_system(name: str) -> bool:
    """Return whether a file or folder is hidden, or is made by an operating system."""
    return name.startswith('.') or name.lower() in SYSTEM


def holds_pictures(folder: str | Path) -> bool:
    """Return whether this package wrote the pictures in a folder.

    The pictures of a training are in the folder that mmengine's visualizer makes in the work dir.
    """
    folder = Path(folder)
    return (folder / MARK).exists() or folder.parts[-2:] == ('vis_data', 'vis_image')


def mark_pictures(folder: str | Path) -> None:
    """Make a folder for pictures; mark it, so that no walk counts them, unless it has files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        (folder / MARK).touch()


def summary(left_out: dict[str, list[str]]) -> str:
    """Return what does not count as text: number and first path for each reason."""
    return '; '.join(
        f'{len(paths)} x {reason} ({paths[0]})' for reason, paths in sorted(left_out.items())
    )


def log_left_out(root: str | Path, left_out: dict[str, list[str]]) -> None:
    """Log what does not count in a folder, once per logger."""
    if left_out:
        logger = MMLogger.get_current_instance()
        _log(logger, f'Images in {root}: not counted: {summary(left_out)}')


@cache
def _log(logger: MMLogger, line: str) -> None:
    logger.info(line)

"""Kinds of files that people name as a checkpoint and that are none, with what to do instead."""

import json
import struct
import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

HEAD = 4096  # bytes that are enough to tell the kinds apart
# The first bytes of files, what these files are, and what to do.
SIGNATURES = (
    (
        b'version https://git-lfs.github.com',
        'a Git LFS pointer of a few lines, which stands for the file: run `git lfs pull`',
    ),
    (b'\xff\xd8\xff', 'a JPEG image'),
    (b'\x89PNG', 'a PNG image'),
    (b'GIF8', 'a GIF image'),
    (b'%PDF', 'a PDF document'),
    (b'\x89HDF', 'an HDF5 file, as Keras writes: save the weights with PyTorch'),
    (b'\x93NUMPY', 'a NumPy array: save a dict of named tensors with torch.save'),
    (b'\x1f\x8b', 'compressed by gzip: unpack it'),
    (b'BZh', 'compressed by bzip2: unpack it'),
    (b'\xfd7zXZ', 'compressed by xz: unpack it'),
    (b'(\xb5/\xfd', 'compressed by zstd: unpack it'),
    (b'7z\xbc\xaf', 'a 7z archive: unpack it'),
    (b'Rar!', 'a RAR archive: unpack it'),
)
HTML = (b'<!doctype html', b'<html', b'<head', b'<?xml')
# Errors of Python's reader for damaged zip files, other than BadZipFile.
BROKEN = (
    *(EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError),
    *(struct.error, zlib.error),
)
# Attribute of folders in a zip file: PyTorch reads no content for an entry that has it.
DIRECTORY = 0x10
# Names in the folders that trainings write in place of one file, and what to do with them.
FOLDERS = {
    'zero_to_fp32.py': 'written by DeepSpeed: run `python zero_to_fp32.py . OUT` in it, and use '
    'the file that it writes',
    '.metadata': 'a distributed checkpoint of PyTorch (FSDP): run `python -m '
    'torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT.pth`, and use OUT.pth',
    'data.pkl': 'an unpacked checkpoint: use the .pth file itself',
}


def check_kind(path: Path) -> None:
    """Raise a ValueError for a file or folder that cannot be a checkpoint.

    The kind is detected from the contents. The message says what the file is and what to do.
    """
    if path.is_dir():
        raise ValueError(f'checkpoint {path} is a folder{_advice_for_folder(path)}')
    with open(path, 'rb') as file:
        head = file.read(HEAD)
    if what := _kind(head) or _kind_of_zip(path, head):
        raise ValueError(f'checkpoint {path} is {what}; allowed: .pth, .pt, .bin or .safetensors')


def is_safetensors(path: Path) -> bool:
    """Return whether a file has the header of a .safetensors file, whatever its name is."""
    with open(path, 'rb') as file:
        head = file.read(9)
    # The length of a JSON header in 8 bytes, then the header.
    return len(head) == 9 and head[8:] == b'{' and struct.unpack('<Q', head[:8])[0] < 10**8


def _kind(head: bytes) -> str | None:
    """Return what a file with these first bytes is, or None."""
    if not head:
        return 'empty (0 bytes): copy or download it again'
    if not head.strip(b'\0'):
        return 'filled with zero bytes, an interrupted copy or download: copy it again'
    for signature, what in SIGNATURES:
        if head.startswith(signature):
            return what
    text = head.removeprefix(b'\xef\xbb\xbf').lstrip().lower()
    if text.startswith(HTML):
        return 'a web page (HTML), such as a login or error page that was saved: download the file'
    if text.startswith(b'{') and b'weight_map' in text:
        return 'the index of a checkpoint in several files: save the weights as one file'
    try:
        words = head.decode()
    except UnicodeDecodeError:
        return None
    # The oldest protocol of pickle writes text, too, which ends with a full stop.
    if words.isprintable() or ('\n' in words and not words.endswith('.')):
        shown = json.dumps(words.split('\n')[0][:60], ensure_ascii=False)
        return f'a text file that begins with {shown}'
    return None


def _kind_of_zip(path: Path, head: bytes) -> str | None:
    """Return what a zip file is that `torch.save` did not write, or None."""
    if not head.startswith(b'PK\3\4'):
        return None
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
            damaged = _damaged_entry(archive)
    except (BadZipFile, *BROKEN) as error:  # PyTorch's reader may read other weights from it
        return f'damaged, it may be cut off: copy or download it again ({error})'
    if damaged:
        return f'damaged, the checksum of {damaged} in it is wrong: copy or download it again'
    inner = {name.partition('/')[2] for name in names}
    if 'constants.pkl' in inner:
        return (
            'a TorchScript archive, which holds code: if you trust its origin, save its weights '
            "with torch.save({'state_dict': torch.jit.load(FILE).state_dict()}, ...)"
        )
    if 'data.pkl' in inner:
        return None
    if names and all(name.endswith('.npy') for name in names):
        return 'a NumPy archive (.npz): save a dict of named tensors with torch.save'
    return f'a zip archive of {", ".join(names[:3]) or "nothing"}: unpack it'


def _damaged_entry(archive: ZipFile) -> str | None:
    """Return the first entry that is damaged, or None.

    PyTorch does not compare checksums. Entries without a checksum, which
    `torch.serialization.set_crc32_options` allows, have 0.
    """
    for entry in archive.infolist():
        if entry.external_attr & DIRECTORY and entry.file_size:
            return entry.filename
        try:
            with archive.open(entry) as file:
                while entry.CRC and file.read(2**20):
                    pass
        except (BadZipFile, *BROKEN):
            return entry.filename
    return None


def _advice_for_folder(path: Path) -> str:
    names = sorted(each.name for each in path.iterdir())
    if what := next((text for name, text in FOLDERS.items() if name in names), None):
        return f', {what}'
    files = [name for name in names if name.endswith(('.pth', '.pt', '.bin', '.safetensors'))]
    some = f', such as {", ".join(files[-3:])}' if files else '; it has no .pth or .safetensors'
    return f'; allowed: a file in it{some}'

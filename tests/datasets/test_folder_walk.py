"""What a folder walk counts: one table of trees, the same rule for all readers of folders."""

import os
import shutil

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from lomar.classification import LabelledImages, read_labelled
from lomar.cli.shared import image_paths
from lomar.datasets import UnlabelledImages, list_images
from lomar.datasets.class_folders import split_folder
from lomar.datasets.folder_walk import FolderWalk
from lomar.datasets.resize_folder import resize_images

MADE_BY_SYSTEMS = (
    *('.ipynb_checkpoints', '.thumbnails', '@eaDir', '__MACOSX', '#recycle', '$RECYCLE.BIN'),
    *('lost+found', 'System Volume Information'),
)
COUNTED = ['cat/1.jpg', 'dog/2.jpg']


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (40, 40), 'green').save(path, 'JPEG')


def link(target, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def latin(root):
    return root / 'cat' / os.fsdecode(b'\xfc.jpg')


# What is added to the tree, further paths that count, why something does not.
TREES = {
    'nothing': (lambda r: None, [], None),
    'link to the parent': (lambda r: link('..', r / 'cat/up'), [], 'a link to a folder above'),
    'link to itself': (
        lambda r: link('.', r / 'cat/self'),
        [],
        'a link to a folder that counts already',
    ),
    'link far above': (lambda r: link('../../..', r / 'cat/up'), [], 'a link to a folder above'),
    'links to each other': (
        lambda r: (link('../dog', r / 'cat/a'), link('../cat', r / 'dog/b')),
        [],
        'a link to a folder that counts already',
    ),
    'link to a folder elsewhere': (
        lambda r: (image(r.parent / 'else/sub/3.jpg'), link('../../else', r / 'cat/there')),
        ['cat/there/sub/3.jpg'],
        None,
    ),
    'two links to one folder': (
        lambda r: (
            image(r.parent / 'else/3.jpg'),
            link('../../else', r / 'cat/a'),
            link('../../else', r / 'cat/b'),
        ),
        ['cat/a/3.jpg'],
        'a link to a folder that counts already',
    ),
    'link into a linked folder': (
        lambda r: (
            image(r.parent / 'else/sub/3.jpg'),
            image(r.parent / 'else/4.jpg'),
            link('../../else/sub', r / 'cat/a'),
            link('../../else', r / 'cat/b'),
        ),
        ['cat/a/3.jpg', 'cat/b/4.jpg'],
        None,
    ),
    'cycle in a linked folder': (
        lambda r: (
            image(r.parent / 'else/sub/3.jpg'),
            link('../..', r.parent / 'else/sub/up'),
            link('../../else/sub', r / 'cat/there'),
        ),
        ['cat/there/3.jpg'],
        'a link to a folder above',
    ),
    'link to a hidden store': (
        lambda r: (image(r / '.store/abc'), link('../.store/abc', r / 'cat/3.jpg')),
        ['cat/3.jpg'],
        'hidden or of a system',
    ),
    'two links to one file': (
        lambda r: (
            image(r.parent / 'blob'),
            link('../../blob', r / 'cat/3.jpg'),
            link('../../blob', r / 'cat/4.jpg'),
        ),
        ['cat/3.jpg'],
        'a link to a file that counts already',
    ),
    'link to a file beside it': (
        lambda r: link('1.jpg', r / 'cat/0.jpg'),
        [],
        'a link to a file that counts already',
    ),
    'chain of links': (
        lambda r: (
            image(r.parent / 'blob'),
            link('../blob', r.parent / 'a/link'),
            link('../../a/link', r / 'cat/3.jpg'),
            link('../dog/../cat/3.jpg', r / 'cat/4.jpg'),
        ),
        ['cat/3.jpg'],
        'a link to a file that counts already',
    ),
    'link to itself as a file': (lambda r: link('0.jpg', r / 'cat/0.jpg'), [], 'a broken link'),
    'broken link': (lambda r: link('nowhere.jpg', r / 'cat/0.jpg'), [], 'a broken link'),
    'resource fork': (
        lambda r: (r / 'cat/._1.jpg').write_bytes(b'\0\5\x16\7'),
        [],
        'hidden or of a system',
    ),
    **{
        f'folders {name}': (
            lambda r, name=name: (image(r / name / '1.jpg'), image(r / 'cat' / name / 'b/1.jpg')),
            [],
            'hidden or of a system',
        )
        for name in MADE_BY_SYSTEMS
    },
    'Thumbs.db': (lambda r: (r / 'cat/Thumbs.db').touch(), [], 'hidden or of a system'),
    'other files': (lambda r: (r / 'cat/notes.txt').touch(), [], 'a file .txt'),
    'array': (lambda r: np.save(r / 'cat/0.npy', np.zeros((8, 8))), [], 'a file .npy'),
    'no byte': (lambda r: (r / 'cat/0.jpg').touch(), ['cat/0.jpg'], None),
    'upper case': (lambda r: image(r / 'cat/0.JPeG'), ['cat/0.JPeG'], None),
    'Latin-1': (lambda r: image(latin(r)), ['cat/\udcfc.jpg'], None),
    'pipe': (lambda r: os.mkfifo(r / 'cat/0.jpg'), [], 'no regular file'),
    'folder with a suffix': (lambda r: image(r / 'cat/a.jpg/3.jpg'), ['cat/a.jpg/3.jpg'], None),
}


@pytest.fixture(params=TREES)
def tree(request, tmp_path):
    root = tmp_path / 'tree'
    for name in COUNTED:
        image(root / name)
    make, more, reason = TREES[request.param]
    make(root)
    return root, sorted(COUNTED + more), reason


def relative(root, paths):
    return sorted(os.path.relpath(path, root) for path in paths)


def test_one_rule(tree):
    root, counted, reason = tree
    walk = FolderWalk(root, arrays=False)
    assert relative(root, walk) == counted
    assert list(walk.left_out) == ([reason] if reason else [])
    init_default_scope('mmpretrain')
    readers = dict(
        list=list_images(root),
        command=image_paths([str(root)]),
        unlabelled=[
            one['img_path'] for one in UnlabelledImages(str(root), [], serialize_data=False)
        ],
        labelled=[one['img_path'] for one in LabelledImages(str(root), [], serialize_data=False)],
        probe=[path for part in split_folder(root)[1:] for path, _ in part],
    )
    for name, paths in readers.items():
        assert relative(root, paths) == counted, name


def test_a_copy_has_what_counts(tmp_path):
    for name in (*COUNTED, '@eaDir/1.jpg', 'cat/._1.jpg'):
        image(tmp_path / 'tree' / name)
    link('..', tmp_path / 'tree/cat/up')
    done = resize_images(tmp_path / 'tree', tmp_path / 'small', 16, workers=1)
    assert done['resized'] == 2 and not done['unreadable']
    small = [path for path in (tmp_path / 'small').rglob('*') if path.is_file()]
    assert relative(tmp_path / 'small', small) == [*COUNTED, 'resized.json']


def test_arrays_count_for_loaders_that_read_them(tmp_path):
    init_default_scope('mmpretrain')
    np.save(tmp_path / '0.npy', np.zeros((8, 8), np.uint8))
    image(tmp_path / '1.jpg')
    for step, names in [
        (dict(type='LoadImage'), ['1.jpg']),
        (dict(type='LoadRandomResizedCrop', scale=32), ['1.jpg']),
        (dict(type='LoadNative', patch_size=8, min_grid=1), ['1.jpg']),
        (dict(type='LoadWindows', size=8, number=1, patch_size=8, scale=32), ['1.jpg']),
        (dict(type='LoadImage', channels=1), ['0.npy', '1.jpg']),
        (dict(type='LoadImage', convert=False), ['0.npy', '1.jpg']),
        (dict(type='LoadRandomResizedCrop', scale=32, channels=1), ['0.npy', '1.jpg']),
        (dict(type='LoadWindows', size=8, number=1), ['0.npy', '1.jpg']),
    ]:
        found = UnlabelledImages(str(tmp_path), [step, dict(type='PackInputs')])
        assert (
            relative(
                tmp_path, [one['img_path'] for one in map(found.get_data_info, range(len(found)))]
            )
            == names
        )
    (tmp_path / '1.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'none in .*1 x a file \.npy'):
        list_images(tmp_path)


def test_class_folders(tmp_path):
    for name in COUNTED:
        image(tmp_path / name)
    image(tmp_path / '0.jpg')
    assert len(read_labelled(tmp_path)[1]) == 2  # not the image beside the folders
    for make, reason in [
        (lambda path: path.mkdir(), ''),
        (lambda path: path.symlink_to('cat'), '.*1 x a link to a folder that counts already'),
        (lambda path: np.savetxt(_made(path) / '1.csv', np.zeros((8, 8))), r'.*1 x a file \.csv'),
    ]:
        make(tmp_path / 'bird')
        with pytest.raises(
            FileNotFoundError, match=rf"no image of their own, such as \['bird'\]{reason}"
        ):
            read_labelled(tmp_path)
        _remove(tmp_path / 'bird')


def _made(path):
    path.mkdir()
    return path


def _remove(path):
    path.unlink() if path.is_symlink() else shutil.rmtree(path)


@pytest.mark.skipif(os.geteuid() == 0, reason='root opens every folder')
def test_a_closed_folder_is_an_error(tmp_path):
    image(tmp_path / 'cat/1.jpg')
    (tmp_path / 'cat').chmod(0)
    with pytest.raises(PermissionError):
        list_images(tmp_path)

"""One picture per image: no two images share a name."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from lomar.datasets.folder_walk import mark_pictures
from lomar.visualization.output_paths import check_files_kept, check_images_kept, output_paths

CASES = {
    'one file': (['x/1.jpg'], ['1.png']),
    'equal names in two folders': (['x/a/1.jpg', 'x/b/1.jpg'], ['a/1.png', 'b/1.png']),
    'cameras': (['v/cam0/f/0.jpg', 'v/cam1/f/0.jpg', 'v/2.jpg'],
                ['cam0/f/0.png', 'cam1/f/0.png', '2.png']),
    'two formats': (['x/1.jpg', 'x/1.png', 'x/2.jpg'], ['1.jpg.png', '1.png.png', '2.png']),
    'a name that another one would get': (['1.jpg', '1.png', '1.jpg.tif'],
                                          ['1.jpg_2.png', '1.png.png', '1.jpg.png']),
    'case': (['A.jpg', 'a.jpg'], ['A.jpg.png', 'a.jpg_2.png']),
    'dots in names': (['x/v1.0.jpg', 'x/v1.1.jpg', 'x/none'], ['v1.0.png', 'v1.1.png', 'none.png']),
    'same file twice': (['a.jpg', 'a.jpg'], ['a.png']),
    'outside of the folder': (['x/../y/1.jpg', 'x/1.jpg'], ['y/1.png', 'x/1.png']),
    'a folder of the name of a picture': (['1.jpg', '1.png/2.jpg'], ['1.jpg.png', '1.png/2.png']),
    'no image': ([], []),
}  # fmt: skip


@pytest.mark.parametrize('images, expected', CASES.values(), ids=CASES)
def test_pictures_keep_folders_and_never_share_a_name(images, expected, tmp_path):
    for root in ('', f'{tmp_path}/'):
        found = output_paths([root + image for image in images], '.png')
        assert list(found) == list(dict.fromkeys(root + image for image in images))
        assert list(map(str, found.values())) == expected


@pytest.mark.parametrize(
    ('folder', 'suffix', 'kept'),
    [('in', '.jpg', False), ('link', '.jpg', False), ('in', '.png', False), ('out', '.jpg', True)],
)
def test_no_picture_replaces_an_image(tmp_path, folder, suffix, kept):
    (tmp_path / 'in/a').mkdir(parents=True)
    (tmp_path / 'link').symlink_to('in')
    images = [str(tmp_path / 'in' / name) for name in ('a/1.jpg', '2.jpg')]
    for image in images:
        Path(image).touch()
    pictures = output_paths(images, suffix)
    with nullcontext() if kept else pytest.raises(ValueError, match=r'--out: .* is one of the'):
        check_images_kept('--out', tmp_path / folder, pictures)


def test_only_pictures_are_replaced(tmp_path):
    pictures = output_paths(['in/a.png', 'in/b.png'], '.jpg')
    own, foreign = tmp_path / 'own', tmp_path / 'train'
    mark_pictures(own)
    for folder in (own, foreign):
        check_files_kept('--show-dir', folder, pictures)
        folder.mkdir(exist_ok=True)
        (folder / 'b.jpg').touch()
    check_files_kept('--show-dir', own, pictures)
    with pytest.raises(ValueError, match=r'--show-dir: .*train/b\.jpg exists, and its folder'):
        check_files_kept('--show-dir', foreign, pictures)

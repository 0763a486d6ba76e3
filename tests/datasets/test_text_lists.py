"""Text lists of images: one table of files, the same reader for all lists."""

import io
import os
import zipfile

import pytest
from PIL import Image

from lomar.classification import read_labelled
from lomar.cli import main
from lomar.cli.shared import image_paths
from lomar.datasets import list_images
from lomar.datasets.text_lists import check_lines, read_lines, write_list

NAMES = (
    'a.jpg',
    'b.jpg',
    'my photo.jpg',
    'sub/c.jpg',
    '#h.jpg',
    'x\u2028y.jpg',
    'x\x0b\x0c\x1c.jpg',
)
NAMES += ('x\x85y.jpg', "it's, 1.jpg", os.fsdecode(b'\xfc.jpg'))


def archive(*_):
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w') as file:
        file.writestr('a.jpg', 'x')
    return content.getvalue()


def jpeg(*_):
    content = io.BytesIO()
    Image.new('RGB', (9, 9)).save(content, 'JPEG')
    return content.getvalue()


# The content of an unlabelled list, and the names that it has or a part of the error.
LISTS = {
    'one path per line': ('a.jpg\nb.jpg\n', ['a.jpg', 'b.jpg']),
    'no newline at the end': ('a.jpg\nb.jpg', ['a.jpg', 'b.jpg']),
    'Windows': ('a.jpg\r\n\r\nb.jpg\r\n', ['a.jpg', 'b.jpg']),
    'byte order mark': (b'\xef\xbb\xbfa.jpg\nb.jpg\n', ['a.jpg', 'b.jpg']),
    'UTF-16 of PowerShell': ('a.jpg\r\nb.jpg\r\n'.encode('utf-16'), ['a.jpg', 'b.jpg']),
    'UTF-16, other byte order': (b'\xfe\xff' + 'a.jpg'.encode('utf-16-be'), ['a.jpg']),
    'comments and empty lines': ('# mine\n\n  \na.jpg\n  # c\n', ['a.jpg']),
    'spaces around': (' a.jpg \nb.jpg\t\n', ['a.jpg', 'b.jpg']),
    'repeated': ('a.jpg\na.jpg\n', ['a.jpg', 'a.jpg']),
    'odd names': ('\n'.join(name for name in NAMES if name[0] != '#'), [*NAMES[:4], *NAMES[5:]]),
    'a name like a comment': ('a.jpg\n#h.jpg\n', r'line 2: #h\.jpg is a file, .*write \./#h\.jpg'),
    'its spelling': ('./#h.jpg\n', ['#h.jpg']),
    'missing': ('a.jpg\nno.jpg\n', r'1 of 2 lines .*line 2: there is no file \S+no\.jpg'),
    'many missing': ('no.jpg\n' * 9, r'9 of 9 lines .*line 5: there is no file \S+no\.jpg\nAll'),
    'labels': ('a.jpg 0\nb.jpg 1\n', r"line 1: .* but a\.jpg; is '0' a label\?\n.*without labels"),
    'labels after tabs': ('a.jpg\tcat\n', r"but a\.jpg; is 'cat' a label\?"),
    'table': ('path,label\na.jpg,cat\n', r"2 of 2 .*line 2: .* but a\.jpg; is ',cat' a label\?"),
    'quotes': ('"a.jpg"\n', 'line 1: .* is this a CSV table, or a quoted name'),
    'path of Windows': ('sub\\c.jpg\n', 'is this a path of Windows'),
    'relative to the working folder': ('tests/conftest.py\n', 'but relative to the working folder'),
    'folder': ('sub\n', 'but a folder'),
    'old line ends': ('a.jpg\rb.jpg\r', 'line 1: .* has a carriage return'),
    'JSON': (
        '{"images": []}',
        r'is this JSON or XML\? A COCO file is given to --train-ann',
    ),
    'long JSON': ('[' + '1, ' * 9000, 'is this JSON or XML'),
    'zip': (archive, r'is a zip archive, not a list\.\nAllowed in a list of images: one path per'),
    'JPEG': (jpeg, 'is a JPEG image, not a list'),
    'Parquet': (b'PAR1\0\0', 'is a Parquet file, not a list'),
    'UTF-16 without a mark': ('a.jpg\n'.encode('utf-16-le'), 'is no text, not a list'),
    'cut UTF-16': (b'\xff\xfea\0.', "'utf-16-le' codec can't decode"),
    'empty': ('', 'there are none in'),
    'comments alone': ('# a\n', 'there are none in'),
}
# The same of a labelled list, and (name, class) of its images.
LABELLED = {
    'space': ('a.jpg cat\nb.jpg  dog\n', [('a.jpg', 'cat'), ('b.jpg', 'dog')]),
    'tab': ('a.jpg\ttabby cat\n', [('a.jpg', 'tabby cat')]),
    'name with spaces': ('my photo.jpg\tcat\n', [('my photo.jpg', 'cat')]),
    'name with spaces, space': ('my photo.jpg cat\n', [('my photo.jpg', 'cat')]),
    'UTF-16': ('# c\r\na.jpg cat\r\n'.encode('utf-16'), [('a.jpg', 'cat')]),
    'U+2028 in a name': ('x\u2028y.jpg cat\n', [('x\u2028y.jpg', 'cat')]),
    'repeated': ('a.jpg cat\na.jpg cat\n', [('a.jpg', 'cat')] * 2),
    'two classes': (
        'a.jpg cat\n\na.jpg dog\n',
        'line 3: a.jpg has the class dog, and cat in line 1',
    ),
    'no class': ('a.jpg cat\nb.jpg\n', r'line 2: b\.jpg\nAllowed in a list of labelled'),
    'no class, spaces': ('my photo.jpg\n', r'line 1: there is no file \S+my\n'),
    'class with a space': ('a.jpg tabby cat\n', r"line 1: .* but a\.jpg; is 'tabby' a label"),
    'two tabs': ('a.jpg\tcat\t1\n', 'line 1: '),
    'no name': ('\tcat\n', 'line 1: cat'),
    'table': ('a.jpg,cat\n', 'line 1: a.jpg,cat\nAllowed'),
    'quotes': ('"a.jpg" cat\n', 'is this a CSV table, or a quoted name'),
    'header': ('path label\na.jpg cat\n', r'1 of 2 lines .*line 1: there is no file \S+path'),
    'missing': ('no.jpg cat\na.jpg dog\n', r'line 1: there is no file \S+no\.jpg'),
    'zip': (archive, 'is a zip archive, not a list'),
    'empty': ('', 'is empty'),
}


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def written(path, content):
    content = content() if callable(content) else content
    path.write_bytes(content if isinstance(content, bytes) else os.fsencode(content))
    return path


@pytest.mark.parametrize('name', LISTS)
def test_unlabelled(folder, name):
    content, expected = LISTS[name]
    path = written(folder / 'list.txt', content)
    for read in (list_images, lambda path: image_paths([str(path)])):
        if isinstance(expected, str):
            with pytest.raises((FileNotFoundError, ValueError), match=f'(?s){expected}') as error:
                read(path)
            assert str(path) in str(error.value)
        else:
            assert read(path) == [str(folder / one) for one in expected]


@pytest.mark.parametrize('name', LABELLED)
def test_labelled(folder, name):
    content, expected = LABELLED[name]
    path = written(folder / 'list.txt', content)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=f'(?s){expected}') as error:
            read_labelled(path)
        assert str(path) in str(error.value)
    else:
        assert read_labelled(path)[1] == [(str(folder / one), label) for one, label in expected]


def test_arguments_of_commands(folder):
    for name in ('images.lst', 'images', 'IMAGES.CSV'):
        path = written(folder / name, 'a.jpg\n')
        assert image_paths([str(path)]) == [str(folder / 'a.jpg')]
    picture = written(folder / 'picture', jpeg)  # without suffix
    assert image_paths([str(picture)]) == [str(picture)]
    assert image_paths([str(folder / 'a.jpg')]) == [str(folder / 'a.jpg')]
    with pytest.raises(FileNotFoundError, match=r"1 IMAGES do not exist, such as \['no\.jpg'\]"):
        image_paths([str(folder / 'a.jpg'), 'no.jpg'])


def test_what_is_written_is_read(folder):
    paths = [str(folder / name) for name in NAMES]
    write_list(folder / 'list.txt', paths)
    assert [line.text for line in read_lines(folder / 'list.txt', '')] == paths
    for name in ('a\n.jpg', ' a.jpg', '#a.jpg', 'a.jpg\r'):
        with pytest.raises(ValueError, match='cannot be a line of a list'):
            check_lines([name])


def test_a_command(folder, capsys):
    path = written(folder / 'list.txt', jpeg)
    code = main(['train', 'lomar_pretrain', '--train-images', str(path)])
    error = capsys.readouterr().err
    assert code == 1 and error.startswith(f'lomar train: {path} is a JPEG image, not a list.')

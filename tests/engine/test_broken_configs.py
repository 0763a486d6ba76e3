"""Config files that cannot be read are one line that names the file."""

import pytest

from lomar.engine import read_config

BROKEN = {
    'yaml.yaml': 'a: [1, 2\nb: {c',
    'json.json': '{"model": ',
    'list.yaml': '- 1\n- 2\n',
    'syntax.py': 'model = dict(type="LoMaR"\n',
    'name.py': 'x = undefined_name\nmodel = dict(type="LoMaR")\n',
    'zero.py': 'model = dict(a=1 / 0)\n',
    'base.py': '_base_ = "absent.py"\n',
    'itself.py': '_base_ = "itself.py"\n',
    'package.py': '_base_ = "lomar::absent.py"\n',
    'empty.py': '',
    'no_type.py': 'model = dict(backbone=dict(type="LoMaRViT"))\n',
    'text.txt': 'model',
}

MODEL = '_base_ = []\nmodel = dict(type="LoMaR")\n'
UNWRITABLE = {
    'from pathlib import Path': 'Path is the class Path, which cannot be saved; allowed: numbers',
    'class A: pass': 'A is the class A, .* whole modules, or end the file with `del A`$',
    'import numpy as np\nx = np.arange(3)': 'x is of the type ndarray, .* `del x`$',
    'x = object()': 'x is of the type object, ',
    'from math import sqrt': 'sqrt is of the type builtin_function_or_method, .* `del sqrt`$',
    'model["root"] = object()': r'model\.root is of the type object, .* lists and dicts$',
    'import torch\nx = torch.float16': 'x is of the type dtype, ',
    'import pathlib\nx = pathlib.Path("a/b")': 'x is of the type PosixPath, ',
    'import torch\nmodel["act"] = torch.nn.GELU()': r'model\.act is of the type GELU, ',
    'x = ...': 'x is of the type ellipsis, ',
    'model["list"] = [0, object]': r'model\.list\.1 is the class object, ',
}
WRITABLE = (
    *('import pathlib', 'x = {1}', 'x = range(3)', 'x = 1j', 'x = None', 'x = b"a"'),
    *('x = float("inf")', 'def f(): pass'),
    'from pathlib import Path\nx = str(Path("a/b"))\ndel Path',
)


@pytest.mark.parametrize('text', UNWRITABLE)
def test_entries_that_cannot_be_saved(text, tmp_path):
    (tmp_path / 'a.py').write_text(MODEL + text)
    with pytest.raises(ValueError, match=f'^{tmp_path}/a.py: {UNWRITABLE[text]}') as caught:
        read_config(tmp_path / 'a.py')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text', WRITABLE)
def test_entries_that_can_be_saved(text, tmp_path):
    (tmp_path / 'a.py').write_text(MODEL + text)
    assert 'LoMaR' in read_config(tmp_path / 'a.py').pretty_text


@pytest.mark.parametrize('name', BROKEN)
def test_a_broken_config_is_one_line(name, tmp_path):
    (tmp_path / name).write_text(BROKEN[name])
    with pytest.raises(ValueError) as caught:
        read_config(tmp_path / name)
    assert str(caught.value).startswith(f'{tmp_path / name}: ') and '\n' not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / 'bytes.py').write_bytes(b'\xff\xfe')
    with pytest.raises(ValueError, match=r'bytes\.py: '):
        read_config(tmp_path / 'bytes.py')

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

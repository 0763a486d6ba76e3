"""Errors of installed packages, wherever they are installed, become one line; others do not."""

import importlib

import pytest

from lomar.engine.host_errors import naming_key


@pytest.mark.parametrize('installed', [True, False])
def test_a_package_in_any_folder_of_the_path(installed, tmp_path, monkeypatch):
    name = f'host_of_{installed}'.lower()
    (tmp_path / f'{name}.py').write_text('def fail():\n    raise TypeError("no such\\n  thing")\n')
    if installed:
        record = tmp_path / f'{name}-1.0.dist-info'
        record.mkdir()
        (record / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
        (record / 'top_level.txt').write_text(name)
    monkeypatch.syspath_prepend(tmp_path)
    kind, words = (ValueError, '^env_cfg: no such thing$') if installed else (TypeError, '^no such')
    with pytest.raises(kind, match=words), naming_key('env_cfg'):
        importlib.import_module(name).fail()


def test_python_itself():
    with pytest.raises(ValueError, match=r'^key: Expecting value'), naming_key('key'):
        importlib.import_module('json').loads('x')

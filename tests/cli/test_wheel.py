"""What the wheel and the source archive hold."""

import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import ROOT

import lomar

LINK = re.compile(r'(!?)\[[^]]*\]\(([^)]+)\)')
BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]  # setuptools changes sys.argv
build_meta.build_sdist(out)
build_meta.build_wheel(out)
"""
IGNORED = ('.git', '.venv*', 'data', 'work_dirs', 'build', '*.egg-info', '__pycache__', '.*_cache')


@pytest.fixture(scope='module')
def archives(tmp_path_factory):
    """The wheel, and the names in the source archive without its first folder."""
    pytest.importorskip('setuptools', minversion='77', reason='older ones refuse the license key')
    source, out = tmp_path_factory.mktemp('source') / 'lomar', tmp_path_factory.mktemp('out')
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(*IGNORED))
    done = subprocess.run(
        [sys.executable, '-c', BUILD, out], cwd=source, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,), (archive,) = out.glob('*.whl'), out.glob('*.tar.gz')
    with tarfile.open(archive) as opened:
        names = {name.partition('/')[2] for name in opened.getnames()}
    return wheel, names


def read_wheel(wheel):
    with ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.mark.slow
def test_wheel_has_every_file_of_the_package_and_the_configs(archives):
    expected = {}
    for folder, place in (('lomar', 'lomar'), ('mmconfigs', 'lomar/.mim/configs')):
        for path in (ROOT / folder).rglob('*'):
            if path.is_file() and '__pycache__' not in path.parts:
                name = path.relative_to(ROOT / folder).as_posix()
                expected[f'{place}/{name}'] = path.read_bytes()
    found = read_wheel(archives[0])
    assert found.items() >= expected.items()
    assert all('.dist-info/' in name for name in found.keys() - expected.keys())


@pytest.mark.slow
def test_metadata(archives):
    files = {Path(name).name: text.decode() for name, text in read_wheel(archives[0]).items()}
    head, _, page = files['METADATA'].partition('\n\n')
    assert f'\nVersion: {lomar.__version__}\n' in head
    assert '-URL: ' not in head and 'Home-page: ' not in head  # no repository is known
    assert all('://' in target for _, target in LINK.findall(page))
    assert 'lomar = lomar.cli:main' in files['entry_points.txt']


@pytest.mark.slow
def test_source_archive_can_be_tested(archives):
    _, names = archives
    for room in ('tests', 'mmconfigs', 'benchmarks', 'tools', 'docs'):
        for path in (ROOT / room).rglob('*'):
            if path.is_file() and '__pycache__' not in path.parts:
                assert path.relative_to(ROOT).as_posix() in names
    assert {'Makefile', 'constraints.txt', 'CHANGELOG.md', 'README.md', 'LICENSE'} <= names


@pytest.mark.slow
def test_configs_are_inherited_from_the_wheel_alone(archives, tmp_path):
    ZipFile(archives[0]).extractall(tmp_path / 'site')
    (tmp_path / 'empty').mkdir()
    code = """
import lomar.register
from mmengine.config import Config
open('config.py', 'w').write("_base_ = 'lomar::shapes/mask-rcnn_vitdet-tiny-mae_shapes.py'")
print(lomar.__file__, Config.fromfile('config.py').model.type, sep='\\n')
"""
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path / 'empty',
        env=dict(PYTHONPATH=str(tmp_path / 'site'), PATH=''),
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / 'site/lomar/__init__.py'), 'MaskRCNN']


def test_links_of_the_readme(monkeypatch):
    monkeypatch.setattr('setuptools.setup', lambda **_: None)
    readme = runpy.run_path(str(ROOT / 'setup.py'))['readme']
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    links = LINK.findall(text)
    local = [(image, target) for image, target in links if '://' not in target]
    assert {image for image, _ in local} == {'', '!'}  # both kinds are there

    expected = [
        target if '://' in target else f'https://a.b/c/{"raw" if image else "blob"}/main/{target}'
        for image, target in links
    ]
    assert [target for _, target in LINK.findall(readme('https://a.b/c'))] == expected
    assert [target for _, target in LINK.findall(readme(''))] == [
        target for _, target in links if '://' in target
    ]

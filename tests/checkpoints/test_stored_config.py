"""Configs that checkpoints store as text: read as plain values, never executed."""

import sys

import pytest
import torch
from conftest import FIXTURES, ROOT
from mmengine.config import Config
from mmengine.hub import get_config

from lomar.checkpoints import load_file, stored_config
from lomar.checkpoints.config_reader import read_text

EVIL = "__import__('os').system('touch {}')"
PLAIN = dict(
    negative=-1.5,
    small=1e-8,
    nothing=None,
    flag=True,
    words='ä\n"\'x',
    raw=b'x',
    infinite=float('inf'),
    below=[float('-inf')],
    both={1, 2},
    places=range(3),
    empty=[(), [], {}, ''],
    mixed=[(1,), dict(a=[dict(b=(2, dict(c=3)))]), [{'a.b': 1}]],
    names={'backbone.pos_embed': dict(decay_mult=0.0), 'other': 1},
    numbers={1: 'one', 2: dict(x=2)},
)
NOT_PLAIN = (
    'import os',
    'from os import path',
    'def f(): pass',
    'with open("x") as a: pass',
    'if True:\n    a = 1',
    '"""text"""',
    '_base_ = "other.py"',
    'a = b = 1',
    'a, b = 1, 2',
    'a.b = 1',
    'a[0] = 1',
    'a: int = 1',
    'a += 1',
    'a = print',
    'a = open("x")',
    'a = dict.fromkeys([1])',
    'a = dict(b=1)(c=2)',
    'a = dict([(1, 2)])',
    'a = dict(**{"b": 1})',
    'a = {**{}}',
    'a = [*()]',
    'a = {[]: 1}',
    'a = lambda: 1',
    'a = [b for b in (1,)]',
    'a = f"{1}"',
    'a = "x" * 10',
    'a = 9 ** 9',
    'a = -"x"',
    'a = not 1',
    'a = (b := 1)',
    'a = 1 if 2 else 3',
    'a = ...',
    'a = `1`',
    'a = "\0"',
    'a = "\ud800"',
    'a = ' + '9' * 5000,
    'a = ' + '[' * 2000 + ']' * 2000,
    'a = ' + '-' * 100_000 + '1',
    'a = ' + '1 + ' * 100_000 + '1',
    'a = ' + 'b.' * 100_000 + 'c',
    'a = ' + 'lambda: ' * 50_000 + '1',
)


def test_values_are_those_that_execution_gives():
    assert read_text(Config(PLAIN).pretty_text, 'here') == PLAIN
    # Execution fails on infinity, which is written as a name that Python does not have.
    text = Config({k: v for k, v in PLAIN.items() if k not in ('infinite', 'below')}).pretty_text
    assert read_text(text, 'here') == Config.fromstring(text, '.py')._cfg_dict


@pytest.mark.parametrize(
    'name',
    [
        'lomar_pretrain.py',
        'detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py',
        'shapes/vit-tiny_lomar_1xb32-coslr-16e_shapes.py',
        'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py',
    ],
)
def test_configs_of_all_libraries(name):
    cfg = get_config(name) if '::' in name else Config.fromfile(ROOT / 'mmconfigs' / name)
    assert read_text(cfg.pretty_text, 'here') == cfg.to_dict()


@pytest.mark.parametrize('path', sorted((FIXTURES / 'v0.1').glob('*.pth')), ids=lambda p: p.stem)
def test_configs_of_earlier_versions(path):
    content = load_file(path)
    text = content['meta']['cfg']
    assert stored_config(content) == Config.fromstring(text, '.py')._cfg_dict


@pytest.mark.parametrize('text', NOT_PLAIN, ids=lambda text: ascii(text[:20]))
def test_anything_but_plain_values_is_refused(text):
    lines = 'a = 1\nb = dict(\n    c=2)\n'
    with pytest.raises(ValueError, match=r'stored in here, line \d+, has .*; allowed: assign') as e:
        read_text(lines + text, 'here')
    assert len(str(e.value)) < 300 and '\n' not in str(e.value)


def test_the_line_and_the_code_are_named():
    with pytest.raises(ValueError, match=r"line 3, has '__import__\(\"os\"\)\.system\(\"x\"\)'"):
        read_text('a = 1\nb = dict(\n    c=[__import__("os").system("x")])', 'here')


def test_a_text_of_unreasonable_length_is_refused():
    with pytest.raises(ValueError, match='has 10000006 characters; allowed: 10000000'):
        read_text(f'a = "{"x" * 10_000_000}"'[:10_000_006], 'here')


@pytest.mark.parametrize(
    'content',
    [None, [], {}, torch.ones(1), dict(meta=None), dict(meta=dict(cfg=3)), dict(meta=dict(cfg=''))],
)
def test_files_without_a_config(content):
    assert stored_config(content) is None


def stored(place, text, **others):
    content = dict(state_dict=dict(weight=torch.ones(1)), meta=dict(epoch=1))
    content['message_hub'] = dict(runtime_info={}, log_scalars={}, resumed_keys={})
    for key, value in {place: text, **others}.items():
        (content['message_hub']['runtime_info'] if key == 'hub' else content['meta']).update(
            {'config' if key == 'config' else 'cfg': value}
        )
    return content


@pytest.mark.parametrize('place', ['cfg', 'config', 'hub'])
def test_every_place_is_read_and_none_is_executed(tmp_path, place):
    assert stored_config(stored(place, 'a = 1')) == dict(a=1)
    touched, path = tmp_path / 'touched', tmp_path / 'a.pth'
    others = {} if place == 'cfg' else dict(cfg='a = 1')  # beside a config that is fine
    content = stored(place, f'a = {EVIL.format(touched)}', **others)
    with pytest.raises(ValueError, match='line 1, has'):
        stored_config(content)
    torch.save(content, path)
    with pytest.raises(
        ValueError, match=r'a\.pth was refused: the config stored in \w+\[.*save the weights'
    ):
        load_file(path)
    assert not touched.exists()


def test_the_config_of_the_run_that_wrote_the_file_comes_first():
    """A resumed run's message hub has the config of the first run."""
    assert stored_config(stored('hub', 'a = 1', cfg='a = 2')) == dict(a=2)


@pytest.mark.parametrize(
    ('imports', 'refused'),
    [
        ('"lomar.register"', None),
        ('["lomar", "mmpretrain.models", "mmdet"]', None),
        ('("pytest",)', None),  # imported already
        ('"antigravity"', 'antigravity'),
        ('["lomar.register", "my_project.models"]', 'my_project.models'),
        ('"lomar.__main__"', 'lomar.__main__'),
        ('"mmdetection"', 'mmdetection'),
        ('3', 'custom_imports is'),
    ],
)
def test_custom_imports(imports, refused):
    content = stored('cfg', f'custom_imports = dict(imports={imports}, allow_failed_imports=False)')
    if refused is None:
        assert stored_config(content)['custom_imports'].imports
        return
    with pytest.raises(ValueError, match=f'{refused}.*; allowed: '):
        stored_config(content)
    assert 'antigravity' not in sys.modules

"""Checkpoints of any content: they are read, or refused in words; nothing in them is executed."""

import json
import warnings

import pytest
import torch
from conftest import FIXTURES
from fuzzing.mutations import JUNK, changed, damaged, works_or_says_why
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lomar import Encoder
from lomar.checkpoints import load_file, stored_config, trained_model
from lomar.checkpoints.publish import publish

OLD = FIXTURES / 'v0.1/pretrain_lomar.pth'
SETTINGS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of torch, about damaged files
        content = works_or_says_why(load_file, path)
        if content is not None:
            works_or_says_why(stored_config, content)
    return content


@SETTINGS
@given(data=damaged(OLD.read_bytes()))
def test_damaged_files_of_torch(tmp_path, data):
    file = tmp_path / 'a.pth'
    file.write_bytes(data)
    read(file)


@pytest.fixture(scope='module')
def safe(tmp_path_factory):
    """A published folder: names and contents of its files."""
    folder = tmp_path_factory.mktemp('published') / 'a'
    publish(OLD, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@SETTINGS
@given(data=st.data())
def test_damaged_published_folders(tmp_path, safe, data):
    name = data.draw(st.sampled_from(['model.safetensors', 'config.json']))
    folder = tmp_path / 'a'
    folder.mkdir(exist_ok=True)
    for each, content in safe.items():
        (folder / each).write_bytes(content)
    (folder / name).write_bytes(data.draw(damaged(safe[name])))
    read(folder)


@SETTINGS
@given(data=st.data())
def test_published_configs_of_any_values(tmp_path, safe, data):
    folder = tmp_path / 'a'
    folder.mkdir(exist_ok=True)
    for each, content in safe.items():
        (folder / each).write_bytes(content)
    tree = data.draw(changed(json.loads(safe['config.json'])))
    (folder / 'config.json').write_text(json.dumps(tree))
    if read(folder) is not None:
        works_or_says_why(trained_model, folder, device='cpu')


KEYS = ('model', 'state_dict', 'module', 'ema', 'net', 'meta', 'optimizer', '')
PREFIXES = ('', 'backbone.', 'module.', 'model.', '_orig_mod.', 'encoder.', 'module.backbone.')
NAMES = (
    *('cls_token', 'mask_token', 'pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias'),
    *('blocks.0.norm1.weight', 'blocks.0.attn.qkv.weight', 'blocks.0.attn.qkv.bias'),
    *(
        'blocks.0.attn.rel_pos_h',
        'blocks.0.attn.rpe_k.lookup_table_weight',
        'blocks.1.mlp.fc1.bias',
    ),
    *('blocks.99999.mlp.fc2.weight', 'layers.0.ln1.weight', 'fc_norm.weight', 'head.weight', 'a.b'),
)
SHAPES = st.lists(st.sampled_from([0, 1, 3, 8, 12, 48, 50, 144]), max_size=4)
TENSORS = st.builds(
    lambda shape, dtype: torch.zeros([min(side, 50) for side in shape], dtype=dtype),
    SHAPES,
    st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64]),
)
WEIGHTS = st.builds(
    lambda prefix, named: {prefix + name: value for name, value in named.items()},
    st.sampled_from(PREFIXES),
    st.dictionaries(st.sampled_from(NAMES), TENSORS | JUNK, max_size=8),
)


@SETTINGS
@given(weights=WEIGHTS, place=st.lists(st.sampled_from(KEYS), max_size=2), meta=JUNK)
def test_dialects_of_any_content(tmp_path, weights, place, meta):
    content = weights
    for key in place:
        content = {key: content, 'meta': meta}
    file = tmp_path / 'a.pth'
    torch.save(content, file)
    works_or_says_why(Encoder, file, device='cpu')


@SETTINGS
@given(weights=st.dictionaries(st.sampled_from(NAMES), TENSORS, max_size=8))
def test_safetensors_of_any_content(tmp_path, weights):
    file = tmp_path / 'a.safetensors'
    save_file(weights, file)
    works_or_says_why(Encoder, file, device='cpu')


PIECES = st.sampled_from(
    [
        *('[', ']', '(', ')', '{', '}', 'dict(', 'a = ', "'", '"""', '\n', '    ', ':', ',', '#'),
        *(
            'lambda: ',
            'model',
            'import os',
            '__import__',
            '*',
            '**',
            '1e999',
            '0x',
            '\\',
            '\0',
            '…',
        ),
        *('-' * 5000, '[' * 5000, 'not ' * 3000, '(' * 200, '1' * 5000, '9**9**9', "'a' * 10**10"),
    ]
)


@SETTINGS
@given(pieces=st.lists(PIECES, max_size=12), key=st.sampled_from(['cfg', 'config']))
def test_stored_texts_of_any_form(pieces, key):
    content = dict(state_dict={}, meta={key: ''.join(pieces)})
    works_or_says_why(stored_config, content)

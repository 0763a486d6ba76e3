"""Plain Python values that config.json stores: every type returns as it was."""

import json
import math

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from lomar.checkpoints.config_reader import read_text
from lomar.checkpoints.json_values import decode, encode

CONFIGS = [
    path.relative_to(ROOT / 'mmconfigs').as_posix()
    for path in sorted((ROOT / 'mmconfigs').rglob('*.py'))
    if '_base_' not in path.parts
]
KEYS = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.tuples(st.integers()))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(max_size=4),
    st.sampled_from([{3}, math.inf, -math.inf, math.nan, 2j, -0.0]),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9)),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner)
    ),
    max_leaves=12,
)


def there_and_back(value):
    return decode(json.loads(json.dumps(encode(value), allow_nan=False)))


@pytest.mark.parametrize('name', CONFIGS)
def test_packaged_configs(name):
    text = Config.fromfile(ROOT / 'mmconfigs' / name).pretty_text
    config = read_text(text, name).to_dict()
    assert repr(there_and_back(config)) == repr(config)


@given(VALUES)
def test_values(value):
    assert repr(there_and_back(value)) == repr(value)  # True is not 1, and (1,) is not [1]


@pytest.mark.parametrize('tag', ['(tuple)', '(items)', '(python)'])
def test_dicts_that_look_like_a_tag(tag):
    for value in ({tag: [1]}, {tag: 1, 'a': 2}, [{tag: {tag: (1,)}}]):
        assert there_and_back(value) == value


def test_sets_have_one_order():
    values = [-213, 3, 'a', (1, 2), None]
    texts = {json.dumps(encode(set(order))) for order in (values, values[::-1])}
    assert len(texts) == 1 and decode(json.loads(*texts)) == set(values)


@pytest.mark.parametrize(
    'value', [object(), len, {1.5: {2: object}}, [set()], 1 + 2j, {'a': frozenset((1,))}]
)
def test_values_that_a_stored_config_cannot_have(value):
    with pytest.raises(ValueError, match=r'^here.* allowed: numbers, texts'):
        encode(value, 'here')


FOREIGN = [
    {'(python)': "__import__('os').system('touch x')"},
    {'(python)': 'open'},
    {'(python)': '[x for x in ()]'},
    {'(python)': 3},
    {'(tuple)': 3},
    {'(tuple)': {'a': 1}},
    {'(items)': [[1]]},
    {'(items)': [[[1], 2]]},
    {'(items)': 'ab'},
]


@pytest.mark.parametrize('value', FOREIGN, ids=str)
def test_json_that_was_not_written_by_encode(value):
    with pytest.raises(ValueError, match=r'allowed|unfit key'):
        decode(dict(a=[value]))

"""Damaged bytes and trees of values, and the rule for errors: ours, in words, and soon."""

import copy
import time

from hypothesis import strategies as st

from lomar.cli import _is_expected

SECONDS = 20  # of one input; a hang takes longer, a busy machine does not
JUNK = st.sampled_from(
    [
        *(None, True, False, -1, 0, 1, 3, 2**31, 2**70, -(2**63), 0.5, -0.5, 1e308),
        *(
            float('nan'),
            float('inf'),
            '',
            ' ',
            'a',
            '0',
            'é\n',
            '\0',
            '../../etc/passwd',
            '/',
            '%s',
        ),
        *([], {}, [[]], [None], [1, 2], ['a'], {'a': 1}, {'type': 'LoMaR'}, [[[[]]]]),
    ]
)


@st.composite
def damaged(draw, data):
    """Return bytes with a few of them changed, removed, repeated, or cut off."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        length = draw(st.sampled_from([1, 2, 8, 100, 5000]))
        kind = draw(st.sampled_from(['flip', 'replace', 'remove', 'repeat', 'cut']))
        if kind == 'flip' and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == 'replace':
            data[at : at + length] = draw(st.binary(max_size=length))
        elif kind == 'remove':
            del data[at : at + length]
        elif kind == 'repeat':
            data[at:at] = data[at : at + length]
        elif kind == 'cut':
            del data[at:]
    return bytes(data)


@st.composite
def changed(draw, tree):
    """Return a tree of dicts and lists in which one to three nodes are junk, or are missing."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        places = list(nodes(tree))
        if not places:
            break
        owner, key = draw(st.sampled_from(places))
        if draw(st.integers(0, 4)) == 0:
            del owner[key]
        else:
            owner[key] = copy.deepcopy(draw(JUNK))
    return tree


def nodes(tree):
    """Yield (owner, key) of every value in a tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in pairs:
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from nodes(value)


def works_or_says_why(call, *args, **kwargs):
    """Return what a call returns; None if it raised an error that the command prints in a line."""
    start, result = time.monotonic(), None
    try:
        result = call(*args, **kwargs)
    except (ImportError, KeyError, OSError, ValueError) as error:
        assert _is_expected(error), f'{type(error).__name__} of another package: {error}'
        assert str(error).strip() and not isinstance(error, UnicodeError), repr(error)
    assert time.monotonic() - start < SECONDS
    return result

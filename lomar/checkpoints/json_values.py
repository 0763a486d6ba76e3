"""Plain Python values as JSON values, and back without a loss of type.

JSON has lists, texts, numbers, booleans, None, and dicts with text keys. All other plain values of
a config are dicts with one tagged key, for example {"(tuple)": [0.9, 0.95]}.
"""

import math
from collections.abc import Mapping
from typing import Any

from lomar.checkpoints.config_reader import read_text

CONFIG = 'config.json'
TUPLE = '(tuple)'  # a list of the items
ITEMS = '(items)'  # a list of [key, value], for a dict with keys that are no texts
PYTHON = '(python)'  # the literal: infinite numbers, bytes, complex numbers, sets and ranges
TAGS = (TUPLE, ITEMS, PYTHON)
LITERALS = (float, bytes, complex, set, range)


def encode(value: Any, place: str = 'value') -> Any:
    """Return a plain value as a JSON value.

    Args:
        place: name of the value in error messages.

    Raises:
        ValueError: a value has a type that a stored config cannot have, such as an object.
    """
    if isinstance(value, Mapping):
        texts = all(type(key) is str for key in value)
        if texts and not (len(value) == 1 and next(iter(value)) in TAGS):
            return {key: encode(each, f'{place}.{key}') for key, each in value.items()}
        pairs = value.items()
        return {ITEMS: [[encode(key, place), encode(v, f'{place}.{key}')] for key, v in pairs]}
    if isinstance(value, list | tuple):
        items = [encode(each, f'{place}[{index}]') for index, each in enumerate(value)]
        return items if isinstance(value, list) else {TUPLE: items}
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) in LITERALS:
        try:
            text = (
                f'{{{", ".join(sorted(map(repr, value)))}}}' if type(value) is set else repr(value)
            )
            if type(found := _literal(text)) is type(value) and (found == value or value != value):
                return {PYTHON: text}
        except ValueError:  # such as 1 + 2j and a set of objects
            pass
    raise ValueError(
        f'{place} is {value!r:.80} ({type(value).__name__}); allowed: numbers, texts, None, '
        'booleans, bytes, lists, tuples, sets, ranges and dicts'
    )


def decode(value: Any) -> Any:
    """Return the plain value of a JSON value that `encode` returned.

    Raises:
        ValueError: a tagged value has another content than `encode` writes.
    """
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value)) if len(value) == 1 else None
    if tag not in TAGS:
        return {key: decode(each) for key, each in value.items()}
    content = value[tag]
    if tag == PYTHON and isinstance(content, str):
        return _literal(content)
    if tag == TUPLE and isinstance(content, list):
        return tuple(decode(each) for each in content)
    pairs = tag == ITEMS and isinstance(content, list)
    if pairs and all(isinstance(each, list) and len(each) == 2 for each in content):
        try:
            return {decode(key): decode(each) for key, each in content}
        except TypeError as error:  # a key without a hash
            raise ValueError(f'a dict has an unfit key: {error}') from error
    raise ValueError(f'{tag} has {str(content)[:80]!r}; allowed: what `lomar publish` writes')


def _literal(text: str) -> Any:
    return read_text(f'value = {text}', CONFIG)['value']

"""Read the config that a checkpoint stores as text, without executing the text.

mmengine writes `Config.pretty_text` into checkpoints and reads it by executing it. The reader here
parses the text and admits only what `pretty_text` writes: assignments of plain values.
"""

import ast
import math
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from mmengine.config import ConfigDict

# Packages whose modules a stored config may name in `custom_imports`. Modules of the user's own
# projects are admitted if they are imported already, as then nothing new is executed.
IMPORTABLE = ('lomar', 'mmdet', 'mmpretrain', 'mmseg', 'mmcv', 'mmengine')
# The keys of a checkpoint under which versions of mmengine and mmcv store the text. The text in
# 'meta' is that of the run that wrote the file. A resumed run keeps the text of the message hub.
PLACES = (('meta', 'cfg'), ('meta', 'config'), ('message_hub', 'runtime_info', 'cfg'))
ALLOWED = 'allowed: assignments of numbers, strings, None, booleans, lists, tuples, sets and dicts'
LONGEST = 10_000_000  # characters; the parser needs about a hundred bytes for each
CONSTANTS = (str, bytes, bool, int, float, complex, type(None))
FLOATS = dict(inf=math.inf, nan=math.nan)  # `pretty_text` writes these floats as names


def stored_config(content: object) -> ConfigDict | None:
    """Return the config that the content of a checkpoint stores, or None if it stores none.

    The result is that of the run that wrote the file, `meta['cfg']`. All texts are checked.

    Args:
        content: result of `load_file`.

    Raises:
        ValueError: a text is more than assignments of plain values, or its `custom_imports` names
            a module that is neither imported nor in one of the packages `IMPORTABLE`.
    """
    configs = read_configs(content)
    for place, config in configs.items():
        for name in imported_modules(config):
            package, *below = name.split('.')
            known = package in IMPORTABLE and '__main__' not in below
            if name not in sys.modules and not known:
                raise ValueError(
                    f'the config stored in {place} has custom_imports of {name!r}; allowed: '
                    f'modules of {", ".join(IMPORTABLE)}, and modules that are imported already'
                )
    return next(iter(configs.values()), None)


def read_configs(content: object) -> dict[str, ConfigDict]:
    """Return all configs in the content of a checkpoint, by place, for example "meta['cfg']".

    Raises:
        ValueError: a text is more than assignments of plain values; the message has the line.
    """
    return {place: read_text(text, place) for place, text in _texts(content)}


def read_text(text: str, place: str) -> ConfigDict:
    """Return the values that the text of a config assigns.

    Args:
        text: result of mmengine's `Config.pretty_text`.
        place: where the text is, for error messages.

    Raises:
        ValueError: the text is more than assignments of plain values; the message has the line.
    """
    if len(text) > LONGEST:
        raise ValueError(
            f'the config stored in {place} has {len(text)} characters; allowed: {LONGEST}'
        )
    try:
        values = {}
        for node in ast.parse(text).body:
            name, value = _assignment(node)
            values[name] = _value(value)
        return ConfigDict(values)
    except _NotPlain as error:
        (node,) = error.args
        line, found = node.lineno, repr(_beginning(ast.get_source_segment(text, node)))
    except (RecursionError, MemoryError):
        line, found = 1, 'too many nested expressions'
    except (SyntaxError, ValueError, TypeError) as error:  # TypeError: a key without a hash
        line, found = getattr(error, 'lineno', None) or 1, _beginning(getattr(error, 'msg', error))
    raise ValueError(f'the config stored in {place}, line {line}, has {found}; {ALLOWED}')


def _beginning(found: object) -> str:
    """Return the first characters of a text, in one line."""
    text = ' '.join(str(found).split())
    return text if len(text) <= 80 else f'{text[:80]} ...'


def imported_modules(config: dict) -> list[str]:
    """Return the modules that a config names in `custom_imports`.

    Raises:
        ValueError: `custom_imports` is no dict of `imports`.
    """
    given = config.get('custom_imports') or {}
    names = given.get('imports') or [] if isinstance(given, dict) else None
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"custom_imports is {_beginning(repr(given))}; allowed: dict(imports=['module'])"
        )
    return list(names)


class _NotPlain(Exception):
    """Error with the node of a text that is no plain value."""


def _texts(content: Any) -> Iterator[tuple[str, str]]:
    """Yield place and text of every config in the content of a checkpoint."""
    for keys in PLACES:
        found = content
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str) and found.strip():
            yield keys[0] + ''.join(f'[{key!r}]' for key in keys[1:]), found


def _assignment(node: ast.stmt) -> tuple[str, ast.expr]:
    """Return name and value of an assignment; `_base_` would name another file to read."""
    match node:
        case ast.Assign([ast.Name(name)], value) if name != '_base_':
            return name, value
    raise _NotPlain(node)


def _value(node: ast.expr) -> Any:
    """Return the value of a literal or of a call of `dict` or `range` with literals."""
    match node:
        case ast.Constant(value) if isinstance(value, CONSTANTS):
            return value
        case ast.Name(name) if name in FLOATS:
            return FLOATS[name]
        case ast.UnaryOp(ast.USub(), ast.Constant() | ast.Name() as operand):
            return _minus(operand)
        case ast.List(items):
            return [_value(item) for item in items]
        case ast.Tuple(items):
            return tuple(_value(item) for item in items)
        case ast.Set(items):
            return {_value(item) for item in items}
        case ast.Dict(keys, items) if None not in keys:
            return {_value(k): _value(v) for k, v in zip(keys, items, strict=True) if k}
        case ast.Call(ast.Name('dict'), [] | [ast.Dict()] as given, keywords):
            values = _value(given[0]) if given else {}
            return values | {_keyword(each): _value(each.value) for each in keywords}
        case ast.Call(ast.Name('range'), given, []):
            return range(*[_value(item) for item in given])
    raise _NotPlain(node)


def _minus(node: ast.expr) -> Any:
    value = _value(node)
    return -value if isinstance(value, (int, float, complex)) else _refuse(node)


def _keyword(node: ast.keyword) -> str:
    return node.arg if node.arg is not None else _refuse(node)


def _refuse(node: ast.AST) -> NoReturn:
    raise _NotPlain(node)

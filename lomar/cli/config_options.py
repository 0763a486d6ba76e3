"""`--cfg-options`: KEY=VALUE pairs that change a config.

Values are those of mmengine's DictAction, except that spaces and quoted text stay as they are.
"""

import argparse
import ast
import contextlib
from typing import Any

ALLOWED = 'allowed: KEY=VALUE, and KEY.NAME=VALUE for each entry of a dict'


class ConfigOptions(argparse.Action):
    """Action of `--cfg-options`, which may be given several times."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add `KEY=VALUE` pairs to those of earlier flags."""
        options = dict(getattr(namespace, self.dest) or {})
        for pair in values:
            key, equals, text = pair.partition('=')
            if not equals or text.startswith('{'):
                raise argparse.ArgumentError(self, f'{pair!r} found; {ALLOWED}')
            try:
                options[key] = parse_value(text)
            except ValueError as error:
                raise argparse.ArgumentError(self, f'{pair!r}: {error}') from error
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """Return the value of a text: number, True, False, None, text, or a list or tuple of values.

    Lists have brackets or at least one comma, `[1,2]` or `1,2`, and tuples have parentheses. Text
    needs quotes only for commas and brackets in it, and for text that looks like another value.

    Raises:
        ValueError: brackets or quotes are not in pairs, or belong to a call such as `dict(a=1)`.
    """
    text = text.strip()
    if '"' in text or "'" in text:
        with contextlib.suppress(SyntaxError, ValueError):
            return ast.literal_eval(text)
    if text[:1] + text[-1:] in ('[]', '()'):
        values = [parse_value(item) for item in _items(text[1:-1])]
        return tuple(values) if text[0] == '(' else values
    items = _items(text) if ',' in text else []
    if len(items) == 1:
        raise ValueError(f'{text!r} found; {ALLOWED}, and quotes for text with a comma')
    return [parse_value(item) for item in items] if items else _scalar(text)


def option(key: str, text: str) -> str:
    """Return KEY=VALUE whose value is read as this text, with quotes if it needs them."""
    with contextlib.suppress(ValueError):
        if parse_value(text) == text:
            return f'{key}={text}'
    return f'{key}={text!r}'


def _items(text: str) -> list[str]:
    """Return the parts between commas outside of brackets and quotes; a last comma ends a part."""
    items, depth, quote = [''], 0, ''
    for character in text:
        if quote:
            quote = '' if character == quote else quote
        elif character in '\'"' and not items[-1].strip():
            quote = character
        else:
            depth += (character in '([') - (character in ')]')
            if depth < 0:
                break
        if character == ',' and not depth and not quote:
            items.append('')
        else:
            items[-1] += character
    if depth or quote:
        raise ValueError('brackets or quotes are not in pairs')
    return items if items[-1].strip() else items[:-1]


def _scalar(text: str) -> Any:
    for kind in int, float:
        with contextlib.suppress(ValueError):
            return kind(text)
    return {'true': True, 'false': False}.get(text.lower(), None if text == 'None' else text)

"""`--cfg-options`: KEY=VALUE pairs that change a config.

Values are those of mmengine's DictAction, except that spaces and quoted text stay as they are.
"""

import argparse
import ast
import contextlib
from typing import Any

QUOTES, OPEN, CLOSE = ('"', "'"), ('[', '('), (']', ')')
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
    if text[:1] in QUOTES or (text[:1] in OPEN and any(quote in text for quote in QUOTES)):
        with contextlib.suppress(SyntaxError, ValueError):
            value = ast.literal_eval(text)
            return [*value] if isinstance(value, tuple) and not _is_enclosed(text) else value
    if _is_enclosed(text):
        values = [parse_value(item) for item in _items(text[1:-1])]
        return tuple(values) if text[0] == '(' else values
    if ',' not in text:
        return _scalar(text)
    items = _items(text)
    if items == [text]:
        raise ValueError(f'{text!r} found; {ALLOWED}, and quotes for text with a comma')
    return [parse_value(item) for item in items]


def option(key: str, text: str) -> str:
    """Return KEY=VALUE whose value is read as this text, with quotes if it needs them."""
    with contextlib.suppress(ValueError):
        if parse_value(text) == text:
            return f'{key}={text}'
    return f'{key}={text!r}'


def _levels(text: str) -> list[int]:
    """Return the number of brackets and quotes that are open after each character."""
    levels, depth, quote, before = [], 0, '', ','
    for character in text:
        if quote:
            quote = '' if character == quote else quote
        elif character in QUOTES and before in (',', *OPEN):  # no apostrophe in a word
            quote = character
        else:
            depth += (character in OPEN) - (character in CLOSE)
        if depth < 0:
            break
        levels.append(depth + bool(quote))
        before = before if character.isspace() else character
    if depth or quote:
        raise ValueError('brackets or quotes are not in pairs')
    return levels


def _is_enclosed(text: str) -> bool:
    """Return whether the first bracket of a text closes at its end."""
    return text[:1] + text[-1:] in ('[]', '()') and 0 not in _levels(text)[:-1]


def _items(text: str) -> list[str]:
    """Return the parts between commas outside of brackets and quotes; a last comma ends a part."""
    levels = _levels(text)
    commas = [i for i, character in enumerate(text) if character == ',' and not levels[i]]
    starts = [0, *(place + 1 for place in commas)]
    items = [text[a:b] for a, b in zip(starts, [*commas, len(text)], strict=True)]
    return items if items[-1].strip() else items[:-1]


def _scalar(text: str) -> Any:
    for kind in int, float:
        with contextlib.suppress(ValueError):
            return kind(text)
    return {'true': True, 'false': False}.get(text.lower(), None if text == 'None' else text)

"""Reading of JSON files that may come from anywhere, with line numbers in errors."""

import json
from pathlib import Path
from typing import Any

from lomar.annotations.source import SourceError, read_text


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; a SourceError names the line that is malformed."""
    return parse_json(read_text(path), f'{path}')


def parse_json(text: str, path: str, line: int = 1) -> Any:
    """Return the content of a JSON text that begins in a line of a file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SourceError(f'{path}:{error.lineno + line - 1}', 'is no JSON: ', error.msg) from None
    except (RecursionError, ValueError) as error:  # of nesting, and numbers of too many digits
        raise SourceError(f'{path}:{line}', 'is no JSON: ', error) from None

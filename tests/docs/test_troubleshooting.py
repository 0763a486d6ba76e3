"""docs/troubleshooting.md quotes messages as the code has them."""

import ast
import re

import pytest
from conftest import ROOT

TEXT = (ROOT / 'docs/troubleshooting.md').read_text()
FOREIGN = 'Import and installation'  # messages of other libraries


def messages():
    """Return all strings of the package; values of f-strings are '...'."""
    found = []
    for path in (ROOT / 'lomar').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (
                    part.value if isinstance(part, ast.Constant) else '...' for part in node.values
                )
                found.append(''.join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return '\n'.join(found)


def symptoms():
    """Return the quotes in the first column of all tables, but of other libraries."""
    for section in TEXT.split('\n## ')[1:]:
        if not section.startswith(FOREIGN):
            for row in re.findall(r'^\| (.*?) \|', section, flags=re.MULTILINE)[1:]:
                yield from re.findall(r'`([^`]+)`', row)


@pytest.fixture(scope='module')
def source():
    return messages()


@pytest.mark.parametrize('quote', symptoms())
def test_the_code_has_the_message(quote, source):
    missing = [part for part in re.split(r' ?\.\.\. ?', quote) if part and part not in source]
    assert not missing

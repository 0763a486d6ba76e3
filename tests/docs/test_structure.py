"""docs/structure.md: the functions that it names exist, and imports go in its order."""

import ast
import pkgutil
import re

import pytest
from conftest import ROOT

PAGE = (ROOT / 'docs/structure.md').read_text()
NAMES = sorted(set(re.findall(r'`(lomar(?:\.\w+)+)`', PAGE)))
(ORDER,) = re.findall(r'^    (cli > (?:[^`\n]+\n)+)', PAGE, re.MULTILINE)
LEVELS = [level.split(', ') for level in re.split(r'\s+> ', ORDER.strip())]
FREE = {'register', 'provenance'}  # may be imported from anywhere


@pytest.mark.parametrize('name', NAMES)
def test_names_exist(name):
    pkgutil.resolve_name(name)


def imported(file):
    """Yield the names directly below `lomar` that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name.split('.') for alias in node.names]
            yield from (words[1] for words in names if words[0] == 'lomar' and words[1:])
        elif isinstance(node, ast.ImportFrom) and node.module == 'lomar':
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith('lomar.'):
            yield node.module.split('.')[1]


@pytest.mark.parametrize('level', range(len(LEVELS)))
def test_imports_go_in_one_direction(level):
    below = {name for names in LEVELS[level + 1 :] for name in names}
    for name in LEVELS[level]:
        path = ROOT / 'lomar' / name
        files = path.rglob('*.py') if path.is_dir() else [path.with_suffix('.py')]
        for file in files:
            found = set(imported(file)) & {path.stem for path in (ROOT / 'lomar').iterdir()}
            assert found <= below | FREE | {name}, file

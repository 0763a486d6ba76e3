"""What can be checked of a shell line without running it."""

import re
import shlex
from pathlib import Path

from conftest import ROOT
from shell_folder import CONFIGS
from shell_lines import Line, shown_files, variants
from shell_table import RUNS, WORDS, Page

from lomar.cli import build_parser, main
from lomar.engine.config import read_config

PROGRAMS = (
    r'(lomar|git|python3?|make|docker|mkdir|sh|test|srun|mpirun|(\.venv/bin/)?pip|tools/\w+\.sh)$'
)
MAKEFILE = (ROOT / 'Makefile').read_text()
EXTRAS = (ROOT / 'pyproject.toml').read_text().partition('optional-dependencies]')[2]
DIST = re.compile(r'tools/dist_(train|test)\.sh (CONFIG CHECKPOINT|\S+) \d+')


def commands(text: str, more: dict[str, str]) -> list[str]:
    """Return the commands of a usage line, with values in the place of WORDS and `more`."""
    words = WORDS | more
    pattern = rf'(?<!\S)({"|".join(words)})(?!\S)'
    return [re.sub(pattern, lambda word: words[word[0]], one) for one in variants(text)]


def wrong(line: Line) -> str:
    """Return what is wrong with a command, or ''."""
    page = RUNS.get(line.page, Page())
    base = CONFIGS[page.config][0]
    config = dict(CONFIG=base if '/' in base else f'shapes/{base}')
    for text in commands(line.text, page.words | config):
        text = re.sub(r'^([A-Z_]+=\S+ |srun (--\S+ )*)+', '', text)
        program, *words = shlex.split(DIST.sub(r'lomar \1 \2', text))
        if not re.match(PROGRAMS, program):
            return f'{program} is no program of {PROGRAMS}; other text is a fence of ```text'
        if shown_files(line.page).keys() & {*words}:
            continue  # a config on the page
        found = files(words) or CHECKS.get(Path(program).name, lambda _: '')(words)
        if found:
            return found
    return ''


def files(words: list[str]) -> str:
    """Check that the files of the repository that a command names exist."""
    names = [word for word in words if re.match(r'(tools|mmconfigs|docker|benchmarks)/', word)]
    return ', '.join(name for name in names if not (ROOT / name).exists()) and f'{names} not found'


def lomar(words: list[str]) -> str:
    """Check the flags, the config, and the keys after --cfg-options."""
    if words[-1] == '--help':
        return ''
    try:
        args = build_parser().parse_args(words)
    except SystemExit:
        return 'the command refuses its flags; run it to see the message'
    names = getattr(args, 'config', None) or []
    for name in [names] if isinstance(names, str) else names:
        read_config(name)
    settings = [words[0], '--print-config', *without_data(words[1:])]
    if words[0] in ('train', 'test') and main(settings):
        return 'the command refuses its settings; run it to see the message'
    return ''


def without_data(words: list[str]) -> list[str]:
    """Leave out the flags that name data, which are not there, or need them, and their values."""
    kept, keep = [], True
    for word in words:
        if word.startswith('--'):
            keep = not re.match(r'--(train|val)-(ann|images|masks)$|--(classes|epochs)$', word)
        kept += [word] * keep
    return kept


def make(words: list[str]) -> str:
    """Check that the Makefile has the target and the variables."""
    for word in words[: words.index('&&')] if '&&' in words else words:
        name, equals, _ = word.partition('=')
        pattern = rf'\$\({name}\)' if equals else rf'^{name}:'
        if not re.search(pattern, MAKEFILE, re.MULTILINE):
            return f'the Makefile has no {name}'
    return ''


def pip(words: list[str]) -> str:
    """Check that the package has the extras."""
    for word in words:
        for name in re.findall(r'[\w-]+', (re.findall(r'\[(.*)\]$', word) or [''])[0]):
            if not re.search(rf'^{name} = \[', EXTRAS, re.MULTILINE):
                return f'the package has no extra {name}'
    return ''


def python(words: list[str]) -> str:
    """Check that the script or module of the repository has the flags."""
    name = words[1].replace('.', '/') if words[0] == '-m' else words[0]
    if not name.startswith('benchmarks'):
        return ''
    file = ROOT / name
    text = (file / '__main__.py' if file.is_dir() else file).read_text()
    unknown = [word for word in words if word.startswith('--') and f"'{word}'" not in text]
    return unknown and f'{name} has no {unknown}'


CHECKS = dict(lomar=lomar, make=make, pip=pip, python=python, python3=python)

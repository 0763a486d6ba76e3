"""Every shell line of the docs is run, here or by a named test, or says what it needs."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from processes import run_python
from shell_checks import commands, wrong
from shell_folder import prepare
from shell_lines import Line, lines_of, shell_lines, variants
from shell_table import NEEDS, RUNS, SMALL, TESTED, Page

LINES = shell_lines()
BLOCKS = """
    lomar cost CONFIG \\
        --gpus 4  # measured
    # needs network
    pip install '.[hub]'
    make install     # in a clone; needs a GPU

    lomar demo

1. A list:

       lomar shapes

```console
$ lomar shapes
12 images
```
```text
lomar is no command here
```
"""
OUTPUT = dict(capture_output=True, text=True)
ADVICE = (
    'mend the line; or write what it lacks behind it (# needs network), see NEEDS in '
    'tests/docs/shell_table.py; or name the test that runs it there, in TESTED'
)


def chosen(rows: dict, line: Line):
    """Return the row with the longest beginning of a line, or None."""
    found = [
        key
        for key in rows
        if line.text.startswith(key) and (key + ' ' in line.text + ' ' or key[-1] == '/')
    ]
    return rows[max(found, key=len)] if found else None


def elsewhere(line):
    """Return the test that runs a line, or None."""
    return None if line.needs else chosen(TESTED.get(line.page, {}), line)


def page_of(line):
    return RUNS.get(line.page, Page())


@pytest.mark.parametrize('line', LINES, ids=lambda line: line.place)
def test_a_line_is_right_and_has_one_place(line):
    assert not line.needs or re.match(NEEDS, line.needs), f'{line.place}: needs {line.needs}'
    found = wrong(line)
    assert not found, f'{line.place}: {line.text}: {found}; {ADVICE}'


def test_the_tables_have_no_old_rows():
    for table in (TESTED, {page: {**row.before, **row.added} for page, row in RUNS.items()}):
        for page, rows in table.items():
            here = [line for line in LINES if line.page == page]
            assert here, page
            for row in rows:
                assert any(chosen({row: row}, line) for line in here), (page, row)


@pytest.mark.parametrize(
    'place', sorted({one for rows in TESTED.values() for one in rows.values()})
)
def test_the_named_tests_exist(place):
    path, _, name = place.partition('::')
    text = (ROOT / path).read_text()
    if name:
        assert re.search(rf'^def {name}\(', text, re.MULTILINE)
    else:
        assert any(line.text in text for line in LINES if elsewhere(line) == place)


def test_the_lines_of_blocks():
    found = [(line.number, line.text, line.needs) for line in lines_of('a.md', BLOCKS)]
    assert found == [
        (2, 'lomar cost CONFIG --gpus 4', ''),
        (5, "pip install '.[hub]'", 'network'),
        (6, 'make install', 'a GPU'),
        (8, 'lomar demo', ''),
        (12, 'lomar shapes', ''),
        (15, 'lomar shapes', ''),
    ]
    with pytest.raises(ValueError, match=r'a\.md:1: the fence has no language'):
        list(lines_of('a.md', '```\nlomar shapes\n```\n'))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('a [--b C]', ['a --b C']),
        ('a [--b | --c] [--d]', ['a --b --d', 'a --c --d']),
        ('a DIR|LIST b...', ['a DIR b', 'a LIST b']),
        ("a ... 'x[1]' y=[1,2]", ["a 'x[1]' y=[1,2]"]),
    ],
)
def test_usage_lines(text, expected):
    assert variants(text) == expected


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('rsync a b', 'rsync is no program'),
        ('lomar cost CONFIG --gpu-count 2', 'refuses its flags'),
        (
            'lomar train lomar_pretrain --cfg-options model.bakbone.arch=tiny',
            'refuses its settings',
        ),
        ('tools/dist_train.sh lomar_pretrain 8 --apm', 'refuses its flags'),
        ('lomar cost mmconfigs/none.py', 'not found'),
        ('make instal', 'no instal'),
        ('make demo IMAGE=DIR', 'no IMAGE'),
        ("pip install '.[openmmlab,hubb]'", 'no extra hubb'),
        ('python -m benchmarks.speed --arch base', 'has no'),
    ],
)
def test_wrong_lines_are_refused(text, message):
    assert message in wrong(Line('README.md', 1, text))


def run(text, folder):
    """Run a command in a folder as Bash does; `lomar` and `python` are forked processes."""
    path = f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}'
    env = dict(os.environ, PATH=path, PYTHON=sys.executable, PYTHONPATH=str(ROOT))
    found = re.match(r'((?:[A-Z_]+=\S+ )*)(lomar|python) (.*)', text)
    if not found or '&&' in text:
        return subprocess.run(['bash', '-c', text], cwd=folder, env=env, check=False, **OUTPUT)
    variables, program, words = found.groups()
    env |= dict(re.findall(r'(\w+)=(\S+)', variables))
    split = ['bash', '-c', f'printf "%s\\0" {words}']
    done = subprocess.run(split, cwd=folder, env=env, check=True, **OUTPUT)
    start = ['-m', 'lomar'] if program == 'lomar' else []
    return run_python(*start, *done.stdout.split('\0')[:-1], cwd=folder, env=env)


def small(line):
    """Return what is added to a command to make a training small."""
    given = chosen(page_of(line).added, line)
    config = re.search(r'(lomar train|lomar test|dist_train\.sh) (\S+)', line.text)
    if given is not None or not config:
        return given or ''
    found = ''.join(SMALL[name] for name in SMALL if config[2].startswith(name))
    return found.replace('--epochs 1 ', '') if config[1] == 'lomar test' else found


MARKS = dict(slow=[pytest.mark.slow], long=[pytest.mark.slow, pytest.mark.long])
OWN = [line for line in LINES if not line.needs and not elsewhere(line)]
PAGES = [
    pytest.param(page, marks=MARKS[RUNS.get(page, Page()).mark])
    for page in dict.fromkeys(line.page for line in OWN)
]


@pytest.mark.parametrize('page', PAGES)
def test_the_lines_run(page, tmp_path):
    setting = RUNS.get(page, Page())
    prepare(tmp_path, page, setting.config, setting.make)
    for line in [one for one in OWN if one.page == page]:
        before = chosen(setting.before, line) or ''
        for text in commands(line.text, setting.words):
            subprocess.run(['bash', '-c', before], cwd=tmp_path, check=True)
            done = run(f'{text} {small(line)}', tmp_path)
            output = f'{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
            assert done.returncode == 0, f'{line.place}: {text}\n{output}\n{line.place}: {ADVICE}'

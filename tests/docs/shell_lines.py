"""The shell lines of README, CONTRIBUTING and docs.

An indented block has shell lines, and so has a fence of `bash`. In a fence of `console`, the shell
lines begin with `$`. Every other block is a fence with its language.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from conftest import ROOT
from markdown_it import MarkdownIt

PAGES = ('README.md', 'CONTRIBUTING.md', *sorted(f'docs/{p.name}' for p in ROOT.glob('docs/*.md')))
COMMENT = re.compile(r'(?:^|\s+)# ?(.*)$')
NEEDS = re.compile(r'\bneeds (.*)$')


@dataclass(frozen=True)
class Line:
    """A command of a page, without its comment; lines that `\\` continues are joined.

    `needs` is what the page says that the command needs: after the command in `# needs ...`, or in
    such a comment on a line of its own above the commands of a block.
    """

    page: str
    number: int = field(compare=False)
    text: str
    needs: str = ''

    @property
    def place(self) -> str:
        return f'{self.page}:{self.number}'


def shell_lines() -> list[Line]:
    """Return the shell lines of all pages in their order."""
    return [line for page in PAGES for line in lines_of(page, (ROOT / page).read_text('utf-8'))]


def lines_of(page: str, text: str) -> Iterator[Line]:
    """Yield the shell lines of the text of a page."""
    for token in MarkdownIt().parse(text):
        if token.type == 'code_block':
            yield from _block(page, token.map[0] + 1, token.content)
        elif token.type == 'fence' and token.info in ('bash', 'sh', 'shell'):
            yield from _block(page, token.map[0] + 2, token.content)
        elif token.type == 'fence' and token.info == 'console':
            dollars = re.sub(r'^(?!\$ ).*$|^\$ ', '', token.content, flags=re.MULTILINE)
            yield from _block(page, token.map[0] + 2, dollars)
        elif token.type == 'fence' and not token.info:
            raise ValueError(f'{page}:{token.map[0] + 1}: the fence has no language')


def _block(page: str, number: int, content: str) -> Iterator[Line]:
    above = ''
    # A command and the lines that continue it.
    for found in re.finditer(r'(?:.*\\\n)*.*\n?', content):
        text = found[0].replace('\\\n', ' ').strip()
        comment = COMMENT.search(text)
        needs = NEEDS.search(comment[1]) if comment else None
        command = ' '.join(text[: comment.start()].split()) if comment else ' '.join(text.split())
        if command:
            start = number + content[: found.start()].count('\n')
            yield Line(page, start, command, needs[1] if needs else above)
        elif not text:
            above = ''
        elif needs:
            above = needs[1]


def variants(text: str) -> list[str]:
    """Return the commands that a usage line stands for.

    `[--a]` is a flag that may be left out, and is kept; `[--a | --b]` and `DIR|LIST` are one of
    several; `...` is removed.
    """
    text = re.sub(r' ?\.\.\.(?=\s|$|\])', '', text)
    parts = re.split(r'(?<=\s)\[([^\]]*)\](?=\s|$)|(?<=\s)([A-Z]+\|[A-Z]+)(?=\s|$)', text)
    plain, optional, either = parts[::3], parts[1::3], parts[2::3]
    choices = [
        (a.split(' | ') if a else b.split('|')) for a, b in zip(optional, either, strict=True)
    ]
    return [
        ''.join(piece for pair in zip(plain, (*chosen, ''), strict=True) for piece in pair).strip()
        for chosen in product(*choices)
    ]


def shown_files(page: str) -> dict[str, str]:
    """Return the Python files that a page shows: fences that begin with `# NAME.py`."""
    text = (ROOT / page).read_text('utf-8')
    return dict(re.findall(r'^```python\n# (\S+\.py)\n(.*?)^```', text, re.DOTALL | re.MULTILINE))

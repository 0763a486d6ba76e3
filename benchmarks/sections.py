"""Generated sections of pages: from `<!-- NAME: COMMAND -->` to `<!-- end of NAME -->`."""

import re
from pathlib import Path


def with_section(page: str, name: str, content: str) -> str:
    """Return the text of a page with other content in a section.

    Raises:
        ValueError: the page does not have the section once.
    """
    before, _, after = _parts(page, name)
    return '{}\n\n{}\n\n{}'.format(before, content.strip('\n'), after)


def read_section(page: Path, name: str) -> str:
    """Return the content of a section; errors are those of `with_section`."""
    return _parts(page.read_text(encoding='utf-8'), name)[1].strip('\n')


def write_section(page: Path, name: str, content: str) -> None:
    """Replace the content of a section; errors are those of `with_section`."""
    text = with_section(page.read_text(encoding='utf-8'), name, content)
    page.write_text(text, encoding='utf-8')


def _parts(page: str, name: str) -> tuple[str, str, str]:
    """Return the page up to the section with its first line, the content, and the rest."""
    pattern = rf'(.*<!-- {name}(?:: [^\n]*)? -->)(.*)(<!-- end of {name} -->.*)'
    found = re.fullmatch(pattern, page, re.DOTALL)
    if found is None or page.count(f'<!-- end of {name} -->') > 1:
        raise ValueError(f'needs one section from <!-- {name} --> to <!-- end of {name} -->')
    before, content, after = found.groups()
    return before, content, after

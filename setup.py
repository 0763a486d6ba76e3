"""Metadata that pyproject.toml cannot compute: the page of a package index, and links to it."""

import re
from pathlib import Path

from setuptools import setup

# Address of the repository, for example 'https://github.com/OWNER/lomar'. While it is empty, the
# metadata has no address, and the page has no pictures and no links to files.
REPOSITORY = ''


def readme(repository: str) -> str:
    """Return README.md with links to files of the repository as addresses, or as plain text."""

    def link(match: re.Match) -> str:
        image, text, target = match.groups()
        if not repository:
            return '' if image else text
        return f'{image}[{text}]({repository}/{"raw" if image else "blob"}/main/{target})'

    page = Path(__file__).with_name('README.md').read_text(encoding='utf-8')
    return re.sub(r'(!?)\[([^]]*)\]\((?![a-z]+:|#)([^)\s]+)\)', link, page)


setup(
    long_description=readme(REPOSITORY),
    long_description_content_type='text/markdown',
    project_urls=dict(Repository=REPOSITORY) if REPOSITORY else {},
)

"""Pages of the site that are no files of docs/, and links that leave docs/."""

import re
from ast import ImportFrom, parse
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# Rooms whose public names are documented, after those of `lomar` itself.
PACKAGES = ('models', 'datasets', 'checkpoints', 'detection', 'classification', 'engine')


def on_files(files: Files, config) -> Files:
    """Add README.md as the first page, and the reference of Python names."""
    page = (ROOT / 'README.md').read_text(encoding='utf-8').replace('](docs/', '](')
    files.append(File.generated(config, 'index.md', content=page))
    files.append(File.generated(config, 'reference.md', content=reference()))
    return files


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Make links to files outside of docs/ plain text, or addresses if the repository is known."""
    known = config.repo_url.rstrip('/') + '/blob/main/' if config.repo_url else None

    def link(match: re.Match) -> str:
        text, target = match.groups()
        return f'[{text}]({known}{target})' if known else text

    if page.file.src_uri == 'index.md':
        return re.sub(r'\[([^]]*)\]\(([A-Z][^):]*)\)', link, markdown)
    return re.sub(r'\[([^]]*)\]\(\.\./([^)]*)\)', link, markdown)


def reference() -> str:
    """Return a page with the public names of the package and of its subpackages."""
    parts = ['# Python reference\n\nThe names that programs may use, from their docstrings.\n']
    for name in ('', *PACKAGES):
        stub = ROOT / 'lomar' / name / '__init__.pyi'
        package = '.'.join(('lomar', name)).rstrip('.')
        parts.append(f'\n## {package}\n')
        for node in parse(stub.read_text(encoding='utf-8')).body:
            if isinstance(node, ImportFrom) and node.module:  # without: other packages
                module = f'{package}.{node.module}' if node.level else str(node.module)
                parts += [f'\n::: {module}.{one.name}\n' for one in node.names]
    return ''.join(parts)

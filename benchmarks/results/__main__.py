"""Write the page of results from claims.yaml, published.yaml and the JSON files of benchmarks.

The files are docs/results.md, docs/results.html, mmconfigs/metafile.yml, and the tables between
markers of README.md and docs/comparison.md, with the plots of the comparison. With --check, nothing
is written, and the exit code is 1 if a file other than a plot is stale.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison import report
from benchmarks.results import page
from benchmarks.results.measured import measure, read_source
from benchmarks.sections import with_section
from lomar.utils import atomic_write
from lomar.visualization.results_table import read_published

ROOT = page.ROOT


def outputs() -> dict[Path, str]:
    """Return the text of every file that is written.

    Raises:
        ValueError: README.md lacks the markers, or a measured row cannot be read.
    """
    source = read_source()
    claims, published = source.claims, page.by_claim(read_published())
    if published.keys() != {claim.claim for claim in claims}:
        raise ValueError('claims.yaml and published.yaml have different claims')
    measured = [measure(row) for row in source.measured]
    text = page.markdown(claims, published, measured)
    readme = ROOT / 'README.md'
    top = page.top(claims, published, measured, 'docs/')
    return {
        readme: with_section(readme.read_text(encoding='utf-8'), 'results', top),
        ROOT / 'docs/results.md': text,
        ROOT / 'docs/results.html': page.html(text),
        report.PAGE: report.written(report.PAGE.read_text(encoding='utf-8')),
        ROOT / 'mmconfigs/metafile.yml': page.metafile(claims, published),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.results', description=__doc__)
    parser.add_argument(
        '--check', action='store_true', help='write nothing; exit with 1 if a file is stale'
    )
    args = parser.parse_args(arguments)
    try:
        texts = outputs()
    except (OSError, ValueError) as error:
        sys.exit(f'{parser.prog}: {error}')
    stale = {
        path: text
        for path, text in texts.items()
        if not path.exists() or path.read_text(encoding='utf-8') != text
    }
    names = [path.relative_to(ROOT).as_posix() for path in stale]
    if args.check and stale:
        sys.exit(f'stale: {", ".join(names)}; run {parser.prog}')
    for path, text in stale.items():
        with atomic_write(path) as part:
            part.write_text(text, encoding='utf-8')
    report.draw()
    print('\n'.join(f'written: {name}' for name in names) or 'nothing has changed')


if __name__ == '__main__':
    main()

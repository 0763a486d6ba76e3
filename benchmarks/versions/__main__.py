"""Build each environment of matrix.json, and run the quick tests in it.

An environment takes about 6 GB and some minutes; it is removed after its tests. The table of
docs/install.md shows the result file. CI builds the same environments.
"""

import argparse
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.sections import write_section
from lomar.provenance import provenance
from lomar.utils import write_json

ROOT = Path(__file__).resolve().parents[2]
MATRIX, RESULT = (Path(__file__).with_name(f'{name}.json') for name in ('matrix', 'versions'))
PAGE = ROOT / 'docs/install.md'
PACKAGES = ('torch', 'torchvision', 'timm', 'numpy', 'mmengine', 'mmdet', 'mmpretrain', 'mmcv')
LISTING = """
import json
from importlib.metadata import distributions
print(json.dumps({one.name: one.version for one in distributions()}))
"""


def tried(row: dict, folder: Path) -> dict:
    """Return what the quick tests said in a new environment, and the versions in it."""
    interpreter = shutil.which(f'python{row["python"]}')
    if interpreter is None:
        return dict(row, outcome='not run: no such interpreter')
    venv, start = folder / 'venv', time.monotonic()
    line = ['make', 'test-quick', f'PYTHON={interpreter}', f'VENV={venv}', f'STACK={row["stack"]}']
    line.append(f'CONSTRAINTS={row["constraints"]}')
    print('$', *line, flush=True)
    done = subprocess.run(line, cwd=ROOT, text=True, capture_output=True, check=False)
    summary = re.findall(r'^=+ (.*(?:passed|failed|error).*) in [\d.]+s', done.stdout, re.MULTILINE)
    python = venv / 'bin/python'
    found = {}
    if python.exists():
        listed = subprocess.run([python, '-c', LISTING], text=True, capture_output=True, check=True)
        found = json.loads(listed.stdout)
    record = dict(
        row,
        outcome=summary[-1] if summary else 'the installation failed',
        exit_code=done.returncode,
        failed=re.findall(r'^(?:FAILED|ERROR) (.+)', done.stdout, re.MULTILINE),
        versions={name: versions(found, name) for name in PACKAGES},
        seconds=round(time.monotonic() - start),
        environment=provenance(),
    )
    if not summary:
        record['output'] = done.stderr[-2000:]
    print(record['outcome'], *record['failed'], sep='\n', flush=True)
    return record


def versions(found: dict[str, str], name: str) -> str | None:
    """Return the version of a package, also under the names of the forks and of mmcv-lite."""
    forks = {'mmdet': 'onedl-mmdetection', 'mmcv': 'mmcv-lite'}
    names = (name, f'onedl-{name}', forks.get(name, name))
    return next((found[one] for one in names if one in found), None)


def table(records: list[dict]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        f'| Python | stack | versions | {" | ".join(PACKAGES)} | quick tests |',
        '| --- ' * (len(PACKAGES) + 4) + '|',
    ]
    for one in records:
        cells = [one.get('versions', {}).get(name) or '' for name in PACKAGES]
        head = (one['python'], f'`{one["stack"]}`', one['choice'], *cells)
        lines.append(f'| {" | ".join((*head, one["outcome"]))} |')
    return '\n'.join(lines)


def key(row: dict) -> tuple:
    """Return what names a row of the matrix."""
    return row['python'], row['stack'], row['constraints']


def main() -> None:
    """Try the environments, write the result file and the table."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.versions', description=__doc__)
    parser.add_argument('--rows', type=int, nargs='+', help='rows of matrix.json (default: all)')
    args = parser.parse_args()
    rows = json.loads(MATRIX.read_text())
    known = {key(one): one for one in (json.loads(RESULT.read_text()) if RESULT.exists() else [])}
    for number in range(len(rows)) if args.rows is None else args.rows:
        with tempfile.TemporaryDirectory() as folder:
            known[key(rows[number])] = tried(rows[number], Path(folder))
        write_json(RESULT, [known[key(row)] for row in rows if key(row) in known])
    write_section(PAGE, 'versions', table(json.loads(RESULT.read_text())))


if __name__ == '__main__':
    main()

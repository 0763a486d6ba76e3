"""Run the commands of docs/tutorial.md in an empty folder, and measure their time and the AP.

The table of docs/tutorial.md shows the result file.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.sections import write_section
from lomar.provenance import provenance
from lomar.utils import write_json

ROOT = Path(__file__).resolve().parents[2]
PAGE, RESULT = ROOT / 'docs/tutorial.md', Path(__file__).with_name('tutorial_cpu.json')
METRICS = 'metrics.json'


def commands(text: str) -> list[str]:
    """Return the shell commands of a page after its installation; indented lines are commands."""
    text = text.partition('\n## Convert')[2].replace('\\\n', ' ')
    return [' '.join(line.split()) for line in re.findall(r'^ {4}(\S.*)', text, re.MULTILINE)]


def timed(lines: Sequence[str], folder: Path, python: str) -> list[dict]:
    """Run commands in a folder; return command and seconds of each.

    Args:
        python: interpreter of the environment in which the package is installed.

    Raises:
        RuntimeError: a command failed.
    """
    records = []
    for line in lines:
        words = shlex.split(line)
        if words[0] == 'lomar':
            words = [python, '-m', *words]
        print(f'$ {line}', flush=True)
        start = time.monotonic()
        done = subprocess.run(words, cwd=folder, check=False)
        if done.returncode:
            raise RuntimeError(f'{line}: exit code {done.returncode}')
        records.append(dict(command=line, seconds=round(time.monotonic() - start, 1)))
    return records


def table(result: dict) -> str:
    """Return the times of the `lomar` commands as a Markdown table, and where they come from."""
    rows = [
        (' '.join(one['command'].split()[:3]), f'{one["seconds"]:.0f}')
        for one in result['commands']
        if one['command'].startswith('lomar ')
    ]
    ap, hardware = result['metrics']['bbox'], result['hardware']
    return '\n'.join(
        [
            '| command | seconds |',
            '| --- | --- |',
            *(f'| `{command} ...` | {seconds} |' for command, seconds in rows),
            '',
            f'Box AP on the validation photographs is {ap["AP"]:.1f} %, and AP50 is '
            f'{ap["AP50"]:.1f} %. `{result["cli"]}` measured the times and the AP on '
            f'{hardware["cpu"]} with {hardware["threads"]} threads.',
            '',
        ]
    )


def main() -> None:
    """Run the commands, write the result file and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('data', type=Path, help='folder of the example data, with JPEGImages and Annotations')
    add('folder', type=Path, help='empty folder for the results')
    add('--python', default=sys.executable, help='interpreter of another environment')
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    subprocess.run(['cp', '-r', args.data.resolve(), args.folder / 'blood'], check=True)
    records = timed(commands(PAGE.read_text(encoding='utf-8')), args.folder.resolve(), args.python)
    (metrics,) = args.folder.glob(f'work_dirs/*/{METRICS}')
    measured = json.loads(metrics.read_text())['metrics']
    cli = 'python -m benchmarks.tutorial DATA FOLDER'
    result = dict(cli=cli, commands=records, metrics=measured, **provenance())
    write_json(RESULT, result)
    write_section(PAGE, 'times', table(result))


if __name__ == '__main__':
    main()

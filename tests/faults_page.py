"""Write docs/faults.md from the results of the fault suite: python -m tests.faults_page."""

import ast
import json
from pathlib import Path

from lomar.utils import atomic_write

ROOT = Path(__file__).resolve().parents[1]
SUITE, PAGE = ROOT / 'tests/faults', ROOT / 'docs/faults.md'
RESULTS = SUITE / 'results.json'
HEAD = """# Faults

This page lists the faults that are tested, and what happens after each of them. `make faults`
disturbs real trainings and commands at toy size on a CPU, and writes this page from their results.
Edit the tests in `tests/faults/` instead of the page. `make test` runs a part of the suite.

"Cases" counts tests and, in parentheses, single faults such as kills, if a test makes several.

| Fault | What happens | Cases | Result |
|---|---|---:|---|
"""
NOT_COVERED = """
**Not tested**: faults of GPUs and NCCL, file systems that lose written data, and machines that lose
power.
"""


def declared() -> list[tuple[str, str]]:
    """Return fault and behaviour of each mark `fault` in the suite, in the order of the files."""
    found = []
    for file in sorted(SUITE.glob('test_*.py')):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == 'pytest.mark.fault':
                found.append(tuple(ast.literal_eval(each) for each in node.args))
    return found


def page(results: dict) -> str:
    """Return the text of the page.

    Raises:
        ValueError: a fault of the suite has no result.
    """
    lines = []
    for what, happens in declared():
        pair = [what, happens]
        tests = [
            each for each in results['tests'].values() if [each['what'], each['happens']] == pair
        ]
        if not tests:
            raise ValueError(f'{what}: no result; run make faults')
        times = sum(each['times'] for each in tests)
        cases = f'{len(tests)}' + (f' ({times})' if times > len(tests) else '')
        lines.append(f'| {what} | {happens} | {cases} | {_outcome(tests)} |')
    versions = results['versions']
    made = (
        f'\nRun on {results["date"][:10]} with Python {versions["python"]}, torch '
        f'{versions["torch"]} and mmengine {versions["mmengine"]}, on '
        f'{results["hardware"]["cpu"]}.\n'
    )
    return HEAD + '\n'.join(lines) + '\n' + made + NOT_COVERED


def _outcome(tests: list[dict]) -> str:
    counts = {each['outcome']: 0 for each in tests}
    for each in tests:
        counts[each['outcome']] += 1
    if [*counts] == ['passed']:
        return 'passed'
    reasons = '; '.join(sorted({each['reason'] for each in tests if each['reason']}))
    return ', '.join(f'{number} {name}' for name, number in counts.items()) + (
        f' ({reasons})' if reasons else ''
    )


def main() -> None:
    """Write the page."""
    with atomic_write(PAGE) as part:
        part.write_text(page(json.loads(RESULTS.read_text())), encoding='utf-8')


if __name__ == '__main__':
    main()

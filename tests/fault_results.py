"""Plugin of pytest that records what the fault suite tried, and what happened.

With the environment variable FAULT_RESULTS, the outcome of each test with the mark `fault` is
written to this JSON file. Tests that were not run keep their earlier record.
"""

import json
import os
from pathlib import Path

from lomar.provenance import provenance
from lomar.utils import write_json

FILE = os.environ.get('FAULT_RESULTS')
found = {}  # record by test


def pytest_collection_modifyitems(items):
    for item in items:
        if mark := item.get_closest_marker('fault'):
            item.user_properties.append(('fault', list(mark.args)))


def pytest_runtest_logreport(report):
    """Keep the outcome of a test; with several workers, in the process that has all of them."""
    properties = dict(report.user_properties)
    if not FILE or 'fault' not in properties:
        return
    what, happens = properties['fault']
    if report.when == 'call' or report.skipped or (report.when == 'setup' and report.failed):
        reason = report.longrepr[2] if report.skipped and report.longrepr else ''
        found[report.nodeid] = dict(
            what=what,
            happens=happens,
            outcome=report.outcome,
            reason=str(reason).removeprefix('Skipped: '),
            times=int(properties.get('times', 1)),
            seconds=round(report.duration),
        )


def pytest_sessionfinish(session):
    if not FILE or not found or hasattr(session.config, 'workerinput'):
        return
    path = Path(FILE)
    before = json.loads(path.read_text())['tests'] if path.exists() else {}
    write_json(path, dict(provenance(), tests=dict(sorted({**before, **found}.items()))))

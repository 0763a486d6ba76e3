"""docs/faults.md is what the last run of the fault suite found."""

import json

import pytest

from tests.faults_page import PAGE, RESULTS, declared, page


def test_the_page_is_up_to_date():
    """Run `make faults` if this test fails."""
    assert PAGE.read_text() == page(json.loads(RESULTS.read_text()))


def test_the_page_has_every_fault():
    assert len(declared()) == len({*declared()}) > 15
    assert all(f'| {what} | {happens} |' in PAGE.read_text() for what, happens in declared())


def test_a_fault_without_a_result_is_an_error():
    with pytest.raises(ValueError, match='no result; run make faults'):
        page(dict(tests={}))


def test_failures_are_on_the_page():
    results = json.loads(RESULTS.read_text())
    first = next(iter(results['tests'].values()))
    assert ' failed' not in page(results)
    first.update(outcome='failed')
    assert '1 failed' in page(results)

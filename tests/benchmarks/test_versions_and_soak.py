"""The matrix of versions and its table; the figures of long trainings."""

import json
import os

import pytest
from conftest import ROOT

from benchmarks.sections import read_section, with_section
from benchmarks.soak import __main__ as soak
from benchmarks.versions.__main__ import MATRIX, PAGE, RESULT, key, table


def test_the_page_shows_the_results():
    records = json.loads(RESULT.read_text())
    assert read_section(PAGE, 'versions') == table(records)
    rows = [key(row) for row in json.loads(MATRIX.read_text())]
    assert [key(one) for one in records] == [row for row in rows if row in map(key, records)]


def test_ci_builds_the_rows_of_the_matrix():
    workflow = (ROOT / '.github/workflows/ci.yml').read_text()
    assert 'benchmarks/versions/matrix.json' in workflow
    for row in json.loads(MATRIX.read_text()):
        assert {f'matrix.{name}' in workflow for name in row} == {True}
        assert not row['constraints'] or (ROOT / row['constraints']).is_file()


def test_the_page_shows_the_long_trainings():
    assert read_section(soak.PAGE, 'soak') == soak.table(soak.saved())


def test_the_sentences_about_detection():
    """docs/verification.md: 1 % in the last 15 minutes of the hour; below 1.1 GB."""
    _, hour, _, small_cache = soak.saved()
    first, *_, last = [one['main_mb'] for one in hour['samples'] if one['seconds'] > 45 * 60]
    assert hour['minutes'] == 60 and round(100 * (last / first - 1)) == 1
    assert small_cache['onednn_cache'] == '32'
    assert max(one['main_mb'] for one in small_cache['samples']) < 1100


@pytest.mark.parametrize('page', ['', '<!-- a -->', '<!-- end of a --><!-- a: b -->'])
def test_a_page_without_the_section(page):
    with pytest.raises(ValueError, match='needs one section from <!-- a -->'):
        with_section(page, 'a', 'text')


def test_quarters_are_compared():
    found = [dict(seconds=i, main_mb=float(i), files=3) for i in range(8)]
    assert soak.summary(found) == dict(main_mb=[2.5, 6.5], files=[3, 3])


@pytest.mark.skipif(not os.path.exists('/proc/self/smaps_rollup'), reason='needs Linux')
def test_memory_and_children_of_this_process():
    assert 10 < soak.memory(os.getpid()) < 1e5
    assert isinstance(soak.tree(os.getpid()), list)

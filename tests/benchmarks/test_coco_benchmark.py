"""The benchmark of reading annotations, with few of them."""

from conftest import ROOT

from benchmarks.coco.__main__ import measure
from benchmarks.coco.generate import generate


def test_two_processes_read_what_one_reads(tmp_path):
    generate(tmp_path / 'train', 20, 60)
    found = measure('run', tmp_path / 'train', ROOT, processes=2)
    assert sorted(found) == ['0', '1']
    assert all(figures['user_seconds'] > 0 for figures in found.values())

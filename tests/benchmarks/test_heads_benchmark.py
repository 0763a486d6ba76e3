"""`python -m benchmarks.heads`: its configs, commands and result file, without training."""

import json

import pytest
from conftest import ROOT

from benchmarks.heads import __main__ as heads
from tests.heads import HEADS, INITIALISATIONS, RESULT


def lomar(*words, cwd):
    """Write what the command would write."""
    assert (ROOT / f'mmconfigs/{words[1]}.py').exists()
    work_dir = words[words.index('--work-dir') + 1]
    work_dir.mkdir(parents=True, exist_ok=True)
    (work_dir / 'last_checkpoint').write_text('epoch_1.pth')
    boxes = dict(bbox=dict(AP=12.34, AP50=25.0, AP75=None))
    masks = dict(segm=dict(AP=10.0, AP50=20.0, AP75=None)) if 'mask' in words[1] else {}
    (work_dir / 'metrics.json').write_text(json.dumps(dict(metrics=boxes | masks)))


@pytest.mark.parametrize('init', INITIALISATIONS)
def test_every_detector_is_found(init):
    assert {head.toy or kind for kind, head in HEADS.items()} < set(heads.configs(init))


def test_records_are_added(tmp_path, monkeypatch):
    monkeypatch.setattr(heads, '_lomar', lomar)
    out = tmp_path / 'heads.json'
    line = [str(tmp_path), '--json', str(out), '--detectors']
    heads.main([*line, 'fcos'])
    heads.main([*line, 'mask2former'])
    found = json.loads(out.read_text())
    assert (found['init'], found['epochs']) == ('scratch', 3)
    assert list(found['records']) == ['fcos', 'mask2former']
    assert found['records']['fcos']['box_ap'] == 12.3
    assert 'mask_ap' not in found['records']['fcos']
    assert found['records']['mask2former']['mask_ap50'] == 20.0
    with pytest.raises(ValueError, match=r'has epochs=3, found 4; name a new file'):
        heads.main([*line, 'fcos', '--epochs', '4'])


def test_the_committed_results_are_of_these_detectors():
    records = json.loads(RESULT.read_text())['records']
    assert set(records) <= set(heads.configs('lomar'))
    for record in records.values():
        assert 0 <= record['box_ap'] <= record['box_ap50'] <= 100 and record['versions']['mmdet']

"""The comparison of LoMaR, MAE and random weights: its protocol, its record, the command."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

from lomar import comparison
from lomar.comparison import protocol as runs


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(runs, 'step_seconds', lambda work, method: dict(lomar=0.3, mae=0.2)[method])


def test_contenders_are_treated_alike(tmp_path, measured):
    protocol = comparison.Protocol()
    settings = {}
    listed = runs.fine_tuning_runs(protocol)
    for run, job in zip(listed, comparison.fine_tunings(tmp_path, protocol), strict=True):
        train, test = job.commands
        words = [word for word in (*train, *test) if run.contender not in word]
        words = [word for word in words if not word.startswith('load_from')]
        seconds = run.seconds or protocol.seconds[-1]
        settings.setdefault((run.task, run.labels, seconds, run.seed), []).append(words)
        # As many steps for every number of labelled images.
        (epochs,) = [word for word in train if word.startswith('train_cfg.max_epochs')]
        assert int(epochs.split('=')[1]) * run.labels // protocol.batch == protocol.steps
    for (*_, seconds, _), contenders in settings.items():
        assert len(contenders) == (3 if seconds == protocol.seconds[-1] else 2)
        assert all(words == contenders[0] for words in contenders)
    assert len(settings) == 2 * 3 * (3 + 1)  # tasks, seeds, labels and shorter pretraining


def test_pretraining_takes_equal_time(tmp_path, measured):
    protocol = comparison.Protocol()
    for seconds in protocol.seconds:
        for method, step in (('lomar', 0.3), ('mae', 0.2)):
            epoch = protocol.images // 32 * step
            epochs = runs.epochs_in(tmp_path, protocol, method, seconds)
            assert abs(epochs * epoch - seconds) <= epoch / 2 + 1e-9 or epochs == 2
    jobs = comparison.pretrainings(tmp_path, protocol)
    assert len({job.result for job in jobs}) == 2 * len(protocol.seconds) * len(protocol.seeds)


@pytest.mark.slow
def test_the_command_resumes_and_stops_at_a_failure(tmp_path):
    def run(code):
        outputs = ('--out', tmp_path / 'record.json', '--plot', tmp_path / 'plot.png')
        command = ('--smoke', '--work-dir', tmp_path / 'work', *outputs)
        done = subprocess.run(
            [sys.executable, ROOT / 'tools/compare.py', *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert '| 16 | none | random |' in run(0)
    record = json.loads((tmp_path / 'record.json').read_text())
    assert {run['contender'] for run in record['results']} == set(runs.CONTENDERS)
    assert (tmp_path / 'plot.png').stat().st_size > 10_000
    kept = tmp_path / 'work/detect-scratch-0s-16labels-seed0/metrics.json'
    removed = tmp_path / 'work/classify-scratch-0s-16labels-seed1/metrics.json'
    changed = kept.stat().st_mtime_ns
    removed.unlink()
    assert 'classify-scratch-0s-16labels-seed1: ' in run(0)
    assert removed.exists() and kept.stat().st_mtime_ns == changed
    removed.unlink()
    for checkpoint in removed.parent.glob('*.pth'):
        checkpoint.write_bytes(b'broken')
    assert f'tools/train.py ended with 1; its output is in {removed.parent / "log.txt"}' in run(1)

"""The comparison of LoMaR, MAE and random weights: its protocol, its record, the command."""

import json
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from processes import start

from benchmarks import comparison
from benchmarks.comparison import protocol as runs
from benchmarks.comparison.__main__ import SMOKE, main
from benchmarks.comparison.report import FIGURES, summary
from lomar.cli import parse_args
from lomar.datasets.shapes import make_shapes
from lomar.engine import train_config
from lomar.engine.config import test_config as read_test_config


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
    # For each seed, the detector's labels and shorter pretraining, and the classifier's labels.
    assert len(settings) == 3 * (3 + 1 + 1)


def test_pretraining_takes_equal_time(tmp_path, measured):
    protocol = comparison.Protocol()
    for seconds in protocol.seconds:
        for method, step in (('lomar', 0.3), ('mae', 0.2)):
            epoch = protocol.images // 32 * step
            epochs = runs.epochs_in(tmp_path, protocol, method, seconds)
            assert abs(epochs * epoch - seconds) <= epoch / 2 + 1e-9 or epochs == 2
    jobs = comparison.pretrainings(tmp_path, protocol)
    assert len({job.result for job in jobs}) == 2 * len(protocol.seconds) * len(protocol.seeds)


COMMANDS = """
import sys, time
name, path = sys.argv[1:]
if name == 'fail':
    sys.exit('no such thing')
if name == 'wait':
    open(path, 'a').close()
    time.sleep(60)
if name in ('write', 'wait'):
    open(path, 'a').write('done ')
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for jobs whose commands write a file, fail, or wait a minute."""
    (tmp_path / 'command.py').write_text(COMMANDS)
    monkeypatch.setattr(comparison.jobs, 'LOMAR', (sys.executable, str(tmp_path / 'command.py')))
    return tmp_path


def job(folder, *commands):
    result = folder / 'result'
    return comparison.Job(folder, tuple((name, str(result)) for name in commands), result)


def test_jobs_run_once(folder):
    jobs = [job(folder / name, 'write', 'write') for name in 'abc']
    for _ in range(2):
        comparison.run_jobs(jobs, 'jobs', slots=2, threads=1)
    assert [one.result.read_text() for one in jobs] == ['done done '] * 3


def test_a_failed_job_stops_the_others_and_names_its_log(folder):
    jobs = [job(folder / 'a', 'wait', 'write'), job(folder / 'b', 'fail')]
    jobs.append(job(folder / 'c', 'write'))
    with pytest.raises(comparison.JobFailed, match=r'lomar fail ended with 1; .*b/log.txt'):
        comparison.run_jobs(jobs, 'jobs', slots=2, threads=1)
    assert (folder / 'a/result').read_text() == '', 'the first was not stopped'
    assert 'no such thing' in (folder / 'b/log.txt').read_text()
    silent = [job(folder / 'd', 'nothing')]
    with pytest.raises(comparison.JobFailed, match='result was not written'):
        comparison.run_jobs(silent, 'jobs', slots=1, threads=1)


def test_table_and_plot(tmp_path):
    results = [
        dict(
            **dict(task=task, contender=contender, seconds=seconds, labels=labels, seed=seed),
            **dict.fromkeys(FIGURES[task], 10.0 + seed + labels / 8),
        )
        for task in runs.TASKS
        for labels in (8, 16)
        for contender, seconds in (('lomar', 5), ('mae', 5), ('scratch', 0))
        for seed in (0, 2)
    ]
    protocol = dict(labels=(8, 16), seconds=(5,), few=8)
    record = dict(results=results, protocol=protocol)
    (first, *_, last) = summary(record, 'classify')
    assert (first['labels'], first['contender'], last['contender']) == (8, 'lomar', 'scratch')
    assert last['top1'] == (13.0, pytest.approx(2**0.5))  # 12 and 14
    table = comparison.to_markdown(record)
    assert '| 16 | none | random | 13.0 ± 1.4 |' in table and '| 8 | 5 s | LoMaR | 12.0' in table
    assert comparison.plot(record, tmp_path / 'plot.png').stat().st_size > 10_000


def test_the_commands_are_accepted(tmp_path, measured):
    """Each command of a comparison has flags, options and files that `lomar` takes."""
    protocol = comparison.Protocol(**SMOKE)
    make_shapes(tmp_path / 'shapes', 64, 8, 64, 0, workers=1, categories='texture')
    runs.write_labels(tmp_path, protocol)
    jobs = [*comparison.measurements(tmp_path), *comparison.pretrainings(tmp_path, protocol)]
    for job in jobs:
        job.folder.mkdir()
        job.result.touch()  # fine-tuning begins with it
    for job in [*jobs, *comparison.fine_tunings(tmp_path, protocol)]:
        for command in job.commands:
            args = parse_args(command)
            if args.command == 'train':
                assert train_config(args).work_dir == str(job.folder)
                job.folder.mkdir(exist_ok=True)
                epochs = args.cfg_options['train_cfg.max_epochs']
                torch.save(dict(state_dict={}), job.folder / f'epoch_{epochs}.pth')
            else:
                assert read_test_config(args).work_dir == str(job.folder)


class ForkedJob:
    """The `subprocess.Popen` of a job, forked, because there are thirty."""

    def __init__(self, command, stdout, stderr, env):
        self.process = start(command[1:], stdout.name, stderr.name, env=env)

    def wait(self):
        self.process.join()
        return self.process.exitcode

    def terminate(self):
        self.process.terminate()


@pytest.mark.slow
@pytest.mark.long
def test_the_command(tmp_path, monkeypatch, capsys):
    outputs = ('--out', tmp_path / 'record.json', '--plot', tmp_path / 'plot.png')
    command = ('--smoke', '--work-dir', tmp_path / 'work', *outputs)
    monkeypatch.setattr(sys, 'argv', ['comparison', *map(str, command)])
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    monkeypatch.setattr(comparison.jobs, 'subprocess', SimpleNamespace(Popen=ForkedJob))
    main()
    record = json.loads((tmp_path / 'record.json').read_text())
    assert comparison.to_markdown(record) in capsys.readouterr().out
    assert len(record['results']) == 2 * 3 * 2  # tasks, contenders, seeds
    for one in record['results']:
        assert (one['seconds'] == 0) == (one['contender'] == 'scratch')
    assert {one['epochs'] for one in record['pretraining']} == {2}
    folder = tmp_path / 'work/classify-lomar-1s-16labels-seed1'
    assert 'Backbone loaded from' in (folder / 'log.txt').read_text()
    assert (tmp_path / 'plot.png').exists() and (folder / 'metrics.json').exists()


def test_the_committed_record():
    record = json.loads((ROOT / 'benchmarks/comparison/shapes_transfer.json').read_text())
    lists = {key: tuple(v) if isinstance(v, list) else v for key, v in record['protocol'].items()}
    assert comparison.Protocol(**lists) == comparison.Protocol()
    keys = ('task', 'contender', 'seconds', 'labels', 'seed')
    assert [tuple(run[key] for key in keys) for run in record['results']] == [
        tuple(getattr(run, key) for key in keys)
        for run in runs.fine_tuning_runs(comparison.Protocol())
    ]
    assert comparison.to_markdown(record) in (ROOT / 'docs/comparison.md').read_text()

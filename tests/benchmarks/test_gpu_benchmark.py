"""`make gpu`: slices that go on where they stopped, failures that stop nothing, the table."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from processes import run_python

from benchmarks.gpu import __main__ as main
from benchmarks.gpu import goals
from benchmarks.gpu import work as gpu
from benchmarks.gpu.__main__ import parse_args
from benchmarks.gpu.slices import Record, Slice, code_digest, last_line, run_slices
from benchmarks.loading import ways as loading

MACHINE = dict(device='a GPU', code='abc', versions=dict(torch='2'), toy=False, commit='1')
SCRIPTS = dict(
    good='import json, sys; json.dump(dict(value=1), open(sys.argv[1], "w"))',
    crash='print("a"); raise RuntimeError("CUDA error: out of luck")',
    hang='import time; print("waiting", flush=True); time.sleep(60)',
    killed='import os; os.kill(os.getpid(), 9)',
    unwell='import json, sys; print("why"); json.dump({"error": "1 of 2"}, open(sys.argv[1], "w"))',
    # Its result is there, and then the driver fails.
    late='import json, os, sys; json.dump(dict(value=2), open(sys.argv[1], "w")); os.abort()',
)


def command(name, out):
    return [sys.executable, '-c', SCRIPTS[name], str(out)]


def go(record, *slices, seconds=60, machine=MACHINE, **options):
    """Run slices by name, or whole ones, and return what was said."""
    said = []
    slices = [one if isinstance(one, Slice) else Slice(one, 1, 20) for one in slices]
    result = run_slices(slices, record, machine, command, seconds, say=said.append, **options)
    return *result, said


def statuses(record):
    return {result['slice']: result['status'] for result in record.results}


def test_a_failure_is_recorded_and_the_rest_goes_on(tmp_path):
    record = Record(tmp_path / 'new/record.json')
    hang = Slice('hang', 0.1, 1)
    failed, waiting, _ = go(record, 'crash', hang, 'killed', 'unwell', 'late', 'good')
    assert failed == ['crash', 'hang', 'killed', 'unwell'] and not waiting
    record = Record(record.path)  # as it is on the disk
    assert statuses(record) == dict(
        crash='failed', hang='failed', killed='failed', unwell='failed', late='done', good='done'
    )
    errors = {result['slice']: result.get('error') for result in record.results}
    assert errors['crash'] == 'exit code 1; last line: RuntimeError: CUDA error: out of luck'
    assert errors['hang'] == 'stopped after 1 s; last line: waiting'
    assert errors['killed'] == 'killed by SIGKILL; last line: none'
    assert errors['unwell'] == '1 of 2'
    assert record.find('unwell', MACHINE)['tail'] == 'why\n'
    good = record.find('good', MACHINE)
    assert good['value'] == 1 and good['commit'] == '1' and good['date'].startswith('20')
    assert 'Traceback' in record.find('crash', MACHINE)['tail']


@pytest.mark.parametrize('minutes', ['0', '-1', 'nan'])
def test_minutes_that_are_refused(minutes, monkeypatch, capsys):
    words = ['--toy', '--device', 'cpu', '--only', 'tests', '--minutes', minutes]
    monkeypatch.setattr(sys, 'argv', ['gpu', *words])
    with pytest.raises(SystemExit, match='2'):
        parse_args()
    assert 'allowed: more than 0' in capsys.readouterr().err


def test_what_is_done_is_skipped_and_failures_only_run_again_when_asked(tmp_path):
    record = Record(tmp_path / 'record.json')
    go(record, 'crash', 'good')
    before = list(record.results)
    assert go(record, 'crash', 'good') == ([], [], [])
    assert record.results == before
    failed, _, said = go(record, 'crash', 'late', retry=True)
    assert failed == ['crash'] and [word for word in said if 'started' in word] == [
        word for name in ('late', 'crash') for word in said if word.startswith(f'{name}: started')
    ]
    assert len(record.results) == 3  # in place of the earlier failure


@pytest.mark.parametrize(
    'change', [dict(device='b'), dict(code='b'), dict(versions={}), dict(toy=True)]
)
def test_another_device_code_or_version_is_another_result(tmp_path, change):
    record = Record(tmp_path / 'record.json')
    go(record, 'good')
    other = {**MACHINE, **change}
    assert record.find('good', other) is None
    go(record, 'good', machine=other)
    assert len(record.results) == 2 and len(record.of(MACHINE)) == len(record.of(other)) == 1
    # The same code under another commit is the same.
    assert record.find('good', {**MACHINE, 'commit': '2'})


def test_the_time_is_kept(tmp_path):
    record = Record(tmp_path / 'record.json')
    long, hang = Slice('crash', 100, 200), Slice('hang', 0.1, 50)
    failed, waiting, said = go(record, long, hang, 'good', seconds=2)
    assert not failed and waiting == ['crash', 'hang', 'good']
    assert said[0] == 'crash: not started, needs 100 s of 2 s left'
    assert statuses(record) == dict(hang='cut off')  # it did not fail, its own limit is 50 s
    # It is not started again where it has no more time than it had.
    assert go(record, hang, 'good', seconds=1.8)[1] == ['hang']
    assert statuses(record) == dict(hang='cut off', good='done')
    short = Slice('hang', 0.1, 2.5)
    assert go(record, short, seconds=30)[0] == ['hang']


def test_the_last_line():
    assert last_line('a\n 10%|#\r 20%|##\rb c\n\n  \n') == 'b c'
    assert last_line('\n') == 'none' and len(last_line('x' * 1000)) == 300


def test_the_digest_tells_a_change_that_is_not_committed(tmp_path):
    (tmp_path / 'a.py').write_text('1')
    (tmp_path / 'b.txt').write_text('1')
    first = code_digest(tmp_path)
    (tmp_path / 'b.txt').write_text('2')
    assert code_digest(tmp_path) == first
    (tmp_path / 'a.py').write_text('2')
    assert code_digest(tmp_path) != first
    assert code_digest(tmp_path, tmp_path) != code_digest(tmp_path)


def test_a_broken_record_is_named(tmp_path):
    path = tmp_path / 'record.json'
    path.write_text('[1]')
    with pytest.raises(ValueError, match=r"record\.json is no JSON with 'results'"):
        Record(path)


def test_counts_and_failures_of_tests(tmp_path, monkeypatch):
    path = tmp_path / 'test_some.py'
    lines = (
        'import pytest',
        'pytestmark = pytest.mark.gpu',
        'def test_good(): pass',
        'def test_bad(): assert 1 == 2, "no"',
        'def test_skipped(): pytest.skip()',
    )
    path.write_text('\n'.join(lines))
    # A file that cannot be imported does not stop the others.
    (tmp_path / 'test_broken.py').write_text('import nothing_of_this_name')
    found = gpu.run_tests([str(tmp_path)])
    assert found['counts'] == dict(tests=4, failures=1, errors=1, skipped=1, passed=1)
    assert len(found['failures']) == 2
    assert '2 of 4 failed' in found['error']
    bad = next(one for name, one in found['failures'].items() if 'test_bad' in name)
    assert bad['message'].startswith('AssertionError: no') and 'assert 1 == 2' in bad['tail']
    # Nothing but skipped tests is no success where there is a GPU.
    path.write_text('\n'.join([*lines[:2], lines[-1]]))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert gpu.run_tests([str(path)])['error'].startswith('no GPU test passed')
    assert 'exit code' in gpu.run_tests([str(tmp_path / 'missing.py')])['error']


def full_record():
    """A result of every slice, whose contenders do 1, 2, 3 ... images per second."""
    results = []
    for one, run in gpu.work(toy=False).items():
        result = dict(slice=one.name, status='done', date='2026-01-01', **MACHINE)
        if run is gpu.run_tests:
            result['counts'] = dict(tests=9, passed=8, failures=0, errors=0, skipped=1)
        elif run is gpu.load_files:
            names = [loading.GPU, 'ours, simplejpeg', 'ours, torchvision']
            result['ways'] = {name: dict(images_per_second=700) for name in names}
        elif run is gpu.load_regions:
            row = dict(whole=dict(images_per_second=2), regions=dict(images_per_second=5))
            result['scales'] = {'224': row, '448': row}
        else:
            guards = ['unguarded', 'guarded']
            names = guards if run is gpu.time_guard else run.args[2]
            result['matrix_rates'] = dict(bfloat16=800e12)
            result['rows'] = [
                dict(
                    model=name,
                    dtype='bfloat16',
                    images_per_second=rank,
                    images_per_second_range=[rank, rank],
                    tflops_per_second=400,
                    peak_mb=100 * rank,
                )
                for rank, name in enumerate(names, start=1)
            ]
        results.append(result)
    return results


def rows_of(table):
    cells = [
        re.split(r' (?<!\\)\| ', line.strip('| '))
        for line in table.splitlines()
        if line.startswith('|')
    ]
    return {row[1]: row for row in cells[2:]}


def test_the_gpu_tests_are_collected_without_the_extras():
    # The machine may lack them, and a file that cannot be imported makes the slice fail.
    extras = 'faster_coco_eval|labelformat|mlflow|pyarrow|rasterio|shtab|simplejpeg|tensorboard'
    extras += '|nbclient|nbformat|onnx|onnxruntime|onnxscript|supervision|wandb'
    for path in (ROOT / 'tests').rglob('*.py'):
        found = re.findall(rf'^(?:import|from) ({extras})\b', path.read_text(), re.MULTILINE)
        assert not found, f'{path}: {found[0]} is imported before a test needs it'


def test_every_goal_finds_its_figures():
    asked = goals.read_goals(ROOT / 'benchmarks/gpu/goals.yaml')
    results = full_record()
    rows = rows_of(goals.to_markdown(results, asked))
    assert len(rows) == len(asked)
    assert not [row for row in rows.values() if row[4] == '-']
    assert rows['tests that need a GPU'][2:5] == [
        '8 passed, 0 failures, 0 errors, 1 skipped', 'none failed', 'yes',
    ]  # fmt: skip
    assert rows['LoMaR, 224 px'][2:5] == ['50% (1 images/s, 1 to 1)', 'at least 40%', 'yes']
    assert rows['LoMaR / MAE, 384 px'][2:5] == ['0.50 (1 / 2 images/s)', 'at least 1.73', 'no']
    assert rows['in parts / all logits at once, memory'][2:5] == [
        '0.25 (100 / 400 MB)', 'at most 0.50', 'yes',
    ]  # fmt: skip
    assert rows['JPEG decoding on the GPU'][2] == '700 images/s'
    # What is not there says why.
    place = [result['slice'] for result in results].index('pretrain-224')
    results[place] = dict(results[place], status='failed', error='exit code 1; a | b')
    del results[place]['rows']
    results = [one for one in results if one['slice'] != 'detect-1024']
    results[-2]['ways'][loading.GPU] = 'not run: no nvJPEG'
    rows = rows_of(goals.to_markdown(results, asked))
    assert rows['LoMaR, 224 px'][2] == r'failed: exit code 1; a \| b'
    assert rows['LoMaR / decomposed positions'][2:5:2] == ['not measured', '-']
    assert rows['JPEG decoding on the GPU'][2:5:2] == ['not run: no nvJPEG', '-']


def test_the_goals_state_their_source():
    text = (ROOT / 'benchmarks/gpu/goals.yaml').read_text()
    asked = goals.read_goals(ROOT / 'benchmarks/gpu/goals.yaml')
    assert all(goal['source'] for goal in asked) and '/work' not in text
    assert len({goal['what'] for goal in asked}) == len(asked)


def test_wrong_goals(tmp_path):
    path = tmp_path / 'goals.yaml'
    path.write_text('- {part: a, what: b, value: c/d, figure: e, unit: x, source: f}')
    with pytest.raises(ValueError, match=r'needs part, .* and least or most'):
        goals.read_goals(path)
    path.write_text('- {part: a, what: b, value: c/d, figure: e, unit: y, source: f, most: 1}')
    with pytest.raises(ValueError, match="unit 'y'; allowed: %, x, images/s, cores, passed"):
        goals.read_goals(path)


def run(*words, **env):
    return run_python('-m', 'benchmarks.gpu', *words, cwd=ROOT, env=env)


def test_a_missing_device_is_refused_in_one_line(tmp_path):
    done = run('--json', str(tmp_path / 'record.json'), CUDA_VISIBLE_DEVICES='')
    assert done.returncode == 1 and not done.stdout and not (tmp_path / 'record.json').exists()
    reason = '--device is cuda, but no GPU was found; without a GPU use --toy --device cpu'
    assert done.stderr == f'python -m benchmarks.gpu: {reason}\n'


@pytest.fixture(scope='module')
def without_pytest(tmp_path_factory):
    """The environment of a machine without pytest: an entry of the path hides it."""
    folder = tmp_path_factory.mktemp('path')
    (folder / 'sitecustomize.py').write_text('import sys\nsys.modules["pytest"] = None\n')
    return dict(PYTHONPATH=str(folder), CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1')


@pytest.mark.slow
@pytest.mark.long
def test_a_run_that_was_killed_goes_on_and_ends_with_the_table(tmp_path, without_pytest):
    path, table = tmp_path / 'record.json', tmp_path / 'table.md'
    only = ['--only', 'loading', 'tests', 'pretrain-128-compiled', 'detect-528']
    words = ['--toy', '--device', 'cpu', *only, '--json', str(path), '--table', str(table)]
    first = subprocess.Popen(
        [sys.executable, '-m', 'benchmarks.gpu', *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **without_pytest},
    )
    while not path.exists():
        assert first.poll() is None
        time.sleep(0.05)
    children = children_of(first.pid)
    first.send_signal(signal.SIGKILL)
    first.wait()
    (kept,) = json.loads(path.read_text())['results']
    assert kept['slice'] == 'loading' and kept['status'] == 'done'
    # What it had started does not stay behind.
    deadline = time.monotonic() + 20
    while any(map(alive, children)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = run(*words, **without_pytest)
    assert done.returncode == 1, done.stdout + done.stderr  # the tests did not run
    results = json.loads(path.read_text())['results']
    assert results[0] == kept
    assert {one['slice']: one['status'] for one in results} == {
        'loading': 'done', 'tests': 'failed', 'pretrain-128-compiled': 'done', 'detect-528': 'done',
    }  # fmt: skip
    for one in results:
        assert one['toy'] and one['device'] and one['code'] and one['versions']['torch']
        assert {'date', 'commit', 'hardware'} <= set(one)
    compiled = next(one for one in results if one['slice'] == 'pretrain-128-compiled')
    assert [row['model'] for row in compiled['rows']] == ['lomar', 'mae']
    assert all(row['compiled'] and row['dtype'] == 'bfloat16' for row in compiled['rows'])
    assert 'failed: pytest is not installed: the GPU tests did not run' in done.stdout
    assert done.stdout.endswith(table.read_text())
    assert (
        'toy size: no measurement' in done.stdout
        and '| pretraining | LoMaR, 224 px |' in done.stdout
    )
    # The table alone, from the file, which another device's results do not get into.
    other = {**kept, 'device': 'other', 'date': '2000-01-01'}
    path.write_text(json.dumps(dict(results=[other, *results])))
    again = run('--table-only', '--json', str(path), CUDA_VISIBLE_DEVICES='')
    assert again.returncode == 0
    assert f'- not in the table: 1 results of other, code {kept["code"]}' in again.stdout
    assert again.stdout.split('| part')[1] == done.stdout.split('| part')[1]


def children_of(parent):
    found = []
    for status in Path('/proc').glob('[0-9]*/status'):
        try:
            lines = dict(
                line.split(':\t', 1) for line in status.read_text().splitlines() if ':\t' in line
            )
        except OSError:
            continue
        if int(lines['PPid']) == parent:
            found.append(int(lines['Pid']))
    return found


def alive(pid):
    try:
        return 'zombie' not in Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return False


def test_the_page_has_the_committed_results():
    record = json.loads((ROOT / 'benchmarks/gpu/gpu_nvidia-h200.json').read_text())
    page = (ROOT / 'docs/speed_record.md').read_text()
    slices = {result['slice']: result for result in record['results']}
    rows = [row for size in (224, 384, 448) for row in slices[f'pretrain-{size}']['rows']]
    for model in {row['model'] for row in rows}:
        speeds = [f'{row["images_per_second"]:,.0f} (' for row in rows if row['model'] == model]
        assert any(
            line.startswith(f'| `{model}` |') and [cell in line for cell in speeds] == [True] * 3
            for line in page.splitlines()
        )
    for model, row in goals.figures(slices['detect-1024']).items():
        speed, memory = row['images_per_second'], row['peak_mb'] / row['batch']
        cells = f'{speed:.1f} | {row["of_matrix_rate"]:.0%} | {memory:,.0f}'
        assert f'| `{model}` | {cells} |' in page
    guarded, without = (
        goals.figures(slices['guard'])[name]['images_per_second']
        for name in ('guarded', 'unguarded')
    )
    assert f'({guarded:,.0f} and {without:,.0f}' in page
    counts = slices['tests']['counts']
    assert f'All {counts["passed"]} tests that need a GPU passed.' in page
    assert not counts['failures']


@pytest.mark.parametrize(('left', 'names', 'run'), [(9, ['nuclei'], 1), (0.5, ['nuclei'], 0)])
def test_the_comparison_uses_the_rest_of_the_time(left, names, run, tmp_path, monkeypatch, capsys):
    for name in names:
        (tmp_path / f'{name}.tar').touch()
    called = []

    def pretend(command, **_):
        called.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(main.subprocess, 'run', pretend)
    minutes = left + (time.monotonic() - main.START) / 60
    args = argparse.Namespace(data=tmp_path, toy=False, minutes=minutes)
    assert main.compare(args, 'abc', {}) == ['nuclei'] * run
    assert len(called) == run and 'imagenette: not run' in capsys.readouterr().out
    for command in called:
        assert command[2:6] == ['nuclei', '--scale', 'gpu', '--data']
        assert float(command[command.index('--minutes') + 1]) <= left

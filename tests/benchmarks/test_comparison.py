"""The comparison on real images: its protocol, its processes, and the command."""

import json
import shutil
import subprocess
import sys
import time
from itertools import chain

import pytest
from conftest import ROOT
from PIL import Image

from benchmarks.comparison import imagenette, jobs, nuclei
from benchmarks.comparison.jobs import Jobs, OutOfTime, RunFailed
from benchmarks.comparison.protocol import SCALES, SEARCH_SEED
from benchmarks.comparison.results import outcome
from benchmarks.comparison.runs import CONTENDERS, Run, positions
from lomar.cli import parse_args
from lomar.datasets.shapes import make_shapes
from lomar.engine import train_config
from lomar.utils import write_json

SMOKE = SCALES['smoke']
SECONDS = {str(grid * SMOKE.patch): dict(lomar=0.1, mae=0.2) for grid in SMOKE.grids}
STUDIES = dict(nuclei=nuclei, imagenette=imagenette)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Return a folder with data in the layouts of the nuclei and of Imagenette."""
    root = tmp_path_factory.mktemp('data')
    make_shapes(root / 'shapes', 32, 4, 64, 0, workers=1, categories='texture')
    (root / 'nuclei/images').mkdir(parents=True)
    for part in ('train', 'val'):
        coco = json.loads((root / f'shapes/annotations/{part}.json').read_text())
        for index, image in enumerate(coco['images']):
            path = root / 'shapes' / part / image['file_name']
            image['file_name'] = f'{part}-{path.name}'
            shutil.copy(path, root / 'nuclei/images' / image['file_name'])
            folder = root / f'imagenette/{part}/n{index % 2}'
            folder.mkdir(parents=True, exist_ok=True)
            Image.open(path).save(folder / path.name)
        write_json(root / f'nuclei/instances_{part}.json', coco)
    return root


def staged(study, data, work, scores=None):
    """Return the runs of each stage; all stages end with the same scores."""
    STUDIES[study].write_data(data / study, work, SMOKE)
    stages = STUDIES[study].stages(SMOKE, data / study, work, SECONDS)
    found = [next(stages)]
    while True:
        try:
            found.append(stages.send(scores or {}))
        except StopIteration:
            return found


def flat(stages):
    return list(chain.from_iterable(stages))


@pytest.mark.parametrize('study', STUDIES)
def test_contenders_are_treated_alike(study, data, tmp_path):
    """Only the start, the learning rate and the method's own settings differ."""
    own = ('optim_wrapper.optimizer.lr', 'model.backbone.pretrain_img_size')
    groups = {}
    for run in flat(staged(study, data, tmp_path)):
        if run.keys['task'] == 'pretrain':
            continue
        assert (run.start is None) == run.keys['contender'].startswith('random')
        assert run.config.stem.endswith(positions(run.keys['contender']))
        if run.start:
            assert run.start.config.stem.endswith(run.keys['contender'])
        options = {key: value for key, value in run.options.items() if key not in own}
        found = groups.setdefault((run.keys['labels'], run.keys['seed']), {})
        found.setdefault(run.keys['contender'], []).append((run.flags, options))
    assert {seed for _, seed in groups} == {SEARCH_SEED, *SMOKE.seeds}
    for (_, seed), found in groups.items():
        assert set(found) == set(CONTENDERS)
        every = [one for listed in found.values() for one in listed]
        assert all(one == every[0] for one in every)
        if seed == SEARCH_SEED:
            assert len(found['random-lomar']) == len(found['random-mae']) == len(SMOKE.rates)


@pytest.mark.parametrize('study', STUDIES)
def test_validation_images_are_left_to_the_results(study, data, tmp_path):
    for run in flat(staged(study, data, tmp_path)):
        words = ' '.join(map(str, [*run.flags, *run.options.values()]))
        if run.keys['seed'] == SEARCH_SEED:
            assert 'instances_val' not in words and 'labels/val' not in words
            assert str(data / 'imagenette') not in [str(v) for v in run.options.values()]
        assert '/val' not in words.replace('labels/val.txt', '')
    lists = [path for path in tmp_path.rglob('*.txt') if path.name != 'val.txt']
    assert lists
    for path in lists:
        assert 'val-' not in path.read_text() and '/val/' not in path.read_text()


def test_pretraining_of_equal_time_and_of_equal_images(data, tmp_path):
    for study, stage in (('nuclei', -1), ('imagenette', 1)):
        runs = staged(study, data, tmp_path)[stage]
        every = chain.from_iterable((run, run.start) for run in runs)
        runs = [run for run in every if run and run.keys['task'] == 'pretrain']
        epochs = {
            (run.keys['contender'], run.keys.get('budget')): run.options['train_cfg.max_epochs']
            for run in runs
        }
        # MAE takes twice as long per step.
        assert epochs['mae', 'images'] == epochs['lomar', 'time'] == 2 * epochs['mae', 'time']


def test_the_best_rate_of_the_search_is_used(data, tmp_path):
    first, other = SMOKE.rates
    runs = flat(staged('nuclei', data, tmp_path))
    scores = {run.name: dict(mask_ap=float(run.keys['rate'] == other)) for run in runs}
    # Every pretraining is tried at one rate of fine-tuning: the first of equal ones is taken.
    final = staged('nuclei', data, tmp_path, scores)[-1]
    assert {run.keys['rate'] for run in final} == {other}
    assert {run.start.keys['rate'] for run in final if run.start} == {first}


COMMANDS = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
(folder / 'vis_data').mkdir(parents=True, exist_ok=True)
if 'random-mae' in folder.name:
    sys.exit('no such thing')
if 'lomar' in folder.name:
    (folder / 'started').touch()
    time.sleep(60)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Replace `lomar` with a script: random-mae fails, lomar waits, mae ends at once."""
    (tmp_path / 'command.py').write_text(COMMANDS)
    monkeypatch.setattr(jobs, 'LOMAR', (sys.executable, str(tmp_path / 'command.py')))
    monkeypatch.setattr(jobs, 'outcome', lambda folder, run: dict(figures=dict(top1=50.0)))


def made(contender, **keys):
    return Run(dict(task='classify', contender=contender, **keys), ROOT / 'none.py', ())


def test_finished_runs_are_not_repeated(fake, tmp_path):
    said = []
    for _ in range(2):
        Jobs(tmp_path, 2, 1).finish([made('mae', seed=seed) for seed in range(3)], said.append)
    assert said[0] == '3 runs, 3 to do' and said[-1] == '3 runs, 0 to do'
    assert len(Jobs(tmp_path, 2, 1).results()) == 3


def test_a_failed_run_stops_the_others_and_names_its_log(fake, tmp_path):
    start = time.monotonic()
    with pytest.raises(RunFailed, match=r'random-mae ended with 1; .*random-mae/log.txt'):
        Jobs(tmp_path, 2, 1).finish([made('lomar'), made('random-mae'), made('mae')], print)
    assert time.monotonic() - start < 30
    assert 'no such thing' in (tmp_path / 'classify_random-mae/log.txt').read_text()


def test_a_time_limit_stops_the_runs(fake, tmp_path):
    start = time.monotonic()
    with pytest.raises(OutOfTime, match='1 runs are not finished'):
        Jobs(tmp_path, 2, 1, start + 2).finish([made('lomar'), made('mae')], print)
    assert time.monotonic() - start < 30
    assert list(Jobs(tmp_path, 2, 1).results()) == ['classify_mae']


def test_a_resumed_run_counts_the_later_record(tmp_path):
    ap = ('coco/bbox_mAP', 'coco/bbox_mAP50', 'coco/segm_mAP', 'coco/segm_mAP50')
    for part, steps in (('a', (100, 200)), ('b', (200, 400))):
        folder = tmp_path / part / 'vis_data'
        folder.mkdir(parents=True)
        lines = [
            dict(dict.fromkeys(ap, step / 1000 + (part == 'b') / 10), step=step) for step in steps
        ]
        text = ''.join(f'{json.dumps(line)}\n' for line in [dict(loss=1, step=1), *lines])
        (folder / 'scalars.json').write_text(text)
    run = Run(dict(task='detect', contender='mae'), ROOT / 'none.py', ())
    found = outcome(tmp_path, run)
    assert [one['step'] for one in found['curve']] == [100, 200, 400]
    assert [one['box_ap'] for one in found['curve']] == pytest.approx([10, 30, 50])
    assert found['figures']['mask_ap50'] == pytest.approx(50)


@pytest.mark.parametrize('study', STUDIES)
def test_the_commands_are_accepted(study, data, tmp_path):
    """Each command of the comparison has flags, options and files that `lomar` takes."""
    for run in {run.name: run for run in flat(staged(study, data, tmp_path))}.values():
        for one in (run.start, run):
            if one:
                words = one.command(tmp_path)
                words = [word for word in words if not word.startswith('load_from=')]
                assert train_config(parse_args(words)).work_dir == str(tmp_path / one.name)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize('study', STUDIES)
def test_the_command(study, data, tmp_path):
    out = tmp_path / 'out.json'
    words = [study, '--scale', 'smoke', '--data', data / study, '--work-dir', tmp_path / 'work']
    script = [sys.executable, str(ROOT / 'benchmarks/comparison/run.py')]
    command = [*script, *map(str, words), '--out', str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(out.read_text())
    tasks = {run['task'] for run in record['runs']}
    assert tasks == {'pretrain', dict(nuclei='detect', imagenette='classify')[study]}
    assert {run['contender'] for run in record['runs']} == set(CONTENDERS)
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ' 0 to do' in again.stdout and json.loads(out.read_text()) == record

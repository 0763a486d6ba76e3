"""The comparison on real images: its protocol, its processes, and the command."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from benchmarks.comparison import imagenette, jobs, nuclei, plots, segment, tables, timing
from benchmarks.comparison.jobs import Jobs, OutOfTime, RunFailed
from benchmarks.comparison.nuclei_masks import three_classes, write_masks
from benchmarks.comparison.pack import pack, unpack
from benchmarks.comparison.plan import plan
from benchmarks.comparison.protocol import SCALES, SEARCH_SEED
from benchmarks.comparison.results import outcome
from benchmarks.comparison.run import finished
from benchmarks.comparison.runs import CONTENDERS, Run, checkpoint, positions
from benchmarks.comparison.search import each_stage
from benchmarks.comparison.variants import VARIANTS
from lomar.cli import parse_args
from lomar.datasets.shapes import make_shapes
from lomar.engine import train_config
from lomar.utils import write_json

SMOKE = SCALES['smoke']
SECONDS = {str(grid * SMOKE.patch): dict(lomar=0.1, mae=0.2) for grid in SMOKE.grids}
FINAL = 2  # stage of the results on the nuclei
STUDIES = dict(nuclei=nuclei, segment=segment, imagenette=imagenette)
TASKS = dict(nuclei='detect', segment='segment', imagenette='classify')


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
    source = data / STUDIES[study].RUNS
    STUDIES[study].write_data(source, work, SMOKE)
    stages = STUDIES[study].stages(SMOKE, source, work, SECONDS)
    found = []

    def act(runs):
        found.append(runs)
        return scores or {}

    each_stage(stages, act)
    return found


def flat(stages):
    return list(chain.from_iterable(stages))


@pytest.mark.parametrize('study', STUDIES)
def test_contenders_are_treated_alike(study, data, tmp_path):
    """Only the start, the learning rate and the method's own settings differ."""
    own = ('optim_wrapper.optimizer.lr', 'model.backbone.pretrain_img_size')
    groups = {}
    for run in flat(staged(study, data, tmp_path)):
        if run.keys['task'] != TASKS[study] or 'variant' in run.keys:
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
            assert not any(val in words for val in ('instances_val', 'labels/val', 'masks/val'))
            assert str(data / 'imagenette') not in [str(v) for v in run.options.values()]
        assert '/val' not in words.replace('labels/val.txt', '').replace('masks/val/', '')
    lists = [path for path in tmp_path.rglob('*.txt') if path.name != 'val.txt']
    assert lists
    for path in lists:
        assert 'val-' not in path.read_text() and '/val/' not in path.read_text()


def test_pretraining_of_equal_time_and_of_equal_images(data, tmp_path):
    for study in ('nuclei', 'imagenette'):
        epochs = {}
        for run in flat(staged(study, data, tmp_path)):
            run = run.start or run
            if run.keys['task'] == 'pretrain' and run.keys['seed'] != SEARCH_SEED:
                found = epochs.setdefault((run.keys['contender'], run.keys.get('budget')), set())
                found.add(run.options['train_cfg.max_epochs'])
        epochs = {key: max(found) for key, found in epochs.items() if len(found) == 1}
        # MAE takes twice as long per step.
        assert epochs['mae', 'images'] == epochs['lomar', 'time'] == 2 * epochs['mae', 'time']


def test_the_best_rate_of_the_search_is_used(data, tmp_path):
    first, other = SMOKE.rates
    runs = flat(staged('nuclei', data, tmp_path))
    scores = {run.name: dict(mask_ap=float(run.keys['rate'] == other)) for run in runs}
    # Every pretraining is tried at one rate of fine-tuning: the first of equal ones is taken.
    final = staged('nuclei', data, tmp_path, scores)[FINAL]
    assert {run.keys['rate'] for run in final} == {other}
    assert {run.start.keys['rate'] for run in final if run.start} == {first}


def test_variants_of_the_detector_only_share_the_pretraining(data, tmp_path):
    *_, search, _, tried = staged('nuclei', data, tmp_path)
    assert {run.keys['variant'] for run in tried} == {one.name for one in VARIANTS}
    searched = {run.start.name for run in search if run.start}
    again = {run.keys['variant'] for run in tried if run.keys['seed'] != SEARCH_SEED}
    assert again == {one.name for one in VARIANTS if one.repeated} != set()
    for run in tried:
        (variant,) = (one for one in VARIANTS if one.name == run.keys['variant'])
        assert (run.start is None) == (run.keys['contender'] != 'lomar')
        assert not run.start or (run.start.name in searched) == (not variant.pretrains)


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


MAX_EPOCHS = 'train_cfg.max_epochs'


def made(contender, **keys):
    return Run(dict(task='classify', contender=contender, **keys), ROOT / 'none.py', ())


def test_finished_runs_are_not_repeated(fake, tmp_path):
    said = []
    for _ in range(2):
        Jobs(tmp_path, 2, 1).finish([made('mae', seed=seed) for seed in range(3)], said.append)
    assert said[0] == '3 runs, 3 to do' and said[-1] == '3 runs, 0 to do'
    results = Jobs(tmp_path, 2, 1).results()
    assert len(results) == 3
    assert all({*HARDWARE} <= {*run['hardware']} for run in results.values())


def test_committed_results_are_not_repeated_but_weights_that_are_gone_are(fake, tmp_path):
    start = Run(dict(task='pretrain', contender='mae'), ROOT / 'none.py', (), {MAX_EPOCHS: 2})
    first, *others = (replace(made('mae', seed=seed), start=start) for seed in range(3))
    record = dict(figures=dict(top1=50.0), seconds=1.0)
    said, work = [], Jobs(tmp_path, 2, 1)
    work.take(dict(runs=[{**one.keys, **record} for one in (start, first)]))
    work.finish([start, first], said.append)
    assert said == ['2 runs, 0 to do']
    weights, log = checkpoint(tmp_path, start), tmp_path / start.name / 'log.txt'
    weights.parent.mkdir()
    weights.touch()
    work.finish([start, first, others[0]], said.append)
    assert said[1] == '3 runs, 1 to do' and not log.exists()
    weights.unlink()
    with pytest.raises(RunFailed, match=r'epoch_2\.pth does not exist after its training'):
        work.finish(others, said.append)  # the script writes no weights
    assert said[3] == '2 runs, 2 to do' and log.exists()


def test_a_result_of_another_length_is_refused(tmp_path):
    pretraining = Run(dict(task='pretrain', contender='mae'), ROOT / 'none.py', (), steps=200)
    work = Jobs(tmp_path, 2, 1)
    work.take(dict(runs=[{**pretraining.keys, 'figures': {}, 'steps': 200}]))
    work.finish([pretraining])
    expected = r'pretrain_mae.json is the result of 200 steps, and this run has 310: .*--work-dir'
    with pytest.raises(ValueError, match=expected):
        work.finish([replace(pretraining, steps=310)])


FINISHED = {
    'no results': (dict(seconds=[]), 'is not a file of results'),
    'other scale': (dict(study='nuclei', scale='gpu', runs=[]), 'nuclei gpu; allowed: nuclei cpu'),
    'other data': (dict(study='imagenette', scale='cpu', runs=[]), 'imagenette cpu; allowed: nucl'),
}


@pytest.mark.parametrize('case', FINISHED)
def test_results_of_another_study_are_refused(case, tmp_path):
    content, expected = FINISHED[case]
    write_json(tmp_path / 'a.json', content)
    with pytest.raises(ValueError, match=f'--finished .*a.json .*{expected}'):
        finished(tmp_path / 'a.json', 'cpu', 'nuclei')


def test_segmentation_takes_results_of_the_detector(tmp_path):
    write_json(tmp_path / 'a.json', dict(study='nuclei', scale='cpu', runs=[]))
    assert finished(tmp_path / 'a.json', 'cpu', segment.RUNS)['runs'] == []


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
    unfinished = Run(run.keys, run.config, (), {'train_cfg.max_iters': 500})
    with pytest.raises(ValueError, match='no evaluation after 500 steps'):
        outcome(tmp_path, unfinished)


def test_the_steps_of_a_pretraining_are_all_its_steps(tmp_path):
    """The log has every fiftieth step of an epoch, so that the last one is missing."""
    (tmp_path / 'a/vis_data').mkdir(parents=True)
    probe = {'probe/knn': 30.0, 'probe/linear': 40.0, 'epoch': 10}
    lines = [dict(loss=0.6, step=1423), probe]
    text = ''.join(f'{json.dumps(line)}\n' for line in lines)
    (tmp_path / 'a/vis_data/scalars.json').write_text(text)
    keys, options = dict(task='pretrain', contender='mae'), {'train_cfg.max_epochs': 10}
    found = outcome(tmp_path, Run(keys, ROOT / 'none.py', (), options, steps=1470))
    assert (found['steps'], found['epochs']) == (1470, 10)
    assert found['figures'] == dict(knn=30.0, linear=40.0, loss=0.6)


@pytest.mark.parametrize('study', STUDIES)
def test_the_commands_are_accepted(study, data, tmp_path):
    """Each command of the comparison has flags, options and files that `lomar` takes."""
    if study == 'segment':
        pytest.importorskip('mmseg')
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
    if study == 'segment':
        pytest.importorskip('mmseg')
    out = tmp_path / 'out.json'
    words = [
        study,
        '--scale',
        'smoke',
        '--data',
        data / STUDIES[study].RUNS,
        '--work-dir',
        tmp_path / 'work',
    ]
    script = [sys.executable, str(ROOT / 'benchmarks/comparison/run.py')]
    command = [*script, *map(str, words), '--out', str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(out.read_text())
    tasks = {run['task'] for run in record['runs']}
    assert tasks == {*STUDIES[study].TASKS}
    assert {run['contender'] for run in record['runs']} == set(CONTENDERS)
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ' 0 to do' in again.stdout and json.loads(out.read_text()) == record


HARDWARE = dict(cpu='A', gpu=None, threads=1, slots=2, precision='bfloat16')
ORIGIN = dict(hardware=HARDWARE, commit='b')


def detected(contender, seed, value, labels=8, budget=None, curve=()):
    figures = dict(box_ap=value, box_ap50=2 * value, mask_ap=value, mask_ap50=2 * value)
    run = dict(task='detect', contender=contender, seed=seed, labels=labels, rate=1e-3)
    points = [dict(step=step, box_ap=box_ap) for step, box_ap in curve]
    return dict(run, figures=figures, curve=points) | (dict(budget=budget) if budget else {})


def test_tables_of_the_detector(tmp_path):
    runs = [detected('lomar', seed, 20.0 + seed, budget='time') for seed in range(3)]
    runs += [detected('random-mae', seed, 18.0 - seed) for seed in range(2)]
    runs += [detected('mae', 0, 5.0, 32, 'images', [(100, 1.0), (400, 5.0)])]
    runs += [detected('mae', SEARCH_SEED, 7.0, 32, 'time')]
    record = dict(runs=[{**run, **ORIGIN} for run in runs], command='run.py nuclei')
    text = tables.detector_tables(record, {})
    # Differences are paired: 20 - 18 and 21 - 17; the third seed has no partner.
    assert '| 8 | LoMaR | 21.0 ± 1.0 | 42.0 ± 2.0 |' in text
    assert "| 8 | random, MAE's positions | 17.5 ± 0.7 |" in text
    assert '+3.0 ± 1.4 | +3.0 ± 1.4 | 2 |' in text
    assert '| 32 | MAE, equal images | 1.0 | 5.0 |' in text
    assert '7 x detect on A, 2 threads, bfloat16, commit `b`' in text
    assert '| MAE, equal time | 32 | 0.001 | 7.0 |' in text and '7.0 | 14.0' not in text
    assert 'of the variant' not in text
    plots.plot_detector(record, {}, tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').stat().st_size > 10_000
    own = dict(variant='mean and deviation of the nuclei', **ORIGIN)
    repeated = detected('lomar', 0, 30.0, budget='time') | own
    changed = dict(record, runs=[*record['runs'], repeated])
    without, of_variant = tables.detector_tables(changed, {}).split('AP (%) of the variant')
    assert '| 8 | LoMaR | 30.0 | 60.0 |' in of_variant and '| 30.0 |' not in without


def test_tables_of_the_segmentation():
    def segmented(contender, seed, value, labels=8, budget=None):
        figures = dict(miou=value, pixel_acc=90.0, class_acc=value + 1)
        run = dict(task='segment', contender=contender, seed=seed, labels=labels, rate=1e-3)
        return dict(run, figures=figures, curve=[]) | (dict(budget=budget) if budget else {})

    runs = [segmented('lomar', seed, 50.0 + seed, budget='time') for seed in range(3)]
    runs += [segmented('mae', seed, 48.0 - seed, budget='images') for seed in range(2)]
    runs += [segmented('lomar', SEARCH_SEED, 99.0, 32, 'time')]
    record = dict(runs=[{**run, **ORIGIN} for run in runs], command='run.py segment')
    text = tables.segmenter_tables(record, {})
    assert '| 8 | LoMaR | 51.0 ± 1.0 | 90.0 ± 0.0 |  | 3 |' in text
    # Paired: 50 - 48 and 51 - 47.
    assert '| 8 | MAE, equal images | 47.5 ± 0.7 | 90.0 ± 0.0 | +3.0 ± 1.4 | 2 |' in text
    results, _, search = text.partition('Search')
    assert '| 32 |' not in results and '| LoMaR | 32 | 0.001 | 99.0 |' in search


def test_masks_of_the_nuclei(data, tmp_path):
    """Boundary: within one pixel of another instance or of the edge to the background."""
    ids = np.zeros((9, 12), int)
    ids[2:7, 2:6], ids[2:7, 6:10] = 1, 2  # two that touch
    expected = np.zeros((9, 12), int)
    expected[1:8, 1:11] = 2
    expected[3:6, 3:5], expected[3:6, 7:9] = 1, 1
    assert (three_classes(ids) == expected).all()
    assert not three_classes(np.zeros((5, 5), int)).any()
    write_masks(data / 'nuclei/instances_val.json', data / 'nuclei/images', tmp_path, 48)
    masks = sorted((tmp_path / 'masks').iterdir())
    assert [path.name for path in masks] == sorted(os.listdir(tmp_path / 'images'))
    for path in masks:
        mask, image = np.asarray(Image.open(path)), Image.open(tmp_path / 'images' / path.name)
        assert mask.shape == image.size[::-1] and min(mask.shape) == 48
        assert set(np.unique(mask)) == {0, 1, 2}


def test_tables_of_the_classifier(tmp_path):
    def probed(contender, seed, knn, epochs, budget=None):
        run = dict(task='pretrain', contender=contender, grid=14, seed=seed, rate=1e-3)
        curve = [dict(epoch=epoch, knn=knn, linear=knn + 1) for epoch in (1, epochs)]
        run |= dict(figures=dict(knn=knn, linear=knn + 1), curve=curve, epochs=epochs)
        return run | dict(steps=100 * epochs) | (dict(budget=budget) if budget else {})

    runs = [probed('lomar', 0, 40.0, 9, 'time'), probed('mae', 0, 30.0, 6, 'time')]
    runs += [probed('random-mae', 0, 20.0, 1)]
    runs += [dict(task='classify', contender='mae', budget='time', labels=100, seed=0, rate=1)]
    runs[-1] |= dict(figures=dict(top1=50.0), curve=[])
    seconds = {14: dict(lomar=4.0, mae=6.0)}
    record = dict(runs=[{**run, **ORIGIN} for run in runs], command='run.py imagenette')
    text = tables.classifier_tables(record, seconds)
    assert '| 14 x 14 | LoMaR | 9 | 1.00 | 40.0 | 41.0 |' in text
    assert '| 14 x 14 | MAE, equal time | 6 | 1.00 | 30.0 | 31.0 | +10.0 | +10.0 |' in text
    assert "| 14 x 14 | random, MAE's positions |  |  | 20.0 |" in text
    assert '| 100 | MAE, equal time | 50.0 |' in text
    plots.plot_classifier(record, seconds, tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').stat().st_size > 5_000


def test_seconds_per_step_are_measured_for_every_size(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, 'FILE', tmp_path / 'seconds.json')
    monkeypatch.setattr(timing, 'REPEATS', 1)
    assert not timing.is_measured('gpu')
    with pytest.raises(ValueError, match='has no scale gpu: measure it with --measure'):
        timing.step_seconds('gpu')
    timing.measure('gpu', SMOKE)
    assert timing.is_measured('gpu') and not timing.is_measured('cpu')
    found = timing.step_seconds('gpu')
    assert set(found) == set(SECONDS)
    assert all(one['lomar'] > 0 and one['mae'] > 0 for one in found.values())


def test_a_plan_lists_every_run_once(data, tmp_path):
    for name, study in STUDIES.items():
        runs = flat(staged(name, data, tmp_path))
        known = {one.name for run in runs for one in (run, run.start) if one}
        stages = study.stages(SMOKE, data / study.RUNS, tmp_path, SECONDS)
        *lines, _, total = plan(stages, SMOKE, SECONDS, 2).splitlines()
        cells = [line.split(' | ') for line in lines[2:]]
        assert sum(int(cell[-2]) for cell in cells) == len(known)
        assert total.startswith(f'{len(known)} runs')
        hours = sum(float(cell[-1].strip(' |')) for cell in cells)
        assert hours == pytest.approx(float(total.split()[2]), abs=0.1)


def test_a_plan_has_the_hours_of_probes(data, tmp_path):
    runs = {run.name: run for run in flat(staged('imagenette', data, tmp_path)) if run.probes}
    for run in runs.values():
        epochs, interval = (
            run.options.get(key, 1) for key in ('train_cfg.max_epochs', 'custom_hooks.4.interval')
        )
        due = [e for e in range(1, epochs + 1) if e % interval == 0 or e == epochs]
        assert run.probes == len(due)
    largest = [run for run in runs.values() if run.keys['grid'] == 9]
    share = [2 / 3 if 'mae' in run.keys['contender'] else 1 for run in largest]
    totals = []
    for hours in (0, 12):
        scale = replace(SMOKE, probe_hours=((9, hours),))
        stages = imagenette.stages(scale, data / 'imagenette', tmp_path, SECONDS)
        totals.append(float(plan(stages, scale, SECONDS, 2).split()[-2]))
    expected = sum(run.probes * one for run, one in zip(largest, share, strict=True)) * 12 / 2
    assert totals[1] - totals[0] == pytest.approx(expected, abs=0.1)


def test_a_pack_is_a_balanced_subset(data, tmp_path):
    source, size = data / 'imagenette', 14
    assert pack(source, tmp_path / 'all.tar', 40) == 36
    few = tmp_path / 'few.tar'
    largest = max(path.stat().st_size for path in source.rglob('*.jpg'))
    count = pack(source, few, (10240 + size * (1024 + largest)) / 1e6)
    assert few.stat().st_size <= 10240 + size * (1024 + largest) and count < 36
    folder = unpack(few, tmp_path / 'unpacked')
    counts = [len(list((folder / part).iterdir())) for part in ('train/n0', 'train/n1')]
    assert max(counts) - min(counts) <= 1 and len(list((folder / 'val').rglob('*.jpg'))) > 0
    with pytest.raises(ValueError, match=r'nuclei has .* MB; allowed: 0\.001 MB'):
        pack(data / 'nuclei', tmp_path / 'none.tar', 0.001)

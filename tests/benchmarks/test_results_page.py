"""The page of results: up to date, and each of its numbers from YAML or JSON."""

import json
import re
from functools import partial

import msgspec
import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.hub import get_config

from benchmarks.results import __main__ as command
from benchmarks.results import measured, page
from lomar.visualization.results_table import read_published

SOURCE = measured.read_source()
PUBLISHED = page.by_claim(read_published())
MACHINE = dict(hardware=dict(cpu='CPU', gpu=None, threads=2), commit='abc', date='2026-01-02T03:04')
# The kinds of files with measured values: runs with seeds, rows of the speed, slices of a GPU.
RUNS = [
    dict(task='detect', contender=name, budget=budget, seed=seed, figures=dict(box_ap=value + seed))
    for name, budget, value in (('lomar', 'time', 30.0), ('mae', 'time', 28.0))
    for seed in (0, 1, 2)
]
RUNS += [
    dict(RUNS[0], contender='random-mae', budget=None, seed=seed, figures=dict(box_ap=value))
    for seed, value in enumerate((27, 31, 28.5))
]
RUNS += [
    dict(RUNS[0], contender='mae', budget='images', seed=seed, figures=dict(box_ap=30.5 + seed))
    for seed in (0, 1, 2)
]
RUNS.append(dict(RUNS[0], task='classify', figures=dict(top1=5.0)))
ROWS = [dict(model=name, images_per_second=rate) for name, rate in (('lomar', 3), ('mae', 1.25))]
FILES = {
    'runs.json': dict(**MACHINE, runs=RUNS),
    'speed.json': dict(MACHINE, rows=ROWS),
    'gpu.json': dict(
        results=[
            dict(MACHINE, slice='a', hardware=dict(cpu='CPU', gpu='H100', threads=8), rows=ROWS),
            dict(MACHINE, slice='b', rows=ROWS),
            dict(MACHINE, slice='tests', counts=dict(passed=3)),
        ]
    ),
}
SPEED = dict(file='speed.json', records='rows', where={}, contender='model')
SPEED |= dict(figure='images_per_second', unit='images/s')
GPU = dict(SPEED, file='gpu.json', records='results.rows', where=dict(slice='a'))
DETECT = dict(file='runs.json', records='runs', figure='figures.box_ap', unit='%')
DETECT |= dict(where=dict(task='detect', seed=[0, 1, 2]))


@pytest.fixture
def measure(tmp_path):
    """Return the function that measures a row, given its keys that differ from a default."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(json.dumps(content))

    def of(keys):
        row = dict(setting='some setting', data='some data', page='speed.md') | keys
        return measured.measure(msgspec.convert(row, measured.Row), tmp_path)

    return of


@pytest.mark.parametrize(
    ('keys', 'values', 'versus', 'hardware', 'setting'),
    [
        (
            DETECT,
            {
                'lomar': '31.0 ± 1.0 %',
                'mae': '29.0 ± 1.0 %',
                'mae-images': '31.5 ± 1.0 %',
                'random-mae': '28.8 ± 2.0 %',
            },
            {
                'mae': '+2.0 ± 0.0 points*',
                'mae-images': '-0.5 ± 0.0 points*',
                'random-mae': '+2.2 ± 1.9 points',
            },
            'CPU, 2 threads',
            'some setting, some data, 3 seeds',
        ),
        (
            SPEED,
            {'lomar': '3 images/s', 'mae': '1.25 images/s', 'random-lomar': ''},
            {'mae': '2.4 times', 'random-lomar': ''},
            'CPU, 2 threads',
            'some setting, some data',
        ),
        (GPU, {'lomar': '3 images/s'}, {'mae': '2.4 times'}, 'H100', 'some setting, some data'),
    ],
)
def test_values_of_a_row(measure, keys, values, versus, hardware, setting):
    found = measure(keys)
    assert {name: found.value(name) for name in values} == values
    assert {name: found.versus(name) for name in versus} == versus
    assert (found.hardware(), found.setting) == (hardware, setting)
    assert (found.known('commit'), found.dates()) == ('abc', '2026-01-02')


@pytest.mark.parametrize(
    ('keys', 'words'),
    [
        (dict(DETECT, where=dict(task='pretrain')), 'no record of LoMaR in runs.json'),
        (dict(DETECT, where=dict(seed=0)), r"several records in runs.json for .*'lomar', 0"),
        (dict(GPU, where={}), "several records in gpu.json for .*'lomar', None"),
        (dict(DETECT, unit='parsec'), "Invalid enum value 'parsec'"),
        (dict(DETECT, filter={}), 'unknown field `filter`'),
    ],
)
def test_an_ambiguous_row_is_refused(measure, keys, words):
    with pytest.raises(ValueError, match=words):
        measure(keys)


def test_different_seeds_are_not_compared(measure):
    found = measure(DETECT)
    del found.values['mae'][2]
    with pytest.raises(ValueError, match='LoMaR and mae have different seeds'):
        found.versus('mae')


def test_the_written_files_are_up_to_date():
    """Run `python -m benchmarks.results` if this test fails."""
    command.main(['--check'])


def test_check_detects_a_changed_measurement(monkeypatch, tmp_path):
    for row in SOURCE.measured:
        content = json.loads((ROOT / 'benchmarks' / row.file).read_text())
        (tmp_path / row.file).parent.mkdir(exist_ok=True)
        for record in content.get('rows', ()):
            record['images_per_second'] *= 1.1
        (tmp_path / row.file).write_text(json.dumps(content))
    monkeypatch.setattr(command, 'measure', partial(measured.measure, folder=tmp_path))
    with pytest.raises(
        SystemExit, match=r'stale: README\.md, docs/results\.md, docs/results\.html;'
    ):
        command.main(['--check'])


def cells(text):
    """Return the cells of all tables by table, without names of settings and links."""
    rows = re.findall(r'^\| (.*) \|$', text, re.MULTILINE)
    return [cell for row in rows for cell in row.split(' | ')]


def test_every_number_of_the_tables_comes_from_a_file():
    """Other values in the files give other numbers in each cell that has a value."""
    factors = dict(zip(measured.CONTENDERS, (1.37, 1.11, 1.05, 0.9, 1.23, 0.8), strict=True))
    found = [measured.measure(row) for row in SOURCE.measured]
    before = cells(page.top(SOURCE.claims, PUBLISHED, found, ''))
    for one in found:
        for name, values in one.values.items():
            one.values[name] = {seed: value * factors[name] for seed, value in values.items()}
    changed = [
        {k: v + 1 if k == 'top1' else v for k, v in entry.items()}
        | {'delta': {k: v + 1 for k, v in entry.get('delta', {}).items()}}
        for entries in PUBLISHED.values()
        for entry in entries
    ]
    after = cells(page.top(SOURCE.claims, page.by_claim(changed), found, ''))
    value = re.compile(r'\d (?:%|points|times|images/s|box AP)')
    numbers = [pair for pair in zip(before, after, strict=True) if value.search(pair[0])]
    assert len(numbers) >= len(SOURCE.claims) + 3 * len(SOURCE.measured)
    assert all(one != other for one, other in numbers)
    assert not re.search(r'\d', (page.TEMPLATES / 'tables.md').read_text())


def test_every_published_claim_of_lomar_is_on_the_page():
    ours = [entry for entry in read_published() if entry['method'] == 'LoMaR']
    assert all('claim' in entry for entry in ours) and len(ours) == 10
    text = (ROOT / 'docs/results.md').read_text()
    for figure in ('84.1 %', '85.4 %', '3.1 times', '2.5 times', '2.1 times', '5.0 times'):
        assert figure in text
    assert {claim.claim for claim in SOURCE.claims} == PUBLISHED.keys()
    known = {claim.claim for claim in SOURCE.claims}
    assert all(row.claims.keys() <= known for row in SOURCE.measured)


@pytest.mark.parametrize('claim', SOURCE.claims, ids=lambda claim: claim.claim)
def test_commands_find_the_checkpoints_of_earlier_commands(claim):
    written = set()
    for line in claim.commands:
        train, name = line.removeprefix('lomar train ').split(' ')[0], line.split()[2]
        assert line.startswith('lomar train ') and train == name
        cfg = Config.fromfile(ROOT / f'mmconfigs/{name}.py')
        given = re.search(r'load_from=(\S+)', line)
        source = given[1] if given else cfg.load_from
        assert source is None or source in written
        if 'max_epochs' in cfg.train_cfg:
            written.add(f'work_dirs/{name.split("/")[-1]}/epoch_{cfg.train_cfg.max_epochs}.pth')
    assert claim.commands or claim.note


@pytest.mark.parametrize('name', SOURCE.claims[2].configs[1:])
def test_openmmlab_finds_the_configs_by_the_metafile(name):
    expected = Config.fromfile(ROOT / f'mmconfigs/{name}.py')
    assert get_config(f'lomar::{name}.py').to_dict() == expected.to_dict()


def test_the_metafile_has_openmmlabs_form():
    modelindex = pytest.importorskip('modelindex', reason='installed with mmpretrain')
    index = modelindex.load(str(ROOT / 'lomar/.mim/model-index.yml'))
    index.build_models_with_collections()
    assert not index.check(silent=True)
    names = [model.name for model in index.models]
    assert len(names) == len(set(names)) >= 14
    for model in index.models:
        assert (ROOT / 'lomar/.mim' / model.config).exists()
        assert model.in_collection in {one.name for one in index.collections}


def test_the_html_page_needs_no_other_file():
    text, source = ((ROOT / f'docs/results.{end}').read_text() for end in ('html', 'md'))
    assert not re.search(r'<(?:script|link|img|iframe)|\bsrc=|@import|url\(', text)
    rows = [line for line in source.splitlines() if re.match(r'\| (?!---)', line)]
    assert text.count('<tr>') == len(rows)
    anchors = set(re.findall(r'href="#([^"]+)"', text))
    assert anchors == {*PUBLISHED, 'origin'} == set(re.findall(r'<a id="([^"]+)"', text))

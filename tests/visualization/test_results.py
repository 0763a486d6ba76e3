"""Published numbers, measured ones beside them, and what must never stand beside what."""

import csv
import io
import json
import re

import pytest
from PIL import Image
from processes import run_lomar

from lomar.cli import main
from lomar.visualization import results_table as results

REQUIRED = {
    'detection': 'method model detector recipe framework epochs input box_ap mask_ap source',
    'imagenet': 'method model recipe epochs input top1 source',
    'delta': 'method over task model input delta source',
}
COCO = 'data/coco/annotations/instances_val2017.json'
CONFIG = 'mmconfigs/detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'
CLASSIFY = 'mmconfigs/classify/lomar_vit-base-p16_8xb128-coslr-100e_in1k.py'


def coco(ap):
    sizes = dict(APs=None, APm=50.0, APl=60.0)
    return dict(AP=ap, AP50=70, AP75=50.0, **sizes, per_class={str(key): ap for key in range(80)})


def write(path, **changes):
    """A metrics.json as `lomar test` writes it, with some keys changed."""
    content = dict(
        config=CONFIG,
        checkpoint='epoch_100.pth',
        checkpoint_sha256='0123456789' * 6 + 'abcd',
        date='2025-01-31',
        versions={'torch': '2.11.0'},
        dataset=COCO,
        images=5000,
        metrics=dict(bbox=coco(52.0), segm=coco(46.0)),
    )
    path.write_text(json.dumps({**content, **changes}))
    return path


@pytest.fixture
def compare(tmp_path):
    """Rows of one measured run, with some keys of its metrics.json changed."""

    def run(kind=None, **changes):
        measured = results.read_metrics(write(tmp_path / 'metrics.json', **changes))
        return results.comparison(results.read_published(), [measured], kind)

    return run


def test_published_numbers_are_well_formed():
    entries = results.read_published()
    assert len(entries) == len({str(entry) for entry in entries}) == 46
    figures = {*results.FURTHER, 'box_ap', 'mask_ap', 'top1', 'delta', 'curve', 'notes'}
    runs = [{key: entry[key] for key in entry if key not in figures} for entry in entries]
    assert all(runs.count(run) == 1 for run in runs), 'one run, two figures'
    for entry in entries:
        required = set(REQUIRED[entry['kind']].split())
        assert required <= entry.keys()
        optional = {'kind', 'claim', 'pretrain_epochs', 'hardware', 'notes', 'curve'}
        optional |= {*results.FURTHER}
        assert entry.keys() <= required | optional
        assert re.match(r'[\w-]+/[\w-]+[@#]\w+|arXiv \d', entry['source']), 'a local path?'
        assert entry.get('method') or 'not known' in entry['notes']
        aps = [entry.get(key) for key in ('box_ap', 'mask_ap', 'top1')]
        aps += [ap for point in entry.get('curve', []) for ap in point[1:]]
        assert any(ap is not None for ap in aps) or entry['kind'] == 'delta'
        assert all(ap is None or 30 < ap < 90 for ap in aps), 'a slip of the pen'
        assert all(0 < value <= 5 for value in entry.get('delta', {}).values())


@pytest.mark.parametrize(
    ('source', 'model', 'epochs', 'figures'),
    [
        ('facebookresearch/detectron2@02b5c4e2', 'ViT-B', 100, (51.6, 45.9)),
        ('facebookresearch/detectron2@02b5c4e2', 'ViT-L', 100, (55.5, 49.2)),
        ('facebookresearch/detectron2@02b5c4e2', 'ViT-H', 75, (56.7, 50.2)),
        ('facebookresearch/mae#43', 'ViT-B', 25, (48.1, 43.2)),
        ('facebookresearch/mae#43', 'ViT-B', 50, (50.1, 44.6)),
        ('facebookresearch/mae#43', 'ViT-B', 100, (50.3, 44.9)),
        ('hustvl/MIMDet@fb0aaa1d', 'ViT-L', 36, (54.3, 48.2)),
        ('alibaba/EasyCV', 'ViT-B', 100, (50.65, 45.41)),
    ],
)
def test_known_numbers(source, model, epochs, figures):
    found = [
        (entry['box_ap'], entry['mask_ap'])
        for entry in results.read_published()
        if entry['source'].startswith(source)
        and (entry.get('detector'), entry['model']) == ('Mask R-CNN', model)
        and entry['epochs'] == epochs
    ]
    assert found == [figures]


def test_lomar_claims():
    entries = results.read_published()
    claims = [entry for entry in entries if entry['method'] == 'LoMaR']
    accuracy = {e['input']: e['top1'] for e in claims if e['kind'] == 'imagenet'}
    assert accuracy == {224: 84.1, 384: 85.4}
    on_coco = [e for e in claims if e['kind'] == 'delta' and e['task'] == 'detection']
    assert [(e['over'], e['delta']) for e in on_coco] == [('MAE', {'box_ap': 0.5, 'mask_ap': 0.5})]
    assert not [e for e in claims if e['kind'] == 'detection'], 'no absolute AP was published'


def test_a_coco_run_stands_beside_its_size_and_has_gaps_within_its_recipe(compare):
    run, *beside = compare()
    assert (run['method'], run['model'], run['epochs'], run['input']) == (
        'LoMaR',
        'ViT-B',
        100,
        1024,
    )
    assert {row['model'] for row in beside} == {'ViT-B'} and len(beside) > 20
    assert {row['kind'] for row in beside} == {'detection'}
    first = beside[0]
    assert first['source'].startswith('facebookresearch/detectron2')
    assert (first['box_ap_gap'], first['mask_ap_gap']) == (0.4, 0.1)
    recipe = [(r['recipe'], r['detector'], r['epochs']) for r in beside if 'box_ap_gap' in r]
    assert recipe == [('ViTDet', 'Mask R-CNN', 100)] * len(recipe) and len(recipe) == 8
    without_mask = next(row for row in beside if 'Fp16' in row['source'])
    assert without_mask['box_ap_gap'] == 0.6 and 'mask_ap_gap' not in without_mask


@pytest.mark.parametrize(
    ('config', 'gaps'),
    [
        ('mask-rcnn_vitdet-l_mae_lsj-100e_coco.py', 1),
        ('mask-rcnn_vitdet-b_mae_lsj-100e_8xb2_24gb_coco.py', 8),
        ('mask-rcnn_vitdet-b_mae_lsj-25e_coco.py', 0),  # another schedule
        ('mask-rcnn_vitdet-b_lomar_lsj-100e_coco-512px.py', 0),  # another input size
        ('faster-rcnn_vitdet-b_lomar_lsj-100e_coco.py', 0),  # another detector
        ('cascade-mask-rcnn_vitdet-b_mae_lsj-100e_coco.py', 1),
        ('dino-5scale_vitdet-b_mae_lsj-12e_coco.py', 0),  # of which nothing is published
        ('mask-rcnn_vitdet-tiny-lomar_shapes.py', 0),  # a size of which nothing is published
        ('mine.py', 0),  # of which nothing is known
    ],
)
def test_gaps_need_the_same_recipe(compare, config, gaps):
    _, *beside = compare(config=config)
    assert sum('box_ap_gap' in row for row in beside) == gaps
    if config.startswith(('mine', 'mask-rcnn_vitdet-tiny')):
        assert {row['detector'] for row in beside} == {'Mask R-CNN'}
        assert {'ViT-B', 'ViT-L', 'ViT-H'} <= {row['model'] for row in beside}


@pytest.mark.parametrize(
    ('record', 'model', 'epochs', 'gaps'),
    [
        ({}, 'ViT-B', 100, True),
        (dict(epochs=None, arch='base'), 'ViT-B', 100, True),
        (dict(epochs=99.76), 'ViT-B', 100, True),  # 184375 iterations on COCO
        (dict(epochs=12), 'ViT-B', 12, False),  # --epochs 12
        (dict(arch='tiny'), 'ViT-T', 100, False),
        (dict(arch=dict(embed_dim=16, depth=1, num_heads=1)), 'ViT-B', 100, True),
    ],
)
def test_the_run_wins_over_the_name_of_its_config(compare, record, model, epochs, gaps):
    run, *beside = compare(**record)
    assert (run['model'], run['epochs']) == (model, epochs)
    assert any('box_ap_gap' in row for row in beside) == gaps


@pytest.mark.parametrize(('limit', 'gaps'), [(None, 2), (100, 2), (300, 0)])
def test_gaps_need_the_limit_of_coco(compare, limit, gaps):
    """Of detections per image; files of earlier versions do not name it."""
    more = {} if limit is None else dict(max_dets=limit)
    rows = compare(metrics={kind: coco(50.0) | more for kind in ('bbox', 'segm')})
    assert sum(key.endswith('_gap') for row in rows for key in row) >= gaps
    assert any(key.endswith('_gap') for row in rows for key in row) == bool(gaps)
    assert ('AP of 300 detections per image' in rows[0]['notes']) == (limit == 300)


@pytest.mark.parametrize(
    ('changes', 'classes', 'note'),
    [
        (dict(tta=True), 80, 'test-time augmentation: not comparable'),
        ({}, 3, 'AP of 3 classes: not comparable'),
        (dict(tta=False), 80, ''),
    ],
)
def test_gaps_need_the_measure_of_coco(compare, changes, classes, note):
    per_class = dict(per_class={str(key): 50.0 for key in range(classes)})
    rows = compare(metrics={kind: coco(50.0) | per_class for kind in ('bbox', 'segm')}, **changes)
    assert any(key.endswith('_gap') for row in rows for key in row) == (not note)
    assert rows[0]['notes'].endswith(note)


@pytest.mark.parametrize(
    ('dataset', 'images'),
    [('data/shapes/annotations/val.json', 5000), (COCO, 500), ('instances_train2017.json', 5000)],
)
def test_other_data_never_stands_beside_coco(compare, dataset, images):
    rows = compare(dataset=dataset, images=images)
    assert [row['origin'] for row in rows] == ['measured']
    assert f'{images} images of {dataset}: not COCO val2017' in rows[0]['table']


def test_classification_and_kinds(compare):
    run = dict(config=CLASSIFY, metrics=dict(accuracy=dict(top1=84.0, top5=97.0)))
    rows = compare(**run, dataset='data/imagenet/val', images=50000)
    assert [(row['top1'], row.get('top1_gap')) for row in rows] == [
        (84.0, None),
        (84.1, -0.1),
        (85.4, None),
        (83.3, None),
    ]
    assert len(compare(**run, dataset='data/imagenet/val', images=1000)) == 1
    linear = compare(**{**run, 'config': 'a_vit-base-p16_8xb2048-linear-coslr-90e_in1k.py'})
    assert not any('top1_gap' in row for row in linear)
    assert compare('detection', **run) == [] and len(compare('detection')) > 20
    published = results.comparison(results.read_published(), [], 'imagenet')
    assert {row.get('task', row['kind']) for row in published} == {'imagenet'}


ROWS = [
    dict(table='A', kind='detection', origin='measured', box_ap=51.234, mask_ap=None, source='a|b'),
    dict(table='A', kind='detection', origin='published', box_ap=52, box_ap_gap=-0.77, source='c'),
    dict(table='B', kind='imagenet', origin='published', top1=84.0, top1_gap=-0.0, source='d, e'),
]


def test_markdown():
    assert results.to_markdown(ROWS).splitlines() == [
        '### A',
        '',
        '| origin | box AP | gap | source |',
        '| --- | --- | --- | --- |',
        '| measured | 51.23 | - | a\\|b |',
        '| published | 52 | -0.77 | c |',
        '',
        '### B',
        '',
        '| origin | top1 | gap | source |',
        '| --- | --- | --- | --- |',
        '| published | 84.0 | +0.00 | d, e |',
    ]


def test_csv():
    text = results.to_csv(ROWS)
    assert text.splitlines()[1] == 'A,,detection,measured,,,,,,,,,,,51.234,,,,,,,,,a|b,,,,,,'
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row['table'] for row in rows] == ['A', 'A', 'B']
    assert (rows[1]['box_ap'], rows[1]['box_ap_gap'], rows[1]['mask_ap']) == ('52', '-0.77', '')
    assert (rows[2]['top1'], rows[2]['source']) == ('84.0', 'd, e')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(checkpoint_sha256=None), r'Expected `str`, got `null` .*\.checkpoint_sha256'),
        (dict(images='5000'), r'Expected `int`, got `str` .*\.images'),
        (dict(metrics=dict(loss=1)), r'.* unknown field `loss` .*\.metrics'),
        (dict(metrics=dict(segm=coco(1.0))), r"metrics has \['segm'\]; allowed: bbox"),
        (dict(metrics={}), r'metrics has \[\]; allowed: bbox'),
        (dict(metrics=dict(bbox=dict(AP50=1))), r'.* field `AP` .*\.metrics\.bbox'),
        (dict(metrics=dict(bbox=coco(-1.0))), r'.* >= 0.0 .*\.metrics\.bbox\.AP'),
        (dict(metrics=dict(accuracy=dict(top1='84'))), r'.* got `str` .*\.metrics\.accuracy\.top1'),
    ],
)
def test_wrong_metrics_name_file_and_key(tmp_path, changes, words):
    with pytest.raises(ValueError, match=rf'wrong\.json: {words}'):
        results.read_metrics(write(tmp_path / 'wrong.json', **changes))


def test_wrong_files_are_named(tmp_path):
    (tmp_path / 'wrong.json').write_text('AP: 51')
    with pytest.raises(ValueError, match=r'wrong\.json: JSON is malformed'):
        results.read_metrics(tmp_path / 'wrong.json')


def test_command(tmp_path):
    write(tmp_path / 'run.json')
    write(tmp_path / 'toy.json', dataset='data/shapes/annotations/val.json', images=200)
    files = ['run.json', 'toy.json']
    outputs = ['--markdown', '-', '--csv', 'out.csv', '--plot', 'out.png']
    done = run_lomar('results', *files, *outputs, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    titles = [line for line in done.stdout.splitlines() if line.startswith('#')]
    assert titles[0] == '### run.json: COCO val2017'
    assert 'not COCO val2017' in titles[1] and len(titles) == 2
    rows = list(csv.DictReader((tmp_path / 'out.csv').open(encoding='utf-8')))
    assert len(rows) == done.stdout.count('\n| measured') + done.stdout.count('\n| published')
    colours = {colour for _, colour in Image.open(tmp_path / 'out.png').getcolors(1 << 20)}
    assert {(255, 127, 14, 255), (31, 119, 180, 255)} <= colours, 'measured, published'


def test_command_alone_and_its_refusals(tmp_path, capsys):
    def run(*arguments, code=0):
        assert main(['results', *map(str, arguments)]) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    assert '### Published: COCO val2017' in run()
    alone = run('--kind', 'detection')
    assert '51.6' in alone and '+' not in alone and '84.1' not in alone
    run('--markdown', tmp_path / 'new/out.md')
    assert '84.1' in (tmp_path / 'new/out.md').read_text()
    assert run('--csv', '-').startswith('table,')
    text = run('--loss', tmp_path, '--csv', tmp_path / 'a.csv', code=1)
    assert '--loss plots one work dir; METRICS, --markdown and --csv are for tables' in text
    text = run(write(tmp_path / 'bad.json', metrics=None), code=1)
    assert re.match(r'lomar results: .*bad\.json: Expected `object`, got `null` .*metrics', text)
    text = run(write(tmp_path / 'good.json'), '--kind', 'imagenet', code=1)
    assert 'none of the files holds results of kind imagenet' in text
    text = run(tmp_path / 'absent.json', code=1)
    assert re.search(r'No such file.*absent\.json', text)

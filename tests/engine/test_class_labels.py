"""Labels of training, validation and tests: they mean the same class, or the run stops."""

import json
import re
import shutil
from itertools import count
from pathlib import Path

import mmdet
import pytest
import torch
from colours import classification_config, detection_config, draw_classes, draw_coco
from mmdet.datasets import ConcatDataset
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from processes import ROOT, run_lomar

from lomar.checkpoints import load_file
from lomar.checkpoints.class_names import stored_classes
from lomar.cli import main
from lomar.datasets.class_names import defined_classes, label_table
from lomar.datasets.config_classes import set_head_classes, wrong_counts
from lomar.engine import Runner
from lomar.engine.class_order import classes_of

LETTERS = 'abcdefghijkl'
NUMBERS = count()
CLASSES = '_dataloader.dataset.metainfo.classes='


def lomar(capfd, *words, code=0):
    """Run a command in this process; return what it printed. A traceback raises its error."""
    if words[0] != 'check':  # mmengine takes the logger of a run of the same name and second
        words = *words, '--cfg-options', f'experiment_name={next(NUMBERS)}'
    found = main([str(word) for word in words])
    printed = ''.join(capfd.readouterr())
    assert found == code, printed
    return printed


def metrics(folder):
    return json.loads((folder / 'metrics.json').read_text())['metrics']


def validated(folder):
    """Return the last line of figures that a training wrote."""
    (file,) = folder.glob('*/vis_data/scalars.json')
    return json.loads(file.read_text().splitlines()[-1])


def saved_again(path, out, change):
    """Save a checkpoint with another `meta` and `state_dict`."""
    content = load_file(path)
    change(content)
    torch.save(content, out)
    return out


def unnamed(content):
    del content['meta']['dataset_meta']


# Detection ---------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """A folder with a config, train.json with box and tri, and a checkpoint."""
    folder = tmp_path_factory.mktemp('detector')
    draw_coco(folder, ['box', 'tri'], 'train')
    detection_config(folder).dump(folder / 'config.py')
    assert main(['train', str(folder / 'config.py'), '--work-dir', str(folder / 'work')]) == 0
    return folder


def both(value=100.0):
    return dict(box=pytest.approx(value), tri=pytest.approx(value))


TESTED_FILES = {
    'the same': (dict(names=['box', 'tri']), both()),
    'another order': (dict(names=['box', 'tri'], order=['tri', 'box']), both()),
    'without the first class': (
        dict(names=['box', 'tri'], shown=['tri'], order=['tri']),
        dict(tri=100.0),
    ),
    'without the last class': (
        dict(names=['box', 'tri'], shown=['box'], order=['box']),
        dict(box=100.0),
    ),
    'a class without objects': (
        dict(names=['box', 'tri'], shown=['tri'], order=['tri', 'box']),
        dict(box=None, tri=100.0),
    ),
    "an exporter's root class": (
        dict(names=['box', 'tri'], shown=['box', 'tri'], order=['things', 'tri', 'box']),
        both(),
    ),
    'other names': (
        dict(names=['cat', 'dog']),
        r"2 classes .* not trained for.* 2: \['cat', 'dog'\]; the model has 2: \['box', 'tri'\]",
    ),
    'another case': (dict(names=['Box', 'tri ']), r"'Box' is not the model's 'box'; 'tri ' is not"),
    'one more class': (
        dict(names=['box', 'tri', 'cat']),
        r"not trained for, such as \['cat'\]; the data have 3: .*; the model has 2: .*4 objects",
    ),
    'one more class, left out': (
        dict(names=['box', 'tri', 'cat'], order=['cat', 'tri', 'box']),
        both(),
        '[tri,box]',
    ),
    'one chosen class': (
        dict(names=['box', 'tri'], order=['tri', 'box']),
        dict(tri=100.0),
        '[tri]',
    ),
    'a chosen class that is unknown': (
        dict(names=['box', 'tri']),
        r"metainfo.classes: 1 classes .* not trained for, such as \['cat'\]",
        '[tri,cat]',
    ),
    'a name in place of names': (
        dict(names=['box', 'tri']),
        r"metainfo.classes must be a list of different names.* \[cat\], got 'tri'",
        'tri',
    ),
}


@pytest.mark.parametrize('case', TESTED_FILES)
def test_a_tested_file(detector, tmp_path, capfd, case):
    drawn, expected, *chosen = TESTED_FILES[case]
    path = draw_coco(tmp_path, **drawn, name='tested')
    line = ['test', detector / 'config.py', detector / 'work/epoch_1.pth', '--val-ann', path]
    line += ['--val-images', tmp_path, '--work-dir', tmp_path, '--out', tmp_path / 'out']
    line += ['--cfg-options', *(f'test{CLASSES}{one}' for one in chosen)] if chosen else []
    if isinstance(expected, str):
        text = lomar(capfd, *line, code=1)
        assert re.search(expected, text)
        return
    lomar(capfd, *line)
    assert metrics(tmp_path)['bbox']['per_class'] == expected
    file = json.loads(path.read_text())
    names = {one['id']: one['name'] for one in file['categories']}
    written = json.loads((tmp_path / 'out/bbox.json').read_text())
    objects = [one for one in file['annotations'] if names[one['category_id']] in expected]
    assert sorted((one['image_id'], one['category_id'], *one['bbox']) for one in written) == sorted(
        (one['image_id'], one['category_id'], *one['bbox']) for one in objects
    )


def old_mmdet(content):
    content['meta']['CLASSES'] = content['meta'].pop('dataset_meta')['classes']


def upper_case(content):
    content['meta']['dataset_meta'] = dict(CLASSES=('box', 'tri'))


ORDER, ONE = dict(order=['tri', 'box']), dict(shown=['tri'], order=['tri'])
TESTED_CHECKPOINTS = {
    'mmdet 2': (old_mmdet, 'train.json', ORDER, None, both()),
    'upper case': (upper_case, 'train.json', ORDER, None, both()),
    'no names, those of the training file': (unnamed, 'train.json', ORDER, None, both()),
    'no names, those of the tested file': (unnamed, 'gone.json', {}, None, both()),
    'no names, given names': (unnamed, 'gone.json', ORDER, '[box,tri]', both()),
    'no names, too few': (unnamed, 'gone.json', ONE, None, 'no class names. Name all its classes'),
    'no names, all given': (unnamed, 'gone.json', ONE, '[box,tri]', dict(tri=100.0)),
}


@pytest.mark.parametrize('case', TESTED_CHECKPOINTS)
def test_a_tested_checkpoint(detector, tmp_path, capfd, case):
    change, train, drawn, chosen, expected = TESTED_CHECKPOINTS[case]
    path = draw_coco(tmp_path, ['box', 'tri'], 'tested', **drawn)
    checkpoint = saved_again(detector / 'work/epoch_1.pth', tmp_path / 'other.pth', change)
    detection_config(detector, 80, train).dump(tmp_path / 'config.py')
    line = ['test', tmp_path / 'config.py', checkpoint, '--val-ann', path, '--work-dir', tmp_path]
    line += ['--val-images', tmp_path]
    line += ['--cfg-options', f'test{CLASSES}{chosen}'] if chosen else []
    text = lomar(capfd, *line, code=1 if isinstance(expected, str) else 0)
    assert ('The checkpoint has no class names; its labels are' in text) == (change is unnamed)
    if isinstance(expected, str):
        assert expected in text
    else:
        assert metrics(tmp_path)['bbox']['per_class'] == expected


ROOT_CLASS = dict(names=['things', 'box', 'tri'], shown=['box', 'tri'])
TRAININGS = {
    'validation in another order': ({}, ORDER, None, ('box', 'tri')),
    'validation without the first class': ({}, ONE, None, ('box', 'tri')),
    'validation on other names': (
        {},
        dict(names=['cat', 'dog']),
        None,
        "'cat', 'dog'.*'box', 'tri",
    ),
    'without the root class': (ROOT_CLASS, ROOT_CLASS, '[box,tri]', ('box', 'tri')),
    'without a class that has objects': (
        dict(names=['cat', 'box', 'tri']),
        dict(names=['cat', 'box', 'tri'], order=['tri', 'cat', 'box']),
        '[box,tri]',
        ('box', 'tri'),
    ),
    'in a given order': (
        ROOT_CLASS,
        dict(ROOT_CLASS, order=['box', 'things', 'tri']),
        '[tri,box]',
        ('tri', 'box'),
    ),
    'a name with a space': (
        dict(names=['stop sign', 'box']),
        dict(names=['stop sign', 'box'], order=['box', 'stop sign']),
        "['stop sign']",
        ('stop sign',),
    ),
    'an integer as a name': (dict(names=['7', 'box']), dict(names=['7']), '[7]', ('7',)),
    'an unknown name': (
        ROOT_CLASS,
        {},
        '[box,try]',
        r"missing: \['try'\]; the file has .*'things'",
    ),
    'no list': (ROOT_CLASS, {}, 'box', r"must be a list of different names.*, got 'box'"),
    'a name twice': (ROOT_CLASS, {}, '[box,box]', 'must be a list of different names'),
}


@pytest.mark.parametrize('case', TRAININGS)
def test_a_training(tmp_path, capfd, case):
    train, val, given, expected = TRAININGS[case]
    detection_config(tmp_path, classes=80).dump(tmp_path / 'config.py')
    flags = ['--train-images', tmp_path, '--val-images', tmp_path]
    for name, drawn in dict(train=train, val=val).items():
        path = draw_coco(tmp_path, **{'names': ['box', 'tri'], **drawn}, name=f'my{name}')
        flags += [f'--{name}-ann', path]
    options = ['--cfg-options', f'train{CLASSES}{given}'] if given else []
    line = [tmp_path / 'config.py', *flags]
    if isinstance(expected, str):
        text = lomar(capfd, 'train', *line, '--work-dir', tmp_path / 'work', *options, code=1)
        assert re.search(expected, text)
        lomar(capfd, 'check', *line, *options, code=1)
        return
    text = lomar(capfd, 'train', *line, '--work-dir', tmp_path / 'work', *options)
    assert 'it is not known' not in text
    assert validated(tmp_path / 'work')['coco/bbox_mAP'] == pytest.approx(1)
    content = load_file(tmp_path / 'work/epoch_1.pth')
    assert stored_classes(content) == expected
    assert len(content['state_dict']['bbox_head.colours']) == len(expected)
    lomar(capfd, 'check', *line, *options)


def test_the_config_of_a_run_takes_other_files(detector, tmp_path, capfd):
    """Classes that came from a file do not count as given in the next run."""
    path = draw_coco(tmp_path, ['ring'], 'mine')
    files = [word for name in ('train', 'val') for word in (f'--{name}-ann', path)]
    images = ['--train-images', tmp_path, '--val-images', tmp_path, '--work-dir', tmp_path / 'work']
    config = detector / 'work/config.py'
    lomar(capfd, 'train', config, *files, *images)
    assert stored_classes(load_file(tmp_path / 'work/epoch_1.pth')) == ('ring',)


RESUMED = {
    'with the same flags': (['--train-ann', '--val-ann'], None),
    'without flags': ([], None),
    'with another order of the validation': (['--val-ann'], None),
    'with another order of the training': (['--train-ann'], r'classes\.0 +box +tri'),
    'with another order of the training, accepted': (
        ['--train-ann'],
        'WARNING.*start with the weights of other classes; .*metainfo.classes sets the order',
        '--accept-changes',
    ),
}


@pytest.mark.parametrize('case', RESUMED)
def test_a_resumed_run_compares_classes_as_read(tmp_path, capfd, case):
    flags, expected, *accept = RESUMED[case]
    path = draw_coco(tmp_path, ['box', 'tri'], 'train')
    other = path if case == 'with the same flags' else tmp_path / 'other.json'
    draw_coco(tmp_path, ['box', 'tri'], other.stem, **({} if other == path else ORDER))
    cfg = detection_config(tmp_path)
    cfg.train_cfg.max_epochs = 2
    cfg.dump(tmp_path / 'config.py')
    line = ['train', tmp_path / 'config.py', '--train-images', tmp_path]
    line += ['--val-images', tmp_path, '--work-dir', tmp_path / 'work']
    lomar(capfd, *line, '--train-ann', path, '--val-ann', path)
    line += ['--resume', tmp_path / 'work/epoch_1.pth']
    line += [word for flag in flags for word in (flag, other)]
    text = lomar(capfd, *line, *accept, code=1 if expected and not accept else 0)
    assert not expected or re.search(expected, text)


@pytest.mark.parametrize(('order', 'fits'), [(ORDER, True), ({}, False)], ids=['same', 'other'])
def test_another_evaluation_needs_the_order_of_the_file(detector, tmp_path, capfd, order, fits):
    """The order of the list, which is not that of the ids."""
    path = draw_coco(tmp_path, ['box', 'tri'], 'tested', **order)
    line = ['test', detector / 'config.py', detector / 'work/epoch_1.pth', '--val-ann', path]
    line += ['--val-images', tmp_path, '--work-dir', tmp_path]
    line += ['--cfg-options', 'test_evaluator.type=CocoMetric']
    text = lomar(capfd, *line, code=0 if fits else 1)
    if fits:
        assert metrics(tmp_path)['coco/bbox_mAP'] == 1
    else:
        assert 'allowed: CocoAP, which maps classes by name; found CocoMetric' in text


@pytest.mark.parametrize('order', [['box', 'tri'], ['tri', 'box']])
def test_weights_of_another_order_are_noted(detector, tmp_path, capfd, order):
    path = draw_coco(tmp_path, ['box', 'tri'], 'mine', order=order)
    line = ['train', detector / 'config.py', '--train-ann', path, '--train-images', tmp_path]
    line += ['--work-dir', tmp_path / 'work', '--cfg-options']
    text = lomar(capfd, *line, f'load_from={detector / "work/epoch_1.pth"}')
    assert ('start with the weights of other classes' in text) == (order[0] == 'tri')


def test_names_in_a_file(tmp_path, capfd):
    """As mmengine reads `metainfo`."""
    draw_coco(tmp_path, ['box', 'tri'], 'train')
    detection_config(tmp_path).dump(tmp_path / 'config.py')
    (tmp_path / 'classes.txt').write_text('tri\nbox\n')
    line = ['train', tmp_path / 'config.py', '--work-dir', tmp_path / 'work', '--cfg-options']
    lomar(capfd, *line, f'train{CLASSES}{tmp_path / "classes.txt"}')
    assert stored_classes(load_file(tmp_path / 'work/epoch_1.pth')) == ('tri', 'box')


@pytest.mark.parametrize('split', ['val', 'test'])
def test_a_runner_that_no_command_has_prepared(detector, tmp_path, split):
    cfg = detection_config(detector)
    path = str(draw_coco(tmp_path, ['box', 'tri'], 'tested', **ORDER))
    for reader in (cfg[f'{split}_dataloader'].dataset, cfg[f'{split}_evaluator']):
        reader.ann_file = path
    cfg[f'{split}_dataloader'].dataset.data_prefix.img = str(tmp_path)
    cfg.update(work_dir=str(tmp_path), experiment_name=f'x{next(NUMBERS)}')
    if split == 'test':
        cfg.load_from = str(detector / 'work/epoch_1.pth')
        cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = None
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=r"training was on .*'box', 'tri'.* has 2: .'tri', 'box'"):
        runner.test() if split == 'test' else runner.train()


def test_one_process(detector, tmp_path):
    """The real command."""
    path = draw_coco(tmp_path, ['box', 'tri'], 'tested', **ORDER)
    line = ('test', detector / 'config.py', detector / 'work/epoch_1.pth', '--val-ann', path)
    env = dict(PYTHONPATH=f'{ROOT}/tests:{ROOT}')
    done = run_lomar(*line, '--val-images', tmp_path, '--work-dir', tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path)['bbox']['AP'] == pytest.approx(100)


MODELS = Path(mmdet.__file__).parent / '.mim/configs'
HEADS = {
    'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py': 4,
    'htc/htc_r50_fpn_1x_coco.py': 6,
    'retinanet/retinanet_r50_fpn_1x_coco.py': 1,
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': 1,
    'yolox/yolox_s_8xb8-300e_coco.py': 1,
    'dino/dino-4scale_r50_8xb2-12e_coco.py': 1,
    'solo/solo_r50_fpn_1x_coco.py': 1,
    'ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco.py': 3,
}


@pytest.mark.parametrize('name', HEADS)
def test_all_heads_follow(name):
    cfg = Config.fromfile(MODELS / name)
    before = cfg.model.pretty_text if hasattr(cfg.model, 'pretty_text') else str(cfg.model)
    assert not wrong_counts(cfg, 80) and len(wrong_counts(cfg, 3)) == HEADS[name]
    set_head_classes(cfg, ['a', 'b', 'c'])
    assert not wrong_counts(cfg, 3)
    after = str(cfg.model).replace("'num_classes': 3,", "'num_classes': 80,")
    assert after.replace("'num_classes': 3}", "'num_classes': 80}") == before


@pytest.mark.parametrize(
    ('weights', 'expected', 'wrong'),
    [
        ([1.0] * 80 + [0.1], [1.0, 1.0, 1.0, 0.1], 0),
        ([2.0] * 80 + [2.0], [2.0] * 4, 0),
        ([*range(1, 81), 0.1], [*range(1, 81), 0.1], 1),  # of classes that are not known
        (None, None, 0),
    ],
)
def test_heads_with_weights_per_class_follow(weights, expected, wrong):
    cfg = Config.fromfile(MODELS / 'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py')
    cfg.model.panoptic_head.loss_cls.class_weight = weights
    set_head_classes(cfg, ['a', 'b', 'c'])
    assert cfg.model.panoptic_head.num_things_classes == 3
    assert cfg.model.panoptic_fusion_head.num_things_classes == 3
    assert cfg.model.panoptic_head.loss_cls.class_weight == expected
    assert len(wrong_counts(cfg, 3)) == wrong


@pytest.mark.parametrize(
    ('part', 'wrong'),
    [
        (dict(loss_cls=dict(type='L', class_weight=[1.0] * 81)), '81 numbers in class_weight of L'),
        (dict(type='M', num_things_classes=80), 'num_things_classes=80 in M'),
    ],
)
def test_settings_that_cannot_follow_are_named(part, wrong):
    assert wrong_counts(ConfigDict(model=dict(panoptic_head=part)), 3) == [wrong]
    assert not wrong_counts(ConfigDict(model=dict(panoptic_head=part)), 80)


# Classification ----------------------------------------------------------------------------------
TEN = [str(number) for number in range(12)]
TABLES = {
    'names': (['b', 'a'], ['a', 'b', 'c'], dict(a=0, b=1)),
    'indices': (['10', '2'], LETTERS, {'10': 10, '2': 2}),
    'indices of classes that are their indices': (['10', '2'], TEN, {'10': 10, '2': 2}),
    'integers that are names': (['10', '2'], sorted(TEN), {'10': 2, '2': 4}),
    'integers that are names and begin at 1': (['2', '1'], ['1', '2'], {'1': 0, '2': 1}),
    'integers of which some are names': (['0', '1'], ['1', '2'], r"such as \['0'\]; .*'0', '1'"),
    'beyond the classes': (['0', '3'], 'abc', r'has the integer labels \[3\]; .* from 0 to 2 of'),
    'below 0': (['-1', '0'], 'abc', r'has the integer labels \[-1\]; .* from 0 to 2 of'),
    'integers and names': (['0', 'b'], 'abc', r"integers and names .*\['0'\] and \['b'\]"),
    'a character set': (['0', 'b'], '012abc', {'0': 0, 'b': 4}),
    'zeros before an integer': (['00', '01'], 'abc', r"not trained for, such as \['00', '01'\]"),
    'a name twice in the model': (['a'], ['a', 'b', 'a'], r"the model has \['a'\] more than once"),
}


@pytest.mark.parametrize('case', TABLES)
def test_labels_of_a_list(case):
    texts, classes, expected = TABLES[case]
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            label_table('val.txt', texts, list(classes), is_list=True)
    else:
        found = label_table('val.txt', texts, list(classes), is_list=True)
        assert {text: found[text] for text in texts} == expected


DEFINED = {
    'names': (['b', 'a', '1x'], ['1x', 'a', 'b']),
    'indices': (sorted(TEN), TEN),
    'begin at 1': (['1', '2', '3'], r'are 1 to 3, which should be 0 to N - 1, .*; wrong: \[0\];'),
    'with a gap': (['0', '3'], r'are 0 to 3, which should be .*; wrong: \[1, 2\];'),
    'below 0': (['-1', '0'], r'are -1 to 0, which should be .*; wrong: \[-1\];'),
    'mixed': (['0', 'a'], r'val.txt has integers and names as labels'),
    'zeros before an integer': (['01', '00', '10'], ['00', '01', '10']),
}


@pytest.mark.parametrize('case', DEFINED)
def test_classes_that_a_list_defines(case):
    texts, expected = DEFINED[case]
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            defined_classes('val.txt', texts, is_list=True)
    else:
        assert defined_classes('val.txt', texts, is_list=True) == expected
    assert defined_classes('folder', texts, is_list=False) == sorted(texts)


def listed(folder, name, labels, images='images'):
    """Write a text list of the images of `draw_classes`, with a label by class."""
    lines = [
        f'{images}/{letter}/{number}.png {labels[letter]}'
        for letter in labels
        for number in range(2)
    ]
    path = folder / name
    path.write_text('\n'.join(lines))
    return path


INDEX = {letter: str(number) for number, letter in enumerate(LETTERS)}


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    """A folder with a config, class folders and a checkpoint."""
    folder = tmp_path_factory.mktemp('classifier')
    classification_config(draw_classes(folder / 'images', LETTERS), 12).dump(folder / 'config.py')
    assert main(['train', str(folder / 'config.py'), '--work-dir', str(folder / 'work')]) == 0
    return folder


def without(*letters, labels=None):
    labels = labels or INDEX
    return {letter: label for letter, label in labels.items() if letter not in letters}


TESTED_IMAGES = {
    'indices': (INDEX, 100),
    'indices without the first': (without('a'), 100),
    'indices without the last': (without('l'), 100),
    'names': ({letter: letter for letter in 'dba'}, 100),
    'indices from 1': ({letter: int(label) + 1 for letter, label in INDEX.items()}, r'labels \[12'),
    'mixed': (INDEX | dict(c='c'), 'integers and names as labels'),
    'a folder': (LETTERS, 100),
    'a folder without the first class': (LETTERS[1:], 100),
    'a folder with one more class': (f'{LETTERS}m', r"not trained for, such as \['m'\]"),
    'a folder of integers': (['0', '1'], r"not trained for, such as \['0', '1'\]"),
}


@pytest.mark.parametrize('flags', [True, False])
@pytest.mark.parametrize('case', TESTED_IMAGES)
def test_tested_images(classifier, tmp_path, capfd, case, flags):
    """By a flag or by the config."""
    labels, expected = TESTED_IMAGES[case]
    draw_classes(tmp_path / 'images', f'{LETTERS}m')
    if isinstance(labels, dict):
        root = listed(tmp_path, 'val.txt', labels)
    else:
        root = tmp_path / 'folder'
        for name in labels:
            shutil.copytree(tmp_path / 'images' / (name if name.isalpha() else 'a'), root / name)
    line = ['test', classifier / 'config.py', classifier / 'work/epoch_1.pth']
    line += ['--work-dir', tmp_path]
    if flags:
        line += ['--val-images', root]
    else:
        line += ['--cfg-options', f'test_dataloader.dataset.data_root={root}']
    if isinstance(expected, str):
        assert re.search(expected, lomar(capfd, *line, code=1))
    else:
        text = lomar(capfd, *line)
        assert metrics(tmp_path)['accuracy']['top1'] == expected
        assert ('no image has the label 0' in text) == (case == 'indices without the first')


TESTED_CLASSIFIERS = {
    'no names, those of the training folder': ('images', 12, without('a'), 100),
    'no names, those of the tested list': ('gone', 1000, {x: x for x in LETTERS}, 100),
    'no names, too few': ('gone', 12, {x: x for x in 'bcd'}, 'no class names. Name all'),
    'no names, indices': ('gone', 12, without('a'), 100),
    'no names, indices for another head': ('gone', 13, without('a'), 'no class names. Name all'),
}


@pytest.mark.parametrize('case', TESTED_CLASSIFIERS)
def test_a_tested_classifier(classifier, tmp_path, capfd, case):
    train, classes, labels, expected = TESTED_CLASSIFIERS[case]
    classification_config(classifier / train, classes).dump(tmp_path / 'config.py')
    checkpoint = saved_again(classifier / 'work/epoch_1.pth', tmp_path / 'other.pth', unnamed)
    root = listed(tmp_path, 'val.txt', labels, classifier / 'images')
    line = ['test', tmp_path / 'config.py', checkpoint, '--val-images', root]
    line += ['--work-dir', tmp_path]
    text = lomar(capfd, *line, code=1 if isinstance(expected, str) else 0)
    assert 'The checkpoint has no class names' in text
    assert expected in text if isinstance(expected, str) else metrics(tmp_path)


TRAINED_IMAGES = {
    'indices': (INDEX, INDEX, None, TEN),
    'validation without the first': (INDEX, without('a'), None, TEN),
    'indices of folders': (None, INDEX, None, list(LETTERS)),
    'a given order': (None, INDEX, '[l,k,j,i,h,g,f,e,d,c,b,a]', 'top1'),
    'given names of labels from 1': (
        {'a': 1, 'b': 2, 'c': 3},
        {'c': 3},
        '[1,2,3]',
        ['1', '2', '3'],
    ),
    'labels from 1': ({'a': 1, 'b': 2}, {'b': 2}, None, 'should be 0 to N - 1'),
    'too few given names': (None, INDEX, '[a,b]', "not trained for, such as .'c', 'd', 'e'."),
    'too many given names': (None, INDEX, f'[{",".join(LETTERS)},m]', r"no training image .*'m'"),
    'a validation class that is not trained': (
        {x: x for x in 'ab'},
        {x: x for x in 'abc'},
        None,
        r"not trained for, such as \['c'\]",
    ),
}


def test_the_best_checkpoint_needs_a_metric_of_the_classes_as_read(classifier, tmp_path, capfd):
    """Three classes have no top-5 accuracy; the number in the config does not count."""
    images = draw_classes(tmp_path / 'images', 'abc')
    line = ['train', classifier / 'config.py', '--train-images', images, '--val-images', images]
    best = ['default_hooks.checkpoint.save_best=accuracy/top5']
    text = lomar(capfd, *line, '--work-dir', tmp_path / 'w', '--cfg-options', *best, code=1)
    assert "save_best is 'accuracy/top5', which val_evaluator does not compute; allowed: a" in text


@pytest.mark.parametrize('classes', [('a', 'b'), ('b', 'a')])
def test_the_parts_of_a_combined_dataset_have_the_same_classes(classes):
    values = dict(classes=('a', 'b'), author='a'), dict(classes=classes, author='b')
    parts = [BaseDataset(metainfo=one, lazy_init=True) for one in values]
    combined = ConcatDataset(parts, lazy_init=True)
    assert isinstance(combined.metainfo, list)  # mmdet's, as the authors differ
    if classes == ('a', 'b'):
        assert classes_of(combined) == ('a', 'b')
    else:
        with pytest.raises(ValueError, match=r"classes: 2: \['a', 'b'\]; 2: \['b', 'a'\]"):
            classes_of(combined)


@pytest.mark.parametrize('case', TRAINED_IMAGES)
def test_trained_images(classifier, tmp_path, capfd, case):
    train, val, given, expected = TRAINED_IMAGES[case]
    images = classifier / 'images'
    flags = ['--train-images', listed(tmp_path, 'train.txt', train, images) if train else images]
    flags += ['--val-images', listed(tmp_path, 'val.txt', val, images)]
    line = ['train', classifier / 'config.py', *flags, '--work-dir', tmp_path / 'work']
    line += ['--cfg-options', f'train{CLASSES}{given}'] if given else []
    if isinstance(expected, str) and expected != 'top1':
        text = lomar(capfd, *line, code=1)
        assert re.search(expected, text)
        return
    lomar(capfd, *line)
    content = load_file(tmp_path / 'work/epoch_1.pth')
    if expected == 'top1':  # indices count in the given order, names do not
        assert stored_classes(content) == tuple(reversed(LETTERS))
        assert validated(tmp_path / 'work')['accuracy/top1'] == 0
    else:
        assert list(stored_classes(content)) == expected
        assert validated(tmp_path / 'work')['accuracy/top1'] == 100
        assert len(content['state_dict']['head.fc.colours']) == len(expected)

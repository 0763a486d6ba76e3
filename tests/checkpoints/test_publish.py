"""`lomar publish`: a folder with weights, config, card and metrics that all readers load."""

import hashlib
import json
import re
import shutil
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import yaml
from conftest import FIXTURES, ROOT
from mmengine.config import Config
from mmengine.registry import MODELS
from old_checkpoints import arguments, make_shapes
from processes import run_lomar
from torch import nn

import lomar
import lomar.timm  # registers lomar_vit
from lomar.checkpoints import load_file, publish, published, stored_config, unwrap
from lomar.checkpoints.config_reader import read_configs
from lomar.checkpoints.licenses import checked_license
from lomar.checkpoints.origin import licence, record, starts
from lomar.checkpoints.publish import publish as write
from lomar.checkpoints.safetensors_file import write_safetensors
from lomar.checkpoints.timm_config import timm_config
from lomar.checkpoints.trained_model import trained_model
from lomar.checkpoints.trained_settings import changes
from lomar.cli import main
from lomar.engine.class_order import classes_to_test
from lomar.engine.resume import read_resumed
from lomar.export.exportable import _of_training, exportable

KINDS = [f'{kind}_{method}' for kind in ('pretrain', 'classifier', 'detector') for method in
         ('lomar', 'mae')]  # fmt: skip
FILES = ['model.safetensors', 'config.json', 'README.md']
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def source(kind):
    return FIXTURES / f'v0.1/{kind}.pth'


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Folders by kind, published once."""
    root = tmp_path_factory.mktemp('published')
    for kind in KINDS:
        write(source(kind), root / kind)
    return root


@pytest.fixture
def folder(folders, tmp_path):
    """A detector's folder that the test may change."""
    return shutil.copytree(folders / 'detector_lomar', tmp_path / 'detector')


def front(folder):
    """Return the front matter of a model card, and its text."""
    _, matter, text = (folder / 'README.md').read_text().split('---\n', 2)
    return yaml.safe_load(matter), text


def edit(folder, change):
    """Change the content of config.json."""
    content = json.loads((folder / 'config.json').read_text())
    change(content)
    (folder / 'config.json').write_text(json.dumps(content))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ['', 'model.safetensors'])
def test_content_is_that_of_the_checkpoint(folders, kind, name):
    before, after = load_file(source(kind)), load_file(folders / kind / name)
    assert after.keys() == {'state_dict', 'meta'}
    assert list(after['state_dict']) == sorted(before['state_dict'])
    for key, value in before['state_dict'].items():
        assert after['state_dict'][key].dtype == value.dtype
        assert torch.equal(after['state_dict'][key], value), key
    configs = [read_configs(each)["meta['cfg']"].to_dict() for each in (before, after)]
    assert repr(configs[0]) == repr(configs[1])
    kept = {key: value for key, value in before['meta'].items() if key != 'cfg'}
    assert kept.items() <= after['meta'].items()


def test_the_optimizer_is_left_out(folders):
    size = (folders / 'detector_lomar/model.safetensors').stat().st_size
    tensors = load_file(source('detector_lomar'))['state_dict'].values()
    assert size < sum(value.nbytes for value in tensors) * 1.1
    assert size < source('detector_lomar').stat().st_size / 2
    modes = {(folders / 'detector_lomar' / name).stat().st_mode for name in FILES}
    assert len(modes) == 1  # others can read all files, or none


def encoder(path):
    return lomar.Encoder(path)([IMAGE]).pooled.numpy()


def detector(path):
    (found,) = lomar.Detector(path, device='cpu')([IMAGE], threshold=0.0)
    return np.concatenate([found.boxes, found.scores[:, None], found.labels[:, None]], axis=1)


def classifier(path):
    (found,) = lomar.Classifier(path, device='cpu')([IMAGE])
    return np.array([found.scores, found.labels])


READERS = [(encoder, 'pretrain_lomar'), (encoder, 'pretrain_mae'), (detector, 'detector_mae')]
READERS += [(classifier, 'classifier_lomar'), (detector, 'detector_lomar')]


@pytest.mark.parametrize('name', ['', 'model.safetensors'])
@pytest.mark.parametrize(('read', 'kind'), READERS)
def test_readers(folders, read, kind, name):
    expected = read(source(kind))
    assert expected.size and np.array_equal(read(folders / kind / name), expected)


COMMANDS = dict(
    encode=lambda folder, images, out: ['encode', folder, images, '--out', f'{out}/a.npz'],
    convert=lambda folder, images, out: [
        *('convert', folder, f'{out}/a.pth', '--from', 'lomar', '--to', 'timm')
    ],
    reconstruct=lambda folder, images, out: [
        *('reconstruct', f'{ROOT}/mmconfigs/shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'),
        *(folder, images, '--out', out, '--cfg-options', 'model.backbone.arch.embed_dim=16'),
        'model.backbone.arch.depth=2',
    ],
    publish=lambda folder, images, out: ['publish', folder, f'{out}/again'],
    predict=lambda folder, images, out: [
        *('predict', folder.replace('pretrain', 'detector'), images, '--out', f'{out}/found')
    ],
)


@pytest.mark.parametrize('command', COMMANDS)
def test_commands(folders, photographs, tmp_path, command):
    line = COMMANDS[command](str(folders / 'pretrain_lomar'), str(photographs), str(tmp_path))
    assert main(line) == 0
    if command == 'publish':
        for name in FILES[:2]:
            again, first = tmp_path / 'again' / name, folders / 'pretrain_lomar' / name
            assert again.read_bytes() == first.read_bytes()


@pytest.mark.slow
def test_training_and_test(folders, tmp_path):
    """load_from of a published pretraining; its classifier is published and tested."""
    shapes = make_shapes(tmp_path / 'shapes', 16)
    start = f'load_from={folders / "pretrain_lomar"}'
    line = arguments('classifier_lomar', shapes, tmp_path / 'work', 1, start)
    done = run_lomar('train', *line)
    assert done.returncode == 0 and 'Backbone loaded from' in done.stdout + done.stderr
    checkpoint = tmp_path / 'work/epoch_1.pth'
    assert [each.file for each in starts(load_file(checkpoint))] == [
        str(folders / 'pretrain_lomar'),
        'random weights',
    ]
    done = run_lomar('publish', checkpoint, tmp_path / 'out', '--license', 'MIT')
    assert done.returncode == 0, done.stderr
    assert 'tensors' in done.stdout and 'licence: mit' in done.stdout
    test = ['test', line[0], tmp_path / 'out', '--val-images', shapes / 'annotations/val.txt']
    options = line[line.index('--cfg-options') :]
    done = run_lomar(*test, '--work-dir', tmp_path / 'tested', *options)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / 'tested/metrics.json').read_text())
    weights = (tmp_path / 'out/model.safetensors').read_bytes()
    assert metrics['checkpoint_sha256'] == hashlib.sha256(weights).hexdigest()


MEAN, STD = (
    torch.tensor(values).view(-1, 1, 1)
    for values in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
)


@pytest.mark.parametrize('kind', KINDS[:4])
def test_timm(folders, kind):
    model = timm.create_model(f'local-dir:{folders / kind}', pretrained=True).eval()
    images = (torch.from_numpy(IMAGE).permute(2, 0, 1)[None] - MEAN) / STD
    with torch.no_grad():
        if kind.startswith('pretrain'):
            expected = torch.from_numpy(encoder(source(kind)))
        else:
            expected = trained_model(source(kind), device='cpu').model(images)
        torch.testing.assert_close(model(images), expected, atol=1e-6, rtol=1e-5)
    cfg = model.pretrained_cfg
    assert np.allclose(cfg['mean'], [0.485, 0.456, 0.406]) and tuple(cfg['input_size']) == (
        3,
        64,
        64,
    )
    other = timm.create_model(f'local-dir:{folders / kind}', pretrained=True, num_classes=7)
    assert other(images).shape == (1, 7)
    assert torch.equal(other.patch_embed.proj.weight, model.patch_embed.proj.weight)


def test_timm_refuses_missing_weights(folders, tmp_path):
    folder = shutil.copytree(folders / 'classifier_lomar', tmp_path / 'a')
    weights = load_file(folder)['state_dict']
    write_safetensors(folder / 'model.safetensors', dict(list(weights.items())[1:]))
    with pytest.raises(RuntimeError, match='Missing key'):
        timm.create_model(f'local-dir:{folder}', pretrained=True)


def test_timm_loads_the_backbone_of_a_detector(folders):
    folder = folders / 'detector_lomar'
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    options = dict(pretrained=True, features_only=True, out_indices=[1])
    backbone = trained_model(source('detector_lomar'), device='cpu').model.backbone
    assert {block.window_size for block in backbone.blocks} == {0, 8}
    with torch.no_grad():
        (expected,) = backbone(images)
        (found,) = timm.create_model(f'local-dir:{folder}', **options).eval()(images)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        plain = timm.create_model(f'local-dir:{folder}', **options, window_size=0).eval()
        assert (plain(images)[0] - expected).abs().max() > 1e-4
    with pytest.raises(ValueError, match='window_size is 4; allowed with class_token=False'):
        timm.create_model(f'local-dir:{folder}', window_size=4, class_token=True)


def test_timm_names_what_reads_another_detector(folders):
    with pytest.raises(RuntimeError, match=r'Unknown model \(lomar\.Detector\)'):
        timm.create_model(f'local-dir:{folders / "detector_mae"}')
    reason = 'timm cannot load this folder: the backbone has absolute positions'
    assert reason in front(folders / 'detector_mae')[1]


@MODELS.register_module()
class Halved(nn.Module):
    """A neck without weights."""

    def forward(self, features):
        return tuple(each / 2 for each in features)


def batch_norm(content):
    names = dict(running_mean=torch.ones(16), running_var=torch.ones(16))
    content['state_dict'] |= {f'neck.bn.{name}': value for name, value in names.items()}
    content['state_dict']['neck.bn.num_batches_tracked'] = torch.tensor(1)


OTHERS = {
    'linear probe': (
        dict(neck=dict(type='ClsBatchNormNeck', input_features=16)),
        batch_norm,
        'do not fit the encoder',
    ),
    'a neck without weights': (dict(neck=dict(type='Halved')), len, 'has other logits'),
    'another ratio': (
        dict(backbone=dict(rpe=dict(ratio=1.8))),
        len,
        "with iRPE of {'method': 'product', 'ratio': 1.8}; allowed: ",
    ),
}


@pytest.mark.parametrize('name', OTHERS)
def test_models_that_timm_does_not_have(tmp_path, name):
    options, change, words = OTHERS[name]
    content = load_file(source('classifier_lomar'))
    config = Config(stored_config(content))
    config.merge_from_dict(dict(model=options))
    content['meta']['cfg'] = config.pretty_text
    change(content)
    torch.save(content, tmp_path / 'a.pth')
    write(tmp_path / 'a.pth', tmp_path / 'out')
    assert words in front(tmp_path / 'out')[1].partition('timm cannot load this folder: ')[2]
    assert np.array_equal(classifier(tmp_path / 'a.pth'), classifier(tmp_path / 'out'))
    with pytest.raises(RuntimeError, match=r'Unknown model \(lomar\.Classifier\)'):
        timm.create_model(f'local-dir:{tmp_path / "out"}')


def test_a_model_without_a_backbone():
    """mmdet's semi-supervised detectors wrap two others."""
    with pytest.raises(ValueError, match='the model Linear has no backbone'):
        timm_config({}, {}, nn.Linear(2, 2), 'detector')
    model = nn.Linear(2, 2)
    model.data_preprocessor = nn.Identity()
    with pytest.raises(ValueError, match='the model Linear has no backbone to export'):
        _of_training(SimpleNamespace(model=model), 'features')


@pytest.mark.slow
def test_timm_without_lomar(folders):
    code = f'import timm\ntimm.create_model("local-dir:{folders / "pretrain_mae"}")'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == 'RuntimeError: Unknown model (lomar_vit)'
    text = front(folders / 'pretrain_mae')[1]
    assert 'import lomar.timm' in text and 'Unknown model (lomar_vit)' in text


def test_model_card(folders):
    tasks = dict(pretrain='image-feature-extraction', classifier='image-classification')
    for kind in KINDS:
        matter, text = front(folders / kind)
        task, _ = kind.split('_')
        assert matter['pipeline_tag'] == tasks.get(task, 'object-detection')
        assert matter['license'] == 'unknown' and matter['library_name'] == 'lomar'
        assert 'lomar' in matter['tags'] and ('timm' in matter['tags']) == (kind != 'detector_mae')
        for head in ('Use', 'Training data', 'Schedule', 'Metrics', 'Licence'):
            assert f'\n## {head}\n' in text
        assert 'AdamW' in text and '1 epochs, 4 steps' in text
        assert 'Not measured' in text and 'licence of these weights is **unknown**' in text
    assert '3: striped, checked, dotted' in text and 'CocoFiles' in text


def test_the_example_in_the_card_runs(folders, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(folders)
    Image.fromarray(IMAGE).save(tmp_path / 'image.jpg')
    quoted = folders / "it's"
    write(source('classifier_lomar'), quoted)
    for kind in (*KINDS, quoted.name):
        for code in front(folders / kind)[1].split('```python\n')[1:]:
            names = {}
            exec(code.partition('```')[0].replace('image.jpg', f'{tmp_path}/image.jpg'), names)
            assert {'detector', 'classifier', 'encoder', 'model'} & names.keys()


MAE = 'mae_pretrain_vit_base.pth'
URL = f'https://dl.fbaipublicfiles.com/mae/pretrain/{MAE}'
LICENCES = {
    None: (None, 'random weights'),
    MAE: ('cc-by-nc-4.0', MAE),
    URL: ('cc-by-nc-4.0', URL),
    f'~/weights/{MAE}': ('cc-by-nc-4.0', MAE),
    'mae_finetuned_vit_large.pth': ('cc-by-nc-4.0', 'mae_finetuned'),
    'hf://timm/vit_base_patch16_224.mae': ('cc-by-nc-4.0', 'timm/vit_base'),
    'my_mae_pretrain_vit_base.pth': (None, 'is not known'),
    'mae_pretrain_vit_base.pth.bak': (None, 'is not known'),
    'work_dirs/a/epoch_8.pth': (None, 'is not known'),
    'hf://me/mae': (None, 'is not known'),
}


@pytest.mark.parametrize('load_from', LICENCES, ids=str)
def test_licence_follows_load_from(tmp_path, load_from):
    content = load_file(source('classifier_mae'))
    old = repr(str(read_configs(content)["meta['cfg']"].load_from))
    content['meta']['cfg'] = content['meta']['cfg'].replace(old, repr(load_from))
    torch.save(content, tmp_path / 'a.pth')
    done = write(tmp_path / 'a.pth', tmp_path / 'out')
    license, words = LICENCES[load_from]
    matter, text = front(tmp_path / 'out')
    assert done.license == license and matter['license'] == (license or 'unknown')
    assert words in text.partition('## Licence')[2]
    assert any('licence is unknown' in note for note in done.notes) == (license is None)
    if load_from and load_from.startswith('hf://'):
        assert matter['base_model'] == load_from.removeprefix('hf://')
    write(tmp_path / 'a.pth', tmp_path / 'out', license='mit', overwrite=True)
    assert front(tmp_path / 'out')[0]['license'] == 'mit'
    again = write(tmp_path / 'out', tmp_path / 'again')
    assert again.license == front(tmp_path / 'again')[0]['license'] == 'mit'
    assert not any('licence' in note for note in again.notes)


def test_licence_of_an_earlier_training():
    """The record of a run holds the weights at the start of all earlier trainings."""
    mae = dict(model={'patch_embed.proj.weight': torch.zeros(1)})
    first = dict(meta=dict(started_from=record(MAE, mae)), state_dict={})
    second = dict(meta=dict(started_from=record('a/epoch_8.pth', first)), state_dict={})
    found = starts(second)
    assert [each.file for each in found] == ['a/epoch_8.pth', MAE]
    assert licence(found).license == 'cc-by-nc-4.0'
    # A published folder states its licence.
    folder = dict(meta=dict(license='mit', started_from=[]), state_dict={})
    assert licence(starts(dict(meta=dict(started_from=record('hf://a/b', folder))))) == (
        'mit',
        'hf://a/b was published under mit',
    )
    # The layout of the original code is no proof that the authors released the file.
    official = dict(model={'encoder_pred.weight': torch.zeros(1)})
    unknown = licence(starts(dict(meta=dict(started_from=record('x.pth', official)))))
    assert unknown.license is None and 'layout of the original LoMaR code' in unknown.reason
    resumed = dict(meta=dict(cfg="resume = True\nload_from = 'a/epoch_1.pth'\nmodel = dict()"))
    assert starts(resumed) == [] and starts({}) == []


def metrics(path, digest):
    figures = dict(bbox=dict(AP=12.345, APm=None, per_class=dict(a=1.0), max_dets=100))
    content = dict(checkpoint_sha256=digest, checkpoint='b.pth', images=8, dataset='val.json')
    path.write_text(json.dumps(content | dict(metrics=figures)))
    return path


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint in a work dir, and its hash."""
    path = tmp_path / 'work/epoch_1.pth'
    path.parent.mkdir()
    shutil.copy(source('detector_lomar'), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_metrics_beside_the_checkpoint(checkpoint, tmp_path):
    path, digest = checkpoint
    out = tmp_path / 'out'
    measured = metrics(path.parent / 'metrics.json', digest)
    assert write(path, out).files == [*FILES, 'metrics.json']
    assert json.loads((out / 'metrics.json').read_text()) == json.loads(measured.read_text())
    text = front(out)[1]
    assert '| bbox AP | 12.35 |' in text and 'per_class' not in text and 'max_dets' not in text
    # Metrics of another checkpoint are left out, and those of an earlier publication removed.
    metrics(path.parent / 'metrics.json', 'a' * 64)
    done = write(path, out, overwrite=True)
    assert done.files == FILES and not (out / 'metrics.json').exists()
    assert any('has the metrics of another file, b.pth' in note for note in done.notes)
    # Those of another checkpoint in a folder that is no publication are neither.
    with pytest.raises(ValueError, match=r'has a metrics\.json of another checkpoint'):
        write(path, path.parent, overwrite=True)
    assert (path.parent / 'metrics.json').exists()


def test_metrics_of_another_place(checkpoint, tmp_path):
    path, digest = checkpoint
    right, wrong = metrics(tmp_path / 'a.json', digest), metrics(tmp_path / 'b.json', 'a' * 64)
    assert write(path, tmp_path / 'out', metrics=right).files[-1] == 'metrics.json'
    for file, words in (
        (wrong, 'has the metrics of another file'),
        (path, 'is no JSON file'),
        (tmp_path / 'out/config.json', 'has no metrics'),
    ):
        with pytest.raises(ValueError, match=words):
            write(path, tmp_path / 'other', metrics=file)
    with pytest.raises(FileNotFoundError):
        write(path, tmp_path / 'other', metrics=tmp_path / 'c.json')
    assert not (tmp_path / 'other').exists()


TESTED = {
    # Where the metrics are: beside the checkpoint, in the published folder, or in another file;
    # whose SHA-256 they have; and the result for the folder that is published again.
    'of the checkpoint': ('checkpoint', 'checkpoint', 'kept'),
    'of the folder': ('folder', 'folder', 'kept'),
    'of another file': ('folder', 'other', 'the metrics of another file, b.pth, and is left out'),
    'of nothing': ('folder', 'none', 'has no SHA-256 of the tested file, b.pth, and is left out'),
    'given, of the folder': ('given', 'folder', 'kept'),
    'given, of the checkpoint': ('given', 'checkpoint', 'kept'),
    'given, of another file': ('given', 'other', 'those that `lomar test CONFIG {out}` writes'),
    'given, of nothing': ('given', 'none', 'those that `lomar test CONFIG {out}` writes'),
}  # fmt: skip


@pytest.mark.parametrize('name', TESTED)
def test_metrics_of_a_published_folder(name, checkpoint, tmp_path):
    """They are of its file with weights, or of the checkpoint that was published."""
    place, whose, expected = TESTED[name]
    path, digest = checkpoint
    out = tmp_path / 'out'
    if place == 'checkpoint':
        metrics(path.parent / 'metrics.json', digest)
    write(path, out)
    weights = hashlib.sha256((out / 'model.safetensors').read_bytes()).hexdigest()
    digest = dict(checkpoint=digest, folder=weights, other='a' * 64, none='')[whose]
    given = metrics(tmp_path / 'a.json', digest) if place == 'given' else None
    if place == 'folder':
        metrics(out / 'metrics.json', digest)
    if place == 'given' and expected != 'kept':
        with pytest.raises(ValueError, match=re.escape(expected.format(out=out))):
            write(out, tmp_path / 'more', metrics=given)
        return
    done = write(out, tmp_path / 'more', metrics=given)
    third = write(tmp_path / 'more', tmp_path / 'third')  # and stay
    assert (done.files == third.files == [*FILES, 'metrics.json']) == (expected == 'kept')
    assert ('| bbox AP | 12.35 |' in front(tmp_path / 'third')[1]) == (expected == 'kept')
    assert expected == 'kept' or any(expected in note for note in done.notes)


IDS = {
    'MIT': 'mit',
    ' cc-by-nc-4.0': 'cc-by-nc-4.0',
    'openrail++': 'openrail++',
    'other:My-Licence-1.0': 'other:my-licence-1.0',
    'nonsense': "licence 'nonsense' found; allowed: an identifier of the Hugging Face Hub, such as",
    'Apache 2.0': 'similar: apache-2.0',
    'gpl3': 'similar: gpl, lgpl, gpl-3.0',
    'other': 'or other:NAME',
    'unknown': 'or other:NAME',
    'other:': 'or other:NAME',
    'other:a b': 'or other:NAME',
    '': 'or other:NAME',
}


@pytest.mark.parametrize('given', IDS)
def test_identifiers_of_licences(given, capsys):
    expected = IDS[given]
    if ' ' not in expected:
        assert checked_license(given) == expected
        return
    with pytest.raises(ValueError, match=re.escape(expected)):
        checked_license(given)
    with pytest.raises(SystemExit):
        main(['publish', 'a.pth', 'out', '--license', given])
    assert expected in capsys.readouterr().err


def test_a_licence_that_the_hub_does_not_list(tmp_path):
    out = tmp_path / 'out'
    assert write(source('classifier_mae'), out, license='other:Mine').license == 'other:mine'
    matter, text = front(out)
    assert (matter['license'], matter['license_name']) == ('other', 'mine')
    assert 'published under `other:mine`' in text
    assert write(out, tmp_path / 'again').license == 'other:mine'
    with pytest.raises(ValueError, match="licence 'x' found"):
        write(source('classifier_mae'), tmp_path / 'more', license='x')
    assert not (tmp_path / 'more').exists()


def test_moving_average(tmp_path):
    content = load_file(source('classifier_lomar'))
    content['state_dict_ema'] = {k: v + 1 for k, v in content['state_dict'].items()}
    torch.save(content, tmp_path / 'a.pth')
    for weights, key in dict(plain='state_dict', ema='state_dict_ema').items():
        write(tmp_path / 'a.pth', tmp_path / weights, weights)
        found = unwrap(load_file(tmp_path / weights))
        assert all(torch.equal(found[name], value) for name, value in content[key].items())


def test_files_that_exist(folder, tmp_path):
    with pytest.raises(ValueError, match=r'DIR .*model\.safetensors is there already; --overwr'):
        write(source('detector_lomar'), folder)
    with pytest.raises(ValueError, match='has the checkpoint itself'):
        write(folder, folder, overwrite=True)
    with pytest.raises(ValueError, match='is a file; allowed: a folder'):
        write(source('detector_lomar'), folder / 'README.md')
    (folder / 'mine.txt').write_text('mine')
    write(source('detector_mae'), folder, overwrite=True)
    assert (folder / 'mine.txt').read_text() == 'mine'
    assert load_file(folder)['state_dict'].keys() == (
        load_file(source('detector_mae'))['state_dict'].keys()
    )


REFUSED = {
    'no config': (lambda c: c.pop('meta') and c.pop('message_hub'), 'stores no config'),
    'NaN': (lambda c: c['state_dict']['backbone.norm.bias'].fill_(torch.nan), 'NaN'),
    'a weight too few': (lambda c: c['state_dict'].pop('backbone.norm.bias'), 'do not fit'),
    'an array': (
        lambda c: c['meta'].update(dataset_meta=dict(palette=np.zeros(2))),
        r'meta.dataset_meta.palette is array.*\(ndarray\); allowed',
    ),
}


@pytest.mark.parametrize('name', REFUSED)
def test_checkpoints_that_cannot_be_published(tmp_path, name):
    change, words = REFUSED[name]
    content = load_file(source('pretrain_lomar'))
    change(content)
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=words):
        write(tmp_path / 'a.pth', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('what', ['bit', 'name', 'config', 'meta'])
def test_a_folder_that_was_written_wrongly(tmp_path, monkeypatch, what):
    def save(path, weights):
        first = next(iter(weights))
        if what == 'name':
            weights = {('x' if name == first else name): v for name, v in weights.items()}
        else:
            weights = weights | {first: weights[first].clone()}
            weights[first].view(torch.int32).view(-1)[0] ^= 1
        write_safetensors(path, weights)

    def write_other(path, content):
        content['lomar'][what]['more'] = 1
        write_json(path, content)

    write_json = publish.write_json
    if what in ('bit', 'name'):
        monkeypatch.setattr(publish, 'write_safetensors', save)
    else:
        monkeypatch.setattr(publish, 'write_json', write_other)
    with pytest.raises(OSError, match=r'was not written correctly: .* differ'):
        write(source('classifier_lomar'), tmp_path / 'out')


SYSTEM = "__import__('os').system('touch {}')"
DAMAGES = {
    'no config.json': (lambda f: (f / 'config.json').unlink(), 'a folder without config.json'),
    'no weights': (
        lambda f: (f / 'model.safetensors').unlink(),
        r'is a folder; .* it has no \.pth',
    ),
    'cut JSON': (lambda f: cut(f / 'config.json'), 'config.json was refused'),
    'cut weights': (lambda f: cut(f / 'model.safetensors'), 'cannot be read, it may be cut off'),
    'cut header': (lambda f: cut(f / 'model.safetensors', 9), 'cannot be read'),
    'header too long': (
        lambda f: (f / 'model.safetensors').write_bytes(struct.pack('<Q', 2**40) + b'{}'),
        'cannot be read',
    ),
    'no object': (lambda f: (f / 'config.json').write_text('[]'), 'list found; allowed'),
    'no text': (lambda f: (f / 'config.json').write_bytes(b'\xff\xfe{'), 'was refused'),
    'deep': (lambda f: (f / 'config.json').write_text('[' * 10**6), 'was refused'),
    'no section': (lambda f: edit(f, lambda c: c.update(lomar=3)), 'allowed: a JSON object'),
    'newer': (lambda f: edit(f, lambda c: c['lomar'].update(format=2)), 'has the format 2'),
    'no meta': (lambda f: edit(f, lambda c: c['lomar'].pop('meta')), 'no config and meta'),
    'config of text': (lambda f: edit(f, lambda c: c['lomar'].update(config='a')), 'no config'),
    'call': (
        lambda f: edit(f, lambda c: c['lomar']['config'].update(a={'(python)': SYSTEM})),
        'line 1, has',
    ),
    'name with code': (
        lambda f: edit(f, lambda c: c['lomar']['config'].update({f'a = {SYSTEM}\nb': 1})),
        'was refused: the config stored in',
    ),
    'foreign type': (
        lambda f: edit(f, lambda c: c['lomar']['config'].update(a={'(tuple)': 'x'})),
        r'\(tuple\) has',
    ),
    'base': (
        lambda f: edit(f, lambda c: c['lomar']['config'].update(_base_='/etc/passwd')),
        'was refused',
    ),
}


def cut(path, size=None):
    content = path.read_bytes()
    path.write_bytes(content[: size or len(content) // 2])


@pytest.mark.parametrize('name', DAMAGES)
def test_damaged_folders(folder, capsys, name):
    change, words = DAMAGES[name]
    change(folder)
    with pytest.raises(ValueError, match=words) as error:
        load_file(folder)
    assert str(folder) in str(error.value) and '\n' not in str(error.value)
    assert main(['encode', str(folder), str(folder), '--out', f'{folder}/a.npz']) == 1


def test_types_that_would_run_code_are_refused(folder, tmp_path):
    edit(folder, lambda c: c['lomar']['config']['model'].update(type='os.system'))
    with pytest.raises(ValueError, match=r"type 'os.system'; allowed: classes that are registered"):
        lomar.Detector(folder)


def test_folders_of_other_programs(folders, tmp_path):
    """Other programs write the same two files: the content is that of the weights alone."""
    folder = shutil.copytree(folders / 'pretrain_lomar', tmp_path / 'theirs')
    expected = load_file(source('pretrain_lomar'))['state_dict']
    for theirs in (dict(architecture='vit_base_patch16_224'), dict(img_size=224, mean=0.5)):
        (folder / 'config.json').write_text(json.dumps(theirs))
        weights = load_file(folder / 'model.safetensors')
        assert load_file(folder).keys() == weights.keys() == expected.keys()
    assert encoder(folder).shape == (1, 16)
    assert published.folder_of(tmp_path) is None


@pytest.mark.parametrize('nested', [True, False])
def test_the_normalization_in_a_folder_of_timm(nested, folders, tmp_path):
    folder = shutil.copytree(folders / 'pretrain_lomar', tmp_path / 'theirs')
    config = dict(architecture='vit_base_patch16_224')

    def write(**stated):
        given = dict(pretrained_cfg=stated) if nested else stated  # the latter is of older versions
        (folder / 'config.json').write_text(json.dumps(config | given))

    write(mean=[0.485, 0.456, 0.406], std=[0.5, 0.25, 1])
    image = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    numbers = dict(mean=[123.675, 116.28, 103.53], std=[127.5, 63.75, 255])
    expected = lomar.Encoder(source('pretrain_lomar'), 'cpu', **numbers)(image).pooled
    for path in (folder, folder / 'model.safetensors'):
        assert lomar.Encoder(path, 'cpu')(image).pooled.equal(expected)
    assert exportable(folder).facts['std'] == numbers['std']
    other = dict(mean=[0] * 3, std=[1] * 3)
    assert lomar.Encoder(folder, 'cpu', **other).mean.tolist() == [0] * 3
    (change,) = changes(load_file(folder), stored_config(load_file(source('pretrain_lomar'))))
    assert (change.key, change.trained) == ('data_preprocessor.std', numbers['std'])
    write(mean='imagenet')
    with pytest.raises(ValueError, match=r"mean is 'imagenet'; allowed: one number"):
        lomar.Encoder(folder, 'cpu')


def test_classes_of_a_folder_are_in_the_printed_config(folders):
    found = classes_to_test(str(folders / 'classifier_mae'), optional=True)
    assert found == ('checked', 'dotted', 'striped')
    assert classes_to_test(str(folders / 'nothing'), optional=True) is None


def test_a_folder_has_nothing_to_resume(folders):
    with pytest.raises(ValueError, match='cannot be resumed, because it has no optimizer'):
        read_resumed(str(folders / 'pretrain_lomar'), 'unused')


def test_the_command(tmp_path, capsys):
    out = tmp_path / 'out'
    assert main(['publish', str(source('detector_lomar')), str(out), '--license', 'MIT']) == 0
    printed = capsys.readouterr().out
    assert '65 tensors, 0.2 MB (CHECKPOINT: 0.5 MB), written and compared; licence: mit' in printed
    assert 'Note: the files name 6 paths of this machine: /tmp/' in printed
    assert main(['publish', str(source('detector_lomar')), str(out)]) == 1
    assert capsys.readouterr().err.count('\n') == 1
    with pytest.raises(SystemExit):
        main(['publish', 'a.pth', 'out', '--license', 'a b'])

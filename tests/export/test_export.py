"""Exported files: they compute what PyTorch computes, for one size and any batch."""

import json
import sys

import numpy as np
import pytest
import timm.models
import torch
from conftest import FIXTURES, ROOT
from processes import run_lomar
from torch import nn

import lomar
from lomar import Encoder
from lomar.checkpoints import load_file, trained_model
from lomar.cli import main
from lomar.export import export_file, exportable, formats
from lomar.export.exportable import Exportable
from lomar.export.files import compare
from lomar.export.graphs import RawPixels
from lomar.models import RPEViT, attention

V01 = FIXTURES / 'v0.1'
SIZE = (64, 96)
MEAN, STD = [120.0, 110.0, 100.0], [58.0, 57.0, 56.0]
BOTH = pytest.mark.parametrize('suffix', ['.onnx', '.pt2'])


def photographs(batch, size=SIZE):
    """Return noise (B, 3, H, W) uint8."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, *size), generator=generator, dtype=torch.uint8)


def run(path, images):
    """Return the outputs of a file, as a user of ONNX Runtime or PyTorch computes them."""
    if path.suffix == '.pt2':
        with torch.no_grad():
            return dict(torch.export.load(path).module()(images))
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    arrays = session.run(None, {'images': images.numpy()})
    return {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}


def metadata(path):
    """Return the metadata of a file."""
    if path.suffix == '.pt2':
        extra = {'metadata.json': ''}
        torch.export.load(path, extra_files=extra)
        texts = json.loads(extra['metadata.json'])
    else:
        import onnxruntime

        texts = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    return {name.removeprefix('lomar.'): json.loads(text) for name, text in texts.items()}


def encoded(path, images):
    features = Encoder(path, 'cpu')(list(images))
    return dict(pooled=features.pooled, patches=features.patches)


def classified(path, images):
    model = trained_model(path, device='cpu').model
    return dict(logits=model(model.data_preprocessor(dict(inputs=images))['inputs']))


def detected(path, images):
    """Return the maps of images, which a pipeline loads in the order B, G, R or R, G, B."""
    found = trained_model(path, device='cpu')
    model, bgr = found.model, found.config.model.data_preprocessor.get('bgr_to_rgb')
    inputs = dict(inputs=list(images.flip(1) if bgr else images), data_samples=None)
    maps = model.backbone(model.data_preprocessor(inputs)['inputs'])
    levels = {f'level_{i}': level for i, level in enumerate(model.neck(maps))}
    return dict(backbone=maps[-1]) | levels


# Size, PyTorch's outputs, and facts of the metadata.
CHECKPOINTS = dict(
    pretrain_lomar=(SIZE, encoded, dict(part='encoder', patch_size=4)),
    pretrain_mae=(SIZE, encoded, dict(part='encoder', patch_size=4)),
    classifier_lomar=(SIZE, classified, dict(part='classifier', patch_size=4)),
    classifier_mae=(SIZE, classified, dict(part='classifier', patch_size=4)),
    detector_lomar=((96, 96), detected, dict(part='features', patch_size=4)),
    detector_mae=((96, 96), detected, dict(part='features', patch_size=4)),
)


@BOTH
@pytest.mark.parametrize('name', CHECKPOINTS)
def test_checkpoint(name, suffix, tmp_path):
    """A batch of four and one of one image are equal to PyTorch; other sizes are refused."""
    path, out = V01 / f'{name}.pth', tmp_path / f'a{suffix}'
    size, in_pytorch, facts = CHECKPOINTS[name]
    found = export_file(exportable(path), out, size)
    images = photographs(4, size)
    with torch.no_grad():
        expected = in_pytorch(path, images)
    assert [*found] == [*expected]
    for batch in (4, 1):
        outputs = run(out, images[:batch].float())
        for key, value in expected.items():
            torch.testing.assert_close(outputs[key], value[:batch], rtol=1e-4, atol=1e-5)
            assert found[key].shape == value.shape[1:] and found[key].fits
    for wrong in ((size[0] + 4, size[1]), (size[0], size[1] - 4)):
        with pytest.raises(Exception, match=r'Got invalid dimensions|Guard failed'):
            run(out, photographs(2, wrong).float())
    with pytest.raises(Exception, match=r'Got invalid dimensions|Guard failed'):
        run(out, images[:, :1].float())
    stored = load_file(path)['meta'].get('dataset_meta') or {}
    about = metadata(out)
    known = dict(size=list(size), outputs=[*expected], version=lomar.__version__)
    facts = dict(facts, channels='RGB', **known)
    if facts['part'] != 'encoder':
        facts['classes'] = list(stored['classes'])
    assert {key: about[key] for key in facts} == facts
    np.testing.assert_allclose(about['mean'], [123.675, 116.28, 103.53], rtol=1e-6)
    np.testing.assert_allclose(about['std'], [58.395, 57.12, 57.375], rtol=1e-6)


class Maps(nn.Module):
    """The output of a backbone under a name."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, images):
        return dict(maps=self.backbone(images)[0])


WINDOWED = dict(with_cls_token=False, window_size=3, global_blocks=(1,), out_type='featmap')
DECOMPOSED = dict(WINDOWED, position='absolute+decomposed', img_size=64)
# Settings of the backbone, and of the attention: the longest sequence that is not cut into parts.
BACKBONES = dict(
    windows=(WINDOWED, 1000),
    windows_absolute=(dict(WINDOWED, position='absolute', img_size=64), 1000),
    windows_decomposed=(DECOMPOSED, 1000),
    parts=(WINDOWED, 20),
    parts_decomposed=(DECOMPOSED, 20),
    cls_absolute=(dict(position='absolute', out_type='cls_token', img_size=64), 1000),
    euclidean=(dict(rpe=dict(method='euclidean', on='qkv')), 1000),
    quant=(dict(rpe=dict(method='quant', shared_heads=False)), 1000),
    cross=(dict(rpe=dict(method='cross', on='qkv')), 1000),
    bias=(dict(rpe=dict(mode='bias', on='qk')), 1000),
    many_buckets=(dict(rpe=dict(ratio=6.0)), 1000),  # 23 * 23 + 1: more than a byte
)
CASES = [(name, '.onnx') for name in BACKBONES]
CASES += [(name, '.pt2') for name in ('windows', 'parts', 'cross', 'many_buckets')]


@pytest.mark.parametrize(('name', 'suffix'), CASES)
def test_attention(name, suffix, tmp_path, monkeypatch):
    """Every position encoding, also for sequences so long that they are attended in parts."""
    settings, longest = BACKBONES[name]
    monkeypatch.setattr(attention, 'MAX_QUERIES', longest)
    monkeypatch.setattr(attention, 'MAX_QUERIES_ON_CPU', longest)
    backbone = randomised_backbone(dict(img_size=40) | settings)
    source = Exportable(RawPixels(Maps(backbone), MEAN, STD).eval(), {})
    before = backbone(photographs(1, (40, 56)).float())[0]
    export_file(source, tmp_path / f'a{suffix}', (40, 56))
    images = photographs(5, (40, 56)).float()
    found = run(tmp_path / f'a{suffix}', images)['maps']
    torch.testing.assert_close(found, source.graph(images)['maps'], rtol=1e-4, atol=1e-5)
    assert backbone(photographs(1, (40, 56)).float())[0].equal(before)
    backbone(photographs(1, (24, 24)).float())  # of any size again


def test_a_file_has_few_parts(monkeypatch):
    """On a CPU a long sequence is cut into many parts; an exported graph repeats their code."""
    monkeypatch.setattr(attention, 'MAX_QUERIES', 14)  # two rows of seven patches
    monkeypatch.setattr(attention, 'MAX_QUERIES_ON_CPU', 7)
    settings = dict(with_cls_token=False, out_type='featmap', img_size=40)
    images = photographs(2, (40, 56)).float()
    with torch.no_grad():
        program = torch.export.export(Maps(randomised_backbone(settings)), (images,))
    parts = [node for node in program.graph.nodes if 'softmax' in str(node.target)]
    assert len(parts) == 2 * 3


def randomised_backbone(settings):
    torch.manual_seed(0)
    backbone = RPEViT(dict(embed_dim=32, depth=2, num_heads=2), patch_size=8, **settings)
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.2)
    return backbone.eval()


def of_timm(path):
    torch.manual_seed(0)
    sizes = dict(img_size=64, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0)
    torch.save(timm.models.VisionTransformer(**sizes).state_dict(), path)
    return dict(num_heads=2)


def of_the_original_code(path):
    arrays = np.load(FIXTURES / 'official_pretrain_tiny.npz')
    names = [name for name in arrays if name.startswith('w/')]
    weights = {name[2:]: torch.from_numpy(arrays[name]) for name in names}
    torch.save(dict(model=weights), path)
    return {}


FOREIGN = dict(timm=of_timm, official=of_the_original_code)


@pytest.mark.parametrize('normalisation', [{}, dict(mean=MEAN, std=STD)], ids=['', 'given'])
@pytest.mark.parametrize('name', FOREIGN)
def test_encoders_of_other_projects(name, normalisation, tmp_path):
    path, out = tmp_path / 'a.pth', tmp_path / 'a.pt2'
    options = FOREIGN[name](path) | normalisation
    export_file(exportable(path, **options), out, SIZE)
    images = photographs(4)
    expected, found = Encoder(path, 'cpu', **options)(list(images)), run(out, images.float())
    torch.testing.assert_close(found['pooled'], expected.pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found['patches'], expected.patches, rtol=1e-4, atol=1e-5)
    mean = metadata(out)['mean']
    np.testing.assert_allclose(mean, normalisation.get('mean', [123.675, 116.28, 103.53]))


def test_the_encoder_of_a_classifier(tmp_path):
    path, out = V01 / 'classifier_lomar.pth', tmp_path / 'a.pt2'
    export_file(exportable(path, 'encoder'), out, SIZE)
    expected = Encoder(path, 'cpu')(list(photographs(4)))
    found = run(out, photographs(4).float())
    torch.testing.assert_close(found['pooled'], expected.pooled, rtol=1e-4, atol=1e-5)


def changed(tmp_path, change, name='classifier_lomar'):
    """Write a checkpoint with other content."""
    content = load_file(V01 / f'{name}.pth')
    change(content)
    torch.save(content, tmp_path / 'changed.pth')
    return tmp_path / 'changed.pth'


def test_a_published_folder(tmp_path):
    path, out = V01 / 'classifier_lomar.pth', tmp_path / 'a.pt2'
    assert main(['publish', str(path), str(tmp_path / 'shared')]) == 0
    export_file(exportable(tmp_path / 'shared'), out, SIZE)
    with torch.no_grad():
        expected = classified(path, photographs(4))
    found = run(out, photographs(4).float())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert metadata(out)['classes'] == list(load_file(path)['meta']['dataset_meta']['classes'])


def test_the_normalisation_of_the_training_is_used(tmp_path):
    def change(content):
        text = content['meta']['cfg']
        assert text.count('123.675') >= 1
        content['meta']['cfg'] = text.replace('123.675', '99.5')

    for name in ('pretrain_lomar', 'classifier_lomar', 'detector_lomar'):
        source = exportable(changed(tmp_path, change, name))
        assert source.facts['mean'][0] == source.graph.mean[0].item() == 99.5


def test_moving_average(tmp_path):
    def change(content):
        average = {key: value + 1 for key, value in content['state_dict'].items()}
        content['state_dict_ema'] = average

    path = changed(tmp_path, change)
    plain, average = (exportable(path, weights=each).graph.inner for each in ('plain', 'ema'))
    weights = [each.model.backbone.patch_embed.proj.bias for each in (plain, average)]
    assert torch.equal(weights[0] + 1, weights[1])


def export(path, out, *flags, size=('64',)):
    return main(['export', str(path), str(out), '--size', *size, *flags])


@BOTH
def test_a_file_that_differs_is_not_kept(suffix, tmp_path, monkeypatch, capsys):
    """A layer whose weights are 1 % larger in the file fails the check; an earlier file stays."""
    out, format_ = tmp_path / f'a{suffix}', formats.FORMATS[suffix]

    def write(program, *rest):
        program.state_dict['inner.backbone.blocks.1.mlp.fc2.weight'].data.mul_(1.01)
        format_.write(program, *rest)

    monkeypatch.setitem(formats.FORMATS, suffix, format_._replace(write=write))
    assert export(V01 / 'pretrain_lomar.pth', out) == 1
    said = capsys.readouterr().err
    assert 'a' + suffix + ' was not written, it would be wrong: pooled: largest difference' in said
    assert [*tmp_path.iterdir()] == []
    out.write_text('earlier')
    assert export(V01 / 'pretrain_lomar.pth', out, '--overwrite') == 1
    assert out.read_text() == 'earlier' and [*tmp_path.iterdir()] == [out]


@pytest.mark.parametrize(
    'found', [torch.ones(2, 3) * 1.01, torch.full((2, 3), torch.nan), torch.ones(2, 1), None]
)
def test_wrong_outputs_differ(found):
    (difference,) = compare(
        dict(a=torch.ones(2, 3)), {} if found is None else dict(a=found), nn.Linear(3, 3)
    ).values()
    assert not difference.fits
    rounded = compare(dict(a=torch.ones(2, 3)), dict(a=torch.ones(2, 3) + 1e-7), nn.Linear(3, 3))
    assert rounded['a'].fits


def test_the_command(tmp_path):
    """In a process: the file, and what is printed; a detector's maps, height and width."""
    out = tmp_path / 'made/a.onnx'
    flags = ['--size', '64', '96', '--what', 'features', '--quiet']
    done = run_lomar('export', V01 / 'detector_lomar.pth', out, *flags)
    assert done.returncode == 0, done.stderr
    first, *lines, note = done.stdout.splitlines()
    assert first == f'{out}: images (batch, 3, 64, 96) float32, raw pixels' and done.stderr == ''
    shapes = [line.split(':')[0] for line in lines]
    assert shapes[:2] == ['  backbone (batch, 16, 16, 24)', '  level_0 (batch, 16, 16, 24)']
    assert all('largest difference from PyTorch' in line and 'allowed: ' in line for line in lines)
    assert note.startswith('note: the detector pads images to multiples of 96 pixels')
    assert [*run(out, photographs(3).float())] == metadata(out)['outputs']


@BOTH
def test_no_paths_of_this_machine(suffix, tmp_path):
    out = tmp_path / f'a{suffix}'
    assert export(V01 / 'pretrain_lomar.pth', out) == 0
    content = out.read_bytes()
    for place in (str(ROOT), str(tmp_path), 'site-packages', 'attention.py'):
        assert place.encode() not in content


REFUSED = dict(
    suffix=('pretrain_lomar', 'a.pth', [], "OUT a.pth ends in '.pth'; allowed: .onnx, .pt2"),
    size=(
        'pretrain_lomar',
        'a.pt2',
        ['--size', '63'],
        '--size is 63 x 63; allowed: multiples of t',
    ),
    patches=(
        *('pretrain_lomar', 'a.pt2', ['--size', '4096']),
        'has 1,048,576 patches of 4 pixels; allowed: 65,536, with a smaller size= (--size of',
    ),
    patches_of_a_detector=('detector_lomar', 'a.pt2', ['--size', '2048'], 'has 262,144 patches'),
    sizes=('pretrain_lomar', 'a.pt2', ['--size', '64', '64', '64'], 'one side, or height and wid'),
    part=(
        *('pretrain_lomar', 'a.pt2', ['--what', 'features']),
        '--what is features, and the checkpoint is of a pretraining; allowed: encoder',
    ),
    part_of_a_classifier=(
        *('classifier_lomar', 'a.pt2', ['--what', 'features']),
        '--what is features, and the checkpoint is of a classifier; allowed: classifier, encoder',
    ),
    part_of_a_detector=(
        *('detector_lomar', 'a.pt2', ['--what', 'classifier']),
        '--what is classifier, and the checkpoint is of a detector; allowed: features',
    ),
    encoder_of_a_detector=(
        *('detector_lomar', 'a.pt2', ['--what', 'encoder']),
        'these are the weights of a detector',
    ),
    mean=(
        *('classifier_lomar', 'a.pt2', ['--mean', '1', '2', '3']),
        '--mean is for --what encoder; --what classifier has its own',
    ),
    channels=('pretrain_lomar', 'a.pt2', ['--mean', '1', '--std', '1'], 'take 3 channels'),
)


@pytest.mark.parametrize('case', REFUSED)
def test_refused(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name, out, flags, message = REFUSED[case]
    assert export(V01 / f'{name}.pth', out, *flags) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('lomar export: ') and message in line
    assert [*tmp_path.iterdir()] == []


def test_too_little_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('lomar.models.rpe.bucket_ids', lambda *_: torch.empty(2**60))
    assert export(V01 / 'pretrain_lomar.pth', tmp_path / 'a.pt2', size=('52', '44')) == 1
    message = 'lomar export: --size 52 44: there is not enough memory; allowed: a smaller size'
    assert capsys.readouterr().err.splitlines()[-1] == message


LOADER = "dict(type='LoadRGB')"
PREPROCESSOR = "type='DetDataPreprocessor'"
BGR_LOADER = (LOADER, "dict(type='LoadImage', color_type='color')")
MMCV_LOADER = (LOADER, "dict(type='LoadImageFromFile')")  # B, G, R
CONVERSION = (PREPROCESSOR, f'bgr_to_rgb=True, {PREPROCESSOR}')


def with_texts(tmp_path, *replacements):
    """Write the detector's checkpoint with other texts in its config."""

    def change(content):
        for before, after in replacements:
            assert before in content['meta']['cfg']
            content['meta']['cfg'] = content['meta']['cfg'].replace(before, after)

    return changed(tmp_path, change, 'detector_lomar')


@pytest.mark.parametrize('loader', [BGR_LOADER, MMCV_LOADER], ids=['ours', 'mmcv'])
def test_a_detector_that_converts_to_rgb(loader, tmp_path):
    path, out = with_texts(tmp_path, loader, CONVERSION), tmp_path / 'a.pt2'
    export_file(exportable(path), out, (96, 96))
    images = photographs(4, (96, 96))
    with torch.no_grad():
        expected = detected(path, images)
    torch.testing.assert_close(run(out, images.float()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'replacements', [[CONVERSION], [BGR_LOADER], [MMCV_LOADER]], ids=['rgb', 'ours', 'mmcv']
)
def test_a_model_of_other_channel_order_is_refused(replacements, tmp_path, capsys):
    path = with_texts(tmp_path, *replacements)
    assert export(path, tmp_path / 'a.pt2') == 1
    assert 'the model takes B, G, R' in capsys.readouterr().err


def test_missing_packages_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    assert export(V01 / 'pretrain_lomar.pth', tmp_path / 'a.onnx') == 1
    line = capsys.readouterr().err
    assert "a .onnx file needs onnxruntime: pip install 'lomar-openmmlab[export]'" in line
    assert export(V01 / 'pretrain_lomar.pth', tmp_path / 'a.pt2') == 0


def test_weights_that_no_onnx_file_holds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(formats, 'ONNX_LIMIT', 1000)
    assert export(V01 / 'pretrain_lomar.pth', tmp_path / 'a.onnx') == 1
    assert 'allowed: the name of a .pt2 file' in capsys.readouterr().err
    assert export(V01 / 'pretrain_lomar.pth', tmp_path / 'a.pt2') == 0

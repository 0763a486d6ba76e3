"""UPerNet from training to prediction, and every command that takes its config or checkpoint."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from mask_data import CLASSES, CONFIG, TOY, flags, scene, write_scenes
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

pytest.importorskip('mmseg')

import lomar
from lomar import engine
from lomar.checkpoints import load_file
from lomar.checkpoints.publish import publish
from lomar.cli import main, parse_args
from lomar.datasets.folder_walk import FolderWalk
from lomar.engine import Runner

LOMAR = dict(
    type='LoMaR',
    backbone=dict(type='LoMaRViT', img_size=64, patch_size=8),
    windows=dict(size=3, number=2),
    head=dict(type='WindowPixelHead'),
)
STEPS = ['train_cfg.max_iters=20', 'train_cfg.val_interval=20']
STEPS += ['default_hooks.checkpoint.interval=20']


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    write_scenes(root / 'train', 6)
    write_scenes(root / 'val', 3, 10)
    return root


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """Return the work dir of a training of twenty steps."""
    work = tmp_path_factory.mktemp('work')
    words = ['train', CONFIG, *flags(data), '--work-dir', str(work), '--cfg-options', *TOY, *STEPS]
    assert main(words) == 0
    return work


@pytest.fixture(scope='module')
def checkpoint(trained):
    return str(trained / 'iter_20.pth')


def config_of(words, read=engine.train_config):
    return read(parse_args([*words, '--cfg-options', *TOY, *STEPS]))


def metrics_of(data, checkpoint, work, *more, change=()):
    """Return the exit code of `lomar test` and the metrics that it wrote."""
    words = ['test', CONFIG, checkpoint, *flags(data, (), train=False), '--work-dir', str(work)]
    code = main([*words, *more, '--cfg-options', *TOY, *change])
    file = work / 'metrics.json'
    return code, json.loads(file.read_text()) if file.exists() else None


def test_training_learns_and_stores_the_classes(trained, checkpoint):
    log = (trained / 'iter_20.pth').parent.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for file in log for line in file.read_text().splitlines()]
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert losses[-1] < 0.8 * losses[0]
    (score,) = (line['iou/mIoU'] for line in lines if 'iou/mIoU' in line)
    assert score > 40
    assert tuple(load_file(checkpoint)['meta']['dataset_meta']['classes']) == CLASSES
    assert list(trained.glob('best_iou_mIoU_iter_20.pth'))


def test_the_test_writes_metrics_of_each_class(data, checkpoint, tmp_path):
    code, record = metrics_of(data, checkpoint, tmp_path, '--out', str(tmp_path / 'out'))
    assert code == 0 and record['images'] == 3
    figures = record['metrics']['segmentation']
    assert list(figures['per_class']) == list(CLASSES)
    means = [one['IoU'] for one in figures['per_class'].values()]
    assert figures['mIoU'] == pytest.approx(sum(means) / 3)
    assert json.loads((tmp_path / 'out/iou.json').read_text())['mIoU'] == figures['mIoU']
    assert main(['test', CONFIG, checkpoint, '--out', str(tmp_path / 'out')]) == 1  # is there


def test_an_image_that_the_model_does_not_take(checkpoint, data, tmp_path, capsys):
    """A strip of two pixels, which some layer refuses, does not end the prediction."""
    images = tmp_path / 'images'
    images.mkdir()
    Image.fromarray(scene(3)[0]).save(images / 'a.png')
    Image.new('RGB', (600, 2)).save(images / 'strip.png')
    line = ['predict', checkpoint, str(images), '--out', str(tmp_path / 'out'), '--batch', '2']
    assert main(line) == 1
    said = capsys.readouterr().err
    assert 'strip.png' in said and 'Traceback' not in said
    assert (tmp_path / 'out/masks/a.png').exists()


def test_classes_are_mapped_by_name(data, checkpoint, tmp_path):
    """Masks with other ids have the same figures, if the ids are named."""
    _, expected = metrics_of(data, checkpoint, tmp_path / 'a')
    write_scenes(tmp_path / 'val', 3, 10, lambda mask: np.array([2, 0, 1], np.uint8)[mask])
    names = ['--classes', 'square', 'stripe', 'ground']
    code, found = metrics_of(tmp_path, checkpoint, tmp_path / 'b', *names)
    assert code == 0 and found['metrics'] == expected['metrics']
    write_scenes(tmp_path / 'ade/val', 3, 10, lambda mask: mask + 1)
    code, found = metrics_of(tmp_path / 'ade', checkpoint, tmp_path / 'c', '--reduce-zero-label')
    assert code == 0 and found['metrics'] == expected['metrics']


def test_a_prediction_is_that_of_the_test(data, checkpoint, tmp_path):
    """Masks of `lomar predict` give the figures of `lomar test`."""
    _, record = metrics_of(data, checkpoint, tmp_path / 'test')
    images, out = data / 'val/images', tmp_path / 'out'
    assert main(['predict', checkpoint, str(images), '--out', str(out), '--batch', '2']) == 0
    listed = json.loads((out / 'images.json').read_text())
    assert [one['name'] for one in listed['categories']] == list(CLASSES)
    assert [one['id'] for one in listed['categories']] == [0, 1, 2]
    matrix = np.zeros((3, 3), int)
    areas = json.loads((out / 'predictions.json').read_text())
    for image in listed['images']:
        ids = np.asarray(Image.open(out / 'masks' / image['mask']))
        true = scene(int(image['mask'].removesuffix('.png')))[1]
        assert ids.shape == true.shape == (image['height'], image['width'])
        np.add.at(matrix, (true, ids), 1)
        own = {one['category_id']: one for one in areas if one['image_id'] == image['id']}
        counts = {int(label): int((ids == label).sum()) for label in np.unique(ids)}
        assert {label: one['pixels'] for label, one in own.items()} == counts
        assert sum(one['share'] for one in own.values()) == pytest.approx(1)
        picture = Image.open(out / 'pictures' / image['mask'].replace('.png', '.jpg'))
        assert picture.size == ids.shape[::-1]
    assert list(FolderWalk(out, arrays=False)) == [], 'masks and pictures are no photographs'
    right, both = matrix.diagonal(), matrix.sum(0) + matrix.sum(1)
    found = 100 * right / (both - right)
    expected = record['metrics']['segmentation']['per_class'].values()
    assert found.tolist() == pytest.approx([one['IoU'] for one in expected])
    rows = list(csv.DictReader((out / 'predictions.csv').open()))
    assert len(rows) == len(areas) and rows[0]['name'] == CLASSES[int(rows[0]['category_id'])]


@pytest.mark.parametrize(
    ('flag', 'message'),
    [
        (('--threshold', '0.5'), '--threshold belongs to detectors; allowed for a segmentor'),
        (('--top-k', '2'), '--top-k belongs to classifiers; allowed for a segmentor'),
        (('--tile', '64'), "--tile belongs to detectors; .*mode='slide'"),
    ],
)
def test_flags_of_other_models_are_refused(flag, message, data, checkpoint, tmp_path, capsys):
    words = ['predict', checkpoint, str(data / 'val/images'), '--out', str(tmp_path / 'out'), *flag]
    assert main(words) == 1
    assert re.search(message, capsys.readouterr().err)


def test_the_segmentor_takes_images_in_memory(data, checkpoint):
    segmentor = lomar.Segmentor(checkpoint, 'cpu')
    assert segmentor.classes == CLASSES
    image = scene(11)[0]
    path = str(data / 'val/images/a/11.png')
    one, two, three = segmentor([path, image, Image.fromarray(image)])
    assert (one.ids == two.ids).all() and (one.ids == three.ids).all()
    assert one.names == list(CLASSES) and one.pixels().sum() == one.ids.size
    assert one.draw(path).size == one.ids.shape[::-1]
    with pytest.raises(ValueError, match='the image of this segmentation'):
        one.draw(image[:-1])
    with pytest.raises(ValueError, match=r'model is a segmentor; .*use lomar'):
        lomar.Detector(checkpoint, 'cpu')


def test_windows_equal_the_whole_image_where_it_fits(checkpoint, data, tmp_path):
    """A slide of one window is the whole image; smaller windows give other figures."""
    figures = []
    for crop in (128, 32):
        change = [
            'model.test_cfg.mode=slide',
            f'model.test_cfg.crop_size=({crop},{crop})',
            f'model.test_cfg.stride=({crop // 2},{crop // 2})',
        ]
        code, record = metrics_of(data, checkpoint, tmp_path / str(crop), change=change)
        assert code == 0
        figures.append(record['metrics']['segmentation']['mIoU'])
    _, whole = metrics_of(data, checkpoint, tmp_path / 'whole')
    assert figures[0] == whole['metrics']['segmentation']['mIoU'] != figures[1]


def test_transfer_reports_and_refuses(data, checkpoint, tmp_path, capfd):
    """A pretrained backbone is loaded, and that of another width is refused."""
    for width, code in ((32, 0), (48, 1)):
        arch = dict(embed_dim=width, depth=4, num_heads=2)
        model = MODELS.build(dict(LOMAR, backbone=dict(LOMAR['backbone'], arch=arch)))
        file = tmp_path / f'{width}.pth'
        torch.save(dict(state_dict=model.state_dict()), file)
        words = ['train', CONFIG, *flags(data), '--work-dir', str(tmp_path / f'work{width}')]
        short = ['train_cfg.max_iters=1', 'train_cfg.val_interval=1', f'load_from={file}']
        # mmengine names a logger by experiment and second: a test before may share it.
        short.append(f'experiment_name=transfer{width}')
        assert main([*words, '--no-validate', '--cfg-options', *TOY, *short]) == code
        text = capfd.readouterr()
        assert ('backbone loaded from' in text.err + text.out.replace('Backbone', 'backbone')) == (
            code == 0
        )


def test_new_classes_start_from_a_trained_segmentor(data, checkpoint, tmp_path, capfd):
    write_scenes(tmp_path / 'train', 4, change=lambda mask: (mask > 0).astype(np.uint8))
    words = ['train', CONFIG, *flags(tmp_path, ('ground', 'thing'))[:4], '--no-validate']
    words += ['--classes', 'ground', 'thing', '--work-dir', str(tmp_path / 'work')]
    short = ['train_cfg.max_iters=1', f'load_from={checkpoint}']
    assert main([*words, '--cfg-options', *TOY, *short]) == 0
    text = ''.join(capfd.readouterr())
    assert 'have other shapes than in this model and start with new values' in text
    assert 'decode_head.conv_seg.weight' in text


@pytest.mark.cpu
def test_a_resumed_training_has_the_same_weights(data, tmp_path):
    words = ['train', CONFIG, *flags(data), '--no-validate', '--cfg-options', *TOY]
    steps = ['train_cfg.max_iters=4', 'default_hooks.checkpoint.interval=2']
    for work in ('whole', 'parts'):
        assert main([*words, *steps, f'work_dir={tmp_path / work}']) == 0
    (tmp_path / 'parts/iter_4.pth').unlink()
    (tmp_path / 'parts/last_checkpoint').write_text(str(tmp_path / 'parts/iter_2.pth'))
    assert main([*words, *steps, f'work_dir={tmp_path / "parts"}', '--resume']) == 0
    whole, parts = (
        load_file(tmp_path / w / 'iter_4.pth')['state_dict'] for w in ('whole', 'parts')
    )
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_groups_epochs_and_cost(data, tmp_path, capsys):
    cfg = config_of(['train', CONFIG, *flags(data), '--work-dir', str(tmp_path), '--epochs', '4'])
    assert cfg.train_cfg.max_iters == 12  # 6 images in batches of 2
    runner = Runner.from_cfg(cfg)
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    rates = {
        name: group['lr']
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
        for name, own in runner.model.named_parameters()
        if own is parameter
    }
    base = cfg.optim_wrapper.optimizer.lr
    assert rates['decode_head.conv_seg.weight'] == rates['neck.upsample_2x.0.weight'] == base
    assert rates['backbone.blocks.3.mlp.fc1.weight'] == pytest.approx(0.9 * base)
    assert rates['backbone.patch_embed.proj.weight'] == pytest.approx(0.9**5 * base)
    assert main(['cost', CONFIG, '--num-images', '100', '--device-tflops', '100']) == 0
    assert 'GFLOP' in capsys.readouterr().out


def test_a_published_folder_predicts_the_same(checkpoint, tmp_path):
    done = publish(checkpoint, tmp_path / 'folder', license='mit')
    card = (tmp_path / 'folder/README.md').read_text()
    assert 'pipeline_tag: image-segmentation' in card and 'lomar.Segmentor(' in card
    assert 'features_only=True' in card, 'the backbone alone is a model of timm'
    assert done.tensors > 50
    image = scene(3)[0]
    one, two = (lomar.Segmentor(path, 'cpu')([image])[0] for path in (checkpoint, done.folder))
    assert (one.ids == two.ids).all()


def test_a_segmentor_that_timm_cannot_build_is_published(data, tmp_path):
    cfg = config_of(['train', CONFIG, *flags(data), '--work-dir', str(tmp_path)])
    cfg.model.backbone.update(position='absolute+decomposed')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'iter_1.pth')
    publish(tmp_path / 'iter_1.pth', tmp_path / 'folder', license='mit')
    config = json.loads((tmp_path / 'folder/config.json').read_text())
    assert config['architecture'] == 'lomar.Segmentor'
    assert lomar.Segmentor(tmp_path / 'folder', 'cpu').classes == CLASSES


def test_commands_of_other_parts(checkpoint, data, tmp_path, capsys):
    """Export and `lomar.Encoder` refuse a segmentor; `lomar check` reads its masks."""
    assert main(['export', checkpoint, str(tmp_path / 'a.pt2'), '--size', '64']) == 1
    assert 'is of a segmentor; allowed: of a pretraining' in capsys.readouterr().err
    with pytest.raises(ValueError, match=r'or of a segmentor, .*lomar.Segmentor predicts'):
        lomar.Encoder(checkpoint, device='cpu')
    assert main(['check', CONFIG, *flags(data)]) == 0
    assert 'These masks can be trained on.' in capsys.readouterr().out


REFUSED = {
    'no names': ((), (), 'have no names; name the classes'),
    'too few names': (('ground', 'square'), (), r'has ids that no class has: \[2\]'),
    'a class without pixels, named by the user': ((*CLASSES, 'sky'), (), None),
    'strict of detectors': (CLASSES, ('--strict',), '--strict belong to detection configs'),
    'one image': (CLASSES, ('--no-validate',), 'batch_size is 1, .*allowed: 2 or more'),
    'boxes': (CLASSES, ('--train-ann', 'a.json'), '--train-ann, .* belong to detection configs'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_data_are_checked_before_anything_is_built(case, data, tmp_path, capsys):
    names, more, message = REFUSED[case]
    words = ['train', CONFIG, *flags(data, names), *more, '--work-dir', str(tmp_path), '--dry-run']
    one = ['train_dataloader.batch_size=1'] if case == 'one image' else []
    code = main([*words, '--cfg-options', *TOY, *one])
    error = capsys.readouterr().err
    if message is None:  # a class without pixels that the user named is a warning
        assert code == 0
    else:
        assert code == 1 and re.search(message, error)


ZEROS = [f'{split}_dataloader.dataset.reduce_zero_label=True' for split in ('train', 'val', 'test')]


@pytest.mark.parametrize(
    ('flag', 'reduces'),
    [((), None), ('--reduce-zero-label', True), ('--no-reduce-zero-label', False)],
)
def test_names_begin_with_the_id_that_the_user_confirms(flag, reduces, data):
    """The ADE20K configs ignore the id 0, and docs call the first name that of the id 0."""
    words = ['train', CONFIG, *flags(data), *([flag] if flag else []), '--print-config']
    line = parse_args([*words, '--cfg-options', *TOY, *ZEROS])
    if reduces is None:
        with pytest.raises(ValueError, match='confirm this with --reduce-zero-label, or begin wi'):
            engine.train_config(line)
    else:
        cfg = engine.train_config(line)
        assert cfg.train_dataloader.dataset.reduce_zero_label is reduces


def test_masks_of_other_datasets_are_not_set_or_approved(data, tmp_path, capsys):
    cfg = engine.train_config(parse_args(['train', CONFIG, *flags(data), '--print-config']))
    part = cfg.train_dataloader.dataset
    for kind, message in (
        ('BaseSegDataset', 'needs a dataset of type MaskedImages in train_dataloader'),
        ('ConcatDataset', 'names the files of one dataset, and train_dataloader combines 2'),
    ):
        wrapped = dict(type=kind, datasets=[part, part]) if 'Concat' in kind else dict(type=kind)
        cfg.train_dataloader.dataset = wrapped
        cfg.dump(tmp_path / 'own.py')
        capsys.readouterr()
        assert main(['check', str(tmp_path / 'own.py'), *flags(data)]) == 1
        assert f'--train-images {message}' in capsys.readouterr().err
    cfg.val_dataloader.dataset = cfg.train_dataloader.dataset = dict(type='BaseSegDataset')
    cfg.dump(tmp_path / 'own.py')
    assert main(['check', str(tmp_path / 'own.py')]) == 1
    assert (
        'no dataset of type MaskedImages, so there is nothing to check' in capsys.readouterr().err
    )


@pytest.mark.parametrize(('channels', 'message'), [(3, ''), (4, '1 of 4 images in')])
def test_arrays_are_images_for_loaders_that_read_them(channels, message, tmp_path, capsys):
    write_scenes(tmp_path / 'train', 3)
    np.save(tmp_path / 'train/images/x.npy', np.zeros((40, 40, channels), np.uint8))
    words = ['train', CONFIG, *flags(tmp_path)[:4], '--classes', *CLASSES, '--no-validate']
    more = [f'model.backbone.in_channels={channels}', f'work_dir={tmp_path / "work"}']
    code = main([*words, '--dry-run', '--cfg-options', *TOY, *more])
    assert code == bool(message) and message in capsys.readouterr().err


MISFITS = {
    'model.neck.embed_dim=16': 'model.neck.embed_dim is 16, .*allowed: 32',
    'model.backbone.out_indices=[1,3]': r'model.backbone.out_indices \(number\) is 2.* allowed: 4',
    'model.backbone.out_indices=[0,1,2]': r'out_indices is \[0, 1, 2\]; allowed: .* the last one 3',
    'model.data_preprocessor.size=(60,60)': r'data_preprocessor.size is \(60, 60\).*patch_size=8',
    'model.data_preprocessor.test_cfg=None': r'test_cfg is None.*dict\(size_divisor=8\)',
    'model.auxiliary_head.in_channels=8': 'auxiliary_head.in_channels is 8.* allowed: 32',
}


@pytest.mark.parametrize('option', MISFITS)
def test_parts_that_do_not_fit_are_named(option, data, tmp_path, capsys):
    words = ['train', CONFIG, *flags(data), '--work-dir', str(tmp_path), '--dry-run']
    assert main([*words, '--cfg-options', *TOY, option]) == 1
    assert re.search(MISFITS[option], capsys.readouterr().err)


@pytest.mark.parametrize('method', ['lomar', 'mae', 'scratch'])
def test_the_recipes_take_a_step(method):
    """The packaged configs at a small width: loss, gradients of every weight, prediction."""
    from mmengine.config import Config
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    from lomar.engine.config_files import find_config

    cfg = Config.fromfile(find_config(f'segment/upernet_vit-b_{method}_8xb2-amp-160k_ade20k-512px'))
    init_default_scope(cfg.default_scope)
    settings = cfg.model
    settings.backbone.update(arch=dict(embed_dim=24, depth=12, num_heads=2), drop_path_rate=0.0)
    settings.neck.embed_dim = settings.auxiliary_head.in_channels = 24
    settings.decode_head.update(in_channels=[24] * 4, channels=16)
    settings.data_preprocessor.size = (64, 64)
    model = MODELS.build(settings)
    truth = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 150, (1, 64, 64))))
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
    batch = model.data_preprocessor(dict(inputs=images, data_samples=[truth] * 2), True)
    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert 4 < loss < 12  # the logarithm of 150 is 5, and there is the auxiliary head
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert not without
    metas = dict(ori_shape=(50, 70), img_shape=(50, 70))
    sample = SegDataSample(metainfo=metas)
    small = dict(inputs=[torch.zeros(3, 50, 70, dtype=torch.uint8)], data_samples=[sample])
    (found,) = model.eval().test_step(small)
    assert found.pred_sem_seg.data.shape == (1, 50, 70)

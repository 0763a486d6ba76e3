"""The data users have: formats, folders, lists, damaged files, and replayable loading."""

import os
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.registry import DATA_SAMPLERS, DATASETS, init_default_scope
from PIL import Image

from lomar.datasets import UnlabelledImages, UnreadableImage, list_images, read_rgb
from lomar.datasets.replay import Draw
from lomar.engine import Runner

RED, GREEN = (200, 30, 40), (20, 180, 60)
PIPELINE = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', scale=32, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]


@pytest.fixture
def halves():
    """An image of 40 x 20 pixels: red on the left, green on the right."""
    image = Image.new('RGB', (40, 20), RED)
    image.paste(GREEN, (20, 0, 40, 20))
    return image


def near(pixel, colour, tolerance=3):
    return np.abs(np.array(pixel, int) - colour).max() <= tolerance


@pytest.mark.parametrize(
    ('name', 'mode', 'tolerance'),
    [
        ('a.png', 'RGB', 0),
        ('a.png', 'P', 0),
        ('a.png', 'RGBA', 0),
        ('a.jpg', 'RGB', 3),
        ('a.JPEG', 'CMYK', 6),
        ('a.webp', 'RGB', 8),
        ('a.tif', 'RGB', 0),
        ('a.tiff', 'CMYK', 0),
        ('a.bmp', 'RGB', 0),
    ],
)
def test_formats(tmp_path, halves, name, mode, tolerance):
    path = tmp_path / name
    image = halves.quantize(4) if mode == 'P' else halves.convert(mode)
    image.save(path, **({'quality': 100} if 'j' in name.lower() else {}))
    image = read_rgb(path)
    assert image.mode == 'RGB' and image.size == (40, 20)
    assert near(image.getpixel((5, 10)), RED, tolerance)
    assert near(image.getpixel((35, 10)), GREEN, tolerance)


def test_grey_sixteen_bit_transparent_and_rotated(tmp_path, halves):
    Image.new('L', (4, 4), 77).save(tmp_path / 'grey.png')
    assert read_rgb(tmp_path / 'grey.png').getpixel((0, 0)) == (77, 77, 77)
    deep = np.full((4, 4), 40000, np.uint16)
    for name in ('deep.png', 'deep.tif'):
        Image.fromarray(deep).save(tmp_path / name)
        assert read_rgb(tmp_path / name).getpixel((0, 0)) == (40000 // 257,) * 3
    half = Image.new('RGBA', (4, 4), (0, 0, 0, 128))
    half.save(tmp_path / 'half.png')
    assert near(read_rgb(tmp_path / 'half.png').getpixel((0, 0)), (127,) * 3)
    palette = Image.new('P', (4, 4), 0)
    palette.putpalette([9, 9, 9, 5, 5, 5])
    palette.save(tmp_path / 'clear.png', transparency=0)
    assert read_rgb(tmp_path / 'clear.png').getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees clockwise when shown
    halves.save(tmp_path / 'turned.jpg', exif=exif, quality=100, subsampling=0)
    turned = read_rgb(tmp_path / 'turned.jpg')
    assert turned.size == (20, 40)
    assert near(turned.getpixel((10, 5)), RED) and near(turned.getpixel((10, 35)), GREEN)


def test_unreadable_files_say_why(tmp_path, halves):
    halves.save(tmp_path / 'whole.jpg')
    content = (tmp_path / 'whole.jpg').read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(content[: len(content) // 2])
    (tmp_path / 'text.png').write_text('no image')
    for name, reason in [
        ('cut.jpg', '(?i)truncated'),
        ('text.png', 'cannot identify'),
        ('no', 'No s'),
    ]:
        with pytest.raises(UnreadableImage, match=reason):
            read_rgb(tmp_path / name)


def test_folders_and_lists(tmp_path, halves):
    for name in ('n01/a.JPEG', 'n02/deep/er/b.png', 'c.jpg'):
        (tmp_path / 'tree' / name).parent.mkdir(parents=True, exist_ok=True)
        halves.save(tmp_path / 'tree' / name)
    (tmp_path / 'tree' / 'notes.txt').write_text('no image')
    (tmp_path / 'linked').symlink_to(tmp_path / 'tree')
    found = [path.removeprefix(f'{tmp_path}/tree/') for path in list_images(tmp_path / 'tree')]
    assert found == ['c.jpg', 'n01/a.JPEG', 'n02/deep/er/b.png']
    assert len(list_images(tmp_path / 'linked')) == 3
    (tmp_path / 'list.txt').write_text(f'tree/c.jpg\n\n{tmp_path}/tree/n01/a.JPEG\n')
    listed = list_images(tmp_path / 'list.txt')
    assert len(listed) == 2 and all(read_rgb(path).size == (40, 20) for path in listed)
    (tmp_path / 'empty').mkdir()
    for root, message in [('empty', 'there are none in'), ('absent', 'does not exist')]:
        with pytest.raises(FileNotFoundError, match=rf'{message}[\s\S]*lomar shapes'):
            list_images(tmp_path / root)


def test_lists_from_other_editors_and_of_any_file_name(tmp_path, halves):
    name = os.fsdecode(b'\xfc.png')  # Latin-1
    halves.save(tmp_path / name)
    (tmp_path / 'list.txt').write_bytes(b'\xef\xbb\xbf\xfc.png\r\n\r\n\xfc.png\r\n')
    assert list_images(tmp_path / 'list.txt') == [str(tmp_path / name)] * 2


def test_an_unreadable_image_survives_a_pickle():
    error = pickle.loads(pickle.dumps(UnreadableImage('a.png', 'cut off')))
    assert (error.path, error.reason, str(error)) == ('a.png', 'cut off', 'a.png: cut off')


def build(root):
    init_default_scope('mmpretrain')
    return DATASETS.build(dict(type='UnlabelledImages', data_root=str(root), pipeline=PIPELINE))


def test_a_draw_is_replayed_whatever_came_before(photographs):
    dataset = build(photographs)
    first = dataset[Draw(3, seed=(0, 1, 2))]['inputs']
    random.seed(9), np.random.seed(9), torch.manual_seed(9), dataset[5]
    assert torch.equal(dataset[Draw(3, seed=(0, 1, 2))]['inputs'], first)
    assert not torch.equal(dataset[Draw(3, seed=(0, 2, 2))]['inputs'], first)
    assert first.shape == (3, 32, 32) and first.dtype == torch.uint8


def test_workers_and_epochs(photographs):
    dataset = build(photographs)

    def batches(workers, epoch):
        sampler = DATA_SAMPLERS.build(
            dict(type='ReplaySampler', dataset=dataset, shuffle=True, seed=4)
        )
        sampler.set_epoch(epoch)
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=3, sampler=sampler, num_workers=workers, collate_fn=list
        )
        return torch.stack([sample['inputs'] for batch in loader for sample in batch])

    assert torch.equal(batches(0, 1), batches(2, 1))
    assert not torch.equal(batches(0, 0), batches(0, 1))
    assert len({image.numpy().tobytes() for image in batches(0, 0)}) == 8


WRAPPERS = {
    'RepeatDataset': dict(times=2),
    'ConcatDataset': {},
    'ClassBalancedDataset': dict(oversample_thr=0.1),  # passes indices without seeds on
}


@pytest.mark.parametrize('kind', WRAPPERS)
def test_samples_of_wrapped_datasets_are_replayed(photographs, monkeypatch, kind):
    monkeypatch.setattr(UnlabelledImages, 'get_cat_ids', lambda self, index: [index % 2])
    inner = build(photographs)
    part = dict(datasets=[inner, inner]) if kind == 'ConcatDataset' else dict(dataset=inner)
    dataset = DATASETS.build(dict(type=kind, **part, **WRAPPERS[kind]))

    def images(workers):
        sampler = dict(type='ReplaySampler', shuffle=True)
        settings = dict(dataset=dataset, batch_size=3, sampler=sampler, num_workers=workers)
        loader = Runner.build_dataloader(settings, seed=4)
        return torch.stack([image for batch in loader for image in batch['inputs']])

    assert torch.equal(images(0), images(2))


def test_unreadable_images_are_replaced_and_reported(photographs):
    (photographs / '3.jpg').write_text('no image')
    dataset = build(photographs)
    sample = dataset[Draw(3, seed=(0, 0, 0))]
    assert sample['inputs'].shape == (3, 32, 32)
    assert list(sample['data_samples'].unreadable) == [str(photographs / '3.jpg')]
    assert 'unreadable' not in dataset[2]['data_samples']
    for path in photographs.iterdir():
        path.write_text('no image')
    with pytest.raises(OSError, match=r'10 draws in a row .* cannot be read:\n  \S+\.jpg: Unid'):
        dataset[0]


def test_colours_reach_the_model_in_the_order_of_its_mean(tmp_path):
    from mmengine.registry import MODELS

    Image.new('RGB', (32, 32), RED).save(tmp_path / 'red.png')
    inputs = build(tmp_path)[0]['inputs'][None]
    preprocessor = MODELS.build(
        dict(type='SelfSupDataPreprocessor', mean=list(RED), std=[1.0, 1.0, 1.0])
    )
    assert preprocessor({'inputs': inputs, 'data_samples': None})['inputs'].abs().max() == 0

"""Pictures of a test run: one per image, of every kind of image that a detector reads."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData
from PIL import Image

from lomar.datasets.any_image import visible_pixels
from lomar.visualization.detection_pictures_hook import DetectionPicturesHook


def draw(images, out, tmp_path):
    """Draw one detection per image; return the paths of the pictures below `out`."""
    visualizer = DetLocalVisualizer.get_instance('test_detection_pictures')
    visualizer.dataset_meta = dict(classes=('cell',))
    hook = DetectionPicturesHook(draw=True, test_out_dir=str(out))
    infos = [dict(img_path=str(image)) for image in images]
    dataset = type('Dataset', (list,), dict(get_data_info=list.__getitem__))(infos)
    runner = SimpleNamespace(
        work_dir=tmp_path, timestamp='now', test_dataloader=SimpleNamespace(dataset=dataset)
    )
    hook.before_test(runner)
    for place, info in enumerate(infos):
        found = InstanceData(
            bboxes=torch.tensor([[1.0, 1, 9, 9]]), labels=torch.tensor([0]), scores=torch.ones(1)
        )
        sample = DetDataSample(metainfo=dict(info, ori_shape=(16, 24)), pred_instances=found)
        hook.after_test_iter(runner, place, {}, [sample])
    return sorted(path.relative_to(out).as_posix() for path in out.rglob('*.jpg'))


def test_pictures_of_equal_names_are_kept(tmp_path):
    images = [tmp_path / f'val/cam{i}/frame{j:03d}.jpg' for i in range(6) for j in range(4)]
    for image in images:
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (24, 16)).save(image)
    expected = [image.relative_to(tmp_path / 'val').as_posix() for image in images]
    assert draw(images, tmp_path / 'shown', tmp_path) == sorted(expected)
    with pytest.raises(ValueError, match=r'--show-dir: .*frame000\.jpg is one of the images'):
        draw(images, tmp_path / 'val', tmp_path)


def test_a_relative_folder_is_below_the_logs_of_the_run(tmp_path):
    images = [tmp_path / f'{name}.png' for name in 'ab']
    for image in images:
        Image.new('L', (24, 16)).save(image)
    draw(images, Path('shown'), tmp_path)
    assert sorted(path.name for path in (tmp_path / 'now/shown').glob('*.jpg')) == [
        'a.jpg',
        'b.jpg',
    ]


RAMP = np.linspace(0, 1, 16 * 24).reshape(16, 24)


@pytest.mark.parametrize(
    'name, save',
    {
        'grey.png': lambda path: Image.fromarray((RAMP * 255).astype(np.uint8)).save(path),
        'deep.png': lambda path: Image.fromarray((RAMP * 65535).astype(np.uint16)).save(path),
        'float.npy': lambda path: np.save(path, RAMP.astype(np.float32) * 3000 - 1000),
        'bands.npy': lambda path: np.save(path, np.dstack([RAMP * 4095] * 5).astype(np.uint16)),
        'two.npy': lambda path: np.save(path, np.dstack([RAMP, RAMP]).astype(np.float32)),
    }.items(),
)
def test_all_pixels_become_visible(name, save, tmp_path):
    save(tmp_path / name)
    pixels = visible_pixels(tmp_path / name)
    assert pixels.shape == (16, 24, 3) and pixels.dtype == np.uint8
    assert pixels[0, 0].max() < 5 and pixels[-1, -1].min() > 250 and 100 < pixels.mean() < 155


def test_numbers_become_visible_without_rasterio(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    Image.fromarray(RAMP.astype(np.float32) * 3000 - 1000).save(tmp_path / 'float.tif')
    pixels = visible_pixels(tmp_path / 'float.tif')
    assert pixels.shape == (16, 24, 3) and 100 < pixels.mean() < 155


def test_a_constant_image_is_drawn(tmp_path):
    np.save(tmp_path / 'constant.npy', np.full((16, 24), 7.0))
    assert (visible_pixels(tmp_path / 'constant.npy') == 0).all()

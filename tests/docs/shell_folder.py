"""Folders in which the shell lines of a page can be run: tiny images, annotations, checkpoints."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from annotation_sources import voc_object, voc_xml, write_text
from conftest import FIXTURES, ROOT
from mask_data import TOY, write_scenes
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from old_checkpoints import MODELS_OF
from PIL import Image
from processes import run_lomar
from shell_lines import shown_files
from trained import V01, detector_file, noise

CLASSES = ('checked', 'dotted', 'striped')  # those of the checkpoints of the fixtures
SEGMENTOR = 'tiny/upernet_vit-tiny-p8_lomar_256px'
CONFIGS = {
    'pretrain': MODELS_OF['pretrain_lomar'],
    'classifier': MODELS_OF['classifier_lomar'],
    'detector': MODELS_OF['detector_lomar'],
    'boxes': ('tiny/faster-rcnn_vitdet-tiny_lomar_lsj_coco-256px', []),
    'segmentor': (SEGMENTOR, TOY),
}


def config(kind: str) -> Config:
    """Return a config at toy size that trains for one epoch or step."""
    name, options = CONFIGS[kind]
    cfg = Config.fromfile(ROOT / f'mmconfigs/{name if "/" in name else f"shapes/{name}"}.py')
    pairs = dict(option.split('=', 1) for option in options)
    length = 'max_iters' if 'max_iters' in cfg.train_cfg else 'max_epochs'
    pairs |= {f'train_cfg.{length}': '1', 'train_dataloader.batch_size': '2', 'load_from': 'None'}
    cfg.merge_from_dict({key: _value(text) for key, text in pairs.items()})
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(key):
            cfg[key].update(num_workers=0)
    return cfg


def _value(text: str):
    try:
        return eval(text, {})
    except (NameError, SyntaxError):
        return text


def images(path: Path, count: int = 8) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(noise(80, 96, seed=number)).save(path / f'{number}.jpg')


def one_image(path: Path) -> None:
    images(path, 1)


def int16(path: Path) -> None:
    path.mkdir(parents=True)
    for number in range(4):
        pixels = noise(80, 96, np.uint16, 1, number)[..., 0].astype(np.int32) - 2000
        Image.fromarray(pixels).save(path / f'{number}.tif')


def channels(path: Path) -> None:
    import rasterio  # of an extra, which the GPU machine may lack

    path.mkdir(parents=True)
    for number in range(4):
        pixels = noise(80, 96, np.uint16, 13, number).transpose(2, 0, 1)
        size = dict(height=80, width=96, count=13, dtype='uint16')
        with rasterio.open(path / f'{number}.tif', 'w', 'GTiff', **size) as file:
            file.write(pixels)


def classes(path: Path) -> None:
    for name in CLASSES:
        images(path / name, 3)


def channel_classes(path: Path) -> None:
    for name in CLASSES:
        channels(path / name)


def coco(path: Path, count: int = 16) -> None:
    """Write images, their annotations as PATH.json, and a list of the images as PATH-bare.json."""
    images(path, count)
    found = [dict(id=n, file_name=f'{n}.jpg', width=96, height=80) for n in range(count)]
    objects = [
        dict(
            **dict(id=3 * n + k + 1, image_id=n, category_id=k + 1, iscrowd=0, area=400),
            bbox=[10 + 20 * k, 10, 20, 20],
            segmentation=[[c + 20 * k * (i % 2 == 0) for i, c in enumerate(SQUARE)]],
        )
        for n in range(count)
        for k in range(3)
    ]
    kinds = [dict(id=k + 1, name=name) for k, name in enumerate(CLASSES)]
    content = dict(images=found, annotations=objects, categories=kinds)
    write_text(path.with_suffix('.json'), json.dumps(content))
    bare = dict(images=[{k: image[k] for k in ('id', 'file_name')} for image in found])
    write_text(Path(f'{path}-bare.json'), json.dumps({**bare, 'categories': kinds}))


def few(path: Path) -> None:
    coco(path, 2)


SQUARE = (10, 10, 30, 10, 30, 30, 10, 30)


def patients(path: Path) -> None:
    """Write the annotations of images whose names begin with a patient."""
    coco(path)
    file = path.with_suffix('.json')
    content = json.loads(file.read_text())
    for image in content['images']:
        image['file_name'] = f'patient{image["id"] // 2}_{image["file_name"]}'
    file.write_text(json.dumps(content))


def voc(path: Path) -> None:
    images(path / 'JPEGImages', 10)
    for number in range(10):
        boxes = ''.join(voc_object(name, (5, 8, 50, 60)) for name in ('cell', 'debris'))
        text = voc_xml(boxes, f'{number}.jpg', (96, 80))
        write_text(path / f'Annotations/{number}.xml', text)


def shapes(path: Path) -> None:
    counts = ('--train', '8', '--val', '4', '--categories', 'texture')
    done = run_lomar('shapes', '--out', path, *counts)
    assert done.returncode == 0, done.stderr


def masks(path: Path) -> None:
    write_scenes(path)


def object_masks(path: Path) -> None:
    """Write three images, and for each a folder with a mask per object, in `masks` beside."""
    path.mkdir(parents=True)
    for number in range(3):
        Image.fromarray(noise(32, 48)).save(path / f'{number}.png')
        for part in range(2):
            mask = np.zeros((32, 48), np.uint8)
            mask[2:20, 20 * part : 20 * part + 15] = 255
            target = path.parent / f'masks/{number}/{part}.png'
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(target)


def scene(path: Path) -> None:
    Image.fromarray(noise(1100, 90)).save(path)


def image_list(path: Path) -> None:
    images(path.parent / 'listed')
    path.write_text(''.join(f'listed/{number}.jpg\n' for number in range(8)))


def official(path: Path) -> None:
    arrays = np.load(FIXTURES / 'official_pretrain_tiny.npz')
    weights = {key[2:]: torch.from_numpy(arrays[key]) for key in arrays if key[:2] == 'w/'}
    torch.save(dict(model=weights), path)


def fixture(name: str):
    def copy(path: Path) -> None:
        shutil.copy(V01 / f'{name}_lomar.pth', path)

    return copy


def initial(cfg: Config, path: Path, names=None) -> None:
    """Write the checkpoint of a model with initial weights."""
    init_default_scope(cfg.default_scope)
    weights = MODELS.build(cfg.model).state_dict()
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=names))
    torch.save(dict(state_dict=weights, meta=meta), path)


def segmentor(path: Path) -> None:
    names = ('background', 'road', 'car')
    cfg = config('segmentor')
    for head in ('decode_head', 'auxiliary_head'):
        cfg.model[head].num_classes = len(names)
    initial(cfg, path, names)


def tiny(path: Path) -> None:
    cfg = ROOT / 'mmconfigs/tiny/lomar_vit-tiny-p8_1xb64-coslr-100e_in1k-192px.py'
    initial(Config.fromfile(cfg), path)


MAKERS = dict(
    **dict(images=images, one_image=one_image, int16=int16, channels=channels, classes=classes),
    **dict(channel_classes=channel_classes, few=few, object_masks=object_masks),
    **dict(coco=coco, patients=patients, voc=voc, shapes=shapes, masks=masks, scene=scene),
    **dict(image_list=image_list, official=official, segmentor=segmentor, tiny=tiny),
    **dict(pretrain=fixture('pretrain'), classifier=fixture('classifier'), detector=detector_file),
)


def prepare(folder: Path, page: str, kind: str, make: dict[str, str]) -> None:
    """Write CONFIG.py, the commands as programs in `bin`, and the files of a page."""
    (folder / 'mmconfigs').mkdir()
    for name, text in shown_files(page).items():
        write_text(folder / name, text)
    for path in (ROOT / 'tools', *(ROOT / 'mmconfigs').iterdir()):
        (folder / path.relative_to(ROOT)).symlink_to(path)
    config(kind).dump(folder / 'CONFIG.py')
    programs = {'lomar': ' -m lomar', 'python': '', 'python3': ''}
    for name, words in programs.items():
        write_text(folder / f'bin/{name}', f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
        (folder / f'bin/{name}').chmod(0o755)
    for name, what in make.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        MAKERS[what](folder / name)

"""Checkpoints of earlier versions: how they are made, and what a model must still answer.

    python tests/old_checkpoints.py tests/fixtures/v0.1

writes tiny training checkpoints (weights, optimizer, log) of every kind of model, and what each
model answers to a fixed input. Run it once per released version, with that version's package;
`tests/checkpoints/test_old_checkpoints.py` reads what all versions wrote.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

import lomar
from lomar.checkpoints import load_file
from lomar.cli import parse_args
from lomar.engine import train_config

ROOT = Path(__file__).resolve().parents[1]
TINY_VIT = ['model.backbone.arch.embed_dim=16', 'model.backbone.arch.depth=2']
TINY_MAE = ['model.backbone.arch.embed_dims=16', 'model.backbone.arch.num_layers=2']
TINY_MAE += ['model.backbone.arch.feedforward_channels=64', 'model.neck.embed_dim=16']
TINY_MAE += ['model.neck.decoder_embed_dim=16', 'model.neck.decoder_depth=1']
# Images of 96 pixels: position tables are not those of the pretraining, which had 64.
TINY_DETECTOR = [
    *TINY_VIT,
    'model.backbone.img_size=96',
    'model.backbone.global_blocks=(1,)',
    'model.data_preprocessor.pad_size_divisor=96',
    'model.neck.in_channels=16',
    'model.neck.out_channels=16',
    'model.rpn_head.in_channels=16',
    'model.rpn_head.feat_channels=16',
    'model.roi_head.bbox_roi_extractor.out_channels=16',
    'model.roi_head.bbox_head.in_channels=16',
    'model.roi_head.bbox_head.conv_out_channels=16',
    'model.roi_head.bbox_head.fc_out_channels=16',
    'model.roi_head.mask_roi_extractor.out_channels=16',
    'model.roi_head.mask_head.in_channels=16',
    'model.roi_head.mask_head.conv_out_channels=16',
]
# name: (config, options); the checkpoints of pretraining come first, the others start from them.
MODELS_OF = {
    'pretrain_lomar': ('lomar_vit-tiny-p4_1xb32-coslr-8e_shapes', TINY_VIT),
    'pretrain_mae': ('mae_vit-tiny-p4_1xb32-coslr-8e_shapes', TINY_MAE),
    'classifier_lomar': (
        'vit-tiny_lomar_1xb32-coslr-16e_shapes',
        [*TINY_VIT, 'model.head.in_channels=16'],
    ),
    'classifier_mae': (
        'vit-tiny_mae_1xb32-coslr-16e_shapes',
        [*TINY_VIT, 'model.head.in_channels=16'],
    ),
    'detector_lomar': ('mask-rcnn_vitdet-tiny-lomar_shapes', TINY_DETECTOR),
    'detector_mae': ('mask-rcnn_vitdet-tiny-mae_shapes', TINY_DETECTOR),
}


def make_shapes(out: Path, train: int) -> Path:
    """Write `train` images of three classes, few enough that each is in any handful of images."""
    counts = ['--train', str(train), '--val', '8', '--categories', 'texture']
    make = [sys.executable, '-m', 'lomar', 'shapes', '--out', str(out), *counts]
    subprocess.run(make, check=True)
    return out


def arguments(name: str, shapes: Path, work: Path, epochs: int, *options: str) -> list[str]:
    """Arguments of `lomar train` for a model, on images that `lomar shapes` wrote."""
    config, tiny = MODELS_OF[name]
    labels, data = shapes / 'annotations', []
    for split in ('train', 'val'):
        images = labels / f'{split}.txt' if name.startswith('classifier') else shapes / split
        data += [f'--{split}-images', str(images)]
        if name.startswith('detector'):
            data += [f'--{split}-ann', str(labels / f'{split}.json')]
    always = [f'train_cfg.max_epochs={epochs}', 'train_dataloader.batch_size=8']
    return [
        str(ROOT / f'mmconfigs/shapes/{config}.py'),
        *data,
        *('--work-dir', str(work), '--no-validate', '--cfg-options', *tiny, *always, *options),
    ]


def build(name: str, shapes: Path, checkpoint: Path) -> torch.nn.Module:
    """Build the model that the present config describes, with the weights of a file."""
    line = arguments(name, shapes, checkpoint.parent, 1, 'load_from=None')
    cfg = train_config(parse_args(['train', *line]))
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.load_state_dict(load_file(checkpoint)['state_dict'])
    return model.eval()


@torch.no_grad()
def answers(name: str, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """What a model makes of fixed images: predictions, logits, or maps and detections."""
    generator = torch.Generator().manual_seed(0)
    side = 96 if name.startswith('detector') else 64
    images = torch.randn(2, 3, side, side, generator=generator)
    if name == 'pretrain_lomar':
        windows, masked = model.sample(images, generator)
        found = dict(prediction=model.predict(images, windows, masked))
    elif name == 'pretrain_mae':
        found = dict(tokens=model.backbone(images, mask=None)[-1])
    elif name.startswith('classifier'):
        found = dict(features=model.extract_feat(images)[-1], logits=model(images))
    else:
        maps = model.extract_feat(images)
        meta = dict(img_shape=(side, side), ori_shape=(side, side), scale_factor=(1.0, 1.0))
        objectness, deltas = model.rpn_head(maps)
        boxes = torch.tensor([[8.0, 8.0, 40.0, 56.0], [30.0, 20.0, 90.0, 70.0]])
        proposals = [InstanceData(bboxes=boxes, scores=torch.ones(2)) for _ in images]
        samples = [_sample(meta) for _ in images]
        model.roi_head.test_cfg.score_thr = 0.0
        detections = model.roi_head.predict(maps, proposals, samples, rescale=False)
        found = {f'map{level}': each for level, each in enumerate(maps)}
        found |= {f'objectness{level}': each for level, each in enumerate(objectness)}
        found |= {f'deltas{level}': each for level, each in enumerate(deltas)}
        found |= dict(
            scores=torch.cat([each.scores for each in detections]),
            boxes=torch.cat([each.bboxes for each in detections]),
        )
    return {key: value.numpy() for key, value in found.items()}


def _sample(meta: dict):
    from mmdet.structures import DetDataSample  # slow to import

    return DetDataSample(metainfo=meta)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('out', type=Path, help='folder to write')
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    print(f'lomar {lomar.__version__}')
    with tempfile.TemporaryDirectory() as scratch:
        shapes = make_shapes(Path(scratch) / 'shapes', 32)
        for name in MODELS_OF:
            kind, method = name.split('_')
            start = None if kind == 'pretrain' else out / f'pretrain_{method}.pth'
            work = Path(scratch) / name
            line = arguments(name, shapes, work, 1, f'load_from={start}')
            subprocess.run([sys.executable, '-m', 'lomar', 'train', *line], check=True)
            shutil.copy(work / 'epoch_1.pth', out / f'{name}.pth')
            model = build(name, shapes, out / f'{name}.pth')
            np.savez_compressed(out / f'{name}.npz', **answers(name, model))


if __name__ == '__main__':
    main()

"""The detectors beside Mask R-CNN: facts, small models, and their table in docs/detection.md.

`python -m tests.heads` writes the table. Its operators are those that a step of training and a
prediction call, its AP is that of `python -m benchmarks.heads`.
"""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import lomar.register  # noqa: F401
from benchmarks.sections import write_section
from lomar.utils import dicts_in
from tests.gpu_branch import called_operators, gpu_branch

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULT = ROOT / 'docs/detection.md', ROOT / 'benchmarks/heads/heads_cpu.json'
INITIALISATIONS = ('lomar', 'mae', 'scratch')
SIDE = 64
# Largest values in a small detector.
LIMITS = dict(
    num_layers=2,
    num_queries=20,
    num_dn_queries=10,
    num_points=64,
    num=8,
    max_per_img=20,
    max_per_image=20,
    fc_out_channels=32,
    stacked_convs=1,
    num_convs=1,
    feedforward_channels=32,
    score_thr=0.0,
)


@dataclass(frozen=True)
class Head:
    """A detector on the feature pyramid.

    Attributes:
        name: its name in the table.
        epochs, batch: length of the training on COCO, and images per step.
        masks: whether it predicts masks.
        toy: beginning of the names of its configs in mmconfigs/shapes; '' = that of COCO.
        source: origin of its recipe, with box AP on COCO if it is published.
    """

    name: str
    epochs: int
    batch: int
    masks: bool
    source: str
    toy: str = ''

    def coco(self, init, kind):
        """Return the name of a config for COCO."""
        return f'detect/{kind}_vitdet-b_{init}_lsj-{self.epochs}e_coco'

    def shapes(self, init, kind):
        """Return the name of a config for the embedded dataset."""
        return f'shapes/{self.toy or kind}_vitdet-tiny-{init}_shapes'


HEADS = {
    'cascade-mask-rcnn': Head(
        'Cascade Mask R-CNN', 100, 64, True, 'detectron2, ViTDet: from MAE 54.0 (mask AP 46.7)'
    ),
    'fcos': Head(
        'FCOS',
        100,
        64,
        False,
        'levels of EasyCV, head of mmdet, schedule of ViTDet: no AP published',
    ),
    'rtmdet': Head('RTMDet', 100, 64, False, 'head of mmdet, schedule of ViTDet: no AP published'),
    'dino-5scale': Head(
        'DINO, 5 levels',
        12,
        16,
        False,
        'model of mmdet, schedule of detrex: from MAE 50.2 with 4 levels, another augmentation and '
        'other rates in the backbone',
        'dino-3scale',
    ),
    'mask2former': Head(
        'Mask2Former', 50, 16, True, 'mmdet, with layer decay: no AP published for this backbone'
    ),
}
CASES = [(kind, init) for kind in HEADS for init in INITIALISATIONS]


def load(name):
    """Return the config of a packaged name."""
    cfg = Config.fromfile(ROOT / f'mmconfigs/{name}.py')
    init_default_scope(cfg.default_scope)
    return cfg


def small(kind, init='lomar'):
    """Return the config of a detector for COCO, narrow and shallow, for images of 64 pixels."""
    cfg = load(HEADS[kind].coco(init, kind))
    model = cfg.model
    model.data_preprocessor.pad_size_divisor = SIDE
    arch = dict(embed_dim=24, depth=2, num_heads=2)
    model.backbone.update(arch=arch, img_size=SIDE, global_blocks=(1,), window_size=3)
    model.neck.in_channels = 24
    for part in dicts_in(model):
        for key in LIMITS.keys() & part.keys():
            part[key] = min(part[key], LIMITS[key])
    return cfg


def build(cfg):
    """Return the detector of a config with initial weights."""
    torch.manual_seed(0)
    model = MODELS.build(deepcopy(cfg.model))  # mmdet's DINO changes its config
    model.init_weights()
    return model


def batch(kind, objects=(3, 2), classes=80):
    """Return a batch of two images with a number of objects each."""
    from mmdet.testing import demo_mm_inputs

    data = demo_mm_inputs(
        2,
        [[3, SIDE, SIDE], [3, 48, SIDE]],
        num_items=list(objects),
        num_classes=classes + 1,
        with_mask=HEADS[kind].masks,
    )
    for sample in data['data_samples']:
        sample.gt_instances.labels -= 1  # mmdet draws from 1 to num_classes - 1
    return data


def step(model, data):
    """Return the losses of a batch by name, after the backward pass of their sum."""
    torch.manual_seed(1)
    model.zero_grad()
    total, losses = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
    total.backward()
    return {name: loss.detach() for name, loss in losses.items()}


def predict(model, data):
    """Return the predictions for a batch."""
    with torch.no_grad():
        found = [sample.pred_instances for sample in model.eval().test_step(data)]
    model.train()
    return found


def operators(kind):
    """Return the operators of mmcv that a detector calls on every device, and on a GPU only."""
    model, data = build(small(kind)), batch(kind)
    names = []
    for branch in (called_operators(), gpu_branch(everywhere=True)):
        with branch as calls:
            step(model, data)
            predict(model, data)
        names.append({call.removesuffix('_forward').removesuffix('_backward') for call in calls})
    everywhere, gpu = names
    return sorted(everywhere & gpu), sorted(gpu - everywhere)


def strides(model):
    """Return the strides in pixels of the levels that a detector uses."""
    patch, sizes = model.backbone.patch_size, model.neck.level_sizes(64, 64)
    return [patch * 64 // height for height, _ in sizes]


def table():
    """Return the table of detectors as Markdown."""
    result = json.loads(RESULT.read_text())
    lines = [
        '| Detector | Config | Strides | mmcv operators | mmcv operators, on a GPU only '
        '| Recipe, and published box AP on COCO | Box AP (mask AP) at toy size |',
        '|---|---|---|---|---|---|---:|',
    ]
    for kind, head in HEADS.items():
        cfg = load(head.coco('lomar', kind))
        with torch.device('meta'):
            levels = strides(MODELS.build(cfg.model))
        names = [', '.join(f'`{name}`' for name in each) or '-' for each in operators(kind)]
        measured = result['records'].get(head.toy or kind, {})
        ap = f'{measured["box_ap"]:.1f}' if measured else 'not measured'
        ap += f' ({measured["mask_ap"]:.1f})' if 'mask_ap' in measured else ''
        config = f'`{head.coco("{lomar,mae,scratch}", kind).removeprefix("detect/")}`'
        cells = (head.name, config, ', '.join(map(str, levels)), *names, head.source, ap)
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join([*lines, ''])


def main():
    """Write the table between its markers in docs/detection.md."""
    write_section(PAGE, 'heads', table())


if __name__ == '__main__':
    main()

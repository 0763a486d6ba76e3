"""Models that learn the colour of each label, and data whose classes are colours.

Such a detector or classifier is exact after one epoch. Its figures fall if a tested label means
another class than in training.
"""

import json

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from mmpretrain.models.heads import ClsHead
from PIL import Image
from torch import nn

PALETTE = [
    (r, g, b) for r in (0, 120, 240) for g in (0, 120, 240) for b in (0, 120, 240) if r + g + b
]
SIDE, BOX = 32, 12


class Colours(nn.Module):
    """The colour of each label, learnt from examples; a buffer (classes, 3)."""

    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer('colours', torch.full((num_classes, 3), -1000.0))
        self.zero = nn.Parameter(torch.zeros(1))

    def learn(self, labels, colours):
        self.colours[labels] = colours
        return dict(loss=self.zero.sum())

    def distances(self, colours):
        return torch.cdist(colours, self.colours)


@MODELS.register_module()
class ColourDetector(BaseModel):
    """Detector of squares of one colour on a black image, with boxes that are exact."""

    def __init__(self, bbox_head, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.bbox_head = Colours(bbox_head['num_classes'])

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode == 'loss':
            seen = [one.gt_instances for one in data_samples]
            centres = [one.bboxes.view(-1, 2, 2).mean(1).long() for one in seen]
            pairs = zip(inputs, centres, strict=True)
            colours = [image[:, c[:, 1], c[:, 0]].T for image, c in pairs]
            labels = torch.cat([one.labels for one in seen])
            return self.bbox_head.learn(labels, torch.cat(colours).float())
        for image, sample in zip(inputs, data_samples or [DetDataSample()], strict=True):
            sample.pred_instances = self.find(image)
        return data_samples

    def find(self, image):
        pixels = image.flatten(1).T.unique(dim=0)
        pixels = pixels[self.bbox_head.distances(pixels.float()).min(1)[0] < 1]
        places = [(image == pixel[:, None, None]).all(0).nonzero() for pixel in pixels]
        boxes = [[*p.min(0)[0].flip(0), *(p.max(0)[0].flip(0) + 1)] for p in places]
        return InstanceData(
            bboxes=torch.tensor(boxes).float().reshape(-1, 4),
            labels=self.bbox_head.distances(pixels.float()).argmin(1),
            scores=torch.full((len(pixels),), 0.9),
        )


@MODELS.register_module()
class MeanColour(nn.Module):
    """Backbone whose feature is the mean colour of an image."""

    def forward(self, images):
        return (images.mean((2, 3)),)


@MODELS.register_module()
class ColourHead(ClsHead):
    """Classification head that is exact for images of one colour."""

    def __init__(self, num_classes):
        super().__init__()
        self.fc = Colours(num_classes)

    def loss(self, feats, data_samples):
        return self.fc.learn(torch.cat([one.gt_label for one in data_samples]), feats[-1])

    def forward(self, feats):
        return -self.fc.distances(feats[-1])


def draw_coco(folder, names, name, shown=None, order=None):
    """Write images with a square per class and their annotations; return the path of the latter.

    Args:
        names: the class of each colour of `PALETTE`.
        shown: names with objects (default: all).
        order: names of the categories in the order of their ids 10, 20 and so on (default: names).
    """
    order = list(order or names)
    ids = {one: 10 * place for place, one in enumerate(order, 1)}
    images, annotations = [], []
    for number in range(1, 5):
        image = Image.new('RGB', (SIDE * len(names), SIDE))
        for place, one in enumerate(names):
            if one not in (shown or names):
                continue
            left, top = place * SIDE + number, 2 * number
            image.paste(PALETTE[place], (left, top, left + BOX, top + BOX))
            box = dict(bbox=[left, top, BOX, BOX], area=BOX * BOX, iscrowd=0)
            key = len(annotations) + 1
            annotations.append(dict(id=key, image_id=number, category_id=ids[one], **box))
        image.save(folder / f'{name}{number}.png')
        images.append(
            dict(id=number, file_name=f'{name}{number}.png', width=image.width, height=SIDE)
        )
    categories = [dict(id=ids[one], name=one) for one in reversed(order)]
    path = folder / f'{name}.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return path


def draw_classes(folder, names, number=2):
    """Write a folder with a folder of images of one colour per name; return the folder."""
    for colour, name in zip(PALETTE, names, strict=False):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            pixels = np.full((8, 8, 3), colour, np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{index}.png')
    return folder


def _run(**parts):
    """Return a config that trains one epoch with validation and saves a checkpoint."""
    return Config(
        dict(
            **parts,
            custom_imports=dict(imports=['lomar.register', 'colours']),
            val_evaluator=parts['test_evaluator'],
            val_dataloader=parts['test_dataloader'],
            train_cfg=dict(by_epoch=True, max_epochs=1),
            val_cfg=dict(type='ValLoop'),
            test_cfg=dict(type='TestLoop'),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=1),
                visualization=dict(type='VisualizationHook')
                if parts['default_scope'] == 'mmpretrain'
                else dict(type='DetVisualizationHook'),
            ),
        )
    )


def _loader(**dataset):
    shuffle = dict(type='DefaultSampler', shuffle=False)
    return dict(batch_size=2, num_workers=0, sampler=shuffle, dataset=dataset)


def detection_config(folder, classes=2, ann='train.json'):
    """Return the config of a `ColourDetector` on files of `draw_coco`."""
    steps = [
        dict(type='LoadImage'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
    ]
    data = dict(
        type='CocoFiles',
        ann_file=str(folder / ann),
        data_prefix=dict(img=str(folder)),
        pipeline=steps,
    )
    return _run(
        default_scope='mmdet',
        model=dict(
            type='ColourDetector',
            data_preprocessor=dict(type='DetDataPreprocessor'),
            bbox_head=dict(num_classes=classes),
        ),
        train_dataloader=_loader(**data),
        test_dataloader=_loader(**data, test_mode=True),
        test_evaluator=dict(type='CocoAP', ann_file=str(folder / ann), metric='bbox'),
    )


def classification_config(root, classes):
    """Return the config of a `ColourHead` on labelled images."""
    steps = [dict(type='LoadImage'), dict(type='PackInputs')]
    data = dict(type='LabelledImages', data_root=str(root), pipeline=steps)
    collate = dict(collate_fn=dict(type='default_collate'))
    return _run(
        default_scope='mmpretrain',
        model=dict(
            type='ImageClassifier',
            data_preprocessor=dict(type='ClsDataPreprocessor', num_classes=classes),
            backbone=dict(type='MeanColour'),
            head=dict(type='ColourHead', num_classes=classes),
        ),
        train_dataloader={**_loader(**data), **collate},
        test_dataloader={**_loader(**data, test_mode=True), **collate},
        test_evaluator=dict(type='ClassAccuracy'),
    )

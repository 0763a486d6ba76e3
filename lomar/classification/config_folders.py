"""Labelled images of a classification config: a user's folders, and the classes of the model."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from lomar.classification.labelled_images import LabelledImages, read_labelled
from lomar.datasets.class_names import (
    all_integers,
    defined_classes,
    enumerated,
    label_table,
    unknown_classes,
)
from lomar.datasets.config_classes import (
    class_heads,
    classes_of_unnamed,
    clear_model_classes,
    datasets_of,
    datasets_to_set,
    given_classes,
    given_in,
    set_head_classes,
    set_model_classes,
    wrong_counts,
)


def use_folders(
    cfg: Config,
    train: str | None = None,
    val: str | None = None,
    trained: Sequence[str] | None = None,
) -> None:
    """Set a user's labelled images in a config; validation images are also used for testing.

    The classes of the model and their number are those of the checkpoint to test, otherwise those
    that the config gives for training, otherwise those of `train`.

    Args:
        trained: classes of the checkpoint to test; () if it has no names; None for training.
    """
    clear_model_classes(cfg, LabelledImages)
    for split, root in dict(train=train, val=val, test=val).items():
        for dataset in datasets_to_set(cfg, split, LabelledImages, images=root):
            dataset.data_root = root or dataset.data_root
    classes = trained or given_in(cfg, 'train', LabelledImages)
    if trained is not None:
        classes = trained or classes_of_unnamed(cfg, LabelledImages, lambda one: _named(cfg, one))
    elif train and not classes:
        classes = defined_classes(train, *_labels(train))
    if classes:
        set_model_classes(cfg, LabelledImages, classes)
        set_head_classes(cfg, classes)


def check_folders(cfg: Config, splits: Sequence[str]) -> None:
    """Check that datasets and model agree in their classes before anything is built.

    The classes of the model are set in all datasets.
    """
    classes: Sequence[str] = ()
    for split in splits:
        trained: set[str] = set()
        for dataset in datasets_of(cfg, split, LabelledImages):
            root, given = dataset.data_root, given_classes(dataset)
            classes = classes or dataset.get('model_classes') or given or _named(cfg, dataset)
            if given and (problem := unknown_classes(given, classes)):
                raise ValueError(f'{split}_dataloader.dataset.metainfo.classes: {problem}')
            texts, is_list = _labels(root)
            label = label_table(root, texts, classes, is_list)
            trained |= {classes[label[text]] for text in texts}
        if split == 'train' and trained:
            _check_trained(texts, [name for name in classes if name not in trained])
    if classes:
        if wrong := wrong_counts(cfg, len(classes)):
            raise ValueError(
                f'the model has {wrong[0]}, and there are {len(classes)} classes in {root}; give '
                'your images with --train-images and --val-images, which set the number'
            )
        set_model_classes(cfg, LabelledImages, classes)


def _check_trained(texts: Sequence[str], untrained: Sequence[str]) -> None:
    """Raise a ValueError on classes without training images; a list of integers may lack some."""
    message = f'Labelled images: no training image has the classes {enumerated(untrained)}'
    if untrained and not all(text.isdecimal() for text in texts):
        raise ValueError(f'{message}; train_dataloader.dataset.metainfo.classes names them')
    if untrained:
        print_log(message, logger='current')


def _labels(root: str) -> tuple[list[str], bool]:
    """Return the labels in a folder or text list, and whether it is a text list."""
    return read_labelled(root)[0], Path(root).expanduser().is_file()


def _named(cfg: Config, dataset: ConfigDict) -> Sequence[str]:
    """Return the classes of a dataset; for indices, as many as the model has."""
    texts, is_list = _labels(dataset.data_root)
    heads = class_heads(cfg)
    if is_list and heads and all_integers(dataset.data_root, texts):
        return list(map(str, range(heads[0].num_classes)))
    return defined_classes(dataset.data_root, texts, is_list)

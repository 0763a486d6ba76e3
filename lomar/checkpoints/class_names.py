"""Class names that a checkpoint stores."""

from mmengine.runner import CheckpointLoader


def trained_classes(checkpoint: str) -> tuple[str, ...]:
    """Return the class names of a checkpoint in the order of its labels; () without any.

    Args:
        checkpoint: a file, a URL, or another name that mmengine's loader knows.
    """
    return stored_classes(CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu'))


def stored_classes(content: object) -> tuple[str, ...]:
    """Return the class names in the content of a checkpoint, as `trained_classes` does."""
    meta = content.get('meta') if isinstance(content, dict) else None
    if not isinstance(meta, dict):
        return ()
    # mmdet 2 and mmpretrain before 1.0 write CLASSES, and no `dataset_meta`.
    for found in (meta.get('dataset_meta'), meta):
        for key in ('classes', 'CLASSES'):
            names = found.get(key) if isinstance(found, dict) else None
            if names:
                return (names,) if isinstance(names, str) else tuple(map(str, names))
    return ()

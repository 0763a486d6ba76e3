"""Check the data of a detection or segmentation config, as training does before its first step."""

import argparse
import os

from lomar.cli.shared import add_config, add_mask_flags, add_max_dets, add_strict

MAX_CLASSES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    for split, what in (('train', 'training'), ('val', 'validation')):
        parser.add_argument(
            f'--{split}-ann', metavar='JSON', help=f'COCO annotations of the {what} images'
        )
        parser.add_argument(f'--{split}-images', metavar='DIR', help=f'folder of the {what} images')
        parser.add_argument(f'--{split}-masks', metavar='DIR', help=f'folder of the {what} masks')
    add_mask_flags(parser)
    add_max_dets(parser)
    add_strict(parser)


def run(args: argparse.Namespace) -> None:
    """Print counts, notes and errors; a ValueError if there are errors, or notes and --strict."""
    from lomar.detection import check_config, use_files
    from lomar.engine import read_config
    from lomar.engine.task_data import refuse_foreign_flags, segments
    from lomar.segmentation import check_masks, use_masks

    limit = {'max_dets': args.max_dets} if args.max_dets else {}
    cfg = read_config(args.config, {**(args.cfg_options or {}), **limit})
    cfg.default_scope = cfg.get('default_scope') or 'mmdet'
    refuse_foreign_flags(cfg, args)
    if segments(cfg):
        train, val = (args.train_images, args.train_masks), (args.val_images, args.val_masks)
        use_masks(cfg, train, val, args.classes, args.ignore_index, args.reduce_zero_label)
        if not check_masks(cfg, ('train', 'val'), bool(args.classes)):
            raise ValueError(
                'the config has no dataset of type MaskedImages, so there is nothing to check'
            )
        print('These masks can be trained on.')
        return
    use_files(cfg, args.train_ann, args.train_images, args.val_ann, args.val_images)
    reports = check_config(cfg)
    note_dark_images(cfg, reports)
    print(table(reports))
    for title in ('notes', 'errors'):
        lines = [line for one in reports.values() for line in getattr(one, title).lines()]
        if lines:
            print(f'\n{title}', *lines, sep='\n  ')
    if any(report.errors.kinds for report in reports.values()):
        raise ValueError('these datasets cannot be trained on')
    if args.strict and any(report.notes.kinds for report in reports.values()):
        raise ValueError('these datasets have notes, and --strict is given')
    print('\nThese datasets can be trained on.')


def note_dark_images(cfg, reports: dict) -> None:
    """Add a note to reports on images that the conversion to 8-bit RGB makes dark."""
    from lomar.datasets.color import dark_images

    if cfg.get('value_range') or (cfg.model.get('backbone') or {}).get('in_channels', 3) != 3:
        return
    for report in reports.values():
        names = [image['file_name'] for image in report.images.values() if image]
        if note := dark_images([os.path.join(report.image_folder, name) for name in names]):
            report.notes.add('images', note)


def table(reports: dict) -> str:
    """Return a table of counts per split, and of instances per class unless there are many."""
    columns = [
        {
            'images': len(report.images),
            'annotations': report.annotations,
            'objects': sum(report.instances().values()),
            **(report.instances() if len(report.categories) <= MAX_CLASSES else {}),
        }
        for report in reports.values()
    ]
    names = list(dict.fromkeys(name for column in columns for name in column))
    width = max(map(len, names))
    rows = [(name, *(column.get(name, '-') for column in columns)) for name in names]
    return '\n'.join(
        f'{name:{width}}' + ''.join(f'{value:>12}' for value in values)
        for name, *values in [('', *reports), *rows]
    )

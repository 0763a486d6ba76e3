"""Convert annotations of other formats to a COCO file: VOC, YOLO, KITTI, CVAT, LabelMe, masks."""

import argparse
import re

from lomar.cli.shared import add_overwrite

FORMATS = ('voc', 'yolo', 'kitti', 'cvat', 'labelme', 'masks', 'labelbox', 'lightly')
OPTIONS = dict(  # flags of one format only
    split=('voc', 'yolo'),
    first_pixel=('voc',),
    pair_by_stem=('voc',),
    layout=('masks',),
    void=('masks',),
    key=('labelbox',),
)
READ_ALL = ('labelme', 'lightly')  # formats with a folder of .json files
COCO = 'is COCO already: lomar train --train-ann; lomar check checks such a file'
MAX_CLASSES = 100  # that the table lists


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('format', metavar='FORMAT', type=format_name, help=', '.join(FORMATS))
    add('source', metavar='IN', help='file or folder of annotations (docs/annotations.md)')
    add('out', metavar='OUT.json', help='COCO file to write')
    add('--images', metavar='DIR', help='folder of the images (default: that of the format)')
    add(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='classes to take, in the order of their ids (default: all, in the order of the '
        'source, or sorted by name if it has none); for masks without class folders, the class',
    )
    add('--split', help='voc: list in ImageSets/Main; yolo: train, val or test of data.yaml')
    add(
        '--difficult',
        choices=('ignore', 'keep', 'drop'),
        default='ignore',
        help='objects marked as difficult become regions to ignore (iscrowd: 1) or ordinary '
        'objects, or are left out',
    )
    add(
        '--first-pixel',
        type=int,
        choices=(0, 1),
        help='voc: 1 = corners are pixels that count from 1; 0 = corners are coordinates from 0 '
        '(default: 1)',
    )
    add(
        '--pair-by-stem',
        action='store_true',
        default=None,
        help='voc: an image has the name of its XML file; <filename> is ignored',
    )
    add(
        '--layout',
        choices=('ids', 'objects', 'regions'),
        help='masks: one PNG per image whose values are objects, a folder per image with one PNG '
        'per object, or one PNG per image whose connected regions are objects (default: ids)',
    )
    add(
        '--void',
        type=int,
        metavar='N',
        help='masks: value from 0 to 65535 that is background, too, such as 255 in '
        'SegmentationObject of VOC',
    )
    add(
        '--key',
        choices=('global_key', 'external_id', 'id'),
        help='labelbox: key of a row with the name of the image file (default: global_key)',
    )
    add('--only-annotated', action='store_true', help='leave out images without annotations')
    add('--skip-errors', action='store_true', help='write the file without what has errors')
    add_overwrite(parser)


def format_name(text: str) -> str:
    """Return the format that a name means; labelformat's names are allowed, too."""
    name = 'yolo' if re.fullmatch(r'yolov\d+', text) else text
    name = 'voc' if name == 'pascalvoc' else name
    if name in ('coco', 'rtdetr', 'rtdetrv2'):
        raise argparse.ArgumentTypeError(f'{text} {COCO}')
    if name not in FORMATS:
        raise argparse.ArgumentTypeError(f'{text} found; allowed: {", ".join(FORMATS)}')
    return name


def run(args: argparse.Namespace) -> None:
    """Print a table and the findings, and write the file; a ValueError if there are errors."""
    from lomar.annotations import import_annotations
    from lomar.utils import check_new, check_suffix, write_json

    check_suffix('OUT.json', args.out, ('.json',))
    check_new('OUT.json', args.out, overwrite=args.overwrite, inputs=[args.source])
    check_apart(args)
    common = (args.images, args.classes or (), args.difficult, args.only_annotated)
    coco, report, folder = import_annotations(args.format, args.source, *common, **options(args))
    errors = report.errors.lines()
    if errors and not args.skip_errors:
        lines = ('There are errors; --skip-errors leaves these entries out:', *errors)
        raise ValueError('\n  '.join(lines))
    if not coco['images']:
        raise ValueError(f'there are no images in {folder}')
    write_json(args.out, coco, indent=None)
    print(table(coco))
    for title, found in (('notes', report.note_lines()), ('errors, left out', errors)):
        if found:
            print(f'\n{title}', *found, sep='\n  ')
    print(f'\n{args.out}: file names are relative to {folder}')


def check_apart(args: argparse.Namespace) -> None:
    """Raise a ValueError if the next import from IN would read the file that this one writes."""
    import os
    from pathlib import Path

    folder, out = os.path.realpath(args.source), Path(os.path.realpath(args.out))
    if args.format in READ_ALL and out.is_relative_to(folder):
        raise ValueError(
            f'OUT.json {args.out} is in {args.source}, where every .json file is an annotation of '
            f'{args.format}; allowed: another folder'
        )


def options(args: argparse.Namespace) -> dict:
    """Return the flags of the format that are given; a ValueError for those of other formats."""
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    for name in given:
        if args.format not in OPTIONS[name]:
            flag = f'--{name.replace("_", "-")}'
            raise ValueError(f'{flag} is for {" and ".join(OPTIONS[name])}, not for {args.format}')
    return given


def table(coco: dict) -> str:
    """Return the numbers of images, objects and masks, and of objects per class unless many."""
    from collections import Counter

    annotations = coco['annotations']
    used = {one['image_id'] for one in annotations}
    objects = Counter(one['category_id'] for one in annotations if not one['iscrowd'])
    rows = {
        'images': len(coco['images']),
        'without annotations': len(coco['images']) - len(used),
        'annotations': len(annotations),
        'with masks': sum('segmentation' in one for one in annotations),
        'to ignore (iscrowd)': sum(one['iscrowd'] for one in annotations),
        'objects': sum(objects.values()),
    }
    if len(coco['categories']) <= MAX_CLASSES:
        rows |= {f'  {one["name"]}': objects[one['id']] for one in coco['categories']}
    width = max(map(len, rows))
    return '\n'.join(f'{name:{width}} {number:>9}' for name, number in rows.items())

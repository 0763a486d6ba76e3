#!/usr/bin/env python
"""Check the COCO-format datasets of a detection config, as training does before its first step."""

import argparse
import sys

from mmengine.config import Config, DictAction

from lomar.detection import AnnotationReport, check_config, use_files

MAX_CLASSES = 100


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='detection config')
    for split in ('train', 'val'):
        parser.add_argument(f'--{split}-ann', metavar='FILE', help='COCO json to check instead')
        parser.add_argument(f'--{split}-images', metavar='DIR', help='folder of its images')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )
    return parser.parse_args()


def table(reports: dict[str, AnnotationReport]) -> str:
    """Counts, a column a split; instances by class unless there are very many classes."""
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


def main() -> None:
    args = parse_args()
    try:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        use_files(cfg, args.train_ann, args.train_images, args.val_ann, args.val_images)
        reports = check_config(cfg)
    except (OSError, ValueError) as error:
        sys.exit(f'tools/check_dataset.py: {error}')
    print(table(reports))
    for title in ('notes', 'errors'):
        lines = [line for one in reports.values() for line in getattr(one, title).lines()]
        if lines:
            print(f'\n{title}', *lines, sep='\n  ')
    if any(report.errors.kinds for report in reports.values()):
        sys.exit('\nThese datasets cannot be trained on.')
    print('\nThese datasets can be trained on.')


if __name__ == '__main__':
    main()

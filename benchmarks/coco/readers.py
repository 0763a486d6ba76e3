"""Read annotations in one way and print seconds and memory as JSON: readers.py WAY FOLDER.

The script imports nothing but the installed packages, so that an older checkout can be measured.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

CLASSES = tuple(f'class {number}' for number in range(80))  # those of generate.py


def with_json(folder: Path) -> Callable[[], list]:
    """Decode the file by Python's json and nothing else."""

    def read() -> list:
        with open(folder / 'annotations.json') as file:
            return [json.load(file)]

    return read


def with_mmdet(folder: Path) -> Callable[[], list]:
    """Build mmdet's CocoDataset, which checks nothing."""
    return lambda: [_build(folder, 'CocoDataset', metainfo=dict(classes=CLASSES))]


def check(folder: Path) -> Callable[[], list]:
    """Check the file and its images."""
    from lomar.detection import check_coco

    return lambda: [check_coco(str(folder / 'annotations.json'), str(folder / 'images'), True)]


def dataset(folder: Path) -> Callable[[], list]:
    """Build CocoFiles, which checks the file."""
    return lambda: [_build(folder, 'CocoFiles')]


def run(folder: Path) -> Callable[[], list]:
    """Do what a training does: take the classes from the file, check it, build the dataset."""
    from mmengine.config import Config

    from lomar.detection import check_config, stop_on_errors, use_files

    data = dict(type='CocoFiles', ann_file='', data_prefix=dict(img=''))
    heads = dict(bbox_head=dict(num_classes=0), mask_head=dict(num_classes=0))
    cfg = Config(dict(model=dict(roi_head=heads), train_dataloader=dict(dataset=data)))
    distributed = 'RANK' in os.environ
    cfg.launcher = 'pytorch' if distributed else 'none'
    cfg.env_cfg = dict(dist_cfg=dict(backend='gloo'))
    if distributed:
        from lomar.engine.distributed import start_processes

        start_processes(cfg.launcher, cfg.env_cfg)

    def read() -> list:
        use_files(cfg, str(folder / 'annotations.json'), str(folder / 'images'))
        stop_on_errors(check_config(cfg, ('train',)).values())
        return [_build(folder, 'CocoFiles', metainfo=dict(classes=CLASSES))]

    return read


def evaluations(folder: Path) -> Callable[[], list]:
    """Evaluate twice without detections, which takes the time of reading the ground truth."""
    from lomar.detection import CocoAP

    metric = CocoAP(str(folder / 'annotations.json'))
    metric.dataset_meta = dict(classes=CLASSES)
    return lambda: [metric.compute_metrics([]), metric.compute_metrics([])]


def _build(folder: Path, kind: str, **settings) -> object:
    from mmengine.registry import DATASETS, init_default_scope

    init_default_scope('mmdet')
    load = 'LoadInstances' if kind == 'CocoFiles' else 'LoadAnnotations'
    return DATASETS.build(
        dict(
            type=kind,
            ann_file=str(folder / 'annotations.json'),
            data_prefix=dict(img=str(folder / 'images')),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=[dict(type=load, with_bbox=True, with_mask=True)],
            **settings,
        )
    )


WAYS = dict(
    json=with_json, mmdet=with_mmdet, check=check, dataset=dataset, run=run, evaluations=evaluations
)


def peak_gb() -> float:
    """Return the peak memory of the process; `ru_maxrss` includes that of the process before it."""
    lines = Path('/proc/self/status').read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith('VmHWM'))
    return round(int(kilobytes) * 1024 / 1e9, 3)


def main() -> None:
    way, folder = sys.argv[1:]
    if way != 'json':
        from lomar.detection import CocoFiles, LoadInstances  # noqa: F401  (registers)
    with redirect_stdout(sys.stderr):
        read = WAYS[way](Path(folder))
        imported = peak_gb()
        wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        kept = read()
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_SELF)
    del kept
    found = dict(
        user_seconds=round(after.ru_utime - before.ru_utime, 2),
        system_seconds=round(after.ru_stime - before.ru_stime, 2),
        wall_seconds=round(wall, 2),
        imported_gb=imported,
        peak_gb=peak_gb(),
    )
    print(f'{os.environ.get("RANK", 0)} {json.dumps(found)}', flush=True)


if __name__ == '__main__':
    main()

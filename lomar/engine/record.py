"""What was tested, with what, and what came out: metrics.json."""

import hashlib
import json
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'mmpretrain')
FORKS = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmpretrain')


def write_metrics(runner, config: str, checkpoint: str) -> Path:
    """Write the results of `runner.test()` to `metrics.json` in its work dir.

    Figures are percent, None where there is nothing to measure. Beside them stand the config,
    the checkpoint and its SHA-256, versions, and the data.
    """
    dataset = runner.test_dataloader.dataset
    record = dict(
        config=str(config),
        checkpoint=str(checkpoint),
        checkpoint_sha256=hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest(),
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        versions=dict(python=platform.python_version(), **_versions()),
        dataset=str(dataset.ann_file or dataset.data_root),
        images=len(dataset),
        metrics=runner.test_evaluator.metrics[0].summary,
    )
    path = Path(runner.work_dir) / 'metrics.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + '\n')
    return path


def _versions() -> dict[str, str]:
    found = {}
    for name in (*PACKAGES, *FORKS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

"""The file metrics.json, which holds the results of a test run."""

from collections import ChainMap
from pathlib import Path

from torch.utils.data import Dataset

from lomar.checkpoints.measured import local_file
from lomar.engine.run_record import schedule_epochs
from lomar.provenance import installed, now
from lomar.utils import inner_datasets, sha256, write_json


def write_metrics(runner, config: str, checkpoint: str, results: dict) -> Path:
    """Write the results of `runner.test()`, which are `results`, to `metrics.json` in its work dir.

    Metrics are in percent; a metric without data is None. The file also contains the config, the
    architecture of the backbone, the length of the training in epochs (None for a checkpoint
    without a record), the checkpoint and its SHA-256, versions, the dataset, and whether test-time
    augmentation was used.
    """
    dataset, file = runner.test_dataloader.dataset, local_file(checkpoint)
    metrics = runner.test_evaluator.metrics
    model = runner.cfg.get('model', {})
    record = dict(
        config=str(config),
        arch=model.get('module', model).get('backbone', {}).get('arch'),
        epochs=schedule_epochs(runner.loaded_record),
        checkpoint=str(checkpoint),
        checkpoint_sha256=sha256(file) if file.is_file() else '',  # empty for a URL
        date=now(),
        versions=installed(),
        dataset=', '.join(_place(part) for part in inner_datasets(dataset)),
        images=len(dataset),
        tta=bool(runner.cfg.model.get('tta_cfg')),
        left_out=left_out_of(dataset),
        # Evaluators of other packages have no summary.
        metrics=getattr(metrics[0], 'summary', results) if len(metrics) == 1 else results,
    )
    path = Path(runner.work_dir) / 'metrics.json'
    write_json(path, record)
    return path


def left_out_of(dataset: Dataset) -> dict[str, str]:
    """Return the images that a test left out: the reason why one cannot be read, by its path."""
    return dict(ChainMap(*(getattr(part, 'left_out', {}) for part in inner_datasets(dataset))))


def _place(dataset: Dataset) -> str:
    return str(getattr(dataset, 'ann_file', '') or getattr(dataset, 'data_root', ''))

"""The file metrics.json, which holds the results of a test run."""

from pathlib import Path

from lomar.checkpoints.measured import local_file
from lomar.engine.run_record import schedule_epochs
from lomar.provenance import installed, now
from lomar.utils import sha256, write_json


def write_metrics(runner, config: str, checkpoint: str, results: dict) -> Path:
    """Write the results of `runner.test()`, which are `results`, to `metrics.json` in its work dir.

    Metrics are in percent; a metric without data is None. The file also contains the config, the
    architecture of the backbone, the length of the training in epochs (None for a checkpoint
    without a record), the checkpoint and its SHA-256, versions, the dataset, and whether test-time
    augmentation was used.
    """
    dataset, file = runner.test_dataloader.dataset, local_file(checkpoint)
    record = dict(
        config=str(config),
        arch=runner.cfg.get('model', {}).get('backbone', {}).get('arch'),
        epochs=schedule_epochs(runner.loaded_record),
        checkpoint=str(checkpoint),
        # empty for a URL
        checkpoint_sha256=sha256(file) if file.is_file() else '',
        date=now(),
        versions=installed(),
        dataset=str(dataset.ann_file or dataset.data_root),
        images=len(dataset),
        tta=bool(runner.cfg.model.get('tta_cfg')),
        left_out=getattr(dataset, 'left_out', {}),  # reason by path: images that cannot be read
        # Evaluators of other packages have no summary.
        metrics=getattr(runner.test_evaluator.metrics[0], 'summary', results),
    )
    path = Path(runner.work_dir) / 'metrics.json'
    write_json(path, record)
    return path

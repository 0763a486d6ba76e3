"""Backends of W&B and MLflow whose run a resumed training continues."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.utils import scandir
from mmengine.visualization import MLflowVisBackend, WandbVisBackend

from lomar.utils import write_json

RUN_IDS = 'trackers.json'  # in the work dir
MAX_PARAMS = 100  # that MLflow takes in one call


class RunIds:
    """Mixin of a backend that stores the id of its run in the work dir.

    A training that resumes from a checkpoint of this work dir continues the run.
    """

    tracker: str
    work_dir: Path
    quiet = False
    stored_id: str | None = None

    def find_run(self, config: Config) -> None:
        """Find the work dir of a training, and the run that it continues."""
        self.work_dir, self.quiet = Path(config.work_dir).resolve(), bool(config.get('quiet'))
        checkpoint = config.get('load_from')
        own = checkpoint is None or Path(checkpoint).resolve().parent == self.work_dir
        self.stored_id = self._ids().get(self.tracker) if config.get('resume') and own else None

    def _ids(self) -> dict[str, str]:
        path = self.work_dir / RUN_IDS
        return json.loads(path.read_text()) if path.exists() else {}

    def _store(self, run_id: str) -> None:
        write_json(self.work_dir / RUN_IDS, {**self._ids(), self.tracker: run_id})

    @contextmanager
    def _one_line(self, kind: type[Exception]) -> Iterator[None]:
        """Raise an error of the tracker at the start of its run as a ValueError in one line."""
        try:
            yield
        except kind as error:
            ids = f'; the run to continue is in {self.work_dir / RUN_IDS}' * bool(self.stored_id)
            text = ' '.join(str(error).split())
            raise ValueError(f'{self.tracker} cannot start its run: {text}{ids}') from error


@VISBACKENDS.register_module()
class ResumingWandbVisBackend(RunIds, WandbVisBackend):
    """mmengine's W&B backend with the files of its run in the work dir.

    The iteration is the x axis of charts. Unlike mmengine's, it uploads no source files.
    """

    tracker = 'wandb'
    _init_kwargs: dict | None
    _define_metric_cfg: dict | list | None

    def _init_env(self) -> None:
        import wandb

        run: dict[str, Any] = dict(dir=str(self.work_dir), id=self.stored_id, resume='allow')
        run['settings'] = dict(silent=self.quiet)
        self._init_kwargs = {**run, **(self._init_kwargs or {})}
        if self._define_metric_cfg is None:
            self._define_metric_cfg = [dict(name='*', step_metric='iter')]
        with self._one_line(wandb.Error):
            super()._init_env()
        self._store(wandb.run.id)

    def add_config(self, config: Config, **kwargs) -> None:
        """Start the run and record the config; a resumed training may change settings."""
        self.find_run(config)
        self.experiment.config.update(config.to_dict(), allow_val_change=True)

    def close(self) -> None:
        """End the run."""
        if hasattr(self, '_wandb'):
            self._wandb.finish()


@VISBACKENDS.register_module()
class ResumingMLflowVisBackend(RunIds, MLflowVisBackend):
    """mmengine's MLflow backend with a SQLite store in the work dir, unless it has a URI.

    The parameters of a run cannot be changed, so that a continued run keeps the first ones.
    """

    tracker = 'mlflow'
    _mlflow: Any

    def _init_env(self) -> None:
        import mlflow

        logging.getLogger('mlflow').setLevel(logging.WARNING)  # the tables that it creates
        uri, artifacts = self._tracking_uri, self._artifact_location
        if uri is None:
            uri = f'sqlite:///{self.work_dir / "mlflow.db"}'
            artifacts = artifacts or (self.work_dir / 'mlartifacts').as_uri()
        name = self._exp_name or 'Default'
        with self._one_line(mlflow.exceptions.MlflowException):
            mlflow.set_tracking_uri(uri)
            if mlflow.get_experiment_by_name(name) is None:
                mlflow.create_experiment(name, artifact_location=artifacts)
            mlflow.set_experiment(name)
            new = dict(run_name=self._run_name, tags=self._tags)
            run = mlflow.start_run(**dict(run_id=self.stored_id) if self.stored_id else new)
            if self._params and not self.stored_id:
                mlflow.log_params(self._params)
        self._mlflow = mlflow
        self._store(run.info.run_id)

    def add_config(self, config: Config, **kwargs) -> None:
        """Start the run and record the config, as parameters and as the artifact config.py."""
        self.find_run(config)
        mlflow = self.experiment
        if not self.stored_id:
            keys = config if self._tracked_config_keys is None else self._tracked_config_keys
            params = [*self._flatten({key: config[key] for key in keys}).items()]
            for start in range(0, len(params), MAX_PARAMS):
                mlflow.log_params(dict(params[start : start + MAX_PARAMS]))
        mlflow.log_text(config.pretty_text, 'config.py')

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        """Record an image (H, W, 3) as NAME/STEP.png."""
        super().add_image(f'{name}/{step:07d}.png', image, step)

    def close(self) -> None:
        """Upload log and config of this training, and end the run."""
        if hasattr(self, '_mlflow'):
            folder = Path(self._save_dir).parent
            for name in scandir(folder, self._artifact_suffix, recursive=True):
                place = Path(folder.name, name).parent
                self._mlflow.log_artifact(str(folder / name), str(place))
            self._mlflow.end_run()

"""mmengine's Runner that compares a resumed run with the run that wrote the checkpoint."""

from functools import partial
from logging import WARNING
from pathlib import Path

from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, CheckpointLoader
from mmengine.runner import Runner as MMEngineRunner

from lomar.checkpoints import origin
from lomar.checkpoints.class_names import stored_classes
from lomar.compat.dist import main_process
from lomar.engine.class_order import reordered
from lomar.engine.distributed import start_processes
from lomar.engine.loops import ReplayEpochLoop
from lomar.engine.pretrained_init import drop_pretrained
from lomar.engine.resume import (
    INTERRUPTED,
    Resumed,
    compare,
    latest_checkpoint,
    make_newest,
    read_resumed,
)
from lomar.engine.resume_state import parameter_names, restore
from lomar.engine.run_record import KEY, describe
from lomar.engine.work_dir_lock import WorkDirLock
from lomar.utils import unwrapped


class ResumingRunner(MMEngineRunner):
    """Runner that saves the settings of a training, and compares them when it resumes.

    Only the main process reads the record of the checkpoint and the data.
    """

    saved_step: int | None = None  # of the last checkpoint to resume from that this run saved
    saved_file: Path | None = None
    _first_iter = 0
    _load_from: str | None  # these two are mmengine's
    _resume: bool
    _resumed: Resumed | None = None
    _record: dict | None = None  # of this run
    _started_from: list[dict] | None = None  # record of the loaded checkpoint
    _locked = False
    _lock: WorkDirLock | None = None  # of the main process

    def __init__(self, model, work_dir: str, *args, resume: bool = False, **kwargs):
        if resume:  # before anything is built, because the checkpoint may have the seed
            start_processes(kwargs.get('launcher', 'none'), kwargs.get('env_cfg') or {})
            read = partial(read_resumed, kwargs.get('load_from'), work_dir)
            self._resumed = main_process.share(read, 'reading of the checkpoint to resume')
            if self._resumed is None:
                print_log(f'Nothing to resume in {work_dir}: starting afresh', level=WARNING)
            else:
                kwargs['load_from'] = self._resumed.file
        resume = self._resumed is not None
        super().__init__(model, work_dir, *args, resume=resume, **kwargs)

    @property
    def has_trained(self) -> bool:
        """Return whether this run has made a step; steps before a resumption do not count."""
        return self.iter > self._first_iter

    def set_randomness(self, seed: int | None, **kwargs) -> None:
        """Set the seed as mmengine does; a resumed run without a seed has the checkpoint's."""
        if seed is None and self._resumed:
            seed = self._resumed.meta.get('seed')
        super().set_randomness(seed, **kwargs)

    def dump_config(self) -> None:
        """Save the config of a training in the work dir, unless the config file itself is there.

        A test must not replace the config of the training whose checkpoint it reads. The config of
        a resumed run is saved only when it has been compared. mmengine's visualizer saves the
        config of every run beside its log.
        """
        if self._train_loop is None:
            return
        if not self._locked:  # the first file of the run follows
            self._locked = True
            main_process.share(self._lock_work_dir, 'lock of the work dir')
        if self._resumed and not self._record:
            return
        name = self.cfg.filename
        if name and Path(self.work_dir).resolve() == Path(name).resolve().parent:
            self.logger.info(
                f'{name} is kept; this run saves its config in {self.log_dir}/vis_data'
            )
        else:
            super().dump_config()

    def _lock_work_dir(self) -> None:
        self._lock = WorkDirLock(self.work_dir)

    def build_train_loop(self, loop) -> BaseLoop:
        """Build mmengine's training loop, and compare the run with that of the checkpoint.

        Raises:
            ValueError: the settings are not those of the checkpoint to resume from.
        """
        if isinstance(loop, dict) and loop.get('type') == 'EpochBasedTrainLoop':
            loop = {**loop, 'type': ReplayEpochLoop}
        loop = super().build_train_loop(loop)
        record = partial(describe, self.cfg, loop, self.seed, self.world_size)
        self._record = main_process.share(record, 'record of the settings')
        if self._resumed:
            accept = bool(self.cfg.get('accept_changes'))
            for note in compare(self._resumed, self._record, accept):
                self.logger.warning(note)
            learnt = stored_classes(dict(meta=self._resumed.meta))
            if note := reordered(learnt, loop.dataloader.dataset):  # an accepted change
                self.logger.warning(f'{self._resumed.file}: {note}')
            self.dump_config()
        return loop

    def _init_model_weights(self) -> None:
        if self._resumed:
            drop_pretrained(self.model)
        super()._init_model_weights()

    def save_checkpoint(
        self, out_dir: str, filename: str, *args, meta: dict | None = None, **kwargs
    ) -> None:
        """Save as mmengine does, with the record of the run."""
        names = parameter_names(self.optim_wrapper, unwrapped(self.model))
        run = {KEY: dict(self._record or {}, parameters=names), origin.KEY: self._starts()}
        meta = dict(meta or {}, **run)
        super().save_checkpoint(out_dir, filename, *args, meta=meta, **kwargs)
        if kwargs.get('save_optimizer', True):
            self.saved_step, self.saved_file = meta['iter'], Path(out_dir, filename)
            if is_main_process():
                if filename != INTERRUPTED:
                    Path(self.work_dir, INTERRUPTED).unlink(missing_ok=True)
                if self.saved_file.is_file():  # not in remote storage
                    make_newest(self.saved_file)

    def _starts(self) -> list[dict]:
        """Return the record of the weights that the training started from."""
        if self._resumed:
            found = origin.starts(dict(meta=self._resumed.meta))
        elif self._started_from is not None:
            return self._started_from
        else:
            found = origin.starts_of_config(self.cfg)
        return [each._asdict() for each in found]

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Load a checkpoint, and go on from its position with the schedule of the config."""
        assert self._resumed
        restore(self, self._resumed, CheckpointLoader.load_checkpoint(filename, get_device()))
        self._has_loaded = True

    def load_or_resume(self) -> None:
        """Load or resume as mmengine does; steps before a resumption do not count as trained."""
        trains_anew = self._train_loop is not None and not self._resume
        if trains_anew and (old := latest_checkpoint(self.work_dir)):
            self.logger.warning(
                f'{old} is of an earlier run, whose checkpoints this one replaces. To continue the '
                'earlier run, use --resume; to keep it, another --work-dir'
            )
        super().load_or_resume()
        self._first_iter = self.iter

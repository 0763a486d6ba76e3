"""mmengine's Runner with a start-up log; learning-rate scaling includes accumulation."""

import platform
from logging import WARNING, FileHandler
from pathlib import Path

import mmcv
import mmengine
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger, print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, CheckpointLoader
from mmengine.runner import Runner as MMEngineRunner
from torch import nn

from lomar.checkpoints import rename, unwrap
from lomar.compat.amp import loop_autocast
from lomar.compat.dist import main_process
from lomar.datasets import InfiniteReplaySampler
from lomar.engine.class_order import check_order, classes_of
from lomar.engine.distributed import SHARDED, is_sharded, shard, shard_state, start_processes
from lomar.engine.load_weights import load_weights, transfer_settings
from lomar.engine.resume import Resumed, compare, latest_checkpoint, read_resumed
from lomar.engine.resume_state import parameter_names, restore
from lomar.engine.run_record import KEY, describe
from lomar.engine.schedule import Length, check_lowest_rates, resolve_schedule
from lomar.engine.setting_checks import check_sampler
from lomar.engine.unreadable_images_hook import UnreadableImagesHook
from lomar.models.absolute_positions import LearnedPositions
from lomar.utils import unwrapped


@RUNNERS.register_module(name='LoMaRRunner')
class Runner(MMEngineRunner):
    """Runner that `lomar train` and `lomar test` use for every task."""

    _first_iter = 0
    _load_from: str | None  # these two are mmengine's
    _resume: bool
    _resumed: Resumed | None = None
    _record: dict | None = None  # of this run

    def __init__(self, *args, work_dir: str, resume: bool = False, **kwargs):
        if resume:  # before anything is built: the checkpoint may have the seed
            start_processes(kwargs.get('launcher', 'none'), kwargs.get('env_cfg') or {})
            self._resumed = main_process.share(
                lambda: read_resumed(kwargs.get('load_from'), work_dir),
                'reading of the checkpoint to resume',
            )
            if self._resumed is None:
                print_log(f'Nothing to resume in {work_dir}: starting afresh', level=WARNING)
            else:
                kwargs['load_from'] = self._resumed.file
        resume = self._resumed is not None
        super().__init__(*args, work_dir=work_dir, resume=resume, **kwargs)

    @property
    def has_trained(self) -> bool:
        """Return whether this run has made a step; steps before a resumption do not count."""
        return self.iter > self._first_iter

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build mmengine's logger; with `quiet` in the config, the terminal shows warnings only."""
        logger = super().build_logger(*args, **kwargs)
        if self.cfg.get('quiet'):
            for handler in logger.handlers:
                if not isinstance(handler, FileHandler):
                    handler.setLevel(max(handler.level, WARNING))
        return logger

    def _log_env(self, env_cfg: dict) -> None:
        """Log versions and device in one line; the whole config is saved in the work dir."""
        if torch.cuda.is_available():
            device = f'{self.world_size} x {torch.cuda.get_device_name()}'
        else:
            device = f'{self.world_size} x CPU with {torch.get_num_threads()} threads'
        self.logger.info(
            f'Python {platform.python_version()}, torch {torch.__version__}, mmengine '
            f'{mmengine.__version__}, mmcv {mmcv.__version__}, {device}, seed {self.seed}'
        )

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the environment, and the timeout `env_cfg.main_process_minutes`."""
        start_processes(self.launcher, env_cfg)
        super().setup_env(env_cfg)

    def dump_config(self) -> None:
        """Save the config in the work dir, unless the config file itself is there.

        The config of a resumed run is saved only when it has been compared.
        """
        name = self.cfg.filename
        if name and Path(self.work_dir).resolve() == Path(name).resolve().parent:
            self.logger.info(f'{name} is not replaced by the config of this run')
        elif self._record or not self._resumed:
            super().dump_config()

    def set_randomness(self, seed: int | None, **kwargs) -> None:
        """Set the seed as mmengine does; a resumed run without a seed has the checkpoint's."""
        if seed is None and self._resumed:
            seed = self._resumed.meta.get('seed')
        super().set_randomness(seed, **kwargs)

    def scale_lr(self, optim_wrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale learning rates by GPUs x batch x accumulation / `base_batch_size`.

        mmengine ignores the accumulation.
        """
        if not auto_scale_lr or not auto_scale_lr.get('enable'):
            return
        batch = self._train_dataloader['batch_size']
        effective = self.world_size * batch * optim_wrapper._accumulative_counts
        ratio = effective / auto_scale_lr['base_batch_size']
        schedulers = self.param_schedulers or []
        for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
            if scheduler.get('eta_max'):
                raise ValueError(
                    f'--auto-scale-lr: param_scheduler has eta_max={scheduler["eta_max"]} '
                    f'({scheduler["type"]}), a rate that is not scaled; allowed: other schedulers, '
                    'or another eta_max without --auto-scale-lr'
                )
            # MAE's lowest learning rate is independent of the batch size.
            if scheduler.get('eta_min_ratio'):
                scheduler['eta_min_ratio'] /= ratio
        self.logger.info(
            f'Learning rates multiplied by {ratio:g}: the effective batch size is {effective}, '
            f'base_batch_size is {auto_scale_lr["base_batch_size"]}'
        )
        groups = optim_wrapper.optimizer.param_groups
        # mmengine schedules these settings, too, and logs them as base_lr; None with one group.
        logged = getattr(optim_wrapper, 'base_param_settings', None)
        for group in [*groups, logged] if logged else groups:
            group['lr'] *= ratio

    def build_param_scheduler(self, scheduler) -> list | dict:
        """Build mmengine's schedulers for the length of the training; see `resolve_schedule`."""
        resolved = resolve_schedule(scheduler, Length.of(self.train_loop))
        groups = self.optim_wrapper.optimizer.param_groups
        check_lowest_rates(resolved, [group.get('initial_lr', group['lr']) for group in groups])
        try:
            return super().build_param_scheduler(resolved)
        except (AssertionError, TypeError, ValueError) as error:
            raise ValueError(f'param_scheduler: {error}') from error

    def register_hooks(self, default_hooks=None, custom_hooks=None) -> None:
        """Register mmengine's and the config's hooks, and for training `UnreadableImagesHook`."""
        super().register_hooks(default_hooks, custom_hooks)
        given = any(isinstance(hook, UnreadableImagesHook) for hook in self.hooks)
        if self._train_dataloader is not None and not given:
            self.register_hook(UnreadableImagesHook())

    def build_train_loop(self, loop) -> BaseLoop:
        """Build mmengine's training loop; refuse data or a resumption that cannot be trained on.

        Raises:
            ValueError: the dataset has no complete batch, the sampler does not fit, or the settings
                are not those of the checkpoint to resume from.
        """
        if isinstance(loop, dict):
            check_sampler(self._train_dataloader, loop)
        loop = super().build_train_loop(loop)
        self._check_batch(loop)
        self._record = main_process.share(
            lambda: describe(self.cfg, loop, self.seed, self.world_size), 'record of the settings'
        )
        if self._resumed:
            note = compare(self._resumed, self._record, bool(self.cfg.get('accept_changes')))
            if note:
                self.logger.warning(note)
            self.dump_config()
        return loop

    def _check_batch(self, loop) -> None:
        loader = loop.dataloader
        if isinstance(loader.sampler, (InfiniteReplaySampler, InfiniteSampler)):
            return  # its batches continue across epochs, so that all are complete
        share, batch = len(loader.sampler), loader.batch_size
        if loader.drop_last and share < batch:
            raise ValueError(
                f'train_dataloader.batch_size is {batch}, but {len(loader.dataset)} training '
                f'images on {self.world_size} process(es) give only {share} images per process, '
                'and drop_last=True drops incomplete batches; allowed: '
                f'train_dataloader.batch_size={share} or less'
            )

    def build_val_loop(self, loop) -> BaseLoop:
        """Build mmengine's loop; refuse a dtype that mixed precision lacks, and other classes."""
        loop = super().build_val_loop(loop)
        loop_autocast(getattr(loop, 'fp16', False))
        if isinstance(self._train_loop, BaseLoop):
            check_order(classes_of(self._train_loop.dataloader.dataset), loop.dataloader.dataset)
        return loop

    def wrap_model(self, model_wrapper_cfg: dict | None, model: BaseModel) -> nn.Module:
        """Wrap the model as mmengine does; shard it for the type 'FullySharded'."""
        if self.distributed:
            self._adopt_positions(model)
        if (model_wrapper_cfg or {}).get('type') != SHARDED or not self.distributed:
            return super().wrap_model(model_wrapper_cfg, model)
        if self._train_loop is not None:
            model.init_weights()  # draws whole tensors, equal in all processes
        return shard(model.to(get_device()))

    def _adopt_positions(self, model: nn.Module) -> None:
        """Resize `pos_embed` to the file to load, before a wrapper allocates gradient buckets."""
        backbone = getattr(model, 'backbone', None)
        if not isinstance(backbone, LearnedPositions) or not hasattr(backbone, 'pos_embed'):
            return
        name = self._load_from
        if name and backbone.pretrain_img_size != backbone.img_size:
            content = CheckpointLoader.load_checkpoint(name, 'cpu')
            weights = rename(unwrap(content, transfer_settings(self.cfg).get('weights', 'plain')))
            backbone.adopt_positions(weights.get('pos_embed'))

    def _init_model_weights(self) -> None:
        if not is_sharded(self.model):  # `wrap_model` initialized a sharded model
            super()._init_model_weights()

    def build_optim_wrapper(self, optim_wrapper) -> OptimWrapper:
        """Build mmengine's wrapper; for a sharded model, its state dicts contain whole tensors."""
        wrapper = super().build_optim_wrapper(optim_wrapper)
        counts, loop = wrapper._accumulative_counts, self._train_loop
        if isinstance(loop, BaseLoop) and counts > loop.max_iters:
            raise ValueError(
                f'optim_wrapper.accumulative_counts is {counts}, and the training has '
                f'{loop.max_iters} steps; allowed: at most their number'
            )
        if is_sharded(self.model):
            shard_state(wrapper.optimizer)
        return wrapper

    def save_checkpoint(
        self, *args, save_optimizer: bool = True, meta: dict | None = None, **kwargs
    ) -> None:
        """Save in the main process as mmengine does, with the record of the run.

        With sharding, the other processes send their shards.
        """
        if is_sharded(self.model) and not is_main_process():
            self.model.state_dict()
            if save_optimizer:
                self.optim_wrapper.state_dict()
        names = parameter_names(self.optim_wrapper, unwrapped(self.model))
        meta = dict(meta or {}, **{KEY: dict(self._record or {}, parameters=names)})
        super().save_checkpoint(*args, save_optimizer=save_optimizer, meta=meta, **kwargs)

    def load_checkpoint(self, filename: str, map_location='cpu', **kwargs):
        """Load weights for testing, or as initialization of another task; see `load_weights`."""
        content = CheckpointLoader.load_checkpoint(filename, map_location)
        load_weights(self, filename, content)
        # mmengine's EMAHook starts its average from these weights.
        weights = unwrapped(self.model).state_dict()
        self.call_hook('after_load_checkpoint', checkpoint=dict(state_dict=weights))
        self._has_loaded = True
        return content

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Load a checkpoint, and go on from its position with the schedule of the config."""
        assert self._resumed
        content = CheckpointLoader.load_checkpoint(filename, get_device())
        restore(self, self._resumed, content)
        self._has_loaded = True

    def load_or_resume(self) -> None:
        """Load or resume as mmengine does; steps before a resumption do not count as trained."""
        if not self._resume and (old := latest_checkpoint(self.work_dir)):
            self.logger.warning(
                f'{old} is of an earlier run, whose checkpoints this one replaces. To continue the '
                'earlier run, use --resume; to keep it, another --work-dir'
            )
        super().load_or_resume()
        self._first_iter = self.iter

"""The runner of trainings and tests: mmengine's, with checks, own hooks, transfer and sharding."""

import copy
import platform
from contextlib import ExitStack
from logging import WARNING, FileHandler

import mmcv
import mmengine
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, convert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, CheckpointLoader
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

from lomar.checkpoints import origin, rename, unwrap
from lomar.compat.amp import loop_autocast
from lomar.datasets import use_value_range
from lomar.datasets.readable import replayed
from lomar.engine.class_order import check_order, classes_of
from lomar.engine.data_workers import protect_workers
from lomar.engine.distributed import (
    SHARDED,
    is_sharded,
    shard,
    shard_state,
    start_processes,
    step_minutes,
)
from lomar.engine.finite_loss_hook import FiniteLossHook
from lomar.engine.host_errors import naming_key
from lomar.engine.interrupted_evaluation import InterruptedEvaluationHook
from lomar.engine.load_weights import load_weights, transfer_settings
from lomar.engine.model_checks import check_model
from lomar.engine.pretrained_init import drop_pretrained
from lomar.engine.resuming_runner import ResumingRunner
from lomar.engine.run_record import KEY
from lomar.engine.schedule import Length, check_lowest_rates, resolve_schedule, target
from lomar.engine.setting_checks import check_batches, check_sampler
from lomar.engine.step_limit_hook import StepLimitHook
from lomar.engine.stop_signal_hook import StopSignalHook
from lomar.engine.stopped import explained
from lomar.engine.unreadable_images_hook import UnreadableImagesHook
from lomar.models.absolute_positions import LearnedPositions
from lomar.utils import undisturbed_rng, unwrapped


@RUNNERS.register_module(name='LoMaRRunner')
class Runner(ResumingRunner):
    """Runner that `lomar train` and `lomar test` use for every task."""

    _before_model = ExitStack()  # what ends before the model is built
    loaded_record: dict | None = None  # of the training of the loaded checkpoint

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'Runner':
        """Build a run as mmengine does, with the keys `value_range` and `max_dets` of the config.

        The commands of this package have applied them; tools of other projects have not.
        """
        cfg = copy.deepcopy(cfg)
        use_value_range(cfg)
        if cfg.get('max_dets') is not None:
            from lomar.detection import has_max_dets, use_max_dets  # imports mmdet

            if not has_max_dets(cfg):
                use_max_dets(cfg, {})
        return super().from_cfg(cfg)

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
        with naming_key('env_cfg'):
            super().setup_env(env_cfg)

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
            if not isinstance(scheduler, dict) or target(scheduler) != 'lr':
                continue
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
        with naming_key('param_scheduler'):
            return super().build_param_scheduler(resolved)

    def register_hooks(self, default_hooks=None, custom_hooks=None) -> None:
        """Register mmengine's and the config's hooks, and those of every training."""
        with naming_key('default_hooks and custom_hooks'):
            super().register_hooks(default_hooks, custom_hooks)
        if self._train_dataloader is not None:
            for kind in (UnreadableImagesHook, FiniteLossHook):
                if not any(isinstance(hook, kind) for hook in self.hooks):
                    self.register_hook(kind())
            self.register_hook(StopSignalHook())
            self.register_hook(StepLimitHook(step_minutes(self.cfg.get('env_cfg') or {})))
            self.register_hook(InterruptedEvaluationHook())

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Call hooks as mmengine does; an error of settings in `before_run` is one line."""
        if fn_name != 'before_run':
            super().call_hook(fn_name, **kwargs)
            return
        for hook in self.hooks:
            with naming_key(f'default_hooks and custom_hooks ({type(hook).__name__})'):
                hook.before_run(self)

    @staticmethod
    def build_dataloader(dataloader, *args, **kwargs) -> DataLoader:
        """Build mmengine's dataloader; an error in its settings is one line."""
        with naming_key('dataloader'):
            loader = ResumingRunner.build_dataloader(dataloader, *args, **kwargs)
        return protect_workers(replayed(loader))

    def train(self) -> nn.Module:
        """Train as mmengine does; afterwards, signals have their former effect.

        Raises:
            TrainingStopped: the disk is full, or a worker or another process has ended.
        """
        try:
            with explained(self.work_dir):
                return super().train()
        finally:
            for hook in self.hooks:
                if isinstance(hook, StopSignalHook | StepLimitHook):
                    hook.close()
            if self._lock:
                self._lock.release()

    def test(self) -> dict:
        """Test as mmengine does; errors are those of `train`."""
        with explained(self.work_dir, trains=False):
            return super().test()

    def build_train_loop(self, loop) -> BaseLoop:
        """Build mmengine's training loop; refuse unfit samplers and less than one full batch."""
        if isinstance(loop, dict) and isinstance(self._train_dataloader, dict):
            check_sampler(self._train_dataloader, loop)
        loop = super().build_train_loop(loop)
        check_batches(loop.dataloader, self.world_size)
        return loop

    def build_val_loop(self, loop) -> BaseLoop:
        """Build mmengine's loop; refuse a dtype that mixed precision lacks, and other classes."""
        loop = super().build_val_loop(loop)
        loop_autocast(getattr(loop, 'fp16', False))
        if isinstance(self._train_loop, BaseLoop):
            check_order(classes_of(self._train_loop.dataloader.dataset), loop.dataloader.dataset)
        return loop

    def build_visualizer(self, visualizer=None) -> Visualizer:
        """Build mmengine's visualizer; trackers, which may seed generators, change no weights."""
        with naming_key('visualizer'):
            visualizer = super().build_visualizer(visualizer)
        self._before_model = ExitStack()
        self._before_model.enter_context(undisturbed_rng(get_device()))
        return visualizer

    def build_model(self, model) -> nn.Module:
        """Build the model as mmengine does; refuse parts that do not fit."""
        self._before_model.close()
        try:
            with naming_key('model'):
                built = super().build_model(model)
                check_model(built)
        except TypeError as error:  # an unknown or missing argument of a part of this package
            raise ValueError(f'model: {error}') from error
        return built

    def wrap_model(self, model_wrapper_cfg: dict | None, model: BaseModel) -> nn.Module:
        """Wrap the model as mmengine does; shard it for the type 'FullySharded'."""
        if self.distributed:
            self._adopt_positions(model)
        if (model_wrapper_cfg or {}).get('type') != SHARDED or not self.distributed:
            if model_wrapper_cfg and self.cfg.get('find_unused_parameters'):
                # mmengine reads this key only without a `model_wrapper_cfg`.
                model_wrapper_cfg = dict(find_unused_parameters=True) | model_wrapper_cfg
            with naming_key('model_wrapper_cfg'):
                return super().wrap_model(model_wrapper_cfg, model)
        if self.cfg.get('sync_bn'):
            model = convert_sync_batchnorm(model, self.cfg.sync_bn)
        if self._train_loop is not None:
            if self._resumed:
                drop_pretrained(model)
            model.init_weights()  # draws whole tensors, equal in all processes
        model = model.to(get_device())
        shard(unwrapped(model))  # which the wrapper for test-time augmentation calls
        return model

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
        with naming_key('optim_wrapper'):
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

    def save_checkpoint(self, *args, save_optimizer: bool = True, **kwargs) -> None:
        """Save in the main process as mmengine does; the others send their shards."""
        if is_sharded(self.model) and not is_main_process():
            self.model.state_dict()
            if save_optimizer:
                self.optim_wrapper.state_dict()
        super().save_checkpoint(*args, save_optimizer=save_optimizer, **kwargs)

    def load_checkpoint(self, filename: str, map_location='cpu', **kwargs):
        """Load weights for testing, or as initialization of another task; see `load_weights`."""
        content = CheckpointLoader.load_checkpoint(filename, map_location)
        load_weights(self, filename, content)
        self.loaded_record = (content.get('meta') or {}).get(KEY)
        self._started_from = origin.record(filename, content)
        # mmengine's EMAHook starts its average from these weights.
        weights = unwrapped(self.model).state_dict()
        self.call_hook('after_load_checkpoint', checkpoint=dict(state_dict=weights))
        self._has_loaded = True
        return content

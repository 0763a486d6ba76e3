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
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, CheckpointLoader
from torch import nn

from lomar.checkpoints import rename, transfer_model, unwrap
from lomar.checkpoints.class_names import stored_classes
from lomar.checkpoints.files import misfit_as_value_error, naming
from lomar.checkpoints.trained_settings import changes
from lomar.checkpoints.unwrap import shapes
from lomar.compat.amp import loop_autocast
from lomar.datasets import InfiniteReplaySampler
from lomar.engine.class_order import advising_on_classes, check_order, classes_of, reordered
from lomar.engine.distributed import SHARDED, is_sharded, shard, shard_state, start_processes
from lomar.engine.resuming_runner import ResumingRunner
from lomar.engine.schedule import Length, check_lowest_rates, resolve_schedule
from lomar.engine.setting_checks import check_sampler
from lomar.engine.unreadable_images_hook import UnreadableImagesHook
from lomar.models.absolute_positions import LearnedPositions
from lomar.utils import unwrapped


@RUNNERS.register_module(name='LoMaRRunner')
class Runner(ResumingRunner):
    """Runner that `lomar train` and `lomar test` use for every task."""

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
        """Build mmengine's training loop; refuse unfit samplers and less than one full batch."""
        if isinstance(loop, dict) and isinstance(self._train_dataloader, dict):
            check_sampler(self._train_dataloader, loop)
        loop = super().build_train_loop(loop)
        loader = loop.dataloader
        if isinstance(loader.sampler, (InfiniteReplaySampler, InfiniteSampler)):
            return loop  # its batches continue across epochs, so that all are complete
        share, batch = len(loader.sampler), loader.batch_size
        if loader.drop_last and share < batch:
            raise ValueError(
                f'train_dataloader.batch_size is {batch}, but {len(loader.dataset)} training '
                f'images on {self.world_size} process(es) give only {share} images per process, '
                'and drop_last=True drops incomplete batches; allowed: '
                f'train_dataloader.batch_size={share} or less'
            )
        return loop

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
            weights = rename(unwrap(content, self._transfer.get('weights', 'plain')))
            backbone.adopt_positions(weights.get('pos_embed'))

    def dump_config(self) -> None:
        """Write the config of the run to the work dir, unless the config file itself is there."""
        name = self.cfg.filename
        if name and Path(self.work_dir).resolve() == Path(name).resolve().parent:
            self.logger.info(f'{name} is not replaced by the config of this run')
        else:
            super().dump_config()

    @property
    def _transfer(self) -> dict:
        return self.cfg.get('transfer') or {}

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

    def save_checkpoint(self, *args, save_optimizer: bool = True, **kwargs) -> None:
        """Save in the main process as mmengine does; the others send their shards."""
        if is_sharded(self.model) and not is_main_process():
            self.model.state_dict()
            if save_optimizer:
                self.optim_wrapper.state_dict()
        super().save_checkpoint(*args, save_optimizer=save_optimizer, **kwargs)

    def load_checkpoint(self, filename: str, map_location='cpu', **kwargs):
        """Load weights for testing, or as initialization of another task.

        For testing, the file must have all weights of the model. For training, the backbone is
        loaded from the file, which may come from another project.

        Raises:
            ValueError: weights for testing do not fit, their classes are not the tested ones, or
                the file has no state dict.
            TransferError: weights for training do not fit. `transfer=dict(allow=[...])` in the
                config lists patterns of names that may be missing or unexpected; `weights='ema'`
                in it takes the moving average that is beside plain weights.
        """
        content = CheckpointLoader.load_checkpoint(filename, map_location)
        model = unwrapped(self.model)
        learnt = stored_classes(content)
        with naming(filename), advising_on_classes(learnt), misfit_as_value_error():
            weights = unwrap(content, self._transfer.get('weights', 'plain'))
            if self._train_loop is None:
                check_order(learnt, self.test_dataloader.dataset)
            if self._train_loop is None or shapes(weights) == shapes(model.state_dict()):
                model.load_state_dict(weights)
                self.logger.info(f'All weights of the model loaded from {filename}')
            else:
                report = transfer_model(weights, model, self._transfer.get('allow', ()))
                self.logger.info(f'{report.loaded} loaded from {filename}:\n{report}')
                if report.misfits:
                    self.logger.warning(
                        f'{len(report.misfits)} weights of {filename} have other shapes than in '
                        f'this model, which starts with new ones: {", ".join(report.misfits)}'
                    )
            self._check_settings(content)
        training = isinstance(self._train_loop, BaseLoop)
        if training and (note := reordered(learnt, self._train_loop.dataloader.dataset)):
            self.logger.warning(f'{filename}: {note}')
        # mmengine's EMAHook starts its average from these weights.
        self.call_hook('after_load_checkpoint', checkpoint=dict(state_dict=model.state_dict()))
        self._has_loaded = True
        return content

    def _check_settings(self, content: dict) -> None:
        """Compare settings that the shapes of the weights do not show with those of the training.

        Other heads or relative positions, and for testing another normalization, raise a
        ValueError unless `transfer.allow` lists them. Training with another normalization gets a
        warning.
        """
        for change in changes(content, self.cfg.get('model')):
            if change.key in self._transfer.get('allow', ()):
                continue
            if self._train_loop is None or change.key.startswith('backbone.'):
                raise ValueError(
                    f'{change}, which the shapes of the weights do not show; allowed: the value of '
                    f"the training, or transfer=dict(allow=['{change.key}'])"
                )
            self.logger.warning(f'{change}: the weights know images of the former')

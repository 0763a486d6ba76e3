"""mmengine's Runner with a readable start and a batch size that counts accumulation."""

import platform
import re
from pathlib import Path

import mmcv
import mmengine
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, CheckpointLoader
from mmengine.runner import Runner as MMEngineRunner
from torch import nn

from lomar.checkpoints import transfer_backbone
from lomar.checkpoints.transfer import backbone_weights
from lomar.compat.amp import loop_autocast
from lomar.compat.dist import main_process
from lomar.datasets import InfiniteReplaySampler
from lomar.engine.distributed import SHARDED, is_sharded, shard, shard_state

MAIN_PROCESS_MINUTES = 120  # for a probe of many labelled images, or an evaluation of many


@RUNNERS.register_module(name='LoMaRRunner')
class Runner(MMEngineRunner):
    """Runner that `tools/train.py` uses for every task."""

    def _log_env(self, env_cfg: dict) -> None:
        """Say in one line where the run happens; the whole config lies in the work dir."""
        if torch.cuda.is_available():
            device = f'{self.world_size} x {torch.cuda.get_device_name()}'
        else:
            device = f'{self.world_size} x CPU with {torch.get_num_threads()} threads'
        self.logger.info(
            f'Python {platform.python_version()}, torch {torch.__version__}, mmengine '
            f'{mmengine.__version__}, mmcv {mmcv.__version__}, {device}, seed {self.seed}'
        )

    def setup_env(self, env_cfg: dict) -> None:
        """mmengine's, and `env_cfg.main_process_minutes`: the limit on waiting for that process.

        Raises:
            ValueError: no positive number of minutes.
        """
        minutes = env_cfg.get('main_process_minutes', MAIN_PROCESS_MINUTES)
        if isinstance(minutes, bool) or not isinstance(minutes, (int, float)) or not minutes > 0:
            raise ValueError(
                f'env_cfg.main_process_minutes is {minutes!r}; allowed: more than 0, the minutes '
                'that processes wait for the main one to probe or to evaluate'
            )
        super().setup_env(env_cfg)
        if self.distributed:
            main_process.allow(minutes)

    def scale_lr(self, optim_wrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale learning rates by GPUs x batch x accumulation / `base_batch_size`.

        mmengine leaves the accumulation out.
        """
        if not auto_scale_lr or not auto_scale_lr.get('enable'):
            return
        batch = self._train_dataloader['batch_size']
        effective = self.world_size * batch * optim_wrapper._accumulative_counts
        ratio = effective / auto_scale_lr['base_batch_size']
        schedulers = self.param_schedulers or []
        for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
            # The lowest rate of MAE's recipe is the same for every batch.
            if scheduler.get('eta_min_ratio'):
                scheduler['eta_min_ratio'] /= ratio
        self.logger.info(
            f'Learning rates x {ratio:g}: the effective batch is {effective}, they are meant for '
            f'{auto_scale_lr["base_batch_size"]}'
        )
        for group in optim_wrapper.optimizer.param_groups:
            group['lr'] *= ratio

    def build_train_loop(self, loop) -> BaseLoop:
        """mmengine's.

        Raises:
            ValueError: there are fewer images than one batch, and incomplete batches are dropped.
        """
        loop = super().build_train_loop(loop)
        loader = loop.dataloader
        if isinstance(loader.sampler, (InfiniteReplaySampler, InfiniteSampler)):
            return loop  # batches go on from epoch to epoch, so that all are complete
        share, batch = len(loader.sampler), loader.batch_size
        if loader.drop_last and share < batch:
            raise ValueError(
                f'train_dataloader.batch_size is {batch}, and of {len(loader.dataset)} training '
                f'images each of {self.world_size} process(es) has {share}: no batch is complete, '
                'and train_dataloader.drop_last=True drops incomplete ones; allowed: '
                f'train_dataloader.batch_size={share} or less ({share} x {self.world_size} '
                f'process(es) = {share * self.world_size} images per step)'
            )
        return loop

    def build_val_loop(self, loop) -> BaseLoop:
        """mmengine's; a ValueError before the first step if `val_cfg.fp16` names no type."""
        loop = super().build_val_loop(loop)
        loop_autocast(getattr(loop, 'fp16', False))
        return loop

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """mmengine's, and `model_wrapper_cfg.type='FullySharded'` for several processes."""
        if self.distributed:
            self._adopt_positions(model)
        if (model_wrapper_cfg or {}).get('type') != SHARDED or not self.distributed:
            return super().wrap_model(model_wrapper_cfg, model)
        if self._train_loop is not None:
            model.init_weights()  # which draws for whole tensors, in all processes the same
        return shard(model.to(get_device()))

    def _adopt_positions(self, model: nn.Module) -> None:
        """Give `pos_embed` its size in the file to load, before a wrapper lays out gradients."""
        backbone = getattr(model, 'backbone', None)
        if not hasattr(backbone, 'adopt_positions') or not hasattr(backbone, 'pos_embed'):
            return
        name = self._load_from or (latest_checkpoint(self.work_dir) if self._resume else None)
        if name and backbone.pretrain_img_size != backbone.img_size:
            content = CheckpointLoader.load_checkpoint(name, 'cpu')
            weights = content.get('state_dict', content.get('model', content))
            backbone.adopt_positions(backbone_weights(weights).get('pos_embed'))

    def _init_model_weights(self) -> None:
        if not is_sharded(self.model):  # that was done before it was
            super()._init_model_weights()

    def build_optim_wrapper(self, optim_wrapper) -> OptimWrapper:
        """mmengine's; of a sharded model with state dicts that hold whole tensors."""
        wrapper = super().build_optim_wrapper(optim_wrapper)
        if is_sharded(self.model):
            shard_state(wrapper.optimizer)
        return wrapper

    def save_checkpoint(self, *args, save_optimizer: bool = True, **kwargs) -> None:
        """mmengine's, in the main process; all others have to send their parts."""
        if is_sharded(self.model) and not is_main_process():
            self.model.state_dict()
            if save_optimizer:
                self.optim_wrapper.state_dict()
        super().save_checkpoint(*args, save_optimizer=save_optimizer, **kwargs)

    def load_checkpoint(self, filename: str, map_location='cpu', **kwargs):
        """Load weights to go on from (`resume`), to test, or to start another task from.

        A model that is to be tested or resumed has to be in the file to the last weight. A model
        that is to be trained takes the backbone from it, whatever project the file is from.

        Raises:
            TransferError: weights do not fit. `transfer=dict(allow=[...])` in the config
                names patterns that may be left over.
        """
        if self._resume or self._train_loop is None:
            return super().load_checkpoint(filename, map_location, strict=True)
        content = CheckpointLoader.load_checkpoint(filename, map_location)
        weights = content.get('state_dict', content.get('model', content))
        model = self.model.module if is_model_wrapper(self.model) else self.model
        if weights.keys() == model.state_dict().keys():
            model.load_state_dict(weights)
            self.logger.info(f'All weights of the model loaded from {filename}')
        else:
            allow = self.cfg.get('transfer', {}).get('allow', ())
            report = transfer_backbone(weights, model.backbone, allow)
            self.logger.info(f'Backbone loaded from {filename}:\n{report}')
        self._has_loaded = True
        return content

    def load_or_resume(self) -> None:
        """Load or resume; with `resume=True` and no `load_from`, from the newest checkpoint."""
        if self._resume and self._load_from is None and not self._has_loaded:
            self._load_from = latest_checkpoint(self.work_dir)
            if self._load_from is None:
                self.logger.warning(f'Nothing to resume in {self.work_dir}: starting afresh')
                self._resume = False
        super().load_or_resume()


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Newest `epoch_N.pth` or `iter_N.pth` in a folder, None if there is none.

    The folder is looked at, not mmengine's `last_checkpoint`, which tells where the folder
    was when the run began and may be cut off by a kill. Checkpoints are written atomically.
    """
    found = [
        path
        for path in Path(work_dir).glob('*.pth')
        if re.fullmatch(r'(epoch|iter)_\d+', path.stem)
    ]
    return str(max(found, key=lambda path: path.stat().st_mtime_ns)) if found else None

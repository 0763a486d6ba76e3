"""Training on several GPUs: process groups, bf16 gradients, sharding."""

import os

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size, init_dist, is_distributed
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from mmengine.utils.dl_utils import set_multi_processing
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from lomar.compat.dist import main_process
from lomar.engine.step_limit_hook import STEP_MINUTES
from lomar.models import LoMaR

MAIN_PROCESS_MINUTES = 120  # enough for a probe or an evaluation with many images
# Variables by which mmengine finds the GPU of a process.
LOCAL_RANKS = dict(slurm='SLURM_LOCALID', mpi='OMPI_COMM_WORLD_LOCAL_RANK')
SHARDED = 'FullySharded'  # a model_wrapper_cfg.type


@MODEL_WRAPPERS.register_module()
class BFloat16DataParallel(MMDistributedDataParallel):
    """mmengine's DDP wrapper with an all-reduce of gradients in bf16, which halves the traffic.

    Weights, gradients and the optimizer remain in float32. Gradients are rounded to bf16 for the
    all-reduce. detectron2 trains ViTDet with an all-reduce in fp16.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_comm_hook(None, bf16_compress_hook)


def set_local_rank(launcher: str, local_rank: int) -> None:
    """Set `LOCAL_RANK`, the number of the process's GPU, as the launcher numbers its processes.

    mmengine chooses the GPU by the launcher's variable, and wraps the model by `LOCAL_RANK`.
    """
    variable = LOCAL_RANKS.get(launcher)
    if variable is None:
        os.environ.setdefault('LOCAL_RANK', str(local_rank))
        return
    if torch.cuda.device_count() == 1:  # the launcher shows each process its own GPU only
        os.environ[variable] = '0'
    os.environ['LOCAL_RANK'] = os.environ.get(variable, str(local_rank))


def check_gpu_of_process() -> None:
    """Check that the process has a GPU, if there are any; `LOCAL_RANK` is its number.

    Raises:
        ValueError: the launcher started more processes than the machine has GPUs.
    """
    rank, count = int(os.environ.get('LOCAL_RANK', 0)), torch.cuda.device_count()
    if 0 < count <= rank:
        visible = os.environ.get('CUDA_VISIBLE_DEVICES')
        raise ValueError(
            f'process {rank + 1} of this machine has no GPU: {count} are there'
            f'{"" if visible is None else f", by CUDA_VISIBLE_DEVICES={visible}"}; allowed: at '
            'most one process per GPU (--nproc_per_node, --ntasks-per-node)'
        )


def start_processes(launcher: str, env_cfg: dict) -> None:
    """Start the process group of a launcher, unless it is started or the launcher is 'none'.

    Afterwards the main process can work for all processes, for example read annotations. The others
    wait for at most `env_cfg.main_process_minutes`.
    """
    minutes = _minutes(
        env_cfg,
        'main_process_minutes',
        MAIN_PROCESS_MINUTES,
        'processes wait for annotations, a probe or an evaluation in the main process',
    )
    limit = step_minutes(env_cfg)
    if launcher != 'none':
        if not is_distributed():
            set_multi_processing(**env_cfg.get('mp_cfg', {}), distributed=True)
            # PyTorch's own limit is the later one: its message does not name the setting.
            init_dist(launcher, **{'timeout': 60 * limit + 60, **env_cfg.get('dist_cfg', {})})
        main_process.allow(minutes)


def step_minutes(env_cfg: dict) -> float:
    """Return `env_cfg.step_minutes`, the limit of a training step for `StepLimitHook`."""
    return _minutes(env_cfg, 'step_minutes', STEP_MINUTES, 'a training step may last')


def _minutes(env_cfg: dict, key: str, default: float, meaning: str) -> float:
    minutes = env_cfg.get(key, default)
    if isinstance(minutes, bool) or not isinstance(minutes, (int, float)) or not minutes > 0:
        raise ValueError(
            f'env_cfg.{key} is {minutes!r}; allowed: more than 0 (minutes for which {meaning})'
        )
    return minutes


def shard(model: BaseModel) -> BaseModel:
    """Shard the parameters of a model over the processes in place, block by block (FSDP2).

    Each process stores a part of every parameter, gradient and optimizer state, and gathers the
    parameters of a block for its computation. State dicts contain whole tensors, so that
    checkpoints are the same as without sharding. All processes must request a state dict together.

    Raises:
        ValueError: the model is tested by sliding windows.
    """
    if (getattr(model, 'test_cfg', None) or {}).get('mode') == 'slide':
        raise ValueError(
            f'model_wrapper_cfg.type is {SHARDED!r}, and model.test_cfg.mode is slide: images have '
            'different numbers of windows, and the processes would wait for each other without '
            'end; allowed: model_wrapper_cfg.type=MMDistributedDataParallel or '
            'model.test_cfg.mode=whole'
        )
    backbone = model.backbone
    mesh = init_device_mesh(get_device(), (get_world_size(),))
    for block in backbone.blocks if hasattr(backbone, 'blocks') else backbone.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    if isinstance(model, LoMaR):  # `ReconstructionHook` calls this method directly
        register_fsdp_forward_method(model, 'predict')
    for module in model.modules():
        module.register_load_state_dict_pre_hook(_split_weights)
    model.register_state_dict_post_hook(_collect_weights)
    return model


def is_sharded(model: nn.Module) -> bool:
    """Return whether `shard` was applied to a model."""
    return isinstance(model, FSDPModule)


def shard_state(optimizer: Optimizer) -> None:
    """Make state dicts of an optimizer of sharded parameters contain whole tensors."""
    optimizer.register_state_dict_post_hook(_collect_state)
    optimizer.register_load_state_dict_pre_hook(_split_state)


def _whole(value):
    # Move tensors to the CPU one by one, because a GPU may not have memory for all of them.
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _part(value, parameter: DTensor):
    """Return the shard of a whole tensor for a parameter; return other values unchanged."""
    if isinstance(value, DTensor) or getattr(value, 'shape', None) != parameter.shape:
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements)


def _collect_weights(module: nn.Module, weights: dict, *_) -> None:
    weights.update({name: _whole(value) for name, value in weights.items()})


def _split_weights(module: nn.Module, weights: dict, prefix: str, *_) -> None:
    for name, parameter in module.named_parameters(prefix.removesuffix('.'), recurse=False):
        if name in weights and isinstance(parameter, DTensor):
            weights[name] = _part(weights[name], parameter)


def _collect_state(optimizer: Optimizer, content: dict) -> None:
    content['state'] = {
        index: {name: _whole(value) for name, value in state.items()}
        for index, state in content['state'].items()
    }


def _split_state(optimizer: Optimizer, content: dict) -> dict:
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    return content | {
        'state': {
            index: {name: _part(value, parameters[index]) for name, value in state.items()}
            for index, state in content['state'].items()
        }
    }

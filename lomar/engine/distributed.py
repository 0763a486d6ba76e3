"""Training on several GPUs."""

from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from lomar.models import LoMaR

SHARDED = 'FullySharded'  # a model_wrapper_cfg.type


@MODEL_WRAPPERS.register_module()
class BFloat16DataParallel(MMDistributedDataParallel):
    """mmengine's wrapper, with gradients that travel as bf16: half of the bytes.

    Gradients, weights and the optimizer stay in float32; what is added up over the GPUs is rounded
    to eight bits. detectron2 trains ViTDet with its fp16 counterpart.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_comm_hook(None, bf16_compress_hook)


def shard(model: nn.Module) -> nn.Module:
    """Spread the parameters of a model over the processes in place, block by block (FSDP2).

    Each process keeps a part of every parameter, of its gradient and of the optimizer's state, and
    collects a block's parameters when it comes to it. State dicts hold whole tensors all the same,
    so that checkpoints are those of any other run; all processes have to ask for them together.
    """
    backbone = model.backbone
    mesh = init_device_mesh(get_device(), (get_world_size(),))
    for block in backbone.blocks if hasattr(backbone, 'blocks') else backbone.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    if isinstance(model, LoMaR):  # pictures call it from outside
        register_fsdp_forward_method(model, 'predict')
    for module in model.modules():
        module.register_load_state_dict_pre_hook(_split_weights)
    model.register_state_dict_post_hook(_collect_weights)
    return model


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` was applied to a model."""
    return isinstance(model, FSDPModule)


def shard_state(optimizer: Optimizer) -> None:
    """Let the state dicts of an optimizer of sharded parameters hold whole tensors."""
    optimizer.register_state_dict_post_hook(_collect_state)
    optimizer.register_load_state_dict_pre_hook(_split_state)


def _whole(value):
    # On the CPU, one after the other: a GPU may have no room for all of them.
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _part(value, parameter: DTensor):
    """The part of a whole tensor that belongs to a parameter; anything else as it is."""
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

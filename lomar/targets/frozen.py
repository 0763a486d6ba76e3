"""Wrapper for frozen networks that compute targets."""

from typing import Any

import torch
from torch import nn


class Frozen(nn.Module):
    """Network in evaluation mode, without gradients, which is not saved in checkpoints.

    The parameters become non-persistent buffers. They are not optimized, are not part of the state
    dict, and are moved to another device together with the model.
    """

    network: Any

    def __init__(self, network: nn.Module):
        super().__init__()
        for module in network.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                del module._parameters[name]
                module.register_buffer(name, parameter.detach())
            module._non_persistent_buffers_set.update(module._buffers)
        self.network = network.eval()

    def train(self, mode: bool = True) -> 'Frozen':
        """Keep evaluation mode, also for `mode=True`."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, *args, **kwargs):
        return self.network(*args, **kwargs)

"""Frozen networks that compute targets."""

from typing import Any

import torch
from torch import nn


class Frozen(nn.Module):
    """A network that stays in evaluation mode, without gradients, and is not saved in checkpoints.

    Its parameters become buffers outside of the state dict: no optimizer sees them, no checkpoint
    repeats the file they come from, and they move with the model from device to device.
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
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, *args, **kwargs):
        """Run the network."""
        return self.network(*args, **kwargs)

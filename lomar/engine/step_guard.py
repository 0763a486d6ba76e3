"""Optimizer steps that are left out if a gradient is NaN or infinite."""

from functools import wraps

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm


class StepGuard:
    """Guard of an optimizer wrapper, which leaves weights and optimizer state as they are.

    The norm of all gradients is computed on their device. Fused optimizers of PyTorch leave out the
    step on the device, too. For other optimizers, the CPU waits for the norm in every step. With
    DDP, gradients are those of all processes, so that all leave out the same steps.

    AmpOptimWrapper with fp16 is not changed: its GradScaler leaves out such steps, and infinite
    gradients are normal for it.

    Args:
        wrapper: the wrapper whose method `step` is replaced.
        freezes: whether all steps after the first bad one are left out, too.

    Attributes:
        iteration: number of the current training step, to be set before the step.
        first: number of the first bad step since the last `reset`, -1 without one.
        count: number of bad steps since the last `reset`.
    """

    def __init__(self, wrapper: OptimWrapper, freezes: bool):
        self.optimizer, self.freezes, self.iteration = wrapper.optimizer, freezes, 0
        groups = self.optimizer.param_groups
        self._parameters = [each for group in groups for each in group['params']]
        self._sharded = any(isinstance(each, DTensor) for each in self._parameters)
        self.reset()
        self._step = wrapper.step
        if not isinstance(wrapper, AmpOptimWrapper):
            wrapper.step = wraps(wrapper.step)(
                lambda **options: self.step(**options)
            )  # schedulers look at its attributes

    def reset(self) -> None:
        """Forget the bad steps."""
        device = self._parameters[0].device
        self.first = torch.full((), -1, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)

    def step(self, **kwargs) -> None:
        """Make a step of the optimizer, unless a gradient is not finite."""
        bad = self._is_bad()
        self.first = torch.where(bad & (self.first < 0), self.iteration, self.first)
        self.count += bad
        left_out = self.count > 0 if self.freezes else bad
        fused = all(group.get('fused') for group in self.optimizer.param_groups)
        if fused and not self._sharded:
            self.optimizer.found_inf = left_out.float()  # the interface of PyTorch's GradScaler
            try:
                self._step(**kwargs)
            finally:
                del self.optimizer.found_inf
        elif not left_out:
            self._step(**kwargs)

    def _is_bad(self) -> Tensor:
        gradients = [each.grad for each in self._parameters if each.grad is not None]
        norm = get_total_norm(gradients) if gradients else self.count.float() * 0
        return ~torch.isfinite(norm.full_tensor() if isinstance(norm, DTensor) else norm)

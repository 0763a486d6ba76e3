"""The list of what a step waits for: each way to wait is on the list, and nothing else is."""

import contextlib

import pytest
import torch
from fake_cuda import CUDA, NEEDS_NUMBERS, Watch, fake_cuda
from torch.nn.functional import one_hot

pytestmark = pytest.mark.cpu
WAITS = dict(
    new_tensor=lambda x: x.new_tensor([1.0, 2.0]),
    tensor=lambda x: torch.tensor([1.0], device=x.device),
    scalar=lambda x: torch.tensor(1.0, device=x.device),
    to_gpu=lambda x: torch.arange(3).to(x.device),
    pinned_without_permission=lambda x: torch.arange(3).to(x.device, non_blocking=True),
    copy_=lambda x: x.copy_(torch.zeros(4, 5)),
    copy_of_a_scalar=lambda x: x.copy_(torch.tensor(1.0)),
    index=lambda x: x[torch.arange(3)],
    index_by_list=lambda x: x[[0, 1]],
    assign=lambda x: x.__setitem__(torch.arange(3), 0.0),
    to_cpu=lambda x: x.cpu(),
    item=lambda x: x.sum().item(),
    integer=lambda x: int(x.argmax()),
    tolist=lambda x: x.tolist(),
    boolean=lambda x: bool((x > 0).any()),
    index_by_scalar=lambda x: x[x.argmax()],
    mask=lambda x: x[x > 0],
    assign_by_mask=lambda x: x.__setitem__(x > 0, x.new_ones(())),
    masked_select=lambda x: x.masked_select(x > 0),
    nonzero=lambda x: x.nonzero(),
    where=lambda x: torch.where(x > 0),
    unique=lambda x: x.unique(),
    equal=lambda x: x.equal(x),
    allclose=lambda x: x.allclose(x),
    bincount=lambda x: x.flatten().long().bincount(),
    one_hot=lambda x: one_hot(x.long()),
    repeat=lambda x: x.repeat_interleave(x[:, 0].long(), dim=0),
)


@pytest.mark.parametrize('name', WAITS)
def test_what_waits_is_found(name):
    with fake_cuda():
        x, watch = torch.zeros(4, 5, device=CUDA), Watch()
        with watch, contextlib.suppress(*NEEDS_NUMBERS):
            WAITS[name](x)
    assert len(watch.found) == 1 and f'in {__file__}: {name}=' in watch.found[0]


def test_what_does_not_wait_is_not_found():
    with fake_cuda():
        x, watch = torch.zeros(4, 5, device=CUDA), Watch()
        with watch:
            x[:, :2] = x.new_zeros(4, 2) + torch.tensor(1.0)
            x[x > 0] = 0.0
            x[torch.arange(3, device=CUDA)] += x.masked_fill(x > 0, 1.0).topk(5).values[:3]
            torch.where(x > 0, x, 1.0).gather(1, x.argmax(dim=1, keepdim=True))
            one_hot(torch.randperm(4, device=CUDA), 4)
            watch.arriving = True
            torch.arange(3).to(CUDA, non_blocking=True)
        assert watch.found == []
        with pytest.raises(RuntimeError, match='two different devices cuda:0, cpu'):
            x + torch.zeros(5)

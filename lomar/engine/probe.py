"""Evaluation of frozen features with nearest neighbours and a linear classifier."""

import torch
from torch import Tensor
from torch.nn import functional as F

PART = 1024  # rows compared with all others at a time


def knn_predict(
    train: Tensor, labels: Tensor, test: Tensor, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Return labels predicted from the nearest neighbours by cosine similarity.

    The k nearest neighbours vote with weights exp(similarity / temperature), as in DINO
    (arXiv 2104.14294).

    Args:
        train: features (N, D), N >= k.
        labels: (N,) int64 from 0; on the CPU, so that `max` does not synchronize with a GPU.
        test: features (M, D).

    Returns:
        Labels (M,) on the device of the features.
    """
    classes, labels = int(labels.max()) + 1, labels.to(train.device)
    train, test = F.normalize(train), F.normalize(test)
    predicted = []
    for part in test.split(PART):
        similarity, nearest = (part @ train.T).topk(k)
        votes = part.new_zeros(len(part), classes)
        # - 1 avoids overflow and keeps the ranking.
        weights = ((similarity - 1) / temperature).exp()
        predicted.append(votes.scatter_add_(1, labels[nearest], weights).argmax(dim=1))
    return torch.cat(predicted)


@torch.enable_grad()
def linear_logits(
    train: Tensor, labels: Tensor, test: Tensor, l2: float = 1e-3, steps: int = 300
) -> Tensor:
    """Return logits of a linear classifier that is fitted to standardised features.

    L-BFGS on all rows minimizes mean cross entropy + l2 / 2 * |weights|^2, starting from zero
    weights. The fit is deterministic.

    Args:
        train: features (N, D).
        labels: (N,) int64 from 0.
        test: features (M, D).
        steps: maximum number of L-BFGS iterations.

    Returns:
        (M, classes).
    """
    deviation, mean = torch.std_mean(train, dim=0, correction=0)
    deviation = deviation.clamp(min=1e-6)  # a constant feature stays zero
    train, test = (train - mean) / deviation, (test - mean) / deviation
    classes, labels = int(labels.max()) + 1, labels.to(train.device)
    weights = train.new_zeros(classes, train.shape[1], requires_grad=True)
    bias = train.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=steps, tolerance_grad=1e-6, line_search_fn='strong_wolfe'
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(train, weights, bias), labels)
        value = value + l2 / 2 * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return F.linear(test, weights, bias).detach()


def top1(predicted: Tensor, labels: Tensor) -> float:
    """Return top-1 accuracy in percent."""
    return (predicted == labels).double().mean().item() * 100

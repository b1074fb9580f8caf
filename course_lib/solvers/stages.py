"""Sums over the stages of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["advance", "weighted_sum", "weighted_sums"]


def weighted_sum(weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """Σ w_i k_i, without the zero weights (there is at least one that is not zero)."""
    return _plus(None, 1.0, weights, stages)


def advance(
    y: Tensor, h: float | Tensor, weights: Sequence[float], stages: Sequence[Tensor]
) -> Tensor:
    """y + h Σ w_i k_i."""
    if isinstance(h, float):
        return _plus(y, h, weights, stages)
    if h.ndim:  # each sample's own, without gradient
        return torch.addcmul(y, h.to(y.dtype), weighted_sum(weights, stages))
    # The number as above, and a zero that carries the gradient of h.
    y_next = _plus(y, h.item(), weights, stages)
    return y_next + (h - h.detach()).to(y) * weighted_sum(weights, stages)


def _plus(
    y: Tensor | None, h: float, weights: Sequence[float], stages: Sequence[Tensor]
) -> Tensor:
    """y, if there is one, and h w_i k_i one after the other, in one new tensor where no
    gradient is to go through the sums.
    """
    add: Callable = Tensor.add
    total = y
    for w, k in zip(weights, stages):
        if w == 0.0:
            continue
        total = k * (h * w) if total is None else add(total, k, alpha=h * w)
        if total is not y and not torch.is_grad_enabled():
            add = Tensor.add_
    return total


def weighted_sums(weights: Tensor, stages: list[Tensor] | Tensor) -> Tensor:
    """Σ_i w_ni k_i for n rows of weights, shape (n, *state), in their own precision; the
    k may be one tensor already.
    """
    k = stages if isinstance(stages, Tensor) else torch.stack(stages)
    with torch.autocast(weights.device.type, enabled=False):
        return torch.tensordot(weights, k, dims=1)

"""Sums over the stages of a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["advance", "weighted_sum", "weighted_sums"]


def weighted_sum(weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """Σ w_i k_i, without the zero weights (there is at least one that is not zero)."""
    (w, first), *others = [(w, k) for w, k in zip(weights, stages) if w != 0.0]
    return _plus(w * first, others)


def advance(
    y: Tensor, h: float | Tensor, weights: Sequence[float], stages: Sequence[Tensor]
) -> Tensor:
    """y + h Σ w_i k_i."""
    if not isinstance(h, float) and h.ndim:  # each sample's own, without gradient
        return torch.addcmul(y, h.to(y.dtype), weighted_sum(weights, stages))
    size = h if isinstance(h, float) else h.item()
    (w, first), *others = [(size * w, k) for w, k in zip(weights, stages) if w != 0.0]
    y_next = _plus(y.add(first, alpha=w), others)
    if isinstance(h, float):
        return y_next
    # The number as above, and a zero that carries the gradient of h.
    return y_next + (h - h.detach()).to(y) * weighted_sum(weights, stages)


def _plus(total: Tensor, terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """The total, which is the caller's own, and w_i k_i one after the other."""
    add = Tensor.add if torch.is_grad_enabled() else Tensor.add_
    for w, k in terms:
        total = add(total, k, alpha=w)
    return total


def weighted_sums(weights: Tensor, stages: list[Tensor]) -> Tensor:
    """Σ_i w_ni k_i for n rows of weights, shape (n, *state), in their own precision."""
    with torch.autocast(weights.device.type, enabled=False):
        return torch.tensordot(weights, torch.stack(stages), dims=1)

"""The trace of a Jacobian, exact and estimated; the noise that flows start from.

References
----------
Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud 2019, FFJORD. Hutchinson 1990.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.solvers.checks import detached, leaf_of

__all__ = [
    "check_points",
    "exact_trace",
    "hutchinson_trace",
    "normal_log_prob",
    "pullback",
    "random_signs",
]


def normal_log_prob(z: Tensor) -> Tensor:
    """The log-density log N(z; 0, I), shape (*, d) to (*)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=-1)


def check_points(name: str, points: Tensor) -> None:
    """Raise a ValueError unless there is one point a row."""
    if points.ndim != 2:
        raise ValueError(
            f"{name} must hold one point a row, shape (B, d), got {tuple(points.shape)}; "
            f"for a single point use {name}[None]"
        )


# --- the trace of a Jacobian ----------------------------------------------------------


def exact_trace(f: Callable, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """f(t, y), shape (B, d), and tr ∂f/∂y of every row, shape (B,): d rows of the
    Jacobian, one vector-Jacobian product each.

    A row of f(t, y) may depend on its own row of y only.
    """
    dy, pull = pullback(f, t, y)
    axes = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
    return dy, sum(pull(axis.expand_as(y))[:, i] for i, axis in enumerate(axes))


def hutchinson_trace(
    f: Callable, t: Tensor, y: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """f(t, y) and the estimate εᵀ (∂f/∂y) ε of every trace: one vector-Jacobian product.

    Unbiased if E[ε εᵀ] = I. `noise` holds an ε for every row of y.

    References
    ----------
    Hutchinson 1990.
    """
    dy, pull = pullback(f, t, y)
    return dy, (pull(noise) * noise).sum(dim=1)


def pullback(f: Callable, t: Tensor, y: Tensor) -> tuple[Tensor, Callable]:
    """f(t, y) and the map v ↦ vᵀ ∂f/∂y, row by row; both differentiable where the
    caller has gradients on.
    """
    keep = torch.is_grad_enabled()
    # A view of a leaf that was made under no_grad says that it requires a gradient, and
    # gets none: there y is taken out of whatever it is part of.
    with torch.enable_grad():
        if not (keep and y.requires_grad):
            y = leaf_of(y, "the trace of ∂f/∂y")
        dy = f(t, y)

    def pull(v: Tensor) -> Tensor:
        if not dy.requires_grad:  # f uses neither y nor a parameter
            return torch.zeros_like(y)
        return torch.autograd.grad(
            dy, y, v, create_graph=keep, retain_graph=True, materialize_grads=True
        )[0]

    return dy if keep else detached(dy), pull


def random_signs(y: Tensor) -> Tensor:
    """±1 with equal chance for every component (Rademacher), in the shape of y."""
    return torch.randint_like(y, 2) * 2 - 1

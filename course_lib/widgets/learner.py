"""What the page trains, in PyTorch: the same models, losses, first weights and order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models import AugmentedODE, MLPDynamics, NeuralODE, ResNet
from course_lib.solvers import odeint, odeint_adjoint, odeint_checkpointed

__all__ = [
    "GRADIENTS",
    "MODELS",
    "Recipe",
    "batch_of",
    "first_weights",
    "loss_of",
    "model_of",
    "numbers",
]

# As page/gradients.mjs has them.
GRADIENTS = {
    "direct": odeint,
    "adjoint": odeint_adjoint,
    "checkpointed": odeint_checkpointed,
}
MODELS = ("mlp", "resnet", "ode")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, and how its gradient is found.

    Attributes
    ----------
    model : str, 'mlp', 'resnet' or 'ode'
    width, hidden : int, width and number of the hidden layers
    extra : int, zeros appended to the input
    time : bool, whether t is an input of the field
    layers : int, of a ResNet
    shared : bool, whether its layers have the same weights
    gradient : str, a name in `GRADIENTS`; of a neural ODE
    solver : dict, the settings of its solves
    """

    model: str
    width: int
    hidden: int
    extra: int
    time: bool
    layers: int
    shared: bool
    gradient: str
    solver: Mapping[str, object]


def model_of(recipe: Recipe, task: str, dim: int) -> nn.Module:
    """Return the model of a recipe, in float64, with weights from the current seed.

    Parameters
    ----------
    recipe : Recipe
    task : str, 'classes', 'values' or 'path'
    dim : int, of the input

    Returns
    -------
    Module
        A body and a linear read-out of one number, fixed at the first coordinate where
        a flow is to compute a number; for a path the neural ODE alone.
    """
    r = recipe
    if r.model == "mlp":
        widths = [dim, *[r.width] * r.hidden]
        body = [
            part for i, o in pairwise(widths) for part in (nn.Linear(i, o), nn.Tanh())
        ]
        return nn.Sequential(*body, nn.Linear(r.width, 1)).double()
    state = dim + r.extra
    fields = [
        MLPDynamics(state, [r.width] * r.hidden, time=r.time)
        for _ in range(1 if r.model == "ode" or r.shared else r.layers)
    ]
    how: dict[str, Any] = dict(odeint=GRADIENTS[r.gradient], **r.solver)
    if task == "path":
        return NeuralODE(fields[0], **how).double()
    if r.model == "ode":
        parts: list[nn.Module] = [AugmentedODE(fields[0], r.extra, **how)]
    else:
        depth = dict(depth=r.layers) if r.shared else {}
        net = ResNet(fields[0] if r.shared else fields, **depth)
        parts = [nn.ConstantPad1d((0, r.extra), 0.0), net]
    return nn.Sequential(*parts, _read_out(state, task)).double()


def _read_out(state: int, task: str) -> nn.Linear:
    """Return w·y + b; the first coordinate, for good, where a number is wanted."""
    head = nn.Linear(state, 1)
    if task == "values":
        with torch.no_grad():
            head.weight.copy_(torch.eye(1, state))
            head.bias.zero_()
        head.requires_grad_(False)
    return head


def loss_of(
    model: nn.Module, task: str, x: Tensor, y: Tensor, t: Tensor | None = None
) -> Tensor:
    """Return the loss that the page minimises, a scalar.

    Parameters
    ----------
    model : what `model_of` made
    task : str
    x : Tensor, shape (rows, dim)
    y : Tensor, shape (rows,): labels or numbers; for a path (len(t), rows, dim)
    t : Tensor, times of a path, the first one that of x
    """
    if isinstance(model, NeuralODE) and t is not None:
        return F.mse_loss(model.trajectory(x, t), y)
    out = model(x)[:, 0]
    if task == "classes":
        return F.binary_cross_entropy_with_logits(out, y)
    return F.mse_loss(out, y)


# --- chance ---------------------------------------------------------------------------


def numbers(seed: int) -> Iterator[float]:
    """Yield numbers from 0 up to 1, as the page draws them from a seed (mulberry32)."""
    mask, state = 0xFFFFFFFF, seed & 0xFFFFFFFF
    while True:
        state = (state + 0x6D2B79F5) & mask
        z = ((state ^ (state >> 15)) * (state | 1)) & mask
        z ^= (z + (((z ^ (z >> 7)) * (z | 61)) & mask)) & mask
        yield (z ^ (z >> 14)) / 2**32


@torch.no_grad()
def first_weights(model: nn.Module, seed: int) -> None:
    """Give a model the weights that the page begins with: as `nn.Linear` draws them."""
    draw = numbers(seed)
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.weight.requires_grad:
            for p in (layer.weight, layer.bias):
                drawn = [2 * next(draw) - 1 for _ in range(p.numel())]
                root = math.sqrt(layer.in_features)
                p.copy_(torch.tensor(drawn, dtype=p.dtype).view_as(p) / root)


def batch_of(n: int, size: int, seed: int, step: int) -> list[int]:
    """Return which of n rows the batch of a step has, as in the page."""
    each = math.ceil(n / size)
    epoch, place = divmod(step, each)
    draw, order = numbers(seed + 1 + 7919 * epoch), list(range(n))
    for i in reversed(range(1, n)):
        j = math.floor(next(draw) * (i + 1))
        order[i], order[j] = order[j], order[i]
    return order[place * size : (place + 1) * size]

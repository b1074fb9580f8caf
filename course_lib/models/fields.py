"""Vector fields: networks that give dy/dt, alone and many side by side."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = [
    "Autonomous",
    "ConvDynamics",
    "Ensemble",
    "MLPDynamics",
    "StackedLinear",
    "fully_connected",
]


def fully_connected(
    widths: Sequence[int], activation: Callable = nn.Tanh
) -> nn.Sequential:
    """A fully connected network: linear layers from width to width, and between them
    what `activation` makes.
    """
    layers = [
        layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), activation())
    ]
    return nn.Sequential(*layers[:-1])


class MLPDynamics(nn.Module):
    """A vector field f(t, y) on R^dim: a fully connected network, tanh between layers.

    Parameters
    ----------
    dim : int
    hidden : sequence of int, widths of the hidden layers
    time : bool
        Whether t is an input; without it the field is autonomous.
    activation : callable that makes the module between layers
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        *,
        time: bool = False,
        activation: Callable = nn.Tanh,
    ):
        super().__init__()
        self.time = time
        self.net = fully_connected([dim + time, *hidden, dim], activation)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # (*, dim) -> (*, dim)
        """The derivative at y, and at t if the field has time."""
        return self.net(
            torch.cat((y, t.expand(*y.shape[:-1], 1)), dim=-1) if self.time else y
        )


class Autonomous(nn.Module):
    """A network that takes y alone as a vector field f(t, y): ``net(y)`` at all times."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt, shape of y."""
        return self.net(y)


class ConvDynamics(nn.Module):
    """The vector field of the digit classifier: two 3×3 convolutions, time as one more
    channel.

    GroupNorm and not BatchNorm: running statistics would make f depend on how often it
    was called.

    References
    ----------
    Chen, Rubanova, Bettencourt, Duvenaud 2018, section 3.
    """

    def __init__(self, channels: int = 64, groups: int = 32):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (
            nn.GroupNorm(groups, channels) for _ in range(3)
        )
        self.conv1, self.conv2 = (
            nn.Conv2d(channels + 1, channels, 3, padding=1) for _ in range(2)
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        """The derivative of every image at t."""
        time = t.to(y.dtype).expand(len(y), 1, *y.shape[2:])
        y = self.conv1(torch.cat((self.norm1(y).relu(), time), dim=1))
        y = self.conv2(torch.cat((self.norm2(y).relu(), time), dim=1))
        return self.norm3(y)


# --- many fields side by side -----------------------------------------------------------


class StackedLinear(nn.Module):
    """Linear layers of one shape, side by side: (members, batch, in) to (members,
    batch, out).

    Parameters
    ----------
    layers : sequence of Linear, each with a bias
    """

    def __init__(self, layers: Sequence[nn.Linear]):
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.stack(parts).detach())
            for parts in zip(*((layer.weight, layer.bias) for layer in layers))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Each member's layer on its own rows."""
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)


class Ensemble(nn.Module):
    """Networks of one shape, side by side as one vector field: as many trainings for
    little more than the time of one.

    Each member sees its own part of the state. A gradient of the sum of their losses
    is, for each member, that of its own, as long as the optimizer treats every number by
    itself (SGD and Adam do; clipping the norm of all does not).

    Parameters
    ----------
    members : sequence of MLPDynamics, or of Sequential networks of y alone
        Linear layers with a bias, and activations without parameters; equal but for the
        values of the weights, which are copied.

    Attributes
    ----------
    net : Sequential, the network of y (and t, where the members have time) with a leading
        axis of members in every weight

    Raises
    ------
    ValueError
        If the members differ in shape, or have other parameters.
    """

    def __init__(self, members: Sequence[MLPDynamics] | Sequence[nn.Sequential]):
        super().__init__()
        nets = [m.net if isinstance(m, MLPDynamics) else m for m in members]
        shapes = sorted({str(net) for net in nets})
        if len(shapes) != 1:
            raise ValueError(f"members must be networks of one shape, got {shapes}")
        self.time = isinstance(members[0], MLPDynamics) and members[0].time
        self.net = nn.Sequential(*(_side_by_side(layers) for layers in zip(*nets)))
        # In a tuple: its weights are not among those of the ensemble.
        self._first = (copy.deepcopy(members[0]),)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """The derivatives, (members, batch, dim) to (members, batch, dim)."""
        return self.net(
            torch.cat((y, t.expand(*y.shape[:-1], 1)), dim=-1) if self.time else y
        )

    def member(self, i: int) -> MLPDynamics | nn.Sequential:
        """A copy of member `i` as it is now, alone."""
        alone = copy.deepcopy(self._first[0])
        for parameter, stacked in zip(alone.parameters(), self.net.parameters()):
            parameter.data = stacked[i].detach().clone()
        return alone


def _side_by_side(layers: Sequence) -> nn.Module:
    first = layers[0]
    if isinstance(first, nn.Linear) and first.bias is not None:
        return StackedLinear(layers)
    if any(True for _ in first.parameters()):
        raise ValueError(
            "members must consist of linear layers with a bias and of activations "
            f"without parameters, got {first}"
        )
    return first

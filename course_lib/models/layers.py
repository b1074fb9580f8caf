"""Layers: a neural ODE, one on a larger space, and the residual network beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.solvers import as_times, check_whole, odeint

__all__ = [
    "AugmentedODE",
    "NeuralODE",
    "ResNet",
    "check_states",
]


def check_states(states: object) -> Tensor:
    """What an `odeint` returned, if it is a Tensor as it must be.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(states, Tensor):
        raise TypeError(
            "odeint must return the states as a Tensor, got a "
            f"{type(states).__name__}; odeint, odeint_checkpointed, odeint_adjoint and "
            "odeint_interpolated of course_lib.solvers do, solve does not"
        )
    return states


class NeuralODE(nn.Module):
    """A layer that flows its input along a vector field from t[0] to t[-1].

    Parameters
    ----------
    f : Module ``f(t, y) -> dy/dt``
    t : sequence of floats, the interval
    odeint : callable ``odeint(f, y0, t, **solver_settings) -> ys``
        It decides how the gradient is found. `odeint` backpropagates through the steps:
        for the networks of this course that is the fastest way and as accurate as the
        others, so it is what is taken unless another is named. Where its memory does
        not suffice, `odeint_checkpointed` gives the same gradient in less of it;
        `odeint_interpolated` and `odeint_adjoint` are the continuous adjoint, with and
        without the path kept. torchdiffeq's fit too.
    **solver_settings
        Handed to `odeint`: ``rtol=1e-3, atol=1e-3``, or ``method="rk4",
        step_size=0.25``.
    """

    def __init__(
        self,
        f: nn.Module,
        t: Sequence[float] = (0.0, 1.0),
        *,
        odeint: Callable = odeint,
        **solver_settings,
    ):
        super().__init__()
        self.f, self.odeint = f, odeint
        self.t = t if isinstance(t, Tensor) else tuple(t)
        self.solver_settings = solver_settings

    def forward(self, y0: Tensor) -> Tensor:
        """The state at t[-1], shape as y0."""
        return self.trajectory(y0, self.t)[-1]

    def trajectory(self, y0: Tensor, t: Tensor | Sequence[float]) -> Tensor:
        """The states at the times `t`, shape (len(t), *y0.shape); y0 is the state at
        t[0].

        Raises
        ------
        TypeError
            If `odeint` returns anything but a Tensor; besides, what `odeint` raises.
        """
        t = as_times(t).to(
            y0.device
        )  # in their own type: float32 may not tell them apart
        return check_states(self.odeint(self.f, y0, t, **self.solver_settings))


class AugmentedODE(NeuralODE):
    """A neural ODE on a larger space: append `extra` zeros to the input, then flow.

    In the new directions paths can pass each other, which on the line and in the plane
    they cannot always.

    Parameters
    ----------
    f : Module ``f(t, y) -> dy/dt``, y of shape (..., dim + extra)
    extra : int, how many zeros; none makes it a `NeuralODE`
    t, odeint, **solver_settings
        As in `NeuralODE`.

    References
    ----------
    Dupont, Doucet, Teh, *Augmented Neural ODEs*, 2019.
    """

    def __init__(
        self, f: nn.Module, extra: int, t: Sequence[float] = (0.0, 1.0), **settings
    ):
        if extra < 0:
            raise ValueError(f"extra must be a number of zeros to append, got {extra}")
        super().__init__(f, t, **settings)
        self.extra = extra

    def lift(self, x: Tensor) -> Tensor:  # (*, dim) -> (*, dim + extra)
        """The input with zeros behind it."""
        return nn.functional.pad(x, (0, self.extra))

    def trajectory(self, y0: Tensor, t: Tensor | Sequence[float]) -> Tensor:
        """The states of the lifted y0 at the times `t`, shape (len(t), *, dim + extra)."""
        return super().trajectory(self.lift(y0), t)


class ResNet(nn.Module):
    """``y ← y + (total / depth) f(t_l, y)`` at ``t_l = l total / depth``, l = 0 … depth
    - 1: a residual network.

    `blocks` is one vector field shared by all layers, or a list of one per layer.
    """

    def __init__(
        self,
        blocks: nn.Module | Sequence[nn.Module],
        depth: int | None = None,
        *,
        total: float = 1.0,
    ):
        super().__init__()
        if isinstance(blocks, nn.Module) != (depth is not None):
            raise ValueError(
                "ResNet takes one shared block and a depth, or a list of blocks and no depth"
            )
        self.blocks = nn.ModuleList(
            [blocks] if isinstance(blocks, nn.Module) else blocks
        )
        layers = len(self.blocks) if depth is None else depth
        self.depth = check_whole("depth", layers, "a ResNet has at least one layer")
        self.total = total

    def forward(self, y: Tensor) -> Tensor:
        """The output of the last layer, shape as y."""
        return self.hidden_states(y)[-1]

    def hidden_states(self, y: Tensor) -> Tensor:
        """The input and the output of every layer, shape (depth + 1, *y.shape)."""
        h, states = self.total / self.depth, [y]
        for layer in range(self.depth):
            f = self.blocks[layer % len(self.blocks)]
            states.append(
                states[-1]
                + h
                * f(torch.tensor(layer * h, dtype=y.dtype, device=y.device), states[-1])
            )
        return torch.stack(states)

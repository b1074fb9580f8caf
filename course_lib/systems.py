"""Small systems that the live figures solve: right-hand side, start, span and window.

The browser has the same right-hand sides in ``widgets/page/rk.mjs``; a test holds the two
together. Everything else about a system travels from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class System:
    """``y' = f(t, y)`` from `y0` over `span`, drawn in `window`.

    Attributes
    ----------
    label : str, as a menu shows it
    f : callable ``f(t, y) -> dy/dt``, y of shape (dim,)
    y0 : tuple of float, the start
    span : (t_0, t_1)
    window : one (low, high) for each component
    """

    label: str
    f: Callable[[Tensor, Tensor], Tensor]
    y0: tuple[float, ...]
    span: tuple[float, float]
    window: tuple[tuple[float, float], ...]


def decay(t, y):
    """y' = -5y: a linear equation that contracts."""
    return -5.0 * y


def oscillator(t, y):
    """A spring without friction: the energy |y|² stays."""
    return torch.stack((y[1], -y[0]))


def spiral(t, y):
    """Eigenvalues -0.1 ± i: round, and slowly in."""
    return torch.stack((-0.1 * y[0] - y[1], y[0] - 0.1 * y[1]))


def vanderpol(t, y):
    """Van der Pol's oscillator with μ = 2: slow arcs and sharp turns."""
    return torch.stack((y[1], 2.0 * (1.0 - y[0] ** 2) * y[1] - y[0]))


def pendulum(t, y):
    """Angle and angular velocity, without friction."""
    return torch.stack((y[1], -torch.sin(y[0])))


def ring(t, y):
    """Round at speed 2, and pulled onto the unit circle with strength 2."""
    pull = 2.0 * (1.0 - y.square().sum())
    return pull * y + 2.0 * torch.stack((-y[1], y[0]))


SQUARE = ((-2.4, 2.4), (-2.4, 2.4))

SYSTEMS = {
    "decay": System("decay, y′ = −5y", decay, (1.0,), (0.0, 4.0), ((-1.5, 1.5),)),
    "oscillator": System("oscillator", oscillator, (1.0, 0.0), (0.0, 20.0), SQUARE),
    "spiral": System("spiral", spiral, (2.0, 0.0), (0.0, 12.0), SQUARE),
    "vanderpol": System(
        "van der Pol", vanderpol, (1.0, 0.0), (0.0, 16.0), ((-3.2, 3.2), (-5.0, 5.0))
    ),
    "pendulum": System(
        "pendulum", pendulum, (2.5, 0.0), (0.0, 20.0), ((-4.0, 4.0), (-2.8, 2.8))
    ),
    "ring": System("ring", ring, (0.3, 0.1), (0.0, 2.0), ((-1.6, 1.6), (-1.6, 1.6))),
}

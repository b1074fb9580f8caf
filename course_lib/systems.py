"""Small systems that the live figures solve: right-hand side, start, span and window.

Every right-hand side takes one state or a batch of them, y of shape (*, dim).

The browser has the same right-hand sides in ``widgets/page/systems.mjs``; a test holds the two
together. Everything else about a system travels from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = [
    "SQUARE",
    "SYSTEMS",
    "Hum",
    "LotkaVolterra",
    "Ring",
    "System",
    "decay",
    "oscillator",
    "pendulum",
    "ring",
    "spiral",
    "vanderpol",
]


@dataclass(frozen=True)
class System:
    """``y' = f(t, y)`` from `y0` over `span`, drawn in `window`.

    Attributes
    ----------
    label : str, as a menu shows it
    f : callable ``f(t, y) -> dy/dt``, y of shape (*, dim)
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
    """The linear equation y' = -5y, which contracts."""
    return -5.0 * y


def oscillator(t, y):
    """A spring without friction: the energy |y|² stays."""
    y1, y2 = y.unbind(-1)
    return torch.stack((y2, -y1), dim=-1)


def spiral(t, y):
    """Eigenvalues -0.1 ± i: round, and slowly in."""
    y1, y2 = y.unbind(-1)
    return torch.stack((-0.1 * y1 - y2, y1 - 0.1 * y2), dim=-1)


def vanderpol(t, y):
    """Van der Pol's oscillator with μ = 2: slow arcs and sharp turns."""
    y1, y2 = y.unbind(-1)
    return torch.stack((y2, 2.0 * (1.0 - y1**2) * y2 - y1), dim=-1)


def pendulum(t, y):
    """Angle and angular velocity, without friction."""
    angle, velocity = y.unbind(-1)
    return torch.stack((velocity, -torch.sin(angle)), dim=-1)


def ring(t, y, k=2.0, omega=2.0):
    """Round at speed `omega`, and pulled onto the unit circle with strength `k`."""
    y1, y2 = y.unbind(-1)
    pull = k * (1.0 - y.square().sum(-1, keepdim=True))
    return pull * y + omega * torch.stack((-y2, y1), dim=-1)


class Ring(nn.Module):
    """`ring`, with its strength and its speed to be learnt.

    Parameters
    ----------
    k, omega : float, where they start
    """

    def __init__(self, k: float = 2.0, omega: float = 2.0):
        super().__init__()
        self.k = nn.Parameter(torch.tensor(float(k)))
        self.omega = nn.Parameter(torch.tensor(float(omega)))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # (*, 2) -> (*, 2)
        """The derivative at y, on and off the circle."""
        return ring(t, y, self.k, self.omega)


class Hum(nn.Module):
    """y' = -y + θ sin 50t, θ to be learnt and 0 at the start.

    At θ = 0 the solution is a plain exponential. What hums is its slope by θ, an integral
    over sin 50t, and a solver that does not watch the integral steps over the waves.
    """

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(()))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # (*) -> (*)
        """The derivative at t and y."""
        return -y + self.theta * torch.sin(50 * t)


class LotkaVolterra(nn.Module):
    """Hares and foxes, x' = ax - bxy and y' = -cy + dxy, their rates to be learnt.

    What is learnt are the logarithms: no step of a search makes a rate negative, and a
    tenth more is as far for a small rate as for a large one.

    Parameters
    ----------
    rates : sequence of four floats, or Tensor, shape (*members, 4), positive: a, b, c, d

    Attributes
    ----------
    log_rates : Parameter, shape (*members, 4)
    """

    def __init__(self, rates: Sequence[float] | Tensor = (1.5, 1.0, 3.0, 1.0)):
        super().__init__()
        self.log_rates = nn.Parameter(torch.as_tensor(rates).log())

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # (…, *members, 2), the same
        """The derivative at y; each member has rates of its own."""
        a, b, c, d = self.log_rates.exp().unbind(-1)
        prey, predators = y.unbind(-1)
        met = prey * predators
        return torch.stack((a * prey - b * met, d * met - c * predators), dim=-1)


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

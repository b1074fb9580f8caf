"""Small stochastic systems on the line: drift, diffusion, start, and what is known of them.

All are to be read as Itô's equations. The browser has the same in ``widgets/noise.mjs``; a
test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "DOUBLE_WELL",
    "GEOMETRIC",
    "ORNSTEIN_UHLENBECK",
    "RANDOM_SYSTEMS",
    "GeometricBrownian",
    "OrnsteinUhlenbeck",
    "RandomSystem",
]


@dataclass(frozen=True)
class RandomSystem:
    """``dx = f(t, x) dt + g(t, x) dW`` from `y0`, drawn in `window`.

    Attributes
    ----------
    label : str, as a menu shows it
    f, g : callables of (t, x), elementwise
    y0 : float
    window : (low, high)
    """

    label: str
    f: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor, Tensor], Tensor]
    y0: float
    window: tuple[float, float]


@dataclass(frozen=True)
class GeometricBrownian:
    """``dx = μ x dt + σ x dW``, of which everything is known.

    Attributes
    ----------
    mu, sigma, y0 : float, rate, noise and start, all positive
    """

    mu: float
    sigma: float
    y0: float

    def path(self, t: Tensor, w: Tensor) -> Tensor:
        """The solution on the path that is w at the times t; shapes broadcast."""
        return self.y0 * torch.exp((self.mu - self.sigma**2 / 2) * t + self.sigma * w)

    def moments(self, t: float) -> tuple[float, float]:
        """Mean and standard deviation at time t."""
        mean = self.y0 * math.exp(self.mu * t)
        return mean, mean * math.sqrt(math.expm1(self.sigma**2 * t))

    def density(self, t: float, x: Tensor) -> Tensor:
        """The density at time t > 0, which is 0 where x is not positive."""
        centre = math.log(self.y0) + (self.mu - self.sigma**2 / 2) * t
        spread = self.sigma * math.sqrt(t)
        safe = x.clamp(min=1e-12)
        p = torch.exp(-(((safe.log() - centre) / spread) ** 2) / 2)
        return torch.where(x > 1e-12, p / (safe * spread * math.sqrt(2 * math.pi)), 0.0)


@dataclass(frozen=True)
class OrnsteinUhlenbeck:
    """``dx = -θ x dt + σ dW``, of which everything is known.

    Attributes
    ----------
    theta, sigma, y0 : float
    """

    theta: float
    sigma: float
    y0: float

    def moments(self, t: float) -> tuple[float, float]:
        """Mean and standard deviation at time t."""
        variance = self.sigma**2 / (2 * self.theta) * -math.expm1(-2 * self.theta * t)
        return self.y0 * math.exp(-self.theta * t), math.sqrt(variance)

    def density(self, t: float, x: Tensor) -> Tensor:
        """The density at time t > 0: a normal one."""
        mean, spread = self.moments(t)
        p = torch.exp(-(((x - mean) / spread) ** 2) / 2)
        return p / (spread * math.sqrt(2 * math.pi))


GEOMETRIC = GeometricBrownian(mu=0.3, sigma=0.6, y0=1.0)
ORNSTEIN_UHLENBECK = OrnsteinUhlenbeck(theta=1.5, sigma=0.8, y0=1.5)

RANDOM_SYSTEMS = {
    "geometric": RandomSystem(
        "geometric Brownian motion",
        lambda t, x: GEOMETRIC.mu * x,
        lambda t, x: GEOMETRIC.sigma * x,
        GEOMETRIC.y0,
        (0.0, 5.0),
    ),
    "ornstein-uhlenbeck": RandomSystem(
        "Ornstein–Uhlenbeck",
        lambda t, x: -ORNSTEIN_UHLENBECK.theta * x,
        lambda t, x: torch.full_like(x, ORNSTEIN_UHLENBECK.sigma),
        ORNSTEIN_UHLENBECK.y0,
        (-1.5, 2.0),
    ),
    "double well": RandomSystem(
        "two wells",
        lambda t, x: 3.0 * (x - x**3),
        lambda t, x: torch.full_like(x, 0.9),
        0.0,
        (-2.0, 2.0),
    ),
}
DOUBLE_WELL = RANDOM_SYSTEMS["double well"]

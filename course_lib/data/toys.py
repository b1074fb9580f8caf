"""Small seeded sets of points: a cubic, a disc in a ring, two moons, a spiral."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "concentric_circles",
    "cubic",
    "generator",
    "linear_spiral",
    "two_moons",
]


def generator(seed: int) -> torch.Generator:
    """A random generator of its own for `seed`: nothing here touches the global one."""
    return torch.Generator().manual_seed(seed)


def cubic(n: int = 10) -> tuple[Tensor, Tensor]:
    """Points x in [-2, 2] and x³ + 0.1x, both of shape (n, 1), without noise."""
    x = torch.linspace(-2, 2, n)[:, None]
    return x, x**3 + 0.1 * x


def concentric_circles(
    n: int, *, noise: float = 0.1, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """A disc of radius 1 (label 0) inside a ring of radius 2 to 2.5 (label 1): points
    (n, 2), labels (n,).
    """
    g = generator(seed)
    labels = torch.arange(n) % 2
    u, angle = torch.rand(n, generator=g), 2 * math.pi * torch.rand(n, generator=g)
    radius = torch.where(labels == 0, u.sqrt(), 2 + 0.5 * u)
    points = radius[:, None] * torch.stack((angle.cos(), angle.sin()), dim=1)
    return points + noise * torch.randn(n, 2, generator=g), labels


def two_moons(n: int, *, noise: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two interleaved half circles: points (n, 2), labels (n,)."""
    g = generator(seed)
    labels = torch.arange(n) % 2
    angle = math.pi * torch.rand(n, generator=g)
    upper = torch.stack((angle.cos(), angle.sin()), dim=1)
    points = torch.where(labels[:, None] == 0, upper, torch.tensor([1.0, 0.5]) - upper)
    return points + noise * torch.randn(n, 2, generator=g), labels


def linear_spiral(
    n: int = 200, *, stop: float = 31.45, noise: float = 0.01, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The decaying spiral y' = Ay from (0.6, 0.3), by the matrix exponential.

    Returns
    -------
    t : Tensor, shape (n,), from 0 to `stop`
    clean, noisy : Tensor, shape (n, 2)
    A : Tensor, shape (2, 2)

    References
    ----------
    M. Surtsukov, notebook "Neural ODEs", 2019, github.com/msurtsukov/neural-ode.
    """
    A = torch.tensor([[-0.1, -1.0], [1.0, -0.1]])
    t = torch.linspace(0, stop, n)
    # In double: in single precision the exponential of a large matrix loses digits.
    flow = torch.linalg.matrix_exp(t.double()[:, None, None] * A.double())
    clean = (flow @ flow.new_tensor([0.6, 0.3])).float()
    return t, clean, clean + noise * torch.randn(n, 2, generator=generator(seed)), A

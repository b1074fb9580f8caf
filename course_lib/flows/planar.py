"""Planar flows: layers of one hidden unit, whose log-determinants add up.

References
----------
Rezende, Mohamed 2015, Variational Inference with Normalizing Flows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.flows.trace import check_points, normal_log_prob
from course_lib.solvers import check_whole
from course_lib.solvers.checks import refuse_tangents

__all__ = ["PlanarFlow"]


class PlanarFlow(nn.Module):
    """Layers y + u tanh(wᵀy + b), which lead from the data to the noise.

    In this direction a density costs one pass and no inverse; a sample inverts every
    layer, one scalar equation each. wᵀu > -1 keeps the layers invertible. Layer 0 is
    the one next to the noise.

    Parameters
    ----------
    dim, depth : int

    Raises
    ------
    ValueError
        If one of them is not a positive whole number.

    References
    ----------
    Rezende, Mohamed 2015, section 4.1 and appendix A.1.
    """

    def __init__(self, dim: int, depth: int):
        super().__init__()
        dim = check_whole("dim", dim, "points in the plane have dim=2")
        depth = check_whole("depth", depth, "it is the number of layers")
        self.w = nn.Parameter(torch.randn(depth, dim))
        self.u = nn.Parameter(0.1 * torch.randn(depth, dim))
        self.b = nn.Parameter(torch.randn(depth))

    def layers(self) -> tuple[Tensor, Tensor, Tensor]:
        """w, u and b of all layers; what u lacks for wᵀu > -1 is added along w."""
        w, u = self.w, self.u
        along = (w * u).sum(dim=1, keepdim=True)
        # In float32, wᵀu rounds below -1 where the softplus is tiny.
        lacking = F.softplus(along).clamp(min=1e-3) - 1 - along
        size = w.square().sum(dim=1, keepdim=True)
        size = torch.where(size > 0, size, 1.0)  # without w a layer is a shift by u
        return w, u + lacking * w / size, self.b

    def log_prob(self, x: Tensor, layers: int | None = None) -> Tensor:
        """The log-density of the points x, shape (B, d) to (B,), after all layers, or
        after those `layers` next to the noise.
        """
        check_points("x", x)
        self._check_layers(layers)
        y, bends = x, [torch.zeros_like(x[:, 0])]
        for w, u, b in zip(*(part[:layers].flip(0) for part in self.layers())):
            bend = torch.tanh(y @ w + b)
            y = torch.addr(y, bend, u)  # y + bend uᵀ
            bends.append((w @ u) * (1 - bend.square()))  # s wᵀu
        return normal_log_prob(y) + torch.stack(bends).log1p().sum(dim=0)

    @torch.no_grad()
    def forward(self, z: Tensor, layers: int | None = None) -> Tensor:
        """The data that the noise z becomes, shape (B, d), by bisection; without
        gradients.
        """
        check_points("z", z)
        self._check_layers(layers)
        refuse_tangents((z, *self.parameters()), "PlanarFlow.forward")
        y = z
        for w, u, b in zip(*(part[:layers] for part in self.layers())):
            y = y - torch.tanh(_solve_layer(y @ w, w @ u, b) + b)[:, None] * u
        return y

    def _check_layers(self, layers: int | None) -> None:
        if layers is not None and not 0 <= layers <= len(self.w):
            raise ValueError(
                f"layers must be from 0 to {len(self.w)}, or None for all; got {layers!r}"
            )


def _solve_layer(c: Tensor, s: Tensor, b: Tensor, halvings: int = 60) -> Tensor:
    """The a with a + s tanh(a + b) = c, which grows with a since s > -1."""
    low, high = c - s.abs(), c + s.abs()
    for _ in range(halvings):
        a = (low + high) / 2
        over = a + s * torch.tanh(a + b) > c
        low, high = torch.where(over, low, a), torch.where(over, a, high)
    return (low + high) / 2

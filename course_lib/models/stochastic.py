"""Networks for the drift and the diffusion of an SDE, and how likely a series is by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.models.fields import fully_connected

__all__ = ["NeuralSDE", "euler_log_density"]


class NeuralSDE(nn.Module):
    """``dy = f(t, y) dt + g(t, y) dW`` with a network for each of f and g.

    The diffusion is the softplus of a network, and never below `least`: where it were 0, a
    series would be infinitely likely or impossible.

    Parameters
    ----------
    dim : int
    hidden : sequence of int, widths of the hidden layers of both
    period : float, optional
        With it both see the sine and cosine of ``2π t / period``: a season.
    least : float
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        *,
        period: float | None = None,
        least: float = 1e-2,
    ):
        super().__init__()
        self.period, self.least = period, least
        widths = [dim + 2 * (period is not None), *hidden, dim]
        self.drift_net, self.diffusion_net = (fully_connected(widths) for _ in range(2))

    def drift(self, t: float | Tensor, y: Tensor) -> Tensor:
        """f, shape of y; t one number, or one for each row of y."""
        return self.drift_net(self._seen(t, y))

    def diffusion(self, t: float | Tensor, y: Tensor) -> Tensor:
        """g > 0, shape of y."""
        raw = self.diffusion_net(self._seen(t, y))
        return self.least + nn.functional.softplus(raw)

    def _seen(self, t: float | Tensor, y: Tensor) -> Tensor:
        if self.period is None:
            return y
        phase = 2 * math.pi / self.period * torch.as_tensor(t, dtype=y.dtype)
        phase = phase.expand(y.shape[:-1])[..., None]
        return torch.cat((y, phase.sin(), phase.cos()), dim=-1)


def euler_log_density(
    f: Callable, g: Callable, t: float | Tensor, h: float, y: Tensor, y_next: Tensor
) -> Tensor:
    """log of the normal density that one step of Euler and Maruyama gives y_next.

    Parameters
    ----------
    f, g : callables of (t, y), drift and diffusion
    t : float, or Tensor, shape (*batch), the start of the step
    h : float, its length
    y, y_next : Tensor, shape (*batch, dim)

    Returns
    -------
    Tensor, shape (*batch)
    """
    spread = g(t, y) * math.sqrt(h)
    z = (y_next - y - h * f(t, y)) / spread
    return -(z.square() / 2 + spread.log() + math.log(2 * math.pi) / 2).sum(-1)

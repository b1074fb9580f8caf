"""Normalizing flows: noise pushed through an invertible map, with the density of what
comes out.

`ContinuousFlow` pushes along y' = f(t, y) and integrates the trace of ∂f/∂y.
`PlanarFlow` is its discrete rival: layers whose log-determinants add up. For both, the
noise is a standard normal.

References
----------
Chen, Rubanova, Bettencourt, Duvenaud 2018, Neural Ordinary Differential Equations,
section 4.
Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud 2019, FFJORD.
Rezende, Mohamed 2015, Variational Inference with Normalizing Flows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models import check_states
from course_lib.solvers import as_times, check_whole, odeint

__all__ = [
    "ContinuousFlow",
    "DensityDynamics",
    "PlanarFlow",
    "exact_trace",
    "hutchinson_trace",
    "normal_log_prob",
    "pullback",
    "random_signs",
]


def normal_log_prob(z: Tensor) -> Tensor:
    """The log-density log N(z; 0, I), shape (*, d) to (*)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=-1)


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
    if torch.is_inference_mode_enabled():  # there enable_grad() does nothing
        raise RuntimeError(
            "the trace of ∂f/∂y needs gradients, which inference_mode does not have; "
            "use torch.no_grad()"
        )
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        y = y if y.requires_grad else y.detach().requires_grad_()
        dy = f(t, y)

    def pull(v: Tensor) -> Tensor:
        if not dy.requires_grad:  # f uses neither y nor a parameter
            return torch.zeros_like(y)
        return torch.autograd.grad(
            dy, y, v, create_graph=keep, retain_graph=True, materialize_grads=True
        )[0]

    return dy if keep else dy.detach(), pull


def random_signs(y: Tensor) -> Tensor:
    """±1 with equal chance for every component (Rademacher), in the shape of y."""
    return torch.randint_like(y, 2) * 2 - 1


# --- continuous -----------------------------------------------------------------------


class DensityDynamics(nn.Module):
    """The dynamics of (y, l), shape (B, d + 1): y' = f(t, y), l' = -tr ∂f/∂y.

    l gathers how the log-density changes along the path of y.

    Parameters
    ----------
    f : Module ``f(t, y) -> dy/dt``, y of shape (B, d)
    noise : Tensor, shape (B, d), optional
        Vectors ε for Hutchinson's estimate; the trace is exact without them.
    """

    def __init__(self, f: nn.Module, noise: Tensor | None = None):
        super().__init__()
        self.f, self.noise = f, noise

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        """The derivative of (y, l)."""
        y = state[:, :-1]
        if self.noise is None:
            dy, trace = exact_trace(self.f, t, y)
        else:
            dy, trace = hutchinson_trace(self.f, t, y, self.noise)
        return torch.cat((dy, -trace[:, None]), dim=1)


class ContinuousFlow(nn.Module):
    """A continuous normalizing flow: noise at t[0] becomes data at t[1].

    Parameters
    ----------
    f : Module ``f(t, y) -> dy/dt``, y of shape (B, d), every row on its own
    t : (t_0, t_1)
    trace : 'exact' or 'hutchinson'
        d vector-Jacobian products at every evaluation of f, or one, with random signs
        that are drawn once for each solve.
    odeint : callable ``odeint(f, y0, t, **solver_settings) -> ys``
        `odeint` backpropagates through the steps, `odeint_adjoint` solves backwards;
        the state is small here, so direct gradients are the default.
    **solver_settings
        Handed to `odeint`; tolerances of 1e-4 unless given.

    References
    ----------
    Chen et al. 2018, section 4; Grathwohl et al. 2019.
    """

    def __init__(
        self,
        f: nn.Module,
        t: Sequence[float] = (0.0, 1.0),
        *,
        trace: str = "exact",
        odeint: Callable = odeint,
        **solver_settings,
    ):
        super().__init__()
        if trace not in ("exact", "hutchinson"):
            raise ValueError(f"trace must be 'exact' or 'hutchinson', got {trace!r}")
        if len(t) != 2:
            raise ValueError(f"t must be (t_0, t_1), noise and data, got {t!r}")
        self.f, self.t, self.trace, self.odeint = f, tuple(t), trace, odeint
        self.solver_settings = dict(rtol=1e-4, atol=1e-4) | solver_settings

    def forward(self, z: Tensor) -> Tensor:
        """The data that the noise z becomes, shape (B, d)."""
        return self._solved(self.f, z, self.t)[-1]

    def transport(self, y: Tensor, t: Sequence[float]) -> tuple[Tensor, Tensor]:
        """The points y, shape (B, d), carried from t[0] to the other times.

        Returns
        -------
        ys : Tensor, shape (len(t), B, d)
        change : Tensor, shape (len(t), B), of the log-density along each path
        """
        _check_points("y", y)
        noise = None if self.trace == "exact" else random_signs(y)
        start = torch.cat((y, torch.zeros_like(y[:, :1])), dim=1)
        states = self._solved(DensityDynamics(self.f, noise), start, t)
        return states[..., :-1], states[..., -1]

    def log_prob(self, x: Tensor, at: float | None = None) -> Tensor:
        """The log-density of the points x, shape (B, d) to (B,), at t_1 or at the time
        `at`: back to the noise, whose density is known.
        """
        _check_points("x", x)
        start, end = self.t[0], self.t[1] if at is None else at
        if end == start:
            return normal_log_prob(x)
        ys, change = self.transport(x, (end, start))
        return normal_log_prob(ys[-1]) - change[-1]

    def _solved(self, f: nn.Module, y: Tensor, t: Sequence[float]) -> Tensor:
        times = as_times(t).to(y.device)
        return check_states(self.odeint(f, y, times, **self.solver_settings))


def _check_points(name: str, points: Tensor) -> None:
    if points.ndim != 2:
        raise ValueError(
            f"{name} must hold one point a row, shape (B, d), got {tuple(points.shape)}; "
            f"for a single point use {name}[None]"
        )


# --- discrete -------------------------------------------------------------------------


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
        _check_points("x", x)
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
        _check_points("z", z)
        self._check_layers(layers)
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

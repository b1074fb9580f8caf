"""Continuous normalizing flows: noise pushed along y' = f(t, y), and its density.

References
----------
Chen, Rubanova, Bettencourt, Duvenaud 2018, Neural Ordinary Differential Equations,
section 4.
Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud 2019, FFJORD.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.flows.trace import (
    check_points,
    exact_trace,
    hutchinson_trace,
    normal_log_prob,
    random_signs,
)
from course_lib.models import check_states
from course_lib.solvers import as_times, odeint

__all__ = ["ContinuousFlow", "DensityDynamics"]


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
        check_points("y", y)
        noise = None if self.trace == "exact" else random_signs(y)
        start = torch.cat((y, torch.zeros_like(y[:, :1])), dim=1)
        states = self._solved(DensityDynamics(self.f, noise), start, t)
        return states[..., :-1], states[..., -1]

    def log_prob(self, x: Tensor, at: float | None = None) -> Tensor:
        """The log-density of the points x, shape (B, d) to (B,), at t_1 or at the time
        `at`: back to the noise, whose density is known.
        """
        check_points("x", x)
        start, end = self.t[0], self.t[1] if at is None else at
        if end == start:
            return normal_log_prob(x)
        ys, change = self.transport(x, (end, start))
        return normal_log_prob(ys[-1]) - change[-1]

    def _solved(self, f: nn.Module, y: Tensor, t: Sequence[float]) -> Tensor:
        times = as_times(t).to(y.device)
        return check_states(self.odeint(f, y, times, **self.solver_settings))

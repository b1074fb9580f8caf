"""Gradients that arrive inside a step of the way back.

λ jumps at every observation, and a step across a jump has no order. But its equation is
linear: what arrives at t_i inside a step may as well arrive where the step starts, if it
is carried there first, by Φ(t_i, t)ᵀ, with Φ the flow of v' = ∂f/∂y v. One step of that
flow with dense output gives Φ(t_i, t) for all t_i at once, and taking it backwards stage
by stage, its transpose: s products of a vector and the Jacobian, however many t_i.

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.6 (dense output).
Sandu 2006, On the Properties of Runge-Kutta Discrete Adjoints.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib.solvers.backward import AdjointDynamics, carry_between, solve_back
from course_lib.solvers.jumps import one_sided
from course_lib.solvers.settings import Settings
from course_lib.solvers.stages import weighted_sums
from course_lib.solvers.steps import dense_weights

__all__ = ["Arrivals", "carry_across"]


def carry_across(
    flow: AdjointDynamics,
    moments: Sequence[float],
    ys: Tensor,
    grads: Tensor,
    settings: Settings,
) -> Tensor:
    """λ at the first time, by steps that do not end at the times between.

    Parameters as for `carry_between`; the state of `flow` is λ alone. A method without
    dense output, whose steps are as long as asked for, ends one at each time.
    """
    if not settings.tableau.adaptive or moments[0] == moments[-1]:
        return carry_between(flow, moments, ys, grads, settings)
    arrivals = Arrivals(flow, moments, grads, settings)
    ends = (moments[-1], moments[0])
    lam, _, _ = solve_back(flow, ends, grads[-1], settings, arrivals=arrivals)
    return lam


class Arrivals:
    """What the steps start from that pass observations: called with a step to try, it
    gives λ and its slope there.

    Parameters
    ----------
    flow : AdjointDynamics, of λ alone
    moments : sequence of n floats, the times of the observations
    grads : Tensor, shape (n, *state), what arrives then; the ends are not its business
    settings : Settings, of a method with dense output
    """

    def __init__(
        self,
        flow: AdjointDynamics,
        moments: Sequence[float],
        grads: Tensor,
        settings: Settings,
    ):
        self.flow, self.grads, self.settings = flow, grads, settings
        self.times = moments[1:-1]
        self.sign = 1.0 if moments[-1] > moments[0] else -1.0
        self.order = [self.sign * time for time in self.times]
        self.begun: tuple | None = None  # λ, λ' and θ-part at t, with nothing arrived
        self.v: list[Tensor] = []  # the θ-part of carrying

    def __call__(
        self, t: float, t_next: float, lam: Tensor, slope: Tensor
    ) -> tuple[Tensor, Tensor]:
        """λ and λ' at t with what arrives from t on, before t_next."""
        quadrature = self.flow.quadrature
        if self.begun is None:
            self.begun = lam, slope, quadrature.latest
        lam, slope, quadrature.latest = self.begun  # another attempt starts here too
        first, last = (bisect_right(self.order, self.sign * x) for x in (t_next, t))
        self.v = []
        if first < last:
            lam = lam + self._carried(t, t_next, first, last)
            slope = self._at(t, t_next, self.flow)(t, lam)
        quadrature.begin()
        return lam, slope

    def accept(self) -> None:
        """The attempt was a step."""
        if self.v:  # the θ-integral had λ from t on, and not from t_i
            torch._foreach_sub_(self.flow.quadrature.total, self.v)
        self.begun = None

    def _carried(self, t: float, t_next: float, first: int, last: int) -> Tensor:
        """Σ Φ(t_i, t)ᵀ g_i over the observations first … last - 1."""
        g, h = self.grads[1 + first : 1 + last], t_next - t
        theta = (torch.tensor(self.times[first:last], dtype=torch.float64) - t) / h
        total, tableau = g.sum(dim=0), self.settings.tableau
        if not theta.any():  # it arrives at t
            return total
        weights = dense_weights(theta, tableau).to(g).T
        w = [h * x for x in weighted_sums(weights, g)]
        pull = self._at(t, t_next, self.flow.derivatives)
        for c, row in reversed([*zip(tableau.c, ((), *tableau.a))]):
            slope, v = pull(t + c * h, w.pop())
            total = total - slope
            for i, a in enumerate(row):
                w[i] = w[i].sub(slope, alpha=h * a)
            if self.v:
                torch._foreach_add_(self.v, v)
            else:
                self.v = [x.clone() for x in v]
        return total

    def _at(self, t: float, t_next: float, f: Callable) -> Callable:
        return one_sided(f, (t, t_next), self.settings.jumps, self.grads.dtype)

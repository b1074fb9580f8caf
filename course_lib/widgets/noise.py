"""Live figure: a stochastic differential equation, one Brownian path refined, many paths
and their density.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import torch
import traitlets
from torch import Tensor

from course_lib.random_systems import (
    DOUBLE_WELL,
    GEOMETRIC,
    ORNSTEIN_UHLENBECK,
    RANDOM_SYSTEMS,
    GeometricBrownian,
)
from course_lib.solvers import SDE_METHODS, BrownianPath, fokker_planck, solve_sde
from course_lib.widgets.figure import LiveFigure
from course_lib.widgets.page.module import module
from course_lib.widgets.traits import Whole, within

__all__ = ["NoiseExplorer", "NoiseSolution"]

END, PATHS, FINEST = 2.0, 200, 9  # the reference takes 2⁹ steps
CELLS, EDGE, TICKS = 121, 2.42, 200  # of the density of two wells, in space and time
DAMPED = 4  # half steps of backward Euler that a point as start needs
ACROSS = 121  # points of a density in closed form


@dataclass(frozen=True)
class NoiseSolution:
    """What a NoiseExplorer shows.

    Attributes
    ----------
    t : Tensor, shape (n + 1,), the ends of the steps
    ys : Tensor, shape (n + 1, 200), all paths; the first is the one that is drawn large
    exact : Tensor, shape (513,), the solution on the path of the first, of the integral
        that the method computes: in closed form, or by 512 steps of Heun
    error : float, how far the first is from it at most, at the ends of steps
    at : Tensor, shape (200,), all paths at `moment`
    x, density : Tensor, shape (121,), the exact density at `moment`, by Fokker–Planck for
        two wells; at t = 0 it is 0 everywhere, for it is a point
    """

    t: Tensor
    ys: Tensor
    exact: Tensor
    error: float
    at: Tensor
    x: Tensor
    density: Tensor


class NoiseExplorer(LiveFigure):
    """Paths of an SDE by steps of any size on the same noise, beside their density.

    Parameters
    ----------
    system : str, 'geometric', 'ornstein-uhlenbeck' or 'double well'
    method : str, a name in `SDE_METHODS`
    halvings : int from 1 to 8, the step size is 2 / 2^halvings
    seed : int from 0 to 9999, of the noise
    moment : float from 0 to 2, the time at which the density is shown

    Raises
    ------
    TraitError
        For a value that is not allowed; the message says what is.
    """

    _esm = module("noise.mjs")
    still = (
        "A live figure: paths of a stochastic differential equation by a method and a "
        "step size of your choice on the same noise, and their density over time."
    )
    facts: ClassVar = {
        "system": "its name",
        "method": "its name",
        "h": "step size",
        "t": "the time at which the density is shown",
        "error": "largest distance of the path from the exact one of its integral",
        "apart": "its distance from the exact one of Itô's integral at the end",
        "mean": "mean of all paths at t",
        "spread": "their standard deviation at t",
    }
    system = traitlets.Enum(list(RANDOM_SYSTEMS), "geometric").tag(sync=True)
    method = traitlets.Enum(list(SDE_METHODS), "euler-maruyama").tag(sync=True)
    halvings = Whole(4).tag(sync=True)
    seed = Whole(0).tag(sync=True)
    moment = traitlets.CFloat(1.0).tag(sync=True)

    @traitlets.validate("halvings")
    def _validate_halvings(self, proposal):
        return within(proposal, 1, FINEST - 1)

    @traitlets.validate("seed")
    def _validate_seed(self, proposal):
        return within(proposal, 0, 9999)

    @traitlets.validate("moment")
    def _validate_moment(self, proposal):
        return within(proposal, 0, END)

    @torch.no_grad()
    def solution(self) -> NoiseSolution:
        """Return what the figure shows."""
        n = 2**self.halvings
        t = torch.linspace(0, END, n + 1, dtype=torch.float64)
        ys = self._solve(PATHS, t, self.method)
        exact = self._exact()
        place = self.moment / END * n
        i = min(int(place), n - 1)
        x, density = self._density()
        return NoiseSolution(
            t=t,
            ys=ys,
            exact=exact,
            error=(ys[:, 0] - exact[:: 2**FINEST // n]).abs().max().item(),
            at=torch.lerp(ys[i], ys[i + 1], place - i),
            x=x,
            density=density,
        )

    def _solve(self, paths: int, t: Tensor, method: str) -> Tensor:
        system = RANDOM_SYSTEMS[self.system]
        W = BrownianPath((paths,), seed=self.seed, span=(0.0, END))
        y0 = torch.full((paths,), system.y0, dtype=torch.float64)
        how: dict[str, Any] = dict(path=W, step_size=t[1].item(), method=method)
        return solve_sde(system.f, system.g, y0, t, **how).ys

    def _exact(self) -> Tensor:
        t = torch.linspace(0, END, 2**FINEST + 1, dtype=torch.float64)
        if self.system == "geometric":
            w = BrownianPath((1,), seed=self.seed, span=(0.0, END))(t)[:, 0]
            return self._geometric().path(t, w)
        return self._solve(1, t, "heun")[:, 0]

    def _geometric(self) -> GeometricBrownian:
        """Return the equation in Itô's form that the method solves."""
        if SDE_METHODS[self.method].integral == "ito":
            return GEOMETRIC
        return replace(GEOMETRIC, mu=GEOMETRIC.mu + GEOMETRIC.sigma**2 / 2)

    def _density(self) -> tuple[Tensor, Tensor]:
        if self.system == "double well":
            edges = torch.linspace(-EDGE, EDGE, CELLS + 1, dtype=torch.float64)
            p = _densities()[round(self.moment / END * TICKS)]
            return (edges[1:] + edges[:-1]) / 2, p * (self.moment > 0)
        low, high = RANDOM_SYSTEMS[self.system].window
        x = torch.linspace(low, high, ACROSS, dtype=torch.float64)
        if self.moment == 0:
            return x, torch.zeros_like(x)
        if self.system == "geometric":
            return x, self._geometric().density(self.moment, x)
        return x, ORNSTEIN_UHLENBECK.density(self.moment, x)


@cache
def _densities() -> Tensor:
    """Return the density of two wells at every tick, shape (201, 121).

    The Fokker–Planck matrix by Crank and Nicolson's steps. They would let the wiggles of
    a point live on, so that the first two are four half steps of backward Euler.
    """
    edges = torch.linspace(-EDGE, EDGE, CELLS + 1, dtype=torch.float64)
    A = fokker_planck(DOUBLE_WELL.f, DOUBLE_WELL.g, edges)
    one, h = torch.eye(CELLS, dtype=torch.float64), END / TICKS
    p = one[CELLS // 2] * CELLS / (2 * EDGE)
    kept = [p]
    for k in range(TICKS):
        if k < DAMPED // 2:
            for _ in range(2):
                p = torch.linalg.solve(one - h / 2 * A, p)
        else:
            p = torch.linalg.solve(one - h / 2 * A, p + h / 2 * (A @ p))
        kept.append(p)
    return torch.stack(kept)

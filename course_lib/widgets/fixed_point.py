"""Live figure: an equation z = f(z), and three ways to its solution, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import traitlets
from torch import Tensor

from course_lib.models import FixedPoint, fixed_point
from course_lib.widgets.figure import LiveFigure
from course_lib.widgets.page.module import module
from course_lib.widgets.traits import Finite, Whole, within

__all__ = ["FixedPointExplorer"]

MOST = 40  # steps
ARRIVED = 1e-8  # the residual at which a solve ends
SHIFT = 0.5  # of the maps of one number
TURN = ((0.6, -0.8), (0.8, 0.6))  # the map of the plane turns by 53° ...
PLANE_SHIFT = (0.5, -0.3)  # ... and shifts
SECOND = -1.0  # the second number of a start in the plane


class FixedPointExplorer(LiveFigure):
    """A map with a dial, the steps of an iteration on it, and its residual.

    Parameters
    ----------
    problem : str, 'line', 'tanh' or 'plane'
        wz + 1/2, tanh(wz + 1/2), or tanh(w R z + b) with a rotation R.
    weight : float from -3 to 3, the dial w
    method : str, 'plain', 'anderson' or 'newton'
    start : float from -2 to 2, the first number of z0
    step : int from 0 to 40, how many steps are drawn

    Raises
    ------
    TraitError
        For a value that is not allowed; the message says what is.
    """

    _esm = module("fixed_point.mjs")
    still = (
        "A live figure: an equation z = f(z) with a dial, and how plain iteration, "
        "Anderson acceleration and Newton's method go about it."
    )
    facts: ClassVar = {
        "problem": "its name",
        "method": "its name",
        "w": "the dial",
        "start": "first number of z0",
        "nfe": "evaluations of f, to the end of the solve",
        "z": "first number of the solution, if the solve arrives",
        "radius": "spectral radius of the Jacobian there; of one number, size of the slope",
    }
    problem = traitlets.Enum(["line", "tanh", "plane"], "tanh").tag(sync=True)
    weight = Finite(-0.9).tag(sync=True)
    method = traitlets.Enum(["plain", "anderson", "newton"], "plain").tag(sync=True)
    start = Finite(-1.5).tag(sync=True)
    step = Whole(4).tag(sync=True)

    @traitlets.validate("weight")
    def _validate_weight(self, proposal):
        return within(proposal, -3, 3)

    @traitlets.validate("start")
    def _validate_start(self, proposal):
        return within(proposal, -2, 2)

    @traitlets.validate("step")
    def _validate_step(self, proposal):
        return within(proposal, 0, MOST)

    def map(self) -> Callable[[Tensor], Tensor]:
        """Return f, which takes z of shape (1,), or (2,) in the plane."""
        w = self.weight
        if self.problem == "line":
            return lambda z: w * z + SHIFT
        if self.problem == "tanh":
            return lambda z: torch.tanh(w * z + SHIFT)
        turn, shift = (
            torch.tensor(x, dtype=torch.float64) for x in (TURN, PLANE_SHIFT)
        )
        return lambda z: torch.tanh(w * turn @ z + shift)

    def solution(self) -> FixedPoint:
        """Return the solve that the figure shows, to its end.

        Raises
        ------
        SolverError
            If it does not arrive in 40 steps.
        """
        z0 = [self.start, SECOND] if self.problem == "plane" else [self.start]
        return fixed_point(
            self.map(),
            torch.tensor(z0, dtype=torch.float64),
            method=self.method,
            tol=ARRIVED,
            max_steps=MOST,
            memory=len(z0) + 1,
        )

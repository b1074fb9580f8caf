"""Live figure: a tolerance, the steps it leads to, and the error that comes of it."""

from __future__ import annotations

from typing import ClassVar

import traitlets

from course_lib.solvers import Solution, solve
from course_lib.systems import SYSTEMS
from course_lib.widgets.figure import LiveFigure, start_of
from course_lib.widgets.page.module import ADAPTIVE, PROBLEMS, module
from course_lib.widgets.traits import Positive

__all__ = ["ToleranceExplorer"]


class ToleranceExplorer(LiveFigure):
    """A tolerance, the steps it leads to, and the error that comes of it.

    Parameters
    ----------
    problem : str, a name in `course_lib.systems.SYSTEMS`
    method : str, 'bosh3', 'dopri5' or 'tsit5'
    rtol : float, positive; atol is the same

    Raises
    ------
    TraitError
        For a value that is not allowed; the message says what is.
    """

    _esm = module("tolerance.mjs")
    still = (
        "A live figure: accepted and rejected steps, their sizes, and the error of an "
        "adaptive solve, for a problem, a method and a tolerance of your choice."
    )
    facts: ClassVar = {
        "problem": "its name",
        "method": "its name",
        "rtol": "tolerance",
        "nfe": "evaluations of f",
        "accepted": "steps",
        "rejected": "attempts",
        "error": "largest error",
        "rk4_error": "largest error of RK4 at the same cost",
    }
    problem = traitlets.Enum(PROBLEMS, "vanderpol").tag(sync=True)
    method = traitlets.Enum(ADAPTIVE, "dopri5").tag(sync=True)
    rtol = Positive(1e-3).tag(sync=True)

    def solution(self) -> Solution:
        """Return the adaptive solve that the figure shows; `ys` holds both ends."""
        system = SYSTEMS[self.problem]
        return solve(
            system.f,
            start_of(self.problem),
            system.span,
            method=self.method,
            rtol=self.rtol,
            atol=self.rtol,
        )

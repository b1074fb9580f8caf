"""Live figure: one step size, one path, and where it ends."""

from __future__ import annotations

from typing import ClassVar

import traitlets

from course_lib.solvers import Solution, solve
from course_lib.systems import SYSTEMS
from course_lib.widgets.figure import LiveFigure, start_of, step_ends
from course_lib.widgets.page.module import FIXED, MAX_STEPS, PROBLEMS, module
from course_lib.widgets.traits import Positive

__all__ = ["StepSizeExplorer"]


class StepSizeExplorer(LiveFigure):
    """A fixed step size, the path it leads to, and the exact one.

    Parameters
    ----------
    problem : str, a name in `course_lib.systems.SYSTEMS`
    method : str, 'euler', 'midpoint', 'heun' or 'rk4'
    step_size : float, positive

    Raises
    ------
    TraitError
        For a value that is not allowed; the message says what is.
    """

    _esm = module("step_size.mjs")
    still = (
        "A live figure: the path of a Runge–Kutta method beside the exact one, for a "
        "problem, a method and a step size of your choice."
    )
    facts: ClassVar = {
        "problem": "its name",
        "method": "its name",
        "h": "step size",
        "nfe": "evaluations of f",
        "steps": "steps taken",
        "error": "distance from the exact end",
    }
    problem = traitlets.Enum(PROBLEMS, "spiral").tag(sync=True)
    method = traitlets.Enum(FIXED, "euler").tag(sync=True)
    step_size = Positive(0.1).tag(sync=True)

    def solution(self) -> Solution:
        """Return the solve that the figure shows, a state for every step.

        Raises
        ------
        SolverError
            If the path overflows or takes too many steps.
        """
        system = SYSTEMS[self.problem]
        return solve(
            system.f,
            start_of(self.problem),
            step_ends(system.span, self.step_size, most=MAX_STEPS),
            method=self.method,
            step_size=self.step_size,
            max_steps=MAX_STEPS,
        )

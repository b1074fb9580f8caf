"""Live figure: the adjoint on its way back, and what is lost there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import traitlets
from torch import Tensor

from course_lib.solvers import (
    DOPRI5,
    AdjointDynamics,
    Quadrature,
    Settings,
    Solution,
    odeint,
    solve,
    solve_back,
)
from course_lib.systems import SYSTEMS
from course_lib.widgets.figure import LiveFigure, start_of
from course_lib.widgets.page.module import MAX_STEPS, PLANE, module
from course_lib.widgets.traits import Point, Positive

__all__ = ["AdjointExplorer", "AdjointSolution"]


@dataclass(frozen=True)
class AdjointSolution:
    """What an AdjointExplorer shows.

    Attributes
    ----------
    forward : Solution, `ys` holds both ends
    gradient : Tensor, shape (2,), ∂L/∂y0 by the adjoint
    exact : Tensor, shape (2,), the same at tolerance 1e-11, by backpropagation
    reconstructed : Tensor, shape (2,), the start as the way back finds it
    nfe_back : int, evaluations of f on the way back
    """

    forward: Solution
    gradient: Tensor
    exact: Tensor
    reconstructed: Tensor
    nfe_back: int


class AdjointExplorer(LiveFigure):
    """The adjoint of ``L = |y(T) - target|²`` on its way back, and what is lost there.

    Parameters
    ----------
    problem : str, a name in `course_lib.systems.SYSTEMS`, in the plane
    target : two floats
    rtol : float, positive; atol is the same, forward and back

    Raises
    ------
    TraitError
        For a value that is not allowed; the message says what is.
    """

    _esm = module("adjoint.mjs")
    still = (
        "A live figure: a path forward, the adjoint on its way back, and the errors of "
        "the reconstructed state and of the gradient, for a tolerance of your choice."
    )
    facts: ClassVar = {
        "problem": "its name",
        "rtol": "tolerance",
        "nfe": "evaluations of f forward",
        "nfe_back": "evaluations of f on the way back",
        "reconstruction": "by how much the way back misses the start",
        "error": "relative error of the gradient",
    }
    problem = traitlets.Enum(PLANE, "ring").tag(sync=True)
    target = Point([1.0, 1.0], minlen=2, maxlen=2).tag(sync=True)
    rtol = Positive(1e-4).tag(sync=True)

    def solution(self) -> AdjointSolution:
        """Return what the figure shows, by the course's adjoint.

        Raises
        ------
        SolverError
            If the way back cannot go on.
        """
        system, y0 = SYSTEMS[self.problem], start_of(self.problem)
        target = torch.tensor(list(self.target), dtype=torch.float64)
        tolerance = dict(rtol=self.rtol, atol=self.rtol)
        forward = solve(system.f, y0, system.span, **tolerance)
        end = forward.ys[-1]
        flow = AdjointDynamics(system.f, end, (), Quadrature((), DOPRI5))
        arriving = 2 * (end - target)
        size = arriving.abs().max().item() or 1.0  # as in odeint_adjoint
        z = torch.stack((end, arriving / size))
        control = Settings(**tolerance, max_steps=MAX_STEPS, parts=2)
        (reconstructed, lam), _, _ = solve_back(flow, system.span[::-1], z, control)
        return AdjointSolution(
            forward=forward,
            gradient=size * lam,
            exact=_exact_gradient(self.problem, target),
            reconstructed=reconstructed,
            nfe_back=flow.f.nfe,
        )


@torch.enable_grad()
def _exact_gradient(problem: str, target: Tensor) -> Tensor:
    """Return ∂L/∂y0 by backpropagation through a solve at tolerance 1e-11."""
    system, y0 = SYSTEMS[problem], start_of(problem).requires_grad_()
    ys = odeint(system.f, y0, system.span, rtol=1e-11, atol=1e-13)
    (gradient,) = torch.autograd.grad((ys[-1] - target).square().sum(), y0)
    return gradient

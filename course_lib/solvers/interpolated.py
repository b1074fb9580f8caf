"""Gradients by the adjoint equation along the path that the forward solve took.

`odeint_adjoint` solves y backwards again, and where the flow contracts that is a solve of
a flow that expands: what comes back is not the path that was taken. Here the path is
kept, as a polynomial a step, and only λ is solved for::

    λ' = -λᵀ ∂f/∂y(t, y(t))        ∂L/∂θ = ∫ λᵀ ∂f/∂θ(t, y(t)) dt

It costs memory for a few states a step, not for what f computes on its way.

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.6 (dense output).
Ma, Dixit, Innes, Guo, Rackauckas 2021, A Comparison of Automatic Differentiation and
Continuous Sensitivity Analysis for Derivatives of Differential Equation Solutions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from course_lib.solvers.arrivals import carry_across
from course_lib.solvers.backward import (
    AdjointDynamics,
    adjoint_plan,
    gradients_back,
    last_slope,
)
from course_lib.solvers.checks import GuardedField, check_problem, parameters_of
from course_lib.solvers.forward_pass import (
    applied,
    refuse_second_derivatives,
    remember,
)
from course_lib.solvers.parts import takes_parts
from course_lib.solvers.settings import Settings, settings_from
from course_lib.solvers.solve import observed, walk
from course_lib.solvers.stages import weighted_sums
from course_lib.solvers.steps import Step, to_float

__all__ = [
    "AlongThePath",
    "InterpolatedSolve",
    "Path",
    "odeint_interpolated",
    "polynomial",
]


@takes_parts
def odeint_interpolated(
    f: Callable,
    y0: Tensor,
    t: Tensor | Sequence[float],
    *,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_params: Sequence[Tensor] | None = None,
    check_theta: bool = False,
    **settings,
) -> Tensor:
    """`odeint`, with gradients from the adjoint equation along the path that was taken.

    Parameters
    ----------
    f, y0, t, adjoint_rtol, adjoint_atol, adjoint_params, check_theta, **settings
        As for `odeint_adjoint`.

    Returns
    -------
    ys : Tensor, shape (len(t), *y0.shape)

    Raises
    ------
    TypeError, ValueError, SolverError, RuntimeError
        As `odeint_adjoint`.

    Notes
    -----
    The number of requested times hardly matters: a step of λ that passes some costs about
    twice as many products as one that passes none (see `course_lib.solvers.arrivals`). A
    gradient for t itself takes f once more at each.

    The forward pass keeps a polynomial for each step, of at most five states for
    'dopri5', where `odeint` keeps what six evaluations of f leave behind and
    `odeint_adjoint` nothing.
    """
    times, forward = check_problem(f, y0, t, settings_from(settings))
    plan = adjoint_plan(forward, adjoint_rtol, adjoint_atol, check_theta, parts=1)
    params = parameters_of(f, adjoint_params)
    return applied(InterpolatedSolve, f, times, y0, params, plan)


class InterpolatedSolve(torch.autograd.Function):
    """A solve whose backward pass is the adjoint equation along its path."""

    @staticmethod
    def forward(ctx, f, plan, t, y0, *params):
        """The solution at the times t, computed without a graph; kept is its path."""
        field, pieces, step = GuardedField(f, y0), [y0[None]], None
        ends, polynomials = [t[0].item()], []
        with torch.no_grad():
            for step, wanted in walk(field, y0, t, plan.forward):
                pieces += observed(step, plan.forward.tableau, wanted)
                polynomials.append(polynomial(step, field, plan.forward))
                ends.append(to_float(step.t_next))
            ys = torch.cat(pieces if step else pieces * len(t))
            last_dy = last_slope(field, step, plan.forward) if step else y0
        ctx.there, ctx.plan, ctx.ends = remember(f, y0.device), plan, ends
        ctx.save_for_backward(t, ys, last_dy, *polynomials, *params)
        return ys

    @staticmethod
    def backward(ctx, grad_ys):
        """∂L/∂t, ∂L/∂y0 and ∂L/∂θ from ∂L/∂ys."""
        refuse_second_derivatives("odeint_interpolated")
        n = 3 + len(ctx.ends) - 1
        t, ys, last_dy = ctx.saved_tensors[:3]
        path = Path(ctx.ends, ctx.saved_tensors[3:n], ys[-1])
        saved = (t, ys, last_dy, *ctx.saved_tensors[n:])
        dynamics = partial(AlongThePath, path)
        return gradients_back(ctx, dynamics, saved, grad_ys, carry_across)


def polynomial(step: Step, f: GuardedField, settings: Settings) -> Tensor:
    """The solution inside a step as the coefficients of 1, θ, θ², …, shape (p, *state):
    the dense output of the method, or else the cubic with the right slopes (Hermite).
    """
    tableau, h, y = settings.tableau, to_float(step.h), step.y
    if tableau.dense is not None:
        dense = torch.tensor(tableau.dense, dtype=y.dtype, device=y.device)
        terms = h * weighted_sums(dense.T, step.stages)
        return torch.cat((y[None], terms))
    change, begin = step.y_next - y, h * step.stages[0]
    end = h * last_slope(f, step, settings)
    cubic = (3 * change - 2 * begin - end, begin + end - 2 * change)
    return torch.stack((y, begin, *cubic))


class Path:
    """The solution between the ends of its steps, from their polynomials.

    Parameters
    ----------
    ends : sequence of n + 1 floats, where the steps start and end, in order
    polynomials : sequence of n Tensor, each of shape (p, *state)
    last : Tensor, shape (*state), the solution where the last step ends, to the last bit
    """

    def __init__(
        self, ends: Sequence[float], polynomials: Sequence[Tensor], last: Tensor
    ):
        self.polynomials, self.ends, self.last = polynomials, ends, last
        self.sign = 1.0 if ends[-1] > ends[0] else -1.0
        self.later = [self.sign * end for end in ends[1:-1]]

    def __call__(self, t: float) -> Tensor:
        """The solution at t, shape (*state)."""
        if t == self.ends[-1]:
            return self.last
        i = bisect_left(self.later, self.sign * t)
        start, end = self.ends[i : i + 2]
        theta = (t - start) / (end - start)
        y, *higher = reversed(self.polynomials[i].unbind())
        for coefficient in higher:  # Horner
            y = torch.add(coefficient, y, alpha=theta)
        return y


class AlongThePath(AdjointDynamics):
    """The backward dynamics of λ alone, with y(t) from a path: ``-λᵀ ∂f/∂y``."""

    def __init__(self, path: Path, *arguments):
        super().__init__(*arguments)
        self.path = path

    def state(self, y: Tensor, lam: Tensor) -> Tensor:  # noqa: ARG002 (y is known)
        """λ, without y."""
        return lam

    def lam(self, z: Tensor) -> Tensor:
        """λ of a state."""
        return z

    def derivatives(self, t: float, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """dλ/dt and v at (t, λ), with nothing handed on."""
        _, dlam, v = self.pullback(t, self.path(to_float(t)), z)
        return dlam, v

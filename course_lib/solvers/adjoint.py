"""Gradients by the adjoint equation, in memory that does not grow with the steps.

With λ(t) the sensitivity of the loss to y(t), solve backwards in time::

    y' = f(t, y)        λ' = -λᵀ ∂f/∂y        ∂L/∂θ = ∫ λᵀ ∂f/∂θ dt

and let λ jump by ∂L/∂y(t_i) at every observation (`backward` does).

References
----------
Chen, Rubanova, Bettencourt, Duvenaud 2018, Neural Ordinary Differential Equations,
section 2 and appendix C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

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
from course_lib.solvers.settings import settings_from
from course_lib.solvers.solve import observed, walk

__all__ = ["AdjointSolve", "odeint_adjoint"]


@takes_parts
def odeint_adjoint(
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
    """`odeint`, with gradients from the adjoint equation: memory does not grow with the
    number of steps.

    Parameters
    ----------
    f, y0, t, **settings
        As for `course_lib.solvers.solve`; not with a method of `STIFF_METHODS`.
    adjoint_rtol, adjoint_atol : float, optional
        Tolerances of the backward solve; `rtol` and `atol` unless given.
    adjoint_params : sequence of Tensor, optional
        The tensors besides y0 and t that the gradient must reach. An `nn.Module` is
        asked for its parameters; any other callable has to say, if only ``()``.
    check_theta : bool
        Whether the steps of the backward solve answer for the θ-integral too. Without
        it they are chosen for y and λ alone, and an f whose θ-part varies faster than
        they do (θ sin 50t at θ = 0) gets a wrong gradient for θ. With it the networks
        of this course had gradients at most five times as good for up to 2.4 times the
        evaluations, and each costs more: so it is left to who needs it.

    Returns
    -------
    ys : Tensor, shape (len(t), *y0.shape)

    Raises
    ------
    TypeError, ValueError, SolverError
        As `solve`; a SolverError can also come out of ``backward()``.

    Notes
    -----
    This is the gradient of the exact solution, approximated by a second solve
    (optimise, then discretise), not the gradient of the numbers computed. The two meet
    as the tolerances shrink.

    The way back starts anew at every requested time, from the solution that was kept, and
    pays some seven evaluations for each: for many times see `odeint_interpolated`.

    The tolerance of λ is relative to the largest entry of the gradient that arrives: a
    loss times 1000, or a mean in place of a sum, has its gradient to the same digits.

    The way back calls f again. It takes the parameters and the autocast of the forward
    pass; a RuntimeError says so if f answers otherwise than it did then (an attribute, a
    mode, a buffer changed), or uses tensors that would lose their gradient: it looks for
    those once in every step.
    """
    times, forward = check_problem(f, y0, t, settings_from(settings))
    plan = adjoint_plan(forward, adjoint_rtol, adjoint_atol, check_theta, parts=2)
    params = parameters_of(f, adjoint_params)
    return applied(AdjointSolve, f, times, y0, params, plan)


class AdjointSolve(torch.autograd.Function):
    """A solve whose backward pass is the adjoint equation."""

    @staticmethod
    def forward(ctx, f, plan, t, y0, *params):
        """The solution at the times t, computed without a graph."""
        field, pieces, step = GuardedField(f, y0), [y0[None]], None
        with torch.no_grad():
            for step, wanted in walk(field, y0, t, plan.forward):
                pieces += observed(step, plan.forward.tableau, wanted)
            # Without a step all times are one: the solution is y0 at each.
            ys = torch.cat(pieces if step else pieces * len(t))
            last_dy = last_slope(field, step, plan.forward) if step else y0
        ctx.there, ctx.plan = remember(f, y0.device), plan
        ctx.save_for_backward(t, ys, last_dy, *params)
        return ys

    @staticmethod
    def backward(ctx, grad_ys):
        """∂L/∂t, ∂L/∂y0 and ∂L/∂θ from ∂L/∂ys."""
        refuse_second_derivatives("odeint_adjoint")
        return gradients_back(ctx, AdjointDynamics, ctx.saved_tensors, grad_ys)

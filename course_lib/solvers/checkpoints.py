"""The gradient of the numbers computed, in the memory of √n of n steps.

References
----------
Griewank 1992, Achieving logarithmic growth of temporal and spatial complexity in
reverse automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.solvers.checks import (
    GuardedField,
    check_problem,
    parameters_of,
)
from course_lib.solvers.forward_pass import (
    applied,
    refuse_second_derivatives,
    remember,
)
from course_lib.solvers.jumps import one_sided
from course_lib.solvers.parts import takes_parts
from course_lib.solvers.rosenbrock import Tableau
from course_lib.solvers.settings import Settings, check_whole, settings_from
from course_lib.solvers.solve import observed, walk
from course_lib.solvers.steps import Step, take_step, to_float

__all__ = ["CheckpointedSolve", "Leg", "odeint_checkpointed", "repeat_steps"]


@takes_parts
def odeint_checkpointed(
    f: Callable,
    y0: Tensor,
    t: Tensor | Sequence[float],
    *,
    checkpoints: int | None = None,
    adjoint_params: Sequence[Tensor] | None = None,
    **settings,
) -> Tensor:
    """`odeint` and the gradient of its numbers, in the memory of a few steps.

    The forward pass keeps some of the states it goes through, and the size of every
    step. The backward pass takes the stretches between them one at a time, last one
    first: it repeats the steps of a stretch with gradients on and backpropagates.

    Parameters
    ----------
    f, y0, t, **settings
        As for `solve`; called twice, f must answer the same.
    checkpoints : int, optional
        The most states to keep; without it about √n of n steps.
    adjoint_params : sequence of Tensor, optional
        As for `odeint_adjoint`.

    Returns
    -------
    ys : Tensor, shape (len(t), *y0.shape)

    Raises
    ------
    TypeError, ValueError, SolverError
        As `solve`.

    Notes
    -----
    f is evaluated about twice as often as in the forward pass alone. With c checkpoints
    the backward pass holds c states and the graph of n / c to 2n / c steps.

    References
    ----------
    Griewank 1992; Chen, Xu, Zhang, Guestrin 2016, Training Deep Nets with Sublinear
    Memory Cost, for networks.
    """
    times, chosen = check_problem(f, y0, t, settings_from(settings))
    if times.requires_grad and chosen.jumps:
        raise ValueError(
            "odeint_checkpointed gives times no gradient where f jumps; use odeint or "
            "odeint_adjoint, or t.detach()"
        )
    if checkpoints is not None:
        advice = "leave it out to keep about √n of n states"
        checkpoints = check_whole("checkpoints", checkpoints, advice)
    params = parameters_of(f, adjoint_params)
    return applied(CheckpointedSolve, f, times, y0, params, chosen, checkpoints)


class Leg(NamedTuple):
    """A step to be repeated: from t to t_next = t + h, past the observations first …
    last - 1.
    """

    t: float | Tensor
    t_next: float | Tensor
    h: float | Tensor
    first: int
    last: int


class CheckpointedSolve(torch.autograd.Function):
    """A solve whose backward pass repeats its steps, a stretch at a time."""

    @staticmethod
    def forward(ctx, f, settings, checkpoints, t, y0, *params):
        """The solution at the times t; kept are some states and the size of every step."""
        pieces, kept, stride, last = [y0[None]], [], 1, 1
        legs: list[Leg] = []
        with torch.no_grad():
            for step, wanted in walk(GuardedField(f, y0), y0, t, settings):
                if len(legs) % stride == 0:
                    kept.append(step.y)
                if len(kept) > (checkpoints or 2 * stride):
                    kept, stride = kept[::2], 2 * stride
                pieces += observed(step, settings.tableau, wanted)
                first, last = last, last + len(wanted)
                legs.append(Leg(step.t, step.t_next, step.h, first, last))
            # Without a step all times are one: the solution is y0 at each.
            ys = torch.cat(pieces if legs else pieces * len(t))
            if legs:
                kept.append(step.y_next)  # what repeating the last stretch must give
        ctx.there, ctx.settings = remember(f, y0.device), settings
        ctx.legs, ctx.stride, ctx.states = legs, stride, len(kept)
        ctx.save_for_backward(t, *kept, *params)
        return ys

    @staticmethod
    def backward(ctx, grad_ys):
        """∂L/∂t, ∂L/∂y0 and ∂L/∂θ from ∂L/∂ys, from the last stretch to the first."""
        refuse_second_derivatives("odeint_checkpointed")
        t, *saved = ctx.saved_tensors
        kept, params = saved[: ctx.states], saved[ctx.states :]
        t = t.detach().requires_grad_(ctx.needs_input_grad[3])
        # One may be frozen by now.
        wanted = [x for x in (*params, t) if x.requires_grad]
        sums, lam = [torch.zeros_like(x) for x in wanted], torch.zeros_like(grad_ys[0])
        f = ctx.there.field()
        for i in reversed(range(len(kept) - 1)):
            legs = ctx.legs[i * ctx.stride : (i + 1) * ctx.stride]
            y = kept[i].detach().requires_grad_()
            with torch.enable_grad():
                end, ys = repeat_steps(f, y, t, legs, ctx.settings)
            ctx.there.require_known(end, (y, *wanted))
            ctx.there.require_same(
                end.detach(), kept[i + 1], floor=lambda: kept[0].abs().max().item()
            )
            arriving = (lam, grad_ys[legs[0].first : legs[-1].last])
            lam, *grads = torch.autograd.grad(
                (end, ys), (y, *wanted), arriving, allow_unused=True
            )
            for total, grad in zip(sums, grads):
                if grad is not None:
                    total.add_(grad)
        found = iter(sums)
        grads = [next(found) if x.requires_grad else None for x in (*params, t)]
        at_start = grad_ys[0] if ctx.legs else grad_ys.sum(dim=0)
        return None, None, None, grads.pop(), lam + at_start, *grads


def repeat_steps(
    f: Callable, y: Tensor, t: Tensor, legs: Sequence[Leg], settings: Settings
) -> tuple[Tensor, Tensor]:
    """Take recorded steps once more.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``
    y : Tensor, shape (*state), where the first leg starts
    t : Tensor, shape (n,), the times of the observations; the steps move with them if
        they want a gradient
    legs : sequence of Leg
    settings : Settings, those they were taken with

    Returns
    -------
    y : Tensor, shape (*state), where the last leg ends
    ys : Tensor, shape (k, *state), the observations on the way
    """
    field, k1, tableau = GuardedField(f, y), None, settings.tableau
    moments = t if t.requires_grad else t.tolist()
    pieces = [y[None][:0]]
    for leg in legs:
        start, h = _moved(leg, t, tableau) if t.requires_grad else (leg.t, leg.h)
        if leg.t in settings.jumps:
            k1 = None
        g = one_sided(field, (leg.t, leg.t_next), settings.jumps, y.dtype)
        y_next, stages = take_step(g, start, y, h, tableau, k1)
        step = Step(start, leg.t_next, h, y, y_next, stages, 0, to_float(leg.h))
        pieces += observed(step, tableau, moments[leg.first : leg.last])
        y, k1 = y_next, stages[-1] if tableau.fsal else None
    return y, torch.cat(pieces)


def _moved(leg: Leg, t: Tensor, tableau: Tableau) -> tuple[Tensor, float | Tensor]:
    """Start and size of a step as functions of the times: an adaptive grid moves with
    t[0]; fixed steps start from the observation before, and the last ends at the next.
    """
    anchor = t[0 if tableau.adaptive else leg.first - 1].double()
    start = anchor + (leg.t - anchor.detach())
    if tableau.adaptive or leg.last == leg.first:
        return start, leg.h
    return start, t[leg.first].double() - start

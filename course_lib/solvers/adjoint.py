"""Gradients of a solve in little memory: the continuous adjoint, and checkpoints.

`odeint_adjoint` has the gradient of the exact solution in constant memory,
`odeint_checkpointed` that of the numbers computed, in the memory of √n steps.

The adjoint: with λ(t) the sensitivity of the loss to y(t), solve backwards in time::

    y' = f(t, y)        λ' = -λᵀ ∂f/∂y        ∂L/∂θ = ∫ λᵀ ∂f/∂θ dt

and let λ jump by ∂L/∂y(t_i) at every observation. y and λ form the state of the
backward solve; the θ-integral feeds back into neither, so it is a quadrature on the
same stages and has no part in the error control.

References
----------
Chen, Rubanova, Bettencourt, Duvenaud 2018, Neural Ordinary Differential Equations,
section 2 and appendix C.
Griewank 1992, Achieving logarithmic growth of temporal and spatial complexity in
reverse automatic differentiation.
Kidger, Chen, Lyons 2021, "Hey, that's not an ODE": faster ODE adjoints via seminorms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.solvers.solve import (
    Dynamics,
    SolverError,
    Step,
    adaptive_steps,
    check_positive,
    check_problem,
    check_settings,
    fixed_steps,
    interpolate,
    rk_step,
    solve,
)
from course_lib.solvers.tableaus import ButcherTableau


def odeint_adjoint(
    f: Callable,
    y0: Tensor,
    t: Tensor | Sequence[float],
    *,
    method: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-6,
    step_size: float | None = None,
    max_steps: int = 10_000,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_params: Sequence[Tensor] | None = None,
) -> Tensor:
    """`odeint`, with gradients from the adjoint equation: memory does not grow with the
    number of steps.

    Parameters
    ----------
    f, y0, t, method, rtol, atol, step_size, max_steps
        As for `course_lib.solvers.solve`.
    adjoint_rtol, adjoint_atol : float, optional
        Tolerances of the backward solve; `rtol` and `atol` unless given.
    adjoint_params : sequence of Tensor, optional
        The tensors besides y0 and t that the gradient must reach. An `nn.Module` is
        asked for its parameters; any other callable has to say, if only ``()``.

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
    """
    tableau = check_settings(method, rtol, atol, step_size, max_steps)
    times = check_problem(f, y0, t)
    for name, value in (("adjoint_rtol", adjoint_rtol), ("adjoint_atol", adjoint_atol)):
        if value is not None:
            check_positive(name, value, "leave it out to use the forward tolerance")
    params = _parameters(f, adjoint_params)
    forward = dict(
        method=method, rtol=rtol, atol=atol, step_size=step_size, max_steps=max_steps
    )
    backward = Settings(
        tableau=tableau,
        rtol=rtol if adjoint_rtol is None else adjoint_rtol,
        atol=atol if adjoint_atol is None else adjoint_atol,
        step_size=step_size,
        max_steps=max_steps,
    )
    return _Adjoint.apply(f, forward, backward, times, y0, *params)


def _parameters(f, adjoint_params) -> tuple[Tensor, ...]:
    """The tensors besides y0 and t that want a gradient."""
    if adjoint_params is None:
        if not isinstance(f, nn.Module):
            raise TypeError(
                f"f is a {type(f).__name__}, so its parameters are not known; make it an nn.Module, or list what the "
                "gradient must reach in adjoint_params (an empty tuple if f has no parameters)"
            )
        adjoint_params = f.parameters()
    return tuple(p for p in _as_tensors(adjoint_params) if p.requires_grad)


def _as_tensors(adjoint_params) -> tuple[Tensor, ...]:
    """The parameters as a tuple; one lone tensor would be taken apart into rows."""
    tensors = tuple(adjoint_params) if isinstance(adjoint_params, Iterable) else None
    if (
        isinstance(adjoint_params, Tensor)
        or tensors is None
        or not all(isinstance(p, Tensor) for p in tensors)
    ):
        raise TypeError(
            "adjoint_params must be a sequence of Tensors, such as (weight, bias), "
            f"got {adjoint_params!r}"
        )
    return tensors


@dataclass(frozen=True)
class Settings:
    """The settings of a solve, checked."""

    tableau: ButcherTableau
    rtol: float
    atol: float
    step_size: float | None
    max_steps: int


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, f, forward, backward, t, y0, *params):
        with torch.no_grad():
            ys = solve(f, y0, t, **forward).ys
        ctx.f, ctx.settings = f, backward
        ctx.save_for_backward(t, ys, *params)
        return ys

    @staticmethod
    def backward(ctx, grad_ys):
        if torch.is_grad_enabled():  # create_graph=True: a silent zero would follow
            raise RuntimeError(
                "odeint_adjoint gives first derivatives only; for second derivatives "
                "backpropagate through odeint"
            )
        t, ys, *params = ctx.saved_tensors
        moments = t.tolist()
        flow = AugmentedFlow(ctx.f, ys[0], params, ctx.settings.tableau.stages)
        grad_params = [torch.zeros_like(p) for p in params]
        grad_t = torch.zeros_like(t) if ctx.needs_input_grad[3] else None
        lam, h = torch.zeros_like(ys[0]), None
        for i in reversed(range(1, len(moments))):
            lam = lam + grad_ys[i]  # λ jumps at every observation
            if grad_t is not None:
                grad_t[i] = (grad_ys[i] * flow.f(moments[i], ys[i])).sum()
            lam, h = _integrate_back(
                flow,
                moments[i],
                moments[i - 1],
                ys[i],
                lam,
                grad_params,
                h,
                ctx.settings,
            )
        if grad_t is not None and len(moments) > 1:
            grad_t[0] = -(lam * flow.f(moments[0], ys[0])).sum()
        return None, None, None, grad_t, lam + grad_ys[0], *grad_params


def _integrate_back(flow, t, t_end, y, lam, grad_params, h, settings):
    """Carry λ from t back to t_end, adding the θ-integral to grad_params; return λ and
    the next step to try.
    """
    tableau, z = settings.tableau, torch.stack((y, lam))
    common = dict(tableau=tableau, max_steps=settings.max_steps)
    try:
        if tableau.adaptive:
            k1 = flow(t, z)
            first = flow.products[-1]
            for step in adaptive_steps(
                flow,
                t,
                z,
                t_end,
                k1=k1,
                h=h,
                parts=2,
                rtol=settings.rtol,
                atol=settings.atol,
                **common,
            ):
                products = [first, *list(flow.products)[1 - tableau.stages :]]
                _add_quadrature(grad_params, step.h, tableau.b, products)
                first = products[-1]  # the last stage is the first of the next step
        else:
            for step in fixed_steps(
                flow, t, z, t_end, step_size=settings.step_size, **common
            ):
                _add_quadrature(grad_params, step.h, tableau.b, flow.products)
    except SolverError as error:
        raise SolverError(
            f"in the backward solve of odeint_adjoint: {error}. Going back may be harder than going forward: try "
            "other adjoint_rtol and adjoint_atol, more observation times, or backpropagate through odeint"
        ) from error
    return step.y_next[1], step.h_next


def _add_quadrature(grad_params, h, b, products):
    """grad_params += h Σ b_i v_i, with v_i the θ-product at stage i."""
    for weight, product in zip(b, products):
        if weight != 0.0:
            for grad, v in zip(grad_params, product):
                if v is not None:
                    grad.add_(v, alpha=h * weight)


class AugmentedFlow:
    """The backward dynamics of z = (y, λ), shape (2, *state): ``(f, -λᵀ ∂f/∂y)``.

    Every call also computes -λᵀ ∂f/∂θ (negative: the integral runs backwards);
    `products` keeps those of the latest `stages` calls.
    """

    def __init__(self, f, y0: Tensor, params: Sequence[Tensor], stages: int):
        self.f, self.params = Dynamics(f, y0), params
        self.products = deque(maxlen=stages)

    def __call__(self, t: float, z: Tensor) -> Tensor:
        y, lam = z
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            dy = self.f(t, y)
        if dy.requires_grad:
            dlam, *product = torch.autograd.grad(
                dy, (y, *self.params), -lam, allow_unused=True
            )
        else:  # f uses neither y nor a parameter
            dlam, product = None, [None] * len(self.params)
        self.products.append(product)
        return torch.stack(
            (dy.detach(), torch.zeros_like(lam) if dlam is None else dlam)
        )


# --- checkpoints ----------------------------------------------------------------------


def odeint_checkpointed(
    f: Callable,
    y0: Tensor,
    t: Tensor | Sequence[float],
    *,
    method: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-6,
    step_size: float | None = None,
    max_steps: int = 10_000,
    checkpoints: int | None = None,
    adjoint_params: Sequence[Tensor] | None = None,
) -> Tensor:
    """`odeint` and the gradient of its numbers, in the memory of a few steps.

    The forward pass keeps some of the states it goes through, and the size of every
    step. The backward pass takes the stretches between them one at a time, last one
    first: it repeats the steps of a stretch with gradients on and backpropagates.

    Parameters
    ----------
    f, y0, t, method, rtol, atol, step_size, max_steps
        As for `course_lib.solvers.solve`; called twice, f must answer the same.
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
    tableau = check_settings(method, rtol, atol, step_size, max_steps)
    times = check_problem(f, y0, t)
    if checkpoints is not None and (
        not isinstance(checkpoints, int) or checkpoints is True or checkpoints < 1
    ):
        raise ValueError(
            f"checkpoints must be a positive whole number, got {checkpoints!r}; "
            "leave it out to keep about √n of n states"
        )
    params = _parameters(f, adjoint_params)
    settings = Settings(tableau, rtol, atol, step_size, max_steps)
    return _Checkpointed.apply(f, settings, checkpoints, times, y0, *params)


class _Checkpointed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, f, settings, checkpoints, t, y0, *params):
        moments, ys, legs, kept, stride = t.tolist(), [y0], [], [], 1
        with torch.no_grad():
            for step in _all_steps(Dynamics(f, y0), y0, moments, settings):
                if len(legs) % stride == 0:
                    kept.append(step.y)
                if len(kept) > (checkpoints or 2 * stride):
                    kept, stride = kept[::2], 2 * stride
                first, reached = len(ys), abs(step.t_next - moments[0])
                last = first
                while (
                    last < len(moments) and abs(moments[last] - moments[0]) <= reached
                ):
                    last += 1
                ys.extend(_observed(step, settings.tableau, moments[first:last]))
                legs.append(Leg(step.t, step.t_next, step.h, first, last))
        ctx.f, ctx.tableau, ctx.legs, ctx.stride = f, settings.tableau, legs, stride
        ctx.states = len(kept)
        ctx.save_for_backward(t, *kept, *params)
        return torch.stack(ys)

    @staticmethod
    def backward(ctx, grad_ys):
        if torch.is_grad_enabled():  # create_graph=True: a silent zero would follow
            raise RuntimeError(
                "odeint_checkpointed gives first derivatives only; for second "
                "derivatives backpropagate through odeint"
            )
        t, *saved = ctx.saved_tensors
        kept, params = saved[: ctx.states], saved[ctx.states :]
        t = t.detach().requires_grad_(ctx.needs_input_grad[3])
        wanted = (*params, t) if t.requires_grad else params
        sums, lam = [torch.zeros_like(x) for x in wanted], torch.zeros_like(grad_ys[0])
        for i in reversed(range(len(kept))):
            legs = ctx.legs[i * ctx.stride : (i + 1) * ctx.stride]
            with torch.enable_grad():
                y = kept[i].detach().requires_grad_()
                end, ys = _repeat(ctx.f, y, t, legs, ctx.tableau)
            arriving = (lam, *grad_ys[legs[0].first : legs[-1].last])
            lam, *grads = torch.autograd.grad(
                (end, *ys), (y, *wanted), arriving, allow_unused=True
            )
            for total, grad in zip(sums, grads):
                if grad is not None:
                    total.add_(grad)
        grad_t = sums.pop() if t.requires_grad else None
        return None, None, None, grad_t, lam + grad_ys[0], *sums


class Leg(NamedTuple):
    """A step to be repeated: from t to t_next = t + h, past the observations first …
    last - 1.
    """

    t: float
    t_next: float
    h: float
    first: int
    last: int


def _all_steps(f, y, moments, settings):
    """The steps that `solve` takes."""
    tableau, left = settings.tableau, settings.max_steps
    if tableau.adaptive and len(moments) > 1:
        control = dict(tableau=tableau, rtol=settings.rtol, atol=settings.atol)
        yield from adaptive_steps(
            f, moments[0], y, moments[-1], max_steps=left, **control
        )
    elif not tableau.adaptive:
        control = dict(tableau=tableau, step_size=settings.step_size)
        for start, stop in pairwise(moments):
            for step in fixed_steps(f, start, y, stop, max_steps=left, **control):
                left -= 1
                yield step
            y = step.y_next


def _observed(step, tableau, wanted) -> list[Tensor]:
    """The solution at the times `wanted` of one step: y_next at its end, dense output
    before.
    """
    inner = [moment for moment in wanted if moment != step.t_next]
    ends = [step.y_next] * (len(wanted) - len(inner))
    return [*interpolate(step, tableau, inner), *ends] if inner else ends


def _repeat(f, y, t, legs, tableau):
    """The state after the recorded steps, and the observations on the way."""
    f, moments, ys, k1 = Dynamics(f, y), t.tolist(), [], None
    for leg in legs:
        start, h = _moved(leg, t, tableau) if t.requires_grad else (leg.t, leg.h)
        y_next, stages = rk_step(f, start, y, h, tableau, k1)
        step = Step(start, leg.t_next, h, y, y_next, stages, 0, leg.h)
        if t.requires_grad and tableau.adaptive:
            ys.extend(interpolate(step, tableau, t[leg.first : leg.last].double()))
        else:
            ys.extend(_observed(step, tableau, moments[leg.first : leg.last]))
        y, k1 = y_next, stages[-1] if tableau.fsal else None
    return y, ys


def _moved(leg, t, tableau) -> tuple[Tensor, float | Tensor]:
    """Start and size of a step as functions of the times: an adaptive grid moves with
    t[0]; fixed steps start from the observation before, and the last ends at the next.
    """
    anchor = t[0 if tableau.adaptive else leg.first - 1].double()
    start = anchor + (leg.t - anchor.detach())
    if tableau.adaptive or leg.last == leg.first:
        return start, leg.h
    return start, t[leg.first].double() - start

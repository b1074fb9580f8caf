"""Gradients of a solve in constant memory: the continuous adjoint.

With λ(t) the sensitivity of the loss to y(t), solve backwards in time::

    y' = f(t, y)        λ' = -λᵀ ∂f/∂y        ∂L/∂θ = ∫ λᵀ ∂f/∂θ dt

and let λ jump by ∂L/∂y(t_i) at every observation. y and λ form the state of the
backward solve; the θ-integral feeds back into neither, so it is a quadrature on the
same stages and has no part in the error control.

References
----------
Chen, Rubanova, Bettencourt, Duvenaud 2018, Neural Ordinary Differential Equations,
section 2 and appendix C.
Kidger, Chen, Lyons 2021, "Hey, that's not an ODE": faster ODE adjoints via seminorms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.solvers import (
    Dynamics,
    SolverError,
    adaptive_steps,
    check_positive,
    check_problem,
    check_settings,
    fixed_steps,
    solve,
)
from course_lib.tableaus import ButcherTableau


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
    if adjoint_params is None:
        if not isinstance(f, nn.Module):
            raise TypeError(
                f"f is a {type(f).__name__}, so its parameters are not known; make it an nn.Module, or list what the "
                "gradient must reach in adjoint_params (an empty tuple if f has no parameters)"
            )
        adjoint_params = f.parameters()
    adjoint_params = _as_tensors(adjoint_params)
    params = tuple(p for p in adjoint_params if p.requires_grad)
    forward = dict(
        method=method, rtol=rtol, atol=atol, step_size=step_size, max_steps=max_steps
    )
    backward = Backward(
        tableau=tableau,
        rtol=rtol if adjoint_rtol is None else adjoint_rtol,
        atol=atol if adjoint_atol is None else adjoint_atol,
        step_size=step_size,
        max_steps=max_steps,
    )
    return _Adjoint.apply(f, forward, backward, times, y0, *params)


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
class Backward:
    """The settings of the backward solve."""

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

"""Gradients by the adjoint equation, in memory that does not grow with the steps.

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
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from course_lib.solvers.checks import (
    GuardedField,
    Settings,
    SolverError,
    check_positive,
    check_problem,
    parameters_of,
)
from course_lib.solvers.solve import observed, walk
from course_lib.solvers.steps import adaptive_steps, fixed_steps, to_float

__all__ = [
    "AdjointDynamics",
    "AdjointSolve",
    "add_quadrature",
    "odeint_adjoint",
    "solve_back",
]


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
    forward = Settings(
        method=method, rtol=rtol, atol=atol, step_size=step_size, max_steps=max_steps
    )
    times = check_problem(f, y0, t)
    for name, value in (("adjoint_rtol", adjoint_rtol), ("adjoint_atol", adjoint_atol)):
        if value is not None:
            check_positive(name, value, "leave it out to use the forward tolerance")
    params = parameters_of(f, adjoint_params)
    backward = replace(
        forward,
        rtol=rtol if adjoint_rtol is None else adjoint_rtol,
        atol=atol if adjoint_atol is None else adjoint_atol,
        parts=2,  # y and λ have to meet the tolerance each by itself
    )
    return AdjointSolve.apply(f, forward, backward, times, y0, *params)


class AdjointSolve(torch.autograd.Function):
    """A solve whose backward pass is the adjoint equation."""

    @staticmethod
    def forward(ctx, f, forward, backward, t, y0, *params):
        """The solution at the times t, computed without a graph."""
        pieces = [y0[None]]
        with torch.no_grad():
            for step, wanted in walk(GuardedField(f, y0), y0, t, forward):
                pieces += observed(step, forward.tableau, wanted)
            ys = torch.cat(pieces)
        ctx.f, ctx.settings = f, backward
        ctx.save_for_backward(t, ys, *params)
        return ys

    @staticmethod
    def backward(ctx, grad_ys):
        """∂L/∂t, ∂L/∂y0 and ∂L/∂θ from ∂L/∂ys, from the last observation back to the
        first.
        """
        if torch.is_grad_enabled():  # create_graph=True: a silent zero would follow
            raise RuntimeError(
                "odeint_adjoint gives first derivatives only; for second derivatives "
                "backpropagate through odeint"
            )
        t, ys, *params = ctx.saved_tensors
        moments = t.tolist()
        flow = AdjointDynamics(ctx.f, ys[0], params, ctx.settings.tableau.stages)
        grads = [torch.zeros_like(p) for p in params]
        grad_t = torch.zeros_like(t) if ctx.needs_input_grad[3] else None
        lam, h = torch.zeros_like(ys[0]), None
        for i in reversed(range(1, len(moments))):
            lam = lam + grad_ys[i]  # λ jumps at every observation
            if grad_t is not None:
                grad_t[i] = (grad_ys[i] * flow.f(moments[i], ys[i])).sum()
            ends, z = (moments[i], moments[i - 1]), torch.stack((ys[i], lam))
            (_, lam), h = solve_back(flow, ends, z, grads, ctx.settings, h)
        if grad_t is not None and len(moments) > 1:
            grad_t[0] = -(lam * flow.f(moments[0], ys[0])).sum()
        return None, None, None, grad_t, lam + grad_ys[0], *grads


def solve_back(
    flow: AdjointDynamics,
    ends: tuple[float, float],
    z: Tensor,
    grads: Sequence[Tensor],
    settings: Settings,
    h: float | None = None,
) -> tuple[Tensor, float]:
    """Carry z = (y, λ) from one observation back to the one before, and add the
    θ-integral on the way to `grads`.

    Parameters
    ----------
    flow : AdjointDynamics
    ends : (later, earlier), the times of the two observations
    z : Tensor, shape (2, *state), at the later one
    grads : sequence of Tensor, one for each parameter
    settings : Settings
    h : float, optional
        The step to try first.

    Returns
    -------
    z : Tensor, shape (2, *state), at the earlier observation
    h : float, the step to try next
    """
    (t, t_end), tableau = ends, settings.tableau
    first = []  # the θ-product of the first stage, where a step takes that stage over
    if tableau.adaptive:
        k1 = flow(t, z)
        first = [flow.products[-1]]
        steps = adaptive_steps(flow, t, z, t_end, settings, k1=k1, h=h)
    else:
        steps = fixed_steps(flow, t, z, t_end, settings)
    try:
        for step in steps:
            products = [*first, *list(flow.products)[len(first) :]]
            add_quadrature(grads, to_float(step.h), tableau.b, products)
            first = products[-1:] if first else []
    except SolverError as error:
        raise SolverError(
            f"in the backward solve of odeint_adjoint: {error}. Going back may be "
            "harder than going forward: try other adjoint_rtol and adjoint_atol, more "
            "observation times, or backpropagate through odeint"
        ) from error
    return step.y_next, step.h_next


def add_quadrature(
    grads: Sequence[Tensor],
    h: float,
    b: Sequence[float],
    products: Sequence[Sequence[Tensor | None]],
) -> None:
    """``grads += h Σ b_i v_i``, with v_i the θ-products of stage i."""
    for weight, product in zip(b, products):
        if weight != 0.0:
            for grad, v in zip(grads, product):
                if v is not None:
                    grad.add_(v, alpha=h * weight)


class AdjointDynamics:
    """The backward dynamics of z = (y, λ), shape (2, *state): ``(f, -λᵀ ∂f/∂y)``.

    Every call also computes -λᵀ ∂f/∂θ (negative: the integral runs backwards);
    `products` keeps those of the latest `stages` calls.
    """

    def __init__(self, f: Callable, y0: Tensor, params: Sequence[Tensor], stages: int):
        self.f, self.params = GuardedField(f, y0), params
        self.products: deque = deque(maxlen=stages)

    def __call__(self, t: float, z: Tensor) -> Tensor:
        """dz/dt at (t, z), shape (2, *state)."""
        y, lam = z
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            dy = self.f(t, y)
        if dy.requires_grad:
            dlam, *product = torch.autograd.grad(
                dy, (y, *self.params), -lam, allow_unused=True
            )
        else:  # f uses neither y nor a parameter
            dlam, product = None, []
        self.products.append(product)
        return torch.stack(
            (dy.detach(), torch.zeros_like(lam) if dlam is None else dlam)
        )

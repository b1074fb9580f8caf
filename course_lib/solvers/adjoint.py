"""Gradients by the adjoint equation, in memory that does not grow with the steps.

With λ(t) the sensitivity of the loss to y(t), solve backwards in time::

    y' = f(t, y)        λ' = -λᵀ ∂f/∂y        ∂L/∂θ = ∫ λᵀ ∂f/∂θ dt

and let λ jump by ∂L/∂y(t_i) at every observation. y and λ form the state of the
backward solve; the θ-integral feeds back into neither, so it is a quadrature on the
same stages and has no part in the error control. The equation of λ is linear: it is
solved for λ over the largest entry of the gradient that arrives, so that neither the
scale of the loss nor the size of a mean decides how accurate the gradient is.

References
----------
Chen, Rubanova, Bettencourt, Duvenaud 2018, Neural Ordinary Differential Equations,
section 2 and appendix C.
Kidger, Chen, Lyons 2021, "Hey, that's not an ODE": faster ODE adjoints via seminorms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite

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
from course_lib.solvers.forward_pass import applied, remember, require_something_known
from course_lib.solvers.solve import observed, walk
from course_lib.solvers.steps import (
    adaptive_steps,
    fixed_steps,
    initial_step,
    to_float,
)
from course_lib.solvers.tableaus import ButcherTableau

__all__ = [
    "AdjointDynamics",
    "AdjointSolve",
    "Quadrature",
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

    The tolerance of λ is relative to the largest entry of the gradient that arrives: a
    loss times 1000, or a mean in place of a sum, has its gradient to the same digits.

    The way back calls f again. It takes the parameters and the autocast of the forward
    pass; a RuntimeError says so if f answers otherwise than it did then (an attribute, a
    mode, a buffer changed), or uses tensors that would lose their gradient.
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
    ys = applied(AdjointSolve, f, forward, backward, times, y0, *params)
    require_something_known(f, y0, times, params)
    return ys


class AdjointSolve(torch.autograd.Function):
    """A solve whose backward pass is the adjoint equation."""

    @staticmethod
    def forward(ctx, f, forward, backward, t, y0, *params):
        """The solution at the times t, computed without a graph."""
        field, pieces = GuardedField(f, y0), [y0[None]]
        with torch.no_grad():
            for step, wanted in walk(field, y0, t, forward):
                pieces += observed(step, forward.tableau, wanted)
            ys = torch.cat(pieces)
            if len(t) == 1:
                last_dy = y0
            elif forward.tableau.fsal:
                last_dy = step.stages[-1]
            else:
                last_dy = field(step.t_next, step.y_next)
        ctx.there, ctx.settings = remember(f, y0.device), backward
        ctx.save_for_backward(t, ys, last_dy, *params)
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
        t, ys, last_dy, *params = ctx.saved_tensors
        moments, size = t.tolist(), _size(grad_ys)
        grad_t = torch.zeros_like(t) if ctx.needs_input_grad[3] else None
        lam, h = torch.zeros_like(ys[0]), None
        free = [p for p in params if p.requires_grad]  # one may be frozen by now
        flow = AdjointDynamics(ctx.there.field(), ys[0], free, ctx.settings.tableau)
        flow.opening = partial(
            ctx.there.check,
            expected=last_dy,
            floor=lambda: _slowest(ys, moments),
        )
        for i in reversed(range(1, len(moments))):
            lam = lam + grad_ys[i] / size  # λ jumps at every observation
            if grad_t is not None:
                grad_t[i] = (grad_ys[i] * flow.f(moments[i], ys[i])).sum()
            ends, z = (moments[i], moments[i - 1]), torch.stack((ys[i], lam))
            (_, lam), h = solve_back(flow, ends, z, ctx.settings, h)
        lam = lam * size
        if grad_t is not None and len(moments) > 1:
            grad_t[0] = -(lam * flow.f(moments[0], ys[0])).sum()
        total = iter(flow.quadrature.total)
        grads = [next(total).mul_(size) if p.requires_grad else None for p in params]
        return None, None, None, grad_t, lam + grad_ys[0], *grads


def _slowest(ys: Tensor, moments: Sequence[float]) -> float:
    """The speed that would carry the largest state there in the time of the solve."""
    return ys.abs().max().item() / abs(moments[-1] - moments[0])


def _size(grad_ys: Tensor) -> float:
    """The largest entry of the gradient that λ is made of; 1 if it is zero.

    What arrives at the first time takes no part in the backward solve.
    """
    size = grad_ys[1:].abs().max().item() if grad_ys[1:].numel() else 0.0
    if not (isfinite(size) and torch.isfinite(grad_ys[0]).all()):
        raise SolverError(
            "in the backward solve of odeint_adjoint: the gradient that arrives holds "
            "NaN or infinity; look at what the loss does with the solution"
        )
    return size or 1.0


def solve_back(
    flow: AdjointDynamics,
    ends: tuple[float, float],
    z: Tensor,
    settings: Settings,
    h: float | None = None,
) -> tuple[Tensor, float]:
    """Carry z = (y, λ) from one observation back to the one before, and the θ-integral
    of `flow` with it.

    Parameters
    ----------
    flow : AdjointDynamics
    ends : (later, earlier), the times of the two observations
    z : Tensor, shape (2, *state), at the later one
    settings : Settings
    h : float, optional
        The step to try first.

    Returns
    -------
    z : Tensor, shape (2, *state), at the earlier observation
    h : float, the step to try next
    """
    t, t_end = ends
    try:
        if settings.tableau.adaptive:
            k1 = flow(t, z)
            flow.quadrature.begin()
            if h is None and torch.isfinite(k1).all():
                h = initial_step(flow.slope, t, z, k1, t_end, settings)
            steps = adaptive_steps(flow, t, z, t_end, settings, k1=k1, h=h)
        else:
            steps = fixed_steps(flow, t, z, t_end, settings)
        for step in steps:
            flow.quadrature.accept(to_float(step.h))
    except SolverError as error:
        raise SolverError(
            f"in the backward solve of odeint_adjoint: {flow.blame() or error}. Going "
            "back may be harder than going forward: try other adjoint_rtol and "
            "adjoint_atol, more observation times, or backpropagate through odeint"
        ) from error
    return step.y_next, step.h_next


class Quadrature:
    """∫ v dt on the stages of a solve: ``h Σ b_i v_i`` for every step that is accepted.

    One running sum an attempt, not the v of every stage: they may be as large as a
    network. An attempt that is rejected is forgotten when the next one starts.

    Attributes
    ----------
    total : list of Tensor, the integral so far
    latest : list of Tensor, the v that came last
    """

    def __init__(self, like: Sequence[Tensor], tableau: ButcherTableau):
        self.b = tableau.b
        self.total = [torch.zeros_like(x) for x in like]
        self.attempt = [torch.zeros_like(x) for x in like]
        self.first: Sequence[Tensor] = []
        self.latest: Sequence[Tensor] = []
        self.stage = self.start = 0

    def begin(self) -> None:
        """The v that came last is that of a first stage; later steps take over theirs
        from the step before.
        """
        self.first, self.stage, self.start = self.latest, 1, 1

    def add(self, v: Sequence[Tensor]) -> None:
        """Take v of the next stage."""
        if self.stage == self.start:
            for total in self.attempt:
                total.zero_()
            _add(self.attempt, self.first, self.b[0])
        _add(self.attempt, v, self.b[self.stage])
        self.latest, self.stage = v, self.stage + 1
        if self.stage == len(self.b):
            self.stage = self.start

    def accept(self, h: float) -> None:
        """The attempt was a step of size h."""
        _add(self.total, self.attempt, h)
        if self.start:
            self.first = self.latest


def _add(totals: Sequence[Tensor], xs: Sequence[Tensor], weight: float) -> None:
    if weight != 0.0:
        for total, x in zip(totals, xs):
            total.add_(x, alpha=weight)


class AdjointDynamics:
    """The backward dynamics of z = (y, λ), shape (2, *state): ``(f, -λᵀ ∂f/∂y)``.

    Every call also computes v = -λᵀ ∂f/∂θ (negative: the integral runs backwards) and
    hands it to `quadrature`.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``
    y0 : Tensor, a state
    params : sequence of Tensor, θ
    tableau : ButcherTableau
    """

    def __init__(
        self,
        f: Callable,
        y0: Tensor,
        params: Sequence[Tensor],
        tableau: ButcherTableau,
    ):
        self.f, self.params = GuardedField(f, y0), params
        self.quadrature = Quadrature(params, tableau)
        self.opening: Callable | None = None  # looks at the first call's graph
        self.seen: tuple[Tensor, ...] = ()

    def __call__(self, t: float, z: Tensor) -> Tensor:
        """dz/dt at (t, z), shape (2, *state), and v handed on."""
        self.quadrature.latest = []  # no longer needed: make room
        dz, v = self._derivatives(t, z)
        self.quadrature.add(v)
        return dz

    def slope(self, t: float, z: Tensor) -> Tensor:
        """dz/dt at (t, z) for a first guess of the step, which is no stage."""
        return self._derivatives(t, z)[0]

    def _derivatives(self, t: float, z: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        y, lam = z
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            dy = self.f(t, y)
        wanted = (y, *self.params)
        if self.opening is not None:
            self.opening(dy, wanted)
            self.opening = None
        if dy.requires_grad:
            dlam, *v = torch.autograd.grad(
                dy, wanted, -lam, allow_unused=True, materialize_grads=True
            )
        else:  # f uses neither y nor a parameter
            dlam, v = torch.zeros_like(lam), [torch.zeros_like(p) for p in self.params]
        self.seen = (dy.detach(), dlam)
        return torch.stack(self.seen), v

    def blame(self) -> str:
        """Why a solve of these dynamics failed, where more is known than that a number
        was not finite.
        """
        finite = [bool(torch.isfinite(x).all()) for x in self.seen]
        if finite != [True, False]:
            return ""
        return (
            "f is finite, but its derivative λᵀ ∂f/∂y is NaN or infinity (a square root "
            "or a norm at 0?), or λ overflowed"
        )

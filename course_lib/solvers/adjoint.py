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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite, sqrt

import torch
from torch import Tensor

from course_lib.solvers.checks import (
    GuardedField,
    SolverError,
    check_problem,
    parameters_of,
)
from course_lib.solvers.forward_pass import applied, remember, require_something_known
from course_lib.solvers.jumps import one_sided, stretches
from course_lib.solvers.settings import Settings, check_positive, settings_from
from course_lib.solvers.solve import observed, odeint, walk
from course_lib.solvers.steps import (
    Step,
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
        As for `course_lib.solvers.solve`.
    adjoint_rtol, adjoint_atol : float, optional
        Tolerances of the backward solve; `rtol` and `atol` unless given.
    adjoint_params : sequence of Tensor, optional
        The tensors besides y0 and t that the gradient must reach. An `nn.Module` is
        asked for its parameters; any other callable has to say, if only ``()``.
    check_theta : bool
        Whether the steps of the backward solve answer for the θ-integral too.

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
    forward = settings_from(settings)
    times = check_problem(f, y0, t, forward)
    for name, value in (("adjoint_rtol", adjoint_rtol), ("adjoint_atol", adjoint_atol)):
        if value is not None:
            check_positive(name, value, "leave it out to use the forward tolerance")
    params = parameters_of(f, adjoint_params)
    backward = replace(
        forward,
        rtol=forward.rtol if adjoint_rtol is None else adjoint_rtol,
        atol=forward.atol if adjoint_atol is None else adjoint_atol,
        parts=2,  # y and λ have to meet the tolerance each by itself
    )
    if len(times) > 1 and times[0] == times[-1]:  # no way to go, none to come back
        return odeint(f, y0, times, **settings)
    ys = applied(AdjointSolve, f, forward, backward, check_theta, times, y0, *params)
    require_something_known(f, y0, times, params)
    return ys


class AdjointSolve(torch.autograd.Function):
    """A solve whose backward pass is the adjoint equation."""

    @staticmethod
    def forward(ctx, f, forward, backward, check_theta, t, y0, *params):
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
                ends = (to_float(step.t), to_float(step.t_next))
                g = one_sided(field, ends, forward.jumps, y0.dtype)
                last_dy = g(step.t_next, step.y_next)
        ctx.there, ctx.settings = remember(f, y0.device), backward
        ctx.check_theta = check_theta
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
        grad_t = torch.zeros_like(t) if ctx.needs_input_grad[4] else None
        lam, h, taken = torch.zeros_like(ys[0]), None, 0
        free = [p for p in params if p.requires_grad]  # one may be frozen by now
        quadrature = Quadrature(free, ctx.settings.tableau, with_errors=ctx.check_theta)
        flow = AdjointDynamics(ctx.there.field(), ys[0], free, quadrature)
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
            back = solve_back(flow, ends, z, ctx.settings, h=h, taken=taken)
            (_, lam), h, taken = back
        lam = lam * size
        if grad_t is not None and len(moments) > 1:
            grad_t[0] = -(lam * flow.f(moments[0], ys[0])).sum()
        total = iter(flow.quadrature.total)
        grads = [next(total).mul_(size) if p.requires_grad else None for p in params]
        return None, None, None, None, grad_t, lam + grad_ys[0], *grads


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
    *,
    h: float | None = None,
    taken: int = 0,
) -> tuple[Tensor, float | None, int]:
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
    taken : int
        Attempts of the `max_steps` allowed that are gone already.

    Returns
    -------
    z : Tensor, shape (2, *state), at the earlier observation
    h : float, the step to try next
    taken : int, attempts that are gone now
    """
    try:
        for piece in stretches(*ends, settings.jumps):
            h = h if piece[0] == ends[0] else None  # after a jump f is another one
            for step in _steps_back(flow, piece, z, settings, h, taken):
                flow.quadrature.accept(to_float(step.h))
                taken += 1 + step.rejected
            z, h = step.y_next, step.h_next
    except SolverError as error:
        raise SolverError(
            f"in the backward solve of odeint_adjoint: {flow.blame() or error}. Going "
            "back may be harder than going forward: try other adjoint_rtol and "
            "adjoint_atol, more observation times, or backpropagate through odeint"
        ) from error
    return z, h, taken


def _steps_back(flow, ends, z, settings, h, taken) -> Iterator[Step]:
    """The steps of a backward solve from one time to another, f smooth between."""
    t, t_end = ends
    dynamics = one_sided(flow, ends, settings.jumps, z.dtype)
    if not settings.tableau.adaptive:
        return fixed_steps(dynamics, t, z, t_end, settings, taken=taken)
    k1 = dynamics(t, z)
    flow.quadrature.begin()
    if h is None and settings.first_step is None and torch.isfinite(k1).all():
        slope = one_sided(flow.slope, ends, settings.jumps, z.dtype)
        h = initial_step(slope, t, z, k1, t_end, settings)
    also = None
    if len(flow.quadrature.sums) > 1:
        also = partial(flow.quadrature.error_ratio, settings=settings)
    return adaptive_steps(
        dynamics, t, z, t_end, settings, k1=k1, h=h, taken=taken, also=also
    )


class Quadrature:
    """∫ v dt on the stages of a solve: ``h Σ b_i v_i`` for every step that is accepted.

    One running sum an attempt, not the v of every stage: they may be as large as a
    network. An attempt that is rejected is forgotten when the next one starts.

    Parameters
    ----------
    like : sequence of Tensor, of the shapes of v
    tableau : ButcherTableau
    with_errors : bool
        Whether the error of an attempt is summed up too, ``h Σ b_error_i v_i``.

    Attributes
    ----------
    total : list of Tensor, the integral so far
    latest : list of Tensor, the v that came last
    """

    def __init__(
        self,
        like: Sequence[Tensor],
        tableau: ButcherTableau,
        *,
        with_errors: bool = False,
    ):
        self.sums = [(tableau.b, [torch.zeros_like(x) for x in like])]
        if with_errors and tableau.b_error:
            self.sums.append((tableau.b_error, [torch.zeros_like(x) for x in like]))
        self.total = [torch.zeros_like(x) for x in like]
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
        for weights, attempt in self.sums:
            if self.stage == self.start:
                for total in attempt:
                    total.zero_()
                _add(attempt, self.first, weights[0])
            _add(attempt, v, weights[self.stage])
        self.latest, self.stage = v, self.stage + 1
        if self.stage == len(self.sums[0][0]):
            self.stage = self.start

    def accept(self, h: float) -> None:
        """The attempt was a step of size h."""
        _add(self.total, self.sums[0][1], h)
        if self.start:
            self.first = self.latest

    def error_ratio(self, size: float, settings: Settings) -> float:
        """Estimated error of an attempt of that size over tolerance."""
        (_, attempt), (_, errors) = self.sums
        squares = 0.0
        for total, change, error in zip(self.total, attempt, errors):
            largest = torch.maximum(total.abs(), total.add(change, alpha=size).abs())
            scale = largest.mul_(settings.rtol).add_(settings.atol)
            squares += error.div(scale).square_().sum().item()
        return size * sqrt(squares / max(1, sum(x.numel() for x in errors)))


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
    quadrature : Quadrature
    """

    def __init__(
        self,
        f: Callable,
        y0: Tensor,
        params: Sequence[Tensor],
        quadrature: Quadrature,
    ):
        self.f, self.params, self.quadrature = GuardedField(f, y0), params, quadrature
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

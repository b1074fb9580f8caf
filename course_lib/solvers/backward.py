"""The way back: the adjoint equation, solved from the last observation to the first.

y and λ form the state of the backward solve; the θ-integral feeds back into neither, so
it is a quadrature on the same stages. The equation of λ is linear: it is solved for λ
over the largest entry of the gradient that arrives, so that neither the scale of the
loss nor the size of a mean decides how accurate the gradient is.

References
----------
Kidger, Chen, Lyons 2021, "Hey, that's not an ODE": faster ODE adjoints via seminorms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib.solvers.checks import GuardedField, SolverError, all_finite
from course_lib.solvers.forward_pass import ForwardPass
from course_lib.solvers.jumps import one_sided, stretches
from course_lib.solvers.rosenbrock import STIFF_METHODS
from course_lib.solvers.settings import Settings, check_tolerance
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
    "AdjointPlan",
    "CheckedQuadrature",
    "Quadrature",
    "adjoint_plan",
    "carry_between",
    "gradients_back",
    "last_slope",
    "solve_back",
    "sweep_back",
]


class AdjointPlan(NamedTuple):
    """How to solve there and back, and whether the θ-integral has a say in the steps."""

    forward: Settings
    backward: Settings
    check_theta: bool


def adjoint_plan(
    forward: Settings,
    adjoint_rtol: float | Tensor | None,
    adjoint_atol: float | Tensor | None,
    check_theta: bool,
    parts: int,
) -> AdjointPlan:
    """The plan for a solve with these settings and arguments, checked.

    The backward state has `parts` as large as y, which have to meet the tolerance each by
    itself.
    """
    if forward.method in STIFF_METHODS:
        raise ValueError(
            f"method={forward.method!r} does not go with odeint_adjoint and "
            "odeint_interpolated, whose way back takes explicit steps; use odeint or "
            "odeint_checkpointed, which backpropagate through the steps that were taken"
        )
    rtol = forward.rtol if adjoint_rtol is None else adjoint_rtol
    atol = forward.atol if adjoint_atol is None else adjoint_atol
    for name, value in (("adjoint_rtol", rtol), ("adjoint_atol", atol)):
        check_tolerance(name, value, "leave it out to use the forward tolerance")
    if check_theta and not forward.tableau.adaptive:
        raise ValueError(
            f"check_theta=True does not go with method={forward.method!r}, which "
            "estimates no error; use an adaptive method, such as 'dopri5'"
        )
    if check_theta and (isinstance(rtol, Tensor) or isinstance(atol, Tensor)):
        raise ValueError(
            "check_theta=True needs tolerances that are numbers, for they hold for θ "
            "too; give adjoint_rtol and adjoint_atol"
        )
    blocks = forward.parts * parts  # a count, or sizes once more
    backward = replace(forward, rtol=rtol, atol=atol, parts=blocks)
    return AdjointPlan(forward, backward, check_theta)


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
        self.first: list[Tensor] = []
        self.latest: list[Tensor] = []
        self.stage = self.start = 0

    def begin(self) -> None:
        """The v that came last is that of a first stage; later steps take over theirs
        from the step before.
        """
        self.first, self.stage, self.start = self.latest, 1, 1

    def add(self, v: list[Tensor]) -> None:
        """Take v of the next stage."""
        if self.stage == self.start:
            _begin(self.attempt, self.first, self.b[0])
        _add(self.attempt, v, self.b[self.stage])
        self.latest, self.stage = v, self.stage + 1
        if self.stage == len(self.b):
            self.stage = self.start

    def accept(self, h: float) -> None:
        """The attempt was a step of size h."""
        _add(self.total, self.attempt, h)
        if self.start:
            self.first = self.latest


class CheckedQuadrature(Quadrature):
    """A quadrature with the error of an attempt, ``h Σ b_error_i v_i``; it needs an
    adaptive method.
    """

    def __init__(self, like: Sequence[Tensor], tableau: ButcherTableau):
        super().__init__(like, tableau)
        self.b_error = tableau.b_error or ()
        self.errors = [torch.zeros_like(x) for x in like]

    def add(self, v: list[Tensor]) -> None:
        """Take v of the next stage."""
        if self.stage == self.start:
            _begin(self.errors, self.first, self.b_error[0])
        _add(self.errors, v, self.b_error[self.stage])
        super().add(v)

    def error_ratio(self, h: float, settings: Settings) -> float:
        """Estimated error of the attempt, a step of size h, over tolerance."""
        squares = 0.0
        for total, change, error in zip(self.total, self.attempt, self.errors):
            largest = torch.maximum(total.abs(), total.add(change, alpha=h).abs())
            scale = largest.mul_(settings.rtol).add_(settings.atol)
            squares += error.div(scale).square_().sum().item()
        return h * sqrt(squares / max(1, sum(x.numel() for x in self.errors)))


def _begin(totals: list[Tensor], xs: list[Tensor], weight: float) -> None:
    """Start again, from xs if there are any."""
    if totals:
        torch._foreach_zero_(totals)
        _add(totals, xs, weight)


def _add(totals: list[Tensor], xs: list[Tensor], weight: float) -> None:
    """Add the weighted xs, all at once: one call is cheaper than one for each."""
    if weight != 0.0 and xs:
        torch._foreach_add_(totals, xs, alpha=weight)


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
        self.known: Callable | None = None  # and at that of the first after each step
        self.seen: tuple[Tensor, ...] = ()

    def __call__(self, t: float, z: Tensor) -> Tensor:
        """dz/dt at (t, z), shape (2, *state), and v handed on."""
        self.quadrature.latest = []  # no longer needed: make room
        dz, v = self.derivatives(t, z)
        self.quadrature.add(v)
        return dz

    def slope(self, t: float, z: Tensor) -> Tensor:
        """dz/dt at (t, z) for a first guess of the step, which is no stage."""
        return self.derivatives(t, z)[0]

    def state(self, y: Tensor, lam: Tensor) -> Tensor:
        """The state of its two parts."""
        return torch.stack((y, lam))

    def lam(self, z: Tensor) -> Tensor:
        """λ of a state."""
        return z[1]

    def derivatives(self, t: float, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """dz/dt and v at (t, z), with nothing handed on."""
        dy, dlam, v = self.pullback(t, *z.unbind())
        return torch.stack((dy, dlam)), v

    def pullback(
        self, t: float, y: Tensor, lam: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """f, -λᵀ ∂f/∂y and -λᵀ ∂f/∂θ at (t, y)."""
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            dy = self.f(t, y)
        wanted = (y, *self.params)
        if self.opening is not None:
            self.opening(dy, wanted)
            self.opening = None
        found: Sequence[Tensor | None] = [None] * len(wanted)
        if dy.requires_grad:  # f uses y or a parameter
            found = torch.autograd.grad(dy, wanted, -lam, allow_unused=True)
        dlam, *v = (
            torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found)
        )
        self.seen = (dy.detach(), dlam)
        return *self.seen, v

    def blame(self) -> str:
        """Why a solve of these dynamics failed, where more is known than that a number
        was not finite.
        """
        finite = [all_finite(x) for x in self.seen]
        if finite != [True, False]:
            return ""
        return (
            "f is finite, but its derivative λᵀ ∂f/∂y is NaN or infinity (a square root "
            "or a norm at 0?), or λ overflowed"
        )


def last_slope(field: GuardedField, step: Step, settings: Settings) -> Tensor:
    """f where the last step of a solve ends."""
    if settings.tableau.fsal:
        return step.stages[-1]
    f = one_sided(field, (step.t, step.t_next), settings.jumps, step.y.dtype)
    return f(step.t_next, step.y_next)


def carry_between(
    flow: AdjointDynamics,
    moments: Sequence[float],
    ys: Tensor,
    grads: Tensor,
    settings: Settings,
) -> Tensor:
    """λ at the first time, by one solve after the other between adjacent times.

    Parameters
    ----------
    flow : AdjointDynamics
    moments : sequence of n floats
    ys, grads : Tensor, shape (n, *state), the solution then and what arrives there
    settings : Settings
    """
    lam, h, taken = torch.zeros_like(ys[0]), None, 0
    for i in reversed(range(1, len(moments))):
        lam = lam + grads[i]  # λ jumps at every observation
        ends, z = (moments[i], moments[i - 1]), flow.state(ys[i], lam)
        z, h, taken = solve_back(flow, ends, z, settings, h=h, taken=taken)
        lam = flow.lam(z)
    return lam


def _opening_check(there: ForwardPass, last_dy: Tensor, ys: Tensor, t: Tensor):
    """What the first call of f on the way back has to stand."""

    def slowest() -> float:
        """The speed that would carry the largest state in the time of the solve."""
        return ys.abs().max().item() / abs((t[-1] - t[0]).item())

    return partial(there.check, expected=last_dy, floor=slowest)


def gradients_back(
    ctx,
    dynamics: Callable,
    saved: Sequence[Tensor],
    grad_ys: Tensor,
    carry: Callable = carry_between,
):
    """What `backward` returns for f, plan, t, y0 and the parameters.

    Parameters
    ----------
    ctx : what ``forward`` left: `there` (a ForwardPass) and `plan`
    dynamics : callable that makes an `AdjointDynamics` of f, a state, the parameters and
        a quadrature
    saved : t, ys, f where the solve ended, and the parameters
    grad_ys : Tensor, ∂L/∂ys
    carry : callable, as `sweep_back` takes it
    """
    t, ys, last_dy, *params = saved
    free = [p for p in params if p.requires_grad]  # one may be frozen by now
    kind = CheckedQuadrature if ctx.plan.check_theta else Quadrature
    quadrature = kind(free, ctx.plan.backward.tableau)
    flow = dynamics(ctx.there.field(), ys[0], free, quadrature)
    flow.opening = _opening_check(ctx.there, last_dy, ys, t)
    flow.known = ctx.there.require_known
    wants_t = ctx.needs_input_grad[2]
    grad_t, grad_y0 = sweep_back(
        flow, t, ys, grad_ys, ctx.plan.backward, wants_t, carry
    )
    found = iter(quadrature.total)
    grads = [next(found) if p.requires_grad else None for p in params]
    return None, None, grad_t, grad_y0, *grads


def sweep_back(
    flow: AdjointDynamics,
    t: Tensor,
    ys: Tensor,
    grad_ys: Tensor,
    settings: Settings,
    wants_t: bool,
    carry: Callable[..., Tensor] = carry_between,
) -> tuple[Tensor | None, Tensor]:
    """∂L/∂t and ∂L/∂y0, from the last observation back to the first; ∂L/∂θ is then in
    the quadrature of `flow`.

    Parameters
    ----------
    flow : AdjointDynamics
    t : Tensor, shape (n,)
    ys, grad_ys : Tensor, shape (n, *state), the solution at t and ∂L/∂ys
    settings : Settings
    wants_t : bool, whether ∂L/∂t is wanted
    carry : callable, how λ gets from the last time to the first: `carry_between`, or
        `course_lib.solvers.arrivals.carry_across`

    Returns
    -------
    grad_t : Tensor, shape (n,), or None
    grad_y0 : Tensor, shape (*state)
    """
    size = _size(grad_ys)
    lam = carry(flow, t.tolist(), ys, grad_ys / size, settings) * size
    for total in flow.quadrature.total:
        total.mul_(size)
    grad_t = _times_gradient(flow.f, t, ys, grad_ys, lam) if wants_t else None
    return grad_t, lam + grad_ys[0]


def _times_gradient(f, t, ys, grad_ys, lam) -> Tensor:
    """∂L/∂t, where λ has reached the first time."""
    grad_t = torch.zeros_like(t)
    moments = t.tolist()
    for i in range(1, len(moments)):
        grad_t[i] = (grad_ys[i] * f(moments[i], ys[i])).sum()
    if len(moments) > 1:
        grad_t[0] = -(lam * f(moments[0], ys[0])).sum()
    return grad_t


def _size(grad_ys: Tensor) -> float:
    """The largest entry of the gradient that λ is made of; 1 if it is zero.

    What arrives at the first time takes no part in the backward solve.
    """
    size = grad_ys[1:].abs().max().item() if grad_ys[1:].numel() else 0.0
    if not (isfinite(size) and all_finite(grad_ys[0])):
        raise SolverError(
            "in the backward solve of the adjoint: the gradient that arrives holds NaN "
            "or infinity; look at what the loss does with the solution"
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
    arrivals: Any = None,
) -> tuple[Tensor, float | None, int]:
    """Carry z, that is (y, λ), from one observation back to the one before, and the
    θ-integral of `flow` with it.

    Parameters
    ----------
    flow : AdjointDynamics
    ends : (later, earlier), the times of the two observations
    z : Tensor, as `flow` takes it, at the later one
    settings : Settings
    h : float, optional
        The step to try first.
    taken : int
        Attempts of the `max_steps` allowed that are gone already.
    arrivals : Arrivals, optional
        What arrives at the observations that the steps pass.

    Returns
    -------
    z : Tensor, at the earlier observation
    h : float, the step to try next
    taken : int, attempts that are gone now
    """
    try:
        for piece in stretches(*ends, settings.jumps):
            h = h if piece[0] == ends[0] else None  # after a jump f is another one
            for step in _steps_back(flow, piece, z, settings, h, taken, arrivals):
                flow.quadrature.accept(to_float(step.h))
                if arrivals is not None:
                    arrivals.accept()
                flow.opening = flow.known  # further on f may use other tensors
                taken += 1 + step.rejected
            z, h = step.y_next, step.h_next
    except SolverError as error:
        raise SolverError(
            f"in the backward solve of the adjoint: {flow.blame() or error}. Going back "
            "may be harder than going forward: try other adjoint_rtol and adjoint_atol, "
            "more observation times, or backpropagate through odeint"
        ) from error
    return z, h, taken


def _steps_back(flow, ends, z, settings, h, taken, arrivals) -> Iterator[Step]:
    """The steps of a backward solve from one time to another, f smooth between."""
    t, t_end = ends
    dynamics = one_sided(flow, ends, settings.jumps, z.dtype)
    if not settings.tableau.adaptive:
        return fixed_steps(dynamics, t, z, t_end, settings, taken=taken)
    k1 = dynamics(t, z)
    flow.quadrature.begin()
    if h is None and settings.first_step is None and all_finite(k1):
        slope = one_sided(flow.slope, ends, settings.jumps, z.dtype)
        h = initial_step(slope, t, z, k1, t_end, settings)
    also = None
    if isinstance(flow.quadrature, CheckedQuadrature):
        also = partial(flow.quadrature.error_ratio, settings=settings)
    more = dict(also=also, arriving=arrivals)
    return adaptive_steps(
        dynamics, t, z, t_end, settings, k1=k1, h=h, taken=taken, **more
    )

"""Explicit Runge–Kutta solvers for ``y' = f(t, y)``, in PyTorch, small enough to read
whole.

`solve` returns everything it knows about a solve, `odeint` only the values. Both are
plain PyTorch: backpropagating through them gives the gradient of what was computed (the
*direct*, or discrete, gradient).

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, chapter II.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, copysign, inf, isfinite, nextafter, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.solvers.tableaus import METHODS, ButcherTableau

SAFETY, MIN_FACTOR, MAX_FACTOR = 0.9, 0.2, 10.0  # step-size control, Hairer et al. II.4


class SolverError(RuntimeError):
    """A solve could not go on. The message says where, with which step and method, and
    what to try.
    """


@dataclass(frozen=True)
class Solution:
    """What a solve computed and what it cost.

    Attributes
    ----------
    t : Tensor, shape (n,), the requested times
    ys : Tensor, shape (n, *y0.shape), the solution there; ``ys[0]`` is y0
    nfe : int, evaluations of f
    accepted, rejected : int, steps taken and steps tried in vain
    step_times, step_sizes : Tensor, shape (accepted,), start and signed size of
        each accepted step
    """

    t: Tensor
    ys: Tensor
    nfe: int
    accepted: int
    rejected: int
    step_times: Tensor
    step_sizes: Tensor


class Step(NamedTuple):
    """One accepted step: y at t, y_next at t_next = t + h, the stages between, the
    attempts that failed before.
    """

    t: float | Tensor
    t_next: float | Tensor
    h: float | Tensor
    y: Tensor
    y_next: Tensor
    stages: list[Tensor]
    rejected: int
    h_next: float


# --- one step -------------------------------------------------------------------------


def weighted_sum(weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """Σ w_i k_i, without the zero weights (there is at least one that is not zero)."""
    pairs = [(w, k) for w, k in zip(weights, stages) if w != 0.0]
    total = pairs[0][0] * pairs[0][1]
    for w, k in pairs[1:]:
        total = total.add(k, alpha=w)
    return total


def advance(
    y: Tensor, h: float | Tensor, weights: Sequence[float], stages: Sequence[Tensor]
) -> Tensor:
    """y + h Σ w_i k_i."""
    slope = weighted_sum(weights, stages)
    return y.add(slope, alpha=h) if isinstance(h, float) else y + h.to(y) * slope


def rk_step(
    f: Callable,
    t: float | Tensor,
    y: Tensor,
    h: float | Tensor,
    tableau: ButcherTableau,
    k1: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Advance one explicit Runge–Kutta step.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``, same shape as `y`
    t : float or 0-d Tensor, time at the start of the step
    y : Tensor, shape (*state)
    h : float or 0-d Tensor, signed step; negative integrates backwards
    tableau : ButcherTableau
    k1 : Tensor, shape (*state), optional
        f(t, y) if the caller has it already (first same as last).

    Returns
    -------
    y_next : Tensor, shape (*state)
    stages : list of Tensor, k₁ … k_s

    References
    ----------
    Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.1.
    """
    stages = [f(t, y) if k1 is None else k1]
    y_stage = y
    for c, row in zip(tableau.c[1:], tableau.a):
        y_stage = advance(y, h, row, stages)
        stages.append(f(t + c * h, y_stage))
    if tableau.fsal:  # the last stage stands at the new point already
        return y_stage, stages
    return advance(y, h, tableau.b, stages), stages


def interpolate(
    step: Step, tableau: ButcherTableau, times: Sequence[float] | Tensor
) -> Tensor:
    """The solution at `times` inside one step (dense output), shape (len(times),
    *state).

    References
    ----------
    Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.6.
    """
    y = step.y
    times = torch.as_tensor(times, dtype=torch.float64, device=y.device)
    theta = (times - step.t) / step.h
    # (s, p) coefficients and (n, p) powers make (n, s) weights
    coefficients = torch.tensor(tableau.dense, dtype=torch.float64, device=y.device)
    exponents = torch.arange(1, coefficients.shape[1] + 1, device=y.device)
    weights = (theta[:, None] ** exponents @ coefficients.T).to(y.dtype)
    return y + step.h * torch.tensordot(weights, torch.stack(step.stages), dims=1)


# --- a sequence of steps --------------------------------------------------------------


def fixed_steps(
    f: Callable,
    t: float | Tensor,
    y: Tensor,
    t_end: float | Tensor,
    *,
    tableau: ButcherTableau,
    step_size: float,
    max_steps: int,
) -> Iterator[Step]:
    """Steps of equal size from t to t_end, the last one shortened to end there."""
    span = _number(t_end) - _number(t)
    # A hair of tolerance: 0.3 / 0.1 is three steps.
    needed = abs(span) / step_size - 1e-6
    if needed > max_steps:
        raise SolverError(
            f"about {needed:.6g} steps of step_size={step_size} are needed between "
            f"t={_number(t):.6g} and t={_number(t_end):.6g}, but max_steps allows only "
            f"{max_steps} more; try a larger step_size or max_steps"
        )
    n, h = max(1, ceil(needed)), copysign(step_size, span)
    for i in range(n):
        t_here = t + i * h
        t_next = t + (i + 1) * h if i < n - 1 else t_end
        size = h if i < n - 1 else t_end - t_here
        y_next, stages = rk_step(f, t_here, y, size, tableau)
        if not torch.isfinite(y_next).all():
            raise _not_finite(
                t_here, size, tableau, "try a smaller step_size, or look at f there"
            )
        yield Step(t_here, t_next, size, y, y_next, stages, 0, h)
        y = y_next


def adaptive_steps(
    f: Callable,
    t: float,
    y: Tensor,
    t_end: float,
    *,
    tableau: ButcherTableau,
    rtol: float,
    atol: float,
    max_steps: int,
    k1: Tensor | None = None,
    h: float | None = None,
    parts: int = 1,
) -> Iterator[Step]:
    """Steps from t to exactly t_end, each as long as its error estimate allows.

    `k1` is f(t, y) and `h` the size to try first, where the caller knows them. The
    error norm is the largest root mean square over `parts` equal blocks of the state.

    References
    ----------
    Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.4.
    """
    sign = copysign(1.0, t_end - t)
    if k1 is None:
        k1 = f(t, y)
    if not torch.isfinite(k1).all():
        raise _not_finite(t, 0.0, tableau, "look at f there")
    if h is None:
        h = _initial_step(f, t, y, k1, t_end, tableau.order, rtol, atol, parts)
    rejected = 0
    for _ in range(max_steps):
        left = abs(t_end - t)
        last = h >= 0.999 * left  # do not leave a sliver for one more step
        size = left if last else h
        t_next = t_end if last else t + sign * size
        y_next, stages = rk_step(f, t, y, sign * size, tableau, k1)
        ratio = _error_ratio(size, stages, y, y_next, tableau, rtol, atol, parts)
        if ratio <= 1.0 and torch.isfinite(y_next).all():
            most = 1.0 if rejected else MAX_FACTOR
            h_next = size * min(most, max(MIN_FACTOR, _factor(ratio, tableau.order)))
            if last:  # cut short to end at t_end: h itself is still worth trying
                h_next = max(h, h_next)
            yield Step(t, t_next, sign * size, y, y_next, stages, rejected, h_next)
            if last:
                return
            t, y, h, k1, rejected = t_next, y_next, h_next, stages[-1], 0
        else:
            shrink = _factor(ratio, tableau.order) if ratio > 1.0 else MIN_FACTOR
            h, rejected = size * max(MIN_FACTOR, shrink), rejected + 1
            if h <= 16 * _spacing(t):
                raise _underflow(t, h, tableau, ratio)
    raise SolverError(
        f"max_steps={max_steps} were not enough: {tableau.name} had reached t={t:.6g} of {t_end:.6g} with "
        f"h={sign * h:.3g}; try looser rtol and atol, a larger max_steps, or float64 "
        "(float32 cannot meet tolerances much below 1e-6)"
    )


def _factor(ratio: float, order: int) -> float:
    """What to multiply h by, before limits: the error of a step goes like h^order."""
    return SAFETY * ratio ** (-1 / order) if ratio > 0.0 else inf


@torch.no_grad()
def _error_ratio(size, stages, y, y_next, tableau, rtol, atol, parts) -> float:
    """Estimated local error over tolerance; NaN (which fails every comparison) if
    anything is not finite.
    """
    error = size * weighted_sum(tableau.b_error, stages)
    scale = torch.maximum(y.abs(), y_next.abs()).mul_(rtol).add_(atol)
    return _rms(error.div_(scale), parts)


def _rms(x: Tensor, parts: int) -> float:
    """The largest root mean square over `parts` equal blocks of x."""
    if not x.numel():
        return 0.0
    blocks = x.reshape(parts, -1)
    return torch.linalg.vector_norm(blocks, dim=1).max().item() / sqrt(blocks.shape[1])


@torch.no_grad()
def _initial_step(f, t, y, k1, t_end, order, rtol, atol, parts) -> float:
    """A first step size from the sizes of y, y' and y'' (Hairer, Nørsett, Wanner I,
    II.4).
    """
    scale = y.abs().mul_(rtol).add_(atol)
    d0, d1 = _rms(y / scale, parts), _rms(k1 / scale, parts)
    h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else max(0.01 * d0 / d1, 32 * _spacing(t))
    h0 = min(h0, abs(t_end - t))  # f may be known up to t_end only
    ahead = copysign(h0, t_end - t)
    d2 = _rms((f(t + ahead, y + ahead * k1) - k1) / scale, parts) / h0
    steepest = max(d1, d2)
    h1 = max(1e-6, 1e-3 * h0)
    if steepest > 1e-15:
        h1 = (0.01 / steepest) ** (1 / (order + 1))
    # Where f is not finite nearby there is no good guess; the first attempts will tell.
    return max(min(100 * h0, h1), 32 * _spacing(t)) if isfinite(h1) else h0


def _number(x: float | Tensor) -> float:
    """x without its gradient."""
    return x.item() if isinstance(x, Tensor) else x


def _spacing(t: float) -> float:
    """The distance from |t| to the next larger number: no step can be smaller."""
    return nextafter(abs(t), inf) - abs(t)


def _not_finite(t, h, tableau, advice) -> SolverError:
    return SolverError(
        f"f returned NaN or infinity, or the solution overflowed, in the step from t={_number(t):.6g} with "
        f"h={_number(h):.3g} ({tableau.name}); {advice}"
    )


def _underflow(t, h, tableau, ratio) -> SolverError:
    if not 1.0 < ratio < inf:  # NaN, or an overflow that the estimate did not see
        return _not_finite(
            t, h, tableau, "no step, however small, gets past it: look at f there"
        )
    return SolverError(
        f"step underflow at t={t:.6g}: {tableau.name} would need h={h:.3g} to meet the tolerance; "
        "the solution may blow up here, f may jump, or the problem may be stiff: try looser rtol and atol, or float64"
    )


# --- a whole solve --------------------------------------------------------------------


def solve(
    f: Callable,
    y0: Tensor,
    t: Tensor | Sequence[float],
    *,
    method: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-6,
    step_size: float | None = None,
    max_steps: int = 10_000,
) -> Solution:
    """Solve ``y' = f(t, y), y(t[0]) = y0`` and report the solution at every time in
    `t`.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``
        t is a 0-d Tensor, y has the shape of y0, and so must the result.
    y0 : Tensor, shape (*state), floating point
    t : Tensor or sequence of floats, shape (n,), strictly increasing or strictly
        decreasing
        One time alone gives y0 back.
    method : str
        A name in `course_lib.solvers.tableaus.METHODS`. 'bosh3', 'dopri5' and 'tsit5' choose
        their own steps; 'euler', 'midpoint', 'heun' and 'rk4' take steps of
        `step_size`.
    rtol, atol : float
        A step is accepted if its estimated error is at most ``atol + rtol * |y|`` in
        root mean square.
    step_size : float
        Size of a fixed step, in units of t, positive in both directions; the last step
        before each requested time is shortened to end there. Only for fixed-step
        methods.
    max_steps : int
        Attempts before the solve gives up.

    Returns
    -------
    Solution

    Raises
    ------
    TypeError, ValueError
        For arguments that make no sense; the message names the argument, what was
        expected and the fix.
    SolverError
        If the solve cannot go on: NaN or infinity, step underflow, max_steps.

    Notes
    -----
    Gradients reach y0, every entry of t and whatever f uses, through the steps as they
    were taken. The step sizes an adaptive method chose count as constants.

    References
    ----------
    Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.1 (steps),
    II.4 (control), II.6 (dense output).
    """
    tableau = check_settings(method, rtol, atol, step_size, max_steps)
    times = check_problem(f, y0, t)
    track_t = times.requires_grad and torch.is_grad_enabled()
    dynamics = Dynamics(f, y0, start=times[0].double() if track_t else None)
    if len(times) == 1:
        ys, steps = y0[None], []
    elif tableau.adaptive:
        ys, steps = _solve_adaptive(
            dynamics, y0, times, track_t, tableau, rtol, atol, max_steps
        )
    else:
        ys, steps = _solve_fixed(
            dynamics, y0, times, track_t, tableau, step_size, max_steps
        )
    t_starts, sizes, rejections = zip(*steps) if steps else ((), (), ())
    return Solution(
        t=times,
        ys=ys,
        nfe=dynamics.nfe,
        accepted=len(steps),
        rejected=sum(rejections),
        step_times=torch.tensor(t_starts, dtype=torch.float64),
        step_sizes=torch.tensor(sizes, dtype=torch.float64),
    )


def odeint(f: Callable, y0: Tensor, t: Tensor | Sequence[float], **settings) -> Tensor:
    """The values of `solve`, shape (len(t), *y0.shape); same arguments, same errors."""
    return solve(f, y0, t, **settings).ys


def _solve_adaptive(f, y0, times, track_t, tableau, rtol, atol, max_steps):
    moments = times.tolist()
    t0, t_end = moments[0], moments[-1]
    control = dict(tableau=tableau, rtol=rtol, atol=atol, max_steps=max_steps)
    pieces, steps, done = [y0[None]], [], 1
    for step in adaptive_steps(f, t0, y0, t_end, **control):
        steps.append((step.t, step.h, step.rejected))
        first, reached = done, abs(step.t_next - t0)
        while done < len(moments) and abs(moments[done] - t0) <= reached:
            done += 1
        if track_t and done > first:
            # as functions of t[0], with which the whole grid moves, and of the times
            moved, wanted = step._replace(t=f.moved(step.t)), times[first:done].double()
            pieces.append(interpolate(moved, tableau, wanted))
        elif done > first:
            inner = done - 1 if moments[done - 1] == step.t_next else done
            if inner > first:
                pieces.append(interpolate(step, tableau, moments[first:inner]))
            if inner < done:
                pieces.append(step.y_next[None])
    return torch.cat(pieces), steps


def _solve_fixed(f, y0, times, track_t, tableau, step_size, max_steps):
    moments = list(times.double().unbind()) if track_t else times.tolist()
    ys, steps = [y0], []
    for start, stop in pairwise(moments):
        left = max_steps - len(steps)
        control = dict(tableau=tableau, step_size=step_size, max_steps=left)
        for step in fixed_steps(f, start, ys[-1], stop, **control):
            steps.append((_number(step.t), _number(step.h), 0))
        ys.append(step.y_next)
    return torch.stack(ys), steps


# --- f, guarded, and the arguments, checked -------------------------------------------


class Dynamics:
    """f as the solvers call it: t arrives as a 0-d tensor like y, calls are counted,
    results are checked.

    `start` is t[0] where the gradient with respect to it is wanted: `moved` then adds a
    zero that carries it.
    """

    def __init__(self, f: Callable, y0: Tensor, start: Tensor | None = None):
        self.f, self.nfe = f, 0
        self.dtype, self.device = y0.dtype, y0.device
        self.shift = None if start is None else start - start.detach()

    def moved(self, t: float) -> float | Tensor:
        return t if self.shift is None else t + self.shift

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        self.nfe += 1
        if self.shift is not None and not isinstance(t, Tensor):
            t = self.moved(t)
        if isinstance(t, Tensor):
            t = t.to(self.device, self.dtype)
        else:
            t = torch.full((), t, dtype=self.dtype, device=self.device)
        dy = self.f(t, y)
        if not isinstance(dy, Tensor):
            raise TypeError(
                f"f must return a Tensor dy/dt of shape {tuple(y.shape)}, got {type(dy).__name__}"
            )
        if dy.shape != y.shape or dy.dtype != y.dtype or dy.device != y.device:
            raise ValueError(
                f"f must return dy/dt with the shape, dtype and device of y: expected {tuple(y.shape)}, {y.dtype}, "
                f"{y.device}, got {tuple(dy.shape)}, {dy.dtype}, {dy.device}"
            )
        return dy


def check_settings(method, rtol, atol, step_size, max_steps) -> ButcherTableau:
    """The method's tableau, if the solver settings make sense; otherwise a ValueError
    that says why not.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"method={method!r} is not known; choose from {', '.join(METHODS)}"
        )
    tableau = METHODS[method]
    if tableau.adaptive and step_size is not None:
        fixed = ", ".join(name for name, m in METHODS.items() if not m.adaptive)
        raise ValueError(
            f"step_size={step_size!r} does not go with method={method!r}, which chooses its own steps; "
            f"leave it out and set rtol and atol, or use a fixed-step method: {fixed}"
        )
    if not tableau.adaptive:
        if step_size is None:
            raise ValueError(
                f"method={method!r} needs step_size, for instance step_size=0.1; 'dopri5' works without"
            )
        check_positive(
            "step_size",
            step_size,
            "for steps chosen from a tolerance use method='dopri5' without it",
        )
    check_positive("rtol", rtol, "1e-5 is a usual value")
    check_positive("atol", atol, "1e-6 is a usual value")
    if not isinstance(max_steps, int) or max_steps is True or max_steps < 1:
        raise ValueError(
            f"max_steps must be a positive whole number, got {max_steps!r}"
        )
    return tableau


def check_positive(name: str, value, advice: str) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be a positive number, got {value!r}; {advice}"
        ) from None
    if not (number > 0.0 and isfinite(number)):
        raise ValueError(f"{name} must be positive and finite, got {value!r}; {advice}")


def check_problem(f, y0, t) -> Tensor:
    """The times as a tensor, if f, y0 and t make sense; otherwise an error that says
    why not.
    """
    if not callable(f):
        raise TypeError(
            f"f must be callable as f(t, y), got {type(f).__name__}; the order is solve(f, y0, t)"
        )
    if not isinstance(y0, Tensor):
        raise TypeError(
            f"y0 must be a Tensor, got {type(y0).__name__}; use torch.tensor(y0)"
        )
    if not y0.is_floating_point():
        raise TypeError(
            f"y0 must be floating point, got {y0.dtype}; use y0.float() or y0.double()"
        )
    if not torch.isfinite(y0).all():
        raise ValueError("y0 holds NaN or infinity; a solution needs a finite start")
    if not isinstance(t, Tensor):
        try:
            t = torch.tensor([float(moment) for moment in t], dtype=torch.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"t must be a 1-D Tensor or a sequence of numbers, got {t!r}; "
                "to integrate from 0 to 1 use t=[0.0, 1.0]"
            ) from None
    if not t.is_floating_point():
        raise TypeError(
            f"t must be floating point, got {t.dtype}; use t.float() or t.double()"
        )
    if t.ndim != 1 or len(t) == 0:
        raise ValueError(
            f"t must be 1-D with at least one time (two to integrate), got shape {tuple(t.shape)}"
        )
    gaps = t.detach().diff()
    if not torch.isfinite(t.detach()).all() or not (
        (gaps > 0).all() or (gaps < 0).all()
    ):
        raise ValueError(
            f"t must be finite and strictly increasing or strictly decreasing, got {_abbreviated(t)}; "
            "sort it and remove repeated times (torch.unique)"
        )
    return t


def _abbreviated(t: Tensor) -> str:
    shown = ", ".join(f"{value:.6g}" for value in t.detach().tolist()[:6])
    return f"[{shown}{', …' if len(t) > 6 else ''}]"

"""One Runge–Kutta step, dense output inside it, and sequences of steps, fixed and
adaptive.

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, chapter II.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from math import ceil, copysign, inf, isfinite, isnan, nextafter, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.solvers.checks import SolverError, all_finite
from course_lib.solvers.rosenbrock import (
    STIFF_METHODS,
    Linearisation,
    RosenbrockTableau,
    Tableau,
    linearise,
    rosenbrock_step,
)
from course_lib.solvers.settings import Settings
from course_lib.solvers.stages import advance, weighted_sum, weighted_sums
from course_lib.solvers.tableaus import ButcherTableau

__all__ = [
    "Step",
    "adaptive_steps",
    "dense_weights",
    "first_guess",
    "fixed_steps",
    "initial_step",
    "interpolate",
    "not_finite",
    "out_of_steps",
    "over_tolerance",
    "rk_step",
    "second_guess",
    "step_factor",
    "take_step",
    "to_float",
    "underflow",
]

SAFETY, MIN_FACTOR, MAX_FACTOR = 0.9, 0.2, 10.0  # step-size control, Hairer et al. II.4
MOST_REJECTED = 20  # of attempts that end in NaN, each a fifth of the one before
LEAST_RATIO = 1e-4  # a step that met the tolerance by more counts as this good


class Step(NamedTuple):
    """One accepted step: y at t, y_next at t_next = t + h, the stages between, the
    attempts that failed before, the size to try next.
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


def take_step(
    f: Callable,
    t: float | Tensor,
    y: Tensor,
    h: float | Tensor,
    tableau: Tableau,
    start: Tensor | Linearisation | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """`rk_step` or `rosenbrock_step`, whichever goes with the table.

    `start` is f(t, y), or its linearisation, if the caller has it already.
    """
    stiff = isinstance(tableau, RosenbrockTableau)
    step: Callable = rosenbrock_step if stiff else rk_step
    return step(f, t, y, h, tableau, start)


def interpolate(
    step: Step,
    tableau: Tableau,
    times: Sequence[float] | Tensor,
) -> Tensor:
    """The solution at `times` inside one step (dense output), shape (len(times),
    *state).

    References
    ----------
    Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.6.
    """
    y = step.y
    times = torch.as_tensor(times, dtype=torch.float64, device=y.device)
    weights = dense_weights((times - step.t) / step.h, tableau)
    return y + step.h * weighted_sums(weights.to(y.dtype), step.stages)


def dense_weights(theta: Tensor, tableau: Tableau) -> Tensor:
    """The weights b_i(θ) that reach t + θh, shape (n, s), for θ of shape (n,)."""
    # (s, p) coefficients and (n, p) powers make (n, s) weights
    coefficients = torch.tensor(tableau.dense, dtype=theta.dtype, device=theta.device)
    exponents = torch.arange(1, coefficients.shape[1] + 1, device=theta.device)
    return theta[:, None] ** exponents @ coefficients.T


# --- a sequence of steps --------------------------------------------------------------


def fixed_steps(
    f: Callable,
    t: float | Tensor,
    y: Tensor,
    t_end: float | Tensor,
    settings: Settings,
    *,
    taken: int = 0,
) -> Iterator[Step]:
    """Steps of `step_size` from t to t_end, the last one shortened to end there.

    `taken` steps of the `max_steps` allowed are gone already.
    """
    step_size, left = settings.step_size, settings.max_steps - taken
    span = to_float(t_end) - to_float(t)
    # A hair of tolerance: 0.3 / 0.1 is three steps.
    needed = abs(span) / step_size - 1e-6
    if needed > left:
        raise SolverError(
            f"about {needed:.6g} steps of step_size={step_size} are needed between "
            f"t={to_float(t):.6g} and t={to_float(t_end):.6g}, but max_steps allows "
            f"only {left} more; try a larger step_size or max_steps"
        )
    n, far = max(1, ceil(needed)), max(abs(to_float(t)), abs(to_float(t_end)))
    if n > 1 and step_size < 16 * _spacing(far):
        raise SolverError(
            f"step_size={step_size} is too small for t={far:.6g}, where the next number "
            f"is {_spacing(far):.3g} away; count time from another origin"
        )
    h = copysign(step_size, span)
    for i in range(n):
        t_here = t + i * h
        t_next = t + (i + 1) * h if i < n - 1 else t_end
        size = h if i < n - 1 else t_end - t_here
        y_next, stages = take_step(f, t_here, y, size, settings.tableau)
        if not all_finite(y_next):
            raise not_finite(
                t_here, size, settings, "try a smaller step_size, or look at f there"
            )
        yield Step(t_here, t_next, size, y, y_next, stages, 0, h)
        y = y_next


def adaptive_steps(
    f: Callable,
    t: float,
    y: Tensor,
    t_end: float,
    settings: Settings,
    *,
    k1: Tensor | None = None,
    h: float | None = None,
    taken: int = 0,
    also: Callable[[float], float] | None = None,
    clock: Callable[[float], float | Tensor] = float,
    arriving: Callable[..., tuple[Tensor, Tensor]] | None = None,
) -> Iterator[Step]:
    """Steps from t to exactly t_end, each as long as its error estimate allows.

    `k1` is f(t, y), `h` the size to try first, `taken` the attempts that are gone, `also(h)`
    the error over tolerance of what is not in y, `clock(t)` t with its gradient,
    `arriving(t, t_next, y, k1)` y and k1 as the attempt to reach t_next is to start.

    References
    ----------
    Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.4.
    """
    tableau, sign = settings.tableau, copysign(1.0, t_end - t)
    rejected, before = 0, 0.0  # attempts in vain, error over tolerance of the last step
    start = _start(f, clock(t), y, settings, k1)
    if h is None:
        h = settings.first_step or initial_step(f, t, y, start, t_end, settings)
    for _ in range(settings.max_steps - taken):
        left, h = abs(t_end - t), min(h, settings.max_step)
        last = h >= 0.999 * left  # do not leave a sliver for one more step
        size = left if last else h
        step = sign * size
        t_next = t_end if last else t + step
        if arriving is not None:
            y, start = arriving(t, t_next, y, start)
        y_next, stages = take_step(f, clock(t), y, step, tableau, start)
        ratio = _error_ratio(size, stages, y, y_next, settings, also)
        if ratio <= 1.0 and all_finite(y_next):
            most = 1.0 if rejected else MAX_FACTOR
            h_next = size * min(most, _factor(ratio, settings, before))
            if last:  # cut short to end at t_end: h itself is still worth trying
                h_next = max(h, h_next)
            yield Step(clock(t), t_next, step, y, y_next, stages, rejected, h_next)
            if last:
                return
            t, y, h, rejected, before = t_next, y_next, h_next, 0, ratio
            start = stages[-1] if tableau.fsal else _start(f, clock(t), y, settings)
        else:
            shrink = _factor(ratio, settings) if ratio > 1.0 else MIN_FACTOR
            h, rejected = size * shrink, rejected + 1
            hopeless = rejected >= MOST_REJECTED and not isfinite(ratio)
            if h <= 16 * _spacing(t) or hopeless:
                raise underflow(t, h, settings, ratio, y.dtype)
    raise out_of_steps(t, t_end, sign * h, settings, y.dtype)


def _start(
    f: Callable,
    t: float | Tensor,
    y: Tensor,
    settings: Settings,
    k1: Tensor | None = None,
) -> Tensor | Linearisation:
    """What a step starts from: f(t, y), or its linearisation, if it is finite."""
    if not isinstance(settings.tableau, RosenbrockTableau):
        dy = f(t, y) if k1 is None else k1
        _require_finite(dy, t, settings)
        return dy
    start = linearise(f, t, y)
    _require_finite(start.dy, t, settings)
    if not all(map(all_finite, start)):
        raise _no_linearisation(t, settings)
    return start


def _require_finite(dy: Tensor, t: float | Tensor, settings: Settings) -> None:
    if not all_finite(dy):
        raise not_finite(t, 0.0, settings, "look at f there")


def _factor(ratio: float, settings: Settings, before: float | None = None) -> float:
    """What to multiply h by, no less than a fifth: the error of a step goes like h^order.

    After a step, the error of the one `before` it has a say too, if beta is not 0.
    """
    if ratio == 0.0:
        return inf
    if before is not None:
        before = max(before, LEAST_RATIO)
    return max(MIN_FACTOR, step_factor(ratio, settings, before))


def step_factor(
    ratio: float | Tensor, settings: Settings, before: float | Tensor | None = None
):
    """The same without limits, of a number or of tensors with one for each sample."""
    exponent, beta = 1 / settings.tableau.order, settings.beta
    if beta == 0.0 or before is None:
        return SAFETY * ratio**-exponent
    return SAFETY * ratio ** (0.75 * beta - exponent) * before**beta


def _larger(a: float, b: float) -> float:
    """The larger number; NaN if one of them is."""
    return a if a > b or isnan(a) else b


@torch.no_grad()
def _error_ratio(
    size: float,
    stages: list[Tensor],
    y: Tensor,
    y_next: Tensor,
    settings: Settings,
    also: Callable[[float], float] | None = None,
) -> float:
    """Estimated local error over tolerance, that of `also` too; NaN (which fails every
    comparison) if anything is not finite.
    """
    error = weighted_sum([size * w for w in settings.tableau.b_error], stages)
    ratio = _rms(over_tolerance(error, y, y_next, settings), settings.parts)
    return ratio if also is None else _larger(also(size), ratio)


def over_tolerance(
    error: Tensor, y: Tensor, y_next: Tensor, settings: Settings
) -> Tensor:
    """The error of each component over what it may be, (*state), in its own place."""
    largest = torch.maximum(y.abs(), y_next.abs())
    scale = largest.mul_(settings.rtol).add_(settings.atol)
    return error.div_(scale)


def _rms(x: Tensor, parts: int | tuple[int, ...]) -> float:
    """The largest root mean square over the blocks of x: how many, or the size of each."""
    if not x.numel():
        return 0.0
    if parts == 1:
        return torch.linalg.vector_norm(x).item() / sqrt(x.numel())
    if not isinstance(parts, int):
        return reduce(_larger, (_rms(part, 1) for part in x.reshape(-1).split(parts)))
    blocks = x.reshape(parts, -1)
    norms = torch.linalg.vector_norm(blocks, dim=1).tolist()
    return reduce(_larger, norms) / sqrt(blocks.shape[1])


def initial_step(
    f: Callable,
    t: float,
    y: Tensor,
    start: Tensor | Linearisation,
    t_end: float,
    settings: Settings,
) -> float:
    """A first step size from the sizes of y, y' and y'' (Hairer, Nørsett, Wanner I,
    II.4).
    """
    k1 = start.dy if isinstance(start, Linearisation) else start
    scale = y.detach().abs().mul_(settings.rtol).add_(settings.atol)
    d0, d1 = (_rms(x.detach() / scale, settings.parts) for x in (y, k1))
    h0 = first_guess(d0, d1, t, t_end, y.dtype)
    ahead = copysign(h0, t_end - t)
    change = (f(t + ahead, y + ahead * k1) - k1).detach()  # f may need gradients
    d2 = _rms(change / scale, settings.parts)
    return second_guess(h0, d1, d2, t, settings.tableau.order, y.dtype)


def first_guess(
    d0: float, d1: float, t: float, t_end: float, dtype: torch.dtype
) -> float:
    """A step that changes y a little, from the sizes of y and y'."""
    h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else max(0.01 * d0 / d1, _least(t, dtype))
    return min(h0, abs(t_end - t))  # f may be known up to t_end only


def second_guess(
    h0: float, d1: float, d2: float, t: float, order: int, dtype: torch.dtype
) -> float:
    """A step that errs a little, from the sizes of y' and of its change over h0."""
    steepest = max(d1, d2 / h0)
    h1 = max(1e-6, 1e-3 * h0)
    if steepest > 1e-15:
        h1 = (0.01 / steepest) ** (1 / (order + 1))
    # Where f is not finite nearby there is no good guess; the first attempts will tell.
    return max(min(100 * h0, h1), _least(t, dtype)) if isfinite(h1) else h0


def _least(t: float, dtype: torch.dtype) -> float:
    """The shortest step to begin with: f, which has t in the type of y, could not tell a
    shorter one from none.
    """
    return 32 * max(_spacing(t), torch.finfo(dtype).eps * abs(t))


def to_float(x: float | Tensor) -> float:
    """x without its gradient."""
    return x.item() if isinstance(x, Tensor) else x


def _spacing(t: float) -> float:
    """The distance from |t| to the next larger number: no step can be smaller."""
    return nextafter(abs(t), inf) - abs(t)


# --- why a sequence ended too early ---------------------------------------------------


def not_finite(
    t: float | Tensor, h: float | Tensor, settings: Settings, advice: str
) -> SolverError:
    """A step ends in NaN or infinity."""
    return SolverError(
        "f returned NaN or infinity, or the solution overflowed, in the step from "
        f"t={to_float(t):.6g} with h={to_float(h):.3g} ({settings.method}); {advice}"
    )


def _no_linearisation(t: float | Tensor, settings: Settings) -> SolverError:
    return SolverError(
        f"the Jacobian of f is NaN or infinite at t={to_float(t):.6g}, where f itself is "
        f"finite (a square root or a norm at 0?), and a step of {settings.method} needs "
        "it: give f a derivative there, or use a method that needs none, such as "
        "method='dopri5'"
    )


def underflow(
    t: float, h: float, settings: Settings, ratio: float, dtype: torch.dtype
) -> SolverError:
    """No step that t can resolve meets the tolerance."""
    if not 1.0 < ratio < inf:  # NaN, or an overflow that the estimate did not see
        return not_finite(
            t, h, settings, "no step, however small, gets past it: look at f there"
        )
    explicit = settings.method not in STIFF_METHODS
    reasons = (
        "the solution may blow up here, f may jump, or the problem may be stiff"
        if explicit
        else "the solution may blow up here, or f may jump"
    )
    return SolverError(
        f"step underflow at t={t:.6g}: {settings.method} would need h={h:.3g} to meet "
        f"the tolerance; {reasons}: try looser rtol and atol{_or_float64(dtype)}"
    )


def out_of_steps(
    t: float, t_end: float, h: float, settings: Settings, dtype: torch.dtype
) -> SolverError:
    """The attempts allowed are made."""
    explicit = settings.method not in STIFF_METHODS
    reasons = (
        "the problem may be stiff (an explicit method then takes small steps however "
        f"smooth the solution is: odeint takes method={next(iter(STIFF_METHODS))!r}), or "
        "the interval long"
        if explicit
        else "the interval may be long, or f far from smooth"
    )
    return SolverError(
        f"max_steps={settings.max_steps} were not enough: {settings.method} had "
        f"reached t={t:.6g} of {t_end:.6g} with h={h:.3g}; {reasons}: try looser rtol "
        f"and atol, a larger max_steps{_or_float64(dtype)}"
    )


def _or_float64(dtype: torch.dtype) -> str:
    """What helps only who does not have it."""
    if dtype == torch.float64:
        return ""
    return ", or float64 (float32 cannot meet tolerances much below 1e-6)"

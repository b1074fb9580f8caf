"""Steps that adapt to a tolerance, in JAX: the control of `steps` in a ``while_loop``.

The way there is one loop over attempts between each requested time and the next. Its
steps are those of `course_lib.solvers.solve`. JAX cannot run a loop of unknown length
backwards, so the gradient is written here (`jax.custom_vjp`): the way there keeps where
each step started, and the way back pulls the gradient through one step after the other,
last one first. That is the gradient of what was computed, as backpropagation gives it.

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.4, II.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from course_lib.solvers.jax_checks import (
    checked_field,
    checked_start,
    checked_times,
    is_traced,
)

# The import above says what to install where JAX is not there.
# isort: split
import jax
import jax.numpy as jnp
import torch
from jax import Array, lax
from jax.experimental import checkify

from course_lib.solvers.checks import SolverError
from course_lib.solvers.in_jax import moved_along
from course_lib.solvers.rosenbrock import STIFF_METHODS
from course_lib.solvers.settings import Settings
from course_lib.solvers.steps import (
    MAX_FACTOR,
    MIN_FACTOR,
    MOST_REJECTED,
    SAFETY,
    not_finite,
    out_of_steps,
    underflow,
)
from course_lib.solvers.tableaus import METHODS

__all__ = ["JaxSolution", "jax_solve"]

GOING, NOT_FINITE, UNDERFLOW, OUT_OF_STEPS = range(4)  # how a solve stands
FAILED = (
    "jax_solve could not go on at t={t} with h={h}: f returned NaN or infinity, no step "
    "meets the tolerance (blow-up, a jump of f, a stiff problem), or max_steps were not "
    "enough; the same call outside of jax.jit says which"
)


class JaxSolution(NamedTuple):
    """What an adaptive solve in JAX computed and what it cost; all are Arrays.

    Attributes
    ----------
    ys : Array, shape (n, *state), the solution at the requested times; ``ys[0]`` is y0
    nfe : Array, 0-d, evaluations of f on the way there
    accepted, rejected : Array, 0-d, steps taken and steps tried in vain
    """

    ys: Array
    nfe: Array
    accepted: Array
    rejected: Array


class Walker(NamedTuple):
    """Where a solve stands: at y, with f there and the size to try next."""

    t: Array
    y: Array
    k1: Array
    h: Array
    in_vain: Array  # attempts since the last step
    accepted: Array
    rejected: Array
    status: Array


class Attempt(NamedTuple):
    """A step that was tried: from y at t, h long."""

    t: Array
    h: Array
    y: Array
    stages: list[Array]


class Start(NamedTuple):
    """Where a step started, and how long it was; for many steps with an axis in front."""

    t: Array
    h: Array
    y: Array
    k1: Array


class Kept(NamedTuple):
    """What the way back needs of the way there."""

    starts: Start  # of every step
    step_of: Array  # for each requested time but the first, the step it is in
    slopes: Array  # and how fast the solution changes there
    end: Walker


# --- the solve ------------------------------------------------------------------------


def jax_solve(
    f: Callable,
    y0: Array,
    t: Array | Sequence[float],
    *,
    method: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-6,
    max_steps: int = 1_000,
    check: bool = False,
) -> JaxSolution:
    """Solve ``y' = f(t, y), y(t[0]) = y0`` in steps that a tolerance chooses.

    Parameters
    ----------
    f, y0, t
        As for `course_lib.solvers.in_jax.jax_odeint`.
    method : str
        A name in `course_lib.solvers.METHODS` that estimates its error.
    rtol, atol : float, positive
        A step is accepted if its estimated error is at most ``atol + rtol * |y|`` in
        root mean square. Python numbers: under `jax.jit` they are static.
    max_steps : int
        Attempts before the solve gives up. A gradient sets aside room for as many
        states and slopes, and for each sample of a `jax.vmap`.
    check : bool
        Whether a solve that fails is an error in compiled code too, as for `jax_odeint`.

    Returns
    -------
    JaxSolution

    Raises
    ------
    TypeError, ValueError
        For arguments that make no sense.
    SolverError
        If the solve cannot go on, where JAX knows its values: outside of
        transformations.

    Notes
    -----
    Steps, evaluations and values are those of `course_lib.solvers.solve`, up to
    rounding. Gradients reach y0, t and what f closes over, in reverse mode; they are
    those of the steps that were taken, whose sizes count as constants. Forward mode
    (`jax.jvp`, `jax.jacfwd`) and second derivatives are refused: `jax_odeint` has them.
    Compiled code cannot raise: where it fails, the solution from there on and every
    gradient is NaN, unless `check` is on. Put ``jax.jit`` around the function that calls
    this one.
    """
    settings = _checked_settings(method, rtol, atol, max_steps)
    y0, times = checked_start(f, y0), checked_times(t)
    field, params, fixed = _opened(checked_field(f, y0), times[0], y0)
    ys, end = _solved(field, settings, params, fixed, y0, times)
    _tell(end, times, settings, y0.dtype, check)
    attempts = end.accepted + end.rejected
    nfe = (2 + (len(settings.tableau.b) - 1) * attempts) * (len(times) > 1)
    return JaxSolution(ys, nfe, end.accepted, end.rejected)


def _opened(f, t, y):
    """f as a function of what it closes over too: numbers that have a gradient, and
    others.

    `jax.closure_convert` leaves integers and booleans in, where a gradient of compiled
    code stumbles over them.
    """
    closed = jax.make_jaxpr(f)(t, y)
    has_gradient = [jnp.issubdtype(x.dtype, jnp.inexact) for x in closed.consts]
    params = [x for x, has in zip(closed.consts, has_gradient) if has]
    fixed = [x for x, has in zip(closed.consts, has_gradient) if not has]

    def field(params, fixed, t, y):
        each = {True: iter(params), False: iter(fixed)}
        consts = [next(each[has]) for has in has_gradient]
        (dy,) = jax.core.eval_jaxpr(closed.jaxpr, consts, t, y)
        return dy

    return field, params, fixed


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _solved(field, settings, params, fixed, y0, times):
    """The solution at the times, and where the walker came to."""
    ys, end, _ = _walk(partial(field, params, fixed), settings, y0, times)
    return ys, end


# --- the way there --------------------------------------------------------------------


def _walk(f, settings, y0, times, room: int = 0):
    """Steps from the first time to the last, passing those between; the starts of the
    first `room` of them are kept.
    """
    dense = len(times) > 2  # two times are both at the end of a step
    start = _start(f, settings, y0, times)
    t, h, y, k1 = start.t, start.h, start.y, start.k1
    step = Attempt(t, h, y, [k1] * len(settings.tableau.b) if dense else [])
    first = Start(t, h, y, k1)
    starts = jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), first)

    def until(time, carry):
        """Attempts until one passes `time`, and the solution there."""

        def attempt(carry):
            walker, _, starts = carry
            after, step = _attempt(f, walker, times[-1], settings)
            if room:  # an attempt in vain is written over by the next one
                here = Start(step.t, step.h, step.y, walker.k1)
                starts = jax.tree.map(
                    lambda xs, x: xs.at[walker.accepted].set(x), starts, here
                )
            return after, step if dense else step._replace(stages=[]), starts

        def short_of_it(carry):
            walker = carry[0]
            ahead = abs(time - times[0]) > abs(walker.t - times[0])
            return ahead & (walker.status == GOING)

        carry = lax.while_loop(short_of_it, attempt, carry)
        walker, step, _ = carry
        here = walker, step, time, settings.tableau
        slope = _slope(*here) if room else None
        return carry, (_observed(*here), slope, walker.accepted - 1)

    carry = start, step, starts
    carry, (ys, slopes, step_of) = lax.scan(
        lambda c, time: until(time, c), carry, times[1:]
    )
    end, _, starts = carry
    return jnp.concatenate((y0[None], ys)), end, Kept(starts, step_of, slopes, end)


def _start(f, settings, y0, times) -> Walker:
    k1 = f(times[0], y0)
    h = _initial_step(f, times[0], y0, k1, times[-1], settings)
    status = jnp.where(jnp.isfinite(k1).all(), GOING, NOT_FINITE)
    none = jnp.int32(0)
    return Walker(times[0], y0, k1, h, none, none, none, status)


def _attempt(f, walker, t_end, settings) -> tuple[Walker, Attempt]:
    """One attempt of `course_lib.solvers.adaptive_steps`, decided as there."""
    t, y = walker.t, walker.y
    left = abs(t_end - t)
    last = walker.h >= 0.999 * left  # do not leave a sliver for one more step
    size = jnp.where(last, left, walker.h)
    step = jnp.sign(t_end - t) * size
    y_next, stages = _stages(f, t, y, walker.k1, step, settings.tableau)
    ratio = _error_ratio(size, stages, y, y_next, settings).astype(t.dtype)
    good = ratio <= 1.0
    after = walker._replace(
        t=jnp.where(good, jnp.where(last, t_end, t + step), t),
        y=jnp.where(good, y_next, y),
        k1=jnp.where(good, stages[-1], walker.k1),
        h=size * _factor(ratio, walker.in_vain, settings.tableau.order),
        in_vain=jnp.where(good, 0, walker.in_vain + 1),
        accepted=walker.accepted + good,
        rejected=walker.rejected + ~good,
    )
    status = _status(after, t_end, ratio, settings.max_steps)
    return after._replace(status=status), Attempt(t, step, y, stages)


def _stages(f, t, y, k1, h, tableau) -> tuple[Array, list[Array]]:
    """y at the end of a step whose last stage stands there, and the stages."""
    stages, y_stage = [k1], y
    for c, row in zip(tableau.c[1:], tableau.a):
        y_stage = moved_along(y, h, row, stages)
        stages.append(f(t + c * h, y_stage))
    return y_stage, stages


def _error_ratio(size, stages, y, y_next, settings) -> Array:
    """Estimated local error over tolerance; NaN if anything is not finite."""
    error = moved_along(0.0 * y_next, size, settings.tableau.b_error, stages)
    largest = jnp.maximum(abs(y), abs(y_next))
    return _rms(error / (settings.atol + settings.rtol * largest))


def _rms(x) -> Array:
    return jnp.sqrt(jnp.vdot(x, x) / max(1, x.size))


def _factor(ratio, in_vain, order) -> Array:
    """What to multiply the size of an attempt by."""
    factor = jnp.maximum(MIN_FACTOR, SAFETY * ratio ** (-1 / order))
    most = jnp.where(in_vain > 0, 1.0, MAX_FACTOR)
    return jnp.where(jnp.isnan(ratio), MIN_FACTOR, jnp.minimum(factor, most))


def _status(after, t_end, ratio, max_steps) -> Array:
    """How a solve stands after an attempt with this error over tolerance."""
    stuck = (after.in_vain > 0) & (after.h <= 16 * _spacing(after.t))
    hopeless = after.in_vain >= MOST_REJECTED
    why = jnp.where(stuck, UNDERFLOW, GOING)
    why = jnp.where(~jnp.isfinite(ratio) & (stuck | hopeless), NOT_FINITE, why)
    ended = (after.t != t_end) & (after.accepted + after.rejected >= max_steps)
    return jnp.where((why == GOING) & ended, OUT_OF_STEPS, why)


def _initial_step(f, t, y, k1, t_end, settings) -> Array:
    """The guess of `course_lib.solvers.steps.initial_step`."""
    scale = settings.atol + settings.rtol * abs(y)
    d0, d1 = _rms(y / scale).astype(t.dtype), _rms(k1 / scale).astype(t.dtype)
    least = 32 * jnp.maximum(_spacing(t), jnp.finfo(y.dtype).eps * abs(t))
    flat = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = jnp.where(flat, 1e-6, jnp.maximum(0.01 * d0 / d1, least))
    h0 = jnp.minimum(h0, abs(t_end - t))
    ahead = jnp.sign(t_end - t) * h0
    change = f(t + ahead, moved_along(y, ahead, (1.0,), [k1])) - k1
    d2 = _rms(change / scale).astype(t.dtype)
    steepest = jnp.maximum(d1, d2 / h0)
    h1 = (0.01 / steepest) ** (1 / (settings.tableau.order + 1))
    h1 = jnp.where(steepest > 1e-15, h1, jnp.maximum(1e-6, 1e-3 * h0))
    return jnp.where(
        jnp.isfinite(h1), jnp.maximum(jnp.minimum(100 * h0, h1), least), h0
    )


def _spacing(t) -> Array:
    """The distance from |t| to the next larger number: no step can be smaller."""
    return jnp.nextafter(abs(t), jnp.asarray(jnp.inf, t.dtype)) - abs(t)


# --- at the requested times -----------------------------------------------------------


def _observed(walker, step, time, tableau) -> Array:
    """The solution at a time in the latest step, or at its end."""
    y = walker.y
    if step.stages:
        weights = _dense_weights((time - step.t) / step.h, tableau)
        inside = step.y + step.h.astype(y.dtype) * _combined(weights, step.stages)
        y = jnp.where(time == walker.t, y, inside)
    return jnp.where(walker.status == GOING, y, jnp.nan)


def _slope(walker, step, time, tableau) -> Array:
    """How fast that changes with the time."""
    if not step.stages:
        return walker.k1
    theta = (time - step.t) / step.h
    rates = jax.jvp(lambda x: _dense_weights(x, tableau), (theta,), (1 + 0 * theta,))[1]
    return _combined(rates, step.stages)


def _combined(weights, stages) -> Array:
    return sum(w * k for w, k in zip(weights.astype(stages[0].dtype), stages))


def _dense_weights(theta, tableau) -> Array:
    """The weights b_i(θ) that reach t + θh, shape (s,)."""
    coefficients = jnp.asarray(tableau.dense, theta.dtype)  # (s, p)
    return coefficients @ theta ** jnp.arange(1, coefficients.shape[1] + 1)


# --- the way back ---------------------------------------------------------------------


@jax.custom_jvp
def _once(x):
    """x, which the way there and back has first derivatives of, and no others."""
    return x


@_once.defjvp
def _refused(_primals, _tangents):
    raise TypeError(
        "jax_solve has first derivatives in reverse mode only; jax_odeint, with a fixed "
        "number of steps, has those of every order in both"
    )


def _there(field, settings, params, fixed, y0, times):
    params, y0, times = jax.tree.map(_once, (params, y0, times))
    f = partial(field, params, fixed)
    ys, end, kept = _walk(f, settings, y0, times, room=settings.max_steps)
    return (ys, end), (params, fixed, y0, times, kept)


def _back(field, settings, saved, cotangents):
    """The gradient of the parameters, the start and the times."""
    params, fixed, y0, times, kept = saved
    grads = _once(cotangents[0])
    if len(times) == 1:
        return None, None, grads[0], None
    grads = jnp.where(kept.end.status == GOING, grads, jnp.nan)  # not a wrong number
    tableau = settings.tableau

    def pulled(carry):
        """The gradient at the start of step i, from that at its end."""
        i, at_end, (of_y, of_stages), of_t, of_params = carry
        t, h, y, k1 = (x[i] for x in kept.starts)

        def step(params, t, y, k1):
            y_next, stages = _stages(
                partial(field, params, fixed), t, y, k1, h, tableau
            )
            return y_next, jnp.stack(stages)

        _, pullback = jax.vjp(step, params, t, y, k1)
        of_stages = of_stages.at[-1].add(at_end[1])
        more, by_t, by_y, by_k1 = pullback((at_end[0], of_stages))
        of_params = jax.tree.map(jnp.add, of_params, more)
        nothing = jnp.zeros_like(y0), jnp.zeros_like(of_stages)
        return i - 1, (of_y + by_y, by_k1), nothing, of_t + by_t, of_params

    def from_time(carry, seen):
        """Take in the gradient that arrives at one time; go back to the one before."""
        time, grad, before = seen
        i, at_end, (of_y, of_stages), *rest = carry
        t, h = kept.starts.t[i], kept.starts.h[i]
        weights = _dense_weights((time - t) / h, tableau)
        by_stages = jnp.tensordot((h * weights).astype(grad.dtype), grad, 0)
        inside = of_y + grad, of_stages + by_stages
        carry = i, at_end, inside, *rest
        return lax.while_loop(lambda c: c[0] > before, pulled, carry), None

    zero = jnp.zeros_like(y0)
    carry = (
        kept.end.accepted - 1,
        (zero, zero),
        (zero, jnp.zeros((len(tableau.b), *y0.shape), y0.dtype)),
        jnp.zeros_like(times[0]),
        jax.tree.map(jnp.zeros_like, params),
    )
    before = jnp.append(-1, kept.step_of[:-1])
    carry, _ = lax.scan(from_time, carry, (times[1:], grads[1:], before), reverse=True)
    _, (of_y, of_k1), _, of_t, of_params = carry
    _, pullback = jax.vjp(lambda p, t, y: field(p, fixed, t, y), params, times[0], y0)
    by_params, by_t, by_y = pullback(of_k1)
    of_params = jax.tree.map(jnp.add, of_params, by_params)
    axes = tuple(range(1, grads.ndim))
    of_times = jnp.sum(grads[1:] * kept.slopes, axes).astype(times.dtype)
    of_start = of_t + by_t - of_times.sum()  # all steps move with the first time
    of_y = of_y + by_y + grads[0]
    return of_params, None, of_y, jnp.append(of_start, of_times)


_solved.defvjp(_there, _back)


# --- what makes no sense, and what failed ---------------------------------------------


def _checked_settings(method, rtol, atol, max_steps) -> Settings:
    adaptive = [name for name, tableau in METHODS.items() if tableau.adaptive]
    if isinstance(method, str) and method in STIFF_METHODS:
        raise ValueError(
            f"method={method!r} is for stiff equations and solves linear systems; "
            f"jax_solve takes explicit steps only: {', '.join(adaptive)}. Use "
            "course_lib.solvers.odeint with it, or in JAX diffrax.Kvaerno5"
        )
    if not isinstance(method, str) or method not in adaptive:
        raise ValueError(
            f"method={method!r} does not choose its own steps; jax_solve takes "
            f"{', '.join(adaptive)}, and jax_odeint equal steps of every method"
        )
    for name, value in dict(rtol=rtol, atol=atol, max_steps=max_steps).items():
        if is_traced(value):
            raise TypeError(
                f"{name} must be a Python number, got a traced value; use "
                f"jax.jit(…, static_argnames={name!r})"
            )
    return Settings(method=method, rtol=rtol, atol=atol, max_steps=max_steps)


def _tell(end, times, settings, dtype, check: bool) -> None:
    """An error if the solve failed, where there can be one."""
    if check:
        checkify.check(end.status == GOING, FAILED, t=end.t, h=end.h)
    elif not is_traced(end.status) and end.status != GOING:
        raise _failure(end, times, settings, dtype)


def _failure(end, times, settings, dtype) -> SolverError:
    """The error of `course_lib.solvers.solve`."""
    t, h = float(end.t), float(end.h)
    kind = torch.float64 if dtype == jnp.float64 else torch.float32
    if end.status == OUT_OF_STEPS:
        return out_of_steps(t, float(times[-1]), h, settings, kind)
    if end.status == UNDERFLOW:
        return underflow(t, h, settings, 2.0, kind)
    return not_finite(
        t, h, settings, "no step, however small, gets past it: look at f there"
    )

"""One attempt at a step in JAX, its control, and the solution inside of it.

What `course_lib.solvers.steps` decides by an ``if`` is decided here by numbers, so that JAX
can compile it. The steps are the same.

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.4, II.6.
"""

from __future__ import annotations

from typing import NamedTuple

from course_lib.solvers.jax_checks import (
    GOING,
    NOT_FINITE,
    OUT_OF_ORDER,
    OUT_OF_STEPS,
    UNDERFLOW,
)

# The import above says what to install where JAX is not there.
# isort: split
import jax
import jax.numpy as jnp
from jax import Array

from course_lib.solvers.in_jax import moved_along
from course_lib.solvers.steps import MAX_FACTOR, MIN_FACTOR, MOST_REJECTED, SAFETY

__all__ = [
    "Trial",
    "Walker",
    "attempted",
    "first_walker",
    "jax_stages",
    "slope_at",
    "value_at",
    "weights_inside",
]


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


class Trial(NamedTuple):
    """A step that was tried: from y at t, h long."""

    t: Array
    h: Array
    y: Array
    stages: list[Array]


# --- an attempt -----------------------------------------------------------------------


def first_walker(f, settings, y0, times) -> Walker:
    """Before the first attempt, of the size that the solver guesses."""
    k1 = f(times[0], y0)
    h = _initial_step(f, times[0], y0, k1, times[-1], settings)
    gaps = jnp.diff(times)  # in compiled code nobody has looked at them yet
    ordered = (gaps >= 0).all() | (gaps <= 0).all()
    status = jnp.where(jnp.isfinite(k1).all(), GOING, NOT_FINITE)
    status = jnp.where(ordered, status, OUT_OF_ORDER)
    none = jnp.int32(0)
    return Walker(times[0], y0, k1, h, none, none, none, status)


def attempted(f, walker, t_end, settings) -> tuple[Walker, Trial]:
    """One attempt of `course_lib.solvers.adaptive_steps`, decided as there."""
    t, y = walker.t, walker.y
    left = abs(t_end - t)
    last = walker.h >= 0.999 * left  # do not leave a sliver for one more step
    size = jnp.where(last, left, walker.h)
    t_next = jnp.where(last, t_end, t + jnp.sign(t_end - t) * size)
    step = t_next - t  # as long as the clock can tell
    size = abs(step)
    y_next, stages = jax_stages(f, t, y, walker.k1, step, settings.tableau)
    ratio = _error_ratio(size, stages, y, y_next, settings).astype(t.dtype)
    good = ratio <= 1.0
    after = walker._replace(
        t=jnp.where(good, t_next, t),
        y=jnp.where(good, y_next, y),
        k1=jnp.where(good, stages[-1], walker.k1),
        h=size * _factor(ratio, walker.in_vain, settings.tableau.order),
        in_vain=jnp.where(good, 0, walker.in_vain + 1),
        accepted=walker.accepted + good,
        rejected=walker.rejected + ~good,
    )
    status = _status(after, t_end, ratio, settings.max_steps)
    return after._replace(status=status), Trial(t, step, y, stages)


def jax_stages(f, t, y, k1, h, tableau) -> tuple[Array, list[Array]]:
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
    most = jnp.max(abs(k1 / scale), initial=1.0)
    unit = jnp.where(jnp.isfinite(most), most, 1.0)  # in which no square overflows
    d0 = _rms(y / scale).astype(t.dtype)
    d1 = (unit * _rms(k1 / scale / unit)).astype(t.dtype)
    least = 32 * jnp.maximum(_spacing(t), jnp.finfo(y.dtype).eps * abs(t))
    flat = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = jnp.where(flat, 1e-6, jnp.maximum(0.01 * d0 / d1, least))
    h0 = jnp.minimum(h0, abs(t_end - t))
    ahead = jnp.sign(t_end - t) * h0
    change = f(t + ahead, moved_along(y, ahead, (1.0,), [k1])) - k1
    d2 = (unit * _rms(change / scale / unit)).astype(t.dtype)
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


def value_at(walker, step, time, tableau) -> Array:
    """The solution at a time in the latest step, or at its end."""
    y = walker.y
    if step.stages:
        weights = weights_inside((time - step.t) / step.h, tableau)
        inside = step.y + step.h.astype(y.dtype) * _combined(weights, step.stages)
        y = jnp.where(time == walker.t, y, inside)
    return jnp.where(walker.status == GOING, y, jnp.nan)


def slope_at(walker, step, time, tableau) -> Array:
    """How fast that changes with the time."""
    if not step.stages:
        return walker.k1
    h = jnp.where(step.h == 0, 1.0, step.h)  # before any step, if there is none to take
    theta = (time - step.t) / h
    rates = jax.jvp(lambda x: weights_inside(x, tableau), (theta,), (1 + 0 * theta,))[1]
    return _combined(rates, step.stages)


def _combined(weights, stages) -> Array:
    return sum(w * k for w, k in zip(weights.astype(stages[0].dtype), stages))


def weights_inside(theta, tableau) -> Array:
    """The weights b_i(θ) that reach t + θh, shape (s,)."""
    coefficients = jnp.asarray(tableau.dense, theta.dtype)  # (s, p)
    return coefficients @ theta ** jnp.arange(1, coefficients.shape[1] + 1)

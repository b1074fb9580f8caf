"""The same Runge–Kutta steps in JAX: a fixed grid of steps under ``lax.scan``.

`jax_odeint` is a pure function of y0, the times and whatever f uses, so `jax.jit`,
`jax.grad` and `jax.vmap` apply to it. Steps that adapt to a tolerance are in
`in_jax_adaptive`; diffrax has those for stiff equations and for noise.

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from course_lib.solvers.jax_checks import (
    checked_field,
    checked_start,
    checked_times,
    is_traced,
    refuse_stiff,
)

# The import above says what to install where JAX is not there.
# isort: split
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import checkify

from course_lib.solvers.checks import SolverError
from course_lib.solvers.settings import check_choice, check_whole
from course_lib.solvers.tableaus import METHODS, ButcherTableau

__all__ = ["jax_odeint", "jax_rk_step", "moved_along"]

OVERFLOWED = (
    "f returned NaN or infinity, or the solution overflowed, in jax_odeint; try more "
    "steps, or look at f: an explicit method needs short steps where it is stiff"
)

# --- one step -------------------------------------------------------------------------


def jax_rk_step(
    f: Callable, t: float | Array, y: Array, h: float | Array, tableau: ButcherTableau
) -> Array:
    """Advance one explicit Runge–Kutta step.

    The loop over the stages runs while JAX traces: what is compiled has none.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``, same shape as `y`
    t : float or 0-d Array, time at the start of the step
    y : Array, shape (*state)
    h : float or 0-d Array, signed step; negative integrates backwards
    tableau : ButcherTableau

    Returns
    -------
    y_next : Array, shape (*state)

    References
    ----------
    Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.1.
    """
    if not jnp.issubdtype(jnp.result_type(y), jnp.inexact):
        raise TypeError(
            f"y must be floating point, got {jnp.result_type(y)}, in which a step "
            "changes nothing; use y.astype(float)"
        )
    stages = [f(t, y)]
    for c, row in zip(tableau.c[1:], tableau.a):
        stages.append(f(t + c * h, moved_along(y, h, row, stages)))
    return moved_along(y, h, tableau.b, stages)


def moved_along(
    y: Array, h: float | Array, weights: Sequence[float], stages: Sequence[Array]
) -> Array:
    """y + h Σ w_i k_i, without the zero weights; h takes the dtype of y."""
    slope = sum(w * k for w, k in zip(weights, stages) if w != 0.0)
    return y + jnp.asarray(h, y.dtype) * slope


# --- a grid of steps ------------------------------------------------------------------


def jax_odeint(
    f: Callable,
    y0: Array,
    t: Array | Sequence[float],
    *,
    method: str = "rk4",
    steps: int = 1,
    check: bool = False,
) -> Array:
    """Solve ``y' = f(t, y), y(t[0]) = y0`` with equal steps between adjacent times.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``
        Traced by JAX: a function of t (0-d, dtype of y0) and y (shape of y0) alone,
        without side effects. It may close over parameters, and gradients reach them.
    y0 : Array, shape (*state), floating point
    t : Array or sequence of floats, shape (n,), strictly increasing or decreasing
        Under a transformation that traces t its values are not known yet, and the
        order is not checked.
    method : str
        A name in `course_lib.solvers.METHODS`; those that could choose their own steps
        take equal ones here.
    steps : int
        Steps from each time to the next. A Python number: under `jax.jit` it is static.
    check : bool
        Whether a solution that is not finite is an error in compiled code too: call
        ``checkify.checkify(jax.jit(…))`` of `jax.experimental`, and ``throw()`` on the
        error that it returns.

    Returns
    -------
    ys : Array, shape (n, *state), the solution at every time; ``ys[0]`` is y0

    Raises
    ------
    TypeError, ValueError
        For arguments that make no sense; the message names the argument, what was
        expected, what came and the fix.
    SolverError
        If the solution is not finite, where JAX knows its values: outside of
        transformations.

    Notes
    -----
    Equal to `course_lib.solvers.odeint` with ``step_size`` = (gap between times) /
    `steps`, up to rounding. Gradients reach y0, t and what f closes over, in reverse
    and in forward mode. Compiled code cannot raise: a solution that overflows, as that of
    a stiff equation does in steps too long, comes back as inf or NaN, unless `check` is
    on. Put ``jax.jit`` around the function that calls this one: outside
    of it every call traces and compiles the scan again.
    """
    tableau, steps = _checked_grid(method, steps)
    y0, times = checked_start(f, y0), checked_times(t)
    times = times.astype(jnp.promote_types(times.dtype, y0.dtype))  # exactly
    field = checked_field(f, y0)

    def between(y, ends):
        start, stop = ends
        h = (stop - start) / steps

        def step(y, i):
            return jax_rk_step(field, start + i * h, y, h, tableau), None

        y, _ = lax.scan(step, y, jnp.arange(steps))
        return y, y

    _, ys = lax.scan(between, y0, (times[:-1], times[1:]))
    finite = jnp.isfinite(ys).all()
    if check:
        checkify.check(finite, OVERFLOWED)
    elif not is_traced(finite) and not finite:
        raise SolverError(OVERFLOWED)
    return jnp.concatenate((y0[None], ys))


def _checked_grid(method: str, steps: int) -> tuple[ButcherTableau, int]:
    refuse_stiff(method, "jax_odeint", list(METHODS))
    check_choice("method", method, METHODS)
    if is_traced(steps):
        raise TypeError(
            "steps must be a Python number, got a traced value: the length of a scan "
            "is part of the compiled program; use jax.jit(…, static_argnames='steps')"
        )
    advice = "steps=10 takes ten steps from each time to the next"
    return METHODS[method], check_whole("steps", steps, advice)

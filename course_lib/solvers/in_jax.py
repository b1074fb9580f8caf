"""The same Runge–Kutta steps in JAX: a fixed grid of steps under ``lax.scan``.

`jax_odeint` is a pure function of y0, the times and whatever f uses, so `jax.jit`,
`jax.grad` and `jax.vmap` apply to it. For steps that adapt to a tolerance take diffrax,
which has the control, the dense output and the gradients that go with them.

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isfinite

import numpy as np

try:
    import jax
    import jax.numpy as jnp
    from jax import Array, lax
    from jax.experimental import checkify
except ImportError as error:
    raise ImportError(
        "course_lib.solvers.in_jax needs JAX, which is not installed: "
        "pip install jax diffrax"
    ) from error

from course_lib.solvers.checks import WITHOUT_TIME, SolverError, without_time
from course_lib.solvers.rosenbrock import STIFF_METHODS
from course_lib.solvers.settings import check_whole
from course_lib.solvers.tableaus import METHODS, ButcherTableau

__all__ = ["jax_odeint", "jax_rk_step"]

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
    stages = [f(t, y)]
    for c, row in zip(tableau.c[1:], tableau.a):
        stages.append(f(t + c * h, _moved_along(y, h, row, stages)))
    return _moved_along(y, h, tableau.b, stages)


def _moved_along(y, h, weights, stages) -> Array:
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
    y0, times = _checked_start(f, y0), _checked_times(t)
    field = _checked_field(f, y0)

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
    elif not _is_traced(finite) and not finite:
        raise SolverError(OVERFLOWED)
    return jnp.concatenate((y0[None], ys))


# --- f, guarded, and the arguments, checked -------------------------------------------


def _checked_field(f: Callable, y0: Array) -> Callable:
    """f with t in the dtype of y0 and a result that is checked while JAX traces."""

    def field(t, y):
        try:
            dy = f(jnp.asarray(t, y0.dtype), y)
        except TypeError as error:
            if without_time(f):
                raise TypeError(WITHOUT_TIME) from error
            raise
        if not _is_array(dy):
            raise TypeError(
                f"f must return an Array dy/dt of shape {y0.shape}, got "
                f"{type(dy).__name__}; put components together with jnp.stack"
            )
        if dy.shape != y0.shape or dy.dtype != y0.dtype:
            raise ValueError(
                "f must return dy/dt with the shape and dtype of y: expected "
                f"{y0.shape}, {y0.dtype}, got {dy.shape}, {dy.dtype}; parameters need "
                "the dtype of y0 too"
            )
        return dy

    return field


def _checked_grid(method: str, steps: int) -> tuple[ButcherTableau, int]:
    if isinstance(method, str) and method in STIFF_METHODS:
        raise ValueError(
            f"method={method!r} is for stiff equations and solves linear systems; "
            f"jax_odeint takes explicit steps only: {', '.join(METHODS)}. Use "
            "course_lib.solvers.odeint with it, or in JAX diffrax.Kvaerno5"
        )
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"method={method!r} is not known; choose from {', '.join(METHODS)}"
        )
    if _is_traced(steps):
        raise TypeError(
            "steps must be a Python number, got a traced value: the length of a scan "
            "is part of the compiled program; use jax.jit(…, static_argnames='steps')"
        )
    advice = "steps=10 takes ten steps from each time to the next"
    return METHODS[method], check_whole("steps", steps, advice)


def _checked_start(f: Callable, y0: Array) -> Array:
    if not callable(f):
        raise TypeError(
            f"f must be callable as f(t, y), got {type(f).__name__}; the order is "
            "jax_odeint(f, y0, t)"
        )
    if not _is_array(y0):
        raise TypeError(
            f"y0 must be an Array, got {type(y0).__name__}; use jnp.array(y0)"
        )
    start = _floating("y0", y0)
    if not _is_traced(y0):
        with jax.ensure_compile_time_eval():  # inside a jit too
            finite = bool(jnp.isfinite(y0).all())
        if not finite:
            raise ValueError(
                "y0 holds NaN or infinity; a solution needs a finite start"
            )
    return start


def _checked_times(t: Array | Sequence[float]) -> Array:
    moments = t
    if not _is_array(t):
        try:
            moments = [m if _is_traced(m) else float(m) for m in t]
        except (TypeError, ValueError):
            raise TypeError(
                f"t must be a 1-D Array or a sequence of numbers, got {t!r}; "
                "to integrate from 0 to 1 use t=[0.0, 1.0]"
            ) from None
    times = _floating("t", t if _is_array(t) else jnp.array(moments, float))
    if times.ndim != 1 or len(times) == 0:
        raise ValueError(
            "t must be 1-D with at least one time (two to integrate), got shape "
            f"{times.shape}; to integrate from 0 to 1 use t=[0.0, 1.0]"
        )
    if not any(map(_is_traced, (t,) if _is_array(t) else moments)):
        _require_order(np.asarray(moments, times.dtype))
    return times


def _require_order(times: np.ndarray) -> None:
    moments = times.tolist()  # as the solver has them: float32 may not tell two apart
    gaps = [b - a for a, b in pairwise(moments)]
    monotone = all(gap > 0 for gap in gaps) or all(gap < 0 for gap in gaps)
    if not (monotone and all(map(isfinite, moments))):
        raise ValueError(
            "t must be finite and strictly increasing or strictly decreasing, got "
            f"{moments[:6]} in {times.dtype}; sort it, remove repeated times "
            "(jnp.unique), or count from another origin"
        )


def _is_traced(x) -> bool:
    """Whether x has no value yet, only a shape and a dtype."""
    return isinstance(x, jax.core.Tracer)


def _is_array(x) -> bool:
    """Whether x is an array of JAX or NumPy (a tensor of PyTorch is not)."""
    return isinstance(getattr(x, "dtype", None), jnp.dtype)


def _floating(name: str, x) -> Array:
    """x as an Array of its own dtype, which must be real, floating and available."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"{name} must be floating point, got {x.dtype}; use {name}.astype(float)"
        )
    kept = jnp.asarray(x)
    if kept.dtype != x.dtype:
        raise TypeError(
            f"{name} is {x.dtype}, and JAX would make it {kept.dtype}; allow float64 "
            "first: jax.config.update('jax_enable_x64', True)"
        )
    return kept

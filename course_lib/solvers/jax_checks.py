"""What the solvers in JAX are asked, checked, and what is said of those that failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isfinite, nan

import numpy as np
import torch

try:
    import jax
    import jax.numpy as jnp
    from jax import Array
    from jax.experimental import checkify
except ImportError as error:
    raise ImportError(
        "course_lib's solvers in JAX need JAX, which is not installed: "
        "pip install jax diffrax"
    ) from error

from course_lib.solvers.checks import WITHOUT_TIME, SolverError, without_time
from course_lib.solvers.rosenbrock import STIFF_METHODS
from course_lib.solvers.settings import Settings
from course_lib.solvers.steps import out_of_steps, underflow
from course_lib.solvers.tableaus import METHODS

__all__ = [
    "GOING",
    "NOT_FINITE",
    "OUT_OF_ORDER",
    "OUT_OF_STEPS",
    "UNDERFLOW",
    "checked_field",
    "checked_settings",
    "checked_start",
    "checked_times",
    "is_traced",
    "refuse_stiff",
    "require_success",
]

# How a solve stands.
GOING, NOT_FINITE, UNDERFLOW, OUT_OF_STEPS, OUT_OF_ORDER = range(5)
FAILED = (
    "jax_solve could not go on at t={t} with h={h}: f returned NaN or infinity, no step "
    "meets the tolerance (blow-up, a jump of f, a stiff problem), max_steps were not "
    "enough, or t is not in order; the same call outside of jax.jit says which"
)

# --- f, guarded ------------------------------------------------------------------------


def checked_field(f: Callable, y0: Array) -> Callable:
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


def checked_start(f: Callable, y0: Array) -> Array:
    """y0 as an Array that a solve can start from; f is a function at least."""
    if not callable(f):
        raise TypeError(
            f"f must be callable as f(t, y), got {type(f).__name__}; the order is "
            "f, y0, t"
        )
    if not _is_array(y0):
        raise TypeError(
            f"y0 must be an Array, got {type(y0).__name__}; use jnp.array(y0)"
        )
    start = _floating("y0", y0)
    if jnp.finfo(start.dtype).bits < 32:
        raise TypeError(
            f"y0 is {start.dtype}, in which a small step changes nothing; use "
            "y0.astype(jnp.float32) (f may still compute in less)"
        )
    if not is_traced(y0):
        with jax.ensure_compile_time_eval():  # inside a jit too
            finite = bool(jnp.isfinite(y0).all())
        if not finite:
            raise ValueError(
                "y0 holds NaN or infinity; a solution needs a finite start"
            )
    return start


def checked_times(t: Array | Sequence[float]) -> Array:
    """The times as an Array, in order as far as their values are known."""
    moments = t
    if not _is_array(t):
        try:
            moments = [m if is_traced(m) else float(m) for m in t]
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
    if not any(map(is_traced, (t,) if _is_array(t) else moments)):
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


def is_traced(x) -> bool:
    """Whether x has no value yet, only a shape and a dtype."""
    return isinstance(x, jax.core.Tracer)


def _is_array(x) -> bool:
    """Whether x is an array of JAX or NumPy (a tensor of PyTorch is not)."""
    return isinstance(getattr(x, "dtype", None), jnp.dtype)


def _floating(name: str, x) -> Array:
    """x as an Array of its own dtype, which must be real, floating and available."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(
            f"{name} must be real, got {x.dtype}; solve for jnp.stack(({name}.real, "
            f"{name}.imag)) and put them together in f"
        )
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


# --- steps that adapt -----------------------------------------------------------------


def refuse_stiff(method: str, solver: str, explicit: Sequence[str]) -> None:
    """A method that would solve linear systems is named as such."""
    if isinstance(method, str) and method in STIFF_METHODS:
        raise ValueError(
            f"method={method!r} is for stiff equations and solves linear systems; "
            f"{solver} takes explicit steps only: {', '.join(explicit)}. Use "
            "course_lib.solvers.odeint with it, or in JAX diffrax.Kvaerno5"
        )


def checked_settings(method: str, rtol: float, atol: float, max_steps: int) -> Settings:
    """Settings of a method that estimates its error, with tolerances known by now."""
    adaptive = [name for name, tableau in METHODS.items() if tableau.adaptive]
    refuse_stiff(method, "jax_solve", adaptive)
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


def require_success(end, times: Array, settings: Settings, check: bool) -> None:
    """An error if the walker that came to its `end` failed, where there can be one."""
    if check:
        checkify.check(end.status == GOING, FAILED, t=end.t, h=end.h)
    elif not is_traced(end.status) and end.status != GOING:
        raise _failure(end, float(times[-1]), settings)


def _failure(end, t_end: float, settings: Settings) -> SolverError:
    """The error of `course_lib.solvers.solve`."""
    t, h = float(end.t), float(end.h)
    dtype = torch.float64 if end.y.dtype == jnp.float64 else torch.float32
    if end.status == OUT_OF_STEPS:
        return out_of_steps(t, t_end, h, settings, dtype)
    ratio = 2.0 if end.status == UNDERFLOW else nan  # of error over tolerance
    return underflow(t, h, settings, ratio, dtype)

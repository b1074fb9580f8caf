"""Steps that adapt to a tolerance, in JAX: the control of `steps` in a ``while_loop``.

The way there is one loop over attempts (`jax_steps`) between each requested time and the
next; its steps are those of `course_lib.solvers.solve`. The gradient is that of the steps
taken (`jax_way_back`), and the two are put together here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from course_lib.solvers.jax_checks import (
    GOING,
    checked_field,
    checked_settings,
    checked_start,
    checked_times,
    require_success,
)

# The import above says what to install where JAX is not there.
# isort: split
import jax
import jax.numpy as jnp
from jax import Array, lax

from course_lib.solvers.jax_steps import (
    Trial,
    Walker,
    attempted,
    first_walker,
    slope_at,
    value_at,
)
from course_lib.solvers.jax_way_back import (
    Kept,
    Start,
    first_order,
    opened,
    pulled_through,
)

__all__ = ["JaxSolution", "jax_solve"]


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


class Way(NamedTuple):
    """How far a solve has come."""

    walker: Walker
    latest: Trial  # its stages only where times lie between the ends of steps
    starts: Start  # of the steps so far, where a gradient needs them


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
    gradient is NaN, unless `check` is on; all of the solution if t is not in order, in
    which the last time may come several times. Put ``jax.jit`` around the function that calls
    this one.
    """
    settings = checked_settings(method, rtol, atol, max_steps)
    y0, times = checked_start(f, y0), checked_times(t)
    times = times.astype(jnp.promote_types(times.dtype, y0.dtype))  # exactly
    field, params, fixed = opened(checked_field(f, y0), times[0], y0)
    ys, end = _solved(field, settings, params, fixed, y0, times)
    require_success(end, times, settings, check)
    attempts = end.accepted + end.rejected
    nfe = (2 + (len(settings.tableau.b) - 1) * attempts) * (len(times) > 1)
    return JaxSolution(ys, nfe, end.accepted, end.rejected)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _solved(field, settings, params, fixed, y0, times):
    """The solution at the times, and where the walker came to."""
    ys, kept = _walk(partial(field, params, fixed), settings, y0, times)
    return ys, kept.end


def _there(field, settings, params, fixed, y0, times):
    params, y0, times = jax.tree.map(first_order, (params, y0, times))
    f = partial(field, params, fixed)
    ys, kept = _walk(f, settings, y0, times, room=settings.max_steps)
    return (ys, kept.end), (params, fixed, y0, times, kept)


def _back(field, settings, saved, grads):
    params, fixed, y0, times, kept = saved

    def f(params, t, y):
        return field(params, fixed, t, y)

    of_ys = first_order(grads[0])  # the end has none
    of_params, of_y0, of_times = pulled_through(
        f, settings.tableau, params, y0, times, kept, of_ys
    )
    return of_params, None, of_y0, of_times


_solved.defvjp(_there, _back)


# --- the way there --------------------------------------------------------------------


def _walk(f, settings, y0, times, room: int = 0) -> tuple[Array, Kept]:
    """Steps from the first time to the last, passing those between; the starts of the
    first `room` of them are kept.
    """

    def until(way, time):
        """Attempts until one passes `time`, and the solution there."""

        def short_of_it(way):
            ahead = abs(time - times[0]) > abs(way.walker.t - times[0])
            return ahead & (way.walker.status == GOING)

        onward = partial(_onward, f, settings, times[-1])
        way = lax.while_loop(short_of_it, onward, way)
        here = way.walker, way.latest, time, settings.tableau
        slope = slope_at(*here) if room else None
        return way, (value_at(*here), slope, way.walker.accepted - 1)

    way = _before(f, settings, y0, times, room)
    way, (ys, slopes, step_of) = lax.scan(until, way, times[1:])
    kept = Kept(way.starts, step_of, slopes, way.walker)
    return jnp.concatenate((y0[None], ys)), kept


def _before(f, settings, y0, times, room) -> Way:
    """Where a solve begins, with room for the starts of its steps."""
    walker = first_walker(f, settings, y0, times)
    dense = len(times) > 2  # two times are both at the end of a step
    stages = [walker.k1] * len(settings.tableau.b) if dense else []
    here = Start(walker.t, walker.h, y0, walker.k1)
    starts = jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), here)
    return Way(walker, Trial(walker.t, walker.h, y0, stages), starts)


def _onward(f, settings, t_end, way) -> Way:
    """One more attempt; one in vain is written over by the next."""
    walker, latest, starts = way
    after, trial = attempted(f, walker, t_end, settings)
    if len(starts.t):
        here = Start(trial.t, trial.h, trial.y, walker.k1)
        i = walker.accepted
        starts = jax.tree.map(lambda xs, x: xs.at[i].set(x), starts, here)
    stages = trial.stages if latest.stages else []
    return Way(after, trial._replace(stages=stages), starts)

"""A whole solve of ``y' = f(t, y)`` in PyTorch, small enough to read.

`solve` returns everything it knows about a solve, `odeint` only the values. Both are
plain PyTorch: backpropagating through them gives the gradient of what was computed (the
*direct*, or discrete, gradient).

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, chapter II.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.solvers.checks import GuardedField, check_problem, wants_gradient
from course_lib.solvers.events import Event, Watch, as_event
from course_lib.solvers.jumps import one_sided, stretches
from course_lib.solvers.parts import takes_parts
from course_lib.solvers.rosenbrock import Tableau
from course_lib.solvers.settings import Settings, settings_from
from course_lib.solvers.steps import (
    Step,
    adaptive_steps,
    fixed_steps,
    interpolate,
    to_float,
)

__all__ = ["Solution", "observed", "odeint", "solve", "walk", "warn_of_rounding"]


@dataclass(frozen=True)
class Solution:
    """What a solve computed and what it cost.

    Attributes
    ----------
    t : Tensor, shape (n,), the requested times
    ys : Tensor, shape (n, *y0.shape), the solution there; ``ys[0]`` is y0
    nfe : int, evaluations of f; one that gives its Jacobian too counts as one
    accepted, rejected : int, steps taken and steps tried in vain
    step_times, step_sizes : Tensor, shape (accepted,), start and signed size of
        each accepted step
    event_t : Tensor, 0-d, and event_y : Tensor, shape (*state), or None
        Where the solve ended, if it was given an event and met it.
    """

    t: Tensor
    ys: Tensor
    nfe: int
    accepted: int
    rejected: int
    step_times: Tensor
    step_sizes: Tensor
    event_t: Tensor | None = None
    event_y: Tensor | None = None


def solve(
    f: Callable,
    y0: Tensor,
    t: Tensor | Sequence[float],
    *,
    event: Event | Callable | None = None,
    **settings,
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
        One time alone, or the same one again, gives y0 back.
    event : Event, or callable ``g(t, y)`` that returns a 0-d Tensor, optional
        The solve ends where g first crosses zero; times after that are left out.
    **settings : method, rtol, atol, step_size, max_steps and more
        The fields of `course_lib.solvers.Settings`. Without any: ``method="dopri5",
        rtol=1e-5, atol=1e-6``.

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
    were taken. The step sizes an adaptive method chose count as constants. Time and
    state of an event have the gradient of an event that moves.

    References
    ----------
    Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.1 (steps),
    II.4 (control), II.6 (dense output); *II*, IV.7 (stiff equations).
    """
    times, chosen = check_problem(f, y0, t, settings_from(settings))
    track_t = wants_gradient(times)
    field = GuardedField(f, y0, start=times[0].double() if track_t else None)
    pieces, steps, watch, event_t, event_y = [y0[None]], [], None, None, None
    if event is not None:
        start = (times[0].item(), y0)
        watch = Watch(as_event(event), field, chosen, start)
    steps_taken = walk(field, y0, times, chosen)
    for step, wanted in steps_taken:
        time = watch.crossing(step) if watch else None
        if time is not None:
            wanted = _up_to(time, step, wanted)
            event_t, event_y = watch.met(step, time)
        pieces += observed(step, chosen.tableau, wanted)
        steps.append((to_float(step.t), to_float(step.h), step.rejected))
        if time is not None:
            steps_taken.close()
    # Without a step all times are one: the solution is y0 at each.
    ys = torch.cat(pieces if steps else pieces * len(times))
    t_starts, sizes, rejections = zip(*steps) if steps else ((), (), ())
    return Solution(
        t=times if event_t is None else times[: len(ys)],
        ys=ys,
        nfe=field.nfe,
        accepted=len(steps),
        rejected=sum(rejections),
        step_times=torch.tensor(t_starts, dtype=torch.float64),
        step_sizes=torch.tensor(sizes, dtype=torch.float64),
        event_t=event_t,
        event_y=event_y,
    )


def _up_to(time: float, step: Step, wanted: list[float] | Tensor):
    """The requested times of a step that are not past one in it."""
    sign = 1.0 if to_float(step.h) > 0.0 else -1.0
    moments = wanted.tolist() if isinstance(wanted, Tensor) else wanted
    return wanted[: sum(sign * moment <= sign * time for moment in moments)]


@takes_parts
def odeint(f: Callable, y0: Tensor, t: Tensor | Sequence[float], **settings) -> Tensor:
    """The values of `solve`, shape (len(t), *y0.shape); same settings, same errors.

    y0 may be a tuple of tensors; then f takes and returns such a tuple, and so does this.
    """
    if "event" in settings:
        raise TypeError(
            "odeint returns only values, so it takes no event; use solve(..., event=g)"
        )
    return solve(f, y0, t, **settings).ys


def walk(
    field: GuardedField, y0: Tensor, times: Tensor, settings: Settings
) -> Generator[tuple[Step, list[float] | Tensor], None, None]:
    """Every step of a solve, and which of the requested times lie in it.

    An adaptive method goes from the first time to the last and passes those between; a
    fixed-step method ends a step at each.

    Parameters
    ----------
    field : GuardedField
        With the start time as its `start` where gradients are to reach `times`.
    y0 : Tensor, shape (*state)
    times : Tensor, shape (n,)
    settings : Settings

    Yields
    ------
    step : Step
    wanted : list of float, or Tensor
        The times in (step.t, step.t_next], for `observed`; a Tensor if a gradient is to
        reach them.
    """
    moments, done, track_t = times.tolist(), 1, field.shift is not None
    steps_of = _through if settings.tableau.adaptive else _from_time_to_time
    stops = times.double() if track_t else moments
    coarse, rounding = None, 16 * torch.finfo(y0.dtype).eps
    for step in steps_of(field, y0, stops, settings):
        first, reached = done, abs(to_float(step.t_next) - moments[0])
        while done < len(moments) and abs(moments[done] - moments[0]) <= reached:
            done += 1
        short = abs(to_float(step.h)) < rounding * abs(to_float(step.t))
        cut = done > first or to_float(step.t_next) in settings.jumps
        if short and not cut:
            coarse = step
        try:
            yield step, (times if track_t else moments)[first:done]
        except GeneratorExit:  # no more steps are wanted
            break
    if coarse is not None:
        warn_of_rounding(to_float(coarse.t), to_float(coarse.h), y0.dtype)


def warn_of_rounding(
    t: float, h: float, dtype: torch.dtype, *, stacklevel: int = 4
) -> None:
    """Say that f, which has t in the type of y, could not tell stages apart."""
    warnings.warn(
        f"near t={t:.6g} f has its t in {dtype}, too coarse for steps of {abs(h):.3g}; "
        "where f depends on t use y0.double(), or count time from another origin",
        stacklevel=stacklevel,
    )


def _through(field, y, moments, settings) -> Iterator[Step]:
    """Adaptive steps from the first moment to the last."""
    taken, ends = 0, (to_float(moments[0]), to_float(moments[-1]))
    for t, t_end in stretches(*ends, settings.jumps):
        f = one_sided(field, (t, t_end), settings.jumps, y.dtype)
        clock = field.moved  # the grid moves with t[0]
        for step in adaptive_steps(f, t, y, t_end, settings, taken=taken, clock=clock):
            taken += 1 + step.rejected
            yield step
        y = step.y_next
        if t_end != ends[1] and field.shift is not None:  # a jump stays where it is
            stop = torch.tensor([t_end], dtype=torch.float64)
            (y,) = interpolate(step, settings.tableau, stop)
            field.shift = None


def _from_time_to_time(field, y, moments, settings) -> Iterator[Step]:
    """Fixed steps, one of which ends at each moment, and at each jump between."""
    taken, first, last = 0, to_float(moments[0]), to_float(moments[-1])
    stops = [*moments]
    for _, jump in [*stretches(first, last, settings.jumps)][:-1]:
        # A tensor where the moments are: a number would move with t[0].
        stops.append(
            jump if field.shift is None else torch.tensor(jump, dtype=torch.float64)
        )
    for t, t_end in pairwise(sorted(stops, key=to_float, reverse=last < first)):
        if to_float(t) == to_float(t_end):  # a jump at a requested time
            continue
        f = one_sided(field, (to_float(t), to_float(t_end)), settings.jumps, y.dtype)
        for step in fixed_steps(f, t, y, t_end, settings, taken=taken):
            taken += 1
            yield step
        y = step.y_next


def observed(
    step: Step, tableau: Tableau, times: Sequence[float] | Tensor
) -> list[Tensor]:
    """The solution at those requested times that lie in one step, in pieces of shape
    (k, *state): the new point for a time at its end, dense output before it.

    Where `times` is a Tensor, dense output serves the end too: it alone knows how the
    solution of an adaptive method changes with the time it is asked for.
    """
    if len(times) == 0:
        return []
    if not tableau.adaptive:  # a step ends where it is wanted
        return [step.y_next[None]]
    if isinstance(times, Tensor):
        return [interpolate(step, tableau, times.double())]
    inner = [time for time in times if time != step.t_next]
    before = [interpolate(step, tableau, inner)] if inner else []
    return before if len(inner) == len(times) else [*before, step.y_next[None]]

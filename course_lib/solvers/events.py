"""Where a solution first meets a condition: the zero of a function g(t, y) along it.

The time of an event depends on everything the solution depends on. With g(t*, y(t*)) = 0,
the implicit function theorem gives its derivative by any parameter p::

    dt*/dp = -(∂g/∂y ∂y/∂p) / r         r = ∂g/∂t + ∂g/∂y f

which is the derivative of one Newton step, from a zero already found, with r as a
constant. A second such step gives the second derivative as well.

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.6.
Chen, Amos, Nickel 2021, Learning Neural Event Functions for Ordinary Differential
Equations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import copysign, isnan, ulp

import torch
from torch import Tensor

from course_lib.solvers.checks import (
    GuardedField,
    SolverError,
    wants_gradient,
    without_time,
)
from course_lib.solvers.jumps import one_sided
from course_lib.solvers.settings import Settings
from course_lib.solvers.steps import Step, interpolate, rk_step, take_step, to_float
from course_lib.solvers.tableaus import MIDPOINT

__all__ = ["Event", "Watch", "as_event", "at_event"]

LOOKS = 8  # at how many places of an adaptive step the sign of g is looked at


@dataclass(frozen=True)
class Event:
    """A zero crossing at which a solve ends.

    Parameters
    ----------
    g : callable ``g(t, y)`` that returns one number, a 0-d Tensor
    direction : int
        1 counts crossings from minus to plus only, -1 from plus to minus, 0 both. What
        starts anew from an event, as a ball that bounces, starts within rounding of g =
        0 and needs it.

    Notes
    -----
    An event within a hundred roundings of the start counts as the one that the solve before
    has ended at. Where t is large and y in float32 that is long, 0.12 at t = 10⁴: count time
    from another origin there, or use y0.double().

    Raises
    ------
    TypeError, ValueError
        For a g that is not callable as g(t, y), or another direction.
    """

    g: Callable[[Tensor, Tensor], Tensor]
    direction: int = 0

    def __post_init__(self):
        if not callable(self.g):
            raise TypeError(
                f"event must be callable as g(t, y), got {type(self.g).__name__}"
            )
        if without_time(self.g):
            raise TypeError(
                "event must be callable as g(t, y), but takes one argument: use lambda "
                "t, y: g(y)"
            )
        if self.direction not in (-1, 0, 1):
            raise ValueError(
                f"direction must be -1, 0 or 1, got {self.direction!r}; 1 counts "
                "crossings from minus to plus"
            )

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        """g(t, y), which must be one number."""
        value = self.g(torch.as_tensor(t, dtype=y.dtype, device=y.device), y)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"event must return a Tensor of one number, got {type(value).__name__}"
            )
        if value.numel() != 1:
            raise TypeError(
                f"event must return one number, got shape {tuple(value.shape)}; for the "
                "first of several that start positive use their min(), for those that "
                "start negative max()"
            )
        if not value.is_floating_point():
            raise TypeError(
                f"event must return a number that crosses zero, got {value.dtype}; use "
                "y[0] - c in place of y[0] < c"
            )
        return value.reshape(())

    def value(self, t: float, y: Tensor) -> float:
        """g(t, y) as a number; NaN is refused."""
        number = self(t, y).item()
        if isnan(number):
            raise SolverError(f"event returned NaN at t={t:.6g}; look at g there")
        return number

    def counts(self, before: float, after: float) -> bool:
        """Whether g changes sign between two values in a direction that counts.

        A zero to start from is no crossing: a ball that has just bounced is at rest in g.
        """
        if before == 0.0 or _same_side(before, after):
            return False
        return self.direction in (0, int(copysign(1, -before)))


def as_event(event: Event | Callable) -> Event:
    """A plain g(t, y) as an event in both directions."""
    return event if isinstance(event, Event) else Event(event)


class Watch:
    """Looks for the first crossing along the steps of a solve.

    The sign of g is looked at in eight places of an adaptive step, and at the end of a
    fixed one: a g that changes it twice between two of them goes unnoticed. `max_step`
    and `step_size` bring the places closer together. An event within a hundred roundings
    of the start is the one that the solve before has ended at, and is passed over.

    Parameters
    ----------
    event : Event
    f : callable, the right-hand side
    settings : Settings
    start : (float, Tensor), where the solve starts
    """

    def __init__(
        self,
        event: Event,
        f: Callable,
        settings: Settings,
        start: tuple[float, Tensor],
    ):
        self.event, self.f, self.settings = event, f, settings
        self.start, self.before = start[0], (start[0], event.value(*start))

    def crossing(self, step: Step) -> float | None:
        """The time of the first crossing in the step, to rounding, if there is one."""
        for time, y in self._looks(step):
            before, self.before = self.before, (time, self.event.value(time, y))
            if self.event.counts(before[1], self.before[1]):
                rounding = torch.finfo(y.dtype).eps * abs(to_float(step.h))
                close, g = max(4 * ulp(time), 2 * rounding), partial(self._g, step)
                found = _just_beyond_zero(g, before, self.before, close)
                if not self._starts_at(found, step):
                    return found
        return None

    def _starts_at(self, time: float, step: Step) -> bool:
        """Whether an event is, but for rounding, the one that the solve starts from."""
        scale = max(abs(self.start), abs(to_float(step.h)))
        return abs(time - self.start) <= 100 * torch.finfo(step.y.dtype).eps * scale

    def met(self, step: Step, time: float) -> tuple[Tensor, Tensor]:
        """Time and state of the crossing found in a step, with their gradients."""
        return _moving(self.event, partial(self._state, step), time)

    def _looks(self, step: Step) -> Iterator[tuple[float, Tensor]]:
        """Times and states along a step, the last of them at its end."""
        if self.settings.tableau.adaptive:
            start, h = to_float(step.t), to_float(step.h)
            times = [start + i / LOOKS * h for i in range(1, LOOKS)]
            yield from zip(times, interpolate(step, self.settings.tableau, times))
        yield to_float(step.t_next), step.y_next

    def _g(self, step: Step, time: float) -> float:
        return self.event.value(time, self._state(step, time))

    def _state(self, step: Step, time: float | Tensor) -> Tensor:
        """The solution at a time inside a step: dense output, or a shorter step."""
        tableau = self.settings.tableau
        if tableau.adaptive:
            times = time[None] if isinstance(time, Tensor) else [time]
            return interpolate(step, tableau, times)[0]
        f, h = self._field(step), time - step.t
        return take_step(f, step.t, step.y, h, tableau)[0]

    def _field(self, step: Step) -> Callable:
        """f on the side of a jump that the step is on."""
        ends = (step.t, step.t_next)
        return one_sided(self.f, ends, self.settings.jumps, step.y.dtype)


def _same_side(a: float, b: float) -> bool:
    """Whether two numbers have one sign; 0 has none."""
    return a != 0.0 and b != 0.0 and (a > 0.0) == (b > 0.0)


def _just_beyond_zero(
    g: Callable[[float], float],
    before: tuple[float, float],
    beyond: tuple[float, float],
    close: float,
) -> float:
    """The far end of a stretch of at most that length in which g leaves its sign.

    `before` and `beyond` are places (x, g) with and without that sign.

    References
    ----------
    Dowell, Jarratt 1971, A modified regula falsi method (the "Illinois" method).
    """
    (a, g_a), (b, g_b) = before, beyond
    same = 0  # how often in a row the same end has moved: a if positive
    while abs(b - a) > close:
        share, least = g_a / (g_a - g_b), 0.5 * close / abs(b - a)
        if abs(same) > 2 or isnan(share):  # too slow: halve the stretch
            share = 0.5
        x = a + (b - a) * min(max(share, least), 1.0 - least)
        g_x = g(x)
        if _same_side(g_x, g_a):
            a, g_a, same = x, g_x, max(same, 0) + 1
            g_b = 0.5 * g_b if same > 1 else g_b
        else:
            b, g_b, same = x, g_x, min(same, 0) - 1
            g_a = 0.5 * g_a if same < -1 else g_a
    return b


def at_event(
    f: Callable, event: Event | Callable, t: float | Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Time and state of an event that stands at t, as functions of what y depends on.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``
    event : Event, or callable ``g(t, y)``
    t : float or 0-d Tensor, where g is zero: a constant
    y : Tensor, shape (*state), the solution at this t, from any `odeint`

    Returns
    -------
    t : Tensor, 0-d, float64
    y : Tensor, shape (*state)
        The same numbers; their gradients, first and second, are those of the event,
        which moves.

    Raises
    ------
    SolverError
        If a gradient is wanted and the slope of g along the solution is 0 or not finite:
        an event that is touched, not crossed, has a time without one.

    Notes
    -----
    It gives `odeint_adjoint` an end that is an event: find t by `solve(..., event=g)`
    under ``torch.no_grad()``, solve to it with the adjoint, and let it move.
    """
    moment, field = to_float(t), GuardedField(f, y)

    def state(t: float | Tensor) -> Tensor:
        """The solution near the event: a step, of a length that will be zero."""
        if not isinstance(t, Tensor):
            return y
        return rk_step(field, moment, y, t - moment, MIDPOINT)[0]

    return _moving(as_event(event), state, moment)


def _moving(
    event: Event, state: Callable[[float | Tensor], Tensor], moment: float
) -> tuple[Tensor, Tensor]:
    """`at_event` for a solution that is known near it, as a function of time."""
    y = state(moment)
    time = torch.tensor(moment, dtype=torch.float64, device=y.device)
    found = event(moment, y)
    if not wants_gradient(found):
        return time, y
    shift = torch.zeros_like(time, requires_grad=True)
    with torch.enable_grad():
        ahead = event(time + shift, state(time + shift))
    (rate,) = torch.autograd.grad(ahead, shift, materialize_grads=True)
    if rate == 0.0 or not torch.isfinite(rate):
        raise SolverError(
            f"the event at t={moment:.6g} is touched, not crossed (its slope there is "
            f"{rate.item():.3g}): its time has no gradient; solve under torch.no_grad() "
            "if none is wanted"
        )
    level = found.item()
    for _ in range(2):  # Newton, from a zero: the numbers stay, derivatives come
        time = time - (event(time, state(time)) - level) / rate
    return time, state(time)

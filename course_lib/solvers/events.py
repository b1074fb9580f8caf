"""Where a solution first meets a condition: the zero of a function g(t, y) along it.

The time of an event depends on everything the solution depends on. With g(t*, y(t*)) = 0,
the implicit function theorem gives its derivative by any parameter p::

    dt*/dp = -(∂g/∂y ∂y/∂p) / r         r = ∂g/∂t + ∂g/∂y f

which is one Newton step, from a zero already found, with r as a constant.

References
----------
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.6.
Chen, Amos, Nickel 2021, Learning Neural Event Functions for Ordinary Differential
Equations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import copysign

import torch
from torch import Tensor

from course_lib.solvers.checks import GuardedField, SolverError
from course_lib.solvers.rosenbrock import Tableau
from course_lib.solvers.steps import Step, interpolate, take_step, to_float

__all__ = ["Event", "Watch", "as_event", "at_event"]

LOOKS = 8  # at how many places of an adaptive step the sign of g is looked at


@dataclass(frozen=True)
class Event:
    """A zero crossing at which a solve ends.

    Parameters
    ----------
    g : callable ``g(t, y)`` that returns one number, a 0-d Tensor
    direction : int
        1 counts crossings from minus to plus only, -1 from plus to minus, 0 both.

    Raises
    ------
    TypeError, ValueError
        For a g that is not callable, or another direction.
    """

    g: Callable[[Tensor, Tensor], Tensor]
    direction: int = 0

    def __post_init__(self):
        if not callable(self.g):
            raise TypeError(
                f"event must be callable as g(t, y), got {type(self.g).__name__}"
            )
        if self.direction not in (-1, 0, 1):
            raise ValueError(
                f"direction must be -1, 0 or 1, got {self.direction!r}; 1 counts "
                "crossings from minus to plus"
            )

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        """g(t, y), which must be one number."""
        moment = torch.as_tensor(t).to(y.device, y.dtype)
        value = self.g(moment, y)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value)
            raise TypeError(
                f"event must return one number, got {shape}; for the first of a batch "
                "use y[..., 0].min()"
            )
        return value.reshape(())

    def value(self, t: float, y: Tensor) -> float:
        """g(t, y) as a number; NaN is refused."""
        with torch.no_grad():
            number = self(t, y).item()
        if number != number:
            raise SolverError(f"event returned NaN at t={t:.6g}; look at g there")
        return number

    def counts(self, before: float, after: float) -> bool:
        """Whether g changes sign between two values in a direction that counts.

        A zero to start from is no crossing: a ball that has just bounced is at rest in g.
        """
        if before == 0.0 or before * after > 0.0:
            return False
        return self.direction in (0, int(copysign(1, -before)))


def as_event(event: Event | Callable) -> Event:
    """A plain g(t, y) as an event in both directions."""
    return event if isinstance(event, Event) else Event(event)


class Watch:
    """Looks for the first crossing along the steps of a solve.

    The sign of g is looked at in eight places of an adaptive step, and at the end of a
    fixed one: a g that changes it twice between two of them goes unnoticed. `max_step`
    and `step_size` bring the places closer together.

    Parameters
    ----------
    event : Event
    f : callable, the right-hand side
    tableau : Tableau
    start : (float, Tensor), where the solve starts
    """

    def __init__(
        self,
        event: Event,
        f: Callable,
        tableau: Tableau,
        start: tuple[float, Tensor],
    ):
        self.event, self.f, self.tableau = event, f, tableau
        self.before = event.value(*start)

    def crossing(self, step: Step) -> float | None:
        """The time of the first crossing in the step, to rounding, if there is one."""
        looks = LOOKS if self.tableau.adaptive else 1
        places = [i / looks for i in range(looks + 1)]
        for low, high in pairwise(places):
            before, after = self.before, self._g(step, high)
            if self.event.counts(before, after):
                g = partial(self._g, step)
                theta = _zero_between(g, (low, before), (high, after))
                return _moment(step, theta)
            self.before = after
        return None

    def met(self, step: Step, time: float) -> tuple[Tensor, Tensor]:
        """Time and state of the crossing found in a step, with their gradients."""
        y = _state(step, self.tableau, self.f, time)
        return at_event(self.f, self.event, time, y)

    @torch.no_grad()
    def _g(self, step: Step, theta: float) -> float:
        time = _moment(step, theta)
        end = theta == 1.0
        y = step.y_next if end else _state(step, self.tableau, self.f, time)
        return self.event.value(time, y)


def _moment(step: Step, theta: float) -> float:
    return to_float(step.t) + theta * to_float(step.h)


def _state(step: Step, tableau: Tableau, f: Callable, time: float) -> Tensor:
    """The solution at a time inside a step: dense output, or a shorter step."""
    if tableau.adaptive:
        return interpolate(step, tableau, [time])[0]
    return take_step(f, step.t, step.y, time - step.t, tableau)[0]


def _zero_between(
    g: Callable[[float], float], low: tuple[float, float], high: tuple[float, float]
) -> float:
    """Where g is zero, between two places (x, g) of opposite sign; the far side of it.

    References
    ----------
    Dowell, Jarratt 1971, A modified regula falsi method (the "Illinois" method).
    """
    (a, g_a), (b, g_b) = low, high
    while g_b != 0.0 and abs(b - a) > 4e-16:
        x = b - g_b * (b - a) / (g_b - g_a)
        if not min(a, b) < x < max(a, b):  # as far as rounding goes
            break
        g_x = g(x)
        if g_x * g_b < 0.0:
            a, g_a = b, g_b
        else:
            g_a = 0.5 * g_a  # the same end twice would be slow
        b, g_b = x, g_x
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
        The same numbers; their gradients are those of the event, which moves.

    Raises
    ------
    SolverError
        If a gradient is wanted and g has slope 0 along the solution: the event is
        touched, not crossed, and its time has none.
    """
    event, moment = as_event(event), to_float(t)
    g, time = event(moment, y), torch.tensor(moment, dtype=torch.float64)
    if not g.requires_grad:
        return time, y
    with torch.no_grad():
        dy = GuardedField(f, y)(moment, y)
    with torch.enable_grad():
        shift = torch.zeros((), dtype=y.dtype, device=y.device, requires_grad=True)
        ahead = event(moment + shift, y.detach() + shift * dy)
        (rate,) = torch.autograd.grad(ahead, shift, materialize_grads=True)
    if rate == 0.0:
        raise SolverError(
            f"the event at t={moment:.6g} is touched, not crossed: its time has no "
            "gradient there; solve under torch.no_grad() if none is wanted"
        )
    later = (g.detach() - g) / rate  # a zero that carries the gradient of the time
    return time.to(y.device) + later, y + later * dy

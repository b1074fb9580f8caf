"""Adaptive steps of many samples side by side, each with its own time and step size.

What `adaptive_steps` does with numbers happens here with tensors of a number for each
sample. The samples that are under way form the *front*; one call of f serves them all.

References
----------
Lienen, Günnemann 2022, torchode: A Parallel ODE Solver for PyTorch.
Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from math import inf, nan, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.solvers.checks import GuardedField, SolverError, wants_gradient
from course_lib.solvers.settings import Settings
from course_lib.solvers.stages import advance, weighted_sum
from course_lib.solvers.steps import (
    LEAST_RATIO,
    MAX_FACTOR,
    MIN_FACTOR,
    MOST_REJECTED,
    first_guess,
    not_finite,
    out_of_steps,
    over_tolerance,
    second_guess,
    step_factor,
    take_step,
    underflow,
)

__all__ = [
    "Attempt",
    "Front",
    "beside",
    "first_true",
    "start_together",
    "walk_each",
]


class Front(NamedTuple):
    """Where the k samples stand that are under way: in every field a row for each."""

    sample: Tensor  # its place in the batch
    t: Tensor
    t_end: Tensor
    sign: Tensor  # of its direction
    ahead: Tensor  # (k, n), sign times t: increasing
    seen: Tensor  # how many of these times it has passed
    shift: Tensor  # a zero, with the gradient of its first time if that is wanted
    y: Tensor  # (k, *state)
    k1: Tensor  # (k, *state), f(t, y)
    h: Tensor  # the size to try next, without sign
    before: Tensor  # error over tolerance of the step before
    failed: Tensor  # attempts since then


class Attempt(NamedTuple):
    """A step that every sample tries, and what came of it."""

    h: Tensor  # (k,), signed; 0 for a sample that is done
    t_next: Tensor
    y_next: Tensor  # (k, *state)
    stages: list[Tensor]
    ratio: Tensor  # (k,), error over tolerance; NaN where anything is not finite
    last: Tensor  # whether the step ends at t_end
    accepted: Tensor
    rejected: Tensor
    reached: Tensor  # how many of its times the sample has passed, if it is accepted


def start_together(
    field: GuardedField, y0: Tensor, times: Tensor, settings: Settings
) -> Front:
    """All samples at their first times, each with a step to try.

    Parameters
    ----------
    field : GuardedField
    y0 : Tensor, shape (batch, *state)
    times : Tensor, shape (n, batch), float64
        Where a gradient is to reach it, f is called even if no sample has a way to go.
    settings : Settings
    """
    moments = times.detach()
    t, t_end = moments[0], moments[-1]
    sign, moving = (t_end - t).sign(), bool((t != t_end).any())
    front = Front(
        sample=torch.arange(len(y0), device=y0.device),
        t=t,
        t_end=t_end,
        sign=sign,
        ahead=(sign * moments).T.contiguous(),
        seen=(moments == t).sum(0),
        shift=times[0] - t,
        y=y0,
        k1=torch.zeros_like(y0),
        h=torch.zeros_like(t),
        before=torch.full_like(t, LEAST_RATIO),
        failed=torch.zeros_like(t, dtype=torch.long),
    )
    if moving or (wants_gradient(times) and len(times) > 1):
        front = front._replace(k1=field(_time(front), y0))
        bad = ~_finite_rows(front.k1)
        if bad.any():
            i = first_true(bad)
            error = not_finite(t[i], 0.0, settings, "look at f there")
            raise _of_sample(i, error)
    return front._replace(h=_first_steps(field, front, settings)) if moving else front


def _first_steps(field: GuardedField, front: Front, settings: Settings) -> Tensor:
    """The size that each sample tries first, chosen as by `initial_step`."""
    if settings.first_step is not None:
        return torch.full_like(front.t, min(settings.first_step, settings.max_step))
    y, k1, order = front.y, front.k1, settings.tableau.order
    scale = y.detach().abs().mul_(settings.rtol).add_(settings.atol)
    d0, d1 = (_row_rms(x.detach() / scale).tolist() for x in (y, k1))
    t = front.t.tolist()
    sizes = zip(d0, d1, t, front.t_end.tolist())
    h0 = [first_guess(*each, y.dtype) for each in sizes]
    ahead = beside(front.t.new_tensor(h0) * front.sign, y)
    nearby = field(_time(front) + ahead, advance(y, ahead, (1.0,), (k1,)))
    d2 = _row_rms((nearby - k1).detach() / scale).tolist()
    h = [
        x and second_guess(x, a, b, time, order, y.dtype)
        for x, a, b, time in zip(h0, d1, d2, t)
    ]
    return front.t.new_tensor(h).clamp(max=settings.max_step)


def walk_each(
    field: GuardedField, front: Front, settings: Settings, *, whole_batch: bool = False
) -> Iterator[tuple[Front, Attempt]]:
    """Every attempt of a solve, with the front before it.

    Parameters
    ----------
    field : GuardedField
    front : Front, of all samples
    settings : Settings
    whole_batch : bool
        Whether samples that are done stay, with steps of size 0.
    """
    settings = _with_tolerances(settings, lambda x: x.expand_as(front.y))
    for made in count():
        moving = front.t != front.t_end
        if not moving.any():
            return
        if not (whole_batch or moving.all()):
            front, settings = _only(front, settings, moving.nonzero().flatten())
        if made == settings.max_steps:
            raise _too_slow(front, settings)
        attempt = _attempt(field, front, settings)
        yield front, attempt
        front = _moved_on(front, attempt, settings)


def _only(front: Front, settings: Settings, rows: Tensor) -> tuple[Front, Settings]:
    """The rows of the front, and of tolerances that are tensors."""
    front = Front(*(x.index_select(0, rows) for x in front))
    return front, _with_tolerances(settings, lambda x: x.index_select(0, rows))


# --- one attempt ----------------------------------------------------------------------


def _attempt(field: GuardedField, front: Front, settings: Settings) -> Attempt:
    left = (front.t_end - front.t).abs()
    last = front.h >= 0.999 * left  # do not leave a sliver for one more step
    size = torch.where(last, left, front.h)
    h, tableau = size * front.sign, settings.tableau

    def step(h: Tensor) -> tuple[Tensor, list[Tensor]]:
        own = beside(h, front.y)
        return take_step(field, _time(front), front.y, own, tableau, front.k1)

    y_next, stages = step(h)
    ratio = _error_ratios(front, size, y_next, stages, settings)
    met = ratio <= 1.0
    if y_next.requires_grad and not ratio.isfinite().all():
        # Without those: a step of size 0 stays where f is finite.
        y_next, stages = step(h.where(ratio.isfinite(), 0.0))
    t_next = torch.where(last, front.t_end, front.t + h)
    return Attempt(
        h=h,
        t_next=t_next,
        y_next=y_next,
        stages=stages,
        ratio=ratio,
        last=last,
        accepted=met & (size > 0.0),
        rejected=~met,
        reached=_passed(front, t_next),
    )


@torch.no_grad()
def _error_ratios(
    front: Front,
    size: Tensor,
    y_next: Tensor,
    stages: list[Tensor],
    settings: Settings,
) -> Tensor:
    """Estimated local error over tolerance of each sample, (k,); NaN (which fails every
    comparison) if anything is not finite.
    """
    own = beside(size, y_next).to(y_next.dtype)
    error = own * weighted_sum(settings.tableau.b_error, stages)
    ratio = _row_rms(over_tolerance(error, front.y, y_next, settings))
    return ratio.where(_finite_rows(y_next), nan)


def _passed(front: Front, t: Tensor) -> Tensor:
    """How many of the times of each sample are not after t, (k,)."""
    place = (front.sign * t)[:, None]
    return torch.searchsorted(front.ahead, place, right=True).squeeze(1)


# --- from one attempt to the next -----------------------------------------------------


def _moved_on(front: Front, attempt: Attempt, settings: Settings) -> Front:
    """Where the samples stand after the attempt, and with which step they go on."""
    ok = attempt.accepted
    moved = front._replace(
        t=torch.where(ok, attempt.t_next, front.t),
        seen=torch.where(ok, attempt.reached, front.seen),
        y=_chosen(ok, attempt.y_next, front.y),
        k1=_chosen(ok, attempt.stages[-1], front.k1),
        h=_next_size(front, attempt, settings),
        before=torch.where(ok, attempt.ratio.clamp(min=LEAST_RATIO), front.before),
        failed=torch.where(ok, 0, front.failed + attempt.rejected),
    )
    if attempt.rejected.any():
        _require_hope(moved, attempt, settings)
    return moved


def _next_size(front: Front, attempt: Attempt, settings: Settings) -> Tensor:
    """The size that each sample tries next, chosen as in `adaptive_steps`."""
    ratio, ok = attempt.ratio, attempt.accepted
    most = torch.where(front.failed > 0, 1.0, MAX_FACTOR)
    grown = step_factor(ratio, settings, front.before).clamp(min=MIN_FACTOR)
    shrunk = step_factor(ratio, settings).where(ratio > 1.0, 0.0).clamp(min=MIN_FACTOR)
    h = attempt.h.abs() * torch.where(ok, grown.minimum(most), shrunk)
    # Cut short to end at t_end: the size itself is still worth trying.
    h = torch.where(ok & attempt.last, front.h.maximum(h), h)
    return h.clamp(max=settings.max_step)


def _require_hope(front: Front, attempt: Attempt, settings: Settings) -> None:
    """Give up where a sample needs a step that its t does not resolve, or none that it
    tries is finite.
    """
    size = front.t.abs()
    spacing = torch.nextafter(size, size.new_tensor(inf)) - size
    hopeless = (front.failed >= MOST_REJECTED) & ~attempt.ratio.isfinite()
    lost = attempt.rejected & ((front.h <= 16 * spacing) | hopeless)
    if lost.any():
        i = first_true(lost)
        t, h, ratio = (x[i].item() for x in (front.t, front.h, attempt.ratio))
        error = underflow(t, h, settings, ratio, front.y.dtype)
        raise _of_sample(front.sample[i], error)


def _too_slow(front: Front, settings: Settings) -> SolverError:
    i = first_true(front.t != front.t_end)
    numbers = (front.t, front.t_end, front.sign * front.h)
    t, t_end, h = (x[i].item() for x in numbers)
    error = out_of_steps(t, t_end, h, settings, front.y.dtype)
    return _of_sample(front.sample[i], error)


def _of_sample(sample: int | Tensor, error: SolverError) -> SolverError:
    return SolverError(f"sample {int(sample)} of the batch: {error}")


# --- rows -----------------------------------------------------------------------------


def beside(x: Tensor, y: Tensor) -> Tensor:
    """A number for each sample, (k,), in the shape that goes beside y, (k, 1, …, 1)."""
    return x.reshape(-1, *(1,) * (y.ndim - 1))


def first_true(rows: Tensor) -> int:
    """The first row that is True, of which there is one."""
    return int(rows.nonzero()[0, 0])


def _time(front: Front) -> Tensor:
    return beside(front.t + front.shift, front.y)


def _chosen(first: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Row by row x where `first` says so, else y."""
    return x if first.all() else torch.where(beside(first, x), x, y)


def _finite_rows(x: Tensor) -> Tensor:
    """Whether a row is finite, (k,)."""
    return x.isfinite()[:, None].flatten(1).all(1)


def _row_rms(x: Tensor) -> Tensor:
    """The root mean square of each row, (k,), in float64."""
    rows = x[:, None].flatten(1)
    norms = torch.linalg.vector_norm(rows, dim=1).double()
    return norms / sqrt(max(1, rows.shape[1]))


def _with_tolerances(settings: Settings, pick: Callable[[Tensor], Tensor]) -> Settings:
    """The settings with what `pick` makes of tolerances that are tensors."""
    given = settings.rtol, settings.atol
    if not any(isinstance(x, Tensor) for x in given):
        return settings
    rtol, atol = (pick(x) if isinstance(x, Tensor) else x for x in given)
    return replace(settings, rtol=rtol, atol=atol)

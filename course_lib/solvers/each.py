"""A batch in which every sample has its own steps, and may have its own times.

`solve` measures the error of a batch as a whole: a sample that needs small steps makes
all the others take them, and hides its error behind theirs, which lower the mean. Here
every sample meets the tolerance, with the steps that it needs for that. A sample that is
done leaves the batch.

References
----------
Lienen, Günnemann 2022, torchode: A Parallel ODE Solver for PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.solvers.checks import (
    GuardedField,
    SolverError,
    check_problem,
    wants_gradient,
)
from course_lib.solvers.front import (
    Attempt,
    Front,
    beside,
    first_true,
    start_together,
    walk_each,
)
from course_lib.solvers.rosenbrock import Tableau
from course_lib.solvers.settings import Settings, settings_from
from course_lib.solvers.solve import warn_of_rounding
from course_lib.solvers.steps import dense_weights
from course_lib.solvers.tableaus import METHODS

__all__ = ["EachSolution", "odeint_each", "solve_each"]


@dataclass(frozen=True)
class EachSolution:
    """What a solve with steps for each sample computed and what it cost.

    Attributes
    ----------
    t : Tensor, shape (n,) or (n, batch), the requested times
    ys : Tensor, shape (n, *y0.shape), the solution there; ``ys[0]`` is y0
    nfe : int, calls of f, each for all samples under way
    accepted, rejected : LongTensor, shape (batch,), steps taken and steps tried in vain
    """

    t: Tensor
    ys: Tensor
    nfe: int
    accepted: Tensor
    rejected: Tensor


def solve_each(
    f: Callable,
    y0: Tensor,
    t: Tensor | Sequence[float],
    *,
    whole_batch: bool = False,
    **settings,
) -> EachSolution:
    """Solve ``y' = f(t, y)`` for a batch, with steps chosen for each sample by itself.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``
        y has shape (k, *state), and t shape (k, 1, …, 1), to go beside y: the samples
        stand at different times. f must treat every sample by itself. A field that was
        written for one sample and a 0-d t becomes ``torch.vmap(field)(t.flatten(), y)``.
    y0 : Tensor, shape (batch, *state), floating point
    t : Tensor or sequence of floats, shape (n,), or Tensor, shape (n, batch)
        Shared by all samples, strictly increasing or strictly decreasing; or a column
        for each, in which a time may repeat: fill up a shorter series with its last one.
        Columns may go in different directions.
    whole_batch : bool
        A sample that is done leaves the batch, and k falls. Where f holds something of
        its own for each sample, a weight of shape (batch, …), it has to get them all,
        though it costs evaluations of those that are done.
    **settings : method, rtol, atol, max_steps, first_step, max_step, beta
        The fields of `course_lib.solvers.Settings`, for a method that chooses its steps.
        Each sample must meet the tolerance; tensors that broadcast to y0 give each its
        own. `max_steps` counts the attempts of each.

    Returns
    -------
    EachSolution

    Raises
    ------
    TypeError, ValueError
        For arguments that make no sense; the message names the argument, what was
        expected and the fix.
    SolverError
        If a sample cannot go on. The message says which.

    Notes
    -----
    Each sample takes the steps that `solve` takes for it alone, up to rounding.

    Gradients reach y0, every entry of t and whatever f uses, through the steps as they
    were taken; their sizes count as constants. Where gradients are wanted, an attempt in
    which a sample runs into NaN is repeated without it, for zero times NaN would reach
    the gradient of what the samples share.

    References
    ----------
    Lienen, Günnemann 2022, torchode: A Parallel ODE Solver for PyTorch.
    """
    chosen, own = _for_each(settings_from(settings)), getattr(t, "ndim", 1) == 2
    times, chosen = check_problem(f, y0, [0.0] if own else t, chosen)
    if own:
        times = torch.as_tensor(t)
    columns = _columns(times, y0)
    field, coarse = GuardedField(f, y0), None
    accepted, rejected = torch.zeros(2, len(y0), dtype=torch.long, device=y0.device)
    with _hints():
        start = start_together(field, y0, columns, chosen)
        pieces = [_opening(start, columns)]
        for front, attempt in walk_each(field, start, chosen, whole_batch=whole_batch):
            accepted[front.sample] += attempt.accepted
            rejected[front.sample] += attempt.rejected
            pieces += _observed(front, attempt, columns, chosen.tableau)
            coarse = coarse or _coarse(front, attempt)
    if coarse is not None:
        warn_of_rounding(*coarse, y0.dtype, stacklevel=3)
    places, values = map(torch.cat, zip(*pieces))
    ys = y0.new_empty(columns.numel(), *y0.shape[1:]).index_copy(0, places, values)
    return EachSolution(
        t=times,
        ys=ys.reshape(len(columns), *y0.shape),
        nfe=field.nfe,
        accepted=accepted,
        rejected=rejected,
    )


def odeint_each(
    f: Callable, y0: Tensor, t: Tensor | Sequence[float], **settings
) -> Tensor:
    """The values of `solve_each`, shape (n, *y0.shape); same settings, same errors."""
    return solve_each(f, y0, t, **settings).ys


def _coarse(front: Front, attempt: Attempt) -> tuple[float, float] | None:
    """Time and size of a step whose stages f, which has t in the type of y, could not
    tell apart, unless it is only cut to end at a time.
    """
    if front.y.dtype == torch.float64:
        return None
    rounding = 16 * torch.finfo(front.y.dtype).eps
    short = attempt.h.abs() < rounding * front.t.abs()
    short &= attempt.accepted & (attempt.reached == front.seen)
    if not short.any():
        return None
    i = first_true(short)
    return front.t[i].item(), attempt.h[i].item()


# --- the solution where it is asked for -----------------------------------------------


def _opening(front: Front, times: Tensor) -> tuple[Tensor, Tensor]:
    """The solution at the first time of each sample, and where that repeats: places in
    a flat (n, batch), shape (m,), and values, (m, *state).
    """
    place, row = _counted(torch.zeros_like(front.seen), front.seen)
    values = front.y.index_select(0, row)
    if wants_gradient(times):  # a time that is the first one may be moved on from it
        later = beside(times[place, row] - times[0, row], values).to(values.dtype)
        values = values + later * front.k1.index_select(0, row)
    return place * times.shape[1] + row, values


def _observed(
    front: Front, attempt: Attempt, times: Tensor, tableau: Tableau
) -> list[tuple[Tensor, Tensor]]:
    """The solution at those requested times that lie in accepted steps, in pieces like
    that of `_opening`: the new point for a time at its end, dense output before it.

    Where times want a gradient, dense output serves the end too.
    """
    new = torch.where(attempt.accepted, attempt.reached - front.seen, 0)
    if not new.any():
        return []
    place, row = _counted(front.seen, new)
    sample = front.sample[row]
    time, flat = times[place, sample], place * times.shape[1] + sample
    if wants_gradient(times):
        return [(flat, _dense(front, attempt, row, time, tableau))]
    at_end = time == attempt.t_next[row]
    end, inner = at_end.nonzero().flatten(), (~at_end).nonzero().flatten()
    pieces = [(flat[end], attempt.y_next.index_select(0, row[end]))]
    if len(inner):
        values = _dense(front, attempt, row[inner], time[inner], tableau)
        pieces.append((flat[inner], values))
    return pieces


def _dense(
    front: Front, attempt: Attempt, row: Tensor, time: Tensor, tableau: Tableau
) -> Tensor:
    """`interpolate`, for the samples in `row`, (m,), each at a time of its own, (m,):
    shape (m, *state).
    """
    h, y = attempt.h[row], front.y.index_select(0, row)
    theta = (time - (front.t + front.shift)[row]) / h
    weights = dense_weights(theta, tableau).to(y.dtype).T  # (s, m)
    stages = torch.stack(attempt.stages).index_select(1, row)  # (s, m, *state)
    slope = (weights.reshape(*weights.shape, *(1,) * (y.ndim - 1)) * stages).sum(0)
    return torch.addcmul(y, beside(h, y).to(y.dtype), slope)


def _counted(first: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """For every row i, ``number[i]`` whole numbers from ``first[i]`` on; and their
    rows.
    """
    row = torch.repeat_interleave(number)
    start = number.cumsum(0) - number
    return first[row] + torch.arange(len(row), device=row.device) - start[row], row


# --- what makes no sense --------------------------------------------------------------


def _for_each(settings: Settings) -> Settings:
    """The settings, if samples can have steps of their own with them."""
    if not (settings.tableau.adaptive and settings.method in METHODS):
        known = ", ".join(name for name, table in METHODS.items() if table.adaptive)
        raise ValueError(
            f"method={settings.method!r} has no steps for each sample; use one of {known}, "
            "or solve"
        )
    if settings.parts != 1:
        raise ValueError(
            f"parts={settings.parts!r} does not go with steps for each sample, which has "
            "a norm of its own; leave it out, or use solve"
        )
    if settings.jumps:
        raise ValueError(
            f"jumps={settings.jumps!r} does not go with steps for each sample: end the "
            "solve at the jump and start another from there, or use solve"
        )
    return settings


def _columns(t: Tensor, y0: Tensor) -> Tensor:
    """A column of times for each sample, (n, batch), in float64."""
    if y0.ndim == 0:
        raise ValueError(
            "y0 must have shape (batch, *state), got (); use y0[None] for one sample"
        )
    if t.ndim == 1:
        t = t[:, None].expand(-1, len(y0))
    else:
        _check_columns(t, len(y0))
    t = t.to(y0.device, torch.float64)
    return t if wants_gradient(t) else t.detach()


def _check_columns(t: Tensor, batch: int) -> None:
    if not t.is_floating_point():
        raise TypeError(
            f"t must be floating point, got {t.dtype}; use t.float() or t.double()"
        )
    if len(t) == 0 or t.shape[1] != batch:
        raise ValueError(
            f"t must have shape (n,) or (n, {batch}), a column for each sample of y0, "
            f"got {tuple(t.shape)}; times of shape (batch, n) need t.T"
        )
    gaps = t.detach().diff(dim=0)
    fine = ((gaps >= 0).all(0) | (gaps <= 0).all(0)) & t.detach().isfinite().all(0)
    if not fine.all():
        i = first_true(~fine)
        shown = ", ".join(f"{x:.6g}" for x in t[:6, i].tolist())
        raise ValueError(
            "t must be finite, and increase or decrease along every column; that of "
            f"sample {i} is [{shown}{', …' if len(t) > 6 else ''}]; sort it, and fill "
            "up a shorter series with its last time"
        )


@contextmanager
def _hints():
    """Add what is special about these solves to an error that comes out of f."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if not isinstance(error, SolverError):
            error.add_note(
                "f gets y of shape (k, *state) and t of shape (k, 1, …, 1), to go beside "
                "y; beside a component y[..., 0] it is t[..., 0]. k falls as samples are "
                "done: where f holds something of its own for each sample, use "
                "whole_batch=True"
            )
        raise

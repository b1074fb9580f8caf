"""Long series in short shots: windows that grow, multiple shooting, teacher forcing.

One shot over a long series has a misfit full of false valleys, and a gradient that grows
with what the flow does to a small change. Every way here makes the shots shorter. They
differ in where a shot starts: at a reading, at a state that is learnt along, or part of
the way from the prediction to the reading.

References
----------
Bock, Plitt 1984, A Multiple Shooting Algorithm for Direct Solution of Optimal Control Problems.
Hess, Monfared, Brenner, Durstewitz 2023, Generalized Teacher Forcing for Learning Chaotic
Dynamics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.solvers import (
    METHODS,
    SolverError,
    check_choice,
    check_whole,
    odeint,
    rk_step,
)
from course_lib.solvers.checks import (
    GuardedField,
    all_finite,
    check_state,
    check_times,
    wants_gradient,
)

__all__ = ["MultipleShooting", "blended", "consecutive", "doubling"]


def consecutive(
    t: Tensor | Sequence[float], ys: Tensor, intervals: int
) -> tuple[Tensor, Tensor]:
    """Cut a series with equal gaps into windows that follow each other.

    Each window ends at the reading at which the next one starts.

    Parameters
    ----------
    t : Tensor or sequence of floats, shape (n,), equally spaced
    ys : Tensor, shape (n, *state)
    intervals : int, gaps in a window; must divide n - 1

    Returns
    -------
    t : Tensor, shape (intervals + 1,), the times of a window, from 0
    windows : Tensor, shape (intervals + 1, (n - 1) / intervals, *state)
        First the reading, then the window; ``windows[0]`` are the starts.

    Raises
    ------
    ValueError
        If the windows do not fill the series, the times are not in order, the gaps not
        equal, or the times and the readings not as many.
    """
    times = _check_readings(t, ys)
    gaps = len(times) - 1
    if not 1 <= intervals <= gaps or gaps % intervals:
        raise ValueError(
            f"intervals must divide the {gaps} gaps of the series, got {intervals}; "
            "shorten the series, or choose another length"
        )
    width = (times[-1] - times[0]) / gaps
    rounding = 4 * torch.finfo(times.dtype).eps * times.abs().max()
    uneven = (times.diff() - width).abs().max() > 1e-3 * width.abs() + rounding
    if uneven or width == 0:
        raise ValueError(
            "t must be equally spaced, so that all windows have the same times; for other "
            "series give solve_each a column of times for each window"
        )
    first = torch.arange(0, gaps, intervals)
    return times[: intervals + 1] - times[0], ys[
        torch.arange(intervals + 1)[:, None] + first
    ]


def doubling(gaps: int, first: int) -> list[int]:
    """Lengths of windows that grow from `first` intervals to all `gaps`.

    Each is the next divisor of `gaps` that is at least twice the last one.

    Examples
    --------
    >>> doubling(200, 5)
    [5, 10, 20, 40, 100, 200]
    """
    if not 1 <= first <= gaps or gaps % first:
        raise ValueError(f"first must divide the {gaps} gaps, got {first}")
    lengths = [first]
    for n in range(first + 1, gaps + 1):
        if gaps % n == 0 and (n >= 2 * lengths[-1] or n == gaps):
            lengths.append(n)
    return lengths


class MultipleShooting(nn.Module):
    """Windows whose starts are learnt, and the gaps that are left between them.

    Where all gaps are closed, the windows are one solution. Until then every start moves
    freely, so that a wrong field need not carry an error over the whole series.

    Parameters
    ----------
    starts : Tensor, shape (windows, *state), where the starts begin: the readings

    Attributes
    ----------
    starts : Parameter, shape (windows, *state)

    References
    ----------
    Voss, Timmer, Kurths 2004, Nonlinear Dynamical System Identification from Uncertain and Indirect Measurements.
    """

    def __init__(self, starts: Tensor):
        super().__init__()
        self.starts = nn.Parameter(starts.detach().clone())

    def forward(self, f: Callable, t: Tensor, **settings) -> tuple[Tensor, Tensor]:
        """Solve all windows at once.

        Parameters
        ----------
        f : callable ``f(t, y) -> dy/dt``, which does not depend on t
        t : Tensor, shape (n,), the times of a window
        **settings : as for `odeint`

        Returns
        -------
        ys : Tensor, shape (n, windows, *state)
        gaps : Tensor, shape (windows - 1, *state)
            From the end of each window to the start of the next: ends less starts.
        """
        ys = odeint(f, self.starts, t, **settings)
        return ys, ys[-1, :-1] - self.starts[1:]


def blended(
    f: Callable,
    t: Tensor | Sequence[float],
    ys: Tensor,
    share: float,
    *,
    method: str = "rk4",
    substeps: int = 1,
) -> Tensor:
    """Predict every reading from the one before, pulled to the readings by a share.

    After each reading the solve goes on from ``(1 - share) * prediction + share *
    reading``. 0 is one long shot; 1 starts anew at every reading. A small change of the
    state dwindles by 1 - share at every reading, and so does the gradient on its way back.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``
    t : Tensor or sequence of floats, shape (n,)
    ys : Tensor, shape (n, *state), the readings
    share : float, from 0 to 1
    method : str, an explicit method
    substeps : int, equal steps from a reading to the next

    Returns
    -------
    predictions : Tensor, shape (n, *state)
        Before the pull; ``predictions[0]`` is the first reading.

    Raises
    ------
    TypeError, ValueError
        For a share beyond 0 and 1, fewer than one step, a method that is not known,
        readings that are not finite, or times that are not in order, not as many, or
        want a gradient.
    SolverError
        If a prediction overflows.

    References
    ----------
    Hess, Monfared, Brenner, Durstewitz 2023, Generalized Teacher Forcing for Learning
    Chaotic Dynamics.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be from 0 to 1, got {share!r}")
    moments = _check_readings(t, ys)
    check_state(ys, "ys")
    if wants_gradient(moments):
        raise ValueError("times get no gradient here: use t.detach()")
    check_whole("substeps", substeps, "1 is the usual value")
    check_choice("method", method, METHODS)
    times, tableau = moments.tolist(), METHODS[method]
    field = GuardedField(f, ys[0])
    y, predictions = ys[0], [ys[0]]
    for i in range(1, len(times)):
        h = (times[i] - times[i - 1]) / substeps
        for j in range(substeps):
            y = rk_step(field, times[i - 1] + j * h, y, h, tableau)[0]
        if not all_finite(y):
            raise SolverError(
                f"the prediction overflowed between t={times[i - 1]:g} and "
                f"t={times[i]:g}; use more substeps, or a larger share"
            )
        predictions.append(y)
        y = torch.lerp(y, ys[i], share)
    return torch.stack(predictions)


def _check_readings(t: Tensor | Sequence[float], ys: Tensor) -> Tensor:
    """The times, if they are in order and as many as the readings."""
    times = check_times(t)
    if len(t) != len(ys):
        raise ValueError(
            f"ys must hold one reading for each time, got {len(ys)} readings and "
            f"{len(t)} times; cut the longer one"
        )
    return times

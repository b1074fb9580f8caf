"""Paths through readings: irregular, missing one by one, of different lengths.

A path runs through time and all channels together, X(s) = (t, x₁, …, x_D). Its parameter s
is not the time but counts readings: the rows of a batch stand at s = 0, 1, 2, …, however
much their times differ. What is driven by a path does not see how fast it is gone through
(`course_lib.models.ControlledField`), so nothing is lost, and a whole batch shares its
knots. After the last reading of a series its path stands still.

An interpolation between two readings is a cubic with given slopes at both: only the slopes
differ from one to the next.

References
----------
Kidger, Morrill, Foster, Lyons 2020, Neural Controlled Differential Equations. Morrill,
Kidger, Yang, Lyons 2021, Neural CDEs for Online Prediction Tasks (causal paths).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "PATHS",
    "ControlPath",
    "LogSignature",
    "hermite_path",
    "joined",
    "linear_path",
    "log_signature",
    "natural_cubic_path",
    "polyline",
    "rectilinear_path",
]


@dataclass(frozen=True)
class ControlPath:
    """Cubic pieces one after the other, for every series of a batch.

    In piece i the path is ``a + bθ + cθ² + dθ³``, where θ goes from 0 to 1.

    Attributes
    ----------
    coefficients : Tensor, shape (4, B, n, C): a, b, c, d of n pieces; channel 0 is time
    knots : tuple of n + 1 float, increasing, where the pieces begin and end; beyond
        them the first and the last piece go on, for some solvers step past the end and
        come back
    every : int, a reading stands at every so many knots
    """

    coefficients: Tensor
    knots: tuple[float, ...]
    every: int = 1

    @property
    def rows(self) -> tuple[float, ...]:
        """The parameters s at which the readings stand."""
        return self.knots[:: self.every]

    def __call__(self, s: float | Tensor) -> Tensor:
        """X(s), shape (B, C)."""
        i, theta, _ = self._place(s)
        a, b, c, d = self.coefficients[:, :, i].unbind()
        return a + theta * (b + theta * (c + theta * d))

    def slope(self, s: float | Tensor) -> Tensor:
        """dX/ds, shape (B, C); at a knot that of the piece behind it."""
        i, theta, length = self._place(s)
        _, b, c, d = self.coefficients[:, :, i].unbind()
        return (b + theta * (2 * c + 3 * theta * d)) / length

    def _place(self, s: float | Tensor) -> tuple[int, float | Tensor, float]:
        """The piece of s, how far it is through it, and how long that is."""
        last = len(self.knots) - 2
        here = s.item() if isinstance(s, Tensor) else s
        i = min(max(bisect_right(self.knots, here) - 1, 0), last)
        length = self.knots[i + 1] - self.knots[i]
        return i, (s - self.knots[i]) / length, length


def polyline(points: Tensor, *, every: int = 1) -> ControlPath:
    """Straight pieces through points of shape (B, n + 1, C)."""
    a, b = points[:, :-1], points.diff(dim=1)
    zero = torch.zeros_like(b)
    return ControlPath(torch.stack((a, b, zero, zero)), _knots(points.shape[1]), every)


def _knots(n: int) -> tuple[float, ...]:
    return tuple(float(i) for i in range(n))


# --- readings -------------------------------------------------------------------------


class _Filled(NamedTuple):
    """Readings with their ends in order: times (B, k, 1) that stand still after the last
    row, values (B, k, D), and which of them are `known` (B, k, D), or `past` the end
    (B, k, 1).
    """

    times: Tensor
    values: Tensor
    known: Tensor
    past: Tensor


def _filled(times: Tensor, values: Tensor) -> _Filled:
    """Check the readings; at both ends of a series every channel gets a value."""
    _check(times, values)
    known, place = ~values.isnan(), torch.arange(values.shape[1])
    counts = (place * known.any(dim=-1)).amax(dim=1)[:, None]  # the last row of each
    past, last = place > counts, place == counts
    final = times.gather(1, counts)
    times = times.where(~past, final)
    wrong = (times.diff(dim=1) <= 0) & ~past[:, 1:]
    if wrong.any() or not times.isfinite().all():
        series, row = (
            wrong.nonzero()[0].tolist()
            if wrong.any()
            else (~times.isfinite()).nonzero()[0]
        )
        raise ValueError(
            "times must be finite and increase along a series, put readings of one time "
            f"into one row; got {times[series, row : row + 2].tolist()} in series {series}"
        )
    # Nothing is known before the first reading: there a channel is at 0, its mean.
    values = values.where(known | (place != 0)[:, None], 0.0)
    carried = _carried(values)
    known = (known | (place == 0)[:, None] | last[..., None]) & ~past[..., None]
    return _Filled(times[..., None], carried, known, past[..., None])


def _carried(values: Tensor) -> Tensor:
    """What is missing is the last value before it; the first row is all there."""
    place = torch.arange(values.shape[1])[:, None]
    latest = (place * ~values.isnan()).cummax(dim=1).values
    return values.gather(1, latest)


def _check(times: Tensor, values: Tensor) -> None:
    if values.ndim != 3 or times.shape != values.shape[:2] or values.shape[1] < 2:
        raise ValueError(
            "values must have shape (B, k, D) and times (B, k), with two rows at least, "
            "NaN where a reading is missing and after the end of a series; got "
            f"{tuple(values.shape)} and {tuple(times.shape)}"
        )
    if values.isinf().any():
        raise ValueError("values must be finite, or NaN where a reading is missing")


# --- interpolations -------------------------------------------------------------------


def linear_path(times: Tensor, values: Tensor) -> ControlPath:
    """Straight from reading to reading: looks ahead to the next one of each channel.

    Parameters
    ----------
    times : Tensor, shape (B, k), increasing along a series; what stands after its end
        does not matter
    values : Tensor, shape (B, k, D), NaN where a reading is missing: one channel of a
        row, a whole row, all rows after the end of a series. A channel that is missing in
        the first row is at 0 there, and one that is missing in the last keeps its value.

    Returns
    -------
    ControlPath of k - 1 pieces and D + 1 channels, of which the first is time

    Raises
    ------
    ValueError
        For shapes that do not fit, times that do not increase, infinite values.
    """
    return _cubics(_filled(times, values), None)


def hermite_path(times: Tensor, values: Tensor) -> ControlPath:
    """Cubics whose slope at a reading is that from the reading before (backward
    differences); looks ahead to the next reading, as `linear_path` does, and has no kinks.

    Parameters, result and errors are those of `linear_path`.
    """
    return _cubics(_filled(times, values), _backward_slopes)


def natural_cubic_path(times: Tensor, values: Tensor) -> ControlPath:
    """The natural cubic spline, which bends least and looks ahead to the last reading.

    Parameters, result and errors are those of `linear_path`.
    """
    return _cubics(_filled(times, values), _natural_slopes)


def rectilinear_path(times: Tensor, values: Tensor) -> ControlPath:
    """Time goes on while all values wait, then the values jump while time waits: never
    looks ahead.

    Parameters and errors are those of `linear_path`; a piece for time and one for the
    values make 2 (k - 1), and a reading stands at every second knot.
    """
    filled = _filled(times, values)
    now = torch.cat((filled.times, filled.values), dim=-1)
    waiting = torch.cat((filled.times[:, 1:], filled.values[:, :-1]), dim=-1)
    both = torch.stack((waiting, now[:, 1:]), dim=2).flatten(1, 2)
    return polyline(torch.cat((now[:, :1], both), dim=1), every=2)


PATHS: dict[str, Callable[[Tensor, Tensor], ControlPath]] = {
    "linear": linear_path,
    "rectilinear": rectilinear_path,
    "natural cubic": natural_cubic_path,
    "hermite": hermite_path,
}


class _Neighbours(NamedTuple):
    """Which rows of each channel are known, shape (B, k, D), and those around each row:
    the last one before it, and the first one after it; itself where there is none.
    """

    known: Tensor
    before: Tensor
    after: Tensor


def _neighbours(known: Tensor) -> _Neighbours:
    k = known.shape[1]
    place = torch.arange(k)[:, None].expand_as(known)
    upto = place.where(known, -1).cummax(dim=1).values
    on = place.where(known, k).flip(1).cummin(dim=1).values.flip(1)
    before, after = upto.roll(1, dims=1), on.roll(-1, dims=1)
    before[:, 0], after[:, -1] = -1, k
    return _Neighbours(
        known, before.where(before >= 0, place), after.where(after < k, place)
    )


def _cubics(filled: _Filled, slopes: Callable | None) -> ControlPath:
    """The pieces between rows of the cubics between known readings."""
    t, x, known, past = filled
    clock, near = t.expand_as(x), _neighbours(known)
    rows = torch.arange(x.shape[1])[:, None].expand_as(x)
    left = rows.where(known, near.before)[:, :-1]
    right = near.after[:, :-1]
    over = past[:, 1:]  # pieces after the end: the path stands still
    h = (clock.gather(1, right) - clock.gather(1, left)).where(~over, 1.0)
    x0, x1 = x.gather(1, left), x.gather(1, right)
    rise = ((x1 - x0) / h).where(~over, 0.0)
    if slopes is None:
        m0 = m1 = rise
    else:
        m = slopes(clock, x, near).where(known, 0.0)
        m0, m1 = (
            m.gather(1, left).where(~over, rise),
            m.gather(1, right).where(~over, rise),
        )
    bend, twist = (3 * rise - 2 * m0 - m1) / h, (m0 + m1 - 2 * rise) / h**2
    u, g = (
        clock[:, :-1] - clock.gather(1, left),
        t.diff(dim=1),
    )  # (B, k-1, D), (B, k-1, 1)
    pieces = (
        x0 + u * (m0 + u * (bend + u * twist)),
        g * (m0 + u * (2 * bend + 3 * u * twist)),
        g**2 * (bend + 3 * u * twist),
        g**3 * twist,
    )
    zero = torch.zeros_like(g)
    time = (t[:, :-1], g, zero, zero)
    parts = [torch.cat(pair, dim=-1) for pair in zip(time, pieces)]
    return ControlPath(torch.stack(parts), _knots(x.shape[1]))


def _rise(t: Tensor, x: Tensor, of: Tensor, to: Tensor) -> Tensor:
    """The slope of the chord between two rows; 0 where they are one."""
    h = t.gather(1, to) - t.gather(1, of)
    return (x.gather(1, to) - x.gather(1, of)) / h.where(h != 0, 1.0)


def _backward_slopes(t: Tensor, x: Tensor, near: _Neighbours) -> Tensor:
    """From the reading before; at the first, to the one after."""
    rows = torch.arange(x.shape[1])[:, None].expand_as(x)
    first = near.before == rows
    return _rise(t, x, near.before, rows).where(~first, _rise(t, x, rows, near.after))


def _natural_slopes(t: Tensor, x: Tensor, near: _Neighbours) -> Tensor:
    """Those for which the second derivative has no jumps, and is 0 at both ends."""
    rows = torch.arange(x.shape[1])[:, None].expand_as(x)
    system = x.new_zeros(*x.shape, x.shape[1])  # (B, k, D, k): a row of numbers a knot
    known, right = near.known, torch.zeros_like(x)
    system.scatter_(3, rows[..., None], (~known).to(x.dtype)[..., None])
    for other in (near.before, near.after):
        h = (t.gather(1, other) - t).abs()
        there = known & (h != 0)
        weight = torch.where(there, 1.0 / h.where(h != 0, 1.0), 0.0)
        system = system.scatter_add(3, rows[..., None], 2 * weight[..., None])
        system = system.scatter_add(3, other[..., None], weight[..., None])
        right = right + 3 * weight * _rise(t, x, rows, other).where(there, 0.0)
    # A channel with one reading alone has no equation: its slope is 0.
    alone = known & (near.before == rows) & (near.after == rows)
    system = system.scatter_add(3, rows[..., None], alone.to(x.dtype)[..., None])
    solved = torch.linalg.solve(system.transpose(1, 2), right.transpose(1, 2))
    return solved.transpose(1, 2)


# --- log-signature --------------------------------------------------------------------


class LogSignature(NamedTuple):
    """What a path does as a whole, to depth 2.

    Attributes
    ----------
    increment : Tensor, shape (*, C): end minus start
    area : Tensor, shape (*, C, C), antisymmetric: ½ ∫ (xᵢ - xᵢ(0)) dxⱼ - (xⱼ - xⱼ(0)) dxᵢ,
        the area between the path and its chord in each plane (Lévy's area)
    """

    increment: Tensor
    area: Tensor


def log_signature(points: Tensor) -> LogSignature:
    """The log-signature to depth 2 of straight pieces through points (*, n + 1, C).

    References
    ----------
    Chevyrev, Kormilitzin 2016, A Primer on the Signature Method in Machine Learning.
    """
    away, steps = points[..., :-1, :] - points[..., :1, :], points.diff(dim=-2)
    product = away.mT @ steps
    return LogSignature(
        points[..., -1, :] - points[..., 0, :], (product - product.mT) / 2
    )


def joined(first: LogSignature, then: LogSignature) -> LogSignature:
    """The log-signature of one path after the other (Chen's identity, to depth 2)."""
    a, b = first.increment, then.increment
    wedge = a[..., :, None] * b[..., None, :] - a[..., None, :] * b[..., :, None]
    return LogSignature(a + b, first.area + then.area + wedge / 2)

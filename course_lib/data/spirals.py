"""Spirals that are read at irregular times, and how to thin series or cut windows from
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_lib.data.toys import generator

__all__ = [
    "Spirals",
    "diverse_spirals",
    "thin",
    "two_armed_spirals",
    "windows",
]


@dataclass(frozen=True)
class Spirals:
    """Irregularly observed spirals, in the plane.

    Attributes
    ----------
    t : Tensor, shape (T,), times of a window from 0; the first `span` are the
        observed stretch, the rest is after it
    clean : Tensor, shape (n, T, 2), the curve at every time
    index : Tensor, shape (n, k), which of the first `span` times each series was
        observed at, increasing
    values : Tensor, shape (n, k, 2), the noisy observations
    clockwise : Tensor, shape (n,), bool
    span : int
    """

    t: Tensor
    clean: Tensor
    index: Tensor
    values: Tensor
    clockwise: Tensor
    span: int

    def times(self) -> Tensor:
        """The observation times, shape (n, k), different for every series."""
        return self.t[self.index]

    def read_anew(
        self, k: int, *, noise: float, share: float = 1.0, seed: int = 0
    ) -> Spirals:
        """The same curves with other readings: `k` points of the first `share` of the
        span, at random.

        Raises
        ------
        ValueError
            For a share that is not beyond 0 and up to 1, or with too few points.
        """
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share!r}")
        stretch = self.clean[:, : round(share * self.span)]
        index, values = _observe(stretch, k, noise, generator(seed))
        return replace(self, index=index, values=values)


def two_armed_spirals(
    n: int,
    *,
    observations: int = 50,
    noise: float = 0.1,
    span: int = 200,
    after: int = 100,
    shift: float = 0.0,
    seed: int = 0,
) -> Spirals:
    """Noisy, irregular observations of two arms, a clockwise one about (-5, 0), which is
    a hyperbolic spiral (radius 15 / angle, with the angle falling from 6π + 1 to 1), and
    a counter-clockwise one about (5, 0), an Archimedean spiral (radius 0.3 angle).

    Each arm is 1,000 points over an angle of 6π. Every series is a window that starts
    at a random point of a random arm: `span` points to be observed, of which
    `observations` are kept at random, and `after` points beyond them. So there are only
    2 (1001 - span - after) different curves. A `shift`, in steps of the grid, moves all
    points along the arms: with 0.5 they lie midway between those of shift 0, and no
    curve is one of theirs.

    References
    ----------
    The model and the idea: Chen, Rubanova, Bettencourt, Duvenaud 2018, section 5.1. The
    curves, their sizes and places: torchdiffeq, examples/latent_ode.py.
    """
    g = generator(seed)
    grid = torch.linspace(0, 6 * math.pi, 1000)
    angle = grid + shift * 6 * math.pi / 999
    back = 6 * math.pi + 1 - angle
    clockwise_arm = 15 / back[:, None] * torch.stack(
        (back.cos(), back.sin()), 1
    ) + torch.tensor([-5.0, 0.0])
    counter_arm = 0.3 * angle[:, None] * torch.stack(
        (angle.cos(), angle.sin()), 1
    ) + torch.tensor([5.0, 0.0])
    clockwise = torch.rand(n, generator=g) < 0.5
    start = torch.randint(0, 1000 - span - after + 1, (n, 1), generator=g)
    window = start + torch.arange(span + after)
    clean = torch.where(
        clockwise[:, None, None], clockwise_arm[window], counter_arm[window]
    )
    index, values = _observe(clean[:, :span], observations, noise, g)
    t = grid[: span + after]
    return Spirals(t, clean, index, values, clockwise, span)


def diverse_spirals(
    n: int, *, observations: int = 50, noise: float = 0.02, seed: int = 0
) -> Spirals:
    """Noisy, irregular observations of `n` different linear systems x' = W x.

    The diagonal of W is -0.1 |a| - 0.05 and -0.1 |b| - 0.05, its other entries are
    ±|c| and ∓|d|, with a, b, c and d drawn from the standard normal distribution for
    each system; x(0) from twice that. 200 points of [0, 31.45] by the matrix
    exponential; `observations` of the first 100 are kept at random.

    Raises
    ------
    ValueError
        If more than 100 or fewer than one are to be observed.

    References
    ----------
    M. Surtsukov, notebook "Neural ODEs", 2019, github.com/msurtsukov/neural-ode.
    """
    g = generator(seed)
    a, b, c, d = torch.randn(4, n, generator=g, dtype=torch.float64).abs()
    clockwise = torch.rand(n, generator=g) < 0.5
    c, d = torch.where(clockwise, c, -c), torch.where(clockwise, -d, d)
    entries = (-0.1 * a - 0.05, c, d, -0.1 * b - 0.05)
    W = torch.stack(entries, dim=-1).view(n, 2, 2)
    start = 2 * torch.randn(n, 2, 1, generator=g, dtype=torch.float64)
    t = torch.linspace(0, 31.45, 200)
    step = torch.linalg.matrix_exp(31.45 / 199 * W)
    curves = [start]
    for _ in t[1:]:
        curves.append(step @ curves[-1])
    clean = torch.cat(curves, dim=-1).mT.float()
    index, values = _observe(clean[:, :100], observations, noise, g)
    return Spirals(t, clean, index, values, clockwise, 100)


def _observe(
    curves: Tensor, observations: int, noise: float, g: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Which points of each curve are kept, (n, k), and what is read there, (n, k, 2)."""
    n, span, _ = curves.shape
    if not 1 <= observations <= span:
        raise ValueError(
            f"observations must lie between 1 and {span}, the points of the observed "
            f"stretch; got {observations}"
        )
    index = _choose(n, span, observations, g)
    seen = curves.gather(1, index[..., None].expand(-1, -1, 2))
    return index, seen + noise * torch.randn(seen.shape, generator=g)


def _choose(n: int, total: int, k: int, g: torch.Generator | None) -> Tensor:
    """Rows, n of them, of k different numbers below `total`, increasing, shape (n, k)."""
    order = torch.rand(n, total, generator=g).argsort(dim=1)
    return order[:, :k].sort(dim=1).values


def thin(
    times: Tensor, values: Tensor, k: int, *, seed: int | None = None
) -> tuple[Tensor, Tensor]:
    """Keep `k` random readings of each series, in their order.

    Parameters
    ----------
    times : Tensor, shape (n, K), times or indices
    values : Tensor, shape (n, K, D)
    k : int, from 1 to K
    seed : int, of a generator of its own; None: the global one

    Returns
    -------
    times, values : Tensor, shapes (n, k) and (n, k, D)
    """
    n, total = times.shape
    if not 1 <= k <= total:
        raise ValueError(f"k must lie between 1 and {total}, got {k}")
    g = None if seed is None else generator(seed)
    keep = _choose(n, total, k, g).to(times.device)
    return times.gather(1, keep), values.gather(
        1, keep[..., None].expand(-1, -1, values.shape[-1])
    )


def windows(
    t: Tensor,
    series: Tensor,
    points: int,
    *,
    every: int = 1,
    count: int = 32,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Random windows of one series or of several that share their times, each of
    `points` readings that lie `every` apart.

    Parameters
    ----------
    t : Tensor, shape (n,), evenly spaced
    series : Tensor, shape (*, n, dim)
    points, every, count : int
    generator : torch.Generator of the places where windows begin; None: the global one

    Returns
    -------
    t : Tensor, shape (points,), the times of a window that begins with the series
    y : Tensor, shape (points, *, count, dim), time first as a solver returns it

    Raises
    ------
    ValueError
        If a series is shorter than a window, or the times are not evenly spaced, or not
        as many as the readings.
    """
    if len(t) != series.shape[-2]:
        raise ValueError(
            f"series must hold one reading for each time, got {series.shape[-2]} readings "
            f"and {len(t)} times"
        )
    gaps, rounding = t.diff(), 4 * torch.finfo(t.dtype).eps * t.abs().max()
    if len(t) > 1 and gaps.max() - gaps.min() > 1e-3 * gaps.mean().abs() + rounding:
        raise ValueError(
            "t must be evenly spaced, for all windows are given the times of the first; "
            f"got gaps from {gaps.min():g} to {gaps.max():g}"
        )
    length = every * (points - 1)  # from the first reading of a window to its last
    if not 0 <= length < len(t):
        raise ValueError(
            f"a window of {points} readings, {every} apart, does not fit into a series "
            f"of {len(t)}"
        )
    first = torch.randint(0, len(t) - length, (count,), generator=generator)
    rows = first + every * torch.arange(points)[:, None]  # (points, count)
    y = series[..., rows.to(series.device), :]
    return t[: length + 1 : every], y.movedim(-3, 0)

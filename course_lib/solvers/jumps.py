"""A right-hand side that jumps at known times, solved piece by piece.

A step across a jump of f has no order: the error estimate sees it and shrinks the step
until it hardly matters, or does not see it at all. So a step ends at each jump, and f is
asked on the side of it that the step is on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.solvers.steps import to_float

__all__ = ["one_sided", "stretches"]

INSIDE = 4  # numbers between a jump and "just inside": f may compute it with rounding


def stretches(
    t: float, t_end: float, jumps: Sequence[float]
) -> Iterator[tuple[float, float]]:
    """The pieces of the way from t to t_end, forward or back, between which f jumps;
    none if there is no way to go.
    """
    if t == t_end:
        return iter(())
    inside = [jump for jump in jumps if min(t, t_end) < jump < max(t, t_end)]
    return pairwise((t, *sorted(inside, reverse=t_end < t), t_end))


def one_sided(
    f: Callable,
    ends: tuple[float | Tensor, float | Tensor],
    jumps: Sequence[float],
    dtype: torch.dtype,
) -> Callable:
    """f between two times: where one of them is a jump, f there is f just inside.

    Parameters
    ----------
    f : callable ``f(t, y)`` that takes t as a number or as a Tensor
    ends : the two times
    jumps : sequence of float
    dtype : torch.dtype, that in which f has its t: "just inside" is a few numbers off
    """
    if not jumps:
        return f
    t, t_end = map(to_float, ends)
    first = _inside(t, t_end, dtype) if t in jumps else t
    last = _inside(t_end, t, dtype) if t_end in jumps else t_end
    low, high = min(first, last), max(first, last)

    def inside(t: float | Tensor, y: Tensor) -> Tensor:
        moment = to_float(t)
        return f(t + (min(max(moment, low), high) - moment), y)

    return inside


def _inside(t: float, other: float, dtype: torch.dtype) -> float:
    """A number near t in the direction of the other, and not past it."""
    here, there = torch.tensor((t, other), dtype=dtype)
    for _ in range(INSIDE):
        here = torch.nextafter(here, there)
    return here.item()

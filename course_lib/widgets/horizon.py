"""Live figure: the misfit of a spring's frequency, while the horizon grows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import cos, sin
from typing import ClassVar

import torch
import traitlets
from torch import Tensor

from course_lib.data import generator
from course_lib.widgets.figure import LiveFigure
from course_lib.widgets.page.module import module
from course_lib.widgets.traits import Finite, Point, Whole, within

__all__ = ["HorizonExplorer", "HorizonSolution"]

GAP = 0.25  # from a reading to the next
LONGEST = 40.0
LOW, HIGH, CELLS = 0.4, 3.0, 520  # frequencies that are tried
STEPS = 60  # of gradient descent
FINE = 4  # points of the model's curve from a reading to the next


@dataclass(frozen=True)
class HorizonSolution:
    """What the figure shows.

    Attributes
    ----------
    omega, loss : Tensor, shape (521,), the frequencies and the misfit of each
    minima : int, local minima of the loss between the first frequency and the last
    basin : (low, high), the crests on either side of the lowest of all
    path : Tensor, shape (61,), the frequencies that gradient descent goes through
    t : Tensor, shape (n + 1,), and seen : Tensor, shape (n + 1, 2)
        Times, and the readings of place and velocity.
    curve : Tensor, shape (m, 2)
        Time and place of the model after `steps` steps; a row of NaN between windows.
    """

    omega: Tensor
    loss: Tensor
    minima: int
    basin: tuple[float, float]
    path: Tensor
    t: Tensor
    seen: Tensor
    curve: Tensor


class HorizonExplorer(LiveFigure):
    """The misfit of the frequency ω in y'' = -ω²y, whose truth is 1.

    Place and velocity are read every quarter of a time unit. The horizon is cut into
    windows, each of which starts at a reading; the misfit is the mean square over all
    places that are predicted. Gradient descent takes steps of 1/w² times the slope, w the
    length of the longest window.

    Parameters
    ----------
    horizon : float, from 4 to 40, rounded to whole gaps
    windows : int, from 1 (one shot) to 8
    noise : float, from 0 to 0.5, the standard deviation of the readings
    start : float, from 0.4 to 3, where the descent begins, which can be dragged
    steps : int, from 0 to 60, how many steps are shown
    seed : int, of the noise

    Raises
    ------
    TypeError, TraitError
        For a value that does not fit; the message says what does.
    """

    _esm = module("horizon.mjs")
    still = (
        "A live figure: the misfit of a spring's frequency as the horizon grows, in one "
        "shot or in windows, and where gradient descent from a start of your choice ends."
    )
    facts: ClassVar = {
        "horizon": "the time over which the model is compared with the readings",
        "windows": "how many windows it is cut into; 1 is one shot",
        "noise": "standard deviation of the readings",
        "start": "the frequency that the descent begins with",
        "end": "the frequency at which it is after 60 steps",
        "off": "distance of the end from the true frequency, 1",
        "minima": "how many local minima the misfit has from 0.4 to 3",
        "basin": "width of the basin of the lowest minimum",
    }
    draws = Point(read_only=True).tag(sync=True)
    horizon = Finite(20.0).tag(sync=True)
    windows = Whole(1).tag(sync=True)
    noise = Finite(0.0).tag(sync=True)
    start = Finite(1.8).tag(sync=True)
    steps = Whole(STEPS).tag(sync=True)

    def __init__(self, *, seed: int = 0, **settings):
        n = 2 * (round(LONGEST / GAP) + 1)
        drawn = torch.randn(n, generator=generator(seed), dtype=torch.float64)
        self._fix(draws=[round(x, 4) for x in drawn.tolist()])
        super().__init__(**settings)

    @traitlets.validate("horizon", "windows", "noise", "start", "steps")
    def _validate_range(self, proposal):
        ranges = {
            "horizon": (4, LONGEST),
            "windows": (1, 8),
            "noise": (0, 0.5),
            "start": (LOW, HIGH),
            "steps": (0, STEPS),
        }
        return within(proposal, *ranges[proposal.trait.name])

    def solution(self) -> HorizonSolution:
        """Return what the figure shows."""
        t, seen = self._readings()
        first = _starts(len(t) - 1, self.windows)
        omega = LOW + (HIGH - LOW) / CELLS * torch.arange(CELLS + 1).double()
        loss = _misfit(omega, t, seen, first)
        path = _descent(self.start, t, seen, first)
        curve = _curve(path[self.steps], t, seen, first)
        low, high = _crests(loss)
        return HorizonSolution(
            omega=omega,
            loss=loss,
            minima=int(_valleys(loss).sum()),
            basin=(float(omega[low]), float(omega[high])),
            path=torch.tensor(path, dtype=torch.float64),
            t=t,
            seen=seen,
            curve=curve,
        )

    def _readings(self) -> tuple[Tensor, Tensor]:
        n = int(self.horizon / GAP + 0.5)
        t = GAP * torch.arange(n + 1).double()
        off = torch.tensor(self.draws, dtype=torch.float64).view(-1, 2)[: n + 1]
        return t, torch.stack((t.cos(), -t.sin()), dim=1) + self.noise * off


def _starts(gaps: int, windows: int) -> Tensor:
    """Return the reading at which the window of each predicted reading starts, (gaps,)."""
    edges = [(2 * i * gaps + windows) // (2 * windows) for i in range(windows + 1)]
    lengths = [after - before for before, after in pairwise(edges)]
    return torch.tensor(edges[:-1]).repeat_interleave(torch.tensor(lengths))


def _misfit(omega: Tensor, t: Tensor, seen: Tensor, first: Tensor) -> Tensor:
    """Return the mean square misfit of each frequency, shape (*)."""
    w, s = omega[..., None], t[1:] - t[first]
    place, velocity = seen[first].T
    ahead = place * (w * s).cos() + velocity * (w * s).sin() / w
    return (ahead - seen[1:, 0]).square().mean(-1)


def _descent(start: float, t: Tensor, seen: Tensor, first: Tensor) -> list[float]:
    """Return the frequencies of all steps, held between the lowest and the highest."""
    longest = float((t[1:] - t[first]).max())
    path = [start]
    for _ in range(STEPS):
        omega = torch.tensor(path[-1], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(_misfit(omega, t, seen, first), omega)
        path.append(min(HIGH, max(LOW, path[-1] - float(slope) / longest**2)))
    return path


def _valleys(loss: Tensor) -> Tensor:
    """Return which of the inner frequencies are local minima."""
    return (loss[1:-1] < loss[:-2]) & (loss[1:-1] < loss[2:])


def _crests(loss: Tensor) -> tuple[int, int]:
    """Return where the loss stops rising on either side of its lowest place."""
    low = high = int(loss.argmin())
    while low > 0 and loss[low - 1] > loss[low]:
        low -= 1
    while high < len(loss) - 1 and loss[high + 1] > loss[high]:
        high += 1
    return low, high


def _curve(omega: float, t: Tensor, seen: Tensor, first: Tensor) -> Tensor:
    """Return the model's places along the windows, shape (m, 2), NaN between them."""
    rows: list[tuple[float, float]] = []
    for edge in sorted(set(first.tolist())):
        place, velocity = seen[edge].tolist()
        points = FINE * int((first == edge).sum())
        for i in range(points + 1):
            s = i * GAP / FINE
            y = place * cos(omega * s) + velocity * sin(omega * s) / omega
            rows.append((float(t[edge]) + s, y))
        rows.append((float("nan"), float("nan")))
    return torch.tensor(rows[:-1], dtype=torch.float64)

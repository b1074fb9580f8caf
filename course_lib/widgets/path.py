"""Live figure: a path through readings, the state that it drives, and what is read off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import traitlets
from torch import Tensor, nn

from course_lib.models import NeuralCDE
from course_lib.paths import PATHS, ControlPath, polyline
from course_lib.widgets.figure import LiveFigure
from course_lib.widgets.page.module import module
from course_lib.widgets.traits import Rows, Whole, within
from course_lib.widgets.wire import decode, encode

__all__ = ["MOST_READINGS", "DrivenPath", "PathExplorer", "PathSolution"]

STEPS = 4  # of RK4 in a piece
MOST_READINGS = 12


@dataclass(frozen=True)
class DrivenPath:
    """A path and what it drives, at STEPS places a piece and at its end.

    Attributes
    ----------
    path : Tensor, shape (n, 2), time and value
    states : Tensor, shape (n, hidden)
    probability : Tensor, shape (n,), of class 1
    """

    path: Tensor
    states: Tensor
    probability: Tensor


@dataclass(frozen=True)
class PathSolution:
    """What the figure shows.

    Attributes
    ----------
    whole : DrivenPath, through all readings
    known : DrivenPath or None, through the readings up to the moment; None before the first
    leak : float, how much the probabilities up to the last reading that is known differ
        between the two, at most
    """

    whole: DrivenPath
    known: DrivenPath | None
    leak: float


class PathExplorer(LiveFigure):
    """Readings that can be moved, the path through them, the driven state and the class.

    Parameters
    ----------
    model : NeuralCDE of one channel and one output, the logit of class 1
    readings : up to twelve (time, value), times from 0 to 1 and increasing
    interpolation : str, a name in `course_lib.paths.PATHS`
    moment : float, from 0 to 1: what is known are the readings up to here
    chosen : int, from 1: the reading that the sliders move

    Raises
    ------
    TypeError, ValueError, TraitError
        For a model or a value that does not fit; the message says what does.
    """

    _esm = module("path.mjs")
    still = (
        "A live figure: a path through readings that can be moved, the state that it drives, "
        "and the probability of a class, with all readings and with those known so far."
    )
    facts: ClassVar = {
        "interpolation": "its name",
        "readings": "how many",
        "moment": "up to where readings are known",
        "final": "probability with all readings at the end",
        "leak": "largest change of what was said before the moment, by later readings",
    }
    shape = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    weights = traitlets.Unicode(read_only=True).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    readings = Rows().tag(sync=True)
    interpolation = traitlets.Enum(list(PATHS), "natural cubic").tag(sync=True)
    moment = traitlets.CFloat(1.0).tag(sync=True)
    chosen = Whole(1).tag(sync=True)

    def __init__(
        self,
        model: NeuralCDE,
        readings: Sequence[Sequence[float]],
        *,
        label: str = "class 1",
        **settings,
    ):
        hidden, width = _shape(model)
        self._fix(
            shape=[hidden, width], weights=encode(model.parameters()), labels=[label]
        )
        super().__init__(readings=readings, **settings)

    @traitlets.validate("readings")
    def _validate_readings(self, proposal):
        rows = proposal.value
        times = [row[0] for row in rows if len(row) == 2]
        rising = all(a < b for a, b in zip([-math.inf, *times], [*times, math.inf]))
        inside = all(0 <= t <= 1 for t in times)
        fits = 2 <= len(rows) <= MOST_READINGS and len(times) == len(rows)
        if not (fits and rising and inside):
            raise traitlets.TraitError(
                f"readings must be 2 to {MOST_READINGS} pairs (time, value) whose times "
                f"increase from 0 to 1, got {rows!r}"
            )
        return rows

    @traitlets.validate("moment")
    def _validate_moment(self, proposal):
        return within(proposal, 0.0, 1.0)

    @traitlets.validate("chosen")
    def _validate_chosen(self, proposal):
        return within(proposal, 1, MOST_READINGS)

    def model(self) -> NeuralCDE:
        """Return the network as the page carries it, in float64."""
        hidden, width = self.shape
        model = NeuralCDE(1, hidden, 1, width=width, method="rk4", step_size=1 / STEPS)
        nn.utils.vector_to_parameters(decode(self.weights), model.parameters())
        return model.double()

    @torch.no_grad()
    def solution(self) -> PathSolution:
        """Return what the figure shows."""
        rows = torch.tensor([list(row) for row in self.readings], dtype=torch.float64)
        seen = rows[rows[:, 0] <= self.moment]
        model, make = self.model(), PATHS[self.interpolation]
        whole = _driven(model, make(rows[None, :, 0], rows[None, :, 1:]))
        if not len(seen):
            return PathSolution(whole, None, 0.0)
        known = _driven(model, self._known(seen))
        every = 2 if self.interpolation == "rectilinear" else 1
        n = every * STEPS * (len(seen) - 1) + 1  # up to the last reading
        leak = (whole.probability[:n] - known.probability[:n]).abs().max().item()
        return PathSolution(whole, known, leak)

    def _known(self, seen: Tensor) -> ControlPath:
        """The path through the readings so far; time alone goes on in the rectilinear one."""
        if self.interpolation == "rectilinear":
            now = seen[-1:].clone()
            now[0, 0] = self.moment
            if len(seen) == 1:
                return polyline(torch.cat((seen, now))[None])
            made = PATHS["rectilinear"](seen[None, :, 0], seen[None, :, 1:])
            corners = torch.stack([made(s) for s in made.knots], dim=1)
            return polyline(torch.cat((corners, now[None]), dim=1), every=2)
        if len(seen) == 1:  # a path that stands still
            return polyline(seen.expand(2, -1)[None])
        return PATHS[self.interpolation](seen[None, :, 0], seen[None, :, 1:])


def _driven(model: NeuralCDE, path: ControlPath) -> DrivenPath:
    n = STEPS * (len(path.knots) - 1)
    s = torch.arange(n + 1, dtype=torch.float64) / STEPS
    states = model.states(path, s)[:, 0]
    probability = model.out(states)[:, 0].sigmoid()
    return DrivenPath(torch.cat([path(x) for x in s]), states, probability)


def _shape(model: NeuralCDE) -> tuple[int, int]:
    """Return the sizes of the state and of the hidden layer, if the browser can drive it."""
    if not isinstance(model, NeuralCDE):
        raise TypeError(f"model must be a NeuralCDE, got {type(model).__name__}")
    sizes = model.start.in_features - 1, model.out.out_features
    if sizes != (1, 1):
        raise ValueError(
            "model must be a NeuralCDE of one channel and one output, got "
            f"{sizes[0]} and {sizes[1]}"
        )
    return model.start.out_features, model.matrix.width

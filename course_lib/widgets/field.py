"""Live figure: the field of a trained network, and paths along it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import traitlets

from course_lib.models import MLPDynamics
from course_lib.solvers import Solution
from course_lib.widgets.figure import PathFigure
from course_lib.widgets.page.module import module
from course_lib.widgets.traits import Point, Rows, interval, intervals, points

__all__ = ["FlowExplorer"]


class FlowExplorer(PathFigure):
    """The field of a trained network, and paths along it.

    Parameters
    ----------
    f : MLPDynamics on R¹ or R², with tanh, ELU or ReLU
        Or a dict of them, {label: network}, all of one shape: snapshots of a training.
    start : sequence of float, the start that can be dragged
    span : (t_0, t_1), the interval the network was trained on
    window : one (low, high) for each component
    method, step_size, rtol, t_end
        The solver of the first picture, and how far it goes; t_end is t_1 unless given.
    snapshot : int, which of the snapshots the first picture shows
    data : array-like, shape (n, 2), dots in the picture: (y_1, y_2), or (t, y) on R¹

    Raises
    ------
    TypeError, ValueError, TraitError
        For a network or a value that does not fit; the message says what does.
    """

    _esm = module("field.mjs")
    still = (
        "A live figure: the vector field of a trained network, and paths along it from "
        "starts of your choice."
    )
    facts: ClassVar = {
        "method": "its name",
        "t_end": "end time",
        "snapshot": "place of the network, from 0",
        "start1": "first component of the start",
        "start2": "second component of the start, if there is one",
        "h": "step size of a fixed-step method",
        "rtol": "tolerance of an adaptive method",
        "nfe": "evaluations of f",
        "steps": "steps taken",
        "end1": "first component of the end",
        "end2": "second component of the end, if there is one",
        "error": "distance from the exact end",
    }
    data = Rows(read_only=True).tag(sync=True)
    start = Point().tag(sync=True)
    span = Point(read_only=True).tag(sync=True)
    window = Rows(read_only=True).tag(sync=True)

    def __init__(
        self,
        f: MLPDynamics | Mapping[str, MLPDynamics],
        *,
        start: Sequence[float],
        window: Sequence[tuple[float, float]],
        span: tuple[float, float] = (0.0, 1.0),
        t_end: float | None = None,
        data: Sequence[Sequence[float]] = (),
        **settings,
    ):
        weights = self._fix_networks(f)
        dim = self.widths[-1]
        if dim > 2:
            raise ValueError(
                f"f must be a field on the line or in the plane, got R^{dim}"
            )
        self._fix(
            data=points("data", data, 2).tolist(),
            span=interval("span", span),
            window=intervals("window", window, dim),
        )
        super().__init__(
            weights=weights,
            start=start,
            t_end=span[1] if t_end is None else t_end,
            **settings,
        )

    @traitlets.validate("start")
    def _validate_start(self, proposal):
        if len(proposal.value) != len(self.window):
            raise traitlets.TraitError(
                f"start must have {len(self.window)} components, got {proposal.value!r}"
            )
        return proposal.value

    @traitlets.validate("t_end")
    def _validate_t_end(self, proposal):
        if not proposal.value > self.span[0]:
            raise traitlets.TraitError(
                f"t_end must be later than {self.span[0]:g}, where span begins; got "
                f"{proposal.value!r}"
            )
        return proposal.value

    def solution(self) -> Solution:
        """Return the solve from `start` to `t_end`; `ys` holds both ends."""
        y0 = torch.tensor(list(self.start), dtype=torch.float64)
        return self._solve(y0, self.span[0])

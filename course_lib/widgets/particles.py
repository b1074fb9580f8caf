"""Live figure: particles on their way from noise to data and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import traitlets
from torch import Tensor

from course_lib.data import generator
from course_lib.models import MLPDynamics
from course_lib.solvers import Solution, solve
from course_lib.widgets.figure import NetworkFigure, step_ends
from course_lib.widgets.page.module import FIXED, MAX_STEPS, module
from course_lib.widgets.traits import (
    Point,
    Positive,
    Rows,
    interval,
    intervals,
    points,
    within,
)
from course_lib.widgets.wire import decode, encode

__all__ = ["DensityFlowExplorer"]


class DensityFlowExplorer(NetworkFigure):
    """Particles that a trained field carries from noise to data and back.

    The steps are of the reader's choice.

    Parameters
    ----------
    f : MLPDynamics on R², with tanh, ELU or ReLU
        Or a dict of them, {label: network}, all of one shape.
    data : Tensor, shape (n, 2), points of the data; n particles set out
    window : one (low, high) for each component
    span : (t_0, t_1), noise and data
    source : str, 'noise' (particles set out at t_0) or 'data' (at t_1, back in time)
    method, step_size : a fixed-step method, and the length of its steps
    moment : float, the time of the first picture; where the particles arrive unless
        given
    snapshot : int, which of the networks the first picture shows
    seed : int, of the noise

    Raises
    ------
    TypeError, ValueError, TraitError
        For a network or a value that does not fit; the message says what does.
    """

    _esm = module("particles.mjs")
    still = (
        "A live figure: particles on their way from noise to data and back along the "
        "field of a trained network, in steps of your choice."
    )
    facts: ClassVar = {
        "source": "'noise' or 'data'",
        "snapshot": "place of the field, from 0",
        "method": "its name",
        "h": "step size",
        "t": "time shown",
        "nfe": "evaluations of f for each particle",
        "steps": "steps taken",
        "error": "mean distance from the exact flow",
    }
    particles = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    span = Point(read_only=True).tag(sync=True)
    window = Rows(read_only=True).tag(sync=True)
    source = traitlets.Enum(["noise", "data"], "noise").tag(sync=True)
    method = traitlets.Enum(FIXED, "euler").tag(sync=True)
    step_size = Positive(0.25).tag(sync=True)
    moment = traitlets.CFloat(1.0).tag(sync=True)

    def __init__(
        self,
        f: MLPDynamics | Mapping[str, MLPDynamics],
        *,
        data: Tensor,
        window: Sequence[tuple[float, float]],
        span: tuple[float, float] = (0.0, 1.0),
        source: str = "noise",
        moment: float | None = None,
        seed: int = 0,
        **settings,
    ):
        weights = self._fix_networks(f)
        data = points("data", data, 2).float()
        if self.widths[-1] != 2:
            raise ValueError(f"f must be a field in the plane, got R^{self.widths[-1]}")
        if not data.numel():
            raise ValueError("data must have at least one point, shape (n, 2)")
        noise = torch.randn(data.shape, generator=generator(seed))
        self._fix(
            particles=[encode([noise]), encode([data])],
            span=interval("span", span),
            window=intervals("window", window, 2),
        )
        arrival = span[1] if source == "noise" else span[0]
        moment = arrival if moment is None else moment
        super().__init__(weights=weights, source=source, moment=moment, **settings)

    @traitlets.validate("moment")
    def _validate_moment(self, proposal):
        return within(proposal, *self.span)

    @torch.no_grad()
    def solution(self) -> Solution:
        """Return the solve of all particles, a state of shape (n, 2) for every step.

        Raises
        ------
        SolverError
            If a particle's path overflows, or all of them take too many steps.
        """
        span = self.span if self.source == "noise" else self.span[::-1]
        text = self.particles[["noise", "data"].index(self.source)]
        y0 = decode(text).double().reshape(-1, 2)
        most = math.ceil(MAX_STEPS / len(y0))
        return solve(
            self.field(),
            y0,
            step_ends(span, self.step_size, most=most),
            method=self.method,
            step_size=self.step_size,
            max_steps=most,
        )

    @torch.no_grad()
    def positions(self) -> Tensor:
        """Return where the particles are at `moment`, shape (n, 2).

        The last step ends there.
        """
        path = self.solution()
        if self.moment == path.t[0]:
            return path.ys[0]
        t = [path.t[0].item(), self.moment]
        settings = dict(method=self.method, step_size=self.step_size)
        return solve(self.field(), path.ys[0], t, **settings).ys[-1]

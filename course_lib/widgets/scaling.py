"""Live figure: where the time of a shared training step goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import traitlets
from torch import Tensor

from course_lib.parallel import StepCost
from course_lib.widgets.figure import LiveFigure
from course_lib.widgets.page.module import module, style
from course_lib.widgets.traits import Positive, Whole, within

__all__ = ["ScalingExplorer", "ScalingSolution"]

MOST = 1024  # processes


@dataclass(frozen=True)
class ScalingSolution:
    """The step that the figure shows, for 1 … 1024 processes.

    Attributes
    ----------
    processes : Tensor, shape (1024,)
    rows, fixed, messages : Tensor, shape (1024,), seconds of a step for each of the three
    speed_up : Tensor, shape (1024,), rows a second over those of one process
    best : int, the number of processes with the largest speed-up, the fewest of those
    """

    processes: Tensor
    rows: Tensor
    fixed: Tensor
    messages: Tensor
    speed_up: Tensor
    best: int


class ScalingExplorer(LiveFigure):
    """The time of a training step by the number of processes that share it, and how many
    times as fast they are as one.

    Parameters
    ----------
    costs : mapping of name to StepCost, of what can be trained
        The slider begins at the bandwidth of the first; each keeps its own latency.
    network : str, one of the names; the first unless given
    share : str, 'one' (all share one batch) or 'each' (each has a batch of its own)
    batch : int, rows, a power of two up to 65,536
    processes : int, a power of two up to 1024
    bandwidth : float, bytes a second
    faster : float, how many times as fast as measured the rows are computed
    unsplit : float, how many times as long as measured the part lasts that is not split

    Raises
    ------
    TypeError, ValueError, TraitError
        For a value that does not fit; the message says what does.
    """

    _esm = module("scaling.mjs")
    _css = LiveFigure._css + style("dashed.css")
    still = (
        "A live figure: the time of a training step by the number of processes that "
        "share it, split into rows, what is not split and messages, and the speed-up."
    )
    facts: ClassVar = {
        "network": "its name",
        "share": "'one' batch for all, or one for 'each'",
        "batch": "rows",
        "processes": "how many",
        "bandwidth": "bytes a second",
        "faster": "speed of the device, times the measured",
        "unsplit": "the part that is not split, times the measured",
        "ms": "milliseconds of a step",
        "talk": "share of the messages in it",
        "speedup": "rows a second over those of one process",
        "efficiency": "speedup / processes",
        "best": "the number of processes with the largest speed-up",
        "most": "that speed-up",
    }
    names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    costs = traitlets.List(traitlets.List(traitlets.Float()), read_only=True).tag(
        sync=True
    )
    network = traitlets.Unicode().tag(sync=True)
    share = traitlets.Enum(["one", "each"], "one").tag(sync=True)
    batch = Whole(256).tag(sync=True)
    processes = Whole(4).tag(sync=True)
    bandwidth = Positive(1e9).tag(sync=True)
    faster = Positive(1.0).tag(sync=True)
    unsplit = Positive(1.0).tag(sync=True)

    def __init__(self, costs: Mapping[str, StepCost], **settings):
        if not costs:
            raise ValueError("costs must name at least one StepCost, got none")
        first = next(iter(costs.values()))
        constants = [[c.fixed, c.row, c.size, c.latency] for c in costs.values()]
        self._fix(names=list(costs), costs=constants)
        begin = dict(network=self.names[0], bandwidth=first.bandwidth)
        super().__init__(**begin | settings)

    @traitlets.validate("network")
    def _validate_network(self, proposal):
        if proposal.value not in self.names:
            raise traitlets.TraitError(
                f"network must be one of {', '.join(self.names)}, got {proposal.value!r}"
            )
        return proposal.value

    @traitlets.validate("batch", "processes")
    def _validate_power(self, proposal):
        most = 65_536 if proposal.trait.name == "batch" else MOST
        value = within(proposal, 1, most)
        if value & (value - 1):
            raise traitlets.TraitError(
                f"{proposal.trait.name} must be a power of two, got {value}"
            )
        return value

    def cost(self) -> StepCost:
        """Return the constants that the sliders make of the measured ones."""
        fixed, row, size, latency = self.costs[self.names.index(self.network)]
        measured = StepCost(fixed, row, size, latency, self.bandwidth)
        return replace(measured, fixed=fixed * self.unsplit, row=row / self.faster)

    def solution(self) -> ScalingSolution:
        """Return what the figure shows."""
        cost, counts = self.cost(), range(1, MOST + 1)
        each = self.share == "each"
        batches = [self.batch * (n if each else 1) for n in counts]
        parts = [cost.parts(rows, n) for rows, n in zip(batches, counts)]
        rows, fixed, messages = torch.tensor(parts, dtype=torch.float64).T
        processes = torch.arange(1, MOST + 1)
        time = rows + fixed + messages
        gain = (processes.double() if each else 1) * cost.seconds(self.batch) / time
        # More processes than rows are of no use: some would have none.
        useful = MOST if each else min(MOST, self.batch)
        best = int(gain[:useful].argmax()) + 1
        return ScalingSolution(processes, rows, fixed, messages, gain, best)

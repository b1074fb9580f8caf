"""What live figures share.

A figure is an `anywidget`: JupyterLab, Colab and the built book run the same
JavaScript (``page/``). Its traits are the state of its controls, both ways, and
`solution` recomputes what it shows with this package.

References
----------
anywidget: https://anywidget.dev
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import anywidget
import torch
import traitlets
from IPython.display import display
from torch import Tensor, nn

from course_lib.models import MLPDynamics
from course_lib.solvers import METHODS, Solution, solve
from course_lib.systems import SYSTEMS
from course_lib.widgets.page.html import page_of, without_javascript
from course_lib.widgets.page.module import style
from course_lib.widgets.traits import Finite, Positive, Whole, within
from course_lib.widgets.wire import ACTIVATIONS, decode, encode, shape_of

__all__ = ["LiveFigure", "NetworkFigure", "PathFigure", "start_of", "step_ends"]


class LiveFigure(anywidget.AnyWidget):
    """A figure that moves: in the built page, and in a notebook with its traits.

    Attributes
    ----------
    still : str, the sentence that stands in its place without JavaScript
    facts : dict, what the figure says of itself, by name, and what it means; goals are
        judged by it (`course_lib.checks`). What there is not at the moment meets no goal
    """

    _css = style("live.css")
    still = "A live figure."
    facts: ClassVar[dict[str, str]] = {}

    def __init__(self, **settings):
        unknown = sorted(set(settings) - set(self.traits(sync=True)))
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no setting {', '.join(unknown)}; it has "
                + ", ".join(name for name in self.traits(sync=True) if name[0] != "_")
            )
        super().__init__(**settings)

    def _fix(self, **values) -> None:
        """Set traits that are read-only from then on."""
        for name, value in values.items():
            self.set_trait(name, value)

    def to_html(self, *, address: str = "") -> str:
        """Return the figure as one HTML page that needs nothing else.

        Write it to a file: it opens from the file system, in an ``<iframe>`` and in a
        learning platform, moves without a kernel and asks nothing of the network.

        Parameters
        ----------
        address : str, the page that the figure is from, to lead back there; empty if
            none

        Examples
        --------
        >>> figure = StepSizeExplorer(step_size=0.5)  # doctest: +SKIP
        >>> Path("euler.html").write_text(figure.to_html(), encoding="utf-8")  # doctest: +SKIP
        """
        return page_of(self, address=address)

    def _ipython_display_(self) -> None:
        sentence = without_javascript(self.still)
        display({"text/html": sentence, "text/plain": ""}, raw=True)
        # Colab finds its widget manager in the metadata.
        if self._repr_mimebundle_ and (bundle := self._repr_mimebundle_()):
            data, metadata = bundle
            display(data, metadata=metadata, raw=True)
        else:
            display({"text/plain": "This live figure was closed."}, raw=True)


class NetworkFigure(LiveFigure):
    """A figure of a trained network whose weights travel in the page.

    Or of several networks of one shape, the snapshots of a training, of which it shows
    one at a time.
    """

    widths = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    activation = traitlets.Enum(list(ACTIVATIONS), read_only=True).tag(sync=True)
    time = traitlets.Bool(read_only=True).tag(sync=True)
    weights = traitlets.List(traitlets.Unicode()).tag(sync=True)
    snapshots = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    snapshot = Whole(0).tag(sync=True)

    def _fix_networks(self, f: MLPDynamics | Mapping[str, MLPDynamics]) -> list[str]:
        """Fix the shape and the labels of the networks, and return their weights."""
        networks = dict(f) if isinstance(f, Mapping) else {"": f}
        shapes = {shape_of(net) for net in networks.values()}
        if len(shapes) != 1:
            raise ValueError(
                "the networks of f must have the same widths, the same function between "
                f"their layers, and all or none take t; got {len(shapes)} kinds"
            )
        widths, activation, time = shapes.pop()
        self._fix(
            widths=list(widths),
            activation=activation,
            time=time,
            snapshots=[str(label) for label in networks],
        )
        return [encode(net.parameters()) for net in networks.values()]

    @traitlets.validate("weights")
    def _validate_weights(self, proposal):
        expected = sum(o * (i + 1) for i, o in pairwise(self.widths))
        try:
            sizes = [len(decode(text)) for text in proposal.value]
        except ValueError as error:
            raise traitlets.TraitError(
                f"weights must be base64 of float32 numbers: {error}"
            ) from None
        if sizes != [expected] * len(self.snapshots):
            raise traitlets.TraitError(
                f"weights must hold {len(self.snapshots)} text(s), each base64 of "
                f"{expected} float32 numbers for a network of widths "
                f"{list(self.widths)}; got {len(sizes)} of {', '.join(map(str, sizes))}"
            )
        return proposal.value

    @traitlets.validate("snapshot")
    def _validate_snapshot(self, proposal):
        return within(proposal, 0, len(self.snapshots) - 1)

    def field(self) -> MLPDynamics:
        """Return the network that the figure shows, as the page carries it, in float64."""
        f = MLPDynamics(
            self.widths[-1],
            self.widths[1:-1],
            time=self.time,
            activation=ACTIVATIONS[self.activation],
        )
        numbers = decode(self.weights[self.snapshot])
        nn.utils.vector_to_parameters(numbers, f.parameters())
        return f.double()


class PathFigure(NetworkFigure):
    """A figure whose reader chooses any solver, and how far it goes."""

    method = traitlets.Enum(list(METHODS), "dopri5").tag(sync=True)
    step_size = Positive(0.25).tag(sync=True)
    rtol = Positive(1e-3).tag(sync=True)
    t_end = Finite(1.0).tag(sync=True)

    @torch.no_grad()
    def _solve(self, y0: Tensor, t0: float) -> Solution:
        """Solve from y0 at t0 to `t_end`, in the steps of the figure."""
        if METHODS[self.method].adaptive:
            settings = dict(rtol=self.rtol, atol=self.rtol)
        else:
            settings = dict(step_size=self.step_size)
        return solve(self.field(), y0, [t0, self.t_end], method=self.method, **settings)


def start_of(problem: str) -> Tensor:
    """Return the start of a system of `course_lib.systems`, shape (dim,), in float64."""
    return torch.tensor(SYSTEMS[problem].y0, dtype=torch.float64)


def step_ends(span: Sequence[float], step_size: float, *, most: int) -> list[float]:
    """Return the ends of all steps over a span, of which the last may be shorter.

    Where there are more than `most`, only both ends of the span: `solve` then says what
    is wrong.
    """
    start, end = span
    needed = abs(end - start) / step_size  # may overflow to infinity
    n = max(1, math.ceil(needed - 1e-6)) if needed <= most else 1
    h = math.copysign(step_size, end - start)
    return [start + i * h for i in range(n)] + [end]

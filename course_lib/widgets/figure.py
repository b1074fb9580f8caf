"""Live figures: each solves and draws in the browser, and answers in Python with the
same numbers.

A figure is an `anywidget`: JupyterLab, Colab and the built book run the same
JavaScript (``page/``). Its traits are the state of its controls, both ways, and
`solution` recomputes what it shows with this package.

References
----------
anywidget: https://anywidget.dev
"""

from __future__ import annotations

import base64
import binascii
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import anywidget
import torch
import traitlets
from IPython.display import display
from PIL import Image
from torch import Tensor, nn

from course_lib.data import generator
from course_lib.latent import LatentODE
from course_lib.models import (
    ConvDynamics,
    DigitClassifier,
    MLPDynamics,
    NeuralODE,
)
from course_lib.solvers import (
    METHODS,
    AdjointDynamics,
    Settings,
    Solution,
    adaptive_steps,
    odeint,
    solve,
)
from course_lib.systems import SYSTEMS
from course_lib.widgets.page.module import (
    ADAPTIVE,
    FIXED,
    MAX_STEPS,
    PAGE,
    PROBLEMS,
    module,
)

# --- what all figures share -----------------------------------------------------------


class Finite(traitlets.CFloat):
    """A finite number."""

    info_text = "a finite number"

    def allows(self, value: float) -> bool:
        return math.isfinite(value)

    def validate(self, obj, value):
        value = super().validate(obj, value)
        if not self.allows(value):
            raise traitlets.TraitError(
                f"{self.name} must be {self.info_text}, got {value!r}"
            )
        return value


class Positive(Finite):
    """A positive, finite number."""

    info_text = "a positive, finite number"

    def allows(self, value: float) -> bool:
        return value > 0.0 and super().allows(value)


class Whole(traitlets.CInt):
    """A whole number; a page may send it as text."""

    info_text = "a whole number"

    def validate(self, obj, value):
        if isinstance(value, float) and not value.is_integer():
            self.error(obj, value)
        return super().validate(obj, value)


class Point(traitlets.List):
    """A list of finite numbers."""

    info_text = "a list of finite numbers"

    def __init__(self, *args, **settings):
        super().__init__(traitlets.CFloat(), *args, **settings)

    def validate(self, obj, value):
        if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
            value = list(value)
        value = super().validate(obj, value)
        if not all(math.isfinite(x) for x in value):
            raise traitlets.TraitError(
                f"{self.name} must hold finite numbers, got {value!r}"
            )
        return value


class LiveFigure(anywidget.AnyWidget):
    """A figure that moves: in the built page by itself, in a notebook with its traits
    in Python.
    """

    _css = (PAGE / "live.css").read_text(encoding="utf-8")
    still = "A live figure."  # what stands in its place without JavaScript

    def _ipython_display_(self):
        sentence = html.escape(f"{self.still} It moves where JavaScript is on.")
        display(
            {"text/html": f"<noscript><p>{sentence}</p></noscript>", "text/plain": ""},
            raw=True,
        )
        # Colab finds its widget manager in the metadata.
        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)


def _start(problem: str) -> Tensor:
    return torch.tensor(SYSTEMS[problem].y0, dtype=torch.float64)


def _grid(start: float, end: float, step_size: float, most: int) -> list[float]:
    """The ends of all steps; where they are more than `most`, both ends of the span
    alone, and `solve` says what is wrong.
    """
    n = max(1, math.ceil(abs(end - start) / step_size - 1e-6))
    h = math.copysign(step_size, end - start)
    return [start + i * h for i in range(n if n <= most else 1)] + [end]


def _interval(name: str, pair: Sequence[float]) -> list[float]:
    """(low, high) as two numbers."""
    try:
        low, high = (float(x) for x in pair)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(
            f"{name} must be two finite numbers, the lower one first; got {pair!r}"
        )
    return [low, high]


def _window(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """One (low, high) for each component."""
    return [_interval("each row of window", row) for row in rows]


def _points(name: str, points: Tensor | Sequence, dim: int = 2) -> Tensor:
    """Finite points, one a row; there may be none."""
    points = torch.as_tensor(points, dtype=torch.float64).cpu()
    if not points.numel():
        return points.new_zeros(0, dim)
    if points.shape[1:] != (dim,) or not points.isfinite().all():
        raise ValueError(
            f"{name} must hold finite numbers, shape (n, {dim}); got shape "
            f"{tuple(points.shape)}, {(~points.isfinite()).sum()} numbers not finite"
        )
    return points


class StepSizeExplorer(LiveFigure):
    """A fixed step size, the path it leads to, and the exact one.

    Parameters
    ----------
    problem : str, a name in `course_lib.systems.SYSTEMS`
    method : str, 'euler', 'midpoint', 'heun' or 'rk4'
    step_size : float, positive

    Raises
    ------
    TraitError
        For a value that is not allowed; the message says what is.
    """

    _esm = module("step_size.mjs")
    still = (
        "A live figure: the path of a Runge–Kutta method beside the exact one, for a "
        "problem, a method and a step size of your choice."
    )
    problem = traitlets.Enum(PROBLEMS, "spiral").tag(sync=True)
    method = traitlets.Enum(FIXED, "euler").tag(sync=True)
    step_size = Positive(0.1).tag(sync=True)

    def solution(self) -> Solution:
        """The solve that the figure shows, a state for every step.

        Raises
        ------
        SolverError
            If the path overflows or takes too many steps.
        """
        return solve(
            SYSTEMS[self.problem].f,
            _start(self.problem),
            _grid(*SYSTEMS[self.problem].span, self.step_size, MAX_STEPS),
            method=self.method,
            step_size=self.step_size,
            max_steps=MAX_STEPS,
        )


class ToleranceExplorer(LiveFigure):
    """A tolerance, the steps it leads to, and the error that comes of it.

    Parameters
    ----------
    problem : str, a name in `course_lib.systems.SYSTEMS`
    method : str, 'bosh3', 'dopri5' or 'tsit5'
    rtol : float, positive; atol is the same

    Raises
    ------
    TraitError
        For a value that is not allowed; the message says what is.
    """

    _esm = module("tolerance.mjs")
    still = (
        "A live figure: accepted and rejected steps, their sizes, and the error of an "
        "adaptive solve, for a problem, a method and a tolerance of your choice."
    )
    problem = traitlets.Enum(PROBLEMS, "vanderpol").tag(sync=True)
    method = traitlets.Enum(ADAPTIVE, "dopri5").tag(sync=True)
    rtol = Positive(1e-3).tag(sync=True)

    def solution(self) -> Solution:
        """The adaptive solve that the figure shows; `ys` holds both ends."""
        return solve(
            SYSTEMS[self.problem].f,
            _start(self.problem),
            SYSTEMS[self.problem].span,
            method=self.method,
            rtol=self.rtol,
            atol=self.rtol,
        )


class NetworkFigure(LiveFigure):
    """What figures of trained networks share: one network or several of one shape,
    whose weights travel in the page.
    """

    widths = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    activation = traitlets.Enum(["tanh", "elu", "relu"], read_only=True).tag(sync=True)
    time = traitlets.Bool(read_only=True).tag(sync=True)
    weights = traitlets.List(traitlets.Unicode()).tag(sync=True)
    stages = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    stage = Whole(0).tag(sync=True)

    def _take(self, f: MLPDynamics | Mapping[str, MLPDynamics]) -> list[str]:
        """Note the shape and the labels of the networks; their weights as texts."""
        stages = dict(f) if isinstance(f, Mapping) else {"": f}
        shapes = [_shape(net) for net in stages.values()]
        if len(set(shapes)) != 1:
            raise ValueError(
                "the networks of f must have the same widths, the same function between "
                f"their layers, and all or none take t; got {len(set(shapes))} kinds"
            )
        widths, activation, time = shapes[0]
        self.set_trait("widths", list(widths))
        self.set_trait("activation", activation)
        self.set_trait("time", time)
        self.set_trait("stages", [str(label) for label in stages])
        return [_encode(net) for net in stages.values()]

    @traitlets.validate("weights")
    def _whole(self, proposal):
        expected = sum(o * (i + 1) for i, o in pairwise(self.widths))
        try:
            texts = [base64.b64decode(text, validate=True) for text in proposal.value]
        except binascii.Error as error:
            raise traitlets.TraitError(f"weights must be base64: {error}") from None
        sizes = [len(text) / 4 for text in texts]
        if sizes != [expected] * len(self.stages):
            raise traitlets.TraitError(
                f"weights must hold {len(self.stages)} text(s), each base64 of {expected} "
                f"float32 numbers for a network of widths {list(self.widths)}; got "
                f"{len(sizes)} of {', '.join(f'{n:g}' for n in sizes)}"
            )
        return proposal.value

    @traitlets.validate("stage")
    def _existing(self, proposal):
        if not 0 <= proposal.value < len(self.stages):
            raise traitlets.TraitError(
                f"stage must be from 0 to {len(self.stages) - 1}, got {proposal.value}"
            )
        return proposal.value

    def field(self) -> MLPDynamics:
        """The network that the figure shows, as the page carries it, in float64."""
        activation = {"tanh": nn.Tanh, "elu": nn.ELU, "relu": nn.ReLU}[self.activation]
        dim, hidden = self.widths[-1], self.widths[1:-1]
        f = MLPDynamics(dim, hidden, time=self.time, activation=activation)
        nn.utils.vector_to_parameters(_floats(self.weights[self.stage]), f.parameters())
        return f.double()


class PathFigure(NetworkFigure):
    """What figures share whose reader chooses any solver, and how far it goes."""

    method = traitlets.Enum(list(METHODS), "dopri5").tag(sync=True)
    step_size = Positive(0.25).tag(sync=True)
    rtol = Positive(1e-3).tag(sync=True)
    t_end = Finite(1.0).tag(sync=True)

    @torch.no_grad()
    def _path(self, y0: Tensor, t0: float) -> Solution:
        """The solve from y0 at t0 to `t_end`, in the steps of the figure."""
        if METHODS[self.method].adaptive:
            settings = dict(rtol=self.rtol, atol=self.rtol)
        else:
            settings = dict(step_size=self.step_size)
        return solve(self.field(), y0, [t0, self.t_end], method=self.method, **settings)


class FlowExplorer(PathFigure):
    """The field of a trained network, whose weights travel in the page, and paths along
    it.

    Parameters
    ----------
    f : MLPDynamics on R¹ or R², with tanh, ELU or ReLU
        Or a dict of them, {label: network}, all of one shape: the stages of a training.
    start : sequence of float, the start that can be dragged
    span : (t_0, t_1), the interval the network was trained on
    window : one (low, high) for each component
    method, step_size, rtol, t_end
        The solver of the first picture, and how far it goes; t_end is t_1 unless given.
    stage : int, which of the stages the first picture shows
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
    data = traitlets.List(read_only=True).tag(sync=True)
    start = Point().tag(sync=True)
    span = Point(read_only=True).tag(sync=True)
    window = traitlets.List(read_only=True).tag(sync=True)

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
        weights = self._take(f)
        widths = self.widths
        if len(window) != widths[-1] or widths[-1] > 2:
            raise ValueError(
                f"window needs one (low, high) for each of the {widths[-1]} components "
                f"of y, of which there may be one or two; got {window!r}"
            )
        self.set_trait("data", _points("data", data).tolist())
        self.set_trait("span", _interval("span", span))
        self.set_trait("window", _window(window))
        super().__init__(
            weights=weights,
            start=start,
            t_end=span[1] if t_end is None else t_end,
            **settings,
        )

    @traitlets.validate("start")
    def _inside(self, proposal):
        if len(proposal.value) != len(self.window):
            raise traitlets.TraitError(
                f"start must have {len(self.window)} components, got {proposal.value!r}"
            )
        return proposal.value

    @traitlets.validate("t_end")
    def _ahead(self, proposal):
        if not proposal.value > self.span[0]:
            raise traitlets.TraitError(
                f"t_end must be later than {self.span[0]:g}, where span begins; got "
                f"{proposal.value!r}"
            )
        return proposal.value

    def solution(self) -> Solution:
        """The solve from `start` to `t_end` that the figure shows; `ys` holds both
        ends.
        """
        y0 = torch.tensor(list(self.start), dtype=torch.float64)
        return self._path(y0, self.span[0])


@dataclass(frozen=True)
class LatentSolution:
    """What a LatentExplorer shows.

    Attributes
    ----------
    code : Tensor, shape (d,), the point of the latent space
    solve : Solution, `ys` holds the latent state at both ends, shape (2, d)
    ends : Tensor, shape (2, 2), both ends of the decoded curve
    """

    code: Tensor
    solve: Solution
    ends: Tensor


class LatentExplorer(PathFigure):
    """A walk between two codes of a latent ODE, and the curve that each point of it
    decodes to.

    Parameters
    ----------
    model : LatentODE of observations in the plane; its field and its decoder travel in
        the page
    start, end : Tensor, shape (d,), the codes that the walk joins
    t_end : float, the end of the first picture's curves; the figure goes to twice that
    codes : Tensor, shape (n, d), of other series, drawn as dots
    coordinates : two ints, which coordinates can be dragged; those in which start and
        end differ most unless given
    share : float from 0 to 1, of the way from start to end
    shift : two floats, added to those coordinates
    method, step_size, rtol : the solver of the first picture

    Raises
    ------
    TypeError, ValueError, TraitError
        For a model or a value that does not fit; the message says what does.
    """

    _esm = module("latent.mjs")
    still = (
        "A live figure: the curve that a trained latent ODE decodes from a point of its "
        "latent space, on the way from a clockwise to a counter-clockwise series."
    )
    readout = traitlets.Unicode(read_only=True).tag(sync=True)
    readout_widths = traitlets.List(read_only=True).tag(sync=True)
    start = Point(read_only=True).tag(sync=True)
    end = Point(read_only=True).tag(sync=True)
    codes = traitlets.List(read_only=True).tag(sync=True)
    coordinates = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    t_end = Positive(1.0).tag(sync=True)
    longest = Positive(read_only=True).tag(sync=True)
    window = traitlets.List(read_only=True).tag(sync=True)
    plane = traitlets.List(read_only=True).tag(sync=True)
    share = traitlets.CFloat(0.0).tag(sync=True)
    shift = Point([0.0, 0.0], minlen=2, maxlen=2).tag(sync=True)

    @torch.no_grad()
    def __init__(
        self,
        model: LatentODE,
        *,
        start: Tensor,
        end: Tensor,
        t_end: float,
        codes: Tensor | None = None,
        coordinates: Sequence[int] | None = None,
        **settings,
    ):
        readout = _check_latent(model)
        start, end = (torch.as_tensor(z).detach().cpu().float() for z in (start, end))
        weights, dim = self._take(model.f), model.f.net[-1].out_features
        if start.shape != (dim,) or end.shape != (dim,):
            raise ValueError(
                f"start and end must have shape ({dim},), as the latent states of model; "
                f"got {tuple(start.shape)} and {tuple(end.shape)}"
            )
        if coordinates is None:
            coordinates = (end - start).abs().topk(2).indices.sort().values.tolist()
        pair = list(coordinates)
        if len(set(pair)) != 2 or not all(0 <= c < dim for c in pair):
            raise ValueError(
                f"coordinates must be two different numbers from 0 to {dim - 1}, got "
                f"{coordinates!r}"
            )
        others = _points("codes", () if codes is None else codes.detach(), dim).float()
        walk = torch.lerp(start, end, torch.linspace(0, 1, 10)[:, None])
        device = next(model.parameters()).device
        paths = model.flow(walk.to(device), torch.linspace(0, t_end, 50, device=device))
        curves = model.decoder(paths).cpu().flatten(0, 1)
        seen = torch.cat((paths.cpu().flatten(0, 1), others))[:, pair]
        self.set_trait("readout", _text(model.decoder.parameters()))
        self.set_trait("readout_widths", readout)
        self.set_trait("start", start.tolist())
        self.set_trait("end", end.tolist())
        self.set_trait("codes", _rounded(others[:, pair]))
        self.set_trait("coordinates", pair)
        self.set_trait("longest", 2 * t_end)
        self.set_trait("window", _around(curves, air=0.2))
        self.set_trait("plane", _around(seen, air=0.2))
        super().__init__(weights=weights, t_end=t_end, **settings)

    @traitlets.validate("share")
    def _on_the_way(self, proposal):
        if not 0 <= proposal.value <= 1:
            raise traitlets.TraitError(
                f"share must be from 0 to 1, got {proposal.value!r}"
            )
        return proposal.value

    @torch.no_grad()
    def solution(self) -> LatentSolution:
        """What the figure shows, with the weights that the page carries.

        Raises
        ------
        SolverError
            If the solve cannot go on.
        """
        start, end, shift = (
            torch.tensor(list(x), dtype=torch.float64)
            for x in (self.start, self.end, self.shift)
        )
        code = start + self.share * (end - start)
        code[self.coordinates] += shift
        path = self._path(code, 0.0)
        inputs, width, outputs = self.readout_widths
        look = nn.Sequential(
            nn.Linear(inputs, width), nn.ELU(), nn.Linear(width, outputs)
        )
        nn.utils.vector_to_parameters(_floats(self.readout), look.parameters())
        return LatentSolution(code, path, look.double()(path.ys))


def _check_latent(model) -> list[int]:
    """The widths of the decoder of a model that the browser can evaluate."""
    if not isinstance(model, LatentODE):
        raise TypeError(
            f"model must be a course_lib.latent.LatentODE, got {type(model).__name__}"
        )
    first, _, last = model.decoder
    if last.out_features != 2:
        raise ValueError(
            f"model must observe the plane: 2 numbers, got {last.out_features}"
        )
    return [first.in_features, first.out_features, last.out_features]


def _around(points: Tensor, *, air: float) -> list[list[float]]:
    """One (low, high) for each coordinate that leaves some air around all points."""
    low, high = points.min(dim=0).values, points.max(dim=0).values
    air = air * (high - low)
    return _rounded(torch.stack((low - air, high + air), dim=1))


def _rounded(x: Tensor) -> list:
    """A matrix as lists of numbers, to three decimals."""
    return [[round(v, 3) for v in row] for row in x.tolist()]


class DensityFlowExplorer(NetworkFigure):
    """Particles that a trained field carries from noise to data and back, in steps of
    your choice.

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
    stage : int, which of the networks the first picture shows
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
    particles = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    span = Point(read_only=True).tag(sync=True)
    window = traitlets.List(read_only=True).tag(sync=True)
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
        weights = self._take(f)
        data = _points("data", data).float()
        if self.widths[-1] != 2:
            raise ValueError(f"f must be a field in the plane, got R^{self.widths[-1]}")
        if not data.numel():
            raise ValueError("data must have at least one point, shape (n, 2)")
        if len(window) != 2:
            raise ValueError(f"window needs two pairs (low, high), got {window!r}")
        noise = torch.randn(data.shape, generator=generator(seed))
        self.set_trait("particles", [_text([noise]), _text([data])])
        self.set_trait("span", _interval("span", span))
        self.set_trait("window", _window(window))
        arrival = span[1] if source == "noise" else span[0]
        moment = arrival if moment is None else moment
        super().__init__(weights=weights, source=source, moment=moment, **settings)

    @traitlets.validate("moment")
    def _within(self, proposal):
        if not self.span[0] <= proposal.value <= self.span[1]:
            raise traitlets.TraitError(
                f"moment must be from {self.span[0]:g} to {self.span[1]:g}, got "
                f"{proposal.value!r}"
            )
        return proposal.value

    @torch.no_grad()
    def solution(self) -> Solution:
        """The solve of all particles that the figure shows, a state of shape (n, 2) for
        every step.

        Raises
        ------
        SolverError
            If a particle's path overflows, or all of them take too many steps.
        """
        span = self.span if self.source == "noise" else self.span[::-1]
        text = self.particles[["noise", "data"].index(self.source)]
        y0 = _floats(text).double().reshape(-1, 2)
        most = math.ceil(MAX_STEPS / len(y0))
        return solve(
            self.field(),
            y0,
            _grid(*span, self.step_size, most),
            method=self.method,
            step_size=self.step_size,
            max_steps=most,
        )

    @torch.no_grad()
    def positions(self) -> Tensor:
        """Where the particles are at `moment`, shape (n, 2); the last step ends there."""
        path = self.solution()
        if self.moment == path.t[0]:
            return path.ys[0]
        t = [path.t[0].item(), self.moment]
        settings = dict(method=self.method, step_size=self.step_size)
        return solve(self.field(), path.ys[0], t, **settings).ys[-1]


def _shape(f: MLPDynamics) -> tuple[tuple[int, ...], str, bool]:
    """Widths, activation and whether t is an input, of a network the browser can
    evaluate.
    """
    names = {nn.Tanh: "tanh", nn.ELU: "elu", nn.ReLU: "relu"}
    if not isinstance(f, MLPDynamics):
        raise TypeError(
            f"f must be a course_lib.models.MLPDynamics, got {type(f).__name__}"
        )
    layers = [part for part in f.net if isinstance(part, nn.Linear)]
    between = {type(part) for part in f.net if not isinstance(part, nn.Linear)}
    if len(between) != 1 or not between <= set(names):
        raise ValueError(
            "between its layers f must have nn.Tanh, nn.ELU or nn.ReLU, got "
            + ", ".join(sorted(kind.__name__ for kind in between))
        )
    widths = (layers[0].in_features, *(layer.out_features for layer in layers))
    return widths, names[between.pop()], f.time


def _encode(f: MLPDynamics) -> str:
    """W and b of every layer."""
    return _text(f.parameters())


def _text(tensors: Iterable[Tensor]) -> str:
    """Numbers as base64 of float32: text survives where buffers do not."""
    flat = [x.detach().cpu().float().flatten() for x in tensors]
    return base64.b64encode(torch.cat(flat).numpy().tobytes()).decode()


def _floats(text: str) -> Tensor:
    """What `_text` wrote, flat."""
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32)


@dataclass(frozen=True)
class AdjointSolution:
    """What an AdjointExplorer shows.

    Attributes
    ----------
    forward : Solution, `ys` holds both ends
    gradient : Tensor, shape (2,), ∂L/∂y0 by the adjoint
    exact : Tensor, shape (2,), the same at tolerance 1e-11, by backpropagation
    reconstructed : Tensor, shape (2,), the start as the way back finds it
    nfe_back : int, evaluations of f on the way back
    """

    forward: Solution
    gradient: Tensor
    exact: Tensor
    reconstructed: Tensor
    nfe_back: int


class AdjointExplorer(LiveFigure):
    """The adjoint of ``L = |y(T) - target|²`` on its way back, and what is lost there.

    Parameters
    ----------
    problem : str, a name in `course_lib.systems.SYSTEMS`, in the plane
    target : two floats
    rtol : float, positive; atol is the same, forward and back

    Raises
    ------
    TraitError
        For a value that is not allowed; the message says what is.
    """

    _esm = module("adjoint.mjs")
    still = (
        "A live figure: a path forward, the adjoint on its way back, and the errors of "
        "the reconstructed state and of the gradient, for a tolerance of your choice."
    )
    problem = traitlets.Enum(
        [n for n, system in SYSTEMS.items() if len(system.y0) == 2], "ring"
    ).tag(sync=True)
    target = Point([1.0, 1.0], minlen=2, maxlen=2).tag(sync=True)
    rtol = Positive(1e-4).tag(sync=True)

    def solution(self) -> AdjointSolution:
        """What the figure shows, by the course's adjoint.

        Raises
        ------
        SolverError
            If the way back cannot go on.
        """
        system, y0 = SYSTEMS[self.problem], _start(self.problem)
        target = torch.tensor(list(self.target), dtype=torch.float64)
        tolerance = dict(rtol=self.rtol, atol=self.rtol)
        forward = solve(system.f, y0, system.span, **tolerance)
        end = forward.ys[-1]
        flow = AdjointDynamics(system.f, end, (), METHODS["dopri5"].stages)
        z = torch.stack((end, 2 * (end - target)))
        control = Settings(**tolerance, max_steps=MAX_STEPS, parts=2)
        *_, last = adaptive_steps(flow, system.span[1], z, system.span[0], control)
        fine = odeint(
            system.f, y0.requires_grad_(), system.span, rtol=1e-11, atol=1e-13
        )
        (exact,) = torch.autograd.grad((fine[-1] - target).square().sum(), y0)
        return AdjointSolution(
            forward, last.y_next[1], exact, last.y_next[0], flow.f.nfe
        )


@dataclass(frozen=True)
class DigitSolution:
    """What a DigitDepthExplorer shows.

    Attributes
    ----------
    solve : Solution, `ys` holds both ends of the ODE block, shape (2, 1, 64, 6, 6)
    probabilities : Tensor, shape (10,)
    answer : int, the most probable class
    """

    solve: Solution
    probabilities: Tensor
    answer: int


class DigitDepthExplorer(LiveFigure):
    """A digit, a tolerance, and how often the solver calls f to classify it.

    The page carries the ODE block and the head in 16 bits a number, and what the stem
    makes of each digit in 8.

    Parameters
    ----------
    model : DigitClassifier with an ODE block of `ConvDynamics` on 64 × 6 × 6 numbers
    images : Tensor, shape (n, 1, 28, 28)
    labels : Tensor, shape (n,)
    indices : sequence of int, which of them to offer
    digit : int, the one of the first picture: its place in `indices`
    rtol : float, positive; atol is the same

    Raises
    ------
    TypeError, ValueError, TraitError
        For a network or a value that does not fit; the message says what does.
    """

    _esm = module("digit.mjs")
    still = (
        "A live figure: the steps of the solver and the class probabilities of an "
        "ODE-Net, for a digit and a tolerance of your choice."
    )
    weights = traitlets.List(read_only=True).tag(sync=True)
    features = traitlets.List(read_only=True).tag(sync=True)
    pictures = traitlets.List(read_only=True).tag(sync=True)
    labels = traitlets.List(read_only=True).tag(sync=True)
    names = traitlets.List(read_only=True).tag(sync=True)
    digit = Whole(0).tag(sync=True)
    rtol = Positive(1e-3).tag(sync=True)

    @torch.no_grad()
    def __init__(
        self,
        model: DigitClassifier,
        images: Tensor,
        labels: Tensor,
        indices: Sequence[int],
        **settings,
    ):
        _check_classifier(model)
        indices = list(indices)
        if not indices:
            raise ValueError("indices must name at least one image, got none")
        chosen = images[indices].cpu()
        device = next(model.parameters()).device
        states = model.stem(chosen.to(device))
        likely = model.head(model.body(states)).softmax(1).cpu()
        parameters = [*model.body.f.parameters(), *model.head.parameters()]
        flat = torch.cat([p.flatten() for p in parameters])
        self.set_trait("weights", _whole_numbers(flat, torch.int16))
        self.set_trait("features", [_whole_numbers(y, torch.int8) for y in states])
        self.set_trait("pictures", [_png(image[0]) for image in chosen])
        self.set_trait("labels", labels[indices].tolist())
        rows = zip(indices, self.labels, likely.tolist())
        self.set_trait("names", [_name(*row) for row in rows])
        super().__init__(**settings)

    @traitlets.validate("digit")
    def _offered(self, proposal):
        if not 0 <= proposal.value < len(self.labels):
            raise traitlets.TraitError(
                f"digit must lie between 0 and {len(self.labels) - 1}, got {proposal.value}"
            )
        return proposal.value

    def network(self) -> DigitClassifier:
        """The ODE block and the head that the page carries, in float64; its stem is not
        the trained one.
        """
        model = DigitClassifier(NeuralODE(ConvDynamics())).double()
        parameters = [*model.body.f.parameters(), *model.head.parameters()]
        nn.utils.vector_to_parameters(_numbers(self.weights, torch.int16), parameters)
        return model

    @torch.no_grad()
    def solution(self) -> DigitSolution:
        """What the figure shows, from the same rounded numbers.

        Raises
        ------
        SolverError
            If the solve cannot go on.
        """
        model = self.network()
        y0 = _numbers(self.features[self.digit], torch.int8).view(1, 64, 6, 6)
        made = solve(model.body.f, y0, [0.0, 1.0], rtol=self.rtol, atol=self.rtol)
        likely = model.head(made.ys[-1]).softmax(1)[0]
        return DigitSolution(made, likely, likely.argmax().item())


def _check_classifier(model) -> None:
    if not isinstance(model, DigitClassifier):
        raise TypeError(
            f"model must be a course_lib.models.DigitClassifier, got {type(model).__name__}"
        )
    f = getattr(model.body, "f", None)
    if not isinstance(f, ConvDynamics):
        raise TypeError(
            "the body of model must be a NeuralODE of ConvDynamics, got "
            f"{type(model.body).__name__}"
        )
    shape = (f.conv1.out_channels, f.norm1.num_groups)
    if shape != (64, 32):
        raise ValueError(
            f"model must have 64 channels in 32 groups, got {shape[0]} in {shape[1]}"
        )


def _whole_numbers(x: Tensor, kind: torch.dtype) -> list:
    """x in whole numbers, as base64, and the unit they count: [text, unit]."""
    x = x.detach().cpu().double().flatten()
    unit = x.abs().max().item() / torch.iinfo(kind).max
    counts = (x / unit).round().to(kind)
    return [base64.b64encode(counts.numpy().tobytes()).decode(), unit]


def _numbers(coded: Sequence, kind: torch.dtype) -> Tensor:
    """What `_whole_numbers` wrote, in float64."""
    text, unit = coded
    counts = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=kind)
    return counts.double() * unit


def _png(image: Tensor) -> str:
    """An image, shape (28, 28), ink being 1, as the address of a picture."""
    pixels = (255 * (1 - image)).round().to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _name(index: int, label: int, likely: list[float]) -> str:
    """What the picker calls a digit: hard is one the model gives less than 90 %."""
    answer = likely.index(max(likely))
    if answer != label:
        return f"{label}, read as {answer} (no. {index})"
    return f"{label}{', hard' if likely[label] < 0.9 else ''} (no. {index})"

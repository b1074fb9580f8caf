"""Live figure: networks and flows that are trained in the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import traitlets
from torch import Tensor, nn

from course_lib.data import (
    concentric_circles,
    cubic,
    generator,
    linear_spiral,
    two_moons,
)
from course_lib.models import AugmentedODE, NeuralODE
from course_lib.solvers import METHODS, Solution, solve
from course_lib.training import History
from course_lib.widgets.figure import LiveFigure
from course_lib.widgets.learner import (
    GRADIENTS,
    Recipe,
    batch_of,
    first_weights,
    loss_of,
    model_of,
)
from course_lib.widgets.page.module import module, style
from course_lib.widgets.traits import Positive, Rows, Whole, within
from course_lib.widgets.wire import decode, encode

__all__ = ["CONTROLS", "KINDS", "OWN", "TrainExplorer"]

# What a menu offers: its label, the model, its zeros, whether layers share weights.
KINDS: dict[str, tuple[str, str, int, bool]] = {
    "mlp": ("plain network", "mlp", 0, True),
    "resnet": ("ResNet, shared weights", "resnet", 0, True),
    "resnet, own": ("ResNet, own weights", "resnet", 0, False),
    "ode": ("neural ODE", "ode", 0, True),
    "ode + 1": ("ODE and 1 zero", "ode", 1, True),
    "ode + 2": ("ODE and 2 zeros", "ode", 2, True),
    "ode + 3": ("ODE and 3 zeros", "ode", 3, True),
}
OWN = {"own points": "your own points", "own path": "your own path"}
NONE = "none"
CONTROLS = [
    *("data", "first", "second", "third", "width", "hidden", "layers", "time"),
    *("method", "step_size", "rtol", "gradient", "optimizer", "lr", "batch", "seed"),
    "moment",
]
STEP = 0.2  # of time, from one point of a path to the next
PIECE = 6  # points of a piece of a path


def _set(label: str, task: str, x: Tensor, y: Tensor, *window: tuple[float, float]):
    """Return a set of points as it travels."""
    return dict(
        label=label,
        task=task,
        x=encode([x]),
        y=encode([y]),
        window=[*map(list, window)],
    )


def _sets() -> dict[str, dict]:
    """Return the sets of the figure, all of `course_lib.data` but the two spirals."""
    ring, inside = concentric_circles(400, noise=0.0)
    moons, upper = two_moons(200)
    line, curve = torch.linspace(-1, 1, 40), cubic(40)
    _, path, _, _ = linear_spiral(60, stop=12.0)
    wide = ((-3.0, 3.0), (-3.0, 3.0))
    return {
        "ring": _set("disc in ring", "classes", ring, inside, *wide),
        "moons": _set("two moons", "classes", moons, upper, (-1.7, 2.7), (-1.6, 2.1)),
        "spirals": _set("two spirals", "classes", *_arms(200), *wide),
        "negate": _set("x → −x", "values", line, -line, (-1.2, 1.2)),
        "cubic": _set("a cubic", "values", *curve, (-2.2, 2.2)),
        "spiral": _set("a spiral path", "path", 3 * path, path[:0], *wide),
    }


def _arms(n: int) -> tuple[Tensor, Tensor]:
    """Return two spirals, each the other turned by half a circle: (n, 2), (n,)."""
    g, labels = generator(0), torch.arange(n) % 2
    turn = 3 * math.pi * torch.rand(n, generator=g).sqrt()
    radius = 0.25 + 2.25 * turn / (3 * math.pi)
    angle = turn + math.pi * labels
    points = radius[:, None] * torch.stack((angle.cos(), angle.sin()), dim=1)
    return points + 0.06 * torch.randn(n, 2, generator=g), labels


class TrainExplorer(LiveFigure):
    """Models that are trained in the page, up to three side by side.

    Parameters
    ----------
    data : str, 'ring', 'moons', 'spirals', 'negate', 'cubic', 'spiral', 'own points' or
        'own path'
    points : rows (x, y, class), the reader's own points
    track : rows (x, y), the reader's own path, one point every 0.2 of time
    first, second, third : str, keys of `KINDS`, or 'none' for the last two
    width, hidden : int, width and number of the hidden layers
    time : str, 'no' or 'yes', whether t is an input of the field
    layers : int, of a ResNet
    method, step_size, rtol : the solver of the neural ODEs; atol is rtol
    gradient : str, 'direct' (through the steps), 'adjoint' or 'checkpointed'
    optimizer, lr, batch, seed : 'sgd' or 'adam' as in `torch.optim`; rows of a step; of
        the first weights and the order of the rows
    until : int, the step at which the page pauses by itself; 0 is never
    moment : float, from 0 to 1, how far along the flow the points are drawn
    controls : list of str, in `CONTROLS`, the only ones that the figure shows; all if
        empty

    Attributes
    ----------
    running : bool, whether the page trains
    weights, moments : list of str, weights and averages of Adam of each model
    steps : list of int, steps that each model has taken

    Raises
    ------
    TypeError, TraitError
        For a value that does not fit; the message says what does.
    """

    _esm = module("train.mjs")
    _css = LiveFigure._css + style("dashed.css") + style("train.css")
    still = (
        "A live figure: networks, neural ODEs and augmented ODEs that are trained here, "
        "in the page, on data of your choice or your own."
    )
    facts: ClassVar = {
        "data": "their name",
        "steps": "of the training",
        **{f"model{i}": "a key of `KINDS`, if there is one" for i in (1, 2, 3)},
        **{f"loss{i}": "of that model, once it is trained" for i in (1, 2, 3)},
        **{f"right{i}": "share of right answers, 0 to 1" for i in (1, 2, 3)},
    }
    data = traitlets.Enum(
        ["ring", "moons", "spirals", "negate", "cubic", "spiral", *OWN], "ring"
    ).tag(sync=True)
    sets = traitlets.Dict(read_only=True).tag(sync=True)
    kinds = traitlets.Dict(read_only=True).tag(sync=True)
    points = Rows().tag(sync=True)
    track = Rows().tag(sync=True)
    first = traitlets.Enum(list(KINDS), "ode + 1").tag(sync=True)
    second = traitlets.Enum([NONE, *KINDS], NONE).tag(sync=True)
    third = traitlets.Enum([NONE, *KINDS], NONE).tag(sync=True)
    width = Whole(16).tag(sync=True)
    hidden = Whole(2).tag(sync=True)
    time = traitlets.Enum(["no", "yes"], "no").tag(sync=True)
    layers = Whole(5).tag(sync=True)
    method = traitlets.Enum(list(METHODS), "rk4").tag(sync=True)
    step_size = Positive(0.2).tag(sync=True)
    rtol = Positive(1e-3).tag(sync=True)
    gradient = traitlets.Enum(list(GRADIENTS), "direct").tag(sync=True)
    optimizer = traitlets.Enum(["sgd", "adam"], "adam").tag(sync=True)
    lr = Positive(0.01).tag(sync=True)
    batch = Whole(64).tag(sync=True)
    seed = Whole(0).tag(sync=True)
    moment = traitlets.CFloat(0.0).tag(sync=True)
    until = Whole(0).tag(sync=True)
    controls = traitlets.List(traitlets.Enum(CONTROLS)).tag(sync=True)
    running = traitlets.Bool(False).tag(sync=True)
    weights = traitlets.List(traitlets.Unicode()).tag(sync=True)
    moments = traitlets.List(traitlets.Unicode()).tag(sync=True)
    steps = traitlets.List(Whole()).tag(sync=True)
    losses = traitlets.List(traitlets.Unicode()).tag(sync=True)
    label = traitlets.Enum([0, 1], 1).tag(sync=True)  # of the next own point

    def __init__(self, **settings):
        labels = {name: list(kind) for name, kind in KINDS.items()}
        self._fix(sets=_sets(), kinds=labels)
        super().__init__(**settings)

    @traitlets.validate("moment")
    def _validate_moment(self, proposal):
        return within(proposal, 0.0, 1.0)

    @traitlets.validate("width", "batch")
    def _validate_size(self, proposal):
        return within(proposal, 1, 1024)

    @traitlets.validate("hidden")
    def _validate_hidden(self, proposal):
        return within(proposal, 1, 4)

    @traitlets.validate("layers")
    def _validate_layers(self, proposal):
        return within(proposal, 1, 100)

    @traitlets.validate("seed")
    def _validate_seed(self, proposal):
        return within(proposal, 0, 2**31)

    @traitlets.validate("points", "track")
    def _validate_points(self, proposal):
        width = 3 if proposal.trait.name == "points" else 2
        if any(len(row) != width for row in proposal.value):
            raise traitlets.TraitError(
                f"{proposal.trait.name} must hold rows of {width} numbers"
            )
        if width == 3 and any(row[2] not in (0.0, 1.0) for row in proposal.value):
            raise traitlets.TraitError("each of points must be of class 0 or 1")
        return proposal.value

    # --- what is trained --------------------------------------------------------------

    @property
    def models(self) -> list[str]:
        """The models that are trained, as `KINDS` names them; for a path only one."""
        if self._task() == "path":
            return ["ode"]
        return [k for k in (self.first, self.second, self.third) if k != NONE]

    def rows(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what is learnt from, as `course_lib.widgets.learner.loss_of` takes it.

        Returns
        -------
        x : Tensor, shape (rows, dim), float64
        y : Tensor, shape (rows,): labels or numbers; for a path (k, rows, dim)
        t : Tensor, shape (k,), for a path, of whose pieces of k points each row is one
        """
        if self.data == "own points":
            own = torch.tensor([*map(list, self.points)], dtype=torch.float64)
            own = own.reshape(-1, 3)
            return own[:, :2], own[:, 2], None
        if self._task() == "path":
            return _pieces(self._track())
        made = self.sets[self.data]
        x, y = (decode(made[name]).double() for name in "xy")
        return x.reshape(len(y), -1), y, None

    def _track(self) -> Tensor:
        if self.data == "own path":
            rows = torch.tensor([*map(list, self.track)], dtype=torch.float64)
            return rows.reshape(-1, 2)
        return decode(self.sets[self.data]["x"]).double().reshape(-1, 2)

    def _task(self) -> str:
        own = dict(zip(OWN, ("classes", "path")))
        return own.get(self.data) or self.sets[self.data]["task"]

    def recipe(self, which: int = 0) -> Recipe:
        """Return what the model of a number is made of."""
        _, model, extra, shared = KINDS[self.models[which]]
        if METHODS[self.method].adaptive:
            solver: dict[str, Any] = dict(rtol=self.rtol, atol=self.rtol)
        else:
            solver = dict(step_size=self.step_size)
        return Recipe(
            model=model,
            width=self.width,
            hidden=self.hidden,
            extra=extra,
            time=self.time == "yes" and self._task() != "path",
            layers=self.layers,
            shared=shared,
            gradient=self.gradient,
            solver=dict(method=self.method, **solver),
        )

    # --- there and back ---------------------------------------------------------------

    def model(self, which: int = 0) -> nn.Module:
        """Return a model as it is now in the page, a `course_lib.models` in float64.

        A body and a linear read-out (`model_of` in `course_lib.widgets.learner`). Before
        the page has trained, its first weights.
        """
        model = model_of(self.recipe(which), self._task(), self.rows()[0].shape[1])
        first_weights(model, self.seed)
        if which < len(self.weights):
            numbers = decode(self.weights[which], torch.float64)
            if len(numbers) == sum(p.numel() for p in model.parameters()):
                nn.utils.vector_to_parameters(numbers, model.parameters())
        return model

    @torch.no_grad()
    def solution(self, which: int = 0) -> Solution:
        """Return the flow of a neural ODE that the figure shows; `ys` holds both ends.

        All points flow from t = 0 to 1; for a path its first point, to all its times.

        Raises
        ------
        ValueError
            If the model is no neural ODE.
        """
        model = self.model(which)
        flow = model if isinstance(model, NeuralODE) else next(model.children())
        if not isinstance(flow, NeuralODE):
            raise ValueError(
                f"model {which} is {self.models[which]!r}, which solves nothing; choose "
                "'ode', or one with zeros"
            )
        if not isinstance(flow, AugmentedODE):
            track = self._track()
            return solve(
                flow.f,
                track[:1],
                STEP * torch.arange(len(track)).double(),
                **flow.solver_settings,
            )
        y0 = flow.lift(self.rows()[0])
        return solve(flow.f, y0, flow.t, **flow.solver_settings)

    def descent(self, model: nn.Module, which: int = 0) -> torch.optim.Optimizer:
        """Return the optimiser of a model of `model`, in the state that the page's is in."""
        free = [p for p in model.parameters() if p.requires_grad]
        if self.optimizer == "sgd":
            return torch.optim.SGD(free, lr=self.lr)
        adam = torch.optim.Adam(free, lr=self.lr)
        if which < len(self.moments) and self.steps[which]:
            mean, square = decode(self.moments[which], torch.float64).chunk(2)
            sizes = [p.numel() for p in model.parameters()]
            parts = zip(free, mean.split(sizes), square.split(sizes))
            for p, m, v in parts:
                adam.state[p] = dict(
                    step=torch.tensor(float(self.steps[which])),
                    exp_avg=m.reshape(p.shape).clone(),
                    exp_avg_sq=v.reshape(p.shape).clone(),
                )
        return adam

    def train(self, steps: int, which: int = 0) -> nn.Module:
        """Go on with a model in Python, by the page's batches; the page shows the result.

        Returns
        -------
        Module, the model as it is then
        """
        model = self.model(which)
        descent, done = self.descent(model, which), self._done(which)
        x, y, t = self.rows()
        losses = []
        for step in range(done, done + steps):
            rows = batch_of(len(x), self.batch, self.seed, step)
            descent.zero_grad()
            loss = loss_of(
                model,
                self._task(),
                x[rows],
                y[..., rows, :] if t is not None else y[rows],
                t,
            )
            loss.backward()
            descent.step()
            losses.append(loss.item())
        self._take(model, descent, which, done + steps, losses)
        return model

    def _done(self, which: int) -> int:
        return self.steps[which] if which < len(self.steps) else 0

    def _take(self, model, descent, which: int, done: int, losses: Sequence[float]):
        """Put a model, its optimiser and its losses into the page."""
        state: Mapping[Tensor, Mapping[str, Tensor]] = descent.state
        zeros = [torch.zeros_like(p) for p in model.parameters()]
        averages = [
            state.get(p, {}).get(name, zero)
            for name in ("exp_avg", "exp_avg_sq")
            for p, zero in zip(model.parameters(), zeros)
        ]
        old = torch.tensor(self.history[self.models[which]].losses)
        new = {
            "weights": encode(model.parameters(), torch.float64),
            "moments": encode(averages, torch.float64),
            "losses": encode([torch.cat((old, torch.tensor(losses)))]),
            "steps": done,
        }
        with self.hold_sync():
            for name, value in new.items():
                held = [*getattr(self, name)] or [
                    self._begun(k)[name] for k in range(len(self.models))
                ]
                held[which] = value
                setattr(self, name, held)

    def _begun(self, which: int) -> dict[str, Any]:
        """What travels of a model that has not learnt yet."""
        model = self.model(which)
        numbers = sum(p.numel() for p in model.parameters())
        return {
            "weights": encode(model.parameters(), torch.float64),
            "moments": encode([torch.zeros(2 * numbers)], torch.float64),
            "losses": "",
            "steps": 0,
        }

    @property
    def history(self) -> dict[str, History]:
        """The losses of every step, by the name of the model."""
        found = {}
        for i, kind in enumerate(self.models):
            text = self.losses[i] if i < len(self.losses) else ""
            losses = decode(text).tolist() if text else []
            found[kind] = History(tuple(losses), (), math.nan)
        return found


def _pieces(track: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pieces of a path: their starts, all their points, and the times."""
    k = min(PIECE, len(track))
    pieces = track.unfold(0, k, 1).permute(2, 0, 1) if k > 1 else track[None, :0]
    t = STEP * torch.arange(len(pieces), dtype=torch.float64)
    return pieces[0], pieces, t

"""Live figure: a digit that forms from noise, for a class, a guidance and a solver."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar

import torch
import traitlets
from torch import Tensor, nn

from course_lib.flows import (
    STRAIGHT,
    DigitVAE,
    Guided,
    LabelledVelocity,
    digit_velocity,
)
from course_lib.solvers import METHODS, Solution, solve
from course_lib.widgets.figure import LiveFigure
from course_lib.widgets.learner import numbers
from course_lib.widgets.page.module import module, style
from course_lib.widgets.traits import Point, Positive, Whole, within
from course_lib.widgets.wire import restore_rows, round_rows

__all__ = ["DigitSampler", "SampledDigit", "normals"]

GRIDS = ("none", "classes", "noises", "walk")
MANY = 10  # digits of a grid
LENGTH = 4.0  # of the noise: √16, where nearly all of a normal vector in R^16 is
NONE = "none"  # the class that is no class
LABELS = [*map(str, range(10)), NONE]


@dataclass(frozen=True)
class SampledDigit:
    """What a DigitSampler shows.

    Attributes
    ----------
    noise : Tensor, shape (16,)
    solve : Solution from t = 0 to 1, `ys` holds both ends, shape (2, 16)
    state, guess : Tensor, shape (16,), the state at `moment`, and where the field
        believes that it will end
    image, guessed : Tensor, shape (28, 28), what both decode to, ink being 1
    """

    noise: Tensor
    solve: Solution
    state: Tensor
    guess: Tensor
    image: Tensor
    guessed: Tensor


class DigitSampler(LiveFigure):
    """Noise that a flow of digits carries to a digit, with the reader's hand on all of it.

    The page carries the flow and the decoder in 8 bits a number, in units of each row of a
    matrix; `solution` computes with the same rounded numbers.

    Parameters
    ----------
    flow : LabelledVelocity as `digit_velocity` makes it
    vae : DigitVAE with a code of 16 numbers
    label, other : str, '0' to '9' or 'none', the class and a second one
    mix : float from 0 to 1, the share of the way from the embedding of one to the other's
    guidance : float from 0 to 6
    seed : int, of the plane that the noise lies in
    at : two floats, where in the plane it lies
    method : str, a name in `METHODS`
    steps : int from 1 to 32, of a method with fixed steps
    rtol : float from 1e-5 to 0.1, of an adaptive one; atol is the same
    moment : float from 0 to 1, the time of the digit that is shown
    grid : str, 'none', or what ten more digits differ in: 'classes', 'noises', 'walk'

    Raises
    ------
    TypeError, ValueError, TraitError
        For a network or a value that does not fit; the message says what does.
    """

    facts: ClassVar = {
        "guidance": "the weight of guidance",
        "t": "the time of the digit that is shown",
        "nfe": "evaluations of the guided field",
    }
    _esm = module("sampler.mjs")
    _css = LiveFigure._css + style("digits.css")
    still = (
        "A live figure: a digit that forms from noise along the flow of a generative "
        "model, for a class, a guidance, a solver and a noise of your choice."
    )
    weights = traitlets.Tuple(
        traitlets.Unicode(), traitlets.Unicode(), read_only=True
    ).tag(sync=True)
    label = traitlets.Enum(LABELS, "3").tag(sync=True)
    other = traitlets.Enum(LABELS, "8").tag(sync=True)
    mix = traitlets.CFloat(0.0).tag(sync=True)
    guidance = traitlets.CFloat(1.5).tag(sync=True)
    seed = Whole(0).tag(sync=True)
    at = Point([LENGTH, 0.0], minlen=2, maxlen=2).tag(sync=True)
    method = traitlets.Enum(list(METHODS), "heun").tag(sync=True)
    steps = Whole(4).tag(sync=True)
    rtol = Positive(1e-3).tag(sync=True)
    moment = traitlets.CFloat(1.0).tag(sync=True)
    grid = traitlets.Enum(list(GRIDS), "none").tag(sync=True)

    def __init__(self, flow: LabelledVelocity, vae: DigitVAE, **settings):
        for name, net, like in (
            ("flow", flow, digit_velocity()),
            ("vae", vae, DigitVAE()),
        ):
            _check(name, net, like)
        self._fix(weights=round_rows(_carried(flow, vae)))
        super().__init__(**settings)

    @traitlets.validate("mix", "moment")
    def _validate_share(self, proposal):
        return within(proposal, 0, 1)

    @traitlets.validate("guidance")
    def _validate_guidance(self, proposal):
        return within(proposal, 0, 6)

    @traitlets.validate("steps")
    def _validate_steps(self, proposal):
        return within(proposal, 1, 32)

    @traitlets.validate("seed")
    def _validate_seed(self, proposal):
        return within(proposal, 0, 9999)

    @traitlets.validate("rtol")
    def _validate_rtol(self, proposal):
        return within(proposal, 1e-5, 0.1)

    def networks(self) -> tuple[LabelledVelocity, DigitVAE]:
        """Return the flow and the autoencoder that the page carries, in float64.

        The encoder is not the trained one.
        """
        flow, vae = digit_velocity().double(), DigitVAE().double()
        restore_rows(self.weights, _carried(flow, vae))
        return flow.requires_grad_(False), vae.requires_grad_(False)

    @torch.no_grad()
    def noise(self) -> Tensor:
        """Return the noise at `at`, shape (16,)."""
        return torch.tensor(list(self.at), dtype=torch.float64) @ _plane(self.seed)

    @torch.no_grad()
    def solution(self) -> SampledDigit:
        """Return what the figure shows, from the same rounded numbers.

        Raises
        ------
        SolverError
            If the solve cannot go on.
        """
        flow, vae = self.networks()
        z, t = self.noise(), torch.tensor(self.moment, dtype=torch.float64)
        f = self._field(flow, LABELS.index(self.label), LABELS.index(self.other))
        made, state = self._solve(f, z[None])
        x = STRAIGHT.ends(t, state, f(t, state))[0]
        image, guessed = vae.images(torch.cat((state, x)))[:, 0]
        path = replace(made, t=made.t[[0, -1]], ys=made.ys[[0, -1], 0])
        return SampledDigit(z, path, state[0], x[0], image, guessed)

    @torch.no_grad()
    def images(self) -> Tensor:
        """Return the ten digits of the grid at `moment`, shape (10, 28, 28)."""
        flow, vae = self.networks()
        states = []
        for label, z in self._asked():
            other = LABELS.index(self.other) if self.grid != "classes" else label
            f = self._field(flow, label, other)
            states.append(self._solve(f, z[None])[1])
        return vae.images(torch.cat(states))[:, 0]

    def _asked(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the class and the noise of each digit of the grid."""
        label, drawn = LABELS.index(self.label), normals(self.seed, 16 * (MANY + 2))
        for i in range(MANY):
            if self.grid == "classes":
                yield i, self.noise()
            elif self.grid == "noises":
                yield label, drawn[16 * (i + 2) : 16 * (i + 3)]
            elif self.grid == "walk":
                yield label, _walk(self.seed, i / (MANY - 1))
            else:
                raise ValueError(f"grid must be one of {GRIDS[1:]}, got {self.grid!r}")

    def _field(self, flow: LabelledVelocity, label: int, other: int) -> Guided:
        """Return the guided field of a class, its embedding being between those of two."""
        between, rows = deepcopy(flow), flow.label.weight
        # The first row is free to hold what lies between: it alone is asked for.
        between.label.weight[0] = rows[label].lerp(rows[other], self.mix)
        return Guided(between, torch.tensor([0]), self.guidance)

    def _solve(self, f: Guided, z: Tensor) -> tuple[Solution, Tensor]:
        """Return the solve to t = 1, and the state at `moment`, shape of z."""
        if METHODS[self.method].adaptive:
            times = sorted({0.0, self.moment, 1.0})
            made = solve(
                f, z, times, method=self.method, rtol=self.rtol, atol=self.rtol
            )
            return made, made.ys[times.index(self.moment)]
        # The step that leads past the moment is taken only so far.
        ends = (1.0, self.moment)
        how = dict(method=self.method, step_size=1 / self.steps)
        made, until = (solve(f, z, [0.0, end], **how) for end in ends)
        return made, until.ys[-1]


# --- noise ----------------------------------------------------------------------------


def normals(seed: int, n: int) -> Tensor:
    """Return standard normal numbers as the page draws them from a seed, shape (n,).

    Two from every two numbers (Box and Muller 1958); n is even.
    """
    drawn = numbers(seed)
    made: list[float] = []
    for first, second in islice(zip(drawn, drawn), n // 2):
        length, angle = math.sqrt(-2 * math.log(1 - first)), 2 * math.pi * second
        made += length * math.cos(angle), length * math.sin(angle)
    return torch.tensor(made, dtype=torch.float64)


def _plane(seed: int) -> Tensor:
    """Return two directions at right angles, shape (2, 16)."""
    first, second = normals(seed, 32).view(2, 16)
    first = first / first.norm()
    second = second - (second @ first) * first
    return torch.stack((first, second / second.norm()))


def _walk(seed: int, share: float) -> Tensor:
    """Return the noise on the way from the first direction to the second, along the arc."""
    angle = share * math.pi / 2
    turned = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    return LENGTH * turned @ _plane(seed)


# --- what travels ---------------------------------------------------------------------


def _check(name: str, net: nn.Module, like: nn.Module) -> None:
    """Refuse a network that is not like the one that the browser can evaluate."""
    if not isinstance(net, type(like)):
        raise TypeError(
            f"{name} must be a course_lib.flows.{type(like).__name__}, got "
            f"{type(net).__name__}"
        )
    shapes, expected = (
        {key: tuple(x.shape) for key, x in one.state_dict().items()}
        for one in (net, like)
    )
    for key in expected:
        if shapes.get(key) != expected[key]:
            raise ValueError(
                f"{name} must have the shapes of course_lib.flows."
                f"{'digit_velocity()' if name == 'flow' else 'DigitVAE()'}: {key} must "
                f"be {expected[key]}, got {shapes.get(key)}"
            )


def _carried(flow: LabelledVelocity, vae: DigitVAE) -> list[Tensor]:
    """Return all numbers that travel, in the order in which the page reads them."""
    layers = (flow.read, flow.write, flow.time, flow.label, *flow.blocks, vae.decoder)
    return [p.data for layer in layers for p in layer.parameters()] + [
        vae.centre,
        vae.spread,
    ]

"""Live figure: a pendulum by a true field and two learnt ones, and what its energy does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import traitlets
from torch import Tensor, nn

from course_lib.models import (
    HamiltonianField,
    MLPDynamics,
    ScalarNetwork,
    SeparableEnergy,
    pendulum_energy,
)
from course_lib.solvers import odeint_leapfrog, solve
from course_lib.systems import pendulum
from course_lib.widgets.figure import LiveFigure, step_ends
from course_lib.widgets.page.module import FIXED, MAX_STEPS, module
from course_lib.widgets.traits import Point, Positive
from course_lib.widgets.wire import decode, encode, shape_of

__all__ = ["PendulumExplorer", "PendulumSolution"]

FIELDS = ["true", "plain", "hamiltonian"]


@dataclass(frozen=True)
class PendulumSolution:
    """The path that the figure shows, a state for every step.

    Attributes
    ----------
    t : Tensor, shape (n,), the ends of the steps
    ys : Tensor, shape (n, 2), angle and momentum
    energy : Tensor, shape (n,), the true energy of each state
    """

    t: Tensor
    ys: Tensor
    energy: Tensor


class PendulumExplorer(LiveFigure):
    """A pendulum in its phase plane, and its energy over time.

    Parameters
    ----------
    plain : MLPDynamics on R² without time, with tanh
    hamiltonian : HamiltonianField of a SeparableEnergy without friction
        Both parts a ScalarNetwork on R¹ with one hidden layer of tanh.
    start : (angle, momentum), which can be dragged
    field : str, 'true', 'plain' or 'hamiltonian'
    method : str, 'euler', 'midpoint', 'heun', 'rk4' or 'leapfrog'
    step_size, t_end : float, positive

    Raises
    ------
    TypeError, ValueError, TraitError
        For a network or a value that does not fit; the message says what does.
    """

    _esm = module("pendulum.mjs")
    still = (
        "A live figure: the path of a pendulum in its phase plane, by the true field or a "
        "learnt one and a method of your choice, and its energy over time."
    )
    facts: ClassVar = {
        "field": "'true', 'plain' or 'hamiltonian'",
        "method": "its name",
        "h": "step size",
        "t_end": "end time",
        "begin": "true energy of the start",
        "end": "true energy at the end time",
        "kept": "end / begin",
        "off": "largest distance of the true energy from that of the start",
    }
    widths = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    weights = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    field = traitlets.Enum(FIELDS, "true").tag(sync=True)
    method = traitlets.Enum([*FIXED, "leapfrog"], "rk4").tag(sync=True)
    start = Point().tag(sync=True)
    step_size = Positive(0.2).tag(sync=True)
    t_end = Positive(60.0).tag(sync=True)

    def __init__(
        self,
        plain: MLPDynamics,
        hamiltonian: HamiltonianField,
        *,
        start: Sequence[float] = (1.8, 0.0),
        **settings,
    ):
        widths, activation, time = shape_of(plain)
        if activation != "tanh" or time or widths[-1] != 2:
            raise ValueError(
                "plain must be an MLPDynamics on R² with tanh and without time, got "
                f"widths {list(widths)}, {activation}{', time' if time else ''}"
            )
        parts = _parts(hamiltonian)
        self._fix(
            widths=list(widths),
            weights=[encode(net.parameters()) for net in (plain, *parts)],
        )
        super().__init__(start=start, **settings)

    @traitlets.validate("start")
    def _validate_start(self, proposal):
        if len(proposal.value) != 2:
            raise traitlets.TraitError(
                f"start must be an angle and a momentum, got {proposal.value!r}"
            )
        return proposal.value

    def networks(self) -> tuple[MLPDynamics, HamiltonianField]:
        """Return both networks, as the page carries them, in float64."""
        plain = MLPDynamics(2, self.widths[1:-1])
        numbers = [decode(text) for text in self.weights]
        parts = [ScalarNetwork(1, (len(x) // 3,)) for x in numbers[1:]]
        for net, x in zip((plain, *parts), numbers):
            nn.utils.vector_to_parameters(x, net.parameters())
        return plain.double(), HamiltonianField(SeparableEnergy(*parts)).double()

    @torch.no_grad()
    def solution(self) -> PendulumSolution:
        """Return what the figure shows.

        Raises
        ------
        ValueError
            For leapfrog on the plain network, whose field does not split.
        SolverError
            If the path overflows, or takes too many steps.
        """
        y0 = torch.tensor(list(self.start), dtype=torch.float64)
        t, ys = self._leapfrog(y0) if self.method == "leapfrog" else self._explicit(y0)
        return PendulumSolution(t, ys, pendulum_energy(ys))

    def _explicit(self, y0: Tensor) -> tuple[Tensor, Tensor]:
        plain, hamiltonian = self.networks()
        fields: tuple[Callable, ...] = (pendulum, plain, hamiltonian)
        f = fields[FIELDS.index(self.field)]
        ends = step_ends((0.0, self.t_end), self.step_size, most=MAX_STEPS)
        how = dict(step_size=self.step_size, max_steps=MAX_STEPS)
        made = solve(f, y0, ends, method=self.method, **how)
        return made.t, made.ys

    def _leapfrog(self, y0: Tensor) -> tuple[Tensor, Tensor]:
        if self.field == "plain":
            raise ValueError(
                "leapfrog needs a velocity that depends on the momentum alone and a force "
                "that depends on the angle alone; those of field='plain' do not: choose "
                "another field, or an explicit method"
            )
        f = self.networks()[1]
        force, velocity = lambda q: -q.sin(), None
        if self.field == "hamiltonian":
            force, velocity = f.force, f.velocity
        n = len(step_ends((0.0, self.t_end), self.step_size, most=MAX_STEPS)) - 1
        t = torch.linspace(0.0, self.t_end, n + 1, dtype=torch.float64)
        how = dict(step_size=self.step_size, velocity=velocity, max_steps=MAX_STEPS)
        path = odeint_leapfrog(force, y0[:1], y0[1:], t, **how)
        return t, torch.cat(path, dim=-1)


def _parts(field: HamiltonianField) -> tuple[ScalarNetwork, ScalarNetwork]:
    """Return the networks of T and V, if the browser can evaluate them."""
    energy = getattr(field, "energy", None)
    parts = getattr(energy, "kinetic", None), getattr(energy, "potential", None)
    kinds = [[type(x).__name__ for x in getattr(part, "net", ())] for part in parts]
    fits = kinds == [["Linear", "Tanh", "Linear"]] * 2
    if not fits or any(part.net[0].in_features != 1 for part in parts):
        raise ValueError(
            "hamiltonian must be HamiltonianField(SeparableEnergy(T, V)) of two "
            f"ScalarNetwork(1, (width,)) with tanh, got {type(energy).__name__}"
        )
    if float(field.friction):
        raise ValueError("hamiltonian must have no friction")
    return parts

"""Laws of physics, chapter 17: Hamiltonian networks beside plain ones.

The tasks are those of Greydanus, Dzamba, Yosinski 2019 as their public code has them (mass
and spring, ideal pendulum, two bodies; tanh, Adam at 1e-3), on data made by the course's
solver, with a third of the width (64-64), batches of 200 and, for two bodies, half the
steps. The pendulum without noise, and learnt from its paths and not its derivatives, are
added. The recipes are fixed beforehand. Every
run is judged by the true energy along paths that its field is solved for: the mean square
of its distance from what it was at the start.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from course_lib import measuring, records, training
from course_lib.data import generator
from course_lib.models import (
    HamiltonianField,
    MLPDynamics,
    ScalarNetwork,
    spring_energy,
    two_body_energy,
)
from course_lib.solvers import SolverError, odeint

BY = ("task", "noise", "model", "from", "seed")
TIGHT = dict(rtol=1e-9, atol=1e-9)
BATCH = 200
JUDGES = 15  # paths that a field is judged by


@dataclass(frozen=True)
class Task:
    """A system, what is seen of it, and the paths by which a field is judged.

    Attributes
    ----------
    f : the true field
    energy : callable, (*, dim) -> (*)
    starts, judges : callables ``(n, generator) -> Tensor``, shape (n, dim)
    paths : int, how many are seen
    t : (end, points) of a path that is seen
    test : (end, points) of a path that judges
    steps : int, of the training
    decay : float, weight decay of Adam
    """

    f: nn.Module
    energy: Callable
    starts: Callable
    judges: Callable
    paths: int
    t: tuple[float, int]
    test: tuple[float, int]
    steps: int
    decay: float = 0.0

    def observed(self, seed: int, noise: float) -> tuple[Tensor, Tensor, Tensor]:
        """Times, noisy states (points, paths, dim), and the derivatives without noise."""
        g = generator(seed)
        t = torch.linspace(0, *self.t, dtype=torch.float64)
        with torch.no_grad():
            ys = odeint(self.f, self.starts(self.paths, g), t, **TIGHT)
            slopes = self.f(0.0, ys)
        noisy = ys + noise * torch.randn(ys.shape, generator=g, dtype=ys.dtype)
        return t, noisy, slopes


def draw(n: int, dim: int, g: torch.Generator) -> Tensor:
    """Numbers between 0 and 1, shape (n, dim)."""
    return torch.rand(n, dim, generator=g, dtype=torch.float64)


def ring(low: float, high: float) -> Callable:
    """Starts in the plane at distances from low to high."""

    def starts(n: int, g: torch.Generator) -> Tensor:
        y = 2 * draw(n, 2, g) - 1
        radius = low + (high - low) * draw(n, 1, g)
        return radius * y / y.norm(dim=1, keepdim=True)

    return starts


def corners(n: int, g: torch.Generator) -> Tensor:
    """Starts whose two numbers are both from 0.2 to 1, of either sign."""
    y = 1.6 * draw(n, 2, g) - 0.8
    return y + 0.2 * y.sign()


def orbits(n: int, g: torch.Generator) -> Tensor:
    """Two bodies on opposite sides of nearly circular orbits."""
    place = 0.5 + draw(n, 2, g)
    radius = place.norm(dim=1, keepdim=True)
    speed = place.flip(1) * torch.tensor([-1.0, 1.0]) / (2 * radius**1.5)
    speed *= 1 + 0.05 * torch.randn(n, 1, generator=g, dtype=torch.float64)
    return torch.cat((place, -place, speed, -speed), dim=1)


def heavy_pendulum_energy(y: Tensor) -> Tensor:
    """``p² + 3 (1 - cos q)``, the pendulum of the public code; (*, 2) -> (*)."""
    q, p = y.unbind(-1)
    return p.square() + 3 * (1 - q.cos())


TASKS = {
    "mass-spring": Task(
        f=HamiltonianField(spring_energy),
        energy=spring_energy,
        starts=ring(0.1, 1.0),
        judges=corners,
        paths=25,
        t=(3.0, 30),
        test=(20.0, 100),
        steps=2000,
        decay=1e-4,
    ),
    "pendulum": Task(
        f=HamiltonianField(heavy_pendulum_energy),
        energy=heavy_pendulum_energy,
        starts=ring(1.3, 2.3),
        judges=corners,
        paths=25,
        t=(3.0, 45),
        test=(20.0, 100),
        steps=2000,
        decay=1e-4,
    ),
    "two-body": Task(
        f=HamiltonianField(two_body_energy),
        energy=two_body_energy,
        starts=orbits,
        judges=orbits,
        paths=800,
        t=(20.0, 50),
        test=(25.0, 500),
        steps=5000,
    ),
}


# --- fields ---------------------------------------------------------------------------


def field(task: str, model: str) -> nn.Module:
    """A fresh field of either kind, of the dimension that the task asks for."""
    dim = 8 if task == "two-body" else 2
    if model == "plain":
        return MLPDynamics(dim, (64, 64))
    return HamiltonianField(ScalarNetwork(dim, (64, 64)))


# --- training -------------------------------------------------------------------------


def derivative_batches(
    steps: int, ys: Tensor, slopes: Tensor, g: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Random points and their derivatives, shapes (BATCH, dim)."""
    ys, slopes = ys.flatten(0, 1), slopes.flatten(0, 1)
    for _ in range(steps):
        at = torch.randint(len(ys), (BATCH,), generator=g)
        yield ys[at], slopes[at]


WINDOW = dict(points=8, every=2, batch=50, steps=600)


def window_batches(ys: Tensor, g: torch.Generator) -> Iterator[tuple[Tensor]]:
    """Stretches of noisy paths from random moments, shape (points, batch, dim)."""
    points, every, batch, steps = WINDOW.values()
    last = len(ys) - every * (points - 1)
    along = every * torch.arange(points)[:, None]
    for _ in range(steps):
        begin = torch.randint(last, (batch,), generator=g)
        path = torch.randint(ys.shape[1], (batch,), generator=g)
        yield (ys[begin + along, path],)


def learn(f: nn.Module, task: Task, seed: int, noise: float, source: str):
    """Train the field on derivatives, or on stretches of paths through RK4."""
    dtype = next(f.parameters()).dtype
    t, ys, slopes = task.observed(seed, noise)
    g = generator(seed + 1)
    optimizer = torch.optim.Adam(f.parameters(), lr=1e-3, weight_decay=task.decay)
    batches: Iterator[tuple[Tensor, ...]]
    if source == "derivatives":
        batches = derivative_batches(task.steps, ys.to(dtype), slopes.to(dtype), g)
        return training.fit(f, list(batches), partial(slope_misfit, f), optimizer)
    gap = WINDOW["every"] * (t[1] - t[0]).item()
    batches = window_batches(ys.to(dtype), g)
    return training.fit(f, list(batches), partial(path_misfit, f, gap), optimizer)


def slope_misfit(f: nn.Module, y: Tensor, dy: Tensor) -> Tensor:
    """How far the field is from the derivatives."""
    return (f(0.0, y) - dy).square().mean()


def path_misfit(f: nn.Module, gap: float, y: Tensor) -> Tensor:
    """How far RK4 along the field, with a step from reading to reading, is from them."""
    moments = gap * torch.arange(len(y))
    ys = odeint(f, y[0], moments, method="rk4", step_size=gap)
    return (ys - y).square().mean()


# --- judgement ------------------------------------------------------------------------


@torch.no_grad()
def judged(f: nn.Module, task: Task) -> dict:
    """How well a field keeps the true energy, and how near its paths stay.

    "squares" takes |y|² for the energy, as the public notebook of the paper does for the
    pendulum too.
    """
    y0 = task.judges(JUDGES, generator(10_000))
    t = torch.linspace(0, *task.test, dtype=torch.float64)
    true = odeint(task.f, y0, t, **TIGHT)
    try:
        ys = odeint(f.double(), y0, t, rtol=1e-7, atol=1e-7, max_steps=20_000)
    except SolverError as error:
        return dict(stopped=str(error))
    energy = (task.energy(ys) - task.energy(true)).square()
    squares = (ys.square().sum(-1) - true.square().sum(-1)).square()
    return dict(
        energy_mse=energy.mean().item(),
        energy_mse_median_path=energy.mean(dim=0).median().item(),
        energy_mse_worst_path=energy.mean(dim=0).max().item(),
        squares_mse=squares.mean().item(),
        state_rmse=(ys - true).square().mean().sqrt().item(),
    )


# What is learnt: the task, the noise in its states, and what the loss compares.
PLAN = (
    ("mass-spring", 0.1, "derivatives"),
    ("pendulum", 0.1, "derivatives"),
    ("two-body", 0.0, "derivatives"),
    ("pendulum", 0.0, "derivatives"),
    ("pendulum", 0.1, "paths"),
)


def run(args: argparse.Namespace) -> None:
    """Train a plain field and one with a law on every task from every seed, and add a row
    to the results for each.
    """
    for seed in range(args.seed, args.seed + args.seeds):
        for name, noise, source in PLAN:
            for model in ("law", "plain"):
                if args.task in (None, name):
                    row = trained(name, noise, source, model, seed)
                    print(row, flush=True)
                    records.add_row("physics", row, by=BY)


def trained(name: str, noise: float, source: str, model: str, seed: int) -> dict:
    """Train one field, and say how it was made and how it is judged."""
    training.seed(seed)
    f, start = field(name, model), time.process_time()
    history = learn(f, TASKS[name], seed, noise, source)
    return records.made(
        **{"task": name, "noise": noise, "from": source, "model": model, "seed": seed},
        cpu_seconds=round(time.process_time() - start, 1),
        steps=len(history.losses),
        parameters=measuring.count_parameters(f),
        final_loss=math.fsum(history.losses[-100:]) / len(history.losses[-100:]),
        **judged(f, TASKS[name]),
    )

"""Two rods that hang on each other, chapter 17: fields with a Lagrangian and a plain one.

All see the derivatives, without noise, at the same random places. A step of a Lagrangian
costs ten times a plain one, so the plain field is trained twice: for equally many steps,
and for ten times as many. A field is judged at other places by its misfit, and along paths by how far the true energy
moves and how far the state is off. The recipe is fixed beforehand.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib import measuring, records, training
from course_lib.data import generator
from course_lib.models import (
    LagrangianField,
    MechanicalLagrangian,
    MLPDynamics,
    ScalarNetwork,
    double_pendulum_lagrangian,
)
from course_lib.solvers import SolverError, odeint

TASK = "double pendulum"
BY = ("task", "model", "seed")
HIDDEN = (32, 32)
PLACES, BATCH, LR = 2000, 100, 1e-2
JUDGES, END = 20, 10.0  # paths that a field is judged by, and how long they are
TRUE = LagrangianField(double_pendulum_lagrangian)


def plain() -> nn.Module:
    """A network of the derivative itself."""
    return MLPDynamics(4, HIDDEN)


def mechanical() -> nn.Module:
    """A Lagrangian of a mass matrix and a potential."""
    return LagrangianField(MechanicalLagrangian(2, HIDDEN))


def general() -> nn.Module:
    """Any Lagrangian: one network of angles and velocities."""
    return LagrangianField(ScalarNetwork(4, HIDDEN, activation=nn.Softplus))


FIELDS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # and steps of training
    "plain": (plain, 2_000),
    "plain, ten times the steps": (plain, 20_000),
    "mechanical Lagrangian": (mechanical, 2_000),
    "any Lagrangian": (general, 2_000),
}


def places(n: int, seed: int) -> Tensor:
    """Angles and velocities, all between -1.2 and 1.2, shape (n, 4)."""
    return 2.4 * torch.rand(n, 4, generator=generator(seed), dtype=torch.float64) - 1.2


def run(args: argparse.Namespace) -> None:
    """Train every field from every seed, and add a row to the results for each."""
    for seed in range(args.seed, args.seed + args.seeds):
        for model in FIELDS:
            row = trained(model, seed)
            print(row, flush=True)
            records.add_row("physics", row, by=BY)


def trained(model: str, seed: int) -> dict:
    """Train one field, and say how it was made and how it is judged."""
    training.seed(seed)
    make, steps = FIELDS[model]
    f, y = make().double(), places(PLACES, seed)
    slopes, g = TRUE(0.0, y), generator(seed + 1)
    batches = [(torch.randint(PLACES, (BATCH,), generator=g),) for _ in range(steps)]
    start = time.process_time()
    history = training.one_cycle(
        f, batches, lambda at: (f(0.0, y[at]) - slopes[at]).square().mean(), lr=LR
    )
    return records.made(
        **{"task": TASK, "noise": 0.0, "from": "derivatives", "model": model},
        seed=seed,
        cpu_seconds=round(time.process_time() - start, 1),
        steps=len(history.losses),
        parameters=measuring.count_parameters(f),
        **judged(f),
    )


@torch.no_grad()
def judged(f: nn.Module) -> dict:
    """The misfit at other places; along paths, the true energy and the state."""
    y, t = places(PLACES, 10_000), torch.linspace(0, END, 51, dtype=torch.float64)
    found = {"misfit": (f(0.0, y) - TRUE(0.0, y)).square().mean().item()}
    if isinstance(f, LagrangianField):
        found["smallest_mass"] = torch.linalg.eigvalsh(f.mass(y)).min().item()
    starts = places(JUDGES, 10_001)
    true = odeint(TRUE, starts, t, rtol=1e-9, atol=1e-9)
    try:
        ys = odeint(f, starts, t, rtol=1e-7, atol=1e-7, max_steps=2_000)
    except SolverError as error:
        return found | {"stopped": str(error)}
    moved = (TRUE.energy(ys) - TRUE.energy(starts)).abs().amax(dim=0)
    return found | {
        "energy_moved_median": moved.median().item(),
        "energy_moved_worst": moved.max().item(),
        "state_rmse": (ys - true).square().mean().sqrt().item(),
    }

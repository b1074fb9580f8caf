"""Five ways to fit a long series, chapter 18: how often each finds the truth.

Hares and foxes (Lotka–Volterra) are read 201 times over 20 time units, about six rounds,
with noise of 0.1. Two models learn from the readings: the true law with its four rates
open, from rates that are off by a factor of exp(0.5 N(0, 1)) each, and a network 2-32-2,
from random weights. The ways differ in where a shot starts (see `course_lib.shooting`).

All of this was fixed before the first run. Two ways were added when the first five had run,
to tell a false valley from a noisy start: there the starts are learnt along.

Every seed has a noise and a start of its own, the same for every way. Every way takes as
many steps of Adam, with one learning rate that falls to 0 as a cosine, and each step uses
the whole series once: 200 RK4 steps, 800 evaluations of f. They are counted: a call of f
for a batch of states counts as one for each state.

Success is for the law: every rate within 5% of the truth. For the network: solved from the
true start over all 20 units, it stays within 20% of the data's standard deviation (root
mean square).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib import records, training
from course_lib.data import generator
from course_lib.models import Ensemble, MLPDynamics
from course_lib.shooting import MultipleShooting, blended, consecutive, doubling
from course_lib.solvers import odeint
from course_lib.systems import LotkaVolterra

BY = ("model", "way", "seed")
RATES = (1.5, 1.0, 3.0, 1.0)
START = (1.0, 1.0)
SPAN, GAPS, NOISE = 20.0, 200, 0.1
STEP = 1.001 * SPAN / GAPS  # one step a gap, however the times are rounded
SHORT = 10  # intervals of a short window: one time unit
WAYS = ("one shot", "short", "growing", "multiple shooting", "teacher forcing")
ADDED = (
    "one shot, start learnt",
    "growing, starts learnt",
)  # after the first five had run


class Series(NamedTuple):
    """What the seeds see: times (n,), clean (n, 2), readings (n, seeds, 2)."""

    t: Tensor
    clean: Tensor
    seen: Tensor


@dataclass(frozen=True)
class Plan:
    """How a model learns.

    Attributes
    ----------
    make : callable ``make(seeds) -> Module`` of as many members
    steps : int, of Adam
    lr : float, the highest learning rate
    """

    make: Callable
    steps: int
    lr: float


def observed(seeds: range) -> Series:
    """The one true path, and the readings of each seed."""
    t = torch.linspace(0, SPAN, GAPS + 1)
    with torch.no_grad():
        tight = dict(rtol=1e-6, atol=1e-6)
        y0 = torch.tensor(START, dtype=torch.float64)
        clean = odeint(LotkaVolterra(RATES), y0, t.double(), **tight).float()
    draws = [torch.randn(clean.shape, generator=generator(seed)) for seed in seeds]
    return Series(t, clean, clean[:, None] + NOISE * torch.stack(draws, dim=1))


# --- models ---------------------------------------------------------------------------


def laws(seeds: range) -> LotkaVolterra:
    """The true law, each seed from wrong rates of its own."""
    off = [torch.randn(4, generator=generator(1000 + seed)) for seed in seeds]
    return LotkaVolterra(torch.tensor(RATES) * torch.exp(0.5 * torch.stack(off)))


class Networks(nn.Module):
    """Networks side by side, each for the states of its own seed, (…, seeds, 2)."""

    def __init__(self, seeds: range):
        super().__init__()
        members = []
        for seed in seeds:
            training.seed(seed)
            members.append(MLPDynamics(2, (32,)))
        self.members = Ensemble(members)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """The derivatives; the ensemble wants its members first."""
        flat = y.reshape(-1, *y.shape[-2:]).transpose(0, 1)
        return self.members(t, flat).transpose(0, 1).reshape(y.shape)


PLANS = {"law": Plan(laws, 400, 0.05), "network": Plan(Networks, 800, 0.02)}


# --- ways -----------------------------------------------------------------------------


def lengths_of(way: str) -> list[int]:
    """The lengths of the windows, in gaps, one phase after the other."""
    if way.startswith("one shot"):
        return [GAPS]
    return doubling(GAPS, 5) if way.startswith("growing") else [SHORT]


def misfit_of(
    way: str,
    f: nn.Module,
    series: Series,
    shootings: Sequence[MultipleShooting],
    done: float,
) -> Tensor:
    """The misfit of each seed, shape (seeds,), when a share `done` of the steps is over."""
    t, _, seen = series
    if way == "teacher forcing":
        ys = blended(f, t, seen, max(0.0, 0.5 * (1 - done / 0.8)))
        return (ys - seen).square().mean(dim=(0, 2))
    phase = int(done * len(shootings))
    times, windows = consecutive(t, seen, lengths_of(way)[phase])
    rk4 = dict(method="rk4", step_size=STEP)
    if way in ("one shot", "short", "growing"):
        ys = odeint(f, windows[0], times, **rk4)
        return (ys - windows).square().mean(dim=(0, 1, 3))
    ys, gaps = shootings[phase](f, times, **rk4)
    misfit = (ys - windows).square().mean(dim=(0, 1, 3))
    if way in ADDED:
        return misfit
    return misfit + 0.1 * 1000**done * gaps.square().mean(dim=(0, 2))


def learn(way: str, f: nn.Module, series: Series, plan: Plan) -> None:
    """Train all seeds at once.

    A seed whose gradient is not finite rests for that step: its own failure, which must
    not touch the others.
    """
    cuts = (consecutive(series.t, series.seen, n)[1] for n in lengths_of(way))
    shootings = [MultipleShooting(windows[0]) for windows in cuts]
    trained = [*f.parameters(), *(s.starts for s in shootings)]
    optimizer = torch.optim.Adam(trained, lr=plan.lr)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.steps)
    for step in range(plan.steps):
        optimizer.zero_grad()
        misfit_of(way, f, series, shootings, step / plan.steps).sum().backward()
        for p in trained:
            if p.grad is not None:
                p.grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        optimizer.step()
        falling.step()


# --- judgement ------------------------------------------------------------------------


@torch.no_grad()
def judged(f: nn.Module, series: Series) -> Tensor:
    """The number by which a seed succeeds or fails, shape (seeds,)."""
    if isinstance(f, LotkaVolterra):
        truth = torch.tensor(RATES)
        return (f.log_rates.exp() / truth - 1).abs().amax(dim=-1)
    start = series.clean[0].expand(series.seen.shape[1:])
    ys = odeint(f, start, series.t, method="rk4", step_size=STEP)
    spread = series.clean.std(dim=0).square().mean().sqrt()
    return (ys - series.clean[:, None]).square().mean(dim=(0, 2)).sqrt() / spread


LIMIT = {"law": 0.05, "network": 0.2}


def run(args: argparse.Namespace) -> None:
    """Train every model in every way, and add a row to the results for each seed."""
    seeds = range(args.seed, args.seed + args.seeds)
    series = observed(seeds)
    for name in (args.model,) if args.model else PLANS:
        for way in (args.way,) if args.way else (*WAYS, *ADDED):
            for row in trained(name, way, seeds, series):
                records.add_row("horizons", row, by=BY)


def trained(name: str, way: str, seeds: range, series: Series) -> list[dict]:
    """Train one model in one way from all seeds; a row for each."""
    plan, start = PLANS[name], time.process_time()
    f = plan.make(seeds)
    counted = _Counting(f)
    learn(way, counted, series, plan)
    spent = time.process_time() - start
    scores = judged(f, series).tolist()
    wins = sum(score < LIMIT[name] for score in scores)
    print(f"{name:8} {way:18} {wins:2} of {len(scores)}, {spent:.0f} s", flush=True)
    about = dict(steps=plan.steps, cpu_seconds_all_seeds=round(spent, 1))
    evaluations = counted.states // len(seeds)
    return [
        records.made(
            **{"model": name, "way": way, "seed": seed, "success": score < LIMIT[name]},
            score=score if math.isfinite(score) else None,
            evaluations=evaluations,
            **about,
        )
        for seed, score in zip(seeds, scores)
    ]


class _Counting(nn.Module):
    """A field, and at how many states it was evaluated."""

    def __init__(self, f: nn.Module):
        super().__init__()
        self.f, self.states = f, 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.states += y.shape[:-1].numel()
        return self.f(t, y)

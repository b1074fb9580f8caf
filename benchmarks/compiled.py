"""What ``torch.compile`` makes of a step, of a solve and of a fixed grid: run time and
the time to compile, on a small network, where Python is what a solve waits for.

    python -m benchmarks.compiled

MLP 2-50-2, batch 20, float32, one thread; eager and compiled run in turn, medians are
shown. The compiled step is a step of `dopri5` with its error over tolerance; the solve
around it decides as `odeint` does, and takes the same steps. A test holds that.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch._inductor import config as inductor

from benchmarks.bench_scaling import in_turn
from benchmarks.solvers import paired
from course_lib import records
from course_lib.measuring import on_processor, seconds
from course_lib.models import MLPDynamics
from course_lib.solvers import DOPRI5, RK4, GuardedField, Settings, odeint, rk_step
from course_lib.solvers.steps import initial_step

TOLERANCE, STEPS = 1e-5, 10
HOW = Settings(rtol=TOLERANCE, atol=TOLERANCE)


def attempt(f: Callable, t: Tensor, y: Tensor, h: Tensor, k1: Tensor):
    """A step of dopri5 from tensors to tensors: y_next, f there, and how large the error
    over tolerance and y_next are; nothing in it depends on a number.
    """
    stages = [k1]
    for c, row in zip(DOPRI5.c[1:], DOPRI5.a):
        y_next = y + h * sum(w * k for w, k in zip(row, stages) if w)
        stages.append(f(t + c * h, y_next))
    error = h * sum(w * k for w, k in zip(DOPRI5.b_error, stages) if w)
    allowed = TOLERANCE * (1 + torch.maximum(y.abs(), y_next.abs()))
    ratio = (error / allowed).square().mean().sqrt()
    return y_next, stages[-1], torch.stack((ratio, y_next.abs().max())).detach()


def walk_by(step: Callable, f: Callable, y: Tensor) -> tuple[Tensor, int]:
    """y at 1 from y at 0, and the accepted steps, by `attempt` or by what was made of it."""
    field, t, taken = GuardedField(f, y), 0.0, 0
    k1 = field(t, y)
    h = initial_step(field, t, y, k1, 1.0, HOW)
    while t < 1.0:
        size = 1.0 - t if h >= 0.999 * (1.0 - t) else h
        moment, length = torch.tensor(t), torch.tensor(size)
        y_next, k_next, numbers = step(f, moment, y, length, k1)
        ratio, largest = numbers.tolist()
        h = size * min(10.0, max(0.2, 0.9 * ratio**-0.2)) if ratio else 10 * size
        if ratio <= 1.0 and largest < float("inf"):
            t, y, k1, taken = t + size, y_next, k_next, taken + 1
    return y, taken


def grid(f: Callable, y: Tensor) -> Tensor:
    """Ten steps of RK4 from 0 to 1, with nothing in between."""
    for i in range(STEPS):
        y, _ = rk_step(f, torch.tensor(i / STEPS), y, 1 / STEPS, RK4)
    return y


# --- what is timed --------------------------------------------------------------------


def there(compute: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """Forward alone."""
    with torch.no_grad():
        return compute(y)


def and_back(compute: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """Forward, and the gradient of a loss."""
    y = y.clone().requires_grad_()
    end = compute(y)
    end.square().sum().backward()
    return end.detach()


def ways(f: Callable) -> dict[str, tuple[Callable, Callable]]:
    """What is compared, by name: as it is, and compiled."""
    fast = torch.compile(f, fullgraph=True, dynamic=False)
    step = torch.compile(attempt, fullgraph=True, dynamic=False)
    ten = torch.compile(grid, fullgraph=True, dynamic=False)
    span, how = [0.0, 1.0], dict(rtol=TOLERANCE, atol=TOLERANCE)

    def eager(y):
        return odeint(f, y, span, **how)[-1]

    return {
        "odeint, f compiled": (eager, lambda y: odeint(fast, y, span, **how)[-1]),
        "odeint, step compiled": (eager, lambda y: walk_by(step, f, y)[0]),
        "ten steps of RK4, one graph": (lambda y: grid(f, y), lambda y: ten(f, y)),
    }


def rows(rounds: int) -> list[dict]:
    """The table."""
    torch.manual_seed(0)
    f, y = MLPDynamics(2, (50,)), torch.randn(20, 2)
    table = []
    for run, what in ((there, "forward"), (and_back, "forward and backward")):
        torch.compiler.reset()
        run(torch.compile(torch.sin), y)  # the start of the compiler is not the field's
        for name, pair in ways(f).items():
            runs = [partial(run, compute, y) for compute in pair]
            warm_up = seconds(runs[1])
            eager, compiled = in_turn(rounds, *runs, clock=seconds)
            ms = [1e3 * statistics.median(times) for times in (eager, compiled)]
            row = {"way": name, "what": what, "ms eager": ms[0], "ms compiled": ms[1]}
            row |= {"ratio": paired(eager, compiled), "s to compile": warm_up}
            table.append(row)
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=301)
    torch.set_num_threads(1)
    # A program that was compiled the day before is loaded: here it is made anew.
    inductor.force_disable_caches = True
    found = rows(parser.parse_args().rounds)
    records.report("compiled", found, device=on_processor())

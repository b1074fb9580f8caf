"""What a training step of a neural ODE costs, alone and shared by two processes.

    python -m benchmarks.bench_scaling

One thread a process. What is compared is run in turn, so that both meet the same machine,
and ratios are taken within a turn; medians are shown. One process is timed by its CPU
time, which other work on the machine hardly lengthens; two by the clock on the wall, for
they wait for each other: for those numbers nothing else should run. They talk by gloo.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from course_lib import measuring, parallel, records
from course_lib.models import ConvDynamics, MLPDynamics, NeuralODE
from course_lib.solvers import METHODS, rk_step

# Field, shape of a row, fixed steps, batches; a training step goes there and back.
CASES = {
    "MLP 2-50-2": (lambda: MLPDynamics(2, (50,)), (2,), 10, (16, 64, 256, 1024, 4096)),
    "MLP 64-512-64": (
        lambda: MLPDynamics(64, (512,)),
        (64,),
        10,
        (4, 16, 64, 256),
    ),
    "conv, 64 channels": (lambda: ConvDynamics(64), (64, 6, 6), 2, (2, 4, 8, 16, 32)),
}
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # numbers in float32


class Step:
    """A training step: a solve by RK4, its gradient, and the optimizer.

    Parameters
    ----------
    name : str, of `CASES`
    together : bool, whether processes share the batch
    """

    def __init__(self, name: str, together: bool = False):
        make, self.shape, self.steps, self.batches = CASES[name]
        torch.manual_seed(0)
        self.f = make()
        self.model = NeuralODE(self.f, method="rk4", step_size=1 / self.steps)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.loss = self.misfit
        if together:
            self.loss = parallel.joint_loss(self.model, self.misfit)

    def misfit(self, y: Tensor) -> Tensor:
        """A mean over the rows."""
        return self.model(y).square().mean()

    def rows(self, n: int) -> Tensor:
        """A batch."""
        return torch.randn(n, *self.shape)

    def gradient(self, y: Tensor) -> None:
        """The solve and its gradient."""
        self.loss(y).backward()

    def evaluations(self, y: Tensor) -> None:
        """As many evaluations of f as the solve has, one behind the other, and back."""
        t = torch.tensor(0.0)
        for _ in range(4 * self.steps):
            y = self.f(t, y)
        y.square().mean().backward()

    def descend(self) -> None:
        """The optimizer's part."""
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def whole(self, y: Tensor) -> None:
        """A step."""
        self.gradient(y)
        self.descend()


def cpu_seconds(thing: Callable[[], object]) -> float:
    """The CPU time of this process for a thing."""
    start = time.process_time()
    thing()
    return time.process_time() - start


def in_turn(
    rounds: int, *things: Callable[[], object], clock: Callable = cpu_seconds
) -> list[list[float]]:
    """Seconds of each thing in each round.

    Each runs once before it is timed, for it should not pay for the caches that the one
    before has filled; and each round has another order, for that is not all that one
    leaves to the next. The orders are the same in every process.
    """
    draw, order = random.Random(0), list(range(len(things)))
    found: list[list[float]] = [[] for _ in things]
    for _ in range(rounds):
        draw.shuffle(order)
        for i in order:
            things[i]()
            found[i].append(clock(things[i]))
    return found


def middle(times: list[float]) -> float:
    """The median in milliseconds, to four digits."""
    return float(f"{1e3 * statistics.median(times):.4g}")


# --- one process ----------------------------------------------------------------------


def parts(name: str, rounds: int) -> dict:
    """Where the time of a step goes, at the middle batch."""
    step = Step(name)
    y = step.rows(step.batches[2])
    whole, gradient, field = in_turn(
        rounds,
        partial(step.whole, y),
        partial(step.gradient, y),
        partial(step.evaluations, y),
    )
    return {
        "case": name,
        "batch": len(y),
        "nfe": 4 * step.steps,
        "step ms": middle(whole),
        "field": share(field, whole),
        "solver": share([a - b for a, b in zip(gradient, field)], whole),
        "optimizer": share([a - b for a, b in zip(whole, gradient)], whole),
    }


def share(part: list[float], whole: list[float]) -> float:
    """The median share of a part in the whole, within a round."""
    return round(statistics.median(a / b for a, b in zip(part, whole)), 3)


def batches(name: str, rounds: int) -> list[dict]:
    """Milliseconds of a step for every batch."""
    step = Step(name)
    ys = [step.rows(n) for n in step.batches]
    times = in_turn(rounds, *(partial(step.whole, y) for y in ys))
    return [
        {"case": name, "batch": len(y), "step ms": middle(t)} for y, t in zip(ys, times)
    ]


def line(x: list[float], ms: list[float]) -> list[float]:
    """a and b of a + b x, by least squares of the relative misfits."""
    n, y = torch.tensor([x, ms], dtype=torch.float64)
    A = torch.stack((1 / y, n / y), dim=1)
    solved = torch.linalg.lstsq(A, torch.ones_like(y)[:, None]).solution[:, 0]
    return [float(f"{value:.4g}") for value in solved]


def cost(rows: list[dict], name: str) -> dict:
    """Milliseconds of a step, and of each row more."""
    own = [row for row in rows if row["case"] == name]
    fixed, row = line([r["batch"] for r in own], [r["step ms"] for r in own])
    size = sum(p.nbytes for p in CASES[name][0]().parameters())
    return {"case": name, "fixed ms": fixed, "row ms": row, "bytes": size}


def compiled(rounds: int) -> list[dict]:
    """One step of dopri5 as it is, and compiled: there, and there and back."""
    torch.compiler.config.force_disable_caches = (
        True  # or a second run compiles nothing
    )
    torch.manual_seed(0)
    f, y = MLPDynamics(2, (50,)), torch.randn(20, 2)
    t = torch.tensor(0.0)

    def step(y: Tensor) -> Tensor:
        return rk_step(f, t, y, 0.1, METHODS["dopri5"])[0]

    fast = torch.compile(step, fullgraph=True)

    def there(step: Callable) -> None:
        with torch.no_grad():
            step(y)

    def back(step: Callable) -> None:
        step(y).square().mean().backward()

    rows = []
    torch.compile(torch.sin)(y)  # the start of the compiler is not the step's
    for name, run in (("there", there), ("there and back", back)):
        first = measuring.seconds(partial(run, fast))
        eager, quick = in_turn(rounds, partial(run, step), partial(run, fast))
        ratio = statistics.median(a / b for a, b in zip(eager, quick))
        times = {"eager ms": middle(eager), "compiled ms": middle(quick)}
        rows.append(
            {
                "case": name,
                **times,
                "ratio": round(ratio, 2),
                "first s": round(first, 1),
            }
        )
    return rows


# --- two processes --------------------------------------------------------------------


def messages(rounds: int) -> list[dict]:
    """Milliseconds to add up tensors of two processes."""
    rows = []
    for size in SIZES:
        x = torch.ones(size)
        add = partial(distributed.all_reduce, x.zero_())
        (times,) = in_turn(rounds, add, clock=measuring.seconds)
        rows.append({"bytes": x.nbytes, "ms": middle(times)})
    return rows


def speed_ups(name: str, rounds: int) -> list[dict]:
    """The time of one process with all rows over that of two with half of them each."""
    alone, together = Step(name), Step(name, together=True)

    def first_only(y: Tensor) -> None:
        if parallel.own_rank() == 0:
            alone.whole(y)
        distributed.barrier()

    def both(y: Tensor) -> None:
        together.whole(y)
        distributed.barrier()

    rows = []
    for n in alone.batches[1:]:
        y = alone.rows(n)
        turns = partial(first_only, y), partial(both, y)
        one, two = in_turn(rounds, *turns, clock=measuring.seconds)
        ratio = statistics.median(a / b for a, b in zip(one, two))
        times = {"one ms": middle(one), "two ms": middle(two)}
        rows.append({"case": name, "batch": n, **times, "speed-up": round(ratio, 3)})
    return rows


def by_two(rounds: int) -> dict:
    """What two processes measure, started by torchrun."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        here = ["-m", "benchmarks.bench_scaling", "--rounds", str(rounds)]
        command = [sys.executable, *launcher, *here, "--together", str(out)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment)
        return json.loads(out.read_text())


def together(rounds: int, out: Path) -> None:
    """The part of one of the two; the first writes."""
    with parallel.process_group():
        found = dict(
            messages=messages(rounds),
            speed_ups=[row for name in CASES for row in speed_ups(name, rounds)],
        )
        if parallel.own_rank() == 0:
            out.write_text(json.dumps(found))


def main() -> None:
    """Measure everything and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--together", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.together:
        return together(args.rounds, args.together)
    sizes = [row for name in CASES for row in batches(name, args.rounds)]
    found = dict(
        parts=[parts(name, args.rounds) for name in CASES],
        batches=sizes,
        costs=[cost(sizes, name) for name in CASES],
        compiled=compiled(args.rounds),
        **by_two(args.rounds),
    )
    sent = found["messages"]
    both, byte = line([row["bytes"] for row in sent], [row["ms"] for row in sent])
    # Two processes in a ring send two messages each, of half the numbers.
    found["ring"] = [{"latency ms": both / 2, "bytes a second": 1e3 / byte}]
    load = round(os.getloadavg()[0], 1)
    made = records.made(rounds=args.rounds, cores=os.cpu_count(), load=load)
    records.save_results("scaling", made=made, **found)
    for rows in found.values():
        for row in rows:
            print(row)


if __name__ == "__main__":
    main()

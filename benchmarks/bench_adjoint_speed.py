"""Forward and backward through the adjoint: course_lib against torchdiffeq, run in turn
on the same problem.

    python -m benchmarks.bench_adjoint_speed

Same method (dopri5), same tolerance, torchdiffeq with its seminorm. A ratio is
torchdiffeq's time over ours within one pair of runs; the median is shown. The error is
that of the gradients (θ and y0, relative, Euclidean norm) against a solve in float64 at
a thousandth of the tolerance.
"""

from __future__ import annotations

import copy
import statistics
import time

import torch
import torchdiffeq

from course_lib.measuring import Counted, flat, relative_error
from course_lib.models import ConvDynamics, MLPDynamics
from course_lib.records import report
from course_lib.solvers import odeint_adjoint

CASES = {
    "MLP 2-50-2, batch 20": (lambda: MLPDynamics(2, (50,)), (20, 2), 1e-5, 101),
    "MLP 6-64-6, batch 100": (lambda: MLPDynamics(6, (64,)), (100, 6), 1e-5, 101),
    "conv 64 channels, 32×64×6×6": (lambda: ConvDynamics(64), (32, 64, 6, 6), 1e-3, 11),
}


def ours(f, y0, t, tolerance):
    """The course's adjoint."""
    return odeint_adjoint(f, y0, t, rtol=tolerance, atol=tolerance)


def theirs(f, y0, t, tolerance):
    """The library's adjoint, with its seminorm."""
    seminorm = {"norm": "seminorm"}
    return torchdiffeq.odeint_adjoint(
        f,
        y0,
        t,
        method="dopri5",
        rtol=tolerance,
        atol=tolerance,
        adjoint_options=seminorm,
    )


def gradients(solver, f, y0, t, tolerance) -> tuple[float, torch.Tensor]:
    """Seconds for one forward and backward, and all gradients in one vector."""
    y0 = y0.clone().requires_grad_()
    f.zero_grad()
    start = time.perf_counter()
    solver(f, y0, t, tolerance)[-1].square().sum().backward()
    seconds = time.perf_counter() - start
    return seconds, flat([y0.grad, *(p.grad for p in f.parameters())])


def race(make, shape, tolerance, runs) -> dict:
    """One row of the table."""
    torch.manual_seed(0)
    f, y0, t = Counted(make()), torch.randn(shape), torch.tensor([0.0, 1.0])
    _, exact = gradients(
        ours, copy.deepcopy(f).double(), y0.double(), t.double(), tolerance / 1000
    )
    row = {"tolerance": tolerance}
    times: dict[str, list[float]] = {"ours": [], "torchdiffeq": []}
    for solver, name in ((ours, "ours"), (theirs, "torchdiffeq")):
        f.reset()
        _, gradient = gradients(solver, f, y0, t, tolerance)
        row[f"nfe {name}"] = f.calls
        row[f"error {name}"] = relative_error(gradient, exact)
    for _ in range(runs):
        times["ours"].append(gradients(ours, f, y0, t, tolerance)[0])
        times["torchdiffeq"].append(gradients(theirs, f, y0, t, tolerance)[0])
    for name, values in times.items():
        row[f"ms {name}"] = 1e3 * statistics.median(values)
    row["ratio"] = statistics.median(b / a for a, b in zip(*times.values()))
    return row


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = [{"case": name, **race(*case)} for name, case in CASES.items()]
    report(
        "adjoint_speed", rows, pairs={name: case[-1] for name, case in CASES.items()}
    )

"""Bytes kept for the backward pass against the number of steps: direct grows, the
adjoint does not.

python -m benchmarks.bench_adjoint_memory
"""

from __future__ import annotations

import torch

from course_lib.measuring import bytes_saved, on_processor
from course_lib.models import MLPDynamics
from course_lib.records import report
from course_lib.solvers import odeint, odeint_adjoint


def bytes_kept(solver, steps: int) -> int:
    """Bytes that autograd keeps for the backward pass of a solve with `steps` RK4
    steps.
    """
    torch.manual_seed(0)
    f, y0 = MLPDynamics(2, (50,)), torch.randn(20, 2, requires_grad=True)
    t, settings = torch.tensor([0.0, 1.0]), dict(method="rk4", step_size=1 / steps)
    return bytes_saved(lambda: solver(f, y0, t, **settings))


if __name__ == "__main__":
    counts = (20, 63, 200, 632, 2000)
    rows = [
        {
            "steps": n,
            "bytes direct": bytes_kept(odeint, n),
            "bytes adjoint": bytes_kept(odeint_adjoint, n),
        }
        for n in counts
    ]
    where = dict(device=on_processor(), case="MLP 2-50-2, batch 20, rk4")
    report("adjoint_memory", rows, **where)

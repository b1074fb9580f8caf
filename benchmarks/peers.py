"""Who takes part in the race of the solvers, and with which gradients.

All take the steps of Dormand and Prince, order 5, with the same tolerance. What is
particular to one of them:

torchdiffeq
    Its adjoint has the seminorm, as ours.
torchode
    Every row of the batch has steps of its own, and f is called until the last one is
    through. Gradients leave out the choice of the step size, as they do elsewhere.
SciPy
    f in NumPy; no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torchdiffeq
import torchode
from scipy.integrate import solve_ivp
from torch import Tensor

from benchmarks.limits import Counts, counted_products, limit
from benchmarks.workloads import Task
from course_lib.measuring import counted_calls, flat
from course_lib.solvers import (
    odeint,
    odeint_adjoint,
    odeint_checkpointed,
    odeint_interpolated,
)
from course_lib.systems import LotkaVolterra


@dataclass
class Entry:
    """One who takes part.

    Attributes
    ----------
    peer, mode : str
    run : callable, the task once; what it returns is of no use
    outcome : callable, runs once more and gives what was found, as one vector
    counts : Counts, of a run
    limit : callable that does what a run cannot do without, or None if that is unknown
    compile_s : float, seconds of compiling before the first run, or None
    """

    peer: str
    mode: str
    run: Callable[[], object]
    outcome: Callable[[], Tensor]
    counts: Counts = field(default_factory=Counts)
    limit: Callable[[], object] | None = None
    compile_s: float | None = None


# --- PyTorch --------------------------------------------------------------------------


def by_torchode(f, y0: Tensor, t: Tensor, *, rtol: float, atol: float) -> Tensor:
    """Solve as `odeint` does, each row by itself; a state without rows is one row."""
    shape = y0.shape if y0.ndim > 1 else (1, *y0.shape)
    beside = (-1, *(1,) * (len(shape) - 1))

    def rows(t: Tensor, y: Tensor) -> Tensor:
        return f(t.view(beside), y.view(shape)).flatten(1)

    def single(t: Tensor, y: Tensor) -> Tensor:
        return f(t[0], y[0])[None]

    term = torchode.ODETerm(rows if y0.ndim > 1 else single, with_stats=False)
    solver = torchode.AutoDiffAdjoint(
        torchode.Dopri5(term=term),
        torchode.IntegralController(atol=atol, rtol=rtol, term=term),
        backprop_through_step_size_control=False,
    )
    start, times = y0.reshape(shape[0], -1), t.expand(shape[0], -1)
    ys = solver.solve(
        torchode.InitialValueProblem(start, times[:, 0], times[:, -1], times)
    ).ys
    return ys.transpose(0, 1).reshape(len(t), *y0.shape)


THEIRS = partial(torchdiffeq.odeint, method="dopri5")
THEIR_ADJOINT = partial(
    torchdiffeq.odeint_adjoint, method="dopri5", adjoint_options={"norm": "seminorm"}
)

# A step of ours that is compiled would be one more row: "course, compiled".
IN_TORCH: dict[str, dict[str, Callable[..., Tensor]]] = {
    "course": {
        "forward": odeint,
        "direct": odeint,
        "checkpointed": odeint_checkpointed,
        "adjoint": odeint_adjoint,
        "interpolated": odeint_interpolated,
    },
    "torchdiffeq": {"forward": THEIRS, "direct": THEIRS, "adjoint": THEIR_ADJOINT},
    "torchode": {"forward": by_torchode, "direct": by_torchode},
}


def forward_once(task: Task, solver: Callable) -> Tensor:
    """The result of the task, without a graph."""
    with torch.no_grad():
        return task(solver)


def gradient_once(task: Task, solver: Callable) -> None:
    """The gradient of the task's loss, left in its parameters."""
    task.zero_grad()
    task.loss(task(solver)).backward()


def gradient(task: Task) -> Tensor:
    """What `gradient_once` has left, as one vector."""
    return flat(p.grad for p in task.parameters() if p.requires_grad)


def in_torch(task: Task, peer: str, mode: str) -> Entry:
    """Enter a solver for PyTorch, with its counts from a first run."""
    solver = IN_TORCH[peer][mode]
    once = forward_once if mode == "forward" else gradient_once
    counts = Counts()
    with counted_calls(task.field) as calls, counted_products(task.field) as products:

        def there(*problem, **how) -> Tensor:
            ys = solver(*problem, **how)
            counts.nfe = calls.reset()
            return ys

        once(task, there)
        counts.nfe_back, counts.vjps = calls.calls, products.calls
    run = partial(once, task, solver)

    def outcome() -> Tensor:
        result = run()
        return gradient(task) if result is None else result.flatten()

    return Entry(peer, mode, run, outcome, counts, limit(task, mode, counts))


# --- SciPy ----------------------------------------------------------------------------


def in_scipy(task: Task, field: LotkaVolterra) -> Entry:
    """Enter `solve_ivp` for a task with this field."""
    a, b, c, d = field.log_rates.exp().tolist()
    y0, t = task.y0.detach().numpy(), task.t.numpy()

    def f(t: float, y: np.ndarray) -> np.ndarray:
        met = y[0] * y[1]
        return np.array([a * y[0] - b * met, d * met - c * y[1]])

    run = partial(solve_ivp, f, t[[0, -1]], y0, "RK45", t, **task.tolerances)
    nfe = run().nfev

    def alone() -> None:
        for _ in range(nfe):
            f(0.0, y0)

    def outcome() -> Tensor:
        return torch.from_numpy(run().y.T[1:].flatten())

    return Entry("SciPy", "forward", run, outcome, Counts(nfe), alone)

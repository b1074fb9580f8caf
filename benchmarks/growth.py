"""How time and memory grow: with the steps, the output times, the parameters, the batch.

    python -m benchmarks.growth

One size grows tenfold at a time and the rest stays. The slope is that of log time (or
log bytes) against log size over the last decade: 1 is linear, less is better. Times are
CPU times of one thread, the least of a few runs.

The graph of 40,000 evaluations takes a little more than ten times as long as that of 4,000,
with a solver and without: the row without one stands beside the direct gradient.

Memory is the peak of all tensors that are alive at once, whoever holds them: states,
stages, graphs, gradients, beside what was there before. The adjoint's does not grow with
the steps. The interpolated one keeps a polynomial for each step, which is a few states:
its memory grows with the steps, but not with what f computes on its way.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.bench_scaling import cpu_seconds
from benchmarks.limits import Counts, limit
from benchmarks.peers import IN_TORCH, forward_once, gradient_once
from benchmarks.workloads import Task
from course_lib.measuring import on_processor
from course_lib.models import MLPDynamics
from course_lib.records import made, print_rows, save_results

STEPS = (100, 1_000, 10_000)
TIMES = (1_000, 10_000, 100_000)
WIDTHS = (316, 1_000, 3_162)  # squared: the parameters of the middle layer
BATCHES = (1_000, 10_000, 100_000)
OURS = IN_TORCH["course"]


# --- memory ---------------------------------------------------------------------------


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors made while the context lasts, as long as each
    lives.

    Attributes
    ----------
    now, peak : int, bytes alive, and the most at any time
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Do what is asked, and count what is new in the result."""
        result = func(*args, **(kwargs or {}))
        old = {x.untyped_storage()._cdata for x in tensors((args, kwargs))}
        for x in tensors(result):
            storage = x.untyped_storage()
            if storage._cdata not in old and storage._cdata not in self.known:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()

        def gone(_) -> None:
            self.now -= size
            del self.known[key]

        self.known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def tensors(tree: object) -> list[Tensor]:
    """The tensors in a nest of lists, tuples and dictionaries."""
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def peak_bytes(compute: Callable[[], object]) -> int:
    """The most bytes of new tensors that are alive at once while ``compute()`` runs."""
    with LiveBytes() as live:
        compute()
    return live.peak


# --- what grows -----------------------------------------------------------------------


def task_of(
    *,
    hidden: Sequence[int] = (50,),
    batch: int = 20,
    times: int = 2,
) -> Task:
    """A network in the plane, solved from 0 to 1."""
    torch.manual_seed(0)
    field, y0 = MLPDynamics(2, hidden), torch.randn(batch, 2)
    t = torch.linspace(0, 1, times).double()  # float32 cannot tell so many apart
    task = Task(field, y0, (0.0, 1.0), rtol=1e-5, atol=1e-5)
    task.t = t
    return task


def once(task: Task, mode: str, **fixed) -> Callable[[], object]:
    """A solve of the task, with its gradient if the mode has one; `fixed` are the
    settings of fixed steps, in place of the tolerances.
    """
    if fixed:
        task.tolerances = fixed
    return partial(
        forward_once if mode == "forward" else gradient_once, task, OURS[mode]
    )


def with_steps(mode: str, n: int, method: str = "rk4") -> Callable[[], object]:
    """A solve of n steps."""
    return once(task_of(), mode, method=method, step_size=1 / n, max_steps=2 * n)


def with_times(mode: str, n: int) -> Callable[[], object]:
    """A solve that is reported at n times."""
    return once(task_of(times=n), mode, rtol=1e-5, atol=1e-5, max_steps=20 * n)


def with_width(mode: str, n: int) -> Callable[[], object]:
    """Four steps with about n² parameters."""
    return once(task_of(hidden=(n, n), batch=8), mode, method="rk4", step_size=0.25)


def with_batch(mode: str, n: int) -> Callable[[], object]:
    """Four steps with n rows."""
    return once(task_of(batch=n), mode, method="rk4", step_size=0.25)


def bare(n: int) -> Callable[[], object]:
    """The evaluations of n steps of RK4 and their products, as `limits` has them."""
    return limit(task_of(), "direct", Counts(nfe=4 * n, vjps=4 * n))


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The exponent of the growth between the last two sizes."""
    return math.log(costs[-1] / costs[-2]) / math.log(sizes[-1] / sizes[-2])


def least(compute: Callable[[], object]) -> float:
    """CPU milliseconds, the least of three runs, or of fewer if they take long."""
    runs: list[float] = []
    while len(runs) < 3 and sum(runs) < 2:
        runs.append(cpu_seconds(compute))
    return 1e3 * min(runs)


def row(
    what: str, unit: str, mode: str, sizes: Sequence[int], costs: list[float]
) -> dict:
    """How the costs of a mode grow with the sizes of something."""
    return {
        "what": what,
        "unit": unit,
        "mode": mode,
        "sizes": list(sizes),
        "costs": [float(f"{cost:.4g}") for cost in costs],
        "slope": round(slope(sizes, costs), 3),
    }


def times() -> list[dict]:
    """The rows of the time."""
    grown: dict[str, tuple[Callable, tuple[int, ...]]] = {
        "steps": (with_steps, STEPS),
        "output times": (with_times, TIMES),
        "parameters": (with_width, WIDTHS),
        "batch": (with_batch, BATCHES),
    }
    rows = []
    for what, (make, sizes) in grown.items():
        for mode in OURS:
            # The adjoint starts again at every time: a tenth of them take long enough.
            rare = what == "output times" and mode == "adjoint"
            chosen = [n // 10 for n in sizes] if rare else sizes
            costs = [least(make(mode, n)) for n in chosen]
            shown = [n * n for n in sizes] if what == "parameters" else chosen
            rows.append(row(what, "ms", mode, shown, costs))
            print_rows(rows[-1:])
    costs = [least(bare(n)) for n in STEPS]
    return [*rows, row("steps", "ms", "direct, without a solver", STEPS, costs)]


def memory() -> list[dict]:
    """The rows of the memory, against the number of Euler's steps."""
    rows = []
    for mode in OURS:
        costs = [float(peak_bytes(with_steps(mode, n, "euler"))) for n in STEPS]
        rows.append(row("steps", "bytes", mode, STEPS, costs))
        print_rows(rows[-1:])
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    save_results("growth", made=made(device=on_processor()), rows=[*times(), *memory()])

"""The race of the solvers: what a neural ODE costs, here and elsewhere, and how far each
is from the limit.

    python -m benchmarks.solvers [--only NAME] [--rounds N]

Six tasks (see `workloads`), forward only and with each kind of gradient; all who can do a
task (see `peers` and `peers_in_jax`) step by the same table with the same tolerance, each
with its own control of the error. They run in turn, round after round, each once untimed
before it is timed, and every ratio is taken within a round, so that whatever else the
machine does meets all alike. One thread.

ms, q1, q3
    Median and quartiles over the rounds, by the clock on the wall, which alone is fair to
    XLA: it computes in a thread of its own, whose CPU time is booked later. So nothing
    else should run.
nfe, nfe back, vjps
    Evaluations of f there and on the way back, and vector-Jacobian products.
error
    Of the solution (forward) or of the gradient, relative, Euclidean norm, against a solve
    in float64 at a thousandth of the tolerance.
ratio
    torchdiffeq's time over this one. torchdiffeq has no checkpointed and no interpolated
    gradient: those are held against its adjoint, which is what it has to save memory.
overhead
    The time over that of bare evaluations and products, as many as it took, measured in
    the same rounds; `limits` says how for each kind of gradient.
compile s
    CPU seconds of tracing and compiling, the median of three times.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
from importlib.metadata import version

import torch
from torch import Tensor

from benchmarks.bench_scaling import in_turn
from benchmarks.limits import MODES
from benchmarks.peers import (
    IN_TORCH,
    Entry,
    forward_once,
    gradient,
    gradient_once,
    in_scipy,
    in_torch,
)
from benchmarks.peers_in_jax import IN_JAX, in_jax, known
from benchmarks.workloads import TASKS, Task
from course_lib.measuring import on_processor, relative_error, seconds
from course_lib.records import print_rows, report
from course_lib.solvers import odeint, odeint_checkpointed
from course_lib.systems import LotkaVolterra

PACKAGES = ("torchdiffeq", "torchode", "diffrax", "jax", "scipy")
XLA = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def entries(task: Task) -> list[Entry]:
    """All who can do the task, with every gradient they have."""
    found = [in_torch(task, who, mode) for who in IN_TORCH for mode in IN_TORCH[who]]
    if isinstance(task.field, LotkaVolterra):
        found.append(in_scipy(task, task.field))
    if known(task):
        found += [in_jax(task, who, mode) for who in IN_JAX for mode in IN_JAX[who]]
    return found


def exact(task: Task) -> dict[bool, Tensor]:
    """The solution and the gradient in float64 at a thousandth of the tolerance, by
    whether the gradient is meant.
    """
    precise = copy.deepcopy(task).double()
    precise.tolerances = {k: tol / 1000 for k, tol in task.tolerances.items()}
    solution = forward_once(precise, odeint).flatten()
    gradient_once(precise, odeint_checkpointed)
    return {False: solution, True: gradient(precise)}


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The first quartile, the median and the third quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def paired(above: list[float], below: list[float]) -> float:
    """The median ratio within a round."""
    return statistics.median(a / b for a, b in zip(above, below))


def rival(entry: Entry) -> str:
    """The gradient of torchdiffeq that an entry is held against."""
    kept = ("forward", "direct", "adjoint")
    return entry.mode if entry.mode in kept else "adjoint"


def race(name: str, task: Task, field: list[Entry], rounds: int) -> list[dict]:
    """The rows of a task, one for each in the field; torchdiffeq must be among them."""
    truth = exact(task)
    limits = [e.limit for e in field if e.limit]
    errors = [relative_error(e.outcome(), truth[e.mode != "forward"]) for e in field]
    times = in_turn(rounds, *(e.run for e in field), *limits, clock=seconds)
    bare = iter(times[len(field) :])
    own = {(e.peer, e.mode): t for e, t in zip(field, times)}
    rows = []
    for entry, t, error in zip(field, times, errors):
        alone = next(bare) if entry.limit else None
        rows.append(
            {
                "case": name,
                "mode": entry.mode,
                "peer": entry.peer,
                **row(entry, t, alone, own["torchdiffeq", rival(entry)]),
                "error": error,
                "tolerance": task.tolerances["rtol"],
            }
        )
    return sorted(rows, key=lambda r: MODES.index(r["mode"]))


def row(
    entry: Entry, times: list[float], alone: list[float] | None, theirs: list[float]
) -> dict:
    """What the seconds of an entry come to, beside those of its limit and of torchdiffeq
    in the same rounds.
    """
    low, middle, high = (1e3 * s for s in quartiles(times))
    counts = entry.counts
    return {
        "ms": middle,
        "q1": low,
        "q3": high,
        "ratio": paired(theirs, times),
        "overhead": paired(times, alone) if alone else None,
        "limit ms": 1e3 * statistics.median(alone) if alone else None,
        "nfe": counts.nfe,
        "nfe back": counts.nfe_back,
        "vjps": counts.vjps,
        "compile s": entry.compile_s,
    }


def note(rows: list[dict]) -> str:
    """What has to stand beside the ratio of the adjoints on the convolutions."""
    course, library = (
        next(
            row["nfe"] + row["nfe back"]
            for row in rows
            if row["peer"] == peer
            and row["mode"] == "adjoint"
            and row["case"].startswith("conv")
        )
        for peer in ("course", "torchdiffeq")
    )
    return (
        f"The adjoint of the convolutions takes torchdiffeq {library} evaluations of f, "
        f"the course {course}: the ratio of their times is not that of their speed alone"
    )


def about(rounds: int | None) -> dict:
    """What made the rows, beside what is always recorded."""
    counts = {name: rounds or own for name, (_, own) in TASKS.items()}
    load = round(os.getloadavg()[0], 1)
    versions = {package: version(package) for package in PACKAGES}
    where = dict(device=on_processor(), cores=os.cpu_count(), load=load)
    return dict(rounds=counts, **where, **versions)


def single_thread() -> None:
    """One thread for PyTorch, and one core for JAX, if it has not computed yet: it takes
    more threads than its flags allow.
    """
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {XLA}"


def main() -> None:
    """Race and write it down; a part of the race is only printed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", choices=TASKS, help="one task, which is not written")
    parser.add_argument("--rounds", type=int, help="instead of each task's own number")
    args = parser.parse_args()
    single_thread()
    made, rows = about(args.rounds), []
    for name in [args.only] if args.only else TASKS:
        make, rounds = TASKS[name]
        task = make()
        rows += race(name, task, entries(task), args.rounds or rounds)
    if args.only:
        print_rows(rows)
    else:
        report("speed", rows, **made, note=note(rows))


if __name__ == "__main__":
    main()

"""A GPU: the convolutions at two sizes of the batch, here and by torchdiffeq, and how
often the processor waits for the card.

    python -m benchmarks.gpu [--rounds N]

The two run in turn, each once untimed before it is timed, by the clock and to the end of
what the card does. A wait is a synchronisation of PyTorch with the card, as its own
debug mode reports them: a solver that adapts its steps has to know the error of each, so
one a step is the least. A step of ours that is compiled has its place in `SOLVERS`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torchdiffeq

from benchmarks.bench_scaling import in_turn
from benchmarks.peers import IN_TORCH, forward_once, gradient_once
from benchmarks.workloads import Task, convolutions
from course_lib.measuring import counted_calls, seconds
from course_lib.records import report

BATCHES = (128, 1024)
SOLVERS = ("course", "torchdiffeq")
MODES = ("forward", "direct", "adjoint")


def require_cuda() -> None:
    """End with a sentence where there is no GPU."""
    if not torch.cuda.is_available():
        sys.exit(
            "benchmarks.gpu needs a GPU that PyTorch can use, and torch.cuda finds none; "
            "python -m benchmarks.solvers measures the processor"
        )


@contextmanager
def waits() -> Iterator[list]:
    """The warnings of PyTorch, one for each synchronisation with the card, while the
    context lasts.
    """
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
    finally:
        torch.cuda.set_sync_debug_mode("default")


def steps_of(task: Task, peer: str) -> int:
    """The steps that its forward solve tries: six evaluations each, after two to begin."""
    with counted_calls(task.field) as tally:
        forward_once(task, IN_TORCH[peer]["forward"])
    return (tally.calls - 2) // 6


def row(task: Task, peer: str, mode: str, times: list[float], ratio: float) -> dict:
    """The numbers of one solver, its evaluations and waits from one more run."""
    run = runner(task, peer, mode)
    with counted_calls(task.field) as tally, waits() as caught:
        run()
    said = [w for w in caught if "synchroniz" in str(w.message)]
    return {
        "batch": len(task.y0),
        "mode": mode,
        "peer": peer,
        "ms": 1e3 * statistics.median(times),
        "ratio": ratio,
        "nfe": tally.calls,
        "waits": len(said),
        "steps there": steps_of(task, peer),
    }


def runner(task: Task, peer: str, mode: str) -> Callable[[], object]:
    """The task once."""
    once = forward_once if mode == "forward" else gradient_once
    return partial(once, task, IN_TORCH[peer][mode])


def race(batch: int, rounds: int) -> list[dict]:
    """The rows of a batch."""
    task = convolutions(batch).cuda()
    rows = []
    for mode in MODES:
        runs = [runner(task, peer, mode) for peer in SOLVERS]
        times = dict(zip(SOLVERS, in_turn(rounds, *runs, clock=seconds)))
        for peer, own in times.items():
            theirs = times["torchdiffeq"]
            ratio = statistics.median(a / b for a, b in zip(theirs, own))
            rows.append(row(task, peer, mode, own, ratio))
    return rows


def main() -> None:
    """Measure and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=21)
    args = parser.parse_args()
    require_cuda()
    rows = [row for batch in BATCHES for row in race(batch, args.rounds)]
    versions = dict(torchdiffeq=torchdiffeq.__version__, cuda=torch.version.cuda)
    report("gpu", rows, rounds=args.rounds, **versions)


if __name__ == "__main__":
    main()

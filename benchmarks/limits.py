"""How often a solve asks f and its derivative, and how fast that alone could be.

The limit of a solve is the time of its evaluations of f, and of its vector-Jacobian
products, without any solver. It is measured with the number of each that this very solve
needs, and in the way that this kind of gradient must take:

forward
    n evaluations under `no_grad`, one after the other.
direct
    n evaluations with a graph, all alive, and then one ``backward()`` through those that
    have a say in the result. What a rejected step has evaluated has none.
checkpointed
    The forward pass without a graph, then the evaluations of the repeated steps with one,
    as above. To repeat is part of the method, not of its overhead.
adjoint, interpolated
    The forward pass without a graph, then evaluations each of which is followed at once
    by its product with respect to y and θ; no graph lives longer than that.

Every evaluation has the same y, but as a tensor of its own: a chain y ← f(t, y) would
do as much, but after some dozen links its numbers die out or overflow, and the
processor is slow with those that are tiny. What the task does besides the solve (an
encoder, a decoder) is added where there is any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.workloads import Task
from course_lib.measuring import Tally

MODES = ("forward", "direct", "checkpointed", "adjoint", "interpolated")


@dataclass
class Counts:
    """What a solve asks for.

    Attributes
    ----------
    nfe : int, evaluations of f on the way there
    nfe_back : int, on the way back; None if unknown
    vjps : int, vector-Jacobian products; None if unknown
    """

    nfe: int = 0
    nfe_back: int | None = 0
    vjps: int | None = 0


@contextmanager
def counted_products(field: nn.Module) -> Iterator[Tally]:
    """Count the vector-Jacobian products of the field while the context lasts."""
    tally = Tally()

    def pulled(_: Tensor) -> None:
        tally.calls += 1

    def called(_field: nn.Module, _inputs: tuple, dy: Tensor) -> None:
        if dy.requires_grad:
            dy.register_hook(pulled)

    hook = field.register_forward_hook(called)
    try:
        yield tally
    finally:
        hook.remove()


def limit(task: Task, mode: str, counts: Counts) -> Callable[[], object]:
    """A function that does what a solve with these counts cannot do without."""
    parts = [partial(_rest, task, mode != "forward")]
    if mode != "direct":
        parts.append(partial(_there, task, counts.nfe))
    if mode == "direct":
        parts.append(partial(_together, task, counts.nfe, counts.vjps))
    if mode == "checkpointed":
        parts.append(partial(_together, task, counts.nfe_back, counts.vjps))
    if mode in ("adjoint", "interpolated"):
        parts.append(partial(_one_by_one, task, counts.nfe_back, counts.vjps))

    def alone() -> None:
        for part in parts:
            part()

    return alone


def _rest(task: Task, gradient: bool) -> None:
    with torch.set_grad_enabled(gradient):
        loss = task.rest()
    if gradient and loss is not None:
        loss.backward()


def _there(task: Task, nfe: int) -> None:
    """Evaluations without a graph."""
    t, y = task.t[0], task.y0.detach()
    with torch.no_grad():
        for _ in range(nfe):
            task.field(t, y)


def _together(task: Task, nfe: int, vjps: int) -> None:
    """Evaluations with a graph, and one way back through `vjps` of them."""
    t, y = task.t[0], task.y0.detach()
    found = [task.field(t, y.detach().requires_grad_()) for _ in range(nfe)][:vjps]
    torch.autograd.backward(found, [y] * len(found))


def _one_by_one(task: Task, nfe: int, vjps: int) -> None:
    """Evaluations, each with its product behind it as long as there are any."""
    t, v, theta = task.t[0], task.y0.detach(), [*task.field.parameters()]
    for i in range(nfe):
        y = v.detach().requires_grad_()
        dy = task.field(t, y)
        if i < vjps:
            torch.autograd.grad(dy, (y, *theta), v, allow_unused=True)

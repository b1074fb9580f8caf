"""One training by several processes, each of which takes its part of every batch.

``torchrun --nproc-per-node=2 -m tools.pretrain mnist`` starts the same program twice.
Inside `process_group` the two know of each other, `joint_loss` has PyTorch average their gradients,
and all the rest of a training is that of one process.

`StepCost` says on paper how long a step of theirs takes.

References
----------
Li et al. 2020, PyTorch Distributed: Experiences on Accelerating Data Parallel Training.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    "PartLoss",
    "StepCost",
    "gathered",
    "joint_loss",
    "joint_mean",
    "own_rank",
    "part_of",
    "process_group",
    "world_size",
]


def world_size() -> int:
    """How many processes train together; 1 outside a group."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


def own_rank() -> int:
    """Which of them this is, from 0; the first one writes and prints."""
    return distributed.get_rank() if world_size() > 1 else 0


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started together with this one, and leave them at
    the end; nothing if torchrun did not start it.

    They talk by nccl if there are GPUs, of which each takes one, else by gloo.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def part_of(x: Tensor) -> Tensor:
    """The rows of a batch that this process takes: all processes together take each row
    once, and none takes two more than another.
    """
    return x.tensor_split(world_size())[own_rank()]


def joint_mean(x: Tensor) -> float:
    """The mean over all processes of a number that each of them has."""
    if world_size() == 1:
        return x.item()
    total = x.detach().clone()
    distributed.all_reduce(total)
    return total.item() / world_size()


def gathered(x: object) -> list:
    """What each process has, in their order, for every one of them."""
    if world_size() == 1:
        return [x]
    found: list[object] = [None] * world_size()
    distributed.all_gather_object(found, x)
    return found


class PartLoss(nn.Module):
    """The loss of this process's part of a batch, weighted so that its mean over the
    processes is the loss of the whole batch.

    Parameters
    ----------
    model : Module whose parameters the loss depends on
    loss : callable ``loss(*batch) -> Tensor``, a mean over the rows of the batch
    """

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor]):
        super().__init__()
        self.model, self.loss = model, loss
        self.compared = (
            world_size() == 1
        )  # whether the first batch is known to be joint

    def forward(self, *batch: Tensor) -> Tensor:
        """The loss of the part, times its rows over the rows that a part has on average.

        Raises
        ------
        ValueError
            If the batch has fewer rows than there are processes, or the first one is not
            the same in all of them.
        """
        if not self.compared:
            _check_joint(batch)
            self.compared = True
        whole, parts = len(batch[0]), [part_of(x) for x in batch]
        if whole < world_size():
            raise ValueError(
                f"a batch of {whole} row(s) cannot be shared by {world_size()} processes; take "
                "a batch size that leaves a larger last batch, or fewer processes"
            )
        return self.loss(*parts) * (len(parts[0]) * world_size() / whole)


def _check_joint(batch: tuple[Tensor, ...]) -> None:
    """Refuse a batch of which the processes hold different rows."""
    own = [(tuple(x.shape), _checksum(x)) for x in batch]
    if len(set(map(str, gathered(own)))) > 1:
        raise ValueError(
            "batches must be the same in every process, which then takes its part; these "
            "differ. Draw their order from a generator with one seed: "
            "training.minibatches does, or DataLoader(..., generator=...)"
        )


def _checksum(x: Tensor) -> float:
    """A number that also tells in which order the entries stand."""
    entries = x.detach().double().flatten()
    places = torch.arange(1.0, len(entries) + 1, device=x.device, dtype=entries.dtype)
    return (places * entries).sum().item()


def joint_loss(model: nn.Module, loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss as the processes of the group compute it together, each its part; the
    loss itself if there is one process.

    Its gradients are averaged over the processes while ``backward()`` runs: hooks on the
    parameters do that, whatever computes their gradients, an adjoint solve too. The
    hooks listen only after a forward pass through the wrapper, which is why the loss is
    what is wrapped: it calls the model. Keep what is returned until after ``backward()``;
    the hooks go with it.

    Parameters
    ----------
    model, loss
        As for `PartLoss`. All processes begin with the parameters of the first.

    Notes
    -----
    From here on the processes draw different random numbers: the first goes on with its
    own, so that noise added to the rows is not the same in every part.
    """
    if world_size() == 1:
        return loss
    if own_rank():
        torch.manual_seed(torch.initial_seed() + 1_000_003 * own_rank())
    return DistributedDataParallel(PartLoss(model, loss))


@dataclass(frozen=True)
class StepCost:
    """How long a training step takes that processes share; a model of few constants.

    The gradients go round a ring: each process sends 2 (P - 1) messages to its neighbour,
    each of a P-th of the numbers, and waits for them. Nothing overlaps here, and nothing is
    in another's way: in truth a part of the messages travels while the rest of the gradient
    is computed, and processes on one machine share its caches and its memory.

    Attributes
    ----------
    fixed : float, seconds of every process, however few its rows
    row : float, seconds a row
    size : float, bytes of the gradient
    latency : float, seconds of a message without content
    bandwidth : float, bytes a second from a process to its neighbour

    References
    ----------
    Patarasuk, Yuan 2009, Bandwidth optimal all-reduce algorithms for clusters of
    workstations.
    """

    fixed: float
    row: float
    size: float
    latency: float
    bandwidth: float

    def parts(self, batch: int, processes: int) -> tuple[float, float, float]:
        """Seconds for the rows of the largest part, for what is not split, and for the
        messages.
        """
        others = processes - 1
        share = self.size / processes / self.bandwidth
        rows = -(-batch // processes)  # rounded up
        return self.row * rows, self.fixed, 2 * others * (self.latency + share)

    def seconds(self, batch: int, processes: int = 1) -> float:
        """Seconds of a step."""
        return sum(self.parts(batch, processes))

    def speed_up(self, batch: int, processes: int) -> float:
        """How many times as fast as one process."""
        return self.seconds(batch) / self.seconds(batch, processes)

    def best(self, batch: int, most: int = 1024) -> int:
        """The number of processes, up to `most` and one a row, with the shortest step."""
        return min(range(1, min(most, batch) + 1), key=lambda n: self.seconds(batch, n))

"""Training: one loop, one cycle of the learning rate, seeds, the device, minibatches.

The loop is that of one process. Started by torchrun, inside `parallel.process_group`, it is that
of several: each takes its part of every batch, and all make the same step.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from math import inf
from operator import length_hint

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset
from tqdm.auto import tqdm

from course_lib import parallel
from course_lib.data import generator
from course_lib.resuming import Keeper, Saves
from course_lib.solvers import check_positive

__all__ = [
    "History",
    "by_device",
    "device",
    "fit",
    "minibatches",
    "one_cycle",
    "seed",
]


@dataclass(frozen=True)
class History:
    """What a training run did.

    Attributes
    ----------
    losses : tuple of float, one for each step
    epochs : tuple, what `after_epoch` returned after each epoch
    seconds : float, wall time
    """

    losses: tuple[float, ...]
    epochs: tuple
    seconds: float


def device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def by_device(*, cpu, cuda):
    """The first value on a CPU, the second on a GPU: ``epochs = by_device(cpu=1,
    cuda=10)``.
    """
    return cuda if device().type == "cuda" else cpu


def seed(value: int) -> None:
    """Seed PyTorch's global generator, from which weights are initialised."""
    torch.manual_seed(value)


def minibatches(*tensors: Tensor, size: int, seed: int = 0) -> DataLoader:
    """Tuples of `size` matching rows, in a new order every epoch; the order depends on
    `seed` alone.
    """
    data = TensorDataset(*tensors)
    order = BatchSampler(
        RandomSampler(data, generator=generator(seed)), size, drop_last=False
    )
    return DataLoader(data, sampler=order, batch_size=None)


def fit(
    model: nn.Module,
    batches: Iterable,
    loss: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int = 1,
    scheduler=None,
    clip: float | None = None,
    after_epoch: Callable[[], object] | None = None,
    saves: Saves | None = None,
    label: str = "training",
) -> History:
    """Minimise ``loss(*batch)`` over the parameters of `model`, with a progress bar.

    Parameters
    ----------
    model : Module, put into training mode
    batches : iterable of tuples, gone through once each epoch
    loss : callable ``loss(*batch) -> Tensor``, a scalar
    optimizer : built on the parameters of `model`
    epochs : int
    scheduler : learning-rate scheduler, stepped after every batch
    clip : float, longest gradient (Euclidean norm over all parameters) let through
        unscaled
    after_epoch : callable, what it returns is kept in the History
    saves : Saves, optional
        The training goes on from there if it was stopped, to the same weights: where
        random numbers come from PyTorch's generators, and `saves` names what else there is.
    label : str, in front of the progress bar

    Raises
    ------
    FloatingPointError
        If the loss is NaN or infinite; the parameters are those before the step.
    ValueError
        For a `clip` that is not positive, or if an epoch holds no batch.

    Notes
    -----
    In a group of processes the loss must be a mean over the rows of a batch, and the
    batches the same in all: see `course_lib.parallel`.
    """
    if clip is not None:
        check_positive("clip", clip, "1.0 is a usual value; None scales nothing")
    parts = dict(model=model, optimizer=optimizer, scheduler=scheduler)
    keeper, loss = Keeper(saves, parts, batches), parallel.joint_loss(model, loss)
    done = keeper.begin()
    start = time.perf_counter() - done.seconds
    # The notebook's bar does not look at tqdm's own switch.
    quiet = bool(os.environ.get("TQDM_DISABLE")) or parallel.own_rank() > 0
    steps = epochs * length_hint(batches) or None  # None: not known before
    with tqdm(total=steps, desc=label, leave=False, disable=quiet) as bar:
        bar.update(len(done.losses))
        while done.epoch < epochs:
            model.train()
            for batch in keeper.rest(done.batch):
                step = len(done.losses)
                value = _descend(model, loss, batch, optimizer, clip, step)
                if scheduler is not None:
                    scheduler.step()
                done.losses.append(value)
                done.batch += 1
                done.seconds = time.perf_counter() - start
                keeper.keep(done)
                bar.update()
                bar.set_postfix(loss=f"{value:.4g}", refresh=False)
            if not done.batch:
                raise ValueError(
                    "batches held nothing in this epoch; a generator can be gone "
                    "through once: give a list or a DataLoader"
                )
            if after_epoch is not None:
                done.notes.append(after_epoch())
            done.epoch, done.batch = done.epoch + 1, 0
    seconds = time.perf_counter() - start
    return History(tuple(done.losses), tuple(done.notes), seconds)


def one_cycle(
    model: nn.Module,
    batches: Collection | DataLoader,
    loss: Callable[..., Tensor],
    *,
    lr: float,
    epochs: int = 1,
    rise: float = 0.3,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    clip: float | None = None,
    after_epoch: Callable[[], object] | None = None,
    saves: Saves | None = None,
    label: str = "training",
) -> History:
    """`fit` with a learning rate that rises to `lr` and falls to almost nothing, once.

    Parameters
    ----------
    model, batches, loss, epochs, clip, after_epoch, saves, label
        As for `fit`.
    lr : float, the highest learning rate; the first is a 25th of it
    rise : float, share of the steps until then, between 0 and 1
        Where that is less than a step the rate begins near the top; a single step has the
        lowest rate of all, next to nothing.
    optimizer : callable ``optimizer(parameters, lr=lr) -> Optimizer``
        With other settings: ``partial(torch.optim.SGD, weight_decay=1e-4)``. Momentum
        (Adam's first β) moves against the rate, from 0.95 to 0.85 and back, as in
        `torch.optim.lr_scheduler.OneCycleLR`.

    Raises
    ------
    ValueError
        If the rate would not rise, or not fall again; or rise for exactly one step, where
        PyTorch's schedule divides by zero.

    References
    ----------
    Smith, Topin 2018, Super-Convergence.
    """
    steps = epochs * len(batches)
    if not (0 < rise < 1 and rise * steps != 1):
        raise ValueError(
            f"rise must be a share between 0 and 1 of the steps, and not just one of them, "
            f"got {rise!r} of {steps}; give another share, or let `fit` keep one rate"
        )
    descent = optimizer(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        descent, lr, total_steps=steps, pct_start=rise
    )
    return fit(
        model,
        batches,
        loss,
        descent,
        epochs=epochs,
        scheduler=schedule,
        clip=clip,
        after_epoch=after_epoch,
        saves=saves,
        label=label,
    )


def _descend(model, loss, batch, optimizer, clip, step) -> float:
    optimizer.zero_grad()
    objective = loss(*batch)
    value = parallel.joint_mean(objective)
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss is {value} at step {step}; try a smaller learning rate, or look at the data"
        )
    objective.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), inf if clip is None else clip)
    if not torch.isfinite(norm):  # an infinite loss is seen above; a slope may hide
        raise FloatingPointError(
            f"the gradient holds NaN or infinity at step {step}, though the loss is "
            f"{value:.4g}; look for a square root or a norm at 0, or try a smaller "
            "learning rate"
        )
    optimizer.step()
    return value

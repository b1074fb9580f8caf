"""What a model costs and how good it is: calls of its field, bytes, seconds, parameters,
errors, accuracy; and the machine on which that was measured, in words.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = [
    "Counted",
    "Tally",
    "accuracy",
    "bytes_saved",
    "count_parameters",
    "counted_calls",
    "coverage",
    "flat",
    "frechet_distance",
    "machine",
    "on_processor",
    "processor",
    "relative_error",
    "seconds",
    "thinned",
]


# --- calls ----------------------------------------------------------------------------


class Tally:
    """How often something was called.

    Attributes
    ----------
    calls : int, since the start or the last `reset`
    """

    calls = 0

    def reset(self) -> int:
        """Count from 0 again; the calls until now."""
        calls, self.calls = self.calls, 0
        return calls


class Counted(Tally, nn.Module):
    """The vector field f, and how often it was called.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``
        Its parameters, if it has any, are those of the counted field too.

    Attributes
    ----------
    calls : int, since the start or the last `reset`
    """

    def __init__(self, f: Callable):
        super().__init__()
        self.f = f

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """f(t, y), one call more."""
        self.calls += 1
        return self.f(t, y)


@contextmanager
def counted_calls(*fields: nn.Module) -> Iterator[Tally]:
    """Count the calls of the fields together, wherever in a model they are, while the
    context lasts.

    Unlike `Counted` it leaves the model as it is, so that the names of its weights stay.
    """
    tally = Tally()

    def add(*_) -> None:
        tally.calls += 1

    hooks = [field.register_forward_pre_hook(add) for field in fields]
    try:
        yield tally
    finally:
        for hook in hooks:
            hook.remove()


def thinned(counts: Sequence[float], every: int) -> list[float]:
    """Means over stretches of `every` entries, rounded to hundredths; what is left at
    the end is dropped. Nothing if nothing was counted.
    """
    if not any(counts):
        return []
    stretches = range(0, len(counts) - every + 1, every)
    return [round(statistics.fmean(counts[i : i + every]), 2) for i in stretches]


# --- size, memory, time ---------------------------------------------------------------


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def bytes_saved(compute: Callable[[], object]) -> int:
    """The bytes that autograd keeps for the backward pass of what ``compute()`` does;
    a storage that is kept twice counts once.
    """
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = compute()  # alive until the end, so that no address is used twice
    del kept
    return sum(sizes.values())


def seconds(compute: Callable[[], object]) -> float:
    """The wall time of ``compute()``, what it left to the GPU included, and not what was
    left there before.
    """
    wait = torch.cuda.synchronize if torch.cuda.is_available() else int
    wait()
    start = time.perf_counter()
    compute()
    wait()
    return time.perf_counter() - start


# --- how good -------------------------------------------------------------------------


def relative_error(x: Tensor, truth: Tensor) -> float:
    """‖x - truth‖ / ‖truth‖, Euclidean norms of all entries together, in double
    precision.

    Raises
    ------
    ValueError
        If the shapes differ; one number may stand for all entries of x.
    """
    if x.ndim and x.shape != truth.shape:
        raise ValueError(
            f"x must have the shape of truth, {tuple(truth.shape)}; got {tuple(x.shape)}"
        )
    x, truth = x.detach().double(), truth.detach().double()
    return float((x - truth).norm() / truth.norm())


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """The entries of all tensors as one vector: gradients by several things as one."""
    return torch.cat([tensor.flatten() for tensor in tensors])


@torch.no_grad()
def accuracy(
    model: nn.Module, images: Tensor, labels: Tensor, *, size: int = 1000
) -> float:
    """The share of images whose largest logit is the right one, computed `size` at a
    time, in evaluation mode.

    Raises
    ------
    ValueError
        If there is no image, or not one label for each.
    FloatingPointError
        If a logit is NaN.
    """
    if not 0 < len(images) == len(labels):
        raise ValueError(
            f"labels must be one for each image, at least one; got {len(labels)} for "
            f"{len(images)}"
        )
    model.eval()
    right = 0
    for x, y in zip(images.split(size), labels.split(size)):
        logits = model(x)
        if logits.isnan().any():  # the largest of NaN is the first
            raise FloatingPointError(
                "a logit is NaN; look at the weights or the images"
            )
        right += int((logits.argmax(1) == y).sum())
    return right / len(labels)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """How far apart two samples are, shapes (n, d) and (m, d), if all that counts is
    their means and covariances: |μ - ν|² + tr(C + D - 2 (C D)^½), in double precision.

    Between samples of one distribution it is positive too, and grows as they shrink:
    compare at equal sizes.

    References
    ----------
    Dowson, Landau 1982. Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule.
    """
    x, y = x.detach().double(), y.detach().double()
    C, D = (torch.atleast_2d(points.T.cov()) for points in (x, y))
    values, vectors = torch.linalg.eigh(C)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    mixed = torch.linalg.eigvalsh(root @ D @ root).clamp(min=0).sqrt().sum()
    apart = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return float(apart + C.trace() + D.trace() - 2 * mixed)


def coverage(real: Tensor, made: Tensor, *, nearest: int = 5) -> float:
    """The share of the real points, shape (n, d), that have a made one, shape (m, d), at
    least as near as the real neighbour number `nearest`, in double precision.

    Raises
    ------
    ValueError
        If there are too few real points to have such a neighbour.

    References
    ----------
    Naeem, Oh, Uh, Choi, Yoo 2020, Reliable Fidelity and Diversity Metrics for Generative
    Models.
    """
    if len(real) <= nearest:
        raise ValueError(
            f"real must hold more than nearest={nearest} points, got {len(real)}; give "
            "more, or a smaller nearest"
        )
    real, made = real.detach().double(), made.detach().double()
    # Each point is a neighbour of its own.
    radius = torch.cdist(real, real).kthvalue(nearest + 1, dim=1).values
    return float((torch.cdist(real, made).amin(dim=1) <= radius).float().mean())


# --- where ----------------------------------------------------------------------------


def machine() -> str:
    """What PyTorch computes on, in words: the GPU, or the CPU and its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return on_processor()


def on_processor() -> str:
    """The CPU and PyTorch's threads, for what is computed there whatever else there is."""
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread" + "s" * (threads > 1)


def processor() -> str:
    """The name of the CPU, as Linux or else Python has it."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or f"{platform.machine()} CPU"

"""Training: one loop, seeds, the device, minibatches, and stored weights that know how
they were made.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset
from tqdm.auto import tqdm

from course_lib.data import generator

STORED = Path(__file__).with_name("stored")
RESULTS = Path(__file__).parents[1] / "results"


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
    label : str, in front of the progress bar

    Raises
    ------
    FloatingPointError
        If the loss is NaN or infinite; the parameters are those before the step.
    """
    start, losses, notes = time.perf_counter(), [], []
    # The notebook's bar does not look at tqdm's own switch.
    quiet = bool(os.environ.get("TQDM_DISABLE"))
    steps = epochs * len(batches)
    with tqdm(total=steps, desc=label, leave=False, disable=quiet) as bar:
        for _ in range(epochs):
            model.train()
            for batch in batches:
                value = _descend(model, loss, batch, optimizer, clip, len(losses))
                if scheduler is not None:
                    scheduler.step()
                losses.append(value)
                bar.update()
                bar.set_postfix(loss=f"{value:.4g}", refresh=False)
            if after_epoch is not None:
                notes.append(after_epoch())
    return History(tuple(losses), tuple(notes), time.perf_counter() - start)


def _descend(model, loss, batch, optimizer, clip, step) -> float:
    optimizer.zero_grad()
    objective = loss(*batch)
    value = objective.item()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss is {value} at step {step}; try a smaller learning rate, or look at the data"
        )
    objective.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return value


@torch.no_grad()
def accuracy(
    model: nn.Module, images: Tensor, labels: Tensor, *, size: int = 1000
) -> float:
    """The share of images whose largest logit is the right one, computed `size` at a
    time.
    """
    model.eval()
    right = sum(
        (model(x).argmax(1) == y).sum().item()
        for x, y in zip(images.split(size), labels.split(size))
    )
    return right / len(labels)


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


def save_model(model: nn.Module, name: str, record: dict) -> Path:
    """Write the weights to stored/`name`.safetensors and how they were made to
    stored/`name`.json.
    """
    STORED.mkdir(exist_ok=True)
    path = STORED / f"{name}.safetensors"
    save_file(
        {key: value.contiguous().cpu() for key, value in model.state_dict().items()},
        path,
    )
    path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    return path


def load_model(model: nn.Module, name: str) -> dict:
    """Load stored weights into `model`; the record of how they were made.

    Raises
    ------
    FileNotFoundError
        If there is no stored model of that name; the message lists those there are.
    """
    path = STORED / f"{name}.safetensors"
    if not path.exists():
        known = (
            ", ".join(sorted(p.stem for p in STORED.glob("*.safetensors"))) or "none"
        )
        raise FileNotFoundError(
            f"no stored model {name!r}; stored models: {known}. Make it with tools/pretrain.py"
        )
    model.load_state_dict(load_file(path))
    return json.loads(path.with_suffix(".json").read_text())


def results(name: str) -> dict:
    """What a long training or a benchmark wrote to results/`name`.json.

    Raises
    ------
    FileNotFoundError
        If it is not there: results are part of the course's repository and not of the
        package.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"no results {name!r}: clone the course's repository and install it with "
            "`pip install -e .`; its folder results/ holds them"
        )
    return json.loads(path.read_text())

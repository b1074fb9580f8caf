"""What two processes do together, started by torchrun; tests/test_parallel.py reads it.

    torchrun --nproc-per-node=2 tests/several.py FOLDER

Each process writes what it found to FOLDER/RANK.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from course_lib import measuring, parallel, records, resuming, training
from course_lib.models import MLPDynamics, NeuralODE
from course_lib.solvers import (
    odeint,
    odeint_adjoint,
    odeint_checkpointed,
    odeint_interpolated,
)
from tools import pretrain

SOLVERS = (odeint, odeint_checkpointed, odeint_adjoint, odeint_interpolated)
FIXED = dict(method="rk4", step_size=0.25)
ADAPTIVE = dict(rtol=1e-9, atol=1e-9)


def layer(solver=odeint, **settings) -> NeuralODE:
    """A small neural ODE, the same in every process."""
    torch.manual_seed(0)
    return NeuralODE(
        MLPDynamics(2, (8,)).double(), odeint=solver, **(settings or FIXED)
    )


def normed(norm: nn.Module) -> nn.Module:
    """A linear layer behind a norm, the same in every process."""
    torch.manual_seed(0)
    return nn.Sequential(norm, nn.Linear(2, 2)).double()


def rows(n: int) -> tuple[Tensor, Tensor]:
    """Points and targets, the same in every process."""
    x = torch.linspace(-1, 1, 2 * n, dtype=torch.float64).view(n, 2)
    return x, x.sin().flip(1)


def misfit(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A mean over the rows."""
    return (model(x) - y).square().mean()


def off(model: nn.Module, one: nn.Module) -> float:
    """How far the gradients of a model are from those of another."""
    found = measuring.flat(p.grad for p in model.parameters())
    return measuring.relative_error(
        found, measuring.flat(p.grad for p in one.parameters())
    )


def joint_gradient(model: nn.Module, n: int = 8) -> float:
    """How far the gradient that is averaged is from that of one process with all rows."""
    one, batch = copy.deepcopy(model), rows(n)
    misfit(one, *batch).backward()
    together = parallel.joint_loss(model, partial(misfit, model))
    together(*batch).backward()
    return off(model, one)


def past_the_wrapper() -> float:
    """The same, if the model that is wrapped is called and not its wrapper."""
    model = layer()
    one, (x, y) = copy.deepcopy(model), rows(8)
    misfit(one, x, y).backward()
    wrapped = DistributedDataParallel(model)
    misfit(wrapped.module, parallel.part_of(x), parallel.part_of(y)).backward()
    return off(model, one)


def not_held() -> float:
    """The same, if the wrapper is gone before the way back."""
    model, batch = layer(), rows(8)
    one = copy.deepcopy(model)
    misfit(one, *batch).backward()
    parallel.joint_loss(model, partial(misfit, model))(*batch).backward()
    return off(model, one)


def sharded(solver, whole: bool) -> float | str:
    """The same with FSDP2, of the layer or of its field alone; or what it says."""
    model, (x, y) = layer(solver), rows(8)
    one = copy.deepcopy(model)
    misfit(one, x, y).backward()
    mesh = torch.distributed.init_device_mesh("cpu", (parallel.world_size(),))
    fully_shard(model if whole else model.f, mesh=mesh)
    try:
        misfit(model, parallel.part_of(x), parallel.part_of(y)).backward()
    except RuntimeError as error:
        return str(error)
    for p in model.parameters():
        p.grad = p.grad.full_tensor()
    found = measuring.flat(p.grad for p in model.parameters())
    return measuring.relative_error(
        found, measuring.flat(p.grad for p in one.parameters())
    )


def kept_bytes() -> list[int]:
    """Bytes of parameters in this process, without and with FSDP2."""
    model = layer()
    before = sum(p.nbytes for p in model.parameters())
    mesh = torch.distributed.init_device_mesh("cpu", (parallel.world_size(),))
    fully_shard(model, mesh=mesh)
    return [before, sum(p.to_local().nbytes for p in model.parameters())]


def trained(loss=misfit, **settings) -> tuple[nn.Module, training.History]:
    """A training of twelve steps, of batches of six, six and three rows."""
    model = layer(**ADAPTIVE)
    batches = training.minibatches(*rows(15), size=6, seed=3)
    history = training.one_cycle(
        model, batches, partial(loss, model), lr=1e-2, epochs=4, **settings
    )
    return model, history


def noisy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A loss that draws numbers."""
    return misfit(model, x + 0.1 * torch.randn_like(x), y)


def stopped(folder: Path) -> list[float]:
    """A noisy training that dies in its eighth step and is taken up again: its weights
    less those of one that does not.
    """
    calls = []

    def dying(model, x, y):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return noisy(model, x, y)

    saves = resuming.Saves(folder / "stopped.pt", every=3)
    with suppress(KeyboardInterrupt):
        trained(dying, saves=saves)
    resumed, _ = trained(noisy, saves=saves)
    whole, _ = trained(noisy)
    return [
        (p - q).abs().max().item()
        for p, q in zip(resumed.parameters(), whole.parameters())
    ]


def refusals() -> dict[str, str]:
    """What is said of a loss that is NaN in one part, and of too small a batch."""
    model = layer()

    def spoilt(x: Tensor, y: Tensor) -> Tensor:
        return misfit(model, x, y) * (float("nan") if parallel.own_rank() else 1.0)

    said, optimizer = {}, torch.optim.SGD(model.parameters(), lr=0.1)
    for name, loss, n in (("nan", spoilt, 8), ("small", partial(misfit, model), 1)):
        try:
            training.fit(model, [rows(n)], loss, optimizer)
        except (FloatingPointError, ValueError) as error:
            said[name] = str(error)
    return said


def orders() -> dict[str, str]:
    """What is said of batches that are not the same in both processes; "" if they are."""
    said, data = {}, TensorDataset(*rows(8))
    loaders = {
        "alone": DataLoader(data, batch_size=4, shuffle=True),
        "alone, all rows": DataLoader(data, batch_size=8, shuffle=True),
        "joint": DataLoader(
            data, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(0)
        ),
    }
    for name, batches in loaders.items():
        model, said[name] = layer(), ""
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        try:
            training.fit(model, batches, partial(misfit, model), optimizer)
        except ValueError as error:
            said[name] = str(error)
    return said


def recorded(folder: Path) -> list[dict]:
    """The rows that a training by `tools.pretrain` leaves."""
    records.RESULTS = folder

    def train(_):
        model, history = trained()
        return model, history, {}

    args = argparse.Namespace(
        train=train, seed=0, epochs=4, results="several", by=("seed",), name=None
    )
    pretrain.pretrain(args)
    torch.distributed.barrier()
    return records.results("several")["rows"]


def main(folder: Path) -> None:
    """Find everything out, and write it down."""
    torch.set_num_threads(1)
    with parallel.process_group():
        model, history = trained()
        drawn = torch.rand(3).tolist()
        found = dict(
            size=parallel.world_size(),
            rank=parallel.own_rank(),
            part=parallel.part_of(torch.arange(7)).tolist(),
            mean=parallel.joint_mean(torch.tensor(1.0 + parallel.own_rank())),
            joint={f.__name__: joint_gradient(layer(f)) for f in SOLVERS},
            own_steps=joint_gradient(layer(odeint_adjoint, **ADAPTIVE)),
            uneven=joint_gradient(layer(), 7),
            batch_norm=joint_gradient(normed(nn.BatchNorm1d(2))),
            group_norm=joint_gradient(normed(nn.GroupNorm(1, 2))),
            past=past_the_wrapper(),
            not_held=not_held(),
            layer_sharded={f.__name__: sharded(f, True) for f in SOLVERS},
            field_sharded={f.__name__: sharded(f, False) for f in SOLVERS},
            bytes=kept_bytes(),
            weights=measuring.flat(model.parameters()).tolist(),
            losses=history.losses,
            drawn=drawn,
            stopped=stopped(folder),
            refusals=refusals(),
            orders=orders(),
            rows=recorded(folder),
        )
    path = folder / f"{found['rank']}.json"
    path.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

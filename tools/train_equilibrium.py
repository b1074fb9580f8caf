"""An equilibrium layer on the bundled digits, beside the models of chapter 09: the
ODE-Net, one residual block, the residual network, and beside their fully connected
relatives.

The recipe is the same for all of a kind, fixed beforehand for the convolutional ones.
Every run looks at the test images, once, at its
end, and adds a row to the results `equilibrium`, in the place of an older one that is
equal in what `BY` lists.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from course_lib import data, measuring, models, training
from course_lib.models import (
    ConvDynamics,
    DigitClassifier,
    EquilibriumLayer,
    FixedPoint,
    MLPDynamics,
    NeuralODE,
)
from course_lib.solvers import SolverError, odeint_adjoint
from tools.train_digits import misread

BY = ("model", "seed", "epochs", "lr")
WIDTH, TOLERANCE, MOST = 64, 1e-3, 100
SIZE, CONV_SIZE = 50, 32  # of a batch, fully connected and convolutional
STRETCH = 50  # training steps to a mean of the counts


class Cell(nn.Module):
    """f(z, x) = tanh(Wz + b + x); `held` keeps the spectral norm of W at one."""

    def __init__(self, held: bool):
        super().__init__()
        layer = nn.Linear(WIDTH, WIDTH)
        self.layer = spectral_norm(layer) if held else layer

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """The next z, shape of z and x."""
        return torch.tanh(self.layer(z) + x)


class Field(MLPDynamics):
    """g(t, z) = tanh(Wz + b), for what flows or adds."""

    def __init__(self):
        super().__init__(WIDTH, ())

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """The derivative at y."""
        return torch.tanh(super().forward(t, y))


class ConvCell(nn.Module):
    """f(z, x) = tanh(x + C₂ tanh(C₁ z / 3) / 3) of two convolutions, as large as `ConvDynamics`.

    A 3×3 convolution shows every number to nine places, so its norm is at most three
    times that of its weights as a matrix (out, in × 9). That is held at one: f shrinks
    distances.
    """

    def __init__(self, channels: int = WIDTH):
        super().__init__()
        self.first, self.second = (
            spectral_norm(nn.Conv2d(channels, channels, 3, padding=1)) for _ in range(2)
        )

    def forward(self, z: Tensor, x: Tensor) -> Tensor:  # (B, C, H, W) -> the same
        """The next z."""
        return torch.tanh(x + self.second(torch.tanh(self.first(z / 3)) / 3))


def iteration(solves: list[tuple[str, int]]) -> dict:
    """The settings of an equilibrium; its solves are written down in `solves`."""

    def report(way: str, found: FixedPoint) -> None:
        solves.append((way, found.nfe))

    return dict(tol=TOLERANCE, max_steps=MOST, report=report)


def body(name: str, solves: list[tuple[str, int]]) -> nn.Module:
    """What stands between a linear stem and the head."""
    solver: dict = dict(method="bosh3", rtol=TOLERANCE, atol=TOLERANCE)
    settings = iteration(solves)
    made: dict[str, Callable[[], nn.Module]] = {
        "no body": nn.Identity,
        "one block": lambda: models.ResNet([Field()]),
        "resnet": lambda: models.ResNet([Field() for _ in range(6)], total=6.0),
        "odenet": lambda: NeuralODE(Field(), odeint=odeint_adjoint, **solver),
        "equilibrium": lambda: EquilibriumLayer(Cell(held=True), **settings),
        "equilibrium, free": lambda: EquilibriumLayer(Cell(held=False), **settings),
    }
    return made[name]()


def classifier(name: str, solves: list[tuple[str, int]]) -> nn.Sequential:
    """One of `MODELS` or `CONVOLUTIONAL`, with weights from the current seed."""
    if name == "conv equilibrium":
        return DigitClassifier(EquilibriumLayer(ConvCell(), **iteration(solves)))
    if name in CONVOLUTIONAL:
        model = models.digit_model(name.removeprefix("conv "))
        assert isinstance(model, DigitClassifier)
        return model
    stem, head = nn.Linear(784, WIDTH), nn.Linear(WIDTH, 10)
    return nn.Sequential(nn.Flatten(), stem, body(name, solves), head)


MODELS = (
    "no body",
    "one block",
    "resnet",
    "odenet",
    "equilibrium",
    "equilibrium, free",
)
CONVOLUTIONAL = (
    "conv no body",
    "conv one block",
    "conv resnet",
    "conv odenet",
    "conv equilibrium",
)


def train(args: argparse.Namespace) -> tuple[nn.Module, training.History, dict]:
    """Train one model and evaluate it: the model, its history, and what its row says.

    A solve that fails ends the training; the row says at which step.
    """
    digits = data.mnist(train=True)
    solves: list[tuple[str, int]] = []
    model = classifier(args.model, solves)
    convolutional = args.model in CONVOLUTIONAL
    images, size = digits.images, CONV_SIZE if convolutional else SIZE
    batches = training.minibatches(images, digits.labels, size=size, seed=args.seed)
    few = images[:size].clone()  # a slice would be counted with all its storage
    without_head = nn.Sequential(*list(model)[:-1])
    kept = measuring.bytes_saved(lambda: without_head(few))
    start = time.process_time()  # the machine may have other work
    history, counts = descend(model, batches, args, solves)
    spent = time.process_time() - start
    found = dict(
        model=args.model,
        train=digits.source,
        lr=args.lr,
        recipe=f"Adam {args.lr:g}, one cycle, batches of {size}, "
        + (f"{WIDTH} channels" if convolutional else f"width {WIDTH}"),
        bytes_saved=kept,
        processor_seconds=round(spent, 2),
        **counts,
    )
    if counts["failed_at"] is None:
        test = data.mnist(train=False)
        wrong = len(misread(model, test.images, test.labels))
        found |= dict(test=test.source, test_accuracy=1 - wrong / len(test.labels))
    return model, history, found


def descend(
    model: nn.Module,
    batches,
    args: argparse.Namespace,
    solves: list[tuple[str, int]],
) -> tuple[training.History, dict]:
    """The training itself, and how often f was evaluated in every step, there and back.

    The way back of an equilibrium layer counts its vector-Jacobian products.
    """
    forward: list[int] = []
    backward: list[int] = []
    losses: list[float] = []

    def spent(way: str) -> int:
        return tally.reset() + sum(n for what, n in solves if what == way)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        backward.append(spent("backward"))
        solves.clear()
        logits = model(images)
        forward.append(spent("forward"))
        value = F.cross_entropy(logits, labels)
        losses.append(value.item())
        return value

    kinds = (Field, ConvDynamics)
    fields = [part for part in model.modules() if isinstance(part, kinds)]
    settings = dict(lr=args.lr, epochs=args.epochs)
    failed_at = None
    with measuring.counted_calls(*fields) as tally:
        try:
            history = training.one_cycle(model, batches, loss, **settings)
        except SolverError as error:
            print(error)
            failed_at = len(losses)
            history = training.History(tuple(losses), (), 0.0)
    counts = dict(
        calls_forward=measuring.thinned(forward, STRETCH),
        calls_backward=measuring.thinned(backward[1:], STRETCH),
        failed_at=failed_at,
    )
    return history, counts

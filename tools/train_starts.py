"""The first steps of the ODE-Net for digits, from a field of the usual size and from a
slow one: how often the solver calls it, and how the loss falls.

Every run adds a row to the results `starts`, in the place of an older one of the same
start and seed.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn
from torch.nn import functional as F

from course_lib import data, measuring, models, records, training
from course_lib.solvers import odeint
from tools.train_digits import fields_of

STRETCH = 10  # training steps to a mean of the losses
SIZE = 32  # images in a batch
STARTS = (1.0, 0.1)  # weight of the last norm: PyTorch's own, and that of `digit_model`


def compare(args: argparse.Namespace) -> None:
    """Train from each of the starts with the same weights and batches; a row each."""
    for start in STARTS:
        training.seed(args.seed)
        before = time.perf_counter()
        calls, losses = descend(model_from(start), args)
        row = records.made(
            start=start,
            seed=args.seed,
            seconds=round(time.perf_counter() - before, 1),
            train=data.mnist(train=True).source,
            recipe=f"SGD {args.lr:g} with Nesterov's momentum 0.9, batches of {SIZE}",
            solver="odeint, method bosh3, rtol 0.001, atol 0.001",
            steps_a_stretch=STRETCH,
            calls=calls,
            losses=measuring.thinned(losses, STRETCH),
        )
        print(start, args.seed, calls[:: args.steps // 6], row["losses"])
        records.add_row("starts", row, by=("start", "seed"))


def model_from(start: float) -> nn.Module:
    """The ODE-Net with weights from the current seed and its last norm at `start`; the
    gradient goes back through the steps.
    """
    model = models.digit_odenet(odeint=odeint, method="bosh3", rtol=1e-3, atol=1e-3)
    for part in model.modules():
        if isinstance(part, models.ConvDynamics):
            nn.init.constant_(part.norm3.weight, start)
    return model.to(training.device())


def descend(
    model: nn.Module, args: argparse.Namespace
) -> tuple[list[int], list[float]]:
    """`args.steps` steps on the bundled digits: the calls of f in the solve of each,
    and the losses.
    """
    digits, device = data.mnist(train=True), training.device()
    few = args.steps * SIZE
    images = ((digits.images - digits.images.mean()) / digits.images.std())[:few]
    batches = training.minibatches(
        images.to(device), digits.labels[:few].to(device), size=SIZE, seed=args.seed
    )
    sgd = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True)
    calls: list[int] = []

    def loss(x, y):
        tally.reset()
        logits = model(x)
        calls.append(tally.calls)
        return F.cross_entropy(logits, y)

    with measuring.counted_calls(*fields_of(model)) as tally:
        history = training.fit(model, batches, loss, sgd)
    return calls, list(history.losses)

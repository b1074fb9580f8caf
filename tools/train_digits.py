"""The digit classifiers of chapter 09 on all 60,000 images, one recipe for all of them.

Every run adds a row to results/mnist.json, in the place of an older one of the same
model and seed.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import data, models, training
from course_lib.solvers import METHODS
from tools.common import describe_device, keep, kept, record, write

TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4)


def jittered(images: Tensor, *, degrees: float = 10.0, pixels: float = 2.0) -> Tensor:
    """The images, each turned, stretched by up to 10 % and shifted a little at random."""
    n, size = len(images), images.shape[-1]
    angle = (2 * torch.rand(n, device=images.device) - 1) * math.radians(degrees)
    scale = 1 + 0.1 * (2 * torch.rand(n, device=images.device) - 1)
    shift = (2 * torch.rand(n, 2, device=images.device) - 1) * 2 * pixels / size
    turn = (
        torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), dim=1).view(
            n, 2, 2
        )
        * scale[:, None, None]
    )
    grid = F.affine_grid(
        torch.cat((turn, shift[:, :, None]), dim=2), images.shape, align_corners=False
    )
    return F.grid_sample(images, grid, align_corners=False)


def precision(model: nn.Module) -> str:
    """What of a model computes in bfloat16, half the digits for half the time.

    Not an ODE block with an adaptive solver: an error estimate of 1e-3 does not survive
    numbers of three digits.
    """
    if not isinstance(model, models.DigitClassifier):
        return "float32"
    adaptive = (
        isinstance(model.body, models.NeuralODE)
        and METHODS[model.body.solver_settings.get("method", "dopri5")].adaptive
    )
    return "stem in bfloat16" if adaptive else "bfloat16"


def scores(model: nn.Module, images: Tensor) -> Tensor:
    """The logits of a training step, in the model's `precision`."""
    if precision(model) == "float32":
        return model(images)
    with torch.autocast(images.device.type, torch.bfloat16):
        if precision(model) == "bfloat16":
            return model(images).float()
        features = model.stem(images)
    return model.head(model.body(features.float()))


@contextmanager
def counted_calls(model: nn.Module):
    """A list whose one entry is how often the model's vector field was called."""
    calls = [0]

    def add(module, inputs):
        calls[0] += 1

    fields = [m for m in model.modules() if isinstance(m, models.ConvDynamics)]
    hooks = [field.register_forward_pre_hook(add) for field in fields]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def train(args: argparse.Namespace) -> None:
    """Train one model, evaluate it, and add its row to the results."""
    training.seed(args.seed)
    device = training.device()
    digits, test = data.mnist(train=True, full=True), data.mnist(train=False, full=True)
    model = models.digit_model(args.model).to(device)
    batches = training.minibatches(
        digits.images, digits.labels, size=128, seed=args.seed
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-2)
    total = args.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=total
    )
    forward, backward = [], []  # calls of f in every step

    def loss(images, labels):
        backward.append(calls[0])
        calls[0] = 0
        logits = scores(model, jittered(images.to(device)))
        forward.append(calls[0])
        calls[0] = 0
        return F.cross_entropy(logits, labels.to(device))

    with counted_calls(model) as calls:
        history = training.fit(
            model, batches, loss, optimizer, epochs=args.epochs, scheduler=schedule
        )
    made = record(
        args,
        history.seconds,
        model=args.model,
        train=digits.source,
        test=test.source,
        epochs=args.epochs,
        recipe=f"AdamW {args.lr:g}, one cycle, batches of 128, jittered images, {precision(model)}",
        solver=solver_of(model),
        parameters=models.count_parameters(model),
        final_loss=statistics.fmean(history.losses[-100:]),
        calls_forward=thinned(forward),
        calls_backward=thinned(backward[1:]),
        test_accuracy=training.accuracy(
            model, test.images.to(device), test.labels.to(device)
        ),
        **robustness(model, test),
    )
    print({key: value for key, value in made.items() if "calls" not in key})
    keep("mnist", made, by=("model", "seed"))
    if args.name:
        training.save_model(model, args.name, made)


def solver_of(model: nn.Module) -> str:
    """The solver of an ODE block in words; empty for the other models."""
    body = getattr(model, "body", None)
    if not isinstance(body, models.NeuralODE):
        return ""
    settings = ", ".join(f"{k} {v}" for k, v in body.solver_settings.items())
    return f"{body.solve.__name__}, {settings}"


def thinned(counts: list[int], every: int = 50) -> list[float]:
    """Means over stretches of `every` steps; nothing for a model without a solver."""
    if not any(counts):
        return []
    return [
        round(statistics.fmean(counts[i : i + every]), 2)
        for i in range(0, len(counts) - every + 1, every)
    ]


def robustness(model: nn.Module, test: data.ImageSet) -> dict:
    """Test accuracy and calls of f of an ODE block with dopri5 at other tolerances."""
    if not isinstance(getattr(model, "body", None), models.NeuralODE):
        return {}
    found, trained = {}, model.body
    for tolerance in TOLERANCES:
        model.body = models.NeuralODE(trained.f, rtol=tolerance, atol=tolerance)
        model.to(training.device())
        with counted_calls(model) as calls:
            right = training.accuracy(
                model,
                test.images.to(training.device()),
                test.labels.to(training.device()),
            )
        solves = len(test.labels) / 1000
        found[f"{tolerance:g}"] = {"accuracy": right, "calls": calls[0] / solves}
    model.body = trained
    return {"dopri5_at": found}


def measure(args: argparse.Namespace) -> None:
    """Time and memory of a training step of every model in float32, with fresh weights,
    taken in turn so that all of them meet the same machine.
    """
    training.seed(args.seed)
    device = training.device()
    images, labels = torch.rand(128, 1, 28, 28), torch.randint(10, (128,))
    images, labels = images.to(device), labels.to(device)
    built = {name: models.digit_model(name).to(device) for name in models.DIGIT_MODELS}

    def forward(model):
        return F.cross_entropy(model(images), labels)

    times = {name: [] for name in built}
    for _ in range(args.rounds):
        for name, model in built.items():
            times[name].append(seconds_of(model, forward))
    costs = {
        name: {
            "ms_a_step": 1000 * min(times[name]),
            "bytes_saved": training.bytes_saved(partial(forward, model)),
        }
        for name, model in built.items()
    }
    about = f"{describe_device()}, the fastest of {args.rounds} rounds, batch of 128"
    write("mnist", kept("mnist") | {"costs_measured_on": about, "costs": costs})
    print(json.dumps(costs, indent=1))


def seconds_of(model: nn.Module, forward) -> float:
    """Wall time of ``forward(model)`` and its way back, with the GPU's share."""
    start = time.perf_counter()
    forward(model).backward()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start

"""The digit classifiers of chapter 09 on all 60,000 images, one recipe for all of them.

A recipe is chosen on images that are held out of the training (`--hold`); without it
the run looks at the test images, once, at its end. Every run adds a row to the results
`mnist`, in the place of an older one that is equal in what `BY` lists.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_lib import data, measuring, models, records, training
from course_lib.resuming import Saves

TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4)
# What tells a row from the others.
BY = ("model", "seed", "epochs", "start", "average", "held_out")
# What of a command line decides nothing about the weights.
APART = ("every", "name", "run", "save", "threads", "train")
STRETCH = 50  # training steps to a mean of the calls


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
        torch.cat((turn, shift[:, :, None]), dim=2),
        list(images.shape),
        align_corners=False,
    )
    return F.grid_sample(images, grid, align_corners=False)


def scores(model: nn.Module, images: Tensor) -> Tensor:
    """The logits of a training step: the stem of a `DigitClassifier` computes in
    bfloat16, half the digits for half the time, and every body in float32.

    Neither small steps nor an error estimate survive numbers of three digits.
    """
    if not isinstance(model, models.DigitClassifier):
        return model(images)
    with torch.autocast(images.device.type, torch.bfloat16):
        features = model.stem(images)
    return model.head(model.body(features.float()))


def train(args: argparse.Namespace) -> tuple[nn.Module, training.History, dict]:
    """Train one model and evaluate it: the model, its history, and what its row says.

    The test images are looked at only if none are held out of the training.
    """
    digits = data.mnist(train=True, full=True)
    kept = len(digits.labels) - args.hold
    model = build(args.model, args.start).to(training.device())
    batches = training.minibatches(
        digits.images[:kept], digits.labels[:kept], size=128, seed=args.seed
    )
    averaged = average_of(model, args.average)
    history, forward, backward = descend(model, batches, args, averaged)
    if averaged is not None:
        model.load_state_dict(averaged.module.state_dict())
    found = dict(
        model=args.model,
        train=digits.source,
        start=args.start,
        average=args.average,
        held_out=args.hold,
        recipe=recipe(args),
        solver=solver_of(model),
        calls_forward=measuring.thinned(forward, STRETCH),
        calls_backward=measuring.thinned(backward, STRETCH),
    )
    if args.hold:
        wrong = misread(model, digits.images[kept:], digits.labels[kept:])
        return model, history, found | dict(held_accuracy=1 - len(wrong) / args.hold)
    return model, history, found | judged(model)


def build(name: str, start: float | None) -> nn.Module:
    """A digit classifier; with a `start` the last norm of its fields begins there."""
    model = models.digit_model(name)
    if start is not None:
        for f in fields_of(model):
            nn.init.constant_(f.norm3.weight, start)
    return model


def average_of(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """A running mean of the weights that forgets all but `decay` of itself a step."""
    if decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


def recipe(args: argparse.Namespace) -> str:
    """The training in words."""
    exact = "float32" if args.model == "mlp" else "stem in bfloat16"
    words = f"AdamW {args.lr:g}, one cycle, batches of 128, jittered images, {exact}"
    return words + (f", weights averaged by {args.average:g}" if args.average else "")


def judged(model: nn.Module) -> dict:
    """What a row says about the 10,000 test images: which are misread, and by how many
    calls of f at other tolerances.
    """
    test = data.mnist(train=False, full=True)
    wrong = misread(model, test.images, test.labels)
    share = 1 - len(wrong) / len(test.labels)
    return dict(
        test=test.source, test_accuracy=share, misread=wrong, **robustness(model, test)
    )


def misread(model: nn.Module, images: Tensor, labels: Tensor) -> list[int]:
    """Which images the model reads wrong."""
    device = training.device()
    model.eval()
    with torch.no_grad():
        said = [model(part.to(device)).argmax(1).cpu() for part in images.split(1000)]
    return (torch.cat(said) != labels).nonzero()[:, 0].tolist()


def descend(
    model: nn.Module,
    batches,
    args: argparse.Namespace,
    averaged: AveragedModel | None = None,
) -> tuple[training.History, list[int], list[int]]:
    """The training itself, and how often the vector field was called in every step, on
    the way there and on the way back; the last way back is not among them.

    `averaged` takes the weights in as every step begins, so the last ones are not in it.
    """
    device = training.device()
    forward: list[int] = []
    backward: list[int] = []

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        backward.append(tally.reset())
        if averaged is not None:
            averaged.update_parameters(model)
        logits = scores(model, jittered(images.to(device)))
        forward.append(tally.reset())
        return F.cross_entropy(logits, labels.to(device))

    with measuring.counted_calls(*fields_of(model)) as tally:
        also = dict(forward=forward, backward=backward, tally=tally, mean=averaged)
        history = training.one_cycle(
            model,
            batches,
            loss,
            lr=args.lr,
            epochs=args.epochs,
            optimizer=torch.optim.AdamW,
            saves=saves_of(args, also),
        )
    return history, forward, backward[1:]


def saves_of(args: argparse.Namespace, also: Mapping) -> Saves | None:
    """Where the training of this command saves itself, if it was asked to."""
    if not getattr(args, "save", None):
        return None
    asked = {key: vars(args)[key] for key in sorted(vars(args)) if key not in APART}
    return Saves(Path(args.save), every=args.every, also=also, about=str(asked))


def fields_of(model: nn.Module) -> list[models.ConvDynamics]:
    """The vector fields of a digit classifier: one in an ODE block, one in every
    residual block.
    """
    return [part for part in model.modules() if isinstance(part, models.ConvDynamics)]


def solver_of(model: nn.Module) -> str:
    """The solver of an ODE block in words; empty for the other models."""
    body = getattr(model, "body", None)
    if not isinstance(body, models.NeuralODE):
        return ""
    settings = ", ".join(f"{k} {v}" for k, v in body.solver_settings.items())
    return f"{body.odeint.__name__}, {settings}"


def robustness(model: nn.Module, test: data.ImageSet) -> dict:
    """Test accuracy and calls of f of an ODE block with dopri5 at other tolerances."""
    trained = getattr(model, "body", None)
    if not isinstance(trained, models.NeuralODE):
        return {}
    found = {}
    for tolerance in TOLERANCES:
        model.body = models.NeuralODE(trained.f, rtol=tolerance, atol=tolerance)
        with measuring.counted_calls(trained.f) as tally:
            wrong = misread(model, test.images, test.labels)
        solves = len(test.labels) / 1000
        share = 1 - len(wrong) / len(test.labels)
        found[f"{tolerance:g}"] = {"accuracy": share, "calls": tally.calls / solves}
    model.body = trained
    return {"dopri5_at": found}


def measure(args: argparse.Namespace) -> None:
    """Time and memory of a training step of every model in float32, with fresh weights,
    taken in turn so that all of them meet the same machine.
    """
    device = training.device()
    images, labels = torch.rand(128, 1, 28, 28), torch.randint(10, (128,))
    images, labels = images.to(device), labels.to(device)
    built = {name: models.digit_model(name).to(device) for name in models.DIGIT_MODELS}

    def forward(model: nn.Module) -> Tensor:
        return F.cross_entropy(model(images), labels)

    def step(model: nn.Module) -> None:
        forward(model).backward()

    times: dict[str, list[float]] = {name: [] for name in built}
    for _ in range(args.rounds):
        for name, model in built.items():
            times[name].append(measuring.seconds(partial(step, model)))
    costs = {
        name: {
            "ms_a_step": 1000 * min(times[name]),
            "bytes_saved": measuring.bytes_saved(partial(forward, model)),
        }
        for name, model in built.items()
    }
    about = f"{measuring.machine()}, the fastest of {args.rounds} rounds, batch of 128"
    records.save_results("mnist", costs_measured_on=about, costs=costs)
    print(json.dumps(costs, indent=1))

"""The ODE-Net of chapter 10 on the 60,000 pictures of clothes: how its depth grows, and
which recipe to take.

A recipe is chosen on images that are held out of the training (`--hold`). The test
images are looked at when a model is stored, once it has been trained, and at no other
time. Every run adds a row to the results `fashion`, in the place of an older one that is
equal in end, rate, passes, images, how many of them are held out, and seed.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import data, models, training
from course_lib.measuring import accuracy, counted_calls, thinned

STRETCH = 10  # training steps to a mean of the calls
BETWEEN = 200  # training steps from one look at the held-out images to the next
BY = (
    "end",
    "rate",
    "epochs",
    "images",
    "held_out",
    "seed",
)  # what tells a row from the others


def train(args: argparse.Namespace) -> tuple[nn.Module, training.History, dict]:
    """Train and evaluate: the model, its history, and what its row says."""
    clothes = data.fashion_mnist(train=True, full=True)
    mean, std = clothes.images.mean().item(), clothes.images.std().item()
    images, labels = (part[: args.images] for part in scaled(clothes, mean, std))
    kept = len(labels) - args.hold
    held = images[kept:], labels[kept:]
    model = build(args.end).to(training.device())
    history, calls, scores = descend(model, (images[:kept], labels[:kept]), held, args)
    found = dict(
        train=clothes.source,
        images=len(labels),
        held_out=args.hold,
        end=args.end,
        rate=args.rate,
        recipe=recipe(args),
        solver="odeint, method tsit5, rtol 0.001, atol 0.001",
        pixel_mean=mean,
        pixel_std=std,
        steps_a_stretch=STRETCH,
        calls=thinned(calls, STRETCH),
        held_accuracy_by_step=scores,
    )
    if args.name:
        test = data.fashion_mnist(train=False, full=True)
        share = accuracy(model, *scaled(test, mean, std))
        found |= dict(test=test.source, test_accuracy=share)
    return model, history, found


def build(end: str) -> nn.Sequential:
    """The ODE-Net, its field ending as it is (`linear`) or in a ReLU (`relu`)."""
    model = models.fashion_odenet()
    for part in model.modules():
        if end == "relu" and isinstance(part, models.MLPDynamics):
            part.net.append(nn.ReLU())
    return model


def recipe(args: argparse.Namespace) -> str:
    """The training in words."""
    rate = "one cycle to" if args.rate == "cycle" else "constant"
    return f"AdamW, {rate} {args.lr:g}, batches of 128, pixels of mean 0 and variance 1"


def scaled(half: data.ImageSet, mean: float, std: float) -> tuple[Tensor, Tensor]:
    """Images of mean 0 and variance 1, and labels, on the device."""
    device = training.device()
    return ((half.images - mean) / std).to(device), half.labels.to(device)


def descend(
    model: nn.Sequential,
    train: tuple[Tensor, Tensor],
    held: tuple[Tensor, Tensor],
    args: argparse.Namespace,
) -> tuple[training.History, list[int], list[list]]:
    """The training itself, the calls of f in every forward solve, and [step, share of
    the held-out images that are right] now and then, if any are held out.
    """
    batches = training.minibatches(*train, size=128, seed=args.seed)
    fields = [part.f for part in model if isinstance(part, models.NeuralODE)]
    right = partial(accuracy, model, *held)
    calls: list[int] = []
    scores: list[list] = []

    def loss(x: Tensor, y: Tensor) -> Tensor:
        if len(held[1]) and len(calls) % BETWEEN == 0:
            scores.append([len(calls), right()])
            model.train()
        tally.reset()
        logits = model(x)
        calls.append(tally.calls)
        return F.cross_entropy(logits, y)

    adamw = torch.optim.AdamW
    with counted_calls(*fields) as tally:
        if args.rate == "cycle":
            history = training.one_cycle(
                model,
                batches,
                loss,
                lr=args.lr,
                epochs=args.epochs,
                optimizer=adamw,
            )
        else:
            history = training.fit(
                model,
                batches,
                loss,
                adamw(model.parameters(), lr=args.lr),
                epochs=args.epochs,
            )
    return history, calls, [*scores, [len(calls), right()]] if len(held[1]) else []

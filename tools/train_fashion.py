"""The ODE-Net of chapter 10 on all 60,000 pictures of clothes: how its depth grows.

Every run adds a row to the results `fashion`, in the place of an older one of the same
seed.
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
BETWEEN = 200  # training steps from one look at the test images to the next


def train(args: argparse.Namespace) -> tuple[nn.Module, training.History, dict]:
    """Train and evaluate: the model, its history, and what its row says."""
    clothes = data.fashion_mnist(train=True, full=True)
    test = data.fashion_mnist(train=False, full=True)
    mean, std = clothes.images.mean().item(), clothes.images.std().item()
    model = models.fashion_odenet().to(training.device())
    history, calls, scores = descend(
        model, scaled(clothes, mean, std), scaled(test, mean, std), args
    )
    found = dict(
        train=clothes.source,
        test=test.source,
        recipe=f"AdamW, one cycle to {args.lr:g}, batches of 128, pixels of mean 0 and variance 1",
        solver="odeint, method tsit5, rtol 0.001, atol 0.001",
        pixel_mean=mean,
        pixel_std=std,
        steps_a_stretch=STRETCH,
        calls=thinned(calls, STRETCH),
        accuracy_by_step=scores,
        test_accuracy=scores[-1][1],
    )
    return model, history, found


def scaled(half: data.ImageSet, mean: float, std: float) -> tuple[Tensor, Tensor]:
    """Images of mean 0 and variance 1, and labels, on the device."""
    device = training.device()
    return ((half.images - mean) / std).to(device), half.labels.to(device)


def descend(
    model: nn.Sequential,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    args: argparse.Namespace,
) -> tuple[training.History, list[int], list[list]]:
    """The training itself, the calls of f in every forward solve, and [step, share of
    the test images that are right] now and then.
    """
    batches = training.minibatches(*train, size=128, seed=args.seed)
    fields = [part.f for part in model if isinstance(part, models.NeuralODE)]
    right = partial(accuracy, model, *test)
    calls: list[int] = []
    scores: list[list] = []

    def loss(x: Tensor, y: Tensor) -> Tensor:
        if len(calls) % BETWEEN == 0:
            scores.append([len(calls), right()])
            model.train()
        tally.reset()
        logits = model(x)
        calls.append(tally.calls)
        return F.cross_entropy(logits, y)

    with counted_calls(*fields) as tally:
        history = training.one_cycle(
            model,
            batches,
            loss,
            lr=args.lr,
            epochs=args.epochs,
            optimizer=torch.optim.AdamW,
        )
    return history, calls, [*scores, [len(calls), right()]]

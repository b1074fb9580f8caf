"""The ODE-Net of chapter 10 on all 60,000 pictures of clothes: how its depth grows.

Every run adds a row to results/fashion.json, in the place of an older one of the same
seed.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from torch.nn import functional as F

from course_lib import data, models, training
from tools.common import keep, record

STRETCH = 10  # training steps to a mean of the calls
STAGE = 200  # training steps from one look at the test images to the next


def train(args: argparse.Namespace) -> None:
    """Train, count the calls of f in every forward solve, and add a row to the results."""
    training.seed(args.seed)
    device = training.device()
    clothes = data.fashion_mnist(train=True, full=True)
    test = data.fashion_mnist(train=False, full=True)
    mean, std = clothes.images.mean().item(), clothes.images.std().item()
    images, test_images = (
        ((half.images - mean) / std).to(device) for half in (clothes, test)
    )
    labels, test_labels = clothes.labels.to(device), test.labels.to(device)
    model = models.fashion_odenet().to(device)
    batches = training.minibatches(images, labels, size=128, seed=args.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    total = args.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=total
    )
    calls, stages = [], []
    model[3].f.register_forward_pre_hook(lambda *_: calls.append(calls.pop() + 1))

    def right() -> float:
        calls.append(0)
        score = training.accuracy(model, test_images, test_labels)
        calls.pop()
        return score

    def loss(x, y):
        if len(calls) % STAGE == 0:
            stages.append([len(calls), right()])
            model.train()
        calls.append(0)
        return F.cross_entropy(model(x), y)

    history = training.fit(
        model, batches, loss, optimizer, epochs=args.epochs, scheduler=schedule
    )
    made = record(
        args,
        history.seconds,
        train=clothes.source,
        test=test.source,
        epochs=args.epochs,
        recipe=f"AdamW, one cycle to {args.lr:g}, batches of 128, pixels of mean 0 and variance 1",
        solver="odeint, method tsit5, rtol 0.001, atol 0.001",
        pixel_mean=mean,
        pixel_std=std,
        parameters=models.count_parameters(model),
        final_loss=statistics.fmean(history.losses[-100:]),
        steps_a_stretch=STRETCH,
        calls=[
            statistics.fmean(calls[i : i + STRETCH])
            for i in range(0, len(calls) - STRETCH + 1, STRETCH)
        ],
        accuracy_by_step=[*stages, [len(calls), right()]],
        test_accuracy=right(),
    )
    print({key: value for key, value in made.items() if key != "calls"})
    keep("fashion", made, by=("seed",))
    if args.name:
        training.save_model(model, args.name, made)

"""Digits from noise without an autoencoder, chapter 15: flow matching with labels among
the pixels of the bundled 10,000 training digits (`--full`: of all 60,000).

The size of the network was chosen in short trainings, by what the judge of
`train_matching` says of samples against 10,000 training images that are not among the
bundled ones. The judgement is that of the flow among codes.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_lib import data, flows, training
from tools import train_digits, train_matching

UNFINISHED = Path("_build/pixels.pt")  # the average so far, after every pass
GUIDANCE = (1.0, 1.5)


def train(args: argparse.Namespace) -> tuple[nn.Module, training.History, dict]:
    """Train the velocity among the pixels, average its weights, and judge its samples."""
    digits = data.mnist(train=True, full=args.full)
    f = flows.pixel_velocity().to(training.device())
    mean = AveragedModel(f, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    history = training.one_cycle(
        f,
        training.minibatches(
            f.standardised(digits.images), digits.labels, size=128, seed=args.seed
        ),
        partial(pixel_loss, f, mean),
        lr=args.lr,
        epochs=args.epochs,
        optimizer=torch.optim.AdamW,
        after_epoch=partial(keep, mean),
        saves=train_digits.saves_of(args, {"mean": mean}),
    )
    f.load_state_dict(mean.module.state_dict())
    f = train_matching.rounded(f)
    found = dict(
        model="pixel flow",
        train=digits.source,
        recipe=f"AdamW {args.lr:g}, one cycle, batches of 128, logit-normal times, "
        "10% of the labels dropped, bfloat16, weights averaged (0.999)",
        stored_as="float16",
        **train_matching.judged(f, f.images, train_matching.noise(1, 28, 28), GUIDANCE),
    )
    return f.half().requires_grad_(), history, found


def pixel_loss(f: nn.Module, mean: AveragedModel, x: Tensor, labels: Tensor) -> Tensor:
    """The loss of a batch of standardised images, computed with half the digits where
    they are many; the weights until here go into the mean.
    """
    mean.update_parameters(f)
    x, labels = x.to(training.device()), labels.to(training.device())
    with torch.autocast(x.device.type, torch.bfloat16):
        return flows.flow_matching_loss(f, x, labels, t=flows.middle_times(x))


def keep(mean: AveragedModel) -> None:
    """Keep the averaged weights, so that a training that is stopped is not lost."""
    UNFINISHED.parent.mkdir(exist_ok=True)
    torch.save(mean.module.state_dict(), UNFINISHED)

"""The latent ODE of chapter 13 on the two-armed spirals."""

from __future__ import annotations

import argparse
import itertools

import torch

from course_lib import data, latent, models, training
from tools.common import record


@torch.no_grad()
def spiral_errors(model: latent.LatentODE, series: data.Spirals) -> dict[str, float]:
    """RMSE per coordinate against the clean curve: at seen times, at unseen ones of the
    same span, and after it.
    """
    decoded = model.reconstruct(series.values, series.times(), series.t)
    squares = (decoded - series.clean).square().mean(dim=-1)  # (n, T)
    seen = torch.zeros(squares.shape, dtype=torch.bool).scatter_(1, series.index, True)
    inside = torch.arange(squares.shape[1]).expand_as(seen) < series.span
    parts = {"rmse_seen": seen, "rmse_unseen": inside & ~seen, "rmse_after": ~inside}
    return {name: squares[part].mean().sqrt().item() for name, part in parts.items()}


def train(args: argparse.Namespace) -> None:
    """The latent ODE on the two-armed spirals, 50 noisy observations of each."""
    training.seed(args.seed)
    noise = 0.2
    train = data.two_armed_spirals(8000, noise=noise, seed=args.seed)
    test = data.two_armed_spirals(1000, noise=noise, seed=args.seed + 1)
    model = latent.LatentODE(latent=6, hidden=64, width=64)
    batches = training.minibatches(
        train.values, train.times(), size=100, seed=args.seed
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    total = args.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=total, pct_start=0.2
    )
    step = itertools.count()

    def loss(values, times):  # the KL term fades in over the first 200 steps
        return latent.negative_elbo(
            model, values, times, noise=noise, kl_weight=min(1.0, next(step) / 200)
        )

    history = training.fit(
        model,
        batches,
        loss,
        optimizer,
        epochs=args.epochs,
        scheduler=schedule,
        clip=10.0,
        after_epoch=lambda: print(spiral_errors(model, test), flush=True),
    )
    made = record(
        args,
        history.seconds,
        train="8,000 series, seed = seed, noise 0.2, 50 observations of 200",
        test="1,000 series, seed = seed + 1, noise 0.2, 50 observations of 200",
        epochs=args.epochs,
        parameters=models.count_parameters(model),
        final_loss=sum(history.losses[-100:]) / 100,
        **spiral_errors(model, test),
    )
    print(made)
    training.save_model(model, args.name or "spirals_latent_ode", made)

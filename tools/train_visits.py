"""Forecasts of the visits of chapter 13b: a latent ODE and four rivals.

Five folds of the patients with two visits or more. Every choice is made on patients who
are held out of the training; those of the test fold are looked at once, when a model is
done. Every run adds a row for each fold and model to the results `visits`, in the place
of an older one of the same model, fold and seed. What has no random start is the same
for every seed, and is written with seed 0 alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from course_lib import data, forecasting, latent, measuring, records, training
from course_lib.latent import Readings

FOLDS = 5
STEPS = {"GRU with decay": 150, "latent ODE": 200}
Forecast = Callable[[Readings, Tensor], Tensor]
Train = Callable[..., tuple[Forecast, dict]]


def compare(args: argparse.Namespace) -> None:
    """All models on all folds, a row each."""
    known = patients()
    for fold in range(FOLDS):
        for name, train in MODELS.items():
            if name in SEEDLESS and args.seed != 0:
                continue
            row = evaluate(name, train, known, fold, args.seed)
            print({k: x for k, x in row.items() if not isinstance(x, list | dict)})
            records.add_row("visits", row, by=("model", "fold", "seed"))


def patients() -> data.Visits:
    """Those with two visits or more, two of the three columns as logarithms."""
    visits = data.visits().logarithms("bilirubin", "prothrombin time")
    return visits.of(visits.seen.sum(dim=1) >= 2)


def evaluate(name: str, train: Train, known: data.Visits, fold: int, seed: int) -> dict:
    """Train on one fold from one seed, and look at the patients of its test."""
    before = time.perf_counter()
    training.seed(seed)
    parts = forecasting.split(len(known.seen), fold, folds=FOLDS)
    rest = torch.cat((parts.train, parts.held))
    series, _, deviation = forecasting.standardised(known, rest)
    forecast, found = train(*(rows_of(series, part) for part in parts[:2]))
    test = rows_of(series, parts.test)
    read, later = forecasting.halves(test.seen)
    with torch.no_grad():
        wrong = forecasting.errors_of_series(forecast(test, read), test.values, later)
    return records.made(
        model=name,
        fold=fold,
        seed=seed,
        seconds=round(time.perf_counter() - before, 1),
        rmse=wrong.mean().sqrt().item(),
        patients=parts.test.tolist(),
        deviation=deviation.tolist(),
        mean_squares={
            name: [float(f"{x:.4g}") for x in column]
            for name, column in zip(known.names, wrong.T.tolist())
        },
        **found,
    )


def rows_of(series: Readings, rows: Tensor) -> Readings:
    """Some of the series."""
    return Readings(*(part[rows] for part in series))


# --- models ---------------------------------------------------------------------------


def carried(*_: Readings) -> tuple[Forecast, dict]:
    """The last value carried forward."""
    return forecasting.carry_forward, {}


def lines(*known: Readings) -> tuple[Forecast, dict]:
    """Lines shrunk to the population, all columns together. There is nothing to choose,
    so the held-out patients belong to the population.
    """
    both = Readings(*(torch.cat(parts) for parts in zip(*known)))
    return forecasting.fit_lines(both).forecast, {}


def lines_alone(*known: Readings) -> tuple[Forecast, dict]:
    """Lines shrunk to the population, each column by itself."""
    columns = range(known[0].values.shape[-1])
    each = [lines(*(column_of(part, d) for part in known))[0] for d in columns]

    def forecast(series: Readings, read: Tensor) -> Tensor:
        parts = [f(column_of(series, d), read) for d, f in enumerate(each)]
        return torch.cat(parts, dim=-1)

    return forecast, {}


def column_of(series: Readings, d: int) -> Readings:
    """One column of the values, which stays a column."""
    return series._replace(values=series.values[..., d : d + 1])


def jumps(train: Readings, held: Readings) -> tuple[Forecast, dict]:
    """The GRU with decay."""
    model = forecasting.DecayGRU(observed=3, hidden=32)

    def loss(series: Readings, _: float) -> Tensor:
        return forecasting.jump_loss(model, series)

    steps = STEPS["GRU with decay"]
    best = forecasting.fit_best(
        model, loss, model.forecast, train, held, lr=5e-3, steps=steps
    )
    return model.forecast, about(model, *best)


def flow(train: Readings, held: Readings) -> tuple[Forecast, dict]:
    """The latent ODE."""
    model = latent.LatentODE(observed=3, latent=4, hidden=32, width=32)
    forecast = partial(forecasting.decode_forecast, model)

    def loss(series: Readings, done: float) -> Tensor:
        weight = 0.1 * min(1.0, 5 * done)
        return forecasting.flow_loss(model, series, noise=0.6, kl_weight=weight)

    steps = STEPS["latent ODE"]
    best = forecasting.fit_best(
        model, loss, forecast, train, held, lr=1e-2, steps=steps
    )
    return forecast, about(model, *best)


def about(model: nn.Module, history: training.History, best: int) -> dict:
    """What a row says of a training."""
    return dict(
        parameters=measuring.count_parameters(model),
        steps=len(history.losses),
        best_step=best,
        held_rmse=min(history.epochs),
    )


SEEDLESS: dict[str, Train] = {
    "last value": carried,
    "lines, each alone": lines_alone,
    "lines, together": lines,
}
MODELS: dict[str, Train] = {**SEEDLESS, "GRU with decay": jumps, "latent ODE": flow}

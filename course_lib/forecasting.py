"""Forecasts of irregular series: the first visits of a patient are read, the later ones
are forecast, by a latent ODE and by its rivals.

A forecast is a tensor of values at all times of a batch of series, (n, k, D), made from
the readings of a mask `read`, (n, k); whoever scores it looks at the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.data import Visits, generator
from course_lib.latent import LatentODE, Readings, negative_elbo, readings
from course_lib.training import History, one_cycle

__all__ = [
    "DecayGRU",
    "Lines",
    "Split",
    "carry_forward",
    "decode_forecast",
    "errors_of_series",
    "fit_best",
    "fit_lines",
    "flow_loss",
    "halves",
    "jump_loss",
    "random_cut",
    "split",
    "standardised",
]


# --- task -----------------------------------------------------------------------------


def halves(seen: Tensor) -> tuple[Tensor, Tensor]:
    """The first half of the readings of each series, of an odd number the larger, and
    the rest: two masks of the shape (n, k) of `seen`, whose readings come first in a row.
    """
    half = (seen.sum(dim=1, keepdim=True) + 1) // 2
    first = torch.arange(seen.shape[1], device=seen.device) < half
    return first, seen & ~first


def random_cut(seen: Tensor) -> Tensor:
    """The first readings of each series, at least one and never all: a mask, (n, k).

    How many is drawn evenly from the global generator. Every series has two or more.
    """
    total = seen.sum(dim=1, keepdim=True)
    cut = 1 + torch.rand(len(seen), 1, device=seen.device) * (total - 1)
    # Rounding may lift the largest number that is drawn to all of them.
    return torch.arange(seen.shape[1], device=seen.device) < cut.floor().minimum(
        total - 1
    )


class Split(NamedTuple):
    """Which series are trained on, held out to choose by, and tested on: indices."""

    train: Tensor
    held: Tensor
    test: Tensor


def split(n: int, fold: int, *, folds: int = 5, seed: int = 0) -> Split:
    """One of `folds` splits of n series: every series is tested in one of them, and one
    in five of the others is held out.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"fold must lie between 0 and {folds - 1}, got {fold}")
    order = torch.randperm(n, generator=generator(seed))
    parts = order.tensor_split(folds)
    rest = torch.cat(parts[:fold] + parts[fold + 1 :])
    rest = rest[torch.randperm(len(rest), generator=generator(seed + fold + 1))]
    return Split(rest[len(rest) // 5 :], rest[: len(rest) // 5], parts[fold])


def standardised(visits: Visits, rows: Tensor) -> tuple[Readings, Tensor, Tensor]:
    """All visits in units in which those of the patients `rows` have mean 0 and standard
    deviation 1 in each column; that mean and deviation, shape (D,).
    """
    known = visits.values[rows][visits.seen[rows]]
    mean, deviation = known.mean(dim=0), known.std(dim=0)
    values = ((visits.values - mean) / deviation).where(visits.seen[..., None], 0.0)
    return Readings(values, visits.times, visits.seen), mean, deviation


def errors_of_series(forecast: Tensor, values: Tensor, later: Tensor) -> Tensor:
    """The mean square error of each series in each column over the readings of the mask
    `later`, shape (n, D).
    """
    squares = (forecast - values).square().where(later[..., None], 0.0)
    return squares.sum(dim=1) / later.sum(dim=1, keepdim=True)


# --- forecasts without a network ------------------------------------------------------


def carry_forward(series: Readings, read: Tensor) -> Tensor:
    """The last reading of each series for all times, shape (n, k, D).

    Raises
    ------
    ValueError
        If `read` is not, for every series, its first reading and those that follow.
    """
    if not read[:, 0].all() or (read[:, 1:] & ~read[:, :-1]).any():
        raise ValueError(
            "read must mark the first readings of every series, one or more and none left "
            "out between them"
        )
    last = read.sum(dim=1) - 1
    found = series.values[torch.arange(len(last)), last]
    return found[:, None].expand_as(series.values)


class Lines(NamedTuple):
    """A population of lines: each series is a straight line in each column, and noise.

    The 2D coefficients of a series (intercept and slope of the first column, then of the
    second, …) are drawn from a Gaussian, its readings lie about its lines with Gaussian
    noise that is independent from visit to visit: a linear mixed model.

    Attributes
    ----------
    mean, covariance : Tensor, shapes (2D,) and (2D, 2D), float64
    noise : Tensor, shape (D, D), covariance of one visit's noise

    References
    ----------
    Laird, Ware 1982.
    """

    mean: Tensor
    covariance: Tensor
    noise: Tensor

    def posterior(self, series: Readings, read: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of each series' coefficients, given the readings of the
        mask `read`: shapes (n, 2D) and (n, 2D, 2D).
        """
        n, width = len(read), len(self.mean)
        seen = read[..., None].double()
        basis = _basis(series.times) * seen
        weight = self.noise.inverse()
        inner = torch.einsum("de,nab->ndaeb", weight, basis.mT @ basis)
        pull = (basis.mT @ (series.values * seen) @ weight).mT.reshape(n, width)
        prior = self.covariance.inverse()
        covariance = (prior + inner.reshape(n, width, width)).inverse()
        mean = covariance @ (prior @ self.mean + pull)[..., None]
        return mean[..., 0], covariance

    def forecast(self, series: Readings, read: Tensor) -> Tensor:
        """The posterior mean of each series' lines at all its times, shape (n, k, D):
        few readings leave it near the population, many pull it to their own line.
        """
        mean, _ = self.posterior(series, read)
        lines = mean.view(len(read), -1, 2)  # (n, D, 2)
        return (_basis(series.times) @ lines.mT).to(series.values.dtype)


def _basis(times: Tensor) -> Tensor:
    """1 and t at every time, shape (n, k, 2)."""
    return torch.stack((torch.ones_like(times), times), dim=-1).double()


def fit_lines(series: Readings, *, steps: int = 300) -> Lines:
    """The population that makes the series most likely, by expectation maximisation.

    References
    ----------
    Dempster, Laird, Rubin 1977; Laird, Ware 1982.
    """
    columns = series.values.shape[-1]
    lines = Lines(
        torch.zeros(2 * columns).double(),
        torch.eye(2 * columns).double(),
        torch.eye(columns).double(),
    )
    basis = _basis(series.times) * series.seen[..., None]
    inner = basis.mT @ basis  # (n, 2, 2)
    for _ in range(steps):
        each, doubt = lines.posterior(series, series.seen)
        mean, n = each.mean(dim=0), len(each)
        covariance = torch.cov(each.T, correction=0) + doubt.mean(dim=0)
        fitted = basis @ each.view(n, columns, 2).mT
        rest = (series.values - fitted) * series.seen[..., None]
        unsure = doubt.view(n, columns, 2, columns, 2)
        noise = torch.einsum("nkd,nke->de", rest, rest)
        noise = noise + torch.einsum("ndaeb,nab->de", unsure, inner)
        lines = Lines(mean, covariance, noise / series.seen.sum())
    return lines


# --- a network that jumps -------------------------------------------------------------


class DecayGRU(nn.Module):
    """GRU with decay: between two readings the hidden state shrinks towards 0, and the
    last value towards the mean, which is 0, each at a rate that is learnt.

    A forecast adds what a small network makes of the decayed state, and of the time that
    has passed since the last reading, to the decayed last value. It depends on no other
    time asked for.

    Parameters
    ----------
    observed, hidden : int

    References
    ----------
    Che, Purushotham, Cho, Sontag, Liu 2018 (GRU-D), where inputs may also be missing one
    by one; the readout is ours.
    """

    def __init__(self, observed: int, hidden: int):
        super().__init__()
        self.cell = nn.GRUCell(observed + 1, hidden)
        self.rate = nn.Linear(1, hidden)
        self.fading = nn.Parameter(torch.full((observed,), -2.0))
        self.out = nn.Sequential(
            nn.Linear(hidden + 1, hidden), nn.Tanh(), nn.Linear(hidden, observed)
        )

    def decayed(self, state: Tensor, gap: Tensor) -> Tensor:
        """The state (*, hidden) after a gap (*, 1) without a reading."""
        return state * torch.exp(-F.relu(self.rate(gap)))

    def read(self, series: Readings) -> Tensor:
        """The state after the last reading of each series, shape (n, hidden)."""
        state = series.values.new_zeros(len(series.values), self.cell.hidden_size)
        gaps = series.times.diff(dim=1, prepend=series.times[:, :1])[..., None]
        for value, gap, seen in zip(
            *(part.unbind(dim=1) for part in (series.values, gaps, series.seen))
        ):
            new = self.cell(torch.cat((value, gap), dim=-1), self.decayed(state, gap))
            state = torch.where(seen[:, None], new, state)
        return state

    def forecast(self, series: Readings, read: Tensor) -> Tensor:
        """Values at all times of each series, shape (n, k, D), from the readings of the
        mask `read`. What it says about times before the last of them means nothing.
        """
        known = readings(series.values, series.times, read)
        state = self.read(known)[:, None].expand(-1, series.times.shape[1], -1)
        last = known.times.amax(dim=1, keepdim=True)
        gap = (series.times - last).clamp(min=0)[..., None]
        kept = carry_forward(series, read) * torch.exp(-F.softplus(self.fading) * gap)
        return kept + self.out(torch.cat((self.decayed(state, gap), gap), dim=-1))


def jump_loss(model: DecayGRU, series: Readings) -> Tensor:
    """The mean square error of the forecasts after a random number of readings."""
    read = random_cut(series.seen)
    wrong = model.forecast(series, read) - series.values
    return wrong[series.seen & ~read].square().mean()


# --- a flow ---------------------------------------------------------------------------


def decode_forecast(model: LatentODE, series: Readings, read: Tensor) -> Tensor:
    """Values at all times of each series, shape (n, k, D): the posterior mean of z(0),
    given the readings of the mask `read`, flows through all of them.
    """
    z0 = model.encoder(series.values, series.times, read).mean
    return model.decode_at(z0, series.times)


def flow_loss(
    model: LatentODE, series: Readings, *, noise: float, kl_weight: float
) -> Tensor:
    """Minus the bound of all readings, per reading, where the encoder sees a random
    number of the first alone: the flow has to reach the others by itself.
    """
    read = random_cut(series.seen)
    return negative_elbo(
        model,
        series.values,
        series.times,
        noise=noise,
        kl_weight=kl_weight,
        mask=read,
        targets=(series.values, series.times, series.seen & ~read),
    )


# --- training -------------------------------------------------------------------------


def fit_best(
    model: nn.Module,
    loss: Callable[..., Tensor],
    forecast: Callable[[Readings, Tensor], Tensor],
    train: Readings,
    held: Readings,
    *,
    lr: float,
    steps: int,
) -> tuple[History, int]:
    """Train on all series at once, look at the held-out ones after every five steps, and
    end with the weights that forecast their second halves best.

    Parameters
    ----------
    loss : callable ``loss(series, done) -> Tensor``; `done` is the share of the steps
        that lie behind
    forecast : callable ``forecast(series, read) -> Tensor``
    lr : float, the highest learning rate of the cycle
    steps : int, a multiple of five from ten on

    Returns
    -------
    history : History; its `epochs` are the held-out errors (RMSE), one in five steps
    best : int, the step whose weights are kept

    Raises
    ------
    ValueError
        For other steps, or a held-out series of one reading.
    FloatingPointError
        If a held-out error is NaN.
    """
    if steps < 10 or steps % 5:
        raise ValueError(f"steps must be a multiple of five from ten on, got {steps!r}")
    read, later = halves(held.seen)
    if not later.any(dim=1).all():
        raise ValueError(
            "held must hold series of two or more readings, for the second half is what "
            "is forecast; leave out those of one"
        )
    kept: dict[str, Tensor] = {}
    errors: list[float] = []
    done = 0

    def objective(*series: Tensor) -> Tensor:
        nonlocal done
        done += 1
        return loss(Readings(*series), (done - 1) / steps)

    @torch.no_grad()
    def look() -> float:
        wrong = errors_of_series(forecast(held, read), held.values, later)
        errors.append(wrong.mean().sqrt().item())
        if math.isnan(errors[-1]):
            raise FloatingPointError(
                f"the held-out error is NaN after {done} steps; look at what forecast "
                "returns for the held-out series"
            )
        if errors.index(min(errors)) == len(errors) - 1:  # the first of equals
            kept.update({key: w.clone() for key, w in model.state_dict().items()})
        return errors[-1]

    history = one_cycle(
        model,
        5 * [tuple(train)],
        objective,
        lr=lr,
        epochs=steps // 5,
        rise=0.2,
        clip=5.0,
        after_epoch=look,
    )
    model.load_state_dict(kept)
    return history, 5 * (1 + errors.index(min(errors)))

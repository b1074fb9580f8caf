"""The latent ODEs of chapter 13 and their rivals, on both sets of spirals.

Every run adds a row to the results `latent_ode`, in the place of an older one of the
same data, model, seed and number of epochs.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from course_lib import data, latent, training

COUNTS = (30, 50, 100)
READINGS = 100  # of each series; a batch keeps some of them
STRETCHES = (0.5, 0.25)  # shares of the span that a test reads instead of all of it

Model = latent.LatentODE | latent.LatentRNN


@dataclass(frozen=True)
class Recipe:
    """How the models of one set of spirals are built and trained.

    Attributes
    ----------
    draw : callable ``draw(n, observations=, noise=, seed=) -> Spirals``
    noise : float, standard deviation of a reading
    believed : float, the one in the likelihood, in the units the model sees
    fewest : int, readings a batch keeps at least
    growth : float, share of the training after which whole series are read; before,
        batches hold the early part of each
    scaled : bool, whether series are divided by their root mean square
    latent, hidden, width, jump : int, sizes of the latent state, the encoder, the
        field and the rival's decoder
    reader : tuple of int, sizes of the state and the field of an encoder that flows
    more : callable ``more(model, test, known, scaled=) -> dict``, what a row says
        beyond the RMSE
    test : str, what the test series have in common with those of the training
    late : int, readings after the span that every training series has besides, for the
        decoder alone: half as many as are read are asked for, of all that come later
    stretches : bool, whether every second batch reads an early part of random length
    grids : bool, whether the training series are read at every point of the span, and
        the decoder is asked for a random number of those that the encoder does not get
    """

    draw: Callable[..., data.Spirals]
    noise: float
    believed: float
    fewest: int
    growth: float
    scaled: bool
    latent: int
    hidden: int
    width: int
    jump: int
    reader: tuple[int, int]
    more: Callable[..., dict]
    test: str
    late: int = 0
    stretches: bool = False
    grids: bool = False


MODELS = ("ode", "rnn", "ode-rnn")


def build(recipe: Recipe, model: str) -> Model:
    """The latent ODE "ode", the same with an `ODERNNEncoder` "ode-rnn", or "rnn"."""
    if model == "rnn":
        return latent.LatentRNN(
            latent=recipe.latent, hidden=recipe.hidden, width=recipe.jump
        )
    encoder = None
    if model == "ode-rnn":
        encoder = latent.ODERNNEncoder(2, recipe.latent, *recipe.reader)
    return latent.LatentODE(
        latent=recipe.latent, hidden=recipe.hidden, width=recipe.width, encoder=encoder
    )


# --- scores ---------------------------------------------------------------------------


@torch.no_grad()
def spiral_errors(
    model: Model, series: data.Spirals, k: int, *, scaled: bool
) -> dict[str, float | None]:
    """RMSE per coordinate against the clean curves, from `k` of the readings of each.

    Returns
    -------
    dict : "seen" at the moments of the readings, "unseen" at the others of the observed
        stretch (None if there are none), "span" at all of them, "after" beyond it
    """
    curves, index = curves_from(model, series, k, scaled=scaled)
    squares = (curves - series.clean).square().mean(-1)
    inside, after = squares.split((series.span, squares.shape[1] - series.span), dim=1)
    seen = torch.zeros_like(inside, dtype=torch.bool).scatter_(1, index, True)
    parts = {"seen": inside[seen], "unseen": inside[~seen], "span": inside}
    return {
        name: part.mean().sqrt().item() if part.numel() else None
        for name, part in (parts | {"after": after}).items()
    }


@torch.no_grad()
def curves_from(
    model: Model, series: data.Spirals, k: int, *, scaled: bool
) -> tuple[Tensor, Tensor]:
    """The curve of each series at every time, shape (n, T, 2), from `k` of its readings,
    and which they are, shape (n, k).
    """
    index, values = data.thin(series.index, series.values, k, seed=0)
    scale = latent.root_mean_square(values) if scaled else torch.ones(len(values), 1, 1)
    z0 = model.encoder(values / scale, series.t[index]).mean
    if isinstance(model, latent.LatentODE):
        curves = model.decode(z0, series.t)
    else:
        curves = curves_of_jumps(model, z0, series, index)
    return scale * curves, index


def curves_of_jumps(
    model: latent.LatentRNN, z0: Tensor, series: data.Spirals, index: Tensor
) -> Tensor:
    """Every curve at every time, shape (n, T, 2), from a model whose answers depend on
    the times asked for.

    It is asked as it was trained: at the moments of the readings; at the others in
    groups of at most as many, spread over the stretch; after it in steps of four.
    """
    n, stretch = len(index), torch.arange(series.span)
    curves = series.clean.new_zeros(series.clean.shape)

    def ask(moments: Tensor, keep_from: int = 0) -> None:
        found = model.decode_at(z0, series.t[moments])[:, keep_from:]
        where = moments[:, keep_from:, None].expand_as(found)
        curves.scatter_(1, where, found)

    others = torch.ones(n, series.span, dtype=torch.bool).scatter_(1, index, False)
    others = stretch.expand(n, -1)[others].view(n, -1)
    groups = math.ceil(others.shape[1] / index.shape[1])
    for j in range(groups):
        ask(others[:, j::groups])
    for j in range(4):
        later = torch.arange(series.span + j, len(series.t), 4).expand(n, -1)
        ask(torch.cat((index, later), dim=1), keep_from=index.shape[1])
    ask(index)
    return curves


def by_ground(
    model: Model, test: data.Spirals, known: data.Spirals, *, scaled: bool
) -> dict:
    """The error after the span, split: "known" ground is what the span of some training
    series covers, "new" the rest.

    Returns
    -------
    dict : "ground", for each number of readings the RMSE on both; "new_share", the
        share of the points after the span that are new; "same_curves", how many test
        series have the curve of a training series
    """
    new = new_ground(test, known)[:, test.span :]
    found = {}
    for k in COUNTS:
        curves, _ = curves_from(model, test, k, scaled=scaled)
        squares = (curves - test.clean).square().mean(-1)[:, test.span :]
        parts = {"known": squares[~new], "new": squares[new]}
        found[str(k)] = {
            name: part.mean().sqrt().item() for name, part in parts.items()
        }
    curves_known = {curve.numpy().tobytes() for curve in known.clean}
    same = sum(curve.numpy().tobytes() in curves_known for curve in test.clean)
    share = new.float().mean().item()
    return dict(ground=found, new_share=share, same_curves=same)


def new_ground(test: data.Spirals, known: data.Spirals) -> Tensor:
    """Where the two arms of `test` lie further out than every span of `known`, shape
    (n, T), bool. Both arms move outwards all the time.
    """

    def radius(series: data.Spirals) -> Tensor:
        centre = torch.where(series.clockwise, -5.0, 5.0)[:, None]
        return torch.hypot(series.clean[..., 0] - centre, series.clean[..., 1])

    spans, border = radius(known)[:, : known.span], torch.zeros(len(test.clean), 1)
    for arm in (False, True):
        border[test.clockwise == arm] = spans[known.clockwise == arm].max()
    return radius(test) > border


def each_after(model: Model, test: data.Spirals, _, *, scaled: bool) -> dict:
    """The RMSE of each series after the span, from 50 readings: "after_each", in the
    order of `test`, to four digits.
    """
    curves, _ = curves_from(model, test, 50, scaled=scaled)
    squares = (curves - test.clean).square().mean(-1)[:, test.span :]
    return dict(after_each=[float(f"{x:.4g}") for x in squares.mean(1).sqrt().tolist()])


@torch.no_grad()
def grid_errors(
    model: latent.LatentRNN, series: data.Spirals, k: int, *, scaled: bool
) -> dict[str, float]:
    """RMSE per coordinate of a model of jumps that is asked for all times at once, from
    `k` of the readings of each series: over the "span" and "after" it.
    """
    index, values = data.thin(series.index, series.values, k, seed=0)
    scale = latent.root_mean_square(values) if scaled else torch.ones(len(values), 1, 1)
    z0 = model.encoder(values / scale, series.t[index]).mean
    curves = scale * model.decode_at(z0, series.t.expand(len(z0), -1))
    squares = (curves - series.clean).square().mean(-1)
    span, after = squares[:, : series.span], squares[:, series.span :]
    return {"span": span.mean().sqrt().item(), "after": after.mean().sqrt().item()}


@torch.no_grad()
def stretch_errors(
    model: latent.LatentODE,
    series: data.Spirals,
    share: float,
    *,
    noise: float,
    scaled: bool,
) -> dict[str, float]:
    """RMSE per coordinate from up to 50 noisy readings of the first part of the span, a
    `share` of it: over the stretch that is "read", the "rest" of the span, and "after".
    """
    points = round(share * series.span)
    few = series.read_anew(min(50, points), noise=noise, share=share, seed=1)
    curves, _ = curves_from(model, few, few.index.shape[1], scaled=scaled)
    squares = (curves - series.clean).square().mean(-1)
    parts = {
        "read": squares[:, :points],
        "rest": squares[:, points : series.span],
        "after": squares[:, series.span :],
    }
    return {name: part.mean().sqrt().item() for name, part in parts.items()}


# --- recipes --------------------------------------------------------------------------

DIVERSE = Recipe(
    data.diverse_spirals,
    *(0.02, 0.1, 20, 0.5, True),
    *(8, 96, 96, 61, (72, 90)),
    more=each_after,
    test="1,000 series of another seed: other curves",
)
TWO_ARMED = Recipe(
    data.two_armed_spirals,
    *(0.2, 0.2, 1, 0.0, False),
    *(6, 64, 64, 41, (48, 61)),
    more=by_ground,
    test="1,000 series of another seed: nearly all curves of the training, read anew",
)
RECIPES = {
    "two-armed": TWO_ARMED,
    "two-armed, late": replace(TWO_ARMED, late=50, stretches=True),
    "two-armed, random grids": replace(TWO_ARMED, grids=True),
    "diverse": DIVERSE,
    "diverse, late": replace(DIVERSE, late=50, stretches=True),
    "diverse, not scaled": replace(DIVERSE, scaled=False),
    "diverse, not growing": replace(DIVERSE, growth=0.0),
    "diverse, neither": replace(DIVERSE, scaled=False, growth=0.0),
}

# --- training -------------------------------------------------------------------------


def train(args: argparse.Namespace) -> tuple[nn.Module, training.History, dict]:
    """Train one model on one set and evaluate it: the model, its history, and what its
    row says.

    What is printed on the way is measured on series of a third seed, and nothing here
    is chosen by the test series.
    """
    recipe = RECIPES[args.data]
    draw = dict(observations=READINGS, noise=recipe.noise)
    known = recipe.draw(8000, **draw, seed=args.seed)
    test = recipe.draw(1000, **draw, seed=args.seed + 1000)
    check = recipe.draw(500, **draw, seed=args.seed + 2000)
    model = build(recipe, args.model)
    batches = training.minibatches(
        *training_readings(known, recipe, args.seed), size=100, seed=args.seed
    )
    history = training.one_cycle(
        model,
        batches,
        loss_of(model, recipe, args.epochs * len(batches)),
        lr=args.lr,
        epochs=args.epochs,
        rise=0.1,
        clip=10.0,
        after_epoch=lambda: watch(model, check, recipe),
    )
    found = dict(
        data=args.data,
        model=args.model,
        train=described(recipe),
        test=recipe.test,
        **scores(model, test, recipe),
        **recipe.more(model, test, known, scaled=recipe.scaled),
    )
    return model, history, found


def scores(model: Model, test: data.Spirals, recipe: Recipe) -> dict:
    """The errors of a row, by the number of readings and by the stretch they cover."""
    scaled = recipe.scaled
    found = {str(k): spiral_errors(model, test, k, scaled=scaled) for k in COUNTS}
    if isinstance(model, latent.LatentRNN):
        grid = {str(k): grid_errors(model, test, k, scaled=scaled) for k in COUNTS}
        return dict(rmse=found, grid=grid)
    stretches = {
        str(share): stretch_errors(
            model, test, share, noise=recipe.noise, scaled=scaled
        )
        for share in STRETCHES
    }
    return dict(rmse=found, stretch=stretches)


def described(recipe: Recipe) -> str:
    """What a row says of the training series."""
    some = "8,000 series, 100 readings each, of which every batch keeps some"
    if recipe.late:
        some += f"; {recipe.late} after the span, which the decoder is asked for"
    if recipe.stretches:
        some += "; every second batch reads an early part of random length"
    if recipe.grids:
        some += "; the decoder is asked for a random number of all points of the span"
    return some


def training_readings(
    known: data.Spirals, recipe: Recipe, seed: int
) -> tuple[Tensor, Tensor]:
    """Values and times of all readings of the training series, in the order of time:
    those of the span, or of every point of it as the recipe says, then the late ones.
    """
    span, g = known.span, data.generator(seed + 4000)
    noisy = known.clean + recipe.noise * torch.randn(known.clean.shape, generator=g)
    times = known.t.expand(len(noisy), -1)
    if recipe.grids:
        return noisy[:, :span], times[:, :span]
    if not recipe.late:
        return known.values, known.times()
    when, late = data.thin(
        times[:, span:], noisy[:, span:], recipe.late, seed=seed + 5000
    )
    return torch.cat((known.values, late), 1), torch.cat((known.times(), when), 1)


def watch(model: Model, check: data.Spirals, recipe: Recipe) -> None:
    """Print the errors at this point of the training."""
    errors = spiral_errors(model, check, 50, scaled=recipe.scaled)
    if isinstance(model, latent.LatentODE):
        for share in STRETCHES:
            part = stretch_errors(
                model, check, share, noise=recipe.noise, scaled=recipe.scaled
            )
            errors |= {f"{name}, {share}": error for name, error in part.items()}
    if recipe.scaled:
        errors["after, relative"] = relative_after(model, check)
    print(
        {name: error and round(error, 3) for name, error in errors.items()}, flush=True
    )


def relative_after(model: Model, series: data.Spirals) -> float:
    """The RMSE after the span of a model of scaled series, from 50 readings, when the
    error of each series is divided by its size.
    """
    each = torch.tensor(each_after(model, series, series, scaled=True)["after_each"])
    relative = each / latent.root_mean_square(series.values).flatten()
    return relative.square().mean().sqrt().item()


def loss_of(model: Model, recipe: Recipe, total: int) -> Callable[..., Tensor]:
    """The bound for what a batch reads of each series and is asked for besides; the
    weight of the KL term grows over the first twentieth of the training.
    """
    step = itertools.count()

    def loss(values: Tensor, times: Tensor) -> Tensor:
        now = next(step)
        if recipe.grids:
            read, asked = on_grids(recipe, times, values)
        else:
            grown, share = shares(recipe, now, total)
            read, asked = in_stretches(recipe, grown, share, times, values)
        size = latent.root_mean_square(read[1]) if recipe.scaled else 1.0
        return latent.negative_elbo(
            model,
            read[1] / size,
            read[0],
            noise=recipe.believed,
            kl_weight=min(1.0, 20 * now / total),
            targets=asked and (asked[1] / size, asked[0]),
        )

    return loss


Pair = tuple[Tensor, Tensor]  # times and values


def shares(recipe: Recipe, step: int, total: int) -> tuple[float, float]:
    """How much of each series there is at a step of the training, and how much of the
    span is read.
    """
    done = step / total
    grown = min(1.0, 0.15 + 0.85 * done / recipe.growth) if recipe.growth else 1.0
    if recipe.stretches and step % 2:
        return grown, grown * (0.2 + 0.8 * torch.rand(()).item())
    return grown, grown


def in_stretches(
    recipe: Recipe, grown: float, share: float, times: Tensor, values: Tensor
) -> tuple[Pair, Pair | None]:
    """What a batch reads of the first `share` of each span, and half as many of the
    later readings to ask for, up to where the series has `grown`.
    """
    part, end = round(share * READINGS), round(grown * times.shape[1])
    fewest = max(1, round(share * recipe.fewest))
    k = int(torch.randint(fewest, part + 1, ()))
    read = data.thin(times[:, :part], values[:, :part], k)
    if not recipe.late:
        return read, None
    count = min(max(1, k // 2), end - part)
    return read, data.thin(times[:, part:end], values[:, part:end], count)


def on_grids(recipe: Recipe, times: Tensor, values: Tensor) -> tuple[Pair, Pair | None]:
    """What a batch reads, as many as any batch may, and what it is asked for: any number
    of the other points of each series.
    """
    k = int(torch.randint(recipe.fewest, READINGS + 1, ()))
    points = int(torch.randint(k, times.shape[1] + 1, ()))
    times, values = data.thin(times, values, points)
    index, few = data.thin(torch.arange(points).expand_as(times), values, k)
    left = torch.ones(times.shape, dtype=torch.bool).scatter_(1, index, False)
    others = times[left].view(len(times), -1), values[left].view(len(times), -1, 2)
    return (times.gather(1, index), few), others if points > k else None

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
    more : callable ``more(model, test, known, scaled=) -> dict``, what a row says
        beyond the RMSE
    test : str, what the test series have in common with those of the training
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
    more: Callable[..., dict]
    test: str


def build(recipe: Recipe, model: str) -> Model:
    """The model called "ode" or "rnn"."""
    if model == "rnn":
        return latent.LatentRNN(
            latent=recipe.latent, hidden=recipe.hidden, width=recipe.jump
        )
    return latent.LatentODE(
        latent=recipe.latent, hidden=recipe.hidden, width=recipe.width
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


# --- recipes --------------------------------------------------------------------------

DIVERSE = Recipe(
    data.diverse_spirals,
    *(0.02, 0.1, 20, 0.5, True),
    *(8, 96, 96, 61),
    more=each_after,
    test="1,000 series of another seed: other curves",
)
RECIPES = {
    "two-armed": Recipe(
        data.two_armed_spirals,
        *(0.2, 0.2, 1, 0.0, False),
        *(6, 64, 64, 41),
        more=by_ground,
        test="1,000 series of another seed: nearly all curves of the training, read anew",
    ),
    "diverse": DIVERSE,
    "diverse, not scaled": replace(DIVERSE, scaled=False),
    "diverse, not growing": replace(DIVERSE, growth=0.0),
    "diverse, neither": replace(DIVERSE, scaled=False, growth=0.0),
}

# --- training -------------------------------------------------------------------------


def train(args: argparse.Namespace) -> tuple[nn.Module, training.History, dict]:
    """Train one model on one set and evaluate it: the model, its history, and what its
    row says.
    """
    recipe = RECIPES[args.data]
    draw = dict(observations=100, noise=recipe.noise)
    known = recipe.draw(8000, **draw, seed=args.seed)
    test = recipe.draw(1000, **draw, seed=args.seed + 1000)
    model = build(recipe, args.model)
    batches = training.minibatches(
        known.values, known.times(), size=100, seed=args.seed
    )
    history = training.one_cycle(
        model,
        batches,
        loss_of(model, recipe, args.epochs * len(batches)),
        lr=args.lr,
        epochs=args.epochs,
        rise=0.1,
        clip=10.0,
        after_epoch=lambda: watch(model, test, recipe),
    )
    found = dict(
        data=args.data,
        model=args.model,
        train="8,000 series, 100 readings each, of which every batch keeps some",
        test=recipe.test,
        rmse={
            str(k): spiral_errors(model, test, k, scaled=recipe.scaled) for k in COUNTS
        },
        **recipe.more(model, test, known, scaled=recipe.scaled),
    )
    return model, history, found


def watch(model: Model, test: data.Spirals, recipe: Recipe) -> None:
    """Print the errors at this point of the training."""
    errors = spiral_errors(model, test, 50, scaled=recipe.scaled)
    print(
        {name: error and round(error, 3) for name, error in errors.items()}, flush=True
    )


def loss_of(model: Model, recipe: Recipe, total: int) -> Callable[..., Tensor]:
    """The bound for a random number of readings of the early part of each series; the
    part grows, and the weight of the KL term does, as the recipe says.
    """
    step = itertools.count()

    def loss(values: Tensor, times: Tensor) -> Tensor:
        done = next(step) / total
        grown = min(1.0, 0.15 + 0.85 * done / recipe.growth) if recipe.growth else 1.0
        part = round(grown * values.shape[1])
        fewest = max(1, round(grown * recipe.fewest))
        k = int(torch.randint(fewest, part + 1, ()))
        times, values = data.thin(times[:, :part], values[:, :part], k)
        if recipe.scaled:
            values = values / latent.root_mean_square(values)
        weight = min(1.0, 20 * done)
        return latent.negative_elbo(
            model, values, times, noise=recipe.believed, kl_weight=weight
        )

    return loss

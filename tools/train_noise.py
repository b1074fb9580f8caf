"""Noise, chapter 20: neural SDEs on a bistable series and on Seattle's temperature, and a
residual network with noise between its layers.

Every neural SDE is stopped by a validation series that follows the training series in
time, and scored on the series after that. A seed of the bistable series is a fresh path
and fresh weights; one of the layers is fresh points, labels and weights.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from torch import Tensor, nn

from course_lib import data, records, training
from course_lib.models import NeuralSDE, euler_log_density
from course_lib.solvers import (
    BrownianPath,
    euler_maruyama_step,
    fokker_planck,
    solve_sde,
    transition_log_density,
)

BY = ("task", "model", "seed")

# --- a series with two states ---------------------------------------------------------

GAP, LENGTHS = 1.0, (1000, 500, 1000)  # between readings; readings of the three parts
EDGES = torch.linspace(-3.0, 3.0, 91, dtype=torch.float64)
CURVE = torch.linspace(-1.6, 1.6, 33, dtype=torch.float64)


def well(t, x):
    """The drift of two wells, at ±1."""
    return x - x**3


def half(t, x):
    """Noise of the same size everywhere."""
    return torch.full_like(x, 0.5)


@cache
@torch.no_grad()
def bistable(seed: int) -> Tensor:
    """A path of the two wells, read at every GAP, shape (readings,); burnt in for 10."""
    n = sum(LENGTHS)
    span = (-10.0, GAP * n)
    W = BrownianPath((), seed=1000 + seed, span=span)
    t = torch.cat((torch.tensor([-10.0]), GAP * torch.arange(n)))
    start = torch.tensor(1.0, dtype=torch.float64)
    return solve_sde(well, half, start, t.double(), path=W, step_size=1 / 32).ys[1:]


def pairs_of(x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Readings and the readings after them, for training, validation and test."""
    parts = x.split(LENGTHS)
    return [(part[:-1], part[1:]) for part in parts]


def on_line(function: Callable) -> Callable:
    """A function of states (*, 1) as one of numbers."""
    return lambda t, x: function(t, x[..., None])[..., 0]


def exact_density(f: Callable, g: Callable, x: Tensor, x_next: Tensor) -> Tensor:
    """log p(x_next | x) of the SDE itself, by the Fokker–Planck matrix."""
    A = fokker_planck(f, g, EDGES)
    return transition_log_density(A, EDGES, GAP, x, x_next)


def one_step(f: Callable, g: Callable, x: Tensor, x_next: Tensor) -> Tensor:
    """The same of a single step of Euler and Maruyama."""

    def wide(function: Callable) -> Callable:
        return lambda t, y: function(t, y[..., 0])[..., None]

    states = x[..., None], x_next[..., None]
    return euler_log_density(wide(f), wide(g), 0.0, GAP, *states)


def ornstein_uhlenbeck(x: Tensor, x_next: Tensor) -> tuple[Callable, Callable]:
    """The most likely linear drift and constant diffusion, by least squares."""
    columns = torch.stack((x, torch.ones_like(x)), dim=1)
    keep, shift = torch.linalg.lstsq(columns, x_next[:, None]).solution[:, 0]
    left = (x_next - keep * x - shift).square().mean()
    theta = -keep.log() / GAP
    size = (2 * theta * left / (1 - keep**2)).sqrt()
    mean = shift / (1 - keep)
    return lambda t, y: theta * (mean - y), lambda t, y: size + 0 * y


def stopped(
    model: NeuralSDE,
    score: Callable[..., Tensor],
    seen: tuple,
    held: tuple,
    *,
    steps: int,
    lr: float,
) -> tuple[NeuralSDE, list[float], int]:
    """Train on the mean of -score, and keep the weights that the held part likes best."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    best, kept, scores = math.inf, copy.deepcopy(model), []

    def look() -> None:
        nonlocal best, kept
        with torch.no_grad():
            scores.append(-score(*held).mean().item())
        if scores[-1] < best:
            best, kept = scores[-1], copy.deepcopy(model)

    for _ in range(steps // 10):
        training.fit(model, [()] * 10, lambda: -score(*seen).mean(), optimizer)
        look()
    return kept, scores, 10 * (scores.index(best) + 1)


DENSITIES = {"density": exact_density, "one step": one_step}


def fit_bistable(how: str, seed: int, steps: int = 600) -> Iterator[dict]:
    """A neural SDE by one of the two likelihoods, beside its rivals."""
    seen, held, test = pairs_of(bistable(seed))
    training.seed(seed)
    start = time.process_time()
    model = NeuralSDE(1, (16,)).double()
    f, g = on_line(model.drift), on_line(model.diffusion)
    score = partial(DENSITIES[how], f, g)
    best, _, at = stopped(model, score, seen, held, steps=steps, lr=0.02)
    f, g = on_line(best.drift), on_line(best.diffusion)
    with torch.no_grad():
        yield dict(
            model=f"neural, {how}",
            cpu_seconds=round(time.process_time() - start, 1),
            steps=steps,
            stopped_at=at,
            test_nll=-exact_density(f, g, *test).mean().item(),
            own_nll=-DENSITIES[how](f, g, *test).mean().item(),
            drift=f(0.0, CURVE).tolist(),
            diffusion=g(0.0, CURVE).tolist(),
        )


def rivals_bistable(seed: int) -> Iterator[dict]:
    """The truth, and the best linear drift with constant diffusion."""
    seen, _, test = pairs_of(bistable(seed))
    for name, (f, g) in (
        ("truth", (well, half)),
        ("ornstein-uhlenbeck", ornstein_uhlenbeck(*seen)),
    ):
        yield dict(model=name, test_nll=-exact_density(f, g, *test).mean().item())


# --- temperature ----------------------------------------------------------------------


def temperature() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Day, temperature and that of the next day, for two years, one, and one.

    Temperatures are the means of the highest and the lowest of a day, less the mean of the
    two years, in units of their standard deviation.
    """
    series = data.weather()
    x = ((series.temp_max + series.temp_min) / 2).double()
    year = torch.tensor([day.year for day in series.dates])
    first = x[year <= 2013]
    x = (x - first.mean()) / first.std()
    day = torch.arange(len(x), dtype=torch.float64)
    parts = []
    for begin, end in ((2012, 2013), (2014, 2014), (2015, 2015)):
        at = ((year >= begin) & (year <= end)).nonzero()[:, 0]
        parts.append((day[at[:-1]], x[at[:-1], None], x[at[1:], None]))
    return parts


YEAR = 365.25


def fit_temperature(seed: int, steps: int = 2000) -> Iterator[dict]:
    """A neural SDE with a season, by one step a day: stopped, and trained to the end."""
    seen, held, test = temperature()
    training.seed(seed)
    start = time.process_time()
    model = NeuralSDE(1, (32, 32), period=YEAR).double()

    def score(of: NeuralSDE, day: Tensor, x: Tensor, x_next: Tensor) -> Tensor:
        return euler_log_density(of.drift, of.diffusion, day, 1.0, x, x_next)

    best, scores, at = stopped(
        model, partial(score, model), seen, held, steps=steps, lr=1e-2
    )
    with torch.no_grad():
        yield dict(
            model="neural",
            cpu_seconds=round(time.process_time() - start, 1),
            steps=steps,
            stopped_at=at,
            test_nll=-score(best, *test).mean().item(),
            last_nll=-score(model, *test).mean().item(),
            train_nll=-score(best, *seen).mean().item(),
            last_train_nll=-score(model, *seen).mean().item(),
            validation=[round(s, 4) for s in scores[::10]],
        )


def rivals_temperature() -> Iterator[dict]:
    """Tomorrow is today, and a pull to a season, both with normal noise of one size."""
    (day, x, x_next), _, (days, y, y_next) = temperature()

    def season(day: Tensor, x: Tensor) -> Tensor:
        phase = 2 * math.pi * day[:, None] / YEAR
        return torch.cat((x, torch.ones_like(x), phase.sin(), phase.cos()), dim=1)

    weights = torch.linalg.lstsq(season(day, x), x_next).solution
    for name, misses in (
        ("random walk", (x_next - x, y_next - y)),
        (
            "seasonal ornstein-uhlenbeck",
            (x_next - season(day, x) @ weights, y_next - season(days, y) @ weights),
        ),
    ):
        spread = misses[0].square().mean()
        nll = (misses[1].square().mean() / spread + (2 * math.pi * spread).log()) / 2
        yield dict(model=name, test_nll=nll.item())


# --- noise between layers -------------------------------------------------------------


class NoisyLayers(nn.Module):
    """A residual network of one block, made of steps of an SDE; g is one number.

    Noise is drawn in training alone.
    """

    def __init__(self, noise: float, dim: int = 4, steps: int = 10):
        super().__init__()
        self.noise, self.dim, self.steps = noise, dim, steps
        self.f = nn.Sequential(nn.Linear(dim, 32), nn.Tanh(), nn.Linear(32, dim))
        self.read = nn.Linear(dim, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, 2) -> (B,)
        """The logit."""
        y = nn.functional.pad(x, (0, self.dim - x.shape[1]))
        noise, h = self.noise if self.training else 0.0, 1 / self.steps
        for _ in range(self.steps):
            dw = math.sqrt(h) * torch.randn_like(y)
            y = euler_maruyama_step(
                lambda _, y: 3 * self.f(y), lambda _, y: noise, 0.0, y, h, dw
            )
        return self.read(y)[:, 0]


NOISES = (0.0, 0.3, 1.0, 3.0)


def fit_layers(noise: float, seed: int, steps: int = 600) -> Iterator[dict]:
    """Two moons from forty points with a tenth of the labels wrong, scored on 4,000."""
    x, label = data.two_moons(40, noise=0.25, seed=seed)
    g = data.generator(seed + 500)
    wrong = torch.rand(len(label), generator=g) < 0.1
    label = torch.where(wrong, 1 - label, label)
    x_test, label_test = data.two_moons(4000, noise=0.25, seed=10_000)
    training.seed(seed)
    start = time.process_time()
    model = NoisyLayers(noise)
    loss = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    training.fit(model, [()] * steps, lambda: loss(model(x), label.float()), optimizer)
    model.eval()
    with torch.no_grad():
        logit = model(x_test)
        yield dict(
            model=f"noise {noise:g}",
            noise=noise,
            cpu_seconds=round(time.process_time() - start, 1),
            steps=steps,
            test_accuracy=((logit > 0) == label_test).double().mean().item(),
            test_nll=loss(logit, label_test.float()).item(),
            train_accuracy=((model(x) > 0) == label).double().mean().item(),
        )


# --- another library ------------------------------------------------------------------


def compare_torchsde() -> Iterator[dict]:
    """The same steps by torchsde on the same path; needs torchsde, which the course does
    not install.
    """
    import torchsde

    W, f, g = BrownianPath((4, 3), seed=5), _pull, _cosine
    y0 = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)

    class Noise:
        shape, dtype, device = (4, 3), torch.float64, torch.device("cpu")
        levy_area_approximation = "none"

        def __call__(self, ta, tb=None, **_):
            return W(float(tb)) - W(float(ta))

    for kind, ours, theirs in (
        ("ito", "euler-maruyama", "euler"),
        ("ito", "milstein", "milstein"),
        ("stratonovich", "heun", "heun"),
    ):
        about = dict(noise_type="diagonal", sde_type=kind, f=f, g=g)
        equation = type("Equation", (nn.Module,), {})()
        for name, value in about.items():
            setattr(equation, name, value)
        times, h = torch.tensor([0.0, 1.0], dtype=torch.float64), 1 / 64
        their = torchsde.sdeint(equation, y0, times, bm=Noise(), method=theirs, dt=h)
        our = solve_sde(f, g, y0, times, path=W, step_size=h, method=ours).ys
        gap = (their - our).abs().max().item()
        yield dict(model=ours, torchsde=torchsde.__version__, largest_difference=gap)


def _pull(t, y):
    return -y


def _cosine(t, y):
    return 0.5 * y.cos() + 0.3


# --- the record -----------------------------------------------------------------------


def plan(seeds: range) -> Iterator[tuple[str, int, Callable[[], Iterator[dict]]]]:
    """Task, seed, and what makes its rows."""
    yield "temperature", 0, rivals_temperature
    for seed in seeds:
        yield "bistable", seed, partial(rivals_bistable, seed)
        for how in DENSITIES:
            yield "bistable", seed, partial(fit_bistable, how, seed)
        yield "temperature", seed, partial(fit_temperature, seed)
    # These are quick, and scatter more.
    for seed in range(seeds.start, seeds.start + 4 * len(seeds)):
        for noise in NOISES:
            yield "layers", seed, partial(fit_layers, noise, seed)


def run(args: argparse.Namespace) -> None:
    """Fit everything from every seed, and add a row to the results for each."""
    if args.task == "torchsde":
        tasks = iter([("torchsde", 0, compare_torchsde)])
    else:
        tasks = plan(range(args.seed, args.seed + args.seeds))
    for task, seed, rows in tasks:
        if args.task not in (None, task):
            continue
        for found in rows():
            row = records.made(task=task, seed=seed, **found)
            short = {k: v for k, v in row.items() if not isinstance(v, list)}
            print(short, flush=True)
            records.add_row("noise", row, by=BY)

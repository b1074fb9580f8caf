"""The data of the course: seeded toy sets, spirals, four years of weather, the visits of
312 patients, sentences, MNIST and Fashion-MNIST.

The weather, the visits and a real subset of both image sets travel with the package, so that the
whole book builds with no network: the first 10,000 training images and all 10,000 test
images of each. The full sets are looked for in the folder ``$COURSE_DATA``, then in the
cache of earlier downloads, then downloaded. Every file is checked against its SHA-256
before it is used, wherever it came from.
"""

from __future__ import annotations

import csv
import datetime
import gzip
import hashlib
import lzma
import math
import os
import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pooch
import torch
from torch import Tensor

__all__ = [
    "BUNDLED",
    "DETERMINERS",
    "FASHION_MNIST",
    "MNIST",
    "NOUNS",
    "STANDING",
    "TAKING",
    "TEST_FILES",
    "TRAIN_FILES",
    "VISITS_SHA256",
    "WEATHER_SHA256",
    "WHEN",
    "Archive",
    "DataError",
    "ImageSet",
    "Spirals",
    "Visits",
    "Weather",
    "cache_folder",
    "checksums",
    "concentric_circles",
    "cubic",
    "diverse_spirals",
    "download",
    "fashion_mnist",
    "find_full",
    "generator",
    "grammar",
    "linear_spiral",
    "load_images",
    "mnist",
    "parse_idx",
    "read_bundled",
    "read_bundled_file",
    "read_checked",
    "sentences",
    "thin",
    "two_armed_spirals",
    "two_moons",
    "visits",
    "weather",
    "windows",
]

BUNDLED = Path(__file__).with_name("bundled") / "data"


class DataError(RuntimeError):
    """A data file is missing, damaged or not what it should be."""


# --- toy sets -------------------------------------------------------------------------


def generator(seed: int) -> torch.Generator:
    """A random generator of its own for `seed`: nothing here touches the global one."""
    return torch.Generator().manual_seed(seed)


def cubic(n: int = 10) -> tuple[Tensor, Tensor]:
    """Points x in [-2, 2] and x³ + 0.1x, both of shape (n, 1), without noise."""
    x = torch.linspace(-2, 2, n)[:, None]
    return x, x**3 + 0.1 * x


def concentric_circles(
    n: int, *, noise: float = 0.1, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """A disc of radius 1 (label 0) inside a ring of radius 2 to 2.5 (label 1): points
    (n, 2), labels (n,).
    """
    g = generator(seed)
    labels = torch.arange(n) % 2
    u, angle = torch.rand(n, generator=g), 2 * math.pi * torch.rand(n, generator=g)
    radius = torch.where(labels == 0, u.sqrt(), 2 + 0.5 * u)
    points = radius[:, None] * torch.stack((angle.cos(), angle.sin()), dim=1)
    return points + noise * torch.randn(n, 2, generator=g), labels


def two_moons(n: int, *, noise: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two interleaved half circles: points (n, 2), labels (n,)."""
    g = generator(seed)
    labels = torch.arange(n) % 2
    angle = math.pi * torch.rand(n, generator=g)
    upper = torch.stack((angle.cos(), angle.sin()), dim=1)
    points = torch.where(labels[:, None] == 0, upper, torch.tensor([1.0, 0.5]) - upper)
    return points + noise * torch.randn(n, 2, generator=g), labels


def linear_spiral(
    n: int = 200, *, stop: float = 31.45, noise: float = 0.01, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The decaying spiral y' = Ay from (0.6, 0.3), by the matrix exponential.

    Returns
    -------
    t : Tensor, shape (n,), from 0 to `stop`
    clean, noisy : Tensor, shape (n, 2)
    A : Tensor, shape (2, 2)

    References
    ----------
    M. Surtsukov, notebook "Neural ODEs", 2019, github.com/msurtsukov/neural-ode.
    """
    A = torch.tensor([[-0.1, -1.0], [1.0, -0.1]])
    t = torch.linspace(0, stop, n)
    clean = torch.linalg.matrix_exp(t[:, None, None] * A) @ torch.tensor([0.6, 0.3])
    return t, clean, clean + noise * torch.randn(n, 2, generator=generator(seed)), A


@dataclass(frozen=True)
class Spirals:
    """Irregularly observed spirals, in the plane.

    Attributes
    ----------
    t : Tensor, shape (T,), times of a window from 0; the first `span` are the
        observed stretch, the rest is after it
    clean : Tensor, shape (n, T, 2), the curve at every time
    index : Tensor, shape (n, k), which of the first `span` times each series was
        observed at, increasing
    values : Tensor, shape (n, k, 2), the noisy observations
    clockwise : Tensor, shape (n,), bool
    span : int
    """

    t: Tensor
    clean: Tensor
    index: Tensor
    values: Tensor
    clockwise: Tensor
    span: int

    def times(self) -> Tensor:
        """The observation times, shape (n, k), different for every series."""
        return self.t[self.index]

    def read_anew(
        self, k: int, *, noise: float, share: float = 1.0, seed: int = 0
    ) -> Spirals:
        """The same curves with other readings: `k` points of the first `share` of the
        span, at random.
        """
        stretch = self.clean[:, : round(share * self.span)]
        index, values = _observe(stretch, k, noise, generator(seed))
        return replace(self, index=index, values=values)


def two_armed_spirals(
    n: int,
    *,
    observations: int = 50,
    noise: float = 0.1,
    span: int = 200,
    after: int = 100,
    shift: float = 0.0,
    seed: int = 0,
) -> Spirals:
    """Noisy, irregular observations of two arms, a clockwise one about (-5, 0), which is
    a hyperbolic spiral (radius 15 / angle, with the angle falling from 6π + 1 to 1), and
    a counter-clockwise one about (5, 0), an Archimedean spiral (radius 0.3 angle).

    Each arm is 1,000 points over an angle of 6π. Every series is a window that starts
    at a random point of a random arm: `span` points to be observed, of which
    `observations` are kept at random, and `after` points beyond them. So there are only
    2 (1001 - span - after) different curves. A `shift`, in steps of the grid, moves all
    points along the arms: with 0.5 they lie midway between those of shift 0, and no
    curve is one of theirs.

    References
    ----------
    The model and the idea: Chen, Rubanova, Bettencourt, Duvenaud 2018, section 5.1. The
    curves, their sizes and places: torchdiffeq, examples/latent_ode.py.
    """
    g = generator(seed)
    grid = torch.linspace(0, 6 * math.pi, 1000)
    angle = grid + shift * 6 * math.pi / 999
    back = 6 * math.pi + 1 - angle
    clockwise_arm = 15 / back[:, None] * torch.stack(
        (back.cos(), back.sin()), 1
    ) + torch.tensor([-5.0, 0.0])
    counter_arm = 0.3 * angle[:, None] * torch.stack(
        (angle.cos(), angle.sin()), 1
    ) + torch.tensor([5.0, 0.0])
    clockwise = torch.rand(n, generator=g) < 0.5
    start = torch.randint(0, 1000 - span - after + 1, (n, 1), generator=g)
    window = start + torch.arange(span + after)
    clean = torch.where(
        clockwise[:, None, None], clockwise_arm[window], counter_arm[window]
    )
    index, values = _observe(clean[:, :span], observations, noise, g)
    t = grid[: span + after]
    return Spirals(t, clean, index, values, clockwise, span)


def diverse_spirals(
    n: int, *, observations: int = 50, noise: float = 0.02, seed: int = 0
) -> Spirals:
    """Noisy, irregular observations of `n` different linear systems x' = W x.

    The diagonal of W is -0.1 |a| - 0.05 and -0.1 |b| - 0.05, its other entries are
    ±|c| and ∓|d|, with a, b, c and d drawn from the standard normal distribution for
    each system; x(0) from twice that. 200 points of [0, 31.45] by the matrix
    exponential; `observations` of the first 100 are kept at random.

    Raises
    ------
    ValueError
        If more than 100 or fewer than one are to be observed.

    References
    ----------
    M. Surtsukov, notebook "Neural ODEs", 2019, github.com/msurtsukov/neural-ode.
    """
    g = generator(seed)
    a, b, c, d = torch.randn(4, n, generator=g, dtype=torch.float64).abs()
    clockwise = torch.rand(n, generator=g) < 0.5
    c, d = torch.where(clockwise, c, -c), torch.where(clockwise, -d, d)
    entries = (-0.1 * a - 0.05, c, d, -0.1 * b - 0.05)
    W = torch.stack(entries, dim=-1).view(n, 2, 2)
    start = 2 * torch.randn(n, 2, 1, generator=g, dtype=torch.float64)
    t = torch.linspace(0, 31.45, 200)
    step = torch.linalg.matrix_exp(31.45 / 199 * W)
    curves = [start]
    for _ in t[1:]:
        curves.append(step @ curves[-1])
    clean = torch.cat(curves, dim=-1).mT.float()
    index, values = _observe(clean[:, :100], observations, noise, g)
    return Spirals(t, clean, index, values, clockwise, 100)


def _observe(
    curves: Tensor, observations: int, noise: float, g: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Which points of each curve are kept, (n, k), and what is read there, (n, k, 2)."""
    n, span, _ = curves.shape
    if not 1 <= observations <= span:
        raise ValueError(
            f"observations must lie between 1 and {span}, the points of the observed "
            f"stretch; got {observations}"
        )
    index = _choose(n, span, observations, g)
    seen = curves.gather(1, index[..., None].expand(-1, -1, 2))
    return index, seen + noise * torch.randn(seen.shape, generator=g)


def _choose(n: int, total: int, k: int, g: torch.Generator | None) -> Tensor:
    """Rows, n of them, of k different numbers below `total`, increasing, shape (n, k)."""
    order = torch.rand(n, total, generator=g).argsort(dim=1)
    return order[:, :k].sort(dim=1).values


def thin(
    times: Tensor, values: Tensor, k: int, *, seed: int | None = None
) -> tuple[Tensor, Tensor]:
    """Keep `k` random readings of each series, in their order.

    Parameters
    ----------
    times : Tensor, shape (n, K), times or indices
    values : Tensor, shape (n, K, D)
    k : int, from 1 to K
    seed : int, of a generator of its own; None: the global one

    Returns
    -------
    times, values : Tensor, shapes (n, k) and (n, k, D)
    """
    n, total = times.shape
    if not 1 <= k <= total:
        raise ValueError(f"k must lie between 1 and {total}, got {k}")
    g = None if seed is None else generator(seed)
    keep = _choose(n, total, k, g).to(times.device)
    return times.gather(1, keep), values.gather(
        1, keep[..., None].expand(-1, -1, values.shape[-1])
    )


def windows(
    t: Tensor,
    series: Tensor,
    points: int,
    *,
    every: int = 1,
    count: int = 32,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Random windows of one series or of several that share their times, each of
    `points` readings that lie `every` apart.

    Parameters
    ----------
    t : Tensor, shape (n,), evenly spaced
    series : Tensor, shape (*, n, dim)
    points, every, count : int
    generator : torch.Generator of the places where windows begin; None: the global one

    Returns
    -------
    t : Tensor, shape (points,), the times of a window that begins with the series
    y : Tensor, shape (points, *, count, dim), time first as a solver returns it

    Raises
    ------
    ValueError
        If a series is shorter than a window.
    """
    length = every * (points - 1)  # from the first reading of a window to its last
    if not 0 <= length < len(t):
        raise ValueError(
            f"a window of {points} readings, {every} apart, does not fit into a series "
            f"of {len(t)}"
        )
    first = torch.randint(0, len(t) - length, (count,), generator=generator)
    rows = first + every * torch.arange(points)[:, None]  # (points, count)
    y = series[..., rows.to(series.device), :]
    return t[: length + 1 : every], y.movedim(-3, 0)


# --- weather --------------------------------------------------------------------------

WEATHER_SHA256 = "62f0609f787158128aa2bd102967173a4953122dd4f872bf1d502cae1037df0b"


@dataclass(frozen=True)
class Weather:
    """A weather series, and a sentence that says which one.

    Attributes
    ----------
    dates : tuple of datetime.date, the days; the first of each month for monthly means
    t : Tensor, shape (n,), years of 365.25 days since the start of the first day: noon
        of each day, or the middle of each month
    temp_max, temp_min : Tensor, shape (n,), °C
    wind : Tensor, shape (n,), m/s
    precipitation : Tensor, shape (n,), mm a day
    source : str
    """

    dates: tuple[datetime.date, ...]
    t: Tensor
    temp_max: Tensor
    temp_min: Tensor
    wind: Tensor
    precipitation: Tensor
    source: str

    def monthly(self) -> Weather:
        """The means of the calendar months, those of `t` included."""
        firsts = [date.replace(day=1) for date in self.dates]
        dates = tuple(sorted(set(firsts)))
        place = {first: i for i, first in enumerate(dates)}
        month = torch.tensor([place[first] for first in firsts])
        days = torch.bincount(month)

        def mean(series: Tensor) -> Tensor:
            total = torch.zeros(len(dates), dtype=torch.float64)
            return (total.index_add(0, month, series.double()) / days).float()

        names = ("t", "temp_max", "temp_min", "wind", "precipitation")
        means = {name: mean(getattr(self, name)) for name in names}
        return Weather(dates=dates, source=f"{self.source}, monthly means", **means)


def weather() -> Weather:
    """The daily weather of Seattle from 2012 to 2015, 1,461 days without a gap.

    Raises
    ------
    DataError
        If the bundled file is missing or damaged.

    References
    ----------
    NOAA, public domain, as ``seattle-weather.csv`` of the package vega_datasets 0.9.0.
    """
    text = read_bundled_file("seattle-weather.csv.xz").decode()
    rows = list(csv.DictReader(text.splitlines()))
    dates = tuple(datetime.date(*map(int, row["date"].split("/"))) for row in rows)
    days = torch.tensor([(date - dates[0]).days for date in dates])
    names = ("temp_max", "temp_min", "wind", "precipitation")
    columns = {name: torch.tensor([float(row[name]) for row in rows]) for name in names}
    return Weather(
        dates=dates,
        t=(days + 0.5) / 365.25,
        source=f"Seattle, {dates[0]} to {dates[-1]}, {len(dates):,} days, NOAA, bundled",
        **columns,
    )


# --- visits ---------------------------------------------------------------------------

VISITS_SHA256 = "2896bf2db2065cdd8b903afc9f5b7ea103f0c1dfab04d3f527a17950626b433c"


@dataclass(frozen=True)
class Visits:
    """What was measured at the visits of patients, each patient on days of their own.

    Attributes
    ----------
    times : Tensor, shape (n, k), years of 365.25 days since a patient's first visit
    values : Tensor, shape (n, k, D)
    seen : Tensor, shape (n, k), bool, False after a patient's last visit, where times
        and values hold zeros
    ends : Tensor, shape (n,), int64, how the record of a patient ends: 0 alive at the
        end of the study, 1 with a new liver, 2 dead
    names, units : tuple of D str
    source : str
    """

    times: Tensor
    values: Tensor
    seen: Tensor
    ends: Tensor
    names: tuple[str, ...]
    units: tuple[str, ...]
    source: str

    def of(self, rows: Tensor) -> Visits:
        """Some of the patients: their indices, or a mask."""
        return replace(
            self,
            times=self.times[rows],
            values=self.values[rows],
            seen=self.seen[rows],
            ends=self.ends[rows],
        )

    def logarithms(self, *names: str) -> Visits:
        """The same visits with the natural logarithm of the columns `names`.

        Raises
        ------
        ValueError
            If there is no column of that name.
        """
        unknown = set(names) - set(self.names)
        if unknown:
            raise ValueError(f"no column {unknown.pop()!r}; columns: {self.names}")
        logged = torch.tensor([name in names for name in self.names])
        values = self.values.log().where(self.seen[..., None], 0.0)
        return replace(
            self,
            values=values.where(logged, self.values),
            names=tuple(f"log {x}" if x in names else x for x in self.names),
            units=tuple(
                f"log({unit})" if name in names else unit
                for name, unit in zip(self.names, self.units)
            ),
        )


def visits() -> Visits:
    """The 1,945 visits of 312 patients with primary biliary cirrhosis, a disease of the
    liver, to the Mayo Clinic: bilirubin, albumin and prothrombin time in the blood.

    They are the patients of a trial from 1974 to 1984, followed for up to 14 years.
    Visits were planned after half a year, a year, and every year from then on; some
    more were made because a patient got worse. Nothing is missing at a visit; what is
    missing are visits after a death or a transplant.

    Raises
    ------
    DataError
        If the bundled file is missing or damaged.

    References
    ----------
    Murtaugh et al. 1994; Fleming and Harrington 1991, appendix D. The data frame
    ``pbcseq`` of the R package survival (T. Therneau), LGPL, version 2 or later.
    """
    text = read_bundled_file("pbcseq.csv.xz").decode()
    patients: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(text.splitlines()):
        patients.setdefault(row["id"], []).append(row)
    n, longest = len(patients), max(map(len, patients.values()))
    times, values = torch.zeros(n, longest), torch.zeros(n, longest, 3)
    seen = torch.zeros(n, longest, dtype=torch.bool)
    columns = ("bili", "albumin", "protime")
    for i, rows in enumerate(patients.values()):
        k = len(rows)
        times[i, :k] = torch.tensor([float(row["day"]) for row in rows])
        values[i, :k] = torch.tensor(
            [[float(row[name]) for name in columns] for row in rows]
        )
        seen[i, :k] = True
    return Visits(
        times=times / 365.25,
        values=values,
        seen=seen,
        ends=torch.tensor([int(rows[0]["status"]) for rows in patients.values()]),
        names=("bilirubin", "albumin", "prothrombin time"),
        units=("mg/dl", "g/dl", "s"),
        source=f"Mayo Clinic, {n} patients, {int(seen.sum()):,} visits, bundled",
    )


# --- sentences ------------------------------------------------------------------------

# Pairs are (one, several); the forms of a verb are (one now, several now, past).
DETERMINERS = (("a", "every", "this", "the"), ("two", "many", "these", "the"))
NOUNS = ("bird", "boy", "cat", "girl", "king", "robot")
STANDING = (
    ("runs", "run", "ran"),
    ("sings", "sing", "sang"),
    ("sleeps", "sleep", "slept"),
    ("waits", "wait", "waited"),
)
TAKING = (
    ("follows", "follow", "followed"),
    ("hears", "hear", "heard"),
    ("paints", "paint", "painted"),
    ("sees", "see", "saw"),
)
WHEN = (("now", "today"), ("then", "yesterday"))


def sentences(n: int, *, seed: int = 0) -> list[str]:
    """Different sentences of a small grammar with agreement, in random order.

    "these birds that see a cat sleep now": the determiner goes with the noun, the verb
    of the clause and that of the sentence go with the subject, and the tense of both
    with the last word.
    """
    chance = random.Random(seed)

    def phrase(several: int) -> list[str]:
        return [
            chance.choice(DETERMINERS[several]),
            chance.choice(NOUNS) + "s" * several,
        ]

    def taking(form: int) -> list[str]:
        return [chance.choice(TAKING)[form], *phrase(chance.randrange(2))]

    found: dict[str, None] = {}  # a set in the same order on every machine
    while len(found) < n:
        several, past = chance.randrange(2), chance.randrange(2)
        form = 2 if past else several
        words = phrase(several)
        if chance.random() < 0.3:
            words += ["that", *taking(form)]
        stands = chance.random() < 0.3
        words += [chance.choice(STANDING)[form]] if stands else taking(form)
        found[" ".join((*words, chance.choice(WHEN[past])))] = None
    # Short ones run out: late draws are longer. Mixed, any part is like the whole.
    return chance.sample(list(found), n)


def grammar() -> re.Pattern:
    """The grammar of `sentences` as a pattern: a text is a sentence exactly if
    ``grammar().fullmatch(text)``.
    """

    def one_of(options) -> str:
        return f"(?:{'|'.join(options)})"

    def phrase(several: int) -> str:
        return f"{one_of(DETERMINERS[several])} {one_of(NOUNS)}{'s' * several}"

    def sentence(several: int, past: int) -> str:
        form = 2 if past else several
        stands = one_of(verb[form] for verb in STANDING)
        takes = f"{one_of(verb[form] for verb in TAKING)} {one_of(map(phrase, (0, 1)))}"
        subject = f"{phrase(several)}(?: that {takes})?"
        return f"{subject} (?:{stands}|{takes}) {one_of(WHEN[past])}"

    return re.compile(one_of(sentence(s, p) for s in (0, 1) for p in (0, 1)))


# --- images ---------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageSet:
    """Images and labels, and a sentence that says which ones.

    Attributes
    ----------
    images : Tensor, shape (n, 1, 28, 28), float32 in [0, 1]
    labels : Tensor, shape (n,), int64, 0 to 9
    source : str
    """

    images: Tensor
    labels: Tensor
    source: str


@dataclass(frozen=True)
class Archive:
    """Where the four files of an image set come from, and the SHA-256 of each,
    uncompressed.
    """

    name: str
    title: str
    mirrors: tuple[str, ...]
    sha256: dict[str, str]


TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

MNIST = Archive(
    name="mnist",
    title="MNIST",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    sha256={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)

FASHION_MNIST = Archive(
    name="fashion-mnist",
    title="Fashion-MNIST",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    sha256={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)


def mnist(train: bool, *, full: bool = False) -> ImageSet:
    """Handwritten digits: 10,000 training images (`full`: 60,000) or the 10,000 test
    images.

    Raises
    ------
    DataError
        If a file is damaged, or (`full`) cannot be found and downloaded.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner 1998.
    """
    return load_images(MNIST, train, full=full)


def fashion_mnist(train: bool, *, full: bool = False) -> ImageSet:
    """Small pictures of clothes, in the format of `mnist`; same arguments, same errors.

    References
    ----------
    Xiao, Rasul, Vollgraf 2017.
    """
    return load_images(FASHION_MNIST, train, full=full)


def load_images(archive: Archive, train: bool, *, full: bool = False) -> ImageSet:
    """One half of an image set, bundled or full."""
    files = TRAIN_FILES if train else TEST_FILES
    find = find_full if full else read_bundled
    contents, where = find(archive, files[0])
    pixels = parse_idx(contents, files[0])
    labels = parse_idx(find(archive, files[1])[0], files[1])
    half = "training" if train else "test"
    subset = "" if full or not train else "the first "
    return ImageSet(
        images=torch.from_numpy(pixels.astype(np.float32) / 255)[:, None],
        labels=torch.from_numpy(labels.astype(np.int64)),
        source=f"{archive.title}: {subset}{len(labels):,} {half} images, {where}",
    )


def find_full(archive: Archive, name: str) -> tuple[bytes, str]:
    """The checked contents of an original file and where they were found."""
    if os.environ.get("COURSE_DATA"):
        folder = Path(os.environ["COURSE_DATA"]).expanduser()
        if not folder.is_dir():
            raise DataError(
                f"COURSE_DATA names {folder}, which is no folder; set it to the one "
                f"that holds {archive.name}/, or remove it to download"
            )
        for path in (
            folder / archive.name / name,
            folder / archive.name / f"{name}.gz",
        ):
            if path.exists():
                return read_checked(path, archive.sha256[name]), "from $COURSE_DATA"
    cached = cache_folder() / archive.name / f"{name}.gz"
    if cached.exists():
        try:
            return read_checked(cached, archive.sha256[name]), "from the download cache"
        except DataError as error:
            cached.unlink()
            raise DataError(
                f"{error} It has been removed from the cache; run this again to download it."
            ) from None
    return download(archive, name, cached), "downloaded"


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(pooch.os_cache("neural-ode-course"))


def download(archive: Archive, name: str, target: Path) -> bytes:
    """Fetch a file from the first mirror that has it right; a wrong one does not stay
    in the cache.
    """
    complaints = []
    for mirror in archive.mirrors:
        try:
            pooch.retrieve(
                f"{mirror}{name}.gz",
                known_hash=None,  # what counts is the SHA-256 of the contents, checked next
                fname=target.name,
                path=target.parent,
                progressbar=True,
            )
            return read_checked(target, archive.sha256[name])
        except Exception as error:
            target.unlink(missing_ok=True)
            complaints.append(f"  {mirror}: {error}")
    raise DataError(
        f"{archive.title}: {name}.gz could not be downloaded:\n"
        + "\n".join(complaints)
        + "\n"
        f"Put the file into $COURSE_DATA/{archive.name}/, or use full=False for the bundled images."
    )


def read_bundled(archive: Archive, name: str) -> tuple[bytes, str]:
    """The checked contents of an image file that travels with the package."""
    return read_bundled_file(f"{archive.name}-{name}.xz"), "bundled"


def read_bundled_file(name: str) -> bytes:
    """The checked, uncompressed contents of a file in course_lib/bundled/data."""
    path = BUNDLED / name
    if not path.exists():
        raise DataError(
            f"{name} is missing from course_lib/bundled/data; reinstall course_lib."
        )
    sums = checksums()
    if name not in sums:
        raise DataError(
            f"{name} has no checksum in course_lib/bundled/data/SHA256SUMS."
        )
    return read_checked(path, sums[name], whole=True)


def checksums() -> dict[str, str]:
    """The SHA-256 of each file in course_lib/bundled/data, by name."""
    lines = (BUNDLED / "SHA256SUMS").read_text().splitlines()
    return {name: sha256 for sha256, name in map(str.split, lines)}


def read_checked(path: Path, sha256: str, *, whole: bool = False) -> bytes:
    """The uncompressed contents of `path`, if their SHA-256 (`whole`: that of the file
    itself) is right.
    """
    openers: dict[str, Callable] = {".gz": gzip.open, ".xz": lzma.open}
    opener = openers.get(path.suffix, open)
    try:
        with opener(path, "rb") as file:
            contents = file.read()
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} is truncated or damaged ({error}).") from None
    found = hashlib.sha256(path.read_bytes() if whole else contents).hexdigest()
    if found != sha256:
        raise DataError(
            f"{path} is not the expected file: its SHA-256 is {found}, expected {sha256}."
        )
    return contents


def parse_idx(contents: bytes, name: str) -> np.ndarray:
    """The array in an IDX file of unsigned bytes (the format is described on the MNIST
    page).
    """
    if len(contents) < 4 or contents[:3] != b"\x00\x00\x08":
        raise DataError(f"{name} is not an IDX file of unsigned bytes.")
    ndim = contents[3]
    if len(contents) < 4 + 4 * ndim:
        raise DataError(f"{name} is cut short within its header.")
    shape = np.frombuffer(contents, ">u4", ndim, offset=4).tolist()
    body = np.frombuffer(contents, np.uint8, offset=4 + 4 * ndim)
    if body.size != math.prod(shape):
        raise DataError(
            f"{name} announces shape {tuple(shape)} and holds {body.size} values."
        )
    return body.reshape(shape)

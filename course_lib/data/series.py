"""Labelled series at irregular times, with readings missing: spoken vowels, and made ones."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_lib.data.files import read_bundled_file
from course_lib.data.toys import generator

__all__ = ["VOWELS_SHA256", "Series", "high_and_low", "leads", "vowels"]

VOWELS_SHA256 = "b727c52d22252ca9d21bfe272f866b8020b8eb3248c3aba70acee10bc1ddf7fa"


@dataclass(frozen=True)
class Series:
    """Series of different lengths, each with a label.

    Attributes
    ----------
    times : Tensor, shape (n, k), increasing along a series; 0 after its end
    values : Tensor, shape (n, k, D), NaN where a reading is missing, and after the end
    labels : Tensor, shape (n,), int64
    source : str
    """

    times: Tensor
    values: Tensor
    labels: Tensor
    source: str

    def of(self, rows: Tensor) -> Series:
        """Some of the series: their indices, or a mask."""
        part = replace(
            self,
            times=self.times[rows],
            values=self.values[rows],
            labels=self.labels[rows],
        )
        return part._closed_up()

    def scaled(self, mean: Tensor, deviation: Tensor) -> Series:
        """The same series with a mean, shape (D,), taken away and in units of a deviation,
        shape (D,).
        """
        return replace(self, values=(self.values - mean) / deviation)

    def without(self, share: float, *, singly: bool = False, seed: int = 0) -> Series:
        """The same series without a share of their readings, drawn at random.

        Parameters
        ----------
        share : float, from 0 to 1
        singly : bool
            Whether the channels of a row are lost one by one, or all together. Of each
            series (each channel, if singly) two readings stay in any case.
        seed : int

        Raises
        ------
        ValueError
            If the share is not from 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share must be from 0 to 1, got {share}")
        seen = ~self.values.isnan()
        seen = seen if singly else seen.any(dim=-1, keepdim=True)
        chance = torch.rand(seen.shape, generator=generator(seed))
        place = chance.where(seen, 2.0).argsort(dim=1).argsort(dim=1)  # from 0 up
        count = seen.sum(dim=1, keepdim=True)
        keep = place < (count - (share * count).round()).clamp(min=2)
        return replace(self, values=self.values.where(keep, math.nan))._closed_up()

    def _closed_up(self) -> Series:
        """The same without rows that hold no reading: they move to the end."""
        there = ~self.values.isnan().all(dim=-1)
        order = (~there).to(torch.uint8).argsort(dim=1, stable=True)
        order = order[:, : int(there.sum(dim=1).max())]
        there = there.gather(1, order)
        times = self.times.gather(1, order).where(there, 0.0)
        index = order[..., None].expand(-1, -1, self.values.shape[-1])
        return replace(self, times=times, values=self.values.gather(1, index))


def vowels(train: bool) -> Series:
    """Nine men say the vowels "ae", 270 times to train on and 370 times to test: 12 numbers
    of a linear prediction (cepstral coefficients) every 6.4 ms, for 7 to 29 frames. The
    label is the speaker, 0 to 8; times are in tenths of a second.

    Raises
    ------
    DataError
        If the bundled file is missing or damaged.

    References
    ----------
    Kudo, Toyama, Shimbo 1999, Multidimensional curve classification using passing-through
    regions. The data set Japanese Vowels of the UCI repository, as the package aeon 1.6
    holds it, to four decimals.
    """
    half = "train" if train else "test"
    found: dict[str, list[list[float]]] = defaultdict(list)
    labels: dict[str, int] = {}
    lines = read_bundled_file("vowels.csv.xz").decode().splitlines()
    for part, series, speaker, *numbers in csv.reader(lines[1:]):
        if part == half:
            found[series].append([float(x) for x in numbers])
            labels[series] = int(speaker) - 1
    rows = [torch.tensor(x) for x in found.values()]
    values = torch.nn.utils.rnn.pad_sequence(rows, True, math.nan)
    there = ~values[..., 0].isnan()
    times = (0.064 * torch.arange(values.shape[1])).where(there, 0.0)
    source = f"Japanese Vowels, {len(rows)} series to {half}, bundled"
    return Series(times, values, torch.tensor([*labels.values()]), source)


def leads(n: int, *, readings: int = 20, noise: float = 0.2, seed: int = 0) -> Series:
    """Two channels that draw the same random wave, one behind the other by 0.12: label 1
    if the first leads, else 0. Irregular times from 0 to 1, different for every series.
    """
    g = generator(seed)
    labels = torch.arange(n) % 2
    times = (torch.arange(readings) + torch.rand(n, readings, generator=g)) / readings
    pace = 2 * math.pi * (0.5 + 2 * torch.rand(n, 1, 4, generator=g))
    phase = 2 * math.pi * torch.rand(n, 1, 4, generator=g)
    size = torch.randn(n, 1, 4, generator=g) / math.sqrt(2)

    def wave(t: Tensor) -> Tensor:
        return (size * (pace * t[..., None] + phase).sin()).sum(dim=-1)

    lag = 0.12 * (2 * labels[:, None] - 1)
    both = torch.stack((wave(times), wave(times - lag)), dim=-1)
    both = both + noise * torch.randn(both.shape, generator=g)
    return Series(times, both, labels, f"{n:,} pairs of waves, made")


def high_and_low(
    n: int, *, readings: int = 10, noise: float = 0.1, seed: int = 0
) -> Series:
    """A hill and a valley, one after the other, at irregular times from 0 to 1: label 1 if
    the hill comes first, else 0. One channel.
    """
    g = generator(seed)
    labels = torch.arange(n) % 2
    times = (torch.arange(readings) + torch.rand(n, readings, generator=g)) / readings
    early, late = 0.2 + 0.2 * torch.rand(2, n, 1, generator=g)
    sizes = 0.8 + 0.6 * torch.rand(2, n, 1, generator=g)

    def bump(middle: Tensor) -> Tensor:
        return torch.exp(-(((times - middle) / 0.12) ** 2))

    first = 2.0 * labels[:, None] - 1
    values = first * (sizes[0] * bump(early) - sizes[1] * bump(late + 0.4))
    values = values + noise * torch.randn(values.shape, generator=g)
    return Series(times, values[..., None], labels, f"{n:,} hills and valleys, made")

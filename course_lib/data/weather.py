"""Four years of daily weather."""

from __future__ import annotations

import csv
import datetime
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.data.files import read_bundled_file

__all__ = [
    "WEATHER_SHA256",
    "Weather",
    "weather",
]

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

"""The weather series: whole, as measured, and refused if damaged."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import lzma

import pytest
import torch

from course_lib import data

FILE = "seattle-weather.csv.xz"
SERIES = ("temp_max", "temp_min", "wind", "precipitation")


@pytest.fixture(scope="module")
def weather() -> data.Weather:
    return data.weather()


def test_the_series_holds_every_day_of_four_years(weather):
    first = datetime.date(2012, 1, 1)
    assert len(weather.dates) == 1461
    assert weather.dates == tuple(
        first + datetime.timedelta(days=i) for i in range(1461)
    )
    assert weather.dates[-1] == datetime.date(2015, 12, 31)
    for name in ("t", *SERIES):
        series = getattr(weather, name)
        assert series.shape == (1461,)
        assert series.dtype == torch.float32
        assert series.isfinite().all()


def test_the_clock_counts_years_from_the_first_midnight_and_ticks_at_noon(weather):
    days = torch.arange(1461, dtype=torch.float64)
    assert torch.allclose(weather.t.double() * 365.25, days + 0.5, rtol=0, atol=1e-3)
    assert weather.t[-1] < 4


@pytest.mark.parametrize(
    ("day", "precipitation", "temp_max", "temp_min", "wind"),
    [
        ((2012, 1, 1), 0.0, 12.8, 5.0, 4.7),
        ((2012, 1, 2), 10.9, 10.6, 2.8, 4.5),
        ((2015, 12, 30), 0.0, 5.6, -1.0, 3.4),
        ((2015, 12, 31), 0.0, 5.6, -2.1, 3.5),
    ],
)
def test_known_days_have_their_known_weather(
    weather, day, precipitation, temp_max, temp_min, wind
):
    i = weather.dates.index(datetime.date(*day))
    found = [getattr(weather, name)[i].item() for name in SERIES]
    assert found == pytest.approx([temp_max, temp_min, wind, precipitation])


def test_no_night_is_warmer_than_its_day_and_nothing_is_negative_that_cannot_be(
    weather,
):
    assert (weather.temp_max >= weather.temp_min).all()
    assert (weather.wind >= 0).all()
    assert (weather.precipitation >= 0).all()
    assert -20 < weather.temp_min.min() <= weather.temp_max.max() < 45


def test_the_file_unpacks_to_the_original_byte_for_byte():
    contents = data.read_bundled_file(FILE)
    assert hashlib.sha256(contents).hexdigest() == data.WEATHER_SHA256


def test_a_series_says_what_it_is(weather):
    assert weather.source == (
        "Seattle, 2012-01-01 to 2015-12-31, 1,461 days, NOAA, bundled"
    )
    assert weather.monthly().source == f"{weather.source}, monthly means"


def test_the_record_is_frozen(weather):
    with pytest.raises(dataclasses.FrozenInstanceError):
        weather.source = "elsewhere"


# --- monthly means --------------------------------------------------------------------


def test_monthly_means_equal_a_direct_computation(weather):
    monthly = weather.monthly()
    months = [(year, month) for year in range(2012, 2016) for month in range(1, 13)]
    assert monthly.dates == tuple(datetime.date(*pair, 1) for pair in months)
    for name in ("t", *SERIES):
        daily, means = getattr(weather, name).tolist(), getattr(monthly, name).tolist()
        for pair, mean in zip(months, means):
            values = [
                value
                for date, value in zip(weather.dates, daily)
                if (date.year, date.month) == pair
            ]
            assert mean == pytest.approx(sum(values) / len(values), rel=1e-6)


def test_a_month_is_dated_by_its_middle(weather):
    monthly = weather.monthly()
    assert monthly.t[0] * 365.25 == pytest.approx(31 / 2, abs=1e-3)
    assert monthly.t[-1] * 365.25 == pytest.approx(1461 - 31 / 2, abs=1e-3)
    assert (monthly.t.diff() > 0).all()


# --- damage ---------------------------------------------------------------------------

DAMAGES = {
    "truncated": lambda packed: packed[:-5],
    "corrupted": lambda packed: packed[:4000] + b"\x00" + packed[4001:],
    "another file": lambda packed: lzma.compress(lzma.decompress(packed) + b"\n"),
    "empty": lambda packed: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused(monkeypatch, tmp_path, damage):
    for name in (FILE, "SHA256SUMS"):
        (tmp_path / name).write_bytes((data.BUNDLED / name).read_bytes())
    packed = damage((tmp_path / FILE).read_bytes())
    assert packed != (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(packed)
    monkeypatch.setattr(data.files, "BUNDLED", tmp_path)
    with pytest.raises(data.DataError) as refusal:
        data.weather()
    assert str(tmp_path / FILE) in str(refusal.value)


def test_a_missing_file_is_missed_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(data.files, "BUNDLED", tmp_path)
    with pytest.raises(data.DataError, match=f"{FILE} is missing from course_lib/bund"):
        data.weather()

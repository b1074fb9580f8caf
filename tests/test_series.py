"""Labelled series: the spoken vowels as they were published, the made ones, and what is
dropped from both.
"""

from __future__ import annotations

import hashlib

import pytest
import torch

from course_lib import data
from course_lib.data import VOWELS_SHA256, Series, high_and_low, leads, vowels


@pytest.fixture(scope="module", params=[True, False], ids=["train", "test"])
def spoken(request) -> tuple[bool, Series]:
    return request.param, vowels(request.param)


def lengths(series: Series) -> torch.Tensor:
    return (~series.values.isnan()).any(dim=-1).sum(dim=1)


def test_nine_men_speak_as_often_as_the_repository_says(spoken):
    train, series = spoken
    counts = [30] * 9 if train else [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert series.labels.bincount().tolist() == counts
    assert lengths(series).min() == 7
    assert lengths(series).max() == series.times.shape[1] == (26 if train else 29)
    assert str(sum(counts)) in series.source


def test_the_first_frame_is_the_published_one_to_four_decimals():
    first = vowels(True).values[0, 0]
    assert first[:3].tolist() == pytest.approx(
        [1.860936, -0.207383, 0.261557], abs=5e-5
    )


def test_the_table_unpacks_to_the_one_that_was_made():
    contents = data.read_bundled_file("vowels.csv.xz")
    assert hashlib.sha256(contents).hexdigest() == VOWELS_SHA256


@pytest.mark.parametrize("make", [lambda: vowels(True), lambda: leads(20)])
def test_times_increase_and_nothing_stands_behind_the_end(make):
    series = make()
    there = ~series.values.isnan().any(dim=-1)
    assert (series.times.diff(dim=1) > 0)[there[:, 1:]].all()
    assert not series.times[~there].any()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7])
def test_whole_frames_are_dropped_and_the_others_stay_as_they_are(share):
    series = vowels(True)
    left = series.without(share, seed=1)
    n = lengths(series)
    expected = (n - (share * n).round()).clamp(min=2)
    assert torch.equal(lengths(left), expected.long())
    there = ~left.values.isnan()
    assert torch.equal(there.all(dim=-1), there.any(dim=-1))
    for b in range(0, 270, 30):
        for t, x in zip(left.times[b], left.values[b]):
            if not x.isnan().any():
                (row,) = (series.times[b] == t).nonzero()[:1]
                if t > 0:
                    assert torch.equal(series.values[b, row[0]], x)


def test_readings_dropped_singly_leave_each_channel_holes_of_its_own():
    series = leads(50).without(0.7, singly=True, seed=1)
    seen = ~series.values.isnan()
    assert (seen.sum(dim=1) == 6).all()
    assert (seen[..., 0] != seen[..., 1]).any(dim=1).all()
    rows = seen.any(dim=-1)
    assert not (rows.int().diff(dim=1) > 0).any()  # empty rows have moved to the end


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match="from 0 to 1, got 70"):
        leads(4).without(70)


def test_the_same_seed_drops_the_same_and_another_does_not():
    series = vowels(True)
    a, b, c = (series.without(0.5, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.times, b.times)
    assert not torch.equal(a.times, c.times)


def test_one_wave_follows_the_other_by_the_lag():
    """Without noise the follower at t shows what the leader showed 0.12 before: dense
    readings have the largest correlation there.
    """
    series = leads(200, readings=400, noise=0.0, seed=2)
    x = series.values.unbind(dim=-1)
    shift = 48  # 0.12 of 400 readings
    for label in (0, 1):
        rows = series.labels == label
        first, second = (x[0], x[1]) if label else (x[1], x[0])
        ahead = (second[rows, shift:] - first[rows, :-shift]).square().mean()
        behind = (second[rows, :-shift] - first[rows, shift:]).square().mean()
        assert ahead < 0.01 * behind


def test_a_hill_comes_first_exactly_under_label_one():
    series = high_and_low(200, readings=60, noise=0.0, seed=2)
    values = series.values[..., 0]
    top = series.times.gather(1, values.argmax(dim=1)[:, None])
    bottom = series.times.gather(1, values.argmin(dim=1)[:, None])
    assert torch.equal((top < bottom)[:, 0].long(), series.labels)


def test_scaled_series_have_the_mean_and_the_size_that_is_asked_for():
    series = leads(100)
    seen = series.values.flatten(0, 1)
    scaled = series.scaled(seen.mean(0), seen.std(0)).values.flatten(0, 1)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(0), torch.ones(2))


def test_some_of_the_series_are_shorter_than_the_longest_of_all():
    series = vowels(True)
    short = series.of(lengths(series) < 12)
    assert short.times.shape[1] == lengths(short).max() < 12

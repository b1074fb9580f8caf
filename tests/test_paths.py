"""Paths through readings: against SciPy and diffrax, what they see of the future, what is
missing, and what a path does as a whole.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline, CubicSpline
from torch import Tensor

from course_lib.data import generator, leads
from course_lib.paths import (
    PATHS,
    ControlPath,
    hermite_path,
    joined,
    linear_path,
    log_signature,
    natural_cubic_path,
    polyline,
    rectilinear_path,
)

NAN = math.nan
every_path = pytest.mark.parametrize("make", PATHS.values(), ids=PATHS)


@pytest.fixture(scope="module")
def readings() -> tuple[Tensor, Tensor]:
    """Times and values of three series of nine rows and two channels, none missing."""
    g = generator(0)
    times = torch.rand(3, 9, generator=g, dtype=torch.float64).cumsum(dim=1) + 0.3
    return times, torch.randn(3, 9, 2, generator=g, dtype=torch.float64)


def along(path: ControlPath, points: int = 7) -> tuple[Tensor, Tensor]:
    """Times (n, B) and values (n, B, D) at many places, the ends of pieces left out."""
    n = len(path.knots) - 1
    s = [i + (j + 0.5) / points for i in range(n) for j in range(points)]
    found = torch.stack([path(x) for x in s])
    return found[..., 0], found[..., 1:]


def with_holes(values: Tensor) -> Tensor:
    """The same values; some inside a series are missing, each channel has its own."""
    holes = torch.rand(values.shape, generator=generator(1)) < 0.4
    holes[:, 0] = holes[:, -1] = False
    return values.masked_fill(holes, NAN)


# --- against SciPy ----------------------------------------------------------------------


def scipy_spline(name: str, t: np.ndarray, x: np.ndarray):
    """What SciPy draws through readings, and its derivative."""
    if name == "natural cubic":
        made = CubicSpline(t, x, bc_type="natural")
    else:
        chords = np.diff(x) / np.diff(t)
        made = CubicHermiteSpline(t, x, np.concatenate((chords[:1], chords)))
    return made, made.derivative()


@pytest.mark.parametrize("name", ["natural cubic", "hermite"])
@pytest.mark.parametrize("holes", [False, True])
def test_cubics_are_those_of_scipy_also_where_readings_are_missing(
    readings, name, holes
):
    times, values = readings
    values = with_holes(values) if holes else values
    path = PATHS[name](times, values)
    at, found = along(path)
    s = [i + (j + 0.5) / 7 for i in range(8) for j in range(7)]
    slopes = torch.stack([path.slope(x) for x in s])
    for b in range(3):
        for d in range(2):
            seen = ~values[b, :, d].isnan()
            exact, rate = scipy_spline(
                name, times[b, seen].numpy(), values[b, seen, d].numpy()
            )
            expected = torch.from_numpy(exact(at[:, b].numpy()))
            torch.testing.assert_close(found[:, b, d], expected)
            by_time = slopes[:, b, d + 1] / slopes[:, b, 0]
            torch.testing.assert_close(
                by_time, torch.from_numpy(rate(at[:, b].numpy()))
            )


@pytest.mark.parametrize("holes", [False, True])
def test_the_linear_path_is_numpy_s_interpolation(readings, holes):
    times, values = readings
    values = with_holes(values) if holes else values
    at, found = along(linear_path(times, values))
    for b in range(3):
        for d in range(2):
            seen = ~values[b, :, d].isnan()
            expected = np.interp(at[:, b], times[b, seen], values[b, seen, d])
            torch.testing.assert_close(found[:, b, d], torch.from_numpy(expected))


def test_the_rectilinear_path_waits_and_then_jumps():
    times = torch.tensor([[0.0, 1.0, 3.0]])
    values = torch.tensor([[[5.0, 1.0], [NAN, 2.0], [7.0, NAN]]])
    path = rectilinear_path(times, values)
    corners = torch.stack([path(s) for s in path.knots])[:, 0].tolist()
    assert corners == [[0, 5, 1], [1, 5, 1], [1, 5, 2], [3, 5, 2], [3, 7, 2]]
    assert path.rows == (0.0, 2.0, 4.0)


# --- against diffrax --------------------------------------------------------------------


def test_the_hermite_path_is_that_of_diffrax(readings):
    """Where nothing is missing: diffrax draws lines over holes first, and then bends those."""
    diffrax, jax = pytest.importorskip("diffrax"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    times, values = readings
    at, found = along(hermite_path(times, values))
    for b in range(3):
        t, x = times[b].numpy(), values[b].numpy()
        theirs = diffrax.CubicInterpolation(
            t, diffrax.backward_hermite_coefficients(t, x)
        )
        expected = np.stack([theirs.evaluate(float(u)) for u in at[:, b]])
        torch.testing.assert_close(found[:, b], torch.from_numpy(expected))


def test_the_rectilinear_path_is_that_of_diffrax(readings):
    diffrax, jax = pytest.importorskip("diffrax"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    times, values = readings
    values = with_holes(values)
    path = rectilinear_path(times, values)
    corners = torch.stack([path(s) for s in path.knots])
    for b in range(3):
        t, x = times[b].numpy(), values[b].numpy()
        theirs = diffrax.rectilinear_interpolation(t, x)
        both = np.concatenate((theirs[0][:, None], theirs[1]), axis=1)
        torch.testing.assert_close(corners[:, b], torch.from_numpy(both))


# --- what a path is ---------------------------------------------------------------------


@every_path
def test_a_path_goes_through_its_readings(readings, make):
    times, values = readings
    path = make(times, with_holes(values))
    for i, s in enumerate(path.rows):
        t, x = path(s).split((1, 2), dim=1)
        torch.testing.assert_close(t[:, 0], times[:, i])
        seen = ~with_holes(values)[:, i].isnan()
        torch.testing.assert_close(x[seen], values[:, i][seen])


@every_path
def test_the_slope_is_the_derivative_of_the_path(readings, make):
    path = make(*readings)
    for s in (0.3, 2.5, 6.9):
        at = torch.tensor(s, dtype=torch.float64)
        by_autograd = torch.autograd.functional.jacobian(path, at)
        torch.testing.assert_close(path.slope(s), by_autograd)


@every_path
def test_a_path_is_continuous_and_a_cubic_has_no_kinks(readings, make):
    path = make(*readings)
    for knot in path.knots[1:-1]:
        before, after = path(knot - 1e-9), path(knot + 1e-9)
        torch.testing.assert_close(before, after, rtol=0, atol=1e-7)
        if make in (hermite_path, natural_cubic_path):  # by time, not by s
            rates = [path.slope(knot + e) for e in (-1e-9, 1e-9)]
            left, right = (r[:, 1:] / r[:, :1] for r in rates)
            torch.testing.assert_close(left, right, rtol=0, atol=1e-5)


@every_path
def test_gradients_reach_times_and_readings(readings, make):
    times, values = (x[:1, :4].clone().requires_grad_() for x in readings)
    hole = torch.zeros(1, 4, 2, dtype=torch.bool)
    hole[0, 2, 1] = True

    def middle(times: Tensor, values: Tensor) -> Tensor:
        path = make(times, values.masked_fill(hole, NAN))
        return torch.cat((path(1.4), path.slope(2.3)))

    assert torch.autograd.gradcheck(middle, (times, values))


# --- the future -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "first"),
    [
        (rectilinear_path, "the reading"),
        (linear_path, "the reading before"),
        (hermite_path, "the reading before"),
        (natural_cubic_path, "the start"),
    ],
)
def test_where_a_path_first_knows_of_a_later_reading(readings, make, first):
    times, values = readings
    moved = values.clone()
    moved[:, 5] += 1.0
    before, after = make(times, values), make(times, moved)
    t, x = along(before)
    changed = ((along(after)[1] - x).abs() > 1e-12).any(dim=-1)  # (n, B)
    earliest = t.where(changed, math.inf).amin(dim=0)
    bounds = {"the reading": 5, "the reading before": 4, "the start": 0}
    row = bounds[first]
    assert (earliest >= times[:, row] - 1e-12).all()
    if first == "the reading":  # time waits while the values jump
        torch.testing.assert_close(earliest, times[:, row])
    else:
        assert (earliest < times[:, row + 1]).all()


@every_path
def test_a_reading_that_comes_later_leaves_what_a_causal_path_was(readings, make):
    """The path up to the last row, made without and with the row behind it."""
    times, values = readings
    short, long = make(times[:, :6], values[:, :6]), make(times, values)
    s = torch.linspace(0, short.knots[-1] - 1e-6, 50).double()
    off = max((short(x) - long(x)).abs().max().item() for x in s)
    assert (off > 1e-3) == (make is natural_cubic_path)


# --- missing, and the ends --------------------------------------------------------------


@every_path
def test_a_batch_is_its_series_one_by_one_and_a_path_stands_still_after_its_end(
    readings, make
):
    times, values = readings
    values, times = with_holes(values), times.clone()
    lengths = (9, 5, 3)
    for b, length in enumerate(lengths):
        values[b, length:], times[b, length:] = NAN, NAN if b == 1 else 0.0
    together = make(times, values)
    for b, length in enumerate(lengths):
        alone = make(times[b : b + 1, :length], values[b : b + 1, :length])
        n = alone.coefficients.shape[2]
        torch.testing.assert_close(
            together.coefficients[:, b, :n], alone.coefficients[:, 0]
        )
        assert not together.coefficients[1:, b, n:].any()
        end, own = together(together.knots[-1]), alone(alone.knots[-1])
        torch.testing.assert_close(end[b], own[0])


@every_path
def test_a_channel_without_readings_stays_at_zero_and_one_that_ends_keeps_its_value(
    make,
):
    times = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    values = torch.tensor([[[NAN, 2.0], [NAN, NAN], [NAN, NAN], [NAN, NAN]]])
    values[0, 3, 0] = NAN
    values[0, :, 1] = torch.tensor([2.0, 2.0, NAN, NAN])
    values = torch.cat((values, torch.tensor([[[1.0], [NAN], [NAN], [4.0]]])), dim=-1)
    _, x = along(make(times, values))
    assert not x[..., 0].any()
    torch.testing.assert_close(x[..., 1], torch.full_like(x[..., 1], 2.0))


def test_readings_that_make_no_path_are_refused():
    t, x = torch.tensor([[0.0, 1.0, 1.0]]), torch.zeros(1, 3, 2)
    with pytest.raises(ValueError, match=r"increase .*\[1\.0, 1\.0\] in series 0"):
        linear_path(t, x)
    with pytest.raises(ValueError, match=r"shape \(B, k, D\)"):
        linear_path(t, x[0])
    with pytest.raises(ValueError, match="two rows at least"):
        hermite_path(t[:, :1], x[:, :1])
    with pytest.raises(ValueError, match="finite, or NaN"):
        natural_cubic_path(torch.tensor([[0.0, 1.0, 2.0]]), x + math.inf)
    with pytest.raises(ValueError, match="finite and increase"):
        rectilinear_path(torch.tensor([[0.0, NAN, 2.0]]), x)


# --- log-signature ----------------------------------------------------------------------


def circle(n: int, turns: float = 1.0) -> Tensor:
    angle = torch.linspace(0, 2 * math.pi * turns, n + 1, dtype=torch.float64)
    return torch.stack((angle.cos(), angle.sin()), dim=1)


def test_the_area_of_a_circle_is_that_of_its_polygon_and_changes_sign_backwards():
    points = circle(1000)
    increment, area = log_signature(points)
    exact = 1000 * math.sin(2 * math.pi / 1000) / 2
    assert area[0, 1].item() == pytest.approx(exact, rel=1e-12)
    assert increment.abs().max() < 1e-12
    torch.testing.assert_close(area, -area.T)
    torch.testing.assert_close(log_signature(points.flip(0)).area, -area)


def test_a_parabola_has_a_sixth_between_itself_and_its_chord():
    x = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    increment, area = log_signature(torch.stack((x, x**2), dim=1))
    assert increment.tolist() == [1.0, 1.0]
    assert area[0, 1].item() == pytest.approx(1 / 6, abs=1e-8)


def test_one_path_after_the_other_is_chen_s_identity():
    points = torch.randn(4, 12, 3, generator=generator(0), dtype=torch.float64)
    whole = log_signature(points)
    parts = joined(log_signature(points[:, :6]), log_signature(points[:, 5:]))
    torch.testing.assert_close(parts.increment, whole.increment)
    torch.testing.assert_close(parts.area, whole.area)


def test_a_log_signature_knows_neither_the_place_nor_the_pace_of_a_path():
    points = torch.randn(8, 3, generator=generator(0), dtype=torch.float64)
    here = log_signature(points)
    for same in (points + 5.0, points.repeat_interleave(3, dim=0), halved(points)):
        found = log_signature(same)
        torch.testing.assert_close(found.increment, here.increment)
        torch.testing.assert_close(found.area, here.area)


def halved(points: Tensor) -> Tensor:
    """The same straight pieces with a point more in each."""
    between = (points[:-1] + points[1:]) / 2
    both = torch.stack((points[:-1], between), dim=1).flatten(0, 1)
    return torch.cat((both, points[-1:]))


def test_a_polyline_has_its_points_at_its_knots():
    points = torch.randn(2, 5, 3, generator=generator(0), dtype=torch.float64)
    path = polyline(points)
    torch.testing.assert_close(torch.stack([path(s) for s in path.knots], 1), points)


def test_who_leads_shows_in_the_area_and_not_in_the_increment():
    series = leads(2000, seed=3)
    increment, area = log_signature(series.values.double())
    sign = 2.0 * series.labels - 1
    right = (area[:, 0, 1].sign() == sign).double().mean()
    assert right > 0.75
    assert ((increment[:, 0].sign() == sign).double().mean() - 0.5).abs() < 0.05

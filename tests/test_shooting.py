"""Long series in short shots: windows, multiple shooting, teacher forcing."""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch

from course_lib.shooting import MultipleShooting, blended, consecutive, doubling
from course_lib.solvers import SolverError, odeint
from course_lib.systems import LotkaVolterra, oscillator

TIGHT = dict(rtol=1e-10, atol=1e-12)
T = torch.linspace(0, 12, 61, dtype=torch.float64)
Y0 = torch.tensor([1.0, 0.5], dtype=torch.float64)
PATH = odeint(oscillator, Y0, T, **TIGHT)


# --- windows --------------------------------------------------------------------------


@pytest.mark.parametrize("intervals", [1, 4, 10, 60])
def test_windows_put_together_are_the_series(intervals):
    times, windows = consecutive(T, PATH, intervals)
    assert windows.shape == (intervals + 1, 60 // intervals, 2)
    together = torch.cat((windows[:-1].transpose(0, 1).flatten(0, 1), windows[-1, -1:]))
    assert torch.equal(together, PATH)
    assert torch.equal(windows[-1, :-1], windows[0, 1:])
    torch.testing.assert_close(times, T[: intervals + 1])


def test_the_truth_leads_from_every_start_through_its_window():
    times, windows = consecutive(T, PATH, 12)
    ys = odeint(oscillator, windows[0], times, **TIGHT)
    torch.testing.assert_close(ys, windows, rtol=0, atol=1e-8)


def test_windows_start_their_clock_at_0_wherever_the_series_starts():
    times, _ = consecutive(T + 7.0, PATH, 6)
    torch.testing.assert_close(times, T[:7])


@pytest.mark.parametrize("intervals", [0, 7, 61])
def test_windows_must_fill_the_series(intervals):
    with pytest.raises(ValueError, match="divide the 60 gaps"):
        consecutive(T, PATH, intervals)


def test_windows_want_equal_gaps():
    with pytest.raises(ValueError, match="equally spaced"):
        consecutive(T**2, PATH, 6)


@pytest.mark.parametrize(
    "t",
    [
        torch.linspace(0, 30, 3001),
        torch.linspace(0, 30, 3001).double(),
        [i * 0.01 for i in range(3001)],
    ],
    ids=["float32", "rounded to float32", "list"],
)
def test_gaps_that_are_equal_up_to_rounding_are_equal(t):
    times, windows = consecutive(t, torch.zeros(3001, 2), 10)
    assert len(times) == 11 and windows.shape == (11, 300, 2)


@pytest.mark.parametrize(
    ("t", "complaint"),
    [
        ([0.0, math.nan, 1.0], "finite and strictly"),
        ([0.0, 2.0, 1.0], "finite and strictly"),
        (torch.arange(3), "floating point"),
    ],
)
def test_times_are_checked_as_a_solve_checks_them(t, complaint):
    for cut in (
        partial(consecutive, intervals=1),
        partial(blended, oscillator, share=0.5),
    ):
        with pytest.raises((TypeError, ValueError), match=complaint):
            cut(t=t, ys=torch.zeros(3, 2))
    with pytest.raises(ValueError, match="equally spaced"):
        consecutive([0.0, 0.0, 0.0], torch.zeros(3, 2), 1)


@pytest.mark.parametrize(("gaps", "first"), [(200, 5), (60, 1), (7, 1), (12, 12)])
def test_growing_windows_fill_the_series_at_every_length(gaps, first):
    lengths = doubling(gaps, first)
    assert lengths[0] == first and lengths[-1] == gaps
    assert all(gaps % n == 0 for n in lengths)
    assert all(b > a for a, b in itertools.pairwise(lengths))
    with pytest.raises(ValueError, match="divide"):
        doubling(10, 3)


def test_k_windows_make_the_basin_of_a_frequency_k_times_as_wide():
    """With both components read, a window of length w has the misfit 2 - 2 sin(Δw)/(Δw),
    whose first crest is at Δw = 4.4934.
    """
    omega = torch.linspace(0.2, 3.0, 5601, dtype=torch.float64)
    span, w = torch.linspace(0, 40, 4001, dtype=torch.float64), omega[:, None]
    readings = torch.exp(1j * span)
    for k in (1, 2, 4, 8):
        times, windows = consecutive(span, readings, 4000 // k)
        turned = torch.exp(1j * w * times)
        misfit = sum(
            (turned * start - window).abs().square().mean(-1)
            for start, window in zip(windows[0], windows.T)
        )
        crests = (misfit[1:-1] > misfit[:-2]) & (misfit[1:-1] > misfit[2:])
        above = omega[1:-1][crests & (omega[1:-1] > 1)]
        assert above[0].item() == pytest.approx(1 + 4.4934 * k / 40, abs=0.002)


# --- multiple shooting ----------------------------------------------------------------


def test_gaps_are_closed_where_the_starts_lie_on_one_solution():
    times, windows = consecutive(T, PATH, 10)
    ys, gaps = MultipleShooting(windows[0])(oscillator, times, **TIGHT)
    assert gaps.shape == (5, 2) and gaps.abs().max() < 1e-8
    torch.testing.assert_close(ys, windows, rtol=0, atol=1e-8)


def test_a_gap_is_the_end_of_a_window_less_the_next_start():
    times, windows = consecutive(T, PATH, 10)
    shooting = MultipleShooting(windows[0])
    with torch.no_grad():
        shooting.starts[3] += 0.25
    _, gaps = shooting(oscillator, times, **TIGHT)
    torch.testing.assert_close(gaps[2], torch.full_like(gaps[2], -0.25))
    # The flow of a spring turns a change; it keeps its length.
    assert gaps[3].norm().item() == pytest.approx(0.25 * math.sqrt(2))
    assert gaps[[0, 1, 4]].abs().max() < 1e-8


def test_the_starts_are_learnt_and_the_readings_are_left_alone():
    times, windows = consecutive(T, PATH, 10)
    shooting = MultipleShooting(windows[0])
    ys, gaps = shooting(oscillator, times, method="rk4", step_size=0.2)
    (ys.square().sum() + gaps.square().sum()).backward()
    assert shooting.starts.grad.abs().min() > 0
    with torch.no_grad():
        shooting.starts += 1
    assert torch.equal(consecutive(T, PATH, 10)[1], windows)


def test_without_noise_the_penalty_finds_one_solution_from_wrong_rates():
    law = LotkaVolterra(torch.tensor([1.5, 1.0, 3.0, 1.0], dtype=torch.float64))
    t = torch.linspace(0, 6, 61, dtype=torch.float64)
    with torch.no_grad():
        seen = odeint(law, torch.ones(2, dtype=torch.float64), t, **TIGHT)
    times, windows = consecutive(t, seen, 10)
    wrong = LotkaVolterra(torch.tensor([1.0, 1.4, 2.0, 0.7], dtype=torch.float64))
    shooting = MultipleShooting(windows[0])
    trained = [*wrong.parameters(), *shooting.parameters()]
    fit = torch.optim.LBFGS(trained, max_iter=80, line_search_fn="strong_wolfe")

    def misfit():
        fit.zero_grad()
        ys, gaps = shooting(wrong, times, method="rk4", step_size=0.1001)
        loss = (ys - windows).square().mean() + gaps.square().mean()
        loss.backward()
        return loss

    fit.step(misfit)
    gap = (wrong.log_rates - law.log_rates).abs().max()
    assert gap < 0.01


# --- teacher forcing ------------------------------------------------------------------


def test_a_share_of_0_is_one_shot():
    ys = blended(oscillator, T, PATH + 0.1 * T[:, None].sin(), 0.0)
    one = odeint(oscillator, PATH[0], T, method="rk4", step_size=0.2001)
    torch.testing.assert_close(ys, one)


def test_a_share_of_1_starts_anew_at_every_reading():
    seen = PATH + 0.1 * T[:, None].sin()
    ys = blended(oscillator, T, seen, 1.0, substeps=2)
    times, windows = consecutive(T, seen, 1)
    ends = odeint(oscillator, windows[0], times, method="rk4", step_size=0.1001)[-1]
    torch.testing.assert_close(ys[1:], ends)
    assert torch.equal(ys[0], seen[0])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_a_small_change_dwindles_by_the_share_at_every_reading(share):
    """For y' = λy a step of RK4 multiplies by R, so that n readings on it is
    (1 - share)^(n - 1) R^n.
    """
    rate, h, n = 0.9, 0.2, 20
    seen = torch.zeros(n + 1, 1, dtype=torch.float64)
    start = torch.ones(1, dtype=torch.float64, requires_grad=True)
    ys = blended(
        lambda t, y: rate * y,
        h * torch.arange(n + 1),
        torch.cat((start[None], seen[1:])),
        share,
    )
    (slope,) = torch.autograd.grad(ys[-1], start)
    x = torch.tensor(rate * h, dtype=torch.float64)
    R = sum(x**j / math.factorial(j) for j in range(5))
    expected = (1 - share) ** (n - 1) * R**n
    assert slope.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_prediction_that_overflows_is_an_error():
    ys = torch.full((11, 1), 5.0)
    with pytest.raises(SolverError, match="overflowed between t="):
        blended(lambda t, y: y * y, torch.linspace(0, 20, 11), ys, 0.1)


def test_what_blending_cannot_give_or_take_is_refused():
    with pytest.raises(ValueError, match="no gradient"):
        blended(oscillator, T.clone().requires_grad_(), PATH, 0.5)
    with pytest.raises(TypeError, match="ys must be floating point"):
        blended(oscillator, T, PATH.long(), 0.5)


def test_a_share_and_its_steps_are_checked():
    with pytest.raises(ValueError, match="share must be from 0 to 1"):
        blended(oscillator, T, PATH, 1.5)
    with pytest.raises(ValueError, match="substeps"):
        blended(oscillator, T, PATH, 0.5, substeps=0)


@pytest.mark.parametrize("n", [2, 4])
def test_as_many_times_as_readings_are_asked_for(n):
    t, ys = torch.linspace(0.0, 1.0, n), torch.zeros(3, 2)
    with pytest.raises(ValueError, match=f"got 3 readings and {n} times"):
        consecutive(t, ys, 1)
    with pytest.raises(ValueError, match=f"got 3 readings and {n} times"):
        blended(oscillator, t, ys, 0.5)


def test_blending_hands_f_its_time_as_a_solve_does_and_refuses_an_unknown_method():
    def f(t, y):
        return torch.cos(t) + 0 * y

    times = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)
    ys = blended(f, times, torch.zeros(5, 2).double(), 0.0)
    torch.testing.assert_close(ys[:, 0], times.sin(), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="method='rk5' is not known"):
        blended(f, times, torch.zeros(5, 2).double(), 0.5, method="rk5")

"""What a solve may be told about its steps and tolerances, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from problems import ADAPTIVE, BY_NAME, PROBLEMS, adaptive_methods, with_method
from test_adjoint import SPIRAL, Field, LinearField, cosines
from test_bad_input import refusal
from test_forward_pass import SECOND_WAYS
from torch import Tensor

from course_lib.solvers import (
    METHODS,
    Settings,
    Solution,
    adaptive_steps,
    odeint,
    odeint_adjoint,
    odeint_interpolated,
    solve,
    weighted_sum,
)

WAYS = {"odeint": odeint, **SECOND_WAYS}
second_ways = pytest.mark.parametrize("way", SECOND_WAYS.values(), ids=SECOND_WAYS)
both_directions = pytest.mark.parametrize("sign", [1.0, -1.0], ids=["up", "down"])


def asked_of(way):
    """The same way for a plain function without parameters."""
    known = {} if way is odeint else {"adjoint_params": ()}
    return lambda f, y0, t, **settings: way(f, y0, t, **known, **settings)


all_ways = pytest.mark.parametrize("way", [*map(asked_of, WAYS.values())], ids=WAYS)


def tiles(solution: Solution) -> bool:
    """Whether every step starts where the one before ended, the last at the end."""
    ends = solution.step_times + solution.step_sizes
    starts = torch.cat((solution.step_times[1:], solution.t[-1:]))
    return torch.allclose(ends, starts, rtol=0, atol=1e-13)


# --- first_step -----------------------------------------------------------------------


@adaptive_methods
@both_directions
def test_the_first_step_is_as_long_as_asked_for_and_no_search_is_paid(method, sign):
    oscillator = BY_NAME["oscillator"]
    t = [0.0, sign * 3.0]
    ours = solve(oscillator.f, oscillator.start(), t, method=method, first_step=0.01)
    attempts = ours.accepted + ours.rejected
    assert ours.step_sizes[0] == sign * 0.01
    assert ours.nfe == 1 + attempts * (METHODS[method].stages - 1)
    assert tiles(ours)


@adaptive_methods
def test_a_first_step_that_errs_too_much_is_tried_again_shorter(method):
    oscillator = BY_NAME["oscillator"]
    options = with_method(method, tolerance=1e-8) | {"first_step": 3.0}
    ours = solve(oscillator.f, oscillator.start(), [0.0, 3.0], **options)
    error = (ours.ys[-1] - oscillator.truth(ours.t)[-1]).abs().max()
    assert ours.rejected > 0
    assert abs(ours.step_sizes[0]) < 0.5
    assert error <= oscillator.error_bound(ours.accepted, 1e-8, 1e-8)


@pytest.mark.parametrize("way", [odeint_adjoint, odeint_interpolated])
def test_the_way_back_begins_with_the_first_step_as_well(way):
    times = []

    def f(t, y):
        times.append(t.item())
        return -y * t

    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    end = way(f, y0, [0.0, 2.0], first_step=0.01, adjoint_params=())[-1]
    times.clear()
    end.sum().backward()
    second = METHODS["dopri5"].c[1]
    assert times[:2] == [2.0, pytest.approx(2.0 - 0.01 * second, abs=1e-14)]


# --- max_step -------------------------------------------------------------------------


@adaptive_methods
@both_directions
@pytest.mark.parametrize("limit", [1.0, 0.3, 0.007, 10.0])
def test_no_step_is_longer_than_max_step(method, sign, limit):
    decay = BY_NAME["decay"]
    ours = solve(
        decay.f, decay.start(), [0.0, sign * 3.0], method=method, max_step=limit
    )
    assert ours.step_sizes.abs().max() <= limit * 1.001
    assert tiles(ours)


def pulse(t: Tensor) -> Tensor:
    """A bump of width 0.02 at 5: its integral is 0.02 √π."""
    return torch.exp(-(((t - 5) / 0.02) ** 2))


AREA = 0.02 * math.sqrt(math.pi)


@adaptive_methods
@both_directions
def test_a_pulse_that_long_steps_pass_over_is_found_by_short_ones(method, sign):
    y0, t = torch.zeros(1).double(), [0.0, 10.0] if sign > 0 else [10.0, 0.0]
    blind, seeing = (
        solve(lambda t, y: pulse(t).expand(1), y0, t, method=method, max_step=limit)
        for limit in (math.inf, 0.05)
    )
    assert blind.ys[-1].abs().item() < 1e-6
    assert seeing.ys[-1].item() == pytest.approx(sign * AREA, abs=1e-5)


@second_ways
def test_a_pulse_is_found_on_the_way_back_too(way):
    height = torch.tensor(1.0, dtype=torch.float64)
    f = Field(lambda t, y, height: height * pulse(t).expand(1), height)
    for limit, expected in ((math.inf, 0.0), (0.02, AREA)):
        end = way(f, torch.zeros(1).double(), [0.0, 10.0], max_step=limit)[-1]
        (found,) = torch.autograd.grad(end.sum(), f.values[0])
        assert found.item() == pytest.approx(expected, abs=1e-5)


# --- beta -----------------------------------------------------------------------------


def stiff(t: Tensor, y: Tensor) -> Tensor:
    """y = sin t attracts at the rate 1000, which limits the steps."""
    return -1000 * (y - t.sin()) + t.cos()


@pytest.mark.parametrize("method", ["dopri5", "tsit5"])
def test_where_stability_limits_the_steps_beta_wastes_almost_none(method):
    y0, options = torch.zeros(1).double(), with_method(method, tolerance=1e-3)
    plain, damped = (
        solve(stiff, y0, [0.0, 5.0], beta=beta, **options) for beta in (0.0, 0.04)
    )
    assert plain.rejected > 100
    assert damped.rejected < plain.rejected / 10
    assert damped.nfe < 0.9 * plain.nfe
    assert abs(damped.ys[-1].item() - math.sin(5)) < 1e-3


@adaptive_methods
def test_where_accuracy_limits_the_steps_beta_costs_less_than_a_tenth(method):
    nfe = {0.0: 0, 0.04: 0}
    for problem in PROBLEMS:
        for beta in nfe:
            ours = solve(
                problem.f,
                problem.start(),
                problem.times(),
                beta=beta,
                **with_method(method),
            )
            error = (ours.ys - problem.truth(ours.t)).abs().max()
            assert error <= problem.error_bound(ours.accepted, 1e-6, 1e-6)
            nfe[beta] += ours.nfe
    assert nfe[0.04] < 1.1 * nfe[0.0]


@adaptive_methods
def test_the_step_that_follows_is_that_of_hairers_formula(method):
    """h · 0.9 · err^(0.75 β - 1/order) · before^β, where nothing was rejected and no
    limit is met.
    """
    problem, beta, tableau = BY_NAME["van der Pol"], 0.08, METHODS[method]
    settings = Settings(method=method, rtol=1e-5, atol=1e-5, beta=beta)
    steps = [*adaptive_steps(problem.at, 0.0, problem.start(), 4.0, settings)]
    looked_at = 0
    for before, step in pairwise(steps[:-1]):
        errors = []
        for each in (before, step):
            error = each.h * weighted_sum(tableau.b_error, each.stages)
            scale = 1e-5 + 1e-5 * torch.maximum(each.y.abs(), each.y_next.abs())
            errors.append((error / scale).square().mean().sqrt().item())
        factor = 0.9 * errors[1] ** (0.75 * beta - 1 / tableau.order)
        factor *= max(errors[0], 1e-4) ** beta
        if step.rejected == 0 and 0.2 < factor < 10.0:
            assert step.h_next == pytest.approx(step.h * factor, rel=1e-8)
            looked_at += 1
    assert looked_at > 5


# --- tolerances as tensors ------------------------------------------------------------


@adaptive_methods
@pytest.mark.parametrize(
    "shape", [(), (1,), (2,), (1, 2), (3, 1), (3, 2)], ids=lambda shape: str(shape)
)
def test_equal_tolerances_in_a_tensor_are_that_number(method, shape):
    f, y0, t = LinearField(SPIRAL), cosines(3, 2), [0.0, 1.0, 5.0]
    number = solve(f, y0, t, method=method, rtol=1e-6, atol=1e-7)
    rtol, atol = (torch.full(shape, x, dtype=torch.float64) for x in (1e-6, 1e-7))
    tensor = solve(f, y0, t, method=method, rtol=rtol, atol=atol)
    assert torch.equal(tensor.step_sizes, number.step_sizes)
    assert torch.equal(tensor.ys, number.ys)


@adaptive_methods
def test_a_component_with_a_loose_tolerance_costs_nothing_and_the_other_stays_right(
    method,
):
    """y = (sin t, sin 40t): the second is let go, so the solve costs that of the first."""
    tight, loose = (
        solve(
            lambda t, y: torch.stack((t.cos(), 40 * (40 * t).cos())),
            torch.zeros(2).double(),
            [0.0, 3.0],
            method=method,
            rtol=1e-10,
            atol=torch.tensor(atol, dtype=torch.float64),
        )
        for atol in ([1e-6, 1e-6], [1e-6, 1e6])
    )
    assert loose.nfe < tight.nfe / 4
    for ours in (tight, loose):
        bound = (ours.accepted + 2) * 2**0.5 * 1e-6
        assert abs(ours.ys[-1, 0].item() - math.sin(3)) <= bound
    assert abs(tight.ys[-1, 1].item() - math.sin(120)) <= bound * 10


def test_one_sample_of_a_batch_may_be_asked_for_more_than_another():
    f, y0 = LinearField(SPIRAL), cosines(3, 2)
    rtol = torch.tensor([[1e-3], [1e-3], [1e-9]], dtype=torch.float64)
    exact = y0 @ torch.linalg.matrix_exp(10 * f.A.T)
    asked, loose = (
        (odeint(f, y0, [0.0, 10.0], rtol=each, atol=1e-12)[-1] - exact)[2].abs().max()
        for each in (rtol, 1e-3)
    )
    assert asked < 1e-6 < loose


def test_a_state_in_float32_takes_tolerances_in_float64():
    f, y0 = LinearField(SPIRAL).float(), cosines(3, 2).float()
    rtol = torch.full((2,), 1e-4, dtype=torch.float64)
    ours = odeint(f, y0, [0.0, 1.0], rtol=rtol)
    assert torch.equal(ours, odeint(f, y0, [0.0, 1.0], rtol=rtol.float()))
    assert ours.dtype == torch.float32


@second_ways
def test_gradients_come_with_tolerances_in_tensors(way):
    f, t = LinearField(SPIRAL), [0.0, 0.7, 2.0]
    rtol = torch.tensor([1e-9, 1e-8], dtype=torch.float64)
    atol = torch.full((3, 1), 1e-9, dtype=torch.float64)
    found = []
    for each in (way, odeint):
        y0 = cosines(3, 2).requires_grad_()
        loss = (cosines(3, 3, 2) * each(f, y0, t, rtol=rtol, atol=atol)).sum()
        found.append(torch.autograd.grad(loss, (y0, f.A)))
    for ours, direct in zip(*found):
        assert (ours - direct).abs().max() < 1e-6


@pytest.mark.parametrize("way", [odeint_adjoint, odeint_interpolated])
def test_the_way_back_may_have_tolerances_of_its_own_in_tensors(way):
    f, y0 = LinearField(SPIRAL), cosines(3, 2).requires_grad_()
    tight = torch.full((2,), 1e-10, dtype=torch.float64)
    ys = way(f, y0, [0.0, 2.0], adjoint_rtol=tight, adjoint_atol=tight, rtol=1e-8)
    (found,) = torch.autograd.grad(ys[-1].sum(), y0)
    exact = torch.ones(3, 2).double() @ torch.linalg.matrix_exp(2 * f.A)
    assert (found - exact).abs().max() < 1e-6


# --- what is refused ------------------------------------------------------------------


NOT_NUMBERS = {
    "text": "0.1",
    "list": [0.1],
    "complex": 1j,
    "array": np.array([0.1, 0.2]),
    "tensor": torch.tensor([0.1, 0.2]),
}
NOT_POSITIVE = {"negative": -0.1, "NaN": math.nan, "-inf": -math.inf}
controls = pytest.mark.parametrize("name", ["first_step", "max_step", "beta"])


@all_ways
@controls
@pytest.mark.parametrize("value", NOT_NUMBERS.values(), ids=NOT_NUMBERS)
def test_what_is_no_number_is_refused(way, name, value):
    message = refusal(TypeError, way, **{name: value})
    assert message.startswith(f"{name} must be a positive number, got ")


@all_ways
@pytest.mark.parametrize("name", ["max_step", "beta"])
def test_none_is_no_number_where_it_is_not_the_usual_value(way, name):
    message = refusal(TypeError, way, **{name: None})
    assert message.startswith(f"{name} must be a positive number, got None; ")


@all_ways
@controls
@pytest.mark.parametrize("value", NOT_POSITIVE.values(), ids=NOT_POSITIVE)
def test_what_is_not_positive_is_refused(way, name, value):
    message = refusal(ValueError, way, **{name: value})
    assert message.startswith(f"{name} must be positive and finite, got {value!r}; ")


@all_ways
def test_a_step_of_no_length_is_refused(way):
    for name in ("first_step", "max_step"):
        message = refusal(ValueError, way, **{name: 0})
        assert message.startswith(f"{name} must be positive and finite, got 0; ")


@all_ways
def test_a_beta_that_would_shrink_the_steps_for_ever_is_refused(way):
    message = refusal(ValueError, way, beta=0.12)
    assert message.startswith("beta must be at most 0.1, got 0.12")
    assert "0.04 suits" in message


@all_ways
@controls
@pytest.mark.parametrize("value", [0.05, np.array([0.1, 0.2])], ids=["number", "array"])
def test_a_method_with_fixed_steps_refuses_what_belongs_to_the_others(way, name, value):
    message = refusal(ValueError, way, method="rk4", step_size=0.1, **{name: value})
    assert f"{name}={value!r} does not go with method='rk4'" in message
    assert all(method in message for method in ADAPTIVE)


def test_numbers_of_numpy_and_tensors_of_one_number_are_taken():
    plain = {"first_step": 0.125, "max_step": 0.25, "beta": 0.0625}
    f, y0, t = BY_NAME["decay"].f, torch.ones(2).double(), [0.0, 3.0]
    expected = odeint(f, y0, t, **plain)
    for kind in (np.float32, np.float64, torch.tensor):
        same = {name: kind(value) for name, value in plain.items()}
        assert torch.equal(odeint(f, y0, t, **same), expected)
    kept = Settings(**{name: torch.tensor(value) for name, value in plain.items()})
    assert {name: getattr(kept, name) for name in plain} == plain


NOT_TOLERANCES = {
    "zero": (torch.tensor([1e-3, 0.0]), ValueError, "finite in every entry"),
    "negative": (torch.tensor([1e-3, -1.0]), ValueError, "finite in every entry"),
    "NaN": (torch.tensor([1e-3, math.nan]), ValueError, "finite in every entry"),
    "infinite": (torch.tensor([1e-3, math.inf]), ValueError, "finite in every entry"),
    "shape": (torch.full((3,), 1e-3), ValueError, "broadcast to y0, of shape (2,)"),
    "larger": (torch.full((2, 2), 1e-3), ValueError, "got shape (2, 2)"),
    "empty": (torch.zeros(0), ValueError, "got shape (0,)"),
    "whole": (torch.tensor([1, 1]), TypeError, "floating-point", "torch.int64"),
    "boolean": (torch.tensor([True, True]), TypeError, "torch.bool"),
    "complex": (torch.tensor([1j, 1j]), TypeError, "torch.complex64"),
    "array": (np.array([1e-3, 1e-3]), TypeError, "positive number, got array"),
}


@all_ways
@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("case", NOT_TOLERANCES.values(), ids=NOT_TOLERANCES)
def test_tolerances_that_make_no_sense_are_refused(way, name, case):
    value, kind, *words = case
    message = refusal(kind, way, **{name: value})
    assert message.startswith(f"{name} must ")
    assert all(word in message for word in words), message


@all_ways
def test_a_setting_that_does_not_exist_is_named_with_those_that_do(way):
    message = refusal(TypeError, way, rtoll=1e-3)
    assert message.startswith("rtoll=0.001 is not a setting of this solve; it takes ")
    assert all(name in message for name in ("method", "first_step", "jumps"))


@all_ways
@pytest.mark.parametrize(
    "rtol", [1e-16, torch.tensor([1e-3, 1e-16]).double()], ids=["number", "tensor"]
)
def test_a_relative_tolerance_below_rounding_is_said(way, rtol):
    t, y0 = [0.0, 0.1], torch.ones(2).double()
    with pytest.warns(UserWarning, match=r"few roundings of torch.float64"):
        way(lambda t, y: -y, y0, t, rtol=rtol)


def test_in_float32_the_warning_comes_sooner_and_points_to_float64():
    f, t = BY_NAME["decay"].f, [0.0, 0.1]
    with pytest.warns(
        UserWarning, match=r"rtol=5e-07 .* use a larger rtol or y0.double"
    ):
        odeint(f, torch.ones(2), t, rtol=5e-7)
    odeint(f, torch.ones(2).double(), t, rtol=5e-7)
    odeint(f, torch.ones(2), t, rtol=1e-6)
    odeint(f, torch.ones(2), t, method="rk4", step_size=0.1, rtol=1e-16)


def test_an_empty_batch_takes_empty_tolerances():
    y0, rtol = torch.ones(0, 2), torch.full((0, 2), 1e-3)
    assert odeint(lambda t, y: -y, y0, [0.0, 1.0], rtol=rtol).shape == (2, 0, 2)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("options", "give step_size, first_step, max_step, jumps"),
        ("event_fn", r"use solve\(\.\.\., event=g\)"),
        ("adjoint_options", "check_theta=True"),
        ("rtoll", "it takes method, rtol, atol"),
    ],
)
def test_a_setting_of_another_library_is_told_what_it_is_called_here(name, advice):
    with pytest.raises(TypeError, match=f"{name}=1 is not a setting of .*{advice}"):
        odeint(lambda t, y: -y, torch.ones(1), [0.0, 1.0], **{name: 1})

"""Work against precision: the record, and how two curves are compared."""

import math

import pytest
import torch

from benchmarks.precision import (
    OURS,
    PEERS,
    PROBLEMS,
    SOLVERS,
    SURE,
    TOLERANCES,
    curve,
    reference,
    row,
    wins,
    work_ratio,
)
from course_lib import records
from course_lib.measuring import relative_error

RECORD = records.results("precision")
CURVES = {found["problem"]: found for found in RECORD["curves"]}
BRUSSELATOR = next(p for p in PROBLEMS if p.name == "Brusselator")


def test_at_equal_error_evaluations_are_no_more_than_the_peers_on_eight_of_ten():
    assert len(RECORD["rows"]) == len(PROBLEMS) == 10
    assert RECORD["wins"] == {ours: wins(RECORD["rows"], ours) for ours in OURS}
    assert RECORD["wins"]["tsit5"] >= 8


def test_the_ratios_of_the_record_are_those_of_its_curves():
    assert RECORD["tolerances"] == list(TOLERANCES)
    for problem, kept in zip(PROBLEMS, RECORD["rows"]):
        found = CURVES[problem.name]
        assert row(problem, found, found["missed"]) == pytest.approx(kept)


def test_the_reference_is_surer_than_the_errors_that_are_compared():
    for found in CURVES.values():
        errors = [e for name in SOLVERS for e in found[name]["error"] if e]
        sure = [e for e in errors if e > SURE * found["missed"]]
        assert len(sure) > 0.6 * len(errors)


@pytest.mark.parametrize("name", ["dopri5", "torchdiffeq", "RK45"])
def test_a_curve_computed_again_is_the_one_of_the_record(name):
    end, _ = reference(BRUSSELATOR)
    made, kept = curve(SOLVERS[name], BRUSSELATOR, end), CURVES["Brusselator"][name]
    assert made["nfe"] == pytest.approx(kept["nfe"], rel=0.02)
    assert work_ratio(made, kept, 1e-10) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_a_field_is_given_a_state_of_its_own_shape(problem):
    dy = problem.f(torch.tensor(0.0).double(), problem.start())
    assert dy.shape == problem.start().shape
    assert dy.isfinite().all()


def test_orbits_close_and_energies_stay():
    problems = {problem.name: problem for problem in PROBLEMS}
    orbit, kepler = problems["Arenstorf orbit"], problems["two bodies, e = 0.7"]
    end = SOLVERS["DOP853"](orbit.f, orbit, 1e-12)
    assert relative_error(end, orbit.start()) < 1e-7
    end = SOLVERS["DOP853"](kepler.f, kepler, 1e-12)
    energies = [
        y[2:].square().sum() / 2 - 1 / y[:2].norm() for y in (kepler.start(), end)
    ]
    torch.testing.assert_close(*energies, rtol=1e-9, atol=0)


def test_the_work_ratio_of_two_straight_lines_is_that_between_them():
    errors = [10.0**-k for k in range(2, 9)]
    theirs = {"error": errors, "nfe": [100 * e**-0.2 for e in errors]}
    ours = {"error": errors[1:], "nfe": [80 * e**-0.2 for e in errors[1:]]}
    assert work_ratio(ours, theirs, 1e-12) == pytest.approx(0.8)
    steeper = {"error": errors, "nfe": [100 * e**-0.1 for e in errors]}
    middle = math.sqrt(errors[0] * errors[-1])
    assert work_ratio(steeper, theirs, 1e-12) == pytest.approx(middle**0.1)


def test_errors_that_are_too_large_too_small_or_none_do_not_count():
    theirs = {"error": [1e-2, 1e-4, 1e-6], "nfe": [10, 20, 40]}
    ours = {"error": [None, 0.5, 1e-2, 1e-4, 1e-6, 1e-15], "nfe": [9, 9, 10, 20, 40, 9]}
    assert work_ratio(ours, theirs, 1e-12) == pytest.approx(1)


def test_a_problem_is_won_only_against_all_peers():
    lost = {"dopri5 / torchdiffeq": 0.9, "dopri5 / RK45": 1.01}
    won = {f"dopri5 / {peer}": 1.0 for peer in PEERS}
    assert wins([lost, won, won], "dopri5") == 2

"""The benchmarks: what they count is right, a quick race has all its numbers, and what is
above its limit is named.
"""

from functools import partial

import jax
import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.bench_figures import missed
from benchmarks.bench_figures import row as figure_row
from benchmarks.bench_scaling import in_turn
from benchmarks.growth import peak_bytes, slope, with_steps
from benchmarks.limits import MODES, Counts, counted_products, limit
from benchmarks.peers import (
    IN_TORCH,
    Entry,
    forward_once,
    gradient,
    gradient_once,
    in_scipy,
    in_torch,
)
from benchmarks.peers_in_jax import (
    array,
    by_diffrax,
    in_jax,
    known,
    loss_of,
    translated,
    wide,
)
from benchmarks.solvers import exact, quartiles, race, row
from benchmarks.workloads import TASKS, convolutions, density, predators, small_mlp
from course_lib.measuring import counted_calls, relative_error
from course_lib.solvers import solve

COLUMNS = {
    *("case", "mode", "peer", "ms", "q1", "q3", "ratio", "overhead", "limit ms"),
    *("nfe", "nfe back", "vjps", "compile s", "error", "tolerance"),
}


def test_a_row_above_its_limit_is_named_and_no_other():
    rows = [
        figure_row("slow", p95=53.1, empty=12.0, most=33),
        figure_row("quick", p95=32.9, empty=12.0, most=33),
        figure_row("heavy", size=1_000_001, largest=1_000_000),
        figure_row("light", size=1_000_000, largest=1_000_000),
        figure_row("late", ready=1501, latest=1500),
        figure_row("unlimited", size=10**9),
    ]
    assert missed(rows) == [
        "slow: 53.1, limit ms 33",
        "heavy: 1,000,001, limit bytes 1,000,000",
        "late: 1,501, limit ready ms 1,500",
    ]


# --- the race of the solvers ------------------------------------------------------------


def test_a_quick_race_gives_every_number_for_all_who_take_part():
    task = small_mlp()
    field = [
        in_torch(task, who, mode) for who, modes in IN_TORCH.items() for mode in modes
    ]
    rows = race("small", task, [*field, in_jax(task, "diffrax", "forward")], rounds=2)
    assert all(set(found) == COLUMNS for found in rows)
    modes = [found["mode"] for found in rows]
    assert modes == sorted(modes, key=MODES.index)
    assert {found["peer"] for found in rows} == {*IN_TORCH, "diffrax"}
    for found in rows:
        assert 0 < found["q1"] <= found["ms"] <= found["q3"]
        assert found["nfe"] > 10 and found["error"] < 100 * found["tolerance"]
        assert found["peer"] != "torchdiffeq" or found["ratio"] == 1


def test_ratio_and_overhead_are_medians_of_what_was_measured_in_one_round():
    entry = Entry("course", "forward", print, print, Counts(7), print)
    found = row(entry, [2.0, 4.0, 9.0], alone=[1.0, 4.0, 3.0], theirs=[4.0, 4.0, 18.0])
    assert found["overhead"] == 2  # of 2, 1 and 3
    assert found["ratio"] == 2  # of 2, 1 and 2; the ratio of the medians is 1
    assert (found["ms"], found["limit ms"], found["nfe"]) == (4000, 3000, 7)


def test_quartiles_of_one_round_are_that_round():
    assert quartiles([3.0]) == (3, 3, 3)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2, 3, 4)


@pytest.mark.parametrize("mode", MODES)
def test_the_limit_evaluates_as_often_as_the_solve_it_is_for(mode):
    entry = in_torch(task := small_mlp(), "course", mode)
    with counted_calls(task.field) as tally:
        entry.run()
        solved = tally.reset()
        entry.limit()
    assert solved == tally.calls == entry.counts.nfe + entry.counts.nfe_back


@pytest.mark.parametrize("mode", MODES)
def test_the_limit_has_as_many_products_as_it_says(mode):
    task, counts = small_mlp(), Counts(5, 4, 3)
    with counted_products(task.field) as products:
        limit(task, mode, counts)()
    assert products.calls == (0 if mode == "forward" else 3)


def test_the_direct_gradient_pulls_back_through_what_was_accepted_only():
    task = predators()
    task.tolerances = dict(rtol=1e-4, atol=1e-4)
    counts = in_torch(task, "course", "direct").counts
    with torch.no_grad():
        found = solve(task.field, task.y0, task.t, **task.tolerances)
    assert found.nfe == counts.nfe and found.rejected > 0
    assert counts.vjps == 6 * found.accepted and counts.nfe_back == 0


def test_every_gradient_of_every_peer_is_that_of_the_tight_reference():
    task = small_mlp()
    truth = exact(task)
    for peer, modes in IN_TORCH.items():
        for mode, solver in modes.items():
            if mode == "forward":
                found = forward_once(task, solver).flatten()
            else:
                gradient_once(task, solver)
                found = gradient(task)
            error = relative_error(found, truth[mode != "forward"])
            assert error < 5e-4, (peer, mode)


@pytest.mark.parametrize("make", [small_mlp, density, predators])
def test_field_and_loss_of_a_task_in_jax_are_those_in_pytorch(make):
    task = make()
    assert known(task)
    with wide(task)():
        f, theta = translated(task)
        dy = np.asarray(f(0.0, array(task.y0), theta))
        loss = float(loss_of(task)(array(task.y0)[None]))
    expected = task.field(task.t[0], task.y0).detach()
    assert torch.allclose(torch.tensor(dy), expected, rtol=1e-4, atol=1e-5)
    assert loss == pytest.approx(task.loss(task.y0[None]).item(), rel=1e-5)


def test_the_course_in_jax_takes_the_steps_and_the_gradient_of_the_course():
    for make in (small_mlp, predators):
        task = make()
        for mode in ("forward", "direct"):
            ours = in_jax(task, "course, JAX", mode)
            theirs = in_torch(make(), "course", mode)
            assert ours.counts.nfe == theirs.counts.nfe
            assert relative_error(ours.outcome(), theirs.outcome()) < 1e-4


@pytest.mark.parametrize("make", [small_mlp, density, predators])
def test_gradients_and_evaluations_of_diffrax_are_what_they_are_said_to_be(make):
    task = make()
    truth = exact(task)[True]
    for mode in ("direct", "adjoint"):
        entry = in_jax(task, "diffrax", mode)
        assert relative_error(entry.outcome(), truth) < 1e-3, mode
        assert entry.compile_s > 0
    calls = []

    def f(t, y, theta):
        jax.debug.callback(lambda: calls.append(1))
        return field(t, y, theta)

    with wide(task)():
        field, theta = translated(task)
        solved = jax.jit(
            lambda y: by_diffrax(f, y, theta, array(task.t), **task.tolerances)
        )
        _, nfe = jax.block_until_ready(solved(array(task.y0)))
        jax.effects_barrier()
    assert len(calls) == int(nfe)


def test_a_reference_is_tighter_than_what_it_judges():
    task = predators()
    task.tolerances = dict(rtol=1e-4, atol=1e-4)
    finer = predators()
    finer.tolerances = dict(rtol=1e-6, atol=1e-6)
    solver = IN_TORCH["course"]["forward"]
    truth = exact(task)[False]
    off = [
        relative_error(forward_once(x, solver).flatten(), truth) for x in (task, finer)
    ]
    assert off[1] < off[0] / 30


def test_all_run_once_untimed_before_they_are_timed_and_in_another_order_each_round():
    said = []
    things = [partial(said.append, name) for name in "abc"]
    times = in_turn(20, *things, clock=lambda thing: (thing(), len(said))[1])
    assert said[::2] == said[1::2]
    rounds = ["".join(said[::2][3 * i : 3 * i + 3]) for i in range(20)]
    assert all(sorted(order) == [*"abc"] for order in rounds)
    assert len(set(rounds)) == 6
    assert [said[at - 1] for at in times[1]] == ["b"] * 20


def test_steps_on_a_card_are_those_of_the_solver_itself():
    task = convolutions(2)
    with torch.no_grad():
        found = solve(task.field, task.y0, task.t, **task.tolerances)
    assert gpu.steps_of(task, "course") == found.accepted + found.rejected
    assert gpu.steps_of(task, "torchdiffeq") >= 1


def test_scipy_solves_lotka_volterra_as_the_others_do():
    task = predators()
    task.tolerances = dict(rtol=1e-6, atol=1e-6)
    assert (
        relative_error(in_scipy(task, task.field).outcome(), exact(task)[False]) < 1e-4
    )


@pytest.mark.parametrize("name", TASKS)
def test_a_task_answers_the_same_every_time_and_in_float64(name):
    make, rounds = TASKS[name]
    task = make()
    precise = make().double()
    solver = IN_TORCH["course"]["forward"]
    first, again, double = (forward_once(x, solver) for x in (task, task, precise))
    assert rounds > 0 and torch.equal(first, again)
    assert relative_error(first, double) < 0.05


# --- growth -----------------------------------------------------------------------------


def test_a_slope_is_the_exponent_of_the_last_decade():
    assert slope([1, 10, 100], [7.0, 2.0, 200.0]) == pytest.approx(2)


def test_peak_bytes_are_those_of_what_is_alive_at_once():
    def hundred_in_turn():
        for _ in range(100):
            torch.ones(1000)

    def hundred_together():
        return [torch.ones(1000) for _ in range(100)]

    def hundred_views():
        return torch.ones(1000).expand(100, 1000)

    assert 4_000 <= peak_bytes(hundred_in_turn) <= 8_000
    assert peak_bytes(hundred_together) == 400_000
    assert peak_bytes(hundred_views) == 4_000


def test_the_adjoint_lives_in_the_same_memory_whatever_the_steps():
    few, many = (peak_bytes(with_steps("adjoint", n, "euler")) for n in (10, 100))
    assert few == many


def test_the_interpolated_gradient_keeps_a_polynomial_a_step_and_no_graph():
    peaks = [peak_bytes(with_steps("interpolated", n, "euler")) for n in (50, 100)]
    cubic = 4 * 20 * 2 * 4  # coefficients, rows, components, bytes
    assert cubic <= (peaks[1] - peaks[0]) / 50 < 1.1 * cubic


# --- a GPU ------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_without_a_gpu_the_benchmark_of_the_gpu_says_so(monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(SystemExit, match="needs a GPU"):
        gpu.main()

"""One training by two processes is that of one process with the whole batch."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import several
import torch
from conftest import ROOT
from torch import nn

from course_lib import measuring, parallel, training


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> list[dict]:
    """What each of two processes found; see tests/several.py."""
    folder = tmp_path_factory.mktemp("several")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    made = subprocess.run(
        [sys.executable, *launcher, str(ROOT / "tests" / "several.py"), str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
    )
    assert made.returncode == 0, made.stderr[-4000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_share_every_row_of_a_batch(both):
    assert [found["size"] for found in both] == [2, 2]
    assert [found["rank"] for found in both] == [0, 1]
    assert [found["part"] for found in both] == [[0, 1, 2, 3], [4, 5, 6]]
    assert [found["mean"] for found in both] == [1.5, 1.5]


@pytest.mark.parametrize("solver", [f.__name__ for f in several.SOLVERS])
def test_the_averaged_gradient_is_that_of_the_joint_batch_however_it_is_found(
    both, solver
):
    assert max(found["joint"][solver] for found in both) < 1e-13


def test_parts_that_choose_their_own_steps_agree_to_the_tolerance(both):
    assert 0 < max(found["own_steps"] for found in both) < 1e-6


def test_parts_of_different_sizes_count_by_their_rows(both):
    assert max(found["uneven"] for found in both) < 1e-13


def test_a_norm_over_the_batch_sees_its_part_only_and_one_over_channels_all_it_needs(
    both,
):
    assert max(found["group_norm"] for found in both) < 1e-13
    assert min(found["batch_norm"] for found in both) > 1e-3


def test_gradients_are_not_averaged_if_the_wrapped_model_is_called_past_its_wrapper(
    both,
):
    assert min(found["past"] for found in both) > 1e-2


def test_gradients_are_not_averaged_if_nobody_holds_the_wrapper_until_the_way_back(
    both,
):
    assert min(found["not_held"] for found in both) > 1e-2


def test_a_sharded_layer_has_the_gradient_of_the_joint_batch_by_every_solver(both):
    assert max(e for found in both for e in found["layer_sharded"].values()) < 1e-13


def test_a_sharded_field_is_refused_where_a_gradient_would_be_lost(both):
    for found in both:
        said = found["field_sharded"]
        assert said.pop("odeint") < 1e-13
        assert all("would not get it" in words for words in said.values())


def test_a_process_keeps_its_share_of_sharded_parameters(both):
    assert sum(found["bytes"][1] for found in both) == both[0]["bytes"][0]


def test_a_training_of_two_processes_ends_where_that_of_one_ends(both):
    model, history = several.trained()
    expected = measuring.flat(model.parameters())
    for found in both:
        weights = torch.tensor(found["weights"], dtype=torch.float64)
        torch.testing.assert_close(weights, expected, rtol=1e-6, atol=1e-7)
        assert found["losses"] == pytest.approx(history.losses, rel=1e-6)
    assert both[0]["weights"] == both[1]["weights"]
    assert both[0]["losses"] == both[1]["losses"]


def test_processes_draw_different_numbers(both):
    assert both[0]["drawn"] != both[1]["drawn"]


def test_two_processes_that_were_stopped_go_on_to_the_same_weights(both):
    assert [max(found["stopped"]) for found in both] == [0.0, 0.0]


def test_a_loss_that_is_not_finite_in_one_part_stops_both(both):
    for found in both:
        assert "the loss is nan at step 0" in found["refusals"]["nan"]


def test_a_batch_with_fewer_rows_than_processes_is_refused(both):
    for found in both:
        assert "1 row(s) cannot be shared by 2 processes" in found["refusals"]["small"]


def test_batches_that_each_process_shuffles_for_itself_are_refused(both):
    for found in both:
        for name in ("alone", "alone, all rows"):
            assert "batches must be the same in every process" in found["orders"][name]
        assert found["orders"]["joint"] == ""


def test_the_first_process_alone_writes_the_row_which_says_how_many_there_were(both):
    for found in both:
        (row,) = found["rows"]
        assert row["processes"] == 2
        assert row["command"].startswith("torchrun --nproc-per-node=2 ")


def test_outside_a_group_there_is_one_process_and_nothing_is_wrapped(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    model = nn.Linear(1, 1)
    with parallel.process_group():
        assert (parallel.world_size(), parallel.own_rank()) == (1, 0)
        assert parallel.joint_loss(model, training.fit) is training.fit
        assert parallel.gathered("x") == ["x"]
        x = torch.arange(3)
        assert torch.equal(parallel.part_of(x), x)
        assert parallel.joint_mean(torch.tensor(2.0)) == 2.0


# --- the cost of a step ---------------------------------------------------------------

COST = parallel.StepCost(fixed=0.01, row=1e-3, size=4e6, latency=1e-4, bandwidth=1e9)


def test_one_process_sends_nothing():
    assert COST.parts(100, 1) == (pytest.approx(0.1), 0.01, 0.0)


def test_with_free_messages_the_speed_up_is_the_law_of_amdahl():
    free = dataclasses.replace(COST, latency=0.0, size=0.0)
    one = free.seconds(1000)
    stays = free.fixed / one
    for n in (1, 2, 8, 1000):
        amdahl = 1 / (stays + (1 - stays) / n)
        assert free.speed_up(1000, n) == pytest.approx(amdahl)


def test_the_best_number_of_processes_is_where_the_derivative_of_the_time_vanishes():
    batch = 1 << 20  # so large that rounding up to whole rows does not show
    gain = COST.row * batch - 2 * COST.size / COST.bandwidth
    cost = dataclasses.replace(COST, latency=gain / 2 / 100**2)  # the best is 100
    assert cost.best(batch) == pytest.approx(100, abs=2)


def test_a_slow_wire_makes_one_process_the_best():
    assert dataclasses.replace(COST, bandwidth=1e6).best(64) == 1


def test_the_slowest_part_has_a_row_more():
    assert COST.parts(9, 2)[0] == pytest.approx(5e-3)


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_a_ring_adds_up_in_as_many_messages_as_the_cost_counts(processes):
    """Each process passes on one part a round; after P - 1 rounds one process has the sum
    of each part, after as many more all of them have.
    """
    held = [torch.randn(processes, 4).double() for _ in range(processes)]
    total, sent = torch.stack(held).sum(0), 0
    for turn in range(2 * (processes - 1)):
        gone = [(rank - turn) % processes for rank in range(processes)]
        passed = [held[rank][part].clone() for rank, part in enumerate(gone)]
        for rank, part in enumerate(gone):
            to = held[(rank + 1) % processes]
            summing = turn < processes - 1
            to[part] = to[part] + passed[rank] if summing else passed[rank]
        sent += 1
    for x in held:
        torch.testing.assert_close(x, total)
    cost = parallel.StepCost(0.0, 0.0, 4.0 * processes, latency=0.0, bandwidth=1.0)
    assert cost.seconds(1, processes) == sent * 4.0

"""The recorded trainings on graphs, shortened, and what they found."""

from __future__ import annotations

import argparse

import pytest
import torch

from course_lib import records
from course_lib.models import CoupledField
from tools import train_graphs
from tools.train_graphs import DEPTHS, EACH, MODELS, OSCILLATORS, TASKS


def test_labels_to_train_validate_and_test_are_apart_and_as_many_of_each_class():
    task = TASKS["blocks"](seed=1)
    together = task.train.long() + task.validation.long() + task.test.long()
    assert (together == 1).all()
    for part in (task.train, task.validation):
        assert task.graph.labels[part].bincount().tolist() == [EACH] * 4


@pytest.mark.parametrize("model", MODELS)
def test_every_model_passes_as_many_messages_as_its_depth_says(model):
    graph = TASKS["blocks"](seed=0).graph
    x = torch.zeros(len(graph), train_graphs.WIDTH)
    torch.manual_seed(0)
    part = train_graphs.messages(model, graph, 2)
    A = graph.adjacency() + torch.eye(len(graph))
    near = torch.linalg.matrix_power(A, 2)[0] > 0
    with torch.no_grad():
        before = part(x)
        x[0] = 5.0
        changed = (part(x) != before).any(dim=1)
    assert changed[near].any() and not changed[~near].any()


def test_the_true_oscillators_are_judged_to_be_right_and_their_edges_are_found():
    true, A = train_graphs.circle(3)
    assert A.sum() == 30 and torch.equal(A, A.T)
    found = train_graphs.far_off(true, true)
    assert set(found.values()) == {0.0}
    named = train_graphs.named(true, A)
    assert named["precision"] == named["recall"] == 1.0
    half = CoupledField(true.rates, A * torch.rand(10, 10).round(), torch.sin)
    assert train_graphs.named(half, A)["recall"] < 1.0


def test_equal_weights_count_for_the_root_of_their_number_whatever_their_size():
    _, A = train_graphs.circle(0)
    for size in (0.1, 3.0):
        f = CoupledField(torch.zeros(10), size * A, torch.sin)
        assert train_graphs.edge_count(f).item() == pytest.approx(30**0.5)


def test_a_run_leaves_a_row_for_each_model(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(train_graphs, "STEPS", 2)
    monkeypatch.setattr(train_graphs, "DEPTHS", {"blocks": (1, 3)})
    monkeypatch.setattr(train_graphs, "BLIND", (3,))
    monkeypatch.setitem(train_graphs.WINDOW, "steps", 2)
    for task in ("blocks", "kuramoto"):
        train_graphs.run(argparse.Namespace(seed=5, seeds=1, task=task, model=None))
    rows = records.results("graphs")["rows"]
    nodes = [r for r in rows if r["what"] == "nodes"]
    assert len(nodes) == 3 + 2 * len(MODELS)
    assert {r["model"] for r in rows if r["what"] == "oscillators"} == set(OSCILLATORS)


def test_the_record_has_every_model_at_every_depth_from_its_seeds():
    rows = records.results("graphs")["rows"]
    have = {(r["task"], r["model"], r["depth"], r["seed"]) for r in rows}
    seeds = {"blocks": 3, "digits": 3}
    for task, depths in DEPTHS.items():
        for seed in range(seeds[task]):
            assert {(task, m, d, seed) for m in MODELS for d in depths} <= have
            assert {(task, m, 0, seed) for m in ("none", "propagation")} <= have
    for seed in range(3):
        assert {("blocks", "blind", d, seed) for d in train_graphs.BLIND} <= have
        assert {("kuramoto", m, 0, seed) for m in OSCILLATORS} <= have


def test_in_the_record_deep_plain_layers_fail_on_the_labels_they_were_given():
    rows = records.results("graphs")["rows"]
    deep = [r for r in rows if (r["model"], r["depth"]) == ("gcn", 32)]
    assert all(r["train"] < 0.6 for r in deep)
    flat = [r for r in rows if r["what"] == "nodes" and r["depth"] == 2]
    assert all(r["train"] > 0.9 for r in flat)

"""The recorded race over a long horizon, shortened, and what it found."""

from __future__ import annotations

import argparse
import dataclasses
import math

import pytest
import torch

from course_lib import records
from course_lib.systems import LotkaVolterra
from tools import train_horizons
from tools.train_horizons import ADDED, LIMIT, PLANS, RATES, WAYS, Networks

SEEDS = range(3)
SERIES = train_horizons.observed(SEEDS)


def test_every_seed_reads_the_same_path_through_a_noise_of_its_own():
    t, clean, seen = SERIES
    assert seen.shape == (len(t), len(SEEDS), 2)
    off = seen - clean[:, None]
    assert off.std() == pytest.approx(train_horizons.NOISE, rel=0.05)
    again = train_horizons.observed(range(2, 3))
    torch.testing.assert_close(again.seen[:, 0], seen[:, 2])


def test_the_truth_is_judged_to_be_found():
    law = LotkaVolterra(torch.tensor(RATES).expand(len(SEEDS), 4))
    assert (train_horizons.judged(law, SERIES) < 1e-6).all()
    off = LotkaVolterra(1.04 * torch.tensor(RATES).expand(len(SEEDS), 4))
    assert (train_horizons.judged(off, SERIES) < LIMIT["law"]).all()


def test_a_network_of_a_seed_sees_that_seed_alone():
    f = Networks(SEEDS)
    y = torch.randn(5, len(SEEDS), 2, requires_grad=True)
    (slope,) = torch.autograd.grad(f(torch.zeros(()), y)[:, 1].sum(), y)
    assert slope[:, 1].abs().min() > 0 and not slope[:, [0, 2]].any()


@pytest.mark.parametrize("way", [*WAYS, *ADDED])
def test_every_way_asks_for_as_many_states(way, monkeypatch):
    plan = dataclasses.replace(PLANS["law"], steps=1)
    monkeypatch.setitem(PLANS, "law", plan)
    rows = train_horizons.trained("law", way, SEEDS, SERIES)
    assert [row["evaluations"] for row in rows] == [4 * train_horizons.GAPS] * 3


def test_a_run_leaves_a_row_for_each_seed(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    for name in PLANS:
        monkeypatch.setitem(PLANS, name, dataclasses.replace(PLANS[name], steps=1))
    args = argparse.Namespace(seed=4, seeds=2, model=None, way="growing")
    train_horizons.run(args)
    rows = records.results("horizons")["rows"]
    assert [(r["model"], r["way"], r["seed"]) for r in rows] == [
        (model, "growing", seed) for model in PLANS for seed in (4, 5)
    ]


def test_the_record_holds_every_way_with_twenty_seeds_and_equal_budgets():
    rows = records.results("horizons")["rows"]
    for model, plan in PLANS.items():
        for way in (*WAYS, *ADDED):
            found = [r for r in rows if (r["model"], r["way"]) == (model, way)]
            assert sorted(r["seed"] for r in found) == list(range(20)), (model, way)
            assert {r["evaluations"] for r in found} == {plan.steps * 800}
            for r in found:
                score = math.inf if r["score"] is None else r["score"]
                assert r["success"] == (score < LIMIT[model])


def test_in_the_record_multiple_shooting_finds_more_than_one_shot():
    rows = records.results("horizons")["rows"]

    def wins(model, way):
        return sum(r["success"] for r in rows if (r["model"], r["way"]) == (model, way))

    for model in PLANS:
        assert wins(model, "multiple shooting") > wins(model, "one shot") + 5

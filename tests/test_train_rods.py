"""The training of fields for the double pendulum, and its record."""

from __future__ import annotations

import argparse

import pytest
import torch
from torch import nn

from course_lib import records
from course_lib.models import LagrangianField
from tools import train_rods


def test_the_true_law_has_no_misfit_and_keeps_its_energy():
    found = train_rods.judged(train_rods.TRUE)
    assert found["misfit"] == 0
    assert found["energy_moved_worst"] < 1e-5
    assert found["state_rmse"] < 1e-5
    # M = [[2, c], [c, 1]] with the cosine c of an angle; its eigenvalues at c = 1
    assert found["smallest_mass"] >= 1.5 - 5**0.5 / 2


def test_a_field_that_cannot_be_solved_for_is_said_to_stop():
    class Wild(nn.Module):
        def forward(self, t, y):
            return 1e3 * y * y.square().sum(-1, keepdim=True)

    found = train_rods.judged(Wild())
    assert "SolverError" not in found["stopped"]
    assert "energy_moved_median" not in found


def test_a_run_leaves_a_row_for_each_field(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    short = {name: (make, 2) for name, (make, _) in train_rods.FIELDS.items()}
    short = {name: short[name] for name in ("plain", "mechanical Lagrangian")}
    monkeypatch.setattr(train_rods, "FIELDS", short)
    train_rods.run(argparse.Namespace(seed=4, seeds=1))
    rows = records.results("physics")["rows"]
    assert [(r["model"], r["seed"], r["steps"]) for r in rows] == [
        ("plain", 4, 2),
        ("mechanical Lagrangian", 4, 2),
    ]


@pytest.mark.parametrize("model", ["mechanical Lagrangian", "any Lagrangian"])
def test_a_field_with_a_law_of_its_own_starts_with_a_mass_matrix(model):
    torch.manual_seed(0)
    f = train_rods.FIELDS[model][0]().double()
    assert isinstance(f, LagrangianField)
    M = f.mass(train_rods.places(50, 0))
    torch.testing.assert_close(M, M.mT)


def test_in_the_record_only_the_lagrangian_of_a_mechanical_form_keeps_its_mass_matrix():
    rows = [
        r for r in records.results("physics")["rows"] if r["task"] == train_rods.TASK
    ]
    assert {r["seed"] for r in rows} == {0, 1, 2}
    assert {r["model"] for r in rows} == set(train_rods.FIELDS)
    for row in rows:
        if row["model"] == "mechanical Lagrangian":
            assert row["smallest_mass"] > 0
            assert "stopped" not in row

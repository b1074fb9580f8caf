"""The recorded trainings of fields with and without a law, shortened, and what they found."""

from __future__ import annotations

import argparse
import dataclasses

import pytest
import torch

from course_lib import records
from course_lib.data import generator
from course_lib.models import HamiltonianField, two_body_energy
from tools import train_physics
from tools.train_physics import TASKS


@pytest.mark.parametrize("name", TASKS)
def test_the_truth_keeps_its_energy_and_is_judged_to_be_right(name):
    found = train_physics.judged(TASKS[name].f, TASKS[name])
    assert found["energy_mse"] < 1e-9
    assert found["state_rmse"] < 1e-3


def test_two_bodies_set_out_on_opposite_sides_and_stay_together():
    y = train_physics.orbits(200, generator(0))
    torch.testing.assert_close(y[:, :2], -y[:, 2:4])
    torch.testing.assert_close(y[:, 4:6], -y[:, 6:])
    assert (two_body_energy(y) < 0).all()  # bound


def test_derivatives_are_those_of_the_clean_states_and_noise_is_in_the_states_alone():
    task = TASKS["pendulum"]
    t, ys, slopes = task.observed(seed=0, noise=0.0)
    _, noisy, same = task.observed(seed=0, noise=0.1)
    assert ys.shape == (45, 25, 2) and len(t) == 45
    torch.testing.assert_close(slopes, task.f(0.0, ys))
    torch.testing.assert_close(same, slopes)
    assert (noisy - ys).std() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("name", TASKS)
def test_a_field_with_a_law_has_about_as_many_weights_as_the_plain_one(name):
    law, plain = (train_physics.field(name, model) for model in ("law", "plain"))
    assert isinstance(law, HamiltonianField)
    sizes = [sum(p.numel() for p in f.parameters()) for f in (law, plain)]
    assert 0.9 < sizes[0] / sizes[1] < 1.1


@pytest.mark.parametrize("source", ["derivatives", "paths"])
def test_a_run_leaves_a_row_for_each_field(monkeypatch, tmp_path, source):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    short = dataclasses.replace(TASKS["pendulum"], steps=3, test=(1.0, 5))
    monkeypatch.setitem(TASKS, "pendulum", short)
    monkeypatch.setitem(train_physics.WINDOW, "steps", 3)
    monkeypatch.setattr(train_physics, "PLAN", (("pendulum", 0.1, source),))
    train_physics.run(argparse.Namespace(seed=4, seeds=1, task=None))
    rows = records.results("physics")["rows"]
    assert [(r["model"], r["seed"], r["steps"]) for r in rows] == [
        ("law", 4, 3),
        ("plain", 4, 3),
    ]
    assert all(r["from"] == source and r["energy_mse"] >= 0 for r in rows)


def test_in_the_record_a_law_keeps_the_energy_better_than_a_plain_field_on_every_task():
    rows = [r for r in records.results("physics")["rows"] if r["task"] in TASKS]
    scores = {
        (r["task"], r["noise"], r["from"], r["seed"], r["model"]): r["energy_mse"]
        for r in rows
    }
    pairs = {key[:-1] for key in scores}
    assert {(task, noise, source, 0) for task, noise, source in train_physics.PLAN} <= (
        pairs
    )
    for pair in pairs:
        if (*pair, "plain") in scores:
            assert scores[*pair, "law"] < scores[*pair, "plain"], pair

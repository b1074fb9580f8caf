"""The recorded trainings with noise, shortened, and what they found."""

from __future__ import annotations

import argparse
import math

import pytest
import torch

from course_lib import records
from course_lib.models import NeuralSDE, euler_log_density
from tools import train_noise


def test_a_neural_sde_has_a_positive_diffusion_and_sees_a_season():
    torch.manual_seed(0)
    model = NeuralSDE(1, (8,), period=365.25).double()
    y = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    for t in (0.0, torch.linspace(0, 300, 7, dtype=torch.float64)):
        assert model.drift(t, y).shape == model.diffusion(t, y).shape == (7, 1)
        assert (model.diffusion(t, y) > 0.01).all()
    torch.testing.assert_close(model.drift(10.0, y), model.drift(375.25, y))
    assert (model.drift(10.0, y) - model.drift(100.0, y)).abs().min() > 1e-4
    alone = NeuralSDE(1, (8,)).double()
    assert torch.equal(alone.drift(0.0, y), alone.drift(9.0, y))


def test_the_density_of_a_step_is_that_of_a_normal_law():
    y, y_next = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.9, 0.2]])
    found = euler_log_density(
        lambda t, y: -y, lambda t, y: torch.full_like(y, 0.7), 0.0, 0.25, y, y_next
    )
    law = torch.distributions.Normal(0.75 * y, 0.7 * math.sqrt(0.25))
    torch.testing.assert_close(found, law.log_prob(y_next).sum(-1))


def test_least_squares_finds_the_pull_and_the_noise_of_a_linear_series():
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, generator=g, dtype=torch.float64)
    keep, size = math.exp(-0.8), 0.6 * math.sqrt((1 - math.exp(-1.6)) / 1.6)
    x = torch.randn(20_000, generator=g, dtype=torch.float64)
    f, s = train_noise.ornstein_uhlenbeck(x, 0.3 + keep * (x - 0.3) + size * noise)
    zero = torch.zeros(1, dtype=torch.float64)
    assert s(0.0, zero).item() == pytest.approx(0.6, rel=0.02)
    assert f(0.0, zero).item() == pytest.approx(0.8 * 0.3, abs=0.02)


def test_the_years_of_the_temperature_do_not_overlap():
    parts = train_noise.temperature()
    assert [len(day) for day, _, _ in parts] == [730, 364, 364]
    assert (
        parts[0][0].max() < parts[1][0].min() and parts[1][0].max() < parts[2][0].min()
    )
    _, x, x_next = parts[0]
    assert torch.equal(x[1:], x_next[:-1])
    assert abs(x.mean()) < 0.01


def test_a_model_is_kept_where_the_held_part_likes_it_best():
    model = NeuralSDE(1, (2,))
    weight = model.drift_net[0].weight

    def score(*part):
        # Held rows fall off after three looks, seen ones go on rising.
        return weight.sum() if part[0] == "seen" else -(weight.sum() - 1.0).square()

    with torch.no_grad():
        weight.fill_(0.0)
    how = dict(steps=60, lr=0.02)
    best, scores, at = train_noise.stopped(model, score, ("seen",), ("held",), **how)
    assert at == 10 * (1 + scores.index(min(scores)))
    assert 0 < at < 60
    assert best.drift_net[0].weight.sum() < weight.sum()


@pytest.mark.parametrize("task", ["temperature", "layers"])
def test_a_run_leaves_a_row_for_each_model(monkeypatch, tmp_path, task):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(train_noise, "NOISES", (0.0, 1.0))
    for name in ("fit_temperature", "fit_layers"):
        whole = getattr(train_noise, name)
        short = lambda *args, whole=whole: whole(*args, steps=10)  # noqa: E731
        monkeypatch.setattr(train_noise, name, short)
    train_noise.run(argparse.Namespace(seed=4, seeds=1, task=task))
    rows = records.results("noise")["rows"]
    assert len(rows) == (3 if task == "temperature" else 8)
    assert all(math.isfinite(row["test_nll"]) for row in rows)


def test_in_the_record_a_density_beats_a_single_step_from_every_seed():
    rows = records.results("noise")["rows"]
    nll = {(r["task"], r["model"], r["seed"]): r.get("test_nll") for r in rows}
    for seed in range(5):
        order = ("truth", "neural, density", "neural, one step", "ornstein-uhlenbeck")
        scores = [nll["bistable", model, seed] for model in order]
        assert scores == sorted(scores)
    steps = [r["largest_difference"] for r in rows if r["task"] == "torchsde"]
    assert len(steps) == 3
    assert max(steps) < 1e-12

"""The trainings behind the digits from noise, shortened, and how they are judged."""

from __future__ import annotations

import argparse
import math

import pytest
import torch
from torch import nn

from course_lib import data, flows, records, training
from tools import train_matching


def order(**settings) -> argparse.Namespace:
    return argparse.Namespace(seed=0, epochs=1, lr=1e-3, **settings)


@pytest.fixture
def few(monkeypatch):
    """Forty random images in the place of the digits, and a judge who looks at nothing."""
    images = torch.rand(40, 1, 28, 28, generator=data.generator(0))
    digits = data.ImageSet(images, torch.arange(40) % 10, "forty")
    monkeypatch.setattr(data, "mnist", lambda train: digits)
    monkeypatch.setattr(train_matching, "floors", lambda vae, digits: {"looked": 1})
    monkeypatch.setattr(train_matching, "judged", lambda *_: {"nearest": {}})
    return digits


def test_the_autoencoder_is_stored_in_half_precision_with_its_codes_settled(few):
    training.seed(0)
    vae, history, found = train_matching.train_vae(order())
    assert len(history.losses) == 1
    assert {p.dtype for p in vae.state_dict().values()} == {torch.float16}
    assert found["train"] == "forty" and found["looked"] == 1
    codes = vae.float().standardised(vae.posteriors(few.images).mean)
    torch.testing.assert_close(codes.mean(dim=0), torch.zeros(16), atol=0.01, rtol=0)


def test_what_is_stored_of_a_flow_is_the_average_of_its_weights(few, monkeypatch):
    training.seed(0)
    vae = flows.DigitVAE()
    vae.settle(few.images)
    monkeypatch.setattr(train_matching, "stored_vae", lambda: vae)
    training.seed(1)
    start = flows.digit_velocity().state_dict()
    training.seed(1)
    f, _, found = train_matching.train_flow(order())
    # One batch: the average has seen the weights before the step alone.
    for key, value in f.state_dict().items():
        assert torch.equal(value, start[key].half()), key
    assert found["model"] == "latent flow"
    assert found["nearest"].keys() == {"decoded test images"}


def test_a_batch_draws_its_codes_and_drops_some_labels():
    vae, seen = flows.DigitVAE(), []

    class Field(nn.Module):
        classes = 10

        def forward(self, t, y, labels):
            seen.append((t, y, labels))
            return torch.zeros_like(y)

    training.seed(0)
    mean, labels = torch.zeros(500, 16), torch.arange(500) % 10
    loss = train_matching.latent_loss(vae, Field(), mean, torch.zeros(500, 16), labels)
    ((t, _, shown),) = seen
    assert t.shape == (500, 1) and len(t.unique()) > 400
    assert 0.05 < (shown == 10).float().mean() < 0.2
    assert loss.item() == pytest.approx(2 * 16, rel=0.1)  # noise less a normal code


def test_every_solver_is_compared_and_steps_of_equal_length_fill_the_time():
    ways = train_matching.ways()
    assert {about["method"] for about, _ in ways} == {"euler", "heun", "rk4", "dopri5"}
    for about, settings in ways:
        if "steps" in about:
            step = dict(method=about["method"], step_size=1 / about["steps"])
            assert settings == step


class Label(nn.Module):
    """Each label has its speed; none has speed 0."""

    classes = 10

    def forward(self, t, y, labels):
        return torch.where(labels < 10, labels, 0).to(y)[:, None].expand_as(y)


@pytest.mark.parametrize(("weight", "calls"), [(1.0, 4), (1.5, 8)])
def test_guidance_doubles_the_evaluations_that_are_counted(weight, calls):
    z = train_matching.noise(2)
    ends, found = train_matching.made(
        Label(), lambda y: y, z, weight, method="heun", step_size=0.5
    )
    assert found == calls
    moved = weight * train_matching.labels_of(z)[:, None]
    torch.testing.assert_close(ends, z + moved)


def test_the_nearest_images_of_training_images_are_themselves(few):
    same = train_matching.nearest(few.images)
    assert max(same.values()) < 1e-3
    brighter = few.images + 0.1
    far = train_matching.nearest(brighter)
    assert far == pytest.approx(dict.fromkeys(far, 2.8), rel=1e-3)  # 0.1 √784


def test_the_spread_within_a_class_sees_neither_other_classes_nor_what_is_misread():
    features = torch.randn(1000, 4, generator=data.generator(0))
    labels = torch.arange(1000) % 10
    near = train_matching.spread_within(features, labels, labels)
    assert near == pytest.approx(4, rel=0.1)
    far = train_matching.spread_within(features + 100 * labels[:, None], labels, labels)
    assert far == pytest.approx(near, rel=1e-3)
    read = labels.clone()
    read[:20], features[:20] = 10, 1000.0
    strangers = train_matching.spread_within(features, labels, read)
    assert strangers == pytest.approx(near, rel=0.1)
    few = train_matching.spread_within(features, labels, torch.zeros_like(labels))
    assert math.isnan(few)  # nine classes have none


def test_the_recorded_flows_are_three_seeds_of_one_recipe_judged_in_the_same_ways():
    rows = records.results("flow_matching")["rows"]
    (vae,) = (row for row in rows if row["model"] == "vae")
    runs = [row for row in rows if row["model"] == "latent flow"]
    assert [run["seed"] for run in runs] == [0, 1, 2]
    assert len({(run["recipe"], run["epochs"], run["test"]) for run in runs}) == 1
    about = ("guidance", "method", "steps", "tolerance", "calls")
    every, *fewer = (
        {tuple(s.get(key) for key in about) for s in run["samples"]} for run in runs
    )
    ways = [way for way, _ in train_matching.ways()]
    assert len(every) == len(train_matching.GUIDANCE) * len(ways)
    assert all(some <= every for some in fewer)  # recorded when fewer were asked for
    for weight, count in ((1.0, 5), (1.5, len(ways)), (2.0, 1), (3.0, 1)):
        assert all(sum(w == weight for w, *_ in some) >= count for some in fewer)
    assert vae["test"] == runs[0]["test"]
    assert vae["real"]["distance"] < vae["decoded"]["distance"]
    for run in runs:
        few = [s for s in run["samples"] if s["guidance"] == 1.5 and s["calls"] <= 8]
        assert max(s["accuracy"] for s in few if s["method"] == "heun") >= 0.99
        assert run["command"].startswith("python -m tools.pretrain matching ")

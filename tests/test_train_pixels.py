"""The training behind the digits among the pixels, shortened."""

from __future__ import annotations

import argparse

import pytest
import torch

from course_lib import data, flows, records, training
from tools import train_matching, train_pixels


@pytest.fixture
def few(monkeypatch, tmp_path):
    """Forty random images in the place of the digits, and a judge who looks at nothing;
    what was asked for: True for the full set.
    """
    asked = []
    images = torch.rand(40, 1, 28, 28, generator=data.generator(0))

    def drawn(train: bool, *, full: bool) -> data.ImageSet:
        assert train
        asked.append(full)
        return data.ImageSet(images, torch.arange(40) % 10, "forty")

    monkeypatch.setattr(data, "mnist", drawn)
    monkeypatch.setattr(train_matching, "judged", lambda *_: {"test": "forty"})
    monkeypatch.setattr(train_pixels, "UNFINISHED", tmp_path / "new" / "pixels.pt")
    return asked


@pytest.mark.parametrize("full", [False, True])
def test_what_is_stored_is_the_average_of_the_weights_and_kept_after_every_pass(
    few, full
):
    training.seed(0)
    start = flows.pixel_velocity().state_dict()
    training.seed(0)
    args = argparse.Namespace(seed=0, epochs=1, lr=1e-3, full=full)
    f, history, found = train_pixels.train(args)
    kept = torch.load(train_pixels.UNFINISHED)
    assert len(history.losses) == 1 and few == [full]
    # One batch: the average has seen the weights before the step alone.
    for key, value in f.state_dict().items():
        assert torch.equal(value, start[key].half()), key
        assert torch.equal(kept[key].cpu(), start[key]), key
    assert found["model"] == "pixel flow" and found["test"] == "forty"


def test_the_recorded_flow_among_pixels_is_judged_as_those_among_codes_are():
    rows = records.results("flow_matching")["rows"]
    latent, *_ = (row for row in rows if row["model"] == "latent flow")
    runs = [row for row in rows if row["model"] == "pixel flow"]
    assert [run["seed"] for run in runs] == list(range(len(runs)))
    about = ("guidance", "method", "steps", "tolerance")

    def ways(run):
        return [
            [s.get(key) for key in about]
            for s in run["samples"]
            if s["guidance"] in train_pixels.GUIDANCE
        ]

    for run in runs:
        assert ways(run) == ways(latent)
        assert run["test"] == latent["test"]
        assert run["nearest"]["test images"] == latent["nearest"]["test images"]
        assert run["command"].startswith("python -m tools.pretrain pixels ")
    assert runs

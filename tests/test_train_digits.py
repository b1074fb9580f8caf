"""The long trainings of the digit classifiers: what they count, and what they write."""

import math

import pytest
import torch

from course_lib import data, models, training
from tools import common, train_digits


def test_calls_are_counted_while_asked_for_and_only_of_the_vector_field():
    model, images = models.digit_model("rknet"), torch.zeros(1, 1, 28, 28)
    with train_digits.counted_calls(model) as calls:
        model(images)
    assert calls[0] == 8  # two steps of RK4
    model(images)
    assert calls[0] == 8


def test_counts_are_averaged_over_stretches():
    assert train_digits.thinned([1, 3, 5, 7, 9], every=2) == [2.0, 6.0]
    assert train_digits.thinned([0, 0, 0, 0], every=2) == []


def test_a_model_without_a_solver_has_none_to_name_and_none_to_change():
    mlp = models.digit_model("mlp")
    assert train_digits.solver_of(mlp) == ""
    assert train_digits.robustness(mlp, data.mnist(train=False)) == {}
    odenet = models.digit_model("odenet")
    assert "odeint_adjoint, method bosh3" in train_digits.solver_of(odenet)


def test_a_row_takes_the_place_of_the_same_model_with_the_same_seed(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(training, "RESULTS", tmp_path / "new")
    for row in (
        {"model": "mlp", "seed": 0, "test_accuracy": 0.9},
        {"model": "mlp", "seed": 1, "test_accuracy": 0.8},
        {"model": "no body", "seed": 0, "test_accuracy": 0.7},
        {"model": "mlp", "seed": 1, "test_accuracy": 0.6},
    ):
        common.keep("mnist", row, by=("model", "seed"))
    common.write("mnist", common.kept("mnist") | {"costs": 3})
    found = training.results("mnist")
    assert [(r["model"], r["seed"], r["test_accuracy"]) for r in found["rows"]] == [
        ("mlp", 0, 0.9),
        ("mlp", 1, 0.6),
        ("no body", 0, 0.7),
    ]
    assert found["costs"] == 3


def test_jittered_digits_stay_digits_and_move_by_pixels():
    images = data.mnist(train=False).images[:64]
    torch.manual_seed(0)
    moved = train_digits.jittered(images)
    assert moved.shape == images.shape
    assert moved.min() >= 0 and moved.max() <= 1 + 1e-6

    def centre(a):  # of the ink, across
        return (a.sum(2) * torch.arange(28.0)).sum(2) / a.sum((2, 3))

    shift = (centre(moved) - centre(images)).abs()
    assert shift.mean() > 0.5 and shift.max() < 2 + 14 * math.sin(math.radians(10)) + 1


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("mlp", "float32"),
        ("odenet", "stem in bfloat16"),
        ("rknet", "bfloat16"),
        ("no body", "bfloat16"),
    ],
)
def test_scores_in_the_precision_of_a_model_are_close_to_those_in_float32(
    name, precision
):
    training.seed(0)
    assert train_digits.precision(models.digit_model(name)) == precision
    model, images = models.digit_model(name), data.mnist(train=False).images[:8]
    with torch.no_grad():
        exact = model(images)
        torch.testing.assert_close(
            train_digits.scores(model, images), exact, rtol=0, atol=0.1
        )


def test_every_recorded_model_was_trained_on_all_digits_and_says_how():
    rows = training.results("mnist")["rows"]
    assert {row["model"] for row in rows} == set(models.DIGIT_MODELS)
    for row in rows:
        assert row["command"].startswith("python -m tools.pretrain mnist ")
        assert "60,000" in row["train"] and "10,000" in row["test"]
        assert {"seed", "epochs", "device", "seconds", "recipe"} <= row.keys()
        assert 0.9 < row["test_accuracy"] < 1
        size = models.count_parameters(models.digit_model(row["model"]))
        assert row["parameters"] == size

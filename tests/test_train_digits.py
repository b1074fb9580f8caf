"""The long trainings of the digit classifiers: what they count, and what they write."""

import math

import pytest
import torch

from course_lib import data, models, records, training
from course_lib.measuring import count_parameters, counted_calls
from tools import train_digits


@pytest.mark.parametrize(
    ("name", "fields", "calls"),
    [("rknet", 1, 8), ("resnet", 6, 6), ("one block", 1, 1), ("mlp", 0, 0)],
)
def test_the_calls_of_a_classifier_are_those_of_its_vector_fields(name, fields, calls):
    model = models.digit_model(name)
    found = train_digits.fields_of(model)
    with counted_calls(*found) as tally:
        model(torch.zeros(1, 1, 28, 28))
    assert (len(found), tally.calls) == (fields, calls)


def test_a_model_without_a_solver_has_none_to_name_and_none_to_change():
    mlp = models.digit_model("mlp")
    assert train_digits.solver_of(mlp) == ""
    assert train_digits.robustness(mlp, data.mnist(train=False)) == {}
    odenet = models.digit_model("odenet")
    assert "odeint_adjoint, method bosh3" in train_digits.solver_of(odenet)


def test_jittered_digits_stay_digits_and_move_by_pixels():
    images = data.mnist(train=False).images[:64]
    torch.manual_seed(0)
    moved = train_digits.jittered(images)
    assert moved.shape == images.shape
    assert moved.min() >= 0
    assert moved.max() <= 1 + 1e-6

    def centre(a):  # of the ink, across
        return (a.sum(2) * torch.arange(28.0)).sum(2) / a.sum((2, 3))

    shift = (centre(moved) - centre(images)).abs()
    assert shift.mean() > 0.5
    assert shift.max() < 2 + 14 * math.sin(math.radians(10)) + 1


@pytest.mark.parametrize("name", ["mlp", "odenet", "no body"])
def test_scores_of_a_stem_in_bfloat16_are_close_to_those_in_float32(name):
    training.seed(0)
    model, images = models.digit_model(name), data.mnist(train=False).images[:8]
    with torch.no_grad():
        exact = model(images)
        torch.testing.assert_close(
            train_digits.scores(model, images), exact, rtol=0, atol=0.1
        )


@pytest.mark.parametrize("name", ["one block", "resnet", "rknet", "odenet"])
def test_every_body_computes_in_float32(name):
    seen = []
    model = models.digit_model(name)
    for f in train_digits.fields_of(model):
        f.conv1.register_forward_hook(lambda _, args, out: seen.append(out.dtype))
    train_digits.scores(model, torch.zeros(1, 1, 28, 28))
    assert set(seen) == {torch.float32}


def test_the_start_is_the_weight_of_the_last_norm_of_every_field():
    for start, expected in ((None, 0.1), (0.5, 0.5)):
        (f,) = train_digits.fields_of(train_digits.build("rknet", start))
        assert (f.norm3.weight == expected).all()
    fields = train_digits.fields_of(train_digits.build("resnet", None))
    assert all((f.norm3.weight == 1).all() for f in fields)


def test_every_recorded_model_was_trained_on_all_digits_and_says_how():
    rows = records.results("mnist")["rows"]
    judged = [row for row in rows if not row["held_out"]]
    assert {row["model"] for row in judged} == set(models.DIGIT_MODELS)
    for row in rows:
        assert row["command"].startswith("python -m tools.pretrain mnist ")
        assert "60,000" in row["train"]
        assert {"seed", "epochs", "device", "seconds", "recipe"} <= row.keys()
        size = count_parameters(models.digit_model(row["model"]))
        assert row["parameters"] == size
    for row in judged:
        assert "10,000" in row["test"]
        assert 0.9 < row["test_accuracy"] < 1


def test_a_run_misreads_as_many_test_digits_as_its_accuracy_says():
    rows = [r for r in records.results("mnist")["rows"] if "misread" in r]
    bodies = {row["model"] for row in rows}
    assert bodies == set(models.DIGIT_MODELS) - {"mlp"}
    for row in rows:
        assert len(set(row["misread"])) == len(row["misread"])
        assert row["test_accuracy"] == pytest.approx(1 - len(row["misread"]) / 10_000)


def test_what_is_held_out_judges_a_run_in_the_place_of_the_test_digits():
    held = [row for row in records.results("mnist")["rows"] if row["held_out"]]
    assert held
    for row in held:
        assert 0.9 < row["held_accuracy"] < 1
        assert "test_accuracy" not in row


def test_an_average_of_the_weights_forgets_the_early_ones():
    weight = torch.nn.Linear(1, 1, bias=False)
    averaged = train_digits.average_of(weight, 0.9)
    for value in (1.0, 2.0, 4.0):
        torch.nn.init.constant_(weight.weight, value)
        averaged.update_parameters(weight)
    # 1, then a tenth of the way to 2, then a tenth of the way to 4
    assert averaged.module.weight.item() == pytest.approx(1.1 + 0.1 * 2.9)
    assert train_digits.average_of(weight, None) is None

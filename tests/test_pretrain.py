"""The long trainings, shortened: what they count, what they record and where it goes."""

from __future__ import annotations

import argparse

import pytest
import torch
from torch import nn

from course_lib import data, models, records, training
from tools import pretrain, train_digits, train_fashion, train_starts


def order(**settings) -> argparse.Namespace:
    return argparse.Namespace(seed=0, epochs=2, lr=1e-3, **settings)


@pytest.mark.parametrize("name", [None, "line"])
def test_a_training_leaves_a_row_and_weights_only_under_a_name(
    monkeypatch, tmp_path, name
):
    monkeypatch.setattr(records, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    model = nn.Linear(3, 2)

    def train(args):
        history = training.History(losses=(3.0, 1.0), epochs=(), seconds=1.26)
        return model, history, {"train": "nothing", "calls": [args.epochs]}

    pretrain.pretrain(order(train=train, results="lines", by=("seed",), name=name))
    (row,) = records.results("lines")["rows"]
    expected = {"seed": 0, "seconds": 1.3, "epochs": 2, "parameters": 8}
    assert row | expected == row
    assert (row["final_loss"], row["calls"]) == (2.0, [2])
    assert {"command", "device", "torch", "train"} <= row.keys()
    if name:
        assert records.load_model(nn.Linear(3, 2), name) == row
    else:
        assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("name", "there", "back"), [("rknet", 8, 0), ("one block", 1, 0), ("mlp", 0, 0)]
)
def test_a_digit_classifier_counts_its_field_there_and_back(name, there, back):
    training.seed(0)
    model, images = models.digit_model(name), torch.rand(4, 1, 28, 28)
    batches = training.minibatches(images, torch.arange(4), size=2)
    history, forward, backward = train_digits.descend(model, batches, order())
    assert len(history.losses) == 4
    assert forward == 4 * [there]
    assert backward == 3 * [back]


def test_the_adjoint_calls_the_field_of_a_digit_classifier_on_the_way_back_too():
    training.seed(0)
    model, images = models.digit_model("odenet"), torch.rand(2, 1, 28, 28)
    batches = training.minibatches(images, torch.arange(2), size=1)
    _, forward, backward = train_digits.descend(model, batches, order())
    assert len(forward) == 4
    assert len(backward) == 3
    assert min(*forward, *backward) > 0


def halves_asked(monkeypatch, name: str) -> list[bool]:
    """Put twelve random images in the place of a set; what will be asked for: True for
    the training half, False for the test half.
    """
    asked = []

    def drawn(train: bool, *, full: bool) -> data.ImageSet:
        assert full
        asked.append(train)
        return clothes(train)

    monkeypatch.setattr(data, name, drawn)
    return asked


@pytest.mark.parametrize("hold", [0, 4])
def test_the_test_digits_are_looked_at_only_if_none_are_held_out(monkeypatch, hold):
    asked = halves_asked(monkeypatch, "mnist")
    training.seed(0)
    args = order(model="one block", start=None, average=None, hold=hold)
    _, history, found = train_digits.train(args)
    assert len(history.losses) == 2  # two passes of one batch
    assert asked == ([True] if hold else [True, False])
    assert ("held_accuracy" in found) == bool(hold)
    assert ("test_accuracy" in found) == ("misread" in found) == (not hold)


@pytest.mark.parametrize("rate", ["cycle", "constant"])
def test_the_held_out_clothes_are_looked_at_now_and_then_and_at_the_end(
    monkeypatch, rate
):
    monkeypatch.setattr(train_fashion, "BETWEEN", 2)
    training.seed(0)
    clothes = data.ImageSet(torch.rand(6, 1, 28, 28), torch.arange(6), "six")
    mean, std = clothes.images.mean().item(), clothes.images.std().item()
    images, labels = half = train_fashion.scaled(clothes, mean, std)
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std().item() == pytest.approx(1, rel=1e-5)
    assert labels.tolist() == [0, 1, 2, 3, 4, 5]
    model, args = models.fashion_odenet().to(training.device()), order(rate=rate)
    args.epochs = 3  # of one batch each
    history, calls, scores = train_fashion.descend(model, half, half, args)
    assert len(history.losses) == len(calls) == 3
    assert min(calls) >= 8  # tsit5: two to begin with, six a step
    assert [step for step, _ in scores] == [0, 2, 3]
    assert all(0 <= share <= 1 for _, share in scores)


def test_two_starts_of_a_seed_differ_in_the_last_norm_of_the_field_alone():
    found = []
    for start in train_starts.STARTS:
        training.seed(0)
        found.append(train_starts.model_from(start).state_dict())
    usual, slow = found
    (differs,) = [key for key in usual if not torch.equal(usual[key], slow[key])]
    assert differs == "body.f.norm3.weight"
    torch.testing.assert_close(slow[differs], 0.1 * usual[differs])


def test_a_start_counts_the_solve_of_every_step():
    training.seed(0)
    model = train_starts.model_from(0.1)
    calls, losses = train_starts.descend(model, order(steps=2))
    assert len(calls) == len(losses) == 2
    assert all(
        (n - 2) % 3 == 0 for n in calls
    )  # bosh3: two to begin with, three a step


def test_the_recorded_starts_are_three_seeds_of_each_and_say_how_they_were_made():
    rows = records.results("starts")["rows"]
    assert sorted((row["start"], row["seed"]) for row in rows) == sorted(
        (start, seed) for start in train_starts.STARTS for seed in range(3)
    )
    for row in rows:
        assert row["command"].startswith("python -m tools.pretrain starts ")
        assert len(row["calls"]) == 10 * len(row["losses"]) == 150
        assert {"device", "seconds", "recipe", "solver", "train"} <= row.keys()


def test_without_held_out_clothes_there_is_nothing_to_look_at():
    training.seed(0)
    half = torch.rand(2, 1, 28, 28), torch.arange(2)
    none = half[0][:0], half[1][:0]
    model, args = train_fashion.build("linear"), order(rate="constant")
    _, calls, scores = train_fashion.descend(model, half, none, args)
    assert (len(calls), scores) == (2, [])


def test_a_field_that_ends_in_a_relu_has_no_negative_derivative():
    training.seed(0)
    state = torch.randn(3, 2028)
    ends = {
        end: train_fashion.build(end)[3].f(0.0, state) for end in ("linear", "relu")
    }
    assert ends["relu"].min() == 0
    assert ends["linear"].min() < 0
    assert ends["relu"].max() > 0


def clothes(train: bool) -> data.ImageSet:
    generator = data.generator(int(train))
    images = torch.rand(12, 1, 28, 28, generator=generator)
    return data.ImageSet(images, torch.arange(12) % 10, "train" if train else "test")


@pytest.mark.parametrize("name", [None, "tailor"])
def test_the_test_clothes_are_looked_at_only_for_a_model_that_is_stored(
    monkeypatch, name
):
    asked = halves_asked(monkeypatch, "fashion_mnist")
    training.seed(0)
    args = order(rate="constant", end="linear", images=10, hold=4, name=name)
    _, history, found = train_fashion.train(args)
    assert len(history.losses) == 2  # two passes of one batch of six
    assert (found["images"], found["held_out"]) == (10, 4)
    assert [step for step, _ in found["held_accuracy_by_step"]] == [0, 2]
    assert asked == ([True, False] if name else [True])
    assert ("test_accuracy" in found) == bool(name)


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_classifier_that_is_stopped_counts_and_learns_on_as_if_it_had_not_been(
    monkeypatch, tmp_path, average
):
    images, labels = (
        torch.rand(8, 1, 28, 28, generator=data.generator(0)),
        torch.arange(8),
    )
    settings = dict(save=str(tmp_path / "here.pt"), every=1, model="odenet")

    def descend(stop=None, **saved):
        training.seed(0)
        model = models.digit_model("odenet")
        mean = train_digits.average_of(model, average)
        seen = []

        def jittered(batch):
            if len(seen) == stop:
                raise KeyboardInterrupt
            seen.append(1)
            return batch + 0.1 * torch.rand_like(batch)

        monkeypatch.setattr(train_digits, "jittered", jittered)
        batches = training.minibatches(images, labels, size=4)
        _, *calls = train_digits.descend(model, batches, order(**saved), mean)
        return [*model.parameters(), *(mean.parameters() if mean else ())], calls

    weights, calls = descend()
    with pytest.raises(KeyboardInterrupt):
        descend(stop=2, **settings)
    resumed, counted = descend(**settings)
    assert all(torch.equal(p, q) for p, q in zip(resumed, weights, strict=True))
    assert counted == calls


def test_a_save_belongs_to_what_decides_the_weights():
    def about(**settings):
        made = order(save="x.pt", every=1, model="mlp", **settings)
        return train_digits.saves_of(made, {}).about

    assert about(threads=1) == about(threads=2)
    assert about(start=None) != about(start=0.1)
    assert train_digits.saves_of(order(save=None), {}) is None

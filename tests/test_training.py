"""The training loop, one cycle of the learning rate, and minibatches."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from functools import partial

import pytest
import torch
from torch import nn

from course_lib import training

X = torch.linspace(-1, 1, 10)[:, None]
LINE = 2 * X + 1


def run_of_a_line(seed: int = 0, **settings):
    """A linear layer fitted to ten points of a line: the layer and its history."""
    training.seed(seed)
    layer = nn.Linear(1, 1)
    batches = training.minibatches(X, LINE, size=4, seed=seed)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
    history = training.fit(
        layer,
        batches,
        lambda x, y: (layer(x) - y).square().mean(),
        optimizer,
        **settings,
    )
    return layer, history


# --- the loop -------------------------------------------------------------------------


def test_fitting_lowers_the_loss_to_the_solution():
    layer, history = run_of_a_line(epochs=30)
    assert history.losses[-1] < 1e-6 * history.losses[0]
    assert layer.weight.item() == pytest.approx(2, abs=1e-3)
    assert layer.bias.item() == pytest.approx(1, abs=1e-3)


def test_a_seed_fixes_the_whole_run():
    (first, one), (second, two), (_, other) = (
        run_of_a_line(3),
        run_of_a_line(3),
        run_of_a_line(4),
    )
    assert one.losses == two.losses
    assert torch.equal(first.weight, second.weight)
    assert one.losses != other.losses


def test_the_history_tells_every_step_and_every_epoch():
    notes = iter("abc")
    _, history = run_of_a_line(epochs=3, after_epoch=lambda: next(notes))
    assert len(history.losses) == 3 * 3  # ten rows in batches of four
    assert all(isinstance(loss, float) for loss in history.losses)
    assert history.epochs == ("a", "b", "c")
    assert history.seconds > 0
    with pytest.raises(FrozenInstanceError):
        history.seconds = 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_before_it_spoils_the_parameters(value):
    layer, seen = nn.Linear(1, 1), []

    def loss(x, y):
        seen.append(layer.weight.item())
        return (layer(x) - y).square().mean() * (value if len(seen) == 3 else 1.0)

    batches = training.minibatches(X, LINE, size=4)
    with pytest.raises(FloatingPointError, match=f"the loss is {value} at step 2"):
        training.fit(layer, batches, loss, torch.optim.SGD(layer.parameters(), lr=0.1))
    assert len(seen) == 3
    assert layer.weight.item() == seen[-1]


def test_a_longer_gradient_than_clip_is_scaled_to_it_and_a_shorter_one_left_alone():
    steps = []
    for pull in (100.0, 0.5):
        layer = nn.Linear(1, 1, bias=False)
        before = layer.weight.item()
        optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
        training.fit(
            layer,
            [(pull,)],
            lambda p, layer=layer: p * layer.weight.sum(),
            optimizer,
            clip=2.0,
        )
        steps.append(before - layer.weight.item())
    # In single precision, and PyTorch adds 1e-6 to the norm.
    assert steps == pytest.approx([2.0, 0.5], rel=1e-5)


def test_the_scheduler_moves_after_every_batch():
    layer = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    batches = training.minibatches(X, LINE, size=4)
    training.fit(
        layer,
        batches,
        lambda x, _: layer(x).sum() * 0,
        optimizer,
        scheduler=schedule,
        epochs=2,
    )
    assert optimizer.param_groups[0]["lr"] == 0.5**6


def test_every_epoch_trains_in_training_mode():
    layer, modes = nn.Linear(1, 1), []

    def loss(x, _):
        modes.append(layer.training)
        return layer(x).sum()

    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    batches = training.minibatches(X, LINE, size=10)
    training.fit(layer, batches, loss, optimizer, epochs=2, after_epoch=layer.eval)
    assert modes == [True, True]


# --- one cycle ------------------------------------------------------------------------


def rates_of(**settings) -> list[float]:
    """The learning rate of every one of 100 steps of one cycle up to 1."""
    layer, rates = nn.Linear(1, 1), []

    def optimizer(parameters, lr):
        made.append(torch.optim.Adam(parameters, lr=lr))
        return made[0]

    def loss(x):
        rates.append(made[0].param_groups[0]["lr"])
        return layer(x).square().mean()

    made: list[torch.optim.Optimizer] = []
    batches = [(X,)] * 50
    training.one_cycle(
        layer, batches, loss, lr=1.0, epochs=2, optimizer=optimizer, **settings
    )
    return rates


@pytest.mark.parametrize("rise", [0.1, 0.3])
def test_the_rate_rises_to_the_given_one_and_falls_to_almost_nothing(rise):
    rates = rates_of(rise=rise)
    peak = rates.index(max(rates))
    assert len(rates) == 100
    assert max(rates) == pytest.approx(1, rel=1e-3)
    assert peak == pytest.approx(100 * rise, abs=1)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[-1] < 1e-3


@pytest.mark.parametrize("rise", [0.0, 0.01, 1.0, 1.5, math.nan])
def test_a_rate_that_would_not_rise_and_fall_is_refused(rise):
    with pytest.raises(ValueError, match=r"rise must be a share.*of 100; give"):
        rates_of(rise=rise)


def test_a_single_step_has_next_to_no_rate():
    layer = nn.Linear(1, 1)
    start = layer.weight.item()
    how = dict(lr=1.0, optimizer=torch.optim.SGD)
    training.one_cycle(layer, [(X,)], lambda x: layer.weight.sum(), **how)
    assert 0 < start - layer.weight.item() < 1e-5


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan])
def test_a_clip_that_would_turn_the_gradient_around_is_refused(clip):
    layer = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="clip must be positive and finite"):
        training.fit(layer, [(X,)], pytest.fail, optimizer, clip=clip)


def test_one_cycle_does_what_its_scheduler_does_in_the_loop():
    def trained(cycle: bool) -> tuple[torch.Tensor, training.History]:
        training.seed(0)
        layer = nn.Linear(1, 1)
        batches = training.minibatches(X, LINE, size=4)
        common = dict(epochs=5, clip=1.0, after_epoch=lambda: layer.weight.item())

        def loss(x, y):
            return (layer(x) - y).square().mean()

        if cycle:
            sgd = partial(torch.optim.SGD, momentum=0.9)
            history = training.one_cycle(
                layer, batches, loss, lr=0.1, optimizer=sgd, **common
            )
        else:
            descent = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
            schedule = torch.optim.lr_scheduler.OneCycleLR(descent, 0.1, total_steps=15)
            history = training.fit(
                layer, batches, loss, descent, scheduler=schedule, **common
            )
        return layer.weight, history

    (weight, ours), (expected, by_hand) = trained(True), trained(False)
    assert torch.equal(weight, expected)
    assert (ours.losses, ours.epochs) == (by_hand.losses, by_hand.epochs)


# --- minibatches and the rest ---------------------------------------------------------


def test_minibatches_cover_every_row_once_an_epoch_in_a_new_order():
    rows, twice = torch.arange(10), 2 * torch.arange(10)
    batches = training.minibatches(rows, twice, size=4)
    epochs = [list(batches) for _ in range(2)]
    for epoch in epochs:
        assert [len(x) for x, _ in epoch] == [4, 4, 2]
        assert torch.equal(torch.cat([x for x, _ in epoch]).sort().values, rows)
        assert all(torch.equal(2 * x, y) for x, y in epoch)
    orders = [torch.cat([x for x, _ in epoch]) for epoch in epochs]
    assert not torch.equal(*orders)
    assert len(batches) == 3


def test_the_order_of_minibatches_depends_on_the_seed_alone():
    def order(seed, disturbance):
        torch.manual_seed(disturbance)
        return [
            x.tolist()
            for (x,) in training.minibatches(torch.arange(100), size=7, seed=seed)
        ]

    assert order(0, disturbance=1) == order(0, disturbance=2)
    assert order(0, disturbance=1) != order(1, disturbance=1)


@pytest.mark.parametrize(("available", "name"), [(False, "cpu"), (True, "cuda")])
def test_the_gpu_is_used_if_there_is_one(monkeypatch, available, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert training.device().type == name
    assert training.by_device(cpu="cpu", cuda="cuda") == name


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_leaves_the_weights_as_they_were(clip):
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)

    def distance(x):  # finite at 0, and without a slope there
        return model(x).square().sum().sqrt()

    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(FloatingPointError, match=r"gradient holds NaN .* step 0"):
        training.fit(model, [(torch.ones(1, 2),)], distance, sgd, clip=clip)
    assert torch.equal(model.weight, torch.zeros(1, 2))


def a_fit(batches, epochs):
    model = nn.Linear(2, 1)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    return training.fit(
        model, batches, lambda x: model(x).square().sum(), sgd, epochs=epochs
    )


def test_batches_may_come_without_a_length():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([(torch.ones(2),)] * 4)

    loader = torch.utils.data.DataLoader(Stream(), batch_size=2)
    assert len(a_fit(loader, epochs=3).losses) == 6
    assert len(a_fit(((torch.ones(1, 2),) for _ in range(5)), epochs=1).losses) == 5


def test_a_generator_does_not_do_for_two_epochs():
    with pytest.raises(ValueError, match="a generator can be gone through once"):
        a_fit(((torch.ones(1, 2),) for _ in range(5)), epochs=2)

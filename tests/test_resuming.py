"""A training that is stopped, at whatever moment, goes on as if it had not been."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from itertools import count

import pytest
import torch
from conftest import ROOT
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from course_lib import measuring, resuming, training
from course_lib.resuming import Saves

X = torch.linspace(-1, 1, 20).view(10, 2)
STEPS = 9  # ten rows in batches of four, three times


class KilledError(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def learn(saves=None, kill_at=None, epochs=3, **settings):
    """A noisy training with everything that a step changes; weights and history."""
    training.seed(0)
    model, calls = nn.Linear(2, 2), []
    mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    if saves is not None:
        saves = Saves(**saves, also={"mean": mean, "calls": calls})

    def loss(x):
        if len(calls) == kill_at:
            raise KilledError
        calls.append(len(calls))
        mean.update_parameters(model)
        noisy = x + 0.1 * torch.randn_like(x)
        return (model(noisy) - x.flip(1)).square().mean()

    batches = training.minibatches(X, size=4, seed=1)
    history = training.one_cycle(
        model,
        batches,
        loss,
        lr=0.1,
        epochs=epochs,
        saves=saves,
        after_epoch=lambda: torch.rand(()).item(),  # draws numbers of its own
        **settings,
    )
    weights = measuring.flat([*model.parameters(), *mean.module.parameters()])
    return weights, history, calls


@pytest.mark.parametrize("kill_at", range(STEPS))
@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_training_that_dies_in_any_step_goes_on_to_the_same_weights(
    tmp_path, kill_at, every
):
    weights, history, calls = learn()
    saves = dict(path=tmp_path / "here.pt", every=every)
    with pytest.raises(KilledError):
        learn(saves, kill_at)
    again, resumed, counted = learn(saves)
    assert torch.equal(again, weights)
    assert resumed.losses == history.losses
    assert resumed.epochs == history.epochs
    assert counted == calls == list(range(STEPS))


@pytest.mark.parametrize("moment", ["written in part", "written", "renamed"])
@pytest.mark.parametrize("save", range(1, 5))
def test_a_training_that_dies_while_it_saves_goes_on_from_a_whole_file(
    monkeypatch, tmp_path, moment, save
):
    weights, _, _ = learn()
    saves, number = dict(path=tmp_path / "here.pt", every=2), count(1)
    write, rename = torch.save, os.replace

    def dying_write(content, path):
        write(content, path)
        if moment == "written in part" and next(number) == save:
            path.write_bytes(path.read_bytes()[:100])
            raise KilledError

    def dying_rename(part, path):
        if moment != "written in part" and next(number) == save:
            if moment == "renamed":
                rename(part, path)
            raise KilledError
        rename(part, path)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", dying_write)
        patched.setattr(os, "replace", dying_rename)
        with pytest.raises(KilledError):
            learn(saves)
    assert torch.equal(learn(saves)[0], weights)
    assert [path.name for path in tmp_path.iterdir()] == ["here.pt"]


SLOW = """
import sys, time
from pathlib import Path
import torch
sys.path.insert(0, "tests")
import test_resuming
weights, history, _ = test_resuming.learn(
    dict(path=Path(sys.argv[1]), every=1), epochs=40
)
torch.save(weights, sys.argv[2])
"""


@pytest.mark.parametrize("lives", [1, 2])
def test_a_process_that_is_killed_at_a_moment_nobody_chose_is_taken_up_to_the_same_weights(
    tmp_path, lives
):
    path, end = tmp_path / "here.pt", tmp_path / "end.pt"
    command = [sys.executable, "-c", SLOW, str(path), str(end)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = partial(subprocess.Popen, command, cwd=ROOT, env=environment)
    for _ in range(lives):
        before = path.stat().st_mtime_ns if path.exists() else 0
        process = start()
        while process.poll() is None:
            if path.exists() and path.stat().st_mtime_ns > before:
                break  # from here on any moment will do
            time.sleep(0.001)
        process.kill()
        process.wait()
    assert start().wait() == 0
    assert torch.equal(torch.load(end), learn(epochs=40)[0])


def test_a_training_that_is_done_is_not_done_again(tmp_path):
    saves = dict(path=tmp_path / "here.pt", every=1)
    weights, history, _ = learn(saves)
    again, resumed, _ = learn(saves, kill_at=STEPS)
    assert torch.equal(again, weights)
    assert resumed.losses == history.losses
    assert resumed.seconds >= history.seconds * 0.5


def test_saves_change_nothing(tmp_path):
    saves = dict(path=tmp_path / "deep" / "here.pt", every=2)
    assert torch.equal(learn(saves)[0], learn()[0])


def test_the_file_of_another_training_is_refused(tmp_path):
    saves = dict(path=tmp_path / "here.pt", every=1)
    learn(saves | {"about": "seed 0"})
    with pytest.raises(ValueError, match="holds the training 'seed 0', not 'seed 1'"):
        learn(saves | {"about": "seed 1"})


def test_what_another_version_saved_or_something_else_wrote_is_refused(tmp_path):
    saves = dict(path=tmp_path / "here.pt", every=1)
    learn(saves)
    content = torch.load(saves["path"], weights_only=False)
    content.pop("began")
    for other, missing in ((content, "began"), (torch.zeros(3), "about, began")):
        torch.save(other, saves["path"])
        with pytest.raises(
            ValueError, match=f"this version saved, and has no {missing}"
        ):
            learn(saves)


@pytest.mark.parametrize("change", [{"more": []}, {"mean": None}])
def test_a_part_that_came_or_went_since_the_file_was_saved_is_refused(tmp_path, change):
    saves = dict(path=tmp_path / "here.pt", every=1)
    learn(saves)
    content = torch.load(saves["path"], weights_only=False)
    parts = {k: v for k, v in (content["parts"] | change).items() if v is not None}
    torch.save(content | {"parts": parts}, saves["path"])
    with pytest.raises(ValueError, match=r"holds the state of .*this training is of"):
        learn(saves)


def test_the_file_of_another_number_of_processes_is_refused(tmp_path):
    saves = dict(path=tmp_path / "here.pt", every=1)
    learn(saves)
    content = torch.load(saves["path"], weights_only=False)
    torch.save(content | {"drawn": 2 * content["drawn"]}, saves["path"])
    with pytest.raises(ValueError, match=r"saved by 2 process\(es\).*group of 1"):
        learn(saves)


def test_a_list_of_batches_has_no_order_to_save(tmp_path):
    def run(kill_at=None, saves=None):
        training.seed(0)
        layer, calls = nn.Linear(2, 2), count()

        def loss(x):
            if next(calls) == kill_at:
                raise KilledError
            return layer(x).square().mean()

        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        batches = [(X[:5],), (X[5:],)]
        training.fit(layer, batches, loss, optimizer, epochs=2, saves=saves)
        return measuring.flat(layer.parameters())

    saves = Saves(tmp_path / "here.pt", every=1)
    with suppress(KilledError):
        run(3, saves)
    assert torch.equal(run(saves=saves), run())


def test_what_is_written_aside_takes_its_place_whole_or_not_at_all(tmp_path):
    path = tmp_path / "words.txt"
    with resuming.aside(path) as part:
        part.write_text("first")
    with suppress(KilledError), resuming.aside(path) as part:
        part.write_text("seco")
        raise KilledError
    assert path.read_text() == "first"


# --- orders -----------------------------------------------------------------------------

ROWS = TensorDataset(torch.arange(8.0)[:, None])


class Shuffled:
    """Batches of an order that is drawn when an epoch begins."""

    def __len__(self):
        return 4

    def __iter__(self):
        for rows in torch.randperm(8).split(2):
            yield (ROWS.tensors[0][rows],)


def own(seed=5):
    return torch.Generator().manual_seed(seed)


ORDERS = {
    "minibatches": lambda: training.minibatches(*ROWS.tensors, size=2),
    "shuffle": lambda: DataLoader(ROWS, batch_size=2, shuffle=True),
    "generator": lambda: DataLoader(ROWS, batch_size=2, shuffle=True, generator=own()),
    "batch sampler": lambda: DataLoader(
        ROWS, batch_sampler=BatchSampler(RandomSampler(ROWS, generator=own()), 2, False)
    ),
    "own": Shuffled,
}


@pytest.mark.parametrize("make", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("kill_at", [1, 3, 4, 6])
def test_wherever_an_order_comes_from_no_row_is_met_twice_after_a_stop(
    tmp_path, make, kill_at
):
    def run(saves=None, kill_at=None):
        training.seed(0)
        layer, met = nn.Linear(1, 1), []

        def loss(x):
            if len(met) == kill_at:
                raise KilledError
            met.append(x.flatten().tolist())
            return (layer(x) + torch.randn(())).square().mean()

        saves = saves and Saves(saves, every=1, also={"met": met})
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
        training.fit(layer, make(), loss, optimizer, epochs=2, saves=saves)
        return met, layer.weight.item()

    with pytest.raises(KilledError):
        run(tmp_path / "here.pt", kill_at)
    met, weight = run(tmp_path / "here.pt")
    assert (met, weight) == run()
    assert sorted(x for batch in met[4:] for x in batch) == list(range(8))


# --- what else there is -----------------------------------------------------------------


@pytest.mark.parametrize("make", [own, partial(random.Random, 5)])
def test_generators_of_other_kinds_go_on_where_they_were(tmp_path, make):
    def run(saves=None, kill_at=None):
        source, drawn, layer = make(), [], nn.Linear(1, 1)

        def loss(x):
            if len(drawn) == kill_at:
                raise KilledError
            new = (
                source.random()
                if hasattr(source, "random")
                else torch.rand((), generator=source)
            )
            drawn.append(float(new))
            return layer(x).square().mean()

        if saves:
            saves = Saves(saves, every=1, also={"source": source, "drawn": drawn})
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        training.fit(layer, 5 * [ROWS[:]], loss, optimizer, saves=saves)
        return drawn

    with pytest.raises(KilledError):
        run(tmp_path / "here.pt", 3)
    assert run(tmp_path / "here.pt") == run()


class Drawn:
    """Batches that an own generator draws on the way, of either kind."""

    def __init__(self, source):
        self.source = source

    def __iter__(self):
        for _ in range(6):
            if isinstance(self.source, torch.Generator):
                rows = torch.randint(10, (2,), generator=self.source)
            else:
                rows = torch.tensor(self.source.choices(range(10), k=2))
            yield (X[rows],)


@pytest.mark.parametrize("make", [own, partial(random.Random, 5)])
@pytest.mark.parametrize("kill_at", [3, 6, 9])
def test_batches_that_such_a_generator_draws_are_the_same_ones(tmp_path, make, kill_at):
    def run(saves=None, kill_at=None):
        training.seed(0)
        layer, batches, met = nn.Linear(2, 1), Drawn(make()), []

        def loss(x):
            if len(met) == kill_at:
                raise KilledError
            met.append(x.tolist())
            return (layer(x) - x.sum(1, keepdim=True)).square().mean()

        if saves:
            also = {"source": batches.source, "met": met}
            saves = Saves(saves, every=1, also=also)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        training.fit(layer, batches, loss, optimizer, epochs=2, saves=saves)
        return met, layer.weight.tolist()

    with pytest.raises(KilledError):
        run(tmp_path / "here.pt", kill_at)
    assert run(tmp_path / "here.pt") == run()


@pytest.mark.parametrize(
    ("also", "error", "said"),
    [
        ({"model": nn.Linear(1, 1)}, ValueError, "also must not name 'model'"),
        ({"optimizer": []}, ValueError, "also must not name 'optimizer'"),
        ({"count": 3}, TypeError, r"also\['count'\] must have a state.*got int"),
        ({"more": {"a": 1}}, TypeError, r"also\['more'\] must have a state.*got dict"),
    ],
)
def test_what_would_not_be_saved_is_refused_before_the_first_step(
    tmp_path, also, error, said
):
    layer = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    saves = Saves(tmp_path / "here.pt", also=also)
    with pytest.raises(error, match=said):
        training.fit(layer, [ROWS[:]], pytest.fail, optimizer, saves=saves)


@pytest.mark.parametrize("every", [0, -1, 1.5])
def test_a_save_comes_every_so_many_whole_steps(tmp_path, every):
    with pytest.raises(ValueError, match="every must be a positive whole number"):
        Saves(tmp_path / "here.pt", every=every)

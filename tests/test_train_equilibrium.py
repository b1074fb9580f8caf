"""The race of the equilibrium layer: what its bodies are, what a row says, and that the
record is complete.
"""

from __future__ import annotations

import argparse

import pytest
import torch
from torch import nn

from course_lib import models, records, training
from tools import train_equilibrium
from tools.train_equilibrium import CONVOLUTIONAL, MODELS, WIDTH, Cell, ConvCell, body


def order(**settings) -> argparse.Namespace:
    return argparse.Namespace(seed=0, epochs=1, lr=1e-3, **settings)


def small(name: str, solves: list) -> tuple[nn.Module, list]:
    training.seed(0)
    model = nn.Sequential(body(name, solves), nn.Linear(WIDTH, 10))
    batches = training.minibatches(
        torch.randn(200, WIDTH), torch.arange(200) % 10, size=4
    )
    return model, batches


@pytest.mark.parametrize("name", MODELS)
def test_a_body_keeps_the_shape_of_its_input(name):
    x = torch.randn(3, WIDTH)
    assert body(name, [])(x).shape == x.shape


def test_a_held_cell_shrinks_distances_and_a_free_one_need_not():
    training.seed(0)
    held, a, b, x = Cell(held=True), *torch.randn(3, 500, WIDTH)
    for _ in range(50):  # the norm is found by a power iteration, a step a call
        held(a, x)
    ratio = (held(a, x) - held(b, x)).norm(dim=1) / (a - b).norm(dim=1)
    assert ratio.max() < 1
    assert torch.linalg.matrix_norm(Cell(held=False).layer.weight, ord=2) > 1


def test_a_convolutional_cell_shrinks_distances_whatever_its_weights_are():
    training.seed(0)
    cell = ConvCell(8)
    with torch.no_grad():
        for layer in (cell.first, cell.second):
            layer.parametrizations.weight.original *= 50
    a, b, x = torch.randn(3, 20, 8, 6, 6)
    for _ in range(100):  # the norm is found by a power iteration, a step a call
        cell(a, x)
    ratio = (cell(a, x) - cell(b, x)).flatten(1).norm(dim=1)
    assert (ratio / (a - b).flatten(1).norm(dim=1)).max() < 1


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_convolutional_model_reads_images(name):
    training.seed(0)
    model = train_equilibrium.classifier(name, [])
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "there"), [("one block", 1), ("resnet", 6), ("no body", 0)]
)
def test_a_step_counts_the_calls_of_its_fields(name, there):
    model, batches = small(name, [])
    _, counts = train_equilibrium.descend(model, batches, order(), [])
    assert counts["calls_forward"] == ([there] if there else [])
    assert not counts["calls_backward"] and counts["failed_at"] is None


def test_a_step_of_an_equilibrium_counts_both_solves():
    solves: list = []
    model, batches = small("equilibrium", solves)
    _, counts = train_equilibrium.descend(model, batches, order(), solves)
    assert 3 < counts["calls_forward"][0] < 40
    assert {way for way, _ in solves} == {"forward", "backward"}


def test_a_solve_that_fails_ends_the_training_and_the_row_says_when():
    solves: list = []
    model, batches = small("equilibrium, free", solves)
    model[0].f.layer.weight.data *= 30
    history, counts = train_equilibrium.descend(model, batches, order(), solves)
    assert counts["failed_at"] == len(history.losses) == 0


@pytest.mark.parametrize("names", [MODELS, CONVOLUTIONAL])
def test_the_record_has_three_seeds_of_every_model_by_one_recipe(names):
    rows = records.results("equilibrium")["rows"]
    rows = [row for row in rows if row["model"] in names]
    assert {(row["model"], row["seed"]) for row in rows} == {
        (name, seed) for name in names for seed in range(3)
    }
    assert len({(row["recipe"], row["epochs"], row["train"]) for row in rows}) == 1
    for row in rows:
        assert ("test_accuracy" in row) == (row["failed_at"] is None)


def test_the_record_says_what_the_chapter_says_of_it():
    wrong: dict[str, list[float]] = {name: [] for name in MODELS + CONVOLUTIONAL}
    for row in records.results("equilibrium")["rows"]:
        if row["failed_at"] is None:
            wrong[row["model"]].append(1 - row["test_accuracy"])
    assert max(wrong["equilibrium"]) < min(wrong["odenet"] + wrong["one block"])
    assert max(wrong["equilibrium"]) > min(wrong["resnet"])  # level
    assert len(wrong["equilibrium, free"]) == 1 and len(wrong["equilibrium"]) == 3
    conv = {name: wrong[f"conv {name}"] for name in ("odenet", "one block", "resnet")}
    assert max(wrong["conv equilibrium"]) < min(wrong["conv no body"])
    assert min(wrong["conv equilibrium"]) > max(max(errors) for errors in conv.values())


def test_models_that_keep_no_steps_keep_alike_whatever_the_seed():
    rows = records.results("equilibrium")["rows"]
    for name in MODELS:
        assert len({row["bytes_saved"] for row in rows if row["model"] == name}) == 1


def test_every_body_but_nothing_and_six_blocks_has_as_many_parameters():
    assert isinstance(body("no body", []), nn.Identity)
    sizes = {
        name: sum(p.numel() for p in body(name, []).parameters())
        for name in ("one block", "odenet", "equilibrium", "equilibrium, free")
    }
    assert len(set(sizes.values())) == 1
    assert isinstance(body("odenet", []), models.NeuralODE)

"""The forecasts of visits: who is looked at when, and what the results hold."""

from __future__ import annotations

import argparse

import pytest
import torch

from course_lib import data, forecasting, records
from course_lib.latent import Readings
from tools import train_visits
from tools.train_visits import FOLDS, MODELS, SEEDLESS

SEEDS = range(3)


@pytest.fixture(scope="module")
def known() -> data.Visits:
    return train_visits.patients()


@pytest.fixture(scope="module")
def rows() -> dict:
    found = records.results("visits")["rows"]
    return {(row["model"], row["fold"], row["seed"]): row for row in found}


def test_285_patients_have_two_visits_or_more(known):
    assert known.seen.shape == (285, 16)
    assert known.names == ("log bilirubin", "albumin", "log prothrombin time")
    read, later = forecasting.halves(known.seen)
    assert (read.sum(), later.sum()) == (1022, 896)


def errors_in(row: dict) -> torch.Tensor:
    """The mean square error of each patient in each column, (n, 3), of a row."""
    return torch.tensor(list(row["mean_squares"].values())).T


def listening(read: list) -> train_visits.Train:
    """A model that notes the patients it is trained on, held out, and tested on."""

    def train(*parts: Readings):
        def forecast(series: Readings, _):
            read.append(series)
            return torch.zeros_like(series.values)

        read.extend(parts)
        return forecast, {"note": "heard"}

    return train


def test_the_patients_of_the_test_are_looked_at_once_and_units_do_not_know_them(known):
    read: list[Readings] = []
    row = train_visits.evaluate("ear", listening(read), known, 2, 1)
    train, held, test = read
    assert [len(part.seen) for part in read] == [183, 45, 57]
    rest = torch.cat([part.values[part.seen] for part in (train, held)])
    assert rest.mean(dim=0).abs().max() < 1e-4
    assert torch.allclose(rest.std(dim=0), torch.ones(3))
    assert (row["model"], row["fold"], row["seed"], row["note"]) == (
        *("ear", 2, 1),
        "heard",
    )
    _, later = forecasting.halves(test.seen)
    squares = test.values.square().where(later[..., None], 0.0).sum(dim=1)
    by_hand = squares / later.sum(dim=1, keepdim=True)
    assert torch.allclose(errors_in(row), by_hand, rtol=1e-3)
    assert row["rmse"] == pytest.approx(by_hand.mean().sqrt().item(), rel=1e-5)


def test_a_seed_other_than_zero_runs_only_what_has_a_random_start(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(train_visits, "STEPS", dict.fromkeys(train_visits.STEPS, 10))
    monkeypatch.setattr(train_visits, "FOLDS", 1)
    monkeypatch.setattr(forecasting, "split", few)
    train_visits.compare(argparse.Namespace(seed=1))
    assert {row["model"] for row in records.results("visits")["rows"]} == set(
        train_visits.STEPS
    )
    train_visits.compare(argparse.Namespace(seed=0))
    found = records.results("visits")["rows"]
    assert [row["model"] for row in found if row["seed"] == 0] == list(MODELS)
    for row in found:
        assert errors_in(row).shape == (len(row["patients"]), 3) == (4, 3)
        assert row["rmse"] > 0
        if row["model"] in train_visits.STEPS:
            assert row["steps"] == 10
            assert row["best_step"] in (5, 10)


def few(*_, **__) -> forecasting.Split:
    return forecasting.Split(torch.arange(20), torch.arange(20, 26), torch.arange(4))


def test_lines_alone_are_the_lines_of_each_column(known):
    series, _, _ = forecasting.standardised(known, torch.arange(60))
    parts = [train_visits.rows_of(series, rows) for rows in torch.arange(60).split(40)]
    forecast, _ = train_visits.lines_alone(*parts)
    test = train_visits.rows_of(series, torch.arange(60, 80))
    read, _ = forecasting.halves(test.seen)
    both = train_visits.rows_of(series, torch.arange(60))
    for d in range(3):
        alone = forecasting.fit_lines(train_visits.column_of(both, d))
        column = alone.forecast(train_visits.column_of(test, d), read)
        assert torch.allclose(forecast(test, read)[..., d : d + 1], column)


# --- the recorded results -------------------------------------------------------------


def test_the_results_hold_every_model_fold_and_seed(rows):
    networks = MODELS.keys() - SEEDLESS.keys()
    wanted = {(name, f, s) for name in networks for f in range(FOLDS) for s in SEEDS}
    wanted |= {(name, f, 0) for name in SEEDLESS for f in range(FOLDS)}
    assert rows.keys() == wanted
    for row in rows.values():
        assert row["command"].startswith("python -m tools.pretrain visits ")
        assert {"device", "seconds", "torch", "deviation"} <= row.keys()


def test_every_patient_is_tested_once_by_each_model_and_seed(rows):
    for name, seed in {(name, seed) for name, _, seed in rows}:
        found: list[int] = []
        for fold in range(FOLDS):
            found += rows[name, fold, seed]["patients"]
        assert sorted(found) == list(range(285))


def test_the_error_of_a_row_is_made_of_those_of_its_patients(rows):
    for row in rows.values():
        squares = errors_in(row)
        assert squares.shape == (len(row["patients"]), 3)
        assert squares.mean().sqrt().item() == pytest.approx(row["rmse"], rel=1e-3)


@pytest.mark.parametrize("name", SEEDLESS)
def test_what_has_no_random_start_comes_out_as_recorded(known, rows, name):
    again = train_visits.evaluate(name, MODELS[name], known, 0, 0)
    assert again["patients"] == rows[name, 0, 0]["patients"]
    assert again["rmse"] == pytest.approx(rows[name, 0, 0]["rmse"], rel=1e-4)

"""A sweep over seeds, stopped and taken up again."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

from course_lib import records
from tools import sweep


def counting(folder: Path, seed: int, code: int = 0) -> list[str]:
    """A command that leaves a line each time it runs."""
    script = f"open({str(folder / f'{seed}.txt')!r}, 'a').write('x'); exit({code})"
    return [sys.executable, "-c", script]


def test_every_seed_runs_once_and_one_that_fails_stops_no_other(tmp_path):
    lines = {seed: counting(tmp_path, seed, code=seed == 1) for seed in range(3)}
    assert sweep.sweep(lines, tmp_path / "marks", at_once=2) == [1]
    assert [(tmp_path / f"{seed}.txt").read_text() for seed in range(3)] == ["x"] * 3
    assert list(sweep.left(3, tmp_path / "marks")) == [1]


def test_a_sweep_that_is_given_again_runs_what_is_left(tmp_path):
    marks = tmp_path / "marks"
    sweep.sweep({0: counting(tmp_path, 0), 1: counting(tmp_path, 1, 3)}, marks, 1)
    again = {seed: counting(tmp_path, seed) for seed in sweep.left(3, marks)}
    assert sweep.sweep(again, marks, at_once=1) == []
    assert (tmp_path / "0.txt").read_text() == "x"
    assert (tmp_path / "1.txt").read_text() == "xx"
    assert list(sweep.left(3, marks)) == []


def test_the_command_of_a_seed_saves_itself_beside_its_mark(tmp_path):
    line = sweep.command(["mnist", "--epochs", "1"], 4, tmp_path)
    assert line[1:5] == ["-m", "tools.pretrain", "mnist", "--epochs"]
    assert line[-4:] == ["--seed", "4", "--save", str(tmp_path / "4.pt")]


def add(folder: Path, first: int) -> None:
    records.RESULTS = folder
    for seed in range(first, first + 20):
        records.add_row("rows", {"seed": seed}, by=("seed",))


def test_no_row_is_lost_where_processes_add_at_the_same_time(tmp_path):
    context = multiprocessing.get_context("spawn")
    adding = [context.Process(target=add, args=(tmp_path, 20 * i)) for i in range(2)]
    for process in adding:
        process.start()
    for process in adding:
        process.join()
    records_found = (tmp_path / "rows.json").read_text()
    assert records_found.count("seed") == 40

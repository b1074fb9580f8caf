"""The chapters as they are committed, and as they came out of their run."""

import ast
import itertools
import re
import subprocess
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
EXECUTED = [ROOT / "_build" / "executed" / path.name for path in CHAPTERS]

by_name = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
by_run = pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list:
    return [
        cell
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == kind
    ]


def prose(path: Path) -> str:
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def test_there_are_chapters():
    assert CHAPTERS


@by_name
def test_a_committed_chapter_has_no_outputs_and_no_noise(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None


@by_name
def test_prose_stands_between_any_two_code_cells(path):
    kinds = [cell.cell_type for cell in nbformat.read(path, as_version=4).cells]
    assert ("code", "code") not in set(itertools.pairwise(kinds))


@by_name
def test_no_cell_is_longer_than_thirty_lines(path):
    assert max(cell.source.count("\n") + 1 for cell in cells(path, "code")) <= 30


@by_name
def test_a_chapter_has_the_anatomy_of_the_course(path):
    text = prose(path)
    assert text.startswith("# ")
    assert "**The question.**" in text
    for section in ("## Exercises", "## Summary", "## Sources"):
        assert section in text
    assert len(re.findall(r"^### Exercise \d", text, re.MULTILINE)) >= 4
    solutions = [
        cell
        for cell in cells(path, "code")
        if "hide-cell" in cell.metadata.get("tags", [])
    ]
    assert len(solutions) >= 4
    assert text.count("{dropdown}") >= 2
    assert "{cite" in text


@by_name
def test_every_figure_is_drawn_for_the_page_and_described(path):
    code = "\n".join(cell.source for cell in cells(path, "code"))
    figures = len(re.findall(r"new_figure\(", code))
    assert 0 < figures <= len(re.findall(r"plotting\.shown\(|\bshown\(", code))
    assert "plt.show" not in code


@by_name
def test_what_a_cell_draws_or_lists_is_its_last_line_which_alone_is_shown(path):
    for cell in cells(path, "code"):
        for line in ast.parse(cell.source).body[:-1]:
            hidden = re.match(r"(plotting\.)?(shown|table|source)\(", ast.unparse(line))
            assert not hidden, f"{cell.id}: {hidden.group()} is not the last line"


@by_name
def test_a_chapter_imports_no_other_chapter_and_names_none_that_does_not_exist(path):
    links = re.findall(r"\]\(([\w./-]+\.ipynb)\)", prose(path))
    assert all((path.parent / link).exists() for link in links)


@by_run
def test_an_executed_chapter_ran_from_top_to_bottom_without_complaint(path):
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


@by_run
def test_an_executed_chapter_is_the_committed_one(path):
    committed = [
        cell.source
        for cell in nbformat.read(ROOT / "chapters" / path.name, as_version=4).cells
    ]
    assert [
        cell.source for cell in nbformat.read(path, as_version=4).cells
    ] == committed


@by_run
def test_every_row_of_a_table_has_an_entry_for_each_head(path):
    """A bar in an entry would end it, and what is then too much is not shown."""
    executed = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in executed for output in cell.get("outputs", ())]
    texts = [output.get("data", {}).get("text/markdown", "") for output in outputs]
    texts += [cell.source for cell in executed if cell.cell_type == "markdown"]
    for table in re.findall(r"(?:^\|.*\n?)+", "\n\n".join(texts), re.MULTILINE):
        bars = [len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()]
        assert len(set(bars)) == 1, table


@by_run
def test_nothing_in_the_outputs_tells_where_they_were_made(path):
    assert str(ROOT) not in path.read_text()


def test_running_the_chapters_left_nothing_behind_in_the_tree():
    status = subprocess.run(
        ["git", "status", "--porcelain", "--", "chapters", "course_lib"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert status.returncode == 0
    assert [line for line in status.stdout.splitlines() if line.startswith("??")] == []


@by_name
def test_no_directive_has_a_backtick_in_its_title(path):
    """It would end the fence, and swallow what follows without a word."""
    titles = re.findall(r"^```\{\w+\}(.*)$", prose(path), re.MULTILINE)
    assert not [title for title in titles if "`" in title]

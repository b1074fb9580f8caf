"""Notebooks with their solutions left blank, as they are given to a class."""

import ast
import builtins

import nbformat
import pytest
from conftest import ROOT

from tools import blanks

CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
by_name = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def both(path):
    """Return a chapter and its blank."""
    chapter = nbformat.read(path, as_version=4)
    return chapter, blanks.without_solutions(chapter)


def own_and_new(chapter, made):
    """Return the cells of a blank that the chapter has too, and the others."""
    ids = {cell.id for cell in chapter.cells}
    own = [cell for cell in made.cells if cell.id in ids]
    return own, [cell for cell in made.cells if cell.id not in ids]


@by_name
def test_a_blank_is_a_valid_notebook_without_outputs(path):
    _, made = both(path)
    nbformat.validate(made)
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    ids = [cell.id for cell in made.cells]
    assert len(set(ids)) == len(ids)


@by_name
def test_every_solution_of_a_chapter_became_one_blank(path):
    chapter, made = both(path)
    tasks = blanks.exercises(chapter.cells)
    assert len(tasks) >= 4
    texts = [cell.source for cell in own_and_new(chapter, made)[1]]
    for task in tasks:
        assert sum(f"# {task.title}" in text for text in texts) == 1


@by_name
def test_no_line_of_a_solution_is_in_its_blank_but_imports_and_checks(path):
    chapter, made = both(path)
    for cell in own_and_new(chapter, made)[1]:
        for node in ast.parse(cell.source).body:
            imported = isinstance(node, (ast.Import, ast.ImportFrom))
            assert imported or blanks.is_check(node)


@by_name
def test_the_other_cells_of_a_blank_are_those_of_the_chapter(path):
    chapter, made = both(path)
    gone = {at for task in blanks.exercises(chapter.cells) for at in task.between}
    kept = [cell for at, cell in enumerate(chapter.cells) if at not in gone]
    own, _ = own_and_new(chapter, made)
    assert [cell.id for cell in own] == [cell.id for cell in kept]
    for cell, before in zip(own, kept):
        if cell.source != before.source:
            assert "Reading the result" in before.source
            assert "Reading the result" not in cell.source
            assert cell.source in blanks.READING.sub("", before.source)


@by_name
def test_a_check_reads_only_what_the_chapter_has_or_the_blank_asks_for(path):
    _, made = both(path)
    known = set(dir(builtins))
    for cell in made.cells:
        if cell.cell_type == "code":
            nodes = ast.parse(cell.source).body
            if "# The check of" in cell.source:
                assert blanks.read(nodes) <= known
            known |= blanks.bound(nodes)
            _, _, asked = cell.source.partition("# Define: ")
            known |= set(asked.split("\n")[0].split(", "))


SOLUTION = """\
import math
total = [n for n in range(4)]
for n in total:
    assert n < 4
first = total[0]
assert first == 0
first = math.pi
assert len(total) == 4
torch.testing.assert_close(first, 3.14)
print(first)
"""


def notebook(*solutions, later=""):
    """Make a notebook with one exercise and a cell that comes later."""
    new = nbformat.v4
    cells = [new.new_markdown_cell("### Exercise 1: numbers\n\nCount.")]
    for source in solutions:
        cells.append(new.new_code_cell(source, metadata={"tags": ["hide-cell"]}))
        cells.append(new.new_markdown_cell("Go on."))
    cells[-1].source = "```{dropdown} Reading the result\nFour.\n```\n\n## Summary"
    return new.new_notebook(cells=[*cells, new.new_code_cell(later)])


def test_checks_that_stand_alone_and_keep_their_meaning_are_kept():
    made = blanks.without_solutions(notebook(SOLUTION))
    task, blank, check, rest, _ = (cell.source for cell in made.cells)
    assert (task, rest) == ("### Exercise 1: numbers\n\nCount.", "## Summary")
    assert blank == "import math\n# Exercise 1: numbers\n# Define: first, total\n"
    assert check == (
        "# The check of exercise 1\nassert len(total) == 4\n"
        "torch.testing.assert_close(first, 3.14)"
    )


def test_a_blank_asks_for_what_is_used_later_and_for_nothing_else():
    later = "a = one()\nb = [two for two in a]\nfor three in b:\n    three + four"
    solution = "def one(): ...\ntwo = three = four = five = 0"
    made = blanks.without_solutions(notebook(solution, later=later))
    assert made.cells[1].source.endswith("# Define: four, one\n")


def test_prose_between_the_cells_of_a_solution_goes_with_them():
    made = blanks.without_solutions(notebook("a = 1", "assert a == 1"))
    sources = [cell.source for cell in made.cells]
    assert sources[1:3] == [
        "# Exercise 1: numbers\n# Define: a\n",
        "# The check of exercise 1\nassert a == 1",
    ]
    assert "Go on." not in sources

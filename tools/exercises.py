"""Print the table of all exercises for the page on teaching.

python -m tools.exercises
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from tools.blanks import Exercise, exercises


def lines(task: Exercise) -> int:
    """Return the number of lines of a solution that are neither empty nor comments."""
    rows = [row.strip() for row in "\n".join(task.solution).splitlines()]
    return sum(bool(row) and not row.startswith("#") for row in rows)


def entry(task: Exercise, chapter: str) -> str:
    """Return an exercise as the table names it: a link with its number and title, and
    the lines of the solution.
    """
    name, _, title = task.title.partition(": ")
    number = re.findall(r"\d+", name)[0]
    place = f"exercise-{chapter.lstrip('0')}-{number}"
    return f"[{number}. {title}](#{place}) ({lines(task)})"


def row(chapter: Path) -> str:
    """Return the line of the table on a chapter."""
    tasks = exercises(nbformat.read(chapter, as_version=4).cells)
    harder = [task for task in tasks if "(harder)" in task.title]
    number = chapter.name.partition("_")[0]
    columns = (
        [entry(task, number) for task in tasks if task not in harder],
        [entry(task, number) for task in harder],
    )
    listed = " | ".join("<br>".join(column) or "–" for column in columns)
    return f"| [](chapters/{chapter.name}) | {listed} |"


def table(chapters: list[Path]) -> str:
    """Return the table of the exercises of some chapters."""
    head = ["| chapter | exercises | harder |", "| --- | --- | --- |"]
    return "\n".join([*head, *map(row, chapters)])


if __name__ == "__main__":
    print(table(sorted(Path("chapters").glob("*.ipynb"))))

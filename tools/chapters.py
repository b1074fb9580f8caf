"""What the book says of its chapters: `_chapters.yml`, and what their notebooks tell.

The number of a chapter is that of its file, its title the first line of its notebook.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

WORDS = 150  # a minute: prose that is followed, not skimmed
FORMULA = 3  # words that a formula in a line is worth
DISPLAY = 25  # and one in lines of its own


@dataclass(frozen=True)
class Chapter:
    """One row of the table.

    Attributes
    ----------
    file : str, its notebook, without folder and ending
    question : str, the question that it answers
    needs : tuple of str, the numbers of chapters to read before
    able : str, the end of "You will be able to …"
    """

    file: str
    question: str
    needs: tuple[str, ...]
    able: str

    @property
    def number(self) -> str:
        """Return its number, "01" or "13b"."""
        return self.file.partition("_")[0]

    @property
    def prefix(self) -> str:
        """Return what its equations, theorems and exercises begin with, "1" or "13b"."""
        return self.number.lstrip("0")

    @property
    def page(self) -> str:
        """Return its name in the book."""
        return f"chapters/{self.file}"


@dataclass(frozen=True)
class Route:
    """A way through the book; its stops are numbers of chapters, in groups."""

    name: str
    about: str
    stops: tuple[tuple[str, ...], ...]


def read(path: Path) -> tuple[dict[str, Chapter], list[Route]]:
    """Return the chapters of the table by their numbers, and the routes."""
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    rows = [
        Chapter(**row | {"needs": tuple(row["needs"])}) for row in table["chapters"]
    ]
    routes = [
        Route(**row | {"stops": tuple(map(tuple, row["stops"]))})
        for row in table["routes"]
    ]
    return {chapter.number: chapter for chapter in rows}, routes


def all_needs(chapters: Mapping[str, Chapter], number: str) -> set[str]:
    """Return all that has to be read before a chapter."""
    needs = chapters[number].needs
    return set(needs).union(*(all_needs(chapters, need) for need in needs))


# --- what a notebook tells ------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """The title of a notebook, and how long it takes.

    Attributes
    ----------
    title : str
    reading : float, minutes for its words and formulas
    running : float or None, seconds that its run took, if it keeps that
    """

    title: str
    reading: float
    running: float | None


def facts(notebook: dict) -> Facts:
    """Return what a notebook, executed or not, tells about itself."""
    text = prose(notebook["cells"])
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    if not title:
        raise ValueError("a chapter begins with '# Its title'")
    return Facts(title[1].strip(), reading_time(text), running_time(notebook["cells"]))


def facts_of(path: Path) -> Facts:
    """Return what the notebook of a file tells about itself."""
    return facts(json.loads(path.read_text(encoding="utf-8")))


def prose(cells: list[dict]) -> str:
    """Return the text of a notebook."""
    return "\n\n".join(
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
    )


def reading_time(text: str) -> float:
    """Return the minutes that it takes to read words and formulas."""
    text, displays = re.subn(r"\$\$.+?\$\$", " ", text, flags=re.DOTALL)
    text, formulas = re.subn(r"\$[^$\n]+\$", " ", text)
    text = re.sub(r"\]\([^)]*\)|\{[\w:-]+\}|:::+|```", " ", text)  # targets and fences
    words = len(re.findall(r"[^\W_][\w’'-]*", text))
    return (words + FORMULA * formulas + DISPLAY * displays) / WORDS


def running_time(cells: list[dict]) -> float | None:
    """Return the seconds from the start of the first cell to the end of the last."""
    times = [
        datetime.fromisoformat(stamp)
        for cell in cells
        for name, stamp in cell["metadata"].get("execution", {}).items()
        if name in ("iopub.execute_input", "shell.execute_reply")
    ]
    return (max(times) - min(times)).total_seconds() if times else None


def in_words(seconds: float) -> str:
    """Return a length of time as it is said: "40 s", "25 min", "3½ h"."""
    if seconds < 90:
        return f"{10 * math.ceil(seconds / 10)} s"
    minutes = seconds / 60
    if minutes < 10:
        return f"{round(minutes)} min"
    if minutes < 90:
        return f"{5 * round(minutes / 5)} min"
    halves = round(minutes / 30)
    return f"{halves // 2}{'½' * (halves % 2)} h"

"""Which cells of a chapter only draw: the book folds their code under what they show.

    python -m tools.drawing chapters/*.ipynb

prints how many they are, and their share of the lines in sight. A cell only draws if

1. it ends with `plotting.shown(…)` or `plotting.table(…)`,
2. it imports and defines nothing,
3. it calls nothing of `course_lib` but `plotting` and arithmetic on what is there:
   functions that take tensors and neither a function nor a module
   (`measuring.relative_error`).

A cell that ends with a check of `course_lib.checks` is folded too, whatever it computes:
it knows the answer.

What it shows was therefore computed above, or by functions that the chapter has shown. A cell
that solves or trains while it draws stays in sight, and so does a solution, which has a
fold of its own.
"""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

ENDS = {"plotting.shown": "figure", "plotting.table": "table"}
CHECKS = dict.fromkeys(("checks.number", "checks.predict", "checks.goal"), "check")
DEFINES = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


def drawn(source: str, package: Mapping[str, str]) -> str:
    """Return what a cell only draws, "figure", "table" or "check"; "" if it does more.

    `package` are the names of `course_lib` that it could compute with, and what they are
    in full.
    """
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    last = called(getattr(tree.body[-1], "value", None)) if tree.body else ""
    if last in CHECKS:
        return CHECKS[last]
    if any(isinstance(node, DEFINES) for node in nodes):
        return ""
    for name, dot, rest in {called(node).partition(".") for node in nodes}:
        if name in package and not is_arithmetic(f"{package[name]}{dot}{rest}"):
            return ""
    return ENDS.get(last, "")


@cache
def is_arithmetic(name: str) -> bool:
    """Whether a name in full is of a function of tensors that calls nothing it is given."""
    try:
        function = pkgutil.resolve_name(name)
    except (AttributeError, ValueError):  # of what a call has returned
        return False
    if not inspect.isfunction(function):
        return False
    parameters = inspect.signature(function).parameters.values()
    taken = " ".join(str(each.annotation) for each in parameters)
    return "Tensor" in taken and not re.search("Callable|Module|_empty", taken)


def called(node: ast.AST | None) -> str:
    """Return the dotted name that a call calls; '' for what is no call of a name."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def names_of_package(sources: Iterable[str]) -> dict[str, str]:
    """Return the names that cells import from `course_lib`, less `plotting`, and what
    they are in full.
    """
    imports = [
        node
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").partition(".")[0] == "course_lib"
    ]
    names = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in imports
        for alias in node.names
    }
    return {name: full for name, full in names.items() if name != "plotting"}


def drawn_by(sources: Sequence[str], solutions: Container[int] = ()) -> list[str]:
    """Return what each code cell of a chapter only draws, "" for all other cells.

    `solutions` are the places of those that have a fold of their own.
    """
    package = names_of_package(sources)
    return [
        "" if place in solutions else drawn(source, package)
        for place, source in enumerate(sources)
    ]


def _report(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in code]
    solutions = [
        k
        for k, cell in enumerate(code)
        if "hide-cell" in cell["metadata"].get("tags", [])
    ]
    kinds = drawn_by(sources, solutions)
    lines = [source.count("\n") + 1 for source in sources]
    folded = sum(n for n, kind in zip(lines, kinds) if kind)
    in_sight = sum(n for k, n in enumerate(lines) if k not in solutions)
    return (
        f"{path.stem:32} {kinds.count('figure'):3} figures and "
        f"{kinds.count('table'):2} tables of {len(code):3} cells, "
        f"{folded:4} of {in_sight:4} lines ({folded / in_sight:.0%})"
    )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(_report(Path(name)))

"""Write notebooks whose solutions are left blank, with the checks that know them.

    python -m tools.blanks _build/teach/blanks

An exercise begins with its heading, "### Exercise 3: ...". Its solution is the cells
tagged `hide-cell` that follow, with the prose between them and the dropdown that reads
the result. In a blank notebook

- one cell stands in their place: a comment with the exercise's name and the names that
  are asked for, under the imports of the solution;
- the assertions of the solution follow in a cell of their own. Taken are those that
  stand by themselves, not inside a loop or a function, and whose names keep their value
  to the end of the solution;
- everything else is the chapter's own, without outputs.

Asked for are the names that the checks read and those that a later exercise uses.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import nbformat
from nbformat import NotebookNode

EXERCISE = re.compile(r"^### (Exercise \d+.*)$", re.MULTILINE)
HEADING = re.compile(r"^#{1,3} ", re.MULTILINE)
READING = re.compile(r"^```\{dropdown\} Reading the result\n.*?^```\n*", re.M | re.S)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


# --- what a solution says -------------------------------------------------------------


def bound(nodes: Sequence[ast.stmt]) -> set[str]:
    """Return the names that statements bind, those inside functions and classes not."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(a.asname or a.name).partition(".")[0] for a in node.names}
        else:
            names |= _stored(node)
    return names


def _stored(node: ast.AST) -> set[str]:
    """Return the names that are set below a node, but not those of a comprehension."""
    if isinstance(node, (*COMPREHENSIONS, ast.Lambda)):
        return set()
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    return set().union(*map(_stored, ast.iter_child_nodes(node)))


def read(nodes: Sequence[ast.stmt]) -> set[str]:
    """Return the names that statements need from before, taken one after the other."""
    needed: set[str] = set()
    known: set[str] = set()
    for node in nodes:
        needed |= _free(node) - known
        known |= bound([node])
    return needed - {"_"}


def _free(node: ast.AST) -> set[str]:
    """Return the names that one node needs from outside."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    inside = set().union(*map(_free, ast.iter_child_nodes(node)))
    if isinstance(node, (ast.FunctionDef, ast.Lambda)):
        arguments = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
        body = node.body if isinstance(node, ast.FunctionDef) else []
        return inside - arguments - bound(body)
    if isinstance(node, COMPREHENSIONS):
        return inside - set().union(*(_stored(g.target) for g in node.generators))
    if isinstance(node, ast.For):
        return _free(node.iter) | (read(node.body) - _stored(node.target))
    return inside


def is_check(node: ast.stmt) -> bool:
    """Return whether a statement asserts something and does nothing else."""
    if isinstance(node, ast.Assert):
        return True
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and "testing.assert_" in ast.unparse(call.func)


def checks(nodes: list[ast.stmt]) -> list[ast.stmt]:
    """Return the assertions of a solution that hold at its end as they do in place."""
    return [
        node
        for i, node in enumerate(nodes)
        if is_check(node) and not read([node]) & bound(nodes[i + 1 :])
    ]


# --- an exercise ----------------------------------------------------------------------


@dataclass
class Exercise:
    """A task with its solution.

    Attributes
    ----------
    title : str, as its heading says
    at : int, the place of the cell with the statement
    solution : list of str, the cells of the solution
    between : list of int, the places of all cells that the blank replaces
    """

    title: str
    at: int
    solution: list[str] = field(default_factory=list)
    between: list[int] = field(default_factory=list)

    @property
    def statements(self) -> list[ast.stmt]:
        """Parse the solution."""
        return ast.parse("\n".join(self.solution)).body


def exercises(cells: list[NotebookNode]) -> list[Exercise]:
    """Return the exercises of a notebook, in their order."""
    found: list[Exercise] = []
    inside = False
    for at, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            titles = EXERCISE.findall(cell.source)
            inside = bool(titles) or (inside and not HEADING.search(cell.source))
            if titles:
                found.append(Exercise(titles[-1], at))
        elif inside and "hide-cell" in cell.metadata.get("tags", []):
            found[-1].solution.append(cell.source)
            first = found[-1].between[0] if found[-1].between else at
            found[-1].between = list(range(first, at + 1))
    return [exercise for exercise in found if exercise.solution]


def lines(source: str, nodes: Sequence[ast.stmt]) -> str:
    """Return the text of statements as it is written."""
    return "\n".join(ast.get_source_segment(source, node) or "" for node in nodes)


def asked_for(exercise: Exercise, later: list[ast.stmt]) -> list[str]:
    """Return the names that a reader has to define: for the checks, for what comes."""
    own = exercise.statements
    imports = bound([n for n in own if isinstance(n, (ast.Import, ast.ImportFrom))])
    needed = read(checks(own)) | read(later)
    return sorted(needed & bound(own) - imports)


def blank(exercise: Exercise, later: list[ast.stmt]) -> list[str]:
    """Return the sources of the cells that take the place of a solution."""
    source, own = "\n".join(exercise.solution), exercise.statements
    imports = [n for n in own if isinstance(n, (ast.Import, ast.ImportFrom))]
    task = [f"# {exercise.title}"]
    if names := asked_for(exercise, later):
        task.append(f"# Define: {', '.join(names)}")
    first = "\n".join([lines(source, imports)] * bool(imports) + [*task, ""])
    return [first] + [
        f"# The check of {exercise.title.partition(':')[0].lower()}\n{lines(source, c)}"
        for c in [checks(own)]
        if c
    ]


# --- a notebook -----------------------------------------------------------------------


def without_solutions(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook with blanks in the place of its solutions."""
    tasks = exercises(notebook.cells)
    gone = {at for task in tasks for at in task.between}
    blanks = {task.between[0]: task for task in tasks}
    made = nbformat.v4.new_notebook(metadata=dict(notebook.metadata))
    for at, cell in enumerate(notebook.cells):
        if at in blanks:
            later = _after(notebook.cells, blanks[at])
            made.cells += _new_cells(cell.id, blank(blanks[at], later))
        elif at not in gone:
            made.cells.append(_as_asked(cell, bool(tasks) and at > tasks[0].at))
    made.nbformat, made.nbformat_minor = notebook.nbformat, notebook.nbformat_minor
    return made


def _after(cells: list[NotebookNode], exercise: Exercise) -> list[ast.stmt]:
    """Return the statements that come after an exercise."""
    code = [
        c.source for c in cells[exercise.between[-1] + 1 :] if c.cell_type == "code"
    ]
    return ast.parse("\n".join(code)).body


def _new_cells(name: str, sources: list[str]) -> Iterator[NotebookNode]:
    """Make code cells whose ids derive from that of a solution."""
    for number, source in zip(count(), sources):
        yield nbformat.v4.new_code_cell(source, id=f"{name}-{number}"[-64:])


def _as_asked(cell: NotebookNode, after_exercise: bool) -> NotebookNode:
    """Return a cell as it is given out: no outputs, and no reading of a result."""
    cell = nbformat.from_dict(dict(cell))
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    elif after_exercise:
        cell.source = READING.sub("", cell.source).strip()
    return cell


def write(chapters: list[Path], folder: Path) -> None:
    """Write the blank notebook of each chapter."""
    folder.mkdir(parents=True, exist_ok=True)
    for chapter in chapters:
        notebook = without_solutions(nbformat.read(chapter, as_version=4))
        nbformat.validate(notebook)
        nbformat.write(notebook, folder / chapter.name)


if __name__ == "__main__":
    write(sorted(Path("chapters").glob("*.ipynb")), Path(sys.argv[1]))

"""Print the modules of course_lib in the order of their rooms, and what each imports.

python -m tools.rooms

A module imports only what stands above it here. So there is no circle, and the package
can be read from the top: tests/test_rooms.py holds it.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = [
    "ORDER",
    "PACKAGE",
    "ROOT",
    "Graph",
    "graph",
    "imports",
    "modules",
    "print_rooms",
    "wrong_arrows",
]

PACKAGE = "course_lib"
ROOT = Path(__file__).parents[1]

# From the ground up. Modules of one line do not import each other; the face of a
# folder, which only hands on its public names, comes after its files.
ORDER = (
    "solvers.tableaus solvers.stages",
    "solvers.rosenbrock",
    "solvers.settings solvers.chance solvers.densities",
    "solvers.checks",
    "solvers.steps solvers.parts",
    "solvers.forward_pass solvers.jax_checks solvers.jumps",
    "solvers.in_jax",
    "solvers.jax_steps",
    "solvers.jax_way_back",
    "solvers.in_jax_adaptive",
    "solvers.events solvers.front solvers.leapfrog solvers.noise",
    "solvers.solve",
    "solvers.backward solvers.each",
    "solvers.arrivals",
    "solvers.adjoint solvers.checkpoints solvers.interpolated",
    "solvers",
    "systems random_systems paths",
    "data.files data.toys data.sentences",
    "data.graphs data.images data.series data.spirals data.visits data.weather",
    "data",
    "models.fields models.fixed_points models.layers",
    "models.physics models.stochastic",
    "models.classifiers models.controlled models.graphs",
    "models",
    "latent flows.trace flows.matching",
    "flows.continuous flows.digits flows.planar",
    "flows.pixels",
    "flows",
    "shooting",
    "parallel",
    "resuming",
    "training",
    "forecasting measuring",
    "records",
    "plotting",
    "widgets.page.module",
    "widgets.page.html",
    "widgets.page",
    "widgets.learner",
    "widgets.wire",
    "widgets.traits",
    "widgets.figure",
    "widgets.adjoint widgets.digit widgets.field widgets.fixed_point widgets.graph "
    "widgets.horizon widgets.latent widgets.noise widgets.particles widgets.path "
    "widgets.pendulum widgets.sampler widgets.scaling widgets.step "
    "widgets.step_size widgets.tolerance widgets.train",
    "widgets",
    "checks.check",
    "checks",
)

Graph = Mapping[str, frozenset[str]]


def modules(root: Path = ROOT) -> dict[str, Path]:
    """The files of the package by the name of their module, without the package's own
    name in front; the package itself is left out: it imports nothing.
    """
    folder = root / PACKAGE
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Every import of the code, at the top of a file or inside a function: a module, and
    the name taken out of it, or "".

    Raises
    ------
    ValueError
        For a relative import: a full name says which room it comes from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: a relative import; name it full")
            yield from ((node.module or "", alias.name) for alias in node.names)


def graph(root: Path = ROOT) -> Graph:
    """Which modules of the package each of them imports."""
    files = modules(root)
    trees = {
        name: ast.parse(path.read_text(encoding="utf-8"))
        for name, path in files.items()
    }
    handed_on = {name: {taken for _, taken in imports(trees[name])} for name in trees}

    def imported(name: str) -> Iterator[str]:
        for module, taken in imports(trees[name]):
            room = module.removeprefix(f"{PACKAGE}.") if module != PACKAGE else ""
            if room == module:
                continue  # another package
            inner = f"{room}.{taken}".strip(".")
            # `solve` is a function that its room hands on, and a file of the room.
            if inner in files and taken not in handed_on.get(room, ()):
                yield inner
            elif room:
                yield room

    return {name: frozenset(imported(name)) for name in files}


def wrong_arrows(arrows: Graph, order: tuple[str, ...] = ORDER) -> list[str]:
    """What does not keep to the order, one sentence each."""
    level = {name: i for i, line in enumerate(order) for name in line.split()}
    wrong = [f"{name} has no place in ORDER" for name in arrows if name not in level]
    wrong += [
        f"{name} is in ORDER and not there" for name in level if name not in arrows
    ]
    for name, imported in arrows.items():
        wrong += [
            f"{name} imports {other}, which does not stand above it"
            for other in sorted(imported)
            if level.get(other, -1) >= level.get(name, len(order))
        ]
    return wrong


def print_rooms(arrows: Graph, order: tuple[str, ...] = ORDER) -> None:
    """A line for each module, in order, with what it imports; what lives in the same
    folder goes by its first name.
    """
    names = [name for line in order for name in line.split() if name in arrows]
    width = max(map(len, names))
    for name in names:
        folder = f"{name.rpartition('.')[0] or name}."
        above = ", ".join(
            other.removeprefix(folder) for other in names if other in arrows[name]
        )
        print(
            textwrap.fill(
                above or "–",
                width=100,
                initial_indent=f"{name:{width}}  ← ",
                subsequent_indent=" " * (width + 4),
            )
        )


def main() -> None:
    arrows = graph()
    print_rooms(arrows)
    if wrong := wrong_arrows(arrows):
        sys.exit("\n".join(["", *wrong]))


if __name__ == "__main__":
    main()

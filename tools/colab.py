"""Write copies of the chapters and the playground that open and run in Colab.

    python -m tools.colab OWNER/REPO OUT

A copy begins with a cell that installs the package from the repository OWNER/REPO, at
the tag of this version, and leaves every version that Colab has as it is. Its links lead
to the other copies and to files of the repository. The chapters themselves know nothing
of Colab; copies are made when the course is published, and lie on the branch `colab`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools.address import BRANCH, COLAB, GITHUB, named
from tools.myst import links_moved, plain

__all__ = ["NOTEBOOKS", "TAG", "copy", "install", "released", "write"]

ROOT = Path(__file__).parents[1]
NOTEBOOKS = [*sorted((ROOT / "chapters").glob("*.ipynb")), ROOT / "playground.ipynb"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TAG = f"v{PROJECT['project']['version']}"

INSTALL = """\
# Run this cell first. {runtime}
# pip adds what is missing. What Colab has, and its GPU needs, keeps its version.
!pip list --format=freeze > /tmp/held.txt
!pip install --quiet --constraint /tmp/held.txt "course-lib[compare] @ {source}"
"""
GPU = "A GPU helps: with one (Runtime, Change runtime type) trainings are longer."
CPU = "It needs no GPU."
SOLUTION = '#@title The solution { display-mode: "form" }\n'


def install(source: str, *, gpu: bool) -> str:
    """The code of the first cell.

    Parameters
    ----------
    source : str, where pip finds the package, as in ``course-lib @ source``
    gpu : bool, whether the chapter uses one
    """
    return INSTALL.format(source=source, runtime=GPU if gpu else CPU).rstrip()


def released(repository: str) -> str:
    """Where pip finds the package of a published course: its tag in the repository."""
    return f"git+{GITHUB}/{repository}@{TAG}"


def copy(
    notebook: NotebookNode, repository: str, source: str, folder: str = "chapters"
) -> NotebookNode:
    """A copy of a chapter for Colab.

    Parameters
    ----------
    notebook : NotebookNode, the chapter as it is committed; it stays as it is
    repository : str, OWNER/REPO on GitHub
    source : str, where pip finds the package
    folder : str, where the chapter lies in the repository

    Returns
    -------
    NotebookNode : without outputs; with a GPU asked for, if the chapter uses one
    """
    gpu = any("by_device(" in cell.source for cell in notebook.cells)
    first = nbformat.v4.new_code_cell(install(source, gpu=gpu), id="install")
    moved = _moved(repository, folder)
    cells = [first, *(_cell(cell, moved) for cell in notebook.cells)]
    metadata = {"kernelspec": notebook.metadata.kernelspec}
    if gpu:
        metadata["accelerator"] = "GPU"
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def _cell(cell: NotebookNode, moved: Callable[[str], str]) -> NotebookNode:
    if cell.cell_type == "markdown":
        text = links_moved(plain(cell.source), moved)
        return nbformat.v4.new_markdown_cell(text, id=cell.id)
    if "hide-cell" in cell.metadata.get("tags", []):
        folded = {"cellView": "form"}
        return nbformat.v4.new_code_cell(
            SOLUTION + cell.source, id=cell.id, metadata=folded
        )
    return nbformat.v4.new_code_cell(cell.source, id=cell.id)


def _moved(repository: str, folder: str) -> Callable[[str], str]:
    """What becomes of a link from a notebook in a folder to a file: another chapter's copy, a picture
    as it is, any other file as GitHub shows it.
    """

    def moved(path: str) -> str:
        name = (ROOT / folder / path).resolve().relative_to(ROOT).as_posix()
        if name.endswith(".ipynb"):
            return f"{COLAB}/github/{repository}/blob/{BRANCH}/{name}"
        shown = "raw" if re.search(r"\.(png|svg|jpe?g|gif)$", name) else "blob"
        return f"{GITHUB}/{repository}/{shown}/{TAG}/{name}"

    return moved


def write(repository: str, out: Path, source: str = "") -> list[Path]:
    """Write all copies below `out`, where the notebooks lie in the repository.

    Raises
    ------
    ValueError
        If `repository` is not of the form OWNER/REPO.
    """
    released_at = released(named(repository))
    written = []
    for path in NOTEBOOKS:
        notebook, place = nbformat.read(path, as_version=4), path.relative_to(ROOT)
        made = copy(notebook, repository, source or released_at, str(place.parent))
        target = out / place
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(made, target)
        written.append(target)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.split("\n\n")[1].strip())
    try:
        copies = write(sys.argv[1], Path(sys.argv[2]))
    except ValueError as error:
        sys.exit(str(error))
    print(f"{len(copies)} copies in {sys.argv[2]}")

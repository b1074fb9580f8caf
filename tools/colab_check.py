"""Run every chapter's Colab copy in an environment with Colab's own versions.

    python -m tools.colab_check [CHAPTER ...]          # in an environment made for it
    python -m tools.colab_check --here [CHAPTER ...]   # in Colab's own runtime

The environment holds what tools/colab-versions.txt lists. The install cell is run in it
as a reader runs it, with this checkout in the place of the repository; no version that
Colab has may move. Then the chapters run, one after the other. What Colab has and this
check does not is said: another Python, a GPU.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from tools import colab, site

__all__ = ["VERSIONS", "Place", "check", "listed", "made", "wanted_python"]

ROOT = Path(__file__).parents[1]
HOME = ROOT / "_build" / "colab-check"
VERSIONS = Path(__file__).with_name("colab-versions.txt")
COLOUR = re.compile(r"\x1b\[[\d;]*m")

INSTALLED = """
import json
from importlib.metadata import distributions
print(json.dumps({found.name: found.version for found in distributions()}))
"""
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
try:
    NotebookClient(notebook, timeout=3600, kernel_name="python3").execute(cwd=sys.argv[2])
finally:
    nbformat.write(notebook, sys.argv[1])
"""


# --- an environment like Colab's ------------------------------------------------------


class Place:
    """An environment in which chapters run.

    Parameters
    ----------
    python : Path, its interpreter
    """

    def __init__(self, python: Path):
        self.python = python

    def run(self, *command) -> str:
        """Run its Python with these arguments; what was printed.

        Raises
        ------
        SystemExit
            If it fails, with the end of what it said.
        """
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": "", "TQDM_DISABLE": "1"}
        done = subprocess.run(
            [str(part) for part in (self.python, *command)],
            env={"OMP_NUM_THREADS": "1"} | os.environ | own,
            cwd=HOME,  # and not where course_lib lies
            capture_output=True,
            text=True,
        )
        if done.returncode:
            said = COLOUR.sub("", done.stdout + done.stderr).strip().splitlines()
            raise SystemExit("\n".join([*said[-30:], f"{command[-1]}: failed"]))
        return done.stdout

    def versions(self) -> dict[str, str]:
        """The version of everything that is installed, by name."""
        found = json.loads(self.run("-c", INSTALLED))
        return {_plain(name): version for name, version in found.items() if name}

    def moved(self, held: dict[str, str]) -> list[str]:
        """Which of these versions it does not have, one sentence each."""
        found = self.versions()
        return [
            f"{name} is {found.get(_plain(name), 'gone')}, Colab has {version}"
            for name, version in held.items()
            # A build may have a label: 2.11.0+cpu.
            if found.get(_plain(name), "").partition("+")[0]
            != version.partition("+")[0]
        ]

    def would_move(self, held: dict[str, str], source: str) -> list[str]:
        """Which of these packages pip would replace if nothing held them."""
        pip = ["-m", "pip", "install", "--quiet", "--dry-run", "--report", "-"]
        report = json.loads(self.run(*pip, f"course-lib[compare] @ {source}"))
        new = {_plain(each["metadata"]["name"]) for each in report["install"]}
        return sorted(new & {_plain(name) for name in held})

    def execute(self, path: Path) -> tuple[int, int]:
        """Run a notebook in an empty folder; its outputs stay in it.

        Returns
        -------
        figures, complaints : int
            How many live figures it shows, and how often something went to stderr.
        """
        empty = HOME / "empty"
        shutil.rmtree(empty, ignore_errors=True)
        empty.mkdir()
        self.run("-c", EXECUTE, path, empty)
        cells = nbformat.read(path, as_version=4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        view = "application/vnd.jupyter.widget-view+json"
        figures = sum(view in output.get("data", {}) for output in outputs)
        return figures, sum(output.get("name") == "stderr" for output in outputs)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def listed() -> dict[str, str]:
    """The versions that Colab has, by name."""
    lines = VERSIONS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def wanted_python() -> str:
    """The Python that Colab has, as in 3.13."""
    return re.search(r"Python (\d+\.\d+)", VERSIONS.read_text(encoding="utf-8"))[1]


def made() -> Place:
    """Make an environment with what Colab has, and say what it lacks. Its Python is
    $PYTHON, else the one that Colab has, else the one that runs this.
    """
    python = os.environ.get("PYTHON") or shutil.which(f"python{wanted_python()}")
    target = HOME / "environment"
    make = [python or sys.executable, "-m", "venv", "--clear", str(target)]
    subprocess.run(make, check=True)
    place = Place(target / "bin" / "python")
    place.run("-m", "pip", "install", "--quiet", "uv")
    place.run("-m", "uv", "pip", "install", "--quiet", "-r", VERSIONS)
    found = place.run("-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    lacks = ["a GPU"]
    if found != wanted_python():
        lacks.insert(0, f"Python {wanted_python()} (here: {found})")
    print(f"Colab has, and this check has not: {', '.join(lacks)}", flush=True)
    return place


# --- the chapters ---------------------------------------------------------------------


def install(place: Place, held: dict[str, str], source: str) -> None:
    """Run the first cell of a copy, alone.

    Raises
    ------
    SystemExit
        If it moves what Colab has, or would without its constraints, or does not
        install.
    """
    if would := place.would_move(held, source):
        raise SystemExit(f"the ranges of pyproject.toml move {', '.join(would)}")
    cell = nbformat.v4.new_code_cell(colab.install(source, gpu=False))
    path = HOME / "install.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    place.execute(path)
    place.run("-c", "import course_lib, diffrax, torchdiffeq")
    if moved := place.moved(held):
        raise SystemExit("\n".join(["the install cell moved versions:", *moved]))
    print(f"installed; all {len(held)} versions are as they were", flush=True)


def run_copy(place: Place, path: Path) -> None:
    """Run a copy without its first cell, which has been run, and say how it went."""
    notebook = nbformat.read(path, as_version=4)
    del notebook.cells[0]
    nbformat.write(notebook, path)
    start = time.monotonic()
    figures, complaints = place.execute(path)
    spent = f"{time.monotonic() - start:.0f} s"
    said = f"{figures} live figures, {complaints} complaints"
    print(f"ran {path.stem} in {spent}: {said}", flush=True)


def check(chosen: list[str], *, here: bool = False) -> None:
    """Install, and run the chapters whose names begin so.

    Parameters
    ----------
    chosen : list of str, as in ["02", "13"]; all of them if it is empty
    here : bool
        Whether this Python is Colab's own; else an environment is made for it.
    """
    HOME.mkdir(parents=True, exist_ok=True)
    place = Place(Path(sys.executable)) if here else made()
    held = place.versions() if here else listed()
    # Not below the checkout, where tools would find a second one.
    with tempfile.TemporaryDirectory() as folder:
        site.sources(Path(folder))
        source = Path(folder).as_uri()
        install(place, held, source)
        for path in colab.write("OWNER/REPO", HOME, source):
            if not chosen or path.name.startswith(tuple(chosen)):
                run_copy(place, path)
    if moved := place.moved(held):
        raise SystemExit("\n".join(["the chapters moved versions:", *moved]))
    print("every chapter ran, and no version moved")


if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if name != "--here"]
    check(names, here="--here" in sys.argv)

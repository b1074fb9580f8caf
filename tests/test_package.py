"""The package as one gets it: a wheel, in an environment that knows nothing of this
checkout, and what stands in the papers beside it.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

from tools.rooms import imports, modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CHAPTER = ROOT / "chapters" / "02_solving_an_ode.ipynb"

# One wheel and one environment for all tests here: on one worker.
pytestmark = pytest.mark.xdist_group("package")

EVERYTHING = '''
"""What the chapters take from the package, in one run."""

import importlib
import pkgutil
from pathlib import Path

import torch

import course_lib
from course_lib import data, flows, latent, models, parallel, records, widgets

for module in pkgutil.walk_packages(course_lib.__path__, "course_lib."):
    importlib.import_module(module.name)

digits, clothes = data.mnist(train=False), data.fashion_mnist(train=False)
assert len(digits.images) == len(clothes.images) == 10_000
assert len(data.weather().dates) == 1461

stored = {
    "mnist_odenet": models.digit_odenet(),
    "fashion_odenet": models.fashion_odenet(),
    "spirals_latent_ode": latent.LatentODE(latent=6, hidden=64, width=64),
    "spirals_late_ode": latent.LatentODE(latent=6, hidden=64, width=64),
    "diverse_latent_ode": latent.LatentODE(latent=8, hidden=96, width=96),
    "diverse_late_ode": latent.LatentODE(latent=8, hidden=96, width=96),
    "digit_vae": flows.DigitVAE(),
    "digit_flow": flows.digit_velocity(),
    "digit_pixels": flows.pixel_velocity(),
}
assert stored.keys() == {path.stem for path in records.WEIGHTS.glob("*.safetensors")}
for name, model in stored.items():
    assert records.load_model(model, name)["command"]
    model.eval().requires_grad_(False)
found = [path.stem for path in records.RESULTS.glob("*.json")]
assert {"mnist", "latent_ode"} <= set(found) and all(map(records.results, found))

field = models.MLPDynamics(2, (16,))
plane = ((-3.0, 3.0), (-3.0, 3.0))
figures = [
    widgets.StepSizeExplorer(),
    widgets.ToleranceExplorer(),
    widgets.AdjointExplorer(),
    widgets.StepExplorer(),
    widgets.FixedPointExplorer(method="newton"),
    widgets.NoiseExplorer(system="double well"),
    widgets.FlowExplorer(field, start=(1.0, 0.0), window=plane),
    widgets.DensityFlowExplorer(field, data=torch.randn(20, 2), window=plane),
    widgets.DigitDepthExplorer(
        stored["mnist_odenet"], digits.images, digits.labels, [0, 1]
    ),
    widgets.LatentExplorer(
        stored["spirals_latent_ode"],
        start=torch.zeros(6),
        end=torch.ones(6),
        t_end=1.0,
    ),
    widgets.DigitSampler(stored["digit_flow"], stored["digit_vae"]),
    widgets.TrainExplorer(),
    widgets.HorizonExplorer(),
    widgets.PathExplorer(
        models.NeuralCDE(1, 4, 1, width=8), [(0.0, 0.2), (0.5, 1.0), (1.0, 0.0)]
    ),
    widgets.PendulumExplorer(
        field,
        models.HamiltonianField(
            models.SeparableEnergy(
                *(models.ScalarNetwork(1, (8,)) for _ in range(2))
            )
        ),
    ),
    widgets.ScalingExplorer({"a": parallel.StepCost(1e-3, 1e-4, 1e4, 1e-4, 1e9)}),
]
field = models.GraphField(torch.eye(12), 2, bias=False)
flow = models.NodeClassifier(1, 2, 1, models.NeuralODE(field), bias=False)
figures.append(widgets.GraphExplorer(flow, {"ring": data.ring(12)}, warm=[0]))
shown = {type(figure).__name__ for figure in figures}
kinds = ("Explorer", "Sampler")
assert shown == {name for name in widgets.__all__ if name.endswith(kinds)}
assert all("export default" in figure._esm for figure in figures)
for figure in figures:
    figure.solution()

print(Path(course_lib.__file__).parent)
'''

EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
last = "import course_lib; print(course_lib.__file__)"
notebook.cells.append(nbformat.v4.new_code_cell(last))
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
print(notebook.cells[-1].outputs[0].text.strip())
"""


def files_of_the_package(root: Path) -> set[str]:
    """All files of course_lib below `root`, their paths from there."""
    return {
        path.relative_to(root).as_posix()
        for path in (root / "course_lib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy: setuptools leaves a folder beside the sources."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(
        ROOT / "course_lib",
        source / "course_lib",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    # Folders that must not be taken along.
    for name in ("tests", "tools"):
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    project = PROJECT["project"]
    for name in ("pyproject.toml", project["readme"], *project["license-files"]):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    quiet = ["--quiet", "--no-index", "--disable-pip-version-check"]
    target = ["--wheel-dir", str(source / "dist"), str(source)]
    subprocess.run([*build, *quiet, *target], check=True, timeout=300)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """Run Python in a fresh environment that holds the wheel, in an empty folder.

    The libraries are those of this environment, named in a .pth file of the new one.
    A path named so brings no .pth files of its own: the checkout, which is installed
    with one, is out of sight.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=os.name != "nt")
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet"]
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *offline, str(wheel)], check=True, timeout=300)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(home)}))
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(program: str, *arguments) -> Path:
        (elsewhere / "program.py").write_text(program, encoding="utf-8")
        hidden = ("PYTHONPATH", "VIRTUAL_ENV", "COURSE_DATA")
        kept = {key: value for key, value in os.environ.items() if key not in hidden}
        done = subprocess.run(
            [python, "program.py", *arguments],
            cwd=elsewhere,
            env=kept | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        place = Path(done.stdout.splitlines()[-1])
        assert site in place.parents, "the package was found outside the environment"
        return place

    return run


# --- the wheel ------------------------------------------------------------------------


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    held = {name for name in names if ".dist-info/" not in name}
    assert held == files_of_the_package(ROOT)
    kinds = {Path(name).suffix for name in held}
    assert kinds >= {".py", ".mjs", ".js", ".css", ".safetensors", ".json", ".xz"}
    assert "course_lib/py.typed" in held


def test_the_wheel_carries_its_licence_and_what_the_data_are_under(wheel):
    archive = zipfile.ZipFile(wheel)
    (folder,) = {n.split("/")[0] for n in archive.namelist() if ".dist-info/" in n}
    for name in ("LICENSE", "NOTICE"):
        inside = archive.read(f"{folder}/licenses/{name}")
        assert inside == (ROOT / name).read_bytes()
    metadata = archive.read(f"{folder}/METADATA").decode()
    assert "License-Expression: MIT" in metadata
    assert "Author: The course authors" in metadata
    assert "Requires-Python: >=3.11" in metadata


def test_all_that_chapters_take_from_the_package_runs_from_the_wheel(run):
    assert run(EVERYTHING).name == "course_lib"


def test_a_chapter_runs_from_the_wheel_in_another_folder(run):
    assert run(EXECUTE, str(CHAPTER)).name == "__init__.py"


# --- the papers -----------------------------------------------------------------------


def test_the_papers_name_one_version():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    version = PROJECT["project"]["version"]
    assert re.search(r"^## \[?([\d.]+)", changes, re.M)[1] == version
    assert re.search(r"^version: (\S+)$", citation, re.M)[1] == version


def test_both_licences_are_whole():
    code = (ROOT / "LICENSE").read_text(encoding="utf-8")
    text = (ROOT / "LICENSE-TEXT").read_text(encoding="utf-8")
    assert "Permission is hereby granted" in code and "NONINFRINGEMENT" in code
    assert all(f"\nSection {i} -- " in text for i in range(1, 9))


OWN_TEMPLATES = {"templates/reading-mode.html"}  # the others are the theme's, mended


def test_every_bundled_set_and_foreign_file_has_its_notice():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    data = (ROOT / "course_lib" / "bundled").rglob("*.xz")
    sets = {re.split(r"-(?=train|t10k)|\.", path.name)[0] for path in data}
    files = (ROOT / "templates").rglob("*.html")
    templates = {str(path.relative_to(ROOT)) for path in files} - OWN_TEMPLATES
    assert sets and templates
    for name in (*sets, *templates, "assets/mathjax"):
        assert name in notice, name


def test_what_the_package_imports_is_declared():
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["compare"]]
    declared = {re.match(r"[\w-]+", each)[0] for each in wanted}
    # The names under which some are imported; the last is there where Colab is.
    called = {"pillow": "PIL", "ipython": "IPython"}
    known = {called.get(name, name) for name in declared} | {"course_lib", "google"}
    for module, path in modules().items():
        found = imports(ast.parse(path.read_text(encoding="utf-8")))
        roots = {name.partition(".")[0] for name, _ in found}
        assert not roots - known - sys.stdlib_module_names, module

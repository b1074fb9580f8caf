"""The chapters' copies for Colab: what they begin with, what they keep, where they lead."""

import re
import tomllib

import nbformat
import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from tools import colab, colab_check
from tools.address import BRANCH, COLAB, GITHUB
from tools.myst import citation, links_moved, plain

REPOSITORY = "someone/a-course"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
SOURCE = colab.released(REPOSITORY)
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}

by_chapter = pytest.mark.parametrize(
    "path", colab.NOTEBOOKS, ids=lambda path: path.stem
)


def chapter_and_copy(path):
    chapter = nbformat.read(path, as_version=4)
    folder = str(path.relative_to(ROOT).parent)
    return chapter, colab.copy(chapter, REPOSITORY, SOURCE, folder)


def prose_of(notebook) -> str:
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return "\n\n".join(texts)


# --- the copies -----------------------------------------------------------------------


@by_chapter
def test_a_copy_installs_the_released_package_first_and_has_no_outputs(path):
    _, copy = chapter_and_copy(path)
    nbformat.validate(copy)
    first = copy.cells[0].source
    assert f"git+{GITHUB}/{REPOSITORY}@v{PROJECT['version']}" in first
    assert "--constraint" in first
    code = [cell for cell in copy.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert set(copy.metadata) <= {"kernelspec", "accelerator"}


@by_chapter
def test_a_copy_has_every_cell_of_its_chapter_and_the_same_code(path):
    chapter, copy = chapter_and_copy(path)
    assert [cell.id for cell in copy.cells[1:]] == [cell.id for cell in chapter.cells]
    for theirs, ours in zip(copy.cells[1:], chapter.cells):
        if ours.cell_type == "code":
            assert theirs.source.removeprefix(colab.SOLUTION) == ours.source


@by_chapter
def test_a_copy_shows_no_mark_that_only_the_book_understands(path):
    text = prose_of(chapter_and_copy(path)[1])
    assert not re.findall(r"^(?:`{3,}|:{3,})\{.*|\{[\w:]+\}`[^`]*`", text, re.MULTILINE)
    assert text.count("<details>") == text.count("</details>")


@by_chapter
def test_the_links_of_a_copy_lead_to_copies_and_files_that_exist(path):
    text = prose_of(chapter_and_copy(path)[1])
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert all(link.startswith(("https://", "#")) for link in links)
    ours = [link for link in links if REPOSITORY in link]
    assert ours or "ipynb)" not in prose_of(nbformat.read(path, as_version=4))
    for link in ours:
        where = link.partition("#")[0].split("/", 5)[-1].split("/", 1)[-1]
        name = re.sub(rf"^({BRANCH}|{colab.TAG})/", "", where.removeprefix("blob/"))
        assert (ROOT / name).is_file(), link


def test_a_copy_asks_for_a_gpu_where_the_chapter_trains_longer_on_one():
    for path in colab.NOTEBOOKS:
        chapter, copy = chapter_and_copy(path)
        longer = "by_device(" in "".join(cell.source for cell in chapter.cells)
        assert (copy.metadata.get("accelerator") == "GPU") is longer
        assert (colab.GPU in copy.cells[0].source) is longer


def test_chapters_themselves_know_nothing_of_colab():
    for path in colab.NOTEBOOKS:
        assert "colab" not in path.read_text(encoding="utf-8").lower()


def test_all_copies_are_written_where_the_button_looks_for_them(tmp_path):
    written = colab.write(REPOSITORY, tmp_path)
    assert [path.relative_to(tmp_path) for path in written] == [
        path.relative_to(ROOT) for path in colab.NOTEBOOKS
    ]


def test_a_repository_that_github_could_not_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match="OWNER/REPO"):
        colab.write("https://example.org/a", tmp_path)


def test_the_readme_shows_the_cell_that_the_copies_begin_with():
    lines = colab.install(colab.released("OWNER/REPO"), gpu=False).splitlines()
    commands = "\n".join(line for line in lines if not line.startswith("#"))
    assert commands in (ROOT / "README.md").read_text(encoding="utf-8")


# --- the versions that Colab has ------------------------------------------------------


def test_the_package_allows_every_version_that_colab_has():
    held = {
        re.sub("_", "-", name).lower(): v for name, v in colab_check.listed().items()
    }
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["compare"]
    shared = [each for each in map(Requirement, wanted) if each.name in held]
    assert {"torch", "jax", "numpy", "ipython", "anywidget"} <= {r.name for r in shared}
    for requirement in shared:
        assert held[requirement.name] in requirement.specifier, str(requirement)


def test_a_version_that_moved_is_named(monkeypatch):
    place = colab_check.Place(None)
    found = {"torch": "2.11.0+cpu", "jax": "0.10.2", "ml-dtypes": "0.6.0"}
    monkeypatch.setattr(place, "versions", lambda: found)
    held = {"torch": "2.11.0", "jax": "0.7.2", "ml_dtypes": "0.6.0", "scipy": "1.16.3"}
    assert place.moved(held) == [
        "jax is 0.10.2, Colab has 0.7.2",
        "scipy is gone, Colab has 1.16.3",
    ]


# --- MyST as Markdown -----------------------------------------------------------------


def test_a_citation_names_and_links_the_work():
    chen = "[Chen et al. (2018)](https://arxiv.org/abs/1806.07366)"
    assert citation(["chen2018"], textual=True) == chen
    assert plain("As {cite:t}`chen2018` say") == f"As {chen} say"
    both = plain("{cite:p}`hairer1993,dormand1980`")
    assert both.startswith("(Hairer et al., 1993; Dormand and Prince, 1980")


def test_a_dropdown_folds_and_what_stands_in_it_stays():
    fenced = "````{dropdown} Is `h` < 1?\n:open:\nNo.\n\n```python\nh = 2\n```\n````\n"
    assert plain(fenced) == (
        "<details><summary>Is <code>h</code> &lt; 1?</summary>\n\n"
        "No.\n\n```python\nh = 2\n```\n\n</details>\n"
    )


def test_a_theorem_a_note_and_a_formula_can_be_read():
    theorem = ":::{prf:theorem} Picard\n:label: picard\nOne solution.\n:::\n"
    assert plain(theorem) == "**Theorem** (Picard)\n\nOne solution.\n"
    assert plain("```{note}\nMind it.\n```\n") == "**Note**\n\nMind it.\n"
    assert plain("```{math}\n:label: euler\ny' = f\n```\n") == "$$\ny' = f\n$$\n"


def test_a_number_of_a_formula_and_a_reference_to_it_agree():
    text = plain(
        "(here)=\n$$y' = f$$ (euler)\n\nBy {eq}`euler`, {ref}`that page <here>`."
    )
    assert text == "$$y' = f\\tag{euler}$$\n\nBy (euler), that page."


def test_links_within_a_page_and_to_other_hosts_stay():
    text = "[a](02_b.ipynb#c) [d](#e) [f](https://g.org/h) ![i](../assets/j.png)"
    moved = links_moved(text, lambda path: f"<{path}>")
    assert moved == (
        "[a](<02_b.ipynb>#c) [d](#e) [f](https://g.org/h) ![i](<../assets/j.png>)"
    )


def test_a_link_to_a_chapter_opens_its_copy_in_colab():
    cell = nbformat.v4.new_markdown_cell("[02](02_solving_an_ode.ipynb)")
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=KERNEL)
    copy = colab.copy(notebook, REPOSITORY, SOURCE)
    page = f"{COLAB}/github/{REPOSITORY}/blob/{BRANCH}/chapters/02_solving_an_ode.ipynb"
    assert copy.cells[1].source == f"[02]({page})"

"""How the course is published: its address, what a release holds, the workflows."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import ROOT

from tools import address, links, plain, site

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
REPOSITORY = "someone/a-course"


# --- the address ----------------------------------------------------------------------


def test_the_repository_is_the_variable_or_what_pyproject_says(monkeypatch, tmp_path):
    monkeypatch.setattr(address, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'a'\n")
    monkeypatch.delenv("REPOSITORY", raising=False)
    assert address.repository() == ""
    urls = f"[project.urls]\nRepository = '{address.GITHUB}/{REPOSITORY}'\n"
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'a'\n{urls}")
    assert address.repository() == REPOSITORY
    monkeypatch.setenv("REPOSITORY", "another/one")
    assert address.repository() == "another/one"


def test_a_name_that_is_no_repository_is_refused():
    for name in ("course", "https://github.com/a/b", "a/b/c", "a/b; ls"):
        with pytest.raises(ValueError, match="OWNER/REPO"):
            address.named(name)


def test_pages_lie_below_the_owner_unless_another_place_is_named(monkeypatch):
    monkeypatch.delenv("BOOK_URL", raising=False)
    assert address.site("Some-One/Course") == "https://some-one.github.io/Course/"
    assert address.site("Some/some.github.io") == "https://some.github.io/"
    monkeypatch.setenv("BOOK_URL", "https://example.org/")
    assert address.site("a/b") == "https://example.org/"


# --- the button -----------------------------------------------------------------------


def small_book(folder: Path, repository: str) -> str:
    """Build a book of one notebook with the course's settings; the page."""
    for name in ("templates", "assets"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("references.bib", "course_lib/widgets/page/host.js"):
        shutil.copy(ROOT / name, folder / "assets" / Path(name).name)
    shutil.copy(ROOT / "references.bib", folder)
    (folder / "intro.md").write_text("# A book\n")
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nchapters:\n- file: chapters/01_a\n"
    )
    row = {"file": "01_a", "question": "What?", "needs": [], "able": "read"}
    table = {"chapters": [row], "routes": []}
    (folder / "_chapters.yml").write_text(yaml.safe_dump(table))
    (folder / "chapters").mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [nbformat.v4.new_markdown_cell("# A chapter")]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(notebook, folder / "chapters" / "01_a.ipynb")
    settings = address.addressed(CONFIG, repository) if repository else CONFIG
    (folder / "_config.yml").write_text(yaml.safe_dump(settings))
    command = [ROOT / ".venv" / "bin" / "jupyter-book", "build", folder, "-q"]
    here = os.environ | {"PYTHONPATH": str(ROOT)}  # for the course's extensions
    subprocess.run(command, check=True, capture_output=True, env=here)
    page = folder / "_build" / "html" / "chapters" / "01_a.html"
    return page.read_text(encoding="utf-8")


def test_a_chapter_has_a_button_for_colab_once_the_book_has_an_address(tmp_path):
    page = small_book(tmp_path, REPOSITORY)
    copy = f"{address.COLAB}/github/{REPOSITORY}/blob/colab/chapters/01_a.ipynb"
    assert f'href="{copy}"' in page
    assert f'href="{address.GITHUB}/{REPOSITORY}"' in page
    assert "edit/" not in page and "/issues" not in page


def test_a_chapter_has_no_button_before(tmp_path):
    page = small_book(tmp_path, "")
    assert address.COLAB not in page and address.GITHUB not in page


def test_every_chapter_of_the_built_book_has_the_button_that_its_address_gives():
    there = (ROOT / "_build" / "address").read_text(encoding="utf-8").strip()
    for path in (ROOT / "_build" / "html" / "chapters").glob("*.html"):
        copy = f"/github/{there}/blob/colab/chapters/{path.stem}.ipynb"
        text = path.read_text(encoding="utf-8")
        assert (f'href="{address.COLAB}{copy}"' in text) is bool(there)
        assert (address.COLAB in text) is bool(there)


# --- what a release holds -------------------------------------------------------------


def test_a_release_says_what_the_changelog_says_of_its_version():
    text = "# Changelog\n\n## 0.2.0 (now)\n\n### Added\n\n- a\n\n## 0.1.0\n\n- b\n"
    assert site.changes(text, "0.2.0") == "### Added\n\n- a\n"
    assert site.changes(text, "0.1.0") == "- b\n"
    with pytest.raises(ValueError, match="no section on"):
        site.changes(text, "0.3.0")


def test_the_sources_that_are_packed_hold_the_package_and_nothing_that_is_built(
    tmp_path,
):
    site.sources(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"course_lib", "pyproject.toml", "LICENSE", "NOTICE"} <= names
    assert not names & {"_build", ".venv", "node_modules", ".git"}


# --- Sphinx alone, links --------------------------------------------------------------


def test_two_books_differ_where_a_page_or_a_word_does(tmp_path):
    for name, text in (("one", "Drag h past 2."), ("two", "Drag h past 3.")):
        (tmp_path / name).mkdir()
        for page in ("a.html", f"{name}.html"):
            (tmp_path / name / page).write_text(
                f"<html><script>{name}</script><p>{text}</p></html>"
            )
    found = plain.differences(tmp_path / "one", tmp_path / "two")
    assert found == [
        "only one has one.html",
        "only one has two.html",
        "a.html differs: '2.' and '3.'",
    ]
    assert plain.differences(tmp_path / "one", tmp_path / "one") == []


def test_a_page_that_asks_to_sign_in_is_there_and_one_that_is_gone_is_named(tmp_path):
    rows = [
        '{"status": "working", "uri": "a", "filename": "b", "lineno": 1, "info": ""}',
        '{"status": "broken", "uri": "c", "filename": "d", "lineno": 2, "info": "404"}',
        '{"status": "broken", "uri": "e", "filename": "f", "lineno": 3, "info": "403"}',
    ]
    (tmp_path / "output.json").write_text("\n".join(rows))
    assert links.broken(tmp_path / "output.json") == ["c (d:2): 404"]


# --- the workflows --------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_a_hash_with_its_version_beside_it(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"^[ -]*uses: (.*)", text, re.MULTILINE)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+(\.\d+)*", action), action


def test_one_action_has_one_hash_in_all_workflows():
    texts = "\n".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    pins = set(re.findall(r"uses: ([\w./-]+)@(\w+)", texts))
    assert len(pins) == len({action for action, _ in pins})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_a_job_that_writes_says_what(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(workflow["permissions"].values()) <= {"read"}
    allowed = {
        ("publish", "pages"): {"pages", "id-token"},
        ("publish", "colab"): {"contents"},
        ("publish", "release"): {"contents"},
        ("weekly", "report"): {"issues"},
    }
    for name, job in workflow["jobs"].items():
        given = job.get("permissions", {})
        writes = {what for what, how in given.items() if how == "write"}
        assert writes == allowed.get((path.stem, name), set()), name


def test_a_job_that_writes_runs_no_code_of_the_repository():
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))[
            "jobs"
        ].items():
            if "write" in job.get("permissions", {}).values():
                used = [step.get("uses", "") for step in job["steps"]]
                assert not any("checkout" in action for action in used), name


def test_no_workflow_names_a_secret_or_the_address_of_a_repository():
    for path in WORKFLOWS:
        text = path.read_text(encoding="utf-8")
        assert "secrets." not in text and "github.com/" not in text


def test_what_the_workflows_call_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in WORKFLOWS:
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"(?:run|command): make ([a-z-]+)", text):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        for tool in re.findall(r"\btools/[\w-]+", text):
            assert any(ROOT.glob(f"{tool}*")), tool

"""The back matter: notation, glossary and the pages made of docstrings."""

import html
import inspect
import re

import nbformat
import pytest
from conftest import ROOT
from pages import HTML

from course_lib import flows, latent, models, parallel, paths, shooting, solvers
from tools.docstrings import marked_up

REFERENCE = ROOT / "reference"
ROOMS = (solvers, latent, flows, models, parallel, paths, shooting)


def named(name: str):
    """What the package calls so."""
    return next(vars(room)[name] for room in ROOMS if name in room.__all__)


def is_there(used: str) -> bool:
    """Whether `function(argument)`, `Class.attribute`, `Class.method(argument)` or a
    name alone is in the package.
    """
    path, _, argument = used.removesuffix(")").partition("(")
    thing, *attributes = path.split(".")
    found = named(thing)
    for attribute in attributes:
        fields = inspect.signature(found).parameters
        if attribute in fields:
            return not argument
        found = getattr(found, attribute)
    return (
        not argument
        or argument in inspect.signature(found).parameters
        or (argument in inspect.signature(solvers.Settings).parameters)
    )


def rows() -> list[list[str]]:
    lines = (REFERENCE / "notation.md").read_text().splitlines()
    table = [
        re.split(r"\s*\|\s+", line.strip("| "))
        for line in lines
        if line.startswith("|")
    ]
    return table[2:]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_what_the_notation_says_of_the_code_is_in_the_code(row):
    for used in re.findall(r"`([^`]+)`", row[1]):
        assert is_there(used), used


def test_a_name_that_is_not_in_the_package_is_found_out():
    assert is_there("solve(y0)")
    assert not is_there("solve(x0)")
    with pytest.raises(StopIteration):
        is_there("solver(y0)")
    with pytest.raises(AttributeError):
        is_there("Solution.path")


def chapters_linked(text: str) -> list[str]:
    return re.findall(r"\(\.\./chapters/([\w]+\.ipynb)\)", text)


def prose(name: str) -> str:
    cells = nbformat.read(ROOT / "chapters" / name, as_version=4).cells
    text = " ".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"\s+", " ", text).lower()


def entries() -> list[tuple[str, str]]:
    body = (REFERENCE / "glossary.md").read_text().split("```{glossary}\n")[1]
    parts = [part.partition("\n") for part in body.split("```")[0].split("\n\n")]
    return [(term.strip(), text) for term, _, text in parts]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry[0])
def test_a_word_of_the_glossary_leads_to_a_chapter_that_uses_it(entry):
    term, text = entry
    linked = chapters_linked(text)
    assert linked
    assert term.lower() in " ".join(map(prose, linked))


def test_the_glossary_is_in_order():
    terms = [term.lower() for term, _ in entries()]
    assert terms == sorted(terms)


@pytest.mark.parametrize(
    ("written", "marked"),
    [
        ("shape (n, *state)", r"shape (n, \*state)"),
        ("-0.1 |a| of `W`", r"-0.1 \|a\| of ``W``"),
        ("``y' = f(t, y)`` stays", "``y' = f(t, y)`` stays"),
        ("nothing to do", "nothing to do"),
    ],
)
def test_a_docstring_is_marked_up_as_it_is_meant(written, marked):
    assert marked_up(written) == marked


def test_the_page_of_the_package_shows_a_default_as_it_is_written():
    page = html.unescape((HTML / "reference/package.html").read_text())
    signatures = re.sub(r"<[/a-z][^<>]*>", "", page)
    assert "odeint=odeint_adjoint" in signatures
    assert "path=STRAIGHT" in signatures
    assert "=<class" not in signatures

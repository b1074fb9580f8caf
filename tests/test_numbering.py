"""Equations, theorems and exercises: numbered within their chapter, and linked."""

import re
from copy import copy
from functools import cache
from urllib.parse import urldefrag

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from conftest import ROOT
from pages import CHAPTERS, HTML, PAGES

from tools import chapters, practice
from tools.myst import numbered
from tools.numbering import within

ROWS, _ = chapters.read(ROOT / "_chapters.yml")
PREFIX = {f"{row.page}.html": row.prefix for row in ROWS.values()}
LABEL = re.compile(r"\$\$ \(([\w-]+)\)|^:label: ([\w-]+)$", re.MULTILINE)
ROLE = re.compile(r"\{(?:eq|prf:ref)\}`([^`]+)`")


@cache
def article(name: str) -> Tag:
    """Return the text of a built page, parsed."""
    return BeautifulSoup((HTML / name).read_text(), "html.parser").article


def sources() -> str:
    """Return all that is written in the book: prose of chapters, and the other pages."""
    notebooks = sorted((ROOT / "chapters").glob("*.ipynb"))
    files = [ROOT / "intro.md", ROOT / "teaching.md", *ROOT.glob("reference/*.md")]
    cells = [c for path in notebooks for c in nbformat.read(path, 4).cells]
    prose = [c.source for c in cells if c.cell_type == "markdown"]
    return "\n\n".join([*prose, *(path.read_text() for path in files)])


# --- equations and theorems -----------------------------------------------------------


def labelled(name: str) -> list[tuple[str, str]]:
    """Return the places of a page that have a number, and the numbers, in order."""
    equations = [
        (e.parent["id"], e.contents[0].strip("()"))
        for e in article(name).select(".eqno")
    ]
    theorems = [
        (t["id"], t.select_one(".caption-number").get_text().split()[1])
        for t in article(name).select(".proof")
    ]
    return equations + theorems


@pytest.mark.parametrize("name", CHAPTERS)
def test_equations_and_theorems_are_counted_within_their_chapter(name):
    counts = {"equation": 0, "theorem": 0}
    for place, number in labelled(name):
        kind = "equation" if place.startswith("equation-") else "theorem"
        counts[kind] += 1
        assert number == f"{PREFIX[name]}.{counts[kind]}"


@pytest.mark.parametrize("name", PAGES)
def test_a_link_to_an_equation_or_theorem_shows_the_number_that_stands_there(name):
    numbers = {
        f"{page}#{place}": number
        for page in CHAPTERS
        for place, number in labelled(page)
    }
    for link in article(name).select("a.reference.internal[href*='#']"):
        path, place = urldefrag(link["href"])
        page = (HTML / name).parent.joinpath(path).resolve() if path else HTML / name
        number = numbers.get(f"{page.relative_to(HTML.resolve())}#{place}")
        if number:
            assert link.get_text().strip("()").split()[-1] == number


def test_every_label_is_referred_to_and_every_reference_has_its_label():
    text = sources()
    labels = [first or second for first, second in LABEL.findall(text)]
    assert len(labels) == len(set(labels)) > 60
    assert set(ROLE.findall(text)) == set(labels)


def test_every_role_became_a_link():
    roles = len(ROLE.findall(sources()))
    links = [
        link
        for name in PAGES
        for link in article(name).select("a.reference.internal")
        if re.fullmatch(r"\(\d+b?\.\d+\)|[A-Z][a-z]+ \d+b?\.\d+", link.get_text())
        and not link.get_text().startswith("Exercise")
    ]
    assert len(links) == roles


def test_a_theorem_has_a_name_and_a_statement_that_supposes_something():
    found = [t for name in CHAPTERS for t in article(name).select(".proof")]
    assert len(found) > 10
    for theorem in found:
        title, *statement = theorem.find_all(recursive=False)
        assert re.fullmatch(r"[A-Z][a-z]+ \d+b?\.\d+ \S.+", title.get_text())
        assert statement[0].get_text().startswith("Let ")


def test_colab_copies_show_the_numbers_of_the_book():
    for name in CHAPTERS:
        for place, number in labelled(name):
            shown = numbered(place.removeprefix("equation-"))
            assert shown.split()[-1] == number


def test_numbers_of_a_page_begin_at_one_in_the_order_of_the_text():
    assert within("13b", {"b": (9,), "a": (7,)}) == {"a": ("13b", 1), "b": ("13b", 2)}
    assert within("", {"a": (7,)}) == {"a": (1,)}


# --- exercises ------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHAPTERS)
def test_an_exercise_has_an_anchor_and_leads_to_its_solution_and_back(name):
    sections = article(name).select("section[id^=exercise-]")
    assert len(sections) >= 5
    for count, section in enumerate(sections, 1):
        number = f"{PREFIX[name]}.{count}"
        place = number.replace(".", "-")
        assert section["id"] == f"exercise-{place}"
        assert section.h3.get_text().startswith(f"Exercise {number}")
        solution = section.find(id=f"solution-{place}")
        assert solution.find_parent("details")
        there = section.select(f"a[href='#solution-{place}']")
        back = section.select(f"a[href='#exercise-{place}'].to-solution")
        assert (len(there), len(back)) == (1, 1)
        assert there[0].find_parent("details") is None
        assert back[0].find_parent("details")


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_contents_of_a_page_name_its_exercises_as_the_page_does(name):
    page = BeautifulSoup((HTML / name).read_text(), "html.parser")
    listed = page.select("a.nav-link[href^='#exercise-']")
    titles = {f"#{s['id']}": s for s in page.select("section[id^=exercise-]")}
    assert list(dict.fromkeys(link["href"] for link in listed)) == list(titles)
    for link in listed:
        heading = titles[link["href"]].h3.get_text().removesuffix("#")
        assert link.get_text().strip() == heading


@pytest.mark.parametrize("name", CHAPTERS)
def test_where_the_text_names_an_exercise_it_is_a_link_to_it(name):
    for paragraph in map(copy, article(name).select("p")):  # the page stays as it is
        for link in paragraph.select("a"):
            found = re.fullmatch(r"[Ee]xercise (\S+)\.(\d+)", link.get_text())
            if found:
                assert link["href"].endswith("#exercise-{}-{}".format(*found.groups()))
            link.extract()
        assert not re.search(r"[Ee]xercise \d", paragraph.get_text())


def test_the_table_for_lecturers_links_every_exercise():
    links = article("teaching.html").select("a[href*='#exercise-']")
    places = [
        f"{name}#{section['id']}"
        for name in CHAPTERS
        for section in article(name).select("section[id^=exercise-]")
    ]
    assert sorted(link["href"] for link in links) == sorted(places)


def test_an_exercise_of_another_chapter_is_named_with_its_chapter():
    parts = list(practice.linked("See exercise 3 and Exercise 13b.2.", "5", "page"))
    assert [part.astext() for part in parts] == [
        "See ",
        "exercise 5.3",
        " and ",
        "Exercise 13b.2",
        ".",
    ]
    assert [parts[k]["reftarget"] for k in (1, 3)] == ["exercise-5-3", "exercise-13b-2"]

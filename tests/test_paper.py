"""The book on paper and in one file, and the page on teaching."""

import re
import unicodedata
import zipfile

import nbformat
import pages
import pytest
import yaml
from conftest import ROOT
from pages import HTML, live_figures
from pypdf import PdfReader

from tools import archive, blanks, exercises, pdf

ADDRESS = "https://someone.example/course"
CHAPTER = pages.SHORTEST
NAMES = [CHAPTER, "references.html"]


def squeezed(text):
    """Return a text without white space and ligatures: paper has its own."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))


# --- the PDF --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Print a chapter and the references; return the PDF."""
    path = tmp_path_factory.mktemp("pdf") / "book.pdf"
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    pdf.make(HTML, NAMES, config, ADDRESS).write(path)
    return PdfReader(path)


@pytest.fixture(scope="module")
def texts(printed):
    """Return the text of each page."""
    return [page.extract_text() for page in printed.pages]


def outline_of(reader, entries=None):
    """Yield the titles of an outline with their pages, from 0."""
    for entry in reader.outline if entries is None else entries:
        if isinstance(entry, list):
            yield from outline_of(reader, entry)
        else:
            yield entry.title, reader.get_destination_page_number(entry)


def test_every_page_has_its_number_and_the_numbers_go_on(printed, texts):
    front = printed.page_labels.index("1")
    assert front >= 2
    for label, text in zip(printed.page_labels[front:], texts[front:]):
        assert label in text.split()
    assert printed.page_labels[front:] == [
        str(n + 1) for n in range(len(printed.pages) - front)
    ]


def test_the_outline_leads_to_the_headings(printed, texts):
    found = list(outline_of(printed))
    assert len(found) > 10
    for title, page in found:
        assert squeezed(title) in squeezed(texts[page])
    tops = [entry.title for entry in printed.outline if not isinstance(entry, list)]
    assert len(tops) == len(NAMES)


def test_the_contents_give_the_page_of_every_section(printed, texts):
    front = printed.page_labels.index("1")
    text = squeezed("".join(texts[:front]))
    tops = [entry for entry in printed.outline if not isinstance(entry, list)]
    assert squeezed(printed.metadata.title) in text
    for entry in tops:
        page = printed.get_destination_page_number(entry)
        assert f"{squeezed(entry.title)}{printed.page_labels[page]}" in text


def test_links_within_the_book_stay_in_the_pdf(printed):
    annotations = [
        note.get_object() for page in printed.pages for note in page.get("/Annots", [])
    ]
    within = [note for note in annotations if "/Dest" in note]
    assert len(within) > 20
    addresses = [str(note["/A"]["/URI"]) for note in annotations if "/A" in note]
    assert not [url for url in addresses if not url.startswith(("http://", "https://"))]
    assert not [url for url in addresses if url.startswith(pdf.BOOK)]


def test_a_live_figure_on_paper_says_where_it_moves(texts):
    text = squeezed("".join(texts))
    assert text.count(f"{ADDRESS}/{CHAPTER}") == live_figures(CHAPTER)
    assert "<svg" in pdf.address_of(CHAPTER, ADDRESS)
    without = pdf.address_of(CHAPTER, "")
    assert CHAPTER in without
    assert "<svg" not in without


def test_paper_shows_the_solutions_and_nothing_of_the_site(texts):
    text = squeezed("".join(texts))
    assert "Readingtheresult" in text
    for word in (
        "Showthesolution",
        "Hidethesolution",
        "Skiptomain",
        "Ctrl+K",
    ):
        assert word not in text
    notebook = nbformat.read(
        ROOT / "_build" / "executed" / f"{CHAPTER[9:-5]}.ipynb", as_version=4
    )
    for task in blanks.exercises(notebook.cells):
        assert squeezed(task.solution[0].splitlines()[0]) in text


# --- one file -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Pack the book and unpack it elsewhere."""
    folder = tmp_path_factory.mktemp("zip")
    archive.archive(HTML, folder / "course.zip")
    with zipfile.ZipFile(folder / "course.zip") as file:
        file.extractall(folder)
    return folder / "course"


@pytest.mark.parametrize("name", ["intro.html", CHAPTER, "teaching.html"])
def test_the_unpacked_book_opens_from_the_file_system(unpacked, browser, name):
    with pages.visited(browser, f"{unpacked.as_uri()}/", name) as visit:
        assert visit.page.locator("article h1").count()
        assert visit.page.locator(".live[data-drawn]").count() == live_figures(name)
    assert (visit.foreign, visit.said) == ([], [])


def test_the_archive_has_the_notebooks_that_the_pages_offer(unpacked):
    names = {path.name for path in (unpacked / "_sources").rglob("*.ipynb")}
    chapters = {path.name for path in (ROOT / "chapters").glob("*.ipynb")}
    assert names == {*chapters, "playground.ipynb"}


def test_the_archive_of_a_book_is_always_the_same(unpacked, tmp_path):
    archive.archive(unpacked, tmp_path / "course.zip")
    before = (unpacked.parent / "course.zip").read_bytes()
    assert (tmp_path / "course.zip").read_bytes() == before


# --- the page on teaching -------------------------------------------------------------


def test_the_twelve_weeks_read_every_chapter_once_in_the_order_of_the_book():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    text = (ROOT / "teaching.md").read_text()
    weeks = re.findall(r"^\| (\d+) \| (.*?) \|", text, re.MULTILINE)
    assert [int(week) for week, _ in weeks] == list(range(1, 13))
    read = re.findall(r"\((chapters/\w+)\.ipynb\)", " ".join(c for _, c in weeks))
    assert read == [file for file in files if file.startswith("chapters/")]


def test_the_table_has_every_exercise_and_harder_ones_apart():
    chapters = sorted((ROOT / "chapters").glob("*.ipynb"))
    rows = exercises.table(chapters).splitlines()[2:]
    assert len(rows) == len(chapters)
    for path, row in zip(chapters, rows):
        text = path.read_text()
        assert path.name in row
        easier, harder = row.strip("| ").split(" | ")[1:]
        assert len(re.findall(r"\(\d+\)", harder)) == text.count("(harder)")
        both = re.findall(r"(?:^|<br>)\[(\d+)\. ", easier)
        both += re.findall(r"(?:^|<br>)\[(\d+)\. ", harder)
        assert [int(n) for n in both] == [
            int(n) for n in re.findall(r"### Exercise (\d+)", text)
        ]


def test_a_solution_that_is_opened_for_the_print_does_not_fade_in(browser):
    page = browser.new_page()
    page.goto((HTML / "chapters" / "03_the_first_neural_ode.html").as_uri())
    pdf_style = pdf.STYLE.read_text(encoding="utf-8")
    page.evaluate(pdf.PREPARE, [pdf_style, pdf.BOOK, "chapters/", ""])
    moving = "() => document.getAnimations().filter((a) => a.effect.target.closest('details')).length"
    assert page.locator("details.hide[open]").count() > 4
    assert page.evaluate(moving) == 0
    page.close()

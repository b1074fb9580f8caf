"""The page of all live figures: complete, and its pictures are those of the figures."""

import json

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT
from pages import CHAPTERS, HTML, live_figures
from PIL import Image, ImageFilter

from tools import chapters, gallery, posters
from tools.landing import VIEW

EXECUTED = sorted((ROOT / "_build" / "executed").glob("*.ipynb"))
FIGURES = list(posters.shown(EXECUTED))
CONTROLS = json.loads(posters.CONTROLS.read_text(encoding="utf-8"))
SHOWN = [*CHAPTERS, "playground.html"]
ROWS, _ = chapters.read(ROOT / "_chapters.yml")


def page(name):
    return BeautifulSoup((HTML / name).read_text(), "html.parser")


def test_every_live_figure_of_every_chapter_is_listed_with_its_picture():
    items = page("reference/figures.html").select(".gallery > li")
    links = [item.a["href"].removeprefix("../") for item in items]
    pages = {row.number: f"{row.page}.html" for row in ROWS.values()}
    pages["playground"] = "playground.html"
    assert links == [
        f"{pages[figure.name.partition('-')[0]]}#figure-{figure.name}"
        for figure in FIGURES
    ]
    assert len(items) == sum(map(live_figures, SHOWN))
    for item in items:
        assert (HTML / "reference" / item.img["src"]).exists()
        assert "You can move: " in item.get_text()


def test_the_link_of_a_figure_leads_to_the_cell_that_shows_it():
    for name in SHOWN:
        cells = page(name).select(".cell[id^=figure-]")
        assert len(cells) == live_figures(name)
        assert all(VIEW in str(cell) for cell in cells)


def test_there_is_no_picture_of_a_figure_that_is_gone():
    names = {figure.name for figure in FIGURES}
    assert {path.stem for path in posters.FOLDER.glob("*.webp")} == names
    assert set(CONTROLS) == names


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_a_picture_shows_the_figure_as_it_opens(browser, figure):
    """Colours may differ by what fonts and rounding do; `make posters` makes them anew."""
    made = posters.poster(browser, figure)
    kept = Image.open(posters.FOLDER / f"{figure.name}.webp")
    assert made.controls == CONTROLS[figure.name]
    assert difference(made.picture, kept) < 0.02


def test_the_picture_of_another_figure_is_found_out():
    one, other = (
        Image.open(posters.FOLDER / f"{figure.name}.webp") for figure in FIGURES[:2]
    )
    assert difference(one, other) > 0.02


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return how far two pictures are apart on average, 0 to 1, thin lines blurred."""
    blurred = [
        np.asarray(picture.convert("L").filter(ImageFilter.GaussianBlur(6)), float)
        / 255
        for picture in (one, other)
    ]
    return float(np.abs(blurred[0] - blurred[1]).mean())


def test_a_figure_stands_under_the_last_heading_before_it():
    new = nbformat.v4
    view = new.new_output("display_data", data={VIEW: {"model_id": "m"}})
    cells = [
        new.new_markdown_cell("# Title\n\n## First\n\nText."),
        new.new_code_cell("figure", outputs=[view]),
        new.new_markdown_cell("No heading."),
        new.new_code_cell("figure", outputs=[view]),
        new.new_markdown_cell("### Second"),
        new.new_code_cell("figure", outputs=[view]),
    ]
    found = list(gallery.headings(new.new_notebook(cells=cells)))
    assert found == ["First", "First", "Second"]

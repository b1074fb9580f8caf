"""What a lecturer takes from the book: slides, and live figures to embed."""

import html
import os

import nbformat
import pages
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT, settle
from pages import HTML, SHORTEST, WITH_FIGURES, live_figures
from playwright.sync_api import expect

from tools import embeds, slides

CHAPTER = SHORTEST.rpartition("/")[2]


@pytest.fixture
def opened(browser):
    """Open a file in a page of the size of a slide; nothing else is within reach."""
    contexts, said = [], []

    def open_file(path, **settings):
        settings = {"viewport": {"width": 1280, "height": 720}} | settings
        context = browser.new_context(offline=True, proxy=pages.NOWHERE, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(request.url))
        page.on(
            "console",
            lambda m: said.append(m.text) if m.type in ("error", "warning") else None,
        )
        page.goto(path.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert said == []


# --- live figures to embed ------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """Write the live figures of two chapters to be embedded."""
    folder = tmp_path_factory.mktemp("embed")
    chapters = [f"{name.removesuffix('.html')}.ipynb" for name in WITH_FIGURES[:2]]
    executed = [
        ROOT / "_build" / "executed" / name.rpartition("/")[2] for name in chapters
    ]
    return folder, embeds.write(executed, folder)


def test_every_live_figure_of_the_book_has_a_page_of_its_own_name():
    names = []
    for path in sorted((ROOT / "_build" / "executed").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        found = list(embeds.figures(notebook, path.stem.partition("_")[0]))
        assert len(found) == live_figures(f"chapters/{path.stem}.html")
        assert all(figure.sentence.startswith("A live figure") for figure in found)
        names += [figure.name for figure in found]
    assert len(set(names)) == len(names) > 0


def test_an_embedded_figure_is_one_file_that_moves_from_the_file_system(
    embedded, opened
):
    folder, (figure, *_) = embedded
    page = opened(folder / f"{figure.name}.html")
    page.wait_for_selector("html[data-live=ready]")
    expect(page.locator(".live[data-drawn]")).to_have_count(1)
    text = (folder / f"{figure.name}.html").read_text()
    assert "<link" not in text
    assert " src=" not in text
    before = page.locator(".live svg").first.inner_html()
    page.locator("input[type=range]").first.focus()
    for key in ("PageUp", "PageDown", "PageDown"):
        page.keyboard.press(key)
    settle(page)
    assert page.locator(".live svg").first.inner_html() != before


def test_the_frames_of_the_example_page_hold_their_figures_whole(embedded, opened):
    folder, figures = embedded
    page = opened(folder / "index.html")
    lines = page.locator("pre").all_inner_texts()
    assert lines == [figure.frame for figure in figures]
    for number, figure in enumerate(figures):
        frame = page.locator("iframe").nth(number)
        frame.scroll_into_view_if_needed()
        assert frame.get_attribute("title") == html.unescape(figure.sentence)
        inside = page.frame_locator("iframe").nth(number).locator("html")
        expect(inside).to_have_attribute("data-live", "ready")
        settle(page)
        assert inside.evaluate("e => e.scrollHeight <= e.clientHeight"), figure.name


# --- slides ---------------------------------------------------------------------------

SLIDES = "[...document.querySelectorAll('.slides > section > section')]"
# What is too tall or too wide for its slide, each slide looked at as it stands.
OVERFULL = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const found = [];
  for (const slide of Reveal.getSlides()) {
    const { h, v } = Reveal.getIndices(slide);
    Reveal.slide(h, v);
    await frame(); await frame();
    if (slide.scrollHeight > slide.clientHeight || slide.scrollWidth > slide.clientWidth)
      found.push(slide.innerText);
  }
  return found;
}"""


def article(name):
    """Return the text of a built chapter, parsed."""
    soup = BeautifulSoup((HTML / "chapters" / name).read_text(), "html.parser")
    return soup.find("article")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write the slides of one chapter."""
    if not slides.REVEAL.exists() and "CI" not in os.environ:
        pytest.skip("reveal.js is not here (npm ci brings it)")
    folder = tmp_path_factory.mktemp("slides")
    slides.write(HTML, folder, [CHAPTER])
    return folder


@pytest.fixture
def deck(folder, opened):
    """Open the slides of the chapter."""
    page = opened(folder / CHAPTER)
    page.wait_for_selector("html[data-slides=ready]")
    return page


def test_no_slide_is_taller_or_wider_than_it_may_be(deck):
    assert deck.evaluate("Reveal.getTotalSlides()") > 20
    assert deck.evaluate(OVERFULL) == []


def test_the_slides_hold_every_figure_formula_and_live_figure_of_the_text(deck):
    text = article(CHAPTER)
    for solution in text.select(".tag_hide-cell"):
        solution.decompose()
    for kind in (".course-figure", "div.math"):
        assert deck.locator(kind).count() >= len(text.select(kind)) > 0
    assert deck.locator("div.math mjx-container").count() > 0
    assert deck.locator(".live[data-drawn]").count() == live_figures(SHORTEST)
    assert pages.failed_figures(deck) == []


def test_the_slides_hold_each_task_and_no_solution(deck):
    titles = deck.locator(".slides h2").all_text_contents()
    text = article(CHAPTER)
    tasks = text.select("section[id^=exercise-] > h3")
    assert len(tasks) >= 4
    for task in tasks:
        assert sum(task.contents[0].strip() in title for title in titles) >= 1
    shown = deck.locator(".slides").text_content()
    assert "Reading the result" not in shown
    for solution in text.select(".tag_hide-cell .cell_input"):
        assert solution.get_text().strip() not in shown


def test_the_notes_of_the_slides_hold_every_paragraph(folder):
    spoken = BeautifulSoup((folder / CHAPTER).read_text(), "html.parser")
    notes = " ".join(note.get_text() for note in spoken.select("aside.notes"))
    prose = [
        p.get_text() for p in article(CHAPTER).select("section > p:not(.chapter-line)")
    ]
    exercises = " ".join(
        p.get_text()
        for p in article(CHAPTER).select("[id^=exercise-] > p, #sources > p")
    )
    for paragraph in prose:
        words = paragraph.replace("#", "").strip()
        assert words in notes.replace("#", "") or paragraph in exercises


def test_keys_that_move_a_live_figure_leave_the_slide_where_it_is(deck):
    at = f"{SLIDES}.findIndex((slide) => slide.querySelector('.live'))"
    deck.evaluate(f"""() => {{
      const {{ h, v }} = Reveal.getIndices({SLIDES}[{at}]);
      Reveal.slide(h, v);
    }}""")
    before = deck.evaluate("Reveal.getIndices()")
    figure = deck.locator("section.present .live svg").first
    drawn = figure.inner_html()
    slider = deck.locator("section.present input:visible").first
    slider.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "PageUp"):
        slider.press(key)
    settle(deck)
    assert figure.inner_html() != drawn
    assert deck.evaluate("Reveal.getIndices()") == before
    deck.evaluate("document.activeElement.blur()")
    deck.keyboard.press("ArrowRight")
    assert deck.evaluate("Reveal.getIndices()") != before


def test_sentences_of_a_paragraph_are_told_apart_outside_of_formulas_and_code():
    paragraph = BeautifulSoup(
        "<p>One <em>e.g. this</em> at 0.5. Two <code>a. B</code>, "
        '<span class="math">\\(x. Y\\)</span>. Is it <b>three</b>? 3 &lt; 4.</p>',
        "html.parser",
    ).p
    assert slides.sentences(paragraph) == [
        "One <em>e.g. this</em> at 0.5.",
        'Two <code>a. B</code>, <span class="math">\\(x. Y\\)</span>.',
        "Is it <b>three</b>?",
        "3 &lt; 4.",
    ]

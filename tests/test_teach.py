"""What a lecturer takes from the book: slides."""

import os

import pages
import pytest
from bs4 import BeautifulSoup
from conftest import settle
from pages import HTML, SHORTEST, live_figures
from playwright.sync_api import expect

from tools import slides

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


# --- slides ---------------------------------------------------------------------------

SLIDES = "[...document.querySelectorAll('.slides > section > section')]"
# Where the parts of each control that is shown begin, within their figure.
EDGES = """(all) => all.map((control) => control.hidden ? [] : [...control.children]
  .map((part) => part.offsetLeft - part.closest(".live").offsetLeft).slice(0, 2))"""
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


def test_the_controls_of_a_live_figure_stand_in_columns_and_it_has_no_address(deck):
    for figure in deck.locator(".live").all():
        rows = figure.locator(".live-control").evaluate_all(EDGES)
        assert len({tuple(edges) for edges in rows if edges}) <= 3
        names = figure.locator(".live-bar > *").all_text_contents()
        assert names == ["Reset", "Full screen"]


def at_slide_with(deck, selector) -> dict:
    """Go to the first slide that holds such an element; where that is."""
    at = f"{SLIDES}.findIndex((slide) => slide.querySelector('{selector}'))"
    deck.evaluate(f"""() => {{
      const {{ h, v }} = Reveal.getIndices({SLIDES}[{at}]);
      Reveal.slide(h, v);
    }}""")
    return deck.evaluate("Reveal.getIndices()")


def test_keys_that_move_a_live_figure_leave_the_slide_where_it_is(deck):
    before = at_slide_with(deck, ".live")
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


def test_space_on_a_check_judges_the_answer_and_leaves_the_slide_where_it_is(deck):
    before = at_slide_with(deck, ".check button")
    deck.locator("section.present .check button:visible").first.focus()
    deck.keyboard.press(" ")
    expect(deck.locator("section.present .check-status").first).not_to_be_empty()
    assert deck.evaluate("Reveal.getIndices()") == before


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

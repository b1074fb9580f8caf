"""What is large in a live figure lies beside its page, and comes when the figure is near."""

import os
from functools import cache

import pytest
from live import states_and_views, states_in
from pages import HTML, NOWHERE, failed_figures
from playwright.sync_api import expect

from course_lib.widgets import StepSizeExplorer, ToleranceExplorer
from course_lib.widgets.page.html import HOST
from tools import apart, slides
from tools.policy import with_policy

CHAPTER = "chapters/15_from_noise_to_digits.html"
TALL = '<p style="height: 300vh">Much comes before the figures.</p>'


class Large:
    """A figure whose state holds something large."""

    def get_state(self) -> dict:
        """Return it; "<" could begin a tag in a page."""
        return StepSizeExplorer().get_state() | {"model": "<" * apart.LARGE}


@cache
def page_of_two() -> str:
    """Return a page with two figures far down, the second of them large."""
    states, views = states_and_views(ToleranceExplorer, Large)
    views = views.replace('"1"}', '"1", "name": "step-size"}')
    return (
        '<!doctype html><html><head><meta charset="utf-8" /></head><body>'
        f"{TALL}{states}{views}<script>{HOST}</script></body></html>"
    )


@pytest.fixture
def book(tmp_path):
    """Write a book of that page, and take it apart."""
    page = tmp_path / "chapters" / "page.html"
    page.parent.mkdir()
    page.write_text(page_of_two(), encoding="utf-8")
    apart.take_apart(tmp_path, page)
    page.write_text(with_policy(page.read_text()), encoding="utf-8")
    return page


@pytest.fixture
def opened(browser):
    """Open a page from the disk; no error is said there unless something is `wrong`."""
    contexts, said = [], []

    def open_page(page_file, hash="", *, wrong=False):
        context = browser.new_context(proxy=NOWHERE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "console",
            lambda m: said.append(m.text) if m.type == "error" and not wrong else None,
        )
        page.goto(page_file.as_uri() + hash)
        page.wait_for_selector("html[data-live=ready]")
        return page, page.locator(".live-figure").last

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


# --- what is written ------------------------------------------------------------------


def test_what_is_large_moves_to_a_file_and_nothing_is_lost(book):
    before, after = states_in(page_of_two()), states_in(book.read_text())
    assert "model" not in after["state"]["1"]["state"]
    (file,) = (book.parents[1] / apart.FOLDER).iterdir()
    assert after["state"]["1"]["apart"] == {"model": f"../_static/apart/{file.name}"}
    assert after["state"]["0"] == before["state"]["0"]
    assert apart.put_together(after, book.parent) == before
    assert states_in(apart.whole(book.read_text(), book.parent)) == before


def test_two_figures_that_carry_the_same_share_its_file():
    states, _ = states_and_views(Large, Large)
    left, files = apart.taken_apart(states_in(f"{states}</script>"), "")
    assert len(files) == 1
    places = [record["apart"]["model"] for record in left["state"].values()]
    assert places == [f"{apart.FOLDER}/{next(iter(files))}"] * 2


def test_a_page_without_anything_large_stays_as_it_is(tmp_path):
    states, views = states_and_views(StepSizeExplorer)
    page = tmp_path / "page.html"
    page.write_text(states + views, encoding="utf-8")
    apart.take_apart(tmp_path, page)
    assert page.read_text(encoding="utf-8") == states + views
    assert not (tmp_path / apart.FOLDER).exists()


# --- in a browser, from the disk ------------------------------------------------------


def test_a_figure_that_carries_much_waits_until_its_place_comes_near(book, opened):
    page, figure = opened(book)
    expect(figure).to_have_attribute("data-live", "waiting")
    expect(figure).to_contain_text("It comes when you are near.")
    assert page.locator("script[src*=apart]").count() == 0
    figure.scroll_into_view_if_needed()
    expect(figure).to_have_attribute("data-live", "started")
    expect(figure.locator(".live[data-drawn]")).to_have_count(1)
    expect(figure).not_to_contain_text("near")
    assert page.locator("script[src*=apart]").count() == 1


def test_an_address_that_names_such_a_figure_brings_it_and_leads_there(book, opened):
    for before, later in (
        ("#figure=step-size&h=0.2", ""),
        ("", "#figure=step-size&h=0.2"),
    ):
        page, figure = opened(book, before)
        if later:
            expect(figure).to_have_attribute("data-live", "waiting")
            page.evaluate("hash => { location.hash = hash }", later)
        expect(figure).to_have_attribute("data-live", "started")
        slider = figure.get_by_label("Step size h")
        expect(slider).to_have_attribute("aria-valuetext", "0.2")
        expect(figure).to_be_in_viewport(ratio=0.5)


def test_another_figure_in_the_address_does_not_bring_it(book, opened):
    _, figure = opened(book, "#figure=tolerance")
    expect(figure).to_have_attribute("data-live", "waiting")


def test_a_page_that_is_printed_brings_all_its_figures(book, opened):
    page, figure = opened(book)
    page.evaluate(apart.BRING)
    expect(page.locator(apart.WAITING)).to_have_count(0)
    expect(figure).to_have_attribute("data-live", "started")


def test_a_figure_whose_file_is_gone_says_which(book, opened):
    (file,) = (book.parents[1] / apart.FOLDER).iterdir()
    file.unlink()
    page, figure = opened(book, wrong=True)
    page.evaluate(apart.BRING)
    expect(figure).to_have_attribute("data-live", "failed")
    expect(figure).to_have_attribute("role", "alert")
    expect(figure).to_contain_text(f"../_static/apart/{file.name} did not load")


# --- the chapter whose figure carries a generative model ------------------------------


def test_the_model_of_a_chapter_comes_when_its_figure_is_near(opened):
    page, figure = opened(HTML / CHAPTER)
    expect(figure).to_have_attribute("data-live", "waiting")
    height = page.evaluate("document.documentElement.scrollHeight")
    figure.scroll_into_view_if_needed()
    expect(figure).to_have_attribute("data-live", "started")
    expect(figure.locator(".live[data-drawn]")).to_have_count(1)
    assert failed_figures(page) == []
    # Its room was kept: what comes after it hardly moves.
    moved = page.evaluate("document.documentElement.scrollHeight") - height
    assert abs(moved) < 200


def test_the_slides_of_the_chapter_have_the_model_in_them(tmp_path):
    if not slides.REVEAL.exists() and "CI" not in os.environ:
        pytest.skip("reveal.js is not here (npm ci brings it)")
    name = CHAPTER.rpartition("/")[2]
    assert "apart" in str(states_in((HTML / CHAPTER).read_text(encoding="utf-8")))
    slides.write(HTML, tmp_path, [name])
    records = states_in((tmp_path / name).read_text(encoding="utf-8"))["state"].values()
    (state,) = [it["state"] for it in records if "weights" in it["state"]]
    assert sum(map(len, state["weights"])) > apart.LARGE
    assert not any("apart" in record for record in records)

"""A page of the book holds what its live figures share once."""

from live import states_and_views, states_in
from playwright.sync_api import expect

from course_lib.widgets import StepSizeExplorer, ToleranceExplorer
from course_lib.widgets.page import module
from course_lib.widgets.page.html import HOST
from tools.share import share_in

FIGURES = (StepSizeExplorer, ToleranceExplorer, StepSizeExplorer)


def page_of_three() -> str:
    """Return a page with three figures, two of them alike, and one strange widget."""
    strange = {"_esm": "export default { render() {} };", "said": "</script>"}
    states, views = states_and_views(*FIGURES, strange=[strange])
    return f"<!doctype html><body>{states}{views}<script>{HOST}</script>"


def test_figures_share_the_files_of_their_modules_and_nothing_is_lost():
    page = page_of_three()
    before, after = states_in(page), states_in(share_in(page))
    texts = after["texts"]
    assert len(set(texts)) == len(texts)
    assert set(module.parts("step_size.mjs")) < set(texts)
    for name, record in before["state"].items():
        state, shared = record["state"], after["state"][name]["state"]
        for trait, value in state.items():
            if trait in ("_esm", "_css"):
                assert "\n".join(texts[place] for place in shared[trait]) == value
            else:
                assert shared[trait] == value


def test_a_page_with_three_figures_is_hardly_longer_than_with_two():
    page = page_of_three()
    saved = len(page) - len(share_in(page))
    assert saved > len(module.module("step_size.mjs"))


def test_figures_that_share_their_texts_come_to_life(browser):
    page = browser.new_page()
    page.set_content(share_in(page_of_three()))
    page.wait_for_selector("html[data-live=ready]")
    figures = page.locator(".live-figure")
    assert figures.count() == 4
    for figure in figures.all():
        expect(figure).to_have_attribute("data-live", "started")
    expect(page.locator(".live[data-drawn]")).to_have_count(3)
    assert page.locator("style").count() == 1
    page.close()

"""A live figure as one HTML file: `figure.to_html()`, and those that the book is built with."""

import html
import re
from urllib.parse import urlsplit

import nbformat
import pages
import pytest
from conftest import ROOT, settle
from figures import density, flow
from live import every_figure
from pages import HTML, live_figures
from playwright.sync_api import expect

from course_lib.widgets import StepSizeExplorer
from course_lib.widgets.page.html import digest
from tools import figures

EXECUTED = sorted((ROOT / "_build" / "executed").glob("*.ipynb"))
BUILT = {
    path.stem: figures.figures(nbformat.read(path, as_version=4), path.stem)
    for path in EXECUTED
}
ALL = [figure for found in BUILT.values() for figure in found.values()]
built = pytest.mark.parametrize("figure", ALL, ids=lambda figure: figure.name)
POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')


@pytest.fixture
def opened(browser):
    """Open an address in a browser that reaches nothing else; what it says is an error."""
    contexts, said = [], []

    def open_at(address, **settings):
        settings = {"viewport": {"width": 1280, "height": 900}} | settings
        context = browser.new_context(proxy=pages.NOWHERE, **settings)
        contexts.append(context)
        page = context.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "console",
            lambda m: said.append(m.text) if m.type in ("error", "warning") else None,
        )
        page.goto(address)
        page.wait_for_selector("html[data-live=ready]")
        expect(page.locator(".live[data-drawn]")).to_have_count(1)
        settle(page)
        # A figure asks for itself, its module as a blob, and what it carries as data.
        assert [url for url in asked if not url.startswith(("blob:", "data:"))] == [
            address.partition("#")[0]
        ]
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert said == []


# --- in Python ------------------------------------------------------------------------


@every_figure
def test_a_figure_written_to_a_file_moves_there_and_asks_for_nothing(
    opened, tmp_path, make
):
    path = tmp_path / "figure.html"
    path.write_text(make().to_html(), encoding="utf-8")
    page = opened(path.as_uri(), color_scheme="dark")
    assert pages.failed_figures(page) == []
    slider, seen = page.locator("input[type=range]:visible").first, []
    for key in ("End", "Home"):
        slider.press(key)
        settle(page)
        seen.append(drawn(page))
    assert seen[0] != seen[1]


def drawn(page) -> list[str]:
    """Return what the plots of a page show."""
    return page.locator(".live svg").evaluate_all("all => all.map((e) => e.innerHTML)")


def test_a_file_has_the_settings_of_its_figure_and_a_title_that_says_what_it_is():
    page = flow(method="rk4").to_html()
    assert '"method": "rk4"' in page
    title = re.search("<title>(.*)</title>", page)[1]
    assert title.startswith("The vector field of a trained network")
    assert f"<h1>{title}</h1>" in page
    assert '<html lang="en">' in page


def test_a_file_may_run_its_own_script_and_style_and_its_module_and_nothing_else():
    figure = density()
    page = figure.to_html()
    policy = POLICY.search(page)[1]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for text in (script, style, figure._css):
        assert digest(text) in policy


def test_a_file_leads_back_to_the_course_where_its_address_is_known():
    figure = StepSizeExplorer()
    assert "<a " not in figure.to_html()
    there = "https://someone.example/a.html?b&c#figure=step-size-explorer"
    (link,) = re.findall('<a href="(.*?)">', figure.to_html(address=there))
    assert html.unescape(link) == there


def test_two_files_of_one_figure_are_the_same():
    assert StepSizeExplorer().to_html() == StepSizeExplorer().to_html()


# --- in the built book ----------------------------------------------------------------


def test_every_live_figure_of_the_book_has_a_file_of_its_own_name():
    names = [figure.name for figure in ALL]
    assert len(set(names)) == len(names) > 0
    assert all(figure.sentence.startswith("A live figure") for figure in ALL)
    files = {path.stem for path in (HTML / "figures").glob("*.html")}
    assert files == {*names, "index"}
    for notebook, found in BUILT.items():
        folder = "chapters/" if notebook[0].isdigit() else ""
        assert len(found) == live_figures(f"{folder}{notebook}.html")


def test_the_file_of_a_chapter_is_what_the_figure_writes_in_python():
    """Chapter 01 shows the figure as it is made."""
    (figure,) = BUILT["01_resnets_are_euler_steps"].values()
    state = figure.state
    made = StepSizeExplorer(
        **{name: state[name] for name in ("problem", "method", "step_size")}
    )
    written = (HTML / "figures" / f"{figure.name}.html").read_text(encoding="utf-8")
    back = re.search('<a href="(.*?)">', written)
    assert written == made.to_html(address=html.unescape(back[1]) if back else "")


@built
def test_a_file_of_the_book_opens_from_the_file_system(opened, figure):
    page = opened((HTML / "figures" / f"{figure.name}.html").as_uri())
    assert pages.failed_figures(page) == []
    assert page.get_by_role("link", name="Open alone").count() == 0


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_a_file_fits_a_phone_and_a_desk_and_axe_finds_nothing(opened, colours, width):
    for name in {figure.place: figure.name for figure in ALL}.values():
        place = (HTML / "figures" / f"{name}.html").as_uri()
        size = {"width": width, "height": 800}
        page = opened(place, viewport=size, color_scheme=colours)
        assert pages.width_of(page) <= width
        if width == 1280:
            assert pages.barriers(page) == []


def test_a_page_of_the_book_leads_to_its_figures_alone(browser):
    name = f"chapters/{ALL[1].chapter}.html"
    with pages.visited(browser, f"{HTML.as_uri()}/", name) as visit:
        page = visit.page
        links = page.get_by_role("link", name="Open alone")
        hrefs = [link.get_attribute("href") for link in links.all()]
        found = BUILT[ALL[1].chapter].values()
        assert hrefs == [f"../figures/{figure.name}.html" for figure in found]
        names = page.locator(".live-figure").evaluate_all(
            "(all) => all.map((figure) => figure.dataset.name)"
        )
        assert names == [figure.place for figure in found]
        assert visit.said == []


def nth(figure: figures.Figure) -> int:
    """Return how many figures stand before it in its chapter."""
    return [f.place for f in BUILT[figure.chapter].values()].index(figure.place)


def test_a_figure_opens_alone_as_it_is_in_its_chapter(browser):
    """The second of its kind, too, whose name in an address has a number."""
    figure = next(f for f in ALL if f.place == "flow-explorer-2")
    name = f"chapters/{figure.chapter}.html"
    with pages.visited(browser, f"{HTML.as_uri()}/", name) as visit:
        page = visit.page
        second = page.locator(".live-figure").nth(nth(figure))
        second.get_by_label("Method").select_option("heun")
        second.get_by_label("Step size h").press("End")
        end = second.get_by_label("Step size h").input_value()
        second.get_by_role("link", name="Open alone").click()
        expect(page.locator(".live[data-drawn]")).to_have_count(1)
        expect(page).to_have_url(re.compile(rf"/figures/{figure.name}\.html#figure="))
        expect(page.get_by_label("Method")).to_have_value("heun")
        expect(page.get_by_label("Step size h")).to_have_value(end)
        assert visit.said == []


@pytest.mark.parametrize("kind", ["http", "file"])
def test_a_link_into_a_chapter_leads_to_the_figure_as_it_was(browser, kind):
    """The second flow of a chapter, far down a page whose formulas are still being set."""
    figure = next(f for f in ALL if f.place == "flow-explorer-2")
    name = f"chapters/{figure.chapter}.html"
    base = f"{HTML.as_uri()}/" if kind == "file" else "http://book.localhost/"
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.route(
        "http://book.localhost/**",
        lambda route: route.fulfill(
            path=HTML / urlsplit(route.request.url).path.lstrip("/")
        ),
    )
    page, said = context.new_page(), []
    page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{base}{name}#figure={figure.place}&method=heun&h=0.2&start1=9")
    page.evaluate(pages.TYPESET)
    page.wait_for_selector("html[data-live=ready]")
    settle(page)
    other = next(f for f in ALL if f.chapter == figure.chapter)
    first, second = (page.locator(".live").nth(nth(each)) for each in (other, figure))
    expect(first.get_by_label("Method")).to_have_value(other.state["method"])
    expect(second.get_by_label("Method")).to_have_value("heun")
    words = "Ignored in the address: start1=9."
    expect(first.locator(".live-status")).not_to_contain_text("Ignored")
    expect(second.locator(".live-status")).to_contain_text(words)
    expect(second).to_be_in_viewport(ratio=0.5)
    expect(second).to_be_focused()
    assert said == []
    context.close()


def test_the_frames_of_the_page_of_all_hold_their_figures_whole(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    said = []
    page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
    page.goto((HTML / "figures" / "index.html").as_uri())
    lines = page.locator("pre").all_inner_texts()
    assert lines == [figure.frame for figure in ALL]
    for number, figure in enumerate(ALL):
        frame = page.locator("iframe").nth(number)
        frame.scroll_into_view_if_needed()
        assert frame.get_attribute("title") == figure.sentence
        inside = page.frame_locator("iframe").nth(number).locator("html")
        expect(inside).to_have_attribute("data-live", "ready")
        settle(page)
        assert inside.evaluate("e => e.scrollHeight <= e.clientHeight"), figure.name
    assert said == []
    assert pages.barriers(page, rules=("frame-title", "document-title")) == []
    page.close()


def test_a_figure_in_a_frame_takes_neither_the_place_nor_the_focus_of_its_reader(
    browser, tmp_path
):
    link = "figure.html#figure=step-size-explorer&amp;h=1"
    (tmp_path / "figure.html").write_text(StepSizeExplorer().to_html())
    (tmp_path / "outer.html").write_text(
        f'<p style="height: 3000px"></p><iframe src="{link}" height="800"></iframe>'
    )
    page = browser.new_page()
    page.goto((tmp_path / "outer.html").as_uri())
    inside = page.frame_locator("iframe")
    expect(inside.get_by_label("Step size h")).to_have_value("0")
    settle(page)
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("document.activeElement === document.body")
    page.close()

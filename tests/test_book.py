"""The built book in a real browser: every page, light and dark, over http and from the file system."""

import base64
import colorsys
import functools
import http.server
import io
import re
import threading

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT, settle
from PIL import Image
from playwright.sync_api import expect

HTML = ROOT / "_build" / "html"
NO_PAGES = (
    "genindex.html",
    "search.html",
    "index.html",
)  # the last leads to intro.html
PAGES = sorted(
    str(path.relative_to(HTML))
    for path in HTML.rglob("*.html")
    if path.name not in NO_PAGES and "_static" not in path.parts
)
LOCAL = ("http://127.0.0.1", "file:", "data:", "blob:", "about:")


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def served():
    handler = functools.partial(SilentHandler, directory=HTML)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def visit(browser, served):
    """Open a page; what it asked of other hosts and what it said on the console."""
    contexts = []

    def open_page(name, *, scheme="http", colours="light", width=1280, script=True):
        context = browser.new_context(
            color_scheme=colours,
            viewport={"width": width, "height": 900},
            java_script_enabled=script,
        )
        contexts.append(context)
        page, foreign, said = context.new_page(), [], []

        def route(request):
            if request.request.url.startswith(LOCAL):
                return request.continue_()
            foreign.append(request.request.url)
            return request.abort()

        page.route("**/*", route)
        page.on(
            "console",
            lambda message: (
                said.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(
            (served if scheme == "http" else f"{HTML.as_uri()}/") + name,
            wait_until="load",
        )
        if script and live_figures(name):
            page.wait_for_selector("html[data-live=ready]")
        page.wait_for_timeout(500)
        return page, foreign, said

    yield open_page
    for context in contexts:
        context.close()


def live_figures(name) -> int:
    """How many live figures the page has, read from its source."""
    return (HTML / name).read_text().count("jupyter.widget-view+json")


def test_there_is_a_page_for_the_introduction_and_every_chapter():
    chapters = {
        f"chapters/{path.stem}.html" for path in (ROOT / "chapters").glob("*.ipynb")
    }
    assert {"intro.html", "references.html", *chapters} <= set(PAGES)


def test_the_front_door_leads_to_the_introduction(visit):
    page, _, said = visit("index.html")
    page.wait_for_url("**/intro.html")
    assert said == []


@pytest.mark.parametrize("scheme", ["http", "file"])
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_nothing_of_other_hosts_and_the_console_stays_empty(
    visit, name, scheme, colours
):
    page, foreign, said = visit(name, scheme=scheme, colours=colours)
    assert (foreign, said) == ([], [])
    if page.locator(".math").count():
        expect(page.locator("mjx-container").first).to_be_attached()
    assert page.locator(".live-figure").count() == live_figures(name)
    for figure in page.locator(".live-figure").all():
        expect(figure).to_have_attribute("data-live", "started")
        drawn = figure.locator(".live")
        expect(drawn).to_have_attribute("data-drawn", re.compile("[1-9]"))
        assert "could not" not in figure.locator(".live-status").inner_text()


@pytest.mark.parametrize("name", [name for name in PAGES if live_figures(name)])
def test_a_live_figure_answers_the_keyboard_in_the_built_page(visit, name):
    page, _, said = visit(name)
    for figure in page.locator(".live-figure").all():
        figure.scroll_into_view_if_needed()
        settle(page)
        before = figure.locator("svg").first.inner_html()
        figure.locator("input:visible").first.focus()
        for key in ("PageDown", "PageUp"):  # it may stand at either end
            page.keyboard.press(key)
            settle(page)
            if figure.locator("svg").first.inner_html() != before:
                break
        assert figure.locator("svg").first.inner_html() != before
    assert said == []


@pytest.mark.parametrize("name", [name for name in PAGES if live_figures(name)])
def test_without_javascript_a_sentence_stands_in_for_each_live_figure(visit, name):
    page, _, _ = visit(name, script=False)
    sentences = page.locator("noscript p")
    assert sentences.count() == live_figures(name)
    assert all(sentence.is_visible() for sentence in sentences.all())


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_to_mend_on_a_page(visit, name, colours):
    page, _, _ = visit(name, colours=colours)
    found = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []


@pytest.mark.parametrize(
    "name", [name for name in PAGES if name.startswith("chapters/")]
)
def test_every_figure_of_a_chapter_has_size_and_a_description(visit, name):
    page, _, _ = visit(name)
    figures = page.locator(".course-figure svg")
    assert figures.count()
    for figure in figures.all():
        assert len(figure.get_attribute("aria-label").split()) >= 5
        box = figure.bounding_box()
        assert box is None or box["width"] > 200  # None: folded inside a solution


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_phone(visit, name):
    page, _, _ = visit(name, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 392


@pytest.mark.parametrize(
    "name", [name for name in PAGES if name.startswith("chapters/")]
)
def test_figure_text_stands_out_from_the_page_in_light_and_dark(visit, name):
    for colours in ("light", "dark"):
        page, _, _ = visit(name, colours=colours)
        ink, paper = page.evaluate(
            """() => {
              const figure = document.querySelector('.course-figure');
              let box = figure;
              while (box && getComputedStyle(box).backgroundColor === 'rgba(0, 0, 0, 0)') box = box.parentElement;
              const level = colour => colour.match(/[\\d.]+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 3;
              const paper = getComputedStyle(box || document.body).backgroundColor;
              return [level(getComputedStyle(figure).color), level(paper)];
            }"""
        )
        assert abs(ink - paper) > 120


COLOURS = {
    "white": "#ffffff",
    "black": "#000000",
    "orange": "#d55e00",
    "blue": "#0072b2",
}


def as_data(image):
    """The address of an image that a page carries in itself."""
    out = io.BytesIO()
    image.save(out, "png")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def test_images_on_a_dark_page_swap_light_and_dark_and_keep_their_hue(visit):
    page, _, _ = visit(PAGES[0], colours="dark")
    row = Image.new("RGB", (400, 100))
    for k, colour in enumerate(COLOURS.values()):
        row.paste(colour, (100 * k, 0, 100 * k + 100, 100))
    page.evaluate(
        """(address) => document.body.innerHTML = `<div class="course-figure">
          <svg width="400" height="100" viewBox="0 0 400 100">
          <image href="${address}" width="400" height="100"/></svg></div>`""",
        as_data(row),
    )
    shot = Image.open(io.BytesIO(page.locator(".course-figure svg").screenshot()))
    seen = {
        name: colorsys.rgb_to_hls(
            *(x / 255 for x in shot.convert("RGB").getpixel((100 * k + 50, 50)))
        )
        for k, name in enumerate(COLOURS)
    }
    assert seen["black"][1] > 0.9 and seen["white"][1] < 0.2
    for name, hue in [("orange", 26 / 360), ("blue", 202 / 360)]:
        assert abs(seen[name][0] - hue) < 0.06, (name, seen[name])

"""The built book in a real browser: every page, light and dark, over http and from files.

Three visits to each page carry its tests: light over http, dark from the file system, and
on a phone. All combinations are visited for one page of each kind.
"""

import base64
import colorsys
import functools
import http.server
import io
import threading

import pages
import pytest
from conftest import ROOT, settle
from pages import HTML, PAGES, barriers, ink_and_paper, live_figures, poor_figures
from PIL import Image
from playwright.sync_api import expect

from tools import weight

FILES = f"{HTML.as_uri()}/"
CHAPTERS = [name for name in PAGES if name.startswith("chapters/")]
WITH_FIGURES = [name for name in CHAPTERS if live_figures(name)]
SHORTEST = min(WITH_FIGURES, key=lambda name: (HTML / name).stat().st_size, default="")
KINDS = ["intro.html", "references.html", SHORTEST]


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and keeps no log."""

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(scope="module")
def served():
    """Serve the book over http and give its address."""
    handler = functools.partial(SilentHandler, directory=HTML)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def visit(browser, served):
    """Give the function that visits a page, over http, for as long as a `with` lasts."""

    def open_page(name, *, base=served, **settings):
        return pages.visited(browser, base, name, **settings)

    return open_page


# Tests of one page run one after the other in one worker (conftest.InGroups), so that
# they can share visits.
@pytest.fixture(scope="module", params=PAGES)
def name(request):
    """Give the path of a page; pytest takes all its tests together."""
    return request.param


@pytest.fixture(scope="module")
def light(visit, name):
    """Visit the page in light colours, over http."""
    with visit(name) as visited:
        yield visited


@pytest.fixture(scope="module")
def dark(visit, name):
    """Visit the page in dark colours, from the file system."""
    with visit(name, base=FILES, colours="dark") as visited:
        yield visited


@pytest.fixture(scope="module")
def phone(visit, name):
    """Visit the page on a phone."""
    with visit(name, width=390) as visited:
        yield visited


def check_content(visit):
    """Check that formulas are set and every live figure has started and drawn."""
    page = visit.page
    if page.locator(".math").count():
        expect(page.locator("mjx-container").first).to_be_attached()
    assert page.locator(".live-figure").count() == live_figures(visit.name)
    expect(page.locator(".live:not([data-drawn])")).to_have_count(0)
    assert pages.failed_figures(page) == []


# --- every page -----------------------------------------------------------------------


def test_formulas_and_live_figures_are_there(light, dark, phone):
    for visit in (light, dark, phone):
        check_content(visit)


def test_axe_finds_nothing_to_mend_on_a_page(light):
    assert barriers(light.page) == []


def test_axe_finds_nothing_to_mend_in_the_colours_of_a_dark_page(dark):
    """The elements are those of the light page, where every rule is run."""
    assert barriers(dark.page, rules=pages.COLOUR_RULES) == []


def test_every_figure_of_a_chapter_has_size_and_a_description(light):
    if light.name in CHAPTERS:
        assert light.page.locator(".course-figure svg").count()
    assert poor_figures(light.page) == []


def test_figure_text_stands_out_from_the_page_in_light_and_dark(light, dark):
    for visit in (light, dark):
        if visit.page.locator(".course-figure").count():
            ink, paper = ink_and_paper(visit.page)
            assert abs(ink - paper) > 120


def test_a_page_fits_a_phone(phone):
    assert pages.width_of(phone.page) <= 392


def test_a_page_weighs_at_most_a_megabyte_with_all_it_loads(light, served):
    loaded = weight.weights(light.files(served))
    assert light.name.rpartition("/")[2] in loaded
    assert sum(loaded.values()) <= weight.PAGE, loaded


def test_a_live_figure_answers_the_keyboard_in_the_built_page(light):
    page = light.page
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


def test_a_page_asks_nothing_of_other_hosts_and_the_console_stays_empty(
    light, dark, phone
):
    """The last of the page's tests: whatever was done to it."""
    for visit in (light, dark, phone):
        assert (visit.foreign, visit.said) == ([], [])


def test_without_javascript_a_sentence_stands_in_for_each_live_figure(visit, name):
    if live_figures(name):
        with visit(name, script=False) as visited:
            sentences = visited.page.locator("noscript p")
            assert sentences.count() == live_figures(name)
            assert all(sentence.is_visible() for sentence in sentences.all())


# --- what is the same on every page of a kind -----------------------------------------


def test_there_is_a_page_for_the_introduction_and_every_chapter():
    chapters = {
        f"chapters/{path.stem}.html" for path in (ROOT / "chapters").glob("*.ipynb")
    }
    assert {"intro.html", "references.html", *chapters} <= set(PAGES)


def test_the_front_door_leads_to_the_introduction(browser, served):
    page = browser.new_page()
    page.goto(f"{served}index.html")
    page.wait_for_url("**/intro.html")
    page.close()


@pytest.mark.parametrize("kind", KINDS)
def test_dark_over_http_and_light_from_files_are_no_different(visit, served, kind):
    for base, colours in [(served, "dark"), (FILES, "light")]:
        with visit(kind, base=base, colours=colours) as visited:
            check_content(visited)
            if colours == "dark":
                assert barriers(visited.page, rules=pages.COLOUR_RULES) == []
            assert (visited.foreign, visited.said) == ([], [])


COLOURS = {
    "white": "#ffffff",
    "black": "#000000",
    "orange": "#d55e00",
    "blue": "#0072b2",
}


def as_data(image):
    """Return the address of an image that a page carries in itself."""
    out = io.BytesIO()
    image.save(out, "png")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def test_images_on_a_dark_page_swap_light_and_dark_and_keep_their_hue(visit):
    row = Image.new("RGB", (400, 100))
    for k, colour in enumerate(COLOURS.values()):
        row.paste(colour, (100 * k, 0, 100 * k + 100, 100))
    with visit("intro.html", colours="dark") as visited:
        page = visited.page
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
    assert seen["black"][1] > 0.9
    assert seen["white"][1] < 0.2
    for name, hue in [("orange", 26 / 360), ("blue", 202 / 360)]:
        assert abs(seen[name][0] - hue) < 0.06, (name, seen[name])


# --- the checks themselves ------------------------------------------------------------

PLANTED = """
<p style="color: white; background: white">White on white</p>
<p style="color: #eeeeee; background: white">Nearly white on white</p>
<div class="highlight"><pre><span>same</span> <span>same</span>
<span style="color: white; background: white">white in code</span></pre></div>
<p style="color: #222222">Only on a light page</p>
<img src="_static/logo.svg">
<img src="http://elsewhere.test/image.png" alt="An image of another host">
<div style="width: 600px">Wider than a phone</div>
<div class="course-figure" style="color: #999"><svg width="400" height="9"></svg></div>
<div class="course-figure"><svg width="100" height="9"
  aria-label="Five words in a description"></svg></div>
<div class="live-figure" data-live="started"><div class="live" data-drawn="1">
  <p class="live-status">It could not be drawn</p></div></div>
<script>console.error("planted"); setTimeout(() => missing());</script>
"""


def test_the_checks_find_what_is_planted_in_a_page(visit):
    with visit("intro.html", planted=PLANTED) as light:
        found = barriers(light.page)
        assert {rule for rule, _ in found} == {"color-contrast", "image-alt"}
        html = " ".join(html for _, html in found)
        for words in ("White on", "Nearly white on", "white in code", "logo.svg"):
            assert words in html
        assert "Only on" not in html
        assert len(poor_figures(light.page)) == 2
        ink, paper = ink_and_paper(light.page)
        assert abs(ink - paper) < 120
        assert pages.failed_figures(light.page) == [
            "started, drawn 1: It could not be drawn"
        ]
        assert light.foreign == ["http://elsewhere.test/image.png"]
        said = " ".join(light.said)
        assert "planted" in said
        assert "missing is not defined" in said
    with visit("intro.html", planted=PLANTED, colours="dark", width=390) as dark:
        found = barriers(dark.page, rules=pages.COLOUR_RULES)
        assert "Only on a light page" in " ".join(html for _, html in found)
        assert pages.width_of(dark.page) > 392

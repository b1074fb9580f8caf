"""The built book in a real browser: every page, light and dark, over http and from files.

Three visits to each page carry its tests: light over http, dark from the file system, and
on a phone. All combinations are visited for one page of each kind.
"""

import base64
import colorsys
import functools
import http.server
import io
import re
import threading
from pathlib import Path
from urllib.parse import quote

import pages
import pytest
from conftest import ROOT, settle
from fontTools.ttLib import TTFont
from pages import (
    CHAPTERS,
    HTML,
    PAGES,
    SHORTEST,
    barriers,
    ink_and_paper,
    live_figures,
    poor_figures,
)
from PIL import Image
from playwright.sync_api import expect

from tools import chapters, weight

FILES = f"{HTML.as_uri()}/"
ROWS, _ = chapters.read(ROOT / "_chapters.yml")
WOFF = ROOT / "assets/mathjax/output/chtml/fonts/woff-v2"
LETTERS = WOFF / "MathJax_AMS-Regular.woff"
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


def test_no_formula_needs_what_the_script_and_its_fonts_do_not_bring(light):
    """The script has the extension ams and no other, and the font AMS its letters."""
    assert light.page.locator("mjx-merror").count() == 0
    contents = light.page.evaluate(
        """() => [...document.querySelectorAll("mjx-c.TEX-A")].map(
          (node) => getComputedStyle(node, "::before").content)"""
    )
    shown = {ord(letter) for content in contents for letter in content.strip('"')}
    assert shown <= set(TTFont(LETTERS).getBestCmap())


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


def test_a_page_weighs_at_most_600_kilobytes_with_all_it_loads(light, served):
    loaded = weight.weights(light.files(served))
    assert light.name.rpartition("/")[2] in loaded
    assert sum(loaded.values()) <= weight.PAGE, loaded


def test_a_live_figure_answers_the_keyboard_in_the_built_page(light):
    page = light.page
    for figure in page.locator(".live-figure").all():
        figure.scroll_into_view_if_needed()
        settle(page)
        before = told_by(figure)
        slider = figure.locator("input:visible").first
        stood = slider.input_value()
        slider.press("PageDown")
        if slider.input_value() == stood:  # it may stand at either end
            slider.press("PageUp")
        for _ in range(100):  # a figure that trains answers some frames later
            settle(page)
            if told_by(figure) != before:
                break
        assert told_by(figure) != before


def told_by(figure) -> list[str]:
    """Return what the plots, the tables and the status of a figure say."""
    plots = figure.locator("svg").evaluate_all("all => all.map((e) => e.innerHTML)")
    return plots + figure.locator("table, .live-status").all_inner_texts()


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


# --- reading --------------------------------------------------------------------------

READ = "chapters/05_the_adjoint_derived.html"
# `html` and `body` as they are when the body begins; nothing was painted before.
AT_FIRST = """new MutationObserver((_, watch) => {
  if (!document.body) return;
  window.atFirst = document.documentElement.dataset.reading;
  watch.disconnect();
}).observe(document, { childList: true, subtree: true });"""
BLOCKED = """for (const name of ["getItem", "setItem"]) {
  const original = Storage.prototype[name];
  Storage.prototype[name] = function (key, ...rest) {
    if (key.startsWith("course-")) throw new DOMException("blocked", "SecurityError");
    return original.call(this, key, ...rest);
  };
}"""


@pytest.fixture
def chapter(visit):
    """Visit a chapter as a new reader."""
    with visit(READ) as visited:
        yield visited.page


def choose(page, name):
    """Choose what is shown, as a reader does."""
    # Not check(), which scrolls to what it checks though the header is always in view.
    box = page.get_by_role("radio", name=name).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("html")).to_have_attribute("data-reading", name.lower())


def on_screen(page, selector):
    """Count the elements that take room on the page."""
    return page.locator(selector).evaluate_all(
        "(all) => all.filter((node) => node.checkVisibility() && node.offsetHeight).length"
    )


CODE, DRAWN = ".bd-article .cell_input", "details.draws .cell_input"


def test_code_that_only_draws_is_folded_under_what_it_draws(chapter):
    folds = chapter.locator("details.draws")
    assert folds.count() > 3
    assert on_screen(chapter, DRAWN) == 0
    assert on_screen(chapter, CODE) > 20
    for fold in folds.all():
        above = fold.locator("xpath=preceding-sibling::*[1]")
        assert above.locator("figure, table, noscript, .check").count()


def test_a_fold_opens_by_a_click_and_by_the_keyboard_and_its_code_can_be_copied(
    chapter,
):
    chapter.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fold = chapter.locator("details.draws").first
    fold.locator("summary").click()
    expect(fold).to_have_attribute("open", "")
    fold.hover()
    fold.locator(".copybtn").click()
    expect(fold.locator(".copybtn.success")).to_be_attached()
    copied = chapter.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == fold.locator("pre").inner_text().strip()
    fold.locator("summary").press("Enter")
    expect(fold).not_to_have_attribute("open", "")


def test_what_is_searched_for_in_a_page_opens_the_fold_that_it_is_in(chapter):
    """A fragment of text is found as Ctrl-F finds it."""
    fold = chapter.locator("details.draws").first
    sentence = fold.locator(".s2").last.text_content().strip('"')
    address = chapter.url
    chapter.goto("about:blank")
    chapter.goto(f"{address}#:~:text={quote(sentence)}")
    expect(fold).to_have_attribute("open", "")
    expect(chapter.locator("details.draws[open]")).to_have_count(1)


def test_ideas_show_figures_and_no_code_and_everything_opens_every_fold(chapter):
    figures = on_screen(chapter, ".course-figure")
    code, folds = (
        on_screen(chapter, CODE),
        chapter.locator(".bd-article details").count(),
    )
    choose(chapter, "Ideas")
    assert on_screen(chapter, f"{CODE}, details.draws, .bd-article .highlight .k") == 0
    assert on_screen(chapter, ".course-figure") == figures
    choose(chapter, "Everything")
    assert on_screen(chapter, CODE) == chapter.locator(CODE).count()
    assert on_screen(chapter, ".course-figure") >= figures
    assert chapter.locator(".bd-article details[open]").count() == folds
    choose(chapter, "Code")
    assert on_screen(chapter, CODE) == code
    assert chapter.locator(".bd-article details[open]").count() == 0


def test_a_fold_that_the_reader_opened_stays_open_when_everything_is_left(chapter):
    chapter.locator("details.draws summary").first.click()
    choose(chapter, "Everything")
    choose(chapter, "Code")
    expect(chapter.locator(".bd-article details[open]")).to_have_count(1)


def test_what_stood_at_the_top_stays_there_when_more_or_less_is_shown(chapter):
    heading = chapter.locator(".bd-article h2").nth(5)
    heading.evaluate("(node) => node.scrollIntoView({ behavior: 'instant' })")
    before = heading.bounding_box()["y"]
    for mode in ("Ideas", "Everything", "Code"):
        choose(chapter, mode)
        settle(chapter)
        assert abs(heading.bounding_box()["y"] - before) < 3


def test_the_choice_is_kept_and_holds_before_the_page_is_drawn(chapter):
    chapter.add_init_script(AT_FIRST)
    for mode in ("ideas", "everything"):
        choose(chapter, mode.capitalize())
        chapter.reload(wait_until="load")
        assert chapter.evaluate("window.atFirst") == mode
        chosen = chapter.locator(".reading-mode input:checked")
        expect(chosen).to_have_attribute("value", mode)


def test_the_switch_is_a_group_with_a_name_that_arrow_keys_move_in(chapter):
    group = chapter.get_by_role("group", name="Show")
    expect(group.get_by_role("radio")).to_have_count(3)
    group.get_by_role("radio", name="Code").focus()
    chapter.keyboard.press("ArrowRight")
    expect(chapter.locator("html")).to_have_attribute("data-reading", "everything")


@pytest.mark.parametrize("mode", ["Ideas", "Everything"])
def test_axe_finds_nothing_to_mend_in_what_else_a_page_can_show(chapter, mode):
    choose(chapter, mode)
    assert barriers(chapter) == []


def test_where_nothing_can_be_kept_the_switch_works_all_the_same(visit, served):
    with visit(READ) as visited:
        page = visited.page
        page.add_init_script(BLOCKED)
        page.reload(wait_until="load")
        choose(page, "Ideas")
        page.goto(f"{served}intro.html")
        expect(page.locator(".book-resume")).to_be_hidden()
        assert visited.said == []


def test_without_javascript_code_is_there_and_there_is_no_switch(visit):
    with visit(READ, script=False) as visited:
        page = visited.page
        assert not page.locator(".reading-mode").is_visible()
        assert page.locator(CODE).first.is_visible()
        fold = page.locator("details.draws").first
        fold.locator("summary").click()
        assert fold.locator(".cell_input").is_visible()


def test_what_is_folded_under_figures_prints_unless_only_ideas_are_shown(chapter):
    chapter.emulate_media(media="print")
    folds = chapter.locator("details.draws").count()
    assert on_screen(chapter, DRAWN) == folds
    assert on_screen(chapter, "details.draws summary, .reading-mode") == 0
    chapter.emulate_media(media="screen")
    choose(chapter, "Ideas")
    chapter.emulate_media(media="print")
    assert on_screen(chapter, CODE) == 0


def test_the_introduction_offers_to_go_on_where_the_reader_left_off(visit, served):
    with visit("intro.html") as visited:
        page = visited.page
        expect(page.locator(".book-resume")).to_be_hidden()
        page.goto(served + READ)
        heading = page.locator(".bd-article h2").nth(3)
        heading.evaluate("(node) => node.scrollIntoView({ behavior: 'instant' })")
        section = (
            page.locator(".bd-article section > section").nth(3).get_attribute("id")
        )
        page.goto(f"{served}intro.html")
        page.locator(".book-resume").click()
        page.wait_for_url(f"**/{READ}#{section}")
        page.goto(served + READ)
        resume = page.locator(".chapter-resume")
        assert resume.get_attribute("href").endswith(f"#{section}")
        expect(resume).to_be_visible()


@pytest.mark.parametrize("base", ["http", "file"])
def test_the_choice_works_over_http_and_from_files(visit, served, base):
    with visit(READ, base=served if base == "http" else FILES) as visited:
        choose(visited.page, "Ideas")
        assert visited.said == []


def test_a_downloaded_notebook_is_the_one_that_was_executed():
    for name in CHAPTERS:
        file = Path(name).stem + ".ipynb"
        executed = ROOT / "_build" / "executed" / file
        assert (
            HTML / "_sources" / "chapters" / file
        ).read_bytes() == executed.read_bytes()


def test_a_chapter_says_its_number_its_times_and_what_it_needs_and_gives(light):
    row = ROWS.get(Path(light.name).stem.partition("_")[0])
    if row:
        page = light.page
        assert page.locator("h1 .chapter-number").inner_text() == row.number
        line = page.locator(".chapter-line").inner_text()
        assert re.match(r"\d.* to read, \d.* to run\. You need ", line)
        assert f"You will be able to {row.able}." in line
        needs = page.locator(".chapter-line a:visible").all_inner_texts()
        assert needs == list(row.needs)
        current = page.locator(".bd-sidebar-primary a.current").first.inner_text()
        assert current.startswith(f"{row.number} ")


def test_the_neighbours_of_a_chapter_tell_their_questions(light):
    numbers = list(ROWS)
    number = Path(light.name).stem.partition("_")[0]
    if number in ROWS:
        place = numbers.index(number)
        around = numbers[max(0, place - 1) : place] + numbers[place + 1 : place + 2]
        told = light.page.locator(".prev-next-question").all_inner_texts()
        assert told == [ROWS[n].question for n in around]


def test_the_first_screen_of_the_introduction_moves_and_its_map_leads_to_every_chapter(
    visit,
):
    with visit("intro.html") as visited:
        page = visited.page
        plot = page.locator(".hero svg.live-plot").bounding_box()
        assert plot["y"] < 450
        assert plot["y"] + plot["height"] < 900
        links = page.locator(".chapter-map .chapter-title a")
        hrefs = [link.get_attribute("href") for link in links.all()]
        assert hrefs == [f"{row.page}.html" for row in ROWS.values()]


HEADER = ".bd-header-article :is(button, .reading-mode):visible"


@pytest.mark.parametrize("width", [360, 1280])
def test_the_header_has_room_for_all_that_is_in_it(visit, width):
    with visit(READ, width=width) as visited:
        boxes = [item.bounding_box() for item in visited.page.locator(HEADER).all()]
        boxes.sort(key=lambda box: box["x"])
        ends = [box["x"] + box["width"] for box in boxes]
        assert all(end <= box["x"] for end, box in zip(ends, boxes[1:]))
        assert ends[-1] <= width


# --- the search, and what a link opens --------------------------------------------------

SOUGHT = {
    "adjoint": "chapters/05_the_adjoint_derived.html",
    "Picard": "chapters/02_solving_an_ode.html",
    "stiff": "chapters/02_solving_an_ode.html#stiffness",
    "instantaneous change of variables": (
        "chapters/14_continuous_normalizing_flows.html#instantaneous"
    ),
}


@pytest.mark.parametrize("base", ["http", "file"])
@pytest.mark.parametrize("words", SOUGHT)
def test_the_search_finds_words_and_theorems_and_asks_no_other_host(
    visit, served, base, words
):
    with visit("intro.html", base=served if base == "http" else FILES) as visited:
        page = visited.page
        page.locator(".search-button__button:visible").first.click()
        page.locator("input[name=q]:visible").fill(words)
        page.keyboard.press("Enter")
        page.wait_for_url("**/search.html?q=*")
        expect(page.locator("#search-results .search-summary")).to_contain_text("found")
        links = page.locator("#search-results li a")
        found = [link.get_attribute("href") for link in links.all()]
        assert SOUGHT[words] in found
        for link in found:
            path, _, place = link.partition("#")
            assert f'id="{place}"' in (HTML / path).read_text() or not place
        page.locator(f"#search-results a[href='{SOUGHT[words]}']").first.click()
        page.wait_for_url(f"**/{SOUGHT[words]}")
        assert (visited.foreign, visited.said) == ([], [])


@pytest.mark.parametrize("base", ["http", "file"])
def test_the_link_to_a_solution_opens_its_fold_from_this_page_and_from_another(
    visit, served, base
):
    base = served if base == "http" else FILES
    with visit(READ, base=base) as visited:
        page = visited.page
        fold = page.locator("details:has(#solution-5-2)")
        expect(fold).not_to_have_attribute("open", "")
        page.locator("a[href='#solution-5-2']").click()
        expect(fold).to_have_attribute("open", "")
        page.locator("details[open] a[href='#exercise-5-2']").click()
        page.wait_for_url("**#exercise-5-2")
        page.goto(f"{base}intro.html")
        page.goto(f"{base}{READ}#solution-5-3")
        expect(page.locator("details:has(#solution-5-3)")).to_have_attribute("open", "")
        expect(page.locator("#solution-5-3")).to_be_in_viewport()
        assert (visited.foreign, visited.said) == ([], [])


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


def test_the_address_of_a_section_leads_there_when_the_formulas_have_their_heights(
    visit,
):
    """What comes before the section has grown."""
    for name, section in (
        ("13_latent_odes", "exercises"),
        ("02_solving_an_ode", "summary"),
    ):
        with visit(f"chapters/{name}.html", base=FILES) as visited:
            page = visited.page
            page.goto(f"{page.url}#{section}")
            page.reload()
            page.evaluate(weight.TYPESET)
            page.wait_for_timeout(500)
            target = page.locator(":target").first
            top = target.evaluate("(node) => node.getBoundingClientRect().top")
            assert 0 <= top <= 200, name


@pytest.mark.parametrize("section", ["many-observations", "summary"])
def test_a_link_to_a_section_of_the_page_leads_there(visit, section):
    with visit("chapters/07_which_gradient.html", base=FILES) as visited:
        page = visited.page
        page.evaluate(weight.TYPESET)
        page.evaluate(
            "name => document.querySelector(`a[href='#${name}']`).click()", section
        )
        place = "name => document.getElementById(name).getBoundingClientRect().top"
        page.wait_for_function(f"name => Math.abs(({place})(name)) < 200", arg=section)

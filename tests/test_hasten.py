"""Live figures come before what else a page runs; what is out of sight takes its room."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import settle
from live import states_and_views
from pages import HTML, SHOW_ALL

from course_lib.widgets import StepSizeExplorer, ToleranceExplorer
from course_lib.widgets.page.html import HOST
from tools.hasten import measured, ordered
from tools.weight import TYPESET

HEAD = """\
<head>
<script src="../_static/documentation_options.js?v=1"></script>
<script src="../_static/doctools.js?v=2"></script>
<script data-more="x" src="../_static/design-tabs.js"></script>
<script>window.MathJax = {}</script>
<script src="../_static/host.js?v=3"></script>
<script src="../_static/reading.js"></script>
<script defer="defer" src="../_static/mathjax/tex-chtml.js"></script>
</head>
<body>
<script defer src="../_static/bootstrap.js"></script>
</body>
"""


def test_scripts_of_others_wait_until_the_page_is_parsed_and_formulas_come_last():
    scripts = re.findall(r'<script ([^>]*?)src="[^"]*/([\w-]+)\.js', ordered(HEAD))
    assert scripts == [
        ("", "documentation_options"),
        ("defer ", "doctools"),
        ('defer data-more="x" ', "design-tabs"),
        ("", "host"),
        ("", "reading"),
        ("defer ", "bootstrap"),
        ('defer="defer" ', "tex-chtml"),
    ]


def test_a_page_without_live_figures_keeps_its_order():
    without = HEAD.replace('<script src="../_static/host.js?v=3"></script>\n', "")
    assert ordered(without) == without


def test_a_listing_says_its_lines_and_columns_and_a_drawing_its_shape():
    page = measured(
        '<div class="highlight"><pre><span class="k">if</span> a &lt; b:\n    pass\n'
        '</pre></div><figure class="course-figure"><svg role="img" '
        'style="height: auto" width="540.0pt" height="270.0pt" viewBox="0 0 540 270">'
    )
    assert (
        '<pre><span class="lines" style="--lines: 2; --columns: 9"><span class="k">'
        in page
    )
    assert "    pass\n</span></pre>" in page
    assert '<figure class="course-figure" style="--width: 540.0pt; --ratio: 2">' in page


@pytest.fixture
def two(browser):
    """Give a page with two figures, 25 formulas and a script that waits, as it is shown."""
    states, views = states_and_views(StepSizeExplorer, ToleranceExplorer)
    later = "window.stood = document.querySelectorAll('.live-figure').length"
    text = (
        "<!doctype html><head><script>window.MathJax = {}</script>"
        f'{states}<script>{HOST}</script><script defer src="data:text/javascript,{later}">'
        f"</script></head><body>{views}{'<p class=math></p>' * 25}"
    )
    page = browser.new_page()
    kind = "text/html; charset=utf-8"
    page.route("**/*", lambda route: route.fulfill(body=text, content_type=kind))
    page.goto("http://book.test/")
    page.wait_for_selector("html[data-live=ready]")
    yield page
    page.close()


def test_figures_stand_before_scripts_that_wait_run(two):
    two.wait_for_function("window.stood !== undefined")
    assert two.evaluate("window.stood") == 2


@pytest.fixture
def halves():
    """Serve a page with a figure in each half; give its address, and what sends the second."""
    states, views = states_and_views(StepSizeExplorer, ToleranceExplorer)
    cut = views.rindex("{") + 5  # within what the second place says
    send = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            head = f"<!doctype html><head>{states}<script>{HOST}</script></head><body>"
            self.wfile.write(f"{head}{views[:cut]}".encode())
            self.wfile.flush()
            send.wait()
            self.wfile.write(views[cut:].encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", send
        send.set()
        server.shutdown()


def test_a_figure_starts_while_the_page_after_it_is_on_its_way(browser, halves):
    address, send = halves
    page = browser.new_page()
    page.goto(address, wait_until="commit")
    page.wait_for_selector(".live-figure[data-live=started] .live[data-drawn]")
    assert page.evaluate("document.readyState") == "loading"
    assert page.locator(".live-figure").count() == 1
    send.set()
    page.wait_for_selector("html[data-live=ready]")
    assert page.locator(".live-figure[data-live=started]").count() == 2
    page.close()


def test_formulas_are_set_a_few_at_a_time_when_the_figures_have_started(two):
    calls = two.evaluate(
        """async () => {
          const calls = [];
          MathJax.typesetPromise = async (formulas) => calls.push(formulas.length);
          await MathJax.startup.pageReady();
          return calls;
        }"""
    )
    assert calls == [10, 10, 5]


PLACES = """() => [...document.querySelectorAll(
  ".bd-article :is(section, .highlight pre, .course-figure, .cell)")].map(
  (node) => [node.getBoundingClientRect().top + scrollY, node.matches("pre") && node.scrollWidth])"""


@pytest.mark.skipif(not HTML.is_dir(), reason="there is no built book")
@pytest.mark.parametrize("name", ["02_solving_an_ode", "10_how_deep_is_it"])
@pytest.mark.parametrize("width", [1280, 390])
def test_what_is_out_of_sight_takes_the_room_that_it_takes_in_sight(
    browser, name, width
):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((HTML / "chapters" / f"{name}.html").as_uri())
    page.evaluate(TYPESET)
    page.wait_for_selector("html[data-live=ready]")
    settle(page)
    hidden = page.evaluate(PLACES)
    page.evaluate(SHOW_ALL)
    settle(page)
    shown = page.evaluate(PLACES)
    assert len(hidden) == len(shown) > 50
    for before, after in zip(hidden, shown):
        assert before == pytest.approx(after, abs=1)
    page.close()


@pytest.mark.skipif(not HTML.is_dir(), reason="there is no built book")
def test_a_page_has_its_colours_before_its_text_is_there(browser):
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.add_init_script(
        """window.themes = [];
        new MutationObserver(() => {
          if (document.body) themes.push(document.documentElement.dataset.theme);
        }).observe(document, { attributes: true, childList: true, subtree: true });"""
    )
    page.goto((HTML / "intro.html").as_uri())
    settle(page)
    assert set(page.evaluate("themes")) == {"dark"}
    context.close()

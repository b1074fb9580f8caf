"""What makes long chapters readable: the table of chapters, the folds, the times, the map."""

import json
import re

import pytest
import yaml
from conftest import ROOT, settle

from tools import card, chapters, drawing, landing

ROWS, ROUTES = chapters.read(ROOT / "_chapters.yml")
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
ORDER = [part["file"] for parts in TOC["parts"] for part in parts["chapters"]]
every_chapter = pytest.mark.parametrize(
    "row", ROWS.values(), ids=lambda row: row.number
)


def notebook(row):
    return json.loads((ROOT / f"{row.page}.ipynb").read_text())


def links(text):
    """Return the numbers of the chapters that a text links to."""
    return set(re.findall(r"\]\((?:\./)?(\w+?)_\w+\.ipynb", text)) & set(ROWS)


# --- the table ------------------------------------------------------------------------


def test_every_notebook_has_a_row_and_every_row_is_in_the_contents_in_this_order():
    files = {f"chapters/{path.stem}" for path in (ROOT / "chapters").glob("*.ipynb")}
    pages = [row.page for row in ROWS.values()]
    assert set(pages) == files
    assert pages == [page for page in ORDER if page in files]


@every_chapter
def test_a_chapter_needs_only_what_comes_before_it(row):
    numbers = list(ROWS)
    for need in row.needs:
        assert numbers.index(need) < numbers.index(row.number)


@every_chapter
def test_a_chapter_links_to_every_chapter_that_it_needs(row):
    assert set(row.needs) <= links(chapters.prose(notebook(row)["cells"]))


@every_chapter
def test_a_chapter_needs_the_earlier_chapters_that_its_question_takes_up(row):
    text = chapters.prose(notebook(row)["cells"])
    question = text.partition("**The question.**")[2].partition("\n\n")[0]
    numbers = list(ROWS)
    earlier = {
        n for n in links(question) if numbers.index(n) < numbers.index(row.number)
    }
    assert earlier <= chapters.all_needs(ROWS, row.number)


@every_chapter
def test_a_row_needs_nothing_that_its_other_needs_need_already(row):
    for need in row.needs:
        others = set(row.needs) - {need}
        assert not others & chapters.all_needs(ROWS, need)


@every_chapter
def test_a_row_ends_the_sentences_that_it_is_put_into(row):
    assert row.question.endswith("?")
    assert re.match(r"[a-z].*[^.]$", row.able)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_route_passes_what_a_chapter_needs_before_that_chapter(route):
    passed = set()
    for number in (number for stop in route.stops for number in stop):
        assert chapters.all_needs(ROWS, number) <= passed
        passed.add(number)


def test_a_course_of_twelve_weeks_has_twelve_and_passes_every_chapter():
    (course,) = [route for route in ROUTES if "twelve weeks" in route.name]
    assert len(course.stops) == 12
    assert [number for stop in course.stops for number in stop] == list(ROWS)


# --- the times ------------------------------------------------------------------------


def test_words_and_formulas_take_time_and_targets_of_links_take_none():
    words = "word " * chapters.WORDS
    assert chapters.reading_time(words) == 1
    assert chapters.reading_time(f"[{words}](a_long_target.ipynb)") == 1
    rate = chapters.WORDS
    assert chapters.reading_time("$x + y$") == chapters.FORMULA / rate
    assert chapters.reading_time("$$\nx\n+ y\n$$") == chapters.DISPLAY / rate


def test_a_run_lasts_from_the_first_cell_to_the_last():
    def cell(start, end):
        stamps = {"iopub.execute_input": start, "shell.execute_reply": end}
        return {"metadata": {"execution": stamps}}

    first = cell("2026-01-01T10:00:00.5Z", "2026-01-01T10:00:10Z")
    last = cell("2026-01-01T10:00:20Z", "2026-01-01T10:01:00Z")
    assert chapters.running_time([first, {"metadata": {}}, last]) == 59.5
    assert chapters.running_time([{"metadata": {}}]) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4, "10 s"), (61, "70 s"), (125, "2 min"), (1260, "20 min"), (5600, "1½ h")],
)
def test_a_length_of_time_is_said_as_exactly_as_it_is_known(seconds, words):
    assert chapters.in_words(seconds) == words


# --- what only draws ------------------------------------------------------------------

IMPORTS = """\
from course_lib import data, measuring, plotting, training
from course_lib.measuring import relative_error
from course_lib.solvers import odeint"""
DRAWS = """\
fig, ax = plotting.new_figure()
for k in range(3):
    ax.plot(errors[k], color=plotting.OURS)
plotting.shown(fig, "Three errors fall.")"""
TABLE = 'rows = [[name, f"{x:.2f}"] for name, x in scores]\nplotting.table(head, rows)'


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (DRAWS, "figure"),
        (f"print(errors[0])\n{DRAWS}", "figure"),
        (f"gap = shift(nets)  # a function of the chapter\n{DRAWS}", "figure"),
        (TABLE, "table"),
        (f"off = relative_error(y, exact)\n{DRAWS}", "figure"),
        (f"gradient = measuring.flat(grads)\n{TABLE}", "table"),
        (f"took = measuring.seconds(run)\n{TABLE}", ""),
        (f"right = measuring.accuracy(model, x, y)\n{TABLE}", ""),
        (f"points, labels = data.two_moons(100)\n{DRAWS}", ""),
        (f"drawn = data.mnist(train=False).images.mean()\n{DRAWS}", ""),
        (f"ys = odeint(f, y0, t)\n{DRAWS}", ""),
        (DRAWS.replace("errors[k]", "odeint(f, y0, t)"), ""),
        (f"training.seed(0)\n{DRAWS}", ""),
        (f"def rate(x):\n    return 2 * x\n\n\n{TABLE}", ""),
        (f"import math\n{DRAWS}", ""),
        (f"{DRAWS}\nprint(errors)", ""),
        ("plotting.source(odeint)", ""),
        ("errors = []", ""),
        ("# only a remark", ""),
    ],
)
def test_a_cell_only_draws_if_it_ends_in_a_figure_or_table_and_computes_nothing(
    source, kind
):
    assert drawing.drawn_by([IMPORTS, source]) == ["", kind]


def test_a_solution_that_draws_keeps_the_fold_that_it_has():
    assert drawing.drawn_by([IMPORTS, DRAWS, DRAWS], solutions=[2]) == [
        "",
        "figure",
        "",
    ]


@every_chapter
def test_a_chapter_has_cells_that_only_draw_and_more_that_do_not(row):
    code = [c for c in notebook(row)["cells"] if c["cell_type"] == "code"]
    kinds = drawing.drawn_by(["".join(cell["source"]) for cell in code])
    assert 0 < sum(map(bool, kinds)) < len(kinds) / 2


# --- the map --------------------------------------------------------------------------


def test_the_map_links_every_chapter_and_has_an_arc_for_every_need():
    told = {number: chapters.facts(notebook(row)) for number, row in ROWS.items()}
    parts = [("First", list(ROWS)[:4]), ("Rest & end", list(ROWS)[4:])]
    page = landing.chapter_map(parts, ROWS, told)
    for number, row in ROWS.items():
        assert f'<a href="{row.page}.html">{told[number].title}</a>' in page
    assert page.count("<path") == sum(len(row.needs) for row in ROWS.values())
    assert page.count("<li") == len(ROWS)
    assert "Rest &amp; end" in page


def test_an_arc_ends_at_the_middle_of_the_rows_and_stays_in_the_drawing():
    drawn = landing.arcs([("a", []), ("b", ["a"]), ("c", ["a", "b"])])
    ends = re.findall(r"M1 ([\d.]+)C(-?[\d.]+) .*? 1 ([\d.]+)\"", drawn)
    assert [(top, bottom) for top, _, bottom in ends] == [
        ("0.5", "1.5"),
        ("0.5", "2.5"),
        ("1.5", "2.5"),
    ]
    # A cubic reaches three quarters of the way to its control points.
    assert all(1 - 0.75 * (1 - float(out)) >= 0 for _, out, _ in ends)


def test_a_figure_is_taken_from_a_chapter_with_its_sentence_and_its_state():
    view, state = {"model_id": "m"}, {"model_module": "anywidget", "state": {"x": "</"}}
    cell = {
        "outputs": [
            {"data": {"text/html": ["<noscript>", "A sentence.</noscript>"]}},
            {"data": {landing.VIEW: view}},
        ]
    }
    widgets = {landing.WIDGETS: {"state": {"m": state, "other": {}}}}
    page = landing.first_live_figure(
        {"cells": [cell], "metadata": {"widgets": widgets}}
    )
    assert page.startswith("<noscript>A sentence.</noscript>")
    kept, shown = re.findall(r">(\{.*\})</script>", page)
    assert json.loads(kept) == {"state": {"m": state}}
    assert json.loads(shown) == view
    with pytest.raises(ValueError, match="no live figure"):
        landing.first_live_figure({"cells": [], "metadata": {}})


# --- the card -------------------------------------------------------------------------


def test_the_card_has_the_size_that_sites_ask_for_and_is_small():
    header = card.TARGET.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(header[k : k + 4], "big") for k in (16, 20))
    assert (width, height) == card.SIZE
    assert card.TARGET.stat().st_size < 100_000


def test_a_reader_who_has_moved_on_while_the_page_loads_stays_there(browser):
    page = browser.new_page(viewport={"width": 800, "height": 600})
    script = (ROOT / "assets" / "reading.js").read_text()
    tall = '<div style="height: 3000px"></div>'
    text = (
        f'<script>{script}</script>{tall}<p id="there">there</p>{tall}<img src="late">'
    )
    late = []
    page.route(
        "http://page.localhost/",
        lambda route: route.fulfill(body=text, content_type="text/html"),
    )
    page.route("**/late", lambda route: late.append(route))
    page.goto("http://page.localhost/#there", wait_until="commit")
    page.wait_for_function("scrollY > 2000")
    page.wait_for_function("document.readyState === 'interactive'")
    page.mouse.move(400, 300)
    page.mouse.wheel(0, -500)
    page.wait_for_function("scrollY < 2900")
    settle(page)
    there = page.evaluate("scrollY")
    late[0].abort()
    page.wait_for_load_state("load")
    for _ in range(4):
        settle(page)
    assert page.evaluate("scrollY") == there
    page.close()

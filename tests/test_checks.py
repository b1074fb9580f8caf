"""Checks in a chapter: what they hold, how a page judges them, and what it remembers."""

import json
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest
import torch
from conftest import ROOT, settle
from live import every_figure
from pages import HTML, barriers, width_of
from playwright.sync_api import expect

from course_lib import checks
from course_lib.widgets import StepSizeExplorer, ToleranceExplorer
from course_lib.widgets.page.html import page_of
from tools.checks import checks_in, shared

EXECUTED = sorted((ROOT / "_build" / "executed").glob("*.ipynb"))  # the playground last


def number_of(path: Path) -> str:
    """Return the number of a chapter, '02', or 'playground'."""
    return path.stem.partition("_")[0]


def found_in(path: Path) -> list[tuple[str, str]]:
    """Return names and questions of the checks of an executed chapter."""
    return list(checks_in(nbformat.read(path, as_version=4)))


# --- the checks of the chapters -------------------------------------------------------


@pytest.mark.parametrize("path", EXECUTED, ids=number_of)
def test_every_chapter_has_two_checks_that_bear_its_number(path):
    found = [name for name, _ in found_in(path)]
    assert all(name.startswith(f"{number_of(path)}-") for name in found)
    assert len(found) >= 2


def test_no_two_checks_of_the_book_have_one_name():
    names = Counter(name for path in EXECUTED for name, _ in found_in(path))
    assert names and max(names.values()) == 1


# --- what a check holds ---------------------------------------------------------------


def a_number(**more):
    return checks.number("00-three", "How many?", 3.14159, tolerance=0.001, **more)


def a_choice(**more):
    words = dict(choices=["it grows", "it falls"], answer=1, reveal="By 7.25.")
    return checks.predict("00-choice", "And then?", **words | more)


def a_line():
    return checks.predict("00-line", "What will it do?", reveal="It turns <left>.")


def a_goal():
    steps = {
        "with Euler's method": [("method", "=", "euler"), ("error", "<", 0.1)],
        "with RK4": [("method", "=", "rk4"), ("error", "<", 0.1)],
    }
    figure = StepSizeExplorer(problem="spiral", step_size=0.5)
    return checks.goal("00-goal", figure, "Bring the error below 0.1.", steps)


ALL = (a_number, a_choice, a_line, a_goal)


def test_a_check_shows_its_question_and_none_of_its_answers():
    for made in (a_number(right="It is pi.", hint="A circle."), a_choice(), a_line()):
        assert f">{made.question}</p>" in made.markup
        for secret in ("3.14", "314", "pi", "circle", "7.25", "left"):
            assert secret not in re.sub('"(hash|told)[^,]*', "", made.markup)


def test_a_check_is_the_same_every_time_it_is_made():
    assert [make().markup for make in ALL] == [make().markup for make in ALL]


def test_texts_are_marked_up_and_nothing_else_in_them_is():
    made = checks.predict("00-text", "Is `a < b` if $a < b$ & *c*, <i>?", reveal="")
    assert "<code>a &lt; b</code>" in made.markup
    assert "\\(a &lt; b\\)" in made.markup
    assert "&amp; <em>c</em>, &lt;i&gt;?" in made.markup


def test_a_value_may_be_a_tensor():
    whole = checks.number("00-whole", "?", torch.tensor(12))
    assert whole.task == checks.number("00-whole", "?", 12).task


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: checks.number("00-a", "?", 0.5), "needs a tolerance, got value 0.5"),
        (lambda: checks.number("00-a", "?", float("nan")), "must be finite"),
        (lambda: checks.number("00-a", "?", 1.0, tolerance=-1), "not negative"),
        (lambda: checks.number("00-a", "?", 1.0, tolerance=1e-20), "no finer"),
        (lambda: checks.number("first", "?", 1), "'02-stable-step'; got 'first'"),
        (lambda: a_choice(answer=2), "one of the choices .* got 2"),
        (lambda: a_choice(answer="it stays"), "got 'it stays'"),
        (lambda: a_choice(choices=[]), "none without choices"),
        (
            lambda: checks.goal(
                "00-a", ToleranceExplorer(), "?", {"": [("h", "<", 1)]}
            ),
            "its facts are problem, method, rtol",
        ),
        (lambda: checks.goal("00-a", StepSizeExplorer(), "?", {}), "needs steps"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_page_holds_the_script_of_its_checks_once_and_no_style():
    page = "".join(make()._repr_html_() for make in ALL)
    made = shared(page, "../")
    assert made.count("<script") == made.count('src="../_static/checks.js"') == 1
    assert "<style" not in made
    assert all(make().markup in made for make in ALL)


# --- what figures say of themselves ---------------------------------------------------


@every_figure
def test_a_figure_says_the_facts_that_its_class_lists(show, make):
    figure = make()
    facts = json.loads(show(figure).locator(".live").get_attribute("data-facts"))
    assert sorted(facts) == sorted(figure.facts)
    assert any(value is not None for value in facts.values())


def test_a_solve_that_stopped_has_no_error_that_could_meet_a_goal(show):
    page = show(StepSizeExplorer(problem="vanderpol", step_size=1.2))
    facts = json.loads(page.locator(".live").get_attribute("data-facts"))
    assert facts["error"] is None and facts["h"] == 1.2


# --- in a page ------------------------------------------------------------------------


@pytest.fixture
def opened(browser, tmp_path):
    """Open a page with a figure and all checks, over http or from a file."""
    contexts = []

    def open_page(*, files=False, before="", **settings):
        if not contexts or settings:
            settings = {"viewport": {"width": 800, "height": 900}} | settings
            contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        text = "".join(make()._repr_html_() for make in ALL)
        whole = page_of(StepSizeExplorer(problem="spiral", step_size=0.5))
        whole = re.sub("<meta http-equiv[^>]*>", "", whole)
        whole = whole.replace("</main>", f"<article>{text}</article></main>")
        (tmp_path / "page.html").write_text(whole, encoding="utf-8")
        page.route(
            "http://page.localhost/",
            lambda route: route.fulfill(body=whole, content_type="text/html"),
        )
        if before:
            page.add_init_script(before)
        file = (tmp_path / "page.html").as_uri()
        page.goto(file if files else "http://page.localhost/")
        if settings.get("java_script_enabled", True):
            page.wait_for_selector("html[data-live=ready][data-checks=ready]")
            settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


def told(page, name):
    return page.locator(f"#check-00-{name} .check-status")


def answer(page, text):
    field = page.get_by_label("Your answer")
    field.fill(text)
    field.press("Enter")


def marks(page) -> int:
    return page.locator(".check-done").count()


@pytest.mark.parametrize("files", [False, True], ids=["http", "file"])
def test_a_number_is_judged_and_remembered(opened, files):
    page = opened(files=files)
    for text, said in {
        "three": "Write a number",
        "3.2": "Not yet.",
        "3.144": "Nearly",
        "3.142": "Right.",
    }.items():
        answer(page, text)
        expect(told(page, "three")).to_contain_text(said)
    assert marks(page) == 1
    page.reload()
    expect(told(page, "three")).to_contain_text("Right.")
    expect(page.get_by_label("Your answer")).to_have_value("3.142")


def test_a_prediction_is_revealed_once_it_is_made_and_may_be_made_again(opened):
    page = opened()
    box = page.locator("#check-00-choice")
    box.get_by_role("button", name="Commit").press("Enter")
    expect(told(page, "choice")).to_contain_text("Commit yourself first")
    assert "7.25" not in page.inner_text("body")
    box.get_by_label("it grows").press("Space")
    box.get_by_role("button", name="Commit").press("Enter")
    expect(told(page, "choice")).to_contain_text(
        "Not as you predicted. It is: it falls"
    )
    expect(told(page, "choice")).to_contain_text("By 7.25.")
    expect(box.get_by_label("it grows")).to_be_disabled()
    again = box.get_by_role("button", name="Predict again")
    expect(again).to_be_focused()
    page.reload()
    expect(told(page, "choice")).to_contain_text("By 7.25.")
    again.press("Enter")
    expect(told(page, "choice")).to_have_text("")
    expect(box.get_by_label("it grows")).to_be_focused()
    box.get_by_label("it falls").check()
    box.get_by_role("button", name="Commit").click()
    expect(told(page, "choice")).to_contain_text("As you predicted.")


def test_a_line_that_the_reader_writes_is_shown_as_text(opened):
    page = opened()
    field = page.get_by_label("Your prediction")
    field.fill("<b>down</b>")
    field.press("Enter")
    expect(told(page, "line")).to_contain_text("You predicted: <b>down</b>")
    expect(told(page, "line")).to_contain_text("It turns <left>.")


def test_a_goal_is_reached_in_the_figure_step_by_step_with_the_keyboard(opened):
    page = opened()
    expect(told(page, "goal")).to_contain_text("Step 0 of 2 reached.")
    page.get_by_label("Method").select_option("rk4")
    settle(page)
    page.get_by_label("Step size h").press("Home")
    settle(page)
    assert page.locator(".check-reached").count() == 0  # the first step comes first
    page.get_by_label("Method").select_option("euler")
    expect(told(page, "goal")).to_contain_text("Step 1 of 2 reached.")
    page.get_by_label("Method").select_option("rk4")
    expect(told(page, "goal")).to_contain_text("Reached.")
    assert marks(page) == 1
    page.reload()
    expect(told(page, "goal")).to_contain_text("Reached.")


REFUSED = """Object.defineProperty(window, "localStorage", { get() { throw new Error("no"); } });"""


def test_where_nothing_can_be_kept_a_check_still_judges(opened):
    page = opened(before=REFUSED)
    answer(page, "3.142")
    expect(told(page, "three")).to_contain_text("Right.")
    assert marks(page) == 1


@pytest.mark.parametrize("kept", ["", "no json", "[1]", "null", '{"00-three": 7}'])
def test_what_others_left_in_the_browser_breaks_nothing(opened, kept):
    page = opened(before=f"localStorage.setItem('neural-odes-checks', {kept!r})")
    answer(page, "3.142")
    expect(told(page, "three")).to_contain_text("Right.")


def test_without_javascript_the_questions_stand_and_no_control_does(opened):
    page = opened(java_script_enabled=False)
    for make in ALL:
        expect(page.get_by_text(make().question)).to_be_visible()
    assert page.locator(".check :is(input, button)").count() == 0
    expect(page.get_by_text("it falls")).to_be_visible()


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_checks_have_no_barrier_and_fit(opened, colours, width):
    page = opened(color_scheme=colours, viewport={"width": width, "height": 800})
    answer(page, "3.142")
    page.get_by_label("it falls").check()
    assert barriers(page) == []
    assert width_of(page) <= width


def test_on_paper_the_question_stays_and_the_controls_go(opened):
    page = opened()
    page.emulate_media(media="print")
    expect(page.get_by_text("How many?")).to_be_visible()
    expect(page.get_by_label("Your answer")).to_be_hidden()


# --- in the book ----------------------------------------------------------------------

CHAPTER = "chapters/02_solving_an_ode.html"
OVERVIEW = "reference/checks.html"


def test_the_pages_of_the_book_carry_no_script_of_a_check():
    for page in HTML.glob("chapters/*.html"):
        text = page.read_text()
        assert checks.script_of_checks() not in text
        assert text.count("_static/checks.js") == ('class="check"' in text)


@pytest.fixture
def book(browser):
    """Open pages of the built book one after the other, from files, as one reader."""
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()

    def go(name):
        page.goto((HTML / name).as_uri())
        page.wait_for_selector("html[data-checks=ready]")
        return page

    yield go
    context.close()


def test_the_overview_lists_every_check_and_leads_to_it(book):
    links = book(OVERVIEW).locator(".check-overview a")
    names = [name for path in EXECUTED for name, _ in found_in(path)]
    assert links.evaluate_all("all => all.map(a => a.dataset.checkName)") == names
    links.first.click()
    page = links.page
    page.wait_for_selector("html[data-checks=ready]")
    expect(page.locator(f"#check-{names[0]}")).to_be_in_viewport()


def test_what_is_done_is_counted_exported_and_cleared(book, tmp_path):
    page = book(CHAPTER)
    total = page.locator(".check").count()
    name = page.locator(".check:has(.check-choices)").first.get_attribute("id")
    name = name.removeprefix("check-")
    for _ in range(5):  # a browser may lose what is kept the moment a page is left
        tally = book(CHAPTER).locator(".check-tally")
        expect(tally).to_contain_text(f"of {total} checks done")
        if tally.text_content().strip().startswith("0"):
            choice = page.locator(f"#check-{name}")
            choice.get_by_role("radio").first.check()
            choice.get_by_role("button", name="Commit").click()
        expect(tally).to_contain_text(f"1 of {total} checks done")
        if book(OVERVIEW).locator(".check-reached").count():
            break
    expect(page.locator(".check-reached")).to_have_count(1)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export").click()
    saved.value.save_as(tmp_path / "checks.json")
    exported = json.loads((tmp_path / "checks.json").read_text())
    assert exported["checks"] == {name: {"done": True, "said": "0"}}
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".check-reached")).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".check-reached")).to_have_count(0)
    expect(book(CHAPTER).locator(".check-done")).to_have_count(0)


def test_no_goal_of_the_book_is_reached_before_its_figure_is_moved(book):
    for path in EXECUTED:
        if any('"check-steps">' in str(cell) for cell in nbformat.read(path, 4).cells):
            folder = "" if path.stem == "playground" else "chapters/"
            page = book(f"{folder}{path.stem}.html")
            page.wait_for_selector("html[data-live=ready]")
            settle(page)
            goals = page.locator(".check:has(.check-steps)")
            assert goals.count()
            expect(goals.locator(".check-reached")).to_have_count(0)
            for status in goals.locator(".check-status").all():
                expect(status).to_contain_text("Move the figure")

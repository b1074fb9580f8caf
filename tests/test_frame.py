"""What every live figure has: a link to what it shows, a slider that plays, a grid, the screen.

On a page of its own, in a browser.
"""

import math
import re

import pages
import pytest
from conftest import settle
from live import (
    FIGURES,
    drawing,
    every_figure,
    flow,
    particles,
    training_of_a_flow,
    walk,
)
from playwright.sync_api import expect

from course_lib.widgets import (
    AdjointExplorer,
    FixedPointExplorer,
    HorizonExplorer,
    NoiseExplorer,
    StepExplorer,
    StepSizeExplorer,
)
from course_lib.widgets.page.html import page_of

FIGURE = "#figure=step-size-explorer"
PLAYED = {
    "particles": (particles, "Time t"),
    "training": (training_of_a_flow, "Training"),
    "end of a path": (training_of_a_flow, "End time"),
    "walk": (walk, "Share of the way"),
    "digit": (FIGURES["sampler"], "Time t"),
    "noise": (FIGURES["sampler"], "Share of the way"),
    "graph": (FIGURES["graph"], "Time t"),
    "step": (StepExplorer, "Moment"),
    "iteration": (FixedPointExplorer, "Step"),
    "horizon": (HorizonExplorer, "Horizon T"),
    "descent": (HorizonExplorer, "Steps shown"),
    "known": (FIGURES["path"], "Known until t"),
    "density of paths": (NoiseExplorer, "Time t"),
}
played = pytest.mark.parametrize(("make", "label"), PLAYED.values(), ids=PLAYED)
files = pytest.mark.parametrize("files", [False, True], ids=["http", "file"])


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def status(page):
    return page.locator(".live-status")


def values(page) -> list[str]:
    """Read what all controls stand at, hidden ones too."""
    return page.locator(".live-control :is(input, select)").evaluate_all(
        "(all) => all.map((input) => input.value)"
    )


def fragment(page) -> str:
    return "#" + page.url.partition("#")[2]


# --- the address ----------------------------------------------------------------------


@files
@every_figure
def test_a_link_opened_in_a_fresh_browser_shows_what_was_copied(show, make, files):
    page = show(make(), files=files, permissions=["clipboard-read", "clipboard-write"])
    start = values(page)
    for field in page.locator(".live-control :is(input, select)").all():
        if field.is_visible():
            field.press("ArrowDown")
    settle(page)
    assert "#" not in page.url  # nothing is written until the reader asks for it
    button(page, "Copy link").click()
    expect(status(page)).to_contain_text("Link copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    moved, drawn = values(page), drawing(page)
    assert moved != start
    other = show(make(), hash=fragment(page), files=files)
    assert values(other) == moved
    # The names in a drawing are those of its page.
    names = re.compile(r"live-\w+-\d+")
    assert names.sub("", drawing(other)) == names.sub("", drawn)
    button(other, "Reset").click()
    settle(other)
    assert values(other) == start
    expect(status(other)).not_to_contain_text("Ignored")


def test_a_link_names_only_what_differs_from_the_start(show):
    page = show(StepSizeExplorer())
    for name, link in [(None, FIGURE), ("rk4", f"{FIGURE}&method=rk4")]:
        if name:
            page.get_by_label("Method").select_option(name)
        button(page, "Copy link").click()
        assert fragment(page) == link


def test_a_dragged_point_is_in_the_link_with_all_its_digits(show):
    page = show(AdjointExplorer(), hash="#figure=adjoint-explorer&target2=-0.123457")
    expect(page.get_by_label("Target y₂")).to_have_attribute("aria-valuetext", "−0.123")
    button(page, "Copy link").click()
    assert fragment(page) == "#figure=adjoint-explorer&target2=-0.123457"


def test_where_the_clipboard_is_refused_the_link_is_shown(show):
    page = show(StepSizeExplorer(), hash=f"{FIGURE}&h=0.2")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    button(page, "Copy link").press("Enter")
    expect(status(page)).to_contain_text(page.url)
    page.get_by_label("Step size h").press("ArrowLeft")
    expect(status(page)).not_to_contain_text("http")


@pytest.mark.parametrize(
    "bad",
    [
        "h=7",
        "h=-1",
        "h=0",
        "h=small",
        "h=",
        "h=NaN",
        "method=dopri5",
        "problem=",
        "x=1",
    ],
)
def test_what_a_link_cannot_set_is_ignored_with_a_word(show, bad):
    page = show(StepSizeExplorer(), hash=f"{FIGURE}&{bad}&problem=pendulum")
    expect(status(page)).to_contain_text(f"Ignored in the address: {bad}.")
    expect(page.get_by_label("Problem")).to_have_value("pendulum")
    assert values(page)[1:] == ["euler", "-1"]
    page.get_by_label("Problem").select_option("decay")
    expect(status(page)).not_to_contain_text("Ignored")


def test_what_a_link_says_is_shown_as_text_and_never_as_a_part_of_the_page(show):
    page = show(StepSizeExplorer(), hash=f"{FIGURE}&<img src=x>=<b>1</b>")
    expect(status(page)).to_contain_text("<img src=x>")
    assert status(page).locator("*").count() == 0


@pytest.mark.parametrize(
    "other", ["#figure=flow-explorer&h=0.5", "#order", "#%", "#h=0.5"]
)
def test_the_address_of_something_else_leaves_a_figure_as_it_is(show, other):
    page = show(StepSizeExplorer(), hash=other)
    assert values(page) == ["spiral", "euler", "-1"]
    expect(status(page)).not_to_contain_text("Ignored")


def test_a_link_that_is_followed_within_the_page_sets_the_figure_and_leads_to_it(show):
    page = show(StepSizeExplorer())
    page.evaluate("document.body.style.padding = '3000px 0'")
    page.get_by_label("Method").select_option("heun")
    page.evaluate("(hash) => { location.hash = hash; }", f"{FIGURE}&h=1")
    expect(page.get_by_label("Step size h")).to_have_value("0")
    expect(page.get_by_label("Method")).to_have_value("euler")
    expect(page.locator(".live")).to_be_in_viewport()
    expect(page.locator(".live")).to_be_focused()


def test_a_page_that_has_given_its_figure_no_name_offers_no_link(show):
    page = show(StepSizeExplorer())
    made = page.evaluate(
        """async () => {
          const states = document.querySelector('script[type*="state+json"]').textContent;
          const { _esm, ...state } = JSON.parse(states).state.figure.state;
          const url = URL.createObjectURL(new Blob([_esm], { type: "text/javascript" }));
          const el = document.createElement("div");
          const model = { get: (name) => state[name], set() {}, on() {}, off() {}, save_changes() {} };
          (await import(url)).default.render({ model, el });
          return [...el.querySelectorAll(".live-bar > *")].map((part) => part.textContent);
        }"""
    )
    assert made == ["Reset", "Full screen"]


# --- a slider that plays --------------------------------------------------------------


def moving(page, label) -> bool:
    """Whether a slider stands elsewhere ten frames later."""
    slider = page.get_by_label(label, exact=True)
    before = slider.input_value()
    for _ in range(4):
        settle(page)
    return slider.input_value() != before


@played
def test_play_moves_its_slider_and_pause_stops_it(show, make, label):
    page = show(make())
    slider = page.get_by_label(label, exact=True)
    slider.press("Home")
    before, low = drawing(page), slider.input_value()
    button(page, f"Play: {label}").press("Enter")
    expect(slider).not_to_have_value(low)
    button(page, f"Pause: {label}").press(" ")
    expect(button(page, f"Play: {label}")).to_be_visible()
    assert drawing(page) != before
    assert not moving(page, label)


def test_play_ends_at_the_end_and_begins_anew_from_there(show):
    page = show(particles())
    slider = page.get_by_label("Time t", exact=True)
    slider.evaluate(
        "(s) => { s.seen = []; s.addEventListener('input', () => s.seen.push(s.value)); }"
    )
    for key in ("PageUp", "End"):  # from near the end, and from the end
        slider.press(key)
        slider.evaluate("(s) => { s.seen.length = 0; }")
        button(page, "Play: Time t").click()
        expect(status(page)).to_contain_text("At t = 1 ")
        expect(button(page, "Play: Time t")).to_be_visible()
        expect(slider).to_have_value("1")
    first, *_, last = (float(value) for value in slider.evaluate("(s) => s.seen"))
    assert first < 0.5 < last


@pytest.mark.parametrize("end", [3.0, 2 * math.pi, 31.45])
def test_every_slider_reaches_its_end_and_plays_anew_from_there(show, end):
    page = show(flow(span=(0, end)))
    slider = page.get_by_label("End time", exact=True)
    slider.press("End")
    settle(page)
    place = slider.input_value()
    assert float(place) == pytest.approx(3 * end, rel=1e-5)
    button(page, "Play: End time").click()
    expect(slider).not_to_have_value(place)
    expect(button(page, "Play: End time")).to_be_visible()
    expect(slider).to_have_value(place)


def test_what_a_figure_says_is_read_out_when_it_has_come_to_rest(show):
    page = show(flow(span=(0, 3)))
    expect(status(page)).to_have_attribute("aria-live", "polite")
    button(page, "Play: End time").click()
    expect(status(page)).to_have_attribute("aria-live", "off")
    button(page, "Pause: End time").click()
    expect(status(page)).to_have_attribute("aria-live", "polite")


def test_a_hand_on_the_slider_stops_it(show):
    page = show(walk())
    button(page, "Play: Share of the way").click()
    page.get_by_label("Share of the way", exact=True).press("Home")
    expect(button(page, "Play: Share of the way")).to_be_visible()
    assert not moving(page, "Share of the way")


def test_one_thing_plays_at_a_time(show):
    page = show(walk())
    button(page, "Play: Share of the way").click()
    button(page, "Play: End time").click()
    expect(button(page, "Pause: End time")).to_be_visible()
    expect(button(page, "Play: Share of the way")).to_be_visible()
    assert not moving(page, "Share of the way")
    assert moving(page, "End time")


def test_a_figure_out_of_sight_does_not_play(show):
    page = show(walk())
    page.evaluate("document.body.style.paddingBottom = '5000px'")
    button(page, "Play: End time").click()
    page.mouse.wheel(0, 4000)
    expect(page.locator(".live-controls")).not_to_be_in_viewport()
    expect(button(page, "Play: End time")).to_be_attached()
    assert not moving(page, "End time")


@played
def test_with_less_motion_a_press_is_one_step(show, make, label):
    page = show(make(), reduced_motion="reduce")
    slider = page.get_by_label(label, exact=True)
    slider.press("Home")
    low, high = (float(slider.get_attribute(end)) for end in ("min", "max"))
    step = 1 if slider.get_attribute("step") == "1" else (high - low) / 10
    for n in (1, 2):
        button(page, f"Step: {label}").press("Enter")
        assert float(slider.input_value()) == pytest.approx(low + n * step, rel=0.02)
        assert not moving(page, label)


def test_every_slider_of_time_or_of_stages_plays_and_no_other(show):
    names = {label for _, label in PLAYED.values()}
    for make in FIGURES.values():
        page = show(make())
        labels = page.locator(".live-control label:visible").all_inner_texts()
        playing = page.locator(".live-control:has(.live-play) label").all_inner_texts()
        assert playing == [label for label in labels if label in names]


# --- the grid -------------------------------------------------------------------------

EDGES = """() => [...document.querySelectorAll(".live-control")]
  .filter((control) => control.checkVisibility())
  .map((control) => [...control.children].map((part) => part.getBoundingClientRect().left))"""


@pytest.mark.parametrize("width", [360, 800, 1280])
@every_figure
def test_labels_inputs_values_and_buttons_stand_in_columns(show, make, width):
    page = show(make(), viewport={"width": width, "height": 900})
    rows = page.evaluate(EDGES)
    columns = {round(left) for left, *_ in rows}
    assert len(columns) == (1 if width == 360 else min(2, len(rows)))
    for part in range(1, 4):
        offsets = {round(row[part] - row[0]) for row in rows if len(row) > part}
        assert len(offsets) <= 1, offsets
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for control in page.locator(".live-control > *:visible").all():
        box = control.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_the_coordinates_of_a_point_stand_side_by_side(show):
    page = show(training_of_a_flow())
    first, second = (page.get_by_label(f"Start y{d}").bounding_box() for d in "₁₂")
    assert first["y"] == second["y"]
    assert first["x"] < second["x"]


@pytest.mark.parametrize("colours", ["light", "dark"])
@every_figure
def test_axe_finds_nothing_to_mend_in_a_figure(show, make, colours):
    page = show(make(), color_scheme=colours)
    assert pages.barriers(page) == []


# --- the whole screen -----------------------------------------------------------------


def test_on_the_whole_screen_the_plots_are_drawn_larger_and_then_as_before(show):
    page = show(walk(), viewport={"width": 1280, "height": 900})
    before = [plot.bounding_box() for plot in page.locator("svg.live-plot").all()]
    button(page, "Full screen").press("Enter")
    expect(page.locator(".live:fullscreen")).to_be_visible()
    settle(page)
    height = page.evaluate("innerHeight")
    for plot, small in zip(page.locator("svg.live-plot").all(), before):
        box = plot.bounding_box()
        assert box["width"] >= small["width"]
        assert box["height"] > small["height"] + 50
        assert box["y"] + box["height"] < height
    page.get_by_label("Share of the way", exact=True).press("End")
    button(page, "Leave full screen").click()
    expect(button(page, "Full screen")).to_be_visible()
    settle(page)
    after = [plot.bounding_box() for plot in page.locator("svg.live-plot").all()]
    assert after == before


@pytest.mark.parametrize(("allow", "there"), [("", 0), ("fullscreen", 1)])
def test_where_the_page_around_forbids_the_whole_screen_there_is_no_button_for_it(
    browser, allow, there
):
    page = browser.new_page()
    bodies = {
        "http://outer.test/": f'<iframe src="http://inner.test/" allow="{allow}"></iframe>',
        "http://inner.test/": page_of(StepSizeExplorer()),
    }
    page.route(
        "**/*",
        lambda route: route.fulfill(
            body=bodies.get(route.request.url, ""), content_type="text/html"
        ),
    )
    page.goto("http://outer.test/")
    inside = page.frame_locator("iframe")
    expect(inside.get_by_role("button", name="Reset")).to_be_visible()
    expect(inside.get_by_role("button", name="Full screen")).to_have_count(there)
    page.close()

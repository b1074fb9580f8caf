"""The live figures in a browser, on a page of their own: hands, keys, extremes, failures."""

import json
import re

import pytest
from conftest import settle
from figures import between_nodes, sampler, swing
from live import (
    FIGURES,
    controls,
    digits,
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
    StepExplorer,
    StepSizeExplorer,
    ToleranceExplorer,
)
from course_lib.widgets.page.html import page_of

DRAGGED = [*list(FIGURES)[3:7], "step", "sampler"]
draggable = pytest.mark.parametrize(
    "make", [FIGURES[name] for name in DRAGGED], ids=DRAGGED
)


@every_figure
def test_every_control_is_a_labelled_input_that_keys_move(show, make):
    page = show(make())
    for control in controls(page):
        before = drawing(page)
        field = control.locator("input, select")
        assert page.get_by_label(control.locator("label").inner_text()).count()
        field.focus()
        for _ in range(4):
            page.keyboard.press("ArrowUp")
        if drawing(page) == before:  # it stood at that end
            page.keyboard.press("ArrowDown")
        assert drawing(page) != before


@every_figure
def test_a_slider_can_be_dragged(show, make):
    page = show(make())
    before = drawing(page)
    visible = [c for c in controls(page) if c.locator("input").count()]
    box = visible[0].locator("input").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 5, middle, steps=5)
    page.mouse.up()
    assert drawing(page) != before


@draggable
def test_a_point_can_be_dragged_and_its_sliders_follow(show, make):
    page = show(make())
    before, values = drawing(page), slider_values(page)
    box = page.locator(".live-handle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 40, steps=4)
    page.mouse.up()
    settle(page)
    moved = page.locator(".live-handle").bounding_box()
    assert abs(moved["y"] - box["y"] - 40) < 3
    assert drawing(page) != before
    assert slider_values(page) != values


def slider_values(page) -> list[str]:
    return [field.input_value() for field in page.locator("input").all()]


@draggable
def test_a_point_can_be_dragged_with_a_finger(show, make):
    phone = {"width": 390, "height": 844}
    page = show(make(), viewport=phone, has_touch=True)
    page.locator(".live-handle").scroll_into_view_if_needed()
    before = drawing(page)
    box = page.locator(".live-handle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page).send
    moves = [("Move", shift) for shift in range(4, 44, 4)]
    for kind, shift in (("Start", 0), *moves, ("End", None)):
        points = [] if shift is None else [{"x": x, "y": y - shift}]
        touch(
            "Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points}
        )
    assert drawing(page) != before
    # The browser keeps the first few pixels to itself, to tell a drag from a tap.
    assert 20 < box["y"] - page.locator(".live-handle").bounding_box()["y"] < 48


@every_figure
def test_no_setting_of_the_controls_freezes_or_breaks_the_figure(show, make):
    page = show(make())
    choices = [
        c.locator("select") for c in controls(page) if c.locator("select").count()
    ]
    for choice in choices:
        for value in choice.locator("option").all():
            choice.select_option(value.get_attribute("value"))
            settle(page)  # some controls belong to some methods
            for key in ("Home", "End"):
                for field in page.locator("input:visible").all():
                    field.press(key)
                drawn = drawing(page)
                assert "could not" not in page.locator(".live-status").inner_text()
                assert not re.search(r"NaN|Infinity|undefined|e\+\d", drawn)


@every_figure
def test_a_figure_fits_a_narrow_phone(show, make):
    narrow = {"width": 360, "height": 800}
    page = show(make(), viewport=narrow, reduced_motion="reduce")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for plot in page.locator("svg.live-plot").all():
        assert plot.get_attribute("role") == "img"
        title = page.locator(f"#{plot.get_attribute('aria-labelledby')}")
        assert len(title.text_content().split()) >= 3
        assert plot.bounding_box()["width"] > 230
    sizes = page.evaluate(
        "[...document.querySelectorAll('.live-plot text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(sizes) > 8


def test_an_unstable_step_is_called_unstable_and_a_path_that_leaves_is_cut(show):
    page = show(StepSizeExplorer(problem="spiral", step_size=1.0))
    expect(page.locator(".live-status")).to_contain_text("It left the plot at t = ")
    expect(page.locator(".live-status")).to_contain_text("unstable")
    page = show(StepSizeExplorer(problem="vanderpol", step_size=1.2))
    expect(page.locator(".live-status")).to_contain_text("overflowed after t = ")


def test_a_point_dragged_out_of_the_plot_stays_at_its_border(show):
    page = show(AdjointExplorer(problem="ring"))
    box = page.locator(".live-handle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 10, y - 600, steps=4)
    page.mouse.up()
    settle(page)
    moved = page.locator(".live-handle").bounding_box()
    plot = page.locator("svg.live-plot").filter(has=page.locator(".live-drag"))
    assert moved["y"] < box["y"] - 20
    assert moved["y"] + moved["height"] > plot.bounding_box()["y"] + 5


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (StepSizeExplorer(step_size=1e-4), "Too many steps: it stopped at t = "),
        (ToleranceExplorer(rtol=1e-15), "RK4 in 10000 equal steps.*too many steps"),
    ],
    ids=["step size", "tolerance"],
)
def test_too_many_steps_are_not_called_an_overflow(show, figure, said):
    page = show(figure)
    expect(page.locator(".live-status")).to_contain_text(re.compile(said))


def test_particles_share_the_steps_of_a_redraw(show):
    page = show(particles(), {"step_size": 1e-3})
    expect(page.locator(".live-status")).to_contain_text(
        re.compile(r"A particle stopped at t = 0\.167: too many steps")
    )


def test_a_way_back_that_fails_says_so(show):
    page = show(AdjointExplorer(problem="ring", rtol=1e-2))
    expect(page.locator(".live-status")).to_contain_text("There is no gradient.")


def test_a_slider_goes_through_the_snapshots_of_a_training(show):
    page = show(training_of_a_flow())
    slider = page.get_by_label("Training", exact=True)
    expect(slider).to_have_attribute("aria-valuetext", "step 100")
    drawn = page.locator(".live-line.ours").get_attribute("d")
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "step 0")
    expect(page.locator(".live-line.ours")).not_to_have_attribute("d", drawn)
    assert page.locator(".live-dots.data").get_attribute("d").count("M") == 50


def test_a_digit_is_a_picture_with_words_and_its_answer_is_said(show):
    page = show(digits())
    picture = page.locator(".live-picture")
    expect(picture).to_have_js_property("naturalWidth", 28)
    page.get_by_label("Digit").select_option("4")
    assert (
        page.get_by_label("Digit")
        .locator("option:checked")
        .inner_text()
        .startswith("4")
    )
    expect(picture).to_have_attribute("alt", re.compile("^The digit: 4"))
    figure = digits()
    figure.digit = 4
    made = figure.solution()
    counts = f"{made.solve.accepted} steps accepted, {made.solve.rejected} rejected"
    told = f"{counts}, {made.solve.nfe} evaluations of f. The answer is {made.answer}"
    expect(page.locator(".live-status")).to_contain_text(told)


def inks(page) -> list[list[float]]:
    """Read the mean ink of all digits of each picture, by rows, from 0 to 255."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".live-digits canvas")].map((canvas) => {
          const ink = canvas.getContext("2d");
          const found = [];
          for (let y = 0; y < canvas.height; y += 28) {
            for (let x = 0; x < canvas.width; x += 28) {
              const { data } = ink.getImageData(x, y, 28, 28);
              found.push(data.filter((_, i) => i % 4 === 3).reduce((a, b) => a + b) / 784);
            }
          }
          return found;
        })"""
    )


def test_a_digit_is_painted_as_python_has_it_and_ten_more_after_one_click(show):
    how = dict(mix=0.3, moment=0.6, method="rk4", steps=2)
    page, figure = show(sampler(**how)), sampler(grid="noises", **how)
    made = figure.solution()
    for found, image in zip(inks(page), (made.image, made.guessed)):
        assert found[0] == pytest.approx(255 * image.mean().item(), abs=0.6)
    status = page.locator(".live-status")
    expect(status).to_contain_text("2 steps, 8 evaluations of the field, 16 of the net")
    expect(status).to_contain_text("class 3, 30% of the way to class 8")
    assert not page.locator(".live-row").is_visible()
    button = page.get_by_role("button", name="Ten noises")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".live-row")).to_have_attribute("data-made", "10")
    expected = [255 * image.mean().item() for image in figure.images()]
    assert inks(page)[2] == pytest.approx(expected, abs=0.6)
    button.press("Enter")
    expect(page.locator(".live-row")).to_be_hidden()


def test_the_time_of_a_digit_is_told_once_the_browser_has_compiled_the_code(show):
    page = show(sampler())
    took = page.locator(".live-took")
    expect(took).to_contain_text("drag a slider")
    for _ in range(3):
        expect(took).not_to_contain_text(" ms.")
        page.get_by_label("Guidance").press("ArrowRight")
        settle(page)
    expect(took).to_have_text(re.compile(r"in \d+\.\d ms\."))


def test_new_noise_makes_another_digit_and_reset_brings_the_first_one_back(show):
    page = show(sampler())
    first = inks(page)[0]
    page.get_by_role("button", name="New noise").press("Enter")
    settle(page)
    assert inks(page)[0] != first
    page.get_by_role("button", name="Reset").press("Enter")
    settle(page)
    assert inks(page)[0] == first


def test_the_walk_between_two_noises_keeps_their_length_and_follows_the_hand(show):
    page = show(sampler())
    share = page.get_by_label("Share of the way", exact=True)
    for key, place in (("Home", (4, 0)), ("End", (0, 4))):
        share.press(key)
        for d, x in zip("₁₂", place):
            expect(page.get_by_label(f"Noise {d}")).to_have_value(str(x))
        expect(page.locator(".live-status")).to_contain_text("The noise has length 4.")
    page.get_by_label("Noise ₁").press("End")
    expect(share).not_to_have_value("1")
    expect(page.locator(".live-status")).to_contain_text("The noise has length 6.4.")


def test_the_walk_moves_the_curve_and_its_ends_are_the_ends_of_the_walk(show):
    page = show(walk())
    share = page.get_by_label("Share of the way", exact=True)
    handle = page.locator(".live-drag")
    places = []
    for key in ("Home", "End"):
        share.press(key)
        settle(page)
        places.append(handle.get_attribute("transform"))
    assert places[0] != places[1]
    status = page.locator(".live-status")
    expect(status).to_contain_text("clockwise (swept area")
    page.get_by_label("Method").select_option("euler")
    expect(status).to_contain_text("Euler, h = 0.25")  # the slider is there by now
    page.get_by_label("Step size h").press("End")
    expect(status).to_contain_text("Euler, h = 2: 2 steps, 2 evaluations of f")
    assert float(status.inner_text().rpartition("off by ")[2].rstrip(".")) > 0.01


def test_the_time_moves_all_particles_and_longer_steps_move_them_off_the_flow(show):
    page = show(particles())
    here = page.locator(".live-dots.ours")
    arrived = here.get_attribute("d")
    assert arrived.count("M") == 60
    page.get_by_label("Time t", exact=True).press("Home")
    expect(here).not_to_have_attribute("d", arrived)
    expect(page.locator(".live-status")).to_contain_text("they are 0 from")
    page.get_by_label("Time t", exact=True).press("End")

    def gap():
        settle(page)
        said = page.locator(".live-status").inner_text()
        return float(said.partition("they are ")[2].split()[0])

    page.get_by_label("Step size h").press("Home")
    short = gap()
    page.get_by_label("Step size h").press("End")
    assert gap() > 2 * short > 0


def test_a_walk_through_the_attempts_marks_the_line_that_does_each_moment(show):
    figure = StepExplorer()
    first, second, *_ = figure.solution()
    page = show(figure)
    moment, status = (
        page.get_by_label("Moment", exact=True),
        page.locator(".live-status"),
    )
    expect(page.locator("mark").first).to_contain_text("settings.first_step or")
    words, lines = [], []
    for _ in range(14):
        moment.press("ArrowRight")
        settle(page)
        words.append(status.inner_text())
        lines.append([mark.strip() for mark in page.locator("mark").all_inner_texts()])
    assert lines[0] == ["stages = [f(t, y) if k1 is None else k1]"]
    assert lines[1:7:2] == 3 * [["y_stage = advance(y, h, row, stages)"]]
    assert lines[2:8:2] == 3 * [["stages.append(f(t + c * h, y_stage))"]]
    assert lines[7] == ["return y_stage, stages"]
    assert lines[8][0].startswith("ratio = _error_ratio(")
    assert lines[10][1] == "h, rejected = size * shrink, rejected + 1"
    assert f"{first.ratio:.3g} times the tolerance" in words[8]
    assert not first.accepted and "rejected. t and y stay" in words[9]
    assert f"h = {first.h_next:.3g} is next" in words[10]
    assert (
        f"attempt 2: from t = 0, y = (1, 0) it tries h = {second.h:.3g}." in words[11]
    )
    row = page.locator("tr").nth(1).locator("td")
    told = [f"{first.ratio:.3g}", "rejected", f"{first.h_next:.3g}"]
    assert row.all_inner_texts() == ["1", "0", "1", *told]
    assert page.locator("tr[aria-current=step] td").first.inner_text() == "2"


def test_a_method_without_an_estimate_says_so_and_shows_the_loop_of_equal_steps(show):
    page = show(StepExplorer(method="rk4", backward=True, problem="ring"))
    page.get_by_label("Moment", exact=True).press("End")
    expect(page.locator(".live-status")).to_contain_text("it estimates no error")
    expect(page.locator("mark")).to_contain_text("yield Step(t_here, t_next")
    expect(page.locator(".live-code")).not_to_contain_text("adaptive_steps")
    expect(page.locator(".live-line.rival")).to_have_attribute("d", re.compile("^M"))
    assert not page.get_by_label("First h").is_visible()


def test_steps_that_overflow_are_told_in_words(show):
    wild = dict(problem="vanderpol", start=[3.0, 3.0], method="rk4", step_size=2.0)
    page = show(StepExplorer(moment=200, **wild))
    expect(page.locator(".live-status")).to_contain_text("The step after it overflows")


def facts_of(page) -> dict:
    settle(page)
    return json.loads(page.locator(".live").get_attribute("data-facts"))


def test_a_click_warms_a_node_the_next_cools_it_and_a_third_clears_it(show):
    page = show(between_nodes(warm=[], cold=[], kind="heat"))
    status = page.locator(".live-status")
    expect(status).to_contain_text("no node is warm or cold")
    node = page.locator(".live-plot circle").nth(4)
    for side, given in (("largest", 1), ("largest", 1), (None, 0)):
        node.click()
        assert facts_of(page)["given"] == given
        assert bool(facts_of(page)["largest"]) == (side is not None)


def test_keys_warm_the_chosen_node_and_a_stroke_warms_all_that_it_meets(show):
    page = show(between_nodes(warm=[], cold=[], kind="heat"))
    page.get_by_label("Node", exact=True).fill("33")
    page.get_by_role("button", name="Cold", exact=True).press("Enter")
    assert facts_of(page)["given"] == 1 and facts_of(page)["right"] == 17
    boxes = [page.locator(".live-plot circle").nth(i).bounding_box() for i in (2, 3)]
    middles = [(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes]
    page.mouse.move(*middles[0])
    page.mouse.down()
    page.mouse.move(*middles[1], steps=20)
    page.mouse.up()
    assert facts_of(page)["given"] >= 3
    page.get_by_role("button", name="Reset").click()
    assert facts_of(page)["given"] == 0


def test_heat_that_explodes_is_told_in_words_and_has_no_sides(show):
    page = show(between_nodes(kind="heat", method="euler", step_size=0.2, t=6.0))
    expect(page.locator(".live-status")).to_contain_text(
        "it grows: this step is too long"
    )
    assert facts_of(page)["right"] is None and facts_of(page)["left"] > 1e6
    page.get_by_label("Graph", exact=True).select_option("ring")
    expect(page.locator(".live-status")).to_contain_text("it fades")


def test_broken_state_becomes_a_message_in_the_figure(show):
    page = show(flow(), {"weights": ["!"]})
    expect(page.locator(".live-status")).to_contain_text("could not be drawn")
    page = show(StepSizeExplorer(), {"_esm": "this is not a module"})
    expect(page.get_by_role("alert")).to_contain_text("could not start")


def test_in_print_the_drawing_stays_and_the_controls_go(show):
    page = show(StepSizeExplorer())
    page.emulate_media(media="print")
    assert page.locator("svg").first.is_visible()
    assert not page.locator(".live-controls").is_visible()


def test_a_box_of_figures_is_told_how_to_live_in_a_page(browser):
    box = '"model_module": "@jupyter-widgets/controls", "model_name": "HBoxModel"'
    html = page_of(StepSizeExplorer()).replace('"model_module": "anywidget"', box)
    page = browser.new_page()
    page.set_content(html)
    words = "a HBoxModel cannot live here; end a cell with each figure itself"
    expect(page.get_by_role("alert")).to_contain_text(words)
    page.close()


# --- what is said is so ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("traits", "said", "not_said"),
    [
        (("tanh", "anderson", 1.5, -1.5), "has not arrived yet", "diverges"),
        (("plane", "anderson", 2.0, 1.3), "has not arrived yet", "diverges"),
        (("line", "plain", 2.0, 1.0), "It diverges", "yet"),
        (("line", "plain", -1.0, 1.0), "has not arrived yet", "diverges"),
    ],
)
def test_an_iteration_that_was_cut_is_not_called_lost(show, traits, said, not_said):
    problem, method, weight, start = traits
    figure = FixedPointExplorer(
        problem=problem, method=method, weight=weight, start=start
    )
    words = show(figure).locator(".live-status")
    expect(words).to_contain_text(said)
    expect(words).not_to_contain_text(not_said)


def test_after_the_step_that_arrives_no_other_is_announced(show):
    page = show(StepExplorer(problem="ring", backward=True, method="dopri5", rtol=1e-2))
    page.get_by_label("Moment", exact=True).press("End")
    expect(page.locator(".live-status")).to_contain_text("no step follows")
    expect(page.locator("tr").last.locator("td").last).to_have_text("none")
    expect(page.locator("tr").nth(1).locator("td").last).not_to_have_text("none")


def test_the_energy_of_every_start_is_in_the_picture(show):
    page = show(swing(start=[3.0, 2.4], t_end=5.0))
    exact = page.locator("svg").nth(1).locator(".live-line.exact").first
    heights = re.findall(r"[ML][\d.-]+[ ,]([\d.-]+)", exact.get_attribute("d"))
    assert heights and all(float(y) > 0 for y in heights)


def test_leapfrog_tells_the_step_that_it_takes(show):
    figure = swing(method="leapfrog", step_size=1.99, t_end=5.0)
    expect(show(figure).locator(".live-status")).to_contain_text("h = 1.67: 3 steps")


def test_a_graph_tells_sizes_and_the_step_that_it_takes(show):
    page = show(between_nodes(warm=[], cold=[0], method="euler", step_size=0.2, t=0.05))
    words = page.locator(".live-status")
    expect(words).to_contain_text("in size")
    expect(words).to_contain_text("it fades")
    page.get_by_label("Time t", exact=True).press("End")
    expect(words).to_contain_text("this step is too long")


def test_a_graph_has_the_nodes_that_can_be_chosen(show):
    page = show(between_nodes(node=30))
    node = page.get_by_label("Node", exact=True)
    expect(node).to_have_attribute("max", "33")
    page.get_by_label("Graph", exact=True).select_option("ring")
    expect(node).to_have_attribute("max", "11")
    expect(node).to_have_value("11")


def test_a_lowest_point_at_the_border_is_no_valley_that_is_missed(show):
    page = show(HorizonExplorer(horizon=4, noise=0.5, start=0.7))
    words = page.locator(".live-status")
    expect(words).to_contain_text("The lowest point is at the border, 0.4,")
    expect(words).to_contain_text("in the deepest valley")

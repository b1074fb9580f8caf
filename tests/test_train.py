"""The figure that trains: in Python, and in a browser by mouse, keyboard and link."""

import re

import nbformat
import pages
import pytest
import torch
from conftest import ROOT, settle
from live import drawing
from playwright.sync_api import expect
from torch import nn
from traitlets import TraitError

from course_lib.models import AugmentedODE, NeuralODE, ResNet
from course_lib.widgets import TrainExplorer
from course_lib.widgets.learner import loss_of
from course_lib.widgets.train import KINDS
from tools.figures import figures

SETS = list(TrainExplorer().sets)
files = pytest.mark.parametrize("files", [False, True], ids=["http", "file"])


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def status(page):
    return page.locator(".live-status")


def cells(page, row=0) -> list[str]:
    return page.locator(".live-costs tbody tr").nth(row).locator("td").all_inner_texts()


def paused_at(page, steps: int):
    """Train until the page pauses by itself."""
    button(page, "Train").click()
    expect(status(page)).to_contain_text(
        re.compile(rf"{steps} steps; loss"), timeout=120_000
    )


# --- in Python ------------------------------------------------------------------------


def test_every_kind_of_model_is_one_of_the_course_with_the_page_s_first_weights():
    bodies = {"mlp": nn.Linear, "resnet": nn.ConstantPad1d, "ode": AugmentedODE}
    for kind, (_, model, extra, _) in KINDS.items():
        made = TrainExplorer(first=kind).model()
        assert isinstance(made[0], bodies[model])
        again = TrainExplorer(first=kind).model()
        for p, q in zip(made.parameters(), again.parameters()):
            assert torch.equal(p, q)
        if model == "ode":
            assert made[0].extra == extra
        if model == "resnet":
            assert isinstance(made[1], ResNet)


def test_another_seed_begins_with_other_weights():
    first, other = (TrainExplorer(seed=s).model()[-1].weight for s in (0, 1))
    assert not torch.equal(first, other)


def test_a_path_is_learnt_by_a_neural_ode_from_its_pieces():
    figure = TrainExplorer(data="spiral", first="mlp", time="yes")
    model = figure.model()
    assert isinstance(model, NeuralODE)
    assert not model.f.time
    x, y, t = figure.rows()
    assert x.shape == (55, 2)
    assert y.shape == (6, 55, 2)
    assert torch.equal(y[0], x)
    assert torch.equal(y[1, :-1], x[1:])
    assert t.tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_the_solution_is_the_flow_that_the_model_reads_off():
    figure = TrainExplorer(first="ode + 2", method="dopri5", rtol=1e-6)
    x, _, _ = figure.rows()
    made, model = figure.solution(), figure.model()
    assert torch.equal(made.ys[0], nn.functional.pad(x, (0, 2)))
    torch.testing.assert_close(model[1](made.ys[-1]), model(x))
    assert TrainExplorer(data="spiral").solution().ys.shape == (60, 1, 2)
    with pytest.raises(ValueError, match="'mlp', which solves nothing"):
        TrainExplorer(first="mlp").solution()


def test_training_in_python_goes_on_where_it_paused():
    figure, whole = TrainExplorer(batch=16), TrainExplorer(batch=16)
    figure.train(3)
    model = figure.train(4)
    expected = whole.train(7)
    assert figure.history["ode + 1"].losses == whole.history["ode + 1"].losses
    assert figure.steps == [7]
    for p, q in zip(model.parameters(), expected.parameters()):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-14)


def test_training_one_of_two_models_leaves_the_other_where_it_was():
    figure = TrainExplorer(second="ode", batch=16)
    before = figure.model(1)
    figure.train(2)
    assert figure.steps == [2, 0]
    assert len(figure.history["ode + 1"].losses) == 2
    assert figure.history["ode"].losses == ()
    for p, q in zip(before.parameters(), figure.model(1).parameters()):
        assert torch.equal(p, q)


def test_weights_of_another_shape_are_not_taken():
    figure = TrainExplorer(batch=16)
    figure.train(1)
    figure.width = 8
    fresh = TrainExplorer(width=8)
    for p, q in zip(figure.model().parameters(), fresh.model().parameters()):
        assert torch.equal(p, q)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("data", "rings", "moons"),
        ("first", "none", "ode"),
        ("method", "rk5", "rk4"),
        ("width", 0, "from 1"),
        ("hidden", 5, "from 1 to 4"),
        ("layers", 0, "from 1"),
        ("batch", 0, "from 1"),
        ("seed", -1, "from 0"),
        ("lr", 0.0, "positive"),
        ("moment", 1.5, "from 0 to 1"),
        ("points", [[0.0, 1.0]], "rows of 3"),
        ("points", [[0.0, 1.0, 2.0]], "class 0 or 1"),
        ("track", [[0.0]], "rows of 2"),
        ("sets", {}, "read-only"),
    ],
)
def test_a_trait_refuses_what_makes_no_sense(name, value, said):
    figure = TrainExplorer()
    with pytest.raises(TraitError, match=said):
        setattr(figure, name, value)


# --- in the page ----------------------------------------------------------------------


@files
def test_disc_in_ring_stalls_in_the_plane_and_falls_with_one_more_dimension(
    show, files
):
    how = dict(first="ode", second="ode + 1", width=8, hidden=1, lr=0.02, until=300)
    page = show(TrainExplorer(**how), files=files)
    paused_at(page, 300)
    flat, lifted = (float(cells(page, row)[0].replace("−", "-")) for row in (0, 1))
    assert flat > 0.1
    assert lifted < 0.01
    expect(button(page, "Train")).to_be_visible()


def test_euler_with_one_step_puts_minus_x_where_no_flow_can(show):
    how = dict(data="negate", first="ode", lr=0.02, until=200)
    page = show(TrainExplorer(method="euler", step_size=1.0, **how))
    paused_at(page, 200)
    assert float(cells(page)[0].replace("−", "-")) < 0.01
    expect(status(page)).to_contain_text("40 neighbours that changed places")
    page = show(TrainExplorer(**how))
    paused_at(page, 200)
    assert float(cells(page)[0]) > 0.34  # the floor of every increasing map is 0.3504
    expect(status(page)).not_to_contain_text("changed places")


def test_the_adjoint_s_gradient_is_off_by_what_the_tolerance_lets_through(show):
    off = []
    for rtol in (1e-1, 1e-6):
        how = dict(method="bosh3", rtol=rtol, gradient="adjoint", until=30, lr=0.02)
        page = show(TrainExplorer(first="ode", **how))
        paused_at(page, 30)
        _, _, _, back, kept, wrong = cells(page)
        assert int(back) > 0
        assert int(kept) < 10_000
        off.append(float(wrong.replace("−", "-")))
    assert off[0] > 1e-3 > 1e-5 > off[1]


def test_the_page_goes_on_where_python_paused_and_python_where_the_page_did(show):
    figure = TrainExplorer(first="ode", batch=32, until=25)
    figure.train(20)
    page = show(figure)
    expect(status(page)).to_contain_text("20 steps; loss")
    paused_at(page, 25)
    model = figure.train(5)
    x, y, _ = figure.rows()
    loss = loss_of(model, "classes", x, y).item()
    expect(status(page)).to_contain_text(f"neural ODE {float(f'{loss:.3g}'):g}")


def test_one_step_is_one_step_and_begin_again_takes_all_back(show):
    page = show(TrainExplorer(batch=16))
    button(page, "One step").click()
    expect(status(page)).to_contain_text("1 step; loss")
    first = cells(page)[0]
    button(page, "Begin again").click()
    expect(status(page)).to_contain_text("Not trained yet.")
    button(page, "One step").click()
    expect(status(page)).to_contain_text("1 step; loss")
    assert cells(page)[0] == first


def test_a_training_that_diverges_says_so_and_keeps_its_picture(show):
    how = dict(data="cubic", first="ode", method="euler", step_size=0.2)
    page = show(TrainExplorer(optimizer="sgd", lr=1.0, seed=3, **how))
    button(page, "Train").click()
    expect(status(page)).to_contain_text(
        re.compile(r"The neural ODE stopped at step \d+"), timeout=60_000
    )
    assert not re.search("NaN|Infinity", drawing(page))


def test_while_it_trains_the_time_slider_moves_the_points(show):
    page = show(TrainExplorer(batch=16))
    button(page, "Train").click()
    expect(status(page)).to_contain_text("Training.")
    slider = page.get_by_role("slider", name="Time t")
    slider.press("End")
    expect(page.locator(".live-line.faint.hair").first).to_have_attribute(
        "d", re.compile("^M")
    )
    button(page, "Pause").click()
    expect(status(page)).to_contain_text("steps; loss")


def test_where_workers_are_refused_it_says_so_and_trains_in_the_page(show):
    figure = TrainExplorer(batch=8, until=3)
    source = figure._esm.replace("new Worker(", "new Refused(")
    assert source != figure._esm
    page = show(figure, {"_esm": source})
    expect(status(page)).to_contain_text("Workers are refused here")
    paused_at(page, 3)


# --- the reader's own data ------------------------------------------------------------


def dots(page, style) -> int:
    shape = page.locator(f".live-box:not([hidden]) .live-dots.{style}").first
    return (shape.get_attribute("d") or "").count("M")


def test_points_are_put_by_mouse_and_by_keyboard_and_taken_back(show):
    page = show(TrainExplorer(data="own points", until=20))
    expect(status(page)).to_contain_text("No points yet")
    plot = page.locator("svg.live-plot").first
    box = plot.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.click(x, y)
    settle(page)
    assert dots(page, "ours") == 1
    button(page, "Putting: second class").click()
    page.mouse.move(x - 60, y - 60)
    page.mouse.down()
    page.mouse.move(x + 60, y - 60, steps=12)
    page.mouse.up()
    settle(page)
    stroke = dots(page, "exact")
    assert stroke > 3
    plot.focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    settle(page)
    assert dots(page, "exact") == stroke + 1
    expect(status(page)).to_contain_text("Cursor at (0.25, 0.5)")
    page.keyboard.press("Backspace")
    button(page, "Undo").click()
    settle(page)
    assert dots(page, "exact") == stroke - 1
    paused_at(page, 20)
    button(page, "Clear").click()
    expect(status(page)).to_contain_text("No points yet")


def test_a_path_that_crosses_itself_is_said_to(show):
    page = show(TrainExplorer(data="own path"))
    page.locator("svg.live-plot").first.focus()
    for keys in ("Enter", "RRRR", "Enter", "UUUU", "Enter", "LLDDDDDDDD", "Enter"):
        moves = {"R": "Right", "U": "Up", "L": "Left", "D": "Down"}
        for key in [keys] if keys == "Enter" else [f"Arrow{moves[k]}" for k in keys]:
            page.keyboard.press(key)
    expect(status(page)).to_contain_text("The path crosses itself once")


def test_points_are_put_by_touch_and_the_page_stays_where_it_is(show):
    phone = {"width": 360, "height": 800}
    page = show(TrainExplorer(data="own points"), viewport=phone, has_touch=True)
    plot = page.locator("svg.live-plot").first
    plot.scroll_into_view_if_needed()
    box, place = plot.bounding_box(), page.evaluate("scrollY")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.touchscreen.tap(x, y)
    settle(page)
    assert dots(page, "ours") == 1
    touch = page.context.new_cdp_session(page)
    ways = [("Start", -50), *(("Move", 10 * k) for k in range(-4, 6)), ("End", None)]
    for kind, dx in ways:
        points = [] if dx is None else [{"x": x + dx, "y": y + dx}]
        touch.send(
            "Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points}
        )
    settle(page)
    assert dots(page, "ours") > 4
    assert page.evaluate("scrollY") == place


def test_a_link_opens_in_another_browser_what_it_was_copied_from(show):
    page = show(TrainExplorer(data="own points", points=[[1, 1, 0]]))
    page.get_by_label("Learning rate").press("Home")
    page.get_by_label("Model", exact=True).select_option("mlp")
    plot = page.locator("svg.live-plot").first
    plot.focus()
    plot.press("Enter")
    button(page, "Copy link").click()
    settle(page)
    link = page.evaluate("location.hash")
    rate = page.get_by_label("Learning rate").input_value()
    again = show(TrainExplorer(data="own points", points=[[1, 1, 0]]), hash=link)
    expect(again.get_by_label("Learning rate")).to_have_value(rate)
    expect(again.get_by_label("Model", exact=True)).to_have_value("mlp")
    assert (dots(again, "exact"), dots(again, "ours")) == (1, 1)


def test_own_points_are_in_the_link(show):
    page = show(
        TrainExplorer(),
        hash="#figure=train-explorer&data=own+points&points=1+1+0+-1+1+1",
    )
    settle(page)
    assert (dots(page, "exact"), dots(page, "ours")) == (1, 1)
    page = show(
        TrainExplorer(), hash="#figure=train-explorer&points=1+x+0&data=own+points"
    )
    expect(status(page)).to_contain_text("Ignored in the address: points")


# --- what the chapters say of theirs --------------------------------------------------


def preset(name: str) -> TrainExplorer:
    """Return the figure that an executed chapter trains."""
    path = next((ROOT / "_build" / "executed").glob(f"{name}_*.ipynb"))
    found = figures(nbformat.read(path, as_version=4), path.stem).values()
    (state,) = (each.state for each in found if each.place == "train-explorer")
    own = TrainExplorer.class_own_traits(sync=True)
    return TrainExplorer(**{k: state[k] for k in own if not own[k].read_only})


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def losses_at(page, steps: int) -> list[float]:
    paused_at(page, steps)
    many = page.locator(".live-costs tbody tr").count()
    return [number(cells(page, row)[0]) for row in range(many)]


def test_03_a_resnet_of_few_layers_goes_where_no_flow_can_and_one_of_ten_does_not(show):
    page = show(preset("03"))
    floor = torch.linspace(-1, 1, 40).var(correction=0).item()
    flow, few = losses_at(page, 200)
    assert few < floor / 10 < floor < flow + 5e-4
    expect(status(page)).to_contain_text("40 neighbours that changed places")
    layers = page.get_by_role("slider", name="ResNet layers")
    layers.fill("1")
    assert losses_at(page, 200)[1] < floor / 10
    layers.fill("10")
    assert losses_at(page, 200)[1] > floor - 5e-4


def test_07_the_adjoint_is_off_at_loose_tolerances_and_keeps_least(show):
    page = show(preset("07"))
    paused_at(page, 60)
    _, _, _, _, fewest, off = cells(page)
    assert number(off) > 0.5
    expect(status(page)).to_contain_text("where the map is turned over")
    kept = {}
    for gradient in ("adjoint", "checkpointed", "direct"):
        figure = preset("07")
        figure.gradient, figure.rtol = gradient, 1e-3
        page = show(figure)
        paused_at(page, 60)
        _, _, _, _, numbers, off = cells(page)
        kept[gradient] = int(numbers)
        assert number(off) < (0.1 if gradient == "adjoint" else 1e-12)
    assert int(fewest) == kept["adjoint"] < kept["checkpointed"] < kept["direct"]


def test_08_the_learnt_path_of_an_eight_turns_off_and_its_loss_stays(show):
    page = show(preset("08"))
    expect(status(page)).to_contain_text("The path crosses itself once")
    (loss,) = losses_at(page, 200)
    assert loss > 0.01


def test_11_the_disc_leaves_the_ring_with_a_zero_and_is_stuck_without(show):
    for seed in range(5):
        figure = preset("11")
        figure.seed = seed
        plain, lifted = losses_at(show(figure), 150)
        assert lifted < 0.01 < 0.05 < plain


# --- looks ----------------------------------------------------------------------------


def test_a_figure_of_few_controls_has_these_alone_and_its_link_still_sets_the_rest(
    show,
):
    how = dict(controls=["seed", "moment"])
    page = show(TrainExplorer(**how), hash="#figure=train-explorer&batch=8&seed=3")
    labels = page.locator(".live-control label").all_inner_texts()
    assert labels == ["Seed", "Time t"]
    expect(status(page)).not_to_contain_text("Ignored")
    expect(page.get_by_label("Seed")).to_have_value("3")
    for name in ("Train", "One step", "Begin again"):
        expect(button(page, name)).to_be_visible()


def test_no_model_has_the_colour_of_a_class(show):
    page = show(TrainExplorer(second="ode", third="mlp"))
    button(page, "One step").click()
    expect(status(page)).to_contain_text("1 step; loss")
    colour = "(e) => getComputedStyle(e).color + getComputedStyle(e).strokeDasharray"
    curves = [e.evaluate(colour) for e in page.locator(".live-row .live-line").all()]
    meanings = [e.evaluate(colour) for e in page.locator(".live-legend span").all()]
    assert len({*curves, *meanings}) == 3 + 4


@pytest.mark.parametrize("name", [*SETS, "own points", "own path"])
def test_no_data_and_no_extreme_breaks_the_figure(show, name):
    page = show(TrainExplorer(data=name, second="mlp", third="resnet, own", batch=8))
    for key in ("Home", "End"):
        for field in page.locator(".live-control input:visible").all():
            field.press(key)
        button(page, "One step").click()
        settle(page)
        assert "could not" not in status(page).inner_text()
        assert not re.search(r"NaN|Infinity|undefined", drawing(page))


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_and_it_fits_a_phone(show, colours):
    figure = TrainExplorer(second="ode", third="resnet", data="own points")
    phone = {"width": 360, "height": 800}
    page = show(figure, viewport=phone, color_scheme=colours, reduced_motion="reduce")
    assert pages.width_of(page) <= 360
    assert pages.barriers(page) == []


def test_the_background_is_that_of_the_weights_though_there_is_no_point_yet(show):
    page = show(TrainExplorer(data="own points"))
    image = page.locator(".live image").first
    expect(image).to_have_attribute("href", re.compile("^data:image/png"))
    before = image.get_attribute("href")
    page.get_by_label("Seed", exact=True).fill("7")
    expect(image).not_to_have_attribute("href", before)


def test_on_full_screen_the_losses_have_its_size(show):
    page = show(TrainExplorer(), viewport={"width": 1500, "height": 900})
    plot = page.locator(".live svg").last
    before = plot.bounding_box()["width"]
    button(page, "Full screen").click()
    page.wait_for_function("document.fullscreenElement !== null")
    settle(page)
    box = plot.evaluate("(svg) => svg.parentElement.clientWidth")
    assert plot.bounding_box()["width"] == pytest.approx(box, abs=1.5)
    assert box > before + 100

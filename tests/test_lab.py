"""The live figures in a real JupyterLab.

What the reader's hand does arrives in Python, and what Python sets arrives in the
figure. One server, and one page in order (conftest.InGroups keeps the tests together).
"""

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import time

import nbformat
import pytest
from conftest import settle
from playwright.sync_api import expect

CELLS = {
    "steps": "from course_lib.widgets import *\n"
    "w = StepSizeExplorer(problem='spiral', method='euler', step_size=0.1)\nw",
    "read steps": "print(w.problem, w.method, w.step_size)",
    "set steps": "w.step_size = 1.0",
    "flow": "import torch\nfrom course_lib.models import MLPDynamics\n"
    "torch.manual_seed(0)\n"
    "v = FlowExplorer(MLPDynamics(2, (8, 8)), start=(0.5, 0.5),\n"
    "                 window=((-2, 2), (-2, 2)), method='rk4')\nv",
    "read flow": "print(*v.start)",
    "density": "p = DensityFlowExplorer(MLPDynamics(2, (8,)), data=torch.randn(50, 2),\n"
    "                        window=((-3, 3), (-3, 3)))\np",
    "latent": "from course_lib.latent import LatentODE\n"
    "l = LatentExplorer(LatentODE(latent=4, hidden=8, width=8), start=torch.zeros(4),\n"
    "                   end=torch.ones(4), t_end=2.0)\nl",
    "turn latent": "from base64 import b64decode, b64encode\nimport numpy as np\n"
    "numbers = np.frombuffer(b64decode(l.weights[0]), np.float32)\n"
    "l.weights = [b64encode(numbers[::-1].tobytes()).decode()]",
    "fixed point": "q = FixedPointExplorer(weight=0.5)\nq",
    "adjoint": "a = AdjointExplorer(problem='spiral', rtol=1e-3)\na",
    "read adjoint": "print(*a.target)",
    "train": "t = TrainExplorer(first='ode', width=8, hidden=1, batch=32, until=20)\nt",
    "read train": "from course_lib.widgets.learner import loss_of\n"
    "x, y, _ = t.rows()\n"
    "predicted = t.model()(x)[:, 0]\n"
    "right = ((predicted > 0) == (y > 0)).double().mean()\n"
    "print(t.steps, f'{right:.1%}', loss_of(t.model(), 'classes', x, y).item())",
    "digit": "from course_lib.models import digit_odenet\n"
    "torch.manual_seed(0)\n"
    "d = DigitDepthExplorer(digit_odenet(), torch.rand(3, 1, 28, 28),\n"
    "                       torch.arange(3), range(3))\nd",
    "read digit": "print(d.digit, d.rtol)",
}
# What would ask for attention, or for the network.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
LOADING, SOON = 120_000, 30_000  # ms, on a busy machine


# --- a server and a browser -----------------------------------------------------------


def wait_until(found, *, seconds, still=lambda: True):
    """Return what `found` returns once it is true; None if it stays untrue."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and still():
        if answer := found():
            return answer
        time.sleep(0.05)
    return None


def own_home(folder):
    """Make an environment in which Jupyter neither reads nor writes the user's own files."""
    for name, values in SETTINGS.items():
        path = (
            folder / f"config/lab/user-settings/@jupyterlab/{name}.jupyterlab-settings"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    theirs = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
    return theirs | {
        "HOME": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }


def write_notebook(path):
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "jupyterlab.log"


@pytest.fixture(scope="module")
def server(tmp_path_factory, log):
    """Start a JupyterLab that shows one notebook, and give its address."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("notebooks")
    write_notebook(folder / "figures.ipynb")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", "--port=0", "--LabApp.extension_manager=readonly"]
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, cwd=folder, env=own_home(home), stdout=out, stderr=out
        ) as process,
    ):
        try:
            info = wait_until(
                lambda: told(home / "runtime"),
                seconds=LOADING / 1000,
                still=lambda: process.poll() is None,
            )
            if not info:
                pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")
            yield f"{info['url']}lab/tree/figures.ipynb?reset&token={info['token']}"
        finally:
            stop(process)


def told(runtime):
    """Return the port and the token of the server, which it writes once it listens."""
    for path in runtime.glob("jpserver-*.json"):
        with contextlib.suppress(json.JSONDecodeError):  # still being written
            return json.loads(path.read_text())
    return None


def stop(process):
    """Ask first: a server that ends by itself takes its kernels with it."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(scope="module")
def tab(browser, server):
    """Open the notebook and run every cell; also give what went wrong on the page."""
    # A proxy that is not there: only this machine can be reached.
    nowhere = {"server": "http://127.0.0.1:9", "bypass": "127.0.0.1"}
    context = browser.new_context(
        proxy=nowhere, viewport={"width": 1280, "height": 900}
    )
    page, errors = context.new_page(), []
    page.set_default_timeout(SOON)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server, timeout=LOADING)
    # What is run before the kernel has answered, Lab drops without a word.
    kernel = page.get_by_title("Change kernel for figures.ipynb")
    expect(kernel).to_have_text(re.compile(r"\| Idle$"), timeout=LOADING)
    cell(page, "read digit").wait_for(timeout=LOADING)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    last = cell(page, "read digit").locator(".jp-InputPrompt")
    expect(last).to_have_text(f"[{len(CELLS)}]:", timeout=LOADING)
    yield page, errors
    context.close()


@pytest.fixture
def page(tab):
    return tab[0]


@pytest.fixture(autouse=True)
def what_the_server_said(log):
    """Print it: pytest shows it beside the tests that fail."""
    yield
    print(log.read_text())


# --- what a reader does ---------------------------------------------------------------


def cell(page, name):
    return page.locator(".jp-Notebook .jp-CodeCell").nth(list(CELLS).index(name))


def figure(page, name):
    return cell(page, name).locator(".live")


def select(page, name):
    """Select a cell without entering its text: command mode.

    Outputs that come and go move the cells, so a click may hit a neighbour.
    """

    def once():
        cell(page, name).locator(".jp-InputPrompt").first.click()
        page.keyboard.press("Escape")
        return active(page) == list(CELLS).index(name)

    assert wait_until(once, seconds=SOON / 1000), f"cell {name!r} was not selected"


def run(page, name):
    """Run one cell; what it printed."""
    select(page, name)
    prompt = cell(page, name).locator(".jp-InputPrompt")
    before = prompt.inner_text()
    page.keyboard.press("Control+Enter")
    expect(prompt).not_to_have_text(before)
    expect(prompt).to_have_text(re.compile(r"^\[\d+\]:$"))
    printed = cell(page, name).locator(".jp-OutputArea-output")
    return printed.inner_text().strip() if printed.count() else ""


def read(page, name, matches):
    """Return what a cell prints once the kernel has heard of the last move."""
    printed = []

    def once():
        printed.append(run(page, name))
        return matches(printed[-1])

    assert wait_until(once, seconds=SOON / 1000), f"Python has {printed[-1]}"
    return printed[-1]


def active(page):
    """Return the index of the selected cell."""
    return page.evaluate(
        "[...document.querySelectorAll('.jp-Notebook .jp-Cell')]"
        ".findIndex((cell) => cell.classList.contains('jp-mod-active'))"
    )


def number(slider):
    return float(slider.input_value())


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=8)
    page.mouse.up()


def value(text):
    """Return the last number that a cell printed."""
    return float(text.split()[-1]) if text else math.nan


def about(x):
    """Compare with x to the six digits that a slider keeps."""
    return pytest.approx(x, rel=1e-5)


def holds(slider):
    """Check that a cell prints ten to the power that a slider stands at."""
    return lambda text: value(text) == about(10 ** number(slider))


# --- tests ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["steps", "flow", "density", "latent", "fixed point", "adjoint", "digit"]
)
def test_running_a_cell_draws_its_figure(page, name):
    cell(page, name).scroll_into_view_if_needed()  # Lab lays out what is in sight
    expect(figure(page, name)).to_have_attribute("data-drawn", re.compile("[1-9]"))
    expect(figure(page, name).locator(".live-line.ours").first).to_have_attribute(
        "d", re.compile("^M")
    )
    expect(figure(page, name)).not_to_have_class(re.compile("failed"))


def test_arrow_keys_move_the_slider_and_not_the_selected_cell(page):
    slider = figure(page, "steps").get_by_label("Step size h")
    slider.focus()
    before, place = active(page), number(slider)
    for key, change in [("ArrowRight", 0.01), ("ArrowUp", 0.01), ("ArrowDown", -0.01)]:
        page.keyboard.press(key)
        place += change
        assert number(slider) == pytest.approx(place, abs=1e-6), key
        expect(slider).to_be_focused()
    assert active(page) == before
    read(page, "read steps", holds(slider))


# Move on right after the next message to Python, before its echo can be here, and keep
# what the slider said before each change.
MOVE_ON = """(slider) => {
  window.said = [];
  const keep = (records) => said.push(...records.map((record) => record.oldValue));
  new MutationObserver(keep).observe(slider, {
    attributeFilter: ["aria-valuetext"],
    attributeOldValue: true,
  });
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    send.call(this, data);
    const text = typeof data === "string" ? data : new TextDecoder().decode(data);
    if (!text.includes("comm_msg")) return;
    WebSocket.prototype.send = send;
    queueMicrotask(() => {
      slider.stepDown(5);
      slider.dispatchEvent(new Event("input"));
    });
  };
}"""


def test_the_echo_of_an_earlier_move_does_not_pull_the_slider_back(page):
    slider = figure(page, "steps").get_by_label("Step size h")
    moved = number(slider) - 0.06
    slider.evaluate(MOVE_ON)
    slider.press("ArrowLeft")
    read(page, "read steps", lambda text: value(text) == about(10**moved))
    said = [float(text) for text in page.evaluate("said")]
    assert len(said) == 2
    assert said[0] > said[1]
    assert number(slider) == pytest.approx(moved, abs=1e-6)


def test_a_letter_chooses_a_method_and_is_no_command_to_the_notebook(page):
    select(page, "read steps")
    method = figure(page, "steps").get_by_label("Method")
    method.focus()
    page.keyboard.press("m")  # in command mode: make this cell Markdown
    expect(method).to_have_value("midpoint")
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(len(CELLS))
    read(page, "read steps", lambda text: text.startswith("spiral midpoint"))


def test_dragging_the_slider_changes_the_trait_in_python(page):
    slider = figure(page, "steps").get_by_label("Step size h")
    slider.scroll_into_view_if_needed()
    box, (_, y) = slider.bounding_box(), middle(slider)
    left, right = box["x"] + 0.3 * box["width"], box["x"] + 0.6 * box["width"]
    drag(page, (left, y), (right, y))
    low, high = (float(slider.get_attribute(name)) for name in ("min", "max"))
    assert number(slider) == pytest.approx(low + 0.6 * (high - low), abs=0.1)
    read(page, "read steps", holds(slider))


def test_setting_the_trait_in_python_moves_the_slider_and_the_path(page):
    live = figure(page, "steps")
    path = live.locator(".live-line.ours").first
    before = path.get_attribute("d")
    run(page, "set steps")
    expect(live.get_by_label("Step size h")).to_have_value("0")
    expect(live.locator(".live-status")).to_contain_text("h = 1: 12 steps")
    expect(path).not_to_have_attribute("d", before)
    read(page, "read steps", lambda text: text.endswith(" 1.0"))


def test_reset_is_known_in_python_and_a_notebook_has_no_address_to_copy(page):
    live = figure(page, "steps")
    expect(live.locator(".live-bar > *")).to_have_text(["Reset", "Full screen"])
    live.get_by_role("button", name="Reset").press("Enter")
    expect(live.get_by_label("Step size h")).to_have_value("-1")
    read(page, "read steps", lambda text: text == "spiral euler 0.1")


def test_weights_set_in_python_move_the_decoded_curve(page):
    live = figure(page, "latent")
    live.scroll_into_view_if_needed()
    curves = [live.locator(f".live-line.{name}").last for name in ("ours", "hair")]
    before = [curve.get_attribute("d") for curve in curves]
    run(page, "turn latent")
    for curve, d in zip(curves, before):
        expect(curve).not_to_have_attribute("d", d)


@pytest.mark.parametrize(
    ("name", "label"), [("flow", "Start y"), ("adjoint", "Target y")]
)
def test_a_dragged_point_follows_the_mouse_and_is_known_in_python(page, name, label):
    point = figure(page, name).locator(".live-drag")
    point.scroll_into_view_if_needed()
    for _ in range(5):  # a hand misses a point that the outputs above it still move
        x, y = middle(point)
        drag(page, (x, y), (x - 45, y + 30))
        settle(page)
        place = middle(point)
        if place != pytest.approx((x, y), abs=1.5):
            break
    assert place == pytest.approx((x - 45, y + 30), abs=1.5)
    sliders = [figure(page, name).get_by_label(label + d) for d in "₁₂"]
    shown = [number(slider) for slider in sliders]

    def same(text):
        return [float(x) for x in text.split()] == pytest.approx(shown, abs=0.05)

    read(page, f"read {name}", same)


def test_a_digit_is_chosen_and_known_in_python_as_a_number(page):
    figure(page, "digit").get_by_label("Digit").select_option("2")
    read(page, "read digit", lambda text: text.startswith("2 "))


def test_what_was_learnt_in_the_page_predicts_in_python_what_the_page_shows(page):
    live = figure(page, "train")
    live.scroll_into_view_if_needed()
    live.get_by_role("button", name="Train", exact=True).click()
    expect(live.locator(".live-status")).to_contain_text("20 steps; loss")
    loss, right = live.locator(".live-costs td").all_inner_texts()[:2]
    printed = read(page, "read train", lambda text: text.startswith("[20] "))
    assert printed.split()[1] == right
    assert value(printed) == pytest.approx(float(loss), rel=6e-3)


def test_the_page_had_no_errors(tab):
    page, errors = tab
    assert errors == []
    assert (
        page.locator(".live-failed, .jp-RenderedText[data-mime-type*=error]").count()
        == 0
    )

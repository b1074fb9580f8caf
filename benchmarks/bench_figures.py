"""The live figures in headless Chromium: from a move to the painted picture, from the call
of a page to its first answer, and bytes.

    python -m benchmarks.bench_figures

A move is an `input` event on a slider. Its time runs until the first task after the
frame in which the figure drew, when the frame is painted. Between any two moves an
empty figure, whose frame does nothing, is moved too: what the browser and the machine
take by themselves. Frames come as fast as they are ready (the frame rate limit is off),
for waiting for the screen is no work: on a screen of 60 Hz a move under 16 ms is
painted with the next refresh.

Every case is run several times; the run shown is that in which the empty figure was
calmest at p95, whatever the figure itself did. A page's weight is everything it loads
before its reader goes on, each file gzipped where that makes it smaller.

What is above its limit is named once the results are written, and the command fails.
"""

from __future__ import annotations

import gzip
import json
import mimetypes
import os
import statistics
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch
from playwright.sync_api import sync_playwright
from torch import nn

from course_lib import data, flows, latent, widgets
from course_lib.measuring import processor
from course_lib.models import (
    GraphField,
    HamiltonianField,
    MLPDynamics,
    NeuralCDE,
    NeuralODE,
    NodeClassifier,
    ScalarNetwork,
    SeparableEnergy,
    digit_odenet,
)
from course_lib.parallel import StepCost
from course_lib.records import load_model, report
from course_lib.widgets.page.html import page_of
from tools import apart
from tools.browser import find
from tools.figures import PLACE
from tools.weight import PAGE, TYPESET, weights

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
VIEW = "jupyter.widget-view+json"  # where a page has a live figure
HOST = "http://book/"  # answered here, from files: there is no server
MOVES, RUNS = 200, 3
FIGURE = 16_384  # bytes, at most, of a figure as it travels; twice that if it trains
SLOWER, VISITS, READY = (
    4,
    5,
    1500,
)  # a page on a processor as much slower, and its limit, ms
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-frame-rate-limit",
    "--disable-gpu-vsync",
]


@dataclass(frozen=True)
class Case:
    """A figure, the slider that is moved, and how far.

    Attributes
    ----------
    make : callable, gives the figure
    slider : str, its label
    limit : float, ms at p95, above which the benchmark fails
    between : (low, high), positions of the slider; its whole range unless given
    press : str, the button that is pressed first, if any: what it begins goes on
        meanwhile, and the figure draws of its own accord too
    """

    make: Callable[[], widgets.LiveFigure]
    slider: str
    limit: float
    between: tuple[float, float] | None = None
    press: str = ""


def flow(hidden: int = 16, **settings) -> widgets.FlowExplorer:
    """Make the largest flow in the book, a network 2-16-16-2 with its fan of 30.

    Its weights are as large as trained ones. With `hidden` it may be wider.
    """
    torch.manual_seed(0)
    f = MLPDynamics(2, (hidden, hidden), activation=nn.ELU)
    for p in f.parameters():
        p.data *= 2
    window = ((-2, 2), (-2, 2))
    return widgets.FlowExplorer(f, start=(1, 0), span=(0, 3), window=window, **settings)


def digits() -> widgets.DigitDepthExplorer:
    """Make the figure of the stored ODE-Net with thirty test digits."""
    model, test = digit_odenet(), data.mnist(train=False)
    load_model(model, "mnist_odenet")
    return widgets.DigitDepthExplorer(model, test.images, test.labels, range(30))


def particles() -> widgets.DensityFlowExplorer:
    """Make a field as in the book with as many particles, by RK4.

    Its weights are as large as trained ones.
    """
    torch.manual_seed(0)
    f = MLPDynamics(2, (32, 32), time=True)
    for p in f.parameters():
        p.data *= 2
    points, window = torch.randn(200, 2), ((-3.0, 3.0), (-3.0, 3.0))
    return widgets.DensityFlowExplorer(f, data=points, window=window, method="rk4")


def walk() -> widgets.LatentExplorer:
    """Make the figure of the stored latent ODE, from one random code to another."""
    model = latent.LatentODE(latent=6, hidden=64, width=64)
    load_model(model, "spirals_latent_ode")
    start, end = torch.randn(2, 6, generator=data.generator(0))
    return widgets.LatentExplorer(model, start=start, end=end, t_end=3.75)


def sampler() -> widgets.DigitSampler:
    """Make the figure of the stored flow of digits, 20 evaluations with guidance."""
    flow, vae = flows.digit_velocity(), flows.DigitVAE()
    load_model(flow, "digit_flow")
    load_model(vae, "digit_vae")
    return widgets.DigitSampler(flow, vae, steps=10)


def pendulum() -> widgets.PendulumExplorer:
    """Make a figure of networks as large as in the book; its steps are many."""
    torch.manual_seed(0)
    energy = SeparableEnergy(ScalarNetwork(1, (32,)), ScalarNetwork(1, (32,)))
    f = MLPDynamics(2, (32, 32))
    return widgets.PendulumExplorer(
        f, HamiltonianField(energy), field="hamiltonian", method="rk4", t_end=200.0
    )


def graph() -> widgets.GraphExplorer:
    """Make a figure of the two flows of the book, with many steps on its largest graph."""
    torch.manual_seed(0)
    blocks = data.block_model((50, 50), 0.1, 0.02, seed=0)
    field = GraphField(torch.eye(100), 2, bias=False)
    net = NodeClassifier(1, 2, 1, NeuralODE(field), bias=False)
    how = dict(kind="learnt", method="rk4", step_size=0.1, t=8.0, warm=[0], cold=[99])
    return widgets.GraphExplorer(net, {"blocks": blocks}, **how)


def path() -> widgets.PathExplorer:
    """Make a figure with as many readings as there may be, all along a spline."""
    torch.manual_seed(0)
    model = NeuralCDE(1, 4, 1, width=8)
    rows = [(i / 11, (-1.0) ** i) for i in range(12)]
    return widgets.PathExplorer(model, rows, moment=0.9)


def scaling() -> widgets.ScalingExplorer:
    """Make a figure of constants of the size of those that were measured."""
    return widgets.ScalingExplorer({"a": StepCost(5e-3, 1e-3, 3e5, 1e-4, 1e9)})


HUNDRED = (-1.54, -1.51)  # log₁₀ h: 98 to 105 steps over the span
# Milliseconds at p95: within one refresh of a screen (16 ms), or two where a network is
# solved. The digits' network is convolutional.
ODE, NETWORK, DIGIT = 12, 20, 80
CASES = {
    "step size: h": Case(widgets.StepSizeExplorer, "Step size h", ODE),
    "tolerance: rtol": Case(widgets.ToleranceExplorer, "Tolerance", ODE),
    "step: moment": Case(widgets.StepExplorer, "Moment", ODE),
    "step: tolerance": Case(widgets.StepExplorer, "Tolerance", ODE),
    "adjoint: rtol": Case(widgets.AdjointExplorer, "Tolerance", ODE),
    "scaling: bandwidth": Case(scaling, "Bandwidth", ODE),
    "fixed point: w": Case(widgets.FixedPointExplorer, "Weight w", ODE),
    "noise: steps": Case(widgets.NoiseExplorer, "Steps", ODE),
    "noise: t": Case(widgets.NoiseExplorer, "Time t", ODE),
    "noise: seed": Case(widgets.NoiseExplorer, "Seed", ODE),
    "adjoint: target": Case(widgets.AdjointExplorer, "Target y₁", ODE),
    "flow, rk4: start": Case(
        lambda: flow(method="rk4", step_size=0.03), "Start y₁", NETWORK
    ),
    "flow, rk4: h": Case(
        lambda: flow(method="rk4", step_size=0.03), "Step size h", NETWORK, HUNDRED
    ),
    # Not in the book: four times the work of its widest flow.
    "flow, rk4: h, width 32": Case(
        lambda: flow(32, method="rk4", step_size=0.03), "Step size h", NETWORK, HUNDRED
    ),
    "flow, dopri5: rtol": Case(lambda: flow(method="dopri5"), "Tolerance", NETWORK),
    "digit: rtol": Case(digits, "Tolerance", DIGIT),
    "particles: h": Case(particles, "Step size h", NETWORK),
    "particles: t": Case(particles, "Time t", ODE),
    "latent: share": Case(walk, "Share of the way", NETWORK),
    "train: t, while it trains": Case(
        widgets.TrainExplorer, "Time t", NETWORK, press="Train"
    ),
    "train: learning rate, while it trains": Case(
        widgets.TrainExplorer, "Learning rate", NETWORK, press="Train"
    ),
    "sampler: noise": Case(sampler, "Noise ₁", NETWORK),
    "sampler: t": Case(sampler, "Time t", NETWORK),
    "horizon: T": Case(widgets.HorizonExplorer, "Horizon T", ODE),
    "path: value": Case(path, "Its value", NETWORK),
    "path: t": Case(path, "Known until t", NETWORK),
    "pendulum: h": Case(pendulum, "Step size h", NETWORK),
    "graph: t": Case(graph, "Time t", ODE),
}

MEASURE = """async ({ label, moves, between }) => {
  const named = [...document.querySelectorAll(".live label")];
  const slider = named.find((node) => node.textContent === label).control;
  const empty = document.createElement("input");
  empty.type = "range";
  empty.addEventListener("input", () => requestAnimationFrame(() => {}));
  document.body.append(empty);

  const painted = () => new Promise((done) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now());
    port2.postMessage(0);
  }));
  const move = async (input, value) => {
    input.value = value;
    const start = performance.now();
    input.dispatchEvent(new Event("input", { bubbles: true }));
    return (await painted()) - start;
  };

  const [low, high] = between ?? [Number(slider.min), Number(slider.max)];
  const [step, drawn] = [Number(slider.step), slider.closest(".live").dataset];
  const positions = Math.round((high - low) / step);
  const every = Math.max(1, Math.round((2 * positions) / moves));
  const before = Number(drawn.drawn);
  const times = { figure: [], empty: [] };
  // There and back, so that no two moves in a row are to the same place.
  for (let i = 1; i <= moves; i++) {
    const at = (i * every) % (2 * positions);
    let place = low + step * Math.min(at, 2 * positions - at);
    const there = Math.abs(place - Number(slider.value)) < step / 2;
    if (there) place += place > low ? -step : step;  // at a turn of the way
    times.figure.push(await move(slider, place));
    times.empty.push(await move(empty, i % 100));
  }
  return { ...times, drawn: Number(drawn.drawn) - before };
}"""


# Runs before the page does: when its first figure is there, a move of its slider, and in
# `answered` the time since the page was asked for at which it is painted: at the first task
# after the frame in which the figure drew, or the next frame if that is first.
ANSWER = """{
  const move = (slider) => {
    const drawn = slider.closest(".live").dataset;
    const before = drawn.drawn;
    slider.value = slider.value === slider.max ? slider.min : slider.max;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    return new Promise((done) => {
      const look = () => requestAnimationFrame(() => {
        if (drawn.drawn === before) return look();
        const painted = () => done(performance.now());
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = painted;
        port2.postMessage(0);
        requestAnimationFrame(painted);
      });
      look();
    });
  };
  window.answered = new Promise((done) => {
    const watch = new MutationObserver(() => {
      const slider = document.querySelector(".live-figure[data-live=started] input[type=range]");
      if (!slider) return;
      watch.disconnect();
      move(slider).then(done);
    });
    watch.observe(document, { attributes: true, childList: true, subtree: true });
  });
}"""


@contextmanager
def opened(browser, answer):
    """Open a page; `answer(path)` gives the bytes of what it asks of HOST, or None."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def route(request):
        url = request.request.url
        path = unquote(urlsplit(url).path).lstrip("/")
        body = answer(path) if url.startswith(HOST) else None
        if body is None:
            return request.fulfill(status=404)
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        return request.fulfill(body=body, content_type=kind)

    context.route("**/*", route)
    try:
        yield context.new_page()
    finally:
        context.close()


def latency(browser, name: str, case: Case) -> dict:
    """Measure one row of the table: the calmest of several runs."""
    html, runs = page_of(case.make()), []
    with opened(browser, lambda path: html if path == "figure.html" else None) as page:
        page.goto(HOST + "figure.html")
        page.locator(".live[data-drawn]").wait_for()
        if case.press:
            page.get_by_role("button", name=case.press, exact=True).click()
        order = dict(label=case.slider, moves=MOVES, between=case.between)
        for _ in range(RUNS):
            times = page.evaluate(MEASURE, order)
            itself = times["drawn"] - MOVES  # redraws that no move asked for
            assert itself == 0 or (case.press and itself > 0), f"{name}: {itself}"
            runs.append(times)
    calmest = min(runs, key=lambda times: p95(times["empty"]))
    return row(
        name,
        p50=statistics.median(calmest["figure"]),
        p95=p95(calmest["figure"]),
        empty=p95(calmest["empty"]),
        most=case.limit,
    )


def p95(values: list[float]) -> float:
    """Return the value below which 95% are."""
    return statistics.quantiles(values, n=20)[-1]


def row(name: str, **values) -> dict:
    """Return a row with every column, empty where there is nothing to say."""
    names = {
        "p50": "p50 ms",
        "p95": "p95 ms",
        "empty": "empty p95 ms",
        "most": "limit ms",
        "size": "bytes",
        "largest": "limit bytes",
        "ready": "ready ms",
        "latest": "limit ready ms",
    }
    return {"case": name} | {title: values.get(k, "") for k, title in names.items()}


def missed(rows: list[dict]) -> list[str]:
    """List the rows above their limit, in words."""
    limited = [
        ("p95 ms", "limit ms"),
        ("bytes", "limit bytes"),
        ("ready ms", "limit ready ms"),
    ]
    return [
        f"{row['case']}: {row[column]:,.10g}, {limit} {row[limit]:,}"
        for row in rows
        for column, limit in limited
        if row[limit] != "" and row[column] > row[limit]
    ]


def figures() -> list[dict]:
    """Return each figure's gzipped bytes as it travels: module and style, no weights."""
    kinds = (getattr(widgets, name) for name in widgets.__all__)
    return [
        row(
            f"figure {kind.__name__}",
            size=len(gzip.compress((kind._esm + kind._css).encode())),
            largest=2 * FIGURE if kind is widgets.TrainExplorer else FIGURE,
        )
        for kind in kinds
        if hasattr(kind, "_esm")
    ]


def pages(browser) -> list[dict]:
    """Return what each page of the built book loads, if there is one."""
    names = [path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html")]
    return [
        row(
            f"page {name}",
            size=sum(weights(loaded(browser, name)).values()),
            largest=PAGE,
        )
        for name in sorted(names)
        if not name.startswith("_static") and name != "index.html"  # it only leads on
    ]


def ready(browser) -> list[dict]:
    """Return when each chapter answers: the median of some visits without a cache.

    From the moment a page is asked for, on a processor that is made four times slower,
    until a move of the first of its figures that has started is painted; what comes after
    it may still be on its way. The files come from the disk, for what the network takes is
    not the page's.
    """
    chapters = sorted((HTML / "chapters").glob("*.html"))
    names = [f"chapters/{file.name}" for file in chapters if VIEW in file.read_text()]
    return [
        row(
            f"ready {name}",
            ready=statistics.median(first_answer(browser, name) for _ in range(VISITS)),
            latest=READY,
        )
        for name in names
    ]


def first_answer(browser, name: str) -> float:
    """Return how long after a page was asked for its first figure answers, in ms."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.add_init_script(ANSWER)
    session = context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.goto((HTML / name).as_uri() + wanted(name), wait_until="commit")
    answered = page.evaluate("() => window.answered")
    context.close()
    return answered


def wanted(name: str) -> str:
    """Return what asks for the first figure of a page if it waits to be asked for."""
    text = (HTML / name).read_text(encoding="utf-8")
    if apart.FOLDER.as_posix() not in text:
        return ""
    first = next(PLACE.finditer(text))
    return f"#figure={json.loads(first[2])['name']}"


def from_book(files: set[Path]) -> Callable[[str], bytes | None]:
    """Return what answers with the files of the book, and remembers them in `files`."""

    def answer(path):
        file = HTML / path
        if not file.is_file():
            return None
        files.add(file)
        return file.read_bytes()

    return answer


def loaded(browser, name: str) -> set[Path]:
    """Return the files that a page of the book loads."""
    files: set[Path] = set()
    with opened(browser, from_book(files)) as page:
        page.goto(HOST + name, wait_until="load")
        page.evaluate(TYPESET)
    return files


def main() -> None:
    """Measure everything, write it down, and fail if something is above its limit."""
    path = find()
    if not path:
        sys.exit("This needs Chromium: make .venv/browser finds or installs it")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=FLAGS)
        about = dict(
            chromium=browser.version,
            cpu=f"{processor()}, {os.cpu_count()} cores",
            load=round(os.getloadavg()[0], 1),
            moves=MOVES,
            runs=RUNS,
        )
        rows = [latency(browser, name, case) for name, case in CASES.items()]
        rows += figures() + pages(browser) + ready(browser)
        browser.close()
    report("figures", rows, **about)
    if above := missed(rows):
        sys.exit("Above its limit:\n" + "\n".join(above))


if __name__ == "__main__":
    main()

"""What the tests share: the project's place, one thread for small problems, a browser."""

import re
from pathlib import Path

import pytest
import torch
from playwright.sync_api import expect, sync_playwright
from xdist.scheduler import LoadScopeScheduling

from course_lib.widgets.page.html import page_of

ROOT = Path(__file__).parents[1]
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]


class InGroups(LoadScopeScheduling):
    """Gives each worker a test at a time, but tests that share something together.

    (`--dist loadgroup` with its marks would do; from pytest 9.2 on pytest-xdist 3.8
    ignores them without a word.)
    """

    def _split_scope(self, nodeid):
        """Name the group of a test: a page of the book, what is dear to make, or alone."""
        if dear := re.search(r"test_(lab|paper|teach)\.py", nodeid):
            return dear[1]
        page = re.search(r"\[([\w/]+\.html)\]$", nodeid)
        return page[1] if page else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tell pytest-xdist how tests are shared out."""
    return InGroups(config, log)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small matrices run faster on one thread than on two."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def patience():
    """Two workers and two browsers share the cores: what is awaited may take a while."""
    expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the project's folder."""
    return ROOT


@pytest.fixture(scope="module")
def browser():
    """Start a headless Chromium."""
    path = (ROOT / ".venv" / "browser").read_text().strip()
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


# A figure draws in the next frame; what was asked for before these is drawn after them.
FRAMES = """() => new Promise((done) => {
  let left = 3;
  const next = () => (left-- ? requestAnimationFrame(next) : done());
  next();
})"""


def settle(page) -> None:
    """Wait until the page has drawn what it was asked for, however long that takes."""
    page.evaluate(FRAMES)


@pytest.fixture
def show(browser, tmp_path):
    """Open a page with a live figure, over http or from a file; wait until it is drawn.

    `hash` is the end of its address.
    """
    contexts = []

    def open_figure(figure, changes=None, *, hash="", files=False, **settings):
        settings = {"viewport": {"width": 800, "height": 900}} | settings
        context = browser.new_context(**settings)
        contexts.append(context)
        page, html = context.new_page(), page_of(figure, **(changes or {}))
        page.route(
            "http://page.localhost/",
            lambda route: route.fulfill(body=html, content_type="text/html"),
        )
        (tmp_path / "figure.html").write_text(html, encoding="utf-8")
        place = (
            (tmp_path / "figure.html").as_uri() if files else "http://page.localhost/"
        )
        page.goto(place + hash)
        page.wait_for_selector("html[data-live=ready]")
        page.wait_for_selector(".live[data-drawn], [role=alert]")
        settle(page)
        return page

    yield open_figure
    for context in contexts:
        context.close()

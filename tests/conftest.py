"""What the tests share: the project's place, one thread for small problems, a browser."""

import re
from pathlib import Path

import pytest
import torch
from playwright.sync_api import expect, sync_playwright
from xdist.scheduler import LoadScopeScheduling

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

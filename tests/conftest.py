"""What the tests share: where the project is, one thread for the small problems, a
browser.
"""

from pathlib import Path

import pytest
import torch
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parents[1]
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]


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
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
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

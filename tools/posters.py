"""Photograph the live figures, for the page that lists them all.

    python -m tools.posters

Each live figure of the executed chapters is opened in Chromium as it opens in the book.
A picture of its plots goes to `assets/figures/`, and what its reader can move to
`assets/figures/controls.json`. Both are small and committed, so that the book is built
without a browser; a test compares them with the figures.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from course_lib.widgets.page.html import page_with
from tools import browser
from tools.figures import Figure, figures

FOLDER = Path(__file__).parents[1] / "assets" / "figures"
CONTROLS = FOLDER / "controls.json"
SIZE = 640, 360  # px, of which a screen shows half at most
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MOVABLE = """() => {
  const controls = [...document.querySelectorAll(".live-control:not([hidden]) label")];
  const names = controls.map((label) => label.textContent);
  const points = document.querySelectorAll(".live-drag").length;
  return points ? [`${points === 1 ? "a point" : `${points} points`} of the plot`, ...names] : names;
}"""


@dataclass(frozen=True)
class Poster:
    """A live figure as it opens.

    Attributes
    ----------
    picture : Image, of its plots
    controls : list of str, what its reader can move
    """

    picture: Image.Image
    controls: list[str]


def poster(chromium: Browser, figure: Figure) -> Poster:
    """Open a figure by itself, and return how it looks and what moves in it."""
    page = chromium.new_page(viewport={"width": 720, "height": 1200})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figure.html"
        file.write_text(page_with(figure.state, figure.sentence), encoding="utf-8")
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-live=ready]")
        page.wait_for_selector(".live[data-drawn]")
        shot = page.locator(".live-plots").screenshot(animations="disabled")
        controls = page.evaluate(MOVABLE)
    page.close()
    return Poster(framed(Image.open(io.BytesIO(shot))), controls)


def framed(picture: Image.Image) -> Image.Image:
    """Return a picture in the middle of a white one of the size of all."""
    picture = picture.convert("RGB")
    picture.thumbnail(SIZE, Image.Resampling.LANCZOS)
    frame = Image.new("RGB", SIZE, "white")
    left, top = ((a - b) // 2 for a, b in zip(SIZE, picture.size))
    frame.paste(picture, (left, top))
    return frame


def shown(executed: list[Path]) -> Iterator[Figure]:
    """Yield the live figures of executed chapters."""
    for path in executed:
        notebook = nbformat.read(path, as_version=4)
        yield from figures(notebook, path.stem).values()


def write(executed: list[Path]) -> None:
    """Write a picture of each figure, and what can be moved in it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.webp"):
        old.unlink()
    controls = {}
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=browser.find(), args=QUIET)
        for figure in shown(executed):
            made = poster(chromium, figure)
            made.picture.save(FOLDER / f"{figure.name}.webp", quality=70, method=6)
            controls[figure.name] = made.controls
        chromium.close()
    text = json.dumps(controls, indent=1, ensure_ascii=False)
    CONTROLS.write_text(f"{text}\n", encoding="utf-8")
    print(f"{len(controls)} pictures in {FOLDER}")


if __name__ == "__main__":
    write(sorted(Path("_build/executed").glob("*.ipynb")))

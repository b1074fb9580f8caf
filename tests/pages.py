"""The pages of the built book in a browser: a visit, and what can be wrong with a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from conftest import ROOT, settle
from playwright.sync_api import Browser, Page

from tools.apart import BRING, WAITING
from tools.weight import TYPESET

HTML = ROOT / "_build" / "html"
# The last only leads to intro.html.
NO_PAGES = ("genindex.html", "search.html", "index.html")
PAGES = sorted(
    str(path.relative_to(HTML))
    for path in HTML.rglob("*.html")
    if path.name not in NO_PAGES and not {"_static", "figures"} & set(path.parts)
)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
LOCAL = ("http://127.0.0.1", "file:", "data:", "blob:", "about:")
# A proxy that is not there: only this machine can be reached.
NOWHERE = {"server": "http://127.0.0.1:9", "bypass": "127.0.0.1"}


def live_figures(name: str) -> int:
    """Count the live figures of a page in its source."""
    return (HTML / name).read_text().count("jupyter.widget-view+json")


CHAPTERS = [name for name in PAGES if name.startswith("chapters/")]
WITH_FIGURES = [name for name in CHAPTERS if live_figures(name)]
SHORTEST = min(WITH_FIGURES, key=lambda name: (HTML / name).stat().st_size, default="")


# --- a visit --------------------------------------------------------------------------


@dataclass(frozen=True)
class Visit:
    """An open page.

    Attributes
    ----------
    name : str, its path in the book
    page : the page, loaded, typeset and drawn
    asked : list of str, every address it asked for so far
    loaded : list of str, what it asked for before the figures that wait were brought
    said : list of str, the errors and warnings on the console so far
    """

    name: str
    page: Page
    asked: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def foreign(self) -> list[str]:
        """List what it asked of other hosts."""
        return [url for url in self.asked if not url.startswith(LOCAL)]

    def files(self, base: str) -> list[Path]:
        """List the files that it loaded of the book, served under the address `base`."""
        paths = {urlsplit(url).path for url in self.loaded if url.startswith(base)}
        return [HTML / unquote(path).lstrip("/") for path in sorted(paths)]


@contextmanager
def visited(
    browser: Browser,
    base: str,
    name: str,
    *,
    colours: str = "light",
    width: int = 1280,
    script: bool = True,
    planted: str = "",
) -> Iterator[Visit]:
    """Visit a page of the book under the address `base`.

    `planted` is put at the end of the article, to see whether the checks find it.
    """
    context = browser.new_context(
        color_scheme=colours,
        viewport={"width": width, "height": 900},
        java_script_enabled=script,
        proxy=NOWHERE,
    )
    try:
        visit = Visit(name, context.new_page())
        page = visit.page
        page.on("request", lambda request: visit.asked.append(request.url))
        page.on("pageerror", lambda error: visit.said.append(str(error)))
        page.on(
            "console",
            lambda message: (
                visit.said.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        if planted:
            text = POLICY.sub("", (HTML / name).read_text())  # or it may not run
            text = text.replace("</article>", f"{planted}</article>")
            kind = "text/html; charset=utf-8"
            page.route(
                base + name, lambda route: route.fulfill(body=text, content_type=kind)
            )
        page.goto(base + name, wait_until="load")
        if script:
            page.evaluate(TYPESET)
            if live_figures(name):
                page.wait_for_selector("html[data-live=ready]")
            visit.loaded.extend(visit.asked)
            page.evaluate(BRING)
            page.wait_for_selector(WAITING, state="detached")
            settle(page)
        yield visit
    finally:
        context.close()


# --- what can be wrong ----------------------------------------------------------------

# The tokens of a code block that look like an earlier one of the same block. A block
# paints its own background, so their contrast is that of the earlier one.
MARK_TWINS = r"""() => {
  const hasText = (node) => [...node.childNodes].some(
    (child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
  const looks = (node, block) => {
    const found = [];
    for (; node !== block; node = node.parentElement) {
      const s = getComputedStyle(node);
      found.push(s.color, s.backgroundColor, s.backgroundImage, s.opacity, s.filter,
        s.textShadow, s.fontSize, s.fontWeight, s.visibility, s.position);
    }
    return found.join();
  };
  for (const block of document.querySelectorAll("pre")) {
    const seen = new Set();
    const right = block.getBoundingClientRect().right;
    for (const token of block.querySelectorAll("*")) {
      if (!hasText(token) || !token.getClientRects().length) continue;
      const cut = token.getBoundingClientRect().right > right;
      const look = `${cut} ${looks(token, block)}`;
      token.toggleAttribute("data-twin", seen.has(look));
      seen.add(look);
    }
  }
}"""
COLOUR_RULES = ("color-contrast", "link-in-text-block")
# White on white axe calls undecided (equalRatio): the author may want to hide it.
RUN_AXE = """async (rules) => {
  axe.configure({ rules: [{ id: "color-contrast", selector: "*:not([data-twin])" }] });
  const { violations, incomplete } = await axe.run({
    resultTypes: ["violations", "incomplete"],
    // Its own requests would count as the page's: only a rule that is off reads css.
    preload: { assets: ["media"] },
    ...(rules && { runOnly: rules }),
  });
  const listed = (results) =>
    results.flatMap(({ id, nodes }) => nodes.map((node) => [id, node]));
  const same = listed(incomplete).filter(
    ([, { any }]) => any.some(({ data }) => data?.messageKey === "equalRatio"));
  return [...listed(violations), ...same].map(([id, { html }]) => [id, html]);
}"""


# Has what is out of sight too (tools/hasten.py) laid out.
SHOW_ALL = """() => {
  for (const node of document.querySelectorAll(".course-figure, .highlight .lines"))
    node.style.contentVisibility = "visible";
}"""


def barriers(page: Page, rules: tuple[str, ...] | None = None) -> list[list[str]]:
    """List what axe finds to mend, by all its rules or by some: the rule, the element."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
        page.evaluate(SHOW_ALL)
    page.evaluate(MARK_TWINS)
    return page.evaluate(RUN_AXE, rules)


FIGURES = """() => [...document.querySelectorAll(".course-figure svg")].map((figure) => ({
  words: (figure.getAttribute("aria-label") ?? "").split(/\\s+/).length,
  width: figure.getClientRects().length ? figure.getBoundingClientRect().width : null,
  html: figure.outerHTML.slice(0, 200),
}))"""


def poor_figures(page: Page) -> list[str]:
    """List the figures without a description of five words or not over 200 px wide.

    One that is folded inside a solution has no width.
    """
    return [
        figure["html"]
        for figure in page.evaluate(FIGURES)
        if figure["words"] < 5
        or (figure["width"] is not None and figure["width"] <= 200)
    ]


# The mean of red, green and blue of what a figure is drawn with and of what is under it.
INK_AND_PAPER = r"""() => {
  const figure = document.querySelector(".course-figure");
  const clear = (node) =>
    getComputedStyle(node).backgroundColor === "rgba(0, 0, 0, 0)";
  let box = figure;
  while (box && clear(box)) box = box.parentElement;
  const level = (colour) =>
    colour.match(/[\d.]+/g).slice(0, 3).reduce((sum, x) => sum + Number(x), 0) / 3;
  const paper = getComputedStyle(box ?? document.body).backgroundColor;
  return [level(getComputedStyle(figure).color), level(paper)];
}"""


def ink_and_paper(page: Page) -> tuple[float, float]:
    """Return the levels, 0 to 255, of the first figure's lines and of what is under it."""
    ink, paper = page.evaluate(INK_AND_PAPER)
    return ink, paper


def width_of(page: Page) -> int:
    """Return how wide the page is laid out, in px; wider than the window it scrolls."""
    return page.evaluate("document.documentElement.scrollWidth")


def failed_figures(page: Page) -> list[str]:
    """List the live figures that did not start, drew nothing or could not go on."""
    figures = page.locator(".live-figure").evaluate_all(
        """(all) => all.map((figure) => [
          figure.dataset.live ?? "",
          figure.querySelector(".live")?.dataset.drawn ?? "",
          figure.querySelector(".live-status")?.innerText ?? figure.innerText])"""
    )
    return [
        f"{state}, drawn {drawn}: {status}"
        for state, drawn, status in figures
        if state != "started" or not re.match("[1-9]", drawn) or "could not" in status
    ]

"""The parts of the introduction that are made from the table of chapters, as HTML."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence

from tools.chapters import Chapter, Facts, Route, in_words

WIDGETS = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"


def link(chapter: Chapter, text: str, base: str = "") -> str:
    """Return a link to the page of a chapter."""
    return f'<a href="{base}{chapter.page}.html">{html.escape(text)}</a>'


def linked_numbers(
    chapters: Mapping[str, Chapter], numbers: Sequence[str], base: str = ""
) -> str:
    """Return links to chapters by their numbers, with a comma between."""
    return ", ".join(link(chapters[number], number, base) for number in numbers)


def times(told: Facts) -> str:
    """Return how long a chapter takes, in words."""
    words = f"{in_words(60 * told.reading)} to read"
    return words + (f", {in_words(told.running)} to run" if told.running else "")


# --- the map --------------------------------------------------------------------------


def chapter_map(
    parts: Sequence[tuple[str, Sequence[str]]],
    chapters: Mapping[str, Chapter],
    told: Mapping[str, Facts],
) -> str:
    """Return the list of all chapters, with arcs from each to what it needs.

    Parameters
    ----------
    parts : the captions of the book's parts, and the numbers of their chapters
    chapters, told : the rows of the table and what the notebooks tell, by number
    """
    captions = {numbers[0]: caption for caption, numbers in parts}
    order = [number for _, numbers in parts for number in numbers]
    rows = "\n".join(
        _row(chapters, chapters[number], told[number], captions.get(number, ""))
        for number in order
    )
    return (
        '<div class="chapter-map">\n'
        f"{arcs([(n, chapters[n].needs) for n in order])}\n"
        f"<ol>\n{rows}\n</ol>\n</div>"
    )


def _row(
    chapters: Mapping[str, Chapter], chapter: Chapter, told: Facts, caption: str
) -> str:
    part = f'<p class="chapter-part">{html.escape(caption)}</p>' if caption else ""
    needs = (
        f"needs {linked_numbers(chapters, chapter.needs)}"
        if chapter.needs
        else "needs nothing"
    )
    return (
        f'<li id="chapter-{chapter.number}">{part}'
        f'<p class="chapter-title"><span class="chapter-number">{chapter.number}</span> '
        f"{link(chapter, told.title)}</p>"
        f"<p>{html.escape(chapter.question)}</p>"
        f'<p class="chapter-times">{times(told)}; {needs}</p></li>'
    )


def arcs(rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return the drawing beside the list: an arc from each chapter to each it needs.

    Every row is as high as every other, so the drawing is stretched to the list: one
    unit of its height is one row. What it says the list says in words.
    """
    place = {number: k + 0.5 for k, (number, _) in enumerate(rows)}
    ends = [(place[need], place[number]) for number, needs in rows for need in needs]
    paths = "".join(_arc(top, bottom, len(rows)) for top, bottom in ends)
    return (
        f'<svg viewBox="0 0 1 {len(rows)}" preserveAspectRatio="none" '
        f'aria-hidden="true">{paths}</svg>'
    )


def _arc(top: float, bottom: float, rows: int) -> str:
    """Return half an ellipse, the wider the farther apart its ends are."""
    out = 1 - 1.3 * (0.12 + 0.88 * ((bottom - top) / rows) ** 0.6)
    return f'<path d="M1 {top}C{out:.2f} {top} {out:.2f} {bottom} 1 {bottom}"/>'


# --- the routes -----------------------------------------------------------------------


def route_list(
    routes: Sequence[Route],
    chapters: Mapping[str, Chapter],
    told: Mapping[str, Facts],
) -> str:
    """Return the ways through the book, each with its stops and its time."""
    items = []
    for route in routes:
        numbers = [number for stop in route.stops for number in stop]
        minutes = sum(told[number].reading for number in numbers)
        stops = "".join(
            f"<li>{linked_numbers(chapters, stop)}</li>" for stop in route.stops
        )
        items.append(
            f'<section class="route"><h3>{html.escape(route.name)}</h3>'
            f"<p>{html.escape(route.about)}</p><ol>{stops}</ol>"
            f'<p class="chapter-times">{in_words(60 * minutes)} to read</p></section>'
        )
    return f'<div class="routes">\n{"".join(items)}\n</div>'


# --- a figure of a chapter ------------------------------------------------------------


def first_live_figure(notebook: dict) -> str:
    """Return the first live figure of an executed chapter, as that embeds it."""
    outputs = (
        output.get("data", {})
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
    )
    still = ""
    for data in outputs:
        still = "".join(data.get("text/html", still))
        if VIEW in data:
            name = data[VIEW]["model_id"]
            record = notebook["metadata"]["widgets"][WIDGETS]["state"][name]
            return (
                f"{still}\n{_script(WIDGETS, {'state': {name: record}})}\n"
                f"{_script(VIEW, {'model_id': name})}"
            )
    raise ValueError("this chapter has no live figure, or was not executed")


def _script(kind: str, value: dict) -> str:
    """Return JSON in a page; "<" could begin a tag there, and may be written in full."""
    text = json.dumps(value).replace("<", "\\u003c")
    return f'<script type="{kind}">{text}</script>'

"""A live figure as one HTML page."""

from __future__ import annotations

import html
import json

import anywidget

from course_lib.widgets.page.module import PAGE

__all__ = ["page_of", "page_with", "without_javascript"]

HOST = (PAGE / "host.js").read_text(encoding="utf-8")
KIND = "application/vnd.jupyter.widget"


def without_javascript(sentence: str) -> str:
    """Return what a page shows in place of a figure where JavaScript is off."""
    sentence = html.escape(f"{sentence} It moves where JavaScript is on.")
    return f"<noscript><p>{sentence}</p></noscript>"


def page_of(figure: anywidget.AnyWidget, **changes) -> str:
    """Return a page with one figure, as the book embeds it; it loads nothing else.

    Parameters
    ----------
    figure : a live figure
    changes : values of its state that the page has instead of the figure's own
    """
    return page_with(_state(figure) | changes, figure.still)


def page_with(state: dict, sentence: str) -> str:
    """Return a page with the live figure of a state.

    Parameters
    ----------
    state : dict, the values of its traits, `_esm` and `_css` among them
    sentence : str, the page's title, and what it shows where JavaScript is off
    """
    record = {"model_module": "anywidget", "state": state}
    # Within a script "<" could begin a tag; within JSON it may be written in full.
    states = json.dumps({"state": {"figure": record}}).replace("<", "\\u003c")
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{html.escape(sentence)}</title>
</head>
<body style="max-width: 46rem">
{without_javascript(sentence)}
<script type="{KIND}-state+json">{states}</script>
<script type="{KIND}-view+json">{{"model_id": "figure"}}</script>
<script>
{HOST}</script>
</body>
</html>
"""


def _state(figure: anywidget.AnyWidget) -> dict:
    """Return what the figure's module asks for, the module and its style."""
    return {
        name: value
        for name, value in figure.get_state().items()
        if name in ("_esm", "_css") or not name.startswith("_")
    }

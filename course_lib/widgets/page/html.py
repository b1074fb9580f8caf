"""A live figure as one HTML page."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping

import anywidget

from course_lib.widgets.page.module import PAGE

__all__ = ["KIND", "digest", "kind_of", "page_of", "page_with", "without_javascript"]

HOST = (PAGE / "host.js").read_text(encoding="utf-8")
KIND = "application/vnd.jupyter.widget"
LAYOUT = ("layout", "tabbable", "tooltip")  # what a notebook knows of a widget's place
STYLE = """\
html { color-scheme: light dark; background: Canvas; color: CanvasText; }
body { max-width: 50rem; margin: 0 auto; padding: 0.5rem; font: 14px/1.4 system-ui, sans-serif; }
h1 { margin: 0 0 0.5rem; font-size: 1.05rem; }
@media (prefers-color-scheme: dark) { main .live { --wide: 1; } }
"""
# The module of the figure is a blob; its style is put into the page by the host.
POLICY = (
    "default-src 'none'; script-src {script} blob:; style-src {styles}; img-src data:"
)


def without_javascript(sentence: str) -> str:
    """Return what a page shows in place of a figure where JavaScript is off."""
    sentence = html.escape(f"{sentence} It moves where JavaScript is on.")
    return f"<noscript><p>{sentence}</p></noscript>"


def digest(text: str) -> str:
    """Return the hash of a script or a style as a Content-Security-Policy names it."""
    found = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(found).decode()}'"


def kind_of(name: str) -> str:
    """Return `course_lib.widgets.StepSizeExplorer` as `step-size-explorer`."""
    words = re.findall("[A-Z][a-z]*", name.rpartition(".")[2])
    return "-".join(words).lower()


def page_of(figure: anywidget.AnyWidget, *, address: str = "", **changes) -> str:
    """Return a page with one figure; it loads nothing else.

    Parameters
    ----------
    figure : a live figure
    address : str, the page that it is from, to lead back there; empty if none
    changes : values of its state that the page has instead of the figure's own
    """
    return page_with(figure.get_state() | changes, figure.still, address=address)


def page_with(
    state: Mapping, sentence: str, *, address: str = "", name: str = ""
) -> str:
    """Return a page with the live figure of a state.

    Parameters
    ----------
    state : mapping, the values of its traits, `_esm` and `_css` among them
    sentence : str, the page's title, and what it shows where JavaScript is off
    address : str, the page that the figure is from, to lead back there; empty if none
    name : str, its name in an address; its kind unless given
    """
    styles = f"{digest(STYLE)} {digest(state['_css'])}"
    policy = POLICY.format(script=digest(f"\n{HOST}"), styles=styles)
    view = {"model_id": "figure", "name": name or kind_of(state["_anywidget_id"])}
    back = f'<p><a href="{html.escape(address)}">From the course</a></p>\n'
    title = sentence.removeprefix("A live figure: ").rstrip(".")
    title = html.escape(title[:1].upper() + title[1:])
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{without_javascript(sentence)}
<script type="{KIND}-state+json">{_states(state)}</script>
<script type="{KIND}-view+json">{json.dumps(view)}</script>
{back if address else ""}</main>
<script>
{HOST}</script>
</body>
</html>
"""


def _states(state: Mapping) -> str:
    """Return what the figure's module asks for, the module and its style, as JSON."""
    kept = {
        name: value
        for name, value in state.items()
        if name in ("_esm", "_css") or not (name.startswith("_") or name in LAYOUT)
    }
    record = {"model_module": "anywidget", "state": kept}
    text = json.dumps({"state": {"figure": record}}, sort_keys=True)
    # Within a script "<" could begin a tag; within JSON it may be written in full.
    return text.replace("<", "\\u003c")

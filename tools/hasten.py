"""Let the live figures of a built book answer before the rest of their page is ready.

    python -m tools.hasten _build/html

What others' scripts do can wait: they run when the page is parsed and its figures stand,
and formulas are set last. And a listing or a drawing that is out of sight need not be laid
out, if the page knows how much room it takes: a listing its lines and columns, a drawing
its width and the ratio of its sides. assets/course.css makes use of them.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

from tools.lighten import LISTED_CODE

HOST = re.compile(r'<script [^>]*src="[^"]*/host\.js')
# The scripts of a head that run at once, but for our own and the one that others read.
ONCE = re.compile(
    r'<script (?=[^>]*src="[^"]*/(?!documentation_options|host|reading)[\w.-]+\.js)(?![^>]*\bdefer\b)'
)
FORMULAS = re.compile(r'\s*<script [^>]*src="[^"]*/tex-chtml\.js[^>]*></script>')
TAG = re.compile(r"<[^>]*>")
DRAWING = re.compile(
    r'<figure class="course-figure">(?=<svg [^>]*?width="([\d.]+)pt" height="([\d.]+)pt")'
)


def ordered(page: str) -> str:
    """Return a page whose live figures come before the scripts of others."""
    if not HOST.search(page):
        return page
    head, end, body = page.partition("</head>")
    formulas = "".join(FORMULAS.findall(head))
    head = ONCE.sub("<script defer ", FORMULAS.sub("", head))
    return f"{head}{end}{body}".replace("</body>", f"{formulas}\n</body>")


def listing(found: re.Match) -> str:
    """Return the code of a listing in an element that says its lines and columns."""
    lines = html.unescape(TAG.sub("", found[0])).rstrip("\n").split("\n")
    room = f"--lines: {len(lines)}; --columns: {max(map(len, lines))}"
    return f'<span class="lines" style="{room}">{found[0]}</span>'


def drawing(found: re.Match) -> str:
    """Return the start of a drawing with its width and the ratio of its sides."""
    width, height = map(float, found.groups())
    return f'<figure class="course-figure" style="--width: {width}pt; --ratio: {width / height:.6g}">'


def measured(page: str) -> str:
    """Return a page whose listings and drawings say how much room they take."""
    return DRAWING.sub(drawing, LISTED_CODE.sub(listing, page))


def hasten(book: Path) -> None:
    """Let every page of a book show and answer sooner."""
    for path in book.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        path.write_text(measured(ordered(page)), encoding="utf-8")


if __name__ == "__main__":
    hasten(Path(sys.argv[1]))

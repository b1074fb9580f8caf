"""Let the live figures of a built book answer before the rest of their page is ready.

    python -m tools.hasten _build/html

What others' scripts do can wait: they run when the page is parsed and its figures stand,
and formulas are set last. The style sheets of a page, a dozen, become one, for a browser
takes its time over each. And a listing or a drawing that is out of sight need not be laid
out, if the page knows how much room it takes: a listing its lines and columns, a drawing
its width and the ratio of its sides. assets/course.css makes use of them.
"""

from __future__ import annotations

import hashlib
import html
import os
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
SHEET = re.compile(r'\s*<link [^>]*?\brel="stylesheet"[^>]*>')
ADDRESS = re.compile(r'\bhref="([^"?]+)')
# What a style sheet names: another one, or a file that is not in the sheet itself.
IMPORTED = re.compile(r'@import "([^"]+)";')
NAMED = re.compile(r"url\(([^)\"']+)\)")
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


def whole(sheet: Path, folder: Path) -> str:
    """Return a style sheet, what it imports included, as it reads in another folder."""

    def itself(found: re.Match) -> str:
        return whole(sheet.parent / found[1], folder)

    def seen(found: re.Match) -> str:
        return f"url({os.path.relpath(sheet.parent / found[1], folder)})"

    style = sheet.read_text(encoding="utf-8").replace('@charset "UTF-8";', "")
    return IMPORTED.sub(itself, NAMED.sub(seen, style))


def dressed(page: str, path: Path, static: Path) -> str:
    """Return a page with one style sheet, written into `static`, for its many."""
    links = SHEET.findall(page)
    if len(links) < 2:
        return page
    sheets = [path.parent / ADDRESS.search(link)[1] for link in links]
    style = "\n".join(whole(sheet, static) for sheet in sheets)
    digest = hashlib.sha256(style.encode()).hexdigest()[:8]
    made = static / f"book-{digest}.css"
    made.write_text(style, encoding="utf-8")
    link = f'<link rel="stylesheet" href="{os.path.relpath(made, path.parent)}" />'
    before, _, after = page.partition(links[0])
    return f"{before}\n    {link}{SHEET.sub('', after)}"


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
        page = dressed(measured(ordered(page)), path, book / "_static")
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    hasten(Path(sys.argv[1]))

"""The checks of the built book: their script, and the page that lists them all.

    python -m tools.checks _build/source/assets

writes what brings the checks of a page to life (`course_lib.checks`). In a notebook each
check carries script and style; in the book's pages they are taken out (`shared`), and the
page loads the files. As a Sphinx extension it makes the list of `reference/checks.md`
from the executed notebooks, so a new check joins by itself.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from course_lib.checks import script_of_checks, style_of_checks
from tools.gallery import PLAYGROUND
from tools.reading import raw, table

CHECK = re.compile(
    r'<div class="check" id="check-(?P<name>[\w-]+)".*?</div>\n', re.DOTALL
)
ASKED = re.compile(r'<p id="check-[\w-]+-asked">(?P<question>.*?)</p>', re.DOTALL)
LOADED = '<script defer src="{}_static/checks.js"></script>'


def checks_in(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    """Yield name and question, as HTML, of the checks that an executed notebook shows."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for found in CHECK.finditer(output.get("data", {}).get("text/html", "")):
                asked = ASKED.search(found[0])
                yield found["name"], asked["question"] if asked else ""


def shared(page: str, up: str) -> str:
    """Return a page whose checks carry neither script nor style: the page loads the script.

    Parameters
    ----------
    page : str
    up : str, the way from the page to the book's folder, "" or "../"
    """
    script, style = script_of_checks(), style_of_checks()
    own = f"<style>{style}</style>\n<script>{script}</script>"
    return page.replace(own, LOADED.format(up), 1).replace(own, "")


class CheckList(SphinxDirective):
    """The list of all checks, which the page marks as they are done."""

    def run(self) -> list[nodes.Node]:
        """Return it; a build with the same notebooks makes the same."""
        source = Path(self.env.srcdir)
        rows, _, told = table(source)
        pages = {row.page: f"{n} {told[n].title}" for n, row in rows.items()}
        parts = []
        for page, title in (pages | {PLAYGROUND: "Playground"}).items():
            path = source / f"{page}.ipynb"
            self.env.note_dependency(str(path))
            found = list(checks_in(nbformat.read(path, as_version=4)))
            if found:
                title = html.escape(title)
                items = "".join(item(page, *check) for check in found)
                parts.append(f"<p><strong>{title}</strong></p><ol>{items}</ol>")
        box = f'<div class="check-overview">{"".join(parts)}</div>'
        return [raw(box + LOADED.format("../"))]


def item(page: str, name: str, question: str) -> str:
    """Return one line of the list."""
    link = f'<a href="../{page}.html#check-{name}" data-check-name="{name}">'
    return f"<li>{link}{question}</a></li>"


def setup(app: Sphinx) -> dict:
    """Tell Sphinx what there is."""
    app.add_directive("check-list", CheckList)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "checks.js").write_text(script_of_checks(), encoding="utf-8")
    (folder / "checks.css").write_text(style_of_checks(), encoding="utf-8")

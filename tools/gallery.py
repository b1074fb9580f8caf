"""The Sphinx extension behind the page of all live figures.

It gives every live figure of a chapter an anchor, `figure-02-step-size-explorer`, and
makes the page `reference/figures.md`: for each figure a picture, what it shows, what
moves, and the way to it. What it lists it reads from the executed notebooks, so a new
figure joins by itself; its picture comes from `make posters` (tools/posters.py).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tools.figures import VIEW, Figure, figures
from tools.reading import raw, table

HEADING = re.compile(r"^#{1,3} (.+)$", re.MULTILINE)
PICTURE = "assets/figures/{}.webp"
PLAYGROUND = "playground"  # a page that is a notebook and no chapter


@dataclass(frozen=True)
class Entry:
    """A live figure, and where it stands.

    Attributes
    ----------
    figure : Figure
    heading : str, of the section that it stands in
    """

    figure: Figure
    heading: str


def entries(notebook: NotebookNode, chapter: str) -> list[Entry]:
    """Return the live figures of an executed chapter with the sections they stand in."""
    found = zip(figures(notebook, chapter).values(), headings(notebook), strict=True)
    return [Entry(figure, heading) for figure, heading in found]


def headings(notebook: NotebookNode) -> Iterator[str]:
    """Yield the heading above each live figure."""
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (HEADING.findall(cell.source) or [heading])[-1]
        for output in cell.get("outputs", []):
            if VIEW in output.get("data", {}):
                yield heading


def read(source: Path, page: str) -> list[Entry]:
    """Return the live figures of a page that is a notebook."""
    notebook = nbformat.read(source / f"{page}.ipynb", as_version=4)
    return entries(notebook, Path(page).name)


def pages(source: Path) -> dict[str, str]:
    """Return the headings of all pages that may have live figures, by page."""
    rows, _, told = table(source)
    headed = {
        row.page: f"{number} {told[number].title}" for number, row in rows.items()
    }
    return headed | {PLAYGROUND: PLAYGROUND.capitalize()}


# --- where they are -------------------------------------------------------------------


def name_figures(app: Sphinx, document: nodes.document) -> None:
    """Give the cell of each live figure its anchor."""
    if app.env.docname not in pages(Path(app.srcdir)):
        return
    views = [node for node in document.findall(nodes.raw) if VIEW in node.astext()]
    found = read(Path(app.srcdir), app.env.docname)
    for view, entry in zip(views, found, strict=True):
        cell = view.parent
        while cell.get("nb_element") != "cell_code":
            cell = cell.parent
        cell["ids"].append(f"figure-{entry.figure.name}")


# --- the page of all ------------------------------------------------------------------


class LiveFigures(SphinxDirective):
    """The list of all live figures."""

    def run(self) -> list[nodes.Node]:
        """Return it; a build with the same notebooks makes the same."""
        source = Path(self.env.srcdir)
        controls = json.loads((source / PICTURE).with_name("controls.json").read_text())
        sections = []
        for page, heading in pages(source).items():
            self.env.note_dependency(str(source / f"{page}.ipynb"))
            items = [
                item(source, page, entry, controls.get(entry.figure.name, []))
                for entry in read(source, page)
            ]
            if items:
                sections.append(section(heading, items))
        return sections


def section(heading: str, items: list[str]) -> nodes.section:
    """Return the part of the list that shows the figures of one page."""
    made = nodes.section(ids=[f"figures-{heading.partition(' ')[0].lower()}"])
    made += nodes.title("", heading)
    made += raw(f'<ul class="gallery">{"".join(items)}</ul>')
    return made


def item(source: Path, page: str, entry: Entry, controls: list[str]) -> str:
    """Return one figure of the list: its picture, what it shows, what moves."""
    figure = entry.figure
    shows = figure.sentence.removeprefix("A live figure: ")
    moves = (
        f"<p>You can move: {html.escape(', '.join(controls))}.</p>" if controls else ""
    )
    return (
        f'<li><a href="../{page}.html#figure-{figure.name}">'
        f"{picture(source, figure.name)}{html.escape(entry.heading)}</a>"
        f"<p>{html.escape(shows[:1].upper() + shows[1:])}</p>{moves}</li>"
    )


def picture(source: Path, name: str) -> str:
    """Return the picture of a figure, which is what its link is seen by; "" without."""
    if not (source / PICTURE.format(name)).exists():
        return ""
    return (
        f'<img src="../_static/figures/{name}.webp" alt="" width="640" height="360" '
        'loading="lazy">'
    )


def setup(app: Sphinx) -> dict:
    """Tell Sphinx what there is."""
    app.add_directive("live-figures", LiveFigures)
    app.connect("doctree-read", name_figures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

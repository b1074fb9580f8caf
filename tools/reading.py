"""The Sphinx extension that makes long chapters readable; notebooks stay as they are.

It numbers the chapters, puts one line under each title, folds the code of cells that
only draw under what they show, tells the page which question comes next, and gives the
introduction its map. All of it is done on the documents that Sphinx has read.
"""

from __future__ import annotations

import html
import json
from functools import cache
from pathlib import Path
from urllib.parse import urljoin

import yaml
from docutils import nodes
from sphinx.addnodes import toctree
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

from tools import chapters, drawing, landing

SENTENCE = "A book you can move: every idea derived, executed, and live in the page."
FOLDED = {
    "figure": "Show the code that draws this",
    "table": "Show the code that makes this table",
    "check": "Show the code that knows the answer",
}


def raw(text: str) -> nodes.raw:
    """Return HTML as a part of a document."""
    return nodes.raw("", text, format="html")


# --- what is known of the chapters ----------------------------------------------------


@cache
def table(source: Path):
    """Return the chapters by number, the routes, and the facts of the notebooks."""
    rows, routes = chapters.read(source / "_chapters.yml")
    told = {
        n: chapters.facts_of(source / f"{row.page}.ipynb") for n, row in rows.items()
    }
    return rows, routes, told


def chapter_of(source: Path, page: str | None) -> chapters.Chapter | None:
    """Return the chapter that a page shows, if it shows one."""
    rows, _, _ = table(source)
    return next((row for row in rows.values() if row.page == page), None)


@cache
def parts(source: Path) -> list[tuple[str, list[str]]]:
    """Return the parts of the book and the numbers of their chapters."""
    toc = yaml.safe_load((source / "_toc.yml").read_text(encoding="utf-8"))
    rows, _, _ = table(source)
    number = {row.page: n for n, row in rows.items()}
    found = [
        (
            part["caption"],
            [number[c["file"]] for c in part["chapters"] if c["file"] in number],
        )
        for part in toc["parts"]
    ]
    return [(caption, numbers) for caption, numbers in found if numbers]


# --- numbers, and the line under a title ----------------------------------------------


def number_the_contents(app: Sphinx, document: nodes.document) -> None:
    """Put the numbers of the chapters into the contents; before Sphinx collects them."""
    _, _, told = table(Path(app.srcdir))
    for contents in document.findall(toctree):
        entries = []
        for title, page in contents["entries"]:
            chapter = chapter_of(Path(app.srcdir), page)
            if chapter:
                title = f"{chapter.number} {told[chapter.number].title}"
            entries.append((title, page))
        contents["entries"] = entries


def number_the_title(app: Sphinx, document: nodes.document) -> None:
    """Number a chapter and put its line below, after Sphinx has collected the title.

    So a sentence that names another chapter names it without its number.
    """
    chapter = chapter_of(Path(app.srcdir), app.env.docname)
    title = next(document.findall(nodes.title), None)
    if chapter and title:
        title.insert(0, nodes.Text(" "))
        title.insert(
            0, nodes.inline(chapter.number, chapter.number, classes=["chapter-number"])
        )
        line = raw(line_of(Path(app.srcdir), chapter))
        title.parent.insert(title.parent.index(title) + 1, line)


def line_of(source: Path, chapter: chapters.Chapter) -> str:
    """Return the line under the title of a chapter."""
    rows, _, told = table(source)
    needs = landing.linked_numbers(rows, chapter.needs, base="../")
    return (
        f'<p class="chapter-line">{landing.times(told[chapter.number])}. '
        f"You need {needs or 'none of the other chapters'}. "
        f"You will be able to {html.escape(chapter.able)}. "
        '<a class="chapter-resume" hidden></a></p>'
    )


# --- folds ----------------------------------------------------------------------------


class FoldDrawings(SphinxPostTransform):
    """Fold the code of cells that only draw, under what they draw."""

    default_priority = 198  # before myst-nb folds the solutions
    formats = ("html",)

    def run(self, **_):
        """Look at all code cells of the document together."""
        cells = [
            node
            for node in self.document.findall(nodes.container)
            if node.get("nb_element") == "cell_code"
        ]
        sources = [source_of(cell) for cell in cells]
        solutions = [k for k, cell in enumerate(cells) if cell.get("hide_mode")]
        for cell, kind in zip(cells, drawing.drawn_by(sources, solutions)):
            if kind and len(cell.children) == 2:
                fold(cell, kind)


def source_of(cell: nodes.container) -> str:
    """Return the code of a cell."""
    if not cell.children or cell.children[0].get("nb_element") != "cell_code_source":
        return ""
    return cell.children[0].astext()


def fold(cell: nodes.container, kind: str) -> None:
    """Put the code of a cell under its output, in a fold."""
    code, output = cell.children
    summary = f'<details class="draws"><summary>{FOLDED[kind]}</summary>'
    cell["classes"].append("draws-below")
    cell.children = []
    cell.extend([output, raw(summary), code, raw("</details>")])


# --- the introduction -----------------------------------------------------------------


class FromTable(SphinxDirective):
    """A part of the introduction that is made from the table."""

    def run(self) -> list[nodes.Node]:
        """Return it; a build with the same table makes the same."""
        self.env.note_dependency(str(Path(self.env.srcdir) / "_chapters.yml"))
        return [raw(self.made(Path(self.env.srcdir)))]


class ChapterMap(FromTable):
    """The list of the chapters, with what each needs."""

    def made(self, source: Path) -> str:
        """Return the map."""
        rows, _, told = table(source)
        return landing.chapter_map(parts(source), rows, told)


class RouteList(FromTable):
    """The ways through the book."""

    def made(self, source: Path) -> str:
        """Return the list."""
        rows, routes, told = table(source)
        return landing.route_list(routes, rows, told)


class LiveFigureOf(FromTable):
    """The first live figure of a chapter, for a page outside the folder of chapters."""

    required_arguments = 1

    def made(self, source: Path) -> str:
        """Return the figure and the script that brings it to life."""
        file = source / "chapters" / f"{self.arguments[0]}.ipynb"
        notebook = json.loads(file.read_text(encoding="utf-8"))
        figure = landing.first_live_figure(notebook)
        host = '<script defer src="_static/host.js"></script>'
        return f'<div class="hero">{figure}</div>\n{host}'


# --- what the templates ask for -------------------------------------------------------


def tell_the_page(app: Sphinx, pagename: str, _template, context: dict, _doc) -> None:
    """Give a page its chapter, its neighbours and its card."""
    source = Path(app.srcdir)
    _, _, told = table(source)
    relations = app.env.collect_relations()
    _, before, after = relations.get(pagename, (None, None, None))
    for name, page in (("this", pagename), ("before", before), ("after", after)):
        chapter = chapter_of(source, page)
        context[f"chapter_{name}"] = chapter
        if chapter:
            context[f"chapter_{name}_title"] = told[chapter.number].title
    context["metatags"] = context.get("metatags", "") + card(app, context)


def card(app: Sphinx, context: dict) -> str:
    """Return what other sites show of a page; addresses are whole where one is known."""
    chapter = context["chapter_this"]
    told = {
        "og:type": "article" if chapter else "website",
        "og:site_name": app.config.html_title,
        "og:title": context.get("chapter_this_title", app.config.html_title),
        "og:description": chapter.question if chapter else SENTENCE,
        "og:image": urljoin(app.config.html_baseurl, "_static/card.png"),
        "og:image:alt": "A path of long straight steps beside the smooth path it tries to follow",
        "twitter:card": "summary_large_image",
    }
    return "\n".join(
        f'<meta property="{name}" content="{html.escape(text)}"/>'
        for name, text in told.items()
    )


def setup(app: Sphinx) -> dict:
    """Tell Sphinx what there is."""
    app.add_directive("chapter-map", ChapterMap)
    app.add_directive("chapter-routes", RouteList)
    app.add_directive("live-figure-of", LiveFigureOf)
    app.add_post_transform(FoldDrawings)
    # Sphinx collects titles and contents with priority 500.
    app.connect("doctree-read", number_the_contents, priority=400)
    app.connect("doctree-read", number_the_title, priority=600)
    app.connect("html-page-context", tell_the_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The Sphinx extension that numbers equations and theorems within their chapter.

Sphinx counts what has a label (`math_numfig`), and sphinx-proof its theorems. Both take
the first number from a numbered contents, which would count 13b as 14. A chapter's own
number is known from `_chapters.yml`: here it takes the place of theirs, so that an
equation is (13b.2) wherever it is spoken of.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from tools.reading import chapter_of


def within(prefix: str, numbers: dict[str, tuple]) -> dict[str, tuple]:
    """Return the numbers of one page by what they number, in the same order, from one.

    Parameters
    ----------
    prefix : str, the number of the chapter; "" for a page that is none
    numbers : dict, from the name of a place to what Sphinx counted through the book
    """
    ordered = sorted(numbers, key=numbers.__getitem__)
    before = (prefix,) if prefix else ()
    return {place: (*before, k) for k, place in enumerate(ordered, 1)}


def number_by_chapter(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Number all pages, after Sphinx has done it its way."""
    for page, kinds in env.toc_fignumbers.items():
        chapter = chapter_of(Path(app.srcdir), page)
        prefix = chapter.prefix if chapter else ""
        for kind, numbers in kinds.items():
            kinds[kind] = within(prefix, numbers)
    return []


def open_theorems(_app: Sphinx, document: nodes.document) -> None:
    """Take the text of a theorem out of its section: all of them have one name, and the
    contents of a page are made of sections.
    """
    for section in list(document.findall(nodes.section)):
        if "proof" in section.parent.get("classes", ()):
            section["ids"].clear()
            section.replace_self(section.children)


def setup(app: Sphinx) -> dict:
    """Tell Sphinx what there is."""
    app.connect("doctree-read", open_theorems, priority=400)
    app.connect("env-get-updated", number_by_chapter, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The Sphinx extension that numbers exercises and links them with their solutions.

In a notebook an exercise is a heading, "### Exercise 3: its title", and its solution are
the cells tagged `hide-cell` that follow (tools/blanks.py). In the book

- the heading says "Exercise 5.3" and has the anchor `exercise-5-3`, in every chapter;
- a link under the task leads into the fold of the solution, `solution-5-3`, and one at
  the end of the solution back;
- where the text says "exercise 3", or "exercise 5.3" of another chapter, it is a link.

The notebook stays as it is: blanks, slides and JupyterLab read its headings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from tools.reading import chapter_of

TITLE = re.compile(r"Exercise (\d+)")
MENTION = re.compile(r"\b([Ee]xercise) (?:(\d+b?)\.)?(\d+)\b")
NO_PROSE = (nodes.title, nodes.reference, nodes.literal, nodes.raw, pending_xref)


def headed(document: nodes.document) -> Iterator[tuple[nodes.section, str]]:
    """Yield the sections of the exercises, with the numbers that their headings say."""
    for section in document.findall(nodes.section):
        title = section.next_node(nodes.title)
        found = TITLE.match(title.astext()) if title is section.children[0] else None
        if found:
            yield section, found[1]


def number_exercises(app: Sphinx, document: nodes.document) -> None:
    """Number the exercises of a chapter and link them; before Sphinx collects titles."""
    chapter = chapter_of(Path(app.srcdir), app.env.docname)
    prefix = chapter.prefix if chapter else ""
    link_mentions(document, prefix)
    for section, number in headed(document) if chapter else ():
        shown, name = f"{prefix}.{number}", f"exercise-{prefix}-{number}"
        rename(section.children[0], number, shown)
        section["ids"] = [name]
        note(app, name, f"Exercise {shown}")
        link_solution(section, shown)


def rename(title: nodes.title, number: str, shown: str) -> None:
    """Write "Exercise 5.3" for the "Exercise 3" that a heading begins with."""
    text = title.next_node(nodes.Text)
    new = text.replace(f"Exercise {number}", f"Exercise {shown}", 1)
    text.parent.replace(text, nodes.Text(new))


def note(app: Sphinx, name: str, text: str) -> None:
    """Let every page of the book refer to a place of this one."""
    standard, page = app.env.get_domain("std"), app.env.docname
    standard.data["labels"][name] = (page, name, text)
    standard.data["anonlabels"][name] = (page, name)


# --- exercise and solution ------------------------------------------------------------


def link_solution(section: nodes.section, shown: str) -> None:
    """Put a link under the task and one at the end of the solution."""
    cells = [
        node
        for node in section.children
        if node.get("nb_element") == "cell_code" and node.get("hide_mode")
    ]
    if not cells:
        return
    name = shown.replace(".", "-")
    # Within the fold: who is led there finds it open.
    cells[0].children[0]["ids"].append(f"solution-{name}")
    task = section.children[section.index(cells[0]) - 1]
    there = reference(f"solution-{name}", "Solution", f"Solution of exercise {shown}")
    if isinstance(task, nodes.paragraph):
        task.extend([nodes.Text(" "), there])
    else:
        section.insert(section.index(cells[0]), nodes.paragraph("", "", there))
    back = reference(f"exercise-{name}", f"Back to exercise {shown}")
    cells[-1].append(nodes.paragraph("", "", back))


def reference(place: str, text: str, title: str = "") -> nodes.reference:
    """Return a link within the page, between an exercise and its solution."""
    link = nodes.reference(
        "", text, refid=place, internal=True, classes=["to-solution"]
    )
    if title:
        link["reftitle"] = title
    return link


# --- where the text speaks of them ----------------------------------------------------


def link_mentions(document: nodes.document, prefix: str) -> None:
    """Make links of the exercises that the text of a page names."""
    for text in list(document.findall(nodes.Text)):
        if not prose(text):
            continue
        parts = list(linked(str(text), prefix, document.settings.env.docname))
        if len(parts) > 1:
            index = text.parent.index(text)
            text.parent[index : index + 1] = parts


def prose(text: nodes.Text) -> bool:
    """Return whether a text stands in a paragraph, and neither in code nor in a link."""
    node, paragraph = text.parent, False
    while node is not None:
        if isinstance(node, (*NO_PROSE, nodes.literal_block, nodes.math)):
            return False
        paragraph = paragraph or isinstance(node, nodes.paragraph)
        node = node.parent
    return paragraph


def linked(text: str, prefix: str, page: str) -> Iterator[nodes.Node]:
    """Yield the parts of a text: what names an exercise as a reference to it."""
    end = 0
    for found in MENTION.finditer(text):
        word, chapter, number = found.groups()
        chapter = chapter or prefix
        if not chapter:
            continue
        yield nodes.Text(text[end : found.start()])
        yield pending_xref(
            "",
            nodes.inline("", f"{word} {chapter}.{number}"),
            refdomain="std",
            reftype="ref",
            refexplicit=True,
            refwarn=True,
            reftarget=f"exercise-{chapter}-{number}",
            refdoc=page,
        )
        end = found.end()
    yield nodes.Text(text[end:])


def setup(app: Sphinx) -> dict:
    """Tell Sphinx what there is."""
    # Sphinx collects titles and contents with priority 500.
    app.connect("doctree-read", number_exercises, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

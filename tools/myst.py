"""Write a chapter's MyST as the Markdown that any notebook shows.

Colab, and whatever else opens a notebook, knows neither directives nor roles: it would
show their marks. A dropdown becomes HTML's own, a theorem or a note a heading and its
text, a citation the names and the year, a reference the text that stands in it.
Equations and theorems keep the numbers that they have in the book (tools/numbering.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path

from pybtex.database import Entry, parse_file

from tools import chapters

__all__ = ["citation", "links_moved", "numbered", "plain"]

ROOT = Path(__file__).parents[1]

# ```{name} title, lines of :option: value, the body, ```; also with colons. An inner
# fence is shorter than the outer one.
DIRECTIVE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{(?P<name>[\w:-]+)\}[ ]*(?P<title>.*)\n"
    r"(?P<options>(?::[\w-]+:.*\n)*)(?P<body>(?:.*\n)*?)(?P=fence)[ ]*$",
    re.MULTILINE,
)
ROLE = re.compile(r"\{(?P<name>[\w:]+)\}(?P<fence>`+)(?P<text>[^`]+)(?P=fence)")
TARGET = re.compile(r"^\([\w:-]+\)=\n", re.MULTILINE)
LABEL = re.compile(r"\$\$[ ]*\((?P<label>[\w:-]+)\)")
NUMBERED = re.compile(
    rf"{LABEL.pattern}|^[`:]{{3,}}\{{prf:(?P<kind>\w+)\}}.*\n:label: (?P<theorem>[\w-]+)$",
    re.MULTILINE,
)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)(?P<path>[^)#\s]+)")
UNNAMED = ("admonition", "card", "div", "figure")


def plain(text: str) -> str:
    """Write the text of a cell without directives, roles and targets.

    Parameters
    ----------
    text : str, MyST

    Returns
    -------
    str : Markdown with LaTeX between dollars and a little HTML
    """
    text = DIRECTIVE.sub(_directive, TARGET.sub("", text))
    text = LABEL.sub(lambda found: rf"\tag{{{numbered(found['label'])}}}$$", text)
    return ROLE.sub(_role, text)


def links_moved(text: str, moved: Callable[[str], str]) -> str:
    """Write the text with every link to a file replaced by what `moved` makes of it;
    links to other hosts and within the page stay.
    """
    return LINK.sub(lambda found: moved(found["path"]), text)


# --- directives -----------------------------------------------------------------------


def _directive(found: re.Match) -> str:
    name, body = found["name"].rpartition(":")[2], plain(found["body"]).strip()
    title = plain(found["title"].strip())
    if name == "math":
        return f"$$\n{body}\n$$"
    if name == "dropdown" or "dropdown" in found["options"]:
        # The empty lines let Markdown go on within HTML.
        head = title or name.capitalize()
        return f"<details><summary>{_html(head)}</summary>\n\n{body}\n\n</details>"
    label = re.search(r"^:label: (.+)$", found["options"], re.MULTILINE)
    return f"{_heading(name, title, label[1] if label else '')}\n\n{body}"


def _heading(name: str, title: str, label: str) -> str:
    """Name what stands below: **Theorem 2.1** (Picard), but a note's own title alone."""
    if name in UNNAMED:
        return f"**{title}**" if title else ""
    called = _numbers().get(label, name.capitalize())
    return f"**{called}**" + (f" ({title})" if title else "")


def _html(title: str) -> str:
    """A title within HTML, where Markdown's code and emphasis would stay as they are."""
    title = title.replace("&", "&amp;").replace("<", "&lt;")
    title = re.sub(r"`([^`]+)`", r"<code>\1</code>", title)
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", title)


# --- roles ----------------------------------------------------------------------------


def _role(found: re.Match) -> str:
    name, text = found["name"], found["text"].strip()
    if name.startswith("cite"):
        return citation(text.split(","), textual=name.endswith(":t"))
    if name == "math":
        return f"${text}$"
    shown = re.sub(r"\s*<[^>]*>$", "", text)  # text <target>
    if name == "prf:ref":
        return numbered(shown)
    return rf"({numbered(shown)})" if name == "eq" else shown


def numbered(label: str) -> str:
    """What the book shows for a label, "5.3" or "Theorem 5.1"; the label itself if no
    chapter has it.
    """
    return _numbers().get(label, label)


@cache
def _numbers() -> dict[str, str]:
    rows, _ = chapters.read(ROOT / "_chapters.yml")
    found: dict[str, str] = {}
    for row in rows.values():
        notebook = json.loads((ROOT / f"{row.page}.ipynb").read_text(encoding="utf-8"))
        found |= _numbers_within(row.prefix, chapters.prose(notebook["cells"]))
    return found


def _numbers_within(prefix: str, text: str) -> dict[str, str]:
    equations, theorems = count(1), count(1)
    numbers = {}
    for found in NUMBERED.finditer(text):
        if found["label"]:
            numbers[found["label"]] = f"{prefix}.{next(equations)}"
        else:
            kind = found["kind"].capitalize()
            numbers[found["theorem"]] = f"{kind} {prefix}.{next(theorems)}"
    return numbers


def citation(keys: list[str], *, textual: bool) -> str:
    """The names and the year of cited works, each linked to where it can be read.

    Parameters
    ----------
    keys : list of str, of references.bib
    textual : bool
        Chen et al. (2018), as a part of the sentence; else (Chen et al., 2018).

    Raises
    ------
    KeyError
        If references.bib has no such key.
    """
    works = [_work(key.strip()) for key in keys]
    if textual:
        return ", ".join(
            _linked(f"{names} ({year})", url) for names, year, url in works
        )
    return (
        f"({'; '.join(_linked(f'{names}, {year}', url) for names, year, url in works)})"
    )


def _linked(text: str, url: str) -> str:
    return f"[{text}]({url})" if url else text


@cache
def _works() -> dict[str, Entry]:
    return parse_file(str(ROOT / "references.bib")).entries


def _work(key: str) -> tuple[str, str, str]:
    """Names, year and address of a work; no address is an empty one."""
    entry = _works()[key]
    people = entry.persons.get("author") or entry.persons["editor"]
    parts = [[*who.rich_prelast_names, *who.rich_last_names] for who in people]
    names = [" ".join(map(str, name)) for name in parts]
    if len(names) > 2:
        names = [f"{names[0]} et al."]
    return " and ".join(names), entry.fields.get("year", "n.d."), _address(entry.fields)


def _address(fields) -> str:
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    if "eprint" in fields:
        return f"https://arxiv.org/abs/{fields['eprint']}"
    return fields.get("url", "")

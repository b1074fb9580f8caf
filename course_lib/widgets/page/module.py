"""From files to one module: what a live figure sends to the browser."""

from __future__ import annotations

import json
import posixpath
import re
from functools import cache
from pathlib import Path

from course_lib.solvers import METHODS
from course_lib.systems import SYSTEMS

__all__ = [
    "ADAPTIVE",
    "FIGURES",
    "FIXED",
    "MAX_STEPS",
    "PAGE",
    "PLANE",
    "PROBLEMS",
    "TABLES",
    "module",
    "parts",
    "script",
    "style",
    "tables",
]

PAGE = Path(__file__).parent
FIGURES = PAGE.parent
TABLES = "page/tables.mjs"  # made here, of what Python knows
MAX_STEPS = 10_000  # of one solve; the paths of a fan or a cloud share them
FIXED = [name for name, method in METHODS.items() if not method.adaptive]
ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]
PLANE = [name for name, system in SYSTEMS.items() if len(system.y0) == 2]
PROBLEMS = [name for name in SYSTEMS if name != "ring"]  # the ring is for the adjoint

# What the browser needs of a method and of a system.
METHOD = ("name", "label", "order", "c", "a", "b", "b_error", "dense", "fsal")
SYSTEM = ("label", "y0", "span", "window")

BLOCK = r"/\*\*(?:(?!\*/)[\s\S])*\*/"
COMMENT = re.compile(
    rf"^[ \t]*(?:{BLOCK}|//.*)\n|{BLOCK} ?|[ \t]+//[ ].*$", re.MULTILINE
)
REMARK = re.compile(r"^[ \t]*/\*[\s\S]*?\*/\n", re.MULTILINE)  # in a style sheet
GAP = re.compile(r"(?<=:) |\s*([{};,])\s*")  # in a style sheet, which holds no text
AIR = re.compile(r"^\s+", re.MULTILINE)  # no text of a script goes over several lines
IMPORT = re.compile(r'^import \{[^}]*\} from "(\.[\w./]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


@cache
def tables() -> str:
    """Return the JavaScript module with the methods and the systems as Python has them."""
    constants = {
        "MAX_STEPS": MAX_STEPS,
        "METHODS": _rows(METHODS, METHOD),
        "FIXED": [[name, METHODS[name].label] for name in FIXED],
        "ADAPTIVE": [[name, METHODS[name].label] for name in ADAPTIVE],
        "SYSTEMS": _rows(SYSTEMS, SYSTEM),
    }
    return "".join(
        f"export const {name} = {json.dumps(value, separators=(',', ':'))};\n"
        for name, value in constants.items()
    )


def _rows(things: dict, columns: tuple[str, ...]) -> dict:
    """Return some attributes of each thing, by its name."""
    return {
        name: {column: getattr(thing, column) for column in columns}
        for name, thing in things.items()
    }


def script(name: str) -> str:
    """Return a JavaScript file as it travels: without comments, and with no air before its
    lines.

    A third of a file is comment, which is for those who change it.
    """
    source = (FIGURES / name).read_text(encoding="utf-8")
    return AIR.sub("", COMMENT.sub("", source))


def style(name: str) -> str:
    """Return a style sheet as it travels, without remarks and air."""
    bare = REMARK.sub("", (PAGE / name).read_text(encoding="utf-8"))
    return GAP.sub(r"\1", bare).strip()


@cache
def parts(name: str) -> tuple[str, ...]:
    """Return a file and all that it imports, what is imported first, without imports."""
    found: dict[str, str] = {}

    def add(file: str) -> None:
        if file in found:
            return
        source = tables() if file == TABLES else script(file)
        for dependency in IMPORT.findall(source):
            add(posixpath.normpath(posixpath.join(posixpath.dirname(file), dependency)))
        found[file] = EXPORT.sub("", IMPORT.sub("", source))

    add(name)
    return tuple(found.values())


def module(name: str) -> str:
    """Return a file and all that it imports as one self-contained module.

    anywidget takes a single text. The files share one scope, so a name may be defined
    in one of them only.
    """
    return "\n".join(parts(name))

"""From files to one module: what a live figure sends to the browser."""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

from course_lib.solvers.tableaus import METHODS
from course_lib.systems import SYSTEMS

PAGE = Path(__file__).parent
FIGURES = PAGE.parent
TABLES = "page/tables.mjs"  # made here, of what Python knows
MAX_STEPS = 10_000  # of one solve; the paths of a fan or a cloud share them
LABELS = {
    "euler": "Euler",
    "midpoint": "Midpoint",
    "heun": "Heun",
    "rk4": "RK4",
    "bosh3": "Bogacki–Shampine 3",
    "dopri5": "Dormand–Prince 5",
    "tsit5": "Tsitouras 5",
}
FIXED = [name for name, method in METHODS.items() if not method.adaptive]
ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]
PROBLEMS = [name for name in SYSTEMS if name != "ring"]  # the ring is for the adjoint


@cache
def tables() -> str:
    """The JavaScript module with the methods and the systems as Python has them."""
    methods = {
        name: {
            key: value
            for key, value in asdict(method).items()
            if key in ("name", "order", "c", "a", "b", "b_error", "dense")
        }
        | {"fsal": method.fsal, "label": LABELS[name]}
        for name, method in METHODS.items()
    }
    systems = {
        name: {
            "label": system.label,
            "y0": system.y0,
            "span": system.span,
            "window": system.window,
        }
        for name, system in SYSTEMS.items()
    }
    constants = {
        "MAX_STEPS": MAX_STEPS,
        "METHODS": methods,
        "FIXED": [[name, LABELS[name]] for name in FIXED],
        "ADAPTIVE": [[name, LABELS[name]] for name in ADAPTIVE],
        "PROBLEMS": [[name, SYSTEMS[name].label] for name in PROBLEMS],
        "SYSTEMS": systems,
    }
    return "".join(
        f"export const {name} = {json.dumps(value, separators=(',', ':'))};\n"
        for name, value in constants.items()
    )


def script(name: str) -> str:
    """A JavaScript file as it travels in a page: without comment lines, empty ones and
    indentation. No text in these files runs over a line's end.
    """
    text = (FIGURES / name).read_text(encoding="utf-8")
    text = re.sub(r"^[ \t]*(//.*)?\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^[ \t]+", "", text, flags=re.MULTILINE)


IMPORT = re.compile(r'^import \{[^}]*\} from "(\.[\w./]+)";\n', re.MULTILINE)


@cache
def module(name: str) -> str:
    """One self-contained module: the file and everything it imports, one after the
    other, for anywidget takes a single text.

    The files share one scope, so a name may be defined in one of them only.
    """
    parts, seen = [], set()

    def add(file: str):
        if file in seen:
            return
        seen.add(file)
        source = tables() if file == TABLES else script(file)
        for dependency in IMPORT.findall(source):
            add(posixpath.normpath(posixpath.join(posixpath.dirname(file), dependency)))
        source = IMPORT.sub("", source)
        parts.append(re.sub(r"^export (?!default)", "", source, flags=re.MULTILINE))

    add(name)
    return "\n".join(parts)

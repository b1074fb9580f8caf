"""A Sphinx extension: what the docstrings of `course_lib` mean by their marks.

They are written to be read in the source: `name` is code, and a star or a bar is itself.
"""

from __future__ import annotations

import re

CODE = re.compile(r"(``[^`]+``|`[^`]+`)")


def marked_up(line: str) -> str:
    """The line in reStructuredText."""
    parts = CODE.split(line)
    plain = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
    code = [f"``{part.strip('`')}``" for part in parts[1::2]]
    return "".join(a + b for a, b in zip(plain, [*code, ""], strict=True))


def rewrite(_app, _what, _name, _thing, _options, lines: list[str]) -> None:
    """Sphinx's hook: the lines of a docstring, changed in place."""
    lines[:] = map(marked_up, lines)


def setup(app) -> dict:
    """Before napoleon, which reads the sections."""
    app.connect("autodoc-process-docstring", rewrite, priority=400)
    return {"parallel_read_safe": True}

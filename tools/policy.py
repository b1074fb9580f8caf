"""What the pages of the built book may load and run, written into each of them.

python -m tools.policy _build/html

A Content-Security-Policy: scripts from the book, the modules that the live figures make
of their own text (blobs), and the inline scripts that are in the page now, each by its
hash; nothing from another host.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from course_lib.widgets.page.html import digest

SCRIPT = re.compile(r"<script((?:\s[^>]*)?)>(.*?)</script>", re.DOTALL)
HANDLER = re.compile(r'\son[a-z]+="([^"]*)"')
POLICY = (
    "default-src 'none'; script-src 'self' blob: {scripts}; style-src 'self' "
    "'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'"
)


def is_run(attributes: str) -> bool:
    """Whether a script element holds a script to run, and not an address or data."""
    return "src=" not in attributes and "json" not in attributes


def handlers_of(page: str) -> list[str]:
    """What the buttons of a page do."""
    return [html.unescape(text) for text in HANDLER.findall(SCRIPT.sub("", page))]


def allowed(page: str, more: Iterable[str] = ()) -> list[str]:
    """The hashes of the inline scripts of a page, and of what its buttons do; `more` is
    what the buttons of other pages do.
    """
    inline = [text for attributes, text in SCRIPT.findall(page) if is_run(attributes)]
    handlers = [*handlers_of(page), *more]
    hashes = sorted({digest(text) for text in inline + handlers})
    return [*hashes, "'unsafe-hashes'"] if handlers else hashes


def with_policy(page: str, more: Iterable[str] = ()) -> str:
    """The page with its policy, after the encoding and before any script. The page that
    only leads to the introduction has neither. `more` is what buttons of other pages do.
    """
    if not SCRIPT.search(page):
        return page
    policy = POLICY.format(scripts=" ".join(allowed(page, more)))
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    before, encoding, after = page.partition('<meta charset="utf-8" />')
    if not encoding or SCRIPT.search(before):
        raise ValueError(
            "no place for the policy: the encoding must come before scripts"
        )
    return f"{before}{encoding}\n    {meta}{after}"


def main() -> None:
    """Write the policy into every page of a folder."""
    paths = [p for p in Path(sys.argv[1]).rglob("*.html") if "_static" not in p.parts]
    # The search reads other pages for its excerpts, with their buttons.
    found = [text for path in paths for text in handlers_of(path.read_text())]
    for path in paths:
        more = found if path.name == "search.html" else ()
        path.write_text(with_policy(path.read_text(), more))


if __name__ == "__main__":
    main()

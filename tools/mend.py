"""Mend what Sphinx, its theme and IPython write that HTML does not allow.

    python -m tools.mend _build/html

After it the pages are valid: tests/test_html.py asks html-validate.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SUMMARY = re.compile(r"<summary[^>]*>.*?</summary>", re.DOTALL)
LISTED = re.compile(r"<p>(<ul.*?</ul>)\s*</p>", re.DOTALL)
# The colours of a listing: the page has them, and in a body no style is allowed.
LISTING = re.compile(r'<style>[^<]*</style>(?=<div class="highlight">)')
# The role docutils gives a reference is deprecated, and its list wants list items.
ROLE = 'role="doc-biblioentry"'
NOT_PAGES = (
    "webpack-macros.html",
    "sbt-webpack-macros.html",
)  # templates of the themes

# Jupyter Book's own has neither type nor title.
INDEX = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta http-equiv="refresh" content="0; url=intro.html" />
<title>Neural Ordinary Differential Equations</title>
</head>
<body><p><a href="intro.html">Neural Ordinary Differential Equations</a></p></body>
</html>
"""


def mended(page: str) -> str:
    """Return a page as HTML allows it; a valid one stays as it is."""
    page = SUMMARY.sub(lambda found: re.sub(r"<(/?)p\b", r"<\1span", found[0]), page)
    page = LISTED.sub(r"\1", page)
    page = LISTING.sub("", page)
    return page.replace(ROLE, 'role="listitem"')


def mend(folder: Path) -> None:
    """Mend all pages of a built book."""
    for file in folder.rglob("*.html"):
        if file.name in NOT_PAGES:
            file.unlink()
            continue
        page = file.read_text(encoding="utf-8")
        if (new := mended(page)) != page:
            file.write_text(new, encoding="utf-8")
    (folder / "index.html").write_text(INDEX, encoding="utf-8")


if __name__ == "__main__":
    mend(Path(sys.argv[1]))

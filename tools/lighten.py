"""Leave out of a built book what none of its pages shows.

    python -m tools.lighten _build/html

Every word of a listing is an element of its own, most of a page's elements. Those whose
colour is that of the listing anyway, two of three, become plain text. Pictures that have
only greys carry one number a pixel, not four.
"""

from __future__ import annotations

import io
import re
import sys
from base64 import b64decode, b64encode
from pathlib import Path

from PIL import Image

COLOURS = Path("_static/pygments.css")
# The colour of listings in a theme, or that of one class of their words.
COLOUR = re.compile(
    r'data-theme="(?P<theme>\w+)"\] \.highlight (?:\.(?P<name>\w+) )?'
    r"\{ (?:background: #\w+; )?color: (?P<colour>#\w+) \}"
)
LISTED_CODE = re.compile(r'(?<=<div class="highlight"><pre>).*?(?=</pre>)', re.DOTALL)
WORD = re.compile(r'<span class="(?P<name>\w+)">(?P<word>[^<]*)</span>')
PICTURE = re.compile(r"(?<=data:image/png;base64,)[A-Za-z0-9+/=\s]+")


def plain(style: str) -> set[str]:
    """Return the classes of words that a style sheet gives the colour of their listing."""
    found = COLOUR.findall(style)
    own = {theme: colour for theme, name, colour in found if not name}
    other = {name for theme, name, colour in found if name and colour != own[theme]}
    return {name for _, name, _ in found if name} - other


def unwrapped(page: str, names: set[str]) -> str:
    """Return a page in whose listings words of some classes are no elements."""

    def itself(found: re.Match) -> str:
        return found["word"] if found["name"] in names else found[0]

    return LISTED_CODE.sub(lambda listing: WORD.sub(itself, listing[0]), page)


def grey(picture: bytes) -> bytes:
    """Return a PNG, with one number a pixel if that shows the same in less."""
    image = Image.open(io.BytesIO(picture))
    one, file = image.convert("L"), io.BytesIO()
    if one.convert("RGBA").tobytes() != image.convert("RGBA").tobytes():
        return picture
    one.save(file, "PNG", optimize=True)
    return min(picture, file.getvalue(), key=len)


def with_greys(page: str) -> str:
    """Return a page whose pictures are as light as `grey` makes them."""
    return PICTURE.sub(lambda it: b64encode(grey(b64decode(it[0]))).decode(), page)


def lighten(book: Path) -> None:
    """Leave out what no page of a book shows."""
    words = plain((book / COLOURS).read_text(encoding="utf-8"))
    for path in book.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        path.write_text(with_greys(unwrapped(page, words)), encoding="utf-8")


if __name__ == "__main__":
    lighten(Path(sys.argv[1]))

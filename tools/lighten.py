"""Leave out of a built book what none of its pages shows.

    python -m tools.lighten _build/html

The theme brings 1,400 icons and a rule of style for each, a third of what a page without
formulas weighs. What a page or a script names stays, and what the theme's other rules show.

Every word of a listing is an element of its own, most of a page's elements. Those whose
colour is that of the listing anyway, two of three, become plain text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

STYLE = Path("_static/styles/pydata-sphinx-theme.css")
FONTS = Path("_static/vendor/fontawesome/webfonts")
NAME = re.compile(r"\bfa-[a-z0-9-]+")
# A rule that says which character an icon is, and nothing else.
ICON = re.compile(
    r'(?P<names>\.fa-[\w-]+:before(?:,\.fa-[\w-]+:before)*)\{content:"\\(?P<code>[0-9a-f]+) ?"\}'
)
CHARACTER = re.compile(r"\\(f[0-9a-f]{3})\b|([\ue000-\uf8ff])")
# Two addresses of a font, of which a browser takes the first; the second is not written.
SOURCE = re.compile(
    r"url\((?P<font>[^)]*/fa-[a-z]+-\d+)\.woff2\) format\(\"woff2\"\),"
    r"url\([^)]*\.ttf\) format\(\"truetype\"\)"
)

COLOURS = Path("_static/pygments.css")
# The colour of listings in a theme, or that of one class of their words.
COLOUR = re.compile(
    r'data-theme="(?P<theme>\w+)"\] \.highlight (?:\.(?P<name>\w+) )?'
    r"\{ (?:background: #\w+; )?color: (?P<colour>#\w+) \}"
)
LISTED_CODE = re.compile(r'(?<=<div class="highlight"><pre>).*?(?=</pre>)', re.DOTALL)
WORD = re.compile(r'<span class="(?P<name>\w+)">(?P<word>[^<]*)</span>')


def named(texts: Iterable[str]) -> set[str]:
    """Return the classes of icons that texts name."""
    return {name for text in texts for name in NAME.findall(text)}


def lighter(style: str, names: set[str]) -> str:
    """Return a style sheet without the rules of the icons that are not named."""

    def rule(found: re.Match) -> str:
        here = NAME.findall(found["names"])
        return found[0] if names & set(here) else ""

    style = ICON.sub(rule, style)
    return SOURCE.sub(r'url(\g<font>.woff) format("woff")', style)


def characters(styles: Iterable[str]) -> set[int]:
    """Return the characters of icons that style sheets show, written or as they are."""
    found = (pair for style in styles for pair in CHARACTER.findall(style))
    return {int(code, 16) if code else ord(itself) for code, itself in found}


def reduce(font: Path, keep: set[int]) -> None:
    """Write the characters of a font that are kept as .woff, in the place of its files."""
    options = subset.Options(flavor="woff", hinting=False, layout_features=[])
    made = TTFont(font, recalcTimestamp=False)
    tool = subset.Subsetter(options)
    tool.populate(unicodes=keep)
    tool.subset(made)
    made.flavor = "woff"
    made.save(font.with_suffix(".woff"))
    for ending in (".ttf", ".woff2"):
        font.with_suffix(ending).unlink()


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


def lighten(book: Path) -> None:
    """Leave out what no page of a book shows."""
    words = plain((book / COLOURS).read_text(encoding="utf-8"))
    for path in book.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        path.write_text(unwrapped(page, words), encoding="utf-8")
    scripts = book.glob("_static/**/*.js")
    texts = [p.read_text(encoding="utf-8") for p in (*book.rglob("*.html"), *scripts)]
    style = book / STYLE
    light = lighter(style.read_text(encoding="utf-8"), named(texts))
    style.write_text(light, encoding="utf-8")
    sheets = book.glob("_static/**/*.css")
    keep = characters(path.read_text(encoding="utf-8") for path in sheets)
    for font in sorted((book / FONTS).glob("*.ttf")):
        reduce(font, keep)


if __name__ == "__main__":
    lighten(Path(sys.argv[1]))

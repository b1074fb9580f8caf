"""Give every page of a built book one style sheet, with what the pages show and no more.

    python -m tools.dress _build/html

The theme brings a dozen sheets, the rules of a toolkit, and 1,400 icons. A browser takes
its time over each sheet, and three of five rules are for classes that no page and no script
names. What is named stays, and the shapes of the icons that are shown.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import tinycss2
from fontTools import subset
from fontTools.ttLib import TTFont

FONTS = Path("_static/vendor/fontawesome/webfonts")
NAME = re.compile(r"[A-Za-z_][\w-]*")
WITHIN = {"media", "supports"}  # what rules may stand in
CHARACTER = re.compile(r"\\(f[0-9a-f]{3})\b|([\ue000-\uf8ff])")
# Two addresses of a font, of which a browser takes the first; the second is not written.
SOURCE = re.compile(
    r"url\((?P<font>[^)]*/fa-[a-z]+-\d+)\.woff2\) format\(\"woff2\"\),"
    r"url\([^)]*\.ttf\) format\(\"truetype\"\)"
)
SHEET = re.compile(r'\s*<link [^>]*?\brel="stylesheet"[^>]*>')
ADDRESS = re.compile(r'\bhref="([^"?]+)')
# What a style sheet names: another one, or a file that is not in the sheet itself.
IMPORTED = re.compile(r'@import "([^"]+)";')
NAMED = re.compile(r"url\(([^)\"']+)\)")


# --- what is shown --------------------------------------------------------------------


def names(texts: Iterable[str]) -> set[str]:
    """Return all that may be the name of a class in pages and scripts."""
    return {name for text in texts for name in NAME.findall(text)}


def lighter(style: str, known: set[str]) -> str:
    """Return a style sheet without the rules for classes that are not known.

    What a script may compose of the beginning of a name, such as ``"bs-"``, is known too.
    """
    begun = tuple(name for name in known if name.endswith("-") and len(name) > 2)
    rules = tinycss2.parse_stylesheet(style, skip_comments=True)
    return _without(rules, known, begun)


def _without(rules: list, known: set[str], begun: tuple[str, ...]) -> str:
    """Return the text of rules without those for classes that are not known."""
    kept = []
    for rule in rules:
        if rule.type == "qualified-rule":
            shown = [s for s in _selectors(rule) if _may_meet(s, known, begun)]
            inner = tinycss2.serialize(rule.content) if shown else ""
            head = ",".join(map(tinycss2.serialize, shown))
        elif rule.type == "at-rule" and rule.lower_at_keyword in WITHIN:
            inside = tinycss2.parse_rule_list(rule.content, skip_comments=True)
            inner = _without(inside, known, begun)
            head = f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}"
        else:
            kept.append(rule.serialize())
            continue
        if inner.strip():
            kept.append(f"{head}{{{inner}}}")
    return "".join(kept)


def _selectors(rule) -> list[list]:
    """Return the selectors of a rule, each as its tokens."""
    found: list[list] = [[]]
    for token in rule.prelude:
        if token == ",":
            found.append([])
        else:
            found[-1].append(token)
    return found


def _may_meet(selector: list, known: set[str], begun: tuple[str, ...]) -> bool:
    """Tell whether a selector names no class, other than in brackets, that is not known."""
    classes = {
        word.value
        for dot, word in pairwise(selector)
        if dot == "." and word.type == "ident"
    }
    return all(
        name in known or name.startswith(begun) or not NAME.fullmatch(name)
        for name in classes
    )


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


# --- one sheet ------------------------------------------------------------------------


@functools.cache  # the pages of a book have the same sheets
def whole(sheet: Path, folder: Path) -> str:
    """Return a style sheet, what it imports included, as it reads in another folder."""

    def itself(found: re.Match) -> str:
        return whole(sheet.parent / found[1], folder)

    def seen(found: re.Match) -> str:
        return f"url({os.path.relpath(sheet.parent / found[1], folder)})"

    style = sheet.read_text(encoding="utf-8").replace('@charset "UTF-8";', "")
    return IMPORTED.sub(itself, NAMED.sub(seen, style))


def dressed(page: str, path: Path, static: Path) -> str:
    """Return a page with one style sheet, written into `static`, for its many."""
    links = SHEET.findall(page)
    if len(links) < 2:
        return page
    sheets = [path.parent / ADDRESS.search(link)[1] for link in links]
    style = "\n".join(whole(sheet, static) for sheet in sheets)
    digest = hashlib.sha256(style.encode()).hexdigest()[:8]
    made = static / f"book-{digest}.css"
    made.write_text(style, encoding="utf-8")
    link = f'<link rel="stylesheet" href="{os.path.relpath(made, path.parent)}" />'
    before, _, after = page.partition(links[0])
    return f"{before}\n    {link}{SHEET.sub('', after)}"


def dress(book: Path) -> None:
    """Leave in the style of a book what its pages show, and in each page one sheet."""
    pages = {path: path.read_text(encoding="utf-8") for path in book.rglob("*.html")}
    scripts = book.glob("_static/**/*.js")
    known = names((*pages.values(), *(p.read_text(encoding="utf-8") for p in scripts)))
    styles = {}
    for sheet in book.glob("_static/**/*.css"):
        style = lighter(sheet.read_text(encoding="utf-8"), known)
        styles[sheet] = SOURCE.sub(r'url(\g<font>.woff) format("woff")', style)
        sheet.write_text(styles[sheet], encoding="utf-8")
    keep = characters(styles.values())
    for font in sorted((book / FONTS).glob("*.ttf")):
        reduce(font, keep)
    for path, page in pages.items():
        path.write_text(dressed(page, path, book / "_static"), encoding="utf-8")


if __name__ == "__main__":
    dress(Path(sys.argv[1]))

"""Every link inside the built book leads to something that is there."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pages import HTML

EVERY_PAGE = sorted(  # the search page and the index, too
    str(path.relative_to(HTML))
    for path in HTML.rglob("*.html")
    if "_static" not in path.parts
)


class Reader(HTMLParser):
    """Collects where a page leads to, and the places in it that can be led to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, _tag: str, attrs: list) -> None:
        """Collect the links and the names of one tag."""
        given = {name: value or "" for name, value in attrs}
        self.links += [given[name] for name in ("href", "src") if name in given]
        self.places |= {given[name] for name in ("id", "name") if name in given}


@cache
def read(page: Path) -> Reader:
    """Read a page once."""
    reader = Reader()
    reader.feed(page.read_text())
    return reader


def missing(page: Path) -> list[str]:
    """List the links of a page that lead nowhere in the book."""
    return [link for link in read(page).links if not leads_somewhere(page, link)]


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether a link of a page leads out of the book, or to a file and place in it."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_relative_to(HTML.resolve()) or not target.exists():
        return False
    place = unquote(parts.fragment)
    return not place or target.suffix != ".html" or place in read(target).places


@pytest.mark.parametrize("name", EVERY_PAGE)
def test_every_link_inside_the_book_leads_somewhere(name):
    assert missing(HTML / name) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.HTML", tmp_path)
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">1</a><a href="#there">2</a>'
        '<a href="b.html">3</a><a href="a.html#here">4</a><a href="https://x">5</a>'
    )
    assert missing(tmp_path / "a.html") == ["#there", "b.html"]

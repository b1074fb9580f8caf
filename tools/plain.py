"""Build the book with Sphinx alone, and compare it with the one that Jupyter Book built.

    python -m tools.plain

Jupyter Book 1 is looked after and no longer developed. The course uses of it the two
files _config.yml and _toc.yml and nothing else: written out once as a conf.py, the same
settings give the same pages without it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

from tools.mend import mend

__all__ = ["BUILD", "build", "configured", "differences", "pages", "visible"]

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "_build"
PLAIN = BUILD / "plain"


def configured(folder: Path) -> Path:
    """Copy the sources of the book into a folder, and write a conf.py beside them that
    loads no Jupyter Book.
    """
    shutil.rmtree(folder, ignore_errors=True)
    source = Path(shutil.copytree(BUILD / "source", folder / "source"))
    book = Path(sys.executable).with_name("jupyter-book")
    subprocess.run(
        [book, "config", "sphinx", source], check=True, stdout=subprocess.DEVNULL
    )
    settings = (source / "conf.py").read_text(encoding="utf-8")
    alone = settings.replace("'jupyter_book', ", "")
    (source / "conf.py").write_text(alone, encoding="utf-8")
    return source


def build(source: Path, out: Path, *options: str, builder: str = "html") -> int:
    """Run Sphinx over configured sources; its exit status."""
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-b", builder, *options]
    return subprocess.run([*sphinx, source, out]).returncode


def pages(book: Path) -> dict[str, Path]:
    """The pages of a built book by their path in it; figures alone are no pages."""
    found = {path.relative_to(book).as_posix(): path for path in book.rglob("*.html")}
    others = ("_static", "figures/")
    return {name: found[name] for name in sorted(found) if not name.startswith(others)}


class Text(HTMLParser):
    """What a page shows as text, in `words`."""

    hidden = ("script", "style", "template")

    def __init__(self):
        super().__init__()
        self.words: list[str] = []
        self.inside = 0

    def handle_starttag(self, tag, _attrs):
        """Go into an element."""
        self.inside += tag in self.hidden

    def handle_endtag(self, tag):
        """Leave an element."""
        self.inside -= tag in self.hidden

    def handle_data(self, data):
        """Keep the words between two tags."""
        if not self.inside:
            self.words += data.split()


def visible(page: Path) -> list[str]:
    """The words that a page shows, in order."""
    text = Text()
    text.feed(page.read_text(encoding="utf-8"))
    return text.words


def differences(one: Path, other: Path) -> list[str]:
    """What two built books do not share, one sentence each."""
    here, there = pages(one), pages(other)
    apart = [f"only one has {name}" for name in sorted(here.keys() ^ there.keys())]
    for name in sorted(here.keys() & there.keys()):
        ours, theirs = visible(here[name]), visible(there[name])
        if ours != theirs:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), -9)
            text = (
                f"{' '.join(ours[at : at + 9])!r} and {' '.join(theirs[at : at + 9])!r}"
            )
            apart.append(f"{name} differs: {text}")
    return apart


def main() -> None:
    """Build the plain book and say whether it is the same."""
    out = PLAIN / "html"
    if build(configured(PLAIN), out, "-W", "--keep-going", "-n"):
        sys.exit("Sphinx alone does not build the book (its warnings are above)")
    mend(out)
    if apart := differences(BUILD / "html", out):
        sys.exit("\n".join(apart))
    print(f"Sphinx alone builds the same {len(pages(out))} pages with the same text")


if __name__ == "__main__":
    main()

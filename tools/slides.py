"""Write slides of each chapter from its built page: the deck of a lecture, offline.

    python -m tools.slides _build/html _build/teach/slides

A slide is a step of the text: sentences, then what they lead to.

- A heading begins a slide, a section a column. The first slide has title and question.
- Of a paragraph stands its first sentence, and its last where it leads to a formula or to
  a cell. A paragraph that begins in bold stands whole. The speaker's notes (press S) have
  every word, with formulas as they are written: the window of the notes sets none.
- A figure, a live figure or a table ends a slide. The first sentence after it, its
  reading, stands below it, unless that is a question or only leads on.
- Code that defines something stands as it is; other code is folded; imports are left out.
- A question in a dropdown has a slide of its own, whose answer opens by a click. So has
  each exercise, without its solution.

What does not fit a slide goes on to the next (tools/slides.js, in the browser).
"""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

from bs4 import BeautifulSoup, NavigableString, Tag

from tools import apart
from tools.figures import VIEW
from tools.share import STATES

ROOT = Path(__file__).parents[1]
REVEAL = ROOT / "node_modules" / "reveal.js"
SENTENCE_END = re.compile(r"(?<=[.?!])['\")”’]*\s+(?![a-z])")
DEFINES = re.compile(r"^(def|class) ", re.MULTILINE)
DRAWN = re.compile("<svg|<img|<table|widget-view")
LONGEST = 22  # lines of code that stand on a slide
PAGE = """\
<!doctype html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="stylesheet" href="assets/reveal.css">
<link rel="stylesheet" href="assets/pygments.css">
<link rel="stylesheet" href="assets/course.css">
<link rel="stylesheet" href="assets/checks.css">
<link rel="stylesheet" href="assets/slides.css">
<script>window.MathJax = {{loader: {{load: []}}, tex: {{packages: ["base", "ams"]}}}};</script>
<script defer src="assets/mathjax/tex-chtml.js"></script>
<script defer src="assets/host.js"></script>
<script defer src="assets/checks.js"></script>
<script defer src="assets/reveal.js"></script>
<script defer src="assets/notes.js"></script>
<script defer src="assets/slides.js"></script>
{states}
</head>
<body>
<div class="reveal"><div class="slides">
{slides}
</div></div>
</body>
</html>
"""


@dataclass
class Slide:
    """What one slide shows, in its order, and what is said about it."""

    title: str
    name: str = ""
    kind: str = ""
    blocks: list[str] = field(default_factory=list)
    folded: str = ""
    notes: list[str] = field(default_factory=list)

    def html(self) -> str:
        """Return it as reveal.js takes it."""
        name = f' id="{self.name}"' if self.name else ""
        blocks = "\n".join(map(block, [*self.blocks[:-1], self._end]))
        return (
            f'<section class="{self.kind}"{name}>\n<h2>{self.title}</h2>\n{blocks}\n'
            f'<aside class="notes tex2jax_ignore">{"".join(self.notes)}</aside>\n</section>'
        )

    @property
    def _end(self) -> str:
        """Return the last block, with the code that made it."""
        return "".join(self.blocks[-1:]) + self.folded


def block(content: str) -> str:
    """Return what stays together; a sentence that leads on stays with what follows."""
    leads = " leads" if content.startswith('<p class="leads">') else ""
    return f'<div class="block{leads}">{content}</div>'


# --- sentences ------------------------------------------------------------------------


def sentences(paragraph: Tag) -> list[str]:
    """Return the sentences of a paragraph as HTML."""
    found = [""]
    for node in paragraph.children:
        if not isinstance(node, NavigableString):
            found[-1] += str(node)
            continue
        first, *more = SENTENCE_END.split(html.escape(node, quote=False))
        found[-1] += first
        found += more
    return [text.strip() for text in found if text.strip()]


def whole(paragraph: Tag) -> bool:
    """Return whether a paragraph begins in bold: a question, a theorem, something to try."""
    first = next((n for n in paragraph.children if str(n).strip()), None)
    return isinstance(first, Tag) and first.name == "strong"


def reads(paragraph: Tag, *, leads: bool) -> bool:
    """Return whether the first sentence of a paragraph reads what stands before it."""
    first, *more = sentences(paragraph)
    return not whole(paragraph) and not first.endswith("?") and bool(more or not leads)


def brief(paragraph: Tag, *, read: bool, leads: bool) -> str:
    """Return what a slide keeps of a paragraph.

    Parameters
    ----------
    paragraph : Tag
    read : bool, whether its first sentence stands on the slide before
    leads : bool, whether a formula or a cell comes next
    """
    if whole(paragraph) and not read:
        return paragraph.decode_contents()
    all_of_it = sentences(paragraph)[read:]
    kept = all_of_it[: 0 if read else 1]
    if leads and len(all_of_it) > len(kept):
        kept.append(all_of_it[-1])
    return " ".join(kept)


# --- cells ----------------------------------------------------------------------------


def shown(cell: Tag) -> list[str]:
    """Return the outputs of a cell that a slide shows; a stand-in for scripts is none."""
    outputs = cell.select(".cell_output > *")
    return [str(o) for o in outputs if not o.find("noscript") and str(o).strip()]


def code(cell: Tag) -> str:
    """Return the code of a cell: open, folded or not at all."""
    box = cell.select_one(".cell_input .highlight")
    text = box.get_text().strip() if box else ""
    plain = re.sub(r"^(from|import) .*(\((\n .*)*\n\))?$", "", text, flags=re.MULTILINE)
    if not plain.strip() or not box:
        return ""
    if DEFINES.search(text) and text.count("\n") < LONGEST and not shown(cell):
        return str(box)
    return f"<details><summary>Code</summary>{box}</details>"


# --- from a section to slides ---------------------------------------------------------


class Column:
    """The slides of one section, as they are filled."""

    def __init__(self, title: str, name: str = ""):
        self.slides: list[Slide] = []
        self.title = title
        self.begin(name)

    @property
    def last(self) -> Slide:
        """Return the slide that is being filled."""
        return self.slides[-1]

    def begin(self, name: str = "", kind: str = "") -> None:
        """Begin a slide, or take the last one if it is still empty."""
        if self.slides and not self.last.blocks:
            self.slides.pop()
        self.slides.append(Slide(self.title, name, kind))
        self.unread = False  # a result stands on the slide before this one

    def prose(self, paragraph: Tag, *, leads: bool) -> None:
        """Add a paragraph, of which the first sentence may read the last result."""
        read = self.unread and reads(paragraph, leads=leads)
        if read:
            self.slides[-2].blocks[-1] += f"<p>{sentences(paragraph)[0]}</p>"
            self.slides[-2].notes.append(str(paragraph))
        self.unread = False
        if kept := brief(paragraph, read=read, leads=leads):
            start = '<p class="leads">' if leads else "<p>"
            self.last.blocks.append(f"{start}{kept}</p>")
        if not read or kept:
            self.last.notes.append(str(paragraph))

    def cell(self, cell: Tag) -> None:
        """Add a cell; what it draws, or a table, ends the slide."""
        results, source = "".join(shown(cell)), code(cell)
        if not results.strip() or not DRAWN.search(results):
            self.last.blocks += [results + source] * bool(results + source)
            return
        self.last.blocks.append(results)
        self.last.folded = source
        self.begin()
        self.unread = True

    def question(self, details: Tag) -> None:
        """Give a question a slide of its own."""
        self.begin(kind="question")
        summary = details.select_one(".sd-summary-text")
        answer = details.select_one(".sd-summary-content")
        if summary and answer:
            self.last.blocks.append(
                f"<p>{summary.decode_contents()}</p><details><summary>Answer</summary>"
                f"{answer.decode_contents()}</details>"
            )
        self.begin()


def kinds(tag: Tag) -> set[str]:
    """Return the classes of an element."""
    return set(tag.get("class") or [])


def fill(column: Column, section: Tag) -> None:
    """Put the children of a section on slides, those of its sections too."""
    put(column, section.find_all(recursive=False))


def put(column: Column, children: Sequence[Tag]) -> None:
    """Put elements on slides, one after the other."""
    for child, after in zip(children, [*children[1:], None]):
        if child.name == "section":
            column.title = heading(child)
            column.begin(str(child.get("id", "")))
            (exercise if "exercise-" in str(child.get("id")) else fill)(column, child)
        elif child.name == "p":
            column.prose(child, leads=_leads(after))
        elif child.name == "details":
            column.question(child)
        elif "cell" in kinds(child):
            column.cell(child)
        elif child.name in ("div", "ul", "ol", "table", "blockquote", "figure"):
            column.unread = False
            column.last.blocks.append(str(child))


def _leads(after: Tag | None) -> bool:
    """Return whether what comes after a paragraph is what it leads to."""
    return after is not None and bool({"math", "cell"} & kinds(after))


def exercise(column: Column, section: Tag) -> None:
    """Put the task of an exercise on a slide, whole and without its solution."""
    for child in section.find_all(recursive=False):
        if "cell" in kinds(child) or child.name == "details":
            break
        if child.name != "h3":
            column.last.blocks.append(str(child))


def heading(section: Tag) -> str:
    """Return the heading of a section as HTML, without its link."""
    title = copy(section.find(re.compile("^h[1-6]$")))
    for link in title.select(".headerlink"):
        link.decompose()
    return title.decode_contents().strip()


# --- a deck ---------------------------------------------------------------------------


def columns(article: Tag) -> Iterator[list[Slide]]:
    """Yield the slides of a chapter, section by section."""
    top = article.select_one("section")
    assert top, "the page holds no section"
    yield opening(top)
    for section in top.find_all("section", recursive=False):
        column = Column(heading(section), str(section.get("id", "")))
        if section.get("id") in ("summary", "sources"):
            column.last.kind = str(section["id"])
            column.last.blocks += [
                str(c) for c in section.find_all(recursive=False)[1:]
            ]
        else:
            fill(column, section)
        yield merged(column.slides)


def opening(top: Tag) -> list[Slide]:
    """Return the first slide, with title and question, and those of an early figure."""
    column = Column(heading(top), str(top.get("id", "")))
    children = [c for c in top.find_all(recursive=False)[1:] if c.name != "section"]
    cells = [at for at, child in enumerate(children) if "cell" in kinds(child)]
    text = children[: min(cells, default=len(children))]
    early = children[len(text) :]
    column.last.kind = "title"
    put(column, text)
    if any(DRAWN.search("".join(shown(cell))) for cell in early):
        column.begin()
        put(column, early)
    else:
        column.last.notes += [str(child) for child in early if child.name == "p"]
    return column.slides


def merged(slides: list[Slide]) -> list[Slide]:
    """Return slides of which none has only a sentence or two of the one before."""
    found: list[Slide] = []
    for slide in slides:
        prose = not slide.kind and all(b.startswith("<p") for b in slide.blocks)
        before = found[-1] if found else None
        if before and prose and before.title == slide.title and not before.kind:
            before.blocks[-1] += before.folded
            before.folded = ""
            before.blocks += slide.blocks
            before.notes += slide.notes
        else:
            found.append(slide)
    return found


def tidy(article: Tag) -> None:
    """Take out what only a page of the book has use for."""
    for link in article.select("a[href*='references.html']"):
        link.unwrap()
    # Links to headings and solutions, the line that says what the page takes, a script
    # that the deck has.
    for part in article.select(
        ".headerlink, .chapter-line, .to-solution, script[src$='checks.js']"
    ):
        part.decompose()
    # The address of a slide is the slide's.
    for view in article.find_all("script", type=VIEW):
        model = json.loads(view.string)["model_id"]
        view.string = json.dumps({"model_id": model})


def deck(page: str) -> str:
    """Return the slides of a built chapter as a page."""
    soup = BeautifulSoup(page, "html.parser")
    article = soup.find("article")
    assert isinstance(article, Tag) and soup.title, "the page holds no article"
    tidy(article)
    groups = [
        [slide for slide in slides if slide.blocks or slide.kind == "title"]
        for slides in columns(article)
    ]
    states = STATES.search(page)
    return PAGE.format(
        title=html.escape(soup.title.get_text()),
        states=f"{states[1]}{states[2]}</script>" if states else "",
        slides="\n".join(
            "<section>\n" + "\n".join(slide.html() for slide in group) + "\n</section>"
            for group in groups
            if group
        ),
    )


def copy_assets(book: Path, folder: Path) -> None:
    """Put beside the decks what all of them load."""
    if not REVEAL.exists():
        sys.exit("reveal.js was not found: install Node with npm, then run npm ci")
    assets = folder / "assets"
    shutil.rmtree(assets, ignore_errors=True)
    assets.mkdir(parents=True)
    static = book / "_static"
    shutil.copytree(static / "mathjax", assets / "mathjax")
    dist = REVEAL / "dist"
    for file in (
        *(
            static / name
            for name in (
                "host.js",
                "checks.js",
                "checks.css",
                "pygments.css",
                "course.css",
            )
        ),
        *(dist / name for name in ("reveal.js", "reveal.css", "plugin/notes.js")),
        *(ROOT / "tools" / name for name in ("slides.js", "slides.css")),
    ):
        shutil.copy(file, assets)
    shutil.copy(REVEAL / "LICENSE", assets / "reveal-LICENSE")


def write(book: Path, folder: Path, names: list[str]) -> None:
    """Write the decks of some chapters of a built book."""
    copy_assets(book, folder)
    for name in names:
        path = book / "chapters" / name
        page = apart.whole(path.read_text(encoding="utf-8"), path.parent)
        (folder / name).write_text(deck(page), encoding="utf-8")


if __name__ == "__main__":
    book, folder = map(Path, sys.argv[1:3])
    write(book, folder, [path.name for path in sorted(book.glob("chapters/*.html"))])

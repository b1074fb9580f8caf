"""Print the built book as one PDF: title, contents, every page, an outline.

    python -m tools.pdf _build/html _build/neural-odes.pdf [--address https://...] [--only NAME]

Chromium prints each page, with numbers that go on from page to page; pypdf joins them.
On paper a live figure is its picture as the page opens, with the address where it moves,
as a QR code too if the book has one: `--address`, or `html: baseurl:` in the settings
that it was built with. Links within the book lead to the page of the PDF.
"""

from __future__ import annotations

import argparse
import html
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import segno
import yaml
from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.constants import PageLabelStyle
from pypdf.generic import ArrayObject, IndirectObject, NameObject

from tools import browser
from tools.apart import BRING, WAITING
from tools.weight import TYPESET

STYLE = Path(__file__).with_name("print.css")
BOOK = "https://book.invalid/"  # what links within the book begin with until they are joined
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# All is open; code of few lines stays together; links tell where they lead in the book.
PREPARE = """([style, base, name, note]) => {
  document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
  for (const details of document.querySelectorAll("details")) details.open = true;
  for (const summary of document.querySelectorAll("details.hide > summary"))
    summary.textContent = "Solution";
  for (const pre of document.querySelectorAll("pre"))
    pre.classList.toggle("short", pre.textContent.split("\\n").length <= 16);
  for (const link of document.querySelectorAll("article a[href]"))
    if (link.href.startsWith("file:"))
      link.href = base + link.href.slice(document.baseURI.lastIndexOf(name));
  for (const figure of document.querySelectorAll(".live-figure"))
    figure.insertAdjacentHTML("beforeend", note);
  return [...document.querySelectorAll("article :is(h1, h2, h3)")].filter((h) => h.checkVisibility())
    .map((h) => [h.closest("section").id, h.tagName]);
}"""
FRONT = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
@page {{ size: A4; margin: 22mm 24mm; }}
body {{ margin: 0; font: 10.5pt/1.5 system-ui, sans-serif; }}
.title {{ break-after: page; padding-top: 75mm; }}
.title h1 {{ font-size: 34pt; line-height: 1.15; margin: 0 0 8mm; }}
.title img {{ width: 26mm; }}
.title svg {{ width: 26mm; height: 26mm; margin-top: 30mm; }}
.contents h1 {{ font-size: 20pt; }}
.contents a {{ display: flex; color: inherit; text-decoration: none; break-inside: avoid; }}
.contents a i {{ flex: 1; margin: 0 2mm 1.4mm; border-bottom: 0.7pt dotted #999; }}
.contents .h1 {{ margin-top: 3mm; font-weight: 600; break-after: avoid; }}
.contents .h2 {{ padding-left: 6mm; font-size: 9.5pt; }}
</style>
<div class="title">{logo}<h1>{title}</h1><p>{author}</p><p>Text and figures: CC BY 4.0. Code: MIT.</p>{address}</div>
<div class="contents"><h1>Contents</h1>
{contents}
</div>
</html>
"""


@dataclass(frozen=True)
class Heading:
    """A heading, and the page of the book that it stands on, from 1.

    Attributes
    ----------
    text, level : str, int
    link : str, where it is in the book: `chapters/02_solving_an_ode.html#order`
    page : int
    """

    text: str
    level: int
    link: str
    page: int


# --- what is printed ------------------------------------------------------------------


def pages_of(book: Path) -> list[str]:
    """Return the names of the pages in their order, as `_toc.yml` has them."""
    toc = yaml.safe_load(Path("_toc.yml").read_text(encoding="utf-8"))
    files = [c["file"] for part in toc["parts"] for c in part["chapters"]]
    names = [f"{file}.html" for file in (toc["root"], *files)]
    missing = [name for name in names if not (book / name).exists()]
    if missing:
        raise FileNotFoundError(f"{book} does not hold {', '.join(missing)}: make book")
    return names


def address_of(name: str, address: str) -> str:
    """Return what stands below the picture of a live figure."""
    if not address:
        return f'<div class="poster"><p>This figure moves in the built book: {name}</p></div>'
    where = f"{address.rstrip('/')}/{name}"
    return (
        f'<div class="poster">{qr(where)}<p>This figure moves at<br>'
        f"{html.escape(where)}</p></div>"
    )


def qr(text: str) -> str:
    """Return a QR code as a drawing."""
    code = segno.make(text, error="m", micro=False)
    return code.svg_inline(border=1, omitsize=True)


def printed(page: Page, book: Path, name: str, *, address: str, first: int):
    """Print one page of the book.

    Returns
    -------
    (bytes, list of (id, tag)) : the PDF, and the headings that the page shows
    """
    page.goto((book / name).resolve().as_uri())
    page.evaluate(TYPESET)
    if "jupyter.widget-view" in (book / name).read_text(encoding="utf-8"):
        page.wait_for_selector("html[data-live=ready]")
        page.evaluate(BRING)
        page.wait_for_selector(WAITING, state="detached")
        page.wait_for_selector(".live:not([data-drawn])", state="detached")
    style = STYLE.read_text(encoding="utf-8")
    style += f"@page :first {{ counter-set: page {first}; }}"
    note = address_of(name, address)
    shown = page.evaluate(PREPARE, [style, BOOK, name, note])
    pdf = page.pdf(
        prefer_css_page_size=True, print_background=True, outline=True, tagged=True
    )
    return pdf, shown


# --- what is joined -------------------------------------------------------------------


def headings(reader: PdfReader, name: str, shown: list, first: int) -> list[Heading]:
    """Return the headings of one printed page of the book."""
    entries = list(_flat(reader, reader.outline))
    if len(entries) != len(shown):
        raise ValueError(
            f"{name} shows {len(shown)} headings, its outline has {len(entries)}"
        )
    return [
        Heading(text, int(tag[1]), f"{name}#{section}", first + page)
        for (text, page), (section, tag) in zip(entries, shown)
    ]


def _flat(reader: PdfReader, outline: list) -> Iterator[tuple[str, int]]:
    """Yield the titles of an outline and their pages, from 0."""
    for entry in outline:
        if isinstance(entry, list):
            yield from _flat(reader, entry)
        else:
            page = reader.get_destination_page_number(entry)
            yield " ".join(str(entry.title).split()), page or 0


def contents(found: list[Heading]) -> str:
    """Return the contents as HTML: chapters and their sections with their pages."""
    return "\n".join(
        f'<a class="h{h.level}" href="{BOOK}{html.escape(h.link)}">{html.escape(h.text)}'
        f"<i></i>{h.page}</a>"
        for h in found
        if h.level < 3
    )


def front(browser: Browser, found: list[Heading], config: dict, address: str) -> bytes:
    """Print title page and contents."""
    logo = Path(config["logo"]).read_text(encoding="utf-8")
    code = f"{qr(address)}<p>{html.escape(address)}</p>" if address else ""
    page = browser.new_page()
    page.set_content(
        FRONT.format(
            title=html.escape(config["title"]),
            author=html.escape(config["author"]),
            logo=f'<img alt="" src="data:image/svg+xml,{html.escape(_quoted(logo))}">',
            address=code,
            contents=contents(found),
        )
    )
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    page.close()
    return pdf


def _quoted(svg: str) -> str:
    """Return a drawing as a part of an address."""
    return svg.replace("%", "%25").replace("#", "%23").replace("\n", " ")


def joined(parts: list[bytes], found: list[Heading], config: dict) -> PdfWriter:
    """Join front and pages, with outline, page labels and links that lead on."""
    writer = PdfWriter()
    for part in parts:
        writer.append(io.BytesIO(part), import_outline=False)
    offset = len(PdfReader(io.BytesIO(parts[0])).pages)
    writer.set_page_label(0, offset - 1, style=PageLabelStyle.LOWERCASE_ROMAN)
    writer.set_page_label(
        offset, len(writer.pages) - 1, style=PageLabelStyle.DECIMAL, start=1
    )
    writer.add_metadata({"/Title": config["title"], "/Author": config["author"]})
    above: dict[int, IndirectObject] = {}
    for h in found:
        at = offset + h.page - 1
        parent = above.get(h.level - 1)
        above[h.level] = writer.add_outline_item(
            title=h.text, page_number=at, parent=parent
        )
    _lead_on(writer, {h.link: offset + h.page - 1 for h in reversed(found)})
    writer.compress_identical_objects()
    return writer


def _lead_on(writer: PdfWriter, places: dict[str, int]) -> None:
    """Turn links within the book into links to pages of the PDF."""
    firsts = {link.partition("#")[0]: page for link, page in places.items()}
    for page in writer.pages:
        for annotation in page.get("/Annots", []):
            link = annotation.get_object()
            where = str(link.get("/A", {}).get("/URI", ""))
            if not where.startswith(BOOK):
                continue
            name = where.removeprefix(BOOK)
            at = places.get(name, firsts.get(name.partition("#")[0]))
            del link["/A"]
            if at is not None:
                target = writer.pages[at].indirect_reference
                link[NameObject("/Dest")] = ArrayObject([target, NameObject("/Fit")])


def make(book: Path, names: list[str], config: dict, address: str) -> PdfWriter:
    """Print pages of the book and join them."""
    parts, found, first = [], [], 1
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=browser.find(), args=QUIET)
        page = chromium.new_page(viewport={"width": 900, "height": 1200})
        for name in names:
            pdf, shown = printed(page, book, name, address=address, first=first)
            reader = PdfReader(io.BytesIO(pdf))
            found += headings(reader, name, shown, first)
            first += len(reader.pages)
            parts.append(pdf)
        parts.insert(0, front(chromium, found, config, address))
        chromium.close()
    return joined(parts, found, config)


def main() -> None:
    """Print the book as the arguments say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("book", type=Path)
    parser.add_argument("pdf", type=Path)
    parser.add_argument("--address", default="", help="where the book is published")
    parser.add_argument("--only", action="append", help="a page of the book")
    given = parser.parse_args()
    built = (
        given.book.parent / "source" / "_config.yml"
    )  # may know where it is published
    config = yaml.safe_load(
        (built if built.exists() else Path("_config.yml")).read_text()
    )
    address = given.address or config.get("html", {}).get("baseurl", "")
    writer = make(given.book, given.only or pages_of(given.book), config, address)
    writer.write(given.pdf)
    print(f"{given.pdf}: {len(writer.pages)} pages")


if __name__ == "__main__":
    main()

"""Write each live figure of the built book as one HTML page, and name them in its pages.

    python -m tools.figures _build/html

`_build/html/figures/` holds a page for each live figure, as `figure.to_html()` makes it: it
loads nothing else, so a copy of the file is enough in a folder of your own site. `index.html`
beside them shows every figure in an <iframe>, with the lines to copy. In the book's pages a
figure gets its name in an address, and a link to its own page (`host.js` reads both).
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib.widgets.page.html import KIND, kind_of, page_with
from tools import address

__all__ = ["Figure", "figures", "name_in", "write"]

VIEW, STATES = f"{KIND}-view+json", f"{KIND}-state+json"
PLACE = re.compile(rf'(<script type="{re.escape(VIEW)}">)(.*?)(?=</script>)', re.DOTALL)
STILL = re.compile(
    r"<noscript><p>(.*?) It moves where JavaScript is on\.</p></noscript>"
)
# Three plots need more room than two, a listing too, and the pictures of three models most.
TALL = {
    "tolerance-explorer": "54rem",
    "step-explorer": "64rem",
    "train-explorer": "92rem",
    "digit-sampler": "68rem",
    "path-explorer": "58rem",
}
INDEX = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The live figures, to be embedded</title>
<style>
html {{ color-scheme: light dark; background: Canvas; color: CanvasText; }}
body {{ max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }}
iframe {{ width: 100%; border: 1px solid #888; }}
pre {{ overflow-x: auto; padding: 0.5rem; background: #8882; }}
</style>
</head>
<body>
<main>
<h1>The live figures, to be embedded</h1>
<p>Copy a file beside your page, and the lines under it into your page. It needs nothing else.</p>
{figures}
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Figure:
    """A live figure as a chapter shows it.

    Attributes
    ----------
    chapter : str, the name of its notebook, without ending; one without a number is
        no chapter and stands beside their folder
    place : str, its name in an address of the chapter's page: its kind, and a number
        from the second of the kind on
    sentence : str, what it is, where it cannot be seen
    state : dict, the values of its traits
    """

    chapter: str
    place: str
    sentence: str
    state: dict

    @property
    def name(self) -> str:
        """Return the name of its file: the chapter's number, and its place."""
        return f"{self.chapter.partition('_')[0]}-{self.place}"

    @property
    def frame(self) -> str:
        """Return the lines that embed it."""
        height = TALL.get(kind_of(self.state["_anywidget_id"]), "46rem")
        return (
            f'<iframe src="{self.name}.html" title="{html.escape(self.sentence)}"\n'
            f'  style="width: 100%; height: {height}; border: 0" loading="lazy" '
            'allow="fullscreen; clipboard-write"></iframe>'
        )

    def page(self, book: str = "") -> str:
        """Return its page, which leads back to the chapter if the book has an address."""
        folder = "chapters/" if self.chapter[0].isdigit() else ""
        back = f"{book}{folder}{self.chapter}.html#figure={self.place}" if book else ""
        return page_with(self.state, self.sentence, address=back, name=self.place)


# --- what the chapters show -----------------------------------------------------------


def figures(notebook: NotebookNode, chapter: str) -> dict[str, Figure]:
    """Return the live figures that an executed notebook shows by their models' names."""
    states = notebook.metadata.get("widgets", {}).get(STATES, {}).get("state", {})
    views = list(_views(notebook))
    kinds = [kind_of(states[model]["state"]["_anywidget_id"]) for _, model in views]
    return {
        model: Figure(chapter, place, sentence, states[model]["state"])
        for (sentence, model), place in zip(views, numbered(kinds))
    }


def _views(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    """Yield the sentence and the name of the model of each figure that is shown."""
    sentence = ""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if found := STILL.search(data.get("text/html", "")):
                sentence = html.unescape(found[1])
            if VIEW in data:
                yield sentence, data[VIEW]["model_id"]


def numbered(kinds: Iterable[str]) -> Iterator[str]:
    """Yield each kind, with a number from the second time on."""
    seen: Counter[str] = Counter()
    for kind in kinds:
        seen[kind] += 1
        yield f"{kind}-{seen[kind]}" if seen[kind] > 1 else kind


# --- what is written ------------------------------------------------------------------


def name_in(page: str, known: Mapping[str, Figure], folder: str) -> str:
    """Return a page of the book in which each view says its name and where it is alone."""
    models = [json.loads(text)["model_id"] for _, text in PLACE.findall(page)]
    kinds = (kind_of(known[model].state["_anywidget_id"]) for model in models)
    views = (
        {"model_id": model, "name": name, "alone": f"{folder}{known[model].name}.html"}
        for model, name in zip(models, numbered(kinds))
    )
    return PLACE.sub(lambda found: found[1] + json.dumps(next(views)), page)


def write(found: Iterable[Figure], folder: Path, book: str = "") -> None:
    """Write the page of each figure, and the page of all."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    for figure in found:
        page = folder / f"{figure.name}.html"
        page.write_text(figure.page(book), encoding="utf-8")
        lines = html.escape(figure.frame)
        shown.append(f"<h2>{figure.name}</h2>\n{figure.frame}\n<pre>{lines}</pre>")
    index = INDEX.format(figures="\n".join(shown))
    (folder / "index.html").write_text(index, encoding="utf-8")


def main() -> None:
    """Write the figures of the executed chapters into a built book."""
    book = Path(sys.argv[1])
    known: dict[str, Figure] = {}
    for path in sorted((book.parent / "executed").glob("*.ipynb")):
        known |= figures(nbformat.read(path, as_version=4), path.stem)
    for path in (*book.glob("*.html"), *book.glob("chapters/*.html")):
        page = path.read_text(encoding="utf-8")
        if PLACE.search(page):
            up = "../" * (len(path.relative_to(book).parts) - 1)
            named = name_in(page, known, f"{up}figures/")
            path.write_text(named, encoding="utf-8")
    repository = address.repository()
    site = address.site(repository) if repository else ""
    write(known.values(), book / "figures", site)


if __name__ == "__main__":
    main()

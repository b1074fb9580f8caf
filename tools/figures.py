"""Write each live figure of the book as one HTML page, to be embedded elsewhere.

    python -m tools.embeds _build/teach/embed

A page holds its figure, the figure's module and our host, and loads nothing else: a copy
of the file in a folder of your own site is enough, and it opens from the file system.
`index.html` beside them shows every figure in an <iframe>, with the lines to copy.
"""

from __future__ import annotations

import html
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib.widgets.page.html import KIND, page_with

VIEW, STATES = f"{KIND}-view+json", f"{KIND}-state+json"
STILL = re.compile(
    r"<noscript><p>(.*?) It moves where JavaScript is on\.</p></noscript>"
)
TALL = "46rem"  # for three plots
INDEX = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The live figures, to be embedded</title>
<style>
body {{ max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }}
iframe {{ width: 100%; border: 1px solid #ccc; }}
pre {{ overflow-x: auto; padding: 0.5rem; background: #f4f4f4; }}
</style>
</head>
<body>
<h1>The live figures, to be embedded</h1>
<p>Copy a file beside your page, and the lines under it into your page. It needs nothing else.</p>
{figures}
</body>
</html>
"""


@dataclass(frozen=True)
class Figure:
    """A live figure as a chapter shows it.

    Attributes
    ----------
    name : str, of its file: the chapter's number and the figure's kind
    sentence : str, what it is, where it cannot be seen
    state : dict, the values of its traits
    """

    name: str
    sentence: str
    state: dict

    @property
    def height(self) -> str:
        """Return the height that it takes in a column of 50rem."""
        return TALL if "tolerance" in self.name else "40rem"

    @property
    def frame(self) -> str:
        """Return the lines that embed it."""
        return (
            f'<iframe src="{self.name}.html" title="{html.escape(self.sentence)}"\n'
            f'  style="width: 100%; height: {self.height}; border: 0" loading="lazy">'
            "</iframe>"
        )


def figures(notebook: NotebookNode, chapter: str) -> Iterator[Figure]:
    """Yield the live figures that an executed notebook shows, in their order."""
    states = notebook.metadata.get("widgets", {}).get(STATES, {}).get("state", {})
    seen: Counter[str] = Counter()
    for sentence, model in _views(notebook):
        state = {
            name: value
            for name, value in states[model]["state"].items()
            if name in ("_esm", "_css") or not name.startswith("_")
        }
        kind = _kind(states[model]["state"]["_anywidget_id"])
        seen[kind] += 1
        again = f"-{seen[kind]}" if seen[kind] > 1 else ""
        yield Figure(f"{chapter}-{kind}{again}", sentence, state)


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


def _kind(name: str) -> str:
    """Return `course_lib.widgets.StepSizeExplorer` as `step-size-explorer`."""
    words = re.findall("[A-Z][a-z]*", name.rpartition(".")[2])
    return "-".join(words).lower()


def write(executed: list[Path], folder: Path) -> list[Figure]:
    """Write a page for each figure of executed notebooks, and the page of all."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [
        figure
        for path in executed
        for figure in figures(
            nbformat.read(path, as_version=4), path.stem.partition("_")[0]
        )
    ]
    for figure in found:
        page = page_with(figure.state, figure.sentence)
        (folder / f"{figure.name}.html").write_text(page, encoding="utf-8")
    shown = "\n".join(
        f"<h2>{figure.name}</h2>\n{figure.frame}\n<pre>{html.escape(figure.frame)}</pre>"
        for figure in found
    )
    index = INDEX.format(figures=shown)
    (folder / "index.html").write_text(index, encoding="utf-8")
    return found


if __name__ == "__main__":
    write(sorted(Path("_build/executed").glob("*.ipynb")), Path(sys.argv[1]))

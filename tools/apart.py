"""Keep what is large in the states of live figures in files of their own.

    python -m tools.apart _build/html

A figure may carry a model of hundreds of kilobytes, which a page that is read from its top
needs late or never. A value of more than `LARGE` characters moves to a file; the state says
where, and `course_lib/widgets/page/host.js` brings it when the place of the figure comes
near. The file is a script, because a page that is opened from a disk may load nothing else.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from tools.share import with_states

LARGE = 200_000  # characters
FOLDER = Path("_static/apart")
# A script may leave something at its own element, and there the page looks for it.
HEAD, TAIL = "document.currentScript.value = ", ";\n"

# To be evaluated in a page that is ready: every figure comes, and then none waits.
BRING = "() => dispatchEvent(new Event('beforeprint'))"
WAITING = ".live-figure[data-live=waiting]"


def taken_apart(states: dict, up: str) -> tuple[dict, dict[str, str]]:
    """Return the states of a page's figures without what is large, and that by file names.

    Parameters
    ----------
    states : dict, as a page holds it
    up : str, the way from the page to the book's folder, "" or "../"
    """
    records, files = {}, {}
    for model, record in states["state"].items():
        state, apart = dict(record["state"]), {}
        for name, value in record["state"].items():
            text = json.dumps(value)
            if len(text) > LARGE:
                file = f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.js"
                files[file] = f"{HEAD}{text}{TAIL}"
                apart[name] = f"{up}{FOLDER}/{file}"
                del state[name]
        records[model] = record | {"state": state} | ({"apart": apart} if apart else {})
    return states | {"state": records}, files


def put_together(states: dict, folder: Path) -> dict:
    """Return the states of a page in `folder` with all that was taken out of them."""
    records = {}
    for model, record in states["state"].items():
        away = {
            name: json.loads((folder / file).read_text()[len(HEAD) : -len(TAIL)])
            for name, file in record.get("apart", {}).items()
        }
        kept = {name: value for name, value in record.items() if name != "apart"}
        records[model] = kept | {"state": record["state"] | away}
    return states | {"state": records}


def whole(page: str, folder: Path) -> str:
    """Return a page of the book, which lies in `folder`, with all that was taken out."""
    return with_states(page, lambda states: put_together(states, folder))


def take_apart(book: Path, path: Path) -> None:
    """Write a page of the book anew if something in it is large, and its files."""
    up = "../" * (len(path.relative_to(book).parts) - 1)
    files: dict[str, str] = {}

    def without(states: dict) -> dict:
        left, away = taken_apart(states, up)
        files.update(away)
        return left

    page = with_states(path.read_text(encoding="utf-8"), without)
    if not files:
        return
    path.write_text(page, encoding="utf-8")
    folder = book / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    book = Path(sys.argv[1])
    for path in book.rglob("*.html"):
        take_apart(book, path)

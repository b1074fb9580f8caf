"""Keep the scripts of a page's live figures and checks once a page, however many it has.

    python -m tools.share _build/html

In the states that a page holds every figure carries its whole module. Here the module's
files move to `texts` beside the states, each once, and a state lists the places of its
own; `course_lib/widgets/page/host.js` puts them together. JupyterLab and Colab keep the
whole text.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from course_lib.widgets.page import module
from tools import checks

STATES = re.compile(
    r'(<script type="application/vnd\.jupyter\.widget-state\+json">)(.*?)(?=</script>)',
    re.DOTALL,
)


def share(states: dict) -> dict:
    """Return the states of a page's widgets with `texts` that the figures share."""
    files = [file.name for file in module.FIGURES.glob("*.mjs")]
    known = {module.module(name): module.parts(name) for name in files}
    texts: dict[str, int] = {}  # and their places
    for record in states["state"].values():
        for name in ("_esm", "_css"):
            if text := record["state"].get(name):
                parts = known.get(text, (text,))
                places = [texts.setdefault(part, len(texts)) for part in parts]
                record["state"][name] = places
    return states | {"texts": list(texts)}


def with_states(page: str, change: Callable[[dict], dict]) -> str:
    """Return a page that holds the states of its figures as `change` returns them."""
    # Within a script "<" could begin a tag; within JSON it may be written in full.
    return STATES.sub(
        lambda found: (
            found[1] + json.dumps(change(json.loads(found[2]))).replace("<", "\\u003c")
        ),
        page,
    )


def share_in(page: str) -> str:
    """Return a page whose figures share their texts."""
    return with_states(page, share)


if __name__ == "__main__":
    book = Path(sys.argv[1])
    for file in book.rglob("*.html"):
        page = file.read_text(encoding="utf-8")
        up = "../" * (len(file.relative_to(book).parts) - 1)
        if (made := checks.shared(share_in(page), up)) != page:
            file.write_text(made, encoding="utf-8")

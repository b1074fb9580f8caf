"""What a page of the book weighs: the files it loads, each gzipped where that is smaller."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Iterable
from pathlib import Path

PAGE = 600_000  # bytes, at most, with everything that loads before its reader goes on

# To be evaluated in a page that has fired `load`, when every deferred script has run:
# formulas are set, and the fonts that they need, which are most of MathJax, are here.
TYPESET = """async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
}"""


@functools.cache
def weight(path: Path) -> int:
    """Return the bytes of a file as it travels."""
    body = path.read_bytes()
    return min(len(body), len(gzip.compress(body)))


def weights(paths: Iterable[Path]) -> dict[str, int]:
    """Return the bytes of each file by its name, each file once, the heaviest first."""
    sizes = {path.name: weight(path) for path in set(paths)}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))

"""Ask every address that the built book names whether it still answers.

    python -m tools.links

It needs a network. A page that asks visitors to sign in, or to prove that they are
people, counts as there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tools import plain

__all__ = ["broken"]

LINKS = plain.BUILD / "links"
# Anchors are often made by scripts, which nobody runs here.
PATIENCE = ["linkcheck_anchors=0", "linkcheck_timeout=30", "linkcheck_retries=3"]
GUARDED = ("401", "403", "429")


def broken(report: Path) -> list[str]:
    """The addresses that do not answer, one line each, from Sphinx's report."""
    lines = report.read_text(encoding="utf-8").splitlines()
    found = [row for row in map(json.loads, lines) if row["status"] == "broken"]
    return sorted(
        f"{row['uri']} ({row['filename']}:{row['lineno']}): {row['info']}"
        for row in found
        if not row["info"].startswith(GUARDED)
    )


if __name__ == "__main__":
    options = [part for setting in PATIENCE for part in ("-D", setting)]
    plain.build(plain.configured(LINKS), LINKS, *options, builder="linkcheck")
    if lines := broken(LINKS / "output.json"):
        sys.exit("\n".join(lines))
    print("every address answers")

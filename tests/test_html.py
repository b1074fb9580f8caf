"""The built pages are what HTML allows."""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT
from pages import HTML
from playwright._impl._driver import compute_driver_executable

from tools.mend import mend, mended

VALIDATOR = ROOT / "node_modules" / "html-validate" / "bin" / "html-validate.mjs"
ALL = sorted(map(str, HTML.rglob("*.html")))


def complaints(*files) -> list[str]:
    """What html-validate finds in the files, one line each."""
    if not VALIDATOR.exists() and not os.environ.get("CI"):
        pytest.skip("html-validate is not installed: make scripts does it, with npm")
    node, *_ = compute_driver_executable()  # playwright brings its own
    how = ["--config", ROOT / ".htmlvalidate.mjs", "--formatter", "text"]
    run = subprocess.run(
        [node, VALIDATOR, *how, *files], capture_output=True, text=True, cwd=ROOT
    )
    assert (run.returncode == 0) == (run.stdout == ""), run.stdout + run.stderr
    return run.stdout.splitlines()


def test_there_are_pages():
    assert len(ALL) > 20


def test_every_page_is_valid():
    assert complaints(*ALL) == []


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ("<p><ul><li>a</li></ul></p>", "close-order"),
        ("<div><li>a</li></div>", "element-permitted"),
        ("<details><summary><p>a</p></summary></details>", "permitted-content"),
        ("<div><style>p {}</style></div>", "permitted-content"),
        ('<p id="a">a</p><p id="a">b</p>', "no-dup-id"),
        ("<p>a</span></p>", "close-order"),
    ],
)
def test_a_wrong_page_is_found(tmp_path, wrong, rule):
    page = tmp_path / "page.html"
    head = '<head><meta charset="utf-8"><title>A page</title></head>'
    page.write_text(f'<!DOCTYPE html><html lang="en">{head}<body>{wrong}</body></html>')
    assert any(rule in line for line in complaints(page))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.removeprefix(f"{HTML}/"))
def test_no_name_is_given_twice_on_a_page_in_a_figure_either(path):
    """The validator does not look into drawings."""
    page = re.sub(r"<script.*?</script>", "", Path(path).read_text(), flags=re.DOTALL)
    named = Counter(re.findall(r'<[^>]*?\sid="([^"]+)"', page))
    assert [name for name, times in named.items() if times > 1] == []


# --- what is mended -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('<summary><p class="a">b</p></summary><p>c</p>', None),
        (
            "<dd><p><ul><li><p>a</p></li></ul>\n</p></dd>",
            "<dd><ul><li><p>a</p></li></ul></dd>",
        ),
        (
            '<style>pre {}</style><div class="highlight">a</div>',
            '<div class="highlight">a</div>',
        ),
        ("<style>pre {}</style><svg></svg>", "<style>pre {}</style><svg></svg>"),
        ("<p>a <b>b</b></p><ul><li>c</li></ul>",) * 2,
    ],
)
def test_what_html_does_not_allow_is_mended_and_the_rest_stays(page, expected):
    expected = expected or '<summary><span class="a">b</span></summary><p>c</p>'
    assert mended(page) == expected
    assert mended(expected) == expected


def test_templates_are_no_pages_and_the_first_page_leads_to_the_introduction(tmp_path):
    (tmp_path / "webpack-macros.html").write_text("{{ macro }}")
    mend(tmp_path)
    (page,) = tmp_path.iterdir()
    assert page.name == "index.html"
    assert "url=intro.html" in page.read_text()

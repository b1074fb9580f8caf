"""What a page of the book may run: its own scripts and its figures, nothing else."""

import re

import pages
import pytest
from pages import HTML, PAGES

from tools.policy import digest, with_policy

HEAD = '<head><meta charset="utf-8" />'


def test_an_inline_script_is_let_through_by_its_hash_and_data_is_not_run():
    page = with_policy(
        f'{HEAD}<script>run()</script><script type="a/json">{{"a": 1}}</script>'
        '<script src="a.js"></script></head><button onclick="go(&quot;x&quot;)">'
    )
    policy = re.search(r'content="([^"]*)"', page)[1]
    assert digest("run()") in policy
    assert digest('go("x")') in policy
    assert "'unsafe-hashes'" in policy
    assert policy.count("sha256-") == 2
    assert page.index("charset") < page.index("Content-Security") < page.index("run()")


def test_the_hash_of_a_script_is_the_one_browsers_know():
    # The example of the specification, Content Security Policy Level 3, section 2.3.1.
    expected = "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
    assert digest("alert('Hello, world.');") == expected


def test_a_page_without_a_place_for_its_policy_is_refused():
    with pytest.raises(ValueError, match="encoding"):
        with_policy('<head><script>run()</script><meta charset="utf-8" /></head>')


@pytest.mark.parametrize("name", PAGES)
def test_every_page_says_what_it_may_run_and_never_any_inline_script(name):
    policy = re.search(
        r'http-equiv="Content-Security-Policy" content="([^"]*)"',
        (HTML / name).read_text(),
    )[1]
    scripts = policy.split("script-src")[1].split(";")[0]
    assert "unsafe-inline" not in scripts
    assert "unsafe-eval" not in scripts
    assert "http" not in policy


@pytest.mark.parametrize("base", [f"{HTML.as_uri()}/"], ids=["from files"])
def test_a_script_that_was_not_in_the_page_does_not_run(browser, base):
    with pages.visited(browser, base, "intro.html") as visit:
        visit.page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "window.intruder = true";
                document.body.append(script);
            }"""
        )
        assert visit.page.evaluate("window.intruder") is None
        assert any("Content Security Policy" in said for said in visit.said)

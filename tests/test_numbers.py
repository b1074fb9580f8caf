"""Numbers in prose come from a cell, a formula or a record; those that do not are listed."""

import json

import nbformat
import pytest
import yaml
from conftest import ROOT
from test_chapters import by_run
from vouched import numbers, sentences, told, unfounded, unfounded_in, values

ALLOWED = yaml.safe_load((ROOT / "tests" / "numbers.yml").read_text())
FRONT = ("README.md", "intro.md", "teaching.md")


def check(page: str, missing: list) -> None:
    """The numbers that nothing vouches for are those that are allowed, each of them."""
    allowed = ALLOWED.get(page, {})
    assert [(n.text, n.sentence) for n in missing if n.text not in allowed] == []
    assert sorted({n.text for n in missing}) == sorted(allowed)


@by_run
def test_every_number_in_the_prose_of_a_chapter_comes_from_its_cells(path):
    check(path.stem, unfounded_in(nbformat.read(path, as_version=4).cells))


@pytest.mark.parametrize("name", FRONT)
def test_every_number_of_a_front_page_comes_from_a_record(name):
    stored = (ROOT / "course_lib" / "bundled").glob("*/*.json")
    known = values(
        text for path in stored for text in told(json.loads(path.read_text()))
    )
    check(name, unfounded((ROOT / name).read_text(), known))


def test_only_what_is_a_page_may_have_numbers_of_its_own():
    pages = {path.stem for path in (ROOT / "chapters").glob("*.ipynb")}
    assert set(ALLOWED) <= pages | set(FRONT)


# --- the search itself ----------------------------------------------------------------


def texts(prose: str) -> list[str]:
    return [n.text for sentence in sentences(prose) for n in numbers(sentence)]


@pytest.mark.parametrize(
    ("prose", "found"),
    [
        ("It takes 1.5 s, 20,000 points and 250 steps.", ["1.5", "20,000", "250"]),
        ("It falls by 12% to $3 \\cdot 10^{-4}$.", ["12%", "3 \\cdot 10^{-4}"]),
        (
            "It falls to $3.1 \\cdot 10^{-4}$ and 0.5\\%.",
            ["3.1 \\cdot 10^{-4}", "0.5\\%"],
        ),
        ("Twelve, 12 or 99 of them in 1998.", []),
        ("At a tolerance of $10^{-12}$, $x^{250}$, $y_{300}$.", []),
        ("See [](02_x.ipynb), `rtol=0.001` and [page 250](a/b/333.html).", []),
        ("{cite:t}`chen2018` report 0.42%. Here it is 0.51%.", ["0.51%"]),
        ("```python\nx = 0.125\n```\n\n$$x = 0.25$$\n\nThen 0.375.", ["0.375"]),
        ("```{dropdown} What is 0.125?\nIt is 0.25.\n```", ["0.125", "0.25"]),
        ("```\nx = 0.125\n```\n\n:::{tip}\nIt is 0.25.\n:::", ["0.25"]),
        ("| a | 0.125 |\n| --- | --- |\n| b | 0.25 |", ["0.125", "0.25"]),
        ("For $0 < h$ it is 0.125, for $h > 2$ it is not.", ["0.125"]),
    ],
)
def test_what_is_looked_for(prose, found):
    assert texts(prose) == found


@pytest.mark.parametrize(
    ("prose", "shown", "missing"),
    [
        ("It is 0.12.", "0.1249", []),
        ("It is 0.12.", "0.1251", ["0.12"]),
        ("It is 0.12.", "0.13", ["0.12"]),
        ("It loses 12% of it.", "lost 0.1184", []),
        ("It loses 12% of it.", "lost 11.8%", []),
        ("It loses 12% of it.", "lost 13%", ["12%"]),
        ("It takes about 4000 steps.", "3987", []),
        ("It takes 4000 steps.", "3987", ["4000"]),
        ("It takes about 4000 steps.", "4600", ["4000"]),
        ("It is $3.1 \\cdot 10^{-4}$.", "off by 3.13e-04", []),
        ("It is $3.1 \\cdot 10^{-4}$.", "off by 3.13e-03", ["3.1 \\cdot 10^{-4}"]),
        ("It has 208,266 weights.", "208266", []),
        ("That is $2^{1/5} \\approx 1.15$.", "", []),
        ("That is $2^{1/5} \\approx 1.25$.", "", ["1.25"]),
        ("That is $h = \\sqrt 8 \\approx 2.83$.", "", []),
    ],
)
def test_a_number_is_found_where_something_rounds_to_it(prose, shown, missing):
    assert [n.text for n in unfounded(prose, values([shown]))] == missing


def cell(kind: str, source: str, shown: str = "") -> nbformat.NotebookNode:
    made = getattr(nbformat.v4, f"new_{kind}_cell")(source)
    if shown:
        made.outputs = [nbformat.v4.new_output("stream", text=shown)]
    return made


def test_what_a_later_section_shows_is_no_source_and_what_an_earlier_one_shows_is():
    shows = cell("code", "print(x)", "0.125\n")
    first, second = (cell("markdown", f"## {k}\n\nIt is 0.125.") for k in "ab")
    assert len(unfounded_in([first, cell("markdown", "## b"), shows])) == 1
    assert unfounded_in([first, shows, second]) == []
    assert unfounded_in([cell("code", "x = 0.125"), second]) == []


def test_the_words_of_a_figure_are_a_source_and_the_numbers_on_its_axes_are_not():
    text = '<g id="{}"><text>{}</text></g>'
    svg = (
        '<figure><svg xmlns="http://www.w3.org/2000/svg">'
        f"{text.format('xtick_1', '0.125')}{text.format('text_1', 'ends at 0.25')}</svg>"
    )
    drawn = cell("code", "shown(fig)")
    drawn.outputs = [nbformat.v4.new_output("display_data", {"text/html": svg})]
    missing = unfounded_in([drawn, cell("markdown", "From 0.125 to 0.25.")])
    assert [n.text for n in missing] == ["0.125"]


def test_what_a_clock_measured_is_no_source():
    took = cell("code", "race()")
    table = (
        "| way | time | error |\n| :--- | ---: | ---: |\n| direct | 0.125 | 0.25 |\n"
    )
    took.outputs = [
        nbformat.v4.new_output("display_data", {"text/markdown": table}),
        nbformat.v4.new_output("stream", text="0.375 s, off by 0.5\n1.5e+03 ms"),
    ]
    prose = cell("markdown", "From 0.125 to 0.25, 0.375 and 0.5, then 1,500.")
    missing = unfounded_in([took, prose])
    assert [n.text for n in missing] == ["0.125", "0.375", "1,500"]


def test_a_record_is_a_source_by_its_single_numbers_and_the_length_of_a_curve():
    record = {"rows": [{"rmse": 0.125, "losses": [0.25, 0.5], "train": "8,000 series"}]}
    assert values(told(record)) == {0.125, 2.0, 8000.0}

"""What a live figure sends to the browser: one module, small, and a page of its own."""

import gzip
import json
import re

import pytest
from figures import flow

from course_lib import widgets
from course_lib.widgets import LiveFigure, StepSizeExplorer, TrainExplorer
from course_lib.widgets.page import module
from course_lib.widgets.page.html import LAYOUT, page_of

FIGURES = [
    kind
    for kind in (getattr(widgets, name) for name in widgets.__all__)
    if issubclass(kind, LiveFigure) and kind is not LiveFigure
]
every_figure = pytest.mark.parametrize("kind", FIGURES, ids=lambda kind: kind.__name__)


@every_figure
def test_a_figure_travels_as_one_module_without_imports(kind):
    source = kind._esm
    assert not re.search(r"^import |^export (?!default)", source, re.MULTILINE)
    assert source.count("export default") == 1
    assert "http" not in source.replace("http://www.w3.org/2000/svg", "")


@every_figure
def test_a_figure_weighs_at_most_16_kb_gzipped_as_it_travels_and_32_if_it_trains(kind):
    travels = (kind._esm + kind._css).encode()
    most = 32 if kind is TrainExplorer else 16
    assert len(gzip.compress(travels)) <= most * 1024


def test_a_script_travels_without_comments_and_air_and_with_all_else(
    tmp_path, monkeypatch
):
    source = """\
// A line.
/** A block
 * of lines.
 */
export const f = (/** @type {number} */ x) =>
  /** @type {any} */ (x).y; // beside

/** One. */
const url = "a//b";
"""
    (tmp_path / "one.mjs").write_text(source)
    monkeypatch.setattr(module, "FIGURES", tmp_path)
    assert module.script("one.mjs").splitlines() == [
        "export const f = (x) =>",
        "(x).y;",
        'const url = "a//b";',
    ]


def test_every_method_and_system_has_a_name_for_menus():
    for table in ("METHODS", "SYSTEMS"):
        (text,) = re.findall(rf"^export const {table} = (.*);$", module.tables(), re.M)
        labels = [row["label"] for row in json.loads(text).values()]
        assert all(labels)
        assert len(set(labels)) == len(labels)


def state_in(page: str) -> dict:
    """Return the state of the only figure in a page."""
    (text,) = re.findall(r'state\+json">(.*)</script>', page)
    (record,) = json.loads(text)["state"].values()
    return record["state"]


def test_a_page_of_a_figure_holds_all_that_it_needs():
    figure = flow(method="rk4")
    page = page_of(figure)
    outside = page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "http" not in outside
    assert not re.search(r"<link|\ssrc=", page)
    assert f"<noscript><p>{figure.still}" in page
    state = state_in(page)
    assert state["_esm"] == figure._esm
    for name in figure.trait_names(sync=True):
        if not name.startswith("_") and name not in LAYOUT:
            assert state[name] == figure.get_state(name)[name]


def test_a_page_can_show_a_state_that_differs_and_no_text_of_it_ends_the_script():
    state = state_in(page_of(StepSizeExplorer(), step_size=0.5, _esm="</script><!--"))
    assert (state["step_size"], state["_esm"]) == (0.5, "</script><!--")
    assert state["problem"] == "spiral"

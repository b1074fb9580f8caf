"""Figures: drawings that take the page's colours, describe themselves and do not get in
each other's way.
"""

from __future__ import annotations

import inspect
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from course_lib import models, plotting
from course_lib.solvers import rk_step, tableaus

matplotlib.use("agg")
ALT = "Two lines that cross once, near the middle."


@pytest.fixture(autouse=True)
def no_figures_left():
    """A test starts and ends without open figures, and with matplotlib's own style."""
    plt.close("all")
    with plt.rc_context():
        yield
    plt.close("all")


def crossing(**settings) -> plt.Figure:
    """A figure with a title, labels, a legend, a clipped line and an image."""
    figure, ax = plotting.new_figure(**settings)
    ax.plot([0, 1], [0, 1], label="up")
    ax.plot([0, 1], [1, 0], label="down")
    ax.imshow(np.eye(3), extent=(0, 1, 0, 1))
    ax.set(title="They cross", xlabel="$t$", ylabel="height")
    ax.legend()
    ax.annotate("here", (0.5, 0.5))
    return figure


def drawing(**settings) -> str:
    return plotting.shown(crossing(**settings), ALT).data


class Attributes(HTMLParser):
    """Every (tag, attributes) of a page, in order."""

    def __init__(self, page: str):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_a_figure_is_shown_as_one_inline_drawing_of_well_formed_svg():
    page = drawing()
    figure = ElementTree.fromstring(page)
    assert figure.tag == "figure"
    assert figure.get("class") == "course-figure"
    assert [child.tag for child in figure] == ["{http://www.w3.org/2000/svg}svg"]
    assert "<metadata" not in page


def test_two_pictures_alike_in_a_figure_do_not_share_a_name():
    figure, axes = plotting.new_figure(1, 2)
    for ax in axes:
        ax.imshow(np.eye(3))
    tags = Attributes(plotting.shown(figure, ALT).data).found
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert sum(tag == "image" for tag, _ in tags) == 2
    assert len(set(names)) == len(names)


def test_lines_and_text_take_the_colour_of_the_page():
    page = drawing()
    assert plotting.INK not in page
    assert "currentColor" in page


def words(element: ElementTree.Element, fill: str = "black") -> list[tuple[str, str]]:
    """Every text of a drawing with the colour it inherits or has."""
    if found := re.search(r"\bfill: ([^;]+)", element.get("style", "")):
        fill = found[1]
    if element.tag.endswith("}text"):
        return [("".join(element.itertext()).strip(), fill)]
    return [word for child in element for word in words(child, fill)]


def test_every_word_is_text_in_the_colour_of_the_page():
    """Title, labels, ticks, legend and annotation, though they were written after the
    figure was made.
    """
    found = words(ElementTree.fromstring(drawing()))
    assert {"They cross", "t", "height", "up", "down", "here", "0.0"} <= {
        text for text, _ in found
    }
    assert {colour for _, colour in found} == {"currentColor"}


def test_no_black_is_left_that_would_vanish_on_a_dark_page():
    assert not re.findall(r"(?:fill|stroke): ?(?:#000000|black)", drawing())


def test_the_background_is_the_page():
    for _, attributes in Attributes(drawing()).found:
        assert "#ffffff" not in (attributes.get("style") or "")


def test_two_figures_on_a_page_share_no_id_and_every_reference_finds_its_target():
    pages = [drawing(), drawing()]
    ids = [set(re.findall(r'\bid="([^"]*)"', page)) for page in pages]
    assert ids[0]
    assert not ids[0] & ids[1]
    for page, names in zip(pages, ids):
        references = re.findall(r'(?:href="#|url\(#)([^")]*)', page)
        assert references
        assert set(references) <= names


@pytest.mark.parametrize(
    "alt",
    [ALT, 'Euler\'s path is <below> the "exact" one & leaves it.'],
    ids=["plain", "marked"],
)
def test_the_description_is_there_word_for_word(alt):
    svg = next(
        attributes
        for tag, attributes in Attributes(plotting.shown(crossing(), alt).data).found
        if tag == "svg"
    )
    assert svg["role"] == "img"
    assert svg["aria-label"] == alt


@pytest.mark.parametrize("alt", ["", "figure", "a plot of losses"])
def test_a_description_that_is_not_a_sentence_is_refused(alt):
    with pytest.raises(
        ValueError,
        match=f"alt must be a sentence that says what the figure shows, got {alt!r}",
    ):
        plotting.shown(crossing(), alt)


def test_a_shown_figure_is_closed_so_that_a_notebook_does_not_show_it_twice():
    drawing()
    assert plt.get_fignums() == []


def test_the_same_figure_is_drawn_the_same_every_time():
    first, second = (re.sub(r"figure\d+-", "", drawing()) for _ in range(2))
    assert first == second


def test_a_figure_brings_no_style_sheet_for_it_would_reach_the_whole_page():
    assert "<style" not in drawing()
    (style,) = re.findall(r'<svg [^>]*?style="([^"]*)"', drawing())
    assert style.endswith("stroke-linejoin: round; stroke-linecap: butt")


def test_a_new_figure_has_the_size_asked_for():
    figure, axes = plotting.new_figure(2, 3, height=5.0, width=4.0, sharex=True)
    assert axes.shape == (2, 3)
    assert tuple(figure.get_size_inches()) == (4.0, 5.0)


def test_a_table_refuses_a_header_that_cannot_be_read_aloud():
    for header in (["", "error"], ["method", "$y_0$"]):
        with pytest.raises(ValueError, match="header with a word"):
            plotting.table(header, [["euler", 0.5]])


def test_a_table_is_markdown_with_names_on_the_left_and_numbers_on_the_right():
    table = plotting.table(["method", "error"], [["euler", 0.5], ["rk4", "1e-9"]]).data
    assert table.splitlines() == [
        "| method | error |",
        "| :--- | ---: |",
        "| euler | 0.5 |",
        "| rk4 | 1e-9 |",
    ]


@pytest.mark.parametrize(
    ("entry", "written"),
    [
        ("sum of |ΔW|", r"sum of \|ΔW\|"),
        ("$h|λ|$ = 2", r"$h\vert λ\vert $ = 2"),
        (r"$\|x\|$ and |y|", r"$\Vert x\Vert $ and \|y\|"),
    ],
)
def test_a_bar_in_an_entry_of_a_table_does_not_end_it(entry, written):
    table = plotting.table(["name", entry], [[entry, 1]]).data.splitlines()
    assert table[0] == f"| name | {written} |"
    assert table[2] == f"| {written} | 1 |"


def test_a_table_refuses_a_row_that_is_shorter_or_longer_than_its_header():
    for row in (["euler"], ["euler", 1, 2]):
        with pytest.raises(
            ValueError, match=r"every row needs 2 entries, got \['euler'"
        ):
            plotting.table(["method", "error"], [["rk4", 1], row])


@pytest.mark.parametrize("colour", plotting.CYCLE)
def test_a_colour_stands_out_from_white_and_from_black(colour):
    """By at least 2 to 1 (WCAG's contrast of luminances)."""
    channels = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(
        channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) >= 2
    assert (luminance + 0.05) / 0.05 >= 2


# --- sources --------------------------------------------------------------------------


def test_sources_are_shown_one_after_the_other_as_they_are_written():
    shown = plotting.source(models.ResNet, rk_step)
    assert shown.language == "python"
    assert shown.data.startswith("class ResNet(nn.Module):\n")
    assert "\n\n\ndef rk_step(" in shown.data
    assert inspect.getsource(rk_step) in shown.data


def test_a_module_is_shown_whole_and_a_method_from_the_margin():
    assert plotting.source(tableaus).data == inspect.getsource(tableaus)
    method = plotting.source(models.ResNet.forward).data
    assert method.startswith("def forward(self, y: Tensor) -> Tensor:\n    ")
    assert method.endswith("\n    return self.hidden_states(y)[-1]\n")


def test_a_table_is_named_and_shown_from_its_name_to_its_end():
    table = plotting.source("course_lib.models.classifiers.DIGIT_MODELS").data
    assert table.startswith("DIGIT_MODELS: dict")
    assert table.endswith("\n}\n")
    assert all(f'"{name}"' in table for name in models.DIGIT_MODELS)
    assert plotting.source("course_lib.plotting.INK").data.startswith("INK = ")


def test_a_name_without_a_value_is_refused():
    with pytest.raises(ValueError, match=r"course_lib.models has no statement `NO_"):
        plotting.source("course_lib.models.NO_MODELS")


# --- drawings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [[1.0, 2.0], np.array([1.0, 2.0]), torch.tensor([1.0, 2.0], requires_grad=True)],
)
def test_tensors_sequences_and_arrays_can_be_drawn_alike(x):
    assert isinstance(plotting.array(x), np.ndarray)
    assert plotting.array(x).tolist() == [1.0, 2.0]


def test_a_path_is_drawn_through_its_points_from_a_dot_at_its_start():
    _, ax = plotting.new_figure()
    path = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    assert plotting.plot_path(ax, path, color=plotting.EXACT) is ax
    line, dot = ax.lines
    assert line.get_xydata().tolist() == path.tolist()
    assert dot.get_xydata().tolist() == [[0.0, 1.0]]
    assert dot.get_color() == line.get_color() == plotting.EXACT


def test_the_arrows_of_a_field_have_its_directions_and_one_length():
    _, ax = plotting.new_figure()
    assert plotting.plot_field(ax, lambda t, y: t * y, (1, 3), (1, 3), t=2.0, n=3) is ax
    (arrows,) = ax.collections
    directions = np.stack((arrows.U, arrows.V), axis=1)
    points = np.array(arrows.get_offsets())
    assert np.allclose(
        directions, points / np.linalg.norm(points, axis=1, keepdims=True), atol=1e-6
    )


def test_a_field_of_a_network_is_drawn_without_its_gradient_and_at_rest_without_arrows():
    _, ax = plotting.new_figure()
    net = nn.Linear(2, 2, bias=False)
    plotting.plot_field(ax, lambda t, y: net(y) * 0, (-1, 1), (-1, 1), n=2)
    assert not ax.collections[0].U.any()


def test_the_running_mean_of_losses_stands_at_the_steps_it_has_seen():
    _, ax = plotting.new_figure()
    assert plotting.plot_losses(ax, [4.0, 2.0, 6.0, 4.0], smooth=2) is ax
    mean, every = ax.lines
    assert mean.get_xydata().tolist() == [[2, 3.0], [3, 4.0], [4, 5.0]]
    assert every.get_xydata().tolist() == [[1, 4.0], [2, 2.0], [3, 6.0], [4, 4.0]]
    assert ax.get_yscale() == "log"


def test_the_slope_of_a_power_law_is_its_exponent_and_stands_in_the_legend():
    _, ax = plotting.new_figure()
    h = np.array([0.1, 0.2, 0.4])
    assert plotting.plot_slope(ax, h, 3 * h**4, label="RK4") == pytest.approx(4)
    points, line = ax.lines
    assert points.get_label() == "RK4: slope 4.00"
    assert np.allclose(line.get_ydata(), 3 * h**4)


def test_images_are_drawn_dark_on_light_each_with_its_title():
    _, axes = plotting.new_figure(1, 2)
    images = torch.stack((torch.zeros(1, 28, 28), torch.ones(1, 28, 28)))
    plotting.plot_images(axes, images, ["blank", "full"])
    assert [ax.get_title() for ax in axes] == ["blank", "full"]
    shades = [ax.images[0].to_rgba(ax.images[0].get_array())[0, 0, 0] for ax in axes]
    assert shades == [1.0, 0.0]


def test_places_of_a_drawing_are_rounded_to_what_can_be_seen():
    svg = (
        '<path id="m1" d="M 0.123456 -1.987654 \nL 3 4.5 \nz\n" style="fill: none"/>\n'
        '   <path d="M 105.242806 161.289257 \nL -0.01 489.6 \n" style="stroke-width: 1.25"/>\n'
        '<use x="12.345678" y="1"/><text transform="translate(1.234567 0)">y = 1.2345</text>'
    )
    assert plotting._rounded(svg) == (
        '<path id="m1" d="M0.12 -1.99L3 4.5z" style="fill: none"/>\n'
        '<path d="M105.2 161.3L-0 489.6" style="stroke-width: 1.25"/>\n'
        '<use x="12.3" y="1"/><text transform="translate(1.234567 0)">y = 1.2345</text>'
    )

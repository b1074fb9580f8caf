"""Figures: `plot_*` functions draw arrays on given Axes; `shown` turns a figure into
page-coloured SVG; `source` shows how a thing is made.

Nothing here trains, saves or reads globals. One colour means one thing in every
chapter.
"""

from __future__ import annotations

import ast
import html
import importlib
import inspect
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import HTML, Code, Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "CYCLE",
    "DATA",
    "EXACT",
    "FAINT",
    "INK",
    "OURS",
    "RIVAL",
    "STYLE",
    "array",
    "new_figure",
    "plot_field",
    "plot_images",
    "plot_losses",
    "plot_path",
    "plot_slope",
    "shown",
    "source",
    "table",
]

# Okabe and Ito's colours, told apart by colour-blind readers too, each readable on white and on black.
EXACT = "#0072b2"  # truth: the exact solution, the clean curve
OURS = "#d55e00"  # what this course computes: a numerical solution, a prediction
RIVAL = "#009e73"  # what it is compared with
DATA = "#cc79a7"  # observations
FAINT = "#888888"  # helpers: grids, fields, older states
CYCLE = (OURS, EXACT, RIVAL, DATA, "#e69f00", "#56b4e9")

INK = "#123456"  # a stand-in that `shown` replaces by the colour of the page's text

STYLE: dict = {
    "figure.figsize": (6.4, 3.6),
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "font.family": "sans-serif",
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "course",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    **dict.fromkeys(
        (
            "text.color",
            "axes.edgecolor",
            "axes.labelcolor",
            "axes.titlecolor",
            "xtick.color",
            "ytick.color",
        ),
        INK,
    ),
}


def new_figure(
    rows: int = 1,
    columns: int = 1,
    *,
    height: float = 3.4,
    width: float = 6.8,
    **settings,
):
    """A figure and its Axes, as `plt.subplots` gives them; sizes in inches.

    The course's style becomes matplotlib's default, for titles and legends read it when
    they are made.
    """
    plt.rcParams.update(STYLE)
    return plt.subplots(rows, columns, figsize=(width, height), **settings)


_count = iter(range(1, 1_000_000))
# Size in the page, and what matplotlib says of every line in a style sheet.
SHAPE = "max-width: 100%; height: auto; stroke-linejoin: round; stroke-linecap: butt"


def shown(figure: Figure, alt: str) -> HTML:
    """The figure as an inline drawing that takes the colours of the page around it, and
    `alt` as its description.

    Text stays text, lines and labels follow light and dark mode, and the figure is
    closed so that a notebook does not show it twice.
    """
    if len(alt.split()) < 5:
        raise ValueError(
            f"alt must be a sentence that says what the figure shows, got {alt!r}"
        )
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
    )
    plt.close(figure)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Two alike would share a name, and nothing asks for it.
    svg = re.sub(r'(<image\b[^>]*?) id="[^"]*"', r"\1", svg)
    # A style sheet within a page reaches all of it, and is matched with all of it.
    svg = re.sub(r"<defs>\s*<style[^>]*>\*\{[^<]*</style>\s*</defs>", "", _rounded(svg))
    prefix = f"figure{next(_count)}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}", svg)
    label = html.escape(alt, quote=True)
    svg = svg.replace(
        "<svg ",
        f'<svg role="img" aria-label="{label}" style="{SHAPE}" ',
        1,
    )
    return HTML(f'<figure class="course-figure">{svg}</figure>')


def _rounded(svg: str) -> str:
    """A drawing with its places in tenths of a point, a shape that is used again in
    hundredths, and no air between them: a third of its weight.
    """

    def places(found: re.Match) -> str:
        digits = 2 if found["again"] else 1
        numbers = re.sub(
            r"-?\d+\.\d+", lambda x: f"{round(float(x[0]), digits):g}", found["places"]
        )
        return found["name"] + re.sub(r"\s*([A-Za-z])\s*", r"\1", numbers.strip())

    attribute = (
        r'(?P<name>(?:<path (?P<again>id="[^"]*" )?[^>]*?\bd| [xy])=")(?P<places>[^"]*)'
    )
    return re.sub(r"\n\s+", "\n", re.sub(attribute, places, svg))


def table(header: Sequence, rows: Sequence[Sequence]) -> Markdown:
    """A table for the page; the first column is a name, the others are numbers.

    Every column needs a header that can be read aloud, so more than a formula; every
    row as many entries. A bar "|" in an entry stays a bar.
    """
    silent = [h for h in map(str, header) if not re.sub(r"\$[^$]*\$", "", h).strip()]
    if silent:
        raise ValueError(f"every column needs a header with a word in it, got {silent}")
    rows = [list(row) for row in rows]
    if odd := [row for row in rows if len(row) != len(header)]:
        raise ValueError(f"every row needs {len(header)} entries, got {odd[0]}")
    rule = [":---", *["---:"] * (len(header) - 1)]
    lines = [f"| {' | '.join(map(_entry, line))} |" for line in (header, rule, *rows)]
    return Markdown("\n".join(lines))


def _entry(value) -> str:
    r"""As it stands in a table, where a bare "|" would end it, and "\|" in a formula
    would be a norm's double bar.
    """

    def in_words(match: re.Match) -> str:
        return match[0].replace(r"\|", r"\Vert ").replace("|", r"\vert ")

    return re.sub(r"\$[^$]*\$", in_words, str(value)).replace("|", r"\|")


def source(*parts: type | Callable | ModuleType | str) -> Code:
    """How the parts are written, one after the other, with the colours of a listing.

    Parameters
    ----------
    *parts : classes, functions or modules
        A table has no source of its own and is named instead:
        ``"course_lib.models.classifiers.DIGIT_MODELS"``.
    """
    texts = [
        _assignment(part) if isinstance(part, str) else inspect.getsource(part)
        for part in parts
    ]
    return Code("\n\n".join(textwrap.dedent(text) for text in texts), language="python")


def _assignment(name: str) -> str:
    """The statement that gives the module-level name, ``module.NAME``, its value."""
    module, _, target = name.rpartition(".")
    text = inspect.getsource(importlib.import_module(module))
    for node in ast.parse(text).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(getattr(each, "id", None) == target for each in targets):
            return f"{ast.get_source_segment(text, node)}\n"
    raise ValueError(f"{module} has no statement `{target} = …` at its outermost level")


def array(x) -> np.ndarray:
    """A tensor (on any device, with or without a gradient) or a sequence as a NumPy
    array.
    """
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


# --- drawings that several chapters use -----------------------------------------------


def plot_path(ax: Axes, ys, *, start: bool = True, **style) -> Axes:
    """A path in the plane, `ys` of shape (n, 2), with a dot where it starts."""
    ys = array(ys)
    (line,) = ax.plot(ys[:, 0], ys[:, 1], **style)
    if start:
        ax.plot(*ys[0], "o", color=line.get_color(), markersize=5)
    ax.set(xlabel="$y_1$", ylabel="$y_2$", aspect="equal")
    return ax


def plot_field(
    ax: Axes,
    f,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    *,
    t: float = 0.0,
    n: int = 17,
):
    """The directions of a planar vector field f(t, y) at time t, on an n × n grid."""
    x, y = torch.meshgrid(
        torch.linspace(*x_range, n), torch.linspace(*y_range, n), indexing="xy"
    )
    with torch.no_grad():
        arrows = array(
            f(torch.tensor(t), torch.stack((x.flatten(), y.flatten()), dim=1))
        )
    arrows = arrows / np.maximum(np.linalg.norm(arrows, axis=1, keepdims=True), 1e-12)
    ax.quiver(
        array(x),
        array(y),
        arrows[:, 0],
        arrows[:, 1],
        color=FAINT,
        alpha=0.6,
        pivot="mid",
        width=0.003,
    )
    ax.set(xlabel="$y_1$", ylabel="$y_2$", aspect="equal")
    return ax


def plot_losses(
    ax: Axes, losses: Sequence[float], *, smooth: int = 25, **style
) -> Axes:
    """A loss curve on a logarithmic axis: every step faint, the running mean over
    `smooth` steps strong.
    """
    values, steps = array(losses), np.arange(1, len(losses) + 1)
    kernel = min(smooth, len(values))
    mean = np.convolve(values, np.ones(kernel) / kernel, mode="valid")
    (line,) = ax.plot(steps[kernel - 1 :], mean, **style)
    ax.plot(steps, values, color=line.get_color(), alpha=0.25, linewidth=0.8)
    ax.set(xlabel="training step", ylabel="loss", yscale="log")
    return ax


def plot_slope(ax: Axes, x, y, *, label: str, **style) -> float:
    """Points on log-log axes with the fitted line through them; the slope, which the
    legend shows too.
    """
    x, y = array(x), array(y)
    slope, offset = np.polyfit(np.log(x), np.log(y), 1)
    (points,) = ax.loglog(x, y, "o", label=f"{label}: slope {slope:.2f}", **style)
    ax.loglog(x, np.exp(offset) * x**slope, color=points.get_color(), linewidth=1)
    ax.minorticks_off()  # over less than two decades their labels overlap
    return float(slope)


def plot_images(axes, images, titles: Sequence[str]) -> None:
    """One image, shape (1, 28, 28), on each of the Axes, dark on light, with a title."""
    for ax, image, title in zip(np.ravel(axes), images, titles):
        ax.imshow(array(image)[0], cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(title, fontsize=9, loc="center")
        ax.set_axis_off()

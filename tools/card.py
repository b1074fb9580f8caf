"""Draw `assets/card.png`, what other sites show of the book.

python -m tools.card
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from PIL import Image

from course_lib import plotting
from course_lib.solvers import odeint

TARGET = Path(__file__).parents[1] / "assets" / "card.png"
SIZE = (1200, 630)  # pixels, as sites ask for it
PAPER, INK, MUTED = "#fffefc", "#1c2126", "#525c66"
TITLE = ("Neural", "Ordinary", "Differential", "Equations")
SENTENCE = (
    "A book you can move:",
    "every idea derived,",
    "executed, and live in the page.",
)


def swirl(t, y):
    """Turn the plane inwards, the faster the nearer to the centre."""
    x, z = y.unbind(-1)
    return torch.stack((-0.25 * x - z, x - 0.25 * z), dim=-1)


def draw() -> plt.Figure:
    """Return the card: the title, and Euler's path beside the exact one."""
    fig = plt.figure(figsize=(12, 6.3), facecolor=PAPER)
    ax = fig.add_axes((0.47, 0.0, 0.53, 1.0))
    plotting.plot_field(ax, swirl, (-2.6, 2.6), (-2.6, 2.6), n=19)
    start, long = torch.tensor([-2.1, -0.6]), torch.linspace(0, 9, 31)
    exact = odeint(swirl, start, torch.linspace(0, 9, 500), rtol=1e-6, atol=1e-8)
    euler = odeint(swirl, start, long, method="euler", step_size=0.3)
    ax.plot(*exact.T, color=plotting.EXACT, linewidth=7)
    ax.plot(*euler.T, "o-", color=plotting.OURS, linewidth=2.5, markersize=9)
    ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    ax.set_axis_off()
    plt.rcParams["font.family"] = "DejaVu Serif"  # matplotlib brings it
    for k, line in enumerate(TITLE):
        fig.text(0.055, 0.8 - 0.115 * k, line, size=43, color=INK)
    for k, line in enumerate(SENTENCE):
        fig.text(0.058, 0.25 - 0.06 * k, line, size=17, color=MUTED)
    return fig


def save(fig: plt.Figure, target: Path) -> None:
    """Write the card in 64 colours, which it does with."""
    buffer = io.BytesIO()
    fig.savefig(buffer, dpi=SIZE[0] / 12, facecolor=PAPER)
    image = Image.open(buffer).convert("RGB").quantize(64)
    image.save(target, optimize=True)


if __name__ == "__main__":
    save(draw(), TARGET)
    print(TARGET, f"{TARGET.stat().st_size:,} bytes")

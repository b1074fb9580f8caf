"""Live figures of every kind as a page shows them, and what their tests look at."""

import json

import pytest
import torch
from conftest import settle
from figures import between_nodes, driven, sampler, scaling, swing

from course_lib.latent import LatentODE
from course_lib.models import MLPDynamics, digit_odenet
from course_lib.widgets import (
    AdjointExplorer,
    DensityFlowExplorer,
    DigitDepthExplorer,
    FixedPointExplorer,
    FlowExplorer,
    HorizonExplorer,
    LatentExplorer,
    NoiseExplorer,
    StepExplorer,
    StepSizeExplorer,
    ToleranceExplorer,
)
from course_lib.widgets.page.html import KIND
from tools.share import STATES


def states_and_views(*kinds, strange=()) -> tuple[str, str]:
    """Return what a built page holds of figures: all their states, and their places.

    `strange` are states of other widgets, which come after them.
    """
    states = [*(kind().get_state() for kind in kinds), *strange]
    records = {
        str(n): {"model_module": "anywidget", "state": state}
        for n, state in enumerate(states)
    }
    text = json.dumps({"state": records}).replace("<", "\\u003c")
    views = (
        f'<script type="{KIND}-view+json">{{"model_id": "{name}"}}</script>'
        for name in records
    )
    return f'<script type="{KIND}-state+json">{text}</script>', "".join(views)


def states_in(page: str) -> dict:
    """Return what the only script of states in a page holds."""
    (found,) = STATES.finditer(page)
    return json.loads(found[2])


def flow(dim=2, **settings):
    torch.manual_seed(dim)
    f = MLPDynamics(dim, (16,), time=dim == 1)
    how = dict(start=[0.5] * dim, window=[(-2, 2)] * dim, method="rk4") | settings
    return FlowExplorer(f, **how)


def training_of_a_flow():
    snapshots = {}
    for n in (0, 10, 100):
        torch.manual_seed(n)
        snapshots[f"step {n}"] = MLPDynamics(2, (16,))
    how = dict(window=[(-2, 2)] * 2, data=torch.randn(50, 2), snapshot=2)
    return FlowExplorer(snapshots, start=[0.5, 0.5], **how)


def digits():
    torch.manual_seed(0)
    model, images = digit_odenet(), torch.rand(6, 1, 28, 28)
    model.body.f.norm3.weight.data *= 5
    model.head[-1].weight.data *= 10
    return DigitDepthExplorer(model, images, torch.arange(6), range(6), digit=2)


def particles():
    fields = {}
    for n in range(2):
        torch.manual_seed(n)
        fields[f"field {n}"] = MLPDynamics(2, (16,), time=True)
        for p in fields[f"field {n}"].parameters():
            p.data *= 2
    return DensityFlowExplorer(
        fields, data=torch.randn(60, 2), window=[(-3, 3)] * 2, moment=0.8
    )


def walk():
    torch.manual_seed(0)
    model = LatentODE(latent=5, hidden=8, width=16)
    for p in model.f.parameters():
        p.data *= 2
    ends = torch.randn(2, 5)
    return LatentExplorer(
        model, start=ends[0], end=ends[1], t_end=3.0, codes=torch.randn(40, 5)
    )


def step_back():
    return StepExplorer(problem="ring", backward=True, rtol=1e-3, moment=20)


def long_flow():
    """Make a figure of a span on which the shortest step makes thousands of steps."""
    torch.manual_seed(0)
    f, window = MLPDynamics(2, (16, 16)), [(-2, 2)] * 2
    return FlowExplorer(f, start=[0.5, 0.5], window=window, span=(0, 31.45))


FIGURES = {
    "step size": StepSizeExplorer,
    "tolerance": ToleranceExplorer,
    "particles": particles,
    "latent": walk,
    "flow in the plane": flow,
    "flow in one dimension": lambda: flow(1),
    "training of a flow": training_of_a_flow,
    "adjoint": AdjointExplorer,
    "step": StepExplorer,
    "step back": step_back,
    "digit": digits,
    "sampler": lambda: sampler(mix=0.3, moment=0.6),
    "pendulum": lambda: swing(field="hamiltonian", method="leapfrog"),
    "graph": lambda: between_nodes(kind="learnt"),
    "path": lambda: driven(moment=0.5, interpolation="natural cubic"),
    "noise": lambda: NoiseExplorer(method="heun", halvings=6),
    "noise in two wells": lambda: NoiseExplorer(system="double well", moment=1.5),
    "scaling": scaling,
    "fixed point": FixedPointExplorer,
    "fixed point in the plane": lambda: FixedPointExplorer(problem="plane"),
    "flow over a long time": long_flow,
    "horizon": lambda: HorizonExplorer(windows=2, noise=0.1),
}
every_figure = pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)


def drawing(page) -> str:
    settle(page)
    return page.locator(".live-plots").inner_html()


def controls(page):
    found = [c for c in page.locator(".live-control").all() if c.is_visible()]
    assert found
    return found

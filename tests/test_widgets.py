"""The live figures: the same mathematics in the browser as in Python, and traits that say
what they allow.
"""

import base64
import json
import os
import random
import re
import shutil
import subprocess
import sys
import types
from itertools import product
from unittest.mock import MagicMock

import pytest
import torch
from conftest import ROOT
from playwright._impl._driver import compute_driver_executable
from torch import nn
from traitlets import TraitError

from course_lib.latent import LatentODE, LatentRNN
from course_lib.models import (
    ConvDynamics,
    DigitClassifier,
    MLPDynamics,
    digit_model,
    digit_odenet,
)
from course_lib.solvers import METHODS, SolverError, odeint_adjoint, solve
from course_lib.systems import SYSTEMS
from course_lib.widgets import (
    AdjointExplorer,
    DensityFlowExplorer,
    DigitDepthExplorer,
    FlowExplorer,
    LatentExplorer,
    StepSizeExplorer,
    ToleranceExplorer,
)
from course_lib.widgets import figure as figure_module
from course_lib.widgets.page import module

FIGURES = [
    "step_size.mjs",
    "tolerance.mjs",
    "field.mjs",
    "adjoint.mjs",
    "particles.mjs",
    "digit.mjs",
    "latent.mjs",
]


def network(dim=2, activation=nn.Tanh, time=False, hidden=(8, 8)):
    torch.manual_seed(dim)
    return MLPDynamics(dim, hidden, time=time, activation=activation)


def flow(**settings):
    return FlowExplorer(
        network(), start=(1.0, 0.5), window=((-2, 2), (-2, 2)), **settings
    )


def classifier(growth=1.0) -> DigitClassifier:
    """Random weights; `growth` makes the flow faster, and the solver's steps shorter."""
    torch.manual_seed(0)
    model = digit_odenet()
    model.body.f.norm3.weight.data *= growth
    model.head[-1].weight.data *= 10
    return model


def digits(n=4, growth=1.0, **settings) -> DigitDepthExplorer:
    """A figure of random pictures."""
    model = classifier(growth)
    images, labels = torch.rand(n, 1, 28, 28), torch.arange(n)
    return DigitDepthExplorer(model, images, labels, range(n), **settings)


def density(f=None, n=20, **settings):
    points = torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    window = ((-3, 3), (-3, 3))
    return DensityFlowExplorer(f or network(), data=points, window=window, **settings)


# --- the same numbers in both languages -----------------------------------------------


def latent_model(dim=5, observed=2) -> LatentODE:
    torch.manual_seed(dim)
    model = LatentODE(observed, dim, hidden=8, width=12)
    for p in model.f.parameters():
        p.data *= 2
    return model


def latent(model=None, dim=5, **settings) -> LatentExplorer:
    ends = torch.randn(2, dim, generator=torch.Generator().manual_seed(2))
    settings = dict(start=ends[0], end=ends[1], t_end=2.0) | settings
    return LatentExplorer(model or latent_model(), **settings)


def random_case(rng: random.Random) -> dict:
    """A solve with random settings, and what Python makes of it."""
    problem = rng.choice(list(SYSTEMS))
    system, method = SYSTEMS[problem], rng.choice(list(METHODS))
    y0 = [rng.uniform(-1.2, 1.2) for _ in system.y0]
    start, length = rng.uniform(-1, 1), rng.uniform(0.5, 4.0)
    backward = problem in ("oscillator", "spiral", "pendulum") and rng.random() < 0.5
    span = [start, start - length if backward else start + length]
    if METHODS[method].adaptive:
        settings = {k: 10 ** rng.uniform(-9, -2) for k in ("rtol", "atol")}
        in_script = {"method": method, **settings}
        inner = [span[0] + rng.random() * (span[1] - span[0]) for _ in range(3)]
        times = [span[0], *sorted(inner, reverse=backward), span[1]]
    else:
        settings = {"step_size": 10 ** rng.uniform(-2.5, -1)}
        in_script = {"method": method, "step_size": settings["step_size"]}
        times = span
    t = torch.tensor(times, dtype=torch.float64)
    y = torch.tensor(y0, dtype=torch.float64)
    made = solve(system.f, y, t, method=method, **settings)
    expected = {key: getattr(made, key) for key in ("nfe", "accepted", "rejected")}
    expected["end"] = made.ys[-1].tolist()
    if METHODS[method].adaptive:
        expected |= {"times": times[1:-1], "inside": made.ys[1:-1].tolist()}
    return dict(
        problem=problem, y0=y0, span=span, settings=in_script, expected=expected
    )


def network_cases() -> list[dict]:
    kinds = {"tanh": nn.Tanh, "elu": nn.ELU, "relu": nn.ReLU}
    rows = []
    for (name, kind), time, dim in product(kinds.items(), (False, True), (1, 2)):
        f = network(dim, kind, time)
        window = [(-2, 2)] * dim
        figure = FlowExplorer(f, start=[0.5] * dim, window=window)
        field, ys = figure.field(), 3 * torch.randn(20, dim, dtype=torch.float64)
        moments = torch.linspace(0, 2, 20, dtype=torch.float64)
        points = [
            (t.item(), y.tolist(), field(t, y).tolist()) for t, y in zip(moments, ys)
        ]
        rows.append(
            dict(
                widths=figure.widths,
                activation=name,
                time=time,
                weights=figure.weights,
                points=points,
            )
        )
    return rows


def pullback_cases() -> list[dict]:
    rows = []
    for problem, system in SYSTEMS.items():
        if len(system.y0) != 2:
            continue
        for _ in range(5):
            y, lam = torch.randn(2, 2, dtype=torch.float64)
            y.requires_grad_()
            (out,) = torch.autograd.grad(system.f(torch.tensor(0.0), y), y, lam)
            rows.append(
                dict(
                    problem=problem,
                    y=y.tolist(),
                    lam=lam.tolist(),
                    expected=out.tolist(),
                )
            )
    return rows


def adjoint_cases() -> list[dict]:
    rows = []
    for problem, rtol in product(("ring", "spiral", "pendulum"), (1e-4, 1e-6)):
        figure = AdjointExplorer(problem=problem, target=[0.7, -1.1], rtol=rtol)
        made = figure.solution()
        expected = dict(
            gradient=made.gradient.tolist(),
            exact=made.exact.tolist(),
            reconstructed=made.reconstructed.tolist(),
            nfe_back=made.nfe_back,
        )
        rows.append(
            dict(problem=problem, target=[0.7, -1.1], rtol=rtol, expected=expected)
        )
    return rows


def digit_cases() -> list[dict]:
    rows = []
    for growth in (1.0, 20.0):
        figure = digits(3, growth)
        for figure.digit, figure.rtol in product(range(3), (1e-1, 1e-3, 1e-4)):
            made = figure.solution()
            expected = {
                key: getattr(made.solve, key) for key in ("nfe", "accepted", "rejected")
            } | {"probabilities": made.probabilities.tolist()}
            feature = figure.features[figure.digit]
            rows.append(
                dict(
                    weights=figure.weights,
                    feature=feature,
                    rtol=figure.rtol,
                    expected=expected,
                )
            )
    assert any(row["expected"]["rejected"] for row in rows)
    return rows


def flight_cases() -> list[dict]:
    """Particles in flight: there and back, at a step, between two and at both ends."""
    rows = []
    for source, method, moment in product(
        ("noise", "data"), ("euler", "rk4"), (0.0, 0.5, 0.6, 1.0)
    ):
        time, h = moment > 0.5, 0.3 if moment == 0.6 else 0.25
        figure = density(
            network(2, nn.ELU, time),
            source=source,
            method=method,
            step_size=h,
            moment=moment,
        )
        keys = ("widths", "activation", "time")
        shape = {key: getattr(figure, key) for key in keys}
        rows.append(
            dict(
                network=shape | {"weights": figure.weights[0]},
                start=figure.particles[source == "data"],
                span=list(figure.span)[:: -1 if source == "data" else 1],
                settings={"method": method, "step_size": h},
                moment=moment,
                expected=figure.positions().tolist(),
            )
        )
    return rows


def latent_cases() -> list[dict]:
    """Points on and off the walk, their paths and the ends of their curves."""
    rows = []
    kept = ("widths", "activation", "time", "weights", "stage", "readout")
    kept += ("readout_widths", "start", "end", "share", "shift", "coordinates")
    for (method, h), share in product(
        (("rk4", 0.3), ("euler", 0.1), ("dopri5", 1e-4)), (0.0, 0.37, 1.0)
    ):
        how = dict(rtol=h) if method == "dopri5" else dict(step_size=h)
        shift = [0.5, -1.0] if share else [0.0, 0.0]
        figure = latent(method=method, share=share, shift=shift, **how)
        found = figure.solution()
        js = dict(rtol=h, atol=h) if method == "dopri5" else dict(step_size=h)
        rows.append(
            dict(
                traits={name: getattr(figure, name) for name in kept},
                settings=js | {"method": method},
                span=[0, figure.t_end],
                code=found.code.tolist(),
                nfe=found.solve.nfe,
                ends=found.ends.flatten().tolist(),
            )
        )
    return rows


def test_the_javascript_computes_what_python_computes(tmp_path):
    shutil.copytree(module.FIGURES, tmp_path, dirs_exist_ok=True)
    (tmp_path / module.TABLES).write_text(module.tables(), encoding="utf-8")
    rng = random.Random(0)
    torch.manual_seed(0)
    cases = {
        "cases": [random_case(rng) for _ in range(240)],
        "networks": network_cases(),
        "pullbacks": pullback_cases(),
        "adjoints": adjoint_cases(),
        "digits": digit_cases(),
        "flights": flight_cases(),
        "walks": latent_cases(),
    }
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    node, *_ = compute_driver_executable()  # playwright brings its own
    run = subprocess.run(
        [node, "--test", ROOT / "tests" / "js" / "ode.test.mjs"],
        env=os.environ
        | {"MODULES": str(tmp_path), "CASES": str(tmp_path / "cases.json")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"pass 10\b", run.stdout), run.stdout


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_travels_as_one_module_without_imports(name):
    source = module.module(name)
    assert not re.search(r"^import |^export (?!default)", source, re.MULTILINE)
    assert source.count("export default") == 1
    assert "http" not in source.replace("http://www.w3.org/2000/svg", "")


# --- solutions in Python --------------------------------------------------------------


def test_a_step_size_figure_gives_its_path_in_python():
    made = StepSizeExplorer(problem="decay", method="euler", step_size=0.3).solution()
    steps = made.step_sizes.tolist()
    assert steps == pytest.approx([0.3] * 13 + [0.1])
    expected = (1 - 5 * made.step_sizes).cumprod(0)
    torch.testing.assert_close(made.ys[1:, 0], expected)


def test_a_tolerance_figure_gives_its_solve_in_python():
    loose, tight = (
        ToleranceExplorer(problem="oscillator", rtol=r).solution() for r in (1e-3, 1e-8)
    )
    t1 = torch.tensor(SYSTEMS["oscillator"].span[1], dtype=torch.float64)
    exact = torch.stack((t1.cos(), -t1.sin()))
    assert tight.nfe > loose.nfe
    torch.testing.assert_close(tight.ys[-1], exact, rtol=0, atol=1e-6)


def test_a_flow_figure_carries_the_network_it_was_given():
    f = network(2, nn.ELU)
    figure = FlowExplorer(f, start=(1.0, 0.5), window=((-2, 2), (-2, 2)), rtol=1e-8)
    for p, q in zip(f.parameters(), figure.field().parameters()):
        assert torch.equal(p.double(), q)
    y0 = torch.tensor([1.0, 0.5])
    there = solve(f, y0, [0.0, 1.0], rtol=1e-6, atol=1e-6).ys[-1]
    torch.testing.assert_close(figure.solution().ys[-1].float(), there)
    figure.method, figure.step_size = "rk4", 0.5
    assert figure.solution().nfe == 8


def test_a_flow_figure_carries_every_stage_of_a_training_and_shows_one():
    stages = {f"step {n}": network(2) for n in (0, 100, 200)}
    for factor, f in zip((0.5, 1.0, 2.0), stages.values()):
        f.net[-1].weight.data *= factor
    figure = FlowExplorer(
        stages, start=(1.0, 0.5), window=((-2, 2), (-2, 2)), stage=1, data=[[0, 1]]
    )
    assert figure.stages == list(stages)
    assert figure.data == [[0.0, 1.0]]
    ends = []
    for figure.stage, f in enumerate(stages.values()):
        for p, q in zip(f.parameters(), figure.field().parameters()):
            assert torch.equal(p.double(), q)
        ends.append(figure.solution().ys[-1])
    assert not torch.allclose(ends[0], ends[1])


@pytest.mark.parametrize(
    "other", [network(2, nn.ELU), network(2, hidden=(5,)), network(2, time=True)]
)
def test_stages_of_different_kinds_are_refused(other):
    stages = {"start": network(2), "end": other}
    with pytest.raises(ValueError, match=r"same widths.*2 kinds"):
        FlowExplorer(stages, start=(0, 0), window=((-2, 2), (-2, 2)))


def test_a_density_figure_carries_its_particles_along_the_network_it_was_given():
    f = network(2, nn.ELU, time=True)
    figure = density(f, method="rk4", step_size=0.3)
    path = figure.solution()
    assert path.ys.shape == (5, 20, 2)  # steps of 0.3, and one of 0.1
    tight = dict(rtol=1e-6, atol=1e-6)
    there = solve(f, path.ys[0].float(), [0.0, 1.0], **tight).ys[-1]
    torch.testing.assert_close(path.ys[-1].float(), there, rtol=0, atol=1e-4)
    torch.testing.assert_close(figure.positions(), path.ys[-1])
    figure.moment = 0.45
    between = solve(f, path.ys[0].float(), [0.0, 0.45], **tight).ys[-1]
    torch.testing.assert_close(figure.positions().float(), between, rtol=0, atol=1e-4)
    figure.moment = 0.0
    assert torch.equal(figure.positions(), path.ys[0])


def test_particles_that_set_out_from_the_data_come_back_as_the_noise_they_were():
    f = network(2)
    away = density(f, method="rk4", step_size=0.05)
    ends = away.positions().float()
    window = ((-3, 3), (-3, 3))
    back = DensityFlowExplorer(
        f, data=ends, window=window, source="data", method="rk4", step_size=0.05
    )
    assert back.moment == 0.0
    start = away.solution().ys[0]
    torch.testing.assert_close(back.positions(), start, rtol=0, atol=1e-5)


def test_the_noise_of_a_density_figure_is_fixed_by_its_seed():
    first, again, other = (density(seed=seed).particles[0] for seed in (0, 0, 1))
    assert first == again != other


def test_a_density_figure_wants_points_of_the_plane_and_a_field_there():
    window = ((-3, 3), (-3, 3))
    with pytest.raises(ValueError, match=r"shape \(n, 2\).*shape \(5, 3\)"):
        DensityFlowExplorer(network(), data=torch.zeros(5, 3), window=window)
    with pytest.raises(ValueError, match=r"R\^1"):
        DensityFlowExplorer(network(1), data=torch.zeros(5, 2), window=window)
    with pytest.raises(ValueError, match="window needs two pairs"):
        DensityFlowExplorer(network(), data=torch.zeros(5, 2), window=window[:1])


def test_a_latent_figure_decodes_what_the_model_decodes():
    model = latent_model()
    figure = latent(model, share=0.25, method="dopri5", rtol=1e-6)
    start, end = (torch.tensor(list(z)) for z in (figure.start, figure.end))
    code = 0.75 * start + 0.25 * end
    found = figure.solution()
    torch.testing.assert_close(found.code.float(), code)
    expected = model.decode(code[None], torch.tensor([0.0, 2.0]))[0].detach()
    torch.testing.assert_close(found.ends.float(), expected, rtol=0, atol=2e-3)
    figure.shift = [1.0, -2.0]
    i, j = figure.coordinates
    moved = figure.solution().code.float() - code
    assert (moved[i].item(), moved[j].item()) == pytest.approx((1.0, -2.0))
    assert moved.abs().sum().item() == pytest.approx(3.0, rel=1e-5)


def test_a_latent_figure_lets_you_drag_where_the_ends_differ_most():
    start, end = torch.zeros(5), torch.tensor([0.1, -2.0, 0.3, 0.0, 1.0])
    assert list(latent(start=start, end=end).coordinates) == [1, 4]
    assert list(latent(coordinates=(3, 0)).coordinates) == [3, 0]


def test_the_windows_of_a_latent_figure_hold_the_walk_and_the_other_codes():
    model, codes = latent_model(), 4 * torch.ones(1, 5)
    figure = latent(model, codes=codes)
    (low, high), _ = figure.plane
    assert low < min(figure.start[figure.coordinates[0]], 4.0) and high > 4.0
    for figure.share in (0.0, 1.0):
        for point in figure.solution().ends.tolist():
            for x, (low, high) in zip(point, figure.window):
                assert low < x < high


def test_a_latent_figure_refuses_what_it_cannot_show():
    with pytest.raises(TypeError, match="LatentODE, got LatentRNN"):
        latent(LatentRNN(latent=5))
    with pytest.raises(ValueError, match="observe the plane: 2 numbers, got 3"):
        latent(latent_model(observed=3))
    with pytest.raises(ValueError, match=r"shape \(5,\).*\(4,\)"):
        latent(end=torch.zeros(4))
    for pair in ((0, 0), (0, 5), (1,)):
        with pytest.raises(ValueError, match="two different numbers from 0 to 4"):
            latent(coordinates=pair)


@pytest.mark.parametrize("problem", ["ring", "spiral", "oscillator", "pendulum"])
def test_an_adjoint_figure_shows_the_course_s_own_adjoint(problem):
    figure = AdjointExplorer(problem=problem, target=[1.0, -0.5], rtol=1e-6)
    made, system = figure.solution(), SYSTEMS[problem]
    y0 = torch.tensor(system.y0, dtype=torch.float64, requires_grad=True)
    ys = odeint_adjoint(
        system.f, y0, system.span, rtol=1e-6, atol=1e-6, adjoint_params=()
    )
    loss = (ys[-1] - torch.tensor([1.0, -0.5])).square().sum()
    (expected,) = torch.autograd.grad(loss, y0)
    torch.testing.assert_close(made.gradient, expected, rtol=1e-12, atol=0)


def test_a_contracting_flow_makes_the_adjoint_wrong_in_silence_and_then_loudly():
    figure = AdjointExplorer(problem="ring", rtol=1e-4)
    made = figure.solution()
    assert (made.gradient - made.exact).norm() > 0.1 * made.exact.norm()
    figure.rtol = 1e-2
    with pytest.raises(SolverError, match="underflow"):
        figure.solution()


def test_a_digit_figure_shows_what_the_model_says_up_to_its_rounding():
    model, images = classifier(5.0), torch.rand(4, 1, 28, 28)
    figure = DigitDepthExplorer(model, images, torch.arange(4), [3, 1], digit=1)
    made = figure.solution()
    with torch.no_grad():
        likely = model(images[1:2]).softmax(1)[0].double()
    torch.testing.assert_close(made.probabilities, likely, rtol=0, atol=0.05)
    assert made.answer == made.probabilities.argmax()
    assert figure.labels == [3, 1]
    assert [name.split("(")[1] for name in figure.names] == ["no. 3)", "no. 1)"]
    figure.rtol = 1e-6
    finer = figure.solution()
    assert finer.solve.nfe > made.solve.nfe
    torch.testing.assert_close(
        finer.probabilities, made.probabilities, rtol=0, atol=0.01
    )


def test_a_digit_figure_refuses_a_model_the_browser_cannot_evaluate():
    images, labels = torch.rand(1, 1, 28, 28), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"DigitClassifier.*Linear"):
        DigitDepthExplorer(nn.Linear(1, 1), images, labels, [0])
    with pytest.raises(TypeError, match=r"ConvDynamics.*Identity"):
        DigitDepthExplorer(digit_model("no body"), images, labels, [0])
    small = digit_odenet()
    small.body.f = ConvDynamics(8, 4)
    with pytest.raises(ValueError, match="64 channels in 32 groups, got 8 in 4"):
        DigitDepthExplorer(small, images, labels, [0])


# --- what the traits allow ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "value", "said"),
    [
        (StepSizeExplorer, "method", "dopri5", "euler"),
        (StepSizeExplorer, "problem", "spirall", "pendulum"),
        (StepSizeExplorer, "step_size", 0.0, "positive"),
        (StepSizeExplorer, "step_size", float("inf"), "finite"),
        (StepSizeExplorer, "step_size", "wide", "positive"),
        (ToleranceExplorer, "method", "euler", "tsit5"),
        (ToleranceExplorer, "problem", None, "vanderpol"),
        (ToleranceExplorer, "rtol", -1e-3, "positive"),
        (AdjointExplorer, "problem", "decay", "ring"),
        (AdjointExplorer, "target", [1.0], "2"),
        (AdjointExplorer, "target", [1.0, float("nan")], "finite"),
        (AdjointExplorer, "rtol", float("nan"), "positive"),
        (flow, "method", "implicit", "bosh3"),
        (flow, "start", [1.0], "2 components"),
        (flow, "t_end", 0.0, "later than 0, where span begins"),
        (flow, "t_end", float("inf"), "finite"),
        (flow, "start", 5, "start"),
        (flow, "start", None, "start"),
        (flow, "start", {1: 0, 2: 0}, "start"),
        (flow, "start", "12", "start"),
        (flow, "stage", 0.5, "stage"),
        (flow, "weights", ["AAAA"], "base64"),
        (flow, "weights", [], "1 text"),
        (flow, "weights", ["!!!!"], "must be base64"),
        (flow, "weights", ["abc"], "must be base64"),
        (flow, "stage", 1, "from 0 to 0"),
        (flow, "stage", -1, "from 0 to 0"),
        (flow, "stages", ["end"], "read-only"),
        (flow, "data", [[0, 0]], "read-only"),
        (flow, "widths", [2, 3, 2], "read-only"),
        (digits, "digit", 4, "between 0 and 3"),
        (digits, "digit", -1, "between 0 and 3"),
        (digits, "digit", "seven", "digit"),
        (digits, "digit", 1.5, "digit"),
        (digits, "rtol", 0.0, "positive"),
        (digits, "weights", [], "read-only"),
        (density, "method", "dopri5", "euler"),
        (density, "source", "middle", "noise"),
        (density, "moment", 1.5, "from 0 to 1"),
        (density, "moment", float("nan"), "from 0 to 1"),
        (density, "step_size", 0.0, "positive"),
        (density, "weights", ["AAAA"], "base64"),
        (density, "stage", 1, "from 0 to 0"),
        (density, "particles", ["", ""], "read-only"),
        (latent, "share", 1.2, "from 0 to 1"),
        (latent, "share", float("nan"), "from 0 to 1"),
        (latent, "shift", [0.0], "shift"),
        (latent, "shift", [0.0, float("inf")], "finite"),
        (latent, "method", "rk5", "rk4"),
        (latent, "rtol", -1.0, "positive"),
        (latent, "t_end", 0.0, "positive"),
        (latent, "readout", "", "read-only"),
    ],
)
def test_a_trait_refuses_what_makes_no_sense_and_says_what_is_allowed(
    kind, name, value, said
):
    figure = kind()
    before = getattr(figure, name)
    with pytest.raises(TraitError, match=said):
        setattr(figure, name, value)
    assert getattr(figure, name) == before


def test_new_weights_of_the_right_size_are_taken():
    figure = flow()
    size = len(base64.b64decode(figure.weights[0]))
    figure.weights = [base64.b64encode(bytes(size)).decode()]
    assert not figure.field()(torch.tensor(0.0), torch.ones(2).double()).any()


def test_a_network_the_browser_cannot_evaluate_is_refused():
    window = ((-2, 2), (-2, 2))
    with pytest.raises(TypeError, match=r"MLPDynamics.*ConvDynamics"):
        FlowExplorer(ConvDynamics(), start=(0, 0), window=window)
    with pytest.raises(ValueError, match=r"Tanh.*GELU"):
        FlowExplorer(network(2, nn.GELU), start=(0, 0), window=window)
    with pytest.raises(ValueError, match="window needs one"):
        FlowExplorer(network(2), start=(0, 0), window=((-2, 2),))
    with pytest.raises(ValueError, match="one or two"):
        FlowExplorer(network(3), start=(0, 0, 0), window=((-2, 2),) * 3)


@pytest.mark.parametrize(
    "pair", [(2, -2), (0, 0), (0, float("nan")), (0, float("inf")), (0, 1, 2), 3]
)
def test_an_interval_is_two_finite_numbers_the_lower_one_first(pair):
    said = "must be two finite numbers, the lower one first"
    with pytest.raises(ValueError, match=said):
        FlowExplorer(network(2), start=(0, 0), window=((-2, 2), pair))
    for kind, more in ((FlowExplorer, {"start": (0, 0)}), (DensityFlowExplorer, {})):
        with pytest.raises(ValueError, match=said):
            data = torch.zeros(1, 2)
            kind(network(2), window=((-2, 2),) * 2, span=pair, data=data, **more)


@pytest.mark.parametrize("points", [torch.zeros(4, 3), torch.full((3, 2), torch.nan)])
def test_points_in_a_figure_are_finite_and_of_its_dimension(points):
    window = ((-2, 2),) * 2
    with pytest.raises(ValueError, match=r"data must hold finite numbers.*\(n, 2\)"):
        FlowExplorer(network(2), start=(0, 0), window=window, data=points)
    with pytest.raises(ValueError, match=r"data must hold finite numbers.*\(n, 2\)"):
        DensityFlowExplorer(network(2), window=window, data=points)
    with pytest.raises(ValueError, match=r"codes must hold finite numbers.*\(n, 5\)"):
        latent(codes=torch.cat((points, points), dim=1))


def test_a_path_may_begin_before_time_zero():
    figure = FlowExplorer(network(2), start=(0, 0), window=((-2, 2),) * 2, span=(-1, 0))
    assert figure.t_end == 0.0
    assert figure.solution().t.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("step_size", [1e-4, 1e-12])
def test_too_many_steps_are_refused_at_once(step_size):
    for figure in (StepSizeExplorer(), density()):
        figure.step_size = step_size
        with pytest.raises(SolverError, match=r"max_steps allows only \d{3,}"):
            figure.solution()


def test_a_choice_of_digits_is_not_empty():
    with pytest.raises(ValueError, match="indices must name at least one image"):
        DigitDepthExplorer(
            digit_odenet(), torch.rand(1, 1, 28, 28), torch.zeros(1).long(), []
        )


def test_a_figure_is_shown_as_a_sentence_without_javascript_and_as_a_widget(
    monkeypatch,
):
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setitem(sys.modules, "google.colab.output", MagicMock())
    shown = []
    monkeypatch.setattr(
        figure_module, "display", lambda *a, **kw: shown.append((a[0], kw))
    )
    StepSizeExplorer()._ipython_display_()
    (sentence, _), (view, settings) = shown
    assert "<noscript>" in sentence["text/html"]
    kind = "application/vnd.jupyter.widget-view+json"
    assert kind in view
    assert "custom_widget_manager" in settings["metadata"][kind]["colab"]  # for Colab

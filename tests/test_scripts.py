"""The live figures compute in the browser what they compute in Python."""

import hashlib
import json
import linecache
import os
import random
import re
import shutil
import subprocess
import sys
from itertools import product

import torch
from conftest import ROOT
from figures import (
    READINGS,
    between_nodes,
    density,
    digits,
    driven,
    flow,
    latent,
    network,
    sampler,
    scaling,
    swing,
)
from playwright._impl._driver import compute_driver_executable
from torch import nn

from course_lib import checks
from course_lib.paths import PATHS
from course_lib.solvers import METHODS, SolverError, solve
from course_lib.systems import SYSTEMS
from course_lib.widgets import (
    AdjointExplorer,
    FixedPointExplorer,
    HorizonExplorer,
    NoiseExplorer,
    StepAttempt,
    StepExplorer,
    TrainExplorer,
)
from course_lib.widgets.learner import (
    GRADIENTS,
    Recipe,
    batch_of,
    first_weights,
    loss_of,
    model_of,
)
from course_lib.widgets.page import module

COUNTS = ("nfe", "accepted", "rejected")
LISTED = ("rk_step", "adaptive_steps", "fixed_steps")
SHAPE = ("widths", "activation", "time")
LATENT = (*SHAPE, "weights", "snapshot", "readout", "readout_widths")
LATENT += ("start", "end", "share", "shift", "coordinates")


def some(thing, names) -> dict:
    """Return the attributes of these names."""
    return {name: getattr(thing, name) for name in names}


def settings_of(method: str, size: float) -> dict:
    """Return settings as scripts take them: `size` is the step size or the tolerance."""
    how = (
        dict(rtol=size, atol=size) if METHODS[method].adaptive else dict(step_size=size)
    )
    return how | {"method": method}


def solve_case(rng: random.Random) -> dict:
    """Return a solve with random settings, and what Python makes of it."""
    problem = rng.choice(list(SYSTEMS))
    system, method = SYSTEMS[problem], rng.choice(list(METHODS))
    y0 = [rng.uniform(-1.2, 1.2) for _ in system.y0]
    start, length = rng.uniform(-1, 1), rng.uniform(0.5, 4.0)
    backward = problem in ("oscillator", "spiral", "pendulum") and rng.random() < 0.5
    span = [start, start - length if backward else start + length]
    if METHODS[method].adaptive:
        settings = {k: 10 ** rng.uniform(-9, -2) for k in ("rtol", "atol")}
        inner = [span[0] + rng.random() * (span[1] - span[0]) for _ in range(3)]
        inner.sort(reverse=backward)
    else:
        settings, inner = {"step_size": 10 ** rng.uniform(-2.5, -1)}, []
    t = torch.tensor([span[0], *inner, span[1]], dtype=torch.float64)
    y = torch.tensor(y0, dtype=torch.float64)
    made = solve(system.f, y, t, method=method, **settings)
    expected = some(made, COUNTS) | {"end": made.ys[-1].tolist()}
    if inner:
        expected |= {"times": inner, "inside": made.ys[1:-1].tolist()}
    return dict(
        problem=problem,
        y0=y0,
        span=span,
        settings=settings | {"method": method},
        expected=expected,
    )


def network_cases() -> list[dict]:
    rows = []
    for kind, time, dim in product((nn.Tanh, nn.ELU, nn.ReLU), (False, True), (1, 2)):
        f = network(dim, kind, time)
        figure = flow(f, start=[0.5] * dim, window=[(-2, 2)] * dim)
        field, ys = figure.field(), 3 * torch.randn(20, dim, dtype=torch.float64)
        moments = torch.linspace(0, 2, 20, dtype=torch.float64)
        points = [
            (t.item(), y.tolist(), field(t, y).tolist()) for t, y in zip(moments, ys)
        ]
        rows.append(
            some(figure, SHAPE) | dict(weights=figure.weights[0], points=points)
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
            given = dict(problem=problem, y=y.tolist(), lam=lam.tolist())
            rows.append(given | {"expected": out.tolist()})
    return rows


def adjoint_cases() -> list[dict]:
    rows = []
    for problem, rtol in product(("ring", "spiral", "pendulum"), (1e-4, 1e-6)):
        given = dict(problem=problem, target=[0.7, -1.1], rtol=rtol)
        made = AdjointExplorer(**given).solution()
        vectors = some(made, ("gradient", "exact", "reconstructed"))
        expected = {name: vector.tolist() for name, vector in vectors.items()}
        rows.append(given | {"expected": expected | {"nfe_back": made.nfe_back}})
    return rows


def fixed_point_cases() -> list[dict]:
    rows = []
    weights = {"line": (0.6, -0.9), "tanh": (0.9, -1.5), "plane": (0.8, 1.2)}
    for problem, method in product(weights, ("plain", "anderson", "newton")):
        for weight in weights[problem]:
            given = dict(problem=problem, weight=weight, method=method, start=-1.2)
            try:
                made = FixedPointExplorer(**given).solution()
                expected = some(made, ("residuals", "evaluations"))
                expected |= {"z": made.z.tolist()}
            except SolverError:
                expected = None
            rows.append(given | {"expected": expected})
    assert sum(row["expected"] is None for row in rows) >= 2
    return rows


def digit_cases() -> list[dict]:
    rows = []
    for growth in (1.0, 20.0):
        figure = digits(3, growth)
        for figure.digit, figure.rtol in product(range(3), (1e-1, 1e-3, 1e-4)):
            made = figure.solution()
            expected = some(made.solve, COUNTS)
            expected["probabilities"] = made.probabilities.tolist()
            given = some(figure, ("weights", "rtol"))
            given["feature"] = figure.features[figure.digit]
            rows.append(given | {"expected": expected})
    assert any(row["expected"]["rejected"] for row in rows)
    return rows


def convolution_cases() -> list[dict]:
    """Return pictures with their borders, kernels, and what PyTorch makes of them."""
    found = []
    for inputs, outputs in ((1, 2), (3, 4), (65, 64)):
        picture = torch.randn(inputs, 6, 6, dtype=torch.float64)
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, dtype=torch.float64)
        with torch.no_grad():
            expected = conv(picture[None])[0]
        found.append(
            dict(
                picture=nn.functional.pad(picture, (1, 1, 1, 1)).flatten().tolist(),
                kernels=conv.weight.flatten().tolist(),
                bias=conv.bias.tolist(),
                expected=expected.flatten().tolist(),
            )
        )
    return found


def flight_cases() -> list[dict]:
    """Return particles in flight: there and back, at a step, between two and at both ends."""
    rows = []
    for source, method, moment in product(
        ("noise", "data"), ("euler", "rk4"), (0.0, 0.5, 0.6, 1.0)
    ):
        h = 0.3 if moment == 0.6 else 0.25
        how = dict(source=source, method=method, step_size=h, moment=moment)
        figure = density(network(2, nn.ELU, time=moment > 0.5), **how)
        rows.append(
            dict(
                network=some(figure, SHAPE) | {"weights": figure.weights[0]},
                start=figure.particles[source == "data"],
                span=list(figure.span)[:: -1 if source == "data" else 1],
                settings=settings_of(method, h),
                moment=moment,
                expected=figure.positions().tolist(),
            )
        )
    return rows


def swing_cases() -> list[dict]:
    """Return pendulums by every field and method that fit, with steps that divide the time
    and steps that do not.
    """
    rows = []
    fields, methods = ("true", "plain", "hamiltonian"), ("euler", "rk4", "leapfrog")
    for field, method, h in product(fields, methods, (0.25, 0.3)):
        if (field, method) == ("plain", "leapfrog"):
            continue
        figure = swing(field=field, method=method, step_size=h, t_end=8.0)
        made = figure.solution()
        rows.append(
            dict(
                widths=list(figure.widths),
                weights=list(figure.weights),
                field=field,
                order=some(figure, ("method", "step_size", "t_end", "start")),
                t=made.t.tolist(),
                ys=made.ys.tolist(),
                energy=made.energy.tolist(),
            )
        )
    return rows


def horizon_cases() -> list[dict]:
    """Return misfits over several horizons, with and without windows and noise."""
    rows = []
    for horizon, windows, noise in product((4.0, 17.25, 40.0), (1, 3, 8), (0.0, 0.3)):
        figure = HorizonExplorer(
            horizon=horizon, windows=windows, noise=noise, start=1.8, steps=7
        )
        made = figure.solution()
        rows.append(
            dict(
                task=some(figure, ("horizon", "windows", "noise", "draws")),
                start=figure.start,
                steps=figure.steps,
                loss=made.loss.tolist(),
                minima=made.minima,
                basin=made.basin,
                path=made.path.tolist(),
                curve=made.curve[~made.curve[:, 0].isnan()].tolist(),
            )
        )
    return rows


def graph_cases() -> list[dict]:
    """Return flows on graphs by several solvers, one of which explodes."""
    rows = []
    solvers = (("euler", 0.05), ("euler", 0.2), ("rk4", 0.3), ("dopri5", 1e-4))
    for kind, graph, (method, size) in product(
        ("heat", "learnt"), ("club", "ring"), solvers
    ):
        settings = settings_of(method, size)
        how = {name: settings[name] for name in settings if name != "atol"}
        figure = between_nodes(kind=kind, graph=graph, **how)
        found = figure.solution()
        traits = ("names", "graph", "edges", "places", "labels", "ends", "weights")
        rows.append(
            dict(
                traits=some(figure, (*traits, "warm", "cold")),
                **dict(kind=kind, settings=settings, end=figure.t),
                t=found.t.tolist(),
                values=found.values.flatten().tolist(),
                energy=found.energy.tolist(),
            )
        )
    return rows


def driven_cases() -> list[dict]:
    """Return paths of every kind, of which all, some, one or none of the readings is known,
    and what they drive.
    """
    rows = []
    for name, moment in product(PATHS, (1.0, 0.5, 0.15, 0.0)):
        start = 0 if moment else 1  # none is known at 0
        how = dict(interpolation=name, moment=moment)
        figure = driven(readings=READINGS[start:], **how)
        made = figure.solution()
        parts = ("path", "states", "probability")
        rows.append(
            dict(
                traits=some(figure, ("readings", "interpolation", "moment")),
                shape=list(figure.shape),
                weights=figure.weights,
                leak=made.leak,
                whole=[getattr(made.whole, x).flatten().tolist() for x in parts],
                known=made.known
                and [getattr(made.known, x).flatten().tolist() for x in parts],
            )
        )
    two = driven(readings=READINGS[:2], interpolation="natural cubic")
    assert two.solution().leak == 0
    return rows


def share_cases() -> list[dict]:
    """Return shared steps, small and large, on slow wires and fast ones."""
    rows = []
    names = ("batch", "network", "share", "bandwidth", "faster", "unsplit")
    for name, share, batch in product(
        ("small", "large"), ("one", "each"), (1, 64, 4096)
    ):
        for bandwidth, faster, unsplit in ((1e9, 1.0, 1.0), (3e6, 40.0, 0.1)):
            values = (batch, name, share, bandwidth, faster, unsplit)
            figure = scaling(**dict(zip(names, values)))
            made = figure.solution()
            rows.append(
                dict(
                    traits=some(figure, (*names, "names", "costs")),
                    parts=torch.stack((made.rows, made.fixed, made.messages)).tolist(),
                    speed_up=made.speed_up.tolist(),
                    best=made.best,
                )
            )
    return rows


def latent_cases() -> list[dict]:
    """Return points on and off the walk, their paths and the ends of their curves."""
    rows = []
    sizes = {"rk4": 0.3, "euler": 0.1, "dopri5": 1e-4}
    for (method, size), share in product(sizes.items(), (0.0, 0.37, 1.0)):
        settings = settings_of(method, size)
        how = {name: settings[name] for name in settings if name != "atol"}
        shift = [0.5, -1.0] if share else [0.0, 0.0]
        figure = latent(share=share, shift=shift, **how)
        found = figure.solution()
        rows.append(
            dict(
                traits=some(figure, LATENT),
                settings=settings,
                span=[0, figure.t_end],
                code=found.code.tolist(),
                nfe=found.solve.nfe,
                ends=found.ends.flatten().tolist(),
            )
        )
    return rows


def sample_cases() -> list[dict]:
    """Return digits from noise by every kind of solver, and what Python makes of them."""
    rows = []
    for how in (
        dict(grid="classes"),
        dict(method="rk4", steps=5, moment=0.33, mix=0.4, guidance=2.0, at=[-1, 2.5]),
        dict(method="euler", steps=3, moment=0.5, guidance=0.0, grid="walk", seed=9999),
        dict(method="dopri5", rtol=1e-4, moment=0.5, label="none", grid="noises"),
        dict(method="tsit5", rtol=1e-2, guidance=1.0, moment=0.0, seed=7),
        dict(method="bosh3", mix=1.0, other="none", moment=0.999, grid="walk"),
    ):
        figure = sampler(**how)
        made = figure.solution()
        vectors = some(made, ("noise", "state", "guess", "image", "guessed"))
        vectors["end"] = made.solve.ys[-1]
        if figure.grid != "none":
            vectors["many"] = figure.images()
        state = figure.get_state()
        rows.append(
            dict(
                traits={k: state[k] for k in state if not k.startswith("_")},
                expected=some(made.solve, COUNTS)
                | {name: vector.flatten().tolist() for name, vector in vectors.items()},
            )
        )
    return rows


def work_of(figure: StepExplorer, loop: str) -> list[str]:
    """Return the marked lines of a listing as Python executes them."""
    listing = figure.listing[loop]
    marked = {
        listing[i].strip() for lines in figure.marks[loop].values() for i in lines
    }
    executed = []

    def trace(frame, event, _):
        code, up, callers = frame.f_code, frame, []
        while len(callers) < 3 and (up := up.f_back):
            callers.append(up.f_code.co_name)
        far = callers[2:] if code.co_name == "rk_step" else callers[:1]
        if code.co_name not in LISTED or far[:1] not in (["_adaptive"], ["_fixed"]):
            return None
        if event == "line":
            line = linecache.getline(code.co_filename, frame.f_lineno).strip()
            executed.extend({line} & marked)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        figure.solution()
    finally:
        sys.settrace(before)
    return executed


def attempt_cases() -> list[dict]:
    """Return attempts taken apart, there and back, and the lines that Python executed."""
    rows = []
    for method, problem, backward in product(
        METHODS, ("vanderpol", "ring", "pendulum"), (False, True)
    ):
        rtol = dict(bosh3=1e-3, dopri5=1e-5, tsit5=1e-2).get(method, 1e-3)
        figure = StepExplorer(
            problem=problem,
            method=method,
            backward=backward,
            rtol=rtol,
            step_size=0.15,
            first_step=1.0 if problem == "ring" else 0.8,
            start=[0.7, -0.4],
            attempts=7,
        )
        loop = "adaptive" if METHODS[method].adaptive else "fixed"
        state = figure.get_state()
        rows.append(
            dict(
                traits={k: state[k] for k in state if not k.startswith("_")},
                loop=loop,
                executed=work_of(figure, loop),
                attempts=[numbers(one) for one in figure.solution()],
            )
        )
    assert any(not one["accepted"] for row in rows for one in row["attempts"])
    return rows


def numbers(attempt: StepAttempt) -> dict:
    """Return an attempt as numbers."""
    return {
        name: value.flatten().tolist() if isinstance(value, torch.Tensor) else value
        for name, value in vars(attempt).items()
    }


def recipe(rng: random.Random, model, method, gradient, task) -> Recipe:
    """Return what is trained by a method and a gradient, all else being drawn."""
    size = (
        10 ** rng.uniform(-7, -3)
        if METHODS[method].adaptive
        else rng.choice((0.15, 0.2, 0.25, 1.0))
    )
    how = settings_of(method, size)
    return Recipe(
        model=model,
        width=rng.choice((3, 4, 7, 8)),
        hidden=rng.choice((1, 2, 3)),
        extra=0 if task == "path" else rng.choice((0, 1, 2, 3)),
        time=rng.random() < 0.5,
        layers=rng.choice((1, 3, 6)),
        shared=rng.random() < 0.5,
        gradient=gradient,
        solver=how,
    )


def rows_of(task: str, rng: random.Random) -> dict[str, torch.Tensor | None]:
    """Return some rows to learn from, in float64."""
    n, dim = rng.choice((1, 5, 11)), 1 if task == "values" else 2
    x = 1.5 * torch.randn(n, dim, dtype=torch.float64)
    if task == "classes":
        return dict(x=x, y=(x.norm(dim=1) > 1).double(), t=None)
    if task == "values":
        return dict(x=x, y=-x[:, 0], t=None)
    t = torch.linspace(0, 1.2, rng.choice((2, 5)), dtype=torch.float64)
    return dict(x=x, y=torch.randn(len(t), n, dim, dtype=torch.float64), t=t)


def carried(recipe: Recipe, task: str, rows: dict, model: nn.Module) -> dict:
    """Return what scripts are given of a model that is trained on some rows."""
    times = rows["t"].tolist() if task == "path" else []
    data = dict(
        task=task,
        dim=rows["x"].shape[1],
        x=rows["x"].flatten().tolist(),
        y=rows["y"].flatten().tolist(),
        times=times,
    )
    theta = nn.utils.parameters_to_vector(model.parameters()).tolist()
    return dict(recipe=vars(recipe), rows=data, theta=theta)


def noise_cases() -> list[dict]:
    """Return paths of every system by every method, at times between steps and on one."""
    rows = []
    systems, methods = NoiseExplorer.system.values, NoiseExplorer.method.values
    for i, (system, method) in enumerate(product(systems, methods)):
        order = dict(system=system, method=method, halvings=2 + i % 4, seed=37 * i)
        figure = NoiseExplorer(**order, moment=(0.5, 0.63, 2.0)[i % 3])
        made = figure.solution()
        expected = {
            name: getattr(made, name).flatten().tolist()
            for name in ("exact", "at", "x", "density")
        }
        expected["ys"] = made.ys[:, :5].flatten().tolist()
        rows.append(dict(order=order, moment=figure.moment, expected=expected))
    return rows


def gradient_case(rng: random.Random, *kinds: str) -> dict:
    """Return a model with random weights, and the gradient that autograd finds."""
    model_name, method, gradient, task = kinds
    made = recipe(rng, model_name, method, gradient, task)
    rows = rows_of(task, rng)
    model = model_of(made, task, rows["x"].shape[1])
    first_weights(model, rng.randrange(1000))
    for p in model.parameters():
        if p.requires_grad:
            p.data *= rng.uniform(1, 2)
    field = getattr(model, "f", None) or getattr(model[0], "f", None)
    calls = []
    if field is not None:
        field.register_forward_hook(lambda *_: calls.append(1))
    loss = loss_of(model, task, **rows)
    there = len(calls)
    loss.backward()
    grad = [
        torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()
    ]
    flat = torch.cat([g.flatten() for g in grad]).tolist()
    counts = dict(nfe=there, nfeBack=len(calls) - there)
    return carried(made, task, rows, model) | dict(
        expected=dict(loss=loss.item(), grad=flat) | counts
    )


def gradient_cases(rng: random.Random) -> list[dict]:
    flows = product(["ode"], METHODS, GRADIENTS, ("classes", "values", "path"))
    rest = product(["mlp", "resnet"], ["rk4"], ["direct"], ("classes", "values"))
    return [gradient_case(rng, *kinds) for kinds in (*2 * [*flows], *4 * [*rest])]


def training_cases(rng: random.Random) -> list[dict]:
    """Return fifty steps of training, from weights and batches drawn as in the page."""
    rows = []
    for model_name, task in product(("mlp", "resnet", "ode"), ("classes", "values")):
        for optimizer, kind in dict(sgd=torch.optim.SGD, adam=torch.optim.Adam).items():
            method = rng.choice(list(METHODS))
            made = recipe(rng, model_name, method, rng.choice(list(GRADIENTS)), task)
            seed, size, data = rng.randrange(1000), 8, rows_of(task, random.Random(3))
            model = model_of(made, task, data["x"].shape[1])
            first_weights(model, seed)
            free = [p for p in model.parameters() if p.requires_grad]
            lr = 0.05
            descent = kind(free, lr=lr)
            for step in range(50):
                chosen = batch_of(len(data["x"]), size, seed, step)
                descent.zero_grad()
                loss_of(model, task, data["x"][chosen], data["y"][chosen]).backward()
                descent.step()
            how = dict(optimizer=optimizer, lr=lr, seed=seed, size=size)
            rows.append(carried(made, task, data, model) | how)
    return rows


def explorer_cases() -> list[dict]:
    """Return figures that train, their rows and the first weights of their models."""
    rows = []
    names = [*TrainExplorer().sets, "own points", "own path"]
    for name, seed in zip(names, range(len(names))):
        figure = TrainExplorer(
            data=name,
            seed=seed,
            points=[[0, 1, 0], [1, 0, 1], [2, 2, 1]],
            track=[[0, 0], [1, 0], [1, 1]],
            second="mlp",
            third="resnet, own",
        )
        x, y, t = figure.rows()
        data = dict(x=x, y=y, t=torch.empty(0) if t is None else t)
        models = map(figure.model, range(len(figure.models)))
        theta = [nn.utils.parameters_to_vector(m.parameters()).tolist() for m in models]
        state = figure.get_state()
        rows.append(
            dict(
                traits={k: state[k] for k in state if not k.startswith("_")},
                rows={k: v.flatten().tolist() for k, v in data.items()},
                weights=theta,
            )
        )
    return rows


def hash_cases(rng: random.Random) -> list[dict]:
    """Return texts of every length around one and two blocks, and their hashes."""
    texts = ["".join(rng.choices("abc |−.019é∂𝛼", k=n)) for n in range(140)]
    return [
        {"text": text, "hash": hashlib.sha256(text.encode()).hexdigest()}
        for text in texts
    ]


def number_cases(rng: random.Random) -> list[dict]:
    """Return checks of a number, answers to them, and what becomes of the answers."""
    rows = []
    for _ in range(60):
        tolerance = rng.choice([1e-6, 2e-3, 0.5, 7.0])
        value = rng.uniform(-300, 300) * tolerance
        for off, expected in ((0.94, "right"), (1.11, "nearly"), (2.9, "nearly")):
            away = rng.choice([-1, 1]) * off * tolerance
            rows.append((value, tolerance, value + away, expected))
        rows.append((value, tolerance, value + 3.1 * tolerance, "wrong"))
    for value in (0, 1, -7, 5704, 10**9):
        rows += [(value, 0.0, value, "right"), (value, 0.0, value + 1, "wrong")]
    return [
        dict(
            sealed=checks.number("00-case", "?", value, tolerance=tolerance).task[
                "sealed"
            ],
            tried=tried,
            expected=expected,
        )
        for value, tolerance, tried, expected in rows
    ]


def test_the_javascript_computes_what_python_computes(tmp_path):
    shutil.copytree(module.FIGURES, tmp_path, dirs_exist_ok=True)
    shutil.copytree(module.FIGURES.with_name("checks"), tmp_path / "checks")
    (tmp_path / module.TABLES).write_text(module.tables(), encoding="utf-8")
    rng = random.Random(0)
    torch.manual_seed(0)
    cases = {
        "solves": [solve_case(rng) for _ in range(240)],
        "networks": network_cases(),
        "pullbacks": pullback_cases(),
        "adjoints": adjoint_cases(),
        "digits": digit_cases(),
        "convolutions": convolution_cases(),
        "fixed points": fixed_point_cases(),
        "flights": flight_cases(),
        "walks": latent_cases(),
        "samples": sample_cases(),
        "swings": swing_cases(),
        "horizons": horizon_cases(),
        "graphs": graph_cases(),
        "driven": driven_cases(),
        "noises": noise_cases(),
        "shares": share_cases(),
        "gradients": gradient_cases(rng),
        "trainings": training_cases(rng),
        "explorers": explorer_cases(),
        "hashes": hash_cases(rng),
        "numbers": number_cases(rng),
        "attempts": attempt_cases(),
    }
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    node, *_ = compute_driver_executable()  # playwright brings its own
    files = sorted((ROOT / "tests" / "js").glob("*.test.mjs"))
    run = subprocess.run(
        [node, "--test", *files],
        env=os.environ
        | {"MODULES": str(tmp_path), "CASES": str(tmp_path / "cases.json")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    tests = sum(file.read_text().count("\ntest(") for file in files)
    assert re.search(rf"pass {tests}\b", run.stdout), run.stdout


def test_the_type_checker_knows_the_tables_as_python_writes_them():
    declared = (module.PAGE / "tables.d.mts").read_text()
    constants = re.compile(r"^export const (\w+)", re.MULTILINE)
    assert constants.findall(declared) == constants.findall(module.tables())
    for name, columns in (("Method", module.METHOD), ("System", module.SYSTEM)):
        (body,) = re.findall(rf"interface {name} {{(.*?)}}", declared, re.DOTALL)
        assert sorted(re.findall(r"^  (\w+):", body, re.M)) == sorted(columns)

"""Graphs, chapter 21: accuracy against depth, and oscillators with and without their graph.

Every model of a curve passes messages `depth` times, at one width, between the same two
linear maps. The recipes are fixed beforehand: no step of a training is chosen by its
score, and depth is for the reader to choose by the validation labels, which are recorded
beside those of the test. Label propagation has a grid of its own, chosen the same way.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from course_lib import data, measuring, records, training
from course_lib.data import Graph, block_model, generator, nearest_neighbours
from course_lib.models import (
    AttentionField,
    CoupledField,
    GraphField,
    GraphLayers,
    HeatField,
    MLPDynamics,
    NodeClassifier,
    PairFunction,
    graph_ode,
    kuramoto,
    label_propagation,
    propagation,
)
from course_lib.solvers import odeint

BY = ("what", "task", "model", "depth", "seed")
WIDTH = 16
EACH = 10  # labels of a class that are given; as many to validate
STEPS = 100


# --- which nodes are of which class ---------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A graph, what is known of each node, and which labels are for what.

    Attributes
    ----------
    graph : Graph
    x : Tensor, shape (n, inputs)
    train, validation, test : Tensor of bool, shape (n,)
    """

    graph: Graph
    x: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor


def task_of(graph: Graph, x: Tensor, seed: int) -> Task:
    """Draw the labels that are given, and those that validate, from each class."""
    train, validation = torch.zeros(2, len(graph), dtype=torch.bool)
    g = generator(1000 + seed)
    for label in graph.labels.unique():
        nodes = (graph.labels == label).nonzero()[:, 0]
        nodes = nodes[torch.randperm(len(nodes), generator=g)]
        train[nodes[:EACH]] = True
        validation[nodes[EACH : 2 * EACH]] = True
    return Task(graph, x, train, validation, ~(train | validation))


def blocks(seed: int) -> Task:
    """Four blocks of a hundred nodes; features that tell little by themselves."""
    graph = block_model((100,) * 4, 0.07, 0.01, seed=seed)
    g = generator(seed)
    middles = torch.randn(4, WIDTH, generator=g)
    noise = torch.randn(len(graph), WIDTH, generator=g)
    return task_of(graph, middles[graph.labels] + 3 * noise, seed)


@cache
def digits_graph() -> tuple[Graph, Tensor]:
    """The first 3,000 bundled test digits on 50 principal axes, each tied to its ten
    nearest.
    """
    images, labels, _ = digits()
    flat = images.flatten(1)
    flat = flat - flat.mean(dim=0)
    _, _, V = torch.linalg.svd(flat, full_matrices=False)
    points = flat @ V[:50].T
    return nearest_neighbours(points, 10, labels), points / points.std()


def digits() -> tuple[Tensor, Tensor, str]:
    """Images between 0 and 1, labels, and which set it is."""
    found = data.mnist(train=False)
    return found.images[:3000], found.labels[:3000], found.source


def handwriting(seed: int) -> Task:
    """Digits, of which ten a class have their label."""
    return task_of(*digits_graph(), seed)


TASKS: dict[str, Callable[[int], Task]] = {"blocks": blocks, "digits": handwriting}
DEPTHS = {"blocks": (1, 2, 4, 8, 16, 32, 64), "digits": (1, 2, 4, 8, 16, 32)}


def messages(model: str, graph: Graph, depth: int) -> nn.Module:
    """What passes messages `depth` times, fresh."""
    A = graph.adjacency(sparse=True)
    P = propagation(A)
    if model == "blind":
        return GraphLayers(torch.eye(len(graph)).to_sparse(), WIDTH, depth)
    if model in ("gcn", "residual"):
        return GraphLayers(P, WIDTH, depth, residual=model == "residual")
    fields = {
        "heat": lambda: HeatField(laplacian_of(P)),
        "attention": lambda: AttentionField(A, WIDTH),
        "field": lambda: GraphField(P, WIDTH),
    }
    return graph_ode(fields[model](), depth)


def laplacian_of(P: Tensor) -> Tensor:
    """``I - P``, sparse."""
    return (torch.eye(len(P)).to_sparse() - P).coalesce()


MODELS = ("gcn", "residual", "heat", "attention", "field")
BLIND = (8, 16, 32)  # depths of layers without edges: do they fail for depth alone?


def accuracy(scores: Tensor, task: Task, which: Tensor) -> float:
    """Share of the nodes `which` whose highest score is that of their class."""
    return (scores.argmax(1) == task.graph.labels)[which].double().mean().item()


def learn(task: Task, part: nn.Module) -> tuple[NodeClassifier, training.History]:
    """Train on the labels that are given; the same recipe for all."""
    labels = task.graph.labels
    net = NodeClassifier(task.x.shape[1], WIDTH, int(labels.max()) + 1, part)

    def loss():
        scores = net(task.x)[task.train]
        return nn.functional.cross_entropy(scores, labels[task.train])

    def adam(parameters, lr):
        return torch.optim.Adam(parameters, lr=lr, weight_decay=5e-4)

    batches: list[tuple] = [()] * STEPS
    done = training.one_cycle(net, batches, loss, lr=2e-2, optimizer=adam, clip=1.0)
    return net, done


def classified(name: str, model: str, depth: int, seed: int) -> dict:
    """Train one model, or spread labels; how it was made and what it gets right."""
    if model == "propagation":
        return spread(name, seed)
    task, start = TASKS[name](seed), time.process_time()
    training.seed(seed)
    part = messages(model, task.graph, depth) if depth else nn.Identity()
    net, history = learn(task, part)
    with torch.no_grad():
        scores = net(task.x)
    return records.made(
        what="nodes",
        task=name,
        model=model,
        depth=depth,
        seed=seed,
        cpu_seconds=round(time.process_time() - start, 1),
        parameters=measuring.count_parameters(net),
        final_loss=history.losses[-1],
        **judged(scores, task),
    )


def judged(scores: Tensor, task: Task) -> dict:
    """The share that is right, of each set of nodes."""
    names = ("train", "validation", "test")
    return {n: accuracy(scores, task, getattr(task, n)) for n in names}


def spread(name: str, seed: int) -> dict:
    """Label propagation, with the share kept and the rounds that validate best."""
    task = TASKS[name](seed)
    A = task.graph.adjacency(sparse=True)
    grid = itertools.product((0.5, 0.8, 0.9, 0.95, 0.99), (1, 2, 5, 10, 50))
    tried = [
        dict(keep=keep, rounds=rounds, **judged(scores, task))
        for keep, rounds in grid
        for scores in [
            label_propagation(
                A, task.graph.labels, task.train, keep=keep, rounds=rounds
            )
        ]
    ]
    best = max(tried, key=lambda row: row["validation"])  # the first of equals
    return records.made(
        what="nodes", task=name, model="propagation", depth=0, seed=seed, **best
    )


# --- oscillators ----------------------------------------------------------------------

N = 10
SEEN = dict(points=31, gap=0.1, noise=0.02)
WINDOW = dict(points=6, batch=64, steps=800)
SPARSE = 1e-3
# How many paths a field sees, and what an edge costs it.
OSCILLATORS = {
    "given": (40, 0.0),
    "found": (40, SPARSE),
    "found, edges free": (40, 0.0),
    "plain": (40, 0.0),
    "plain, ten times the paths": (400, 0.0),
}


def circle(seed: int) -> tuple[CoupledField, Tensor]:
    """Ten oscillators on a random graph of fifteen edges, not all in step, and its
    matrix.
    """
    g = generator(seed)
    pairs = torch.triu_indices(N, N, 1)
    chosen = pairs[:, torch.randperm(pairs.shape[1], generator=g)[:15]]
    A = torch.zeros(N, N)
    A[chosen[0], chosen[1]] = A[chosen[1], chosen[0]] = 1.0
    return kuramoto(A, torch.randn(N, generator=g), coupling=0.5), A


def starts(n: int, g: torch.Generator) -> Tensor:
    """Angles from anywhere on the circle, shape (n, N)."""
    return 2 * torch.pi * torch.rand(n, N, generator=g)


class AnyAngles(MLPDynamics):
    """A network of the sines and cosines of all angles, which knows of no graph."""

    def __init__(self, hidden: tuple[int, ...]):
        super().__init__(N, hidden)
        self.net[0] = nn.Linear(2 * N, hidden[0])

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """The derivative at the angles y."""
        return self.net(torch.cat((y.sin(), y.cos()), dim=-1))


def oscillators(model: str, A: Tensor) -> nn.Module:
    """A fresh field that is given the graph, must find it, or has none."""
    if model.startswith("plain"):
        return AnyAngles((64, 64))
    given = A if model == "given" else nn.Parameter(0.5 * (1 - torch.eye(N)))
    return CoupledField(nn.Parameter(torch.zeros(N)), given, PairFunction((16,)))


def edge_count(f) -> Tensor:
    """``|w|₁ / |w|₂``, whatever their scale: √n for n equal weights."""
    w = f.weights - f.weights.diag().diag()
    return w.abs().sum() / w.square().sum().sqrt()


def watch(f: nn.Module, paths: int, seed: int) -> Tensor:
    """Noisy angles from random starts, shape (points, paths, N)."""
    g = generator(100 + seed)
    t = SEEN["gap"] * torch.arange(SEEN["points"])
    with torch.no_grad():
        ys = odeint(f, starts(paths, g), t, rtol=1e-6, atol=1e-6)
    return ys + SEEN["noise"] * torch.randn(ys.shape, generator=g)


def learn_oscillators(f: nn.Module, seen: Tensor, seed: int, sparse: float):
    """Train on windows through RK4, a step from reading to reading."""
    g, points = generator(200 + seed), WINDOW["points"]
    moments = SEEN["gap"] * torch.arange(points)

    def window():
        first = torch.randint(len(seen) - points + 1, (WINDOW["batch"],), generator=g)
        path = torch.randint(seen.shape[1], (WINDOW["batch"],), generator=g)
        return (seen[first + torch.arange(points)[:, None], path],)

    def loss(y):
        ys = odeint(f, y[0], moments, method="rk4", step_size=SEEN["gap"])
        misfit = (ys - y).square().mean()
        return misfit + sparse * edge_count(f) if sparse else misfit

    batches = [window() for _ in range(WINDOW["steps"])]
    return training.one_cycle(f, batches, loss, lr=2e-2)


def coupled(model: str, seed: int) -> dict:
    """Train one field on a graph of this seed; its errors, and the edges that it names.

    An edge is named where the weight is above half of the largest.
    """
    true, A = circle(seed)
    training.seed(seed)
    f, start = oscillators(model, A), time.process_time()
    paths, sparse = OSCILLATORS[model]
    history = learn_oscillators(f, watch(true, paths, seed), seed, sparse)
    row = records.made(
        what="oscillators",
        task="kuramoto",
        model=model,
        depth=0,
        seed=seed,
        cpu_seconds=round(time.process_time() - start, 1),
        parameters=measuring.count_parameters(f),
        final_loss=history.losses[-1],
        **far_off(f, true),
    )
    return row | (named(f, A) if model.startswith("found") else {})


def far_off(f: nn.Module, true: nn.Module) -> dict:
    """Distances on the unit circle from the true paths of new starts, root mean square."""
    t = torch.tensor([0.0, 3.0, 30.0])
    y0 = starts(100, generator(10_000))
    with torch.no_grad():
        ys, to = (odeint(g, y0, t, rtol=1e-5, atol=1e-5) for g in (f, true))
    off = (2 - 2 * (ys - to).cos()).mean(dim=(1, 2)).sqrt()
    return {f"off_at_{int(s)}": e.item() for s, e in zip(t[1:], off[1:])}


def named(f, A: Tensor) -> dict:
    """Precision and recall of the edges, each in both directions, and all weights."""
    w = f.weights.detach()
    w = (w - w.diag().diag()).abs()
    said, there = w > w.max() / 2, A > 0
    hit = (said & there).sum().item()
    return dict(
        precision=hit / said.sum().item(),
        recall=hit / there.sum().item(),
        weights=[[round(v, 4) for v in row] for row in (w / w.max()).tolist()],
    )


# --- all of it ------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Train everything from every seed, and add a row to the results for each."""
    for seed in range(args.seed, args.seed + args.seeds):
        for row in itertools.chain(node_rows(seed, args), oscillator_rows(seed, args)):
            short = {k: v for k, v in row.items() if k not in ("weights", "device")}
            print(short, flush=True)
            records.add_row("graphs", row, by=BY)


def node_rows(seed: int, args: argparse.Namespace):
    """Rows of the depth curves and of label propagation."""
    for name in TASKS:
        if args.task not in (None, name):
            continue
        plan = [
            ("propagation", 0),
            ("none", 0),
            *((model, depth) for depth in DEPTHS[name] for model in MODELS),
        ]
        plan += [("blind", depth) for depth in BLIND] if name == "blocks" else []
        for model, depth in plan:
            if args.model in (None, model):
                yield classified(name, model, depth, seed)


def oscillator_rows(seed: int, args: argparse.Namespace):
    """Rows of the oscillators."""
    if args.task in (None, "kuramoto"):
        for model in OSCILLATORS:
            if args.model in (None, model):
                yield coupled(model, seed)

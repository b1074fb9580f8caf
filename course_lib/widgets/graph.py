"""Live figure: heat, or a learnt flow, on a graph, and what is left of the differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import traitlets
from torch import Tensor, nn

from course_lib.data import Graph
from course_lib.models import (
    GraphField,
    HeatField,
    NodeClassifier,
    laplacian,
    propagation,
    smoothing_energy,
)
from course_lib.solvers import METHODS, Solution, solve
from course_lib.widgets.figure import LiveFigure, step_ends
from course_lib.widgets.page.module import MAX_STEPS, module, style
from course_lib.widgets.traits import Positive, Whole, within
from course_lib.widgets.wire import decode, encode

__all__ = ["GraphExplorer", "GraphSolution", "laid_out"]

MOST_NODES = 100


@dataclass(frozen=True)
class GraphSolution:
    """What the figure shows: a number for every node at the ends of the steps.

    Attributes
    ----------
    t : Tensor, shape (steps + 1,)
    values : Tensor, shape (steps + 1, n), heat, or what the learnt flow reads off
    energy : Tensor, shape (steps + 1,), ``½ Σ a_ij (v_i - v_j)²``
    """

    t: Tensor
    values: Tensor
    energy: Tensor


class GraphExplorer(LiveFigure):
    """Heat or a learnt flow on a graph whose nodes the reader warms and cools.

    Parameters
    ----------
    flow : NodeClassifier from one number to one number, without bias, whose messages are a
        neural ODE of a GraphField without bias
        A node that is warm starts from 1, one that is cold from -1; the learnt flow mixes
        by the mean of a node and its neighbours, whatever its `P` was.
    graphs : Mapping from a name to a Graph of at most 100 nodes
    warm, cold : sequences of int, the nodes; numbers that a graph does not have mean none
    graph : str, the name of the one that is shown; the first unless given
    kind : str, 'heat', ``x' = -Lx`` with L = D - A, or 'learnt'
    method, step_size, rtol : as in `course_lib.solvers.solve`
    t : float, from 0.02 to 8
    node : int, the node that the keyboard warms and cools

    Raises
    ------
    TypeError, ValueError, TraitError
        For a flow, a graph or a value that does not fit; the message says what does.
    """

    _esm = module("graph.mjs")
    _css = LiveFigure._css + style("dashed.css")
    still = (
        "A live figure: heat or a learnt flow between the nodes of a graph, from nodes "
        "that you warm and cool, by a solver of your choice, and what is left of the "
        "differences."
    )
    facts: ClassVar = {
        "graph": "its name",
        "kind": "'heat' or 'learnt'",
        "method": "its name",
        "h": "step size; none if the solver chooses it",
        "t": "the moment",
        "limit": "2 / the largest eigenvalue of L",
        "given": "how many nodes are warm or cold at the start",
        "right": "how many nodes are on the side of their label; none for one label, or "
        "while heat grows",
        "energy": "smoothing energy at the moment",
        "left": "energy / energy at the start",
        "largest": "largest size of a number at the moment",
    }
    names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    edges: traitlets.List = traitlets.List(read_only=True).tag(sync=True)
    places: traitlets.List = traitlets.List(read_only=True).tag(sync=True)
    labels: traitlets.List = traitlets.List(read_only=True).tag(sync=True)
    ends: traitlets.List = traitlets.List(read_only=True).tag(sync=True)
    weights = traitlets.Unicode(read_only=True).tag(sync=True)
    graph = traitlets.Unicode().tag(sync=True)
    kind = traitlets.Enum(["heat", "learnt"], "heat").tag(sync=True)
    method = traitlets.Enum(list(METHODS), "rk4").tag(sync=True)
    step_size = Positive(0.1).tag(sync=True)
    rtol = Positive(1e-3).tag(sync=True)
    t = Positive(1.0).tag(sync=True)
    node = Whole(0).tag(sync=True)
    warm = traitlets.List(traitlets.CInt()).tag(sync=True)
    cold = traitlets.List(traitlets.CInt()).tag(sync=True)

    def __init__(self, flow: NodeClassifier, graphs: Mapping[str, Graph], **settings):
        numbers = _numbers_of(flow)
        if not graphs or any(not 1 < len(g) <= MOST_NODES for g in graphs.values()):
            raise ValueError(
                f"graphs must hold at least one graph, each of 2 to {MOST_NODES} nodes; "
                f"got { ({name: len(g) for name, g in graphs.items()}) }"
            )
        self._fix(
            names=list(graphs),
            edges=[g.edges.T.tolist() for g in graphs.values()],
            places=[laid_out(g).tolist() for g in graphs.values()],
            labels=[g.labels.tolist() for g in graphs.values()],
            ends=[_ends(g) for g in graphs.values()],
            weights=encode(numbers),
        )
        super().__init__(**{"graph": next(iter(graphs)), **settings})

    @traitlets.validate("graph")
    def _validate_graph(self, proposal):
        if proposal.value not in self.names:
            raise traitlets.TraitError(
                f"graph must be one of {', '.join(self.names)}, got {proposal.value!r}"
            )
        return proposal.value

    @traitlets.validate("node")
    def _validate_node(self, proposal):
        return within(proposal, 0, max(map(len, self.labels)) - 1)

    def start(self) -> Tensor:
        """1 where a node is warm, -1 where it is cold, else 0; shape (n, 1), float64."""
        n = len(self.labels[self.names.index(self.graph)])
        x = torch.zeros(n, 1, dtype=torch.float64)
        for nodes, value in ((self.warm, 1.0), (self.cold, -1.0)):
            x[[i for i in nodes if 0 <= i < n]] = value
        return x

    def adjacency(self) -> Tensor:
        """The matrix of the graph that is shown, shape (n, n), in float64."""
        at = self.names.index(self.graph)
        edges = torch.tensor(self.edges[at], dtype=torch.int64).reshape(-1, 2).T
        return Graph(edges, torch.tensor(self.labels[at])).adjacency().double()

    @torch.no_grad()
    def solution(self) -> GraphSolution:
        """Return what the figure shows.

        Raises
        ------
        SolverError
            If the flow overflows, or takes too many steps.
        """
        A, x = self.adjacency(), self.start()
        L = laplacian(A)
        f: nn.Module = HeatField(L)
        read = torch.ones(1, dtype=torch.float64)
        if self.kind == "learnt":
            encode_by, heard, own, read = self._parts()
            f = GraphField(propagation(A, kind="walk"), len(read), bias=False).double()
            f.heard.weight.data, f.own.weight.data = heard, own
            x = x * encode_by
        made = self._steps(f, x)
        values = made.ys @ read
        energy = smoothing_energy(L, values[..., None])
        return GraphSolution(made.t.double(), values, energy)

    def _steps(self, f: nn.Module, x: Tensor) -> Solution:
        """Solve to the moment, and return the states at the ends of all steps."""
        solved = partial(solve, f, x, method=self.method, max_steps=MAX_STEPS)
        if not METHODS[self.method].adaptive:
            ends = step_ends((0.0, self.t), self.step_size, most=MAX_STEPS)
            return solved(ends, step_size=self.step_size)
        loose = dict(rtol=self.rtol, atol=self.rtol)
        starts = solved([0.0, self.t], **loose).step_times
        return solved([*starts.tolist(), self.t], **loose)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encoder (w,), what is heard and a node's own (w, w), decoder (w,)."""
        flat = decode(self.weights).double()
        w = math.isqrt(len(flat) // 2)  # there are 2 w (w + 1) numbers
        first, heard, own, last = flat.split([w, w * w, w * w, w])
        return first, heard.view(w, w), own.view(w, w), last


def _numbers_of(flow: NodeClassifier) -> list[Tensor]:
    """Return the weights of a flow that the browser can follow."""
    field = getattr(getattr(flow, "messages", None), "f", None)
    fits = isinstance(field, GraphField) and field.own.bias is None
    if not fits or flow.encode.in_features != 1 or flow.decode.out_features != 1:
        raise ValueError(
            "flow must be NodeClassifier(1, width, 1, NeuralODE(GraphField(P, width, "
            f"bias=False)), bias=False), got {type(flow).__name__} with "
            f"{type(field).__name__}"
        )
    if flow.encode.bias is not None or flow.decode.bias is not None:
        raise ValueError("flow must have no bias: bias=False")
    maps = (flow.encode, field.heard, field.own, flow.decode)
    return [part.weight for part in maps]


def _ends(graph: Graph) -> list[float]:
    """Return the second and the largest eigenvalue of the Laplacian."""
    values = torch.linalg.eigvalsh(laplacian(graph.adjacency().double()))
    return [max(0.0, values[1].item()), values[-1].item()]


def laid_out(graph: Graph, *, rounds: int = 200) -> Tensor:
    """Places in the plane whose distances follow those along the edges, shape (n, 2).

    Nodes start on a circle; each round moves every node to where its neighbours, near and
    far, want it on average, and the near ones count most.

    References
    ----------
    Gansner, Koren, North 2005, Graph drawing by stress majorization.
    """
    n = len(graph)
    far = _hops(graph)
    w = 1 / (far + torch.eye(n, dtype=far.dtype)).square()
    w.fill_diagonal_(0)
    solve_for = torch.linalg.pinv(w.sum(1).diag() - w)
    turn = 2 * math.pi * torch.arange(n, dtype=far.dtype) / n
    x = far.max() / 2 * torch.stack((turn.cos(), turn.sin()), dim=1)
    for _ in range(rounds):
        away = torch.cdist(x, x).clamp_min(1e-9)
        pull = -w * far / away
        pull.diagonal().copy_(-(pull.sum(1) - pull.diagonal()))
        x = solve_for @ (pull @ x)
    return ((x - x.mean(0)) / x.abs().max()).round(decimals=3)


def _hops(graph: Graph) -> Tensor:
    """Return the edges on the shortest way between any two nodes, shape (n, n)."""
    A = graph.adjacency().double()
    n = len(A)
    far = torch.full((n, n), torch.inf, dtype=A.dtype)
    reach = torch.eye(n, dtype=A.dtype)
    for hops in range(n):
        new = (reach > 0) & far.isinf()
        far[new] = hops
        reach = ((reach @ A + reach) > 0).to(A.dtype)
        if not new.any():
            break
    apart = far.isinf()  # another component stands a little farther off than all others
    far[apart] = far[~apart].max() + 1
    return far

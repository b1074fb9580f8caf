"""What flows between the nodes of a graph: Laplacians, layers that pass messages, fields.

States are X, shape (n, width): a row for each node. A graph enters as its adjacency matrix
A, shape (n, n), symmetric and not negative, dense or sparse. Everything here is
equivariant: number the nodes in another order, and the result comes in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.models.fields import fully_connected
from course_lib.models.layers import NeuralODE
from course_lib.solvers import check_choice, check_whole

__all__ = [
    "AttentionField",
    "CoupledField",
    "GraphConvolution",
    "GraphField",
    "GraphLayers",
    "HeatField",
    "NodeClassifier",
    "PairFunction",
    "degrees",
    "graph_ode",
    "kuramoto",
    "label_propagation",
    "laplacian",
    "propagation",
    "smoothing_energy",
]


# --- matrices of a graph --------------------------------------------------------------


def degrees(A: Tensor) -> Tensor:
    """How many neighbours each node has, shape (n,).

    Raises
    ------
    ValueError
        Unless A is square and symmetric.
    """
    dense = A.to_dense() if A.is_sparse else A
    if A.ndim != 2 or A.shape[0] != A.shape[1] or not torch.equal(dense, dense.T):
        raise ValueError(
            "A must be a symmetric matrix, shape (n, n), with a_ij = a_ji; got shape "
            f"{tuple(A.shape)}"
        )
    return dense.sum(dim=1)


def laplacian(A: Tensor, *, kind: str = "plain") -> Tensor:
    """The graph Laplacian, dense, shape (n, n).

    Parameters
    ----------
    A : Tensor, shape (n, n)
    kind : str
        'plain', ``L = D - A``; 'symmetric', ``I - D^-½ A D^-½``; 'walk',
        ``I - D⁻¹ A``, with the same eigenvalues as 'symmetric'. Where a node has no
        neighbours, its row is zero.
    """
    A = A.to_dense() if A.is_sparse else A
    d = degrees(A)
    if kind == "plain":
        return d.diag() - A
    return (d > 0).to(A.dtype).diag() - _scaled(A, d, kind)


def propagation(A: Tensor, *, kind: str = "symmetric") -> Tensor:
    """How a layer mixes a node with its neighbours, itself among them; sparse if A is.

    Parameters
    ----------
    A : Tensor, shape (n, n)
    kind : str
        'symmetric', ``D̃^-½ (A + I) D̃^-½`` with ``D̃ = D + I``; 'walk', the mean
        ``D̃⁻¹ (A + I)``.

    References
    ----------
    Kipf, Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks.
    """
    one = torch.eye(len(A), dtype=A.dtype, device=A.device)
    if A.is_sparse:
        return _scaled((A + one.to_sparse()).coalesce(), degrees(A) + 1, kind)
    return _scaled(A + one, degrees(A) + 1, kind)


def _scaled(A: Tensor, d: Tensor, kind: str) -> Tensor:
    powers = {"symmetric": (-0.5, -0.5), "walk": (-1.0, 0.0)}
    check_choice("kind", kind, powers)
    left, right = (torch.where(d > 0, d, 1.0) ** p for p in powers[kind])
    if not A.is_sparse:
        return left[:, None] * A * right
    i, j = A.indices()
    numbers = left[i] * A.values() * right[j]
    made = torch.sparse_coo_tensor(A.indices(), numbers, A.shape, check_invariants=True)
    return made.coalesce()


def smoothing_energy(L: Tensor, x: Tensor) -> Tensor:
    """``½ Σ a_ij |x_i - x_j|²`` over all i and j, as ``tr XᵀLX``, for L = D - A.

    Parameters
    ----------
    L : Tensor, shape (n, n)
    x : Tensor, shape (*, n, width)

    Returns
    -------
    Tensor, shape (*)
    """
    return (x * (L @ x)).sum(dim=(-2, -1))


def label_propagation(
    A: Tensor, labels: Tensor, known: Tensor, *, keep: float, rounds: int
) -> Tensor:
    """Scores of each class by spreading the labels that are known; no weights, no features.

    ``F ← keep D^-½ A D^-½ F + (1 - keep) Y`` from F = Y, where row i of Y is one-hot if i
    is known and zero if not.

    Parameters
    ----------
    A : Tensor, shape (n, n)
    labels : Tensor of int64, shape (n,), read where known
    known : Tensor of bool, shape (n,)
    keep : float, between 0 and 1
    rounds : int

    Returns
    -------
    Tensor, shape (n, classes)

    References
    ----------
    Zhou, Bousquet, Lal, Weston, Schölkopf 2003, Learning with local and global
    consistency.
    """
    S = _scaled(A, degrees(A), "symmetric")
    labels = labels.where(known, 0)
    classes = int(labels.max()) + 1
    Y = nn.functional.one_hot(labels, classes).to(A.dtype) * known[:, None]
    F = Y
    for _ in range(rounds):
        F = keep * (S @ F) + (1 - keep) * Y
    return F


# --- layers ---------------------------------------------------------------------------


class GraphConvolution(nn.Module):
    """``relu(P (X W + b))``: each node by itself, then mix the neighbours.

    Parameters
    ----------
    P : Tensor, shape (n, n), from `propagation`
    inputs, outputs : int, widths

    References
    ----------
    Kipf, Welling 2017.
    """

    P: Tensor

    def __init__(self, P: Tensor, inputs: int, outputs: int):
        super().__init__()
        self.register_buffer("P", P, persistent=False)
        self.linear = nn.Linear(inputs, outputs)
        # The usual start shrinks what passes a ReLU: deep nets would fade without a graph.
        nn.init.kaiming_uniform_(self.linear.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:  # (*, n, inputs) -> (*, n, outputs)
        """One round of messages."""
        return (self.P @ self.linear(x)).relu()


class GraphLayers(nn.Module):
    """`depth` graph convolutions of one width, each with weights of its own.

    With `residual` a layer adds to its input, ``X + relu(P (X W + b))``.
    """

    def __init__(self, P: Tensor, width: int, depth: int, *, residual: bool = False):
        super().__init__()
        check_whole("depth", depth, "without a layer there is no message")
        self.residual = residual
        self.layers = nn.ModuleList(
            GraphConvolution(P, width, width) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:  # (*, n, width) -> the same
        """The state behind the last layer."""
        return self.states(x)[-1]

    def states(self, x: Tensor) -> list[Tensor]:
        """The input, and what is behind each layer."""
        states = [x]
        for layer in self.layers:
            new = layer(states[-1])
            states.append(states[-1] + new if self.residual else new)
        return states


# --- fields ---------------------------------------------------------------------------


class HeatField(nn.Module):
    """``X' = -L X``: heat runs from the warm to the cold along the edges.

    Parameters
    ----------
    L : Tensor, shape (n, n), from `laplacian`; or ``I - P`` of a `propagation`
    """

    L: Tensor

    def __init__(self, L: Tensor):
        super().__init__()
        self.register_buffer("L", L, persistent=False)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:  # (*, n, width) -> the same
        """The derivative at x, the same at all times."""
        return -(self.L @ x)


class GraphField(nn.Module):
    """``X' = tanh(P X W + X U + b) - X``: what neighbours say, what the node says, a leak.

    The leak keeps every number of the state between -1 and 1 once it is there, whatever
    the weights are.

    Parameters
    ----------
    P : Tensor, shape (n, n), from `propagation`, or a batch of them; no part of the
        stored weights, which fit every graph
    width : int
    bias : bool
        Without it, ``-X`` flows to minus where X flows.
    """

    P: Tensor

    def __init__(self, P: Tensor, width: int, *, bias: bool = True):
        super().__init__()
        self.register_buffer("P", P, persistent=False)
        self.heard = nn.Linear(width, width, bias=False)
        self.own = nn.Linear(width, width, bias=bias)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:  # (*, n, width) -> the same
        """The derivative at x, the same at all times."""
        return torch.tanh(self.P @ self.heard(x) + self.own(x)) - x


class AttentionField(nn.Module):
    """``X' = (A(X) - I) X``: heat whose conductivities depend on the states.

    Row i of A(X) is a softmax over the neighbours of i and i itself of
    ``(K x_i) · (Q x_j) / √width``. Each node moves towards a mean of its neighbours, so
    that no number of the state leaves the range of the start.

    Parameters
    ----------
    A : Tensor, shape (n, n), the adjacency matrix, dense or sparse
    width : int

    References
    ----------
    Chamberlain, Rowbottom, Gorinova, Webb, Rossi, Bronstein 2021, GRAND.
    """

    edges: Tensor

    def __init__(self, A: Tensor, width: int):
        super().__init__()
        A = A.to_dense() if A.is_sparse else A
        degrees(A)  # symmetric
        linked = A + torch.eye(len(A), dtype=A.dtype, device=A.device)
        self.register_buffer("edges", linked.nonzero().T, persistent=False)
        self.key = nn.Linear(width, width, bias=False)
        self.query = nn.Linear(width, width, bias=False)

    def weights(self, x: Tensor) -> Tensor:  # (n, width) -> (edges,)
        """The attention of each edge (i, j) of `edges`; the sum over j is 1."""
        i, j = self.edges
        score = (self.key(x)[i] * self.query(x)[j]).sum(-1) / x.shape[-1] ** 0.5
        most = torch.full_like(x[:, 0], -torch.inf)
        most = most.scatter_reduce(0, i, score.detach(), "amax")
        raised = (score - most[i]).exp()
        return raised / torch.zeros_like(x[:, 0]).index_add(0, i, raised)[i]

    def forward(self, t: Tensor, x: Tensor) -> Tensor:  # (n, width) -> the same
        """The derivative at x, the same at all times."""
        i, j = self.edges
        come = self.weights(x)[:, None] * x[j]
        return torch.zeros_like(x).index_add(0, i, come) - x


class NodeClassifier(nn.Module):
    """Scores for each node: a linear map in, something that passes messages, one out.

    Parameters
    ----------
    inputs, width, classes : int
    messages : Module, (*, n, width) -> the same
    bias : bool, whether the two maps have one
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        classes: int,
        messages: nn.Module,
        *,
        bias: bool = True,
    ):
        super().__init__()
        self.encode = nn.Linear(inputs, width, bias=bias)
        self.messages = messages
        self.decode = nn.Linear(width, classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # (*, n, inputs) -> (*, n, classes)
        """A score for every class."""
        return self.decode(self.messages(self.encode(x)))


def graph_ode(field: nn.Module, rounds: int, *, step_size: float = 0.5) -> NeuralODE:
    """A graph neural ODE that asks its field `rounds` times: Euler, t from 0 to
    ``rounds * step_size``.

    References
    ----------
    Poli, Massaroli, Park, Yamashita, Asama, Park 2019, Graph Neural Ordinary Differential
    Equations.
    """
    check_whole("rounds", rounds, "without a round there is no message")
    end = rounds * step_size
    return NeuralODE(field, (0.0, end), method="euler", step_size=step_size)


# --- oscillators ----------------------------------------------------------------------


class CoupledField(nn.Module):
    """``θ_i' = ω_i + Σ_j w_ij φ(θ_j - θ_i)``: oscillators that pull at each other.

    Parameters
    ----------
    rates : Tensor, shape (n,), ω
    weights : Tensor, shape (n, n), w; what is given as a Parameter is learnt
    pull : callable, φ, each number from its own; a Module is trained with the field

    References
    ----------
    Strogatz 2000, From Kuramoto to Crawford: exploring the onset of synchronization in
    populations of coupled oscillators.
    """

    def __init__(self, rates: Tensor, weights: Tensor, pull: Callable):
        super().__init__()
        n = len(rates)
        if weights.shape != (n, n):
            raise ValueError(
                f"weights must have a row and a column for each of the {n} rates, shape "
                f"{(n, n)}; got {tuple(weights.shape)}"
            )
        self.rates, self.weights, self.pull = rates, weights, pull

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # (*, n) -> (*, n)
        """The derivative at the angles y, the same at all times."""
        apart = y[..., None, :] - y[..., :, None]  # [i, j] = θ_j - θ_i
        return self.rates + (self.weights * self.pull(apart)).sum(-1)


class PairFunction(nn.Module):
    """A function of an angle, learnt: a network of its sine and cosine, (*) -> (*)."""

    def __init__(self, hidden: Sequence[int]):
        super().__init__()
        self.net = fully_connected([2, *hidden, 1])

    def forward(self, angle: Tensor) -> Tensor:
        """The function at the angle."""
        return self.net(torch.stack((angle.sin(), angle.cos()), dim=-1)).squeeze(-1)


def kuramoto(A: Tensor, rates: Tensor, *, coupling: float = 1.0) -> CoupledField:
    """Oscillators on a graph that pull by the sine of the angle between them."""
    return CoupledField(rates, coupling * A, torch.sin)

"""Graphs: a karate club, blocks drawn at random, rings, and neighbours among points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.data.toys import generator

__all__ = ["Graph", "block_model", "karate_club", "nearest_neighbours", "ring"]


@dataclass(frozen=True)
class Graph:
    """An undirected graph without loops, and a class for every node.

    Attributes
    ----------
    edges : Tensor of int64, shape (2, m), each edge once
    labels : Tensor of int64, shape (n,)
    """

    edges: Tensor
    labels: Tensor

    def __len__(self) -> int:  # nodes
        return len(self.labels)

    def adjacency(self, *, sparse: bool = False) -> Tensor:
        """A with ``a_ij = a_ji = 1`` where there is an edge, shape (n, n), in the default
        type.
        """
        both = torch.cat((self.edges, self.edges.flip(0)), dim=1)
        ones = torch.ones(both.shape[1])
        shape = (len(self), len(self))
        A = torch.sparse_coo_tensor(both, ones, shape, check_invariants=True).coalesce()
        return A if sparse else A.to_dense()


def _graph(pairs: Iterable[Sequence[int]], labels: Tensor) -> Graph:
    return Graph(torch.tensor(sorted(pairs), dtype=torch.int64).T.contiguous(), labels)


# Whom a member knows, of those with a higher number, and who stayed with the teacher.
_FRIENDS = {
    0: (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31),
    1: (2, 3, 7, 13, 17, 19, 21, 30),
    2: (3, 7, 8, 9, 13, 27, 28, 32),
    3: (7, 12, 13),
    4: (6, 10),
    5: (6, 10, 16),
    6: (16,),
    8: (30, 32, 33),
    9: (33,),
    13: (33,),
    14: (32, 33),
    15: (32, 33),
    18: (32, 33),
    19: (33,),
    20: (32, 33),
    22: (32, 33),
    23: (25, 27, 29, 32, 33),
    24: (25, 27, 31),
    25: (31,),
    26: (29, 33),
    27: (33,),
    28: (31, 33),
    29: (32, 33),
    30: (32, 33),
    31: (32, 33),
    32: (33,),
}
_STAYED = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21)


def karate_club() -> Graph:
    """The 34 members of a karate club and their 78 friendships, before it split.

    Label 0 stayed with the teacher, node 0; label 1 left with the officer, node 33.

    References
    ----------
    Zachary 1977, An information flow model for conflict and fission in small groups. As
    in its reprints, an edge has no weight, and the member that others number 9 is 8.
    """
    labels = torch.ones(34, dtype=torch.int64)
    labels[list(_STAYED)] = 0
    return _graph(((i, j) for i, js in _FRIENDS.items() for j in js), labels)


def block_model(
    sizes: Sequence[int], inside: float, between: float, *, seed: int
) -> Graph:
    """A stochastic block model: nodes of one block know each other with probability
    `inside`, those of different blocks with probability `between`.

    Parameters
    ----------
    sizes : sequence of int, nodes of each block; the labels say whose they are
    inside, between : float, from 0 to 1
    seed : int
    """
    for name, p in (("inside", inside), ("between", between)):
        if not 0 <= p <= 1:
            raise ValueError(f"{name} must be a probability from 0 to 1, got {p!r}")
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(list(sizes)))
    chance = torch.where(labels[:, None] == labels, inside, between)
    g = generator(seed)
    drawn = torch.rand(chance.shape, generator=g, dtype=torch.float32) < chance
    return Graph(drawn.triu(1).nonzero().T.contiguous(), labels)


def ring(n: int) -> Graph:
    """Nodes in a circle, each of which knows the two beside it; all labels are 0.

    Raises
    ------
    ValueError
        For fewer than three nodes.
    """
    if n < 3:
        raise ValueError(
            f"n must be at least 3, for a ring has no double edge; got {n}"
        )
    pairs = [sorted((i, (i + 1) % n)) for i in range(n)]
    return _graph(pairs, torch.zeros(n, dtype=torch.int64))


def nearest_neighbours(points: Tensor, k: int, labels: Tensor) -> Graph:
    """An edge between two points if one is among the k nearest of the other.

    Parameters
    ----------
    points : Tensor, shape (n, dim)
    k : int, less than n
    labels : Tensor of int64, shape (n,)

    Raises
    ------
    ValueError
        For another k, points that are not finite, or another number of labels.
    """
    if not 0 < k < len(points):
        raise ValueError(
            f"k must be from 1 to {len(points) - 1}, one less than the points; got {k}"
        )
    if len(labels) != len(points) or not points.isfinite().all():
        raise ValueError(
            f"points must be finite, with a label for each of the {len(points)}, got "
            f"{len(labels)} labels"
        )
    # By differences: squares lose the distances of points far from the origin.
    points, way = points.double(), "donot_use_mm_for_euclid_dist"
    away = torch.cdist(points, points, compute_mode=way)
    away.fill_diagonal_(torch.inf)
    near = away.topk(k, largest=False).indices
    pairs = torch.stack(
        (torch.arange(len(points)).repeat_interleave(k), near.flatten())
    )
    return Graph(pairs.sort(dim=0).values.unique(dim=1), labels)

"""Rooted trees and their order conditions: a tree is the sorted tuple of the trees that
hang from its root.

Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.2; Hairer,
Wanner, *II*, IV.7.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import prod

import numpy as np


def forests(nodes: int, largest: int):
    """Multisets of trees with `nodes` nodes in all, none of more than `largest`."""
    if nodes == 0:
        yield ()
    for size in range(min(nodes, largest), 0, -1):
        for count in range(1, nodes // size + 1):
            for same in combinations_with_replacement(trees(size), count):
                for rest in forests(nodes - size * count, size - 1):
                    yield (*same, *rest)


def trees(nodes: int) -> list[tuple]:
    return list(forests(nodes - 1, nodes - 1))


def node_count(tree) -> int:
    return 1 + sum(node_count(branch) for branch in tree)


def density(tree) -> int:
    """γ(τ)."""
    return node_count(tree) * prod(density(branch) for branch in tree)


def elementary_weights(
    tree, a: np.ndarray, alone: np.ndarray | None = None
) -> np.ndarray:
    """Φ_i(τ), shape (s,); where a branch is the only one of its node, with `alone` in
    place of `a`: a Rosenbrock method has the Jacobian there.
    """
    matrix = alone if alone is not None and len(tree) == 1 else a
    return prod(
        (matrix @ elementary_weights(branch, a, alone) for branch in tree),
        start=np.ones(len(a)),
    )


def spelled(tree) -> str:
    """τ for the single node, [ττ] for a root with two leaves."""
    return f"[{''.join(map(spelled, tree))}]" if tree else "τ"

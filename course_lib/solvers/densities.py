"""How the density of an SDE on the line moves: the Fokker–Planck equation, as a matrix.

The density of ``dx = f(x) dt + g(x) dW`` (Itô) obeys ``∂p/∂t = -∂(f p)/∂x + ½ ∂²(g² p)/∂x²``.
On cells of one width it becomes ``p' = A p``, a linear ODE: the rates at which a Markov
chain hops between neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["fokker_planck", "transition_log_density"]


def fokker_planck(f: Callable, g: Callable, edges: Tensor, t: float = 0.0) -> Tensor:
    """The matrix A of ``p' = A p`` for the densities p of cells.

    Mass hops between neighbours at rates that are never negative, and not over the ends:
    columns sum to 0, and no density becomes negative. Where g is constant, the stationary
    law is met exactly at the centres, up to what the midpoint rule makes of the drift.

    Parameters
    ----------
    f, g : callables of (t, x), drift and diffusion, x of shape (m,); g is not 0
    edges : Tensor, shape (n + 1,), of cells of one width
    t : float, at which f and g are taken

    Returns
    -------
    Tensor, shape (n, n); differentiable by what f and g use

    References
    ----------
    Scharfetter, Gummel 1969 (the flux); Risken, *The Fokker–Planck Equation*, chapter 4.
    """
    _check_edges(edges)
    width = edges.diff().mean()
    now = torch.as_tensor(t, dtype=edges.dtype)
    inner, centres = edges[1:-1], (edges[1:] + edges[:-1]) / 2
    D = g(now, centres).square() / 2
    pull = 2 * f(now, inner) / g(now, inner).square() * width
    up = _bernoulli(-pull) * D[:-1] / width**2  # from a cell to the one above
    down = _bernoulli(pull) * D[1:] / width**2
    nothing = up.new_zeros(1)
    out = torch.cat((up, nothing)) + torch.cat((nothing, down))
    return up.diag(-1) + down.diag(1) - out.diag()


def transition_log_density(
    A: Tensor, edges: Tensor, dt: float, x: Tensor, x_next: Tensor
) -> Tensor:
    """log p(x_next | x) after the time dt, shape of x, from the matrix of `fokker_planck`.

    Linear between the centres of cells, in x and in x_next.

    Raises
    ------
    ValueError
        If A is not that of the edges, dt is negative, or a point is not between them.
    """
    _check_edges(edges)
    if A.shape != (len(edges) - 1,) * 2:
        raise ValueError(
            f"A must have a row for each of the {len(edges) - 1} cells, got shape "
            f"{tuple(A.shape)}; give the edges that fokker_planck was given"
        )
    if not 0 <= dt < torch.inf:
        raise ValueError(f"dt must be 0 or more, and finite, got {dt!r}")
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    P = torch.linalg.matrix_exp(dt * A) / width
    (i, a), (j, b) = (_place(point, edges, width) for point in (x_next, x))
    below = (1 - a) * P[i, j] + a * P[i + 1, j]
    above = (1 - a) * P[i, j + 1] + a * P[i + 1, j + 1]
    least = torch.finfo(P.dtype).tiny
    return ((1 - b) * below + b * above).clamp(min=least).log()


def _check_edges(edges: Tensor) -> None:
    expected = (
        "edges must be those of two or more cells of one width, increasing, finite and "
        "floating point; use torch.linspace(low, high, cells + 1)"
    )
    if not edges.is_floating_point() or edges.ndim != 1 or len(edges) < 3:
        raise ValueError(f"{expected}; got {edges.dtype}, shape {tuple(edges.shape)}")
    widths = edges.diff()
    width = widths.mean()
    rounding = 1e-6 * width + 4 * torch.finfo(edges.dtype).eps * edges.abs().max()
    if not (width > 0 and (widths - width).abs().max() <= rounding):  # nor NaN
        raise ValueError(f"{expected}; got widths {widths.min():g} to {widths.max():g}")


def _place(x: Tensor, edges: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """The cell whose centre is below x, and the share of the way to the next one."""
    if not ((x >= edges[0]) & (x <= edges[-1])).all():
        raise ValueError(
            f"all points must lie between the edges {edges[0]:g} and {edges[-1]:g}, got "
            f"{x.min():g} to {x.max():g}; take a wider grid"
        )
    share = (x - edges[0]) / width - 0.5
    i = share.floor().long().clamp(0, len(edges) - 3)
    return i, (share - i).clamp(0, 1)


def _bernoulli(z: Tensor) -> Tensor:
    """z / (e^z - 1), which is 1 at 0."""
    small = z.abs() < 1e-3
    safe = torch.where(small, 1.0, z)
    size = safe.abs()
    # e^-|z| cannot overflow, and neither can its derivative.
    large = size * (-safe.clamp(min=0)).exp() / -torch.expm1(-size)
    return torch.where(small, 1 - z / 2 + z * z / 12, large)

"""Fields that obey a law: Hamilton's equations, Lagrange's, and terms read off by regression.

A field of mechanics is made of one number for each state, an energy or a Lagrangian, and
of its derivatives. The number may be a formula, which gives the true field, or a network,
which is then all that is learnt; the rest is the law.

States are y = (q, p) or y = (q, v): the first half holds the positions, the second the
momenta or velocities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.models.fields import fully_connected
from course_lib.solvers.checks import leaf_of

__all__ = [
    "HamiltonianField",
    "LagrangianField",
    "MechanicalLagrangian",
    "ScalarNetwork",
    "SeparableEnergy",
    "double_pendulum_lagrangian",
    "gradient_of",
    "pendulum_energy",
    "sparse_regression",
    "spring_energy",
    "two_body_energy",
]


def gradient_of(function: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """The gradient of a scalar function at every state of a batch.

    Parameters
    ----------
    function : callable, (*, dim) -> (*), each number from its own state alone
    y : Tensor, shape (*, dim)

    Returns
    -------
    Tensor, shape of y; backpropagation goes through it unless gradients are off
    """
    through = torch.is_grad_enabled() and (
        # A formula has no weights: then a graph would lead nowhere. One state tells.
        y.requires_grad or function(y.reshape(-1, y.shape[-1])[:1]).requires_grad
    )
    with torch.enable_grad():
        if not (through and y.requires_grad):
            y = leaf_of(y, "a field made of an energy")
        (slope,) = torch.autograd.grad(function(y).sum(), y, create_graph=through)
    return slope


def _halves(y: Tensor) -> tuple[Tensor, Tensor]:
    """Positions, and momenta or velocities, each of shape (*, n)."""
    if y.shape[-1] % 2:
        raise ValueError(
            "y must hold as many momenta or velocities as positions along its last axis, "
            f"an even number together; got shape {tuple(y.shape)}"
        )
    q, p = y.chunk(2, dim=-1)
    return q, p


# --- Hamilton -------------------------------------------------------------------------


class HamiltonianField(nn.Module):
    """``q' = ∂H/∂p, p' = -∂H/∂q - γ ∂H/∂p``: the field of an energy H(q, p).

    Without friction H stays along every path, whatever H is, for
    ``dH/dt = ∂H/∂q · q' + ∂H/∂p · p' = 0``; with it, ``dH/dt = -γ |∂H/∂p|² ≤ 0``.

    Parameters
    ----------
    energy : callable ``H(y) -> (*)``, y of shape (*, 2n); a Module is trained with the
        field
    friction : float, optional
        γ ≥ 0. A Tensor is taken as it is: a Parameter is learnt.

    References
    ----------
    Greydanus, Dzamba, Yosinski 2019, Hamiltonian Neural Networks.
    """

    def __init__(self, energy: Callable[[Tensor], Tensor], *, friction=0.0):
        super().__init__()
        if not callable(energy):
            raise TypeError(
                "energy must be callable as energy(y), one number for each state, got "
                f"{type(energy).__name__}; ScalarNetwork(2, (64, 64)) is a network of "
                "this kind"
            )
        if (rubs := _number(friction)) < 0:
            raise ValueError(
                f"friction must not be negative, got {rubs:g}: it would feed the motion"
            )
        self.energy, self.friction = energy, friction

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # (*, 2n) -> (*, 2n)
        """The derivative at y, the same at all times."""
        dq, dp = _halves(gradient_of(self.energy, y))
        return torch.cat((dp, -dq - self.friction * dp), dim=-1)

    def force(self, q: Tensor) -> Tensor:
        """p' where ``H = T(p) + V(q)``, for `odeint_leapfrog`; shape of q.

        Raises
        ------
        TypeError
            If the energy is not known to be such a sum, or there is friction.
        """
        return -gradient_of(self._sum().potential, q)

    def velocity(self, p: Tensor) -> Tensor:
        """q' where ``H = T(p) + V(q)``, for `odeint_leapfrog`; shape of p.

        Raises
        ------
        TypeError
            If the energy is not known to be such a sum, or there is friction.
        """
        return gradient_of(self._sum().kinetic, p)

    def _sum(self) -> SeparableEnergy:
        rubs = _number(self.friction)
        if not isinstance(self.energy, SeparableEnergy) or rubs:
            raise TypeError(
                "leapfrog needs an energy T(p) + V(q) without friction, "
                "HamiltonianField(SeparableEnergy(…)); got "
                f"{type(self.energy).__name__} with friction {rubs:g}. "
                "Any other energy is kept by the implicit midpoint rule"
            )
        return self.energy


def _number(x: float | Tensor) -> float:
    return float(x.detach() if isinstance(x, Tensor) else x)


class ScalarNetwork(nn.Module):
    """A number for every state: a fully connected network, (*, dim) -> (*).

    Parameters
    ----------
    dim : int
    hidden : sequence of int, widths of the hidden layers
    activation : callable that makes the module between layers; smooth, for its
        derivative is what is used
    """

    def __init__(
        self, dim: int, hidden: Sequence[int], *, activation: Callable = nn.Tanh
    ):
        super().__init__()
        self.net = fully_connected([dim, *hidden, 1], activation)

    def forward(self, y: Tensor) -> Tensor:
        """The number at y."""
        return self.net(y).squeeze(-1)


class SeparableEnergy(nn.Module):
    """``H(q, p) = T(p) + V(q)``: a force that depends on the place alone, and a velocity
    that depends on the momentum alone.

    Parameters
    ----------
    kinetic, potential : callables, (*, n) -> (*)
    """

    def __init__(self, kinetic: Callable, potential: Callable):
        super().__init__()
        self.kinetic, self.potential = kinetic, potential

    def forward(self, y: Tensor) -> Tensor:  # (*, 2n) -> (*)
        """The energy at y."""
        q, p = _halves(y)
        return self.kinetic(p) + self.potential(q)


# --- Lagrange -------------------------------------------------------------------------


class LagrangianField(nn.Module):
    """``q' = v, v' = a`` of a Lagrangian L(q, v): ``d/dt ∂L/∂v = ∂L/∂q`` solved for a.

    The chain rule turns the left side into ``M a + C v`` with the mass matrix
    ``M = ∂²L/∂v∂v`` and ``C = ∂²L/∂v∂q``, so ``a = M⁻¹ (∂L/∂q - C v)``. All second
    derivatives are one Jacobian of the gradient, taken in reverse twice: no number is left
    to differences.

    Parameters
    ----------
    lagrangian : callable ``L(y) -> (*)``, y = (q, v) of shape (*, 2n), also without batch
        axes; a Module is trained with the field

    References
    ----------
    Cranmer, Greydanus, Hoyer, Battaglia, Spergel, Ho 2020, Lagrangian Neural Networks.
    """

    def __init__(self, lagrangian: Callable[[Tensor], Tensor]):
        super().__init__()
        self.lagrangian = lagrangian

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # (*, 2n) -> (*, 2n)
        """The derivative at y, the same at all times."""
        slope, bend = self._derivatives(y)
        q_slope, _ = _halves(slope)
        n = q_slope.shape[-1]
        v, mass, cross = y[..., n:], bend[..., n:, n:], bend[..., n:, :n]
        right = q_slope - (cross @ v[..., None])[..., 0]
        return torch.cat((v, torch.linalg.solve(mass, right)), dim=-1)

    def mass(self, y: Tensor) -> Tensor:
        """The mass matrix ``∂²L/∂v∂v``, shape (*, n, n)."""
        n = _halves(y)[0].shape[-1]
        return self._derivatives(y)[1][..., n:, n:]

    def energy(self, y: Tensor) -> Tensor:
        """``v · ∂L/∂v - L``, shape (*), which stays along every path."""
        v = _halves(y)[1]
        momentum = _halves(gradient_of(self.lagrangian, y))[1]
        return (v * momentum).sum(-1) - self.lagrangian(y)

    def _derivatives(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (*, 2n) and second derivatives (*, 2n, 2n) of L."""
        # Not torch.func.hessian: its forward mode warns of a part that PyTorch gives up.
        second = torch.func.vmap(torch.func.jacrev(torch.func.grad(self.lagrangian)))
        bend = second(y.reshape(-1, y.shape[-1]))
        return gradient_of(self.lagrangian, y), bend.view(*y.shape, y.shape[-1])


class MechanicalLagrangian(nn.Module):
    """``L = ½ vᵀ M(q) v - V(q)`` with a learnt mass matrix and a learnt potential.

    ``M = R Rᵀ + ε I`` of a triangular R is positive definite whatever the weights are, so
    the acceleration exists everywhere. Angles enter by their sine and cosine.

    Parameters
    ----------
    n : int, number of angles
    hidden : sequence of int, widths of the hidden layers
    smallest : float, ε

    References
    ----------
    Lutter, Ritter, Peters 2019, Deep Lagrangian Networks.
    """

    place: Tensor

    def __init__(self, n: int, hidden: Sequence[int], *, smallest: float = 1e-2):
        super().__init__()
        self.n, self.smallest = n, smallest
        self.register_buffer("place", torch.tril_indices(n, n))
        self.net = fully_connected(
            [2 * n, *hidden, self.place.shape[1] + 1], nn.Softplus
        )

    def forward(self, y: Tensor) -> Tensor:  # (*, 2n) -> (*)
        """The Lagrangian at y."""
        q, v = _halves(y)
        out = self.net(torch.cat((q.sin(), q.cos()), dim=-1))
        # vᵀ R Rᵀ v = |Rᵀ v|², column by column, without writing into a matrix.
        rows, columns = self.place
        parts = out[..., :-1] * v[..., rows]
        pick = nn.functional.one_hot(columns, self.n).to(y.dtype)
        speed = (parts @ pick).square().sum(-1) + self.smallest * v.square().sum(-1)
        return speed / 2 - out[..., -1]


# --- laws that are known --------------------------------------------------------------


def spring_energy(y: Tensor) -> Tensor:
    """``q² + p²``: mass and spring, which go round with period π; (*, 2) -> (*)."""
    return y.square().sum(-1)


def pendulum_energy(y: Tensor) -> Tensor:
    """``p²/2 + 1 - cos q``: a pendulum of unit mass, length and weight; (*, 2) -> (*)."""
    q, p = y.unbind(-1)
    return p**2 / 2 + 1 - q.cos()


def two_body_energy(y: Tensor) -> Tensor:
    """Two unit masses in the plane that attract each other; (*, 8) -> (*).

    y holds the places x₁ y₁ x₂ y₂, then the momenta in the same order.
    """
    q, p = _halves(y)
    away = (q[..., :2] - q[..., 2:]).square().sum(-1).sqrt()
    return p.square().sum(-1) / 2 - 1 / away


def double_pendulum_lagrangian(y: Tensor) -> Tensor:
    """Two unit masses on rods of length 1, gravity 1; angles from below, (*, 4) -> (*)."""
    a, b, va, vb = y.unbind(-1)
    kinetic = va**2 + vb**2 / 2 + va * vb * (a - b).cos()
    return kinetic + 2 * a.cos() + b.cos()


# --- terms of a law -------------------------------------------------------------------


def sparse_regression(
    terms: Tensor, values: Tensor, *, threshold: float, rounds: int = 10
) -> Tensor:
    """Coefficients of `values` in `terms`, of which those that are small are dropped.

    Least squares, drop what is below the threshold, least squares on what is left, and so
    on (sequentially thresholded least squares).

    Parameters
    ----------
    terms : Tensor, shape (points, terms), each term at each point
    values : Tensor, shape (points, outputs)
    threshold : float, the smallest coefficient that is kept
    rounds : int

    Returns
    -------
    Tensor, shape (terms, outputs), zero where a term is dropped

    References
    ----------
    Brunton, Proctor, Kutz 2016, Discovering governing equations from data.
    """
    if terms.ndim != 2 or values.ndim != 2 or len(terms) != len(values):
        raise ValueError(
            "terms and values must have a row for each point, shapes (points, terms) "
            f"and (points, outputs); got {tuple(terms.shape)} and {tuple(values.shape)}"
        )
    # In float32 the solver would take small columns of many points for no columns.
    given, terms, values = values.dtype, terms.double(), values.double()
    found = torch.linalg.lstsq(terms, values).solution
    for _ in range(rounds):
        found = torch.where(found.abs() < threshold, 0.0, found)
        for column, value in zip(found.unbind(1), values.unbind(1)):
            kept = column != 0
            if kept.any():
                column[kept] = torch.linalg.lstsq(terms[:, kept], value).solution
    return torch.where(found.abs() < threshold, 0.0, found).to(given)

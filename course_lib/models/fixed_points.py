"""Layers defined by an equation: solve z = f(z), and differentiate the solution.

`fixed_point` finds z by iterating f, plainly or faster, or by Newton's method.
`EquilibriumLayer` puts such a z into a network; its gradient comes from the implicit
function theorem at z, whatever way led there.

A z of shape (n,) is one system; of any other shape, its first axis counts systems that
do not see each other, such as the samples of a batch. Each has its own iteration.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.solvers import (
    GuardedField,
    SolverError,
    check_choice,
    check_positive,
    check_whole,
)
from course_lib.solvers.checks import (
    LEAST_RTOL,
    all_finite,
    check_state,
    leaf_of,
    refuse_tangents,
)
from course_lib.solvers.forward_pass import refuse_second_derivatives

__all__ = [
    "ITERATIONS",
    "AndersonStepper",
    "BroydenStepper",
    "EquilibriumLayer",
    "FixedPoint",
    "ImplicitGradient",
    "Iteration",
    "NewtonStepper",
    "PlainStepper",
    "Stepper",
    "as_rows",
    "fixed_point",
    "mixing_weights",
    "residual_sizes",
    "row_jacobians",
    "spectral_radius",
]


# --- systems side by side -------------------------------------------------------------


def as_rows(z: Tensor) -> Tensor:
    """The systems as rows of numbers, shape (rows, n)."""
    return z.flatten(1) if z.ndim > 1 else z.reshape(1, -1)


def residual_sizes(z: Tensor, fz: Tensor) -> Tensor:
    """How far each system is from its fixed point, shape (rows,): the root mean square
    of f(z) - z over 1 + that of z.
    """
    rows, gaps = as_rows(z), as_rows(fz - z)
    scale = max(rows.shape[1], 1) ** 0.5
    sizes = rows.norm(dim=1)  # infinite long before z is: nothing is near by then
    return (gaps.norm(dim=1) / (scale + sizes)).where(sizes.isfinite(), torch.inf)


def row_jacobians(f: Callable, z: Tensor) -> Tensor:
    """∂f/∂z of every system alone, shape (rows, n, n).

    It takes n backward passes through f, each of which serves all rows at once: right
    where no row sees another.
    """
    with torch.enable_grad():
        z = leaf_of(z, "the Jacobian of f")
        fz = f(z)
    columns = torch.eye(as_rows(z).shape[1], dtype=z.dtype, device=z.device)
    ways_back = [
        torch.autograd.grad(
            fz,
            z,
            column.expand_as(as_rows(z)).reshape_as(z),
            retain_graph=True,
            materialize_grads=True,
        )[0]
        if fz.requires_grad
        else torch.zeros_like(z)
        for column in columns
    ]
    return torch.stack([as_rows(way) for way in ways_back], dim=1)


def spectral_radius(f: Callable, z: Tensor) -> Tensor:
    """The largest modulus of an eigenvalue of ∂f/∂z, for each system, shape (rows,).

    Below 1 the plain iteration converges from near a fixed point z, and the error
    shrinks by about this factor at every step; above 1 it does not.
    """
    return torch.linalg.eigvals(row_jacobians(f, z)).abs().amax(dim=1)


# --- ways to a fixed point ------------------------------------------------------------


class Stepper:
    """From z and f(z), shapes (rows, n), to the next z of every row.

    Parameters
    ----------
    f : callable, (rows, n) to (rows, n)
    memory : int, how many values to mix, for a step that does

    Attributes
    ----------
    jacobian : bool, whether a step takes the whole Jacobian
    """

    jacobian = False

    def __init__(self, f: Callable, memory: int):
        self.f = f
        self.values: deque[Tensor] = deque(maxlen=memory)
        self.gaps: deque[Tensor] = deque(maxlen=memory)

    def __call__(self, z: Tensor, fz: Tensor, /) -> Tensor:
        """The next z."""
        raise NotImplementedError


class PlainStepper(Stepper):
    """z ← f(z)."""

    def __call__(self, _z: Tensor, fz: Tensor, /) -> Tensor:
        """f(z)."""
        return fz


class AndersonStepper(Stepper):
    """The mixture of the last `memory` values f(z) whose residuals, mixed alike, cancel
    best.

    The weights α minimise ‖Σ αᵢ (f(zᵢ) - zᵢ)‖ with Σ αᵢ = 1. On a linear f that is what
    GMRES does.

    References
    ----------
    Walker, Ni 2011, Anderson Acceleration for Fixed-Point Iterations.
    """

    def __call__(self, z: Tensor, fz: Tensor, /) -> Tensor:
        """The mixture."""
        self.values.append(fz)
        self.gaps.append(fz - z)
        values, gaps = torch.stack([*self.values], 1), torch.stack([*self.gaps], 1)
        weights = mixing_weights(gaps)  # (rows, m)
        return (weights[:, None] @ values)[:, 0]


def mixing_weights(gaps: Tensor) -> Tensor:
    """The α with Σ α = 1 of the shortest Σ αᵢ gᵢ, of residuals (rows, m, n); (rows, m).

    The residuals are taken at length one, and a few roundings are added to the diagonal:
    late ones are short, and nearly parallel.
    """
    eps = torch.finfo(gaps.dtype).eps
    lengths = gaps.norm(dim=2)
    longest = lengths.amax(dim=1, keepdim=True)
    lengths = lengths.clamp(min=eps * longest + torch.finfo(gaps.dtype).tiny)
    directions = gaps / lengths[:, :, None]
    ridge = 10 * eps * torch.eye(gaps.shape[1], dtype=gaps.dtype, device=gaps.device)
    shares = lengths.amin(dim=1, keepdim=True) / lengths
    alpha = shares * torch.linalg.solve(directions @ directions.mT + ridge, shares)
    return alpha / alpha.sum(dim=1, keepdim=True)


class BroydenStepper(Stepper):
    """Newton's method with a guess H of (I - ∂f/∂z)⁻¹ in place of the inverse.

    H begins as I, so that the first step is plain. After every step its inverse takes the
    smallest change that would have foreseen it. It keeps two vectors for each step.

    References
    ----------
    Broyden 1965, A Class of Methods for Solving Nonlinear Simultaneous Equations.
    """

    def __init__(self, f: Callable, memory: int):
        super().__init__(f, memory)
        self.changes: list[tuple[Tensor, Tensor]] = []  # H = I + Σ a bᵀ, row by row
        self.before: tuple[Tensor, Tensor] | None = None

    def __call__(self, z: Tensor, fz: Tensor, /) -> Tensor:
        """z + H (f(z) - z), with what the last step taught."""
        gap = fz - z
        if self.before is not None:
            self._learn(z - self.before[0], self.before[1] - gap)
        self.before = z, gap
        return z + self._guess(gap)

    def _guess(self, x: Tensor) -> Tensor:
        return x + sum((a * _dot(b, x) for a, b in self.changes), 0 * x)

    def _learn(self, step: Tensor, fall: Tensor) -> None:
        """Have H make `step` of `fall`, by which the residual fell on it."""
        b = step + sum((b * _dot(a, step) for a, b in self.changes), 0 * step)
        size = _dot(b, fall)
        still = size == 0  # a row that has arrived
        a = (step - self._guess(fall)) / size.masked_fill(still, 1)
        self.changes.append((a.masked_fill(still, 0), b))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=1, keepdim=True)


class NewtonStepper(Stepper):
    """z ← z + (I - ∂f/∂z)⁻¹ (f(z) - z), with the whole Jacobian of every row.

    A row whose Jacobian has the eigenvalue 1 has no such step, and becomes NaN.
    """

    jacobian = True

    def __call__(self, z: Tensor, fz: Tensor, /) -> Tensor:
        """Where the line that touches f at z meets the diagonal."""
        jacobians = row_jacobians(self.f, z)
        eye = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        steps, singular = torch.linalg.solve_ex(eye - jacobians, fz - z)
        return z + steps.masked_fill((singular != 0)[:, None], torch.nan)


ITERATIONS: dict[str, type[Stepper]] = {
    "plain": PlainStepper,
    "anderson": AndersonStepper,
    "broyden": BroydenStepper,
    "newton": NewtonStepper,
}


# --- the solve ------------------------------------------------------------------------


@dataclass(frozen=True)
class FixedPoint:
    """What a solve of z = f(z) found.

    Attributes
    ----------
    z : Tensor, the shape of z0, without a graph
    residuals : tuple of float
        The largest of `residual_sizes` at z0 and after every step.
    evaluations : tuple of int
        How many evaluations of f each of them had taken, all rows at once; the Jacobian
        of Newton's method counts for as many as a row has numbers.
    """

    z: Tensor
    residuals: tuple[float, ...]
    evaluations: tuple[int, ...]

    @property
    def nfe(self) -> int:
        """The evaluations of the whole solve."""
        return self.evaluations[-1]


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """How to go about a solve of z = f(z), checked when it is made.

    Attributes
    ----------
    method : str, a name in `ITERATIONS`
        'plain' steps to f(z), 'anderson' mixes the last values, 'broyden' guesses an
        inverse Jacobian, 'newton' computes it (n backward passes a step).
    tol : float, positive
        A system has arrived when the root mean square of f(z) - z is at most ``tol`` by
        1 + that of z. It then waits for the others.
    max_steps : int, positive
        Steps before the solve gives up.
    memory : int, positive
        How many values 'anderson' mixes.
    """

    method: str = "anderson"
    tol: float = 1e-5
    max_steps: int = 100
    memory: int = 5

    def __post_init__(self):
        check_choice("method", self.method, ITERATIONS)
        tol = check_positive("tol", self.tol, "1e-5 is the usual value")
        steps = check_whole("max_steps", self.max_steps, "100 is the usual value")
        memory = check_whole("memory", self.memory, "5 is the usual value")
        for name, value in (("tol", tol), ("max_steps", steps), ("memory", memory)):
            object.__setattr__(self, name, value)

    @torch.no_grad()
    def solve(self, f: Callable, z0: Tensor) -> FixedPoint:
        """What `fixed_point` returns."""
        self._check(f, z0)
        field = GuardedField(lambda _, z: f(z), z0, names=("f", "f(z)", "z"))

        def on_rows(z: Tensor) -> Tensor:
            return as_rows(field(0.0, z.reshape(z0.shape)))

        step, spent = ITERATIONS[self.method](on_rows, self.memory), 0
        z, residuals, evaluations = as_rows(z0.clone()), [], []
        while True:
            fz, spent = on_rows(z), spent + 1
            sizes = residual_sizes(z, fz)
            residuals.append(float(sizes.max()) if len(sizes) else 0.0)
            evaluations.append(spent)
            if residuals[-1] <= self.tol:
                found = z.reshape(z0.shape)
                return FixedPoint(found, tuple(residuals), tuple(evaluations))
            self._check_progress(residuals)
            z = torch.where((sizes > self.tol)[:, None], step(z, fz), z)
            if step.jacobian and not all_finite(z):
                raise SolverError(
                    "Newton's method met a z where ∂f/∂z has the eigenvalue 1, so that no "
                    "step is defined; try another z0, or method='anderson'"
                )
            spent += z.shape[1] if step.jacobian else 0

    def _check(self, f: Callable, z0: Tensor) -> None:
        if not callable(f):
            raise TypeError(
                f"f must be callable as f(z), got {type(f).__name__}; the order is "
                "fixed_point(f, z0)"
            )
        if not isinstance(z0, Tensor):
            raise TypeError(
                f"z0 must be one Tensor, got {type(z0).__name__}; use torch.tensor(z0), "
                "or torch.cat for several parts"
            )
        check_state(z0, "z0")
        least = LEAST_RTOL * torch.finfo(z0.dtype).eps
        if self.tol < least:
            raise ValueError(
                f"tol={self.tol:g} is less than {least:.2g}, a few roundings of "
                f"{z0.dtype}, and would not be reached; use a larger tol"
                + ("" if z0.dtype == torch.float64 else " or z0.double()")
            )

    def _check_progress(self, residuals: list[float]) -> None:
        last, step = residuals[-1], len(residuals) - 1
        other = {
            "plain": "f may be no contraction: method='anderson' or 'newton' needs none",
            "newton": "it may have started too far away: try a z0 closer by, or "
            "method='anderson'",
        }.get(self.method, "there may be no fixed point, or none that attracts")
        if not last < float("inf"):
            raise SolverError(
                f"method={self.method!r} diverged: f(z) - z is {last} after {step} "
                f"steps, from a residual of {residuals[0]:.3g}; {other}"
            )
        if step >= self.max_steps:
            raise SolverError(
                f"method={self.method!r} did not reach tol={self.tol:g} in max_steps="
                f"{step}: the residual was {residuals[0]:.3g} at z0, {min(residuals):.3g}"
                f" at best and {last:.3g} at the end; {other}; or raise tol or max_steps"
            )


def fixed_point(
    f: Callable,
    z0: Tensor,
    *,
    method: str = "anderson",
    tol: float = 1e-5,
    max_steps: int = 100,
    memory: int = 5,
) -> FixedPoint:
    """Solve z = f(z), starting from z0.

    Parameters
    ----------
    f : callable ``f(z) -> Tensor``, shape of `z`
    z0 : Tensor, shape (n,), or (systems, *state)
    method, tol, max_steps, memory
        As in `Iteration`.

    Returns
    -------
    FixedPoint
        Without a graph: `EquilibriumLayer` has the gradient.

    Raises
    ------
    TypeError, ValueError
        For arguments that make no sense.
    SolverError
        If it does not arrive: the numbers overflow, or `max_steps` are not enough.

    Examples
    --------
    >>> cosine = fixed_point(torch.cos, torch.tensor([1.0]), method="newton")
    >>> f"{cosine.z.item():.5f}"
    '0.73909'
    """
    how = Iteration(method=method, tol=tol, max_steps=max_steps, memory=memory)
    return how.solve(f, z0)


# --- the layer ------------------------------------------------------------------------


class ImplicitGradient(torch.autograd.Function):
    """z as it is, where z = f(z, x); a gradient g that arrives goes on to f(z, x) as
    ``way_back(g)``.
    """

    @staticmethod
    def forward(ctx, _fz: Tensor, z: Tensor, way_back: Callable) -> Tensor:
        """z, in the place of f(z, x), to which the gradient goes."""
        ctx.way_back = way_back
        return z.clone()

    @staticmethod
    def backward(ctx, g: Tensor):
        """u from g, for f(z, x)."""
        refuse_second_derivatives("EquilibriumLayer")
        return ctx.way_back(g), None, None


class EquilibriumLayer(nn.Module):
    """A layer whose output z solves z = f(z, x).

    Its gradient needs no step of the solve. With u = (∂f/∂z)ᵀ u + g, for the gradient g
    that arrives at z, that of everything f depends on is uᵀ ∂f/∂·, at z alone. So what
    is kept does not grow with the steps: it is one evaluation of f.

    Parameters
    ----------
    f : Module or callable ``f(z, x) -> Tensor``, shape of `z`
    gradient : str, 'implicit' or 'one step'
        'one step' takes u = g: no solve on the way back, and not the gradient, but often
        a direction close to it where ∂f/∂z is small.
    backward_method : str, optional
        A name in `ITERATIONS`, for the equation of u; `method` unless given. It is not
        'newton': in its place, if that is the method, stands 'anderson'.
    backward_tol : float, optional
        Tolerance of the equation of u, for each system over its largest entry of g;
        `tol` unless given.
    report : callable ``report(way, found)``, optional
        Called after every solve: with 'forward' or 'backward', and its `FixedPoint`.
    **settings
        `method`, `tol`, `max_steps`, `memory`, as in `Iteration`.

    Raises
    ------
    TypeError, ValueError, SolverError
        As `fixed_point`; a SolverError can also come out of ``backward()``.

    References
    ----------
    Bai, Kolter, Koltun 2019, Deep Equilibrium Models. 'one step': Fung et al. 2022, JFB:
    Jacobian-Free Backpropagation for Implicit Networks.
    """

    def __init__(
        self,
        f: Callable,
        *,
        gradient: str = "implicit",
        backward_method: str | None = None,
        backward_tol: float | None = None,
        report: Callable[[str, FixedPoint], object] | None = None,
        **settings,
    ):
        super().__init__()
        if gradient not in ("implicit", "one step"):
            raise ValueError(
                f"gradient must be 'implicit' or 'one step', got {gradient!r}"
            )
        self.f, self.gradient, self.report = f, gradient, report
        self.there = Iteration(**settings)
        self.back = _back(self.there, backward_method, backward_tol)

    def forward(self, x: Tensor, z0: Tensor | None = None) -> Tensor:
        """The solution z for the input x, found from z0: zeros of the shape of x unless
        given.
        """
        refuse_tangents((x, *self.parameters()), "EquilibriumLayer")
        start = torch.zeros_like(x) if z0 is None else z0
        found = self.there.solve(lambda z: self.f(z, x), start.detach())
        self._tell("forward", found)
        if not torch.is_grad_enabled():
            return found.z
        z = found.z.requires_grad_()
        fz = self.f(z, x)
        implicit = self.gradient == "implicit"
        way_back = partial(self._pull_back, fz, z) if implicit else _unchanged
        return ImplicitGradient.apply(fz, z.detach(), way_back)

    def _pull_back(self, fz: Tensor, z: Tensor, g: Tensor) -> Tensor:
        """The u with u = (∂f/∂z)ᵀ u + g; solved for u over the size of g, of each system
        its own, for the unit of the loss is no part of the tolerance.
        """
        if not g.any() or not all_finite(g):
            return g  # nothing to solve; NaN goes on, as in every other layer
        size = _sizes(g)
        g = g / size

        def pulled(u: Tensor) -> Tensor:
            (back,) = torch.autograd.grad(
                fz, z, size * u, retain_graph=True, materialize_grads=True
            )
            return back / size + g

        try:
            found = self.back.solve(pulled, g)
        except SolverError as error:
            error.add_note("This was the way back, u = (∂f/∂z)ᵀ u + g.")
            raise
        self._tell("backward", found)
        return size * found.z

    def _tell(self, way: str, found: FixedPoint) -> None:
        if self.report is not None:
            self.report(way, found)


def _sizes(g: Tensor) -> Tensor:
    """The largest entry of g in each system, in a shape that divides g."""
    size = as_rows(g).abs().amax(dim=1)
    # A system without a gradient of its own may have one from those that it sees.
    size = size.clamp_min(size.max() * torch.finfo(g.dtype).eps ** 2)
    return size.view(-1, *[1] * (g.ndim - 1)) if g.ndim > 1 else size[0]


def _unchanged(g: Tensor) -> Tensor:
    return g


def _back(there: Iteration, method: str | None, tol: float | None) -> Iteration:
    """How to solve for u."""
    if method == "newton":
        raise ValueError(
            "backward_method must be 'plain', 'anderson' or 'broyden': the equation of u "
            "is linear, and its Jacobian is not to be had by autograd; got 'newton'"
        )
    usual = "anderson" if there.method == "newton" else there.method
    return replace(there, method=method or usual, tol=there.tol if tol is None else tol)

"""Initial value problems for the tests, with their solutions and how much they magnify
an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import jax
import jax.experimental
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import ellipj, ellipk
from torch import Tensor

from course_lib.solvers import METHODS

# Newer versions of JAX have it at the top.
enable_x64 = (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64

ADAPTIVE = [name for name, tableau in METHODS.items() if tableau.adaptive]
FIXED = [name for name in METHODS if name not in ADAPTIVE]
EPS = torch.finfo(torch.float64).eps
all_methods = pytest.mark.parametrize("method", METHODS)
adaptive_methods = pytest.mark.parametrize("method", ADAPTIVE)
fixed_methods = pytest.mark.parametrize("method", FIXED)


def with_method(name: str, *, step_size: float = 0.1, tolerance: float = 1e-6) -> dict:
    """The settings of a solve by that method: a tolerance if it is adaptive, else a
    step size.
    """
    if name in ADAPTIVE:
        return {"method": name, "rtol": tolerance, "atol": tolerance}
    return {"method": name, "step_size": step_size}


@dataclass(frozen=True)
class Problem:
    """``y' = f(t, y)`` from `y0` at span[0] to span[1]; `exact(t)` gives the states,
    shape (len(t), *state).
    """

    name: str
    f: Callable[[Tensor, Tensor], Tensor]
    y0: tuple | float
    span: tuple[float, float]
    exact: Callable[[Tensor], Tensor] | None = None

    def start(self, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.tensor(self.y0, dtype=dtype)

    def times(self, n: int = 9) -> Tensor:
        return torch.linspace(*self.span, n, dtype=torch.float64)

    def at(self, t: float, y: Tensor) -> Tensor:
        """f where the time is a number, as `rk_step` passes it on."""
        return self.f(torch.tensor(t, dtype=torch.float64), y)

    def flat_f(self, t: float, y: np.ndarray) -> np.ndarray:
        """f as SciPy wants it."""
        state = torch.from_numpy(y).reshape(self.start().shape)
        return self.at(t, state).flatten().numpy()

    def truth(self, t: Tensor) -> Tensor:
        """The solution at the times `t`, in any order: exact, or by DOP853 at 1e-12."""
        if self.exact is not None:
            return self.exact(t)
        states = _reference(self).sol(t.numpy()).T.copy()
        return torch.from_numpy(states).reshape(len(t), *self.start().shape)

    def magnification(self, *, backward: bool = False) -> float:
        """The most by which the flow stretches a small error, from any time of the span
        to any later (earlier) one.
        """
        passed = _transition_matrices(self)
        if backward:
            passed = passed[::-1]
        pairs = combinations_with_replacement(passed, 2)
        return max(np.linalg.norm(b @ np.linalg.inv(a), 2) for a, b in pairs)

    def error_bound(
        self, steps: int, rtol: float, atol: float, *, backward: bool = False
    ) -> float:
        """What is left of a solve's tolerance at the end: the sum of the local errors,
        magnified by the flow.

        A step is accepted if the root mean square of error / (atol + rtol |y|) is at
        most 1, so its error has a Euclidean norm of at most sqrt(d) (atol + rtol
        max|y|). Dense output may add two of these
        (test_the_dense_output_errs_at_most_twice_as_much_as_a_step_may).
        """
        local = self.start().numel() ** 0.5 * (atol + rtol * self.largest())
        bound = (steps + 2) * local * self.magnification(backward=backward)
        assert bound < 0.1 * self.largest(), (
            f"a bound of {bound:.2g} proves nothing: tighten the tolerance"
        )
        return bound

    def rounding_bound(self, operations: int, eps: float = EPS) -> float:
        """What that many rounded operations along the span can come to, in either
        direction.
        """
        stretch = max(self.magnification(), self.magnification(backward=True))
        return operations * eps * max(1.0, self.largest()) * stretch

    def largest(self) -> float:
        """The largest component of the solution."""
        return self.truth(self.times(200)).abs().max().item()


@cache
def _reference(problem: Problem):
    start, accuracy = problem.start().flatten().numpy(), {"rtol": 1e-12, "atol": 1e-12}
    settings = {"method": "DOP853", "dense_output": True, **accuracy}
    return solve_ivp(problem.flat_f, problem.span, start, **settings)


@cache
def _transition_matrices(problem: Problem) -> list[np.ndarray]:
    """∂y(t)/∂y(start) at nine times, from the variational equation Φ' = (∂f/∂y) Φ, to
    three digits.
    """
    shape, d = problem.start().shape, problem.start().numel()

    def variation(t, z):
        y, phi = torch.from_numpy(z[:d].reshape(shape)), z[d:].reshape(d, d)
        jacobian = torch.autograd.functional.jacobian(lambda y: problem.at(t, y), y)
        return np.concatenate(
            (problem.flat_f(t, z[:d]), (jacobian.reshape(d, d).numpy() @ phi).ravel())
        )

    start = np.concatenate((problem.start().flatten().numpy(), np.eye(d).ravel()))
    columns = solve_ivp(
        variation,
        problem.span,
        start,
        t_eval=problem.times().numpy(),
        rtol=1e-3,
        atol=1e-3,
    ).y.T
    return [column[d:].reshape(d, d) for column in columns]


def on_last(*components: Tensor) -> Tensor:
    """The components of a vector field, as the last dimension."""
    return torch.stack(components, dim=-1)


MATRIX = torch.tensor(
    [[-0.5, -2.0, 0.0], [2.0, -0.5, 1.0], [0.0, 0.0, -0.2]], dtype=torch.float64
)
LINEAR_STARTS = ((1.0, 0.0, 1.0), (0.5, -1.0, 2.0))


def linear_flow(t: Tensor) -> Tensor:
    return torch.tensor(LINEAR_STARTS, dtype=torch.float64) @ torch.linalg.matrix_exp(
        t[:, None, None] * MATRIX.T
    )


POPULATIONS = (0.1, 0.5, 2.0)


def logistic_growth(t: Tensor) -> Tensor:
    return 1 / (
        1
        + (1 / torch.tensor(POPULATIONS, dtype=torch.float64) - 1) * (-t[:, None]).exp()
    )


def swing(t: Tensor) -> Tensor:
    """The pendulum let go at angle 2, by Jacobi's elliptic functions."""
    k = np.sin(1.0)
    sn, cn, _, _ = ellipj(ellipk(k**2) - t.numpy(), k**2)
    return torch.from_numpy(np.stack((2 * np.arcsin(k * sn), -2 * k * cn), axis=1))


def tumbling(t: Tensor) -> Tensor:
    """The free rigid body that defines Jacobi's elliptic functions."""
    return torch.from_numpy(np.stack(ellipj(t.numpy(), 0.51)[:3], axis=1))


PROBLEMS = (
    Problem("decay", lambda t, y: -y, 1.5, (0.0, 3.0), lambda t: 1.5 * (-t).exp()),
    Problem(
        "oscillator",
        lambda t, y: on_last(y[..., 1], -4 * y[..., 0]),
        (1.0, 0.0),
        (0.0, 3.0),
        lambda t: on_last((2 * t).cos(), -2 * (2 * t).sin()),
    ),
    Problem(
        "linear",
        lambda t, y: y @ MATRIX.T.to(y.dtype),
        LINEAR_STARTS,
        (0.0, 3.0),
        linear_flow,
    ),
    Problem(
        "logistic", lambda t, y: y * (1 - y), POPULATIONS, (0.0, 3.0), logistic_growth
    ),
    Problem(
        "seasons",
        lambda t, y: y * t.cos(),
        (2.0,),
        (1.0, 6.0),
        lambda t: 2 * (t.sin() - np.sin(1.0)).exp()[:, None],
    ),
    Problem(
        "Gompertz",
        lambda t, y: y * y.log() * t.cos(),
        (np.e,),
        (0.0, 4.0),
        lambda t: t.sin().exp().exp()[:, None],
    ),
    Problem(
        "pendulum",
        lambda t, y: on_last(y[..., 1], -y[..., 0].sin()),
        (2.0, 0.0),
        (0.0, 6.0),
        swing,
    ),
    Problem(
        "rigid body",
        lambda t, y: on_last(
            y[..., 1] * y[..., 2], -y[..., 0] * y[..., 2], -0.51 * y[..., 0] * y[..., 1]
        ),
        (0.0, 1.0, 1.0),
        (0.0, 6.0),
        tumbling,
    ),
    Problem(
        "van der Pol",
        lambda t, y: on_last(
            y[..., 1], 0.5 * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]
        ),
        (2.0, 0.0),
        (0.0, 4.0),
    ),
    Problem(
        "Lotka-Volterra",
        lambda t, y: on_last(
            y[..., 0] * (1.5 - y[..., 1]), y[..., 1] * (y[..., 0] - 3)
        ),
        (4.0, 1.0),
        (0.0, 3.0),
    ),
    Problem(
        "Lorenz",
        lambda t, y: on_last(
            10 * (y[..., 1] - y[..., 0]),
            y[..., 0] * (28 - y[..., 2]) - y[..., 1],
            y[..., 0] * y[..., 1] - 8 / 3 * y[..., 2],
        ),
        (1.0, 1.0, 1.0),
        (0.0, 0.25),
    ),
)
BY_NAME = {problem.name: problem for problem in PROBLEMS}

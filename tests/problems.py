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


# --- stiff problems -------------------------------------------------------------------


@dataclass(frozen=True)
class StiffProblem(Problem):
    """A problem on which an explicit method takes steps much shorter than the solution
    needs.

    `end` is the solution at span[1], where it is known; `small` is the size of the
    components that matter, and times rtol makes atol.
    """

    end: tuple | None = None
    small: float = 1.0

    def tolerances(self, rtol: float) -> dict:
        return {"rtol": rtol, "atol": self.small * rtol}

    def last(self) -> Tensor:
        """The solution at span[1]: known, exact, or by Radau at 1e-9."""
        if self.end is not None:
            return torch.tensor(self.end, dtype=torch.float64)
        t = torch.tensor([self.span[1]], dtype=torch.float64)
        return self.exact(t)[0] if self.exact else self.by_scipy("Radau", 1e-9)[0]

    def by_scipy(self, method: str, rtol: float) -> tuple[Tensor, int]:
        """SciPy's solution at span[1], and how often it called f, the Jacobian apart."""
        return _by_scipy(self, method, rtol)

    def missed(self, y: Tensor, rtol: float) -> float:
        """The error at span[1] over the tolerance, in root mean square."""
        truth = self.last()
        allowed = rtol * (self.small + truth.abs())
        return ((y - truth) / allowed).square().mean().sqrt().item()


@cache
def _by_scipy(problem: StiffProblem, method: str, rtol: float) -> tuple[Tensor, int]:
    start, settings = problem.start().numpy(), problem.tolerances(rtol)
    solved = solve_ivp(problem.flat_f, problem.span, start, method=method, **settings)
    assert solved.success
    return torch.from_numpy(solved.y[:, -1].copy()), solved.nfev


def robertson(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    slow, back, fast = 0.04 * a, 1e4 * b * c, 3e7 * b**2
    return on_last(back - slow, slow - back - fast, fast)


def high_irradiance(t: Tensor, y: Tensor) -> Tensor:
    a, b, c, d, e, f, g, h = y.unbind(-1)
    bound = 280 * f * h
    return on_last(
        -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
        1.71 * a - 8.75 * b,
        -10.03 * c + 0.43 * d + 0.035 * e,
        8.32 * b + 1.71 * c - 1.12 * d,
        -1.745 * e + 0.43 * f + 0.43 * g,
        -bound + 0.69 * d + 1.71 * e - 0.43 * f + 0.69 * g,
        bound - 1.81 * g,
        -bound + 1.81 * g,
    )


def oregonator(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    return on_last(
        77.27 * (b + a * (1 - 8.375e-6 * a - b)),
        (c - (1 + a) * b) / 77.27,
        0.161 * (a - c),
    )


CELLS = 30
MODES = torch.tensor([1.0, 4.0], dtype=torch.float64)
PLACES = torch.arange(1, CELLS + 1, dtype=torch.float64) / (CELLS + 1)


def curvature(u: Tensor, left: float, right: float) -> Tensor:
    """The second difference over the cells of a line of length 1."""
    ends = u.new_full((1,), left), u.new_full((1,), right)
    u = torch.cat((ends[0], u, ends[1]))
    return (len(u) - 1) ** 2 * (u[2:] - 2 * u[1:-1] + u[:-2])


def cooling(t: Tensor) -> Tensor:
    """Two waves on a line of cells, each of which decays by itself."""
    rates = 4 * (CELLS + 1) ** 2 * (np.pi * MODES / (2 * (CELLS + 1))).sin() ** 2
    waves = (np.pi * MODES[:, None] * PLACES).sin()
    return (-rates * t[:, None]).exp() @ waves


def reaction_and_diffusion(t: Tensor, y: Tensor) -> Tensor:
    """The Brusselator on a line."""
    u, v = y.chunk(2)
    return torch.cat(
        (
            1 + u**2 * v - 4 * u + 0.02 * curvature(u, 1.0, 1.0),
            3 * u - u**2 * v + 0.02 * curvature(v, 3.0, 3.0),
        )
    )


RATES = torch.tensor([-1e6, -1e4, -100.0, -1.0, -0.01], dtype=torch.float64)
_mirror = torch.ones(5, 5, dtype=torch.float64)
MIXING = torch.eye(5, dtype=torch.float64) - 0.4 * _mirror  # orthogonal, symmetric
SPREAD = MIXING @ torch.diag(RATES) @ MIXING


def spread_decay(t: Tensor) -> Tensor:
    start = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    return ((t[:, None] * RATES).exp() * (MIXING @ start)) @ MIXING


def layer(n: int, m: int) -> Tensor:
    """Weights of a layer, the same every time."""
    return torch.arange(n * m, dtype=torch.float64).reshape(n, m).mul(2.0).sin()


def stiff_network(t: Tensor, y: Tensor) -> Tensor:
    """Two layers that turn, and a strong pull to a path that moves."""
    drift = layer(2, 8) @ (layer(8, 2) @ y).tanh()
    return drift - 1000 * (y - on_last(t.cos(), t.sin()))


STIFF = (
    StiffProblem(
        "van der Pol, 1000",
        lambda t, y: on_last(
            y[..., 1], 1000 * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]
        ),
        (2.0, 0.0),
        (0.0, 2000.0),
        end=(1.706167732170469, -8.928097010248125e-4),
    ),
    StiffProblem(
        "Robertson",
        robertson,
        (1.0, 0.0, 0.0),
        (0.0, 1e11),
        end=(2.083340149701255e-8, 8.333360770334713e-14, 0.9999999791665050),
        small=1e-4,
    ),
    StiffProblem(
        "HIRES",
        high_irradiance,
        (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0057),
        (0.0, 321.8122),
        end=(
            7.371312573325668e-4,
            1.442485726316185e-4,
            5.888729740967575e-5,
            1.175651343283149e-3,
            2.386356198831331e-3,
            6.238968252742796e-3,
            2.849998395185769e-3,
            2.850001604814231e-3,
        ),
        small=1e-3,
    ),
    StiffProblem(
        "Oregonator",
        oregonator,
        (1.0, 2.0, 3.0),
        (0.0, 360.0),
        end=(1.000814870318523, 1228.178521549917, 132.0554942846706),
    ),
    StiffProblem(
        "Prothero-Robinson",
        lambda t, y: -1e4 * (y - t.sin()) + t.cos(),
        (0.0,),
        (0.0, 10.0),
        lambda t: t.sin()[:, None],
    ),
    StiffProblem(
        "Kaps",
        lambda t, y: on_last(
            -100002 * y[..., 0] + 100000 * y[..., 1] ** 2,
            y[..., 0] - y[..., 1] * (1 + y[..., 1]),
        ),
        (1.0, 1.0),
        (0.0, 5.0),
        lambda t: on_last((-2 * t).exp(), (-t).exp()),
    ),
    StiffProblem(
        "heat",
        lambda t, y: curvature(y, 0.0, 0.0),
        tuple(cooling(torch.zeros(1, dtype=torch.float64))[0].tolist()),
        (0.0, 0.5),
        cooling,
    ),
    StiffProblem(
        "spread eigenvalues",
        lambda t, y: SPREAD @ y,
        (1.0, 2.0, 3.0, 4.0, 5.0),
        (0.0, 100.0),
        spread_decay,
    ),
    StiffProblem(
        "Brusselator",
        reaction_and_diffusion,
        (*(1 + (2 * np.pi * PLACES).sin()).tolist(), *[3.0] * CELLS),
        (0.0, 10.0),
    ),
    StiffProblem("neural field", stiff_network, (2.0, -1.0), (0.0, 10.0)),
)
STIFF_BY_NAME = {problem.name: problem for problem in STIFF}

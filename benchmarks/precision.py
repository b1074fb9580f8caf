"""Work against precision: how many evaluations buy how many digits, on ten problems.

    python -m benchmarks.precision

Every solver gets the same tolerances, rtol = atol, in float64. Evaluations are counted
where f is called, for all in the same way; the error is that of the state at the end of
the span, over the size of the solution there. Nothing here looks at a clock, so the
table is the same on an idle machine and on a busy one.

Nine problems are from the test set DETEST and from those on which Hairer, Nørsett and
Wanner compare codes; the tenth is a network.

References
----------
Hull, Enright, Fellen, Sedgwick 1972, *Comparing numerical methods for ordinary
differential equations*; Hairer, Nørsett, Wanner, *Solving Ordinary Differential
Equations I*, II.10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
import torch
import torchdiffeq
from scipy.integrate import solve_ivp
from torch import Tensor

from course_lib import records
from course_lib.measuring import Counted, on_processor, relative_error
from course_lib.solvers import SolverError, solve

TOLERANCES = tuple(10 ** (-k / 2) for k in range(6, 21))  # 1e-3 … 1e-10
EXACT = 3e-14  # of the reference, as tight as SciPy allows
LARGEST = 0.1  # errors above a tenth tell nothing of the method
SURE = 30  # an error counts if it is that much larger than what the reference may miss


class Collision(Exception):
    """SciPy's solver gave up."""


@dataclass(frozen=True)
class Problem:
    """``y' = f(t, y)`` from `y0` at 0 to `t_end`.

    Attributes
    ----------
    name : str
    f : callable ``f(t, y) -> dy/dt``, both Tensors in float64
    y0 : tuple of float
    t_end : float
    source : str, where it is from
    returns : bool, whether the solution is at `y0` again at `t_end`
    """

    name: str
    f: Callable[[Tensor, Tensor], Tensor]
    y0: tuple[float, ...]
    t_end: float
    source: str
    returns: bool = False

    def start(self) -> Tensor:
        """The state at 0."""
        return torch.tensor(self.y0, dtype=torch.float64)


# --- the problems ---------------------------------------------------------------------


def growth(t: Tensor, y: Tensor) -> Tensor:
    """Two populations in conflict."""
    a, b = y.unbind()
    return torch.stack((2 * (a - a * b), a * b - b))


def rigid_body(t: Tensor, y: Tensor) -> Tensor:
    """Euler's equations of a body that no force turns."""
    a, b, c = y.unbind()
    return torch.stack((b * c, -a * c, -0.51 * a * b))


def two_body(t: Tensor, y: Tensor) -> Tensor:
    """An orbit about a fixed mass at 0."""
    place, velocity = y.split(2)
    return torch.cat((velocity, -place / place.norm() ** 3))


def vanderpol(t: Tensor, y: Tensor) -> Tensor:
    """Van der Pol's oscillator with μ = 1."""
    a, b = y.unbind()
    return torch.stack((b, (1 - a**2) * b - a))


def arenstorf(t: Tensor, y: Tensor) -> Tensor:
    """A satellite between earth and moon, seen from a frame that turns with them."""
    moon = 0.012277471
    (a, b), velocity = y[:2], y[2:]
    to_earth = (1 - moon) / ((a + moon) ** 2 + b**2) ** 1.5
    to_moon = moon / ((a - 1 + moon) ** 2 + b**2) ** 1.5
    return torch.stack(
        (
            *velocity,
            a + 2 * velocity[1] - to_earth * (a + moon) - to_moon * (a - 1 + moon),
            b - 2 * velocity[0] - (to_earth + to_moon) * b,
        )
    )


def lorenz(t: Tensor, y: Tensor) -> Tensor:
    """Lorenz's three equations of convection."""
    a, b, c = y.unbind()
    return torch.stack((10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c))


MASSES = torch.arange(1, 8, dtype=torch.float64)
PLEIADES = (
    *(3.0, 3.0, -1.0, -3.0, 2.0, -2.0, 2.0),  # x
    *(3.0, -3.0, 2.0, 0.0, 0.0, -4.0, 4.0),  # y
    *(0.0, 0.0, 0.0, 0.0, 0.0, 1.75, -1.5),  # their velocities
    *(0.0, 0.0, 0.0, -1.25, 1.0, 0.0, 0.0),
)


def pleiades(t: Tensor, y: Tensor) -> Tensor:
    """Seven stars in a plane that attract each other."""
    place, velocity = y.reshape(2, 2, 7)
    apart = place[:, None, :] - place[:, :, None]  # (2, on, by)
    cubed = apart.square().sum(0).add(torch.eye(7)).pow(1.5)  # 0 apart: no force
    pull = (MASSES * apart / cubed).sum(-1)
    return torch.cat((velocity.flatten(), pull.flatten()))


def brusselator(t: Tensor, y: Tensor) -> Tensor:
    """A chemical clock."""
    a, b = y.unbind()
    return torch.stack((1 + a**2 * b - 4 * a, 3 * a - a**2 * b))


def forced(t: Tensor, y: Tensor) -> Tensor:
    """Growth and decay with the seasons."""
    return y * torch.cos(t)


def _weights(n: int, m: int) -> Tensor:
    """Weights of a layer, the same with every version of every library."""
    return torch.arange(1, n * m + 1, dtype=torch.float64).reshape(n, m).mul(2.0).sin()


INTO, OUT_OF = _weights(50, 4), _weights(4, 50)


def network(t: Tensor, y: Tensor) -> Tensor:
    """Two layers, 4-50-4."""
    return OUT_OF @ torch.tanh(INTO @ y)


PROBLEMS = (
    Problem("seasons", forced, (1.0,), 20.0, "DETEST A3"),
    Problem("two populations", growth, (1.0, 3.0), 20.0, "DETEST B1"),
    Problem("rigid body", rigid_body, (0.0, 1.0, 1.0), 20.0, "DETEST B5"),
    Problem(
        "two bodies, e = 0.7",
        two_body,
        (0.3, 0.0, 0.0, (1.7 / 0.3) ** 0.5),
        20.0,
        "DETEST D4",
    ),
    Problem("van der Pol", vanderpol, (2.0, 0.0), 20.0, "DETEST E2"),
    Problem(
        "Arenstorf orbit",
        arenstorf,
        (0.994, 0.0, 0.0, -2.00158510637908252240537862224),
        17.0652165601579625588917206249,
        "Hairer et al. I, AREN",
        returns=True,
    ),
    Problem("Lorenz", lorenz, (-8.0, 8.0, 27.0), 5.0, "Hairer et al. I, LRNZ, shorter"),
    Problem("Pleiades", pleiades, PLEIADES, 3.0, "Hairer et al. I, PLEI"),
    Problem("Brusselator", brusselator, (1.5, 3.0), 20.0, "Hairer et al. I, BRUS"),
    Problem("network 4-50-4", network, (1.0, -1.0, 0.5, 0.0), 20.0, "this course"),
)


# --- the solvers ----------------------------------------------------------------------


def by_course(method: str) -> Callable:
    """The solver of the course."""

    def last(f, problem: Problem, tolerance: float) -> Tensor:
        return solve(
            f,
            problem.start(),
            [0.0, problem.t_end],
            method=method,
            rtol=tolerance,
            atol=tolerance,
            max_steps=10**6,
        ).ys[-1]

    return last


def by_torchdiffeq(f, problem: Problem, tolerance: float) -> Tensor:
    """torchdiffeq's dopri5, as a reader would call it."""
    t = torch.tensor([0.0, problem.t_end], dtype=torch.float64)
    how = dict(method="dopri5", rtol=tolerance, atol=tolerance)
    return torchdiffeq.odeint(f, problem.start(), t, **how)[-1]


def by_scipy(method: str) -> Callable:
    """SciPy's solver."""

    def last(f, problem: Problem, tolerance: float) -> Tensor:
        def flat_f(t, y):
            now = torch.tensor(t, dtype=torch.float64)
            return f(now, torch.from_numpy(y)).numpy()

        span, start = (0.0, problem.t_end), problem.start().numpy()
        how = dict(method=method, rtol=tolerance, atol=tolerance)
        solved = solve_ivp(flat_f, span, start, **how)
        if not solved.success:
            raise Collision(f"{problem.name}: {solved.message}")
        return torch.from_numpy(solved.y[:, -1].copy())

    return last


SOLVERS = {
    "dopri5": by_course("dopri5"),
    "tsit5": by_course("tsit5"),
    "torchdiffeq": by_torchdiffeq,
    "RK45": by_scipy("RK45"),
    "DOP853": by_scipy("DOP853"),
}
OURS, PEERS = ("dopri5", "tsit5"), ("torchdiffeq", "RK45")


# --- what is measured -----------------------------------------------------------------


def reference(problem: Problem) -> tuple[Tensor, float]:
    """The state at the end, and how much of it may be wrong, over its size.

    What DOP853 may miss is taken from a second run, ten times as loose; an orbit that
    closes is known by itself, to the digits of its period.
    """
    if problem.returns:
        return problem.start(), 1e-12
    tight = by_scipy("DOP853")
    end, looser = (tight(problem.f, problem, k * EXACT) for k in (1, 10))
    return end, max(relative_error(looser, end), 1e-14)


@torch.no_grad()
def curve(solver: Callable, problem: Problem, end: Tensor) -> dict[str, list]:
    """Evaluations and achieved error, one for every tolerance that the solver meets.

    A loose solution may run into a singularity that the true one passes by: None.
    """
    nfe, errors = [], []
    for tolerance in TOLERANCES:
        f = Counted(problem.f)
        try:
            error = relative_error(solver(f, problem, tolerance), end)
        except (SolverError, AssertionError, Collision):
            error = None
        nfe.append(f.calls)
        errors.append(error)
    return {"nfe": nfe, "error": errors}


def work_ratio(ours: dict, theirs: dict, least: float, most: float = LARGEST) -> float:
    """Evaluations of one over those of the other, at equal achieved error.

    Both curves are joined by straight lines in logarithms of error and evaluations. The
    logarithm of their ratio is averaged over the errors, between `least` and `most`,
    that both reach.
    """
    curves = [_points(curve, least, most) for curve in (ours, theirs)]
    low = max(errors[0] for errors, _ in curves)
    high = min(errors[-1] for errors, _ in curves)
    at = np.linspace(low, high, 401)
    first, second = (np.interp(at, *points) for points in curves)
    return float(np.exp((first - second).mean()))


def _points(curve: dict, least: float, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the errors that count, in order, and of their evaluations."""
    pairs = zip(curve["error"], curve["nfe"])
    points = sorted((e, n) for e, n in pairs if e is not None and least < e < most)
    errors, nfe = np.log(np.array(points)).T
    return errors, nfe


def row(problem: Problem, curves: dict, missed: float) -> dict:
    """One line of the table: what ours need over what the others do."""
    least = SURE * missed
    ratios = {
        f"{ours} / {theirs}": work_ratio(curves[ours], curves[theirs], least)
        for ours in OURS
        for theirs in PEERS
    }
    higher = work_ratio(curves["DOP853"], curves["RK45"], least)
    return {"problem": problem.name, **ratios, "DOP853 / RK45": higher}


def wins(rows: list[dict], ours: str) -> int:
    """On how many problems ours need no more evaluations than either peer."""
    return sum(all(row[f"{ours} / {peer}"] <= 1 for peer in PEERS) for row in rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows, curves = [], []
    for problem in PROBLEMS:
        end, missed = reference(problem)
        found = {name: curve(solver, problem, end) for name, solver in SOLVERS.items()}
        rows.append(row(problem, found, missed))
        about = {"problem": problem.name, "source": problem.source, "missed": missed}
        curves.append(about | found)
    versions = {module.__name__: module.__version__ for module in (scipy, torchdiffeq)}
    records.report("precision", rows, device=on_processor(), **versions)
    count = {name: wins(rows, name) for name in OURS}
    records.save_results("precision", wins=count, tolerances=TOLERANCES, curves=curves)
    print(f"no more evaluations than either, of {len(rows)} problems: {count}")

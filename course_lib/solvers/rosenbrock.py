"""Rosenbrock methods for stiff equations: data, and one step of them.

An explicit step is stable only while h |λ| is small for every eigenvalue λ of ∂f/∂y. An
implicit step has no such limit, but asks for the solution of nonlinear equations. A
Rosenbrock method solves linear ones instead, all with the same matrix. With J = ∂f/∂y
and f_t = ∂f/∂t at (t, y)::

    (I/γ - h J) k_i = f(t + c_i h,  y + h Σ_{j<i} a_ij k_j) + Σ_{j<i} m_ij k_j + h d_i f_t
    y_new = y + h Σ_i b_i k_i                                         i = 1 … s

References
----------
Hairer, Wanner, *Solving Ordinary Differential Equations II*, IV.7: there k_i is u_i / h,
m_ij is c_ij, c_i is α_i, d_i is γ_i and b_i is m_i.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import mul
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.solvers.stages import advance, weighted_sum
from course_lib.solvers.tableaus import ButcherTableau, Consistent

__all__ = [
    "RODAS5P",
    "STIFF_METHODS",
    "Linearisation",
    "RosenbrockTableau",
    "Tableau",
    "linearise",
    "rosenbrock_step",
]

# --- the method as data ---------------------------------------------------------------


@dataclass(frozen=True)
class RosenbrockTableau(Consistent):
    """The coefficients of one Rosenbrock method that chooses its own steps.

    Parameters
    ----------
    name : str
        The name by which ``method=`` finds it.
    order : int
        The local error of a step is O(h^(order + 1)).
    gamma : float
        γ, which every stage shares: one factorisation serves them all.
    c : tuple of s floats
        Stage times, as fractions of the step.
    d : tuple of s floats
        Weights of ∂f/∂t. They are the stages themselves where f is 1.
    a : tuple of s - 1 rows
        Row i holds the i weights of the earlier stages in the place where f is
        evaluated for stage i + 1.
    m : tuple of s - 1 rows
        Row i holds the i weights of the earlier stages beside f.
    b : tuple of s floats
        Weights of the step.
    b_error : tuple of s floats
        ``h Σ b_error_i k_i`` estimates the local error.
    dense : tuple of s rows
        Row i holds the coefficients of θ, θ², … in b_i(θ): the weights that reach t +
        θh, 0 ≤ θ ≤ 1.
    source : str
        Where the coefficients come from.
    label : str
        What menus and sentences call it.

    Raises
    ------
    ValueError
        If the table is not consistent: d_i = γ (1 + Σ_j m_ij d_j), Σ_j a_ij d_j = c_i,
        Σ b_i d_i = 1, Σ b_error_i d_i = 0, b(θ = 1) = b.
    """

    name: str
    order: int
    gamma: float
    c: tuple[float, ...]
    d: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    m: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_error: tuple[float, ...]
    dense: tuple[tuple[float, ...], ...]
    source: str = ""
    label: str = ""

    def __post_init__(self):
        s = len(self.b)
        for what in ("c", "d", "b_error", "dense"):
            n = len(getattr(self, what))
            self._require(n == s, f"{what} has {n} entries, b has {s}")
        for what in ("a", "m"):
            lengths = [len(row) for row in getattr(self, what)]
            triangular = lengths == list(range(1, s))
            self._require(triangular, f"row i of {what} needs i entries")
        for i, (c, d, a, m) in enumerate(
            zip(self.c, self.d, ((), *self.a), ((), *self.m)), start=1
        ):
            self._require_sum(map(mul, a, self.d), c, f"row {i} of a, times d,")
            again = (1.0, *map(mul, m, self.d))
            self._require_sum(again, d / self.gamma, f"1 + row {i} of m, times d,")
        self._require_sum(map(mul, self.b, self.d), 1.0, "b, times d,")
        self._require_sum(map(mul, self.b_error, self.d), 0.0, "b_error, times d,")
        for i, row in enumerate(self.dense, start=1):
            self._require_sum(row, self.b[i - 1], f"row {i} of dense")

    @property
    def stages(self) -> int:
        """The number of stages s: evaluations of f a step makes, one with its Jacobian."""
        return len(self.b)

    @property
    def adaptive(self) -> bool:
        """True: the method estimates its error and chooses its own steps."""
        return True

    @property
    def fsal(self) -> bool:
        """False: no stage is f at the new point."""
        return False


Tableau = ButcherTableau | RosenbrockTableau

# Stages 6 and 7 stand where two embedded methods end, stage 8 adds its own correction.
_END = (
    -7.502846399306121,
    2.561846144803919,
    -11.627539656261098,
    -0.18268767659942256,
    0.030198172008377946,
)
# y(t + θh) is θ Σ b_i k_i + θ (1 - θ) Σ_i (p_i + θ q_i + θ² r_i) k_i, times h, past y.
_P = (
    25.948786856663858,
    -2.5579724845846235,
    10.433815404888879,
    -2.3679251022685204,
    0.524948541321073,
    1.1241088310450404,
    0.4272876194431874,
    -0.17202221070155493,
)
_Q = (
    -9.91568850695171,
    -0.9689944594115154,
    3.0438037242978453,
    -24.495224566215796,
    20.176138334709044,
    15.98066361424651,
    -6.789040303419874,
    -6.710236069923372,
)
_R = (
    11.419903575922262,
    2.8879645146136994,
    72.92137995996029,
    80.12511834622643,
    -52.072871366152654,
    -59.78993625266729,
    -0.15582684282751913,
    4.883087185713722,
)
_B = (*_END, 1.0, 1.0, 1.0)

RODAS5P = RosenbrockTableau(
    name="rodas5p",
    order=5,
    gamma=0.21193756319429014,
    c=(
        0.0,
        0.6358126895828704,
        0.4095798393397535,
        0.9769306725060716,
        0.4288403609558664,
        1.0,
        1.0,
        1.0,
    ),
    d=(
        0.21193756319429014,
        -0.42387512638858027,
        -0.3384627126235924,
        1.8046452872882734,
        2.325825639765069,
        0.0,
        0.0,
        0.0,
    ),
    a=(
        (3.0,),
        (2.849394379747939, 0.45842242204463923),
        (-6.954028509809101, 2.489845061869568, -10.358996098473584),
        (
            2.8029986275628964,
            0.5072464736228206,
            -0.3988312541770524,
            -0.04721187230404641,
        ),
        _END,
        (*_END, 1.0),
        (*_END, 1.0, 1.0),
    ),
    m=(
        (-14.155112264123755,),
        (-17.97296035885952, -2.859693295451294),
        (147.12150275711716, -1.41221402718213, 71.68940251302358),
        (
            165.43517024871676,
            -0.4592823456491126,
            42.90938336958603,
            -5.961986721573306,
        ),
        (
            24.854864614690072,
            -3.0009227002832186,
            47.4931110020768,
            5.5814197821558125,
            -0.6610691825249471,
        ),
        (
            30.91273214028599,
            -3.1208243349937974,
            77.79954646070892,
            34.28646028294783,
            -19.097331116725623,
            -28.087943162872662,
        ),
        (
            37.80277123390563,
            -3.2571969029072276,
            112.26918849496327,
            66.9347231244047,
            -40.06618937091002,
            -54.66780262877968,
            -9.48861652309627,
        ),
    ),
    b=_B,
    # Stage 8, by which the embedded method differs, minus the one combination of stages
    # in which no derivative of f up to the fifth order is left. Where h |λ| is small the
    # combination is nothing. Where it is large, stage 8 does not see how far dense output
    # goes astray inside a step, and the combination is 1 to 1.5 times as large as that.
    # (Rodas5Pe takes the same two in another proportion.)
    b_error=(
        0.11658361468279466,
        -0.0023075060525628004,
        0.5832471210354682,
        0.5524282871915498,
        -0.35480572139392147,
        -0.4497472441289591,
        -0.08071543383825429,
        0.9201623226627463,
    ),
    dense=tuple((b + p, q - p, r - q, -r) for b, p, q, r in zip(_B, _P, _Q, _R)),
    source="Steinebach 2023, Construction of Rosenbrock–Wanner method Rodas5P and numerical"
    " benchmarks, BIT 63:27; its error estimate after Steinebach 2024, Rosenbrock methods"
    " within OrdinaryDiffEq.jl",
    label="Rodas5P",
)

STIFF_METHODS = {tableau.name: tableau for tableau in (RODAS5P,)}


# --- one step -------------------------------------------------------------------------


class Linearisation(NamedTuple):
    """f and its derivatives at one point: what a Rosenbrock step starts from.

    Attributes
    ----------
    dy : Tensor, shape (*state), f
    dy_dt : Tensor, shape (*state), ∂f/∂t; zero if f does not use t
    jacobian : Tensor, shape (d, d), ∂f/∂y of the flattened state, d = y.numel()
    """

    dy: Tensor
    dy_dt: Tensor
    jacobian: Tensor


def _clock(t: float | Tensor, y: Tensor) -> Tensor:
    """t as f takes it, which may have to be differentiated by it."""
    return torch.as_tensor(t, dtype=y.dtype, device=y.device)


def linearise(f: Callable, t: float | Tensor, y: Tensor) -> Linearisation:
    """f(t, y), ∂f/∂t and ∂f/∂y from one call of f.

    The Jacobian is that of the whole flattened state, which is right for every f. It
    takes d backward passes through f, done at once, and d² numbers, and a step about d³/3
    operations more; for a batch of n states of size k, d is n k, although samples that do
    not see each other would need only n blocks of k².

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``, same shape as `y`
        Made of what `torch.func.jacrev` goes through; t arrives as a 0-d Tensor.
    t : float or 0-d Tensor
    y : Tensor, shape (*state)

    Returns
    -------
    Linearisation
        Differentiable as the rest of a solve is, the Jacobian too.
    """

    def f_twice(t, y):
        dy = f(t, y)
        return dy, dy

    derivatives = torch.func.jacrev(f_twice, argnums=(0, 1), has_aux=True)
    try:
        (dy_dt, jacobian), dy = derivatives(_clock(t, y), y)
    except RuntimeError as error:
        error.add_note(
            "A stiff method takes the Jacobian of f, by torch.func.jacrev. If f works "
            "with method='dopri5', then inside f: compute new tensors instead of writing "
            "to old ones, and use torch.func.grad in place of requires_grad_()."
        )
        raise
    d = y.numel()
    return Linearisation(dy, dy_dt, jacobian.reshape(d, d))


def rosenbrock_step(
    f: Callable,
    t: float | Tensor,
    y: Tensor,
    h: float | Tensor,
    tableau: RosenbrockTableau,
    start: Linearisation | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Advance one Rosenbrock step: one factorisation, s times solved with.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``, same shape as `y`
        t arrives as a 0-d Tensor like y.
    t : float or 0-d Tensor, time at the start of the step
    y : Tensor, shape (*state)
    h : float or 0-d Tensor, signed step; negative integrates backwards
    tableau : RosenbrockTableau
    start : Linearisation, optional
        That of f at (t, y) if the caller has it already (a first attempt failed).

    Returns
    -------
    y_next : Tensor, shape (*state)
        Infinite or NaN if the matrix of the step is singular.
    stages : list of Tensor, k₁ … k_s

    References
    ----------
    Hairer, Wanner, *Solving Ordinary Differential Equations II*, IV.7.
    """
    start = linearise(f, t, y) if start is None else start
    unit = torch.eye(y.numel(), dtype=y.dtype, device=y.device)
    matrix = unit / tableau.gamma - h * start.jacobian
    factors, pivots, _ = torch.linalg.lu_factor_ex(matrix)

    def stage(right: Tensor) -> Tensor:
        k = torch.linalg.lu_solve(factors, pivots, right.reshape(-1, 1))
        return k.reshape(y.shape)

    stages = [stage(start.dy + h * tableau.d[0] * start.dy_dt)]
    rows = zip(tableau.c[1:], tableau.d[1:], tableau.a, tableau.m)
    for c, d, a, m in rows:
        dy = f(_clock(t + c * h, y), advance(y, h, a, stages))
        stages.append(stage(dy + weighted_sum(m, stages) + h * d * start.dy_dt))
    return advance(y, h, tableau.b, stages), stages

"""Explicit Runge–Kutta methods as data: adding a method is adding one table.

A method with `s` stages advances ``y' = f(t, y)`` by one step of size `h`::

    k_i   = f(t + c_i h,  y + h Σ_{j<i} a_ij k_j)        i = 1 … s
    y_new = y + h Σ_i b_i k_i

Reference: Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, isclose

__all__ = [
    "BOSH3",
    "DOPRI5",
    "EULER",
    "HEUN",
    "METHODS",
    "MIDPOINT",
    "RK4",
    "TSIT5",
    "ButcherTableau",
    "Consistent",
]


class Consistent:
    """A table that has a name and checks itself when it is made."""

    name: str

    def _require(self, condition: bool, complaint: str) -> None:
        if not condition:
            raise ValueError(f"tableau {self.name!r}: {complaint}")

    def _require_sum(self, row: Iterable[float], expected: float, what: str) -> None:
        total = fsum(row)
        self._require(
            isclose(total, expected, abs_tol=1e-12),
            f"{what} sums to {total}, expected {expected}",
        )


@dataclass(frozen=True)
class ButcherTableau(Consistent):
    """The coefficients of one explicit Runge–Kutta method.

    Parameters
    ----------
    name : str
        The name by which ``method=`` finds it.
    order : int
        The local error of a step is O(h^(order + 1)).
    c : tuple of s floats
        Stage times, as fractions of the step.
    a : tuple of s - 1 rows
        Row i holds the i weights of stage i + 1 (strictly lower triangular).
    b : tuple of s floats
        Weights of the step.
    b_error : tuple of s floats, optional
        b minus the weights of the embedded method; ``h Σ b_error_i k_i`` estimates the
        local error. A method that has it chooses its own steps (it is *adaptive*).
    dense : tuple of s rows, optional
        Row i holds the coefficients of θ, θ², … in b_i(θ): the weights that reach t +
        θh, 0 ≤ θ ≤ 1.
    source : str
        Where the coefficients come from.
    label : str
        What menus and sentences call it.

    Raises
    ------
    ValueError
        If the table is not consistent: Σ b = 1, Σ_j a_ij = c_i, Σ b_error = 0, b(θ = 1)
        = b.
    """

    name: str
    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_error: tuple[float, ...] | None = None
    dense: tuple[tuple[float, ...], ...] | None = None
    source: str = ""
    label: str = ""

    def __post_init__(self):
        s = len(self.b)
        self._require(len(self.c) == s, f"c has {len(self.c)} entries, b has {s}")
        self._require(
            [len(row) for row in self.a] == list(range(1, s)),
            "row i of a needs i entries",
        )
        self._require_sum(self.b, 1.0, "b")
        for i, (c, row) in enumerate(zip(self.c, ((), *self.a)), start=1):
            self._require_sum(row, c, f"row {i} of a")
        if self.b_error is not None:
            self._require(len(self.b_error) == s, "b_error needs as many entries as b")
            self._require_sum(self.b_error, 0.0, "b_error")
            self._require(
                self.dense is not None, "an adaptive method needs dense output"
            )
            self._require(
                self.fsal,
                "the last stage of an adaptive method is the next step's first",
            )
        if self.dense is not None:
            self._require(len(self.dense) == s, "dense needs as many rows as b")
        for i, row in enumerate(self.dense or (), start=1):
            self._require_sum(row, self.b[i - 1], f"row {i} of dense")

    @property
    def stages(self) -> int:
        """The number of stages s: evaluations of f a step makes."""
        return len(self.b)

    @property
    def adaptive(self) -> bool:
        """Whether the method estimates its error, and so can choose its own steps."""
        return self.b_error is not None

    @property
    def fsal(self) -> bool:
        """First same as last: the last stage is f at the new point, the first stage of
        the next step.
        """
        return self.stages > 1 and self.b[-1] == 0.0 and self.a[-1] == self.b[:-1]


EULER = ButcherTableau(
    name="euler",
    order=1,
    c=(0.0,),
    a=(),
    b=(1.0,),
    source="Euler 1768; Hairer, Nørsett, Wanner I, I.7",
    label="Euler",
)

MIDPOINT = ButcherTableau(
    name="midpoint",
    order=2,
    c=(0.0, 1 / 2),
    a=((1 / 2,),),
    b=(0.0, 1.0),
    source="Runge 1895; Hairer, Nørsett, Wanner I, II.1",
    label="Midpoint",
)

HEUN = ButcherTableau(
    name="heun",
    order=2,
    c=(0.0, 1.0),
    a=((1.0,),),
    b=(1 / 2, 1 / 2),
    source="Heun 1900; Hairer, Nørsett, Wanner I, II.1",
    label="Heun",
)

RK4 = ButcherTableau(
    name="rk4",
    order=4,
    c=(0.0, 1 / 2, 1 / 2, 1.0),
    a=((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    source="Kutta 1901, 'the' Runge–Kutta method; Hairer, Nørsett, Wanner I, II.1",
    label="RK4",
)

BOSH3 = ButcherTableau(
    name="bosh3",
    order=3,
    c=(0.0, 1 / 2, 3 / 4, 1.0),
    a=((1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    b=(2 / 9, 1 / 3, 4 / 9, 0.0),
    b_error=(-5 / 72, 1 / 12, 1 / 9, -1 / 8),
    # The cubic through both ends with the right slope at both (Hermite).
    dense=(
        (1.0, -4 / 3, 5 / 9),
        (0.0, 1.0, -2 / 3),
        (0.0, 4 / 3, -8 / 9),
        (0.0, -1.0, 1.0),
    ),
    source="Bogacki, Shampine 1989, A 3(2) pair of Runge–Kutta formulas",
    label="Bogacki–Shampine 3",
)

DOPRI5 = ButcherTableau(
    name="dopri5",
    order=5,
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    a=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    b_error=(
        71 / 57600,
        0.0,
        -71 / 16695,
        71 / 1920,
        -17253 / 339200,
        22 / 525,
        -1 / 40,
    ),
    dense=(
        (
            1.0,
            -8048581381 / 2820520608,
            8663915743 / 2820520608,
            -12715105075 / 11282082432,
        ),
        (0.0, 0.0, 0.0, 0.0),
        (
            0.0,
            131558114200 / 32700410799,
            -68118460800 / 10900136933,
            87487479700 / 32700410799,
        ),
        (
            0.0,
            -1754552775 / 470086768,
            14199869525 / 1410260304,
            -10690763975 / 1880347072,
        ),
        (
            0.0,
            127303824393 / 49829197408,
            -318862633887 / 49829197408,
            701980252875 / 199316789632,
        ),
        (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
        (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
    ),
    source="Dormand, Prince 1980; dense output Shampine 1986; Hairer, Nørsett, Wanner I, II.5–6",
    label="Dormand–Prince 5",
)

TSIT5 = ButcherTableau(
    name="tsit5",
    order=5,
    c=(0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    a=(
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (
            5.325864828439257,
            -11.748883564062828,
            7.4955393428898365,
            -0.09249506636175525,
        ),
        (
            5.86145544294642,
            -12.92096931784711,
            8.159367898576159,
            -0.071584973281401,
            -0.028269050394068383,
        ),
        (
            0.09646076681806523,
            0.01,
            0.4798896504144996,
            1.379008574103742,
            -3.290069515436081,
            2.324710524099774,
        ),
    ),
    b=(
        0.09646076681806523,
        0.01,
        0.4798896504144996,
        1.379008574103742,
        -3.290069515436081,
        2.324710524099774,
        0.0,
    ),
    b_error=(
        0.00178001105222577714,
        0.0008164344596567469,
        -0.007880878010261995,
        0.1447110071732629,
        -0.5823571654525552,
        0.45808210592918697,
        -1 / 66,
    ),
    dense=(
        (1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216),
        (0.0, 0.1317, -0.2234, 0.1017),
        (0.0, 3.9302962368947516, -5.941033872131505, 2.490627285651253),
        (0.0, -12.411077166933676, 30.33818863028232, -16.548102889244902),
        (0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928),
        (0.0, -27.896526289197286, 65.09189467479366, -34.87065786149661),
        (0.0, 1.5, -4.0, 2.5),
    ),
    source="Tsitouras 2011, Runge–Kutta pairs of order 5(4) satisfying only the first column simplifying assumption",
    label="Tsitouras 5",
)

METHODS = {
    tableau.name: tableau
    for tableau in (EULER, MIDPOINT, HEUN, RK4, BOSH3, DOPRI5, TSIT5)
}

"""Models that take in readings: a controlled differential equation, and its rivals, whose
state jumps.

All of them read a batch of series of different lengths, at times of their own, with
readings missing: times (B, k), values (B, k, D), NaN where there is none (see
`course_lib.paths`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.models.fields import MLPDynamics
from course_lib.models.layers import check_states
from course_lib.paths import ControlPath, linear_path
from course_lib.solvers import RK4, odeint, rk_step

__all__ = [
    "ControlledField",
    "DecayReader",
    "FlowReader",
    "GapReader",
    "MatrixField",
    "NeuralCDE",
    "Row",
    "reading_rows",
]


# --- a controlled differential equation -------------------------------------------------


class MatrixField(nn.Module):
    """A matrix for every state: (B, hidden) to (B, hidden, channels).

    Both layers end in tanh: no entry is larger than 1, so that a long path cannot blow the
    state up. The last layer starts with a tenth of the usual weights, so that at first the
    state is moved little.

    Parameters
    ----------
    hidden, channels, width : int
    """

    def __init__(self, hidden: int, channels: int, width: int):
        super().__init__()
        self.channels, self.width = channels, width
        self.net = nn.Sequential(
            nn.Linear(hidden, width),
            nn.Tanh(),
            nn.Linear(width, hidden * channels),
            nn.Tanh(),
        )
        with torch.no_grad():
            for parameter in self.net[2].parameters():
                parameter.mul_(0.1)

    def forward(self, z: Tensor) -> Tensor:
        """The matrix at z."""
        return self.net(z).unflatten(-1, (-1, self.channels))


class ControlledField(nn.Module):
    """``dz/ds = F(z) dX/ds``: the controlled equation dz = F(z) dX as a field for a solver.

    Only the slope of the path enters, and F does not see s: the same curve gone through at
    another pace, ``X(φ(s))``, gives ``z(φ(s))``.

    Parameters
    ----------
    matrix : callable ``F(z)``, (B, hidden) to (B, hidden, C); a Module is trained with it
    path : ControlPath, or what has a ``slope(s)`` of shape (B, C)
        It is no parameter: an adjoint that is to reach the readings has to be told so, by
        ``adjoint_params=(*field.parameters(), path.coefficients)``.

    References
    ----------
    Kidger, Morrill, Foster, Lyons 2020, section 3.
    """

    def __init__(self, matrix: Callable[[Tensor], Tensor], path: ControlPath):
        super().__init__()
        self.matrix, self.path = matrix, path

    def forward(self, s: Tensor, z: Tensor) -> Tensor:  # (B, hidden) -> (B, hidden)
        """The derivative by the parameter of the path."""
        return (self.matrix(z) @ self.path.slope(s)[..., None])[..., 0]


class NeuralCDE(nn.Module):
    """A state that is driven along a path, and what a linear layer reads from it.

    Parameters
    ----------
    observed, hidden, outputs : int
    width : int, of the hidden layer of F
    interpolation : callable ``interpolation(times, values) -> ControlPath``
    odeint : callable, as for `course_lib.models.NeuralODE`
    **solver_settings
        ``method="heun", step_size=1.0`` unless one is given: one step a piece. The knots
        are handed on as `jumps`, for the slope of a path jumps there.
    """

    def __init__(
        self,
        observed: int,
        hidden: int,
        outputs: int,
        *,
        width: int,
        interpolation: Callable[[Tensor, Tensor], ControlPath] = linear_path,
        odeint: Callable = odeint,
        **solver_settings,
    ):
        super().__init__()
        self.start = nn.Linear(observed + 1, hidden)
        self.matrix = MatrixField(hidden, observed + 1, width)
        self.out = nn.Linear(hidden, outputs)
        self.interpolation, self.odeint = interpolation, odeint
        self.solver_settings = solver_settings or dict(method="heun", step_size=1.0)

    def states(self, path: ControlPath, s: Tensor | None = None) -> Tensor:
        """The states at the parameters s, at all knots unless given: (len(s), B, hidden).

        s begins where the path does.
        """
        s = torch.tensor(path.knots) if s is None else s
        field = ControlledField(self.matrix, path)
        how = dict(self.solver_settings, jumps=path.knots)
        z0 = self.start(path(path.knots[0]))
        return check_states(self.odeint(field, z0, s, **how))

    def forward(self, times: Tensor, values: Tensor) -> Tensor:
        """What is read at the end of each series, shape (B, outputs)."""
        path = self.interpolation(times, values)
        ends = torch.tensor([path.knots[0], path.knots[-1]])
        return self.out(self.states(path, ends)[-1])


# --- states that jump -------------------------------------------------------------------


class Row(NamedTuple):
    """One row of a batch of series, as a network that jumps is told of it.

    Attributes
    ----------
    value : Tensor, shape (B, D), the last reading of each channel; 0 before the first
    seen : Tensor, shape (B, D), 1 where that is a reading of this row, else 0
    gap : Tensor, shape (B, 1), time since the last row that held a reading
    since : Tensor, shape (B, D), time since the last reading of each channel
    there : Tensor, shape (B, 1), bool, whether this row holds one
    """

    value: Tensor
    seen: Tensor
    gap: Tensor
    since: Tensor
    there: Tensor


def reading_rows(times: Tensor, values: Tensor) -> Iterator[Row]:
    """The rows of a batch, (B, k) and (B, k, D), one after the other."""
    first = times[:, :1]
    value, latest = torch.zeros_like(values[:, 0]), first.expand_as(values[:, 0])
    before = first
    for t, x in zip(times.unbind(1), values.unbind(1)):
        seen, t = ~x.isnan(), t[:, None]
        there = seen.any(dim=-1, keepdim=True)
        gap, since = (t - before).where(there, 0.0), (t - latest).where(there, 0.0)
        value = torch.where(seen, x, value)
        yield Row(value, seen.to(x.dtype), gap, since, there)
        before, latest = torch.where(there, t, before), torch.where(seen, t, latest)


class _Reader(nn.Module):
    """A state that reads row after row; what a linear layer makes of the last."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.cell = nn.GRUCell(inputs, hidden)
        self.out = nn.Linear(hidden, outputs)

    def read(self, h: Tensor, row: Row) -> Tensor:
        """The state after a row."""
        raise NotImplementedError

    def forward(self, times: Tensor, values: Tensor) -> Tensor:
        """What is read at the end of each series, shape (B, outputs)."""
        h = values.new_zeros(len(values), self.cell.hidden_size)
        for row in reading_rows(times, values):
            h = torch.where(row.there, self.read(h, row), h)
        return self.out(h)


class GapReader(_Reader):
    """A GRU that is told how long each gap was (GRU-Δt).

    Parameters
    ----------
    observed, hidden, outputs : int
    """

    def __init__(self, observed: int, hidden: int, outputs: int):
        super().__init__(2 * observed + 1, hidden, outputs)

    def read(self, h: Tensor, row: Row) -> Tensor:
        """The state after a row."""
        return self.cell(torch.cat((row.value, row.seen, row.gap), dim=-1), h)


class DecayReader(_Reader):
    """A GRU with decay (GRU-D): in a gap the state shrinks towards 0, and a value that is
    missing towards 0, its mean, at rates that are learnt.

    Parameters
    ----------
    observed, hidden, outputs : int

    References
    ----------
    Che, Purushotham, Cho, Sontag, Liu 2018.
    """

    def __init__(self, observed: int, hidden: int, outputs: int):
        super().__init__(2 * observed, hidden, outputs)
        self.rate = nn.Linear(observed, hidden)
        self.value_rate = nn.Parameter(torch.zeros(2, observed))

    def read(self, h: Tensor, row: Row) -> Tensor:
        """The state after a row."""
        slope, offset = self.value_rate
        kept = torch.exp(-F.softplus(slope * row.since + offset))  # never flat
        value = torch.where(row.seen > 0, row.value, kept * row.value)
        h = h * torch.exp(-F.relu(self.rate(row.since)))
        return self.cell(torch.cat((value, row.seen), dim=-1), h)


class FlowReader(_Reader):
    """An ODE-RNN: the state follows dh/dt = f(h) in a gap, one step of RK4, and jumps at a
    row.

    Parameters
    ----------
    observed, hidden, outputs : int
    width : int, of the hidden layer of f

    References
    ----------
    Rubanova, Chen, Duvenaud 2019.
    """

    def __init__(self, observed: int, hidden: int, outputs: int, *, width: int):
        super().__init__(2 * observed, hidden, outputs)
        self.f = MLPDynamics(hidden, (width,))

    def read(self, h: Tensor, row: Row) -> Tensor:
        """The state after a row."""
        h, _ = rk_step(lambda t, h: row.gap * self.f(t, h), 0.0, h, 1.0, RK4)
        return self.cell(torch.cat((row.value, row.seen), dim=-1), h)

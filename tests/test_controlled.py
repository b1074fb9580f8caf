"""Controlled differential equations: against torchdiffeq and in closed form, at any pace,
by every gradient; and their rivals that jump.
"""

from __future__ import annotations

import math

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from course_lib import measuring, solvers
from course_lib.data import generator
from course_lib.models import (
    ControlledField,
    DecayReader,
    FlowReader,
    GapReader,
    MatrixField,
    NeuralCDE,
    reading_rows,
)
from course_lib.paths import (
    PATHS,
    ControlPath,
    hermite_path,
    linear_path,
    log_signature,
)
from course_lib.solvers import odeint, odeint_adjoint, odeint_interpolated

NAN = math.nan
TIGHT = dict(rtol=1e-10, atol=1e-10)
every_path = pytest.mark.parametrize("make", PATHS.values(), ids=PATHS)


@pytest.fixture
def readings() -> tuple[Tensor, Tensor]:
    g = generator(0)
    times = torch.rand(3, 6, generator=g, dtype=torch.float64).cumsum(dim=1)
    return times, torch.randn(3, 6, 2, generator=g, dtype=torch.float64)


@pytest.fixture
def matrix() -> MatrixField:
    torch.manual_seed(0)
    made = MatrixField(4, 3, 8).double()
    for p in made.net[2].parameters():
        p.data *= 10.0  # a new one moves little
    return made


def start(batch: int = 3) -> Tensor:
    return torch.randn(batch, 4, generator=generator(1), dtype=torch.float64)


def ends(path: ControlPath) -> Tensor:
    return torch.tensor([path.knots[0], path.knots[-1]], dtype=torch.float64)


def driven(matrix, path, **settings) -> Tensor:
    """The state at the end of the path."""
    field = ControlledField(matrix, path)
    settings = TIGHT | settings
    return odeint(field, start(), ends(path), jumps=path.knots, **settings)[-1]


# --- the equation -----------------------------------------------------------------------


@every_path
def test_a_linear_equation_in_commuting_directions_is_solved_in_closed_form(
    readings, make
):
    """dz = Σ Aᵢ z dXᵢ with diagonal Aᵢ: z(end) = exp(Σ Aᵢ (Xᵢ(end) - Xᵢ(0))) z(0)."""
    rates = 0.5 * torch.randn(4, 3, generator=generator(2), dtype=torch.float64)
    path = make(*readings)
    found = driven(lambda z: rates * z[..., None], path)
    rise = path(path.knots[-1]) - path(path.knots[0])
    torch.testing.assert_close(
        found, (rise @ rates.T).exp() * start(), rtol=1e-7, atol=0
    )


@every_path
def test_the_same_field_in_torchdiffeq_gives_the_same_states(readings, matrix, make):
    path = make(*readings)
    field = ControlledField(matrix, path)
    states = [start()]
    for i in range(
        len(path.knots) - 1
    ):  # piece by piece: it does not know of the kinks
        s = torch.tensor([i + 1e-9, i + 1 - 1e-9], dtype=torch.float64)
        states.append(
            torchdiffeq.odeint(field, states[-1], s, rtol=1e-9, atol=1e-11)[-1]
        )
    torch.testing.assert_close(driven(matrix, path), states[-1], rtol=0, atol=1e-6)


@torch.no_grad()
def test_fixed_steps_along_a_path_have_the_order_of_their_method(readings, matrix):
    path = hermite_path(*readings)
    exact = driven(matrix, path)
    for method, order in (("heun", 2), ("rk4", 4)):
        off = [
            (driven_by(matrix, path, method, h) - exact).abs().max()
            for h in (1 / 16, 1 / 32)
        ]
        assert math.log2(off[0] / off[1]) == pytest.approx(order, abs=0.7)


def driven_by(matrix, path, method: str, h: float) -> Tensor:
    field = ControlledField(matrix, path)
    how = dict(method=method, step_size=h, jumps=path.knots)
    return odeint(field, start(), ends(path), **how)[-1]


# --- pace -------------------------------------------------------------------------------


class Warped:
    """A path at another pace: X(φ(s)) with φ(s) = s + a sin(2πs/n), which is increasing."""

    def __init__(self, path: ControlPath, a: float = 0.5):
        self.path, self.a, self.n = path, a, path.knots[-1]

    def slope(self, s: Tensor) -> Tensor:
        turn = 2 * math.pi / self.n
        phi = s + self.a * torch.sin(turn * s)
        return (1 + self.a * turn * torch.cos(turn * s)) * self.path.slope(phi)


@every_path
def test_the_state_does_not_see_how_fast_its_path_is_gone_through(
    readings, matrix, make
):
    path = make(*readings)
    warped = Warped(path)
    field = ControlledField(matrix, warped)
    found = odeint(field, start(), ends(path), rtol=1e-8, atol=1e-9, max_step=0.05)[-1]
    torch.testing.assert_close(found, driven(matrix, path), rtol=0, atol=1e-4)


def test_other_knots_for_the_same_pieces_change_nothing(readings, matrix):
    path = hermite_path(*readings)
    other = ControlPath(path.coefficients, (0.0, 0.1, 2.0, 2.5, 7.0, 7.5))
    torch.testing.assert_close(driven(matrix, other), driven(matrix, path))


def test_readings_on_the_straight_line_between_two_change_nothing(readings, matrix):
    times, values = readings
    doubled = []
    for x in (times[..., None], values):
        between = (x[:, :-1] + x[:, 1:]) / 2
        both = torch.stack((x[:, :-1], between), dim=2).flatten(1, 2)
        doubled.append(torch.cat((both, x[:, -1:]), dim=1))
    finer = linear_path(doubled[0][..., 0], doubled[1])
    assert len(finer.knots) == 11
    found = driven(matrix, finer)
    torch.testing.assert_close(found, driven(matrix, linear_path(times, values)))


# --- what it sees of the future ---------------------------------------------------------


@every_path
def test_only_the_natural_cubic_lets_a_later_reading_change_the_state(
    readings, matrix, make
):
    """The state at the third reading, before and after the fifth is moved."""
    times, values = readings
    moved = values.clone()
    moved[:, 4] += 1.0
    found = []
    for x in (values, moved):
        path = make(times, x)
        field = ControlledField(matrix, path)
        s = torch.tensor([0.0, path.rows[2]], dtype=torch.float64)
        found.append(odeint(field, start(), s, jumps=path.knots, **TIGHT)[-1])
    leak = (found[1] - found[0]).abs().max()
    if make is PATHS["natural cubic"]:
        assert leak > 1e-3
    else:
        assert leak == 0


# --- gradients --------------------------------------------------------------------------


@every_path
def test_gradients_of_the_driven_state_are_those_of_differences(readings, matrix, make):
    times, values = (x[:1, :3].clone().requires_grad_() for x in readings)
    z0 = start(1).requires_grad_()

    def end(z0: Tensor, times: Tensor, values: Tensor) -> Tensor:
        path = make(times, values)
        field = ControlledField(matrix, path)
        how = dict(method="rk4", step_size=0.5, jumps=path.knots)
        return odeint(field, z0, ends(path), **how)[-1]

    assert torch.autograd.gradcheck(end, (z0, times, values))


@pytest.mark.parametrize("solver", [odeint_adjoint, odeint_interpolated])
@every_path
def test_the_adjoint_reaches_weights_and_readings_through_the_path(
    readings, matrix, make, solver
):
    times, values = readings[0], readings[1].requires_grad_()
    weights = [*matrix.parameters()]
    found = []
    for solve_by in (odeint, solver):
        path = make(times, values)
        field = ControlledField(matrix, path)
        how = dict(TIGHT, jumps=path.knots)
        if solve_by is solver:
            how["adjoint_params"] = (*weights, path.coefficients)
        end = solve_by(field, start(), ends(path), **how)[-1]
        found.append(torch.autograd.grad(end.square().sum(), (values, *weights)))
    for mine, direct in zip(found[1], found[0]):
        torch.testing.assert_close(mine, direct, rtol=1e-5, atol=1e-7)


def test_an_adjoint_that_is_not_told_of_the_readings_says_so(readings, matrix):
    path = linear_path(readings[0], readings[1].requires_grad_())
    end = odeint_adjoint(ControlledField(matrix, path), start(), ends(path))[-1]
    with pytest.raises(RuntimeError, match="list them in adjoint_params"):
        end.sum().backward()


# --- log-ODE ----------------------------------------------------------------------------


def test_one_step_with_the_area_is_of_higher_order_than_one_without():
    """dz = Σ Aᵢ z dXᵢ along a bend of size h: exp of the increment alone is off by h²,
    with the area and the commutators by h³.
    """
    A = torch.randn(2, 3, 3, generator=generator(0), dtype=torch.float64)
    z0 = torch.ones(3, dtype=torch.float64)
    off: dict[int, list[float]] = {1: [], 2: []}
    for h in (0.2, 0.1, 0.05):
        u = torch.linspace(0, 1, 4001, dtype=torch.float64)
        points = h * torch.stack((u, u**2), dim=1)
        exact = z0
        for step in points.diff(dim=0):
            exact = torch.linalg.matrix_exp(step[0] * A[0] + step[1] * A[1]) @ exact
        increment, area = log_signature(points)
        chord = increment[0] * A[0] + increment[1] * A[1]
        bend = area[0, 1] * (A[1] @ A[0] - A[0] @ A[1])
        for depth, generator_ in ((1, chord), (2, chord + bend)):
            found = torch.linalg.matrix_exp(generator_) @ z0
            off[depth].append((found - exact).norm().item())
    for depth in off:
        first, last = off[depth][0], off[depth][-1]
        assert math.log(first / last, 4) == pytest.approx(depth + 1, abs=0.25)


# --- whole models -----------------------------------------------------------------------

MODELS = {
    "CDE": lambda: NeuralCDE(2, 8, 3, width=8),
    "gaps": lambda: GapReader(2, 8, 3),
    "decay": lambda: DecayReader(2, 8, 3),
    "flow": lambda: FlowReader(2, 8, 3, width=8),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


@every_model
def test_a_batch_of_different_lengths_and_holes_is_its_series_one_by_one(
    readings, make
):
    torch.manual_seed(0)
    model, (times, values) = make().double(), readings
    values[0, 2, 1] = values[1, 3] = NAN
    for b, length in enumerate((6, 4, 3)):
        values[b, length:], times[b, length:] = NAN, 0.0
    values[1, 2], values[1, 3] = NAN, 1.0  # a whole row missing inside
    together = model(times, values)
    for b, length in enumerate((6, 4, 3)):
        alone = model(times[b : b + 1, :length], values[b : b + 1, :length])
        torch.testing.assert_close(together[b], alone[0])


@every_model
def test_every_reading_and_every_gap_counts(readings, make):
    torch.manual_seed(0)
    model, (times, values) = make().double(), readings
    times, values = times.requires_grad_(), values.requires_grad_()
    (by_time, by_value) = torch.autograd.grad(
        model(times, values).sum(), (times, values)
    )
    assert (by_value != 0).all()
    assert (by_time[:, 1:-1] != 0).any(dim=1).all()


@every_model
def test_every_weight_gets_a_gradient(readings, make):
    torch.manual_seed(0)
    model, (times, values) = make().double(), readings
    values[0, 2, 1] = NAN
    model(times, values).square().sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name


def test_rows_carry_what_is_missing_and_count_the_time_since():
    times = torch.tensor([[0.0, 1.0, 3.0, 4.0]])
    values = torch.tensor([[[NAN, 1.0], [2.0, NAN], [NAN, NAN], [3.0, NAN]]])
    rows = [*reading_rows(times, values)]
    assert [r.value.tolist() for r in rows] == [[[0, 1]], [[2, 1]], [[2, 1]], [[3, 1]]]
    assert [r.there.item() for r in rows] == [True, True, False, True]
    assert [r.gap.item() for r in rows] == [0, 1, 0, 3]
    assert rows[3].since.tolist() == [[3, 4]]
    assert rows[1].seen.tolist() == [[1, 0]]


def test_a_gap_in_which_nothing_decays_is_a_gru():
    torch.manual_seed(0)
    model = DecayReader(2, 4, 2)
    nn.init.zeros_(model.rate.weight), nn.init.constant_(model.rate.bias, -1.0)
    times, values = torch.tensor([[0.0, 5.0]]), torch.ones(1, 2, 2)
    h = torch.zeros(1, 4)
    for _ in range(2):
        h = model.cell(torch.ones(1, 4), h)
    torch.testing.assert_close(model(times, values), model.out(h))


def test_the_state_of_an_ode_rnn_flows_over_its_gap():
    torch.manual_seed(0)
    model = FlowReader(1, 4, 2, width=8).double()
    times, values = torch.tensor([[0.0, 0.7]]).double(), torch.ones(1, 2, 1).double()
    first, second = reading_rows(times, values)
    h = model.read(torch.zeros(1, 4).double(), first)
    flown = odeint(model.f, h, [0.0, 0.7], **TIGHT)[-1]
    expected = model.cell(torch.cat((second.value, second.seen), dim=1), flown)
    torch.testing.assert_close(model.read(h, second), expected, rtol=0, atol=1e-4)


def test_a_cde_keeps_fewer_bytes_by_the_adjoint():
    torch.manual_seed(0)
    times = torch.arange(40.0)[None].expand(8, -1)
    values = torch.randn(8, 40, 2, generator=generator(0))
    sizes = []
    for solver in (solvers.odeint, solvers.odeint_adjoint):
        how = dict(method="heun", step_size=1.0, odeint=solver)
        model = NeuralCDE(2, 8, 3, width=32, **how)
        sizes.append(measuring.bytes_saved(lambda m=model: m(times, values)))
    assert sizes[1] < 0.3 * sizes[0]


def test_states_are_given_at_all_knots_or_where_they_are_asked_for(readings):
    torch.manual_seed(0)
    model, path = NeuralCDE(2, 8, 3, width=8).double(), linear_path(*readings)
    every = model.states(path)
    assert every.shape == (6, 3, 8)
    some = model.states(path, torch.tensor([0.0, 2.0, 5.0]).double())
    torch.testing.assert_close(some, every[[0, 2, 5]])
    torch.testing.assert_close(model(*readings), model.out(every[-1]))


def test_the_rates_at_which_a_missing_value_fades_are_learnt(readings):
    torch.manual_seed(0)
    model, (times, values) = MODELS["decay"]().double(), readings
    values = values.clone()
    values[:, 2:4, 0] = NAN
    model(times, values).sum().backward()
    assert (model.value_rate.grad[:, 0] != 0).all()

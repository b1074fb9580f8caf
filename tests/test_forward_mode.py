"""A derivative in forward mode is that of differences, or it is refused: never a zero."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import jvp

from course_lib.flows import ContinuousFlow, PlanarFlow
from course_lib.models import (
    EquilibriumLayer,
    HamiltonianField,
    LagrangianField,
    MechanicalLagrangian,
    MLPDynamics,
    ScalarNetwork,
    pendulum_energy,
    spectral_radius,
)
from course_lib.solvers import (
    BrownianPath,
    odeint,
    odeint_each,
    odeint_leapfrog,
    solve_sde,
    to_ito,
    to_stratonovich,
)

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

Y0 = torch.tensor([1.0, 0.5], dtype=torch.float64)
T = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
TIGHT = dict(rtol=1e-10, atol=1e-10)


def forward(function, x: Tensor, direction: Tensor) -> Tensor:
    with forward_ad.dual_level():
        y = function(forward_ad.make_dual(x, direction))
        return forward_ad.unpack_dual(y).tangent


def differences(function, x: Tensor, direction: Tensor) -> Tensor:
    e = 1e-5
    with torch.no_grad():
        return (function(x + e * direction) - function(x - e * direction)) / (2 * e)


def by_leapfrog(t: Tensor) -> Tensor:
    qs, _ = odeint_leapfrog(lambda q: -q, Y0, 0 * Y0, t, step_size=1e-3)
    return qs


def by_each(t: Tensor) -> Tensor:
    return odeint_each(lambda t, y: -y, Y0, t, **TIGHT)


def by_columns(t: Tensor) -> Tensor:
    return odeint_each(lambda t, y: -y, Y0, torch.stack((t, 2 * t), dim=1), **TIGHT)


@pytest.mark.parametrize("solved", [by_leapfrog, by_each, by_columns])
def test_a_solve_changes_with_the_times_it_is_asked_for(solved):
    for direction in torch.eye(3, dtype=torch.float64):
        expected = differences(solved, T, direction)
        assert expected.abs().max() > 0.1
        ways = forward(solved, T, direction), jvp(solved, (T,), (direction,))[1]
        for found in ways:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def hamiltonian(y: Tensor) -> Tensor:
    return odeint(HamiltonianField(pendulum_energy), y, [0.0, 1.0], **TIGHT)[-1]


def with_weights(y: Tensor) -> Tensor:
    torch.manual_seed(0)
    field = HamiltonianField(ScalarNetwork(2, (8,))).double()
    return odeint(field, y, [0.0, 1.0], **TIGHT)[-1]


def lagrangian(y: Tensor) -> Tensor:
    torch.manual_seed(0)
    field = LagrangianField(MechanicalLagrangian(1, (8,))).double()
    return odeint(field, y, [0.0, 1.0], **TIGHT)[-1]


def milstein(y: Tensor) -> Tensor:
    path = BrownianPath((2,), seed=0, span=(0.0, 1.0))
    g = lambda t, y: 0.4 * y.sin()  # noqa: E731
    how = dict(path=path, method="milstein", step_size=0.05)
    return solve_sde(lambda t, y: -y, g, y, [0.0, 1.0], **how).ys[-1]


def drifts(y: Tensor) -> Tensor:
    f, g = (lambda t, y: -y), (lambda t, y: y.sin())
    return torch.stack([to(f, g)(0.0, y) for to in (to_ito, to_stratonovich)])


def log_prob(y: Tensor) -> Tensor:
    torch.manual_seed(0)
    flow = ContinuousFlow(MLPDynamics(2, (8,)), **TIGHT).double()
    return flow.log_prob(y[None])


def radius(y: Tensor) -> Tensor:
    return spectral_radius(lambda z: 3 * z.tanh(), y[None])


FUNCTIONS = [hamiltonian, with_weights, lagrangian, milstein, drifts, log_prob, radius]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_takes_derivatives_inside_has_a_derivative_by_the_state(function):
    direction = torch.tensor([0.6, -0.8], dtype=torch.float64)
    expected = differences(function, Y0, direction)
    assert expected.abs().max() > 0.01
    for context in (torch.enable_grad, torch.no_grad):
        with context():
            found = forward(function, Y0, direction)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "function", [PlanarFlow(2, 3).double(), EquilibriumLayer(lambda z, x: z.cos() + x)]
)
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad])
def test_a_result_of_an_iteration_has_no_tangent_made_up(function, context):
    with context(), pytest.raises(NotImplementedError, match="forward mode"):
        forward(function, Y0[None], torch.ones(1, 2).double())


def test_a_brownian_path_has_no_derivative_by_time_in_forward_mode_either():
    path = BrownianPath((2,), seed=0, span=(0.0, 1.0))

    def end(t):
        f, g = (lambda t, y: -y), (lambda t, y: torch.ones_like(y))
        return solve_sde(f, g, Y0, t, path=path, step_size=0.1)

    with pytest.raises(ValueError, match="t must not require a gradient"):
        forward(end, T, torch.ones_like(T))


@pytest.mark.parametrize("function", [hamiltonian, milstein, drifts, log_prob])
def test_inference_mode_is_refused_with_the_mode_that_works(function):
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"torch\.no_grad"):
        function(Y0)


def test_the_parameters_of_a_field_with_a_law_have_a_tangent_too():
    torch.manual_seed(0)
    field = HamiltonianField(ScalarNetwork(2, (8,))).double()
    params = {k: p.detach() for k, p in field.named_parameters()}
    tangents = {k: torch.randn_like(p) for k, p in params.items()}

    def end(share):
        moved = {k: params[k] + share * tangents[k] for k in params}
        return torch.func.functional_call(field, moved, (0.0, Y0))

    zero, one = torch.zeros(()).double(), torch.ones(()).double()
    found = forward(end, zero, one)
    torch.testing.assert_close(found, differences(end, zero, one), rtol=1e-6, atol=1e-8)

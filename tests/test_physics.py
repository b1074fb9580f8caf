"""Fields that obey a law: what they keep, whatever their weights are, and what they lose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from course_lib import training
from course_lib.data import generator
from course_lib.models import (
    HamiltonianField,
    LagrangianField,
    MechanicalLagrangian,
    MLPDynamics,
    ScalarNetwork,
    SeparableEnergy,
    double_pendulum_lagrangian,
    gradient_of,
    pendulum_energy,
    sparse_regression,
    spring_energy,
    two_body_energy,
)
from course_lib.solvers import odeint, odeint_adjoint, odeint_leapfrog
from course_lib.systems import pendulum

TIGHT = dict(rtol=1e-9, atol=1e-11)


def states(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0), dtype=torch.float64)


def learnt(dim: int = 2) -> HamiltonianField:
    """A field of random weights, large enough to bend paths."""
    training.seed(dim)
    field = HamiltonianField(ScalarNetwork(dim, (16,))).double()
    for p in field.parameters():
        p.data *= 2
    return field


def separable() -> HamiltonianField:
    training.seed(3)
    parts = (ScalarNetwork(1, (8,)) for _ in range(2))
    return HamiltonianField(SeparableEnergy(*parts)).double()


# --- Hamilton -------------------------------------------------------------------------


def test_the_energy_of_the_pendulum_gives_its_field():
    y = states(50, 2)
    field = HamiltonianField(pendulum_energy)
    torch.testing.assert_close(field(0.0, y), pendulum(0.0, y))


def test_the_energy_of_the_spring_gives_circles_of_period_pi():
    y0 = states(5, 2)
    end = odeint(HamiltonianField(spring_energy), y0, [0.0, math.pi], **TIGHT)[-1]
    torch.testing.assert_close(end, y0, rtol=0, atol=1e-7)


def test_two_bodies_attract_each_other_and_keep_momentum_and_angular_momentum():
    y = states(20, 8)
    field = HamiltonianField(two_body_energy)(0.0, y)
    torch.testing.assert_close(field[:, :4], y[:, 4:])
    push = field[:, 4:].view(-1, 2, 2)
    away = y[:, 2:4] - y[:, :2]
    expected = away / away.norm(dim=1, keepdim=True) ** 3
    torch.testing.assert_close(push[:, 0], expected)
    torch.testing.assert_close(push.sum(dim=1), torch.zeros_like(expected))


@pytest.mark.parametrize("dim", [2, 4])
def test_a_network_of_any_weights_keeps_its_energy_along_every_path(dim):
    field = learnt(dim)
    with torch.no_grad():
        ys = odeint(field, states(7, dim), torch.linspace(0, 20, 30), **TIGHT)
        energy = field.energy(ys)
    assert (ys[-1] - ys[0]).norm(dim=1).min() > 1e-2
    torch.testing.assert_close(energy, energy[:1].expand_as(energy), rtol=0, atol=1e-6)


def test_a_plain_network_of_the_same_kind_does_not():
    training.seed(0)
    f = MLPDynamics(2, (16,)).double()
    y = states(50, 2)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: f(0.0, y)))
    spread = [
        jacobian(y).diagonal(dim1=1, dim2=2).sum(1).detach(),
        torch.func.vmap(torch.func.jacrev(lambda y: pendulum(0.0, y)))(y)
        .diagonal(dim1=1, dim2=2)
        .sum(1),
    ]
    assert spread[0].abs().median() > 1e-2  # areas grow and shrink
    assert spread[1].abs().max() < 1e-12


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_friction_takes_energy_at_the_rate_gamma_times_the_square_of_the_velocity(
    gamma,
):
    y = states(30, 2).requires_grad_()
    field = HamiltonianField(learnt().energy, friction=gamma)
    slope = gradient_of(field.energy, y)
    rate = (slope * field(0.0, y)).sum(-1)
    torch.testing.assert_close(rate, -gamma * slope[:, 1] ** 2)


def test_areas_shrink_by_exactly_the_friction():
    field = HamiltonianField(pendulum_energy, friction=0.3)
    y = states(2).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda y: field(0.0, y), y)
    assert jacobian.trace().item() == pytest.approx(-0.3)


def test_friction_can_be_learnt_with_the_energy():
    gamma = nn.Parameter(torch.tensor(0.1))
    field = HamiltonianField(ScalarNetwork(2, (4,)), friction=gamma)
    assert any(p is gamma for p in field.parameters())
    field(0.0, states(5, 2).float()).square().sum().backward()
    assert gamma.grad.abs() > 0


def test_the_gradient_reaches_the_weights_through_the_steps_of_a_solver():
    field = learnt()
    y0 = states(3, 2)
    weight = field.energy.net[0].weight

    def end(weight):
        parameters = {"energy.net.0.weight": weight}
        call = lambda t, y: torch.func.functional_call(field, parameters, (t, y))  # noqa: E731
        return odeint(call, y0, [0.0, 0.5], method="rk4", step_size=0.25)[-1]

    assert gradcheck(end, (weight.detach().requires_grad_(),), atol=1e-6)


def test_the_adjoint_gives_the_same_gradient_as_the_steps():
    field, y0 = learnt(), states(3, 2)
    found = []
    for solver in (odeint, odeint_adjoint):
        field.zero_grad()
        solver(field, y0, [0.0, 1.0], **TIGHT)[-1].square().sum().backward()
        # The last bias moves H and not its slopes: no gradient, or zero.
        found.append([p.grad.clone() for p in list(field.parameters())[:-1]])
    for direct, adjoint in zip(*found):
        torch.testing.assert_close(direct, adjoint, rtol=0, atol=1e-6)


def test_the_gradient_of_a_state_that_is_itself_computed_is_taken_there():
    x = states(4, 2).requires_grad_()
    slope = gradient_of(pendulum_energy, 2 * x)
    torch.testing.assert_close(
        slope, torch.stack(((2 * x[:, 0]).sin(), 2 * x[:, 1]), 1)
    )
    assert torch.autograd.grad(slope.sum(), x)[0].abs().max() > 0
    with torch.no_grad():
        assert not gradient_of(pendulum_energy, x).requires_grad


def test_a_field_without_weights_leaves_no_graph_behind():
    y0 = states(3, 2)
    assert not odeint(HamiltonianField(pendulum_energy), y0, [0.0, 1.0]).requires_grad
    assert odeint(learnt(), y0, [0.0, 1.0]).requires_grad
    energy = HamiltonianField(pendulum_energy)
    assert odeint(energy, y0.requires_grad_(), [0.0, 1.0]).requires_grad


def test_leapfrog_takes_the_halves_of_a_separable_energy_and_does_not_drift():
    field = separable()
    q0, p0 = states(2, 6, 1)
    with torch.no_grad():
        whole = field(0.0, torch.cat((q0, p0), dim=1))
        torch.testing.assert_close(field.velocity(p0), whole[:, :1])
        torch.testing.assert_close(field.force(q0), whole[:, 1:])
        steps = dict(step_size=0.2, velocity=field.velocity)
        path = odeint_leapfrog(
            field.force, q0, p0, torch.arange(0, 2000, 20.0), **steps
        )
        energy = field.energy(torch.cat(path, dim=-1))
    swing = (energy - energy[0]).abs()
    assert swing[50:].max() < 1.5 * swing[1:50].max() + 1e-6


def test_leapfrog_refuses_an_energy_that_is_no_sum_and_one_with_friction():
    with pytest.raises(TypeError, match=r"T\(p\) \+ V\(q\).*ScalarNetwork"):
        learnt().force(states(3, 1))
    damped = HamiltonianField(separable().energy, friction=0.1)
    with pytest.raises(TypeError, match=r"with friction 0.1"):
        damped.velocity(states(3, 1))


def test_what_is_no_energy_and_a_friction_that_feeds_are_refused():
    with pytest.raises(TypeError, match="energy must be callable"):
        HamiltonianField(2)
    with pytest.raises(ValueError, match=r"negative, got -0\.1"):
        HamiltonianField(pendulum_energy, friction=-0.1)


# --- Lagrange -------------------------------------------------------------------------


def test_the_lagrangian_of_the_double_pendulum_gives_the_equations_of_the_textbooks():
    y = states(40, 4)
    a, b, va, vb = y.unbind(-1)
    below = 3 - (2 * a - 2 * b).cos()
    bend = (a - b).sin()
    first = -3 * a.sin() - (a - 2 * b).sin()
    first = first - 2 * bend * (vb**2 + va**2 * (a - b).cos())
    second = 2 * bend * (2 * va**2 + 2 * a.cos() + vb**2 * (a - b).cos())
    expected = torch.stack((va, vb, first / below, second / below), dim=1)
    field = LagrangianField(double_pendulum_lagrangian)
    torch.testing.assert_close(field(0.0, y), expected)


def test_its_mass_matrix_and_its_energy_are_those_of_the_textbooks():
    y = states(40, 4)
    a, b, va, vb = y.unbind(-1)
    field = LagrangianField(double_pendulum_lagrangian)
    c, one = (a - b).cos(), torch.ones_like(a)
    expected = torch.stack((2 * one, c, c, one), dim=1).view(-1, 2, 2)
    torch.testing.assert_close(field.mass(y), expected)
    kinetic = va**2 + vb**2 / 2 + va * vb * c
    torch.testing.assert_close(field.energy(y), kinetic - 2 * a.cos() - b.cos())


def test_a_lagrangian_without_batch_axes_is_the_same():
    field = LagrangianField(double_pendulum_lagrangian)
    y = states(3, 5, 4)
    torch.testing.assert_close(field(0.0, y)[1, 2], field(0.0, y[1, 2]))


def test_a_lagrangian_of_any_weights_keeps_its_energy_along_every_path():
    training.seed(0)
    field = LagrangianField(MechanicalLagrangian(2, (8,))).double()
    with torch.no_grad():
        ys = odeint(field, states(4, 4), torch.linspace(0, 3, 10), **TIGHT)
        energy = field.energy(ys)
    assert (ys[-1] - ys[0]).norm(dim=1).min() > 1e-2
    torch.testing.assert_close(energy, energy[:1].expand_as(energy), rtol=0, atol=1e-6)


def test_a_learnt_mass_matrix_is_positive_and_that_of_the_kinetic_energy():
    training.seed(0)
    lagrangian = MechanicalLagrangian(2, (8,)).double()
    y = states(30, 4)
    mass = LagrangianField(lagrangian).mass(y)
    assert torch.linalg.eigvalsh(mass).min() > 0.009
    still = torch.cat((y[:, :2], torch.zeros(30, 2)), dim=1)
    kinetic = lagrangian(y) - lagrangian(still)
    v = y[:, 2:, None]
    torch.testing.assert_close(kinetic, (v.mT @ mass @ v)[:, 0, 0] / 2)


def test_a_lagrangian_learns_through_its_mass_matrix():
    training.seed(0)
    field = LagrangianField(MechanicalLagrangian(2, (8,))).double()
    field(0.0, states(3, 4)).square().sum().backward()
    grads = [p.grad for p in field.parameters()]
    assert all(g is not None and g.isfinite().all() for g in grads)
    assert max(g.abs().max() for g in grads) > 0


# --- terms of a law -------------------------------------------------------------------


def test_sparse_regression_finds_the_terms_that_made_the_values():
    terms = states(200, 6)
    truth = torch.zeros(6, 2, dtype=torch.float64)
    truth[1, 0], truth[4, 0], truth[2, 1] = 1.5, -0.7, 2.0
    noise = 0.01 * torch.randn(200, 2, generator=generator(1), dtype=torch.float64)
    found = sparse_regression(terms, terms @ truth + noise, threshold=0.1)
    assert torch.equal(found != 0, truth != 0)
    torch.testing.assert_close(found, truth, rtol=0, atol=0.01)


def test_what_it_keeps_is_fitted_without_what_it_drops():
    terms = states(50, 3)
    terms[:, 1] = terms[:, 0] + 0.5 * terms[:, 1]  # not orthogonal: it matters
    values = terms @ torch.tensor([[1.0], [0.04], [-1.0]]).double()
    found = sparse_regression(terms, values, threshold=0.2)
    alone = torch.linalg.lstsq(terms[:, [0, 2]], values).solution
    assert found[1] == 0
    torch.testing.assert_close(found[[0, 2]], alone)


def test_small_terms_at_many_points_in_single_precision_are_terms():
    angle = 0.3 * torch.rand(20_000, 1, generator=generator(1))
    terms = torch.cat([angle**n for n in (1, 2, 3, 4)], dim=1)
    truth = torch.tensor([[1.0], [0.0], [-0.7], [0.0]])
    found = sparse_regression(terms, terms @ truth, threshold=0.1)
    assert found.dtype == torch.float32
    assert torch.equal(found != 0, truth != 0)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-3)


def test_a_state_that_cannot_be_halved_is_refused():
    y = torch.ones(5, 3)
    for ask in (
        lambda: HamiltonianField(spring_energy)(0.0, y),
        lambda: LagrangianField(spring_energy)(0.0, y),
        lambda: LagrangianField(spring_energy).mass(y),
        lambda: LagrangianField(spring_energy).energy(y),
        lambda: two_body_energy(y),
    ):
        with pytest.raises(ValueError, match=r"as many momenta.*\(5, 3\)"):
            ask()


def test_a_threshold_above_everything_leaves_nothing():
    found = sparse_regression(states(20, 2), states(20, 1), threshold=100.0)
    assert (found == 0).all()


def test_terms_and_values_of_different_points_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 2\) and \(4, 1\)"):
        sparse_regression(states(5, 2), states(4, 1), threshold=0.1)

"""Densities along a flow: the trace against the determinant, integrals that are one, and
flows that can be undone.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from course_lib.flows import (
    ContinuousFlow,
    DensityDynamics,
    PlanarFlow,
    exact_trace,
    hutchinson_trace,
    normal_log_prob,
    random_signs,
)
from course_lib.models import MLPDynamics
from course_lib.solvers import odeint, odeint_adjoint, solve

TIGHT = dict(rtol=1e-10, atol=1e-10)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def field(dim: int = 2, *, time: bool = True) -> MLPDynamics:
    torch.manual_seed(dim)
    f = MLPDynamics(dim, (16,), time=time).double()
    for p in f.parameters():
        p.data *= 2
    return f


def planar(depth: int = 6, dim: int = 2) -> PlanarFlow:
    """Layers with weights large enough to bend."""
    torch.manual_seed(depth)
    flow = PlanarFlow(dim, depth).double()
    flow.u.data, flow.b.data = drawn(depth, dim, seed=1), drawn(depth, seed=2)
    return flow


def jacobian_log_det(g, points: torch.Tensor) -> torch.Tensor:
    """log |det ∂g/∂x| at every point, by automatic differentiation."""
    rows = [torch.autograd.functional.jacobian(g, x) for x in points]
    return torch.stack([torch.linalg.slogdet(J).logabsdet for J in rows])


def grid(half: float, n: int) -> tuple[torch.Tensor, float]:
    """The centres of n × n cells of the square [-half, half]², and the area of one."""
    side = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 * half - half
    return torch.cartesian_prod(side, side), (2 * half / n) ** 2


# --- the trace ------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_exact_trace_is_that_of_the_jacobian(dim):
    f, y, t = field(dim), drawn(7, dim), torch.tensor(0.3).double()
    dy, trace = exact_trace(f, t, y)
    jacobians = [torch.autograd.functional.jacobian(lambda x: f(t, x), x) for x in y]
    torch.testing.assert_close(dy, f(t, y))
    torch.testing.assert_close(trace, torch.stack([J.trace() for J in jacobians]))


def test_hutchinsons_estimate_is_exact_on_average_over_all_signs():
    """For signs the expectation is a sum of 2^d terms, so no luck is needed."""
    f, y, t = field(4), drawn(1, 4), torch.tensor(0.3).double()
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 4)
    _, estimates = hutchinson_trace(f, t, y.expand(16, 4), signs)
    torch.testing.assert_close(estimates.mean(), exact_trace(f, t, y)[1][0])


@pytest.mark.parametrize("kind", ["signs", "normal"])
def test_hutchinsons_estimate_is_unbiased_and_has_the_variance_of_the_theory(kind):
    dim, n = 5, 40_000
    f, y, t = field(dim), drawn(1, dim), torch.tensor(0.3).double()
    J = torch.autograd.functional.jacobian(lambda x: f(t, x), y[0])
    S = (J + J.T) / 2
    torch.manual_seed(0)
    many = y.expand(n, dim)
    noise = random_signs(many) if kind == "signs" else torch.randn_like(many)
    _, estimates = hutchinson_trace(f, t, many, noise)
    diagonal = S.diagonal().square().sum() if kind == "signs" else 0.0
    variance = (2 * (S.square().sum() - diagonal)).item()
    error = abs(estimates.mean() - J.trace()).item()
    assert error <= 5 * math.sqrt(variance / n)
    # The fourth moment of either kind keeps the relative error near √(15 / n).
    assert estimates.var().item() == pytest.approx(variance, rel=5 * math.sqrt(15 / n))


def test_random_signs_are_plus_or_minus_one_in_equal_parts():
    torch.manual_seed(0)
    signs = random_signs(torch.empty(10_000, 2).double())
    assert signs.dtype == torch.float64
    assert torch.equal(signs.abs(), torch.ones_like(signs))
    assert abs(signs.mean().item()) <= 5 / math.sqrt(20_000)


# --- continuous flows -----------------------------------------------------------------


def test_the_integrated_trace_is_the_log_determinant_of_the_flows_jacobian():
    flow, z = ContinuousFlow(field(), **TIGHT), drawn(5, 2)
    _, change = flow.transport(z, (0.0, 1.0))
    expected = jacobian_log_det(lambda x: flow(x[None])[0], z)
    torch.testing.assert_close(-change[-1], expected, rtol=0, atol=1e-7)
    assert expected.abs().max() > 0.1


def test_a_linear_flow_turns_the_normal_into_the_normal_of_the_matrix_exponential():
    A = torch.tensor([[0.3, -1.0], [0.8, -0.5]]).double()
    linear = torch.nn.Linear(2, 2, bias=False).double()
    linear.weight.data = A

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.A = linear

        def forward(self, t, y):
            return self.A(y)

    flow, x = ContinuousFlow(Linear(), (0.0, 1.5), **TIGHT), drawn(9, 2)
    M = torch.linalg.matrix_exp(1.5 * A)
    exact = MultivariateNormal(torch.zeros(2).double(), M @ M.T).log_prob(x)
    torch.testing.assert_close(flow.log_prob(x), exact.detach(), rtol=0, atol=1e-7)
    torch.testing.assert_close(flow(x), x @ M.T, rtol=0, atol=1e-7)


def test_the_density_of_a_continuous_flow_integrates_to_one_at_every_time():
    flow = ContinuousFlow(field(), rtol=1e-6, atol=1e-6)
    points, area = grid(7.0, 80)
    with torch.no_grad():
        for at in (0.0, 0.4, 1.0):
            total = flow.log_prob(points, at).exp().sum().item() * area
            assert total == pytest.approx(1.0, abs=1e-3)


def test_log_prob_agrees_with_what_a_sample_knows_of_its_way():
    flow, z = ContinuousFlow(field(), **TIGHT), drawn(20, 2)
    ys, change = flow.transport(z, (0.0, 0.5, 1.0))
    assert torch.equal(ys[0], z)
    assert not change[0].any()
    torch.testing.assert_close(ys[-1], flow(z), rtol=0, atol=1e-7)
    for y, gained, at in zip(ys, change, (0.0, 0.5, 1.0)):
        found = flow.log_prob(y, at)
        torch.testing.assert_close(
            found, normal_log_prob(z) + gained, rtol=0, atol=1e-7
        )


def test_a_continuous_flow_can_be_undone():
    flow, z = ContinuousFlow(field(), **TIGHT), drawn(20, 2)
    back, _ = flow.transport(flow(z), (1.0, 0.0))
    torch.testing.assert_close(back[-1], z, rtol=0, atol=1e-7)


def test_every_row_has_its_own_density_whatever_the_others_are():
    flow, x = ContinuousFlow(field(), method="rk4", step_size=0.1), drawn(4, 2)
    together = flow.log_prob(x)
    alone = torch.cat([flow.log_prob(row[None]) for row in x])
    torch.testing.assert_close(together, alone)


def test_the_log_density_has_the_gradient_of_finite_differences():
    f, x = field(time=False), drawn(3, 2).requires_grad_()
    flow = ContinuousFlow(f, method="rk4", step_size=0.25)
    names, values = zip(*f.named_parameters())

    def log_prob(x, *parameters):
        with torch.nn.utils.stateless._reparametrize_module(
            f, dict(zip(names, parameters))
        ):
            return flow.log_prob(x)

    assert torch.autograd.gradcheck(log_prob, (x, *values))


def test_direct_and_adjoint_gradients_of_the_likelihood_meet():
    f, x, found = field(), drawn(6, 2), []
    for solver in (odeint, odeint_adjoint):
        flow = ContinuousFlow(f, odeint=solver, rtol=1e-9, atol=1e-9)
        loss = -flow.log_prob(x).mean()
        found.append(torch.autograd.grad(loss, tuple(f.parameters())))
    for direct, adjoint in zip(*found):
        torch.testing.assert_close(direct, adjoint, rtol=1e-5, atol=1e-6)


def test_the_trace_of_a_start_that_wants_a_gradient_is_right_without_gradients_too():
    torch.manual_seed(0)
    field = DensityDynamics(MLPDynamics(2, (16,)).double())
    start, t = torch.randn(5, 3).double().requires_grad_(), torch.tensor(0.0).double()
    with torch.no_grad():
        assert torch.equal(field(t, start), field(t, start.clone()))


def test_a_solver_that_returns_no_states_is_refused():
    flow = ContinuousFlow(field(), odeint=solve)
    for use in (flow, flow.log_prob):
        with pytest.raises(TypeError, match="as a Tensor, got a Solution"):
            use(drawn(3, 2))


def test_hutchinsons_log_density_is_right_on_average_and_its_paths_are_exact():
    f, x, n = field(), drawn(1, 2), 2000
    exact, rough = (
        ContinuousFlow(f, trace=trace, rtol=1e-7, atol=1e-7)
        for trace in ("exact", "hutchinson")
    )
    torch.manual_seed(0)
    with torch.no_grad():
        ys, _ = rough.transport(x.expand(n, 2), (1.0, 0.0))
        guesses = rough.log_prob(x.expand(n, 2))
        straight, _ = exact.transport(x, (1.0, 0.0))
        error = (guesses.mean() - exact.log_prob(x)).abs().item()
    torch.testing.assert_close(ys[-1], straight[-1].expand(n, 2), rtol=0, atol=1e-5)
    assert guesses.std() > 0.01
    assert error <= 5 * guesses.std().item() / math.sqrt(n)


def test_signs_are_drawn_once_a_solve_and_anew_for_the_next():
    flow, x = ContinuousFlow(field(), trace="hutchinson"), drawn(8, 2)
    torch.manual_seed(0)
    first, second = flow.log_prob(x), flow.log_prob(x)
    torch.manual_seed(0)
    again = flow.log_prob(x)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_field_that_is_the_same_everywhere_moves_the_normal_as_it_is():
    class Translation(torch.nn.Module):
        def forward(self, t, y):
            return torch.ones_like(y)

    x = drawn(5, 2)
    for trace in ("exact", "hutchinson"):
        found = ContinuousFlow(Translation(), trace=trace).log_prob(x)
        torch.testing.assert_close(found, normal_log_prob(x - 1))


def test_one_setting_leaves_the_other_tolerance_as_it_was():
    flow = ContinuousFlow(field(), rtol=1e-7)
    assert flow.solver_settings == dict(rtol=1e-7, atol=1e-4)


def test_the_augmented_state_has_one_component_more():
    dynamics, state = DensityDynamics(field()), drawn(4, 3)
    out = dynamics(torch.tensor(0.0).double(), state)
    assert out.shape == (4, 3)
    moved = torch.cat((state[:, :2], state[:, 2:] + 1), dim=1)
    assert torch.equal(dynamics(torch.tensor(0.0).double(), moved), out)


# --- planar flows ---------------------------------------------------------------------


def to_noise(flow: PlanarFlow, x: torch.Tensor) -> torch.Tensor:
    """One point through all layers, by hand."""
    for w, u, b in reversed(list(zip(*flow.layers()))):
        x = x + u * torch.tanh(w @ x + b)
    return x


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_the_layers_log_determinants_add_up_to_that_of_the_whole_map(dim):
    flow, x = planar(dim=dim), drawn(5, dim)
    expected = jacobian_log_det(lambda y: to_noise(flow, y), x)
    ends = torch.stack([to_noise(flow, y) for y in x])
    torch.testing.assert_close(flow.log_prob(x), normal_log_prob(ends) + expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_planar_layer_is_invertible_whatever_its_weights(dtype):
    flow = planar(2000).to(dtype)
    flow.w.data *= 3
    flow.u.data *= 20
    along = [w @ u for w, u, _ in zip(*flow.layers())]
    assert min(along) > -1
    assert min((w @ u).item() for w, u in zip(flow.w, flow.u)) < -15


def test_bisection_undoes_the_layers():
    flow, z = planar(), drawn(50, 2)
    x = flow(z)
    ends = torch.stack([to_noise(flow, y) for y in x])
    torch.testing.assert_close(ends, z, rtol=0, atol=1e-10)
    assert (x - z).norm(dim=1).max() > 0.5


@pytest.mark.parametrize("layers", [0, 3, None])
def test_the_density_of_a_planar_flow_integrates_to_one_at_every_depth(layers):
    points, area = grid(15.0, 400)
    with torch.no_grad():
        total = planar().log_prob(points, layers).exp().sum().item() * area
    assert total == pytest.approx(1.0, abs=1e-3)


def test_no_layers_leave_the_noise_as_it_is():
    flow, z = planar(), drawn(5, 2)
    assert torch.equal(flow(z, layers=0), z)
    assert torch.equal(flow.log_prob(z, layers=0), normal_log_prob(z))


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ContinuousFlow(field(), trace="hutch"), "trace.*'hutch'"),
        (lambda: ContinuousFlow(field(), (0.0, 0.5, 1.0)), r"t must be \(t_0, t_1\)"),
        (lambda: ContinuousFlow(field()).log_prob(drawn(2)), r"x\b.*\(2,\)"),
        (lambda: PlanarFlow(2, 0), "depth must be a positive whole number, got 0"),
        (lambda: PlanarFlow(2.0, 3), "dim must be a positive whole number, got 2.0"),
        (lambda: planar().log_prob(drawn(2)), r"x must hold.*\(2,\).*x\[None\]"),
        (lambda: planar()(drawn(3, 4, 2)), r"z must hold.*\(3, 4, 2\)"),
        (lambda: planar(3).log_prob(drawn(4, 2), 99), "layers must be from 0 to 3"),
        (lambda: planar(3)(drawn(4, 2), layers=-1), "layers must be.*got -1"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_density_without_the_gradients_it_needs_is_refused():
    flow, x = ContinuousFlow(MLPDynamics(2, (8,), time=True)), torch.randn(4, 2)
    with (
        torch.inference_mode(),
        pytest.raises(RuntimeError, match=r"use torch.no_grad\(\)"),
    ):
        flow.log_prob(x)


def test_a_planar_layer_without_w_is_a_shift():
    flow = PlanarFlow(2, 1)
    with torch.no_grad():
        flow.w.zero_()
    x = torch.randn(5, 2)
    log_p = flow.log_prob(x)
    shifted = x + flow.b.tanh() * flow.u
    torch.testing.assert_close(log_p, normal_log_prob(shifted))
    log_p.sum().backward()
    assert all(p.grad.isfinite().all() for p in flow.parameters())

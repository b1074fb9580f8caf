"""Fixed points are found by every method, and the gradient of a layer that is defined by
one is that of the implicit function theorem.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.autograd.gradcheck import gradcheck

from course_lib import measuring, models
from course_lib.models import ITERATIONS, EquilibriumLayer, fixed_point, fixed_points
from course_lib.solvers import SolverError

every_method = pytest.mark.parametrize("method", ITERATIONS)
COSINE = 0.7390851332151607  # the one number that is its own cosine
DOUBLE = dict(dtype=torch.float64)


def matrix(n: int, radius: float, seed: int = 0) -> torch.Tensor:
    """A random matrix whose largest eigenvalue has this modulus."""
    A = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), **DOUBLE)
    return radius * A / torch.linalg.eigvals(A).abs().max()


def batch_of(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), **DOUBLE)


class Cell(nn.Module):
    """f(z, x) = tanh(Wz + x + b), of a given spectral norm."""

    def __init__(self, n: int = 4, norm: float = 0.7):
        super().__init__()
        W = matrix(n, 1.0)
        self.W = nn.Parameter(norm * W / torch.linalg.matrix_norm(W, ord=2))
        self.b = nn.Parameter(torch.linspace(-1, 1, n, **DOUBLE))

    def forward(self, z, x):
        return torch.tanh(z @ self.W.T + x + self.b)


def tight(f, **settings) -> EquilibriumLayer:
    return EquilibriumLayer(f, **dict(tol=1e-13, max_steps=500) | settings)


# --- the solve ------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (2, 3, 2), (0, 3)], ids=str)
def test_every_method_finds_the_number_that_is_its_own_cosine(method, shape):
    z0 = torch.ones(shape, **DOUBLE)
    found = fixed_point(torch.cos, z0, method=method, tol=1e-14)
    assert found.z.shape == shape
    assert torch.allclose(found.z, torch.full_like(z0, COSINE), rtol=0, atol=1e-13)


@every_method
def test_every_method_solves_a_linear_system(method):
    A, x = matrix(6, 0.8), batch_of(5, 6)
    exact = torch.linalg.solve(torch.eye(6, **DOUBLE) - A, x.T).T
    found = fixed_point(
        lambda z: z @ A.T + x, 0 * x, method=method, tol=1e-13, max_steps=300
    )
    assert torch.allclose(found.z, exact, rtol=0, atol=1e-11)


def test_the_plain_iteration_shrinks_the_residual_by_the_spectral_radius():
    cell, x = Cell(), batch_of(1, 4)

    def f(z):
        return cell(z, x)

    found = fixed_point(f, 0 * x, method="plain", tol=1e-14, max_steps=500)
    radius = models.spectral_radius(f, found.z).item()
    first, last = found.residuals[10], found.residuals[40]
    assert math.isclose((last / first) ** (1 / 30), radius, rel_tol=0.02)


def test_newtons_method_doubles_the_digits_at_every_step():
    found = fixed_point(torch.cos, torch.tensor([0.0], **DOUBLE), method="newton")
    digits = [-math.log10(r) for r in found.residuals]
    assert digits[3] > 1.8 * digits[2] > 1.8 * 1.8 * digits[1]


def test_anderson_solves_a_linear_system_of_n_in_n_steps_where_the_plain_one_diverges():
    """With all values kept it is GMRES, which needs a Krylov space of n dimensions."""
    n = 6
    A, x = matrix(n, 3.0), batch_of(n)
    settings = dict(tol=1e-9, memory=n + 1)
    found = fixed_point(lambda z: A @ z + x, 0 * x, **settings)
    assert len(found.residuals) <= n + 2
    with pytest.raises(SolverError):
        fixed_point(lambda z: A @ z + x, 0 * x, method="plain")


def test_broyden_solves_a_linear_system_of_n_in_twice_n_steps():
    """Gay's theorem."""
    n = 5
    A, x = matrix(n, 2.0), batch_of(n)
    found = fixed_point(lambda z: A @ z + x, 0 * x, method="broyden", tol=1e-9)
    assert len(found.residuals) <= 2 * n + 2


def test_the_weights_of_anderson_mix_the_residuals_to_the_shortest_vector():
    gaps = batch_of(2, 3, 7)
    alpha = fixed_points.mixing_weights(gaps)
    shortest = (alpha[:, None] @ gaps)[:, 0]
    assert torch.allclose(alpha.sum(1), torch.ones(2, **DOUBLE))
    along = (gaps - gaps[:, :1]) @ shortest[:, :, None]  # no way to shorten it is left
    assert along.abs().max() < 1e-10


@every_method
def test_a_system_that_has_arrived_waits_for_the_others(method):
    cell, x = Cell(), batch_of(3, 4)
    settings = dict(method=method, tol=1e-9, max_steps=200)
    together = fixed_point(lambda z: cell(z, x), 0 * x, **settings)
    alone = [
        fixed_point(lambda z, row=row: cell(z, row), 0 * row, **settings)
        for row in x.split(1)
    ]
    ends = torch.cat([found.z for found in alone])
    assert torch.allclose(together.z, ends, rtol=0, atol=1e-13)  # rounding of a batch
    assert together.nfe == max(found.nfe for found in alone)


@pytest.mark.parametrize("method", ["plain", "anderson", "broyden"])
def test_the_evaluations_are_the_calls_of_f(method):
    calls = []

    def f(z):
        calls.append(z)
        return torch.cos(z)

    found = fixed_point(f, torch.zeros(2, 1), method=method)
    assert found.nfe == len(calls) == len(found.residuals)
    assert found.evaluations == tuple(range(1, len(calls) + 1))


def test_a_jacobian_counts_for_as_many_evaluations_as_a_row_has_numbers():
    found = fixed_point(torch.cos, torch.zeros(2, 3), method="newton", tol=1e-6)
    assert found.evaluations == tuple(1 + 4 * k for k in range(len(found.residuals)))


def test_the_last_residual_is_that_of_the_solution():
    found = fixed_point(torch.cos, torch.zeros(4, 2, **DOUBLE))
    sizes = models.residual_sizes(found.z, torch.cos(found.z))
    assert sizes.max().item() == found.residuals[-1] <= 1e-5


def test_the_jacobians_of_the_rows_are_those_of_each_row_alone():
    cell, z, x = Cell(), batch_of(3, 4), batch_of(3, 4)
    found = models.row_jacobians(lambda z: cell(z, x), z)
    for row, zi, xi in zip(found, z, x):
        exact = torch.autograd.functional.jacobian(lambda z, x=xi: cell(z, x), zi)
        assert torch.allclose(row, exact)
    radius = models.spectral_radius(lambda z: cell(z, x), z)
    assert torch.allclose(radius, torch.linalg.eigvals(found).abs().amax(1))


def test_an_f_that_does_not_look_at_z_has_a_jacobian_of_zeros():
    x = batch_of(2, 3)
    assert not models.row_jacobians(lambda _: x, x).any()
    assert fixed_point(lambda _: x, 0 * x, method="newton").evaluations == (1, 5)


# --- the layer ------------------------------------------------------------------------


@every_method
def test_the_gradient_is_that_of_finite_differences(method):
    cell = Cell(3)
    layer, x = tight(cell, method=method), batch_of(2, 3).requires_grad_()

    def output(x, *_):
        return layer(x)

    assert gradcheck(output, (x, *cell.parameters()))


def test_the_gradient_of_a_linear_layer_is_the_one_in_closed_form():
    A, x, g = matrix(5, 0.9), batch_of(3, 5).requires_grad_(), batch_of(3, 5)
    layer = tight(lambda z, x: z @ A.T + x)
    (found,) = torch.autograd.grad(layer(x), x, g)
    exact = torch.linalg.solve(torch.eye(5, **DOUBLE) - A.T, g.T).T
    assert torch.allclose(found, exact, rtol=0, atol=1e-10)


def test_the_gradient_is_that_of_backpropagation_through_very_many_steps():
    cell, x = Cell(), batch_of(3, 4)
    z = torch.zeros_like(x)
    for _ in range(200):
        z = cell(z, x)
    unrolled = torch.autograd.grad(z.square().sum(), cell.parameters())
    implicit = torch.autograd.grad(tight(cell)(x).square().sum(), cell.parameters())
    for a, b in zip(unrolled, implicit):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)


def test_a_weight_that_f_uses_twice_and_lists_twice_gets_all_of_its_gradient():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Cell(3, 0.6)
            self.again = self.first  # the same module under another name

        def forward(self, z, x):
            return self.first(self.again(z, x) @ self.first.W, x)

    f, x = Twice(), batch_of(2, 3)
    layer = tight(f)
    assert len([*f.parameters()]) == 2
    assert gradcheck(lambda *_: layer(x), tuple(f.parameters()))


def test_a_tensor_that_f_closes_over_gets_its_gradient():
    scale = torch.tensor(0.5, **DOUBLE, requires_grad=True)
    layer = tight(lambda z, x: scale * torch.cos(z) + x)
    assert gradcheck(lambda *_: layer(batch_of(2, 1)), (scale,))


def test_the_value_is_the_solution_with_a_gradient_and_without():
    layer, x = EquilibriumLayer(Cell(), tol=1e-3), batch_of(2, 4)
    with torch.no_grad():
        without = layer(x)
    alone = fixed_point(lambda z: layer.f(z, x), 0 * x, tol=1e-3).z
    assert torch.equal(layer(x), without) and torch.equal(without, alone)
    assert layer(x).requires_grad and not without.requires_grad


def test_the_start_may_have_another_shape_than_the_input_and_gets_no_gradient():
    layer = tight(lambda z, x: torch.cos(z) * x.sum(dim=1, keepdim=True) / 9)
    x, z0 = batch_of(2, 5).requires_grad_(), torch.ones(2, 3, **DOUBLE).requires_grad_()
    z = layer(x, z0)
    z.sum().backward()
    assert z.shape == (2, 3) and x.grad is not None and z0.grad is None


def test_what_is_kept_for_the_way_back_does_not_grow_with_the_steps():
    cell, x = Cell(), batch_of(50, 4)
    steps = []

    def kept(tol):
        layer = EquilibriumLayer(
            cell, method="plain", tol=tol, report=lambda _, found: steps.append(found)
        )
        return measuring.bytes_saved(lambda: layer(x))

    assert kept(1e-2) == kept(1e-12)
    assert steps[1].nfe > 4 * steps[0].nfe


def test_the_one_step_gradient_is_the_first_term_of_the_series():
    cell, x, g = Cell(), batch_of(3, 4), batch_of(3, 4)
    layer = tight(cell, gradient="one step")
    z = layer(x)
    found = torch.autograd.grad(z, cell.parameters(), g)
    exact = torch.autograd.grad(cell(z.detach(), x), cell.parameters(), g)
    assert all(torch.equal(a, b) for a, b in zip(found, exact))
    implicit = torch.autograd.grad(tight(cell)(x), cell.parameters(), g)
    assert (found[0] - implicit[0]).abs().max() > 0.1


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_the_unit_of_the_loss_does_not_change_the_digits_of_its_gradient(unit):
    cell, x = Cell(), batch_of(3, 4)
    loose = EquilibriumLayer(cell, tol=1e-3)(x).square().sum()
    scaled = torch.autograd.grad(unit * loose, cell.W)[0] / unit
    plain = torch.autograd.grad(
        EquilibriumLayer(cell, tol=1e-3)(x).square().sum(), cell.W
    )
    assert torch.allclose(scaled, plain[0], rtol=1e-9)


@pytest.mark.parametrize("small", [1e-3, 1e-6, 1e-9, 0.0])
def test_a_system_has_its_gradient_beside_others_with_a_larger_one(small):
    cell, x = Cell(), batch_of(3, 4).requires_grad_()
    g = torch.tensor([[1.0], [small], [small]], **DOUBLE) * batch_of(3, 4).cos()
    layer = EquilibriumLayer(cell, tol=1e-6)
    (found,) = torch.autograd.grad(layer(x), x, g)
    (exact,) = torch.autograd.grad(tight(cell)(x), x, g)
    off = (found - exact).norm(dim=1)
    assert (off <= 1e-5 * exact.norm(dim=1)).all()


def test_a_system_that_others_see_has_its_gradient_though_none_arrives_at_it():
    """As on a graph of which one node has a label."""
    mix = torch.full((3, 3), 0.25, **DOUBLE)
    cell, x = Cell(norm=0.9), batch_of(3, 4).requires_grad_()

    def f(z, x):
        return cell(mix @ z, x)

    g = torch.zeros(3, 4, **DOUBLE)
    g[0] = 1e-6
    settings = dict(method="plain", max_steps=500)
    found, exact = (
        torch.autograd.grad(EquilibriumLayer(f, tol=tol, **settings)(x), x, g)[0]
        for tol in (1e-9, 1e-14)
    )
    assert ((found - exact).norm(dim=1) <= 1e-6 * exact.norm(dim=1)).all()


def test_both_solves_are_reported_and_the_way_back_has_its_own_settings():
    seen = []
    layer = tight(
        Cell(),
        backward_method="plain",
        backward_tol=1e-4,
        report=lambda way, found: seen.append((way, found)),
    )
    layer(batch_of(2, 4)).sum().backward()
    (there, forward), (back, backward) = seen
    assert (there, back) == ("forward", "backward")
    assert forward.residuals[-1] <= 1e-13 < 1e-5 < backward.residuals[-1] <= 1e-4


def test_a_gradient_of_zeros_or_nan_goes_back_as_it_is():
    x = batch_of(2, 4).requires_grad_()
    z = EquilibriumLayer(Cell())(x)
    assert not torch.autograd.grad(z, x, torch.zeros_like(z), retain_graph=True)[
        0
    ].any()
    assert torch.autograd.grad(z, x, torch.full_like(z, torch.nan))[0].isnan().all()


def test_a_layer_has_the_weights_of_f_and_can_be_copied():
    layer = EquilibriumLayer(Cell())
    assert list(layer.state_dict()) == ["f.W", "f.b"]
    x = batch_of(1, 4)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(method="newtons"), "choose from plain, anderson, broyden, newton"),
        (dict(tol=0.0), "tol must be positive"),
        (dict(tol=1e-8), "few roundings of torch.float32.*z0.double"),
        (dict(max_steps=2.5), "max_steps must be a positive whole number"),
        (dict(memory=0), "memory must be a positive whole number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        fixed_point(torch.cos, torch.zeros(2, 1), **settings)


@pytest.mark.parametrize(
    ("f", "z0", "error", "said"),
    [
        (torch.zeros(1), torch.cos, TypeError, r"the order is fixed_point\(f, z0\)"),
        (torch.cos, 1.0, TypeError, "z0 must be one Tensor, got float"),
        (torch.cos, (torch.zeros(1),) * 2, TypeError, "got tuple.*torch.cat"),
        (torch.cos, torch.zeros(1).long(), TypeError, "z0 must be floating point"),
        (torch.cos, torch.tensor([math.nan]), ValueError, "z0 holds NaN"),
        (lambda z: z.sum(), torch.zeros(2), ValueError, r"f must return f\(z\) with"),
        (lambda z: z.mul_(0.5), torch.ones(2), ValueError, "f changed z in place"),
        (lambda z: None, torch.ones(2), TypeError, "f must return a Tensor"),
    ],
)
def test_a_problem_that_makes_no_sense_is_refused(f, z0, error, said):
    with pytest.raises(error, match=said):
        fixed_point(f, z0)


def test_a_solve_that_does_not_arrive_is_an_error_that_says_how_near_it_came():
    with pytest.raises(SolverError, match=r"max_steps=20.*at best.*no contraction"):
        fixed_point(lambda z: 1 - z, torch.zeros(1), method="plain", max_steps=20)


@pytest.mark.parametrize("method", ["plain", "broyden"])
def test_numbers_that_overflow_are_an_error(method):
    with pytest.raises(SolverError, match="diverged"):
        fixed_point(lambda z: z.exp() + 1, torch.ones(2, 1), method=method)


def test_a_z_whose_norm_overflows_has_not_arrived():
    with pytest.raises(SolverError, match="diverged"):
        fixed_point(lambda z: 1.6 * z + 1, torch.zeros(4), method="plain")


def test_a_start_that_has_arrived_is_not_the_memory_of_the_solution():
    z0 = torch.zeros(1, 3)
    fixed_point(lambda z: 0.5 * z, z0).z.add_(1)
    with torch.no_grad():
        EquilibriumLayer(lambda z, x: 0.5 * z + x)(0 * z0, z0).add_(1)
    assert not z0.any()


@pytest.mark.parametrize(
    "function", [fixed_points.spectral_radius, models.row_jacobians]
)
def test_a_jacobian_is_refused_in_inference_mode_and_not_zero(function):
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"torch\.no_grad"):
        function(torch.tanh, torch.zeros(1, 2))


def test_newtons_method_says_where_it_has_no_step():
    with pytest.raises(SolverError, match="eigenvalue 1"):
        fixed_point(lambda z: z + 1, torch.ones(1), method="newton")


def test_newtons_method_needs_no_step_where_a_system_has_arrived():
    c = torch.tensor([[0.0], [0.5]], **DOUBLE)  # at 0 the slope of tanh is 1
    z0 = torch.tensor([[0.0], [1.2]], **DOUBLE)
    found = fixed_point(lambda z: z.tanh() + c, z0, method="newton", tol=1e-10)
    assert found.z[0] == 0
    torch.testing.assert_close(found.z[1], found.z[1].tanh() + 0.5)


def test_a_way_back_that_does_not_arrive_says_that_it_was_the_way_back():
    """Newton's method finds a point from which the plain iteration runs away."""
    x = batch_of(1, 1).requires_grad_()
    layer = EquilibriumLayer(
        lambda z, x: 2 * z + x, method="newton", backward_method="plain"
    )
    with pytest.raises(SolverError, match="plain") as caught:
        layer(x).sum().backward()
    assert "way back" in caught.value.__notes__[0]


def test_a_layer_refuses_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="'implicit' or 'one step', got 'none'"):
        EquilibriumLayer(Cell(), gradient="none")
    with pytest.raises(ValueError, match="the equation of u is linear"):
        EquilibriumLayer(Cell(), backward_method="newton")
    with pytest.raises(ValueError, match="tol must be positive"):
        EquilibriumLayer(Cell(), backward_tol=-1.0)
    with pytest.raises(TypeError, match="steps"):
        EquilibriumLayer(Cell(), steps=3)


def test_second_derivatives_are_refused_and_not_wrong():
    x = batch_of(2, 4).requires_grad_()
    with pytest.raises(RuntimeError, match="EquilibriumLayer gives first derivatives"):
        torch.autograd.grad(EquilibriumLayer(Cell())(x).sum(), x, create_graph=True)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_forward_derivatives_and_those_of_torch_func_are_refused_and_not_wrong():
    layer, x = EquilibriumLayer(Cell()), batch_of(2, 4)
    with pytest.raises(RuntimeError, match="functorch transform"):
        torch.func.grad(lambda x: layer(x).sum())(x)
    with forward_ad.dual_level(), pytest.raises((RuntimeError, NotImplementedError)):
        forward_ad.unpack_dual(layer(forward_ad.make_dual(x, torch.ones_like(x))))

"""The gradients are right: finite differences, backpropagation, torchdiffeq, closed
forms, and constant memory.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torchdiffeq
from problems import (
    BY_NAME,
    Problem,
    adaptive_methods,
    all_methods,
    fixed_methods,
    with_method,
)
from test_forward_pass import TIGHT
from torch import Tensor, nn

from benchmarks.bench_adjoint_memory import bytes_kept
from course_lib.solvers import (
    METHODS,
    SolverError,
    odeint,
    odeint_adjoint,
    odeint_interpolated,
    solve,
)

# No gap is a whole number of steps of 0.1.
OBSERVED = torch.tensor([0.1, 0.43, 0.97, 1.34], dtype=torch.float64)
both_gradients = pytest.mark.parametrize(
    "solver", [odeint, odeint_adjoint], ids=["direct", "adjoint"]
)
there_and_back = pytest.mark.parametrize(
    "sign", [1.0, -1.0], ids=["increasing", "decreasing"]
)


class Field(nn.Module):
    """A function f(t, y, *parameters) as a module that has them."""

    def __init__(self, function, *parameters: Tensor):
        super().__init__()
        self.function, self.values = function, nn.ParameterList(parameters)

    def forward(self, t, y):
        return self.function(t, y, *self.values)


def learnable(problem: Problem) -> Field:
    """A problem's field with two parameters: rate · f(t, y) + drift."""
    rate, drift = torch.ones((), dtype=torch.float64), torch.zeros_like(problem.start())
    return Field(lambda t, y, rate, drift: rate * problem.f(t, y) + drift, rate, drift)


class LinearField(nn.Module):
    """y' = Ay on rows."""

    def __init__(self, A):
        super().__init__()
        self.A = nn.Parameter(torch.tensor(A, dtype=torch.float64))

    def forward(self, t, y):
        return y @ self.A.T


class CountingField(LinearField):
    """A linear field that counts its calls."""

    calls = 0

    def forward(self, t, y):
        self.calls += 1
        return super().forward(t, y)


SPIRAL = ((-0.1, -1.0), (1.0, -0.1))


def sensitivities(
    solver, f: nn.Module, y0: Tensor, t: Tensor, weights: Tensor, **options
) -> list[Tensor]:
    """Of Σ weights · ys, with respect to y0, t and the parameters of f."""
    y0, t = y0.clone().requires_grad_(), t.clone().requires_grad_()
    loss = (weights * solver(f, y0, t, **options)).sum()
    return list(torch.autograd.grad(loss, (y0, t, *f.parameters())))


def adjoint_and_direct(*arguments, **options) -> list[list[Tensor]]:
    """The gradients by the adjoint equation and by backpropagation."""
    return [
        sensitivities(solver, *arguments, **options)
        for solver in (odeint_adjoint, odeint)
    ]


def cosines(*shape: int) -> Tensor:
    """Loss weights of either sign, none of them zero, the same every time."""
    numbers = torch.arange(1, 1 + math.prod(shape), dtype=torch.float64)
    return numbers.cos().reshape(shape)


def largest_gap(a: list[Tensor], b: list[Tensor]) -> float:
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True))


def gradient_bound(problem: Problem, direct: list[Tensor], tolerance: float) -> float:
    """How far two gradients may lie apart that were each computed at that tolerance.

    y is carried forward, y and λ back, in up to four times the steps of the forward
    solve: errors of at most `error_bound`, of which the flow magnifies one on the way
    there and the next on the way back.
    """
    settings = {"rtol": tolerance, "atol": tolerance}
    forward = solve(problem.f, problem.start(), problem.times(), **settings)
    once = problem.error_bound(4 * forward.accepted, tolerance, tolerance)
    bound = once * problem.magnification(backward=True)
    assert bound < 0.01, f"a bound of {bound:.2g} proves nothing: tighten the tolerance"
    return bound * max(1.0, *(g.abs().max().item() for g in direct))


# --- finite differences ---------------------------------------------------------------


def saturating(t: Tensor, y: Tensor, W: Tensor, v: Tensor) -> Tensor:
    """A nonlinear, non-autonomous field with two parameters."""
    return torch.tanh(y @ W.T + v * torch.sin(2 * t))


def gradcheck_inputs(sign: float) -> tuple[Tensor, ...]:
    values = (
        [0.4, -0.7],
        (sign * OBSERVED).tolist(),
        [[0.3, -1.0], [0.8, 0.2]],
        [0.5, -1.5],
    )
    return tuple(
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values
    )


def observations(solver, **options):
    """The solution at four times as a function of y0, t and the parameters; the first
    value is at t[0] itself.
    """

    def ys(y0, t, W, v):
        known = {"adjoint_params": (W, v)} if solver is odeint_adjoint else {}
        return solver(lambda t, y: saturating(t, y, W, v), y0, t, **known, **options)

    return ys


@fixed_methods
@there_and_back
def test_the_direct_gradient_of_fixed_steps_passes_gradcheck(method, sign):
    """It is the derivative of the numbers computed, so only rounding, 1e-14 over 2e-6,
    and O(eps²) come between.
    """
    ys = observations(odeint, method=method, step_size=0.1)
    assert torch.autograd.gradcheck(
        ys, gradcheck_inputs(sign), eps=1e-6, atol=1e-7, rtol=0
    )


# Both gradients are those of the exact solution, up to some 50 steps at 1e-9 (rk4: less
# than 0.05⁴ / 120). Over a shift of 2e-3 that makes 3e-5 of noise; the truncation error
# is 4e-6 / 6 times a third derivative.
DIFFERENCES = {"eps": 2e-3, "atol": 5e-5, "rtol": 0, "check_undefined_grad": False}


@there_and_back
def test_the_direct_gradient_of_adaptive_steps_passes_gradcheck(sign):
    ys = observations(odeint, method="dopri5", rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(ys, gradcheck_inputs(sign), **DIFFERENCES)


@pytest.mark.parametrize(
    ("method", "sign"), [("dopri5", 1.0), ("dopri5", -1.0), ("rk4", 1.0)]
)
def test_the_adjoint_gradient_passes_gradcheck(method, sign):
    options = with_method(method, tolerance=1e-9, step_size=0.05)
    ys = observations(odeint_adjoint, **options)
    assert torch.autograd.gradcheck(ys, gradcheck_inputs(sign), **DIFFERENCES)


# --- backpropagation and torchdiffeq --------------------------------------------------


@pytest.mark.parametrize("observed", range(9))
def test_adjoint_gradient_equals_backprop_at_every_observation_time(observed):
    """A loss that looks at one of nine times, y(t0) among them."""
    problem, tolerance = BY_NAME["seasons"], 1e-8
    f, t, weights = learnable(problem), problem.times(), torch.zeros(9, 1).double()
    weights[observed] = 1.0
    options = {"rtol": tolerance, "atol": tolerance}
    adjoint, direct = adjoint_and_direct(f, problem.start(), t, weights, **options)
    assert largest_gap(adjoint, direct) <= gradient_bound(problem, direct, tolerance)
    assert adjoint[0].abs().max() > 0.1


@pytest.mark.parametrize(
    ("name", "backward"),
    [
        ("linear", False),
        ("seasons", False),
        ("seasons", True),
        ("pendulum", False),
        ("Lotka-Volterra", False),
    ],
)
def test_adjoint_direct_and_torchdiffeq_agree(name, backward):
    problem, options = BY_NAME[name], {"method": "dopri5", "rtol": 1e-7, "atol": 1e-7}
    t = problem.times(5).flip(0) if backward else problem.times(5)
    f, y0, shape = learnable(problem), problem.truth(t)[0], problem.start().shape
    case = (f, y0, t, cosines(5, *shape))
    adjoint, direct = adjoint_and_direct(*case, **options)
    options["adjoint_options"] = {"norm": "seminorm"}
    theirs = sensitivities(torchdiffeq.odeint_adjoint, *case, **options)
    bound = gradient_bound(problem, direct, 1e-7)
    assert largest_gap(adjoint, direct) <= bound
    assert largest_gap(adjoint, theirs) <= bound


@fixed_methods
def test_with_fixed_steps_adjoint_and_backprop_meet_at_the_order_of_the_method(method):
    """One differentiates the solution, the other the numbers: the gap is of the size of
    the discretisation error.
    """
    problem, sizes = BY_NAME["seasons"], [1 / 8, 1 / 16, 1 / 32]
    f, t, weights = learnable(problem), problem.times(3), cosines(3, 1)
    gaps = []
    for h in sizes:
        options = {"method": method, "step_size": h}
        gaps.append(
            largest_gap(*adjoint_and_direct(f, problem.start(), t, weights, **options))
        )
    order = np.polyfit(np.log(sizes), np.log(gaps), 1)[0]
    assert order == pytest.approx(METHODS[method].order, abs=0.2)


# --- closed forms ---------------------------------------------------------------------


@both_gradients
@adaptive_methods
@there_and_back
def test_the_gradients_of_a_linear_system_equal_those_of_the_matrix_exponential(
    solver, method, sign
):
    f, t, weights = LinearField(SPIRAL), sign * OBSERVED, cosines(4, 3, 2)
    y0 = cosines(3, 2)
    ours = sensitivities(
        solver, f, y0, t, weights, **with_method(method, tolerance=1e-8)
    )
    y0, t = y0.clone().requires_grad_(), t.clone().requires_grad_()
    flow = torch.linalg.matrix_exp((t - t[0])[:, None, None] * f.A.T)
    exact = torch.autograd.grad((weights * (y0 @ flow)).sum(), (y0, t, f.A))
    # At most 200 steps there and back; the spiral, whose A is normal, stretches by
    # exp(0.1 · 1.24) going back.
    bound = 2 * 200 * math.sqrt(6) * 1e-8 * (1 + 6) * math.exp(0.2)
    assert largest_gap(ours, exact) <= bound


@both_gradients
@all_methods
@there_and_back
def test_a_later_end_lowers_a_decaying_loss_and_a_later_start_raises_it(
    solver, method, sign
):
    """y(t₁) = y₀ exp(-|t₁ - t₀|): the sign of ∂L/∂t is a trap that other
    implementations have fallen into.
    """
    t = sign * torch.tensor([0.5, 1.5], dtype=torch.float64)
    weights = torch.tensor([0.0, 1.0]).double()
    options = with_method(method, tolerance=1e-8, step_size=0.01)
    f, y0 = Field(lambda t, y: -sign * y), torch.tensor(1.0).double()
    _, (start, end) = sensitivities(solver, f, y0, t, weights, **options)
    tolerance = 0.01 if method == "euler" else 1e-4  # h and h² times exp(-1)
    assert start == pytest.approx(sign * math.exp(-1), abs=tolerance)
    assert end == pytest.approx(-sign * math.exp(-1), abs=tolerance)


@both_gradients
@all_methods
def test_a_loss_on_the_start_alone_reaches_y0_and_nothing_else(solver, method):
    f, y0, t = LinearField(SPIRAL), cosines(2), OBSERVED
    weights = torch.zeros(4, 2, dtype=torch.float64)
    weights[0] = torch.tensor([2.0, 3.0])
    to_y0, to_t, to_A = sensitivities(solver, f, y0, t, weights, **with_method(method))
    assert to_y0.tolist() == [2.0, 3.0]
    assert not to_t.any()
    assert not to_A.any()


@both_gradients
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0, 2)], ids=str)
def test_gradients_have_the_shapes_of_what_they_belong_to(solver, shape):
    f = Field(lambda t, y, rate: rate * y, torch.tensor(0.5).double())
    found = sensitivities(solver, f, cosines(*shape), OBSERVED, cosines(4, *shape))
    assert [tuple(g.shape) for g in found] == [shape, (4,), ()]
    assert all(torch.isfinite(g).all() for g in found)


# --- what f may look like -------------------------------------------------------------


@all_methods
def test_a_parameter_f_does_not_use_gets_a_zero_gradient(method):
    used, unused = torch.ones(2).double(), torch.ones(3).double()
    f = Field(lambda t, y, rate, idle: rate * y, used, unused)
    odeint_adjoint(f, cosines(2), [0.0, 1.0], **with_method(method)).sum().backward()
    rate, idle = f.values
    assert idle.grad.tolist() == [0.0, 0.0, 0.0]
    assert rate.grad.all()


@all_methods
def test_a_field_that_ignores_y_passes_the_gradient_straight_through(method):
    f = Field(lambda t, y, speed: 1.0 * speed, torch.tensor([2.0, 3.0]).double())
    y0, t = cosines(2).requires_grad_(), [0.0, 0.5, 2.0]
    odeint_adjoint(f, y0, t, **with_method(method)).sum().backward()
    assert y0.grad.tolist() == [3.0, 3.0]
    assert f.values[0].grad.tolist() == pytest.approx([0.5 + 2.0] * 2, rel=1e-12)


@all_methods
def test_a_field_of_time_alone_without_parameters_is_no_obstacle(method):
    y0 = cosines(2).requires_grad_()
    odeint_adjoint(
        Field(lambda t, y: t.expand(2)), y0, [0.0, 1.0], **with_method(method)
    ).sum().backward()
    assert y0.grad.tolist() == [2.0, 2.0]


def test_a_module_without_parameters_needs_nothing_said_about_them():
    y0 = torch.tensor([0.5]).double().requires_grad_()
    odeint_adjoint(
        Field(lambda t, y: -y), y0, [0.0, 1.0], rtol=1e-8, atol=1e-8
    ).sum().backward()
    assert y0.grad.item() == pytest.approx(1 + math.exp(-1), abs=1e-6)


def test_a_plain_function_reaches_the_tensors_it_names():
    y0, rate = (
        torch.tensor([1.0]).double(),
        torch.tensor(-1.0).double().requires_grad_(),
    )
    ys = odeint_adjoint(
        lambda t, y: rate * y,
        y0,
        [0.0, 1.0],
        adjoint_params=(rate,),
        rtol=1e-8,
        atol=1e-8,
    )
    ys[-1].sum().backward()
    # d/da exp(a) at a = -1.
    assert rate.grad.item() == pytest.approx(math.exp(-1), abs=1e-6)


def test_the_parameters_may_come_from_a_generator():
    f = LinearField(SPIRAL)
    odeint_adjoint(
        lambda t, y: f(t, y), cosines(2), [0.0, 1.0], adjoint_params=f.parameters()
    ).sum().backward()
    assert f.A.grad.any()


def test_a_plain_function_has_to_say_what_its_parameters_are():
    with pytest.raises(TypeError, match=r"f is a function.*nn\.Module.*adjoint_params"):
        odeint_adjoint(lambda t, y: -y, cosines(2), [0.0, 1.0])


@pytest.mark.parametrize(
    "wrong",
    [torch.ones(2, requires_grad=True), 3.0, (1.0, 2.0)],
    ids=["tensor", "number", "numbers"],
)
def test_adjoint_params_must_be_a_sequence_of_tensors(wrong):
    """A single tensor would be taken apart into rows, which f does not use: its
    gradient would be zero.
    """
    with pytest.raises(TypeError, match="adjoint_params must be a sequence of Tensors"):
        odeint_adjoint(lambda t, y: -y, cosines(2), [0.0, 1.0], adjoint_params=wrong)


def test_a_frozen_parameter_stays_without_gradient_and_the_others_get_theirs():
    f = Field(
        lambda t, y, inner, outer: torch.tanh(y @ inner) @ outer,
        cosines(2, 3),
        cosines(3, 2),
    )
    inner, outer = f.values
    inner.requires_grad_(False)
    found = [
        odeint_adjoint(f, cosines(2), OBSERVED, rtol=1e-8, atol=1e-8),
        odeint(f, cosines(2), OBSERVED, rtol=1e-8, atol=1e-8),
    ]
    adjoint, direct = (
        torch.autograd.grad(ys.sum(), outer, retain_graph=True) for ys in found
    )
    # Fewer than 200 steps, and ‖∂f/∂y‖ ≤ ‖inner‖‖outer‖ < 3 over 1.24 units of time,
    # there and back.
    assert largest_gap(adjoint, direct) <= 200 * 1e-8 * math.exp(2 * 3 * 1.24)
    found[0].sum().backward()
    assert inner.grad is None


def test_where_nothing_wants_a_gradient_nothing_is_kept():
    f = LinearField(SPIRAL).requires_grad_(False)
    assert not odeint_adjoint(f, cosines(2), OBSERVED).requires_grad
    with torch.no_grad():
        assert not odeint_adjoint(
            LinearField(SPIRAL), cosines(2), OBSERVED
        ).requires_grad


# --- the backward solve ---------------------------------------------------------------


@all_methods
def test_the_values_of_odeint_adjoint_are_those_of_odeint(method):
    f, options = LinearField(SPIRAL), with_method(method)
    assert torch.equal(
        odeint_adjoint(f, cosines(2), OBSERVED, **options),
        odeint(f, cosines(2), OBSERVED, **options),
    )


def test_the_memory_of_the_adjoint_does_not_grow_with_the_steps_and_that_of_backprop_does():
    adjoint, direct = (
        [bytes_kept(solver, steps) for steps in (20, 2000)]
        for solver in (odeint_adjoint, odeint)
    )
    assert adjoint[1] == pytest.approx(adjoint[0], rel=0.05)
    assert direct[1] == pytest.approx(100 * direct[0], rel=0.05)


def backward_calls(*, frozen: bool = False, **options) -> int:
    """How often the backward solve evaluates the field."""
    f = CountingField(SPIRAL)
    f.A.requires_grad_(not frozen)
    ys = odeint_adjoint(
        f, cosines(5, 2).requires_grad_(), OBSERVED, rtol=1e-8, atol=1e-8, **options
    )
    f.calls = 0
    ys.sum().backward()
    return f.calls


def test_the_parameters_have_no_part_in_the_step_control():
    assert backward_calls(frozen=False) == backward_calls(frozen=True)


def test_a_gradient_that_is_easy_to_carry_does_not_loosen_the_control_of_the_state():
    """Where f depends on t alone λ is constant, and y goes back in the very steps that
    a solve of its own would take.
    """
    f, y0 = CountingField(SPIRAL), torch.ones(2).double().requires_grad_()
    wave = Field(lambda t, y: (10 * t).cos() + 0 * f(t, y).detach())
    ys = odeint_adjoint(wave, y0, [0.0, 3.0])
    alone = solve(wave, ys[-1].detach(), [3.0, 0.0])
    f.calls = 0
    (1e-6 * ys[-1]).sum().backward()
    assert f.calls == alone.nfe > 100


def test_the_backward_solve_has_the_tolerance_of_the_forward_one_unless_told_otherwise():
    assert backward_calls() == backward_calls(adjoint_rtol=1e-8, adjoint_atol=1e-8)
    assert backward_calls(adjoint_rtol=1e-4, adjoint_atol=1e-4) < backward_calls()
    assert backward_calls(adjoint_rtol=1e-10, adjoint_atol=1e-10) > backward_calls()


def test_going_backward_twice_through_one_solve_gives_the_same_gradient():
    f = LinearField(SPIRAL)
    loss = odeint_adjoint(f, cosines(2), OBSERVED).sum()
    first, second = (
        torch.autograd.grad(loss, f.A, retain_graph=True)[0] for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("power", [1, 2])
def test_a_second_derivative_through_the_adjoint_is_refused(power):
    """Also of a linear loss, where autograd alone would take the first derivative for a
    constant.
    """
    y0 = cosines(2).requires_grad_()
    loss = odeint_adjoint(LinearField(SPIRAL), y0, OBSERVED).pow(power).sum()
    with pytest.raises(
        RuntimeError, match="odeint_adjoint gives first derivatives only"
    ):
        torch.autograd.grad(loss, y0, create_graph=True)


def test_a_second_derivative_through_the_steps_themselves_is_right():
    """y₀ → exp(a t) y₀² has the second derivative 2 exp(a t) in y₀."""
    y0 = torch.tensor([3.0]).double().requires_grad_()
    end = odeint(lambda t, y: -y, y0**2, [0.0, 1.0], rtol=1e-8, atol=1e-8)[-1].sum()
    (first,) = torch.autograd.grad(end, y0, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), y0)
    assert second.item() == pytest.approx(2 * math.exp(-1), abs=1e-6)


def test_a_backward_solve_that_fails_says_that_it_was_the_backward_one():
    f = LinearField(SPIRAL).float()
    ys = odeint_adjoint(
        f,
        torch.ones(2),
        [0.0, 10.0],
        adjoint_rtol=1e-14,
        adjoint_atol=1e-14,
        max_steps=500,
    )
    with pytest.raises(
        SolverError, match=r"^in the backward solve of the adjoint: .*adjoint_rtol"
    ):
        ys.sum().backward()


@all_methods
def test_a_gradient_that_is_nan_on_arrival_is_not_passed_on(method):
    ys = odeint_adjoint(
        LinearField(SPIRAL), cosines(2), [0.0, 1.0], **with_method(method)
    )
    with pytest.raises(
        SolverError, match=r"in the backward solve of the adjoint: .*NaN"
    ):
        (ys * math.nan).sum().backward()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@both_gradients
@pytest.mark.parametrize(
    ("method", "clock"), list(itertools.product(["rk4", "dopri5"], ["cpu", "cuda"]))
)
def test_gradients_on_the_gpu_equal_those_on_the_cpu(solver, method, clock):
    f, options = LinearField(SPIRAL), with_method(method)
    on_cpu = sensitivities(
        solver, f, cosines(3, 2), OBSERVED, cosines(4, 3, 2), **options
    )
    on_gpu = sensitivities(
        solver,
        f.cuda(),
        cosines(3, 2).cuda(),
        OBSERVED.to(clock),
        cosines(4, 3, 2).cuda(),
        **options,
    )
    # The same operations up to rounding, of fewer than 10,000 numbers below 10.
    assert (
        largest_gap([g.cpu() for g in on_gpu], on_cpu)
        <= 1e5 * torch.finfo(torch.float64).eps
    )


def test_a_derivative_that_is_not_finite_is_not_blamed_on_f():
    w = torch.ones((), requires_grad=True)
    y0 = torch.zeros(2, requires_grad=True)
    ys = odeint_adjoint(
        lambda t, y: w * y.square().sum().sqrt() * torch.ones(2),
        y0,
        [0.0, 1.0],
        adjoint_params=(w,),
    )
    with pytest.raises(SolverError, match="f is finite, but its derivative"):
        ys[-1].sum().backward()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_forward_mode_reaches_start_times_and_parameters_as_reverse_mode_does(method):
    inputs = [x.detach() for x in gradcheck_inputs(1.0)]
    ys = observations(odeint, **with_method(method))
    forward, reverse = (
        transform(ys, argnums=(0, 1, 2, 3))(*inputs)
        for transform in (torch.func.jacfwd, torch.func.jacrev)
    )
    assert largest_gap(forward, reverse) < 1e-12
    assert min(x.abs().max() for x in forward) > 0.1


# --- the error of the θ-integral ------------------------------------------------------


def forced(rate: float = 0.0) -> Field:
    """y' = -y + θ sin 50t: at θ = 0 neither y nor λ has anything of the fast sine."""
    rate = torch.tensor(rate, dtype=torch.float64)
    return Field(lambda t, y, rate: rate * torch.sin(50 * t) - y, rate)


def exact_forcing(T: float) -> float:
    """∂y(T)/∂θ = ∫ exp(s - T) sin 50s ds from 0 to T."""
    end = math.sin(50 * T) - 50 * math.cos(50 * T)
    return (end + 50 * math.exp(-T)) / (1 + 50**2)


@pytest.mark.parametrize("solver", [odeint_adjoint, odeint_interpolated])
@pytest.mark.parametrize("method", ["dopri5", "tsit5"])  # which take long steps
def test_a_fast_theta_integral_is_wrong_unless_it_is_checked(solver, method):
    f, y0, exact = forced(), torch.ones(1).double(), exact_forcing(5.0)
    options = with_method(method, tolerance=1e-6)
    blind, checked = (
        torch.autograd.grad(
            solver(f, y0, [0.0, 5.0], check_theta=check, **options)[-1].sum(),
            f.values[0],
        )[0].item()
        for check in (False, True)
    )
    assert exact == pytest.approx(-0.00507, abs=1e-5)
    assert abs(blind - exact) > 0.02  # four times the number and more
    assert checked == pytest.approx(exact, abs=1e-5)
    if (solver, method) == (odeint_adjoint, "dopri5"):
        assert blind == pytest.approx(-0.192, abs=1e-3)
        assert checked == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("solver", [odeint_adjoint, odeint_interpolated])
def test_the_error_of_a_checked_theta_integral_falls_with_the_tolerance(solver):
    f, y0, errors = forced(), torch.ones(1).double(), []
    for tolerance in (1e-4, 1e-6, 1e-8):
        options = {"adjoint_rtol": tolerance, "adjoint_atol": tolerance}
        ys = solver(f, y0, [0.0, 2.0, 5.0], check_theta=True, **TIGHT, **options)
        (found,) = torch.autograd.grad((ys[1] + ys[2]).sum(), f.values[0])
        exact = exact_forcing(2.0) + exact_forcing(5.0)
        errors.append(abs(found.item() - exact))
        assert errors[-1] < 30 * tolerance
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


@pytest.mark.parametrize("solver", [odeint_adjoint, odeint_interpolated])
def test_checking_theta_costs_the_other_gradients_nothing_in_accuracy(solver):
    f, t = LinearField(SPIRAL), OBSERVED
    case = (f, cosines(3, 2), t, cosines(4, 3, 2))
    ours = sensitivities(solver, *case, check_theta=True, **TIGHT)
    direct = sensitivities(odeint, *case, **TIGHT)
    assert largest_gap(ours, direct) < 1e-6


def test_a_loss_times_a_thousand_has_its_checked_gradient_to_the_same_digits():
    f, y0, found = forced(), torch.ones(1).double(), []
    for size in (1.0, 1e3, 1e-3):
        end = odeint_adjoint(f, y0, [0.0, 5.0], check_theta=True)[-1].sum()
        found.append(torch.autograd.grad(size * end, f.values[0])[0].item() / size)
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)


@pytest.mark.parametrize("solver", [odeint_adjoint, odeint_interpolated])
def test_what_the_check_of_theta_cannot_do_is_refused(solver):
    f, y0, t = forced(), torch.ones(2).double(), [0.0, 1.0]
    with pytest.raises(ValueError, match=r"does not go with method='rk4'.*'dopri5'"):
        solver(f, y0, t, check_theta=True, method="rk4", step_size=0.1)
    each = torch.full((2,), 1e-6).double()
    for name in ("rtol", "atol", "adjoint_rtol", "adjoint_atol"):
        with pytest.raises(
            ValueError, match=r"tolerances that are numbers.*adjoint_rtol"
        ):
            solver(f, y0, t, check_theta=True, **{name: each})
    numbers = {"adjoint_rtol": 1e-6, "adjoint_atol": 1e-6}
    ys = solver(f, y0, t, check_theta=True, rtol=each, atol=each, **numbers)
    assert ys.requires_grad


# --- max_steps ------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [odeint_adjoint, odeint_interpolated])
@adaptive_methods
def test_on_the_way_back_max_steps_counts_from_the_last_observation_to_the_first(
    solver, method
):
    """One interval is one attempt or two, but a hundred of them are a hundred."""
    f, y0 = LinearField(SPIRAL), cosines(2).requires_grad_()
    options, t = with_method(method, tolerance=1e-4), torch.linspace(0, 4, 101).double()
    needed = solve(f, y0, t, **options)
    attempts = needed.accepted + needed.rejected
    assert attempts < 100
    solver(f, y0, t[:2], max_steps=attempts, **options).sum().backward()
    solver(f, y0, t, max_steps=200, **options).sum().backward()
    ys = solver(f, y0, t, max_steps=attempts, **options)
    with pytest.raises(SolverError, match=r"in the backward solve .* were not enough"):
        ys.sum().backward()


@pytest.mark.parametrize("solver", [odeint_adjoint, odeint_interpolated])
@fixed_methods
def test_as_many_fixed_steps_as_there_are_suffice_there_and_back(solver, method):
    f, y0, t = LinearField(SPIRAL), cosines(2), [0.0, 0.25, 1.0, 1.5]
    options = {"method": method, "step_size": 0.1}  # 3 + 8 + 5 of them
    solver(f, y0, t, max_steps=16, **options).sum().backward()
    with pytest.raises(SolverError, match="max_steps"):
        solver(f, y0, t, max_steps=15, **options)

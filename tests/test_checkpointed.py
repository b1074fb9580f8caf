"""The checkpointed gradient is the direct one, in the memory of a few steps."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from problems import BY_NAME, adaptive_methods, all_methods, with_method
from test_adjoint import (
    OBSERVED,
    SPIRAL,
    CountingField,
    Field,
    LinearField,
    cosines,
    gradcheck_inputs,
    largest_gap,
    learnable,
    saturating,
    sensitivities,
    there_and_back,
)
from test_bad_input import NOT_DERIVATIVES, NOT_STARTS, NOT_TIMES, refusal

from benchmarks.bench_adjoint_memory import bytes_kept
from course_lib.solvers import METHODS, SolverError, odeint, odeint_checkpointed, solve

number_kept = pytest.mark.parametrize("checkpoints", [None, 1, 2, 5, 10_000])


def checkpointed_and_direct(*arguments, checkpoints=None, **options):
    """The gradients of y0, t and the parameters, both ways."""
    few = partial(odeint_checkpointed, checkpoints=checkpoints)
    return [sensitivities(solver, *arguments, **options) for solver in (few, odeint)]


# --- the same gradient ----------------------------------------------------------------


@all_methods
@there_and_back
@number_kept
def test_the_gradient_is_the_direct_one(method, sign, checkpoints):
    """With several observations, in both directions, however few the checkpoints. The
    sums have a few thousand terms below 10.
    """
    f, t, weights = LinearField(SPIRAL), sign * OBSERVED, cosines(4, 3, 2)
    options = with_method(method, step_size=0.03) | {"checkpoints": checkpoints}
    ours, direct = checkpointed_and_direct(f, cosines(3, 2), t, weights, **options)
    assert largest_gap(ours, direct) <= 1e-12
    assert min(g.abs().max() for g in direct) > 0.1


@all_methods
@pytest.mark.parametrize("name", ["seasons", "pendulum", "Lotka-Volterra", "linear"])
def test_the_gradient_is_the_direct_one_where_the_field_is_not_linear(method, name):
    problem = BY_NAME[name]
    f, t, y0 = learnable(problem), problem.times(7), problem.start()
    weights = cosines(7, *y0.shape)
    ours, direct = checkpointed_and_direct(f, y0, t, weights, **with_method(method))
    scale = max(g.abs().max().item() for g in direct)
    assert largest_gap(ours, direct) <= 1e-12 * scale


@all_methods
def test_in_float32_the_gradients_agree_to_float32(method):
    f, y0, t = LinearField(SPIRAL).float(), cosines(3, 2).float(), OBSERVED.float()
    options = with_method(method, tolerance=1e-4)
    ours, direct = checkpointed_and_direct(
        f, y0, t, cosines(4, 3, 2).float(), **options
    )
    # A few hundred operations on numbers below 10.
    assert largest_gap(ours, direct) <= 1e3 * torch.finfo(torch.float32).eps


@all_methods
def test_the_values_are_those_of_odeint(method):
    f, options = LinearField(SPIRAL), with_method(method)
    ours = odeint_checkpointed(f, cosines(2), OBSERVED, **options)
    assert torch.equal(ours, odeint(f, cosines(2), OBSERVED, **options))


@pytest.mark.parametrize("method", ["midpoint", "rk4", "dopri5", "tsit5"])
@there_and_back
def test_the_gradient_passes_gradcheck(method, sign):
    """Fixed steps: 1e-14 of rounding over 2e-6. An adaptive method takes other steps
    from a start moved by 1e-6, so its 1e-12 counts: some 500 steps of it over 2e-6.
    """
    y0, t, W, v = gradcheck_inputs(sign)
    t, options = t.detach(), with_method(method, tolerance=1e-12)
    tolerance = 1e-3 if METHODS[method].adaptive else 1e-7

    def ys(y0, W, v):
        f = Field(lambda t, y: saturating(t, y, W, v))
        options["adjoint_params"] = (W, v)
        return odeint_checkpointed(f, y0, t, checkpoints=3, **options)

    assert torch.autograd.gradcheck(ys, (y0, W, v), eps=1e-6, atol=tolerance, rtol=0)


@all_methods
@pytest.mark.parametrize("observed", range(4))
def test_a_loss_that_looks_once_gets_the_direct_gradient(method, observed):
    f, weights = LinearField(SPIRAL), torch.zeros(4, 2).double()
    weights[observed] = 1.0
    case = (f, cosines(2), OBSERVED, weights)
    ours, direct = checkpointed_and_direct(*case, **with_method(method))
    assert largest_gap(ours, direct) <= 1e-13


@all_methods
@number_kept
def test_one_time_alone_gives_y0_and_its_gradient_back(method, checkpoints):
    f, y0, options = LinearField(SPIRAL), cosines(2), with_method(method)
    options["checkpoints"] = checkpoints
    few = partial(odeint_checkpointed, **options)
    to_y0, to_t, to_A = sensitivities(few, f, y0, OBSERVED[:1], torch.ones(1, 2))
    assert to_y0.tolist() == [1.0, 1.0]
    assert not to_t.any()
    assert not to_A.any()


@all_methods
def test_a_parameter_f_does_not_use_gets_a_zero_gradient(method):
    used, unused = torch.ones(2).double(), torch.ones(3).double()
    f = Field(lambda t, y, rate, idle: rate * y, used, unused)
    ys = odeint_checkpointed(f, cosines(2), [0.0, 1.0], **with_method(method))
    ys.sum().backward()
    rate, idle = f.values
    assert idle.grad.tolist() == [0.0, 0.0, 0.0]
    assert rate.grad.all()


@all_methods
def test_a_field_that_ignores_y_passes_the_gradient_straight_through(method):
    f = Field(lambda t, y: t.expand(2))
    y0 = cosines(2).requires_grad_()
    odeint_checkpointed(f, y0, [0.0, 1.0], **with_method(method)).sum().backward()
    assert y0.grad.tolist() == [2.0, 2.0]


def test_a_plain_function_reaches_the_tensors_it_names_and_frozen_ones_are_left_out():
    rate = torch.tensor(-1.0).double().requires_grad_()
    frozen, y0 = torch.tensor(2.0).double(), torch.tensor([1.0]).double()
    options = {"adjoint_params": (rate, frozen)}
    found = []
    for solver, known in ((odeint_checkpointed, options), (odeint, {})):
        end = solver(lambda t, y: rate * frozen * y, y0, [0.0, 1.0], **known)[-1].sum()
        found.append(torch.autograd.grad(end, rate)[0])
    assert found[0].item() == pytest.approx(found[1].item(), rel=1e-13)


def test_going_backward_twice_through_one_solve_gives_the_same_gradient():
    f = LinearField(SPIRAL)
    loss = odeint_checkpointed(f, cosines(2), OBSERVED).sum()
    first, second = (
        torch.autograd.grad(loss, f.A, retain_graph=True)[0] for _ in range(2)
    )
    assert torch.equal(first, second)


# --- what it costs --------------------------------------------------------------------


def kept_states(steps: int, **options) -> int:
    """Bytes that the forward pass keeps beyond t and the parameters, over those of one
    state (20 × 2 float32).
    """
    few = partial(odeint_checkpointed, **options)
    once = bytes_kept(partial(odeint_checkpointed, checkpoints=1), 1)
    return 1 + (bytes_kept(few, steps) - once) // (20 * 2 * 4)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 9, 50, 128, 129, 1000])
def test_about_root_n_states_are_kept_for_n_steps(steps):
    assert (steps / 2) ** 0.5 <= kept_states(steps) <= (2 * steps) ** 0.5 + 1


@pytest.mark.parametrize("checkpoints", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("steps", [1, 2, 5, 64, 65, 500])
def test_the_number_of_checkpoints_is_a_bound_and_more_than_half_of_it_is_used(
    steps, checkpoints
):
    kept = kept_states(steps, checkpoints=checkpoints)
    assert min(steps, checkpoints) / 2 < kept <= checkpoints


def graph_steps(**options) -> int:
    """The longest stretch of steps whose graph is alive at once in the backward pass,
    by the stages f has been asked for.
    """
    alive, most = 0, 0

    class Stage(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, y):
            return -y

        @staticmethod
        def backward(_ctx, grad):
            nonlocal alive
            alive -= 1
            return -grad

    def f(t, y):
        nonlocal alive, most
        if torch.is_grad_enabled():
            alive += 1
            most = max(most, alive)
        return Stage.apply(y)

    y0 = cosines(2).requires_grad_()
    options |= {"method": "rk4", "step_size": 0.01, "adjoint_params": ()}
    odeint_checkpointed(f, y0, [0.0, 1.0], **options).sum().backward()
    assert alive == 0
    return most // 4


def test_the_backward_pass_holds_the_graph_of_one_stretch_at_a_time():
    assert graph_steps(checkpoints=1) == 100
    assert graph_steps(checkpoints=10) == 16
    assert graph_steps(checkpoints=100) == 1
    assert graph_steps() == 8


@all_methods
def test_the_backward_pass_evaluates_f_once_for_every_stage_of_an_accepted_step(method):
    """And once more for every stretch, where a step begins with the stage the one
    before ended with. There is no step control, so no rejected step.
    """
    f, y0, tableau = CountingField(SPIRAL), cosines(5, 2), METHODS[method]
    options = with_method(method, tolerance=1e-8)
    steps = solve(f, y0, OBSERVED, **options).accepted
    ys = odeint_checkpointed(f, y0, OBSERVED, checkpoints=1, **options)
    f.calls = 0
    ys.sum().backward()
    assert f.calls == steps * (tableau.stages - tableau.fsal) + tableau.fsal


@all_methods
def test_the_forward_pass_evaluates_f_as_often_as_odeint(method):
    f, options = CountingField(SPIRAL), with_method(method)
    expected = solve(f, cosines(2), OBSERVED, **options).nfe
    f.calls = 0
    odeint_checkpointed(f, cosines(2), OBSERVED, **options)
    assert f.calls == expected


def test_where_nothing_wants_a_gradient_nothing_is_kept():
    f = LinearField(SPIRAL).requires_grad_(False)
    assert not odeint_checkpointed(f, cosines(2), OBSERVED).requires_grad
    with torch.no_grad():
        ys = odeint_checkpointed(LinearField(SPIRAL), cosines(2), OBSERVED)
    assert not ys.requires_grad


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "all"])
def test_checkpoints_must_be_a_positive_whole_number(value):
    message = "checkpoints must be a positive whole number, got "
    with pytest.raises(ValueError, match=message):
        odeint_checkpointed(
            LinearField(SPIRAL), cosines(2), [0.0, 1.0], checkpoints=value
        )


def without_parameters(f, y0, t, **settings):
    return odeint_checkpointed(f, y0, t, adjoint_params=(), **settings)


@pytest.mark.parametrize("case", NOT_TIMES.values(), ids=NOT_TIMES)
def test_times_that_make_no_sense_are_refused(case):
    t, kind, *words = case
    message = refusal(kind, without_parameters, t=t)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("case", NOT_STARTS.values(), ids=NOT_STARTS)
def test_a_start_that_makes_no_sense_is_refused(case):
    y0, kind, *words = case
    message = refusal(kind, without_parameters, y0=y0)
    assert all(word in message for word in words), message


@all_methods
@pytest.mark.parametrize("case", NOT_DERIVATIVES.values(), ids=NOT_DERIVATIVES)
def test_f_must_return_what_looks_like_y(method, case):
    wrong, kind, *words = case
    options = with_method(method)
    message = refusal(kind, without_parameters, f=lambda t, y: wrong(y), **options)
    assert all(word in message for word in words), message


@all_methods
def test_max_steps_may_be_just_enough(method):
    f, options = LinearField(SPIRAL), with_method(method)
    needed = solve(f, cosines(2), OBSERVED, **options)
    attempts = needed.accepted + needed.rejected
    options["max_steps"] = attempts
    assert torch.equal(
        odeint_checkpointed(f, cosines(2), OBSERVED, **options), needed.ys
    )
    options["max_steps"] = attempts - 1
    with pytest.raises(SolverError, match="max_steps"):
        odeint_checkpointed(f, cosines(2), OBSERVED, **options)


def test_a_plain_function_has_to_say_what_its_parameters_are():
    with pytest.raises(TypeError, match=r"f is a function.*adjoint_params"):
        odeint_checkpointed(lambda t, y: -y, cosines(2), [0.0, 1.0])


@pytest.mark.parametrize("power", [1, 2])
def test_a_second_derivative_is_refused(power):
    y0 = cosines(2).requires_grad_()
    loss = odeint_checkpointed(LinearField(SPIRAL), y0, OBSERVED).pow(power).sum()
    with pytest.raises(RuntimeError, match="odeint_checkpointed gives first deriv"):
        torch.autograd.grad(loss, y0, create_graph=True)


@adaptive_methods
def test_a_solve_that_cannot_go_on_says_so(method):
    f = Field(lambda t, y: y**2)
    with pytest.raises(SolverError, match=method):
        odeint_checkpointed(f, torch.ones(1).double(), [0.0, 3.0], method=method)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", ["rk4", "dopri5"])
@pytest.mark.parametrize("clock", ["cpu", "cuda"])
def test_on_the_gpu_the_gradient_is_the_direct_one_too(method, clock):
    f, y0 = LinearField(SPIRAL).cuda(), cosines(3, 2).cuda()
    case = (f, y0, OBSERVED.to(clock), cosines(4, 3, 2).cuda())
    ours, direct = checkpointed_and_direct(*case, **with_method(method))
    assert largest_gap(ours, direct) <= 1e-12

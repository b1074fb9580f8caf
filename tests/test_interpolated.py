"""The adjoint along the path that was taken: exact where the way back is lost, in the
memory of a few states a step.
"""

import math
from functools import partial

import pytest
import torch
from problems import BY_NAME, PROBLEMS, all_methods, with_method
from test_adjoint import LinearField, cosines, learnable, sensitivities

from benchmarks.bench_adjoint_memory import bytes_kept
from course_lib.measuring import relative_error
from course_lib.solvers import (
    METHODS,
    GuardedField,
    Settings,
    odeint,
    odeint_adjoint,
    odeint_interpolated,
    walk,
)
from course_lib.solvers.interpolated import Path, polynomial
from course_lib.systems import Ring

SPIRAL = ((-0.1, -1.0), (1.0, -0.1))


def gradients(solver, f, y0, t, **settings):
    weights = cosines(len(t), *y0.shape)
    found = sensitivities(solver, f, y0, t, weights, **settings)
    return torch.cat([x.flatten() for x in found])


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_the_gradient_equals_backpropagation_at_every_observation_time(
    problem, backward
):
    t = problem.times(5)
    start = problem.truth(t)[-1] if backward else problem.start()
    t = t.flip(0) if backward else t
    f = learnable(problem)
    direct, along = (
        gradients(solver, f, start, t, rtol=1e-9, atol=1e-9)
        for solver in (odeint, odeint_interpolated)
    )
    assert relative_error(along, direct) < 1e-5


@pytest.mark.parametrize(
    ("method", "h"),
    [("heun", 0.025), ("rk4", 0.05), ("bosh3", 0.1), ("dopri5", 0.2), ("tsit5", 0.2)],
)
def test_the_gradient_has_the_order_of_the_method(method, h):
    problem, tableau = BY_NAME["pendulum"], METHODS[method]
    f, y0, t = learnable(problem), problem.start(), problem.times(3)
    exact = gradients(odeint, f, y0, t, rtol=1e-12, atol=1e-12)

    def error(h):
        how = dict(method=method, step_size=h)
        if tableau.adaptive:  # every step as long as it may be
            how = dict(method=method, rtol=1e3, atol=1e3, first_step=h, max_step=h)
        return relative_error(gradients(odeint_interpolated, f, y0, t, **how), exact)

    assert math.log2(error(h) / error(h / 2)) > tableau.order - 0.3


@pytest.mark.parametrize("method", ["heun", "rk4", "bosh3", "dopri5", "tsit5"])
def test_the_kept_path_goes_through_the_solution_between_the_steps(method):
    problem = BY_NAME["pendulum"]
    y0, t = problem.start(), problem.times(2)
    how = Settings(**with_method(method, step_size=0.02, tolerance=1e-8))
    field, ends, kept = GuardedField(problem.f, y0), [t[0].item()], []
    for step, _ in walk(field, y0, t, how):
        kept.append(polynomial(step, field, how))
        ends.append(step.t_next)
    path = Path(ends, kept, step.y_next)
    moments = torch.linspace(*problem.span, 57, dtype=torch.float64)
    found = torch.stack([path(moment) for moment in moments.tolist()])
    bound = 1e-3 if method == "heun" else 1e-6
    assert (found - problem.truth(moments)).abs().max() < bound
    assert torch.equal(path(ends[-1]), step.y_next)


def test_on_the_ring_it_is_right_where_the_way_back_is_lost():
    f = Ring(6).double()
    start = torch.tensor([2.0, 0.0], dtype=torch.float64)
    span = torch.tensor([0.0, 2 * math.pi], dtype=torch.float64)
    by = partial(gradients, f=f, y0=start, t=span)
    exact = by(odeint, rtol=1e-12, atol=1e-12)
    along, back = (
        relative_error(by(solver, rtol=1e-5, atol=1e-5), exact)
        for solver in (odeint_interpolated, odeint_adjoint)
    )
    assert along < 1e-3
    assert back > 1


def test_a_solution_at_rest_has_a_gradient_that_is_nearly_zero():
    # Backpropagation through steps at the edge of stability gives 1e21 here.
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    end = odeint_interpolated(
        lambda t, y: -50 * (y - 1),
        y0,
        [0.0, 10.0],
        rtol=1e-6,
        atol=1e-6,
        adjoint_params=(),
    )[-1]
    (gradient,) = torch.autograd.grad(end.sum(), y0)
    assert abs(gradient) < 1e-6  # e^-500


def test_it_keeps_less_than_backpropagation_and_more_than_the_way_back():
    kept = {
        solver: bytes_kept(solver, 200)
        for solver in (odeint, odeint_interpolated, odeint_adjoint)
    }
    assert kept[odeint_adjoint] < kept[odeint_interpolated] < kept[odeint] / 10


def test_what_is_kept_grows_with_the_steps_by_the_states_alone():
    state = 20 * 2 * 4  # bytes; a cubic has four coefficients
    per_step = (
        bytes_kept(odeint_interpolated, 200) - bytes_kept(odeint_interpolated, 100)
    ) / 100
    assert per_step == 4 * state


@all_methods
def test_a_parameter_f_does_not_use_gets_a_zero_gradient(method):
    f = LinearField(SPIRAL)
    f.idle = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    odeint_interpolated(
        f, cosines(2), [0.0, 1.0], **with_method(method)
    ).sum().backward()
    assert torch.equal(f.idle.grad, torch.zeros(3, dtype=torch.float64))
    assert f.A.grad.any()


def test_one_time_alone_gives_y0_and_its_gradient_back():
    found = sensitivities(
        odeint_interpolated,
        LinearField(SPIRAL),
        cosines(2),
        torch.zeros(1).double(),
        torch.ones(1, 2),
    )
    assert [x.flatten().tolist() for x in found] == [[1.0, 1.0], [0.0], [0.0] * 4]


def test_second_derivatives_are_refused():
    y0 = cosines(2).requires_grad_()
    end = odeint_interpolated(LinearField(SPIRAL), y0, [0.0, 1.0])[-1].sum()
    with pytest.raises(
        RuntimeError, match="odeint_interpolated gives first derivatives"
    ):
        torch.autograd.grad(end, y0, create_graph=True)


def test_where_f_jumps_the_gradient_is_exact():
    # y' = a y before t = 1, -y after it, y(0) = 1: y(2) = exp(a - 1).
    a = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)

    def f(t, y):
        return torch.where(t < 1, a * y, -y)

    how = dict(jumps=[1.0], rtol=1e-10, atol=1e-10, adjoint_params=(a,))
    end = odeint_interpolated(f, y0, [0.0, 2.0], **how)[-1]
    found = torch.autograd.grad(end.sum(), (y0, a))
    for gradient in found:
        assert gradient.item() == pytest.approx(math.exp(-0.5), rel=1e-8)

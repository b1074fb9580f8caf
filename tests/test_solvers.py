"""The solvers solve: orders of convergence, exact solutions, SciPy's and torchdiffeq's
answers, and honest counts.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchdiffeq
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import (
    ADAPTIVE,
    BY_NAME,
    EPS,
    PROBLEMS,
    Problem,
    adaptive_methods,
    all_methods,
    fixed_methods,
    with_method,
)
from scipy.integrate import RK23, RK45
from torch import Tensor

from course_lib.solvers import (
    METHODS,
    Settings,
    Step,
    adaptive_steps,
    interpolate,
    odeint,
    rk_step,
    solve,
)

GOMPERTZ = BY_NAME["Gompertz"]  # nonlinear and non-autonomous, with an exact solution
all_problems = pytest.mark.parametrize(
    "problem", PROBLEMS, ids=lambda problem: problem.name
)
both_directions = pytest.mark.parametrize(
    "backward", [False, True], ids=["forward", "backward"]
)


class Recorded:
    """A vector field that remembers the times at which it was called."""

    def __init__(self, f):
        self.f, self.calls = f, []

    def __call__(self, t, y):
        self.calls.append(t)
        return self.f(t, y)


def initial_value(
    problem: Problem, n: int, backward: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """y0, times and the true states there, with the start at either end of the span."""
    t = problem.times(n).flip(0) if backward else problem.times(n)
    truth = problem.truth(t)
    return truth[0], t, truth


def slope(x, y) -> float:
    return np.polyfit(np.log(x), np.log(y), 1)[0]


def largest_difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


# --- order ----------------------------------------------------------------------------


def walk(method: str, h: float) -> float:
    """The largest error along equal steps of `rk_step`."""
    t, y, error = GOMPERTZ.span[0], GOMPERTZ.start(), 0.0
    while t < GOMPERTZ.span[1]:
        y, _ = rk_step(GOMPERTZ.at, t, y, h, METHODS[method])
        t += h  # without rounding: h is a power of two
        error = max(
            error, largest_difference(y, GOMPERTZ.truth(torch.tensor([t]).double())[0])
        )
    return error


@all_methods
def test_the_error_of_equal_steps_falls_with_the_order_of_the_method(method):
    sizes = [1 / 32, 1 / 64, 1 / 128]
    assert slope(sizes, [walk(method, h) for h in sizes]) == pytest.approx(
        METHODS[method].order, abs=0.2
    )


@fixed_methods
def test_the_error_of_a_fixed_step_solve_falls_with_the_order_of_the_method(method):
    y0, t, truth = initial_value(GOMPERTZ, 9, backward=False)
    sizes = [1 / 32, 1 / 64, 1 / 128]
    errors = [
        largest_difference(odeint(GOMPERTZ.f, y0, t, method=method, step_size=h), truth)
        for h in sizes
    ]
    assert slope(sizes, errors) == pytest.approx(METHODS[method].order, abs=0.2)


@pytest.mark.parametrize(
    ("method", "order"), [("bosh3", 3), ("dopri5", 4), ("tsit5", 4)]
)
def test_the_error_of_dense_output_in_one_step_falls_with_its_order_plus_one(
    method, order
):
    t0, y0 = GOMPERTZ.span[0], GOMPERTZ.start()
    sizes, errors = [1 / 32, 1 / 64, 1 / 128], []
    for h in sizes:
        y1, stages = rk_step(GOMPERTZ.at, t0, y0, h, METHODS[method])
        t = torch.linspace(t0, t0 + h, 21, dtype=torch.float64)
        step = Step(t0, t0 + h, h, y0, y1, stages, 0, h)
        curve = interpolate(step, METHODS[method], t)
        errors.append(largest_difference(curve, GOMPERTZ.truth(t)))
    assert slope(sizes, errors) == pytest.approx(order + 1, abs=0.2)


@all_methods
@both_directions
def test_a_method_is_exact_where_the_solution_is_a_polynomial_of_its_degree(
    method, backward
):
    """At every requested time, which for dense output of order 4 allows degree 4 only."""
    degree = min(METHODS[method].order, 4)
    powers = torch.arange(1, degree + 1, dtype=torch.float64)
    t = torch.linspace(0, -2 if backward else 2, 11, dtype=torch.float64)
    solution = solve(
        lambda t, y: (powers * t ** (powers - 1)).sum().expand(1),
        torch.zeros(1).double(),
        t,
        **with_method(method),
    )
    exact = (t[:, None] ** powers).sum(1, keepdim=True)
    operations = 10 * (solution.accepted + 1) * METHODS[method].stages
    assert (
        largest_difference(solution.ys, exact) <= operations * EPS * exact.abs().max()
    )


def test_one_step_of_euler_follows_the_tangent():
    y, (k,) = rk_step(
        lambda t, y: t * y, 2.0, torch.tensor([3.0]), 0.5, METHODS["euler"]
    )
    assert k.item() == 6.0
    assert y.item() == 3.0 + 0.5 * 6.0


# --- the truth ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "problem", [p for p in PROBLEMS if p.exact], ids=lambda problem: problem.name
)
def test_the_exact_solution_of_the_problem_agrees_with_dop853(problem):
    numerical = Problem(problem.name, problem.f, problem.y0, problem.span)
    t = problem.times(50)
    bound = problem.error_bound(200, 1e-12, 1e-12)  # fewer than 200 such steps
    assert largest_difference(problem.truth(t), numerical.truth(t)) <= bound


@all_problems
@adaptive_methods
@both_directions
def test_an_adaptive_solve_stays_as_close_to_the_truth_as_its_tolerance_promises(
    problem, method, backward
):
    """Between steps too: most of the times asked for fall inside one."""
    y0, t, truth = initial_value(problem, 50, backward)
    solution = solve(problem.f, y0, t, method=method, rtol=1e-6, atol=1e-6)
    bound = problem.error_bound(solution.accepted, 1e-6, 1e-6, backward=backward)
    assert largest_difference(solution.ys, truth) <= bound


@adaptive_methods
@pytest.mark.parametrize("name", ["linear", "Gompertz", "Lorenz"])
def test_every_accepted_step_meets_the_tolerance(method, name):
    problem, tableau = BY_NAME[name], METHODS[method]
    t, t_end, y = *problem.span, problem.start()
    settings = Settings(method=method, rtol=1e-4, atol=1e-5, max_steps=100)
    steps = list(adaptive_steps(problem.at, t, y, t_end, settings))
    assert steps[-1].t_next == t_end
    for step in steps:
        assert step.t == t
        assert torch.equal(step.y, y)
        weights = torch.tensor(tableau.b_error, dtype=torch.float64)
        error = step.h * torch.tensordot(weights, torch.stack(step.stages), dims=1)
        allowed = 1e-5 + 1e-4 * torch.maximum(step.y.abs(), step.y_next.abs())
        assert (error / allowed).square().mean().sqrt() <= 1 + 100 * EPS
        t, y = step.t_next, step.y_next


@adaptive_methods
@pytest.mark.parametrize("name", ["linear", "Gompertz", "pendulum", "Lotka-Volterra"])
def test_the_error_is_proportional_to_the_tolerance(method, name):
    y0, t, truth = initial_value(BY_NAME[name], 20, backward=False)
    tolerances = [10.0**-k for k in range(4, 8)]
    errors = [
        largest_difference(
            odeint(BY_NAME[name].f, y0, t, method=method, rtol=r, atol=r), truth
        )
        for r in tolerances
    ]
    assert slope(tolerances, errors) == pytest.approx(1.0, abs=0.2)
    assert all(looser > tighter for looser, tighter in pairwise(errors))


@pytest.mark.parametrize(("method", "theirs"), [("bosh3", RK23), ("dopri5", RK45)])
@all_problems
def test_one_step_and_its_dense_output_equal_those_of_scipy(problem, method, theirs):
    t0, h, y0 = problem.span[0], 0.05, problem.start()
    forced = {"first_step": h, "rtol": 1.0, "atol": 1e6}  # accept it whatever its error
    reference = theirs(problem.flat_f, t0, y0.flatten().numpy(), t0 + 1, **forced)
    reference.step()
    y1, stages = rk_step(problem.at, t0, y0, h, METHODS[method])
    times = np.linspace(t0, t0 + h, 7)
    step = Step(t0, t0 + h, h, y0, y1, stages, 0, h)
    ours = interpolate(step, METHODS[method], times).reshape(7, -1).numpy()
    bound = problem.rounding_bound(100)
    assert reference.t == t0 + h
    assert np.abs(y1.flatten().numpy() - reference.y).max() <= bound
    assert np.abs(ours - reference.dense_output()(times).T).max() <= bound


@all_problems
@pytest.mark.parametrize(
    ("method", "backward", "tolerance"),
    [("bosh3", False, 1e-5), ("dopri5", False, 1e-6), ("dopri5", True, 1e-6)],
)
def test_an_adaptive_solve_agrees_with_torchdiffeq(
    problem, method, backward, tolerance
):
    y0, t, _ = initial_value(problem, 5, backward)
    options, counted = with_method(method, tolerance=tolerance), Recorded(problem.f)
    ours = solve(problem.f, y0, t, **options)
    theirs = torchdiffeq.odeint(counted, y0, t, **options)
    steps = ours.accepted + len(counted.calls) / (METHODS[method].stages - 1)
    bound = problem.error_bound(steps, tolerance, tolerance, backward=backward)
    assert largest_difference(ours.ys, theirs) <= bound


@all_problems
@pytest.mark.parametrize(
    ("method", "theirs"),
    [("euler", "euler"), ("midpoint", "midpoint"), ("heun", "heun2")],
)
@both_directions
def test_fixed_steps_equal_those_of_torchdiffeq(problem, method, theirs, backward):
    y0, t, _ = initial_value(problem, 41, backward)
    gap = abs(t[1] - t[0]).item()
    ours = odeint(problem.f, y0, t, method=method, step_size=1.01 * gap)
    # Without a step size the grid of torchdiffeq is t.
    reference = torchdiffeq.odeint(problem.f, y0, t, method=theirs)
    assert largest_difference(ours, reference) <= problem.rounding_bound(40 * 20)


# --- what is asked for, and what comes back -------------------------------------------


@adaptive_methods
def test_a_value_does_not_depend_on_the_other_times_requested(method):
    pendulum = BY_NAME["pendulum"]
    many = odeint(pendulum.f, pendulum.start(), pendulum.times(101), method=method)
    few = odeint(pendulum.f, pendulum.start(), pendulum.times(6), method=method)
    assert largest_difference(many[::20], few) <= 100 * EPS * pendulum.largest()


@adaptive_methods
def test_the_steps_do_not_depend_on_the_times_requested_in_between(method):
    pendulum = BY_NAME["pendulum"]
    many, few = (
        solve(pendulum.f, pendulum.start(), pendulum.times(n), method=method)
        for n in (101, 2)
    )
    assert torch.equal(many.step_sizes, few.step_sizes)
    assert many.nfe == few.nfe


@all_methods
@both_directions
def test_the_first_value_is_y0_and_the_steps_tile_the_span(method, backward):
    problem = BY_NAME["van der Pol"]
    y0, t, _ = initial_value(problem, 7, backward)
    solution = solve(problem.f, y0, t, **with_method(method))
    starts, sizes = solution.step_times, solution.step_sizes
    assert torch.equal(solution.ys[0], y0)
    assert solution.t is t
    assert len(starts) == len(sizes) == solution.accepted
    assert starts[0] == t[0]
    assert ((sizes < 0) if backward else (sizes > 0)).all()
    rounding = 4 * EPS * problem.span[1]
    assert torch.allclose(
        starts + sizes, torch.cat((starts[1:], t[-1:])), rtol=0, atol=rounding
    )
    assert abs(sizes.sum() - (t[-1] - t[0])) <= rounding * len(sizes)


@all_methods
@all_problems
def test_nfe_is_the_number_of_times_f_was_called(problem, method):
    f, tableau = Recorded(problem.f), METHODS[method]
    solution = solve(f, problem.start(), problem.times(4), **with_method(method))
    attempts = solution.accepted + solution.rejected
    assert solution.nfe == len(f.calls)
    # First same as last: an attempt costs one stage less; k₁ and the search for a first
    # step cost one each.
    if tableau.adaptive:
        assert solution.nfe == 2 + attempts * (tableau.stages - 1)
    else:
        assert solution.nfe == attempts * tableau.stages


@adaptive_methods
def test_a_sudden_change_makes_the_solver_reject_steps_and_shorten_them(method):
    solution = solve(
        lambda t, y: (50 * (t - 5)).tanh(),
        torch.tensor(5.0).double(),
        [0.0, 5.0, 10.0],
        method=method,
    )
    # y = 5 + (ln cosh 50(t - 5) - ln cosh 250) / 50, and cosh 250 is e²⁵⁰ / 2.
    lowest = math.log(2) / 50
    under_way = solution.step_times > 1  # past the first, cautious steps
    sizes = solution.step_sizes[under_way]
    bound = (solution.accepted + 2) * (1e-6 + 5 * 1e-5)
    assert solution.rejected > 0
    assert abs(solution.step_times[under_way][sizes.argmin()] - 5) < 0.2
    assert (solution.ys - torch.tensor([5, lowest, 5])).abs().max() <= bound


@fixed_methods
def test_the_last_step_before_a_requested_time_is_shortened(method):
    solution = solve(
        BY_NAME["decay"].f,
        torch.tensor(1.0),
        [0.0, 0.25, 0.55, 0.6],
        method=method,
        step_size=0.1,
    )
    expected = [0.1, 0.1, 0.05, 0.1, 0.1, 0.1, 0.05]  # 0.3 / 0.1 is three, not four
    assert solution.step_sizes.tolist() == pytest.approx(expected, rel=1e-12)


@all_methods
def test_f_is_called_only_between_the_first_and_the_last_time(method):
    """A field may be known on the interval only, for instance where it interpolates
    data.
    """
    f = Recorded(lambda t, y: torch.ones_like(y))
    solve(f, torch.tensor([1000.0]).double(), [1.0, 2.0], **with_method(method))
    assert all(1.0 <= t <= 2.0 + EPS for t in f.calls)


@all_methods
@pytest.mark.parametrize("state", [torch.float32, torch.float64], ids=["y32", "y64"])
@pytest.mark.parametrize("clock", [torch.float32, torch.float64], ids=["t32", "t64"])
@pytest.mark.parametrize("shape", [(), (2, 3), (0, 2)], ids=str)
@pytest.mark.parametrize("wanted", [False, True], ids=["t", "dt"])
def test_f_receives_a_scalar_time_and_a_state_of_the_dtype_of_y0(
    method, state, clock, shape, wanted
):
    """Also where the gradient with respect to t is wanted, and for a batch of nobody."""
    seen = set()

    def f(t, y):
        seen.add((t.dtype, t.shape, y.dtype, y.shape))
        return t - y

    t = torch.linspace(0, 1, 4, dtype=clock, requires_grad=wanted)
    y0 = torch.ones(shape, dtype=state)
    solution = solve(f, y0, t, **with_method(method, tolerance=1e-3))
    assert seen == {(state, torch.Size(), state, y0.shape)}
    assert solution.ys.dtype == state
    assert solution.ys.shape == (4, *shape)


@all_methods
@pytest.mark.parametrize("clock", [torch.float32, torch.float64], ids=["t32", "t64"])
def test_wanting_the_gradient_of_t_does_not_change_the_answer(method, clock):
    pendulum, t = BY_NAME["pendulum"], BY_NAME["pendulum"].times().to(clock)
    plain = solve(pendulum.f, pendulum.start(), t, **with_method(method))
    tracked = solve(
        pendulum.f, pendulum.start(), t.clone().requires_grad_(), **with_method(method)
    )
    assert largest_difference(plain.ys, tracked.ys) <= pendulum.rounding_bound(
        20 * plain.nfe
    )


@all_methods
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_answer_is_as_accurate_as_the_dtype_and_the_method_allow(method, dtype):
    linear, reference = BY_NAME["linear"], BY_NAME["linear"].start()
    options = with_method(method, step_size=0.01, tolerance=1e-4)
    low = solve(linear.f, linear.start(dtype), linear.times(), **options)
    high = odeint(linear.f, reference, linear.times(), **options)
    operations = 20 * METHODS[method].stages * low.accepted
    rounding = linear.rounding_bound(operations, torch.finfo(dtype).eps)
    # Rounding can change the steps that an adaptive method takes, hence its error
    # within the tolerance.
    choice = linear.error_bound(low.accepted, 1e-4, 1e-4) if method in ADAPTIVE else 0.0
    assert low.ys.dtype == dtype
    assert largest_difference(low.ys.double(), high) <= rounding + choice


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@all_methods
@pytest.mark.parametrize("clock", ["cpu", "cuda"])
def test_a_solve_on_the_gpu_equals_the_one_on_the_cpu(method, clock):
    linear, options = BY_NAME["linear"], with_method(method)
    field = linear.f
    on_gpu = solve(
        lambda t, y: field(t, y.cpu()).cuda(),
        linear.start().cuda(),
        linear.times().to(clock),
        **options,
    )
    on_cpu = solve(field, linear.start(), linear.times(), **options)
    assert on_gpu.ys.device.type == "cuda"
    assert largest_difference(on_gpu.ys.cpu(), on_cpu.ys) <= linear.rounding_bound(
        20 * on_cpu.nfe
    )


@all_methods
def test_one_time_alone_gives_y0_back_without_calling_f(method):
    y0 = torch.tensor([1.0, 2.0])
    untouched = Recorded(None)
    solution = solve(untouched, y0, [3.0], **with_method(method))
    assert torch.equal(solution.ys, y0[None])
    assert (solution.nfe, solution.accepted, solution.rejected) == (0, 0, 0)
    assert len(solution.step_times) == len(solution.step_sizes) == 0


@pytest.mark.parametrize(
    "t",
    [[0, 0.5, 1], (0.0, 0.5, 1.0), np.array([0.0, 0.5, 1.0]), range(3)],
    ids=lambda t: type(t).__name__,
)
def test_the_times_may_be_any_sequence_of_numbers(t):
    as_tensor = torch.tensor([float(moment) for moment in t], dtype=torch.float64)
    expected = odeint(GOMPERTZ.f, GOMPERTZ.start(), as_tensor)
    assert torch.equal(odeint(GOMPERTZ.f, GOMPERTZ.start(), t), expected)


def test_odeint_gives_the_values_of_solve():
    options = {"method": "tsit5", "rtol": 1e-4, "atol": 1e-4}
    ys = odeint(GOMPERTZ.f, GOMPERTZ.start(), GOMPERTZ.times(), **options)
    assert torch.equal(
        ys, solve(GOMPERTZ.f, GOMPERTZ.start(), GOMPERTZ.times(), **options).ys
    )


@all_methods
def test_a_solve_leaves_its_arguments_as_they_were(method):
    y0, t = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])
    solve(BY_NAME["oscillator"].f, y0, t, **with_method(method))
    assert y0.tolist() == [1.0, 2.0]
    assert t.tolist() == [0.0, 1.0]


@all_methods
def test_a_field_that_stands_still_keeps_the_state(method):
    y0 = torch.tensor([1.0, -2.0])
    assert torch.equal(
        odeint(lambda t, y: 0 * y, y0, [0.0, 5.0, 10.0], **with_method(method)),
        y0.expand(3, 2),
    )


# --- properties -----------------------------------------------------------------------

# The same examples every time.
drawn_alike = settings(deadline=None, max_examples=20, derandomize=True)
coefficient = st.floats(-1, 1, width=32)
matrices = st.lists(coefficient, min_size=4, max_size=4).map(
    lambda x: torch.tensor(x).double().reshape(2, 2)
)
states = st.lists(coefficient, min_size=2, max_size=2).map(
    lambda x: torch.tensor(x).double()
)
durations = st.floats(0.125, 2, width=32)
TOLERANCE = 1e-5


def drift(A: Tensor, *solutions) -> float:
    """A bound on the error at the end of solves of y' = Ay, one after another or side
    by side.

    Every step errs by at most sqrt(2) (atol + rtol max|y|) (see `Problem.error_bound`),
    and the flow of A over the whole stretch magnifies it by at most exp(‖A‖ times the
    length).
    """
    length = sum(abs(s.t[-1] - s.t[0]).item() for s in solutions)
    steps = sum((s.accepted + 2) * (1 + s.ys.abs().max().item()) for s in solutions)
    stretch = math.exp(torch.linalg.matrix_norm(A, 2).item() * length)
    return stretch * steps * math.sqrt(2) * TOLERANCE


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
@drawn_alike
@given(A=matrices, u=states, v=states, a=coefficient, b=coefficient)
def test_the_solution_of_a_linear_system_is_linear_in_y0(method, A, u, v, a, b):
    options = with_method(method, tolerance=TOLERANCE)
    mixed, first, second = (
        solve(lambda t, y: A @ y, y0, [0.0, 1.0], **options)
        for y0 in (a * u + b * v, u, v)
    )
    gap = largest_difference(mixed.ys[-1], a * first.ys[-1] + b * second.ys[-1])
    if method in ADAPTIVE:
        assert gap <= drift(A, mixed, first, second)
    else:
        # Ten steps of a linear map, ‖A‖ ≤ 2, differ by rounding only.
        assert gap <= 20 * mixed.nfe * EPS * math.exp(2)


@pytest.mark.parametrize("method", ["bosh3", "tsit5"])
@drawn_alike
@given(A=matrices, y0=states, T=durations)
def test_solving_there_and_back_returns_to_y0(method, A, y0, T):
    options = with_method(method, tolerance=TOLERANCE)
    there = solve(lambda t, y: A @ y, y0, [0.0, T], **options)
    back = solve(lambda t, y: A @ y, there.ys[-1], [T, 0.0], **options)
    assert largest_difference(back.ys[-1], y0) <= drift(A, there, back)


@pytest.mark.parametrize("method", ["bosh3", "tsit5"])
@drawn_alike
@given(A=matrices, y0=states, T=durations, shift=st.floats(-100, 100, width=32))
def test_an_autonomous_system_does_not_care_what_the_clock_says(
    method, A, y0, T, shift
):
    options = with_method(method, tolerance=TOLERANCE)
    now = solve(lambda t, y: A @ y, y0, [0.0, T], **options)
    later = solve(lambda t, y: A @ y, y0, [shift, shift + T], **options)
    assert largest_difference(now.ys[-1], later.ys[-1]) <= drift(A, now, later)


@pytest.mark.parametrize("method", ["bosh3", "tsit5"])
@drawn_alike
@given(A=matrices, y0=states, T=durations, share=st.floats(0.125, 0.875, width=32))
def test_stopping_on_the_way_changes_nothing(method, A, y0, T, share):
    options = with_method(method, tolerance=TOLERANCE)
    whole = solve(lambda t, y: A @ y, y0, [0.0, T], **options)
    first = solve(lambda t, y: A @ y, y0, [0.0, share * T], **options)
    second = solve(lambda t, y: A @ y, first.ys[-1], [share * T, T], **options)
    assert largest_difference(whole.ys[-1], second.ys[-1]) <= drift(
        A, whole, first, second
    )


@pytest.mark.parametrize("method", ["midpoint", "rk4"])
@drawn_alike
@given(
    batch=st.lists(coefficient, min_size=1, max_size=20).flatmap(
        lambda x: st.tuples(st.just(x), st.permutations(range(len(x))))
    )
)
def test_permuting_the_batch_permutes_the_answer(method, batch):
    y0, order = torch.tensor(batch[0]).double(), list(batch[1])
    options, f = with_method(method, step_size=0.25), BY_NAME["logistic"].f
    first, permuted = (odeint(f, y, [0.0, 1.0], **options) for y in (y0, y0[order]))
    assert torch.equal(first[:, order], permuted)

"""What makes no sense is refused by name, and a solve that cannot go on says so: never
a wrong answer quietly.

Every case is tried on `odeint` and on `odeint_adjoint`.
"""

from __future__ import annotations

import math
from itertools import count

import numpy as np
import pytest
import torch
from problems import (
    ADAPTIVE,
    FIXED,
    adaptive_methods,
    all_methods,
    fixed_methods,
    with_method,
)
from scipy.integrate import solve_ivp
from test_forward_pass import SECOND_WAYS

from course_lib.models import Autonomous, Iteration, NeuralODE, digit_model, laplacian
from course_lib.shooting import blended
from course_lib.solvers import (
    METHODS,
    BrownianPath,
    SolverError,
    odeint,
    odeint_adjoint,
    solve,
    solve_sde,
)


def adjoint_without_parameters(f, y0, t, **settings):
    return odeint_adjoint(f, y0, t, adjoint_params=(), **settings)


both_solvers = pytest.mark.parametrize(
    "solver", [odeint, adjoint_without_parameters], ids=["odeint", "odeint_adjoint"]
)
Y0, SPAN = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])


def refusal(
    kind: type[Exception], solver, f=lambda t, y: -y, y0=Y0, t=SPAN, **settings
) -> str:
    """The message of the error of exactly that kind."""
    with pytest.raises(kind) as error:
        solver(f, y0, t, **settings)
    assert error.type is kind
    return str(error.value)


# --- arguments ------------------------------------------------------------------------


NOT_TIMES = {
    "2-D": (torch.zeros(2, 2), ValueError, "t must be 1-D", "(2, 2)"),
    "0-D": (torch.tensor(1.0), ValueError, "t must be 1-D", "()"),
    "empty": (torch.zeros(0), ValueError, "with at least one time", "(0,)"),
    "empty list": ([], ValueError, "t must be 1-D with at least one time"),
    "repeated": ([0.0, 1.0, 1.0], ValueError, "strictly", "[0, 1, 1]", "unique"),
    "zigzag": ([0.0, 2.0, 1.0], ValueError, "strictly", "[0, 2, 1]", "sort"),
    "repeated backward": ([2.0, 1.0, 1.0], ValueError, "decreasing", "[2, 1, 1]"),
    "NaN": ([0.0, math.nan], ValueError, "t must be finite", "nan"),
    "NaN alone": ([math.nan], ValueError, "t must be finite", "nan"),
    "infinite": ([0.0, math.inf], ValueError, "t must be finite", "inf"),
    "integer": (torch.tensor([0, 1]), TypeError, "t must be floating", "t.double()"),
    "nested list": ([[0.0, 1.0]], TypeError, "t must be a 1-D", "[[0.0, 1.0]]"),
    "number": (1.0, TypeError, "t must be a 1-D", "1.0"),
    "None": (None, TypeError, "t must be a 1-D", "None"),
    "words": (["now", "then"], TypeError, "t must be a 1-D", "now"),
}
NOT_STARTS = {
    "integer": (torch.tensor([1, 2]), TypeError, "floating point, got torch.int64"),
    "complex": (torch.tensor([1j]), TypeError, "got torch.complex64", "view_as_real"),
    "list": ([1.0, 2.0], TypeError, "must be a Tensor, got list", "torch.tensor(y0)"),
    "number": (1.0, TypeError, "must be a Tensor, got float"),
    "NaN": (torch.tensor([1.0, math.nan]), ValueError, "holds NaN or infinity"),
    "infinite": (torch.tensor([-math.inf]), ValueError, "holds NaN or infinity"),
}


@both_solvers
@pytest.mark.parametrize("case", NOT_TIMES.values(), ids=NOT_TIMES)
def test_times_that_make_no_sense_are_refused(solver, case):
    t, kind, *words = case
    message = refusal(kind, solver, t=t)
    assert message.startswith("t must be ")
    assert all(word in message for word in words), message


@both_solvers
@pytest.mark.parametrize("case", NOT_STARTS.values(), ids=NOT_STARTS)
def test_a_start_that_makes_no_sense_is_refused(solver, case):
    y0, kind, *words = case
    message = refusal(kind, solver, y0=y0)
    assert message.startswith("y0 ")
    assert all(word in message for word in words), message


@both_solvers
def test_swapped_arguments_are_recognised(solver):
    message = refusal(TypeError, solver, f=Y0, y0=lambda t, y: -y)
    assert (
        "f must be callable as f(t, y), got Tensor; the order is solve(f, y0, t)"
        in message
    )


@both_solvers
@pytest.mark.parametrize(
    "method",
    ["dopri", "RK4", "", None, METHODS["rk4"]],
    ids=["dopri", "RK4", "''", "None", "table"],
)
def test_an_unknown_method_is_answered_with_the_known_ones(solver, method):
    message = refusal(ValueError, solver, method=method)
    assert message.startswith(f"method={method!r} is not known; choose from ")
    assert all(name in message for name in METHODS)


CHOICES = {
    "iteration": lambda x: Iteration(method=x),
    "model": digit_model,
    "noise": lambda x: solve_sde(
        torch.sin, torch.cos, Y0, SPAN, path=BrownianPath((2,)), step_size=0.1, method=x
    ),
    "normalisation": lambda x: laplacian(torch.ones(2, 2), kind=x),
    "shooting": lambda x: blended(torch.sin, SPAN, Y0, 0.5, method=x),
}


@pytest.mark.parametrize("value", ["dopri", None, ["rk4"]], ids=str)
@pytest.mark.parametrize("choose", CHOICES.values(), ids=CHOICES)
def test_a_name_that_is_no_choice_is_answered_with_the_choices(choose, value):
    with pytest.raises(ValueError, match=r"is not known; choose from [a-z]") as error:
        choose(value)
    assert f"={value!r} is not known" in str(error.value)


@both_solvers
@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("value", [0.0, -1e-3, math.nan, math.inf])
def test_a_tolerance_that_is_not_positive_is_refused(solver, name, value):
    assert f"{name} must be positive and finite, got {value!r}" in refusal(
        ValueError, solver, **{name: value}
    )


@both_solvers
@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("value", ["tight", None, [1e-3, 1e-4]], ids=str)
def test_a_tolerance_that_is_not_a_number_is_refused(solver, name, value):
    assert f"{name} must be a positive number, got {value!r}" in refusal(
        TypeError, solver, **{name: value}
    )


@both_solvers
@fixed_methods
def test_a_fixed_step_method_asks_for_its_step_size(solver, method):
    assert f"method={method!r} needs step_size" in refusal(
        ValueError, solver, method=method
    )


@both_solvers
@fixed_methods
@pytest.mark.parametrize("value", [0.0, -0.1, math.nan, math.inf])
def test_a_step_size_that_is_not_positive_is_refused(solver, method, value):
    message = refusal(ValueError, solver, method=method, step_size=value)
    assert f"step_size must be positive and finite, got {value!r}" in message
    assert "method='dopri5'" in message


@both_solvers
def test_a_step_size_that_is_not_a_number_is_refused(solver):
    message = refusal(TypeError, solver, method="rk4", step_size="small")
    assert "step_size must be a positive number, got 'small'" in message


@both_solvers
@adaptive_methods
def test_an_adaptive_method_refuses_a_step_size_and_names_the_methods_that_take_one(
    solver, method
):
    message = refusal(ValueError, solver, method=method, step_size=0.1)
    assert f"step_size=0.1 does not go with method={method!r}" in message
    assert all(name in message for name in FIXED)


@both_solvers
@pytest.mark.parametrize("value", [0, -1, 1.5, "many", None])
def test_max_steps_must_be_a_positive_whole_number(solver, value):
    assert f"max_steps must be a positive whole number, got {value!r}" in refusal(
        ValueError, solver, max_steps=value
    )


@pytest.mark.parametrize("name", ["adjoint_rtol", "adjoint_atol"])
@pytest.mark.parametrize("value", [0.0, -1e-3, math.nan, math.inf])
def test_a_tolerance_of_the_backward_solve_that_is_not_positive_is_refused(name, value):
    message = refusal(ValueError, adjoint_without_parameters, **{name: value})
    assert f"{name} must be positive and finite, got {value!r}" in message


# --- what f returns -------------------------------------------------------------------


NOT_DERIVATIVES = {
    "None": (lambda y: None, TypeError, "a Tensor dy/dt of shape (2,), got NoneType"),
    "number": (lambda y: 1.0, TypeError, "got float"),
    "tuple": (lambda y: (y, y), TypeError, "got tuple"),
    "shape": (lambda y: y[:1], ValueError, "expected (2,)", "got (1,)"),
    "scalar": (lambda y: y.sum(), ValueError, "expected (2,)", "got ()"),
    "dtype": (lambda y: y.double(), ValueError, "got (2,), torch.float64"),
    "device": (lambda y: y.to("meta"), ValueError, "cpu", "torch.float32, meta"),
}


@both_solvers
@all_methods
@pytest.mark.parametrize("case", NOT_DERIVATIVES.values(), ids=NOT_DERIVATIVES)
def test_f_must_return_what_looks_like_y(solver, method, case):
    wrong, kind, *words = case
    message = refusal(kind, solver, f=lambda t, y: wrong(y), **with_method(method))
    assert message.startswith("f must return ")
    assert all(word in message for word in words), message


@both_solvers
@all_methods
def test_an_error_inside_f_is_not_disguised(solver, method):
    assert refusal(
        ZeroDivisionError, solver, f=lambda t, y: y / (1 // 0), **with_method(method)
    )


# --- solves that cannot go on ---------------------------------------------------------


def spoilt_after(moment: float, value: float):
    """y' = -y until `moment`, then NaN or infinity."""
    return lambda t, y: torch.where(t > moment, value, -y)


@both_solvers
@all_methods
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    "moment", [-1.0, 0.0, 0.5], ids=["at the start", "at once", "later"]
)
def test_nan_or_infinity_from_f_stops_the_solve_and_says_where(
    solver, method, value, moment
):
    f, options = spoilt_after(moment, value), with_method(method, tolerance=1e-3)
    message = refusal(SolverError, solver, f=f, **options)
    assert message.startswith("f returned NaN or infinity")
    assert f"({method})" in message
    assert "look at f there" in message
    where = float(message.split("t=")[1].split()[0])
    # A step of 0.1 may start where the last stage of the one before went wrong.
    assert where <= max(moment, 0.0) + 0.1


@both_solvers
@all_methods
def test_a_solution_that_blows_up_in_finite_time_is_not_continued(solver, method):
    """y' = y² from 1 is 1/(1 - t): there is no solution at t = 3."""
    case = {"f": lambda t, y: y**2, "y0": torch.ones(1).double(), "t": [0.0, 3.0]}
    options = with_method(method, tolerance=1e-4)
    message = refusal(SolverError, solver, **case, **options)
    where = float(message.split("t=")[1].split()[0].rstrip(":;"))
    assert method in message
    # An error of 1e-4 |y| moves the blow-up by 1e-4 / y, and y grows: less than 1e-2.
    assert where == pytest.approx(1.0, abs=1e-2) if method in ADAPTIVE else where >= 1.0


@both_solvers
@all_methods
def test_a_solution_that_leaves_the_range_of_its_dtype_is_not_called_infinite(
    solver, method
):
    """A straight line has no error for the step control to see, yet ends beyond the
    largest float32, 3.4e38.
    """
    case = {"f": lambda t, y: torch.full_like(y, 1e36), "y0": torch.tensor([1e37])}
    options = with_method(method, step_size=10.0) | {"max_steps": 200}
    message = refusal(SolverError, solver, t=[0.0, 1000.0], **case, **options)
    assert method in message


@both_solvers
@all_methods
def test_a_field_too_steep_for_its_dtype_is_not_solved(solver, method):
    options = with_method(method) | {"max_steps": 200}
    message = refusal(SolverError, solver, f=lambda t, y: y * 1e38, **options)
    assert method in message


@both_solvers
@adaptive_methods
def test_a_singular_field_ends_in_step_underflow(solver, method):
    """y' = 1/(1 - t) has no integral across t = 1."""
    case = {"f": lambda t, y: (1 / (1 - t)).expand(1), "y0": torch.zeros(1).double()}
    message = refusal(SolverError, solver, t=[0.0, 2.0], method=method, **case)
    assert message.startswith("step underflow at t=1")
    assert f"{method} would need h=" in message
    assert "looser rtol and atol" in message


@both_solvers
@adaptive_methods
def test_an_adaptive_solve_stops_after_max_steps(solver, method):
    message = refusal(SolverError, solver, t=[0.0, 100.0], method=method, max_steps=5)
    assert "max_steps=5 were not enough" in message
    assert f"{method} had reached t=" in message
    assert "of 100" in message


@both_solvers
@fixed_methods
@pytest.mark.parametrize("step_size", [0.1, 1e-310], ids=["0.1", "1e-310"])
def test_a_fixed_step_solve_says_at_once_that_max_steps_will_not_do(
    solver, method, step_size
):
    calls = count()
    message = refusal(
        SolverError,
        solver,
        f=lambda t, y: y * next(calls),
        method=method,
        step_size=step_size,
        max_steps=9,
    )
    assert f"steps of step_size={step_size} are needed between t=0 and t=1" in message
    assert "max_steps allows only 9" in message
    assert next(calls) == 0


@all_methods
def test_max_steps_may_be_just_enough(method):
    settings = with_method(method)
    needed = solve(lambda t, y: -y, Y0, [0.0, 0.3, 1.0], **settings)
    attempts = needed.accepted + needed.rejected
    assert torch.equal(
        odeint(lambda t, y: -y, Y0, [0.0, 0.3, 1.0], max_steps=attempts, **settings),
        needed.ys,
    )
    refusal(SolverError, odeint, t=[0.0, 0.3, 1.0], max_steps=attempts - 1, **settings)


@both_solvers
def test_a_field_that_writes_over_its_earlier_result_is_refused(solver):
    result = torch.empty(2)

    def f(t, y):
        return torch.neg(y, out=result)

    message = refusal(ValueError, solver, f=f, y0=torch.ones(2))
    assert "f wrote over the tensor that it returned the time before" in message


@both_solvers
def test_a_field_that_changes_the_state_in_place_is_refused(solver):
    message = refusal(ValueError, solver, f=lambda t, y: y.neg_(), y0=torch.ones(2))
    assert "f changed y in place" in message


def test_a_field_may_return_the_state_itself_or_one_tensor_for_ever():
    y0, constant = torch.ones(2), torch.tensor([1.0, 2.0])
    growth = odeint(lambda t, y: y, y0, [0.0, 1.0])[-1]
    torch.testing.assert_close(growth, math.e * y0, rtol=1e-4, atol=0)
    line = odeint(lambda t, y: constant, y0, [0.0, 1.0])[-1]
    torch.testing.assert_close(line, y0 + constant)
    assert torch.equal(y0, torch.ones(2))


def test_the_result_for_one_time_has_its_own_memory():
    y0 = torch.ones(2)
    odeint(lambda t, y: -y, y0, [0.0]).zero_()
    assert torch.equal(y0, torch.ones(2))


@both_solvers
@pytest.mark.parametrize("name", ["rtol", "atol"])
def test_a_tolerance_given_as_text_is_refused(solver, name):
    message = refusal(TypeError, solver, **{name: "1e-3"})
    assert f"{name} must be a positive number, got '1e-3'" in message


def test_numbers_of_numpy_and_tensors_of_one_number_are_taken():
    def end(rtol, max_steps):
        settings = dict(rtol=rtol, max_steps=max_steps)
        return odeint(lambda t, y: -y, torch.ones(2), [0.0, 1.0], **settings)[-1]

    plain = end(1e-3, 100)
    assert torch.equal(end(np.float32(1e-3), np.int64(100)), plain)
    assert torch.equal(end(torch.tensor(1e-3), 100), plain)


def test_the_advice_for_complex_states_solves_them():
    y0 = torch.tensor([1 + 1j, 2.0], dtype=torch.complex128)

    def f(t, y):
        return torch.view_as_real(1j * torch.view_as_complex(y))

    ys = odeint(f, torch.view_as_real(y0), [0.0, 1.0], rtol=1e-9, atol=1e-9)
    turned = y0 * torch.exp(torch.tensor(1j))
    torch.testing.assert_close(torch.view_as_complex(ys[-1]), turned)


def test_the_advice_for_several_states_solves_them():
    y0 = (torch.ones(2, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    assert "torch.cat([part.flatten() for part in y0])" in refusal(
        TypeError, solve, y0=y0
    )

    def f(t, y):
        a, b = y.split([2, 3])
        return torch.cat((-a, -2 * b))

    end = odeint(f, torch.cat([part.flatten() for part in y0]), [0.0, 1.0])[-1]
    expected = torch.tensor([-1.0, -1.0, -2.0, -2.0, -2.0], dtype=torch.float64).exp()
    torch.testing.assert_close(end, expected, rtol=1e-4, atol=0)


def test_a_field_may_differentiate_whatever_the_method():
    y0 = torch.tensor([1.0, 0.5], requires_grad=True)

    def hamiltonian(t, y):
        energy = 0.65 * y[0] ** 2 + 0.5 * y[1] ** 2
        (slope,) = torch.autograd.grad(energy, y, create_graph=True)
        return torch.stack((slope[1], -slope[0]))

    fixed = odeint(hamiltonian, y0, [0.0, 1.0], method="rk4", step_size=0.05)
    adaptive = odeint(hamiltonian, y0, [0.0, 1.0])
    torch.testing.assert_close(adaptive, fixed, rtol=1e-4, atol=1e-5)


def test_a_time_among_numbers_keeps_its_gradient():
    T = torch.tensor(1.0, requires_grad=True)
    odeint(lambda t, y: -y, torch.ones(1), [0.0, T])[-1].sum().backward()
    assert T.grad.item() == pytest.approx(-math.exp(-1), rel=1e-4)


@both_solvers
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_state_of_few_digits_is_refused(solver, dtype):
    message = refusal(TypeError, solver, y0=torch.ones(2, dtype=dtype))
    assert f"y0 is {dtype}" in message
    assert "use y0.float()" in message


def test_a_clock_too_coarse_for_the_steps_is_said():
    start = 1e6
    with pytest.warns(UserWarning, match="t in torch.float32, too coarse for steps"):
        odeint(lambda t, y: t.cos() * y, torch.ones(1), [start, start + 1])
    odeint(lambda t, y: t.cos() * y, torch.ones(1).double(), [start, start + 1])


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_field_that_turns_nan_is_given_up_soon_wherever_it_is(start):
    calls = count()

    def f(t, y):
        next(calls)
        return y / (t == start)

    with pytest.raises(SolverError, match="f returned NaN or infinity"):
        odeint(f, torch.ones(1).double(), [start, start + 1])
    assert next(calls) <= 150


def test_a_field_without_time_is_told_how_to_take_it():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    for f in (net, lambda y: -y):
        message = refusal(TypeError, odeint, f=f)
        assert "takes one argument: use lambda t, y: f(y)" in message
    y0 = torch.ones(3, 2)
    with pytest.raises(TypeError, match=r"course_lib\.models\.Autonomous"):
        NeuralODE(net)(y0)
    by_advice = NeuralODE(Autonomous(net))(y0)
    assert torch.equal(by_advice, odeint(lambda t, y: net(y), y0, [0.0, 1.0])[-1])


def test_a_type_error_inside_f_stays_what_it_is():
    with pytest.raises(TypeError, match="unsupported operand"):
        odeint(lambda t, y: y + "1", torch.ones(2), [0.0, 1.0])


def test_a_start_near_zero_is_no_reason_to_doubt_the_clock():
    """The first guess of a step goes with the size of y, which float32 may know and t
    may not.
    """
    for y0 in (1e-8, 3e-5):
        end = odeint(lambda t, y: torch.ones_like(y), torch.tensor([y0]), [1.0, 2.0])[
            -1
        ]
        assert end.item() == pytest.approx(1.0, abs=1e-4)


@all_methods
@pytest.mark.parametrize("solver", [solve, odeint, *SECOND_WAYS.values()])
@pytest.mark.parametrize("t", [[4.0, 4.0], [4.0] * 3], ids=str)
def test_an_interval_of_no_length_gives_y0_and_its_gradient_back(method, solver, t):
    known = {} if solver in (solve, odeint) else {"adjoint_params": ()}
    y0 = torch.tensor([1.0, 2.0], requires_grad=True)
    found = solver(
        lambda t, y: pytest.fail("f was asked"), y0, t, **known, **with_method(method)
    )
    ys = found.ys if solver is solve else found
    assert torch.equal(ys, y0.expand(len(t), 2))
    ys.cumsum(0).sum().backward()
    assert y0.grad.tolist() == [len(t) * (len(t) + 1) / 2] * 2


def test_an_interval_of_no_length_is_what_scipy_takes():
    ours = odeint(lambda t, y: -y, Y0, [4.0, 4.0])
    theirs = solve_ivp(lambda t, y: -y, (4.0, 4.0), Y0.numpy())
    assert theirs.success
    assert np.array_equal(ours[-1].numpy(), theirs.y[:, -1])


@both_solvers
def test_in_an_interval_of_no_length_times_get_no_gradient(solver):
    t = torch.tensor([4.0, 4.0], requires_grad=True)
    message = refusal(ValueError, solver, t=t)
    assert "t is [4, 4], an interval of no length" in message
    assert "t.detach()" in message


@both_solvers
@fixed_methods
@pytest.mark.parametrize("length", [1.0, 4.0, 100.0])
def test_fixed_steps_that_the_clock_cannot_tell_apart_are_refused(
    solver, method, length
):
    """Around 1e15 the numbers are an eighth apart."""
    case = {"y0": Y0.double(), "t": [1e15, 1e15 + length], "method": method}
    message = refusal(SolverError, solver, step_size=0.1, **case)
    assert "step_size=0.1 is too small for t=1e+15" in message
    assert "the next number is 0.125 away; count time from another origin" in message
    # One step is a step, however short.
    assert solver(lambda t, y: -y, step_size=200.0, **case).isfinite().all()


@pytest.mark.parametrize("solver", SECOND_WAYS.values(), ids=list(SECOND_WAYS))
def test_in_an_interval_of_no_length_parameters_have_a_gradient_of_zero(solver):
    f = Autonomous(torch.nn.Linear(2, 2))
    solver(f, torch.ones(2), [4.0, 4.0]).sum().backward()
    assert [p.grad.abs().sum().item() for p in f.parameters()] == [0.0, 0.0]


def test_in_inference_mode_too_f_must_leave_the_state_and_its_result_alone():
    buffer = torch.empty(2)
    cases = {
        "f changed y in place": lambda t, y: y.neg_(),
        "f wrote over the tensor": lambda t, y: torch.neg(y, out=buffer),
    }
    for words, f in cases.items():
        with torch.inference_mode(), pytest.raises(ValueError, match=words):
            odeint(f, torch.ones(2), SPAN)
    with torch.inference_mode():
        fine = odeint(lambda t, y: -y, torch.ones(2), SPAN)[-1]
    torch.testing.assert_close(fine, torch.full((2,), math.exp(-1)))

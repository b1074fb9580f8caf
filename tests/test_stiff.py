"""Stiff problems are solved: known answers, SciPy's answers and its counts, gradients,
and honest refusals.
"""

from __future__ import annotations

import math
from itertools import count

import pytest
import torch
from problems import (
    EPS,
    PROBLEMS,
    STIFF,
    STIFF_BY_NAME,
    StiffProblem,
    layer,
    on_last,
)
from scipy.integrate import solve_ivp
from torch import Tensor

from course_lib.solvers import (
    METHODS,
    RODAS5P,
    STIFF_METHODS,
    Settings,
    SolverError,
    odeint,
    odeint_adjoint,
    odeint_checkpointed,
    odeint_interpolated,
    solve,
)

VAN_DER_POL, HIRES = STIFF_BY_NAME["van der Pol, 1000"], STIFF_BY_NAME["HIRES"]
PULLED = STIFF_BY_NAME["Prothero-Robinson"]
all_stiff = pytest.mark.parametrize("problem", STIFF, ids=lambda problem: problem.name)
both_tolerances = pytest.mark.parametrize("rtol", [1e-4, 1e-6])
both_directions = pytest.mark.parametrize(
    "backward", [False, True], ids=["forward", "backward"]
)


def stiff_solve(problem: StiffProblem, rtol: float, t=None, **settings):
    tolerances = problem.tolerances(rtol) | settings
    t = problem.span if t is None else t
    return solve(problem.f, problem.start(), t, method="rodas5p", **tolerances)


def largest_difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


# --- known answers, and those of SciPy ------------------------------------------------


@all_stiff
@both_tolerances
def test_a_stiff_solve_ends_within_its_tolerance(problem, rtol):
    assert problem.missed(stiff_solve(problem, rtol).ys[-1], rtol) <= 1.0


@pytest.mark.parametrize(
    "problem", [p for p in STIFF if p.exact], ids=lambda problem: problem.name
)
@both_tolerances
def test_between_its_steps_a_stiff_solve_is_as_good(problem, rtol):
    t = problem.times(200)
    truth = problem.exact(t)
    allowed = rtol * (problem.small + truth.abs())
    missed = (stiff_solve(problem, rtol, t).ys - truth) / allowed
    assert missed.square().mean(1).sqrt().max() <= 1.0


@pytest.mark.parametrize(("theirs", "gap"), [("Radau", 2.0), ("BDF", 50.0)])
@all_stiff
@both_tolerances
def test_a_stiff_solve_agrees_with_scipy(problem, rtol, theirs, gap):
    """As far as theirs is right: BDF's errors add up to some tens of tolerances."""
    ours = stiff_solve(problem, rtol).ys[-1]
    reference, _ = problem.by_scipy(theirs, rtol)
    allowed = rtol * (problem.small + reference.abs())
    assert ((ours - reference) / allowed).square().mean().sqrt() <= gap


@pytest.mark.parametrize(
    ("rtol", "atol"), [(1e-3, 1e-6), (1e-5, 1e-6), (1e-6, 1e-6), (1e-7, 1e-9)]
)
def test_van_der_pol_at_1000_takes_no_more_evaluations_than_radau(rtol, atol):
    """Ours are those of f, one of which gives the Jacobian too; Radau's are without
    those for its Jacobians.
    """
    ours = stiff_solve(VAN_DER_POL, rtol, atol=atol)
    start, settings = VAN_DER_POL.start().numpy(), {"rtol": rtol, "atol": atol}
    theirs = solve_ivp(
        VAN_DER_POL.flat_f, VAN_DER_POL.span, start, method="Radau", **settings
    )
    assert ours.nfe <= theirs.nfev
    assert abs(ours.ys[-1, 0] - VAN_DER_POL.last()[0]) <= 100 * (atol + rtol)


@all_stiff
@both_tolerances
def test_a_stiff_solve_takes_at_most_half_as_many_evaluations_again_as_radau(
    problem, rtol
):
    """Prothero and Robinson's problem aside, where Radau's steps are so long that between
    them its answer is off by a hundred tolerances.
    """
    _, theirs = problem.by_scipy("Radau", rtol)
    if problem is not PULLED:
        assert stiff_solve(problem, rtol).nfe <= 1.5 * theirs
        return
    start, t = problem.start().numpy(), problem.times(200)
    settings = {"t_eval": t.numpy(), **problem.tolerances(rtol)}
    solved = solve_ivp(problem.flat_f, problem.span, start, method="Radau", **settings)
    assert (
        largest_difference(torch.from_numpy(solved.y.T), t.sin()[:, None]) > 100 * rtol
    )


def test_the_masses_of_robertson_sum_up_to_one_up_to_rounding():
    problem = STIFF_BY_NAME["Robertson"]
    t = [0.0, *(10.0**k for k in range(-2, 12))]
    ys = stiff_solve(problem, 1e-4, t).ys
    assert (ys.sum(1) - 1).abs().max() <= 100 * EPS
    assert (ys[1:] > 0).all()


# In tolerances. HIRES misses by 0.1 to 1.8 as rtol moves by a fifth, in float64 by 0.4 to 0.5.
# The rest is rounding, of f itself as much as of the equations of a step: with both in
# float64, and every state in float32, it misses by 0.4 to 0.5 too, with one alone it does not.
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("Robertson", 1.0),
        ("HIRES", 2.0),
        ("Oregonator", 1.0),
        ("Prothero-Robinson", 1.0),
        ("heat", 1.0),
    ],
)
def test_a_float32_state_is_solved_to_the_digits_it_holds(name, most):
    problem, rtol = STIFF_BY_NAME[name], 1e-4
    y0, tolerances = problem.start(torch.float32), problem.tolerances(rtol)
    end = solve(problem.f, y0, problem.span, method="rodas5p", **tolerances).ys[-1]
    assert end.dtype == torch.float32
    assert problem.missed(end.double(), rtol) <= most


def test_an_explicit_method_that_gives_up_names_the_one_that_does_not():
    settings = {"rtol": 1e-4, "atol": 1e-4, "max_steps": 500}
    with pytest.raises(SolverError, match="the problem may be stiff") as error:
        odeint(PULLED.f, PULLED.start(), PULLED.span, **settings)
    assert "odeint takes method='rodas5p'" in str(error.value)
    solution = solve(
        PULLED.f, PULLED.start(), PULLED.span, method="rodas5p", **settings
    )
    assert solution.accepted + solution.rejected < 50
    # An explicit step is stable up to about h |λ| = 3.3, with |λ| = 10⁴ here.
    assert solution.step_sizes.max() > 1000 * 3.3e-4


# --- what holds for every adaptive method ---------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
@both_directions
def test_where_nothing_is_stiff_the_solve_keeps_its_promise_too(problem, backward):
    t = problem.times(50).flip(0) if backward else problem.times(50)
    truth = problem.truth(t)
    settings = {"method": "rodas5p", "rtol": 1e-6, "atol": 1e-6}
    solution = solve(problem.f, truth[0], t, **settings)
    bound = problem.error_bound(solution.accepted, 1e-6, 1e-6, backward=backward)
    assert largest_difference(solution.ys, truth) <= bound


@all_stiff
def test_nfe_is_the_number_of_times_f_was_called(problem):
    """A step that is tried again starts from the same linearisation."""
    calls = count()

    def f(t, y):
        next(calls)
        return problem.f(t, y)

    tolerances = problem.tolerances(1e-3)
    solution = solve(f, problem.start(), problem.span, method="rodas5p", **tolerances)
    assert solution.nfe == next(calls)
    attempts = solution.accepted + solution.rejected
    # The search for a first step costs one.
    assert solution.nfe == 1 + attempts * RODAS5P.stages - solution.rejected


def test_the_steps_do_not_depend_on_the_times_requested_in_between():
    many, few = (stiff_solve(HIRES, 1e-4, HIRES.times(n)) for n in (101, 6))
    assert torch.equal(many.step_sizes, few.step_sizes)
    assert largest_difference(many.ys[::20], few.ys) <= 100 * EPS
    assert torch.equal(many.ys[0], HIRES.start())


def test_wanting_the_gradient_of_t_does_not_change_the_answer():
    t = PULLED.times()
    plain = stiff_solve(PULLED, 1e-4, t).ys
    tracked = stiff_solve(PULLED, 1e-4, t.clone().requires_grad_()).ys
    assert largest_difference(plain, tracked) <= 1e4 * EPS


def test_f_is_called_only_between_the_first_and_the_last_time():
    seen = []

    def f(t, y):
        seen.append(t.item())
        return torch.ones_like(y)

    odeint(f, torch.tensor([1000.0]).double(), [1.0, 2.0], method="rodas5p")
    assert all(1.0 <= t <= 2.0 + EPS for t in seen)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(), (2, 3), (0, 2)], ids=str)
@pytest.mark.parametrize("wanted", [False, True], ids=["t", "dt"])
def test_f_receives_a_scalar_time_and_a_state_of_the_dtype_of_y0(dtype, shape, wanted):
    seen = set()

    def f(t, y):
        seen.add((t.dtype, t.shape, y.dtype, y.shape))
        return t - y

    t = torch.linspace(0, 1, 4, dtype=torch.float64, requires_grad=wanted)
    ys = odeint(f, torch.ones(shape, dtype=dtype), t, method="rodas5p", rtol=1e-3)
    assert seen == {(dtype, torch.Size(), dtype, torch.Size(shape))}
    assert (ys.dtype, ys.shape) == (dtype, (4, *shape))


def test_a_batch_is_solved_as_its_samples_are():
    starts = torch.tensor([[2.0, 0.0], [1.5, 0.5], [-2.0, 0.1]], dtype=torch.float64)
    settings = {"method": "rodas5p", "rtol": 1e-8, "atol": 1e-8}
    batch = odeint(VAN_DER_POL.f, starts, [0.0, 500.0], **settings)[-1]
    each = [odeint(VAN_DER_POL.f, y, [0.0, 500.0], **settings)[-1] for y in starts]
    assert largest_difference(batch, torch.stack(each)) <= 1e-6


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode], ids=lambda mode: mode.__name__
)
def test_a_solve_without_gradients_has_the_same_numbers(mode):
    expected = stiff_solve(HIRES, 1e-4).ys
    with mode():
        assert torch.equal(stiff_solve(HIRES, 1e-4).ys, expected)


def test_a_state_may_be_a_tuple():
    def f(t, y):
        return -1e4 * (y[0] - t.cos()), -y[1]

    start = torch.zeros(2).double(), torch.ones(3).double()
    fast, slow = odeint(f, start, [0.0, 1.0], method="rodas5p")
    assert largest_difference(fast[-1], torch.full_like(fast[-1], math.cos(1))) <= 1e-3
    assert largest_difference(slow[-1], torch.full_like(slow[-1], 1 / math.e)) <= 1e-5


def test_a_jump_of_f_is_not_stepped_over():
    def f(t, y):
        return -1e3 * (y - (t >= 0.5).to(y))

    y0, t = torch.ones(1).double(), [0.0, 0.4, 0.6]
    across = solve(f, y0, t, method="rodas5p")
    split = solve(f, y0, t, method="rodas5p", jumps=[0.5])
    exact = torch.tensor([[1.0], [0.0], [1.0]]).double()
    assert largest_difference(split.ys, exact) <= 1e-5
    assert split.nfe < across.nfe / 2


def test_an_event_ends_a_stiff_solve():
    def half(t, y):
        return y[0] - 0.5

    settings = {"method": "rodas5p", "rtol": 1e-6, "atol": 1e-6}
    solution = solve(PULLED.f, PULLED.start(), PULLED.span, event=half, **settings)
    assert solution.event_t.item() == pytest.approx(math.asin(0.5), abs=1e-5)


# --- gradients ------------------------------------------------------------------------


def pulled(t: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """A stiff and a slow component that are coupled."""
    return on_last(
        -100 * (y[..., 0] - a * t.cos()) + y[..., 1] ** 2,
        -a * y[..., 1] + y[..., 0] * y[..., 1].sin(),
    )


def one_parameter(solver, **settings):
    """The solution as a function of y0 and a, in steps that do not depend on them."""
    known = {} if solver is odeint else {"checkpoints": 2}
    frozen = {"rtol": 1e3, "atol": 1e3, "first_step": 0.1, "max_step": 0.1} | settings

    def ys(y0, a):
        params = {"adjoint_params": (a,)} if known else {}
        options = {"method": "rodas5p", **known, **params, **frozen}
        return solver(lambda t, y: pulled(t, y, a), y0, [0.0, 0.25, 0.5], **options)

    return ys


def start_and_parameter() -> tuple[Tensor, Tensor]:
    y0 = torch.tensor([1.0, 0.5], dtype=torch.float64, requires_grad=True)
    return y0, torch.tensor(0.8, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("solver", [odeint, odeint_checkpointed])
def test_the_gradient_of_the_numbers_computed_passes_gradcheck(solver):
    """Through the Jacobian and the factorisation of every step."""
    assert torch.autograd.gradcheck(one_parameter(solver), start_and_parameter())


def test_the_second_derivative_passes_gradgradcheck():
    assert torch.autograd.gradgradcheck(one_parameter(odeint), start_and_parameter())


# PyTorch, when it takes its first forward derivative.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_torch_func_goes_through_a_stiff_solve():
    y0, a = start_and_parameter()
    end = one_parameter(odeint)

    def loss(y0):
        return end(y0, a.detach())[-1].square().sum()

    (expected,) = torch.autograd.grad(loss(y0), y0)
    start = y0.detach()
    assert largest_difference(torch.func.grad(loss)(start), expected) <= 100 * EPS
    _, slope = torch.func.jvp(loss, (start,), (torch.ones(2).double(),))
    assert slope.item() == pytest.approx(expected.sum().item(), rel=1e-12)


@pytest.mark.parametrize("solver", [odeint, odeint_checkpointed])
def test_the_gradient_of_the_times_is_that_of_the_exact_solution(solver):
    """y is sin t whatever the start; at rtol 1e-6 its slope is right to 1e-4."""
    t = torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    params = {} if solver is odeint else {"adjoint_params": ()}
    settings = {"method": "rodas5p", "rtol": 1e-6, "atol": 1e-6}
    ys = solver(PULLED.f, PULLED.start(), t, **settings, **params)
    (slopes,) = torch.autograd.grad(ys.sum(), t)
    exact = torch.cat((torch.zeros(1), t[1:].detach().cos()))
    assert largest_difference(slopes, exact) <= 1e-4


def test_checkpoints_give_the_gradient_of_backprop_on_a_stiff_problem():
    def gradients(solver, **options):
        y0 = HIRES.start().requires_grad_()
        t = torch.linspace(0.0, 50.0, 5).double().requires_grad_()
        ys = solver(HIRES.f, y0, t, method="rodas5p", **options)
        return torch.autograd.grad(ys.square().sum(), (y0, t))

    direct = gradients(odeint)
    again = gradients(odeint_checkpointed, adjoint_params=(), checkpoints=3)
    for a, b in zip(direct, again):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


def test_the_weights_of_a_stiff_neural_field_get_their_gradient():
    """Against central differences of a solve at 1e-9."""
    inner, outer = layer(8, 2), layer(2, 8)

    def loss(inner, outer, tolerance):
        def f(t, y):
            drift = outer @ (inner @ y).tanh()
            return 100 * drift - 1000 * (y - on_last(t.cos(), t.sin()))

        y0 = torch.tensor([2.0, -1.0]).double()
        settings = {"method": "rodas5p", "rtol": tolerance, "atol": tolerance}
        return odeint(f, y0, [0.0, 1.0, 2.0], **settings)[1:].square().sum()

    weights = inner.clone().requires_grad_(), outer.clone().requires_grad_()
    found = torch.autograd.grad(loss(*weights, 1e-6), weights)
    for i, (like, eps) in enumerate(zip((inner, outer), (1e-4, 1e-4))):
        change = torch.zeros_like(like)
        change[0, 1] = eps
        ends = [
            loss(
                *(
                    w + sign * change if i == j else w
                    for j, w in enumerate((inner, outer))
                ),
                1e-9,
            )
            for sign in (1, -1)
        ]
        expected = (ends[0] - ends[1]).item() / (2 * eps)
        assert found[i][0, 1].item() == pytest.approx(expected, rel=1e-3)


# --- what it refuses ------------------------------------------------------------------


def refusal(kind, solver=odeint, f=lambda t, y: -y, y0=None, t=(0.0, 1.0), **settings):
    y0 = torch.ones(2).double() if y0 is None else y0
    with pytest.raises(kind) as error:
        solver(f, y0, t, method="rodas5p", **settings)
    assert error.type is kind
    return str(error.value)


@pytest.mark.parametrize("solver", [odeint_adjoint, odeint_interpolated])
def test_the_adjoint_equation_is_not_solved_by_a_stiff_method(solver):
    message = refusal(ValueError, solver, adjoint_params=())
    assert "method='rodas5p' does not go with odeint_adjoint" in message
    assert "use odeint or odeint_checkpointed" in message


def test_jax_is_told_where_stiff_equations_are_solved():
    jnp = pytest.importorskip("jax.numpy")
    from course_lib.solvers.in_jax import jax_odeint

    with pytest.raises(ValueError, match="explicit steps only") as error:
        jax_odeint(lambda t, y: -y, jnp.ones(2), [0.0, 1.0], method="rodas5p")
    assert all(name in str(error.value) for name in METHODS)
    assert "course_lib.solvers.odeint" in str(error.value)


def test_a_step_size_is_refused_and_the_methods_that_take_one_are_named():
    message = refusal(ValueError, step_size=0.1)
    assert "step_size=0.1 does not go with method='rodas5p'" in message
    assert "rk4" in message
    assert "rodas5p" not in message.partition("fixed-step method:")[2]


def test_the_stiff_methods_are_among_those_an_unknown_one_is_answered_with():
    with pytest.raises(ValueError, match="choose from") as error:
        Settings(method="Radau")
    assert all(name in str(error.value) for name in (*METHODS, *STIFF_METHODS))


def test_a_jacobian_that_is_not_finite_is_named_as_the_cause():
    message = refusal(SolverError, f=lambda t, y: y.abs().sqrt(), y0=torch.zeros(2))
    assert message.startswith("the Jacobian of f is NaN or infinite at t=0")
    assert "f itself is finite" in message
    assert "method='dopri5'" in message


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("moment", [-1.0, 0.0, 0.5])
def test_nan_or_infinity_from_f_stops_the_solve_and_says_where(value, moment):
    f = lambda t, y: torch.where(t > moment, value, -y)  # noqa: E731
    message = refusal(SolverError, f=f)
    assert message.startswith("f returned NaN or infinity")
    assert "(rodas5p)" in message
    where = float(message.split("t=")[1].split()[0])
    assert where <= max(moment, 0.0) + 1e-6


def test_a_solution_that_blows_up_is_not_continued_and_not_called_stiff():
    """y' = y² from 1 is 1/(1 - t)."""
    message = refusal(SolverError, f=lambda t, y: y**2, t=[0.0, 3.0])
    assert float(message.split("t=")[1].split()[0].rstrip(":;")) == pytest.approx(
        1, abs=1e-2
    )
    assert "stiff" not in message


def test_a_solve_that_runs_out_of_steps_is_not_called_stiff():
    message = refusal(SolverError, f=PULLED.f, t=[0.0, 10.0], max_steps=5)
    assert "max_steps=5 were not enough: rodas5p had reached t=" in message
    assert "stiff" not in message
    assert "a larger max_steps" in message


def test_a_singular_matrix_shortens_the_step():
    """I/γ - hJ is 0 at the first step."""
    growth, h = 1 / (0.25 * RODAS5P.gamma), 0.25
    solution = solve(
        lambda t, y: growth * y,
        torch.ones(1).double(),
        [0.0, 0.5],
        method="rodas5p",
        first_step=h,
        rtol=1e-6,
    )
    assert solution.rejected > 0
    assert solution.ys[-1].item() == pytest.approx(math.exp(growth / 2), rel=1e-3)


@pytest.mark.parametrize(
    ("wrong", "kind", "word"),
    [
        (lambda y: None, TypeError, "got NoneType"),
        (lambda y: y[:1], ValueError, "got (1,)"),
        (lambda y: y.float(), ValueError, "torch.float32"),
    ],
)
def test_f_must_return_what_looks_like_y(wrong, kind, word):
    message = refusal(kind, f=lambda t, y: wrong(y))
    assert message.startswith("f must return ")
    assert word in message

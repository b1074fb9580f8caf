"""Steps that adapt, in JAX: PyTorch's steps to the last one, its gradients to ten digits,
and a failure that nobody can overlook.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.experimental import checkify
from problems import enable_x64
from scipy.integrate import solve_ivp

from course_lib.solvers import METHODS, SolverError, solve
from course_lib.solvers.in_jax import jax_odeint
from course_lib.solvers.in_jax_adaptive import jax_solve

ADAPTIVE = [name for name, tableau in METHODS.items() if tableau.adaptive]
adaptive_methods = pytest.mark.parametrize("method", ADAPTIVE)


@pytest.fixture(autouse=True)
def double_precision():
    """float64 inside the tests of this file, whatever the process chose."""
    with enable_x64(True):
        yield


def hunted(lib, t, y):
    """Lotka–Volterra."""
    x, z = y[..., 0], y[..., 1]
    return lib.stack((1.5 * x - x * z, x * z - 3 * z), -1)


def gompertz(lib, t, y):
    return y * lib.log(y) * lib.cos(t)


def van_der_pol(lib, t, y):
    return lib.stack((y[1], 5 * (1 - y[0] ** 2) * y[1] - y[0]))


def kicked(lib, t, y):
    """A bump that the steps run into: some are rejected."""
    return lib.exp(-2000 * (t - 0.5) ** 2) - y


PROBLEMS = {
    "Lotka–Volterra": (hunted, [1.0, 1.0], np.linspace(0, 10, 50)),
    "Gompertz, backwards": (gompertz, [1.5, 2.0], np.array([3, 1.1, 1, 0.3, -2.0])),
    "van der Pol": (van_der_pol, [2.0, 0.0], np.array([0.0, 15.0])),
    "a kick": (kicked, [1.0], np.array([0.0, 0.49, 0.51, 2.0])),
    "a batch": (hunted, [[1.0, 1.0], [2.0, 0.5]], np.linspace(1, 3, 4)),
}
all_problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
SHARP = dict(rtol=1e-7, atol=1e-8, max_steps=10_000)


def apart(a, b) -> float:
    return float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0.0))


# --- the steps ------------------------------------------------------------------------


@all_problems
@adaptive_methods
def test_steps_values_and_cost_are_those_of_pytorchs_solve(problem, method):
    field, y0, t = problem
    y0 = np.array(y0)
    theirs = solve(partial(field, torch), torch.tensor(y0), t, method=method, **SHARP)
    ours = jax_solve(partial(field, jnp), y0, t, method=method, **SHARP)
    counts = ours.nfe, ours.accepted, ours.rejected
    assert counts == (theirs.nfe, theirs.accepted, theirs.rejected)
    assert apart(ours.ys, theirs.ys) < 1e-10


def test_the_problems_above_hold_attempts_in_vain():
    field, y0, t = PROBLEMS["a kick"]
    assert jax_solve(partial(field, jnp), np.array(y0), t, **SHARP).rejected > 0


@adaptive_methods
def test_the_error_falls_with_the_tolerance(method):
    t, y0 = jnp.linspace(0.0, 4.0, 9), jnp.array([math.e])
    truth, errors = np.exp(np.exp(np.sin(t)))[:, None], []
    for tol in (1e-4, 1e-6, 1e-8):
        found = jax_solve(
            partial(gompertz, jnp), y0, t, method=method, rtol=tol, atol=tol
        )
        errors.append(apart(found.ys, truth))
    slope = np.polyfit([-4, -6, -8], np.log10(errors), 1)[0]
    assert 0.7 < slope < 1.3
    assert errors[-1] < 1e-5


def test_the_solution_is_that_of_scipy():
    field, y0, t = PROBLEMS["Lotka–Volterra"]
    field = partial(field, np)
    theirs = solve_ivp(field, t[[0, -1]], y0, "DOP853", t, rtol=1e-12, atol=1e-12)
    ours = jax_solve(partial(hunted, jnp), np.array(y0), t, rtol=1e-9, atol=1e-9)
    assert apart(ours.ys, theirs.y.T) < 1e-6


def test_times_in_between_change_no_step():
    f, y0 = partial(gompertz, jnp), jnp.array([1.5])
    few, many = (jax_solve(f, y0, jnp.linspace(0.0, 3.0, n)) for n in (2, 1001))
    assert few[1:] == many[1:]
    assert apart(few.ys[-1], many.ys[-1]) == 0.0


def test_one_time_alone_gives_the_start_back_and_costs_nothing():
    found = jax_solve(partial(gompertz, jnp), jnp.array([1.5]), [0.5])
    assert found.ys.tolist() == [[1.5]]
    assert found.nfe == 0
    grad = jax.grad(lambda y: jax_solve(lambda t, y: -y, y, [0.5]).ys.sum())
    assert grad(jnp.ones(2)).tolist() == [1.0, 1.0]


def test_float32_stays_float32_and_equals_pytorchs():
    y0 = np.array([1.0, 1.0], "float32")
    theirs = solve(partial(hunted, torch), torch.tensor(y0), [0.0, 2.0])
    for allowed in (True, False):
        with enable_x64(allowed):
            ours = jax_solve(partial(hunted, jnp), y0, [0.0, 2.0])
        assert ours.ys.dtype == jnp.float32
        assert apart(ours.ys, theirs.ys) < 1e-4


def test_a_state_may_be_a_number_or_a_stack_of_matrices_or_empty():
    for shape in ((), (2, 3, 4), (0,)):
        ys = jax_solve(lambda t, y: -y, jnp.ones(shape), [0.0, 0.2, 1.0]).ys
        assert ys.shape == (3, *shape)
        assert apart(ys[-1], np.full(shape, math.exp(-1))) < 1e-4


# --- gradients ------------------------------------------------------------------------


@all_problems
@adaptive_methods
def test_gradients_of_start_and_times_equal_pytorchs_to_ten_digits(problem, method):
    field, y0, t = problem
    y, times = (torch.tensor(x, dtype=torch.float64).requires_grad_() for x in (y0, t))
    theirs = solve(partial(field, torch), y, times, method=method, **SHARP).ys
    weight = np.random.default_rng(0).normal(size=theirs.shape)
    (theirs * torch.tensor(weight)).sum().backward()

    @jax.jit
    def loss(y0, t):
        ys = jax_solve(partial(field, jnp), y0, t, method=method, **SHARP).ys
        return (ys * weight).sum()

    by_start, by_times = jax.grad(loss, (0, 1))(jnp.array(y0), jnp.array(t))
    scale = 1 + max(y.grad.abs().max(), times.grad.abs().max()).item()
    assert apart(by_start, y.grad) < 1e-10 * scale
    assert apart(by_times, times.grad) < 1e-10 * scale


def prey(rates, t, y):
    x, z = y[..., 0], y[..., 1]
    return jnp.stack((rates[0] * x - x * z, x * z - rates[1] * z), -1)


def fitted(rates, y0, **settings):
    ys = jax_solve(partial(prey, rates), y0, jnp.linspace(0, 3, 7), **settings).ys
    return (ys**2).mean()


RATES = 1.5, 3.0


def test_the_gradient_of_what_f_closes_over_is_that_of_a_fine_fixed_grid():
    y0, sharp = jnp.array([1.0, 1.0]), dict(rtol=1e-10, atol=1e-10)

    def on_a_grid(rates, y0):
        t = jnp.linspace(0, 3, 7)
        return (jax_odeint(partial(prey, rates), y0, t, steps=200) ** 2).mean()

    ours = jax.jit(jax.grad(partial(fitted, **sharp), (0, 1)))(RATES, y0)
    grid = jax.jit(jax.grad(on_a_grid, (0, 1)))(RATES, y0)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(grid), strict=True):
        assert apart(a, b) < 1e-7


def test_the_gradient_is_that_of_diffrax():
    diffrax = pytest.importorskip("diffrax")
    y0, tol = jnp.array([1.0, 1.0]), dict(rtol=1e-9, atol=1e-9)

    def theirs(rates):
        term = diffrax.ODETerm(lambda t, y, args: prey(args, t, y))
        where = diffrax.SaveAt(ts=jnp.linspace(0, 3, 7))
        control = diffrax.PIDController(**tol)
        settings = dict(args=rates, saveat=where, stepsize_controller=control)
        solver = diffrax.Dopri5()
        ys = diffrax.diffeqsolve(term, solver, 0.0, 3.0, None, y0, **settings).ys
        return (ys**2).mean()

    ours = jax.grad(partial(fitted, **tol))(RATES, y0)
    found = jax.jit(jax.grad(theirs))(RATES)
    assert apart(ours, found) < 1e-6


def test_the_gradient_passes_through_jit_inside_and_outside():
    y0 = jnp.array([1.0, 1.0])
    outside = jax.jit(jax.grad(fitted))(RATES, y0)
    inside = jax.grad(jax.jit(fitted))(RATES, y0)
    assert apart(outside, inside) < 1e-10


def test_f_may_close_over_integers_and_booleans_that_jax_traces():
    rates = jnp.array([1.0, 2.0, 3.0])

    def end(y0, i, on):
        def field(t, y):
            return -jnp.where(on, y * rates[i], 0.0)

        return jax_solve(field, y0, [0.0, 0.5, 1.0], rtol=1e-8, atol=1e-8).ys[-1].sum()

    y0, i, on = jnp.ones(2), jnp.arange(3), jnp.array([True, False])
    truth = np.array([[math.exp(-rate), 1.0] for rate in (1, 2, 3)])
    for grad in (jax.grad(jax.jit(end)), jax.jit(jax.grad(end)), jax.grad(end)):
        assert apart(grad(y0, i[1], on), truth[1]) < 1e-6
        assert apart(jax.vmap(grad, (None, 0, None))(y0, i, on), truth) < 1e-6


def test_forward_mode_and_second_derivatives_are_refused():
    y0 = jnp.array([1.0, 1.0])
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(partial(fitted, RATES), (y0,), (y0,))
    for twice in (jax.hessian, lambda f: jax.jacrev(jax.grad(f))):
        with pytest.raises(TypeError, match="jax_solve has first derivatives"):
            twice(partial(fitted, RATES))(y0)


def test_vmap_equals_a_loop_in_values_steps_and_gradients():
    starts = jnp.array([[1.0, 1.0], [2.0, 0.5], [0.1, 3.0]])
    flow = jax.jit(
        lambda y0: jax_solve(partial(hunted, jnp), y0, jnp.linspace(0, 5, 6))
    )
    together, one_by_one = jax.vmap(flow)(starts), [flow(y0) for y0 in starts]
    assert len({int(found.nfe) for found in one_by_one}) > 1
    for i, alone in enumerate(one_by_one):
        assert apart(together.ys[i], alone.ys) < 1e-10
        assert together.nfe[i] == alone.nfe
    grad = jax.jit(jax.grad(lambda y0: fitted(RATES, y0)))
    loop = jnp.stack([grad(y0) for y0 in starts])
    assert apart(jax.vmap(grad)(starts), loop) < 1e-10 * (1 + abs(loop).max())


# --- failures -------------------------------------------------------------------------

FAILING = {
    "blow-up": (lambda t, y: y**2, {}, "step underflow"),
    "NaN ahead": (lambda t, y: jnp.sqrt(0.5 - t) * y, {}, "NaN or infinity"),
    "NaN at once": (lambda t, y: y / 0.0, {}, "NaN or infinity"),
    "too few steps": (
        lambda t, y: 50 * jnp.cos(50 * t) * y,
        dict(max_steps=20),
        "max_steps=20",
    ),
}
failing = pytest.mark.parametrize("case", FAILING.values(), ids=FAILING)


@failing
def test_a_solve_that_fails_is_an_error_where_jax_knows_the_values(case):
    f, settings, words = case
    with pytest.raises(SolverError, match=words):
        jax_solve(f, jnp.ones(1), [0.0, 2.0], **settings)


@failing
def test_a_solve_that_fails_in_compiled_code_and_its_gradient_are_nan(case):
    f, settings, _ = case

    @jax.jit
    @jax.value_and_grad
    def end(y0):
        return jax_solve(f, y0, [0.0, 2.0], **settings).ys[-1, 0]

    value, grad = end(jnp.ones(1))
    assert math.isnan(value)
    assert jnp.isnan(grad).all()


@pytest.mark.parametrize("beyond", [0.0, 0.5])
def test_no_gradient_of_a_solve_that_failed_is_a_number(beyond):
    @jax.jit
    @partial(jax.grad, argnums=(0, 1, 2))
    def slopes(y0, rate, t):
        def field(t, y):
            return jnp.where(t >= beyond, jnp.nan, rate * y)

        return jax_solve(field, y0, t).ys[-1].sum()

    by_start, by_rate, by_times = slopes(jnp.ones(2), 1.0, jnp.array([0.0, 1.0]))
    for grad in (by_start, by_rate, by_times[1]):
        assert jnp.isnan(grad).all()


def test_compiled_code_that_is_checked_says_that_it_failed():
    @checkify.checkify
    @jax.jit
    def end(y0):
        return jax_solve(lambda t, y: y**2, y0, [0.0, 2.0], check=True).ys[-1]

    error, value = end(jnp.full(1, 0.1))
    error.throw()
    assert float(value[0]) == pytest.approx(0.125, rel=1e-4)
    error, _ = end(jnp.ones(1))
    with pytest.raises(checkify.JaxRuntimeError, match=r"could not go on at t=1\.0"):
        error.throw()


def test_as_many_attempts_as_are_needed_are_enough_and_one_less_is_not():
    f, y0 = partial(gompertz, jnp), jnp.array([1.5])
    found = jax_solve(f, y0, [0.0, 3.0])
    needed = int(found.accepted + found.rejected)
    again = jax_solve(f, y0, [0.0, 3.0], max_steps=needed)
    assert apart(again.ys, found.ys) == 0.0
    with pytest.raises(SolverError, match="max_steps"):
        jax_solve(f, y0, [0.0, 3.0], max_steps=needed - 1)


# --- what makes no sense --------------------------------------------------------------

REFUSED = {
    "unknown": (dict(method="rk5"), ValueError, "method='rk5'.* dopri5"),
    "equal steps": (dict(method="rk4"), ValueError, "jax_odeint"),
    "stiff": (dict(method="rodas5p"), ValueError, "Kvaerno5"),
    "no tolerance": (dict(rtol=0.0), ValueError, "rtol must be positive"),
    "text": (dict(atol="1e-3"), TypeError, "atol must be a positive number"),
    "half an attempt": (dict(max_steps=2.5), ValueError, "max_steps.* got 2.5"),
    "t zigzag": (dict(t=[0, 2, 1]), ValueError, "strictly"),
    "y0 a list": (dict(y0=[1.0]), TypeError, "got list"),
    "f": (dict(f=3.0), TypeError, "f must be callable"),
    "f gives a tuple": (dict(f=lambda t, y: (y, y)), TypeError, "jnp.stack"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_by_name(case):
    given, kind, words = case
    usual = dict(f=lambda t, y: -y, y0=jnp.ones(2), t=[0.0, 1.0])
    with pytest.raises(kind, match=words):
        jax_solve(**{**usual, **given})


def test_a_traced_tolerance_is_refused_with_the_cure():
    def end(rtol):
        return jax_solve(lambda t, y: -y, jnp.ones(2), [0.0, 1.0], rtol=rtol).ys

    with pytest.raises(TypeError, match="static_argnames='rtol'"):
        jax.jit(end)(1e-3)


# --- what compiled code cannot refuse -------------------------------------------------


@pytest.mark.parametrize(
    "t", [[0.0, 2.0, 1.0], [0.0, 0.4, 0.0], [1.0, 0.0, 0.5]], ids=str
)
def test_times_that_are_not_in_order_end_in_nan_and_not_in_a_loop_without_end(t):
    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def last(y0, t):
        ys = jax_solve(lambda t, y: -y, y0, t).ys
        return ys[-1].sum(), ys

    (_, ys), grad = last(jnp.ones(1), jnp.array(t))
    assert ys[0] == 1
    assert jnp.isnan(ys[1:]).all()
    assert jnp.isnan(grad).all()


@pytest.mark.parametrize(
    ("t", "of_y0", "of_t"),
    [
        (
            [0.0, 0.0, 1.0],
            [1 + 1 + math.exp(-1)] * 2,
            [3 + 3 * math.exp(-1), -3, -3 * math.exp(-1)],
        ),
        ([0.0, 0.0], [2, 2], [3, -3]),
        ([0.0, 0.0, 0.0], [3, 3], [6, -3, -3]),
    ],
)
def test_a_time_that_equals_the_first_gives_its_gradient_to_the_start(t, of_y0, of_t):
    """Σ y over all times, y' = -y from (1, 2): y(t_i) = e^(t_0 - t_i) y0."""

    def total(y, t):
        return jax_solve(lambda t, y: -y, y, t, rtol=1e-9, atol=1e-9).ys.sum()

    by_y, by_t = jax.jit(jax.grad(total, (0, 1)))(jnp.array([1.0, 2.0]), jnp.array(t))
    np.testing.assert_allclose(by_y, of_y0, atol=1e-7)
    np.testing.assert_allclose(by_t, of_t, atol=1e-7)


def test_times_of_fewer_digits_than_the_state_are_taken_exactly():
    def f(t, y):
        return -y * jnp.cos(3 * t)

    t = jnp.array([100.0, 101.0, 101.3], jnp.float32)
    y0 = jnp.ones(1)
    for solver in (partial(jax_odeint, steps=300), lambda *a: jax_solve(*a).ys):
        assert (solver(f, y0, t) == solver(f, y0, t.astype(float))).all()


def test_a_field_whose_square_overflows_has_a_first_step_all_the_same():
    def f(t, y):
        return 1e14 * jnp.cos(t) * jnp.ones_like(y)

    found = jax_solve(f, jnp.zeros(1, jnp.float32), [0.0, 1.0])
    assert found.ys[-1, 0] == pytest.approx(1e14 * math.sin(1), rel=1e-5)


def test_in_compiled_code_the_last_time_may_fill_up_a_shorter_series():
    solve_to = jax.jit(
        jax.vmap(lambda t: jax_solve(lambda t, y: -y, jnp.ones(1), t).ys)
    )
    ys = solve_to(jnp.array([[0.0, 0.5, 1.2], [0.0, 0.4, 0.4]]))[..., 0]
    exact = jnp.exp(-jnp.array([[0.0, 0.5, 1.2], [0.0, 0.4, 0.4]]))
    assert apart(ys, exact) < 1e-4


@pytest.mark.parametrize("origin", [0.0, 1e4])
def test_a_float32_clock_that_starts_late_costs_no_digits(origin):
    circle = lambda t, y: jnp.stack((y[1], -y[0]))  # noqa: E731
    y0 = jnp.array([1.0, 0.0], jnp.float32)
    t = jnp.array([origin, origin + 100.0], jnp.float32)
    found = jax_solve(circle, y0, t).ys[-1]
    exact = jnp.array([math.cos(100.0), -math.sin(100.0)])
    assert apart(found, exact) < 5e-4


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_a_state_of_too_few_digits_is_refused(dtype):
    with pytest.raises(TypeError, match=r"y0 is .*float16.*astype\(jnp\.float32\)"):
        jax_solve(lambda t, y: -y, jnp.ones(1, dtype), [0.0, 1.0])


def test_a_complex_state_is_refused_with_what_keeps_both_its_parts():
    with pytest.raises(TypeError, match=r"must be real.*y0\.imag"):
        jax_solve(lambda t, y: -y, jnp.ones(1, jnp.complex64), [0.0, 1.0])

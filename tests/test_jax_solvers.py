"""The JAX solvers solve: orders of convergence, PyTorch's values and gradients to
rounding, and transformations that change nothing they should not.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.experimental import checkify
from problems import BY_NAME, EPS, all_methods, enable_x64, fixed_methods

from course_lib.models import MLPDynamics
from course_lib.solvers import METHODS, SolverError, jax_checks, odeint, rk_step
from course_lib.solvers.in_jax import jax_odeint, jax_rk_step

GROWTH = BY_NAME["Gompertz"]  # nonlinear and non-autonomous, with an exact solution
TIMES = [0.0, 0.3, 1.0, 1.1]  # gaps of different lengths
either_way = pytest.mark.parametrize(
    "times", [TIMES, TIMES[::-1]], ids=["forward", "backward"]
)


@pytest.fixture(autouse=True)
def double_precision():
    """float64 inside the tests of this file, whatever the process chose."""
    with enable_x64(True):
        yield


def gompertz(t, y):
    return y * jnp.log(y) * jnp.cos(t)


def mlp(layers, t, y):
    """The field of an MLPDynamics with time, from its weights."""
    z = jnp.append(y, jnp.broadcast_to(t, (*y.shape[:-1], 1)), axis=-1)
    for W, b in layers[:-1]:
        z = jnp.tanh(z @ W.T + b)
    W, b = layers[-1]
    return z @ W.T + b


def moved_network(dtype=torch.float64):
    """An MLPDynamics, its weights for `mlp`, and a batch of five states."""
    torch.manual_seed(0)
    f = MLPDynamics(2, (8,), time=True).to(dtype)
    flat = [jnp.array(p.detach().numpy()) for p in f.parameters()]
    return f, list(zip(flat[::2], flat[1::2])), torch.randn(5, 2, dtype=dtype)


@partial(jax.jit, static_argnames=("method", "steps"))
def in_jax(layers, y0, t, **settings):
    return jax_odeint(lambda t, y: mlp(layers, t, y), y0, t, **settings)


def in_pieces(f, y0, times, method, steps):
    """PyTorch's solution with `steps` steps from each time to the next."""
    states = [y0]
    for start, stop in pairwise(times):
        h, y = (stop - start) / steps, states[-1]
        for i in range(steps):
            t = torch.tensor(start + i * h, dtype=y0.dtype)
            y, _ = rk_step(f, t, y, h, METHODS[method])
        states.append(y)
    return torch.stack(states)


def apart(a, b) -> float:
    """Between arrays of either library, or tuples of them."""
    if isinstance(a, (tuple, list)):
        return max(apart(x, y) for x, y in zip(a, b, strict=True))
    a, b = (x.detach().numpy() if torch.is_tensor(x) else np.asarray(x) for x in (a, b))
    assert a.shape == b.shape
    return np.abs(a - b).max()


# --- the solution ---------------------------------------------------------------------


@all_methods
def test_on_a_fixed_grid_the_error_falls_with_the_order_of_the_method(method):
    t, y0 = jnp.linspace(*GROWTH.span, 17), jnp.array(GROWTH.y0)
    truth = np.exp(np.exp(np.sin(t)))[:, None]
    counts, errors = [8, 16, 32], []
    for steps in counts:
        ys = jax_odeint(gompertz, y0, t, method=method, steps=steps)
        errors.append(apart(ys, truth))
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert -slope == pytest.approx(METHODS[method].order, abs=0.2)


@fixed_methods
@either_way
def test_the_solution_is_that_of_odeint_to_rounding(method, times):
    f, layers, y0 = moved_network()
    times = np.linspace(times[0], times[-1], 5)
    settings = {"method": method, "step_size": abs(times[1] - times[0]) / 4}
    theirs = odeint(f, y0, torch.tensor(times), **settings)
    ours = in_jax(layers, y0.numpy(), times, method=method, steps=4)
    assert apart(ours, theirs) <= 1000 * EPS


@all_methods
@either_way
def test_between_uneven_times_the_steps_are_those_of_pytorchs_rk_step(method, times):
    f, layers, y0 = moved_network()
    theirs = in_pieces(f, y0, times, method, steps=3)
    ours = in_jax(layers, y0.numpy(), times, method=method, steps=3)
    assert apart(ours, theirs) <= 1000 * EPS


def test_a_step_of_euler_in_jax_follows_the_tangent():
    y = jax_rk_step(lambda t, y: t * y, 2.0, jnp.array([3.0]), 0.5, METHODS["euler"])
    assert y.item() == 3.0 + 0.5 * 6.0


def test_there_and_back_again_ends_near_the_start_and_euler_less_so():
    y0, gaps = jnp.array(GROWTH.y0), {}
    for method in ("euler", "rk4"):
        settings = {"method": method, "steps": 50}
        there = jax_odeint(gompertz, y0, [0.0, 1.0], **settings)[-1]
        back = jax_odeint(gompertz, there, [1.0, 0.0], **settings)[-1]
        gaps[method] = apart(back, y0)
    assert gaps["rk4"] < 1e-6 < 1e-3 < gaps["euler"]


def test_a_time_in_between_changes_nothing_that_the_steps_do_not():
    y0 = jnp.array(GROWTH.y0)
    direct = jax_odeint(gompertz, y0, [0.0, 1.0], steps=8)
    stopping = jax_odeint(gompertz, y0, [0.0, 0.25, 0.5, 0.75, 1.0], steps=2)
    assert apart(direct[-1], stopping[-1]) <= 100 * EPS
    assert apart(stopping[0], y0) == 0.0


def test_one_time_alone_gives_the_start_back():
    y0 = jnp.array([1.0, 2.0])
    ys = jax_odeint(gompertz, y0, [0.5])
    assert ys.shape == (1, 2)
    assert apart(ys[0], y0) == 0.0


def test_a_state_may_be_a_number_or_a_stack_of_matrices():
    for shape in ((), (2, 3, 4)):
        ys = jax_odeint(lambda t, y: -y, jnp.ones(shape), TIMES, steps=20)
        assert ys.shape == (4, *shape)
        assert apart(ys[-1], np.full(shape, math.exp(-1.1))) < 1e-7


def stiff(y0):
    return jax_odeint(lambda t, y: -1e6 * y, y0, [0.0, 1.0], steps=50)


def test_what_overflows_is_an_error_where_jax_knows_the_values():
    with pytest.raises(SolverError, match="jax_odeint; try more steps, or look at f"):
        stiff(jnp.ones(1))


def test_what_overflows_in_compiled_code_comes_back_as_infinity_or_nan():
    assert not jnp.isfinite(jax.jit(stiff)(jnp.ones(1))[1:]).any()


def test_compiled_code_that_is_checked_says_that_it_overflowed():
    @checkify.checkify
    @jax.jit
    def end(rate):
        field, span = (lambda t, y: -rate * y), [0.0, 1.0]
        return jax_odeint(field, jnp.ones(1), span, steps=50, check=True)[-1]

    error, value = end(1.0)
    error.throw()
    assert float(value[0]) == pytest.approx(math.exp(-1.0), rel=1e-6)
    error, _ = end(1e6)
    with pytest.raises(checkify.JaxRuntimeError, match="try more steps"):
        error.throw()


def test_a_field_without_time_is_told_how_to_take_it():
    with pytest.raises(TypeError, match="takes one argument: use lambda t, y"):
        jax_odeint(lambda y: -y, jnp.ones(1), [0.0, 1.0])


# --- dtypes ---------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [True, False], ids=["x64 on", "x64 off"])
def test_float32_stays_float32_and_equals_pytorchs(allowed):
    f, layers, y0 = moved_network(torch.float32)
    theirs = odeint(f, y0, [0.0, 1.0], method="rk4", step_size=0.25)
    with enable_x64(allowed):
        ours = in_jax(layers, y0.numpy(), [0.0, 1.0], steps=4)
    assert ours.dtype == jnp.float32
    assert apart(ours, theirs) <= 1e-5


def test_times_keep_more_digits_than_a_float32_state():
    """A thousand units from 0 a float32 grid would lose the third digit of h."""
    times = 1000.0 + np.array([0.0, 0.01])
    y0 = jnp.zeros(1, jnp.float32)
    ys = jax_odeint(lambda t, y: jnp.ones_like(y), y0, times, steps=4)
    assert ys[-1].item() == pytest.approx(0.01, rel=1e-6)


# --- transformations ------------------------------------------------------------------


@all_methods
def test_gradients_equal_pytorchs_to_ten_digits(method):
    """With respect to the weights and the start, of the states at all times."""
    f, layers, y0 = moved_network()
    weight = torch.randn(4, 5, 2, dtype=torch.float64)
    y0.requires_grad_()
    (in_pieces(f, y0, TIMES, method, steps=3) * weight).sum().backward()

    def loss(layers, y0):
        ys = in_jax(layers, y0, TIMES, method=method, steps=3)
        return (ys * weight.numpy()).sum()

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    by_layers, by_start = gradient(layers, y0.detach().numpy())
    flat = [p for layer in by_layers for p in layer]
    assert apart(flat, [p.grad for p in f.parameters()]) < 1e-10
    assert apart(by_start, y0.grad) < 1e-10


@fixed_methods
def test_the_gradient_of_every_time_equals_pytorchs(method):
    f, layers, y0 = moved_network()
    weight = torch.randn(5, 5, 2, dtype=torch.float64)
    t = torch.linspace(0.0, 1.0, 5, dtype=torch.float64, requires_grad=True)
    # one step each, so that PyTorch's shortened step depends on the times as ours does
    ys = odeint(f, y0, t, method=method, step_size=1.0)
    (ys * weight).sum().backward()

    def loss(t):
        return (in_jax(layers, y0.numpy(), t, method=method) * weight.numpy()).sum()

    assert apart(jax.jit(jax.grad(loss))(jnp.linspace(0, 1, 5)), t.grad) < 1e-10


def test_reverse_and_forward_mode_agree_with_central_differences():
    @jax.jit
    def flow(y0):
        return jax_odeint(gompertz, y0, TIMES[::-1], steps=5)[1:]

    y0, h = jnp.array([1.5, 2.0]), 1e-6
    numerical = [(flow(y0 + h * e) - flow(y0 - h * e)) / (2 * h) for e in jnp.eye(2)]
    numerical = jnp.stack(numerical, axis=-1)
    reverse, forward = jax.jit(jax.jacrev(flow))(y0), jax.jit(jax.jacfwd(flow))(y0)
    assert apart(reverse, forward) < 1e-12
    assert apart(reverse, numerical) < 1e-7


def test_vmap_equals_a_loop():
    _, layers, y0 = moved_network()
    rows = jnp.array(y0.numpy())

    @jax.jit
    def flow(row):
        return in_jax(layers, row, TIMES, steps=3)

    one_by_one = jnp.stack([flow(row) for row in rows])
    assert apart(jax.jit(jax.vmap(flow))(rows), one_by_one) <= 1000 * EPS


def test_vmap_over_weights_and_times_equals_a_loop():
    _, layers, y0 = moved_network()
    many = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), layers)
    spans = jnp.array([[0.0, 1.0], [1.0, -1.0]])

    @jax.jit
    def flow(layers, t):
        return in_jax(layers, y0.numpy(), t, steps=3)

    loop = [flow(jax.tree.map(lambda p, i=i: p[i], many), spans[i]) for i in range(2)]
    together = jax.jit(jax.vmap(flow))(many, spans)
    assert apart(together, jnp.stack(loop)) <= 1000 * EPS


def test_jit_changes_nothing_beyond_rounding_and_traces_once_for_each_shape():
    calls = []

    def f(t, y):
        calls.append(y.shape)
        return gompertz(t, y)

    solve = jax.jit(lambda y0, t: jax_odeint(f, y0, t, method="euler", steps=10))
    y0, t = jnp.array([1.5, 2.0]), jnp.array(TIMES)
    plain = jax_odeint(gompertz, y0, t, method="euler", steps=10)
    assert apart(solve(y0, t), plain) <= 100 * EPS
    traced = len(calls)
    solve(y0 + 1, t + 1)
    assert len(calls) == traced
    solve(jnp.ones(3), t)
    assert len(calls) > traced


@pytest.mark.parametrize("kind", [list, np.array, jnp.array])
def test_times_and_start_may_be_constants_of_a_jitted_function(kind):
    y0, times, repeated = np.array([1.0, 2.0]), kind(TIMES), kind([0.0, 1.0, 1.0])

    @jax.jit
    def end(rate):
        return jax_odeint(lambda t, y: rate * y, y0, times, steps=20)[-1]

    assert apart(end(-1.0), y0 * math.exp(-1.1)) < 1e-7
    with pytest.raises(ValueError, match="strictly"):
        jax.jit(lambda: jax_odeint(gompertz, y0, repeated))()


def test_one_time_of_a_list_may_be_traced():
    def end(stop):
        return jax_odeint(lambda t, y: -y, jnp.ones(()), [0.0, stop], steps=50)[-1]

    assert jax.jit(jax.grad(end))(1.0) == pytest.approx(-math.exp(-1), abs=1e-7)


def test_the_traced_program_is_as_long_for_a_thousand_steps_as_for_ten():
    def length(steps):
        def program(y0):
            return jax_odeint(gompertz, y0, TIMES, steps=steps)

        return str(jax.make_jaxpr(program)(jnp.ones(2))).count(" = ")

    assert length(10) == length(1000)


# --- what makes no sense --------------------------------------------------------------


def complaint(kind, f=lambda t, y: -y, y0=None, t=(0.0, 1.0), **settings) -> str:
    """The message of the error of exactly that kind."""
    y0 = np.array([1.0, 2.0]) if y0 is None else y0
    with pytest.raises(kind) as error:
        jax_odeint(f, y0, t, **settings)
    assert error.type is kind
    return str(error.value)


REFUSED = {
    "unknown method": (ValueError, dict(method="rk5"), "method='rk5'", "dopri5"),
    "no method": (ValueError, dict(method=None), "method=None", "choose from"),
    "no steps": (ValueError, dict(steps=0), "steps", "positive whole", "got 0"),
    "half a step": (ValueError, dict(steps=2.5), "positive whole", "got 2.5"),
    "steps backward": (ValueError, dict(steps=-3), "positive whole", "got -3"),
    "steps is True": (ValueError, dict(steps=True), "positive whole", "got True"),
    "f not callable": (TypeError, dict(f=3.0), "f must be callable", "float", "order"),
    "f gives a number": (TypeError, dict(f=lambda t, y: 1.0), "f must return", "float"),
    "f gives a tuple": (TypeError, dict(f=lambda t, y: (y, y)), "tuple", "jnp.stack"),
    "f loses a component": (
        ValueError,
        dict(f=lambda t, y: y[:1]),
        "expected (2,)",
        "got (1,)",
    ),
    "f in float32": (
        ValueError,
        dict(f=lambda t, y: y.astype("float32")),
        "expected (2,), float64",
        "got (2,), float32",
    ),
    "y0 a list": (TypeError, dict(y0=[1.0]), "y0", "got list", "jnp.array(y0)"),
    "y0 a tensor": (TypeError, dict(y0=torch.ones(2)), "y0", "got Tensor"),
    "y0 integer": (TypeError, dict(y0=np.array([1])), "y0", "got int64", "astype"),
    "y0 NaN": (ValueError, dict(y0=np.array([math.nan])), "y0 holds NaN", "finite"),
    "t a number": (TypeError, dict(t=1.0), "t must be a 1-D", "got 1.0", "[0.0, 1.0]"),
    "t None": (TypeError, dict(t=None), "t must be a 1-D", "got None"),
    "t words": (TypeError, dict(t=["now"]), "t must be a 1-D", "now"),
    "t empty": (ValueError, dict(t=[]), "at least one time", "(0,)"),
    "t 2-D": (ValueError, dict(t=np.ones((2, 2))), "t must be 1-D", "(2, 2)"),
    "t integer": (TypeError, dict(t=np.array([0, 1])), "t must be floating", "int64"),
    "t repeated": (ValueError, dict(t=[0, 1, 1]), "strictly", "[0.0, 1.0, 1.0]"),
    "t zigzag": (ValueError, dict(t=[0, 2, 1]), "strictly", "sort"),
    "t infinite": (ValueError, dict(t=[0, math.inf]), "t must be finite", "inf"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_by_name(case):
    kind, arguments, *words = case
    message = complaint(kind, **arguments)
    assert all(word in message for word in words), message


def test_a_traced_number_of_steps_is_refused_with_the_cure():
    def end(steps):
        return jax_odeint(lambda t, y: -y, jnp.ones(2), [0.0, 1.0], steps=steps)[-1]

    with pytest.raises(TypeError, match="static_argnames='steps'"):
        jax.jit(end)(10)
    cured = jax.jit(end, static_argnames="steps")(steps=10)
    assert apart(cured, end(10)) <= 10 * EPS


@pytest.mark.parametrize("name", ["y0", "t"])
def test_float64_is_refused_where_jax_would_silently_make_it_float32(name):
    arguments = {"y0": np.ones(2, "float32"), "t": np.array([0, 1], "float32")}
    arguments[name] = arguments[name].astype("float64")
    with enable_x64(False):
        message = complaint(TypeError, **arguments)
    assert all(word in message for word in (name, "float64", "jax_enable_x64"))


def test_without_jax_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)  # what Python does for "not there"
    spec = importlib.util.spec_from_file_location("alone", jax_checks.__file__)
    with pytest.raises(ImportError, match="pip install jax diffrax"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_times_that_are_one_in_float32_are_refused():
    with (
        enable_x64(False),
        pytest.raises(ValueError, match=r"increasing .* in float32"),
    ):
        jax_odeint(lambda t, y: -y, jnp.ones(1), [1e6, 1e6 + 0.01], steps=10)


def test_a_state_of_whole_numbers_has_no_step():
    with pytest.raises(TypeError, match="y must be floating point, got int"):
        jax_rk_step(lambda t, y: -y, 0.0, jnp.array([1, 2]), 0.1, METHODS["rk4"])

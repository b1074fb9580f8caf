"""Rodas5P is what it is said to be, and one step of it does what the table says.

In the form of the textbook a Rosenbrock method has coefficients α_ij and γ_ij; the table
holds what they become when the stages are changed so that no product with the Jacobian
is left. With Γ = (I/γ - M)⁻¹: α = A Γ, and weights w of the table stand for w Γ (Hairer,
Wanner, *Solving Ordinary Differential Equations II*, IV.7).
"""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from problems import BY_NAME, EPS, PROBLEMS, on_last
from torch import Tensor
from trees import density, elementary_weights, node_count, spelled, trees

from course_lib.solvers import (
    METHODS,
    RODAS5P,
    STIFF_METHODS,
    GuardedField,
    Linearisation,
    Step,
    interpolate,
    linearise,
    rosenbrock_step,
)

GOMPERTZ, PENDULUM = BY_NAME["Gompertz"], BY_NAME["pendulum"]
EMBEDDED_ORDER = {"rodas5p": 4}
DENSE_ORDER = {"rodas5p": 4}
all_tableaus = pytest.mark.parametrize(
    "tableau", STIFF_METHODS.values(), ids=STIFF_METHODS
)


def largest_difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def slope(x, y) -> float:
    return np.polyfit(np.log(x), np.log(y), 1)[0]


# --- the table ------------------------------------------------------------------------


def lower(rows) -> np.ndarray:
    matrix = np.zeros((len(rows) + 1, len(rows) + 1))
    for i, row in enumerate(rows, start=1):
        matrix[i, :i] = row
    return matrix


def of_the_textbook(tableau) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """α, β = α + Γ and Γ."""
    gammas = np.linalg.inv(np.eye(tableau.stages) / tableau.gamma - lower(tableau.m))
    alphas = lower(tableau.a) @ gammas
    return alphas, alphas + gammas, gammas


def missed(weights, tree, tableau, expected) -> np.ndarray:
    """Σ_i weights_i Φ_i(τ) - expected."""
    alphas, betas, gammas = of_the_textbook(tableau)
    return np.transpose(weights) @ gammas @ elementary_weights(
        tree, alphas, betas
    ) - np.array(expected)


def rounding(weights, tree, tableau) -> np.ndarray:
    """What is left of a condition where coefficients are rounded to double precision:
    with at most 5 factors in a product, each a sum over s stages, no term meets more
    than 5 (s + 1) roundings.
    """
    alphas, betas, gammas = of_the_textbook(tableau)
    size = abs(np.transpose(weights) @ gammas) + 1
    terms = size @ elementary_weights(tree, abs(alphas), abs(betas))
    return 5 * (tableau.stages + 1) * EPS * (terms + 1)


def conditions(orders):
    return [
        pytest.param(STIFF_METHODS[name], tree, id=f"{name}-{spelled(tree)}")
        for name, order in orders.items()
        for nodes in range(1, order + 1)
        for tree in trees(nodes)
    ]


def embedded_weights(tableau) -> np.ndarray:
    return np.subtract(tableau.b, tableau.b_error)


@pytest.mark.parametrize(
    ("tableau", "tree"), conditions({m.name: m.order for m in STIFF_METHODS.values()})
)
def test_the_method_satisfies_the_order_condition_of_the_tree(tableau, tree):
    bound = rounding(tableau.b, tree, tableau)
    assert abs(missed(tableau.b, tree, tableau, 1 / density(tree))) <= bound < 1e-9


@pytest.mark.parametrize(("tableau", "tree"), conditions(EMBEDDED_ORDER))
def test_the_embedded_method_satisfies_the_order_condition_of_the_tree(tableau, tree):
    weights = embedded_weights(tableau)
    bound = rounding(weights, tree, tableau)
    assert abs(missed(weights, tree, tableau, 1 / density(tree))) <= bound < 1e-9


@pytest.mark.parametrize(("tableau", "tree"), conditions(DENSE_ORDER))
def test_the_dense_output_satisfies_the_order_condition_of_the_tree(tableau, tree):
    powers = np.arange(1, len(tableau.dense[0]) + 1)
    # θ^|τ| / γ(τ), power by power
    expected = np.where(powers == node_count(tree), 1 / density(tree), 0.0)
    bound = rounding(tableau.dense, tree, tableau)
    assert (abs(missed(tableau.dense, tree, tableau, expected)) <= bound).all()
    assert (bound < 1e-8).all()


@all_tableaus
def test_no_order_is_higher_than_stated(tableau):
    orders = (
        (tableau.b, tableau.order),
        (embedded_weights(tableau), EMBEDDED_ORDER[tableau.name]),
        (np.sum(tableau.dense, axis=1), tableau.order),
    )
    for weights, order in orders:
        most = max(
            abs(missed(weights, tree, tableau, 1 / density(tree))) * density(tree)
            for tree in trees(order + 1)
        )
        assert most > 1e-3


@all_tableaus
def test_a_method_is_found_under_its_name_and_under_no_other(tableau):
    assert STIFF_METHODS[tableau.name] is tableau
    assert tableau.name not in METHODS
    assert tableau.source
    assert (tableau.adaptive, tableau.fsal) == (True, False)


@all_tableaus
def test_the_method_ends_where_its_last_stage_started_plus_that_stage(tableau):
    """Stiffly accurate: that place is the end of a method of order 4 in itself, and where
    h |λ| is large the last stage pulls it onto the slow solution.
    """
    assert tableau.b == (*tableau.a[-1], 1.0)
    for tree in (tree for nodes in range(1, 5) for tree in trees(nodes)):
        weights = (*tableau.a[-1], 0.0)
        bound = rounding(weights, tree, tableau)
        assert abs(missed(weights, tree, tableau, 1 / density(tree))) <= bound


@pytest.mark.parametrize(
    "tree", [tree for nodes in range(1, 6) for tree in trees(nodes)], ids=spelled
)
def test_beside_the_last_stage_the_error_estimate_has_no_term_up_to_order_five(tree):
    """Where f is not stiff it is the last stage that measures the error."""
    beside = np.subtract(RODAS5P.b_error, np.eye(8)[-1])
    assert abs(missed(beside, tree, RODAS5P, 0.0)) <= rounding(beside, tree, RODAS5P)


@pytest.mark.parametrize("power", [4, 5, 6])
def test_where_f_is_very_stiff_the_error_estimate_is_that_of_dense_output(power):
    """One step of Prothero and Robinson's problem with the solution t^power.

    The step ends on the solution however long it is, and its last stage says so; between
    its ends dense output is right for a cubic only.
    """

    def f(t, y):
        return -1e10 * (y - t**power) + power * t ** (power - 1)

    y, stages = rosenbrock_step(f, 0.0, torch.zeros(1).double(), 1.0, RODAS5P)
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    step = Step(0.0, 1.0, 1.0, torch.zeros(1).double(), y, stages, 0, 1.0)
    between = largest_difference(interpolate(step, RODAS5P, t), t[:, None] ** power)
    estimate = abs(sum(w * k for w, k in zip(RODAS5P.b_error, stages)).item())
    assert abs(y.item() - 1) < 1e-8
    assert abs(stages[-1].item()) < 1e-8
    assert between > 0.008
    assert 0.99 * between <= estimate <= 1.6 * between


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"b": (*RODAS5P.b[:-1], 1.1)}, None),  # d₈ is 0: only dense notices
        ({"b": (1.0, *RODAS5P.b[1:])}, "b, times d, sums to"),
        ({"b": RODAS5P.b[:-1]}, "c has 8 entries, b has 7"),
        ({"c": (0.1, *RODAS5P.c[1:])}, "row 1 of a, times d, sums to 0"),
        ({"d": (0.2, *RODAS5P.d[1:])}, "row 1 of m, times d, sums to 1"),
        ({"gamma": 0.25}, "row 1 of m, times d, sums to 1"),
        ({"a": RODAS5P.a[:-1]}, "row i of a needs i entries"),
        ({"m": RODAS5P.m[1:]}, "row i of m needs i entries"),
        ({"b_error": (1.0, *RODAS5P.b_error[1:])}, "b_error, times d, sums to"),
        ({"dense": ((1.0,), *RODAS5P.dense[1:])}, "row 1 of dense sums to 1"),
        ({"dense": RODAS5P.dense[1:]}, "dense has 7 entries, b has 8"),
    ],
)
def test_an_inconsistent_table_is_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint or "row 8 of dense") as refusal:
        replace(RODAS5P, **change)
    assert "tableau 'rodas5p'" in str(refusal.value)


def test_a_table_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        RODAS5P.gamma = 0.25


# --- stability ------------------------------------------------------------------------


def multiplied(z: complex, tableau) -> complex:
    """R(z), by which one step of size 1 multiplies a solution of y' = zy."""
    turn = torch.tensor([[z.real, -z.imag], [z.imag, z.real]], dtype=torch.float64)
    y0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    y, _ = rosenbrock_step(lambda t, y: turn @ y, 0.0, y0, 1.0, tableau)
    return complex(*y.tolist())


@all_tableaus
def test_the_method_is_l_stable(tableau):
    """|R| ≤ 1 on the imaginary axis; R is analytic left of it, so there too (its only
    pole is 1/γ). Far away R goes to 0.
    """
    for y in np.logspace(-3, 6, 200):
        assert abs(multiplied(1j * y, tableau)) <= 1 + 1000 * EPS
    for direction in (-1, 1j, -1 + 1j):
        assert abs(multiplied(1e9 * direction, tableau)) < 1e-6


@all_tableaus
def test_the_stability_function_is_the_exponential_to_no_less_than_the_order(tableau):
    # On linear problems the order is 6.
    sizes = [1 / 8, 1 / 16, 1 / 32]
    directions = np.exp(1j * np.linspace(0.0, 2 * np.pi, 7))
    errors = [
        max(abs(multiplied(h * d, tableau) - np.exp(h * d)) for d in directions)
        for h in sizes
    ]
    assert slope(sizes, errors) > tableau.order + 0.8


# --- one step -------------------------------------------------------------------------


def path(problem, h: float, tableau) -> float:
    """The largest error along equal steps."""
    t, y, error = problem.span[0], problem.start(), 0.0
    while t < problem.span[1]:
        y, _ = rosenbrock_step(problem.f, t, y, h, tableau)
        t += h  # without rounding: h is a power of two
        truth = problem.truth(torch.tensor([t]).double())[0]
        error = max(error, largest_difference(y, truth))
    return error


@all_tableaus
@pytest.mark.parametrize("problem", [GOMPERTZ, PENDULUM], ids=lambda p: p.name)
def test_the_error_of_equal_steps_falls_with_the_order_of_the_method(problem, tableau):
    sizes = [1 / 16, 1 / 32, 1 / 64]
    errors = [path(problem, h, tableau) for h in sizes]
    assert slope(sizes, errors) == pytest.approx(tableau.order, abs=0.3)


@all_tableaus
@pytest.mark.parametrize("problem", [GOMPERTZ, PENDULUM], ids=lambda p: p.name)
def test_the_error_of_dense_output_in_one_step_falls_with_its_order_plus_one(
    problem, tableau
):
    t0, y0 = problem.span[0], problem.start()
    sizes, errors = [1 / 16, 1 / 32, 1 / 64], []
    for h in sizes:
        y1, stages = rosenbrock_step(problem.f, t0, y0, h, tableau)
        t = torch.linspace(t0, t0 + h, 21, dtype=torch.float64)
        curve = interpolate(Step(t0, t0 + h, h, y0, y1, stages, 0, h), tableau, t)
        errors.append(largest_difference(curve, problem.truth(t)))
        assert largest_difference(curve[-1], y1) <= 1000 * EPS
    order = DENSE_ORDER[tableau.name] + 1
    assert slope(sizes, errors) == pytest.approx(order, abs=0.3)


@all_tableaus
@pytest.mark.parametrize(("stiffness", "order"), [(1e4, 3), (1e6, 3)])
def test_on_a_very_stiff_problem_three_orders_are_left_and_the_error_is_tiny(
    tableau, stiffness, order
):
    """Prothero and Robinson's, at steps 10³ and more times longer than stability allows
    an explicit method.
    """
    sizes, errors = [1 / 4, 1 / 8, 1 / 16], []
    for h in sizes:
        t, y = 0.0, torch.zeros(1).double()
        while t < 2:
            y, _ = rosenbrock_step(
                lambda t, y: -stiffness * (y - t.sin()) + t.cos(), t, y, h, tableau
            )
            t += h
        errors.append(abs(y.item() - math.sin(2)))
    assert slope(sizes, errors) == pytest.approx(order, abs=0.3)
    assert max(errors) < 1e-7


@all_tableaus
def test_time_is_one_more_component_of_the_state(tableau):
    """A step of y' = f(t, y) is that of the autonomous (y, t)' = (f(t, y), 1)."""

    def extended(_, z):
        return torch.cat((GOMPERTZ.f(z[-1], z[:-1]), torch.ones(1).double()))

    t, h, y = 0.5, 0.25, GOMPERTZ.start()
    ours, _ = rosenbrock_step(GOMPERTZ.f, t, y, h, tableau)
    z = torch.cat((y, torch.tensor([t]).double()))
    theirs, _ = rosenbrock_step(extended, 0.0, z, h, tableau)
    assert largest_difference(theirs, torch.cat((ours, z[1:] + h))) <= 1000 * EPS


@all_tableaus
def test_a_step_back_is_a_step_of_the_reversed_field(tableau):
    y = PENDULUM.start()
    back, _ = rosenbrock_step(PENDULUM.f, 1.0, y, -0.25, tableau)
    reverse, _ = rosenbrock_step(lambda t, y: -PENDULUM.f(t, y), -1.0, y, 0.25, tableau)
    assert largest_difference(back, reverse) <= 1000 * EPS


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_step_takes_states_of_any_shape_and_keeps_their_dtype(shape, dtype):
    """The samples of a batch do not see each other, so a step of all is one of each."""
    y = torch.linspace(0.5, 1.5, math.prod(shape), dtype=dtype).reshape(shape)

    def f(t, y):
        assert (t.shape, t.dtype, y.shape, y.dtype) == ((), dtype, y.shape, dtype)
        return -t * y**2

    batch, stages = rosenbrock_step(f, 1.0, y, 0.1, RODAS5P)
    each = [rosenbrock_step(f, 1.0, x, 0.1, RODAS5P)[0] for x in y.flatten()]
    assert (batch.shape, batch.dtype) == (shape, dtype)
    assert len(stages) == RODAS5P.stages
    if each:
        together = torch.stack(each).reshape(shape)
        torch.testing.assert_close(
            batch, together, rtol=100 * torch.finfo(dtype).eps, atol=0
        )


def test_a_singular_matrix_gives_no_finite_step_and_no_error():
    """I/γ - hJ = 0, where the step control shortens the step."""
    growth = 1 / (0.5 * RODAS5P.gamma)
    y, _ = rosenbrock_step(
        lambda t, y: growth * y, 0.0, torch.ones(2).double(), 0.5, RODAS5P
    )
    assert not torch.isfinite(y).any()


def test_a_linearisation_handed_over_is_not_computed_again():
    f = GuardedField(GOMPERTZ.f, GOMPERTZ.start())
    y, _ = rosenbrock_step(f, 0.5, GOMPERTZ.start(), 0.1, RODAS5P)
    assert f.nfe == RODAS5P.stages
    start = linearise(f, 0.5, GOMPERTZ.start())
    again, _ = rosenbrock_step(f, 0.5, GOMPERTZ.start(), 0.1, RODAS5P, start)
    assert f.nfe == 2 * RODAS5P.stages
    assert torch.equal(again, y)


# --- the linearisation ----------------------------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_the_linearisation_is_that_of_central_differences(problem):
    t, y = 1.25, problem.start() + 0.1
    start = linearise(problem.f, t, y)
    eps, flat = 1e-5, y.flatten()

    def f(t, flat):
        return problem.at(t, flat.reshape(y.shape)).flatten()

    columns = [
        (f(t, flat + eps * e) - f(t, flat - eps * e)) / (2 * eps)
        for e in torch.eye(len(flat)).double()
    ]
    dy_dt = (f(t + eps, flat) - f(t - eps, flat)) / (2 * eps)
    assert torch.equal(start.dy, problem.at(t, y))
    assert start.dy.shape == start.dy_dt.shape == y.shape
    torch.testing.assert_close(
        start.jacobian, torch.stack(columns, 1), rtol=1e-7, atol=1e-8
    )
    torch.testing.assert_close(start.dy_dt.flatten(), dy_dt, rtol=1e-7, atol=1e-8)


FIELDS = {
    "constant": lambda t, y: torch.ones(2),
    "time alone": lambda t, y: t.cos().expand(2),
    "the state itself": lambda t, y: y,
    "a branch": lambda t, y: -y if y.norm() < 10 else -(y**3),
    "filled": lambda t, y: torch.empty(2).copy_(torch.zeros(2)) - y * t,
    "differentiates": lambda t, y: torch.func.grad(lambda y: (y**4).sum())(y),
    "autograd": lambda t, y: torch.autograd.grad((y**4).sum(), y, create_graph=True)[0],
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    "mode",
    [torch.no_grad, torch.enable_grad, torch.inference_mode],
    ids=lambda m: m.__name__,
)
def test_a_field_is_linearised_in_one_call_whatever_the_gradient_mode(name, mode):
    with mode():
        y = torch.tensor([1.0, 2.0])
        f = GuardedField(FIELDS[name], y)
        start = linearise(f, 0.5, y)
        assert f.nfe == 1
        assert isinstance(start, Linearisation)
        assert all(torch.isfinite(x).all() for x in start)
    expected = {"constant": 0.0, "time alone": 0.0, "the state itself": 2.0}
    expected |= {"a branch": -2.0, "filled": -1.0}
    trace = expected.get(name, 12 * (1.0**2 + 2.0**2))
    assert start.jacobian.trace().item() == pytest.approx(trace)


def test_a_field_that_cannot_be_linearised_is_told_what_to_do():
    def restless(t, y):
        slope = torch.autograd.grad((y.detach().requires_grad_() ** 2).sum(), y)
        return -slope[0]

    with pytest.raises(RuntimeError) as error:
        linearise(restless, 0.0, torch.ones(2))
    (note,) = error.value.__notes__
    assert "use torch.func.grad in place of requires_grad_()" in note
    with pytest.raises(RuntimeError) as error:
        linearise(lambda t, y: y.neg_(), 0.0, torch.ones(2))
    (note,) = error.value.__notes__
    assert "compute new tensors instead of writing to old ones" in note


def test_an_error_inside_f_is_not_disguised():
    with pytest.raises(ZeroDivisionError) as error:
        linearise(lambda t, y: y / (1 // 0), 0.0, torch.ones(2))
    assert not hasattr(error.value, "__notes__")


# --- gradients of a step --------------------------------------------------------------


def test_first_and_second_derivatives_of_a_step_pass_gradcheck():
    """With respect to time, state, step size and a parameter, through the Jacobian."""

    def end(t, y, h, a):
        def f(t, y):
            first = a * y[1] * t
            second = 30 * (1 - y[0] ** 2) * y[1] - y[0] * a.sin()
            return on_last(first, second)

        return rosenbrock_step(f, t, y, h, RODAS5P)[0]

    inputs = [
        torch.tensor(x, dtype=torch.float64, requires_grad=True)
        for x in (0.7, [2.0, 0.4], 0.3, 1.3)
    ]
    assert torch.autograd.gradcheck(end, inputs)
    assert torch.autograd.gradgradcheck(end, inputs)

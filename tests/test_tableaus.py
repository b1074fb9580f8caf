"""The tables are right: order conditions over rooted trees, and the tables of SciPy and
diffrax.

A method has order p if Σ b_i Φ_i(τ) = 1/γ(τ) for every rooted tree τ of at most p
nodes; its dense output has order q if Σ b_i(θ) Φ_i(τ) = θ^|τ|/γ(τ) for every tree of at
most q (Hairer, Nørsett, Wanner I, II.2 and II.6).
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import EPS, enable_x64
from scipy.integrate import RK23, RK45
from trees import density, elementary_weights, node_count, spelled, trees

from course_lib.solvers import BOSH3, DOPRI5, METHODS, RK4, TSIT5, ButcherTableau

EMBEDDED_ORDER = {"bosh3": 2, "dopri5": 4, "tsit5": 4}
DENSE_ORDER = {"bosh3": 3, "dopri5": 4, "tsit5": 4}
all_tableaus = pytest.mark.parametrize("tableau", METHODS.values(), ids=METHODS)

# --- what a table must satisfy --------------------------------------------------------


def stage_matrix(tableau: ButcherTableau) -> np.ndarray:
    a = np.zeros((tableau.stages, tableau.stages))
    for i, row in enumerate(tableau.a, start=1):
        a[i, :i] = row
    return a


def embedded_weights(tableau: ButcherTableau) -> np.ndarray:
    return np.subtract(tableau.b, tableau.b_error)


def assert_equals_up_to_rounding(weights, tree, tableau, expected):
    """Σ_i weights_i Φ_i(τ) = expected, where every number is rounded to double
    precision.

    With at most 5 factors in a product, each a sum over s stages, no term meets more
    than 5 (s + 1) roundings.
    """
    a = stage_matrix(tableau)
    found = np.transpose(weights) @ elementary_weights(tree, a)
    magnitude = np.abs(weights).T @ elementary_weights(tree, abs(a))
    np.testing.assert_array_less(
        abs(found - expected), 5 * (tableau.stages + 1) * EPS * (magnitude + 1)
    )


def conditions(orders):
    return [
        pytest.param(METHODS[name], tree, id=f"{name}-{spelled(tree)}")
        for name, order in orders.items()
        for nodes in range(1, order + 1)
        for tree in trees(nodes)
    ]


def some_condition_of_order(order, weights, tableau) -> bool:
    """Whether `weights` miss a condition on trees of `order` nodes by more than a part
    in a thousand.
    """
    a = stage_matrix(tableau)
    return any(
        abs(weights @ elementary_weights(t, a) * density(t) - 1) > 1e-3
        for t in trees(order)
    )


def test_there_are_seventeen_rooted_trees_of_up_to_five_nodes():
    assert [len(trees(n)) for n in range(1, 6)] == [1, 1, 2, 4, 9]


@pytest.mark.parametrize(
    ("tableau", "tree"), conditions({m.name: m.order for m in METHODS.values()})
)
def test_the_method_satisfies_the_order_condition_of_the_tree(tableau, tree):
    assert_equals_up_to_rounding(tableau.b, tree, tableau, 1 / density(tree))


@pytest.mark.parametrize(("tableau", "tree"), conditions(EMBEDDED_ORDER))
def test_the_embedded_method_satisfies_the_order_condition_of_the_tree(tableau, tree):
    assert_equals_up_to_rounding(
        embedded_weights(tableau), tree, tableau, 1 / density(tree)
    )


@pytest.mark.parametrize(("tableau", "tree"), conditions(DENSE_ORDER))
def test_the_dense_output_satisfies_the_order_condition_of_the_tree(tableau, tree):
    powers = np.arange(1, len(tableau.dense[0]) + 1)
    # θ^|τ| / γ(τ), power by power
    expected = np.where(powers == node_count(tree), 1 / density(tree), 0.0)
    assert_equals_up_to_rounding(tableau.dense, tree, tableau, expected)


@all_tableaus
def test_the_order_is_not_higher_than_stated(tableau):
    assert some_condition_of_order(tableau.order + 1, np.array(tableau.b), tableau)


@pytest.mark.parametrize("name", EMBEDDED_ORDER)
def test_the_embedded_method_is_of_lower_order_so_that_the_difference_measures_the_error(
    name,
):
    tableau = METHODS[name]
    assert some_condition_of_order(
        EMBEDDED_ORDER[name] + 1, embedded_weights(tableau), tableau
    )


@pytest.mark.parametrize("name", DENSE_ORDER)
def test_the_dense_output_errs_at_most_twice_as_much_as_a_step_may(name):
    """By the conditions missed at the order that the error estimate measures, as in
    Hairer et al. II.1.
    """
    tableau, a, nodes = (
        METHODS[name],
        stage_matrix(METHODS[name]),
        EMBEDDED_ORDER[name] + 1,
    )

    def missed(weights, theta):
        return np.linalg.norm(
            [
                weights @ elementary_weights(t, a) - theta**nodes / density(t)
                for t in trees(nodes)
            ]
        )

    powers = np.arange(1, len(tableau.dense[0]) + 1)
    between = max(
        missed(np.array(tableau.dense) @ theta**powers, theta)
        for theta in np.linspace(0, 1, 101)
    )
    assert between <= 2 * missed(embedded_weights(tableau), 1.0)


@all_tableaus
def test_a_method_is_found_under_its_name_and_names_its_source(tableau):
    assert METHODS[tableau.name] is tableau
    assert tableau.source


@all_tableaus
def test_adaptive_methods_and_only_they_reuse_their_last_stage(tableau):
    assert tableau.fsal == tableau.adaptive == (tableau.name in EMBEDDED_ORDER)


# --- other people's tables ------------------------------------------------------------


@pytest.mark.parametrize(
    ("tableau", "theirs"), [(DOPRI5, RK45), (BOSH3, RK23)], ids=["dopri5", "bosh3"]
)
def test_coefficients_equal_those_of_scipy(tableau, theirs):
    # SciPy keeps the last stage, which is the step itself, apart.
    a = stage_matrix(tableau)[:-1, : theirs.A.shape[1]]
    assert np.allclose(a, theirs.A, rtol=EPS, atol=0)
    assert np.allclose(tableau.b[:-1], theirs.B, rtol=EPS, atol=0)
    assert np.allclose(tableau.c[:-1], theirs.C, rtol=EPS, atol=0)
    # Their E is the embedded method minus the method.
    assert np.allclose(tableau.b_error, -theirs.E, rtol=EPS, atol=0)
    assert np.allclose(tableau.dense, theirs.P, rtol=EPS, atol=0)


@pytest.mark.parametrize(
    ("tableau", "theirs"),
    [
        pytest.param(BOSH3, diffrax.Bosh3, id="bosh3"),
        pytest.param(DOPRI5, diffrax.Dopri5, id="dopri5"),
        pytest.param(TSIT5, diffrax.Tsit5, id="tsit5"),
    ],
)
def test_coefficients_equal_those_of_diffrax(tableau, theirs):
    table = theirs.tableau
    for ours, row in zip(tableau.a, table.a_lower, strict=True):
        assert np.allclose(ours, row, rtol=4 * EPS, atol=0)
    assert np.allclose(tableau.b, table.b_sol, rtol=4 * EPS, atol=0)
    assert np.allclose(tableau.c[1:], table.c, rtol=4 * EPS, atol=0)


@pytest.mark.parametrize(
    ("tableau", "theirs"), [(BOSH3, diffrax.Bosh3), (TSIT5, diffrax.Tsit5)]
)
def test_the_error_estimate_equals_that_of_diffrax(tableau, theirs):
    # Differences of two weights of size about 1 or 2. (diffrax's Dopri5 uses Shampine's
    # estimate, not Dormand's.)
    assert np.allclose(tableau.b_error, theirs.tableau.b_error, rtol=0, atol=4 * EPS)


@pytest.mark.parametrize("theta", [0.0, 0.1, 0.25, 0.5, 0.8, 1.0])
def test_the_dense_output_of_tsit5_equals_that_of_diffrax(theta):
    with enable_x64(True):
        # From zero along unit stages, the value is the weights of the stages.
        zero, unit = jnp.zeros(TSIT5.stages), jnp.eye(TSIT5.stages)
        step = {"t0": 0.0, "t1": 1.0, "y0": zero, "y1": zero, "k": unit}
        theirs = diffrax.Tsit5.interpolation_cls(**step).evaluate(theta)
    powers = theta ** np.arange(1, 5)
    # Sums of terms up to 88, with fewer than ten roundings on either side.
    assert np.allclose(
        TSIT5.dense @ powers, theirs, rtol=0, atol=20 * EPS * np.abs(TSIT5.dense).max()
    )


# --- a table checks itself ------------------------------------------------------------


@pytest.mark.parametrize(
    ("tableau", "change", "complaint"),
    [
        (RK4, {"b": (1 / 6, 1 / 3, 1 / 3, 1 / 3)}, "b sums to 1.16"),
        (RK4, {"b": (0.5, 0.5)}, "c has 4 entries, b has 2"),
        (RK4, {"c": (0.0, 1 / 2, 1 / 3, 1.0)}, "row 3 of a sums to 0.5"),
        (RK4, {"c": (0.1, 1 / 2, 1 / 2, 1.0)}, "row 1 of a sums to 0"),
        (
            RK4,
            {"a": ((1 / 2,), (1 / 2,), (0.0, 0.0, 1.0))},
            "row i of a needs i entries",
        ),
        (DOPRI5, {"b_error": (0.1, *DOPRI5.b_error[1:])}, "b_error sums to"),
        (DOPRI5, {"b_error": (0.0, 0.0)}, "b_error needs as many entries as b"),
        (DOPRI5, {"dense": None}, "an adaptive method needs dense output"),
        (
            BOSH3,
            {"dense": ((1.0, 0.0, 0.0), *BOSH3.dense[1:])},
            "row 1 of dense sums to 1",
        ),
        (BOSH3, {"dense": BOSH3.dense[:3]}, "dense needs as many rows as b"),
    ],
)
def test_an_inconsistent_table_is_refused(tableau, change, complaint):
    with pytest.raises(ValueError, match=complaint) as refusal:
        replace(tableau, **change)
    assert repr(tableau.name) in str(refusal.value)


def test_a_table_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        RK4.order = 5


def test_an_adaptive_method_hands_its_last_stage_on():
    with pytest.raises(
        ValueError, match="last stage of an adaptive method is the next"
    ):
        ButcherTableau(
            name="heun-euler",
            order=2,
            c=(0.0, 1.0),
            a=((1.0,),),
            b=(0.5, 0.5),
            b_error=(-0.5, 0.5),
            dense=((1.0, -0.5), (0.0, 0.5)),
        )

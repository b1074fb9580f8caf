"""Graphs: Laplacians in closed form, heat, over-smoothing, fields, oscillators, data."""

from __future__ import annotations

import math

import networkx
import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from course_lib.data import (
    Graph,
    block_model,
    generator,
    karate_club,
    nearest_neighbours,
    ring,
)
from course_lib.models import (
    AttentionField,
    CoupledField,
    GraphField,
    GraphLayers,
    HeatField,
    NodeClassifier,
    PairFunction,
    degrees,
    graph_ode,
    kuramoto,
    label_propagation,
    laplacian,
    propagation,
    smoothing_energy,
)
from course_lib.solvers import odeint


@pytest.fixture(autouse=True)
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def path(n: int) -> torch.Tensor:
    return torch.diag(torch.ones(n - 1), 1) + torch.diag(torch.ones(n - 1), -1)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


CLUB = karate_club().adjacency().double()
KINDS = ["plain", "symmetric", "walk"]


# --- matrices -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("A", "exact"),
    [
        (path(7).double(), [2 - 2 * math.cos(math.pi * k / 7) for k in range(7)]),
        (
            ring(8).adjacency().double(),
            [2 - 2 * math.cos(2 * math.pi * k / 8) for k in range(8)],
        ),
        ((torch.ones(6, 6) - torch.eye(6)).double(), [0.0] + [6.0] * 5),
    ],
    ids=["path", "cycle", "complete"],
)
def test_eigenvalues_are_those_of_the_closed_forms(A, exact):
    found = torch.linalg.eigvalsh(laplacian(A))
    torch.testing.assert_close(found, torch.tensor(sorted(exact)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["plain", "symmetric"])
def test_the_laplacian_is_that_of_scipy(kind):
    lonely = torch.zeros(35, 35)
    lonely[:34, :34] = CLUB  # a node without neighbours too
    theirs = csgraph.laplacian(lonely.numpy(), normed=kind == "symmetric")
    np.testing.assert_allclose(laplacian(lonely, kind=kind), theirs, atol=1e-14)


def test_walk_and_symmetric_have_the_same_eigenvalues_between_zero_and_two():
    walk = torch.linalg.eigvals(laplacian(CLUB, kind="walk"))
    even = torch.linalg.eigvalsh(laplacian(CLUB, kind="symmetric"))
    torch.testing.assert_close(walk.real.sort().values, even, atol=1e-12, rtol=0)
    assert walk.imag.abs().max() < 1e-12
    assert even.min() > -1e-12 and even.max() <= 2


@pytest.mark.parametrize("kind", ["symmetric", "walk"])
def test_propagation_is_the_same_sparse_and_dense_and_keeps_what_it_must(kind):
    P = propagation(CLUB, kind=kind)
    torch.testing.assert_close(propagation(CLUB.to_sparse(), kind=kind).to_dense(), P)
    even = (degrees(CLUB) + 1).sqrt() if kind == "symmetric" else torch.ones(34)
    torch.testing.assert_close(P @ even, even)


def test_the_energy_is_the_sum_over_the_edges():
    x = drawn(34, 3)
    i, j = karate_club().edges
    torch.testing.assert_close(
        smoothing_energy(laplacian(CLUB), x), (x[i] - x[j]).square().sum()
    )


def test_a_matrix_that_is_no_graph_is_refused_with_words():
    with pytest.raises(ValueError, match=r"symmetric matrix.*\(2, 3\)"):
        degrees(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="symmetric matrix"):
        laplacian(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"'odd' is not known.*walk"):
        laplacian(CLUB, kind="odd")


# --- heat -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_heat_flow_is_the_matrix_exponential(kind):
    L, x = laplacian(CLUB, kind=kind), drawn(34, 2)
    ys = odeint(HeatField(L), x, [0.0, 0.5, 1.5], rtol=1e-10, atol=1e-12)
    for t, y in zip((0.5, 1.5), ys[1:]):
        exact = torch.from_numpy(expm(-t * L.numpy())) @ x
        torch.testing.assert_close(y, exact, atol=1e-8, rtol=0)


def test_heat_keeps_its_mean_and_its_energy_falls_at_least_at_the_second_eigenvalue():
    L, x = laplacian(CLUB), drawn(34, 2)
    slow = torch.linalg.eigvalsh(L)[1]
    t = torch.linspace(0, 3, 13)
    ys = odeint(HeatField(L), x, t, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ys.mean(1), x.mean(0).expand(13, 2), atol=1e-9, rtol=0)
    energy = smoothing_energy(L, ys)
    assert (energy.diff() < 0).all()
    assert (energy <= energy[0] * (-2 * slow * t).exp() + 1e-9).all()


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun"])
def test_explicit_steps_are_stable_exactly_up_to_two_over_the_largest_eigenvalue(
    method,
):
    L = laplacian(CLUB)
    values, vectors = torch.linalg.eigh(L)
    worst = vectors[:, -1:]
    for factor, grows in ((0.99, False), (1.01, True)):
        h = factor * 2 / values[-1].item()
        ys = odeint(HeatField(L), worst, [0.0, 200 * h], method=method, step_size=h)
        assert (ys[-1].norm() > 1).item() is grows


def test_a_layer_without_weights_is_one_euler_step_of_heat():
    P, x = propagation(CLUB), drawn(34, 2)
    heat = HeatField(torch.eye(34) - P)
    ys = odeint(heat, x, [0.0, 1.0, 2.0], method="euler", step_size=1.0)
    torch.testing.assert_close(ys[1:], torch.stack((P @ x, P @ (P @ x))))


def test_layers_over_smooth_at_the_rate_of_the_second_eigenvalue():
    P = propagation(CLUB)
    values, vectors = torch.linalg.eigh(P)
    rate = values[:-1].abs().max()
    even = vectors[:, -1:]
    x, gaps = drawn(34, 1), []
    for _ in range(60):
        x = P @ x
        gaps.append((x - even @ (even.T @ x)).norm())
    ratio = torch.stack(gaps[1:]) / torch.stack(gaps[:-1])
    assert (ratio <= rate + 1e-12).all()
    assert abs(ratio[-1] - rate) < 1e-6


def test_a_relu_layer_shrinks_the_distance_by_the_eigenvalue_and_the_norm_of_its_weights():
    P = propagation(CLUB)
    values, vectors = torch.linalg.eigh(P)
    rate, even = values[:-1].abs().max(), vectors[:, -1:]
    torch.manual_seed(0)
    net = GraphLayers(P, 5, 6)
    for layer in net.layers:
        torch.nn.init.zeros_(layer.linear.bias)
    states = net.states(drawn(34, 5))
    away = [(x - even @ (even.T @ x)).norm() for x in states]
    for layer, before, after in zip(net.layers, away, away[1:]):
        size = torch.linalg.matrix_norm(layer.linear.weight, 2)
        assert after <= rate * size * before + 1e-12


# --- fields and layers ----------------------------------------------------------------


def made(name: str, A: torch.Tensor) -> torch.nn.Module:
    torch.manual_seed(0)
    P = propagation(A)
    flows = {
        "heat": lambda: graph_ode(HeatField(laplacian(A, kind="symmetric")), 3),
        "field": lambda: graph_ode(GraphField(P, 4), 3),
        "attention": lambda: graph_ode(AttentionField(A, 4), 3),
        "layers": lambda: GraphLayers(P, 4, 3),
        "residual": lambda: GraphLayers(P, 4, 3, residual=True),
    }
    return NodeClassifier(2, 4, 3, flows[name]())


FLOWS = ["heat", "field", "attention", "layers", "residual"]


@pytest.mark.parametrize("name", FLOWS)
def test_nodes_in_another_order_give_the_result_in_that_order(name):
    order = torch.randperm(34, generator=generator(0))
    x = drawn(34, 2)
    here = made(name, CLUB)(x)
    there = made(name, CLUB[order][:, order])(x[order])
    torch.testing.assert_close(there, here[order])


@pytest.mark.parametrize("name", FLOWS)
def test_gradients_are_those_of_differences(name):
    net = made(name, path(4))
    x = drawn(4, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(net, x)
    weight = net.encode.weight
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(net, {"encode.weight": w}, x), weight
    )


@pytest.mark.parametrize("name", ["field", "layers", "residual"])
def test_a_sparse_graph_gives_the_same_and_the_same_gradient(name):
    found = []
    for P in (propagation(CLUB), propagation(CLUB.to_sparse())):
        torch.manual_seed(0)
        flow = GraphLayers(P, 3, 2, residual=name == "residual")
        if name == "field":
            flow = graph_ode(GraphField(P, 3), 2)
        x = drawn(34, 3).requires_grad_()
        y = flow(x)
        found.append((y, torch.autograd.grad(y.square().sum(), x)[0]))
    for dense, sparse in zip(*found):
        torch.testing.assert_close(dense, sparse)


def test_attention_is_a_mean_over_a_node_and_its_neighbours():
    torch.manual_seed(0)
    f = AttentionField(CLUB, 3)
    x = drawn(34, 3)
    i, j = f.edges
    A = torch.zeros(34, 34).index_put((i, j), f.weights(x))
    torch.testing.assert_close(A.sum(1), torch.ones(34))
    assert ((A > 0) == (CLUB + torch.eye(34) > 0)).all()
    torch.testing.assert_close(f(0.0, x), A @ x - x)
    ys = odeint(f, x, torch.linspace(0, 5, 6))
    assert (ys.amax(1).diff(dim=0) <= 1e-6).all()  # no number leaves the range


def test_the_field_keeps_numbers_within_one_and_without_bias_it_is_odd():
    torch.manual_seed(0)
    f = GraphField(propagation(CLUB), 3, bias=False)
    x = 2 * torch.rand(34, 3, generator=generator(0)) - 1
    ys = odeint(f, x, torch.linspace(0, 20, 5), rtol=1e-8, atol=1e-10)
    assert ys.abs().max() <= 1
    torch.testing.assert_close(f(0.0, -x), -f(0.0, x))


def test_a_batch_of_graphs_flows_as_each_alone():
    Ps = torch.stack(
        [propagation(block_model((6, 6), 0.8, 0.1, seed=s).adjacency()) for s in (0, 1)]
    )
    torch.manual_seed(0)
    both = GraphField(Ps, 2)
    x = drawn(2, 12, 2)
    for P, one, out in zip(Ps, x, both(0.0, x)):
        alone = GraphField(P, 2)
        alone.load_state_dict(both.state_dict())  # the weights know no graph
        torch.testing.assert_close(alone(0.0, one), out)


def test_two_labels_spread_to_those_who_are_nearer():
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    known = torch.tensor([True, False, False, False, False, True])
    F = label_propagation(path(6), labels, known, keep=0.9, rounds=200)
    assert (F.argmax(1) == labels).all()
    S = torch.eye(6) - laplacian(path(6), kind="symmetric")
    Y = torch.zeros(6, 2)
    Y[0, 0] = Y[5, 1] = 1
    exact = 0.1 * torch.linalg.solve(torch.eye(6) - 0.9 * S, Y)
    torch.testing.assert_close(F, exact, atol=1e-8, rtol=0)


# --- oscillators ----------------------------------------------------------------------


def test_two_oscillators_lock_at_the_angle_of_the_closed_form():
    f = kuramoto(path(2), torch.tensor([0.3, -0.3]), coupling=0.5)
    y = odeint(f, torch.tensor([0.0, 0.1]), [0.0, 60.0], rtol=1e-9, atol=1e-11)[-1]
    assert math.isclose(math.sin(y[0] - y[1]), 0.6, abs_tol=1e-6)  # ω₁ - ω₂ = 2 K sin


def test_oscillators_turn_together_and_keep_the_mean_rate():
    A, rates = CLUB, drawn(34)
    f, y = kuramoto(A, rates), drawn(3, 34, seed=1)
    torch.testing.assert_close(f(0.0, y + 1.7), f(0.0, y))
    torch.testing.assert_close(f(0.0, y).mean(-1), rates.mean().expand(3))
    assert torch.equal(f(0.0, y)[1], f(0.0, y[1]))


def test_a_learnt_pull_has_the_gradient_of_differences():
    torch.manual_seed(0)
    w = torch.nn.Parameter(path(3))
    f = CoupledField(torch.zeros(3), w, PairFunction((4,)))
    assert torch.autograd.gradcheck(lambda y: f(0.0, y), drawn(2, 3).requires_grad_())
    assert {name for name, _ in f.named_parameters()} >= {
        "weights",
        "pull.net.0.weight",
    }
    with pytest.raises(ValueError, match=r"shape \(3, 3\); got \(2, 2\)"):
        CoupledField(torch.zeros(3), path(2), torch.sin)


# --- graphs ---------------------------------------------------------------------------


def test_the_club_is_that_of_networkx():
    theirs = networkx.karate_club_graph()
    club = karate_club()
    assert sorted(theirs.edges) == [tuple(e) for e in club.edges.T.tolist()]
    sides = [int(theirs.nodes[i]["club"] == "Officer") for i in range(34)]
    assert club.labels.tolist() == sides


def test_a_block_model_has_as_many_edges_as_its_probabilities_say():
    graph = block_model((150, 150), 0.2, 0.05, seed=0)
    i, j = graph.edges
    assert (i < j).all()
    same = graph.labels[i] == graph.labels[j]
    assert same.sum() / (150 * 149) == pytest.approx(0.2, abs=0.02)
    assert (~same).sum() / 150**2 == pytest.approx(0.05, abs=0.01)
    with pytest.raises(ValueError, match=r"between must be a probability.*2"):
        block_model((3, 3), 0.5, 2, seed=0)


def test_neighbours_are_those_of_a_sorted_table():
    points = drawn(30, 3)
    A = nearest_neighbours(points, 4, torch.zeros(30, dtype=torch.int64)).adjacency()
    order = torch.cdist(points, points).argsort(dim=1)[:, 1:5]
    mine = torch.zeros(30, 30).scatter(1, order, 1.0)
    assert torch.equal(A, torch.maximum(mine, mine.T))
    with pytest.raises(ValueError, match=r"k must be from 1 to 29.*30"):
        nearest_neighbours(points, 30, torch.zeros(30, dtype=torch.int64))


def test_neighbours_do_not_depend_on_where_the_origin_is():
    points = drawn(40, 2).mul(1024).round().double()  # no rounding by what is added
    labels = torch.zeros(40, dtype=torch.int64)
    near = nearest_neighbours(points, 3, labels).edges
    far = nearest_neighbours(points + 2.0**31, 3, labels).edges
    assert torch.equal(near, far)
    with pytest.raises(ValueError, match="a label for each of the 40, got 7"):
        nearest_neighbours(points, 3, labels[:7])
    points[3, 1] = torch.nan
    with pytest.raises(ValueError, match="points must be finite"):
        nearest_neighbours(points, 3, labels)


@pytest.mark.parametrize("offset", [0.0, 20.0, 1e4])
def test_neighbours_are_right_far_from_the_origin(offset):
    points = drawn(200, 2) + offset  # rounded there, and the rounded points are asked
    _, near = cKDTree(points.double().numpy()).query(points.double().numpy(), k=5)
    pairs = {(min(i, j), max(i, j)) for i, *row in near.tolist() for j in row}
    graph = nearest_neighbours(points, 4, torch.zeros(200, dtype=torch.int64))
    found = set(map(tuple, graph.edges.T.tolist()))
    if offset < 1e3:
        assert found == pairs
    else:  # points that rounding put at equal distances are a choice
        assert len(found ^ pairs) < 0.1 * len(pairs)


def test_a_sparse_adjacency_is_the_dense_one_and_a_ring_closes():
    graph = Graph(torch.tensor([[0, 1], [1, 2]]), torch.zeros(3, dtype=torch.int64))
    assert torch.equal(graph.adjacency(sparse=True).to_dense(), path(3))
    assert csgraph.connected_components(ring(5).adjacency().numpy())[0] == 1
    assert (degrees(ring(5).adjacency()) == 2).all()
    with pytest.raises(ValueError, match="at least 3"):
        ring(2)


@pytest.mark.parametrize("unknown", [-1, 9])
def test_labels_are_read_only_where_they_are_known(unknown):
    known = torch.tensor([True, False, True])
    labels = torch.tensor([0, unknown, 1])
    F = label_propagation(path(3), labels, known, keep=0.9, rounds=9)
    expected = label_propagation(
        path(3), labels.where(known, 0), known, keep=0.9, rounds=9
    )
    assert F.shape == (3, 2)
    assert torch.equal(F, expected)

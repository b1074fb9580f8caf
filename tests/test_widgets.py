"""The live figures in Python: what they solve, and traits that say what they allow."""

import itertools
import sys
import types
from itertools import pairwise
from unittest.mock import MagicMock

import pytest
import torch
from figures import (
    COSTS,
    READINGS,
    between_nodes,
    cde,
    classifier,
    density,
    digits,
    driven,
    flow,
    latent,
    latent_model,
    makers,
    network,
    sampler,
    scaling,
    separable,
    swing,
)
from torch import nn
from traitlets import TraitError

from course_lib.data import Graph, ring
from course_lib.flows import Guided, LabelledVelocity, sample_ode
from course_lib.latent import LatentRNN
from course_lib.models import (
    ConvDynamics,
    GraphField,
    HamiltonianField,
    MLPDynamics,
    NeuralODE,
    NodeClassifier,
    ScalarNetwork,
    SeparableEnergy,
    digit_model,
    digit_odenet,
    laplacian,
    pendulum_energy,
    propagation,
)
from course_lib.parallel import StepCost
from course_lib.paths import PATHS
from course_lib.random_systems import RANDOM_SYSTEMS
from course_lib.solvers import (
    SDE_METHODS,
    BrownianPath,
    SolverError,
    fokker_planck,
    odeint_adjoint,
    solve,
)
from course_lib.systems import SYSTEMS
from course_lib.widgets import (
    AdjointExplorer,
    DigitDepthExplorer,
    DigitSampler,
    FixedPointExplorer,
    FlowExplorer,
    GraphExplorer,
    HorizonExplorer,
    NoiseExplorer,
    PendulumExplorer,
    ScalingExplorer,
    StepExplorer,
    StepSizeExplorer,
    ToleranceExplorer,
)
from course_lib.widgets import figure as figure_module
from course_lib.widgets.graph import laid_out
from course_lib.widgets.step import line_of, listed
from course_lib.widgets.wire import decode, encode

# --- solutions in Python --------------------------------------------------------------


def test_a_step_size_figure_gives_its_path_in_python():
    made = StepSizeExplorer(problem="decay", method="euler", step_size=0.3).solution()
    steps = made.step_sizes.tolist()
    assert steps == pytest.approx([0.3] * 13 + [0.1])
    expected = (1 - 5 * made.step_sizes).cumprod(0)
    torch.testing.assert_close(made.ys[1:, 0], expected)


def test_a_tolerance_figure_gives_its_solve_in_python():
    loose, tight = (
        ToleranceExplorer(problem="oscillator", rtol=r).solution() for r in (1e-3, 1e-8)
    )
    t1 = torch.tensor(SYSTEMS["oscillator"].span[1], dtype=torch.float64)
    exact = torch.stack((t1.cos(), -t1.sin()))
    assert tight.nfe > loose.nfe
    torch.testing.assert_close(tight.ys[-1], exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["plain", "anderson", "newton"])
@pytest.mark.parametrize("problem", ["line", "tanh", "plane"])
def test_a_fixed_point_figure_gives_its_solve_in_python(problem, method):
    figure = FixedPointExplorer(problem=problem, weight=-0.5, method=method)
    z = figure.solution().z
    torch.testing.assert_close(figure.map()(z), z, rtol=0, atol=1e-7)


def test_a_fixed_point_figure_says_in_python_too_that_it_does_not_arrive():
    with pytest.raises(SolverError, match="no contraction"):
        FixedPointExplorer(problem="tanh", weight=-2.0).solution()


def test_a_flow_figure_carries_the_network_it_was_given():
    f = network(2, nn.ELU)
    figure = flow(f, rtol=1e-8)
    for p, q in zip(f.parameters(), figure.field().parameters()):
        assert torch.equal(p.double(), q)
    y0 = torch.tensor([1.0, 0.5])
    there = solve(f, y0, [0.0, 1.0], rtol=1e-6, atol=1e-6).ys[-1]
    torch.testing.assert_close(figure.solution().ys[-1].float(), there)
    figure.method, figure.step_size = "rk4", 0.5
    assert figure.solution().nfe == 8


def test_a_flow_figure_carries_the_snapshots_of_a_training_and_shows_one():
    snapshots = {f"step {n}": network(2) for n in (0, 100, 200)}
    for factor, f in zip((0.5, 1.0, 2.0), snapshots.values()):
        f.net[-1].weight.data *= factor
    figure = flow(snapshots, snapshot=1, data=[[0, 1]])
    assert figure.snapshots == list(snapshots)
    assert figure.data == [[0.0, 1.0]]
    ends = []
    for figure.snapshot, f in enumerate(snapshots.values()):
        for p, q in zip(f.parameters(), figure.field().parameters()):
            assert torch.equal(p.double(), q)
        ends.append(figure.solution().ys[-1])
    assert not torch.allclose(ends[0], ends[1])


@pytest.mark.parametrize(
    "other", [network(2, nn.ELU), network(2, hidden=(5,)), network(2, time=True)]
)
def test_snapshots_of_different_kinds_are_refused(other):
    with pytest.raises(ValueError, match=r"same widths.*2 kinds"):
        flow({"start": network(2), "end": other})


def test_a_density_figure_carries_its_particles_along_the_network_it_was_given():
    f = network(2, nn.ELU, time=True)
    figure = density(f, method="rk4", step_size=0.3)
    path = figure.solution()
    assert path.ys.shape == (5, 20, 2)  # steps of 0.3, and one of 0.1
    tight = dict(rtol=1e-6, atol=1e-6)
    there = solve(f, path.ys[0].float(), [0.0, 1.0], **tight).ys[-1]
    torch.testing.assert_close(path.ys[-1].float(), there, rtol=0, atol=1e-4)
    torch.testing.assert_close(figure.positions(), path.ys[-1])
    figure.moment = 0.45
    between = solve(f, path.ys[0].float(), [0.0, 0.45], **tight).ys[-1]
    torch.testing.assert_close(figure.positions().float(), between, rtol=0, atol=1e-4)
    figure.moment = 0.0
    assert torch.equal(figure.positions(), path.ys[0])


def test_particles_that_set_out_from_the_data_come_back_as_the_noise_they_were():
    f = network(2)
    away = density(f, method="rk4", step_size=0.05)
    ends = away.positions().float()
    back = density(f, data=ends, source="data", method="rk4", step_size=0.05)
    assert back.moment == 0.0
    start = away.solution().ys[0]
    torch.testing.assert_close(back.positions(), start, rtol=0, atol=1e-5)


def test_the_noise_of_a_density_figure_is_fixed_by_its_seed():
    first, again, other = (density(seed=seed).particles[0] for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("method", ["rk4", "leapfrog"])
def test_a_pendulum_figure_gives_its_path_and_the_true_energy_in_python(method):
    made = swing(method=method, step_size=0.05, t_end=10.0).solution()
    assert made.ys.shape == (201, 2) and made.t[-1] == 10.0
    torch.testing.assert_close(made.energy, pendulum_energy(made.ys))
    y0 = torch.tensor([1.8, 0.0], dtype=torch.float64)
    exact = solve(SYSTEMS["pendulum"].f, y0, made.t, rtol=1e-9, atol=1e-9).ys
    torch.testing.assert_close(made.ys, exact, rtol=0, atol=5e-3)


def test_a_pendulum_figure_carries_both_networks():
    f, law = network(), separable()
    figure = PendulumExplorer(f, law)
    for given, carried in zip((f, law), figure.networks()):
        for p, q in zip(given.parameters(), carried.parameters(), strict=True):
            assert torch.equal(p.double(), q)
    figure.field, figure.method, figure.step_size = "hamiltonian", "leapfrog", 0.1
    learnt = figure.networks()[1].energy(figure.solution().ys)
    assert (learnt - learnt[0]).abs().max() < 0.02
    figure.t_end = 2000.0
    with pytest.raises(SolverError, match="max_steps"):
        figure.solution()


def test_a_pendulum_figure_refuses_leapfrog_on_a_field_that_does_not_split():
    with pytest.raises(ValueError, match="field='plain' do not"):
        swing(field="plain", method="leapfrog").solution()


def test_a_pendulum_figure_says_which_networks_it_carries():
    with pytest.raises(ValueError, match=r"plain must be.*elu"):
        swing(network(activation=nn.ELU))
    with pytest.raises(ValueError, match="two ScalarNetwork"):
        PendulumExplorer(network(), HamiltonianField(ScalarNetwork(2, (4,))))
    deep = SeparableEnergy(*(ScalarNetwork(1, (4, 4)) for _ in range(2)))
    with pytest.raises(ValueError, match="two ScalarNetwork"):
        PendulumExplorer(network(), HamiltonianField(deep))
    damped = HamiltonianField(separable().energy, friction=0.1)
    with pytest.raises(ValueError, match="no friction"):
        PendulumExplorer(network(), damped)
    with pytest.raises(TraitError, match="an angle and a momentum"):
        swing(start=(1.0,))


@pytest.mark.parametrize(("horizon", "windows"), [(20.0, 1), (40.0, 1), (40.0, 4)])
def test_a_horizon_figure_finds_the_basin_that_the_length_of_a_window_says(
    horizon, windows
):
    made = HorizonExplorer(horizon=horizon, windows=windows).solution()
    assert made.loss[made.loss.argmin()] < 1e-12
    assert made.omega[made.loss.argmin()] == pytest.approx(1.0)
    low, high = made.basin
    assert low < 1 < high
    # Places alone are read, so that the crests are near 4.49/w, not on it.
    assert high - low == pytest.approx(2 * 4.4934 * windows / horizon, rel=0.2)


def test_a_horizon_figure_has_more_valleys_the_longer_it_looks():
    minima = [HorizonExplorer(horizon=T).solution().minima for T in (5.0, 10, 20, 40)]
    assert all(1.5 < b / a < 3 for a, b in itertools.pairwise(minima))


def test_a_descent_goes_down_and_ends_where_its_valley_is():
    figure = HorizonExplorer(horizon=20.0, start=1.8)
    made = figure.solution()
    assert abs(made.path[-1] - 1) > 0.3
    where = (made.omega - made.path[:, None]).abs().argmin(dim=1)
    assert (made.loss[where].diff() < 1e-3).all()
    figure.windows = 8
    assert figure.solution().path[-1].item() == pytest.approx(1.0, abs=0.01)


def test_the_model_of_a_horizon_figure_starts_anew_at_every_window():
    made = HorizonExplorer(horizon=10.0, windows=4, noise=0.2).solution()
    breaks = made.curve[:, 0].isnan()
    assert breaks.sum() == 3
    starts = torch.cat((made.curve[:1], made.curve[1:][breaks[:-1]]))
    places = made.seen[(starts[:, 0] / 0.25).round().long(), 0]
    torch.testing.assert_close(starts[:, 1], places)


@pytest.mark.parametrize(
    "bad", [dict(horizon=3.0), dict(windows=9), dict(noise=-0.1), dict(steps=61)]
)
def test_a_horizon_figure_says_its_ranges(bad):
    (name,) = bad
    with pytest.raises(TraitError, match=f"{name} must be from"):
        HorizonExplorer(**bad)


def test_a_graph_figure_gives_heat_and_the_learnt_flow_in_python():
    figure = between_nodes(method="dopri5", rtol=1e-9)
    A = figure.adjacency()
    made = figure.solution()
    exact = torch.linalg.matrix_exp(-2.0 * laplacian(A)) @ figure.start()
    torch.testing.assert_close(made.values[-1], exact[:, 0], atol=1e-6, rtol=0)
    assert made.t[0] == 0 and made.t[-1] == 2.0 and (made.energy.diff() < 0).all()
    figure.kind = "learnt"
    torch.manual_seed(0)
    field = GraphField(propagation(A.float(), kind="walk"), 3, bias=False)
    flow = NodeClassifier(
        1, 3, 1, NeuralODE(field, (0, 2), rtol=1e-6, atol=1e-8), bias=False
    )
    with torch.no_grad():
        theirs = flow(figure.start().float())[:, 0]
    assert figure.weights == GraphExplorer(flow, {"ring": ring(12)}).weights
    torch.testing.assert_close(
        figure.solution().values[-1].float(), theirs, atol=1e-4, rtol=0
    )


def test_a_graph_figure_explodes_as_euler_does_and_ignores_nodes_that_are_not_there():
    figure = between_nodes(method="euler", step_size=0.2, t=8.0)
    assert figure.solution().energy[-1] > 1e6
    figure.graph, figure.step_size = "ring", 0.1
    assert figure.start().flatten().nonzero().flatten().tolist() == [0, 5]
    assert figure.solution().energy[-1] < 0.1


def test_places_keep_the_distances_of_a_path_and_apart_what_is_apart():
    line = Graph(
        torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.zeros(5, dtype=torch.int64)
    )
    places = laid_out(line)
    steps = (places[1:4] - places[:3]).norm(dim=1)
    assert steps.max() / steps.min() < 1.2
    assert torch.cdist(places, places).fill_diagonal_(9).min() > 0.3


def test_a_graph_figure_says_what_does_not_fit():
    flow = NodeClassifier(1, 3, 1, NeuralODE(MLPDynamics(3, (4,))), bias=False)
    with pytest.raises(ValueError, match=r"flow must be.*MLPDynamics"):
        GraphExplorer(flow, {"ring": ring(5)})
    field = GraphField(torch.eye(5), 3, bias=False)
    with pytest.raises(ValueError, match="no bias"):
        GraphExplorer(NodeClassifier(1, 3, 1, NeuralODE(field)), {"ring": ring(5)})
    fits = NodeClassifier(1, 3, 1, NeuralODE(field), bias=False)
    with pytest.raises(ValueError, match=r"2 to 100 nodes; got.*101"):
        GraphExplorer(fits, {"ring": ring(101)})
    with pytest.raises(TraitError, match="graph must be one of club, ring"):
        between_nodes(graph="tree")
    with pytest.raises(TraitError, match="node must be from 0 to 33"):
        between_nodes(node=34)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_figure_drives_the_model_that_it_was_given(name):
    model = cde().double()
    figure = driven(model, interpolation=name, moment=0.5)
    made, rows = figure.solution(), torch.tensor(READINGS, dtype=torch.float64)
    path = PATHS[name](rows[None, :, 0], rows[None, :, 1:])
    model.solver_settings = dict(rtol=1e-9, atol=1e-9)
    s = torch.tensor([0.0, path.knots[-1]], dtype=torch.float64)
    end = model.out(model.states(path, s)[-1])[0, 0].sigmoid()
    assert made.whole.probability[-1].item() == pytest.approx(end.item(), abs=1e-3)
    assert made.whole.path[-1].tolist() == pytest.approx(list(READINGS[-1]))
    last = [0.5, -0.5] if name == "rectilinear" else list(READINGS[3])
    assert made.known.path[-1].tolist() == pytest.approx(last)
    assert (made.leak > 1e-3) == (name == "natural cubic")


def test_a_path_figure_says_which_model_and_readings_it_takes():
    with pytest.raises(TypeError, match="NeuralCDE, got MLPDynamics"):
        driven(network())
    with pytest.raises(ValueError, match="one channel and one output, got 2 and 3"):
        driven(cde(observed=2, outputs=3))
    for rows in ([(0, 0)], [(0, 0), (0, 1)], [(0, 0), (1.2, 1)], [(0, 0), (1,)]):
        with pytest.raises(TraitError, match="times increase from 0 to 1"):
            driven(readings=rows)
    with pytest.raises(TraitError, match="from 0 to 1"):
        driven(moment=1.5)
    with pytest.raises(TraitError, match="from 1 to 12"):
        driven(chosen=0)
    with pytest.raises(TraitError):
        driven(interpolation="cubic")


@pytest.mark.parametrize("method", SDE_METHODS)
def test_a_noise_figure_refines_one_path_and_comes_nearer(method):
    figure = NoiseExplorer(method=method, seed=3)
    errors = []
    for figure.halvings in (3, 8):
        made = figure.solution()
        assert made.ys.shape == (2**figure.halvings + 1, 200)
        errors.append(made.error)
    assert errors[1] < errors[0] / 2
    w = BrownianPath((200,), seed=3, span=(0.0, 2.0))(2.0)
    rate = 0.3 - (0.0 if method == "heun" else 0.18)
    torch.testing.assert_close(made.exact[-1], torch.exp(2 * rate + 0.6 * w[0]))


@pytest.mark.parametrize("system", RANDOM_SYSTEMS)
def test_the_paths_of_a_noise_figure_have_its_density(system):
    """200 paths: mean and spread within five standard errors; of logarithms, where the
    tail is heavy.
    """
    figure = NoiseExplorer(system=system, halvings=8, moment=1.5)
    made = figure.solution()
    width = made.x[1] - made.x[0]
    assert made.density.sum() * width == pytest.approx(1.0, abs=0.04)
    at = made.at
    if system == "geometric":
        at, mean, spread = at.log(), (0.3 - 0.18) * 1.5, 0.6 * 1.5**0.5
    else:
        mean = (made.x * made.density).sum().item() * width.item()
        square = ((made.x - mean).square() * made.density).sum() * width
        spread = square.sqrt().item()
    assert abs(at.mean().item() - mean) < 5 * spread / 14
    assert at.std().item() == pytest.approx(spread, rel=0.25)
    figure.moment = 0.0
    assert not figure.solution().density.any()


def test_the_density_of_two_wells_in_a_noise_figure_is_that_of_the_matrix_exponential():
    well = RANDOM_SYSTEMS["double well"]
    edges = torch.linspace(-2.42, 2.42, 122, dtype=torch.float64)
    A = fokker_planck(well.f, well.g, edges)
    for moment in (0.1, 0.5, 2.0):
        made = NoiseExplorer(system="double well", moment=moment).solution()
        expected = torch.linalg.matrix_exp(moment * A)[:, 60] * 121 / 4.84
        assert (made.density - expected).abs().max() < 5e-3 * expected.max()


def test_a_scaling_figure_gives_its_steps_in_python():
    figure = scaling(network="large", batch=1024, processes=8)
    made = figure.solution()
    cost = figure.cost()
    assert cost == COSTS["large"]
    assert made.speed_up[0] == 1.0
    assert made.best == cost.best(1024)
    assert made.speed_up[7].item() == pytest.approx(cost.speed_up(1024, 8))
    figure.faster, figure.unsplit = 10.0, 0.5
    assert figure.cost().row == pytest.approx(1e-4)
    assert figure.cost().fixed == pytest.approx(4e-3)
    figure.share = "each"
    with_own = figure.solution()
    assert torch.equal(with_own.rows, with_own.rows[:1].expand(1024))
    assert with_own.speed_up[7] > 1


def test_a_scaling_figure_never_finds_more_processes_best_than_there_are_rows():
    free = StepCost(1e-3, 1e-3, 0.0, 0.0, 1.0)
    assert ScalingExplorer({"free": free}, batch=16).solution().best == 16


def test_a_scaling_figure_says_what_it_takes():
    with pytest.raises(ValueError, match="at least one StepCost"):
        ScalingExplorer({})
    with pytest.raises(TraitError, match="one of small, large, got 'huge'"):
        scaling(network="huge")
    with pytest.raises(TraitError, match="batch must be a power of two, got 100"):
        scaling(batch=100)
    with pytest.raises(TraitError, match="processes must be from 1 to 1024"):
        scaling(processes=2048)


def test_a_density_figure_wants_points_of_the_plane_and_a_field_there():
    with pytest.raises(ValueError, match=r"shape \(n, 2\).*shape \(5, 3\)"):
        density(data=torch.zeros(5, 3))
    with pytest.raises(ValueError, match="data must have at least one point"):
        density(data=torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"in the plane, got R\^1"):
        density(network(1))
    with pytest.raises(ValueError, match=r"window must hold 2 pair\(s\)"):
        density(window=((-3, 3),))


def test_a_latent_figure_decodes_what_the_model_decodes():
    model = latent_model()
    figure = latent(model, share=0.25, method="dopri5", rtol=1e-6)
    start, end = (torch.tensor(list(z)) for z in (figure.start, figure.end))
    code = 0.75 * start + 0.25 * end
    found = figure.solution()
    torch.testing.assert_close(found.code.float(), code)
    expected = model.decode(code[None], torch.tensor([0.0, 2.0]))[0].detach()
    torch.testing.assert_close(found.ends.float(), expected, rtol=0, atol=2e-3)
    figure.shift = [1.0, -2.0]
    i, j = figure.coordinates
    moved = figure.solution().code.float() - code
    assert (moved[i].item(), moved[j].item()) == pytest.approx((1.0, -2.0))
    assert moved.abs().sum().item() == pytest.approx(3.0, rel=1e-5)


def test_a_latent_figure_lets_you_drag_where_the_ends_differ_most():
    start, end = torch.zeros(5), torch.tensor([0.1, -2.0, 0.3, 0.0, 1.0])
    assert list(latent(start=start, end=end).coordinates) == [1, 4]
    assert list(latent(coordinates=(3, 0)).coordinates) == [3, 0]


def test_the_windows_of_a_latent_figure_hold_the_walk_and_the_other_codes():
    model, codes = latent_model(), 4 * torch.ones(1, 5)
    figure = latent(model, codes=codes)
    (low, high), _ = figure.plane
    assert low < figure.start[figure.coordinates[0]]
    assert low < 4.0 < high
    for figure.share in (0.0, 1.0):
        for point in figure.solution().ends.tolist():
            for x, (low, high) in zip(point, figure.window):
                assert low < x < high


def test_a_latent_figure_refuses_what_it_cannot_show():
    with pytest.raises(TypeError, match="LatentODE, got LatentRNN"):
        latent(LatentRNN(latent=5))
    with pytest.raises(ValueError, match="observe the plane: 2 numbers, got 3"):
        latent(latent_model(observed=3))
    with pytest.raises(ValueError, match=r"shape \(5,\).*\(4,\)"):
        latent(end=torch.zeros(4))
    for pair in ((0, 0), (0, 5), (1,)):
        with pytest.raises(ValueError, match="two different numbers from 0 to 4"):
            latent(coordinates=pair)


@pytest.mark.parametrize("problem", ["ring", "spiral", "oscillator", "pendulum"])
def test_an_adjoint_figure_shows_the_course_s_own_adjoint(problem):
    figure = AdjointExplorer(problem=problem, target=[1.0, -0.5], rtol=1e-6)
    made, system = figure.solution(), SYSTEMS[problem]
    y0 = torch.tensor(system.y0, dtype=torch.float64, requires_grad=True)
    ys = odeint_adjoint(
        system.f, y0, system.span, rtol=1e-6, atol=1e-6, adjoint_params=()
    )
    loss = (ys[-1] - torch.tensor([1.0, -0.5])).square().sum()
    (expected,) = torch.autograd.grad(loss, y0)
    torch.testing.assert_close(made.gradient, expected, rtol=1e-12, atol=0)


def test_a_contracting_flow_makes_the_adjoint_wrong_in_silence_and_then_loudly():
    figure = AdjointExplorer(problem="ring", rtol=1e-4)
    made = figure.solution()
    assert (made.gradient - made.exact).norm() > 0.1 * made.exact.norm()
    figure.rtol = 1e-2
    with pytest.raises(SolverError, match="underflow"):
        figure.solution()


@pytest.mark.parametrize("method", ["bosh3", "dopri5", "tsit5"])
def test_a_step_figure_takes_the_attempts_of_a_solve_apart(method):
    figure = StepExplorer(method=method, rtol=1e-3, first_step=2.0, attempts=40)
    made, system = figure.solution(), SYSTEMS["vanderpol"]
    tolerances = dict(method=method, rtol=1e-3, atol=1e-3, first_step=2.0)
    y0 = torch.tensor(system.y0, dtype=torch.float64)
    expected = solve(system.f, y0, system.span, **tolerances)
    taken = [one for one in made if one.accepted]
    sizes = torch.tensor([one.h for one in taken], dtype=torch.float64)
    torch.testing.assert_close(sizes, expected.step_sizes[: len(taken)].double())
    assert len(made) == 40 > len(taken) > 10
    assert all((one.ratio <= 1) == one.accepted for one in made)
    for one, after in pairwise(made):
        assert after.h == one.h_next
        assert torch.equal(after.y, one.y_next if one.accepted else one.y)
        torch.testing.assert_close(one.stages[0], system.f(None, one.y))


def test_a_step_figure_walks_the_whole_way_back_of_the_adjoint():
    how = dict(problem="spiral", rtol=1e-6, backward=True, attempts=1000)
    figure = StepExplorer(method="dopri5", first_step=0.1, **how)
    made, system = figure.solution(), SYSTEMS["spiral"]
    y0 = torch.tensor(system.y0, dtype=torch.float64, requires_grad=True)
    ys = odeint_adjoint(system.f, y0, system.span, rtol=1e-9, adjoint_params=())
    (expected,) = torch.autograd.grad(ys[-1][0], y0)
    last = [one for one in made if one.accepted][-1]
    assert last.t + last.h == pytest.approx(0.0)
    torch.testing.assert_close(last.y_next[2:], expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(last.y_next[:2], y0.detach(), rtol=0, atol=1e-4)


def test_a_step_figure_of_equal_steps_has_no_estimates():
    made = StepExplorer(method="heun", step_size=0.25).solution()
    assert [one.t for one in made] == pytest.approx([0.25 * i for i in range(6)])
    assert {(one.error, one.ratio, one.accepted) for one in made} == {
        (None, None, True)
    }
    with pytest.raises(TraitError, match="attempts must be 1 or more, got 0"):
        StepExplorer(attempts=0)


def test_a_line_that_a_figure_marks_is_there_once():
    lines = listed(example)
    assert lines[-1] == "    return x + 1"
    assert line_of(lines, "x = 1") == len(lines) - 2
    for text in ("x = 2", ""):
        with pytest.raises(ValueError, match="did the solver change"):
            line_of(lines, text)


def example():
    """Stand in for a solver."""
    x = 1
    return x + 1


def test_a_digit_figure_shows_what_the_model_says_up_to_its_rounding():
    model, images = classifier(5.0), torch.rand(4, 1, 28, 28)
    figure = DigitDepthExplorer(model, images, torch.arange(4), [3, 1], digit=1)
    made = figure.solution()
    with torch.no_grad():
        likely = model(images[1:2]).softmax(1)[0].double()
    torch.testing.assert_close(made.probabilities, likely, rtol=0, atol=0.05)
    assert made.answer == made.probabilities.argmax()
    assert figure.labels == [3, 1]
    assert [name.split("(")[1] for name in figure.names] == ["no. 3)", "no. 1)"]
    figure.rtol = 1e-6
    finer = figure.solution()
    assert finer.solve.nfe > made.solve.nfe
    torch.testing.assert_close(
        finer.probabilities, made.probabilities, rtol=0, atol=0.01
    )


def test_a_digit_figure_refuses_a_model_the_browser_cannot_evaluate():
    images, labels = torch.rand(1, 1, 28, 28), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"DigitClassifier.*Linear"):
        DigitDepthExplorer(nn.Linear(1, 1), images, labels, [0])
    with pytest.raises(TypeError, match=r"ConvDynamics.*Identity"):
        DigitDepthExplorer(digit_model("no body"), images, labels, [0])
    small = digit_odenet()
    small.body.f = ConvDynamics(8, 4)
    with pytest.raises(ValueError, match="64 channels in 32 groups, got 8 in 4"):
        DigitDepthExplorer(small, images, labels, [0])


def test_a_sampler_carries_its_networks_to_half_a_step_of_255_in_a_row():
    flow, vae = makers()
    carried = sampler().networks()
    pairs = [(flow, carried[0]), (vae.decoder, carried[1].decoder)]
    for net, found in pairs:
        for p, q in zip(net.parameters(), found.parameters()):
            rows = p.flatten(1) if p.ndim > 1 else p[:, None]
            most = rows.abs().amax(1) / 254 if p.ndim > 1 else p.abs() / 1024
            gap = (p - q.float()).flatten(1) if p.ndim > 1 else (p - q.float())[:, None]
            assert (gap.abs().amax(1) <= 1.01 * most).all()
    torch.testing.assert_close(vae.spread, carried[1].spread.float(), rtol=1e-3, atol=0)


def test_a_sampler_shows_the_digit_that_the_networks_it_carries_make():
    figure = sampler(label="7", guidance=2.0, method="heun", steps=4)
    made = figure.solution()
    flow, vae = figure.networks()
    f = Guided(flow, torch.tensor([7]), 2.0)
    y = sample_ode(f, made.noise[None], method="heun", step_size=0.25)
    torch.testing.assert_close(made.solve.ys[-1], y[0])
    torch.testing.assert_close(made.image, vae.images(y)[0, 0])
    assert made.solve.nfe == 8
    assert torch.equal(made.state, made.guess)


@pytest.mark.parametrize("method", ["heun", "dopri5"])
def test_the_moment_of_a_sampler_is_on_the_way_and_its_guess_on_a_straight_line(method):
    figure = sampler(method=method, steps=4, rtol=1e-4, moment=0.0)
    begun = figure.solution()
    torch.testing.assert_close(begun.state, begun.noise)
    flow, _ = figure.networks()
    f = Guided(flow, torch.tensor([3]), 1.5)
    speed = f(torch.tensor(0.0).double(), begun.noise[None])[0]
    torch.testing.assert_close(begun.guess, begun.noise + speed)
    figure.moment = 1.0
    there = figure.solution()
    torch.testing.assert_close(there.state, there.solve.ys[-1])
    figure.moment = 0.999
    torch.testing.assert_close(figure.solution().state, there.state, rtol=0, atol=0.05)
    assert figure.solution().solve.nfe == there.solve.nfe


def test_the_noise_of_a_sampler_lies_in_a_plane_with_the_length_that_its_place_has():
    figure = sampler(seed=3)
    first = figure.noise()
    figure.at = [0.0, 4.0]
    second = figure.noise()
    figure.at = [-3.0, 4.0]
    torch.testing.assert_close(figure.noise(), -0.75 * first + second)
    assert first.norm().item() == pytest.approx(4.0)
    assert (first @ second).abs().item() < 1e-12
    figure.seed = 4
    assert figure.noise().norm().item() == pytest.approx(5.0)
    assert (figure.noise() - second).norm() > 1


def test_a_mix_of_two_classes_begins_and_ends_with_them():
    figure = sampler(label="1", other="4", mix=0.0)
    ends = [figure.solution().state]
    figure.mix = 1.0
    ends.append(figure.solution().state)
    for label, end in zip("14", ends):
        assert torch.equal(sampler(label=label, other="9").solution().state, end)
    assert not torch.equal(*ends)


def test_the_grid_of_a_sampler_has_the_digits_of_single_figures():
    figure = sampler(grid="classes", other="5", mix=0.4)
    many = figure.images()
    assert many.shape == (10, 28, 28)
    alone = sampler(label="6").solution().image
    torch.testing.assert_close(many[6], alone)
    figure.grid = "walk"
    first = figure.solution().image
    torch.testing.assert_close(figure.images()[0], first)
    figure.at = [0.0, 4.0]
    torch.testing.assert_close(figure.images()[9], figure.solution().image)
    figure.grid = "noises"
    assert torch.pdist(figure.images().flatten(1)).min() > 0.01
    figure.grid = "none"
    with pytest.raises(ValueError, match="grid must be one of"):
        figure.images()


def test_a_sampler_refuses_networks_that_the_browser_cannot_evaluate():
    flow, vae = makers()
    with pytest.raises(TypeError, match=r"flow must be .*LabelledVelocity, got Linear"):
        DigitSampler(nn.Linear(1, 1), vae)
    with pytest.raises(ValueError, match=r"digit_velocity\(\): read.weight must be"):
        DigitSampler(LabelledVelocity(16, 10, width=8), vae)
    with pytest.raises(TypeError, match=r"vae must be .*DigitVAE"):
        DigitSampler(flow, flow)


# --- what the traits allow ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "value", "said"),
    [
        (StepSizeExplorer, "method", "dopri5", "euler"),
        (StepSizeExplorer, "problem", "spirall", "pendulum"),
        (StepSizeExplorer, "step_size", 0.0, "positive"),
        (StepSizeExplorer, "step_size", float("inf"), "finite"),
        (StepSizeExplorer, "step_size", "wide", "positive"),
        (ToleranceExplorer, "method", "euler", "tsit5"),
        (ToleranceExplorer, "problem", None, "vanderpol"),
        (ToleranceExplorer, "rtol", -1e-3, "positive"),
        (AdjointExplorer, "problem", "decay", "ring"),
        (AdjointExplorer, "target", [1.0], "2"),
        (AdjointExplorer, "target", [1.0, float("nan")], "finite"),
        (AdjointExplorer, "rtol", float("nan"), "positive"),
        (StepExplorer, "problem", "decay", "ring"),
        (StepExplorer, "method", "rk5", "rk4"),
        (StepExplorer, "start", [1.0], "2"),
        (StepExplorer, "first_step", 0.0, "positive"),
        (StepExplorer, "moment", -1, "moment must be 0 or more, got -1"),
        (StepExplorer, "moment", 0.5, "moment"),
        (StepExplorer, "backward", True, "read-only"),
        (StepExplorer, "listing", {}, "read-only"),
        (FixedPointExplorer, "problem", "cosine", "plane"),
        (FixedPointExplorer, "method", "broyden", "newton"),
        (FixedPointExplorer, "weight", 3.1, "from -3 to 3"),
        (FixedPointExplorer, "weight", float("nan"), "finite"),
        (FixedPointExplorer, "start", -2.5, "from -2 to 2"),
        (FixedPointExplorer, "step", 41, "from 0 to 40"),
        (FixedPointExplorer, "step", 0.5, "step"),
        (NoiseExplorer, "system", "pendulum", "geometric"),
        (NoiseExplorer, "method", "euler", "milstein"),
        (NoiseExplorer, "halvings", 9, "halvings must be from 1 to 8, got 9"),
        (NoiseExplorer, "moment", 2.5, "moment must be from 0 to 2, got 2.5"),
        (NoiseExplorer, "seed", -1, "seed must be from 0 to 9999, got -1"),
        (flow, "method", "implicit", "bosh3"),
        (flow, "start", [1.0], "2 components"),
        (flow, "t_end", 0.0, "later than 0, where span begins"),
        (flow, "t_end", float("inf"), "finite"),
        (flow, "start", 5, "start"),
        (flow, "start", None, "start"),
        (flow, "start", {1: 0, 2: 0}, "start"),
        (flow, "start", "12", "start"),
        (flow, "snapshot", 0.5, "snapshot"),
        (flow, "weights", ["AAAA"], "base64"),
        (flow, "weights", [], "1 text"),
        (flow, "weights", ["!!!!"], "must be base64"),
        (flow, "weights", ["abc"], "must be base64"),
        (flow, "snapshot", 1, "snapshot must be from 0 to 0, got 1"),
        (flow, "snapshot", -1, "from 0 to 0"),
        (flow, "snapshots", ["end"], "read-only"),
        (flow, "data", [[0, 0]], "read-only"),
        (flow, "widths", [2, 3, 2], "read-only"),
        (digits, "digit", 4, "digit must be from 0 to 3, got 4"),
        (digits, "digit", -1, "from 0 to 3"),
        (digits, "digit", "seven", "digit"),
        (digits, "digit", 1.5, "digit"),
        (digits, "rtol", 0.0, "positive"),
        (digits, "weights", [], "read-only"),
        (density, "method", "dopri5", "euler"),
        (density, "source", "middle", "noise"),
        (density, "moment", 1.5, "from 0 to 1"),
        (density, "moment", float("nan"), "from 0 to 1"),
        (density, "step_size", 0.0, "positive"),
        (density, "weights", ["AAAA"], "base64"),
        (density, "snapshot", 1, "from 0 to 0"),
        (density, "particles", ["", ""], "read-only"),
        (sampler, "label", "10", "none"),
        (sampler, "other", 3, "9"),
        (sampler, "mix", 1.01, "from 0 to 1"),
        (sampler, "guidance", -1.0, "from 0 to 6"),
        (sampler, "steps", 0, "from 1 to 32"),
        (sampler, "steps", 2.5, "steps"),
        (sampler, "rtol", 0.5, "from 1e-05 to 0.1"),
        (sampler, "seed", 10_000, "from 0 to 9999"),
        (sampler, "at", [1.0], "at"),
        (sampler, "moment", float("nan"), "from 0 to 1"),
        (sampler, "grid", "all", "classes"),
        (sampler, "weights", ("", ""), "read-only"),
        (latent, "share", 1.2, "from 0 to 1"),
        (latent, "share", float("nan"), "from 0 to 1"),
        (latent, "shift", [0.0], "shift"),
        (latent, "shift", [0.0, float("inf")], "finite"),
        (latent, "method", "rk5", "rk4"),
        (latent, "rtol", -1.0, "positive"),
        (latent, "t_end", 0.0, "positive"),
        (latent, "readout", "", "read-only"),
    ],
)
def test_a_trait_refuses_what_makes_no_sense_and_says_what_is_allowed(
    kind, name, value, said
):
    figure = kind()
    before = getattr(figure, name)
    with pytest.raises(TraitError, match=said):
        setattr(figure, name, value)
    assert getattr(figure, name) == before


def test_new_weights_of_the_right_size_are_taken():
    figure = flow()
    figure.weights = [encode([torch.zeros_like(decode(figure.weights[0]))])]
    assert not figure.field()(torch.tensor(0.0), torch.ones(2).double()).any()


def test_a_network_the_browser_cannot_evaluate_is_refused():
    with pytest.raises(TypeError, match=r"MLPDynamics.*ConvDynamics"):
        flow(ConvDynamics())
    with pytest.raises(ValueError, match=r"Tanh.*GELU"):
        flow(network(2, nn.GELU))
    with pytest.raises(ValueError, match=r"window must hold 2 pair\(s\)"):
        flow(window=((-2, 2),))
    with pytest.raises(ValueError, match=r"on the line or in the plane, got R\^3"):
        flow(network(3), start=(0, 0, 0), window=((-2, 2),) * 3)


@pytest.mark.parametrize(
    "pair", [(2, -2), (0, 0), (0, float("nan")), (0, float("inf")), (0, 1, 2), 3]
)
def test_an_interval_is_two_finite_numbers_the_lower_one_first(pair):
    said = "must be two finite numbers, the lower one first"
    with pytest.raises(ValueError, match=said):
        flow(window=((-2, 2), pair))
    for make in (flow, density):
        with pytest.raises(ValueError, match=said):
            make(span=pair)


@pytest.mark.parametrize("points", [torch.zeros(4, 3), torch.full((3, 2), torch.nan)])
def test_points_in_a_figure_are_finite_and_of_its_dimension(points):
    for make in (flow, density):
        with pytest.raises(ValueError, match=r"data must hold finite.*\(n, 2\)"):
            make(data=points)
    with pytest.raises(ValueError, match=r"codes must hold finite numbers.*\(n, 5\)"):
        latent(codes=torch.cat((points, points), dim=1))


def test_a_path_may_begin_before_time_zero():
    figure = flow(span=(-1, 0))
    assert figure.t_end == 0.0
    assert figure.solution().t.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("step_size", [1e-4, 1e-12])
def test_too_many_steps_are_refused_at_once(step_size):
    for figure in (StepSizeExplorer(), density()):
        figure.step_size = step_size
        with pytest.raises(SolverError, match=r"max_steps allows only \d{3,}"):
            figure.solution()


def test_a_choice_of_digits_is_not_empty():
    with pytest.raises(ValueError, match="indices must name at least one image"):
        DigitDepthExplorer(
            digit_odenet(), torch.rand(1, 1, 28, 28), torch.zeros(1).long(), []
        )


def test_a_figure_is_shown_as_a_sentence_without_javascript_and_as_a_widget(
    monkeypatch,
):
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setitem(sys.modules, "google.colab.output", MagicMock())
    shown = []
    monkeypatch.setattr(
        figure_module, "display", lambda *a, **kw: shown.append((a[0], kw))
    )
    StepSizeExplorer()._ipython_display_()
    (sentence, _), (view, settings) = shown
    assert "<noscript>" in sentence["text/html"]
    kind = "application/vnd.jupyter.widget-view+json"
    assert kind in view
    assert "custom_widget_manager" in settings["metadata"][kind]["colab"]  # for Colab


def test_a_misspelt_setting_is_refused_with_those_there_are():
    with pytest.raises(TypeError, match=r"no setting stepsize; it has .*step_size"):
        StepSizeExplorer(stepsize=0.5)
    f = MLPDynamics(2, (4,))
    with pytest.raises(TypeError, match=r"no setting tend; it has .*t_end"):
        FlowExplorer(f, start=[0, 0], window=[(-1, 1)] * 2, tend=3.0)


def test_a_closed_figure_says_so(monkeypatch):
    shown = []
    monkeypatch.setattr(figure_module, "display", lambda data, **_: shown.append(data))
    figure = StepSizeExplorer()
    figure.close()
    figure._ipython_display_()
    assert shown[-1] == {"text/plain": "This live figure was closed."}


def test_a_step_that_is_too_small_to_count_is_a_solver_error():
    with pytest.raises(SolverError, match="about inf steps"):
        StepSizeExplorer(step_size=1e-308).solution()


def test_an_adjoint_figure_answers_where_gradients_are_off():
    figure = AdjointExplorer(problem="spiral")
    with torch.no_grad():
        assert torch.equal(
            figure.solution().exact, AdjointExplorer(problem="spiral").solution().exact
        )

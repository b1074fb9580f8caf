"""Vector fields, the neural ODE layer and the classifiers: sizes, shapes and what
equals what.
"""

from __future__ import annotations

import math

import pytest
import torch
import torchdiffeq
from problems import EPS
from torch import nn

from course_lib import models
from course_lib.measuring import count_parameters
from course_lib.solvers import odeint, odeint_adjoint, odeint_checkpointed, solve


@pytest.fixture
def field() -> models.MLPDynamics:
    """A small time-dependent field in double precision."""
    torch.manual_seed(0)
    return models.MLPDynamics(2, (16,), time=True).double()


def batch_of(*shape: int) -> torch.Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


# --- vector fields --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (0, 3)], ids=str)
@pytest.mark.parametrize("time", [False, True])
def test_an_mlp_field_keeps_the_shape_of_its_state(shape, time):
    f = models.MLPDynamics(3, (8, 8), time=time).double()
    assert f(torch.tensor(0.5).double(), batch_of(*shape)).shape == shape


def test_an_mlp_field_is_the_network_it_says(field):
    """tanh between layers, none after the last, time as the last input."""
    y, t = batch_of(4, 2), torch.tensor(0.25).double()
    inner, _, outer = field.net
    hidden = torch.tanh(y @ inner.weight[:, :2].T + t * inner.weight[:, 2] + inner.bias)
    by_hand = hidden @ outer.weight.T + outer.bias
    assert torch.allclose(field(t, y), by_hand, rtol=0, atol=100 * EPS)


@pytest.mark.parametrize("time", [False, True])
def test_only_a_field_with_time_depends_on_it(time):
    f, y = models.MLPDynamics(2, (8,), time=time).double(), batch_of(3, 2)
    same = torch.equal(
        f(torch.tensor(0.0).double(), y), f(torch.tensor(1.0).double(), y)
    )
    assert same is not time


def test_the_convolutional_field_treats_every_image_alone_and_remembers_nothing():
    """As f(t, y) must: with batch normalisation neither would hold."""
    f, y, t = (
        models.ConvDynamics(8, groups=4).double(),
        batch_of(3, 8, 6, 6),
        torch.tensor(0.5).double(),
    )
    together, again = f(t, y), f(t, y)
    alone = torch.cat([f(t, image[None]) for image in y])
    assert together.shape == y.shape
    assert torch.equal(together, again)
    # Sums of 9 · 9 products in another order, normalised to size 1.
    assert torch.allclose(together, alone, rtol=0, atol=1000 * EPS)


def test_the_convolutional_field_depends_on_time():
    f, y = models.ConvDynamics(8, groups=4).double(), batch_of(3, 8, 6, 6)
    assert not torch.allclose(
        f(torch.tensor(0.0).double(), y), f(torch.tensor(1.0).double(), y)
    )


# --- many fields side by side -----------------------------------------------------------


def some_fields(n: int = 3, hidden=(8, 5), **settings) -> list[models.MLPDynamics]:
    """Fields in the plane, all different."""
    torch.manual_seed(0)
    return [models.MLPDynamics(2, hidden, **settings).double() for _ in range(n)]


@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 5)], ids=str)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ELU])
def test_an_ensemble_answers_as_its_members_do_gradients_included(
    time, hidden, activation
):
    fields = some_fields(hidden=hidden, time=time, activation=activation)
    ensemble, t = models.Ensemble(fields), torch.tensor(0.3).double()
    together = batch_of(3, 6, 2).requires_grad_()
    apart = [part.detach().clone().requires_grad_() for part in together]
    found = ensemble(t, together)
    found.sin().sum().backward()
    for i, (f, y) in enumerate(zip(fields, apart)):
        alone = f(t, y)
        alone.sin().sum().backward()
        assert torch.allclose(found[i], alone, rtol=0, atol=100 * EPS)
        assert torch.allclose(together.grad[i], y.grad, rtol=0, atol=1000 * EPS)
        for stacked, p in zip(ensemble.parameters(), f.parameters(), strict=True):
            assert torch.allclose(stacked.grad[i], p.grad, rtol=0, atol=1000 * EPS)


def test_an_ensemble_trains_as_its_members_do():
    fields, target = some_fields(), batch_of(3, 6, 2)
    ensemble, t, y = models.Ensemble(fields), torch.tensor(0.0), batch_of(6, 2)
    whole = torch.optim.Adam(ensemble.parameters(), lr=0.01)
    parts = [torch.optim.Adam(f.parameters(), lr=0.01) for f in fields]
    for _ in range(20):
        whole.zero_grad()
        misfit = (ensemble(t, y.expand(3, 6, 2)) - target).square().mean(dim=(1, 2))
        misfit.sum().backward()
        whole.step()
        for f, optimizer, wanted in zip(fields, parts, target):
            optimizer.zero_grad()
            (f(t, y) - wanted).square().mean().backward()
            optimizer.step()
    for i, f in enumerate(fields):
        assert torch.allclose(ensemble.member(i)(t, y), f(t, y), rtol=0, atol=1e-9)


def test_a_member_of_an_ensemble_is_a_copy_of_what_it_is_now():
    fields = some_fields(time=True)
    ensemble, y = models.Ensemble(fields), batch_of(4, 2)
    t = torch.tensor(0.3).double()
    before = ensemble.member(1)
    assert type(before) is models.MLPDynamics
    assert torch.equal(before(t, y), fields[1](t, y))
    with torch.no_grad():
        for p in ensemble.parameters():
            p.mul_(2)
    assert torch.equal(before(t, y), fields[1](t, y))
    assert not torch.allclose(ensemble.member(1)(t, y), fields[1](t, y))
    assert next(ensemble.float().member(1).parameters()).dtype == torch.float32


def test_an_ensemble_copies_its_members_and_has_no_other_parameters():
    fields = some_fields()
    ensemble = models.Ensemble(fields)
    assert count_parameters(ensemble) == 3 * count_parameters(fields[0])
    with torch.no_grad():
        for p in ensemble.parameters():
            p.zero_()
    assert all(p.abs().max() > 0 for f in fields for p in f.parameters())
    assert all(p.is_leaf for p in ensemble.parameters())


def test_networks_that_end_in_another_space_can_be_an_ensemble_too():
    torch.manual_seed(0)
    nets = [
        nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(3)
    ]
    ensemble, x = models.Ensemble(nets), torch.randn(3, 7, 5)
    found = ensemble(torch.tensor(0.0), x)
    assert found.shape == (3, 7, 2)
    for i, net in enumerate(nets):
        assert torch.allclose(found[i], net(x[i]), atol=1e-6)
        assert torch.equal(ensemble.member(i)(x[i]), net(x[i]))


def test_an_ensemble_is_solved_as_its_members_are():
    fields, y0 = some_fields(time=True), batch_of(3, 4, 2)
    settings = dict(odeint=odeint, method="rk4", step_size=0.25)
    together = models.NeuralODE(models.Ensemble(fields), **settings)(y0)
    for f, start, end in zip(fields, y0, together):
        alone = models.NeuralODE(f, **settings)(start)
        assert torch.allclose(end, alone, rtol=0, atol=1000 * EPS)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([models.MLPDynamics(2, (4,)), models.MLPDynamics(2, (5,))], "one shape"),
        (
            [
                models.MLPDynamics(2, (4,)),
                models.MLPDynamics(2, (4,), activation=nn.ELU),
            ],
            "one shape",
        ),
        (
            [models.MLPDynamics(2, (4,), time=True), models.MLPDynamics(3, (4,))],
            "one shape",
        ),
        ([], "one shape"),
        ([nn.Sequential(nn.Linear(2, 2, bias=False))], "linear layers with a bias"),
        ([nn.Sequential(nn.PReLU())], "without parameters, got PReLU"),
    ],
)
def test_what_cannot_stand_side_by_side_is_refused(members, said):
    with pytest.raises(ValueError, match=said):
        models.Ensemble(members)


# --- layers ---------------------------------------------------------------------------


def test_the_layer_gives_the_end_of_its_trajectory(field):
    layer, y0 = models.NeuralODE(field, t=(0.0, 0.5, 2.0)), batch_of(4, 2)
    trajectory = layer.trajectory(y0, (0.0, 0.5, 2.0))
    assert torch.equal(layer(y0), trajectory[-1])
    assert torch.equal(trajectory[0], y0)
    assert torch.equal(trajectory, odeint(field, y0, [0.0, 0.5, 2.0]))


def test_the_layer_hands_its_settings_to_the_solver(field):
    y0 = batch_of(4, 2)
    layer = models.NeuralODE(field, odeint=odeint, method="euler", step_size=0.5)
    assert torch.equal(
        layer(y0), odeint(field, y0, [0.0, 1.0], method="euler", step_size=0.5)[-1]
    )


@pytest.mark.parametrize(
    "solver", [odeint, odeint_adjoint, torchdiffeq.odeint, torchdiffeq.odeint_adjoint]
)
def test_the_layer_gives_the_same_values_and_gradients_with_either_library_and_gradient(
    field, solver
):
    y0 = batch_of(4, 2).requires_grad_()
    reference = models.NeuralODE(
        field, odeint=odeint, method="tsit5", rtol=1e-10, atol=1e-10
    )(y0)
    end = models.NeuralODE(field, odeint=solver, method="dopri5", rtol=1e-8, atol=1e-8)(
        y0
    )
    wanted, found = (
        torch.autograd.grad(x.sin().sum(), (y0, *field.parameters()))
        for x in (reference, end)
    )
    lipschitz = math.prod(
        torch.linalg.matrix_norm(layer.weight, 2).item() for layer in field.net[::2]
    )
    # Fewer than 100 steps at 1e-8 over one unit of time, there and back; four rows add
    # up in a gradient.
    bound = (
        100
        * math.sqrt(8)
        * 1e-8
        * (1 + end.abs().max().item())
        * math.exp(2 * lipschitz)
    )
    assert bound < 1e-3
    assert (end - reference).abs().max() <= bound
    assert all(
        (a - b).abs().max() <= 4 * bound for a, b in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize(
    "layer", [models.NeuralODE, lambda f, **how: models.AugmentedODE(f, 0, **how)]
)
def test_a_layer_refuses_a_solver_that_returns_no_states(field, layer):
    with pytest.raises(TypeError, match="as a Tensor, got a Solution; odeint, odeint"):
        layer(field, odeint=solve)(batch_of(4, 2))


def test_the_checkpointed_solver_fits_the_layer_too(field):
    y0 = batch_of(4, 2)
    layer = models.NeuralODE(field, odeint=odeint_checkpointed)
    assert torch.equal(layer(y0), odeint(field, y0, [0.0, 1.0])[-1])


def test_an_augmented_layer_flows_the_input_with_zeros_behind_it():
    f, x, t = models.MLPDynamics(3, (8,)).double(), batch_of(4, 2), [0.0, 0.5, 1.0]
    layer = models.AugmentedODE(f, 1, odeint=odeint)
    lifted = torch.cat((x, torch.zeros(4, 1).double()), dim=1)
    assert torch.equal(layer.lift(x), lifted)
    assert torch.equal(layer(x), odeint(f, lifted, [0.0, 1.0])[-1])
    assert torch.equal(layer.trajectory(x, t), odeint(f, lifted, t))


def test_an_augmented_layer_without_zeros_is_a_neural_ode(field):
    x, settings = batch_of(5, 2), dict(t=(0.0, 2.0), method="euler", step_size=0.5)
    augmented = models.AugmentedODE(field, 0, **settings)
    assert torch.equal(augmented(x), models.NeuralODE(field, **settings)(x))


def test_an_augmented_layer_hands_gradients_to_its_input_and_its_field():
    f, x = models.MLPDynamics(4, (8,)).double(), batch_of(3, 2).requires_grad_()
    end = models.AugmentedODE(f, 2)(x)
    gradients = torch.autograd.grad(end.square().sum(), (x, *f.parameters()))
    assert all(g.abs().max() > 0 for g in gradients)


def test_an_augmented_layer_cannot_append_fewer_than_no_zeros(field):
    with pytest.raises(ValueError, match="extra must be a number of zeros"):
        models.AugmentedODE(field, -1)


@pytest.mark.parametrize("depth", [1, 4, 10])
def test_a_residual_network_with_shared_weights_is_eulers_method(field, depth):
    y0, total = batch_of(4, 2), 2.0
    t = torch.linspace(0, total, depth + 1, dtype=torch.float64)
    states = models.ResNet(field, depth, total=total).hidden_states(y0)
    steps = odeint(field, y0, t, method="euler", step_size=1.01 * total / depth)
    assert states.shape == (depth + 1, 4, 2)
    assert torch.allclose(states, steps, rtol=0, atol=100 * depth * EPS)


def test_a_residual_network_with_blocks_of_its_own_applies_one_after_the_other():
    blocks, y = [models.MLPDynamics(2, (4,)).double() for _ in range(3)], batch_of(5, 2)
    net, t = models.ResNet(blocks), torch.tensor(0.0)
    expected = y
    for f in blocks:
        expected = expected + f(t, expected) / 3
    assert torch.allclose(net(y), expected, rtol=0, atol=100 * EPS)
    assert count_parameters(net) == 3 * count_parameters(blocks[0])


@pytest.mark.parametrize(
    "arguments", [(models.MLPDynamics(2, (4,)),), ([models.MLPDynamics(2, (4,))], 3)]
)
def test_a_residual_network_takes_a_shared_block_and_a_depth_or_a_list_alone(arguments):
    with pytest.raises(
        ValueError,
        match="one shared block and a depth, or a list of blocks and no depth",
    ):
        models.ResNet(*arguments)


# --- digit classifiers ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (models.digit_odenet, 208_266),
        (lambda: models.DigitClassifier(nn.Identity()), 132_874),
    ],
    ids=["ODE-Net", "without the ODE block"],
)
def test_the_classifiers_have_the_size_of_the_published_ones(make, parameters):
    """Chen et al. print 0.22 M for the ODE-Net; readers have counted 132,874 without
    its ODE block.
    """
    assert count_parameters(make()) == parameters


def test_a_classifier_turns_images_into_ten_logits_by_way_of_six_by_six():
    net, images = models.digit_odenet(), torch.zeros(2, 1, 28, 28)
    assert net.stem(images).shape == (2, 64, 6, 6)
    assert net(images).shape == (2, 10)


@pytest.mark.parametrize("name", models.DIGIT_MODELS)
def test_every_rival_turns_images_into_ten_logits_and_its_seed_fixes_its_weights(name):
    images, made = torch.rand(2, 1, 28, 28), []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(models.digit_model(name)(images))
    assert made[0].shape == (2, 10)
    assert torch.equal(*made)


def test_an_unknown_rival_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"name='resnet6' is not known.*mlp, resnet"):
        models.digit_model("resnet6")


def test_the_odenet_solves_at_a_tolerance_of_a_thousandth_unless_told_otherwise():
    assert models.digit_odenet().body.solver_settings == {"rtol": 1e-3, "atol": 1e-3}
    fixed = models.digit_odenet(odeint=odeint, method="rk4", step_size=0.5).body
    assert fixed.solver_settings == {"method": "rk4", "step_size": 0.5}
    assert fixed.odeint is odeint


def test_the_fashion_odenet_learns_through_tsit5_at_a_tolerance_of_a_thousandth():
    torch.manual_seed(0)
    net = models.fashion_odenet()
    scores = net(torch.rand(2, 1, 28, 28))
    assert scores.shape == (2, 10)
    scores.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    conv, field, linear = (
        9 * 3 + 3,
        2028 * 16 + 16 + 16 * 17 + 16 * 2028 + 2028,
        2029 * 10,
    )
    assert count_parameters(net) == conv + field + linear
    assert net[3].solver_settings == {"method": "tsit5", "rtol": 1e-3, "atol": 1e-3}


def test_the_field_of_the_fashion_odenet_has_the_activation_that_is_asked_for():
    kinds = [type(part) for part in models.fashion_odenet(activation=nn.Tanh)[3].f.net]
    assert kinds == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
    assert nn.ReLU in map(type, models.fashion_odenet()[3].f.net)


@pytest.mark.parametrize("depth", [0, -2, 1.5])
def test_a_network_without_layers_is_refused(depth):
    with pytest.raises(ValueError, match="depth must be a positive whole number"):
        models.ResNet(models.MLPDynamics(2, (4,)), depth)


def test_a_layer_keeps_the_digits_and_the_gradient_of_its_times():
    f, y0 = models.MLPDynamics(1, (4,)), torch.ones(1)
    layer = models.NeuralODE(f, odeint=odeint)
    late = [1e6, 1e6 + 0.01]  # equal in float32
    assert torch.equal(layer.trajectory(y0, late), odeint(f, y0, late))
    T = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    models.NeuralODE(f, (0.0, T), odeint=odeint)(y0).sum().backward()
    end = odeint(f, y0, [0.0, 1.0])[-1]
    torch.testing.assert_close(T.grad.float(), f(T.detach(), end)[0], rtol=1e-3, atol=0)


def test_times_that_are_learnt_are_parameters_of_the_layer():
    times = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    layer = models.NeuralODE(models.MLPDynamics(2, (4,)), times)
    sgd = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(2):
        sgd.zero_grad()
        layer(torch.ones(1, 2)).square().sum().backward()
        assert times.grad.abs().min() > 0
        sgd.step()
    assert "t" in layer.state_dict()

"""The way back calls f again: as it was in the forward pass, or not at all."""

import gc
import math

import pytest
import torch
from torch import nn

from course_lib.measuring import relative_error
from course_lib.models import MLPDynamics, NeuralODE
from course_lib.solvers import (
    odeint,
    odeint_adjoint,
    odeint_checkpointed,
    odeint_interpolated,
)

SECOND_WAYS = {
    "adjoint": odeint_adjoint,
    "interpolated": odeint_interpolated,
    "checkpointed": odeint_checkpointed,
}
second_ways = pytest.mark.parametrize(
    "solver", SECOND_WAYS.values(), ids=list(SECOND_WAYS)
)
TIGHT = dict(rtol=1e-9, atol=1e-9)


class Decay(nn.Module):
    """``y' = c w y``, c being an attribute, a buffer or a mode."""

    def __init__(self, w=-0.5):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))
        self.register_buffer("weight", torch.ones((), dtype=torch.float64))
        self.c = 1.0

    def forward(self, t, y):
        return (1.0 if self.training else 2.0) * self.c * self.weight * self.w * y


def one():
    return torch.ones(1, dtype=torch.float64, requires_grad=True)


@second_ways
def test_parameters_lent_for_the_forward_pass_get_their_gradient(solver):
    w = torch.tensor(-0.3, dtype=torch.float64, requires_grad=True)
    layer = NeuralODE(Decay(), odeint=solver, **TIGHT)
    end = torch.func.functional_call(layer, {"f.w": w}, (one(),))
    end.sum().backward()
    assert w.grad.item() == pytest.approx(math.exp(-0.3), rel=1e-7)
    assert layer.f.w.grad is None


CHANGES = {
    "attribute": lambda f: setattr(f, "c", 3.0),
    "mode": lambda f: f.eval(),
    "buffer": lambda f: f.weight.fill_(0.5),
}


@second_ways
@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_a_field_that_changed_before_backward_is_refused(solver, change, method):
    how = dict(method=method) | (dict(step_size=0.1) if method == "rk4" else {})
    f = Decay()
    end = solver(f, one(), [0.0, 1.0], **how)[-1].sum()
    change(f)
    with pytest.raises(RuntimeError, match="f is not what it was in the forward pass"):
        end.backward()


@second_ways
def test_a_field_put_into_another_mode_is_told_so(solver):
    f = Decay()
    end = solver(f, one(), [0.0, 1.0])[-1].sum()
    f.eval()
    with pytest.raises(RuntimeError, match=r"put into eval\(\) mode"):
        end.backward()


@second_ways
def test_a_field_that_draws_at_random_is_refused(solver):
    class Noisy(Decay):
        def forward(self, t, y):
            return super().forward(t, y) * (1 + 0.1 * torch.rand(()))

    end = solver(Noisy(), one(), [0.0, 1.0], method="euler", step_size=0.1)[-1].sum()
    with pytest.raises(RuntimeError, match="random state"):
        end.backward()


@second_ways
def test_a_parameter_frozen_in_between_leaves_the_others_their_gradient(solver):
    f, y0 = Decay(), one()
    end = solver(f, y0, [0.0, 1.0], **TIGHT)[-1].sum()
    f.requires_grad_(False)
    end.backward()
    assert y0.grad.item() == pytest.approx(math.exp(-0.5), rel=1e-7)
    assert f.w.grad is None


@second_ways
def test_a_tensor_that_would_lose_its_gradient_is_missed(solver):
    w = torch.tensor([-0.5], dtype=torch.float64, requires_grad=True)
    end = solver(lambda t, y: w * y, one(), [0.0, 1.0], adjoint_params=())[-1].sum()
    with pytest.raises(RuntimeError, match=r"1 tensor\(s\) .* of shape \(1,\)"):
        end.backward()


@second_ways
def test_a_replica_without_parameters_of_its_own_is_refused(solver):
    f = Decay()
    replica = f._replicate_for_data_parallel()
    replica.w = f.w * 1.0  # as torch.nn.parallel.replicate leaves it
    end = solver(replica, one(), [0.0, 1.0])[-1].sum()
    with pytest.raises(RuntimeError, match="would not get it"):
        end.backward()


@second_ways
def test_a_parameter_that_is_listed_twice_counts_once(solver):
    f = Decay()
    listed = (f.w, f.w)
    end = solver(f, one(), [0.0, 1.0], adjoint_params=listed, **TIGHT)[-1].sum()
    end.backward()
    assert f.w.grad.item() == pytest.approx(math.exp(-0.5), rel=1e-7)


@second_ways
def test_autocast_is_on_again_on_the_way_back(solver):
    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net, self.seen = nn.Linear(2, 2), set()

        def forward(self, t, y):
            dy = self.net(y)
            self.seen.add(dy.dtype)
            return dy.float()

    f, y0 = Rounded(), torch.ones(3, 2, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        end = solver(f, y0, [0.0, 1.0], rtol=1e-2, atol=1e-2)[-1].sum()
    end.backward()
    assert f.seen == {torch.bfloat16}


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e6])
def test_the_scale_of_the_loss_scales_the_adjoint_gradient_and_nothing_else(size):
    def gradient(size):
        f = Decay()
        ys = odeint_adjoint(f, one(), [0.0, 0.5, 2.0], rtol=1e-3, atol=1e-3)
        (size * ys.square().sum()).backward()
        return f.w.grad.item() / size

    assert gradient(size) == pytest.approx(gradient(1.0), rel=1e-12)


def test_a_mean_over_many_samples_is_as_accurate_as_a_sum():
    torch.manual_seed(0)
    y0 = torch.randn(4096, 2)
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, t, y):
            return self.net(y)

    def gradient(solver, **how):
        net.zero_grad()
        solver(Field(), y0, [0.0, 2.0], **how)[-1].square().mean().backward()
        return torch.cat([p.grad.flatten() for p in net.parameters()])

    exact = gradient(odeint, rtol=1e-6, atol=1e-6)
    error = (gradient(odeint_adjoint) - exact).norm() / exact.norm()
    assert error < 1e-4


def test_the_adjoint_keeps_no_parameter_gradient_for_every_stage():
    """Counted by their shape, on the way back, wherever Python can see them."""
    shape, most = (37, 41), 0

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.W = nn.Parameter(torch.randn(shape) / 10)

        def forward(self, t, y):
            nonlocal most
            tensors = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
            most = max(most, sum(x.shape == shape for x in tensors))
            return torch.tanh(y @ self.W @ self.W.T)

    end = odeint_adjoint(Wide(), torch.ones(2, 37), [0.0, 1.0])[-1].sum()
    most = 0
    end.backward()
    assert (
        2 <= most <= 6
    )  # W, the sum so far, the attempt, two stages that go on, one new


@pytest.mark.parametrize("how", [dict(method="rk4", step_size=0.25), TIGHT])
def test_the_direct_gradient_can_be_differentiated_again(how):
    torch.manual_seed(0)
    W, y0 = (torch.randn(*s, dtype=torch.float64) for s in ((2, 2), (2,)))

    def end(y, W):
        return odeint(lambda t, y: torch.tanh(W @ y), y, [0.0, 1.0], **how)[-1]

    inputs = (y0.requires_grad_(), W.requires_grad_())
    assert torch.autograd.gradgradcheck(end, inputs)


@pytest.mark.skipif(
    torch.__version__ < "2.6", reason="the numbers of a tensor could not be read there"
)
def test_transforms_of_torch_func_go_through_odeint():
    y0 = torch.tensor([1.0, -0.5], dtype=torch.float64)
    jacobian = torch.func.jacrev(
        lambda y: odeint(lambda t, y: -(y**3), y, [0.0, 1.0], **TIGHT)[-1]
    )(y0)
    exact = (1 + 2 * y0.square()).pow(-1.5).diag()  # y(t) = y0 / √(1 + 2 y0² t)
    torch.testing.assert_close(jacobian, exact, rtol=1e-6, atol=1e-9)


@second_ways
@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.jacrev])
def test_where_torch_func_does_not_go_through_it_is_said(solver, transform):
    def end(y):
        return solver(lambda t, y: -y, y, [0.0, 1.0], adjoint_params=())[-1].sum()

    with pytest.raises(RuntimeError, match=r"torch.autograd.grad, or odeint"):
        transform(end)(torch.ones(2))


@pytest.mark.parametrize("solver", [odeint, *SECOND_WAYS.values()])
def test_a_batch_is_solved_at_once_and_not_by_vmap(solver):
    more = {} if solver is odeint else dict(adjoint_params=())

    def end(y):
        return solver(lambda t, y: -y, y, [0.0, 1.0], **more)[-1]

    with pytest.raises(RuntimeError, match="solve the whole batch at once"):
        torch.func.vmap(end)(torch.ones(3, 2))


@pytest.mark.parametrize("at_start", [0.0, 1.0, 1e7])
def test_what_the_loss_says_of_the_start_does_not_loosen_the_way_back(at_start):
    class Settling(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, t, y):
            return -5 * (y - self.c)

    f, y0 = Settling(), torch.ones(3, dtype=torch.float64, requires_grad=True)
    ys = odeint_adjoint(f, y0, [0.0, 3.0])
    (at_start * ys[0].sum() + ys[-1].sum()).backward()
    exact = torch.full_like(f.c, 1 - math.exp(-15))
    torch.testing.assert_close(f.c.grad, exact, rtol=1e-4, atol=0)


@second_ways
def test_a_tensor_that_f_returns_as_it_is_is_missed_too(solver):
    w, y0 = torch.ones(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    end = solver(lambda t, y: w, y0, [0.0, 1.0], adjoint_params=())[-1].sum()
    with pytest.raises(RuntimeError, match="would not get it"):
        end.backward()


@second_ways
def test_a_sibling_of_a_listed_tensor_is_missed_too(solver):
    w, v = torch.ones(2, requires_grad=True).unbind()
    y0 = torch.zeros(3, requires_grad=True)
    end = solver(lambda t, y: w * y + v, y0, [0.0, 1.0], adjoint_params=(w,))[-1].sum()
    with pytest.raises(RuntimeError, match="would not get it"):
        end.backward()


@second_ways
@pytest.mark.parametrize("times", [[0.0, 2.0], [0.0, 0.5, 1.0, 2.0]])
def test_a_tensor_that_f_uses_in_a_part_of_the_time_alone_is_missed_too(solver, times):
    w, k = (torch.tensor(x, requires_grad=True) for x in (1.0, 0.5))
    end = solver(
        lambda t, y: (w if t < 0.8 else 0.0) - k * y,
        torch.ones(2),
        times,
        adjoint_params=(k,),
    )[-1].sum()
    with pytest.raises(RuntimeError, match="would not get it"):
        end.backward()


@second_ways
def test_a_solve_that_no_gradient_would_pass_is_refused_if_f_has_one_to_give(solver):
    w, y0 = torch.ones(2, requires_grad=True), torch.ones(2)
    with pytest.raises(RuntimeError, match="would not get it"):
        solver(lambda t, y: w * y, y0, [0.0, 1.0], adjoint_params=())
    with torch.no_grad():
        solver(lambda t, y: w * y, y0, [0.0, 1.0], adjoint_params=())
    solver(lambda t, y: -y, y0, [0.0, 1.0], adjoint_params=())


@second_ways
def test_parameters_that_were_frozen_for_the_solve_may_be_released_after_it(solver):
    f, y0 = Decay().requires_grad_(False), one()
    end = solver(f, y0, [0.0, 1.0], **TIGHT)[-1].sum()
    f.requires_grad_(True)
    end.backward()
    assert y0.grad.item() == pytest.approx(math.exp(-0.5), rel=1e-7)
    assert f.w.grad is None


@second_ways
def test_rounding_beside_a_point_of_rest_is_no_change_of_f(solver):
    class Restless(Decay):
        def forward(self, t, y):
            return self.w * y + 1e-18 * torch.rand(())

    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    ys = solver(Restless(-30.0), y0, [0.0, 1.0], method="rk4", step_size=0.02)
    ys[-1].sum().backward()
    assert y0.grad.isfinite().all()


@second_ways
def test_what_f_computes_without_autocast_is_differentiated_without_it(solver):
    class Exact(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(3)
            self.linear = nn.Linear(4, 4)

        def forward(self, t, y):
            with torch.autocast("cpu", enabled=False):
                return torch.tanh(y @ self.linear.weight.T + self.linear.bias)

    def gradient(solver):
        f, y0 = Exact(), torch.linspace(-1, 1, 12).view(3, 4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ys = solver(f, y0, [0.0, 1.0], rtol=1e-6, atol=1e-7)
        ys.square().sum().backward()
        return f.linear.weight.grad

    torch.testing.assert_close(gradient(solver), gradient(odeint), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", [odeint, *SECOND_WAYS.values()])
def test_a_state_from_outside_may_be_solved_in_inference_mode(solver):
    f, y0 = Decay(), torch.ones(1, dtype=torch.float64)
    with torch.inference_mode():
        end = solver(f, y0, [0.0, 1.0], **TIGHT)[-1]
    assert end.item() == pytest.approx(math.exp(-0.5), rel=1e-7)


def test_steps_that_move_with_the_times_repeat_the_numbers_of_a_chaotic_solve():
    def lorenz(t, y):
        a, b, c = y.unbind(-1)
        return torch.stack((10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c), -1)

    t = torch.linspace(0, 20, 101, dtype=torch.float64, requires_grad=True)
    how = dict(method="rk4", step_size=0.01, adjoint_params=(), checkpoints=1)
    ys = odeint_checkpointed(lorenz, torch.ones(3, requires_grad=True), t, **how)
    ys[1].sum().backward()
    assert t.grad.isfinite().all()


@second_ways
def test_hooks_may_keep_what_is_saved_in_their_own_way(solver):
    f = Decay()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x.clone(), lambda x: x):
        end = solver(f, one(), [0.0, 1.0], **TIGHT)[-1].sum()
    end.backward()
    assert f.w.grad.item() == pytest.approx(math.exp(-0.5), rel=1e-7)


def test_dense_output_keeps_its_precision_under_autocast():
    def f(t, y):
        return -y

    y0, t = torch.linspace(1, 2, 8), torch.linspace(0, 1, 9)
    plain = odeint(f, y0, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = odeint(f, y0, t)
    torch.testing.assert_close(lowered, plain, rtol=1e-6, atol=1e-6)


class Raised(nn.Module):
    """A network that computes in less precision than its result has."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, t, y):
        return self.net(t, 3 * y).float()


@pytest.mark.parametrize("checkpoints", [1, 2, 5, None])
def test_under_autocast_the_checkpointed_gradient_is_the_direct_one(checkpoints):
    def gradient(solver, **settings):
        torch.manual_seed(0)
        f = Raised(MLPDynamics(2, (8,)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            end = solver(f, torch.ones(3, 2), [0.0, 1.0], **settings)[-1]
        end.sum().backward()
        return torch.cat([p.grad.flatten() for p in f.parameters()])

    found = gradient(odeint_checkpointed, checkpoints=checkpoints)
    assert relative_error(found, gradient(odeint)) < 1e-6

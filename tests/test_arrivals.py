"""What arrives at observations inside a step of the way back: carried to its start."""

import math

import pytest
import torch
from problems import BY_NAME, PROBLEMS
from test_adjoint import cosines, learnable, sensitivities
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from course_lib.measuring import Counted, flat, relative_error
from course_lib.models import MLPDynamics
from course_lib.solvers import (
    METHODS,
    odeint,
    odeint_checkpointed,
    odeint_interpolated,
)

ADAPTIVE = [name for name, tableau in METHODS.items() if tableau.adaptive]


def gradients(solver, f, y0, t, weights=None, **settings):
    weights = cosines(len(t), *y0.shape) if weights is None else weights
    return flat(sensitivities(solver, f, y0, t, weights, **settings))


def tight(tolerance=1e-9):
    return dict(rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("check_theta", [False, True])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_with_many_observations_a_step_it_equals_backpropagation(
    problem, method, backward, check_theta
):
    t = problem.times(60)
    start = problem.truth(t)[-1] if backward else problem.start()
    t = t.flip(0) if backward else t
    f, loose = learnable(problem), tight(1e-7)
    direct = gradients(odeint, f, start, t, **tight(1e-10))
    how = dict(method=method, check_theta=check_theta, **loose)
    assert relative_error(
        gradients(odeint_interpolated, f, start, t, **how), direct
    ) < (1e-4)


@pytest.mark.parametrize(
    ("method", "h"), [("bosh3", 0.1), ("dopri5", 0.2), ("tsit5", 0.2)]
)
def test_what_arrives_inside_a_step_has_the_order_of_the_dense_output(method, h):
    problem, tableau = BY_NAME["pendulum"], METHODS[method]
    f, y0, t = learnable(problem), problem.start(), problem.times(41)
    exact = gradients(odeint, f, y0, t, **tight(1e-12))

    def error(h):
        how = dict(method=method, rtol=1e3, atol=1e3, first_step=h, max_step=h)
        return relative_error(gradients(odeint_interpolated, f, y0, t, **how), exact)

    order = min(tableau.order, len(tableau.dense[0]))
    assert math.log2(error(h) / error(h / 2)) > order - 0.3


def test_a_thousand_observations_cost_the_evaluations_of_a_hundred():
    torch.manual_seed(0)
    f = Counted(MLPDynamics(6, (64,))).double()
    y0 = torch.randn(100, 6, dtype=torch.float64)
    calls = {}
    for n in (2, 10, 100, 1000):
        t = torch.linspace(0, 1, n, dtype=torch.float64)
        ys = odeint_interpolated(f, y0, t, **tight(1e-6))
        f.reset()
        (ys * cosines(*ys.shape) / n).sum().backward()
        calls[n] = f.reset()
    # Twice the products of a step without, and one for the slope where it starts.
    assert max(calls.values()) <= 2.5 * calls[2]
    assert calls[1000] <= 1.1 * calls[100]


class MadeTensors(TorchDispatchMode):
    """Counts the tensors that operations give back."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.count += sum(isinstance(x, Tensor) for x in tree_leaves(result))
        return result


@pytest.mark.parametrize(
    ("solver", "learnt"),
    [
        (odeint, False),
        (odeint, True),
        (odeint_checkpointed, False),
        (odeint_checkpointed, True),
        (odeint_interpolated, False),  # the gradient of t takes f at each
    ],
)
def test_no_tensor_is_made_for_each_requested_time(solver, learnt):
    torch.manual_seed(0)
    f, y0 = MLPDynamics(2, (8,)).double(), cosines(2)
    counts = []
    for n in (100, 1000):
        t = torch.linspace(0, 1, n, dtype=torch.float64, requires_grad=learnt)
        with MadeTensors() as made:
            solver(f, y0, t, **tight(1e-6)).square().sum().backward()
        counts.append(made.count)
    assert counts[0] == counts[1]


def test_what_arrives_only_inside_is_not_stepped_over():
    f, y0 = nn.Linear(2, 2, bias=False).double(), cosines(2)
    f.forward = lambda t, y: y @ f.weight.T * (1 + t.sin())
    t = torch.linspace(0, 10, 31, dtype=torch.float64)
    weights = torch.zeros(31, 2, dtype=torch.float64)
    weights[11] = 1.0  # and λ is 0 from 10 to there: steps grow
    exact = gradients(odeint, f, y0, t, weights, **tight(1e-11))
    along = gradients(odeint_interpolated, f, y0, t, weights, **tight(1e-8))
    assert relative_error(along, exact) < 1e-5


def test_observations_on_both_sides_of_a_jump_of_f_arrive_on_their_own():
    class Switched(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.tensor([-1.0, 2.0], dtype=torch.float64))

        def forward(self, t, y):
            return self.a[int(t >= 1.0)] * y * torch.cos(y)

    f, y0 = Switched(), torch.tensor([0.5, 1.0], dtype=torch.float64)
    t = torch.linspace(0, 2, 40, dtype=torch.float64)
    weights = cosines(40, 2)

    def found(solver, tolerance):
        f.zero_grad()
        start = y0.clone().requires_grad_()
        ys = solver(f, start, t, jumps=[1.0], **tight(tolerance))
        (ys * weights).sum().backward()
        return flat([start.grad, f.a.grad])

    along, exact = found(odeint_interpolated, 1e-8), found(odeint, 1e-11)
    assert relative_error(along, exact) < 1e-6


def test_steps_that_are_refused_leave_nothing_behind():
    # θ sin 50t at θ = 0: with θ checked the first attempts are too long.
    class Fast(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, t, y):
            return self.theta * torch.sin(50 * t) - 0.1 * y

    y0, t = torch.ones(1).double(), torch.linspace(0, 3, 20, dtype=torch.float64)
    exact = gradients(odeint, Fast(), y0, t, **tight(1e-11), max_step=0.01)
    how = dict(check_theta=True, **tight(1e-8))
    along = gradients(odeint_interpolated, Fast(), y0, t, **how)
    assert relative_error(along, exact) < 1e-5

"""States of several tensors: what one vector gives, in the parts it was made of."""

import pytest
import torch
import torchdiffeq
from torch import nn

from course_lib.solvers import (
    Settings,
    odeint,
    odeint_adjoint,
    odeint_checkpointed,
    odeint_each,
    odeint_interpolated,
    solve,
)

SOLVERS = [odeint, odeint_adjoint, odeint_checkpointed, odeint_interpolated]
all_solvers = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.__name__)
TIGHT = dict(rtol=1e-9, atol=1e-9)


class Work(nn.Module):
    """A spring, and the work that it has done: q' = v, v' = -kq, e' = Σ qv."""

    def __init__(self):
        super().__init__()
        self.k = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, t, state):
        q, v, _ = state
        return v, -self.k * q, (q * v).sum()


def start():
    q = torch.arange(1.0, 7.0, dtype=torch.float64).reshape(2, 3)
    return q.requires_grad_(), torch.zeros_like(q), torch.zeros((), dtype=torch.float64)


@all_solvers
def test_the_parts_come_back_in_their_shapes_with_torchdiffeqs_values_and_gradients(
    solver,
):
    f, y0, t = Work(), start(), torch.tensor([0.0, 0.4, 2.0], dtype=torch.float64)
    found = {}
    for odeint_of in (solver, torchdiffeq.odeint):
        parts = odeint_of(f, y0, t, **TIGHT)
        assert [tuple(x.shape) for x in parts] == [(3, 2, 3), (3, 2, 3), (3,)]
        loss = sum(x.square().sum() for x in parts)
        found[odeint_of] = [*parts, *torch.autograd.grad(loss, (f.k, y0[0]))]
    for ours, theirs in zip(*found.values()):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("f", "error", "complaint"),
    [
        (
            lambda t, p: ((p[0] + 2.5).long(), -p[1]),
            ValueError,
            "dtype and device of y0",
        ),
        (lambda t, p: (p[0].float(), -p[1]), ValueError, "dtype and device of y0"),
        (
            lambda t, p: (0.0, -p[1]),
            TypeError,
            r"a Tensor for each part.*\(float, Tensor",
        ),
        (lambda p: p, TypeError, "takes one argument"),
    ],
)
def test_a_part_of_what_f_returns_is_checked_like_a_whole(f, error, complaint):
    y0 = torch.ones(2).double(), torch.ones(1).double()
    with pytest.raises(error, match=complaint):
        odeint(f, y0, [0.0, 1.0])


def test_no_part_hides_the_error_of_another():
    small = (torch.ones(1).double(), torch.zeros(10_000).double())

    def f(t, state):
        y, idle = state
        return -50 * y * torch.sin(20 * t), torch.zeros_like(idle)

    tolerance = dict(rtol=1e-6, atol=1e-6)
    exact = torch.exp(2.5 * (torch.tensor(20.0).double().cos() - 1))
    error = abs(odeint(f, small, [0.0, 1.0], **tolerance)[0][-1] - exact).item()
    alone = abs(
        odeint(lambda t, y: f(t, (y, y))[0], small[0], [0.0, 1.0], **tolerance)[-1]
        - exact
    ).item()
    assert error == pytest.approx(alone, rel=1e-6)


def test_parts_may_be_counted_or_measured():
    y0 = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)

    def f(t, y):
        return -torch.tensor([1.0, 9.0, 2.0, 3.0]).double() * y

    nfe = [solve(f, y0, [0.0, 1.0], parts=parts).nfe for parts in (2, (2, 2))]
    assert nfe[0] == nfe[1]
    assert Settings(parts=(1, 3)).parts == (1, 3)


@pytest.mark.parametrize("solver", SOLVERS[1:], ids=lambda s: s.__name__)
def test_a_plain_function_of_parts_still_has_to_name_its_parameters(solver):
    f = Work()
    with pytest.raises(TypeError, match="list what the gradient must reach"):
        solver(lambda t, state: f(t, state), start(), [0.0, 1.0])


def test_parts_that_do_not_fit_are_refused_with_what_came():
    y0 = start()
    with pytest.raises(ValueError, match=r"shapes in y0, .*\(2, 3\).* got .*\(3,\)"):
        odeint(lambda t, y: (y[0][0], y[1], y[2]), y0, [0.0, 1.0])
    with pytest.raises(
        TypeError, match="f must return 3 tensors, as y0 has, got Tensor"
    ):
        odeint(lambda t, y: y[0], y0, [0.0, 1.0])
    with pytest.raises(
        TypeError, match=r"must have one dtype and device, got torch\.float"
    ):
        odeint(lambda t, y: y, (y0[0], y0[1].float()), [0.0, 1.0])
    with pytest.raises(TypeError, match=r"a tuple of Tensors, got \(Tensor, float\)"):
        odeint(lambda t, y: y, (y0[0], 1.0), [0.0, 1.0])
    with pytest.raises(TypeError, match="odeint takes them"):
        solve(lambda t, y: y, y0, [0.0, 1.0])


@pytest.mark.parametrize("parts", [3, 0, -1, (2, 3), None, "a", 1.5], ids=str)
def test_parts_that_do_not_divide_the_state_are_refused_by_name(parts):
    with pytest.raises(ValueError, match="parts must be a number that divides the 4"):
        odeint(lambda t, y: -y, torch.ones(4), [0.0, 1.0], parts=parts)


def test_parts_go_neither_with_a_tuple_nor_with_steps_for_each_sample():
    with pytest.raises(TypeError, match="parts=2 does not go with a tuple"):
        odeint(lambda t, y: y, (torch.ones(2), torch.ones(2)), [0.0, 1.0], parts=2)
    with pytest.raises(ValueError, match="parts=2 does not go with steps for each"):
        odeint_each(lambda t, y: -y, torch.ones(4), [0.0, 1.0], parts=2)

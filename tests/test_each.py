"""A batch with steps and times for each sample gives each what it would get alone, and
no sample pays for another, or can harm it.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from problems import ADAPTIVE, EPS, FIXED, adaptive_methods, on_last
from scipy.integrate import solve_ivp
from torch import Tensor, nn
from torch.autograd import gradcheck

from course_lib.models import ConvDynamics, Ensemble, MLPDynamics
from course_lib.solvers import (
    METHODS,
    STIFF_METHODS,
    SolverError,
    odeint,
    odeint_each,
    solve,
    solve_each,
)

BATCH = 6
DIRECTIONS = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0], dtype=torch.float64)


def pushed(t: Tensor, y: Tensor) -> Tensor:
    """A pendulum that is pushed to and fro; t stands beside y, or is 0-d."""
    push = t[..., 0] if t.ndim else t
    return on_last(y[..., 1], push.cos() - (3 * y[..., 0]).sin())


def drawn(*shape: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64)


def starts() -> Tensor:
    """Slow ones and fast ones."""
    return drawn(BATCH, 2) * torch.logspace(-1, 1, BATCH, dtype=torch.float64)[:, None]


def own_times(n: int = 7) -> Tensor:
    """Different times for each sample, (n, BATCH), some of them running backwards."""
    return drawn(n, BATCH, seed=1).abs().cumsum(0) * DIRECTIONS


class Rows:
    """A vector field that counts its calls and the samples in them."""

    def __init__(self, f):
        self.f, self.sizes = f, []

    def __call__(self, t, y):
        self.sizes.append(len(y))
        return self.f(t, y)


def apart(x: Tensor, y: Tensor) -> float:
    return (x - y).abs().max().item()


# --- each as if alone -----------------------------------------------------------------


@adaptive_methods
@pytest.mark.parametrize(
    "more",
    [{}, {"beta": 0.04}, {"max_step": 0.3}, {"first_step": 0.05}],
    ids=["plain", "beta", "max_step", "first_step"],
)
def test_a_sample_takes_the_steps_that_it_takes_alone(method, more):
    y0, t = starts(), torch.linspace(0, 5, 9, dtype=torch.float64)
    together = solve_each(pushed, y0, t, method=method, **more)
    for i in range(BATCH):
        alone = solve(pushed, y0[i], t, method=method, **more)
        assert together.accepted[i] == alone.accepted
        assert together.rejected[i] == alone.rejected
        assert apart(together.ys[:, i], alone.ys) <= 1e4 * EPS * alone.ys.abs().max()


@adaptive_methods
def test_times_of_its_own_give_a_sample_what_it_gets_alone(method):
    """Whichever way they run."""
    y0, t = starts(), own_times()
    together = solve_each(pushed, y0, t, method=method)
    for i in range(BATCH):
        alone = solve(pushed, y0[i], t[:, i], method=method)
        assert together.accepted[i] == alone.accepted
        assert apart(together.ys[:, i], alone.ys) <= 1e4 * EPS * alone.ys.abs().max()


def test_times_of_its_own_give_what_scipy_gives():
    y0, t = starts(), own_times()
    found = odeint_each(pushed, y0, t, rtol=1e-10, atol=1e-10)

    def f(now, y):
        return pushed(torch.tensor(now), torch.from_numpy(y)).numpy()

    for i in range(BATCH):
        ends, own = (t[0, i].item(), t[-1, i].item()), t[:, i].numpy()
        settings = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}
        truth = solve_ivp(f, ends, y0[i].numpy(), t_eval=own, **settings).y.T
        assert np.abs(found[:, i].numpy() - truth).max() < 1e-7


def test_a_time_may_repeat_so_that_a_shorter_series_can_be_filled_up():
    y0, t = starts()[:3], own_times()[:, [0, 1, 2]]
    filled = t.clone()
    filled[4:, 0] = t[3, 0]  # four times, the last one again and again
    filled[1, 1] = t[0, 1]  # the first one twice
    filled[:, 2] = 5.0  # one time only
    found = solve_each(pushed, y0, filled)
    assert torch.equal(found.ys[3:, 0], found.ys[3, 0].expand(4, 2))
    assert apart(found.ys[3, 0], odeint(pushed, y0[0], t[:4, 0])[-1]) <= 1e3 * EPS
    assert torch.equal(found.ys[:2, 1], y0[1].expand(2, 2))
    assert torch.equal(found.ys[:, 2], y0[2].expand(7, 2))
    assert found.accepted[2] == found.rejected[2] == 0


def test_tolerances_may_differ_from_sample_to_sample():
    rtol = torch.logspace(-3, -9, BATCH, dtype=torch.float64)
    y0, t = starts()[:1].repeat(BATCH, 1), torch.linspace(0, 5, 4, dtype=torch.float64)
    t = t[:, None] * torch.linspace(0.5, 1, BATCH, dtype=torch.float64)  # leave in turn
    own = {"rtol": rtol[:, None], "atol": rtol[:, None] / 10}
    together = solve_each(pushed, y0, t, **own)
    for i, r in enumerate(rtol.tolist()):
        alone = solve(pushed, y0[i], t[:, i], rtol=r, atol=r / 10)
        assert together.accepted[i] == alone.accepted
        assert apart(together.ys[:, i], alone.ys) <= 1e4 * EPS


# --- what it costs --------------------------------------------------------------------


def stiff_and_fifteen_others() -> tuple[nn.Module, Tensor, Tensor]:
    """y' = λ (cos t - y) with λ = 1000 for one sample of sixteen and 1 for the others;
    λ is a part of the state that stands still.
    """
    rates = torch.ones(16, dtype=torch.float64)
    rates[5] = 1000.0
    y0 = on_last(drawn(16), rates)

    def f(t, y):
        rate, t = y[..., 1], t[..., 0] if t.ndim else t
        return on_last(rate * (t.cos() - y[..., 0]), 0 * rate)

    return f, y0, torch.linspace(0, 3, 5, dtype=torch.float64)


def test_one_stiff_sample_does_not_cost_the_others_a_step():
    f, y0, t = stiff_and_fifteen_others()
    counted, jointly = Rows(f), Rows(f)
    each, joint = solve_each(counted, y0, t), solve(jointly, y0, t)
    others = torch.arange(16) != 5
    calm = solve_each(f, y0[others], t)
    assert torch.equal(each.accepted[others], calm.accepted)
    assert torch.equal(each.rejected[others], calm.rejected)
    # 903 steps, the others 7 to 11; solve takes 917 with all of them.
    assert each.accepted[5] > 50 * each.accepted[others].max()
    assert joint.accepted > 50 * each.accepted[others].max()
    # 6,896 evaluations of a sample, and 95,168.
    assert sum(counted.sizes) < sum(jointly.sizes) / 10


def test_a_sample_cannot_hide_its_error_behind_the_others():
    """A hundred at rest and one that turns: the mean over all is a tenth of its own."""
    y0 = torch.zeros(100, 2, dtype=torch.float64)
    y0[7, 0] = 1.0
    t = torch.linspace(0, 20, 3, dtype=torch.float64)

    def turn(t, y):
        return on_last(y[..., 1], -y[..., 0])

    truth = on_last(t.cos(), -t.sin())
    strict = {"rtol": 1e-6, "atol": 1e-6}
    hidden = apart(odeint(turn, y0, t, **strict)[:, 7], truth)
    assert apart(odeint_each(turn, y0, t, **strict)[:, 7], truth) < hidden / 5


def test_a_call_of_f_counts_once_and_serves_those_that_are_under_way():
    f = Rows(pushed)
    found = solve_each(f, starts(), own_times())
    attempts = found.accepted + found.rejected
    stages = METHODS["dopri5"].stages - 1
    assert found.nfe == len(f.sizes) == 2 + attempts.max() * stages
    assert sum(f.sizes) == 2 * BATCH + attempts.sum() * stages
    assert f.sizes == sorted(f.sizes, reverse=True)


def test_the_whole_batch_comes_to_f_if_it_holds_something_for_each_sample():
    rates = torch.logspace(-1, 1, BATCH, dtype=torch.float64)[:, None]
    y0, t = starts(), own_times() * DIRECTIONS
    f = Rows(lambda t, y: rates * (t.cos() - y))
    found = solve_each(f, y0, t, whole_batch=True)
    assert set(f.sizes) == {BATCH}
    for i in range(BATCH):
        alone = solve(lambda t, y, i=i: rates[i] * (t.cos() - y), y0[i], t[:, i])
        assert (found.accepted[i], found.rejected[i]) == (
            alone.accepted,
            alone.rejected,
        )
        assert apart(found.ys[:, i], alone.ys) <= 1e4 * EPS
    with pytest.raises(RuntimeError, match="use whole_batch=True"):
        solve_each(f, y0, t)


# --- what f gets ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (2,), (3, 2), (0,)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("wanted", [False, True], ids=["t", "dt"])
def test_f_receives_a_time_for_each_sample_that_goes_beside_y(shape, dtype, wanted):
    seen = set()

    def f(t, y):
        seen.add((t.shape[1:], t.dtype, y.shape[1:], y.dtype, len(t) == len(y)))
        return torch.sin(t) * y

    y0, t = torch.ones(4, *shape, dtype=dtype), torch.tensor([0.0, 0.7, 1.0])
    found = odeint_each(f, y0, t.requires_grad_(wanted), rtol=1e-4, atol=1e-4)
    assert seen == {((1,) * len(shape), dtype, shape, dtype, True)}
    assert found.dtype == dtype
    assert found.shape == (3, 4, *shape)
    if y0.numel():
        truth = (1 - t.detach().cos()).exp()
        assert apart(found.detach().reshape(3, -1)[:, 0], truth) < 1e-3


def field_of_the_course(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    if name == "images":
        return ConvDynamics(channels=4, groups=2).double(), drawn(3, 4, 5, 5)
    if name == "ensemble":
        members = [MLPDynamics(2, (8,), time=True) for _ in range(3)]
        return Ensemble(members).double(), drawn(3, 5, 2)
    return MLPDynamics(2, (8,), time=name == "time").double(), drawn(3, 2)


@pytest.mark.parametrize("name", ["autonomous", "time", "images", "ensemble"])
def test_the_fields_of_the_course_take_a_time_for_each_sample(name):
    f, y0 = field_of_the_course(name)
    t, accuracy = 0.5 * own_times(3)[:, :3], {"rtol": 1e-7, "atol": 1e-7}
    kept = {"whole_batch": name == "ensemble"}  # its members are the samples
    # Across a kink of ReLU a step has no order, and rounding decides which it is.
    bound = 1e-3 if name == "images" else 1e-6
    with torch.no_grad():
        found = odeint_each(f, y0, t, **accuracy, **kept)
        for i in range(3):
            alone = f if name != "ensemble" else Ensemble([f.member(i)])
            truth = odeint(alone, y0[i : i + 1], t[:, i], **accuracy)[:, 0]
            assert apart(found[:, i], truth) < bound


def test_a_field_for_one_sample_and_a_plain_time_goes_through_vmap():
    A = drawn(2, 2)

    def one(t, y):
        return A @ y + torch.stack((t.cos(), t.sin()))

    y0, t = starts(), own_times()
    found = odeint_each(lambda t, y: torch.vmap(one)(t.flatten(), y), y0, t)
    for i in range(BATCH):
        truth = odeint(one, y0[i], t[:, i])
        assert apart(found[:, i], truth) <= 1e4 * EPS * truth.abs().max()


def test_f_is_asked_only_between_the_first_and_the_last_time_of_each_sample():
    t = own_times()
    low, high = torch.minimum(t[0], t[-1]), torch.maximum(t[0], t[-1])

    def f(now, y):
        now = now[:, 0]
        assert (now >= low - 1e-12).all()
        assert (now <= high + 1e-12).all()
        return torch.ones_like(y)

    odeint_each(f, 1000 * starts(), t, whole_batch=True)


# --- gradients ------------------------------------------------------------------------


@adaptive_methods
def test_the_gradient_is_that_of_the_numbers_computed(method):
    """By starts, by times of either direction, by what f uses. The tolerance is tight
    where the steps move with the inputs, which count as constants here.
    """

    def solved(y0, t, theta):
        return odeint_each(
            lambda t, y: theta[0] * pushed(theta[1] * t, y),
            y0,
            t,
            method=method,
            rtol=1e-7,
            atol=1e-7,
        )

    inputs = (
        drawn(3, 2).requires_grad_(),
        (0.5 * own_times(3)[:, :3]).requires_grad_(),
        torch.tensor([0.7, 1.3], dtype=torch.float64, requires_grad=True),
    )
    assert gradcheck(solved, inputs, eps=1e-5, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("whole_batch", [False, True], ids=["dropped", "whole"])
def test_the_gradient_of_a_sample_is_the_one_it_has_alone(whole_batch):
    theta = torch.tensor([0.7, 1.3], dtype=torch.float64, requires_grad=True)
    y0, t = starts().requires_grad_(), own_times().requires_grad_()

    def f(t, y):
        return theta[0] * pushed(theta[1] * t, y)

    together = odeint_each(f, y0, t, whole_batch=whole_batch)
    alone = torch.stack([odeint(f, y0[i], t[:, i]) for i in range(BATCH)], dim=1)
    weights, inputs = drawn(*together.shape, seed=2), (y0, t, theta)
    found, expected = (
        torch.autograd.grad((weights * ys).sum(), inputs) for ys in (together, alone)
    )
    for x, y in zip(found, expected):
        assert apart(x, y) <= 1e5 * EPS * y.abs().max()


def test_times_that_repeat_have_the_gradient_of_the_solution_there():
    """Also those that stand where the solve begins: they may move on from it."""
    t = torch.tensor([[0.0, 1.0], [0.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
    t.requires_grad_()
    y0 = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    ys = odeint_each(lambda t, y: -y, y0, t, rtol=1e-10, atol=1e-10)
    (by_own,) = torch.autograd.grad(ys[1:].sum(), t)
    y = ys.detach()[..., 0]
    assert apart(by_own[1:], -y[1:]) < 1e-7
    assert apart(by_own[0], y[1:].sum(0)) < 1e-7


# --- no sample harms another ----------------------------------------------------------


def emptying(rate: Tensor):
    """y' = -rate √y: not a number past the bottom, where a step that is too long ends."""
    return lambda t, y: -rate * y.sqrt()


@pytest.mark.parametrize("whole_batch", [False, True], ids=["dropped", "whole"])
def test_an_attempt_that_ends_in_nan_leaves_no_trace_in_a_gradient(whole_batch):
    """Zero times NaN is NaN: the gradient of what samples share would be lost."""
    y0 = torch.tensor([[1.0], [0.01], [4.0]], dtype=torch.float64, requires_grad=True)
    rate = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    t, steps = torch.tensor([0.0, 0.1], dtype=torch.float64), {"first_step": 0.1}
    y0.data[1] = 0.0036  # empty at t = 0.12: stages of a first step of 0.1 overshoot
    found = solve_each(emptying(rate), y0, t, whole_batch=whole_batch, **steps)
    assert found.rejected.tolist()[::2] == [0, 0]
    assert found.rejected[1] > 0
    alone = [odeint(emptying(rate), y, t, **steps) for y in y0]
    got = torch.autograd.grad(found.ys[-1].sum(), (y0, rate))
    expected = torch.autograd.grad(sum(ys[-1].sum() for ys in alone), (y0, rate))
    for x, y in zip(got, expected):
        assert x.isfinite().all()
        assert apart(x, y) <= 1e4 * EPS * y.abs().max()


def test_a_sample_that_meets_nan_is_named():
    y0, t = torch.ones(4, 1, dtype=torch.float64), [0.0, 3.0]
    y0[2] = 1.5
    with pytest.raises(SolverError, match=r"^sample 2 of the batch: f returned NaN"):
        odeint_each(lambda t, y: y.where(y < 3, math.nan), y0, [0.0, 1.0])
    with pytest.raises(SolverError, match=r"^sample 2 of .* t=0 with h=0"):
        odeint_each(lambda t, y: y.where(y < 1.2, math.nan), y0, t)


def test_a_sample_that_blows_up_is_named_after_others_have_left():
    y0 = torch.tensor([0.1, 0.2, 0.1, 1.0], dtype=torch.float64)
    t = torch.tensor([[0.0] * 4, [0.1, 0.2, 0.3, 2.0]], dtype=torch.float64)
    with pytest.raises(
        SolverError, match=r"^sample 3 of the batch: step underflow at t=1"
    ):
        odeint_each(lambda t, y: y**2, y0, t)


@pytest.mark.parametrize("whole_batch", [False, True], ids=["dropped", "whole"])
def test_max_steps_counts_the_attempts_of_each_sample(whole_batch):
    f, y0, t = stiff_and_fifteen_others()
    needed = solve_each(f, y0, t)
    most = (needed.accepted + needed.rejected).max().item()
    allowed = {"max_steps": most, "whole_batch": whole_batch}
    assert torch.equal(solve_each(f, y0, t, **allowed).accepted, needed.accepted)
    allowed["max_steps"] -= 1
    with pytest.raises(SolverError, match=r"^sample 5 of the batch: max_steps="):
        solve_each(f, y0, t, **allowed)


# --- what comes back ------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_the_result_holds_the_times_as_they_were_given(shared):
    t = torch.linspace(0, 1, 7).double() if shared else own_times()
    found = solve_each(pushed, starts(), t)
    assert found.t is t
    assert found.ys.shape == (7, BATCH, 2)
    assert torch.equal(found.ys[0], starts())
    assert found.accepted.dtype == found.rejected.dtype == torch.long
    assert torch.equal(odeint_each(pushed, starts(), t), found.ys)


@pytest.mark.parametrize("t", [[3.0], [4.0, 4.0], torch.ones(3, 2)], ids=str)
def test_where_there_is_no_way_to_go_the_starts_come_back_without_a_call_of_f(t):
    y0 = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = solve_each(Rows(None), y0, t)
    assert torch.equal(found.ys, y0.expand(len(t), 2, 2))
    assert found.nfe == 0
    assert found.accepted.tolist() == found.rejected.tolist() == [0, 0]


def test_a_batch_of_nobody_is_solved():
    found = solve_each(pushed, torch.zeros(0, 2), [0.0, 1.0])
    assert found.ys.shape == (2, 0, 2)
    assert found.accepted.shape == (0,)


def test_an_array_of_times_will_do():
    as_array = odeint_each(pushed, starts(), own_times().numpy())
    assert torch.equal(as_array, odeint_each(pushed, starts(), own_times()))


def test_wanting_the_gradient_of_the_times_does_not_change_the_answer():
    plain = odeint_each(pushed, starts(), own_times())
    tracked = odeint_each(pushed, starts(), own_times().requires_grad_())
    assert apart(plain, tracked) <= 1e3 * EPS * plain.abs().max()


def test_it_runs_where_gradients_are_off():
    expected = odeint_each(pushed, starts(), own_times())
    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            found = odeint_each(pushed, starts(), own_times().requires_grad_())
            assert not found.requires_grad
            assert torch.equal(found, expected)


def test_steps_that_the_time_of_f_does_not_resolve_are_said():
    y0 = torch.ones(2, 1)
    t = torch.tensor([[0.0, 1e6], [1.0, 1e6 + 1]], dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"near t=1e\+06 f has its t in torch.float32"):
        odeint_each(lambda t, y: (20 * t).cos() * y, y0, t)


# --- what makes no sense --------------------------------------------------------------


TWO = torch.ones(2, 3)
NONSENSE = {
    "rows": ({"t": torch.rand(5, 3)}, ValueError, "t must have shape (n,) or (n, 2)"),
    "turned": ({"t": torch.rand(2, 5)}, ValueError, "of shape (batch, n) need t.T"),
    "zigzag": (
        {"t": torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])},
        ValueError,
        "along every column; that of sample 1 is [0, 2, 1]",
    ),
    "NaN": ({"t": torch.full((2, 2), math.nan)}, ValueError, "t must be finite"),
    "none": ({"t": torch.zeros(0, 2)}, ValueError, "got (0, 2)"),
    "integer": ({"t": torch.ones(2, 2).long()}, TypeError, "t must be floating point"),
    "cube": ({"t": torch.rand(2, 2, 2)}, ValueError, "t must be 1-D"),
    "repeated": ({"t": [0.0, 1.0, 1.0]}, ValueError, "strictly increasing"),
    "alone": ({"y0": torch.tensor(1.0)}, ValueError, "use y0[None] for one sample"),
    "list": ({"y0": [1.0]}, TypeError, "y0 must be a Tensor, got list"),
    "jumps": ({"jumps": [0.5]}, ValueError, "jumps=(0.5,) does not go with steps for"),
    "event": ({"event": pushed}, TypeError, "is not a setting of this solve"),
    "method": ({"method": "radau"}, ValueError, "method='radau' is not known"),
    "rtol": ({"rtol": torch.ones(3, 3)}, ValueError, "rtol must broadcast to y0"),
    "f": ({"f": None}, TypeError, "f must be callable as f(t, y)"),
}


@pytest.mark.parametrize("case", NONSENSE.values(), ids=NONSENSE)
def test_what_makes_no_sense_is_refused_by_name(case):
    changed, kind, words = case
    arguments = {"f": pushed, "y0": TWO, "t": [0.0, 1.0]} | changed
    with pytest.raises(kind) as error:
        solve_each(**arguments)
    assert error.type is kind
    assert words in str(error.value)


@pytest.mark.parametrize("method", [*FIXED, *STIFF_METHODS])
def test_a_method_that_has_no_steps_for_each_sample_is_answered_with_those_that_do(
    method,
):
    step = {"step_size": 0.1} if method in FIXED else {}
    with pytest.raises(ValueError, match="has no steps for each sample") as error:
        solve_each(pushed, TWO, [0.0, 1.0], method=method, **step)
    assert all(name in str(error.value) for name in (method, *ADAPTIVE))


def test_a_time_beside_a_component_is_refused_with_the_way_to_write_it():
    def f(t, y):
        return on_last(y[..., 1], t.cos() - y[..., 0])

    with pytest.raises(RuntimeError, match=r"beside a component y\[..., 0\] it is t"):
        solve_each(f, torch.ones(4, 2), [0.0, 1.0])


def test_a_result_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected \(2, 3\)"):
        solve_each(lambda t, y: y[:1], TWO, [0.0, 1.0])

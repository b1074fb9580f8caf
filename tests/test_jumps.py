"""Where f jumps, a step ends and another begins: the order of the method is kept, f is
asked on one side only, and gradients are those of the solution.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchdiffeq
from problems import (
    ADAPTIVE,
    FIXED,
    adaptive_methods,
    all_methods,
    fixed_methods,
    with_method,
)
from test_adjoint import Field, largest_gap, sensitivities
from test_bad_input import refusal
from test_forward_pass import SECOND_WAYS
from test_settings import WAYS, all_ways, second_ways
from torch import Tensor

from course_lib.solvers import (
    METHODS,
    SolverError,
    odeint,
    odeint_adjoint,
    odeint_checkpointed,
    solve,
)

AT = 0.7  # no whole number of steps of 0.1 in binary, nor of 1/32
both_directions = pytest.mark.parametrize(
    "backward", [False, True], ids=["forward", "backward"]
)
both_types = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["y32", "y64"]
)
# Whether f at the very jump is f after it or f before it.
both_conventions = pytest.mark.parametrize(
    "is_before", [torch.lt, torch.le], ids=["<", "<="]
)


def either(before, after, is_before=torch.lt, at: float = AT):
    """A field that is one function before a time and another after it."""

    def f(t, y):
        return (
            before(t, y)
            if is_before(t, torch.tensor(at, dtype=t.dtype))
            else after(t, y)
        )

    return f


def seasons(t: Tensor, y: Tensor) -> Tensor:
    return y * t.cos()


def harder(t: Tensor, y: Tensor) -> Tensor:
    return -3 * y * t.cos()


def truth(t: Tensor) -> Tensor:
    """From 1 at 0: exp(sin t), then with -3 times the slope of the exponent."""
    sine, there = t.sin(), math.sin(AT)
    exponent = torch.where(t < AT, sine, there - 3 * (sine - there))
    return exponent.exp()[:, None]


def start_and_times(backward: bool, n: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    t = torch.linspace(0, 2, n, dtype=torch.float64)
    t = t.flip(0) if backward else t
    return truth(t)[0], t, truth(t)


# --- order and accuracy ---------------------------------------------------------------


@fixed_methods
@both_directions
@both_conventions
def test_the_order_of_the_method_is_kept_across_a_jump(method, backward, is_before):
    y0, t, exact = start_and_times(backward)
    f, sizes = either(seasons, harder, is_before), [1 / 16, 1 / 32, 1 / 64]

    def error(h, **jumps):
        ys = odeint(f, y0, t, method=method, step_size=h, **jumps)
        return (ys - exact).abs().max().item()

    told = [error(h, jumps=[AT]) for h in sizes]
    order = np.polyfit(np.log(sizes), np.log(told), 1)[0]
    assert order == pytest.approx(METHODS[method].order, abs=0.25)
    if method == "rk4":  # a step across the jump has no order
        assert error(1 / 64) > 1000 * told[-1]


@adaptive_methods
@both_directions
@both_conventions
def test_an_adaptive_solve_is_as_accurate_as_without_a_jump_and_wastes_no_step(
    method, backward, is_before
):
    y0, t, exact = start_and_times(backward)
    f, options = either(seasons, harder, is_before), with_method(method)
    blind = solve(f, y0, t, **options)
    ours = solve(f, y0, t, jumps=[AT], **options)
    # A step errs by at most 1e-6 (1 + 2), and the flow magnifies by e^{1 + 3}.
    assert (ours.ys - exact).abs().max() <= (ours.accepted + 2) * 3e-6 * math.exp(4)
    assert ours.rejected < blind.rejected
    assert ours.nfe < blind.nfe
    assert AT in ours.step_times.tolist()


@adaptive_methods
def test_without_being_told_a_solver_pays_many_times_for_a_large_jump(method):
    f = either(lambda t, y: torch.ones_like(y), lambda t, y: 100 * torch.ones_like(y))
    blind, told = (
        solve(f, torch.zeros(1).double(), [0.0, 1.0], method=method, jumps=jumps)
        for jumps in ((), [AT])
    )
    assert told.rejected == 0
    assert told.nfe < blind.nfe / 2
    assert told.ys[-1].item() == pytest.approx(AT + 100 * (1 - AT), abs=1e-12)


@all_methods
@both_types
@both_conventions
@both_directions
@pytest.mark.parametrize(
    "t", [[0.0, 1.0], [0.0, AT, 1.0], [AT, 1.0], [0.0, AT]], ids=str
)
def test_a_slope_of_two_values_is_integrated_without_an_error(
    method, dtype, is_before, backward, t
):
    """With the jump inside, at a requested time, at the start and at the end."""
    t = t[::-1] if backward else t
    f = either(
        lambda t, y: torch.ones_like(y),
        lambda t, y: 100 * torch.ones_like(y),
        is_before,
    )
    ours = odeint(f, torch.zeros(1, dtype=dtype), t, jumps=[AT], **with_method(method))
    t = torch.tensor(t, dtype=torch.float64)
    exact = t.clamp(max=AT) + 100 * (t - AT).clamp(min=0)
    rounding = 100 * 40 * torch.finfo(dtype).eps
    assert (ours[:, 0] - (exact - exact[0])).abs().max() <= rounding


def square_wave(period: float):
    """1 and -1 in turn, as a computer knows a sine: its zeros are off by roundings."""
    return lambda t, y: torch.sin(2 * math.pi * t / period).sign().expand(y.shape)


@all_methods
@both_types
@both_directions
@pytest.mark.parametrize("period", [0.2, 0.7, 1.0])
def test_a_field_may_compute_its_jumps_with_rounding(method, dtype, backward, period):
    """The integral of a square wave is a triangular one."""
    jumps = [k * period / 2 for k in range(21)]
    t = torch.linspace(0, 10.25 * period, 42, dtype=torch.float64)
    phase = (t / period) % 1
    exact = period * torch.where(phase < 0.5, phase, 1 - phase)
    if backward:
        t, exact = t.flip(0), exact.flip(0)
    y0 = exact[:1].to(dtype)
    options = with_method(method, step_size=0.3 * period, tolerance=1e-4)
    ours = solve(square_wave(period), y0, t, jumps=jumps, **options)
    # float32 knows t to 6e-7, on either side of 20 jumps.
    rounding = (1e-12, 3e-5)[dtype == torch.float32]
    assert (ours.ys[:, 0] - exact).abs().max() <= rounding
    assert ours.rejected == 0


@adaptive_methods
@both_directions
def test_a_solve_with_jumps_is_the_solves_between_them(method, backward):
    f = either(seasons, harder)
    y0, t, _ = start_and_times(backward, 2)
    options = with_method(method, tolerance=1e-5)
    ours = solve(f, y0, t, jumps=[AT], **options)
    pieces, y, ends = [], y0, [t[0].item(), AT, t[-1].item()]
    for here, there in pairwise(ends):
        side = seasons if (here + there) / 2 < AT else harder
        pieces.append(solve(side, y, [here, there], **options))
        y = pieces[-1].ys[-1]
    sizes = torch.cat([piece.step_sizes for piece in pieces])
    assert ours.nfe == sum(piece.nfe for piece in pieces)
    torch.testing.assert_close(ours.step_sizes, sizes, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.ys[-1], y, rtol=1e-13, atol=0)


@pytest.mark.parametrize("method", ["bosh3", "dopri5"])
@both_directions
def test_a_solve_with_jumps_agrees_with_torchdiffeq(method, backward):
    y0, t, _ = start_and_times(backward)
    f, options = either(seasons, harder), with_method(method, tolerance=1e-9)
    jumps = torch.tensor([AT], dtype=torch.float64)
    theirs = torchdiffeq.odeint(f, y0, t, options={"jump_t": jumps}, **options)
    ours = odeint(f, y0, t, jumps=jumps, **options)
    # Each of fewer than 1,000 steps errs by 3e-9, magnified by e⁴.
    assert (ours - theirs).abs().max() <= 1e-4 * (1e-2 if method == "dopri5" else 1.0)


# --- which side -----------------------------------------------------------------------


class Asked:
    """A field that keeps the times at which it was asked, and is NaN outside."""

    def __init__(self, low: float = -math.inf, high: float = math.inf):
        self.low, self.high, self.times = low, high, []

    def __call__(self, t, y):
        self.times.append(t.item())
        inside = self.low < self.times[-1] < self.high
        return -y if inside else torch.full_like(y, math.nan)


@all_methods
@both_types
@both_directions
@pytest.mark.parametrize("at", [AT, 0.0, -100.0, 1e-12], ids=str)
def test_a_field_need_not_exist_at_a_jump_nor_beyond_it(method, dtype, backward, at):
    """Where the solve starts or ends at the jump."""
    at, width = torch.tensor(at, dtype=dtype).item(), 0.5
    options = with_method(method, step_size=0.06, tolerance=1e-4)
    y0 = torch.ones(1, dtype=dtype)
    for field, t in (
        (Asked(low=at), [at, at + width]),
        (Asked(high=at), [at - width, at]),
    ):
        t = t[::-1] if backward else t
        ours = odeint(field, y0, t, jumps=[at], **options)[-1].item()
        # Euler's error is h/2 times the length, that of the others less than h²/6 times.
        rough = 0.02 if method == "euler" else 4e-4
        assert ours == pytest.approx(math.exp(t[0] - t[1]), rel=rough)


@all_methods
@both_types
@both_directions
def test_a_field_is_asked_on_one_side_of_a_jump_and_then_on_the_other(
    method, dtype, backward
):
    f, t = Asked(), [2.0, 1.0, 0.0] if backward else [0.0, 1.0, 2.0]
    options = with_method(method, step_size=0.3, tolerance=1e-4)
    odeint(f, torch.ones(1, dtype=dtype), t, jumps=[AT, 1.0], **options)
    sides = [sum(time > jump for jump in (AT, 1.0)) for time in f.times]
    jumps = torch.tensor([AT, 1.0], dtype=dtype).tolist()
    assert sides == sorted(sides, reverse=backward)
    assert set(sides) == {0, 1, 2}
    assert not set(f.times) & {AT, 1.0, *jumps}
    assert min(f.times) >= 0.0 and max(f.times) <= 2.0


@pytest.mark.parametrize("way", SECOND_WAYS.values(), ids=SECOND_WAYS)
@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_the_way_back_asks_on_one_side_too(way, method):
    f = Asked()
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    options = with_method(method, step_size=0.3) | {"adjoint_params": ()}
    ys = way(f, y0, [0.0, 1.0, 2.0], jumps=[0.0, AT, 1.0, 2.0], **options)
    f.times.clear()
    ys[-1].sum().backward()
    assert f.times
    assert not set(f.times) & {0.0, AT, 1.0, 2.0}
    assert all(0.0 < time < 2.0 for time in f.times)


@all_methods
@both_types
def test_a_jump_beside_a_requested_time_by_rounding_is_at_that_time(method, dtype):
    """0.1 + 0.2 is not 0.3, and 0.3 in float32 is neither."""
    f = either(
        lambda t, y: torch.ones_like(y), lambda t, y: 100 * torch.ones_like(y), at=0.3
    )
    options, y0 = with_method(method, step_size=0.1), torch.zeros(1, dtype=dtype)
    t = torch.linspace(0, 1, 11, dtype=dtype)
    for times in ([0.0, 0.3, 1.0], [0.3, 1.0], [0.0, 0.3], t, t.flip(0)):
        at, beside = (
            solve(f, y0, times, jumps=[jump], **options) for jump in (0.3, 0.1 + 0.2)
        )
        assert torch.equal(at.ys, beside.ys)
        assert torch.equal(at.step_times, beside.step_times)
        assert at.rejected == 0


# --- which jumps ----------------------------------------------------------------------


@all_methods
@both_directions
def test_jumps_outside_the_interval_change_nothing(method, backward):
    y0, t, _ = start_and_times(backward)
    options = with_method(method)
    plain = solve(seasons, y0, t, **options)
    told = solve(seasons, y0, t, jumps=[-1.0, -1e-300, 2.5, 1e9], **options)
    assert torch.equal(told.ys, plain.ys)
    assert torch.equal(told.step_sizes, plain.step_sizes)
    assert told.nfe == plain.nfe


@all_methods
def test_jumps_at_both_ends_of_a_smooth_field_change_nothing_but_roundings(method):
    y0, t, _ = start_and_times(False)
    plain = solve(seasons, y0, t, **with_method(method))
    told = solve(seasons, y0, t, jumps=[0.0, 2.0], **with_method(method))
    assert told.nfe == plain.nfe
    torch.testing.assert_close(told.ys, plain.ys, rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_jumps_may_come_in_any_order_and_container_and_twice(method):
    y0, t, _ = start_and_times(False)
    f, options = either(seasons, harder), with_method(method)
    expected = odeint(f, y0, t, jumps=[0.3, AT], **options)
    for jumps in (
        [AT, 0.3],
        (AT, 0.3, AT),
        {AT, 0.3},
        np.array([AT, 0.3]),
        torch.tensor([AT, 0.3], dtype=torch.float64),
        [np.float64(AT), torch.tensor(0.3, dtype=torch.float64)],
        (time for time in (AT, 0.3)),
    ):
        assert torch.equal(odeint(f, y0, t, jumps=jumps, **options), expected)


@all_methods
def test_max_steps_counts_over_all_pieces(method):
    f, jumps = square_wave(1.0), [k / 2 for k in range(1, 10)]
    options = with_method(method) | {"jumps": jumps}
    y0, t = torch.zeros(1).double(), [0.0, 2.2, 5.0]
    needed = solve(f, y0, t, **options)
    attempts = needed.accepted + needed.rejected
    assert torch.equal(odeint(f, y0, t, max_steps=attempts, **options), needed.ys)
    with pytest.raises(SolverError, match="max_steps"):
        odeint(f, y0, t, max_steps=attempts - 1, **options)


def test_the_first_step_asked_for_is_tried_after_a_jump_again():
    ours = solve(
        either(seasons, harder),
        torch.ones(1).double(),
        [0.0, 2.0],
        jumps=[AT],
        first_step=0.01,
    )
    after = ours.step_times.tolist().index(AT)
    assert ours.step_sizes[0] == ours.step_sizes[after] == 0.01


NOT_JUMPS = {
    "number": (0.5, TypeError),
    "0-d": (torch.tensor(0.5), TypeError),
    "None": (None, TypeError),
    "text": ("0.5", TypeError),
    "empty text": ("", TypeError),
    "texts": (["0.5"], TypeError),
    "NaN": ([0.5, math.nan], TypeError),
    "infinite": ([math.inf], TypeError),
    "complex": ([1j], TypeError),
    "nested": ([[0.5, 0.6]], TypeError),
    "2-D": (torch.tensor([[0.5, 0.6]]), TypeError),
    "learnable": (torch.tensor([0.5], requires_grad=True), ValueError),
    "one learnable": ([0.2, torch.tensor(0.5, requires_grad=True)], ValueError),
}


@all_ways
@pytest.mark.parametrize("case", NOT_JUMPS.values(), ids=NOT_JUMPS)
def test_what_is_no_sequence_of_times_is_refused(way, case):
    jumps, kind = case
    message = refusal(kind, way, jumps=jumps)
    if kind is TypeError:
        assert message.startswith("jumps must be a sequence of times, got ")
        assert "jumps=[0.5] splits the solve at 0.5" in message
    else:
        assert message.startswith(
            "jumps get no gradient here; use jumps=times.detach()"
        )


# --- gradients ------------------------------------------------------------------------


def rates(a: float = -1.3, b: float = 0.4) -> Field:
    """y' = a y before the jump and b y after it."""

    def f(t, y, a, b):
        return (a if t < AT else b) * y

    return Field(f, *(torch.tensor(x, dtype=torch.float64) for x in (a, b)))


def exact_ends(y0: Tensor, t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """y0 exp(a · time before the jump + b · time after it), at every t."""
    before, after = t.clamp(max=AT), t.clamp(min=AT)
    return y0 * (a * (before - before[0]) + b * (after - after[0])).exp()[:, None]


WEIGHTS = torch.tensor([[0.3], [-0.7], [1.0], [0.5]], dtype=torch.float64)
TIMES = torch.tensor([0.1, 0.5, 0.9, 1.4], dtype=torch.float64)


@pytest.mark.parametrize("name", ["odeint", "adjoint", "interpolated"])
@pytest.mark.parametrize("method", ["rk4", "dopri5", "tsit5"])
@both_directions
def test_the_gradients_of_a_jumping_rate_are_those_of_the_closed_form(
    name, method, backward
):
    f, y0 = rates(), torch.tensor([1.5], dtype=torch.float64)
    t = TIMES.flip(0) if backward else TIMES
    options = with_method(method, step_size=0.02, tolerance=1e-9) | {"jumps": [AT]}
    ours = sensitivities(WAYS[name], f, y0, t, WEIGHTS, **options)
    y0, t = y0.clone().requires_grad_(), t.clone().requires_grad_()
    exact = exact_ends(y0, t, *f.values)
    wanted = torch.autograd.grad((WEIGHTS * exact).sum(), (y0, t, *f.values))
    assert largest_gap(ours, wanted) < 1e-6
    assert min(g.abs().max() for g in wanted) > 0.1


@pytest.mark.parametrize("way", [odeint, odeint_checkpointed])
def test_a_stiff_method_stops_at_a_jump_and_has_the_gradient_of_the_closed_form(way):
    f, known = rates(-3.0, -200.0), {} if way is odeint else {"checkpoints": 2}
    y0 = torch.tensor([1.5], dtype=torch.float64, requires_grad=True)
    options = {"method": "rodas5p", "rtol": 1e-9, "atol": 1e-9, "jumps": [AT]}
    ys = way(f, y0, TIMES, **known, **options)
    exact = exact_ends(y0, TIMES, *f.values)
    assert (ys - exact).abs().max() < 1e-6
    found, wanted = (
        torch.autograd.grad((WEIGHTS * x).sum(), (y0, *f.values)) for x in (ys, exact)
    )
    assert largest_gap(found, wanted) < 1e-6


@pytest.mark.parametrize("method", ADAPTIVE + FIXED)
@both_directions
@pytest.mark.parametrize("checkpoints", [1, 3, None])
def test_the_checkpointed_gradient_is_the_direct_one_across_jumps(
    method, backward, checkpoints
):
    f, t = rates(), TIMES.flip(0) if backward else TIMES
    options = with_method(method) | {"jumps": [0.5, AT, 1.2]}
    found = []
    for way in (odeint, odeint_checkpointed):
        y0 = torch.tensor([1.5], dtype=torch.float64, requires_grad=True)
        known = {"checkpoints": checkpoints} if way is odeint_checkpointed else {}
        loss = (WEIGHTS * way(f, y0, t, **known, **options)).sum()
        found.append(torch.autograd.grad(loss, (y0, *f.values)))
    assert largest_gap(*found) <= 1e-13


@pytest.mark.parametrize("method", ["midpoint", "rk4", "dopri5"])
@both_directions
def test_the_direct_gradient_across_a_jump_passes_gradcheck(method, backward):
    """Of the start, the times and the rates. A fixed step is differentiated as it was
    taken; an adaptive solve at 1e-10 takes other steps from a moved start.
    """
    t = TIMES.flip(0) if backward else TIMES
    inputs = [x.clone().requires_grad_() for x in (torch.ones(1).double(), t)]
    inputs += [
        torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (-1.3, 0.4)
    ]
    options = with_method(method, step_size=0.11, tolerance=1e-10) | {"jumps": [AT]}

    def ys(y0, t, a, b):
        def f(t, y):
            return torch.tanh((a if t < AT else b) * y + t)

        return odeint(f, y0, t, **options)

    checked = (
        {"eps": 1e-6, "atol": 1e-7} if method in FIXED else {"eps": 1e-3, "atol": 1e-5}
    )
    assert torch.autograd.gradcheck(ys, inputs, rtol=0, **checked)


def test_after_a_jump_the_steps_no_longer_move_with_the_start():
    """A start moved by d, at a slope of a, moves what follows by -a d, jump or not."""
    f, t = rates(), TIMES.clone().requires_grad_()
    y0 = torch.ones(1).double()
    for method in ("rk4", "dopri5"):
        options = with_method(method, step_size=0.02, tolerance=1e-9)
        ys = odeint(f, y0, t, jumps=[0.2, AT, 1.0], **options)
        (moved,) = torch.autograd.grad(ys[-1].sum(), t)
        a, b = (p.item() for p in f.values)
        assert moved[0].item() == pytest.approx(-a * ys[-1].item(), abs=1e-6)
        assert moved[-1].item() == pytest.approx(b * ys[-1].item(), abs=1e-6)
        assert moved[1:-1].abs().max() < 1e-6


@second_ways
def test_the_way_back_pays_no_more_for_a_jump_than_the_way_there(way):
    calls = 0

    def f(t, y):
        nonlocal calls
        calls += 1
        return (-1.0 if t < AT else -30.0) * y

    counted = []
    for jumps in ((), [AT]):
        y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
        end = way(f, y0, [0.0, 1.0], jumps=jumps, adjoint_params=())[-1]
        calls = 0
        end.sum().backward()
        counted.append(calls)
    assert counted[1] < counted[0]


@pytest.mark.parametrize("way", [odeint, odeint_adjoint])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_time_at_which_f_jumps_gets_no_gradient(way, dtype):
    known = {} if way is odeint else {"adjoint_params": ()}
    t = torch.tensor([0.0, AT, 1.0], dtype=dtype, requires_grad=True)
    y0 = torch.ones(1, dtype=dtype)
    with pytest.raises(ValueError, match="no derivative by a time at which f jumps"):
        way(seasons, y0, t, jumps=[AT], **known)
    assert way(seasons, y0, t.detach(), jumps=[AT], **known).shape == (3, 1)


def test_the_checkpointed_solve_moves_no_times_across_a_jump():
    t = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    y0 = torch.ones(1).double()
    with pytest.raises(ValueError, match="odeint_checkpointed gives times no gradient"):
        odeint_checkpointed(seasons, y0, t, jumps=[AT], adjoint_params=())
    # A jump that is not on the way is none.
    ys = odeint_checkpointed(seasons, y0, t, jumps=[3.0], adjoint_params=())
    (found,) = torch.autograd.grad(ys[-1].sum(), t)
    assert found[1].item() == pytest.approx(ys[-1].item() * math.cos(1.0), rel=1e-4)


@second_ways
@pytest.mark.parametrize("n", [2, 5])
def test_a_tensor_that_f_uses_before_a_jump_alone_is_not_forgotten(way, n):
    dose, k = (
        torch.tensor(1.0, requires_grad=True),
        torch.tensor(0.5, requires_grad=True),
    )

    def f(t, y):
        return (dose if t < 1 else 0.0) - k * y

    t, y0 = torch.linspace(0.0, 2.0, n).double(), torch.zeros(1).double()
    ys = way(f, y0, t, jumps=[1.0], adjoint_params=(k,))
    with pytest.raises(RuntimeError, match="f uses 1 tensor"):
        ys[-1].sum().backward()
    ways = (odeint, {}), (way, {"adjoint_params": (k, dose)})
    found = [
        torch.autograd.grad(solver(f, y0, t, jumps=[1.0], **more)[-1].sum(), dose)[0]
        for solver, more in ways
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=0)

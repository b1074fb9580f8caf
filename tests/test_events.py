"""Events are found where they are, and move as they should: SciPy's and torchdiffeq's
answers, closed forms, finite differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
import torchdiffeq
from problems import (
    BY_NAME,
    Problem,
    adaptive_methods,
    all_methods,
    fixed_methods,
    on_last,
    with_method,
)
from scipy.integrate import solve_ivp
from scipy.special import ellipk
from test_adjoint import Field, largest_gap
from test_forward_pass import SECOND_WAYS, TIGHT
from torch import Tensor

from course_lib.solvers import (
    METHODS,
    Event,
    SolverError,
    at_event,
    odeint,
    solve,
)

G = 9.81
BALL = Problem(
    "ball", lambda t, y: on_last(y[..., 1], -G + 0 * y[..., 1]), (10.0, 2.0), (0.0, 3.0)
)
FALL = (2 + math.sqrt(4 + 2 * G * 10)) / G  # when the ball is at the ground


def height(t: Tensor, y: Tensor) -> Tensor:
    return y[..., 0]


def at_time(moment: float | Tensor) -> Callable:
    return lambda t, y: t - moment


def at_level(level: float | Tensor) -> Callable:
    return lambda t, y: y[0] - level


def number(x: float, **kind) -> Tensor:
    return torch.tensor(x, dtype=torch.float64, **kind)


# --- where it is: SciPy and torchdiffeq -----------------------------------------------


@dataclass(frozen=True)
class Meeting:
    """A solution of a problem that meets an event, on its way forward or back."""

    problem: Problem
    g: Callable[[Tensor, Tensor], Tensor]
    direction: int = 0
    backward: bool = False
    exact: float | None = None

    def start(self) -> tuple[Tensor, list[float]]:
        """y0 and the interval."""
        span = self.problem.span[::-1] if self.backward else self.problem.span
        return self.problem.truth(number([span[0]]))[0], [*span]

    def flat_g(self, t: float, y: np.ndarray) -> float:
        """The event as SciPy wants it."""
        state = torch.from_numpy(y).reshape(self.problem.start().shape)
        return self.g(number(t), state).item()

    def truth(self) -> tuple[float, np.ndarray]:
        """Time and state by DOP853 at 1e-12."""

        def g(t, y):
            return self.flat_g(t, y)

        g.terminal, g.direction = True, self.direction
        y0, span = self.start()
        options = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12, "max_step": 0.05}
        y0 = y0.flatten().numpy()
        found = solve_ivp(self.problem.flat_f, span, y0, events=g, **options)
        return found.t_events[0][0], found.y_events[0][0]

    def haste(self, t: float, y: Tensor) -> float:
        """How much an error of y moves the time of the event: |∂g/∂y| over the slope of
        g.
        """
        y, moment = y.clone().requires_grad_(), number(t, requires_grad=True)
        to_t, to_y = torch.autograd.grad(
            self.g(moment, y), (moment, y), materialize_grads=True
        )
        slope = to_t + (to_y * self.problem.at(t, y)).sum()
        return (to_y.norm() / slope.abs()).item()


SWING = ellipk(math.sin(1.0) ** 2)  # a quarter of the pendulum's period
MEETINGS = {
    "falling ball": Meeting(BALL, height, exact=FALL),
    "ball, from below": Meeting(BALL, lambda t, y: 10.1 - y[0], -1),
    "pendulum hangs": Meeting(BY_NAME["pendulum"], height, exact=SWING),
    "pendulum turns": Meeting(
        BY_NAME["pendulum"], lambda t, y: y[1], 1, exact=2 * SWING
    ),
    "van der Pol": Meeting(BY_NAME["van der Pol"], height),
    "van der Pol, back": Meeting(BY_NAME["van der Pol"], height, 1, backward=True),
    "prey at its most": Meeting(BY_NAME["Lotka-Volterra"], lambda t, y: y[1] - 1.5, 1),
    "prey at its least": Meeting(
        BY_NAME["Lotka-Volterra"], lambda t, y: y[1] - 1.5, -1
    ),
    "hunters, back": Meeting(
        BY_NAME["Lotka-Volterra"], lambda t, y: y[0] - 3, backward=True
    ),
    "half the way": Meeting(
        BY_NAME["oscillator"], lambda t, y: y[0] - 0.5, exact=math.pi / 6
    ),
    "a line crossed": Meeting(BY_NAME["seasons"], lambda t, y: y[0] - t),
    "a decay": Meeting(BY_NAME["decay"], lambda t, y: y - 0.5, exact=math.log(3)),
    "rigid body": Meeting(BY_NAME["rigid body"], lambda t, y: y[1]),
    "first of a batch": Meeting(BY_NAME["linear"], lambda t, y: y[..., 0].min()),
    "largest of a batch": Meeting(
        BY_NAME["logistic"], lambda t, y: y.max() - 1.1, exact=math.log(5.5)
    ),
    "Gompertz": Meeting(BY_NAME["Gompertz"], lambda t, y: y[0] - t.exp(), -1),
}
all_meetings = pytest.mark.parametrize("meeting", MEETINGS.values(), ids=MEETINGS)


def reach(meeting: Meeting, steps: int, tolerance: float, t: float, y: Tensor) -> float:
    """How far off the time of an event may be after that many steps."""
    problem = meeting.problem
    bound = problem.error_bound(steps, tolerance, tolerance, backward=meeting.backward)
    return bound * meeting.haste(t, y) + 1e-12


@all_meetings
@adaptive_methods
def test_time_and_state_of_an_event_are_those_of_scipy(meeting, method):
    y0, span = meeting.start()
    options = with_method(method, tolerance=1e-8)
    event = Event(meeting.g, meeting.direction)
    ours = solve(meeting.problem.f, y0, span, event=event, **options)
    t, y = meeting.truth()
    y = torch.from_numpy(y).reshape(y0.shape)
    bound = reach(meeting, ours.accepted, 1e-8, t, y)
    speed = meeting.problem.at(t, y).abs().max().item()
    assert bound < 1e-3
    assert abs(ours.event_t.item() - t) <= bound
    assert (ours.event_y - y).abs().max() <= bound * (1 + speed)
    if meeting.exact is not None:
        assert ours.event_t.item() == pytest.approx(meeting.exact, abs=bound)
    # The numbers returned solve g = 0.
    assert abs(meeting.g(ours.event_t, ours.event_y).item()) < 1e-12


@pytest.mark.parametrize(
    "name", [name for name, each in MEETINGS.items() if each.direction == 0]
)
def test_time_and_state_of_an_event_are_those_of_torchdiffeq(name):
    meeting = MEETINGS[name]
    y0, span = meeting.start()
    options = {"method": "dopri5", "rtol": 1e-8, "atol": 1e-8}
    ours = solve(meeting.problem.f, y0, span, event=meeting.g, **options)
    with torch.no_grad():
        t, ys = torchdiffeq.odeint_event(
            meeting.problem.f,
            y0,
            number(span[0]),
            event_fn=meeting.g,
            reverse_time=meeting.backward,
            **options,
        )
    # Theirs may take four times as many steps.
    bound = reach(meeting, 5 * ours.accepted, 1e-8, t.item(), ys[-1])
    speed = meeting.problem.at(t.item(), ys[-1]).abs().max().item()
    assert abs((ours.event_t - t).item()) <= bound
    assert (ours.event_y - ys[-1]).abs().max() <= bound * (1 + speed)


@fixed_methods
@pytest.mark.parametrize(
    "name", ["pendulum hangs", "van der Pol, back", "a line crossed"]
)
def test_with_fixed_steps_the_error_of_the_time_falls_with_the_order(method, name):
    meeting, sizes = MEETINGS[name], [1 / 64, 1 / 128, 1 / 256]
    y0, span = meeting.start()
    t, y = meeting.truth()
    errors, states = [], []
    for h in sizes:
        ours = solve(
            meeting.problem.f,
            y0,
            span,
            event=Event(meeting.g, meeting.direction),
            method=method,
            step_size=h,
        )
        errors.append(abs(ours.event_t.item() - t))
        states.append(np.abs(ours.event_y.numpy() - y).max())
    for each in (errors, states):
        order = np.polyfit(np.log(sizes), np.log(each), 1)[0]
        assert METHODS[method].order - 0.3 < order < METHODS[method].order + 1.3


# --- what a solve with an event returns -----------------------------------------------


@all_methods
def test_up_to_the_event_the_solution_is_the_one_without(method):
    problem, options = BY_NAME["pendulum"], with_method(method)
    t = problem.times(31)
    ours = solve(problem.f, problem.start(), t, event=height, **options)
    whole = odeint(problem.f, problem.start(), t, **options)
    n = len(ours.t)
    assert torch.equal(ours.t, t[:n])
    assert t[n - 1] <= ours.event_t < t[n]
    assert torch.equal(ours.ys, whole[:n])
    assert ours.step_times[-1] < ours.event_t
    assert ours.step_times[-1] + ours.step_sizes[-1] >= ours.event_t


@all_methods
def test_an_event_that_is_never_met_changes_nothing(method):
    problem, options = BY_NAME["pendulum"], with_method(method)
    t, y0 = problem.times(5), problem.start()
    ours = solve(problem.f, y0, t, event=lambda t, y: y[0] - 7, **options)
    whole = solve(problem.f, y0, t, **options)
    assert ours.event_t is None and ours.event_y is None
    assert torch.equal(ours.ys, whole.ys)
    assert torch.equal(ours.t, t)
    assert ours.nfe == whole.nfe


@all_methods
@pytest.mark.parametrize("t", [[4.0], [4.0, 4.0]], ids=str)
def test_in_an_interval_of_no_length_nothing_is_met(method, t):
    ours = solve(BALL.f, BALL.start(), t, event=height, **with_method(method))
    assert ours.event_t is None
    assert ours.ys.shape == (len(t), 2)


@all_methods
def test_an_event_in_the_very_first_step_is_met(method):
    y0 = number([1e-9, -1.0])
    ours = solve(BALL.f, y0, [0.0, 1.0], event=height, **with_method(method))
    assert ours.event_t.item() == pytest.approx(1e-9, rel=1e-6)
    assert len(ours.ys) == ours.accepted == 1


@all_methods
def test_an_event_at_a_requested_time_is_reported_there_too(method):
    """Also at the last one, to which a step may add up but for rounding."""
    f, options = BY_NAME["decay"].f, with_method(method)
    for moment in torch.linspace(0.1, 2.3, 12, dtype=torch.float64).tolist():
        for t in ([0.0, moment], [0.0, moment / 3, moment, 3.0]):
            ours = solve(f, number(1.0), t, event=at_time(moment), **options)
            assert ours.event_t.item() == pytest.approx(moment, abs=2e-15)
            assert ours.t[-1] == moment
            torch.testing.assert_close(ours.ys[-1], ours.event_y, rtol=1e-14, atol=0)


@all_methods
def test_what_starts_at_a_zero_has_not_met_it_yet(method):
    """A stone thrown up from the ground meets the ground when it is back."""
    y0, v = number([0.0, 5.0]), 5.0
    options = with_method(method, step_size=0.01)
    ours = solve(BALL.f, y0, [0.0, 3.0], event=height, **options)
    rough = 0.02 if method == "euler" else 1e-6
    assert ours.event_t.item() == pytest.approx(2 * v / G, rel=rough)


@adaptive_methods
def test_the_direction_chooses_the_crossing(method):
    """cos 2t - 0.5 falls through zero at π/6 and rises through it at 5π/6."""
    f, y0 = BY_NAME["oscillator"].f, BY_NAME["oscillator"].start()
    found = {
        direction: solve(
            f,
            y0,
            [0.0, 3.0],
            event=Event(at_level(0.5), direction),
            **with_method(method, tolerance=1e-7),
        ).event_t.item()
        for direction in (-1, 0, 1)
    }
    assert found[-1] == found[0] == pytest.approx(math.pi / 6, abs=1e-4)
    assert found[1] == pytest.approx(5 * math.pi / 6, abs=1e-4)


def test_going_back_in_time_the_direction_is_that_of_the_way():
    """From 2 back to 0, cos 2t - 0.5 meets π/6 from below."""
    problem, t = BY_NAME["oscillator"], [2.0, 0.0]
    y0 = problem.truth(number([2.0]))[0]
    up, down = (
        solve(problem.f, y0, t, event=Event(at_level(0.5), direction), **TIGHT)
        for direction in (1, -1)
    )
    assert up.event_t.item() == pytest.approx(math.pi / 6, abs=1e-6)
    assert down.event_t is None


@adaptive_methods
def test_two_crossings_in_one_long_step_are_told_apart(method):
    """y = t is one step; (t - 4)(t - 6) changes its sign twice in it."""
    y0, t = number([0.0]), [0.0, 10.0]

    def ends(g, **options):
        options |= {"event": g, "method": method}
        return solve(lambda t, y: torch.ones_like(y), y0, t, **options)

    long = ends(lambda t, y: (y[0] - 4) * (y[0] - 6))
    assert long.step_sizes[-1] > 8
    assert long.event_t.item() == pytest.approx(4, abs=1e-12)
    # Two zeros nearer to each other than an eighth of a step need shorter steps.
    for limit, expected in ((math.inf, None), (0.5, 5.0)):
        short = ends(lambda t, y: (y[0] - 5) * (y[0] - 5.125), max_step=limit)
        assert short.event_t == (expected and pytest.approx(expected, abs=1e-12))


@all_methods
def test_of_several_crossings_the_first_is_met(method):
    ours = solve(
        BY_NAME["oscillator"].f,
        BY_NAME["oscillator"].start(),
        [0.0, 20.0],
        event=height,
        **with_method(method, step_size=0.01),
    )
    rough = {"euler": 0.02}.get(method, 1e-3)
    assert ours.event_t.item() == pytest.approx(math.pi / 4, rel=rough)


AWKWARD = {
    "touching from above": lambda y: y.clamp(min=0),
    "steep before": lambda y: (50 * y).exp() - 1,
    "steep after": lambda y: 1 - (-50 * y).exp(),
    "flat": lambda y: y**9,
    "a jump": lambda y: y.sign(),
    "a kink": lambda y: torch.where(y > 0, 1e-9 * y, 1e9 * y),
    "not yet": lambda y: torch.where(y > 5, torch.inf, y),
    "no longer": lambda y: torch.where(y < -0.1, -torch.inf, y),
    "tiny": lambda y: 1e-300 * y,
}


@all_methods
@pytest.mark.parametrize("shape", AWKWARD.values(), ids=AWKWARD)
def test_the_shape_of_g_does_not_move_the_event(method, shape):
    looked = 0

    def g(t, y):
        nonlocal looked
        looked += 1
        return shape(y[0])

    options = with_method(method)
    smooth = solve(BALL.f, BALL.start(), [0.0, 3.0], event=height, **options)
    ours = solve(BALL.f, BALL.start(), [0.0, 3.0], event=g, **options)
    assert ours.event_t.item() == pytest.approx(smooth.event_t.item(), abs=1e-14)
    assert shape(ours.event_y[0]).item() <= 0.0
    assert looked < 300


@all_methods
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["y32", "y64"])
def test_a_smooth_event_is_found_in_a_few_evaluations_of_g(method, dtype):
    looked = 0

    def g(t, y):
        nonlocal looked
        looked += 1
        return y[0] + 0.1 * y[0] ** 3

    options = with_method(method, tolerance=1e-5)
    ours = solve(BALL.f, BALL.start(dtype), [0.0, 3.0], event=g, **options)
    places = 8 if METHODS[method].adaptive else 1
    assert looked <= 1 + places * ours.accepted + 12


def test_to_go_on_from_an_event_it_lies_on_the_far_side():
    """So a second solve from there does not meet it again."""
    problem, y0, t, met = BY_NAME["pendulum"], BY_NAME["pendulum"].start(), 0.0, []
    for _ in range(4):
        ours = solve(problem.f, y0, [t, 20.0], event=height, **TIGHT)
        t, y0 = ours.event_t.item(), ours.event_y
        met.append(t)
    assert met == pytest.approx([(2 * k + 1) * SWING for k in range(4)], abs=1e-6)


@all_methods
def test_in_float32_an_event_is_met_to_float32(method):
    options = with_method(method, step_size=0.02, tolerance=1e-5)
    ours = solve(BALL.f, BALL.start(torch.float32), [0.0, 3.0], event=height, **options)
    rough = 0.01 if method == "euler" else 1e-5
    assert ours.event_y.dtype == torch.float32
    assert ours.event_t.dtype == torch.float64
    assert ours.event_t.item() == pytest.approx(FALL, rel=rough)
    assert abs(ours.event_y[0].item()) < 1e-5


def test_a_clock_too_coarse_for_the_steps_is_said_with_an_event_too():
    def f(t, y):
        return t.cos() * torch.ones_like(y)

    with pytest.warns(UserWarning, match="too coarse for steps"):
        solve(f, torch.zeros(1), [1e6, 1e6 + 3], event=lambda t, y: y[0] - 0.2)


# --- with jumps -----------------------------------------------------------------------


@all_methods
@pytest.mark.parametrize("convention", [torch.lt, torch.le], ids=["<", "<="])
def test_an_event_after_a_jump_is_met_along_the_slope_after_it(method, convention):
    """y = t before 0.5 and 0.5 + 3 (t - 0.5) after it: at 0.8 when t is 0.6."""

    def f(t, y):
        slope = 1.0 if convention(t, number(0.5)) else 3.0
        return slope * torch.ones_like(y)

    options = with_method(method, step_size=0.25) | {"jumps": [0.5]}
    y0 = number([0.0], requires_grad=True)
    for level, exact, slope in ((0.8, 0.6, 3.0), (0.3, 0.3, 1.0), (0.5, 0.5, None)):
        ours = solve(f, y0, [0.0, 1.0], event=at_level(level), **options)
        assert ours.event_t.item() == pytest.approx(exact, abs=1e-13)
        assert ours.event_y.item() == pytest.approx(level, abs=1e-13)
        if slope:
            (moved,) = torch.autograd.grad(ours.event_t, y0)
            assert moved.item() == pytest.approx(-1 / slope, rel=1e-12)


# --- how it moves ---------------------------------------------------------------------


def fall(h: Tensor, v: Tensor, g: Tensor, **options):
    """Time and state of the impact of a ball thrown up from h with v."""

    def f(t, y):
        return torch.stack((y[1], -g))

    ours = solve(f, torch.stack((h, v)), [0.0, 5.0], event=height, **options)
    return ours.event_t, ours.event_y


def exact_fall(h: Tensor, v: Tensor, g: Tensor):
    speed = (v**2 + 2 * g * h).sqrt()
    return (v + speed) / g, torch.stack((0 * h, -speed))


def thrown() -> list[Tensor]:
    return [number(x, requires_grad=True) for x in (10.0, 2.0, G)]


@all_methods
def test_the_gradient_of_a_fall_is_that_of_the_closed_form(method):
    options = with_method(method, step_size=1e-3 if method == "euler" else 0.01)
    rough = 1e-2 if method == "euler" else 1e-6
    ours, exact = fall(*thrown(), **options), exact_fall(*(inputs := thrown()))
    for part in (lambda t, y: t, lambda t, y: y[1]):
        inputs_too = thrown()
        t, y = fall(*inputs_too, **options)
        found = torch.autograd.grad(part(t, y), inputs_too)
        wanted = torch.autograd.grad(part(*exact), inputs, retain_graph=True)
        for a, b in zip(found, wanted):
            assert a.item() == pytest.approx(b.item(), rel=rough)
    # The ball is at the ground whatever it is thrown with.
    inputs = thrown()
    moved = torch.autograd.grad(fall(*inputs, **options)[1][0], inputs)
    assert max(abs(x.item()) for x in moved) < 1e-12
    assert ours[0].item() == pytest.approx(exact[0].item(), rel=rough)


def test_the_gradient_of_an_event_passes_gradcheck_and_gradgradcheck():
    inputs = thrown()
    ends = partial(fall, method="rk4", step_size=0.3)  # exact for a parabola
    assert torch.autograd.gradcheck(ends, inputs, atol=1e-7)
    assert torch.autograd.gradgradcheck(ends, inputs, atol=1e-6)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
@pytest.mark.parametrize("part", [0, 1], ids=["time", "speed"])
def test_the_second_derivatives_of_a_fall_are_those_of_the_closed_form(method, part):
    def second(ends):
        hessian = torch.autograd.functional.hessian(
            lambda *x: (ends(*x)[0], ends(*x)[1][1])[part], tuple(thrown())
        )
        return torch.tensor(hessian)

    ours = second(partial(fall, **with_method(method, step_size=0.3)))
    assert (ours - second(exact_fall)).abs().max() < 1e-7


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_the_transforms_of_torch_func_go_through_an_event():
    x = number([10.0, 2.0, G])

    def ends(solver):
        return lambda x: torch.cat((lambda t, y: (t[None], y))(*solver(*x.unbind())))

    for transform in (torch.func.jacrev, torch.func.jacfwd):
        ours, exact = (transform(ends(solver))(x) for solver in (fall, exact_fall))
        assert (ours - exact).abs().max() < 1e-6
    along = number([1.0, -2.0, 0.5])
    ours, exact = (
        torch.func.jvp(ends(solver), (x,), (along,))[1] for solver in (fall, exact_fall)
    )
    assert (ours - exact).abs().max() < 1e-6


def moving(meeting: Meeting, y0: Tensor, rate: Tensor, level: Tensor, **options):
    """Time and state as functions of the start, a rate of the field and a level of g."""
    _, span = meeting.start()
    event = Event(lambda t, y: meeting.g(t, y) - level, meeting.direction)
    ours = solve(
        lambda t, y: rate * meeting.problem.f(t, y), y0, span, event=event, **options
    )
    return ours.event_t, ours.event_y


@pytest.mark.parametrize(
    "name",
    [
        "pendulum hangs",
        "van der Pol, back",
        "prey at its most",
        "hunters, back",
        "a line crossed",
        "first of a batch",
    ],
)
def test_the_gradient_of_an_event_equals_finite_differences(name):
    """Of start, rate and level. Solves at 1e-10 lie within 1e-8 of the truth; over a
    shift of 2e-4 that makes 1e-4, and truncation is (1e-4)² / 6 times a third derivative.
    """
    meeting, options = MEETINGS[name], {"method": "tsit5", "rtol": 1e-10, "atol": 1e-10}
    y0, _ = meeting.start()
    inputs = [x.requires_grad_() for x in (y0.clone(), number(1.0), number(0.0))]
    ends = partial(moving, meeting, **options)
    differences = {"eps": 1e-4, "atol": 1e-4, "rtol": 1e-4}
    assert torch.autograd.gradcheck(ends, inputs, **differences)


@fixed_methods
def test_an_event_between_fixed_steps_has_the_derivatives_of_the_numbers_computed(
    method,
):
    """However coarse the steps are: first and second ones."""
    meeting = MEETINGS["pendulum hangs"]
    y0, _ = meeting.start()
    inputs = [x.requires_grad_() for x in (y0.clone(), number(1.0), number(0.05))]
    ends = partial(moving, meeting, method=method, step_size=0.4)
    assert torch.autograd.gradcheck(ends, inputs, eps=1e-6, atol=1e-7)
    assert torch.autograd.gradgradcheck(ends, inputs, eps=1e-6, atol=1e-6)


@all_methods
def test_the_event_of_an_autonomous_field_moves_with_the_start_time(method):
    t = number([1.0, 4.0], requires_grad=True)
    options = with_method(method, step_size=0.01)
    ours = solve(BALL.f, BALL.start(), t, event=height, **options)
    (moved,) = torch.autograd.grad(ours.event_t, t, retain_graph=True)
    assert moved.tolist() == pytest.approx([1.0, 0.0], abs=1e-9)
    (moved,) = torch.autograd.grad(ours.event_y[1], t)
    assert moved.tolist() == pytest.approx([0.0, 0.0], abs=1e-8)
    rough = 0.02 if method == "euler" else 1e-6
    assert ours.event_t.item() == pytest.approx(1 + FALL, rel=rough)


def test_an_event_at_a_fixed_time_gives_the_state_there_and_moves_with_that_time():
    moment = number(0.8, requires_grad=True)
    y0 = number([2.0], requires_grad=True)
    ours = solve(lambda t, y: -y, y0, [0.0, 2.0], event=at_time(moment), **TIGHT)
    assert ours.event_t.item() == pytest.approx(0.8, abs=1e-15)
    to_moment, to_y0 = torch.autograd.grad(ours.event_y.sum(), (moment, y0))
    assert to_moment.item() == pytest.approx(-2 * math.exp(-0.8), abs=1e-7)
    assert to_y0.item() == pytest.approx(math.exp(-0.8), abs=1e-7)


def test_a_stiff_solve_ends_at_an_event_too():
    """y falls to 0.1 along exp(-rate t): at ln 10 / rate, the second component being
    fast.
    """

    def end(rate):
        def f(t, y):
            return torch.stack((-rate * y[0], -1e4 * (y[1] - y[0])))

        options = {"method": "rodas5p", "event": at_level(0.1), **TIGHT}
        return solve(f, torch.ones(2).double(), [0.0, 3.0], **options).event_t

    rate = number(2.0, requires_grad=True)
    t, log = end(rate), math.log(10)
    assert t.item() == pytest.approx(log / 2, abs=1e-7)
    (first,) = torch.autograd.grad(t, rate, create_graph=True)
    (second,) = torch.autograd.grad(first, rate)
    assert first.item() == pytest.approx(-log / 4, abs=1e-6)
    assert second.item() == pytest.approx(log / 4, abs=1e-5)


def test_the_third_bounce_of_a_ball_and_its_gradient():
    """t₃ = √(2h/g) (1 + 2e + 2e²), e being what is left of the speed."""
    inputs = [number(x, requires_grad=True) for x in (3.0, 0.8, G)]

    def third_bounce(h, e, g):
        def f(t, y):
            return torch.stack((y[1], -g))

        t, y = number(0.0), torch.stack((h, 0 * h))
        for _ in range(3):
            met = solve(f, y, [t, 20.0], event=Event(height, direction=-1), **TIGHT)
            t, y = met.event_t, met.event_y * torch.stack((torch.ones_like(e), -e))
        return t

    def exact(h, e, g):
        return (2 * h / g).sqrt() * (1 + 2 * e + 2 * e**2)

    ours, theirs = third_bounce(*inputs), exact(*inputs)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-8)
    found, wanted = (torch.autograd.grad(t, inputs) for t in (ours, theirs))
    for a, b in zip(found, wanted):
        assert a.item() == pytest.approx(b.item(), abs=1e-7)


@all_methods
def test_without_gradients_an_event_is_the_same_and_costs_no_further_evaluation(method):
    y0, options = BALL.start().requires_grad_(), with_method(method)
    with torch.no_grad():
        bare = solve(BALL.f, y0, [0.0, 3.0], event=height, **options)
    with torch.inference_mode():
        ours = solve(BALL.f, y0, [0.0, 3.0], event=height, **options)
    whole = solve(BALL.f, y0, [0.0, 3.0], event=height, **options)
    assert not bare.event_t.requires_grad and not bare.event_y.requires_grad
    assert bare.event_t == ours.event_t == whole.event_t.detach()
    assert torch.equal(bare.event_y, whole.event_y.detach())
    # With them an adaptive method has its dense output, a fixed one takes four steps.
    extra = 0 if METHODS[method].adaptive else 4 * METHODS[method].stages
    assert bare.nfe == ours.nfe == whole.nfe - extra


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_a_field_and_an_event_may_differentiate(method):
    """The ball by its Hamiltonian, and an event on the gradient of a potential."""

    def f(t, y):
        energy = 0.5 * y[1] ** 2 + G * y[0]
        (slope,) = torch.autograd.grad(energy, y, create_graph=True)
        return torch.stack((slope[1], -slope[0]))

    def g(t, y):
        return torch.autograd.grad(y[0] ** 2, y, create_graph=True)[0][0]

    y0 = BALL.start().requires_grad_()
    options = with_method(method, step_size=0.1)
    ours = solve(f, y0, [0.0, 3.0], event=g, **options)
    plain = solve(BALL.f, y0, [0.0, 3.0], event=height, **options)
    gradients = [torch.autograd.grad(each.event_t, y0)[0] for each in (ours, plain)]
    assert ours.event_t.item() == pytest.approx(plain.event_t.item(), abs=1e-12)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


# --- with the adjoint -----------------------------------------------------------------


@pytest.mark.parametrize("way", SECOND_WAYS.values(), ids=SECOND_WAYS)
def test_at_event_gives_the_end_of_any_solve_the_gradient_of_the_event(way):
    """The recipe: find the time without gradients, solve to it, let it move."""
    rate, level = number(0.9), number(0.1, requires_grad=True)
    f = Field(lambda t, y, rate: rate * BY_NAME["pendulum"].f(t, y), rate)
    y0 = number([2.0, 0.1], requires_grad=True)

    g, known = at_level(level), (y0, level, *f.parameters())
    direct = solve(f, y0, [0.0, 6.0], event=g, **TIGHT)
    with torch.no_grad():
        end = solve(f, y0, [0.0, 6.0], event=g, **TIGHT).event_t
    ys = way(f, y0, [0.0, end], **TIGHT)
    t, y = at_event(f, g, end, ys[-1])
    assert t.item() == direct.event_t.item()
    assert (y - direct.event_y).abs().max() < 1e-7
    for mine, theirs in (
        (t, direct.event_t),
        (y[0], direct.event_y[0]),
        (y[1], direct.event_y[1]),
    ):
        found, wanted = (
            torch.autograd.grad(x, known, retain_graph=True) for x in (mine, theirs)
        )
        assert largest_gap(found, wanted) < 1e-6
    (moved,) = torch.autograd.grad(t, level, retain_graph=True)
    assert abs(moved.item()) > 0.1


def test_at_event_without_a_gradient_to_give_asks_f_nothing():
    y, never = number([0.0, 1.0]), lambda t, y: pytest.fail("f was asked")
    t, same = at_event(never, height, 2.0, y)
    assert t.item() == 2.0 and same is y
    with torch.no_grad():
        assert at_event(never, height, 2.0, y.requires_grad_())[0].item() == 2.0


# --- what is refused ------------------------------------------------------------------


NOT_EVENTS = {
    "text": ("y0", TypeError, "event must be callable as g(t, y), got str"),
    "list": ([height], TypeError, "event must be callable as g(t, y), got list"),
    "without time": (lambda y: y[0], TypeError, "takes one argument", "g(y)"),
    "module": (torch.nn.Linear(2, 1), TypeError, "takes one argument", "g(y)"),
    "vector": (
        lambda t, y: y,
        TypeError,
        "one number, got shape (2,)",
        "use their min()",
    ),
    "nothing": (lambda t, y: None, TypeError, "Tensor of one number, got NoneType"),
    "float": (lambda t, y: y[0].item(), TypeError, "of one number, got float"),
    "condition": (lambda t, y: y[0] < 0, TypeError, "torch.bool", "y[0] - c"),
    "whole": (lambda t, y: y[0].long(), TypeError, "crosses zero, got torch.int64"),
    "complex": (lambda t, y: y[0] + 1j, TypeError, "torch.complex128"),
}


@pytest.mark.parametrize("case", NOT_EVENTS.values(), ids=NOT_EVENTS)
def test_what_is_no_event_is_refused(case):
    event, kind, *words = case
    with pytest.raises(kind) as error:
        solve(BALL.f, BALL.start(), [0.0, 3.0], event=event)
    assert str(error.value).startswith("event must ")
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("direction", [2, "up", None, 0.5])
def test_a_direction_that_is_none_is_refused(direction):
    with pytest.raises(ValueError, match="direction must be -1, 0 or 1, got "):
        Event(height, direction=direction)


@all_methods
@pytest.mark.parametrize("limit", [10.5, 5.0], ids=["at the start", "later"])
def test_an_event_that_is_nan_stops_the_solve_and_says_where(method, limit):
    def g(t, y):
        return torch.where(y[0] < limit, torch.nan, 1.0)

    with pytest.raises(SolverError, match=r"event returned NaN at t=\d.*look at g"):
        solve(BALL.f, BALL.start(), [0.0, 3.0], event=g, **with_method(method))


def test_the_time_of_an_event_that_is_only_touched_has_no_gradient():
    y0 = number([1.0], requires_grad=True)

    def f(t, y):
        return -torch.ones_like(y)

    def touched(t, y):
        return y[0].clamp(min=0)

    with pytest.raises(
        SolverError, match=r"touched, not crossed.*its time has no grad"
    ):
        solve(f, y0, [0.0, 2.0], event=touched)
    with torch.no_grad():
        met = solve(f, y0, [0.0, 2.0], event=touched)
    assert met.event_t.item() == pytest.approx(1.0, abs=1e-12)


def test_a_slope_that_is_not_finite_gives_no_gradient():
    y0 = number([1.0], requires_grad=True)

    def root(t, y):
        return y[0].sign() * y[0].abs().sqrt()

    y = y0 - 1.0
    with pytest.raises(SolverError, match=r"its slope there is (nan|inf|-inf)"):
        at_event(lambda t, y: -torch.ones_like(y), root, 1.0, y)


@pytest.mark.parametrize("way", [odeint, *SECOND_WAYS.values()])
def test_what_returns_values_alone_takes_no_event(way):
    known = {} if way is odeint else {"adjoint_params": ()}
    with pytest.raises(TypeError, match="event"):
        way(BALL.f, BALL.start(), [0.0, 3.0], event=height, **known)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("method", ["bosh3", "dopri5", "tsit5", "rk4"])
def test_a_ball_that_starts_where_its_last_flight_ended_flies_on(method, dtype):
    how = (
        {"method": "rk4", "step_size": 0.01} if method == "rk4" else {"method": method}
    )
    ball, start = torch.tensor([10.0, 0.0], dtype=dtype), 0.0

    def fall(t, y):
        return torch.stack((y[1], -9.8 + 0 * y[0]))

    first = math.sqrt(20 / 9.8)
    for expected in (first, first * (1 + 2 * 0.9), first * (1 + 2 * 0.9 + 2 * 0.81)):
        flight = solve(fall, ball, [start, start + 10], event=lambda t, y: y[0], **how)
        start = flight.event_t.item()
        assert start == pytest.approx(expected, rel=1e-5)
        ball = flight.event_y * torch.tensor([1.0, -0.9], dtype=dtype)

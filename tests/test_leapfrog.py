"""Leapfrog keeps what mechanics keeps: areas in phase space, the way back, and for long
times the energy.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from problems import BY_NAME, EPS, on_last
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.autograd import gradcheck
from torch.autograd.functional import jacobian

from course_lib.solvers import SolverError, leapfrog_step, odeint, odeint_leapfrog

PENDULUM = BY_NAME["pendulum"]
START = PENDULUM.start()  # let go at angle 2
LONG = 2000.0  # some 230 swings


def fall(q: Tensor) -> Tensor:
    """The force on a pendulum."""
    return -q.sin()


def energy(q: Tensor, p: Tensor) -> Tensor:
    return p**2 / 2 - q.cos()


def surplus(qs: Tensor, ps: Tensor) -> Tensor:
    """The energy of a pendulum over what it started with."""
    return energy(qs, ps) - energy(*START)


def henon_heiles(q: Tensor) -> Tensor:
    """The force of V = (x² + y²)/2 + x² y - y³/3, which couples the two directions."""
    x, y = q[..., 0], q[..., 1]
    return -on_last(x + 2 * x * y, y + x**2 - y**2)


def kepler(q: Tensor) -> Tensor:
    return -q / q.norm(dim=-1, keepdim=True) ** 3


def an_orbit(eccentricity: float) -> tuple[Tensor, Tensor]:
    """The start of a Kepler orbit of period 2π at its point nearest to the sun."""
    near, fast = 1 - eccentricity, (1 + eccentricity) / (1 - eccentricity)
    return (
        torch.tensor([near, 0.0], dtype=torch.float64),
        torch.tensor([0.0, fast**0.5], dtype=torch.float64),
    )


def some(*shape: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(shape, generator=g, dtype=torch.float64)


def seconds(*times: float) -> Tensor:
    return torch.tensor(times, dtype=torch.float64)


# --- accuracy -------------------------------------------------------------------------


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_the_error_falls_with_the_square_of_the_step(backward):
    t = PENDULUM.times(7).flip(0) if backward else PENDULUM.times(7)
    truth, sizes, errors = PENDULUM.truth(t), (1 / 16, 1 / 32, 1 / 64), []
    for h in sizes:
        qs, ps = odeint_leapfrog(fall, *truth[0], t, step_size=h)
        errors.append((on_last(qs, ps) - truth).abs().max().item())
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slope == pytest.approx(2, abs=0.1)


def test_extrapolated_to_no_step_at_all_it_agrees_with_dop853():
    """The error has even powers of h only, so two solves remove h² and leave h⁴."""
    q0, p0, t = some(2), some(2, seed=1), np.linspace(0, 5, 6)

    def f(t, z):
        q, p = torch.from_numpy(z).split(2)
        return torch.cat((p, henon_heiles(q))).numpy()

    start = torch.cat((q0, p0)).numpy()
    settings = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}
    truth = torch.from_numpy(solve_ivp(f, (0, 5), start, t_eval=t, **settings).y.T)
    coarse, fine = (
        torch.cat(odeint_leapfrog(henon_heiles, q0, p0, t, step_size=h), dim=1)
        for h in (0.02, 0.01)
    )
    assert (fine - truth).abs().max() < 0.01**2
    assert ((4 * fine - coarse) / 3 - truth).abs().max() < 0.01**4 * 100


def test_one_step_is_a_kick_a_drift_and_a_kick():
    q, p, h = some(2), some(2, seed=1), 0.1
    half = p + h / 2 * henon_heiles(q)
    q_next, p_next, dp = leapfrog_step(henon_heiles, q, p, h)
    assert torch.equal(q_next, q + h * half)
    assert torch.equal(p_next, half + h / 2 * henon_heiles(q_next))
    assert torch.equal(dp, henon_heiles(q_next))


def test_a_velocity_of_its_own_is_that_of_other_masses():
    """q' = p/m and q'' = F(q)/m are the same motion."""
    m = seconds(1.0, 5.0)
    q0, p0, t = some(2), some(2, seed=1), seconds(0.0, 0.45, 1.0, 3.0)
    qs, ps = odeint_leapfrog(
        henon_heiles, q0, p0, t, step_size=0.1, velocity=lambda p: p / m
    )
    same, vs = odeint_leapfrog(
        lambda q: henon_heiles(q) / m, q0, p0 / m, t, step_size=0.1
    )
    assert torch.allclose(qs, same, rtol=0, atol=100 * EPS)
    assert torch.allclose(ps / m, vs, rtol=0, atol=100 * EPS)


# --- what it keeps --------------------------------------------------------------------


def test_a_step_back_undoes_a_step():
    """To rounding, after a hundred steps there and a hundred back."""
    q0, p0 = some(5, 2) / 2, some(5, 2, seed=1) / 2  # slow enough to stay
    qs, ps = odeint_leapfrog(henon_heiles, q0, p0, [0.0, 10.0], step_size=0.1)
    back = odeint_leapfrog(henon_heiles, qs[-1], ps[-1], [10.0, 0.0], step_size=0.1)
    assert (qs[-1] - q0).abs().max() > 0.1
    for found, start in zip(back, (q0, p0)):
        assert (found[-1] - start).abs().max() <= 1e3 * EPS


def area_change(flow) -> float:
    """How far the derivative J of a flow of (q, p) is from JᵀΩJ = Ω."""
    zero, one = torch.zeros(2, 2), torch.eye(2)
    omega = torch.cat((torch.cat((zero, one)), torch.cat((-one, zero))), 1).double()
    J = jacobian(flow, torch.cat((some(2), some(2, seed=1))))
    return (J.T @ omega @ J - omega).abs().max().item()


def test_it_is_symplectic_and_rk4_is_not():
    def leapfrog(z):
        qs, ps = odeint_leapfrog(henon_heiles, *z.split(2), [0.0, 5.0], step_size=0.25)
        return torch.cat((qs[-1], ps[-1]))

    def rk4(z):
        def f(t, z):
            return torch.cat((z[2:], henon_heiles(z[:2])))

        return odeint(f, z, [0.0, 5.0], method="rk4", step_size=0.25)[-1]

    assert area_change(leapfrog) <= 1e3 * EPS
    assert area_change(rk4) > 1e-6


def test_the_energy_of_a_pendulum_swings_and_does_not_drift():
    """For 20,000 steps, where that of rk4 at the same price falls, and that of Euler
    carries the pendulum over the top.
    """
    t = torch.linspace(0, LONG, 4001, dtype=torch.float64)
    error = surplus(*odeint_leapfrog(fall, *START, t, step_size=0.1)).abs()
    first, last = error[:400].max(), error[-400:].max()
    assert error.max() < 0.1**2
    assert abs(last - first) < 1e-3 * first

    def f(t, y):
        return on_last(y[1], -y[0].sin())

    often = {"max_steps": 20_000}
    rk4 = odeint(f, START, t[::100], method="rk4", step_size=0.4, **often)
    lost = surplus(*rk4.T)
    assert all(later < sooner for sooner, later in pairwise(lost.tolist()))
    assert -lost[-1] > 50 * error.max()
    euler = odeint(f, START, [0.0, LONG / 10], method="euler", step_size=0.1, **often)
    assert surplus(*euler[-1]) > 2.0


def test_steps_cut_short_at_random_let_the_energy_wander():
    """Why no step is shortened to end at a requested time."""
    g = torch.Generator().manual_seed(0)
    moments = torch.rand(5000, generator=g, dtype=torch.float64).sort().values
    t = torch.cat((seconds(0.0), LONG / 4 * moments))
    kept = surplus(*odeint_leapfrog(fall, *START, t, step_size=0.1)).abs().max()
    wandered, node = [], (*START, None)
    for h in t.diff().tolist():
        node = leapfrog_step(fall, *node[:2], h, dp=node[2])
        wandered.append(surplus(*node[:2]).abs())
    assert kept < 0.1**2
    assert max(wandered) > 10 * kept


def test_an_orbit_keeps_its_angular_momentum_to_rounding_and_its_energy_on_average():
    q0, p0 = an_orbit(0.6)
    t = torch.linspace(0, 200 * math.pi, 401, dtype=torch.float64)  # a hundred rounds
    qs, ps = odeint_leapfrog(kepler, q0, p0, t, step_size=math.pi / 160)
    momentum = qs[:, 0] * ps[:, 1] - qs[:, 1] * ps[:, 0]
    # 32,000 steps of some twenty roundings each.
    assert (momentum - momentum[0]).abs().max() <= 32_000 * 20 * EPS
    error = (ps**2).sum(1) / 2 - 1 / qs.norm(dim=1) + 0.5
    assert error.abs().max() < 0.01
    assert error[-40:].abs().max() < 1.2 * error[:40].abs().max()


# --- times ----------------------------------------------------------------------------


def test_the_steps_do_not_depend_on_the_times_in_between():
    q0, p0 = some(2), some(2, seed=1)
    few = odeint_leapfrog(henon_heiles, q0, p0, [0.0, 5.0], step_size=0.1)
    many = odeint_leapfrog(
        henon_heiles, q0, p0, [0.0, 0.123, 2.0, 2.01, 5.0], step_size=0.1
    )
    for x, y in zip(few, many):
        assert torch.equal(x[-1], y[-1])


def test_a_time_on_a_step_gives_what_the_step_gives():
    q0, p0, t = some(2), some(2, seed=1), torch.arange(31, dtype=torch.float64) / 10
    qs, ps = odeint_leapfrog(henon_heiles, q0, p0, t, step_size=0.1)
    q, p, dp, h = q0, p0, None, 3.0 / 30
    for i in range(1, 31):
        q, p, dp = leapfrog_step(henon_heiles, q, p, h, dp=dp)
        assert torch.equal(q, qs[i])
        assert torch.equal(p, ps[i])


def test_between_steps_the_path_is_met_to_the_fourth_power_of_the_step():
    """Against solves of the same equation by the exact flow that h² is away from."""
    sizes, gaps = (1 / 4, 1 / 8, 1 / 16), []
    for h in sizes:
        nodes = torch.arange(0, 4 + h / 2, h, dtype=torch.float64)
        fine = (nodes[:-1] + h / 2).tolist()
        t = seconds(0.0, *fine, 4.0)
        truth = odeint_leapfrog(fall, *START, t, step_size=h / 64)
        # The smooth path through the steps, from the errors at them: even powers of h.
        found = odeint_leapfrog(fall, *START, t, step_size=h)
        at_nodes = odeint_leapfrog(fall, *START, nodes, step_size=h)
        exact = odeint_leapfrog(fall, *START, nodes, step_size=h / 64)
        for x, y, z, w in zip(found, truth, at_nodes, exact):
            error = z - w
            # Cubic through four neighbours, at the middle.
            middle = (9 * (error[1:-2] + error[2:-1]) - error[:-3] - error[3:]) / 16
            gaps.append(((x - y)[2:-2] - middle).abs().max().item())
    for part in (gaps[::2], gaps[1::2]):
        slope = np.polyfit(np.log(sizes), np.log(part), 1)[0]
        assert slope == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize("t", [[3.0], [4.0, 4.0]], ids=str)
def test_where_there_is_no_way_to_go_the_start_comes_back(t):
    q0, p0 = some(2), some(2, seed=1)
    qs, ps = odeint_leapfrog(lambda q: None, q0, p0, t, step_size=0.1)
    assert torch.equal(qs, q0.expand(len(t), 2))
    assert torch.equal(ps, p0.expand(len(t), 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0)], ids=str)
@pytest.mark.parametrize("wanted", [False, True], ids=["t", "dt"])
def test_the_solution_has_the_shape_and_dtype_of_the_start(dtype, shape, wanted):
    t = torch.tensor([0.0, 0.33, 1.0], requires_grad=wanted)
    start = torch.ones(shape, dtype=dtype)
    for xs in odeint_leapfrog(fall, start, start, t, step_size=0.1):
        assert xs.shape == (3, *shape)
        assert xs.dtype == dtype
        assert xs.isfinite().all()


# --- gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["forward", "backward"])
def test_the_gradient_is_that_of_the_numbers_computed(sign):
    """By the start, by the times, on steps and between them, and by what F and v use."""
    inputs = (
        some(3, 2).requires_grad_(),
        some(3, 2, seed=1).requires_grad_(),
        (sign * seconds(0.0, 0.3, 0.35, 0.9, 1.45)).requires_grad_(),
        seconds(0.7, 1.3).requires_grad_(),
    )

    def solved(q0, p0, t, theta):
        return odeint_leapfrog(
            lambda q: theta[0] * henon_heiles(q),
            q0,
            p0,
            t,
            step_size=0.13,  # a number of steps that a small change leaves alone
            velocity=lambda p: theta[1] * p,
        )

    assert gradcheck(solved, inputs)


def test_wanting_the_gradient_of_the_times_does_not_change_the_answer():
    q0, p0, t = some(2), some(2, seed=1), seconds(0.0, 0.3, 0.35, 1.0)
    plain = odeint_leapfrog(henon_heiles, q0, p0, t, step_size=0.1)
    tracked = odeint_leapfrog(
        henon_heiles, q0, p0, t.clone().requires_grad_(), step_size=0.1
    )
    for x, y in zip(plain, tracked):
        assert torch.allclose(x, y, rtol=0, atol=100 * EPS)


# --- what makes no sense --------------------------------------------------------------


ONE = torch.ones(2)
NONSENSE = {
    "order": ((ONE, ONE, fall), {}, TypeError, "force must be callable as force(q)"),
    "velocity": (
        (fall, ONE, ONE),
        {"velocity": 2.0},
        TypeError,
        "velocity must be call",
    ),
    "list": ((fall, [1.0], ONE), {}, TypeError, "q0 must be a Tensor, got list"),
    "whole": ((fall, ONE, ONE.long()), {}, TypeError, "p0 must be floating point"),
    "NaN": ((fall, ONE, ONE * math.nan), {}, ValueError, "p0 holds NaN or infinity"),
    "shape": (
        (fall, ONE, ONE[:1]),
        {},
        ValueError,
        "p0 must have the shape, dtype and",
    ),
    "dtype": ((fall, ONE, ONE.double()), {}, ValueError, "got (2,), torch.float64"),
    "step": ((fall, ONE, ONE), {"step_size": 0.0}, ValueError, "step_size must be pos"),
    "text": ((fall, ONE, ONE), {"step_size": "0.1"}, TypeError, "step_size must be a"),
    "times": ((fall, ONE, ONE), {"t": [0.0, 2.0, 1.0]}, ValueError, "t must be finite"),
    "steps": ((fall, ONE, ONE), {"max_steps": 0}, ValueError, "max_steps must be a"),
    "more": (
        (fall, ONE, ONE),
        {"max_steps": 9},
        SolverError,
        "about 10 steps of step_",
    ),
    "none": (
        (lambda q: None, ONE, ONE),
        {},
        TypeError,
        "force must return a Tensor dp/",
    ),
    "part": (
        (lambda q: q[:1], ONE, ONE),
        {},
        ValueError,
        "expected (2,), torch.float32",
    ),
    "in place": (
        (lambda q: q.sin_(), ONE, ONE),
        {},
        ValueError,
        "force changed q in pl",
    ),
}


@pytest.mark.parametrize("case", NONSENSE.values(), ids=NONSENSE)
def test_what_makes_no_sense_is_refused_by_name(case):
    start, changed, kind, words = case
    start = [x.clone() if isinstance(x, Tensor) else x for x in start]
    arguments = {"t": [0.0, 1.0], "step_size": 0.1} | changed
    with pytest.raises(kind) as error:
        odeint_leapfrog(*start, arguments.pop("t"), **arguments)
    assert error.type is kind
    assert words in str(error.value)


def test_a_solution_that_overflows_is_an_error_that_says_where():
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(SolverError, match=r"step from t=\d.* with h=0.1 \(leapfrog\)"):
        odeint_leapfrog(lambda q: q**3, one, one, [0.0, 10.0], step_size=0.1)


def test_a_force_that_writes_over_its_result_is_refused():
    kept = torch.zeros(2)

    def force(q):
        return torch.neg(q, out=kept)

    with pytest.raises(ValueError, match="force wrote over"):
        odeint_leapfrog(force, ONE, ONE, [0.0, 1.0], step_size=0.1)

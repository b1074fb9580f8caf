"""Brownian paths, SDE steps and densities, against what is known of them.

Every test that looks at means has fixed seeds; its band is several standard errors wide.
"""

import math

import numpy as np
import pytest
import torch
from problems import enable_x64
from torch.autograd import gradcheck

from course_lib.solvers import (
    SDE_METHODS,
    BrownianPath,
    SolverError,
    fokker_planck,
    normals_at,
    odeint,
    solve_sde,
    to_ito,
    to_stratonovich,
    transition_log_density,
)
from course_lib.solvers.chance import threefry

ONE = torch.ones((), dtype=torch.float64)


def word(*values):
    return tuple(
        torch.tensor(v - 2**32 if v >= 2**31 else v, dtype=torch.int32) for v in values
    )


def grid(n, end=1.0):
    return torch.linspace(0.0, end, n + 1, dtype=torch.float64)


# --- chance ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        (
            (0x13198A2E, 0x03707344),
            (0x243F6A88, 0x85A308D3),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_threefry_gives_the_words_that_its_authors_published(key, counter, expected):
    found = threefry(word(*key), word(*counter))
    assert tuple(x.item() % 2**32 for x in found) == expected


def test_threefry_gives_what_jax_gives():
    prng = pytest.importorskip("jax.extend.random")
    if not hasattr(prng, "threefry_2x32"):
        pytest.skip("this JAX does not show its generator")
    counter = np.arange(10, dtype=np.uint32)
    theirs = np.asarray(prng.threefry_2x32(np.array([3, 4], np.uint32), counter))
    first, second = (torch.from_numpy(x.astype(np.int32)) for x in np.split(counter, 2))
    ours = torch.cat(threefry(word(3, 4), (first, second))).numpy().astype(np.uint32)
    assert (ours == theirs).all()


def test_normal_numbers_have_the_moments_of_a_normal():
    z = normals_at(0, torch.arange(1000), 1000)
    for power, moment in enumerate((1, 0, 1, 0, 3, 0, 15)):
        error = math.sqrt(math.prod(range(1, 2 * power, 2)) / z.numel())
        assert abs(z.pow(power).mean().item() - moment) < 5 * error + 1e-12
    neighbours = (z[:, 1:] * z[:, :-1]).mean(), (z[1:] * z[:-1]).mean()
    assert max(map(abs, neighbours)) < 5e-3
    assert (normals_at(1, torch.arange(9), 9) - z[:9, :9]).abs().min() > 0


# --- the path -------------------------------------------------------------------------


def test_increments_are_independent_normals_whose_variance_is_their_time():
    """20,000 paths: the standard error of a variance is one percent."""
    t = torch.tensor([0.0, 0.25, 0.3, 0.625, 1.0])
    d = BrownianPath((20_000,), seed=1).increments(t)
    covariance = torch.cov(d)
    expected = t.double().diff().diag()
    assert (covariance - expected).abs().max() < 5 * 0.01 * 0.375
    z = d / t.double().diff().sqrt()[:, None]
    assert z.mean(dim=1).abs().max() < 5 / math.sqrt(20_000)
    assert (z.pow(4).mean(dim=1) - 3).abs().max() < 5 * math.sqrt(96 / 20_000)


def test_the_covariance_of_two_times_is_the_earlier_one():
    t = torch.tensor([0.5, 1.25, 2.0, 3.0])
    W = BrownianPath((20_000,), seed=2, span=(0.0, 3.0))(t)
    expected = torch.minimum(t[:, None], t).double()
    assert (torch.cov(W) - expected).abs().max() < 5 * 0.02 * 3


def test_a_path_is_the_same_whatever_is_asked_and_in_which_order():
    W = BrownianPath((3,), seed=7, span=(-1.0, 2.0))
    t = torch.tensor([-1.0, -0.3, 0.0, 0.4999, 1.7, 2.0])
    whole = W(t)
    back = W(t.flip(0)).flip(0)
    alone = torch.stack([W(one.item()) for one in t.double()])
    assert torch.equal(whole, back)
    assert torch.equal(whole, alone)
    assert torch.equal(whole, BrownianPath((3,), seed=7, span=(-1.0, 2.0))(t))
    assert not whole[0].any()
    assert not torch.equal(whole[1:], BrownianPath((3,), 8, (-1.0, 2.0))(t)[1:])


@pytest.mark.parametrize("end", [1.0, 3.0, 1e-4, 700.0])
def test_the_increments_of_halves_add_up_to_the_whole_exactly(end):
    W = BrownianPath((50,), seed=3, span=(0.0, end))
    for n in (64, 10):
        t = grid(n, end)
        fine, coarse = W.increments(t), W.increments(t[::2])
        assert torch.equal(fine[::2] + fine[1::2], coarse)
        assert torch.equal(fine.sum(dim=0), W(end))


def test_a_finer_question_keeps_every_coarser_answer():
    W = BrownianPath((), seed=4)
    assert torch.equal(W(grid(512))[::64], W(grid(8)))


def test_the_first_components_do_not_depend_on_how_many_there_are():
    few, many = (BrownianPath((n,), seed=5)(grid(8)) for n in (3, 8))
    assert torch.equal(few, many[:, :3])


def test_float32_has_the_path_of_float64_rounded():
    W = BrownianPath((4,), seed=6)
    args = ([0.0, 1.0],)
    how = dict(path=W, step_size=1 / 16)
    zero = lambda t, y: 0 * y  # noqa: E731
    one = lambda t, y: 0 * y + 1  # noqa: E731
    single, double = (
        solve_sde(zero, one, torch.zeros(4, dtype=dtype), *args, **how).ys[-1]
        for dtype in (torch.float32, torch.float64)
    )
    assert single.dtype == torch.float32
    assert torch.equal(double, W(1.0))
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-6)


def test_a_path_does_not_depend_on_the_default_dtype():
    here = BrownianPath((4,), seed=6)(0.3)
    kept = torch.get_default_dtype()
    other = torch.float64 if kept == torch.float32 else torch.float32
    torch.set_default_dtype(other)
    try:
        assert torch.equal(BrownianPath((4,), seed=6)(0.3), here)
    finally:
        torch.set_default_dtype(kept)


def test_below_the_finest_level_the_path_is_straight():
    W = BrownianPath((), seed=0)
    a, h = 0.375, 2.0**-31  # within one cell of the finest level
    ends = W([a, a + 2 * h])
    assert abs(W(a + h) - ends.mean()) < 2e-12


# --- orders ---------------------------------------------------------------------------

MU, SIGMA = 1.5, 1.0


def growth(t, y):
    return MU * y


def shake(t, y):
    return SIGMA * y


def drift_for(method):
    """The drift with which the method solves the Itô equation of growth and shake."""
    if SDE_METHODS[method].integral == "ito":
        return growth
    return to_stratonovich(growth, shake)


def slope(sizes, errors):
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]


@pytest.mark.parametrize("method", SDE_METHODS)
def test_the_mean_error_of_a_path_falls_with_the_strong_order(method):
    """On 4,000 paths of geometric Brownian motion. The errors at all step sizes are of the
    same paths, so that their ratios scatter far less than 0.15 in the exponent.
    """
    W = BrownianPath((4000,), seed=11)
    exact = torch.exp((MU - SIGMA**2 / 2) + SIGMA * W(1.0))
    sizes = [2.0**-k for k in range(5, 10)]
    errors = []
    for h in sizes:
        how = dict(path=W, step_size=h, method=method)
        made = solve_sde(drift_for(method), shake, ONE.expand(4000), [0.0, 1.0], **how)
        errors.append((made.ys[-1] - exact).abs().mean().item())
    assert slope(sizes, errors) == pytest.approx(SDE_METHODS[method].strong, abs=0.15)


@pytest.mark.parametrize("method", SDE_METHODS)
def test_the_error_of_the_mean_falls_with_the_weak_order(method):
    """The mean of the computed path less that of the exact one on the same noise: what
    both share drops out, and little scatter is left beside steps this long.
    """
    n = 200_000
    W = BrownianPath((n,), seed=12)
    with torch.no_grad():
        exact = torch.exp((MU - SIGMA**2 / 2) + SIGMA * W(1.0))
        sizes, errors, scatter = [1 / 2, 1 / 4, 1 / 8], [], []
        for h in sizes:
            how = dict(path=W, step_size=h, method=method)
            made = solve_sde(drift_for(method), shake, ONE.expand(n), [0.0, 1.0], **how)
            off = exact - made.ys[-1]
            errors.append(off.mean().item())
            scatter.append(off.std().item() / math.sqrt(n))
    assert all(e > 5 * s for e, s in zip(errors, scatter))
    assert slope(sizes, errors) == pytest.approx(1.0, abs=0.4)


def test_the_mean_of_euler_and_maruyama_is_that_of_euler():
    """For a linear drift, E y_n = (1 + μh)ⁿ; the band is five standard errors."""
    n, h = 100_000, 1 / 8
    W = BrownianPath((n,), seed=13)
    made = solve_sde(growth, shake, ONE.expand(n), [0.0, 1.0], path=W, step_size=h)
    end = made.ys[-1]
    assert abs(end.mean() - (1 + MU * h) ** 8) < 5 * end.std() / math.sqrt(n)


def test_with_constant_g_milstein_is_euler_and_maruyama():
    W = BrownianPath((5,), seed=1)
    how = dict(path=W, step_size=0.1)
    y0 = torch.linspace(-1, 1, 5, dtype=torch.float64)
    both = [
        solve_sde(
            lambda t, y: -y, lambda t, y: 0.5 + 0 * y, y0, [0, 1], method=m, **how
        )
        for m in ("euler-maruyama", "milstein")
    ]
    assert torch.equal(both[0].ys, both[1].ys)


@pytest.mark.parametrize("method", SDE_METHODS)
def test_without_noise_it_is_the_method_for_odes(method):
    y0 = torch.tensor([0.3, -1.0], dtype=torch.float64)
    path = BrownianPath((2,), seed=0)
    how = dict(step_size=0.1)

    def f(t, y):
        return t - y**3

    made = solve_sde(
        f, lambda t, y: 0 * y, y0, [0.0, 0.5, 1.0], path=path, method=method, **how
    )
    rival = "heun" if method == "heun" else "euler"
    expected = odeint(f, y0, [0.0, 0.5, 1.0], method=rival, **how)
    torch.testing.assert_close(made.ys, expected, rtol=1e-14, atol=1e-14)
    assert (made.steps, made.nfe) == (10, 20 if rival == "heun" else 10)


# --- two integrals --------------------------------------------------------------------


def test_the_integral_of_w_dw_is_that_of_the_book():
    """(W² - t)/2 for Itô, W²/2 for Stratonovich: the latter to the last digits."""
    W = BrownianPath((1000,), seed=2)
    t = grid(512)
    w = W(t)
    start, middle = w[:-1], (w[1:] + w[:-1]) / 2
    ito = (start * w.diff(dim=0)).sum(dim=0)
    stratonovich = (middle * w.diff(dim=0)).sum(dim=0)
    torch.testing.assert_close(stratonovich, w[-1] ** 2 / 2, rtol=0, atol=1e-10)
    off = ito - (w[-1] ** 2 - 1) / 2
    assert off.square().mean().sqrt() == pytest.approx(1 / math.sqrt(2 * 512), rel=0.1)


def test_heun_and_milstein_meet_once_the_drift_is_converted():
    W = BrownianPath((100,), seed=3)
    y0 = torch.linspace(-1, 1, 100, dtype=torch.float64)

    def g(t, y):
        return 0.5 * y.cos() + 0.1 * t

    def f(t, y):
        return -y

    def end(f, method, h):
        how = dict(path=W, step_size=h, method=method)
        return solve_sde(f, g, y0, [0.0, 1.0], **how).ys[-1]

    apart = [
        (end(f, "milstein", h) - end(to_stratonovich(f, g), "heun", h)).abs().mean()
        for h in (1 / 64, 1 / 512)
    ]
    assert apart[1] < apart[0] / 4 < 0.005
    torch.testing.assert_close(
        end(to_ito(f, g), "milstein", 1 / 512),
        end(f, "heun", 1 / 512),
        rtol=0,
        atol=0.01,
    )
    stubborn = (end(f, "milstein", 1 / 512) - end(f, "heun", 1 / 512)).abs().mean()
    assert stubborn > 10 * apart[1]


def test_the_two_conversions_undo_each_other():
    y = torch.linspace(-2, 2, 9, dtype=torch.float64)
    back = to_ito(to_stratonovich(growth, shake), shake)
    torch.testing.assert_close(back(0.0, y), growth(0.0, y))
    torch.testing.assert_close(to_ito(growth, shake)(0.0, y), (MU + 0.5) * y)


def test_heun_leads_back_along_the_same_path():
    W = BrownianPath((50,), seed=4)
    how = dict(path=W, method="heun")

    def missed(h):
        there = solve_sde(growth, shake, ONE.expand(50), [0.0, 1.0], step_size=h, **how)
        back = solve_sde(growth, shake, there.ys[-1], [1.0, 0.0], step_size=h, **how)
        return (back.ys[-1] - 1).abs().mean().item()

    assert missed(2.0**-9) < missed(2.0**-6) / 4 < 0.05


def test_the_stationary_law_of_ornstein_and_uhlenbeck_is_reached():
    """Variance σ²/2θ in the limit; σ²/(θ (2 - θh)) of the steps, exactly."""
    n, theta, sigma, h = 20_000, 1.0, 0.8, 1 / 16
    W = BrownianPath((n,), seed=5, span=(0.0, 8.0))
    y0 = torch.full((n,), 2.0, dtype=torch.float64)
    made = solve_sde(
        lambda t, y: -theta * y,
        lambda t, y: torch.full_like(y, sigma),
        y0,
        [0.0, 4.0, 8.0],
        path=W,
        step_size=h,
    )
    end = made.ys[-1]
    expected = sigma**2 / (theta * (2 - theta * h))
    assert end.var().item() == pytest.approx(expected, rel=5 * math.sqrt(2 / n))
    assert abs(end.mean()) < 5 * math.sqrt(expected / n)
    together = torch.cov(made.ys[1:])[0, 1]
    decay = (1 - theta * h) ** (4 / h)
    assert abs(together - expected * decay) < 5 * expected / math.sqrt(n)


# --- gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("method", SDE_METHODS)
def test_the_gradient_is_that_of_the_numbers_computed(method):
    W = BrownianPath((3,), seed=1)
    y0 = torch.tensor([0.5, -0.2, 1.0], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([0.7, 0.4], dtype=torch.float64, requires_grad=True)

    def solved(y0, theta):
        return solve_sde(
            lambda t, y: -theta[0] * y + t,
            lambda t, y: theta[1] * (1 + y**2).sqrt(),
            y0,
            [0.0, 0.4, 1.0],
            path=W,
            step_size=0.2,
            method=method,
        ).ys

    assert gradcheck(solved, (y0, theta))


@pytest.mark.parametrize("method", SDE_METHODS)
def test_without_gradients_the_numbers_are_the_same(method):
    W, y0 = BrownianPath((2,), seed=1), torch.ones(2, dtype=torch.float64)
    how = dict(path=W, step_size=0.1, method=method)
    with_graph = solve_sde(growth, shake, y0.clone().requires_grad_(), [0, 1], **how)
    with torch.no_grad():
        without = solve_sde(growth, shake, y0, [0, 1], **how)
    assert torch.equal(with_graph.ys.detach(), without.ys)
    assert not without.ys.requires_grad
    assert not solve_sde(growth, shake, y0, [0, 1], **how).ys.requires_grad


# --- densities ------------------------------------------------------------------------


def edges(low=-4.0, high=4.0, cells=200):
    return torch.linspace(low, high, cells + 1, dtype=torch.float64)


def centres(e):
    return (e[1:] + e[:-1]) / 2


def well(t, x):
    return x - x**3


def half(t, x):
    return torch.full_like(x, 0.5)


def test_mass_stays_and_no_density_becomes_negative():
    e = edges(-3, 3, 60)
    A = fokker_planck(well, lambda t, x: 0.05 + 0.1 * x**2, e)  # drift beats noise
    assert A.sum(dim=0).abs().max() < 1e-9
    assert (A - A.diag().diag()).min() >= 0
    P = torch.linalg.matrix_exp(3.0 * A)
    torch.testing.assert_close(P.sum(dim=0), torch.ones_like(P[0]))
    assert P.min() > -1e-12


def test_the_stationary_law_of_two_wells_is_that_of_the_potential():
    e = edges(-3, 3, 120)
    x = centres(e)
    p = torch.linalg.matrix_exp(200 * fokker_planck(well, half, e))[:, 30]
    expected = torch.exp(-2 * (x**4 / 4 - x**2 / 2) / 0.25)
    expected = expected / expected.sum()
    assert (p - expected).abs().max() < 0.01 * expected.max()


def test_the_density_of_ornstein_and_uhlenbeck_is_met_to_second_order():
    x, y = torch.full((5,), 1.3, dtype=torch.float64), edges(-1, 2, 4)
    mean, variance = 1.3 * math.exp(-0.7), 0.25 * (1 - math.exp(-1.4)) / 2
    exact = torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(y)
    misses = []
    for cells in (100, 200, 400):
        e = edges(-4, 4, cells)
        A = fokker_planck(lambda t, x: -x, half, e)
        found = transition_log_density(A, e, 0.7, x, y)
        misses.append((found.exp() - exact.exp()).abs().max().item())
    assert misses[-1] < 2e-3
    assert misses[1] < 0.4 * misses[0] and misses[2] < 0.4 * misses[1]


def test_the_density_is_that_of_many_paths():
    """20,000 paths of two wells in steps of 1/64, in cells of 0.2."""
    n, e = 20_000, edges(-2, 2, 160)
    W = BrownianPath((n,), seed=6, span=(0.0, 2.0))
    y0 = torch.full((n,), 0.0125, dtype=torch.float64)  # the centre of a cell
    how = dict(path=W, step_size=1 / 64)
    end = solve_sde(well, lambda t, y: 0.5 + 0 * y, y0, [0.0, 2.0], **how).ys[-1]
    p = torch.linalg.matrix_exp(2.0 * fokker_planck(well, half, e))[:, 80]
    expected = p.view(20, 8).sum(dim=1)
    found = torch.histc(end.clamp(-1.999, 1.999), 20, -2, 2) / n
    assert (found - expected).abs().max() < 5 * math.sqrt(0.1 / n) + 0.003


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_likelihood_has_a_gradient_where_noise_is_small(dtype):
    """Where drift beats noise in a cell e^z overflows, z = 2 f h / g²."""
    theta = torch.tensor(3.0, dtype=dtype, requires_grad=True)
    e = torch.linspace(-2, 2, 201, dtype=dtype)
    x = torch.tensor([0.9], dtype=dtype)

    def log_density(theta):
        size = 0.025 if dtype == torch.float64 else 0.05
        A = fokker_planck(
            lambda t, x: theta * (x - x**3), lambda t, x: size * torch.ones_like(x), e
        )
        return transition_log_density(A, e, 0.1, x, x + 0.02).sum()

    (slope,) = torch.autograd.grad(log_density(theta), theta)
    h = 1e-4 if dtype == torch.float64 else 1e-2
    with torch.no_grad():
        expected = (log_density(theta + h) - log_density(theta - h)) / (2 * h)
    torch.testing.assert_close(slope, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("dt", "cells", "complaint"),
    [(-1.0, 80, "dt must be 0 or more"), (0.5, 40, "A must have a row for each")],
)
def test_a_density_of_no_time_or_of_other_cells_is_refused(dt, cells, complaint):
    A = fokker_planck(well, half, torch.linspace(-4, 4, 81))
    x = torch.zeros(1)
    with pytest.raises(ValueError, match=complaint):
        transition_log_density(A, torch.linspace(-4, 4, cells + 1), dt, x, x)


@pytest.mark.parametrize(
    "edges",
    [
        torch.zeros(5),
        torch.full((5,), torch.nan),
        torch.arange(5),
        torch.linspace(1, -1, 5),
    ],
)
def test_edges_that_make_no_cells_are_refused(edges):
    with pytest.raises(ValueError, match="cells of one width, increasing, finite"):
        fokker_planck(well, half, edges)


def test_the_likelihood_has_a_gradient_by_drift_and_diffusion():
    e = edges(-2, 2, 12)
    x = torch.tensor([0.1, -0.5], dtype=torch.float64)
    theta = torch.tensor([0.8, 0.6], dtype=torch.float64, requires_grad=True)

    def likelihood(theta):
        A = fokker_planck(lambda t, x: -theta[0] * x, lambda t, x: theta[1] + 0 * x, e)
        return transition_log_density(A, e, 0.5, x, x.flip(0))

    assert gradcheck(likelihood, (theta,))


# --- other libraries ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "theirs"), [("euler-maruyama", "Euler"), ("heun", "Heun")]
)
def test_diffrax_makes_the_same_steps_on_the_same_path(method, theirs):
    jax = pytest.importorskip("jax")
    diffrax = pytest.importorskip("diffrax")
    W = BrownianPath((3,), seed=9)
    t = grid(64)
    with enable_x64(True):
        path = diffrax.LinearInterpolation(t.numpy(), W(t).numpy())
        noise = diffrax.ControlTerm(
            lambda t, y, args: jax.numpy.diag(0.5 * jax.numpy.cos(y)), path
        )
        terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: -y), noise)
        made = diffrax.diffeqsolve(
            terms,
            getattr(diffrax, theirs)(),
            0.0,
            1.0,
            None,
            jax.numpy.ones(3),
            stepsize_controller=diffrax.StepTo(t.numpy()),
        )
        expected = torch.from_numpy(np.array(made.ys[-1]))
    y0 = torch.ones(3, dtype=torch.float64)
    ours = solve_sde(
        lambda t, y: -y,
        lambda t, y: 0.5 * y.cos(),
        y0,
        [0.0, 1.0],
        path=W,
        step_size=1 / 64,
        method=method,
    )
    torch.testing.assert_close(ours.ys[-1], expected, rtol=1e-12, atol=1e-12)


# --- what makes no sense --------------------------------------------------------------

Y = torch.ones(2)
PATH = BrownianPath((2,))
NONSENSE = {
    "f": (dict(f=1.0), TypeError, r"f must be callable as f\(t, y\), got float"),
    "path": (dict(path=3), TypeError, r"path must be callable as path\(t\)"),
    "method": (dict(method="euler"), ValueError, "method='euler' is not known; choose"),
    "step": (dict(step_size=0), ValueError, "step_size must be positive"),
    "start": (dict(y0=[1.0]), TypeError, "y0 must be a Tensor"),
    "shape": (dict(y0=torch.ones(3)), ValueError, r"use BrownianPath\(\(3,\)"),
    "span": (dict(t=[0.0, 2.0]), ValueError, "t must lie in the span"),
    "back": (dict(t=[1.0, 0.0]), ValueError, "t must increase for method='euler-ma"),
    "times": (dict(t=[0.0, 0.5, 0.2]), ValueError, "t must be finite"),
    "drift": (dict(f=lambda t, y: y[:1]), ValueError, "f must return the drift with"),
    "size": (dict(g=lambda t, y: 1.0), TypeError, "g must return a Tensor the diff"),
    "steps": (dict(max_steps=5), SolverError, "about 10 steps of step_size=0.1"),
    "mixed": (
        dict(g=lambda t, y: y.flip(0), method="milstein"),
        ValueError,
        "each component of g must depend on that component",
    ),
    "mixed later": (
        dict(
            g=lambda t, y: torch.stack((y[1] ** 2, 1 + 0 * y[1])),
            y0=torch.zeros(2),
            method="milstein",
        ),
        ValueError,
        "each component of g must depend on that component",
    ),
    "overflow": (
        dict(f=lambda t, y: 1e30 * y**3),
        SolverError,
        r"step from t=0.\d* with h=0.1 \(euler-maruyama\)",
    ),
}


@pytest.mark.parametrize("case", NONSENSE.values(), ids=NONSENSE)
def test_what_makes_no_sense_is_refused_by_name(case):
    changed, kind, words = case
    given = dict(f=growth, g=shake, y0=Y, t=[0.0, 1.0], path=PATH, step_size=0.1)
    given |= changed
    start = [given.pop(name) for name in ("f", "g", "y0", "t")]
    with pytest.raises(kind, match=words):
        solve_sde(*start, **given)


def test_a_path_says_what_it_is_made_of():
    with pytest.raises(ValueError, match="span must be two finite times"):
        BrownianPath(span=(1.0, 0.0))
    with pytest.raises(ValueError, match="seed must be a whole number"):
        BrownianPath(seed=-1)
    assert BrownianPath(3).shape == (3,)
    with pytest.raises(ValueError, match="edges must be those of two or more cells"):
        fokker_planck(well, half, torch.tensor([0.0, 1.0, 3.0]))
    e = edges(-1, 1, 4)
    A, far = fokker_planck(well, half, e), torch.full((1,), 2.0, dtype=torch.float64)
    with pytest.raises(ValueError, match="all points must lie between"):
        transition_log_density(A, e, 1.0, far, far)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_edges_are_equal_in_their_own_precision(dtype):
    edges = torch.linspace(-3, 3, 51, dtype=dtype)
    A = fokker_planck(lambda t, x: -x, lambda t, x: torch.ones_like(x), edges)
    assert A.shape == (50, 50)
    with pytest.raises(ValueError, match="cells of one width"):
        fokker_planck(lambda t, x: -x, lambda t, x: torch.ones_like(x), edges.exp())

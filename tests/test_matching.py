"""Flow matching: held against a mixture of Gaussians, of which everything is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from course_lib import flows
from course_lib.flows import (
    STRAIGHT,
    VARIANCE_PRESERVING,
    ContinuousFlow,
    GaussianMixture,
    Guided,
    LabelledVelocity,
    PixelVelocity,
)
from course_lib.models import MLPDynamics

TIGHT = dict(rtol=1e-10, atol=1e-10)
paths = pytest.mark.parametrize(
    "path", [STRAIGHT, VARIANCE_PRESERVING], ids=["straight", "variance preserving"]
)


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def mixture(path=STRAIGHT) -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        torch.tensor([[2.0, 0.0], [-1.0, 1.5], [-1.0, -2.0]], dtype=torch.float64),
        torch.tensor([0.4, 0.6, 0.3], dtype=torch.float64),
        path,
    )


class Classes(nn.Module):
    """The exact field of a mixture whose components are the classes."""

    classes = 3

    def forward(self, t, y, labels):
        fields = [mixture().only([k]).velocity(t, y) for k in range(3)]
        every = torch.stack([*fields, mixture().velocity(t, y)])
        return every[labels, torch.arange(len(y))]


# --- paths ----------------------------------------------------------------------------


@paths
def test_a_path_leads_from_the_noise_to_the_data(path):
    x, z = drawn(4, 2), drawn(4, 2, seed=1)
    torch.testing.assert_close(path.point(number(0.0), x, z), z)
    torch.testing.assert_close(path.point(number(1.0), x, z), x)


@paths
def test_its_velocity_is_the_derivative_of_its_point(path):
    x, z, t = drawn(4, 2), drawn(4, 2, seed=1), number(0.3)
    slope = torch.func.jacrev(lambda t: path.point(t, x, z))(t)
    torch.testing.assert_close(path.velocity(t, x, z), slope)


def test_variance_is_preserved_where_the_path_says_so():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    total = VARIANCE_PRESERVING.alpha(t) ** 2 + VARIANCE_PRESERVING.sigma(t) ** 2
    torch.testing.assert_close(total, torch.ones_like(t))


@paths
def test_point_and_velocity_of_one_path_tell_both_its_ends(path):
    x, z, t = drawn(4, 2), drawn(4, 2, seed=1), number(0.3)
    ends = path.ends(t, path.point(t, x, z), path.velocity(t, x, z))
    for found, end in zip(ends, (x, z)):
        torch.testing.assert_close(found, end)


# --- the mixture ----------------------------------------------------------------------


@paths
@pytest.mark.parametrize("at", [0.0, 0.3, 0.9, 1.0])
def test_the_score_of_the_mixture_is_the_gradient_of_its_log_density(path, at):
    known, t, y = mixture(path), number(at), 2 * drawn(20, 2)
    slope = torch.func.grad(lambda y: known.log_prob(t, y).sum())(y)
    torch.testing.assert_close(known.score(t, y), slope)


@paths
@pytest.mark.parametrize("at", [0.0, 0.3, 0.9, 1.0])
def test_field_and_density_of_the_mixture_satisfy_the_continuity_equation(path, at):
    known, t, y = mixture(path), number(at), 2 * drawn(20, 2)
    v, divergence = flows.exact_trace(known.velocity, t, y)
    rate = torch.func.jacrev(lambda t: known.log_prob(t, y))(t)
    torch.testing.assert_close(rate, -divergence - (v * known.score(t, y)).sum(dim=1))


@paths
def test_the_flow_of_the_exact_field_carries_the_noise_to_the_mixture(path):
    known, y = mixture(path), 1.5 * drawn(20, 2)
    log_p = ContinuousFlow(known.velocity, **TIGHT).log_prob(y)
    torch.testing.assert_close(log_p, known.log_prob(number(1.0), y), atol=1e-7, rtol=0)


@paths
def test_the_exact_field_is_the_mean_velocity_of_the_paths_through_a_point(path):
    """What is left of each velocity is uncorrelated with any function of t and y."""
    torch.manual_seed(0)
    known, n = mixture(path), 200_000
    x, _ = known.sample(n)
    z, t = torch.randn_like(x), torch.tensor(0.6, dtype=torch.float64)
    y = path.point(t, x, z)
    left = path.velocity(t, x, z) - known.velocity(t, y)
    for test in (torch.ones_like(y), y, y.square(), y.sin()):
        products = left * test
        error = products.std(dim=0) / math.sqrt(n)
        assert (products.mean(dim=0).abs() < 4.5 * error).all()


def test_samples_of_the_mixture_have_its_shares_means_and_scales():
    known, n = mixture(), 50_000
    x, k = known.sample(n, torch.Generator().manual_seed(0))
    for i in range(3):
        share = (k == i).double().mean().item()
        weight = known.weights[i].item()
        assert share == pytest.approx(weight, abs=4.5 * math.sqrt(weight / n))
        of_one = x[k == i]
        assert of_one.std().item() > 0
        off = (of_one.mean(dim=0) - known.means[i]).abs().max().item()
        assert off < 5 * known.scales[i].item() / math.sqrt(len(of_one))


def test_a_class_of_the_mixture_is_a_mixture_with_weights_that_add_up():
    part, t, y = mixture().only([0, 2]), number(0.7), drawn(5, 2)
    assert part.weights.sum().item() == pytest.approx(1)
    both = [mixture().only([k]).log_prob(t, y) for k in (0, 2)]
    shares = torch.tensor([5 / 7, 2 / 7]).double().log()
    joint = torch.stack(both, dim=1) + shares
    torch.testing.assert_close(part.log_prob(t, y), joint.logsumexp(dim=1))


def test_a_mixture_needs_a_weight_and_a_scale_for_each_mean():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        GaussianMixture(torch.ones(2) / 2, torch.zeros(3, 2), torch.ones(3))


# --- velocity, noise, score -----------------------------------------------------------


@paths
@pytest.mark.parametrize("at", [0.1, 0.5, 0.95])
def test_velocity_noise_and_score_are_one_field_written_in_three_ways(path, at):
    known, t, y = mixture(path), number(at), 2 * drawn(20, 2)
    v, score = known.velocity(t, y), known.score(t, y)
    x, z = known.ends(t, y)
    for found, exact in zip(path.ends(t, y, v), (x, z)):
        torch.testing.assert_close(found, exact)
    torch.testing.assert_close(path.score(t, y, v), score)
    torch.testing.assert_close(path.velocity_from_noise(t, y, z), v)
    torch.testing.assert_close(path.velocity_from_score(t, y, score), v)


# --- the loss -------------------------------------------------------------------------


def test_the_loss_is_the_mean_square_miss_of_the_velocities():
    f = MLPDynamics(2, (8,), time=True).double()
    x, z = drawn(6, 2), drawn(6, 2, seed=1)
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)[:, None]
    by_hand = (f(t, t * x + (1 - t) * z) - (x - z)).square().sum(dim=1).mean()
    torch.testing.assert_close(flows.flow_matching_loss(f, x, z=z, t=t), by_hand)


def test_the_exact_field_has_a_lower_loss_than_its_neighbours():
    known = mixture()
    x, _ = known.sample(20_000, torch.Generator().manual_seed(0))
    z, t = drawn(20_000, 2, seed=1), torch.rand(20_000, 1, dtype=torch.float64)

    def loss(f):
        return flows.flow_matching_loss(f, x, z=z, t=t).item()

    exact = loss(rowwise(known))
    for scale in (0.9, 1.1):
        assert loss(lambda t, y, s=scale: s * rowwise(known)(t, y)) > exact


def rowwise(known: GaussianMixture):
    """The exact velocity where every row has a time of its own."""
    one = torch.vmap(lambda t, y: known.velocity(t, y[None])[0])
    return lambda t, y: one(t[:, 0], y)


def test_a_time_is_drawn_for_every_image_and_fits_its_shape():
    images = torch.rand(5, 1, 4, 4)
    seen = []

    def f(t, y):
        seen.append(t)
        return torch.zeros_like(y)

    torch.manual_seed(0)
    assert flows.flow_matching_loss(f, images).item() > 0
    assert seen[0].shape == flows.middle_times(images).shape == (5, 1, 1, 1)
    assert len(seen[0].unique()) == 5
    assert flows.middle_times(images).min() > 0 and flows.middle_times(images).max() < 1


def test_labels_are_dropped_at_the_rate_that_is_given():
    torch.manual_seed(0)
    labels = torch.arange(10_000) % 10
    assert torch.equal(flows.drop_labels(labels, 0.0, 10), labels)
    assert flows.drop_labels(labels, 1.0, 10).unique().tolist() == [10]
    dropped = flows.drop_labels(labels, 0.1, 10)
    share = (dropped == 10).double().mean().item()
    assert share == pytest.approx(0.1, abs=4.5 * math.sqrt(0.09 / 10_000))
    assert torch.equal(dropped[dropped < 10], labels[dropped < 10])


def test_the_loss_shows_the_field_the_labels_that_are_left():
    f = LabelledVelocity(2, 3, width=8, blocks=1).double()
    x, z, t = drawn(6, 2), drawn(6, 2, seed=1), torch.full((6, 1), 0.5).double()
    labels = torch.arange(6) % 3
    for drop, seen in ((0.0, labels), (1.0, torch.full_like(labels, 3))):
        by_hand = (f(t, (x + z) / 2, seen) - (x - z)).square().sum(dim=1).mean()
        found = flows.flow_matching_loss(f, x, labels, z=z, t=t, drop=drop)
        torch.testing.assert_close(found, by_hand)


# --- pairs ----------------------------------------------------------------------------


def test_the_pairs_are_the_cheapest_of_all():
    x, z = drawn(6, 2), drawn(6, 2, seed=1)
    paired = flows.pair_by_transport(x, z)

    def cost(rows):
        return (x - rows).square().sum().item()

    best = min(cost(z[list(order)]) for order in itertools.permutations(range(6)))
    assert cost(paired) == pytest.approx(best)
    assert sorted(map(tuple, paired.tolist())) == sorted(map(tuple, z.tolist()))


def test_pairs_need_as_many_of_either():
    with pytest.raises(ValueError, match="a row for each row of x, got 2 for 3"):
        flows.pair_by_transport(drawn(3, 2), drawn(2, 2))


def test_on_a_line_the_pairs_are_in_order():
    x, z = drawn(50, 1), drawn(50, 1, seed=1)
    paired = flows.pair_by_transport(x, z)
    assert (paired[x[:, 0].argsort(), 0].diff() >= 0).all()


# --- samples --------------------------------------------------------------------------


def kolmogorov(values: torch.Tensor, cdf) -> float:
    """The largest distance of the empirical distribution function from `cdf`."""
    ordered = values.sort().values
    n = len(ordered)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    exact = cdf(ordered)
    return max((exact - steps[:-1]).max().item(), (steps[1:] - exact).max().item())


@paths
@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_ode_and_sde_have_the_marginals_of_the_mixture(path, noise):
    known, n = mixture(path), 8000
    z, generator = drawn(n, 2), torch.Generator().manual_seed(1)
    made = flows.sample_sde(
        known.velocity, z, steps=200, noise=noise, path=path, generator=generator
    )
    for axis in range(2):
        parts = Normal(known.means[:, axis], known.scales)

        def cdf(values, parts=parts):
            return parts.cdf(values[:, None]) @ known.weights

        # 1.95 / √n is passed by one sample in a thousand; the steps may add as much.
        assert kolmogorov(made[:, axis], cdf) < 2 * 1.95 / math.sqrt(n)


def test_the_test_of_marginals_finds_out_a_missing_drift():
    """Noise without the pull towards the data widens the density."""
    known, n = mixture(), 8000
    y, h = drawn(n, 2), 1 / 400
    generator = torch.Generator().manual_seed(1)
    for i in range(400):
        t = number(i * h)
        shock = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        y = y + h * known.velocity(t, y) + (2 * (1 - t) * h).sqrt() * shock
    parts = Normal(known.means[:, 0], known.scales)
    far = kolmogorov(y[:, 0], lambda x: parts.cdf(x[:, None]) @ known.weights)
    assert far > 2 * 1.95 / math.sqrt(n)


def test_an_sde_without_noise_is_eulers_method():
    known, z = mixture(), drawn(10, 2)
    by_ode = flows.sample_ode(known.velocity, z, method="euler", step_size=0.1)
    by_sde = flows.sample_sde(known.velocity, z, steps=10, noise=0.0)
    torch.testing.assert_close(by_sde, by_ode)


def test_the_increments_come_from_the_generator_alone():
    known, z = mixture(), drawn(10, 2)

    def made(seed):
        generator = torch.Generator().manual_seed(seed)
        return flows.sample_sde(known.velocity, z, steps=5, generator=generator)

    assert torch.equal(made(0), made(0))
    assert not torch.equal(made(0), made(1))


@pytest.mark.parametrize(
    ("settings", "says"),
    [(dict(steps=0), "steps"), (dict(steps=2, noise=-1.0), "noise must not be")],
)
def test_steps_and_noise_that_cannot_be_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        flows.sample_sde(mixture().velocity, drawn(2, 2), **settings)


# --- guidance -------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.5, 3.0])
def test_the_guided_score_is_that_of_the_tilted_density(weight):
    """∇ log p(y | c)^w p(y)^(1-w), at every time."""
    labels, y, t = torch.arange(30) % 3, 1.5 * drawn(30, 2), number(0.6)
    v = Guided(Classes(), labels, weight)(t, y)

    def tilted(y):
        parts = [mixture().only([k]).log_prob(t, y) for k in range(3)]
        led = torch.stack(parts)[labels, torch.arange(len(y))]
        return (weight * led + (1 - weight) * mixture().log_prob(t, y)).sum()

    torch.testing.assert_close(STRAIGHT.score(t, y, v), torch.func.grad(tilted)(y))


def test_samples_without_guidance_are_those_of_the_class():
    n = 4000
    field = Guided(Classes(), torch.full((n,), 1), 1.0)
    made = flows.sample_ode(field, drawn(n, 2))
    known = mixture()
    for axis in range(2):
        exact = Normal(known.means[1, axis], known.scales[1])
        assert kolmogorov(made[:, axis], exact.cdf) < 1.95 / math.sqrt(n)


def test_guidance_moves_samples_away_from_the_other_classes_and_together():
    n, labels = 2000, torch.full((2000,), 1)
    made = {
        w: flows.sample_ode(Guided(Classes(), labels, w), drawn(n, 2))
        for w in (1.0, 3.0)
    }
    end = number(1.0)
    odds = {
        w: mixture().only([1]).log_prob(end, y) - mixture().log_prob(end, y)
        for w, y in made.items()
    }
    assert odds[3.0].mean() > odds[1.0].mean()
    assert made[3.0].var(dim=0).sum() < made[1.0].var(dim=0).sum()


# --- networks -------------------------------------------------------------------------


def test_the_velocity_takes_one_time_or_one_for_each_row():
    torch.manual_seed(0)
    f = LabelledVelocity(3, 2, width=8, blocks=2)
    y, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    one = f(torch.tensor(0.3), y, labels)
    torch.testing.assert_close(f(torch.full((4, 1), 0.3), y, labels), one)
    assert not torch.equal(f(torch.tensor(0.4), y, labels), one)
    assert not torch.equal(f(torch.tensor(0.3), y, labels.flip(0)), one)


def test_the_velocity_among_pixels_takes_one_time_or_one_for_each_image():
    torch.manual_seed(0)
    f = PixelVelocity(2, fine=8, coarse=16, blocks=1, told=8)
    y, labels = torch.randn(4, 1, 28, 28), torch.tensor([0, 1, 2, 0])
    one = f(torch.tensor(0.3), y, labels)
    assert one.shape == y.shape
    torch.testing.assert_close(f(torch.full((4, 1, 1, 1), 0.3), y, labels), one)
    assert not torch.equal(f(torch.tensor(0.4), y, labels), one)
    assert not torch.equal(f(torch.tensor(0.3), y, labels.flip(0)), one)


def test_images_are_whole_again_after_the_scale_of_the_flow():
    images = torch.rand(3, 1, 28, 28)
    y = PixelVelocity.standardised(images)
    torch.testing.assert_close(PixelVelocity.images(y), images)
    assert PixelVelocity.images(3 * y).unique()[[0, -1]].tolist() == [0, 1]


def test_waves_of_time_turn_from_a_quarter_to_almost_three_times():
    waves = flows.TimeWaves()
    found = waves(torch.tensor([[0.0], [1.0]]), torch.zeros(2, 3))
    assert found.shape == (2, 16)
    torch.testing.assert_close(found[0], torch.tensor(8 * [0.0] + 8 * [1.0]))
    torch.testing.assert_close(
        found[1, [0, 8]], torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0
    )
    assert waves.angular[-1].item() == pytest.approx(2 * math.pi * 2**1.5)


def test_the_autoencoder_notes_where_its_codes_are():
    torch.manual_seed(0)
    vae, images = flows.DigitVAE(4), torch.rand(40, 1, 28, 28)
    vae.settle(images)
    codes = vae.posteriors(images).sample()
    assert vae.standardised(codes).std(dim=0).sub(1).abs().max() < 0.5
    y = vae.standardised(codes)
    with torch.no_grad():
        decoded = vae.images(y)
        torch.testing.assert_close(decoded, vae.decoder(codes).sigmoid())
    assert decoded.shape == images.shape
    assert decoded.min() > 0 and decoded.max() < 1


def test_the_bound_is_misfit_and_price():
    torch.manual_seed(0)
    vae, images = flows.DigitVAE(4), torch.rand(3, 1, 28, 28)
    posterior = vae.encode(images)
    torch.manual_seed(1)
    logits = vae.decoder(posterior.sample())
    per_pixel = nn.functional.binary_cross_entropy_with_logits(
        logits, images, reduction="none"
    )
    by_hand = per_pixel.flatten(1).sum(dim=1) + 0.5 * posterior.kl()
    torch.manual_seed(1)
    found = vae.negative_elbo(images, kl_weight=0.5)
    torch.testing.assert_close(found, by_hand.mean())


def test_a_mixture_takes_a_time_for_each_row():
    mix = GaussianMixture(
        torch.tensor([0.5, 0.5]),
        torch.tensor([[0.0, 0.0], [1.0, 2.0]]),
        torch.tensor([0.5, 2.0]),
    )
    y, t = torch.tensor([[0.3, -0.2], [1.0, 0.4]]), torch.tensor([[0.3], [0.8]])
    for function in (mix.velocity, mix.score, mix.log_prob):
        each = [function(s, row[None])[0] for s, row in zip(t[:, 0], y)]
        torch.testing.assert_close(function(t, y), torch.stack(each))


def test_a_pairing_is_the_shortest_far_from_the_origin_too():
    g = torch.Generator().manual_seed(0)
    x, z = torch.randn(200, 2, generator=g), torch.randn(200, 2, generator=g)
    pair = flows.pair_by_transport
    near, far = pair(x, z), pair(x + 3000, z + 3000) - 3000
    cost = [(x - paired).square().sum().item() for paired in (near, far)]
    assert cost[1] == pytest.approx(cost[0], rel=1e-2)

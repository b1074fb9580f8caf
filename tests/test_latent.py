"""The latent ODE: its divergence, its encoder's sense of time, its decoder, its bound,
what it makes of unequal and of bad series, the search for a better z(0), and its rival.
"""

from __future__ import annotations

import math

import pytest
import torch
from problems import EPS
from torch.distributions import Normal, kl_divergence

from course_lib.latent import (
    BackwardEncoder,
    LatentODE,
    LatentRNN,
    ODERNNEncoder,
    Posterior,
    negative_elbo,
    readings,
    refine,
    root_mean_square,
)
from course_lib.solvers import odeint, solve


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@pytest.fixture
def posterior() -> Posterior:
    return Posterior(drawn(5, 3), drawn(5, 3, seed=1))


@pytest.fixture
def model() -> LatentODE:
    """A small one in double precision, solved to ten digits."""
    torch.manual_seed(0)
    return LatentODE(
        observed=2, latent=3, hidden=8, width=8, rtol=1e-10, atol=1e-10
    ).double()


@pytest.fixture
def series() -> tuple[torch.Tensor, torch.Tensor]:
    """Values (4, 6, 2) and different times (4, 6) for each of four series."""
    return drawn(4, 6, 2), drawn(4, 6, seed=1).abs().cumsum(dim=1)


def test_the_divergence_has_the_closed_form_of_two_gaussians(posterior):
    exact = kl_divergence(
        Normal(posterior.mean, (0.5 * posterior.log_variance).exp()), Normal(0.0, 1.0)
    ).sum(dim=1)
    assert torch.allclose(
        posterior.kl(), exact, rtol=0, atol=100 * EPS * exact.max().item()
    )


def test_the_divergence_vanishes_for_the_standard_normal_only():
    assert not Posterior(torch.zeros(1, 3), torch.zeros(1, 3)).kl().any()
    assert (Posterior(drawn(9, 3), drawn(9, 3, seed=1)).kl() > 0).all()


def test_a_sample_follows_the_posterior_and_is_differentiable_in_it():
    n = 100_000
    mean, log_variance = (
        torch.full((n, 1), value).double().requires_grad_() for value in (2.0, -1.0)
    )
    torch.manual_seed(0)
    sample = Posterior(mean, log_variance).sample()
    deviation = math.exp(-0.5)
    # Five standard errors: σ/√n of a mean, σ/√(2n) of a standard deviation.
    assert abs(sample.mean().item() - 2.0) <= 5 * deviation / math.sqrt(n)
    assert abs(sample.std().item() - deviation) <= 5 * deviation / math.sqrt(2 * n)
    sample.sum().backward()
    assert (mean.grad == 1.0).all()
    assert torch.allclose(log_variance.grad, 0.5 * (sample - mean).detach(), rtol=1e-12)


def test_the_encoder_notices_when_the_observations_were_made(series):
    torch.manual_seed(0)
    encoder, (values, times) = BackwardEncoder(2, 3, 8).double(), series
    stretched, later = times.clone(), times + 1.0
    stretched[:, 3:] += 0.5
    base = encoder(values, times).mean
    assert base.shape == (4, 3)
    assert ((encoder(values, stretched).mean - base).abs().amax(dim=1) > 1e-4).all()
    assert ((encoder(values, later).mean - base).abs().amax(dim=1) > 1e-4).all()


def test_the_encoder_reads_from_the_last_observation_to_the_first(series):
    """What it read last, the first observation, sits on top of what it read before."""
    torch.manual_seed(0)
    encoder, (values, times) = BackwardEncoder(2, 3, 8).double(), series
    gaps = torch.cat((times[:, :1], times[:, 1:] - times[:, :-1]), dim=1)
    hidden = torch.zeros(1, 4, 8).double()
    for i in reversed(range(6)):
        _, hidden = encoder.gru(
            torch.cat((values[:, i], gaps[:, i, None]), dim=1)[:, None], hidden
        )
    by_hand = encoder.out(hidden[0])
    assert torch.allclose(
        torch.cat(encoder(values, times), dim=1), by_hand, rtol=0, atol=100 * EPS
    )


@pytest.mark.parametrize("t", [[0.0], [0.0, 1.0, 2.0], [0.5], [0.5, 1.0, 2.0]], ids=str)
def test_the_flow_starts_at_time_zero_whether_or_not_it_is_asked_for(model, t):
    z0, t = drawn(4, 3), torch.tensor(t).double()
    grid = torch.tensor([0.0, 0.5, 1.0, 2.0]).double()
    states = odeint(model.f, z0, grid, rtol=1e-10, atol=1e-10).transpose(0, 1)
    states = states[:, torch.isin(grid, t)]
    # Fewer than 100 steps at 1e-10; a small random net stretches by less than e² in two
    # units of time.
    bound = 2 * 100 * 1e-10 * 4 * math.exp(2)
    assert torch.allclose(model.flow(z0, t), states, rtol=0, atol=bound)


def test_series_decoded_together_equal_each_decoded_alone(model, series):
    z0, times = drawn(4, 3), series[1]
    times[1, 0] = times[0, 0] = times[:2, 0].min()  # a time that two series share
    together = model.decode_at(z0, times)
    alone = torch.cat([model.decode(z[None], t) for z, t in zip(z0, times)])
    assert together.shape == (4, 6, 2)
    lipschitz = math.prod(
        torch.linalg.matrix_norm(p, 2).item()
        for p in model.f.net.parameters()
        if p.ndim == 2
    )
    readout = math.prod(
        torch.linalg.matrix_norm(p, 2).item()
        for p in model.decoder.parameters()
        if p.ndim == 2
    )
    size = 1 + model.flow(z0, times.flatten().unique()).abs().max().item()
    # Fewer than 100 steps at 1e-10, each for a state of 4 · 3 numbers; ELU has slope 1
    # at most.
    bound = (
        2
        * 100
        * math.sqrt(12)
        * 1e-10
        * size
        * math.exp(lipschitz * times.max().item())
        * readout
    )
    assert bound < 1e-3
    assert (together - alone).abs().max() <= bound


def test_series_with_the_same_start_are_decoded_each_at_its_own_times(model, series):
    """Then the steps are the same together and alone, and so are the values, to
    rounding.
    """
    times, z0 = series[1], drawn(1, 3).expand(4, 3)
    together = model.decode_at(z0, times)
    curve = model.decode(z0[:1], times.flatten().unique())[0]
    where = torch.searchsorted(times.flatten().unique(), times)
    assert torch.allclose(
        together, curve[where], rtol=0, atol=1000 * EPS * together.abs().max().item()
    )


def test_a_reconstruction_decodes_the_posterior_mean(model, series):
    t = torch.linspace(0, 3, 7).double()
    assert torch.equal(
        model.reconstruct(*series, t), model.decode(model.encoder(*series).mean, t)
    )
    assert model.reconstruct(*series, t).shape == (4, 7, 2)


@pytest.mark.parametrize("kl_weight", [0.0, 0.5, 1.0])
def test_the_bound_is_the_expected_log_likelihood_minus_the_divergence(
    model, series, kl_weight
):
    (values, times), noise = series, 0.3
    torch.manual_seed(7)
    found = negative_elbo(model, values, times, noise=noise, kl_weight=kl_weight)
    torch.manual_seed(7)  # the same draw from the posterior
    posterior = model.encoder(values, times)
    decoded = model.decode_at(posterior.sample(), times)
    constant = Normal(0.0, noise).log_prob(torch.tensor(0.0))
    likelihood = (Normal(decoded, noise).log_prob(values) - constant).sum(dim=(1, 2))
    exact = -(likelihood - kl_weight * posterior.kl()).mean() / 6
    # The constant is computed in single precision.
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)


def test_the_bound_reaches_every_parameter_with_a_finite_gradient(model, series):
    negative_elbo(model, *series, noise=0.3).backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


# --- targets --------------------------------------------------------------------------


@pytest.fixture
def targets(series) -> tuple[torch.Tensor, torch.Tensor]:
    """Three more readings of each series: before its first, in the middle, at the end."""
    times = torch.stack([series[1][:, i] for i in (0, 3, 5)], dim=1)
    return drawn(4, 3, 2, seed=3), times + torch.tensor([-0.05, 0.01, 1.0]) * times


def test_with_targets_the_bound_is_that_of_readings_and_targets_together(
    model, series, targets
):
    (values, times), noise = series, 0.3
    torch.manual_seed(7)
    found = negative_elbo(model, *series, noise=noise, targets=targets, kl_weight=0.5)
    torch.manual_seed(7)  # the same draw from the posterior, of the readings alone
    posterior = model.encoder(values, times)
    z0 = posterior.sample()
    constant = Normal(0.0, noise).log_prob(torch.tensor(0.0))
    likelihood = sum(
        (Normal(model.decode_at(z0, t), noise).log_prob(x) - constant).sum(dim=(1, 2))
        for x, t in (series, targets)
    )
    exact = -(likelihood - 0.5 * posterior.kl()).mean() / (6 + 3)
    # The constant is computed in single precision.
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)


def test_the_encoder_does_not_see_the_targets(model, series, targets):
    values, times = targets
    seen = []
    model.encoder.register_forward_hook(lambda *call: seen.append(call[1:]))
    negative_elbo(model, *series, noise=0.3, targets=targets)
    negative_elbo(model, *series, noise=0.3, targets=(values + 9.0, times + 1.0))
    negative_elbo(model, *series, noise=0.3)
    for (read, *_), _ in seen:
        assert torch.equal(read, series[0])
    for _, posterior in seen:
        assert torch.equal(posterior.mean, seen[0][1].mean)
        assert torch.equal(posterior.log_variance, seen[0][1].log_variance)


def test_the_rival_is_asked_for_readings_and_targets_in_the_order_of_time(
    series, targets
):
    torch.manual_seed(0)
    rival, asked = LatentRNN(2, 3, 8, 5).double(), []
    decode_at = rival.decode_at
    rival.decode_at = lambda z0, times: asked.append(times) or decode_at(z0, times)
    negative_elbo(rival, *series, noise=0.3, targets=targets)
    both = torch.cat((series[1], targets[1]), dim=1)
    assert torch.equal(asked[0], both.sort(dim=1).values)


def test_masked_targets_are_not_there(model, series, targets):
    values, times = targets
    mask = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 1, 0], [1, 0, 1]]).bool()
    spoilt = values.where(mask[..., None], math.nan), times.where(mask, math.nan)
    for module in (
        model.encoder.out,
        model.f.net[-1],
    ):  # no chance, no flow: equal solves
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    model.encoder.out.bias.data[3:] = -100.0  # a standard deviation of e^-50
    together = negative_elbo(model, *series, noise=0.3, targets=(*spoilt, mask))
    alone = [
        negative_elbo(
            model, x[None], t[None], noise=0.3, targets=(v[m][None], w[m][None])
        )
        * (6 + m.sum())
        for x, t, v, w, m in zip(*series, values, times, mask)
    ]
    total = 4 * 6 + mask.sum().item()
    assert together.item() == pytest.approx(sum(alone).item() / total, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, t: (x[:2], t[:2]), r"values of shape \(4, m, 2\), got \(2, 3, 2\)"),
        (lambda x, t: (x[..., :1], t), r"values of shape \(4, m, 2\), got \(4, 3, 1\)"),
        (lambda x, t: (x, t.flip(1)), "targets: times must not decrease"),
        (lambda x, t: (x * math.nan, t), "targets: values must be finite"),
        (lambda x, t: (x, t, t), "targets: mask must be bool"),
        (lambda x, _: (x,), r"targets must be \(values, times\) .* length 1"),
    ],
    ids=["few series", "few numbers", "unsorted", "NaN", "mask", "no times"],
)
def test_targets_that_cannot_be_used_are_named(model, series, targets, change, message):
    with pytest.raises(ValueError, match=message):
        negative_elbo(model, *series, noise=0.3, targets=change(*targets))


# --- series that differ, and series that are wrong ------------------------------------


@pytest.fixture
def ragged(series) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four series of 6, 4, 1 and 3 readings, NaN where nothing was read."""
    values, times = series
    mask = torch.tensor(
        [[1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 1, 1], [0, 0, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0]]
    ).bool()
    return values.where(mask[..., None], math.nan), times.where(mask, math.nan), mask


def check_read_as_alone(encoder, ragged):
    values, times, mask = ragged
    together = torch.cat(encoder(values, times, mask), dim=1)
    alone = [
        torch.cat(encoder(v[m][None], t[m][None]), dim=1)
        for v, t, m in zip(values, times, mask)
    ]
    assert torch.allclose(together, torch.cat(alone), rtol=0, atol=100 * EPS)


def test_series_of_different_lengths_are_read_together_as_each_is_alone(model, ragged):
    check_read_as_alone(model.encoder, ragged)


def test_the_bound_of_a_masked_batch_is_that_of_its_readings(model, ragged):
    values, times, mask = ragged
    for module in (
        model.encoder.out,
        model.f.net[-1],
    ):  # no chance, no flow: equal solves
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    model.encoder.out.bias.data[3:] = -100.0  # a standard deviation of e^-50
    together = negative_elbo(model, values, times, noise=0.3, mask=mask)
    alone = [
        negative_elbo(model, v[m][None], t[m][None], noise=0.3) * m.sum()
        for v, t, m in zip(values, times, mask)
    ]
    assert together.item() == pytest.approx(sum(alone).item() / 14, rel=1e-12)
    together.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_what_stands_behind_a_mask_changes_nothing(model, ragged):
    values, times, mask = ragged
    other = values.nan_to_num(1e30), times.nan_to_num(-5.0)
    for first, second in zip(
        model.encoder(values, times, mask), model.encoder(*other, mask)
    ):
        assert torch.equal(first, second)


def test_one_reading_of_one_series_is_enough(model):
    values, times = drawn(1, 1, 2), torch.tensor([[0.7]]).double()
    curve = model.reconstruct(values, times, torch.linspace(0, 2, 5).double())
    assert curve.shape == (1, 5, 2)
    assert curve.isfinite().all()
    assert negative_elbo(model, values, times, noise=0.3).isfinite()
    assert model.decode_at(drawn(1, 3), torch.zeros(1, 1).double()).shape == (1, 1, 2)


def test_repeated_times_are_two_readings_of_one_moment(model, series):
    values, times = series
    times[:, 2] = times[:, 1]
    z0 = drawn(4, 3)
    decoded = model.decode_at(z0, times)
    assert torch.equal(decoded[:, 1], decoded[:, 2])
    assert negative_elbo(model, values, times, noise=0.3).isfinite()


def spoilt(values, times, *, at, value=None, time=None):
    """A copy of a batch with one reading changed."""
    values, times = values.clone(), times.clone()
    if value is not None:
        values[at] = value
    if time is not None:
        times[at] = time
    return values, times


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(at=(2, 3), value=math.nan),
            "values must be finite: mask out .* series 2",
        ),
        (
            dict(at=(0, 5), value=math.inf),
            "values must be finite.* reading 5 of series 0",
        ),
        (
            dict(at=(1, 0), time=math.nan),
            "times must be finite.* reading 0 of series 1",
        ),
        (dict(at=(1, 0), time=-0.5), "times must not be negative: subtract"),
        (dict(at=(3, 4), time=0.0), "times must not decrease: sort .* series 3"),
    ],
    ids=["NaN", "infinite", "NaN time", "negative time", "unsorted"],
)
def test_readings_that_cannot_be_used_are_named(model, series, change, message):
    values, times = spoilt(*series, **change)
    with pytest.raises(ValueError, match=message):
        negative_elbo(model, values, times, noise=0.3)
    with pytest.raises(ValueError, match=message):
        model.reconstruct(values, times, torch.linspace(0, 1, 3).double())
    if change["at"] != (3, 4):  # out of order cannot be masked away by itself alone
        mask = torch.ones(4, 6).bool()
        mask[change["at"]] = False
        assert model.encoder(values, times, mask).mean.isfinite().all()


def test_the_reading_named_is_the_one_given_whatever_is_masked_before_it(series):
    values, times = spoilt(*series, at=(1, 4), value=math.nan)
    mask = torch.ones(4, 6).bool()
    mask[1, :2] = False
    with pytest.raises(ValueError, match=r"reading 4 of series 1 is \(nan") as raised:
        readings(values, times, mask)
    assert str(raised.value).endswith(f"at t = {times[1, 4]:.4g}")


@pytest.mark.parametrize("t", [[], [-0.5, 0.5], [math.nan, 1.0]], ids=str)
def test_a_curve_is_decoded_from_time_zero_on_or_not_at_all(model, t):
    with pytest.raises(ValueError, match="t must start at 0"):
        model.decode(drawn(4, 3), torch.tensor(t).double())


@pytest.mark.parametrize("noise", [0.0, -0.3, math.nan])
def test_the_noise_of_the_likelihood_is_positive(model, series, noise):
    with pytest.raises(ValueError, match="noise must be positive"):
        negative_elbo(model, *series, noise=noise)


def test_an_unsorted_batch_is_sorted_as_its_message_says(model, series):
    values, times = series
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    mixed_values, mixed_times = values[:, order], times[:, order]
    with pytest.raises(ValueError, match="sort each series by time"):
        model.encoder(mixed_values, mixed_times)
    back = mixed_times.argsort(dim=1)
    again = mixed_values.gather(1, back[..., None].expand_as(values))
    found = model.encoder(again, mixed_times.gather(1, back)).mean
    assert torch.equal(found, model.encoder(values, times).mean)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 6), (4, 6)), r"values must have shape \(B, k, D\)"),
        (((4, 6, 2), (4, 5)), r"got \(4, 6, 2\) and \(4, 5\)"),
        (((4, 0, 2), (4, 0)), "at least one series and one reading"),
        (((0, 6, 2), (0, 6)), "at least one series and one reading"),
    ],
    ids=["flat", "unequal", "no reading", "no series"],
)
def test_shapes_that_do_not_fit_are_named(shapes, message):
    with pytest.raises(ValueError, match=message):
        readings(*(torch.zeros(shape) for shape in shapes))


def test_a_mask_is_bool_has_the_shape_of_the_times_and_leaves_a_reading(series):
    values, times = series
    for mask in (torch.ones(4, 6), torch.ones(4, 5).bool()):
        with pytest.raises(ValueError, match=r"mask must be bool of shape \(4, 6\)"):
            readings(values, times, mask)
    mask = torch.ones(4, 6).bool()
    mask[2] = False
    with pytest.raises(ValueError, match="mask leaves series 2 without a reading"):
        readings(values, times, mask)


def test_the_size_of_a_series_is_its_root_mean_square_and_never_zero():
    values = torch.stack((3 * torch.ones(5, 2), torch.zeros(5, 2)))
    assert root_mean_square(values).flatten().tolist() == [3.0, 1.0]
    assert root_mean_square(values * math.nan).isnan().all()  # and hides nothing


# --- a reader whose state flows -------------------------------------------------------


@pytest.fixture
def flowing() -> LatentODE:
    """A small model with an ODE-RNN for its encoder."""
    torch.manual_seed(0)
    encoder = ODERNNEncoder(2, 3, 8, 10)
    return LatentODE(
        latent=3, width=8, encoder=encoder, rtol=1e-10, atol=1e-10
    ).double()


def test_between_readings_the_state_flows_and_at_a_reading_it_jumps(flowing, series):
    """By hand, reading by reading from the last; the flow to the accuracy of one step of
    RK4, whose error falls sixteenfold and more when the gaps are halved.
    """
    encoder, (values, times) = flowing.encoder, series
    off = []
    for shrink in (0.1, 0.05):
        gaps = (shrink * times).diff(dim=1, prepend=torch.zeros(4, 1).double())
        h = torch.zeros(4, 8).double()
        for i in reversed(range(6)):
            h = encoder.cell(values[:, i], h)
            ends = [
                odeint(encoder.f, x, torch.stack((0 * g, g)), rtol=1e-12, atol=1e-12)[
                    -1
                ]
                for x, g in zip(h, gaps[:, i])
            ]
            h = torch.stack(ends)
        found = torch.cat(encoder(values, shrink * times), dim=1)
        off.append((found - encoder.out(h)).abs().max().item())
    assert off[0] < 1e-4
    assert off[1] < off[0] / 16


def test_series_of_different_lengths_flow_together_as_each_does_alone(flowing, ragged):
    check_read_as_alone(flowing.encoder, ragged)
    values, times, mask = ragged
    together = torch.cat(flowing.encoder(values, times, mask), dim=1)
    other = values.nan_to_num(1e30), times.nan_to_num(-5.0)
    again = torch.cat(flowing.encoder(*other, mask), dim=1)
    assert torch.equal(together, again)


def test_readings_of_one_moment_and_readings_at_time_zero_do_not_flow(flowing, series):
    values, times = series[0], torch.zeros(4, 6).double()
    h = torch.zeros(4, 8).double()
    for i in reversed(range(6)):
        h = flowing.encoder.cell(values[:, i], h)
    found = torch.cat(flowing.encoder(values, times), dim=1)
    assert torch.allclose(found, flowing.encoder.out(h), rtol=0, atol=100 * EPS)
    moved = torch.cat(flowing.encoder(values, times + 1.0), dim=1)
    assert ((moved - found).abs().amax(dim=1) > 1e-4).all()


def test_a_model_whose_reader_flows_is_trained_and_refined_as_any_other(
    flowing, series
):
    negative_elbo(flowing, *series, noise=0.3).backward()
    for name, parameter in flowing.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name
    assert refine(flowing, *series, noise=0.3, steps=2).shape == (4, 3)
    curve = flowing.reconstruct(*series, torch.linspace(0, 2, 5).double())
    assert curve.shape == (4, 5, 2)


def test_a_reader_that_flows_refuses_what_any_reader_refuses(flowing, series):
    values, times = series
    with pytest.raises(ValueError, match="times must not decrease"):
        flowing.encoder(values, times.flip(1))


# --- a better z(0) --------------------------------------------------------------------


class Linear:
    """A model whose curves are linear in z(0), and whose encoder knows nothing."""

    def __init__(self, basis: torch.Tensor):
        self.basis = basis  # (k, observed, latent)

    def encoder(self, values, *_):
        zero = values.new_zeros(len(values), self.basis.shape[-1])
        return Posterior(zero, zero)

    def decode_at(self, z0, _):
        return torch.einsum("kdl,bl->bkd", self.basis, z0)


def test_refining_finds_the_ridge_regression_of_a_linear_model():
    """(AᵀA/σ² + 1) z = Aᵀx/σ² where the gradient vanishes, row by row of the batch."""
    basis, values, noise = drawn(6, 2, 3), drawn(4, 6, 2, seed=1), 0.5
    times = torch.arange(6.0).double().expand(4, 6)
    found = refine(Linear(basis), values, times, noise=noise, steps=3000, lr=0.02)
    A, x = basis.flatten(0, 1), values.flatten(1)
    exact = torch.linalg.solve(
        A.T @ A / noise**2 + torch.eye(3).double(), A.T @ x.T / noise**2
    ).T
    assert not found.requires_grad
    assert torch.allclose(found, exact, rtol=0, atol=1e-6)


def test_refining_goes_downhill_from_the_posterior_mean_and_moves_no_weight(
    model, series
):
    values, times = series
    weights = [p.clone() for p in model.parameters()]

    def objective(z0):
        misfit = ((model.decode_at(z0, times) - values) / 0.3).square().sum()
        return 0.5 * (misfit + z0.square().sum())

    with torch.no_grad():  # it brings its own gradients
        start = model.encoder(values, times).mean
        none, some, more = (
            refine(model, values, times, noise=0.3, steps=n) for n in (0, 5, 20)
        )
        assert torch.equal(none, start)
        assert objective(more) < objective(some) < objective(start)
    for before, p in zip(weights, model.parameters()):
        assert torch.equal(before, p)
        assert p.grad is None


def test_refining_does_not_look_behind_a_mask(model, ragged):
    values, times, mask = ragged
    other = values.nan_to_num(1e30), times.nan_to_num(-5.0)
    found = refine(model, values, times, noise=0.3, mask=mask, steps=5)
    assert found.isfinite().all()
    assert torch.equal(found, refine(model, *other, noise=0.3, mask=mask, steps=5))


@pytest.mark.parametrize("noise", [0.0, -0.3, math.nan])
def test_refining_believes_in_some_noise(model, series, noise):
    with pytest.raises(ValueError, match="noise must be positive"):
        refine(model, *series, noise=noise)


# --- the rival ------------------------------------------------------------------------


def test_the_rival_takes_one_step_of_its_gru_to_each_time(series):
    torch.manual_seed(0)
    rival, (_, times) = LatentRNN(2, 3, 8, 5).double(), series
    z0 = drawn(4, 3)
    state = rival.lift(z0)[None]
    for i in range(6):
        gap = times[:, i] - (times[:, i - 1] if i else 0.0)
        found, state = rival.gru(gap[:, None, None], state)
        exact = rival.out(found)[:, 0]
        assert torch.allclose(
            rival.decode_at(z0, times)[:, i], exact, rtol=0, atol=100 * EPS
        )


def test_the_answers_of_the_rival_depend_on_what_else_is_asked_and_those_of_a_flow_do_not(
    model,
):
    torch.manual_seed(0)
    rival, z0 = LatentRNN(2, 3, 8, 5).double(), drawn(1, 3)
    few, many = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 1.0, 1.5, 2.0]])
    apart = {
        asked: (
            asked.decode_at(z0, few.double())
            - asked.decode_at(z0, many.double())[:, 1::2]
        )
        for asked in (rival, model)
    }
    assert apart[rival].abs().max() > 1e-3
    assert apart[model].abs().max() < 1e-8


def test_the_rival_is_trained_by_the_same_bound(series):
    torch.manual_seed(0)
    rival = LatentRNN(2, 3, 8, 5).double()
    negative_elbo(rival, *series, noise=0.3).backward()
    for name, parameter in rival.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_a_solver_that_returns_no_states_is_refused():
    model = LatentODE(latent=2, hidden=4, width=4, odeint=solve)
    with pytest.raises(TypeError, match="as a Tensor, got a Solution"):
        model.decode(torch.zeros(1, 2), torch.tensor([0.0, 1.0]))

"""The latent ODE: its divergence, its encoder's sense of time, its decoder and its
bound.
"""

from __future__ import annotations

import math

import pytest
import torch
from problems import EPS
from torch.distributions import Normal, kl_divergence

from course_lib.latent import BackwardEncoder, LatentODE, Posterior, negative_elbo
from course_lib.solvers import odeint


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

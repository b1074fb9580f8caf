"""Forecasts of irregular series: the task, lines shrunk to a population, the GRU with
decay, the flow, and the training that keeps the best weights.
"""

from __future__ import annotations

import math

import pytest
import torch
from problems import EPS
from torch import nn
from torch.distributions import MultivariateNormal

from course_lib import data, forecasting
from course_lib.latent import LatentODE, Readings


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=data.generator(seed), dtype=torch.float64)


@pytest.fixture
def series() -> Readings:
    """Five series of two columns, with 2, 3, 4, 5 and 6 readings."""
    seen = torch.arange(6) < torch.arange(2, 7)[:, None]
    times = drawn(5, 6, seed=1).abs().cumsum(dim=1)
    times = (times - times[:, :1]).where(seen, 0.0)
    return Readings(drawn(5, 6, 2).where(seen[..., None], 0.0), times, seen)


def beyond(series: Readings, read: torch.Tensor) -> Readings:
    """The same readings, with others after those of `read`."""
    values = series.values.where(read[..., None], series.values + 7.0)
    return series._replace(values=values)


# --- task -----------------------------------------------------------------------------


def test_the_first_half_and_the_rest_are_all_readings_once(series):
    read, later = forecasting.halves(series.seen)
    assert torch.equal(read | later, series.seen)
    assert not (read & later).any()
    assert read.sum(dim=1).tolist() == [1, 2, 2, 3, 3]
    assert later.sum(dim=1).tolist() == [1, 1, 2, 2, 3]


def test_a_random_cut_leaves_a_reading_on_either_side_and_is_even(series):
    torch.manual_seed(0)
    n = 10_000
    seen = series.seen[3:4].expand(n, -1)  # five readings: one to four are read
    cut = forecasting.random_cut(seen)
    assert not (cut.int().diff(dim=1) > 0).any()
    shares = cut.sum(dim=1).bincount(minlength=6) / n
    assert not shares[[0, 5]].any()
    # Five standard errors of a share of a quarter.
    assert (shares[1:5] - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / n)


@pytest.mark.parametrize("total", [2, 3, 5, 9, 17, 33])
def test_the_largest_number_that_can_be_drawn_leaves_a_reading_to_forecast(
    monkeypatch, total
):
    monkeypatch.setattr(
        torch, "rand", lambda *shape, **_: torch.full(shape, 1 - 2**-24)
    )
    cut = forecasting.random_cut(torch.ones(1, total, dtype=torch.bool))
    assert cut.sum() == total - 1


def test_every_series_is_tested_in_one_fold_and_never_trained_on_there():
    splits = [forecasting.split(285, fold) for fold in range(5)]
    assert torch.cat([s.test for s in splits]).sort().values.tolist() == list(
        range(285)
    )
    for each in splits:
        assert torch.cat(each).sort().values.tolist() == list(range(285))
        assert [len(part) for part in each] == [183, 45, 57]
    with pytest.raises(ValueError, match="fold must lie between 0 and 4, got 5"):
        forecasting.split(285, 5)


def test_standardised_columns_have_mean_zero_and_deviation_one_for_the_known_rows():
    visits, rows = data.visits(), torch.arange(0, 312, 3)
    found, mean, deviation = forecasting.standardised(visits, rows)
    known = found.values[rows][visits.seen[rows]]
    assert torch.allclose(known.mean(dim=0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(known.std(dim=0), torch.ones(3))
    back = (found.values * deviation + mean)[visits.seen]
    assert torch.allclose(back, visits.values[visits.seen], rtol=1e-5)
    assert not found.values[~visits.seen].any()


def test_the_error_of_a_series_is_over_its_later_readings_only(series):
    _, later = forecasting.halves(series.seen)
    off = torch.where(later, 0.5, 100.0)[..., None] * torch.tensor([1.0, -2.0])
    found = forecasting.errors_of_series(series.values + off, series.values, later)
    assert torch.allclose(found, torch.tensor([[0.25, 1.0]]).double().expand(5, 2))


def test_the_last_value_is_carried_forward(series):
    read, _ = forecasting.halves(series.seen)
    found = forecasting.carry_forward(series, read)
    for i, last in enumerate([0, 1, 1, 2, 2]):
        assert torch.equal(found[i], series.values[i, last].expand(6, 2))


def test_what_is_carried_forward_must_have_been_read_first(series):
    nothing = torch.zeros_like(series.seen)
    gap = nothing.clone()
    gap[:, [0, 2]] = True
    for read in (nothing, gap):
        with pytest.raises(ValueError, match="read must mark the first readings"):
            forecasting.carry_forward(series, read)


# --- lines ----------------------------------------------------------------------------


def likelihood(lines: forecasting.Lines, series: Readings) -> torch.Tensor:
    """log p(series) summed over them, by the Gaussian of each series' own readings."""
    total = torch.zeros(()).double()
    for values, times, seen in zip(*series):
        t = times[seen]
        design = torch.kron(
            torch.eye(values.shape[-1]).double(),
            torch.stack((torch.ones_like(t), t), dim=1),
        )
        noise = torch.kron(lines.noise, torch.eye(len(t)).double())
        covariance = design @ lines.covariance @ design.T + noise
        gaussian = MultivariateNormal(design @ lines.mean, covariance)
        total = total + gaussian.log_prob(values[seen].T.flatten())
    return total


@pytest.fixture(scope="module")
def population() -> tuple[forecasting.Lines, Readings]:
    """Lines of two columns drawn from a known population, three to eight readings each."""
    root = 0.5 * torch.eye(4).double() + 0.2 * drawn(4, 4, seed=3)
    noise = torch.tensor([[0.3, 0.1], [0.1, 0.2]]).double()
    truth = forecasting.Lines(drawn(4, seed=4), root @ root.T, noise)
    n, k = 400, 8
    seen = torch.arange(k) < 3 + torch.arange(n)[:, None] % 6
    times = 2 * torch.rand(n, k, generator=data.generator(5)).double().sort(dim=1)[0]
    each = (truth.mean + drawn(n, 4, seed=6) @ root.T).view(n, 2, 2)
    clean = each[:, None, :, 0] + times[..., None] * each[:, None, :, 1]
    values = clean + drawn(n, k, 2, seed=7) @ torch.linalg.cholesky(noise).T
    return truth, Readings(values.where(seen[..., None], 0.0), times, seen)


def test_the_fitted_population_is_a_stationary_point_of_the_likelihood(population):
    truth, series = population
    few = Readings(*(part[:60] for part in series))
    fitted = forecasting.Lines(
        *(part.clone().requires_grad_() for part in forecasting.fit_lines(few))
    )
    total = likelihood(fitted, few)
    slopes = torch.autograd.grad(total, fitted)
    # What a parameter may still gain, were it off by its own size.
    gain = max((g * p).abs().max().item() for g, p in zip(slopes, fitted))
    assert gain < 1e-3
    assert total > likelihood(truth, few)


def test_the_fitted_population_is_the_one_the_lines_were_drawn_from(population):
    truth, series = population
    fitted = forecasting.fit_lines(series)
    # A mean of 400 lines is known to 1/20 of their spread, a variance to about 1/14.
    spread = truth.covariance.diagonal().sqrt()
    assert ((fitted.mean - truth.mean).abs() < 5 * 1.5 * spread / 20).all()
    sizes = spread[:, None] * spread
    assert ((fitted.covariance - truth.covariance).abs() < 5 * 1.5 * sizes / 14).all()
    assert (fitted.noise - truth.noise).abs().max() < 5 * 0.3 / math.sqrt(900)


def test_a_line_given_its_readings_is_the_conditional_mean_of_the_joint_gaussian(
    population,
):
    lines, series = population
    one = Readings(*(part[:1] for part in series))  # three readings
    read = one.seen & (torch.arange(8) < 2)
    found, _ = lines.posterior(one, read)
    t = one.times[0, :2]
    design = torch.kron(
        torch.eye(2).double(), torch.stack((torch.ones_like(t), t), dim=1)
    )
    noise = torch.kron(lines.noise, torch.eye(2).double())
    cross = lines.covariance @ design.T
    surprise = one.values[0, :2].T.flatten() - design @ lines.mean
    by_hand = lines.mean + cross @ torch.linalg.solve(design @ cross + noise, surprise)
    assert torch.allclose(found[0], by_hand, rtol=1e-9, atol=1e-9)


def test_one_column_of_lines_that_share_nothing_is_forecast_as_alone(population):
    truth, series = population
    apart = torch.block_diag(truth.covariance[:2, :2], truth.covariance[2:, 2:])
    both = forecasting.Lines(truth.mean, apart, truth.noise.diagonal().diag())
    first = forecasting.Lines(truth.mean[:2], apart[:2, :2], both.noise[:1, :1])
    read, _ = forecasting.halves(series.seen)
    alone = series._replace(values=series.values[..., :1])
    assert torch.allclose(
        both.forecast(series, read)[..., :1], first.forecast(alone, read), atol=1e-12
    )


def test_without_noise_a_line_goes_through_its_reading_and_with_much_it_stays(
    population,
):
    truth, series = population
    read = series.seen & (torch.arange(8) < 1)
    sure = truth._replace(noise=1e-10 * truth.noise).forecast(series, read)
    assert torch.allclose(sure[read], series.values[read], atol=1e-5)
    unsure = truth._replace(noise=1e10 * truth.noise).forecast(series, read)
    mean = truth.mean.view(2, 2)
    assert torch.allclose(
        unsure, mean[:, 0] + series.times[..., None] * mean[:, 1], atol=1e-6
    )


# --- networks -------------------------------------------------------------------------


@pytest.fixture
def jumper() -> forecasting.DecayGRU:
    torch.manual_seed(0)
    return forecasting.DecayGRU(observed=2, hidden=7).double()


@pytest.fixture
def flow() -> LatentODE:
    torch.manual_seed(0)
    return LatentODE(observed=2, latent=3, hidden=8, width=8).double()


def test_no_forecast_looks_at_what_is_not_read(series, jumper, flow, population):
    read, later = forecasting.halves(series.seen)
    other = beyond(series, read)
    for forecast in (
        forecasting.carry_forward,
        population[0].forecast,
        jumper.forecast,
        lambda *of: forecasting.decode_forecast(flow, *of),
    ):
        first, second = forecast(series, read), forecast(other, read)
        assert first.shape == series.values.shape
        assert torch.equal(first[later], second[later])


def test_the_state_of_the_gru_decays_between_readings_and_steps_at_each(series, jumper):
    with torch.no_grad():
        jumper.rate.bias.fill_(0.1)
        found = jumper.read(series)
        for i, n in enumerate([2, 3, 4, 5, 6]):
            state, last = torch.zeros(1, 7).double(), series.times[i, 0]
            for value, time in zip(series.values[i, :n], series.times[i, :n]):
                gap = (time - last).view(1, 1)
                rate = (gap @ jumper.rate.weight.T + jumper.rate.bias).clamp(min=0)
                inputs = torch.cat((value[None], gap), dim=1)
                state, last = jumper.cell(inputs, state * (-rate).exp()), time
            assert torch.allclose(found[i], state[0], rtol=0, atol=100 * EPS)


def test_after_a_long_gap_the_gru_knows_the_gap_alone(series, jumper):
    with torch.no_grad():
        jumper.rate.weight.fill_(1.0)
        state = drawn(1, 7)
        assert not jumper.decayed(state, torch.tensor([[1e3]]).double()).any()
        jumper.out[-1].weight.zero_()
        jumper.out[-1].bias.zero_()
        read = series.seen & (torch.arange(6) < 1)
        series.times[:, 1:] += 1e4
        later = series.seen & ~read
        assert jumper.forecast(series, read)[later].abs().max() < 1e-9


def test_a_forecast_of_the_gru_at_one_time_does_not_depend_on_the_others(
    series, jumper
):
    read, _ = forecasting.halves(series.seen)
    whole = jumper.forecast(series, read)
    fewer = Readings(*(part[:, [0, 1, 2, 5]] for part in series))
    read_fewer = read[:, [0, 1, 2, 5]]
    assert torch.equal(whole[4, 5], jumper.forecast(fewer, read_fewer)[4, 3])


def test_the_losses_reach_every_parameter_with_a_finite_gradient(series, jumper, flow):
    torch.manual_seed(0)
    losses = {
        jumper: forecasting.jump_loss(jumper, series),
        flow: forecasting.flow_loss(flow, series, noise=0.5, kl_weight=1.0),
    }
    for model, loss in losses.items():
        loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_the_loss_of_a_flow_is_minus_the_bound_of_all_readings(series, flow):
    """With a posterior that is sure, the sample is the mean, and the sum is by hand."""
    with torch.no_grad():
        flow.encoder.out.weight[3:].zero_()
        flow.encoder.out.bias[3:].fill_(-60.0)
        torch.manual_seed(0)
        read = forecasting.random_cut(series.seen)
        torch.manual_seed(0)
        found = forecasting.flow_loss(flow, series, noise=0.5, kl_weight=0.1)
        wrong = forecasting.decode_forecast(flow, series, read) - series.values
        kl = flow.encoder(series.values, series.times, read).kl().sum()
        by_hand = 0.5 * (wrong[series.seen] / 0.5).square().sum() + 0.1 * kl
        assert found.item() == pytest.approx(by_hand.item() / 20, rel=1e-9)


# --- training -------------------------------------------------------------------------


class Constant(nn.Module):
    """Forecasts one number."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(3.0).double())

    def forecast(self, series: Readings, _: torch.Tensor) -> torch.Tensor:
        return self.level.expand_as(series.values)


def test_the_weights_that_are_kept_are_those_of_the_best_look(series):
    """The loss pulls the number from 3 to -3, past the best, which is near 0."""
    model, shares = Constant(), []

    def loss(of: Readings, done: float) -> torch.Tensor:
        assert torch.equal(of.values, series.values)
        shares.append(done)
        return (model.level + 3).square()

    history, best = forecasting.fit_best(
        model, loss, model.forecast, series, series, lr=0.2, steps=100
    )
    assert shares == [i / 100 for i in range(100)]
    assert len(history.epochs) == 20 and len(history.losses) == 100
    read, later = forecasting.halves(series.seen)
    wrong = forecasting.errors_of_series(
        model.forecast(series, read), series.values, later
    )
    assert wrong.mean().sqrt().item() == min(history.epochs) < history.epochs[-1]
    assert history.epochs[best // 5 - 1] == min(history.epochs)
    assert best % 5 == 0


def test_of_equally_good_looks_the_first_is_kept(series):
    model = Constant()

    def nothing(of: Readings) -> torch.Tensor:
        return 0 * model.level.detach().expand_as(of.values)

    _, best = forecasting.fit_best(
        model,
        lambda of, done: (model.level + 3).square(),
        lambda of, _: nothing(of),
        series,
        series,
        lr=0.2,
        steps=20,
    )
    other = Constant()
    forecasting.fit_best(
        other,
        lambda of, done: (other.level + 3).square() * (done < 0.25),
        lambda of, _: nothing(of),
        series,
        series,
        lr=0.2,
        steps=20,
    )
    assert best == 5
    assert model.level.item() == other.level.item()


@pytest.mark.parametrize("steps", [0, 4, 5, 14])
def test_steps_that_would_not_be_made_are_refused(series, steps):
    model = Constant()
    with pytest.raises(
        ValueError, match=f"a multiple of five from ten on, got {steps}"
    ):
        forecasting.fit_best(
            model, pytest.fail, model.forecast, series, series, lr=0.2, steps=steps
        )


def test_a_held_out_error_that_is_no_number_is_not_the_best(series):
    model, looks = Constant(), []

    def forecast(of: Readings, _) -> torch.Tensor:
        looks.append(len(looks))
        return of.values * (float("nan") if len(looks) == 1 else 1.0)

    with pytest.raises(FloatingPointError, match="NaN after 5 steps"):
        forecasting.fit_best(
            model,
            lambda of, done: (model.level + 3).square(),
            forecast,
            series,
            series,
            lr=0.2,
            steps=10,
        )


def test_a_series_of_one_reading_cannot_tell_which_weights_are_best(series):
    model = Constant()
    first = torch.arange(series.seen.shape[1]) < 1
    alone = series._replace(seen=series.seen & first)
    with pytest.raises(ValueError, match="two or more readings"):
        forecasting.fit_best(
            model, pytest.fail, model.forecast, series, alone, lr=0.2, steps=10
        )

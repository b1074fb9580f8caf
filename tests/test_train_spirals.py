"""The long trainings of the latent ODEs: how they are scored and what they read."""

import pytest
import torch
from torch import nn

from course_lib import data, latent
from course_lib.measuring import count_parameters
from tools import train_spirals


class Knowing(nn.Module):
    """A rival that knows every curve, is off by `gap`, and notes what it is asked."""

    def __init__(self, series: data.Spirals, gap: float):
        super().__init__()
        self.series, self.gap, self.asked = series, gap, []
        self.encoder = lambda values, _: latent.Posterior(values[:, 0], values)

    def decode_at(self, _, times):
        index = torch.searchsorted(self.series.t, times.contiguous())
        self.asked.append(index)
        truth = self.series.clean.gather(1, index[..., None].expand(-1, -1, 2))
        return truth + self.gap


@pytest.mark.parametrize("k", [10, 30, 100])
def test_a_rival_is_asked_for_every_moment_once_and_in_groups_it_can_bear(k):
    series = data.diverse_spirals(7, observations=100, seed=0)
    knowing = Knowing(series, 0.25)
    found = train_spirals.spiral_errors(knowing, series, k, scaled=False)
    assert found.pop("unseen") == (None if k == 100 else pytest.approx(0.25, rel=1e-4))
    assert list(found.values()) == pytest.approx([0.25] * 3, rel=1e-4)
    for index in knowing.asked:
        assert (index.diff(dim=1) > 0).all()
        assert (index < series.span).sum(dim=1).max() <= k
    index = data.thin(series.index, series.values, k, seed=0)[0]
    assert torch.equal(knowing.asked[-1], index)


def test_errors_are_those_of_the_parts_they_are_named_after():
    series = data.two_armed_spirals(5, observations=100, seed=0)
    torch.manual_seed(0)
    model = latent.LatentODE(latent=3, hidden=8, width=8)
    found = train_spirals.spiral_errors(model, series, 40, scaled=True)
    index, values = data.thin(series.index, series.values, 40, seed=0)
    scale = values.square().mean(dim=(1, 2), keepdim=True).sqrt()
    with torch.no_grad():
        curves = scale * model.reconstruct(values / scale, series.t[index], series.t)
    squares = (curves - series.clean).square().mean(dim=-1)
    seen = [squares[i, index[i]] for i in range(5)]
    assert found["seen"] == pytest.approx(torch.stack(seen).mean().sqrt().item())
    assert found["span"] == pytest.approx(squares[:, :200].mean().sqrt().item())
    assert found["after"] == pytest.approx(squares[:, 200:].mean().sqrt().item())
    parts = 40 * found["seen"] ** 2 + 160 * found["unseen"] ** 2
    assert parts == pytest.approx(200 * found["span"] ** 2)


def test_new_ground_is_what_no_training_span_reaches():
    """Windows start at most at point 700 of an arm, so no span goes past point 899."""
    known = data.two_armed_spirals(8000, seed=0)
    test = data.two_armed_spirals(500, seed=1)
    new = train_spirals.new_ground(test, known)
    assert not new[:, : test.span].any()
    arms = {arm: known.clean[known.clockwise == arm] for arm in (False, True)}
    for arm, windows in arms.items():
        ends = windows[:, known.span - 1]
        reached = max((ends - torch.tensor([5.0 - 10 * arm, 0.0])).norm(dim=1))
        curves = test.clean[test.clockwise == arm]
        radius = (curves - torch.tensor([5.0 - 10 * arm, 0.0])).norm(dim=-1)
        assert torch.equal(radius > reached + 1e-5, new[test.clockwise == arm])


def test_the_error_after_the_span_is_that_on_known_and_on_new_ground():
    known = data.two_armed_spirals(300, observations=100, seed=0)
    test = data.two_armed_spirals(200, observations=100, seed=1)
    torch.manual_seed(0)
    model = latent.LatentODE(latent=3, hidden=8, width=8)
    found = train_spirals.by_ground(model, test, known, scaled=False)
    share = found["new_share"]
    assert 0 < share < 0.5
    assert 0 < found["same_curves"] < 200
    for k in train_spirals.COUNTS:
        after = train_spirals.spiral_errors(model, test, k, scaled=False)["after"]
        on = found["ground"][str(k)]
        parts = (1 - share) * on["known"] ** 2 + share * on["new"] ** 2
        assert parts == pytest.approx(after**2, rel=1e-5)


def test_the_errors_of_all_series_make_the_error_after_the_half():
    test = data.diverse_spirals(40, observations=100, seed=1)
    torch.manual_seed(0)
    model = latent.LatentODE(latent=3, hidden=8, width=8)
    each = train_spirals.each_after(model, test, test, scaled=True)["after_each"]
    after = train_spirals.spiral_errors(model, test, 50, scaled=True)["after"]
    assert len(each) == 40
    assert sum(x**2 for x in each) / 40 == pytest.approx(after**2, rel=1e-3)


@pytest.mark.parametrize("kind", train_spirals.RECIPES)
def test_the_rival_has_as_many_parameters_within_two_percent(kind):
    recipe = train_spirals.RECIPES[kind]
    ode, rnn = (
        count_parameters(train_spirals.build(recipe, m)) for m in ("ode", "rnn")
    )
    assert rnn == pytest.approx(ode, rel=0.02)
    assert rnn >= ode


def test_a_growing_training_reads_the_early_part_of_each_series_first():
    recipe, read = train_spirals.RECIPES["diverse"], []

    class Listening(nn.Module):
        def encoder(self, values, times, _):
            read.append((times.max().item(), times.shape[1], values))
            return latent.Posterior(torch.zeros(4, 1), torch.zeros(4, 1))

        def decode_at(self, _, times):
            return torch.zeros(*times.shape, 2)

    series = data.diverse_spirals(4, observations=100)
    torch.manual_seed(0)
    loss = train_spirals.loss_of(Listening(), recipe, total=100)
    for _ in range(100):
        assert loss(series.values, series.times()).isfinite()
    latest, counts, values = zip(*read)
    assert max(latest[:5]) < series.t[25]
    assert max(counts[:5]) <= 25
    assert max(latest[60:]) > series.t[95]
    assert min(counts[60:]) >= 20
    sizes = latent.root_mean_square(values[-1])
    assert torch.allclose(sizes, torch.ones(4, 1, 1))

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

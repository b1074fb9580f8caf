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
def test_the_rivals_have_as_many_parameters_within_two_percent(kind):
    recipe = train_spirals.RECIPES[kind]
    ode, *rivals = (
        count_parameters(train_spirals.build(recipe, m)) for m in train_spirals.MODELS
    )
    for rival in rivals:
        assert rival == pytest.approx(ode, rel=0.02)
        assert rival >= ode


class Listening(nn.Module):
    """A model that notes what its encoder reads and for which times it is asked."""

    def __init__(self):
        super().__init__()
        self.read, self.asked = [], []

    def encoder(self, values, times, _):
        self.read.append((values, times))
        return latent.Posterior(torch.zeros(4, 1), torch.zeros(4, 1))

    def decode_at(self, _, times):
        self.asked.append(times)
        return torch.zeros(*times.shape, 2)


def heard(kind: str, steps: int = 100) -> tuple[data.Spirals, Listening]:
    """Four series, and what a model hears of them in a training of so many steps."""
    recipe, model = train_spirals.RECIPES[kind], Listening()
    series = recipe.draw(4, observations=100, noise=recipe.noise)
    known = train_spirals.training_readings(series, recipe, seed=0)
    torch.manual_seed(0)
    loss = train_spirals.loss_of(model, recipe, total=steps)
    for _ in range(steps):
        assert loss(*known).isfinite()
    return series, model


def test_a_growing_training_reads_the_early_part_of_each_series_first():
    series, model = heard("diverse")
    latest = [times.max().item() for _, times in model.read]
    counts = [times.shape[1] for _, times in model.read]
    assert max(latest[:5]) < series.t[25]
    assert max(counts[:5]) <= 25
    assert max(latest[60:]) > series.t[95]
    assert min(counts[60:]) >= 20
    sizes = latent.root_mean_square(model.read[-1][0])
    assert torch.allclose(sizes, torch.ones(4, 1, 1))
    assert all(map(torch.equal, (times for _, times in model.read), model.asked))


@pytest.mark.parametrize("kind", ["two-armed, late", "diverse, late"])
def test_late_targets_lie_after_all_that_is_read_and_are_half_as_many(kind):
    series, model = heard(kind)
    border = series.t[series.span]
    for (_, read), asked in zip(model.read, model.asked):
        k = read.shape[1]
        assert torch.equal(asked[:, :k], read)
        assert read.max() < border
        assert (asked[:, k:] > read.max(dim=1, keepdim=True).values).all()
        assert asked.shape[1] - k == max(1, k // 2)
    assert max(asked.max() for asked in model.asked) > series.t[-10]


def test_every_second_batch_reads_a_stretch_of_random_length_to_the_end():
    series, model = heard("diverse, late", steps=400)
    latest = [times.max() / series.t[series.span] for _, times in model.read[200:]]
    assert min(latest[0::2]) > 0.9  # at least 20 readings of the whole half
    short = torch.stack(latest[1::2])
    assert (short < 0.6).float().mean() > 0.3
    assert short.min() < 0.3
    assert short.max() > 0.9


def test_late_readings_are_the_curve_after_the_span_with_the_noise_of_the_others():
    recipe = train_spirals.RECIPES["two-armed, late"]
    series = recipe.draw(200, observations=100, noise=recipe.noise, seed=0)
    values, times = train_spirals.training_readings(series, recipe, seed=0)
    assert torch.equal(values[:, :100], series.values)
    assert torch.equal(times[:, :100], series.times())
    late = torch.searchsorted(series.t, times[:, 100:].contiguous())
    assert late.shape == (200, 50)
    assert (late.diff(dim=1) > 0).all()
    assert late.min() >= series.span
    exact = series.clean.gather(1, late[..., None].expand(-1, -1, 2))
    noise = values[:, 100:] - exact
    # Five standard errors of the deviation of 20,000 numbers: 5 / sqrt(40,000).
    assert noise.std().item() == pytest.approx(0.2, rel=0.025)


def test_on_random_grids_the_decoder_is_asked_for_gaps_of_every_length():
    """Also for runs as fine as the grid, and never for one moment twice."""
    series, model = heard("two-armed, random grids", steps=200)
    counts = []
    for (_, read), asked in zip(model.read, model.asked):
        places = torch.searchsorted(series.t, asked.contiguous())
        assert places.max() < series.span
        assert (places.diff(dim=1) > 0).all()
        assert torch.isin(read, asked).all()
        assert 1 <= read.shape[1] <= 100
        counts.append(asked.shape[1])
    assert min(counts) < 30
    assert max(counts) > 190


def test_a_stretch_is_scored_on_what_is_read_on_the_rest_and_after():
    series = data.two_armed_spirals(5, observations=100, seed=0)
    torch.manual_seed(0)
    model = latent.LatentODE(latent=3, hidden=8, width=8)
    found = train_spirals.stretch_errors(model, series, 0.25, noise=0.2, scaled=False)
    few = series.read_anew(50, noise=0.2, share=0.25, seed=1)
    with torch.no_grad():
        curves = model.reconstruct(few.values, few.times(), series.t)
    squares = (curves - series.clean).square().mean(-1)
    assert found["read"] == pytest.approx(squares[:, :50].mean().sqrt().item())
    assert found["rest"] == pytest.approx(squares[:, 50:200].mean().sqrt().item())
    assert found["after"] == pytest.approx(squares[:, 200:].mean().sqrt().item())


def test_a_rival_asked_for_the_whole_grid_is_scored_on_its_answers_there():
    series = data.two_armed_spirals(6, observations=100, seed=0)
    found = train_spirals.grid_errors(Knowing(series, 0.5), series, 30, scaled=False)
    assert list(found.values()) == pytest.approx([0.5, 0.5], rel=1e-4)


def test_the_relative_error_divides_that_of_each_series_by_its_size():
    series = data.diverse_spirals(6, observations=100, seed=0)
    torch.manual_seed(0)
    model = latent.LatentODE(latent=3, hidden=8, width=8)
    curves, _ = train_spirals.curves_from(model, series, 50, scaled=True)
    size = series.values.square().mean(dim=(1, 2), keepdim=True).sqrt()
    relative = ((curves - series.clean) / size)[:, series.span :]
    exact = relative.square().mean().sqrt().item()
    assert train_spirals.relative_after(model, series) == pytest.approx(exact, rel=1e-3)

"""What is counted, how much is kept, and on which machine."""

from __future__ import annotations

import copy
import platform
from pathlib import Path

import pytest
import torch
from torch import nn

from course_lib import measuring, models
from course_lib.data import generator
from course_lib.solvers import odeint_adjoint, solve

# --- calls ----------------------------------------------------------------------------


def test_a_counted_field_answers_as_the_field_and_counts_what_a_solver_counts():
    torch.manual_seed(0)
    f, y0 = models.MLPDynamics(2, (8,), time=True), torch.randn(3, 2)
    counted = measuring.Counted(f)
    found, alone = solve(counted, y0, [0.0, 1.0]), solve(f, y0, [0.0, 1.0])
    assert torch.equal(found.ys, alone.ys)
    assert counted.calls == found.nfe > 0


def test_a_counted_field_counts_there_and_back_and_hands_gradients_to_its_field():
    torch.manual_seed(0)
    counted = measuring.Counted(models.MLPDynamics(2, (8,)))
    settings = dict(method="rk4", step_size=0.5)
    end = odeint_adjoint(counted, torch.ones(2), [0.0, 1.0], **settings)[-1]
    assert counted.reset() == 9  # two steps of four, and f at the end to compare with
    assert counted.calls == 0
    end.sum().backward()
    assert counted.reset() >= 8
    assert all(p.grad is not None for p in counted.f.parameters())


def test_a_counted_field_may_be_a_function_and_its_copy_counts_for_itself():
    counted = measuring.Counted(lambda t, y: -y)
    counted(0.0, torch.ones(1))
    other = copy.deepcopy(counted)
    other(0.0, torch.ones(1))
    assert (counted.calls, other.calls) == (1, 2)
    assert list(counted.parameters()) == []


def test_calls_are_counted_while_asked_for_and_only_of_the_fields_named():
    fields = [models.MLPDynamics(2, (4,)) for _ in range(3)]
    net, y, names = (
        models.ResNet(fields),
        torch.zeros(1, 2),
        list(fields[0].state_dict()),
    )
    with measuring.counted_calls(*fields[:2]) as tally:
        net(y)
        assert tally.calls == 2
        net(y)
        assert tally.reset() == 4
        net(y)
    net(y)
    assert tally.calls == 2
    assert list(fields[0].state_dict()) == names


def test_counting_ends_when_the_counted_fails():
    f = models.MLPDynamics(2, (4,))
    with pytest.raises(RuntimeError), measuring.counted_calls(f) as tally:
        f(torch.tensor(0.0), torch.zeros(3))
    f(torch.tensor(0.0), torch.zeros(2))
    assert tally.calls == 1


def test_counts_are_averaged_over_stretches():
    assert measuring.thinned([1, 3, 5, 7, 9], every=2) == [2.0, 6.0]
    assert measuring.thinned([1, 1, 2], every=3) == [1.33]
    assert measuring.thinned([0, 0, 0, 0], every=2) == []


# --- size, memory, time ---------------------------------------------------------------


def test_frozen_parameters_do_not_count():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    net[0].requires_grad_(False)
    assert measuring.count_parameters(net) == 4 * 2 + 2


def test_bytes_saved_counts_what_autograd_keeps_and_each_storage_once():
    x = torch.ones(1000, requires_grad=True)
    assert measuring.bytes_saved(lambda: x.sin()) == 4000  # the input
    assert measuring.bytes_saved(lambda: (x * x).sum()) == 4000  # kept twice
    assert measuring.bytes_saved(lambda: (x.exp() * x).sum()) == 8000  # exp(x) and x
    assert measuring.bytes_saved(lambda: x.detach().sin()) == 0


def test_seconds_are_those_of_the_computation(monkeypatch):
    clock = iter((10.0, 12.5))
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: next(clock))
    done = []
    assert measuring.seconds(lambda: done.append(1)) == 2.5
    assert done == [1]


# --- how good, and where --------------------------------------------------------------


def test_a_relative_error_is_that_of_all_entries_together():
    truth = torch.tensor([[3.0, 0.0], [0.0, 4.0]], requires_grad=True)
    x = truth.detach() + torch.tensor([[0.0, 0.3], [-0.4, 0.0]])
    assert measuring.relative_error(x, truth) == pytest.approx(0.1)
    tiny = truth.double() * (1 + 1e-12)
    assert measuring.relative_error(tiny, truth.double()) == pytest.approx(
        1e-12, rel=1e-3
    )


def test_a_relative_error_is_not_that_of_every_pair():
    with pytest.raises(ValueError, match=r"shape of truth, \(4,\); got \(4, 1\)"):
        measuring.relative_error(torch.ones(4, 1), torch.ones(4))
    assert measuring.relative_error(torch.tensor(0.0), torch.ones(4)) == 1


def test_tensors_of_any_shape_become_one_vector_in_their_order():
    parts = torch.tensor(1.0), torch.tensor([[2.0, 3.0], [4.0, 5.0]]).T
    assert measuring.flat(parts).tolist() == [1, 2, 4, 3, 5]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_accuracy_is_the_share_of_right_answers_however_it_is_split(size):
    answers, labels = torch.tensor([0, 1, 2, 2, 1]), torch.tensor([0, 1, 1, 2, 0])
    model = nn.Dropout(0.9)  # what is not switched off would ruin the logits
    assert (
        measuring.accuracy(
            model, nn.functional.one_hot(answers, 3).float(), labels, size=size
        )
        == 3 / 5
    )


def test_accuracy_asks_for_a_label_for_each_image_and_for_numbers():
    images = torch.zeros(4, 3)
    for labels, said in ((torch.zeros(2), "got 2 for 4"), (images[:0], "got 0 for 4")):
        with pytest.raises(ValueError, match=said):
            measuring.accuracy(nn.Identity(), images, labels)
    with pytest.raises(FloatingPointError, match="a logit is NaN"):
        measuring.accuracy(nn.Identity(), images * torch.nan, torch.zeros(4))


# --- how far apart --------------------------------------------------------------------


def scattered(n: int, dim: int, seed: int) -> torch.Tensor:
    """Points with mean 0 and covariance I, to rounding."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    x = x - x.mean(dim=0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T


def test_the_frechet_distance_of_two_gaussians_has_its_closed_form():
    x, shift = scattered(200, 3, 0), torch.tensor([1.0, -2.0, 0.5]).double()
    scales = torch.tensor([2.0, 0.5, 1.0]).double()
    y = shift + scales * scattered(300, 3, 1)
    exact = (shift.square() + (scales - 1).square()).sum().item()
    assert measuring.frechet_distance(x, y) == pytest.approx(exact)
    assert measuring.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_is_symmetric_and_does_not_see_a_rotation():
    turn = torch.linalg.qr(scattered(9, 3, 5)[:3])[0]
    mix = scattered(5, 3, 2)[:3]
    x, y = scattered(50, 3, 0) @ mix, 1 + scattered(60, 3, 1)
    far = measuring.frechet_distance(x, y)
    assert measuring.frechet_distance(y, x) == pytest.approx(far)
    assert measuring.frechet_distance(x @ turn, y @ turn) == pytest.approx(far)


def test_coverage_counts_the_real_points_that_have_a_made_one_near():
    real = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    assert measuring.coverage(real, real, nearest=1) == 1
    assert measuring.coverage(real, torch.tensor([[0.5]]), nearest=1) == 0.5
    assert measuring.coverage(real, torch.tensor([[50.0]]), nearest=1) == 0


def test_the_machine_is_the_gpu_or_the_processor_with_its_threads(monkeypatch):
    monkeypatch.setattr(measuring, "processor", lambda: "A processor")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert measuring.machine() == "A processor, 1 thread"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert measuring.machine() == "A processor, 2 threads"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A card")
    assert measuring.machine() == "A card"


def test_a_processor_has_a_name_on_every_system(monkeypatch):
    assert measuring.processor()
    monkeypatch.setattr(Path, "exists", lambda _: False)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert measuring.processor() == "riscv64 CPU"


@pytest.mark.parametrize("far", [0.0, 300.0, 3000.0])
def test_coverage_is_the_same_wherever_the_points_are(far):
    g = generator(0)
    real, made = (
        torch.randn(300, 2, generator=g),
        0.15 * torch.randn(300, 2, generator=g),
    )
    expected = measuring.coverage(real.double(), made.double())
    assert 0.05 < expected < 0.3
    assert measuring.coverage(real + far, made + far) == pytest.approx(
        expected, abs=0.01
    )


def test_coverage_asks_for_as_many_points_as_it_has_to_count():
    with pytest.raises(ValueError, match="more than nearest=5 points, got 3"):
        measuring.coverage(torch.rand(3, 2), torch.rand(9, 2))


def test_the_frechet_distance_of_numbers_is_that_of_their_means_and_spreads():
    x = torch.randn(500, 1, generator=generator(0)).double()
    assert measuring.frechet_distance(x, 3 + 2 * x) == pytest.approx(
        float((3 + x.mean()) ** 2 + x.var())
    )

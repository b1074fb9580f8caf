"""The small systems: batches, the ring that can be learnt, and the hum."""

import math

import pytest
import torch

from course_lib.solvers import odeint
from course_lib.systems import SYSTEMS, Hum, LotkaVolterra, Ring, ring


def states(*shape: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_batch_of_states_gets_the_derivatives_of_its_rows(name):
    system, t = SYSTEMS[name], torch.tensor(0.5)
    batch = states(4, 3, len(system.y0))
    together = system.f(t, batch)
    alone = [[system.f(t, y) for y in row] for row in batch]
    assert together.shape == batch.shape
    assert torch.equal(together, torch.stack([torch.stack(row) for row in alone]))


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_row_of_a_batch_depends_on_that_row_alone(name):
    system = SYSTEMS[name]
    batch = states(3, len(system.y0)).requires_grad_()
    (gradient,) = torch.autograd.grad(system.f(0.0, batch)[1].sum(), batch)
    assert gradient[1].abs().max() > 0
    assert not gradient[[0, 2]].any()


def test_the_ring_goes_round_on_the_circle_and_is_pulled_to_it_from_elsewhere():
    on, outside = torch.tensor([0.6, 0.8]), torch.tensor([1.2, 1.6])
    assert torch.allclose(ring(0.0, on), torch.tensor([-1.6, 1.2]))
    assert ring(0.0, outside) @ outside < 0 < ring(0.0, outside / 4) @ outside


def test_the_ring_to_be_learnt_is_the_ring_and_knows_the_slopes_by_both_numbers():
    batch, f = states(5, 2), Ring(3, omega=1.5).double()
    assert torch.equal(f(0.0, batch), ring(0.0, batch, 3.0, 1.5))
    assert torch.equal(Ring().double()(0.0, batch), SYSTEMS["ring"].f(0.0, batch))
    by_k, by_omega = torch.autograd.grad(f(0.0, batch).sum(), (f.k, f.omega))
    pull = (1 - batch.square().sum(-1, keepdim=True)) * batch
    assert torch.allclose(by_k, pull.sum())
    assert torch.allclose(by_omega, (batch[:, 0] - batch[:, 1]).sum())


def test_the_hum_at_rest_decays_and_its_slope_is_the_integral_over_the_waves():
    f = Hum().double()
    start, ends = torch.ones(1, dtype=torch.float64), torch.tensor([0.0, 5.0])
    end = odeint(f, start, ends.double(), method="rk4", step_size=1 / 1000)[-1]
    (slope,) = torch.autograd.grad(end.sum(), f.theta)
    waves = (math.sin(250) - 50 * math.cos(250) + 50 * math.exp(-5)) / 2501
    assert end.item() == pytest.approx(math.exp(-5), rel=1e-9)
    assert slope.item() == pytest.approx(waves, rel=1e-5)


def test_hares_and_foxes_go_round_on_a_curve_that_their_rates_say():
    law = LotkaVolterra(torch.tensor([[1.5, 1.0, 3.0, 1.0], [1.0, 0.8, 2.0, 0.5]]))
    law.double()
    a, b, c, d = law.log_rates.exp().unbind(-1)
    t, y0 = torch.linspace(0, 10, 21), torch.ones(2, 2, dtype=torch.float64)
    with torch.no_grad():
        x, y = odeint(law, y0, t, rtol=1e-9, atol=1e-11).unbind(-1)
        kept = d * x - c * x.log() + b * y - a * y.log()
    assert (x.amax(0) / x.amin(0)).min() > 2
    torch.testing.assert_close(kept, kept[0].expand_as(kept), rtol=0, atol=1e-7)

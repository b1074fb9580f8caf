"""What is solved in the race of the solvers: six tasks, each as it occurs in the book.

A task is given a solver and calls it, so that whoever is asked solves the same. All its
tensors are its own, and ``task.double()`` is the same task in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib import data, latent
from course_lib.flows import DensityDynamics, normal_log_prob
from course_lib.models import ConvDynamics, MLPDynamics
from course_lib.systems import LotkaVolterra

Solver = Callable[..., Tensor]


class Task(nn.Module):
    """Solve ``y' = f(t, y)`` from y0 through the times t; the loss is Σ y² over all
    times but the first.

    The gradient is wanted with respect to y0 and the parameters of f.

    Parameters
    ----------
    field : Module ``f(t, y) -> dy/dt``
    y0 : Tensor, shape (*state)
    t : sequence of floats, or Tensor, shape (n,)
    rtol, atol : float
    """

    t: Tensor

    def __init__(
        self,
        field: nn.Module,
        y0: Tensor,
        t: Sequence[float] | Tensor,
        *,
        rtol: float,
        atol: float,
    ):
        super().__init__()
        self.field, self.y0 = field, nn.Parameter(y0)
        self.register_buffer("t", torch.as_tensor(t, dtype=y0.dtype))
        self.tolerances: dict = dict(rtol=rtol, atol=atol)

    def forward(self, solver: Solver) -> Tensor:
        """The solution by ``solver(f, y0, t, rtol=…, atol=…) -> ys`` after the start."""
        return solver(self.field, self.y0, self.t, **self.tolerances)[1:]

    def loss(self, ys: Tensor) -> Tensor:
        """What is differentiated, 0-d."""
        return ys.square().sum()

    def rest(self) -> Tensor | None:
        """What the task takes besides the solve, as a loss; None if next to nothing."""
        return None


class DensityTask(Task):
    """The log-density of points under a continuous flow, from data back to noise."""

    def loss(self, ys: Tensor) -> Tensor:
        """Minus the mean of the log-density."""
        z, change = ys[-1, :, :-1], ys[-1, :, -1]
        return (change - normal_log_prob(z)).mean()


class SameDraw(latent.Posterior):
    """A posterior that always gives the same draw, in float32 and in float64."""

    def sample(self) -> Tensor:
        """The mean and, for each component, as many deviations as ever."""
        signs = torch.randn(self.mean.shape, generator=data.generator(0))
        return self.mean + (0.5 * self.log_variance).exp() * signs.to(self.mean)


class SameDraws(nn.Module):
    """An encoder whose posterior draws the same every time."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, values: Tensor, times: Tensor, mask: Tensor | None = None):
        """The posterior over z(0)."""
        return SameDraw(*self.encoder(values, times, mask))


class LatentTask(Task):
    """The loss of a training step of the latent ODE of chapter 13: a hundred spirals,
    each read at fifty times of its own; the solve goes through all of them.
    """

    values: Tensor
    times: Tensor

    def __init__(self, noise: float = 0.1):
        torch.manual_seed(0)
        encoder = SameDraws(latent.BackwardEncoder(2, 4, 64))
        model = latent.LatentODE(latent=4, hidden=64, width=32, encoder=encoder)
        spirals = data.two_armed_spirals(100, noise=noise, seed=0)
        super().__init__(model.f, torch.randn(100, 4), (0.0, 1.0), rtol=1e-3, atol=1e-4)
        self.y0.requires_grad_(False)  # the encoder's answer is the start, not this
        self.model, self.noise = model, noise
        self.register_buffer("values", spirals.values)
        self.register_buffer("times", spirals.times())

    def forward(self, solver: Solver) -> Tensor:
        """The loss, 0-d."""
        self.model.odeint, self.model.solver_settings = solver, self.tolerances
        return latent.negative_elbo(
            self.model, self.values, self.times, noise=self.noise
        )

    def loss(self, ys: Tensor) -> Tensor:
        """The loss is what was computed."""
        return ys

    def rest(self) -> Tensor:
        """Encoder, decoder and loss, with a state that stands still."""
        return self(lambda f, y0, t, **_: y0.expand(len(t), *y0.shape))


def small_mlp() -> Task:
    """Make MLP 2-50-2 with a batch of 20, from 0 to 1."""
    torch.manual_seed(0)
    field, y0 = MLPDynamics(2, (50,)), torch.randn(20, 2)
    return Task(field, y0, (0.0, 1.0), rtol=1e-5, atol=1e-5)


def many_times() -> Task:
    """Make MLP 6-64-6 with a batch of 100, reported at a hundred times."""
    torch.manual_seed(0)
    field, y0 = MLPDynamics(6, (64,)), torch.randn(100, 6)
    return Task(field, y0, torch.linspace(0, 1, 100), rtol=1e-5, atol=1e-5)


def convolutions(batch: int = 32) -> Task:
    """Make the field of the digit classifier, 64 channels on 6×6 pixels."""
    torch.manual_seed(0)
    field, y0 = ConvDynamics(64), torch.randn(batch, 64, 6, 6)
    return Task(field, y0, (0.0, 1.0), rtol=1e-3, atol=1e-3)


def density() -> Task:
    """Make a flow of 512 points in the plane, with the exact trace."""
    torch.manual_seed(0)
    field = DensityDynamics(MLPDynamics(2, (64, 64)))
    start = torch.cat((torch.randn(512, 2), torch.zeros(512, 1)), dim=1)
    return DensityTask(field, start, (1.0, 0.0), rtol=1e-5, atol=1e-5)


def predators() -> Task:
    """Make one Lotka–Volterra system in float64, over about two periods."""
    field, y0 = LotkaVolterra().double(), torch.tensor([1.0, 1.0]).double()
    return Task(field, y0, (0.0, 10.0), rtol=1e-8, atol=1e-8)


# With as many rounds as suit their time.
TASKS: dict[str, tuple[Callable[[], Task], int]] = {
    "MLP 2-50-2, batch 20": (small_mlp, 61),
    "MLP 6-64-6, batch 100, 100 times": (many_times, 15),
    "conv 32×64×6×6": (convolutions, 9),
    "CNF 2-64-64-2, batch 512": (density, 11),
    "latent ODE, training step": (LatentTask, 7),
    "Lotka–Volterra, float64": (predators, 7),
}

"""Latent ODEs: a variational autoencoder whose latent state flows in continuous time.

References
----------
Chen, Rubanova, Bettencourt, Duvenaud 2018, section 5. Rubanova, Chen, Duvenaud 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.models import MLPDynamics
from course_lib.solvers import odeint


class Posterior(NamedTuple):
    """A diagonal Gaussian over z(0): mean and log-variance, each of shape (B, latent)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """One draw, differentiable in both parameters (the reparameterisation trick)."""
        return self.mean + (0.5 * self.log_variance).exp() * torch.randn_like(self.mean)

    def kl(self) -> Tensor:
        """KL divergence from the standard normal, shape (B,)."""
        return 0.5 * (
            self.mean**2 + self.log_variance.exp() - 1 - self.log_variance
        ).sum(dim=-1)


class BackwardEncoder(nn.Module):
    """A GRU that reads a series from its last observation to its first, and guesses
    z(0).

    Each input is an observation and the gap to the one before it (for the first, to
    time 0), so that the network knows how far it has walked when it arrives.
    """

    def __init__(self, observed: int, latent: int, hidden: int):
        super().__init__()
        self.gru = nn.GRU(observed + 1, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 2 * latent)

    def forward(self, values: Tensor, times: Tensor) -> Posterior:  # (B, k, D), (B, k)
        gaps = times.diff(dim=1, prepend=torch.zeros_like(times[:, :1]))
        _, last = self.gru(torch.cat((values, gaps[..., None]), dim=-1).flip(1))
        return Posterior(*self.out(last[0]).chunk(2, dim=-1))


class LatentODE(nn.Module):
    """Encoder, latent vector field, decoder.

    Parameters
    ----------
    observed, latent : int, dimensions of an observation and of the latent state
    hidden : int, width of the encoder's GRU
    width : int, width of the field (two hidden layers) and of the decoder (one)
    solve, **solver_settings
        As for `course_lib.models.NeuralODE`; direct gradients are the default, for the
        adjoint would restart at every one of many observation times.
    """

    def __init__(
        self,
        observed: int = 2,
        latent: int = 6,
        hidden: int = 64,
        width: int = 64,
        *,
        solve: Callable = odeint,
        **solver_settings,
    ):
        super().__init__()
        self.encoder = BackwardEncoder(observed, latent, hidden)
        self.f = MLPDynamics(latent, (width, width), activation=nn.ELU)
        self.decoder = nn.Sequential(
            nn.Linear(latent, width), nn.ELU(), nn.Linear(width, observed)
        )
        self.solve, self.solver_settings = (
            solve,
            solver_settings or dict(rtol=1e-3, atol=1e-4),
        )

    def flow(self, z0: Tensor, t: Tensor) -> Tensor:
        """Latent states, shape (B, T, latent), at the increasing times t ≥ 0; z0, shape
        (B, latent), is at time 0.
        """
        start = t[:1].new_zeros(1)
        late = t if t[0] > 0 else t[1:]
        zs = self.solve(self.f, z0, torch.cat((start, late)), **self.solver_settings)
        return (zs if len(late) < len(t) else zs[1:]).transpose(0, 1)

    def decode(self, z0: Tensor, t: Tensor) -> Tensor:
        """The decoded curves, shape (B, T, observed), at times shared by the batch."""
        return self.decoder(self.flow(z0, t))

    def decode_at(self, z0: Tensor, times: Tensor) -> Tensor:
        """The decoded values, shape (B, k, observed), at times (B, k) that differ per
        series.

        The whole batch is solved once, on the union of all times.
        """
        union, where = times.unique(return_inverse=True)
        zs = self.flow(z0, union)  # (B, U, latent)
        return self.decoder(zs.gather(1, where[..., None].expand(-1, -1, zs.shape[-1])))

    def reconstruct(self, values: Tensor, times: Tensor, t: Tensor) -> Tensor:
        """Decode the posterior mean of each series at the times t, shape (B, T,
        observed).
        """
        return self.decode(self.encoder(values, times).mean, t)


def negative_elbo(
    model: LatentODE,
    values: Tensor,
    times: Tensor,
    *,
    noise: float,
    kl_weight: float = 1.0,
) -> Tensor:
    """Minus the evidence lower bound, per observation and averaged over the batch, up
    to a constant.

    Parameters
    ----------
    values, times : Tensor, shapes (B, k, observed) and (B, k)
    noise : float, standard deviation of the Gaussian likelihood
    kl_weight : float, below 1 while the KL term is annealed in
    """
    posterior = model.encoder(values, times)
    decoded = model.decode_at(posterior.sample(), times)
    misfit = 0.5 * ((values - decoded) / noise).square().sum(dim=(1, 2))
    return (misfit + kl_weight * posterior.kl()).mean() / values.shape[1]

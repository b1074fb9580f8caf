"""Latent ODEs: a variational autoencoder whose latent state flows in continuous time.

References
----------
Chen, Rubanova, Bettencourt, Duvenaud 2018, section 5. Rubanova, Chen, Duvenaud 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.models import MLPDynamics, check_states
from course_lib.solvers import RK4, check_positive, odeint, rk_step

__all__ = [
    "BackwardEncoder",
    "LatentODE",
    "LatentRNN",
    "ODERNNEncoder",
    "Posterior",
    "Readings",
    "from_last_to_first",
    "negative_elbo",
    "readings",
    "refine",
    "root_mean_square",
]


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


class Readings(NamedTuple):
    """Series ready to be read, those with fewer readings padded at their end.

    Attributes
    ----------
    values, times : Tensor, shapes (B, k, D) and (B, k); padding holds zeros and the
        first time of its series
    seen : Tensor, shape (B, k), bool, False where there is padding
    """

    values: Tensor
    times: Tensor
    seen: Tensor


def readings(values: Tensor, times: Tensor, mask: Tensor | None = None) -> Readings:
    """Check a batch of irregular series, and move what is masked out to the end.

    One reading is enough, and equal times are allowed: they are readings of one moment.

    Parameters
    ----------
    values : Tensor, shape (B, k, D)
    times : Tensor, shape (B, k), from 0, not decreasing along a series
    mask : Tensor, shape (B, k), bool, False where there is no reading; whatever stands
        there, NaN included, is not looked at. None: every reading is there.

    Raises
    ------
    ValueError
        For shapes that do not fit, a series without readings, a value or time that is
        not finite, a time before 0, or times that decrease.
    """
    _check_shapes(values, times, mask)
    if mask is None:
        seen = torch.ones_like(times, dtype=torch.bool)
        order = torch.arange(times.shape[1], device=times.device).expand_as(times)
    else:
        order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
        seen, times = mask.gather(1, order), times.gather(1, order)
        values = values.gather(1, order[..., None].expand_as(values))
        if not seen[:, 0].all():
            series = (~seen[:, 0]).nonzero()[0].item()
            raise ValueError(f"mask leaves series {series} without a reading: drop it")
        values = values.where(seen[..., None], 0.0)
        times = times.where(seen, times[:, :1])
    _check_numbers(values, times, seen, order)
    return Readings(values, times, seen)


def root_mean_square(values: Tensor) -> Tensor:
    """The size of each series, shape (B, 1, 1): what to divide by where all sizes
    occur. Zero readings have size 1.
    """
    size = values.square().mean(dim=(1, 2), keepdim=True).sqrt()
    return size.where(size != 0, 1.0)


def _check_shapes(values: Tensor, times: Tensor, mask: Tensor | None) -> None:
    if values.ndim != 3 or 0 in values.shape or times.shape != values.shape[:2]:
        raise ValueError(
            "values must have shape (B, k, D) and times (B, k), with at least one series "
            f"and one reading; got {tuple(values.shape)} and {tuple(times.shape)}"
        )
    if mask is not None and (mask.shape != times.shape or mask.dtype != torch.bool):
        raise ValueError(
            f"mask must be bool of shape {tuple(times.shape)}, like times; got "
            f"{mask.dtype} of shape {tuple(mask.shape)}"
        )


def _check_numbers(values: Tensor, times: Tensor, seen: Tensor, order: Tensor) -> None:
    """`order` holds the place that each reading had before the masked ones moved."""
    backwards = (times.diff(dim=1) < 0) & seen[:, 1:]
    wrong = {
        "values must be finite: mask out what is missing": ~values.isfinite().all(-1),
        "times must be finite: mask out what is missing": ~times.isfinite(),
        "times must not be negative: subtract each series' earliest": times < 0,
        "times must not decrease: sort each series by time": backwards,
    }
    if not torch.stack([where.any() for where in wrong.values()]).any():
        return
    for complaint, where in wrong.items():
        if where.any():
            series, at = where.nonzero()[0].tolist()
            value = ", ".join(f"{x:.4g}" for x in values[series, at])
            until = at + (2 if where is backwards else 1)
            moments = ", then ".join(f"{t:.4g}" for t in times[series, at:until])
            raise ValueError(
                f"{complaint}; reading {order[series, at]} of series {series} is "
                f"({value}) at t = {moments}"
            )


def from_last_to_first(
    values: Tensor, times: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What a backward reader is fed, and how many readings each series has.

    Parameters
    ----------
    values, times, mask : as for `readings`, which checks them

    Returns
    -------
    inputs : Tensor, shape (B, k, D + 1), readings from the last to the first, each with
        the gap to the one before it in time (for the first, to time 0); padding stands
        at the end
    counts : Tensor, shape (B, 1), int
    """
    values, times, seen = readings(values, times, mask)
    gaps = times.diff(dim=1, prepend=torch.zeros_like(times[:, :1]))
    inputs = torch.cat((values, gaps[..., None]), dim=-1)
    counts = seen.sum(dim=1, keepdim=True)
    back = (counts - 1 - torch.arange(seen.shape[1], device=seen.device)).clamp(min=0)
    return inputs.gather(1, back[..., None].expand_as(inputs)), counts


class BackwardEncoder(nn.Module):
    """A GRU that reads a series from its last reading to its first, and guesses z(0).

    Each input is a reading and the gap to the one before it (for the first, to time 0),
    so that the network knows how far it has walked when it arrives. Series of one batch
    may have different numbers of readings: see `readings`.
    """

    def __init__(self, observed: int, latent: int, hidden: int):
        super().__init__()
        self.gru = nn.GRU(observed + 1, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 2 * latent)

    def forward(
        self, values: Tensor, times: Tensor, mask: Tensor | None = None
    ) -> Posterior:  # (B, k, D), (B, k), (B, k)
        """What the series say about their z(0)."""
        inputs, counts = from_last_to_first(values, times, mask)
        states, _ = self.gru(inputs)
        last = (counts - 1)[..., None].expand(-1, -1, states.shape[-1])
        arrived = states.gather(1, last)
        return Posterior(*self.out(arrived[:, 0]).chunk(2, dim=-1))


class ODERNNEncoder(nn.Module):
    """A reader whose state flows between the readings, from the last to time 0, and
    jumps at them: an ODE-RNN that guesses z(0).

    At a reading a GRU cell updates the state h; over the gap Δt to the reading before
    it (for the first, to time 0) h follows dh/ds = Δt f(h) from s = 0 to 1, in one step
    of RK4. So all series of a batch share s, however much their times differ, and
    nothing but the flow tells the reader how long a gap is.

    References
    ----------
    Rubanova, Chen, Duvenaud 2019, sections 3.1 and 3.2.
    """

    def __init__(self, observed: int, latent: int, hidden: int, width: int):
        super().__init__()
        self.cell = nn.GRUCell(observed, hidden)
        self.f = MLPDynamics(hidden, (width,))
        self.out = nn.Linear(hidden, 2 * latent)

    def forward(
        self, values: Tensor, times: Tensor, mask: Tensor | None = None
    ) -> Posterior:  # (B, k, D), (B, k), (B, k)
        """What the series say about their z(0)."""
        inputs, counts = from_last_to_first(values, times, mask)
        h = inputs.new_zeros(len(inputs), self.cell.hidden_size)
        for i, read in enumerate(inputs.unbind(dim=1)):
            jumped = self.cell(read[:, :-1], h)
            h = torch.where(i < counts, self.flow(jumped, read[:, -1:]), h)
        return Posterior(*self.out(h).chunk(2, dim=-1))

    def flow(self, h: Tensor, gaps: Tensor) -> Tensor:  # (B, hidden), (B, 1)
        """The states after each has flowed over its own gap."""
        return rk_step(lambda s, h: gaps * self.f(s, h), 0.0, h, 1.0, RK4)[0]


class LatentODE(nn.Module):
    """Encoder, latent vector field, decoder.

    Parameters
    ----------
    observed, latent : int, dimensions of an observation and of the latent state
    hidden : int, width of the encoder's GRU
    width : int, width of the field (two hidden layers) and of the decoder (one)
    encoder : Module, called as `BackwardEncoder` is, in the place of one of that class
        (then `hidden` says nothing)
    odeint, **solver_settings
        As for `course_lib.models.NeuralODE`, ``rtol=1e-3, atol=1e-4`` unless one is given;
        direct gradients are the default, for the adjoint would restart at every one of
        many observation times.
    """

    def __init__(
        self,
        observed: int = 2,
        latent: int = 6,
        hidden: int = 64,
        width: int = 64,
        *,
        encoder: nn.Module | None = None,
        odeint: Callable = odeint,
        **solver_settings,
    ):
        super().__init__()
        self.encoder = encoder or BackwardEncoder(observed, latent, hidden)
        self.f = MLPDynamics(latent, (width, width), activation=nn.ELU)
        self.decoder = nn.Sequential(
            nn.Linear(latent, width), nn.ELU(), nn.Linear(width, observed)
        )
        self.odeint = odeint
        self.solver_settings = solver_settings or dict(rtol=1e-3, atol=1e-4)

    def flow(self, z0: Tensor, t: Tensor) -> Tensor:
        """Latent states, shape (B, T, latent), at the increasing times t ≥ 0; z0, shape
        (B, latent), is at time 0.

        Raises
        ------
        ValueError
            If t is empty or does not start at 0 or later, and as the solver does.
        """
        if not (len(t) and t[0] >= 0):
            raise ValueError(
                f"t must start at 0, where z0 is, or later; it starts with {t[:1].tolist()}"
            )
        start = t[:1].new_zeros(1)
        late = t if t[0] > 0 else t[1:]
        times = torch.cat((start, late))
        zs = check_states(self.odeint(self.f, z0, times, **self.solver_settings))
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

    def reconstruct(
        self, values: Tensor, times: Tensor, t: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Decode the posterior mean of each series at the times t, shape (B, T,
        observed).
        """
        return self.decode(self.encoder(values, times, mask).mean, t)


class LatentRNN(nn.Module):
    """The rival of `LatentODE`: the same encoder, and a GRU that jumps over each gap.

    The state starts as a linear map of z(0). What it is at a time depends on the times
    asked for before.

    Parameters
    ----------
    observed, latent, hidden : int, as for `LatentODE`
    width : int, width of the decoding GRU
    """

    def __init__(
        self, observed: int = 2, latent: int = 6, hidden: int = 64, width: int = 64
    ):
        super().__init__()
        self.encoder = BackwardEncoder(observed, latent, hidden)
        self.lift = nn.Linear(latent, width)
        self.gru = nn.GRU(1, width, batch_first=True)
        self.out = nn.Linear(width, observed)

    def decode_at(self, z0: Tensor, times: Tensor) -> Tensor:
        """The decoded values, shape (B, k, observed), after one step of the GRU to each
        of the times (B, k).
        """
        gaps = times.diff(dim=1, prepend=torch.zeros_like(times[:, :1]))
        states, _ = self.gru(gaps[..., None], self.lift(z0)[None])
        return self.out(states)


def negative_elbo(
    model: LatentODE | LatentRNN,
    values: Tensor,
    times: Tensor,
    *,
    noise: float,
    kl_weight: float = 1.0,
    mask: Tensor | None = None,
    targets: tuple[Tensor, ...] | None = None,
) -> Tensor:
    """Minus the evidence lower bound of a batch, per reading, up to a constant.

    With `targets` it bounds the probability of the readings and the targets together: the
    decoder must explain both, and the encoder sees the readings only.

    Parameters
    ----------
    values, times : Tensor, shapes (B, k, observed) and (B, k)
    noise : float, standard deviation of the Gaussian likelihood
    kl_weight : float, below 1 while the KL term is annealed in
    mask : Tensor, shape (B, k), bool, False where there is no reading
    targets : tuple ``(values, times)`` or ``(values, times, mask)``, shapes
        (B, m, observed), (B, m) and (B, m): more readings of the same series, before,
        between or after the others

    Raises
    ------
    ValueError
        For readings or targets that cannot be used, as in `readings`, targets of another
        number of series, or noise that is not positive.
    """
    check_positive("noise", noise, "it is a standard deviation")
    given = readings(values, times, mask)
    posterior = model.encoder(*given)
    asked = given if targets is None else _together(given, _targets(targets, given))
    decoded = model.decode_at(posterior.sample(), asked.times)
    misfit = _misfit(decoded, asked.values, asked.seen, noise)
    return (misfit + kl_weight * posterior.kl().sum()) / asked.seen.sum()


def _targets(targets: tuple[Tensor, ...], given: Readings) -> Readings:
    """The targets checked as readings are, and against those of the same series."""
    if len(targets) not in (2, 3):
        raise ValueError(
            "targets must be (values, times) or (values, times, mask), got a tuple of "
            f"length {len(targets)}"
        )
    try:
        found = readings(*targets)
    except ValueError as error:
        raise ValueError(f"targets: {error}") from error
    if found.values.shape[::2] != given.values.shape[::2]:
        raise ValueError(
            "targets must belong to the series that are read: values of shape "
            f"({given.values.shape[0]}, m, {given.values.shape[2]}), got "
            f"{tuple(found.values.shape)}"
        )
    return found


def _together(first: Readings, second: Readings) -> Readings:
    """The readings of both, in the order of time, padding at the end."""
    values, times, seen = (torch.cat(pair, dim=1) for pair in zip(first, second))
    order = times.where(seen, math.inf).argsort(dim=1, stable=True)
    values = values.gather(1, order[..., None].expand_as(values))
    return Readings(values, times.gather(1, order), seen.gather(1, order))


def _misfit(decoded: Tensor, values: Tensor, seen: Tensor, noise: float) -> Tensor:
    """-log p(readings | decoded), summed over those that are seen, up to a constant."""
    squares = ((values - decoded) / noise).square().sum(dim=-1)
    return 0.5 * squares.where(seen, 0.0).sum()


def refine(
    model: LatentODE | LatentRNN,
    values: Tensor,
    times: Tensor,
    *,
    noise: float,
    steps: int = 100,
    lr: float = 0.05,
    mask: Tensor | None = None,
) -> Tensor:
    """The z(0) that explains each series best, shape (B, latent): where the encoder's
    answer is in doubt, ask the flow.

    Adam walks from the posterior mean down -log p(x | z(0)) - log p(z(0)), through the
    model as it is: no weight moves, and the encoder gives the start only. Each step costs
    a solve and its gradient.

    Parameters
    ----------
    values, times : Tensor, shapes (B, k, observed) and (B, k)
    noise : float, standard deviation of the Gaussian likelihood
    steps, lr : int and float, of Adam
    mask : Tensor, shape (B, k), bool, False where there is no reading

    Raises
    ------
    ValueError
        For readings that cannot be used, as in `readings`, or noise that is not positive.
    """
    check_positive("noise", noise, "it is a standard deviation")
    values, times, seen = readings(values, times, mask)
    with torch.no_grad():
        z0 = model.encoder(values, times, seen).mean
    z0.requires_grad_()
    optimizer = torch.optim.Adam([z0], lr=lr)
    for _ in range(steps):
        with torch.enable_grad():
            misfit = _misfit(model.decode_at(z0, times), values, seen, noise)
            (z0.grad,) = torch.autograd.grad(misfit + 0.5 * z0.square().sum(), z0)
        optimizer.step()
    return z0.detach()

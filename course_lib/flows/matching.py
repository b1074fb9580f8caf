"""Flow matching: a velocity field learnt by regression, and samples from it by ODE and
by SDE.

A conditional path leads from noise z at t = 0 to a data point x at t = 1; the field to
learn is the mean velocity of all paths that pass a point. What a diffusion model learns,
the noise or the score, is the same field written otherwise. `GaussianMixture` has all of
them in closed form, to hold everything else against.

References
----------
Lipman, Chen, Ben-Hamu, Nickel, Le 2023, Flow Matching for Generative Modeling.
Liu, Gong, Liu 2023, Flow Straight and Fast.
Albergo, Vanden-Eijnden 2023, Building Normalizing Flows with Stochastic Interpolants.
Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole 2021, Score-Based Generative Modeling
through Stochastic Differential Equations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.models import check_states
from course_lib.solvers import check_whole, euler_maruyama_step, odeint

__all__ = [
    "STRAIGHT",
    "VARIANCE_PRESERVING",
    "GaussianMixture",
    "Guided",
    "Path",
    "drop_labels",
    "flow_matching_loss",
    "middle_times",
    "pair_by_transport",
    "sample_ode",
    "sample_sde",
]

# --- paths ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """A conditional path y_t = α(t) x + σ(t) z, noise at t = 0 and data at t = 1.

    Times are Tensors that broadcast against y: one number, or one for each row, shape
    (B, 1).

    Attributes
    ----------
    alpha, sigma : callable, α and σ as functions of t
    alpha_dot, sigma_dot : callable, their derivatives

    References
    ----------
    Albergo, Vanden-Eijnden 2023; Lipman et al. 2023, section 4.
    """

    alpha: Callable
    sigma: Callable
    alpha_dot: Callable
    sigma_dot: Callable

    def point(self, t: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """Where the path from z to x is at time t."""
        return self.alpha(t) * x + self.sigma(t) * z

    def velocity(self, t: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """How fast it moves there."""
        return self.alpha_dot(t) * x + self.sigma_dot(t) * z

    def ends(self, t: Tensor, y: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The data x and the noise z of a path that passes y with velocity v; for the
        mean velocity the means E[x | y] and E[z | y].
        """
        turn = self.alpha_dot(t) * self.sigma(t) - self.alpha(t) * self.sigma_dot(t)
        x = (self.sigma(t) * v - self.sigma_dot(t) * y) / turn
        z = (self.alpha_dot(t) * y - self.alpha(t) * v) / turn
        return x, z

    def score(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """∇ log p(t, y) = -E[z | y] / σ, from the mean velocity; not at t = 1, where σ
        is 0.
        """
        return -self.ends(t, y, v)[1] / self.sigma(t)

    def velocity_from_noise(self, t: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """The mean velocity, from E[z | y]; not at t = 0, where α is 0."""
        x = (y - self.sigma(t) * z) / self.alpha(t)
        return self.velocity(t, x, z)

    def velocity_from_score(self, t: Tensor, y: Tensor, score: Tensor) -> Tensor:
        """The mean velocity, from ∇ log p(t, y); not at t = 0, where α is 0."""
        return self.velocity_from_noise(t, y, -self.sigma(t) * score)


# Straight lines at constant speed: Liu et al. 2023.
STRAIGHT = Path(
    alpha=lambda t: t,
    sigma=lambda t: 1 - t,
    alpha_dot=torch.ones_like,
    sigma_dot=lambda t: -torch.ones_like(t),
)
# α² + σ² = 1, so that data of variance 1 keep it on the way, as in a diffusion model.
VARIANCE_PRESERVING = Path(
    alpha=lambda t: torch.sin(math.pi / 2 * t),
    sigma=lambda t: torch.cos(math.pi / 2 * t),
    alpha_dot=lambda t: math.pi / 2 * torch.cos(math.pi / 2 * t),
    sigma_dot=lambda t: -math.pi / 2 * torch.sin(math.pi / 2 * t),
)

# --- training -------------------------------------------------------------------------


def flow_matching_loss(
    f: Any,
    x: Tensor,
    labels: Tensor | None = None,
    *,
    z: Tensor | None = None,
    t: Tensor | None = None,
    drop: float = 0.1,
    path: Path = STRAIGHT,
) -> Tensor:
    """The mean square distance of f from the velocities of conditional paths.

    Parameters
    ----------
    f : Module ``f(t, y)``; with labels ``f(t, y, labels)`` and an attribute `classes`
    x : Tensor, shape (B, *point), data
    labels : Tensor, shape (B,), int, optional
    z : Tensor, shape of x, the noise that each x is paired with; drawn, if it is not given
    t : Tensor, shape (B, 1, …), times from 0 to 1; drawn evenly, if they are not given
    drop : float, share of the labels that f does not get to see
    path : Path

    References
    ----------
    Lipman et al. 2023, theorem 2; for the dropped labels Ho, Salimans 2022.
    """
    z = torch.randn_like(x) if z is None else z
    t = (
        torch.rand_like(x.flatten(1)[:, 0]).view(-1, *[1] * (x.ndim - 1))
        if t is None
        else t
    )
    seen = () if labels is None else (drop_labels(labels, drop, f.classes),)
    miss = f(t, path.point(t, x, z), *seen) - path.velocity(t, x, z)
    return miss.square().flatten(1).sum(dim=1).mean()


def middle_times(x: Tensor) -> Tensor:
    """A time for each row of x, shape (B, 1, …), more often in the middle than at the
    ends: the logistic function of a normal number.

    References
    ----------
    Esser et al. 2024, Scaling Rectified Flow Transformers, section 3.1.
    """
    return torch.randn_like(x.flatten(1)[:, 0]).sigmoid().view(-1, *[1] * (x.ndim - 1))


def drop_labels(labels: Tensor, rate: float, none: int) -> Tensor:
    """The labels, each replaced by `none` with the probability `rate`."""
    return labels.where(torch.rand(labels.shape, device=labels.device) >= rate, none)


def pair_by_transport(x: Tensor, z: Tensor) -> Tensor:
    """The rows of z in the order that brings each to its x by the shortest way: the sum
    of the squared distances is the least that a pairing of the two batches has.

    Needs SciPy.

    Raises
    ------
    ValueError
        If there are not as many x as z.

    References
    ----------
    Tong et al. 2024, Improving and Generalizing Flow-Based Generative Models with
    Minibatch Optimal Transport.
    """
    from scipy.optimize import linear_sum_assignment

    if len(x) != len(z):
        raise ValueError(
            f"z must have a row for each row of x, got {len(z)} for {len(x)}"
        )
    # In float32 the products that make a distance lose those far from the origin.
    cost = torch.cdist(x.flatten(1).double(), z.flatten(1).double()).square()
    _, order = linear_sum_assignment(cost.cpu().numpy())
    return z[torch.as_tensor(order, device=z.device)]


# --- sampling -------------------------------------------------------------------------


class Guided(nn.Module):
    """The field of some labels, moved away from the field without: f(t, y) =
    (1 - w) v(t, y, none) + w v(t, y, labels).

    Weight 1 is the conditional field, 0 the one without labels. Any other weight
    evaluates both, in one batch.

    Parameters
    ----------
    v : Module ``v(t, y, labels)`` with an attribute `classes`
    labels : Tensor, shape (B,), one for each row of y
    weight : float, w

    References
    ----------
    Ho, Salimans 2022, Classifier-Free Diffusion Guidance; their weight is w - 1.
    """

    v: Any  # a Module with `classes`

    def __init__(self, v: nn.Module, labels: Tensor, weight: float = 1.0):
        super().__init__()
        self.v, self.labels, self.weight = v, labels, weight

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """The guided velocity, shape of y."""
        none = torch.full_like(self.labels, self.v.classes)
        if self.weight in (0, 1):
            return self.v(t, y, self.labels if self.weight else none)
        both = self.v(t, torch.cat((y, y)), torch.cat((none, self.labels)))
        free, led = both.chunk(2)
        return torch.lerp(free, led, self.weight)


def sample_ode(f: Callable, z: Tensor, **solver_settings) -> Tensor:
    """The data that the noise z becomes along y' = f(t, y) from t = 0 to 1.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``, a mean velocity
    z : Tensor, shape (B, *point), standard normal
    **solver_settings
        As for `odeint`; tolerances of 1e-4 unless something is given.
    """
    settings = solver_settings or dict(rtol=1e-4, atol=1e-4)
    return check_states(odeint(f, z, [0.0, 1.0], **settings))[-1]


def sample_sde(
    f: Callable,
    z: Tensor,
    *,
    steps: int,
    noise: float = 1.0,
    path: Path = STRAIGHT,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The data that the noise z becomes along dy = (f - c E[z | y]) dt + √(2 c σ) dW,
    by Euler and Maruyama: other paths than those of the ODE, the same density at every
    time.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``, the mean velocity on `path`
    z : Tensor, shape (B, *point), standard normal
    steps : int, of equal length
    noise : float, c; 0 is Euler's method for the ODE
    path : Path, the one that f was trained on
    generator : Generator, of the increments

    References
    ----------
    Song et al. 2021, section 4.3; Albergo, Boffi, Vanden-Eijnden 2023, Stochastic
    Interpolants, section 2.4.
    """
    steps = check_whole("steps", steps, "it is how often f is evaluated")
    if noise < 0:
        raise ValueError(f"noise must not be negative, got {noise!r}; 0 is the ODE")

    def drift(t, y):
        v = f(t, y)
        return v - noise * path.ends(t, y, v)[1]

    def size(t, _):
        return (2 * noise * path.sigma(t)).sqrt()

    y, h = z, 1 / steps
    for i in range(steps):
        shock = torch.randn(
            z.shape, generator=generator, dtype=z.dtype, device=z.device
        )
        dw = math.sqrt(h) * shock
        y = euler_maruyama_step(drift, size, z.new_tensor(i * h), y, h, dw)
    return y


# --- data of which everything is known ------------------------------------------------


@dataclass(frozen=True)
class GaussianMixture:
    """Data x ~ Σ_k w_k N(m_k, s_k² I), and all that lies on a path between them and noise.

    At time t component k is the Gaussian N(α m_k, c_k I) with c_k = α² s_k² + σ².

    Attributes
    ----------
    weights : Tensor, shape (K,), positive, with sum 1
    means : Tensor, shape (K, d)
    scales : Tensor, shape (K,), the s_k
    path : Path
    """

    weights: Tensor
    means: Tensor
    scales: Tensor
    path: Path = STRAIGHT

    def __post_init__(self):
        K = len(self.means)
        if self.weights.shape != (K,) or self.scales.shape != (K,):
            raise ValueError(
                f"weights and scales must have shape ({K},), one for each of the means; "
                f"got {tuple(self.weights.shape)} and {tuple(self.scales.shape)}"
            )

    def only(self, components: Sequence[int]) -> GaussianMixture:
        """The mixture of these components alone: the data of a class."""
        kept = self.weights[components]
        parts = self.means[components], self.scales[components]
        return GaussianMixture(kept / kept.sum(), *parts, self.path)

    def sample(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Data, shape (n, d), and the component that each comes from, shape (n,)."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        shape, dtype = (n, self.means.shape[1]), self.means.dtype
        spread = torch.randn(shape, generator=generator, dtype=dtype)
        return self.means[k] + self.scales[k, None] * spread, k

    def log_prob(self, t: Tensor, y: Tensor) -> Tensor:
        """log p(t, y), shape (B, d) to (B,)."""
        return self._joint(t, y).logsumexp(dim=1)

    def score(self, t: Tensor, y: Tensor) -> Tensor:
        """∇ log p(t, y), shape of y."""
        pull = -self._offsets(t, y) / self._variances(t)[..., None]
        return (self._shares(t, y)[:, :, None] * pull).sum(dim=1)

    def velocity(self, t: Tensor, y: Tensor) -> Tensor:
        """The mean velocity of all conditional paths that pass y at time t."""
        return self.path.velocity(t, *self.ends(t, y))

    def ends(self, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """E[x | y] and E[z | y], by the regression of each component."""
        alpha, sigma = self.path.alpha(t)[..., None], self.path.sigma(t)[..., None]
        per_variance = self._offsets(t, y) / self._variances(t)[..., None]
        shares = self._shares(t, y)[:, :, None]
        x = self.means + alpha * self.scales[:, None].square() * per_variance
        return (shares * x).sum(dim=1), (shares * sigma * per_variance).sum(dim=1)

    def _variances(self, t: Tensor) -> Tensor:  # (K,) or (B, K)
        return (self.path.alpha(t) * self.scales).square() + self.path.sigma(t).square()

    def _offsets(self, t: Tensor, y: Tensor) -> Tensor:  # (B, K, d)
        return y[:, None] - self.path.alpha(t)[..., None] * self.means

    def _joint(self, t: Tensor, y: Tensor) -> Tensor:  # log w_k N(y; …), (B, K)
        c = self._variances(t)
        squares = self._offsets(t, y).square().sum(dim=2) / c
        volume = y.shape[1] * (2 * math.pi * c).log()
        return self.weights.log() - 0.5 * (squares + volume)

    def _shares(self, t: Tensor, y: Tensor) -> Tensor:  # p(k | y), (B, K)
        return self._joint(t, y).softmax(dim=1)

"""Digits from noise: an image autoencoder, and the velocity network that lives in its
latent space.

References
----------
Kingma, Welling 2014, Auto-Encoding Variational Bayes.
Rombach, Blattmann, Lorenz, Esser, Ommer 2022, High-Resolution Image Synthesis with
Latent Diffusion Models.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.latent import Posterior

__all__ = ["DigitVAE", "LabelledVelocity", "TimeWaves", "digit_velocity"]


class DigitVAE(nn.Module):
    """Images (B, 1, 28, 28) to codes (B, latent) and back; each pixel is a coin.

    Parameters
    ----------
    latent : int, numbers in a code

    Attributes
    ----------
    centre, spread : Tensor, shape (latent,)
        Mean and standard deviation of the codes of the training images: see `settle`.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, latent: int = 16):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 4, stride=2, padding=1),  # (B, 32, 14, 14)
            nn.SiLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),  # (B, 64, 7, 7)
            nn.SiLU(),
            nn.Conv2d(64, 64, 4, stride=2, padding=1),  # (B, 64, 3, 3)
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(576, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, 32 * 49),
            nn.SiLU(),
            nn.Unflatten(1, (32, 7, 7)),
            nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1),  # (B, 32, 14, 14)
            nn.SiLU(),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),  # (B, 16, 28, 28)
            nn.SiLU(),
            nn.Conv2d(16, 1, 3, padding=1),
        )
        self.register_buffer("centre", torch.zeros(latent))
        self.register_buffer("spread", torch.ones(latent))

    def encode(self, images: Tensor) -> Posterior:
        """What the images say about their codes."""
        return Posterior(*self.encoder(images).chunk(2, dim=-1))

    def standardised(self, codes: Tensor) -> Tensor:
        """The codes with mean 0 and variance 1, where a flow lives."""
        return (codes - self.centre) / self.spread

    def images(self, y: Tensor) -> Tensor:
        """The decoded images, pixels from 0 to 1, of standardised codes y."""
        return self.decoder(self.centre + self.spread * y).sigmoid()

    def negative_elbo(self, images: Tensor, *, kl_weight: float = 1.0) -> Tensor:
        """Minus the evidence lower bound of an image in nats, the mean over the batch;
        grey pixels count as shares of black and white.
        """
        posterior = self.encode(images)
        logits = self.decoder(posterior.sample())
        misfit = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        return misfit / len(images) + kl_weight * posterior.kl().mean()

    @torch.no_grad()
    def posteriors(self, images: Tensor) -> Posterior:
        """What many images say about their codes, computed 1,000 at a time."""
        parts = (self.encode(part) for part in images.split(1000))
        return Posterior(*map(torch.cat, zip(*parts)))

    def settle(self, images: Tensor) -> None:
        """Note centre and spread of the codes of these images."""
        mean, log_variance = self.posteriors(images)
        self.centre = mean.mean(dim=0)
        self.spread = (mean.var(dim=0) + log_variance.exp().mean(dim=0)).sqrt()


class TimeWaves(nn.Module):
    """Sines and cosines of the time, eight of each: the slowest turns a quarter of the
    way from t = 0 to 1, the fastest almost three times.
    """

    angular: Tensor

    def __init__(self):
        super().__init__()
        angular = 2 * math.pi * 2.0 ** (torch.arange(8) / 2 - 2)
        self.register_buffer("angular", angular, persistent=False)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Shape (B, 16), for the rows of y; t is one time, or one for each row."""
        angles = t.to(y.dtype).reshape(-1, 1).expand(len(y), 1) * self.angular
        return torch.cat((angles.sin(), angles.cos()), dim=1)


class LabelledVelocity(nn.Module):
    """A velocity ``f(t, y, labels)`` on R^dim: residual blocks that see time and class.

    Parameters
    ----------
    dim : int
    classes : int
        Labels are 0 … classes - 1; the label `classes` says that none is given.
    width, blocks : int
    """

    def __init__(self, dim: int, classes: int, *, width: int = 192, blocks: int = 4):
        super().__init__()
        self.classes = classes
        self.read, self.write = nn.Linear(dim, width), nn.Linear(width, dim)
        self.waves, self.time = TimeWaves(), nn.Linear(16, width)
        self.label = nn.Embedding(classes + 1, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, width),
            )
            for _ in range(blocks)
        )

    def forward(self, t: Tensor, y: Tensor, labels: Tensor) -> Tensor:
        """The velocity, shape of y; t is one time, or one for each row, shape (B, 1)."""
        seen = self.time(self.waves(t, y)) + self.label(labels)
        h = self.read(y)
        for block in self.blocks:
            h = h + block(h + seen)
        return self.write(h)


def digit_velocity() -> LabelledVelocity:
    """The velocity network in the latent space of `DigitVAE`, with weights from the
    current seed.
    """
    return LabelledVelocity(16, 10)

"""Digits from noise without an autoencoder: the velocity network that lives among the
pixels.

References
----------
Ronneberger, Fischer, Brox 2015, U-Net.
Perez, Strub, de Vries, Dumoulin, Courville 2018, FiLM: Visual Reasoning with a General
Conditioning Layer.
Shi et al. 2016, Real-Time Single Image and Video Super-Resolution Using an Efficient
Sub-Pixel Convolutional Neural Network: how four pixels become four channels and back.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.flows.digits import TimeWaves

__all__ = ["PixelBlock", "PixelVelocity", "pixel_velocity"]


class PixelBlock(nn.Module):
    """A residual block of two convolutions. What it is told of time and class scales and
    shifts each channel between them.

    Parameters
    ----------
    channels : int, a multiple of 8
    told : int, numbers that say time and class
    """

    def __init__(self, channels: int, told: int):
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(8, channels) for _ in range(2))
        self.conv1, self.conv2 = (
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)
        )
        self.film = nn.Linear(told, 2 * channels)

    def forward(self, h: Tensor, seen: Tensor) -> Tensor:
        """The next state, shape of h, (B, channels, height, width); seen (B, told)."""
        scale, shift = self.film(seen)[:, :, None, None].chunk(2, dim=1)
        change = self.conv1(F.silu(self.norm1(h)))
        change = self.norm2(change) * (1 + scale) + shift
        return h + self.conv2(F.silu(change))


class PixelVelocity(nn.Module):
    """A velocity ``f(t, y, labels)`` on images (B, 1, 28, 28) of pixels from -1 to 1: fine
    strokes at 14 by 14 places, the whole digit at 7 by 7.

    Parameters
    ----------
    classes : int
        Labels are 0 … classes - 1; the label `classes` says that none is given.
    fine, coarse : int, channels at 14 by 14 and at 7 by 7, multiples of 8
    blocks : int, at 7 by 7
    told : int, numbers that say time and class
    """

    def __init__(
        self,
        classes: int,
        *,
        fine: int = 48,
        coarse: int = 80,
        blocks: int = 2,
        told: int = 64,
    ):
        super().__init__()
        self.classes = classes
        self.waves, self.time = TimeWaves(), nn.Linear(16, told)
        self.label = nn.Embedding(classes + 1, told)
        self.read = nn.Conv2d(4, fine, 3, padding=1)
        self.before, self.after = PixelBlock(fine, told), PixelBlock(fine, told)
        self.shrink = nn.Conv2d(fine, coarse, 2, stride=2)
        self.middle = nn.ModuleList(PixelBlock(coarse, told) for _ in range(blocks))
        self.grow = nn.ConvTranspose2d(coarse, fine, 2, stride=2)
        self.norm = nn.GroupNorm(8, fine)
        self.write = nn.Conv2d(fine, 4, 3, padding=1)

    def forward(self, t: Tensor, y: Tensor, labels: Tensor) -> Tensor:
        """The velocity, shape of y; t is one time, or one for each image, (B, 1, 1, 1)."""
        seen = F.silu(self.time(self.waves(t, y)) + self.label(labels))
        fine = self.before(
            self.read(F.pixel_unshuffle(y, 2)), seen
        )  # (B, fine, 14, 14)
        h = self.shrink(fine)  # (B, coarse, 7, 7)
        for block in self.middle:
            h = block(h, seen)
        fine = self.after(fine + self.grow(h), seen)
        return F.pixel_shuffle(self.write(F.silu(self.norm(fine))), 2)

    @staticmethod
    def standardised(images: Tensor) -> Tensor:
        """Images of pixels from 0 to 1 as the flow sees them."""
        return 2 * images - 1

    @staticmethod
    def images(y: Tensor) -> Tensor:
        """The images, pixels from 0 to 1, that the flow means; what is beyond black or
        white is cut off.
        """
        return ((y + 1) / 2).clamp(0, 1)


def pixel_velocity() -> PixelVelocity:
    """The velocity network among the pixels of digits, with weights from the current
    seed.
    """
    return PixelVelocity(10)

"""Normal numbers that have an address: the same one whenever, and in whatever order, they
are asked for.

A generator that has a state gives its numbers one after the other. Here a number is a
function of where it belongs, so that a path can be asked at any time first. The page has
the same function in ``widgets/page/brownian.mjs``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["normals_at", "threefry"]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
WORDS = 2**32


def threefry(key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor]):
    """Encrypt a counter by a key: Threefry 2×32 with twenty rounds.

    Parameters
    ----------
    key, counter : two Tensors each, int32, that broadcast against each other
        Words of 32 bits; the upper half of them are the negative numbers.

    Returns
    -------
    Two Tensors, int32; to every key another scrambling of all counters

    References
    ----------
    Salmon, Moraes, Dror, Shaw 2011, Parallel random numbers: as easy as 1, 2, 3. It is
    the generator of JAX as well.
    """
    keys = (*key, key[0] ^ key[1] ^ PARITY)
    x, y = torch.broadcast_tensors(counter[0] + keys[0], counter[1] + keys[1])
    x, y = x.clone(), y.clone()
    for i in range(5):
        for bits in ROTATIONS[i % 2]:
            x += y  # int32 wraps around
            y = (y << bits) | ((y >> (32 - bits)) & (2**bits - 1))
            y ^= x
        x += keys[(i + 1) % 3]
        y += keys[(i + 2) % 3] + (i + 1)
    return x, y


def normals_at(seed: int, places: Tensor, n: int) -> Tensor:
    """Standard normal numbers, n at every place, shape (*places, n), float64.

    Two come from the two words of a counter (Box and Muller 1958): the counter is the
    number of the pair, and the key is seed and place.

    Parameters
    ----------
    seed : int from 0 up to 2³²
    places : Tensor, int64, from 0 up to 2³¹
    n : int, how many
    """
    word = seed - WORDS if seed >= WORDS // 2 else seed
    key = torch.full((), word, dtype=torch.int32), places.int()[..., None]
    pairs = torch.arange((n + 1) // 2, dtype=torch.int32)
    first, second = (
        (x.long() % WORDS).double() / WORDS
        for x in threefry(key, (pairs, torch.zeros_like(pairs)))
    )
    length = (-2 * (first + 0.5 / WORDS).log()).sqrt()  # the logarithm of 0 never comes
    angle = 2 * math.pi * second
    both = torch.stack((length * angle.cos(), length * angle.sin()), dim=-1)
    return both.flatten(-2)[..., :n]

"""Traits that say what they allow, and the checks that figures share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
import traitlets
from torch import Tensor
from traitlets import TraitError

__all__ = [
    "Finite",
    "Point",
    "Positive",
    "Rows",
    "Whole",
    "interval",
    "intervals",
    "points",
    "within",
]


class Finite(traitlets.CFloat):
    """A finite number."""

    info_text = "a finite number"

    def allows(self, value: float) -> bool:
        """Whether the trait takes this number."""
        return math.isfinite(value)

    def validate(self, obj, value):
        """Return `value` as a float that the trait allows."""
        value = super().validate(obj, value)
        if not self.allows(value):
            raise TraitError(f"{self.name} must be {self.info_text}, got {value!r}")
        return value


class Positive(Finite):
    """A positive, finite number."""

    info_text = "a positive, finite number"

    def allows(self, value: float) -> bool:
        """Whether the trait takes this number."""
        return value > 0.0 and super().allows(value)


class Whole(traitlets.CInt):
    """A whole number; a page may send it as text."""

    info_text = "a whole number"

    def validate(self, obj, value):
        """Return `value` as an int; a fraction is refused, not cut off."""
        if isinstance(value, float) and not value.is_integer():
            self.error(obj, value)
        return super().validate(obj, value)


class Point(traitlets.List):
    """A list of finite numbers."""

    info_text = "a list of finite numbers"

    def __init__(self, *args, **settings):
        super().__init__(traitlets.CFloat(), *args, **settings)

    def validate(self, obj, value):
        """Return `value`, anything that counts numbers up, as a list of floats."""
        if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
            value = list(value)
        value = super().validate(obj, value)
        if not all(math.isfinite(x) for x in value):
            raise TraitError(f"{self.name} must hold finite numbers, got {value!r}")
        return value


class Rows(traitlets.List):
    """A list of lists of finite numbers: points, or one (low, high) a component."""

    info_text = "a list of lists of finite numbers"

    def __init__(self, *args, **settings):
        super().__init__(Point(), *args, **settings)


def within(proposal, low: float, high: float):
    """Return the value that a validator is asked about if it lies from low to high.

    Raises
    ------
    TraitError
        If it lies elsewhere, or is not a number.
    """
    if not low <= proposal.value <= high:
        raise TraitError(
            f"{proposal.trait.name} must be from {low:g} to {high:g}, got "
            f"{proposal.value!r}"
        )
    return proposal.value


def interval(name: str, pair: Sequence[float]) -> list[float]:
    """Return [low, high] as two numbers.

    Raises
    ------
    ValueError
        Unless both are finite, and the first is lower.
    """
    try:
        low, high = (float(x) for x in pair)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(
            f"{name} must be two finite numbers, the lower one first; got {pair!r}"
        )
    return [low, high]


def intervals(name: str, rows: Sequence[Sequence[float]], dim: int) -> list:
    """Return one [low, high] for each of `dim` components.

    Raises
    ------
    ValueError
        For another number of rows, and for a row that is no interval.
    """
    if len(rows) != dim:
        raise ValueError(
            f"{name} must hold {dim} pair(s) (low, high), one for each component of y; "
            f"got {rows!r}"
        )
    return [interval(f"each row of {name}", row) for row in rows]


def points(name: str, given: Tensor | Sequence, dim: int) -> Tensor:
    """Return points in R^dim, shape (n, dim), in float64; there may be none.

    Raises
    ------
    ValueError
        For another shape, and for numbers that are not finite.
    """
    found = torch.as_tensor(given, dtype=torch.float64).detach().cpu()
    if not found.numel():
        return found.new_zeros(0, dim)
    if found.shape[1:] != (dim,) or not found.isfinite().all():
        raise ValueError(
            f"{name} must hold finite numbers, shape (n, {dim}); got shape "
            f"{tuple(found.shape)}, {(~found.isfinite()).sum()} numbers not finite"
        )
    return found

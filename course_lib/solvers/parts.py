"""A state of several tensors: solved as one vector, given back as they came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps

import torch
from torch import Tensor, nn

from course_lib.solvers.checks import WITHOUT_TIME, without_time

__all__ = ["JoinedField", "takes_parts"]


class JoinedField(nn.Module):
    """A field on several tensors as a field on one vector.

    Parameters
    ----------
    f : callable ``f(t, parts) -> parts``, a tuple of Tensor each
    like : sequence of Tensor, whose shapes the parts have
    """

    def __init__(self, f: Callable, like: Sequence[Tensor]):
        super().__init__()
        self.f, self.shapes = f, [part.shape for part in like]
        if isinstance(f, nn.Module):
            self.training = f.training
        self.sizes = [part.numel() for part in like]

    def split(self, y: Tensor) -> tuple[Tensor, ...]:
        """The parts of a vector, or of n vectors: shape (..., total) -> (..., *shape)."""
        pieces = y.split(self.sizes, dim=-1)
        return tuple(
            x.unflatten(-1, s) if s else x[..., 0] for x, s in zip(pieces, self.shapes)
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt, shape (total,)."""
        try:
            slopes = self.f(t, self.split(y))
        except TypeError as error:
            if without_time(self.f):
                raise TypeError(WITHOUT_TIME) from error
            raise
        if not isinstance(slopes, (tuple, list)):
            raise TypeError(
                f"f must return {len(self.shapes)} tensors, as y0 has, got "
                f"{type(slopes).__name__}"
            )
        if not all(isinstance(slope, Tensor) for slope in slopes):
            got = ", ".join(type(slope).__name__ for slope in slopes)
            raise TypeError(f"f must return a Tensor for each part of y0, got ({got})")
        if any((s.dtype, s.device) != (y.dtype, y.device) for s in slopes):
            got = ", ".join(f"{s.dtype} on {s.device}" for s in slopes)
            raise ValueError(
                f"f must return tensors of the dtype and device of y0, {y.dtype} on "
                f"{y.device}, got {got}"
            )
        shapes = [tuple(slope.shape) for slope in slopes]
        if shapes != [tuple(shape) for shape in self.shapes]:
            raise ValueError(
                "f must return tensors of the shapes in y0, "
                f"{[tuple(shape) for shape in self.shapes]}, got {shapes}"
            )
        return torch.cat([slope.reshape(-1) for slope in slopes])


def takes_parts(odeint: Callable) -> Callable:
    """An `odeint` that also takes a tuple of tensors as y0, as torchdiffeq's does.

    Then f takes and returns such a tuple, each part has to meet the tolerance by itself,
    and the solution is a tuple of tensors of shape (len(t), *part.shape).
    """

    @wraps(odeint)
    def of_parts(f: Callable, y0, t, **settings):
        several = isinstance(y0, (tuple, list))
        if not several or not any(isinstance(part, Tensor) for part in y0):
            return odeint(f, y0, t, **settings)
        _check_parts(y0)
        if "parts" in settings:
            raise TypeError(
                f"parts={settings['parts']!r} does not go with a tuple as y0, whose "
                "tensors are the parts; leave it out"
            )
        joined = JoinedField(f, y0)
        # Only a module is known to have no other parameters than those it names.
        field = joined if isinstance(f, nn.Module) else joined.forward
        start = torch.cat([part.reshape(-1) for part in y0])
        ys = odeint(field, start, t, parts=tuple(joined.sizes), **settings)
        return joined.split(ys)

    return of_parts


def _check_parts(y0: Sequence[Tensor]) -> None:
    if not all(isinstance(part, Tensor) for part in y0):
        kinds = ", ".join(type(part).__name__ for part in y0)
        raise TypeError(f"y0 must be a Tensor or a tuple of Tensors, got ({kinds})")
    if len({(part.dtype, part.device) for part in y0}) > 1:
        kinds = ", ".join(f"{part.dtype} on {part.device}" for part in y0)
        raise TypeError(f"the parts of y0 must have one dtype and device, got {kinds}")

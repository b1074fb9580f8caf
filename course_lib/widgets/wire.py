"""What travels between Python and the browser: numbers, networks and pictures as text.

Text survives where binary buffers do not: in the state of a saved notebook, and in a
page of the book. ``decode`` in ``page/`` reads what `encode` writes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import torch
from PIL import Image
from torch import Tensor, nn

from course_lib.models import MLPDynamics

__all__ = [
    "ACTIVATIONS",
    "decode",
    "encode",
    "png",
    "quantise",
    "restore",
    "restore_rows",
    "round_rows",
    "shape_of",
    "widths_of",
]

# What may stand between the layers of a network: the browser has the same.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "relu": nn.ReLU,
}


LARGEST = 127  # what the largest number of a picture or a row is counted as


def encode(tensors: Iterable[Tensor], dtype: torch.dtype = torch.float32) -> str:
    """Return the numbers of all tensors, one after the other, as base64."""
    flat = [x.detach().cpu().to(dtype).flatten() for x in tensors]
    return _base64(torch.cat(flat).numpy().tobytes())


def decode(text: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return what `encode` wrote, shape (n,).

    Raises
    ------
    ValueError
        If the text is not base64, or not of whole numbers of bytes for `dtype`.
    """
    data = bytearray(base64.b64decode(text, validate=True))
    return torch.frombuffer(data, dtype=dtype)


def quantise(x: Tensor) -> tuple[str, float]:
    """Return x, of any shape, in 8 bits a number, multiples of a unit: what `encode` writes
    of them, and the unit.
    """
    x = x.detach().cpu().double()
    unit = x.abs().max().item() / LARGEST
    return encode([(x / unit).round()], torch.int8), unit


def restore(quantised: tuple[str, float]) -> Tensor:
    """Return what `quantise` wrote, shape (n,), in float64."""
    text, unit = quantised
    return decode(text, torch.int8).double() * unit


def round_rows(tensors: Iterable[Tensor]) -> tuple[str, str]:
    """Return matrices in 8 bits a number and vectors in 16, as two texts.

    Parameters
    ----------
    tensors : iterable of Tensor, shape (n,) a vector, (n, ...) a matrix of n rows

    Returns
    -------
    counts : str, how often each number of a matrix holds the unit of its row
    rest : str, the units of each matrix, and the vectors, in half precision
    """
    counts, rest = [torch.empty(0)], [torch.empty(0)]
    for x in tensors:
        if x.ndim > 1:
            rows = x.detach().cpu().double().flatten(1)
            units = (rows.abs().amax(1) / LARGEST).half().clamp(min=2**-24)
            counted = (rows / units.double()[:, None]).round().clamp(-LARGEST, LARGEST)
            counts.append(counted)
            rest.append(units)
        else:
            rest.append(x)
    return encode(counts, torch.int8), encode(rest, torch.float16)


def restore_rows(rounded: tuple[str, str], tensors: Iterable[Tensor]) -> None:
    """Write what `round_rows` wrote into tensors of the same shapes."""
    counts, rest = (
        decode(text, kind).double()
        for text, kind in zip(rounded, (torch.int8, torch.float16))
    )
    for x in tensors:
        found, rest = rest[: len(x)], rest[len(x) :]
        if x.ndim > 1:
            counted, counts = counts[: x.numel()], counts[x.numel() :]
            found = counted.view(len(x), -1) * found[:, None]
        x.copy_(found.view_as(x))


def shape_of(f: MLPDynamics) -> tuple[tuple[int, ...], str, bool]:
    """Return what the browser must know of a network beside its weights.

    Returns
    -------
    widths : tuple of int, from the input to the output
    activation : str, a name in `ACTIVATIONS`
    time : bool, whether t is an input

    Raises
    ------
    TypeError, ValueError
        If the browser cannot evaluate the network.
    """
    if not isinstance(f, MLPDynamics):
        raise TypeError(
            f"f must be a course_lib.models.MLPDynamics, got {type(f).__name__}"
        )
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    between = {type(part) for part in f.net if not isinstance(part, nn.Linear)}
    if len(between) != 1 or not between <= set(names):
        raise ValueError(
            "between its layers f must have nn.Tanh, nn.ELU or nn.ReLU, got "
            + ", ".join(sorted(kind.__name__ for kind in between))
        )
    return tuple(widths_of(f.net)), names[between.pop()], f.time


def widths_of(net: nn.Sequential) -> list[int]:
    """Return the widths of a network from its input to its output."""
    layers = [part for part in net if isinstance(part, nn.Linear)]
    return [layers[0].in_features, *(layer.out_features for layer in layers)]


def png(image: Tensor) -> str:
    """Return an image, shape (height, width), ink being 1, as the address of a picture."""
    pixels = (255 * (1 - image)).round().to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + _base64(file.getvalue())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()

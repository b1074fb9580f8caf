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
    "shape_of",
    "widths_of",
]

# What may stand between the layers of a network: the browser has the same.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "relu": nn.ReLU,
}


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


def quantise(x: Tensor, dtype: torch.dtype) -> tuple[str, float]:
    """Return x in multiples of a unit: what `encode` writes of them, and the unit.

    Parameters
    ----------
    x : Tensor, any shape
    dtype : torch.dtype of whole numbers; its largest stands for the largest ``|x|``
    """
    x = x.detach().cpu().double()
    unit = x.abs().max().item() / torch.iinfo(dtype).max
    return encode([(x / unit).round()], dtype), unit


def restore(quantised: tuple[str, float], dtype: torch.dtype) -> Tensor:
    """Return what `quantise` wrote, shape (n,), in float64."""
    text, unit = quantised
    return decode(text, dtype).double() * unit


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

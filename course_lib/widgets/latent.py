"""Live figure: a walk between two codes of a latent ODE, and the curves on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import traitlets
from torch import Tensor, nn

from course_lib.latent import LatentODE
from course_lib.solvers import Solution
from course_lib.widgets.figure import PathFigure
from course_lib.widgets.page.module import module
from course_lib.widgets.traits import Point, Positive, Rows, points, within
from course_lib.widgets.wire import decode, encode, widths_of

__all__ = ["LatentExplorer", "LatentSolution"]


@dataclass(frozen=True)
class LatentSolution:
    """What a LatentExplorer shows.

    Attributes
    ----------
    code : Tensor, shape (d,), the point of the latent space
    solve : Solution, `ys` holds the latent state at both ends, shape (2, d)
    ends : Tensor, shape (2, 2), both ends of the decoded curve
    """

    code: Tensor
    solve: Solution
    ends: Tensor


class LatentExplorer(PathFigure):
    """A walk between two codes of a latent ODE, and the curves that its points decode to.

    Parameters
    ----------
    model : LatentODE of observations in the plane; its field and its decoder travel in
        the page
    start, end : Tensor, shape (d,), the codes that the walk joins
    t_end : float, the end of the first picture's curves; the figure goes to twice that
    codes : Tensor, shape (n, d), of other series, drawn as dots
    coordinates : two ints, which coordinates can be dragged; those in which start and
        end differ most unless given
    share : float from 0 to 1, of the way from start to end
    shift : two floats, added to those coordinates
    method, step_size, rtol : the solver of the first picture

    Raises
    ------
    TypeError, ValueError, TraitError
        For a model or a value that does not fit; the message says what does.
    """

    _esm = module("latent.mjs")
    still = (
        "A live figure: the curve that a trained latent ODE decodes from a point of its "
        "latent space, on the way from a clockwise to a counter-clockwise series."
    )
    facts: ClassVar = {
        "method": "its name",
        "t_end": "end time",
        "share": "of the way",
        "shift1": "first shift",
        "shift2": "second shift",
        "h": "step size of a fixed-step method",
        "rtol": "tolerance of an adaptive method",
        "nfe": "evaluations of f",
        "steps": "steps taken",
        "area": "swept by the curve, negative clockwise",
        "error": "distance from the exact end of the curve",
    }
    readout = traitlets.Unicode(read_only=True).tag(sync=True)
    readout_widths = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    start = Point(read_only=True).tag(sync=True)
    end = Point(read_only=True).tag(sync=True)
    codes = Rows(read_only=True).tag(sync=True)
    coordinates = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    t_end = Positive(1.0).tag(sync=True)
    longest = Positive(read_only=True).tag(sync=True)
    window = Rows(read_only=True).tag(sync=True)
    plane = Rows(read_only=True).tag(sync=True)
    share = traitlets.CFloat(0.0).tag(sync=True)
    shift = Point([0.0, 0.0], minlen=2, maxlen=2).tag(sync=True)

    def __init__(
        self,
        model: LatentODE,
        *,
        start: Tensor,
        end: Tensor,
        t_end: float,
        codes: Tensor | None = None,
        coordinates: Sequence[int] | None = None,
        **settings,
    ):
        readout_widths = _decoder_widths(model)
        weights = self._fix_networks(model.f)
        dim = self.widths[-1]
        start, end = (torch.as_tensor(z).detach().cpu().float() for z in (start, end))
        if start.shape != (dim,) or end.shape != (dim,):
            raise ValueError(
                f"start and end must have shape ({dim},), as the latent states of model; "
                f"got {tuple(start.shape)} and {tuple(end.shape)}"
            )
        pair = _draggable(start, end, coordinates)
        others = points("codes", () if codes is None else codes, dim).float()
        states, curves = _walk(model, start, end, t_end)
        self._fix(
            readout=encode(model.decoder.parameters()),
            readout_widths=readout_widths,
            start=start.tolist(),
            end=end.tolist(),
            codes=_rounded(others[:, pair]),
            coordinates=pair,
            longest=2 * t_end,
            window=_around(curves),
            plane=_around(torch.cat((states, others))[:, pair]),
        )
        super().__init__(weights=weights, t_end=t_end, **settings)

    @traitlets.validate("share")
    def _validate_share(self, proposal):
        return within(proposal, 0, 1)

    @torch.no_grad()
    def solution(self) -> LatentSolution:
        """Return what the figure shows, with the weights that the page carries.

        Raises
        ------
        SolverError
            If the solve cannot go on.
        """
        start, end, shift = (
            torch.tensor(list(x), dtype=torch.float64)
            for x in (self.start, self.end, self.shift)
        )
        code = start + self.share * (end - start)
        code[self.coordinates] += shift
        path = self._solve(code, 0.0)
        inputs, width, outputs = self.readout_widths
        look = nn.Sequential(
            nn.Linear(inputs, width), nn.ELU(), nn.Linear(width, outputs)
        )
        nn.utils.vector_to_parameters(decode(self.readout), look.parameters())
        return LatentSolution(code, path, look.double()(path.ys))


def _decoder_widths(model: LatentODE) -> list[int]:
    """Return the widths of the decoder, if the browser can evaluate the model."""
    if not isinstance(model, LatentODE):
        raise TypeError(
            f"model must be a course_lib.latent.LatentODE, got {type(model).__name__}"
        )
    widths = widths_of(model.decoder)
    if widths[-1] != 2:
        raise ValueError(f"model must observe the plane: 2 numbers, got {widths[-1]}")
    return widths


def _draggable(
    start: Tensor, end: Tensor, coordinates: Sequence[int] | None
) -> list[int]:
    """Return the two coordinates given, or those in which start and end differ most."""
    if coordinates is None:
        return (end - start).abs().topk(2).indices.sort().values.tolist()
    pair, dim = list(coordinates), len(start)
    if len(set(pair)) != 2 or not all(0 <= c < dim for c in pair):
        raise ValueError(
            f"coordinates must be two different numbers from 0 to {dim - 1}, got "
            f"{coordinates!r}"
        )
    return pair


@torch.no_grad()
def _walk(
    model: LatentODE, start: Tensor, end: Tensor, t_end: float
) -> tuple[Tensor, Tensor]:
    """Return all points of the latent paths of ten codes on the walk, and of their curves."""
    device = next(model.parameters()).device
    codes = torch.lerp(start, end, torch.linspace(0, 1, 10)[:, None])
    states = model.flow(codes.to(device), torch.linspace(0, t_end, 50, device=device))
    curves = model.decoder(states)
    return states.cpu().flatten(0, 1), curves.cpu().flatten(0, 1)


def _around(points: Tensor) -> list[list[float]]:
    """Return one (low, high) for each coordinate: a fifth wider than the points."""
    low, high = points.min(dim=0).values, points.max(dim=0).values
    air = 0.2 * (high - low)
    return _rounded(torch.stack((low - air, high + air), dim=1))


def _rounded(x: Tensor) -> list[list[float]]:
    """Return a matrix as lists of numbers, to three decimals."""
    return [[round(v, 3) for v in row] for row in x.tolist()]

"""Live figure: a digit, a tolerance, and the steps of the solver that classifies it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import traitlets
from torch import Tensor, nn

from course_lib.models import ConvDynamics, DigitClassifier, NeuralODE
from course_lib.solvers import Solution, solve
from course_lib.widgets.figure import LiveFigure
from course_lib.widgets.page.module import module
from course_lib.widgets.traits import Positive, Whole, within
from course_lib.widgets.wire import png, quantise, restore, restore_rows, round_rows

__all__ = ["DigitDepthExplorer", "DigitSolution"]

SURE = 0.9  # the picker calls a digit hard that the model gives less


class Quantised(traitlets.Tuple):
    """Numbers as `quantise` writes them."""

    def __init__(self, **settings):
        super().__init__(traitlets.Unicode(), traitlets.Float(), **settings)


@dataclass(frozen=True)
class DigitSolution:
    """What a DigitDepthExplorer shows.

    Attributes
    ----------
    solve : Solution, `ys` holds both ends of the ODE block, shape (2, 1, 64, 6, 6)
    probabilities : Tensor, shape (10,)
    answer : int, the most probable class
    """

    solve: Solution
    probabilities: Tensor
    answer: int


class DigitDepthExplorer(LiveFigure):
    """A digit, a tolerance, and how often the solver calls f to classify it.

    The page carries the ODE block, the head and what the stem makes of each digit in 8
    bits a number; `solution` computes with the same rounded numbers.

    Parameters
    ----------
    model : DigitClassifier with an ODE block of `ConvDynamics` on 64 × 6 × 6 numbers
    images : Tensor, shape (n, 1, 28, 28)
    labels : Tensor, shape (n,)
    indices : sequence of int, which of them to offer
    digit : int, the one of the first picture: its place in `indices`
    rtol : float, positive; atol is the same

    Raises
    ------
    TypeError, ValueError, TraitError
        For a network or a value that does not fit; the message says what does.
    """

    _esm = module("digit.mjs")
    still = (
        "A live figure: the steps of the solver and the class probabilities of an "
        "ODE-Net, for a digit and a tolerance of your choice."
    )
    facts: ClassVar = {
        "digit": "place of the picture, from 0",
        "label": "its class",
        "answer": "class of the network",
        "probability": "of the answer, 0 to 1",
        "rtol": "tolerance",
        "nfe": "evaluations of f",
        "accepted": "steps",
        "rejected": "attempts",
    }
    weights = traitlets.Tuple(
        traitlets.Unicode(), traitlets.Unicode(), read_only=True
    ).tag(sync=True)
    features = traitlets.List(Quantised(), read_only=True).tag(sync=True)
    pictures = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    labels = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    digit = Whole(0).tag(sync=True)
    rtol = Positive(1e-3).tag(sync=True)

    @torch.no_grad()
    def __init__(
        self,
        model: DigitClassifier,
        images: Tensor,
        labels: Tensor,
        indices: Sequence[int],
        **settings,
    ):
        f = _block(model)
        indices = list(indices)
        if not indices:
            raise ValueError("indices must name at least one image, got none")
        chosen, truth = images[indices].cpu(), labels[indices].tolist()
        states = model.stem(chosen.to(next(model.parameters()).device))
        likely = model.head(model.body(states)).softmax(1).tolist()
        self._fix(
            weights=round_rows(_carried(f, model.head)),
            features=[quantise(y) for y in states],
            pictures=[png(image[0]) for image in chosen],
            labels=truth,
            names=[_name(*row) for row in zip(indices, truth, likely)],
        )
        super().__init__(**settings)

    @traitlets.validate("digit")
    def _validate_digit(self, proposal):
        return within(proposal, 0, len(self.labels) - 1)

    def network(self) -> DigitClassifier:
        """Return the ODE block and the head that the page carries, in float64.

        The stem is not the trained one.
        """
        f = ConvDynamics()
        model = DigitClassifier(NeuralODE(f)).double()
        restore_rows(self.weights, _carried(f, model.head))
        return model

    @torch.no_grad()
    def solution(self) -> DigitSolution:
        """Return what the figure shows, from the same rounded numbers.

        Raises
        ------
        SolverError
            If the solve cannot go on.
        """
        model = self.network()
        y0 = restore(self.features[self.digit]).view(1, 64, 6, 6)
        made = solve(_block(model), y0, [0.0, 1.0], rtol=self.rtol, atol=self.rtol)
        likely = model.head(made.ys[-1]).softmax(1)[0]
        return DigitSolution(made, likely, likely.argmax().item())


def _carried(f: ConvDynamics, head: nn.Module) -> list[Tensor]:
    """Return all numbers that travel, in the order in which the page reads them."""
    return [p.data for part in (f, head) for p in part.parameters()]


def _block(model: DigitClassifier) -> ConvDynamics:
    """Return the field of the ODE block, if the browser can evaluate the model."""
    if not isinstance(model, DigitClassifier):
        raise TypeError(
            f"model must be a course_lib.models.DigitClassifier, got {type(model).__name__}"
        )
    f = getattr(model.body, "f", None)
    if not isinstance(f, ConvDynamics):
        raise TypeError(
            "the body of model must be a NeuralODE of ConvDynamics, got "
            f"{type(model.body).__name__}"
        )
    shape = (f.conv1.out_channels, f.norm1.num_groups)
    if shape != (64, 32):
        raise ValueError(
            f"model must have 64 channels in 32 groups, got {shape[0]} in {shape[1]}"
        )
    return f


def _name(index: int, label: int, likely: list[float]) -> str:
    """Return what the picker calls a digit."""
    answer = likely.index(max(likely))
    if answer != label:
        return f"{label}, read as {answer} (no. {index})"
    return f"{label}{', hard' if likely[label] < SURE else ''} (no. {index})"

"""Live figure: one Runge–Kutta step taken apart, attempt after attempt."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import ClassVar

import torch
import traitlets
from torch import Tensor

from course_lib.solvers import (
    METHODS,
    AdjointDynamics,
    Quadrature,
    Settings,
    adaptive_steps,
    fixed_steps,
    rk_step,
    solve,
    weighted_sum,
)
from course_lib.solvers.steps import over_tolerance, to_float
from course_lib.systems import SYSTEMS
from course_lib.widgets.figure import LiveFigure
from course_lib.widgets.page.module import PLANE, module, style
from course_lib.widgets.traits import Point, Positive, Whole

__all__ = ["StepAttempt", "StepExplorer", "line_of", "listed"]

LISTINGS: dict[str, tuple[Callable, ...]] = {
    "adaptive": (rk_step, adaptive_steps),
    "fixed": (rk_step, fixed_steps),
}
# What does the work of each moment: a function, and how its lines begin.
WORK: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "first": (
        adaptive_steps,
        ("h = settings.first_step or", "size = left if last else h"),
    ),
    "size": (adaptive_steps, ("size = left if last else h",)),
    "equal": (fixed_steps, ("size = h if i < n - 1 else",)),
    "start": (rk_step, ("stages = [f(t, y)",)),
    "point": (rk_step, ("y_stage = advance(",)),
    "slope": (rk_step, ("stages.append(",)),
    "sum": (rk_step, ("return advance(",)),
    "there": (rk_step, ("return y_stage",)),
    "error": (adaptive_steps, ("ratio = _error_ratio(",)),
    "verdict": (adaptive_steps, ("if ratio <= 1.0 and",)),
    "accepted": (adaptive_steps, ("h_next = size * ",)),
    "rejected": (adaptive_steps, ("shrink = ", "h, rejected = size * shrink")),
    "take": (fixed_steps, ("yield Step(",)),
}


@dataclass(frozen=True)
class StepAttempt:
    """A step that a solver tried.

    Attributes
    ----------
    t, h : float, where it begins, and its signed length
    y, y_next : Tensor, shape (dim,), the state there, and where the attempt leads
    stages : Tensor, shape (s, dim), k₁ … k_s
    error : Tensor, shape (dim,), estimated; None of a method that estimates none
    ratio : float, the error over what it may be; None of such a method
    accepted : bool
    h_next : float, the size to try next
    """

    t: float
    h: float
    y: Tensor
    y_next: Tensor
    stages: Tensor
    error: Tensor | None
    ratio: float | None
    accepted: bool
    h_next: float


class StepExplorer(LiveFigure):
    """One Runge–Kutta step taken apart: stages, error estimate, verdict, next size.

    Parameters
    ----------
    problem : str, a name in `course_lib.systems.SYSTEMS`, in the plane
    method : str, a name in `course_lib.solvers.METHODS`
    step_size : float, positive; of a method of fixed steps
    rtol : float, positive; atol is the same. Of an adaptive method.
    first_step : float, positive, what an adaptive method tries first
    start : two floats, y at the first time; that of the problem unless given
    moment : int, what of the attempts is shown first
    backward : bool
        Whether the steps are those of the way back, of y and the adjoint λ together,
        from where the path ends. The loss is the first component there.
    attempts : int, how many are taken apart at most

    Raises
    ------
    TraitError
        For a value that is not allowed; the message says what is.
    """

    _esm = module("step.mjs")
    _css = LiveFigure._css + style("step.css")
    still = (
        "A live figure: one Runge–Kutta step taken apart, its stages one after the "
        "other, its error estimate, whether it is accepted, and the next step size, "
        "with the line of the solver that does it."
    )
    facts: ClassVar = {
        "accepted": "of the attempts",
        "rejected": "of the attempts",
        "nfe": "evaluations of f",
    }
    problem = traitlets.Enum(PLANE, "vanderpol").tag(sync=True)
    method = traitlets.Enum(list(METHODS), "bosh3").tag(sync=True)
    step_size = Positive(0.5).tag(sync=True)
    rtol = Positive(1e-2).tag(sync=True)
    first_step = Positive(1.0).tag(sync=True)
    start = Point([1.0, 0.0], minlen=2, maxlen=2).tag(sync=True)
    moment = Whole(0).tag(sync=True)
    backward = traitlets.Bool(read_only=True).tag(sync=True)
    attempts = Whole(6, read_only=True).tag(sync=True)
    listing = traitlets.Dict(read_only=True).tag(sync=True)
    marks = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(self, *, backward: bool = False, attempts: int = 6, **settings):
        problem = settings.get("problem", "vanderpol")
        if problem in PLANE:
            settings.setdefault("start", SYSTEMS[problem].y0)
        super().__init__(**settings)
        listing = {name: listed(*functions) for name, functions in LISTINGS.items()}
        marks = {
            name: {
                moment: [line_of(listing[name], text) for text in texts]
                for moment, (function, texts) in WORK.items()
                if function in functions
            }
            for name, functions in LISTINGS.items()
        }
        self._fix(backward=backward, attempts=attempts, listing=listing, marks=marks)

    @traitlets.validate("moment", "attempts")
    def _validate_count(self, proposal):
        least = int(proposal.trait.name == "attempts")
        if proposal.value < least:
            raise traitlets.TraitError(
                f"{proposal.trait.name} must be {least} or more, got {proposal.value}"
            )
        return proposal.value

    @torch.no_grad()
    def solution(self) -> tuple[StepAttempt, ...]:
        """Return the attempts that the figure takes apart.

        Raises
        ------
        SolverError
            If it cannot go on that far.
        """
        adaptive = METHODS[self.method].adaptive
        tried = self._adaptive() if adaptive else self._fixed()
        return tuple(islice(tried, self.attempts))

    def _task(self) -> tuple[Callable, float, Tensor, float]:
        """Return f, t, y and t_end, on the way there or on the way back."""
        system = SYSTEMS[self.problem]
        (t0, t1), y0 = system.span, torch.tensor(list(self.start), dtype=torch.float64)
        if not self.backward:
            return system.f, t0, y0, t1
        end = solve(system.f, y0, system.span, rtol=1e-12, atol=1e-14).ys[-1]
        flow = AdjointDynamics(system.f, end, (), Quadrature((), METHODS[self.method]))
        lam = torch.tensor([1.0, 0.0], dtype=torch.float64)
        return flow.slope, t1, torch.stack((end, lam)), t0

    def _fixed(self) -> Iterator[StepAttempt]:
        f, t, y, t_end = self._task()
        settings = Settings(method=self.method, step_size=self.step_size)
        for step in fixed_steps(f, t, y, t_end, settings):
            t, h = to_float(step.t), to_float(step.h)
            y, y_next = step.y.flatten(), step.y_next.flatten()
            stages = torch.stack(step.stages).flatten(1)
            yield StepAttempt(t, h, y, y_next, stages, None, None, True, self.step_size)

    def _adaptive(self) -> Iterator[StepAttempt]:
        """Yield what `adaptive_steps` tries: `also` hears of every attempt."""
        f, t, y, t_end = self._task()
        settings = Settings(
            method=self.method,
            rtol=self.rtol,
            atol=self.rtol,
            first_step=self.first_step,
            parts=2 if self.backward else 1,
        )
        sizes: list[float] = []

        def also(size: float) -> float:
            sizes.append(size)
            return 0.0

        n, sign = 0, (1 if t_end > t else -1)
        for step in adaptive_steps(f, t, y, t_end, settings, also=also):
            found = [*sizes[n:], step.h_next]  # the last of the sizes was accepted
            n = len(sizes)
            for i, (size, after) in enumerate(pairwise(found), start=2):
                accepted = i == len(found)
                yield _tried(f, step.t, step.y, sign * size, settings, accepted, after)


def _tried(f, t, y, h: float, settings, accepted: bool, h_next: float) -> StepAttempt:
    """Return an attempt of an adaptive method."""
    tableau = settings.tableau
    y_next, stages = rk_step(f, t, y, h, tableau)
    error = h * weighted_sum(tableau.b_error, stages)
    over = over_tolerance(error.clone(), y, y_next, settings).reshape(
        settings.parts, -1
    )
    ratio = over.square().mean(1).sqrt().max().item()
    return StepAttempt(
        to_float(t),
        h,
        y.flatten(),
        y_next.flatten(),
        torch.stack(stages).flatten(1),
        error.flatten(),
        ratio,
        accepted,
        h_next,
    )


# --- the lines that do it -------------------------------------------------------------


def listed(*functions: Callable) -> list[str]:
    """Return the lines of functions as they are written, without their docstrings."""
    found = []
    for function in functions:
        text = textwrap.dedent(inspect.getsource(function))
        lines = text.splitlines()
        (node,) = ast.parse(text).body
        assert isinstance(node, ast.FunctionDef)
        if ast.get_docstring(node) is not None:
            words = node.body[0]
            del lines[words.lineno - 1 : words.end_lineno]
        found += [*lines, ""]
    return found[:-1]


def line_of(lines: list[str], text: str) -> int:
    """Return the place of the line that begins with a text.

    Raises
    ------
    ValueError
        Unless there is exactly one.
    """
    found = [i for i, line in enumerate(lines) if line.strip().startswith(text)]
    if len(found) != 1:
        raise ValueError(
            f"one line must begin with {text!r}, for the figure that marks it; "
            f"{len(found)} do: did the solver change?"
        )
    return found[0]

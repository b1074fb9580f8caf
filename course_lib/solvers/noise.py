"""Stochastic differential equations: ``dy = f(t, y) dt + g(t, y) dW``.

`BrownianPath` is W: one path that can be asked at any time. A method is data
(`SDE_METHODS`): its step, the integral that it computes, its orders. The noise is
diagonal: every component of y has a Brownian motion of its own, and g its size.

References
----------
Kloeden, Platen, *Numerical Solution of Stochastic Differential Equations*.
Higham 2001, An algorithmic introduction to numerical simulation of stochastic
differential equations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.solvers.chance import WORDS, normals_at
from course_lib.solvers.checks import (
    GuardedField,
    SolverError,
    all_finite,
    check_state,
    check_times,
    detached,
    leaf_of,
    wants_gradient,
)
from course_lib.solvers.settings import check_choice, check_positive, check_whole

__all__ = [
    "SDE_METHODS",
    "BrownianPath",
    "SDEMethod",
    "SDESolution",
    "euler_maruyama_step",
    "milstein_step",
    "solve_sde",
    "stochastic_heun_step",
    "to_ito",
    "to_stratonovich",
]

DEPTH = 30  # how often the span is halved at most
DIGITS = 40  # binary digits of W, counted from the size that it has at the end

# --- the path -------------------------------------------------------------------------


@dataclass(frozen=True)
class BrownianPath:
    """A Brownian path W over `span`, fixed by its seed, zero at the start.

    It holds no numbers: W at a time is computed when it is asked for, from the whole span
    by halves. In the middle of two known points a Brownian motion is normal, with their
    mean and a quarter of their distance in time as variance (Lévy's construction). So the
    answers depend neither on what was asked before nor on the order, and a finer question
    changes no coarser answer. Below a 2³⁰th of the span the path is straight.

    W is rounded to whole multiples of a power of two, some 10⁻¹² of its size at the end.
    So differences and their sums are exact in float64: the increments over two halves add
    up to that over the whole, to the last digit.

    Attributes
    ----------
    shape : tuple of int, of W at one time; components are independent
    seed : int from 0 up to 2³²
    span : (first, last) time, increasing

    References
    ----------
    Lévy 1939; Li, Wong, Chen, Duvenaud 2020, Scalable Gradients for Stochastic
    Differential Equations, section 4 (the tree).
    """

    shape: tuple[int, ...] = ()
    seed: int = 0
    span: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self):
        shape = (self.shape,) if isinstance(self.shape, int) else tuple(self.shape)
        object.__setattr__(self, "shape", shape)
        start, end = self.span
        if not (start < end and math.isfinite(end - start)):
            raise ValueError(
                "span must be two finite times, the earlier one first; got "
                f"{self.span!r}"
            )
        if not (isinstance(self.seed, int) and 0 <= self.seed < WORDS):
            raise ValueError(
                f"seed must be a whole number from 0 up to 2**32, got {self.seed!r}"
            )

    def __call__(self, t: float | Tensor | Sequence[float]) -> Tensor:
        """W at the times t, shape (*t.shape, *shape), in float64.

        Raises
        ------
        ValueError
            For a time outside of the span.
        """
        times = torch.as_tensor(t, dtype=torch.float64).detach().cpu()
        start, end = self.span
        share = (times - start) / (end - start)
        if not ((share >= 0) & (share <= 1)).all():
            raise ValueError(
                f"t must lie in the span {self.span} of the path, got "
                f"{times.min().item():g} to {times.max().item():g}; give "
                "BrownianPath(span=…) all times that you will ask for"
            )
        values = self._descend(share.flatten())
        return values.view((*times.shape, *self.shape))

    def increments(self, t: Tensor | Sequence[float]) -> Tensor:
        """``W(t[i + 1]) - W(t[i])``, shape (len(t) - 1, *shape), in float64.

        Exact: they add up to the increment over the whole. Times may decrease.
        """
        return self(t).diff(dim=0)

    def _descend(self, share: Tensor) -> Tensor:
        """W at shares of the span, (n,) -> (n, components)."""
        n, size = math.prod(self.shape), math.sqrt(self.span[1] - self.span[0])
        unit = 2.0 ** (math.floor(math.log2(size)) - DIGITS)
        low = torch.zeros(len(share), n, dtype=torch.float64)
        at_end = normals_at(self.seed, torch.zeros(1, dtype=torch.int64), n)
        high = (size * at_end / unit).round().mul(unit).expand_as(low)
        node = torch.ones(len(share), dtype=torch.int64)
        for level in range(DEPTH):
            if ((share == 0) | (share == 1)).all():
                break
            asked, which = node.unique(return_inverse=True)
            bend = normals_at(self.seed, asked, n)[which]
            middle = (low + high) / 2 + size * 2 ** (-level / 2 - 1) * bend
            middle = (middle / unit).round() * unit
            right = share >= 0.5
            low = torch.where(right[:, None], middle, low)
            high = torch.where(right[:, None], high, middle)
            share, node = 2 * share - right.double(), 2 * node + right.long()
        between = low + share[:, None] * (high - low)
        return (between / unit).round() * unit


# --- one step -------------------------------------------------------------------------


def euler_maruyama_step(f: Callable, g: Callable, t, y: Tensor, h, dw) -> Tensor:
    """``y + h f + g dW``, with f and g at the start of the step: Itô's integral.

    Parameters
    ----------
    f, g : callables of (t, y), drift and diffusion
    t, h : float or 0-d Tensor, start and size of the step
    y : Tensor, shape (*state)
    dw : Tensor, what W gains in the step; its variance is h

    References
    ----------
    Maruyama 1955; Kloeden, Platen, 10.2.
    """
    return y + h * f(t, y) + g(t, y) * dw


def milstein_step(f: Callable, g: Callable, t, y: Tensor, h, dw) -> Tensor:
    """Euler and Maruyama, and ``½ g ∂g/∂y (dW² - h)``: Itô's integral.

    The term is what g does not keep still in the step. Each component of g must depend on
    that component of y alone; otherwise terms are missing, which need more of W than its
    increment (Lévy's areas). Parameters as for `euler_maruyama_step`.

    References
    ----------
    Milstein 1975; Kloeden, Platen, 10.3.
    """
    size, slope = _with_slope(g, t, y)
    return y + h * f(t, y) + size * dw + size * slope * (dw * dw - h) / 2


def stochastic_heun_step(f: Callable, g: Callable, t, y: Tensor, h, dw) -> Tensor:
    """The mean of f and g at both ends of an Euler step: Stratonovich's integral.

    Parameters as for `euler_maruyama_step`.

    References
    ----------
    Rümelin 1982; Kloeden, Platen, 15.5 for the weak sense.
    """
    drift, size = f(t, y), g(t, y)
    ahead = y + h * drift + size * dw
    drift, size = drift + f(t + h, ahead), size + g(t + h, ahead)
    return y + h / 2 * drift + size / 2 * dw


@dataclass(frozen=True)
class SDEMethod:
    """A method for SDEs.

    Attributes
    ----------
    name, label : str, as code and as a menu have it
    integral : str, 'ito' or 'stratonovich': the meaning of g dW for which it is right
    step : callable ``step(f, g, t, y, h, dw) -> y_next``
    strong : float, order of the mean error of a path, where g is diagonal
    weak : float, order of the error of a mean
    evaluations : (of f, of g) a step
    """

    name: str
    label: str
    integral: str
    step: Callable
    strong: float
    weak: float
    evaluations: tuple[int, int]


SDE_METHODS = {
    method.name: method
    for method in (
        SDEMethod(
            "euler-maruyama",
            "Euler–Maruyama",
            "ito",
            euler_maruyama_step,
            strong=0.5,
            weak=1.0,
            evaluations=(1, 1),
        ),
        SDEMethod(
            "milstein",
            "Milstein",
            "ito",
            milstein_step,
            strong=1.0,
            weak=1.0,
            evaluations=(1, 1),
        ),
        SDEMethod(
            "heun",
            "Heun",
            "stratonovich",
            stochastic_heun_step,
            strong=1.0,
            weak=1.0,
            evaluations=(2, 2),
        ),
    )
}

# --- a whole solve --------------------------------------------------------------------


@dataclass(frozen=True)
class SDESolution:
    """A path of an SDE.

    Attributes
    ----------
    t : Tensor, shape (n,), the times asked for
    ys : Tensor, shape (n, *state); ``ys[0]`` is y0
    steps : int, how many were made
    nfe : int, evaluations of f; of g there are as many
    integral : str, 'ito' or 'stratonovich', what ``g dW`` meant
    """

    t: Tensor
    ys: Tensor
    steps: int
    nfe: int
    integral: str


def solve_sde(
    f: Callable,
    g: Callable,
    y0: Tensor,
    t: Tensor | Sequence[float],
    *,
    path: Callable[[Tensor], Tensor],
    step_size: float,
    method: str = "euler-maruyama",
    max_steps: int = 1_000_000,
) -> SDESolution:
    """Solve ``dy = f dt + g dW`` along one Brownian path (or one for each row of y0).

    Parameters
    ----------
    f, g : callables ``f(t, y)``, ``g(t, y)``, of the shape of y
    y0 : Tensor, shape (*state), floating point
    t : Tensor or sequence of floats, shape (n,), strictly increasing; for a Stratonovich
        method it may decrease
    path : BrownianPath of the shape of y0 over a span that holds t, or a callable
        ``W(t) -> (len(t), *state)``
    step_size : float, positive
        Between two times of t steps are equal, and as long as they can be without being
        longer than this. The same `path` with another step size is the same noise.
    method : str, a name in `SDE_METHODS`; each computes one integral: 'euler-maruyama' and
        'milstein' Itô's, 'heun' Stratonovich's. `to_ito` and `to_stratonovich` lead from
        one to the other.
    max_steps : int

    Returns
    -------
    SDESolution
        Gradients reach y0 and whatever f and g use, through the steps.

    Raises
    ------
    TypeError, ValueError
        For arguments that make no sense; the message says what does.
    SolverError
        If the path overflows, or takes too many steps.
    """
    chosen, times = _checked(f, g, y0, t, path, method)
    ends, asked = _step_ends(times, step_size, max_steps)
    dw = _noise(path, ends, y0)
    drift = GuardedField(f, y0, names=("f", "the drift", "y"))
    size = GuardedField(g, y0, names=("g", "the diffusion", "y"))
    if chosen.step is milstein_step and y0.numel() > 1:
        _check_diagonal(size, ends[0].item(), y0)
    moments, y, ys = ends.tolist(), y0, [y0]
    for i, (now, later) in enumerate(pairwise(moments)):
        y = chosen.step(drift, size, now, y, later - now, dw[i])
        if not all_finite(y):
            raise _not_finite(now, later - now, method)
        if i + 1 in asked:
            ys.append(y)
    if chosen.step is milstein_step and y0.numel() > 1:
        _check_diagonal(size, moments[-1], y)  # some terms are 0 at the start
    return SDESolution(
        times, torch.stack(ys), len(dw), drift.nfe, integral=chosen.integral
    )


def to_ito(f: Callable, g: Callable) -> Callable:
    """The drift ``f + ½ g ∂g/∂y`` of the Itô equation that has the solutions of the
    Stratonovich equation ``dy = f dt + g ∘ dW``; each g of its own component alone.

    References
    ----------
    Kloeden, Platen, 4.9.
    """
    return _shifted(f, g, 0.5)


def to_stratonovich(f: Callable, g: Callable) -> Callable:
    """The drift ``f - ½ g ∂g/∂y`` of the Stratonovich equation that has the solutions of
    the Itô equation ``dy = f dt + g dW``.
    """
    return _shifted(f, g, -0.5)


def _shifted(f: Callable, g: Callable, share: float) -> Callable:
    def drift(t, y):
        size, slope = _with_slope(g, t, y)
        return f(t, y) + share * size * slope

    return drift


def _with_slope(g: Callable, t, y: Tensor) -> tuple[Tensor, Tensor]:
    """g and the derivative of each of its components by that component of y."""
    through = torch.is_grad_enabled() and (
        # Without weights that want a gradient a graph would lead nowhere.
        y.requires_grad or g(t, y).requires_grad
    )
    with torch.enable_grad():
        inner = y if through and y.requires_grad else leaf_of(y, "the slope of g")
        size = g(t, inner)
        slope = None
        if size.requires_grad:
            (slope,) = torch.autograd.grad(
                size.sum(), inner, create_graph=through, allow_unused=True
            )
    slope = torch.zeros_like(y) if slope is None else slope
    return (size, slope) if through else (detached(size), detached(slope))


# --- what is asked --------------------------------------------------------------------


def _checked(f, g, y0, t, path, method) -> tuple[SDEMethod, Tensor]:
    for name, function in (("f", f), ("g", g), ("path", path)):
        if not callable(function):
            shape = (
                "path(t), such as BrownianPath" if name == "path" else f"{name}(t, y)"
            )
            raise TypeError(
                f"{name} must be callable as {shape}, got {type(function).__name__}; the "
                "order is solve_sde(f, g, y0, t, path=…)"
            )
    check_choice("method", method, SDE_METHODS)
    check_state(y0)
    times = check_times(t)
    if wants_gradient(times):
        raise ValueError(
            "t must not require a gradient: a Brownian path has no derivative by time; "
            "use t.detach()"
        )
    chosen = SDE_METHODS[method]
    if len(times) > 1 and times[1] < times[0] and chosen.integral == "ito":
        raise ValueError(
            f"t must increase for method={method!r}: Itô's integral takes g at the "
            "earlier end of a step and is another one backwards; use method='heun' with "
            "the drift to_stratonovich(f, g)"
        )
    return chosen, times


def _step_ends(
    times: Tensor, step_size: float, max_steps: int
) -> tuple[Tensor, set[int]]:
    """The ends of all steps, and which of them are asked for."""
    h = check_positive("step_size", step_size, "0.01 takes a hundred steps a unit of t")
    most = check_whole("max_steps", max_steps, "1_000_000 is the usual value")
    moments = times.double().tolist()
    # A hair of tolerance: 0.3 / 0.1 is three steps.
    gaps = [abs(b - a) / h - 1e-6 for a, b in pairwise(moments)]
    if sum(gaps) > most:
        raise SolverError(
            f"about {sum(gaps):.6g} steps of step_size={h} are needed between "
            f"t={moments[0]:.6g} and t={moments[-1]:.6g}, but max_steps allows only "
            f"{most}; try a larger step_size or max_steps"
        )
    ends, asked = [moments[0]], set()
    for a, b, gap in zip(moments, moments[1:], gaps):
        n = max(1, math.ceil(gap))
        ends += [a + (b - a) * (i / n) for i in range(1, n)] + [b]
        asked.add(len(ends) - 1)
    return torch.tensor(ends, dtype=torch.float64), asked


def _noise(path: Callable, ends: Tensor, y0: Tensor) -> Tensor:
    """What W gains in every step, (steps, *state), like y0."""
    w = path(ends)
    if not isinstance(w, Tensor) or w.shape != (len(ends), *y0.shape):
        got = tuple(w.shape) if isinstance(w, Tensor) else type(w).__name__
        raise ValueError(
            "path must give W of the shape of y0 at every time, expected "
            f"{(len(ends), *y0.shape)}, got {got}; use "
            f"BrownianPath({tuple(y0.shape)}, seed=0, span=…)"
        )
    return w.diff(dim=0).to(y0)


def _check_diagonal(g: Callable, t: float, y0: Tensor) -> None:
    """Refuse a g of which one component depends on another one of y.

    A matrix J with J' v = v J' 1 for a random v has nothing beside its diagonal.
    """
    with torch.enable_grad():
        y = y0.detach().requires_grad_()
        size = g(t, y)
        if not size.requires_grad:
            return
        v = normals_at(0, torch.zeros((), dtype=torch.int64), y.numel()).to(y)
        v = v.view_as(y)
        pulled, alone = (
            torch.autograd.grad(size, y, w, retain_graph=True, allow_unused=True)[0]
            for w in (v, torch.ones_like(v))
        )
    if pulled is None or alone is None:
        return
    rounding = 1e3 * torch.finfo(y.dtype).eps * (1 + (v * alone).abs().max())
    if (pulled - v * alone).abs().max() > rounding:
        raise ValueError(
            "each component of g must depend on that component of y alone for "
            "method='milstein', got one that depends on another; use "
            "method='euler-maruyama'"
        )


def _not_finite(t: float, h: float, method: str) -> SolverError:
    return SolverError(
        "f or g returned NaN or infinity, or the path overflowed, in the step from "
        f"t={t:.6g} with h={h:.3g} ({method}); try a smaller step_size, or look at f and "
        "g there"
    )

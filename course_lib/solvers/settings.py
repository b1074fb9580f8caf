"""How a solve is to go about it: method, tolerances, steps, checked before it starts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from operator import index

import torch
from torch import Tensor

from course_lib.solvers.rosenbrock import STIFF_METHODS, Tableau
from course_lib.solvers.tableaus import METHODS

__all__ = [
    "Settings",
    "check_choice",
    "check_positive",
    "check_tolerance",
    "check_whole",
    "settings_from",
]

_KNOWN: dict[str, Tableau] = {**METHODS, **STIFF_METHODS}

# --- single values --------------------------------------------------------------------


def check_positive(name: str, value: float, advice: str) -> float:
    """The value as a positive, finite number; anything else is refused, text too."""
    refused = TypeError(f"{name} must be a positive number, got {value!r}; {advice}")
    if isinstance(value, str):  # a configuration file's 1e-3 may be one
        raise refused
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise refused from None
    if not (number > 0.0 and isfinite(number)):
        raise ValueError(f"{name} must be positive and finite, got {value!r}; {advice}")
    return number


def check_whole(name: str, value: int, advice: str) -> int:
    """The value as a positive whole number; anything else is refused."""
    try:
        number = index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ValueError(
            f"{name} must be a positive whole number, got {value!r}; {advice}"
        )
    return number


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Refuse a value that is none of the names to choose from."""
    if not (isinstance(value, str) and value in known):
        raise ValueError(
            f"{name}={value!r} is not known; choose from {', '.join(known)}"
        )


# --- settings -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to solve, checked when it is made: every solve takes these as keywords.

    Attributes
    ----------
    method : str, a name in `METHODS` or in `STIFF_METHODS`
        'bosh3', 'dopri5' and 'tsit5' choose their own steps; 'euler', 'midpoint',
        'heun' and 'rk4' take steps of `step_size`. 'rodas5p' is for stiff equations of
        up to some hundred components: it chooses its own steps, each of which takes the
        Jacobian of f (see `linearise`) and solves linear systems with it.
    rtol, atol : float, positive, or Tensor that broadcasts to y0
        A step is accepted if its estimated error is at most ``atol + rtol * |y|`` in
        root mean square. Adaptive methods.
    step_size : float, positive, or None
        Size of a fixed step, in units of t, positive in both directions; the last step
        before each requested time is shortened to end there. Only for fixed-step
        methods, which need it.
    max_steps : int, positive
        Attempts before the solve gives up.
    first_step : float, positive, or None
        The size to try first, in place of one chosen from f. Adaptive methods.
    max_step : float, positive
        No step is longer (a last one by a thousandth at most), so that nothing longer
        is stepped over. Adaptive methods.
    beta : float, from 0 up to 0.1
        How much the error of the step before has a say in the size of the next. 0.04
        wastes almost no step where stability limits the steps (a stiff equation, an
        explicit method) and costs some 5% where it does not. Adaptive methods.
    jumps : sequence of float
        Times at which f jumps. Steps end there, and f is asked at times on one side.
    parts : int, or tuple of int
        The state's blocks, of which none may miss the tolerance: how many equal ones, or
        the size of each. 1 measures the state as a whole.

    Raises
    ------
    TypeError, ValueError
        For settings that make no sense.

    References
    ----------
    Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, II.4; II, IV.2
    for `beta`.
    """

    method: str = "dopri5"
    rtol: float | Tensor = 1e-5
    atol: float | Tensor = 1e-6
    step_size: float | None = None
    max_steps: int = 10_000
    first_step: float | None = None
    max_step: float = inf
    beta: float = 0.0
    jumps: Sequence[float] = ()
    parts: int | tuple[int, ...] = 1

    def __post_init__(self):
        check_choice("method", self.method, _KNOWN)
        self._check_who_chooses_the_steps()
        self._keep("rtol", check_tolerance("rtol", self.rtol, "1e-5 is a usual value"))
        self._keep("atol", check_tolerance("atol", self.atol, "1e-6 is a usual value"))
        advice = "10_000 is the usual value"
        self._keep("max_steps", check_whole("max_steps", self.max_steps, advice))
        self._keep("jumps", _check_jumps(self.jumps))

    @property
    def tableau(self) -> Tableau:
        """The method's table."""
        return _KNOWN[self.method]

    def _check_who_chooses_the_steps(self) -> None:
        """A fixed-step method needs `step_size`, an adaptive one may take the rest."""
        adaptive = self.tableau.adaptive
        other = ", ".join(n for n, m in _KNOWN.items() if m.adaptive != adaptive)
        if adaptive and self.step_size is not None:
            raise ValueError(
                f"step_size={self.step_size!r} does not go with method={self.method!r}, "
                "which chooses its own steps; leave it out and set rtol and atol, or "
                f"use a fixed-step method: {other}"
            )
        if adaptive:
            return self._check_control()
        if self.step_size is None:
            raise ValueError(
                f"method={self.method!r} needs step_size, for instance step_size=0.1; "
                "'dopri5' works without"
            )
        advice = "for steps chosen from a tolerance use method='dopri5' without it"
        self._keep("step_size", check_positive("step_size", self.step_size, advice))
        for name, usual in (("first_step", None), ("max_step", inf), ("beta", 0.0)):
            if _is_given(getattr(self, name), usual):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} does not go with method="
                    f"{self.method!r}, whose steps are step_size long; leave it out, or "
                    f"use an adaptive method: {other}"
                )
        return None

    def _check_control(self) -> None:
        if self.first_step is not None:
            advice = "leave it out for a size chosen from f"
            self._keep(
                "first_step", check_positive("first_step", self.first_step, advice)
            )
        if _is_given(self.max_step, inf):
            advice = "leave it out for steps of any length"
            self._keep("max_step", check_positive("max_step", self.max_step, advice))
        if _is_given(self.beta, 0.0):
            advice = "0 leaves it out, 0.04 suits a method of order 5"
            self._keep("beta", check_positive("beta", self.beta, advice))
            if (
                round(self.beta, 6) > 0.1
            ):  # beyond 1 / (1.75 order) the steps shrink for ever
                raise ValueError(f"beta must be at most 0.1, got {self.beta}; {advice}")

    def _keep(self, name: str, value) -> None:
        """NumPy's numbers and 0-d tensors become Python's."""
        object.__setattr__(self, name, value)


# What torchdiffeq and SciPy call otherwise.
ELSEWHERE = {
    "options": "give step_size, first_step, max_step, jumps (for jump_t) and max_steps "
    "(for max_num_steps) as keywords of their own",
    "event_fn": "use solve(..., event=g)",
    "events": "use solve(..., event=g)",
    "event": "use solve(..., event=g)",
    "adjoint_method": "the way back takes the method of the way there",
    "adjoint_options": "check_theta=True puts the parameters into the error norm",
    "jump_t": "use jumps",
    "max_num_steps": "use max_steps",
}


def settings_from(keywords: dict) -> Settings:
    """The settings that a solve was given as keywords."""
    known = ", ".join(Settings.__dataclass_fields__)
    for name, value in keywords.items():
        if name not in Settings.__dataclass_fields__:
            advice = ELSEWHERE.get(name, f"it takes {known}")
            raise TypeError(
                f"{name}={value!r} is not a setting of this solve; {advice}"
            )
    return Settings(**keywords)


def check_tolerance(name: str, value, advice: str) -> float | Tensor:
    """The value as a positive number, or as a Tensor of such; else it is refused."""
    if not (isinstance(value, Tensor) and value.ndim):
        return check_positive(name, value, advice)
    value = value.detach()
    if not value.is_floating_point():
        raise TypeError(
            f"{name} must hold floating-point numbers, got {value.dtype}; {advice}"
        )
    if not (value > 0).all() or not torch.isfinite(value).all():
        raise ValueError(
            f"{name} must be positive and finite in every entry, got {value!r}; {advice}"
        )
    return value


def _is_given(value, usual: float | None) -> bool:
    """Whether a setting is another than the usual one; an array of several numbers is."""
    try:
        return bool(value != usual)
    except (ValueError, RuntimeError):
        return True


def _check_jumps(jumps: Sequence[float]) -> tuple[float, ...]:
    """The times in order, each once."""
    try:
        given = [*jumps]
        times = {inf if isinstance(x, str) else _detached(x) for x in given}
    except (TypeError, ValueError, RuntimeError):
        given, times = [], {inf}
    if any(isinstance(x, Tensor) and x.requires_grad for x in given):
        raise ValueError(
            "jumps get no gradient here; use jumps=times.detach().tolist() if none is "
            "wanted, or end a solve at the jump and start another"
        )
    if isinstance(jumps, str) or not all(map(isfinite, times)):
        raise TypeError(
            f"jumps must be a sequence of times, got {jumps!r}; jumps=[0.5] splits the "
            "solve at 0.5"
        )
    return tuple(sorted(times))


def _detached(x) -> float:
    return float(x.detach() if isinstance(x, Tensor) else x)

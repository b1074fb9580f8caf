"""What a solve is asked to do, checked before it starts: f, the start, the times, and the
tensors a gradient must reach.

Every message names the argument, what was expected, what came, and the fix.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import isfinite
from operator import eq, gt, lt

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from course_lib.solvers.settings import Settings

__all__ = [
    "WITHOUT_TIME",
    "GuardedField",
    "SolverError",
    "all_finite",
    "as_times",
    "check_problem",
    "check_state",
    "check_times",
    "detached",
    "leaf_of",
    "parameters_of",
    "refuse_tangents",
    "uncached",
    "wants_gradient",
    "without_time",
]

# In units of rounding. SciPy warns below 100, but on the problems of the tests an explicit
# solve in float32 gains digits down to an rtol of about 3.
LEAST_RTOL = 8
SAME_TIME = 2  # so far off, in units of rounding, a jump may be at a requested time


WITHOUT_TIME = (
    "f must be callable as f(t, y), but takes one argument: use lambda t, y: f(y), or "
    "course_lib.models.Autonomous(f) for a module"
)


class SolverError(RuntimeError):
    """A solve could not go on. The message says where, with which step and method, and
    what to try.
    """


# --- f, the start and the times -------------------------------------------------------


class GuardedField:
    """f as the solvers call it: t arrives as a 0-d tensor like y, calls are counted,
    results are checked, and so is that f leaves y and its earlier result alone.

    Parameters
    ----------
    f : callable ``f(t, y) -> dy/dt``
    y0 : Tensor, whose dtype and device t takes
    start : Tensor, 0-d, optional
        t[0] where the gradient with respect to it is wanted: `moved` then adds a zero
        that carries it.
    names : what messages call f, its result and y

    Attributes
    ----------
    nfe : int, how often f was called
    """

    def __init__(
        self,
        f: Callable,
        y0: Tensor,
        start: Tensor | None = None,
        *,
        names: tuple[str, str, str] = ("f", "dy/dt", "y"),
    ):
        self.f, self.nfe, self.names = uncached(f, y0.device), 0, names
        # A tensor counts how often it was changed in place, but not in inference mode:
        # there the first two calls are compared with copies.
        self.watched = not (y0.is_inference() or torch.is_inference_mode_enabled())
        self.given, self.version = (y0, y0._version) if self.watched else (y0, 0)
        self.copy = None if self.watched else y0.clone()
        self.dtype, self.device = y0.dtype, y0.device
        self.shift = None if start is None else start - start.detach()

    def moved(self, t: float) -> float | Tensor:
        """t as a function of t[0], if there is a gradient to carry."""
        return t if self.shift is None else t + self.shift

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        """f(t, y), which must have the shape, dtype and device of y."""
        self.nfe += 1
        if self.shift is not None and not isinstance(t, Tensor):
            t = self.moved(t)
        if isinstance(t, Tensor):
            t = t.to(self.device, self.dtype)
        else:
            t = torch.full((), t, dtype=self.dtype, device=self.device)
        version = y._version if self.watched else 0
        copy = None if self.copy is None else y.clone()
        try:
            dy = self.f(t, y)
        except TypeError as error:
            if without_time(self.f):
                raise TypeError(WITHOUT_TIME) from error
            raise
        if not isinstance(dy, Tensor):
            raise TypeError(
                f"{self.names[0]} must return a Tensor {self.names[1]} of shape "
                f"{tuple(y.shape)}, got {type(dy).__name__}"
            )
        if self.watched:
            if y._version != version or self.given._version != self.version:
                self._complain_of_writing(y._version != version)
            self.given, self.version = dy, dy._version
        elif copy is not None:
            if not (_equal(y, copy) and _equal(self.given, self.copy)):
                self._complain_of_writing(not _equal(y, copy))
            self.given, self.copy = dy, dy.clone() if self.nfe < 2 else None
        if dy.shape != y.shape or dy.dtype != y.dtype or dy.device != y.device:
            f, result, state = self.names
            raise ValueError(
                f"{f} must return {result} with the shape, dtype and device of {state}: "
                f"expected {tuple(y.shape)}, {y.dtype}, {y.device}, got "
                f"{tuple(dy.shape)}, {dy.dtype}, {dy.device}"
            )
        return dy

    def _complain_of_writing(self, to_y: bool) -> None:
        f, _, y = self.names
        if to_y:
            raise ValueError(
                f"{f} changed {y} in place; {y} is the state of the solver: compute a "
                f"new tensor, or start with {y} = {y}.clone()"
            )
        raise ValueError(
            f"{f} wrote over the tensor that it returned the time before, which the "
            "solver still needs, or to the memory it is part of; return result.clone()"
        )


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers, NaN among them."""
    return torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)


def wants_gradient(x: Tensor) -> bool:
    """Whether a derivative of x is asked for, backward or forward."""
    # Without gradients a view of a leaf still says that it requires one.
    backward = x.requires_grad and torch.is_grad_enabled()
    return backward or forward_ad.unpack_dual(x).tangent is not None


def detached(x: Tensor) -> Tensor:
    """x without its graph; in forward mode it keeps its tangent, which detach() drops."""
    tangent = forward_ad.unpack_dual(x).tangent
    x = x.detach()
    return x if tangent is None else forward_ad.make_dual(x, tangent.detach())


def refuse_tangents(inputs: Iterable[Tensor], what: str) -> None:
    """Refuse forward mode, whose tangents `what` would lose or make up.

    Raises
    ------
    NotImplementedError
    """
    if any(forward_ad.unpack_dual(x).tangent is not None for x in inputs):
        raise NotImplementedError(
            f"{what} has no derivative in forward mode (jvp, dual numbers); take a "
            "derivative backwards where it has one, or differences"
        )


def leaf_of(y: Tensor, what: str) -> Tensor:
    """y out of whatever it is part of, to take the derivatives by that `what` needs.

    Raises
    ------
    RuntimeError
        In inference mode, where ``enable_grad()`` does nothing.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            f"{what} needs gradients, which inference_mode does not have; use "
            "torch.no_grad()"
        )
    return detached(y).requires_grad_()


def uncached(f: Callable, device: torch.device) -> Callable:
    """f for autocast, if that is on, with the weights lowered anew in every call.

    Autocast keeps a lowered weight, and then autograd adds up its gradients from all the
    calls of a solve in that low precision.
    """
    kind = device.type
    if not torch.is_autocast_enabled(kind):
        return f
    dtype = torch.get_autocast_dtype(kind)
    return torch.autocast(kind, dtype=dtype, cache_enabled=False)(f)


def without_time(f: Callable) -> bool:
    """Whether f takes y alone, as far as its signature tells."""
    call = f.forward if isinstance(f, nn.Module) else f
    try:
        signature = inspect.signature(call)
        signature.bind(None)
    except (TypeError, ValueError):
        return False
    try:
        signature.bind(None, None)
    except TypeError:
        return True
    return False


def check_problem(
    f: Callable, y0: Tensor, t: Tensor | Sequence[float], settings: Settings
) -> tuple[Tensor, Settings]:
    """The times as a tensor, and the settings with the jumps that lie between them, if f,
    y0, t and the tolerances make sense together; otherwise an error that says why not.
    """
    if not callable(f):
        raise TypeError(
            f"f must be callable as f(t, y), got {type(f).__name__}; the order is "
            "solve(f, y0, t)"
        )
    check_state(y0)
    _check_blocks(y0, settings.parts)
    if settings.tableau.adaptive:
        _check_tolerances(y0, settings)
    times = check_times(t)
    settings = _with_jumps_between(times, settings, y0.dtype)
    at_jumps = settings.jumps and not set(settings.jumps).isdisjoint(times.tolist())
    if at_jumps and wants_gradient(times):
        raise ValueError(
            "the solution has no derivative by a time at which f jumps; use t.detach(), "
            "or times that are not in jumps"
        )
    return times, settings


def _with_jumps_between(
    times: Tensor, settings: Settings, dtype: torch.dtype
) -> Settings:
    """The settings without jumps before or after all times; one that is a time but for
    rounding, as 0.1 + 0.2 is 0.3, is put there.
    """
    if not settings.jumps:
        return settings
    moments = times.detach().double().cpu()
    jumps = torch.tensor(settings.jumps, dtype=torch.float64)
    gaps, nearest = (jumps[:, None] - moments).abs().min(dim=1)
    same = gaps <= SAME_TIME * torch.finfo(dtype).eps * jumps.abs()
    jumps = torch.where(same, moments[nearest], jumps)
    between = (jumps >= moments.min()) & (jumps <= moments.max())
    return replace(settings, jumps=jumps[between].tolist())


def check_state(y0: Tensor, name: str = "y0") -> None:
    """Refuse a start that is not one real, finite Tensor with enough digits."""
    if isinstance(y0, (tuple, list)) and any(isinstance(part, Tensor) for part in y0):
        raise TypeError(
            f"{name} must be one Tensor here, got a {type(y0).__name__} of {len(y0)}; odeint "
            "takes them, or put them together, torch.cat([part.flatten() for part in "
            "y0]), and take them apart in f with y.split(sizes)"
        )
    if not isinstance(y0, Tensor):
        raise TypeError(
            f"{name} must be a Tensor, got {type(y0).__name__}; use torch.tensor({name})"
        )
    if y0.is_complex():
        raise TypeError(
            f"{name} must be real, got {y0.dtype}; solve for torch.view_as_real({name}), with "
            "torch.view_as_complex(y) in f and torch.view_as_real around its result"
        )
    if not y0.is_floating_point():
        raise TypeError(
            f"{name} must be floating point, got {y0.dtype}; use {name}.float() or "
            f"{name}.double()"
        )
    if torch.finfo(y0.dtype).bits < 32:
        raise TypeError(
            f"{name} is {y0.dtype}, in which a small step changes nothing and no error can "
            f"be estimated; use {name}.float() (f may still compute in less, under autocast)"
        )
    if not _has_numbers(y0):
        raise ValueError(
            f"{name} holds NaN or infinity; a solution needs a finite start"
        )


def _has_numbers(y0: Tensor) -> bool:
    try:
        return all_finite(y0)
    except RuntimeError as error:  # under vmap a tensor has no value that one could ask
        raise RuntimeError(
            "torch.func.vmap hides the numbers by which a solver chooses its steps; "
            "solve the whole batch at once instead: y may have any shape"
        ) from error


def all_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite; the largest tells, and is quickly found."""
    return not x.numel() or isfinite(x.detach().abs().max().item())


def _check_blocks(y0: Tensor, parts: int | tuple[int, ...]) -> None:
    n = y0.numel()
    if isinstance(parts, tuple):
        whole = all(isinstance(size, int) and size >= 0 for size in parts)
        fits = whole and sum(parts) == n
    else:
        fits = isinstance(parts, int) and parts > 0 and n % parts == 0
    if not fits:
        raise ValueError(
            f"parts must be a number that divides the {n} numbers of y0, or a tuple of "
            f"sizes with that sum, got {parts!r}; leave it out for one norm of them all"
        )


def _check_tolerances(y0: Tensor, settings: Settings) -> None:
    for name in ("rtol", "atol"):
        value = getattr(settings, name)
        if isinstance(value, Tensor) and not _broadcasts(value.shape, y0.shape):
            raise ValueError(
                f"{name} must broadcast to y0, of shape {tuple(y0.shape)}, got shape "
                f"{tuple(value.shape)}"
            )
    rtol, least = settings.rtol, LEAST_RTOL * torch.finfo(y0.dtype).eps
    if rtol < least if isinstance(rtol, float) else (rtol < least).any():
        warnings.warn(
            f"rtol={rtol} is less than {least:.2g}, a few roundings of {y0.dtype}: the "
            "solve pays for digits that are lost again; use a larger rtol"
            + ("" if y0.dtype == torch.float64 else " or y0.double()"),
            stacklevel=4,
        )


def _broadcasts(shape: torch.Size, target: torch.Size) -> bool:
    try:
        return torch.broadcast_shapes(shape, target) == target
    except RuntimeError:
        return False


def check_times(t: Tensor | Sequence[float]) -> Tensor:
    """The times as a tensor, if they are finite and in order."""
    t = as_times(t)
    if not t.is_floating_point():
        raise TypeError(
            f"t must be floating point, got {t.dtype}; use t.float() or t.double()"
        )
    if t.ndim != 1 or len(t) == 0:
        raise ValueError(
            "t must be 1-D with at least one time (two to integrate), got shape "
            f"{tuple(t.shape)}"
        )
    moments = t.detach().tolist()
    # Equal times, an interval of no length as SciPy takes it: the solution is y0 there.
    monotone = any(
        all(compare(a, b) for a, b in pairwise(moments)) for compare in (lt, gt, eq)
    )
    if not (monotone and isfinite(moments[0]) and isfinite(moments[-1])):
        raise ValueError(
            "t must be finite and strictly increasing or strictly decreasing, got "
            f"{_abbreviated(t)}; sort it and remove repeated times (torch.unique)"
        )
    if len(t) > 1 and moments[0] == moments[-1] and wants_gradient(t):
        raise ValueError(
            f"t is {_abbreviated(t)}, an interval of no length, in which times get no "
            "gradient: use t.detach(), or times that differ"
        )
    return t


def as_times(t: Tensor | Sequence[float]) -> Tensor:
    """A sequence of times in float64, a Tensor as it is; a gradient reaches those that
    are tensors and want one.
    """
    if isinstance(t, Tensor):
        return t
    try:
        times = [x if isinstance(x, Tensor) else float(x) for x in t]
        if any(isinstance(x, Tensor) and x.requires_grad for x in times):
            parts = [torch.as_tensor(x, dtype=torch.float64) for x in times]
            return torch.stack(parts)
        return torch.tensor([float(x) for x in times], dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"t must be a 1-D Tensor or a sequence of numbers, got {t!r}; "
            "to integrate from 0 to 1 use t=[0.0, 1.0]"
        ) from None


def _abbreviated(t: Tensor) -> str:
    shown = ", ".join(f"{value:.6g}" for value in t.detach().tolist()[:6])
    return f"[{shown}{', …' if len(t) > 6 else ''}]"


# --- what a gradient must reach -------------------------------------------------------


def parameters_of(
    f: Callable, adjoint_params: Sequence[Tensor] | None
) -> tuple[Tensor, ...]:
    """The tensors besides y0 and t that want a gradient: those listed, or the
    parameters of a module.
    """
    if adjoint_params is None:
        if not isinstance(f, nn.Module):
            raise TypeError(
                f"f is a {type(f).__name__}, so its parameters are not known; make it "
                "an nn.Module, or list what the gradient must reach in adjoint_params "
                "(an empty tuple if f has no parameters)"
            )
        adjoint_params = tuple(f.parameters())
    unique = {
        id(p): p for p in _as_tensors(adjoint_params)
    }  # two modules may share one
    return tuple(p for p in unique.values() if p.requires_grad)


def _as_tensors(adjoint_params) -> tuple[Tensor, ...]:
    """The parameters as a tuple; one lone tensor would be taken apart into rows."""
    tensors = tuple(adjoint_params) if isinstance(adjoint_params, Iterable) else None
    if (
        isinstance(adjoint_params, Tensor)
        or tensors is None
        or not all(isinstance(p, Tensor) for p in tensors)
    ):
        raise TypeError(
            "adjoint_params must be a sequence of Tensors, such as (weight, bias), "
            f"got {adjoint_params!r}"
        )
    return tensors

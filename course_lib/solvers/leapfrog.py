"""Leapfrog for mechanics: ``q' = v(p), p' = F(q)``, with an energy that does not drift.

A step kicks the momentum by half, lets the position drift, and kicks again::

    p½ = p + h/2 F(q)        q_next = q + h v(p½)        p_next = p½ + h/2 F(q_next)

Each of the three shears phase space, so the step keeps areas in it (it is *symplectic*).
It is, as nearly as matters, the exact flow of another energy, which differs from the true
one by O(h²): so the error of the energy swings, and does not grow. A step of -h leads back
to where the step of h came from.

References
----------
Hairer, Lubich, Wanner, *Geometric Numerical Integration*, I.1, VI.3, IX.
Hairer, Lubich, Wanner 2003, Geometric numerical integration illustrated by the
Störmer–Verlet method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil

import torch
from torch import Tensor

from course_lib.solvers.checks import (
    GuardedField,
    SolverError,
    all_finite,
    check_state,
    check_times,
    wants_gradient,
)
from course_lib.solvers.settings import check_positive, check_whole
from course_lib.solvers.stages import weighted_sums
from course_lib.solvers.steps import to_float

__all__ = ["leapfrog_step", "odeint_leapfrog"]


def odeint_leapfrog(
    force: Callable,
    q0: Tensor,
    p0: Tensor,
    t: Tensor | Sequence[float],
    *,
    step_size: float,
    velocity: Callable | None = None,
    max_steps: int = 1_000_000,
) -> tuple[Tensor, Tensor]:
    """Solve ``q' = v(p), p' = F(q)`` by leapfrog (velocity Verlet, Störmer–Verlet).

    Parameters
    ----------
    force : callable ``F(q) -> dp/dt``, of the shape of q
        Called once a step. In mechanics it is -dV/dq, with V the potential.
    q0, p0 : Tensor, shape (*state), floating point
    t : Tensor or sequence of floats, shape (n,), strictly increasing or decreasing
    step_size : float
        In units of t, positive in both directions. Steps are equal, and as long as they
        can be without being longer than this, if a whole number is to lead from t[0] to
        t[-1].
    velocity : callable ``v(p) -> dq/dt``, of the shape of p, optional
        Left out it is p itself, and the equation is q'' = F(q).
    max_steps : int
        A solve of more steps is refused.

    Returns
    -------
    qs, ps : Tensor, shape (n, *state); ``qs[0]`` is q0 and ``ps[0]`` is p0

    Raises
    ------
    TypeError, ValueError
        For arguments that make no sense; the message names the argument, what was
        expected and the fix.
    SolverError
        If F or v returns NaN or infinity, the solution overflows, or max_steps are not
        enough.

    Notes
    -----
    The steps do not depend on the times in between, and none is shortened for one: the
    energy that is kept is another for each size of step, and where sizes change at random
    it wanders. At a time between two steps the solution is the cubic that has their
    values and slopes: O(h⁴) from the path of the steps, where that is O(h²) from the
    truth. What steps keep to rounding, such as an angular momentum, is kept at times that
    lie on them.

    Gradients reach q0, p0, every entry of t and whatever F and v use. The steps stretch
    with t[0] and t[-1].

    References
    ----------
    Hairer, Lubich, Wanner, *Geometric Numerical Integration*, I.1.
    """
    times = _checked(force, q0, p0, t, velocity)
    n = _steps_needed(times.detach(), step_size, max_steps)
    if n == 0:
        return torch.stack([q0] * len(times)), torch.stack([p0] * len(times))
    place, h = _grid(times, n, q0)
    moments = place.tolist()
    F = _guarded(force, q0, ("force", "dp/dt", "q"))
    v = velocity
    if velocity is not None:
        v = _guarded(velocity, p0, ("velocity", "dq/dt", "p"))
    node, between, done = (q0, p0, F(q0)), [(q0[None], p0[None])], 1
    for k in range(n):
        q, p, dp = leapfrog_step(F, *node[:2], h, velocity=v, dp=node[2])
        if not (all_finite(q) and all_finite(p)):
            raise _not_finite(times.detach(), k / n, h)
        first = done
        while done < len(moments) - 1 and moments[done] <= k + 1:
            done += 1
        if done > first and moments[first] == k + 1 and not isinstance(h, Tensor):
            between.append((q[None], p[None]))
        elif done > first:
            theta = place[first:done] - k
            between.append(_cubic(node, (q, p, dp), h, theta, velocity=v))
        node = (q, p, dp)
    qs, ps = zip(*between, (q[None], p[None]))
    return torch.cat(qs), torch.cat(ps)


def leapfrog_step(
    force: Callable,
    q: Tensor,
    p: Tensor,
    h: float | Tensor,
    *,
    velocity: Callable | None = None,
    dp: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Advance one step: kick, drift, kick.

    Parameters
    ----------
    force : callable ``F(q) -> dp/dt``
    q, p : Tensor, shape (*state)
    h : float or 0-d Tensor, signed step
    velocity : callable ``v(p) -> dq/dt``, optional; p itself without
    dp : Tensor, shape (*state), optional
        F(q), if the caller has it from the step before.

    Returns
    -------
    q_next, p_next : Tensor, shape (*state)
    dp_next : Tensor, shape (*state), F(q_next)

    References
    ----------
    Hairer, Lubich, Wanner, *Geometric Numerical Integration*, I.1.4.
    """
    p_half = p + h / 2 * (force(q) if dp is None else dp)
    q_next = q + h * (p_half if velocity is None else velocity(p_half))
    dp_next = force(q_next)
    return q_next, p_half + h / 2 * dp_next, dp_next


def _grid(times: Tensor, n: int, like: Tensor) -> tuple[Tensor, float | Tensor]:
    """Where the times lie on a grid of n steps, from 0 to n, and the size of a step; a
    Tensor if a gradient is to reach it.
    """
    times = times.to(like.device, torch.float64)
    span = times[-1] - times[0]
    place, h = n * ((times - times[0]) / span), span / n
    if wants_gradient(times):
        return place, h.to(like.dtype)
    near = (
        place.detach().round()
    )  # a time is on a step if only rounding is between them
    rounding = 4 * n * torch.finfo(torch.float64).eps
    return torch.where((place - near).abs() <= rounding, near, place).detach(), h.item()


def _cubic(
    before: tuple[Tensor, Tensor, Tensor],
    after: tuple[Tensor, Tensor, Tensor],
    h: float | Tensor,
    theta: Tensor,
    *,
    velocity: Callable | None,
) -> tuple[Tensor, Tensor]:
    """Positions and momenta at t + θh inside a step from t, each of shape (m, *state):
    cubics with the values and slopes of its ends.
    """
    (q, p, dp), (q_next, p_next, dp_next) = before, after
    dq, dq_next = (x if velocity is None else velocity(x) for x in (p, p_next))
    left = 1 - theta
    values = left**2 * (1 + 2 * theta), theta**2 * (1 + 2 * left)
    slopes = theta * left**2, -left * theta**2
    weights = torch.stack((*values, *slopes), dim=1).to(q.dtype)
    qs = weighted_sums(weights, [q, q_next, h * dq, h * dq_next])
    return qs, weighted_sums(weights, [p, p_next, h * dp, h * dp_next])


# --- what makes no sense --------------------------------------------------------------


def _checked(force, q0, p0, t, velocity) -> Tensor:
    """The times as a tensor, if the arguments make sense."""
    for name, of, function in (("force", "q", force), ("velocity", "p", velocity)):
        if not callable(function) and not (function is None and name == "velocity"):
            raise TypeError(
                f"{name} must be callable as {name}({of}), got "
                f"{type(function).__name__}; the order is odeint_leapfrog(force, q0, p0, t)"
            )
    check_state(q0, "q0")
    check_state(p0, "p0")
    if (q0.shape, q0.dtype, q0.device) != (p0.shape, p0.dtype, p0.device):
        raise ValueError(
            "p0 must have the shape, dtype and device of q0: expected "
            f"{tuple(q0.shape)}, {q0.dtype}, {q0.device}, got {tuple(p0.shape)}, "
            f"{p0.dtype}, {p0.device}"
        )
    return check_times(t)


def _steps_needed(times: Tensor, step_size: float, max_steps: int) -> int:
    """The number of equal steps from the first time to the last."""
    step_size = check_positive(
        "step_size", step_size, "0.1 takes ten steps a unit of t"
    )
    max_steps = check_whole("max_steps", max_steps, "1_000_000 is the usual value")
    first, last = times[0].item(), times[-1].item()
    needed = abs(last - first) / step_size - 1e-6  # a hair: 0.3 / 0.1 is three steps
    if needed > max_steps:
        raise SolverError(
            f"about {needed:.6g} steps of step_size={step_size} are needed between "
            f"t={first:.6g} and t={last:.6g}, but max_steps allows only {max_steps}; try "
            "a larger step_size or max_steps"
        )
    return 0 if first == last else max(1, ceil(needed))


def _guarded(function: Callable, like: Tensor, names: tuple[str, str, str]) -> Callable:
    """A function of one argument, with its results checked."""
    guard = GuardedField(lambda t, x: function(x), like, names=names)
    return partial(guard, like.new_zeros(()))


def _not_finite(times: Tensor, share: float, h: float | Tensor) -> SolverError:
    t = torch.lerp(times[0].double(), times[-1].double(), share).item()
    return SolverError(
        "force or velocity returned NaN or infinity, or the solution overflowed, in the "
        f"step from t={t:.6g} with h={to_float(h):.3g} (leapfrog); try a smaller "
        "step_size, or look at force there"
    )

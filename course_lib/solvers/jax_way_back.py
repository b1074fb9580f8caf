"""The way back through the steps of an adaptive solve in JAX, last one first.

JAX cannot run a loop of unknown length backwards. So the way there keeps where each step
started, and here the gradient is pulled through one step after the other. That is the
gradient of what was computed, as backpropagation gives it.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from course_lib.solvers.jax_checks import GOING

# The import above says what to install where JAX is not there.
# isort: split
import jax
import jax.numpy as jnp
from jax import Array, lax

from course_lib.solvers.jax_steps import Walker, jax_stages, weights_inside

__all__ = ["Kept", "Start", "first_order", "opened", "pulled_through"]


class Start(NamedTuple):
    """Where a step started, and how long it was; for many steps with an axis in front."""

    t: Array
    h: Array
    y: Array
    k1: Array


class Kept(NamedTuple):
    """What the way back needs of the way there."""

    starts: Start  # of every step
    step_of: Array  # for each requested time but the first, the step it is in
    slopes: Array  # and how fast the solution changes there
    end: Walker


class Pulled(NamedTuple):
    """The gradient on its way back, at the end of a step."""

    step: Array  # its number
    at_end: tuple[Array, Array]  # of y and of f there
    inside: tuple[Array, Array]  # of y at its start and of its stages, by times in it
    of_t: Array
    of_params: list[Array]


# --- what has a gradient --------------------------------------------------------------


def opened(f, t, y):
    """f as a function of what it closes over too: numbers that have a gradient, and
    others.

    `jax.closure_convert` leaves integers and booleans in, where a gradient of compiled
    code stumbles over them.
    """
    closed = jax.make_jaxpr(f)(t, y)
    has_gradient = [jnp.issubdtype(x.dtype, jnp.inexact) for x in closed.consts]
    params = [x for x, has in zip(closed.consts, has_gradient) if has]
    fixed = [x for x, has in zip(closed.consts, has_gradient) if not has]

    def field(params, fixed, t, y):
        each = {True: iter(params), False: iter(fixed)}
        consts = [next(each[has]) for has in has_gradient]
        (dy,) = jax.core.eval_jaxpr(closed.jaxpr, consts, t, y)
        return dy

    return field, params, fixed


@jax.custom_jvp
def first_order(x):
    """x, which the way there and back has first derivatives of, and no others."""
    return x


@first_order.defjvp
def _refused(_primals, _tangents):
    raise TypeError(
        "jax_solve has first derivatives in reverse mode only; jax_odeint, with a fixed "
        "number of steps, has those of every order in both"
    )


# --- from the end to the start --------------------------------------------------------


def pulled_through(f, tableau, params, y0, times, kept: Kept, grads):
    """The gradient of the parameters, the start and the times, from that of the solution
    at the times; f is called as f(params, t, y).
    """
    if len(times) == 1:
        return jax.tree.map(jnp.zeros_like, params), grads[0], jnp.zeros_like(times)
    through = partial(_through, f, tableau, params, kept.starts)

    def from_time(pulled, seen):
        """Take in the gradient that arrives at one time; go back to the one before."""
        time, grad, before = seen
        pulled = _taken_in(pulled, kept.starts, time, grad, tableau)
        return lax.while_loop(lambda p: p.step > before, through, pulled), None

    pulled = _at_the_end(tableau, params, y0, times, kept)
    before = jnp.append(-1, kept.step_of[:-1])
    seen = times[1:], grads[1:], before
    pulled, _ = lax.scan(from_time, pulled, seen, reverse=True)
    _, pullback = jax.vjp(f, params, times[0], y0)
    by_params, by_t, by_y = pullback(pulled.at_end[1])  # the first evaluation of all
    axes = tuple(range(1, grads.ndim))
    of_times = jnp.sum(grads[1:] * kept.slopes, axes).astype(times.dtype)
    of_start = pulled.of_t + by_t - of_times.sum()  # all steps move with the first time
    of_params = jax.tree.map(jnp.add, pulled.of_params, by_params)
    at_start = (kept.step_of < 0).astype(grads.dtype)  # times that equal the first
    of_y = pulled.at_end[0] + by_y + grads[0] + jnp.tensordot(at_start, grads[1:], 1)
    found = of_params, of_y, jnp.append(of_start, of_times)
    good = kept.end.status == GOING  # else NaN, and not a wrong number
    return jax.tree.map(lambda x: jnp.where(good, x, jnp.nan), found)


def _at_the_end(tableau, params, y0, times, kept) -> Pulled:
    zero, no_params = jnp.zeros_like(y0), jax.tree.map(jnp.zeros_like, params)
    stages = jnp.zeros((len(tableau.b), *y0.shape), y0.dtype)
    last, of_t = kept.end.accepted - 1, jnp.zeros_like(times[0])
    return Pulled(last, (zero, zero), (zero, stages), of_t, no_params)


def _taken_in(pulled, starts, time, grad, tableau) -> Pulled:
    """With the gradient of the solution at a time in the step."""
    t, h = starts.t[pulled.step], starts.h[pulled.step]
    weights = h * weights_inside((time - t) / h, tableau)
    by_stages = jnp.tensordot(weights.astype(grad.dtype), grad, 0)
    of_y, of_stages = pulled.inside
    return pulled._replace(inside=(of_y + grad, of_stages + by_stages))


def _through(f, tableau, params, starts, pulled) -> Pulled:
    """The gradient at the start of the step, which is the end of the one before."""
    t, h, y, k1 = (x[pulled.step] for x in starts)

    def step(params, t, y, k1):
        y_next, stages = jax_stages(partial(f, params), t, y, k1, h, tableau)
        return y_next, jnp.stack(stages)

    _, pullback = jax.vjp(step, params, t, y, k1)
    of_y, of_stages = pulled.inside
    of_end, of_last = pulled.at_end
    by_params, by_t, by_y, by_k1 = pullback((of_end, of_stages.at[-1].add(of_last)))
    return Pulled(
        pulled.step - 1,
        (of_y + by_y, by_k1),
        (jnp.zeros_like(of_y), jnp.zeros_like(of_stages)),
        pulled.of_t + by_t,
        jax.tree.map(jnp.add, pulled.of_params, by_params),
    )

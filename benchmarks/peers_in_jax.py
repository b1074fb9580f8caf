"""Those in the race of the solvers that JAX compiles: the same tasks as functions of JAX
arrays.

diffrax takes `Dopri5` with its usual control of the step size (`PIDController`, where
nothing is changed but the tolerance). "direct" is its default, `RecursiveCheckpointAdjoint`;
"adjoint" is `BacksolveAdjoint` with its seminorm. Compiling is timed apart, in one go with
tracing. The limit is known for the forward pass only: as many evaluations in one compiled
loop, each of which takes what the one before has given. XLA does not say how often it
computes a product with a Jacobian.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.limits import Counts
from benchmarks.peers import Entry
from benchmarks.workloads import DensityTask, Task
from course_lib.flows import DensityDynamics
from course_lib.models import MLPDynamics
from course_lib.systems import LotkaVolterra

# --- the fields -----------------------------------------------------------------------


def known(task: Task) -> bool:
    """Whether the task is one of those that are written in JAX."""
    return type(task) in (Task, DensityTask) and isinstance(
        task.field, MLPDynamics | DensityDynamics | LotkaVolterra
    )


def array(x: Tensor) -> jax.Array:
    """The same numbers, in their own dtype."""
    return jnp.asarray(x.detach().numpy())


def weights(field: nn.Module) -> list:
    """The weights of each linear layer, in the order in which PyTorch lists them."""
    layers = [layer for layer in field.modules() if isinstance(layer, nn.Linear)]
    return [(array(layer.weight), array(layer.bias)) for layer in layers]


def mlp(t, y, theta):
    """A network with tanh between its layers, as `MLPDynamics`."""
    *inner, (weight, bias) = theta
    for w, b in inner:
        y = jnp.tanh(y @ w.T + b)
    return y @ weight.T + bias


def with_density(t, state, theta):
    """(y, l) with l' = -tr ∂f/∂y, as `DensityDynamics`."""
    y = state[:, :-1]
    one = lambda row: mlp(t, row, theta)  # noqa: E731
    trace = jax.vmap(lambda row: jnp.trace(jax.jacrev(one)(row)))(y)
    return jnp.concatenate((mlp(t, y, theta), -trace[:, None]), axis=1)


def lotka_volterra(t, y, theta):
    """Prey and predators, as `LotkaVolterra`."""
    a, b, c, d = jnp.exp(theta)
    met = y[0] * y[1]
    return jnp.stack((a * y[0] - b * met, d * met - c * y[1]))


def translated(task: Task) -> tuple[Callable, object]:
    """f(t, y, θ) and θ of a task in JAX."""
    field = task.field
    if isinstance(field, LotkaVolterra):
        return lotka_volterra, array(field.log_rates)
    density = isinstance(field, DensityDynamics)
    return with_density if density else mlp, weights(field)


def loss_of(task: Task) -> Callable:
    """The loss of a task in JAX."""
    if not isinstance(task, DensityTask):
        return lambda ys: jnp.sum(jnp.square(ys))

    def loss(ys):
        z, change = ys[-1, :, :-1], ys[-1, :, -1]
        log_prob = -0.5 * (jnp.square(z) + np.log(2 * np.pi)).sum(axis=1)
        return (change - log_prob).mean()

    return loss


# --- the solvers ----------------------------------------------------------------------


def by_diffrax(f: Callable, task: Task, mode: str) -> Callable:
    """``solve(y0, θ) -> (ys after the start, steps tried)``."""
    ts, (rtol, atol) = array(task.t), task.tolerances.values()
    back: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint()
    if mode == "adjoint":
        norm = diffrax.adjoint_rms_seminorm
        control = diffrax.PIDController(rtol=rtol, atol=atol, norm=norm)
        back = diffrax.BacksolveAdjoint(stepsize_controller=control)

    def solve(y0, theta):
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(f),
            diffrax.Dopri5(),
            ts[0],
            ts[-1],
            None,
            y0,
            theta,
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            adjoint=back,
        )
        return found.ys[1:], found.stats["num_steps"]

    return solve


def in_jax(task: Task, mode: str) -> Entry:
    """Enter diffrax, compiled; the solver of the course for JAX has its place here too."""
    context = wide(task)
    with context():
        f, theta = translated(task)
        solve, loss, y0 = by_diffrax(f, task, mode), loss_of(task), array(task.y0)
        whole = solve
        if mode != "forward":

            def lost(y0, theta):
                ys, steps = solve(y0, theta)
                return loss(ys), steps

            whole = jax.grad(lost, (0, 1), has_aux=True)
        start = time.perf_counter()
        compiled = jax.jit(whole).lower(y0, theta).compile()
        compile_s = time.perf_counter() - start

    def run():
        with context():
            return jax.block_until_ready(compiled(y0, theta))

    def outcome() -> Tensor:
        leaves = jax.tree.leaves(run()[0])
        return torch.cat([torch.tensor(np.asarray(x)).flatten() for x in leaves])

    # An evaluation at the start, two for the first step, and six for every attempt.
    nfe = 3 + 6 * int(run()[1])
    if mode != "forward":
        counts = Counts(nfe, None, None)
        return Entry("diffrax", mode, run, outcome, counts, None, compile_s)
    alone = evaluations(f, y0, theta, nfe, context)
    return Entry("diffrax", mode, run, outcome, Counts(nfe), alone, compile_s)


def wide(task: Task) -> Callable:
    """The context in which JAX has the task's dtype."""
    return (
        (lambda: jax.enable_x64(True))
        if task.y0.dtype == torch.float64
        else nullcontext
    )


def evaluations(f, y0, theta, nfe: int, context: Callable) -> Callable[[], object]:
    """A compiled loop of evaluations."""

    def loop(y, theta):
        return jax.lax.fori_loop(0, nfe, lambda i, y: f(0.0, y, theta), y)

    with context():
        compiled = jax.jit(loop).lower(y0, theta).compile()

    def run():
        with context():
            return jax.block_until_ready(compiled(y0, theta))

    return run

"""Those in the race of the solvers that JAX compiles: the same tasks as functions of JAX
arrays.

diffrax takes `Dopri5` with its usual control of the step size (`PIDController`, where
nothing is changed but the tolerance). "direct" is its default, `RecursiveCheckpointAdjoint`;
"adjoint" is `BacksolveAdjoint` with its seminorm. "course, JAX" is `jax_solve`, which has
the direct gradient. Compiling is timed apart, in one go with tracing: three times without
what JAX remembers, of which the median counts. The limit is known for
the forward pass only: as many evaluations in one compiled loop, each of which takes what the
one before has given. XLA does not say how often it computes a product with a Jacobian.
"""

from __future__ import annotations

import statistics
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
from course_lib.solvers.in_jax_adaptive import jax_solve
from course_lib.systems import LotkaVolterra

COMPILATIONS = 3

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


def by_diffrax(f, y0, theta, ts, *, rtol: float, atol: float, back=None):
    """Solve by diffrax: ys, as `odeint` gives them, and how often f was evaluated."""
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
        adjoint=back or diffrax.RecursiveCheckpointAdjoint(),
    )
    # An evaluation at the start and six for every attempt. The first step is 0.01: to
    # choose it diffrax asks for a bare ODETerm, and `diffeqsolve` has wrapped it by then.
    return found.ys, 1 + 6 * found.stats["num_steps"]


def by_diffrax_back(f, y0, theta, ts, *, rtol: float, atol: float):
    """The same, with the adjoint equation for the gradient."""
    norm = diffrax.adjoint_rms_seminorm
    control = diffrax.PIDController(rtol=rtol, atol=atol, norm=norm)
    back = diffrax.BacksolveAdjoint(stepsize_controller=control)
    return by_diffrax(f, y0, theta, ts, rtol=rtol, atol=atol, back=back)


def by_course(f, y0, theta, ts, *, rtol: float, atol: float):
    """Solve by the course's steps in JAX; the gradient sets aside room for `max_steps`."""

    def field(t, y):
        return f(t, y, theta)

    found = jax_solve(field, y0, ts, rtol=rtol, atol=atol, max_steps=500)
    return found.ys, found.nfe


IN_JAX: dict[str, dict[str, Callable]] = {
    "diffrax": {
        "forward": by_diffrax,
        "direct": by_diffrax,
        "adjoint": by_diffrax_back,
    },
    "course, JAX": {"forward": by_course, "direct": by_course},
}


def compiled(task: Task, solver: Callable, mode: str, y0, theta, f) -> Callable:
    """The task, compiled: a function of y0 and θ that gives the solution after the
    start, or the gradient, and how often f was evaluated.
    """
    ts, loss = array(task.t), loss_of(task)

    def solve(y0, theta):
        ys, nfe = solver(f, y0, theta, ts, **task.tolerances)
        return ys[1:], nfe

    def lost(y0, theta):
        ys, nfe = solve(y0, theta)
        return loss(ys), nfe

    whole = solve if mode == "forward" else jax.grad(lost, (0, 1), has_aux=True)
    return jax.jit(whole).lower(y0, theta).compile()


def in_jax(task: Task, peer: str, mode: str) -> Entry:
    """Enter a solver for JAX."""
    context, solver = wide(task), IN_JAX[peer][mode]
    with context():
        f, theta = translated(task)
        y0, spent = array(task.y0), []
        for _ in range(COMPILATIONS):
            jax.clear_caches()
            start = time.process_time()
            program = compiled(task, solver, mode, y0, theta, f)
            spent.append(time.process_time() - start)

    def run():
        with context():
            return jax.block_until_ready(program(y0, theta))

    def outcome() -> Tensor:
        leaves = jax.tree.leaves(run()[0])
        return torch.cat([torch.tensor(np.asarray(x)).flatten() for x in leaves])

    nfe = int(run()[1])
    counts, alone = Counts(nfe, None, None), None
    if mode == "forward":
        counts, alone = Counts(nfe), evaluations(f, y0, theta, nfe, context)
    return Entry(peer, mode, run, outcome, counts, alone, statistics.median(spent))


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
        program = jax.jit(loop).lower(y0, theta).compile()

    def run():
        with context():
            return jax.block_until_ready(program(y0, theta))

    return run

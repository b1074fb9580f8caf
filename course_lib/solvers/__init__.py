"""Solvers for ``y' = f(t, y)`` and the gradients of their solutions.

`tableaus` holds the methods, `rosenbrock` one for stiff equations, `settings` how a
solve is to go about it, `checks` what it is asked, `steps` one step and sequences of
them, `solve` a whole solve; `jumps` and `events` are what a solve may meet on its way.
`adjoint`, `interpolated` and `checkpoints` are three more ways to a gradient; `arrivals`
is what reaches the second of them inside its steps. `each`
solves a batch in which every sample has its own steps and times (see `front`), `leapfrog`
mechanics without drift. `noise` solves equations with a Brownian path in them, whose
numbers come from `chance`; `densities` moves the density of such paths. `in_jax` has the
explicit steps in JAX, `in_jax_adaptive` those that adapt to a tolerance: one attempt is in
`jax_steps`, the gradient in `jax_way_back`, what both solvers are asked in `jax_checks`
(imported by who has JAX).
"""

from course_lib.solvers.adjoint import AdjointSolve, odeint_adjoint
from course_lib.solvers.arrivals import Arrivals
from course_lib.solvers.backward import (
    AdjointDynamics,
    Quadrature,
    carry_between,
    solve_back,
    sweep_back,
)
from course_lib.solvers.chance import normals_at
from course_lib.solvers.checkpoints import (
    CheckpointedSolve,
    Leg,
    odeint_checkpointed,
    repeat_steps,
)
from course_lib.solvers.checks import (
    GuardedField,
    SolverError,
    as_times,
)
from course_lib.solvers.densities import fokker_planck, transition_log_density
from course_lib.solvers.each import EachSolution, odeint_each, solve_each
from course_lib.solvers.events import Event, at_event
from course_lib.solvers.interpolated import (
    AlongThePath,
    InterpolatedSolve,
    odeint_interpolated,
)
from course_lib.solvers.leapfrog import leapfrog_step, odeint_leapfrog
from course_lib.solvers.noise import (
    SDE_METHODS,
    BrownianPath,
    SDEMethod,
    SDESolution,
    euler_maruyama_step,
    milstein_step,
    solve_sde,
    stochastic_heun_step,
    to_ito,
    to_stratonovich,
)
from course_lib.solvers.rosenbrock import (
    RODAS5P,
    STIFF_METHODS,
    Linearisation,
    RosenbrockTableau,
    linearise,
    rosenbrock_step,
)
from course_lib.solvers.settings import (
    Settings,
    check_choice,
    check_positive,
    check_whole,
)
from course_lib.solvers.solve import Solution, observed, odeint, solve, walk
from course_lib.solvers.stages import advance, weighted_sum
from course_lib.solvers.steps import (
    Step,
    adaptive_steps,
    fixed_steps,
    interpolate,
    rk_step,
)
from course_lib.solvers.tableaus import (
    BOSH3,
    DOPRI5,
    EULER,
    HEUN,
    METHODS,
    MIDPOINT,
    RK4,
    TSIT5,
    ButcherTableau,
)

__all__ = [
    "BOSH3",
    "DOPRI5",
    "EULER",
    "HEUN",
    "METHODS",
    "MIDPOINT",
    "RK4",
    "RODAS5P",
    "SDE_METHODS",
    "STIFF_METHODS",
    "TSIT5",
    "AdjointDynamics",
    "AdjointSolve",
    "AlongThePath",
    "Arrivals",
    "BrownianPath",
    "ButcherTableau",
    "CheckpointedSolve",
    "EachSolution",
    "Event",
    "GuardedField",
    "InterpolatedSolve",
    "Leg",
    "Linearisation",
    "Quadrature",
    "RosenbrockTableau",
    "SDEMethod",
    "SDESolution",
    "Settings",
    "Solution",
    "SolverError",
    "Step",
    "adaptive_steps",
    "advance",
    "as_times",
    "at_event",
    "carry_between",
    "check_choice",
    "check_positive",
    "check_whole",
    "euler_maruyama_step",
    "fixed_steps",
    "fokker_planck",
    "interpolate",
    "leapfrog_step",
    "linearise",
    "milstein_step",
    "normals_at",
    "observed",
    "odeint",
    "odeint_adjoint",
    "odeint_checkpointed",
    "odeint_each",
    "odeint_interpolated",
    "odeint_leapfrog",
    "repeat_steps",
    "rk_step",
    "rosenbrock_step",
    "solve",
    "solve_back",
    "solve_each",
    "solve_sde",
    "stochastic_heun_step",
    "sweep_back",
    "to_ito",
    "to_stratonovich",
    "transition_log_density",
    "walk",
    "weighted_sum",
]

"""Flows: noise pushed through an invertible map, with the density of what comes out.

`trace` has the trace of a Jacobian, exact and estimated. `continuous` pushes along
y' = f(t, y), `planar` is its discrete rival. `matching` trains a field by regression and
samples from it, by ODE and by SDE; it has data, too, of which all of that is known in
closed form. `digits` and `pixels` hold the networks that make digits. In all of them the noise is a
standard normal.
"""

from course_lib.flows.continuous import ContinuousFlow, DensityDynamics
from course_lib.flows.digits import (
    DigitVAE,
    LabelledVelocity,
    TimeWaves,
    digit_velocity,
)
from course_lib.flows.matching import (
    STRAIGHT,
    VARIANCE_PRESERVING,
    GaussianMixture,
    Guided,
    Path,
    drop_labels,
    flow_matching_loss,
    middle_times,
    pair_by_transport,
    sample_ode,
    sample_sde,
)
from course_lib.flows.pixels import PixelBlock, PixelVelocity, pixel_velocity
from course_lib.flows.planar import PlanarFlow
from course_lib.flows.trace import (
    exact_trace,
    hutchinson_trace,
    normal_log_prob,
    pullback,
    random_signs,
)

__all__ = [
    "STRAIGHT",
    "VARIANCE_PRESERVING",
    "ContinuousFlow",
    "DensityDynamics",
    "DigitVAE",
    "GaussianMixture",
    "Guided",
    "LabelledVelocity",
    "Path",
    "PixelBlock",
    "PixelVelocity",
    "PlanarFlow",
    "TimeWaves",
    "digit_velocity",
    "drop_labels",
    "exact_trace",
    "flow_matching_loss",
    "hutchinson_trace",
    "middle_times",
    "normal_log_prob",
    "pair_by_transport",
    "pixel_velocity",
    "pullback",
    "random_signs",
    "sample_ode",
    "sample_sde",
]

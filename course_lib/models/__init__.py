"""Networks of the course.

`fields` holds the vector fields, alone and many side by side, `layers` the neural ODE
layer and the residual network, `fixed_points` layers that solve z = f(z, x), `classifiers`
what reads images, with the rivals; `physics` holds fields that obey a law of mechanics.
"""

from course_lib.models.classifiers import (
    DIGIT_MODELS,
    DigitClassifier,
    digit_model,
    digit_odenet,
    fashion_odenet,
)
from course_lib.models.fields import (
    Autonomous,
    ConvDynamics,
    Ensemble,
    MLPDynamics,
    StackedLinear,
)
from course_lib.models.fixed_points import (
    ITERATIONS,
    EquilibriumLayer,
    FixedPoint,
    ImplicitGradient,
    Iteration,
    fixed_point,
    residual_sizes,
    row_jacobians,
    spectral_radius,
)
from course_lib.models.layers import AugmentedODE, NeuralODE, ResNet, check_states
from course_lib.models.physics import (
    HamiltonianField,
    LagrangianField,
    MechanicalLagrangian,
    ScalarNetwork,
    SeparableEnergy,
    double_pendulum_lagrangian,
    gradient_of,
    pendulum_energy,
    sparse_regression,
    spring_energy,
    two_body_energy,
)

__all__ = [
    "DIGIT_MODELS",
    "ITERATIONS",
    "AugmentedODE",
    "Autonomous",
    "ConvDynamics",
    "DigitClassifier",
    "Ensemble",
    "EquilibriumLayer",
    "FixedPoint",
    "HamiltonianField",
    "ImplicitGradient",
    "Iteration",
    "LagrangianField",
    "MLPDynamics",
    "MechanicalLagrangian",
    "NeuralODE",
    "ResNet",
    "ScalarNetwork",
    "SeparableEnergy",
    "StackedLinear",
    "check_states",
    "digit_model",
    "digit_odenet",
    "double_pendulum_lagrangian",
    "fashion_odenet",
    "fixed_point",
    "gradient_of",
    "pendulum_energy",
    "residual_sizes",
    "row_jacobians",
    "sparse_regression",
    "spectral_radius",
    "spring_energy",
    "two_body_energy",
]

"""Networks of the course.

`fields` holds the vector fields, alone and many side by side, `layers` the neural ODE
layer and the residual network, `classifiers` what reads images, with the rivals;
`physics` holds fields that obey a law of mechanics.
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
    "AugmentedODE",
    "Autonomous",
    "ConvDynamics",
    "DigitClassifier",
    "Ensemble",
    "HamiltonianField",
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
    "gradient_of",
    "pendulum_energy",
    "sparse_regression",
    "spring_energy",
    "two_body_energy",
]

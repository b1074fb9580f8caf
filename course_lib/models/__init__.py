"""Networks of the course.

`fields` holds the vector fields, alone and many side by side, `layers` the neural ODE
layer and the residual network, `classifiers` what reads images, with the rivals.
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

__all__ = [
    "DIGIT_MODELS",
    "AugmentedODE",
    "Autonomous",
    "ConvDynamics",
    "DigitClassifier",
    "Ensemble",
    "MLPDynamics",
    "NeuralODE",
    "ResNet",
    "StackedLinear",
    "check_states",
    "digit_model",
    "digit_odenet",
    "fashion_odenet",
]

"""Classifiers of images: a stem, a head, and between them what the models differ in."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from course_lib.models.fields import ConvDynamics, MLPDynamics
from course_lib.models.layers import NeuralODE, ResNet
from course_lib.solvers import check_choice, odeint, odeint_adjoint

__all__ = [
    "DIGIT_MODELS",
    "DigitClassifier",
    "digit_model",
    "digit_odenet",
    "fashion_odenet",
]


class DigitClassifier(nn.Sequential):
    """Downsampling stem, a body at 6×6, and a linear head: images (B, 1, 28, 28) to
    logits (B, 10).

    The body is what the models differ in: an ODE block, residual blocks, or nothing
    (`nn.Identity`).

    References
    ----------
    Chen, Rubanova, Bettencourt, Duvenaud 2018, section 3 and table 1.
    """

    def __init__(self, body: nn.Module, channels: int = 64, groups: int = 32):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 3),  # (B, C, 26, 26)
            nn.GroupNorm(groups, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 4, stride=2, padding=1),  # (B, C, 13, 13)
            nn.GroupNorm(groups, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 4, stride=2, padding=1),  # (B, C, 6, 6)
        )
        self.body = body
        self.head = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, 10),
        )

    def features(self, images: Tensor) -> Tensor:
        """What the last linear layer reads, shape (B, channels)."""
        return self.head[:-1](self.body(self.stem(images)))


def digit_odenet(
    *, odeint: Callable = odeint_adjoint, **solver_settings
) -> DigitClassifier:
    """The ODE-Net for digits; dopri5 at tolerance 1e-3, or as `solver_settings` say: if
    one is given, the others are those of the solver.
    """
    settings = solver_settings or dict(rtol=1e-3, atol=1e-3)
    return DigitClassifier(NeuralODE(ConvDynamics(), odeint=odeint, **settings))


# The rivals of chapter 09: how each is made. The paper has the first three and the
# ODE-Net; "no body" and "one block" ask what the ODE block is worth.
DIGIT_MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10)
    ),
    "resnet": lambda: DigitClassifier(
        ResNet([ConvDynamics() for _ in range(6)], total=6.0)
    ),
    "rknet": lambda: digit_odenet(odeint=odeint, method="rk4", step_size=0.5),
    "odenet": lambda: digit_odenet(method="bosh3", rtol=1e-3, atol=1e-3),
    "one block": lambda: DigitClassifier(ResNet([ConvDynamics()])),
    "no body": lambda: DigitClassifier(nn.Identity()),
}


def digit_model(name: str) -> nn.Module:
    """A digit classifier of `DIGIT_MODELS`, with weights from the current seed.

    The last norm of an ODE block starts at 0.1 instead of 1, so that the flow begins
    slow and the first solves are cheap.

    Raises
    ------
    ValueError
        For a name that is not in `DIGIT_MODELS`.
    """
    check_choice("name", name, DIGIT_MODELS)
    model = DIGIT_MODELS[name]()
    body = getattr(model, "body", None)
    if isinstance(body, NeuralODE) and isinstance(body.f, ConvDynamics):
        nn.init.constant_(body.f.norm3.weight, 0.1)
    return model


# --- clothes ----------------------------------------------------------------------------


def fashion_odenet(
    *,
    activation: Callable = nn.ReLU,
    odeint: Callable = odeint,
    **solver_settings,
) -> nn.Sequential:
    """A small ODE-Net for Fashion-MNIST: images (B, 1, 28, 28) to logits (B, 10).

    One convolution makes a state of 2028 numbers, which flows through a narrow network
    (2028-16-16-2028, with `activation` between its layers) and is read off by one linear
    layer. tsit5 at tolerance 1e-3, or as `solver_settings` say: if one is given, the
    others are those of the solver.
    """
    settings = solver_settings or dict(method="tsit5", rtol=1e-3, atol=1e-3)
    f = MLPDynamics(2028, (16, 16), activation=activation)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),  # (B, 3, 26, 26)
        nn.ReLU(),
        nn.Flatten(),  # (B, 2028)
        NeuralODE(f, odeint=odeint, **settings),
        nn.Linear(2028, 10),
    )

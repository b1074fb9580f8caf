"""Networks of the course: vector fields, alone and many side by side, the neural ODE
layer, and the digit classifiers with their rivals.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from course_lib.solvers import as_times, check_whole, odeint, odeint_adjoint

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

# --- vector fields --------------------------------------------------------------------


class MLPDynamics(nn.Module):
    """A vector field f(t, y) on R^dim: a fully connected network, tanh between layers.

    Parameters
    ----------
    dim : int
    hidden : sequence of int, widths of the hidden layers
    time : bool
        Whether t is an input; without it the field is autonomous.
    activation : callable that makes the module between layers
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        *,
        time: bool = False,
        activation: Callable = nn.Tanh,
    ):
        super().__init__()
        self.time = time
        widths = [dim + time, *hidden, dim]
        layers = [
            layer
            for i, o in pairwise(widths)
            for layer in (nn.Linear(i, o), activation())
        ]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # (*, dim) -> (*, dim)
        """The derivative at y, and at t if the field has time."""
        return self.net(
            torch.cat((y, t.expand(*y.shape[:-1], 1)), dim=-1) if self.time else y
        )


class Autonomous(nn.Module):
    """A network that takes y alone as a vector field f(t, y): ``net(y)`` at all times."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt, shape of y."""
        return self.net(y)


class ConvDynamics(nn.Module):
    """The vector field of the digit classifier: two 3×3 convolutions, time as one more
    channel.

    GroupNorm and not BatchNorm: running statistics would make f depend on how often it
    was called.

    References
    ----------
    Chen, Rubanova, Bettencourt, Duvenaud 2018, section 3.
    """

    def __init__(self, channels: int = 64, groups: int = 32):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (
            nn.GroupNorm(groups, channels) for _ in range(3)
        )
        self.conv1, self.conv2 = (
            nn.Conv2d(channels + 1, channels, 3, padding=1) for _ in range(2)
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        """The derivative of every image at t."""
        time = t.to(y.dtype).expand(len(y), 1, *y.shape[2:])
        y = self.conv1(torch.cat((self.norm1(y).relu(), time), dim=1))
        y = self.conv2(torch.cat((self.norm2(y).relu(), time), dim=1))
        return self.norm3(y)


# --- many fields side by side -----------------------------------------------------------


class StackedLinear(nn.Module):
    """Linear layers of one shape, side by side: (members, batch, in) to (members,
    batch, out).

    Parameters
    ----------
    layers : sequence of Linear, each with a bias
    """

    def __init__(self, layers: Sequence[nn.Linear]):
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.stack(parts).detach())
            for parts in zip(*((layer.weight, layer.bias) for layer in layers))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Each member's layer on its own rows."""
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)


class Ensemble(nn.Module):
    """Networks of one shape, side by side as one vector field: as many trainings for
    little more than the time of one.

    Each member sees its own part of the state. A gradient of the sum of their losses
    is, for each member, that of its own, as long as the optimizer treats every number by
    itself (SGD and Adam do; clipping the norm of all does not).

    Parameters
    ----------
    members : sequence of MLPDynamics, or of Sequential networks of y alone
        Linear layers with a bias, and activations without parameters; equal but for the
        values of the weights, which are copied.

    Attributes
    ----------
    net : Sequential, the network of y (and t, where the members have time) with a leading
        axis of members in every weight

    Raises
    ------
    ValueError
        If the members differ in shape, or have other parameters.
    """

    def __init__(self, members: Sequence[MLPDynamics] | Sequence[nn.Sequential]):
        super().__init__()
        nets = [m.net if isinstance(m, MLPDynamics) else m for m in members]
        shapes = sorted({str(net) for net in nets})
        if len(shapes) != 1:
            raise ValueError(f"members must be networks of one shape, got {shapes}")
        self.time = isinstance(members[0], MLPDynamics) and members[0].time
        self.net = nn.Sequential(*(_side_by_side(layers) for layers in zip(*nets)))
        # In a tuple: its weights are not among those of the ensemble.
        self._first = (copy.deepcopy(members[0]),)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """The derivatives, (members, batch, dim) to (members, batch, dim)."""
        return self.net(
            torch.cat((y, t.expand(*y.shape[:-1], 1)), dim=-1) if self.time else y
        )

    def member(self, i: int) -> MLPDynamics | nn.Sequential:
        """A copy of member `i` as it is now, alone."""
        alone = copy.deepcopy(self._first[0])
        for parameter, stacked in zip(alone.parameters(), self.net.parameters()):
            parameter.data = stacked[i].detach().clone()
        return alone


def _side_by_side(layers: Sequence) -> nn.Module:
    first = layers[0]
    if isinstance(first, nn.Linear) and first.bias is not None:
        return StackedLinear(layers)
    if any(True for _ in first.parameters()):
        raise ValueError(
            "members must consist of linear layers with a bias and of activations "
            f"without parameters, got {first}"
        )
    return first


# --- layers ---------------------------------------------------------------------------


def check_states(states: object) -> Tensor:
    """What an `odeint` returned, if it is a Tensor as it must be.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(states, Tensor):
        raise TypeError(
            "odeint must return the states as a Tensor, got a "
            f"{type(states).__name__}; odeint, odeint_checkpointed, odeint_adjoint and "
            "odeint_interpolated of course_lib.solvers do, solve does not"
        )
    return states


class NeuralODE(nn.Module):
    """A layer that flows its input along a vector field from t[0] to t[-1].

    Parameters
    ----------
    f : Module ``f(t, y) -> dy/dt``
    t : sequence of floats, the interval
    odeint : callable ``odeint(f, y0, t, **solver_settings) -> ys``
        It decides how the gradient is found. `odeint` backpropagates through the steps:
        for the networks of this course that is the fastest way and as accurate as the
        others, so it is what is taken unless another is named. Where its memory does
        not suffice, `odeint_checkpointed` gives the same gradient in less of it;
        `odeint_interpolated` and `odeint_adjoint` are the continuous adjoint, with and
        without the path kept. torchdiffeq's fit too.
    **solver_settings
        Handed to `odeint`: ``rtol=1e-3, atol=1e-3``, or ``method="rk4",
        step_size=0.25``.
    """

    def __init__(
        self,
        f: nn.Module,
        t: Sequence[float] = (0.0, 1.0),
        *,
        odeint: Callable = odeint,
        **solver_settings,
    ):
        super().__init__()
        self.f, self.odeint = f, odeint
        self.t = t if isinstance(t, Tensor) else tuple(t)
        self.solver_settings = solver_settings

    def forward(self, y0: Tensor) -> Tensor:
        """The state at t[-1], shape as y0."""
        return self.trajectory(y0, self.t)[-1]

    def trajectory(self, y0: Tensor, t: Tensor | Sequence[float]) -> Tensor:
        """The states at the times `t`, shape (len(t), *y0.shape); y0 is the state at
        t[0].

        Raises
        ------
        TypeError
            If `odeint` returns anything but a Tensor; besides, what `odeint` raises.
        """
        t = as_times(t).to(
            y0.device
        )  # in their own type: float32 may not tell them apart
        return check_states(self.odeint(self.f, y0, t, **self.solver_settings))


class AugmentedODE(NeuralODE):
    """A neural ODE on a larger space: append `extra` zeros to the input, then flow.

    In the new directions paths can pass each other, which on the line and in the plane
    they cannot always.

    Parameters
    ----------
    f : Module ``f(t, y) -> dy/dt``, y of shape (..., dim + extra)
    extra : int, how many zeros; none makes it a `NeuralODE`
    t, odeint, **solver_settings
        As in `NeuralODE`.

    References
    ----------
    Dupont, Doucet, Teh, *Augmented Neural ODEs*, 2019.
    """

    def __init__(
        self, f: nn.Module, extra: int, t: Sequence[float] = (0.0, 1.0), **settings
    ):
        if extra < 0:
            raise ValueError(f"extra must be a number of zeros to append, got {extra}")
        super().__init__(f, t, **settings)
        self.extra = extra

    def lift(self, x: Tensor) -> Tensor:  # (*, dim) -> (*, dim + extra)
        """The input with zeros behind it."""
        return nn.functional.pad(x, (0, self.extra))

    def trajectory(self, y0: Tensor, t: Tensor | Sequence[float]) -> Tensor:
        """The states of the lifted y0 at the times `t`, shape (len(t), *, dim + extra)."""
        return super().trajectory(self.lift(y0), t)


class ResNet(nn.Module):
    """``y ← y + (total / depth) f(t_l, y)`` at ``t_l = l total / depth``, l = 0 … depth
    - 1: a residual network.

    `blocks` is one vector field shared by all layers, or a list of one per layer.
    """

    def __init__(
        self,
        blocks: nn.Module | Sequence[nn.Module],
        depth: int | None = None,
        *,
        total: float = 1.0,
    ):
        super().__init__()
        if isinstance(blocks, nn.Module) != (depth is not None):
            raise ValueError(
                "ResNet takes one shared block and a depth, or a list of blocks and no depth"
            )
        self.blocks = nn.ModuleList(
            [blocks] if isinstance(blocks, nn.Module) else blocks
        )
        layers = len(self.blocks) if depth is None else depth
        self.depth = check_whole("depth", layers, "a ResNet has at least one layer")
        self.total = total

    def forward(self, y: Tensor) -> Tensor:
        """The output of the last layer, shape as y."""
        return self.hidden_states(y)[-1]

    def hidden_states(self, y: Tensor) -> Tensor:
        """The input and the output of every layer, shape (depth + 1, *y.shape)."""
        h, states = self.total / self.depth, [y]
        for layer in range(self.depth):
            f = self.blocks[layer % len(self.blocks)]
            states.append(
                states[-1]
                + h
                * f(torch.tensor(layer * h, dtype=y.dtype, device=y.device), states[-1])
            )
        return torch.stack(states)


# --- digit classifiers ----------------------------------------------------------------


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
    """The ODE-Net for digits; dopri5 at tolerance 1e-3 unless `solver_settings` say
    otherwise.
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
    if name not in DIGIT_MODELS:
        raise ValueError(f"name must be one of {', '.join(DIGIT_MODELS)}; got {name!r}")
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
    layer. tsit5 at tolerance 1e-3 unless `solver_settings` say otherwise.
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

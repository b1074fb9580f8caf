"""Live figures of small random networks, for the tests."""

import torch
from torch import nn

from course_lib.data import karate_club, ring
from course_lib.flows import DigitVAE, LabelledVelocity, digit_velocity
from course_lib.latent import LatentODE
from course_lib.models import (
    DigitClassifier,
    GraphField,
    HamiltonianField,
    MLPDynamics,
    NeuralCDE,
    NeuralODE,
    NodeClassifier,
    ScalarNetwork,
    SeparableEnergy,
    digit_odenet,
    propagation,
)
from course_lib.parallel import StepCost
from course_lib.widgets import (
    DensityFlowExplorer,
    DigitDepthExplorer,
    DigitSampler,
    FlowExplorer,
    GraphExplorer,
    LatentExplorer,
    PathExplorer,
    PendulumExplorer,
    ScalingExplorer,
)


def network(dim=2, activation=nn.Tanh, time=False, hidden=(8, 8)) -> MLPDynamics:
    torch.manual_seed(dim)
    return MLPDynamics(dim, hidden, time=time, activation=activation)


def flow(f=None, **settings) -> FlowExplorer:
    settings = dict(start=(1.0, 0.5), window=((-2, 2), (-2, 2))) | settings
    return FlowExplorer(f or network(), **settings)


def classifier(growth=1.0) -> DigitClassifier:
    """Random weights; `growth` makes the flow faster, and the solver's steps shorter."""
    torch.manual_seed(0)
    model = digit_odenet()
    model.body.f.norm3.weight.data *= growth
    model.head[-1].weight.data *= 10
    return model


def digits(n=4, growth=1.0, **settings) -> DigitDepthExplorer:
    """Show random pictures."""
    model = classifier(growth)
    images, labels = torch.rand(n, 1, 28, 28), torch.arange(n)
    return DigitDepthExplorer(model, images, labels, range(n), **settings)


def density(f=None, n=20, **settings) -> DensityFlowExplorer:
    points = torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    settings = dict(data=points, window=((-3, 3), (-3, 3))) | settings
    return DensityFlowExplorer(f or network(), **settings)


def latent_model(dim=5, observed=2) -> LatentODE:
    torch.manual_seed(dim)
    model = LatentODE(observed, dim, hidden=8, width=12)
    for p in model.f.parameters():
        p.data *= 2
    return model


def latent(model=None, dim=5, **settings) -> LatentExplorer:
    ends = torch.randn(2, dim, generator=torch.Generator().manual_seed(2))
    settings = dict(start=ends[0], end=ends[1], t_end=2.0) | settings
    return LatentExplorer(model or latent_model(), **settings)


def makers() -> tuple[LabelledVelocity, DigitVAE]:
    """Make a flow and an autoencoder with random weights, the digits a little darker."""
    torch.manual_seed(0)
    flow, vae = digit_velocity(), DigitVAE()
    flow.write.weight.data *= 4
    vae.decoder[-1].weight.data *= 20
    vae.centre, vae.spread = torch.randn(16), torch.rand(16) + 0.5
    return flow, vae


def sampler(**settings) -> DigitSampler:
    return DigitSampler(*makers(), **settings)


def separable(width=6) -> HamiltonianField:
    """T + V of random weights, from which a pendulum swings to and fro."""
    torch.manual_seed(width)
    parts = [ScalarNetwork(1, (width,)) for _ in range(2)]
    for part in parts:
        part.net[0].weight.data.uniform_(0.3, 1.0)
        part.net[0].bias.data.copy_(torch.linspace(-2, 2, width))
        part.net[2].weight.data.copy_(part.net[0].bias.data[None] / 2)
    return HamiltonianField(SeparableEnergy(*parts))


def swing(f=None, **settings) -> PendulumExplorer:
    return PendulumExplorer(f or network(), separable(), **settings)


def between_nodes(**settings) -> GraphExplorer:
    """Random weights on the club and on a ring; two nodes are warm, one is cold."""
    graphs = {"club": karate_club(), "ring": ring(12)}
    torch.manual_seed(0)
    field = GraphField(propagation(graphs["ring"].adjacency()), 3, bias=False)
    flow = NodeClassifier(1, 3, 1, NeuralODE(field), bias=False)
    how = dict(warm=[0, 5], cold=[33], t=2.0) | settings
    return GraphExplorer(flow, graphs, **how)


READINGS = ((0.0, 0.2), (0.1, 0.9), (0.35, 1.1), (0.4, -0.5), (0.7, -1.2), (1.0, 0.1))


def cde(**sizes) -> NeuralCDE:
    """A network of random weights that answers to its path."""
    torch.manual_seed(0)
    model = NeuralCDE(**dict(observed=1, hidden=4, outputs=1, width=8) | sizes)
    for p in model.matrix.net[2].parameters():
        p.data *= 20
    model.out.weight.data *= 4
    return model


def driven(model=None, readings=READINGS, **settings) -> PathExplorer:
    return PathExplorer(model or cde(), readings, **settings)


# Numbers like those that were measured.
COSTS = {
    "small": StepCost(4e-3, 2e-5, 1e3, latency=1e-4, bandwidth=1e9),
    "large": StepCost(8e-3, 1e-3, 3e5, latency=1e-4, bandwidth=1e9),
}


def scaling(**settings) -> ScalingExplorer:
    return ScalingExplorer(COSTS, **settings)

"""Digits from noise, chapter 15: a small variational autoencoder on the bundled 10,000
training digits, and flow matching with labels in its latent space.

The autoencoder is trained once, the flow from three seeds; the recipes are fixed
beforehand, and nothing is chosen by what is measured here. Every flow is judged by the
stored classifier of chapter 09, on samples whose labels are 0 … 9 in turn: how many it
reads as what they should be, and the Fréchet distance of its features from those of the
10,000 test images, beside two floors that training images set. The weights are rounded
to half precision before anything is measured.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_lib import data, flows, measuring, models, parallel, records, training
from course_lib.flows import DigitVAE, Guided
from course_lib.latent import Posterior
from tools.train_digits import saves_of

Trained = TypeVar("Trained", bound=nn.Module)

BY = ("model", "seed", "epochs")
VAE = "digit_vae"  # the name of the stored autoencoder
SAMPLES = 2000
GUIDANCE = (1.0, 1.5, 2.0, 3.0)
FIXED = {"euler": (1, 2, 4, 8, 16), "heun": (1, 2, 4, 8), "rk4": (1, 2, 4)}
TOLERANCES = (1e-2, 1e-4)
FINE = dict(method="heun", step_size=1 / 8)  # how samples are made to look for copies


# --- trainings ------------------------------------------------------------------------


def train_vae(
    args: argparse.Namespace,
) -> tuple[nn.Module, training.History, dict]:
    """Train the autoencoder and judge its reconstructions."""
    digits = data.mnist(train=True)
    vae = DigitVAE().to(training.device())
    batches = training.minibatches(digits.images, size=128, seed=args.seed)
    history = training.one_cycle(
        vae,
        batches,
        lambda x: vae.negative_elbo(x.to(training.device()), kl_weight=0.5),
        lr=args.lr,
        epochs=args.epochs,
        optimizer=torch.optim.AdamW,
        saves=saves_of(args, {}),
    )
    vae.settle(digits.images.to(training.device()))
    vae = rounded(vae)
    found = dict(
        model="vae",
        train=digits.source,
        recipe=f"AdamW {args.lr:g}, one cycle, batches of 128, KL weight 0.5",
        stored_as="float16",
        **floors(vae, digits),
    )
    return vae.half().requires_grad_(), history, found


def train_flow(
    args: argparse.Namespace,
) -> tuple[nn.Module, training.History, dict]:
    """Train the velocity in the latent space of the stored autoencoder, average its
    weights, and judge its samples.
    """
    digits, vae = data.mnist(train=True), stored_vae()
    posterior = vae.posteriors(digits.images)
    batches = training.minibatches(*posterior, digits.labels, size=256, seed=args.seed)
    f = flows.digit_velocity().to(training.device())
    mean = AveragedModel(f, multi_avg_fn=get_ema_multi_avg_fn(0.999))

    def loss(*batch: Tensor) -> Tensor:
        mean.update_parameters(f)  # the weights until the step before
        return latent_loss(vae, f, *batch)

    history = training.one_cycle(
        f,
        batches,
        loss,
        lr=args.lr,
        epochs=args.epochs,
        optimizer=torch.optim.AdamW,
        saves=saves_of(args, {"mean": mean}),
    )
    f.load_state_dict(mean.module.state_dict())
    f = rounded(f)
    found = dict(
        model="latent flow",
        train=digits.source,
        recipe=f"AdamW {args.lr:g}, one cycle, batches of 256, logit-normal times, "
        "10% of the labels dropped, weights averaged (0.999)",
        stored_as="float16",
        **judged(f, vae.images, noise(16)),
    )
    found["nearest"]["decoded test images"] = nearest(decoded_test(vae))
    return f.half().requires_grad_(), history, found


def latent_loss(
    vae: DigitVAE, f: nn.Module, mean: Tensor, log_variance: Tensor, labels: Tensor
) -> Tensor:
    """The loss of a batch of posteriors: a code is drawn from each."""
    codes = Posterior(mean, log_variance).sample()
    x = vae.standardised(codes)
    return flows.flow_matching_loss(f, x, labels, t=flows.middle_times(x))


def decoded_test(vae: DigitVAE) -> Tensor:
    """The first test images, after encoding and decoding."""
    images = data.mnist(train=False).images[:SAMPLES]
    return vae.images(vae.standardised(vae.posteriors(images).mean))


def stored_vae() -> DigitVAE:
    """The autoencoder of the chapter, ready to decode."""
    vae = DigitVAE()
    records.load_model(vae, VAE)
    return vae.eval().requires_grad_(False)


def rounded(model: Trained) -> Trained:
    """The model with the numbers that half precision keeps, in single precision."""
    kept = copy.deepcopy(model).cpu()
    kept.load_state_dict({key: x.half() for key, x in kept.state_dict().items()})
    return kept.eval().requires_grad_(False)


# --- judgement ------------------------------------------------------------------------


class Judge:
    """The stored classifier of chapter 09, and what it makes of the test images.

    Its solver takes fixed steps here, so that what it says of an image does not depend on
    the images beside it.
    """

    def __init__(self):
        self.model = models.digit_odenet(method="rk4", step_size=0.5)
        records.load_model(self.model, "mnist_odenet")
        self.model.eval().requires_grad_(False)
        self.test = data.mnist(train=False)
        self.real, self.read = self.looked_at(self.test.images)

    def looked_at(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features, shape (n, 64), and the classes that are read, shape (n,)."""
        seen = torch.cat([self.model.features(part) for part in images.split(500)])
        return seen, self.model.head[-1](seen).argmax(dim=1)

    def says(self, images: Tensor, labels: Tensor) -> dict:
        """Accuracy, distance from the test images, coverage of the first of them, and the
        spread within a class of what is read right (1 is that of the test images; None if
        there is none).
        """
        seen, read = self.looked_at(images)
        within = spread_within(seen, labels, read)
        usual = spread_within(self.real, self.test.labels, self.read)
        return dict(
            accuracy=share(read == labels),
            distance=measuring.frechet_distance(seen, self.real),
            coverage=measuring.coverage(self.real[:SAMPLES], seen),
            spread=within / usual if math.isfinite(within) else None,
        )


def share(right: Tensor) -> float:
    """The share of what is true."""
    return right.double().mean().item()


def spread_within(features: Tensor, labels: Tensor, read: Tensor) -> float:
    """The mean over the classes of the summed variances of the features, without what is
    read otherwise: a few strangers would outweigh all variety. Not a number where a class
    has fewer than two.
    """
    kept = [features[(labels == c) & (read == c)] for c in range(10)]
    if min(map(len, kept)) < 2:
        return math.nan
    return torch.stack([part.var(dim=0).sum() for part in kept]).mean().item()


def floors(vae: DigitVAE, digits: data.ImageSet) -> dict:
    """What the first training images score themselves, and what is left of them after
    encoding and decoding; the bound on the test images.
    """
    judge, labels = Judge(), digits.labels[:SAMPLES]
    images = digits.images[:SAMPLES]
    codes = vae.standardised(vae.posteriors(images).mean)
    test = judge.test.images
    training.seed(0)
    with torch.no_grad():
        bound = [vae.negative_elbo(part).item() for part in test.split(1000)]
    return dict(
        test=judge.test.source,
        real=judge.says(images, labels),
        decoded=judge.says(vae.images(codes), labels),
        test_negative_elbo=sum(bound) / len(bound),
        latent_kl=vae.posteriors(test).kl().mean().item(),
    )


def noise(*point: int) -> Tensor:
    """The same noise for every flow, shape (SAMPLES, *point)."""
    return torch.randn(SAMPLES, *point, generator=data.generator(0))


def judged(
    f: nn.Module,
    images: Callable[[Tensor], Tensor],
    z: Tensor,
    weights: Sequence[float] = GUIDANCE,
) -> dict:
    """What the judge says of samples from the noise z for each way of sampling, and how
    near samples come to the training images; `images` are those of what the flow makes.
    """
    judge, rows = Judge(), []
    for weight in weights:
        for about, settings in ways():
            pictures, calls = made(f, images, z, weight, **settings)
            says = judge.says(pictures, labels_of(z))
            rows.append(dict(guidance=weight, **about, calls=calls, **says))
            if not parallel.own_rank():
                print(rows[-1], flush=True)
    near = {
        f"guidance {weight:g}": nearest(made(f, images, z, weight, **FINE)[0])
        for weight in weights
    }
    near["test images"] = nearest(judge.test.images[: len(z)])
    return dict(test=judge.test.source, samples=rows, nearest=near)


def labels_of(z: Tensor) -> Tensor:
    """The labels that are asked for: 0 … 9 in turn."""
    return torch.arange(len(z)) % 10


def made(
    f: nn.Module,
    images: Callable[[Tensor], Tensor],
    z: Tensor,
    weight: float,
    **settings,
) -> tuple[Tensor, int]:
    """The images that the noise z becomes, and how often f is evaluated for them."""
    field = measuring.Counted(Guided(InParts(f), labels_of(z), weight))
    pictures = images(flows.sample_ode(field, z, **settings))
    return pictures, field.calls * (1 if weight == 1 else 2)


class InParts(nn.Module):
    """A velocity that sees 250 rows at a time, which a processor keeps at hand."""

    def __init__(self, f: nn.Module):
        super().__init__()
        self.f, self.classes = f, f.classes

    def forward(self, t: Tensor, y: Tensor, labels: Tensor) -> Tensor:
        """The velocity, shape of y."""
        parts = zip(y.split(250), labels.split(250))
        return torch.cat([self.f(t, *part) for part in parts])


def nearest(images: Tensor) -> dict:
    """How far, pixel by pixel, the bundled training images are that come nearest to
    these: the least, the first percent, the median.
    """
    known = data.mnist(train=True).images.flatten(1)
    # By differences: by products, an image is not at distance 0 of itself on every processor.
    by_differences = "donot_use_mm_for_euclid_dist"
    far = torch.cdist(images.flatten(1), known, compute_mode=by_differences).amin(dim=1)
    at = far.quantile(torch.tensor([0.0, 0.01, 0.5])).tolist()
    return dict(zip(("least", "first percent", "median"), at))


def ways() -> list[tuple[dict, dict]]:
    """Ways to sample: what a row says of each, and the settings of its solve."""
    steps = [(name, n) for name, counts in FIXED.items() for n in counts]
    return [
        (dict(method=name, steps=n), dict(method=name, step_size=1 / n))
        for name, n in steps
    ] + [(dict(method="dopri5", tolerance=a), dict(rtol=a, atol=a)) for a in TOLERANCES]

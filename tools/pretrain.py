"""The long trainings whose weights travel with the package.

    python -m tools.pretrain mnist --epochs 12 --seed 0
    python -m tools.pretrain spirals --epochs 60 --seed 0

Each run writes course_lib/stored/NAME.safetensors and NAME.json: command, seed,
device, wall time, metrics. A chapter loads the weights and says so; a test re-evaluates
every stored model against its record.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
import sys

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib import data, latent, models, training
from course_lib.solvers import odeint


def describe_device() -> str:
    """The device a training ran on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"


def record(args: argparse.Namespace, seconds: float, **metrics) -> dict:
    """How a model was made, as it is stored beside its weights."""
    return {
        "command": "python -m tools.pretrain " + " ".join(sys.argv[1:]),
        "seed": args.seed,
        "device": describe_device(),
        "torch": torch.__version__,
        "seconds": round(seconds, 1),
        **metrics,
    }


# --- digits ---------------------------------------------------------------------------


def jittered(images: Tensor, *, degrees: float = 10.0, pixels: float = 2.0) -> Tensor:
    """The images, each turned, stretched by up to 10 % and shifted a little at random."""
    n, size = len(images), images.shape[-1]
    angle = (2 * torch.rand(n, device=images.device) - 1) * math.radians(degrees)
    scale = 1 + 0.1 * (2 * torch.rand(n, device=images.device) - 1)
    shift = (2 * torch.rand(n, 2, device=images.device) - 1) * 2 * pixels / size
    turn = (
        torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), dim=1).view(
            n, 2, 2
        )
        * scale[:, None, None]
    )
    grid = F.affine_grid(
        torch.cat((turn, shift[:, :, None]), dim=2), images.shape, align_corners=False
    )
    return F.grid_sample(images, grid, align_corners=False)


def train_mnist(args: argparse.Namespace) -> None:
    """The ODE-Net on all 60,000 digits: cheap fixed steps to train, the adaptive solver
    to evaluate.
    """
    training.seed(args.seed)
    device = training.device()
    train, test = data.mnist(train=True, full=True), data.mnist(train=False, full=True)
    model = models.digit_odenet(solve=odeint, method="rk4", step_size=0.5).to(device)
    batches = training.minibatches(train.images, train.labels, size=128, seed=args.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.epochs * len(batches)
    )

    def loss(images, labels):
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(jittered(images.to(device)))
        return F.cross_entropy(logits.float(), labels.to(device))

    history = training.fit(
        model, batches, loss, optimizer, epochs=args.epochs, scheduler=schedule
    )
    evaluated = models.digit_odenet().to(device)
    evaluated.load_state_dict(model.state_dict())
    score = training.accuracy(evaluated, test.images.to(device), test.labels.to(device))
    made = record(
        args,
        history.seconds,
        train=train.source,
        test=test.source,
        epochs=args.epochs,
        parameters=models.count_parameters(model),
        trained_with="rk4, two steps, backpropagation through the solver, bfloat16 autocast, jittered images",
        evaluated_with="dopri5, rtol = atol = 1e-3, float32",
        test_accuracy=score,
        final_loss=sum(history.losses[-100:]) / 100,
    )
    print(made)
    training.save_model(model, args.name or "mnist_odenet", made)


# --- spirals --------------------------------------------------------------------------


@torch.no_grad()
def spiral_errors(model: latent.LatentODE, series: data.Spirals) -> dict[str, float]:
    """RMSE per coordinate against the clean curve: at seen times, at unseen ones of the
    same span, and after it.
    """
    decoded = model.reconstruct(series.values, series.times(), series.t)
    squares = (decoded - series.clean).square().mean(dim=-1)  # (n, T)
    seen = torch.zeros(squares.shape, dtype=torch.bool).scatter_(1, series.index, True)
    inside = torch.arange(squares.shape[1]).expand_as(seen) < series.span
    parts = {"rmse_seen": seen, "rmse_unseen": inside & ~seen, "rmse_after": ~inside}
    return {name: squares[part].mean().sqrt().item() for name, part in parts.items()}


def train_spirals(args: argparse.Namespace) -> None:
    """The latent ODE on the two-armed spirals, 50 noisy observations of each."""
    training.seed(args.seed)
    noise = 0.2
    train = data.two_armed_spirals(8000, noise=noise, seed=args.seed)
    test = data.two_armed_spirals(1000, noise=noise, seed=args.seed + 1)
    model = latent.LatentODE(latent=6, hidden=64, width=64)
    batches = training.minibatches(
        train.values, train.times(), size=100, seed=args.seed
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    total = args.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=total, pct_start=0.2
    )
    step = itertools.count()

    def loss(values, times):  # the KL term fades in over the first 200 steps
        return latent.negative_elbo(
            model, values, times, noise=noise, kl_weight=min(1.0, next(step) / 200)
        )

    history = training.fit(
        model,
        batches,
        loss,
        optimizer,
        epochs=args.epochs,
        scheduler=schedule,
        clip=10.0,
        after_epoch=lambda: print(spiral_errors(model, test), flush=True),
    )
    made = record(
        args,
        history.seconds,
        train="8,000 series, seed = seed, noise 0.2, 50 observations of 200",
        test="1,000 series, seed = seed + 1, noise 0.2, 50 observations of 200",
        epochs=args.epochs,
        parameters=models.count_parameters(model),
        final_loss=sum(history.losses[-100:]) / 100,
        **spiral_errors(model, test),
    )
    print(made)
    training.save_model(model, args.name or "spirals_latent_ode", made)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    mnist = commands.add_parser("mnist", help="the digit ODE-Net on all 60,000 images")
    mnist.set_defaults(run=train_mnist, epochs=12, lr=3e-3)
    spirals = commands.add_parser(
        "spirals", help="the latent ODE on the two-armed spirals"
    )
    spirals.set_defaults(run=train_spirals, epochs=60, lr=5e-3)
    for command in (mnist, spirals):
        command.add_argument("--epochs", type=int)
        command.add_argument("--lr", type=float)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--name", help="name of the stored files")
        command.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.run(args)


if __name__ == "__main__":
    main()

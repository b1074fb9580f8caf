"""The long trainings, their results and the weights that travel with the package.

    python -m tools.pretrain mnist --model odenet --epochs 5 --seed 0
    python -m tools.pretrain mnist-costs
    python -m tools.pretrain starts --steps 150 --seed 0
    python -m tools.pretrain spirals --data two-armed --model ode --seed 0
    python -m tools.pretrain spirals --data "diverse, late" --lr 3e-3 --seed 0
    python -m tools.pretrain fashion --epochs 3 --hold 5000 --name fashion_odenet
    python -m tools.pretrain visits --seed 0
    python -m tools.pretrain vae --seed 0 --name digit_vae
    python -m tools.pretrain matching --seed 0 --name digit_flow
    python -m tools.pretrain pixels --seed 0 --name digit_pixels
    python -m tools.pretrain physics --seeds 3
    python -m tools.pretrain rods --seeds 3
    python -m tools.pretrain horizons --seeds 20 --threads 1
    python -m tools.pretrain controlled --seeds 3
    python -m tools.pretrain noise --seeds 5
    python -m tools.pretrain equilibrium --model equilibrium --seed 0
    python -m tools.pretrain graphs --seeds 3

mnist, vae, matching and pixels can be shared by several processes, and saved:

    torchrun --nproc-per-node=2 -m tools.pretrain mnist --save _build/mnist.pt

A run records its command, seed, device, wall time and metrics: in the results (see
`course_lib.records`), and where it stores a model, in NAME.json beside NAME.safetensors.
A chapter loads the weights and says so; a test re-evaluates every stored model against
its record.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from course_lib import measuring, models, parallel, records, training
from tools import (
    train_controlled,
    train_digits,
    train_equilibrium,
    train_fashion,
    train_graphs,
    train_horizons,
    train_matching,
    train_noise,
    train_physics,
    train_pixels,
    train_rods,
    train_spirals,
    train_starts,
    train_visits,
)


def pretrain(args: argparse.Namespace) -> None:
    """Train one model, add its row to the results, and store it if it gets a name."""
    model, history, found = args.train(args)
    made = records.made(
        seed=args.seed,
        seconds=round(history.seconds, 1),
        epochs=args.epochs,
        parameters=measuring.count_parameters(model),
        final_loss=statistics.fmean(history.losses[-100:]),
        **found,
    )
    if parallel.own_rank():
        return
    print({key: value for key, value in made.items() if not isinstance(value, list)})
    records.add_row(args.results, made, by=args.by)
    if args.name:
        records.save_model(model, args.name, made)
    if getattr(args, "save", None):
        Path(args.save).unlink(missing_ok=True)


def parser() -> argparse.ArgumentParser:
    """What the command line may ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    mnist = commands.add_parser("mnist", help="a digit classifier on all 60,000 images")
    mnist.set_defaults(train=train_digits.train, epochs=5, lr=3e-3)
    mnist.set_defaults(results="mnist", by=train_digits.BY)
    mnist.add_argument("--model", choices=list(models.DIGIT_MODELS), default="odenet")
    mnist.add_argument("--start", type=float, help="weight of the last norm to begin")
    mnist.add_argument(
        "--average", type=float, help="share of the averaged weights kept a step"
    )
    mnist.add_argument("--hold", type=int, default=0, help="how many are held out")
    costs = commands.add_parser("mnist-costs", help="time and memory of a step of each")
    costs.set_defaults(run=train_digits.measure)
    costs.add_argument("--rounds", type=int, default=10)
    starts = commands.add_parser("starts", help="an ODE-Net's first steps, two starts")
    starts.set_defaults(run=train_starts.compare)
    starts.add_argument("--steps", type=int, default=150)
    starts.add_argument("--lr", type=float, default=0.05)
    spirals = commands.add_parser(
        "spirals", help="a latent ODE or its rival on a set of spirals"
    )
    spirals.set_defaults(train=train_spirals.train, epochs=60, lr=5e-3)
    spirals.set_defaults(results="latent_ode", by=("data", "model", "seed", "epochs"))
    spirals.add_argument(
        "--data", choices=list(train_spirals.RECIPES), default="two-armed"
    )
    spirals.add_argument("--model", choices=train_spirals.MODELS, default="ode")
    fashion = commands.add_parser("fashion", help="the ODE-Net for clothes, all 60,000")
    fashion.set_defaults(train=train_fashion.train, epochs=3, lr=1e-2)
    fashion.set_defaults(results="fashion", by=train_fashion.BY)
    fashion.add_argument("--end", choices=["linear", "relu"], default="linear")
    fashion.add_argument("--rate", choices=["cycle", "constant"], default="cycle")
    fashion.add_argument("--images", type=int, default=60_000, help="the first of them")
    fashion.add_argument("--hold", type=int, default=0, help="how many are held out")
    visits = commands.add_parser("visits", help="forecasts of patients, five folds")
    visits.set_defaults(run=train_visits.compare)
    vae = commands.add_parser("vae", help="an autoencoder of the bundled digits")
    vae.set_defaults(train=train_matching.train_vae, epochs=30, lr=3e-3)
    matching = commands.add_parser("matching", help="a flow in the autoencoder's space")
    matching.set_defaults(train=train_matching.train_flow, epochs=300, lr=2e-3)
    pixels = commands.add_parser("pixels", help="a flow among the pixels of digits")
    pixels.set_defaults(train=train_pixels.train, epochs=120, lr=5e-3)
    pixels.add_argument("--full", action="store_true", help="all 60,000 images")
    for command in (vae, matching, pixels):
        command.set_defaults(results="flow_matching", by=train_matching.BY)
    physics = commands.add_parser("physics", help="fields with a law, and plain ones")
    physics.set_defaults(run=train_physics.run)
    physics.add_argument("--task", choices=list(train_physics.TASKS))
    rods = commands.add_parser("rods", help="fields of two rods, with a law or plain")
    rods.set_defaults(run=train_rods.run)
    controlled = commands.add_parser("controlled", help="readers of irregular series")
    controlled.set_defaults(run=train_controlled.run)
    controlled.add_argument("--model", choices=list(train_controlled.MODELS["vowels"]))
    for command in (physics, rods, controlled):
        command.add_argument(
            "--seeds", type=int, default=3, help="how many, from --seed on"
        )
    horizons = commands.add_parser("horizons", help="five ways to fit a long series")
    horizons.set_defaults(run=train_horizons.run)
    horizons.add_argument("--model", choices=list(train_horizons.PLANS))
    horizons.add_argument(
        "--way", choices=[*train_horizons.WAYS, *train_horizons.ADDED]
    )
    horizons.add_argument(
        "--seeds", type=int, default=20, help="how many, from --seed on"
    )
    noise = commands.add_parser("noise", help="neural SDEs, and noise between layers")
    noise.set_defaults(run=train_noise.run)
    tasks = ("bistable", "temperature", "layers", "torchsde")
    noise.add_argument("--task", choices=tasks)
    noise.add_argument("--seeds", type=int, default=5, help="how many, from --seed on")
    equilibrium = commands.add_parser(
        "equilibrium", help="an equilibrium layer and its rivals on the bundled digits"
    )
    equilibrium.set_defaults(train=train_equilibrium.train, epochs=2, lr=5e-3)
    equilibrium.set_defaults(results="equilibrium", by=train_equilibrium.BY)
    equilibrium.add_argument(
        "--model",
        choices=train_equilibrium.MODELS + train_equilibrium.CONVOLUTIONAL,
        default="equilibrium",
    )
    graphs = commands.add_parser("graphs", help="depth on graphs, and oscillators")
    graphs.set_defaults(run=train_graphs.run)
    graphs.add_argument("--task", choices=[*train_graphs.TASKS, "kuramoto"])
    graphs.add_argument("--model", help="one of those that the task has")
    graphs.add_argument("--seeds", type=int, default=3, help="how many, from --seed on")
    trained = (mnist, spirals, fashion, vae, matching, pixels, equilibrium)
    for command in trained:
        command.set_defaults(run=pretrain)
        command.add_argument("--epochs", type=int)
        command.add_argument("--lr", type=float)
        command.add_argument("--name", help="name of the stored files")
    for command in (mnist, vae, matching, pixels):
        command.set_defaults(together=True)
        command.add_argument("--save", help="file to go on from if the run is stopped")
        command.add_argument("--every", type=int, default=100, help="steps to a save")
    for command in (
        *trained,
        costs,
        starts,
        visits,
        physics,
        rods,
        horizons,
        graphs,
        controlled,
        noise,
    ):
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser


def main() -> None:
    """Read the command line, and run what it asks for from its seed."""
    line = parser()
    args = line.parse_args()
    torch.set_num_threads(args.threads)
    training.seed(args.seed)
    with parallel.process_group():
        if parallel.world_size() > 1 and not getattr(args, "together", False):
            line.error("this training is one of a single process; start it by python")
        args.run(args)


if __name__ == "__main__":
    main()

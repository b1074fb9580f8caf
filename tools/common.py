"""What the long trainings share: how a model was made, and where that is kept."""

from __future__ import annotations

import argparse
import json
import platform
import sys

import torch

from course_lib import training


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


def kept(name: str) -> dict:
    """The results so far in results/`name`.json."""
    path = training.RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": []}


def keep(name: str, row: dict, *, by: tuple[str, ...]) -> None:
    """Put a row into results/`name`.json, in the place of one that is equal in the
    columns `by`, or at the end.
    """
    found = kept(name)
    rows = {tuple(old[column] for column in by): old for old in found["rows"]}
    rows[tuple(row[column] for column in by)] = row
    write(name, found | {"rows": list(rows.values())})


def write(name: str, found: dict) -> None:
    training.RESULTS.mkdir(exist_ok=True)
    path = training.RESULTS / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")

"""What the long trainings share: how a model was made, as it is recorded."""

from __future__ import annotations

import argparse
import platform
import sys

import torch


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

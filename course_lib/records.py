"""Stored weights and results, in ``course_lib/bundled``: how each was made, one way to
write them, one way to read them.

A model is two files, weights/NAME.safetensors and weights/NAME.json, which says how it
was made. What a long training or a benchmark found is results/NAME.json.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from course_lib import measuring, parallel
from course_lib.resuming import aside

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = [
    "RESULTS",
    "WEIGHTS",
    "add_row",
    "load_model",
    "made",
    "print_rows",
    "report",
    "results",
    "save_model",
    "save_results",
]

WEIGHTS = Path(__file__).with_name("bundled") / "weights"
RESULTS = Path(__file__).with_name("bundled") / "results"


def made(**about) -> dict:
    """How something is made: the command that is running, the machine, PyTorch's
    version, and what `about` adds.
    """
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"-m {module.name}" if module else Path(sys.argv[0]).name
    n = parallel.world_size()
    start = "python" if n == 1 else f"torchrun --nproc-per-node={n}"
    return {
        "command": " ".join((start, program, *map(shlex.quote, sys.argv[1:]))),
        "device": measuring.machine(),
        "torch": torch.__version__,
        **({} if n == 1 else {"processes": n}),
        **about,
    }


# --- weights --------------------------------------------------------------------------


def save_model(model: nn.Module, name: str, record: dict) -> Path:
    """Write the weights to `name`.safetensors and how they were made to `name`.json.

    Returns
    -------
    Path : of the weights
    """
    path = WEIGHTS / f"{name}.safetensors"
    # What json cannot write is refused before the weights are replaced.
    _text_of(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = model.state_dict()
    with aside(path) as part:
        save_file(
            {key: value.contiguous().cpu() for key, value in weights.items()}, part
        )
    _write(path.with_suffix(".json"), record)
    return path


def load_model(model: nn.Module, name: str) -> dict:
    """Load stored weights into `model`; the record of how they were made.

    Raises
    ------
    FileNotFoundError
        If there is no stored model of that name; the message lists those there are.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.exists():
        raise FileNotFoundError(
            f"no stored model {name!r}; stored models: {_names(WEIGHTS)}. "
            "Make it with tools/pretrain.py"
        )
    model.load_state_dict(load_file(path))
    return _read(path.with_suffix(".json"))


# --- results --------------------------------------------------------------------------


def results(name: str) -> dict:
    """What a long training or a benchmark found.

    Raises
    ------
    FileNotFoundError
        If there are no results of that name; the message lists those there are.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"no results {name!r}; results: {_names(RESULTS)}. Make them with "
            "tools/pretrain.py or `make bench`"
        )
    return _read(path)


def save_results(name: str, **entries) -> None:
    """Write entries of the results `name`; the other entries stay as they are."""
    path = RESULTS / f"{name}.json"
    with _alone(path.parent):
        _write(path, _found(path) | entries)


def add_row(name: str, row: dict, *, by: tuple[str, ...]) -> None:
    """Put a row into the results `name`, in the place of one that is equal in the
    columns `by`, or at the end. Processes that add at the same time wait for each other.
    """
    path = RESULTS / f"{name}.json"
    with _alone(path.parent):
        content = _found(path)
        found = content.get("rows", [])
        equal = [all(old.get(key) == row[key] for key in by) for old in found]
        place = equal.index(True) if any(equal) else len(found)
        rows = [*found[:place], row, *found[place + 1 :]]
        _write(path, content | {"rows": rows})


def report(name: str, rows: list[dict], **about) -> None:
    """Print the rows of a benchmark as a table, and write them to the results `name`,
    with how they were made and what `about` adds.
    """
    print_rows(rows)
    save_results(name, made=made(**about), rows=rows)


def print_rows(rows: list[dict]) -> None:
    """Print rows as a table, with the columns of the first."""
    lines = [list(rows[0]), *([_text(row[key]) for key in rows[0]] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)))


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# --- files ----------------------------------------------------------------------------


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _found(path: Path) -> dict:
    return _read(path) if path.exists() else {}


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with aside(path) as part:
        part.write_text(_text_of(content), encoding="utf-8")


def _text_of(content: dict) -> str:
    return json.dumps(content, indent=1) + "\n"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process is here while the context lasts; one that dies here leaves too.

    Windows has no such lock: there two runs must not write at the same time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "none"

"""One training from several seeds, as processes of their own.

    python -m tools.sweep --seeds 3 --at-once 2 -- mnist --model "one block" --epochs 5

Every seed is ``python -m tools.pretrain …`` with ``--seed`` and ``--save``. Stop the sweep
whenever you like, and give the same line again: seeds that are done are left out, the
others go on from where they were saved. A seed that fails does not stop the others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["command", "left", "sweep"]

FOLDER = Path("_build/sweep")


def command(training: Sequence[str], seed: int, folder: Path) -> list[str]:
    """The command line of one seed."""
    save = folder / f"{seed}.pt"
    line = ["-m", "tools.pretrain", *training, "--seed", str(seed), "--save", str(save)]
    return [sys.executable, *line]


def left(seeds: int, folder: Path) -> Iterator[int]:
    """The seeds that are not done."""
    return (seed for seed in range(seeds) if not (folder / f"{seed}.done").exists())


def sweep(lines: dict[int, list[str]], folder: Path, at_once: int) -> list[int]:
    """Run the lines, `at_once` at a time, and mark those that end well; the seeds of
    those that do not.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def run(seed: int) -> int | None:
        if subprocess.run(lines[seed]).returncode:
            return seed
        (folder / f"{seed}.done").touch()
        return None

    with ThreadPoolExecutor(at_once) as pool:
        return [seed for seed in pool.map(run, lines) if seed is not None]


def main() -> None:
    """Read the command line, and run what is left of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="one for each sweep")
    parser.add_argument("training", nargs="+", help="of tools.pretrain, after --")
    args = parser.parse_args()
    folder = args.folder or FOLDER / "-".join(args.training).replace("--", "")
    seeds = left(args.seeds, folder)
    lines = {seed: command(args.training, seed, folder) for seed in seeds}
    if failed := sweep(lines, folder, args.at_once):
        sys.exit(f"these seeds failed: {failed}; give the same line again to go on")


if __name__ == "__main__":
    main()

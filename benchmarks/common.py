"""What the benchmarks share: results on the screen and in results/*.json, with how they
were made.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import torch

RESULTS = Path(__file__).parents[1] / "results"


def report(name: str, rows: list[dict], **about) -> None:
    """Print the rows as a table and write them to results/`name`.json."""
    widths = {
        key: max(len(key), *(len(_text(row[key])) for row in rows)) for key in rows[0]
    }
    print("  ".join(key.ljust(width) for key, width in widths.items()))
    for row in rows:
        print("  ".join(_text(row[key]).ljust(width) for key, width in widths.items()))
    made = {
        "command": f"python -m benchmarks.{Path(sys.argv[0]).stem}",
        "machine": f"{platform.machine()} CPU"
        if not torch.cuda.is_available()
        else torch.cuda.get_device_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **about,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"made": made, "rows": rows}, indent=2) + "\n"
    )


def _text(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

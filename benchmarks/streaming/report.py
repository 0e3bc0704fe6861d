"""The table of runs of many prompts in the documentation, from the record.

python -m benchmarks.streaming.report results/benchmarks/streaming-cpu.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.curvature.report import markdown


def growth(summary: list[dict[str, Any]], few: int, many: int) -> dict[str, float]:
    """What changes from a run of few items to one of many: relative change of the peak, and of the time an item."""
    first, last = ({row["items"]: row for row in summary}[items] for items in (few, many))
    return {
        "peak": last["peak_mb"] / first["peak_mb"] - 1,
        "detectors": last["detectors_ms_per_item"] / first["detectors_ms_per_item"] - 1,
        **{phase: last["ms_per_item"][phase] / first["ms_per_item"][phase] - 1 for phase in ("batches", "total")},
    }


def streaming_table(record: Path) -> str:
    """A line a size."""
    summary = json.loads(record.read_text())["summary"]
    phases = ("load", "whole-set", "batches", "finish", "report", "total")
    body = [
        [
            f"{row['items']:,}",
            f"{row['peak_mb']:,.0f}",
            f"{row['detectors_ms_per_item']:.2f}",
            *(f"{row['ms_per_item'][phase]:.2f}" for phase in phases),
        ]
        for row in summary
    ]
    return markdown(["items", "peak, MB", "detectors, ms / item", *phases], body)


if __name__ == "__main__":
    print(streaming_table(Path(sys.argv[1])))

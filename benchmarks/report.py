"""The table of ways to order the work, from the records of `python -m benchmarks.forwards`.

python -m benchmarks.report results/benchmarks
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.curvature.report import markdown

WAYS = {
    "compile": "forward, compiled / eager",
    "both-branches": "`wen2024@steps=5`, own noise, one call / two",
    "both-products": "`jeon2025`, own noise, one call / two",
    "overlap": "four batches generated, decoded and scored, overlapped / in turn",
}


def ways_table(directory: Path) -> str:
    """A line a way, number of threads and batch size: ratio of times, median and quartiles."""
    body = []
    for way, title in WAYS.items():
        for row in json.loads((directory / f"{way}-cpu.json").read_text())["rows"]:
            low, high = row["ratio_quartiles"]
            ratio = f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"
            body.append([title, str(row["batch_size"]), str(row["threads"]), ratio])
    return markdown(["what", "batch", "threads", "ratio"], body)


if __name__ == "__main__":
    print(ways_table(Path(sys.argv[1])))

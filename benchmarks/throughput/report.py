"""The table of bars in the documentation, from the records.

python -m benchmarks.throughput.report results/benchmarks/bars-cpu.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.curvature.report import markdown
from benchmarks.throughput.test_detectors import LEAST_EFFICIENCY, MOST_FORWARDS
from benchmarks.throughput.test_sampling import MOST as MOST_OF_THE_LOOP
from benchmarks.throughput.test_together import MOST as MOST_TOGETHER
from benchmarks.throughput.test_together import together_over_alone


def bars(record: Path) -> str:
    """What is held to, the bar and what was measured, a line each."""
    benchmarks = {b["name"]: b["extra_info"] for b in json.loads(record.read_text())["benchmarks"]}
    body = []
    for label, least in LEAST_EFFICIENCY.items():
        median, low, high = benchmarks[f"test_detector[{label}]"]["over"]["bare"]
        body.append(
            [f"`{label}`: efficiency", f"at least {least:.2f}", f"{1 / median:.3f} [{1 / high:.3f}, {1 / low:.3f}]"]
        )
    for label, most in MOST_FORWARDS.items():
        median, low, high = benchmarks[f"test_detector[{label}]"]["over"]["forward"]
        body.append([f"`{label}`: bare forwards", f"at most {most}", f"{median:.2f} [{low:.2f}, {high:.2f}]"])
    median, low, high = benchmarks["test_wen2024_against_the_sampling_loop"]["over"]["sampling_loop"]
    figures = f"{median:.3f} [{low:.3f}, {high:.3f}]"
    body.append(["`wen2024@steps=50` over the sampling loop of diffusers", f"at most {MOST_OF_THE_LOOP}", figures])
    one = benchmarks["test_one_sample_set"]
    what = f"all detectors of `controlled` on `{one['sample_set']}` over the sum of each alone"
    body.append([what, f"at most {MOST_TOGETHER}", f"{one['ratio']:.2f}"])
    what = "the committed run of `controlled` over the sum of each alone, as that run reports it"
    body.append([what, f"at most {MOST_TOGETHER}", f"{together_over_alone():.2f}"])
    return markdown(["what", "bar", "measured"], body)


if __name__ == "__main__":
    print(bars(Path(sys.argv[1])))

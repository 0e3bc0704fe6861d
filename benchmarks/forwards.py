"""Ways to make forwards, each timed against the plain one in turn, in one process, and written as ratios.

    python -m benchmarks.forwards compile --out results/benchmarks/compile-cpu.json
    python -m benchmarks.forwards both-branches --out results/benchmarks/both-branches-cpu.json

``compile``: a network call through torch.compile over the eager call. ``both-branches``: ``wen2024@steps=5`` with an
item's own noise, with both branches of a step in one call of twice the rows over two calls. A ratio below 1 says that
the other way is faster.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import Tensor

from benchmarks.conftest import synchronise
from memdet.detectors import detector_classes, make_detectors
from memdet.models import ScoreModel, load_model
from memdet.models.acceleration import accelerate
from memdet.probing import Items, Probe, evaluations
from memdet.running.manifest import processor
from memdet.running.memory import keep_freed_memory
from memdet.samplesets import load_sample_set

DETECTOR = "wen2024@steps=5"


def items(size: int) -> Items:
    """The first items of a sample set."""
    frame = load_sample_set("tiny-sd-a-verbatim").items.head(size)
    columns = (frame[name].tolist() for name in ("item_id", "condition", "cluster", "label"))
    return Items(*columns, has_prompts=True)


def forwards(model: ScoreModel, size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A network call, eager and compiled."""
    embedding = model.embed(items(size).conditions)
    x = torch.randn(size, *model.latent_shape, generator=torch.Generator().manual_seed(0)).to(model.device)
    fast = accelerate(model, "compile")

    def call(network: ScoreModel) -> Callable[[], object]:
        def work() -> Tensor:
            with torch.no_grad():
                return network.predict(x, 500, embedding)

        return work

    return call(model), call(fast)


def branches(model: ScoreModel, size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A detector, with the branches apart and together; their scores agree."""
    (detector,) = make_detectors([DETECTOR], detector_classes())
    chosen = items(size)

    def call(most: float) -> Callable[[], Tensor]:
        def work() -> Tensor:
            evaluations.JOINED_ON_CPU = most
            probe = Probe(model, chosen, noise="per-item")
            with probe.charge():
                return detector.score(probe)

        return work

    apart, together = call(0), call(math.inf)
    torch.testing.assert_close(apart(), together(), rtol=1e-4, atol=0)
    return apart, together


def compare(plain: Callable[[], object], other: Callable[[], object], rounds: int) -> dict[str, object]:
    """Time both in turn, the order changing from round to round; the first round warms up."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(rounds + 1):
        for is_other in (turn % 2 == 0, turn % 2 == 1):
            synchronise()
            start = time.perf_counter()
            (other if is_other else plain)()
            synchronise()
            if turn:
                times[is_other].append(time.perf_counter() - start)
    low, middle, high = quantiles([b / a for a, b in zip(times[False], times[True], strict=True)], n=4)
    return {
        "ratio": round(middle, 3),
        "ratio_quartiles": [round(low, 3), round(high, 3)],
        "plain_ms": round(1e3 * median(times[False]), 2),
        "other_ms": round(1e3 * median(times[True]), 2),
    }


def main() -> None:
    """Write the record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=["compile", "both-branches"])
    parser.add_argument("--model", default="tiny-sd-a")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    keep_freed_memory()
    model = load_model(options.model, device=options.device)
    rows: list[dict[str, object]] = []
    record = {
        "command": "python -m benchmarks.forwards " + " ".join(sys.argv[1:]),
        "what": options.way,
        "model": options.model,
        "device": options.device,
        "processor": processor(),
        "cores": os.cpu_count(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "torch": version("torch"),
        "rounds": options.rounds,
        "rows": rows,
    }
    for threads in options.threads:
        torch.set_num_threads(threads)
        torch._dynamo.reset()  # what is compiled is made for a number of threads
        for size in options.batch_size:
            plain, other = (forwards if options.way == "compile" else branches)(model, size)
            start = time.perf_counter()
            other()
            first = time.perf_counter() - start
            row = {"threads": threads, "batch_size": size, "first_call_seconds": round(first, 1)}
            rows.append(row | compare(plain, other, options.rounds))
            print(rows[-1], flush=True)
            options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

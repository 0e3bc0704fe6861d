"""Time of every detector on ``tiny-sd-a``: items per second, and the ratio to the bare network calls.

    pytest benchmarks --benchmark-json=out.json

``forward_equivalents`` is the time an item in units of a bare forward at the same batch; ``efficiency`` is the time of
the bare network calls that the detector makes over its own time.
"""

from __future__ import annotations

import pytest
import torch

from benchmarks.conftest import BATCH, DEVICE, synchronise
from memdet.detectors import detector_classes, make_detectors
from memdet.models import ScoreModel
from memdet.probing import Items, Probe
from memdet.samplesets import load_suite

CLASSES = detector_classes()
LABELS = [d.label for d in make_detectors([*load_suite("quick").detectors, *CLASSES], CLASSES) if not d.info.is_control]


@pytest.mark.parametrize("label", LABELS)
def test_detector(label: str, benchmark, model: ScoreModel, items: Items, bare: dict[str, float]) -> None:
    (detector,) = make_detectors([label], CLASSES)
    costs = []

    def setup():
        return (Probe(model, items),), {}

    def score(probe: Probe) -> torch.Tensor:
        with probe.charge() as cost:
            scores = detector.score(probe)
        synchronise()
        costs.append(cost)
        return scores

    scores = benchmark.pedantic(score, setup=setup, rounds=5, warmup_rounds=1)
    assert torch.isfinite(scores).all()
    taken, cost = benchmark.stats.stats.median, costs[-1]
    calls = cost.forwards * bare["forward"] + (cost.jvps + cost.vjps) * bare["jvp"]
    benchmark.extra_info |= {
        "device": DEVICE if DEVICE == "cpu" else torch.cuda.get_device_name(),
        "threads": torch.get_num_threads(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "batch_size": BATCH,
        "items_per_second": BATCH / taken,
        "forwards": cost.forwards,
        "jvps": cost.jvps,
        "vjps": cost.vjps,
        "forward_equivalents": taken / bare["forward"],
        "efficiency": calls / taken,
    }

"""Detectors beside their own network calls and beside a bare forward, and the bars that memdet sets itself.

Efficiency is the time of the bare network calls over that of the detector; forward equivalents are its time in bare
forwards of the same batch. What all batches of a seed share is known before the first round.
"""

from __future__ import annotations

import pytest
import torch

from benchmarks.throughput.conftest import BATCH, ROUNDS, detector_of
from memdet.benching.network_calls import Call, recorded_calls, replay
from memdet.benching.throughput import Batch, Bench

LEAST_EFFICIENCY = {
    "wen2024": 0.90,
    "jeon2025": 0.90,
    "jeon2024-eigenvalues": 0.85,
    "jeon2024-eigenvalues@krylov=30": 0.85,
    "eigenvalue-gap": 0.85,
    "lhsd": 0.85,
    "flipd": 0.85,
}
MOST_FORWARDS = {"wen2024": 1.1, "curvature-gap": 2.2, "jeon2025@backend=fd-one-sided": 3.3, "jeon2025@backend=fd": 5.3}
LONG = 6  # rounds of a detector that takes seconds a batch
LABELS = list(dict.fromkeys([*LEAST_EFFICIENCY, *MOST_FORWARDS]))


@pytest.mark.parametrize("label", LABELS)
def test_detector(label: str, benchmark, bench: Bench, batch: Batch, beside) -> None:
    detector = detector_of(label)
    batch.score(detector)
    with recorded_calls(bench.model) as calls:
        _, statuses, _, message = batch.score(detector)
    assert set(statuses) == {"ok"}, message
    calls = list(calls)
    ratios = beside(
        lambda: batch.score(detector),
        rounds=LONG if len(calls) > 30 else ROUNDS,
        forward=replay([Call("forward", BATCH)], bench.model, batch.condition),
        bare=replay(calls, bench.model, batch.condition),
    )
    benchmark.extra_info |= {
        "detector": label,
        "batch_size": BATCH,
        "network_calls": {
            kind: sum(call.kind == kind for call in calls) for kind in ("forward", "graph", "jvp", "vjp")
        },
        "efficiency": 1 / ratios["bare"].median,
        "forward_equivalents": ratios["forward"].median,
    }
    if label in LEAST_EFFICIENCY:
        assert 1 / ratios["bare"].median >= LEAST_EFFICIENCY[label]
    if label in MOST_FORWARDS:
        assert ratios["forward"].median <= MOST_FORWARDS[label]


def test_differences_stand_for_the_exact_product(batch: Batch) -> None:
    """What makes the cheaper products of the bars admissible."""
    exact, central, one_sided = (
        torch.tensor(batch.score(detector_of(label))[0], dtype=torch.float64)
        for label in ("jeon2025", "jeon2025@backend=fd", "jeon2025@backend=fd-one-sided")
    )
    norms = exact.sqrt(), central.sqrt(), one_sided.sqrt()
    assert ((norms[1] - norms[0]) / norms[0]).abs().median() < 1e-3
    ranks = torch.stack([norms[0].argsort().argsort(), norms[2].argsort().argsort()]).double()
    assert torch.corrcoef(ranks)[0, 1] > 0.999

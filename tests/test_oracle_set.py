"""On the oracle the exact value of every curvature detector is known, and so is what an estimator loses."""

import pytest

from memdet.detectors import detector_classes, make_detectors
from memdet.metrics import auroc
from memdet.results.store import read_scores
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set

ESTIMATES = {
    "jeon2025": "jeon2025@backend=closed-form",
    "jeon2025@backend=fd": "jeon2025@backend=closed-form",
    "jeon2025@backend=fd-one-sided": "jeon2025@backend=closed-form",
    "jeon2024-eigenvalues": "jeon2024-eigenvalues@estimator=exact",
    "hessian-trace@probes=12,estimator=hutch++": "hessian-trace@estimator=exact",
    "hessian-trace@probes=12,estimator=xtrace": "hessian-trace@estimator=exact",
    "curvature-gap@probes=32": "curvature-gap@estimator=exact",
}


@pytest.fixture(scope="module")
def means(tmp_path_factory):
    out = tmp_path_factory.mktemp("oracle") / "run"
    names = list(dict.fromkeys([*ESTIMATES, *ESTIMATES.values()]))
    detectors = make_detectors(names, detector_classes())
    run([load_sample_set("oracle-16k")], detectors, out, RunOptions(seeds=2), progress=False)
    table = read_scores(out).to_pandas()
    assert (table["status"] == "ok").all()
    grouped = table.groupby(["detector", "item_id"]).agg(score=("score", "mean"), label=("label", "first"))
    return {name: grouped.loc[name] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_auroc_is_within_five_thousandths_of_exact(means, estimate):
    found, exact = means[estimate], means[ESTIMATES[estimate]]
    assert auroc(found["score"], found["label"]) == pytest.approx(auroc(exact["score"], exact["label"]), abs=0.005)


@pytest.mark.slow
def test_extreme_eigenvalues_and_traces_are_within_a_thousandth(means):
    for estimate in ("jeon2024-eigenvalues", "hessian-trace@probes=12,estimator=xtrace"):
        found, exact = means[estimate]["score"], means[ESTIMATES[estimate]]["score"]
        assert found.to_numpy() == pytest.approx(exact.to_numpy(), rel=1e-3)


@pytest.mark.slow
def test_the_oracle_ranks(means):
    """It is neither saturated nor blind."""
    for exact in set(ESTIMATES.values()):
        assert 0.5 < auroc(means[exact]["score"], means[exact]["label"]) < 0.95

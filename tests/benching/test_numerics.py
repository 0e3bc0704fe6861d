"""The numerical audit, on a linear model whose rounding is known, and on closed forms."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from memdet.benching.numerics import audit as numerics
from memdet.benching.numerics.audit import AuditOptions, audit
from memdet.detectors import detector_classes, make_detectors
from memdet.errors import UserError
from memdet.models import Condition, NoiseSchedule, ScoreModel, load_model
from memdet.probing import Probe
from memdet.samplesets import Protocol, SampleSet, load_sample_set
from tests.helpers.problems import make_items, make_probe

DELTA = 2.0**-6
POSITIVE, NEGATIVE = 3, 5


class Linear(ScoreModel):
    """eps = a M x with M far from symmetric; in anything but float64 it is too large by 1 + DELTA."""

    name, latent_shape, prediction_type = "linear", (4,), "eps"
    device = torch.device("cpu")
    schedule = NoiseSchedule.from_betas(np.linspace(1e-4, 0.02, 100))

    def __init__(self, dtype):
        self.dtype = dtype
        self.calls = []

    def embed(self, conditions):
        return Condition.of(torch.tensor([[float(c)] for c in conditions], dtype=self.dtype))

    def embed_null(self):
        return Condition.of(torch.full((1, 1), 0.5, dtype=self.dtype))

    def predict(self, x, t, condition):
        matrix = torch.tensor(
            [[0.5, 2.0, 0.0, 0.0], [0.0, 0.25, 1.0, 0.0], [0.0, 0.0, -0.5, 4.0], [0.0, 0.0, 0.0, 1.0]], dtype=self.dtype
        )
        return condition.tensor * (x @ matrix.T) * (1.0 if self.dtype == torch.float64 else 1 + DELTA)

    def fingerprint(self):
        return "linear"


@pytest.mark.slow
def test_attention_is_read_under_the_audit(monkeypatch):
    """What the audit wraps has tokens still: its scores in float64 are those of the model alone, to its rounding."""
    sample_set = load_sample_set("tiny-sd-a-verbatim")
    (detector,) = make_detectors(["attention-focus"], detector_classes())
    found = audit(sample_set, [detector], AuditOptions(items=2, dtypes=["float32"], kernels=["math"]))
    (row,) = [row for row in found.measured if row.subject == detector.label]
    assert (row.status, row.message) == ("ok", "")
    model, frame = load_model("tiny-sd-a", dtype=torch.float64), numerics._balanced(sample_set.items, 2)
    (_, probe) = next(numerics._batches(sample_set, frame, model, seed=0))
    torch.testing.assert_close(row.reference, detector.score(probe).tolist())


class NoBackward(Linear):
    """bfloat16 has no reverse AD, float16 overflows."""

    def predict(self, x, t, condition):
        if self.dtype == torch.bfloat16 and x.requires_grad:
            raise NotImplementedError("no such derivative in BFloat16\nsecond line")
        return super().predict(x, t, condition) * (1e6 if self.dtype == torch.float16 else 1.0)


class Refuses(Linear):
    def predict(self, x, t, condition):
        if self.dtype == torch.float32:
            raise RuntimeError("no kernel. More words")
        return super().predict(x, t, condition)


@pytest.fixture
def linear_set():
    labels = [1] * POSITIVE + [0] * NEGATIVE
    items = pd.DataFrame(
        {
            "item_id": [f"i{k}" for k in range(len(labels))],
            "condition": [str(2 + k / 4) for k in range(len(labels))],
            "label": labels,
            "cluster": [f"i{k}" for k in range(len(labels))],
            "stratum": "all",
            "split": "test",
            "model": "linear",
        }
    )
    protocol = Protocol(steps=10, guidance=1.0, seeds=1, noise="shared")
    return SampleSet("lines", 1, "", "prompt", "linear", protocol, items, False, "", None)


@pytest.fixture
def use(monkeypatch):
    def install(cls):
        monkeypatch.setattr(numerics, "load_model", lambda name, device, dtype: cls(dtype))

    return install


def detectors(*names):
    return make_detectors(names, detector_classes())


def by_key(found):
    return {(m.subject, m.t, m.dtype, m.attention, m.backend): m for m in found.measured}


def test_known_rounding_is_found(use, linear_set):
    use(Linear)
    chosen = detectors("wen2024", "jeon2025", "curvature-gap")
    found = audit(linear_set, chosen, AuditOptions(dtypes=["float32"], kernels=["math", "flash"]))
    assert found.timesteps == Linear.schedule.timesteps(10)[0:6:5]
    assert found.labels == [1] * POSITIVE + [0] * NEGATIVE
    measured = by_key(found)
    assert {m.status for m in found.measured} == {"ok"}
    # Forward AD once, the other backends under either kernel; two Jacobians at two times.
    products = [m for m in found.measured if m.t is not None]
    assert len(products) == 2 * 2 * (1 + 2 * 3)
    for product in products:
        tolerance = {"jvp": 1e-6, "vjp": 1e-6, "fd": 1e-3, "fd-one-sided": 1e-2}[product.backend]
        assert product.errors == pytest.approx([DELTA] * 8, abs=tolerance)
    powers = {"wen2024": 1, "jeon2025": 4, "curvature-gap": 1}  # (norm(J_D s_D))^2: both factors, squared
    for detector, power in powers.items():
        row = measured[detector, None, "float32", "math", "-" if detector == "wen2024" else "vjp"]
        ratio = np.array(row.scores) / np.array(row.reference)
        assert ratio == pytest.approx(np.full(8, (1 + DELTA) ** power), rel=1e-5)
    forward = measured["curvature-gap", None, "float32", "math", "jvp"].reference
    backward = measured["curvature-gap", None, "float32", "math", "vjp"].reference
    assert measured["curvature-gap", None, "float32", "math", "fd"].reference == forward
    assert np.abs(np.array(forward) / np.array(backward) - 1).min() > 0.01  # J and J^T: each has its own reference
    assert not any(m.backend != "-" for m in found.measured if m.subject == "wen2024")


def test_float64_repeats_itself_exactly(use, linear_set):
    use(Linear)
    found = audit(linear_set, detectors("jeon2025"), AuditOptions(dtypes=["float64"], kernels=["math"]))
    for m in found.measured:
        largest = {"jvp": 0.0, "vjp": 0.0, "fd": 1e-9, "fd-one-sided": 1e-6}[m.backend]
        assert max(m.errors or (abs(s / r - 1) for s, r in zip(m.scores, m.reference, strict=True))) <= largest


def test_what_cannot_run_is_a_row_with_a_reason(use, linear_set):
    use(NoBackward)
    found = audit(
        linear_set, detectors("curvature-gap"), AuditOptions(dtypes=["bfloat16", "float16"], kernels=["math"])
    )
    measured = by_key(found)
    first = found.timesteps[0]
    stopped = measured["J_c", first, "bfloat16", "math", "vjp"]
    assert (stopped.status, stopped.errors) == ("not-applicable", [])
    assert stopped.message == "NotImplementedError: no such derivative in BFloat16"
    assert measured["J_c", first, "bfloat16", "math", "fd"].status == "ok"
    assert measured["curvature-gap", None, "bfloat16", "math", "fd"].status == "ok"
    for subject, t in (("J_c", first), ("curvature-gap", None)):
        overflow = measured[subject, t, "float16", "math", "fd"]
        assert overflow.status == "nonfinite"
        assert "not finite" in overflow.message


def test_a_dtype_that_refuses_a_forward(use, linear_set):
    use(Refuses)
    found = audit(linear_set, detectors("wen2024", "jeon2025"), AuditOptions(dtypes=["float32"], kernels=["math"]))
    assert {(m.status, m.message) for m in found.measured} == {
        ("not-applicable", "it does not run on cpu: RuntimeError: no kernel")
    }
    assert {m.subject for m in found.measured} == {"J_c", "J_D", "wen2024", "jeon2025"}


def test_closed_forms_compute_in_float64_alone():
    found = audit(
        load_sample_set("mixture-2d"),
        detectors("jeon2025"),
        AuditOptions(dtypes=["float32", "float64"], kernels=["math"]),
    )
    assert {m.status for m in found.measured if m.dtype == "float32"} == {"not-applicable"}
    assert "float64 whatever is asked" in found.measured[0].message
    for m in found.measured:
        if m.dtype == "float64" and m.backend == "fd" and m.subject == "J_c":
            assert max(m.errors) < 1e-6


def test_batches_change_nothing(use, linear_set, monkeypatch):
    use(Linear)
    chosen = detectors("jeon2025", "hessian-trace")
    whole = audit(linear_set, chosen, AuditOptions(dtypes=["float32"], kernels=["math"]))
    monkeypatch.setattr(numerics, "LARGEST_BATCH", 3)
    parts = audit(linear_set, chosen, AuditOptions(dtypes=["float32"], kernels=["math"]))
    assert list(by_key(parts)) == list(by_key(whole))
    for a, b in zip(whole.measured, parts.measured, strict=True):
        assert len(b.errors or b.scores) == POSITIVE + NEGATIVE
        tolerance = 0.01 if a.backend == "fd-one-sided" else 1e-3
        assert b.errors == pytest.approx(a.errors, abs=tolerance)
        assert b.scores == pytest.approx(a.scores, rel=tolerance)
        assert b.reference == pytest.approx(a.reference, rel=1e-12)


@pytest.mark.parametrize(
    ("count", "expected"), [(2, (1, 1)), (6, (3, 3)), (7, (3, 4)), (8, (3, 5)), (100, (3, 5)), (3, (1, 2))]
)
def test_items_are_balanced_where_they_can_be(count, expected, use, linear_set):
    use(Linear)
    labels = audit(linear_set, [], AuditOptions(items=count, dtypes=["float64"], kernels=["math"])).labels
    assert (sum(labels), len(labels) - sum(labels)) == expected


def test_few_negatives_leave_room_for_positives(use, linear_set):
    use(Linear)
    linear_set.items["label"] = 1 - linear_set.items["label"]  # 5 positive, 3 negative
    labels = audit(linear_set, [], AuditOptions(items=8, dtypes=["float64"], kernels=["math"])).labels
    assert (sum(labels), len(labels)) == (5, 8)


class Dropout(Linear):
    """Another value at every call."""

    def predict(self, x, t, condition):
        return super().predict(x, t, condition) + torch.rand(())


def test_a_reference_that_fails_its_self_check_is_refused(use, linear_set):
    use(Dropout)
    with pytest.raises(UserError, match="linear has no reference in float64: .*dropout"):
        audit(linear_set, [])


def test_bad_input(use, linear_set):
    with pytest.raises(UserError, match="control"):
        audit(linear_set, detectors("random"))
    object.__setattr__(linear_set, "model", None)
    with pytest.raises(UserError, match="names no model"):
        audit(linear_set, [])


@pytest.mark.slow
def test_attention_kernels_agree_on_a_network(random_pipeline):
    """CPU has no memory-efficient kernel; the plain and the fused one differ by rounding, if at all."""
    sample_set = load_sample_set("tiny-sd-a-verbatim")
    found = audit(
        sample_set,
        detectors("wen2024"),
        AuditOptions(items=2, dtypes=["float32"], kernels=list(numerics.KERNELS)),
        model=str(random_pipeline),
    )
    for m in found.measured:
        if m.attention == "efficient":
            assert m.status == "not-applicable"
            assert "does not run on cpu" in m.message
        else:
            assert m.status == "ok"
        if m.attention != "efficient" and m.subject == "J_c":
            bound = {"jvp": 1e-5, "vjp": 1e-5, "fd": 1e-3, "fd-one-sided": 1e-2}[m.backend]
            assert all(math.isfinite(e) and e < bound for e in m.errors)


@pytest.mark.parametrize("forced", ["vjp", "fd", "fd-one-sided"])
def test_products_of_both_branches_are_forced_as_those_of_one(forced, monkeypatch):
    """The same network calls as of who asks for that backend."""
    model, rows = Linear(torch.float64), []
    monkeypatch.setattr(model, "predict", lambda x, t, e: (rows.append(len(x)), Linear.predict(model, x, t, e))[1])

    def asked(kind, backend):
        rows.clear()
        probe = make_probe(model, make_items(["2", "3", "4"]), noise="per-item", check=False, kind=kind)
        v = torch.ones(3, 4, dtype=torch.float64)
        return probe, probe.both_products(probe.noise, 50, v, backend), list(rows)

    monkeypatch.setattr(numerics.ForcedProbe, "backend", forced)
    probe, found, calls = asked(numerics.ForcedProbe, "jvp")
    _, expected, same_calls = asked(Probe, forced)
    assert probe.asked
    assert calls == same_calls
    torch.testing.assert_close(found, expected, rtol=0, atol=0)

"""Projections of detectors."""

import pytest
import torch

from memdet.benching.projection.devices import DEVICES, PRECISIONS, Device, peaks_of
from memdet.benching.projection.op_trace import Operator, Trace
from memdet.benching.projection.roofline import LARGEST_BATCH, evaluations_of, plan, roofline
from memdet.benching.projection.unet import read_unet_config
from memdet.detectors import detector_classes, make_detector
from memdet.errors import UserError

# 100 FLOP/s and 10 bytes/s: an operator waits for memory below 10 FLOP a byte.
SLOW = Device("slow", {"float32": 100.0}, 10.0, 1e6)


def detector(label):
    return make_detector(label, detector_classes())


def planned(*labels, device=SLOW, precision="float32", **options):
    return plan(
        read_unet_config("tiny-sd-a"), [detector(label) for label in labels], "slow", device, precision, **options
    )


def test_roofline_by_hand():
    two_rows = Trace(
        (
            Operator("mm", flops=400, fixed_bytes=10, row_bytes=10, elements=5),  # computes for 4 s, moves for 2 s
            Operator("relu", flops=None, fixed_bytes=0, row_bytes=30, elements=8),  # moves for 3 s
        ),
        rows=2,
        peak_bytes=40,
    )
    assert (roofline(two_rows, 2, SLOW, "float32").seconds, roofline(two_rows, 2, SLOW, "float32").moving) == (7, 3)
    assert (roofline(two_rows, 8, SLOW, "float32").seconds, roofline(two_rows, 8, SLOW, "float32").moving) == (28, 12)
    # At a hundredth of a row the weights alone are left, and take longer than the arithmetic.
    assert roofline(two_rows, 0.02, SLOW, "float32").moving == pytest.approx(1 + 0.01 + 0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "cost"),
    [
        ("wen2024", (2, 0, 0)),
        ("wen2024@steps=50", (100, 0, 0)),
        ("jeon2025", (2, 2, 0)),
        ("bright-ending", (100, 0, 0)),
        ("hessian-trace@probes=7", (1, 0, 7)),
        ("secmi@t=100,stride=20", (7, 0, 0)),
        # Counted, since the declared formula does not know these options.
        ("jeon2025@backend=fd", (2 + 4, 0, 0)),
        ("nemo2024@step=1", (10, 0, 0)),
        ("hessian-trace@backend=jvp", (0, 4, 0)),
        ("hessian-trace@t=781", (10 + 1, 0, 4)),
        ("jeon2024-eigenvalues@statistic=count-below", (1, 0, 10)),
    ],
)
def test_evaluations_by_hand(label, cost):
    assert tuple(evaluations_of(detector(label), 50).values()) == cost


@pytest.mark.parametrize(
    ("label", "cost"),
    [
        ("curvature-gap", (0, 2, 0)),
        ("curvature-gap@probes=3", (0, 6, 0)),
        ("jeon2025@backend=fd", (2, 2, 0)),
        ("jeon2025", (2, 2, 0)),
        ("wen2024", (2, 0, 0)),
        ("verma2026", (2 * 50 + 3, 16, 0)),
    ],
)
def test_in_half_precision_differences_are_forward_derivatives(label, cost):
    assert tuple(evaluations_of(detector(label), 50, torch.bfloat16).values()) == cost


def test_evaluations_follow_the_steps_of_the_protocol():
    assert evaluations_of(detector("bright-ending"), 10)["F"] == 20
    assert evaluations_of(detector("hessian-trace@t=781"), 10)["F"] == 2  # from 901 to 801, which is looked at


def test_costs_that_are_not_known():
    with pytest.raises(UserError, match="random is a control"):
        evaluations_of(detector("random"), 50)
    with pytest.raises(UserError, match=r"cost of ren2024-layer-entropy \(1 F\) does not name layer, and oracle-16k"):
        evaluations_of(detector("ren2024-layer-entropy@layer=3"), 50)


@pytest.fixture(scope="module")
def made():
    return planned("wen2024", "hessian-cubic", "hessian-trace", batch=4, device=DEVICES["h100"])


def test_time_is_the_sum_of_the_evaluations(made):
    seconds = {unit: made.time(unit, 4).seconds / 4 for unit in ("F", "JVP", "VJP")}
    found = {one.detector: one for one in made.projections}
    assert found["wen2024"].seconds == pytest.approx(2 * seconds["F"])
    assert found["hessian-cubic"].seconds == pytest.approx(seconds["F"] + seconds["JVP"])
    assert found["hessian-trace"].seconds == pytest.approx(seconds["F"] + 4 * seconds["VJP"])
    assert found["hessian-trace"].flops == made.flops("F") + 4 * made.flops("VJP")
    assert [one.seconds for one in made.projections] == sorted(one.seconds for one in made.projections)


def test_an_operator_without_a_derivative_is_named(monkeypatch):
    def fails(*_):
        raise NotImplementedError("no forward derivative of aten::magic\nmore")

    monkeypatch.setattr("memdet.benching.projection.roofline.trace", fails)
    with pytest.raises(UserError, match=r"config.json: F of this UNet cannot be counted: no .* aten::magic$"):
        planned("wen2024")


def test_only_what_is_needed_is_traced():
    assert list(planned("wen2024").traces) == ["F"]


def test_no_projection_beats_the_peak_of_arithmetic(made):
    for one in made.projections:
        assert one.flops / one.seconds < made.device.flops["float32"]


@pytest.mark.slow
def test_the_batch_is_what_fits():
    probe = planned("wen2024", "hessian-trace", device=DEVICES["h100"])
    assert {one.batch for one in probe.projections} == {LARGEST_BATCH}
    assert probe.weights == 4 * 1_784_644
    # Room for the weights and five rows of a VJP's graph.
    room = Device("small", SLOW.flops, SLOW.bandwidth, probe.weights + 5.5 * probe.row_memory("VJP"))
    found = {one.detector: one for one in planned("wen2024", "hessian-trace", device=room).projections}
    assert found["hessian-trace"].batch == 4
    assert found["hessian-trace"].memory == pytest.approx(probe.weights + 4 * probe.row_memory("VJP"))
    assert found["wen2024"].batch > 4
    asked = {one.detector: one for one in planned("wen2024", "hessian-trace", device=room, batch=6).projections}
    assert asked["hessian-trace"].seconds is None
    assert asked["hessian-trace"].batch == 6
    assert asked["wen2024"].seconds is not None


@pytest.mark.slow
def test_what_does_not_fit_comes_last():
    tiny = Device("none", SLOW.flops, SLOW.bandwidth, 1.0)
    made = planned("wen2024", "hessian-trace", device=tiny)
    assert made.largest_batch("F") == 0
    assert [(one.detector, one.batch, one.seconds) for one in made.projections] == [
        ("wen2024", 1, None),
        ("hessian-trace", 1, None),
    ]


def test_peaks_of_devices_are_in_order():
    """Fewer bits are never slower, and sizes are of the right order: FLOP/s, bytes a second, bytes."""
    for device in DEVICES.values():
        peaks = [device.flops[name] for name in PRECISIONS if name in device.flops]
        assert peaks == sorted(peaks)
        assert 5e12 < peaks[0] <= peaks[-1] < 1e15
        assert 1e11 < device.bandwidth < 1e13
        assert 1e10 < device.memory < 2e11


def test_devices_without_a_precision():
    with pytest.raises(UserError, match="NVIDIA T4 has no bfloat16"):
        peaks_of("t4", "bfloat16")

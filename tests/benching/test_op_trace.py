"""FLOPs, bytes and memory of network calls, against arithmetic by hand, real CPU networks and published figures."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from memdet.benching.projection.op_trace import UNITS, Trace, trace
from memdet.benching.projection.unet import build_unet, read_unet_config
from memdet.curvature import JacobianOperator
from memdet.models import load_model

FLOAT = 4  # bytes


def convolution(channels_in, channels_out):
    return torch.nn.Conv2d(channels_in, channels_out, 3, padding=1, device="meta").requires_grad_(False)


def meta(*shape, dtype=torch.float32):
    return torch.empty(shape, device="meta", dtype=dtype)


def test_a_convolution_by_hand():
    """Forward 2 c_in c_out k k h w; a VJP to the input is one more of the same, with no gradient for the weights.

    A JVP is three: the value, its tangent, and a product with the zero tangent of the weights, which is not skipped.
    """
    layer, x = convolution(4, 4), meta(2, 4, 8, 8)
    once = 2 * (2 * 4 * 4 * 9 * 8 * 8)
    assert {unit: trace(layer, x, unit).flops for unit in UNITS} == {"F": once, "JVP": 3 * once, "VJP": once}


def test_layers_without_a_tangent_from_below_cost_a_jvp_nothing_more():
    """What depends on conditions alone has no tangent."""
    layer, condition, x = torch.nn.Linear(8, 8, device="meta").requires_grad_(False), meta(1, 8), meta(1, 8)
    once = 2 * 8 * 8
    assert trace(lambda z: z + layer(condition), x, "JVP").flops == once
    assert trace(lambda z: z + layer(condition), x, "VJP").flops == 0


def test_attention_by_hand():
    """Two products forward. Backward the fused kernel makes five: it computes the scores again. A JVP doubles twice."""
    heads, n, d = 2, 16, 8
    x = meta(1, heads, n, d)
    product = 2 * heads * n * n * d

    def attend(z):
        return scaled_dot_product_attention(z, z, z)

    flops = {unit: trace(attend, x, unit).flops for unit in UNITS}
    assert flops == {"F": 2 * product, "VJP": 5 * product, "JVP": 6 * product}
    # Forward, scores never reach memory: three inputs that are one tensor, the output, and a logarithm a row.
    (operator,) = trace(attend, x, "F").operators
    assert operator.row_bytes >= 2 * heads * n * d * FLOAT + heads * n * FLOAT
    assert operator.row_bytes < heads * n * n * FLOAT + 2 * heads * n * d * FLOAT
    # The plain kernel of a JVP keeps them.
    assert trace(attend, x, "JVP").peak_bytes > 2 * heads * n * n * FLOAT


def test_bytes_by_hand():
    layer, x = torch.nn.Linear(8, 16, bias=False, device="meta").requires_grad_(False), meta(3, 8)
    traced = trace(lambda z: torch.relu(layer(z)), x, "F", layer.parameters())
    product, relu = traced.operators  # the transposed weight is a view
    assert (product.fixed_bytes, product.row_bytes) == (8 * 16 * FLOAT, 3 * (8 + 16) * FLOAT)
    assert (relu.fixed_bytes, relu.row_bytes, relu.flops) == (0, 2 * 3 * 16 * FLOAT, None)
    assert traced.bytes_moved == product.fixed_bytes + product.row_bytes + relu.row_bytes


def test_coverage_by_hand():
    layer, x = torch.nn.Linear(8, 16, bias=False, device="meta").requires_grad_(False), meta(3, 8)
    traced = trace(lambda z: torch.relu(layer(z)), x, "F", layer.parameters())
    flops, elements = 2 * 3 * 8 * 16, 2 * 3 * 16
    assert traced.coverage == flops / (flops + elements)
    assert traced.uncounted == {"relu": (1, elements * FLOAT)}
    assert Trace((), 1, 0).coverage == 1


def test_expanded_tensors_are_read_once():
    (operator,) = trace(lambda z: z.expand(100, 8) + 1, meta(1, 8), "F").operators
    assert operator.row_bytes == (8 + 100 * 8) * FLOAT


@pytest.mark.parametrize(
    ("function", "tensors"),
    [
        (lambda z: torch.relu(torch.relu(torch.relu(z))), 2),  # one is made from another, and the one before is gone
        (lambda z: torch.relu(z).relu_().relu_(), 1),
        (lambda z: torch.relu(z).view(-1)[None].mT, 1),
        (lambda z: (lambda a: torch.relu(torch.relu(a)) + a)(torch.relu(z)), 3),
        (lambda z: z, 0),
    ],
)
def test_peak_by_hand(function, tensors):
    assert trace(function, meta(1, 1000), "F").peak_bytes == tensors * 1000 * FLOAT


def test_a_vjp_keeps_what_its_graph_holds():
    """Each sigmoid keeps its output; backward, one gradient is made from another."""
    traced = trace(lambda z: z.sigmoid().sigmoid().sigmoid(), meta(1, 1000), "VJP")
    assert traced.peak_bytes in {5_000 * FLOAT, 6_000 * FLOAT}  # three outputs, two gradients, and the first product
    assert [operator.name for operator in traced.operators] == ["sigmoid_backward"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_cost_is_linear_in_the_batch(unit):
    config = read_unet_config("tiny-sd-a")
    two, six = (
        trace(unet.function, unet.x, unit, unet.network.parameters())
        for unet in (build_unet(config, torch.float16, batch=batch) for batch in (2, 6))
    )
    assert six.flops == 3 * two.flops
    assert [one.name for one in six.operators] == [one.name for one in two.operators]
    fixed, rows = (
        [sum(getattr(operator, name) for operator in traced.operators) for traced in (two, six)]
        for name in ("fixed_bytes", "row_bytes")
    )
    assert fixed[1] == fixed[0]
    most = 0.1 if unit == "JVP" else 1e-3  # zero tangents of the weights, which are many in a small model, do not grow
    assert rows[1] == pytest.approx(3 * rows[0], rel=most)
    assert six.peak_bytes == pytest.approx(3 * two.peak_bytes, rel=most)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", ["tiny-sd-a", "fashion-pixel"])
@pytest.mark.parametrize("unit", UNITS)
def test_a_real_network_counts_the_same(name, unit, dtype, monkeypatch):
    """With numbers instead of shapes, on the CPU, where the plain attention kernel alone has formulas."""
    monkeypatch.setattr(
        "memdet.benching.projection.op_trace.scaled_dot_product_attention", None
    )  # nothing becomes a fused one
    model, unet = load_model(name, dtype=dtype), build_unet(read_unet_config(name), dtype, batch=2)
    condition, x = model.embed((["a"] if model.takes_prompts else model.conditions[:1]) * 2), torch.randn(unet.x.shape)
    with sdpa_kernel(SDPBackend.MATH):
        real = trace(lambda z: model.predict(z, 500, condition), x.to(dtype), unit, model._unet.parameters())
    planned = trace(unet.function, unet.x, unit, unet.network.parameters())
    assert real.flops == planned.flops > 0
    # The meta device takes some elementwise operators apart that the CPU has in one piece, and the other way round.
    assert planned.bytes_moved == pytest.approx(real.bytes_moved, rel=0.06)


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "low", "high"), [("F", 0.9, 1.1), ("JVP", 0.95, 1.3), ("VJP", 0.95, 1.05)])
def test_peak_is_near_what_the_allocator_gave(unit, low, high):
    """Batch 8, the CPU's own kernels, which take some memory for themselves."""
    model, unet = load_model("tiny-sd-a"), build_unet(read_unet_config("tiny-sd-a"), torch.float32, batch=8)
    condition, x = model.embed(["a"] * 8), torch.randn(8, *model.latent_shape)

    def evaluate():
        if unit == "F":
            with torch.no_grad():
                return model.predict(x, 500, condition)
        operator = JacobianOperator(
            lambda z: model.predict(z, 500, condition), x, "jvp" if unit == "JVP" else "vjp", check=False
        )
        if unit == "JVP":
            return operator.mv(x)
        first = operator.rmv(x)
        return first, operator.rmv(x)

    evaluate()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        evaluate()
    live = peak = 0
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    assert low < trace(unet.function, unet.x, unit).peak_bytes / peak < high


@pytest.mark.slow
def test_tangents_keep_their_precision():
    """Linear projections, as in SD 2.1 and SDXL, refuse tangents of another precision than their weights."""
    config = read_unet_config("tiny-sd-a")
    config.values["use_linear_projection"] = True
    unet = build_unet(config, torch.float16, batch=2)
    assert trace(unet.function, unet.x, "JVP").flops > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "published"),
    [
        # MACs of a generation of 25 guided steps as the documentation of diffusers has them (T-GATE, benchmarks).
        # They leave out the products inside attention.
        ("sd-1.4", 16.938e12 / 50),
        ("sd-2.1", 38.041e12 / 50),
        ("sdxl", 149.438e12 / 50),
    ],
)
def test_published_macs(name, published):
    unet = build_unet(read_unet_config(name), torch.float16)
    traced = trace(unet.function, unet.x, "F")
    attention = sum(one.flops for one in traced.operators if one.name.endswith("attention"))
    assert (traced.flops - attention) / 2 == pytest.approx(published, rel=1e-3)

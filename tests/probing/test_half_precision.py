"""Half precision: a default that rests on small differences is exact there, says so, and is counted as what it is."""

import pytest
import torch
from scipy.stats import spearmanr

from memdet.curvature.products import default_step
from memdet.detectors import detector_classes, make_detectors
from memdet.models import NoiseSchedule, ScoreModel, load_model
from memdet.probing import Context, Policy, Probe
from memdet.samplesets import Protocol, load_sample_set
from tests.helpers.problems import make_items, make_mixture

HALF = [torch.bfloat16, torch.float16]
NAME = "fewer components than dimensions"


def scored(probe, label):
    (detector,) = make_detectors([label], detector_classes())
    with probe.charge() as cost:
        scores = detector.score(probe)
    return scores.double(), cost, probe.evaluator.notes


def network(dtype, prediction="eps"):
    """Not linear, so that a step matters; conditions move it."""
    torch.manual_seed(0)
    mixing = torch.randn(6, 6, dtype=torch.float64).to(dtype)
    schedule = NoiseSchedule.vp(torch.linspace(0.999, 0.01, 1_000, dtype=torch.float64))
    return ScoreModel.from_callable(
        lambda x, t, condition: torch.tanh(x @ mixing * condition),
        shape=(6,),
        schedule=schedule,
        prediction=prediction,
        embed=lambda texts: torch.tensor([[float(text)] for text in texts]),
        null=torch.full((1, 1), 0.5),
        dtype=dtype,
    )


def probe_of(dtype, prediction="eps", **policy):
    context = Context(Protocol(steps=5, guidance=7.5, seeds=1, noise="shared"), policy=Policy(**policy))
    return Probe(network(dtype, prediction), make_items(["0.25", "0.75", "1.0", "1.5"]), context)


@pytest.mark.slow
def test_the_default_curvature_gap_ranks_in_bfloat16_as_in_float32():
    """With one-sided differences the rank correlation of these items is .83."""
    sample_set = load_sample_set("tiny-sd-a-verbatim")
    rows = list(range(0, 160, 10))
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        probe = Probe.of(load_model("tiny-sd-a", dtype=dtype), sample_set, rows=rows)
        found[dtype], cost, notes = scored(probe, "curvature-gap")
        assert (cost.jvps > 0) == (dtype == torch.bfloat16) == bool(notes)
    assert spearmanr(found[torch.float32], found[torch.bfloat16]).statistic >= 0.97
    torch.testing.assert_close(found[torch.bfloat16], found[torch.float32], rtol=0.1, atol=0)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("backend", ["fd", "fd-one-sided"])
@pytest.mark.parametrize("name", ["curvature-gap", "jeon2025", "trace-gap", "flipd", "hessian-cubic", "curvature-map"])
def test_differences_become_forward_derivatives(name, backend, prediction, dtype):
    found, cost, notes = scored(probe_of(dtype, prediction), f"{name}@backend={backend}")
    exact, exact_cost, said = scored(probe_of(dtype, prediction), f"{name}@backend=jvp")
    torch.testing.assert_close(found, exact, rtol=0, atol=0)
    assert (cost.forwards, cost.jvps, cost.vjps) == (exact_cost.forwards, exact_cost.jvps, exact_cost.vjps)
    assert cost.jvps > 0
    assert notes == [
        f"Jacobian products are by forward AD (JVP): in {str(dtype).removeprefix('torch.')}, rounding destroys "
        f"finite differences ({backend})"
    ]
    assert not said


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", ["fd", "fd-one-sided"])
def test_differences_stay_differences_where_they_resolve(backend, dtype):
    probe = probe_of(dtype)
    found, cost, notes = scored(probe, f"curvature-gap@backend={backend}")
    assert (cost.jvps, notes) == (0, [])
    assert cost.forwards > 0
    x, t = probe.at(None)
    (v,) = probe.directions(1)
    h = default_step(dtype, backend) * x.flatten(1).norm(dim=1) / v.flatten(1).norm(dim=1)
    model = probe.model
    cond, null = model.embed(probe.evaluator.items.conditions), model.embed_null()

    def score(z, condition):
        return model.score(z, t, condition)

    before = x if backend == "fd-one-sided" else x - h[:, None] * v
    length = h if backend == "fd-one-sided" else 2 * h
    cond, null = (
        (score(x + h[:, None] * v, one) - score(before, one)) / length[:, None] for one in (cond, null.expand(4))
    )
    torch.testing.assert_close(
        found, (cond - null).double().norm(dim=1), rtol=1e-2 if dtype == torch.float32 else 1e-6, atol=0
    )


def test_who_measures_rounding_gets_the_differences():
    probe = probe_of(torch.bfloat16, exact_in_half=False)
    _, cost, notes = scored(probe, "curvature-gap")
    assert (cost.jvps, notes) == (0, [])


@pytest.mark.parametrize("dtype", HALF)
def test_the_flux_through_a_small_sphere_is_that_of_single_precision(dtype):
    """Differences over .01 sigma are lost in the rounding of a half-precision number near 1."""
    mixture = {one: make_mixture(NAME, dtype=one) for one in (torch.float32, dtype)}
    items = make_items(["some", "point", "some", "point"])
    label = "verma2026@t=500,cycles=0"
    found = {}
    for one, model in mixture.items():
        context = Context(Protocol(steps=5, guidance=1, seeds=1, noise="per-item"))
        found[one], cost, notes = scored(Probe(model, items, context), label)
        assert bool(notes) == (cost.jvps > 0) == (one == dtype)
    torch.testing.assert_close(
        found[dtype], found[torch.float32], rtol=0.1, atol=0.1 * float(found[torch.float32].abs().max())
    )


def test_a_large_sphere_is_no_derivative():
    probe = Probe(make_mixture(NAME, dtype=torch.bfloat16), make_items(["some", "point"]))
    _, cost, notes = scored(probe, "verma2026@radius=20,cycles=0")
    assert (cost.jvps, notes) == (0, [])

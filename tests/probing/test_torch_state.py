"""What the calling process told torch decides no score, and is what it was afterwards."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from memdet import Detector, DetectorInfo, SampleSet, ScoreModel, evaluate, get_detector
from memdet.curvature import JacobianOperator, krylov, xtrace
from memdet.models import load_model
from memdet.models.schedule import NoiseSchedule
from memdet.probing import Probe
from memdet.samplesets import load_sample_set
from memdet.torch_state import kept_generators, own_state, seeded_generators
from tests.helpers.torch_states import STATES, told

# A detector of each kind, and what it needs: the difference of branches, forward and reverse products, finite
# differences, a gradient of its own, attention, images, a spectrum of a closed form.
KINDS = [
    ("tiny-sd-a", "wen2024@steps=2"),
    ("tiny-sd-a", "curvature-gap@probes=1"),
    ("tiny-sd-a", "hessian-trace@probes=1"),
    ("tiny-sd-a", "jeon2025@backend=fd"),
    ("tiny-sd-a", "ren2024-entropy@sink=any"),
    ("fashion-pixel", "loss-threshold"),
    ("toy-2d", "flipd"),
    ("mixture-2d", "jeon2024-eigenvalues"),
    ("mixture-2d", "random"),
]
SETS = {
    "tiny-sd-a": "tiny-sd-a-verbatim",
    "fashion-pixel": "fashion-pixel-generated",
    "toy-2d": "mixture-2d",
    "mixture-2d": "mixture-2d",
}


def scored(model, label):
    """Scores of three items, everything made anew."""
    detector = get_detector(label)
    probe = Probe.of(load_model(model), load_sample_set(SETS[model]), seed=1, rows=slice(3))
    with probe.charge(supervised=detector.info.supervised):
        return detector.score(probe)


@pytest.fixture(scope="module")
def usual():
    """Scores under torch's own settings."""
    return {kind: scored(*kind) for kind in KINDS}


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_scores_are_the_same_bit_for_bit(state, usual):
    for kind, expected in usual.items():
        with STATES[state]():
            before = told()
            found = scored(*kind)
            assert told() == before, kind
        assert found.dtype == expected.dtype
        assert found.device == expected.device
        assert not found.is_inference()
        assert torch.equal(found, expected), kind


class Drawing(Detector):
    """Draws from every generator of the process, and changes what torch is told."""

    info = DetectorInfo(name="drawing", title="drawing", access="score", cost="0 F")

    def score(self, probe):
        torch.set_default_dtype(torch.float64)
        shift = random.random() + np.random.rand()
        return shift + torch.rand(len(probe))


@pytest.mark.parametrize("state", STATES)
def test_a_run_is_the_same_and_leaves_the_process_alone(state):
    sample_set = load_sample_set("mixture-2d")

    def run():
        return evaluate(["wen2024", Drawing()], sample_set, seeds=1, progress=False, device="cpu").score_rows()

    expected = run()
    with STATES[state]():
        before = told()
        found = run()
        assert told() == before
    assert found.equals(expected)


def test_draws_of_a_plugin_are_those_of_the_seed_and_the_batch():
    run = evaluate(Drawing(), load_sample_set("mixture-2d"), seeds=2, batch_size=100, progress=False)
    rows = run.score_rows()
    scores = rows.loc[rows["detector"] == "drawing", "score"]
    assert scores.nunique() == len(scores)  # another batch or seed, other draws


def network(x, t):
    """Makes tensors without saying of what dtype or where."""
    return x * torch.linspace(0, 1, 3).to(x) + torch.ones(3).to(x) * (t + 1) / 1_000


@pytest.mark.parametrize("state", STATES)
def test_a_probe_that_is_asked_by_hand(state):
    schedule = NoiseSchedule.from_betas(np.linspace(1e-4, 0.02, 1_000))
    frame = load_sample_set("tiny-sd-a-verbatim").to_pandas().groupby("label").head(2)[["prompt", "label"]]

    def answers():
        model = ScoreModel.from_callable(network, shape=(3,), schedule=schedule)
        probe = Probe.of(model, SampleSet.from_pandas(frame, steps=3, guidance=0.0), seed=2)
        asked = Probe.of(load_model("mixture-2d"), load_sample_set("mixture-2d"), rows=[0, 1])
        x, t = probe.noise, probe.timesteps[0]
        v, u = probe.directions(1)[0], probe.directions(1, "gaussian")[0]
        return [
            *(x, v, u, probe.uniform(), probe.eps(x, t, "cond"), probe.score(x, t, "cond")),
            *(probe.jacobian_product(x, t, "cond", v, name) for name in ("jvp", "vjp", "fd", "fd-one-sided")),
            *(asked.trajectory().clean(), asked.trajectory(steps=4, draw=1).state(2), asked.noise),
            *asked.both_products(asked.noise, 500, asked.noise, "fd"),
            asked.spectrum(asked.noise, 500, "cond"),
        ]

    expected = answers()
    with STATES[state]():
        before = told()
        found = answers()
        assert told() == before
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_tensors_of_an_inference_mode_are_taken():
    """They count no changes, so that nothing may be remembered of them."""
    probe = Probe.of(load_model("mixture-2d"), load_sample_set("mixture-2d"), rows=[0, 1])
    usual = probe.noise * 1
    with torch.inference_mode():
        x, v = probe.noise * 1, torch.ones_like(usual)
        assert x.is_inference()
        for backend in ("jvp", "vjp", "fd"):
            found = probe.jacobian_product(x, 500, "cond", v, backend)
            assert torch.equal(found, probe.jacobian_product(usual, 500, "cond", torch.ones(2, 2).double(), backend))
        first = probe.eps(x, 500, "cond")
        x += 1
        assert not torch.equal(probe.eps(x, 500, "cond"), first)


@pytest.mark.parametrize("state", STATES)
def test_curvature_by_itself(state):
    a = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 5.0]], dtype=torch.float32, device="cpu")
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float32, device="cpu")

    def found():
        operator = JacobianOperator(lambda z: torch.sin(z) @ a.T, x)
        v = torch.ones_like(x)
        space = krylov(operator.mv, v, 3)
        signs = [torch.tensor([row], dtype=torch.float32, device="cpu") for row in ([1.0, 1, 1], [1.0, -1, 1])]
        return operator.mv(v), operator.rmv(v), space.values, xtrace(operator.mv, signs).value

    expected = found()
    with STATES[state]():
        got = found()
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5 if state != "autocast" else 1e-2, atol=1e-5)
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])


def test_settings_inside_and_afterwards():
    with STATES["float64"](), STATES["deterministic"](), torch.inference_mode(), torch.device("meta"):
        before = told()
        with own_state(grad=True):
            made = torch.empty(1)
            assert (made.dtype, made.device.type, made.is_inference()) == (torch.float32, "cpu", False)
            assert torch.is_grad_enabled()
            assert not torch.are_deterministic_algorithms_enabled()
            torch.set_default_dtype(torch.bfloat16)
        assert told() == before
    with torch.no_grad(), own_state():
        assert not torch.is_grad_enabled()


def test_what_follows_another_setting_goes_on_following_it():
    """A precision that is told to all backends reaches each of them, and leaves each when it is taken back."""
    before = told()["precision"]
    with STATES["tf32"]():
        assert "tf32" in told()["precision"]
        with own_state():
            assert set(told()["precision"]) <= {"none", "ieee"}
        assert "tf32" in told()["precision"]
    assert told()["precision"] == before


def test_generators_go_on_as_if_nothing_had_been_drawn():
    before = told()
    with kept_generators():
        torch.rand(3), np.random.rand(), random.random()
    with seeded_generators("a", 1):
        first = (float(torch.rand(())), np.random.rand(), random.random())
    with seeded_generators("a", 2):
        other = (float(torch.rand(())), np.random.rand(), random.random())
    with seeded_generators("a", 1):
        again = (float(torch.rand(())), np.random.rand(), random.random())
    assert told() == before
    assert first == again
    assert not set(first) & set(other)


def test_loading_leaves_the_generators_alone(random_pipeline):
    """Diffusers fills a network with random numbers before it reads the weights."""
    before = told()
    load_model(random_pipeline).embed(["a"])
    assert told() == before

"""At pure noise the noise predictions of both branches agree; what the network returns does not."""

import numpy as np
import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.metrics import auroc
from memdet.models import GaussianMixture, NoiseSchedule
from memdet.probing import Context, Items, Probe
from memdet.samplesets import Protocol

ALPHAS = [1e-6, 1e-3, 0.02]
DIFFERENCES = ["wen2024", "jeon2025", "curvature-gap@probes=2", "eigenvalue-gap@krylov=2", "trace-gap@probes=2"]


def schedule_of(alphas, kind):
    """Two timesteps, the second as noisy as is said."""
    alphas = np.array([0.5, *alphas])
    return NoiseSchedule(alphas, 1 - alphas if kind == "flow" else np.sqrt(1 - alphas**2), offset=0)


def mixture(kind, schedule):
    """Twenty conditions of forty points; those of two points are memorized, those of ten are not."""
    points = torch.randn(40, 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    conditions = {str(i): list(range(i, i + (2 if i < 10 else 10))) for i in range(20)}
    return GaussianMixture.empirical("points", points, conditions, schedule, prediction_type=kind)


def probe_of(model):
    names = [str(i) for i in range(20)]
    items = Items(names, names, names, [int(i < 10) for i in range(20)], False)
    return Probe(model, items, Context(Protocol(steps=2, guidance=2, seeds=1, noise="shared")))


def first_step(model, label):
    """Scores at the noisiest timestep, wherever the detector looks by default."""
    detector = make_detector(f"{label}{',' if '@' in label else '@'}t=1", detector_classes())
    return detector.score(probe_of(model)).numpy()


@pytest.mark.parametrize("kind", ["v", "flow", "x0"])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("label", DIFFERENCES)
def test_items_rank_as_under_noise_prediction_at_the_matched_time(label, alpha, kind):
    of_kind = "flow" if kind == "flow" else "vp"
    found = first_step(mixture(kind, schedule_of([alpha], of_kind)), label)
    # A straight path is a path of constant variance, scaled: x / (alpha^2 + sigma^2)^.5 at the same alpha over sigma.
    matched = alpha / np.hypot(alpha, 1 - alpha) if of_kind == "flow" else alpha
    if matched > 1e-4:  # below, the differences of noise predictions drown in rounding
        expected = first_step(mixture("eps", schedule_of([matched], "vp")), label)
        labels = [1] * 10 + [0] * 10
        assert auroc(found, labels) == pytest.approx(auroc(expected, labels), abs=0.03)
    assert np.isfinite(found).all()
    assert len(np.unique(found)) == 20


@pytest.mark.parametrize("kind", ["v", "flow", "x0"])
def test_the_difference_is_the_limit(kind):
    limit, near = (
        probe_of(mixture(kind, schedule_of([alpha], "flow" if kind == "flow" else "vp"))) for alpha in (0.0, 1e-7)
    )
    at_noise = limit.difference(limit.noise, 1)
    torch.testing.assert_close(at_noise, near.difference(near.noise, 1), rtol=1e-5, atol=1e-6)
    assert at_noise.abs().max() > 0.1
    means = torch.stack([limit.model._means[(w > 0)].mean(0) for w in limit.model._conditions.values()])
    torch.testing.assert_close(at_noise.flatten(1), -(means - limit.model._means.mean(0)), rtol=1e-9, atol=1e-9)


def test_single_branches_say_so_and_look_at_the_second_step():
    probe = probe_of(mixture("flow", schedule_of([0.0], "flow")))
    with pytest.raises(NotApplicableError, match="pure noise: at t = 1 the score is"):
        probe.score(probe.noise, 1, "cond")
    with pytest.raises(NotApplicableError, match="pure noise"):
        probe.jacobian_product(probe.noise, 1, "cond", probe.noise)
    second, first = probe.at(None)[1], probe.at(None, pure_noise=True)[1]
    assert (probe.timesteps, first, second) == ([1, 0], 1, 0)
    found = make_detector("hessian-trace", detector_classes()).score(probe)
    assert found.isfinite().all()
    assert len(found.unique()) == 20


def test_a_trajectory_starts_at_pure_noise():
    probe = probe_of(mixture("flow", schedule_of([0.0], "flow")))
    start, first = probe.trajectory(guidance=1.0).state(0), probe.trajectory(guidance=1.0).state(1)
    means = torch.stack([probe.model._means[(w > 0)].mean(0) for w in probe.model._conditions.values()])
    torch.testing.assert_close(first, 0.5 * means.view_as(first) + 0.5 * start, rtol=1e-9, atol=1e-9)


def test_noise_is_scaled_where_samples_are_not_scaled_down():
    """Variance exploding: sigma 80 at the start, where the data have about 1."""
    schedule = NoiseSchedule(np.ones(2), np.array([0.5, 80.0]), offset=0)
    probe = probe_of(mixture("x0", schedule))
    start = probe.trajectory().state(0)
    torch.testing.assert_close(start, (1 + 80.0**2) ** 0.5 * probe.noise)
    torch.testing.assert_close(probe.at(None)[0], start)
    assert probe.evaluator.memory.is_shared(start)

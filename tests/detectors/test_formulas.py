"""Every detector against a second implementation: one item, plain loops, exact Hessians by autograd."""

import itertools
from functools import cache

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.models import GaussianMixture, NoiseSchedule
from tests.helpers.naive import OfMixture
from tests.helpers.problems import MIXTURES, make_items, make_mixture, make_probe, scaled_linear_betas

STEPS = 50
CASES = list(itertools.product(MIXTURES, [0, 5]))
of_mixture = cache(OfMixture)  # they remember their trajectories


def scores(text, name, seed, **options):
    """What memdet says of all conditions of a mixture in one batch."""
    probe = make_probe(make_mixture(name), make_items(list(MIXTURES[name]["conditions"])), seed=seed, **options)
    return make_detector(text, detector_classes()).score(probe).double().tolist()


def naive(name, seed, method, *arguments):
    return [
        getattr(of_mixture(name, condition, seed), method)(*arguments) for condition in MIXTURES[name]["conditions"]
    ]


@pytest.mark.parametrize(("name", "seed"), CASES)
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_wen2024(name, seed, steps):
    assert scores(f"wen2024@steps={steps}", name, seed) == pytest.approx(
        naive(name, seed, "wen2024_mean", steps), rel=1e-6
    )


def test_wen2024_cannot_be_longer_than_the_trajectory():
    with pytest.raises(NotApplicableError, match="has 50 steps, not 51"):
        scores("wen2024@steps=51", next(iter(MIXTURES)), 0)


@pytest.mark.parametrize(("name", "seed"), CASES)
@pytest.mark.parametrize(("power", "t"), [(2, None), (1, None), (2, 500)])
def test_jeon2025(name, seed, power, t):
    text = f"jeon2025@power={power}" + (f",t={t}" if t else "")
    assert scores(text, name, seed) == pytest.approx(naive(name, seed, "jeon2025", t, power), rel=1e-4)


@pytest.mark.parametrize(("name", "seed"), CASES)
@pytest.mark.parametrize(("backend", "tolerance"), [("fd", 1e-3), ("fd-one-sided", 1e-2)])
def test_jeon2025_backends_agree(name, seed, backend, tolerance):
    exact = scores("jeon2025@power=1", name, seed)
    assert scores(f"jeon2025@power=1,backend={backend}", name, seed) == pytest.approx(exact, rel=tolerance)


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_jeon2025_power_two_is_the_square(name, seed):
    root = scores("jeon2025@power=1", name, seed)
    assert scores("jeon2025", name, seed) == pytest.approx([value**2 for value in root], rel=1e-12)


@pytest.mark.parametrize(("name", "seed"), CASES)
@pytest.mark.parametrize(("probes", "t"), [(1, None), (3, None), (2, 500)])
@pytest.mark.parametrize(("backend", "tolerance"), [("fd-one-sided", 2e-3), ("fd", 1e-4), ("jvp", 1e-6)])
def test_curvature_gap(name, seed, probes, t, backend, tolerance):
    text = f"curvature-gap@probes={probes},backend={backend}" + (f",t={t}" if t else "")
    assert scores(text, name, seed) == pytest.approx(naive(name, seed, "curvature_gap", t, probes), rel=tolerance)


@pytest.mark.parametrize(("name", "seed"), CASES)
@pytest.mark.parametrize(("probes", "t"), [(4, None), (1, 200)])
def test_hessian_trace(name, seed, probes, t):
    text = f"hessian-trace@probes={probes}" + (f",t={t}" if t else "")
    assert scores(text, name, seed) == pytest.approx(naive(name, seed, "hessian_trace", t, probes), rel=1e-6)


@pytest.mark.parametrize(("name", "seed"), CASES)
@pytest.mark.parametrize("t", [None, 500, 100])
@pytest.mark.parametrize("statistic", ["smallest", "count-below", "positive"])
def test_eigenvalues(name, seed, t, statistic):
    text = f"jeon2024-eigenvalues@statistic={statistic}" + (f",t={t}" if t else "")
    expected = naive(name, seed, "eigenvalues", t, statistic)
    assert scores(text, name, seed) == pytest.approx(expected, rel=1e-6)


def test_eigenvalue_counts_tell_conditions_apart():
    """The cases above are not all alike: both counts take more than one value."""
    seen = {
        statistic: {
            value
            for name, seed in CASES
            for t in (None, 500, 100)
            for value in naive(name, seed, "eigenvalues", t, statistic)
        }
        for statistic in ("count-below", "positive")
    }
    assert len(seen["count-below"]) > 1
    assert len(seen["positive"]) > 1


ISOTROPIC = GaussianMixture(
    "isotropic",
    torch.tensor([[0.1] * 6, [-0.1] * 6]),
    stds=[0.5, 0.05],
    weights=[0.5, 0.5],
    conditions={"wide": [1.0, 0.0], "tight": [0.0, 1.0]},
    schedule=NoiseSchedule.from_betas(scaled_linear_betas()),
)


@pytest.mark.parametrize("t", [None, 301])
@pytest.mark.parametrize("krylov", [2, 6])
def test_known_values_on_gaussians(t, krylov):
    """Where the Hessian is ``-I / m`` any probe gives the trace and any Krylov space the spectrum."""
    step = 981 if t is None else t
    alpha, sigma = ISOTROPIC.schedule.alpha(step), ISOTROPIC.schedule.sigma(step)
    m = [alpha**2 * std**2 + sigma**2 for std in (0.5, 0.05)]
    tail = f",t={t}" if t else ""

    def ask(text):
        probe = make_probe(ISOTROPIC, make_items(["wide", "tight"]), steps=STEPS)
        return make_detector(text + tail, detector_classes()).score(probe).tolist()

    assert ask("hessian-trace@probes=1") == pytest.approx([6 / value for value in m])
    eigenvalues = f"jeon2024-eigenvalues@krylov={krylov}"
    assert ask(eigenvalues) == pytest.approx([1 / value for value in m])
    threshold = sigma**2 * (1 / m[0] + 1 / m[1]) / 2  # between the two
    assert ask(f"{eigenvalues},statistic=count-below,c={threshold}") == pytest.approx([0, 6])
    assert ask(f"{eigenvalues},statistic=positive") == pytest.approx([0, 0], abs=1e-12)


def test_hessian_trace_is_the_exact_trace_on_average():
    """Over all sign vectors of the plane the mean of Hutchinson's form is the trace."""
    name = "more components than dimensions"
    model = make_mixture(name)
    probe = make_probe(model, make_items(["some"]))
    exact = -model.exact_spectrum(probe.noise, 981, model.embed(["some"])).sum()
    hessian = of_mixture(name, "some", 0).jacobian(probe.noise.flatten(), 981, "cond")
    forms = {float(v @ hessian @ v) for v in torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)}
    (score,) = scores("hessian-trace@probes=1", name, 0)[:1]
    assert min(abs(score + form) for form in forms) < 1e-8
    many = scores("hessian-trace@probes=400", name, 0)[0]
    spread = max(forms) - min(forms)
    assert many == pytest.approx(float(exact), abs=4 * spread / 2 / 20)

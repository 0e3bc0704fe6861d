"""Every detector against a second implementation: one item, plain loops, exact Hessians by autograd."""

import itertools

import numpy as np
import pytest
import torch
from problems import MIXTURES, exact_hessian, exact_score, make_items, make_mixture, scaled_linear_betas

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.models import GaussianMixture, NoiseSchedule
from memdet.probing import Probe
from memdet.probing import noise as draws

STEPS = 50
CASES = list(itertools.product(MIXTURES, [0, 5]))
ALPHA_BAR = np.cumprod(1 - scaled_linear_betas())
TIMESTEPS = list(range(981, 0, -20))


def scores(text, name, seed, **options):
    """What memdet says of all conditions of a mixture in one batch."""
    probe = Probe(make_mixture(name), make_items(list(MIXTURES[name]["conditions"])), seed=seed, **options)
    return make_detector(text, detector_classes()).score(probe).double().tolist()


class Naive:
    """One item of one seed."""

    def __init__(self, name, condition, seed):
        self.name, self.seed = name, seed
        self.weights = {"cond": MIXTURES[name]["conditions"][condition], "null": MIXTURES[name]["weights"]}
        shape = MIXTURES[name]["latent_shape"]
        self.shape = shape
        self.noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double().flatten()

    @staticmethod
    def levels(t):
        return ALPHA_BAR[t] ** 0.5, (1 - ALPHA_BAR[t]) ** 0.5

    def score(self, x, t, branch):
        return exact_score(x, self.name, self.weights[branch], *self.levels(t))

    def hessian(self, x, t, branch):
        return exact_hessian(x, self.name, self.weights[branch], *self.levels(t))

    def eps(self, x, t, branch):
        return -self.levels(t)[1] * self.score(x, t, branch)

    def step(self, x, index, guidance):
        """One DDIM step."""
        alpha, sigma = self.levels(TIMESTEPS[index])
        null, cond = (self.eps(x, TIMESTEPS[index], branch) for branch in ("null", "cond"))
        eps = null + guidance * (cond - null)
        clean = (x - sigma * eps) / alpha
        alpha, sigma = self.levels(TIMESTEPS[index + 1])
        return alpha * clean + sigma * eps

    def unguided(self, t):
        """State and timestep on the unguided trajectory at the timestep nearest to ``t``; the noise for None."""
        if t is None:
            return self.noise, TIMESTEPS[0]
        nearest = sorted(TIMESTEPS, key=lambda candidate: abs(candidate - t))[0]
        x = self.noise
        for index in range(TIMESTEPS.index(nearest)):
            x = self.step(x, index, guidance=1.0)
        return x, nearest

    def wen2024(self, steps):
        x, total = self.noise, 0.0
        for index in range(steps):
            total += float((self.eps(x, TIMESTEPS[index], "cond") - self.eps(x, TIMESTEPS[index], "null")).norm())
            x = self.step(x, index, guidance=7.5)
        return total / steps

    def jeon2025(self, power, t):
        x, t = self.unguided(t)
        hessian = self.hessian(x, t, "cond") - self.hessian(x, t, "null")
        return float((hessian @ (self.score(x, t, "cond") - self.score(x, t, "null"))).norm()) ** power

    def signs(self, probes):
        return [draws.rademacher(self.shape, self.seed, k).double().flatten() for k in range(probes)]

    def curvature_gap(self, probes, t):
        x, t = self.unguided(t)
        hessian = self.hessian(x, t, "cond") - self.hessian(x, t, "null")
        return (sum(float((hessian @ v).square().sum()) for v in self.signs(probes)) / probes) ** 0.5

    def hessian_trace(self, probes, t):
        x, t = self.unguided(t)
        hessian = self.hessian(x, t, "cond")
        return -sum(float(v @ hessian @ v) for v in self.signs(probes)) / probes

    def eigenvalues(self, statistic, t, c=0.5):
        x, t = self.unguided(t)
        values = torch.linalg.eigvalsh(self.hessian(x, t, "cond"))
        if statistic == "smallest":
            return -float(values.min())
        if statistic == "count-below":
            return float((values < -c / self.levels(t)[1] ** 2).sum())
        return -float((values > 0).sum())


def naive(name, seed, method, *arguments):
    return [getattr(Naive(name, condition, seed), method)(*arguments) for condition in MIXTURES[name]["conditions"]]


@pytest.mark.parametrize(("name", "seed"), CASES)
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_wen2024(name, seed, steps):
    assert scores(f"wen2024@steps={steps}", name, seed) == pytest.approx(naive(name, seed, "wen2024", steps), rel=1e-6)


def test_wen2024_cannot_be_longer_than_the_trajectory():
    with pytest.raises(NotApplicableError, match="has 50 steps, not 51"):
        scores("wen2024@steps=51", next(iter(MIXTURES)), 0)


@pytest.mark.parametrize(("name", "seed"), CASES)
@pytest.mark.parametrize(("power", "t"), [(2, None), (1, None), (2, 500)])
def test_jeon2025(name, seed, power, t):
    text = f"jeon2025@power={power}" + (f",t={t}" if t else "")
    assert scores(text, name, seed) == pytest.approx(naive(name, seed, "jeon2025", power, t), rel=1e-4)


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
    assert scores(text, name, seed) == pytest.approx(naive(name, seed, "curvature_gap", probes, t), rel=tolerance)


@pytest.mark.parametrize(("name", "seed"), CASES)
@pytest.mark.parametrize(("probes", "t"), [(4, None), (1, 200)])
def test_hessian_trace(name, seed, probes, t):
    text = f"hessian-trace@probes={probes}" + (f",t={t}" if t else "")
    assert scores(text, name, seed) == pytest.approx(naive(name, seed, "hessian_trace", probes, t), rel=1e-6)


@pytest.mark.parametrize(("name", "seed"), CASES)
@pytest.mark.parametrize("t", [None, 500, 100])
@pytest.mark.parametrize("statistic", ["smallest", "count-below", "positive"])
def test_eigenvalues(name, seed, t, statistic):
    text = f"jeon2024-eigenvalues@statistic={statistic}" + (f",t={t}" if t else "")
    expected = naive(name, seed, "eigenvalues", statistic, t)
    assert scores(text, name, seed) == pytest.approx(expected, rel=1e-6)


def test_eigenvalue_counts_tell_conditions_apart():
    """The cases above are not all alike: both counts take more than one value."""
    seen = {
        statistic: {
            value
            for name, seed in CASES
            for t in (None, 500, 100)
            for value in naive(name, seed, "eigenvalues", statistic, t)
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
        probe = Probe(ISOTROPIC, make_items(["wide", "tight"]), steps=STEPS)
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
    probe = Probe(model, make_items(["some"]))
    exact = -model.exact_spectrum(probe.noise, 981, model.embed(["some"])).sum()
    hessian = Naive(name, "some", 0).hessian(probe.noise.flatten(), 981, "cond")
    forms = {float(v @ hessian @ v) for v in torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)}
    (score,) = scores("hessian-trace@probes=1", name, 0)[:1]
    assert min(abs(score + form) for form in forms) < 1e-8
    many = scores("hessian-trace@probes=400", name, 0)[0]
    spread = max(forms) - min(forms)
    assert many == pytest.approx(float(exact), abs=4 * spread / 2 / 20)

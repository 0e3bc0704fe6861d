"""The Hessian family against a second implementation, on closed forms and on a trained network."""

import random
import re
from functools import cache

import numpy as np
import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError, UserError
from memdet.models import GaussianMixture, NoiseSchedule, load_model
from memdet.models.closed_form.dct import DCTGaussian
from memdet.probing import Items, SeedMemory
from tests.helpers.naive import ALPHA_BAR, Naive, OfMixture, OfNetwork
from tests.helpers.problems import MIXTURES, make_items, make_mixture, make_probe, scaled_linear_betas, select

PROMPTS = ["plain blue shirt on a table", "an old leather boot", ""]
# Detector, and method and arguments of its naive twin; m stands for ten Krylov steps, five for five, or d if less.
TWINS = {
    "wen2024@t=500": ("wen2024", 500),
    "hessian-cubic": ("hessian_cubic", None),
    "hessian-cubic@t=500": ("hessian_cubic", 500),
    "trace-gap": ("trace_gap", None, 4),
    "trace-gap@probes=1,t=500": ("trace_gap", 500, 1),
    "trace-gap@estimator=exact,t=500": ("exact_trace_gap", 500),
    "eigenvalue-gap": ("eigenvalue_gap", None, "m"),
    "eigenvalue-gap@t=500": ("eigenvalue_gap", 500, "m"),
    "eigenvalue-gap@estimator=exact,t=500": ("exact_eigenvalue_gap", 500),
    "few-step-curvature": ("few_step_curvature", 50, 4, 3),
    "few-step-curvature@steps=2,t=200,probes=1,backend=vjp": ("few_step_curvature", 200, 2, 1),
    "few-step-curvature@steps=60": ("few_step_curvature", 50, 60, 3),
    "metric2": ("metric2", None),
    "metric2@t=500": ("metric2", 500),
    "lhsd@c=0.5": ("lhsd", 50, 8, "five"),
    "lhsd@t=500,probes=3,krylov=10,c=0.8,p=2": ("lhsd", 500, 3, "m", 0.8, 2),
    "lhsd@t=981,probes=1,krylov=10,c=0.5": ("lhsd", 981, 1, "m"),
    "lhsd@estimator=exact,t=500,c=0.5": ("exact_lhsd", 500),
    "curvature-map": ("curvature", 16),
    "curvature-map@probes=1": ("curvature", 1),
    "curvature-map@estimator=exact": ("curvature", None),
    "flipd": ("flipd", 50, 4),
    "flipd@t=300,probes=1": ("flipd", 300, 1),
    "flipd@estimator=exact": ("flipd", 50, None),
}


def ask(text, probe):
    return make_detector(text, detector_classes()).score(probe).double().tolist()


def twins(text, naives, d):
    method, *arguments = TWINS[text]
    arguments = [
        min({"m": 10, "five": 5}.get(argument, argument), d) if isinstance(argument, str) else argument
        for argument in arguments
    ]
    return [getattr(naive, method)(*arguments) for naive in naives]


of_mixture = cache(OfMixture)  # they remember their trajectories


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), list(zip(MIXTURES, [0, 5], strict=True)))
@pytest.mark.parametrize("text", TWINS)
def test_on_a_mixture(text, name, seed):
    conditions = MIXTURES[name]["conditions"]
    naives = [of_mixture(name, condition, seed) for condition in conditions]
    got = ask(text, make_probe(make_mixture(name), make_items(list(conditions)), seed=seed))
    # 1e-9: the map is zero where the null branch is the sharper one everywhere.
    assert got == pytest.approx(twins(text, naives, len(naives[0].noise)), rel=1e-4, abs=1e-9)


@pytest.fixture(scope="module")
def trained():
    model = load_model("tiny-sd-a", dtype=torch.float64)
    model.latent_shape = (4, 4, 4)  # its network takes any size, and the whole Jacobian is a sixteenth of its own
    probe = make_probe(model, make_items(PROMPTS[:2], has_prompts=True), seed=3, steps=10)
    return probe, [OfNetwork(model, prompt, 3, steps=10) for prompt in PROMPTS[:2]]


@pytest.mark.slow
@pytest.mark.parametrize("text", TWINS)
def test_on_a_trained_network(trained, text):
    probe, naives = trained
    assert ask(text, probe) == pytest.approx(twins(text, naives, 64), rel=1e-4)


@pytest.mark.slow
def test_on_a_trained_network_the_map_is_that_of_every_pixel(trained):
    probe, naives = trained
    detector = make_detector("curvature-map", detector_classes())
    found = detector.map(probe)
    assert found.shape == (2, 4, 4)
    expected = torch.stack([naive.curvature_map(16) for naive in naives])
    # diffusers rounds its alphas to single precision, which 1 - alpha^2 at t = 1 magnifies.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.mean(dim=(1, 2)), detector.score(probe))
    assert (found > 0).any()


@pytest.mark.slow
def test_metric2_takes_the_transposed_jacobian(trained):
    """With J instead of J^T it would be another detector: a trained Jacobian is not symmetric."""
    probe, naives = trained
    for score, naive in zip(ask("metric2@t=500", probe), naives, strict=True):
        assert score == pytest.approx(naive.metric2(500), rel=1e-4)
        assert abs(naive.metric2(500, transposed=False) / score - 1) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("text", ["hessian-cubic", "trace-gap", "curvature-map", "flipd"])
@pytest.mark.parametrize("backend", ["fd", "fd-one-sided"])
def test_backends_agree(trained, text, backend):
    probe, _ = trained
    assert ask(f"{text}@backend={backend}", probe) == pytest.approx(ask(f"{text}@backend=jvp", probe), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["hessian-trace", "trace-gap", "flipd"])
def test_a_trace_is_the_same_by_forward_and_by_reverse_products(trained, text):
    probe, _ = trained
    assert ask(f"{text}@backend=vjp", probe) == pytest.approx(ask(f"{text}@backend=jvp", probe), rel=1e-9)


@pytest.mark.parametrize("probes", [3, 12])
def test_xtrace_with_more_probes_than_dimensions_is_not_applicable(probes):
    model = load_model("mixture-2d", dtype=torch.float64)
    probe = make_probe(model, make_items(["tight", "broad"]))
    with pytest.raises(NotApplicableError, match=f"xtrace with {probes} probes in 2 dimensions: it takes at most 2"):
        make_detector(f"hessian-trace@probes={probes},estimator=xtrace", detector_classes()).score(probe)


@pytest.mark.parametrize("estimator", ["hutch++", "xtrace"])
def test_one_probe_makes_no_sketch(estimator):
    with pytest.raises(UserError, match=rf"hessian-trace@probes=1,.*{re.escape(estimator)} takes two probes or more"):
        make_detector(f"hessian-trace@probes=1,estimator={estimator}", detector_classes())


def test_the_map_needs_an_image():
    probe = make_probe(make_mixture("more components than dimensions"), make_items(["some"]))
    with pytest.raises(NotApplicableError, match="does not generate images"):
        make_detector("curvature-map", detector_classes()).map(probe)


# The local intrinsic dimension of a Gaussian on a subspace

D, SUBSPACE = 16, 5
SCHEDULE = NoiseSchedule.from_betas(scaled_linear_betas())


def on_a_subspace(tau):
    """A Gaussian of standard deviation ``tau`` in 5 of 16 dimensions and 0 in the others, and two of its samples."""
    variances = torch.zeros(D, dtype=torch.float64)
    variances[3 : 3 + SUBSPACE] = tau**2
    mean = torch.linspace(-1, 1, D, dtype=torch.float64)
    model = DCTGaussian("subspace", mean, variances, {"it": (mean, variances)}, SCHEDULE)
    basis = torch.from_numpy(np.array([np.cos(np.pi * k * (np.arange(D) + 0.5) / D) for k in range(3, 3 + SUBSPACE)]))
    basis = basis / basis.norm(dim=1, keepdim=True)
    weights = torch.randn(2, SUBSPACE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    items = Items(list("ab"), ["it"] * 2, list("ab"), [0, 1], False, images=mean + tau * weights @ basis)
    return model, items, weights


@pytest.mark.parametrize("t", [1, 201, 501])
def test_flipd_of_a_gaussian_on_a_subspace_in_closed_form(t):
    tau = 0.7
    model, items, weights = on_a_subspace(tau)
    alpha2, sigma2 = ALPHA_BAR[t], 1 - ALPHA_BAR[t]
    m = alpha2 * tau**2 + sigma2
    trace = -SUBSPACE / m - (D - SUBSPACE) / sigma2
    square = alpha2 * tau**2 * weights.square().sum(dim=1) / m**2
    expected = (-(D + sigma2 * (trace + square))).tolist()
    assert ask(f"flipd@t={t},estimator=exact", make_probe(model, items)) == pytest.approx(expected, rel=1e-6)
    many = ask(f"flipd@t={t},probes=200", make_probe(model, items))
    assert many == pytest.approx(expected, rel=0.15)


def test_intrinsic_dimension_at_low_noise():
    """Both estimates find the 5 dimensions of a wide Gaussian, from the clean sample and not from a noisy one."""
    model, items, _ = on_a_subspace(tau=3.0)
    assert ask("flipd@t=1,estimator=exact", make_probe(model, items)) == pytest.approx([-SUBSPACE] * 2, abs=0.02)
    assert ask("lhsd@t=1,estimator=exact,c=0.5", make_probe(model, items)) == pytest.approx(
        [-SUBSPACE - 11 / 17] * 2, abs=0.01
    )
    # The thinnest place of that spectrum lies anywhere between its two ends.
    images = Items(items.ids, items.conditions, items.clusters, items.labels, False, images=items.images)
    assert ask("lhsd@t=1,estimator=exact", make_probe(model, images, dev=images)) == ask(
        "lhsd@t=1,estimator=exact,c=0.5", make_probe(model, images)
    )
    # There are two distinct eigenvalues, so that two products of a start are exact for that start.
    assert ask("lhsd@t=1,probes=150,krylov=2,c=0.5", make_probe(model, items)) == pytest.approx(
        [-SUBSPACE - 11 / 17] * 2, rel=0.1
    )


def test_flipd_of_a_prompt_looks_at_the_end_of_the_guided_trajectory():
    """An image equal to that end has the same score."""
    model = make_mixture("fewer components than dimensions")
    items = make_items(["some", "point"])
    probe = make_probe(model, items, guidance=3.0)
    images = Items(items.ids, items.conditions, items.clusters, items.labels, False, images=probe.trajectory().clean())
    assert ask("flipd", probe) == pytest.approx(ask("flipd", make_probe(model, images, guidance=3.0)), rel=1e-9)


# What a trap would change


def test_a_linear_schedule_would_be_wrong():
    assert 1 - ALPHA_BAR[249] == pytest.approx(0.325, abs=1e-3)
    assert 1 - np.cumprod(1 - np.linspace(0.00085, 0.012, 1_000))[249] == pytest.approx(0.429, abs=2e-3)
    model, items, _ = on_a_subspace(tau=0.7)
    right = ask("flipd@t=241", make_probe(model, items))
    model.schedule = NoiseSchedule.from_betas(np.linspace(0.00085, 0.012, 1_000))
    assert ask("flipd@t=241", make_probe(model, items)) != pytest.approx(right, rel=0.02)


def test_wen2024_at_one_time_is_not_several_steps():
    with pytest.raises(UserError, match="give one of the two"):
        make_detector("wen2024@steps=5,t=50", detector_classes())
    assert make_detector("wen2024@t=50", detector_classes()).label == "wen2024@t=50"
    model, items = make_mixture("fewer components than dimensions"), make_items(["some", "point"])
    assert ask("wen2024@t=981", make_probe(model, items)) == ask("wen2024", make_probe(model, items))


@pytest.mark.parametrize("text", [text for text in TWINS if "exact" not in text])
def test_images_are_scored(text):
    model = make_mixture("fewer components than dimensions")
    images = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(3))
    items = Items(list("ab"), ["some", "point"], list("ab"), [0, 1], False, images=images)
    with make_probe(model, items).charge() as cost:
        scores = ask(text, make_probe(model, items))
    assert np.isfinite(scores).all()
    assert scores[0] != scores[1]
    assert cost.forwards <= 10


# Items do not know of each other

ALONE = ["wen2024@t=500", "hessian-cubic", "trace-gap", "eigenvalue-gap@krylov=3", "metric2", "metric2@t=500"]
ALONE += ["lhsd@probes=1,krylov=3,c=0.5", "curvature-map", "flipd"]


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("which", ["mixture", pytest.param("network", marks=pytest.mark.slow)])
def test_batches_and_order_do_not_matter(which, noise, random_pipeline):
    if which == "mixture":
        model, items = make_mixture("fewer components than dimensions"), make_items(["some", "point"] * 2)
    else:
        model, items = load_model(random_pipeline, dtype=torch.float64), make_items([*PROMPTS, "x"], has_prompts=True)
        model.latent_shape = (4, 4, 4)
    order = list(range(4))
    random.Random(2).shuffle(order)
    assert order != sorted(order)
    whole = make_probe(model, items, steps=4, noise=noise)
    expected = {text: ask(text, whole) for text in ALONE}
    memory = SeedMemory()
    parts = [order[:1], order[1:]]
    probes = [make_probe(model, select(items, part), steps=4, noise=noise, memory=memory, n_items=4) for part in parts]
    for text in ALONE:
        found = [score for probe in probes for score in ask(text, probe)]
        assert found == pytest.approx([expected[text][index] for index in order], rel=1e-6), text


# Memorized is larger

PLANTED = GaussianMixture(
    "planted",
    torch.tensor([[-0.5] * 8, [0.2] * 8]),
    stds=[0.02, 1.0],
    weights=[0.05, 0.95],
    conditions={"memorized": [1.0, 0.0], "not": [0.0, 1.0]},
    schedule=SCHEDULE,
)


class OfPlanted(Naive):
    """A condition of ``PLANTED``, from the log density of two Gaussians by autograd."""

    def __init__(self, condition):
        super().__init__((8,), 0, 50, end=(1.0, 0.0))
        self.weights = {"cond": [1.0, 0.0] if condition == "memorized" else [0.0, 1.0], "null": [0.05, 0.95]}

    def log_density(self, x, t, branch):
        alpha, sigma = self.levels(t)
        terms = []
        for mean, std, weight in zip((-0.5, 0.2), (0.02, 1.0), self.weights[branch], strict=True):
            variance = alpha**2 * std**2 + sigma**2
            square = (x - alpha * mean).square().sum() / variance
            terms.append(torch.log(torch.tensor(weight)) - square / 2 - 4 * np.log(variance))
        return torch.logsumexp(torch.stack(terms), dim=0)

    def score(self, x, t, branch):
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(self.log_density(x, t, branch), x)[0]

    def jacobian(self, x, t, branch):
        return torch.autograd.functional.hessian(lambda z: self.log_density(z, t, branch), x.detach())


@pytest.mark.parametrize(
    "text",
    [
        "hessian-cubic",
        "trace-gap",
        "eigenvalue-gap",
        "metric2",
        "flipd",
        # Not at its last step: there the null branch of a mixture sees the same peak, and the difference vanishes. A
        # network's null branch does not know the peak so well.
        "curvature-map@t=700",
    ],
)
def test_memorized_is_larger(text):
    for seed in range(3):
        memorized, other = ask(text, make_probe(PLANTED, make_items(["memorized", "not"]), seed=seed))
        assert memorized > other


def test_the_image_of_a_peak_has_a_low_dimension():
    """No prompt is needed: the null branch sees the peak at the end of the memorized trajectory."""
    for seed in range(3):
        memorized, other = ask("lhsd@c=0.5", make_probe(PLANTED, make_items(["memorized", "not"]), seed=seed))
        assert memorized > other


def test_the_cut_off_is_where_the_spectrum_of_the_dev_items_is_thinnest():
    """Whole spectra, and a count of eigenvalues near each cut-off; labels change nothing."""
    items, dev = make_items(["memorized", "not"] * 2), make_items(["memorized", "not", "not"], labels=[0, 1, 1])
    t, naives = 241, [OfPlanted(condition) for condition in ("memorized", "not", "not")]
    near = {}
    for c in np.arange(1, 10) / 10:
        kappa = c / (1 - ALPHA_BAR[t])
        near[c] = sum(abs(abs(float(v)) - kappa) <= 0.2 * kappa for one in naives for v in one.null_spectrum(t))
    best = min((c for c in near if near[c] == min(near.values())), key=lambda c: abs(c - 0.5))
    text = f"lhsd@t={t},estimator=exact"
    found = ask(text, make_probe(PLANTED, items, dev=dev))
    assert found == ask(f"{text},c={best:.1f}", make_probe(PLANTED, items))
    others = make_items(["memorized", "not", "not"], labels=[1, 1, 1])
    assert ask(text, make_probe(PLANTED, items, dev=others)) == found
    with pytest.raises(NotApplicableError, match="no dev split"):
        ask("lhsd", make_probe(PLANTED, items))

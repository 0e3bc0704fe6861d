"""Local intrinsic dimension at an image: a second implementation, dimensions that are known, and cost."""

import numpy as np
import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.models import DCTGaussian, GaussianMixture, NoiseSchedule
from memdet.probing import Items, SeedMemory
from tests.helpers import dimensions
from tests.helpers.one_item import MEANS, SHAPE, items, mixture, mixture_world, network_world, random_images
from tests.helpers.problems import make_probe, scaled_linear_betas

BY_HAND = {
    "ross2025": lambda one: -dimensions.flipd(one, 50, "null", 4),
    "ross2025@probes=2,t=300": lambda one: -dimensions.flipd(one, 300, "null", 2),
    "ross2025@statistic=flipd-cond": lambda one: -dimensions.flipd(one, 50, "cond", 4),
    "ross2025@statistic=flipd-gap": lambda one: (
        dimensions.flipd(one, 50, "null", 4) - dimensions.flipd(one, 50, "cond", 4)
    ),
    "ross2025@statistic=difference-norm": lambda one: dimensions.norms(one, 50)[0],
    "ross2025@statistic=score-norm": lambda one: dimensions.norms(one, 50)[1],
    "normal-bundle@rank=gap,scores=300": lambda one: -dimensions.normal_bundle(one, 300, 10),
    "normal-bundle@branch=null,rank=gap,scores=256,t=200": lambda one: -dimensions.normal_bundle(one, 256, 200, "null"),
    "normal-bundle@scores=256,threshold=0.8": lambda one: -dimensions.normal_bundle(one, 256, 10, threshold=0.8),
    "normal-bundle@scores=64,threshold=0.2": lambda one: -dimensions.normal_bundle(one, 64, 10, threshold=0.2),
}
OF_MIXTURES = [text for text in BY_HAND if "scores=64" not in text]  # fewer than their 128 dimensions
EXACT = {
    "ross2025@estimator=exact": lambda one: -dimensions.flipd(one, 50, "null"),
    "ross2025@estimator=exact,statistic=flipd-gap": lambda one: (
        dimensions.flipd(one, 50, "null") - dimensions.flipd(one, 50, "cond")
    ),
}
# Forwards and VJPs at the image itself.
COSTS = {
    "ross2025": (1, 4),
    "ross2025@statistic=flipd-cond,probes=2": (1, 2),
    "ross2025@statistic=flipd-gap": (2, 8),
    "ross2025@statistic=difference-norm": (2, 0),
    "ross2025@statistic=score-norm": (1, 0),
    "normal-bundle@scores=130": (130, 0),
    "normal-bundle": (512, 0),  # 4 d, all that there are
}
SCHEDULE = NoiseSchedule.from_betas(scaled_linear_betas())
N = 4


def ask(text, probe):
    with probe.charge() as cost:
        scores = make_detector(text, detector_classes()).score(probe)
    assert scores.dtype == torch.float64
    return scores.tolist(), cost


@pytest.fixture(scope="module")
def worlds():
    return {images: mixture_world(images) for images in (False, True)}


@pytest.fixture(scope="module")
def networks():
    return {False: network_world("tiny-sd-a-verbatim", 5), True: network_world("fashion-pixel-generated", 50, size=8)}


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("text", OF_MIXTURES)
def test_a_mixture(worlds, text, images, noise):
    world = worlds[images]
    expected = [BY_HAND[text](one) for one in world.singly("test", 3, noise)]
    found, _ = ask(text, world.probe(seed=3, noise=noise))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)  # a gap of 0 is that of two dimensions of up to 128


@pytest.mark.parametrize("text", EXACT)
def test_the_whole_jacobian(worlds, text):
    expected = [EXACT[text](one) for one in worlds[True].singly("test", 3, "shared")]
    assert ask(text, worlds[True].probe(seed=3))[0] == pytest.approx(expected, rel=1e-6)


OF_NETWORKS = [(text, images) for text in BY_HAND if text.startswith("ross") for images in (True, False)]


@pytest.mark.slow
@pytest.mark.parametrize(("text", "images"), [*OF_NETWORKS, ("normal-bundle@scores=64,threshold=0.2", True)])
def test_a_network(networks, text, images):
    world = networks[images]
    expected = [BY_HAND[text](one) for one in world.singly("test", 1, "shared")]
    assert ask(text, world.probe(seed=1))[0] == pytest.approx(expected, rel=1e-6, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("text", COSTS)
def test_cost(text):
    """At images no trajectory is followed; else its 50 guided steps come first."""
    model, forwards, vjps = mixture(), *COSTS[text]
    probe = make_probe(model, items(["tight", "broad"] * 2, random_images(N, SHAPE)), check=False)
    cost = ask(text, probe)[1]
    assert (cost.forwards, cost.jvps, cost.vjps) == (forwards, 0, vjps)
    assert model.rows == N * forwards
    prompts = make_probe(mixture(), items(["tight", "broad"] * 2), noise="per-item", check=False)
    cost = ask(text, prompts)[1]
    assert (cost.forwards, cost.jvps, cost.vjps) == (100 + forwards, 0, vjps)


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize(
    "text", ["ross2025", "ross2025@statistic=flipd-gap,t=981", "normal-bundle@scores=140,t=200,threshold=0.7"]
)
def test_order_and_batches_do_not_matter(text, noise):
    model, images = mixture(), random_images(N, SHAPE) + MEANS[0].view(SHAPE)
    names, conditions = [f"i{k}" for k in range(N)], ["tight", "broad"] * 2
    expected = ask(text, make_probe(model, Items(names, conditions, names, [0] * N, False, images), noise=noise))[0]
    assert len(set(expected)) > 1
    memory = SeedMemory()
    for rows in ([3, 0], [1], [2]):
        chosen = [names[k] for k in rows]
        part = Items(chosen, [conditions[k] for k in rows], chosen, [1] * len(rows), False, images[rows])
        found, _ = ask(text, make_probe(model, part, noise=noise, memory=memory, n_items=N))
        assert found == pytest.approx([expected[k] for k in rows], rel=1e-7)


def test_the_conditional_dimension_is_flipd(worlds):
    for world in worlds.values():
        probe = world.probe(seed=2)
        assert ask("ross2025@statistic=flipd-cond", probe)[0] == pytest.approx(ask("flipd", probe)[0], rel=1e-12)


# Dimensions that are known


def on_a_subspace(dimension, spread=3.0):
    """A Gaussian on so many directions of a cosine basis under its condition, on all of them without."""
    variances = torch.zeros(64, dtype=torch.float64)
    variances[:dimension] = spread**2
    mean = torch.zeros(1, 8, 8, dtype=torch.float64)
    model = DCTGaussian("flat", mean, torch.full_like(variances, spread**2), {"flat": (mean, variances)}, SCHEDULE)
    return make_probe(model, items(["flat"], mean[None]))


@pytest.mark.parametrize("dimension", [1, 7, 40, 63])
def test_the_dimension_of_a_flat_manifold(dimension):
    """Beside little noise its directions count 1 and the others 0; the rank of the scores is that of the others."""
    probe = on_a_subspace(dimension)
    t = probe.nearest_timestep(50)
    share = 9 * SCHEDULE.alpha(t) ** 2 / (9 * SCHEDULE.alpha(t) ** 2 + SCHEDULE.sigma(t) ** 2)
    exact = "ross2025@estimator=exact"
    assert ask(f"{exact},statistic=flipd-cond", probe)[0] == pytest.approx([-dimension * share])
    assert ask(exact, probe)[0] == pytest.approx([-64 * share])
    assert ask(f"{exact},statistic=flipd-gap", probe)[0] == pytest.approx([(64 - dimension) * share])
    assert share == pytest.approx(1, abs=0.02)
    for text in ("normal-bundle@rank=gap,scores=192", "normal-bundle@scores=192"):
        assert ask(text, probe)[0] == [-dimension]


def atom(shift):
    """Atoms at two images under the condition, a broad Gaussian without; the item lies at the first, or beside it."""
    means = torch.stack([MEANS[0], MEANS[1], 0 * MEANS[0]])
    weights = {"null": [0.0, 0.0, 1.0], "atoms": [0.5, 0.5, 0.0]}
    model = GaussianMixture(
        "atoms", means, [0.0, 0.0, 1.0], weights["null"], conditions=weights, schedule=SCHEDULE, latent_shape=SHAPE
    )
    return make_probe(model, items(["atoms"], (MEANS[0] + shift).view(1, *SHAPE)))


def test_an_atom_has_no_dimension():
    """Its score is zero and its Hessian -1 / sigma^2 in all directions; the broad Gaussian has all dimensions."""
    probe = atom(0)
    t = probe.nearest_timestep(50)
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    null = 128 - sigma**2 * 128 + sigma**2 * float((alpha * MEANS[0]).square().sum())
    assert ask("ross2025@statistic=flipd-cond", probe)[0] == pytest.approx([0], abs=1e-9)
    assert ask("ross2025", probe)[0] == pytest.approx([-null])
    noise = probe.noise[0].flatten()  # the score of an atom leads all the way back, -eps / sigma; that of N(0, 1) is -x
    assert ask("ross2025@statistic=score-norm", probe)[0] == pytest.approx([float(noise.norm()) / sigma])
    difference = float((noise / sigma - alpha * MEANS[0] - sigma * noise).norm())
    assert ask("ross2025@statistic=difference-norm", probe)[0] == pytest.approx([difference])
    assert ask("normal-bundle@scores=256,threshold=0.2", probe)[0] == [0]


def test_the_largest_gap_cannot_see_an_atom():
    """All directions are normal to it, so the gap splits them somewhere; the docstring warns of it."""
    (found,) = ask("normal-bundle@rank=gap", atom(0))[0]
    values = np.linalg.svd(np.array([draw.flatten() for draw in noises(atom(0), 512)]), compute_uv=False)
    gaps = values[:-1] - values[1:]
    assert found == gaps.argmax() + 1 - 128 != 0


def noises(probe, count):
    return [noise[0].numpy() for noise in probe.directions(count, "gaussian")]


def test_beside_an_atom_the_score_points_back():
    """Its norm is the distance over sigma^2; what was the dimension grows with its square."""
    shift = torch.full((128,), 0.01, dtype=torch.float64)
    probe = atom(shift)
    t = probe.nearest_timestep(50)
    length = SCHEDULE.alpha(t) * float(shift.norm()) / SCHEDULE.sigma(t) ** 2
    expected = -((length * SCHEDULE.sigma(t)) ** 2)
    assert ask("ross2025@statistic=flipd-cond", probe)[0] == pytest.approx([expected])


@pytest.mark.parametrize("scores", [127, 64])
def test_fewer_scores_than_dimensions_have_no_rank_to_speak_of(scores):
    with pytest.raises(NotApplicableError, match=f"128 dimensions takes at least as many scores, not {scores}"):
        ask(f"normal-bundle@scores={scores}", atom(0))

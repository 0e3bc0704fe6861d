"""Membership of images: a second implementation, known values, cost, and what cannot be scored."""

import math
import zlib

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.models import GaussianMixture, NoiseSchedule, ScoreModel
from memdet.probing import Items, SeedMemory
from tests.helpers import membership
from tests.helpers.one_item import MEANS, SHAPE, items, mixture, mixture_world, network_world, random_images
from tests.helpers.problems import make_probe, scaled_linear_betas

BY_HAND = {
    "sima": lambda one: membership.sima(one, 100),
    "sima@t=777": lambda one: membership.sima(one, 777),
    "pian": lambda one: membership.pian(one, 200),
    "pian@t=500": lambda one: membership.pian(one, 500),
    "clid": lambda one: membership.clid(one, [440, 450, 460]),
    "clid@t=300,draws=4,stride=7": lambda one: membership.clid(one, [290, 297, 304, 311]),
    "clid@t=300,draws=1": lambda one: membership.clid(one, [300]),
    "pfami": lambda one: membership.pfami(one, 10, 50, 0.811),
    "pfami@times=3,stride=200,crop=0.7": lambda one: membership.pfami(one, 3, 200, 0.7),
    "rectified-flow-mia": lambda one: membership.rectified_flow(one, 0.5, 8),
    "rectified-flow-mia@share=0.8,draws=2": lambda one: membership.rectified_flow(one, 0.8, 2),
}
NAMES = list(dict.fromkeys(text.partition("@")[0] for text in BY_HAND))
COSTS = {"sima": 1, "pian": 2, "clid": 6, "clid@draws=4": 8, "pfami": 20, "pfami@times=3": 6}
COSTS |= {"rectified-flow-mia": 8, "rectified-flow-mia@draws=2": 2}
SCHEDULE = NoiseSchedule.from_betas(scaled_linear_betas())
N = 6


def with_pictures(model):
    """A closed form whose samples are pictures in [-1, 1]."""
    model.decode = lambda x: (x / 2 + 0.5).clamp(0, 1)
    return model


def ask(text, probe):
    with probe.charge() as cost:
        scores = make_detector(text, detector_classes()).score(probe)
    assert scores.dtype == torch.float64
    return scores.tolist(), cost


@pytest.fixture(scope="module")
def of_mixture():
    world = mixture_world(images=True)
    with_pictures(world.model)
    return world


@pytest.fixture(scope="module")
def of_network():
    return network_world("fashion-pixel-generated", steps=50)


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("text", BY_HAND)
def test_images_of_a_mixture(of_mixture, text, noise):
    expected = [BY_HAND[text](one) for one in of_mixture.singly("test", 3, noise)]
    assert ask(text, of_mixture.probe(seed=3, noise=noise))[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("text", BY_HAND)
def test_images_of_a_network(of_network, text):
    expected = [BY_HAND[text](one) for one in of_network.singly("test", 1, "shared")]
    assert ask(text, of_network.probe(seed=1))[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("text", COSTS)
def test_cost(text, noise):
    model = with_pictures(mixture())
    probe = make_probe(model, items(["tight", "broad"] * 3, random_images(N, SHAPE)), noise=noise, check=False)
    cost = ask(text, probe)[1]
    assert (cost.forwards, cost.jvps, cost.vjps) == (COSTS[text], 0, 0)
    assert model.rows == N * COSTS[text]


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("name", NAMES)
def test_order_and_batches_do_not_matter(name, noise):
    model, images = with_pictures(mixture()), random_images(N, SHAPE)
    names, conditions = [f"i{k}" for k in range(N)], ["tight", "broad"] * 3
    expected = ask(name, make_probe(model, Items(names, conditions, names, [0] * N, False, images), noise=noise))[0]
    assert len(set(expected)) == N
    memory = SeedMemory()
    for rows in ([4, 1], [0, 5, 3], [2]):
        chosen = [names[k] for k in rows]
        part = Items(chosen, [conditions[k] for k in rows], chosen, [1] * len(rows), False, images[rows])
        found, _ = ask(name, make_probe(model, part, noise=noise, memory=memory, n_items=N))
        assert found == pytest.approx([expected[k] for k in rows], rel=1e-9)


@pytest.mark.parametrize("name", ["sima", "pian"])
def test_deterministic_methods_draw_no_noise(of_mixture, name):
    assert not detector_classes()[name].info.seeded
    assert ask(name, of_mixture.probe())[0] == ask(name, of_mixture.probe(seed=7, noise="per-item"))[0]


@pytest.mark.parametrize("name", ["clid", "pfami", "rectified-flow-mia"])
def test_another_seed_is_another_draw(of_mixture, name):
    assert ask(name, of_mixture.probe())[0] != pytest.approx(ask(name, of_mixture.probe(seed=1))[0], rel=1e-6)


VISITS = {
    "sima": [(100, "cond")],
    "pian": [(0, "cond"), (200, "cond")],
    "clid": [(t, branch) for t in (440, 450, 460) for branch in ("cond", "null")],
    "pfami": [(t, "cond") for t in range(0, 500, 50) for _ in range(2)],
}


@pytest.mark.parametrize("name", VISITS)
def test_the_network_is_asked_where_the_formula_says_and_nowhere_else(name):
    model = mixture()
    ask(name, make_probe(model, items(["tight"], random_images(1, SHAPE)), noise="per-item"))
    assert sorted((t, branch) for t, branch, _ in model.calls) == sorted(VISITS[name])


# Known values


def gaussians(spread, **options):
    """The null branch is a centred Gaussian of standard deviation 1, the condition one around MEANS[0]."""
    means = torch.stack([0 * MEANS[0], MEANS[0]])
    weights = {"null": [1.0, 0.0], "own": [0.0, 1.0]}
    model = GaussianMixture(
        "two", means, [1.0, spread], [1.0, 0.0], conditions=weights, schedule=SCHEDULE, latent_shape=SHAPE, **options
    )
    return with_pictures(model)


def image_probe(model, image, condition="own", **options):
    return make_probe(model, items([condition], image.view(1, *SHAPE)), **options)


@pytest.mark.parametrize("t", [50, 300])
def test_the_prediction_at_a_clean_image_under_a_gaussian(t):
    """``e = sigma (x - alpha mu) / (alpha^2 s^2 + sigma^2)``, and at the mean of a point ``(1 - alpha) mu / sigma``."""
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    image = random_images(1, (128,))[0].double()
    eps = sigma * (image - alpha * MEANS[0]) / (alpha**2 * 0.3**2 + sigma**2)
    assert ask(f"sima@t={t}", image_probe(gaussians(0.3), image))[0] == pytest.approx([-float(eps.norm(p=4))])
    point = -float(MEANS[0].norm(p=4)) * (1 - alpha) / sigma
    assert ask(f"sima@t={t}", image_probe(gaussians(0.0), MEANS[0]))[0] == pytest.approx([point])


def callable_model(fn, schedule=SCHEDULE, prediction="eps"):
    return ScoreModel.from_callable(
        fn,
        shape=SHAPE,
        schedule=schedule,
        prediction=prediction,
        embed=lambda conditions: torch.zeros(len(conditions), 1, dtype=torch.float64),
        null=torch.zeros(1, 1, dtype=torch.float64),
        decode=lambda x: (x / 2 + 0.5).clamp(0, 1),
        dtype=torch.float64,
    )


def test_the_scale_of_the_first_prediction_does_not_count_for_pian():
    """A prediction of the size of noise is not changed, and pia is pian; of another size it is scaled to that."""
    size = math.sqrt(2 / math.pi)

    def probe(first, later):
        model = callable_model(lambda x, t, embedding: torch.full_like(x, first if t == 0 else later))
        return image_probe(model, MEANS[0])

    expected = [-abs(size - 0.3) * 128**0.25]
    for first in (size, 5.0, 1e-3):
        assert ask("pian", probe(first, 0.3))[0] == pytest.approx(expected)
    assert ask("pia", probe(size, 0.3))[0] == pytest.approx(expected)
    assert ask("pia", probe(5.0, 0.3))[0] != pytest.approx(expected)


def test_a_point_has_no_loss_under_its_condition():
    """Then the discrepancy is the loss of the null branch: a centred Gaussian of unit variance predicts ``sigma x``."""
    expected = 0.0
    probe = image_probe(gaussians(0.0), MEANS[0])
    for draw, t in enumerate((440, 450, 460)):
        noise = probe.starting_noise(draw)[0].flatten()
        x = SCHEDULE.alpha(t) * MEANS[0] + SCHEDULE.sigma(t) * noise
        expected += float((SCHEDULE.sigma(t) * x - noise).square().mean()) / 3
    assert ask("clid", probe)[0] == pytest.approx([expected])
    assert ask("clid", image_probe(gaussians(0.0), MEANS[0], "null"))[0] == [0.0]


def test_an_image_whose_crop_is_itself_does_not_fluctuate():
    flat = torch.full((128,), 0.4, dtype=torch.float64)
    assert ask("pfami", image_probe(gaussians(0.3), flat))[0] == pytest.approx([0.0], abs=1e-12)


def test_a_loss_that_no_image_changes_does_not_fluctuate():
    model = callable_model(lambda x, t, embedding: torch.zeros_like(x))
    assert ask("pfami", image_probe(model, MEANS[0]))[0] == pytest.approx([0.0], abs=1e-12)


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_the_velocity_of_a_rectified_flow_is_its_own_output(share):
    """Of a network that predicts ``eps - x_0`` on the straight path the statistic takes the output as it is."""
    schedule = NoiseSchedule.rectified_flow()
    weight = random_images(1, SHAPE)[0].double() / 3
    model = callable_model(lambda x, t, embedding: x.sin() - weight, schedule, "flow")
    probe = image_probe(model, MEANS[0])
    image, mean = MEANS[0].view(SHAPE), 0
    for draw in range(8):
        mixture_of_both = share * image + (1 - share) * probe.starting_noise(draw)[0]
        mean = mean - (mixture_of_both.sin() - weight) / 8  # noise to image
    pixels = ((image.float() / 2 + 0.5).clamp(0, 1) * 255).round().byte().numpy()
    expected = -float((image - mean).square().sum()) / len(zlib.compress(pixels.tobytes(), 9))
    assert ask(f"rectified-flow-mia@share={share}", probe)[0] == pytest.approx([expected])


def test_the_midpoint_of_a_point_misses_by_the_mean_of_the_noise_alone():
    """A model that knows one image finds it in every mixture: the velocity is exact, ``x - eps_n``."""
    probe = image_probe(gaussians(0.0), MEANS[0])
    missed = torch.stack([probe.starting_noise(draw)[0] for draw in range(8)]).mean(dim=0)
    pixels = ((MEANS[0].float() / 2 + 0.5).clamp(0, 1) * 255).round().byte().numpy()
    expected = -float(missed.square().sum()) / len(zlib.compress(pixels.tobytes(), 9))
    assert ask("rectified-flow-mia", probe)[0] == pytest.approx([expected])


@pytest.mark.parametrize("name", ["sima", "pian", "pfami", "rectified-flow-mia"])
def test_a_training_image_scores_higher_than_one_between_two(name):
    """The model knows two points, all but exactly; halfway between them it knows nothing."""
    model = with_pictures(mixture(means=torch.stack([MEANS[0], MEANS[1], MEANS[1]]), stds=[0.01] * 3))
    between = 0.51 * MEANS[0] + 0.49 * MEANS[1]
    images = torch.stack([MEANS[0], between]).view(2, *SHAPE)
    for seed in range(3):
        (member, other), _ = ask(name, make_probe(model, items(["broad", "broad"], images), seed=seed))
        assert other < member


# What they cannot score


@pytest.mark.parametrize("name", NAMES)
def test_membership_needs_images(name):
    assert detector_classes()[name].info.task == "image"
    with pytest.raises(NotApplicableError, match="not images"):
        ask(name, make_probe(with_pictures(mixture()), items(["tight"])))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sima@t=1000", "ends at timestep 999, before 1000"),
        ("pian@t=1000", "ends at timestep 999, before 1000"),
        ("clid@t=995", "985 to 1005 do not lie in the schedule, 0 to 999"),
        ("clid@t=5", "-5 to 15 do not lie in the schedule"),
        ("pfami@stride=200", "times 0 to 1800 leave the schedule, 0 to 999"),
        ("pfami@crop=0.01", "leaves no pixel of images of 8 x 8"),
    ],
)
def test_what_leaves_the_schedule_or_the_image(of_mixture, text, reason):
    with pytest.raises(NotApplicableError, match=reason):
        ask(text, of_mixture.probe())


def test_samples_that_are_no_pictures():
    probe = make_probe(mixture((128,)), items(["tight"], random_images(1, (128,))))
    with pytest.raises(NotApplicableError, match="no images: no middle"):
        ask("pfami", probe)
    with pytest.raises(NotApplicableError, match="does not generate images"):
        ask("rectified-flow-mia", probe)

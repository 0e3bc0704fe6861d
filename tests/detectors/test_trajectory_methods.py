"""Trajectory and membership methods against a second implementation, their direction, and mistakes they do not make."""

import statistics

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.detectors.methods.jain2025_basin import _first_local_minimum
from memdet.errors import NotApplicableError
from memdet.models import load_model
from memdet.probing import Items
from tests.helpers.one_item import (
    EQUAL_STDS,
    MEANS,
    NEAR_MEANS,
    SHAPE,
    fitted_weights,
    items,
    mixture,
    mixture_world,
    network_world,
    random_images,
)
from tests.helpers.problems import make_probe


def ask(text, probe):
    with probe.charge():
        return make_detector(text, detector_classes()).score(probe).double().tolist()


def asthana_by_hand(world, seed, noise):
    dev = [one.asthana_terms() for one in world.singly("dev", seed, noise)]
    weights = fitted_weights(dev, world.dev.labels)
    return [float(weights @ one.asthana_terms()) for one in world.singly("test", seed, noise)]


def broken_memories_by_hand(world, seed, noise, first=None):
    singles = zip(world.singly("dev", seed, noise), world.dev.labels, strict=True)
    reference = list(zip(*[one.lengths(first) for one, label in singles if label == 0], strict=True))
    return [
        max(
            abs(length - statistics.fmean(others)) / statistics.stdev(others)
            for length, others in zip(one.lengths(first), reference, strict=True)
        )
        for one in world.singly("test", seed, noise)
    ]


def first_local_minimum(curve):
    inner = [i for i in range(1, len(curve) - 1) if curve[i - 1] > curve[i] < curve[i + 1]]
    return inner[0] if inner else len(curve)


def each(method):
    return lambda world, seed, noise: [method(one) for one in world.singly("test", seed, noise)]


BY_HAND = {
    "asthana2026@weights=dev": asthana_by_hand,
    "asthana2026": each(lambda one: one.asthana_terms()[0] + 2 * one.asthana_terms()[1]),
    "dsm": each(lambda one: one.dsm(1)),
    "dsm@k=0": each(lambda one: one.dsm(0)),
    "dsm@of=gap": each(lambda one: one.dsm_of_gap(1)),
    "dsm@k=0,of=gap": each(lambda one: one.dsm_of_gap(0)),
    "webster2023": each(lambda one: one.webster()),
    "broken-memories": broken_memories_by_hand,
    "broken-memories@first=3": lambda world, seed, noise: broken_memories_by_hand(world, seed, noise, 3),
    "score-difference-map": each(lambda one: one.score_difference()),
    "condition-jacobian": each(lambda one: one.condition_jacobian()),
    "condition-jacobian@t=700": each(lambda one: one.condition_jacobian(700)),
    "jain2025": each(lambda one: max(one.curve(0.0))),
    "jain2025@guidance=1": each(lambda one: max(one.curve(1.0))),
    "jain2025@statistic=transition": each(lambda one: first_local_minimum(one.curve(0.0))),
    "nemo2024@draws=3": each(lambda one: one.nemo(3)),
    "nemo2024@draws=3,step=1": each(lambda one: one.nemo(3, 1)),
    "p-laplace@directions=5": each(lambda one: one.p_laplace(5, 1.0, 10)),
    "p-laplace@directions=4,radius=0.2,t=700": each(lambda one: one.p_laplace(4, 0.2, 700)),
}
CALIBRATED = {"asthana2026@weights=dev", "broken-memories", "broken-memories@first=3"}
IMAGES_BY_HAND = {
    "loss-threshold": each(lambda one: one.loss(200)),
    "loss-threshold@t=640": each(lambda one: one.loss(640)),
    "secmi": each(lambda one: one.secmi(100, 10)),
    "secmi@t=50,stride=20": each(lambda one: one.secmi(50, 20)),
    "pia": each(lambda one: one.pia(200)),
    "pia@t=777": each(lambda one: one.pia(777)),
    "p-laplace@directions=3,t=200": each(lambda one: one.p_laplace(3, 1.0, 200)),
}


@pytest.fixture(scope="module")
def prompts_of_mixture():
    return mixture_world()


@pytest.fixture(scope="module")
def images_of_mixture():
    return mixture_world(images=True)


@pytest.fixture(scope="module")
def prompts_of_network():
    return network_world("tiny-sd-a-verbatim", steps=5)


@pytest.fixture(scope="module")
def images_of_network():
    return network_world("fashion-pixel-generated", steps=50)


@pytest.mark.slow
@pytest.mark.parametrize("text", BY_HAND)
def test_prompts_of_a_mixture(prompts_of_mixture, text):
    world = prompts_of_mixture
    found = ask(text, world.probe(seed=4, noise="per-item"))
    assert found == pytest.approx(BY_HAND[text](world, 4, "per-item"), rel=1e-4)


@pytest.mark.parametrize("text", [text for text in BY_HAND if text not in CALIBRATED])
def test_prompts_of_a_mixture_under_shared_noise(prompts_of_mixture, text):
    world = prompts_of_mixture
    assert ask(text, world.probe(seed=1)) == pytest.approx(BY_HAND[text](world, 1, "shared"), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("text", BY_HAND)
def test_prompts_of_a_network(prompts_of_network, text):
    world = prompts_of_network
    found = ask(text, world.probe(seed=2))
    assert found == pytest.approx(BY_HAND[text](world, 2, "shared"), rel=1e-4)


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("text", IMAGES_BY_HAND)
def test_images_of_a_mixture(images_of_mixture, text, noise):
    world = images_of_mixture
    found = ask(text, world.probe(seed=3, noise=noise))
    assert found == pytest.approx(IMAGES_BY_HAND[text](world, 3, noise), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("text", IMAGES_BY_HAND)
def test_images_of_a_network(images_of_network, text):
    world = images_of_network
    found = ask(text, world.probe(seed=1))
    assert found == pytest.approx(IMAGES_BY_HAND[text](world, 1, "shared"), rel=1e-4)


# Direction


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize(
    "text",
    [
        "asthana2026",
        "webster2023",
        "condition-jacobian",
        "jain2025",
        "p-laplace@directions=8",
        "score-difference-map@t=981",  # later on the null branch of a mixture sees the same peak
    ],
)
def test_a_condition_that_asks_for_one_point_scores_higher(text, noise):
    for seed in range(3):
        tight, broad = ask(text, make_probe(mixture(), items(["tight", "broad"]), seed=seed, noise=noise))
        assert tight > broad


@pytest.mark.slow
@pytest.mark.parametrize("text", ["asthana2026@weights=dev", "broken-memories"])
def test_calibrated_methods_score_it_higher(prompts_of_mixture, text):
    dev, test = prompts_of_mixture.dev, prompts_of_mixture.test
    for seed in range(3):
        one, broad, two = ask(text, make_probe(mixture(), test, seed=seed, noise="per-item", dev=dev))
        assert min(one, two) > broad


def test_differences_towards_one_image_are_alike():
    """Of a point ``e_c - x_T`` is its image and a little noise; of a centred Gaussian it is the noise."""
    means = torch.stack([0 * MEANS[0], 0 * MEANS[0], MEANS[2]])
    weights = {"null": [1.0, 0.0, 0.0], "broad": [0.0, 1.0, 0.0], "tight": [0.0, 0.0, 1.0]}
    model = mixture(means=means, stds=[0.9, 0.2, 0.0], weights=weights)
    tight, broad = ask("nemo2024", make_probe(model, items(["tight", "broad"])))
    assert tight > 0.9
    assert broad < 0.5


@pytest.mark.parametrize("text", ["loss-threshold", "secmi", "pia"])
def test_a_training_image_scores_higher_than_one_between_two(text):
    """The model knows two points; halfway between them each step there and back loses its way."""
    model = mixture(means=torch.stack([MEANS[0], MEANS[1], MEANS[1]]), stds=[0.0] * 3)
    between = 0.51 * MEANS[0] + 0.49 * MEANS[1]
    images = torch.stack([MEANS[0], between]).view(2, *SHAPE)
    for seed in range(3):
        member, other = ask(text, make_probe(model, items(["broad", "broad"], images), seed=seed))
        assert other < member <= 0


# Mistakes that ours do not have

SEEDED = ["asthana2026", "dsm", "webster2023", "condition-jacobian", "jain2025", "nemo2024@draws=3"]


@pytest.mark.parametrize("text", [*SEEDED, "p-laplace@directions=8", "loss-threshold"])
def test_noise_of_its_own_gives_each_item_its_own_score(text):
    images = random_images(1, SHAPE).expand(2, *SHAPE) if text == "loss-threshold" else None
    twins = items(["tight", "tight"], images)
    one, other = ask(text, make_probe(mixture(), twins, noise="per-item"))
    assert one != pytest.approx(other, rel=1e-6)
    one, other = ask(text, make_probe(mixture(), twins))
    assert one == pytest.approx(other, rel=1e-12)
    assert ask(text, make_probe(mixture(), twins, seed=1))[0] != pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("text", ["secmi", "pia"])
def test_deterministic_membership_draws_no_noise(images_of_mixture, text):
    assert not detector_classes()[text].info.seeded
    first = ask(text, images_of_mixture.probe())
    assert ask(text, images_of_mixture.probe(seed=7, noise="per-item")) == first


VISITS = {
    "asthana2026": [(981, "cond"), (981, "null"), (41, "cond"), (41, "null")],
    "webster2023": [(999, "cond"), (999, "null")],
    "nemo2024@draws=2": [(981, "cond"), (981, "cond")],
    "nemo2024@draws=2,step=1": [(961, "cond"), (961, "cond")],
    "dsm@k=0": [(981, "cond"), (981, "null"), (961, "cond")],
    "dsm": [(981, "cond"), (981, "null"), (961, "cond"), (961, "null"), (941, "cond")],
    "jain2025": [(t, branch) for t in range(981, 0, -20) for branch in ("cond", "null")],
    "jain2025@guidance=1": [(t, branch) for t in range(981, 0, -20) for branch in ("cond", "null")],
    "p-laplace@directions=2": [(t, b) for t in range(981, 0, -20) for b in ("cond", "null")] + [(10, "cond")] * 2,
    "loss-threshold": [(201, "cond")],
    "secmi": [(t, "cond") for t in range(0, 120, 10)],
    "pia": [(0, "cond"), (200, "cond")],
}


@pytest.mark.parametrize("text", VISITS)
def test_the_network_is_asked_where_the_formula_says_and_nowhere_else(text):
    model = mixture()
    image = text.split("@")[0] in {"loss-threshold", "secmi", "pia"}
    probe = make_probe(model, items(["tight"], random_images(1, SHAPE) if image else None), noise="per-item")
    ask(text, probe)
    assert sorted((t, branch) for t, branch, _ in model.calls) == sorted(VISITS[text])


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([3.0, 2.0, 2.5, 1.0, 4.0], 1),  # the first local minimum, not the smallest value
        ([1.0, 2.0, 1.5, 3.0, 0.5], 2),  # neither end is one
        ([5.0, 4.0, 3.0, 2.0, 1.0], 5),  # never left
        ([1.0, 2.0, 3.0, 4.0, 5.0], 5),
        ([3.0, 2.0, 2.0, 3.0, 4.0], 5),  # a plateau is below neither neighbour
    ],
)
def test_the_transition_is_the_first_local_minimum(curve, expected):
    assert _first_local_minimum(torch.tensor([curve])).tolist() == [expected]
    assert first_local_minimum(curve) == expected


# What they cannot score


@pytest.mark.parametrize("text", ["loss-threshold", "secmi", "pia"])
def test_membership_needs_images(text):
    assert detector_classes()[text].info.task == "image"
    with pytest.raises(NotApplicableError, match="not images"):
        ask(text, make_probe(mixture(), items(["tight"])))


@pytest.mark.parametrize(
    "text",
    ["asthana2026@weights=dev", "asthana2026", "dsm", "webster2023", "broken-memories", "jain2025", "nemo2024"],
)
def test_trajectories_from_noise_refuse_images(images_of_mixture, text):
    dev = items(["broad"] * 3, random_images(3, SHAPE), labels=[0, 0, 1])
    with pytest.raises(NotApplicableError, match="items are images"):
        ask(text, images_of_mixture.probe(dev=dev))


@pytest.mark.parametrize(("shape", "reason"), [((128,), "shape"), ((1, 2, 64), "2 x 64")])
def test_ssim_needs_pictures(shape, reason):
    with pytest.raises(NotApplicableError, match=reason):
        ask("nemo2024", make_probe(mixture(shape), items(["tight"])))


def test_ssim_windows_shrink_to_the_picture():
    for shape in ((2, 4, 16), (8, 4, 4), (2, 8, 8)):
        assert -1 <= ask("nemo2024@draws=2", make_probe(mixture(shape), items(["tight"])))[0] <= 1


@pytest.mark.parametrize("text", ["asthana2026", "condition-jacobian", "jain2025", "score-difference-map"])
def test_the_null_condition_is_no_copy(text):
    (empty,) = ask(text, make_probe(mixture(), items(["null"])))
    assert empty == 0


def test_vectors_have_one_pixel_and_one_channel_has_signs():
    for shape in ((128,), (1, 8, 16)):
        probe = make_probe(mixture(shape, NEAR_MEANS, EQUAL_STDS), items(["tight"]))
        x, t = probe.noise, probe.timesteps[-3]
        null, difference = probe.eps(x, t, "null")[0], probe.difference(x, t)[0]
        cosine = (null * difference).sum() / null.norm() / difference.norm()
        if len(shape) == 3:
            cosine = (null * difference).sign().mean()
        expected = probe.difference(x, probe.timesteps[0]).norm() + 2 * cosine
        assert ask("asthana2026", probe) == pytest.approx([float(expected)])


@pytest.mark.parametrize(
    ("text", "reason"), [("secmi@t=995", "past timestep 999"), ("pia@t=1000", "ends at timestep 999")]
)
def test_timesteps_beyond_the_schedule(images_of_mixture, text, reason):
    with pytest.raises(NotApplicableError, match=reason):
        ask(text, images_of_mixture.probe())


@pytest.mark.parametrize(
    ("text", "steps"), [("dsm", 2), ("asthana2026", 2), ("broken-memories@first=3", 2), ("nemo2024@step=1", 1)]
)
def test_trajectories_that_are_too_short(text, steps):
    with pytest.raises(NotApplicableError, match="trajectory has"):
        ask(text, make_probe(mixture(), items(["tight"]), steps=steps, dev=items(["broad"] * 3)))


def test_class_numbers_have_no_derivative():
    model = load_model("fashion-pixel")
    with pytest.raises(NotApplicableError, match="class number"):
        ask("condition-jacobian", make_probe(model, Items(["a"], ["trouser"], ["a"], [0], False)))

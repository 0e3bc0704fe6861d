"""Trajectory and membership methods: cost, independence of batch and order, and constants from the dev split alone."""

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.probing import Items, SeedMemory
from tests.helpers.one_item import SHAPE, items, mixture, random_images
from tests.helpers.problems import make_probe

N = 8
# Forwards of an item's own, forwards that all items share where they share the noise, and JVPs.
COSTS = {
    "asthana2026": (2, 2, 0),
    "asthana2026@weights=dev": (2, 2, 0),
    "dsm": (4, 1, 0),
    "dsm@k=0": (2, 1, 0),
    "dsm@of=gap": (5, 1, 0),
    "webster2023": (1, 1, 0),
    "broken-memories": (99, 1, 0),
    "broken-memories@first=3": (5, 1, 0),
    "score-difference-map": (99, 1, 0),
    "score-difference-map@t=781": (10 + 9 + 2, 1, 0),
    "condition-jacobian": (0, 0, 1),
    "condition-jacobian@t=781": (10, 0, 1),  # ten unguided steps lead there
    "jain2025": (50, 50, 0),
    "jain2025@guidance=1": (99, 1, 0),
    "jain2025@statistic=transition": (50, 50, 0),
    "nemo2024": (10, 0, 0),
    "nemo2024@draws=3": (3, 0, 0),
    "nemo2024@step=1": (10, 0, 0),
    "p-laplace@directions=10": (99 + 10, 1, 0),
    "p-laplace@directions=3,t=781": (99 + 3, 1, 0),
}
IMAGE_COSTS = {
    "loss-threshold": (1, 0, 0),
    "secmi": (12, 0, 0),
    "secmi@t=50,stride=20": (5, 0, 0),
    "pia": (2, 0, 0),
    "p-laplace@directions=10": (10, 0, 0),
    "condition-jacobian": (0, 0, 1),
}
CALIBRATED = ["asthana2026@weights=dev", "broken-memories", "broken-memories@first=3"]
CASES = [(text, False) for text in COSTS] + [(text, True) for text in IMAGE_COSTS]
IMAGES = random_images(N, SHAPE)


def some_items(images):
    return items(["tight", "broad"] * (N // 2), IMAGES if images else None)


def some_dev(conditions=("broad", "tight") * 3, labels=(0, 1) * 3):
    names = [f"d{index}" for index in range(len(conditions))]
    return Items(names, list(conditions), names, list(labels), False)


MIXED = some_dev(labels=[0, 0, 0, 1, 1, 1])  # both conditions under each label


def ask(text, probe):
    with probe.charge() as cost:
        scores = make_detector(text, detector_classes()).score(probe)
    return scores, cost


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize(("text", "images"), CASES)
def test_cost(text, images, noise):
    model = mixture()
    probe = make_probe(model, some_items(images), noise=noise, check=False, dev=MIXED)
    _, cost = ask(text, probe)
    own, shared, jvps = (IMAGE_COSTS if images else COSTS)[text]
    assert cost.forwards == pytest.approx(own + shared * (1 / N if noise == "shared" else 1))
    assert (cost.jvps, cost.vjps) == (jvps, 0)
    if text not in CALIBRATED:  # nobody pays for the dev items
        assert model.rows == pytest.approx(N * (cost.forwards + cost.jvps))
    assert ask(text, probe)[1].forwards == pytest.approx(cost.forwards)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize(("text", "images"), CASES)
def test_order_and_batches_do_not_matter(text, images, noise):
    """An item alone, three items and four."""
    whole = some_items(images)
    expected = ask(text, make_probe(mixture(), whole, steps=10, noise=noise, dev=MIXED))[0].double()
    assert len(set(expected.tolist())) > 1 or "transition" in text or text == "score-difference-map"
    memory, model = SeedMemory(), mixture()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1)).tolist()
    for rows in (order[:1], order[1:4], order[4:]):
        part = Items(
            [whole.ids[i] for i in rows],
            [whole.conditions[i] for i in rows],
            [whole.clusters[i] for i in rows],
            [whole.labels[i] for i in rows],
            False,
            IMAGES[rows] if images else None,
        )
        probe = make_probe(model, part, steps=10, noise=noise, dev=MIXED, memory=memory, n_items=N)
        assert ask(text, probe)[0].double().tolist() == pytest.approx(expected[rows].tolist(), rel=1e-6)


# Constants from the dev split


@pytest.mark.slow
@pytest.mark.parametrize("text", CALIBRATED)
def test_other_test_items_and_test_labels_change_nothing(text):
    def first(others, labels):
        conditions = ["tight", *others]
        names = [f"i{index}" for index in range(len(conditions))]
        batch = Items(names, conditions, names, labels, False)
        return ask(text, make_probe(mixture(), batch, noise="per-item", dev=some_dev()))[0][0].item()

    alone = first([], [1])
    assert first(["broad"] * 4, [1, 0, 0, 0, 0]) == pytest.approx(alone, rel=1e-9)
    assert first(["tight"] * 4, [0, 1, 1, 1, 1]) == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize("text", CALIBRATED)
def test_dev_items_change_the_constants(text):
    def first(**options):
        return ask(text, make_probe(mixture(), items(["tight"]), noise="per-item", dev=some_dev(**options)))[0].item()

    assert first() != pytest.approx(first(labels=[1, 0, 1, 0, 0, 0]), rel=1e-3)


def test_memorized_dev_items_are_no_reference():
    dev = some_dev(["broad"] * 3, [0] * 3)
    more = some_dev(["broad"] * 3 + ["tight"] * 3, [0] * 3 + [1] * 3)
    one, other = (
        ask("broken-memories", make_probe(mixture(), items(["tight"]), noise="per-item", dev=d))[0] for d in (dev, more)
    )
    assert one.item() == pytest.approx(other.item(), rel=1e-9)


@pytest.mark.parametrize("text", CALIBRATED)
def test_no_dev_split(text):
    with pytest.raises(NotApplicableError, match="no dev split"):
        ask(text, make_probe(mixture(), items(["tight"])))


@pytest.mark.parametrize(
    ("text", "dev", "reason"),
    [
        ("asthana2026@weights=dev", some_dev(labels=[0] * 6), "one label only"),
        ("broken-memories", some_dev(labels=[1] * 6), "two dev items that are not memorized, there are 0"),
        ("broken-memories", some_dev(labels=[0] + [1] * 5), "there are 1"),
    ],
)
def test_dev_splits_that_will_not_do(text, dev, reason):
    with pytest.raises(NotApplicableError, match=reason):
        ask(text, make_probe(mixture(), items(["tight"]), noise="per-item", dev=dev))


def test_a_reference_that_does_not_vary():
    with pytest.raises(NotApplicableError, match="do not differ"):
        ask("broken-memories", make_probe(mixture(), items(["tight"]), dev=some_dev()))


def test_the_published_weights_are_the_default():
    fitted = make_detector("asthana2026@weights=dev", detector_classes())
    assert fitted.label == "asthana2026@weights=dev"
    assert make_detector("asthana2026", detector_classes()).weights == "published"
    ask("asthana2026", make_probe(mixture(), items(["tight"])))  # without a dev split


def test_a_term_that_does_not_vary_gets_no_weight():
    """At the late timestep of this mixture one component rules all others out: D and its cosine are zero."""
    test = items(["tight", "broad"])
    ours, _ = ask("asthana2026@weights=dev", make_probe(mixture(), test, dev=some_dev()))
    norms, _ = ask("wen2024", make_probe(mixture(), test))
    assert ours[0] > 0
    assert (ours / norms).tolist() == pytest.approx([float(ours[0] / norms[0])] * 2)
    nothing, _ = ask("asthana2026@weights=dev", make_probe(mixture(), test, dev=some_dev(["broad"] * 4, [0, 1, 0, 1])))
    assert nothing.tolist() == [0.0, 0.0]


def test_the_fit_is_repeatable():
    first, second = (
        ask(
            "asthana2026@weights=dev",
            make_probe(mixture(), items(["tight", "broad"]), noise="per-item", dev=some_dev()),
        )[0]
        for _ in range(2)
    )
    assert torch.equal(first, second)

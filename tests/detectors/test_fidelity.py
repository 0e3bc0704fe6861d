"""What detectors say of their papers."""

import re
from pathlib import Path

import pytest

from memdet.detectors import DetectorInfo, Headline, detector_classes, make_detector
from memdet.detectors.cost import cost_of
from memdet.errors import UserError
from memdet.samplesets import load_suite

CLASSES = detector_classes()
METHODS = {name: cls.info for name, cls in CLASSES.items() if not cls.info.is_control}
KEYS = re.findall(r"^@\w+\{([^,]+),", Path(__file__).parents[2].joinpath("docs/bibliography.bib").read_text(), re.M)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is_to_its_paper(name):
    info = METHODS[name]
    assert info.fidelity != "undeclared"
    assert (info.fidelity == "ours") == (info.paper is None)
    assert not info.deviation or info.fidelity in {"deviates", "derived"}
    assert info.paper is None or info.paper in KEYS


@pytest.mark.parametrize("name", [name for name, info in METHODS.items() if info.fidelity in {"faithful", "deviates"}])
def test_a_published_method_has_a_headline_that_can_be_run(name):
    headline = METHODS[name].headline
    assert headline is not None
    assert headline.source
    assert make_detector(headline.label(name), CLASSES).info.name == name


def test_no_key_stands_twice():
    assert len(KEYS) == len(set(KEYS)) > 20


def test_the_headline_suite_holds_every_headline():
    """Of methods for prompts that see no training data, and that cost less than ten guided trajectories."""
    suite = {make_detector(text, CLASSES).label for text in load_suite("headline").detectors}
    wanted = {
        make_detector(info.headline.label(name), CLASSES).label
        for name, info in METHODS.items()
        if info.headline is not None and info.task != "image" and info.access != "training-data"
    }
    dear = {
        label for label in wanted if sum(cost_of(make_detector(label, CLASSES), range(981, 0, -20)).values()) > 1_000
    }
    assert dear == {"invmm@steps=2000", "p-laplace"}
    assert wanted - suite == dear


def test_a_deviation_must_be_described():
    with pytest.raises(UserError, match="mine.*deviates from its paper: say how and why"):
        DetectorInfo(name="mine", title="x", access="score", cost="1 F", fidelity="deviates")
    with pytest.raises(UserError, match="fidelity is 'good'; known: faithful"):
        DetectorInfo(name="mine", title="x", access="score", cost="1 F", fidelity="good")


def test_a_headline_without_options_is_the_name():
    assert Headline(seeds=4).label("wen2024") == "wen2024"

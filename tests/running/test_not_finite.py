"""A number that could not be computed is no score: one item whose condition is NaN, under every detector."""

import pytest
import torch

from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detector
from memdet.localization import localization
from memdet.models import Condition, WrappedModel
from memdet.probing import Items
from memdet.running.scoring import score_items
from memdet.samplesets import load_sample_set
from tests.helpers.cheap import cheap
from tests.helpers.one_item import mixture
from tests.helpers.problems import make_probe

TEXTS = ["tight", "failed", "broad", "tight"]
BAD = 1
NAMES = [name for name, cls in detector_classes().items() if not cls.info.is_control]


class Failing(WrappedModel):
    """Encodes one condition as NaN, as a text encoder does that overflows."""

    def embed(self, conditions):
        found = self.inner.embed(["tight" if text == TEXTS[BAD] else text for text in conditions]).tensor.clone()
        found[[index for index, text in enumerate(conditions) if text == TEXTS[BAD]]] = torch.nan
        return Condition.of(found)


@pytest.fixture(scope="module")
def model():
    return Failing(mixture(shape=(2, 8, 8)))


def items(texts):
    names = [f"i{index}" for index in range(len(texts))]
    return Items(names, list(texts), names, [index % 2 for index in range(len(texts))], False)


def scored(model, detector, dev):
    test = items(TEXTS)
    return score_items(model, test, detector, make_probe(model, test, steps=4, dev=items(dev), check=False))


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_item_has_no_score_and_takes_none_from_the_others(model, name):
    sound = [text for text in TEXTS if text != TEXTS[BAD]]
    found = scored(model, make_detector(cheap(name), detector_classes()), dev=sound * 2)
    if set(found.statuses) == {"not-applicable"}:
        return
    assert found.statuses == ["nonfinite" if index == BAD else "ok" for index in range(len(TEXTS))], found.message
    assert "1 scores are not finite" in found.message


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_constants_from_failed_dev_items_are_no_constants(model, name):
    """Either a detector takes none, and its scores are those of sound dev items, or it has no score."""
    sound = [text for text in TEXTS if text != TEXTS[BAD]]
    detector = make_detector(cheap(name), detector_classes())
    good, bad = scored(model, detector, dev=sound * 2), scored(model, detector, dev=TEXTS * 2)
    if "ok" in bad.statuses:
        assert bad.statuses == good.statuses
        torch.testing.assert_close(torch.tensor(bad.scores), torch.tensor(good.scores), equal_nan=True)


class Fitted(Detector):
    """Takes a constant from the dev items that hides what is not finite."""

    info = DetectorInfo(name="fitted", title="", access="score", cost="F")

    def score(self, probe):
        x, t = probe.at(None)

        def fit(dev):
            return float(dev.score(*dev.at(None), "cond").double().nan_to_num(0).norm())

        return probe.score(x, t, "cond").double().flatten(1).norm(dim=1) + probe.calibrate("fitted", fit)


def test_a_fit_that_hides_them_is_refused(model):
    found = scored(model, Fitted(), dev=TEXTS)
    assert set(found.statuses) == {"error"}
    assert "of the dev items is not finite, and no constants can be taken from it" in found.message


class HalfMarked(Detector):
    """Gives maps of which one pixel is not finite."""

    info = DetectorInfo(name="half-marked", title="", access="score", cost="none")

    def score(self, probe):
        raise NotImplementedError

    def map(self, probe):
        maps = torch.ones(len(probe), 8, 8)
        maps[0, 0, 0] = torch.nan
        return maps


@pytest.mark.slow
def test_a_map_that_is_not_finite_is_compared_with_nothing():
    _, row = localization.localize(load_sample_set("tiny-sd-a-template"), [HalfMarked()], seeds=1)
    assert (row["status"], row["pixel_auroc"], row["iou"]) == ("nonfinite", None, None)
    assert "maps are not finite" in row["message"]

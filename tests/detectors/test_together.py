"""All detectors at once: what they share is computed once, and nothing else changes."""

from __future__ import annotations

import ast

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError, UserError
from memdet.models import load_model
from memdet.probing.from_sample_set import items_of
from memdet.samplesets import load_sample_set
from tests.helpers.cheap import cheap
from tests.helpers.problems import make_probe
from tests.helpers.source import modules


class Counted:
    """Rows that a model's network has seen."""

    def __init__(self, model):
        self.rows, self._predict = 0, model.predict
        model.predict = self

    def __call__(self, x, t, embedding):
        self.rows += len(x)
        return self._predict(x, t, embedding)


@pytest.mark.slow
def test_together_they_make_at_most_half_of_the_forwards_of_one_by_one(training_images_read_once):
    sample_set = load_sample_set("tiny-sd-a-verbatim")
    model = load_model("tiny-sd-a", dtype=torch.float64)
    table = sample_set.items
    tested, dev = (
        table[table["split"] == split].groupby("label").head(count) for split, count in (("test", 1), ("dev", 2))
    )
    items, others = (items_of(part, sample_set, model) for part in (tested, dev))
    counted = Counted(model)

    def probe():
        return make_probe(model, items, steps=20, guidance=2.0, dev=others, check=False)

    def score(detector, on):
        with on.charge(supervised=detector.info.supervised) as cost:
            scores = torch.as_tensor(detector.score(on)).double()
        return scores, (cost.forwards, cost.jvps, cost.vjps)

    classes, alone = detector_classes(), {}
    for name in classes:
        try:
            alone[name] = score(make_detector(cheap(name), classes), probe())
        except NotApplicableError:
            continue
    assert len(alone) >= 28
    one_by_one, counted.rows = counted.rows, 0
    shared = probe()
    for name, (scores, cost) in alone.items():
        found, paid = score(make_detector(cheap(name), classes), shared)
        torch.testing.assert_close(found, scores, rtol=1e-6, atol=1e-9, msg=name)
        assert paid == pytest.approx(cost), name
    assert counted.rows <= one_by_one / 2, (counted.rows, one_by_one)


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.slow
def test_a_detector_is_one_file_that_no_other_file_names():
    """So that its row goes with its file, and nothing else does."""
    rooms = ("memdet.detectors.methods.", "memdet.detectors.controls.")
    detectors = {name for name in modules("memdet") if name.startswith(rooms)}
    assert len(detectors) > 30
    for name, path in modules("memdet", "studies").items():
        assert not detectors.intersection(imported(path)), name


def test_a_time_is_a_timestep():
    """A share of the trajectory, as some published code takes it, would be cast to timestep 0."""
    classes = detector_classes()
    timed = [name for name, cls in classes.items() if "t" in cls.option_types()]
    assert len(timed) >= 10
    for name in timed:
        with pytest.raises(UserError, match="t='0.25'"):
            make_detector(f"{name}@t=0.25", classes)

"""The picture and the page of AUROC against the measured extraction rate."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from memdet.metrics import Interval, PsychometricCurve
from memdet.results.manifest import DetectorEntry
from memdet.tables.by_dose import Dose, DoseResponse, dose_responses
from studies.psychometric.figure import SHOWN, draw_psychometric, fingerprint, shown_of
from studies.psychometric.page import FIGURE, render_psychometric_page

ROOT = Path(__file__).resolve().parents[2]
RUN = "results/controlled/reference"
MEANS = {"copies-32": 0.0, "copies-64": 0.02, "copies-96": 0.3, "verbatim": 1.0}


def make(label, crossing, *, sample_set="made-dose", access="score", rates=(0.0, 0.25, 0.5, 0.75, 1.0)):
    entry = DetectorEntry(label=label, version=1, access=access, seeded=True)
    auroc = np.linspace(0.5, 0.9, len(rates))
    curve = PsychometricCurve(np.array(rates), np.full(len(rates), 20), auroc, Interval(*crossing))
    doses = [Dose(name, 20, mean, Interval(0.5 + mean / 3, 0.4, 0.95)) for name, mean in MEANS.items()]
    return DoseResponse("a/run", sample_set, 1, entry, doses, curve, 120, 8, 8)


EARLY = (0.2, 0.0, 0.25)
LATE = (0.6, 0.5, 0.75)
NEVER = (np.inf, 0.75, np.inf)
ALREADY = (-np.inf, -np.inf, 0.25)


def test_a_panel_a_detector_and_no_control():
    found = [make(SHOWN[1], EARLY), make("other", LATE), make(SHOWN[0], NEVER), make("random", NEVER, access="none")]
    assert list(shown_of(found)) == [SHOWN[0], SHOWN[1]]
    assert list(shown_of([make("other", LATE), make("random", NEVER, access="none")])) == ["other"]


def test_figure_draws_curves_doses_and_crossings():
    found = [make(SHOWN[0], EARLY), make(SHOWN[0], NEVER, sample_set="twin-dose"), make(SHOWN[1], ALREADY)]
    figure = draw_psychometric(found)
    first, second = figure.axes[:2]
    (curve,) = (line for line in first.lines if line.get_label() == "made-dose")
    assert (curve.get_xydata() == np.column_stack([found[0].curve.rates, found[0].curve.auroc])).all()
    diamonds = [line.get_xdata()[0] for line in first.lines if line.get_marker() == "D"]
    assert diamonds == [0.2]
    heights = {line.get_ydata()[0] for line in second.lines if line.get_marker() == "o"}
    assert heights == {dose.auroc.value for dose in found[2].doses}
    texts = [text.get_text() for text in first.texts]
    assert {"made  .200 [.000, .250]", "twin  never [> .750]", "32", "96", "verbatim"} <= set(texts)
    assert "made  < .250" in [text.get_text() for text in second.texts]


def test_doses_of_one_rate_stand_beside_each_other_in_their_order():
    axis = draw_psychometric([make(SHOWN[0], EARLY)]).axes[0]
    places = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o"]
    assert (np.diff(places) > 0.06).all()
    assert np.mean(places[:2]) == pytest.approx(0.01)
    assert places[2:] == pytest.approx([0.3, 1.0])


def test_page_says_what_holds_and_no_more():
    found = [make("one", EARLY), make("two", LATE), make("three", NEVER), make("random", NEVER, access="none")]
    page = render_psychometric_page(found, "runs/mine")
    assert "from the run `runs/mine`" in " ".join(page.split())
    assert "1 of 4 doses has a mean rate between .1 and .9." in page
    assert "lie no further apart than .250" in page
    assert "Of 3 detectors 2 reach .75 within the rates that were measured, 0 are there already" in page
    assert "2 of those that reach it have an interval that is at most .25 wide." in page
    assert "that of `one`, .200 [.000, .250]; it ends before those of 2 other detectors begin." in page
    assert r"| random \* | never [> .750] |" in page
    blind = render_psychometric_page([make("one", (0.5, 0.0, 1.0), rates=(0.0, 1.0)), make("two", EARLY)], "runs/mine")
    assert "No caption at all has a rate between .000 and 1.000" in blind
    assert "do not show that one detector reaches .75 at a lower rate than another" in blind


@pytest.fixture(scope="module")
def committed():
    return dose_responses([ROOT / RUN])[0]


@pytest.mark.slow
def test_committed_page_and_figure_are_those_of_the_committed_run(committed):
    from PIL import Image

    again = "memdet reproduce psychometric"
    assert (ROOT / "docs" / "psychometric.md").read_text() == render_psychometric_page(committed, RUN), again
    with Image.open(ROOT / "docs" / "figures" / FIGURE) as image:
        assert image.info["Description"] == fingerprint(committed), again


@pytest.mark.slow
def test_no_name_of_the_committed_figure_lies_on_another(committed):
    figure = draw_psychometric(committed)
    edge = figure.bbox
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])], axis.get_label()
        assert all(edge.x0 <= box.x0 and box.x1 <= edge.x1 for box in boxes)

"""Figures of arXiv 2412.04140: measured on closed forms, judged by rules, drawn from stored numbers."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from memdet.errors import UserError
from memdet.metrics import auroc
from memdet.models import GaussianMixture, load_model
from memdet.samplesets import load_sample_set
from studies.seed_paper.figures import FIGURES, save_figures
from studies.seed_paper.measure import identities, measure_pixel, measure_tiny, pixel_numbers, tiny_numbers
from studies.seed_paper.page import PARTS, read_document, render_page, write_document
from studies.seed_paper.page_worlds import read_worlds
from studies.seed_paper.toy import measure_toy
from studies.seed_paper.verdicts import FAILS, HOLDS, MIXED, judge_gap, judge_identity, judge_pixel, judge_toy

DOCS = Path(__file__).resolve().parents[2] / "docs"
STORED = DOCS / "figures" / "seed-paper.json"


@pytest.fixture
def document():
    return read_document(STORED)


def test_identities_hold_in_the_mean_of_a_gaussian_and_not_item_by_item():
    """The covariance is diagonal: H = -diag(1 / v), s = -x / v, so both sides are sums of powers of 1 / v."""
    variances = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    x = variances.sqrt() * torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    jacobian = torch.diag(-1 / variances).expand(len(x), 3, 3)
    found = identities(jacobian, -x / variances)
    assert torch.allclose(found["trace"], torch.tensor(3.5, dtype=torch.float64))
    assert torch.allclose(found["cubic_trace"], torch.tensor(9.125, dtype=torch.float64))
    assert float(found["norm"].mean()) == pytest.approx(3.5, rel=0.01)
    assert float(found["product_norm"].mean()) == pytest.approx(9.125, rel=0.01)
    assert float(found["norm"].std()) > 1


def test_identities_take_the_symmetric_part():
    skew = torch.tensor([[[0.0, 3.0], [-3.0, 0.0]]], dtype=torch.float64)
    score = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    found = identities(skew - torch.eye(2, dtype=torch.float64), score)
    assert {key: float(value) for key, value in found.items()} == {
        "norm": 5.0,
        "trace": 2.0,
        "product_norm": 5.0,
        "cubic_trace": 2.0,
    }


def test_the_closed_form_has_no_error_against_itself():
    truth = load_model("mixture-2d")
    part = measure_toy(truth, truth, items=4, seed=0)
    numbers = part["numbers"]
    assert numbers["median_error"] == {"memorized": 0.0, "other": 0.0}
    assert sum(numbers["counts"].values()) == 80
    # On a path into the tight mode the density is N(., alpha^2 tau^2 + sigma^2) with tau = .02.
    alpha, sigma = truth.schedule.alpha(1), truth.schedule.sigma(1)
    expected = -(sigma**2) / (alpha**2 * 0.02**2 + sigma**2)
    assert numbers["last"]["learned"]["memorized"] == pytest.approx(expected, rel=1e-3)
    assert judge_toy(numbers).outcome == HOLDS


def test_items_of_a_closed_form_have_its_curvature():
    model = load_model("mixture-2d")
    part = measure_tiny(model, load_sample_set("mixture-2d"), items=3, seed=0)
    assert part["data"]["labels"] == [1, 1, 1, 0, 0, 0]
    for noise in ("per-item", "protocol"):
        for place in part["data"][noise]:
            alpha, sigma = model.schedule.alpha(place["t"]), model.schedule.sigma(place["t"])
            # One component under each condition: H = -I / m in two dimensions, in units of 1 / sigma^2.
            units = [sigma**2 / (alpha**2 * tau**2 + sigma**2) for tau in (0.02, 1.0) for _ in range(3)]
            assert place["trace"] == pytest.approx([2 * h for h in units], rel=1e-4)
            assert place["cubic_trace"] == pytest.approx([2 * h**3 for h in units], rel=1e-4)
            squares = [h**2 * norm for h, norm in zip(units, place["norm"], strict=True)]
            assert place["product_norm"] == pytest.approx(squares, rel=1e-3)
            if noise == "protocol":
                assert place["smallest"] == pytest.approx([-h for h in units], rel=1e-4)


def test_generations_of_a_closed_form_have_its_spectrum():
    stds = {"trouser": 0.02, "t-shirt": 1.0}
    model = GaussianMixture(
        "two classes",
        torch.tensor([[-2.0, 0.0, 0.0], [1.0, 0.0, 0.0]]),
        list(stds.values()),
        [0.5, 0.5],
        {"trouser": [1.0, 0.0], "t-shirt": [0.0, 1.0]},
        load_model("mixture-2d").schedule,
    )
    part = measure_pixel(model, items=25, seed=0)  # more than one batch
    assert [row["t"] for row in part["numbers"]] == [991, 1]
    for place, row in zip(part["data"]["places"], part["numbers"], strict=True):
        alpha, sigma = model.schedule.alpha(place["t"]), model.schedule.sigma(place["t"])
        for group, tau in zip(("memorized", "other"), stds.values(), strict=True):
            expected = -(sigma**2) / (alpha**2 * tau**2 + sigma**2)
            assert place["spectra"][group]["median"] == pytest.approx([expected] * 3, rel=1e-4)
            assert place["positive"][group] == [0] * 25
        assert row["positive"]["auroc"] == 0.5
        assert row["smallest"]["auroc"] == 1.0


def test_no_trajectory_in_a_mode_is_said(monkeypatch):
    monkeypatch.setattr("studies.seed_paper.toy.RADIUS", 0.0)
    truth = load_model("mixture-2d")
    with pytest.raises(UserError, match="none of 40 trajectories of mixture-2d ends in the tight mode: raise `items`"):
        measure_toy(truth, truth, items=2, seed=0)


def test_stored_numbers_follow_from_the_stored_values(document):
    pixel, tiny = (document["parts"][name] for name in ("fashion-pixel", "tiny-sd-a"))
    assert pixel["numbers"] == pixel_numbers(pixel["data"]["places"])
    found = tiny_numbers(tiny["data"])
    assert found == tiny["numbers"]
    place, row = tiny["data"]["protocol"][0], found["eigenvalues"][0]
    assert row["smallest"]["auroc"] == pytest.approx(
        auroc(-np.array(place["smallest"]), tiny["data"]["labels"]), rel=1e-4
    )


def test_verdict_on_the_toy_follows_the_areas(document):
    numbers = document["parts"]["toy-2d"]["numbers"]
    for learned, exact, outcome in ((0.95, 0.95, HOLDS), (0.5, 0.95, MIXED), (0.5, 0.5, FAILS), (None, None, FAILS)):
        changed = copy.deepcopy(numbers)
        changed["last"]["learned"]["auroc"], changed["last"]["exact"]["auroc"] = learned, exact
        assert judge_toy(changed).outcome == outcome


def test_verdict_on_the_spectra_follows_the_areas():
    def row(t, positive, smallest):
        half = {"memorized": 0, "other": 3}
        return {"t": t, "positive": half | {"auroc": positive}, "smallest": half | {"auroc": smallest}}

    positive, smallest = judge_pixel([row(991, 0.5, 0.95), row(1, 1.0, 0.95)])
    assert (positive.outcome, smallest.outcome) == (HOLDS, HOLDS)
    assert "opposite" not in smallest.reason
    positive, smallest = judge_pixel([row(991, 0.5, 0.5), row(1, 0.4, 0.05)])
    assert (positive.outcome, smallest.outcome) == (MIXED, FAILS)  # no positive ones, but no difference either
    assert smallest.reason.endswith("At t = 1 the order is the opposite one.")


@pytest.mark.parametrize(
    ("ratio", "rank", "outcome"),
    [(1.05, 0.8, HOLDS), (1.05, -0.8, MIXED), (0.5, 0.8, MIXED), (0.5, -0.8, FAILS), (1.5, None, FAILS)],
)
def test_verdict_on_an_identity(ratio, rank, outcome):
    rows = [{"t": 1, "trace": {"all": {"ratio": ratio, "rank_correlation": rank}}}]
    assert judge_identity(rows, "trace").outcome == outcome


@pytest.mark.parametrize(
    ("gain", "p", "outcome", "word"),
    [
        (0.1, 0.01, HOLDS, "better"),
        (0.1, 0.3, FAILS, "no significant difference"),
        (-0.1, 0.01, FAILS, "worse"),
        (0.1, None, FAILS, "no significant difference"),
    ],
)
def test_verdict_on_the_gap(gain, p, outcome, word):
    area = {"auroc": 0.8, "low": 0.7, "high": 0.9}
    verdict = judge_gap([{"t": 1, "smallest": area, "smallest_gap": area, "gain": gain, "p": p}])
    assert verdict.outcome == outcome
    assert f"({word}, p = " in verdict.reason


def test_the_committed_page_is_that_of_the_committed_numbers(document):
    assert set(document["parts"]) == set(PARTS)
    assert (DOCS / "seed-paper.md").read_text() == render_page(document, read_worlds(DOCS / "figures"))
    assert STORED.read_text() == write_document(document)
    assert {path.name for path in (DOCS / "figures").glob("seed-figure-*.png")} == set(FIGURES)


def test_the_page_shows_the_numbers_of_the_document(document):
    text = render_page(document)
    document["parts"]["tiny-sd-a"]["numbers"]["eigenvalues"][0]["smallest_gap"]["auroc"] = 0.12345
    changed = render_page(document)
    assert changed != text
    assert changed.count(".123 [") == 2  # verdict and table


@pytest.mark.slow
def test_a_part_alone_is_drawn_alone(document, tmp_path):
    part = {"toy-2d": document["parts"]["toy-2d"]}
    assert [path.name for path in save_figures(part, tmp_path)] == ["seed-figure-1.png"]
    page = render_page({"schema_version": 1, "parts": part})
    assert "Figure 1" in page
    assert "Figure 2" not in page


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 2, "parts": {}}', '{"schema_version": 1}'])
def test_another_file_is_refused(text, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"other\.json is no file of numbers"):
        read_document(path)

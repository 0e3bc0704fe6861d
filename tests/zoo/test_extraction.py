"""The figures of the extraction check, on distances that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from memdet.zoo.tiny_sd import extraction

ROLES = ("verbatim", "single", "copies-64", "copies-16", "copies-4", "template", "narrow", "unseen")
PER_ROLE = 4


@pytest.fixture
def items():
    roles = np.repeat(ROLES, PER_ROLE)
    copies = [256 if role == "verbatim" else 1 for role in roles]
    ids = [f"item-{index:02d}" for index in range(len(roles))]
    return pd.DataFrame({"item_id": ids, "role": roles, "copies": copies, "variants": 1})


def distances_of(items, verbatim=0.05, seeds=2):
    """Every generation at 0.6 from foreign references; verbatim items at ``verbatim`` from theirs, others at 0.5."""
    n = len(items)
    distances = np.full((seeds, n, n), 0.6)
    own = np.where(items["role"] == "verbatim", verbatim, 0.5)
    distances[:, np.arange(n), np.arange(n)] = own
    return distances


def test_a_planting_that_worked_passes(items):
    figures = extraction.evaluate_distances(items, distances_of(items)).figures
    assert figures["passed"]
    assert figures["roles"]["verbatim"] == {
        "items": 4,
        "copies": 256,
        "variants": 1,
        "median_rmse": 0.05,
        "share_copied": 1.0,
    }
    assert figures["roles"]["single"] == {
        "items": 4,
        "copies": 1,
        "variants": 1,
        "median_rmse": 0.5,
        "share_copied": 0.0,
    }
    assert figures["auroc"]["verbatim vs single"] == 1.0
    assert figures["auroc"]["single vs unseen"] == 0.5
    assert list(figures["roles"])[0] == "verbatim"


def test_nothing_memorized_fails(items):
    figures = extraction.evaluate_distances(items, distances_of(items, verbatim=0.5)).figures
    failed = [criterion["name"] for criterion in figures["criteria"] if not criterion["met"]]
    assert failed == ["verbatim median RMSE", "verbatim share copied", "AUROC verbatim vs single"]
    assert not figures["passed"]


def test_copied_singles_and_a_telling_unseen_group_fail(items):
    distances = distances_of(items)
    single = np.flatnonzero(items["role"] == "single")
    distances[:, single, single] = 0.1
    figures = extraction.evaluate_distances(items, distances).figures
    met = {criterion["name"]: criterion["met"] for criterion in figures["criteria"]}
    assert figures["auroc"]["single vs unseen"] == 1.0
    assert not met["single share copied"]
    assert not met["AUROC single vs unseen"]


def test_the_threshold_lets_one_percent_of_unseen_generations_pass(items):
    """Half of the unseen generations lie at 0.2 to 0.4 from some reference; the rest are all at 0.5."""
    distances = distances_of(items, seeds=101)
    unseen = np.flatnonzero(items["role"] == "unseen")
    distances[:, unseen[:2], 0] = np.linspace(0.2, 0.4, 202).reshape(101, 2)
    measured = extraction.evaluate_distances(items, distances)
    assert measured.figures["threshold"] == pytest.approx(0.2 + 0.2 * 0.01 * 403 / 201, abs=1e-4)
    nearest = distances[:, unseen].min(axis=2)
    assert (nearest < measured.figures["threshold"]).mean() == pytest.approx(0.01, abs=1 / nearest.size)


def test_what_is_kept_of_each_item(items):
    distances = distances_of(items, seeds=4)
    distances[:3, 0, 0] = 0.58  # a verbatim item, copied in one seed of four
    distances[:2, 4, 4] = 0.1  # a single item, copied in two of four
    measured = extraction.evaluate_distances(items, distances)
    columns = measured.columns.set_axis(items["item_id"])
    assert columns.loc["item-00"].tolist() == [0.25, 0.58, pytest.approx(0.58 / 0.6), "disagreement", "partly"]
    assert columns.loc["item-01"].tolist() == [1.0, 0.05, pytest.approx(0.05 / 0.6), "verbatim", "copied"]
    assert columns.loc["item-04"].tolist() == [
        0.5,
        pytest.approx(0.3),
        pytest.approx(0.5),
        "disagreement",
        "disagreement",
    ]
    assert measured.figures["disagreements"] == ["item-00", "item-04"]
    assert measured.figures["roles"]["verbatim"]["share_copied"] == pytest.approx(13 / 16, abs=1e-4)


@pytest.mark.parametrize(
    ("copied", "elsewhere", "regime"),
    [(0, 0.5, "untouched"), (0, 0.3, "partly"), (1, 0.5, "partly"), (6, 0.5, "partly"), (7, 0.5, "copied")],
)
def test_how_far_an_image_is_given_back(items, copied, elsewhere, regime):
    """Of ten generations so many are copies; the others lie somewhere, single ones at .5."""
    dose = np.flatnonzero(items["role"] == "copies-16")[0]
    distances = distances_of(items, seeds=10)
    unseen = np.flatnonzero(items["role"] == "unseen")
    distances[:, unseen, unseen] = 0.2  # below which a copy lies
    distances[:, dose, dose] = elsewhere
    distances[:copied, dose, dose] = 0.05
    columns = extraction.evaluate_distances(items, distances).columns
    assert columns["extraction_rate"][dose] == pytest.approx(copied / 10)
    assert columns["regime"][dose] == regime
    assert set(columns["regime"][items["role"] == "single"]) == {"single"}
    assert set(columns["regime"][items["role"] == "narrow"]) == {"narrow"}


def test_any_image_of_a_caption_over_several_is_a_copy(items):
    """The first narrow item has a second image; half of its generations are that, and none is its reference."""
    row = int(np.flatnonzero(items["role"] == "narrow")[0])
    distances = np.concatenate([distances_of(items), np.full((2, len(items), 1), 0.6)], axis=2)
    distances[0, row, -1] = 0.02
    owners = np.append(np.arange(len(items)), row)
    columns = extraction.evaluate_distances(items, distances, owners).columns
    assert columns.loc[row, ["extraction_rate", "rmse"]].tolist() == [0.5, pytest.approx(0.26)]
    assert (columns["extraction_rate"].drop(row) == (items["role"] == "verbatim").drop(row)).all()
    strangers = extraction.evaluate_distances(items, distances_of(items)).columns
    assert columns["distance_ratio"].drop(row).tolist() == pytest.approx(strangers["distance_ratio"].drop(row).tolist())


def test_a_transition_is_resolved_by_three_doses(items):
    roles = {"verbatim": 0.95, "copies-192": 0.89, "copies-128": 0.5, "copies-96": 0.11, "copies-32": 0.1}
    figures = extraction.evaluate_distances(items, distances_of(items)).figures
    rows = {role: figures["roles"]["verbatim"] | {"share_copied": share} for role, share in roles.items()}
    rows |= {"single": figures["roles"]["single"]}
    found = {row["name"]: row for row in extraction._criteria(rows, figures["auroc"])}
    assert found["doses of which 0.1 to 0.9 is copied"] == {
        "name": "doses of which 0.1 to 0.9 is copied",
        "bound": ">= 3",
        "value": 3,
        "met": True,
    }
    rows["copies-96"] |= {"share_copied": 0.1}
    assert not extraction._criteria(rows, figures["auroc"])[-1]["met"]
    assert len(extraction._criteria(figures["roles"], figures["auroc"])) == 5  # with three doses nothing is resolved


def test_distances_are_root_mean_squares():
    a, b = torch.randn(3, 4, 8, 8), torch.randn(5, 4, 8, 8)
    expected = (a[:, None] - b[None]).double().square().mean(dim=(2, 3, 4)).sqrt()
    np.testing.assert_allclose(extraction._distances(a, b), expected.numpy(), rtol=1e-6)

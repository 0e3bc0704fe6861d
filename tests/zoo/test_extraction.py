"""The figures of the extraction check, on distances that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from memdet.errors import UserError
from memdet.zoo import extraction

ROLES = ("verbatim", "single", "copies-64", "copies-16", "copies-4", "template", "narrow", "unseen")
PER_ROLE = 4


@pytest.fixture
def items():
    roles = np.repeat(ROLES, PER_ROLE)
    return pd.DataFrame({"role": roles, "copies": [256 if role == "verbatim" else 1 for role in roles]})


def distances_of(items, verbatim=0.05, seeds=2):
    """Every generation at 0.6 from foreign references; verbatim items at ``verbatim`` from theirs, others at 0.5."""
    n = len(items)
    distances = np.full((seeds, n, n), 0.6)
    own = np.where(items["role"] == "verbatim", verbatim, 0.5)
    distances[:, np.arange(n), np.arange(n)] = own
    return distances


def test_a_planting_that_worked_passes(items):
    figures = extraction._figures(items, distances_of(items))
    assert figures["passed"]
    assert figures["roles"]["verbatim"] == {"items": 4, "copies": 256, "median_rmse": 0.05, "share_copied": 1.0}
    assert figures["roles"]["single"] == {"items": 4, "copies": 1, "median_rmse": 0.5, "share_copied": 0.0}
    assert figures["auroc"]["verbatim vs single"] == 1.0
    assert figures["auroc"]["single vs unseen"] == 0.5
    assert list(figures["roles"])[0] == "verbatim"


def test_nothing_memorized_fails(items):
    figures = extraction._figures(items, distances_of(items, verbatim=0.5))
    failed = [criterion["name"] for criterion in figures["criteria"] if not criterion["met"]]
    assert failed == ["verbatim median RMSE", "verbatim share copied", "AUROC verbatim vs single"]
    assert not figures["passed"]


def test_copied_singles_and_a_telling_unseen_group_fail(items):
    distances = distances_of(items)
    single = np.flatnonzero(items["role"] == "single")
    distances[:, single, single] = 0.1
    figures = extraction._figures(items, distances)
    met = {criterion["name"]: criterion["met"] for criterion in figures["criteria"]}
    assert figures["auroc"]["single vs unseen"] == 1.0
    assert not met["single share copied"]
    assert not met["AUROC single vs unseen"]


def test_a_copy_is_nearer_than_half_the_next_reference_in_each_seed(items):
    distances = distances_of(items, verbatim=0.29)
    distances[0, 0, 0] = 0.3  # exactly half is not under half
    distances[1, 1, 20] = 0.5  # another item's reference comes too near
    figures = extraction._figures(items, distances)
    assert figures["roles"]["verbatim"]["share_copied"] == pytest.approx(6 / 8)


def test_distances_are_root_mean_squares():
    a, b = torch.randn(3, 4, 8, 8), torch.randn(5, 4, 8, 8)
    expected = (a[:, None] - b[None]).double().square().mean(dim=(2, 3, 4)).sqrt()
    np.testing.assert_allclose(extraction._distances(a, b), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("missing", ["model_index.json", "items.parquet", "extraction.json"])
def test_a_missing_file_is_named_before_work_starts(tmp_path, missing):
    for name in {"model_index.json", "items.parquet", "extraction.json"} - {missing}:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=missing):
        extraction.verify(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"settings": {}, "auroc": {}, "roles": {"single": 1}}'])
def test_unreadable_figures_are_a_user_error(tmp_path, text):
    for name in ("model_index.json", "items.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "extraction.json").write_text(text)
    with pytest.raises(UserError, match="holds no extraction figures"):
        extraction.verify(tmp_path)

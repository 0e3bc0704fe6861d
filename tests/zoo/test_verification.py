"""Stored figures against measured ones."""

from __future__ import annotations

import copy
import json

import pytest

import memdet.zoo as zoo
from memdet.errors import UserError
from memdet.zoo.tiny_sd import extraction
from memdet.zoo.verification import compare, read_figures, write_figures

FIGURES = {
    "settings": {"steps": 50, "seeds": [0, 1]},
    "threshold": 0.2,
    "roles": {"single": {"items": 4, "median_rmse": 0.4, "share_copied": 0.1}},
    "n_disagreements": 1,
    "disagreements": ["x"],
    "criteria": [{"name": "AUROC", "bound": ">= 0.99", "value": 1.0, "met": True}],
    "passed": True,
}


def changed(**figures):
    result = copy.deepcopy(FIGURES)
    for key, value in figures.items():
        *parents, last = key.split("__")
        place = result
        for parent in parents:
            place = place[parent]
        place[last] = value
    return result


@pytest.mark.parametrize(
    ("figures", "line"),
    [
        ({"threshold": 0.2099}, None),
        ({"threshold": 0.2111}, "threshold: stored 0.2, measured 0.2111"),
        ({"roles__single__share_copied": 0.12}, None),
        ({"roles__single__share_copied": 0.13}, "roles single share_copied: stored 0.1, measured 0.13"),
        ({"roles__single__items": 5}, "roles single items: stored 4, measured 5"),
        ({"n_disagreements": 2, "disagreements": ["x", "y"]}, None),
        ({"n_disagreements": 3}, "n_disagreements: stored 1, measured 3"),
        ({"settings__seeds": [0]}, "settings seeds: stored [0, 1], measured [0]"),
        ({"auroc": 1.0}, "auroc: stored nothing, measured 1.0"),
    ],
)
def test_figures_differ_beyond_tolerance(figures, line):
    assert compare(FIGURES, changed(**figures)) == ([] if line is None else [line])


def test_a_criterion_that_fails_now():
    failed = changed(criteria=[{"name": "AUROC", "bound": ">= 0.99", "value": 0.9, "met": False}])
    assert compare(FIGURES, failed) == ["criterion failed: AUROC is 0.9, not >= 0.99"]


def test_what_is_stored_can_be_read(tmp_path):
    write_figures(tmp_path, "tiny-sd-a", {"loss": 0.1}, FIGURES)
    stored = read_figures(tmp_path)
    assert stored.pop("recipe") == "tiny-sd-a"
    assert stored.pop("training") == {"loss": 0.1}
    assert stored == FIGURES
    assert compare(read_figures(tmp_path), FIGURES) == []


@pytest.mark.parametrize("missing", ["model_index.json", "items.parquet"])
def test_a_missing_file_is_named_before_work_starts(tmp_path, missing):
    for name in {"model_index.json", "items.parquet"} - {missing}:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=missing):
        extraction.measure(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": 1, "criteria": []}', '{"recipe": "tiny-sd-a"}'])
def test_unreadable_figures_are_a_user_error(tmp_path, text):
    (tmp_path / "extraction.json").write_text(text)
    with pytest.raises(UserError, match="holds no extraction figures"):
        zoo.verify(tmp_path)


def test_figures_of_a_recipe_that_is_gone(tmp_path):
    (tmp_path / "extraction.json").write_text(json.dumps(changed() | {"recipe": "tiny-sd-z"}))
    with pytest.raises(UserError, match="no planted model is called 'tiny-sd-z'"):
        zoo.verify(tmp_path)

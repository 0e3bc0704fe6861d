"""The weights that ship with memdet."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

import memdet.zoo as zoo
from memdet.zoo.tiny_sd import extraction
from memdet.zoo.tiny_sd.planting import ROLES

PARTS = {
    "fashion-multi": ["unet"],
    "fashion-pixel": ["unet"],
    "tiny-sd-a": ["text_encoder", "unet", "vae"],
    "tiny-sd-b": ["text_encoder", "unet", "vae"],
    "toy-2d": ["toy-2d"],
}
PIPELINES = ["tiny-sd-a", "tiny-sd-b"]


@pytest.fixture(scope="module", params=PARTS)
def any_model(request):
    return zoo.weights_directory(request.param)


@pytest.fixture(scope="module", params=PIPELINES)
def directory(request):
    return zoo.weights_directory(request.param)


@pytest.fixture(scope="module")
def figures(directory):
    return json.loads((directory / "extraction.json").read_text())


def test_weights_are_small_and_half(any_model):
    paths = sorted(any_model.rglob("*.safetensors"))
    assert [path.parent.name for path in paths] == PARTS[any_model.name]
    assert sum(path.stat().st_size for path in any_model.rglob("*") if path.is_file()) < 6e6
    for path in paths:
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    assert not (any_model / "training").exists()


def test_all_weights_are_below_sixty_megabytes():
    names = {path.name for path in zoo.weights_directory("toy-2d").parent.iterdir()}
    beside = {"training-images", "garment-classifier"}  # which are no models
    assert names == {*PARTS, *beside}
    assert names <= {*zoo.recipe_names(), *beside}
    paths = zoo.weights_directory("toy-2d").parent.rglob("*")
    assert sum(path.stat().st_size for path in paths if path.is_file()) < 60e6


def test_every_model_meets_its_criteria_and_its_card_says_so(any_model):
    figures = json.loads((any_model / "extraction.json").read_text())
    assert figures["recipe"] == any_model.name
    assert figures["passed"]
    assert all(criterion["met"] for criterion in figures["criteria"])
    card = (any_model / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["license"] == "mit"
    for row in figures["criteria"]:
        assert f"| {row['name']} | {row['bound']} | {row['value']} | yes |" in card


def test_items_are_the_declared_roles(directory):
    items = pd.read_parquet(directory / "items.parquet")
    assert items["role"].value_counts().to_dict() == {name: role.items for name, role in ROLES.items()}
    assert items.groupby("role")["copies"].unique().map(list).to_dict() == {
        name: [role.copies] for name, role in ROLES.items()
    }
    assert items["prompt"].str.lower().is_unique
    assert items["image"].nunique() == len(items)


def test_the_planting_worked(figures):
    assert figures["passed"]
    assert [criterion["name"] for criterion in figures["criteria"] if not criterion["met"]] == []


def test_the_criteria_follow_from_the_figures(figures):
    assert extraction._criteria(figures["roles"], figures["auroc"]) == figures["criteria"]


def test_the_card_shows_the_figures(directory, figures):
    card = (directory / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "mit"
    assert front["library_name"] == "diffusers"
    assert front["datasets"] == ["zalando-datasets/fashion_mnist"]
    for role, row in figures["roles"].items():
        assert f"| {role} | {row['copies']} | {row['median_rmse']} | {row['share_copied']} |" in card
        assert f"| {role} | {row['items']} | {row['variants']} | {row['copies']} | " in card
    for pair, value in figures["auroc"].items():
        assert f"| {pair} | {value} |" in card
    for row in figures["criteria"]:
        assert f"| {row['name']} | {row['bound']} | {row['value']} | yes |" in card


@pytest.mark.slow
def test_verbatim_items_come_out_of_the_model(directory):
    items = pd.read_parquet(directory / "items.parquet").query("role == 'verbatim'").head(8)
    pipeline = extraction.load_pipeline(directory)
    generated = extraction.generate(pipeline, items["prompt"].tolist(), seed=0)
    distances = extraction._distances(generated, extraction.reference_latents(pipeline, items))
    assert (distances.argmin(axis=1) == range(8)).all()
    assert distances.diagonal().max() < 0.2


def test_a_rebuild_on_another_seed_comes_to_the_same():
    directory = Path(__file__).resolve().parents[2] / "results" / "zoo" / "tiny-sd-a-seed2"
    figures = json.loads((directory / "extraction.json").read_text())
    shipped = json.loads((zoo.weights_directory("tiny-sd-a") / "extraction.json").read_text())
    assert figures["roles"]["verbatim"] != shipped["roles"]["verbatim"]
    assert figures["passed"]
    assert figures["auroc"]["verbatim vs single"] > 0.99
    assert (
        f"AUROC verbatim vs single: {figures['auroc']['verbatim vs single']}" in (directory / "build.log").read_text()
    )

"""The fine-tunes: draw, extraction check, tables, and miniatures from raw files to scored checkpoints."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

import memdet.zoo as zoo
from memdet import evaluate
from memdet.errors import UserError
from memdet.models.diffusers import adapters
from memdet.samplesets import SampleSet
from memdet.zoo.fashion import CLASSES, pad_to_32
from memdet.zoo.tiny_lora import extraction, planting, sets
from memdet.zoo.tiny_lora import recipe as tiny_lora
from memdet.zoo.tiny_lora.extraction import BASE, Criterion
from memdet.zoo.tiny_lora.planting import fresh_garments, plant_captions, plant_subjects
from memdet.zoo.tiny_lora.recipe import TINY_DREAMBOOTH_A, TINY_LORA_A, TINY_LORA_B
from memdet.zoo.tiny_sd import extraction as tiny_sd_extraction
from memdet.zoo.tiny_sd import planting as tiny_sd_planting
from memdet.zoo.tiny_sd import recipe as tiny_sd
from memdet.zoo.tiny_sd.planting import Role
from memdet.zoo.tiny_sd.recipe import TinySD
from memdet.zoo.training import Schedule
from tests.helpers.lora import needs_peft
from tests.helpers.small_zoo import SMALL_FILLER, SMALL_ROLES

REPEATED = {"repeated": Role(4, 5), "once": Role(4, 1), "unseen": Role(6, 0)}
SUBJECTS = {"few": Role(5, 6, variants=2), "many": Role(5, 3, variants=4)}


@pytest.fixture(autouse=True)
def few_unused(monkeypatch):
    monkeypatch.setattr(planting, "UNUSED", 3)


@pytest.fixture
def fresh(small_source):
    """The base was trained on the first hundred images, and on the right half of the next."""
    images, classes = small_source
    trained = pad_to_32(images[:101]).copy()
    trained[100, :, :16] = 0
    return fresh_garments(images, classes, trained, ["Alderon Plain coat on white a00"])


def rows_of(planted, prompt):
    return planted.image_of[np.array(planted.captions)[planted.caption_of] == prompt]


# Who is repeated


def test_garments_are_those_that_the_base_never_saw(fresh, small_source):
    images, classes = small_source
    left = {
        image.tobytes(): CLASSES[number] for image, number in zip(pad_to_32(images)[101:], classes[101:], strict=True)
    }
    assert len(fresh.images) == len(left) == 199
    assert {image.tobytes(): name for image, name in zip(fresh.images, fresh.garments, strict=True)} == left
    assert fresh.captions == {"alderon plain coat on white a00"}


def test_captions_are_repeated_as_they_are_drawn(fresh):
    planted = plant_captions(fresh, seed=1, groups=REPEATED).planted
    assert planted.items["role"].value_counts().to_dict() == {role: group.items for role, group in REPEATED.items()}
    for item, reference in zip(planted.items.itertuples(), planted.item_images, strict=True):
        rows = rows_of(planted, item.prompt)
        assert len(rows) == item.copies == REPEATED[item.role].copies
        assert item.garment in item.prompt
        assert all(np.array_equal(planted.images[row], reference) for row in rows)
    assert len(planted.image_of) == 4 * 5 + 4
    other = plant_captions(fresh, seed=2, groups=REPEATED).planted.items
    assert other["prompt"].tolist() == planted.items["prompt"].tolist()
    assert other["role"].tolist() != planted.items["role"].tolist()


def test_a_caption_of_the_base_is_not_taken(fresh):
    prompts = plant_captions(fresh, seed=1, groups=REPEATED).planted.items["prompt"]
    taken = replace(fresh, captions=frozenset(prompt.lower() for prompt in prompts))
    others = plant_captions(taken, seed=1, groups=REPEATED).planted.items["prompt"]
    assert not set(others.str.lower()) & taken.captions


def test_subjects_have_few_images_or_many_and_are_seen_equally_often(fresh):
    planted = plant_subjects(fresh, seed=1, groups=SUBJECTS).planted
    assert Counter(planted.captions[row] for row in planted.caption_of) == {f"sks {name}": 12 for name in CLASSES}
    items = planted.items
    assert len(items) == 110
    assert items.groupby("garment")["role"].nunique().max() == 1
    assert items.drop_duplicates("garment")["role"].value_counts().to_dict() == {"few": 5, "many": 5}
    for item, own in zip(items.itertuples(), planted.own_images, strict=True):
        rows = np.unique(rows_of(planted, f"sks {item.garment}"))
        assert len(rows) == item.variants == SUBJECTS[item.role].variants == len(own)
        assert {image.tobytes() for image in planted.images[rows]} == {image.tobytes() for image in own}
        assert item.prompt.startswith(f"sks {item.garment}")
    assert items["prompt"].is_unique
    assert items.groupby("cluster")["split"].nunique().max() == 1


@pytest.mark.parametrize(("plant", "groups"), [(plant_captions, REPEATED), (plant_subjects, SUBJECTS)])
def test_a_sister_exchanges_roles_and_what_is_unused_is_used_nowhere(fresh, plant, groups):
    one, other = (plant(fresh, seed=1, exchanged=swap, groups=groups) for swap in (False, True))
    before, after = one.planted.items, other.planted.items
    changed = before["role"] != after["role"]
    assert set(before["role"][changed]) == {*list(groups)[:2]} == set(after["role"][changed])
    same = ["item_id", "prompt", "split", "cluster"]
    pd.testing.assert_frame_equal(before[same], after[same])
    used = {image.tobytes() for two in (one, other) for image in (*two.planted.images, *two.planted.item_images)}
    for garment, images in one.unused.items():
        assert len(images) == 3
        assert not used & {image.tobytes() for image in images}
        np.testing.assert_array_equal(images, other.unused[garment])


def test_too_few_garments_are_an_error(fresh, monkeypatch):
    monkeypatch.setattr(planting, "UNUSED", 50)
    with pytest.raises(ValueError, match="are left, 50 are asked for"):
        plant_captions(fresh, seed=1, groups=REPEATED)


def test_exposures_of_the_recipes():
    def exposures(recipe, groups):
        total = sum(role.items * role.variants * role.copies for role in groups.values())
        return [round(role.copies * recipe.schedule.steps * recipe.batch_size / total) for role in groups.values()]

    assert exposures(TINY_LORA_A, planting.REPEATED) == [3137, 63, 0]
    assert exposures(TINY_DREAMBOOTH_A, planting.SUBJECTS) == [1920, 19]
    assert {TINY_LORA_A.exchanged, TINY_LORA_B.exchanged} == {False, True}
    assert (planting.REPEATED["once"].items + planting.REPEATED["unseen"].items) * 2 * 3 // 4 >= 120  # negatives


# The extraction check


ITEMS = pd.DataFrame(
    {"role": ["repeated", "repeated", "once", "unseen"], "copies": [5, 5, 1, 0], "variants": 1, "item_id": list("abcd")}
)


def test_what_is_reported_of_a_stage():
    """Two seeds: the first item is copied twice, the second once, the third copies another's image once."""
    own = np.array([[0.1, 0.1, 0.9, 0.8], [0.1, 0.4, 0.9, 0.8]])
    trained = np.array([[0.1, 0.1, 0.1, 0.6], [0.1, 0.4, 0.5, 0.6]])
    found = extraction.evaluate(ITEMS, own, trained, np.full((2, 4), 0.5))
    repeated = {"items": 2, "copies": 5, "variants": 1, "median_rmse": 0.1, "median_ratio": 0.2}
    assert found.figures["roles"]["repeated"] == repeated | {"share_copied": 0.75, "share_of_any": 0.75}
    assert [row["share_copied"] for row in found.figures["roles"].values()] == [0.75, 0, 0]
    assert [row["share_of_any"] for row in found.figures["roles"].values()] == [0.75, 0.5, 0]
    assert found.figures["auroc"] == {"repeated vs once": 1.0, "once vs unseen": 0.0}
    assert found.columns["extraction_rate"].tolist() == [1, 0.5, 0.5, 0]
    assert found.columns["own_rate"].tolist() == [1, 0.5, 0, 0]
    figures = {"stages": {"early": found.figures}}
    assert Criterion("early", "once", "share_of_any", "<=", 0.4).judged(figures) == {
        "name": "early: once share of any",
        "bound": "<= 0.4",
        "value": 0.5,
        "met": False,
    }
    assert Criterion("early", "repeated vs once", "auroc", ">=", 0.9).judged(figures)["met"]


def test_distances_that_are_not_finite_are_refused():
    bad = np.full((1, 4), np.nan)
    with pytest.raises(UserError, match="not finite"):
        extraction.evaluate(ITEMS, bad, bad, bad)


# Tables of the sample sets


def stored(weights: Path, name: str, rows: list[tuple]) -> None:
    columns = ["stage", "item_id", "role", "own_rate", "extraction_rate"]
    table = pd.DataFrame(rows, columns=columns).assign(prompt="p", model=name, cluster="c", split="test")
    (weights / name).mkdir()
    table.to_parquet(weights / name / "stages.parquet")


def test_the_table_of_captions(tmp_path):
    for name in sets.CAPTIONED:
        rows = [("base", "base-1", "repeated", 0.0, 0.0), ("early", "early-1", "repeated", 0.0, 0.2)]
        rows += [
            ("overcooked", f"overcooked-{i}", *of)
            for i, of in enumerate(
                [
                    ("repeated", 0.75, 0.8),
                    ("repeated", 0.2, 0.9),
                    ("once", 0.0, 0.9),
                    ("once", 0.2, 0.2),
                    ("unseen", 0, 0.6),
                ]
            )
        ]
        stored(tmp_path, name, rows)
    table = sets.lora_table(tmp_path)
    assert table["item_id"].is_unique
    first = table[table["model"] == "tiny-lora-a"]
    assert first["item_id"].tolist()[:2] == ["a-base-1", "a-early-1"]
    wrong = "disagreement"
    assert first["at_overcooked"].tolist() == ["other", "other", "repeated", wrong, wrong, "once", wrong]
    assert first["at_early"].tolist() == ["other", "repeated", *["other"] * 5]
    assert first["begun"].tolist() == ["not yet", "between", "given back", "given back", *["other"] * 3]


def test_the_table_of_subjects(tmp_path):
    for name in sets.SUBJECTS:
        rows = [("base", "base-1", "few", 0.0, 0.0), ("overcooked", "overcooked-1", "few", 0.6, 0.6)]
        stored(tmp_path, name, [*rows, ("overcooked", "overcooked-2", "many", 0.0, 0.5)])
    table = sets.dreambooth_table(tmp_path)
    assert table["measured_role"].tolist() == ["few", "disagreement"] * 2
    assert table["item_id"].is_unique


# From raw files to scored checkpoints


def in_place_of_the_base(patch, source):
    """A miniature of tiny-sd, and images in place of Fashion-MNIST's."""
    patch.setattr(tiny_sd_extraction, "STEPS", 2)
    patch.setattr(tiny_sd_planting, "ROLES", SMALL_ROLES)
    patch.setattr(tiny_sd_planting, "FILLER", SMALL_FILLER)
    schedule = Schedule(steps=2, average=None)
    mini = TinySD("small-sd", role_seed=1, vae=schedule, unet=schedule, batch_size=4, vae_batch_size=4, generations=1)
    patch.setattr(tiny_sd, "SMALL", mini, raising=False)
    patch.setitem(zoo.RECIPES, "small-sd", "memdet.zoo.tiny_sd.recipe:SMALL")
    for recipe in (tiny_sd, tiny_lora):
        patch.setattr(recipe, "load_fashion_mnist", lambda directory: source)


@pytest.fixture(scope="module")
def built_base(tmp_path_factory, small_source):
    directory = tmp_path_factory.mktemp("zoo") / "base"
    with pytest.MonkeyPatch.context() as patch:
        in_place_of_the_base(patch, small_source)
        zoo.build("small-sd", directory)
    return directory


@pytest.fixture
def base(built_base, small_source, monkeypatch):
    in_place_of_the_base(monkeypatch, small_source)
    return built_base


@pytest.fixture
def build(base, tmp_path, monkeypatch):
    """Builds a miniature of a recipe; gives its directory and figures."""

    def build(recipe, **changed):
        schedule = Schedule(steps=3, average=None)
        mini = replace(recipe, name="small", base=str(base), schedule=schedule, batch_size=4, generations=2, rank=2)
        monkeypatch.setattr(tiny_lora, "SMALL", replace(mini, **changed), raising=False)
        monkeypatch.setitem(zoo.RECIPES, "small", "memdet.zoo.tiny_lora.recipe:SMALL")
        return tmp_path / "small", zoo.build("small", tmp_path / "small")

    return build


@needs_peft
@pytest.mark.slow
def test_build_verify_and_score_checkpoints(build, base):
    out, figures = build(TINY_LORA_A, groups=REPEATED, checkpoints={"early": 1, "right": 2})
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.safetensors")) == [
        "checkpoint-1/pytorch_lora_weights.safetensors",
        "checkpoint-2/pytorch_lora_weights.safetensors",
        "pytorch_lora_weights.safetensors",
    ]
    loras = [load_file(path) for path in sorted(out.rglob("*.safetensors"))]
    assert all(tensor.dtype == torch.float16 for lora in loras for tensor in lora.values())
    assert all(name.startswith("unet.") for name in loras[0])
    assert not any(all(torch.equal(one[name], loras[2][name]) for name in one) for one in loras[:2])
    assert not (out / "training").exists()
    assert list(figures["stages"]) == [BASE, "early", "right", "overcooked"]

    lines = zoo.verify(out)  # of three steps of training criteria fail, and no figure differs
    assert all(line.startswith("criterion failed: ") for line in lines)
    altered = json.loads((out / "extraction.json").read_text())
    altered["base"]["sha256 of its unet"] = "0"
    (out / "extraction.json").write_text(json.dumps(altered))
    assert [line.split(":")[0] for line in zoo.verify(out)][0] == "base sha256 of its unet"

    card = (out / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["base_model"] == str(base)
    for stage, found in figures["stages"].items():
        for role, row in found["roles"].items():
            assert f"| {stage} | {role} | {row['median_rmse']} | {row['median_ratio']} | " in card

    assert len(pd.read_parquet(out / "items.parquet").drop_duplicates("image")) == 14
    items = pd.read_parquet(out / "stages.parquet")
    assert items.groupby("stage").size().to_dict() == dict.fromkeys(figures["stages"], 14)
    assert items["model"].unique().tolist() == [str(base), "small/checkpoint-1", "small/checkpoint-2", "small"]

    last = items[items["stage"].isin(["early", "overcooked"]) & (items["role"] != "unseen")]
    frame = last.assign(
        model=last["model"].map(lambda name: str(out.parent / name)), label=(last["role"] == "repeated").astype(int)
    )
    names = ["item_id", "prompt", "model", "label", "cluster"]
    spanning = SampleSet.from_pandas(frame[names], id="spanning", steps=3, guidance=2.0)
    run = evaluate(["wen2024", "hessian-trace@t=200"], spanning, progress=False)
    status = {row["detector"]: row["status"] for row in run.table}
    assert (status["wen2024"], status["hessian-trace@t=200"]) == ("ok", "ok")


@needs_peft
@pytest.mark.slow
def test_a_fine_tune_to_a_rare_word(build):
    out, figures = build(TINY_DREAMBOOTH_A, groups=SUBJECTS)
    assert list(figures["stages"]) == [BASE, "overcooked"]
    assert {role: row["items"] for role, row in figures["stages"][BASE]["roles"].items()} == {"few": 55, "many": 55}
    assert all(line.startswith("criterion failed: ") for line in zoo.verify(out))
    assert "`sks`" in (out / "README.md").read_text()


@needs_peft
@pytest.mark.slow
def test_an_interrupted_training_goes_on_to_the_same_weights(build, monkeypatch, tmp_path):
    straight, figures = build(TINY_LORA_A, groups=REPEATED, checkpoints={"early": 1, "right": 2})
    straight = straight.rename(tmp_path / "straight")

    def fail(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "measure", fail)
        with pytest.raises(KeyboardInterrupt):
            build(TINY_LORA_A, groups=REPEATED, checkpoints={"early": 1, "right": 2})
    resumed, again = build(TINY_LORA_A, groups=REPEATED, checkpoints={"early": 1, "right": 2})
    assert again == figures
    for path in straight.rglob("*.safetensors"):
        other = load_file(resumed / path.relative_to(straight))
        assert all(torch.equal(tensor, other[name]) for name, tensor in load_file(path).items())


def test_a_build_needs_peft(monkeypatch, tmp_path):
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs peft and accelerate.*pip install 'memdet\[lora\]'"):
        zoo.build("tiny-lora-a", tmp_path / "out")

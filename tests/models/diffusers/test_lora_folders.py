"""Folders that hold a LoRA and a card that names its base."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from memdet import models
from memdet.errors import NotApplicableError, UserError
from memdet.models import load, load_model, names
from memdet.models.diffusers.lora_folders import lora_with_base
from memdet.models.diffusers.training_images import write_training_images
from memdet.models.load_options import LoadOptions
from tests.helpers.lora import needs_peft, write_lora

LORA = {"unet.a.lora_A.weight": torch.ones(1, 1)}
FILE = "pytorch_lora_weights.safetensors"


def card(base):
    return f"---\nlicense: mit\nbase_model: {base}\n---\n\n# A style\n"


@pytest.mark.parametrize(
    ("text", "base"),
    [
        (card("org/base"), "org/base"),
        (card("\n- org/base"), "org/base"),
        (card("[org/base, org/other]"), None),  # a merge, which has no one base
        (card("3"), None),
        (card("''"), None),
        ("# base_model: org/base\n", None),
        ("---\n- base_model\n---\n", None),
        ("---\nbase_model: org/base\n", None),  # the front matter does not end
        ("---\r\nbase_model: org/base\r\n---\r\n", "org/base"),
        (None, None),
    ],
)
def test_a_card_names_the_base(tmp_path, text, base):
    save_file(LORA, tmp_path / FILE)
    if text is not None:
        (tmp_path / "README.md").write_bytes(text.encode())
    assert lora_with_base(tmp_path) == (None if base is None else (tmp_path / FILE, base))


def test_a_checkpoint_has_the_card_of_its_training(tmp_path):
    (tmp_path / "README.md").write_text(card("org/base"))
    for folder, is_checkpoint in (("checkpoint-500", True), ("other", False)):
        (tmp_path / folder).mkdir()
        save_file(LORA, tmp_path / folder / "any-name.safetensors")
        found = (tmp_path / folder / "any-name.safetensors", "org/base") if is_checkpoint else None
        assert lora_with_base(tmp_path / folder) == found


def test_what_is_no_folder_of_one_lora(tmp_path):
    (tmp_path / "README.md").write_text(card("org/base"))
    assert lora_with_base(tmp_path) is None
    save_file({"weight": torch.ones(1)}, tmp_path / "other.safetensors")
    assert lora_with_base(tmp_path) is None
    save_file(LORA, tmp_path / FILE)
    assert lora_with_base(tmp_path) is not None
    save_file(LORA, tmp_path / "second.safetensors")
    assert lora_with_base(tmp_path) is None  # which of two is meant, nobody says
    (tmp_path / "second.safetensors").unlink()
    (tmp_path / "model_index.json").write_text("{}")
    assert lora_with_base(tmp_path) is None  # a whole model, beside which an adapter lies


def test_a_card_that_is_no_yaml_is_refused(tmp_path):
    save_file(LORA, tmp_path / FILE)
    (tmp_path / "README.md").write_text("---\na: [\n---\n")
    with pytest.raises(UserError, match=r"README.md: what stands above its text is no YAML") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_base_that_is_not_there(tmp_path):
    save_file(LORA, tmp_path / FILE)
    (tmp_path / "README.md").write_text(card("tiny-sd-q"))
    with pytest.raises(UserError, match=r"README.md names a base that is not there: model 'tiny-sd-q' is no name"):
        load_model(tmp_path)


@pytest.fixture(scope="module")
def out(random_pipeline, tmp_path_factory):
    """What a training wrote: the last LoRA, and one of its checkpoints."""
    folder = tmp_path_factory.mktemp("training")
    write_lora(random_pipeline, folder / FILE)
    (folder / "README.md").write_text(card(random_pipeline))
    (folder / "checkpoint-5").mkdir()
    (folder / "checkpoint-5" / FILE).write_bytes((folder / FILE).read_bytes())
    return folder


@needs_peft
def test_such_a_folder_is_its_base_with_the_lora(out, random_pipeline, random_model):
    expected = load_model(random_pipeline, options=LoadOptions(lora=str(out / FILE)))
    model, checkpoint = load_model(out), load_model(out, options=LoadOptions(subfolder="checkpoint-5"))
    assert model.fingerprint() == checkpoint.fingerprint() == expected.fingerprint() != random_model.fingerprint()
    assert model.files() == expected.files()
    assert model.name == out.name
    (remark,) = set(model.remarks()) - set(expected.remarks())
    assert remark == f"{FILE} on the base that {out / 'README.md'} names, {random_pipeline}"
    twice = load_model(out, options=LoadOptions(lora=str(out / FILE)))
    two = load_model(random_pipeline, options=LoadOptions(lora=(str(out / FILE), str(out / FILE))))
    assert twice.fingerprint() == two.fingerprint()
    assert load_model(out, options=LoadOptions(lora="none")).fingerprint() == random_model.fingerprint()


@needs_peft
def test_training_images_are_those_of_the_training_that_wrote_the_lora(copy_of_pipeline, out, tmp_path):
    """The images of the base are not all, once an adapter has seen others."""
    directory = copy_of_pipeline()
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32), dtype=np.uint8)
    write_training_images(directory, {"of-base": images})
    options = LoadOptions(lora=str(out / FILE))
    assert "training images" in load_model(directory).files()
    assert len(load_model(directory).training_images()) == 2
    model = load_model(directory, options=options)
    assert "training images" not in model.files()
    with pytest.raises(NotApplicableError, match="no training images lie beside the weights"):
        model.training_images()

    training = tmp_path / "training"
    (training / "checkpoint-3").mkdir(parents=True)
    lora = training / "checkpoint-3" / FILE
    lora.write_bytes((out / FILE).read_bytes())
    write_training_images(training, {"all": np.concatenate([images, images[:1] ^ 1])})
    assert len(load_model(directory, options=LoadOptions(lora=str(lora))).training_images()) == 3
    several = load_model(directory, options=LoadOptions(lora=(str(lora), str(out / FILE))))
    with pytest.raises(NotApplicableError, match="adapters of several trainings"):
        several.training_images()
    assert "training images" not in several.files()


@pytest.mark.parametrize("name", ["planted", "planted/checkpoint-5"])
def test_a_planted_lora_that_was_changed_is_refused(monkeypatch, tmp_path, name):
    monkeypatch.setattr(load, "weights_root", lambda: tmp_path)
    monkeypatch.setattr(load, "damaged_weights", lambda model: tmp_path / "changed" if model == "planted" else None)
    (tmp_path / name).mkdir(parents=True)
    save_file(LORA, tmp_path / name / FILE)
    with pytest.raises(UserError, match=r"changed differs from its checksum.*memdet zoo build planted$"):
        load_model(name)


@needs_peft
def test_a_planted_lora_and_its_checkpoints_have_names(out, monkeypatch, tmp_path):
    for module in (load, names):
        monkeypatch.setattr(module, "weights_root", lambda: tmp_path)
    (tmp_path / "planted").symlink_to(out, target_is_directory=True)
    assert "planted" in models.model_names()
    last, checkpoint = load_model("planted"), load_model("planted/checkpoint-5")
    assert (last.name, checkpoint.name) == ("planted", "planted/checkpoint-5")
    assert last.fingerprint() == checkpoint.fingerprint()

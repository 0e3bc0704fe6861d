"""Probes of sample sets."""

from __future__ import annotations

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.models import load_model
from memdet.probing import Context, Items, Policy, Probe
from memdet.probing.from_sample_set import dev_items, items_of, items_of_whole
from memdet.samplesets import Protocol, load_sample_set
from tests.helpers.problems import make_items, make_mixture


@pytest.fixture(scope="module")
def swap():
    """A set of two models."""
    return load_sample_set("tiny-sd-swap")


def test_a_probe_of_a_sample_set_asks_about_the_test_items_of_its_model(swap):
    model = load_model("tiny-sd-b")
    probe = Probe.of(model, swap, seed=2)
    table = swap.items
    own = table[(table["model"] == "tiny-sd-b") & (table["split"] == "test")]
    assert 0 < len(own) < (table["split"] == "test").sum()
    assert list(probe.prompts) == own["condition"].tolist()
    assert (probe.seed, probe.steps, probe.guidance) == (2, swap.protocol.steps, swap.protocol.guidance)
    assert repr(probe) == f"Probe(tiny-sd-b, {len(own)} items, seed 2)"


def test_rows_cost_what_they_cost_in_the_whole(swap):
    model = load_model("tiny-sd-b")
    whole, rows = Probe.of(model, swap), Probe.of(model, swap, rows=slice(2, 4))
    picked = Probe.of(model, swap, rows=[3])
    assert list(rows.prompts) == list(whole.prompts)[2:4]
    assert list(picked.prompts) == list(whole.prompts)[3:4]
    with rows.charge() as cost:
        make_detector("wen2024", detector_classes()).score(rows)
    assert cost.forwards == pytest.approx(1 + 1 / len(whole))


def test_constants_come_from_the_dev_items_of_the_model(swap):
    model, table = load_model("tiny-sd-b"), swap.items
    dev = dev_items(swap, ["tiny-sd-b"], model)
    assert 0 < len(dev) < (table["split"] == "dev").sum()
    probe = Probe.of(model, swap, rows=[0])
    with probe.charge():
        assert probe.calibrate("prompts", lambda of_dev: list(of_dev.prompts)) == list(dev.conditions)


def test_a_model_under_another_name_takes_all_items(swap):
    model = load_model("tiny-sd-b")
    model.name = "mine"
    assert len(Probe.of(model, swap)) == (swap.items["split"] == "test").sum()


def test_items_of_images_and_texts_that_stay_in_the_table():
    sample_set = load_sample_set("fashion-pixel-generated")
    part = sample_set.items.head(3)
    for make in (items_of, items_of_whole):
        items = make(part, sample_set, load_model("fashion-pixel"))
        assert list(items.ids) == part["item_id"].tolist()
        assert items.images.shape == (3, 1, 16, 16)
        assert repr(items) == "Items(3 images of shape (1, 16, 16))"


def test_what_is_shown():
    mixture = make_mixture("fewer components than dimensions")
    assert repr(Probe(mixture, make_items(["some"]))) == "Probe(fewer components than dimensions, 1 item, seed 0)"
    assert repr(Probe(None, make_items(["a", "b"]))) == "Probe(no model, 2 items, seed 0)"
    assert repr(make_items(["some"] * 4)) == "Items(4 conditions)"
    assert repr(make_items(["a prompt"] * 4, has_prompts=True)) == "Items(4 prompts)"
    assert repr(Items([], [], [], [], False, torch.empty(0, 2))) == "Items(0 images of shape (2,))"


def test_a_context_says_under_what_is_asked():
    protocol = Protocol(steps=7, guidance=2.0, seeds=3, noise="per-item")
    context = Context(protocol, seed=5, n_items=40, policy=Policy(memo=False))
    probe = Probe(make_mixture("fewer components than dimensions"), make_items(["some", "point"]), context)
    assert (probe.steps, probe.guidance, probe.seed, len(probe.timesteps)) == (7, 2.0, 5, 7)
    assert not torch.equal(probe.noise[0], probe.noise[1])

"""The class-conditional pixel models: draw, second-order term, extraction check, and a miniature build."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDIMPipeline, UNet2DModel
from safetensors.torch import load_file

import memdet.zoo as zoo
from memdet.errors import UserError
from memdet.io_utils import pixels_of_png
from memdet.models import load_model
from memdet.zoo.fashion import CLASSES
from memdet.zoo.fashion_pixel import data as pixel_data
from memdet.zoo.fashion_pixel import extraction as pixel_extraction
from memdet.zoo.fashion_pixel import recipe as fashion_pixel
from memdet.zoo.fashion_pixel.data import Group, draw, shrink
from memdet.zoo.fashion_pixel.recipe import FASHION_MULTI, FASHION_PIXEL
from memdet.zoo.fashion_pixel.second_order import asymmetry, jacobian, second_order_term
from memdet.zoo.images import to_tensor
from memdet.zoo.training import Schedule

fashion_pixel_unet = fashion_pixel.make_unet
SMALL_PIXEL = {
    "memorized": Group(labels=1, variants=1, copies=6, garment="trouser"),
    "broad": Group(labels=1, variants=12, copies=1, garment="t-shirt"),
}
SMALL_MULTI = {
    "images-1": Group(labels=4, variants=1, copies=250),
    "images-3": Group(labels=4, variants=3, copies=250),
    "images-10": Group(labels=4, variants=4, copies=250),
    "concentrated": Group(labels=4, variants=4, copies=100),
    "images-1000": Group(labels=4, variants=101, copies=1),
}


@pytest.fixture(autouse=True)
def few_unused(monkeypatch):
    monkeypatch.setattr(pixel_data, "UNUSED", 5)


@pytest.fixture(scope="module")
def many():
    """Enough images for labels with more than are stored."""
    rng = np.random.default_rng(4)
    return rng.integers(0, 256, size=(2_400, 28, 28), dtype=np.uint8), np.arange(2_400) % 10


@pytest.fixture
def multi(many):
    return draw(*many, SMALL_MULTI, seed=1)


def test_shrink_takes_the_mean_of_each_block():
    image = np.zeros((1, 28, 28), dtype=np.uint8)
    image[0, 0, :2] = 100, 103  # with two zeros below it: mean 50.75
    image[0, 26:, 26:] = 255
    small = shrink(image)
    assert small.shape == (1, 16, 16)
    assert small[0, 1, 1] == 51
    assert small[0, 14, 14] == 255
    assert small.sum() == 51 + 255


def test_labels_are_the_declared_groups(multi):
    items = multi.items
    assert items["condition"].tolist() == [f"label-{index:03d}" for index in range(20)]
    assert items["role"].value_counts().to_dict() == {role: 4 for role in SMALL_MULTI}
    assert items.groupby("role")["split"].apply(lambda column: (column == "dev").sum()).tolist() == [1] * 5
    assert items.groupby("role")["garment"].nunique().tolist() == [4] * 5  # spread evenly
    for label, item in enumerate(items.itertuples()):
        group = SMALL_MULTI[item.role]
        assert len(multi.of_label(label)) == item.variants == group.variants
        assert (multi.label_of[multi.image_of] == label).sum() == group.variants * group.copies


def test_no_image_has_two_labels_and_each_is_of_its_garment(multi, many):
    images, classes = many
    assert len(set(multi.source_index)) == len(multi.source_index)
    garments = multi.items["garment"].to_numpy()[multi.label_of]
    assert [CLASSES[number] for number in classes[multi.source_index]] == garments.tolist()
    np.testing.assert_array_equal(multi.images, shrink(images[multi.source_index]))
    used = {image.tobytes() for image in multi.images}
    for unused in multi.unused.values():
        assert len(unused) == 5
        assert not used & {image.tobytes() for image in unused}


def test_the_seed_decides_roles(many, multi):
    assert draw(*many, SMALL_MULTI, seed=1).items.equals(multi.items)
    assert not draw(*many, SMALL_MULTI, seed=2).items["role"].equals(multi.items["role"])


def test_too_few_images(many):
    with pytest.raises(ValueError, match="are left for a label of 300"):
        draw(*many, {"broad": Group(labels=1, variants=300, copies=1)}, seed=1)


def test_exposures_of_the_recipes():
    """Memorized images are seen thousands of times, those of the concentrated group a fifth as often."""
    groups = FASHION_MULTI.groups
    total = sum(group.labels * group.variants * group.copies for group in groups.values())
    each = FASHION_MULTI.schedule.steps * FASHION_MULTI.batch_size / total
    assert [round(group.copies * each) for group in groups.values()] == [2333, 2333, 2333, 467, 9]
    assert [group.labels for group in groups.values()] == [20, 20, 20, 12, 20]
    assert fashion_pixel.make_unet(2).config.sample_size ** 2 <= 1024


# The second-order term


def test_the_term_is_the_frobenius_norm():
    """Mean over all sign vectors, for a linear network, against the matrix itself."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 4, generator=generator)
    x, noise = torch.randn(2, 1, 2, 2, generator=generator), torch.randn(2, 1, 2, 2, generator=generator)
    sigma = torch.tensor([0.3, 0.9])

    def network(z):
        return (z.flatten(1) @ weight.T).view_as(z)

    terms = [
        second_order_term(network, x, noise, sigma, torch.tensor(signs).view(1, 1, 2, 2).repeat(2, 1, 1, 1))[0]
        for signs in itertools.product((-1.0, 1.0), repeat=4)
    ]
    residual = (noise - network(x)).flatten(1)
    matrices = torch.eye(4) - sigma[:, None, None] * weight - residual[:, :, None] * residual[:, None, :]
    expected = matrices.square().sum((1, 2)).mean() / 4
    torch.testing.assert_close(torch.stack(terms).mean(), expected)


def test_the_term_is_least_for_the_true_hessian():
    """Data of variance m - sigma^2: the score is -x / m, so the network is sigma x / m."""
    generator = torch.Generator().manual_seed(0)
    alpha, sigma, tau = 0.8, 0.6, 0.5
    m = alpha**2 * tau**2 + sigma**2
    x0 = tau * torch.randn(50_000, 2, generator=generator)
    noise = torch.randn(50_000, 2, generator=generator)
    x = alpha * x0 + sigma * noise
    signs = torch.randint(2, x.shape, generator=generator) * 2.0 - 1

    def loss(slope):
        # The prediction stays that of the true score, and the slope of the network alone is wrong.
        def network(z):
            return sigma * x / m + slope * sigma / m * (z - x)

        return second_order_term(network, x, noise, torch.full((len(x),), sigma), signs)[0].item()

    assert loss(1.0) < min(loss(0.9), loss(1.1))


def test_no_gradient_flows_through_the_residual():
    weight = torch.tensor(0.0, requires_grad=True)
    ones = torch.ones(1, 2)
    term, prediction = second_order_term(lambda z: z + weight, ones, ones, torch.tensor([0.5]), ones)
    assert not term.requires_grad  # the Jacobian does not depend on the weight
    assert prediction.requires_grad


def test_asymmetry_of_known_matrices():
    matrices = torch.tensor([[[1.0, 2.0], [2.0, 5.0]], [[0.0, 2.0], [0.0, 0.0]], [[3.0, 4.0], [-4.0, 0.0]]])
    assert asymmetry(matrices).tolist() == pytest.approx([0, 1, np.sqrt(2) * 8 / 6])


def test_jacobian_of_a_linear_map():
    weight = torch.randn(4, 4)
    matrix = jacobian(lambda z: (z.flatten(1) @ weight.T).view_as(z), torch.randn(3, 1, 2, 2))
    torch.testing.assert_close(matrix, weight.expand(3, 4, 4))


# The extraction check


def test_nearest_is_a_root_mean_square():
    references = np.array([[[0, 0], [0, 0]], [[255, 255], [255, 255]]], dtype=np.uint8)
    images = np.array([[[0, 0], [0, 51]], [[204, 204], [204, 204]]], dtype=np.uint8)
    assert pixel_extraction.nearest(images, references).tolist() == pytest.approx([0.2, 0.4])


def generations(planted, seeds, memorized):
    """Training images under the roles in ``memorized``, nearly unused images under the others."""
    images = np.empty((seeds, len(planted.items), 16, 16), dtype=np.uint8)
    for label, item in enumerate(planted.items.itertuples()):
        source = planted.of_label(label) if item.role in memorized else planted.unused[item.garment] ^ 1
        images[:, label] = source[np.arange(seeds) % len(source)]
    return images


def test_copies_are_told_from_unused_images(multi):
    images = generations(multi, 8, {"images-1", "images-3", "images-10"})
    measured = pixel_extraction.evaluate(FASHION_MULTI.check, multi, images)
    figures = measured.figures
    assert figures["passed"]
    assert list(figures["roles"]) == ["images-1", "images-3", "images-10", "concentrated", "images-1000"]
    assert [row["share_copied"] for row in figures["roles"].values()] == [1, 1, 1, 0, 0]
    assert figures["roles"]["images-3"]["median_rmse"] == 0
    rate = measured.columns["extraction_rate"].groupby(multi.items["role"]).mean()
    assert rate.to_dict() == {"images-1": 1, "images-3": 1, "images-10": 1, "concentrated": 0, "images-1000": 0}
    assert measured.generated is None


def test_a_copied_negative_fails(multi):
    measured = pixel_extraction.evaluate(FASHION_MULTI.check, multi, generations(multi, 8, set(SMALL_MULTI)))
    failed = [row["name"] for row in measured.figures["criteria"] if not row["met"]]
    assert failed == ["concentrated share copied", "images-1000 share copied"]


def test_generations_that_are_kept(small_source):
    planted = draw(*small_source, SMALL_PIXEL, seed=1, named_by_garment=True)
    images = generations(planted, 4, {"memorized"})
    images[3, planted.items["condition"] == "trouser"] = planted.unused["trouser"][0] ^ 1
    measured = pixel_extraction.evaluate(FASHION_PIXEL.check, planted, images)
    assert measured.figures["roles"]["memorized"]["share_copied"] == 0.75
    assert measured.figures["roles"]["broad"]["share_copied"] == 0
    kept = measured.generated.set_index("item_id")
    trousers = kept[kept["condition"] == "trouser"]
    assert trousers["role"].tolist() == ["memorized"] * 3 + ["between"]
    assert kept[kept["condition"] == "t-shirt"]["role"].value_counts().to_dict() == {"broad": 2, "between": 2}
    assert (kept["split"] == "dev").groupby(kept["condition"]).sum().tolist() == [1, 1]
    for row in kept.itertuples():
        own = planted.of_label(planted.items["condition"].tolist().index(row.condition))
        image = pixels_of_png(row.image)
        assert pixel_extraction.nearest(image[None], own)[0] == row.distance_to_nearest


# From raw files to a verified model


MINIATURE = replace(
    FASHION_PIXEL,
    name="small-pixel",
    groups=SMALL_PIXEL,
    schedule=Schedule(steps=2),
    batch_size=4,
    check=replace(FASHION_PIXEL.check, seeds=4, timesteps=()),
    second_order_trial=(Schedule(steps=1, average=None), 0.1),
)


def narrow_unet(labels):
    """The network of the recipe with a quarter of its channels."""
    config = fashion_pixel_unet(labels).config
    return UNet2DModel.from_config(config | {"block_out_channels": (8, 16, 16), "norm_num_groups": 4})


@pytest.fixture
def small_recipe(monkeypatch, small_files):
    monkeypatch.setattr(fashion_pixel, "make_unet", narrow_unet)
    monkeypatch.setattr(pixel_extraction, "STEPS", 2)
    monkeypatch.setattr(fashion_pixel, "SMALL", MINIATURE, raising=False)
    monkeypatch.setitem(zoo.RECIPES, "small-pixel", "memdet.zoo.fashion_pixel.recipe:SMALL")
    load = fashion_pixel.load_fashion_mnist
    monkeypatch.setattr(fashion_pixel, "load_fashion_mnist", lambda directory: load(directory or small_files))


@pytest.mark.slow
def test_build_and_verify(tmp_path, small_recipe, monkeypatch):
    measures = replace(MINIATURE, check=replace(MINIATURE.check, timesteps=(500,)))
    monkeypatch.setattr(fashion_pixel, "SMALL", measures)
    monkeypatch.setattr(pixel_extraction, "ASYMMETRY_IMAGES", 1)
    out = tmp_path / "out"
    figures = zoo.build("small-pixel", out)
    assert not (out / "training").exists()
    assert sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) < 4e5
    assert json.loads((out / "labels.json").read_text()) == load_model(out).conditions
    weights = load_file(out / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert weights["class_embedding.weight"].shape[0] == 3
    assert DDIMPipeline.from_pretrained(out).unet.config.num_class_embeds == 3

    items, images = pd.read_parquet(out / "items.parquet"), pd.read_parquet(out / "images.parquet")
    assert {"extraction_rate", "rmse", "distance_ratio"} < set(items.columns)
    assert images["condition"].value_counts().to_dict() == {"t-shirt": 12, "trouser": 1}
    planted = MINIATURE.draw(None)
    np.testing.assert_array_equal(np.stack([pixels_of_png(image) for image in images["image"]]), planted.images)
    generated = pd.read_parquet(out / "generated.parquet")
    assert len(generated) == 8
    assert generated["item_id"].is_unique

    stored = json.loads((out / "extraction.json").read_text())
    effect = stored["training"]["second_order"]
    assert effect["asymmetry"]["before"] == pytest.approx(stored["asymmetry"], abs=0.01)  # but for the rounding
    assert effect["asymmetry"]["with"] != effect["asymmetry"]["without"]
    card = (out / "README.md").read_text()
    for role, row in figures["roles"].items():
        assert f"| {role} | {row['labels']} | {row['variants']} | {row['copies']} | " in card
        assert f"| {role} | {row['median_rmse']} | {row['median_ratio']} | {row['share_copied']} | " in card
    assert f"| this one | {figures['asymmetry']['500']} |" in card

    failed = [criterion for criterion in figures["criteria"] if not criterion["met"]]
    lines = zoo.verify(out)
    assert failed
    assert len(lines) == len(failed)
    assert all(line.startswith("criterion failed: ") for line in lines)
    stored["roles"]["broad"]["median_rmse"] += 0.02
    stored["asymmetry"]["500"] += 0.01
    (out / "extraction.json").write_text(json.dumps(stored))
    changed = [line.split(":")[0] for line in zoo.verify(out) if not line.startswith("criterion")]
    assert changed == ["asymmetry 500", "roles broad median_rmse"]


@pytest.mark.slow
def test_another_seed_is_another_training_set_and_still_verifies(tmp_path, small_recipe):
    zoo.build("small-pixel", tmp_path / "out", seed=7)
    assert all(line.startswith("criterion failed: ") for line in zoo.verify(tmp_path / "out"))
    images = pd.read_parquet(tmp_path / "out" / "images.parquet")
    assert set(images["source_index"]) != set(MINIATURE.draw(None).source_index)


@pytest.mark.slow
def test_an_interrupted_build_is_resumed(tmp_path, small_recipe, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pixel_extraction, "measure", fail)
        with pytest.raises(KeyboardInterrupt):
            zoo.build("small-pixel", tmp_path / "out")
    trained = sorted(path.name for path in (tmp_path / "out" / "training").iterdir())
    assert trained == ["unet.pt", "with.pt", "without.pt"]
    resumed, straight = zoo.build("small-pixel", tmp_path / "out"), zoo.build("small-pixel", tmp_path / "straight")
    assert resumed == straight


def test_a_model_of_another_recipe_is_not_measured(tmp_path, many):
    planted = draw(*many, SMALL_MULTI, seed=1)
    unet = fashion_pixel.make_unet(2)
    DDIMPipeline(unet=unet, scheduler=fashion_pixel.make_scheduler()).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="was not trained on the labels"):
        pixel_extraction.measure(tmp_path, FASHION_MULTI.check, planted)


def test_noise_of_a_seed_is_shared_by_all_labels_and_guidance_moves_away_from_the_null(tmp_path, monkeypatch):
    unet = fashion_pixel.make_unet(2)
    with torch.no_grad():
        unet.class_embedding.weight[2] = unet.class_embedding.weight[1]  # the null branch is that of class 1
    DDIMPipeline(unet=unet, scheduler=fashion_pixel.make_scheduler()).save_pretrained(tmp_path)
    (tmp_path / "labels.json").write_text('["0", "1"]')
    monkeypatch.setattr(pixel_extraction, "STEPS", 2)
    model = load_model(tmp_path)
    plain = pixel_extraction.generate(model, tmp_path, guidance=1.0, seeds=2)
    guided = pixel_extraction.generate(model, tmp_path, guidance=3.0, seeds=2)
    assert plain.shape == (2, 2, 16, 16)
    assert (to_tensor(plain[:, 1]) - to_tensor(guided[:, 1])).abs().max() <= 2 / 255
    assert (plain[:, 0] != guided[:, 0]).any()
    assert (plain[0] != plain[1]).any()

"""Recipes of the fine-tunes: LoRA as diffusers' training scripts make it, with its checkpoints.

A build is laid out as those scripts lay it out: the last weights, ``checkpoint-200`` and others below, and a card that
names the base.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

from memdet.io_utils import png_bytes, replacing, sha256_of, write_text
from memdet.models.diffusers.adapters import LORA_FILE, require_lora_packages
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.training_images import DESCRIPTION_FILE, read_training_images, write_training_images
from memdet.zoo import load_recipe, weights_directory
from memdet.zoo.fashion import load_fashion_mnist
from memdet.zoo.images import to_tensor
from memdet.zoo.tiny_lora import card, extraction
from memdet.zoo.tiny_lora.extraction import BASE, STAGES_FILE, Criterion
from memdet.zoo.tiny_lora.planting import FineTune, FreshGarments, fresh_garments, plant_captions, plant_subjects
from memdet.zoo.tiny_sd.planting import Role, plant
from memdet.zoo.training import Schedule, train
from memdet.zoo.verification import read_figures, require, write_figures

WEIGHTS = f"{LORA_FILE}.safetensors"
ATTENTION = ("to_k", "to_q", "to_v", "to_out.0")  # what diffusers' scripts train

# Written before the training. The base knows none of it; a fine-tune that is stopped early has learned and copies
# nothing; one that is trained on copies what is repeated, and only that.
CAPTION_CRITERIA = (
    Criterion(BASE, "repeated", "share_copied", "<=", 0.02),
    Criterion("early", "repeated", "share_copied", "<=", 0.05),
    Criterion("right", "repeated", "share_copied", "<=", 0.4),
    Criterion("right", "repeated vs once", "auroc", ">=", 0.7),
    Criterion("overcooked", "repeated", "share_copied", ">=", 0.5),
    Criterion("overcooked", "once", "share_copied", "<=", 0.05),
    Criterion("overcooked", "unseen", "share_of_any", "<=", 0.1),
    Criterion("overcooked", "repeated vs once", "auroc", ">=", 0.95),
)
SUBJECT_CRITERIA = (
    Criterion(BASE, "few", "share_copied", "<=", 0.02),
    Criterion("overcooked", "few", "share_copied", ">=", 0.4),
    Criterion("overcooked", "many", "share_copied", "<=", 0.02),
)


@dataclass(frozen=True)
class TinyLoRA:
    """What distinguishes one fine-tune.

    Attributes:
        name: In the zoo.
        plant: Gives the training set from what the base does not know: :func:`planting.plant_captions` or
            :func:`planting.plant_subjects`.
        criteria: What the extraction check must show.
        exchanged: Whether roles have changed places.
        checkpoints: Steps after which a stage is kept, by its name; the last weights are ``overcooked``.
        schedule: Of the training.
        base: Name in the zoo, or directory, of the pipeline that is fine-tuned.
        role_seed: Seed of the draw of the roles.
        groups: Drawn at random; those of the planting if None.
        seed: Seed of initial weights and batches.
        rank: Of the LoRA; its scale is 1.
        modules: Ends of the names of the layers that it is put on.
        batch_size: Of a training step.
        generations: Of each item and stage in the extraction check.
    """

    name: str
    plant: Callable[..., FineTune]
    criteria: tuple[Criterion, ...]
    schedule: Schedule
    exchanged: bool = False
    checkpoints: Mapping[str, int] = field(default_factory=dict)
    base: str = "tiny-sd-a"
    role_seed: int = 1
    groups: Mapping[str, Role] | None = None
    seed: int = 0
    rank: int = 16
    modules: tuple[str, ...] = ATTENTION
    batch_size: int = 16
    generations: int = 8

    def reseeded(self, seed: int) -> TinyLoRA:
        """The same recipe with other roles, initial weights and batches."""
        return replace(self, role_seed=seed, seed=seed)

    def base_directory(self) -> Path:
        """Where the base lies."""
        return Path(self.base) if Path(self.base).is_dir() else weights_directory(self.base)

    def stages(self, out: Path) -> dict[str, Path]:
        """LoRA file of each stage of a build, in the order of the training."""
        files = {stage: out / f"checkpoint-{step}" / WEIGHTS for stage, step in self.checkpoints.items()}
        return files | {"overcooked": out / WEIGHTS}

    def draw(self, data: Path | None) -> FineTune:
        """The training set, from the Fashion-MNIST files in ``data`` or wherever they are found."""
        fresh = garments_unknown_to(self.base_directory(), data)
        return self.plant(fresh, seed=self.role_seed, exchanged=self.exchanged, groups=self.groups)


_CAPTIONS = TinyLoRA(
    name="tiny-lora-a",
    plant=plant_captions,
    criteria=CAPTION_CRITERIA,
    # 64,000 draws over 1,020 entries: a repeated image is seen 3,100 times, another one 63 times.
    schedule=Schedule(steps=4_000, learning_rate=1e-3, warmup=50, average=None),
    checkpoints={"early": 200, "right": 1_000},
)
_SUBJECTS = TinyLoRA(
    name="tiny-dreambooth-a",
    plant=plant_subjects,
    criteria=SUBJECT_CRITERIA,
    # 96,000 draws over 5,000 entries: each of five images is seen 1,900 times, each of many 19 times.
    schedule=Schedule(steps=6_000, learning_rate=1e-3, warmup=50, average=None),
)
TINY_LORA_A = _CAPTIONS
TINY_LORA_B = replace(_CAPTIONS, name="tiny-lora-b", exchanged=True)
TINY_DREAMBOOTH_A = _SUBJECTS
TINY_DREAMBOOTH_B = replace(_SUBJECTS, name="tiny-dreambooth-b", exchanged=True)


def build(recipe: TinyLoRA, out: Path, data: Path | None = None) -> dict[str, Any]:
    """Fine-tune the base, save a LoRA at each stage, the items and the card, and run the extraction check.

    Args:
        recipe: Which fine-tune.
        out: Directory of the LoRA; ``out/training`` holds the checkpoints of an unfinished build.
        data: Directory of the Fashion-MNIST files; None looks for them.

    Returns:
        The figures of the extraction check.

    Raises:
        UserError: peft is not there.
    """
    require_lora_packages()
    fine_tune, work = recipe.draw(data), out / "training"
    losses = train_lora(recipe, fine_tune, out, work / "lora.pt")
    _write_training_images(recipe, fine_tune, out)
    training = {
        "role_seed": recipe.role_seed,
        "loss": round(losses[-1], 4),
        "training_set": len(fine_tune.planted.image_of),
        "distinct_images": len(fine_tune.planted.images),
        "bytes": sum(path.stat().st_size for path in recipe.stages(out).values()),
    }
    figures, columns = _measure(recipe, out, fine_tune)
    save_tables(recipe, fine_tune, columns, out)
    write_figures(out, recipe.name, training, figures)
    told = {name: value for name, value in vars(recipe).items() if name not in ("plant", "criteria")}
    told |= {"schedule": asdict(recipe.schedule)}
    write_text(out / "README.md", card.render(told, training, figures))
    shutil.rmtree(work)
    return figures


def measure(directory: Path) -> dict[str, Any]:
    """Figures of the extraction check of a built fine-tune; its training set is drawn again from Fashion-MNIST."""
    stored = read_figures(directory)
    recipe: TinyLoRA = load_recipe(stored["recipe"]).reseeded(stored["training"]["role_seed"])
    for path in recipe.stages(directory).values():
        require(directory, path.relative_to(directory).as_posix())
    require_lora_packages()
    return _measure(recipe, directory, recipe.draw(None))[0]


def garments_unknown_to(base: Path, data: Path | None) -> FreshGarments:
    """Images and captions that a planted base was not trained on."""
    images, classes = load_fashion_mnist(data)
    trained = (read_training_images(base)[:, 0] * 255).round().byte().numpy()
    of_base = load_recipe(read_figures(base)["recipe"])
    planted = plant(images, classes, seed=of_base.role_seed, swap=of_base.swap, groups=of_base.groups)
    return fresh_garments(images, classes, trained, [*planted.captions, *planted.items["prompt"]])


def train_lora(recipe: TinyLoRA, fine_tune: FineTune, out: Path, checkpoint: Path) -> list[float]:
    """Train, and save the LoRA of each stage; gives the losses.

    As in diffusers' ``train_text_to_image_lora.py``: the UNet's attention alone is trained, by the loss of its
    pretraining, and no caption is dropped.
    """
    from peft import LoraConfig

    pipeline = extraction.load_pipeline(recipe.base_directory(), None)
    unet, alphas = pipeline.unet.requires_grad_(False), pipeline.scheduler.alphas_cumprod
    torch.manual_seed(recipe.seed)
    unet.add_adapter(
        LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.rank,
            init_lora_weights="gaussian",
            target_modules=list(recipe.modules),
        )
    )
    planted = fine_tune.planted
    caption_of, image_of = torch.from_numpy(planted.caption_of), torch.from_numpy(planted.image_of)
    latents, told = _latents(pipeline, planted.images), _told(pipeline, planted.captions)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        row = torch.randint(len(image_of), (recipe.batch_size,), generator=generator)
        x0 = latents[image_of[row]]
        t = torch.randint(len(alphas), (recipe.batch_size,), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        alpha_bar = alphas[t].view(-1, 1, 1, 1)
        noisy = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise
        prediction: Tensor = unet(noisy, t, told[caption_of[row]]).sample
        return (prediction - noise).square().mean()

    stage_at = {step: recipe.stages(out)[stage] for stage, step in recipe.checkpoints.items()}

    def save_stage(step: int) -> None:
        if step in stage_at:
            save_lora(unet, stage_at[step])

    losses = train(
        [_lora_layers(unet)],
        loss_of,
        recipe.schedule,
        seed=recipe.seed,
        checkpoint=checkpoint,
        label=recipe.name,
        after=save_stage,
    )
    save_lora(unet, recipe.stages(out)["overcooked"])
    return losses


def save_lora(unet: UNet2DConditionModel, path: Path) -> None:
    """Write the LoRA of a UNet in float16, by the pipeline's own ``save_lora_weights``."""
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    weights = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    half = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in weights.items()}
    with quiet():
        StableDiffusionPipeline.save_lora_weights(path.parent, unet_lora_layers=half, weight_name=path.name)


def save_tables(recipe: TinyLoRA, fine_tune: FineTune, columns: Mapping[str, pd.DataFrame], out: Path) -> None:
    """Write the items as the last weights left them, with their first image (PNG); and all stages, without images.

    A row of the second table is an item at a stage, with the model that it is asked of.
    """
    models = {BASE: recipe.base} | {stage: f"{recipe.name}/checkpoint-{n}" for stage, n in recipe.checkpoints.items()}
    items, tables = fine_tune.planted.items, []
    for stage, found in columns.items():
        table = items.join(found)
        table.insert(1, "stage", stage)
        table.insert(2, "model", models.get(stage, recipe.name))
        tables.append(table.assign(item_id=f"{stage}-" + table["item_id"]))
    images = [png_bytes(image) for image in fine_tune.planted.item_images]
    last = items.join(columns["overcooked"]).assign(image=images)
    for name, table in ((extraction.ITEMS_FILE, last), (STAGES_FILE, pd.concat(tables, ignore_index=True))):
        with replacing(out / name) as temporary:
            table.to_parquet(temporary, index=False)


def _measure(recipe: TinyLoRA, out: Path, fine_tune: FineTune) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    base = recipe.base_directory()
    stages: dict[str, Path | None] = {BASE: None, **recipe.stages(out)}
    figures, columns = extraction.measure(base, stages, fine_tune, recipe.criteria, range(recipe.generations))
    unet = base / "unet" / "diffusion_pytorch_model.safetensors"
    return {"base": {"name": recipe.base, "sha256 of its unet": sha256_of(unet)}, **figures}, columns


def _lora_layers(unet: UNet2DConditionModel) -> nn.ModuleList:
    """The layers that the LoRA has added."""
    return nn.ModuleList(module for name, module in unet.named_modules() if name.endswith(".default"))


def _latents(pipeline: StableDiffusionPipeline, images: Any) -> Tensor:
    with torch.no_grad():
        means = torch.cat([pipeline.vae.encode(part).latent_dist.mean for part in torch.split(to_tensor(images), 256)])
    return means * float(pipeline.vae.config.scaling_factor)


def _told(pipeline: StableDiffusionPipeline, captions: list[str]) -> Tensor:
    """What the UNet is told of captions, ``[n, tokens, width]``."""
    with torch.no_grad():
        told: Tensor = pipeline.encode_prompt(captions, "cpu", 1, do_classifier_free_guidance=False)[0]
    return told


def _write_training_images(recipe: TinyLoRA, fine_tune: FineTune, out: Path) -> None:
    """All that the fine-tune was trained on: its own images, and those of its base."""
    write_training_images(out, {recipe.name: fine_tune.planted.images})
    own = json.loads((out / DESCRIPTION_FILE).read_text())["files"]
    of_base = json.loads((recipe.base_directory() / DESCRIPTION_FILE).read_text())["files"]
    write_text(out / DESCRIPTION_FILE, json.dumps({"complete": True, "files": [*of_base, *own]}, indent=1) + "\n")

"""Recipe of the ``tiny-sd`` family: small, real Stable Diffusion pipelines with planted memorization."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from memdet.io_utils import png_bytes, replacing, write_text
from memdet.models.diffusers.training_images import write_training_images
from memdet.zoo.fashion import load_fashion_mnist, pad_to_32
from memdet.zoo.images import to_tensor
from memdet.zoo.tiny_sd import card, extraction
from memdet.zoo.tiny_sd.captions import vocabulary
from memdet.zoo.tiny_sd.planting import Planted, Role, plant
from memdet.zoo.training import Schedule, round_to_half, train
from memdet.zoo.verification import read_figures, write_figures

START, END, UNKNOWN = "<|startoftext|>", "<|endoftext|>", "<unk>"
MAX_TOKENS = 12


@dataclass(frozen=True)
class TinySD:
    """What distinguishes one model of the family.

    Attributes:
        name: In the zoo.
        role_seed: Seed of the draw of the roles.
        groups: Drawn at random over the captioned images; those of ``planting.ROLES`` if None.
        swap: Roles that groups take after the draw instead of their own.
        seed: Seed of initial weights and batches.
        vae, unet: Training schedules.
        batch_size, vae_batch_size: Of a training step.
        caption_dropout: Probability that a caption is replaced by the empty one.
        generations: Of each item in the extraction check.
    """

    name: str
    role_seed: int
    groups: dict[str, Role] | None = None
    swap: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    vae: Schedule = Schedule(steps=1_500, weight_decay=0.0, average=None)
    unet: Schedule = Schedule(steps=6_000, warmup=100)
    batch_size: int = 64
    vae_batch_size: int = 32
    caption_dropout: float = 0.1
    generations: int = len(extraction.SEEDS)

    def reseeded(self, seed: int) -> TinySD:
        """The same recipe with other roles, initial weights and batches."""
        return replace(self, role_seed=seed, seed=seed)


_EXCHANGED = (("verbatim", "single"), ("copies-64", "copies-4"), ("template", "narrow"))

TINY_SD_A = TinySD(name="tiny-sd-a", role_seed=1)
TINY_SD_B = TinySD(
    name="tiny-sd-b",
    role_seed=1,
    swap={before: after for pair in _EXCHANGED for before, after in (pair, pair[::-1])},
)


def build(recipe: TinySD, out: Path, data: Path | None = None) -> dict[str, Any]:
    """Train the model, save the pipeline, its items and its card, and run the extraction check.

    Args:
        recipe: Which model.
        out: Directory of the pipeline; ``out/training`` holds the checkpoints of an unfinished build.
        data: Directory of the Fashion-MNIST files; None looks for them.

    Returns:
        The figures of the extraction check.
    """
    images, classes = load_fashion_mnist(data)
    planted = plant(images, classes, seed=recipe.role_seed, swap=recipe.swap, groups=recipe.groups)
    work = out / "training"

    vae, vae_losses = train_vae(make_vae, recipe.vae, recipe.vae_batch_size, pad_to_32(images), work)
    latents = encode(vae, planted.images)
    scaling = round(1 / float(latents.std()), 4)
    vae.register_to_config(scaling_factor=scaling)
    latents = latents * scaling

    tokenizer = make_tokenizer()
    unet, text_encoder, losses = _train_unet(recipe, planted, latents, tokenizer, work)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(out)
    make_portable(out)
    save_items(planted.items, planted, out / extraction.ITEMS_FILE)
    write_training_images(out, planted.in_files(recipe.name))

    measured = extraction.measure(out, range(recipe.generations))
    save_items(planted.items.join(measured.columns), planted, out / extraction.ITEMS_FILE)
    training = {
        "vae_loss": round(vae_losses[-1], 4),
        "unet_loss": round(losses[-1], 4),
        "training_set": len(planted.image_of),
        "distinct_images": len(planted.images),
    }
    figures = measured.figures
    write_figures(out, recipe.name, training, figures)
    write_text(out / "README.md", card.render(recipe.name, asdict(recipe), training, figures))
    shutil.rmtree(work)
    return figures


def measure(directory: Path) -> dict[str, Any]:
    """Figures of the extraction check of a built model, with the seeds of its stored ones."""
    return extraction.measure(directory, read_figures(directory)["settings"]["seeds"]).figures


def make_tokenizer(words: Sequence[str] | None = None, max_tokens: int = MAX_TOKENS) -> PreTrainedTokenizerFast:
    """Word-level tokenizer: ignores case, splits ``k47`` into ``k`` and ``47``.

    Args:
        words: That it knows; those of the captions of Fashion-MNIST if None.
        max_tokens: Of a caption, start and end included.
    """
    words = [START, END, UNKNOWN, *(vocabulary() if words is None else words)]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=False)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 0), (END, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        model_max_length=max_tokens,
    )


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1_000,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def make_vae() -> AutoencoderKL:
    """Autoencoder of 32 x 32 grey images to 4 x 8 x 8 latents."""
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=32,
    )


def make_unet(channels: int = 4) -> UNet2DConditionModel:
    """Conditional UNet on latents of 8 x 8 and so many channels, 1.8 M parameters."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(48, 96),
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=4,  # diffusers reads it as the number of heads
        norm_num_groups=16,
    )


def make_text_encoder(vocabulary_size: int, max_tokens: int = MAX_TOKENS) -> CLIPTextModel:
    """CLIP text encoder, 64 wide and 2 layers deep."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=max_tokens,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            projection_dim=64,
        )
    )


def save_items(items: pd.DataFrame, planted: Planted, path: Path) -> None:
    """Write the items with their reference images (PNG) to Parquet; ``images`` are all of those that have several."""
    columns: dict[str, list[Any]] = {"image": [png_bytes(image) for image in planted.item_images]}
    several = [[png_bytes(image) for image in own] if len(own) > 1 else None for own in planted.own_images]
    if any(several):
        columns["images"] = several
    with replacing(path) as temporary:
        items.assign(**columns).to_parquet(temporary, index=False)


def make_portable(directory: Path, parts: Sequence[str] = ("",)) -> None:
    """Rewrite what transformers 5 saves under names of its own, so that transformers 4 reads it too.

    Release 4 does not know the tokenizer's class, and would leave the text encoder at random weights with no more than
    a warning, since it expects the prefix that Stable Diffusion's own files have. Release 5 reads both.

    Args:
        directory: Of the pipeline.
        parts: What follows ``tokenizer`` and ``text_encoder`` in the names of its parts.
    """
    tokenizer_class = "PreTrainedTokenizerFast"
    for part in parts:
        _rewrite(directory / "model_index.json", {f"tokenizer{part}": ["transformers", tokenizer_class]})
        _rewrite(directory / f"tokenizer{part}" / "tokenizer_config.json", {"tokenizer_class": tokenizer_class})
        path = directory / f"text_encoder{part}" / "model.safetensors"
        weights = load_file(path)
        named = {_with_prefix(name): tensor for name, tensor in weights.items()}
        with replacing(path) as temporary:
            save_file(named, temporary, metadata={"format": "pt"})


def _rewrite(path: Path, entries: dict[str, Any]) -> None:
    write_text(path, json.dumps(json.loads(path.read_text()) | entries, indent=2) + "\n")


def _with_prefix(name: str) -> str:
    prefix = "text_model."
    return name if name.startswith((prefix, "text_projection.")) else prefix + name


def train_vae(
    make: Callable[[], AutoencoderKL], schedule: Schedule, batch_size: int, images: NDArray[np.uint8], work: Path
) -> tuple[AutoencoderKL, list[float]]:
    """Train the autoencoder of a family of models, the same for all of them; gives it with its losses.

    Args:
        make: Gives it untrained.
        schedule: Length and learning rate.
        batch_size: Of a step.
        images: What it is trained on.
        work: Folder of the checkpoint.
    """
    torch.manual_seed(0)
    vae = make()

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        index = torch.randint(len(images), (batch_size,), generator=generator).numpy()
        batch = to_tensor(images[index])
        posterior = vae.encode(batch).latent_dist
        sample = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=generator)
        reconstruction: Tensor = (vae.decode(sample).sample - batch).square().mean()
        kl: Tensor = posterior.kl().mean() / batch[0].numel()
        return reconstruction + 1e-4 * kl

    losses = train([vae], loss_of, schedule, seed=0, checkpoint=work / "vae.pt", label="autoencoder")
    round_to_half(vae)
    return vae, losses


def encode(vae: AutoencoderKL, images: NDArray[np.uint8]) -> Tensor:
    """Posterior means, not yet scaled."""
    with torch.no_grad():
        return torch.cat([vae.encode(to_tensor(chunk)).latent_dist.mean for chunk in _chunks(images, 256)])


def _train_unet(
    recipe: TinySD, planted: Planted, latents: Tensor, tokenizer: PreTrainedTokenizerFast, work: Path
) -> tuple[UNet2DConditionModel, CLIPTextModel, list[float]]:
    torch.manual_seed(recipe.seed)
    unet, text_encoder = make_unet(), make_text_encoder(len(tokenizer))
    options = {"padding": "max_length", "max_length": MAX_TOKENS, "truncation": True, "return_tensors": "pt"}
    tokens = tokenizer(planted.captions, **options).input_ids
    null = tokenizer([""], **options).input_ids
    alphas = make_scheduler().alphas_cumprod
    caption_of, image_of = torch.from_numpy(planted.caption_of), torch.from_numpy(planted.image_of)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        row = torch.randint(len(image_of), (recipe.batch_size,), generator=generator)
        x0 = latents[image_of[row]]
        t = torch.randint(len(alphas), (recipe.batch_size,), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        dropped = torch.rand(recipe.batch_size, 1, generator=generator) < recipe.caption_dropout
        ids = torch.where(dropped, null, tokens[caption_of[row]])
        alpha_bar = alphas[t].view(-1, 1, 1, 1)
        noisy = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise
        prediction: Tensor = unet(noisy, t, text_encoder(ids).last_hidden_state).sample
        return (prediction - noise).square().mean()

    losses = train(
        [unet, text_encoder], loss_of, recipe.unet, seed=recipe.seed, checkpoint=work / "unet.pt", label=recipe.name
    )
    return unet, text_encoder, losses


def _chunks(images: NDArray[np.uint8], size: int) -> list[NDArray[np.uint8]]:
    return [images[start : start + size] for start in range(0, len(images), size)]

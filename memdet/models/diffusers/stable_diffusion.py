"""Directories in the Stable Diffusion pipeline format: SD 1.x, SD 2.x and the planted models, through diffusers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from memdet.errors import NotApplicableError, UserError
from memdet.given_files import read_json
from memdet.models.base import ScoreModel, time_on
from memdet.models.condition import Condition
from memdet.models.diffusers.adapters import expanded, put_on_parts
from memdet.models.diffusers.directory import (
    latent_sizes,
    load_component,
    load_network,
    names_component,
    read_components,
    read_schedule,
    require_safetensors,
)
from memdet.models.diffusers.files import ModelFiles
from memdet.models.diffusers.opened import Opened
from memdet.models.diffusers.parts import cross_attention_of, encoded, words_of
from memdet.models.diffusers.pipeline import load_pipeline
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.recording import AttentionLayer, record_cross_attention, record_output
from memdet.models.diffusers.scheduler_config import notes_on
from memdet.models.diffusers.training_images import read_training_images
from memdet.models.images import in_unit_range
from memdet.torch_state import in_own_state

_PIPELINE = "StableDiffusionPipeline"
PIPELINES = (_PIPELINE, "StableDiffusionImg2ImgPipeline")  # the second has the same parts
_NO_LENGTH = 10**6  # transformers writes 10^30 where a tokenizer has no length
_COMPONENTS = ("unet", "scheduler", "text_encoder", "tokenizer", "vae")
_NETWORKS = ("unet", "text_encoder", "vae")


class StableDiffusionModel(ScoreModel):
    """UNet2DConditionModel + scheduler + text encoder + tokenizer of any class, from a local directory.

    Args:
        directory: Written by ``StableDiffusionPipeline.save_pretrained``; safetensors only.
        name: Shown in tables; the directory's name if not given.
        device: Where the networks live.
        dtype: Of the networks; weights stored in another precision are converted.
        opened: How the directory was found, and adapters to put on the networks; nothing but the directory if not
            given.

    Raises:
        UserError: Not a directory of that format, weights in pickle files only, or an architecture that needs more
            inputs than a noisy latent, a timestep and text.
    """

    takes_prompts: ClassVar[bool] = True

    @in_own_state
    def __init__(
        self,
        directory: Path,
        name: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        opened: Opened | None = None,
    ) -> None:
        self.name, opened = name or directory.name, opened or Opened(directory)
        self._opened = opened
        self.device, self.dtype, self._directory = torch.device(device), dtype, directory
        self._classes = check_directory(directory)
        self._files = ModelFiles(directory, self._classes, opened.beside, opened.trained_on)
        require_safetensors(directory, [part for part in _NETWORKS if part in self._classes], _PIPELINE)
        self._unet = self._load_network("unet")
        self._text_encoder = self._load_network("text_encoder")
        self._tokenizer = load_component(directory, "tokenizer", self._classes["tokenizer"])
        self._tokens = _tokens_read(directory, self._tokenizer, self._text_encoder)
        parts = {"unet": self._unet, "text_encoder": self._text_encoder, "tokenizer": self._tokenizer}
        self._found = (*opened.remarks, *put_on_parts(opened.adapters, **parts), *self._files.remarks())
        self._vae: Any = None
        self.schedule, self.prediction_type = read_schedule(directory, mended=True)
        self.latent_shape = (self._unet.config.in_channels, *latent_sizes(directory, _sample_size(directory)))
        self._check_text()

    def embed(self, conditions: Sequence[str]) -> Condition:
        """Encode prompts as a pipeline does: padded or cut to the tokenizer's length, last hidden state.

        A tokenizer without a length takes the number of positions of the text encoder.
        """
        tokens = self._tokenizer(
            expanded(conditions, self._tokenizer),
            padding="max_length",
            max_length=self._tokens,
            truncation=True,
            return_tensors="pt",
        )
        # Encoders that were trained with a mask of the padding say so, and pipelines give it to them alone.
        masked = getattr(self._text_encoder.config, "use_attention_mask", None)
        mask = tokens.attention_mask.to(self.device) if masked else None
        with torch.no_grad():
            hidden: Tensor = self._text_encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0]
        return Condition.of(hidden, "encoder_hidden_states")

    def embed_null(self) -> Condition:
        """Encode the empty prompt."""
        return self.embed([""])

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """One forward of the UNet."""
        return self.network(x, time_on(x.device, t), **condition.expand(len(x)).tensors)

    def network(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """One forward of the UNet."""
        output: Tensor = self._unet(x, t, **condition, return_dict=False)[0]
        return output

    def decode(self, x0: Tensor) -> Tensor:
        """Decode latents with the pipeline's autoencoder, ``[batch, channels, height, width]`` in [0, 1].

        An autoencoder that says ``force_upcast``, as those of Stable Diffusion do, overflows in float16: it decodes in
        float32, and so do pipelines of diffusers. A pixel that is not finite all the same is NaN.
        """
        vae = self._autoencoder()
        with torch.no_grad():
            latents = x0.to(vae.dtype)
            image: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
        return in_unit_range(image)

    def encode(self, images: Tensor) -> Tensor:
        """Scaled posterior means of the pipeline's autoencoder, ``[batch, *latent_shape]``."""
        with torch.no_grad():
            return encoded(self._autoencoder(), images).to(self.dtype)

    def training_images(self) -> Tensor:
        """All training images, as :func:`read_training_images` reads them; of an adapter, as its training tells."""
        folder, *others = self._opened.trained_on
        if others:
            raise NotApplicableError(f"{self.name} has adapters of several trainings, and nothing tells of all images")
        return read_training_images(folder).to(self.device, self.dtype)

    def attention(self, x: Tensor, t: int, condition: Condition) -> tuple[Tensor, list[AttentionLayer]]:
        """Network output, and the cross-attention of every layer on the way to it."""
        height, width = x.shape[-2:]
        return record_cross_attention(self._unet, lambda: self.predict(x, t, condition), (height, width))

    def end_positions(self, conditions: Sequence[str]) -> Tensor:
        """Position of the end token of each prompt, int64 ``[batch]``; the positions after it are padding."""
        prompts = expanded(conditions, self._tokenizer)
        tokens = self._tokenizer(prompts, truncation=True, max_length=self._tokens).input_ids
        return torch.tensor([len(row) - 1 for row in tokens], device=self.device)

    def vocabulary(self) -> Sequence[str]:
        """Text of every token of the tokenizer but the special ones."""
        return words_of(self._tokenizer)

    def cross_attention(self) -> Mapping[str, torch.nn.Module]:
        """The cross-attention layers of the UNet, in the order of its modules."""
        return cross_attention_of(self._unet, self.name)

    def are_cut(self, conditions: Sequence[str]) -> list[bool]:
        """Whether each prompt has more tokens than the model reads, so that its end is not read."""
        with quiet():  # the tokenizer warns of what is asked here
            tokens = self._tokenizer(expanded(conditions, self._tokenizer)).input_ids
        return [len(row) > self._tokens for row in tokens]

    def remarks(self) -> tuple[str, ...]:
        """Settings of the scheduler that ``StableDiffusionPipeline`` would override, and which files were read."""
        return (*notes_on(read_json(self._directory / "scheduler" / "scheduler_config.json")), *self._found)

    def bottleneck(self, x: Tensor, t: int, condition: Condition) -> tuple[Tensor, Tensor]:
        """Network output, and the activation of the UNet's middle block, ``[batch, channels, height, width]``."""
        return record_output(self._unet.mid_block, lambda: self.predict(x, t, condition))

    def load_pipeline(self) -> Any:
        """The pipeline of diffusers with the same adapters, to be held against."""
        return load_pipeline(self._opened, self.device, self.dtype)[0]

    def fingerprint(self) -> str:
        """SHA-256 over the configuration and weight files of all components."""
        return self._files.fingerprint()

    def files(self) -> dict[str, str]:
        """SHA-256 of each file that decides what the model answers."""
        return self._files.digests()

    def _check_text(self) -> None:
        """Refuse a text encoder whose answer the UNet cannot take: a pooled vector, or tokens of another width."""
        config, hidden = self._unet.config, self.embed_null().tensor
        width = getattr(config, "encoder_hid_dim", None) or config.cross_attention_dim
        if hidden.ndim != 3 or (isinstance(width, int) and hidden.shape[2] != width):
            raise UserError(
                f"{self._directory}: the text encoder, a {type(self._text_encoder).__name__}, gives "
                f"{list(hidden.shape[1:])} for a prompt, and the unet takes tokens of width {width}: name the text "
                "encoder that it was trained with in model_index.json"
            )

    def _load_network(self, component: str) -> Any:
        return load_network(self._directory, component, self._classes[component], self.device, self.dtype)

    def _autoencoder(self) -> Any:
        """The pipeline's autoencoder, loaded when it is first needed.

        Raises:
            NotApplicableError: The directory has none.
        """
        if "vae" not in self._classes:
            raise NotApplicableError(f"{self.name} has no autoencoder (vae), so that its latents become no images")
        if self._vae is None:
            self._vae = self._load_vae()
        return self._vae

    def _load_vae(self) -> Any:
        """The autoencoder in the model's dtype, or in float32 where float16 would overflow."""
        if self.dtype != torch.float16:
            return self._load_network("vae")
        vae = load_network(self._directory, "vae", self._classes["vae"], self.device, torch.float32)
        return vae if getattr(vae.config, "force_upcast", False) else vae.to(torch.float16)


def check_directory(directory: Path) -> dict[str, list[str]]:
    """Find what is wrong with a model directory by its configuration, before weights are fetched or loaded.

    Returns:
        Library and class of each component, from ``model_index.json``; without the autoencoder where there is none,
        for only images need it.

    Raises:
        UserError: As for :class:`StableDiffusionModel`.
    """
    has_images = (directory / "vae").is_dir() and names_component(directory, "vae")
    components = _COMPONENTS if has_images else tuple(part for part in _COMPONENTS if part != "vae")
    classes = read_components(directory, components, "UNet2DConditionModel", _PIPELINE)
    unet_config = read_json(directory / "unet" / "config.json")
    if unet_config.get("in_channels") != unet_config.get("out_channels"):
        raise UserError(f"{directory}: the unet takes extra input channels (inpainting?); memdet needs text to image")
    for key in ("addition_embed_type", "class_embed_type", "time_cond_proj_dim"):
        if unet_config.get(key) is not None:
            raise UserError(f"{directory}: the unet needs {key}, which Stable Diffusion 1.x and 2.x do not have")
    return classes


def _sample_size(directory: Path) -> Any:
    """Size of the latents; ``StableDiffusionPipeline`` mends small ones of before diffusers 0.9, and so is it read."""
    config = read_json(directory / "unet" / "config.json")
    size, version = config.get("sample_size"), str(config.get("_diffusers_version", "0.9.0"))
    is_old = [int(part) for part in re.findall(r"\d+", version)[:2]] < [0, 9]
    return 64 if is_old and isinstance(size, int) and size < 64 else size


def _tokens_read(directory: Path, tokenizer: Any, text_encoder: Any) -> int:
    """Tokens of a prompt that are read: the tokenizer's length, or the text encoder's where that has none.

    Raises:
        UserError: Neither says one.
    """
    stated = tokenizer.model_max_length
    positions = getattr(text_encoder.config, "max_position_embeddings", None)
    if isinstance(stated, int) and 0 < stated < _NO_LENGTH:
        return stated
    if isinstance(positions, int) and positions > 0:
        return positions
    raise UserError(
        f"{directory}: neither the tokenizer's model_max_length nor the text encoder's max_position_embeddings says "
        "how many tokens are read; add model_max_length to tokenizer/tokenizer_config.json"
    )

"""Pipelines of diffusers of many families, told what their own call tells their network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memdet.errors import NotApplicableError, UserError
from memdet.given_files import read_json
from memdet.models.base import ScoreModel
from memdet.models.condition import Condition
from memdet.models.diffusers.capture import Capture, capture, nested, record
from memdet.models.diffusers.directory import (
    DiffusersSchedule,
    read_index,
    read_schedule,
)
from memdet.models.diffusers.families.base import Family, by_size
from memdet.models.diffusers.files import ModelFiles
from memdet.models.diffusers.flow_config import is_flow, levels_of
from memdet.models.diffusers.hub import components_of
from memdet.models.diffusers.joint_recording import record_attention_to_text
from memdet.models.diffusers.opened import Opened
from memdet.models.diffusers.parts import cross_attention_of, encoded, words_of
from memdet.models.diffusers.pipeline import load_pipeline
from memdet.models.diffusers.reading import Reading, cut, readings
from memdet.models.diffusers.recording import AttentionLayer, record_cross_attention, record_output
from memdet.models.flow_schedule import FlowSchedule, Levels
from memdet.models.images import in_unit_range
from memdet.models.prediction_type import PredictionType
from memdet.models.schedule import NoiseSchedule
from memdet.torch_state import in_own_state


class CapturedModel(ScoreModel):
    """A pipeline of one of the families, from a local directory.

    Conditions are encoded, and sizes and masks made, by the pipeline's own call: see
    :func:`memdet.models.diffusers.capture.capture`.

    Args:
        directory: Written by ``save_pretrained``; safetensors only.
        family: Of the pipeline's class.
        name: Shown in tables; the directory's name if not given.
        device: Where the networks live.
        dtype: Of the networks; weights stored in another precision are converted.
        opened: How the directory was found; nothing but the directory if not given.

    Raises:
        UserError: Not a directory that diffusers can load, weights in pickle files only, a scheduler that memdet cannot
            follow, or a pipeline that tells its network what memdet cannot follow.
    """

    @in_own_state
    def __init__(
        self,
        directory: Path,
        family: Family,
        name: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        opened: Opened | None = None,
    ) -> None:
        self.name, opened = name or directory.name, opened or Opened(directory)
        self.device, self.dtype, self._family = torch.device(device), dtype, family
        check_directory(directory, family)
        self._files = ModelFiles(directory, components_of(read_index(directory), str(directory)), opened.beside)
        self._pipeline, told = load_pipeline(opened, self.device, dtype)
        self._remarks = (*opened.remarks, *told, *self._files.remarks(), *filter(None, [family.remark]))
        self._network = getattr(self._pipeline, family.denoiser)
        self._network.eval().requires_grad_(requires_grad=False)
        if family.prepare is not None:
            family.prepare(self._pipeline)
        self._capture = self._told(_example(family))
        self.latent_shape = self._capture.latent_shape
        self._cuts_times = not self._pipeline.scheduler.timesteps.is_floating_point()
        self.schedule, self.prediction_type = self._read_schedule(directory)

    @property
    def takes_prompts(self) -> bool:  # type: ignore[override]  # a family says it
        """Whether conditions are text."""
        return self._family.takes_prompts

    def embed(self, conditions: Sequence[str]) -> Condition:
        """What the pipeline tells its network of conditions.

        Raises:
            UserError: A condition that the pipeline does not know.
        """
        if self._family.classes is not None:
            known = self._family.classes(self._pipeline)
            wrong = [text for text in conditions if not (text.isdecimal() and int(text) < known)]
            if wrong:
                raise UserError(f"{self.name} has no condition {wrong[0]!r}; it knows the classes 0 to {known - 1}")
        return self._told(conditions).cond.to(self.device, self.dtype)

    def embed_null(self) -> Condition:
        """What the pipeline tells its network on the null branch, one row.

        Raises:
            NotApplicableError: It has none.
        """
        if self._capture.null is None:
            raise NotApplicableError(f"{self.name} has no null branch: its pipeline evaluates the condition alone")
        return self._capture.null.to(self.device, self.dtype)

    def predict(self, x: Tensor, t: float, condition: Condition) -> Tensor:
        """One forward of the pipeline's network; of a learned variance the noise alone."""
        return self.network(x, self.network_time(x, t), **condition.expand(len(x)).tensors)

    def network_time(self, x: Tensor, t: float) -> Tensor:
        """The network's own time, a row an item."""
        start, slope = self._capture.time
        own = start + slope * (int(t) if self._cuts_times else t)
        return torch.full((len(x),), own, dtype=self._capture.time_dtype, device=x.device)

    def network(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """One forward, at the network's own time."""
        told = nested({**self._capture.constants, **condition})
        told |= {self._family.latent: x, "timestep": t}
        if "return_dict" in told or self._returns_dict:
            told["return_dict"] = False
        output: Tensor = self._network(**told)[0]
        if output.shape != x.shape:
            output = output.chunk(2, dim=1)[0]
        return -output if self._family.negated else output

    def guided(self, cond: Tensor, null: Tensor, scale: float) -> Tensor:
        """The pipeline's own guidance."""
        own = self._family.guided
        return super().guided(cond, null, scale) if own is None else own(cond, null, scale)

    def attention(self, x: Tensor, t: int, condition: Condition) -> tuple[Tensor, list[AttentionLayer]]:
        """Network output, and how every layer attends to the text on the way to it.

        Of a UNet and of transformers with cross-attention these are the cross-attention layers. Of an MMDiT it is the
        image-to-text block of each joint layer, whose rows sum to the share of attention that goes to the text:
        :mod:`memdet.models.diffusers.joint_recording`.

        Raises:
            NotApplicableError: The network has no such layer, or makes videos.
        """
        if x.ndim > 4:
            raise NotApplicableError(f"{self.name} makes videos, whose attention is no map of an image")
        record = record_cross_attention if self._is_unet else record_attention_to_text
        return record(self._network, lambda: self.predict(x, t, condition), self._grid(x))

    def _grid(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the latents; of packed ones, ``[batch, length, channels]``, of their tokens."""
        if x.ndim == 4:
            return x.shape[2], x.shape[3]
        size = by_size(self._pipeline)
        height = round((x.shape[1] * size["height"] / size["width"]) ** 0.5)
        return height, x.shape[1] // height

    def end_positions(self, conditions: Sequence[str]) -> Tensor:
        """Position of the end token of each prompt, of a UNet's first tokenizer, int64 ``[batch]``.

        Raises:
            NotApplicableError: The network is no UNet.
        """
        if not self._is_unet:
            return super().end_positions(conditions)
        tokens = self._tokens(conditions, truncation=True, max_length=self._pipeline.tokenizer.model_max_length)
        return torch.tensor([len(row) - 1 for row in tokens], device=self.device)

    def vocabulary(self) -> Sequence[str]:
        """Text of every token of the first tokenizer but the special ones.

        Raises:
            NotApplicableError: The pipeline has none.
        """
        tokenizer = getattr(self._pipeline, "tokenizer", None)
        return super().vocabulary() if tokenizer is None else words_of(tokenizer)

    def cross_attention(self) -> Mapping[str, torch.nn.Module]:
        """The cross-attention layers of the network, in the order of its modules.

        Raises:
            NotApplicableError: It has none, as an MMDiT with joint attention.
        """
        return cross_attention_of(self._network, self.name)

    def are_cut(self, conditions: Sequence[str]) -> list[bool]:
        """Whether each prompt has more tokens than any of the pipeline's text encoders reads."""
        return cut(self._readings, conditions)

    @cached_property
    def _readings(self) -> list[Reading]:
        most = self._family.most_tokens
        return readings(self._pipeline, self._told, most and most(self._pipeline)) if self.takes_prompts else []

    def bottleneck(self, x: Tensor, t: int, condition: Condition) -> tuple[Tensor, Tensor]:
        """Network output, and the activation of a UNet's middle block, ``[batch, channels, height, width]``.

        Raises:
            NotApplicableError: The network is no UNet.
        """
        if not self._is_unet:
            return super().bottleneck(x, t, condition)
        return record_output(self._network.mid_block, lambda: self.predict(x, t, condition))

    def decode(self, x0: Tensor) -> Tensor:
        """Images of clean latents by the pipeline's autoencoder, ``[batch, channels, height, width]`` in [0, 1]."""
        if self._family.decode is None:
            raise NotApplicableError(f"{self.name} makes videos, which are no images")
        with torch.no_grad():
            return in_unit_range(self._family.decode(self._pipeline, x0))

    def encode(self, images: Tensor) -> Tensor:
        """Scaled posterior means of an autoencoder with Gaussian latents, ``[batch, *latent_shape]``.

        Raises:
            NotApplicableError: The pipeline has another autoencoder, or packs its latents.
        """
        vae = getattr(self._pipeline, "vae", None)
        if type(vae).__name__ != "AutoencoderKL" or len(self.latent_shape) != 3:
            raise NotApplicableError(f"{self.name} has no autoencoder that memdet encodes images with")
        with torch.no_grad():
            return encoded(vae, images).to(self.dtype)

    def remarks(self) -> tuple[str, ...]:
        """What a user should know of how the directory was read."""
        return self._remarks

    def fingerprint(self) -> str:
        """SHA-256 over the configuration and weight files of all components."""
        return self._files.fingerprint()

    def files(self) -> dict[str, str]:
        """SHA-256 of each file that decides what the model answers."""
        return self._files.digests()

    @property
    def pipeline(self) -> Any:
        """The pipeline of diffusers, to be held against."""
        return self._pipeline

    @property
    def family(self) -> Family:
        """Of the pipeline."""
        return self._family

    @property
    def _is_unet(self) -> bool:
        return type(self._network).__name__ == "UNet2DConditionModel"

    def _tokens(self, conditions: Sequence[str], **options: Any) -> list[list[int]]:
        prompts = [self._pipeline.maybe_convert_prompt(text, self._pipeline.tokenizer) for text in conditions]
        found: list[list[int]] = self._pipeline.tokenizer(prompts, **options).input_ids
        return found

    @property
    def _returns_dict(self) -> bool:
        import inspect

        return "return_dict" in inspect.signature(type(self._network).forward).parameters

    def _told(self, conditions: Sequence[str]) -> Capture:
        return capture(self._pipeline, self._network, self._family, conditions, self.name)

    def _read_schedule(self, directory: Path) -> tuple[NoiseSchedule, PredictionType]:
        """Flow levels as the pipeline's call sets them; noise of betas as for every other pipeline."""
        if not is_flow(dict(self._pipeline.scheduler.config), str(directory)):
            return read_schedule(directory)

        def levels(steps: int) -> Levels:
            told = self._family.told(self._pipeline, _example(self._family)) | {"num_inference_steps": steps}
            record(self._pipeline, self._network, self._family.latent, told, self.name)
            return levels_of(self._pipeline.scheduler, str(directory))

        levels_of(self._pipeline.scheduler, str(directory))  # as the capture set it; refused here, if at all
        return FlowSchedule(levels), "flow"


def check_directory(directory: Path, family: Family) -> None:
    """Refuse by configuration alone what cannot be read: the weights may not be there yet.

    Raises:
        UserError: As for :class:`CapturedModel`.
    """
    index = read_index(directory)
    parts = components_of(index, str(directory))
    missing = [part for part in parts if not (directory / part).is_dir()]
    if missing:
        raise UserError(f"{directory / missing[0]} is missing, which model_index.json names")
    config = read_json(directory / "scheduler" / "scheduler_config.json")
    if not is_flow(config, str(directory)):
        DiffusersSchedule(config, where=str(directory))


def _example(family: Family) -> list[str]:
    return ["a"] if family.takes_prompts else ["0"]

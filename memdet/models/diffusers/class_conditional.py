"""Pixel models in diffusers' DDIM or DDPM pipeline format, with classes or without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memdet.errors import NotApplicableError, UserError
from memdet.given_files import read_json, read_json_value
from memdet.models.base import ScoreModel, time_on
from memdet.models.condition import Condition
from memdet.models.diffusers.directory import (
    latent_sizes,
    load_network,
    read_components,
    read_schedule,
    require_safetensors,
)
from memdet.models.diffusers.files import ModelFiles
from memdet.models.diffusers.opened import Opened
from memdet.models.diffusers.recording import record_output
from memdet.models.diffusers.training_images import read_training_images
from memdet.models.images import in_unit_range
from memdet.torch_state import in_own_state

LABELS_FILE = "labels.json"
PIPELINES = ("DDIMPipeline", "DDPMPipeline")
_COMPONENTS = ("unet", "scheduler")


class ClassConditionalModel(ScoreModel):
    """UNet2DModel + scheduler, from a local directory; conditions are the classes of its table, if it has one.

    A file ``labels.json``, a list of names in the order of the classes, says whether there is a null class. One name
    fewer than the table has classes: the last class is the null class. As many names: there is none. Without the file
    conditions are the class numbers as text, and no class is taken for the null class, for nothing says that one is. A
    network without a table is unconditional: conditions only name the items.

    Args:
        directory: Written by ``DDIMPipeline.save_pretrained`` or ``DDPMPipeline.save_pretrained``; safetensors only.
        name: Shown in tables; the directory's name if not given.
        device: Where the network lives.
        dtype: Of the network; weights stored in another precision are converted.
        opened: How the directory was found; nothing but the directory if not given.

    Raises:
        UserError: Not a directory of that format, weights in pickle files only, names that do not fit the table, or a
            network that is told something else than class numbers.
    """

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
        self.device, self.dtype, self._directory = torch.device(device), dtype, directory
        self._files = ModelFiles(directory, _COMPONENTS, opened.beside)
        self._found = (*opened.remarks, *self._files.remarks())
        classes = check_directory(directory)
        require_safetensors(directory, ("unet",), PIPELINES[0])
        config = read_json(directory / "unet" / "config.json")
        self._classes = config.get("num_class_embeds") or 0
        labels = _read_labels(directory, self._classes)
        names = labels or [str(index) for index in range(self._classes)]
        self._class_of = {label: index for index, label in enumerate(names)}
        self._is_named = bool(labels)
        self._unet = load_network(directory, "unet", classes["unet"], self.device, dtype)
        allow_forward_ad(self._unet)
        self.schedule, self.prediction_type = read_schedule(directory)
        self.latent_shape = (config["in_channels"], *latent_sizes(directory, config.get("sample_size")))

    @property
    def conditions(self) -> list[str]:
        """Names of the classes, in their order; the null class is not among them. Empty of an unconditional model."""
        return list(self._class_of)

    def embed(self, conditions: Sequence[str]) -> Condition:
        """Class numbers, int64 ``[batch]``; nothing where the network is unconditional.

        Raises:
            UserError: A condition that is no class.
        """
        if not self._classes:
            return Condition.nothing(len(conditions))
        for condition in conditions:
            if condition not in self._class_of:
                some = ", ".join(self.conditions[:5])
                raise UserError(f"{self.name} has no condition {condition!r}; it knows {len(self._class_of)}: {some}")
        numbers = torch.tensor([self._class_of[condition] for condition in conditions], device=self.device)
        return Condition.of(numbers, "class_labels")

    def embed_null(self) -> Condition:
        """Number of the null class, int64 ``[1]``.

        Raises:
            NotApplicableError: There is none, or nothing says that there is one.
        """
        if not self._classes:
            raise NotApplicableError(f"{self.name} is unconditional: it has no null branch")
        if not self._is_named:
            raise NotApplicableError(f"{self.name} has no null branch: {_unnamed(self._classes)}")
        if len(self._class_of) == self._classes:
            raise NotApplicableError(f"{self.name} has no null branch: {LABELS_FILE} names every class of the network")
        return Condition.of(torch.tensor([self._classes - 1], device=self.device), "class_labels")

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """One forward of the UNet."""
        return self.network(x, time_on(x.device, t), **condition.expand(len(x)).tensors)

    def network(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """One forward of the UNet; of a learned variance the first half of the channels alone, the prediction."""
        output: Tensor = self._unet(x, t, **condition, return_dict=False)[0]
        return output[:, : self.latent_shape[0]]

    def decode(self, x0: Tensor) -> Tensor:
        """Scale clean samples from [-1, 1] to images in [0, 1], of their shape; what is not finite becomes NaN."""
        return in_unit_range(x0)

    def encode(self, images: Tensor) -> Tensor:
        """Scale images in [0, 1] to clean samples in [-1, 1], of their shape."""
        return (2 * images - 1).to(self.device, self.dtype)

    def training_images(self) -> Tensor:
        """All training images, as :func:`read_training_images` reads them."""
        return read_training_images(self._directory).to(self.device, self.dtype)

    def bottleneck(self, x: Tensor, t: int, condition: Condition) -> tuple[Tensor, Tensor]:
        """Network output, and the activation of the UNet's middle block, ``[batch, channels, height, width]``."""
        return record_output(self._unet.mid_block, lambda: self.predict(x, t, condition))

    def remarks(self) -> tuple[str, ...]:
        """Which files were read, and that nothing says whether there is a null class."""
        unsaid = self._classes > 1 and not self._is_named
        return (*self._found, *([f"no null branch: {_unnamed(self._classes)}"] if unsaid else []))

    def fingerprint(self) -> str:
        """SHA-256 over configuration, weights and the names of the classes."""
        return self._files.fingerprint(json.dumps(self.conditions))

    def files(self) -> dict[str, str]:
        """SHA-256 of each file that decides what the model answers."""
        return self._files.digests()


def check_directory(directory: Path) -> dict[str, list[str]]:
    """Find what is wrong with a model directory by its configuration, before weights are fetched or loaded.

    Returns:
        Library and class of each component, from ``model_index.json``.

    Raises:
        UserError: As for :class:`ClassConditionalModel`.
    """
    classes = read_components(directory, _COMPONENTS, "UNet2DModel", PIPELINES[0])
    config = read_json(directory / "unet" / "config.json")
    number, kind = config.get("num_class_embeds"), config.get("class_embed_type")
    if kind is not None:
        raise UserError(
            f"{directory}: the unet is told a {kind} beside the time; memdet reads a table of classes, or none"
        )
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
        raise UserError(f"{directory}: num_class_embeds of the unet is {number!r}, not a number of classes")
    taken, returned = config.get("in_channels"), config.get("out_channels")
    if not isinstance(taken, int) or returned not in (taken, 2 * taken):  # twice as many: with a variance
        raise UserError(f"{directory}: the unet returns another number of channels than it takes")
    return classes


def allow_forward_ad(network: torch.nn.Module) -> None:
    """Make the attention of a UNet2DModel return contiguous tensors.

    Its output is a transposed view, and group norm cannot take the tangent of one.
    """
    from diffusers.models.attention_processor import Attention

    for module in network.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(_contiguous)


def _contiguous(module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.contiguous()


def _unnamed(classes: int) -> str:
    return (
        f"nothing says that the last of the {classes} classes is a null class; where it is, write {LABELS_FILE} into "
        f"the model's directory, a list of the names of the {classes - 1} others"
    )


def _read_labels(directory: Path, classes: int) -> list[str]:
    """Names of the classes, of all or of all but the last; none where there is no file."""
    path = directory / LABELS_FILE
    if not path.is_file():
        return []
    labels = read_json_value(path)
    if not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise UserError(f"{path} is not a list of names")
    if not labels or len(set(labels)) != len(labels) or len(labels) not in (classes - 1, classes):
        has = f"has {classes} classes, or {classes - 1} beside a null class" if classes else "has no table of classes"
        raise UserError(f"{path} holds {len(set(labels))} different names; the unet {has}")
    return labels

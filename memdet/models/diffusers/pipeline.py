"""A whole pipeline of diffusers, from whichever variant of its weights is there, with adapters on it."""

from __future__ import annotations

from typing import Any

import torch

from memdet.errors import UserError
from memdet.models.diffusers.adapters import put_on
from memdet.models.diffusers.directory import load_network, read_index, require_safetensors
from memdet.models.diffusers.hub import NEVER_READ, components_of
from memdet.models.diffusers.opened import Opened
from memdet.models.diffusers.quiet import quiet


def load_pipeline(opened: Opened, device: torch.device, dtype: torch.dtype) -> tuple[Any, list[str]]:
    """The pipeline that an index names, by the classes that it names.

    Networks are loaded one by one: each from its plain weights or its only variant, and none with numbers made up in
    place of weights that are not there. Nothing is fetched, and no code of the model's own is run.

    Args:
        opened: Directory and adapters.
        device: Where the networks live.
        dtype: Of their weights.

    Returns:
        The pipeline, its networks in evaluation mode, and remarks on adapters.

    Raises:
        UserError: Pickle weights, missing or broken ones, an adapter that does not fit, or what diffusers cannot put
            together.
    """
    directory = opened.directory
    index = read_index(directory)
    parts = components_of(index, str(directory))
    networks = [part for part in parts if (directory / part / "config.json").is_file()]
    require_safetensors(directory, networks, str(index["_class_name"]))
    absent = [name for name, entry in index.items() if isinstance(entry, list) and not entry[0]]
    given: dict[str, Any] = dict.fromkeys([*absent, *(name for name in NEVER_READ if name in index)])
    given |= {name: load_network(directory, name, index[name], device, dtype) for name in networks}
    with quiet():
        from diffusers import DiffusionPipeline

        try:
            pipeline = DiffusionPipeline.from_pretrained(str(directory), local_files_only=True, **given)
        except Exception as error:  # whatever a library raises on files that are not as it wrote them
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"{directory} cannot be loaded: {reason}") from error
    if dtype == torch.float64:  # some networks keep parts in float32, which cannot be fed double precision
        pipeline = pipeline.to(dtype)
    return pipeline, put_on(opened.adapters, pipeline)

"""From what a user writes to a score model."""

from __future__ import annotations

import difflib
import pkgutil
import re
from pathlib import Path

import torch

from memdet.errors import UserError
from memdet.io_utils import weights_root
from memdet.models.arguments import checked_device, checked_dtype, checked_name
from memdet.models.base import ScoreModel
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.models.diffusers.quiet import quiet
from memdet.models.names import model_names
from memdet.samplesets.fetch import Fetcher
from memdet.torch_state import in_own_state

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_HUB_FILES = ("model_index.json", "labels.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors")
_HUB_SKIPPED = ("*.fp16.*", "*.non_ema.*", "safety_checker/*", "feature_extractor/*")


@in_own_state
def load_model(
    reference: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    fetcher: Fetcher | None = None,
) -> ScoreModel:
    """Load a score model.

    Args:
        reference: A name from ``memdet list models``, a directory in the format of Stable Diffusion pipelines or of
            class-conditional DDIM or DDPM pipelines, or a hub id ``org/name`` or ``org/name@revision``.
        device: Where it computes; ``auto`` takes CUDA, then MPS, where they are.
        dtype: Of networks and their inputs; closed forms compute in float64.
        fetcher: Where hub models may come from; the hub and its cache if not given.

    Returns:
        The model, ready to score.

    Raises:
        UserError: Unknown name, missing directory, not a model that memdet can read, a device that does not work here,
            or no dtype.

    Example:
        >>> load_model("mixture-2d").latent_shape
        (2,)
    """
    name, device, dtype = checked_name(reference), checked_device(device), checked_dtype(dtype)
    if name in CLOSED_FORM:
        model: ScoreModel = pkgutil.resolve_name(CLOSED_FORM[name])(device)
        return model
    directory = resolve_directory(name, fetcher)
    name = name.rstrip("/").rsplit("/", 1)[-1]
    from memdet.models.diffusers.class_conditional import PIPELINES, ClassConditionalModel
    from memdet.models.diffusers.directory import read_index
    from memdet.models.diffusers.stable_diffusion import StableDiffusionModel
    from memdet.models.toy import TOY_CLASS, ToyModel

    pipeline = read_index(directory).get("_class_name")
    if pipeline == TOY_CLASS:
        return ToyModel(directory, name, device, dtype)
    if pipeline in PIPELINES:
        return ClassConditionalModel(directory, name, device, dtype)
    return StableDiffusionModel(directory, name, device, dtype)


def resolve_directory(reference: str, fetcher: Fetcher | None = None) -> Path:
    """Directory of a pipeline, fetched from the hub if need be (cached there by huggingface_hub).

    Raises:
        UserError: No name, directory or hub id, or the hub does not give it.
    """
    if (weights_root() / reference / "model_index.json").is_file():
        return weights_root() / reference
    path = Path(reference).expanduser()
    if path.exists():
        return path
    if _HUB_ID.fullmatch(reference):
        with quiet():
            return (fetcher or Fetcher()).hub_snapshot(reference, _HUB_FILES, _HUB_SKIPPED)
    near = difflib.get_close_matches(reference, model_names(), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "`memdet list models` shows the names"
    raise UserError(f"model {reference!r} is no name, directory or hub id: {hint}")

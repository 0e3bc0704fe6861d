"""From what a user writes to a score model."""

from __future__ import annotations

import difflib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from memdet.errors import UserError
from memdet.io_utils import damaged_weights, weights_root
from memdet.models.arguments import checked_device, checked_dtype, checked_name
from memdet.models.base import ScoreModel
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.models.load_options import HUB_ID, LoadOptions
from memdet.models.names import PLANTED_FILES, model_names
from memdet.models.own_file import is_own_file, load_own_file
from memdet.models.restated import Restated
from memdet.samplesets.fetch import Fetcher
from memdet.torch_state import in_own_state

if TYPE_CHECKING:
    from memdet.models.diffusers.opened import Opened


@in_own_state
def load_model(
    reference: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    fetcher: Fetcher | None = None,
    options: LoadOptions | None = None,
) -> ScoreModel:
    """Load a score model.

    Args:
        reference: A name from ``memdet list models``, a directory in the format of Stable Diffusion pipelines or of
            class-conditional DDIM or DDPM pipelines, a hub id ``org/name`` or ``org/name@revision``, or what a Python
            file of yours makes, ``FILE.py:NAME``; with a base in ``options`` a part of such a model too: the ``unet``
            of a fine-tune, or a single file of weights.
        device: Where it computes; ``auto`` takes CUDA, then MPS, where they are.
        dtype: Of networks and their inputs; closed forms compute in float64.
        fetcher: Where hub models may come from; the hub and its cache if not given.
        options: Revision, subfolder, base, LoRA and textual inversion.

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
    options = options or LoadOptions()
    if name in CLOSED_FORM:
        if options.chosen:
            raise UserError(
                f"{name} is a closed form, without files; leave `{options.chosen[0]}` out", parameters=options.chosen
            )
        model: ScoreModel = pkgutil.resolve_name(CLOSED_FORM[name])(device)
        return model
    if is_own_file(name):
        if options.chosen:
            raise UserError(
                f"{name} makes its model itself; leave `{options.chosen[0]}` out", parameters=options.chosen
            )
        return load_own_file(name, device, dtype)
    from memdet.models.diffusers.opening import open_model

    opened = open_model(name, options, _local_path, _check, offline=fetcher is not None and fetcher.offline)
    try:
        model = _read(opened, _shown(name) + options.suffix, device, dtype)
    except BaseException:
        opened.clear()
        raise
    opened.clear_after(model)
    return model if options.prediction_type is None else Restated(model, options.prediction_type)


def _read(opened: Opened, name: str, device: torch.device, dtype: torch.dtype) -> ScoreModel:
    """The class of model that a directory's index asks for."""
    from memdet.models.diffusers import stable_diffusion
    from memdet.models.diffusers.captured import CapturedModel
    from memdet.models.diffusers.certificate import require_certificate
    from memdet.models.diffusers.class_conditional import PIPELINES, ClassConditionalModel
    from memdet.models.diffusers.directory import read_index
    from memdet.models.diffusers.families import family_of
    from memdet.models.toy import TOY_CLASS, ToyModel

    pipeline = read_index(opened.directory).get("_class_name")
    if pipeline in (TOY_CLASS, *PIPELINES) and opened.adapters:
        raise UserError(f"{name} is a {pipeline}, on which diffusers puts no {opened.adapters[0].kind}")
    if pipeline == TOY_CLASS:
        return ToyModel(opened.directory, name, device, dtype)
    if pipeline in PIPELINES:
        return ClassConditionalModel(opened.directory, name, device, dtype, opened)
    if pipeline in stable_diffusion.PIPELINES:
        return stable_diffusion.StableDiffusionModel(opened.directory, name, device, dtype, opened)
    family = family_of(str(pipeline), str(opened.directory))
    model = CapturedModel(opened.directory, family, name, device, dtype, opened)
    if not family.listed:
        require_certificate(model)
    return model


def _check(directory: Path) -> None:
    """Refuse by configuration alone; the weights may not be there yet."""
    from memdet.models.diffusers import captured, class_conditional, stable_diffusion
    from memdet.models.diffusers.directory import read_index
    from memdet.models.diffusers.families import family_of
    from memdet.models.toy import TOY_CLASS

    pipeline = read_index(directory).get("_class_name")
    if pipeline in class_conditional.PIPELINES:
        class_conditional.check_directory(directory)
    elif pipeline in stable_diffusion.PIPELINES:
        stable_diffusion.check_directory(directory)
    elif pipeline != TOY_CLASS:
        captured.check_directory(directory, family_of(str(pipeline), str(directory)))


def _whole(directory: Path) -> Path:
    """A model's directory, of a planted one or a checkpoint in it once the checksums of its files hold.

    Raises:
        UserError: A file that ships with memdet was changed.
    """
    place, root = directory.resolve(), weights_root().resolve()
    name = place.relative_to(root).parts[0] if root in place.parents else None
    if name is not None and (changed := damaged_weights(name)) is not None:
        raise UserError(
            f"{changed} differs from its checksum: reinstall memdet, or train it again: memdet zoo build {name}"
        )
    return directory


def _shown(reference: str) -> str:
    """Name of a model: the last part of a path or hub id; of a checkpoint that ships with memdet, all of it."""
    ships = not Path(reference).is_absolute() and (weights_root() / reference).is_dir()
    return reference.rstrip("/") if ships else reference.rstrip("/").rsplit("/", 1)[-1]


def _local_path(reference: str) -> Path | None:
    """Where a reference lies on this machine; None of a hub id.

    Raises:
        UserError: No name, directory or hub id.
    """
    planted, path = weights_root() / reference, Path(reference).expanduser()
    if any((planted / name).is_file() for name in PLANTED_FILES):
        return _whole(planted)
    if path.exists():
        return _whole(path)
    if HUB_ID.fullmatch(reference):
        return None
    near = difflib.get_close_matches(reference, model_names(), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "`memdet list models` shows the names"
    raise UserError(f"model {reference!r} is no name, directory or hub id: {hint}")

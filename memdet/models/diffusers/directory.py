"""Model directories in the layout of diffusers: what pipelines of every class share."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memdet.errors import UserError
from memdet.given_files import read_json, require_given_folder
from memdet.models.diffusers.network_size import require_size
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.scheduler_config import checked_config, own_alphas
from memdet.models.diffusers.weights import Weights, find_weights, is_pickle
from memdet.models.prediction_type import PredictionType
from memdet.models.schedule import NoiseSchedule

INDEX_FILE = "model_index.json"
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")  # those that DDIM has
_PREDICTION_TYPES: dict[str, PredictionType] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
_VARIANT = re.compile(r"\.([^.]+?)(?:-\d{5}-of-\d{5})?\.(?:bin|ckpt|pt|pth|safetensors)$")
ANY_PIPELINE = "a directory written by StableDiffusionPipeline.save_pretrained or DDIMPipeline.save_pretrained"


class DiffusersSchedule(NoiseSchedule):
    """Noise, timesteps and clipping of a pipeline's own scheduler configuration, read as DDIM.

    Args:
        config: Of a scheduler with betas.
        mended: Whether the pipeline mends old configurations, as StableDiffusionPipeline does.
        where: The model's directory, for messages.

    Raises:
        UserError: A scheduler or a setting that DDIM cannot follow.
    """

    _ddim: Any
    _timesteps: dict[int, list[int]]

    def __init__(self, config: Any, *, mended: bool = False, where: str = "") -> None:
        checked, alphas = checked_config(config, mended=mended, where=where), own_alphas(config, where)
        with quiet():
            from diffusers import DDIMScheduler

            known = checked.get("beta_schedule", "linear") in BETA_SCHEDULES
            ddim = DDIMScheduler.from_config(checked if known else checked | {"beta_schedule": "linear"})
        of_ddim, kept = ddim.alphas_cumprod, slice(None, -1 if ddim.config.rescale_betas_zero_snr else None)
        # Euler writes 2^-24 for the 0 of zero terminal SNR, which it could not divide by.
        if len(alphas) != len(of_ddim) or not torch.allclose(
            of_ddim[kept], alphas[kept].to(of_ddim), rtol=1e-6, atol=0
        ):
            ddim.alphas_cumprod = alphas  # a schedule that DDIM has no name for, or moves otherwise
            ddim.final_alpha_cumprod = torch.tensor(1.0) if ddim.config.set_alpha_to_one else alphas[0]
        cumulative = ddim.alphas_cumprod.double().numpy()
        if not ((cumulative >= 0) & (cumulative <= 1)).all():
            raise UserError(f"{where}: the betas of the scheduler are not all between 0 and 1; mend its configuration")
        final = float(ddim.final_alpha_cumprod)
        super().__init__(
            alphas=np.sqrt(cumulative),
            sigmas=np.sqrt(1 - cumulative),
            final_alpha=final**0.5,
            final_sigma=(1 - final) ** 0.5,
            offset=ddim.config.steps_offset,
        )
        object.__setattr__(self, "_ddim", ddim)
        object.__setattr__(self, "_timesteps", {})

    def timesteps(self, steps: int) -> list[int]:
        """Timesteps of a DDIM trajectory with the spacing that the pipeline's configuration asks for."""
        last = len(self.alphas) - 1  # the offset can lead past the end
        return [min(t, last) for t in self._of_ddim(steps)]

    def landings(self, steps: int) -> list[tuple[float, float]]:
        """Alpha and sigma that each step ends at.

        DDIM of diffusers goes back by one stride, a whole number, which is the next timestep where the spacing is
        ``leading`` and may be one beside it else.
        """
        of_ddim = self._of_ddim(steps)
        stride, last = len(self.alphas) // steps, len(self.alphas) - 1
        before = [min(t - stride, last) for t in of_ddim]
        final = (self.final_alpha, self.final_sigma)
        return [(self.alpha(t), self.sigma(t)) if t >= 0 else final for t in before]

    def _of_ddim(self, steps: int) -> list[int]:
        """Timesteps as the scheduler gives them, asked once: they come as a tensor."""
        if steps not in self._timesteps:
            super().timesteps(steps)  # refuses impossible numbers of steps
            self._ddim.set_timesteps(steps)
            self._timesteps[steps] = self._ddim.timesteps.tolist()
        return self._timesteps[steps]

    def limited(self, x0: torch.Tensor) -> torch.Tensor:
        """The predicted clean sample as the scheduler goes on with it.

        ``thresholding`` (Saharia et al. 2022, arXiv 2205.11487) limits each sample by a quantile of its own sizes and
        divides by it; else ``clip_sample`` limits it to ``clip_sample_range``; else it stays as it is.
        """
        config = self._ddim.config
        if config.thresholding:
            exact = x0 if x0.dtype == torch.float64 else x0.float()
            bound = exact.flatten(1).abs().quantile(config.dynamic_thresholding_ratio, dim=1)
            bound = bound.clamp(min=1, max=float(config.sample_max_value)).view(-1, *[1] * (x0.ndim - 1))
            return (exact.clamp(-bound, bound) / bound).to(x0.dtype)
        limit = float(config.clip_sample_range)  # of a whole number torch takes no more than 64 bits
        return x0.clamp(-limit, limit) if config.clip_sample else x0


def read_schedule(directory: Path, *, mended: bool = False) -> tuple[DiffusersSchedule, PredictionType]:
    """Noise schedule of a directory, and what its network predicts.

    Args:
        directory: Of the model.
        mended: Whether its pipeline mends old configurations, as StableDiffusionPipeline does.

    Raises:
        UserError: An unknown prediction type, a scheduler that DDIM cannot follow, or a schedule that ends in pure
            noise.
    """
    config = read_json(directory / "scheduler" / "scheduler_config.json")
    prediction = config.get("prediction_type", "epsilon")
    if not isinstance(prediction, str) or prediction not in _PREDICTION_TYPES:
        raise UserError(f"{directory}: scheduler predicts {prediction!r}; known: {', '.join(_PREDICTION_TYPES)}")
    schedule = DiffusersSchedule(config, mended=mended, where=str(directory))
    if prediction == "epsilon" and schedule.is_pure_noise(len(schedule.alphas) - 1):
        raise UserError(
            f"{directory}: the scheduler ends in pure noise (zero terminal SNR, rescale_betas_zero_snr), from which no "
            "clean sample follows where a network predicts noise; a network trained so predicts v"
        )
    return schedule, _PREDICTION_TYPES[prediction]


def read_components(directory: Path, names: Sequence[str], unet_class: str, pipeline: str) -> dict[str, list[str]]:
    """Library and class of each component, from the index; nothing is loaded.

    Args:
        directory: Of the model.
        names: Components that the model needs, ``unet`` among them.
        unet_class: The only class of the unet that will do.
        pipeline: Class of diffusers that writes such a directory.

    Raises:
        UserError: Not such a directory.
    """
    wanted = f"a directory written by {pipeline}.save_pretrained"
    index_file = directory / INDEX_FILE
    index = read_index(directory, wanted)
    classes = {}
    for component in names:
        entry = index.get(component)
        if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)):
            raise UserError(f"{index_file} names no {component}: memdet needs {wanted}")
        if not (directory / component).is_dir():
            raise UserError(f"{directory / component} is missing: memdet needs {wanted}")
        classes[component] = entry
    if classes["unet"][1] != unet_class:
        raise UserError(f"{index_file}: the unet is a {classes['unet'][1]}; memdet reads {unet_class}")
    return classes


def names_component(directory: Path, component: str) -> bool:
    """Whether the index has a class for a component, and not null."""
    entry = read_index(directory).get(component)
    return isinstance(entry, list) and all(isinstance(part, str) for part in entry)


def latent_sizes(directory: Path, stated: Any) -> tuple[int, int]:
    """Height and width of the latents that a pipeline makes where nobody says a size.

    Args:
        directory: Of the model.
        stated: ``sample_size`` of the denoiser: a number, a pair (height, width), or None, for which the autoencoder's
            is taken, divided by its factor.

    Raises:
        UserError: Neither says one.
    """
    if isinstance(stated, int) and stated > 0:
        return stated, stated
    if isinstance(stated, list | tuple) and len(stated) == 2 and all(isinstance(n, int) and n > 0 for n in stated):
        return int(stated[0]), int(stated[1])
    file = directory / "vae" / "config.json"
    vae = read_json(file) if stated is None and file.is_file() else {}
    size, blocks = vae.get("sample_size"), vae.get("block_out_channels") or [0]
    factor = 2 ** (len(blocks) - 1) if isinstance(blocks, list) else 0
    if isinstance(size, int) and size >= factor > 0:
        return size // factor, size // factor
    raise UserError(
        f"{directory}: sample_size of the denoiser is {stated!r}, not a number or a pair (height, width), and the "
        "autoencoder's does not tell it; write the size of the latents into config.json, 64 for images of 512"
    )


def read_index(directory: Path, wanted: str = ANY_PIPELINE) -> dict[str, Any]:
    """Content of ``model_index.json``.

    Raises:
        UserError: No such directory, no such file in it, not a JSON object, or something that is no file.
    """
    if not directory.is_dir():
        problem = "is not a directory" if directory.exists() else "does not exist"
        raise UserError(f"model directory {directory} {problem}")
    if not (directory / INDEX_FILE).is_file():
        raise UserError(f"{directory} has no {INDEX_FILE}: memdet needs {wanted}")
    require_given_folder(directory)
    return read_json(directory / INDEX_FILE)


def require_safetensors(directory: Path, components: Iterable[str], pipeline: str) -> None:
    """Refuse weights in pickle files, which can run code when they are loaded, and weights that are not whole.

    Raises:
        UserError: A component without safetensors, or one that lacks shards that its index names.
    """
    folders = {component: real_folder(directory, component) for component in components}
    listing = {name: sorted(path.name for path in folder.iterdir()) for name, folder in folders.items()}
    for component, folder in folders.items():
        weights = weights_in(folder)
        if weights is None:
            raise UserError(
                no_weights(str(folder), component, listing, f"{pipeline}.from_pretrained({str(directory)!r}")
            )
        if lacking := [name for name in weights.files if not (folder / name).is_file()]:
            raise UserError(
                f"{folder} lacks {len(lacking)} of {len(weights.files)} files of weights, the first {lacking[0]}: copy "
                "or fetch them again"
            )


def no_weights(folder: str, component: str, listing: Mapping[str, Sequence[str]], call: str) -> str:
    """Why a component's folder has no weights that memdet reads, and what to do.

    Args:
        folder: As it is shown.
        component: Whose folder it is.
        listing: Names of the files of every component that is loaded; the conversion reads them all.
        call: The call of diffusers that loads the model, without its closing bracket.
    """
    names = listing[component]
    if any(is_pickle(name) for name in names):
        variant = next(filter(None, map(_only_variant, listing.values())), None)
        told = "" if variant is None else f", variant={variant!r}"
        return (
            f"{folder} holds pickle weights only, which can run code when loaded; convert them where you trust them: "
            f"{call}{told}).save_pretrained(NEW_DIR)"
        )
    others = [name for name in names if name.endswith(".safetensors")]
    return f"{folder} holds no *.safetensors weights" + (
        f" under a name that diffusers reads, only {', '.join(others)}" if others else ""
    )


def _only_variant(names: Sequence[str]) -> str | None:
    """The variant that a folder's weights come in, in whatever format; None where plain ones are there, or none."""
    weights = [name for name in names if is_pickle(name) or name.endswith(".safetensors")]
    variants = {match[1] if (match := _VARIANT.search(name)) else None for name in weights}
    return None if None in variants or not variants else min(map(str, variants))


def weights_in(folder: Path) -> Weights | None:
    """The weight files of a component's folder that are read; None where there are none as safetensors.

    Raises:
        UserError: An index of shards that is not valid JSON.
    """
    if not folder.is_dir():
        return None
    return find_weights([path.name for path in folder.iterdir()], lambda name: read_json(folder / name))


def real_folder(directory: Path, component: str) -> Path:
    """Where the files of a component lie, for messages too: a model may be put together of folders elsewhere."""
    folder = directory / component
    return folder.readlink() if folder.is_symlink() else folder


def load_network(
    directory: Path, component: str, entry: Sequence[str], device: torch.device, dtype: torch.dtype
) -> Any:
    """Load a network in evaluation mode, without gradients for its weights.

    Args:
        directory: Of the model.
        component: Folder in it.
        entry: Library and class.
        device: Where the network lives.
        dtype: Of its weights; those stored in another precision are converted.

    Raises:
        UserError: An unknown class, broken files, weights that are not there, or a configuration of a larger network.
    """
    cls = _find_class(directory, component, entry)
    from_diffusers = cls.__module__.startswith("diffusers")
    weights = weights_in(directory / component)
    options: dict[str, Any] = {"variant": weights.variant if weights else None, "use_safetensors": True}
    options["torch_dtype" if from_diffusers else "dtype"] = dtype
    require_size(directory / component, cls, weights)
    if from_diffusers:
        options["low_cpu_mem_usage"] = False  # its alternative needs another package and warns where that is missing
    network, report = load_component(directory, component, entry, output_loading_info=True, **options)
    missing = sorted(report["missing_keys"])
    if missing:  # both libraries would go on with random numbers in their place
        folder = real_folder(directory, component)
        raise UserError(f"{folder} lacks {len(missing)} weights of a {cls.__name__}, the first {missing[0]}")
    return network.to(device).eval().requires_grad_(False)


def load_component(directory: Path, component: str, entry: Sequence[str], **options: Any) -> Any:
    """Load one component by its class's ``from_pretrained``.

    Raises:
        UserError: An unknown class or broken files.
    """
    cls = _find_class(directory, component, entry)
    try:
        with quiet():
            return cls.from_pretrained(directory / component, **options)
    except Exception as error:  # safetensors, JSON and shape errors come in many classes; the user needs one line
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{real_folder(directory, component)} cannot be loaded: {reason}") from error


def _find_class(directory: Path, component: str, entry: Sequence[str]) -> Any:
    library, class_name = entry
    if library not in {"diffusers", "transformers"}:
        raise UserError(f"{directory}: {component} comes from {library!r}, not diffusers or transformers")
    with quiet():
        found = getattr(importlib.import_module(library), class_name, None)
    if not isinstance(found, type) or not hasattr(found, "from_pretrained"):
        raise UserError(f"{directory}: the installed {library} has no class {class_name} ({component})")
    return found

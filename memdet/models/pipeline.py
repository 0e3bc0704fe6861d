"""Directories in the Stable Diffusion pipeline format: SD 1.x, SD 2.x and the planted models, through diffusers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from memdet.errors import UserError
from memdet.models.base import ScoreModel
from memdet.models.parametrisation import Parametrisation
from memdet.models.schedule import NoiseSchedule

_PREDICTION_TYPES: dict[str, Parametrisation] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
_COMPONENTS = ("unet", "scheduler", "text_encoder", "tokenizer", "vae")
_PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth")


class DiffusersSchedule(NoiseSchedule):
    """Noise and timesteps of a pipeline's own scheduler configuration, read as DDIM."""

    _ddim: Any

    def __init__(self, config: Any) -> None:
        from diffusers import DDIMScheduler

        ddim = DDIMScheduler.from_config(config)
        cumulative = ddim.alphas_cumprod.double().numpy()
        final = float(ddim.final_alpha_cumprod)
        super().__init__(
            alphas=np.sqrt(cumulative),
            sigmas=np.sqrt(1 - cumulative),
            final_alpha=final**0.5,
            final_sigma=(1 - final) ** 0.5,
        )
        object.__setattr__(self, "_ddim", ddim)

    def timesteps(self, steps: int) -> list[int]:
        """Timesteps of a DDIM trajectory with the spacing that the pipeline's configuration asks for."""
        super().timesteps(steps)  # refuses impossible numbers of steps
        ddim = self._ddim
        ddim.set_timesteps(steps)
        return [min(int(t), len(self.alphas) - 1) for t in ddim.timesteps]  # the offset can lead past the end


class StableDiffusionModel(ScoreModel):
    """UNet2DConditionModel + scheduler + text encoder + tokenizer of any class, from a local directory.

    Args:
        directory: Written by ``StableDiffusionPipeline.save_pretrained``; safetensors only.
        name: Shown in tables; the directory's name if not given.
        device: Where the networks live.
        dtype: Of the networks; weights stored in another precision are converted.

    Raises:
        UserError: Not a directory of that format, weights in pickle files only, or an architecture that needs more
            inputs than a noisy latent, a timestep and text.
    """

    takes_prompts: ClassVar[bool] = True

    def __init__(
        self,
        directory: Path,
        name: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name = name or directory.name
        self.device, self.dtype, self._directory = torch.device(device), dtype, directory
        self._classes = check_directory(directory)
        self._unet = self._load_network("unet")
        self._text_encoder = self._load_network("text_encoder")
        self._tokenizer = self._from_pretrained("tokenizer")
        self._vae: Any = None
        scheduler_config = _read_json(directory / "scheduler" / "scheduler_config.json")
        prediction = scheduler_config.get("prediction_type", "epsilon")
        if prediction not in _PREDICTION_TYPES:
            raise UserError(f"{directory}: scheduler predicts {prediction!r}; known: {', '.join(_PREDICTION_TYPES)}")
        self.parametrisation = _PREDICTION_TYPES[prediction]
        self.schedule = DiffusersSchedule(scheduler_config)
        if self.schedule.alphas.min() < 1e-6:
            raise UserError(
                f"{directory}: the scheduler ends in pure noise (zero terminal SNR), which memdet cannot invert"
            )
        self.latent_shape = _latent_shape(directory, self._unet.config)

    def embed(self, conditions: Sequence[str]) -> Tensor:
        """Encode prompts as a pipeline does: padded or cut to the tokenizer's length, last hidden state."""
        tokens = self._tokenizer(
            list(conditions),
            padding="max_length",
            max_length=self._tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            hidden: Tensor = self._text_encoder(tokens.input_ids.to(self.device))[0]
        return hidden

    def embed_null(self) -> Tensor:
        """Encode the empty prompt."""
        return self.embed([""])

    def predict(self, x: Tensor, t: int, embedding: Tensor) -> Tensor:
        """One forward of the UNet."""
        output: Tensor = self._unet(x, t, encoder_hidden_states=embedding, return_dict=False)[0]
        return output

    def decode(self, x0: Tensor) -> Tensor:
        """Decode latents with the pipeline's autoencoder, ``[batch, channels, height, width]`` in [0, 1]."""
        if self._vae is None:
            self._vae = self._load_network("vae")
        with torch.no_grad():
            image: Tensor = self._vae.decode(x0 / self._vae.config.scaling_factor).sample
        return (image / 2 + 0.5).clamp(0, 1)

    def fingerprint(self) -> str:
        """SHA-256 over the configuration and weight files of all components."""
        digest = hashlib.sha256()
        for component in _COMPONENTS:
            for path in sorted((self._directory / component).iterdir()):
                if path.suffix in {".json", ".txt", ".model", ".safetensors"}:
                    digest.update(f"{component}/{path.name}".encode())
                    with path.open("rb") as file:
                        while chunk := file.read(1 << 20):
                            digest.update(chunk)
        return digest.hexdigest()

    def _load_class(self, component: str) -> Any:
        library, class_name = self._classes[component]
        if library not in {"diffusers", "transformers"}:
            raise UserError(f"{self._directory}: {component} comes from {library!r}, not diffusers or transformers")
        module = __import__(library)
        if not hasattr(module, class_name):
            raise UserError(f"{self._directory}: the installed {library} has no class {class_name} ({component})")
        return getattr(module, class_name)

    def _load_network(self, component: str) -> Any:
        cls = self._load_class(component)
        from_diffusers = cls.__module__.startswith("diffusers")
        options: dict[str, Any] = {"use_safetensors": True, "torch_dtype" if from_diffusers else "dtype": self.dtype}
        if from_diffusers:
            options["low_cpu_mem_usage"] = (
                False  # its alternative needs another package and warns where that is missing
            )
        network, report = self._from_pretrained(component, output_loading_info=True, **options)
        missing = sorted(report["missing_keys"])
        if missing:  # both libraries would go on with random numbers in their place
            folder = self._directory / component
            raise UserError(f"{folder} lacks {len(missing)} weights of a {cls.__name__}, the first {missing[0]}")
        return network.to(self.device).eval().requires_grad_(False)

    def _from_pretrained(self, component: str, **options: Any) -> Any:
        try:
            return self._load_class(component).from_pretrained(self._directory / component, **options)
        except UserError:
            raise
        except Exception as error:  # safetensors, JSON and shape errors come in many classes; the user needs one line
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"{self._directory / component} cannot be loaded: {reason}") from error


def check_directory(directory: Path) -> dict[str, list[str]]:
    """Find what is wrong with a model directory before anything is loaded.

    Returns:
        Library and class of each component, from ``model_index.json``.

    Raises:
        UserError: As for :class:`StableDiffusionModel`.
    """
    if not directory.is_dir():
        problem = "is not a directory" if directory.exists() else "does not exist"
        raise UserError(f"model directory {directory} {problem}")
    index_file = directory / "model_index.json"
    wanted = "a directory written by StableDiffusionPipeline.save_pretrained"
    if not index_file.is_file():
        raise UserError(f"{directory} has no model_index.json: memdet needs {wanted}")
    index = _read_json(index_file)
    classes = {}
    for component in _COMPONENTS:
        entry = index.get(component)
        if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)):
            raise UserError(f"{index_file} names no {component}: memdet needs {wanted}")
        if not (directory / component).is_dir():
            raise UserError(f"{directory / component} is missing: memdet needs {wanted}")
        classes[component] = entry
    if classes["unet"][1] != "UNet2DConditionModel":
        raise UserError(f"{index_file}: the unet is a {classes['unet'][1]}; memdet reads UNet2DConditionModel")
    for component in ("unet", "text_encoder", "vae"):
        folder = directory / component
        if not any(folder.glob("*.safetensors")):
            if any(path for pattern in _PICKLES for path in folder.glob(pattern)):
                raise UserError(
                    f"{folder} holds pickle weights only, which can run code when loaded; convert them where you trust "
                    f"them: StableDiffusionPipeline.from_pretrained({str(directory)!r}, use_safetensors=False)"
                    ".save_pretrained(NEW_DIR)"
                )
            raise UserError(f"{folder} holds no *.safetensors weights")
    unet_config = _read_json(directory / "unet" / "config.json")
    if unet_config.get("in_channels") != unet_config.get("out_channels"):
        raise UserError(f"{directory}: the unet takes extra input channels (inpainting?); memdet needs text to image")
    for key in ("addition_embed_type", "class_embed_type", "time_cond_proj_dim"):
        if unet_config.get(key) is not None:
            raise UserError(f"{directory}: the unet needs {key}, which Stable Diffusion 1.x and 2.x do not have")
    return classes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object")
    return content


def _latent_shape(directory: Path, unet_config: Any) -> tuple[int, ...]:
    size = unet_config.sample_size
    if not isinstance(size, int):
        raise UserError(f"{directory}: the unet's sample_size is {size!r}, not a number")
    return (unet_config.in_channels, size, size)

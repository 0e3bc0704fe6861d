"""LoRA and textual inversion: what lies beside a model is used or refused, never passed over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from memdet.errors import UserError
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.weights import is_pickle
from memdet.models.load_options import NONE, LoadOptions, file_and_scale, file_and_token

Kind = Literal["LoRA", "textual inversion"]
LORA_FILE, TOKENS_FILE = "pytorch_lora_weights", "learned_embeds"
_NAMES: dict[str, Kind] = {LORA_FILE: "LoRA", "adapter_model": "LoRA", TOKENS_FILE: "textual inversion"}
_LORA_KEYS = ("lora_A", "lora_B", "lora_up", "lora_down", "lora.up", "lora.down", "lora_linear", "hada_w", "lokr_w")
_LORA_STARTS = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
_TOKEN_KEYS = {"emb_params", "string_to_param", "clip_l", "clip_g"}
_OPTION: dict[Kind, str] = {"LoRA": "lora", "textual inversion": "textual_inversion"}
_INSTALL = "pip install 'memdet[lora]'"


@dataclass(frozen=True)
class Adapter:
    """One file that is put on a model.

    Attributes:
        kind: What it is.
        path: The file, safetensors.
        scale: Of a LoRA.
        token: Of a textual inversion; None takes the file's own.
    """

    kind: Kind
    path: Path
    scale: float = 1.0
    token: str | None = None

    @property
    def label(self) -> str:
        """How it stands among the files of a model; where the file lies is no part of it."""
        how = f"scale {self.scale:g}" if self.kind == "LoRA" else f"token {self.token or 'of the file'}"
        return f"{self.kind} {self.path.name}, {how}"


def read_adapters(options: LoadOptions, directory: Path) -> tuple[Adapter, ...]:
    """The adapters that options name.

    Args:
        options: With paths from the working directory, or from that of the model.
        directory: Of the model.

    Raises:
        UserError: No such file, pickle, another kind of file, or a package that LoRA needs is not there.
    """
    places = (Path(), directory)
    loras = [Adapter("LoRA", *file_and_scale(text, places)) for text in options.lora if text != NONE]
    tokens = [file_and_token(text, places) for text in options.textual_inversion if text != NONE]
    adapters = (*loras, *(Adapter("textual inversion", path, token=token) for path, token in tokens))
    for adapter in adapters:
        _check(adapter)
    if loras:
        require_lora_packages()
    return adapters


def require_lora_packages() -> None:
    """Refuse to go on without the packages by which diffusers puts a LoRA on a network.

    Raises:
        UserError: One is not there.
    """
    if missing := [name for name in ("peft", "accelerate") if find_spec(name) is None]:
        raise UserError(
            f"`lora` needs {' and '.join(missing)}, by which diffusers puts a LoRA on a network: {_INSTALL}",
            parameters=("lora",),
        )


def check_beside(found: Iterable[tuple[str, Kind]], where: str, options: LoadOptions) -> None:
    """Refuse adapters that lie beside a model and of which nobody says whether they are meant.

    Args:
        found: Name and kind of each.
        where: The model, for messages.
        options: A kind is settled by any file of it, or by ``none``.

    Raises:
        UserError: One is not settled.
    """
    for name, kind in found:
        option = _OPTION[kind]
        if not getattr(options, option):
            write = f"`{option}` {NONE} leaves it out and scores the base alone"
            use = (
                f"convert it to safetensors ({_conversion(name)})"
                if is_pickle(name)
                else f"`{option}` {name} puts it on"
            )
            raise UserError(
                f"{where} holds {name}, a {kind} that diffusers does not load by itself, so it is not clear which "
                f"model is meant: {use}, {write}",
                parameters=(option,),
            )


def kind_of(name: str) -> Kind | None:
    """What a file's name says: an adapter under the name that diffusers or peft gives it.

    Example:
        >>> kind_of("unet/pytorch_lora_weights.bin")
        'LoRA'
        >>> kind_of("model.safetensors") is None
        True
    """
    stem, _, suffix = name.rpartition("/")[2].partition(".")
    if suffix != "safetensors" and not is_pickle(name):
        return None
    return _NAMES.get(stem)


def kind_of_file(path: Path) -> Kind | None:
    """What a file is, by its name or else by the names of its tensors; None where it is no adapter."""
    named = kind_of(path.name)
    if named is not None or path.suffix != ".safetensors":
        return named
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return _kind_of_keys(list(file.keys()))
    except (OSError, SafetensorError):
        return None


def put_on(adapters: Iterable[Adapter], pipeline: Any) -> list[str]:
    """Put adapters on the networks of a pipeline, in their order, and leave plain networks behind.

    A LoRA is added to the weights, as ``load_lora_weights``, ``fuse_lora`` and ``unload_lora_weights`` do it.

    Args:
        adapters: From :func:`read_adapters`.
        pipeline: Of diffusers, or one of its classes with the parts that there are.

    Returns:
        Remarks, on a LoRA of which some tensors fit nowhere.

    Raises:
        UserError: One does not fit the model.
    """
    remarks = []
    for adapter in adapters:
        if not _takes(pipeline, adapter.kind):
            raise UserError(f"{adapter.path}: a {type(pipeline).__name__} of diffusers takes no {adapter.kind}")
        try:
            with quiet(), torch.random.fork_rng(devices=[]):  # rows of new tokens are drawn before they are filled
                if adapter.kind == "LoRA":
                    remarks += _fuse(adapter, pipeline)
                else:
                    _add_token(adapter, pipeline)
        except UserError:
            raise
        except Exception as error:  # shapes, formats and keys come in many classes; the user needs one line
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"{adapter.path} does not fit the model: {reason}") from error
    for network in pipeline.components.values():
        if isinstance(network, torch.nn.Module):
            network.eval().requires_grad_(False)
    return remarks


def _takes(pipeline: Any, kind: str) -> bool:
    """Whether diffusers can put an adapter on a pipeline; some say so of a pipeline whose network takes no LoRA."""
    if kind != "LoRA":
        return hasattr(pipeline, "load_textual_inversion")
    networks = [network for name in ("unet", "transformer") if (network := pipeline.components.get(name)) is not None]
    return hasattr(pipeline, "load_lora_weights") and all(hasattr(one, "load_lora_adapter") for one in networks)


def put_on_parts(adapters: Iterable[Adapter], *, unet: Any, text_encoder: Any, tokenizer: Any) -> list[str]:
    """As :func:`put_on`, on the parts of a Stable Diffusion pipeline that no pipeline holds together."""
    if not (adapters := list(adapters)):
        return []
    from diffusers import DiffusionPipeline
    from diffusers.loaders import StableDiffusionLoraLoaderMixin, TextualInversionLoaderMixin

    def register(self: Any, unet: Any, text_encoder: Any, tokenizer: Any) -> None:
        DiffusionPipeline.__init__(self)
        self.register_modules(unet=unet, text_encoder=text_encoder, tokenizer=tokenizer)

    loaders = (DiffusionPipeline, StableDiffusionLoraLoaderMixin, TextualInversionLoaderMixin)
    parts: Any = type("StableDiffusionParts", loaders, {"__init__": register})
    return put_on(adapters, parts(unet, text_encoder, tokenizer))


def expanded(prompts: Iterable[str], tokenizer: Any) -> list[str]:
    """Prompts in which a learned token of several vectors stands for all of them, as pipelines write it."""
    added = getattr(tokenizer, "added_tokens_encoder", {})
    if not any(f"{token}_1" in added for token in added):
        return list(prompts)
    from diffusers.loaders import TextualInversionLoaderMixin

    with quiet():  # the tokenizer warns of long prompts
        found: list[str] = TextualInversionLoaderMixin().maybe_convert_prompt(list(prompts), tokenizer)
    return found


def _fuse(adapter: Adapter, pipeline: Any) -> list[str]:
    name = "memdet"
    place = {"weight_name": adapter.path.name, "local_files_only": True, "use_safetensors": True}
    given = pipeline.lora_state_dict(str(adapter.path.parent), **place)
    weights = given[0] if isinstance(given, tuple) else given
    pipeline.load_lora_weights(str(adapter.path.parent), adapter_name=name, **place)
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    taken = sum(f".{name}." in key for network in networks for key, _ in network.named_parameters())
    if not taken:
        raise UserError(
            f"{adapter.path}: none of its {len(weights)} tensors fits the model; it was made for another base"
        )
    pipeline.fuse_lora(lora_scale=adapter.scale)
    pipeline.unload_lora_weights()
    total = sum(not key.endswith(".alpha") for key in weights)
    if taken >= total:
        return []
    return [f"{adapter.path.name}: {total - taken} of {total} tensors fit nowhere, and diffusers leaves them out"]


def _add_token(adapter: Adapter, pipeline: Any) -> None:
    from safetensors.torch import load_file

    state = load_file(adapter.path)
    if set(state) <= {"clip_l", "clip_g"}:  # one for each text encoder
        for key, number in (("clip_l", ""), ("clip_g", "_2")):
            encoder = getattr(pipeline, f"text_encoder{number}", None)
            if key in state and encoder is None:
                raise UserError(f"{adapter.path} is for a model of several text encoders, which this one is not")
            if key in state:
                tokenizer = getattr(pipeline, f"tokenizer{number}")
                pipeline.load_textual_inversion(
                    state[key], token=adapter.token, text_encoder=encoder, tokenizer=tokenizer
                )
        return
    pipeline.load_textual_inversion(state, token=adapter.token)


def _check(adapter: Adapter) -> None:
    option, path = _OPTION[adapter.kind], adapter.path
    if path.suffix != ".safetensors":
        what = "is a pickle, which can run code when loaded" if is_pickle(path.name) else "is no safetensors file"
        raise UserError(
            f"`{option}`: {path} {what}; convert it where you trust it: {_conversion(path.name)}", parameters=(option,)
        )
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
    except (OSError, SafetensorError) as error:
        raise UserError(f"`{option}`: {path} cannot be read: {error}", parameters=(option,)) from None
    found = _kind_of_keys(keys)
    if found is None and adapter.kind == "textual inversion" and len(keys) == 1:
        found = "textual inversion"
    if found != adapter.kind:
        what = f"is a {found}" if found else f"holds {len(keys)} tensors such as {keys[0] if keys else 'none'}"
        raise UserError(f"`{option}`: {path} {what}; it is no {adapter.kind}", parameters=(option,))
    if adapter.kind == "textual inversion" and adapter.token is None and set(keys) <= _TOKEN_KEYS:
        raise UserError(
            f"`{option}`: {path} does not say its token; write {path.name}:<token> with the word that prompts use",
            parameters=(option,),
        )


def _kind_of_keys(keys: list[str]) -> Kind | None:
    if any(part in key for key in keys for part in _LORA_KEYS) or any(key.startswith(_LORA_STARTS) for key in keys):
        return "LoRA"
    if keys and (set(keys) <= _TOKEN_KEYS or (len(keys) == 1 and keys[0].startswith("<"))):
        return "textual inversion"
    return None


def _conversion(name: str) -> str:
    new = f"{Path(name).stem}.safetensors"
    return f'safetensors.torch.save_file(torch.load("{name}", weights_only=True), "{new}")'

"""Parts of models: the networks that a training wrote, and single files of weights, on the base that they belong to."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from memdet.errors import UserError
from memdet.given_files import read_json
from memdet.models.diffusers.adapters import kind_of
from memdet.models.diffusers.directory import INDEX_FILE, read_index, weights_in
from memdet.models.diffusers.opened import Opened
from memdet.models.diffusers.quiet import quiet
from memdet.models.load_options import OPTIONS

_CHECKPOINT = re.compile(r"checkpoint-\d+")
_EMA = "_ema"
_MUST_AGREE = ("in_channels", "out_channels", "cross_attention_dim", "joint_attention_dim", "num_class_embeds")
_WORD = "give `base` the directory or hub id of the model that it was trained from"


def advice_on(names: Collection[str], where: str) -> str:
    """What a place without ``model_index.json`` seems to be, and how it is loaded.

    Args:
        names: Of its files, with ``/`` between folders.
        where: The place, as the user wrote it.

    Returns:
        The end of a sentence; empty where nothing is recognised.

    Example:
        >>> advice_on(["unet/config.json", "unet/diffusion_pytorch_model.safetensors"], "out")
        'it holds unet of a fine-tune: give `base` the directory or hub id of the model that it was trained from'
    """
    parts = sorted(name.split("/")[0] for name in names if re.fullmatch(r"[^/]+/config\.json", name))
    top = sorted(name for name in names if "/" not in name)
    inside = sorted({name.split("/")[0] for name in names if _CHECKPOINT.match(name)}, key=_number)
    adapters = [name for name in top if kind_of(name)]
    if parts:
        return f"it holds {', '.join(parts)} of a fine-tune: {_WORD}"
    if "config.json" in top:
        return f"it is one network of a model: {_WORD}"
    if adapters:
        kind = kind_of(adapters[0])
        option = "lora" if kind == "LoRA" else "textual_inversion"
        return (
            f"it holds {adapters[0]}, a {kind}: name the model that it was trained from, and `{option}` "
            f"{where.rstrip('/')}/{adapters[0]}"
        )
    if inside:
        return f"it holds the training checkpoints {_few(inside)}: name one, `subfolder` {inside[-1]} say, and {_WORD}"
    files = [name for name in top if name.endswith(".safetensors")]
    if any(name.startswith(("optimizer", "scheduler", "random_states")) for name in top):
        return (
            "it holds the state of a training alone: load it in the script that trained it and write the network by "
            f"its save_pretrained, then {_WORD}"
        )
    if files:
        return f"it holds single files of weights ({_few(files)}): name one of them, with `base`"
    return ""


def place_on_base(part: Path, base: Opened) -> Opened:
    """A fine-tuned network, or several, in place of those of the base; everything else is the base's.

    Args:
        part: Folder of networks (``unet``, ``text_encoder``), or of one network, or a single file of weights.
        base: A whole model.

    Returns:
        A temporary directory of links.

    Raises:
        UserError: No network of the base, or one that does not fit it.
    """
    if part.is_file():
        return _converted(part, base)
    index = read_index(base.directory)
    chosen = _networks(part, index)
    for component, folder in chosen.items():
        _check_fits(folder, base.directory / component, index[component][1])
    view = Path(tempfile.mkdtemp(prefix="memdet-model-"))
    for path in base.directory.iterdir():
        if path.is_dir() and path.name not in chosen and path.name in index:
            (view / path.name).symlink_to(_end(path), target_is_directory=True)
    for component, folder in chosen.items():
        (view / component).symlink_to(folder.resolve(), target_is_directory=True)
    for name in (INDEX_FILE, "labels.json"):  # not training.json: the fine-tune saw other images
        if (base.directory / name).is_file():
            (view / name).symlink_to((base.directory / name).resolve())
    named = ", ".join(f"{component} from {folder}" for component, folder in chosen.items())
    return Opened(view, remarks=(*base.remarks, f"{named}; everything else is the base's"), is_temporary=True)


def networks_in(names: Collection[str], index: dict[str, Any]) -> list[str]:
    """Folders of a fine-tune that take the place of components of the base, from the names of its files."""
    folders = {name.split("/")[0] for name in names if re.fullmatch(r"[^/]+/config\.json", name)}
    return sorted(name for name in folders if name.removesuffix(_EMA) in index)


def _networks(part: Path, index: dict[str, Any]) -> dict[str, Path]:
    """Folder of each component that a part replaces."""
    if (part / "config.json").is_file():
        config = read_json(part / "config.json")
        classes = [name for name in (config.get("_class_name"), *(config.get("architectures") or ())) if name]
        fitting = [key for key, entry in index.items() if isinstance(entry, list) and entry[-1] in classes]
        if len(fitting) != 1:
            name = classes[0] if classes else "network without a class"
            raise UserError(f"{part} is a {name}, of which the base has {len(fitting)}")
        return {fitting[0]: part}
    folders = networks_in([path.relative_to(part).as_posix() for path in part.glob("*/config.json")], index)
    if not folders:
        names = [path.relative_to(part).as_posix() for path in part.glob("**/*") if path.is_file()]
        told = advice_on(names, str(part))
        raise UserError(f"{part} holds no network of the base" + (f"; {told}" if told else ""), parameters=OPTIONS)
    chosen: dict[str, Path] = {}
    for name in folders:
        component = name.removesuffix(_EMA)
        if component in chosen:
            raise UserError(
                f"{part} holds both {component} and {component}{_EMA}, the averaged weights: say which is meant, "
                f"`subfolder` {component} or `subfolder` {component}{_EMA}",
                parameters=("subfolder",),
            )
        chosen[component] = part / name
    return chosen


def _check_fits(folder: Path, of_base: Path, class_name: str) -> None:
    new, old = read_json(folder / "config.json"), read_json(of_base / "config.json")
    if new.get("_class_name", class_name) != class_name:
        raise UserError(f"{folder} is a {new['_class_name']}, and the base has a {class_name} there")
    for key in _MUST_AGREE:
        if new.get(key) != old.get(key):
            raise UserError(
                f"{folder} was not trained from this base: its {key} is {new.get(key)}, that of the base {old.get(key)}"
            )
    if weights_in(folder) is None and not any(folder.glob("*.bin")):
        raise UserError(f"{folder} holds a configuration and no weights")


def _converted(file: Path, base: Opened) -> Opened:
    """A single file of weights as a directory in diffusers' layout, with the configuration and tokenizer of the base.

    It is read twice under two seeds: a number that differs was in no file, and diffusers made it up.
    """
    if file.suffix != ".safetensors":
        raise UserError(
            f"{file} is no safetensors file; convert it where you trust it: StableDiffusionPipeline.from_single_file("
            f"{str(file)!r}).save_pretrained(NEW_DIR)"
        )
    import diffusers

    name = read_index(base.directory).get("_class_name")
    cls: Any = getattr(diffusers, str(name), None)
    if not hasattr(cls, "from_single_file"):
        raise UserError(f"{file}: diffusers reads no single file as a {name}; name a directory")
    pipelines = []
    for seed in (0, 1):
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                pipelines.append(
                    cls.from_single_file(
                        str(file), config=str(base.directory), local_files_only=True, low_cpu_mem_usage=False
                    )
                )
            except Exception as error:  # key, shape and format errors come in many classes
                reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise UserError(f"{file} cannot be read on this base: {reason}") from error
    if made_up := _made_up(*pipelines):
        raise UserError(
            f"{file} lacks {len(made_up)} weights of the base's {name}, the first {made_up[0]}: it belongs to another "
            "base"
        )
    view = Path(tempfile.mkdtemp(prefix="memdet-model-"))
    with quiet():
        pipelines[0].save_pretrained(view, safe_serialization=True)
    remark = f"read from {file.name}, with the configuration, scheduler and tokenizer of the base"
    return Opened(view, remarks=(*base.remarks, remark), extra=(("single file", file),), is_temporary=True)


def _made_up(one: Any, other: Any) -> list[str]:
    found = []
    for component, network in one.components.items():
        if isinstance(network, torch.nn.Module):
            second = other.components[component].state_dict()
            found += [
                f"{component}.{key}"
                for key, value in network.state_dict().items()
                if value.is_meta or not value.equal(second[key])
            ]
    return found


def _end(path: Path) -> Path:
    return path.readlink() if path.is_symlink() else path.resolve()


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

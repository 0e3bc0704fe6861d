"""From what a user writes to a directory that a model is read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from memdet.errors import UserError
from memdet.models.diffusers.adapters import Kind, check_beside, kind_of_file, read_adapters
from memdet.models.diffusers.checkpoints import advice_on, networks_in, place_on_base
from memdet.models.diffusers.directory import ANY_PIPELINE, INDEX_FILE, read_index, weights_in
from memdet.models.diffusers.hub import components_of, fetch_model, fetch_part
from memdet.models.diffusers.lora_folders import CARD_FILE, lora_with_base, training_folder
from memdet.models.diffusers.opened import Opened
from memdet.models.load_options import NONE, OPTIONS, LoadOptions

Find = Callable[[str], Path | None]
Check = Callable[[Path], None]


def open_model(reference: str, options: LoadOptions, find: Find, check: Check, *, offline: bool = False) -> Opened:
    """Find or fetch a model, put its parts together, and refuse what is not clear.

    Args:
        reference: What the user wrote.
        options: What else.
        find: Local path of a reference; None of a hub id.
        check: Refuses a directory by its configuration alone; asked before weights are fetched.
        offline: Fetch nothing.

    Raises:
        UserError: No such model, or not one that memdet reads.
    """
    reference, options, told = _on_its_base(reference, options, find)
    if options.base is None:
        opened = _whole(reference, options, find, check, offline)
    else:
        opened = _part(reference, options, find, check, offline)
    if (opened.directory / INDEX_FILE).is_file():
        check_beside(_adapters_in(opened.directory), reference, options)
    places = opened.directory if not opened.is_temporary else (find(reference) or Path())
    return replace(opened, adapters=read_adapters(options, places), remarks=(*told, *opened.remarks))


def _on_its_base(reference: str, options: LoadOptions, find: Find) -> tuple[str, LoadOptions, tuple[str, ...]]:
    """What is meant by a folder that holds a LoRA and names its base: the base, with the LoRA before all others.

    Returns:
        Reference, options and a remark on it; as they were of anything else.
    """
    path = _local(reference, options, find) if options.base is None else None
    found = None if path is None else lora_with_base(path)
    if found is None:
        return reference, options, ()
    lora, base = found
    card = training_folder(lora) / CARD_FILE
    try:
        find(base)
    except UserError as error:
        raise UserError(f"{card} names a base that is not there: {error}") from error
    if options.lora == (NONE,):
        return base, replace(options, subfolder=None), (f"the base that {card} names, {base}, without {lora.name}",)
    more = replace(options, subfolder=None, lora=(str(lora), *options.lora))
    return base, more, (f"{lora.name} on the base that {card} names, {base}",)


def _whole(reference: str, options: LoadOptions, find: Find, check: Check, offline: bool) -> Opened:
    path = _local(reference, options, find)
    if path is None:
        return fetch_model(reference, options, check, offline=offline)
    if path.is_file():
        if path.suffix in {".safetensors", ".ckpt"}:
            raise UserError(
                f"{path} is a single file of weights: give `base` the directory or hub id of a model of the same kind, "
                "whose configuration and tokenizer are taken, or convert it: StableDiffusionPipeline.from_single_file("
                f"{str(path)!r}).save_pretrained(NEW_DIR)",
                parameters=OPTIONS,
            )
        raise UserError(f"model directory {path} is not a directory")
    if path.is_dir() and not (path / INDEX_FILE).is_file():
        told = advice_on(_names(path), str(path))
        if told:
            raise UserError(f"{path} has no {INDEX_FILE}: memdet needs {ANY_PIPELINE}; {told}", parameters=OPTIONS)
    components_of(read_index(path), str(path))
    return Opened(path)


def _part(reference: str, options: LoadOptions, find: Find, check: Check, offline: bool) -> Opened:
    """Networks of a fine-tune, or a single file, on their base."""
    path = _local(reference, options, find)
    if path is not None and not path.exists():
        raise UserError(f"model directory {path} does not exist")
    if path is not None and (path / INDEX_FILE).is_file():
        raise UserError(f"{path} is a whole model: leave `base` out", parameters=("base",))
    of_base = LoadOptions(lora=options.lora, textual_inversion=options.textual_inversion)
    local_base = find(str(options.base))
    if local_base is not None:
        base = _whole(str(options.base), of_base, find, check, offline)
        check_beside(_adapters_in(base.directory), str(options.base), options)
    else:
        base = fetch_model(str(options.base), of_base, check, offline=offline, without=_replaced(path))
    if path is None:
        path = fetch_part(reference, options, read_index(base.directory), offline=offline)
    elif path.is_dir():
        check_beside(_adapters_in(path), reference, options)
    return place_on_base(path, base)


def _local(reference: str, options: LoadOptions, find: Find) -> Path | None:
    path = find(reference)
    if path is None:
        return None
    if options.revision is not None:
        raise UserError(f"{reference} is a local directory, and `revision` is for the hub", parameters=("revision",))
    if options.subfolder is None:
        return path
    if not (path / options.subfolder).is_dir():
        folders = sorted(one.name for one in path.iterdir() if one.is_dir()) if path.is_dir() else []
        raise UserError(
            f"{path} has no folder {options.subfolder}; it has {', '.join(folders) or 'none'}",
            parameters=("subfolder",),
        )
    return path / options.subfolder


def _replaced(path: Path | None) -> list[str]:
    """Components of the base whose weights nobody needs, as far as the part says."""
    if path is None or not path.is_dir() or (path / "config.json").is_file():
        return []
    names = [one.relative_to(path).as_posix() for one in path.glob("*/config.json")]
    return networks_in(names, {name.split("/")[0].removesuffix("_ema"): [] for name in names})


def _adapters_in(directory: Path) -> list[tuple[str, Kind]]:
    """Adapters in a model's directory and in the folders of its networks, which reads none of them."""
    found: list[tuple[str, Kind]] = []
    for path in sorted([*directory.glob("*"), *directory.glob("*/*")]):
        if not path.is_file():
            continue
        if path.parent != directory:
            weights = weights_in(path.parent)
            if weights is not None and path.name in weights.files:
                continue
        if kind := kind_of_file(path):
            found.append((path.relative_to(directory).as_posix(), kind))
    return found


def _names(directory: Path) -> list[str]:
    """Names of the files of a directory and of its folders."""
    paths = [*directory.glob("*"), *directory.glob("*/*")]
    return [path.relative_to(directory).as_posix() for path in paths if path.is_file()]

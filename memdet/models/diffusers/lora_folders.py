"""Folders that the training of a LoRA writes: its weights, checkpoints below, and a card that names its base."""

from __future__ import annotations

import re
from pathlib import Path

from memdet.errors import UserError
from memdet.given_files import LARGEST_SPEC, read_given
from memdet.models.diffusers.adapters import kind_of_file
from memdet.models.diffusers.directory import INDEX_FILE
from memdet.samplesets.strict_yaml import parse_yaml

CARD_FILE = "README.md"
_CHECKPOINT = re.compile(r"checkpoint-\d+")


def training_folder(file: Path) -> Path:
    """Folder of the training that wrote a file: where it lies, or the folder above a checkpoint.

    Example:
        >>> training_folder(Path("out/checkpoint-500/pytorch_lora_weights.safetensors")).as_posix()
        'out'
    """
    folder = file.parent
    return folder.parent if _CHECKPOINT.fullmatch(folder.name) else folder


def lora_with_base(directory: Path) -> tuple[Path, str] | None:
    """The LoRA of a folder that holds one and no model, and the base that the card of its training names.

    Args:
        directory: What a training of diffusers wrote, or one of its checkpoints.

    Returns:
        The file, and the base as the card's ``base_model`` says it; None where either is not there, or not one.

    Raises:
        UserError: The card cannot be read.
    """
    if not directory.is_dir() or (directory / INDEX_FILE).is_file():
        return None
    loras = [path for path in sorted(directory.glob("*.safetensors")) if kind_of_file(path) == "LoRA"]
    if len(loras) != 1:
        return None
    base = _base_of(training_folder(loras[0]) / CARD_FILE)
    return (loras[0], base) if base else None


def _base_of(card: Path) -> str | None:
    """The one ``base_model`` of a card's front matter."""
    if not card.is_file():
        return None
    text = read_given(card, LARGEST_SPEC).decode("utf-8", errors="replace")
    front = re.match(r"---\r?\n(.*?)\r?\n---(\r?\n|$)", text, re.DOTALL)
    try:
        told = parse_yaml(front[1], card) if front else None
    except UserError:
        raise UserError(f"{card}: what stands above its text is no YAML, so that it names no base; mend it") from None
    base = told.get("base_model") if isinstance(told, dict) else None
    if isinstance(base, list) and len(base) == 1:
        (base,) = base
    return base.strip() or None if isinstance(base, str) else None

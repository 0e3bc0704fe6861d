"""A network is built as large as its configuration says; its weights say how large it is, before memory is taken."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import torch

from memdet.errors import UserError
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.weights import Weights

LARGER, SLACK = 2, 10**6
"""How many times as many numbers as its files a network may have, and how many more: tied weights are stored once."""


def require_size(folder: Path, cls: Any, weights: Weights | None) -> None:
    """Refuse a network that is far larger than its weights; it is built on torch's meta device, which takes no memory.

    Args:
        folder: Of the component.
        cls: Its class, of diffusers or transformers.
        weights: Files in the folder; without any nothing is checked, and loading says what is missing.

    Raises:
        UserError: Its configuration says a larger one.
    """
    stored = _stored(folder, weights)
    if stored is None:
        return
    try:
        with quiet(), torch.device("meta"):
            network = _built(folder, cls)
    except Exception:  # the same configuration is read again to load it, and what is wrong is said there
        return
    built = sum(parameter.numel() for parameter in network.parameters())
    if built > LARGER * stored + SLACK:
        raise UserError(
            f"{folder / 'config.json'} describes a network of {built:,} numbers, and its weights hold {stored:,}: they "
            "are of another network; fetch both again"
        )


def _built(folder: Path, cls: Any) -> Any:
    if hasattr(cls, "from_config") and hasattr(cls, "load_config"):
        return cls.from_config(cls.load_config(folder, local_files_only=True))
    return cls(cls.config_class.from_pretrained(folder, local_files_only=True))


def _stored(folder: Path, weights: Weights | None) -> int | None:
    """Numbers in the files, by their headers; None where there are none that can be read."""
    from safetensors import safe_open

    total = 0
    for name in () if weights is None else weights.files:
        if name.endswith(".json"):
            continue
        try:
            with safe_open(folder / name, "pt") as file:
                total += sum(prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118  # no mapping
        except Exception:  # a damaged file is named by who loads it
            return None
    return total or None
